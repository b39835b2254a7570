//! Regex paths: compiled so that they match from the first byte, and filed by what they must begin with.
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::limits::{
    ROUTE_REGEX_ALTERNATIONS_MAX, ROUTE_REGEX_CACHE_SIZE_MAX, ROUTE_REGEX_SIZE_MAX,
};

/// A regex path without its `~`.
pub(super) struct PathRegex {
    regex: Regex,
    literal_prefix: Box<[u8]>,
}

impl PathRegex {
    /// Normalised paths are ASCII, for which Unicode mode answers the same at many times the size; a pattern that needs it
    /// to compile (`\p{L}`) gets it.
    pub(super) fn compile(pattern: &str) -> Result<PathRegex, regex::Error> {
        Ok(PathRegex {
            regex: regex(pattern)?,
            literal_prefix: match has_top_level_alternation(pattern) {
                true => Box::default(),
                false => literal_prefix(pattern).into(),
            },
        })
    }

    /// Bytes of `path` that the pattern matches from its start. The leftmost match is at 0 if any match is: the pattern is
    /// anchored as a whole without being wrapped, which an `(?x)` comment would undo.
    pub(super) fn matched(&self, path: &[u8]) -> Option<usize> {
        self.regex
            .find(path)
            .filter(|found| found.start() == 0)
            .map(|found| found.end())
    }

    /// Bytes that every match begins with; empty when not known.
    pub(super) fn literal_prefix(&self) -> &[u8] {
        &self.literal_prefix
    }
}

fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |unicode| {
        RegexBuilder::new(pattern)
            .unicode(unicode)
            .size_limit(ROUTE_REGEX_SIZE_MAX)
            .dfa_size_limit(ROUTE_REGEX_CACHE_SIZE_MAX)
            .build()
    };
    build(false).or_else(|_| build(true))
}

/// One pass that says whether any of `regexes` can match. `None` if they do not compile as one set.
pub(super) fn guard<'r>(regexes: impl Iterator<Item = &'r PathRegex>) -> Option<RegexSet> {
    let patterns: Vec<_> = regexes
        .map(|regex| format!("^(?:{})", regex.regex.as_str()))
        .collect();
    let build = |unicode| {
        RegexSetBuilder::new(&patterns)
            .unicode(unicode)
            .size_limit(ROUTE_REGEX_SIZE_MAX)
            .dfa_size_limit(ROUTE_REGEX_CACHE_SIZE_MAX)
            .build()
    };
    build(false).or_else(|_| build(true)).ok()
}

/// Stops at the first character that is not plainly literal; flags can only be set after a `(`.
fn literal_prefix(pattern: &str) -> Vec<u8> {
    let mut literal = String::new();
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => match chars.next() {
                // `\<` and `\>` are assertions, letters and digits are classes, assertions or code points.
                Some(escaped)
                    if escaped.is_ascii_punctuation() && !matches!(escaped, '<' | '>') =>
                {
                    literal.push(escaped)
                }
                _ => break,
            },
            '.' | '[' | ']' | '(' | ')' | '}' | '^' | '$' | '|' | '+' => break,
            '*' | '?' | '{' => {
                literal.pop();
                break;
            }
            plain => literal.push(plain),
        }
    }
    literal.into_bytes()
}

/// A `|` is at the top level only if what stands before it is a pattern of its own; the regex parser itself is asked,
/// since classes, escapes and comments hide parentheses. Says yes when in doubt.
fn has_top_level_alternation(pattern: &str) -> bool {
    let bars = memchr::memchr_iter(b'|', pattern.as_bytes());
    bars.enumerate().any(|(index, at)| {
        index >= ROUTE_REGEX_ALTERNATIONS_MAX
            || pattern.get(..at).is_none_or(|before| regex(before).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_prefix_is_what_every_match_begins_with() {
        let table: &[(&str, &str)] = &[
            ("/api", "/api"),
            (r"/api/v\d+", "/api/v"),
            (r"/a\.b\-c", "/a.b-c"),
            ("/ab*", "/a"),
            ("/ab?c", "/a"),
            ("/ab{2}", "/a"),
            ("/ab+", "/ab"),
            ("/é*", "/"),
            (r"/a\b", "/a"),
            (r"/a\<b", "/a"),
            (r"/a\x41", "/a"),
            ("/a.b", "/a"),
            ("/a[b]", "/a"),
            ("/a(?i)b", "/a"),
            ("/a(b|c)", "/a"),
            ("/a[|]", "/a"),
            (r"/a\|b", "/a|b"),
            ("/a(?:[(]|b)c", "/a"),
            ("/a|/b", ""),
            ("/a(b)|c", ""),
            ("/a[(]|b", ""),
            ("/a(?x) # (\n |b", ""),
        ];
        for (pattern, want) in table {
            let regex = PathRegex::compile(pattern).expect(pattern);
            assert_eq!(
                String::from_utf8_lossy(regex.literal_prefix()),
                *want,
                "{pattern}"
            );
        }
    }

    #[test]
    fn every_alternative_matches_from_the_start_only() {
        let table: &[(&str, &str, Option<usize>)] = &[
            ("KONG 3.1 not anchored at the end", "/abc", Some(2)),
            (
                "KONG 3.1 deviation: second alternative anchored too",
                "/xx/b",
                None,
            ),
            ("second alternative", "/bcd", Some(2)),
        ];
        let regex = PathRegex::compile("/a|/b").expect("compiles");
        for (rule, path, want) in table {
            assert_eq!(regex.matched(path.as_bytes()), *want, "{rule}");
        }
        let comment = PathRegex::compile("/a(?x)b # to the end").expect("compiles");
        assert_eq!(comment.matched(b"/ab"), Some(3));
        assert_eq!(comment.matched(b"/x/ab"), None);
        let letters = PathRegex::compile(r"/\p{L}+").expect("compiles in Unicode mode");
        assert_eq!(letters.matched(b"/ab1"), Some(3));
    }
}
