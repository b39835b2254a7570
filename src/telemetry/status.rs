//! The status listener: `/status`, `/status/ready`, `/metrics` over HTTP/1.1 (KONG.md §2.8, KONG-CLIENTS.md §4.5).
//!
//! GET and HEAD only, no authentication, as Kong's; in clear text or, where `status_listen` says `ssl`, over TLS.

use super::access::{Level, write_rfc3339, write_string};
use super::log::{LogHandle, Sink, unix_ms};
use super::metrics::{Connections, CoreMetrics, ProcessFacts, render};
use super::tls_stream::TlsStream;
use crate::limits::{
    STATUS_CONNECTION_MS, STATUS_CONNECTIONS_MAX, STATUS_HEAD_MS, STATUS_SCRAPE_MS,
};
use crate::tls::server::{CoreServer, ServerPolicy};
use crate::tls::tickets::Ticketer;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What the listener asks the control side for.
pub trait StatusSource: Send + Sync + 'static {
    /// The counters of every core that answered. Waited for `STATUS_SCRAPE_MS` at most.
    fn scrape(&self) -> impl Future<Output = Vec<CoreMetrics>> + Send;

    fn process(&self) -> ProcessFacts;

    /// `Err`: why this node should not get traffic now.
    fn ready(&self) -> Result<(), String>;

    /// 32 hexadecimal digits; `None` where a database holds the configuration.
    fn configuration_hash(&self) -> Option<String>;

    /// Where `status_access_log` and `status_error_log` are written.
    fn log(&self) -> Option<LogHandle> {
        None
    }
}

/// The certificates that listeners with `ssl` show; a reload puts others in. Nothing resumes here.
pub struct StatusTls(Mutex<Arc<ServerPolicy>>);

impl StatusTls {
    pub fn new(policy: Arc<ServerPolicy>) -> Self {
        StatusTls(Mutex::new(policy))
    }

    pub fn replace(&self, policy: Arc<ServerPolicy>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn core(&self) -> CoreServer {
        let policy = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // The policy seals no ticket; the ticketer is there for form.
        CoreServer::new(policy, Arc::new(Ticketer::new([0; 16], 0, [0; 16])))
    }
}

/// Accepts until dropped; connections end with it. `tls`: this listener has `ssl`.
pub async fn serve<S: StatusSource>(
    listener: TcpListener,
    tls: Option<Arc<StatusTls>>,
    source: Arc<S>,
) -> Infallible {
    let permits = Arc::new(Semaphore::new(STATUS_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: the queue is still there in a moment.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            // Closing says "not now" to a probe; waiting would say nothing.
            continue;
        };
        let source = Arc::clone(&source);
        let core = tls.as_ref().map(|tls| tls.core());
        connections.spawn(async move {
            match core {
                None => serve_connection(stream, peer, source).await,
                Some(core) => {
                    let hello = Duration::from_millis(STATUS_HEAD_MS);
                    let accepted = TlsStream::accept(stream, core);
                    match tokio::time::timeout(hello, accepted).await {
                        Ok(Ok(stream)) => serve_connection(stream, peer, source).await,
                        Ok(Err(error)) => refused(&*source, peer, &error),
                        Err(_) => refused(&*source, peer, &"no ClientHello in time"),
                    }
                }
            }
            drop(permit);
        });
    }
}

/// One connection, `STATUS_CONNECTION_MS` at most.
async fn serve_connection<S, IO>(stream: IO, peer: SocketAddr, source: Arc<S>)
where
    S: StatusSource,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let source = Arc::clone(&source);
        async move {
            let response = answer(&request, &*source).await;
            if let Some(log) = source.log() {
                log.line(Sink::StatusAccess, |line| {
                    access_line(line, peer, &request, response.status());
                });
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(STATUS_HEAD_MS))
        .serve_connection(TokioIo::new(stream), service);
    // A probe that breaks off is nothing to act upon.
    let _ = tokio::time::timeout(Duration::from_millis(STATUS_CONNECTION_MS), connection).await;
}

fn refused<S: StatusSource>(source: &S, peer: SocketAddr, reason: &dyn fmt::Display) {
    if let Some(log) = source.log() {
        let text = format!("status_listen: TLS handshake with {peer}: {reason}");
        log.error_to(Sink::StatusError, Level::Info, text);
    }
}

/// One request as a line of `status_access_log`.
fn access_line(
    line: &mut Vec<u8>,
    peer: SocketAddr,
    request: &Request<Incoming>,
    status: StatusCode,
) {
    line.extend_from_slice(b"{\"time\":\"");
    write_rfc3339(line, unix_ms());
    line.extend_from_slice(b"\",\"client_ip\":");
    write_string(line, peer.ip().to_string().as_bytes());
    line.extend_from_slice(b",\"method\":");
    write_string(line, request.method().as_str().as_bytes());
    line.extend_from_slice(b",\"path\":");
    write_string(line, request.uri().path().as_bytes());
    line.extend_from_slice(format!(",\"status\":{}}}", status.as_u16()).as_bytes());
}

/// The body of `/status`, which the Admin API serves too.
pub fn status_body(
    cores: &[CoreMetrics],
    process: &ProcessFacts,
    configuration_hash: Option<String>,
) -> Value {
    let connections = cores.iter().fold(Connections::default(), |sum, core| {
        sum.plus(core.connections())
    });
    let requests: u64 = cores.iter().map(CoreMetrics::requests).sum();
    let memory = process.memory.unwrap_or_default();
    let mut body = json!({
        "database": {"reachable": process.datastore_reachable},
        "memory": {
            "workers_lua_vms": [],
            "lua_shared_dicts": {},
            "resident_bytes": memory.resident,
        },
        "server": {
            "connections_accepted": connections.accepted,
            "connections_active": connections.active_count(),
            "connections_handled": connections.accepted,
            "connections_reading": connections.handshaking,
            "connections_waiting": connections.waiting_count(),
            "connections_writing": connections.exchanging,
            "total_requests": requests,
        },
    });
    if let (Some(hash), Some(body)) = (configuration_hash, body.as_object_mut()) {
        body.insert("configuration_hash".to_owned(), hash.into());
    }
    body
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const JSON: &str = "application/json; charset=utf-8";
const METRICS: &str = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

async fn answer<S: StatusSource>(request: &Request<Incoming>, source: &S) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let path = match path.strip_suffix('/') {
        Some(short) if !short.is_empty() => short,
        _ => path,
    };
    if !["/status", "/status/ready", "/metrics"].contains(&path) {
        return message(StatusCode::NOT_FOUND, "Not found");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if path == "/status/ready" {
        return match source.ready() {
            Ok(()) => message(StatusCode::OK, "ready"),
            Err(reason) => message(StatusCode::SERVICE_UNAVAILABLE, &reason),
        };
    }
    let wait = Duration::from_millis(STATUS_SCRAPE_MS);
    let Ok(cores) = tokio::time::timeout(wait, source.scrape()).await else {
        return message(
            StatusCode::SERVICE_UNAVAILABLE,
            "the cores did not answer in time",
        );
    };
    let process = source.process();
    if path == "/status" {
        let body = status_body(&cores, &process, source.configuration_hash());
        return response(StatusCode::OK, JSON, body.to_string());
    }
    // Megabytes of text where there are many routes: not on the thread that answers everything else.
    match tokio::task::spawn_blocking(move || render(&cores, &process)).await {
        Ok(text) => response(StatusCode::OK, METRICS, text),
        Err(_) => message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        ),
    }
}

fn message(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, JSON, json!({"message": text}).to_string())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
