//! What a connection leaves behind: one line per exchange, one per failed handshake, and the counters.

use crate::http1::fields::Name;
use crate::http1::head::{RequestHead, Version};
use crate::plugin::Admitted;
use crate::proxy::core::Core;
use crate::proxy::exchange::{Client, Exchange};
use crate::proxy::stream::Stream;
use crate::snapshot::{Consumer, Route, Service};
use crate::telemetry::access::{HandshakeFailure, Latencies, Level, Named, Record, Tls, Upstream};
use crate::telemetry::log::Sink;
use crate::telemetry::metrics::{ClientCert, RequestSample, Source};
use crate::tls::session::Facts;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A finished handshake.
pub fn handshake(core: &Core, facts: &Facts, presented: bool) {
    let client_cert = match (facts.client_certificate_requested, presented) {
        (_, true) => ClientCert::Presented,
        (true, false) => ClientCert::None,
        (false, false) => ClientCert::NotRequested,
    };
    core.metrics.borrow_mut().handshake_done(
        facts.version,
        facts.group,
        facts.cipher,
        facts.resumed,
        client_cert,
    );
}

pub fn handshake_failure(
    core: &Core,
    peer: SocketAddr,
    port: u16,
    sni: Option<&str>,
    alert: &'static str,
    reason: &str,
) {
    core.metrics.borrow_mut().handshake_failed(alert);
    let mut log = core.log.borrow_mut();
    log.error(now_ms(), Level::Notice, |out| {
        HandshakeFailure {
            peer,
            port,
            sni,
            alert: Some(alert),
            reason,
        }
        .write_text(out);
    });
}

/// A connection closed before anything was said on it.
pub fn rejected(core: &Core, peer: SocketAddr, reason: &str) {
    core.metrics.borrow_mut().shed("proxy_protocol");
    error(
        core,
        Level::Notice,
        format_args!("connection from {peer} closed: {reason}"),
    );
}

/// One try of one exchange that gave no response; the client may still get one from the next.
pub fn upstream_failure(
    core: &Core,
    exchange: &Exchange,
    client: &Client,
    service: &Service,
    address: SocketAddr,
    reason: &str,
) {
    let name = service.name.as_deref().unwrap_or_default();
    error(
        core,
        Level::Error,
        format_args!(
            "upstream {address} of service {name} ({id}): {reason}, client: {client}, request_id: {request}",
            id = service.id,
            client = client.peer.ip(),
            request = exchange.id(),
        ),
    );
}

pub fn error(core: &Core, level: Level, text: std::fmt::Arguments<'_>) {
    let mut log = core.log.borrow_mut();
    log.error(now_ms(), level, |out| {
        let _ = std::io::Write::write_fmt(out, text);
    });
}

/// Why an exchange failed or its client was refused, for the error log; nothing where it went well.
pub fn cause(core: &Core, exchange: &Exchange, service: Option<&Service>) {
    let Some(reason) = &exchange.reason else {
        return;
    };
    let level = match source_of(exchange) {
        // Of a coding or version that is not served: no fault of ours, and scanners try both.
        Source::Error if matches!(exchange.status, 501 | 505) => Level::Info,
        Source::Error => Level::Error,
        // A response that came from the upstream has a reason only when it was cut. By its client it is information, as in
        // nginx: those that have seen enough would fill the log.
        Source::Service if exchange.client_left => Level::Info,
        Source::Service => Level::Warn,
        Source::Exit => {
            if let (Some(verify), 401 | 403) = (&exchange.client_verify, exchange.status) {
                error(
                    core,
                    Level::Info,
                    format_args!(
                        "{status} to {client}: {verify}, {reason}, request_id: {id}",
                        status = exchange.status,
                        client = exchange.client_ip,
                        id = exchange.id(),
                    ),
                );
            }
            return;
        }
    };
    error(
        core,
        level,
        format_args!(
            "{status} to {client}: {reason}{asked}, request_id: {id}",
            status = exchange.status,
            client = exchange.client_ip,
            asked = Asked {
                service,
                address: exchange.upstream_address,
            },
            id = exchange.id(),
        ),
    );
}

fn source_of(exchange: &Exchange) -> Source {
    match (exchange.proxied, exchange.status) {
        (true, _) => Source::Service,
        (false, 500..=599) => Source::Error,
        (false, _) => Source::Exit,
    }
}

/// A finished exchange: the counters, and the access log's line.
pub fn exchange(
    core: &Core,
    client: &Client,
    stream: &Stream,
    exchange: &Exchange,
    head: Option<(&RequestHead, &[u8])>,
    route: Option<&Route>,
    admitted: Option<&Admitted>,
) {
    let latencies = exchange.latencies();
    let (received, sent) = stream.traffic();
    let (bytes_in, bytes_out) = (
        received - exchange.traffic_before.0,
        sent - exchange.traffic_before.1,
    );
    let service = route.and_then(|route| route.service.as_deref());
    let source = source_of(exchange);
    let consumer = admitted.and_then(|admitted| admitted.consumer.as_deref());
    core.metrics.borrow_mut().request(&RequestSample {
        service: service.map(|service| &service.label),
        route: route.map(|route| &route.label),
        status: exchange.status,
        source,
        bytes_in,
        bytes_out,
        kong_us: latencies.kong_us,
        upstream_us: latencies.upstream_us,
        request_us: latencies.request_us,
        consumer: None,
    });
    if !core.options().access_log {
        return;
    }
    let presented = client.presented();
    let field = |name: Name| head.and_then(|(head, raw)| head.first(raw, name));
    let line = exchange.line.as_deref();
    let record = Record {
        started_ms: unix_ms(exchange.started_at),
        client_ip: exchange.client_ip,
        client_port: client.peer.port(),
        listener_port: client.listener_port,
        request_id: exchange.id(),
        method: match head {
            Some((head, raw)) => head.method_span.of(raw),
            None => line.map_or(b"", |line| &line.method),
        },
        target: match head {
            Some((head, raw)) => head.target.of(raw),
            None => line.map_or(b"", |line| &line.target),
        },
        http_version: match head {
            Some((head, _)) if head.version == Version::Http10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        host: head.and_then(|(head, raw)| head.authority.map(|authority| authority.of(raw))),
        user_agent: field(Name::UserAgent),
        status: exchange.status,
        bytes_in,
        bytes_out,
        latencies: Latencies {
            kong_us: latencies.kong_us,
            proxy_us: latencies.upstream_us,
            request_us: latencies.request_us,
        },
        upstream: exchange.upstream_address.map(|address| Upstream {
            address: Some(address),
            status: (exchange.upstream_status > 0).then_some(exchange.upstream_status),
            tries: exchange.tries,
            reused: exchange.upstream_reused,
            tls: None,
        }),
        service: service.map(|service| Named {
            id: service.id,
            name: service.name.as_deref(),
        }),
        route: route.map(|route| Named {
            id: route.id,
            name: route.name.as_deref(),
        }),
        consumer: consumer.map(named_consumer),
        tls: client.tls.as_ref().map(|facts| Tls {
            version: facts.version,
            cipher: facts.cipher,
            group: facts.group,
            sni: facts.sni.as_deref(),
            resumed: facts.resumed,
            client_verify: exchange.client_verify.as_deref(),
            client_subject: presented.map(|leaf| &*leaf.subject_dn),
            client_issuer: presented.map(|leaf| &*leaf.issuer_dn),
            client_serial: presented.map(|leaf| &*leaf.serial),
        }),
        source,
        error: exchange.reason.as_deref(),
    };
    core.log
        .borrow_mut()
        .line(Sink::Access, |out| record.write_json(out));
}

/// Who the request was for, as far as that is known: `, service: NAME, upstream: ADDRESS`; the service's id if it has no
/// name, its host and port until an address was tried.
struct Asked<'a> {
    service: Option<&'a Service>,
    address: Option<SocketAddr>,
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(service) = self.service else {
            return Ok(());
        };
        write!(f, ", service: {}, upstream: ", service.label)?;
        match self.address {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{}:{}", service.host_text, service.port),
        }
    }
}

fn named_consumer(consumer: &Consumer) -> Named<'_> {
    Named {
        id: consumer.id,
        name: consumer.username.as_deref(),
    }
}

fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
