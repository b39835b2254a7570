//! One request with its response: what is known of it, from its first byte to its line in the log.

use crate::http1::error_body::{Origin, message_for};
use crate::http1::head::{self, RequestHead, ResponseHead};
use crate::limits::{self, LOG_NAME_SIZE_MAX};
use crate::proxy::connection::Accepted;
use crate::router;
use crate::tls::client_auth::ClientChain;
use crate::tls::identity::Identity;
use crate::tls::session::Facts;
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The client's side of a connection: fixed from the handshake on.
pub struct Client {
    /// The peer of the socket, or what a PROXY header says of it when it is believed (`connection::serve`).
    pub peer: SocketAddr,
    /// The peer of the socket, whatever a PROXY header says.
    pub socket_peer: SocketAddr,
    /// The port the client connected to (listener's, or the PROXY header's destination), through `port_maps`.
    pub port: u16,
    pub tls: Option<Facts>,
    pub chain: Option<Arc<ClientChain>>,
    /// Requests begun on this connection.
    pub requests: u64,
    /// The port of the listener itself.
    pub listener_port: u16,
    /// Parsed once.
    presented: OnceCell<Option<Box<Presented>>>,
}

/// What the client's leaf says of itself, trusted or not, for the log; each at most `limits::LOG_NAME_SIZE_MAX`.
pub struct Presented {
    pub subject_dn: Box<str>,
    pub issuer_dn: Box<str>,
    pub serial: Box<str>,
}

impl Client {
    pub fn new(
        accepted: &Accepted,
        peer: SocketAddr,
        port: u16,
        tls: Option<Facts>,
        chain: Option<Arc<ClientChain>>,
    ) -> Self {
        Client {
            peer,
            socket_peer: accepted.peer,
            port,
            tls,
            chain,
            requests: 0,
            listener_port: accepted.port,
            presented: OnceCell::new(),
        }
    }

    /// `None`: the client sent no certificate, or one that cannot be read.
    pub fn presented(&self) -> Option<&Presented> {
        self.presented
            .get_or_init(|| {
                let leaf = self.chain.as_ref()?.certificates.first()?;
                let identity = Identity::parse(leaf).ok()?;
                Some(Box::new(Presented {
                    subject_dn: for_the_log(&identity.subject_dn),
                    issuer_dn: for_the_log(&identity.issuer_dn),
                    serial: for_the_log(&identity.serial),
                }))
            })
            .as_deref()
    }
}

fn for_the_log(text: &str) -> Box<str> {
    if text.len() <= LOG_NAME_SIZE_MAX {
        return text.into();
    }
    let mut end = LOG_NAME_SIZE_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end]).into()
}

/// Memory one request needs, lent by the core and given back: an idle connection holds none of it.
pub struct Scratch {
    /// The head's own bytes; every span of `head` points into it.
    pub raw: Vec<u8>,
    pub head: RequestHead,
    /// The upstream's head's bytes and its spans.
    pub response_raw: Vec<u8>,
    pub response: ResponseHead,
    pub path: Vec<u8>,
    pub upstream_path: Vec<u8>,
    /// The message under construction.
    pub out: Vec<u8>,
    pub answer: Vec<u8>,
    pub router: router::Scratch,
}

impl Scratch {
    pub fn new() -> Box<Self> {
        Box::new(Scratch {
            raw: Vec::new(),
            head: RequestHead::new(),
            response_raw: Vec::new(),
            response: ResponseHead::new(),
            path: Vec::new(),
            upstream_path: Vec::new(),
            out: Vec::new(),
            answer: Vec::new(),
            router: router::Scratch::default(),
        })
    }

    /// Bytes its byte vectors hold.
    pub fn size(&self) -> usize {
        [
            &self.raw,
            &self.response_raw,
            &self.path,
            &self.upstream_path,
            &self.out,
            &self.answer,
        ]
        .iter()
        .map(|vector| vector.capacity())
        .sum()
    }
}

/// Facts of one exchange as they become known; the log and the counters are written from them.
pub struct Exchange {
    pub id: [u8; 32],
    pub started: Instant,
    pub started_at: SystemTime,
    /// After real-ip processing.
    pub client_ip: IpAddr,
    /// "https" by a trusted X-Forwarded-Proto, else by the socket.
    pub https: bool,
    pub status: u16,
    /// The response came from the upstream.
    pub proxied: bool,
    pub upstream_address: Option<SocketAddr>,
    pub upstream_status: u16,
    /// The connection came from the pool.
    pub upstream_reused: bool,
    pub tries: u32,
    /// When the request was ready to be sent upstream, and when the response's head had come.
    pub forwarded: Option<Instant>,
    pub answered: Option<Instant>,
    pub client_verify: Option<Arc<str>>,
    pub reason: Option<Arc<str>>,
    /// It ended because its client closed or broke the connection.
    pub client_left: bool,
    /// Of a request whose head was refused.
    pub line: Option<Box<Line>>,
    /// Traffic of the client's stream when the request began.
    pub traffic_before: (u64, u64),
}

/// What there is of a request line that has no parsed head behind it, so that the log can say what was asked for.
#[derive(Default)]
pub struct Line {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
}

impl Line {
    /// Takes the place of what an earlier, shorter `head` gave.
    pub fn take(&mut self, head: &[u8]) {
        let window = head.get(..limits::REFUSED_LINE_SIZE_MAX).unwrap_or(head);
        let (method, target) = head::line_begun(window);
        self.method.clear();
        self.method.extend_from_slice(method);
        self.target.clear();
        self.target.extend_from_slice(target);
    }

    pub fn is_head(&self) -> bool {
        self.method == b"HEAD"
    }
}

impl Exchange {
    pub fn begin(id: [u8; 32], client: &Client, traffic_before: (u64, u64)) -> Self {
        Exchange {
            id,
            started: Instant::now(),
            started_at: crate::ring::wall(),
            client_ip: client.peer.ip(),
            https: client.tls.is_some(),
            status: 0,
            proxied: false,
            upstream_address: None,
            upstream_status: 0,
            upstream_reused: false,
            client_left: false,
            line: None,
            tries: 0,
            forwarded: None,
            answered: None,
            client_verify: None,
            reason: None,
            traffic_before,
        }
    }

    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or("")
    }

    /// Microseconds the gateway itself took, the upstream took, and the whole.
    pub fn latencies(&self) -> Latencies {
        let now = Instant::now();
        let request = now.duration_since(self.started);
        let upstream = match (self.forwarded, self.answered) {
            (Some(forwarded), Some(answered)) => Some(answered.duration_since(forwarded)),
            (Some(forwarded), None) => Some(now.duration_since(forwarded)),
            _ => None,
        };
        let kong = self
            .forwarded
            .map_or(request, |forwarded| forwarded.duration_since(self.started));
        Latencies {
            kong_us: kong.as_micros() as u64,
            upstream_us: upstream.map(|upstream| upstream.as_micros() as u64),
            request_us: request.as_micros() as u64,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    pub kong_us: u64,
    pub upstream_us: Option<u64>,
    pub request_us: u64,
}

/// Why a request is answered by the gateway itself.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub message: Arc<str>,
    pub origin: Origin,
    /// A verbatim body and its content type instead of Kong's error body.
    pub body: Option<(Arc<str>, Arc<str>)>,
    /// Further fields, e.g. Location.
    pub fields: Vec<(&'static str, Vec<u8>)>,
    /// For the log, never for the client.
    pub reason: Arc<str>,
    /// The connection cannot carry another request (framing in doubt, content unread).
    pub close: bool,
    /// The head was not read to its end, but its method was: HEAD, which no content answers (RFC 9110 §9.3.2).
    pub to_head: bool,
}

/// Why a message is refused whose Connection fields hold more than `limits::CONNECTION_OPTIONS_MAX` options.
pub const TOO_MANY_OPTIONS: &str = "Connection names more options than are looked at";

impl Refusal {
    /// Raised by Kong's own logic (router, plugins).
    pub fn kong(status: u16, message: &str) -> Self {
        Self::new(status, message, Origin::Kong)
    }

    /// Raised by the proxy layer (malformed request, upstream failure).
    pub fn layer(status: u16, reason: impl Into<Arc<str>>) -> Self {
        let message = message_for(status);
        Refusal {
            reason: reason.into(),
            ..Self::new(status, message, Origin::ProxyLayer)
        }
    }

    fn new(status: u16, message: &str, origin: Origin) -> Self {
        let message: Arc<str> = message.into();
        Refusal {
            status,
            reason: message.clone(),
            message,
            origin,
            body: None,
            fields: Vec::new(),
            close: false,
            to_head: false,
        }
    }

    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}
