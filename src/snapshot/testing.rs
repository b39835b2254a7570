//! What tests put in the place of `tls`: a builder that keeps what it was asked for, and values of the types it must return.

use super::tls_glue::{Authority, Builder, UpstreamSpec};
use crate::router::{RouteSpec, Router};
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
    pub routes: RefCell<Vec<RouteSpec>>,
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
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

    fn key_pair(&self, cert: &str, key: &str) -> Result<Pair, String> {
        self.pairs.borrow_mut().push(format!("{cert}/{key}"));
        pair(cert, key)
    }

    fn client_pair(&self, cert: &str, key: &str) -> Result<Pair, String> {
        self.clients.borrow_mut().push(format!("{cert}/{key}"));
        pair(cert, key)
    }

    fn identity(&self, pairs: Result<Vec<Arc<Pair>>, Arc<str>>) -> Identity {
        match pairs {
            Ok(pairs) => Ok(pairs.iter().map(|pair| pair.to_string()).collect()),
            Err(reason) => Err(reason.to_string()),
        }
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
        self.upstreams.borrow_mut().push(Upstream {
            client: spec.client.map(|pair| pair.to_string()),
            verify: spec.verify,
            depth: spec.depth,
            roots: spec.roots.map(|roots| roots.to_vec()),
        });
        Ok(upstream_tls())
    }

    fn server(
        &self,
        _settings: &Arc<()>,
        _default_pairs: &[Arc<Pair>],
        sni: &[(String, Arc<Identity>)],
        requests: &BTreeMap<String, Vec<Vec<u8>>>,
    ) -> Result<ServerPolicy, String> {
        self.servers.borrow_mut().push(Server {
            sni: sni
                .iter()
                .map(|(name, identity)| (name.clone(), (**identity).clone()))
                .collect(),
            requests: requests
                .iter()
                .map(|(name, subjects)| {
                    (name.clone(), subjects.iter().cloned().map(text).collect())
                })
                .collect(),
        });
        Ok(server_policy())
    }

    fn router(&self, specs: Vec<RouteSpec>) -> Result<Router, Vec<(Uuid, String)>> {
        let broken = specs
            .iter()
            .filter(|spec| spec.paths.iter().any(|path| path == "~/("));
        let errors: Vec<_> = broken
            .map(|spec| (spec.id, "paths: not a regex".into()))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        *self.routes.borrow_mut() = specs;
        Ok(Router::default())
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
