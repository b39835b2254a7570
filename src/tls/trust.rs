//! A set of trust anchors with the options that change a verdict.
use super::Digest;

/// Built on the control side, shared by all cores. `digest` covers content only (anchors' DER, options, revocation data),
/// never a snapshot number: an unrelated change must not empty a verdict cache.
#[derive(Debug)]
pub struct TrustSet {
    pub digest: Digest,
}
