use super::testpki::{ca, leaf};
use super::*;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn partial(allow_partial_chain: bool) -> Options {
    Options {
        allow_partial_chain,
    }
}

#[test]
fn the_digest_depends_on_content_and_on_nothing_else() {
    let (a, b) = (ca("A").self_signed(), ca("B").self_signed());
    let set = |anchors: &[(u128, &testpki::Made)], options| {
        let anchors = anchors.iter().map(|(n, made)| (id(*n), made.der.clone()));
        TrustSet::build(anchors.collect(), options).unwrap().digest
    };
    let base = set(&[(1, &a), (2, &b)], partial(false));
    let rows = [
        (
            "another order",
            set(&[(2, &b), (1, &a)], partial(false)),
            true,
        ),
        (
            "one twice",
            set(&[(1, &a), (2, &b), (1, &a)], partial(false)),
            true,
        ),
        ("one fewer", set(&[(1, &a)], partial(false)), false),
        (
            "ids exchanged",
            set(&[(2, &a), (1, &b)], partial(false)),
            false,
        ),
        (
            "partial chains",
            set(&[(1, &a), (2, &b)], partial(true)),
            false,
        ),
        (
            "one renewed",
            set(
                &[
                    (1, &ca("A").key_of(&a).years(2021, 2041).self_signed()),
                    (2, &b),
                ],
                partial(false),
            ),
            false,
        ),
    ];
    for (what, digest, same) in rows {
        assert_eq!(digest == base, same, "{what}");
    }
}

#[test]
fn what_cannot_be_an_anchor_is_refused_by_its_id() {
    let end_entity = leaf("x").self_signed().der;
    let mut trailing = ca("A").self_signed().der;
    trailing.push(0);
    let rows = [
        (b"garbage".to_vec(), "not an X.509 certificate in DER"),
        (trailing, "1 bytes follow the certificate"),
        (end_entity, "not a CA: basicConstraints has no cA"),
        (v1_root(), "not a CA: basicConstraints has no cA"),
    ];
    for (der, expected) in rows {
        let good = (id(1), ca("Good").self_signed().der);
        let error = TrustSet::build(vec![good, (id(7), der.clone())], partial(false)).unwrap_err();
        let place = format!("ca_certificates {}: ", id(7));
        assert!(error.starts_with(&(place + expected)), "{error}");

        let error = Roots::from_ders(vec![("ca.pem".into(), der.clone())]).unwrap_err();
        assert!(error.starts_with(&format!("ca.pem: {expected}")), "{error}");

        let (roots, left_out) = Roots::from_bundle(vec![der, ca("Good").self_signed().der]);
        assert_eq!((roots.len(), left_out.len()), (1, 1));
        assert!(
            left_out[0].starts_with("certificate 1: "),
            "{}",
            left_out[0]
        );
    }
}

#[test]
fn roots_are_read_from_pem_and_the_text_at_fault_is_named() {
    let (a, b) = (ca("A").self_signed(), ca("B").self_signed());
    let both = a.pem() + "# a comment between them\n" + &b.pem();
    let roots = Roots::from_pems(&[("trusted", &both)]).unwrap();
    assert_eq!(roots.len(), 2);
    let reversed = Roots::from_pems(&[("trusted", &b.pem()), ("more", &a.pem())]).unwrap();
    assert_eq!(roots.digest, reversed.digest);
    let one = Roots::from_pems(&[("trusted", &a.pem())]).unwrap();
    assert_ne!(roots.digest, one.digest);

    let second_is_no_ca = a.pem() + &leaf("x").self_signed().pem();
    let rows = [
        ("", "trusted: no certificate in it"),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "trusted: not PEM",
        ),
        (&second_is_no_ca, "trusted, certificate 2: not a CA"),
    ];
    for (pem, expected) in rows {
        let error = Roots::from_pems(&[("trusted", pem)]).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn subject_names_are_listed_once_each() {
    let old = ca("A").self_signed();
    let anchors = [
        old.der.clone(),
        ca("A").self_signed().der,
        ca("B").self_signed().der,
    ];
    let anchors = anchors
        .into_iter()
        .enumerate()
        .map(|(n, der)| (id(n as u128), der));
    let set = TrustSet::build(anchors.collect(), partial(false)).unwrap();
    let names = set.subject_names();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&crate::tls::identity::subject_der(&old.der).unwrap()));
}

/// A self-signed certificate without version and extensions, cut out of a v3 one; its signature does not matter here.
fn v1_root() -> Vec<u8> {
    let der = leaf("Old root").self_signed().der;
    // Certificate { tbs { [0] version, … , spki, [3] extensions? } … }, each with two length bytes where long.
    let version = [0xa0, 3, 2, 1, 2];
    let start = der.windows(5).position(|bytes| bytes == version).unwrap();
    let tbs = &der[start + version.len()..];
    let (mut fields, mut rest) = (Vec::new(), tbs);
    // serial, signature, issuer, validity, subject, spki
    for _ in 0..6 {
        let (field, after) = rest.split_at(2 + usize::from(rest[1]));
        fields.extend_from_slice(field);
        rest = after;
    }
    let sequence = |content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match length {
            [0, short @ 0..0x80] => [&[0x30, short], content].concat(),
            [0, short] => [&[0x30, 0x81, short], content].concat(),
            [high, low] => [&[0x30, 0x82, high, low], content].concat(),
        }
    };
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let signature = [3, 9, 0, 0x30, 6, 2, 1, 1, 2, 1, 1];
    sequence(&[&sequence(&fields), &algorithm[..], &signature[..]].concat())
}
