//! A bad file is refused whole and with every error; the old configuration serves on.

use crate::support::entities::service;
use crate::support::{Gateway, Leaf, Setup, Upstream, Value, json, until};

/// Three errors in three places, in a document that is otherwise right.
fn broken(upstream: &Upstream) -> Value {
    let mut good = service("good", upstream, json!({"paths": ["/new"]}));
    good["retries"] = json!(-1);
    json!({
        "_format_version": "3.0",
        "services": [good, {"name": "bad-host", "host": "not a host", "routes": [{"name": "r", "paths": ["no-slash"]}]}],
        "consumers": [{"username": "u"}, {"username": "u"}],
        "plugins": [{"name": "mtls-auth", "config": {"ca_certificates": []}}],
    })
}

const PLACES: [&str; 5] = [
    "retries",
    "host",
    "should start with: /",
    "consumers",
    "ca_certificates",
];

fn serving(upstream: &Upstream) -> Gateway {
    Setup::new(json!({"services": [service("old", upstream, json!({"paths": ["/old"]}))]})).start()
}

#[test]
fn a_bad_file_is_refused_whole_and_every_error_is_logged() {
    let upstream = Upstream::echo();
    let gateway = serving(&upstream);
    let mut open = crate::support::Client::plain(gateway.http());
    open.get("a", "/old").assert_status(200);
    gateway.reload_refused(&broken(&upstream).to_string());
    for place in PLACES {
        gateway.error_line(&[place]);
    }
    open.get("a", "/old").assert_status(200);
    gateway.get("a", "/old").assert_status(200);
    assert_eq!(gateway.get("a", "/new").status, 404, "not half of it");
    for text in [
        "",
        "{",
        "services: [",
        "_format_version: 3.0\n",
        "_format_version: \"3.0\"\nservicez: []\n",
    ] {
        gateway.reload_refused(text);
        open.get("a", "/old").assert_status(200);
    }
    // And the next good one is taken.
    gateway.reload(json!({"services": [service("new", &upstream, json!({"paths": ["/new"]}))]}));
    open.get("a", "/new").assert_status(200);
    assert_eq!(open.get("a", "/old").status, 404);
}

#[test]
fn check_prints_every_error_with_its_place() {
    let upstream = Upstream::echo();
    let mut document = broken(&upstream);
    document
        .as_object_mut()
        .expect("a map")
        .remove("_format_version");
    let prepared = Setup::new(document)
        .set("nginx_http_keepalive_requests", "many")
        .prepare();
    let output = prepared.run("check", &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    for place in PLACES
        .iter()
        .chain(&["nginx_http_keepalive_requests", "is not valid"])
    {
        assert!(text.contains(place), "{place} in {text}");
    }
    let start = prepared.run("start", &[]);
    assert!(!start.status.success(), "start refuses what check refuses");
}

#[test]
fn a_bad_settings_file_is_refused_too() {
    let upstream = Upstream::echo();
    let mut gateway = serving(&upstream);
    gateway.set("nginx_http_keepalive_timeout", "soon");
    let before = gateway
        .metrics()
        .sum("sallyport_reloads_total{outcome=\"refused\"}");
    gateway.signal(libc::SIGHUP);
    crate::support::until("the refusal", || {
        (gateway
            .metrics()
            .sum("sallyport_reloads_total{outcome=\"refused\"}")
            > before)
            .then_some(())
    });
    gateway.error_line(&["nginx_http_keepalive_timeout"]);
    gateway.get("a", "/old").assert_status(200);
    // A directive that a reload takes: the head's bound.
    gateway.set("nginx_http_keepalive_timeout", "75s");
    gateway.set("nginx_http_large_client_header_buffers", "4 1k");
    gateway.reload_as_is();
    assert_eq!(
        gateway
            .get("a", &format!("/old{}", "x".repeat(2000)))
            .status,
        414
    );
}

#[test]
fn secrets_never_reach_log_or_output() {
    let upstream = Upstream::echo();
    let pair = Leaf::new("secret").self_signed();
    let other = Leaf::new("other").self_signed();
    let gateway = serving(&upstream);
    let secret: String = pair
        .key_pem
        .lines()
        .nth(1)
        .expect("a line of the key")
        .to_owned();
    for key in [
        pair.key_pem.clone(),
        pair.key_pem.replace("-----END", "----END"),
        format!("x{secret}"),
    ] {
        let document = json!({"_format_version": "3.0", "certificates": [{"cert": other.cert_pem, "key": key}]});
        gateway.reload_refused(&document.to_string());
    }
    assert!(
        !gateway.output().contains(&secret),
        "a private key in the log"
    );
}

/// Directives that need a restart: named at each reload as long as they differ, and without effect until then.
#[test]
fn what_needs_a_restart_is_named_and_stays_as_it_was_started() {
    let upstream = Upstream::echo();
    let mut gateway = serving(&upstream);
    let named = |gateway: &Gateway, directive: &str| {
        let line = format!("{directive} differs from the start and takes effect after a restart");
        gateway.error_log().matches(&line).count()
    };
    gateway.get("a", "/old?before").assert_status(200);
    gateway.access_lines(1);
    let (moved, folder) = (
        gateway.files().folder().join("moved").display().to_string(),
        gateway
            .files()
            .folder()
            .join("prefix")
            .display()
            .to_string(),
    );
    gateway.set("proxy_access_log", "off");
    gateway.set("nginx_worker_processes", "2");
    gateway.set("prefix", &moved);
    // Not among them: it counts at once.
    gateway.set("nginx_http_keepalive_requests", "1");
    for count in 1..=2 {
        gateway.reload_as_is();
        for directive in ["proxy_access_log", "nginx_worker_processes", "prefix"] {
            until("the warning", || {
                (named(&gateway, directive) == count).then_some(())
            });
        }
        let response = gateway.get("a", "/old?after");
        assert_eq!(response.field("Connection"), Some("close"));
        gateway.access_lines(1 + count);
    }
    assert_eq!(named(&gateway, "nginx_http_keepalive_requests"), 0);
    assert!(
        !std::path::Path::new(&moved).exists(),
        "nothing is written there"
    );
    // As it was: nothing to tell.
    gateway.set("proxy_access_log", "logs/access.log");
    gateway.set("nginx_worker_processes", "1");
    gateway.set("prefix", &folder);
    gateway.reload_as_is();
    gateway.error_line(&["configuration 4 is live"]);
    assert_eq!(named(&gateway, "proxy_access_log"), 2);

    let mut gateway =
        Setup::new(json!({"services": [service("old", &upstream, json!({"paths": ["/old"]}))]}))
            .set("proxy_access_log", "off")
            .start();
    gateway.set("proxy_access_log", "logs/access.log");
    gateway.reload_as_is();
    gateway.get("a", "/old").assert_status(200);
    gateway.error_line(&["proxy_access_log differs from the start"]);
    assert_eq!(gateway.access_log(), "");
}
