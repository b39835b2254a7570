//! Kong's route matching and precedence (KONG.md §3.1, §3.2); pure.
pub mod path;

use uuid::Uuid;

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
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    pub handle: u32,
    /// Bytes of the normalised path that the winning `paths` entry matched; `None` when the route has no paths.
    pub path_matched: Option<usize>,
}

/// (owner: router helper)
#[derive(Default, Debug)]
pub struct Router {}
