//! HTTP/1.1 message syntax (RFC 9112): heads, framing, chunked content. Bytes in, values out.
pub mod chunked;
pub mod encode;
pub mod errors;
pub mod fields;
pub mod framing;
pub mod head;
pub use errors::Error;
