//! KONG.md §3.8 and the pool: what is tried again, what is not, and what the client is told.

use crate::support::client::get;
use crate::support::entities::service_with;
use crate::support::upstream::Next;
use crate::support::wire::Wire;
use crate::support::{Ca, Client, Setup, Upstream, Value, json, until};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

const REFUSED: &str = "An invalid response was received from the upstream server";
const TIMED_OUT: &str = "The upstream server is timing out";

fn routed(upstream: &Upstream, more: Value) -> Value {
    json!({"services": [service_with("s", upstream, json!({"paths": ["/"]}), more)]})
}

fn request(method: &str) -> String {
    format!(
        "{method} / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_stale_pooled_connection_is_no_error_for_what_may_be_repeated() {
    for (how, method, repeated) in [
        (Next::Close, "GET", true),
        (Next::Cut, "PUT", true),
        (Next::Reset, "DELETE", true),
        (Next::Cut, "POST", false),
        (Next::Cut, "PATCH", false),
    ] {
        // Serves one request per connection and closes when the second has come.
        let served = AtomicUsize::new(0);
        let upstream = Upstream::plain(move |request, conversation| {
            let number = served.fetch_add(1, Ordering::AcqRel);
            if number == 1 {
                how
            } else {
                conversation.echo(request)
            }
        });
        let gateway = Setup::new(routed(&upstream, json!({}))).start();
        let mut client = Client::plain(gateway.http());
        client.get("a", "/").assert_status(200);
        let response = client.send(request(method)).response();
        if repeated {
            assert_eq!(
                response.status,
                200,
                "{method} after {how:?}: {}",
                response.text()
            );
            assert_eq!(
                upstream.requests().len(),
                3,
                "{method}: once stale, once anew"
            );
        } else {
            response.assert_error(502, REFUSED);
            assert_eq!(upstream.requests().len(), 2, "{method} is not sent again");
        }
        assert_eq!(
            upstream.requests()[0].connection,
            upstream.requests()[1].connection,
            "it was pooled"
        );
    }
}

#[test]
fn a_pooled_connection_that_has_been_closed_is_found_before_it_is_used() {
    let upstream = Upstream::plain(|request, conversation| {
        conversation.echo(request);
        // Without `Connection: close`: the gateway pools it, and then it is gone.
        Next::Close
    });
    let gateway = Setup::new(routed(&upstream, json!({"retries": 0}))).start();
    let mut client = Client::plain(gateway.http());
    for number in 0..20 {
        client.send(request("POST"));
        let response = client.response();
        // The FIN may still be on its way when the next request comes; that race is the client's to repeat.
        if response.status == 200 {
            continue;
        }
        assert_eq!(response.status, 502, "request {number}");
    }
    until("one request after the FIN has come", || {
        client.send(request("POST"));
        (client.response().status == 200).then_some(())
    });
    assert!(
        gateway
            .metrics()
            .sum("sallyport_upstream_pool_total{result=\"stale\"}")
            > 0
    );
}

#[test]
fn a_pooled_connection_whose_upstream_has_said_close_notify_is_not_used_again() {
    let ca = Ca::root("ca");
    let upstream = Upstream::tls_with(&ca.server(&["up.test"]), None, |request, conversation| {
        let Wire::Server(tls) = &mut conversation.reader.wire else {
            panic!("a TLS connection");
        };
        let size = request.head.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        // In one segment, and the socket stays open: the gateway has nothing to read that would tell it.
        let mut plain = tls.conn.writer();
        plain.write_all(head.as_bytes()).expect("a head");
        plain.write_all(&request.head).expect("content");
        tls.conn.send_close_notify();
        tls.flush().expect("both leave");
        let _ = conversation.reader.rest();
        Next::Cut
    });
    let gateway = Setup::new(routed(
        &upstream,
        json!({"retries": 0, "tls_verify": false}),
    ))
    .start();
    let mut client = Client::plain(gateway.http());
    for number in 0..5 {
        let response = client.send(request("POST")).response();
        assert_eq!(
            response.status,
            200,
            "request {number}: {}",
            response.text()
        );
    }
}

#[test]
fn failures_are_tried_again_as_often_as_the_service_says() {
    for (retries, method, expected) in
        [(0, "GET", 1), (2, "GET", 3), (5, "HEAD", 6), (5, "POST", 1)]
    {
        let upstream = Upstream::plain(|_, _| Next::Cut);
        let gateway = Setup::new(routed(&upstream, json!({"retries": retries}))).start();
        let mut client = Client::plain(gateway.http());
        client.send(request(method));
        let response = client.response_to(method);
        assert_eq!(response.status, 502, "{method}");
        assert_eq!(
            upstream.accepted(),
            expected,
            "{method} with {retries} retries"
        );
        let line = gateway.access_lines(1).remove(0);
        assert_eq!(line["upstream"]["tries"], json!(expected), "{line}");
    }
}

#[test]
fn nobody_there_is_502_and_silence_504() {
    let refused = {
        let upstream = Upstream::echo();
        upstream.port()
    };
    until("the port to be closed", || {
        std::net::TcpStream::connect(("127.0.0.1", refused)).err()
    });
    let silent = Upstream::plain(|_, conversation| {
        let _ = conversation.reader.fill();
        Next::Cut
    });
    let half = Upstream::plain(|_, conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nContent-Le");
        let _ = conversation.reader.fill();
        Next::Cut
    });
    let garbage = Upstream::plain(|_, conversation| {
        conversation.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        Next::Close
    });
    let huge = Upstream::plain(|_, conversation| {
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "x".repeat(200_000)
        ));
        Next::Close
    });
    let to = |name: &str, upstream: &Upstream, more: Value| {
        let mut service =
            service_with(name, upstream, json!({"paths": [format!("/{name}")]}), more);
        service["retries"] = json!(0);
        service
    };
    let gateway = Setup::new(json!({"services": [
        {"name": "refused", "url": format!("http://127.0.0.1:{refused}"), "retries": 1,
            "routes": [{"name": "refused", "paths": ["/refused"]}]},
        to("silent", &silent, json!({"read_timeout": 300})),
        to("half", &half, json!({"read_timeout": 300})),
        to("garbage", &garbage, json!({})),
        to("huge", &huge, json!({})),
        {"name": "nowhere", "url": "http://nowhere.invalid", "routes": [{"name": "nowhere", "paths": ["/nowhere"]}]},
    ]}))
    .start();
    let rows = [
        ("/refused", 502, REFUSED),
        ("/silent", 504, TIMED_OUT),
        ("/half", 504, TIMED_OUT),
        ("/garbage", 502, REFUSED),
        ("/huge", 502, REFUSED),
        ("/nowhere", 503, "name resolution failed"),
    ];
    let mut client = Client::plain(gateway.http());
    for (target, status, message) in rows {
        let response = client.get_with("a", target, "Accept: application/json\r\n");
        assert_eq!(response.status, status, "{target}: {}", response.text());
        response.assert_error(status, message);
        // The cause is in the log, under the id that the client can tell.
        let id = response.field("X-Kong-Request-Id").expect("an id");
        gateway.error_line(&[id]);
    }
}

#[test]
fn an_upstreams_own_errors_are_passed_on_as_they_are() {
    let upstream = Upstream::plain(|request, conversation| {
        let status = &request.target[1..];
        conversation.send(format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: 4\r\nServer: own\r\n\r\nmine"
        ));
        Next::Keep
    });
    let gateway = Setup::new(routed(&upstream, json!({}))).start();
    let mut client = Client::plain(gateway.http());
    for status in [400, 404, 418, 500, 502, 503, 504, 599] {
        let response = client.get("a", &format!("/{status}"));
        assert_eq!(response.status, status);
        assert_eq!(response.text(), "mine");
        assert_eq!(response.field("Server"), Some("own"));
    }
    assert_eq!(upstream.accepted(), 1, "an answer is not tried again");
}

#[test]
fn the_pool_honours_its_directives() {
    let upstream = Upstream::echo();
    let count = |directive: &str, value: &str, requests: usize| {
        let before = upstream.accepted();
        let gateway = Setup::new(routed(&upstream, json!({})))
            .set(directive, value)
            .start();
        let mut client = Client::plain(gateway.http());
        for _ in 0..requests {
            client.get("a", "/").assert_status(200);
        }
        upstream.accepted() - before
    };
    assert_eq!(count("upstream_keepalive_pool_size", "512", 6), 1);
    assert_eq!(count("upstream_keepalive_pool_size", "0", 6), 6);
    assert_eq!(count("upstream_keepalive_max_requests", "2", 6), 3);

    // An idle connection is closed when its time is up: the upstream sees its end.
    let ended = std::sync::Arc::new(AtomicUsize::new(0));
    let for_script = ended.clone();
    let watched = Upstream::plain(move |request, conversation| {
        conversation.echo(request);
        if conversation.reader.fill().is_err() {
            for_script.fetch_add(1, Ordering::AcqRel);
        }
        Next::Cut
    });
    let gateway = Setup::new(routed(&watched, json!({})))
        .set("upstream_keepalive_idle_timeout", "1")
        .start();
    gateway.get("a", "/").assert_status(200);
    until("the idle connection to be closed", || {
        (ended.load(Ordering::Acquire) == 1).then_some(())
    });
}

#[test]
fn connection_close_of_the_upstream_stays_with_the_upstream() {
    let upstream = Upstream::plain(|request, conversation| {
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            request.target.len()
        ));
        conversation.send(&request.target);
        Next::Close
    });
    let gateway = Setup::new(routed(&upstream, json!({}))).start();
    let mut client = Client::plain(gateway.http());
    for number in 0..5 {
        let response = client.send(get("a", &format!("/{number}"))).response();
        assert_eq!(response.text(), format!("/{number}"));
        assert_ne!(
            response.field("Connection"),
            Some("close"),
            "the client's connection lives on"
        );
    }
    assert_eq!(upstream.accepted(), 5);
}

#[test]
fn names_are_resolved_and_their_addresses_tried_in_turn() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({"services": [
        {"name": "named", "url": format!("http://two.addresses.test:{}", upstream.port()), "connect_timeout": 1000,
            "routes": [{"name": "named", "paths": ["/"]}]},
    ]}))
    // Nobody listens on the first.
    .file("hosts", "127.0.0.9 two.addresses.test\n127.0.0.1 two.addresses.test\n")
    .set("dns_hostsfile", "@hosts")
    .start();
    for _ in 0..4 {
        let seen = gateway.get("a", "/").assert_status(200).echoed();
        assert_eq!(
            seen.get("Host"),
            Some(&*format!("two.addresses.test:{}", upstream.port()))
        );
    }
}

/// `localhost` is ::1 too; with Kong's dns_order nobody asks for that, and what listens on 127.0.0.1 is always met.
#[test]
fn a_service_on_localhost_is_met_at_each_request() {
    let upstream = Upstream::echo();
    let url = format!("http://localhost:{}", upstream.port());
    let more = json!({"url": url, "retries": 0});
    let gateway = Setup::new(routed(&upstream, more)).start();
    for number in 0..6 {
        let mut client = Client::plain(gateway.http());
        let response = client.get("a", "/");
        assert_eq!(
            response.status,
            200,
            "request {number}: {}",
            response.text()
        );
    }
    let log = gateway.error_log();
    assert!(!log.contains("connect() failed"), "{log}");
}
