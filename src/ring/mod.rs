//! The cellar: monoio sockets with owned buffers, deadlines and cancellation, and the few system calls no crate
//! offers safely. No TLS, no HTTP. The one room where `unsafe` is allowed; each block has its reason.

mod buffer;
mod clock;
mod doorbell;
mod guard;
mod runtime;
mod socket;
pub mod sys;
#[cfg(test)]
mod tests;
mod time;

pub use buffer::{Buffer, Pool};
pub use clock::{now, wall};
pub use doorbell::{Bell, Doorbell, doorbell};
pub use guard::Guarded;
pub use runtime::{Driver, Engine, run};
pub use socket::{Listener, ReadEnd, Socket};
pub use time::{Clock, Elapsed, Signal, Turn, before, join2, sleep_until, unless};
