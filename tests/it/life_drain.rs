//! What clients and probes are told while the gateway drains, and what a second signal does.

use crate::support::client::get;
use crate::support::entities::service;
use crate::support::upstream::Next;
use crate::support::wire::Ended;
use crate::support::{Client, Setup, TlsClient, Upstream, json, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers when `release` is raised.
fn held(release: &Arc<AtomicBool>) -> Upstream {
    let release = release.clone();
    Upstream::plain(move |request, conversation| {
        until("the test", || release.load(Ordering::Acquire).then_some(()));
        conversation.echo(request);
        Next::Keep
    })
}

#[test]
fn while_it_drains_answers_say_close_and_it_is_not_ready() {
    let release = Arc::new(AtomicBool::new(false));
    let upstream = held(&release);
    let mut gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]})).start();
    let mut status = Client::plain(gateway.status());
    status.get("status", "/status/ready").assert_status(200);
    let mut clients = [
        Client::plain(gateway.http()),
        TlsClient::new().connect(gateway.https(), "a.test"),
    ];
    for client in &mut clients {
        client.send(get("a", "/held"));
    }
    until("both upstream", || {
        (upstream.requests().len() == 2).then_some(())
    });
    gateway.signal(libc::SIGTERM);
    gateway.error_line(&["draining"]);
    let refused = status.get("status", "/status/ready");
    assert_eq!(refused.status, 503, "{}", refused.text());
    status.get("status", "/status").assert_status(200);
    release.store(true, Ordering::Release);
    for client in &mut clients {
        let response = client.response();
        assert_eq!(
            response.assert_status(200).field("Connection"),
            Some("close")
        );
        assert_eq!(client.assert_closed(), Ended::Clean);
    }
    assert!(gateway.exit().success());
}

#[test]
fn a_second_signal_cuts_what_is_left_at_once() {
    let release = Arc::new(AtomicBool::new(false));
    let upstream = held(&release);
    let mut gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]}))
            // Longer than a test waits.
            .set("drain_timeout", "600s")
            .start();
    let mut client = Client::plain(gateway.http());
    client.send(get("a", "/held"));
    until("the request upstream", || {
        (upstream.requests().len() == 1).then_some(())
    });
    gateway.signal(libc::SIGTERM);
    gateway.error_line(&["draining"]);
    assert!(gateway.is_running());
    gateway.signal(libc::SIGTERM);
    assert!(gateway.exit().success());
    let (_, ended) = client.reader.rest();
    assert_ne!(ended, Ended::Open);
    release.store(true, Ordering::Release);
}

/// Everything of a reload that can wait does so where nothing waits for it.
#[test]
fn a_reload_that_hangs_holds_up_neither_requests_nor_probes_nor_the_end() {
    let upstream = Upstream::echo();
    let mut gateway =
        Setup::new(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]})).start();
    // Opening a pipe that nobody writes to does not return.
    let pipe = gateway.files().folder().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    gateway.set("declarative_config", &pipe.display().to_string());
    gateway.signal(libc::SIGHUP);
    gateway.error_line(&["reloading"]);
    gateway.signal(libc::SIGHUP);
    gateway.get("a", "/").assert_status(200);
    Client::plain(gateway.status())
        .get("status", "/status/ready")
        .assert_status(200);
    assert_eq!(gateway.metrics().sum("sallyport_reloads_total"), 0);
    gateway.signal(libc::SIGTERM);
    assert!(gateway.exit().success());
}
