//! The configuration tables of the plugins that are enabled here (KONG.md §5). The code that runs a plugin
//! reads a `config` that has passed its table: every field present, unset ones null.
use super::checks;
use super::schema::{Check, EntityCheck, Field, Literal, common};
use serde_json::Value;

pub struct PluginSchema {
    pub name: &'static str,
    /// Execution order: descending.
    pub priority: i32,
    pub config: &'static [Field],
    /// Elements of `protocols`.
    pub protocols: &'static Field,
    /// Whether it may be bound to a consumer.
    pub consumer_scope: bool,
    /// Checks of the plugin entity; field names are dotted (`config.x`).
    pub checks: &'static [EntityCheck],
    /// Checks of `config` as a whole, reported at `config`.
    pub config_check: Option<Check>,
}

pub fn find(name: &str) -> Option<&'static PluginSchema> {
    PLUGINS.iter().find(|plugin| plugin.name == name)
}

pub static PLUGINS: &[PluginSchema] = &[MTLS_AUTH, ACL, REQUEST_TERMINATION, PROMETHEUS];

const HTTP_PROTOCOL: &Field = &Field::string("").one_of(&["grpc", "grpcs", "http", "https"]);

// ── mtls-auth (KONG.md §5.1) ──

const MTLS_AUTH: PluginSchema = PluginSchema {
    name: "mtls-auth",
    priority: 1600,
    config: &[
        Field::string("anonymous"),
        Field::array("consumer_by", &CONSUMER_BY)
            .default(Literal::Texts(&["username", "custom_id"])),
        Field::array("ca_certificates", &common::UUID)
            .required()
            .len_min(1),
        // Seconds.
        Field::number("cache_ttl")
            .required()
            .default(Literal::Integer(60)),
        Field::boolean("skip_consumer_lookup")
            .required()
            .default(Literal::Bool(false)),
        Field::boolean("allow_partial_chain")
            .required()
            .default(Literal::Bool(false)),
        Field::string("authenticated_group_by")
            .one_of(&["CN", "DN"])
            .default(Literal::Text("CN")),
        Field::string("revocation_check_mode")
            .one_of(&["SKIP", "IGNORE_CA_ERROR", "STRICT"])
            .check(revocation_is_possible)
            .default(Literal::Text("IGNORE_CA_ERROR")),
        // Milliseconds.
        Field::number("http_timeout").default(Literal::Integer(30_000)),
        // Milliseconds (KONG.md §11, point 13).
        Field::number("cert_cache_ttl").default(Literal::Integer(60_000)),
        Field::boolean("send_ca_dn").default(Literal::Bool(false)),
        Field::string("http_proxy_host").check(checks::host),
        Field::integer("http_proxy_port").between(0, 65535),
        Field::string("https_proxy_host").check(checks::host),
        Field::integer("https_proxy_port").between(0, 65535),
        Field::string("default_consumer"),
        Field::boolean("ssl_verify").default(Literal::Bool(true)),
        Field::array("san_dirname_matcher", &common::STRING).default(Literal::Texts(&[])),
    ],
    protocols: HTTP_PROTOCOL,
    consumer_scope: false,
    checks: &[],
    config_check: None,
};

const CONSUMER_BY: Field = Field::string("").one_of(&["username", "custom_id"]);

fn revocation_is_possible(mode: &Value) -> Result<(), String> {
    if mode == "STRICT" {
        return Err("STRICT needs revocation lookups, which this version does not do".into());
    }
    Ok(())
}

// ── acl (KONG.md §5.8) ──

const ACL: PluginSchema = PluginSchema {
    name: "acl",
    priority: 950,
    config: &[
        Field::array("allow", &common::STRING),
        Field::array("deny", &common::STRING),
        Field::boolean("hide_groups_header")
            .required()
            .default(Literal::Bool(false)),
        Field::boolean("include_consumer_groups")
            .required()
            .default(Literal::Bool(false)),
        Field::boolean("always_use_authenticated_groups")
            .required()
            .default(Literal::Bool(false)),
    ],
    protocols: HTTP_PROTOCOL,
    consumer_scope: false,
    checks: &[
        EntityCheck::OnlyOneOf(&["config.allow", "config.deny"]),
        EntityCheck::AtLeastOneOf(&["config.allow", "config.deny"]),
    ],
    config_check: None,
};

// ── request-termination ──

const REQUEST_TERMINATION: PluginSchema = PluginSchema {
    name: "request-termination",
    priority: 2,
    config: &[
        // 1xx is never the last response to a request (RFC 9110 §15.2): the client would wait on.
        Field::integer("status_code")
            .between(200, 599)
            .default(Literal::Integer(503)),
        Field::string("message"),
        Field::string("content_type").check(content_type_is_one_line),
        Field::string("body"),
        Field::boolean("echo")
            .required()
            .check(echo_is_off)
            .default(Literal::Bool(false)),
        Field::string("trigger").check(checks::header_name),
    ],
    protocols: HTTP_PROTOCOL,
    consumer_scope: true,
    checks: &[],
    config_check: Some(message_or_body),
};

/// Its answer holds the request's content and names of the node, in a form that is not published.
fn echo_is_off(echo: &Value) -> Result<(), String> {
    if echo == true {
        return Err("true is not supported; requests are answered without an echo".into());
    }
    Ok(())
}

/// It becomes a field line of the answer.
fn content_type_is_one_line(text: &Value) -> Result<(), String> {
    let text = text.as_str().unwrap_or_default();
    if text.trim_matches([' ', '\t']) != text || text.chars().any(|c| c.is_control()) {
        return Err("must not contain control characters or outer spaces".into());
    }
    Ok(())
}

fn message_or_body(config: &Value) -> Result<(), String> {
    let set = |field| config.get(field).is_some_and(|value| !value.is_null());
    if set("message") && (set("content_type") || set("body")) {
        return Err("message cannot be used with content_type or body".into());
    }
    if set("content_type") && !set("body") {
        return Err("content_type requires a body".into());
    }
    Ok(())
}

// ── prometheus: accepted; metrics are always on ──

const PROMETHEUS: PluginSchema = PluginSchema {
    name: "prometheus",
    priority: 13,
    config: &[
        Field::boolean("per_consumer").default(Literal::Bool(false)),
        Field::boolean("status_code_metrics").default(Literal::Bool(false)),
        Field::boolean("latency_metrics").default(Literal::Bool(false)),
        Field::boolean("bandwidth_metrics").default(Literal::Bool(false)),
        Field::boolean("upstream_health_metrics").default(Literal::Bool(false)),
    ],
    protocols: ALL_PROTOCOLS,
    consumer_scope: true,
    checks: &[],
    config_check: None,
};

const ALL_PROTOCOLS: &Field = &Field::string("").one_of(super::services::PROTOCOLS);
