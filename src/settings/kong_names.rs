//! Directive names of Kong that this gateway does not read: known, so that they are warned about rather than refused.

use super::table::directive;

/// kong.conf's names, without those of the table.
const NAMES: &[&str] = &[
    // general
    "pluginserver_names",
    "role",
    "vaults",
    "anonymous_reports",
    "proxy_server",
    "proxy_server_ssl_verify",
    "opentelemetry_tracing",
    "opentelemetry_tracing_sampling_rate",
    "tracing_instrumentations",
    "tracing_sampling_rate",
    "instrumentation_trace",
    "error_template_grpc",
    "proxy_stream_access_log",
    "proxy_stream_error_log",
    "request_debug",
    "request_debug_token",
    "custom_plugins",
    "konnect_mode",
    "dedicated_config_processing",
    "incremental_sync",
    "max_queued_batches",
    "lmdb_environment_path",
    "lmdb_map_size",
    "mem_cache_size",
    "data_plane_config_cache_mode",
    "data_plane_config_cache_path",
    "declarative_config_encryption_mode",
    "worker_consistency",
    "worker_state_update_frequency",
    "worker_events_max_payload",
    "router_consistency",
    "router_update_frequency",
    "router_flavour",
    "host_ports",
    "privileged_agent",
    "stream_ssl_cert",
    "stream_ssl_cert_key",
    "untrusted_lua",
    "untrusted_lua_sandbox_requires",
    "untrusted_lua_sandbox_environment",
    "openresty_path",
    "node_id",
    "wasm",
    "wasm_filters_path",
    "wasm_dynamic_module",
    "wasm_filters",
    "enforce_rbac",
    "portal",
    "license_path",
    "license_data",
    "password",
    "allow_inconsistent_data_plane_plugins",
    "fips",
    "ssl_stapling",
    // DNS
    "dns_cache_size",
    "dns_no_sync",
    "dns_valid_ttl_min",
    "new_dns_client",
    "resolver_family",
    "resolver_lru_cache_size",
    "resolver_mem_cache_size",
    // nginx's process
    "nginx_daemon",
    "nginx_user",
    "nginx_optimizations",
    "nginx_conf",
    "nginx_sproxy",
    "client_body_buffer_size",
    "client_max_body_size",
    "upstream_keepalive",
    "real_ip",
    "mem_cache",
    // PEM pairs of listeners that are not served
    "admin_gui_ssl_cert",
    "admin_gui_ssl_cert_key",
];

/// Families of names: everything that begins so is Kong's.
const FAMILIES: &[&str] = &[
    "pg_",
    "cassandra_",
    "db_",
    "cluster_",
    "admin_gui_",
    "admin_api_",
    "lua_",
    "pluginserver_",
    "vault_",
    "wasm_",
    "portal_",
    "rbac_",
    "audit_log",
    "smtp_",
    "vitals",
    "keyring_",
    "event_hooks_",
    "tracing_",
    "debug_",
    "active_tracing",
    "analytics_",
    "konnect_",
    "ai_mcp_",
    "resolver_",
    "admin_emails_",
    "admin_invitation_",
    "admin_auto_create",
    "telemetry_",
    "feature_conf_",
    "route_validation_",
    "worker_",
];

/// nginx blocks that Kong injects directives into.
pub const INJECTION_BLOCKS: [&str; 11] = [
    "main",
    "events",
    "http",
    "upstream",
    "proxy",
    "location",
    "status",
    "admin",
    "stream",
    "supstream",
    "sproxy",
];

/// Whether Kong has a directive of that name and we have not.
pub fn is_kongs(name: &str) -> bool {
    directive(name).is_none()
        && (NAMES.contains(&name)
            || FAMILIES.iter().any(|family| name.starts_with(family))
            || is_injection(name))
}

/// `nginx_<block>_<directive>`.
pub fn is_injection(name: &str) -> bool {
    name.strip_prefix("nginx_")
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(block, inner)| {
            INJECTION_BLOCKS.contains(&block)
                && !inner.is_empty()
                && inner
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
}

/// Names that mean nothing here and whose presence tells the operator nothing: database credentials
/// with `database = off`, and the sandbox of a language we do not run.
pub fn is_silent(name: &str) -> bool {
    name.starts_with("pg_") || name.starts_with("untrusted_lua")
}

/// Kong's bundled plugins, so that a list naming one we lack can be told from a misspelling.
pub const BUNDLED_PLUGINS: &[&str] = &[
    "acl",
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "basic-auth",
    "bot-detection",
    "correlation-id",
    "cors",
    "datadog",
    "file-log",
    "grpc-gateway",
    "grpc-web",
    "header-cert-auth",
    "hmac-auth",
    "http-log",
    "ip-restriction",
    "jwt",
    "key-auth",
    "ldap-auth",
    "loggly",
    "mtls-auth",
    "oauth2",
    "opentelemetry",
    "post-function",
    "pre-function",
    "prometheus",
    "proxy-cache",
    "rate-limiting",
    "redirect",
    "request-size-limiting",
    "request-termination",
    "request-transformer",
    "response-ratelimiting",
    "response-transformer",
    "session",
    "standard-webhooks",
    "statsd",
    "syslog",
    "tcp-log",
    "tls-handshake-modifier",
    "tls-metadata-headers",
    "udp-log",
    "zipkin",
];
