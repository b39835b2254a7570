//! Path normalisation and the upstream path (KONG.md §3.1, §3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handling {
    #[default]
    V0,
    V1,
}
