//! The pitfalls of KONG-CLIENTS.md §6 that show from outside and that no other module here meets on its way.
//! Points 2, 4, 5, 6, 7, 8, 9 and 19: `replay`, `pages`, `types`, `forms`. Point 17: `manager`. Point 16: `ingress`.

use crate::support::entities::{acl, id, mtls_auth};
use crate::support::{Admin, Ca, Folder, Leaf, Pair, Setup, TlsClient, Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Point 1: a key that is hidden or empty is fatal to decK.
#[test]
fn point_1_a_private_key_is_shown_wherever_the_certificate_is() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let (pair, other) = (
        Ca::root("r").server(&["a.test"]),
        rsa("a.test", "2048", &[]),
    );
    let sent = json!({
        "id": id(1), "cert": pair.cert_pem, "key": pair.key_pem, "cert_alt": other.0, "key_alt": other.1, "snis": ["a.test"],
    });
    let created = admin.have("/certificates", &sent);
    let service = json!({"id": id(2), "name": "s", "url": "https://h.test", "client_certificate": {"id": id(1)}});
    admin.have("/services", &service);
    let shown = [
        created,
        admin.get(&format!("/certificates/{}", id(1))).assert(200),
        admin.get("/certificates/a.test").assert(200),
        admin.get("/services/s/client_certificate").assert(200),
        admin.rows("/certificates").remove(0),
    ];
    for row in shown {
        for name in ["cert", "key", "cert_alt", "key_alt"] {
            assert_eq!(row[name], sent[name], "{name}");
        }
    }
}

/// Point 3: unset is null, empty is empty, and nothing is left out, whatever wrote the row.
#[test]
fn point_3_unset_and_empty_are_kept_apart() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let target = format!("/services/{}", id(1));
    for (method, body, tags) in [
        (
            "PUT",
            json!({"name": "s", "url": "https://h.test"}),
            Value::Null,
        ),
        ("PATCH", json!({"tags": []}), json!([])),
        (
            "PATCH",
            json!({"ca_certificates": [], "retries": 1}),
            json!([]),
        ),
        ("PATCH", json!({"tags": null}), Value::Null),
        (
            "PUT",
            json!({"name": "s", "url": "https://h.test", "tags": []}),
            json!([]),
        ),
    ] {
        let row = admin.json(method, &target, &body).assert(200);
        assert_eq!(row["tags"], tags, "{method} {body}");
        for name in [
            "path",
            "client_certificate",
            "tls_verify",
            "tls_verify_depth",
        ] {
            assert_eq!(row.get(name), Some(&Value::Null), "{method} {body}: {name}");
        }
        assert_eq!(admin.rows("/services"), [row]);
    }
    let mut plugin = acl(json!({"allow": []}));
    plugin["id"] = json!(id(2));
    let refused = admin.post("/plugins", &plugin);
    let text = "schema violation (at least one of these fields must be non-empty: 'config.allow', 'config.deny')";
    assert_eq!(refused.assert(400)["message"], text);
    plugin["config"] = json!({"deny": ["a"]});
    let row = admin.have("/plugins", &plugin);
    let config = json!({
        "allow": null, "deny": ["a"], "hide_groups_header": false, "include_consumer_groups": false,
        "always_use_authenticated_groups": false,
    });
    assert_eq!(row["config"], config);
}

/// Point 10: decK waits and tries again on a 500, for tens of seconds; what the client did wrong is never one.
#[test]
fn point_10_what_a_client_does_wrong_is_no_server_error() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let text = "x".repeat(70_000);
    for (method, target, body) in [
        ("POST", "/services", json!({"host": 1})),
        ("POST", "/services", json!([])),
        (
            "POST",
            "/services",
            json!({"host": "h.test", "client_certificate": "text"}),
        ),
        (
            "POST",
            "/services",
            json!({"host": "h.test", "tags": {"a": 1}}),
        ),
        (
            "POST",
            "/services",
            json!({"host": "h.test", "port": 1e300}),
        ),
        ("POST", "/services", json!({"name": text})),
        ("PUT", "/services/%00", json!({"host": "h.test"})),
        ("PUT", "/services/%FF", json!({"host": "h.test"})),
        ("POST", "/routes", json!({"paths": ["~/("]})),
        (
            "POST",
            "/routes",
            json!({"paths": ["/"], "service": {"id": id(9)}}),
        ),
        (
            "POST",
            "/routes",
            json!({"paths": ["/"], "service": {"id": 9}}),
        ),
        ("POST", "/certificates", json!({"cert": "x", "key": "y"})),
        (
            "POST",
            "/ca_certificates",
            json!({"cert": "-----BEGIN CERTIFICATE-----\n"}),
        ),
        ("POST", "/plugins", json!({"name": "mtls-auth"})),
        ("POST", "/plugins", json!({"name": "acl", "config": []})),
        (
            "POST",
            "/upstreams/none/targets",
            json!({"target": "h.test"}),
        ),
        ("PUT", "/consumers/none/acls/g", json!({"group": "g"})),
        ("PATCH", "/routes/none/service", json!({"host": "h.test"})),
        ("GET", "/services?offset=AAAA", Value::Null),
        ("GET", "/services?size=1001", Value::Null),
        ("GET", "/services?tags=a,b/c", Value::Null),
        ("DELETE", "/consumers/none/acls/g", Value::Null),
        ("BREW", "/services", Value::Null),
    ] {
        let answer = match &body {
            Value::Null => admin.send(method, target, &[], None),
            body => admin.json(method, target, body),
        };
        let status = answer.status();
        assert!(
            (400..500).contains(&status),
            "{method} {target}: {}",
            answer.text()
        );
        assert!(
            answer.body()["message"].is_string(),
            "{method} {target}: {}",
            answer.text()
        );
    }
}

/// Point 11: pickers search by arguments that lists do not have, and references carry more than an id.
#[test]
fn point_11_unknown_arguments_and_more_keys_in_a_reference_are_ignored() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let service = json!({"id": id(1), "name": "s", "host": "h.test"});
    admin.have("/services", &service);
    for target in [
        "/services?name=zzz",
        "/services?sort_by=name&size=10",
        "/services/s?expand=1",
    ] {
        admin.get(target).assert(200);
    }
    let body = json!({"paths": ["/"], "service": {"id": id(1), "name": "s", "host": "h.test", "tags": null}});
    let route = admin.have("/routes", &body);
    assert_eq!(route["service"], json!({"id": id(1)}));
    let consumer = json!({"id": id(2), "username": "u"});
    admin.have("/consumers", &consumer);
    let path = format!("/consumers/{}/acls/{}", id(2), id(3));
    let body = json!({"group": "g", "consumer": consumer});
    assert_eq!(
        admin.put(&path, &body).assert(200)["consumer"],
        json!({"id": id(2)})
    );
}

/// Point 12: ids and dates of a body are taken; `updated_at` is the server's.
#[test]
fn point_12_ids_and_dates_of_a_body_are_no_error() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let body = json!({
        "id": id(1), "username": "u", "created_at": 1_500_000_000, "updated_at": 1_500_000_001,
    });
    let row = admin.have("/consumers", &body);
    assert_eq!(
        (&row["id"], &row["created_at"]),
        (&body["id"], &body["created_at"])
    );
    for method in ["PUT", "PATCH"] {
        let target = format!("/consumers/{}", id(1));
        let row = admin.json(method, &target, &body).assert(200);
        assert_eq!(
            (&row["id"], &row["created_at"]),
            (&body["id"], &body["created_at"])
        );
        assert_ne!(row["updated_at"], body["updated_at"], "{method}");
    }
}

/// Point 13: leaves may be out of date, authorities may not.
#[test]
fn point_13_an_expired_leaf_is_taken_and_an_expired_authority_is_not() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let leaf = Leaf::new("old").valid(2010, 2019).self_signed();
    admin.have(
        "/certificates",
        &json!({"cert": leaf.cert_pem, "key": leaf.key_pem}),
    );
    let expired = crate::support::pki::CaShape {
        expired: true,
        ..Default::default()
    };
    let (good, old) = (Ca::root("good"), Ca::root_shaped("old", &expired));
    for (pem, message) in [
        (
            old.pem,
            r#"certificate expired, "Not After" time is in the past"#,
        ),
        (
            leaf.cert_pem.clone(),
            r#"certificate expired, "Not After" time is in the past"#,
        ),
        (
            Leaf::new("no authority").self_signed().cert_pem,
            r#"certificate does not appear to be a CA because it is missing the "CA" basic constraint"#,
        ),
        (
            good.pem.clone() + &Ca::root("second").pem,
            "please submit only one certificate at a time",
        ),
    ] {
        let answer = admin.post("/ca_certificates", &json!({ "cert": pem }));
        let text = format!("schema violation ({message})");
        assert_eq!(answer.assert(400)["message"], text);
    }
    admin.have("/ca_certificates", &json!({ "cert": good.pem }));
}

/// An RSA pair by OpenSSL: certificate and key as PEM. `form`: arguments that convert the key.
fn rsa(cn: &str, bits: &str, form: &[&str]) -> (String, String) {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, converted) = (path("c.pem"), path("k.pem"), path("o.pem"));
    let algorithm = format!("rsa:{bits}");
    let subject = format!("/CN={cn}");
    openssl(&[
        "req", "-x509", "-newkey", &algorithm, "-nodes", "-subj", &subject, "-days", "3650",
        "-keyout", &key, "-out", &cert,
    ]);
    let mut convert = vec!["pkey", "-in", &key, "-out", &converted];
    convert.extend_from_slice(form);
    openssl(&convert);
    let read = |path: &str| std::fs::read_to_string(path).expect("written by openssl");
    (read(&cert), read(&converted))
}

#[track_caller]
fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .unwrap_or_else(|why| panic!("openssl cannot be run ({why}); tests/setup installs it"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
}

/// Point 14: a key of another certificate is refused, every ordinary form of a key is taken.
#[test]
fn point_14_every_form_of_a_key_is_taken_and_a_foreign_key_is_not() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let ec = Leaf::new("ec").self_signed();
    let pkcs1 = rsa("pkcs1", "2048", &["-traditional"]);
    let sec1 = {
        let folder = Folder::new();
        let key = folder.file("k.pem", &ec.key_pem).display().to_string();
        let out = folder.path().join("o.pem").display().to_string();
        openssl(&["pkey", "-in", &key, "-traditional", "-out", &out]);
        std::fs::read_to_string(out).expect("written by openssl")
    };
    assert!(
        pkcs1.1.starts_with("-----BEGIN RSA PRIVATE KEY"),
        "{}",
        pkcs1.1
    );
    assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY"), "{sec1}");
    let rsa4096 = rsa("large", "4096", &[]);
    for (form, cert, key) in [
        ("PKCS#8 EC", &ec.cert_pem, &ec.key_pem),
        ("SEC1", &ec.cert_pem, &sec1),
        ("PKCS#1", &pkcs1.0, &pkcs1.1),
        ("PKCS#8 RSA 4096", &rsa4096.0, &rsa4096.1),
    ] {
        let answer = admin.post("/certificates", &json!({"cert": cert, "key": key}));
        assert_eq!(answer.status(), 201, "{form}: {}", answer.text());
        assert_eq!(answer.body()["key"], **key, "{form}");
    }
    let other = Leaf::new("other").self_signed();
    for key in [&other.key_pem, &pkcs1.1] {
        let answer = admin.post("/certificates", &json!({"cert": ec.cert_pem, "key": key}));
        let text = "schema violation (certificate does not match key)";
        assert_eq!(answer.assert(400)["message"], text);
    }
}

/// Point 15: a client that is told 404 on PUT posts the same body with its id.
#[test]
fn point_15_a_target_is_made_by_put_or_by_the_post_after_it() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    admin.have("/upstreams", &json!({"id": id(1), "name": "u.test"}));
    let targets = format!("/upstreams/{}/targets", id(1));
    let body = json!({"id": id(2), "target": "t.test:80", "upstream": {"id": id(1)}});
    let put = admin.put(&format!("{targets}/{}", id(2)), &body);
    if put.status() == 404 {
        admin.have(&targets, &body);
    } else {
        put.assert(200);
    }
    let body = json!({"id": id(3), "target": "v.test", "upstream": {"id": id(1)}});
    let row = admin.have(&targets, &body);
    assert_eq!(
        (&row["id"], &row["target"]),
        (&body["id"], &json!("v.test:8000"))
    );
    assert_eq!(admin.rows(&targets).len(), 2);
}

/// Point 18: nothing but its id names a credential.
#[test]
fn point_18_a_credential_keeps_its_id_whatever_replaces_it() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    admin.have("/consumers", &json!({"id": id(1), "username": "u"}));
    let nested = format!("/consumers/u/mtls-auth/{}", id(2));
    let top = format!("/mtls-auths/{}", id(2));
    for (target, subject) in [(&nested, "a"), (&nested, "b"), (&top, "c")] {
        let body = json!({"subject_name": subject, "consumer": {"id": id(1)}});
        let row = admin.put(target, &body).assert(200);
        assert_eq!(
            (&row["id"], &row["subject_name"]),
            (&json!(id(2)), &json!(subject))
        );
    }
    assert_eq!(admin.rows("/mtls-auths").len(), 1);
}

/// Point 20: while a certificate is renewed under its id, no handshake misses its name.
#[test]
fn point_20_a_renewed_certificate_never_loses_its_name() {
    let fallback = Leaf::new("fallback").self_signed();
    let gateway = Setup::admin().default_pair(&fallback).start();
    let mut admin = gateway.admin();
    let ca = Ca::root("renewing");
    let pairs: Vec<Pair> = (0..4).map(|_| ca.server(&["a.test"])).collect();
    let target = format!("/certificates/{}", id(1));
    let put = |admin: &mut Admin, pair: &Pair| {
        let body = json!({"cert": pair.cert_pem, "key": pair.key_pem, "snis": ["a.test"]});
        admin.put(&target, &body).assert(200);
    };
    put(&mut admin, &pairs[0]);
    let done = AtomicBool::new(false);
    let address = gateway.https();
    let handshakes = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let client = TlsClient::new().connect(address, "a.test");
                assert_ne!(
                    client.server_chain()[0],
                    fallback.chain[0],
                    "the name was lost"
                );
                count += 1;
            }
            count
        });
        for round in 0..40 {
            let pair = &pairs[round % pairs.len()];
            put(&mut admin, pair);
            // What is answered is live.
            let client = TlsClient::new().connect(address, "a.test");
            assert_eq!(client.server_chain()[0], pair.chain[0], "round {round}");
        }
        done.store(true, Ordering::Relaxed);
        watching.join().expect("no handshake missed it")
    });
    assert!(handshakes > 0);
}

/// Points 21 and 22: names and tags of any script, percent-encoded in a path.
#[test]
fn points_21_and_22_names_and_tags_of_any_script_are_found() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    for (name, encoded) in [
        ("a.b-c_d~e", "a.b-c_d~e"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("größe", "gr%c3%b6%c3%9fe"),
        ("名前", "%E5%90%8D%E5%89%8D"),
    ] {
        let body = json!({"name": name, "host": "h.test", "tags": [format!("tag of {name}")]});
        let row = admin
            .put(&format!("/services/{encoded}"), &body)
            .assert(200);
        assert_eq!(row["name"], name);
        assert_eq!(admin.get(&format!("/services/{encoded}")).assert(200), row);
        let tagged = admin
            .get(&format!("/services?tags=tag%20of%20{encoded}"))
            .assert(200);
        assert_eq!(tagged["data"], json!([row]));
        let rows = admin
            .get(&format!("/tags/tag%20of%20{encoded}"))
            .assert(200);
        assert_eq!(rows["data"][0]["entity_id"], row["id"], "{rows}");
    }
    assert_eq!(
        admin.rows("/services").len(),
        4,
        "case and script tell names apart"
    );
    for tag in ["a,b", "a/b", ""] {
        let body = json!({"host": "h.test", "tags": [tag]});
        admin.post("/services", &body).assert(400);
    }
}

/// Point 24: an authority goes after what names it, and not before.
#[test]
fn point_24_an_authority_in_use_stays_until_nothing_names_it() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let authority = format!("/ca_certificates/{}", id(1));
    admin.have(
        "/ca_certificates",
        &json!({"id": id(1), "cert": Ca::root("used").pem}),
    );
    let service = json!({"id": id(2), "url": "https://h.test", "ca_certificates": [id(1)]});
    admin.have("/services", &service);
    let mut plugin = mtls_auth(&[1], json!({}));
    plugin["id"] = json!(id(3));
    admin.have("/plugins", &plugin);
    for (by, target) in [
        ("services", format!("/services/{}", id(2))),
        ("plugins", format!("/plugins/{}", id(3))),
    ] {
        let refused = admin.delete(&authority).assert(400);
        let number = if by == "services" { 2 } else { 3 };
        let text = format!(
            "ca certificate {} is still referenced by {by} (id = {})",
            id(1),
            id(number)
        );
        assert_eq!(
            (&refused["code"], &refused["name"], &refused["message"]),
            (&json!(19), &json!("referenced by others"), &json!(text))
        );
        admin.delete(&target).assert(204);
    }
    admin.delete(&authority).assert(204);
}
