//! The client's chain and the verdict on it.
//!
//! The handshake proves that the client holds the leaf's key. Whether the chain leads to a CA of the matched route is
//! judged here, per request, and remembered per core (DESIGN.md "Possession in TLS, trust in HTTP"; KONG.md §5.3).

mod cache;
pub(in crate::tls) mod lru;
#[cfg(test)]
mod tests;

pub use super::trust::{Reason, Work};
pub use cache::{Looked, VerdictCache};

use super::Digest;
use super::identity::Identity;
use super::trust::TrustSet;
use super::trust::path::{self, Purpose, Rules};
use crate::limits;
use aws_lc_rs::digest;
use std::sync::Arc;
use uuid::Uuid;

/// The certificates a client sent, possession of the first one's key proven in the handshake. Nothing is trusted yet.
#[derive(Debug)]
pub struct ClientChain {
    /// DER, leaf first, as sent.
    pub certificates: Vec<Vec<u8>>,
    /// SHA-256 over every certificate with its length: the key of a verdict.
    pub digest: Digest,
}

impl ClientChain {
    pub fn new(certificates: Vec<Vec<u8>>) -> ClientChain {
        let mut hash = digest::Context::new(&digest::SHA256);
        for der in &certificates {
            // TLS gives a certificate 24 bits of length; the same number twice only follows from the same bytes.
            hash.update(&u32::try_from(der.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(der);
        }
        ClientChain {
            certificates,
            digest: super::trust::finish(hash),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Verdict {
    Trusted(Arc<Trusted>),
    Refused(Reason),
}

/// A client whose chain leads to a CA of the trust set it was judged by.
#[derive(Debug)]
pub struct Trusted {
    pub identity: Arc<Identity>,
    /// Listed CAs on the verified path, nearest to the leaf first: what `mtls_auth_credentials.ca_certificate` is
    /// compared with (KONG.md §5.4). A listed CA with the same name and key as one on the path is on it as well.
    pub path_cas: Vec<Uuid>,
    /// Within these seconds, both included, every certificate of the path is valid.
    pub valid_from: u64,
    pub valid_until: u64,
}

impl Trusted {
    pub fn holds_at(&self, now: u64) -> bool {
        (self.valid_from..=self.valid_until).contains(&now)
    }
}

/// Whether `chain` leads to a CA of `trust` at `now` (unix seconds). Nothing is remembered; see [`VerdictCache`].
/// Bounded by `limits::PATH_SIGNATURES_MAX` signatures.
pub fn judge(chain: &ClientChain, trust: &TrustSet, now: u64, work: &mut Work) -> Verdict {
    let Some((leaf, sent)) = chain.certificates.split_first() else {
        return Verdict::Refused(Reason::NoCertificate);
    };
    let rules = Rules {
        purpose: Purpose::Client,
        partial: trust.options.allow_partial_chain,
        depth: limits::PATH_INTERMEDIATES_MAX,
        sent: limits::CLIENT_INTERMEDIATES_MAX,
    };
    let found = match path::find(&trust.cas, leaf, sent, rules, now, work) {
        Ok(found) => found,
        Err(reason) => return Verdict::Refused(reason),
    };
    let Ok(identity) = Identity::parse(leaf) else {
        return Verdict::Refused(Reason::Malformed);
    };
    let id = |place: usize| trust.cas.listed.get(place).map(|ca| ca.id);
    Verdict::Trusted(Arc::new(Trusted {
        identity: Arc::new(identity),
        path_cas: found.cas.into_iter().filter_map(id).collect(),
        valid_from: found.valid_from,
        valid_until: found.valid_until,
    }))
}
