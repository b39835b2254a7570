//! KONG.md §1 and §2.5 as tables: what is put in, what comes out.
use super::fixtures::*;
use super::validate::{Context, insert, update};
use super::{Config, Entity, Kind, certificates, schema};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const ID: &str = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";

fn find(kind: Kind, key: &str) -> Option<Uuid> {
    ((kind, key) == (Kind::Services, "billing")).then(|| ID.parse().unwrap())
}

fn at(now_ms: i64) -> Context<'static> {
    Context {
        now_ms,
        find: &find,
        yaml: false,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn accepted(kind: Kind, input: Value) -> Entity {
    match insert(kind, object(input.clone()), &at(NOW_MS)) {
        Ok(row) => row,
        Err(errors) => panic!("{input}: {}", errors.message()),
    }
}

/// The message and the `fields` of a refusal.
fn refused(kind: Kind, input: Value) -> (String, Value) {
    match insert(kind, object(input.clone()), &at(NOW_MS)) {
        Ok(row) => panic!("{input} accepted as {}", Value::Object(row)),
        Err(errors) => (errors.message(), errors.to_json()),
    }
}

fn table(kind: Kind, rows: &[(&str, Value, &str)]) {
    for (section, input, message) in rows {
        let (found, _) = refused(kind, input.clone());
        assert_eq!(&found, message, "{section}: {input}");
    }
}

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

#[test]
fn routes_refuse_what_kong_refuses() {
    let twin = "failed conditional validation given value of field 'protocols'";
    table(
        Kind::Routes,
        &[
            (
                "1.6",
                json!({}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            ),
            (
                "1.6",
                json!({"hosts": []}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            ),
            (
                "1.6",
                json!({"protocols": ["http"]}),
                "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http')",
            ),
            (
                "1.6",
                json!({"protocols": ["grpcs"]}),
                "schema violation (must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs')",
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"]}),
                "schema violation (must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc')",
            ),
            (
                "1.6",
                json!({"protocols": ["tcp"]}),
                "schema violation (must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp')",
            ),
            (
                "1.6",
                json!({"protocols": ["tls_passthrough"]}),
                "schema violation (must set snis when 'protocols' is 'tls_passthrough')",
            ),
            (
                "1.6",
                json!({"protocols": []}),
                "schema violation (protocols: length must be at least 1)",
            ),
            (
                "1.6",
                json!({"protocols": ["http", "x"], "hosts": ["a"]}),
                "schema violation (protocols.2: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)",
            ),
            (
                "1.6",
                json!({"protocols": ["http"], "paths": ["/"], "snis": ["a"]}),
                &format!(
                    "2 schema violations ({twin}; snis: 'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough')"
                ),
            ),
            (
                "1.6",
                json!({"paths": ["/"], "sources": [{"ip": "1.1.1.1"}]}),
                &format!(
                    "2 schema violations ({twin}; sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"], "hosts": ["a"], "methods": ["GET"]}),
                &format!(
                    "2 schema violations ({twin}; methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["grpc"], "hosts": ["a"], "strip_path": true}),
                &format!(
                    "2 schema violations ({twin}; strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs')"
                ),
            ),
            (
                "1.6",
                json!({"protocols": ["tcp"], "hosts": ["a"], "sources": [{"port": 1}]}),
                &format!(
                    "2 schema violations ({twin}; hosts: cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp')"
                ),
            ),
            (
                "1.6",
                json!({"methods": ["get"]}),
                "schema violation (methods.1: invalid value: get)",
            ),
            (
                "1.6",
                json!({"hosts": ["*"]}),
                "schema violation (hosts.1: invalid wildcard: must be placed at leftmost or rightmost label)",
            ),
            (
                "1.6",
                json!({"hosts": ["*.a.*"]}),
                "schema violation (hosts.1: invalid wildcard: must have at most one wildcard)",
            ),
            (
                "1.6",
                json!({"hosts": ["a.*.b"]}),
                "schema violation (hosts.1: invalid wildcard: must be placed at leftmost or rightmost label)",
            ),
            (
                "1.6",
                json!({"hosts": ["a b"]}),
                "schema violation (hosts.1: invalid hostname: a b)",
            ),
            (
                "1.6",
                json!({"hosts": ["a:x"]}),
                "schema violation (hosts.1: invalid port number)",
            ),
            (
                "1.6",
                json!({"paths": ["x"]}),
                "schema violation (paths.1: should start with: / (fixed path) or ~/ (regex path))",
            ),
            (
                "1.6",
                json!({"paths": ["/a//b"]}),
                "schema violation (paths.1: must not have empty segments)",
            ),
            (
                "1.6",
                json!({"paths": ["/ok", "/a/../b"]}),
                "schema violation (paths.2: non-normalized path, consider use '/b' instead)",
            ),
            (
                "1.6",
                json!({"paths": ["/%61%2f"]}),
                "schema violation (paths.1: non-normalized path, consider use '/a%2F' instead)",
            ),
            (
                "1.6",
                json!({"paths": ["/{x}"]}),
                "schema violation (paths.1: invalid path: '/{x}' (characters outside of the reserved list of RFC 3986 found))",
            ),
            (
                "1.6",
                json!({"headers": {"Host": ["x"]}}),
                "schema violation (headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute)",
            ),
            (
                "1.6",
                json!({"headers": {"x": []}}),
                "schema violation (headers.x: length must be at least 1)",
            ),
            (
                "1.6",
                json!({"headers": ["x"]}),
                "schema violation (headers: expected a map)",
            ),
            (
                "1.6",
                json!({"snis": ["a*b.c"]}),
                "schema violation (snis.1: wildcard must be leftmost or rightmost character)",
            ),
            (
                "1.6",
                json!({"snis": ["*.a.*"]}),
                "schema violation (snis.1: only one wildcard must be specified)",
            ),
            (
                "1.6",
                json!({"hosts": ["a"], "https_redirect_status_code": 303}),
                "schema violation (https_redirect_status_code: expected one of: 426, 301, 302, 307, 308)",
            ),
            (
                "1.6",
                json!({"hosts": ["a"], "path_handling": "v2"}),
                "schema violation (path_handling: expected one of: v0, v1)",
            ),
            (
                "1.6",
                json!({"protocols": ["http", "tcp"], "hosts": ["a"], "sources": [{"port": 1}]}),
                &format!(
                    "5 schema violations (these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp'), ('tls_passthrough'), ('grpc', 'grpcs'); {twin}; {twin}; hosts: cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'; sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"
                ),
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": "x"}),
                "schema violation (service.id: missing primary key)",
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": {"id": 1}}),
                "schema violation (service.id: expected a valid UUID)",
            ),
            (
                "2.5",
                json!({"hosts": ["a"], "service": {"name": "x"}}),
                "foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity)",
            ),
        ],
    );
    let (message, fields) = refused(Kind::Routes, json!({"paths": ["~/a(?=b)"]}));
    assert!(
        message.starts_with("schema violation (Router Expression failed validation: "),
        "{message}"
    );
    assert!(fields["@entity"].is_array());
    // §2.5: the list of element errors, with nulls for the gaps.
    let (_, fields) = refused(Kind::Routes, json!({"hosts": ["a", "*", "b", "*"]}));
    let text = "invalid wildcard: must be placed at leftmost or rightmost label";
    assert_eq!(fields, json!({"hosts": [null, text, null, text]}));
}

#[test]
fn routes_are_completed() {
    let row = accepted(
        Kind::Routes,
        json!({"hosts": ["A.example.com:80", "*.b", "c.*", "1.2.3.4", "[::1]:5"], "service": {"name": "billing"},
               "headers": {"x-a": ["~*^b$"]}, "paths": ["/", "~/x/\\d+$"]}),
    );
    assert_eq!(row["service"], json!({"id": ID}));
    assert_eq!(row["protocols"], json!(["http", "https"]));
    assert_eq!(row["strip_path"], true);
    assert_eq!(row["hosts"][0], "A.example.com:80");
    let row = accepted(Kind::Routes, json!({"protocols": ["grpc"], "hosts": ["a"]}));
    assert_eq!(row["strip_path"], false);
}

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
    // §1.2: a vault reference cannot be checked here.
    accepted(
        Kind::Certificates,
        json!({"cert": "{vault://env/c}", "key": "{vault://env/k}"}),
    );
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
    let message = |result: Result<(), super::errors::Errors>| result.map_err(|e| e.message());
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

#[test]
fn consumers_acls_and_credentials_follow_kong() {
    table(
        Kind::Consumers,
        &[
            (
                "1.7",
                json!({}),
                "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')",
            ),
            (
                "1.7",
                json!({"username": ""}),
                "schema violation (username: length must be at least 1)",
            ),
        ],
    );
    table(
        Kind::Acls,
        &[
            (
                "1.9",
                json!({}),
                "2 schema violations (consumer: required field missing; group: required field missing)",
            ),
            (
                "1.9",
                json!({"consumer": {"id": ID}, "group": "a", "updated_at": 1}),
                "schema violation (updated_at: unknown field)",
            ),
        ],
    );
    table(
        Kind::MtlsAuthCredentials,
        &[(
            "1.8",
            json!({"consumer": {"id": ID}}),
            "schema violation (subject_name: required field missing)",
        )],
    );
    let row = accepted(
        Kind::MtlsAuthCredentials,
        json!({"consumer": {"id": ID}, "subject_name": "a"}),
    );
    assert_eq!(row["ca_certificate"], json!(null));
    assert!(!row.contains_key("updated_at"));
}

#[test]
fn upstreams_and_targets_follow_kong() {
    table(
        Kind::Upstreams,
        &[
            (
                "1.11",
                json!({"name": "a b"}),
                "schema violation (name: Invalid name ('a b'); must be a valid hostname)",
            ),
            (
                "1.11",
                json!({"name": "1.2.3.4"}),
                "schema violation (name: Invalid name ('1.2.3.4'); no ip addresses allowed)",
            ),
            (
                "1.11",
                json!({"name": "a:80"}),
                "schema violation (name: Invalid name ('a:80'); no port allowed)",
            ),
            (
                "1.11",
                json!({"name": "a", "slots": 9}),
                "schema violation (slots: value should be between 10 and 65536)",
            ),
            (
                "1.11",
                json!({"name": "a", "hash_on": "header"}),
                "2 schema violations (failed conditional validation given value of field 'hash_on'; hash_on_header: required field missing)",
            ),
            (
                "1.11",
                json!({"name": "a", "healthchecks": {"active": {"timeout": -1, "x": 1}}}),
                "2 schema violations (healthchecks.active.timeout: value should be between 0 and 65535; healthchecks.active.x: unknown field)",
            ),
        ],
    );
    let row = accepted(
        Kind::Upstreams,
        json!({"name": "pool", "healthchecks": {"threshold": 5}}),
    );
    let checks = &row["healthchecks"];
    assert_eq!(
        (&row["algorithm"], &row["slots"]),
        (&json!("round-robin"), &json!(10_000))
    );
    assert_eq!(
        (&checks["threshold"], &checks["active"]["headers"]),
        (&json!(5), &json!(null))
    );
    assert_eq!(
        checks["active"]["healthy"]["http_statuses"],
        json!([200, 302])
    );
    assert_eq!(
        checks["passive"]["unhealthy"]["http_statuses"],
        json!([429, 500, 503])
    );
    let row = accepted(Kind::Upstreams, json!({"name": "pool", "hash_on": "ip"}));
    assert_eq!(row["algorithm"], "consistent-hashing");
    let row = accepted(
        Kind::Upstreams,
        json!({"name": "pool", "hash_on": "ip", "algorithm": "least-connections"}),
    );
    assert_eq!(row["hash_on"], "none");
    for (given, stored) in [
        ("a", "a:8000"),
        ("a:1", "a:1"),
        ("1.2.3.4", "1.2.3.4:8000"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
        ("[::1]:5", "[0000:0000:0000:0000:0000:0000:0000:0001]:5"),
    ] {
        let row = accepted(
            Kind::Targets,
            json!({"target": given, "upstream": {"id": ID}}),
        );
        assert_eq!(
            (&row["target"], &row["weight"]),
            (&json!(stored), &json!(100))
        );
        assert_eq!(row["created_at"].as_f64(), Some(1_798_761_600.0));
    }
    refused(
        Kind::Targets,
        json!({"target": "a b", "upstream": {"id": ID}}),
    );
}

#[test]
fn plugins_follow_their_own_tables() {
    let acl = |config: Value| json!({"name": "acl", "config": config});
    let mtls = |config: Value| json!({"name": "mtls-auth", "config": config});
    let termination = |config: Value| json!({"name": "request-termination", "config": config});
    table(
        Kind::Plugins,
        &[
            (
                "1.10",
                json!({}),
                "schema violation (name: required field missing)",
            ),
            (
                "1.10",
                json!({"name": "x"}),
                "schema violation (name: plugin 'x' not enabled; add it to the 'plugins' configuration property)",
            ),
            (
                "1.10",
                json!({"name": "acl", "config": {"allow": ["a"]}, "consumer": {"id": ID}}),
                "schema violation (consumer: value must be null)",
            ),
            (
                "2.5",
                json!({"name": "acl", "config": {"allow": ["a"]}, "protocols": ["x"]}),
                "schema violation (protocols.1: expected one of: grpc, grpcs, http, https)",
            ),
            (
                "5.8",
                acl(json!({})),
                "schema violation (at least one of these fields must be non-empty: 'config.allow', 'config.deny')",
            ),
            (
                "5.8",
                acl(json!({"allow": ["a"], "deny": ["b"]})),
                "schema violation (only one or none of these fields must be set: 'config.allow', 'config.deny')",
            ),
            (
                "5.8",
                acl(json!({"allow": "a"})),
                "schema violation (config.allow: expected an array)",
            ),
            (
                "5.1",
                mtls(json!({})),
                "schema violation (config.ca_certificates: required field missing)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": []})),
                "schema violation (config.ca_certificates: length must be at least 1)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": [ID], "consumer_by": ["x"]})),
                "schema violation (config.consumer_by.1: expected one of: username, custom_id)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": [ID], "revocation_check_mode": "STRICT"})),
                "schema violation (config.revocation_check_mode: STRICT needs revocation lookups, which this version does not do)",
            ),
            (
                "",
                termination(json!({"status_code": 99})),
                "schema violation (config.status_code: value should be between 100 and 599)",
            ),
            (
                "",
                termination(json!({"message": "a", "body": "b"})),
                "schema violation (config: message cannot be used with content_type or body)",
            ),
            (
                "",
                termination(json!({"content_type": "a"})),
                "schema violation (config: content_type requires a body)",
            ),
        ],
    );
    let row = accepted(
        Kind::Plugins,
        mtls(json!({"ca_certificates": [ID.to_uppercase()]})),
    );
    assert_eq!(
        row["config"],
        json!({
            "anonymous": null, "consumer_by": ["username", "custom_id"], "ca_certificates": [ID], "cache_ttl": 60,
            "skip_consumer_lookup": false, "allow_partial_chain": false, "authenticated_group_by": "CN",
            "revocation_check_mode": "IGNORE_CA_ERROR", "http_timeout": 30000, "cert_cache_ttl": 60000,
            "send_ca_dn": false, "http_proxy_host": null, "http_proxy_port": null, "https_proxy_host": null,
            "https_proxy_port": null, "default_consumer": null, "ssl_verify": true, "san_dirname_matcher": []
        })
    );
    assert_eq!(row["protocols"], json!(["grpc", "grpcs", "http", "https"]));
    let row = accepted(Kind::Plugins, json!({"name": "prometheus"}));
    assert_eq!(row["config"]["per_consumer"], false);
    let row = accepted(
        Kind::Plugins,
        json!({"name": "request-termination", "consumer": {"id": ID}}),
    );
    assert_eq!(row["config"]["status_code"], 503);
}

#[test]
fn patch_merges_records_and_replaces_lists() {
    let ctx = at(NOW_MS + 5_000);
    let patch = |kind, stored: &Entity, patch: Value| update(kind, stored, object(patch), &ctx);
    let service = accepted(
        Kind::Services,
        json!({"url": "http://a/old", "retries": 3, "created_at": 7, "tags": ["x"]}),
    );
    let row = patch(Kind::Services, &service, json!({"url": "https://b"})).unwrap();
    assert_eq!(
        (&row["host"], &row["port"], &row["path"]),
        (&json!("b"), &json!(443), &json!(null))
    );
    assert_eq!(
        (&row["retries"], &row["created_at"]),
        (&json!(3), &json!(7))
    );
    assert_eq!(
        (&row["id"], &row["updated_at"]),
        (&service["id"], &json!(1_798_761_605))
    );
    let row = patch(
        Kind::Services,
        &service,
        json!({"protocol": "https", "tags": null}),
    )
    .unwrap();
    assert_eq!((&row["port"], &row["tags"]), (&json!(80), &json!(null)));
    let plugin = accepted(
        Kind::Plugins,
        json!({"name": "acl", "config": {"allow": ["a", "b"], "hide_groups_header": true}}),
    );
    let row = patch(Kind::Plugins, &plugin, json!({"config": {"allow": ["c"]}})).unwrap();
    assert_eq!(row["config"]["allow"], json!(["c"]));
    assert_eq!(row["config"]["hide_groups_header"], true);
    let consumer = accepted(Kind::Consumers, json!({"username": "a"}));
    let errors = patch(Kind::Consumers, &consumer, json!({"username": null})).unwrap_err();
    assert_eq!(
        errors.message(),
        "schema violation (when updating, at least one of these fields must be non-empty: 'custom_id', 'username')"
    );
    // §1.2: the new certificate is checked against the stored key.
    let certificate = accepted(Kind::Certificates, json!({"cert": LEAF, "key": LEAF_KEY}));
    let errors = patch(Kind::Certificates, &certificate, json!({"cert": SEC1})).unwrap_err();
    assert_eq!(
        errors.message(),
        "schema violation (certificate does not match key)"
    );
    patch(
        Kind::Certificates,
        &certificate,
        json!({"cert": SEC1, "key": SEC1_KEY}),
    )
    .unwrap();
}

#[test]
fn rows_have_every_field_of_their_schema_and_fit_their_view() {
    let mut config = Config::default();
    let inputs = [
        (Kind::Certificates, json!({"cert": LEAF, "key": LEAF_KEY})),
        (Kind::Snis, json!({"name": "a", "certificate": {"id": ID}})),
        (Kind::CaCertificates, json!({"cert": ROOT})),
        (
            Kind::Services,
            json!({"host": "a", "retries": null, "connect_timeout": null, "read_timeout": null, "write_timeout": null}),
        ),
        (
            Kind::Routes,
            json!({"paths": ["/"], "regex_priority": null, "path_handling": null}),
        ),
        (Kind::Consumers, json!({"username": "a"})),
        (
            Kind::MtlsAuthCredentials,
            json!({"consumer": {"id": ID}, "subject_name": "a"}),
        ),
        (Kind::Acls, json!({"consumer": {"id": ID}, "group": "a"})),
        (Kind::Upstreams, json!({"name": "a", "algorithm": null})),
        (
            Kind::Targets,
            json!({"upstream": {"id": ID}, "target": "a"}),
        ),
        (
            Kind::Plugins,
            json!({"name": "acl", "config": {"allow": ["a"]}}),
        ),
    ];
    assert_eq!(inputs.len(), Kind::ALL.len());
    for (kind, input) in inputs {
        let row = accepted(kind, input);
        let fields = schema::of(kind)
            .fields
            .iter()
            .filter(|field| !field.transient);
        let names: Vec<&str> = fields.map(|field| field.name).collect();
        assert_eq!(
            row.keys().map(String::as_str).collect::<Vec<_>>(),
            names,
            "{kind:?}"
        );
        let id: Uuid = row["id"].as_str().unwrap().parse().unwrap();
        config.insert(kind, id, row);
    }
    crate::declarative::rows_fit(&config);
}

#[test]
fn references_only_point_backwards() {
    for (position, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(schema::of(kind).kind, kind);
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        for (field, to) in schema::of(kind).references() {
            assert!(
                Kind::ALL[..position].contains(&to),
                "{kind:?}.{}",
                field.name
            );
        }
    }
}
