//! Whether the logs tell an operator why something was refused or broke, and which request it was.

use crate::support::client::{TlsOptions, get};
use crate::support::entities::{ca_certificate, mtls_auth, service, service_with};
use crate::support::external::{s_client, weak_pair};
use crate::support::upstream::Next;
use crate::support::{Ca, Client, Gateway, Setup, TlsClient, Upstream, Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

#[test]
fn the_line_of_a_refused_head_says_which_request_it_was() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    let long = format!("/{}", "x".repeat(20_000));
    // (head, method, target, what the reason says)
    let rows = [
        (
            "GET /twice?q=1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET",
            "/twice?q=1",
            "Host is there more than once",
        ),
        ("POST /no-host HTTP/1.1\r\n\r\n", "POST", "/no-host", "Host"),
        (
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET",
            "/a b",
            "three words",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI", "*", "version"),
        (
            "GET /bare HTTP/1.1\nHost: a\n\n",
            "GET",
            "/bare",
            "LF without CR",
        ),
        (
            "\x01\x02 /rubbish\r\n\r\n",
            "",
            "\u{1}\u{2} /rubbish",
            "method",
        ),
    ];
    for (head, ..) in rows {
        Client::plain(gateway.http()).send(head).response();
    }
    let mut client = Client::plain(gateway.http());
    client.send(get("a", &long)).response().assert_status(414);
    let lines = gateway.access_lines(rows.len() + 1);
    for (head, method, target, reason) in rows {
        let line = lines
            .iter()
            .find(|line| line["request"]["uri"] == target)
            .unwrap_or_else(|| panic!("{head:?} in {lines:?}"));
        assert_eq!(line["request"]["method"], method, "{line}");
        let told = line["error"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{line}");
    }
    let uri = lines[rows.len()]["request"]["uri"]
        .as_str()
        .unwrap_or_default();
    assert!(uri.len() > 500 && long.starts_with(uri), "{uri}");
    upstream.assert_untouched();
}

#[test]
fn a_handshake_that_failed_has_its_cause_in_words() {
    let upstream = Upstream::echo();
    let ca = Ca::root("Clients CA");
    let mut route = json!({"paths": ["/"]});
    route["plugins"] = json!([mtls_auth(&[1], json!({}))]);
    let gateway = Setup::new(json!({
        "ca_certificates": [ca_certificate(1, &ca)],
        "services": [service("s", &upstream, route)],
    }))
    .start();
    let folder = crate::support::Folder::new();
    let (cert, key) = weak_pair(folder.path());
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    // (options of s_client, the alert it tells, what the log says)
    let rows: [(&[&str], &str, &str); 5] = [
        (
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            "alert protocol version",
            "the client offers TLS 1.1 or older; TLS 1.2 and 1.3 are served, alert: protocol_version",
        ),
        (
            &["-servername", "a.test:443"],
            "alert illegal parameter",
            "its SNI is no host name",
        ),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            "alert handshake failure",
            "no key exchange in common",
        ),
        (
            &["-sigalgs", "ed25519"],
            "alert handshake failure",
            "no signature scheme in common",
        ),
        (
            &[
                "-tls1_2",
                "-cipher",
                "ALL:@SECLEVEL=0",
                "-cert",
                &cert,
                "-key",
                &key,
            ],
            "alert certificate unknown",
            "the certificate it sent has an RSA key of 1024 bits; at least 2048 are accepted",
        ),
    ];
    for (options, alert, cause) in rows {
        let (_, told) = s_client(gateway.https(), options, "");
        assert!(told.contains(alert), "{options:?}: {told}");
        gateway.error_line(&["TLS handshake with client 127.0.0.1:", cause]);
    }
    let only_h2 = TlsClient::with(TlsOptions {
        alpn: vec!["h2"],
        ..TlsOptions::default()
    });
    assert!(only_h2.try_connect(gateway.https(), "a.test").is_err());
    gateway.error_line(&["no ALPN protocol in common; http/1.1 is served"]);
}

#[test]
fn a_name_that_is_not_found_tells_of_a_hosts_file_that_cannot_be_read() {
    let gateway = Setup::new(json!({"services": [{
        "name": "s", "url": "http://backend.invalid:1", "routes": [{"paths": ["/"]}],
    }]}))
    .file("hosts", "127.0.0.1 backend.invalid\n")
    .set("dns_hostsfile", "@hosts")
    .start();
    let hosts = gateway.files().folder().join("hosts");
    std::fs::remove_file(&hosts).expect("the file");
    std::fs::create_dir(&hosts).expect("a folder in its place");
    gateway.get("a", "/").assert_status(503);
    gateway.error_line(&[
        "[warn] name backend.invalid:",
        "dns_hostsfile cannot be read",
    ]);
}

/// A server of HTTP in clear text, asked for TLS: it answers at once, as nginx does.
fn clear_text() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

#[test]
fn an_exchange_that_broke_says_on_which_side() {
    let once = |name: &str, upstream: &Upstream, more: Value| {
        let mut more = more;
        more["retries"] = json!(0);
        service_with(name, upstream, json!({"paths": [format!("/{name}")]}), more)
    };
    let resets = Upstream::plain(|_, _| Next::Reset);
    let resets_midway = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        Next::Reset
    });
    let malformed = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
        Next::Cut
    });
    let endless = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        conversation.send(vec![b'x'; 64 << 20]);
        Next::Cut
    });
    let clear = clear_text();
    let https = json!({
        "url": format!("https://{clear}"), "tls_verify": false,
    });
    let gateway = Setup::new(json!({"services": [
        once("resets", &resets, json!({})),
        once("midway", &resets_midway, json!({})),
        once("malformed", &malformed, json!({})),
        once("endless", &endless, json!({})),
        once("clear", &resets, https),
    ]}))
    .set("log_level", "info")
    .start();
    let mut client = Client::plain(gateway.http());
    for name in ["resets", "malformed"] {
        client.get("a", &format!("/{name}")).assert_status(502);
    }
    gateway.error_line(&[
        "service: resets",
        "reading from the upstream failed: Connection reset",
    ]);
    gateway.error_line(&[
        "service: malformed",
        "the upstream's response is refused: Content-Length is there more than once",
    ]);
    let mut cut = Client::plain(gateway.http());
    cut.send(get("a", "/midway"));
    cut.reader.rest();
    gateway.error_line(&["[warn] 200", "service: midway", "the upstream"]);
    // The client takes the beginning and leaves, with more on its way than the sockets hold.
    let mut leaving = Client::plain(gateway.http());
    leaving.send(get("a", "/endless"));
    leaving.reader.through(b"xxx").expect("the first content");
    leaving.reader.wire.reset();
    gateway.error_line(&["[info] 200", "service: endless", "the client"]);
    Client::plain(gateway.http())
        .get("a", "/clear")
        .assert_status(502);
    gateway.error_line(&["service: clear", "what it sent is no TLS record"]);
}
