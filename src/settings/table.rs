//! Every directive, once: name, default, parser, origin, whether a reload takes it, and what it means.
//! [`Settings`], its defaults and [`TABLE`] all come from this list.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::listen::{Listen, listeners};
use super::pem::{PemSource, TrustSource, pem_source, trust_source};
use super::tls::{
    CipherSuite, Group, SuiteProfile, TlsVersion, ciphers, groups, protocols, suite_profile,
};
use super::types::*;
use super::values::*;
use crate::limits::{FIELD_COUNT_MAX, TICKET_LIFETIME_MAX_S};

/// Whose name a directive bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A directive of kong.conf.
    Kong,
    /// nginx's, by Kong's injection `nginx_<block>_<directive>`.
    Nginx,
    Ours,
}

/// When a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Reload,
    Restart,
}

pub struct Directive {
    pub name: &'static str,
    /// Other names of the same value. They belong to inner nginx blocks, so one outranks `name` in the same source.
    pub aliases: &'static [&'static str],
    /// In the text form its own parser takes; empty when unset.
    pub default: &'static str,
    pub doc: &'static str,
    pub origin: Origin,
    pub change: Change,
    pub(super) set: fn(&mut Settings, &str) -> Parsed<()>,
    /// Takes over the value of other settings.
    pub(super) keep: fn(&mut Settings, &Settings),
}

macro_rules! directives {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal $(or $alias:literal)* => $field:ident: $type:ty = $default:literal, $parse:expr, $origin:ident, $change:ident;
    )+) => {
        /// The gateway's own settings, one field per directive of [`TABLE`], after the checks of `settings::load`.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for Settings {
            fn default() -> Self {
                Settings { $( $field: default_of($name, $default, $parse), )+ }
            }
        }

        pub static TABLE: &[Directive] = &[ $( Directive {
            name: $name,
            aliases: &[$($alias),*],
            default: $default,
            doc: concat!($($doc),+),
            origin: Origin::$origin,
            change: Change::$change,
            set: |settings, value| {
                settings.$field = parsed(value, $parse)?;
                Ok(())
            },
            keep: |settings, other| settings.$field.clone_from(&other.$field),
        } ),+ ];
    };
}

directives! {
    // ── the process ──
    /// Folder of pid file, generated certificates and relative log paths.
    "prefix" => prefix: PathBuf = "/usr/local/sallyport", path, Kong, Restart;
    /// Least severe level that reaches the error logs.
    "log_level" => log_level: LogLevel = "notice", log_level, Kong, Reload;
    /// Access log of the proxy listeners.
    "proxy_access_log" => proxy_access_log: LogTarget = "logs/access.log", log_target, Kong, Restart;
    /// Error log of the proxy and of the process.
    "proxy_error_log" => proxy_error_log: LogTarget = "logs/error.log", log_target, Kong, Restart;
    /// Access log of the Admin API.
    "admin_access_log" => admin_access_log: LogTarget = "logs/admin_access.log", log_target, Kong, Restart;
    /// Error log of the Admin API.
    "admin_error_log" => admin_error_log: LogTarget = "logs/error.log", log_target, Kong, Restart;
    /// Access log of the status listener.
    "status_access_log" => status_access_log: LogTarget = "off", log_target, Kong, Restart;
    /// Error log of the status listener.
    "status_error_log" => status_error_log: LogTarget = "logs/status_error.log", log_target, Kong, Restart;
    /// Number of engine threads, within the CPU mask of the process.
    "nginx_worker_processes" or "nginx_main_worker_processes" => worker_processes: WorkerCount = "auto", worker_count, Kong, Restart;
    /// CPUs the engine threads are pinned to, as `0-3,8`; within the CPU mask of the process.
    "cores" => cores: Option<Vec<usize>> = "auto", cores, Ours, Restart;
    /// CPU of the control thread.
    "control_core" => control_core: Option<usize> = "auto", control_core, Ours, Restart;
    /// Kernel interface of the engine threads.
    "engine" => engine: Engine = "auto", engine, Ours, Restart;
    /// Which core accepts a connection.
    "accept_steering" => accept_steering: AcceptSteering = "cpu", accept_steering, Ours, Restart;
    /// How long exchanges may go on after SIGTERM or SIGQUIT. 30 s is what orchestrators commonly grant.
    "drain_timeout" or "nginx_main_worker_shutdown_timeout" => drain_timeout: Duration = "30s", timeout, Ours, Reload;

    // ── where the configuration of services and routes comes from ──
    /// Store of entities: `embedded`, a file in the prefix that the Admin API writes, or `off`, a declarative file.
    "database" => database: Database = "embedded", database, Kong, Restart;
    /// Declarative file, YAML or JSON.
    "declarative_config" => declarative_config: Option<PathBuf> = "", |v| optional(v, path), Kong, Reload;
    /// Declarative configuration as a text, YAML or JSON.
    "declarative_config_string" => declarative_config_string: Option<String> = "", |v| optional(v, |v| Ok(v.to_owned())), Kong, Reload;
    /// Plugins that may be configured.
    "plugins" => plugins: Vec<String> = "bundled", plugins, Kong, Reload;
    /// How paths are joined and ties broken: `traditional` honours a route's `path_handling = v1`, and of routes of equal
    /// rank the older one wins there, else the one with the larger id.
    "router_flavor" => router_flavor: RouterFlavor = "traditional_compatible", router_flavor, Kong, Reload;

    // ── listeners ──
    /// Listeners of the proxy.
    "proxy_listen" => proxy_listen: Vec<Listen> = "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384", listeners, Kong, Restart;
    /// Listeners of the Admin API. Whoever reaches one can read private keys.
    "admin_listen" => admin_listen: Vec<Listen> = "127.0.0.1:8001 reuseport backlog=16384, 127.0.0.1:8444 http2 ssl reuseport backlog=16384", listeners, Kong, Restart;
    /// Certificate authorities whose clients may use the Admin API's TLS listeners; unset, nobody is asked for a certificate.
    "admin_ssl_client_ca" => admin_ssl_client_ca: Vec<PemSource> = "", |v| list(v, pem_source), Ours, Reload;
    /// Whether `admin_listen` may name an address that is not loopback without TLS and client certificates.
    "admin_listen_unprotected" => admin_listen_unprotected: bool = "off", boolean, Ours, Restart;
    /// Host names, beside those of the loopback, that the Admin API answers to on loopback listeners.
    "admin_hosts" => admin_hosts: Vec<String> = "", |v| list(v, admin_host), Ours, Reload;
    /// Pages that may call the Admin API from a browser: each URL's origin is allowed (CORS).
    "admin_gui_url" => admin_gui_url: Vec<String> = "", |v| list(v, gui_url), Kong, Reload;
    /// Largest content of a request to the Admin API.
    "nginx_admin_client_max_body_size" => admin_client_max_body_size: Option<u64> = "10m", size_or_unbounded, Nginx, Restart;
    /// Listeners of health and metrics.
    "status_listen" => status_listen: Vec<Listen> = "127.0.0.1:8007", listeners, Kong, Restart;
    /// TCP and TLS streams, which are not served.
    "stream_listen" => stream_listen: () = "off", stream_listen, Kong, Restart;
    /// Ports clients use, by the port listened on.
    "port_maps" => port_maps: Vec<PortMap> = "", |v| list(v, port_map), Kong, Reload;
    /// Peers whose forwarded fields and PROXY headers are believed.
    "trusted_ips" => trusted_ips: Vec<Cidr> = "", |v| list(v, cidr), Kong, Reload;
    /// Where a trusted peer names the client's address.
    "real_ip_header" or "nginx_proxy_real_ip_header" => real_ip_header: RealIpHeader = "X-Real-IP", real_ip_header, Kong, Reload;
    /// Whether trusted addresses are skipped from the right of the list.
    "real_ip_recursive" or "nginx_proxy_real_ip_recursive" => real_ip_recursive: bool = "off", boolean, Kong, Reload;

    // ── certificates shown to clients ──
    /// Default certificate chains, paired with `ssl_cert_key`; generated when unset.
    "ssl_cert" => ssl_cert: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;
    /// Keys of `ssl_cert`, in the same order.
    "ssl_cert_key" => ssl_cert_key: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;
    /// Certificate chains of the status listener.
    "status_ssl_cert" => status_ssl_cert: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;
    /// Keys of `status_ssl_cert`, in the same order.
    "status_ssl_cert_key" => status_ssl_cert_key: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;
    /// Certificate chains of the Admin API's listeners.
    "admin_ssl_cert" => admin_ssl_cert: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;
    /// Keys of `admin_ssl_cert`, in the same order.
    "admin_ssl_cert_key" => admin_ssl_cert_key: Vec<PemSource> = "", |v| list(v, pem_source), Kong, Reload;

    // ── TLS toward clients ──
    /// Mozilla's profile of versions and ciphers, or `custom`.
    "ssl_cipher_suite" => ssl_cipher_suite: SuiteProfile = "intermediate", suite_profile, Kong, Reload;
    /// Suites offered, in the server's order; read with `ssl_cipher_suite = custom`, otherwise the profile's.
    "ssl_ciphers" => ssl_ciphers: Vec<CipherSuite> = "", |v| if v.is_empty() { Ok(Vec::new()) } else { ciphers(v) }, Kong, Reload;
    /// Versions offered; read with `ssl_cipher_suite = custom`, otherwise the profile's.
    "ssl_protocols" or "nginx_http_ssl_protocols" or "nginx_proxy_ssl_protocols" => ssl_protocols: Vec<TlsVersion> = "TLSv1.2 TLSv1.3", protocols, Kong, Reload;
    /// Whether the server's order of ciphers counts. Also with Mozilla's profiles, where Kong turns it off: the cheapest cipher of this machine comes first.
    "ssl_prefer_server_ciphers" or "nginx_http_ssl_prefer_server_ciphers" or "nginx_proxy_ssl_prefer_server_ciphers" => ssl_prefer_server_ciphers: bool = "on", boolean, Kong, Reload;
    /// Key exchange groups offered, first preferred.
    "ssl_groups" or "nginx_http_ssl_ecdh_curve" or "nginx_proxy_ssl_ecdh_curve" => ssl_groups: Vec<Group> = "X25519MLKEM768:X25519:P-256:P-384", groups, Ours, Reload;
    /// Whether sessions can be resumed by ticket.
    "ssl_session_tickets" or "nginx_http_ssl_session_tickets" or "nginx_proxy_ssl_session_tickets" => ssl_session_tickets: bool = "on", boolean, Kong, Reload;
    /// How long a session can be resumed; ticket secrets turn twice in that time.
    "ssl_session_timeout" or "nginx_http_ssl_session_timeout" or "nginx_proxy_ssl_session_timeout" => ssl_session_timeout: Duration = "1d", ticket_lifetime, Kong, Reload;
    /// Accepted without use: sessions live in tickets.
    "ssl_session_cache_size" => ssl_session_cache_size: u64 = "10m", size, Kong, Reload;
    /// Accepted without use: rustls has no finite-field Diffie-Hellman.
    "ssl_dhparam" or "nginx_http_ssl_dhparam" or "nginx_proxy_ssl_dhparam" => ssl_dhparam: Option<PemSource> = "", |v| optional(v, pem_source), Kong, Reload;
    /// Library that does TLS's cryptography.
    "tls_provider" => tls_provider: TlsProvider = "auto", tls_provider, Ours, Restart;

    // ── TLS toward upstreams ──
    /// Whether upstreams that ask are shown `client_ssl_cert` when their service names no certificate.
    "client_ssl" => client_ssl: bool = "off", boolean, Kong, Reload;
    /// Certificate chain shown to upstreams; with `client_ssl` and no pair, the generated default pair.
    "client_ssl_cert" => client_ssl_cert: Option<PemSource> = "", |v| optional(v, pem_source), Kong, Reload;
    /// Key of `client_ssl_cert`.
    "client_ssl_cert_key" => client_ssl_cert_key: Option<PemSource> = "", |v| optional(v, pem_source), Kong, Reload;
    /// Trust in upstreams when neither service nor `nginx_proxy_proxy_ssl_trusted_certificate` names any.
    "lua_ssl_trusted_certificate" => lua_ssl_trusted_certificate: Vec<TrustSource> = "system", |v| list(v, trust_source), Kong, Reload;
    /// Intermediate certificates between an upstream's leaf and `lua_ssl_trusted_certificate`.
    "lua_ssl_verify_depth" => lua_ssl_verify_depth: u32 = "1", verify_depth, Kong, Reload;
    /// Whether a service without `tls_verify` has its upstream's certificate verified.
    "tls_certificate_verify" => tls_certificate_verify: bool = "on", boolean, Kong, Reload;
    /// Outranks `tls_certificate_verify` when set.
    "nginx_proxy_proxy_ssl_verify" => proxy_ssl_verify: Option<bool> = "", |v| optional(v, boolean), Nginx, Reload;
    /// Trust in upstreams when their service names none: one PEM file.
    "nginx_proxy_proxy_ssl_trusted_certificate" => proxy_ssl_trusted_certificate: Option<PathBuf> = "", |v| optional(v, path), Nginx, Reload;
    /// Intermediate certificates between an upstream's leaf and its anchor, when the service does not say.
    "nginx_proxy_proxy_ssl_verify_depth" => proxy_ssl_verify_depth: u32 = "1", verify_depth, Nginx, Reload;
    /// Idle connections kept per upstream; 0 keeps none.
    "upstream_keepalive_pool_size" or "nginx_upstream_keepalive" => upstream_keepalive_pool_size: u32 = "512", |v| number(v, 0, 1 << 20), Kong, Reload;
    /// Requests an upstream connection serves before it is closed; 0 is no bound.
    "upstream_keepalive_max_requests" or "nginx_upstream_keepalive_requests" => upstream_keepalive_max_requests: u32 = "10000", |v| number(v, 0, u32::MAX), Kong, Reload;
    /// How long an upstream connection may idle, by default in seconds; 0 is no bound.
    "upstream_keepalive_idle_timeout" or "nginx_upstream_keepalive_timeout" => upstream_keepalive_idle_timeout: Duration = "60", seconds, Kong, Reload;

    // ── bounds on clients ──
    /// From the accepted connection to the finished handshake, in all. nginx counts it under client_header_timeout; a handshake needs two round trips, and 10 s grants each of them five seconds.
    "ssl_handshake_timeout" => ssl_handshake_timeout: Duration = "10s", timeout, Ours, Reload;
    /// From a head's first byte to its last, in all.
    "nginx_http_client_header_timeout" or "nginx_proxy_client_header_timeout" => client_header_timeout: Duration = "60s", timeout, Nginx, Reload;
    /// Between two reads of content.
    "nginx_http_client_body_timeout" or "nginx_proxy_client_body_timeout" => client_body_timeout: Duration = "60s", timeout, Nginx, Reload;
    /// Least rate of content, in bytes per second over the whole of it, 0 for none. 240 passes a 2400 bit/s line and ends a trickle of one byte a minute; other servers of this kind use 240 to 500.
    "client_body_min_rate" => client_body_min_rate: u32 = "240", |v| number(v, 0, 1 << 30), Ours, Reload;
    /// Between two exchanges; 0 closes after each.
    "nginx_http_keepalive_timeout" or "nginx_proxy_keepalive_timeout" => keepalive_timeout: Duration = "75s", time, Nginx, Reload;
    /// Requests a client connection serves before it is closed.
    "nginx_http_keepalive_requests" or "nginx_proxy_keepalive_requests" => keepalive_requests: u32 = "10000", |v| number(v, 1, u32::MAX), Nginx, Reload;
    /// Largest request content; 0 is no bound.
    "nginx_http_client_max_body_size" or "nginx_proxy_client_max_body_size" => client_max_body_size: Option<u64> = "0", size_or_unbounded, Nginx, Reload;
    /// Bounds of a request head: number of buffers, and size of one, which no line may exceed.
    "nginx_http_large_client_header_buffers" or "nginx_proxy_large_client_header_buffers" => large_client_header_buffers: HeadBuffers = "4 8k", head_buffers, Nginx, Reload;
    /// Between two writes that the client takes.
    "nginx_http_send_timeout" or "nginx_proxy_send_timeout" => send_timeout: Duration = "60s", timeout, Nginx, Reload;
    /// Field lines of one head.
    "request_field_count_max" => request_field_count_max: u32 = "100", |v| number(v, 1, FIELD_COUNT_MAX), Ours, Reload;
    /// Client connections of one core; more are closed when accepted.
    "connections_max" or "nginx_events_worker_connections" => connections_max: u32 = "16384", connections_max, Ours, Reload;
    /// Connections of one core between accept and finished handshake; more are closed when accepted. 1024 full handshakes are a fifth of a second of a core.
    "handshakes_in_flight_max" => handshakes_in_flight_max: u32 = "1024", |v| number(v, 1, 65_536), Ours, Reload;
    /// How long an exchange may outlive the trust in its client.
    "client_verdict_grace" => client_verdict_grace: Duration = "5s", time, Ours, Reload;

    // ── responses ──
    /// Fields the gateway adds to responses.
    "headers" => headers: ResponseHeaders = "server_tokens, latency_tokens, X-Kong-Request-Id", response_headers, Kong, Reload;
    /// Fields the gateway adds to requests.
    "headers_upstream" => headers_upstream: UpstreamHeaders = "X-Kong-Request-Id", upstream_headers, Kong, Reload;
    /// Type of an error raised by the proxy layer when the request asks for none.
    "error_default_type" => error_default_type: ErrorType = "text/plain", error_type, Kong, Reload;
    /// Whether `Kong-Debug: 1` is answered.
    "allow_debug_header" => allow_debug_header: bool = "off", boolean, Kong, Reload;
    /// Template file of HTML errors: two `%s`, for the message and the request id.
    "error_template_html" => error_template_html: Option<PathBuf> = "", |v| optional(v, path), Kong, Reload;
    /// Template file of JSON errors, as `error_template_html`.
    "error_template_json" => error_template_json: Option<PathBuf> = "", |v| optional(v, path), Kong, Reload;
    /// Template file of plain errors, as `error_template_html`.
    "error_template_plain" => error_template_plain: Option<PathBuf> = "", |v| optional(v, path), Kong, Reload;
    /// Template file of XML errors, as `error_template_html`.
    "error_template_xml" => error_template_xml: Option<PathBuf> = "", |v| optional(v, path), Kong, Reload;

    // ── names ──
    /// Name servers; the system's when unset.
    "dns_resolver" or "resolver_address" => dns_resolver: Vec<SocketAddr> = "", dns_resolvers, Kong, Reload;
    /// File of fixed names.
    "dns_hostsfile" or "resolver_hosts_file" => dns_hostsfile: PathBuf = "/etc/hosts", path, Kong, Reload;
    /// Record types in the order they are asked for; `LAST` is the one that answered last time.
    "dns_order" => dns_order: Vec<DnsRecord> = "LAST,SRV,A,CNAME", dns_order, Kong, Reload;
    /// Lifetime of an answer, in place of its own TTL.
    "dns_valid_ttl" or "resolver_valid_ttl" => dns_valid_ttl: Option<Duration> = "", |v| optional(v, seconds), Kong, Reload;
    /// How long an expired answer serves while it is asked for again.
    "dns_stale_ttl" or "resolver_stale_ttl" => dns_stale_ttl: Duration = "3600", seconds, Kong, Reload;
    /// Lifetime of the answer that a name does not exist.
    "dns_not_found_ttl" => dns_not_found_ttl: Duration = "30", seconds, Kong, Reload;
    /// Lifetime of a failed look-up.
    "dns_error_ttl" or "resolver_error_ttl" => dns_error_ttl: Duration = "1", seconds, Kong, Reload;
}

/// The directive of that name or alias.
pub fn directive(name: &str) -> Option<&'static Directive> {
    TABLE
        .iter()
        .find(|directive| directive.name == name || directive.aliases.contains(&name))
}

fn parsed<T>(value: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Parsed<T> {
    parse(value)
}

fn default_of<T>(name: &str, default: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> T {
    match parse(default) {
        Ok(value) => value,
        Err(why) => panic!("bug: the default of `{name}` is refused: {why}"),
    }
}

fn stream_listen(value: &str) -> Parsed<()> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(());
    }
    Err("TCP and TLS streams are not served; off is accepted".into())
}

/// A name or address without port, as a Host field has it.
fn admin_host(value: &str) -> Parsed<String> {
    let bare = value.trim_start_matches('[').trim_end_matches(']');
    let name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    if bare.parse::<std::net::IpAddr>().is_ok() || name(value) {
        return Ok(value.to_ascii_lowercase());
    }
    Err(format!(
        "{} is not a host name; one without port is accepted",
        shown(value)
    ))
}

/// `scheme://host[:port][/path]`.
fn gui_url(value: &str) -> Parsed<String> {
    let rest = value
        .strip_prefix("http://")
        .or_else(|| value.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(value.to_owned()),
        _ => Err(format!(
            "{} is not a URL; http://host[:port] or https://host[:port] is accepted",
            shown(value)
        )),
    }
}

fn verify_depth(value: &str) -> Parsed<u32> {
    number(value, 0, 100)
}

fn ticket_lifetime(value: &str) -> Parsed<Duration> {
    let lifetime = time(value)?;
    if lifetime < Duration::from_secs(2) || lifetime > Duration::from_secs(TICKET_LIFETIME_MAX_S) {
        return Err(format!(
            "{} is outside 2s to 7d (RFC 8446 §4.6.1)",
            shown(value)
        ));
    }
    Ok(lifetime)
}
