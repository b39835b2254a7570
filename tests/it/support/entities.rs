//! Pieces of declarative files.

use super::{Ca, Pair, Upstream, Value, json};

/// The nth id of a kind; the same number always gives the same id.
pub fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

pub fn url(upstream: &Upstream) -> String {
    let scheme = if upstream.is_tls() { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{}", upstream.port())
}

/// A service of `upstream` with one route of the same name.
pub fn service(name: &str, upstream: &Upstream, mut route: Value) -> Value {
    route["name"] = json!(name);
    json!({"name": name, "url": url(upstream), "routes": [route]})
}

/// `service`, with the members of `more` added or replaced.
pub fn service_with(name: &str, upstream: &Upstream, route: Value, more: Value) -> Value {
    merged(service(name, upstream, route), more)
}

pub fn merged(mut base: Value, more: Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    base.as_object_mut().expect("an object").extend(more);
    base
}

pub fn certificate(number: u32, pair: &Pair, snis: &[&str]) -> Value {
    let snis: Vec<Value> = snis.iter().map(|name| json!({ "name": name })).collect();
    json!({"id": id(number), "cert": pair.cert_pem, "key": pair.key_pem, "snis": snis})
}

pub fn ca_certificate(number: u32, ca: &Ca) -> Value {
    json!({"id": id(number), "cert": ca.pem})
}

/// The plugin mtls-auth that trusts the CAs of these numbers.
pub fn mtls_auth(ca_numbers: &[u32], more: Value) -> Value {
    let ids: Vec<String> = ca_numbers.iter().map(|number| id(*number)).collect();
    // Nothing is looked up yet, and SKIP says so.
    let base = json!({"ca_certificates": ids, "revocation_check_mode": "SKIP"});
    json!({"name": "mtls-auth", "config": merged(base, more)})
}

pub fn acl(config: Value) -> Value {
    json!({"name": "acl", "config": config})
}
