//! Names to values: KONG.md §4.1 for certificates, §3.1 and §5.2 for requests. Pure, no rustls type.

use crate::shards::Shards;
use std::fmt;
use std::sync::Arc;

/// Longest name DNS knows; a longer one matches nothing.
const NAME_SIZE_MAX: usize = 255;

/// Certificates by SNI (KONG.md §4.1). A copy shares all names; to change it costs the change (`Shards`).
///
/// Steps of a lookup: the name itself; its first label replaced (`*.rest`, only from three labels on); its last label
/// replaced (`head.*`, from two on); `*`. A wildcard stands for one label.
#[derive(Clone)]
pub struct SniTable<T>(Patterns<T>);

impl<T> Default for SniTable<T> {
    fn default() -> Self {
        Self(Patterns::default())
    }
}

impl<T: Clone> SniTable<T> {
    pub fn with_capacity(names: usize) -> Self {
        Self(Patterns {
            exact: Names::with_capacity(names),
            ..Patterns::default()
        })
    }

    /// Takes a name of an `snis` row; case and one trailing dot do not count. Returns what it replaces.
    /// A `*` that is not a whole first or last label is kept as text, which no client's name equals.
    pub fn insert(&mut self, name: &str, value: T) -> Option<T> {
        self.0.insert(name, value)
    }

    /// As written or otherwise, as for `insert`.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)
    }

    /// `name` as the client sent it. Allocates nothing.
    pub fn lookup(&self, name: &str) -> Option<&T> {
        let Patterns {
            exact,
            left,
            right,
            any,
        } = &self.0;
        with_canonical(name, |name| {
            if let Some(value) = exact.get(name) {
                return Some(value);
            }
            let first = name.find('.');
            let last = name.rfind('.');
            if let (Some(first), Some(last)) = (first, last) {
                let rest = name
                    .get(first + 1..)
                    .filter(|_| first != last && !left.is_empty());
                if let Some(value) = rest.and_then(|rest| left.get(rest)) {
                    return Some(value);
                }
                let head = name.get(..last).filter(|_| !right.is_empty());
                if let Some(value) = head.and_then(|head| right.get(head)) {
                    return Some(value);
                }
            }
            any.as_ref()
        })
        .unwrap_or(any.as_ref())
    }

    pub fn len(&self) -> usize {
        let Patterns {
            exact,
            left,
            right,
            any,
        } = &self.0;
        exact.len() + left.len() + right.len() + usize::from(any.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> fmt::Debug for SniTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniTable")
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

/// Requests by SNI (KONG.md §5.2), with the wildcards of routes (§3.1): `*.x` and `x.*` stand for any number of labels.
/// The most specific entry is taken: exact, then the longest suffix, then the longest prefix, then `*`.
#[derive(Clone)]
pub(crate) struct RouteNames<T>(Patterns<T>);

impl<T> Default for RouteNames<T> {
    fn default() -> Self {
        Self(Patterns::default())
    }
}

impl<T: Clone> RouteNames<T> {
    /// Returns what it replaces.
    pub(crate) fn insert(&mut self, name: &str, value: T) -> Option<T> {
        self.0.insert(name, value)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)
    }

    /// `None`: the client sent no name, which only `*` covers.
    pub(crate) fn lookup(&self, name: Option<&str>) -> Option<&T> {
        let found = name.and_then(|name| with_canonical(name, |name| self.named(name)).flatten());
        found.or(self.0.any.as_ref())
    }

    fn named(&self, name: &str) -> Option<&T> {
        let Patterns {
            exact, left, right, ..
        } = &self.0;
        if let Some(value) = exact.get(name) {
            return Some(value);
        }
        if !left.is_empty() {
            // At least one byte stands for the asterisk: a leading dot is none.
            let suffixes = name.match_indices('.').filter(|(at, _)| *at > 0);
            for (at, _) in suffixes {
                if let Some(value) = name.get(at + 1..).and_then(|rest| left.get(rest)) {
                    return Some(value);
                }
            }
        }
        if !right.is_empty() {
            for (at, _) in name.rmatch_indices('.') {
                if let Some(value) = name.get(..at).and_then(|head| right.get(head)) {
                    return Some(value);
                }
            }
        }
        None
    }
}

/// `name` in the form in which two names that are the same to this module are equal: lower case, without a trailing dot.
pub fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[derive(Clone)]
struct Patterns<T> {
    exact: Names<T>,
    /// `*.rest` by `rest`.
    left: Names<T>,
    /// `head.*` by `head`.
    right: Names<T>,
    any: Option<T>,
}

type Names<T> = Shards<Arc<str>, T>;

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            left: Names::default(),
            right: Names::default(),
            any: None,
        }
    }
}

impl<T: Clone> Patterns<T> {
    fn insert(&mut self, name: &str, value: T) -> Option<T> {
        match Pattern::of(&canonical(name)) {
            Pattern::Any => self.any.replace(value),
            Pattern::Left(rest) => self.left.insert(rest.into(), value),
            Pattern::Right(head) => self.right.insert(head.into(), value),
            Pattern::Exact(name) => self.exact.insert(name.into(), value),
        }
    }

    fn remove(&mut self, name: &str) -> Option<T> {
        match Pattern::of(&canonical(name)) {
            Pattern::Any => self.any.take(),
            Pattern::Left(rest) => self.left.remove(rest),
            Pattern::Right(head) => self.right.remove(head),
            Pattern::Exact(name) => self.exact.remove(name),
        }
    }
}

enum Pattern<'n> {
    Any,
    Left(&'n str),
    Right(&'n str),
    Exact(&'n str),
}

impl<'n> Pattern<'n> {
    /// Of a canonical name.
    fn of(name: &'n str) -> Self {
        if name == "*" {
            Self::Any
        } else if let Some(rest) = name.strip_prefix("*.") {
            Self::Left(rest)
        } else if let Some(head) = name.strip_suffix(".*") {
            Self::Right(head)
        } else {
            Self::Exact(name)
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
                names.insert(pattern, *pattern);
            }
            assert_eq!(names.lookup(*asked).copied(), *want, "{rule}: {asked:?}");
        }
    }
}
