//! The one place where a snapshot's compilation calls `tls` and `router`. `compile` knows these calls only as `Builder`, so
//! its rules are tested with a builder that records.

use super::compile::{Problem, Warning, compile_with};
use super::{Globals, Snapshot};
use crate::entity::Config;
use crate::plugin::{ClientFacts, San};
use crate::router::{RouteSpec, Router};
use crate::tls::client_auth::Trusted;
use crate::tls::identity::{AltNameKind, subject_der};
use crate::tls::keys::KeyPair;
use crate::tls::server::{Identity, RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::trust::{Options, Roots, TrustSet};
use crate::tls::upstream::{ClientPair, UpstreamTls, Versions};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
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

/// `compile_with` on the real `tls` and `router`.
pub fn compile(
    tls: &Tls,
    config: &Config,
    globals: &Globals<Tls>,
    previous: Option<&Snapshot>,
    number: u64,
) -> Result<(Snapshot, Vec<Warning>), Vec<Problem>> {
    compile_with(tls, config, globals, previous, number)
}

/// The builder that builds.
pub struct Tls {
    /// Offered to upstreams.
    pub upstream_versions: Versions,
}

impl Builder for Tls {
    type KeyPair = KeyPair;
    type ClientPair = ClientPair;
    type Identity = Identity;
    type Roots = Roots;
    type ServerSettings = ServerSettings;

    fn key_pair(&self, cert_pem: &str, key_pem: &str) -> Result<KeyPair, String> {
        KeyPair::from_pem(cert_pem, key_pem).map_err(|e| e.to_string())
    }

    fn client_pair(&self, cert_pem: &str, key_pem: &str) -> Result<ClientPair, String> {
        ClientPair::from_pem(cert_pem, key_pem).map_err(|e| e.to_string())
    }

    fn identity(&self, pairs: Result<Vec<Arc<KeyPair>>, Arc<str>>) -> Identity {
        match pairs {
            Ok(pairs) => Identity::new(pairs),
            Err(reason) => Identity::broken(&*reason),
        }
    }

    fn authority(&self, pem: &str) -> Result<Authority, String> {
        let der = match <[Vec<u8>; 1]>::try_from(ders(pem)?) {
            Ok([der]) => der,
            Err(_) => return Err("please submit only one certificate at a time".into()),
        };
        let subject = subject_der(&der).map_err(|e| format!("invalid certificate: {e}"))?;
        Ok(Authority { der, subject })
    }

    fn trust_set(
        &self,
        anchors: Vec<(Uuid, Vec<u8>)>,
        allow_partial_chain: bool,
    ) -> Result<TrustSet, String> {
        TrustSet::build(
            anchors,
            Options {
                allow_partial_chain,
            },
        )
    }

    fn roots(&self, anchors: Vec<(Uuid, Vec<u8>)>) -> Result<Roots, String> {
        let named = |(id, der)| (format!("ca_certificates {id}"), der);
        Roots::from_ders(anchors.into_iter().map(named).collect())
    }

    fn upstream(&self, spec: UpstreamSpec<Self>) -> Result<UpstreamTls, String> {
        Ok(UpstreamTls::new(crate::tls::upstream::UpstreamSpec {
            client: spec.client,
            verify: spec.verify,
            depth: spec.depth,
            roots: spec.roots,
            versions: self.upstream_versions,
        }))
    }

    fn server(
        &self,
        settings: &Arc<ServerSettings>,
        default_pairs: &[Arc<KeyPair>],
        sni: &[(String, Arc<Identity>)],
        requests: &BTreeMap<String, Vec<Vec<u8>>>,
    ) -> Result<ServerPolicy, String> {
        let mut table = SniTable::with_capacity(sni.len());
        for (name, identity) in sni {
            table.insert(name, identity.clone());
        }
        let mut map = RequestMap::default();
        for (name, subjects) in requests {
            map.insert(name, subjects.iter().cloned());
        }
        ServerPolicy::new(settings, default_pairs.to_vec(), table, map, false)
            .map_err(|e| e.to_string())
    }

    fn router(&self, specs: Vec<RouteSpec>) -> Result<Router, Vec<(Uuid, String)>> {
        Router::build(specs).map_err(|errors| {
            let text =
                |e: crate::router::BuildError| (e.route, format!("{}: {}", e.field, e.reason));
            errors.into_iter().map(text).collect()
        })
    }
}

fn ders(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("invalid certificate: {e}"))?;
    if chain.is_empty() {
        return Err("invalid certificate: no CERTIFICATE section was found".into());
    }
    Ok(chain)
}

impl ClientFacts for Trusted {
    fn subject_dn(&self) -> &str {
        &self.identity.subject_dn
    }

    fn cn(&self) -> Option<&str> {
        self.identity.common_names.first().map(|cn| &**cn)
    }

    fn san(&self, index: usize) -> Option<San<'_>> {
        let value = self.identity.alt_names.get(index)?;
        let attribute = match &value.kind {
            AltNameKind::DirectoryAttribute { name, oid } => Some((&**name, &**oid)),
            AltNameKind::Dns | AltNameKind::Email | AltNameKind::Uri | AltNameKind::Ip => None,
        };
        Some(San {
            text: &value.text,
            attribute,
        })
    }

    fn has_san(&self) -> bool {
        self.identity.has_san
    }

    fn path_cas(&self) -> &[Uuid] {
        &self.path_cas
    }
}
