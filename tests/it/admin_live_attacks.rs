//! Attacks on the Admin API of the real binary. Each test is named for its attack.

use crate::support::entities::id;
use crate::support::wire::Response;
use crate::support::{Ca, Client, Gateway, Leaf, Pair, Port, Setup, TlsClient, Value, json};
use std::path::Path;

#[test]
fn dns_rebinding() {
    let gateway = Setup::admin().set("admin_hosts", "admin.internal").start();
    let port = gateway.admin_address().port();
    // (host, status)
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]", 200),
        ("admin.internal", 200),
        ("rebound.evil.test", 421),
        ("192.0.2.7", 421),
        ("localhost.evil.test", 421),
    ] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let answer = gateway
                .admin()
                .send("GET", "/certificates", &[("Host", &host)], None);
            assert_eq!(answer.status(), status, "{host}: {}", answer.text());
            let posted = gateway.admin().send(
                "POST",
                "/consumers",
                &[
                    ("Host", &host),
                    ("Content-Type", "application/x-www-form-urlencoded"),
                ],
                Some(format!("username={}", uuid::Uuid::new_v4()).as_bytes()),
            );
            assert_eq!(
                posted.status(),
                if status == 200 { 201 } else { 421 },
                "{host}"
            );
        }
    }
}

#[test]
fn a_foreign_page_reads_nothing_and_writes_nothing() {
    let gateway = Setup::admin()
        .set("admin_gui_url", "https://gui.test/manager")
        .start();
    let mut admin = gateway.admin();
    for (origin, allowed) in [
        ("https://gui.test", true),
        ("https://evil.test", false),
        ("https://gui.test.evil.test", false),
        ("http://gui.test", false),
        ("null", false),
    ] {
        for method in ["GET", "OPTIONS"] {
            let answer = admin.send(method, "/certificates", &[("Origin", origin)], None);
            let echoed = answer.header("Access-Control-Allow-Origin");
            assert_eq!(echoed, allowed.then_some(origin), "{method} {origin}");
            assert_eq!(
                answer.header("Access-Control-Allow-Credentials").is_some(),
                allowed,
                "{method} {origin}"
            );
        }
        let fields = [
            ("Origin", origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let answer = admin.send("POST", "/consumers", &fields, Some(b"username=forged"));
        assert_eq!(answer.status(), if allowed { 201 } else { 403 }, "{origin}");
        admin.delete("/consumers/forged").assert(204);
    }
    let answer = admin.get("/certificates");
    assert_eq!(
        answer.header("Access-Control-Allow-Origin"),
        None,
        "no Origin"
    );
}

/// The Admin API as mutual TLS.
struct Guarded {
    gateway: Gateway,
    port: Port,
}

impl Guarded {
    fn start(ca: &Ca) -> Guarded {
        let port = Port::free();
        let gateway = Setup::admin()
            .file("ops.pem", &ca.pem)
            .set("admin_listen", format!("127.0.0.1:{} ssl", port.number()))
            .set("admin_ssl_client_ca", "@ops.pem")
            .start();
        Guarded { gateway, port }
    }

    fn connect(&self, pair: Option<&Pair>) -> Client {
        let client = pair.map_or_else(TlsClient::new, TlsClient::presenting);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port.number()));
        client.connect(address, "localhost")
    }
}

fn ask(client: &mut Client, method: &str, body: &str) -> Response {
    client.send(format!(
        "{method} /consumers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.response_to(method)
}

#[test]
fn a_client_without_a_certificate_of_the_authority() {
    let (ops, other) = (Ca::root("ops"), Ca::root("other"));
    let guarded = Guarded::start(&ops);
    let same_name = Ca::root("ops");
    let of_ops = ops.sign(Leaf::new("operator").organization("Bank"));
    // (attack, its pair, status)
    for (attack, pair, status) in
        [
            ("none: an operator", Some(of_ops.clone()), 201),
            ("no certificate", None, 403),
            ("a stranger's", Some(other.client("operator")), 403),
            (
                "of an authority of the same name",
                Some(same_name.client("operator")),
                403,
            ),
            (
                "expired",
                Some(ops.sign(Leaf::new("operator").valid(2010, 2020))),
                403,
            ),
            (
                "not valid yet",
                Some(ops.sign(Leaf::new("operator").valid(2090, 2120))),
                403,
            ),
            (
                "signed by itself",
                Some(Leaf::new("operator").self_signed()),
                403,
            ),
            (
                "a server's",
                Some(ops.sign(
                    Leaf::new("operator").usage(&[rcgen::ExtendedKeyUsagePurpose::ServerAuth]),
                )),
                403,
            ),
        ]
    {
        let mut client = guarded.connect(pair.as_ref());
        let made = ask(&mut client, "POST", r#"{"username":"u"}"#);
        assert_eq!(made.status, status, "{attack}: {}", made.text());
        let read = ask(&mut client, "GET", "");
        assert_eq!(
            read.status,
            if status == 201 { 200 } else { 403 },
            "{attack}"
        );
        // Browsers send none with a preflight (KONG-CLIENTS.md §6.23).
        let preflight = ask(&mut client, "OPTIONS", "");
        assert_eq!(preflight.status, 204, "{attack}");
    }
    // The client is not told which check failed; the operator is.
    for why in [
        "no certificate was sent",
        "unable to get local issuer certificate",
        "certificate has expired",
        "certificate is not yet valid",
        "unsuitable certificate purpose",
    ] {
        let refused = format!("is refused (admin_ssl_client_ca): {why}");
        guarded
            .gateway
            .error_line(&["admin_listen: client 127.0.0.1:", &refused]);
    }
    let line = guarded
        .gateway
        .error_line(&["admin: client=", "POST consumers", ": 201"]);
    assert!(
        line.contains("subject=\"O=Bank,CN=operator\"")
            || line.contains("subject=\"CN=operator,O=Bank\""),
        "{line}"
    );
    let log = guarded.gateway.error_log();
    assert_eq!(
        log.matches("admin: client=").count(),
        1,
        "the others wrote nothing: {log}"
    );
    // In clear text nobody gets as far.
    let mut plain = Client::plain(std::net::SocketAddr::from((
        [127, 0, 0, 1],
        guarded.port.number(),
    )));
    plain.try_send("GET /consumers HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (answer, _) = plain.reader.rest();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

/// Everything under the prefix except the store, which holds them.
fn files_below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.is_dir() {
            files_below(&path, found);
        } else if !name.ends_with("store.redb") {
            found.push((name, std::fs::read(&path).unwrap_or_default()));
        }
    }
}

#[test]
fn a_private_key_in_a_log_or_an_error() {
    let ca = Ca::root("bank");
    let pairs: Vec<Pair> = (0..4).map(|_| ca.server(&["pay.test"])).collect();
    let secrets: Vec<&str> = pairs
        .iter()
        .map(|pair| pair.key_pem.lines().nth(1).expect("a line of the key"))
        .collect();
    let gateway = Setup::admin().set("log_level", "debug").start();
    let mut admin = gateway.admin();
    let mut errors = String::new();
    let at = format!("/certificates/{}", id(1));
    let whole = |pair: &Pair| json!({"cert": pair.cert_pem, "key": pair.key_pem});
    admin.put(&at, &whole(&pairs[0])).assert(200);
    admin
        .put("/snis/pay.test", &json!({"certificate": {"id": id(1)}}))
        .assert(200);
    let mismatched = json!({"cert": pairs[1].cert_pem, "key": pairs[2].key_pem});
    let key_as_name = json!({pairs[3].key_pem.clone(): "x", "name": pairs[3].key_pem});
    let broken = pairs[1].key_pem.replace("BEGIN", "BEGUN");
    for (method, target, body) in [
        ("PATCH", at.as_str(), mismatched.clone()),
        ("POST", "/certificates", mismatched),
        (
            "POST",
            "/certificates",
            json!({"cert": pairs[1].key_pem, "key": pairs[1].cert_pem}),
        ),
        (
            "POST",
            "/certificates",
            json!({"cert": pairs[1].cert_pem, "key": broken}),
        ),
        (
            "POST",
            "/certificates",
            json!({"cert": pairs[1].cert_pem, "key": [pairs[1].key_pem]}),
        ),
        (
            "POST",
            "/ca_certificates",
            json!({"cert": pairs[1].key_pem}),
        ),
        ("POST", "/services", key_as_name),
        (
            "POST",
            "/schemas/certificates/validate",
            json!({"cert": pairs[1].cert_pem, "key": pairs[2].key_pem}),
        ),
    ] {
        let answer = admin.json(method, target, &body);
        assert_eq!(answer.status(), 400, "{method} {target}: {}", answer.text());
        if target != "/services" {
            errors.push_str(&answer.text());
        }
    }
    let form = format!("cert={}&key={}", pairs[1].cert_pem, pairs[2].key_pem).replace('\n', "%0A");
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = admin.send("POST", "/certificates", &fields, Some(form.as_bytes()));
    errors.push_str(&answer.text());
    let fields = [("Content-Type", "application/json")];
    let cut = format!("{{\"key\":\"{}", pairs[1].key_pem);
    let answer = admin.send("POST", "/certificates", &fields, Some(cut.as_bytes()));
    assert_eq!(answer.status(), 400);
    errors.push_str(&answer.text());
    TlsClient::new()
        .get(gateway.https(), "pay.test", "/")
        .assert_status(404);
    gateway.reload_as_is();
    admin.delete("/snis/pay.test").assert(204);
    admin.delete(&at).assert(204);
    gateway.error_line(&["DELETE certificates"]);
    let mut found = vec![("answers".to_owned(), errors.into_bytes())];
    files_below(gateway.files().folder(), &mut found);
    assert!(
        found
            .iter()
            .any(|(name, _)| name.ends_with("admin_access.log"))
    );
    for (name, content) in found {
        let content = String::from_utf8_lossy(&content);
        for secret in &secrets {
            assert!(!content.contains(secret), "a key in {name}");
        }
    }
}

#[test]
fn every_write_has_its_audit_line_and_no_read_has_one() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let consumer = admin.have(
        "/consumers",
        &json!({"username": "alice", "custom_id": "sesame"}),
    );
    let id = consumer["id"].as_str().expect("an id");
    admin.get("/consumers/alice").assert(200);
    admin
        .patch("/consumers/alice", &json!({"tags": ["t"]}))
        .assert(200);
    admin
        .patch("/consumers/nobody", &json!({"tags": ["t"]}))
        .assert(404);
    admin
        .post("/consumers", &json!({"username": "alice"}))
        .assert(409);
    let group = admin.have("/consumers/alice/acls", &json!({"group": "tellers"}));
    let group = group["id"].as_str().expect("an id");
    admin.delete("/consumers/alice").assert(204);
    let expected = [
        format!("POST consumers id=\"{id}\": 201"),
        format!("PATCH consumers id=\"{id}\": 200"),
        "PATCH consumers key=\"nobody\": 404".to_owned(),
        "POST consumers: 409".to_owned(),
        format!("POST acls id=\"{group}\": 201"),
        format!("DELETE consumers id=\"{id}\": 204"),
    ];
    gateway.error_line(&[&expected[5]]);
    let log = gateway.error_log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("admin: client="))
        .collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.ends_with(expected.as_str()), "{expected}: {line}");
        assert!(
            line.contains("[notice] admin: client=\"127.0.0.1:"),
            "{line}"
        );
        assert!(line.contains("subject=none"), "{line}");
    }
    assert!(!log.contains("sesame"), "no content of a body");
}

#[test]
fn a_body_over_the_limit() {
    let gateway = Setup::admin()
        .set("nginx_admin_client_max_body_size", "64k")
        .start();
    let body = json!({"username": "u", "tags": ["x".repeat(100_000)]}).to_string();
    let fields = [("Content-Type", "application/json")];
    let answer = gateway
        .admin()
        .send("POST", "/consumers", &fields, Some(body.as_bytes()));
    assert_eq!(answer.status(), 413, "{}", answer.text());
    let mut chunked = Client::plain(gateway.admin_address());
    chunked.send("POST /consumers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..10 {
        chunked.try_send(format!("{:x}\r\n{}\r\n", 10_000, " ".repeat(10_000)));
    }
    chunked.try_send("0\r\n\r\n");
    chunked.response_to("POST").assert_status(413);
    assert_eq!(gateway.admin().rows("/consumers").len(), 0);
    gateway
        .admin()
        .have("/consumers", &json!({"username": "u"}));
}

#[test]
fn writes_without_a_store() {
    let gateway = Setup::new(json!({"consumers": [{"username": "alice"}]}))
        .with_admin()
        .start();
    let mut admin = gateway.admin();
    let row = json!({"username": "bob"});
    // KONG.md §7.2.
    for (method, target, message) in [
        (
            "POST",
            "/consumers",
            "cannot create 'consumers' entities when not using a database",
        ),
        (
            "PUT",
            "/consumers/alice",
            "cannot create or update 'consumers' entities by 'username' when not using a database",
        ),
        (
            "PATCH",
            "/consumers/alice",
            "cannot update 'consumers' entities by 'username' when not using a database",
        ),
        (
            "DELETE",
            "/consumers/alice",
            "cannot remove 'consumers' entities by 'username' when not using a database",
        ),
    ] {
        let answer = admin.json(method, target, &row);
        let body = answer.assert(405);
        assert_eq!(body["message"], message);
        assert_eq!(body["code"], 12);
    }
    assert_eq!(admin.rows("/consumers").len(), 1);
    let root = admin.get("/").assert(200);
    assert_eq!(root["configuration"]["database"], "off");
    assert_eq!(root["configuration"]["store"], "off");
}

fn says(path: &str, text: &str) -> Value {
    let config = json!({"status_code": 200, "content_type": "text/plain", "body": text});
    json!({"paths": [path], "plugins": [{"name": "request-termination", "config": config}]})
}

#[test]
fn a_posted_configuration_is_taken_whole_or_not_at_all() {
    let gateway = Setup::new(json!({"routes": [says("/old", "old")]}))
        .with_admin()
        .start();
    let mut admin = gateway.admin();
    let mut open = Client::plain(gateway.http());
    let format =
        |more: Value| crate::support::entities::merged(json!({"_format_version": "3.0"}), more);
    for (what, bad) in [
        (
            "a field",
            format(json!({"routes": [says("/new", "new"), {"paths": ["no-slash"]}]})),
        ),
        (
            "an entity",
            format(json!({"routes": [says("/new", "new")], "servicez": []})),
        ),
        ("no version", json!({"routes": [says("/new", "new")]})),
        (
            "a reference",
            format(
                json!({"routes": [says("/new", "new")], "snis": [{"name": "a.test", "certificate": id(9)}]}),
            ),
        ),
    ] {
        let answer = admin.post("/config", &bad);
        assert_eq!(answer.status(), 400, "{what}: {}", answer.text());
        assert_eq!(answer.body()["code"], 14, "{what}: {}", answer.text());
        assert_eq!(open.get("a", "/old").text(), "old", "{what}");
        assert_eq!(open.get("a", "/new").status, 404, "{what}: not half of it");
    }
    let before = admin.get("/status").assert(200)["configuration_hash"].clone();
    admin
        .post("/config", &format(json!({"routes": [says("/new", "new")]})))
        .assert(201);
    assert_eq!(open.get("a", "/new").text(), "new");
    assert_eq!(open.get("a", "/old").status, 404);
    assert_ne!(
        admin.get("/status").assert(200)["configuration_hash"],
        before
    );
    // Two alternating ones: what is served is one of them, and the one just answered.
    for number in 0..50 {
        let (now, then) = if number % 2 == 0 {
            ("/old", "/new")
        } else {
            ("/new", "/old")
        };
        admin
            .post("/config", &format(json!({"routes": [says(now, now)]})))
            .assert(201);
        assert_eq!(open.get("a", now).text(), now, "{number}");
        assert_eq!(open.get("a", then).status, 404, "{number}");
    }
    // With a store there is no such endpoint.
    let with_store = Setup::admin().start();
    let answer = with_store.admin().post("/config", &format(json!({})));
    assert_eq!(answer.status(), 400, "{}", answer.text());
}
