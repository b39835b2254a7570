//! The one place where a snapshot's compilation calls `tls` and `router`. `compile` knows these calls only as `Builder`, so
//! its rules are tested with a builder that records.

use super::certificates::pairs;
use crate::entity::Entity;
use crate::plugin::{ClientFacts, San};
use crate::router::{RouteSpec, Router};
use crate::tls::client_auth::Trusted;
use crate::tls::identity::{AltNameKind, subject_der};
use crate::tls::keys::{KeyPair, pem_reason};
use crate::tls::server::{Identity, RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::trust::{Options, Roots, TrustSet};
use crate::tls::upstream::{ClientPair, UpstreamTls, Versions};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
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

    fn client_pair(&self, cert_pem: &str, key_pem: &str) -> Result<Self::ClientPair, String>;

    /// Of a row of `certificates`, and why it cannot be used where that is known at once. May put off reading it to the
    /// first use.
    fn identity(&self, certificate: &Arc<Entity>) -> (Self::Identity, Option<Arc<str>>);

    fn broken_identity(&self, reason: &Arc<str>) -> Self::Identity;

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

    fn server(&self, parts: ServerParts<Self>) -> Result<Arc<ServerPolicy>, String>;

    /// An error names the route it is about.
    fn router(
        &self,
        before: &Router,
        changes: RouterChanges,
    ) -> Result<Router, Vec<(Uuid, String)>>;
}

/// What a server policy is made of.
pub struct ServerParts<'p, B: Builder + ?Sized> {
    /// `None` only when `settings` are given.
    pub before: Option<&'p Arc<ServerPolicy>>,
    /// And the default pairs; `None`: those of `before`.
    pub settings: Option<(&'p Arc<B::ServerSettings>, &'p [Arc<B::KeyPair>])>,
    /// Names as in KONG.md §1.3, in lower case, that show something else from now on; `None`: nothing.
    pub sni: Vec<(Arc<str>, Option<Arc<B::Identity>>)>,
    /// Names, wildcards or `*` and DER names for the CertificateRequest (KONG.md §5.2), the same way.
    pub requests: Vec<(Arc<str>, Option<Vec<Vec<u8>>>)>,
}

/// As for `Router::with_changes`.
#[derive(Default)]
pub struct RouterChanges {
    pub removed: Vec<u32>,
    pub added: Vec<RouteSpec>,
}

impl RouterChanges {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
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

    fn client_pair(&self, cert_pem: &str, key_pem: &str) -> Result<ClientPair, String> {
        ClientPair::from_pem(cert_pem, key_pem).map_err(|e| e.to_string())
    }

    /// Read at the first handshake: it was checked when it was written. Text that is no PEM at all (a reference that an
    /// earlier version stored) is known to be broken.
    fn identity(&self, certificate: &Arc<Entity>) -> (Identity, Option<Arc<str>>) {
        let read = |certificate: &Entity| {
            let pair = |cert: &str, key: &str| {
                KeyPair::from_pem(cert, key).map_err(|error| error.to_string())
            };
            pairs(certificate, pair)
        };
        let texts = ["cert", "key", "cert_alt", "key_alt"];
        let mut texts = texts
            .into_iter()
            .filter_map(|field| certificate.get(field)?.as_str());
        if texts.all(|text| text.contains("-----BEGIN ")) {
            let certificate = certificate.clone();
            return (Identity::lazy(move || read(&certificate)), None);
        }
        match read(certificate) {
            Ok(pairs) => (Identity::new(pairs), None),
            Err(reason) => (Identity::broken(&*reason), Some(reason.into())),
        }
    }

    fn broken_identity(&self, reason: &Arc<str>) -> Identity {
        Identity::broken(&**reason)
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

    fn server(&self, parts: ServerParts<Tls>) -> Result<Arc<ServerPolicy>, String> {
        let renewed = match (parts.before, parts.settings) {
            (Some(before), Some((settings, pairs))) => {
                Some(before.with_settings(settings, pairs.to_vec()))
            }
            (None, Some((settings, pairs))) => Some(ServerPolicy::new(
                settings,
                pairs.to_vec(),
                SniTable::with_capacity(parts.sni.len()),
                RequestMap::default(),
                false,
            )),
            (_, None) => None,
        };
        let renewed = renewed.transpose().map_err(|error| error.to_string())?;
        let base = renewed.as_ref().or(parts.before.map(|before| &**before));
        let base = base.ok_or("a server policy without settings")?;
        let sni = parts.sni.iter();
        let requests = parts.requests.iter();
        let policy = base.with_changes(
            sni.map(|(name, identity)| (&**name, identity.clone())),
            requests.map(|(name, subjects)| (&**name, subjects.clone())),
        );
        Ok(Arc::new(policy))
    }

    fn router(
        &self,
        before: &Router,
        changes: RouterChanges,
    ) -> Result<Router, Vec<(Uuid, String)>> {
        changed_router(before, &changes)
    }
}

/// With errors as `Builder::router` has them.
pub(super) fn changed_router(
    before: &Router,
    changes: &RouterChanges,
) -> Result<Router, Vec<(Uuid, String)>> {
    let changed = before.with_changes(&changes.removed, &changes.added);
    changed.map_err(|errors| {
        let text = |e: crate::router::BuildError| (e.route, format!("{}: {}", e.field, e.reason));
        errors.into_iter().map(text).collect()
    })
}

fn ders(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("invalid certificate: {}", pem_reason(&e)))?;
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
