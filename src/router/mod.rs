//! Kong's route matching and precedence (KONG.md §3.1, §3.2); pure.
//!
//! Owns: which route a request belongs to, and how much of the path its winning `paths` entry matched.
//! Refuses: what a route means after it matched (protocols, redirects, services), stream routes.
//!
//! A route with several paths is several entries: one per distinct prefix length and one for all its regexes. Entries are
//! sorted once by Kong's number; a lookup finds the first that matches. It visits only the entries filed where the
//! request can reach them (`index`), each list in order of precedence and only as far as the best match so far.
//!
//! Deviations from Kong, on the safe side:
//! - hosts are compared lower-cased on both sides;
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

use uuid::Uuid;

use compile::{Entry, Route};
use index::Bucket;
use names::NameTable;

/// What the router needs of one route, in Kong's own spelling; already validated.
#[derive(Clone, Debug, Default)]
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
    /// Host without port, as received; compared lower-cased.
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

/// An immutable routing table, shared by all cores.
#[derive(Default)]
pub struct Router {
    /// In order of precedence: an entry's index is its rank, 0 wins.
    entries: Box<[Entry]>,
    routes: Box<[Route]>,
    hosts: NameTable<Bucket>,
    hostless: Bucket,
}

impl Router {
    /// Compiles the HTTP routes of one configuration; every error of every route is returned.
    ///
    /// A route without any category is refused: it would answer every request.
    pub fn build(specs: Vec<RouteSpec>) -> Result<Router, Vec<BuildError>> {
        let compiled = compile::compile(&specs)?;
        let (hosts, hostless) = index::build(&compiled);
        Ok(Router {
            entries: compiled.entries.into(),
            routes: compiled.routes.into(),
            hosts,
            hostless,
        })
    }

    /// The route that `query` belongs to. Allocates nothing once `scratch` has grown to the longest host, server name and
    /// compared header value seen, and each regex to the threads that run it at once.
    pub fn find(&self, query: &Query, scratch: &mut Scratch) -> Option<Match> {
        search::find(self, query, scratch)
    }

    /// Entries: a route counts once per distinct prefix length and once for its regexes.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("routes", &self.routes.len())
            .field("entries", &self.entries.len())
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
