//! `certificates`, `snis`, `ca_certificates` (KONG.md §1.2 to §1.4).
use super::{ID, accepted, at, object, refused, table};
use crate::entity::errors::Errors;
use crate::entity::fixtures::*;
use crate::entity::validate::insert;
use crate::entity::{Kind, certificates};
use serde_json::json;
use uuid::Uuid;

#[test]
fn snis_follow_the_name_rules() {
    let sni = |name: &str| json!({"name": name, "certificate": {"id": ID}});
    for name in [
        "a",
        "a.example.com",
        "*.example.com",
        "example.*",
        "*",
        "*foo.com",
    ] {
        accepted(Kind::Snis, sni(name));
    }
    table(
        Kind::Snis,
        &[
            (
                "1.3",
                json!({"name": "a"}),
                "schema violation (certificate: required field missing)",
            ),
            (
                "1.3",
                sni("a*b"),
                "schema violation (name: wildcard must be leftmost or rightmost character)",
            ),
            (
                "1.3",
                sni("*.a.*"),
                "schema violation (name: only one wildcard must be specified)",
            ),
            (
                "1.3",
                sni("1.2.3.4"),
                "schema violation (name: must not be an IP)",
            ),
            (
                "1.3",
                sni("a:443"),
                "schema violation (name: must not have a port)",
            ),
            (
                "1.3",
                sni("a b"),
                "schema violation (name: invalid value: a b)",
            ),
        ],
    );
}

#[test]
fn certificates_are_matched_with_their_keys() {
    for (cert, key) in [
        (LEAF, LEAF_KEY),
        (SEC1, SEC1_KEY),
        (PKCS1, PKCS1_KEY),
        (P521, P521_KEY),
        (ED25519, ED25519_KEY),
    ] {
        let row = accepted(Kind::Certificates, json!({"cert": cert, "key": key}));
        assert_eq!(row["cert"], cert, "PEM is stored verbatim");
        assert!(!row.contains_key("snis"), "snis are not part of the row");
    }
    let mismatch = "certificate does not match key";
    let rows = [
        (json!({"cert": LEAF}), "schema violation (key: required field missing)".to_owned()),
        (json!({"cert": LEAF, "key": SEC1_KEY}), format!("schema violation ({mismatch})")),
        (json!({"cert": LEAF, "key": PKCS1_KEY}), format!("schema violation ({mismatch})")),
        (
            json!({"cert": LEAF, "key": LEAF_KEY, "cert_alt": PKCS1}),
            "schema violation (all or none of these fields must be set: 'cert_alt', 'key_alt')".to_owned(),
        ),
        (
            json!({"cert": LEAF, "key": LEAF_KEY, "cert_alt": PKCS1, "key_alt": LEAF_KEY}),
            format!("schema violation (alternative {mismatch})"),
        ),
        (
            json!({"cert": LEAF, "key": LEAF_KEY, "cert_alt": P521, "key_alt": P521_KEY}),
            "schema violation (certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type)".to_owned(),
        ),
        (
            json!({"cert": LEAF, "key": ENCRYPTED_KEY}),
            "schema violation (key: invalid key: the private key is encrypted; store it without a passphrase)".to_owned(),
        ),
        (
            // aws-lc reads the key; no handshake could show the certificate (RFC 8422 §5.4 names curves only).
            json!({"cert": EXPLICIT, "key": EXPLICIT_KEY}),
            "schema violation (cert: invalid certificate: the public key is neither RSA, nor ECDSA on P-256, P-384 or P-521, nor Ed25519)".to_owned(),
        ),
        (
            json!({"cert": LEAF, "key": LEAF_KEY, "snis": ["a b"]}),
            "schema violation (snis.1: invalid value: a b)".to_owned(),
        ),
    ];
    for (input, message) in rows {
        assert_eq!(refused(Kind::Certificates, input).0, message);
    }
    let (message, _) = refused(Kind::Certificates, json!({"cert": "x", "key": "y"}));
    assert!(message.contains("cert: invalid certificate: "), "{message}");
    let (message, _) = refused(Kind::Certificates, json!({"cert": LEAF, "key": "y"}));
    assert!(message.contains("key: invalid key: "), "{message}");
    accepted(
        Kind::Certificates,
        json!({"cert": LEAF, "key": LEAF_KEY, "cert_alt": ED25519, "key_alt": ED25519_KEY}),
    );
    // §1.2: the syntax is reserved.
    let reference = "references are followed in declarative files only, send the PEM text";
    for (input, message) in [
        (
            json!({"cert": "{vault://env/c}", "key": "{vault://env/k}"}),
            format!("schema violation (cert: invalid certificate: {reference})"),
        ),
        (
            json!({"cert": LEAF, "key": "{vault://env/k}"}),
            format!("schema violation (key: invalid key: {reference})"),
        ),
    ] {
        assert_eq!(refused(Kind::Certificates, input).0, message);
    }
}

#[test]
fn a_key_whose_line_breaks_are_lost_is_not_quoted_in_the_error() {
    let certificate = "a BEGIN line of the PEM text holds more than that; are its line breaks lost, or written as \\n?";
    let end = "a section of the PEM text has no END line of its own; are its line breaks lost?";
    let base64 = "a section of the PEM text is not base64";
    let body = LEAF_KEY.lines().nth(1).unwrap();
    let cut = LEAF_KEY.split("-----END").next().unwrap();
    for (key, reason) in [
        (LEAF_KEY.replace('\n', "\\n"), certificate),
        (LEAF_KEY.replace('\n', " "), end),
        (LEAF_KEY.replace('\n', ""), end),
        (cut.to_owned(), end),
        (LEAF_KEY.replace(body, &format!("!{body}")), base64),
    ] {
        let (message, fields) = refused(Kind::Certificates, json!({"cert": LEAF, "key": key}));
        assert_eq!(
            message,
            format!("schema violation (key: invalid key: {reason})")
        );
        assert_eq!(fields, json!({"key": format!("invalid key: {reason}")}));
        // What is sent in the wrong field is no better guarded.
        let (message, _) = refused(Kind::Certificates, json!({"cert": key, "key": LEAF_KEY}));
        assert!(
            message.starts_with("schema violation (cert: invalid certificate: "),
            "{message}"
        );
        assert!(!message.contains('['), "{message}");
        let (message, _) = refused(Kind::CaCertificates, json!({"cert": key}));
        assert!(
            message.starts_with("schema violation (invalid certificate: "),
            "{message}"
        );
        assert!(!message.contains('['), "{message}");
    }
}

#[test]
fn certificate_names_belong_to_one_certificate() {
    let owner: Uuid = ID.parse().unwrap();
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let owner_of = |name: &str| (name == "taken").then_some(owner);
    let message = |result: Result<(), Errors>| result.map_err(|e| e.message());
    assert_eq!(
        message(certificates::check_snis(
            &names(&["a", "a"]),
            None,
            owner_of
        )),
        Err("schema violation (snis: a is duplicated)".into())
    );
    assert_eq!(
        message(certificates::check_snis(&names(&["taken"]), None, owner_of)),
        Err(format!(
            "schema violation (snis: taken already associated with existing certificate '{ID}')"
        ))
    );
    assert_eq!(
        message(certificates::check_snis(
            &names(&["taken"]),
            Some(owner),
            owner_of
        )),
        Ok(())
    );
    let mut row = accepted(
        Kind::Certificates,
        json!({"cert": LEAF, "key": LEAF_KEY, "snis": ["b", "a"]}),
    );
    assert_eq!(certificates::take_snis(&mut row), Some(names(&["b", "a"])));
    assert_eq!(certificates::take_snis(&mut row), None);
}

#[test]
fn ca_certificates_are_checked_in_order() {
    let row = accepted(
        Kind::CaCertificates,
        json!({"cert": ROOT, "cert_digest": "made up"}),
    );
    let digest = row["cert_digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    assert!(
        digest
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
    let entity = |text: &str| json!({"@entity": [text]});
    let refusal = |cert: String| refused(Kind::CaCertificates, json!({"cert": cert})).1;
    assert_eq!(
        refusal(format!("{ROOT}{ROOT2}")),
        entity("please submit only one certificate at a time")
    );
    assert_eq!(
        refusal(LEAF.into()),
        entity(
            "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
        )
    );
    assert!(
        refusal("x".into())["@entity"][0]
            .as_str()
            .unwrap()
            .starts_with("invalid certificate: ")
    );
    // The order: expired comes before the constraint.
    let late = insert(
        Kind::CaCertificates,
        object(json!({"cert": LEAF})),
        &at(LATER_MS),
    );
    assert_eq!(
        late.unwrap_err().to_json(),
        entity("certificate expired, \"Not After\" time is in the past")
    );
}
