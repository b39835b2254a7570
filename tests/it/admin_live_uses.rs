//! The four uses of certificates with their refusals, configured over the Admin API alone.

use crate::admin_live::{Done, on_all_cores};
use crate::support::entities::{acl, id, mtls_auth};
use crate::support::{Ca, Pair, TlsClient, Upstream, Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn pair(pair: &Pair, snis: &[&str]) -> Value {
    json!({"cert": pair.cert_pem, "key": pair.key_pem, "snis": snis})
}

#[test]
fn all_four_uses_work_and_refuse() {
    let (bank, other) = (Ca::root("bank"), Ca::root("other"));
    let shown = bank.server(&["pay.test"]);
    let own = bank.client("gateway");
    let upstream = Upstream::tls(&bank.server(&["accounts.test"]), Some(&bank));
    let gateway = on_all_cores()
        .file("hosts", "127.0.0.1 accounts.test wrong.test\n")
        .set("dns_hostsfile", "@hosts")
        .start();
    let mut admin = gateway.admin();

    // 1: a certificate to the client, by name.
    admin.have("/certificates", &pair(&shown, &["pay.test"]));
    let alice = TlsClient::presenting(&bank.client("alice"));
    let mut client = alice.connect(gateway.https(), "pay.test");
    assert_eq!(client.server_chain(), shown.chain);
    let stranger = alice.connect(gateway.https(), "other.test");
    assert_ne!(stranger.server_chain(), shown.chain, "another name");

    // 3 and 4: the upstream is shown a certificate, and has to show one.
    for (number, ca) in [(1, &bank), (2, &other)] {
        let target = format!("/ca_certificates/{}", id(number));
        admin.put(&target, &json!({"cert": ca.pem})).assert(200);
    }
    admin
        .put(&format!("/certificates/{}", id(3)), &pair(&own, &[]))
        .assert(200);
    let service = json!({
        "name": "accounts",
        "url": format!("https://accounts.test:{}", upstream.port()),
        "client_certificate": {"id": id(3)},
        "ca_certificates": [id(1)],
        "tls_verify": true,
        "retries": 0,
    });
    admin.have("/services", &service);
    let route = json!({"name": "accounts", "paths": ["/accounts"], "protocols": ["https"]});
    admin.have("/services/accounts/routes", &route);
    client.get("pay.test", "/accounts").assert_status(200);
    assert_eq!(upstream.last().subject.as_deref(), Some("gateway"));

    // 2: only clients with a certificate, and only some of them.
    admin.have("/routes/accounts/plugins", &mtls_auth(&[1], json!({})));
    admin.have(
        "/routes/accounts/plugins",
        &acl(json!({"allow": ["tellers"]})),
    );
    for name in ["alice", "bob"] {
        admin.have("/consumers", &json!({"username": name}));
    }
    admin.have("/consumers/alice/acls", &json!({"group": "tellers"}));
    let get = |client: &TlsClient| client.get(gateway.https(), "pay.test", "/accounts");
    get(&alice).assert_status(200);
    assert_eq!(upstream.last().field("X-Consumer-Username"), Some("alice"));
    get(&TlsClient::new()).assert_error(401, "No required TLS certificate was sent");
    get(&TlsClient::presenting(&bank.client("bob")))
        .assert_error(403, "You cannot consume this service");
    get(&TlsClient::presenting(&other.client("alice")))
        .assert_error(401, "TLS certificate failed verification");
    get(&TlsClient::presenting(&bank.client("carol")))
        .assert_error(401, "TLS certificate failed verification");
    let plain = gateway.get("pay.test", "/accounts");
    assert_eq!(plain.status, 426, "{}", plain.text());

    // The refusals of 3 and 4, one write each, and back.
    let seen = upstream.requests().len();
    let own_again = json!({"client_certificate": {"id": id(3)}});
    for (refusal, reason, change, back) in [
        (
            "no certificate",
            "alert",
            json!({"client_certificate": null}),
            own_again,
        ),
        (
            "another CA",
            "(20:unable to get local issuer certificate)",
            json!({"ca_certificates": [id(2)]}),
            json!({"ca_certificates": [id(1)]}),
        ),
        (
            "another name",
            "does not match \"wrong.test\"",
            json!({"host": "wrong.test"}),
            json!({"host": "accounts.test"}),
        ),
    ] {
        admin.patch("/services/accounts", &change).assert(200);
        let refused = get(&alice);
        assert_eq!(refused.status, 502, "{refusal}: {}", refused.text());
        assert_eq!(
            upstream.requests().len(),
            seen,
            "{refusal}: no request arrives"
        );
        gateway.error_line(&["upstream 127.0.0.1:", "of service accounts", reason]);
        admin.patch("/services/accounts", &back).assert(200);
    }
    get(&alice).assert_status(200);
    // Unverified, when somebody says so.
    let change = json!({"host": "wrong.test", "tls_verify": false});
    admin.patch("/services/accounts", &change).assert(200);
    get(&alice).assert_status(200);
}

/// A handshake that begins after the answer shows the new certificate, one that ended before the write the old one, and
/// none fails.
#[test]
fn a_certificate_replaced_under_load_fails_no_request() {
    const REPLACEMENTS: usize = 30;
    let ca = Ca::root("bank");
    let pairs: Vec<Pair> = (0..=REPLACEMENTS)
        .map(|_| ca.server(&["pay.test"]))
        .collect();
    let upstream = Upstream::echo();
    let gateway = on_all_cores().start();
    let mut admin = gateway.admin();
    let target = format!("/certificates/{}", id(1));
    admin
        .put(&target, &pair(&pairs[0], &["pay.test"]))
        .assert(200);
    let url = format!("http://127.0.0.1:{}", upstream.port());
    admin.put("/services/s", &json!({"url": url})).assert(200);
    admin.have("/services/s/routes", &json!({"paths": ["/"]}));
    let (written, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (handshakes, kept_requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = Done::new();
    std::thread::scope(|scope| {
        let _raise = done.when_dropped();
        let mut load = Vec::new();
        for _ in 0..3 {
            load.push(scope.spawn(|| {
                let client = TlsClient::new();
                while !done.is_raised() {
                    let oldest = answered.load(Ordering::Acquire);
                    let mut client = client.connect(gateway.https(), "pay.test");
                    let newest = written.load(Ordering::Acquire);
                    let leaf = &client.server_chain()[0];
                    let shown = pairs.iter().position(|pair| pair.chain[0] == *leaf);
                    let shown = shown.expect("a certificate of ours");
                    assert!(
                        (oldest..=newest).contains(&shown),
                        "{oldest}..={newest}, {shown}"
                    );
                    client.get("pay.test", "/").assert_status(200);
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            }));
            load.push(scope.spawn(|| {
                let mut client = TlsClient::new().connect(gateway.https(), "pay.test");
                while !done.is_raised() {
                    let answer = client.get("pay.test", "/");
                    answer.assert_status(200);
                    kept_requests.fetch_add(1, Ordering::Relaxed);
                    // After `nginx_http_keepalive_requests` of them.
                    if answer.field("Connection") == Some("close") {
                        client = TlsClient::new().connect(gateway.https(), "pay.test");
                    }
                }
            }));
        }
        for (number, pair) in pairs.iter().enumerate().skip(1) {
            // At least one handshake between two writes.
            let before = handshakes.load(Ordering::Relaxed);
            crate::support::until("a handshake", || {
                let failed = load.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (failed || handshakes.load(Ordering::Relaxed) > before).then_some(())
            });
            written.store(number, Ordering::Release);
            let body = json!({"cert": pair.cert_pem, "key": pair.key_pem});
            admin.patch(&target, &body).assert(200);
            answered.store(number, Ordering::Release);
        }
    });
    assert!(handshakes.into_inner() >= REPLACEMENTS);
    assert!(kept_requests.into_inner() > 0);
}
