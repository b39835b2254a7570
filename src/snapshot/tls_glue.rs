//! The one place where a snapshot's compilation calls `tls` and `router`. `compile` knows these calls only as `Builder`, so
//! its rules are tested with a builder that records.

use crate::router::{RouteSpec, Router};
use crate::tls::server::ServerPolicy;
use crate::tls::trust::TrustSet;
use crate::tls::upstream::UpstreamTls;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Makes the parts of a snapshot that hold cryptography or compiled patterns. Errors are texts for the log and for the
/// response to an Admin call; they must not quote key material.
pub trait Builder: 'static {
    /// A certificate chain with its private key, as listeners show it.
    type KeyPair: Send + Sync + 'static;
    /// The same as upstreams are shown it.
    type ClientPair: Send + Sync + 'static;
    /// What an SNI shows: one or two key pairs, or the fact that there is none and the handshake must be aborted.
    type Identity: Send + Sync + 'static;
    /// Trust anchors towards upstreams.
    type Roots: Send + Sync + 'static;
    /// Versions, suites, groups, tickets of the listeners.
    type ServerSettings: Send + Sync + 'static;

    fn key_pair(&self, cert_pem: &str, key_pem: &str) -> Result<Self::KeyPair, String>;

    fn client_pair(&self, cert_pem: &str, key_pem: &str) -> Result<Self::ClientPair, String>;

    fn identity(&self, pairs: Result<Vec<Arc<Self::KeyPair>>, Arc<str>>) -> Self::Identity;

    /// One CA certificate in PEM.
    fn authority(&self, pem: &str) -> Result<Authority, String>;

    /// Anchors in ascending id.
    fn trust_set(
        &self,
        anchors: Vec<(Uuid, Vec<u8>)>,
        allow_partial_chain: bool,
    ) -> Result<TrustSet, String>;

    /// As for `trust_set`.
    fn roots(&self, anchors: Vec<(Uuid, Vec<u8>)>) -> Result<Self::Roots, String>;

    fn upstream(&self, spec: UpstreamSpec<Self>) -> Result<UpstreamTls, String>;

    /// `sni`: names as in KONG.md §1.3, lower case. `requests`: name, wildcard or `*` → DER names for the
    /// CertificateRequest (KONG.md §5.2).
    fn server(
        &self,
        settings: &Arc<Self::ServerSettings>,
        default_pairs: &[Arc<Self::KeyPair>],
        sni: &[(String, Arc<Self::Identity>)],
        requests: &BTreeMap<String, Vec<Vec<u8>>>,
    ) -> Result<ServerPolicy, String>;

    /// An error names the route it is about.
    fn router(&self, specs: Vec<RouteSpec>) -> Result<Router, Vec<(Uuid, String)>>;
}

pub struct Authority {
    pub der: Vec<u8>,
    /// The subject's Name in DER, as a CertificateRequest carries it (RFC 8446 §4.2.4).
    pub subject: Vec<u8>,
}

/// The effective TLS identity towards one service (KONG.md §4.4).
pub struct UpstreamSpec<B: Builder + ?Sized> {
    pub client: Option<Arc<B::ClientPair>>,
    pub verify: bool,
    /// Intermediates allowed between leaf and anchor.
    pub depth: u32,
    /// `Some` whenever `verify` is set.
    pub roots: Option<Arc<B::Roots>>,
}
