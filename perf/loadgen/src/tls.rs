//! The client's side of TLS: one configuration for all connections, made to be cheap.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme,
};

use crate::args::{Args, Cipher, Group, Mode, Version};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tickets kept for later connections; the oldest go first.
const TICKETS_MAX: usize = 4096;

/// What all connections share.
pub struct Tls {
    pub config: Arc<ClientConfig>,
    /// The tickets received, with `resumed`.
    pub tickets: Arc<Tickets>,
    pub certs: Arc<Certs>,
}

pub fn build(args: &Args) -> Result<Tls> {
    let provider = Arc::new(provider(args));
    let version = match args.tls {
        Version::Tls12 => &rustls::version::TLS12,
        Version::Tls13 => &rustls::version::TLS13,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match &args.ca {
        Some(ca) if args.verify => {
            let mut roots = RootCertStore::empty();
            for anchor in read_chain(ca)? {
                roots.add(anchor)?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()?
        }
        _ => Arc::new(Unverified {
            schemes: provider
                .signature_verification_algorithms
                .supported_schemes(),
        }),
    };
    let certs = Arc::new(Certs::load(args, &provider)?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(certs.clone());
    let tickets = Arc::new(Tickets::default());
    config.resumption = match args.mode {
        Mode::Resumed => Resumption::store(tickets.clone()),
        _ => Resumption::disabled(),
    };
    Ok(Tls {
        config: Arc::new(config),
        tickets,
        certs,
    })
}

/// One group and one cipher: the peers measured cannot choose different work. TLS 1.2 offers P-256 behind the group,
/// since there a server may only use an ECDSA certificate whose curve is offered (RFC 8422 §5.1).
fn provider(args: &Args) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let group = match args.group {
        Group::X25519 => NamedGroup::X25519,
        Group::P256 => NamedGroup::secp256r1,
        Group::X25519Mlkem768 => NamedGroup::X25519MLKEM768,
    };
    provider.kx_groups.retain(|offered| {
        let curve_of_cert = args.tls == Version::Tls12 && offered.name() == NamedGroup::secp256r1;
        offered.name() == group || curve_of_cert
    });
    provider
        .kx_groups
        .sort_by_key(|offered| offered.name() != group);
    let suites: &[CipherSuite] = match args.cipher {
        Cipher::Aes128 => &[
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        Cipher::Aes256 => &[
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        Cipher::Chacha => &[
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
    };
    provider
        .cipher_suites
        .retain(|offered| suites.contains(&offered.suite()));
    provider
}

/// The client certificates, taken in turn by the connections that are asked for one.
pub struct Certs {
    all: Vec<Arc<CertifiedKey>>,
    taken: AtomicUsize,
}

impl Certs {
    fn load(args: &Args, provider: &CryptoProvider) -> Result<Certs> {
        let signing = |path: &Path| -> Result<_> {
            let key = PrivateKeyDer::from_pem_file(path).map_err(|e| named(path, &e))?;
            Ok(provider.key_provider.load_private_key(key)?)
        };
        let mut all = Vec::new();
        if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
            all.push(CertifiedKey::new(read_chain(cert)?, signing(key)?));
        } else if let Some(dir) = &args.cert_dir {
            let shared = args.key.as_deref().map(signing).transpose()?;
            let mut paths: Vec<_> = fs::read_dir(dir)
                .map_err(|e| named(dir, &e))?
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.extension().is_some_and(|e| e == "crt"))
                .collect();
            paths.sort();
            for path in paths {
                let key = match &shared {
                    Some(key) => key.clone(),
                    None => signing(&path.with_extension("key"))?,
                };
                all.push(CertifiedKey::new(read_chain(&path)?, key));
            }
            if all.is_empty() {
                return Err(format!("--cert-dir: no NAME.crt in {}", dir.display()).into());
            }
        } else if let (Some(count), Some(ca), Some(ca_key), Some(key)) =
            (args.mint, &args.mint_ca, &args.mint_ca_key, &args.key)
        {
            let signing_key = signing(key)?;
            for cert in mint(count, ca, ca_key, key)? {
                all.push(CertifiedKey::new(vec![cert], signing_key.clone()));
            }
        }
        Ok(Certs {
            all: all.into_iter().map(Arc::new).collect(),
            taken: AtomicUsize::new(0),
        })
    }

    /// How often a certificate was given out again; with a single one that is the purpose, so 0.
    pub fn reused(&self) -> u64 {
        match self.all.len() {
            0 | 1 => 0,
            count => self.taken.load(Ordering::Relaxed).saturating_sub(count) as u64,
        }
    }
}

/// `count` certificates for one key, each with a serial number and a name no earlier run has used: a gateway that
/// remembers chains has seen none of them.
fn mint(
    count: usize,
    ca: &Path,
    ca_key: &Path,
    key: &Path,
) -> Result<Vec<CertificateDer<'static>>> {
    let text = |path: &Path| fs::read_to_string(path).map_err(|e| named(path, &e));
    let ca_key = rcgen::KeyPair::from_pem(&text(ca_key)?)?;
    let issuer = rcgen::Issuer::from_ca_cert_pem(&text(ca)?, ca_key)?;
    let key = rcgen::KeyPair::from_pem(&text(key)?)?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2060, 1, 1);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let mut minted = Vec::with_capacity(count);
    for index in 0..count as u64 {
        let serial = (u128::from(run >> 1) << 64 | u128::from(index)).to_be_bytes();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = format!("client-{run}-{index}");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        minted.push(params.signed_by(&key, &issuer)?.der().clone());
    }
    Ok(minted)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certs = CertificateDer::pem_file_iter(path).map_err(|e| named(path, &e))?;
    let chain: Vec<_> = certs
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| named(path, &e))?;
    match chain.is_empty() {
        true => Err(format!("{}: no certificate in it", path.display()).into()),
        false => Ok(chain),
    }
}

fn named(path: &Path, error: &dyn fmt::Display) -> Box<dyn Error> {
    format!("{}: {error}", path.display()).into()
}

impl ResolvesClientCert for Certs {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if self.all.is_empty() {
            return None;
        }
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        self.all.get(turn % self.all.len()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.all.is_empty()
    }
}

impl fmt::Debug for Certs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certs({})", self.all.len())
    }
}

/// Sessions of one server, first in first out. rustls' own store keeps eight, too few for many connections at a time.
#[derive(Default)]
pub struct Tickets {
    tls13: Mutex<VecDeque<Tls13ClientSessionValue>>,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
}

impl Tickets {
    pub fn count(&self) -> usize {
        let tls12 = lock(&self.tls12).is_some();
        lock(&self.tls13).len() + usize::from(tls12)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *lock(&self.tls12) = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        lock(&self.tls12).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *lock(&self.tls12) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = lock(&self.tls13);
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        lock(&self.tls13).pop_front()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({})", self.count())
    }
}

/// Takes any server: the load is on a loopback address and its cost must stay small.
#[derive(Debug)]
struct Unverified {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
