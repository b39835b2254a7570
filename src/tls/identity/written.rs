//! A certificate as somebody wrote it into a configuration: what checks and warnings look at. More lenient than
//! [`super::Identity`]: an extension that cannot be read is no reason to refuse the text.

use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

#[derive(Clone, Debug)]
pub struct Written {
    pub public_key: WrittenKey,
    /// Of an RSA modulus; 0 for other keys.
    pub rsa_bits: usize,
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// basicConstraints says CA:TRUE.
    pub is_ca: bool,
    /// DER of the names.
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    /// One line, for messages.
    pub subject_text: String,
    /// The name of a signature algorithm that rests on MD5 or SHA-1.
    pub weak_signature: Option<&'static str>,
}

/// What decides whether a key belongs to a certificate, and whether two certificates differ in type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenKey {
    pub algorithm: Algorithm,
    /// Content of the subject public key BIT STRING.
    pub bytes: Vec<u8>,
}

/// The curves of EC are one type here, as they are in Kong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Rsa,
    /// On a curve given by its name. Parameters spelt out are no key for TLS (RFC 8422 §5.4).
    Ec,
    Ed25519,
    Other,
}

impl Written {
    /// # Errors
    /// Why the bytes are not one certificate.
    pub fn parse(der: &[u8]) -> Result<Written, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".into());
        }
        let key = certificate.public_key();
        let (algorithm, rsa_bits) = match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => (Algorithm::Rsa, rsa.key_size()),
            Ok(PublicKey::EC(_)) if has_named_curve(key) => (Algorithm::Ec, 0),
            _ if key.algorithm.algorithm.to_id_string() == ED25519 => (Algorithm::Ed25519, 0),
            _ => (Algorithm::Other, 0),
        };
        Ok(Written {
            public_key: WrittenKey {
                algorithm,
                bytes: key.subject_public_key.data.to_vec(),
            },
            rsa_bits,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            is_ca: certificate.is_ca(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            subject_text: certificate.subject().to_string(),
            weak_signature: weak_signature(
                &certificate.signature_algorithm.algorithm.to_id_string(),
            ),
        })
    }
}

fn has_named_curve(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let parameters = key.algorithm.parameters.as_ref();
    parameters.is_some_and(|parameters| parameters.tag() == Tag::Oid)
}

/// RFC 3279 §2.2.
fn weak_signature(oid: &str) -> Option<&'static str> {
    match oid {
        "1.2.840.113549.1.1.4" => Some("md5WithRSAEncryption"),
        "1.2.840.113549.1.1.5" => Some("sha1WithRSAEncryption"),
        "1.2.840.10045.4.1" => Some("ecdsa-with-SHA1"),
        _ => None,
    }
}

/// id-Ed25519 (RFC 8410).
const ED25519: &str = "1.3.101.112";
