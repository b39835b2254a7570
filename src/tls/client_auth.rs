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
