//! The data plane: one connection from accept to close, on one core, sharing nothing with another.
//!
//! `connection` reads top-down; the rest computes for it and returns.
pub mod admit;
pub mod connection;
pub mod core;
pub mod exchange;
pub mod forward;
pub mod handshake;
pub mod log;
pub mod names;
pub mod pool;
pub mod proxy_protocol;
pub mod pump;
pub mod reply;
pub mod rewrite;
pub mod stream;
pub mod target;
pub mod tunnel;
