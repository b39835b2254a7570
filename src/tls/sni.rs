//! Names to values: KONG.md §4.1 for certificates, §3.1 and §5.2 for requests. Pure, no rustls type.

use ahash::RandomState;
use hashbrown::HashMap;
use std::fmt;

/// Longest name DNS knows; a longer one matches nothing.
const NAME_SIZE_MAX: usize = 255;

/// Certificates by SNI (KONG.md §4.1). Filled by `insert`, then only read.
///
/// Steps of a lookup: the name itself; its first label replaced (`*.rest`, only from three labels on); its last label
/// replaced (`head.*`, from two on); `*`. A wildcard stands for one label.
#[derive(Clone)]
pub struct SniTable<T> {
    exact: Names<T>,
    /// `*.rest` by `rest`.
    left: Names<T>,
    /// `head.*` by `head`.
    right: Names<T>,
    any: Option<T>,
}

impl<T> Default for SniTable<T> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            left: Names::default(),
            right: Names::default(),
            any: None,
        }
    }
}

impl<T> SniTable<T> {
    pub fn with_capacity(names: usize) -> Self {
        Self {
            exact: HashMap::with_capacity_and_hasher(names, RandomState::default()),
            ..Self::default()
        }
    }

    /// Takes a name of an `snis` row; case and one trailing dot do not count. Returns what it replaces.
    /// A `*` that is not a whole first or last label is kept as text, which no client's name equals.
    pub fn insert(&mut self, name: &str, value: T) -> Option<T> {
        match Pattern::of(name) {
            Pattern::Any => self.any.replace(value),
            Pattern::Left(rest) => self.left.insert(rest, value),
            Pattern::Right(head) => self.right.insert(head, value),
            Pattern::Exact(name) => self.exact.insert(name, value),
        }
    }

    /// `name` as the client sent it. Allocates nothing.
    pub fn lookup(&self, name: &str) -> Option<&T> {
        with_canonical(name, |name| {
            if let Some(value) = self.exact.get(name) {
                return Some(value);
            }
            let first = name.find('.');
            let last = name.rfind('.');
            if let (Some(first), Some(last)) = (first, last) {
                let rest = name
                    .get(first + 1..)
                    .filter(|_| first != last && !self.left.is_empty());
                if let Some(value) = rest.and_then(|rest| self.left.get(rest)) {
                    return Some(value);
                }
                let head = name.get(..last).filter(|_| !self.right.is_empty());
                if let Some(value) = head.and_then(|head| self.right.get(head)) {
                    return Some(value);
                }
            }
            self.any.as_ref()
        })
        .unwrap_or(self.any.as_ref())
    }

    pub fn len(&self) -> usize {
        self.exact.len() + self.left.len() + self.right.len() + usize::from(self.any.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> fmt::Debug for SniTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniTable")
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

/// Requests by SNI (KONG.md §5.2), with the wildcards of routes (§3.1): `*.x` and `x.*` stand for any number of labels.
/// The most specific entry is taken: exact, then the longest suffix, then the longest prefix, then `*`.
#[derive(Clone)]
pub(crate) struct RouteNames<T> {
    exact: Names<T>,
    left: Names<T>,
    right: Names<T>,
    any: Option<T>,
}

impl<T> Default for RouteNames<T> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            left: Names::default(),
            right: Names::default(),
            any: None,
        }
    }
}

impl<T> RouteNames<T> {
    /// The entry of `name`, made by `new` if there is none.
    pub(crate) fn entry(&mut self, name: &str, new: impl FnOnce() -> T) -> &mut T {
        match Pattern::of(name) {
            Pattern::Any => self.any.get_or_insert_with(new),
            Pattern::Left(rest) => self.left.entry(rest).or_insert_with(new),
            Pattern::Right(head) => self.right.entry(head).or_insert_with(new),
            Pattern::Exact(name) => self.exact.entry(name).or_insert_with(new),
        }
    }

    /// `None`: the client sent no name, which only `*` covers.
    pub(crate) fn lookup(&self, name: Option<&str>) -> Option<&T> {
        let found = name.and_then(|name| with_canonical(name, |name| self.named(name)).flatten());
        found.or(self.any.as_ref())
    }

    fn named(&self, name: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        if !self.left.is_empty() {
            // At least one byte stands for the asterisk: a leading dot is none.
            let suffixes = name.match_indices('.').filter(|(at, _)| *at > 0);
            for (at, _) in suffixes {
                if let Some(value) = name.get(at + 1..).and_then(|rest| self.left.get(rest)) {
                    return Some(value);
                }
            }
        }
        if !self.right.is_empty() {
            for (at, _) in name.rmatch_indices('.') {
                if let Some(value) = name.get(..at).and_then(|head| self.right.get(head)) {
                    return Some(value);
                }
            }
        }
        None
    }

    pub(crate) fn map<U>(self, mut f: impl FnMut(T) -> U) -> RouteNames<U> {
        let mut names = |names: Names<T>| {
            names
                .into_iter()
                .map(|(name, value)| (name, f(value)))
                .collect()
        };
        RouteNames {
            exact: names(self.exact),
            left: names(self.left),
            right: names(self.right),
            any: self.any.map(f),
        }
    }
}

type Names<T> = HashMap<Box<str>, T, RandomState>;

enum Pattern {
    Any,
    Left(Box<str>),
    Right(Box<str>),
    Exact(Box<str>),
}

impl Pattern {
    fn of(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name == "*" {
            Self::Any
        } else if let Some(rest) = name.strip_prefix("*.") {
            Self::Left(rest.into())
        } else if let Some(head) = name.strip_suffix(".*") {
            Self::Right(head.into())
        } else {
            Self::Exact(name.into())
        }
    }
}

/// Calls `f` with `name` in lower case and without a trailing dot; `None` when the name is longer than any name.
fn with_canonical<R>(name: &str, f: impl FnOnce(&str) -> R) -> Option<R> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_SIZE_MAX {
        return None;
    }
    // rustls has lower-cased it already; others may not have.
    let upper = name
        .bytes()
        .fold(false, |found, byte| found | byte.is_ascii_uppercase());
    if !upper {
        return Some(f(name));
    }
    let mut buffer = [0; NAME_SIZE_MAX];
    let lowered = buffer.get_mut(..name.len())?;
    lowered.copy_from_slice(name.as_bytes());
    lowered.make_ascii_lowercase();
    std::str::from_utf8(lowered).ok().map(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_in_the_order_of_kong_4_1() {
        let all = [
            "a.b.example.com",
            "*.b.example.com",
            "*.example.com",
            "example.*",
            "a.example.*",
            "*",
            "*.com",
            "example.com",
        ];
        // (step, names in the table, name asked for, entry found)
        let rows: &[(&str, &[&str], &str, Option<&str>)] = &[
            ("1 exact", &all, "a.b.example.com", Some("a.b.example.com")),
            ("1 case", &all, "A.B.Example.COM", Some("a.b.example.com")),
            ("1 trailing dot", &all, "example.com.", Some("example.com")),
            ("2 *.rest", &all, "z.b.example.com", Some("*.b.example.com")),
            (
                "2 one level only",
                &["*.example.com"],
                "a.b.example.com",
                None,
            ),
            ("2 needs three labels", &["*.com"], "example.com", None),
            (
                "2 before 3",
                &["*.example.com", "a.example.*"],
                "a.example.com",
                Some("*.example.com"),
            ),
            ("3 head.*", &all, "example.org", Some("example.*")),
            ("3 one label only", &["a.*"], "a.example.org", None),
            (
                "3 several labels in head",
                &all,
                "a.example.net",
                Some("a.example.*"),
            ),
            ("3 needs two labels", &["localhost.*"], "localhost", None),
            ("4 *", &all, "localhost", Some("*")),
            ("4 *", &all, "q.w.e.r", Some("*")),
            ("5 nothing", &["example.com"], "example.org", None),
            ("not a whole label", &["*foo.com"], "xfoo.com", None),
            ("empty name", &["example.com"], "", None),
        ];
        for (step, names, asked, want) in rows {
            let mut table = SniTable::default();
            for name in *names {
                assert!(table.insert(name, *name).is_none());
            }
            assert_eq!(table.len(), names.len());
            assert_eq!(table.lookup(asked).copied(), *want, "{step}: {asked}");
        }
    }

    #[test]
    fn a_name_longer_than_dns_allows_finds_only_the_asterisk() {
        let mut table = SniTable::default();
        let long = "a".repeat(NAME_SIZE_MAX + 1);
        table.insert(&long, 1);
        assert_eq!(table.lookup(&long), None);
        table.insert("*", 2);
        assert_eq!(table.lookup(&long), Some(&2));
        assert_eq!(table.lookup(&"A".repeat(NAME_SIZE_MAX)), Some(&2));
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        let mut table = SniTable::default();
        assert_eq!(table.insert("Example.com", 1), None);
        assert_eq!(table.insert("example.com.", 2), Some(1));
        assert_eq!(table.lookup("example.com"), Some(&2));
    }

    #[test]
    fn a_request_is_found_by_kong_5_2_with_the_wildcards_of_3_1() {
        // (rule, entries, name asked for, entry found)
        type Row<'a> = (&'a str, &'a [&'a str], Option<&'a str>, Option<&'a str>);
        let rows: &[Row] = &[
            (
                "5.2 exact",
                &["a.example.com", "*.example.com", "*"],
                Some("a.example.com"),
                Some("a.example.com"),
            ),
            (
                "3.1 any number of labels",
                &["*.example.com"],
                Some("a.b.example.com"),
                Some("*.example.com"),
            ),
            (
                "3.1 longest suffix",
                &["*.example.com", "*.b.example.com"],
                Some("a.b.example.com"),
                Some("*.b.example.com"),
            ),
            (
                "3.1 at least one char",
                &["*.example.com"],
                Some("example.com"),
                None,
            ),
            (
                "3.1 at least one char",
                &["*.example.com"],
                Some(".example.com"),
                None,
            ),
            (
                "3.1 two labels",
                &["*.com"],
                Some("example.com"),
                Some("*.com"),
            ),
            ("3.1 prefix.*", &["a.*"], Some("a.example.com"), Some("a.*")),
            (
                "3.1 longest prefix",
                &["a.*", "a.b.*"],
                Some("a.b.c"),
                Some("a.b.*"),
            ),
            (
                "5.2 unknown name",
                &["a.example.com", "*"],
                Some("b.example.com"),
                Some("*"),
            ),
            ("5.2 no name", &["a.example.com", "*"], None, Some("*")),
            (
                "5.2 no name, no *",
                &["a.example.com", "*.example.com"],
                None,
                None,
            ),
            ("5.2 none", &["a.example.com"], Some("b.example.com"), None),
            (
                "case",
                &["A.Example.com"],
                Some("a.eXample.com"),
                Some("A.Example.com"),
            ),
        ];
        for (rule, patterns, asked, want) in rows {
            let mut names = RouteNames::default();
            for pattern in *patterns {
                names.entry(pattern, || *pattern);
            }
            assert_eq!(
                names.map(|name| name).lookup(*asked).copied(),
                *want,
                "{rule}: {asked:?}"
            );
        }
    }
}
