//! Bounds on what a client sends: sizes answered with the status that says so, slowness with an end.

use crate::support::entities::service;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Client, Setup, TlsClient, Upstream, Value, json, until};
use std::time::Duration;

fn routed(upstream: &Upstream) -> Value {
    json!({"services": [service("s", upstream, json!({"paths": ["/"]}))]})
}

#[test]
fn heads_above_their_bounds_are_refused_and_below_them_served() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("nginx_http_large_client_header_buffers", "4 2k")
        .set("request_field_count_max", "20")
        .start();
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size));
    let field = |size: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(size)
        )
    };
    let fields = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(count)
        )
    };
    let large = |count: usize| {
        let line = format!("X: {}\r\n", "x".repeat(1000));
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(count))
    };
    const TOO_LARGE: &str = "Request header or cookie too large";
    // (row, request, status, message)
    let rows = [
        ("target within a buffer", target(1900), 200, ""),
        ("target above a buffer", target(2100), 414, "URI too long"),
        ("field within a buffer", field(1900), 200, ""),
        ("field above a buffer", field(2100), 400, TOO_LARGE),
        ("as many fields as allowed", fields(19), 200, ""),
        ("one field more", fields(20), 400, TOO_LARGE),
        ("head within all buffers", large(6), 200, ""),
        ("head above all buffers", large(9), 400, TOO_LARGE),
    ];
    for (row, request, status, message) in rows {
        let mut client = Client::plain(gateway.http());
        let before = upstream.bytes_seen();
        let response = client.send(&request).response();
        assert_eq!(response.status, status, "{row}: {}", response.text());
        if status != 200 {
            assert!(
                response
                    .text()
                    .starts_with(&format!("{message}\nrequest_id: ")),
                "{row}: {}",
                response.text()
            );
            assert_eq!(response.field("Connection"), Some("close"), "{row}");
            client.assert_closed();
            assert_eq!(upstream.bytes_seen(), before, "{row}");
        }
    }
}

/// Each option may name a field and each field is looked for among them: without a bound 25 kB cost a core milliseconds.
#[test]
fn more_connection_options_than_anyone_sends_are_refused_on_both_sides() {
    // Fields of one head together with options of several lines.
    let lines = |count: usize| {
        let list = vec!["x"; count / 2].join(",");
        format!("Connection: {list}\r\nConnection: , {list}\r\nX: y\r\n")
    };
    let upstream = Upstream::plain(move |request, conversation| {
        let count = request
            .field("Count")
            .map_or(2, |n| n.parse().expect("a number"));
        let lines = lines(count);
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"
        ));
        Next::Keep
    });
    let gateway = Setup::new(routed(&upstream)).start();
    for (count, refused) in [(32, false), (34, true), (4000, true)] {
        let mut client = Client::plain(gateway.http());
        let before = upstream.bytes_seen();
        let response = client.get_with("a", "/", &lines(count));
        let expected = if refused { 400 } else { 200 };
        assert_eq!(response.status, expected, "{count} options of a client");
        if refused {
            client.assert_closed();
            assert_eq!(upstream.bytes_seen(), before, "{count}");
        } else {
            assert_eq!(upstream.last().field("X"), None, "named by Connection");
        }
        let response =
            Client::plain(gateway.http()).get_with("a", "/", &format!("Count: {count}\r\n"));
        let expected = if refused { 502 } else { 200 };
        assert_eq!(response.status, expected, "{count} options of an upstream");
        assert_eq!(response.field("X"), None, "named by Connection");
    }
}

#[test]
fn a_head_without_end_is_refused_before_it_fills_memory() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream)).start();
    let before = gateway.memory_kib("VmHWM");
    for begin in ["GET / HTTP/1.1\r\nHost: a\r\n", "GET /"] {
        let mut client = Client::plain(gateway.http());
        client.send(begin);
        let line = if begin.len() > 5 {
            format!("X: {}\r\n", "x".repeat(4000))
        } else {
            "x".repeat(4000)
        };
        let mut sent = 0;
        while sent < 64 << 20 && client.try_send(&line) {
            sent += line.len();
        }
        assert!(sent < 64 << 20, "64 MiB of a head were taken");
    }
    let growth = gateway.memory_kib("VmHWM") - before;
    assert!(growth < 8 * 1024, "memory grew by {growth} KiB");
}

#[test]
fn content_above_client_max_body_size_is_413() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("nginx_http_client_max_body_size", "1k")
        .start();
    let length = |size: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{}",
            "x".repeat(size)
        )
    };
    let chunked = |size: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(size)
        )
    };
    for (row, request, status) in [
        ("length at the bound", length(1024), 200),
        ("length above", length(1025), 413),
        ("chunked at the bound", chunked(1024), 200),
        ("chunked above", chunked(1025), 413),
    ] {
        let mut client = Client::plain(gateway.http());
        let response = client.send(&request).response();
        assert_eq!(response.status, status, "{row}");
        if status == 413 {
            assert!(
                response.text().starts_with("Payload too large\n"),
                "{row}: {}",
                response.text()
            );
            client.assert_closed();
        }
    }
    let taken = upstream
        .requests()
        .iter()
        .map(|request| request.content.len())
        .max();
    assert_eq!(taken, Some(1024));
    // Said before the content is sent: nothing of it is asked for.
    let mut client = Client::plain(gateway.http());
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 413);
    assert!(response.interim.is_empty());
}

#[test]
fn a_head_that_comes_too_slowly_is_408() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("nginx_http_client_header_timeout", "1s")
        .start();
    for over_tls in [false, true] {
        let mut client = if over_tls {
            TlsClient::new().connect(gateway.https(), "a.test")
        } else {
            Client::plain(gateway.http())
        };
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        // A byte now and then does not buy time: the bound is for the whole head.
        until("the slow head to be answered", || {
            let sent = client.try_send("x");
            std::thread::sleep(Duration::from_millis(100));
            let answered =
                gateway.access_log().matches("\"status\":408").count() > usize::from(over_tls);
            (!sent || answered).then_some(())
        });
        let response = client.response();
        assert_eq!(response.status, 408, "{}", response.text());
        assert!(
            response.text().starts_with("Request timeout\n"),
            "{}",
            response.text()
        );
        assert_ne!(client.assert_closed(), Ended::Open);
    }
    // A connection on which nothing was said is closed without an answer.
    let mut silent = Client::plain(gateway.http());
    silent.assert_closed();
    upstream.assert_untouched();
}

#[test]
fn content_that_stops_is_408_and_a_trickle_ends() {
    let upstream = Upstream::streaming(|_, conversation| {
        while conversation.reader.fill().is_ok() {}
        crate::support::upstream::Next::Cut
    });
    let stops = Setup::new(routed(&upstream))
        .set("nginx_http_client_body_timeout", "1s")
        .start();
    let mut client = Client::plain(stops.http());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
    let response = client.response();
    assert_eq!(response.status, 408, "{}", response.text());
    client.assert_closed();

    // Each byte resets a timeout between reads; the least rate counts over the whole.
    let trickles = Setup::new(routed(&upstream))
        .set("nginx_http_client_body_timeout", "2s")
        .set("client_body_min_rate", "1000")
        .start();
    let mut client = Client::plain(trickles.http());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    until("the trickle to be answered", || {
        client.try_send("x");
        std::thread::sleep(Duration::from_millis(100));
        trickles
            .access_log()
            .contains("\"status\":408")
            .then_some(())
    });
    assert_eq!(client.response().status, 408);
}

#[test]
fn connections_above_the_bound_are_closed_and_counted() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("connections_max", "8")
        .start();
    let mut kept: Vec<Client> = (0..8).map(|_| Client::plain(gateway.http())).collect();
    for client in &mut kept {
        client.get("a", "/").assert_status(200);
    }
    let mut above = Client::plain(gateway.http());
    above.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (answer, ended) = above.reader.rest();
    assert_eq!(answer, b"");
    assert_ne!(ended, Ended::Open);
    assert!(gateway.metrics().sum("sallyport_shed_total") >= 1);
    for client in &mut kept {
        client.get("a", "/").assert_status(200);
    }
    drop(kept);
    // What was freed is given out again.
    until("a free place", || {
        let mut client = Client::plain(gateway.http());
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.reader.fill().ok()
    });
}
