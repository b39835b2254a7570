//! A whole core over loopback sockets, on both engines: what a client gets, byte by byte, and what an upstream is sent.

use crate::declarative;
use crate::http1::error_body::Format;
use crate::mailbox::{self, Post, Published, Up};
use crate::options::{Options, RealIp, ResponseFields};
use crate::ring::Engine;
use crate::snapshot::tls_glue::Tls;
use crate::snapshot::{Compiler, Globals, Snapshot};
use crate::telemetry::log::{LogTargets, Logs};
use crate::tls::provider;
use crate::tls::server::ServerSettings;
use crate::tls::tickets::Ticketer;
use crate::tls::upstream::Versions;
use crate::worker::{self, ListenOn, Seed};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const ENGINES: [Engine; 2] = [Engine::IoUring, Engine::Epoll];

/// `service`: a JSON object's inside.
fn compile(service: &str, number: u64) -> Arc<Snapshot> {
    let text = format!(
        r#"{{"_format_version":"3.0","services":[{{"name":"s","routes":[{{"name":"r","paths":["/"]}}],{service}}}]}}"#
    );
    let options = declarative::Options {
        now_ms: 0,
        secrets: &|_| Err("no secrets".to_owned()),
        plugins: None,
    };
    let loaded = match declarative::parse(&text, &options) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{}", failure.lines().join("\n")),
    };
    let chosen = provider::choose(provider::Mode::default());
    let globals = Globals::<Tls> {
        default_pairs: Vec::new(),
        server: Arc::new(ServerSettings::new(chosen)),
        client_pair: None,
        proxy_ssl_verify: None,
        tls_certificate_verify: true,
        verify_depth: 1,
        fallback_verify_depth: 1,
        traditional: false,
        proxy_trust: None,
        fallback_trust: None,
        advised: false,
    };
    let tls = Tls {
        upstream_versions: Versions {
            tls12: true,
            tls13: true,
        },
    };
    let mut compiler = Compiler::new(globals.clone());
    let (mut snapshot, _) = compiler.full(&tls, &loaded.config, &globals).unwrap();
    snapshot.number = number;
    Arc::new(snapshot)
}

struct Gateway {
    address: SocketAddr,
    post: Post,
    inbox: mailbox::Inbox,
    _logs: Logs,
    worker: JoinHandle<std::io::Result<()>>,
}

impl Gateway {
    /// One core that serves everything from `service`, a JSON object's inside.
    fn start(engine: Engine, service: &str) -> Self {
        let chosen = provider::choose(provider::Mode::default());
        let snapshot = compile(service, 1);
        let on = ListenOn {
            address: "127.0.0.1:0".parse().unwrap(),
            tls: false,
            proxy_protocol: false,
            backlog: 16,
            ipv6only: None,
            deferred: false,
            keepalive: None,
        };
        let listener = worker::listen(&on, None).unwrap();
        let address = listener.local_addr().unwrap();
        let (post, mut boxes, inbox) = mailbox::mailboxes(1).unwrap();
        let logs = Logs::open(&LogTargets::off()).unwrap();
        let seed = Seed {
            cpu: 0,
            engine,
            listeners: vec![(on, listener)],
            options: Arc::new(settings()),
            snapshot,
            tickets: Arc::new(Ticketer::new([0; 16], 0, [0; 16])),
            mailbox: boxes.remove(0),
            log: logs.core_log(),
            chosen: Arc::new(chosen),
        };
        Gateway {
            address,
            post,
            inbox,
            _logs: logs,
            worker: thread::spawn(move || worker::run(seed)),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    fn drain(&self, after: Duration) {
        let deadline = Instant::now() + after;
        self.post.drain(deadline);
    }

    fn stop(self) {
        self.drain(Duration::ZERO);
        self.worker.join().unwrap().unwrap();
    }
}

fn settings() -> Options {
    let long = Duration::from_secs(10);
    Options {
        error_templates: Default::default(),
        handshake_timeout: long,
        head_timeout: long,
        body_timeout: long,
        body_min_rate: 0,
        idle_timeout: long,
        send_timeout: long,
        requests_per_connection_max: 100,
        body_size_max: 0,
        head_size_max: 32 * 1024,
        line_size_max: 8 * 1024,
        field_count_max: 100,
        connections_max: 100,
        handshakes_max: 100,
        client_verdict_grace: long,
        trusted: Vec::new(),
        real_ip: RealIp::XRealIp,
        real_ip_recursive: false,
        port_maps: Vec::new(),
        headers: ResponseFields {
            server: false,
            via: false,
            proxy_latency: false,
            upstream_latency: false,
            response_latency: false,
            upstream_status: false,
            request_id: false,
        },
        upstream_request_id: false,
        allow_debug_header: false,
        error_default_format: Format::Plain,
        pool_size: 10,
        pool_requests_max: 100,
        pool_idle_timeout: long,
        access_log: false,
    }
}

fn service(port: u16, more: &str) -> String {
    format!(r#""host":"127.0.0.1","port":{port},"retries":0{more}"#)
}

/// A port nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Serves one connection after the other: each script's entry answers one head; an empty one closes. Returns the request
/// lines seen.
fn upstream(scripts: Vec<Vec<&'static str>>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut seen = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in script {
                let head = read_until(&mut stream, b"\r\n\r\n");
                seen.push(head.lines().next().unwrap_or_default().to_owned());
                if answer.is_empty() {
                    break;
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
        seen
    });
    (port, serving)
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Everything until the gateway closes.
fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.get(..3).unwrap_or_default())
        .collect()
}

const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn content_of_a_refused_request_is_never_read_as_a_request() {
    let refused = service(closed_port(), "");
    let not_served = service(1, r#","protocol":"grpc""#);
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    let rows = [
        (
            "9112 §9.3 whole content, after it was taken for the upstream",
            &refused,
            format!("{post}Content-Length: 5\r\n\r\nhello{LAST}"),
            vec!["502", "502"],
        ),
        (
            "9112 §9.3 whole content, before it was taken",
            &not_served,
            format!("{post}Content-Length: 5\r\n\r\nhello{LAST}"),
            vec!["503", "503"],
        ),
        (
            "9112 §9.3 whole chunked content",
            &not_served,
            format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{LAST}"),
            vec!["503", "503"],
        ),
        (
            "9112 §9.3 content still on its way: closed",
            &not_served,
            format!("{post}Content-Length: 9999\r\n\r\n{LAST}"),
            vec!["503"],
        ),
        (
            "9112 §9.3 chunks still on their way: closed",
            &refused,
            format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            vec!["502"],
        ),
        (
            "9110 §10.1.1 refused before 100: closed",
            &not_served,
            format!("{post}Expect: 100-continue\r\nContent-Length: 40\r\n\r\n"),
            vec!["503"],
        ),
    ];
    for engine in ENGINES {
        for (rule, service, sent, expected) in &rows {
            let gateway = Gateway::start(engine, service);
            let mut client = gateway.connect();
            client.write_all(sent.as_bytes()).unwrap();
            let answers = read_all(&mut client);
            assert_eq!(
                &statuses(&answers),
                expected,
                "{rule} {engine:?}\n{answers}"
            );
            gateway.stop();
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_pooled_connection_closed_under_a_request_costs_a_get_nothing_and_a_post_its_answer() {
    let rows = [
        ("3.8 GET is sent again", "GET", "200", 3),
        ("3.8 POST is not", "POST", "502", 2),
    ];
    for engine in ENGINES {
        for (rule, method, status, sent) in rows {
            let mut scripts = vec![vec![OK, ""]];
            if sent == 3 {
                scripts.push(vec![OK]);
            }
            let (port, serving) = upstream(scripts);
            let gateway = Gateway::start(engine, &service(port, ""));
            let mut client = gateway.connect();
            client
                .write_all(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            assert!(read_until(&mut client, b"ok").starts_with("HTTP/1.1 200"));
            let request =
                format!("{method} /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).unwrap();
            assert_eq!(
                statuses(&read_all(&mut client)),
                [status],
                "{rule} {engine:?}"
            );
            gateway.stop();
            assert_eq!(serving.join().unwrap().len(), sent, "{rule} {engine:?}");
        }
    }
}

#[test]
fn what_upstreams_may_not_send_is_502() {
    let rows = [
        (
            "9110 §8.6 content declared by an interim response",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "9110 §15.2.2 101 nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ),
        (
            "9112 §6.3 two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        ),
    ];
    for engine in ENGINES {
        for (rule, answer) in rows {
            let (port, serving) = upstream(vec![vec![answer]]);
            let gateway = Gateway::start(engine, &service(port, ""));
            let mut client = gateway.connect();
            client.write_all(LAST.as_bytes()).unwrap();
            assert_eq!(
                statuses(&read_all(&mut client)),
                ["502"],
                "{rule} {engine:?}"
            );
            gateway.stop();
            serving.join().unwrap();
        }
    }
}

#[test]
fn a_drain_ends_running_exchanges_at_its_deadline() {
    for engine in ENGINES {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let gateway = Gateway::start(engine, &service(port, ""));
        let mut client = gateway.connect();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let (mut upstream, _) = silent.accept().unwrap();
        read_until(&mut upstream, b"\r\n\r\n");
        let begun = Instant::now();
        gateway.drain(Duration::from_secs(60));
        // A second signal brings the deadline forward.
        gateway.drain(Duration::from_millis(100));
        let answer = read_all(&mut client);
        assert_eq!(statuses(&answer), ["503"], "{engine:?}\n{answer}");
        gateway.worker.join().unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{engine:?}");
    }
}

#[test]
fn a_response_longer_than_any_buffer_arrives_whole_through_a_slow_reader() {
    const SIZE: usize = 3 << 20;
    for engine in ENGINES {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_until(&mut stream, b"\r\n\r\n");
            let content: Vec<u8> = (0..SIZE).map(|at| b'a' + (at % 26) as u8).collect();
            // Until the connection closes: the client gets chunks.
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            stream.write_all(&content).unwrap();
        });
        let gateway = Gateway::start(engine, &service(port, ""));
        let mut client = gateway.connect();
        client.write_all(LAST.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(100));
        let answer = read_all(&mut client);
        let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
        let mut count = 0;
        loop {
            let (size, more) = rest.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            let chunk = &more.as_bytes()[..size];
            for (at, byte) in chunk.iter().enumerate() {
                assert_eq!(*byte, b'a' + ((count + at) % 26) as u8, "{engine:?}");
            }
            count += size;
            rest = &more[size + 2..];
        }
        assert_eq!(count, SIZE, "{engine:?}");
        gateway.stop();
        serving.join().unwrap();
    }
}

#[test]
fn an_address_is_taken_from_what_trusted_proxies_wrote() {
    type Row = (
        &'static str,
        bool,
        &'static [&'static [u8]],
        Option<&'static str>,
    );
    let rows: [Row; 7] = [
        (
            "3.6 the last",
            false,
            &[b"1.1.1.1", b"2.2.2.2"],
            Some("2.2.2.2"),
        ),
        ("3.6 with a port", false, &[b"[::1]:80"], Some("::1")),
        (
            "3.6 garbage hides what stands before it",
            false,
            &[b"1.1.1.1", b"unknown"],
            None,
        ),
        (
            "3.6 recursive",
            true,
            &[b"1.1.1.1", b"10.0.0.1"],
            Some("1.1.1.1"),
        ),
        (
            "3.6 recursive, all trusted",
            true,
            &[b"10.0.0.2", b"10.0.0.1"],
            Some("10.0.0.2"),
        ),
        (
            "3.6 recursive, garbage",
            true,
            &[b"1.1.1.1", b"unknown", b"10.0.0.1"],
            Some("10.0.0.1"),
        ),
        ("3.6 none", true, &[], None),
    ];
    for (rule, recursive, list, expected) in rows {
        let mut options = settings();
        options.trusted = vec![crate::settings::cidr("10.0.0.0/8").unwrap()];
        options.real_ip_recursive = recursive;
        let found = super::matching::reported_address(list, &options);
        assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{rule}");
    }
}

#[test]
fn copies_with_underscores_of_what_the_gateway_says_are_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let gateway = Gateway::start(Engine::Epoll, &service(port, ""));
    let mut client = gateway.connect();
    client
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX_Forwarded_For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\
              Content_Length: 7\r\nX-Forwarded-For: 9.9.9.9\r\nother_name: kept\r\n\r\n",
        )
        .unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    let head = read_until(&mut upstream, b"\r\n\r\n");
    assert!(
        !head.contains("6.6.6.6") && !head.contains("Content_Length"),
        "{head}"
    );
    assert!(
        head.contains("X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\n"),
        "{head}"
    );
    assert!(head.contains("X-Real-IP: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("other_name: kept\r\n"), "{head}");
    upstream.write_all(OK.as_bytes()).unwrap();
    assert_eq!(statuses(&read_all(&mut client)), ["200"]);
    gateway.stop();
}

/// A service that answers by itself.
fn answering(status: u16) -> String {
    let plugin = format!(r#"{{"name":"request-termination","config":{{"status_code":{status}}}}}"#);
    service(1, &format!(r#","plugins":[{plugin}]"#))
}

#[test]
fn a_change_counts_for_the_very_next_request_however_many_came_before() {
    const STATUSES: [u16; 3] = [200, 404, 503];
    for engine in ENGINES {
        let gateway = Gateway::start(engine, &answering(200));
        let snapshots: Vec<_> = (0..STATUSES.len())
            .map(|at| compile(&answering(STATUSES[at]), at as u64 + 2))
            .collect();
        let options = Arc::new(settings());
        let mut client = gateway.connect();
        for round in 0..50 {
            // More than any channel holds: all but the last are skipped, whether the core looks in between or not.
            let last = round % STATUSES.len();
            for count in 0..=300 {
                let at = if count == 300 {
                    last
                } else {
                    count % STATUSES.len()
                };
                let published = Published {
                    snapshot: snapshots[at].clone(),
                    options: options.clone(),
                };
                drop(gateway.post.publish(&published));
            }
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let head = read_until(&mut client, b"\r\n\r\n");
            let status = STATUSES[last];
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "round {round} {engine:?}: {status} expected\n{head}"
            );
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .unwrap();
            let mut content = vec![0; length.parse().unwrap()];
            client.read_exact(&mut content).unwrap();
        }
        gateway.stop();
    }
}

#[test]
fn an_old_snapshot_comes_back_to_be_taken_apart_off_the_core() {
    for engine in ENGINES {
        let (port, serving) = upstream(vec![vec![OK, OK]]);
        let first = compile(&service(port, ""), 1);
        let gateway = Gateway::start(engine, &service(port, ""));
        let publish = |snapshot: &Arc<Snapshot>| {
            let published = Published {
                snapshot: snapshot.clone(),
                options: Arc::new(settings()),
            };
            assert!(gateway.post.publish(&published).is_empty());
        };
        let mut client = gateway.connect();
        let mut ask = || {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            assert!(read_until(&mut client, b"ok").starts_with("HTTP/1.1 200"));
        };
        publish(&first);
        ask();
        let second = compile(&service(port, ""), 2);
        publish(&second);
        ask();
        // Number 1 twice: what the core was started with, and `first`.
        let mut released = Vec::new();
        while released.len() < 2 {
            match gateway
                .inbox
                .up
                .recv_timeout(Duration::from_secs(20))
                .unwrap()
            {
                Up::Released(snapshot) => released.push(snapshot),
                Up::Ready => {}
                _ => panic!("nothing else was asked"),
            }
        }
        assert!(Arc::ptr_eq(&released[1], &first));
        assert_eq!(
            (Arc::strong_count(&released[0]), Arc::strong_count(&first)),
            (1, 2),
            "the core holds none of it"
        );
        assert!(Arc::strong_count(&second) > 1, "this one is in force");
        gateway.stop();
        serving.join().unwrap();
    }
}
