//! The Admin API's listener: HTTP/1.1 on the control thread, in clear text or over TLS, with client certificates where
//! the listener wants them.
//!
//! A request goes host → client certificate → path and method → origin → content → operation. The operation runs as a
//! task of its own: it goes on when the client leaves, and a panic in it is one 500.

use super::audit;
use super::dispatch::{self, Call, Method};
use super::errors::Failure;
use super::ops::lists::Asked;
use super::paths::{self, Endpoint};
use super::reply::Reply;
use super::{Admin, KONG_VERSION, body, host};
use crate::limits::{
    ADMIN_CONNECTIONS_MAX, ADMIN_DRAIN_SIZE_MAX, ADMIN_HEAD_SIZE_MAX, ADMIN_SMALL_BODY_SIZE_MAX,
    LINGER_MS,
};
use crate::telemetry::acceptor::{self, Accepted, Bounds, Client, Door, ListenerTls};
use crate::telemetry::access::Level;
use crate::telemetry::log::Sink;
use crate::telemetry::status::access_line;
use crate::tls::client_auth::{Verdict, VerdictCache};
use crate::tls::trust::{Reason, TrustSet};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER, SERVER};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;

pub struct Listener {
    pub tcp: TcpListener,
    /// Where the listener has `ssl`; its policy asks for a certificate when `clients` is there.
    pub tls: Option<Arc<ListenerTls>>,
    /// Whom it answers to; OPTIONS needs no certificate, for browsers send none. `None`: everyone, for ever.
    pub clients: Option<Arc<Clients>>,
}

/// The authorities of client certificates; a reload puts others in.
pub struct Clients {
    /// `None`: anyone comes in.
    trust: Mutex<Option<Arc<TrustSet>>>,
    verdicts: Mutex<VerdictCache>,
}

impl Clients {
    pub fn new(trust: Option<Arc<TrustSet>>) -> Clients {
        Clients {
            trust: Mutex::new(trust),
            verdicts: Mutex::new(VerdictCache::new()),
        }
    }

    /// Counts for the next request, on open connections too: what came in without a certificate is shut out.
    pub fn replace(&self, trust: Arc<TrustSet>) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = Some(trust);
    }

    /// Whether it takes a certificate to come in.
    pub fn are_chosen(&self) -> bool {
        self.trust().is_some()
    }

    fn trust(&self) -> Option<Arc<TrustSet>> {
        self.trust
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The subject of a client that may come in; `None` where no certificate is wanted. `now`: unix seconds.
    ///
    /// # Errors
    /// No certificate, or none of these authorities'.
    fn admit(&self, client: &Client, now: u64) -> Result<Option<String>, ShutOut> {
        let Some(trust) = self.trust() else {
            return Ok(None);
        };
        let chain = client.chain().ok_or(ShutOut::NoCertificate)?;
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        match verdicts.judge(chain, &trust, now).0 {
            Verdict::Trusted(trusted) => Ok(Some(trusted.identity.subject_dn.to_string())),
            Verdict::Refused(reason) => Err(ShutOut::Untrusted(reason)),
        }
    }
}

/// Why a client may not come in. The reason is for the log: a stranger is not told which check failed.
enum ShutOut {
    NoCertificate,
    Untrusted(Reason),
}

impl fmt::Display for ShutOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutOut::NoCertificate => f.write_str("no certificate was sent"),
            ShutOut::Untrusted(reason) => reason.fmt(f),
        }
    }
}

impl From<ShutOut> for Failure {
    fn from(shut_out: ShutOut) -> Failure {
        let text = match shut_out {
            ShutOut::NoCertificate => "a client certificate is required",
            ShutOut::Untrusted(_) => "the client certificate is not accepted",
        };
        Failure::message(StatusCode::FORBIDDEN, text)
    }
}

/// Accepts until dropped; connections end with it.
///
/// # Errors
/// Ends at once when the listener's own address cannot be told.
pub async fn serve(admin: Arc<Admin>, listener: Listener) -> std::io::Result<Infallible> {
    let loopback = listener.tcp.local_addr()?.ip().to_canonical().is_loopback();
    let bounds = Bounds {
        permits: Arc::clone(match loopback {
            true => &admin.connections,
            false => &admin.connections_beyond,
        }),
        hello: admin.node.timeouts.hello,
        stall: admin.node.timeouts.send,
    };
    let service = Service {
        admin,
        loopback,
        tls: listener.tls.is_some(),
        clients: listener.clients,
    };
    Ok(acceptor::accept(listener.tcp, listener.tls, bounds, Arc::new(service)).await)
}

struct Service {
    admin: Arc<Admin>,
    loopback: bool,
    tls: bool,
    clients: Option<Arc<Clients>>,
}

/// The client's end of a connection.
#[derive(Clone)]
struct Connection {
    peer: SocketAddr,
    client: Client,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Door for Service {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let connection = Connection {
            peer: accepted.peer,
            client: accepted.client(),
            permit: Arc::clone(&accepted.permit),
        };
        let idle = self.admin.node.timeouts.idle;
        let service = service_fn(move |request: Request<Incoming>| {
            let (service, connection) = (Arc::clone(&self), connection.clone());
            async move { Ok::<_, Infallible>(service.exchange(&connection, request).await) }
        });
        // A client that breaks off is nothing to act upon.
        let _ = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(ADMIN_HEAD_SIZE_MAX)
            .serve_connection(TokioIo::new(accepted.stream), service)
            .await;
    }

    fn refused(&self, peer: SocketAddr, reason: &dyn fmt::Display) {
        let text = format!("admin_listen: TLS handshake with {peer}: {reason}");
        self.admin.log(Level::Info, &text);
    }

    fn full(&self) {
        let text = format!(
            "admin_listen: more than {ADMIN_CONNECTIONS_MAX} connections, further ones are closed"
        );
        self.admin.log(Level::Warn, &text);
    }
}

impl Service {
    async fn exchange(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (head, content) = request.into_parts();
        let endpoint = paths::resolve(head.uri.path());
        let reply = match self
            .answer(connection, &head, endpoint.as_ref(), content)
            .await
        {
            Ok(reply) => reply,
            Err(failure) => failure.into(),
        };
        let latency = started.elapsed().as_millis();
        let status = reply.status;
        let response = self.response(&head, endpoint.as_ref(), reply, latency);
        if let Some(log) = &self.admin.node.log {
            log.line(Sink::AdminAccess, |line| {
                let path = head.uri.path().as_bytes();
                access_line(line, connection.peer, head.method.as_str(), path, status);
                line.extend_from_slice(format!(",\"latency_ms\":{latency}}}").as_bytes());
            });
        }
        response
    }

    async fn answer(
        &self,
        connection: &Connection,
        head: &Parts,
        endpoint: Option<&Endpoint>,
        content: Incoming,
    ) -> Result<Reply, Failure> {
        let admitted = self.admit(connection, head, endpoint);
        let (subject, endpoint, method) = match admitted {
            Ok(Admitted::Preflight) => {
                drain(head, content).await;
                return Ok(Reply::empty(StatusCode::NO_CONTENT));
            }
            Ok(Admitted::Call {
                subject,
                endpoint,
                method,
            }) => (subject, endpoint, method),
            Err(failure) => {
                drain(head, content).await;
                return Err(failure);
            }
        };
        let line = AuditLine {
            peer: connection.peer,
            subject,
            method: head.method.as_str().to_owned(),
        };
        let received = self.receive(head, &endpoint, method, content).await;
        let (content, large) = match received {
            Ok(received) => received,
            Err(failure) => {
                let reply = Reply::from(failure);
                line.log(&self.admin, &endpoint, method, &reply);
                return Ok(reply);
            }
        };
        let call = Call {
            endpoint,
            method,
            headers: head.headers.clone(),
            content,
            asked: Asked {
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
            },
        };
        let (admin, permit) = (Arc::clone(&self.admin), Arc::clone(&connection.permit));
        let task = tokio::spawn(async move {
            let endpoint = call.endpoint.clone();
            // The write has its line also when its code fails.
            let run = tokio::spawn({
                let admin = Arc::clone(&admin);
                async move { dispatch::perform(&admin, call).await }
            });
            let reply = match run.await {
                Ok(outcome) => outcome.unwrap_or_else(Reply::from),
                Err(error) => admin.panicked(error).into(),
            };
            line.log(&admin, &endpoint, method, &reply);
            drop((large, permit));
            reply
        });
        match task.await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.admin.panicked(error)),
        }
    }

    /// Everything that can be refused before content is received.
    fn admit(
        &self,
        connection: &Connection,
        head: &Parts,
        endpoint: Option<&Endpoint>,
    ) -> Result<Admitted, Failure> {
        let node = &self.admin.node;
        let directives = node.directives.now();
        host::check(head, self.loopback, &directives.hosts)?;
        if head.method == hyper::Method::OPTIONS {
            endpoint.ok_or_else(Failure::not_found)?;
            return Ok(Admitted::Preflight);
        }
        let subject = match &self.clients {
            None => None,
            Some(clients) => {
                let now = u64::try_from((node.now_ms)() / 1000).unwrap_or_default();
                let admitted = clients.admit(&connection.client, now);
                admitted.inspect_err(|why| {
                    let text = format!(
                        "admin_listen: client {} is refused (admin_ssl_client_ca): {why}",
                        connection.peer
                    );
                    self.admin.log(Level::Notice, &text);
                })?
            }
        };
        let endpoint = endpoint.ok_or_else(Failure::not_found)?.clone();
        let has = endpoint.methods().contains(&head.method.as_str());
        let method = Method::parse(head.method.as_str())
            .filter(|_| has)
            .ok_or_else(Failure::method_not_allowed)?;
        if method != Method::Get {
            host::check_origin(&head.headers, &directives.origins, self.tls)?;
        }
        Ok(Admitted::Call {
            subject,
            endpoint,
            method,
        })
    }

    /// The content, and what it counts against for as long as it is worked on.
    async fn receive(
        &self,
        head: &Parts,
        endpoint: &Endpoint,
        method: Method,
        mut content: Incoming,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
        let node = &self.admin.node;
        if let Err(failure) = dispatch::check_writable(node.store.kind(), endpoint, method) {
            drain(head, content).await;
            return Err(failure);
        }
        if !method.has_content() {
            drain(head, content).await;
            return Ok((Bytes::new(), None));
        }
        let upper = content.size_hint().upper();
        let is_large = upper.is_none_or(|size| size > ADMIN_SMALL_BODY_SIZE_MAX);
        let large = Arc::clone(&self.admin.large);
        let received = async {
            let permit = match is_large {
                true => large.acquire_owned().await.ok(),
                false => None,
            };
            let content = body::collect(&mut content, node.body_size_max).await?;
            Ok((content, permit))
        };
        match tokio::time::timeout(node.timeouts.body, received).await {
            Ok(Ok(received)) => Ok(received),
            Ok(Err(failure)) => {
                drain(head, content).await;
                Err(failure)
            }
            Err(_) => Err(Failure::message(
                StatusCode::REQUEST_TIMEOUT,
                "the request body did not come in time",
            )),
        }
    }

    fn response(
        &self,
        head: &Parts,
        endpoint: Option<&Endpoint>,
        reply: Reply,
        latency_ms: u128,
    ) -> Response<Full<Bytes>> {
        let has_content = reply.content.is_some();
        let mut response = Response::new(Full::new(reply.content.unwrap_or_default()));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        if has_content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        let server = format!("kong/{KONG_VERSION}");
        if let Ok(server) = HeaderValue::from_str(&server) {
            headers.insert(SERVER, server);
        }
        headers.insert(
            "x-kong-admin-latency",
            HeaderValue::from(u64::try_from(latency_ms).unwrap_or(u64::MAX)),
        );
        if let Some(seconds) = reply.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let methods = endpoint.map(Endpoint::methods).unwrap_or_default();
        if reply.status == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(list) = HeaderValue::from_str(&methods.join(", "))
        {
            headers.insert(ALLOW, list);
        }
        if matches!(
            reply.status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
        ) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let directives = self.admin.node.directives.now();
        let origins = &directives.origins;
        origins.answer(&head.headers, headers);
        if head.method == hyper::Method::OPTIONS && reply.status == StatusCode::NO_CONTENT {
            origins.preflight(methods, &head.headers, headers);
        }
        response
    }
}

enum Admitted {
    Preflight,
    Call {
        /// Of the client's certificate, where one is demanded.
        subject: Option<String>,
        endpoint: Endpoint,
        method: Method,
    },
}

struct AuditLine {
    peer: SocketAddr,
    subject: Option<String>,
    method: String,
}

impl AuditLine {
    fn log(&self, admin: &Admin, endpoint: &Endpoint, method: Method, reply: &Reply) {
        let Some(log) = admin.node.log.as_ref().filter(|_| method != Method::Get) else {
            return;
        };
        let (entity, asked) = match (dispatch::subject(endpoint), endpoint) {
            (Some((kind, asked)), _) => (kind.name(), asked),
            (None, Endpoint::Config) => ("config", None),
            (None, Endpoint::SetLogLevel(_)) => ("log-level", None),
            (None, _) => return,
        };
        let line = audit::Line {
            now_ms: u64::try_from((admin.node.now_ms)()).unwrap_or_default(),
            peer: self.peer,
            subject: self.subject.as_deref(),
            method: &self.method,
            entity,
            asked,
            about: reply.about,
            status: reply.status,
        };
        line.log(log);
    }
}

/// Reads content that nothing is done with, for a moment: what is left of it closes the connection, which may reset it, and
/// the reset would overtake the answer. Who waits for `100 Continue` sends nothing.
async fn drain(head: &Parts, content: Incoming) {
    if content.is_end_stream() || head.headers.contains_key(EXPECT) {
        return;
    }
    let rest = Limited::new(content, ADMIN_DRAIN_SIZE_MAX);
    let all = async {
        let mut rest = std::pin::pin!(rest);
        while let Some(Ok(_)) = rest.frame().await {}
    };
    let _ = tokio::time::timeout(Duration::from_millis(LINGER_MS), all).await;
}

const JSON: &str = "application/json; charset=utf-8";
