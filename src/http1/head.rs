//! Request and response heads (RFC 9112 §2 to §5): httparse borrows from the connection's buffer, we keep spans.
//!
//! httparse is lenient where senders and receivers may disagree (bare LF, any number of leading
//! empty lines, raw bytes in a target), so each head passes a second, strict reading here: every
//! line must lie exactly where the one before it ended in CRLF. A head is looked for line by line
//! first when it did not arrive whole, and the place reached is remembered, so that a client
//! sending one byte at a time costs no more than its bytes.

use super::Error;
use super::fields::{self, Name};
use super::scan::{Scan, Side, explain};
use super::target;
use crate::limits::{HEAD_FIELD_COUNT_CAP, HEAD_SIZE_CAP, METHOD_SIZE_MAX};
use std::mem::MaybeUninit;

/// A range of the buffer the head was parsed from; offsets count from the first byte of the head.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The bytes, given the buffer the head was parsed from; empty if `buf` is shorter than that was.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Heads are below `HEAD_SIZE_CAP`, which fits.
    pub(super) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where `part`, a slice of `buf`, lies in it.
    fn locate(buf: &[u8], part: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
        Span::new(start, start.wrapping_add(part.len()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldLine {
    pub name: Span,
    /// Without leading and trailing OWS.
    pub value: Span,
    pub known: Name,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Http10,
    Http11,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Trace,
    Connect,
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 §9.1): `get` is `Other`.
    pub fn of(token: &[u8]) -> Method {
        match token {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }
}

/// The method of a request whose head is refused or was never whole; `None` when not even that could be read.
pub fn method_begun(buf: &[u8]) -> Option<Method> {
    let line = buf.strip_prefix(b"\r\n").unwrap_or(buf);
    let word = line.get(..=METHOD_SIZE_MAX).unwrap_or(line);
    let token = &word[..memchr::memchr(b' ', word)?];
    let is_method = !token.is_empty() && token.iter().copied().all(fields::is_tchar);
    is_method.then(|| Method::of(token))
}

/// RFC 9112 §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetForm {
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// Everything about a request head except its bytes. Reused from request to request (`fields` keeps its capacity).
#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    pub method_span: Span,
    pub target_form: TargetForm,
    /// The whole request target as sent.
    pub target: Span,
    /// Path of the target ("/" for an absolute form without one); empty for authority and asterisk forms.
    pub path: Span,
    /// Query without the `?`; `None` when there is no `?`, empty for a lone one.
    pub query: Option<Span>,
    /// Host: of the absolute-form target if used, else of the Host field, port included. Checked as uri-host[:port].
    pub authority: Option<Span>,
    pub version: Version,
    pub fields: Vec<FieldLine>,
    /// Bytes of the head including the empty line (and an empty line before the request line).
    pub size: usize,
    scan: Scan,
}

impl RequestHead {
    pub fn new() -> RequestHead {
        RequestHead {
            method: Method::Other,
            method_span: Span::default(),
            target_form: TargetForm::Origin,
            target: Span::default(),
            path: Span::default(),
            query: None,
            authority: None,
            version: Version::Http11,
            fields: Vec::new(),
            size: 0,
            scan: Scan::default(),
        }
    }

    /// Forgets a head that was [`Parsed::Partial`], before bytes of another connection are parsed into this one.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.size = 0;
        self.scan = Scan::default();
    }

    /// Value of the first field with this name.
    pub fn first<'b>(&self, buf: &'b [u8], name: Name) -> Option<&'b [u8]> {
        fields::first(&self.fields, buf, name)
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        RequestHead::new()
    }
}

#[derive(Debug)]
pub struct ResponseHead {
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    pub reason: Span,
    pub fields: Vec<FieldLine>,
    pub size: usize,
    scan: Scan,
}

impl ResponseHead {
    pub fn new() -> ResponseHead {
        ResponseHead {
            version: Version::Http11,
            status: 0,
            reason: Span::default(),
            fields: Vec::new(),
            size: 0,
            scan: Scan::default(),
        }
    }

    /// As [`RequestHead::clear`].
    pub fn clear(&mut self) {
        self.fields.clear();
        self.size = 0;
        self.scan = Scan::default();
    }

    /// Value of the first field with this name.
    pub fn first<'b>(&self, buf: &'b [u8], name: Name) -> Option<&'b [u8]> {
        fields::first(&self.fields, buf, name)
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        ResponseHead::new()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    Complete,
    /// More bytes are needed and no bound is exceeded yet.
    Partial,
}

/// Bounds of one head; `limits.rs` caps size and count whatever is set here.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub head_size_max: usize,
    pub field_count_max: usize,
    /// nginx: one line may not exceed one of the large_client_header_buffers (414 for the request line, 400 for a field).
    /// CRLF included.
    pub line_size_max: usize,
}

impl HeadLimits {
    fn capped(self) -> HeadLimits {
        HeadLimits {
            head_size_max: self.head_size_max.min(HEAD_SIZE_CAP),
            field_count_max: self.field_count_max.min(HEAD_FIELD_COUNT_CAP),
            line_size_max: self.line_size_max,
        }
    }
}

/// Parses the request head at the start of `buf`.
///
/// After `Partial`, call again with the same bytes and more behind them (the buffer may have
/// moved); before anything else, [`RequestHead::clear`]. On an error the head's content means
/// nothing.
///
/// # Errors
/// The first rule broken: those of single lines' size and end as soon as they are seen, the others
/// once the head is whole. The verdict is the same however the bytes are split.
pub fn parse_request(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Parsed, Error> {
    let limits = limits.capped();
    // Nearly every head arrives whole. Whatever this refuses is looked at line by line below, so
    // that the verdict does not depend on how much had arrived.
    if head.scan.is_fresh() {
        let within = buf.get(..limits.head_size_max).unwrap_or(buf);
        if read_request(within, &limits, head).is_ok() {
            return Ok(Parsed::Complete);
        }
    }
    let found = head.scan.advance(buf, &limits, Side::Request);
    if let Ok(None) = found {
        return Ok(Parsed::Partial);
    }
    head.scan = Scan::default();
    let whole = buf.get(..found?.unwrap_or(0)).unwrap_or_default();
    match read_request(whole, &limits, head) {
        Ok(()) => Ok(Parsed::Complete),
        Err(Miss::Rule(error)) => Err(error),
        Err(Miss::Syntax) => Err(explain(whole, Side::Request)),
    }
}

/// Parses the response head at the start of `buf`; as [`parse_request`].
///
/// A status line without the space after the status is accepted (RFC 9112 §4 wants it; servers leave it out).
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Parsed, Error> {
    let limits = limits.capped();
    if head.scan.is_fresh() {
        let within = buf.get(..limits.head_size_max).unwrap_or(buf);
        if read_response(within, &limits, head).is_ok() {
            return Ok(Parsed::Complete);
        }
    }
    let found = head.scan.advance(buf, &limits, Side::Response);
    if let Ok(None) = found {
        return Ok(Parsed::Partial);
    }
    head.scan = Scan::default();
    let whole = buf.get(..found?.unwrap_or(0)).unwrap_or_default();
    match read_response(whole, &limits, head) {
        Ok(()) => Ok(Parsed::Complete),
        Err(Miss::Rule(error)) => Err(error),
        Err(Miss::Syntax) => Err(explain(whole, Side::Response)),
    }
}

/// Why a strict reading did not succeed.
enum Miss {
    /// httparse wants more bytes or found an error; [`explain`] names the rule.
    Syntax,
    Rule(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Miss::Rule(error)
    }
}

fn read_request(buf: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<(), Miss> {
    let mut slots = [const { MaybeUninit::<httparse::Header>::uninit() }; HEAD_FIELD_COUNT_CAP];
    let slots = slots.get_mut(..limits.field_count_max).unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    let size = match parsed.parse_with_uninit_headers(buf, slots) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) | Err(_) => return Err(Miss::Syntax),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Miss::Syntax);
    };

    // RFC 9112 §2.2: one empty line before the request line is tolerated.
    let method_span = Span::locate(buf, method.as_bytes());
    let line_start = method_span.start as usize;
    if line_start != 0 && !(line_start == 2 && buf.starts_with(b"\r\n")) {
        return Err(Error::Method.into());
    }
    if method.len() > METHOD_SIZE_MAX {
        return Err(Error::Method.into());
    }
    // RFC 9112 §3: httparse has seen one space on either side of the target, and the version.
    let target_span = Span::locate(buf, target.as_bytes());
    let line_end = expect_crlf(buf, target_span.end as usize + " HTTP/1.1".len())?;
    if line_end - line_start > limits.line_size_max {
        return Err(Error::RequestLineTooLong.into());
    }
    read_fields(
        buf,
        line_end,
        size,
        limits,
        parsed.headers,
        &mut head.fields,
    )?;

    head.size = size;
    head.method = Method::of(method.as_bytes());
    head.method_span = method_span;
    head.version = version_of(minor);
    head.target = target_span;
    let target = target::read(buf, head.method, target_span)?;
    head.target_form = target.form;
    head.path = target.path;
    head.query = target.query;
    let host = target::check_host(buf, head.version, &head.fields, target.authority)?;
    head.authority = target.authority.or(host);
    Ok(())
}

fn read_response(buf: &[u8], limits: &HeadLimits, head: &mut ResponseHead) -> Result<(), Miss> {
    let mut slots = [const { MaybeUninit::<httparse::Header>::uninit() }; HEAD_FIELD_COUNT_CAP];
    let slots = slots.get_mut(..limits.field_count_max).unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let size = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        buf,
        slots,
    ) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) | Err(_) => return Err(Miss::Syntax),
    };
    let (Some(minor), Some(status)) = (parsed.version, parsed.code) else {
        return Err(Miss::Syntax);
    };
    // httparse skips empty lines before a status line; RFC 9112 allows none.
    if !buf.starts_with(b"HTTP/1.") || status < 100 {
        return Err(Error::StatusLine.into());
    }
    // httparse gives no reason phrase when it holds bytes above 0x7f, so we look for its end.
    let reason_start = "HTTP/1.1 200 ".len();
    let newline = memchr::memchr(b'\n', buf).ok_or(Miss::Syntax)?;
    let reason_end = newline.saturating_sub(1);
    let line_end = expect_crlf(buf, reason_end)?;
    if line_end > limits.line_size_max {
        return Err(Error::FieldLineTooLong.into());
    }
    read_fields(
        buf,
        line_end,
        size,
        limits,
        parsed.headers,
        &mut head.fields,
    )?;

    head.size = size;
    head.version = version_of(minor);
    head.status = status;
    head.reason = Span::new(reason_start.min(reason_end), reason_end);
    Ok(())
}

/// Takes over httparse's fields, holding each to RFC 9112 §5: it starts where the line before it
/// ended, and ends in CRLF.
fn read_fields(
    buf: &[u8],
    start: usize,
    size: usize,
    limits: &HeadLimits,
    parsed: &[httparse::Header<'_>],
    fields: &mut Vec<FieldLine>,
) -> Result<(), Miss> {
    fields.clear();
    let mut at = start;
    for header in parsed {
        let name = Span::locate(buf, header.name.as_bytes());
        if name.start as usize != at {
            return Err(Miss::Syntax);
        }
        let value = Span::locate(buf, header.value);
        let after = buf.get(value.end as usize..).unwrap_or_default();
        let ows = after
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let end = expect_crlf(buf, value.end as usize + ows)?;
        if end - at > limits.line_size_max {
            return Err(Error::FieldLineTooLong.into());
        }
        at = end;
        fields.push(FieldLine {
            name,
            value,
            known: Name::of(header.name.as_bytes()),
        });
    }
    if expect_crlf(buf, at)? == size {
        Ok(())
    } else {
        Err(Miss::Syntax)
    }
}

/// The offset behind the CRLF at `at`.
fn expect_crlf(buf: &[u8], at: usize) -> Result<usize, Miss> {
    match buf.get(at..at + 2) {
        Some(b"\r\n") => Ok(at + 2),
        _ => Err(Miss::Syntax),
    }
}

fn version_of(minor: u8) -> Version {
    match minor {
        0 => Version::Http10,
        _ => Version::Http11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_size_max: 256,
        field_count_max: 4,
        line_size_max: 64,
    };

    #[test]
    fn spans_point_at_the_parts_of_a_request() {
        let buf = b"\r\nGET /a?b=c HTTP/1.1\r\nHost: x.test:80 \r\nEmpty:\t\r\n\r\nrest";
        let mut head = RequestHead::new();
        assert_eq!(parse_request(buf, &LIMITS, &mut head), Ok(Parsed::Complete));
        assert_eq!(head.method, Method::Get);
        assert_eq!(head.method_span.of(buf), b"GET");
        assert_eq!(head.target.of(buf), b"/a?b=c");
        assert_eq!(head.path.of(buf), b"/a");
        assert_eq!(head.query.map(|span| span.of(buf)), Some(&b"b=c"[..]));
        assert_eq!(
            head.authority.map(|span| span.of(buf)),
            Some(&b"x.test:80"[..])
        );
        assert_eq!(head.first(buf, Name::Host), Some(&b"x.test:80"[..]));
        assert_eq!(head.fields.len(), 2);
        assert!(head.fields[1].value.is_empty());
        assert_eq!(head.size, buf.len() - "rest".len());
    }

    #[test]
    fn spans_point_at_the_parts_of_a_response() {
        let table: [(&[u8], u16, &[u8]); 4] = [
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200, b"OK"),
            (b"HTTP/1.0 404 \r\nA: b\r\n\r\n", 404, b""),
            (b"HTTP/1.1 204\r\nA: b\r\n\r\n", 204, b""),
            (
                b"HTTP/1.1 500 \xc3\xa9 x\r\nA: b\r\n\r\n",
                500,
                b"\xc3\xa9 x",
            ),
        ];
        let mut head = ResponseHead::new();
        for (buf, status, reason) in table {
            assert_eq!(
                parse_response(buf, &LIMITS, &mut head),
                Ok(Parsed::Complete)
            );
            assert_eq!((head.status, head.reason.of(buf)), (status, reason));
            assert_eq!(head.size, buf.len());
            assert_eq!(head.fields[0].value.of(buf), b"b");
        }
    }

    /// Both sides of each bound, in bytes with CRLF.
    #[test]
    fn bounds_of_lines_count_and_head() {
        let request = |target: usize, lines: &[usize]| {
            let mut buf = format!("GET /{} HTTP/1.1\r\nHost: x\r\n", "p".repeat(target - 1));
            for size in lines {
                buf += &format!("a: {}\r\n", "v".repeat(size - 5));
            }
            buf + "\r\n"
        };
        let table = [
            ("request line of 64", request(49, &[]), Ok(Parsed::Complete)),
            (
                "request line of 65",
                request(50, &[]),
                Err(Error::RequestLineTooLong),
            ),
            ("field line of 64", request(1, &[64]), Ok(Parsed::Complete)),
            (
                "field line of 65",
                request(1, &[65]),
                Err(Error::FieldLineTooLong),
            ),
            ("4 fields", request(1, &[8, 8, 8]), Ok(Parsed::Complete)),
            (
                "5 fields",
                request(1, &[8, 8, 8, 8]),
                Err(Error::TooManyFields),
            ),
            (
                "head of 256",
                request(49, &[64, 64, 53]),
                Ok(Parsed::Complete),
            ),
            (
                "head of 257",
                request(49, &[64, 64, 54]),
                Err(Error::HeadTooLarge),
            ),
        ];
        for (name, buf, want) in table {
            let mut head = RequestHead::new();
            assert_eq!(
                parse_request(buf.as_bytes(), &LIMITS, &mut head),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn endless_heads_are_refused_before_their_end() {
        let table: [(String, Error); 4] = [
            (
                format!("GET /{}", "a".repeat(64)),
                Error::RequestLineTooLong,
            ),
            (
                format!("GET / HTTP/1.1\r\na: {}", "a".repeat(64)),
                Error::FieldLineTooLong,
            ),
            (
                format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(5)),
                Error::TooManyFields,
            ),
            ("A".repeat(METHOD_SIZE_MAX + 1), Error::Method),
        ];
        for (buf, want) in table {
            let mut head = RequestHead::new();
            assert_eq!(
                parse_request(buf.as_bytes(), &LIMITS, &mut head),
                Err(want),
                "{buf}"
            );
        }
    }

    #[test]
    fn the_method_of_a_refused_head_is_read_where_it_can_be() {
        let table: [(&[u8], Option<Method>); 9] = [
            (b"HEAD / HTTP/1.1\r\nHost", Some(Method::Head)),
            (b"\r\nHEAD \x01", Some(Method::Head)),
            (b"HEAD ", Some(Method::Head)),
            (b"GET / HTTP/9.9\r\n", Some(Method::Get)),
            (b"head /", Some(Method::Other)),
            (b"HEAD", None),
            (b"HEAD\r\n x", None),
            (b" HEAD /", None),
            (b"", None),
        ];
        for (buf, want) in table {
            assert_eq!(method_begun(buf), want, "{buf:?}");
        }
        let long = "A".repeat(METHOD_SIZE_MAX) + " /";
        assert_eq!(method_begun(long.as_bytes()), Some(Method::Other));
        assert_eq!(method_begun(format!("A{long}").as_bytes()), None);
    }

    #[test]
    fn a_byte_at_a_time_is_searched_once() {
        let mut head = RequestHead::new();
        let buf = b"GET / HTTP/1.1\r\nHost: x\r\nab: cd\r\n\r\n";
        for size in 1..buf.len() {
            assert_eq!(
                parse_request(&buf[..size], &LIMITS, &mut head),
                Ok(Parsed::Partial)
            );
            assert_eq!(head.scan.searched, size);
        }
        assert_eq!(parse_request(buf, &LIMITS, &mut head), Ok(Parsed::Complete));
        assert!(head.scan.is_fresh());
    }

    #[test]
    fn cleared_head_parses_another_connections_bytes() {
        let mut head = RequestHead::new();
        let one = b"POST /long/enough HTTP/1.1\r\nHost: other.test\r\nA: b";
        assert_eq!(parse_request(one, &LIMITS, &mut head), Ok(Parsed::Partial));
        head.clear();
        let two = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nand forty more bytes of content behind it";
        assert_eq!(parse_request(two, &LIMITS, &mut head), Ok(Parsed::Complete));
        assert_eq!(head.method, Method::Get);
    }

    /// The strict reading (httparse) and the explaining one (ours) must draw the same lines, in
    /// lines long enough for httparse's vector code too.
    #[test]
    fn each_byte_is_judged_alike_by_both_readings() {
        let limits = HeadLimits {
            line_size_max: 256,
            ..LIMITS
        };
        let judge = |method: &[u8], line: &[u8]| {
            let buf = [method, b" / HTTP/1.1\r\nHost: x\r\n", line, b"\r\n\r\n"].concat();
            parse_request(&buf, &limits, &mut RequestHead::new()) == Ok(Parsed::Complete)
        };
        for byte in 0..=255u8 {
            if !matches!(byte, b'\r' | b'\n' | b' ') {
                let method = [b"G", &[byte][..], b"T"].concat();
                let want = fields::is_tchar(byte);
                assert_eq!(judge(&method, b"a: b"), want, "{byte:#x} in a method");
            }
            if matches!(byte, b'\r' | b'\n' | b':') {
                continue;
            }
            for padding in [&b""[..], &[b'p'; 7], &[b'p'; 40]] {
                let name = [padding, &[byte], padding, b"n: v"].concat();
                let value = [b"n: v", padding, &[byte], padding, b"v"].concat();
                for (line, want) in [
                    (&name, fields::is_tchar(byte)),
                    (&value, fields::is_value_byte(byte)),
                ] {
                    assert_eq!(judge(b"GET", line), want, "{byte:#x} in {line:?}");
                    assert_eq!(fields::check_line(line).is_ok(), want, "{byte:#x}");
                }
            }
        }
    }
}
