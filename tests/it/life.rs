//! From start to end: readiness, logs, metrics, the verbs, and a drain that loses nothing.

use crate::support::client::{TLS12, TlsOptions, get};
use crate::support::entities::{ca_certificate, mtls_auth, service};
use crate::support::gateway::{engine, sallyport};
use crate::support::upstream::Next;
use crate::support::wire::{Ended, Response};
use crate::support::{Ca, Client, Gateway, Setup, TlsClient, Upstream, Value, json, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn routed(upstream: &Upstream) -> Value {
    json!({"services": [service("s", upstream, json!({"paths": ["/"]}))]})
}

#[test]
fn the_engine_is_the_one_asked_for() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    let metrics = gateway.metrics();
    assert_eq!(
        metrics.sum_with("sallyport_engine", &[&format!("driver=\"{}\"", engine())]),
        1,
        "{}",
        metrics.0
    );
}

#[test]
fn the_status_listener_tells_health_readiness_and_metrics() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("mtls", &upstream, json!({"paths": ["/m"], "plugins": [mtls_auth(&[1], json!({"skip_consumer_lookup": true}))]})),
            service("open", &upstream, json!({"paths": ["/o"]})),
        ],
        "ca_certificates": [ca_certificate(1, &ca)],
    }))
    .start();
    TlsClient::presenting(&ca.client("c"))
        .get(gateway.https(), "a.test", "/m")
        .assert_status(200);
    TlsClient::new()
        .get(gateway.https(), "a.test", "/m")
        .assert_status(401);
    gateway.get("a", "/o").assert_status(200);
    gateway.get("a", "/none").assert_status(404);

    let mut status = Client::plain(gateway.status());
    let ready = status.get("status", "/status/ready");
    assert_eq!(ready.assert_status(200).text(), "{\"message\":\"ready\"}");
    let health: Value =
        serde_json::from_str(&status.get("status", "/status").assert_status(200).text())
            .expect("JSON");
    for key in [
        "connections_accepted",
        "connections_active",
        "connections_handled",
        "total_requests",
    ] {
        assert!(health["server"][key].is_u64(), "{key} in {health}");
    }
    assert!(health["memory"].is_object(), "{health}");
    assert_eq!(
        health["configuration_hash"].as_str().map(str::len),
        Some(32),
        "{health}"
    );
    assert_eq!(status.get("status", "/other").status, 404);

    let metrics = gateway.metrics();
    // (samples that begin so, labels, at least)
    let rows: [(&str, &[&str], u64); 16] = [
        (
            "kong_http_requests_total",
            &[
                "service=\"mtls\"",
                "route=\"mtls\"",
                "code=\"200\"",
                "source=\"service\"",
            ],
            1,
        ),
        (
            "kong_http_requests_total",
            &["service=\"mtls\"", "code=\"401\"", "source=\"kong\""],
            1,
        ),
        ("kong_http_requests_total", &["code=\"404\""], 1),
        ("kong_nginx_connections_total", &["state=\"accepted\""], 4),
        ("kong_nginx_requests_total", &[], 4),
        ("kong_datastore_reachable", &[], 1),
        (
            "kong_bandwidth_bytes",
            &["direction=\"egress\"", "service=\"mtls\""],
            1,
        ),
        ("kong_request_latency_ms_count", &["service=\"mtls\""], 1),
        ("kong_upstream_latency_ms_bucket", &["le=\"+Inf\""], 1),
        (
            "sallyport_tls_handshakes_total",
            &["version=\"TLSv1.3\"", "resumed=\"false\""],
            2,
        ),
        (
            "sallyport_client_certificates_total",
            &["outcome=\"presented\""],
            1,
        ),
        (
            "sallyport_client_certificates_total",
            &["outcome=\"none\""],
            1,
        ),
        (
            "sallyport_client_verdicts_total",
            &["outcome=\"trusted\""],
            1,
        ),
        ("sallyport_upstream_pool_total", &["result=\"miss\""], 1),
        ("sallyport_core_requests_total", &[], 4),
        ("sallyport_certificate_expiry_seconds", &["kind="], 1),
    ];
    for (name, labels, least) in rows {
        let sum = metrics.sum_with(name, labels);
        assert!(sum >= least, "{name} {labels:?} is {sum}\n{}", metrics.0);
    }
    assert_eq!(metrics.sum("sallyport_panics_total"), 0);
}

#[test]
fn the_access_log_is_json_with_the_facts_of_tls() {
    let ca = Ca::root("Clients CA");
    let upstream = Upstream::echo();
    let plugin = mtls_auth(&[1], json!({}));
    let gateway = Setup::new(json!({
        "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [plugin]}))],
        "ca_certificates": [ca_certificate(1, &ca)],
        "consumers": [{"username": "alice"}],
    }))
    .start();
    let stranger = Ca::root("stranger");
    let client = |pair| {
        TlsClient::with(TlsOptions {
            pair,
            versions: vec![TLS12],
            ..TlsOptions::default()
        })
    };
    let response = client(Some(ca.client("alice")))
        .connect(gateway.https(), "a.test")
        .get_with(
            "a.test:443",
            "/x?q=\u{e9}\"",
            "User-Agent: agent\"\\\u{1F600}\r\n",
        );
    // Whatever is made of that target, its line is one line of JSON.
    let _ = response;
    client(Some(ca.client("alice")))
        .get(gateway.https(), "a.test", "/ok")
        .assert_status(200);
    client(Some(stranger.client("alice")))
        .get(gateway.https(), "a.test", "/no")
        .assert_status(401);
    client(None)
        .get(gateway.https(), "a.test", "/none")
        .assert_status(401);
    gateway.get("a", "/plain").assert_status(401);
    let lines = gateway.access_lines(5);
    let of = |uri: &str| {
        lines
            .iter()
            .find(|line| line["request"]["uri"] == uri)
            .unwrap_or_else(|| panic!("{uri} in {lines:?}"))
    };
    let ok = of("/ok");
    let tls = &ok["request"]["tls"];
    assert_eq!(tls["version"], "TLSv1.2");
    assert_eq!(tls["sni"], "a.test");
    assert_eq!(tls["resumed"], false);
    assert_eq!(tls["client_verify"], "SUCCESS");
    assert_eq!(tls["client_subject"], "CN=alice");
    assert_eq!(tls["client_issuer"], "CN=Clients CA");
    assert!(
        tls["cipher"].is_string() && tls["group"].is_string() && tls["client_serial"].is_string(),
        "{tls}"
    );
    assert_eq!(ok["consumer"]["username"], "alice");
    assert_eq!(ok["service"]["name"], "s");
    assert_eq!(ok["response"]["status"], 200);
    assert_eq!(
        ok["upstream"]["address"],
        format!("127.0.0.1:{}", upstream.port())
    );
    assert_eq!(
        ok["request"]["id"],
        upstream
            .last()
            .field("X-Kong-Request-Id")
            .unwrap_or_default()
    );
    let verify = |uri: &str| {
        of(uri)["request"]["tls"]["client_verify"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(verify("/no").starts_with("FAILED:"), "{}", of("/no"));
    assert_eq!(verify("/none"), "NONE");
    assert!(
        of("/plain")["request"].get("tls").is_none(),
        "{}",
        of("/plain")
    );
    assert_eq!(of("/plain")["source"], "exit");
}

#[test]
fn usr1_reopens_the_logs() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    gateway.get("a", "/before").assert_status(200);
    gateway.access_lines(1);
    let logs = gateway.files().folder().join("prefix/logs");
    std::fs::rename(logs.join("access.log"), logs.join("access.log.1")).expect("the log");
    std::fs::rename(logs.join("error.log"), logs.join("error.log.1")).expect("the log");
    gateway.signal(libc::SIGUSR1);
    until("a new log", || {
        logs.join("access.log").exists().then_some(())
    });
    gateway.get("a", "/after").assert_status(200);
    let lines = gateway.access_lines(1);
    assert_eq!(lines[0]["request"]["uri"], "/after");
    assert!(!gateway.read("prefix/logs/access.log.1").contains("/after"));
    gateway.reload_as_is();
    until("a line in the new error log", || {
        gateway.error_log().contains("reload").then_some(())
    });
}

#[test]
fn logs_go_where_the_directives_say() {
    let upstream = Upstream::echo();
    let off = Setup::new(routed(&upstream))
        .set("proxy_access_log", "off")
        .start();
    off.get("a", "/x").assert_status(200);
    let out = Setup::new(routed(&upstream))
        .set("proxy_access_log", "/dev/stdout")
        .start();
    out.get("a", "/to-stdout").assert_status(200);
    until("a line on standard output", || {
        out.read("output.log").contains("/to-stdout").then_some(())
    });
    assert_eq!(off.access_log(), "");
}

/// Clients that ask until told to stop. Returns how many requests failed, with one example.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Result<(), String>>>,
}

impl Load {
    /// `persistent`: each keeps its connection as long as the gateway does.
    fn begin(gateway: &Gateway, persistent: bool) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let clients = (0..4)
            .map(|number| {
                let (stop, done) = (stop.clone(), done.clone());
                let (http, https) = (gateway.http(), gateway.https());
                std::thread::spawn(move || {
                    let tls = TlsClient::with(TlsOptions {
                        resumption: true,
                        ..TlsOptions::default()
                    });
                    let connect = || -> Option<Client> {
                        if number % 2 == 0 {
                            Client::try_plain(http).ok()
                        } else {
                            tls.try_connect(https, "a.test").ok()
                        }
                    };
                    let mut open: Option<Client> = None;
                    while !stop.load(Ordering::Acquire) {
                        let fresh = open.is_none();
                        let mut client = match open.take() {
                            Some(client) => client,
                            // No more connections are accepted: the drain has begun.
                            None => match connect() {
                                Some(client) => client,
                                None => return Ok(()),
                            },
                        };
                        if !client.try_send(get("a.test", "/load")) {
                            return Err("a request could not be sent".into());
                        }
                        let response =
                            Response::read(&mut client.reader, "GET").map_err(|ended| {
                                let which = if fresh { "first" } else { "later" };
                                format!("no whole response to the {which} request: {ended:?}")
                            })?;
                        if response.status != 200 {
                            return Err(format!("{}{}", response.head, response.text()));
                        }
                        done.fetch_add(1, Ordering::AcqRel);
                        if persistent && response.field("Connection") != Some("close") {
                            open = Some(client);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        Load {
            stop,
            done,
            clients,
        }
    }

    fn after(&self, count: usize) {
        let goal = self.done.load(Ordering::Acquire) + count;
        until("the load to go on", || {
            (self.done.load(Ordering::Acquire) >= goal).then_some(())
        });
    }

    #[track_caller]
    fn end(self) {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            if let Err(failure) = client.join().expect("a client thread") {
                panic!("a request failed: {failure}");
            }
        }
    }
}

#[test]
fn reload_under_load_fails_no_request() {
    let upstream = Upstream::echo();
    for persistent in [true, false] {
        let gateway = Setup::new(routed(&upstream)).workers(2).start();
        let load = Load::begin(&gateway, persistent);
        for number in 0..10 {
            load.after(20);
            let mut document = routed(&upstream);
            document["services"][0]["routes"][0]["tags"] = json!([format!("reload-{number}")]);
            gateway.reload(document);
        }
        load.after(20);
        load.end();
        assert_eq!(gateway.metrics().sum("sallyport_panics_total"), 0);
    }
}

#[test]
fn drain_under_load_loses_no_response() {
    let upstream = Upstream::echo();
    for signal in [libc::SIGTERM, libc::SIGQUIT, libc::SIGINT] {
        let mut gateway = Setup::new(routed(&upstream)).workers(2).start();
        let load = Load::begin(&gateway, true);
        load.after(50);
        gateway.signal(signal);
        let status = gateway.exit();
        assert!(
            status.success(),
            "signal {signal}: {status}: {}",
            gateway.error_log()
        );
        // Clients end by themselves when nobody accepts any more; until then each has been answered.
        load.end();
    }
}

#[test]
fn a_drain_waits_for_an_exchange_and_ends_at_its_deadline() {
    let release = Arc::new(AtomicBool::new(false));
    let for_script = release.clone();
    let upstream = Upstream::plain(move |request, conversation| {
        if request.target == "/never" {
            while conversation.reader.fill().is_ok() {}
            return Next::Cut;
        }
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        until("the test", || {
            for_script.load(Ordering::Acquire).then_some(())
        });
        conversation.send("half");
        Next::Keep
    });
    let mut gateway = Gateway::before(&upstream);
    let mut busy = Client::plain(gateway.http());
    let mut idle = Client::plain(gateway.http());
    idle.send("GET /never%20mind HTTP/1.1\r\nHost: a\r\n");
    busy.send(get("a", "/slow"));
    busy.reader
        .through(b"\r\n\r\nhalf")
        .expect("the first half");
    gateway.signal(libc::SIGTERM);
    gateway.error_line(&["draining"]);
    until("new connections to be refused", || {
        std::net::TcpStream::connect(gateway.http()).err()
    });
    assert!(gateway.is_running());
    release.store(true, Ordering::Release);
    assert_eq!(busy.reader.exact(4).expect("the second half"), b"half");
    drop(idle);
    assert!(gateway.exit().success());

    let mut gateway = Setup::new(routed(&upstream))
        .set("drain_timeout", "1s")
        .start();
    let mut stuck = Client::plain(gateway.http());
    stuck.send(get("a", "/never"));
    until("the request upstream", || {
        upstream
            .requests()
            .iter()
            .find(|request| request.target == "/never")
            .map(|_| ())
    });
    gateway.signal(libc::SIGTERM);
    let _ = gateway.exit();
    let (_, ended) = stuck.reader.rest();
    assert_ne!(ended, Ended::Open);
}

#[test]
fn the_verbs_find_the_gateway_of_their_prefix() {
    let upstream = Upstream::echo();
    let prepared = Setup::new(routed(&upstream)).prepare();
    let text = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let health = prepared.run("health", &[]);
    assert!(!health.status.success(), "{}", text(&health));
    assert!(
        text(&health).contains("Sallyport is not running at"),
        "{}",
        text(&health)
    );
    let check = prepared.run("check", &[]);
    assert!(
        check.status.success() && text(&check).contains("is valid"),
        "{}",
        text(&check)
    );
    let mut gateway = prepared.spawn();
    until("the gateway", || {
        gateway
            .files()
            .run("health", &[])
            .status
            .success()
            .then_some(())
    });
    gateway.wait_ready();
    let health = gateway.files().run("health", &[]);
    assert!(
        text(&health).contains("Sallyport is healthy at"),
        "{}",
        text(&health)
    );
    let second = gateway.files().run("start", &[]);
    assert!(
        !second.status.success() && text(&second).contains("already running"),
        "{}",
        text(&second)
    );
    let reload = gateway.files().run("reload", &[]);
    assert!(reload.status.success(), "{}", text(&reload));
    until("the reload", || {
        (gateway
            .metrics()
            .sum("sallyport_reloads_total{outcome=\"ok\"}")
            > 0)
        .then_some(())
    });
    gateway.get("a", "/").assert_status(200);
    // It is our child: reaped while `stop` waits, or the process would stay in the table.
    let files = gateway.files().conf_path();
    let stop = std::thread::spawn(move || {
        sallyport()
            .arg("stop")
            .arg("-c")
            .arg(files)
            .output()
            .expect("the binary runs")
    });
    assert!(gateway.exit().success());
    let stop = stop.join().expect("stop");
    assert!(
        stop.status.success() && text(&stop).contains("stopped"),
        "{}",
        text(&stop)
    );
    let again = gateway.files().run("quit", &[]);
    assert!(!again.status.success(), "{}", text(&again));
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let upstream = Upstream::echo();
    // (directive, value, words of the refusal); client_ssl is on, without which its files are not looked at
    let rows: [(&str, &str, &[&str]); 6] = [
        ("database", "postgres", &["database", "postgres", "off"]),
        ("ssl_cert_key", "", &["ssl_cert_key must be specified"]),
        (
            "client_ssl_cert",
            "@shared.crt",
            &["client_ssl_cert_key must be specified"],
        ),
        (
            "proxy_lisen",
            "127.0.0.1:1",
            &["proxy_lisen", "proxy_listen"],
        ),
        (
            "declarative_config",
            "/nonexistent/kong.yml",
            &["/nonexistent/kong.yml"],
        ),
        ("ssl_cipher_suite", "odd", &["ssl_cipher_suite"]),
    ];
    for (directive, value, words) in rows {
        let prepared = Setup::new(routed(&upstream))
            .set("client_ssl", "on")
            .set(directive, value)
            .prepare();
        for verb in ["start", "check"] {
            let output = prepared.run(verb, &[]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success(),
                "{verb} with {directive} = {value}: {text}"
            );
            for word in words {
                assert!(
                    text.contains(word),
                    "{verb} with {directive} = {value} names {word}: {text}"
                );
            }
        }
    }
}
