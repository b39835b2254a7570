//! A request never reaches an upstream that its certificate does not entitle it to: not while the configuration changes
//! under it, not on a connection or session that was entitled before, not behind another request.

use crate::support::client::{TLS12, TLS13, TlsOptions, get};
use crate::support::entities::{ca_certificate, certificate, id, mtls_auth, service, service_with};
use crate::support::upstream::Next;
use crate::support::wire::{Ended, Response};
use crate::support::{Ca, Client, Gateway, Pair, Setup, TlsClient, Upstream, Value, json, until};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const FAILED: &str = "TLS certificate failed verification";

fn skip() -> Value {
    json!({"skip_consumer_lookup": true})
}

/// Accepts for `to`, and passes nothing on until released.
struct Gate {
    port: u16,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
}

impl Gate {
    fn before(to: u16) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let gate = Gate {
            port: listener.local_addr().expect("its address").port(),
            accepted: Arc::default(),
            open: Arc::default(),
        };
        let (accepted, open) = (gate.accepted.clone(), gate.open.clone());
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { return };
                accepted.fetch_add(1, Ordering::AcqRel);
                let open = open.clone();
                std::thread::spawn(move || {
                    until("the gate to open", || {
                        open.load(Ordering::Acquire).then_some(())
                    });
                    let far = TcpStream::connect(("127.0.0.1", to)).expect("the upstream");
                    let copy = |mut from: TcpStream, mut to: TcpStream| {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    };
                    let (near_too, far_too) = (
                        near.try_clone().expect("a second handle"),
                        far.try_clone().expect("a second handle"),
                    );
                    std::thread::spawn(move || copy(near_too, far_too));
                    copy(far, near);
                });
            }
        });
        gate
    }

    fn wait(&self) {
        until("the gateway to connect", || {
            (self.accepted.load(Ordering::Acquire) > 0).then_some(())
        });
    }

    fn release(&self) {
        self.open.store(true, Ordering::Release);
    }
}

#[test]
fn a_request_that_waited_for_its_upstream_is_judged_again_before_it_is_sent() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    // (what changes while the upstream's handshake hangs, the CA trusted then, status)
    for (row, number, status) in [("the trusted CA", 2, 401), ("nothing about it", 1, 200)] {
        let upstream = Upstream::tls(&ca.server(&["up.test"]), None);
        let gate = Gate::before(upstream.port());
        let declarative = |number: u32, tag: &str| {
            json!({
                "services": [{
                    "name": "s", "url": format!("https://127.0.0.1:{}", gate.port), "tls_verify": false, "tags": [tag],
                    "routes": [{"name": "s", "paths": ["/"], "plugins": [mtls_auth(&[number], skip())]}],
                }],
                "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
            })
        };
        let gateway = Setup::new(declarative(1, "before")).start();
        let mut client = TlsClient::presenting(&ca.client("c")).connect(gateway.https(), "a.test");
        client.send(get("a.test", "/"));
        gate.wait();
        gateway.reload(declarative(number, "after"));
        gate.release();
        let response = client.response();
        assert_eq!(
            response.status,
            status,
            "{row} changed: {}",
            response.text()
        );
        if status == 401 {
            response.assert_error(401, FAILED);
            upstream.assert_untouched();
        }
        // Either way the connection goes on, and the next request is judged for itself.
        assert_eq!(client.get("a.test", "/").status, status, "{row} changed");
    }
}

/// A tunnel, opened; the upstream sends back what it gets.
fn tunnel(gateway: &Gateway, pair: &Pair, target: &str) -> Client {
    let mut client = TlsClient::presenting(pair).connect(gateway.https(), "a.test");
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ));
    assert_eq!(client.response().status, 101);
    assert_goes_on(&mut client);
    client
}

#[track_caller]
fn assert_goes_on(client: &mut Client) {
    client.send("frame");
    assert_eq!(client.reader.exact(5).expect("a frame"), b"frame");
}

#[track_caller]
fn assert_cut(client: &mut Client, row: &str) {
    let (rest, ended) = client.reader.rest();
    assert_eq!(rest, b"", "{row}");
    assert!(
        matches!(ended, Ended::Cut | Ended::Reset),
        "{row}: the tunnel must be cut, not ended: {ended:?}"
    );
}

#[test]
fn a_tunnel_is_cut_when_its_client_is_no_longer_admitted() {
    let (one, two) = (Ca::root("one"), Ca::root("two"));
    let upstream = Upstream::plain(|_, conversation| {
        conversation.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        loop {
            let bytes = std::mem::take(&mut conversation.reader.buffered);
            conversation.send(bytes);
            if conversation.reader.fill().is_err() {
                return Next::Cut;
            }
        }
    });
    // Routes by name with the CA each trusts, and the CAs there are.
    let declarative = |routes: &[(&str, u32)], cas: &[u32], consumers: Value| {
        let services: Vec<Value> = routes
            .iter()
            .map(|(name, number)| {
                let route = json!({"paths": [format!("/{name}")], "plugins": [mtls_auth(&[*number], json!({}))]});
                service(name, &upstream, route)
            })
            .collect();
        let cas: Vec<Value> = cas
            .iter()
            .map(|number| ca_certificate(*number, if *number == 1 { &one } else { &two }))
            .collect();
        json!({"services": services, "ca_certificates": cas, "consumers": consumers})
    };
    let both = || json!([{"username": "alice"}, {"username": "bob"}]);
    let gateway = Setup::new(declarative(&[("one", 1), ("two", 2)], &[1, 2], both()))
        .set("client_verdict_grace", "1s")
        .start();
    let mut alice = tunnel(&gateway, &one.client("alice"), "/one");
    let mut bob = tunnel(&gateway, &one.client("bob"), "/one");
    let mut retrusted = tunnel(&gateway, &two.client("alice"), "/two");
    // The route goes on under another CA.
    gateway.reload(declarative(&[("one", 1), ("two", 1)], &[1, 2], both()));
    assert_cut(&mut retrusted, "another CA");
    // The route is gone: what it began goes on, for as long as the CA and the consumer are there.
    gateway.reload(declarative(&[], &[1, 2], both()));
    assert_goes_on(&mut alice);
    gateway.reload(declarative(&[], &[1, 2], json!([{"username": "alice"}])));
    assert_cut(&mut bob, "no route, no consumer");
    assert_goes_on(&mut alice);
    gateway.reload(declarative(&[], &[2], both()));
    assert_cut(&mut alice, "no route, no CA");
}

#[test]
fn trust_taken_away_counts_on_every_core_for_the_very_next_request() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    let upstream = Upstream::echo();
    let trusting = |number: u32| {
        json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [mtls_auth(&[number], skip())]}))],
            "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
        })
    };
    let gateway = Setup::new(trusting(1)).workers(2).start();
    let client = TlsClient::with(TlsOptions {
        pair: Some(ca.client("c")),
        resumption: true,
        ..TlsOptions::default()
    });
    let mut open: Vec<Client> = (0..8)
        .map(|_| {
            let mut connection = client.connect(gateway.https(), "a.test");
            connection.get("a.test", "/").assert_status(200);
            connection
        })
        .collect();
    assert!(
        open.iter().any(Client::resumed),
        "some of them go on from a session"
    );
    for round in 0..4 {
        gateway.reload(trusting(2));
        let seen = upstream.bytes_seen();
        for connection in &mut open {
            connection.get("a.test", "/").assert_error(401, FAILED);
        }
        // Sent at once: a core that drains its mailbox for the first must not let the second slip by, nor the reverse.
        for connection in &mut open {
            let pair = [get("a.test", "/"), get("a.test", "/")].concat();
            connection.send(pair);
            for _ in 0..2 {
                connection.response().assert_error(401, FAILED);
            }
        }
        client
            .get(gateway.https(), "a.test", "/")
            .assert_error(401, FAILED);
        assert_eq!(
            upstream.bytes_seen(),
            seen,
            "round {round}: an untrusted client reached the upstream"
        );
        gateway.reload(trusting(1));
        for connection in &mut open {
            connection.get("a.test", "/").assert_status(200);
        }
    }
}

#[test]
fn a_resumed_session_is_judged_by_the_matched_route_whatever_its_sni() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("mine", &upstream, json!({"hosts": ["mine.test"], "plugins": [mtls_auth(&[1], skip())]})),
            service("theirs", &upstream, json!({"hosts": ["theirs.test"], "plugins": [mtls_auth(&[2], skip())]})),
        ],
        "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
    }))
    .start();
    for version in [TLS12, TLS13] {
        let client = TlsClient::with(TlsOptions {
            pair: Some(ca.client("c")),
            versions: vec![version],
            resumption: true,
            ..TlsOptions::default()
        });
        // The session is made where the certificate counts, and where it does not; the route asks again either way.
        for sni in ["mine.test", "theirs.test"] {
            for visit in 0..2 {
                let mut connection = client.connect(gateway.https(), sni);
                assert_eq!(
                    connection.get("mine.test", "/").status,
                    200,
                    "{version:?} {sni}"
                );
                connection.get("theirs.test", "/").assert_error(401, FAILED);
                assert_eq!(connection.resumed(), visit > 0, "{version:?} {sni}");
            }
        }
    }
    let theirs = upstream.requests();
    assert!(
        theirs
            .iter()
            .all(|request| request.field("X-Forwarded-Host") == Some("mine.test")),
        "a request for theirs.test reached the upstream"
    );
}

#[test]
fn what_is_pipelined_behind_or_inside_a_request_is_judged_for_itself() {
    let (ca, other) = (Ca::root("ca"), Ca::root("other"));
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("open", &upstream, json!({"paths": ["/open"], "strip_path": false})),
            service("guarded", &upstream, json!({"paths": ["/guarded"], "strip_path": false, "plugins": [mtls_auth(&[1], skip())]})),
        ],
        "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &other)],
    }))
    .start();
    let guarded = get("a.test", "/guarded");
    let as_content = |target: &str| {
        let size = guarded.len();
        format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n{guarded}")
    };
    let chunked = format!(
        "POST /guarded HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{guarded}\r\n0\r\n\r\n",
        guarded.len()
    );
    // (bytes sent at once, the statuses they get)
    let rows: [(&str, String, &[u16]); 6] = [
        (
            "open, guarded, open",
            [
                get("a.test", "/open"),
                guarded.clone(),
                get("a.test", "/open"),
            ]
            .concat(),
            &[200, 401, 200],
        ),
        (
            "twice guarded",
            [guarded.clone(), guarded.clone()].concat(),
            &[401, 401],
        ),
        (
            "guarded as content of open",
            as_content("/open") + &guarded,
            &[200, 401],
        ),
        (
            "guarded as content of guarded",
            as_content("/guarded") + &get("a.test", "/open"),
            &[401, 200],
        ),
        (
            "guarded as chunked content of guarded",
            chunked + &get("a.test", "/open"),
            &[401, 200],
        ),
        (
            "guarded in other spellings",
            [
                get("a.test", "/open/../guarded"),
                get("a.test", "/%67uarded"),
                get("a.test", "//guarded"),
                get("a.test", "/./open/%2e%2E/guarded"),
            ]
            .concat(),
            &[401, 401, 401, 401],
        ),
    ];
    let stranger = TlsClient::presenting(&other.client("c"));
    for (row, bytes, statuses) in rows {
        let mut client = stranger.connect(gateway.https(), "a.test");
        client.send(bytes);
        for status in statuses {
            let response = client.response();
            assert_eq!(response.status, *status, "{row}: {}", response.text());
        }
    }
    let reached: Vec<String> = upstream
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert!(
        reached.iter().all(|target| target == "/open"),
        "{reached:?}"
    );
    assert!(reached.len() >= 5, "{reached:?}");
}

#[test]
fn under_reloads_no_upstream_sees_another_services_certificate() {
    let ca = Ca::root("ca");
    let upstream = Upstream::tls(&ca.server(&["up.test"]), Some(&ca));
    let names = ["one", "two"];
    let declarative = |pairs: &[Pair]| {
        let services: Vec<Value> = (1..)
            .zip(names)
            .map(|(number, name)| {
                service_with(
                    name,
                    &upstream,
                    json!({"paths": [format!("/{name}")], "strip_path": false}),
                    json!({"tls_verify": false, "client_certificate": id(number)}),
                )
            })
            .collect();
        let certificates: Vec<Value> = (1..)
            .zip(pairs)
            .map(|(number, pair)| certificate(number, pair, &[]))
            .collect();
        json!({"services": services, "certificates": certificates})
    };
    let epoch = |number: usize| names.map(|name| ca.client(&format!("{name}-{number}")));
    let gateway = Setup::new(declarative(&epoch(0))).workers(2).start();

    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done, address) = (stop.clone(), done.clone(), gateway.http());
            std::thread::spawn(move || {
                let mut client = Client::plain(address);
                while !stop.load(Ordering::Acquire) {
                    for name in names {
                        client.send(get("a", &format!("/{name}/load")));
                        match Response::read(&mut client.reader, "GET") {
                            Ok(response) if response.status == 200 => {}
                            Ok(response) => {
                                return Err(
                                    response.head + &String::from_utf8_lossy(&response.body)
                                );
                            }
                            Err(ended) => return Err(format!("{ended:?}")),
                        }
                        done.fetch_add(1, Ordering::AcqRel);
                        // The upstream keeps every request.
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for number in 1..=8 {
        let goal = done.load(Ordering::Acquire) + 20;
        until("the load to go on", || {
            (done.load(Ordering::Acquire) >= goal).then_some(())
        });
        gateway.reload(declarative(&epoch(number)));
        // On either core: what begins after the reload shows the new certificate.
        for turn in 0..4 {
            let mut client = Client::plain(gateway.http());
            for name in names {
                let target = format!("/{name}/{number}-{turn}");
                client.get("a", &target).assert_status(200);
                let seen = upstream.requests();
                let seen = seen.iter().find(|request| request.target == target);
                let subject = seen.and_then(|request| request.subject.clone());
                assert_eq!(subject, Some(format!("{name}-{number}")), "{target}");
            }
        }
    }
    stop.store(true, Ordering::Release);
    for client in clients {
        if let Err(failure) = client.join().expect("a client thread") {
            panic!("a request failed: {failure}");
        }
    }
    for request in upstream.requests() {
        let name = request.target.split('/').nth(1).unwrap_or_default();
        let subject = request.subject.unwrap_or_default();
        assert_eq!(
            subject.split('-').next(),
            Some(name),
            "{} was asked for under {subject}",
            request.target
        );
    }
}
