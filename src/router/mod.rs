//! Kong's route matching and precedence (KONG.md §3.1, §3.2); pure.
//!
//! Owns: which route a request belongs to, and how much of the path its winning `paths` entry matched.
//! Refuses: what a route means after it matched (protocols, redirects, services), stream routes.
//!
//! A route with several paths is several entries: one per distinct prefix length and one for all its regexes. Entries are
//! sorted once by Kong's number; a lookup finds the first that matches. It visits only the entries filed where the
//! request can reach them (`index`), each list in order of precedence and only as far as the best match so far.
//!
//! A changed router shares the table of the one before (`with_changes`): routes that came since stand in a second, small
//! table, and those that went are struck out. A lookup asks both, until one table is made of the two: beside the changes
//! that come meanwhile (`settled`, `caught_up`), or by one that is too many.
//!
//! Deviations from Kong, on the safe side:
//! - hosts are compared lower-cased on both sides, and one dot at their end does not count;
//! - a regex path matches from the first byte of the path whichever alternative of a top-level `a|b` matches
//!   (Kong anchors the first alternative only);
//! - regexes see the path as `path::normalise` writes it, escaped outside RFC 3986's set: `~/caf%C3%A9`, not `~/café`;
//! - `~*re` header values are case-insensitive regexes; Kong lower-cases pattern and value, which turns `\D` into `\d`;
//! - a negative `regex_priority` sorts below zero; Kong's number has no room for a sign.
mod compile;
mod index;
mod names;
pub mod path;
mod regexes;
mod search;

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use uuid::Uuid;

use crate::limits::{ROUTE_CHANGES_BEHIND_MAX, ROUTE_CHANGES_MAX};
use compile::{Compiled, Entry, Rank};
use index::{Bucket, Filed};
use names::NameTable;

/// What the router needs of one route, in Kong's own spelling; already validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteSpec {
    pub id: Uuid,
    /// Given back in a match: the index into `Snapshot::routes`.
    pub handle: u32,
    pub methods: Vec<String>,
    pub hosts: Vec<String>,
    /// `/prefix` or `~regex`.
    pub paths: Vec<String>,
    pub headers: Vec<(String, Vec<String>)>,
    pub snis: Vec<String>,
    pub regex_priority: i64,
    /// Of routes of equal rank the one with the smaller number wins, then one with a number before one without, then the
    /// larger id. Unix seconds in the `traditional` flavour, `None` for all in the others (KONG.md §3.2).
    pub created_at: Option<i64>,
}

/// What the router looks at in one request.
pub struct Query<'a> {
    pub method: &'a [u8],
    /// Host without port, as received; compared lower-cased, without a dot at its end.
    pub host: &'a [u8],
    /// Destination port of the connection (listener's, or mapped by `port_maps`).
    pub port: u16,
    /// Normalised by `path::normalise`.
    pub path: &'a [u8],
    /// `None` on a clear-text connection: the snis category is then ignored.
    pub tls: Option<Option<&'a str>>,
    pub headers: &'a dyn Headers,
}

/// The request's field lines, as the router asks for them.
pub trait Headers {
    /// Calls `value` for each field line whose name equals `name` (ASCII case-insensitive, `_` ≡ `-`) until it returns true.
    /// `name` is lower-case with `-`.
    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Calls `line` with the name (any case) and value of every field line and returns true; or returns false at once.
    /// Where it is offered, routes that differ by header *name* cost a look-up per field line, else one per configured name.
    fn each(&self, line: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        let _ = line;
        false
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    pub handle: u32,
    /// Bytes of the normalised path that the winning `paths` entry matched; `None` when the route has no paths.
    pub path_matched: Option<usize>,
}

/// Why a route cannot be compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("route {route}: {field}: {reason}")]
pub struct BuildError {
    pub route: Uuid,
    /// The route's handle.
    pub handle: u32,
    /// `paths`, `hosts`, `snis`, `headers.NAME`, or `@entity` for the route as a whole.
    pub field: String,
    pub reason: String,
}

/// An immutable routing table, shared by all cores. A clone shares everything.
#[derive(Clone, Default)]
pub struct Router {
    base: Arc<Base>,
    /// What has changed since the base was made.
    changes: Option<Arc<Changes>>,
}

#[derive(Default)]
struct Base {
    table: Table,
    routes: Vec<Arc<Compiled>>,
    /// Each entry's rank: more than a lookup needs.
    ranks: Box<[Rank]>,
    /// Handle → place in `routes`.
    places: AHashMap<u32, u32>,
}

struct Changes {
    /// Routes of the base that are no more, by their place in it.
    struck: Struck,
    table: Table,
    routes: Vec<Arc<Compiled>>,
    /// For each entry of `table`, how many entries of the base rank above it.
    outranked: Box<[u32]>,
}

#[derive(Default)]
struct Table {
    /// In order of precedence: an entry's index is its rank, 0 wins.
    entries: Box<[Entry]>,
    hosts: NameTable<Bucket>,
    hostless: Bucket,
}

#[derive(Clone, Default)]
struct Struck {
    bits: Box<[u64]>,
    count: usize,
}

impl Router {
    /// Compiles the HTTP routes of one configuration; every error of every route is returned.
    ///
    /// A route without any category is refused: it would answer every request.
    pub fn build(specs: Vec<RouteSpec>) -> Result<Router, Vec<BuildError>> {
        Ok(Router::of(compile::compile(&specs)?, &|| {}))
    }

    /// What `build` would say of this one route: each condition is judged by itself.
    ///
    /// # Errors
    /// Every one of the route.
    pub fn check(spec: &RouteSpec) -> Result<(), Vec<BuildError>> {
        compile::compile(std::slice::from_ref(spec)).map(drop)
    }

    /// The router in which the routes of the handles `removed` are no more and those of `added` are new or, where their
    /// handle was in use, replace what had it. Answers as one built of the remaining specs. Costs the change, and what filing
    /// all that came before it costs; where they are more than `limits::ROUTE_CHANGES_BEHIND_MAX` all routes are sorted and
    /// filed. Patterns are compiled once.
    pub fn with_changes(
        &self,
        removed: &[u32],
        added: &[RouteSpec],
    ) -> Result<Router, Vec<BuildError>> {
        let added = compile::compile(added)?;
        let mut struck = match &self.changes {
            Some(changes) => changes.struck.clone(),
            None => Struck::of(self.base.routes.len()),
        };
        let gone: AHashSet<u32> = removed
            .iter()
            .copied()
            .chain(added.iter().map(|compiled| compiled.route.handle))
            .collect();
        for place in gone.iter().filter_map(|gone| self.base.places.get(gone)) {
            struck.insert(*place);
        }
        let before = self.changes.iter().flat_map(|changes| &changes.routes);
        let mut routes: Vec<_> = before
            .filter(|compiled| !gone.contains(&compiled.route.handle))
            .cloned()
            .collect();
        routes.extend(added);
        Ok(Router::changed(&self.base, struck, routes))
    }

    fn changed(base: &Arc<Base>, struck: Struck, routes: Vec<Arc<Compiled>>) -> Router {
        // To file so few anew costs no more, and one table is asked faster than two.
        let few = base.routes.len() <= ROUTE_CHANGES_MAX;
        if few || routes.len().max(struck.count) > ROUTE_CHANGES_BEHIND_MAX {
            return Router::of(base.left(&struck).chain(routes).collect(), &|| {});
        }
        if routes.is_empty() && struck.count == 0 {
            return Router {
                base: base.clone(),
                changes: None,
            };
        }
        let (table, ranks) = Table::of(&routes, false, &|| {});
        let above = |rank: &Rank| base.ranks.partition_point(|held| held > rank) as u32;
        Router {
            base: base.clone(),
            changes: Some(Arc::new(Changes {
                struck,
                table,
                outranked: ranks.iter().map(above).collect(),
                routes,
            })),
        }
    }

    /// Whether so much has changed that it is time for `settled`.
    pub fn is_crowded(&self) -> bool {
        let changes = self.changes.as_ref();
        changes.is_some_and(|of| of.routes.len().max(of.struck.count) >= ROUTE_CHANGES_MAX)
    }

    /// These routes on top of `settled`, which is `before.settled()`: a router that this one came from by changes. `None`:
    /// it has been settled meanwhile. Costs what has changed since.
    pub fn caught_up(&self, before: &Router, settled: &Router) -> Option<Router> {
        let (then, now) = (before.changes.as_ref()?, self.changes.as_ref()?);
        if !Arc::ptr_eq(&self.base, &before.base) {
            return None;
        }
        let kept: AHashSet<_> = now.routes.iter().map(Arc::as_ptr).collect();
        let known: AHashSet<_> = then.routes.iter().map(Arc::as_ptr).collect();
        let newer = now.routes.iter();
        let newer = newer.filter(|compiled| !known.contains(&Arc::as_ptr(compiled)));
        let routes: Vec<_> = newer.cloned().collect();
        let gone = then.routes.iter();
        let gone = gone.filter(|compiled| !kept.contains(&Arc::as_ptr(compiled)));
        let places = (0u32..).zip(&self.base.routes);
        let struck_since = places
            .filter(|(place, _)| now.struck.contains(*place) && !then.struck.contains(*place));
        let gone = gone.chain(struck_since.map(|(_, compiled)| compiled));
        let mut struck = Struck::of(settled.base.routes.len());
        for place in gone.filter_map(|gone| settled.base.places.get(&gone.route.handle)) {
            struck.insert(*place);
        }
        Some(Router::changed(&settled.base, struck, routes))
    }

    /// The same routes in one table. `None`: they are. `pause` is called every now and then, some hundred microseconds apart
    /// but for the sorting: whoever shares a CPU with what waits gives it up there.
    pub fn settled(&self, pause: &dyn Fn()) -> Option<Router> {
        let changes = self.changes.as_ref()?;
        let left = self.base.left(&changes.struck);
        let routes = left.chain(changes.routes.iter().cloned());
        Some(Router::of(routes.collect(), pause))
    }

    fn of(routes: Vec<Arc<Compiled>>, pause: &dyn Fn()) -> Router {
        let (table, ranks) = Table::of(&routes, true, pause);
        let places = (0u32..).zip(&routes);
        Router {
            base: Arc::new(Base {
                table,
                ranks,
                places: places
                    .map(|(place, compiled)| (compiled.route.handle, place))
                    .collect(),
                routes,
            }),
            changes: None,
        }
    }

    /// The route that `query` belongs to. Allocates nothing once `scratch` has grown to the longest host, server name and
    /// compared header value seen, and each regex to the threads that run it at once.
    pub fn find(&self, query: &Query, scratch: &mut Scratch) -> Option<Match> {
        search::find(self, query, scratch)
    }

    /// Entries: a route counts once per distinct prefix length and once for its regexes. Those struck out count.
    pub fn entry_count(&self) -> usize {
        let changes = self.changes.as_ref();
        self.base.table.entries.len() + changes.map_or(0, |changes| changes.table.entries.len())
    }
}

impl Base {
    fn left<'b>(&'b self, struck: &'b Struck) -> impl Iterator<Item = Arc<Compiled>> + 'b {
        let places = (0u32..).zip(&self.routes);
        places
            .filter(|(place, _)| !struck.contains(*place))
            .map(|(_, compiled)| compiled.clone())
    }
}

impl Table {
    fn of(routes: &[Arc<Compiled>], guarded: bool, pause: &dyn Fn()) -> (Table, Box<[Rank]>) {
        let (ranks, entries): (Vec<_>, Vec<_>) = compile::in_order(routes).into_iter().unzip();
        pause();
        let (hosts, hostless) = index::build(&Filed {
            entries: &entries,
            routes,
            guarded,
            pause,
        });
        let table = Table {
            entries: entries.into(),
            hosts,
            hostless,
        };
        (table, ranks.into())
    }
}

impl Struck {
    fn of(routes: usize) -> Struck {
        Struck {
            bits: vec![0; routes.div_ceil(64)].into(),
            count: 0,
        }
    }

    fn insert(&mut self, place: u32) {
        if let Some(bits) = self.bits.get_mut((place / 64) as usize) {
            let bit = 1 << (place % 64);
            self.count += usize::from(*bits & bit == 0);
            *bits |= bit;
        }
    }

    fn contains(&self, place: u32) -> bool {
        let bits = self.bits.get((place / 64) as usize);
        bits.is_some_and(|bits| bits & (1 << (place % 64)) != 0)
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("routes", &self.base.routes.len())
            .field("entries", &self.base.table.entries.len())
            .field(
                "changed",
                &self.changes.as_ref().map(|changes| changes.routes.len()),
            )
            .finish_non_exhaustive()
    }
}

/// Buffers of one core, reused from lookup to lookup.
#[derive(Default, Debug)]
pub struct Scratch {
    host: Vec<u8>,
    sni: Vec<u8>,
    header_name: Vec<u8>,
    header_value: Vec<u8>,
    examined: usize,
}

impl Scratch {
    /// Work of the last lookup: entries checked, nested prefixes walked, regex sets tried.
    pub fn examined(&self) -> usize {
        self.examined
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Router>();
};

#[cfg(test)]
mod tests;
