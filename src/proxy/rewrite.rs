//! Heads as they leave the gateway: hop-by-hop fields dropped, identity fields ours alone, forwarding fields added
//! (KONG.md §3.4, §3.6, §3.7; RFC 9110 §7.6).

use crate::http1::encode;
use crate::http1::fields::{self, ConnectionOptions, Name};
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::plugin::Admitted;
use crate::proxy::core::Core;
use crate::proxy::exchange::{Client, Exchange};
use crate::proxy::pump::Emit;
use crate::proxy::reply::VIA;
use std::net::IpAddr;

/// What the upstream's request head is made from.
pub struct RequestParts<'a> {
    pub head: &'a RequestHead,
    pub raw: &'a [u8],
    pub path: &'a [u8],
    /// The Host field.
    pub host: &'a [u8],
    pub framing: Framing,
    /// The client asked for a WebSocket.
    pub websocket: bool,
    pub admitted: &'a Admitted,
    /// The normalised path of the request, and how much of it was stripped.
    pub request_path: &'a [u8],
    pub stripped: usize,
}

pub fn request(
    core: &Core,
    client: &Client,
    exchange: &Exchange,
    parts: &RequestParts<'_>,
    out: &mut Vec<u8>,
) {
    let RequestParts { head, raw, .. } = *parts;
    encode::request_line(
        out,
        head.method_span.of(raw),
        parts.path,
        head.query.map(|query| query.of(raw)),
        Version::Http11,
    );
    encode::field(out, b"Host", parts.host);
    if parts.websocket {
        out.extend_from_slice(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    } else {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    forwarding(core, client, exchange, parts, out);
    match parts.framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length { remaining } => encode::field_number(out, b"Content-Length", remaining),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    let nominating = ConnectionOptions::of(&head.fields, raw).nominates();
    for line in &head.fields {
        let name = line.name.of(raw);
        let dropped = match line.known {
            // Written above, by us.
            Name::Host
            | Name::Connection
            | Name::Upgrade
            | Name::TransferEncoding
            | Name::ContentLength => true,
            Name::XForwardedFor | Name::XForwardedProto | Name::XForwardedHost => true,
            Name::XForwardedPort
            | Name::XForwardedPath
            | Name::XForwardedPrefix
            | Name::XRealIp => true,
            Name::XKongRequestId | Name::Via => true,
            // Answered by us (100-continue), or meant for this hop.
            Name::Expect | Name::KeepAlive | Name::ProxyConnection | Name::Proxy => true,
            Name::Te => {
                if fields::has_token(line.value.of(raw), b"trailers") {
                    out.extend_from_slice(b"TE: trailers\r\n");
                }
                true
            }
            known => {
                // An upstream that folds underscores would read `X_Forwarded_For` beside what we say ourselves.
                (known == Name::Other && name.contains(&b'_') && is_ours(Name::of_folded(name)))
                    || known.is_identity()
                    || fields::is_identity(name)
                    || (nominating && fields::connection_nominates(&head.fields, raw, name))
            }
        };
        if !dropped {
            encode::field(out, name, line.value.of(raw));
        }
    }
    for (name, value) in &parts.admitted.headers {
        encode::field(out, name.as_bytes(), value.as_bytes());
    }
    encode::head_end(out);
}

/// Fields of a request that only the gateway writes.
fn is_ours(name: Name) -> bool {
    name.is_hop_by_hop()
        || matches!(
            name,
            Name::Host
                | Name::ContentLength
                | Name::XForwardedFor
                | Name::XForwardedProto
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedPath
                | Name::XForwardedPrefix
                | Name::XRealIp
                | Name::XKongRequestId
        )
}

/// X-Forwarded-*, X-Real-IP, Via, X-Kong-Request-Id.
fn forwarding(
    core: &Core,
    client: &Client,
    exchange: &Exchange,
    parts: &RequestParts<'_>,
    out: &mut Vec<u8>,
) {
    let RequestParts { head, raw, .. } = *parts;
    let values = |name: Name| {
        head.fields
            .iter()
            .filter(move |line| line.known == name)
            .map(|line| line.value.of(raw))
    };
    // The socket's own peer is trusted or not, whoever it says stands behind it (nginx's $realip_remote_addr).
    let trusted = core.options().is_trusted(client.socket_peer.ip());
    let from_trusted = |name: Name| if trusted { values(name).next() } else { None };

    out.extend_from_slice(b"X-Forwarded-For: ");
    // KONG.md §3.6: the hop just taken is appended; alone it is the client's address.
    let mut hop = exchange.client_ip;
    for value in values(Name::XForwardedFor).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
        hop = client.socket_peer.ip();
    }
    address(out, hop);
    out.extend_from_slice(b"\r\n");
    let scheme: &[u8] = if client.tls.is_some() {
        b"https"
    } else {
        b"http"
    };
    encode::field(
        out,
        b"X-Forwarded-Proto",
        from_trusted(Name::XForwardedProto).unwrap_or(scheme),
    );
    match from_trusted(Name::XForwardedHost) {
        Some(value) => encode::field(out, b"X-Forwarded-Host", value),
        None => {
            let host = head
                .authority
                .map(|authority| host_of(authority.of(raw)))
                .unwrap_or_default();
            out.extend_from_slice(b"X-Forwarded-Host: ");
            out.extend(host.iter().map(u8::to_ascii_lowercase));
            out.extend_from_slice(b"\r\n");
        }
    }
    match from_trusted(Name::XForwardedPort) {
        Some(value) => encode::field(out, b"X-Forwarded-Port", value),
        None => encode::field_number(out, b"X-Forwarded-Port", u64::from(client.port)),
    }
    encode::field(
        out,
        b"X-Forwarded-Path",
        from_trusted(Name::XForwardedPath).unwrap_or_else(|| head.path.of(raw)),
    );
    let prefix = parts
        .request_path
        .get(..parts.stripped)
        .filter(|prefix| !prefix.is_empty() && *prefix != b"/");
    if let Some(prefix) = from_trusted(Name::XForwardedPrefix).or(prefix) {
        encode::field(out, b"X-Forwarded-Prefix", prefix);
    }
    out.extend_from_slice(b"X-Real-IP: ");
    address(out, exchange.client_ip);
    out.extend_from_slice(b"\r\nVia: ");
    for value in values(Name::Via).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(if head.version == Version::Http10 {
        b"1.0 kong/3.9.1"
    } else {
        VIA.as_bytes()
    });
    out.extend_from_slice(b"\r\n");
    if core.options().upstream_request_id {
        encode::field(out, b"X-Kong-Request-Id", &exchange.id);
    }
}

fn address(out: &mut Vec<u8>, ip: IpAddr) {
    // Each request has two; the formatter takes ten times as long.
    if let IpAddr::V4(ip) = ip {
        for (place, octet) in ip.octets().into_iter().enumerate() {
            if place > 0 {
                out.push(b'.');
            }
            if octet >= 100 {
                out.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                out.push(b'0' + octet / 10 % 10);
            }
            out.push(b'0' + octet % 10);
        }
        return;
    }
    let _ = std::io::Write::write_fmt(out, format_args!("{ip}"));
}

/// The name part of `host[:port]`, brackets of an IPv6 literal kept.
pub fn host_of(authority: &[u8]) -> &[u8] {
    let from = if authority.first() == Some(&b'[') {
        memchr::memchr(b']', authority).unwrap_or(0)
    } else {
        0
    };
    match memchr::memchr(b':', authority.get(from..).unwrap_or_default()) {
        Some(at) => &authority[..from + at],
        None => authority,
    }
}

/// What the client's response head is made from.
pub struct ResponseParts<'a> {
    pub head: &'a ResponseHead,
    pub raw: &'a [u8],
    pub framing: Framing,
    pub emit: Emit,
    /// A response to HEAD, or 304: its Content-Length describes what is not sent.
    pub bodiless: bool,
    pub close: bool,
    /// 101 was agreed on.
    pub upgraded: bool,
    pub debug: Option<&'a crate::snapshot::Route>,
}

pub fn response(core: &Core, exchange: &Exchange, parts: &ResponseParts<'_>, out: &mut Vec<u8>) {
    let ResponseParts { head, raw, .. } = *parts;
    let interim = (100..200).contains(&head.status) && !parts.upgraded;
    encode::status_line_with(out, Version::Http11, head.status, head.reason.of(raw));
    let headers = core.options().headers;
    let nominating = ConnectionOptions::of(&head.fields, raw).nominates();
    let mut server_seen = false;
    let mut date_seen = false;
    let mut via_seen = false;
    for line in &head.fields {
        let name = line.name.of(raw);
        let value = line.value.of(raw);
        let dropped = match line.known {
            Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::Upgrade
            | Name::TransferEncoding => true,
            Name::ContentLength => !parts.bodiless,
            // An upstream that is a Kong too says them of itself; ours take their place, as Kong's do.
            Name::XKongRequestId => headers.request_id && !interim,
            Name::XKongUpstreamLatency => headers.upstream_latency && !interim,
            Name::XKongProxyLatency => headers.proxy_latency && !interim,
            Name::XKongUpstreamStatus => headers.upstream_status && !interim,
            Name::Via => {
                if headers.via && !interim && !via_seen {
                    via_seen = true;
                    via(head, raw, out);
                    true
                } else {
                    via_seen
                }
            }
            Name::Server => {
                server_seen = true;
                false
            }
            Name::Date => {
                date_seen = true;
                false
            }
            _ => nominating && fields::connection_nominates(&head.fields, raw, name),
        };
        if !dropped {
            encode::field(out, name, value);
        }
    }
    if interim {
        return encode::head_end(out);
    }
    if parts.upgraded {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if !parts.bodiless {
        match (parts.emit, parts.framing) {
            (Emit::Chunked, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            (_, Framing::Length { remaining }) => {
                encode::field_number(out, b"Content-Length", remaining)
            }
            // 204 and 1xx have none (RFC 9110 §8.6); the rest ends with the connection.
            _ => {}
        }
    }
    // RFC 9110 §6.6.1: a recipient with a clock adds what an upstream left out.
    if !date_seen {
        encode::field(out, b"Date", core.date.borrow_mut().at(core.now()));
    }
    if headers.server && !server_seen {
        encode::field(out, b"Server", crate::proxy::reply::SERVER.as_bytes());
    }
    if headers.via && !via_seen {
        encode::field(out, b"Via", VIA.as_bytes());
    }
    let latencies = exchange.latencies();
    if headers.upstream_latency {
        encode::field_number(
            out,
            b"X-Kong-Upstream-Latency",
            latencies.upstream_us.unwrap_or(0) / 1000,
        );
    }
    if headers.proxy_latency {
        encode::field_number(out, b"X-Kong-Proxy-Latency", latencies.kong_us / 1000);
    }
    if headers.upstream_status {
        encode::field_number(out, b"X-Kong-Upstream-Status", u64::from(head.status));
    }
    if headers.request_id {
        encode::field(out, b"X-Kong-Request-Id", &exchange.id);
    }
    if let Some(route) = parts.debug {
        debug_fields(route, out);
    }
    if !parts.upgraded {
        if parts.close {
            out.extend_from_slice(b"Connection: close\r\n");
        } else {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }
    encode::head_end(out);
}

fn via(head: &ResponseHead, raw: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Via: ");
    for line in head
        .fields
        .iter()
        .filter(|line| line.known == Name::Via && !line.value.is_empty())
    {
        out.extend_from_slice(line.value.of(raw));
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(VIA.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `Kong-Debug: 1` with `allow_debug_header` (KONG.md §3.7).
fn debug_fields(route: &crate::snapshot::Route, out: &mut Vec<u8>) {
    encode::field(out, b"Kong-Route-Id", route.id.to_string().as_bytes());
    if let Some(name) = &route.name {
        encode::field(out, b"Kong-Route-Name", name.as_bytes());
    }
    if let Some(service) = &route.service {
        encode::field(out, b"Kong-Service-Id", service.id.to_string().as_bytes());
        if let Some(name) = &service.name {
            encode::field(out, b"Kong-Service-Name", name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_formatter_writes_it() {
        for text in [
            "0.0.0.0",
            "9.10.99.100",
            "101.199.200.255",
            "127.0.0.1",
            "::1",
            "2001:db8::10",
        ] {
            let mut out = Vec::new();
            address(&mut out, text.parse().unwrap());
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
