//! PEM, X.509 and private keys, as far as checking entities needs them. Reasons are plain text without
//! any part of a key.
use crate::tls::identity::{Algorithm, Written, WrittenKey};
use crate::tls::keys::pem_reason;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Write;

/// Whether the text stands for a value kept elsewhere.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

/// All certificates of the text; at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("invalid certificate: {}", pem_reason(&error)))?;
    if chain.is_empty() {
        return Err("invalid certificate: no CERTIFICATE section in the PEM text".into());
    }
    Ok(chain)
}

pub fn written(der: &[u8]) -> Result<Written, String> {
    Written::parse(der).map_err(|error| format!("invalid certificate: {error}"))
}

/// The public half of the first private key of the text (PKCS#8, PKCS#1 or SEC1).
pub fn public_of_key(pem: &str) -> Result<WrittenKey, String> {
    let invalid = |reason: &str| format!("invalid key: {reason}");
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || pem.contains("Proc-Type: 4,ENCRYPTED")
    {
        return Err(invalid(
            "the private key is encrypted; store it without a passphrase",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            invalid("no PRIVATE KEY section in the PEM text")
        }
        error => invalid(pem_reason(&error)),
    })?;
    let found = match &key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(rsa),
        PrivateKeyDer::Sec1(der) => {
            let der = der.secret_sec1_der();
            ec(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok())
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            ec(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok())
                .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(rsa))
                .or_else(|| {
                    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                        .ok()
                        .map(ed25519)
                })
        }
        _ => None,
    };
    found.ok_or_else(|| {
        invalid("not a usable RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519 key")
    })
}

fn rsa(pair: RsaKeyPair) -> WrittenKey {
    WrittenKey {
        algorithm: Algorithm::Rsa,
        bytes: pair.public_key().as_ref().to_vec(),
    }
}

fn ed25519(pair: Ed25519KeyPair) -> WrittenKey {
    WrittenKey {
        algorithm: Algorithm::Ed25519,
        bytes: pair.public_key().as_ref().to_vec(),
    }
}

fn ec(
    parse: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>,
) -> Option<WrittenKey> {
    [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(parse)
    .map(|pair| WrittenKey {
        algorithm: Algorithm::Ec,
        bytes: pair.public_key().as_ref().to_vec(),
    })
}

/// SHA-256 of the DER, 64 lower-case hexadecimal digits.
pub fn digest(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest
        .as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
