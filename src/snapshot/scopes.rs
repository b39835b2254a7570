//! Which instance of a plugin runs where (KONG.md §1.10): the most specific scope wins; a disabled one is as if absent.

use super::authorities::Authorities;
use super::changes::Pass;
use super::report::{Log, misfit};
use super::tls_glue::Builder;
use crate::entity::{Kind, rows};
use crate::plugin::Chain;
use crate::plugin::acl::Acl;
use crate::plugin::mtls_auth::{MtlsAuth, RevocationCheck};
use crate::plugin::request_termination::RequestTermination;
use imbl::{HashMap, OrdSet};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Every enabled plugin, by name and scope.
#[derive(Clone, Default)]
pub(super) struct Scopes {
    pub mtls_auth: Scoped<MtlsAuth>,
    acl: Scoped<Acl>,
    request_termination: Scoped<RequestTermination>,
    /// By route and service of the scopes that name a consumer.
    of_consumers: HashMap<(Option<Uuid>, Option<Uuid>), OrdSet<Uuid>>,
    /// Where each plugin is filed, with the CAs it lists.
    filed: HashMap<Uuid, (Scope, Vec<Uuid>)>,
}

pub(super) struct Scoped<T>(HashMap<Scope, Instance<T>>);

pub(super) struct Instance<T> {
    pub id: Uuid,
    pub plugin: Arc<T>,
    pub https: bool,
    pub grpcs: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Scope {
    pub route: Option<Uuid>,
    pub service: Option<Uuid>,
    pub consumer: Option<Uuid>,
}

impl Scopes {
    /// Takes in changed plugins and those of `pass.plugins`. The scopes in which another instance runs.
    ///
    /// A plugin that does not compile is a problem, never left out: it may be the one that keeps strangers away.
    pub fn change<B: Builder>(
        &mut self,
        pass: &mut Pass<B>,
        authorities: &mut Authorities<B>,
    ) -> BTreeSet<Scope> {
        let changed = pass.changes.of(Kind::Plugins).map(|(id, _)| id);
        pass.plugins.extend(changed);
        let plugins = std::mem::take(&mut pass.plugins);
        let mut concerned = BTreeSet::new();
        // All go before any comes: one may take the place of another.
        for id in &plugins {
            concerned.extend(self.take_out(*id, authorities));
        }
        for id in plugins {
            pass.log.judge(Kind::Plugins, id);
            let new = pass.new;
            let Some(entity) = new.get(Kind::Plugins, id) else {
                continue;
            };
            let row: Option<rows::Plugin> = pass.log.row(Kind::Plugins, id, entity);
            let Some(row) = row.filter(|row| row.enabled) else {
                continue;
            };
            match self.add(pass, authorities, &row) {
                Ok(scope) => concerned.extend(scope),
                Err(reason) => {
                    let reason = match reason.starts_with("config: ") {
                        // Of the whole of it: which field is wrong is not known.
                        true => misfit(Kind::Plugins, entity, reason),
                        false => reason,
                    };
                    let text = format!("{}: {reason}", row.name);
                    pass.log.fail(Kind::Plugins, id, text);
                }
            }
        }
        concerned
    }

    fn take_out<B: Builder>(
        &mut self,
        id: Uuid,
        authorities: &mut Authorities<B>,
    ) -> Option<Scope> {
        let (scope, cas) = self.filed.remove(&id)?;
        authorities.plugins.follow_list(id, &cas, &[]);
        self.mtls_auth.take_out(&scope, id);
        self.acl.take_out(&scope, id);
        if self.request_termination.take_out(&scope, id)
            && let Some(consumer) = scope.consumer
        {
            let place = (scope.route, scope.service);
            let left = self
                .of_consumers
                .get(&place)
                .map(|of| of.without(&consumer));
            match left.filter(|left| !left.is_empty()) {
                Some(left) => self.of_consumers.insert(place, left),
                None => self.of_consumers.remove(&place),
            };
        }
        Some(scope)
    }

    /// `None`: one that runs nowhere.
    fn add<B: Builder>(
        &mut self,
        pass: &mut Pass<B>,
        authorities: &mut Authorities<B>,
        row: &rows::Plugin,
    ) -> Result<Option<Scope>, String> {
        let scope = Scope {
            route: row.route.map(|to| to.id),
            service: row.service.map(|to| to.id),
            consumer: row.consumer.map(|to| to.id),
        };
        let before_consumer = || {
            scope
                .consumer
                .map_or(Ok(()), |_| Err("consumer: value must be null"))
        };
        let mut cas = Vec::new();
        let second = match row.name.as_str() {
            "mtls-auth" => {
                before_consumer()?;
                let mut trust = |ids: &[Uuid], partial| authorities.trust_set(pass, ids, partial);
                let plugin = MtlsAuth::from_config(&row.config, &mut trust)?;
                warn(&plugin, row.id, &mut pass.log);
                cas = plugin.ca_certificates.clone();
                self.mtls_auth.add(scope, row, plugin)
            }
            "acl" => {
                before_consumer()?;
                self.acl.add(scope, row, Acl::from_config(&row.config)?)
            }
            "request-termination" => {
                let plugin = RequestTermination::from_config(&row.config)?;
                if let Some(consumer) = scope.consumer {
                    let place = (scope.route, scope.service);
                    self.of_consumers.entry(place).or_default().insert(consumer);
                }
                self.request_termination.add(scope, row, plugin)
            }
            // Accepted for clients' sake; metrics are always on and nothing happens to a request.
            "prometheus" => return Ok(None),
            _ => return Err("cannot be run by this version; disable or delete it".into()),
        };
        if let Some(second) = second {
            let text = "a second enabled instance has the same scope";
            pass.log
                .fail(Kind::Plugins, second, format!("{}: {text}", row.name));
        }
        authorities.plugins.follow_list(row.id, &[], &cas);
        self.filed.insert(row.id, (scope, cas));
        Ok(Some(scope))
    }

    /// The chain of a route, for `consumer` or for callers without plugins of their own.
    pub fn chain(&self, route: Uuid, service: Option<Uuid>, consumer: Option<Uuid>) -> Chain {
        Chain {
            // Runs before the consumer is known.
            mtls_auth: self
                .mtls_auth
                .resolve(route, service, None)
                .map(|instance| instance.plugin.clone()),
            acl: self
                .acl
                .resolve(route, service, consumer)
                .map(|instance| instance.plugin.clone()),
            request_termination: self
                .request_termination
                .resolve(route, service, consumer)
                .map(|instance| instance.plugin.clone()),
        }
    }

    /// Chains of those consumers for whom this route differs from `base`.
    pub fn consumer_chains(
        &self,
        route: Uuid,
        service: Option<Uuid>,
        base: &Chain,
    ) -> std::collections::HashMap<Uuid, Chain> {
        if self.of_consumers.is_empty() {
            return Default::default();
        }
        let mut places = vec![(None, None), (Some(route), None)];
        if service.is_some() {
            places.extend([(None, service), (Some(route), service)]);
        }
        let consumers = places
            .iter()
            .filter_map(|place| self.of_consumers.get(place))
            .flatten();
        let chains =
            consumers.map(|consumer| (*consumer, self.chain(route, service, Some(*consumer))));
        chains.filter(|(_, chain)| !chain.same(base)).collect()
    }
}

fn warn(plugin: &MtlsAuth, id: Uuid, log: &mut Log) {
    if let Err(reason) = &plugin.trust {
        let text = format!("mtls-auth: clients with a certificate get 500: {reason}");
        log.warn(Kind::Plugins, id, text);
    }
    if plugin.revocation_check == RevocationCheck::Strict {
        let text =
            "config.revocation_check_mode: STRICT refuses every client whose status is not known";
        log.warn(Kind::Plugins, id, format!("mtls-auth: {text}"));
    }
}

impl<T> Scoped<T> {
    /// Of two that claim one scope, the one with the greater id.
    fn add(&mut self, scope: Scope, row: &rows::Plugin, plugin: T) -> Option<Uuid> {
        let lists = |protocol: &str| row.protocols.iter().any(|listed| listed == protocol);
        let held = self.0.get(&scope).map(|held| held.id);
        if held.is_some_and(|held| held < row.id) {
            return Some(row.id);
        }
        self.0.insert(
            scope,
            Instance {
                id: row.id,
                plugin: Arc::new(plugin),
                https: lists("https"),
                grpcs: lists("grpcs"),
            },
        );
        held
    }

    /// Says whether it was there.
    fn take_out(&mut self, scope: &Scope, id: Uuid) -> bool {
        let there = self.0.get(scope).is_some_and(|held| held.id == id);
        if there {
            self.0.remove(scope);
        }
        there
    }

    /// Most specific first. A plugin's `protocols` do not keep it from running: an http request on a route whose mtls-auth
    /// lists only https must not pass unseen.
    pub fn resolve(
        &self,
        route: Uuid,
        service: Option<Uuid>,
        consumer: Option<Uuid>,
    ) -> Option<&Instance<T>> {
        let parts = |[by_route, by_service, by_consumer]: &[bool; 3]| {
            Some(Scope {
                route: by_route.then_some(route),
                service: if *by_service { Some(service?) } else { None },
                consumer: if *by_consumer { Some(consumer?) } else { None },
            })
        };
        PRECEDENCE
            .iter()
            .filter_map(parts)
            .find_map(|scope| self.0.get(&scope))
    }

    pub fn global(&self) -> Option<&Instance<T>> {
        self.0.get(&Scope::default())
    }
}

/// Which of route, service, consumer a scope names, most specific first.
const PRECEDENCE: [[bool; 3]; 8] = [
    [true, true, true],
    [true, false, true],
    [false, true, true],
    [true, true, false],
    [false, false, true],
    [true, false, false],
    [false, true, false],
    [false, false, false],
];

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Scoped(HashMap::new())
    }
}

// Derived ones would ask for `T: Clone`.
impl<T> Clone for Scoped<T> {
    fn clone(&self) -> Self {
        Scoped(self.0.clone())
    }
}

impl<T> Clone for Instance<T> {
    fn clone(&self) -> Self {
        Instance {
            id: self.id,
            plugin: self.plugin.clone(),
            https: self.https,
            grpcs: self.grpcs,
        }
    }
}
