//! `services` (KONG.md §1.5).
use super::errors::Errors;
use super::schema::{EntityCheck, Field, Literal, OnDelete, Schema, Shorthand, Then, When, common};
use super::{Kind, checks};
use serde_json::{Map, Value};

pub const PROTOCOLS: &[&str] = &[
    "grpc",
    "grpcs",
    "http",
    "https",
    "tcp",
    "tls",
    "tls_passthrough",
    "udp",
];

pub static SCHEMA: Schema = Schema {
    kind: Kind::Services,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        common::NAME,
        Field::integer("retries")
            .between(0, 32767)
            .default(Literal::Integer(5)),
        Field::string("protocol")
            .required()
            .one_of(PROTOCOLS)
            .default(Literal::Text("http")),
        Field::string("host").required().check(checks::host),
        Field::integer("port")
            .required()
            .between(0, 65535)
            .default(Literal::Integer(80)),
        Field::string("path").check(checks::path),
        timeout("connect_timeout"),
        timeout("write_timeout"),
        timeout("read_timeout"),
        common::TAGS,
        Field::foreign("client_certificate", Kind::Certificates, OnDelete::Restrict),
        Field::boolean("tls_verify"),
        Field::integer("tls_verify_depth").between(0, 64),
        Field::array("ca_certificates", &common::UUID),
        Field::boolean("enabled")
            .required()
            .default(Literal::Bool(true)),
    ],
    endpoint_key: Some("name"),
    unique_together: &[],
    checks: &[
        EntityCheck::Conditional {
            field: "protocol",
            when: When::OneOf(&["tcp", "tls", "udp", "grpc", "grpcs"]),
            then_field: "path",
            then: Then::Null,
            message: None,
        },
        only_over_tls("client_certificate"),
        only_over_tls("tls_verify"),
        only_over_tls("tls_verify_depth"),
        only_over_tls("ca_certificates"),
    ],
    shorthands: &[Shorthand {
        name: "url",
        expand: expand_url,
    }],
    prepare: Some(drop_foreign_nulls),
    finish: None,
};

/// A field of newer editions, which their tools write as null.
fn drop_foreign_nulls(input: &mut Map<String, Value>) {
    if input.get("tls_sans").is_some_and(Value::is_null) {
        input.shift_remove("tls_sans");
    }
}

/// Milliseconds.
const fn timeout(name: &'static str) -> Field {
    Field::integer(name)
        .between(1, 2_147_483_646)
        .default(Literal::Integer(60_000))
}

/// `grpcs` is not in the list: Kong refuses the TLS fields there.
const fn only_over_tls(field: &'static str) -> EntityCheck {
    EntityCheck::Conditional {
        field: "protocol",
        when: When::NotOneOf(&["https", "tls"]),
        then_field: field,
        then: Then::Null,
        message: None,
    }
}

/// Protocol, host, port and path from one URL, in place of what the input says of them.
fn expand_url(url: Value, input: &mut Map<String, Value>, errors: &mut Errors) {
    let url = match url {
        Value::Null => return,
        Value::String(url) => url,
        _ => return errors.field("url", "expected a string"),
    };
    if url.is_empty() {
        return errors.field("url", "length must be at least 1");
    }
    let parts = split_url(&url);
    let protocol = parts.scheme.map(str::to_owned).or(match parts.port {
        Some("80") => Some("http".into()),
        Some("443") => Some("https".into()),
        _ => None,
    });
    let port = match parts.port {
        // Text that is no number is left for the field's own check.
        Some(port) => Some(
            port.parse::<u64>()
                .map_or_else(|_| port.into(), Value::from),
        ),
        None if protocol.as_deref() == Some("https") => Some(443.into()),
        None => Some(80.into()),
    };
    match protocol {
        Some(protocol) => input.insert("protocol".into(), protocol.into()),
        // Absent: the default, or on PATCH what the row has.
        None => input.remove("protocol"),
    };
    input.insert("host".into(), parts.host.into());
    input.insert("port".into(), port.into());
    input.insert("path".into(), parts.path.into());
}

struct UrlParts<'a> {
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<&'a str>,
    path: Option<&'a str>,
}

/// `[scheme:][//[user@]host[:port]][path]`; query and fragment are dropped.
fn split_url(url: &str) -> UrlParts<'_> {
    let url = url.split(['#', '?']).next().unwrap_or_default();
    let scheme_char = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let (scheme, rest) = match url.split_once(':') {
        Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(scheme_char) => {
            (Some(scheme), rest)
        }
        _ => (None, url),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority.rsplit('@').next().unwrap_or_default()), path)
        }
        None => (None, rest),
    };
    let (host, port) = match authority {
        None => (None, None),
        Some(authority) => {
            let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
            match authority[name_end..].find(':') {
                Some(at) => {
                    let (host, port) = authority.split_at(name_end + at);
                    (Some(host), Some(&port[1..]))
                }
                None => (Some(authority), None),
            }
        }
    };
    UrlParts {
        scheme,
        host: host.filter(|text| !text.is_empty()),
        port: port.filter(|text| !text.is_empty()),
        path: Some(path).filter(|text| !text.is_empty()),
    }
}
