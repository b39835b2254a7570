//! What a certificate says: names, dates, and the facts path validation needs. The one door to x509-parser.
//!
//! Nothing here is trusted by being parsed; `client_auth` and `upstream` decide that.

mod constraints;
mod dn;
#[cfg(test)]
mod tests;
mod written;

pub use constraints::NameConstraints;
pub use written::{Algorithm, Written, WrittenKey};

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints as Parsed, ParsedExtension};

/// A certificate read for what it says about its subject.
#[derive(Clone, Debug)]
pub struct Identity {
    pub facts: Facts,
    /// `CN=x,O=y`: the text of `openssl x509 -nameopt RFC2253`, see [`dn`]. Pure ASCII, fit for a header.
    pub subject_dn: Box<str>,
    pub issuer_dn: Box<str>,
    /// Every commonName of the subject, in certificate order, decoded and unescaped.
    /// One that holds a control character is left out: no configured name can equal it and no header may carry it.
    pub common_names: Vec<Box<str>>,
    /// Values of the subjectAltName extension in certificate order; left out are kinds Kong does not compare
    /// (otherName, x400Address, ediPartyName, registeredID), values that are not legal for their kind, and those
    /// that hold a control character.
    pub alt_names: Vec<AltName>,
    /// Whether the extension is there at all, even with nothing usable in it: it decides whether the CN counts (KONG.md §5.4).
    pub has_san: bool,
    /// Upper-case hex, two digits a byte, as `openssl x509 -serial` prints it.
    pub serial: Box<str>,
}

/// One value of subjectAltName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltName {
    pub kind: AltNameKind,
    pub text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltNameKind {
    Dns,
    Email,
    Uri,
    Ip,
    /// One attribute of a directoryName: its name as in a DN (`CN`, `O`, …, else the OID) and its OID, dotted.
    DirectoryAttribute {
        name: Box<str>,
        oid: Box<str>,
    },
}

/// What path validation asks of a certificate (RFC 5280 §6.1), and nothing else.
#[derive(Clone, Debug)]
pub struct Facts {
    /// DER of the Name, header included.
    pub subject: Box<[u8]>,
    pub issuer: Box<[u8]>,
    /// DER of the SubjectPublicKeyInfo, header included.
    pub spki: Box<[u8]>,
    /// Unix seconds; a date before 1970 is 0.
    pub not_before: u64,
    /// Unix seconds, the last second included.
    pub not_after: u64,
    /// basicConstraints cA; `false` without the extension, hence for every X.509 v1 certificate.
    pub is_ca: bool,
    pub path_len: Option<u32>,
    /// `None` without the extension.
    pub key_usage: Option<KeyUsage>,
    /// `None` without the extension.
    pub extended_key_usage: Option<ExtendedKeyUsage>,
    pub name_constraints: Option<Arc<NameConstraints>>,
    /// An extension marked critical that is none of RFC 5280 §4.2.1: what it demands is not known (§4.2).
    pub unknown_critical: bool,
    pub subject_key_id: Option<Box<[u8]>>,
    pub authority_key_id: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    pub digital_signature: bool,
    pub key_encipherment: bool,
    pub key_agreement: bool,
    pub key_cert_sign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    pub client_auth: bool,
    pub server_auth: bool,
    /// anyExtendedKeyUsage. It does not stand in for the others, as in OpenSSL and webpki.
    pub any: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("not an X.509 certificate in DER")]
    Encoding,
    #[error("{0} bytes follow the certificate")]
    TrailingBytes(usize),
    #[error("extension {0} cannot be read")]
    Extension(String),
    #[error("extension {0} appears more than once")]
    RepeatedExtension(String),
}

impl Identity {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// When it is not one certificate and nothing else, or when an extension read here is malformed or repeated.
    pub fn parse(der: &[u8]) -> Result<Identity, ParseError> {
        let certificate = decode(der)?;
        let extensions = Extensions::read(&certificate)?;
        let facts = Facts::collect(&certificate, &extensions);
        Ok(Identity {
            subject_dn: dn::text(certificate.subject()).into(),
            issuer_dn: dn::text(certificate.issuer()).into(),
            common_names: dn::common_names(certificate.subject())
                .into_iter()
                .filter(|name| is_clean(name))
                .map(String::into_boxed_str)
                .collect(),
            alt_names: extensions
                .alt_names
                .map_or_else(Vec::new, |names| alt_names(names)),
            has_san: extensions.alt_names.is_some(),
            serial: serial_hex(certificate.raw_serial()).into(),
            facts,
        })
    }
}

impl Facts {
    /// As [`Identity::parse`], without the texts.
    pub fn parse(der: &[u8]) -> Result<Facts, ParseError> {
        let certificate = decode(der)?;
        let extensions = Extensions::read(&certificate)?;
        Ok(Facts::collect(&certificate, &extensions))
    }

    /// Subject and issuer are the same name, byte for byte (RFC 5280 §3.2); the signature is not looked at.
    pub fn self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Both dates included, as RFC 5280 §4.1.2.5 has it.
    pub fn valid_at(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    fn collect(certificate: &X509Certificate<'_>, extensions: &Extensions<'_>) -> Facts {
        let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
        Facts {
            subject: certificate.subject().as_raw().into(),
            issuer: certificate.issuer().as_raw().into(),
            spki: certificate.public_key().raw.into(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            is_ca: extensions.basic_constraints.is_some_and(|(ca, _)| ca),
            path_len: extensions.basic_constraints.and_then(|(_, len)| len),
            key_usage: extensions.key_usage,
            extended_key_usage: extensions.extended_key_usage,
            name_constraints: extensions
                .name_constraints
                .map(|constraints| Arc::new(NameConstraints::of(constraints))),
            unknown_critical: extensions.unknown_critical,
            subject_key_id: extensions.subject_key_id.map(Into::into),
            authority_key_id: extensions.authority_key_id.map(Into::into),
        }
    }
}

/// Every text of a certificate that names its subject where names are compared: common names and e-mail addresses of
/// the subject, and the values of subjectAltName.
///
/// # Errors
/// As [`Identity::parse`].
pub fn names(der: &[u8]) -> Result<Vec<Box<str>>, ParseError> {
    let certificate = decode(der)?;
    let extensions = Extensions::read(&certificate)?;
    let subject = dn::names(certificate.subject());
    let sans = extensions.alt_names.map_or_else(Vec::new, alt_names);
    let sans = sans.into_iter().map(|san| san.text);
    Ok(subject.into_iter().map(Box::from).chain(sans).collect())
}

/// DER of the subject's Name: what a CertificateRequest lists as an acceptable authority.
///
/// # Errors
/// As [`Identity::parse`].
pub fn subject_der(der: &[u8]) -> Result<Vec<u8>, ParseError> {
    Ok(decode(der)?.subject().as_raw().to_vec())
}

/// The extensions that are read, each at most once.
#[derive(Default)]
struct Extensions<'a> {
    basic_constraints: Option<(bool, Option<u32>)>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    name_constraints: Option<&'a Parsed<'a>>,
    unknown_critical: bool,
    subject_key_id: Option<&'a [u8]>,
    authority_key_id: Option<&'a [u8]>,
    alt_names: Option<&'a [GeneralName<'a>]>,
}

impl<'a> Extensions<'a> {
    fn read(certificate: &'a X509Certificate<'_>) -> Result<Extensions<'a>, ParseError> {
        let mut read = Extensions::default();
        let mut seen = [false; READ_EXTENSIONS.len()];
        for extension in certificate.extensions() {
            let Some(place) = READ_EXTENSIONS
                .iter()
                .position(|oid| *oid == extension.oid.as_bytes())
            else {
                read.unknown_critical |=
                    extension.critical && !PASSED_OVER.contains(&extension.oid.as_bytes());
                continue;
            };
            if seen[place] {
                return Err(ParseError::RepeatedExtension(extension.oid.to_string()));
            }
            seen[place] = true;
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    read.basic_constraints =
                        Some((constraints.ca, constraints.path_len_constraint));
                }
                ParsedExtension::KeyUsage(usage) => {
                    read.key_usage = Some(KeyUsage {
                        digital_signature: usage.digital_signature(),
                        key_encipherment: usage.key_encipherment(),
                        key_agreement: usage.key_agreement(),
                        key_cert_sign: usage.key_cert_sign(),
                    });
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    read.extended_key_usage = Some(ExtendedKeyUsage {
                        client_auth: usage.client_auth,
                        server_auth: usage.server_auth,
                        any: usage.any,
                    });
                }
                ParsedExtension::NameConstraints(constraints) => {
                    read.name_constraints = Some(constraints);
                }
                ParsedExtension::SubjectKeyIdentifier(id) => read.subject_key_id = Some(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    read.authority_key_id = id.key_identifier.as_ref().map(|id| id.0);
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    read.alt_names = Some(&names.general_names);
                }
                _ => return Err(ParseError::Extension(extension.oid.to_string())),
            }
        }
        Ok(read)
    }
}

fn decode(der: &[u8]) -> Result<X509Certificate<'_>, ParseError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| ParseError::Encoding)?;
    if !rest.is_empty() {
        return Err(ParseError::TrailingBytes(rest.len()));
    }
    Ok(certificate)
}

fn alt_names(names: &[GeneralName<'_>]) -> Vec<AltName> {
    let mut values = Vec::with_capacity(names.len());
    let mut push = |kind: AltNameKind, text: &str| {
        if is_clean(text) {
            let text = text.into();
            values.push(AltName { kind, text });
        }
    };
    for name in names {
        match name {
            GeneralName::DNSName(text) => push(AltNameKind::Dns, text),
            GeneralName::RFC822Name(text) => push(AltNameKind::Email, text),
            GeneralName::URI(text) => push(AltNameKind::Uri, text),
            GeneralName::IPAddress(bytes) => {
                if let Some(text) = ip_text(bytes) {
                    push(AltNameKind::Ip, &text);
                }
            }
            GeneralName::DirectoryName(name) => {
                for attribute in dn::attributes(name) {
                    let kind = AltNameKind::DirectoryAttribute {
                        name: attribute.name.into(),
                        oid: attribute.oid.into(),
                    };
                    push(kind, &attribute.value);
                }
            }
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => {}
        }
    }
    values
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).to_string())
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// `raw` is the content of the INTEGER; the zero byte that only keeps it positive is dropped.
fn serial_hex(raw: &[u8]) -> String {
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        whole => whole,
    };
    let mut text = String::with_capacity(digits.len() * 2);
    dn::push_hex(&mut text, digits);
    text
}

/// id-ce 14, 15, 17, 19, 30, 35 and 37 of RFC 5280 §4.2.1.
const READ_EXTENSIONS: [&[u8]; 7] = [
    &[0x55, 0x1d, 14],
    &[0x55, 0x1d, 15],
    &[0x55, 0x1d, 17],
    &[0x55, 0x1d, 19],
    &[0x55, 0x1d, 30],
    &[0x55, 0x1d, 35],
    &[0x55, 0x1d, 37],
];
/// The others of that section that may be critical, and Netscape's certificate type, which OpenSSL knows as well:
/// distribution points, policies and what is said about policies, none of which a path is asked for here.
const PASSED_OVER: [&[u8]; 6] = [
    &[0x55, 0x1d, 31],
    &[0x55, 0x1d, 32],
    &[0x55, 0x1d, 33],
    &[0x55, 0x1d, 36],
    &[0x55, 0x1d, 54],
    &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 1, 1],
];
