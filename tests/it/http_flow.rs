//! What a side that is slow, silent or gone costs the other: back-pressure, the timeouts of a service, the pool's bound,
//! and names whose addresses change.

use crate::support::entities::service_with;
use crate::support::upstream::{Next, read_content};
use crate::support::wire::Ended;
use crate::support::{Client, Setup, Upstream, Value, json, until};
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

const SIZE: usize = 64 << 20;
const PIECE: usize = 64 << 10;
/// What the kernel's buffers of two connections may hold; the rest must not have left its sender.
const IN_FLIGHT_MAX: usize = 48 << 20;
const GROWTH_MAX_KIB: u64 = 16 * 1024;

/// Buffering is asked for and accepted; content is streamed all the same.
fn routed(upstream: &Upstream, more: Value) -> Value {
    let route = json!({"paths": ["/"], "request_buffering": true, "response_buffering": true});
    json!({"services": [service_with("s", upstream, route, more)]})
}

/// The count when it has not grown for a second.
fn settled(count: &AtomicUsize) -> usize {
    let (mut last, mut same) = (0, 0);
    until("the flow to stop", || {
        let now = count.load(Ordering::Acquire);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        std::thread::sleep(Duration::from_millis(10));
        (now > 0 && same > 50).then_some(now)
    })
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client() {
    let release = Arc::new(AtomicBool::new(false));
    let for_script = release.clone();
    let upstream = Upstream::streaming(move |_, conversation| {
        until("the test", || {
            for_script.load(Ordering::Acquire).then_some(())
        });
        let mut taken = 0;
        while taken < SIZE {
            taken += std::mem::take(&mut conversation.reader.buffered).len();
            if taken < SIZE && conversation.reader.fill().is_err() {
                return Next::Cut;
            }
        }
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Taken: {taken}\r\n\r\n"
        ));
        Next::Keep
    });
    let gateway = Setup::new(routed(&upstream, json!({}))).start();
    let before = gateway.memory_kib("VmHWM");
    let mut client = Client::plain(gateway.http());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    let mut socket = client.reader.wire.socket().try_clone().expect("the socket");
    let sent = Arc::new(AtomicUsize::new(0));
    let for_writer = sent.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..SIZE / PIECE {
            if let Err(error) = socket.write_all(&[b'x'; PIECE]) {
                panic!("content could not be sent: {error}");
            }
            for_writer.fetch_add(PIECE, Ordering::AcqRel);
        }
    });
    let held_back = settled(&sent);
    assert!(
        held_back < IN_FLIGHT_MAX,
        "{held_back} bytes were taken for an upstream that reads none"
    );
    let growth = gateway.memory_kib("VmHWM") - before;
    assert!(growth < GROWTH_MAX_KIB, "memory grew by {growth} KiB");
    release.store(true, Ordering::Release);
    let response = client.response();
    assert_eq!(response.field("X-Taken"), Some(&*SIZE.to_string()));
    writer.join().expect("all of it was sent");
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let sent = Arc::new(AtomicUsize::new(0));
    let for_script = sent.clone();
    let upstream = Upstream::plain(move |_, conversation| {
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        for _ in 0..SIZE / PIECE {
            conversation.send([b'y'; PIECE]);
            for_script.fetch_add(PIECE, Ordering::AcqRel);
        }
        Next::Keep
    });
    let gateway = Setup::new(routed(&upstream, json!({}))).start();
    let before = gateway.memory_kib("VmHWM");
    let mut client = Client::plain(gateway.http());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let held_back = settled(&sent);
    assert!(
        held_back < IN_FLIGHT_MAX,
        "{held_back} bytes were taken for a client that reads none"
    );
    let growth = gateway.memory_kib("VmHWM") - before;
    assert!(growth < GROWTH_MAX_KIB, "memory grew by {growth} KiB");
    assert_eq!(client.response().body.len(), SIZE);
}

#[test]
fn an_upstream_that_takes_no_content_is_504_at_its_write_timeout() {
    let release = Arc::new(AtomicBool::new(false));
    let for_script = release.clone();
    let upstream = Upstream::streaming(move |_, _| {
        until("the test", || {
            for_script.load(Ordering::Acquire).then_some(())
        });
        Next::Cut
    });
    // The read timeout is the default of a minute: longer than anything here waits.
    let gateway = Setup::new(routed(&upstream, json!({"write_timeout": 300}))).start();
    let mut client = Client::plain(gateway.http());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    let mut socket = client.reader.wire.socket().try_clone().expect("the socket");
    let writer = std::thread::spawn(move || {
        // The gateway closes the connection under it.
        for _ in 0..SIZE / PIECE {
            if socket.write_all(&[b'x'; PIECE]).is_err() {
                return;
            }
        }
        panic!("all of it was taken");
    });
    let line = gateway.access_lines(1).remove(0);
    assert_eq!(line["response"]["status"], json!(504), "{line}");
    writer.join().expect("the writer");
    release.store(true, Ordering::Release);
    assert_eq!(
        upstream.requests().len(),
        1,
        "content that has begun is not sent again"
    );
}

/// nginx: proxy_read_timeout begins when the request has been sent.
#[test]
fn an_upstream_is_not_silent_while_content_is_on_its_way_and_is_after_it() {
    let upstream = Upstream::streaming(move |request, conversation| {
        let mut request = request.clone();
        read_content(conversation.reader, &mut request).expect("all of it");
        if request.target == "/silent" {
            let _ = conversation.reader.fill();
            return Next::Cut;
        }
        conversation.echo(&request)
    });
    let gateway = Setup::new(routed(
        &upstream,
        json!({"read_timeout": 600, "retries": 0}),
    ))
    .start();
    for (target, status) in [("/answers", 200), ("/silent", 504)] {
        let mut client = Client::plain(gateway.http());
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        ));
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(150));
            client.send("x");
        }
        assert_eq!(client.response().status, status, "{target}");
        assert_eq!(upstream.last().target, target);
    }
}

/// A port whose queue is full: the kernel drops what connects to it.
struct Full {
    _listener: socket2::Socket,
    _queued: std::net::TcpStream,
    port: u16,
}

impl Full {
    fn new() -> Full {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        listener.bind(&any.into()).expect("a port");
        listener.listen(0).expect("a listener");
        let address = listener
            .local_addr()
            .expect("an address")
            .as_socket()
            .expect("IPv4");
        let queued = std::net::TcpStream::connect(address).expect("the one place of its queue");
        let full = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert_eq!(
            full.map_err(|error| error.kind()).err(),
            Some(ErrorKind::TimedOut)
        );
        Full {
            _listener: listener,
            _queued: queued,
            port: address.port(),
        }
    }
}

#[test]
fn a_connection_that_is_not_made_in_time_is_504_and_its_client_may_leave() {
    let full = Full::new();
    let to = |name: &str, timeout_ms: u64| {
        json!({"name": name, "url": format!("http://127.0.0.1:{}", full.port), "retries": 0,
            "connect_timeout": timeout_ms, "routes": [{"name": name, "paths": [format!("/{name}")]}]})
    };
    let gateway = Setup::new(json!({"services": [to("short", 300), to("long", 600_000)]})).start();
    let response =
        Client::plain(gateway.http()).get_with("a", "/short", "Accept: application/json\r\n");
    response.assert_error(504, "The upstream server is timing out");

    let mut client = Client::plain(gateway.http());
    client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    client.reader.wire.finish();
    let (rest, ended) = client.reader.rest();
    assert_eq!((rest, ended), (Vec::new(), Ended::Clean));
    let line = gateway.access_lines(2).remove(1);
    assert_eq!(line["response"]["status"], json!(499), "{line}");
}

#[test]
fn content_that_came_after_its_head_is_not_sent_again() {
    for method in ["PUT", "POST"] {
        let upstream = Upstream::streaming(|_, _| Next::Cut);
        let gateway = Setup::new(routed(&upstream, json!({"retries": 5}))).start();
        let mut client = Client::plain(gateway.http());
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        ));
        until("the head upstream", || {
            (!upstream.requests().is_empty()).then_some(())
        });
        client.send("some");
        assert_eq!(client.response().status, 502, "{method}");
        assert_eq!(upstream.requests().len(), 1, "{method}");
    }
}

#[test]
fn the_pool_keeps_no_more_than_its_size() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let for_script = (arrived.clone(), ended.clone());
    let upstream = Upstream::plain(move |request, conversation| {
        let (arrived, ended) = &for_script;
        arrived.fetch_add(1, Ordering::AcqRel);
        // The first three are under way at once.
        until("the others", || {
            (arrived.load(Ordering::Acquire) >= 3).then_some(())
        });
        conversation.echo(request);
        if conversation.reader.fill().is_err() {
            ended.fetch_add(1, Ordering::AcqRel);
            return Next::Cut;
        }
        Next::Keep
    });
    let gateway = Setup::new(routed(&upstream, json!({})))
        .set("upstream_keepalive_pool_size", "1")
        .workers(1)
        .start();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::plain(gateway.http())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        client.response().assert_status(200);
    }
    until("what is above the bound to be closed", || {
        (ended.load(Ordering::Acquire) == 2).then_some(())
    });
    gateway.get("a", "/").assert_status(200);
    assert_eq!(upstream.accepted(), 3, "the one that was kept is used");
}

/// Answers every A query with 127.0.0.`last` for one second, and has nothing else to say. Returns its address and the count
/// of A queries.
fn name_server(last: Arc<AtomicU8>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    let asked = Arc::new(AtomicUsize::new(0));
    let for_thread = asked.clone();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut query) {
            let query = &query[..size];
            // RFC 1035 §4.1: a header of 12 bytes, labels up to an empty one, type and class.
            let Some(labels) = query
                .get(12..)
                .and_then(|rest| rest.iter().position(|byte| *byte == 0))
            else {
                continue;
            };
            let end = 12 + labels + 5;
            let is_a = query.get(end - 4..end - 2) == Some(&[0, 1]);
            let mut reply = query[..2].to_vec();
            reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            reply.extend(&query[12..end]);
            if is_a {
                for_thread.fetch_add(1, Ordering::AcqRel);
                // A pointer to the name, A, IN, one second, four bytes.
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                reply.extend([127, 0, 0, last.load(Ordering::Acquire)]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    (address, asked)
}

#[test]
fn names_are_asked_of_dns_resolver_again_when_their_ttl_is_over() {
    let upstream = Upstream::echo();
    // Nobody listens there.
    let last = Arc::new(AtomicU8::new(9));
    let (server, asked) = name_server(last.clone());
    let gateway = Setup::new(json!({"services": [
        {"name": "named", "url": format!("http://moves.test:{}", upstream.port()), "retries": 0,
            "routes": [{"name": "named", "paths": ["/"]}]},
    ]}))
    .set("dns_resolver", server.to_string())
    .set("dns_order", "A")
    .start();
    let mut client = Client::plain(gateway.http());
    assert_eq!(client.get("a", "/").status, 502);
    last.store(1, Ordering::Release);
    until("the name's new address", || {
        (client.get("a", "/").status == 200).then_some(())
    });
    let before = asked.load(Ordering::Acquire);
    assert!(before >= 2, "asked again");
    // Kept while it is fresh: many requests, few questions.
    for _ in 0..200 {
        client.get("a", "/").assert_status(200);
    }
    let more = asked.load(Ordering::Acquire) - before;
    assert!(more < 100, "{more} questions for 200 requests");
}

#[test]
fn the_error_line_of_an_answer_is_written_before_the_answer() {
    let refused = {
        let upstream = Upstream::echo();
        upstream.port()
    };
    let declarative = json!({"services": [{
        "name": "s", "url": format!("http://127.0.0.1:{refused}"), "retries": 0,
        "routes": [{"name": "s", "paths": ["/"]}],
    }]});
    // Large answers, so that a client that reads none soon has one in the gateway that cannot leave.
    let gateway = Setup::new(declarative)
        .set("error_template_plain", "@large.txt")
        .file("large.txt", &format!("%s %s{}", "x".repeat(60_000)))
        .start();
    let mut client = Client::plain(gateway.http());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(900));
    let lines = |text: String, what: &str| text.lines().filter(|line| line.contains(what)).count();
    until("an error line whose exchange has not ended", || {
        let ended = lines(gateway.access_log(), "502");
        let failed = lines(gateway.error_log(), "] 502 to ");
        assert!(failed < 900, "the client's kernel took all of it");
        // Both logs have what there is to write once neither grows.
        std::thread::sleep(Duration::from_millis(500));
        let still = (
            lines(gateway.access_log(), "502"),
            lines(gateway.error_log(), "] 502 to "),
        );
        (failed == ended + 1 && still == (ended, failed)).then_some(())
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_at_the_send_timeout() {
    let ended = Arc::new(AtomicBool::new(false));
    let for_script = ended.clone();
    let upstream = Upstream::plain(move |_, conversation| {
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        for _ in 0..SIZE / PIECE {
            if conversation.reader.wire.write_all(&[b'y'; PIECE]).is_err() {
                for_script.store(true, Ordering::Release);
                break;
            }
        }
        Next::Cut
    });
    let gateway = Setup::new(routed(&upstream, json!({})))
        .set("nginx_http_send_timeout", "1s")
        .start();
    let mut client = Client::plain(gateway.http());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let line = gateway.access_lines(1).remove(0);
    assert_eq!(line["response"]["status"], json!(200), "{line}");
    until("the upstream to be let go", || {
        ended.load(Ordering::Acquire).then_some(())
    });
    let (body, ended) = client.reader.rest();
    assert!(body.len() < SIZE, "it was cut");
    assert_ne!(ended, Ended::Open);
}
