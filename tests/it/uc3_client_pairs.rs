//! KONG.md §4.4: which certificate an upstream is shown, with nginx and rustls as upstreams.

use crate::support::client::get;
use crate::support::entities::{certificate, id, service_with};
use crate::support::external::Nginx;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Ca, Client, PATIENCE, Pair, Setup, Upstream, Value, json, until};
use std::sync::{Mutex, mpsc};

/// An nginx that demands a certificate under `ca` and says whose it got.
fn nginx(ca: &Ca, server: &Pair) -> Nginx {
    Nginx::start(
        "ssl_certificate @server.crt; ssl_certificate_key @server.key; \
         ssl_client_certificate @ca.crt; ssl_verify_client on; ssl_verify_depth 3; \
         location / { return 200 \"$ssl_client_s_dn|$ssl_client_i_dn\"; }",
        &[
            ("server.crt", &server.cert_pem),
            ("server.key", &server.key_pem),
            ("ca.crt", &ca.pem),
        ],
    )
}

fn to_nginx(name: &str, nginx: &Nginx, more: Value) -> Value {
    crate::support::entities::merged(
        json!({
            "name": name, "url": format!("https://127.0.0.1:{}", nginx.port()), "tls_verify": false,
            "routes": [{"name": name, "paths": [format!("/{name}")]}],
        }),
        more,
    )
}

#[test]
fn nginx_gets_the_services_pair_else_the_global_one_else_none() {
    let ca = Ca::root("ca");
    let middle = ca.intermediate("middle");
    let upstream = nginx(&ca, &ca.server(&["up.test"]));
    let (own, global) = (middle.client("own"), ca.client("global"));
    let declarative = json!({
        "services": [
            to_nginx("own", &upstream, json!({"client_certificate": id(1)})),
            to_nginx("global", &upstream, json!({})),
        ],
        "certificates": [certificate(1, &own, &[])],
    });
    let with_global = Setup::new(declarative.clone())
        .file("client.crt", &global.cert_pem)
        .file("client.key", &global.key_pem)
        .set("client_ssl", "on")
        .set("client_ssl_cert", "@client.crt")
        .set("client_ssl_cert_key", "@client.key")
        .start();
    // The full chain is sent: nginx knows the root alone.
    assert_eq!(
        with_global.get("a", "/own").assert_status(200).text(),
        "CN=own|CN=middle"
    );
    assert_eq!(
        with_global.get("a", "/global").assert_status(200).text(),
        "CN=global|CN=ca"
    );
    // client_ssl is off by default: nginx answers 400 to those who show nothing.
    let without = Setup::new(declarative).start();
    assert_eq!(
        without.get("a", "/own").assert_status(200).text(),
        "CN=own|CN=middle"
    );
    let refused = without.get("a", "/global");
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .text()
            .contains("No required SSL certificate was sent"),
        "{}",
        refused.text()
    );
}

#[test]
fn client_ssl_without_files_shows_the_generated_pair() {
    let ca = Ca::root("ca");
    let server = ca.server(&["up.test"]);
    let upstream = Nginx::start(
        "ssl_certificate @server.crt; ssl_certificate_key @server.key; ssl_verify_client optional_no_ca; \
         location / { return 200 \"$ssl_client_s_dn\"; }",
        &[
            ("server.crt", &server.cert_pem),
            ("server.key", &server.key_pem),
        ],
    );
    let declarative = json!({"services": [to_nginx("s", &upstream, json!({}))]});
    for (directive, shown) in [("off", ""), ("on", "CN=localhost")] {
        let gateway = Setup::new(declarative.clone())
            .set("client_ssl", directive)
            .set("ssl_cert", "")
            .set("ssl_cert_key", "")
            .start();
        let text = gateway.get("a", "/s").assert_status(200).text();
        assert_eq!(
            text.contains("CN=localhost"),
            !shown.is_empty(),
            "client_ssl {directive}: {text}"
        );
    }
}

#[test]
fn a_pooled_connection_is_never_shared_between_certificates() {
    let ca = Ca::root("ca");
    let upstream = Upstream::tls(&ca.server(&["up.test"]), Some(&ca));
    let (one, two) = (ca.client("one"), ca.client("two"));
    let declarative = |one: &Pair, two: &Pair| {
        let to = |name: &str, number: u32| {
            service_with(
                name,
                &upstream,
                json!({"paths": [format!("/{name}")]}),
                json!({"tls_verify": false, "client_certificate": id(number)}),
            )
        };
        json!({
            "services": [to("one", 1), to("two", 2)],
            "certificates": [certificate(1, one, &[]), certificate(2, two, &[])],
        })
    };
    let gateway = Setup::new(declarative(&one, &two)).start();
    let mut client = Client::plain(gateway.http());
    let mut subject_of = |path: &str| {
        client.get("a", path).assert_status(200);
        let seen = upstream.last();
        (
            seen.subject.clone().expect("a certificate"),
            seen.connection,
        )
    };
    let mut connections = Vec::new();
    for _ in 0..5 {
        for name in ["one", "two"] {
            let (subject, connection) = subject_of(&format!("/{name}"));
            assert_eq!(subject, name);
            connections.push((subject, connection));
        }
    }
    for (subject, connection) in &connections {
        let others = connections.iter().filter(|(_, other)| other == connection);
        assert!(
            others.into_iter().all(|(other, _)| other == subject),
            "{connections:?}"
        );
    }
    // And it is a pool: five requests of one identity share a connection.
    connections.sort();
    connections.dedup();
    assert_eq!(connections.len(), 2, "{connections:?}");

    // Rotated in place: the same id, another certificate. No request after the reload carries the old one.
    let renewed = ca.client("one-renewed");
    gateway.reload(declarative(&renewed, &two));
    for _ in 0..3 {
        assert_eq!(subject_of("/one").0, "one-renewed");
        assert_eq!(subject_of("/two").0, "two");
    }
    // Swapped between the two ids.
    gateway.reload(declarative(&two, &one));
    for _ in 0..3 {
        assert_eq!(subject_of("/one").0, "two");
        assert_eq!(subject_of("/two").0, "one");
    }
}

#[test]
fn a_connection_in_use_while_its_certificate_is_replaced_is_closed_and_not_pooled() {
    let ca = Ca::root("ca");
    let (one, two) = (ca.client("one"), ca.client("two"));
    let (answer, told) = mpsc::channel::<()>();
    let (report, ended) = mpsc::channel();
    let (told, report) = (Mutex::new(told), Mutex::new(report));
    let upstream = Upstream::tls_with(
        &ca.server(&["up.test"]),
        Some(&ca),
        move |request, conversation| {
            if request.target != "/s/held" {
                return conversation.echo(request);
            }
            let _ = told.lock().expect("the word").recv();
            conversation.echo(request);
            let (_, ended) = conversation.reader.rest();
            let _ = report.lock().expect("the report").send(ended);
            Next::Cut
        },
    );
    let declarative = |pair: &Pair| {
        let route = json!({"paths": ["/s"], "strip_path": false});
        let more = json!({"client_certificate": id(1), "tls_verify": false});
        json!({"services": [service_with("s", &upstream, route, more)], "certificates": [certificate(1, pair, &[])]})
    };
    let gateway = Setup::new(declarative(&one)).start();
    let mut client = Client::plain(gateway.http());
    client.send(get("a", "/s/held"));
    until("the request", || {
        (upstream.requests().len() == 1).then_some(())
    });
    gateway.reload(declarative(&two));
    answer.send(()).expect("the upstream listens");
    assert_eq!(client.response().status, 200);
    let ended = ended.recv_timeout(PATIENCE).expect("an end");
    assert_ne!(ended, Ended::Open, "it waits in the pool for nobody");
    client.get("a", "/s/next").assert_status(200);
    let subjects: Vec<_> = upstream
        .requests()
        .into_iter()
        .map(|request| request.subject)
        .collect();
    assert_eq!(subjects, [Some("one".to_owned()), Some("two".to_owned())]);
}

#[test]
fn a_pooled_connection_is_never_shared_between_names_or_trust() {
    let ca = Ca::root("ca");
    let upstream = Upstream::tls(&ca.server(&["up.test"]), None);
    let to = |name: &str, more: Value| {
        service_with(
            name,
            &upstream,
            json!({"paths": [format!("/{name}")], "preserve_host": true}),
            more,
        )
    };
    let gateway = Setup::new(json!({
        "services": [
            to("loose", json!({"tls_verify": false})),
            to("strict", json!({"tls_verify": true, "ca_certificates": [id(1)]})),
        ],
        "ca_certificates": [{"id": id(1), "cert": ca.pem}],
    }))
    .start();
    let mut client = Client::plain(gateway.http());
    // A verified connection to up.test; then names that the certificate does not have.
    client.get("up.test", "/strict").assert_status(200);
    assert_eq!(upstream.last().sni.as_deref(), Some("up.test"));
    assert_eq!(client.get("other.test", "/strict").status, 502);
    client.get("other.test", "/loose").assert_status(200);
    assert_eq!(upstream.last().sni.as_deref(), Some("other.test"));
    assert_eq!(
        client.get("other.test", "/strict").status,
        502,
        "the unverified connection is not for it"
    );
    client.get("up.test", "/strict").assert_status(200);
}

#[test]
fn a_certificate_that_cannot_be_shown_is_refused_before_it_serves() {
    let ca = Ca::root("ca");
    let upstream = Upstream::tls(&ca.server(&["up.test"]), Some(&ca));
    let (one, two) = (ca.client("one"), ca.client("two"));
    let good = json!({
        "services": [service_with("s", &upstream, json!({"paths": ["/"]}), json!({"tls_verify": false, "client_certificate": id(1)}))],
        "certificates": [certificate(1, &one, &[])],
    });
    let gateway = Setup::new(good.clone()).start();
    gateway.get("a", "/").assert_status(200);
    let mut bad = good;
    bad["_format_version"] = json!("3.0");
    bad["certificates"][0]["key"] = json!(two.key_pem);
    gateway.reload_refused(&bad.to_string());
    gateway.error_line(&["certificate does not match key"]);
    gateway.get("a", "/").assert_status(200);
}
