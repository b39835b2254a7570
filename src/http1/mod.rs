//! HTTP/1.1 message syntax (RFC 9112): heads, framing, chunked content. Bytes in, values out.
//!
//! Owns what a message means on the wire and refuses whatever two parsers could read in two
//! ways: see `tests/attacks/smuggling.txt` for the table of rules. It knows no socket, clock or
//! thread; what a connection does with a verdict is decided in `proxy`.
pub mod chunked;
pub mod encode;
pub mod error_body;
pub mod errors;
pub mod fields;
pub mod framing;
pub mod head;
mod scan;
mod target;

#[cfg(any(test, fuzzing))]
pub mod check;
#[cfg(test)]
mod tests;

pub use errors::Error;
