//! The immutable compiled configuration: what every core looks at while it serves one request.
//!
//! - `compile`: a configuration becomes a snapshot; a change of it costs the change.
//! - `changes`, `report`, `shared`: what a compilation starts from, what it has to say, parts that several entities use.
//! - `certificates`, `authorities`, `services`, `routes`, `consumers`: one kind of entity each.
//! - `scopes`: which plugin instance runs where (KONG.md §1.10).
//! - `requests`: for which SNI a client certificate is asked (KONG.md §5.2).
//! - `tls_glue`: the only place that calls `tls` and `router` to build something.
mod authorities;
mod certificates;
mod changes;
pub mod compile;
mod consumers;
mod report;
mod requests;
mod routes;
mod scopes;
mod services;
mod shared;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod tls_glue;

pub use compile::{Compiler, Globals, Settled, Settling};
pub use report::{Problem, Warning};
pub use routes::Routes;
pub use services::{Fingerprints, server_name};

use crate::entity::Table;
use crate::plugin;
use crate::plugin::values;
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
    pub routes: Routes,
    pub server: Arc<ServerPolicy>,
    pub consumers: Arc<Consumers>,
    /// All `ca_certificates`, in use or not; by id.
    pub authorities: Table,
    /// Of the TLS identities towards upstreams that some service has.
    pub upstream_identities: Fingerprints,
}

#[derive(Clone)]
pub struct Route {
    pub id: Uuid,
    /// Its name, or its id when it has none: the label of its metrics.
    pub label: Arc<str>,
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
    /// Its name, or its id when it has none: the label of its metrics.
    pub label: Arc<str>,
    pub name: Option<Arc<str>>,
    pub scheme: Scheme,
    pub host: Host,
    /// service.host as written: the Host header and the verified name unless preserve_host.
    pub host_text: Arc<str>,
    /// The Host field towards it: `host_text`, with the port unless that is the scheme's own (KONG.md §3.4).
    pub authority: Arc<str>,
    /// The name sent as SNI and verified: `host_text` in lower case, without brackets.
    pub server_name: Arc<str>,
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    Ip(IpAddr),
    /// Lower case.
    Name(Arc<str>),
    /// Names an `upstreams` entity: kept, not served yet; 503.
    Upstream(Arc<str>),
}

#[derive(Debug)]
pub struct Consumer {
    pub id: Uuid,
    pub username: Option<Arc<str>>,
    pub custom_id: Option<Arc<str>>,
    /// From `acls`, in ascending order.
    pub groups: Vec<Arc<str>>,
    /// The four above as field values for the upstream (`plugin::values`).
    pub id_value: Arc<str>,
    pub username_value: Option<Arc<str>>,
    pub custom_id_value: Option<Arc<str>>,
    pub groups_value: Arc<str>,
}

impl Consumer {
    pub fn new(
        id: Uuid,
        username: Option<&str>,
        custom_id: Option<&str>,
        mut groups: Vec<Arc<str>>,
    ) -> Consumer {
        groups.sort_unstable();
        groups.dedup();
        Consumer {
            id,
            username: username.map(Arc::from),
            custom_id: custom_id.map(Arc::from),
            id_value: id.to_string().into(),
            username_value: username.map(|name| values::field_value(name).into()),
            custom_id_value: custom_id.map(|id| values::field_value(id).into()),
            groups_value: values::list(groups.iter().map(|group| &**group), ", ").into(),
            groups,
        }
    }
}

/// Every way a consumer is looked up (KONG.md §5.4). A copy shares all; to change it costs the change.
#[derive(Clone, Default, Debug)]
pub struct Consumers {
    pub by_id: imbl::HashMap<Uuid, Arc<Consumer>>,
    pub by_username: imbl::HashMap<Arc<str>, Arc<Consumer>>,
    pub by_custom_id: imbl::HashMap<Arc<str>, Arc<Consumer>>,
    /// mtls_auth_credentials by subject_name, in ascending id.
    pub by_subject_name: imbl::HashMap<Arc<str>, Vec<Credential>>,
}

#[derive(Clone, Debug)]
pub struct Credential {
    pub id: Uuid,
    /// `None`: any CA of the plugin.
    pub ca_certificate: Option<Uuid>,
    pub consumer: Arc<Consumer>,
}
