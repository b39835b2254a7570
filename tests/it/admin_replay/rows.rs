//! Rules of rows that hold through HTTP, for the kinds whose tables of the service's own tests have no such row
//! (KONG.md §1.3, §1.5, §1.6, §1.11).

use crate::support::entities::id;
use crate::support::{Admin, Leaf, Setup, Value, json};

/// A write that is refused with this whole message, and with it under `fields` too.
#[track_caller]
fn refused(admin: &mut Admin, section: &str, target: &str, body: &Value, message: &str) {
    let answer = admin.post(target, body);
    assert_eq!(answer.status(), 400, "{section} {body}: {}", answer.text());
    let found = answer.body();
    assert_eq!(
        (&found["code"], &found["name"], &found["message"]),
        (&json!(2), &json!("schema violation"), &json!(message)),
        "{section} {body}"
    );
    assert!(
        found["fields"]
            .as_object()
            .is_some_and(|fields| !fields.is_empty()),
        "{section} {body}: {found}"
    );
}

#[test]
fn routes_are_as_section_1_6_says() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let twin = "failed conditional validation given value of field 'protocols'";
    for (section, body, message) in [
        (
            "1.6 one of",
            json!({}),
            "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')".to_owned(),
        ),
        (
            "1.6 one of",
            json!({"protocols": ["tls_passthrough"]}),
            "schema violation (must set snis when 'protocols' is 'tls_passthrough')".to_owned(),
        ),
        (
            "1.6 snis",
            json!({"protocols": ["http"], "paths": ["/"], "snis": ["a.test"]}),
            format!("2 schema violations ({twin}; snis: 'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough')"),
        ),
        (
            "1.6 forbidden",
            json!({"paths": ["/"], "sources": [{"ip": "192.0.2.1"}]}),
            format!("2 schema violations ({twin}; sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"),
        ),
        (
            "1.6 methods",
            json!({"methods": ["GET", "get"]}),
            "schema violation (methods.2: invalid value: get)".to_owned(),
        ),
        (
            "1.6 hosts",
            json!({"hosts": ["*.a.*"]}),
            "schema violation (hosts.1: invalid wildcard: must have at most one wildcard)".to_owned(),
        ),
        (
            "1.6 hosts",
            json!({"hosts": ["a.test", "a*b.test"]}),
            "schema violation (hosts.2: invalid wildcard: must be placed at leftmost or rightmost label)".to_owned(),
        ),
        (
            "1.6 hosts",
            json!({"hosts": ["a b"]}),
            "schema violation (hosts.1: invalid hostname: a b)".to_owned(),
        ),
        (
            "1.6 hosts",
            json!({"hosts": ["a.test:99999"]}),
            "schema violation (hosts.1: invalid port number)".to_owned(),
        ),
        (
            "1.6 paths",
            json!({"paths": ["a"]}),
            "schema violation (paths.1: should start with: / (fixed path) or ~/ (regex path))".to_owned(),
        ),
        (
            "1.6 paths",
            json!({"paths": ["/a//b"]}),
            "schema violation (paths.1: must not have empty segments)".to_owned(),
        ),
        (
            "1.6 paths",
            json!({"paths": ["/a/../b"]}),
            "schema violation (paths.1: non-normalized path, consider use '/b' instead)".to_owned(),
        ),
        (
            "1.6 redirect",
            json!({"paths": ["/"], "https_redirect_status_code": 418}),
            "schema violation (https_redirect_status_code: expected one of: 426, 301, 302, 307, 308)".to_owned(),
        ),
        (
            "1.6 path_handling",
            json!({"paths": ["/"], "path_handling": "v2"}),
            "schema violation (path_handling: expected one of: v0, v1)".to_owned(),
        ),
        (
            "1.6 headers",
            json!({"headers": {"Host": ["a.test"]}}),
            "schema violation (headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute)".to_owned(),
        ),
    ] {
        refused(&mut admin, section, "/routes", &body, &message);
    }
    let regex = admin.post("/routes", &json!({"paths": ["~/a(?=b)"]}));
    let regex = regex.assert(400);
    let text = regex["message"].as_str().unwrap_or_default();
    assert!(
        text.contains("Router Expression failed validation: "),
        "{text}"
    );
    assert!(admin.rows("/routes").is_empty(), "nothing of it was stored");

    let body = json!({"id": id(1), "name": "r", "paths": ["/"], "methods": ["PUT", "GET", "PUT"], "hosts": ["B.test", "a.test"]});
    let row = admin.have("/routes", &body);
    assert_eq!(
        (&row["methods"], &row["hosts"]),
        (&json!(["PUT", "GET"]), &json!(["B.test", "a.test"])),
        "1.1 a set drops what comes twice; 1.6 case is kept"
    );
    // The check is of the whole row that a PATCH would leave.
    let patched = admin.patch(
        "/routes/r",
        &json!({"paths": null, "methods": null, "hosts": null}),
    );
    let text = "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')";
    assert_eq!(patched.assert(400)["message"], text);
    let patched = admin.patch(
        "/routes/r",
        &json!({"protocols": ["grpc"], "strip_path": false, "methods": null}),
    );
    assert_eq!(patched.assert(200)["protocols"], json!(["grpc"]));
    admin
        .patch("/routes/r", &json!({"strip_path": true}))
        .assert(400);
    let grpc = admin.have("/routes", &json!({"protocols": ["grpcs"], "paths": ["/"]}));
    assert_eq!(grpc["strip_path"], false, "1.6");
}

#[test]
fn names_of_certificates_are_as_section_1_3_says() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let pair = Leaf::new("a.test").self_signed();
    let certificate = json!({"id": id(1), "cert": pair.cert_pem, "key": pair.key_pem});
    admin.have("/certificates", &certificate);
    let named = |name: &str| json!({"name": name, "certificate": {"id": id(1)}});
    for (name, message) in [
        ("192.0.2.1", "must not be an IP"),
        ("a.test:80", "must not have a port"),
        ("*.a.*", "only one wildcard must be specified"),
        ("a.*.b", "wildcard must be leftmost or rightmost character"),
        ("a b", "invalid value: a b"),
    ] {
        let message = format!("schema violation (name: {message})");
        refused(&mut admin, "1.3", "/snis", &named(name), &message);
    }
    for name in ["*.wild.test", "wild.*", "*", "plain.test"] {
        let row = admin.have("/snis", &named(name));
        assert_eq!(
            admin.get(&format!("/snis/{name}")).assert(200),
            row,
            "1.3 {name}"
        );
        let encoded = name.replace('*', "%2A");
        assert_eq!(
            admin.get(&format!("/snis/{encoded}")).assert(200),
            row,
            "1.3 {encoded}"
        );
    }
    let taken = admin.post("/snis", &named("plain.test"));
    let text = "UNIQUE violation detected on '{name=\"plain.test\"}'";
    assert_eq!(taken.assert(409)["message"], text);
    admin.have("/snis", &named("Upper.Test"));
    assert_eq!(
        admin.get("/snis/uPPER.tEST").assert(200)["certificate"],
        json!({"id": id(1)}),
        "1.3 case"
    );
    admin.get("/snis/plain.test/certificate").assert(404);
}

#[test]
fn names_and_paths_of_upstream_things_are_as_sections_1_5_and_1_11_say() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    for (section, target, body, message) in [
        (
            "1.11",
            "/upstreams",
            json!({"name": "a b"}),
            "schema violation (name: Invalid name ('a b'); must be a valid hostname)",
        ),
        (
            "1.11",
            "/upstreams",
            json!({"name": "192.0.2.1"}),
            "schema violation (name: Invalid name ('192.0.2.1'); no ip addresses allowed)",
        ),
        (
            "1.11",
            "/upstreams",
            json!({"name": "a.test:80"}),
            "schema violation (name: Invalid name ('a.test:80'); no port allowed)",
        ),
        (
            "1.11",
            "/upstreams",
            json!({"name": "a.test", "slots": 9}),
            "schema violation (slots: value should be between 10 and 65536)",
        ),
        (
            "1.5 path",
            "/services",
            json!({"host": "h.test", "path": "/%2wa"}),
            "schema violation (path: invalid url-encoded value: '%2w')",
        ),
        (
            "1.5 path",
            "/services",
            json!({"host": "h.test", "path": "/a//b"}),
            "schema violation (path: must not have empty segments)",
        ),
        (
            "1.5 host",
            "/services",
            json!({"host": "h.test:80"}),
            "schema violation (host: must not have a port)",
        ),
        (
            "1.5 tls",
            "/services",
            json!({"host": "h.test", "protocol": "grpcs", "tls_verify": true}),
            "2 schema violations (failed conditional validation given value of field 'protocol'; tls_verify: value must be null)",
        ),
        (
            "1.1 name",
            "/services",
            json!({"host": "h.test", "name": "a b"}),
            "schema violation (name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~)",
        ),
    ] {
        refused(&mut admin, section, target, &body, message);
    }
}
