//! Where a message's content ends (RFC 9112 §6) and whether its connection goes on (§9.3).
//!
//! Framing is never inherited: whoever forwards a message writes Content-Length or
//! Transfer-Encoding anew from the [`Framing`] found here, so a peer sees one reading only.

use super::Error;
use super::fields::{self, ConnectionOptions, Name, tokens};
use super::head::{FieldLine, Method, RequestHead, ResponseHead, Version};

/// How the end of the content is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No content, whatever the fields say.
    None,
    /// Exactly this many bytes follow.
    Length { remaining: u64 },
    /// Chunks, then a trailer section.
    Chunked,
    /// Everything until the sender closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether no byte of content follows.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length { remaining: 0 })
    }
}

/// RFC 9112 §6.3 for requests: none of the two fields means no content.
///
/// # Errors
/// Any Content-Length or Transfer-Encoding that two servers could read in two ways; 501 for a list
/// of known shape that holds a coding besides `chunked`.
pub fn request_framing(head: &RequestHead, buf: &[u8]) -> Result<Framing, Error> {
    let declared = declared_framing(head.version, &head.fields, buf)?;
    Ok(declared.unwrap_or(Framing::None))
}

/// RFC 9112 §6.3 for responses to a request with `request_method`.
///
/// The fields are checked even where they frame nothing (HEAD, 304). After a 101, or a 2xx to
/// CONNECT, what follows is no content of this message: `None`.
///
/// # Errors
/// As [`request_framing`]; `FramingForbidden` for either field on 1xx and 204. `Content-Length: 0`
/// on a 204 is accepted: servers send it, and it reads one way only. It must not be forwarded.
pub fn response_framing(
    head: &ResponseHead,
    buf: &[u8],
    request_method: Method,
) -> Result<Framing, Error> {
    let declared = declared_framing(head.version, &head.fields, buf)?;
    match (head.status, declared) {
        (100..=199, Some(_)) => Err(Error::FramingForbidden),
        (204, Some(Framing::Length { remaining: 0 })) => Ok(Framing::None),
        (204, Some(_)) => Err(Error::FramingForbidden),
        (100..=199 | 204 | 304, _) => Ok(Framing::None),
        (200..=299, _) if request_method == Method::Connect => Ok(Framing::None),
        _ if request_method == Method::Head => Ok(Framing::None),
        (_, declared) => Ok(declared.unwrap_or(Framing::UntilClose)),
    }
}

/// Whether the client waits for a 100 before it sends content (RFC 9110 §10.1.1).
///
/// # Errors
/// `Expectation` (417) for any other expectation. An HTTP/1.0 client's is ignored.
pub fn expects_continue(head: &RequestHead, buf: &[u8]) -> Result<bool, Error> {
    if head.version == Version::Http10 {
        return Ok(false);
    }
    let mut expected = false;
    for value in fields::values(&head.fields, buf, Name::Expect) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Error::Expectation);
        }
        expected = true;
    }
    Ok(expected)
}

fn declared_framing(
    version: Version,
    fields: &[FieldLine],
    buf: &[u8],
) -> Result<Option<Framing>, Error> {
    let length = only(
        fields,
        buf,
        Name::ContentLength,
        Error::ContentLengthRepeated,
    )?;
    let coding = only(
        fields,
        buf,
        Name::TransferEncoding,
        Error::TransferEncodingRepeated,
    )?;
    match (length, coding) {
        (None, None) => Ok(None),
        (Some(value), None) => content_length(value).map(Some),
        // RFC 9112 §6.3 lets Transfer-Encoding win and §11.2 says what comes of it.
        (Some(_), Some(_)) => Err(Error::ContentLengthWithTransferEncoding),
        (None, Some(_)) if version == Version::Http10 => Err(Error::TransferEncodingInHttp10),
        (None, Some(value)) => transfer_encoding(value).map(Some),
    }
}

fn only<'b>(
    fields: &[FieldLine],
    buf: &'b [u8],
    name: Name,
    repeated: Error,
) -> Result<Option<&'b [u8]>, Error> {
    let mut values = fields::values(fields, buf, name);
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(repeated),
    }
}

/// 1 to 19 digits below 2^63: what a peer with signed lengths still reads as we do. No list, even
/// of equal numbers (RFC 9112 §6.3 allows to accept that one).
fn content_length(value: &[u8]) -> Result<Framing, Error> {
    if !matches!(value.len(), 1..=19) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Error::ContentLengthInvalid);
    }
    let remaining = value
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if remaining > i64::MAX as u64 {
        return Err(Error::ContentLengthInvalid);
    }
    Ok(Framing::Length { remaining })
}

fn transfer_encoding(value: &[u8]) -> Result<Framing, Error> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    // RFC 9112 §6.1: 501 for a coding we do not decode, if the end of the content is beyond doubt.
    let is_chunked = |token: &[u8]| token.eq_ignore_ascii_case(b"chunked");
    let chunked_count = tokens(value).filter(|token| is_chunked(token)).count();
    let is_list_of_tokens = value
        .split(|&byte| byte == b',')
        .map(fields::trim_ows)
        .all(|token| !token.is_empty() && token.iter().copied().all(fields::is_tchar));
    if is_list_of_tokens && chunked_count == 1 && tokens(value).last().is_some_and(is_chunked) {
        Err(Error::TransferEncodingUnsupported)
    } else {
        Err(Error::TransferEncodingInvalid)
    }
}

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    Persist,
    Close(CloseCause),
}

/// The first reason, in the order the table of [`downstream_persistence`] and [`upstream_persistence`] is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The connection is a tunnel now, or was.
    Upgraded,
    /// Content that was not read or written to its end: the next message's start is unknown.
    ContentUnfinished,
    /// The close itself is the end of the content.
    UntilClose,
    /// The peer said `Connection: close`.
    PeerCloses,
    /// HTTP/1.0 without `Connection: keep-alive`.
    Http10,
    /// Bytes nobody asked for behind the response.
    StrayBytes,
    Draining,
    RequestCount,
}

/// One finished exchange as the client's connection saw it.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamExchange {
    pub version: Version,
    pub options: ConnectionOptions,
    /// The request's content was read to its end, so that the next byte starts a request.
    pub content_read: bool,
    /// The response was written to its end.
    pub response_written: bool,
    /// How the response was framed towards this client.
    pub response_framing: Framing,
    pub upgraded: bool,
    pub draining: bool,
    /// Requests of this connection so far, this one included.
    pub request_count: u64,
    /// `nginx keepalive_requests`.
    pub request_count_max: u64,
}

/// Whether the client's connection serves another request (RFC 9112 §9.3).
pub fn downstream_persistence(exchange: &DownstreamExchange) -> Persistence {
    let causes = [
        (exchange.upgraded, CloseCause::Upgraded),
        (
            !exchange.content_read || !exchange.response_written,
            CloseCause::ContentUnfinished,
        ),
        (
            exchange.response_framing == Framing::UntilClose,
            CloseCause::UntilClose,
        ),
        (exchange.options.close(), CloseCause::PeerCloses),
        (
            exchange.version == Version::Http10 && !exchange.options.keep_alive(),
            CloseCause::Http10,
        ),
        (exchange.draining, CloseCause::Draining),
        (
            exchange.request_count >= exchange.request_count_max,
            CloseCause::RequestCount,
        ),
    ];
    first_cause(&causes)
}

/// One finished exchange as the target's connection saw it.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamExchange {
    pub version: Version,
    pub options: ConnectionOptions,
    pub status: u16,
    /// The request was written to its end.
    pub request_written: bool,
    pub response_framing: Framing,
    /// The response's content was read to its end.
    pub response_read: bool,
    /// Bytes were left behind the response, where nothing may be before the next request.
    pub stray_bytes: bool,
    /// Requests of this connection so far, this one included.
    pub request_count: u64,
    pub request_count_max: u64,
}

/// Whether the target's connection may go back to the pool.
pub fn upstream_persistence(exchange: &UpstreamExchange) -> Persistence {
    let causes = [
        (exchange.status == 101, CloseCause::Upgraded),
        (
            !exchange.request_written || !exchange.response_read,
            CloseCause::ContentUnfinished,
        ),
        (
            exchange.response_framing == Framing::UntilClose,
            CloseCause::UntilClose,
        ),
        (exchange.stray_bytes, CloseCause::StrayBytes),
        (exchange.options.close(), CloseCause::PeerCloses),
        (
            exchange.version == Version::Http10 && !exchange.options.keep_alive(),
            CloseCause::Http10,
        ),
        (
            exchange.request_count >= exchange.request_count_max,
            CloseCause::RequestCount,
        ),
    ];
    first_cause(&causes)
}

fn first_cause(causes: &[(bool, CloseCause)]) -> Persistence {
    match causes.iter().find(|(applies, _)| *applies) {
        Some(&(_, cause)) => Persistence::Close(cause),
        None => Persistence::Persist,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{HeadLimits, Parsed, Span, parse_request};

    fn options(value: &[u8]) -> ConnectionOptions {
        let field = FieldLine {
            name: Span::default(),
            value: Span::new(0, value.len()),
            known: Name::Connection,
        };
        ConnectionOptions::of(&[field], value)
    }

    #[test]
    fn client_connection_persists_only_without_a_cause_to_close() {
        let base = DownstreamExchange {
            version: Version::Http11,
            options: ConnectionOptions::default(),
            content_read: true,
            response_written: true,
            response_framing: Framing::Length { remaining: 0 },
            upgraded: false,
            draining: false,
            request_count: 1,
            request_count_max: 100,
        };
        let http10 = DownstreamExchange {
            version: Version::Http10,
            ..base
        };
        use CloseCause::*;
        use Persistence::*;
        let table = [
            ("9112 §9.3 1.1 persists", base, Persist),
            ("9112 §9.3 1.0 does not", http10, Close(Http10)),
            (
                "9112 §9.3 1.0 keep-alive",
                DownstreamExchange {
                    options: options(b"Keep-Alive"),
                    ..http10
                },
                Persist,
            ),
            (
                "9112 §9.3 1.0 keep-alive and close",
                DownstreamExchange {
                    options: options(b"keep-alive, close"),
                    ..http10
                },
                Close(PeerCloses),
            ),
            (
                "9112 §9.6 close",
                DownstreamExchange {
                    options: options(b"CLOSE"),
                    ..base
                },
                Close(PeerCloses),
            ),
            (
                "9112 §9.3 chunked response",
                DownstreamExchange {
                    response_framing: Framing::Chunked,
                    ..base
                },
                Persist,
            ),
            (
                "9112 §6.3 close-delimited response",
                DownstreamExchange {
                    response_framing: Framing::UntilClose,
                    ..base
                },
                Close(UntilClose),
            ),
            (
                "9112 §9.3 request content left",
                DownstreamExchange {
                    content_read: false,
                    ..base
                },
                Close(ContentUnfinished),
            ),
            (
                "9112 §8 response cut short",
                DownstreamExchange {
                    response_written: false,
                    ..base
                },
                Close(ContentUnfinished),
            ),
            (
                "9110 §7.8 upgraded",
                DownstreamExchange {
                    upgraded: true,
                    ..base
                },
                Close(Upgraded),
            ),
            (
                "draining",
                DownstreamExchange {
                    draining: true,
                    ..base
                },
                Close(Draining),
            ),
            (
                "last but one request",
                DownstreamExchange {
                    request_count: 99,
                    ..base
                },
                Persist,
            ),
            (
                "last request",
                DownstreamExchange {
                    request_count: 100,
                    ..base
                },
                Close(RequestCount),
            ),
        ];
        for (rule, exchange, want) in table {
            assert_eq!(downstream_persistence(&exchange), want, "{rule}");
        }
    }

    #[test]
    fn target_connection_is_pooled_only_without_a_cause_to_close() {
        let base = UpstreamExchange {
            version: Version::Http11,
            options: ConnectionOptions::default(),
            status: 200,
            request_written: true,
            response_framing: Framing::Chunked,
            response_read: true,
            stray_bytes: false,
            request_count: 1,
            request_count_max: 100,
        };
        use CloseCause::*;
        use Persistence::*;
        let table = [
            ("9112 §9.3", base, Persist),
            (
                "early response: request not sent whole",
                UpstreamExchange {
                    request_written: false,
                    ..base
                },
                Close(ContentUnfinished),
            ),
            (
                "response not read whole",
                UpstreamExchange {
                    response_read: false,
                    ..base
                },
                Close(ContentUnfinished),
            ),
            (
                "9112 §6.3 close-delimited",
                UpstreamExchange {
                    response_framing: Framing::UntilClose,
                    ..base
                },
                Close(UntilClose),
            ),
            (
                "9112 §6.3 bytes behind the response",
                UpstreamExchange {
                    stray_bytes: true,
                    ..base
                },
                Close(StrayBytes),
            ),
            (
                "9112 §9.6 close",
                UpstreamExchange {
                    options: options(b"close"),
                    ..base
                },
                Close(PeerCloses),
            ),
            (
                "9112 §9.3 1.0",
                UpstreamExchange {
                    version: Version::Http10,
                    ..base
                },
                Close(Http10),
            ),
            (
                "9112 §9.3 1.0 keep-alive",
                UpstreamExchange {
                    version: Version::Http10,
                    options: options(b"keep-alive"),
                    ..base
                },
                Persist,
            ),
            (
                "9110 §15.2.2 101",
                UpstreamExchange {
                    status: 101,
                    ..base
                },
                Close(Upgraded),
            ),
            (
                "last request",
                UpstreamExchange {
                    request_count: 100,
                    ..base
                },
                Close(RequestCount),
            ),
        ];
        for (rule, exchange, want) in table {
            assert_eq!(upstream_persistence(&exchange), want, "{rule}");
        }
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        let table: [(&str, &str, &str, Result<bool, Error>); 5] = [
            ("9110 §10.1.1", "1.1", "", Ok(false)),
            ("9110 §10.1.1", "1.1", "Expect: 100-Continue\r\n", Ok(true)),
            (
                "9110 §10.1.1",
                "1.1",
                "Expect: tea\r\n",
                Err(Error::Expectation),
            ),
            (
                "9110 §10.1.1",
                "1.1",
                "Expect: 100-continue\r\nExpect: x\r\n",
                Err(Error::Expectation),
            ),
            ("9110 §10.1.1", "1.0", "Expect: 100-continue\r\n", Ok(false)),
        ];
        let limits = HeadLimits {
            head_size_max: 256,
            field_count_max: 8,
            line_size_max: 128,
        };
        for (rule, version, line, want) in table {
            let buf = format!("POST / HTTP/{version}\r\nHost: x\r\n{line}\r\n");
            let mut head = RequestHead::new();
            assert_eq!(
                parse_request(buf.as_bytes(), &limits, &mut head),
                Ok(Parsed::Complete)
            );
            assert_eq!(expects_continue(&head, buf.as_bytes()), want, "{rule}");
        }
    }
}
