use super::*;
use crate::tls::trust::testpki::{self, LAST};
use rcgen::string::{BmpString, TeletexString, UniversalString};
use rcgen::{CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose as Eku, SanType};
use x509_parser::x509::X509Name;

/// One SET of a Name: (OID content, string tag, bytes) for each attribute.
type Rdn<'a> = &'a [(&'a [u8], u8, &'a [u8])];

const CN: &[u8] = &[0x55, 4, 3];
const C: &[u8] = &[0x55, 4, 6];
const O: &[u8] = &[0x55, 4, 10];
const OU: &[u8] = &[0x55, 4, 11];
const UTF8: u8 = 12;
const PRINTABLE: u8 = 19;

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ ..0x80 => der.push(short as u8),
        long => der.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    der.extend_from_slice(content);
    der
}

fn name_der(rdns: &[Rdn<'_>]) -> Vec<u8> {
    let mut sets = Vec::new();
    for rdn in rdns {
        let mut set = Vec::new();
        for (oid, tag, value) in *rdn {
            let attribute = [tlv(6, oid), tlv(*tag, value)].concat();
            set.extend(tlv(0x30, &attribute));
        }
        sets.extend(tlv(0x31, &set));
    }
    tlv(0x30, &sets)
}

fn dn_text(rdns: &[Rdn<'_>]) -> String {
    let der = name_der(rdns);
    let (rest, name) = X509Name::from_der(&der).unwrap();
    assert!(rest.is_empty());
    dn::text(&name)
}

/// Every right-hand side but "no string", whose certificate OpenSSL does not load, was printed by
/// `openssl x509 -noout -subject -nameopt RFC2253` (3.0) for that name.
#[test]
fn a_dn_reads_as_openssl_prints_it() {
    let long = [b'x'; 130];
    let long_text = format!("CN={}", "x".repeat(130));
    let rows: &[(&str, &[Rdn<'_>], &str)] = &[
        (
            "order",
            &[&[(O, UTF8, b"y")], &[(CN, UTF8, b"x")]],
            "CN=x,O=y",
        ),
        ("comma", &[&[(O, UTF8, b"Acme, Inc.")]], "O=Acme\\, Inc."),
        (
            "the specials",
            &[&[(CN, UTF8, b"q\"<>;\\z+")]],
            "CN=q\\\"\\<\\>\\;\\\\z\\+",
        ),
        ("leading #", &[&[(CN, UTF8, b"#lead")]], "CN=\\#lead"),
        ("inner #", &[&[(CN, UTF8, b"a#b")]], "CN=a#b"),
        (
            "outer spaces",
            &[&[(CN, UTF8, b" lead and trail ")]],
            "CN=\\ lead and trail\\ ",
        ),
        ("only spaces", &[&[(CN, UTF8, b"  ")]], "CN=\\ \\ "),
        ("equals sign", &[&[(CN, UTF8, b"a=b")]], "CN=a=b"),
        (
            "UTF-8",
            &[
                &[(CN, UTF8, "Jürgen".as_bytes())],
                &[(O, UTF8, "日本".as_bytes())],
            ],
            "O=\\E6\\97\\A5\\E6\\9C\\AC,CN=J\\C3\\BCrgen",
        ),
        (
            "control characters",
            &[&[(CN, UTF8, b"tab\there\x7f")]],
            "CN=tab\\09here\\7F",
        ),
        (
            "two in one RDN",
            &[&[(O, UTF8, b"c")], &[(CN, UTF8, b"a"), (OU, UTF8, b"b")]],
            "OU=b+CN=a,O=c",
        ),
        ("PrintableString", &[&[(C, PRINTABLE, b"US")]], "C=US"),
        ("long value", &[&[(CN, UTF8, &long)]], &long_text),
        (
            "short names",
            &[
                &[(
                    &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
                    22,
                    b"org",
                )],
                &[(
                    &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
                    UTF8,
                    b"u1",
                )],
                &[(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], 22, b"a@b.c")],
                &[(&[0x55, 4, 5], PRINTABLE, b"12")],
                &[(&[0x55, 4, 4], UTF8, b"s")],
                &[(&[0x55, 4, 42], UTF8, b"g")],
                &[(&[0x55, 4, 9], UTF8, b"st")],
                &[(
                    &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 3],
                    PRINTABLE,
                    b"DE",
                )],
            ],
            "jurisdictionC=DE,street=st,GN=g,SN=s,serialNumber=12,emailAddress=a@b.c,UID=u1,DC=org",
        ),
        (
            "unknown type",
            &[&[(&[0x2a, 3, 4], UTF8, b"foo")]],
            "1.2.3.4=#0C03666F6F",
        ),
        (
            "BMPString",
            &[&[(CN, 30, &[0, b'J', 0, 0xfc])]],
            "CN=J\\C3\\BC",
        ),
        ("T61String", &[&[(CN, 20, &[b'J', 0xfc])]], "CN=J\\C3\\BC"),
        ("no string", &[&[(CN, 4, &[1, 0xff])]], "CN=#040201FF"),
        ("empty", &[], ""),
    ];
    for (what, rdns, expected) in rows {
        assert_eq!(dn_text(rdns), *expected, "{what}");
    }
}

/// Which arcs have a short name, as OpenSSL 3.0 printed them.
#[test]
fn attribute_types_that_openssl_names_are_named() {
    let x520 = [3..=54, 65..=65, 72..=72, 97..=100];
    let pilot = [1..=15, 20..=31, 37..=56];
    for last in 0..=127 {
        let text = dn_text(&[&[(&[0x55, 4, last], UTF8, b"v")]]);
        let known = x520.iter().any(|range| range.contains(&last));
        assert_eq!(text.ends_with("=v"), known, "2.5.4.{last}: {text}");
        let oid = [9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, last];
        let text = dn_text(&[&[(&oid, UTF8, b"v")]]);
        let known = pilot.iter().any(|range| range.contains(&last));
        assert_eq!(
            text.ends_with("=v"),
            known,
            "0.9.2342.19200300.100.1.{last}: {text}"
        );
    }
}

#[test]
fn a_certificate_says_what_was_put_into_it() {
    let root = testpki::ca("Root").path_len(3).self_signed();
    let names = [
        SanType::URI("spiffe://td/w".try_into().unwrap()),
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::Rfc822Name("a@b.c".try_into().unwrap()),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let made = testpki::leaf("client")
        .names(&names)
        .purposes(&[Eku::ClientAuth, Eku::Any])
        .authority_key_id()
        .params(|params| params.serial_number = Some(vec![0, 0xab, 1].into()))
        .signed_by(&root);

    let identity = Identity::parse(&made.der).unwrap();
    assert_eq!(&*identity.subject_dn, "CN=client");
    assert_eq!(&*identity.issuer_dn, "CN=Root");
    assert_eq!(identity.common_names, ["client".into()]);
    let texts: Vec<&str> = identity.alt_names.iter().map(|name| &*name.text).collect();
    assert_eq!(
        texts,
        [
            "spiffe://td/w",
            "a.example",
            "a@b.c",
            "10.1.2.3",
            "2001:db8::1"
        ]
    );
    assert_eq!(identity.alt_names[0].kind, AltNameKind::Uri);
    assert_eq!(identity.alt_names[4].kind, AltNameKind::Ip);
    assert!(identity.has_san);
    assert_eq!(&*identity.serial, "AB01");
    let facts = &identity.facts;
    assert_eq!((facts.not_before, facts.not_after), (1_577_836_800, LAST));
    assert!(!facts.is_ca && !facts.self_issued());
    assert_eq!(facts.key_usage, None);
    let usage = facts.extended_key_usage.unwrap();
    assert_eq!(
        (usage.client_auth, usage.server_auth, usage.any),
        (true, false, true)
    );

    let root_facts = Facts::parse(&root.der).unwrap();
    assert!(root_facts.is_ca && root_facts.self_issued());
    assert_eq!(
        (
            root_facts.path_len,
            root_facts.key_usage.map(|usage| usage.key_cert_sign)
        ),
        (Some(3), Some(true))
    );
    assert_eq!(root_facts.extended_key_usage, None);
    assert_eq!(facts.issuer, root_facts.subject);
    assert_eq!(facts.authority_key_id, root_facts.subject_key_id);
    assert_eq!(subject_der(&root.der).unwrap(), &*root_facts.subject);
}

#[test]
fn dates_are_valid_from_the_first_to_the_last_second() {
    let facts = Facts::parse(&testpki::leaf("x").self_signed().der).unwrap();
    for (now, valid) in [
        (1_577_836_799, false),
        (1_577_836_800, true),
        (LAST, true),
        (LAST + 1, false),
    ] {
        assert_eq!(facts.valid_at(now), valid, "{now}");
    }
}

/// KONG.md §5.4: directoryName counts by its attributes' values, in place.
#[test]
fn a_directory_name_gives_one_value_for_each_attribute() {
    let directory = name_der(&[
        &[(O, UTF8, b"Org")],
        &[(CN, UTF8, b"dir")],
        &[(&[0x2a, 3, 4], UTF8, b"v")],
    ]);
    let names = [
        tlv(0x82, b"first.example"),
        tlv(0xa4, &directory),
        tlv(0x82, b"last.example"),
    ];
    let identity = with_alt_names(&tlv(0x30, &names.concat()));
    let found: Vec<(&str, &str)> = identity
        .alt_names
        .iter()
        .map(|name| match &name.kind {
            AltNameKind::DirectoryAttribute {
                name: attribute, ..
            } => (&**attribute, &*name.text),
            _ => ("", &*name.text),
        })
        .collect();
    let expected = [
        ("", "first.example"),
        ("O", "Org"),
        ("CN", "dir"),
        ("1.2.3.4", "v"),
        ("", "last.example"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_san_extension_counts_even_when_nothing_in_it_is_usable() {
    let rows: &[(&str, Vec<u8>)] = &[
        ("empty", vec![]),
        ("registeredID", tlv(0x88, &[0x2a, 3])),
        ("address of five bytes", tlv(0x87, &[1, 2, 3, 4, 5])),
        ("line break", tlv(0x82, b"a\r\nX-Consumer-ID: 1")),
        ("NUL", tlv(0x82, b"a.example\0.evil")),
    ];
    for (what, names) in rows {
        let identity = with_alt_names(&tlv(0x30, names));
        assert!(identity.has_san, "{what}");
        assert_eq!(identity.alt_names, [], "{what}");
    }
    let without = Identity::parse(&testpki::leaf("x").self_signed().der).unwrap();
    assert!(!without.has_san);
}

#[test]
fn a_common_name_with_a_control_character_is_no_name() {
    let identity = Identity::parse(&testpki::leaf("a\r\nb").self_signed().der).unwrap();
    assert_eq!(identity.common_names, []);
    assert_eq!(&*identity.subject_dn, "CN=a\\0D\\0Ab");
}

#[test]
fn common_names_of_every_string_type_are_decoded() {
    let values = [
        DnValue::Utf8String("Jü".into()),
        DnValue::BmpString(BmpString::try_from("Jü").unwrap()),
        DnValue::UniversalString(UniversalString::try_from("Jü").unwrap()),
        DnValue::TeletexString(TeletexString::try_from("Ju").unwrap()),
    ];
    for (value, expected) in values.into_iter().zip(["Jü", "Jü", "Jü", "Ju"]) {
        let made = testpki::leaf("x")
            .params(|params| params.distinguished_name.push(DnType::CommonName, value))
            .self_signed();
        let identity = Identity::parse(&made.der).unwrap();
        assert_eq!(identity.common_names, [expected.into()]);
    }
}

#[test]
fn what_is_not_one_certificate_is_refused() {
    let good = testpki::leaf("x").self_signed().der;
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(Identity::parse(&[]).unwrap_err(), ParseError::Encoding);
    assert_eq!(
        Identity::parse(b"-----BEGIN").unwrap_err(),
        ParseError::Encoding
    );
    assert_eq!(
        Identity::parse(&trailing).unwrap_err(),
        ParseError::TrailingBytes(1)
    );
    for end in 0..good.len() {
        assert!(Identity::parse(&good[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn no_changed_byte_makes_parsing_panic() {
    let good = testpki::leaf("x")
        .dns("a.example")
        .authority_key_id()
        .self_signed()
        .der;
    for place in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[place] ^= change;
            let _ = Identity::parse(&bad);
        }
    }
}

#[test]
fn a_repeated_or_unreadable_extension_is_refused() {
    let alt_names = tlv(0x30, &tlv(0x82, b"a.example"));
    let repeated = with_extensions(&[(17, &alt_names), (17, &alt_names)]);
    let unreadable = with_extensions(&[(15, &[0xff])]);
    assert_eq!(
        Identity::parse(&repeated).unwrap_err(),
        ParseError::RepeatedExtension("2.5.29.17".into())
    );
    assert_eq!(
        Identity::parse(&unreadable).unwrap_err(),
        ParseError::Extension("2.5.29.15".into())
    );
}

fn with_alt_names(san: &[u8]) -> Identity {
    Identity::parse(&with_extensions(&[(17, san)])).unwrap()
}

fn with_extensions(extensions: &[(u64, &[u8])]) -> Vec<u8> {
    let spec = testpki::leaf("x").params(|params| {
        for (id, content) in extensions {
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, *id], content.to_vec());
            params.custom_extensions.push(extension);
        }
    });
    spec.self_signed().der
}
