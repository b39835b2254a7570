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
    let (method, _) = line_begun(buf);
    (!method.is_empty()).then(|| Method::of(method))
}

/// Method and target of such a request as far as they are there, to be written to a log: nothing of them is checked. A line
/// that begins with no method is all target.
pub fn line_begun(buf: &[u8]) -> (&[u8], &[u8]) {
    let buf = buf.strip_prefix(b"\r\n").unwrap_or(buf);
    let end = memchr::memchr2(b'\r', b'\n', buf).unwrap_or(buf.len());
    let line = &buf[..end];
    let word = line.get(..=METHOD_SIZE_MAX).unwrap_or(line);
    let method = &word[..memchr::memchr(b' ', word).unwrap_or(0)];
    if method.is_empty() || !method.iter().copied().all(fields::is_tchar) {
        return (b"", line);
    }
    let rest = &line[method.len() + 1..];
    let target = match memchr::memrchr(b' ', rest) {
        Some(at) if rest[at + 1..].starts_with(b"HTTP/") => &rest[..at],
        _ => rest,
    };
    (method, target)
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
    parse(buf, limits, head)
}

/// Parses the response head at the start of `buf`; as [`parse_request`].
///
/// A status line without the space after the status is accepted (RFC 9112 §4 wants it; servers leave it out).
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Parsed, Error> {
    parse(buf, limits, head)
}

/// A head that is read strictly, or line by line to name the rule it breaks.
trait Read {
    const SIDE: Side;

    fn scan(&mut self) -> &mut Scan;
    fn read(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<(), Miss>;
}

impl Read for RequestHead {
    const SIDE: Side = Side::Request;

    fn scan(&mut self) -> &mut Scan {
        &mut self.scan
    }

    fn read(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<(), Miss> {
        read_request(buf, limits, self)
    }
}

impl Read for ResponseHead {
    const SIDE: Side = Side::Response;

    fn scan(&mut self) -> &mut Scan {
        &mut self.scan
    }

    fn read(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<(), Miss> {
        read_response(buf, limits, self)
    }
}

fn parse<H: Read>(buf: &[u8], limits: &HeadLimits, head: &mut H) -> Result<Parsed, Error> {
    let limits = limits.capped();
    // Nearly every head arrives whole. Whatever this refuses is looked at line by line below, so
    // that the verdict does not depend on how much had arrived.
    if head.scan().is_fresh() {
        let within = buf.get(..limits.head_size_max).unwrap_or(buf);
        if head.read(within, &limits).is_ok() {
            return Ok(Parsed::Complete);
        }
    }
    let found = head.scan().advance(buf, &limits, H::SIDE);
    if let Ok(None) = found {
        return Ok(Parsed::Partial);
    }
    *head.scan() = Scan::default();
    let whole = buf.get(..found?.unwrap_or(0)).unwrap_or_default();
    match head.read(whole, &limits) {
        Ok(()) => Ok(Parsed::Complete),
        Err(Miss::Rule(error)) => Err(error),
        Err(Miss::Syntax) => Err(explain(whole, H::SIDE)),
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
#[path = "head_tests.rs"]
mod tests;
