//! What tests put in the place of `tls`: a builder that keeps what it was asked for, and values of the types it must return.

use super::certificates::pairs;
use super::tls_glue::{
    Authority, Builder, RouterChanges, ServerParts, UpstreamSpec, changed_router,
};
use crate::entity::Entity;
use crate::router::{RouteSpec, Router};
use crate::tls::Digest;
use crate::tls::client_auth::ClientChain;
use crate::tls::provider;
use crate::tls::server::{RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::trust::{Options, TrustSet};
use crate::tls::upstream::{self, UpstreamTls, Versions};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Text beginning with this does not load.
pub const BROKEN: &str = "broken";

#[derive(Default)]
pub struct Recorder {
    /// `cert/key` of every pair built.
    pub pairs: RefCell<Vec<String>>,
    /// The same of those shown to upstreams.
    pub clients: RefCell<Vec<String>>,
    pub trust_sets: RefCell<Vec<(Vec<Uuid>, bool)>>,
    pub upstreams: RefCell<Vec<Upstream>>,
    /// Per server policy.
    pub servers: RefCell<Vec<Server>>,
    /// Added by the last change of the router.
    pub routes: RefCell<Vec<RouteSpec>>,
    policies: RefCell<Vec<(Arc<ServerPolicy>, Server)>>,
}

impl Recorder {
    /// What a policy that this builder made would hold.
    pub fn server_of(&self, policy: &Arc<ServerPolicy>) -> Server {
        let policies = self.policies.borrow();
        let mut policies = policies.iter();
        let found = policies.find(|(held, _)| Arc::ptr_eq(held, policy));
        found.expect("made here").1.clone()
    }
}

/// A key pair as `cert/key`.
pub type Pair = String;
/// The pairs, or why there are none.
pub type Identity = Result<Vec<String>, String>;
/// The certificates' texts.
pub type Roots = Vec<String>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    pub client: Option<Pair>,
    pub verify: bool,
    pub depth: u32,
    pub roots: Option<Roots>,
}

impl Upstream {
    /// The same for the same content.
    pub fn fingerprint(&self) -> Digest {
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{self:?}").as_bytes());
        digest.as_ref().try_into().expect("32 bytes")
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Server {
    /// In ascending name.
    pub sni: Vec<(String, Identity)>,
    /// Name → subjects.
    pub requests: Vec<(String, Vec<String>)>,
}

impl Builder for Recorder {
    type KeyPair = Pair;
    type ClientPair = Pair;
    type Identity = Identity;
    type Roots = Roots;
    type ServerSettings = ();

    fn client_pair(&self, cert: &str, key: &str) -> Result<Pair, String> {
        self.clients.borrow_mut().push(format!("{cert}/{key}"));
        pair(cert, key)
    }

    fn identity(&self, certificate: &Arc<Entity>) -> (Identity, Option<Arc<str>>) {
        let built = pairs(certificate, |cert, key| {
            self.pairs.borrow_mut().push(format!("{cert}/{key}"));
            pair(cert, key)
        });
        let identity: Identity =
            built.map(|pairs| pairs.iter().map(|pair| pair.to_string()).collect());
        let broken = identity.as_ref().err().map(|reason| reason.as_str().into());
        (identity, broken)
    }

    fn broken_identity(&self, reason: &Arc<str>) -> Identity {
        Err(reason.to_string())
    }

    fn authority(&self, pem: &str) -> Result<Authority, String> {
        if pem.starts_with(BROKEN) {
            return Err("not a certificate".into());
        }
        Ok(Authority {
            der: pem.into(),
            subject: format!("CN={pem}").into(),
        })
    }

    fn trust_set(
        &self,
        anchors: Vec<(Uuid, Vec<u8>)>,
        allow_partial_chain: bool,
    ) -> Result<TrustSet, String> {
        let ids = anchors.into_iter().map(|(id, _)| id).collect();
        self.trust_sets
            .borrow_mut()
            .push((ids, allow_partial_chain));
        Ok(trust_set())
    }

    fn roots(&self, anchors: Vec<(Uuid, Vec<u8>)>) -> Result<Roots, String> {
        Ok(anchors.into_iter().map(|(_, der)| text(der)).collect())
    }

    fn upstream(&self, spec: UpstreamSpec<Self>) -> Result<UpstreamTls, String> {
        let upstream = Upstream {
            client: spec.client.map(|pair| pair.to_string()),
            verify: spec.verify,
            depth: spec.depth,
            roots: spec.roots.map(|roots| roots.to_vec()),
        };
        let mut tls = upstream_tls();
        tls.fingerprint = upstream.fingerprint();
        self.upstreams.borrow_mut().push(upstream);
        Ok(tls)
    }

    fn server(&self, parts: ServerParts<Self>) -> Result<Arc<ServerPolicy>, String> {
        let before = parts.before.map(|before| self.server_of(before));
        let Server { sni, requests } = before.unwrap_or_default();
        let (mut sni, mut requests): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (sni.into_iter().collect(), requests.into_iter().collect());
        for (name, identity) in parts.sni {
            match identity {
                Some(identity) => sni.insert(name.to_string(), (*identity).clone()),
                None => sni.remove(&*name),
            };
        }
        for (name, subjects) in parts.requests {
            let subjects = subjects.map(|subjects| subjects.into_iter().map(text).collect());
            match subjects {
                Some(subjects) => requests.insert(name.to_string(), subjects),
                None => requests.remove(&*name),
            };
        }
        let server = Server {
            sni: sni.into_iter().collect(),
            requests: requests.into_iter().collect(),
        };
        self.servers.borrow_mut().push(server.clone());
        let policy = Arc::new(server_policy());
        self.policies.borrow_mut().push((policy.clone(), server));
        Ok(policy)
    }

    fn router(
        &self,
        before: &Router,
        changes: RouterChanges,
    ) -> Result<Router, Vec<(Uuid, String)>> {
        let changed = changed_router(before, &changes);
        *self.routes.borrow_mut() = changes.added;
        changed
    }
}

fn pair(cert: &str, key: &str) -> Result<Pair, String> {
    if cert.starts_with(BROKEN) {
        return Err("not a certificate".into());
    }
    Ok(format!("{cert}/{key}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn trust_set() -> TrustSet {
    TrustSet::build(Vec::new(), Options::default()).expect("nothing in it can be broken")
}

pub fn upstream_tls() -> UpstreamTls {
    let versions = Versions {
        tls12: true,
        tls13: true,
    };
    UpstreamTls::new(upstream::UpstreamSpec {
        client: None,
        verify: false,
        depth: 0,
        roots: None,
        versions,
    })
}

pub fn server_policy() -> ServerPolicy {
    let settings = ServerSettings::new(provider::choose(provider::Mode::default()));
    let policy = ServerPolicy::new(
        &settings,
        Vec::new(),
        SniTable::default(),
        RequestMap::default(),
        false,
    );
    policy.expect("defaults leave something to offer")
}

pub fn client_chain() -> Arc<ClientChain> {
    Arc::new(ClientChain::new(vec![b"leaf".to_vec()]))
}
