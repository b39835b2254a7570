//! A whole configuration becomes a snapshot, or the list of what stands in the way.
//!
//! A problem means nothing is published and the snapshot before stays. A warning means one part is out of service (a
//! certificate, a trust store, a protocol that is not served): that part fails closed, the rest works.

use super::requests::{Asked, Requests};
use super::scopes::Scopes;
use super::services::Services;
use super::tls_glue::Builder;
use super::{Consumers, Route, Service, Snapshot, authorities, certificates, consumers, services};
use crate::entity::{Config, Entity, Kind, rows};
use crate::router::RouteSpec;
use crate::router::path::Handling;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
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
    /// `router_flavor = traditional`: a route's `path_handling` counts, and of routes of equal rank the older one wins.
    /// Otherwise v1 acts as v0 (KONG.md §1.6), and the larger id wins (§3.2).
    pub traditional: bool,
}

impl<B: Builder> Globals<B> {
    /// What `tls_verify: null` means.
    pub fn verifies(&self) -> bool {
        self.proxy_ssl_verify.unwrap_or(self.tls_certificate_verify)
    }
}

/// Parts of `previous` whose content is unchanged are taken over, so that a change costs the change: key pairs, SNI
/// identities, trust sets, upstream identities, consumers, the server policy. Takes seconds for 100,000 new certificates;
/// belongs on a thread that may block.
pub fn compile_with<B: Builder>(
    builder: &B,
    config: &Config,
    globals: &Globals<B>,
    previous: Option<&Snapshot>,
    number: u64,
) -> Result<(Snapshot, Vec<Warning>), Vec<Problem>> {
    let mut log = Log::default();
    let reuse = previous.and_then(|snapshot| snapshot.reuse.downcast_ref::<Reuse<B>>());

    let old = reuse.map(|reuse| &reuse.certificates);
    let mut certificates = certificates::Certificates::new(builder, config, old);
    let old = reuse.map(|reuse| &reuse.authorities);
    let mut authorities = authorities::Authorities::new(builder, config, old);
    let mut services = Services {
        builder,
        globals,
        certificates: &mut certificates,
        authorities: &mut authorities,
        previous: reuse.map(|reuse| &reuse.services),
        built: services::Built::<B>::new(),
    };
    let (enabled, disabled) = services.build(config, &mut log);
    let services_built = services.built;

    let scopes = Scopes::build(config, &mut authorities, &mut log);
    let Routes {
        routes,
        specs,
        asked,
        ..
    } = Routes::build(
        config,
        &enabled,
        &disabled,
        &scopes,
        globals.traditional,
        &mut log,
    );
    let router = builder.router(specs).unwrap_or_else(|errors| {
        errors
            .into_iter()
            .for_each(|(route, text)| log.fail(Kind::Routes, route, text));
        Default::default()
    });
    let requests = asked.into_requests(|ca| authorities.subject(ca));
    let sni = certificates.snis(&mut log);
    let consumers = consumers(config, previous, reuse, &mut log);
    if !log.problems.is_empty() {
        return Err(log.problems);
    }

    let parts = ServerParts {
        settings: globals.server.clone(),
        pairs: globals.default_pairs.clone(),
        sni,
        requests,
    };
    let server = match (previous, reuse) {
        (Some(previous), Some(reuse)) if reuse.server.same(&parts) => previous.server.clone(),
        _ => {
            let policy = builder.server(&parts.settings, &parts.pairs, &parts.sni, &parts.requests);
            Arc::new(policy.map_err(|text| {
                vec![Problem {
                    kind: None,
                    id: None,
                    text,
                }]
            })?)
        }
    };
    let reuse = Reuse::<B> {
        config: config.clone(),
        certificates: certificates.into_built(),
        authorities: authorities.into_built(),
        services: services_built,
        server: parts,
    };
    Ok((
        Snapshot {
            number,
            router,
            routes,
            server,
            consumers,
            authorities: config
                .table(Kind::CaCertificates)
                .map(|(id, _)| *id)
                .collect(),
            reuse: Arc::new(reuse),
        },
        log.warnings,
    ))
}

/// The routes that are served, and what follows from them.
struct Routes {
    routes: Vec<Arc<Route>>,
    specs: Vec<RouteSpec>,
    asked: Asked,
    traditional: bool,
}

impl Routes {
    fn build(
        config: &Config,
        enabled: &HashMap<Uuid, Arc<Service>>,
        disabled: &HashSet<Uuid>,
        scopes: &Scopes,
        traditional: bool,
        log: &mut Log,
    ) -> Routes {
        let mut all = Routes {
            routes: Vec::new(),
            specs: Vec::new(),
            asked: Asked::default(),
            traditional,
        };
        if let Some(global) = scopes
            .mtls_auth
            .global()
            .filter(|global| global.https || global.grpcs)
        {
            all.asked.everywhere(&global.plugin);
        }
        for row in config.rows::<rows::Route>(Kind::Routes) {
            let Some(row) = log.sound(Kind::Routes, row) else {
                continue;
            };
            let service = match row.service.map(|service| service.id) {
                Some(id) if disabled.contains(&id) => continue,
                Some(id) => match enabled.get(&id) {
                    Some(service) => Some(service.clone()),
                    None => {
                        log.fail(Kind::Routes, row.id, format!("service {id} does not exist"));
                        continue;
                    }
                },
                None => None,
            };
            all.add(row, service, scopes, log);
        }
        all
    }

    fn add(
        &mut self,
        row: rows::Route,
        service: Option<Arc<Service>>,
        scopes: &Scopes,
        log: &mut Log,
    ) {
        let lists = |protocol: &str| row.protocols.iter().any(|listed| listed == protocol);
        let (http, https) = (lists("http"), lists("https"));
        if !http && !https {
            // Left out; `declarative::advise` has said so, with the place.
            return;
        }
        let Ok(handle) = u32::try_from(self.routes.len()) else {
            return log.fail(
                Kind::Routes,
                row.id,
                "more routes than can be numbered".into(),
            );
        };
        let of_service = service.as_ref().map(|service| service.id);
        let snis = row.snis.unwrap_or_default();
        if let Some(plugin) = scopes.mtls_auth.resolve(row.id, of_service, None)
            && !scopes
                .mtls_auth
                .global()
                .is_some_and(|global| Arc::ptr_eq(&global.plugin, &plugin.plugin))
            && https
            && plugin.https
        {
            self.asked.route(&snis, &plugin.plugin);
        }
        let plugins = scopes.chain(row.id, of_service, None);
        self.routes.push(Arc::new(Route {
            id: row.id,
            label: row
                .name
                .clone()
                .unwrap_or_else(|| row.id.to_string())
                .into(),
            name: row.name.map(Arc::from),
            http,
            https,
            https_redirect_status_code: row.https_redirect_status_code,
            strip_path: row.strip_path,
            preserve_host: row.preserve_host,
            path_handling: match row.path_handling.as_deref() {
                Some("v1") if self.traditional => Handling::V1,
                _ => Handling::V0,
            },
            service,
            consumer_plugins: scopes.consumer_chains(row.id, of_service, &plugins),
            plugins,
        }));
        self.specs.push(RouteSpec {
            id: row.id,
            handle,
            methods: row.methods.unwrap_or_default(),
            hosts: row.hosts.unwrap_or_default(),
            paths: row.paths.unwrap_or_default(),
            headers: row.headers.unwrap_or_default().into_iter().collect(),
            snis,
            regex_priority: row.regex_priority,
            created_at: self.traditional.then_some(row.created_at).flatten(),
        });
    }
}

fn consumers<B: Builder>(
    config: &Config,
    previous: Option<&Snapshot>,
    reuse: Option<&Reuse<B>>,
    log: &mut Log,
) -> Arc<Consumers> {
    match (previous, reuse) {
        (Some(previous), Some(reuse))
            if consumers::KINDS
                .iter()
                .all(|kind| same_table(*kind, &reuse.config, config)) =>
        {
            previous.consumers.clone()
        }
        _ => Arc::new(consumers::build(config, log)),
    }
}

fn same_table(kind: Kind, old: &Config, new: &Config) -> bool {
    let count = |config: &Config| config.tables.get(&kind).map_or(0, |table| table.len());
    let pairs = || old.table(kind).zip(new.table(kind));
    count(old) == count(new)
        && pairs().all(|((old_id, old), (new_id, new))| {
            old_id == new_id && (Arc::ptr_eq(old, new) || old == new)
        })
}

/// Behind `Snapshot::reuse`.
struct Reuse<B: Builder> {
    config: Config,
    certificates: certificates::Built<B>,
    authorities: authorities::Built<B>,
    services: services::Built<B>,
    server: ServerParts<B>,
}

/// What a server policy is made of.
struct ServerParts<B: Builder> {
    settings: Arc<B::ServerSettings>,
    pairs: Vec<Arc<B::KeyPair>>,
    sni: Vec<(String, Arc<B::Identity>)>,
    requests: Requests,
}

impl<B: Builder> ServerParts<B> {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
            && self.pairs.len() == other.pairs.len()
            && self
                .pairs
                .iter()
                .zip(&other.pairs)
                .all(|(one, other)| Arc::ptr_eq(one, other))
            && self.sni.len() == other.sni.len()
            && self
                .sni
                .iter()
                .zip(&other.sni)
                .all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1))
            && self.requests == other.requests
    }
}

/// Why nothing was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `None` when it is about no single entity.
    pub kind: Option<Kind>,
    pub id: Option<Uuid>,
    pub text: String,
}

/// A part that is out of service, or weaker than the operator may think.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    pub kind: Kind,
    pub id: Uuid,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.kind, self.id) {
            (Some(kind), Some(id)) => write!(f, "{} {id}: {}", table_name(kind), self.text),
            (Some(kind), None) => write!(f, "{}: {}", table_name(kind), self.text),
            (None, _) => f.write_str(&self.text),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}: {}", table_name(self.kind), self.id, self.text)
    }
}

fn table_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificates => "certificates",
        Kind::Snis => "snis",
        Kind::CaCertificates => "ca_certificates",
        Kind::Services => "services",
        Kind::Routes => "routes",
        Kind::Consumers => "consumers",
        Kind::MtlsAuthCredentials => "mtls_auth_credentials",
        Kind::Acls => "acls",
        Kind::Upstreams => "upstreams",
        Kind::Targets => "targets",
        Kind::Plugins => "plugins",
    }
}

/// What a compilation has to say.
#[derive(Default)]
pub(super) struct Log {
    warnings: Vec<Warning>,
    problems: Vec<Problem>,
}

impl Log {
    pub fn warn(&mut self, kind: Kind, id: Uuid, text: String) {
        self.warnings.push(Warning { kind, id, text });
    }

    pub fn fail(&mut self, kind: Kind, id: Uuid, text: String) {
        self.problems.push(Problem {
            kind: Some(kind),
            id: Some(id),
            text,
        });
    }

    /// A row that does not fit its struct is a problem whose text names kind and id.
    pub fn sound<T>(&mut self, kind: Kind, row: Result<T, String>) -> Option<T> {
        row.map_err(|text| {
            self.problems.push(Problem {
                kind: Some(kind),
                id: None,
                text,
            })
        })
        .ok()
    }
}

/// One entity as its typed view.
pub(super) fn row<'a, T: Deserialize<'a>>(entity: &'a Entity) -> Result<T, String> {
    T::deserialize(entity).map_err(|e| e.to_string())
}
