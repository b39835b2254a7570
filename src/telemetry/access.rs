//! Lines of the logs: one exchange, one failed handshake, one error. Pure: bytes are appended to the caller's
//! buffer, nothing is allocated but what the buffer grows by.
//!
//! An exchange is one JSON object (RFC 8259) per line with Kong's names where its log serializer has one. What a
//! peer sent is never trusted to be text: control characters are escaped, and a byte that is not UTF-8 becomes
//! `\xhh`, so a line is always one line of valid JSON.

use super::metrics::Source;
use std::net::{IpAddr, SocketAddr};

/// One exchange. Every `&[u8]` is as the peer sent it.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// When the request's first byte was read (unix milliseconds).
    pub started_ms: u64,
    pub client_ip: IpAddr,
    pub client_port: u16,
    /// The listener's port.
    pub listener_port: u16,
    /// 32 hexadecimal digits, the one in X-Kong-Request-Id.
    pub request_id: &'a str,
    pub method: &'a [u8],
    /// The request target in full, its query included, as Kong logs it.
    pub target: &'a [u8],
    /// `HTTP/1.1`.
    pub http_version: &'a str,
    pub host: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub status: u16,
    /// Bytes of the request as HTTP, head and content.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub latencies: Latencies,
    pub upstream: Option<Upstream<'a>>,
    pub service: Option<Named<'a>>,
    pub route: Option<Named<'a>>,
    pub consumer: Option<Named<'a>>,
    pub tls: Option<Tls<'a>>,
    pub source: Source,
    /// Why the gateway answered itself or gave up.
    pub error: Option<&'a str>,
}

/// Microseconds; written as milliseconds with three decimals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latencies {
    /// In the gateway.
    pub kong_us: u64,
    /// Until the upstream's response head; `None`: no upstream was asked.
    pub proxy_us: Option<u64>,
    /// From the request's first byte to the response's last.
    pub request_us: u64,
}

/// An entity by id and, where it has one, by name (a consumer's username).
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub id: uuid::Uuid,
    pub name: Option<&'a str>,
}

/// The upstream as last tried.
#[derive(Clone, Debug)]
pub struct Upstream<'a> {
    pub address: Option<SocketAddr>,
    /// `None`: it gave no response.
    pub status: Option<u16>,
    /// Connections tried or reused, the first included.
    pub tries: u32,
    /// The connection came from the pool.
    pub reused: bool,
    pub tls: Option<UpstreamTls<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct UpstreamTls<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    /// The name its certificate was held against; `None` when it is not verified.
    pub verified_name: Option<&'a str>,
    pub resumed: bool,
}

/// The client's connection.
#[derive(Clone, Debug)]
pub struct Tls<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    pub group: Option<&'a str>,
    pub sni: Option<&'a str>,
    pub resumed: bool,
    /// `SUCCESS`, `NONE` or `FAILED:reason` (KONG.md §5.7).
    pub client_verify: Option<&'a str>,
    /// Distinguished names, as text.
    pub client_subject: Option<&'a str>,
    pub client_issuer: Option<&'a str>,
    /// Hexadecimal.
    pub client_serial: Option<&'a str>,
}

impl Record<'_> {
    /// One JSON object without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_rfc3339(out, self.started_ms);
        out.push(b'"');
        field_number(out, "started_at", self.started_ms);
        field_ip(out, "client_ip", self.client_ip);
        field_number(out, "client_port", self.client_port.into());
        field_number(out, "listener_port", self.listener_port.into());
        self.write_request(out);
        open(out, "response");
        first_number(out, "status", self.status.into());
        field_number(out, "size", self.bytes_out);
        out.push(b'}');
        open(out, "latencies");
        key(out, "kong");
        write_milliseconds(out, self.latencies.kong_us);
        if let Some(proxy_us) = self.latencies.proxy_us {
            out.push(b',');
            key(out, "proxy");
            write_milliseconds(out, proxy_us);
        }
        out.push(b',');
        key(out, "request");
        write_milliseconds(out, self.latencies.request_us);
        out.push(b'}');
        if let Some(upstream) = &self.upstream {
            upstream.write_json(out);
        }
        named(out, "service", "name", self.service);
        named(out, "route", "name", self.route);
        named(out, "consumer", "username", self.consumer);
        field_text(out, "source", self.source.name());
        optional_text(out, "error", self.error);
        out.push(b'}');
    }

    fn write_request(&self, out: &mut Vec<u8>) {
        open(out, "request");
        key(out, "id");
        write_string(out, self.request_id.as_bytes());
        field_bytes(out, "method", self.method);
        field_bytes(out, "uri", self.target);
        field_text(out, "version", self.http_version);
        if let Some(host) = self.host {
            field_bytes(out, "host", host);
        }
        if let Some(user_agent) = self.user_agent {
            field_bytes(out, "user_agent", user_agent);
        }
        field_number(out, "size", self.bytes_in);
        if let Some(tls) = &self.tls {
            open(out, "tls");
            key(out, "version");
            write_string(out, tls.version.as_bytes());
            field_text(out, "cipher", tls.cipher);
            optional_text(out, "group", tls.group);
            optional_text(out, "sni", tls.sni);
            field_bool(out, "resumed", tls.resumed);
            optional_text(out, "client_verify", tls.client_verify);
            optional_text(out, "client_subject", tls.client_subject);
            optional_text(out, "client_issuer", tls.client_issuer);
            optional_text(out, "client_serial", tls.client_serial);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

impl Upstream<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        open(out, "upstream");
        first_number(out, "tries", self.tries.into());
        field_bool(out, "reused", self.reused);
        if let Some(address) = self.address {
            out.push(b',');
            key(out, "address");
            out.push(b'"');
            write_address(out, address);
            out.push(b'"');
        }
        if let Some(status) = self.status {
            field_number(out, "status", status.into());
        }
        if let Some(tls) = &self.tls {
            open(out, "tls");
            key(out, "version");
            write_string(out, tls.version.as_bytes());
            field_text(out, "cipher", tls.cipher);
            optional_text(out, "verified_name", tls.verified_name);
            field_bool(out, "resumed", tls.resumed);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

/// A TLS handshake that failed, for the error log.
#[derive(Clone, Debug)]
pub struct HandshakeFailure<'a> {
    pub peer: SocketAddr,
    /// The listener's port, or the upstream's.
    pub port: u16,
    pub sni: Option<&'a str>,
    /// The alert sent or received, by its name in RFC 8446 §6.
    pub alert: Option<&'a str>,
    pub reason: &'a str,
}

impl HandshakeFailure<'_> {
    /// The text of an error line, without time and level.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"TLS handshake with client ");
        write_address(out, self.peer);
        out.extend_from_slice(b" failed: ");
        write_text(out, self.reason.as_bytes());
        out.extend_from_slice(b", alert: ");
        write_text(out, self.alert.unwrap_or("none").as_bytes());
        out.extend_from_slice(b", sni: ");
        match self.sni {
            Some(sni) => write_string(out, sni.as_bytes()),
            None => out.extend_from_slice(b"none"),
        }
        out.extend_from_slice(b", port: ");
        write_number(out, self.port.into());
    }
}

/// Kong's log_level, least to most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Emerg,
}

impl Level {
    pub const ALL: [Level; 8] = [
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warn,
        Level::Error,
        Level::Crit,
        Level::Alert,
        Level::Emerg,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Crit => "crit",
            Level::Alert => "alert",
            Level::Emerg => "emerg",
        }
    }

    /// A log_level value; `None`: no such level.
    pub fn parse(text: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == text)
    }
}

/// What stands before an error line's text.
pub fn write_error_head(out: &mut Vec<u8>, now_ms: u64, level: Level) {
    write_rfc3339(out, now_ms);
    out.extend_from_slice(b" [");
    out.extend_from_slice(level.name().as_bytes());
    out.extend_from_slice(b"] ");
}

/// A JSON string (RFC 8259 §7) with its quotes. DEL and the C1 controls are escaped too: they steer terminals.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escape(out, text, true);
    out.push(b'"');
}

/// Text on a line of its own: control characters and invalid UTF-8 escaped, quotes and backslashes as they are.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    escape(out, text, false);
}

fn escape(out: &mut Vec<u8>, text: &[u8], json: bool) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut clean_from = 0;
        let mut index = 0;
        while let Some(&byte) = valid.get(index) {
            let (width, escaped) = match byte {
                b'"' | b'\\' => (1, json),
                0x00..=0x1f | 0x7f => (1, true),
                // U+0080 to U+009F.
                0xc2 => (2, valid.get(index + 1).is_some_and(|&next| next < 0xa0)),
                _ => (1, false),
            };
            if escaped {
                out.extend_from_slice(valid.get(clean_from..index).unwrap_or_default());
                match byte {
                    b'"' => out.extend_from_slice(b"\\\""),
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    0xc2 => {
                        out.extend_from_slice(b"\\u00");
                        write_hex(out, valid.get(index + 1).copied().unwrap_or_default());
                    }
                    _ => {
                        out.extend_from_slice(b"\\u00");
                        write_hex(out, byte);
                    }
                }
                clean_from = index + width;
            }
            index += width;
        }
        out.extend_from_slice(valid.get(clean_from..).unwrap_or_default());
        for &byte in chunk.invalid() {
            out.extend_from_slice(if json { b"\\\\x" } else { b"\\x" });
            write_hex(out, byte);
        }
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T18:34:25.123Z`.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_ms: u64) {
    let (seconds, milliseconds) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    write_number(out, year);
    for (separator, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', second_of_day / 3_600),
        (b':', second_of_day / 60 % 60),
        (b':', second_of_day % 60),
    ] {
        out.push(separator);
        write_digits(out, value, 2);
    }
    out.push(b'.');
    write_digits(out, milliseconds, 3);
    out.push(b'Z');
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar. Years start in March, so
/// that the leap day is a year's last; 400 years are 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}

fn write_milliseconds(out: &mut Vec<u8>, us: u64) {
    write_number(out, us / 1_000);
    out.push(b'.');
    write_digits(out, us % 1_000, 3);
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - length..).unwrap_or_default());
}

/// The last `width` digits, with leading zeros.
fn write_digits(out: &mut Vec<u8>, value: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
    }
}

fn write_hex(out: &mut Vec<u8>, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
}

/// Formatting into a Vec does not fail.
fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _ = std::io::Write::write_fmt(out, format_args!("{value}"));
}

fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    write_display(out, address);
}

fn key(out: &mut Vec<u8>, name: &'static str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// `,"name":{`
fn open(out: &mut Vec<u8>, name: &'static str) {
    out.push(b',');
    key(out, name);
    out.push(b'{');
}

fn first_number(out: &mut Vec<u8>, name: &'static str, value: u64) {
    key(out, name);
    write_number(out, value);
}

fn field_number(out: &mut Vec<u8>, name: &'static str, value: u64) {
    out.push(b',');
    first_number(out, name, value);
}

fn field_bool(out: &mut Vec<u8>, name: &'static str, value: bool) {
    out.push(b',');
    key(out, name);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn field_bytes(out: &mut Vec<u8>, name: &'static str, value: &[u8]) {
    out.push(b',');
    key(out, name);
    write_string(out, value);
}

fn field_text(out: &mut Vec<u8>, name: &'static str, value: &str) {
    field_bytes(out, name, value.as_bytes());
}

fn optional_text(out: &mut Vec<u8>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        field_text(out, name, value);
    }
}

fn field_ip(out: &mut Vec<u8>, name: &'static str, ip: IpAddr) {
    out.push(b',');
    key(out, name);
    out.push(b'"');
    write_display(out, ip);
    out.push(b'"');
}

fn named(out: &mut Vec<u8>, name: &'static str, name_key: &'static str, entity: Option<Named<'_>>) {
    let Some(entity) = entity else {
        return;
    };
    open(out, name);
    key(out, "id");
    let mut text = uuid::Uuid::encode_buffer();
    write_string(
        out,
        entity.id.hyphenated().encode_lower(&mut text).as_bytes(),
    );
    optional_text(out, name_key, entity.name);
    out.push(b'}');
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
