//! The status listener: `/status`, `/status/ready`, `/metrics` over HTTP/1.1 (KONG.md §2.8, KONG-CLIENTS.md §4.5).
//!
//! GET and HEAD only, no authentication, as Kong's; in clear text or, where `status_listen` says `ssl`, over TLS.

use super::acceptor::{self, Accepted, Bounds, Door};
use super::access::{Level, write_rfc3339, write_string};
use super::log::{LogHandle, Sink, unix_ms};
use super::metrics::{Connections, CoreMetrics, ProcessFacts, render};
use crate::limits::{
    STATUS_CONNECTION_MS, STATUS_CONNECTIONS_MAX, STATUS_HEAD_MS, STATUS_SCRAPE_MS,
};
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
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use super::acceptor::ListenerTls as StatusTls;

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

/// Accepts until dropped; connections end with it. `tls`: this listener has `ssl`.
pub async fn serve<S: StatusSource>(
    listener: TcpListener,
    tls: Option<Arc<StatusTls>>,
    source: Arc<S>,
) -> Infallible {
    let bounds = Bounds {
        permits: Arc::new(Semaphore::new(STATUS_CONNECTIONS_MAX)),
        hello: Duration::from_millis(STATUS_HEAD_MS),
        stall: Duration::from_millis(STATUS_CONNECTION_MS),
    };
    acceptor::accept(listener, tls, bounds, Arc::new(Listener(source))).await
}

struct Listener<S>(Arc<S>);

impl<S: StatusSource> Door for Listener<S> {
    /// One connection, `STATUS_CONNECTION_MS` at most.
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let peer = accepted.peer;
        let service = service_fn(move |request: Request<Incoming>| {
            let source = Arc::clone(&self.0);
            async move {
                let response = answer(&request, &*source).await;
                if let Some(log) = source.log() {
                    log.line(Sink::StatusAccess, |line| {
                        let path = request.uri().path().as_bytes();
                        access_line(
                            line,
                            peer,
                            request.method().as_str(),
                            path,
                            response.status(),
                        );
                        line.push(b'}');
                    });
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(STATUS_HEAD_MS))
            .serve_connection(TokioIo::new(accepted.stream), service);
        // A probe that breaks off is nothing to act upon.
        let _ = tokio::time::timeout(Duration::from_millis(STATUS_CONNECTION_MS), connection).await;
    }

    fn refused(&self, peer: SocketAddr, reason: &dyn fmt::Display) {
        if let Some(log) = self.0.log() {
            let text = format!("status_listen: TLS handshake with {peer}: {reason}");
            log.error_to(Sink::StatusError, Level::Info, text);
        }
    }

    fn full(&self) {
        if let Some(log) = self.0.log() {
            let text = format!(
                "status_listen: more than {STATUS_CONNECTIONS_MAX} connections, further ones are closed"
            );
            log.error_to(Sink::StatusError, Level::Warn, text);
        }
    }
}

/// One request as a line of `status_access_log` or `admin_access_log`, without the closing brace.
pub fn access_line(
    line: &mut Vec<u8>,
    peer: SocketAddr,
    method: &str,
    path: &[u8],
    status: StatusCode,
) {
    line.extend_from_slice(b"{\"time\":\"");
    write_rfc3339(line, unix_ms());
    line.extend_from_slice(b"\",\"client_ip\":");
    write_string(line, peer.ip().to_string().as_bytes());
    line.extend_from_slice(b",\"method\":");
    write_string(line, method.as_bytes());
    line.extend_from_slice(b",\"path\":");
    write_string(line, path);
    line.extend_from_slice(format!(",\"status\":{}", status.as_u16()).as_bytes());
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
