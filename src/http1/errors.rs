//! One error type for HTTP/1.1 syntax; each becomes one status.
/// (owner: http1 helper)
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    #[error("malformed head")]
    Malformed,
}
