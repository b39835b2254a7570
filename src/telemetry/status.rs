//! The status listener: `/status`, `/status/ready`, `/metrics` over HTTP/1.1 (KONG.md §2.8, KONG-CLIENTS.md §4.5).
//!
//! GET and HEAD only, no authentication, as Kong's. Clear text: `serve_connection` takes any stream, so a TLS one
//! can be put around the socket by whoever has it.

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
use std::future::Future;
use std::sync::Arc;
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
}

/// Accepts until dropped; connections end with it.
pub async fn serve<S: StatusSource>(listener: TcpListener, source: Arc<S>) -> Infallible {
    let permits = Arc::new(Semaphore::new(STATUS_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the queue is still there in a moment.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            // Closing says "not now" to a probe; waiting would say nothing.
            continue;
        };
        let source = Arc::clone(&source);
        connections.spawn(async move {
            serve_connection(stream, source).await;
            drop(permit);
        });
    }
}

/// One connection, `STATUS_CONNECTION_MS` at most.
pub async fn serve_connection<S, IO>(stream: IO, source: Arc<S>)
where
    S: StatusSource,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(answer(&request, &*source).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(STATUS_HEAD_MS))
        .serve_connection(TokioIo::new(stream), service);
    // A probe that breaks off is nothing to act upon.
    let _ = tokio::time::timeout(Duration::from_millis(STATUS_CONNECTION_MS), connection).await;
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
