//! The immutable compiled configuration: what every core looks at while it serves one request.

use crate::plugin;
use crate::router::{Router, path::Handling};
use crate::tls::server::ServerPolicy;
use crate::tls::upstream::UpstreamTls;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

pub struct Snapshot {
    /// Raised by one with every publication of this process.
    pub number: u64,
    pub router: Router,
    /// Indexed by `router::Match::handle`.
    pub routes: Vec<Arc<Route>>,
    pub server: Arc<ServerPolicy>,
    pub consumers: Arc<Consumers>,
}

pub struct Route {
    pub id: Uuid,
    pub name: Option<Arc<str>>,
    pub http: bool,
    pub https: bool,
    pub https_redirect_status_code: u16,
    pub strip_path: bool,
    pub preserve_host: bool,
    pub path_handling: Handling,
    pub service: Option<Arc<Service>>,
    /// Plugins that run before a consumer is known, and those after when no consumer scope applies.
    pub plugins: plugin::Chain,
    /// Chains for consumers that have plugins of their own scope (KONG.md §1.10); by consumer id.
    pub consumer_plugins: HashMap<Uuid, plugin::Chain>,
}

pub struct Service {
    pub id: Uuid,
    pub name: Option<Arc<str>>,
    pub scheme: Scheme,
    pub host: Host,
    /// service.host as written: the Host header and the verified name unless preserve_host.
    pub host_text: Arc<str>,
    pub port: u16,
    pub path: Option<Box<str>>,
    pub retries: u32,
    pub connect_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub read_timeout_ms: u64,
    /// `Some` for https. An error is why the certificate or trust store cannot be used: every request is 502, never a downgrade.
    pub tls: Option<Result<Arc<UpstreamTls>, Arc<str>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Http,
    Https,
    /// grpc, tcp …: kept, not served; 503.
    NotServed,
}

pub enum Host {
    Ip(IpAddr),
    Name(Arc<str>),
    /// Names an `upstreams` entity: kept, not served yet; 503.
    Upstream(Arc<str>),
}

pub struct Consumer {
    pub id: Uuid,
    pub username: Option<Arc<str>>,
    pub custom_id: Option<Arc<str>>,
    /// From `acls`, in ascending order.
    pub groups: Vec<Arc<str>>,
}

/// Every way a consumer is looked up (KONG.md §5.4).
#[derive(Default)]
pub struct Consumers {
    pub by_id: HashMap<Uuid, Arc<Consumer>>,
    pub by_username: HashMap<Arc<str>, Arc<Consumer>>,
    pub by_custom_id: HashMap<Arc<str>, Arc<Consumer>>,
    /// mtls_auth_credentials by subject_name.
    pub by_subject_name: HashMap<Arc<str>, Vec<Credential>>,
}

pub struct Credential {
    pub id: Uuid,
    /// `None`: any CA of the plugin.
    pub ca_certificate: Option<Uuid>,
    pub consumer: Arc<Consumer>,
}
