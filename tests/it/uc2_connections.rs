//! KONG.md §5.2, §5.7, §5.10 items 6 to 8, 11, 13: requests, connections and sessions around client certificates.

use crate::support::client::{TLS12, TLS13, TlsOptions};
use crate::support::entities::{ca_certificate, merged, mtls_auth, service};
use crate::support::external::s_client;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Ca, Leaf, Setup, TlsClient, Upstream, Value, json};

const NONE: &str = "No required TLS certificate was sent";
const FAILED: &str = "TLS certificate failed verification";

fn skip() -> Value {
    json!({"skip_consumer_lookup": true})
}

#[test]
fn two_routes_of_one_connection_trust_different_cas() {
    let (one, two) = (Ca::root("one"), Ca::root("two"));
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("one", &upstream, json!({"paths": ["/one"], "snis": ["a.test"], "plugins": [mtls_auth(&[1], skip())]})),
            service("two", &upstream, json!({"paths": ["/two"], "snis": ["a.test"], "plugins": [mtls_auth(&[2], skip())]})),
            service("both", &upstream, json!({"paths": ["/both"], "snis": ["a.test"], "plugins": [mtls_auth(&[1, 2], skip())]})),
        ],
        "ca_certificates": [ca_certificate(1, &one), ca_certificate(2, &two)],
    }))
    .start();
    for version in [TLS12, TLS13] {
        let options = TlsOptions {
            pair: Some(one.client("c")),
            versions: vec![version],
            ..TlsOptions::default()
        };
        let mut client = TlsClient::with(options).connect(gateway.https(), "a.test");
        for _ in 0..2 {
            client.get("a.test", "/one").assert_status(200);
            client.get("a.test", "/two").assert_error(401, FAILED);
            client.get("a.test", "/both").assert_status(200);
        }
    }
}

#[test]
fn another_sni_is_no_way_around_the_matched_route() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("guarded", &upstream, json!({"hosts": ["guarded.test"], "plugins": [mtls_auth(&[1], skip())]})),
            service("open", &upstream, json!({"hosts": ["open.test"]})),
            service("sni-bound", &upstream, json!({"hosts": ["bound.test"], "snis": ["bound.test"], "plugins": [mtls_auth(&[1], skip())]})),
        ],
        "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
    }))
    .start();
    let anonymous = TlsClient::new();
    let known = TlsClient::presenting(&ca.client("c"));
    let stranger = TlsClient::presenting(&other.client("c"));
    // (client, SNI, Host, status, message)
    let rows: [(&str, &TlsClient, &str, &str, u16, &str); 9] = [
        (
            "no certificate",
            &anonymous,
            "guarded.test",
            "guarded.test",
            401,
            NONE,
        ),
        (
            "no certificate, SNI of an open route",
            &anonymous,
            "open.test",
            "guarded.test",
            401,
            NONE,
        ),
        (
            "no certificate, no SNI",
            &anonymous,
            "",
            "guarded.test",
            401,
            NONE,
        ),
        (
            "stranger under another SNI",
            &stranger,
            "open.test",
            "guarded.test",
            401,
            FAILED,
        ),
        (
            "known under another SNI",
            &known,
            "open.test",
            "guarded.test",
            200,
            "",
        ),
        (
            "open Host under a guarded SNI",
            &anonymous,
            "guarded.test",
            "open.test",
            200,
            "",
        ),
        (
            "open Host, stranger",
            &stranger,
            "guarded.test",
            "open.test",
            200,
            "",
        ),
        (
            "route bound to an SNI, other SNI",
            &known,
            "open.test",
            "bound.test",
            404,
            "no Route matched with those values",
        ),
        (
            "route bound to an SNI",
            &known,
            "bound.test",
            "bound.test",
            200,
            "",
        ),
    ];
    for (row, client, sni, host, status, message) in rows {
        let response = client.connect(gateway.https(), sni).get(host, "/");
        assert_eq!(response.status, status, "{row}: {}", response.text());
        if status != 200 {
            response.assert_error(status, message);
        }
    }
}

#[test]
fn certificates_are_requested_by_sni_alone() {
    let (one, two) = (Ca::root("Authority One"), Ca::root("Authority Two"));
    let upstream = Upstream::echo();
    let with = |send: bool| merged(skip(), json!({ "send_ca_dn": send }));
    let declarative = |send: bool, more: Value| {
        let mut services = vec![
            service(
                "one",
                &upstream,
                json!({"paths": ["/one"], "snis": ["a.test", "*.wild.test"], "plugins": [mtls_auth(&[1], with(send))]}),
            ),
            service(
                "two",
                &upstream,
                json!({"paths": ["/two"], "snis": ["a.test"], "plugins": [mtls_auth(&[2], with(send))]}),
            ),
            service("open", &upstream, json!({"paths": ["/open"]})),
        ];
        if more.is_object() {
            services.push(more);
        }
        json!({"services": services, "ca_certificates": [ca_certificate(1, &one), ca_certificate(2, &two)]})
    };
    let gateway = Setup::new(declarative(true, json!(null))).start();
    let asked = |sni: &str, version: &str| {
        let mut arguments = vec![version];
        if sni.is_empty() {
            arguments.push("-noservername");
        } else {
            arguments.extend(["-servername", sni]);
        }
        let (_, output) = s_client(gateway.https(), &arguments, "");
        let requested = output.contains("Acceptable client certificate CA names")
            || output.contains("Requested Signature Algorithms")
            || output.contains("Client Certificate Types");
        (
            requested,
            output.contains("CN = Authority One"),
            output.contains("CN = Authority Two"),
        )
    };
    // (SNI, (requested, names One, names Two))
    let rows = [
        ("a.test", (true, true, true)),
        ("b.wild.test", (true, true, false)),
        ("other.test", (false, false, false)),
        ("", (false, false, false)),
    ];
    for version in ["-tls1_2", "-tls1_3"] {
        for (sni, expected) in rows {
            assert_eq!(asked(sni, version), expected, "{version} {sni:?}");
        }
    }
    gateway.reload(declarative(false, json!(null)));
    assert_eq!(
        asked("a.test", "-tls1_3"),
        (true, false, false),
        "send_ca_dn off"
    );
    // A route without snis: everyone is asked.
    let global = service(
        "all",
        &upstream,
        json!({"paths": ["/all"], "plugins": [mtls_auth(&[1], with(true))]}),
    );
    gateway.reload(declarative(false, global));
    for sni in ["other.test", ""] {
        assert_eq!(
            asked(sni, "-tls1_3"),
            (true, true, false),
            "{sni:?} with a route that has no snis"
        );
    }
    // A disabled plugin asks nobody.
    let mut plugin = mtls_auth(&[1], with(true));
    plugin["enabled"] = json!(false);
    gateway.reload(declarative(
        false,
        service(
            "off",
            &upstream,
            json!({"paths": ["/all"], "plugins": [plugin]}),
        ),
    ));
    assert_eq!(
        asked("other.test", "-tls1_3"),
        (false, false, false),
        "disabled"
    );
}

#[test]
fn a_plugin_added_counts_for_open_connections() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let declarative = |plugins: Value| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": plugins}))],
            "ca_certificates": [ca_certificate(1, &ca)],
        })
    };
    let gateway = Setup::new(declarative(json!([]))).start();
    let client = TlsClient::presenting(&ca.client("c"));
    let mut open = client.connect(gateway.https(), "a.test");
    open.get("a.test", "/").assert_status(200);
    gateway.reload(declarative(json!([mtls_auth(&[1], skip())])));
    // It was not asked for a certificate, so it has none.
    open.get("a.test", "/").assert_error(401, NONE);
    client
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
}

#[test]
fn trust_taken_away_counts_for_open_connections_and_resumed_sessions() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    let upstream = Upstream::echo();
    let trusting = |number: u32| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [mtls_auth(&[number], skip())]}))],
            "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
        })
    };
    for version in [TLS12, TLS13] {
        let gateway = Setup::new(trusting(1)).start();
        let client = TlsClient::with(TlsOptions {
            pair: Some(ca.client("c")),
            versions: vec![version],
            resumption: true,
            ..TlsOptions::default()
        });
        let mut open = client.connect(gateway.https(), "a.test");
        open.get("a.test", "/").assert_status(200);
        let mut resumed = client.connect(gateway.https(), "a.test");
        resumed.get("a.test", "/").assert_status(200);
        assert!(
            resumed.resumed(),
            "{version:?}: sessions with a client certificate are resumed"
        );
        gateway.reload(trusting(2));
        open.get("a.test", "/").assert_error(401, FAILED);
        let mut after = client.connect(gateway.https(), "a.test");
        after.get("a.test", "/").assert_error(401, FAILED);
        assert!(
            after.resumed(),
            "{version:?}: the session is resumed, and judged anew"
        );
        gateway.reload(trusting(1));
        open.get("a.test", "/").assert_status(200);
    }
}

#[test]
fn a_ticket_from_before_certificates_were_requested_is_not_resumed() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let declarative = |plugins: Value| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": plugins}))],
            "ca_certificates": [ca_certificate(1, &ca)],
        })
    };
    for version in [TLS12, TLS13] {
        let gateway = Setup::new(declarative(json!([]))).start();
        let client = TlsClient::with(TlsOptions {
            pair: Some(ca.client("c")),
            versions: vec![version],
            resumption: true,
            ..TlsOptions::default()
        });
        for _ in 0..2 {
            client
                .get(gateway.https(), "a.test", "/")
                .assert_status(200);
        }
        gateway.reload(declarative(json!([mtls_auth(&[1], skip())])));
        let mut after = client.connect(gateway.https(), "a.test");
        assert!(
            !after.resumed(),
            "{version:?}: a session without a certificate must not go on"
        );
        after.get("a.test", "/").assert_status(200);
    }
}

#[test]
fn a_consumer_that_is_gone_is_refused_on_its_open_connection() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let declarative = |consumers: Value| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [mtls_auth(&[1], json!({}))]}))],
            "ca_certificates": [ca_certificate(1, &ca)],
            "consumers": consumers,
        })
    };
    let gateway = Setup::new(declarative(json!([{"username": "alice"}]))).start();
    let mut open = TlsClient::presenting(&ca.client("alice")).connect(gateway.https(), "a.test");
    open.get("a.test", "/").assert_status(200);
    gateway.reload(declarative(json!([])));
    open.get("a.test", "/").assert_error(401, FAILED);
    gateway.reload(declarative(
        json!([{"username": "x", "custom_id": "alice"}]),
    ));
    let seen = open.get("a.test", "/").echoed();
    assert_eq!(seen.get("X-Consumer-Username"), Some("x"));
}

#[test]
fn a_name_that_a_stranger_made_up_does_not_fill_the_log() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [mtls_auth(&[1], skip())]}))],
        "ca_certificates": [ca_certificate(1, &ca)],
    }))
    .start();
    let name = "x".repeat(12_000);
    let stranger = Leaf::new(&name).self_signed();
    TlsClient::presenting(&stranger)
        .get(gateway.https(), "a.test", "/")
        .assert_status(401);
    let short = "y".repeat(1000);
    TlsClient::presenting(&ca.client(&short))
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
    let lines = gateway.access_lines(2);
    let subject = |place: usize| lines[place]["request"]["tls"]["client_subject"].as_str();
    let cut = subject(0).expect("a subject");
    assert!(cut.starts_with("CN=xxx") && cut.ends_with("x…"), "{cut}");
    let size = lines[0].to_string().len();
    assert!(size < 4096, "a line of {size} bytes for a request of 40");
    assert_eq!(
        subject(1),
        Some(&*format!("CN={short}")),
        "what CAs issue stays whole"
    );
}

#[test]
fn an_exchange_still_running_ends_when_its_client_is_no_longer_admitted() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    // Begins a response and never ends it.
    let upstream = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
        while conversation.reader.fill().is_ok() {}
        Next::Cut
    });
    let trusting = |number: u32| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [mtls_auth(&[number], skip())]}))],
            "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
        })
    };
    let gateway = Setup::new(trusting(1))
        .set("client_verdict_grace", "1s")
        .start();
    let mut client = TlsClient::presenting(&ca.client("c")).connect(gateway.https(), "a.test");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = client
        .reader
        .through(b"\r\n\r\nbegin")
        .expect("the beginning of a response");
    assert!(head.starts_with(b"HTTP/1.1 200"));
    gateway.reload(trusting(2));
    let (rest, ended) = client.reader.rest();
    assert_eq!(rest, b"");
    assert_ne!(ended, Ended::Open, "the exchange goes on");
    assert_ne!(ended, Ended::Clean, "a cut response must not look whole");
    let line = gateway.access_lines(1).remove(0);
    assert!(
        line["error"]
            .as_str()
            .is_some_and(|text| text.contains("no longer admitted")),
        "{line}"
    );
}
