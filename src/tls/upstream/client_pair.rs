//! The certificate chain and key the gateway shows an upstream.

use crate::tls::Digest;
use crate::tls::keys::{KeyError, KeyPair};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A key pair with what identifies it towards upstreams: the whole chain, since all of it is sent and a chain completed
/// in place must be sent with the next handshake.
#[derive(Debug)]
pub struct ClientPair {
    pub(super) chain_digest: Digest,
    pair: Arc<KeyPair>,
}

impl ClientPair {
    /// The `cert` and `key` of a `certificates` entity, or the `client_ssl` pair, in PEM; never the `_alt` pair
    /// (KONG.md §4.4).
    ///
    /// # Errors
    /// As [`KeyPair::from_pem`]. Whether the two belong together is seen by [`ClientPair::check`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<ClientPair, KeyError> {
        Ok(ClientPair::shared(Arc::new(KeyPair::from_pem(
            certificate,
            key,
        )?)))
    }

    /// A pair the gateway has for other uses too: its key is built once, whoever shows it.
    pub fn shared(pair: Arc<KeyPair>) -> ClientPair {
        ClientPair {
            chain_digest: *pair.chain_digest(),
            pair,
        }
    }

    /// Builds the signing key if no one has, and compares it with the leaf's public key.
    ///
    /// # Errors
    /// When the key cannot be used or is another certificate's.
    pub fn check(&self) -> Result<(), KeyError> {
        self.pair.check()
    }

    /// Built at first use, once for all cores.
    pub(super) fn certified(&self) -> Result<Arc<CertifiedKey>, KeyError> {
        self.pair.certified()
    }
}
