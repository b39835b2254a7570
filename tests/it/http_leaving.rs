//! Clients that leave while their upstream thinks: nginx's 499, and what must not be taken for it.

use crate::support::client::get;
use crate::support::entities::service;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Client, Gateway, Setup, TlsClient, Upstream, json, until};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Its side is shut down, the other stays open: the end of a client, as nginx sees it.
    HalfClosing,
    Closing,
    Resetting,
    /// With a request behind the one that is served.
    ClosingBehindARequest,
}

const WAYS: [Leaves; 4] = [
    Leaves::HalfClosing,
    Leaves::Closing,
    Leaves::Resetting,
    Leaves::ClosingBehindARequest,
];

/// Says what `begins` holds and then nothing. Returns how each of its connections ended.
fn thinking(begins: &'static str) -> (Upstream, Arc<Mutex<Vec<Ended>>>) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let for_script = ends.clone();
    let upstream = Upstream::plain(move |_, conversation| {
        conversation.send(begins);
        if let Err(ended) = conversation.reader.fill() {
            for_script.lock().expect("the ends").push(ended);
        }
        Next::Cut
    });
    (upstream, ends)
}

fn clients(gateway: &Gateway) -> [Client; 2] {
    [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ]
}

fn leave(mut client: Client, how: Leaves) -> Option<Client> {
    match how {
        Leaves::HalfClosing => {
            client.reader.wire.finish();
            return Some(client);
        }
        Leaves::Closing => drop(client),
        Leaves::Resetting => client.reader.wire.reset(),
        Leaves::ClosingBehindARequest => {
            client.send(get("a", "/next"));
            drop(client);
        }
    }
    None
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_with_it() {
    // (what the upstream has said by then, what is logged)
    for (begins, status) in [
        ("", 499),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst",
            200,
        ),
    ] {
        let (upstream, ends) = thinking(begins);
        // Nothing but the client's leaving can end an exchange here.
        let gateway = Setup::new(json!({"services": [
            service("s", &upstream, json!({"paths": ["/"]})),
        ]}))
        .start();
        let mut gone = 0;
        for how in WAYS {
            for mut client in clients(&gateway) {
                let target = format!("/{how:?}");
                client.send(get("a", &target));
                if begins.is_empty() {
                    until("the request upstream", || {
                        (upstream.requests().len() > gone).then_some(())
                    });
                } else {
                    client.reader.through(b"first").expect("the first event");
                }
                let half = leave(client, how);
                gone += 1;
                until("the upstream's connection to be closed", || {
                    (ends.lock().expect("the ends").len() == gone).then_some(())
                });
                if let Some(mut half) = half {
                    let (rest, ended) = half.reader.rest();
                    assert_ne!(ended, Ended::Open, "{how:?}");
                    // No answer; of chunked content the end of the chunk that came, and no last one.
                    let expected: &[u8] = if begins.is_empty() { b"" } else { b"\r\n" };
                    assert_eq!(rest, expected, "{how:?}");
                }
            }
        }
        assert!(
            ends.lock()
                .expect("the ends")
                .iter()
                .all(|ended| *ended != Ended::Open),
            "{ends:?}"
        );
        assert_eq!(upstream.requests().len(), gone, "asked once each");
        for line in gateway.access_lines(gone) {
            assert_eq!(line["response"]["status"], json!(status), "{line}");
        }
        assert_eq!(gateway.metrics().sum("sallyport_panics_total"), 0);
    }
}

#[test]
fn a_client_that_leaves_with_content_on_its_way_is_499_too() {
    let (upstream, ends) = thinking("");
    let gateway = Gateway::before(&upstream);
    for mut client in clients(&gateway) {
        client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let asked = ends.lock().expect("the ends").len() + 1;
        until("the request upstream", || {
            (upstream.requests().len() == asked).then_some(())
        });
        drop(client);
        until("the upstream's connection to be closed", || {
            (ends.lock().expect("the ends").len() == asked).then_some(())
        });
    }
    for line in gateway.access_lines(2) {
        assert_eq!(line["response"]["status"], json!(499), "{line}");
    }
}

/// An exchange is looked at several times while its upstream thinks; the bytes behind it stay where they are.
#[test]
fn a_pipelined_request_is_neither_lost_nor_taken_for_leaving() {
    let served = Arc::new(AtomicUsize::new(0));
    let for_script = served.clone();
    let upstream = Upstream::plain(move |request, conversation| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_millis(1500));
        }
        for_script.fetch_add(1, Ordering::AcqRel);
        conversation.echo(request)
    });
    let gateway = Gateway::before(&upstream);
    let mut waiting = clients(&gateway);
    for client in &mut waiting {
        client.send(format!(
            "{}POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            get("a", "/slow")
        ));
        client.send(get("a", "/last"));
    }
    for client in &mut waiting {
        for target in ["/slow", "/next", "/last"] {
            let response = client.response();
            assert_eq!(response.status, 200, "{target}");
            assert!(
                response.text().contains(&format!(" {target} ")),
                "{}",
                response.text()
            );
        }
    }
    assert_eq!(served.load(Ordering::Acquire), 6);
}

/// What is answered at once is answered, whatever the client does with its side: there is no reason to look.
#[test]
fn a_half_close_behind_a_request_that_is_served_at_once_gets_its_answer() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    gateway.get("a", "/warm").assert_status(200);
    let mut client = Client::plain(gateway.http());
    client.send(get("a", "/x"));
    client.reader.wire.finish();
    client.response().assert_status(200);
}
