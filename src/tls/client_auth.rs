//! The client's chain and the verdict on it.
use super::Digest;

/// The certificates a client sent, possession of the first one's key proven in the handshake. Nothing is trusted yet.
#[derive(Debug)]
pub struct ClientChain {
    /// DER, leaf first, as sent.
    pub certificates: Vec<Vec<u8>>,
    /// SHA-256 over every certificate with its length: the key of a verdict.
    pub digest: Digest,
}

impl ClientChain {
    /// Takes the certificates as sent and computes their digest.
    pub fn new(certificates: Vec<Vec<u8>>) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for certificate in &certificates {
            // A handshake message is far smaller than 4 GB; saturating keeps the function total.
            let length = u32::try_from(certificate.len()).unwrap_or(u32::MAX);
            context.update(&length.to_be_bytes());
            context.update(certificate);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.finish().as_ref());
        Self { certificates, digest }
    }
}
