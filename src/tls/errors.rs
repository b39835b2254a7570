//! (to be written)
/// (owner: tlsserver helper)
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("tls")]
    Other,
}
