//! Host names and server names: exact, `*.suffix`, `prefix.*`; tables keyed by them.
use ahash::AHashMap;

/// A name pattern in lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum NamePattern {
    Exact(Box<[u8]>),
    /// `.x` of `*.x`: one or more characters before it, dots included.
    Suffix(Box<[u8]>),
    /// `x.` of `x.*`: one or more characters after it, dots included.
    Prefix(Box<[u8]>),
}

impl NamePattern {
    /// Errors in Kong's words where it has them (KONG.md §1.6).
    pub(super) fn parse(text: &str) -> Result<NamePattern, String> {
        let name = text.to_ascii_lowercase();
        let (pattern, fixed) = if let Some(rest) = name.strip_prefix('*') {
            (NamePattern::Suffix(rest.as_bytes().into()), rest)
        } else if let Some(rest) = name.strip_suffix('*') {
            (NamePattern::Prefix(rest.as_bytes().into()), rest)
        } else {
            (NamePattern::Exact(name.as_bytes().into()), &*name)
        };
        if fixed.contains('*') {
            return Err(match text.matches('*').count() {
                1 => "invalid wildcard: must be placed at leftmost or rightmost label".into(),
                _ => "invalid wildcard: must have at most one wildcard".into(),
            });
        }
        let whole_label = match &pattern {
            NamePattern::Exact(_) => true,
            NamePattern::Suffix(_) => fixed.starts_with('.'),
            NamePattern::Prefix(_) => fixed.ends_with('.'),
        };
        if !whole_label {
            return Err("invalid wildcard: must be placed at leftmost or rightmost label".into());
        }
        if fixed.bytes().all(|byte| byte == b'.') {
            return Err(format!("invalid hostname: {text}"));
        }
        Ok(pattern)
    }

    pub(super) fn is_wildcard(&self) -> bool {
        !matches!(self, NamePattern::Exact(_))
    }
}

/// Values by name pattern. A name is looked up once exactly and once per wildcard depth present in the table.
pub(super) struct NameTable<T> {
    exact: AHashMap<Box<[u8]>, T>,
    suffixes: Wildcards<T>,
    prefixes: Wildcards<T>,
}

struct Wildcards<T> {
    by_text: AHashMap<Box<[u8]>, T>,
    /// Bit n: a text with n dots is present; the last bit stands for all above.
    dots: u128,
    /// The longest text, so that an overlong host costs no hashing.
    size_max: usize,
}

impl<T> NameTable<T> {
    /// The value filed under `pattern`, made if absent.
    pub(super) fn slot(&mut self, pattern: &NamePattern) -> &mut T
    where
        T: Default,
    {
        match pattern {
            NamePattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            NamePattern::Suffix(text) => self.suffixes.slot(text),
            NamePattern::Prefix(text) => self.prefixes.slot(text),
        }
    }

    /// Calls `visit` with each value whose pattern matches `name` (lower case), exact first, then longest first,
    /// until it returns true. Says whether it did.
    pub(super) fn any<'t>(&'t self, name: &[u8], mut visit: impl FnMut(&'t T) -> bool) -> bool {
        if self.exact.get(name).is_some_and(&mut visit) {
            return true;
        }
        if self.suffixes.dots != 0 {
            let dot_count = memchr::memchr_iter(b'.', name).count();
            for (index, at) in memchr::memchr_iter(b'.', name).enumerate() {
                let text = name.get(at..).unwrap_or_default();
                let found = if at > 0 {
                    self.suffixes.get(text, dot_count - index)
                } else {
                    None
                };
                if found.is_some_and(&mut visit) {
                    return true;
                }
            }
        }
        if self.prefixes.dots != 0 {
            let dot_count = memchr::memchr_iter(b'.', name).count();
            for (index, at) in memchr::memrchr_iter(b'.', name).enumerate() {
                let text = name.get(..=at).unwrap_or_default();
                let found = if text.len() < name.len() {
                    self.prefixes.get(text, dot_count - index)
                } else {
                    None
                };
                if found.is_some_and(&mut visit) {
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn map<U>(self, mut to: impl FnMut(T) -> U) -> NameTable<U> {
        let mut map = |table: AHashMap<Box<[u8]>, T>| {
            table
                .into_iter()
                .map(|(name, value)| (name, to(value)))
                .collect()
        };
        NameTable {
            exact: map(self.exact),
            suffixes: Wildcards {
                by_text: map(self.suffixes.by_text),
                dots: self.suffixes.dots,
                size_max: self.suffixes.size_max,
            },
            prefixes: Wildcards {
                by_text: map(self.prefixes.by_text),
                dots: self.prefixes.dots,
                size_max: self.prefixes.size_max,
            },
        }
    }
}

impl<T> Wildcards<T> {
    fn slot(&mut self, text: &[u8]) -> &mut T
    where
        T: Default,
    {
        self.dots |= depth_bit(memchr::memchr_iter(b'.', text).count());
        self.size_max = self.size_max.max(text.len());
        self.by_text.entry(text.into()).or_default()
    }

    fn get(&self, text: &[u8], dot_count: usize) -> Option<&T> {
        if self.dots & depth_bit(dot_count) == 0 || text.len() > self.size_max {
            return None;
        }
        self.by_text.get(text)
    }
}

// Derived ones would ask for `T: Default`.
impl<T> Default for NameTable<T> {
    fn default() -> Self {
        NameTable {
            exact: AHashMap::default(),
            suffixes: Wildcards::default(),
            prefixes: Wildcards::default(),
        }
    }
}

impl<T> Default for Wildcards<T> {
    fn default() -> Self {
        Wildcards {
            by_text: AHashMap::default(),
            dots: 0,
            size_max: 0,
        }
    }
}

fn depth_bit(dot_count: usize) -> u128 {
    1 << dot_count.min(127)
}
