//! The data plane: one connection from accept to close, on one core, sharing nothing with another.
//!
//! `connection` reads top-down: `request` waits and reads for it, `matching` finds the route, `forward` carries the exchange
//! (`destination`, where to; `sending` and `response`, its halves; `race`, both at once). The rest computes and returns.
pub mod admit;
pub mod connection;
pub mod core;
mod destination;
pub mod exchange;
pub mod forward;
pub mod handshake;
pub mod log;
mod matching;
pub mod names;
pub mod pool;
pub mod proxy_protocol;
pub mod pump;
mod race;
pub mod reply;
mod request;
mod response;
pub mod rewrite;
mod sending;
pub mod stream;
pub mod target;
#[cfg(test)]
mod tests;
pub mod tunnel;
