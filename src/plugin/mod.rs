//! Kong's plugins, one file each: compiled configuration and access phase. Their order is `PRIORITY` descending.

use crate::snapshot::{Consumer, Consumers};
use crate::tls::client_auth::ClientChain;
use std::sync::Arc;

/// The plugins that apply to one route, at most one instance per name, already resolved by scope (KONG.md §1.10).
#[derive(Clone, Default)]
pub struct Chain {
    pub mtls_auth: Option<Arc<mtls_auth::MtlsAuth>>,
    pub acl: Option<Arc<acl::Acl>>,
    pub request_termination: Option<Arc<request_termination::RequestTermination>>,
}

pub mod acl {
    /// (owner: plugin helper)
    pub struct Acl {}
}
pub mod mtls_auth {
    /// (owner: plugin helper)
    pub struct MtlsAuth {}
}
pub mod request_termination {
    /// (owner: plugin helper)
    pub struct RequestTermination {}
}

/// What the access phase may look at in one request.
pub struct Request<'a> {
    /// The chain proven on this connection, `None` on clear text or when the client sent none.
    pub client: Option<&'a Arc<ClientChain>>,
    /// Unix seconds.
    pub now: u64,
    pub consumers: &'a Consumers,
    pub request_id: &'a str,
}

/// What the access phase found out; starts empty, plugins fill it in order.
#[derive(Default)]
pub struct Admitted {
    pub consumer: Option<Arc<Consumer>>,
    /// A credential was accepted (mtls-auth succeeded); false for an anonymous consumer.
    pub credential: Option<Arc<str>>,
    pub anonymous: bool,
    /// Groups taken from the certificate (skip_consumer_lookup).
    pub authenticated_groups: Vec<Arc<str>>,
    /// Fields to set on the upstream's request, after every client-sent identity header was dropped.
    pub headers: Vec<(&'static str, Arc<str>)>,
    /// For the log: `SUCCESS`, `NONE` or `FAILED:reason` (KONG.md §5.7).
    pub client_verify: Option<Arc<str>>,
}

/// A plugin's word on a request.
pub enum Verdict {
    Continue,
    /// Answer now. `message` goes into Kong's error body (KONG.md §3.5) unless `body` is given.
    Answer(Answer),
}

pub struct Answer {
    pub status: u16,
    pub message: Arc<str>,
    /// A verbatim body with its content type (request-termination).
    pub body: Option<(Arc<str>, Arc<str>)>,
    /// For the log only.
    pub reason: Arc<str>,
}
