//! Field names the gateway gives a meaning to, and the syntax of field lines (RFC 9110 §5, RFC 9112 §5).

use super::Error;
use super::head::FieldLine;
use crate::limits::CONNECTION_OPTIONS_MAX;
use std::ops::Range;

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        /// A field name with a meaning here; every other one is `Other`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Name {
            $($variant,)*
            Other,
        }

        impl Name {
            /// Every name but `Other`.
            #[cfg(test)]
            const ALL: &'static [Name] = &[$(Name::$variant,)*];

            /// The name as we write it; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Name::$variant => $text,)*
                    Name::Other => "",
                }
            }
        }
    };
}

names! {
    Te "TE",
    Via "Via",
    Date "Date",
    Host "Host",
    Proxy "Proxy",
    Accept "Accept",
    Cookie "Cookie",
    Expect "Expect",
    Server "Server",
    Trailer "Trailer",
    Upgrade "Upgrade",
    XRealIp "X-Real-IP",
    Connection "Connection",
    KeepAlive "Keep-Alive",
    KongDebug "Kong-Debug",
    UserAgent "User-Agent",
    ContentType "Content-Type",
    Authorization "Authorization",
    ContentLength "Content-Length",
    XForwardedFor "X-Forwarded-For",
    ProxyConnection "Proxy-Connection",
    XForwardedHost "X-Forwarded-Host",
    XForwardedPath "X-Forwarded-Path",
    XForwardedPort "X-Forwarded-Port",
    TransferEncoding "Transfer-Encoding",
    XForwardedProto "X-Forwarded-Proto",
    XKongRequestId "X-Kong-Request-Id",
    ProxyAuthenticate "Proxy-Authenticate",
    XForwardedPrefix "X-Forwarded-Prefix",
    ProxyAuthorization "Proxy-Authorization",
    XKongProxyLatency "X-Kong-Proxy-Latency",
    XKongUpstreamStatus "X-Kong-Upstream-Status",
    XKongResponseLatency "X-Kong-Response-Latency",
    XKongUpstreamLatency "X-Kong-Upstream-Latency",
    // Identity, KONG.md §5.5, §5.8, §5.9.
    XClientCert "X-Client-Cert",
    XConsumerId "X-Consumer-ID",
    XClientCertDn "X-Client-Cert-Dn",
    XClientCertSan "X-Client-Cert-San",
    XConsumerGroups "X-Consumer-Groups",
    XConsumerUsername "X-Consumer-Username",
    XAnonymousConsumer "X-Anonymous-Consumer",
    XClientCertSerial "X-Client-Cert-Serial",
    XConsumerCustomId "X-Consumer-Custom-ID",
    XAuthenticatedGroups "X-Authenticated-Groups",
    XClientCertIssuerDn "X-Client-Cert-Issuer-DN",
    XCredentialIdentifier "X-Credential-Identifier",
    XClientCertSubjectDn "X-Client-Cert-Subject-DN",
    XClientCertFingerprint "X-Client-Cert-Fingerprint",
}

impl Name {
    /// The meaning of a field name, letter case aside.
    ///
    /// In identity names an underscore counts as a dash: CGI and WSGI servers show an application
    /// `X_Consumer_ID` and `X-Consumer-ID` under one name. In other names it does not:
    /// `Content_Length` frames nothing.
    pub fn of(name: &[u8]) -> Name {
        if let Some(found) = find(plain_candidates(name.len()), |known| {
            known.eq_ignore_ascii_case(name)
        }) {
            return found;
        }
        if !matches!(name, [b'x' | b'X', b'-' | b'_', ..]) {
            return Name::Other;
        }
        find(identity_candidates(name.len()), |known| {
            eq_folded(known, name)
        })
        .unwrap_or(Name::Other)
    }

    /// As [`Name::of`] with an underscore counting as a dash in every name: what an upstream that
    /// folds them may take the field for. For deciding what to drop, never for framing.
    pub fn of_folded(name: &[u8]) -> Name {
        find(plain_candidates(name.len()), |known| eq_folded(known, name))
            .or_else(|| {
                find(identity_candidates(name.len()), |known| {
                    eq_folded(known, name)
                })
            })
            .unwrap_or(Name::Other)
    }

    /// Whether the field concerns one connection only (RFC 9110 §7.6.1, KONG.md §3.6), or is
    /// `Proxy`, which CGI upstreams read as their own outbound proxy.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Name::Connection
                | Name::KeepAlive
                | Name::Proxy
                | Name::ProxyConnection
                | Name::Te
                | Name::TransferEncoding
                | Name::Upgrade
        )
    }

    /// Whether an upstream takes the field for what the gateway proved about the client; a
    /// client's own copy is a forgery.
    pub fn is_identity(self) -> bool {
        matches!(
            self,
            Name::XClientCert
                | Name::XConsumerId
                | Name::XClientCertDn
                | Name::XClientCertSan
                | Name::XConsumerGroups
                | Name::XConsumerUsername
                | Name::XAnonymousConsumer
                | Name::XClientCertSerial
                | Name::XConsumerCustomId
                | Name::XAuthenticatedGroups
                | Name::XClientCertIssuerDn
                | Name::XCredentialIdentifier
                | Name::XClientCertSubjectDn
                | Name::XClientCertFingerprint
        )
    }
}

/// Whether a client's field of this name forges an identity: [`Name::of`] and [`Name::is_identity`].
pub fn is_identity(name: &[u8]) -> bool {
    Name::of(name).is_identity()
}

/// Elements of a comma-separated value without white space around them; empty ones are skipped (RFC 9110 §5.6.1).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim_ows)
        .filter(|token| !token.is_empty())
}

/// Whether a comma-separated value holds `token`, letter case aside.
pub fn has_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|each| each.eq_ignore_ascii_case(token))
}

/// Value of the first field with this name.
pub fn first<'b>(fields: &[FieldLine], buf: &'b [u8], name: Name) -> Option<&'b [u8]> {
    values(fields, buf, name).next()
}

/// Values of all fields with this name, in order.
pub fn values<'b>(
    fields: &[FieldLine],
    buf: &'b [u8],
    name: Name,
) -> impl Iterator<Item = &'b [u8]> {
    fields
        .iter()
        .filter(move |field| field.known == name)
        .map(|field| field.value.of(buf))
}

/// Whether a Connection field names `name`, so that the field is not forwarded (RFC 9110 §7.6.1).
///
/// Host, Content-Length and Transfer-Encoding cannot be named away: a peer that could would change
/// routing or framing of what we forward.
pub fn connection_nominates(fields: &[FieldLine], buf: &[u8], name: &[u8]) -> bool {
    if matches!(
        Name::of(name),
        Name::Host | Name::ContentLength | Name::TransferEncoding
    ) {
        return false;
    }
    values(fields, buf, Name::Connection).any(|value| has_token(value, name))
}

/// The options of all Connection fields of a head.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ConnectionOptions(u8);

impl ConnectionOptions {
    const CLOSE: u8 = 1;
    const KEEP_ALIVE: u8 = 1 << 1;
    const UPGRADE: u8 = 1 << 2;
    const OTHER: u8 = 1 << 3;
    const TOO_MANY: u8 = 1 << 4;

    /// Reads every Connection field of the head; `buf` is what the head was parsed from.
    pub fn of(fields: &[FieldLine], buf: &[u8]) -> ConnectionOptions {
        let mut bits = 0;
        let options = values(fields, buf, Name::Connection).flat_map(tokens);
        for (index, token) in options.enumerate() {
            if index == CONNECTION_OPTIONS_MAX {
                bits |= Self::TOO_MANY;
            }
            bits |= if token.eq_ignore_ascii_case(b"close") {
                Self::CLOSE
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                Self::KEEP_ALIVE
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                Self::UPGRADE
            } else {
                Self::OTHER
            };
        }
        ConnectionOptions(bits)
    }

    pub fn close(self) -> bool {
        self.0 & Self::CLOSE != 0
    }

    pub fn keep_alive(self) -> bool {
        self.0 & Self::KEEP_ALIVE != 0
    }

    pub fn upgrade(self) -> bool {
        self.0 & Self::UPGRADE != 0
    }

    /// Whether anything else is named, so that [`connection_nominates`] has to be asked per field.
    pub fn nominates(self) -> bool {
        self.0 & Self::OTHER != 0
    }

    /// More than `CONNECTION_OPTIONS_MAX`: to ask per field costs fields × options, so the message is refused.
    pub fn too_many(self) -> bool {
        self.0 & Self::TOO_MANY != 0
    }
}

/// Checks one field line without its CRLF and gives the places of name and value (no OWS).
///
/// # Errors
/// The first rule of RFC 9112 §5 the line breaks. A fold cannot be told from white space before
/// the first field here: both are `ObsFold`.
pub fn check_line(line: &[u8]) -> Result<(Range<usize>, Range<usize>), Error> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Error::ObsFold);
    }
    let (name, value) = match memchr::memchr(b':', line) {
        Some(colon) => line.split_at(colon),
        None => return Err(Error::FieldWithoutColon),
    };
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Error::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().copied().all(is_tchar) {
        return Err(Error::FieldName);
    }
    let value = value.get(1..).unwrap_or_default();
    if !value.iter().copied().all(is_value_byte) {
        return Err(Error::FieldValue);
    }
    let trimmed = trim_ows(value);
    let leading = value.len() - value.trim_ascii_start().len();
    let start = name.len() + 1 + if trimmed.is_empty() { 0 } else { leading };
    Ok((0..name.len(), start..start + trimmed.len()))
}

/// `tchar` of RFC 9110 §5.6.2.
pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte a field value may hold: VCHAR, SP, HTAB and obs-text (RFC 9110 §5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The value without SP and HTAB at its ends.
pub fn trim_ows(value: &[u8]) -> &[u8] {
    let is_ows = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_ows(byte)).count();
    let rest = value.get(start..).unwrap_or_default();
    let end = rest.len() - rest.iter().rev().take_while(|byte| is_ows(byte)).count();
    rest.get(..end).unwrap_or_default()
}

fn find(candidates: &[Name], matches: impl Fn(&[u8]) -> bool) -> Option<Name> {
    candidates
        .iter()
        .copied()
        .find(|name| matches(name.as_str().as_bytes()))
}

fn eq_folded(known: &[u8], name: &[u8]) -> bool {
    let fold = |byte: u8| {
        if byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    known.len() == name.len() && known.iter().zip(name).all(|(&a, &b)| fold(a) == fold(b))
}

/// Names that are no identity, by length; of one length the frequent ones come first.
fn plain_candidates(len: usize) -> &'static [Name] {
    use Name::*;
    match len {
        2 => &[Te],
        3 => &[Via],
        4 => &[Host, Date],
        5 => &[Proxy],
        6 => &[Accept, Cookie, Server, Expect],
        7 => &[Upgrade, Trailer],
        9 => &[XRealIp],
        10 => &[UserAgent, Connection, KeepAlive, KongDebug],
        12 => &[ContentType],
        13 => &[Authorization],
        14 => &[ContentLength],
        15 => &[XForwardedFor],
        16 => &[
            XForwardedHost,
            XForwardedPort,
            XForwardedPath,
            ProxyConnection,
        ],
        17 => &[TransferEncoding, XForwardedProto, XKongRequestId],
        18 => &[XForwardedPrefix, ProxyAuthenticate],
        19 => &[ProxyAuthorization],
        20 => &[XKongProxyLatency],
        22 => &[XKongUpstreamStatus],
        23 => &[XKongUpstreamLatency, XKongResponseLatency],
        _ => &[],
    }
}

fn identity_candidates(len: usize) -> &'static [Name] {
    use Name::*;
    match len {
        13 => &[XConsumerId, XClientCert],
        16 => &[XClientCertDn],
        17 => &[XConsumerGroups, XClientCertSan],
        19 => &[XConsumerUsername],
        20 => &[XConsumerCustomId, XAnonymousConsumer, XClientCertSerial],
        22 => &[XAuthenticatedGroups],
        23 => &[XCredentialIdentifier, XClientCertIssuerDn],
        24 => &[XClientCertSubjectDn],
        25 => &[XClientCertFingerprint],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::Span;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in Name::ALL {
            let text = name.as_str();
            assert_eq!(Name::of(text.as_bytes()), name);
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), name);
            assert_eq!(Name::of(text.to_ascii_lowercase().as_bytes()), name);
            assert_eq!(Name::of(&text.as_bytes()[..text.len() - 1]), Name::Other);
        }
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::of(b"X-Foo"), Name::Other);
    }

    #[test]
    fn identity_header_spoofed_with_underscores_is_recognised() {
        for &name in Name::ALL {
            let twin = name.as_str().replace('-', "_");
            if name.is_identity() {
                assert_eq!(Name::of(twin.as_bytes()), name, "{twin}");
                assert!(is_identity(twin.to_ascii_lowercase().as_bytes()), "{twin}");
            } else if twin.contains('_') {
                assert_eq!(Name::of(twin.as_bytes()), Name::Other, "{twin}");
                assert_eq!(Name::of_folded(twin.as_bytes()), name, "{twin}");
            }
        }
        assert!(is_identity(b"x-consumer_ID"));
        assert!(!is_identity(b"X.Consumer.ID"));
    }

    #[test]
    fn tokens_are_trimmed_and_empty_ones_skipped() {
        let all: Vec<&[u8]> = tokens(b" a ,,\tb c\t, ,d").collect();
        assert_eq!(all, [&b"a"[..], b"b c", b"d"]);
        assert!(has_token(b"keep-alive, Upgrade", b"upgrade"));
        assert!(!has_token(b"upgraded", b"upgrade"));
    }

    #[test]
    fn connection_names_fields_but_never_framing() {
        let buf = b"close, X-Secret, Content-Length, TE, host";
        let fields = [FieldLine {
            name: Span::default(),
            value: Span {
                start: 0,
                end: buf.len() as u32,
            },
            known: Name::Connection,
        }];
        assert!(connection_nominates(&fields, buf, b"x-secret"));
        assert!(!connection_nominates(&fields, buf, b"x-secret2"));
        assert!(!connection_nominates(&fields, buf, b"Content-Length"));
        assert!(!connection_nominates(&fields, buf, b"Host"));
        let options = ConnectionOptions::of(&fields, buf);
        assert!(options.close() && options.nominates());
        assert!(!options.keep_alive() && !options.upgrade());
    }

    #[test]
    fn connection_options_are_counted_over_all_lines() {
        let buf = b"a, b,, c";
        let span = Span {
            start: 0,
            end: buf.len() as u32,
        };
        let line = FieldLine {
            name: Span::default(),
            value: span,
            known: Name::Connection,
        };
        for (lines, too_many) in [(1, false), (10, false), (11, true), (1000, true)] {
            let options = ConnectionOptions::of(&vec![line; lines], buf);
            assert!(options.nominates());
            assert_eq!(options.too_many(), too_many, "{lines} lines of three");
        }
    }

    #[test]
    fn field_line_rules() {
        type Parts = (&'static [u8], &'static [u8]);
        let table: [(&str, &[u8], Result<Parts, Error>); 12] = [
            ("9112 §5", b"a: b", Ok((b"a", b"b"))),
            ("9112 §5", b"a:b", Ok((b"a", b"b"))),
            ("9112 §5", b"a:\t b c \t", Ok((b"a", b"b c"))),
            ("9112 §5", b"a:", Ok((b"a", b""))),
            ("9112 §5", b"a:  \t", Ok((b"a", b""))),
            ("9110 §5.5", b"a:\xc3\xa9", Ok((b"a", b"\xc3\xa9"))),
            ("9112 §5.1", b"a : b", Err(Error::SpaceBeforeColon)),
            ("9112 §5.1", b": b", Err(Error::FieldName)),
            ("9112 §5.2", b" a: b", Err(Error::ObsFold)),
            ("9112 §5", b"a b", Err(Error::FieldWithoutColon)),
            ("9110 §5.5", b"a: b\x00", Err(Error::FieldValue)),
            ("9110 §5.5", b"a: \rb", Err(Error::FieldValue)),
        ];
        for (rule, line, want) in table {
            let got = check_line(line).map(|(name, value)| (&line[name], &line[value]));
            assert_eq!(got, want, "{rule} {:?}", line.escape_ascii().to_string());
        }
    }
}
