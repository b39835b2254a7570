//! The certificate chain and key the gateway shows an upstream.

use crate::tls::Digest;
use crate::tls::keys::KeyPair;
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
    source: Source,
}

enum Source {
    Der {
        chain: Vec<CertificateDer<'static>>,
        key: Zeroizing<Vec<u8>>,
        certified: OnceLock<Result<Arc<CertifiedKey>, String>>,
    },
    /// A pair the gateway has anyway: its key is built once, whoever shows it.
    Shared(Arc<KeyPair>),
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
            source: Source::Der {
                chain: chain.into_iter().map(CertificateDer::from).collect(),
                key: Zeroizing::new(key),
                certified: OnceLock::new(),
            },
        }
    }

    /// A pair that is shared with other uses.
    pub fn shared(pair: Arc<KeyPair>) -> ClientPair {
        ClientPair { chain_digest: *pair.chain_digest(), source: Source::Shared(pair) }
    }

    /// # Errors
    /// When the key cannot be read or is not the leaf's.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
        match &self.source {
            Source::Shared(pair) => pair.certified().map_err(|error| error.to_string()),
            Source::Der { chain, key, certified } => certified
                .get_or_init(|| {
                    let key = PrivateKeyDer::try_from(key.as_slice()).map_err(str::to_owned)?.clone_key();
                    CertifiedKey::from_der(chain.clone(), key, provider).map(Arc::new).map_err(|why| why.to_string())
                })
                .clone(),
        }
    }
}

impl std::fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPair")
            .finish_non_exhaustive()
    }
}
