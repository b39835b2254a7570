//! A configuration becomes a snapshot, or the list of what stands in the way; a changed one costs the change.
//!
//! A problem means nothing is published and the snapshot before stays. A warning means one part is out of service (a
//! certificate, a trust store, a protocol that is not served): that part fails closed, the rest works.
//!
//! There is one way to compile: to take in rows that differ. A whole configuration is the difference to the one before, to
//! the empty one at first. What was compiled is held in persistent maps, so that a compilation works on a copy and a
//! problem drops it, and what each row refers to is indexed both ways, so that it is known what a change concerns:
//!
//! ```text
//! CA ──▶ plugins, services          upstream's name ──▶ services (a pass over them)
//! certificate ──▶ SNIs, services    service ──▶ routes
//! plugin ──▶ the routes of its scope (a pass over them where it names neither route nor service)
//! ACL ──▶ consumer ──▶ credentials
//! ```

use super::authorities::Authorities;
use super::certificates::Certificates;
use super::changes::{Changes, Pass};
use super::consumers::Known;
use super::report::Log;
use super::routes::{Concerned, Served};
use super::scopes::Scopes;
use super::services::{Services, Sources};
use super::tls_glue::{Builder, ServerParts};
use super::{Problem, Snapshot, Warning};
use crate::entity::{Config, Kind};
use crate::router::Router;
use crate::tls::server::ServerPolicy;
use imbl::OrdMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// What kong.conf says about TLS, already loaded. Files that cannot be read stop the start, so nothing here is broken.
pub struct Globals<B: Builder> {
    /// `ssl_cert`, `ssl_cert_key`, or the generated pairs.
    pub default_pairs: Vec<Arc<B::KeyPair>>,
    /// Compared by address: a new `Arc` makes a new server policy.
    pub server: Arc<B::ServerSettings>,
    /// `client_ssl`, `client_ssl_cert`, `client_ssl_cert_key`.
    pub client_pair: Option<Arc<B::ClientPair>>,
    /// `nginx_proxy_proxy_ssl_verify`, `None` when not set: it outranks `tls_certificate_verify`.
    pub proxy_ssl_verify: Option<bool>,
    pub tls_certificate_verify: bool,
    /// `nginx_proxy_proxy_ssl_verify_depth`.
    pub verify_depth: u32,
    /// `lua_ssl_verify_depth`: in place of the one above where `fallback_trust` is used.
    pub fallback_verify_depth: u32,
    /// `nginx_proxy_proxy_ssl_trusted_certificate`.
    pub proxy_trust: Option<Arc<B::Roots>>,
    /// `lua_ssl_trusted_certificate` or the system's bundle: used only where `proxy_trust` is not set.
    pub fallback_trust: Option<Arc<B::Roots>>,
    /// `router_flavor = traditional`: a route's `path_handling` counts. Otherwise v1 acts as v0 (KONG.md §1.6).
    pub traditional: bool,
    /// `declarative::advise` tells of what works but may not be meant, each with its place: not said again here.
    pub advised: bool,
}

impl<B: Builder> Globals<B> {
    /// What `tls_verify: null` means.
    pub fn verifies(&self) -> bool {
        self.proxy_ssl_verify.unwrap_or(self.tls_certificate_verify)
    }
}

/// Compiles configurations, each from what the one before it left unchanged. A first one of 100,000 certificates takes
/// seconds: it belongs on a thread that may block.
pub struct Compiler<B: Builder> {
    globals: Globals<B>,
    state: State<B>,
    /// Of the last snapshot.
    number: u64,
}

/// For a thread of its own.
pub struct Settling(Router);

pub struct Settled {
    before: Router,
    router: Router,
}

impl Settling {
    /// `None`: there is nothing to do. `pause`: as for `Router::settled`.
    pub fn run(self, pause: &dyn Fn()) -> Option<Settled> {
        let router = self.0.settled(pause)?;
        Some(Settled {
            before: self.0,
            router,
        })
    }
}

type Compiled = Result<(Snapshot, Vec<Warning>), Vec<Problem>>;

impl<B: Builder> Compiler<B> {
    /// Has compiled the empty configuration.
    pub fn new(globals: Globals<B>) -> Self {
        Compiler {
            globals,
            state: State::default(),
            number: 0,
        }
    }

    /// Compiles a whole configuration, under these globals from here on. Looks for what differs by walking all rows; what
    /// has the same content as before is kept. Every warning there is.
    ///
    /// # Errors
    /// Every problem; then nothing has changed.
    pub fn full(&mut self, builder: &B, config: &Config, globals: &Globals<B>) -> Compiled {
        let changes = Changes::between(&self.state.config, config);
        let (state, server, _) = self.compile(builder, config, globals, &changes)?;
        self.globals = globals.clone();
        let snapshot = self.take(state, server);
        let warnings = self.state.warnings.iter();
        let warnings = warnings.flat_map(|((kind, id), texts)| named(*kind, *id, texts));
        let warnings = warnings.collect();
        Ok((snapshot, warnings))
    }

    /// Compiles the configuration that differs from the one before in the rows `changed`, in no others; they may be named
    /// more than once, or not differ. Costs the change. Warnings about these rows, and what is new about those that they
    /// concern: a certificate renewed each night must not bring up each night what its services have been told before.
    ///
    /// # Errors
    /// As `full`.
    pub fn apply(&mut self, builder: &B, config: &Config, changed: &[(Kind, Uuid)]) -> Compiled {
        let changes = Changes::listed(&self.state.config, config, changed);
        let (state, server, log) = self.compile(builder, config, &self.globals, &changes)?;
        let told = |row: &(Kind, Uuid), texts: &[String]| {
            let before = self.state.warnings.get(row);
            !changes.has(row.0, row.1) && before.is_some_and(|before| **before == *texts)
        };
        let judged = log.judged.iter().filter(|(row, texts)| !told(row, texts));
        let warnings = judged.flat_map(|((kind, id), texts)| named(*kind, *id, texts));
        let warnings = warnings.collect();
        Ok((self.take(state, server), warnings))
    }

    /// What brings the configuration into the form that is looked up fastest, which single changes leave. Costs as much as a
    /// few hundred changes, and needs none of this meanwhile.
    pub fn settling(&self) -> Settling {
        Settling(self.state.router.clone())
    }

    /// Whether it is time for that.
    pub fn is_crowded(&self) -> bool {
        self.state.router.is_crowded()
    }

    /// The configuration as it is now in that form, but for what has changed since `settling`. `None`: it has it.
    pub fn settle(&mut self, settled: &Settled) -> Option<Snapshot> {
        let server = self.state.server.clone()?;
        let Settled { before, router } = settled;
        let mut state = self.state.clone();
        state.router = self.state.router.caught_up(before, router)?;
        Some(self.take(state, server))
    }

    pub fn globals(&self) -> &Globals<B> {
        &self.globals
    }

    fn take(&mut self, state: State<B>, server: Arc<ServerPolicy>) -> Snapshot {
        self.state = state;
        self.number += 1;
        self.state.snapshot(server, self.number)
    }

    fn compile(
        &self,
        builder: &B,
        config: &Config,
        globals: &Globals<B>,
        changes: &Changes,
    ) -> Result<(State<B>, Arc<ServerPolicy>, Log), Vec<Problem>> {
        let mut state = self.state.clone();
        let mut pass = Pass {
            builder,
            globals,
            old: &self.state.config,
            new: config,
            changes,
            services: BTreeSet::new(),
            plugins: BTreeSet::new(),
            log: Log::default(),
        };
        if globals.upstreams_differ(&self.globals) {
            let services = config.table(Kind::Services);
            pass.services.extend(services.map(|(id, _)| *id));
        }
        state.change(&mut pass, &self.globals);
        let log = pass.log;
        let sound = |_: &Arc<ServerPolicy>| log.problems.is_empty();
        let Some(server) = state.server.clone().filter(sound) else {
            return Err(log.problems);
        };
        for ((kind, id), texts) in &log.judged {
            match texts.is_empty() {
                true => state.warnings.remove(&(*kind, *id)),
                false => state.warnings.insert((*kind, *id), texts.as_slice().into()),
            };
        }
        state.config = config.clone();
        Ok((state, server, log))
    }
}

fn named(kind: Kind, id: Uuid, texts: &[String]) -> impl Iterator<Item = Warning> + '_ {
    texts
        .iter()
        .cloned()
        .map(move |text| Warning { kind, id, text })
}

/// All that was compiled, and of what. A copy shares everything.
struct State<B: Builder> {
    config: Config,
    certificates: Certificates<B>,
    authorities: Authorities<B>,
    services: Services<B>,
    scopes: Scopes,
    served: Served,
    consumers: Known,
    router: Router,
    /// `None` before the first compilation.
    server: Option<Arc<ServerPolicy>>,
    warnings: OrdMap<(Kind, Uuid), Arc<[String]>>,
}

impl<B: Builder> State<B> {
    fn change(&mut self, pass: &mut Pass<B>, globals_before: &Globals<B>) {
        self.authorities.change(pass);
        let sni = self.certificates.change(pass);
        let mut sources = Sources {
            certificates: &mut self.certificates,
            authorities: &mut self.authorities,
        };
        let of_services = self.services.change(pass, &mut sources);
        let in_scopes = self.scopes.change(pass, &mut self.authorities);
        let concerned = Concerned {
            services: &self.services,
            scopes: &self.scopes,
            of_services,
            in_scopes,
            all: pass.globals.traditional != globals_before.traditional,
        };
        let routes = self.served.change(pass, &concerned);
        self.consumers.change(pass);
        if !routes.is_empty() {
            match pass.builder.router(&self.router, routes) {
                Ok(router) => self.router = router,
                Err(errors) => errors
                    .into_iter()
                    .for_each(|(route, text)| pass.log.fail(Kind::Routes, route, text)),
            }
        }
        let authorities = &mut self.authorities;
        let requests = self.served.asked.settle(|ca| authorities.subject(pass, ca));
        let settings = pass.globals.server_differs(globals_before) || self.server.is_none();
        if !pass.log.problems.is_empty() || (!settings && sni.is_empty() && requests.is_empty()) {
            return;
        }
        let parts = ServerParts {
            before: self.server.as_ref(),
            settings: settings.then_some((&pass.globals.server, &*pass.globals.default_pairs)),
            sni,
            requests,
        };
        match pass.builder.server(parts) {
            Ok(server) => self.server = Some(server),
            Err(text) => pass.log.problems.push(Problem {
                kind: None,
                id: None,
                text,
            }),
        }
    }

    fn snapshot(&self, server: Arc<ServerPolicy>, number: u64) -> Snapshot {
        Snapshot {
            number,
            router: self.router.clone(),
            routes: self.served.routes().clone(),
            server,
            consumers: self.consumers.tables().clone(),
            authorities: self
                .config
                .tables
                .get(&Kind::CaCertificates)
                .cloned()
                .unwrap_or_default(),
            upstream_identities: self.services.fingerprints().clone(),
        }
    }
}

impl<B: Builder> Globals<B> {
    /// Whether a service may have another TLS identity for it.
    fn upstreams_differ(&self, other: &Self) -> bool {
        !same(&self.client_pair, &other.client_pair)
            || self.proxy_ssl_verify != other.proxy_ssl_verify
            || self.tls_certificate_verify != other.tls_certificate_verify
            || self.verify_depth != other.verify_depth
            || self.fallback_verify_depth != other.fallback_verify_depth
            || !same(&self.proxy_trust, &other.proxy_trust)
            || !same(&self.fallback_trust, &other.fallback_trust)
    }

    fn server_differs(&self, other: &Self) -> bool {
        let pairs = || self.default_pairs.iter().zip(&other.default_pairs);
        !Arc::ptr_eq(&self.server, &other.server)
            || self.default_pairs.len() != other.default_pairs.len()
            || pairs().any(|(one, other)| !Arc::ptr_eq(one, other))
    }
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
}

// Derived ones would ask for `B: Clone` and `B: Default`.
impl<B: Builder> Clone for Globals<B> {
    fn clone(&self) -> Self {
        Globals {
            default_pairs: self.default_pairs.clone(),
            server: self.server.clone(),
            client_pair: self.client_pair.clone(),
            proxy_trust: self.proxy_trust.clone(),
            fallback_trust: self.fallback_trust.clone(),
            ..*self
        }
    }
}

impl<B: Builder> Clone for Compiler<B> {
    fn clone(&self) -> Self {
        Compiler {
            globals: self.globals.clone(),
            state: self.state.clone(),
            number: self.number,
        }
    }
}

impl<B: Builder> Clone for State<B> {
    fn clone(&self) -> Self {
        State {
            config: self.config.clone(),
            certificates: self.certificates.clone(),
            authorities: self.authorities.clone(),
            services: self.services.clone(),
            scopes: self.scopes.clone(),
            served: self.served.clone(),
            consumers: self.consumers.clone(),
            router: self.router.clone(),
            server: self.server.clone(),
            warnings: self.warnings.clone(),
        }
    }
}

impl<B: Builder> Default for State<B> {
    fn default() -> Self {
        State {
            config: Config::default(),
            certificates: Certificates::default(),
            authorities: Authorities::default(),
            services: Services::default(),
            scopes: Scopes::default(),
            served: Served::default(),
            consumers: Known::default(),
            router: Router::default(),
            server: None,
            warnings: OrdMap::new(),
        }
    }
}
