//! `services` (KONG.md §1.1, §1.5).
use super::{ID, accepted, refused, table};
use crate::entity::Kind;
use serde_json::{Value, json};

#[test]
fn services_refuse_what_kong_refuses() {
    let conditional = "failed conditional validation given value of field 'protocol'";
    table(
        Kind::Services,
        &[
            (
                "1.1",
                json!({}),
                "schema violation (host: required field missing)",
            ),
            (
                "1.1",
                json!({"host": null}),
                "schema violation (host: required field missing)",
            ),
            (
                "1.1",
                json!({"host": "a", "nope": 1}),
                "schema violation (nope: unknown field)",
            ),
            (
                "1.1",
                json!({"host": "a", "id": "x"}),
                "schema violation (id: expected a valid UUID)",
            ),
            (
                "1.1",
                json!({"host": "a", "name": "a b"}),
                "schema violation (name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~)",
            ),
            (
                "1.1",
                json!({"host": "a", "name": ""}),
                "schema violation (name: length must be at least 1)",
            ),
            (
                "1.1",
                json!({"host": "a", "tags": ["x,y"]}),
                "schema violation (tags.1: invalid tag 'x,y': expected printable ascii (except `,` and `/`) or valid utf-8 sequences)",
            ),
            (
                "1.1",
                json!({"host": "a", "tags": "x"}),
                "schema violation (tags: expected a set)",
            ),
            (
                "1.5",
                json!({"host": 1}),
                "schema violation (host: expected a string)",
            ),
            (
                "1.5",
                json!({"host": "a:80"}),
                "schema violation (host: must not have a port)",
            ),
            (
                "1.5",
                json!({"host": "[::1]:80"}),
                "schema violation (host: must not have a port)",
            ),
            (
                "1.5",
                json!({"host": "a_b..c"}),
                "schema violation (host: invalid value: a_b..c)",
            ),
            (
                "1.5",
                json!({"host": "1.2.3.400"}),
                "schema violation (host: invalid value: 1.2.3.400)",
            ),
            (
                "2.3",
                json!({"host": "a", "port": "80"}),
                "schema violation (port: expected an integer)",
            ),
            (
                "1.5",
                json!({"host": "a", "port": 80.5}),
                "schema violation (port: expected an integer)",
            ),
            (
                "1.5",
                json!({"host": "a", "port": 65536}),
                "schema violation (port: value should be between 0 and 65535)",
            ),
            (
                "1.5",
                json!({"host": "a", "protocol": "ws"}),
                "schema violation (protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)",
            ),
            (
                "1.5",
                json!({"host": "a", "retries": 32768}),
                "schema violation (retries: value should be between 0 and 32767)",
            ),
            (
                "1.5",
                json!({"host": "a", "connect_timeout": 0}),
                "schema violation (connect_timeout: value should be between 1 and 2147483646)",
            ),
            (
                "1.5",
                json!({"host": "a", "enabled": "yes"}),
                "schema violation (enabled: expected a boolean)",
            ),
            (
                "1.5",
                json!({"host": "a", "path": "x"}),
                "schema violation (path: should start with: /)",
            ),
            (
                "1.5",
                json!({"host": "a", "path": "//x"}),
                "schema violation (path: must not have empty segments)",
            ),
            (
                "1.5",
                json!({"host": "a", "path": "/a b"}),
                "schema violation (path: invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found))",
            ),
            (
                "1.5",
                json!({"host": "a", "path": "/%2w"}),
                "schema violation (path: invalid url-encoded value: '%2w')",
            ),
            (
                "1.5",
                json!({"host": "a", "path": "/%2"}),
                "schema violation (path: invalid url-encoded value: '%2')",
            ),
            (
                "1.5",
                json!({"host": "a", "tls_verify": true}),
                &format!("2 schema violations ({conditional}; tls_verify: value must be null)"),
            ),
            (
                "1.5",
                json!({"host": "a", "protocol": "grpcs", "tls_verify_depth": 1}),
                &format!(
                    "2 schema violations ({conditional}; tls_verify_depth: value must be null)"
                ),
            ),
            (
                "1.5",
                json!({"host": "a", "client_certificate": {"id": ID}}),
                &format!(
                    "2 schema violations ({conditional}; client_certificate: value must be null)"
                ),
            ),
            (
                "1.5",
                json!({"host": "a", "ca_certificates": [ID]}),
                &format!(
                    "2 schema violations ({conditional}; ca_certificates: value must be null)"
                ),
            ),
            (
                "1.5",
                json!({"host": "a", "protocol": "tcp", "path": "/"}),
                &format!("2 schema violations ({conditional}; path: value must be null)"),
            ),
            (
                "1.5",
                json!({"host": "a", "protocol": "https", "tls_verify_depth": 65}),
                "schema violation (tls_verify_depth: value should be between 0 and 64)",
            ),
            (
                "1.5",
                json!({"host": "a", "protocol": "https", "ca_certificates": [ID, "x"]}),
                "schema violation (ca_certificates.2: expected a valid UUID)",
            ),
            (
                "1.5",
                json!({"url": "invalid url"}),
                "2 schema violations (host: required field missing; path: should start with: /)",
            ),
            (
                "1.5",
                json!({"url": 5}),
                "2 schema violations (host: required field missing; url: expected a string)",
            ),
            (
                "2.5",
                json!({"host": "a", "client_certificate": "x", "protocol": "https"}),
                "schema violation (client_certificate.id: missing primary key)",
            ),
        ],
    );
}

#[test]
fn services_are_completed_with_every_field() {
    let mut row = accepted(
        Kind::Services,
        json!({"host": "example.com", "id": ID.to_uppercase()}),
    );
    assert_eq!(row.remove("id"), Some(json!(ID)));
    let expected = json!({
        "created_at": 1_798_761_600, "updated_at": 1_798_761_600, "name": null, "retries": 5, "protocol": "http",
        "host": "example.com", "port": 80, "path": null, "connect_timeout": 60000, "write_timeout": 60000,
        "read_timeout": 60000, "tags": null, "client_certificate": null, "tls_verify": null,
        "tls_verify_depth": null, "ca_certificates": null, "enabled": true
    });
    assert_eq!(Value::Object(row), expected);
    // §1.1: an explicit null stays null where the field is optional, a supplied created_at is honoured,
    // updated_at is not, sets drop duplicates.
    let row = accepted(
        Kind::Services,
        json!({"host": "a", "retries": null, "created_at": 5, "updated_at": 5, "tags": ["b", "a", "b"], "port": 81.0}),
    );
    assert_eq!(
        (&row["retries"], &row["created_at"]),
        (&json!(null), &json!(5))
    );
    assert_eq!(
        (&row["updated_at"], &row["tags"]),
        (&json!(1_798_761_600), &json!(["b", "a"]))
    );
    assert_eq!(row["port"].to_string(), "81");
}

/// Stored, ten thousand copies of a tag would hold 700 KB for the one that is left.
#[test]
fn a_set_keeps_no_room_for_what_it_drops() {
    let row = accepted(
        Kind::Services,
        json!({"host": "a", "tags": vec!["t"; 10_000]}),
    );
    let tags = row["tags"].as_array().expect("a list");
    assert_eq!((tags.len(), tags.capacity()), (1, 1));
}

#[test]
fn url_shorthand_sets_four_fields() {
    for (url, protocol, host, port, path) in [
        (
            "https://example.com/v1",
            "https",
            "example.com",
            443,
            json!("/v1"),
        ),
        ("http://example.com", "http", "example.com", 80, json!(null)),
        (
            "https://example.com:8443/",
            "https",
            "example.com",
            8443,
            json!("/"),
        ),
        (
            "//example.com:443/x",
            "https",
            "example.com",
            443,
            json!("/x"),
        ),
        ("//example.com:80", "http", "example.com", 80, json!(null)),
        (
            "http://u:p@[::1]:81/a?b#c",
            "http",
            "[::1]",
            81,
            json!("/a"),
        ),
    ] {
        let row = accepted(
            Kind::Services,
            json!({"url": url, "host": "loses", "port": 1, "path": "/loses"}),
        );
        assert_eq!(row["protocol"], protocol, "{url}");
        assert_eq!(row["host"], host, "{url}");
        assert_eq!(row["port"], port, "{url}");
        assert_eq!(row["path"], path, "{url}");
        assert!(!row.contains_key("url"));
    }
    for url in ["", " "] {
        refused(Kind::Services, json!({"url": url}));
    }
}
