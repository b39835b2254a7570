//! Content of any size and framing, both ways, in bounded memory; and what was cut looks cut.

use crate::support::client::{TlsOptions, get};
use crate::support::entities::{service, service_with};
use crate::support::upstream::{Next, read_content};
use crate::support::wire::{Ended, Response};
use crate::support::{Ca, Client, Gateway, Setup, TlsClient, Upstream, json};
use std::io::Write;

const SIZE: usize = 64 * 1024 * 1024;
const PIECE: usize = 64 * 1024;
/// What 64 MiB may add to the gateway's memory.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

/// Byte `n` of the content, so that a lost or doubled piece shows.
fn piece(from: usize) -> Vec<u8> {
    (from..from + PIECE).map(|at| (at / 251) as u8).collect()
}

/// Checks content as it comes.
#[derive(Default)]
struct Checked {
    count: usize,
}

impl Checked {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(*byte, (self.count / 251) as u8, "byte {}", self.count);
            self.count += 1;
        }
    }
}

#[test]
fn large_content_streams_both_ways_in_bounded_memory() {
    let ca = Ca::root("ca");
    let script = |request: &crate::support::upstream::Request,
                  conversation: &mut crate::support::upstream::Conversation<'_>| {
        let length: usize = request
            .field("Content-Length")
            .map_or(0, |length| length.parse().expect("a number"));
        let mut checked = Checked::default();
        while checked.count < length {
            let bytes = std::mem::take(&mut conversation.reader.buffered);
            checked.take(&bytes);
            if checked.count < length && conversation.reader.fill().is_err() {
                return Next::Cut;
            }
        }
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nX-Taken: {}\r\n\r\n",
            checked.count
        ));
        for from in (0..SIZE).step_by(PIECE) {
            conversation.send(piece(from));
        }
        Next::Keep
    };
    let plain = Upstream::streaming(script);
    let tls = Upstream::tls_streaming(&ca.server(&["up.test"]), script);
    let gateway = Setup::new(json!({"services": [
        service("plain", &plain, json!({"paths": ["/plain"]})),
        service_with("tls", &tls, json!({"paths": ["/tls"]}), json!({"tls_verify": false})),
    ]}))
    .start();
    let before = gateway.memory_kib("VmHWM");
    for (target, client) in [
        ("/plain", Client::plain(gateway.http())),
        ("/tls", TlsClient::new().connect(gateway.https(), "a.test")),
    ] {
        let mut client = client;
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        ));
        for from in (0..SIZE).step_by(PIECE) {
            client.send(piece(from));
        }
        let head = client.reader.through(b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.contains(&format!("X-Taken: {SIZE}\r\n")), "{head}");
        let mut checked = Checked::default();
        while checked.count < SIZE {
            let bytes = std::mem::take(&mut client.reader.buffered);
            checked.take(&bytes);
            if checked.count < SIZE {
                client.reader.fill().expect("more content");
            }
        }
    }
    let growth = gateway.memory_kib("VmHWM") - before;
    assert!(growth < GROWTH_MAX_KIB, "memory grew by {growth} KiB");
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let upstream = Upstream::plain(|request, conversation| {
        let trailer = request.trailers.get("X-Sum").unwrap_or("none").to_owned();
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n{:x};ext=1\r\n",
            request.content.len()
        ));
        conversation.send(&request.content);
        conversation.send(format!("\r\n000\r\nX-Back: {trailer}\r\n\r\n"));
        Next::Keep
    });
    let gateway = Gateway::before(&upstream);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                   5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 42\r\n\r\n";
    for mut client in [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ] {
        for _ in 0..2 {
            let response = client.send(request).response();
            assert_eq!(response.text(), "hello!");
            assert_eq!(response.trailers.get("X-Back"), Some("42"));
        }
        // Byte by byte: the decoder's states meet every boundary.
        for byte in request.as_bytes() {
            client.reader.wire.write_all(&[*byte]).expect("a byte");
            client.reader.wire.flush().expect("a record");
        }
        assert_eq!(client.response().text(), "hello!");
    }
}

#[test]
fn content_of_unknown_length_is_chunked_for_11_clients() {
    let upstream = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\n\r\n");
        for _ in 0..10 {
            conversation.send([b'x'; 10_000]);
        }
        Next::Close
    });
    let gateway = Gateway::before(&upstream);
    let mut client = Client::plain(gateway.http());
    for _ in 0..2 {
        let response = client.get("a", "/");
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.body.len(), 100_000);
    }
}

#[test]
fn a_truncated_response_is_cut_for_the_client() {
    let ca = Ca::root("ca");
    let script = |request: &crate::support::upstream::Request,
                  conversation: &mut crate::support::upstream::Conversation<'_>| {
        match request.target.as_str() {
            "/length" => conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "/chunked" => conversation
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            _ => conversation.send("HTTP/1.1 200 OK\r\n\r\nhalf"),
        }
        if request.field("X-Reset").is_some() {
            Next::Reset
        } else {
            Next::Cut
        }
    };
    let plain = Upstream::plain(script);
    let tls = Upstream::tls_with(&ca.server(&["up.test"]), None, script);
    let gateway = Setup::new(json!({"services": [
        service("plain", &plain, json!({"hosts": ["plain.test"]})),
        service_with("tls", &tls, json!({"hosts": ["tls.test"]}), json!({"tls_verify": false})),
    ]}))
    .start();
    // Until the end of a plain connection is a whole message; until the end of a TLS one only with close_notify.
    let rows = [
        ("plain.test", "/length"),
        ("plain.test", "/chunked"),
        ("tls.test", "/length"),
        ("tls.test", "/chunked"),
        ("tls.test", "/until-close"),
    ];
    for (host, target) in rows {
        for over_tls in [false, true] {
            let mut client = if over_tls {
                TlsClient::with(TlsOptions::default()).connect(gateway.https(), host)
            } else {
                Client::plain(gateway.http())
            };
            client.send(get(host, target));
            match Response::read(&mut client.reader, "GET") {
                Ok(whole) => panic!(
                    "{host}{target} over TLS {over_tls}: {:?} looks whole",
                    whole.text()
                ),
                Err(ended) if over_tls => {
                    assert_ne!(
                        ended,
                        Ended::Clean,
                        "{host}{target}: close_notify says it was whole"
                    );
                    assert_ne!(ended, Ended::Open, "{host}{target}: stays open");
                }
                Err(ended) => assert_ne!(ended, Ended::Open, "{host}{target}: stays open"),
            }
        }
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_takes_its_request_with_it() {
    let upstream = Upstream::streaming(|request, conversation| {
        let mut request = request.clone();
        // Never whole: the gateway must not invent an end.
        assert!(
            read_content(conversation.reader, &mut request).is_err(),
            "{request:?}"
        );
        Next::Cut
    });
    let gateway = Gateway::before(&upstream);
    for head in [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = Client::plain(gateway.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        client.reader.wire.finish();
        let (rest, ended) = client.reader.rest();
        assert_ne!(ended, Ended::Open);
        assert!(
            !rest.starts_with(b"HTTP/1.1 2"),
            "{}",
            String::from_utf8_lossy(&rest)
        );
    }
    // A POST that has begun is not asked for again.
    assert!(
        upstream.accepted() <= 2,
        "{} connections",
        upstream.accepted()
    );
}

/// RFC 9112 §9.6: and says that the connection ends with it, whatever the upstream thinks of its own.
#[test]
fn an_answer_before_the_content_ends_reaches_the_client() {
    for (lines, next) in [("Connection: close\r\n", Next::Close), ("", Next::Keep)] {
        for (method, status) in [("POST", "403 Forbidden"), ("PUT", "304 Not Modified")] {
            let upstream = Upstream::streaming(move |_, conversation| {
                let content = if status.starts_with('4') { "no" } else { "" };
                conversation.send(format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 2\r\n{lines}\r\n{content}"
                ));
                let _ = conversation.reader.fill();
                next
            });
            let gateway = Gateway::before(&upstream);
            let mut client = Client::plain(gateway.http());
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning"
            ));
            let response = client.response();
            assert!(response.head.contains(status), "{}", response.head);
            assert_eq!(response.text(), if method == "POST" { "no" } else { "" });
            assert_eq!(
                response.field("Connection"),
                Some("close"),
                "{status} {next:?}"
            );
            client.assert_closed();
        }
    }
}
