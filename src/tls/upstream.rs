//! The effective TLS identity towards one service.
use super::Digest;

/// What a connection to an upstream must prove and present; built on the control side, shared by all cores.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Digest of client leaf, verify flag, depth, trust digest, versions; the name and address are added by the pool's key.
    pub fingerprint: Digest,
}
