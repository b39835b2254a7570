//! `routes` (KONG.md §1.6).
use super::errors::Errors;
use super::rules;
use super::schema::{EntityCheck, Field, Literal, OnDelete, Schema, Then, When, common};
use super::services::PROTOCOLS;
use super::validate::Context;
use super::{Entity, Kind, checks};
use crate::limits::{ERRORS_IN_ONE_PLACE_MAX, ROUTE_REGEX_TEXT_SIZE_MAX};
use crate::router::{RouteSpec, Router};
use regex_syntax::ast::{ErrorKind, parse::Parser};
use serde_json::{Map, Value};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Routes,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        common::NAME,
        Field::set("protocols", &PROTOCOL)
            .required()
            .len_min(1)
            .default(Literal::Texts(&["http", "https"])),
        Field::integer("https_redirect_status_code")
            .required()
            .one_of_integers(&[426, 301, 302, 307, 308])
            .default(Literal::Integer(426)),
        Field::boolean("strip_path")
            .required()
            .default(Literal::Bool(true)),
        Field::boolean("preserve_host")
            .required()
            .default(Literal::Bool(false)),
        Field::boolean("request_buffering")
            .required()
            .default(Literal::Bool(true)),
        Field::boolean("response_buffering")
            .required()
            .default(Literal::Bool(true)),
        common::TAGS,
        Field::foreign("service", Kind::Services, OnDelete::Restrict),
        Field::set("snis", &SNI),
        Field::set("sources", &ADDRESS),
        Field::set("destinations", &ADDRESS),
        Field::set("methods", &METHOD),
        Field::array("hosts", &HOST),
        Field::array("paths", &PATH),
        Field::map("headers", &HEADER_NAME, &HEADER_VALUES),
        Field::integer("regex_priority").default(Literal::Integer(0)),
        Field::string("path_handling")
            .one_of(&["v0", "v1"])
            .default(Literal::Text("v0")),
    ],
    endpoint_key: Some("name"),
    unique_together: &[],
    checks: &[
        EntityCheck::ExclusiveSets {
            field: "protocols",
            groups: GROUPS,
        },
        must_set(
            When::Contains("https"),
            &["methods", "hosts", "headers", "paths", "snis"],
            "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'",
        ),
        must_set(
            When::ContainsWithout("http", "https"),
            &["methods", "hosts", "headers", "paths"],
            "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'",
        ),
        must_set(
            When::Contains("grpcs"),
            &["hosts", "headers", "paths", "snis"],
            "must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'",
        ),
        must_set(
            When::ContainsWithout("grpc", "grpcs"),
            &["hosts", "headers", "paths"],
            "must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'",
        ),
        must_set(
            When::ContainsAny(&["tcp", "tls", "udp"]),
            &["sources", "destinations", "snis"],
            "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'",
        ),
        must_set(
            When::Contains("tls_passthrough"),
            &["snis"],
            "must set snis when 'protocols' is 'tls_passthrough'",
        ),
        forbid(
            When::ContainsNone(&["grpcs", "https", "tls", "tls_passthrough"]),
            "snis",
            "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'",
        ),
        forbid(
            HTTP,
            "sources",
            "cannot set 'sources' when 'protocols' is 'http' or 'https'",
        ),
        forbid(
            HTTP,
            "destinations",
            "cannot set 'destinations' when 'protocols' is 'http' or 'https'",
        ),
        forbid(
            GRPC,
            "methods",
            "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
        ),
        EntityCheck::Conditional {
            field: "protocols",
            when: GRPC,
            then_field: "strip_path",
            then: Then::False,
            message: Some("cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"),
        },
        forbid(
            STREAM,
            "methods",
            "cannot set 'methods' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        forbid(
            STREAM,
            "hosts",
            "cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        forbid(
            STREAM,
            "paths",
            "cannot set 'paths' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        forbid(
            STREAM,
            "headers",
            "cannot set 'headers' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        EntityCheck::Custom {
            fields: &["paths", "headers"],
            run: regexes_compile,
        },
        EntityCheck::Custom {
            fields: &["protocols", "methods", "hosts", "paths", "headers", "snis"],
            run: can_be_served,
        },
    ],
    shorthands: &[],
    prepare: Some(strip_path_by_protocol),
    finish: None,
};

const PROTOCOL: Field = Field::string("").one_of(PROTOCOLS);
const SNI: Field = Field::string("").check(checks::wildcard_host);
const METHOD: Field = Field::string("").check(checks::method);
const HOST: Field = Field::string("").check(checks::route_host);
const PATH: Field = Field::string("").check(path);
const HEADER_NAME: Field = Field::string("").check(checks::route_header_name);
const HEADER_VALUES: Field = Field::array("", &common::STRING).len_min(1);
const ADDRESS: Field = Field::record(
    "",
    &[
        Field::string("ip").check(checks::ip_or_cidr),
        Field::integer("port").between(0, 65535),
    ],
)
.check(names_ip_or_port);

const GROUPS: &[&[&str]] = &[
    &["http", "https"],
    &["tcp", "tls", "udp"],
    &["tls_passthrough"],
    &["grpc", "grpcs"],
];
const HTTP: When = When::ContainsAny(&["http", "https"]);
const GRPC: When = When::ContainsAny(&["grpc", "grpcs"]);
const STREAM: When = When::ContainsAny(&["tcp", "tls", "tls_passthrough", "udp"]);

const fn must_set(when: When, then: &'static [&'static str], message: &'static str) -> EntityCheck {
    EntityCheck::ConditionalAtLeastOneOf {
        field: "protocols",
        when,
        then,
        message,
    }
}

const fn forbid(when: When, then_field: &'static str, message: &'static str) -> EntityCheck {
    EntityCheck::Conditional {
        field: "protocols",
        when,
        then_field,
        then: Then::Unset,
        message: Some(message),
    }
}

/// The default of `strip_path` is false for grpc and grpcs.
fn strip_path_by_protocol(input: &mut Map<String, Value>) {
    let grpc = rules::holds(GRPC, input.get("protocols").unwrap_or(&Value::Null));
    if grpc && !input.contains_key("strip_path") {
        input.insert("strip_path".into(), false.into());
    }
}

fn names_ip_or_port(address: &Value) -> Result<(), String> {
    let unset = |field| address.get(field).is_none_or(Value::is_null);
    if unset("ip") && unset("port") {
        return Err("at least one of these fields must be non-empty: 'ip', 'port'".into());
    }
    Ok(())
}

/// What no dialect takes is the element's error. The entity's (`regexes_compile`) is what Kong's first look takes and its
/// router does not: look-around, back-references, sizes.
fn path(value: &Value) -> Result<(), String> {
    checks::route_path(value)?;
    let pattern = value.as_str().and_then(|path| path.strip_prefix('~'));
    // A longer one is refused by `regexes_compile`, unparsed.
    let Some(pattern) = pattern.filter(|text| text.len() <= ROUTE_REGEX_TEXT_SIZE_MAX) else {
        return Ok(());
    };
    let Err(error) = Parser::new().parse(pattern) else {
        return Ok(());
    };
    match error.kind() {
        ErrorKind::UnsupportedBackreference | ErrorKind::UnsupportedLookAround => Ok(()),
        kind => Err(format!("invalid regex: '{pattern}' ({kind})")),
    }
}

/// Regexes of paths (`~/…`) and header values (`~*…`) are in the dialect of the regex crate, as in Kong's router.
fn regexes_compile(row: &Entity, _: &Context<'_>, errors: &mut Errors) {
    let paths = row.get("paths").map(texts).unwrap_or_default();
    let headers = row.get("headers").and_then(Value::as_object);
    let values = headers
        .into_iter()
        .flat_map(|map| map.values())
        .flat_map(texts);
    let patterns = paths
        .iter()
        .filter_map(|path| path.strip_prefix('~').map(str::to_owned))
        .chain(values.filter_map(|value| value.strip_prefix("~*").map(str::to_owned)));
    let refused = patterns.filter_map(|pattern| {
        if pattern.len() > ROUTE_REGEX_TEXT_SIZE_MAX {
            let most = ROUTE_REGEX_TEXT_SIZE_MAX;
            return Some(format!("regex is longer than {most} bytes"));
        }
        let error = regex::bytes::Regex::new(&pattern).err()?;
        Some(regex_refusal(&pattern, &error))
    });
    for reason in refused.take(ERRORS_IN_ONE_PLACE_MAX) {
        errors.entity(format!("Router Expression failed validation: {reason}"));
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// In one line, as all lines of the log: the library draws the pattern with carets below it, and its reason stands last.
fn regex_refusal(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    format!(
        "'{pattern}': {}",
        last.strip_prefix("error: ").unwrap_or(last)
    )
}

/// What the router cannot take is refused with the row, where Kong stores some of it (`/a?b`, the server name `*a.test`): a
/// row that does not compile would have to be taken back, and keeps a start from starting where it is stored already.
fn can_be_served(row: &Entity, _: &Context<'_>, errors: &mut Errors) {
    let field = |name: &str| row.get(name).map(texts).unwrap_or_default();
    let is_http = |protocol: &String| protocol == "http" || protocol == "https";
    // What the check before has told is not told again.
    if !errors.is_empty() || !field("protocols").iter().any(is_http) {
        return;
    }
    let headers = row.get("headers").and_then(Value::as_object);
    let headers = headers.into_iter().flatten();
    let spec = RouteSpec {
        methods: field("methods"),
        hosts: field("hosts"),
        paths: field("paths"),
        headers: headers
            .map(|(name, values)| (name.clone(), texts(values)))
            .collect(),
        snis: field("snis"),
        ..RouteSpec::default()
    };
    for error in Router::check(&spec).err().unwrap_or_default() {
        match error.field.split('.').next() {
            Some("@entity") | None => errors.entity(error.reason),
            Some(field) => errors.field(field, error.reason),
        }
    }
}
