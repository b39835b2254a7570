//! `routes`: those that are served, by handle, and what follows from them for the router and for requests.

use super::changes::{Pass, Referrers};
use super::requests::{Ask, Asked};
use super::scopes::{Scope, Scopes};
use super::services::{Outcome, Services};
use super::tls_glue::{Builder, RouterChanges};
use super::{Route, Service};
use crate::entity::{Entity, Kind, rows};
use crate::plugin::mtls_auth::MtlsAuth;
use crate::router::RouteSpec;
use crate::router::path::Handling;
use imbl::{HashMap, OrdSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// The routes that are served, by `router::Match::handle` and by id. A copy shares what has not changed.
#[derive(Clone, Default)]
pub struct Routes {
    chunks: Vec<Arc<[Option<Arc<Route>>]>>,
    handles: HashMap<Uuid, u32>,
}

/// Routes per chunk: to change one route copies one chunk and the list of chunks.
const CHUNK_SIZE: usize = 128;

impl Routes {
    pub fn get(&self, handle: u32) -> Option<&Arc<Route>> {
        let handle = usize::try_from(handle).ok()?;
        let chunk = self.chunks.get(handle / CHUNK_SIZE)?;
        chunk.get(handle % CHUNK_SIZE)?.as_ref()
    }

    pub fn by_id(&self, id: Uuid) -> Option<&Arc<Route>> {
        self.get(*self.handles.get(&id)?)
    }

    /// In ascending handle.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    fn put(&mut self, handle: u32, route: Option<Arc<Route>>) {
        let handle = handle as usize;
        while self.chunks.len() <= handle / CHUNK_SIZE {
            self.chunks.push((0..CHUNK_SIZE).map(|_| None).collect());
        }
        let chunk = Arc::make_mut(&mut self.chunks[handle / CHUNK_SIZE]);
        chunk[handle % CHUNK_SIZE] = route;
    }
}

/// The routes with what a change of one needs to know.
#[derive(Clone, Default)]
pub(super) struct Served {
    routes: Routes,
    /// Handles below `handle_next` that no route has.
    free: OrdSet<u32>,
    handle_next: u32,
    of_services: Referrers,
    pub asked: Asked,
}

/// How much of a route is to be made anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Service,
    /// And which plugins run on it.
    Plugins,
    /// All, and whether it is served at all.
    Row,
}

/// What other parts of a compilation say about routes.
pub(super) struct Concerned<'c, B: Builder> {
    pub services: &'c Services<B>,
    pub scopes: &'c Scopes,
    pub of_services: Vec<(Uuid, Outcome)>,
    pub in_scopes: BTreeSet<Scope>,
    /// Another meaning of `path_handling`.
    pub all: bool,
}

impl Served {
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Takes in changed routes and those that `concerned` names.
    pub fn change<B: Builder>(
        &mut self,
        pass: &mut Pass<B>,
        concerned: &Concerned<B>,
    ) -> RouterChanges {
        let global = concerned.scopes.mtls_auth.global();
        let global = global.filter(|global| global.https || global.grpcs);
        self.asked
            .everywhere(global.map(|global| global.plugin.clone()));
        for (id, change) in pass.changes.of(Kind::Routes) {
            self.of_services.follow(id, "service", change);
        }
        let mut changes = RouterChanges::default();
        for (id, depth) in self.dirty(pass, concerned) {
            match depth {
                Depth::Row => self.judge(pass, concerned, id, &mut changes),
                Depth::Plugins | Depth::Service => self.renew(pass, concerned, id, depth),
            }
        }
        // A handle that is in use again is replaced.
        let added: BTreeSet<u32> = changes.added.iter().map(|spec| spec.handle).collect();
        changes.removed.retain(|handle| !added.contains(handle));
        changes
    }

    /// In ascending id.
    fn dirty<B: Builder>(&self, pass: &Pass<B>, concerned: &Concerned<B>) -> BTreeMap<Uuid, Depth> {
        let mut dirty: BTreeMap<Uuid, Depth> = BTreeMap::new();
        let mut raise = |id: Uuid, depth: Depth| {
            let held = dirty.entry(id).or_insert(depth);
            *held = depth.max(*held);
        };
        for (service, outcome) in &concerned.of_services {
            let depth = match outcome {
                Outcome::Renewed => Depth::Service,
                Outcome::Other => Depth::Row,
            };
            self.of_services
                .of(*service)
                .for_each(|route| raise(route, depth));
        }
        for scope in &concerned.in_scopes {
            match (scope.route, scope.service) {
                (Some(route), _) => raise(route, Depth::Plugins),
                (None, Some(service)) => self
                    .of_services
                    .of(service)
                    .for_each(|route| raise(route, Depth::Plugins)),
                (None, None) => self
                    .routes
                    .iter()
                    .for_each(|route| raise(route.id, Depth::Plugins)),
            }
        }
        pass.changes
            .of(Kind::Routes)
            .for_each(|(id, _)| raise(id, Depth::Row));
        if concerned.all {
            let rows = pass.new.table(Kind::Routes);
            rows.for_each(|(id, _)| raise(*id, Depth::Row));
        }
        dirty
    }

    /// The same route of the same row with what else has changed.
    fn renew<B: Builder>(
        &mut self,
        pass: &Pass<B>,
        concerned: &Concerned<B>,
        id: Uuid,
        depth: Depth,
    ) {
        let Some(handle) = self.routes.handles.get(&id).copied() else {
            return;
        };
        let Some(old) = self.routes.get(handle) else {
            return;
        };
        let mut route = Route::clone(old);
        if let Some(of) = &mut route.service
            && let Ok(Some(service)) = concerned.services.get(of.id)
        {
            *of = service.clone();
        }
        if depth == Depth::Plugins {
            let of_service = route.service.as_ref().map(|service| service.id);
            let scopes = concerned.scopes;
            route.plugins = scopes.chain(id, of_service, None);
            route.consumer_plugins = scopes.consumer_chains(id, of_service, &route.plugins);
            let ask = asks(scopes, id, of_service, route.https).map(|plugin| {
                let snis = pass.new.get(Kind::Routes, id).map(snis);
                Ask::new(plugin, snis.into_iter().flatten())
            });
            self.asked.route(id, ask);
        }
        self.routes.put(handle, Some(Arc::new(route)));
    }

    fn judge<B: Builder>(
        &mut self,
        pass: &mut Pass<B>,
        concerned: &Concerned<B>,
        id: Uuid,
        changes: &mut RouterChanges,
    ) {
        pass.log.judge(Kind::Routes, id);
        let new = self.served(pass, concerned, id);
        let old = self.routes.handles.get(&id).copied();
        let Some((row, service)) = new else {
            self.asked.route(id, None);
            if let Some(handle) = old {
                self.routes.handles.remove(&id);
                self.routes.put(handle, None);
                self.free.insert(handle);
                changes.removed.push(handle);
            }
            return;
        };
        let Some(handle) = old.or_else(|| self.handle()) else {
            let text = "more routes than can be numbered".into();
            return pass.log.fail(Kind::Routes, id, text);
        };
        let of_service = service.as_ref().map(|service| service.id);
        let scopes = concerned.scopes;
        let route = route(&row, service, scopes, pass.globals.traditional);
        let ask = asks(scopes, id, of_service, route.https).map(|plugin| {
            let snis = row.snis.iter().flatten();
            Ask::new(plugin, snis.map(String::as_str))
        });
        self.asked.route(id, ask);
        self.routes.put(handle, Some(Arc::new(route)));
        self.routes.handles.insert(id, handle);
        let traditional = pass.globals.traditional;
        let spec = spec(row, handle, traditional);
        let before = pass.old.get(Kind::Routes, id).filter(|_| old.is_some());
        let before = before.and_then(|before| super::report::row(before).ok());
        // `all`: it was compiled in the other flavour.
        if concerned.all
            || before.is_none_or(|before| self::spec(before, handle, traditional) != spec)
        {
            changes.added.push(spec);
        }
    }

    /// The row and its service, of a route that is served.
    fn served<B: Builder>(
        &self,
        pass: &mut Pass<B>,
        concerned: &Concerned<B>,
        id: Uuid,
    ) -> Option<(rows::Route, Option<Arc<Service>>)> {
        let new = pass.new;
        let entity = new.get(Kind::Routes, id)?;
        let row: rows::Route = pass.log.row(Kind::Routes, id, entity)?;
        let service = match row
            .service
            .map(|service| concerned.services.get(service.id))
        {
            None => None,
            Some(Ok(Some(service))) => Some(service.clone()),
            // Of a disabled service.
            Some(Ok(None)) => return None,
            Some(Err(reason)) => {
                pass.log.fail(Kind::Routes, id, reason);
                return None;
            }
        };
        if !lists(&row, "http") && !lists(&row, "https") {
            let text = format!(
                "protocols {} are not served; the route is left out",
                row.protocols.join(", ")
            );
            if !pass.globals.advised {
                pass.log.warn(Kind::Routes, id, text);
            }
            return None;
        }
        Some((row, service))
    }

    fn handle(&mut self) -> Option<u32> {
        if let Some(free) = self.free.get_min().copied() {
            self.free.remove(&free);
            return Some(free);
        }
        let handle = self.handle_next;
        self.handle_next = handle.checked_add(1)?;
        Some(handle)
    }
}

fn route(
    row: &rows::Route,
    service: Option<Arc<Service>>,
    scopes: &Scopes,
    traditional: bool,
) -> Route {
    let of_service = service.as_ref().map(|service| service.id);
    let plugins = scopes.chain(row.id, of_service, None);
    Route {
        id: row.id,
        label: row
            .name
            .clone()
            .unwrap_or_else(|| row.id.to_string())
            .into(),
        name: row.name.as_deref().map(Arc::from),
        http: lists(row, "http"),
        https: lists(row, "https"),
        https_redirect_status_code: row.https_redirect_status_code,
        strip_path: row.strip_path,
        preserve_host: row.preserve_host,
        path_handling: match row.path_handling.as_deref() {
            Some("v1") if traditional => Handling::V1,
            _ => Handling::V0,
        },
        service,
        consumer_plugins: scopes.consumer_chains(row.id, of_service, &plugins),
        plugins,
    }
}

fn spec(row: rows::Route, handle: u32, traditional: bool) -> RouteSpec {
    RouteSpec {
        id: row.id,
        handle,
        methods: row.methods.unwrap_or_default(),
        hosts: row.hosts.unwrap_or_default(),
        paths: row.paths.unwrap_or_default(),
        headers: row.headers.unwrap_or_default().into_iter().collect(),
        snis: row.snis.unwrap_or_default(),
        regex_priority: row.regex_priority,
        created_at: traditional.then_some(row.created_at).flatten(),
    }
}

/// The plugin for which a client of this route is asked for a certificate. The global one asks everywhere already.
fn asks(scopes: &Scopes, route: Uuid, service: Option<Uuid>, https: bool) -> Option<Arc<MtlsAuth>> {
    let instance = scopes.mtls_auth.resolve(route, service, None)?;
    let global = scopes.mtls_auth.global();
    let is_global = global.is_some_and(|global| global.id == instance.id);
    (https && instance.https && !is_global).then(|| instance.plugin.clone())
}

fn snis(row: &Arc<Entity>) -> impl Iterator<Item = &str> {
    let snis = row.get("snis").and_then(|snis| snis.as_array());
    snis.into_iter().flatten().filter_map(|sni| sni.as_str())
}

fn lists(row: &rows::Route, protocol: &str) -> bool {
    row.protocols.iter().any(|listed| listed == protocol)
}
