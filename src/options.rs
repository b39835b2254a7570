//! What the data plane needs of the settings, in the form it uses: fixed from one publication to the next.

use crate::http1::error_body::{Format, Templates};
use crate::settings::Cidr;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    // Downstream bounds.
    pub handshake_timeout: Duration,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    /// Content slower than this (bytes/s, measured after the first `body_timeout`) ends the connection; 0 is off.
    pub body_min_rate: u64,
    pub idle_timeout: Duration,
    pub send_timeout: Duration,
    pub requests_per_connection_max: u64,
    /// 0: no bound.
    pub body_size_max: u64,
    pub head_size_max: usize,
    pub line_size_max: usize,
    pub field_count_max: usize,
    pub connections_max: usize,
    /// Connections between accept and finished handshake.
    pub handshakes_max: usize,
    pub client_verdict_grace: Duration,
    // Forwarding.
    pub trusted: Vec<Cidr>,
    pub real_ip: RealIp,
    pub real_ip_recursive: bool,
    /// Listener port → the port clients see.
    pub port_maps: Vec<(u16, u16)>,
    pub headers: ResponseFields,
    /// X-Kong-Request-Id towards the upstream.
    pub upstream_request_id: bool,
    pub allow_debug_header: bool,
    pub error_default_format: Format,
    pub error_templates: Templates,
    // Upstream pool.
    pub pool_size: usize,
    pub pool_requests_max: u64,
    pub pool_idle_timeout: Duration,
    pub access_log: bool,
}

/// Directive `headers` (KONG.md §3.7).
#[derive(Clone, Copy, Debug)]
pub struct ResponseFields {
    pub server: bool,
    pub via: bool,
    pub proxy_latency: bool,
    pub upstream_latency: bool,
    pub response_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RealIp {
    XRealIp,
    XForwardedFor,
    ProxyProtocol,
    Other(String),
}

impl Options {
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    pub fn mapped_port(&self, port: u16) -> u16 {
        self.port_maps
            .iter()
            .find(|(listener, _)| *listener == port)
            .map_or(port, |(_, mapped)| *mapped)
    }
}
