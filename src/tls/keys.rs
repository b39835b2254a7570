//! Certificate chains and private keys: from PEM to what signs a handshake.
//!
//! Reading a pair costs two base64 decodings and one digest; the signing key is built at first use, once for all
//! cores, because 100,000 pairs must not slow a start. `check` builds it at once and is for writes and `check` runs.

use super::{Digest, provider};
use rustls::SignatureScheme;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zeroize::{Zeroize, Zeroizing};

/// A chain, leaf first, with the leaf's private key.
pub struct KeyPair {
    algorithm: Algorithm,
    chain_digest: Digest,
    /// Taken by the first use: nothing of the key's encoding stays then.
    source: Mutex<Option<Source>>,
    built: OnceLock<Result<Arc<CertifiedKey>, KeyError>>,
}

struct Source {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<PrivateKeyDer<'static>>,
}

/// The class of the leaf's public key: two pairs of one entity must differ in it (KONG.md §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyClass {
    Rsa,
    Ecdsa,
    Ed25519,
}

impl KeyClass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text after `invalid certificate: ` of KONG.md §1.2.
    #[error("invalid certificate: {reason}")]
    Certificate { reason: String },
    #[error("invalid key: {reason}")]
    Key { reason: String },
    #[error("certificate does not match key")]
    Mismatch,
}

impl KeyPair {
    /// Reads a chain and a key in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted. Other sections are passed over.
    /// Whether the two belong together is seen by [`KeyPair::check`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, KeyError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| KeyError::Certificate {
                reason: pem_reason(&error).to_owned(),
            })?;
        let key = private_key(key)?;
        Self::from_der(chain.into_iter().map(|der| der.to_vec()).collect(), key)
    }

    fn from_der(
        chain: Vec<Vec<u8>>,
        key: Zeroizing<PrivateKeyDer<'static>>,
    ) -> Result<Self, KeyError> {
        let leaf = chain.first().ok_or_else(|| KeyError::Certificate {
            reason: "no CERTIFICATE section was found".into(),
        })?;
        let spki = public_key_info(leaf).ok_or_else(|| KeyError::Certificate {
            reason: "the first certificate is not X.509".into(),
        })?;
        Ok(Self {
            algorithm: Algorithm::of(spki).ok_or_else(|| KeyError::Certificate {
                reason:
                    "the public key is neither RSA, nor ECDSA on P-256, P-384 or P-521, nor Ed25519"
                        .into(),
            })?,
            chain_digest: sha256(&chain.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            source: Mutex::new(Some(Source {
                chain: chain.into_iter().map(CertificateDer::from).collect(),
                key,
            })),
            built: OnceLock::new(),
        })
    }

    pub fn algorithm(&self) -> KeyClass {
        match self.algorithm {
            Algorithm::Rsa => KeyClass::Rsa,
            Algorithm::P256 | Algorithm::P384 | Algorithm::P521 => KeyClass::Ecdsa,
            Algorithm::Ed25519 => KeyClass::Ed25519,
        }
    }

    /// DER of the leaf; builds the pair, so it fails as [`KeyPair::check`] does.
    pub fn leaf(&self) -> Result<Vec<u8>, KeyError> {
        let certified = self.certified()?;
        Ok(certified
            .cert
            .first()
            .map_or_else(Vec::new, |leaf| leaf.to_vec()))
    }

    /// SHA-256 over the DER of the whole chain: two pairs that show the same bytes are the same identity.
    pub(crate) fn chain_digest(&self) -> &Digest {
        &self.chain_digest
    }

    /// Builds the signing key if no one has, and compares it with the leaf's public key.
    pub fn check(&self) -> Result<(), KeyError> {
        self.certified().map(drop)
    }

    /// What rustls signs with. The first caller builds it; others of that moment wait for it.
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, KeyError> {
        self.built.get_or_init(|| self.build()).clone()
    }

    /// Whether this key can sign with one of `schemes`, without building it.
    pub(crate) fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        let own = self.algorithm.schemes();
        schemes.iter().any(|scheme| own.contains(scheme))
    }

    fn build(&self) -> Result<Arc<CertifiedKey>, KeyError> {
        let source = self
            .source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut source) = source else {
            return Err(KeyError::Key {
                reason: "an earlier attempt to build it did not end".into(),
            });
        };
        let key = std::mem::replace(&mut *source.key, PrivateKeyDer::Pkcs8(Vec::new().into()));
        // The provider zeroises what it is given once the key is built.
        let signing = provider::key_provider()
            .load_private_key(key)
            .map_err(|error| KeyError::Key {
                reason: error.to_string(),
            })?;
        let leaf = source.chain.first().and_then(|leaf| public_key_info(leaf));
        match (signing.public_key(), leaf) {
            (Some(own), Some(leaf)) if own.as_ref() == leaf => {}
            // A library that cannot tell its public key leaves the matter to the client.
            (None, Some(_)) => {}
            _ => return Err(KeyError::Mismatch),
        }
        Ok(Arc::new(CertifiedKey::new(source.chain, signing)))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Makes the pair a gateway shows while none is configured (KONG.md §4.2): `(certificate, key)` in PEM, self-signed,
/// valid for 20 years from `now` (unix seconds), RSA-2048 or ECDSA on P-256.
pub fn generate_default(class: KeyClass, now: u64) -> Result<(String, String), KeyError> {
    let failed = |error: rcgen::Error| KeyError::Key {
        reason: error.to_string(),
    };
    let key = match class {
        KeyClass::Rsa => {
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        }
        KeyClass::Ecdsa => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyClass::Ed25519 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519),
    }
    .map_err(failed)?;

    let mut params = rcgen::CertificateParams::default();
    let mut subject = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (rcgen::DnType::CommonName, "localhost"),
        (rcgen::DnType::CountryName, "US"),
        (rcgen::DnType::StateOrProvinceName, "California"),
        (rcgen::DnType::LocalityName, "San Francisco"),
        (rcgen::DnType::OrganizationName, "Kong"),
        (rcgen::DnType::OrganizationalUnitName, "IT Department"),
    ] {
        subject.push(kind, value);
    }
    params.distinguished_name = subject;
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(now);
    params.not_after =
        params.not_before + std::time::Duration::from_secs(DEFAULT_PAIR_LIFETIME_SECS);
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

const DEFAULT_PAIR_LIFETIME_SECS: u64 = 20 * 365 * 24 * 60 * 60;

/// Why a text is not PEM. The library's own words quote the bytes of the line that is wrong: of a key whose line breaks
/// were lost that is all of it, and errors go to clients and logs.
pub fn pem_reason(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section of the PEM text has no END line of its own; are its line breaks lost?"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a BEGIN line of the PEM text holds more than that; are its line breaks lost, or written as \\n?"
        }
        pem::Error::Base64Decode(_) => "a section of the PEM text is not base64",
        pem::Error::NoItemsFound => "the section is missing in the PEM text",
        pem::Error::SectionTooLarge => "a section of the PEM text is too large",
        _ => "the PEM text cannot be read",
    }
}

fn private_key(pem: &str) -> Result<Zeroizing<PrivateKeyDer<'static>>, KeyError> {
    let invalid = |reason: &str| KeyError::Key {
        reason: reason.to_owned(),
    };
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(invalid("the key is encrypted"));
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        let (kind, mut der) = section.map_err(|error| invalid(pem_reason(&error)))?;
        return Ok(Zeroizing::new(match kind {
            SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(der.into()),
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der.into()),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(der.into()),
            _ => {
                der.zeroize();
                continue;
            }
        }));
    }
    Err(invalid(
        "no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY section was found",
    ))
}

/// Finer than [`KeyClass`]: the curve decides which schemes TLS 1.3 allows (RFC 8446 §4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Algorithm {
    /// From a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    fn of(spki: &[u8]) -> Option<Self> {
        let (identifier, _) = der_value(der_value(spki, SEQUENCE)?.0, SEQUENCE)?;
        let (oid, parameters) = der_value(identifier, OBJECT_IDENTIFIER)?;
        match oid {
            RSA_ENCRYPTION => Some(Self::Rsa),
            ID_ED25519 => Some(Self::Ed25519),
            ID_EC_PUBLIC_KEY => match der_value(parameters, OBJECT_IDENTIFIER)?.0 {
                SECP256R1 => Some(Self::P256),
                SECP384R1 => Some(Self::P384),
                SECP521R1 => Some(Self::P521),
                _ => None,
            },
            _ => None,
        }
    }

    fn schemes(self) -> &'static [SignatureScheme] {
        match self {
            Self::Rsa => &[
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA512,
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::RSA_PKCS1_SHA384,
                SignatureScheme::RSA_PKCS1_SHA512,
            ],
            Self::P256 => &[SignatureScheme::ECDSA_NISTP256_SHA256],
            Self::P384 => &[SignatureScheme::ECDSA_NISTP384_SHA384],
            Self::P521 => &[SignatureScheme::ECDSA_NISTP521_SHA512],
            Self::Ed25519 => &[SignatureScheme::ED25519],
        }
    }
}

/// The SubjectPublicKeyInfo of a certificate, its own header included. Works for X.509 v1 as well, which webpki
/// refuses to look at and Kong serves.
fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der_value(certificate, SEQUENCE)?;
    let (mut rest, _) = der_value(certificate, SEQUENCE)?;
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = der_value(rest, EXPLICIT_VERSION)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        // serialNumber, signature, issuer, validity, subject
        rest = der_value(rest, tag)?.1;
    }
    let after = der_value(rest, SEQUENCE)?.1;
    rest.get(..rest.len() - after.len())
}

/// One DER element of the given tag: its content and what follows it. Lengths of up to 3 bytes.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
            (
                digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | usize::from(*digit)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const ID_EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7, 1.3.132.0.34, 1.3.132.0.35
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const SECP521R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.101.112
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(class: KeyClass) -> (String, String) {
        generate_default(class, 1_700_000_000).unwrap()
    }

    #[test]
    fn a_generated_default_of_each_class_loads_and_matches() {
        for class in [KeyClass::Rsa, KeyClass::Ecdsa, KeyClass::Ed25519] {
            let (certificate, key) = pair(class);
            let pair = KeyPair::from_pem(&certificate, &key).unwrap();
            assert_eq!(pair.algorithm(), class);
            assert_eq!(pair.check(), Ok(()), "{class:?}");
            assert_eq!(pair.check(), Ok(()), "a second use finds it built");
        }
    }

    #[test]
    fn the_default_certificate_has_the_subject_usages_and_lifetime_of_kong_4_2() {
        let (certificate, _) = pair(KeyClass::Ecdsa);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(
            parsed.subject().to_string(),
            "CN=localhost, C=US, ST=California, L=San Francisco, O=Kong, OU=IT Department"
        );
        assert_eq!(parsed.issuer(), parsed.subject());
        assert!(!parsed.is_ca());
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
        assert!(parsed.subject_alternative_name().unwrap().is_none());
        assert_eq!(parsed.validity().not_before.timestamp(), 1_700_000_000);
        assert_eq!(
            parsed.validity().not_after.timestamp(),
            1_700_000_000 + 20 * 365 * 86_400
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (certificate, key) = pair(KeyClass::Ecdsa);
        let (_, other_key) = pair(KeyClass::Ecdsa);
        let (_, rsa_key) = pair(KeyClass::Rsa);
        let broken = certificate.replacen("MII", "MIJ", 1);
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (certificate, key, want) in [
            (
                "",
                key.as_str(),
                "invalid certificate: no CERTIFICATE section was found",
            ),
            (
                key.as_str(),
                key.as_str(),
                "invalid certificate: no CERTIFICATE section was found",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                &key,
                "invalid certificate: the first certificate is not X.509",
            ),
            (
                &certificate,
                "",
                "invalid key: no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY section was found",
            ),
            (&certificate, encrypted, "invalid key: the key is encrypted"),
            (
                &certificate,
                &key.replace('\n', "\\n"),
                "invalid key: a BEGIN line of the PEM text holds more than that; are its line breaks lost, or written as \\n?",
            ),
            (&certificate, &other_key, "certificate does not match key"),
            (&certificate, &rsa_key, "certificate does not match key"),
        ] {
            let error = KeyPair::from_pem(certificate, key)
                .and_then(|pair| pair.check())
                .unwrap_err();
            assert_eq!(error.to_string(), want);
        }
        assert!(
            KeyPair::from_pem(&broken, &key).is_err(),
            "a certificate whose length is false"
        );
    }

    #[test]
    fn a_key_that_is_no_key_is_refused_at_check_and_at_every_use() {
        let (certificate, _) = pair(KeyClass::Ecdsa);
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let pair = KeyPair::from_pem(&certificate, key).unwrap();
        let first = pair.check().unwrap_err();
        assert!(first.to_string().starts_with("invalid key: "));
        assert_eq!(pair.check().unwrap_err(), first);
    }

    #[test]
    fn an_x509_v1_certificate_and_a_sec1_key_behind_its_parameters_are_read() {
        let pair = KeyPair::from_pem(V1_CERTIFICATE, SEC1_KEY).unwrap();
        assert_eq!(pair.algorithm(), KeyClass::Ecdsa);
        assert_eq!(pair.check(), Ok(()));
    }

    /// Made for this test with OpenSSL, which writes version 1 when no extension is asked for.
    const V1_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFTCBvQIUGl7gWQQp/TinkqUK2Xe0wxIULDMwCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCdjEwIBcNMjYxMTI0MTg1NTE1WhgPMjEyNjEwMzExODU1MTVaMA0xCzAJ
BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeOpcSXNJysj3PRhR
3Cn5/wHOlF5iCNyWDNjhMYhRQ70z5EKgQ6QTnkfoEqtgmQpVfNMrWxulPd4W6VEH
c3DVUjAKBggqhkjOPQQDAgNHADBEAiBa1MGRE7ZQGViKzuPDVNo1X8+un3lPm5+X
8VFciWM7rAIgTRuafJ1okhg4B87OwpO9TEXynlJT5EJxg2t+x/1pX1w=
-----END CERTIFICATE-----
";
    const SEC1_KEY: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIOHt/gD7ZdDezCDF0G+/xhDxj3qvP9f6eW/BXp6kDRI6oAoGCCqGSM49
AwEHoUQDQgAEeOpcSXNJysj3PRhR3Cn5/wHOlF5iCNyWDNjhMYhRQ70z5EKgQ6QT
nkfoEqtgmQpVfNMrWxulPd4W6VEHc3DVUg==
-----END EC PRIVATE KEY-----
";

    #[test]
    fn cores_that_need_a_key_at_once_share_one() {
        let (certificate, key) = pair(KeyClass::Ecdsa);
        let pair = KeyPair::from_pem(&certificate, &key).unwrap();
        let built: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| pair.certified())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap().unwrap())
                .collect()
        });
        assert!(built.iter().all(|key| Arc::ptr_eq(key, &built[0])));
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let (certificate, key) = pair(KeyClass::Ecdsa);
        let pair = KeyPair::from_pem(&certificate, &key).unwrap();
        assert_eq!(format!("{pair:?}"), "KeyPair { algorithm: P256, .. }");
    }

    #[test]
    fn truncated_der_never_panics() {
        let (certificate, _) = pair(KeyClass::Rsa);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        for end in 0..der.len() {
            let _ = public_key_info(&der[..end]).and_then(Algorithm::of);
        }
    }
}
