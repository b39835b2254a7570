//! What the Admin API needs from the process it runs in: values, and closures where the value changes or costs time.

use super::cors::Origins;
use crate::declarative::Secret;
use crate::entity::{Config, Kind};
use crate::limits::{ADMIN_BODY_MS, ADMIN_HELLO_MS, ADMIN_IDLE_MS, ADMIN_SEND_MS};
use crate::store::{Revision, Store};
use crate::telemetry::access::Level;
use crate::telemetry::log::LogHandle;
use serde_json::{Map, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// An answer that takes its time.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub struct Node {
    pub store: Arc<dyn Store>,
    /// Waits until every core uses this revision, or says why it will not.
    pub live: Box<dyn Fn(Revision) -> Later<Result<(), NotLive>> + Send + Sync>,
    /// What is stored and keeps the newest state from being served; `None`: nothing.
    pub stuck: Box<dyn Fn() -> Option<Stuck> + Send + Sync>,
    /// `node_id` of `GET /`: a UUID.
    pub id: String,
    pub hostname: String,
    /// Unix time in milliseconds.
    pub now_ms: fn() -> i64,
    /// What a reload changes.
    pub directives: Arc<InForce>,
    /// Bytes of a request's content; above it 413.
    pub body_size_max: usize,
    pub timeouts: Timeouts,
    /// Where access, audit and error lines go.
    pub log: Option<LogHandle>,
    pub log_level: LogLevel,
    /// The content of `GET /status` (`telemetry::status::status_body`).
    pub status: Box<dyn Fn() -> Later<Result<Value, String>> + Send + Sync>,
    /// Engine cores: `pids.workers` and `timers`.
    pub cores: usize,
    /// `None` where the store is written to: `/config` is not for it.
    pub declarative: Option<Declarative>,
}

/// A change that was stored is not served. The reasons are for the client too: no content, no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotLive {
    /// It cannot be, and is not stored any more.
    TakenBack(String),
    /// It stays in the store.
    Stored(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// The rows to be mended; empty where it is not about rows.
    pub rows: Vec<(Kind, Uuid)>,
    pub reason: String,
}

/// The directives that are in force.
pub struct InForce(Mutex<Arc<Directives>>);

/// Directives that take effect on a reload.
#[derive(Clone, Default)]
pub struct Directives {
    /// As `GET /` shows them in `configuration`; nothing secret among them. What clients gate on is written over it
    /// (`info`).
    pub shown: Map<String, Value>,
    /// The directive `plugins`; `None`: every one there is.
    pub plugins: Option<Vec<String>>,
    /// `admin_gui_url`.
    pub origins: Origins,
    /// `admin_hosts`: names a loopback listener answers to besides loopback addresses and `localhost`; without a port.
    pub hosts: Vec<String>,
}

impl InForce {
    pub fn new(directives: Directives) -> Arc<InForce> {
        Arc::new(InForce(Mutex::new(Arc::new(directives))))
    }

    pub fn now(&self) -> Arc<Directives> {
        Arc::clone(&self.lock())
    }

    pub fn replace(&self, directives: Directives) {
        *self.lock() = Arc::new(directives);
    }

    /// A panic elsewhere leaves a whole value: it is one pointer.
    fn lock(&self) -> MutexGuard<'_, Arc<Directives>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each step of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A TLS client's first message.
    pub hello: Duration,
    /// From an answer to the end of the next request's head.
    pub idle: Duration,
    /// A request's content.
    pub body: Duration,
    /// For a client that takes nothing of an answer.
    pub send: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            hello: Duration::from_millis(ADMIN_HELLO_MS),
            idle: Duration::from_millis(ADMIN_IDLE_MS),
            body: Duration::from_millis(ADMIN_BODY_MS),
            send: Duration::from_millis(ADMIN_SEND_MS),
        }
    }
}

pub struct LogLevel {
    pub get: Box<dyn Fn() -> Level + Send + Sync>,
    pub set: Box<dyn Fn(Level) + Send + Sync>,
}

/// The value a reference points to, or why it is not given.
pub type Secrets = Box<dyn Fn(Secret<'_>) -> Result<String, String> + Send + Sync>;

/// The revision a configuration has become, or why it cannot be served.
pub type Replace = Box<dyn Fn(Config) -> Later<Result<Revision, Vec<String>>> + Send + Sync>;

/// How a whole configuration is replaced (KONG.md §7.2).
pub struct Declarative {
    /// Reads what `{file: …}` and `{vault://env/…}` of a posted configuration point to, or refuses to.
    pub secrets: Secrets,
    /// Takes a checked configuration; when it is done, `store.image()` has it and every core serves it. Nothing has
    /// changed when it fails; the reasons are for the client.
    pub replace: Replace,
}
