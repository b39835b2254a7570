//! RFC 9112 and RFC 9110 on one connection: order, framing, persistence, interim responses, upgrades.

use crate::support::client::get;
use crate::support::entities::service;
use crate::support::external::curl;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Client, Folder, Gateway, Setup, TlsClient, Upstream, Value, json};
use std::io::Write;

/// Answers by target.
fn scripted() -> Upstream {
    Upstream::plain(|request, conversation| {
        match request.target.as_str() {
            "/204" => conversation.send("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"),
            "/304" => conversation.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\nETag: \"1\"\r\n\r\n"),
            "/103" => conversation.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            ),
            "/chunked" => conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
            "/until-close" => {
                conversation.send("HTTP/1.1 200 OK\r\n\r\nuntil close");
                return Next::Close;
            }
            "/http10" => {
                conversation.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
                return Next::Close;
            }
            "/switch" => conversation.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            _ if request.method == "HEAD" => conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            _ => return conversation.echo(request),
        }
        Next::Keep
    })
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let bytes = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
                 POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /four HTTP/1.1\r\nHost: a\r\n\r\nGET /five HTTP/1.1\r\nHost: a\r\n\r\n";
    for mut client in [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ] {
        client.send(bytes);
        for (target, content) in [("/one", ""), ("/two", "hello"), ("/three", "hi")] {
            let response = client.response();
            assert!(
                response.text().contains(&format!(" {target} ")),
                "{}",
                response.text()
            );
            let seen = upstream
                .requests()
                .into_iter()
                .rfind(|request| request.target == target);
            assert_eq!(seen.expect("it came").content, content.as_bytes());
        }
        client.response().assert_status(200);
        let last = client.response();
        assert!(last.text().contains(" /five "), "{}", last.text());
    }
}

#[test]
fn responses_without_content_keep_the_connection() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let mut client = Client::plain(gateway.http());
    for _ in 0..2 {
        client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.response_to("HEAD");
        assert_eq!(
            head.field("Content-Length"),
            Some("5"),
            "the length GET would give"
        );
        let none = client.get("a", "/204");
        assert_eq!(none.status, 204);
        assert_eq!(none.field("Content-Length"), None);
        assert_eq!(none.field("Transfer-Encoding"), None);
        let unchanged = client.get("a", "/304");
        assert_eq!(unchanged.status, 304);
        assert_eq!(unchanged.field("ETag"), Some("\"1\""));
    }
    client.get("a", "/alive").assert_status(200);
}

/// RFC 9110 §15.3.5, §15.3.6, §15.4.5: what a client would take for the beginning of the next response.
#[test]
fn an_answer_of_our_own_whose_status_has_no_content_has_none() {
    let with = |status: u16, more: &str| {
        let mut config = json!({"status_code": status});
        if more != "default" {
            config[more] = json!("words");
        }
        json!({"name": format!("{more}{status}"), "paths": [format!("/{more}/{status}")],
            "plugins": [{"name": "request-termination", "config": config}]})
    };
    let cases: Vec<(u16, &str)> = [200, 204, 205, 301, 304, 404]
        .into_iter()
        .flat_map(|status| ["default", "message", "body"].map(|more| (status, more)))
        .collect();
    let routes: Vec<Value> = cases
        .iter()
        .map(|(status, more)| with(*status, more))
        .collect();
    let gateway = Setup::new(json!({ "routes": routes })).start();
    for mut client in [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ] {
        for (status, more) in &cases {
            // All on one connection: each answer ends where the next begins.
            let response = client.get("a", &format!("/{more}/{status}"));
            assert_eq!(response.status, *status, "{more}: {}", response.head);
            let length = response.field("Content-Length");
            match status {
                204 | 304 => assert_eq!(length, None, "{status} {more}"),
                205 => assert_eq!(length, Some("0"), "{more}"),
                _ if *more == "body" => assert_eq!(response.text(), "words", "{status}"),
                _ => assert_eq!(length, Some(&*response.body.len().to_string())),
            }
        }
    }
}

/// RFC 9110 §9.3.2: a head that is refused while it is read may be one of HEAD as well.
#[test]
fn a_refused_head_of_head_is_answered_without_content() {
    let upstream = scripted();
    let gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]}))
            .set("request_field_count_max", "20")
            .set("nginx_http_client_header_timeout", "1s")
            .start();
    let long = "x".repeat(9000);
    // (rule, request behind its method, status)
    let rows = [
        ("no Host", " / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("version", " / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        (
            "target",
            format!(" /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
            414,
        ),
        (
            "field count",
            format!(" / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(20)),
            400,
        ),
        (
            "framing",
            " / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n".to_owned(),
            400,
        ),
        ("too slow", " / HTTP/1.1\r\nHost: ".to_owned(), 408),
    ];
    for (rule, rest, status) in rows {
        for (method, empty) in [("HEAD", true), ("GET", false), ("\r\nHEAD", true)] {
            let mut client = Client::plain(gateway.http());
            client.send(format!("{method}{rest}"));
            let response = client.response_to(method.trim_start());
            assert_eq!(response.status, status, "{rule}: {method}");
            let length = response.field("Content-Length");
            assert!(
                length.is_some_and(|length| length != "0"),
                "{rule}: {method}"
            );
            let (behind, ended) = client.reader.rest();
            assert_eq!(behind, b"", "{rule}: {method}");
            assert_ne!(ended, Ended::Open, "{rule}: {method}");
            assert_eq!(response.text().is_empty(), empty, "{rule}: {method}");
        }
    }
    let mut clear = Client::plain(gateway.https());
    clear.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(clear.response_to("HEAD").status, 400);
    assert_eq!(clear.reader.rest().0, b"");
    upstream.assert_untouched();
}

#[test]
fn interim_responses_reach_clients_that_know_them() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let mut client = Client::plain(gateway.http());
    let response = client.get("a", "/103");
    assert_eq!(response.text(), "ok");
    assert_eq!(response.interim.len(), 2, "{:?}", response.interim);
    assert!(
        response.interim[0].contains("Link: </style.css>"),
        "{:?}",
        response.interim
    );
    let mut old = Client::plain(gateway.http());
    old.send("GET /103 HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = old.response();
    assert_eq!(response.interim.len(), 0, "RFC 9110 §15.2");
    assert_eq!(response.text(), "ok");
    client.get("a", "/next").assert_status(200);
}

#[test]
fn the_gateway_answers_expect_100_continue_itself() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let mut client = Client::plain(gateway.http());
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let interim = client
        .reader
        .through(b"\r\n\r\n")
        .expect("an interim response");
    assert_eq!(
        String::from_utf8_lossy(&interim),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    let response = client.send("hello").response();
    assert_eq!(response.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.content, b"hello");
    assert_eq!(seen.field("Expect"), None, "it was answered here");
    // A client that does not wait gets no 100 (RFC 9110 §10.1.1 lets us omit it) or one; its content counts once.
    client.send(
        "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nworld",
    );
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.last().content, b"world");

    client.send("POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 200-ok\r\n\r\n");
    let refused = client.response();
    assert_eq!(refused.status, 417, "{}", refused.text());
    client.assert_closed();

    let folder = Folder::new();
    let content = "x".repeat(3000);
    let file = folder.file("content", &content);
    let url = format!("http://{}/curl", gateway.http());
    let data = format!("@{}", file.display());
    let (done, output) = curl(&[
        "-v",
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        &data,
        &url,
    ]);
    assert!(done, "{output}");
    assert!(output.contains("HTTP/1.1 100 Continue"), "{output}");
    assert!(output.contains("HTTP/1.1 200 OK"), "{output}");
    assert_eq!(upstream.last().content, content.as_bytes());
}

#[test]
fn http_10_clients_get_what_they_understand() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    // (request, content, whether the connection stays)
    let rows = [
        ("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n", "onetwo", false),
        (
            "GET /chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "onetwo",
            false,
        ),
        ("GET /until-close HTTP/1.0\r\n\r\n", "until close", false),
        ("GET /http10 HTTP/1.0\r\nHost: a\r\n\r\n", "ok", false),
        (
            "GET /http10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "ok",
            true,
        ),
        ("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n", "onetwo", true),
        (
            "GET /until-close HTTP/1.1\r\nHost: a\r\n\r\n",
            "until close",
            true,
        ),
        ("GET /http10 HTTP/1.1\r\nHost: a\r\n\r\n", "ok", true),
        (
            "GET /http10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "ok",
            false,
        ),
    ];
    for (request, content, stays) in rows {
        let mut client = Client::plain(gateway.http());
        let response = client.send(request).response();
        assert_eq!(response.text(), content, "{request:?}");
        if request.contains("HTTP/1.0") {
            assert_eq!(
                response.field("Transfer-Encoding"),
                None,
                "{request:?}: RFC 9112 §6.1"
            );
        }
        if stays {
            if request.contains("HTTP/1.0") {
                let kept = response.field("Connection").map(str::to_ascii_lowercase);
                assert_eq!(kept.as_deref(), Some("keep-alive"), "{request:?}");
            }
            client.get("a", "/next").assert_status(200);
        } else {
            client.assert_closed();
        }
    }
}

#[test]
fn a_connection_serves_as_many_requests_as_configured() {
    let upstream = scripted();
    let gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]}))
            .set("nginx_http_keepalive_requests", "3")
            .start();
    let mut client = TlsClient::new().connect(gateway.https(), "a.test");
    for number in 1..=3 {
        let response = client.get("a", "/x");
        let last = response.field("Connection") == Some("close");
        assert_eq!(last, number == 3, "request {number}");
    }
    assert_eq!(
        client.assert_closed(),
        Ended::Clean,
        "close_notify ends a TLS connection"
    );
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let upstream = scripted();
    let gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]}))
            .set("nginx_http_keepalive_timeout", "1s")
            .set("nginx_http_client_header_timeout", "1s")
            .start();
    for over_tls in [false, true] {
        let mut client = if over_tls {
            TlsClient::new().connect(gateway.https(), "a.test")
        } else {
            Client::plain(gateway.http())
        };
        client.get("a", "/x").assert_status(200);
        assert_eq!(client.assert_closed(), Ended::Clean);
    }
}

#[test]
fn a_websocket_is_a_tunnel() {
    // Says 101, then sends back what it gets in upper case, until `bye`.
    let upstream = Upstream::plain(|request, conversation| {
        assert_eq!(request.field("Upgrade"), Some("websocket"));
        conversation.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst");
        loop {
            let bytes = std::mem::take(&mut conversation.reader.buffered);
            if !bytes.is_empty() {
                conversation.send(bytes.to_ascii_uppercase());
            }
            if bytes.ends_with(b"bye") {
                return Next::Close;
            }
            if conversation.reader.buffered.is_empty() && conversation.reader.fill().is_err() {
                return Next::Close;
            }
        }
    });
    let gateway = Gateway::before(&upstream);
    let request = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\nearly";
    for mut client in [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ] {
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 101, "{}", response.head);
        assert_eq!(response.field("Upgrade"), Some("websocket"));
        assert_eq!(response.field("Connection"), Some("Upgrade"));
        assert_eq!(response.field("Sec-WebSocket-Accept"), Some("x"));
        let first = client
            .reader
            .exact("firstEARLY".len())
            .expect("what was sent early");
        assert_eq!(first, b"firstEARLY");
        let long = vec![b'a'; 200_000];
        client.send(&long);
        let back = client.reader.exact(long.len()).expect("all of it");
        assert!(back.iter().all(|byte| *byte == b'A'));
        client.send("bye");
        let (rest, ended) = client.reader.rest();
        assert_eq!(rest, b"BYE");
        assert_eq!(ended, Ended::Clean);
    }
    let seen = upstream.last();
    assert_eq!(seen.field("Connection"), Some("keep-alive, Upgrade"));
    assert_eq!(seen.field("Sec-WebSocket-Key"), Some("k"));
}

#[test]
fn no_other_upgrade_leaves_the_gateway() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let rows = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
        // RFC 9110 §7.8: without the Connection option it is no request to upgrade.
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    ];
    for lines in rows {
        let response = Client::plain(gateway.http()).get_with("a", "/x", lines);
        let seen = response.assert_status(200).echoed();
        let upgrade = seen.get("Upgrade").map(str::to_ascii_lowercase);
        assert!(
            upgrade
                .is_none_or(|upgrade| upgrade == "websocket" && lines.contains("h2c, websocket")),
            "{lines:?}: {}",
            response.text()
        );
        assert!(!response.text().contains("h2c"), "{lines:?}");
        assert_eq!(seen.get("HTTP2-Settings"), None, "nominated by Connection");
    }
    // 101 that nobody asked for.
    let response = Client::plain(gateway.http()).get("a", "/switch");
    assert_eq!(response.status, 502);
    // HTTP/1.0 cannot upgrade (RFC 9110 §7.8).
    let mut old = Client::plain(gateway.http());
    old.send("GET /x HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.response().echoed().get("Upgrade"), None);
}

#[test]
fn connect_and_trace_are_refused() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    for request in [
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::plain(gateway.http());
        let response = client.send(request).response();
        assert_eq!(response.status, 405, "{request:?}");
        client.assert_closed();
    }
    upstream.assert_untouched();
}

#[test]
fn a_head_in_pieces_is_one_head() {
    let upstream = scripted();
    let gateway = Gateway::before(&upstream);
    let request = get("a", "/pieces");
    for mut client in [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ] {
        for byte in request.as_bytes() {
            client.reader.wire.write_all(&[*byte]).expect("a byte");
            client.reader.wire.flush().expect("a record");
        }
        client.response().assert_status(200);
    }
}

#[test]
fn absolute_form_is_routed_by_its_authority() {
    let upstream = scripted();
    let gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"hosts": ["abs.test"]}))]}))
            .start();
    let mut client = Client::plain(gateway.http());
    let response = client
        .send("GET http://abs.test/x?y HTTP/1.1\r\nHost: abs.test\r\n\r\n")
        .response();
    assert!(
        response
            .assert_status(200)
            .text()
            .starts_with("GET /x?y HTTP/1.1\r\n")
    );
}
