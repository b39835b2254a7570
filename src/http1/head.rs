//! Request and response heads: httparse borrows from the connection's buffer, we keep spans.

#[allow(unused_imports)]
use super::Error;
use super::fields::Name;

/// A range of the buffer the head was parsed from; offsets count from the first byte of the head.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    pub start: u32,
    pub end: u32,
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
    /// Bytes of the head including the empty line.
    pub size: usize,
}

#[derive(Debug)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: Span,
    pub fields: Vec<FieldLine>,
    pub size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    Complete,
    /// More bytes are needed and no bound is exceeded yet.
    Partial,
}

#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub head_size_max: usize,
    pub field_count_max: usize,
    /// nginx: one line may not exceed one of the large_client_header_buffers (414 for the request line, 400 for a field).
    pub line_size_max: usize,
}
