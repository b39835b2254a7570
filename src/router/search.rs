//! One lookup: the lists a request can reach, each read as far as the best match so far. First those of the routes that
//! came since the base was made; what matches among them says how far the base is read.
use super::compile::{HeaderTest, Paths, Route};
use super::index::{Bucket, GUARD_SIZE, Keyed, List, PathCheck, Posting, PrefixTable, Run};
use super::{Match, Query, Router, Scratch, Struck, Table};

/// Header names a list may be filed under before the request's field lines are gone through instead.
const HEADER_NAMES_ASKED_MAX: usize = 8;

pub(super) fn find(router: &Router, query: &Query, scratch: &mut Scratch) -> Option<Match> {
    let Scratch {
        host,
        sni,
        header_name,
        header_value,
        examined,
    } = scratch;
    *examined = 0;
    lower_into(bare(query.host), host);
    let sni = match query.tls {
        None => ServerName::Ignored,
        Some(None) => ServerName::Absent,
        Some(Some(name)) => {
            lower_into(name.strip_suffix('.').unwrap_or(name).as_bytes(), sni);
            ServerName::Given(sni)
        }
    };
    let mut search = Search {
        table: &router.base.table,
        struck: None,
        query,
        sni,
        header_name,
        header_value,
        examined,
        best: u32::MAX,
        regex_matched: None,
    };
    let Some(changes) = &router.changes else {
        search.table(host);
        return search.found(search.best);
    };
    search.table = &changes.table;
    search.table(host);
    let rank = search.best;
    let newer = search.found(rank);
    let outranked = usize::try_from(rank)
        .ok()
        .and_then(|rank| changes.outranked.get(rank).copied());
    let bound = outranked.unwrap_or(u32::MAX);
    search.table = &router.base.table;
    search.struck = Some(&changes.struck);
    search.best = bound;
    search.regex_matched = None;
    search.table(host);
    if search.best < bound {
        search.found(search.best)
    } else {
        newer
    }
}

struct Search<'s> {
    table: &'s Table,
    /// Routes of the table to pass over.
    struck: Option<&'s Struck>,
    query: &'s Query<'s>,
    sni: ServerName<'s>,
    header_name: &'s mut Vec<u8>,
    header_value: &'s mut Vec<u8>,
    examined: &'s mut usize,
    /// The best rank that matched; before any did, the rank from which on none is wanted.
    best: u32,
    /// Bytes that the regex matched by which the best entry, if a regex one, was found.
    regex_matched: Option<usize>,
}

#[derive(Clone, Copy)]
enum ServerName<'s> {
    /// Clear text.
    Ignored,
    /// TLS, and the client sent none.
    Absent,
    /// Lower-case, without a trailing dot.
    Given(&'s [u8]),
}

impl<'s> Search<'s> {
    fn table(&mut self, host: &[u8]) {
        let table = self.table;
        table.hosts.any(host, |bucket| {
            self.bucket(bucket);
            false
        });
        self.bucket(&table.hostless);
    }

    /// What the entry of that rank, found by this search, says of the request.
    fn found(&self, rank: u32) -> Option<Match> {
        let entry = self.table.entries.get(usize::try_from(rank).ok()?)?;
        let path_matched = match &entry.paths {
            Paths::Any => None,
            Paths::Prefixes { size, .. } => Some(*size),
            // Any of its regexes found the entry; the first that matches says how much.
            Paths::Regexes(list) if list.len() > 1 => {
                list.iter().find_map(|regex| regex.matched(self.query.path))
            }
            Paths::Regexes(_) => self.regex_matched,
        };
        Some(Match {
            handle: entry.route.handle,
            path_matched,
        })
    }

    /// Prefixes before regexes, longest first: cheap checks set the mark that spares costly ones.
    fn bucket(&mut self, bucket: &'s Bucket) {
        if bucket.rank_min >= self.best {
            return;
        }
        self.prefixes(&bucket.prefixes);
        self.list(&bucket.any_path);
        self.prefixes(&bucket.regexes);
    }

    fn prefixes(&mut self, table: &'s PrefixTable) {
        let mut next = table.longest(self.query.path);
        while let Some(node) = next.filter(|node| node.rank_min < self.best) {
            *self.examined += 1;
            self.list(&node.list);
            next = table.parent(node);
        }
    }

    fn list(&mut self, list: &'s List) {
        match (list, self.sni) {
            (List::Flat(run), _) => self.run(run),
            (List::Split(split), ServerName::Ignored) => {
                self.keyed(split.plain.as_ref().unwrap_or(&split.tls))
            }
            (List::Split(split), _) => self.keyed(&split.tls),
        }
    }

    fn keyed(&mut self, keyed: &'s Keyed) {
        if let ServerName::Given(name) = self.sni {
            keyed.snis.any(name, |run| {
                self.run(run);
                false
            });
        }
        if !keyed.headers.is_empty() {
            self.headers(keyed);
        }
        if let Some(run) = keyed.methods.get(self.query.method) {
            self.run(run);
        }
        self.run(&keyed.rest);
    }

    fn headers(&mut self, keyed: &'s Keyed) {
        let headers = self.query.headers;
        if keyed.headers.len() > HEADER_NAMES_ASKED_MAX {
            let offered = headers.each(&mut |name, value| {
                canonical_name_into(name, self.header_name);
                let values = std::str::from_utf8(self.header_name)
                    .ok()
                    .and_then(|name| keyed.headers.get(name));
                if let Some(values) = values {
                    lower_into(value, self.header_value);
                    if let Some(run) = values.get(self.header_value.as_slice()) {
                        self.run(run);
                    }
                }
            });
            if offered {
                return;
            }
        }
        for (name, values) in &keyed.headers {
            headers.any(name, &mut |value| {
                lower_into(value, self.header_value);
                if let Some(run) = values.get(self.header_value.as_slice()) {
                    self.run(run);
                }
                false
            });
        }
    }

    fn run(&mut self, run: &'s Run) {
        if run.guards.is_empty() {
            return self.postings(&run.postings);
        }
        for (chunk, guard) in run.postings.chunks(GUARD_SIZE).zip(&run.guards) {
            if chunk
                .first()
                .is_none_or(|posting| posting.entry >= self.best)
            {
                return;
            }
            *self.examined += 1;
            if guard
                .as_ref()
                .is_none_or(|guard| guard.is_match(self.query.path))
            {
                self.postings(chunk);
            }
        }
    }

    fn postings(&mut self, postings: &[Posting]) {
        for posting in postings {
            if posting.entry >= self.best {
                return;
            }
            *self.examined += 1;
            if self.matches(posting) == Some(true) {
                self.best = posting.entry;
                return;
            }
        }
    }

    /// The conditions that filing did not settle, cheapest first. Never `None`: the index is made of what it points at.
    fn matches(&mut self, posting: &Posting) -> Option<bool> {
        let entry = self
            .table
            .entries
            .get(usize::try_from(posting.entry).ok()?)?;
        let route = &*entry.route;
        Some(
            posting.port.is_none_or(|port| port == self.query.port)
                && self.method(route)
                && self.server_name(route)
                && self
                    .struck
                    .is_none_or(|struck| !struck.contains(entry.index))
                && route.headers.iter().all(|test| self.header(test))
                && self.path(posting.path, &entry.paths),
        )
    }

    /// The last condition: where it holds, `regex_matched` is the new best entry's.
    fn path(&mut self, check: PathCheck, paths: &Paths) -> bool {
        let path = self.query.path;
        let matched = match (check, paths) {
            (PathCheck::Done, _) | (_, Paths::Any) => return true,
            (_, Paths::Prefixes { texts, size }) => {
                return path.get(..*size).is_some_and(|start| {
                    texts.binary_search_by(|text| (**text).cmp(start)).is_ok()
                });
            }
            (PathCheck::Regex(index), Paths::Regexes(list)) => usize::try_from(index)
                .ok()
                .and_then(|index| list.get(index))
                .and_then(|regex| regex.matched(path)),
            (PathCheck::All, Paths::Regexes(list)) => {
                list.iter().find_map(|regex| regex.matched(path))
            }
        };
        if matched.is_some() {
            self.regex_matched = matched;
        }
        matched.is_some()
    }

    fn method(&self, route: &Route) -> bool {
        route.methods.is_empty()
            || route
                .methods
                .binary_search_by(|method| (**method).cmp(self.query.method))
                .is_ok()
    }

    fn server_name(&self, route: &Route) -> bool {
        match (&route.snis, self.sni) {
            (None, _) | (_, ServerName::Ignored) => true,
            (Some(_), ServerName::Absent) => false,
            (Some(snis), ServerName::Given(name)) => snis.any(name, |()| true),
        }
    }

    fn header(&mut self, test: &HeaderTest) -> bool {
        let lower = &mut *self.header_value;
        self.query.headers.any(&test.name, &mut |value| {
            lower_into(value, lower);
            test.values
                .binary_search_by(|want| (**want).cmp(lower))
                .is_ok()
                || test.regexes.iter().any(|regex| regex.is_match(value))
        })
    }
}

fn lower_into(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(text.iter().map(u8::to_ascii_lowercase));
}

fn canonical_name_into(name: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(name.iter().map(|byte| {
        if *byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    }));
}

/// An IPv6 address is configured and requested with brackets or without. A dot at the end makes no other host: upstreams
/// drop it, so a route of the name must not be passed by with one.
fn bare(host: &[u8]) -> &[u8] {
    let address = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    address.unwrap_or(host.strip_suffix(b".").unwrap_or(host))
}
