//! From a framed request to its route: which methods and target forms are served, whom the request comes from when
//! trusted proxies stand in front (KONG.md §3.6), which route matches, and whether that route takes the request in clear
//! (KONG.md §3.5). Computes and returns; what is refused is answered by `connection`.

use crate::http1::fields;
use crate::http1::framing::{self, Framing};
use crate::http1::head::{self, Method, TargetForm};
use crate::options::{Options, RealIp};
use crate::proxy::core::{Core, HeldRoute, View};
use crate::proxy::exchange::{Client, Exchange, Refusal};
use crate::proxy::rewrite;
use crate::router;
use crate::router::path::Reading;
use crate::snapshot::Route;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

pub(super) fn check_method(
    head: &head::RequestHead,
    raw: &[u8],
    framing: Framing,
    core: &Core,
) -> Result<(), Refusal> {
    if matches!(head.method, Method::Connect | Method::Trace) {
        return Err(Refusal::layer(405, "CONNECT and TRACE are not served").closing());
    }
    if head.target_form == TargetForm::Asterisk {
        return Err(Refusal::layer(400, "the asterisk form addresses no route"));
    }
    framing::expects_continue(head, raw)
        .map_err(|error| Refusal::layer(error.status(), error.reason()).closing())?;
    let size_max = core.options().body_size_max;
    if let Framing::Length { remaining } = framing
        && size_max > 0
        && remaining > size_max
    {
        return Err(Refusal::layer(413, "content is larger than client_max_body_size").closing());
    }
    Ok(())
}

pub(super) fn bad_path(error: &router::path::PathError) -> Refusal {
    Refusal::layer(400, format!("request target: {error}"))
}

/// The client's address and scheme as trusted proxies in front report them (KONG.md §3.6).
pub(super) fn real_ip(
    core: &Core,
    client: &Client,
    exchange: &RefCell<Exchange>,
    head: &head::RequestHead,
    raw: &[u8],
) {
    let options = &core.options();
    let mut exchange = exchange.borrow_mut();
    if !options.is_trusted(client.socket_peer.ip()) {
        return;
    }
    fn values<'b>(
        head: &'b head::RequestHead,
        raw: &'b [u8],
        name: &'b [u8],
    ) -> impl Iterator<Item = &'b [u8]> {
        head.fields
            .iter()
            .filter(move |line| line.name.of(raw).eq_ignore_ascii_case(name))
            .map(|line| line.value.of(raw))
    }
    let name: &[u8] = match &options.real_ip {
        RealIp::XRealIp => b"X-Real-IP",
        RealIp::XForwardedFor => b"X-Forwarded-For",
        RealIp::Other(name) => name.as_bytes(),
        RealIp::ProxyProtocol => b"",
    };
    if !name.is_empty() {
        let list: SmallVec<[&[u8]; 8]> = values(head, raw, name).flat_map(fields::tokens).collect();
        if let Some(address) = reported_address(&list, options) {
            exchange.client_ip = address;
        }
    }
    if let Some(proto) = values(head, raw, b"X-Forwarded-Proto").next() {
        exchange.https = proto.eq_ignore_ascii_case(b"https");
    }
}

/// The last address, or with real_ip_recursive the last that is not itself trusted. What stands before something that
/// is no address was not written by a trusted proxy.
pub(super) fn reported_address(list: &[&[u8]], options: &Options) -> Option<IpAddr> {
    let mut found = None;
    for text in list.iter().rev() {
        let Some(address) = parse_ip(text) else { break };
        found = Some(address);
        if !options.real_ip_recursive || !options.is_trusted(address) {
            break;
        }
    }
    found
}

fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The route, and the bytes of `path` that it matched.
///
/// A path that its target may read as another (`/api%2Fadmin`, `/api;x/admin`) is refused where that other one leads to a
/// route with plugins this one does not have: what it protects must not be had under another spelling.
pub(super) fn find_route(
    view: &View,
    client: &Client,
    head: &head::RequestHead,
    raw: &[u8],
    path: &[u8],
    scratch: &mut router::Scratch,
) -> Result<(HeldRoute, Option<usize>), Refusal> {
    let host = head
        .authority
        .map(|authority| rewrite::host_of(authority.of(raw)))
        .unwrap_or_default();
    let lookup = FieldLookup { head, raw };
    let query = router::Query {
        method: head.method_span.of(raw),
        host,
        port: client.port,
        path,
        tls: client.tls.as_ref().map(|facts| facts.sni.as_deref()),
        headers: &lookup,
    };
    let mut find = |query: &router::Query<'_>| view.snapshot.router.find(query, scratch);
    let (route, matched) = find(&query)
        .and_then(|found| Some((view.hold(found.handle)?, found.path_matched)))
        .ok_or_else(|| Refusal::kong(404, "no Route matched with those values"))?;
    // Most paths have but one reading: nothing is allocated for those.
    let mut path = Vec::new();
    for reading in [Reading::Separators, Reading::Parameters] {
        if !router::path::read_as(reading, query.path, &mut path) {
            continue;
        }
        let other = find(&router::Query {
            path: &path,
            ..query
        });
        let other = other.and_then(|other| view.snapshot.routes.get(other.handle));
        if other.is_some_and(|other| other.plugins.guards_beyond(&route.plugins)) {
            let reason = "the target may read the path as one that another route protects";
            return Err(Refusal::layer(400, reason));
        }
    }
    Ok((route, matched))
}

struct FieldLookup<'a> {
    head: &'a head::RequestHead,
    raw: &'a [u8],
}

impl router::Headers for FieldLookup<'_> {
    fn each(&self, line: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        for field in &self.head.fields {
            line(field.name.of(self.raw), field.value.of(self.raw));
        }
        true
    }

    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let same = |byte: (&u8, u8)| {
            let folded = if *byte.0 == b'_' {
                b'-'
            } else {
                byte.0.to_ascii_lowercase()
            };
            folded == byte.1
        };
        self.head.fields.iter().any(|line| {
            let candidate = line.name.of(self.raw);
            candidate.len() == name.len()
                && candidate.iter().zip(name.bytes()).all(same)
                && value(line.value.of(self.raw))
        })
    }
}

/// An https-only route asked for in clear (KONG.md §3.5).
pub(super) fn check_protocol(
    route: &Route,
    exchange: &Exchange,
    head: &head::RequestHead,
    raw: &[u8],
) -> Result<(), Refusal> {
    if route.http || exchange.https {
        return Ok(());
    }
    let status = route.https_redirect_status_code;
    let mut refusal = Refusal::kong(status, "Please use HTTPS protocol");
    if status == 426 {
        refusal
            .fields
            .push(("Upgrade", b"TLS/1.2, HTTP/1.1".to_vec()));
        return Err(refusal);
    }
    let mut location = b"https://".to_vec();
    let host = head
        .authority
        .map(|authority| rewrite::host_of(authority.of(raw)))
        .unwrap_or_default();
    location.extend(host.iter().map(u8::to_ascii_lowercase));
    location.extend_from_slice(head.path.of(raw));
    if let Some(query) = head.query {
        location.push(b'?');
        location.extend_from_slice(query.of(raw));
    }
    refusal.fields.push(("Location", location));
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{HeadLimits, Parsed, RequestHead, parse_request};
    use crate::router::Headers;

    #[test]
    fn the_router_sees_every_field_line_however_it_asks() {
        let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX_One: 1\r\nx-one: 2\r\nX-Two:\r\n\r\n";
        let limits = HeadLimits {
            head_size_max: 1024,
            field_count_max: 16,
            line_size_max: 1024,
        };
        let mut head = RequestHead::new();
        let parsed = parse_request(raw, &limits, &mut head);
        assert_eq!(parsed, Ok(Parsed::Complete));
        let lookup = FieldLookup { head: &head, raw };
        let mut lines = Vec::new();
        let offered = lookup.each(&mut |name, value| lines.push((name.to_vec(), value.to_vec())));
        assert!(
            offered,
            "or each configured name costs a walk over all lines"
        );
        let line = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let all = [
            line("Host", "a"),
            line("X_One", "1"),
            line("x-one", "2"),
            line("X-Two", ""),
        ];
        assert_eq!(lines, all);
        let mut values = Vec::new();
        lookup.any("x-one", &mut |value| {
            values.push(value.to_vec());
            false
        });
        assert_eq!(values, [b"1", b"2"]);
    }
}
