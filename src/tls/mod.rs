//! Everything TLS: no rustls type leaves this module. No sockets, no clocks: bytes and unix seconds are passed in.
//!
//! - `provider`: which crypto library does what (RUNTIME.md §5).
//! - `keys`: certificate chains and private keys from PEM.
//! - `sni`, `server`, `tickets`: what a client is shown and what resumes (Use case 1).
//! - `identity`, `trust`, `client_auth`: who the client is and whether its chain leads to a trusted CA (Use case 2).
//! - `upstream`: the gateway's own certificate and its trust towards upstreams (Use cases 3 and 4).
//! - `possession`: whether a peer holds the key of its certificate.
//! - `session`: one TLS connection as a machine from bytes to bytes, either side.
pub mod client_auth;
pub mod errors;
pub mod identity;
pub mod keys;
mod possession;
pub mod provider;
pub mod server;
pub mod session;
pub mod sni;
pub mod tickets;
pub mod trust;
pub mod upstream;
pub use errors::Error;

/// SHA-256, the digest every fingerprint here uses.
pub type Digest = [u8; 32];
