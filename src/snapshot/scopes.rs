//! Which instance of a plugin runs where (KONG.md §1.10): the most specific scope wins; a disabled one is as if absent.

use super::authorities::Authorities;
use super::compile::Log;
use super::tls_glue::Builder;
use crate::entity::{Config, Kind, rows};
use crate::plugin::Chain;
use crate::plugin::acl::Acl;
use crate::plugin::mtls_auth::{MtlsAuth, RevocationCheck};
use crate::plugin::request_termination::RequestTermination;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Every enabled plugin, by name and scope.
#[derive(Default)]
pub(super) struct Scopes {
    pub mtls_auth: Scoped<MtlsAuth>,
    acl: Scoped<Acl>,
    request_termination: Scoped<RequestTermination>,
    /// Scopes that name a consumer.
    of_consumers: HashSet<Scope>,
}

pub(super) struct Scoped<T>(HashMap<Scope, Instance<T>>);

pub(super) struct Instance<T> {
    pub plugin: Arc<T>,
    pub https: bool,
    pub grpcs: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Scope {
    pub route: Option<Uuid>,
    pub service: Option<Uuid>,
    pub consumer: Option<Uuid>,
}

impl Scopes {
    /// A plugin that does not compile is a problem, never left out: it may be the one that keeps strangers away.
    pub fn build<B: Builder>(
        config: &Config,
        authorities: &mut Authorities<B>,
        log: &mut Log,
    ) -> Scopes {
        let mut scopes = Scopes::default();
        for row in config.rows::<rows::Plugin>(Kind::Plugins) {
            let Some(row) = log.sound(Kind::Plugins, row) else {
                continue;
            };
            if row.enabled
                && let Err(reason) = scopes.add(&row, authorities, log)
            {
                log.fail(Kind::Plugins, row.id, format!("{}: {reason}", row.name));
            }
        }
        scopes
    }

    fn add<B: Builder>(
        &mut self,
        row: &rows::Plugin,
        authorities: &mut Authorities<B>,
        log: &mut Log,
    ) -> Result<(), String> {
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
        match row.name.as_str() {
            "mtls-auth" => {
                before_consumer()?;
                let mut trust = |ids: &[Uuid], partial| authorities.trust_set(ids, partial);
                let plugin = MtlsAuth::from_config(&row.config, &mut trust)?;
                if let Err(reason) = &plugin.trust {
                    log.warn(
                        Kind::Plugins,
                        row.id,
                        format!("mtls-auth: clients with a certificate get 500: {reason}"),
                    );
                }
                if plugin.revocation_check == RevocationCheck::Strict {
                    let text = "config.revocation_check_mode: STRICT refuses every client whose status is not known";
                    log.warn(Kind::Plugins, row.id, format!("mtls-auth: {text}"));
                }
                self.mtls_auth.add(scope, row, plugin)
            }
            "acl" => {
                before_consumer()?;
                self.acl.add(scope, row, Acl::from_config(&row.config)?)
            }
            "request-termination" => {
                if scope.consumer.is_some() {
                    self.of_consumers.insert(scope);
                }
                self.request_termination.add(
                    scope,
                    row,
                    RequestTermination::from_config(&row.config)?,
                )
            }
            // Accepted for clients' sake; metrics are always on and nothing happens to a request.
            "prometheus" => Ok(()),
            _ => Err("cannot be run by this version; disable or delete it".into()),
        }
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
    ) -> HashMap<Uuid, Chain> {
        let applies = |scope: &&Scope| {
            scope.route.is_none_or(|of| of == route)
                && scope.service.is_none_or(|of| Some(of) == service)
        };
        let consumers = self
            .of_consumers
            .iter()
            .filter(applies)
            .filter_map(|scope| scope.consumer);
        let chains =
            consumers.map(|consumer| (consumer, self.chain(route, service, Some(consumer))));
        chains.filter(|(_, chain)| !chain.same(base)).collect()
    }
}

impl<T> Scoped<T> {
    fn add(&mut self, scope: Scope, row: &rows::Plugin, plugin: T) -> Result<(), String> {
        let lists = |protocol: &str| row.protocols.iter().any(|listed| listed == protocol);
        match self.0.entry(scope) {
            Entry::Occupied(_) => Err("a second enabled instance has the same scope".into()),
            Entry::Vacant(place) => {
                place.insert(Instance {
                    plugin: Arc::new(plugin),
                    https: lists("https"),
                    grpcs: lists("grpcs"),
                });
                Ok(())
            }
        }
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
