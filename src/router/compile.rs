//! From [`RouteSpec`]s to entries in order of precedence.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use uuid::Uuid;

use super::names::{NamePattern, NameTable};
use super::path;
use super::regexes::PathRegex;
use super::{BuildError, RouteSpec};
use crate::limits::{ROUTE_REGEX_CACHE_SIZE_MAX, ROUTE_REGEX_SIZE_MAX};

/// One route, ready to be put into tables.
pub(super) struct Compiled {
    pub(super) seniority: Seniority,
    pub(super) route: Arc<Route>,
    /// What only the index needs.
    pub(super) names: RouteNames,
    pub(super) lines: Vec<(Priority, Paths)>,
}

/// What one line of precedence matches: a route with one length of its prefixes, or with all its regexes.
pub(super) struct Entry {
    /// The place of the route in its table.
    pub(super) index: u32,
    pub(super) route: Arc<Route>,
    pub(super) paths: Paths,
}

/// Where an entry stands among all: the greater wins (KONG.md §3.2).
pub(super) type Rank = (Priority, Seniority);

#[derive(Clone)]
pub(super) enum Paths {
    Any,
    /// All of one size, in bytes.
    Prefixes {
        size: usize,
        texts: Arc<[Box<[u8]>]>,
    },
    /// In the order configured: the first that matches says how much of the path was matched.
    Regexes(Arc<[PathRegex]>),
}

impl Paths {
    pub(super) fn count(&self) -> usize {
        match self {
            Paths::Any => 1,
            Paths::Prefixes { texts, .. } => texts.len(),
            Paths::Regexes(list) => list.len(),
        }
    }
}

/// A route's conditions other than hosts and paths. Empty means not a condition.
pub(super) struct Route {
    pub(super) handle: u32,
    /// Sorted.
    pub(super) methods: Box<[Box<[u8]>]>,
    pub(super) headers: Box<[HeaderTest]>,
    pub(super) snis: Option<NameTable<()>>,
}

/// One header: any of its values suffices.
pub(super) struct HeaderTest {
    /// Lower-case, `-` for `_`.
    pub(super) name: Box<str>,
    /// Lower-case, sorted.
    pub(super) values: Box<[Box<[u8]>]>,
    pub(super) regexes: Box<[Regex]>,
}

pub(super) struct RouteNames {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) snis: Vec<NamePattern>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct HostPattern {
    pub(super) name: NamePattern,
    pub(super) port: Option<u16>,
}

/// Kong's 64-bit number (KONG.md §3.2) as its fields, highest first. Kept apart, a `regex_priority` outside 32 bits cannot
/// spill into its neighbours. Each field is in Kong's bits: categories 63–61, plain hosts 60, headers 59–52, regex 51,
/// regex priority 50–19, prefix size 18–0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority {
    category_count: u8,
    plain_hosts: bool,
    header_count: u8,
    regex: bool,
    regex_priority: i64,
    prefix_size: u32,
}

/// What the prefix size's 19 bits hold.
const PREFIX_SIZE_MAX: u32 = (1 << 19) - 1;

/// Every error of every route.
pub(super) fn compile(specs: &[RouteSpec]) -> Result<Vec<Arc<Compiled>>, Vec<BuildError>> {
    let mut errors = Vec::new();
    let routes = specs.iter().map(|spec| compile_route(spec, &mut errors));
    let routes = routes.map(Arc::new).collect();
    if errors.is_empty() {
        Ok(routes)
    } else {
        Err(errors)
    }
}

fn compile_route(spec: &RouteSpec, errors: &mut Vec<BuildError>) -> Compiled {
    let mut refuse = |field: &str, reason: String| {
        errors.push(BuildError {
            route: spec.id,
            handle: spec.handle,
            field: field.into(),
            reason,
        });
    };
    let hosts = each(&spec.hosts, host_pattern, |reason| refuse("hosts", reason));
    let snis = each(&spec.snis, sni_pattern, |reason| refuse("snis", reason));
    let headers = header_tests(&spec.headers, &mut refuse);
    let paths = path_entries(&spec.paths, &mut refuse);
    let base = priority(spec, &hosts);
    if base.category_count == 0 {
        refuse(
            "@entity",
            "names no method, host, header, path or SNI, and would match every request".into(),
        );
    }
    let lines = paths.into_iter().map(|paths| {
        let priority = with_paths(base, &paths, spec.regex_priority);
        (priority, paths)
    });
    let mut methods: Vec<Box<[u8]>> = spec
        .methods
        .iter()
        .map(|method| method.as_bytes().into())
        .collect();
    methods.sort_unstable();
    let sni_table = (!snis.is_empty()).then(|| {
        let mut table = NameTable::default();
        for sni in &snis {
            *table.slot(sni) = ();
        }
        table
    });
    Compiled {
        seniority: seniority(spec),
        route: Arc::new(Route {
            handle: spec.handle,
            methods: methods.into(),
            headers,
            snis: sni_table,
        }),
        names: RouteNames { hosts, snis },
        lines: lines.collect(),
    }
}

/// The lines of precedence of all `routes`, the first wins, each with its rank.
pub(super) fn in_order(routes: &[Arc<Compiled>]) -> Vec<(Rank, Entry)> {
    let mut entries = Vec::with_capacity(routes.len());
    for (index, compiled) in (0u32..).zip(routes) {
        for (priority, paths) in &compiled.lines {
            let entry = Entry {
                index,
                route: compiled.route.clone(),
                paths: paths.clone(),
            };
            entries.push(((*priority, compiled.seniority), entry));
        }
    }
    // Stable: of two routes with one id (which no store holds) the first stays first.
    entries.sort_by_key(|(rank, _)| Reverse(*rank));
    entries
}

/// What decides between equal priorities; the greater wins.
pub(super) type Seniority = (Option<Reverse<i64>>, Uuid);

fn seniority(spec: &RouteSpec) -> Seniority {
    (spec.created_at.map(Reverse), spec.id)
}

fn priority(spec: &RouteSpec, hosts: &[HostPattern]) -> Priority {
    let categories = [
        !spec.methods.is_empty(),
        !spec.hosts.is_empty(),
        !spec.headers.is_empty(),
        !spec.snis.is_empty(),
        !spec.paths.is_empty(),
    ];
    Priority {
        category_count: categories.into_iter().map(u8::from).sum(),
        plain_hosts: !spec.hosts.is_empty() && !hosts.iter().any(|host| host.name.is_wildcard()),
        header_count: u8::try_from(spec.headers.len()).unwrap_or(u8::MAX),
        regex: false,
        regex_priority: 0,
        prefix_size: 0,
    }
}

fn with_paths(base: Priority, paths: &Paths, regex_priority: i64) -> Priority {
    match paths {
        Paths::Any => base,
        Paths::Prefixes { size, .. } => Priority {
            prefix_size: u32::try_from(*size)
                .unwrap_or(u32::MAX)
                .min(PREFIX_SIZE_MAX),
            ..base
        },
        Paths::Regexes(_) => Priority {
            regex: true,
            regex_priority,
            ..base
        },
    }
}

/// Parses each text, drops repeats, hands errors on.
fn each<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    mut refuse: impl FnMut(String),
) -> Vec<T>
where
    T: Clone + std::hash::Hash + Eq,
{
    let mut seen = ahash::AHashSet::with_capacity(texts.len());
    let mut parsed = Vec::with_capacity(texts.len());
    for text in texts {
        match parse(text) {
            Ok(value) if seen.insert(value.clone()) => parsed.push(value),
            Ok(_) => {}
            Err(reason) => refuse(reason),
        }
    }
    parsed
}

/// `name`, `name:port`, an IPv4 address, an IPv6 address with or without brackets, the former with or without port. A dot
/// at the end of a name does not count.
fn host_pattern(text: &str) -> Result<HostPattern, String> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest
            .split_once(']')
            .ok_or_else(|| format!("invalid hostname: {text}"))?;
        match rest {
            "" => (address, None),
            _ => (
                address,
                Some(
                    rest.strip_prefix(':')
                        .ok_or_else(|| format!("invalid hostname: {text}"))?,
                ),
            ),
        }
    } else {
        match text.split_once(':') {
            Some((name, port)) if !port.contains(':') => (name, Some(port)),
            _ => (text, None),
        }
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(
            digits
                .parse()
                .map_err(|_| "invalid port number".to_owned())?,
        ),
        Some(_) => return Err("invalid port number".into()),
    };
    Ok(HostPattern {
        name: NamePattern::parse(name.strip_suffix('.').unwrap_or(name))?,
        port,
    })
}

fn sni_pattern(text: &str) -> Result<NamePattern, String> {
    NamePattern::parse(text.strip_suffix('.').unwrap_or(text))
}

fn header_tests(
    headers: &[(String, Vec<String>)],
    refuse: &mut impl FnMut(&str, String),
) -> Box<[HeaderTest]> {
    let mut tests = Vec::with_capacity(headers.len());
    for (name, texts) in headers {
        let field = || format!("headers.{name}");
        if texts.is_empty() {
            refuse(&field(), "has no value".into());
        }
        let mut values: Vec<Box<[u8]>> = Vec::new();
        let mut regexes = Vec::new();
        for text in texts {
            let Some(pattern) = text.strip_prefix("~*") else {
                values.push(text.to_ascii_lowercase().as_bytes().into());
                continue;
            };
            let built = RegexBuilder::new(pattern)
                .case_insensitive(true)
                .size_limit(ROUTE_REGEX_SIZE_MAX)
                .dfa_size_limit(ROUTE_REGEX_CACHE_SIZE_MAX)
                .build();
            match built {
                Ok(regex) => regexes.push(regex),
                Err(error) => refuse(&field(), format!("invalid regex '{pattern}': {error}")),
            }
        }
        values.sort_unstable();
        values.dedup();
        let name = name.to_ascii_lowercase().replace('_', "-");
        tests.push(HeaderTest {
            name: name.into(),
            values: values.into(),
            regexes: regexes.into(),
        });
    }
    tests.into()
}

/// One element per line of precedence.
fn path_entries(texts: &[String], refuse: &mut impl FnMut(&str, String)) -> Vec<Paths> {
    if texts.is_empty() {
        return vec![Paths::Any];
    }
    let mut prefixes: BTreeMap<usize, Vec<Box<[u8]>>> = BTreeMap::new();
    let mut regexes = Vec::new();
    let mut normal = Vec::new();
    for text in texts {
        if let Some(pattern) = text.strip_prefix('~') {
            match PathRegex::compile(pattern) {
                Ok(_) if !pattern.starts_with('/') => {
                    refuse(
                        "paths",
                        format!("'{text}': should start with: / (fixed path) or ~/ (regex path)"),
                    );
                }
                Ok(regex) => regexes.push(regex),
                Err(error) => refuse("paths", format!("invalid regex '{pattern}': {error}")),
            }
        } else if !text.starts_with('/') {
            refuse(
                "paths",
                format!("'{text}': should start with: / (fixed path) or ~/ (regex path)"),
            );
        } else {
            // The request's path is compared in its normal spelling; a prefix in another could never match.
            match path::normalise(text.as_bytes(), &mut normal) {
                Ok(()) => prefixes
                    .entry(normal.len())
                    .or_default()
                    .push(normal.as_slice().into()),
                Err(error) => refuse("paths", format!("'{text}': {error}")),
            }
        }
    }
    let mut entries: Vec<Paths> = prefixes
        .into_iter()
        .map(|(size, mut texts)| {
            texts.sort_unstable();
            texts.dedup();
            Paths::Prefixes {
                size,
                texts: texts.into(),
            }
        })
        .collect();
    if !regexes.is_empty() {
        entries.push(Paths::Regexes(regexes.into()));
    }
    entries
}
