//! KONG.md §4.3: versions, groups, ALPN, sessions; and bytes that are no TLS.

use crate::support::client::{TLS12, TLS13, TlsOptions};
use crate::support::entities::{certificate, service};
use crate::support::external::s_client;
use crate::support::wire::Ended;
use crate::support::{
    Client, Folder, Gateway, Leaf, Setup, TlsClient, Upstream, Value, json, until,
};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::{NamedGroup, ProtocolVersion};

fn routed(upstream: &Upstream) -> Value {
    json!({"services": [service("s", upstream, json!({"paths": ["/"]}))]})
}

#[test]
fn versions_are_those_configured() {
    let upstream = Upstream::echo();
    let custom = |protocols: &str| {
        Setup::new(routed(&upstream))
            .set("ssl_cipher_suite", "custom")
            .set(
                "ssl_ciphers",
                "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
            )
            .set("ssl_protocols", protocols)
    };
    // (settings, TLS 1.2, TLS 1.3)
    let rows = [
        (Setup::new(routed(&upstream)), true, true),
        (
            Setup::new(routed(&upstream)).set("ssl_cipher_suite", "modern"),
            false,
            true,
        ),
        (custom("TLSv1.2"), true, false),
        (custom("TLSv1.2 TLSv1.3"), true, true),
    ];
    for (number, (setup, with_12, with_13)) in rows.into_iter().enumerate() {
        let gateway = setup.start();
        for (version, negotiated, expected) in [
            (TLS12, ProtocolVersion::TLSv1_2, with_12),
            (TLS13, ProtocolVersion::TLSv1_3, with_13),
        ] {
            let client = TlsClient::with(TlsOptions {
                versions: vec![version],
                ..TlsOptions::default()
            });
            match client.try_connect(gateway.https(), "a.test") {
                Ok(connected) => {
                    assert!(expected, "row {number}: {negotiated:?} was accepted");
                    assert_eq!(connected.version(), negotiated);
                }
                Err(why) => {
                    assert!(!expected, "row {number}: {negotiated:?}: {why}");
                    gateway.error_line(&["TLS handshake with client", "protocol_version"]);
                }
            }
        }
        let (done, output) = s_client(
            gateway.https(),
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            "",
        );
        // rustls misses signature_algorithms before it looks at the version: handshake_failure.
        assert!(!done && output.contains("alert"), "TLS 1.1: {output}");
    }
}

#[test]
fn every_group_is_served_and_no_other() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream)).start();
    let rows = [
        (vec![kx_group::X25519MLKEM768], NamedGroup::X25519MLKEM768),
        (vec![kx_group::X25519], NamedGroup::X25519),
        (vec![kx_group::SECP256R1], NamedGroup::secp256r1),
        (vec![kx_group::SECP384R1], NamedGroup::secp384r1),
    ];
    for (groups, expected) in rows {
        let client = TlsClient::with(TlsOptions {
            groups,
            ..TlsOptions::default()
        });
        let mut connected = client.connect(gateway.https(), "a.test");
        assert_eq!(connected.group(), Some(expected));
        connected.get("a.test", "/").assert_status(200);
    }
    let narrow = Setup::new(routed(&upstream))
        .set("ssl_groups", "P-384")
        .start();
    let client = TlsClient::with(TlsOptions {
        groups: vec![kx_group::X25519],
        ..TlsOptions::default()
    });
    assert!(
        client.try_connect(narrow.https(), "a.test").is_err(),
        "no group in common"
    );
    narrow.error_line(&["TLS handshake with client", "handshake_failure"]);
}

#[test]
fn alpn_is_http1_or_nothing() {
    let upstream = Upstream::echo();
    // Kong's own flag: until HTTP/2 is served it changes nothing here.
    let gateway = Setup::new(routed(&upstream)).https_flags("http2").start();
    let rows: [(Vec<&'static str>, Option<&str>); 4] = [
        (vec![], None),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec!["http/1.0"], Some("http/1.0")),
        (vec!["h2", "http/1.1"], Some("http/1.1")),
    ];
    for (alpn, expected) in rows {
        let client = TlsClient::with(TlsOptions {
            alpn: alpn.clone(),
            ..TlsOptions::default()
        });
        let mut connected = client.connect(gateway.https(), "a.test");
        assert_eq!(connected.alpn().as_deref(), expected, "{alpn:?}");
        connected.get("a.test", "/").assert_status(200);
    }
    let only_h2 = TlsClient::with(TlsOptions {
        alpn: vec!["h2"],
        ..TlsOptions::default()
    });
    if let Ok(connected) = only_h2.try_connect(gateway.https(), "a.test") {
        assert_eq!(connected.alpn(), None, "h2 must not be chosen");
    }
}

#[test]
fn plain_http_on_the_tls_port_is_answered_400() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream)).start();
    let mut client = Client::plain(gateway.https());
    let response = client.get("a.test", "/");
    assert_eq!(response.status, 400);
    assert!(
        response
            .text()
            .contains("The plain HTTP request was sent to HTTPS port")
    );
    client.assert_closed();
    upstream.assert_untouched();
    gateway.error_line(&["plain HTTP"]);
}

#[test]
fn bytes_that_are_no_tls_end_in_an_alert_and_a_line() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream)).start();
    for bytes in [
        &b"\x16\x03\x01\xff\xff\x01"[..],
        b"\x15\x03\x03\x00\x02\x02\x00",
        b"\x80\x2e\x01\x00\x02\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut client = Client::plain(gateway.https());
        client.send(bytes);
        // Some of these could still become a record: the client gives up.
        client.reader.wire.finish();
        let (answer, ended) = client.reader.rest();
        assert_ne!(ended, Ended::Open, "{bytes:?}");
        assert!(
            answer.is_empty() || answer[0] == 0x15,
            "{bytes:?}: {answer:?}"
        );
    }
    TlsClient::new()
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
    gateway.error_line(&["TLS handshake with client", "failed"]);
    let failures = gateway
        .metrics()
        .sum("sallyport_tls_handshake_failures_total");
    assert!(failures >= 2, "{failures} failures counted");
}

#[test]
fn sessions_are_resumed_on_every_core_and_after_a_reload() {
    let upstream = Upstream::echo();
    for version in [TLS12, TLS13] {
        let gateway = Setup::new(routed(&upstream))
            .workers(2)
            .set("accept_steering", "hash")
            .start();
        let client = TlsClient::with(TlsOptions {
            versions: vec![version],
            resumption: true,
            ..TlsOptions::default()
        });
        let once = || {
            let mut connection = client.connect(gateway.https(), "a.test");
            connection.get("a.test", "/").assert_status(200);
            connection.resumed()
        };
        assert!(!once(), "the first handshake is full");
        for number in 0..30 {
            assert!(once(), "{version:?}: connection {number} is not resumed");
        }
        let metrics = gateway.metrics();
        let cores = metrics
            .0
            .lines()
            .filter(|line| line.starts_with("sallyport_core_requests_total{"))
            .count();
        for core in metrics
            .0
            .lines()
            .filter(|line| line.starts_with("sallyport_core_requests_total{"))
        {
            assert!(
                !core.ends_with(" 0"),
                "one of {cores} cores served nothing: {core}"
            );
        }
        assert_eq!(
            metrics.sum_with("sallyport_tls_handshakes_total", &["resumed=\"true\""]),
            30
        );
        gateway.reload(routed(&upstream));
        assert!(once(), "{version:?}: not resumed after a reload");
    }
    let off = Setup::new(routed(&upstream))
        .set("ssl_session_tickets", "off")
        .start();
    let client = TlsClient::with(TlsOptions {
        resumption: true,
        ..TlsOptions::default()
    });
    for _ in 0..3 {
        let mut connection = client.connect(off.https(), "a.test");
        connection.get("a.test", "/").assert_status(200);
        assert!(!connection.resumed(), "tickets are off");
    }
}

#[test]
fn a_session_is_not_resumed_under_another_name() {
    let upstream = Upstream::echo();
    let pair = |name: &str| Leaf::new(name).dns(&[name]).self_signed();
    let gateway = Setup::new(json!({
        "services": [service("s", &upstream, json!({"paths": ["/"]}))],
        "certificates": [certificate(1, &pair("a.test"), &["a.test"]), certificate(2, &pair("b.test"), &["b.test"])],
    }))
    .start();
    let folder = Folder::new();
    let session = folder.path().join("session").display().to_string();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let (_, first) = s_client(
            gateway.https(),
            &[version, "-servername", "a.test", "-sess_out", &session],
            request,
        );
        assert!(first.contains("New, TLS"), "{first}");
        let (_, again) = s_client(
            gateway.https(),
            &[version, "-servername", "a.test", "-sess_in", &session],
            request,
        );
        assert!(
            again.contains("Reused, TLS"),
            "{version}: OpenSSL's client resumes: {again}"
        );
        let (_, other) = s_client(
            gateway.https(),
            &[version, "-servername", "b.test", "-sess_in", &session],
            request,
        );
        assert!(
            !other.contains("Reused, TLS"),
            "{version}: resumed under another name: {other}"
        );
    }
}

#[test]
fn a_real_client_of_each_kind_gets_an_answer() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream)).start();
    for version in ["-tls1_2", "-tls1_3"] {
        let request = "GET /s_client HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let (_, output) = s_client(
            gateway.https(),
            &[version, "-servername", "a.test"],
            request,
        );
        assert!(
            output.contains("GET /s_client HTTP/1.1"),
            "{version}: {output}"
        );
    }
    let resolve = format!("a.test:{}:127.0.0.1", gateway.https().port());
    let url = format!("https://a.test:{}/curl", gateway.https().port());
    let (done, output) = crate::support::external::curl(&["-k", "--resolve", &resolve, &url]);
    assert!(done && output.contains("GET /curl HTTP/1.1"), "{output}");
}

/// KONG.md §4.3: the profile's suites, or with `custom` those named and no other.
#[test]
fn suites_are_those_configured() {
    let upstream = Upstream::echo();
    let ca = crate::support::Ca::root("ca");
    let (rsa, ec) = (ca.sign(Leaf::new("rsa").rsa()), ca.sign(Leaf::new("ec")));
    let with = |setup: Setup| {
        setup
            .file("rsa.crt", &rsa.cert_pem)
            .file("rsa.key", &rsa.key_pem)
            .file("ec.crt", &ec.cert_pem)
            .file("ec.key", &ec.key_pem)
            .set("ssl_cert", "@rsa.crt, @ec.crt")
            .set("ssl_cert_key", "@rsa.key, @ec.key")
            .start()
    };
    const TLS12_SUITES: [&str; 6] = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];
    const TLS13_SUITES: [&str; 3] = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    let negotiated = |gateway: &Gateway, suite: &str| {
        let arguments = match suite.starts_with("TLS_") {
            true => ["-tls1_3", "-ciphersuites", suite],
            false => ["-tls1_2", "-cipher", suite],
        };
        let (_, output) = s_client(gateway.https(), &arguments, "");
        output.contains(&format!("Cipher is {suite}"))
    };
    let gateway = with(Setup::new(routed(&upstream)));
    for suite in TLS12_SUITES.into_iter().chain(TLS13_SUITES) {
        assert!(negotiated(&gateway, suite), "intermediate: {suite}");
    }
    for suite in [
        "AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-SHA",
        "DHE-RSA-AES128-GCM-SHA256",
    ] {
        assert!(!negotiated(&gateway, suite), "intermediate: {suite}");
    }
    let named = [
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    let gateway = with(
        Setup::new(routed(&upstream))
            .set("ssl_cipher_suite", "custom")
            .set("ssl_ciphers", named.join(":")),
    );
    for suite in TLS12_SUITES.into_iter().chain(TLS13_SUITES) {
        let expected = named.contains(&suite);
        assert_eq!(negotiated(&gateway, suite), expected, "custom: {suite}");
    }
    // What rustls cannot do is refused by its name.
    for (directive, value, word) in [
        ("ssl_cipher_suite", "old", "`old`"),
        ("ssl_cipher_suite", "fips", "`fips`"),
        (
            "ssl_ciphers",
            "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
            "`DHE-RSA-AES256-GCM-SHA384`",
        ),
        ("ssl_protocols", "TLSv1.1 TLSv1.2", "TLSv1.1 is not offered"),
        ("ssl_groups", "X25519:P-521", "`P-521`"),
    ] {
        let prepared = Setup::new(routed(&upstream))
            .set("ssl_cipher_suite", "custom")
            .set("ssl_ciphers", "ECDHE-RSA-AES128-GCM-SHA256")
            .set(directive, value)
            .prepare();
        let output = prepared.run("check", &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && told.contains(directive) && told.contains(word),
            "{directive} = {value}: {told}"
        );
    }
}

/// Ticket secrets turn twice in `ssl_session_timeout`: a session ends with the secret that sealed it, and what the new
/// one seals is resumed.
#[test]
fn sessions_end_with_their_secret_and_fresh_ones_are_resumed() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("ssl_session_timeout", "4s")
        .start();
    let folder = Folder::new();
    let session = folder.path().join("session").display().to_string();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let ask = |option: &str| {
            let arguments = [version, "-servername", "a.test", option, session.as_str()];
            let (_, output) = s_client(gateway.https(), &arguments, request);
            output.contains("Reused, TLS")
        };
        // On a machine that stalls a session may have ended before it is used: then another is begun.
        let fresh_is_resumed = || {
            assert!(!ask("-sess_out"), "{version}: nothing to resume");
            ask("-sess_in").then_some(())
        };
        until("a session to be resumed", fresh_is_resumed);
        until("that session to end", || (!ask("-sess_in")).then_some(()));
        until("a fresh session to be resumed", fresh_is_resumed);
    }
}
