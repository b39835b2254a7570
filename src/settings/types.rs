//! Typed values of directives that are neither addresses, times nor TLS.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::values::{Parsed, address, cpu_list, list, number, path, shown, size, word};
use crate::limits::{CONNECTIONS_PER_CORE_MAX, CPU_MAX, HEAD_BUFFER_SIZE_MAX, HEAD_BUFFERS_MAX};

/// `nginx_worker_processes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCount {
    /// One per CPU of the mask, or of `cores`.
    Auto,
    Count(usize),
}

pub fn worker_count(value: &str) -> Parsed<WorkerCount> {
    if value.eq_ignore_ascii_case("auto") {
        return Ok(WorkerCount::Auto);
    }
    number(value, 1, CPU_MAX + 1)
        .map(WorkerCount::Count)
        .map_err(|why| format!("{why}, nor auto"))
}

/// `None` for `auto`.
pub fn cores(value: &str) -> Parsed<Option<Vec<usize>>> {
    if value.eq_ignore_ascii_case("auto") {
        Ok(None)
    } else {
        cpu_list(value).map(Some)
    }
}

/// `None` for `auto`.
pub fn control_core(value: &str) -> Parsed<Option<usize>> {
    if value.eq_ignore_ascii_case("auto") {
        Ok(None)
    } else {
        number(value, 0, CPU_MAX).map(Some)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, and a refusal with the remedy where it is not allowed.
    Auto,
    IoUring,
    Epoll,
}

pub fn engine(value: &str) -> Parsed<Engine> {
    word(
        value,
        &[
            ("auto", Engine::Auto),
            ("io_uring", Engine::IoUring),
            ("epoll", Engine::Epoll),
        ],
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProvider {
    /// By the CPU's features (DESIGN.md: mixed where VAES comes without AVX-512).
    Auto,
    Mixed,
    AwsLc,
    Ring,
}

pub fn tls_provider(value: &str) -> Parsed<TlsProvider> {
    word(
        value,
        &[
            ("auto", TlsProvider::Auto),
            ("mixed", TlsProvider::Mixed),
            ("aws-lc", TlsProvider::AwsLc),
            ("ring", TlsProvider::Ring),
        ],
    )
}

/// Which core accepts a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptSteering {
    /// The core its packets arrive on.
    Cpu,
    /// The kernel's hash over the connection's addresses.
    Hash,
}

pub fn accept_steering(value: &str) -> Parsed<AcceptSteering> {
    word(
        value,
        &[("cpu", AcceptSteering::Cpu), ("hash", AcceptSteering::Hash)],
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Emerg,
}

pub fn log_level(value: &str) -> Parsed<LogLevel> {
    word(
        value,
        &[
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("notice", LogLevel::Notice),
            ("warn", LogLevel::Warn),
            ("error", LogLevel::Error),
            ("crit", LogLevel::Crit),
            ("alert", LogLevel::Alert),
            ("emerg", LogLevel::Emerg),
        ],
    )
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Off,
    Stdout,
    Stderr,
    /// Relative paths are below the prefix: see [`LogTarget::below`].
    File(PathBuf),
}

impl LogTarget {
    /// The file's path, a relative one joined to `prefix`; `None` for the other targets.
    pub fn below(&self, prefix: &Path) -> Option<PathBuf> {
        match self {
            LogTarget::File(path) => Some(prefix.join(path)),
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => None,
        }
    }
}

/// nginx allows a format or level behind the path; the first word is taken here and the caller warns of the rest.
pub fn log_target(value: &str) -> Parsed<LogTarget> {
    let target = value.split_ascii_whitespace().next().unwrap_or_default();
    match target {
        "off" => Ok(LogTarget::Off),
        "/dev/stdout" => Ok(LogTarget::Stdout),
        "/dev/stderr" => Ok(LogTarget::Stderr),
        _ if target.starts_with("syslog:") => {
            Err("syslog is not spoken; a path, /dev/stdout, /dev/stderr or off is accepted (a path can be a pipe to the collector)".into())
        }
        _ => path(target).map(LogTarget::File),
    }
}

/// An address block: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: u128,
    mask: u128,
}

impl Cidr {
    pub fn contains(&self, ip: IpAddr) -> bool {
        mapped(ip) & self.mask == self.network
    }
}

pub fn cidr(value: &str) -> Parsed<Cidr> {
    if value == "unix:" {
        return Err("`unix:` is not served, as no listener is a Unix socket; IP addresses and CIDR blocks are accepted".into());
    }
    let refused = || {
        format!(
            "{} is neither an IP address nor a CIDR block such as 10.0.0.0/8",
            shown(value)
        )
    };
    let (ip, bits) = match value.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (value, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| refused())?;
    let width: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => number(bits, 0, width).map_err(|_| refused())?,
        None => width,
    };
    let mask = u128::MAX.checked_shl(width - bits).unwrap_or(0);
    // An IPv4 block lies inside ::ffff:0:0/96: a /0 must not reach beyond it.
    let mask = if ip.is_ipv4() {
        mask | (u128::MAX << 32)
    } else {
        mask
    };
    Ok(Cidr {
        network: mapped(ip) & mask,
        mask,
    })
}

/// IPv4 as its IPv4-mapped IPv6 address, so that a dual-stack listener's peers match IPv4 blocks.
fn mapped(ip: IpAddr) -> u128 {
    let v6: Ipv6Addr = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.to_bits()
}

/// Where the client's address is taken from when the peer is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealIpHeader {
    ProxyProtocol,
    /// Field name, lower-cased.
    Field(String),
}

pub fn real_ip_header(value: &str) -> Parsed<RealIpHeader> {
    if value.eq_ignore_ascii_case("proxy_protocol") {
        return Ok(RealIpHeader::ProxyProtocol);
    }
    // RFC 9110 §5.6.2, token.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if value.is_empty() || !value.bytes().all(token) {
        return Err(format!(
            "{} is no field name; X-Real-IP, X-Forwarded-For, another field name or proxy_protocol is accepted",
            shown(value)
        ));
    }
    Ok(RealIpHeader::Field(value.to_ascii_lowercase()))
}

/// `80:8000`: the port clients use, and the port we listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMap {
    pub public: u16,
    pub listening: u16,
}

pub fn port_map(value: &str) -> Parsed<PortMap> {
    let refused = || {
        format!(
            "{} is not a pair of ports such as 443:8443 (port clients use : port listened on)",
            shown(value)
        )
    };
    let (public, listening) = value.split_once(':').ok_or_else(refused)?;
    Ok(PortMap {
        public: number(public.trim(), 1, u16::MAX).map_err(|_| refused())?,
        listening: number(listening.trim(), 1, u16::MAX).map_err(|_| refused())?,
    })
}

/// The directive `headers`: which fields responses get (KONG.md §3.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    pub server: bool,
    pub via: bool,
    pub upstream_latency: bool,
    pub proxy_latency: bool,
    pub response_latency: bool,
    /// Kong's Admin API sets it; kept for that.
    pub admin_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
}

pub fn response_headers(value: &str) -> Parsed<ResponseHeaders> {
    let mut headers = ResponseHeaders::default();
    for token in tokens(value)? {
        match token.to_ascii_lowercase().as_str() {
            "server_tokens" => {
                headers.server = true;
                headers.via = true;
            }
            "latency_tokens" => {
                headers.upstream_latency = true;
                headers.proxy_latency = true;
                headers.response_latency = true;
                headers.admin_latency = true;
            }
            "server" => headers.server = true,
            "via" => headers.via = true,
            "x-kong-upstream-latency" => headers.upstream_latency = true,
            "x-kong-proxy-latency" => headers.proxy_latency = true,
            "x-kong-response-latency" => headers.response_latency = true,
            "x-kong-admin-latency" => headers.admin_latency = true,
            "x-kong-upstream-status" => headers.upstream_status = true,
            "x-kong-request-id" => headers.request_id = true,
            _ => {
                return Err(format!(
                    "{} is not known; accepted: off, server_tokens, latency_tokens, Server, Via, X-Kong-Upstream-Latency, X-Kong-Proxy-Latency, X-Kong-Response-Latency, X-Kong-Admin-Latency, X-Kong-Upstream-Status, X-Kong-Request-Id",
                    shown(&token)
                ));
            }
        }
    }
    Ok(headers)
}

/// The directive `headers_upstream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamHeaders {
    pub request_id: bool,
}

pub fn upstream_headers(value: &str) -> Parsed<UpstreamHeaders> {
    let mut headers = UpstreamHeaders::default();
    for token in tokens(value)? {
        if !token.eq_ignore_ascii_case("X-Kong-Request-Id") {
            return Err(format!(
                "{} is not known; accepted: off, X-Kong-Request-Id",
                shown(&token)
            ));
        }
        headers.request_id = true;
    }
    Ok(headers)
}

/// Tokens of a header list; `off` alone names none.
fn tokens(value: &str) -> Parsed<Vec<String>> {
    let tokens = list(value, |token| Ok(token.to_owned()))?;
    let off = tokens.iter().any(|token| token.eq_ignore_ascii_case("off"));
    match (off, tokens.len()) {
        (true, 1) => Ok(Vec::new()),
        (true, _) => Err("`off` stands alone".into()),
        (false, _) => Ok(tokens),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    Plain,
    Html,
    Json,
    Xml,
}

pub fn error_type(value: &str) -> Parsed<ErrorType> {
    word(
        value,
        &[
            ("text/plain", ErrorType::Plain),
            ("text/html", ErrorType::Html),
            ("application/json", ErrorType::Json),
            ("application/xml", ErrorType::Xml),
        ],
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// The type that answered last time.
    Last,
    /// Accepted, not asked for.
    Srv,
    A,
    Aaaa,
    Cname,
}

pub fn dns_order(value: &str) -> Parsed<Vec<DnsRecord>> {
    let records = list(value, |entry| {
        word(
            entry,
            &[
                ("LAST", DnsRecord::Last),
                ("SRV", DnsRecord::Srv),
                ("A", DnsRecord::A),
                ("AAAA", DnsRecord::Aaaa),
                ("CNAME", DnsRecord::Cname),
            ],
        )
    })?;
    if !records
        .iter()
        .any(|record| matches!(record, DnsRecord::A | DnsRecord::Aaaa))
    {
        return Err("names neither A nor AAAA, so that no name could be resolved".into());
    }
    Ok(records)
}

pub fn dns_resolvers(value: &str) -> Parsed<Vec<SocketAddr>> {
    list(value, |entry| address(entry, 53))
}

/// `large_client_header_buffers`: a head has at most `count` × `size` bytes, a line of it at most `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBuffers {
    pub count: u32,
    pub size: u64,
}

impl HeadBuffers {
    pub fn head_size_max(&self) -> usize {
        usize::try_from(u64::from(self.count) * self.size).unwrap_or(usize::MAX)
    }

    pub fn line_size_max(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }
}

pub fn head_buffers(value: &str) -> Parsed<HeadBuffers> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [count, bytes] = words[..] else {
        return Err(format!(
            "{} is not `count size`, as in `4 8k`",
            shown(value)
        ));
    };
    let bytes = size(bytes)?;
    if !(512..=HEAD_BUFFER_SIZE_MAX).contains(&bytes) {
        return Err(format!(
            "a buffer of {bytes} bytes is outside 512 to {HEAD_BUFFER_SIZE_MAX}"
        ));
    }
    Ok(HeadBuffers {
        count: number(count, 1, HEAD_BUFFERS_MAX)?,
        size: bytes,
    })
}

/// `auto`, the word of `nginx_events_worker_connections`, stands for the default.
pub fn connections_max(value: &str) -> Parsed<u32> {
    const AUTO: u32 = 16_384;
    if value.eq_ignore_ascii_case("auto") {
        Ok(AUTO)
    } else {
        number(value, 1, CONNECTIONS_PER_CORE_MAX)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file in the prefix, written by the Admin API.
    Embedded,
    /// A declarative file, or nothing yet.
    Off,
}

pub fn database(value: &str) -> Parsed<Database> {
    match value.to_ascii_lowercase().as_str() {
        "embedded" => Ok(Database::Embedded),
        "off" => Ok(Database::Off),
        other @ ("postgres" | "cassandra") => Err(format!(
            "`{other}` is not used by this gateway; to migrate, dump the old gateway (`deck gateway dump -o kong.yml`, or `kong config db_export`), \
             set `database = embedded` and run `sallyport config db_import kong.yml`; or set `database = off` and name the file in `declarative_config`"
        )),
        _ => Err(format!(
            "{} is not known; embedded or off is accepted",
            shown(value)
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterFlavor {
    TraditionalCompatible,
    /// As `traditional_compatible`, but `path_handling` counts, and of routes of equal rank the older one wins.
    Traditional,
}

pub fn router_flavor(value: &str) -> Parsed<RouterFlavor> {
    if value.eq_ignore_ascii_case("expressions") {
        return Err(
            "`expressions` is not served; traditional_compatible or traditional is accepted".into(),
        );
    }
    word(
        value,
        &[
            (
                "traditional_compatible",
                RouterFlavor::TraditionalCompatible,
            ),
            ("traditional", RouterFlavor::Traditional),
        ],
    )
}

/// Plugins that this gateway has.
pub const PLUGINS_SERVED: [&str; 4] = ["acl", "mtls-auth", "prometheus", "request-termination"];

/// Names as given, `bundled` replaced by [`PLUGINS_SERVED`]; `off` for none. Names we lack are kept: the caller warns.
pub fn plugins(value: &str) -> Parsed<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in tokens(value)? {
        let expanded: Vec<&str> = if name == "bundled" {
            PLUGINS_SERVED.to_vec()
        } else {
            vec![&name]
        };
        for name in expanded {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}
