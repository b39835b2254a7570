//! Which requests a listener answers at all (DNS rebinding, requests a foreign page makes); pure.
//!
//! A page in the operator's browser can send requests to loopback. With a name of its own that resolves to 127.0.0.1 it
//! could read the answers: so a loopback listener answers to loopback names only. Without it, it could still send a form:
//! so a write whose `Origin` is neither this listener nor one of `admin_gui_url` is refused.

use super::cors::Origins;
use super::errors::Failure;
use hyper::header::{HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode, Version};
use std::net::IpAddr;

/// The host a request is for, as RFC 9112 §3.2 demands one.
///
/// # Errors
/// 400: none, several, or one that disagrees with the request target. 421: not a name of this loopback listener.
pub fn check(head: &Parts, loopback: bool, hosts: &[String]) -> Result<(), Failure> {
    let mut given = head.headers.get_all(HOST).iter();
    let host = match (given.next(), given.next()) {
        (Some(host), None) => Some(host.to_str().unwrap_or_default()),
        (None, _) if head.version == Version::HTTP_10 => None,
        (None, _) => return Err(Failure::bad_request("Host header missing")),
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("Multiple Host headers not allowed"));
        }
    };
    let target = head.uri.authority().map(|authority| authority.as_str());
    // HTTP/1.0 without the field: no browser sends that.
    for name in [host, target].into_iter().flatten() {
        if loopback && !is_ours(name, hosts) {
            let text = "this listener answers to loopback names and to those of admin_hosts";
            return Err(Failure::message(StatusCode::MISDIRECTED_REQUEST, text));
        }
    }
    Ok(())
}

/// # Errors
/// 403 for a write that a page of another origin makes.
pub fn check_origin(headers: &HeaderMap, origins: &Origins, tls: bool) -> Result<(), Failure> {
    let mut given = headers.get_all(ORIGIN).iter();
    let (origin, single) = match (given.next(), given.next()) {
        (None, _) => return Ok(()),
        (Some(origin), second) => (origin, second.is_none()),
    };
    let scheme = if tls { "https" } else { "http" };
    let own = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .map(|host| format!("{scheme}://{host}"));
    let same = own.is_some_and(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()));
    if single && (same || origins.name(headers)) {
        return Ok(());
    }
    let text = "this origin may not change anything; admin_gui_url names those that may";
    Err(Failure::message(StatusCode::FORBIDDEN, text))
}

/// `authority`: a host with or without a port.
fn is_ours(authority: &str, hosts: &[String]) -> bool {
    let Some(name) = host_of(authority) else {
        return false;
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.to_canonical().is_loopback()
            || hosts.iter().any(|host| host.parse() == Ok(address));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// Without brackets and port; `None`: not of the form of RFC 3986 §3.2.2.
fn host_of(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port,
        None if rest.is_empty() => "",
        None => return None,
    };
    let sound = !host.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    sound.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn status(result: Result<(), Failure>) -> u16 {
        result.map_or_else(|failure| failure.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_and_configured_ones() {
        let configured = ["admin.internal".to_owned(), "10.0.0.5".to_owned()];
        // (attack or rule, request target, Host fields, status)
        let rows: &[(&str, &str, &[&str], u16)] = &[
            ("plain", "/", &["localhost:8001"], 200),
            ("case, dot", "/", &["LocalHost.:8001"], 200),
            ("v4", "/", &["127.0.0.1:8001"], 200),
            ("v4 net", "/", &["127.9.9.9"], 200),
            ("v6", "/", &["[::1]:8001"], 200),
            ("v4 in v6", "/", &["[::ffff:127.0.0.1]"], 200),
            ("configured", "/", &["admin.internal:8001"], 200),
            ("configured address", "/", &["10.0.0.5:8001"], 200),
            ("DNS rebinding", "/", &["evil.test:8001"], 421),
            (
                "a name that ends like ours",
                "/",
                &["localhost.evil.test"],
                421,
            ),
            ("an address that is not loopback", "/", &["192.0.2.1"], 421),
            ("userinfo", "/", &["localhost@evil.test"], 421),
            ("no port after the colon sign", "/", &["localhost:80x"], 421),
            ("empty", "/", &[""], 421),
            ("absolute form", "http://evil.test/", &["localhost"], 421),
            ("no Host", "/", &[], 400),
            ("two Hosts", "/", &["localhost", "evil.test"], 400),
        ];
        for (rule, target, hosts, expected) in rows {
            let head = head(target, hosts);
            assert_eq!(status(check(&head, true, &configured)), *expected, "{rule}");
        }
        let head = head("/", &["evil.test"]);
        assert_eq!(status(check(&head, false, &[])), 200, "another listener");
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        let gui = Origins::new(["https://gui.test/manager"]).expect("an origin");
        // (rule, Origin fields, status)
        let rows: &[(&str, &[&str], u16)] = &[
            ("no browser", &[], 200),
            ("named", &["https://gui.test"], 200),
            ("this listener", &["http://localhost:8001"], 200),
            ("a form of a foreign page", &["https://evil.test"], 403),
            ("a sandboxed page", &["null"], 403),
            ("another port", &["http://localhost:3000"], 403),
            (
                "a foreign one behind ours",
                &["http://localhost:8001", "https://evil.test"],
                403,
            ),
        ];
        for (rule, given, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "localhost:8001".parse().expect("a value"));
            for origin in *given {
                headers.append(ORIGIN, origin.parse().expect("a value"));
            }
            let found = check_origin(&headers, &gui, false);
            assert_eq!(status(found), *expected, "{rule}");
        }
    }
}
