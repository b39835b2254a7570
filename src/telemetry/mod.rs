//! What the gateway tells about itself: counters, logs, and the listener that shows them.
//!
//! - `metrics`: one core's counters, and the scrape that merges them.
//! - `access`: one exchange, one handshake failure, one error as a line of bytes; pure.
//! - `log`: the thread that owns the log files; cores hand it chunks and never wait.
//! - `status`: `/status`, `/status/ready`, `/metrics` over HTTP/1.1.
//! - `acceptor`: what that listener and the Admin API's share; `tls_stream`: TLS around one of their connections.
//! - `process`: what the kernel says about this process.
//!
//! The data plane uses `metrics`, `access` and `log::CoreLog` only: they make no system call.
pub mod acceptor;
pub mod access;
mod exposition;
pub mod log;
pub mod metrics;
pub mod process;
mod series;
pub mod status;
mod tls_stream;
