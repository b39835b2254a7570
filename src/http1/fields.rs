//! Field names the gateway gives a meaning to.
/// (owner: http1 helper)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Other,
}
