//! Kong's Admin API (KONG.md §2, KONG-CLIENTS.md): entities over HTTP, on the control thread.
//!
//! Pure, values in and values out: `errors`, `paths`, `body` with `form`, `lists`, `schemas`, `cors`, `host`, `flatten`.
//! Over the store: `ops`. Over HTTP: `service`, which `dispatch` leads to `ops`, `info` (what a node tells of itself)
//! and `config_endpoint` (a whole configuration at once). What it needs of the process comes in as a `Node`.

mod audit;
pub mod body;
mod config_endpoint;
pub mod cors;
mod dispatch;
pub mod errors;
mod flatten;
pub mod form;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod host;
mod info;
pub mod lists;
mod node;
pub mod ops;
pub mod paths;
mod reply;
pub mod schemas;
pub mod service;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub use fuzz::check_fuzz;
pub use node::{Declarative, Directives, InForce, Later, LogLevel, Node, NotLive, Stuck, Timeouts};

use crate::limits::{ADMIN_COMPUTING_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_LARGE_BODIES_MAX};
use crate::telemetry::access::Level;
use crate::telemetry::log::Sink;
use errors::Failure;
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinError;

/// The Kong version that clients read: the last open-source release they gate on (KONG.md §0).
pub const KONG_VERSION: &str = "3.9.1";

/// The Admin API of one node; its listeners share it.
pub struct Admin {
    node: Node,
    /// Of loopback listeners.
    connections: Arc<Semaphore>,
    /// Of the others: whoever reaches those does not shut out who is on this machine.
    connections_beyond: Arc<Semaphore>,
    /// Requests with large content at once.
    large: Arc<Semaphore>,
    /// Operations that compute at once, each on a thread of its own.
    computing: Semaphore,
    /// Held by one of the writes that have conflicted, until it is through. Who waits for it comes in order.
    turn: Mutex<()>,
    /// Held while a posted configuration is taken.
    loading: Mutex<config_endpoint::Last>,
}

impl Admin {
    pub fn new(node: Node) -> Arc<Admin> {
        Arc::new(Admin {
            node,
            connections: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)),
            connections_beyond: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)),
            large: Arc::new(Semaphore::new(ADMIN_LARGE_BODIES_MAX)),
            computing: Semaphore::new(ADMIN_COMPUTING_MAX),
            turn: Mutex::default(),
            loading: Mutex::default(),
        })
    }

    /// Runs what would hold up the control thread on one that may compute.
    ///
    /// # Errors
    /// 500 when it panics.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // It is closed never.
        let _permit = self.computing.acquire().await;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| self.panicked(error))
    }

    fn panicked(&self, error: JoinError) -> Failure {
        match error.try_into_panic() {
            Ok(cause) => {
                let text = (cause.downcast_ref::<&str>().copied())
                    .or_else(|| cause.downcast_ref::<String>().map(String::as_str));
                let text = format!("a handler panicked: {}", text.unwrap_or("no text"));
                self.unexpected(Level::Crit, &text)
            }
            Err(error) => self.unexpected(Level::Warn, &error),
        }
    }

    /// 500; the cause is for the log.
    fn unexpected(&self, level: Level, cause: &dyn Display) -> Failure {
        self.log(level, cause);
        Failure::unexpected()
    }

    fn log(&self, level: Level, text: &dyn Display) {
        if let Some(log) = &self.node.log {
            log.error_to(Sink::AdminError, level, format_args!("admin: {text}"));
        }
    }
}
