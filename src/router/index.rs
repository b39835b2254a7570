//! Where entries are filed: by host, then by path, then by the rarest of server name, header and method.
//!
//! A posting says that an entry can match there and what is left to check. Every list of postings is in order of
//! precedence, so a search reads it only as far as the best match found so far.
use std::sync::Arc;

use ahash::AHashMap;
use regex::bytes::RegexSet;

use super::compile::{Compiled, Entry, Paths, Route, RouteNames};
use super::names::{NamePattern, NameTable};
use super::regexes;
use crate::limits::{ROUTE_PLACES_MAX, ROUTE_POSTINGS_MAX};

/// The entries of one host pattern, or of no host.
pub(super) struct Bucket {
    /// The best rank in here.
    pub(super) rank_min: u32,
    pub(super) prefixes: PrefixTable,
    /// By the literal prefix of the regex.
    pub(super) regexes: PrefixTable,
    pub(super) any_path: List,
}

/// Lists by path prefix.
pub(super) struct PrefixTable {
    /// Sorted by text.
    nodes: Box<[PrefixNode]>,
}

pub(super) struct PrefixNode {
    text: Box<[u8]>,
    /// The longest other text that is a prefix of this one, or `NONE`.
    parent: u32,
    /// An ancestor further up, spaced so that any ancestor is reached in a logarithm of the depth (skew-binary list).
    jump: u32,
    depth: u32,
    /// The best rank here and in all ancestors.
    pub(super) rank_min: u32,
    pub(super) list: List,
}

pub(super) enum List {
    Flat(Run),
    Split(Box<Split>),
}

/// A long list, filed once more.
pub(super) struct Split {
    /// With server names as a condition.
    pub(super) tls: Keyed,
    /// Without (clear text); `None` if no entry here has any, and `tls` serves.
    pub(super) plain: Option<Keyed>,
}

/// Each entry is filed under the values of one of its conditions, the one whose values are rarest in this list.
#[derive(Default)]
pub(super) struct Keyed {
    pub(super) snis: NameTable<Run>,
    pub(super) headers: AHashMap<Box<str>, ByText<Run>>,
    pub(super) methods: ByText<Run>,
    pub(super) rest: Run,
}

#[derive(Default)]
pub(super) struct Run {
    pub(super) postings: Box<[Posting]>,
    /// One per `GUARD_SIZE` postings, or none at all. `None` where their regexes do not compile as one set.
    pub(super) guards: Box<[Option<RegexSet>]>,
}

#[derive(Clone, Copy)]
pub(super) struct Posting {
    /// Index and rank.
    pub(super) entry: u32,
    /// The port that the host pattern it is filed under demands.
    pub(super) port: Option<u16>,
    pub(super) path: PathCheck,
}

/// What being filed here leaves to check of the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PathCheck {
    Done,
    /// This one of the entry's regexes.
    Regex(u32),
    /// All of the entry's paths.
    All,
}

/// Postings per regex set: one set of thousands would outgrow the cache of its automaton.
pub(super) const GUARD_SIZE: usize = 64;
/// A list up to this long is read as it is.
const FLAT_SIZE_MAX: usize = 8;
const NONE: u32 = u32::MAX;
/// Entries or hosts between two pauses: some hundred microseconds of work.
const PAUSE_EVERY: u32 = 256;

type ByText<T> = AHashMap<Box<[u8]>, T>;

#[derive(Default)]
struct Draft {
    prefixes: ByText<Vec<Posting>>,
    regexes: ByText<Vec<Posting>>,
    any_path: Vec<Posting>,
}

/// What a table files.
pub(super) struct Filed<'f> {
    /// In order of rank.
    pub(super) entries: &'f [Entry],
    /// By `Entry::index`.
    pub(super) routes: &'f [Arc<Compiled>],
    /// Whether long lists of regexes get guards, which are slow to make.
    pub(super) guarded: bool,
    /// Called between parts of the work.
    pub(super) pause: &'f dyn Fn(),
}

impl<'f> Filed<'f> {
    fn entry(&self, posting: &Posting) -> &'f Entry {
        &self.entries[posting.entry as usize]
    }

    fn names(&self, entry: &Entry) -> &'f RouteNames {
        &self.routes[entry.index as usize].names
    }
}

pub(super) fn build(filed: &Filed) -> (NameTable<Bucket>, Bucket) {
    let mut hosts: NameTable<Draft> = NameTable::default();
    let mut hostless = Draft::default();
    // In order of rank, so that every list comes out in it.
    for (rank, entry) in (0u32..).zip(filed.entries) {
        if rank.is_multiple_of(PAUSE_EVERY) {
            (filed.pause)();
        }
        let names = filed.names(entry);
        let places = places(&entry.paths, names.hosts.len());
        if names.hosts.is_empty() {
            hostless.file(
                &places,
                Posting {
                    entry: rank,
                    port: None,
                    path: PathCheck::Done,
                },
            );
        }
        for host in &names.hosts {
            let posting = Posting {
                entry: rank,
                port: host.port,
                path: PathCheck::Done,
            };
            hosts.slot(&host.name).file(&places, posting);
        }
    }
    let mut finished = 0u32;
    let hosts = hosts.map(|draft| {
        finished = finished.wrapping_add(1);
        if finished.is_multiple_of(PAUSE_EVERY) {
            (filed.pause)();
        }
        draft.finish(filed)
    });
    (hosts, hostless.finish(filed))
}

/// Where in a bucket an entry belongs.
enum Place<'p> {
    Prefix(&'p [u8]),
    Regex { literal: &'p [u8], index: u32 },
    AnyPath(PathCheck),
}

fn places(paths: &Paths, host_count: usize) -> Vec<Place<'_>> {
    let fits = |path_count: usize| {
        path_count.saturating_mul(host_count.max(1)) <= ROUTE_PLACES_MAX.max(host_count)
    };
    match paths {
        Paths::Any => vec![Place::AnyPath(PathCheck::Done)],
        Paths::Prefixes { texts, .. } if fits(texts.len()) => {
            texts.iter().map(|text| Place::Prefix(text)).collect()
        }
        Paths::Regexes(list) if fits(list.len()) => (0u32..)
            .zip(list.iter())
            .map(|(index, regex)| Place::Regex {
                literal: regex.literal_prefix(),
                index,
            })
            .collect(),
        Paths::Prefixes { .. } | Paths::Regexes(_) => vec![Place::AnyPath(PathCheck::All)],
    }
}

impl Draft {
    fn file(&mut self, places: &[Place], posting: Posting) {
        for place in places {
            match place {
                Place::Prefix(text) => self
                    .prefixes
                    .entry((*text).into())
                    .or_default()
                    .push(posting),
                Place::Regex { literal, index } => {
                    let posting = Posting {
                        path: PathCheck::Regex(*index),
                        ..posting
                    };
                    self.regexes
                        .entry((*literal).into())
                        .or_default()
                        .push(posting);
                }
                Place::AnyPath(path) => self.any_path.push(Posting {
                    path: *path,
                    ..posting
                }),
            }
        }
    }

    fn finish(self, filed: &Filed) -> Bucket {
        let prefixes = PrefixTable::build(self.prefixes, filed);
        let regexes = PrefixTable::build(self.regexes, filed);
        let rank_min = prefixes
            .rank_min()
            .min(regexes.rank_min())
            .min(first_rank(&self.any_path));
        Bucket {
            rank_min,
            prefixes,
            regexes,
            any_path: List::build(self.any_path, filed),
        }
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket {
            rank_min: NONE,
            prefixes: PrefixTable {
                nodes: Box::default(),
            },
            regexes: PrefixTable {
                nodes: Box::default(),
            },
            any_path: List::Flat(Run::default()),
        }
    }
}

impl PrefixTable {
    fn build(lists: ByText<Vec<Posting>>, filed: &Filed) -> PrefixTable {
        let mut lists: Vec<_> = lists.into_iter().collect();
        lists.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut nodes: Vec<PrefixNode> = Vec::with_capacity(lists.len());
        for (text, postings) in lists {
            // Sorted: the prefixes of a text are its predecessor or among the predecessor's ancestors.
            let mut parent = nodes.len().checked_sub(1);
            while let Some(index) = parent {
                if text.starts_with(&nodes[index].text) {
                    break;
                }
                parent = usize::try_from(nodes[index].parent)
                    .ok()
                    .filter(|_| nodes[index].parent != NONE);
            }
            let rank = first_rank(&postings);
            let list = List::build(postings, filed);
            let node = match parent {
                None => PrefixNode {
                    text,
                    parent: NONE,
                    jump: NONE,
                    depth: 0,
                    rank_min: rank,
                    list,
                },
                Some(index) => {
                    let up = &nodes[index];
                    PrefixNode {
                        text,
                        parent: index as u32,
                        jump: jump(&nodes, index),
                        depth: up.depth + 1,
                        rank_min: rank.min(up.rank_min),
                        list,
                    }
                }
            };
            nodes.push(node);
        }
        PrefixTable {
            nodes: nodes.into(),
        }
    }

    fn rank_min(&self) -> u32 {
        self.nodes
            .iter()
            .map(|node| node.rank_min)
            .min()
            .unwrap_or(NONE)
    }

    /// The node with the longest text that `path` starts with.
    pub(super) fn longest(&self, path: &[u8]) -> Option<&PrefixNode> {
        let after = self.nodes.partition_point(|node| *node.text <= *path);
        let mut node = self.nodes.get(after.checked_sub(1)?)?;
        let common = node
            .text
            .iter()
            .zip(path)
            .take_while(|(a, b)| a == b)
            .count();
        while node.text.len() > common {
            node = match self.node(node.jump) {
                Some(far) if far.text.len() > common => far,
                _ => self.parent(node)?,
            };
        }
        Some(node)
    }

    pub(super) fn parent(&self, node: &PrefixNode) -> Option<&PrefixNode> {
        self.node(node.parent)
    }

    fn node(&self, index: u32) -> Option<&PrefixNode> {
        self.nodes.get(usize::try_from(index).ok()?)
    }
}

/// The jump of a new child of `parent` (Myers, "An applicative random-access stack").
fn jump(nodes: &[PrefixNode], parent: usize) -> u32 {
    let depth = |index: u32| nodes.get(index as usize).map_or(0, |node| node.depth);
    let up = &nodes[parent];
    let far = up.jump;
    if far != NONE {
        let farther = nodes[far as usize].jump;
        if farther != NONE && up.depth - depth(far) == depth(far) - depth(farther) {
            return farther;
        }
    }
    parent as u32
}

impl List {
    fn build(postings: Vec<Posting>, filed: &Filed) -> List {
        let condition = |has: fn(&Route) -> bool| {
            postings
                .iter()
                .any(|posting| has(&filed.entry(posting).route))
        };
        let snis = condition(|route| route.snis.is_some());
        let splits =
            snis || condition(|route| !route.methods.is_empty() || !route.headers.is_empty());
        if postings.len() <= FLAT_SIZE_MAX || !splits {
            return List::Flat(Run::build(postings, filed));
        }
        List::Split(Box::new(Split {
            tls: Keyed::build(&postings, filed, true),
            plain: snis.then(|| Keyed::build(&postings, filed, false)),
        }))
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'k> {
    Sni(&'k NamePattern),
    Header(&'k str, &'k [u8]),
    Method(&'k [u8]),
}

impl Keyed {
    fn build(postings: &[Posting], filed: &Filed, tls: bool) -> Keyed {
        let keys = |posting: &Posting| {
            let entry = filed.entry(posting);
            let names = filed.names(entry);
            let mut sets = key_sets(&entry.route, names, tls);
            let places = entry.paths.count().saturating_mul(names.hosts.len().max(1));
            sets.retain(|set| {
                set.len() == 1 || set.len().saturating_mul(places) <= ROUTE_POSTINGS_MAX
            });
            sets
        };
        let mut counts: AHashMap<Key, usize> = AHashMap::new();
        for key in postings.iter().flat_map(keys).flatten() {
            *counts.entry(key).or_default() += 1;
        }
        let mut snis: NameTable<Vec<Posting>> = NameTable::default();
        let mut headers: AHashMap<Box<str>, ByText<Vec<Posting>>> = AHashMap::new();
        let mut methods: ByText<Vec<Posting>> = AHashMap::new();
        let mut rest = Vec::new();
        for posting in postings {
            let commonest =
                |set: &Vec<Key>| set.iter().filter_map(|key| counts.get(key)).max().copied();
            let Some(rarest) = keys(posting).into_iter().min_by_key(commonest) else {
                rest.push(*posting);
                continue;
            };
            for key in rarest {
                match key {
                    Key::Sni(name) => snis.slot(name).push(*posting),
                    Key::Header(name, value) => {
                        headers
                            .entry(name.into())
                            .or_default()
                            .entry(value.into())
                            .or_default()
                            .push(*posting);
                    }
                    Key::Method(method) => methods.entry(method.into()).or_default().push(*posting),
                }
            }
        }
        let run = |postings| Run::build(postings, filed);
        Keyed {
            snis: snis.map(run),
            headers: headers
                .into_iter()
                .map(|(name, values)| {
                    (
                        name,
                        values
                            .into_iter()
                            .map(|(value, postings)| (value, run(postings)))
                            .collect(),
                    )
                })
                .collect(),
            methods: methods
                .into_iter()
                .map(|(method, postings)| (method, run(postings)))
                .collect(),
            rest: run(rest),
        }
    }
}

/// The sets of keys that a route can be filed under: a request that matches it has a key of every set.
fn key_sets<'k>(route: &'k Route, names: &'k RouteNames, tls: bool) -> Vec<Vec<Key<'k>>> {
    let mut sets = Vec::new();
    if tls && !names.snis.is_empty() {
        sets.push(names.snis.iter().map(Key::Sni).collect());
    }
    for header in route
        .headers
        .iter()
        .filter(|header| header.regexes.is_empty())
    {
        sets.push(
            header
                .values
                .iter()
                .map(|value| Key::Header(&header.name, value))
                .collect(),
        );
    }
    if !route.methods.is_empty() {
        sets.push(
            route
                .methods
                .iter()
                .map(|method| Key::Method(method))
                .collect(),
        );
    }
    sets
}

impl Run {
    fn build(postings: Vec<Posting>, filed: &Filed) -> Run {
        let regex = |posting: &Posting| match (posting.path, &filed.entry(posting).paths) {
            (PathCheck::Regex(index), Paths::Regexes(list)) => list.get(index as usize),
            _ => None,
        };
        let guarded = filed.guarded
            && postings.len() > GUARD_SIZE
            && postings.iter().all(|posting| regex(posting).is_some());
        let guards = if guarded {
            postings
                .chunks(GUARD_SIZE)
                .map(|chunk| regexes::guard(chunk.iter().filter_map(regex)))
                .collect()
        } else {
            Box::default()
        };
        Run {
            postings: postings.into(),
            guards,
        }
    }
}

fn first_rank(postings: &[Posting]) -> u32 {
    postings.first().map_or(NONE, |posting| posting.entry)
}
