//! One error type for HTTP/1.1 syntax; each becomes one status.

use std::fmt;

/// The rule a message broke.
///
/// For a message of a client [`Error::status`] and [`Error::message`] are the answer, after which
/// the connection is closed: where the next request starts is no longer known. For a message of a
/// target every variant is a 502 and the connection is not reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    // ── start line ──
    Malformed,
    RequestLine,
    Method,
    TargetByte,
    TargetForm,
    TargetScheme,
    TargetAuthority,
    TargetPercent,
    Version,
    VersionUnsupported,
    StatusLine,
    // ── size ──
    RequestLineTooLong,
    FieldLineTooLong,
    TooManyFields,
    HeadTooLarge,
    // ── field lines ──
    BareLf,
    LeadingWhitespace,
    ObsFold,
    FieldWithoutColon,
    SpaceBeforeColon,
    FieldName,
    FieldValue,
    // ── Host ──
    HostMissing,
    HostRepeated,
    HostInvalid,
    HostMismatch,
    // ── framing ──
    ContentLengthInvalid,
    ContentLengthRepeated,
    ContentLengthWithTransferEncoding,
    TransferEncodingInvalid,
    TransferEncodingRepeated,
    TransferEncodingInHttp10,
    TransferEncodingUnsupported,
    FramingForbidden,
    Expectation,
    // ── chunked content ──
    ChunkSize,
    ChunkSizeOverflow,
    ChunkExtension,
    ChunkExtensionTooLong,
    ChunkLineEnd,
    ChunkDataEnd,
    TrailerTooLarge,
    TooManyTrailers,
}

impl Error {
    /// Status of the answer to the client whose message broke the rule.
    pub fn status(self) -> u16 {
        match self.answer() {
            Answer::BadRequest | Answer::FieldsTooLarge => 400,
            Answer::UriTooLong => 414,
            Answer::ExpectationFailed => 417,
            Answer::NotImplemented => 501,
            Answer::VersionNotSupported => 505,
        }
    }

    /// Text for the client. KONG.md §3.5 fixes the first four, for the others it names none.
    pub fn message(self) -> &'static str {
        match self.answer() {
            Answer::BadRequest => "Bad request",
            Answer::FieldsTooLarge => "Request header or cookie too large",
            Answer::UriTooLong => "URI too long",
            Answer::ExpectationFailed => "Expectation failed",
            Answer::NotImplemented => "Not implemented",
            Answer::VersionNotSupported => "HTTP version not supported",
        }
    }

    fn answer(self) -> Answer {
        use Error::*;
        match self {
            RequestLineTooLong => Answer::UriTooLong,
            FieldLineTooLong | TooManyFields | HeadTooLarge => Answer::FieldsTooLarge,
            VersionUnsupported => Answer::VersionNotSupported,
            TransferEncodingUnsupported => Answer::NotImplemented,
            Expectation => Answer::ExpectationFailed,
            Malformed
            | RequestLine
            | Method
            | TargetByte
            | TargetForm
            | TargetScheme
            | TargetAuthority
            | TargetPercent
            | Version
            | StatusLine
            | BareLf
            | LeadingWhitespace
            | ObsFold
            | FieldWithoutColon
            | SpaceBeforeColon
            | FieldName
            | FieldValue
            | HostMissing
            | HostRepeated
            | HostInvalid
            | HostMismatch
            | ContentLengthInvalid
            | ContentLengthRepeated
            | ContentLengthWithTransferEncoding
            | TransferEncodingInvalid
            | TransferEncodingRepeated
            | TransferEncodingInHttp10
            | FramingForbidden
            | ChunkSize
            | ChunkSizeOverflow
            | ChunkExtension
            | ChunkExtensionTooLong
            | ChunkLineEnd
            | ChunkDataEnd
            | TrailerTooLarge
            | TooManyTrailers => Answer::BadRequest,
        }
    }

    /// Text for the log.
    pub fn reason(self) -> &'static str {
        use Error::*;
        match self {
            Malformed => "head is not an HTTP/1 message",
            RequestLine => "request line is not three words with one space between them",
            Method => "method is not a token, or longer than a method may be",
            TargetByte => "request target holds a byte a target cannot hold",
            TargetForm => "request target has a form this method does not allow",
            TargetScheme => "request target is absolute with a scheme other than http and https",
            TargetAuthority => "authority of the request target is not uri-host[:port]",
            TargetPercent => "request target has a `%` without two hex digits, or %00",
            Version => "version is not HTTP/ digit . digit",
            VersionUnsupported => "version is neither HTTP/1.0 nor HTTP/1.1",
            StatusLine => "status line is malformed",
            RequestLineTooLong => "request line is longer than one header buffer",
            FieldLineTooLong => "field line is longer than one header buffer",
            TooManyFields => "head has more field lines than allowed",
            HeadTooLarge => "head is larger than all header buffers",
            BareLf => "line ends in LF without CR",
            LeadingWhitespace => "white space before the first field line",
            ObsFold => "field line is folded",
            FieldWithoutColon => "field line has no colon",
            SpaceBeforeColon => "white space between field name and colon",
            FieldName => "field name is not a token",
            FieldValue => "field value holds a control byte",
            HostMissing => "Host is missing",
            HostRepeated => "Host is there more than once",
            HostInvalid => "Host is not uri-host[:port]",
            HostMismatch => "Host differs from the authority of the request target",
            ContentLengthInvalid => "Content-Length is not a decimal number below 2^63",
            ContentLengthRepeated => "Content-Length is there more than once",
            ContentLengthWithTransferEncoding => {
                "Content-Length and Transfer-Encoding are both there"
            }
            TransferEncodingInvalid => "Transfer-Encoding does not end in one `chunked`",
            TransferEncodingRepeated => "Transfer-Encoding is there more than once",
            TransferEncodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 message",
            TransferEncodingUnsupported => "Transfer-Encoding names a coding besides `chunked`",
            FramingForbidden => "status 1xx or 204 with Content-Length or Transfer-Encoding",
            Expectation => "Expect is not 100-continue",
            ChunkSize => "chunk size is not hex digits",
            ChunkSizeOverflow => "chunk size is 2^63 or more, or has over 16 digits",
            ChunkExtension => "chunk extension holds a control byte",
            ChunkExtensionTooLong => "chunk extensions are longer than allowed",
            ChunkLineEnd => "chunk size line does not end in CRLF",
            ChunkDataEnd => "chunk data is not followed by CRLF",
            TrailerTooLarge => "trailer section is larger than allowed",
            TooManyTrailers => "trailer section has more lines than allowed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Error {}

enum Answer {
    BadRequest,
    /// nginx's internal 494, sent as 400.
    FieldsTooLarge,
    UriTooLong,
    ExpectationFailed,
    NotImplemented,
    VersionNotSupported,
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn answers_are_the_ones_of_kong_3_5() {
        let table = [
            (Error::ObsFold, 400, "Bad request"),
            (
                Error::HeadTooLarge,
                400,
                "Request header or cookie too large",
            ),
            (
                Error::FieldLineTooLong,
                400,
                "Request header or cookie too large",
            ),
            (Error::RequestLineTooLong, 414, "URI too long"),
            (Error::Expectation, 417, "Expectation failed"),
            (Error::TransferEncodingUnsupported, 501, "Not implemented"),
            (Error::VersionUnsupported, 505, "HTTP version not supported"),
        ];
        for (error, status, message) in table {
            assert_eq!(
                (error.status(), error.message()),
                (status, message),
                "{error:?}"
            );
        }
    }
}
