//! From a path to what it names (KONG.md §2.1). Everything that follows from an entity's table is derived from it: its
//! collection, its rows, the rows below a parent, and the row a foreign key leads to.
//!
//! `/default/…` is the same as `/…`: there is one workspace, and clients of other editions put its name in front.
use crate::entity::{Kind, checks, schema};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    // ── entities ──
    /// `/services`
    Collection(Kind),
    /// `/services/{address}`
    Row(Kind, Address),
    /// `/services/{parent}/routes`: the rows of `child` whose `field` is the parent.
    Children(Children),
    /// `/services/{parent}/routes/{address}`
    Child(Children, Address),
    /// `/routes/{address}/service`: the row of `to` that the `field` of a row of `from` leads to.
    Foreign {
        from: Kind,
        address: Address,
        field: &'static str,
        to: Kind,
    },
    // ── upstreams ──
    /// `/upstreams/{upstream}/health`
    UpstreamHealth(Address),
    /// `/upstreams/{upstream}/targets/all`
    AllTargets(Address),
    /// `/upstreams/{upstream}/targets/{target}[/{address}]/healthy` or `…/unhealthy`
    TargetHealth {
        upstream: Address,
        target: Address,
        /// One of the addresses the target's name resolves to.
        address: Option<String>,
        healthy: bool,
    },
    // ── what entities have in common ──
    Tags,
    /// `/tags/{tag}`
    Tag(String),
    /// `/schemas/{name}`; the name need not be an entity's (`schemas::entity` tells).
    Schema(String),
    /// `/schemas/plugins/{name}`
    PluginSchema(String),
    /// `/schemas/{name}/validate`, with `plugins` among the names.
    Validate(String),
    // ── the node ──
    /// `/`
    Root,
    Status,
    Endpoints,
    Timers,
    Config,
    /// `/cache/{key}`
    Cache(String),
    DataPlanes,
    ClusteringStatus,
    LogLevel,
    /// `/debug/node/log-level/{level}`
    SetLogLevel(String),
    PluginsEnabled,
    /// `/plugins/schema/{name}`: the fields of a plugin's `config`.
    PluginConfigSchema(String),
    /// `/workspaces`
    Workspaces,
    /// `/workspaces/default`
    Workspace,
}

/// The rows of one kind that refer to one row of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Children {
    pub parent: Kind,
    pub address: Address,
    pub child: Kind,
    /// The foreign field of `child`.
    pub field: &'static str,
}

/// How a path names a row: by id and nothing else where the segment is a UUID, by key and nothing else where not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Id(Uuid),
    /// The endpoint key; for certificates a server name, for acls below a consumer a group.
    Key(String),
}

impl Address {
    fn of(segment: String) -> Address {
        if checks::is_uuid(&segment)
            && let Ok(id) = segment.parse()
        {
            return Address::Id(id);
        }
        Address::Key(segment)
    }
}

/// The endpoint of a path, which is still percent-encoded and has no query. One slash at its end is ignored.
pub fn resolve(path: &str) -> Option<Endpoint> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Endpoint::Root);
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        let segment = percent_decode_str(segment).decode_utf8().ok()?;
        // No path needs more.
        if segment.is_empty() || segments.len() == SEGMENTS_MAX {
            return None;
        }
        segments.push(segment.into_owned());
    }
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [WORKSPACE] | [WORKSPACE, "kong"] => Some(Endpoint::Root),
        [WORKSPACE, rest @ ..] => special(rest).or_else(|| of_entities(rest)),
        all => special(all).or_else(|| of_entities(all)),
    }
}

/// The one workspace.
const WORKSPACE: &str = "default";
/// `/default/upstreams/{u}/targets/{t}/{address}/healthy`
const SEGMENTS_MAX: usize = 7;

fn special(segments: &[&str]) -> Option<Endpoint> {
    let own = |text: &str| text.to_owned();
    let address = |text: &str| Address::of(text.to_owned());
    let health = |word: &str| match word {
        "healthy" => Some(true),
        "unhealthy" => Some(false),
        _ => None,
    };
    Some(match *segments {
        ["status"] => Endpoint::Status,
        ["endpoints"] => Endpoint::Endpoints,
        ["timers"] => Endpoint::Timers,
        ["config"] => Endpoint::Config,
        ["cache", key] => Endpoint::Cache(own(key)),
        ["clustering", "data-planes"] => Endpoint::DataPlanes,
        ["clustering", "status"] => Endpoint::ClusteringStatus,
        ["debug", "node", "log-level"] => Endpoint::LogLevel,
        ["debug", "node", "log-level", level] => Endpoint::SetLogLevel(own(level)),
        ["plugins", "enabled"] => Endpoint::PluginsEnabled,
        ["plugins", "schema", name] => Endpoint::PluginConfigSchema(own(name)),
        ["tags"] => Endpoint::Tags,
        ["tags", tag] => Endpoint::Tag(own(tag)),
        ["schemas", name] => Endpoint::Schema(own(name)),
        ["schemas", name, "validate"] => Endpoint::Validate(own(name)),
        ["schemas", "plugins", name] => Endpoint::PluginSchema(own(name)),
        ["workspaces"] => Endpoint::Workspaces,
        ["workspaces", WORKSPACE] => Endpoint::Workspace,
        ["upstreams", upstream, "health"] => Endpoint::UpstreamHealth(address(upstream)),
        ["upstreams", upstream, "targets", "all"] => Endpoint::AllTargets(address(upstream)),
        ["upstreams", upstream, "targets", target, word] => Endpoint::TargetHealth {
            upstream: address(upstream),
            target: address(target),
            address: None,
            healthy: health(word)?,
        },
        ["upstreams", upstream, "targets", target, one, word] => Endpoint::TargetHealth {
            upstream: address(upstream),
            target: address(target),
            address: Some(own(one)),
            healthy: health(word)?,
        },
        _ => return None,
    })
}

fn of_entities(segments: &[&str]) -> Option<Endpoint> {
    let (first, rest) = segments.split_first()?;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| collection_name(*kind) == *first)?;
    let address = |text: &&str| Address::of((*text).to_owned());
    if !has_collection(kind) {
        return None;
    }
    match rest {
        [] => Some(Endpoint::Collection(kind)),
        [row] => Some(Endpoint::Row(kind, address(row))),
        [row, name] => foreign(kind, row, name)
            .or_else(|| Some(Endpoint::Children(children(kind, row, name)?))),
        [row, name, child] => Some(Endpoint::Child(children(kind, row, name)?, address(child))),
        _ => None,
    }
}

fn foreign(from: Kind, row: &str, name: &str) -> Option<Endpoint> {
    let (field, to) = followed(from).find(|(field, _)| *field == name)?;
    Some(Endpoint::Foreign {
        from,
        address: Address::of(row.to_owned()),
        field,
        to,
    })
}

fn children(parent: Kind, row: &str, name: &str) -> Option<Children> {
    let (child, field) = below(parent).find(|(child, _)| nested_name(*child) == name)?;
    Some(Children {
        parent,
        address: Address::of(row.to_owned()),
        child,
        field,
    })
}

/// The foreign keys of a kind that have a path. `/snis/{sni}/certificate` has none (KONG.md §2.1).
fn followed(from: Kind) -> impl Iterator<Item = (&'static str, Kind)> {
    schema::of(from)
        .references()
        .map(|(field, to)| (field.name, to))
        .filter(move |_| from != Kind::Snis && has_collection(from))
}

/// The kinds that have a foreign key to this one, with that key.
fn below(parent: Kind) -> impl Iterator<Item = (Kind, &'static str)> {
    Kind::ALL.into_iter().flat_map(move |child| {
        schema::of(child)
            .references()
            .filter(move |(_, to)| *to == parent)
            .map(move |(field, _)| (child, field.name))
    })
}

/// Targets are reached below an upstream only.
const fn has_collection(kind: Kind) -> bool {
    !matches!(kind, Kind::Targets)
}

/// The first segment of a kind's paths.
pub const fn collection_name(kind: Kind) -> &'static str {
    match kind {
        Kind::MtlsAuthCredentials => "mtls-auths",
        _ => kind.name(),
    }
}

/// The segment of a kind below its parent.
pub const fn nested_name(kind: Kind) -> &'static str {
    match kind {
        Kind::MtlsAuthCredentials => "mtls-auth",
        _ => kind.name(),
    }
}

// ── methods: sorted, as `Allow` shows them ──

const READ: &[&str] = &["GET", "HEAD", "OPTIONS"];
const COLLECTION: &[&str] = &["GET", "HEAD", "OPTIONS", "POST"];
const ROW: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"];
const FOREIGN: &[&str] = &["GET", "HEAD", "OPTIONS", "PATCH", "PUT"];
const CACHE: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS"];
const SEND: &[&str] = &["OPTIONS", "POST"];
const SET: &[&str] = &["OPTIONS", "PUT"];

impl Endpoint {
    /// The methods it has, sorted, HEAD and OPTIONS among them: the value of `Allow`.
    pub const fn methods(&self) -> &'static [&'static str] {
        match self {
            Endpoint::Collection(_) | Endpoint::Children(_) | Endpoint::Config => COLLECTION,
            Endpoint::Row(..) | Endpoint::Child(..) => ROW,
            Endpoint::Foreign { .. } => FOREIGN,
            Endpoint::Validate(_) => SEND,
            Endpoint::TargetHealth { .. } | Endpoint::SetLogLevel(_) => SET,
            Endpoint::Cache(_) => CACHE,
            Endpoint::UpstreamHealth(_)
            | Endpoint::AllTargets(_)
            | Endpoint::Tags
            | Endpoint::Tag(_)
            | Endpoint::Schema(_)
            | Endpoint::PluginSchema(_)
            | Endpoint::Root
            | Endpoint::Status
            | Endpoint::Endpoints
            | Endpoint::Timers
            | Endpoint::DataPlanes
            | Endpoint::ClusteringStatus
            | Endpoint::LogLevel
            | Endpoint::PluginsEnabled
            | Endpoint::PluginConfigSchema(_)
            | Endpoint::Workspaces
            | Endpoint::Workspace => READ,
        }
    }
}

/// Every path there is, sorted, a variable segment as the name in braces: `data` of `GET /endpoints`.
pub fn all() -> Vec<String> {
    let mut paths: Vec<String> = FIXED.iter().map(|path| (*path).to_owned()).collect();
    for kind in Kind::ALL.into_iter().filter(|kind| has_collection(*kind)) {
        let collection = format!("/{}", collection_name(kind));
        let row = format!("{collection}/{{{}}}", kind.name());
        paths.extend(followed(kind).map(|(field, _)| format!("{row}/{field}")));
        for (child, _) in below(kind) {
            let nested = format!("{row}/{}", nested_name(child));
            paths.push(format!("{nested}/{{{}}}", child.name()));
            paths.push(nested);
        }
        paths.push(collection);
        paths.push(row);
    }
    paths.sort();
    paths
}

const FIXED: &[&str] = &[
    "/",
    "/cache/{key}",
    "/clustering/data-planes",
    "/clustering/status",
    "/config",
    "/debug/node/log-level",
    "/debug/node/log-level/{level}",
    "/endpoints",
    "/plugins/enabled",
    "/plugins/schema/{name}",
    "/schemas/plugins/validate",
    "/schemas/plugins/{name}",
    "/schemas/{name}",
    "/schemas/{name}/validate",
    "/status",
    "/tags",
    "/tags/{tags}",
    "/timers",
    "/upstreams/{upstreams}/health",
    "/upstreams/{upstreams}/targets/all",
    "/upstreams/{upstreams}/targets/{targets}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/unhealthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
    "/workspaces",
    "/workspaces/default",
];

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
