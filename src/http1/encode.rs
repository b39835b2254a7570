//! Appenders for what we send: start lines, field lines, numbers, dates.
//!
//! None of them checks outside of debug builds: names are constants, values come from a parsed head or, where they are
//! configured or of a certificate, went through `plugin::values`.

use super::fields;
use super::head::Version;

/// Appends `METHOD SP path?query SP version CRLF`; a target that is no path stands in the path's place.
pub fn request_line(
    out: &mut Vec<u8>,
    method: &[u8],
    path: &[u8],
    query: Option<&[u8]>,
    version: Version,
) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.push(b' ');
    out.extend_from_slice(version_text(version));
    out.extend_from_slice(b"\r\n");
}

/// Appends `HTTP/1.1 SP status SP reason CRLF` with the status's own phrase.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    status_line_with(
        out,
        Version::Http11,
        status,
        reason_phrase(status).as_bytes(),
    );
}

/// As [`status_line`] with a version and phrase of the caller's, such as a target's own.
pub fn status_line_with(out: &mut Vec<u8>, version: Version, status: u16, reason: &[u8]) {
    out.extend_from_slice(version_text(version));
    out.push(b' ');
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Appends `name: value CRLF`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(field_value_is_safe(value), "{}", value.escape_ascii());
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `name: number CRLF`.
pub fn field_number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the empty line that ends a head.
pub fn head_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    digits(out, value, 10);
}

/// Appends a number in lower-case hex without leading zeros.
pub fn hex(out: &mut Vec<u8>, value: u64) {
    digits(out, value, 16);
}

/// Whether a value can be sent as it is: nothing that ends the line or that a reader may cut at,
/// and no white space at its ends.
fn field_value_is_safe(value: &[u8]) -> bool {
    value.iter().copied().all(fields::is_value_byte) && fields::trim_ows(value).len() == value.len()
}

/// The reason phrase of RFC 9110 §15 (and 428, 429, 431, 511 of RFC 6585); empty for a status without one.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// The text of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub type HttpDate = [u8; 29];

/// Formats seconds since 1970-01-01 UTC; years from 1970 to 9999, later ones wrap to four digits.
pub fn http_date(unix_seconds: u64) -> HttpDate {
    const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = unix_seconds / 86_400;
    let second = unix_seconds % 86_400;
    let (year, month, day) = civil_date(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    put(&mut text, 0, three(WEEKDAYS, days % 7));
    put(&mut text, 5, &two_digits(day));
    put(&mut text, 8, three(MONTHS, month - 1));
    put(&mut text, 12, &two_digits(year / 100));
    put(&mut text, 14, &two_digits(year));
    put(&mut text, 17, &two_digits(second / 3600));
    put(&mut text, 20, &two_digits(second / 60 % 60));
    put(&mut text, 23, &two_digits(second % 60));
    text
}

/// The date of the current second, formatted once per second.
#[derive(Clone, Copy, Debug)]
pub struct DateCache {
    unix_seconds: u64,
    text: HttpDate,
}

impl DateCache {
    pub fn new(unix_seconds: u64) -> DateCache {
        DateCache {
            unix_seconds,
            text: http_date(unix_seconds),
        }
    }

    pub fn at(&mut self, unix_seconds: u64) -> &HttpDate {
        if self.unix_seconds != unix_seconds {
            *self = DateCache::new(unix_seconds);
        }
        &self.text
    }
}

fn version_text(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

fn digits(out: &mut Vec<u8>, mut value: u64, base: u64) {
    let start = out.len();
    loop {
        out.push(hex_digit((value % base) as u8));
        value /= base;
        if value == 0 {
            break;
        }
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

/// Year, month (1 to 12) and day of a day number counted from 1970-01-01: the era method, in which
/// a year starts in March so that the leap day ends it.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn three(names: &[u8], index: u64) -> &[u8] {
    let start = index as usize * 3;
    names.get(start..start + 3).unwrap_or_default()
}

fn two_digits(value: u64) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

fn put(text: &mut HttpDate, at: usize, part: &[u8]) {
    if let Some(place) = text.get_mut(at..at + part.len()) {
        place.copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        let table: [(u64, &str); 7] = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        let mut cache = DateCache::new(0);
        for (seconds, want) in table {
            assert_eq!(cache.at(seconds), want.as_bytes(), "{seconds}");
            assert_eq!(cache.at(seconds), want.as_bytes(), "{seconds} again");
        }
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        for value in [0, 1, 9, 10, 15, 16, 255, 256, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
            out.clear();
            hex(&mut out, value);
            assert_eq!(out, format!("{value:x}").as_bytes());
        }
    }

    #[test]
    fn lines_end_in_crlf() {
        let mut out = Vec::new();
        request_line(&mut out, b"GET", b"/a", None, Version::Http10);
        request_line(&mut out, b"GET", b"/a", Some(b"b"), Version::Http11);
        status_line(&mut out, 404);
        status_line(&mut out, 299);
        field(&mut out, b"A", b"b");
        field_number(&mut out, b"N", 12);
        head_end(&mut out);
        let want = "GET /a HTTP/1.0\r\nGET /a?b HTTP/1.1\r\nHTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\nA: b\r\nN: 12\r\n\r\n";
        assert_eq!(out, want.as_bytes());
    }

    #[test]
    fn values_that_end_a_line_are_unsafe() {
        let table: [(&[u8], bool); 8] = [
            (b"", true),
            (b"a b\tc", true),
            (b"\xc3\xa9", true),
            (b"a\r\nSet-Cookie: x", false),
            (b"a\nb", false),
            (b"a\0b", false),
            (b" a", false),
            (b"a\x7f", false),
        ];
        for (value, want) in table {
            assert_eq!(field_value_is_safe(value), want, "{value:?}");
        }
    }
}
