//! The certificate chain and key the gateway shows an upstream.

use crate::tls::Digest;
use crate::tls::trust::finish;
use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// Held as DER and built at first use, once for all cores.
pub struct ClientPair {
    pub(super) chain_digest: Digest,
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
    certified: OnceLock<Result<Arc<CertifiedKey>, String>>,
}

impl ClientPair {
    /// DER: the chain leaf first, the key as PKCS#8, PKCS#1 or SEC1.
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> ClientPair {
        let mut hash = digest::Context::new(&digest::SHA256);
        for der in &chain {
            hash.update(&(der.len() as u64).to_be_bytes());
            hash.update(der);
        }
        ClientPair {
            chain_digest: finish(hash),
            chain: chain.into_iter().map(CertificateDer::from).collect(),
            key: Zeroizing::new(key),
            certified: OnceLock::new(),
        }
    }

    /// # Errors
    /// When the key cannot be read or is not the leaf's.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
        self.certified
            .get_or_init(|| {
                let key = PrivateKeyDer::try_from(self.key.as_slice())
                    .map_err(str::to_owned)?
                    .clone_key();
                CertifiedKey::from_der(self.chain.clone(), key, provider)
                    .map(Arc::new)
                    .map_err(|why| why.to_string())
            })
            .clone()
    }
}

impl std::fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPair")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}
