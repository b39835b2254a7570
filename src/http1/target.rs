//! Request target and Host (RFC 9112 §3.2, RFC 9110 §7.2).

use super::Error;
use super::fields::Name;
use super::head::{FieldLine, Method, Span, TargetForm, Version};
use std::net::Ipv6Addr;

pub(super) struct Target {
    pub form: TargetForm,
    pub path: Span,
    pub query: Option<Span>,
    /// Of absolute and authority form.
    pub authority: Option<Span>,
}

/// Splits a request target by its form.
///
/// # Errors
/// `TargetByte`, `TargetForm` (authority form without CONNECT and the reverse, `*` without
/// OPTIONS), `TargetScheme`, `TargetAuthority`, `TargetPercent` (as nginx refuses them in a path).
pub(super) fn read(buf: &[u8], method: Method, span: Span) -> Result<Target, Error> {
    let text = span.of(buf);
    check_bytes(text)?;
    if method == Method::Connect {
        return match check_authority(text) {
            Some(Port::Present) => Ok(Target {
                form: TargetForm::Authority,
                path: Span::default(),
                query: None,
                authority: Some(span),
            }),
            Some(Port::Absent) | None => Err(Error::TargetForm),
        };
    }
    match text {
        b"*" if method == Method::Options => Ok(Target {
            form: TargetForm::Asterisk,
            path: Span::default(),
            query: None,
            authority: None,
        }),
        b"*" => Err(Error::TargetForm),
        [b'/', ..] => {
            let (path, query) = split_query(buf, span)?;
            Ok(Target {
                form: TargetForm::Origin,
                path,
                query,
                authority: None,
            })
        }
        _ => read_absolute(buf, span),
    }
}

fn read_absolute(buf: &[u8], span: Span) -> Result<Target, Error> {
    let text = span.of(buf);
    let scheme_end = memchr::memmem::find(text, b"://").ok_or(Error::TargetForm)?;
    let (scheme, rest) = text.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Error::TargetScheme);
    }
    let rest = rest.get("://".len()..).unwrap_or_default();
    let authority_size = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let start = span.start as usize + scheme_end + "://".len();
    let authority = Span::new(start, start + authority_size);
    if check_authority(authority.of(buf)).is_none() {
        return Err(Error::TargetAuthority);
    }
    let after = Span {
        start: authority.end,
        end: span.end,
    };
    let (mut path, query) = split_query(buf, after)?;
    if path.is_empty() {
        // RFC 9110 §4.2.3: an empty path means "/"; the last byte of "://" is one.
        path = Span::new(start - 1, start);
    }
    Ok(Target {
        form: TargetForm::Absolute,
        path,
        query,
        authority: Some(authority),
    })
}

fn split_query(buf: &[u8], span: Span) -> Result<(Span, Option<Span>), Error> {
    let text = span.of(buf);
    let (path, query) = match memchr::memchr(b'?', text) {
        None => (span, None),
        Some(at) => {
            let mark = span.start + at as u32;
            (
                Span {
                    start: span.start,
                    end: mark,
                },
                Some(Span {
                    start: mark + 1,
                    end: span.end,
                }),
            )
        }
    };
    check_path(path.of(buf))?;
    Ok((path, query))
}

/// Bytes a target may hold: anything visible but `#`, and bytes above 0x7f, which clients send
/// unescaped in paths and which cannot be mistaken for a delimiter. A fragment is never sent; of
/// two servers one cuts it off and one does not.
pub(super) fn check_bytes(target: &[u8]) -> Result<(), Error> {
    let is_target_byte = |&byte: &u8| byte > b' ' && byte != 0x7f && byte != b'#';
    if target.iter().all(is_target_byte) && std::str::from_utf8(target).is_ok() {
        Ok(())
    } else {
        Err(Error::TargetByte)
    }
}

/// A path without backslash (some servers take it for a slash, so `/a\..\b` would leave the
/// matched prefix), with whole escapes and without an escaped NUL.
fn check_path(path: &[u8]) -> Result<(), Error> {
    if memchr::memchr(b'\\', path).is_some() {
        return Err(Error::TargetByte);
    }
    for at in memchr::memchr_iter(b'%', path) {
        match path.get(at + 1..at + 3) {
            Some(b"00") => return Err(Error::TargetPercent),
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => return Err(Error::TargetPercent),
        }
    }
    Ok(())
}

/// The Host rules of RFC 9112 §3.2 and §3.2.2; gives the value of Host.
///
/// # Errors
/// `HostMissing` (HTTP/1.1 only), `HostRepeated`, `HostInvalid`, and `HostMismatch` when the target
/// names another authority: RFC 9112 lets the target win, but of two servers one may look at Host.
pub(super) fn check_host(
    buf: &[u8],
    version: Version,
    fields: &[FieldLine],
    target_authority: Option<Span>,
) -> Result<Option<Span>, Error> {
    let mut hosts = fields.iter().filter(|field| field.known == Name::Host);
    let Some(host) = hosts.next() else {
        return match version {
            Version::Http10 => Ok(None),
            Version::Http11 => Err(Error::HostMissing),
        };
    };
    if hosts.next().is_some() {
        return Err(Error::HostRepeated);
    }
    let value = host.value.of(buf);
    if check_authority(value).is_none() {
        return Err(Error::HostInvalid);
    }
    match target_authority {
        Some(authority) if !authority.of(buf).eq_ignore_ascii_case(value) => {
            Err(Error::HostMismatch)
        }
        _ => Ok(Some(host.value)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Port {
    Present,
    Absent,
}

/// `uri-host [":" port]` of RFC 9110 §7.2, narrowed: a name of letters, digits, `-`, `.`, `_`, `~`
/// without empty labels (a dot may end it), an IPv4 address, or an IPv6 address in brackets; a port
/// has one to five digits and fits 16 bits. RFC 3986 allows sub-delims, escapes and an empty port
/// as well; no host that can be configured holds them.
fn check_authority(text: &[u8]) -> Option<Port> {
    let (host_ok, rest) = match text {
        [b'[', inner @ ..] => {
            let close = memchr::memchr(b']', inner)?;
            let (address, rest) = inner.split_at(close);
            let address = std::str::from_utf8(address).ok()?;
            (address.parse::<Ipv6Addr>().is_ok(), rest.get(1..)?)
        }
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            (is_host_name(name), rest)
        }
    };
    if !host_ok {
        return None;
    }
    match rest {
        [] => Some(Port::Absent),
        [b':', digits @ ..] if is_port(digits) => Some(Port::Present),
        _ => None,
    }
}

fn is_host_name(name: &[u8]) -> bool {
    let is_host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    !name.is_empty()
        && !name.starts_with(b".")
        && !name.windows(2).any(|pair| pair == b"..")
        && name.iter().all(is_host_byte)
}

fn is_port(digits: &[u8]) -> bool {
    if !matches!(digits.len(), 1..=5) || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = digits
        .iter()
        .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    value <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_rules() {
        let table: [(&str, &str, Option<Port>); 25] = [
            ("9110 §7.2", "a.test", Some(Port::Absent)),
            ("9110 §7.2", "A-1_b.test.", Some(Port::Absent)),
            ("9110 §7.2", "a.test:8443", Some(Port::Present)),
            ("9110 §7.2", "192.0.2.1:80", Some(Port::Present)),
            ("3986 §3.2.2", "[::1]", Some(Port::Absent)),
            ("3986 §3.2.2", "[2001:db8::1]:443", Some(Port::Present)),
            ("3986 §3.2.2", "[::1", None),
            ("3986 §3.2.2", "[::1]x", None),
            ("3986 §3.2.2", "[fe80::1%25eth0]", None),
            ("3986 §3.2.2", "[192.0.2.1]", None),
            ("3986 §3.2.2", "::1", None),
            ("3986 §3.2.2", "[v1.a]", None),
            ("9110 §4.2.4", "user@a.test", None),
            ("9110 §4.2.4", "user:1@a.test", None),
            ("9110 §4.2.1", "", None),
            ("9110 §4.2.1", ":80", None),
            ("3986 §3.2.3", "a.test:", None),
            ("3986 §3.2.3", "a.test:65535", Some(Port::Present)),
            ("3986 §3.2.3", "a.test:65536", None),
            ("3986 §3.2.3", "a.test:080000", None),
            ("3986 §3.2.3", "a.test:+80", None),
            ("3986 §3.2.3", "a.test:80:80", None),
            ("narrowed", "a..test", None),
            ("narrowed", "a.test,b.test", None),
            ("narrowed", "a.test/", None),
        ];
        for (rule, text, want) in table {
            assert_eq!(check_authority(text.as_bytes()), want, "{rule} {text}");
        }
        assert_eq!(check_authority(b"99999999999999999999"), Some(Port::Absent));
        assert_eq!(check_authority(b"a:99999999999999999999"), None);
    }

    #[test]
    fn targets_split_by_form() {
        type Parts = (
            TargetForm,
            &'static str,
            Option<&'static str>,
            Option<&'static str>,
        );
        use TargetForm::*;
        let table: [(&str, Method, &str, Result<Parts, Error>); 18] = [
            (
                "9112 §3.2.1",
                Method::Get,
                "/",
                Ok((Origin, "/", None, None)),
            ),
            (
                "9112 §3.2.1",
                Method::Get,
                "/a?b?c",
                Ok((Origin, "/a", Some("b?c"), None)),
            ),
            (
                "9112 §3.2.1",
                Method::Get,
                "/?",
                Ok((Origin, "/", Some(""), None)),
            ),
            (
                "9112 §3.2.1",
                Method::Get,
                "//b.test/x",
                Ok((Origin, "//b.test/x", None, None)),
            ),
            (
                "9112 §3.2.2",
                Method::Get,
                "HTTP://a.test/p?q",
                Ok((Absolute, "/p", Some("q"), Some("a.test"))),
            ),
            (
                "9110 §4.2.3",
                Method::Get,
                "https://a.test:1",
                Ok((Absolute, "/", None, Some("a.test:1"))),
            ),
            (
                "9110 §4.2.3",
                Method::Get,
                "http://a.test?q",
                Ok((Absolute, "/", Some("q"), Some("a.test"))),
            ),
            (
                "9112 §3.2.3",
                Method::Connect,
                "a.test:443",
                Ok((Authority, "", None, Some("a.test:443"))),
            ),
            (
                "9112 §3.2.3",
                Method::Connect,
                "a.test",
                Err(Error::TargetForm),
            ),
            ("9112 §3.2.3", Method::Connect, "/", Err(Error::TargetForm)),
            (
                "9112 §3.2.3",
                Method::Get,
                "a.test:443",
                Err(Error::TargetForm),
            ),
            (
                "9112 §3.2.4",
                Method::Options,
                "*",
                Ok((Asterisk, "", None, None)),
            ),
            ("9112 §3.2.4", Method::Get, "*", Err(Error::TargetForm)),
            (
                "9110 §4.2",
                Method::Get,
                "ftp://a/",
                Err(Error::TargetScheme),
            ),
            (
                "9110 §4.2.4",
                Method::Get,
                "http://u@a/",
                Err(Error::TargetAuthority),
            ),
            ("9112 §3.2", Method::Get, "/a#b", Err(Error::TargetByte)),
            ("nginx", Method::Get, "/a%0", Err(Error::TargetPercent)),
            ("nginx", Method::Get, "/a%00", Err(Error::TargetPercent)),
        ];
        for (rule, method, text, want) in table {
            let buf = text.as_bytes();
            let show = |span: Span| std::str::from_utf8(span.of(buf)).expect("from a str");
            let got = read(buf, method, Span::new(0, buf.len())).map(|target| {
                (
                    target.form,
                    show(target.path),
                    target.query.map(show),
                    target.authority.map(show),
                )
            });
            assert_eq!(got, want, "{rule} {text}");
        }
    }
}
