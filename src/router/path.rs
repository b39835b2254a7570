//! Path normalisation and the upstream path (KONG.md §3.1, §3.3); pure.
//!
//! The router matches what [`normalise`] wrote and [`upstream_path`] sends those same bytes: a path has one spelling
//! between the two, so no spelling can be matched as one path and served as another.
//! Kong matches raw bytes outside RFC 3986's set and escapes them afterwards; here they are escaped before matching.
//! Targets read more into a path than RFC 3986 does: nginx takes `..%2F` for `../`, Windows `..%5C`, Tomcat `..;`. A dot
//! segment hidden so would be matched here as a name and resolved there to another route's path, so it is refused.

/// Kong's `path_handling`. In Kong's default router flavour `v1` behaves as `v0`; the caller picks the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handling {
    #[default]
    V0,
    V1,
}

/// Why a request path is refused (status 400). `at` is the byte's index in the path as received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    #[error("the path does not start with '/'")]
    NotAbsolute,
    #[error("byte {at} of the path: '%' is not followed by two hexadecimal digits")]
    Escape { at: usize },
    #[error("byte {at} of the path: a NUL or control byte")]
    Control { at: usize },
    #[error("byte {at} of the path: '?' or '#' is not part of a path")]
    Delimiter { at: usize },
    #[error(
        "a segment of the path is '.' or '..' to whoever decodes '%2F' and '%5C' or cuts at ';'"
    )]
    HiddenDotSegment,
}

/// Writes the one spelling of `path` (no query) into `out`, replacing what it held:
/// - `%XX` of an unreserved character is decoded, every other one kept with upper-case digits (RFC 3986 §6.2.2);
/// - a byte that a path may not hold is escaped;
/// - dot segments are resolved, those above the root dropped (RFC 3986 §5.2.4);
/// - runs of `/` are merged, before dot segments are resolved;
/// - what is a dot segment only to a target that reads more than that is refused.
///
/// The empty path (absolute-form without one) becomes `/`. `%00` is refused, as nginx does.
/// The result is ASCII and normalising it again changes nothing.
pub fn normalise(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    if path.is_empty() {
        out.push(b'/');
        return Ok(());
    }
    if is_normal(path) {
        out.extend_from_slice(path);
        return Ok(());
    }
    let Some((b'/', rest)) = path.split_first() else {
        return Err(PathError::NotAbsolute);
    };
    out.push(b'/');
    let mut segment = out.len();
    let mut bytes = rest.iter().copied().enumerate();
    while let Some((index, byte)) = bytes.next() {
        let at = index + 1;
        match byte {
            b'/' => {
                end_segment(out, segment);
                if out.last() != Some(&b'/') {
                    out.push(b'/');
                }
                segment = out.len();
            }
            b'%' => {
                let mut digit = || bytes.next().and_then(|(_, digit)| hex(digit));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(PathError::Escape { at });
                };
                match high << 4 | low {
                    0 => return Err(PathError::Control { at }),
                    decoded if is_unreserved(decoded) => out.push(decoded),
                    reserved => push_escape(reserved, out),
                }
            }
            b'?' | b'#' => return Err(PathError::Delimiter { at }),
            byte if byte.is_ascii_control() => return Err(PathError::Control { at }),
            byte if is_path_byte(byte) => out.push(byte),
            other => push_escape(other, out),
        }
    }
    end_segment(out, segment);
    if hides_dot_segment(out) {
        return Err(PathError::HiddenDotSegment);
    }
    Ok(())
}

/// What a target may read into a normal path beyond RFC 3986.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// `%2F` and `%5C` are slashes, then parameters are cut off (nginx, Windows, and servlets behind them).
    Separators,
    /// Parameters alone are cut off: `;` to the end of its segment (Tomcat, Jetty).
    Parameters,
}

/// Writes how such a target reads `path` into `out`, replacing what it held; false when there is nothing to read so.
/// `path` is one that `normalise` wrote, so that no dot segment comes of it.
pub fn read_as(reading: Reading, path: &[u8], out: &mut Vec<u8>) -> bool {
    let concerned = match reading {
        Reading::Separators => first_escape(path).is_some(),
        Reading::Parameters => memchr::memchr(b';', path).is_some(),
    };
    if !concerned {
        return false;
    }
    out.clear();
    let mut rest = path;
    while !rest.is_empty() {
        let (size, separator) = match reading {
            Reading::Separators => first_segment(rest),
            Reading::Parameters => match memchr::memchr(b'/', rest) {
                Some(size) => (size, 1),
                None => (rest.len(), 0),
            },
        };
        let segment = rest.get(..size).unwrap_or_default();
        out.extend(segment.iter().take_while(|byte| **byte != b';'));
        if separator > 0 && out.last() != Some(&b'/') {
            out.push(b'/');
        }
        rest = rest.get(size + separator..).unwrap_or_default();
    }
    true
}

/// Writes the path sent upstream into `out`, replacing what it held (KONG.md §3.3).
///
/// `req` is the normalised path; `matched` is `Match::path_matched`. Without a `service_path` it is `/`.
/// What is left after stripping loses a leading dot segment: `/api` stripped from `/api../x` leaves `x`, not `../x`.
/// Bytes a path may not hold are escaped; what is escaped already stays so.
pub fn upstream_path(
    service_path: Option<&[u8]>,
    req: &[u8],
    matched: Option<usize>,
    strip: bool,
    handling: Handling,
    out: &mut Vec<u8>,
) {
    out.clear();
    let base = service_path.filter(|base| !base.is_empty()).unwrap_or(b"/");
    let post = matched
        .filter(|_| strip)
        .map(|matched| without_dot_segment(req.get(matched..).unwrap_or_default()));
    match (handling, post) {
        (Handling::V0, Some(post)) => stripped_v0(base, req, post, out),
        (Handling::V0, None) => whole_v0(base, req, out),
        (Handling::V1, Some(post)) => {
            let post = if base.ends_with(b"/") {
                without_slash(post)
            } else {
                post
            };
            push_path(base, out);
            push_path(post, out);
        }
        (Handling::V1, None) => {
            push_path(base, out);
            push_path(without_slash(req), out);
        }
    }
}

fn whole_v0(base: &[u8], req: &[u8], out: &mut Vec<u8>) {
    push_path(base, out);
    if base.ends_with(b"/") {
        push_path(without_slash(req), out);
    } else if req != b"/" {
        push_path(req, out);
    }
}

fn stripped_v0(base: &[u8], req: &[u8], post: &[u8], out: &mut Vec<u8>) {
    let stem = base.strip_suffix(b"/").unwrap_or(base);
    push_path(stem, out);
    let slash = if !post.is_empty() || base == b"/" {
        true
    } else if base.ends_with(b"/") {
        req.ends_with(b"/")
    } else {
        req.len() > 1 && req.ends_with(b"/")
    };
    if slash {
        out.push(b'/');
    }
    push_path(without_slash(post), out);
}

/// Later segments of `post` are whole segments of a normalised path; only the first can have become a dot segment.
fn without_dot_segment(post: &[u8]) -> &[u8] {
    let (size, separator) = first_segment(post);
    match post.get(..size) {
        Some(segment) if is_dot_segment(segment) => {
            post.get(size + separator..).unwrap_or_default()
        }
        _ => post,
    }
}

/// Of a path whose plain dot segments are resolved already.
fn hides_dot_segment(path: &[u8]) -> bool {
    if memchr::memchr2(b'%', b';', path).is_none() {
        return false;
    }
    let mut rest = path;
    while !rest.is_empty() {
        let (size, separator) = first_segment(rest);
        if rest.get(..size).is_some_and(is_dot_segment) {
            return true;
        }
        rest = rest.get(size + separator..).unwrap_or_default();
    }
    false
}

/// The bytes of the first segment as the most liberal target sees it, and of what ends it.
fn first_segment(path: &[u8]) -> (usize, usize) {
    let slash = memchr::memchr(b'/', path).map(|at| (at, 1));
    let whole = path.get(..slash.map_or(path.len(), |(at, _)| at));
    let escape = first_escape(whole.unwrap_or_default()).map(|at| (at, 3));
    escape.or(slash).unwrap_or((path.len(), 0))
}

/// Where the first `%2F` or `%5C` is.
fn first_escape(path: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'%', path)
        .find(|at| matches!(path.get(at + 1..at + 3), Some(b"2F" | b"5C")))
}

/// `.` or `..`, with parameters (RFC 3986 §3.3) or without.
fn is_dot_segment(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next();
    matches!(name, Some(b"." | b".."))
}

fn without_slash(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

fn push_path(path: &[u8], out: &mut Vec<u8>) {
    for &byte in path {
        if byte == b'%' || is_path_byte(byte) {
            out.push(byte);
        } else {
            push_escape(byte, out);
        }
    }
}

/// Whether nothing needs changing. A `.` or `/` after a `/`, and every `%`, go the long way round.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = b' ';
    for &byte in path {
        if !is_path_byte(byte) || (previous == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        previous = byte;
    }
    path.starts_with(b"/")
}

/// Resolves the segment that starts at `segment` and ends at the end of `out`, if it is a dot segment.
fn end_segment(out: &mut Vec<u8>, segment: usize) {
    match out.get(segment..) {
        Some(b".") => out.truncate(segment),
        Some(b"..") => {
            let parent = segment.saturating_sub(1);
            let keep = out
                .get(..parent)
                .and_then(|above| memchr::memrchr(b'/', above))
                .unwrap_or(0);
            out.truncate(keep + 1);
        }
        _ => {}
    }
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    let digit = |nibble: u8| {
        if nibble < 10 {
            b'0' + nibble
        } else {
            b'A' + nibble - 10
        }
    };
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Unreserved or reserved (RFC 3986 §2.2) without `?` and `#`, which end a path.
/// `[` and `]` are kept although §3.3 leaves them out: clients send them bare and Kong passes them.
fn is_path_byte(byte: u8) -> bool {
    PATH_BYTES[usize::from(byte)]
}

const PATH_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = is_unreserved(byte)
            || matches!(
                byte,
                b'/' | b':'
                    | b'@'
                    | b'['
                    | b']'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
