//! A distinguished name as text: what `openssl x509 -nameopt RFC2253` prints (KONG.md §5.5).
//!
//! - Last RDN first, RDNs joined by `,`, attributes of one RDN by `+` and also in reverse.
//! - Attribute types by OpenSSL's short names; an unknown type is `oid=#hex` of the whole DER value.
//! - `, + " < > ; \` are escaped by `\`, so are a leading `#`, a leading and a trailing space. `=` is not.
//! - Control characters and every byte of a non-ASCII character's UTF-8 become `\XX`, upper-case.
//! - A value that is no string, or is not legal for its string type, is `#hex` of the DER value.
//!
//! ACL groups and `X-Client-Cert-Dn` carry this text (KONG.md §5.5, §5.8), so it must not change.

use std::fmt::Write;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// One attribute of a name whose value is text.
pub(super) struct Attribute {
    /// OpenSSL's short name, or the OID.
    pub name: String,
    pub oid: String,
    /// Decoded, unescaped.
    pub value: String,
}

pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for (index, rdn) in rdns.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let attributes: Vec<_> = rdn.iter().collect();
        for (index, attribute) in attributes.into_iter().rev().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

/// In certificate order; values that are not text are left out.
pub(super) fn common_names(name: &X509Name<'_>) -> Vec<String> {
    name.iter_attributes()
        .filter(|attribute| attribute.attr_type().as_bytes() == COMMON_NAME)
        .filter_map(|attribute| decode(attribute.attr_value()))
        .collect()
}

/// Common names and e-mail addresses; values that are not text are left out.
pub(super) fn names(name: &X509Name<'_>) -> Vec<String> {
    name.iter_attributes()
        .filter(|attribute| {
            [COMMON_NAME, EMAIL_ADDRESS].contains(&attribute.attr_type().as_bytes())
        })
        .filter_map(|attribute| decode(attribute.attr_value()))
        .collect()
}

/// In certificate order; values that are not text are left out.
pub(super) fn attributes(name: &X509Name<'_>) -> Vec<Attribute> {
    name.iter_attributes()
        .filter_map(|attribute| {
            let oid = attribute.attr_type();
            Some(Attribute {
                name: short_name(oid.as_bytes()).map_or_else(|| oid.to_string(), str::to_owned),
                oid: oid.to_string(),
                value: decode(attribute.attr_value())?,
            })
        })
        .collect()
}

pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type();
    let value = attribute.attr_value();
    match short_name(oid.as_bytes()) {
        Some(name) => {
            text.push_str(name);
            text.push('=');
            match decode(value) {
                Some(value) => push_escaped(text, &value),
                None => push_der_hex(text, value),
            }
        }
        None => {
            let _ = write!(text, "{oid}=");
            push_der_hex(text, value);
        }
    }
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '<' | '>' | ';' | '\\' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            ' '..='~' => text.push(character),
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
        }
    }
}

fn push_der_hex(text: &mut String, value: &Any<'_>) {
    text.push('#');
    let class_and_form = (value.class() as u8) << 6 | u8::from(value.header.is_constructed()) << 5;
    // A tag of 31 and above takes more bytes; no attribute value has one.
    let mut der = vec![class_and_form | u8::try_from(value.tag().0 & 31).unwrap_or(31)];
    let length = value.data.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            der.push(0x80 | significant.len() as u8);
            der.extend_from_slice(significant);
        }
    }
    der.extend_from_slice(value.data);
    push_hex(text, &der);
}

/// OpenSSL reads one-byte types as Latin-1, T61String too, and two- and four-byte ones as code points.
fn decode(value: &Any<'_>) -> Option<String> {
    let data = value.data;
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(data).ok().map(str::to_owned),
        Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String
        | Tag::UtcTime
        | Tag::GeneralizedTime
        | Tag::VisibleString => Some(data.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (units, []) = data.as_chunks::<2>() else {
                return None;
            };
            units
                .iter()
                .map(|unit| char::from_u32(u16::from_be_bytes(*unit).into()))
                .collect()
        }
        Tag::UniversalString => {
            let (units, []) = data.as_chunks::<4>() else {
                return None;
            };
            units
                .iter()
                .map(|unit| char::from_u32(u32::from_be_bytes(*unit)))
                .collect()
        }
        _ => None,
    }
}

/// OpenSSL's short name of an attribute type, by the OID's content bytes.
fn short_name(oid: &[u8]) -> Option<&'static str> {
    let (arc, last) = match oid {
        [arc @ .., last] => (arc, *last),
        [] => return None,
    };
    let table: &[(u8, &str)] = match arc {
        X520 => X520_NAMES,
        PILOT => PILOT_NAMES,
        PKCS9 => PKCS9_NAMES,
        JURISDICTION => JURISDICTION_NAMES,
        _ => return None,
    };
    let place = table.binary_search_by_key(&last, |(last, _)| *last).ok()?;
    table.get(place).map(|(_, name)| *name)
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 1.2.840.113549.1.9.1
const EMAIL_ADDRESS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
/// 2.5.4
const X520: &[u8] = &[0x55, 4];
/// 0.9.2342.19200300.100.1
const PILOT: &[u8] = &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1];
/// 1.2.840.113549.1.9
const PKCS9: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9];
/// 1.3.6.1.4.1.311.60.2.1
const JURISDICTION: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1];

// From `openssl list -objects` of 3.0, ascending by the last arc.
const X520_NAMES: &[(u8, &str)] = &[
    (3, "CN"),
    (4, "SN"),
    (5, "serialNumber"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (9, "street"),
    (10, "O"),
    (11, "OU"),
    (12, "title"),
    (13, "description"),
    (14, "searchGuide"),
    (15, "businessCategory"),
    (16, "postalAddress"),
    (17, "postalCode"),
    (18, "postOfficeBox"),
    (19, "physicalDeliveryOfficeName"),
    (20, "telephoneNumber"),
    (21, "telexNumber"),
    (22, "teletexTerminalIdentifier"),
    (23, "facsimileTelephoneNumber"),
    (24, "x121Address"),
    (25, "internationaliSDNNumber"),
    (26, "registeredAddress"),
    (27, "destinationIndicator"),
    (28, "preferredDeliveryMethod"),
    (29, "presentationAddress"),
    (30, "supportedApplicationContext"),
    (31, "member"),
    (32, "owner"),
    (33, "roleOccupant"),
    (34, "seeAlso"),
    (35, "userPassword"),
    (36, "userCertificate"),
    (37, "cACertificate"),
    (38, "authorityRevocationList"),
    (39, "certificateRevocationList"),
    (40, "crossCertificatePair"),
    (41, "name"),
    (42, "GN"),
    (43, "initials"),
    (44, "generationQualifier"),
    (45, "x500UniqueIdentifier"),
    (46, "dnQualifier"),
    (47, "enhancedSearchGuide"),
    (48, "protocolInformation"),
    (49, "distinguishedName"),
    (50, "uniqueMember"),
    (51, "houseIdentifier"),
    (52, "supportedAlgorithms"),
    (53, "deltaRevocationList"),
    (54, "dmdName"),
    (65, "pseudonym"),
    (72, "role"),
    (97, "organizationIdentifier"),
    (98, "c3"),
    (99, "n3"),
    (100, "dnsName"),
];
const PILOT_NAMES: &[(u8, &str)] = &[
    (1, "UID"),
    (2, "textEncodedORAddress"),
    (3, "mail"),
    (4, "info"),
    (5, "favouriteDrink"),
    (6, "roomNumber"),
    (7, "photo"),
    (8, "userClass"),
    (9, "host"),
    (10, "manager"),
    (11, "documentIdentifier"),
    (12, "documentTitle"),
    (13, "documentVersion"),
    (14, "documentAuthor"),
    (15, "documentLocation"),
    (20, "homeTelephoneNumber"),
    (21, "secretary"),
    (22, "otherMailbox"),
    (23, "lastModifiedTime"),
    (24, "lastModifiedBy"),
    (25, "DC"),
    (26, "aRecord"),
    (27, "pilotAttributeType27"),
    (28, "mXRecord"),
    (29, "nSRecord"),
    (30, "sOARecord"),
    (31, "cNAMERecord"),
    (37, "associatedDomain"),
    (38, "associatedName"),
    (39, "homePostalAddress"),
    (40, "personalTitle"),
    (41, "mobileTelephoneNumber"),
    (42, "pagerTelephoneNumber"),
    (43, "friendlyCountryName"),
    (44, "uid"),
    (45, "organizationalStatus"),
    (46, "janetMailbox"),
    (47, "mailPreferenceOption"),
    (48, "buildingName"),
    (49, "dSAQuality"),
    (50, "singleLevelQuality"),
    (51, "subtreeMinimumQuality"),
    (52, "subtreeMaximumQuality"),
    (53, "personalSignature"),
    (54, "dITRedirect"),
    (55, "audio"),
    (56, "documentPublisher"),
];
const PKCS9_NAMES: &[(u8, &str)] = &[
    (1, "emailAddress"),
    (2, "unstructuredName"),
    (7, "challengePassword"),
    (8, "unstructuredAddress"),
];
const JURISDICTION_NAMES: &[(u8, &str)] = &[
    (1, "jurisdictionL"),
    (2, "jurisdictionST"),
    (3, "jurisdictionC"),
];
