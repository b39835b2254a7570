//! The proof that a peer holds the key of the certificate it sent (RFC 8446 §4.4.3, RFC 5246 §7.4.3 and §7.4.8), and in
//! words why one does not count: to rustls a key that is too short is a bad signature, and what webpki cannot read has the
//! name of a variant.

use super::identity::Written;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

pub(super) fn verify_tls12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls12_signature(message, cert, dss, algorithms).map_err(|error| explained(error, cert))
}

pub(super) fn verify_tls13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, algorithms).map_err(|error| explained(error, cert))
}

#[derive(Debug, thiserror::Error)]
enum Unproven {
    #[error("the certificate it sent has an RSA key of {bits} bits; at least 2048 are accepted")]
    ShortKey { bits: usize },
    #[error("the certificate it sent cannot be read: {why}")]
    Unreadable { why: OtherError },
}

fn explained(error: Error, cert: &CertificateDer<'_>) -> Error {
    let why = match error {
        Error::InvalidCertificate(CertificateError::Other(why)) => Unproven::Unreadable { why },
        Error::InvalidCertificate(CertificateError::BadSignature) => match short_rsa(cert) {
            Some(bits) => Unproven::ShortKey { bits },
            None => return error,
        },
        other => return other,
    };
    CertificateError::Other(OtherError(Arc::new(why))).into()
}

fn short_rsa(cert: &CertificateDer<'_>) -> Option<usize> {
    let bits = Written::parse(cert).ok()?.rsa_bits;
    (1..RSA_BITS_MIN).contains(&bits).then_some(bits)
}

/// What aws-lc-rs and ring verify with: RSA_PSS_2048_8192 and its kind.
const RSA_BITS_MIN: usize = 2048;
