//! What a node tells of itself, and the fields of every answer (KONG.md §2.6 to §2.8, KONG-CLIENTS.md §0, §5).

use super::*;
use crate::store::CommitError;
use std::sync::atomic::AtomicBool;

#[tokio::test]
async fn the_root_says_what_clients_gate_on() {
    for (node, database, store) in [
        (memory(), "postgres", "embedded"),
        (fixed(Config::default()), "off", "off"),
    ] {
        let mut client = Client::connect(start(node).await).await;
        let answer = client.get("/").await;
        let expected = json!({
            "version": "3.9.1",
            "edition": "community",
            "hostname": "host",
            "node_id": "6b1f3a52-0a31-4b3a-9d0e-000000000001",
            "configuration": {
                "database": database, "store": store, "router_flavor": "traditional_compatible",
                "role": "traditional", "wasm": false, "log_level": "notice", "proxy_listeners": [],
            },
            "plugins": {
                "available_on_server": {"mtls-auth": {"version": "3.9.1", "priority": 1600}},
                "enabled_in_cluster": [],
            },
            "timers": {"running": 0, "pending": 0},
            "sallyport": {"version": env!("CARGO_PKG_VERSION")},
        });
        assert_eq!(answer.status, 200);
        assert!(has(&answer.json(), &expected), "{}", answer.text);
        let pids = &answer.json()["pids"];
        assert_eq!(pids["workers"].as_array().map(Vec::len), Some(2), "{pids}");
    }
}

#[tokio::test]
async fn the_root_names_the_plugins_in_use() {
    let mut client = Client::connect(start(memory()).await).await;
    client.have("/plugins", json!({"name": "prometheus"})).await;
    client
        .have(
            "/plugins",
            json!({"name": "acl", "config": {"allow": ["g"]}}),
        )
        .await;
    let root = client.get("/").await.json();
    assert_eq!(
        root["plugins"]["enabled_in_cluster"],
        json!(["acl", "prometheus"])
    );
}

#[tokio::test]
async fn information_endpoints_are_as_section_2_8_says() {
    let null = Value::Null;
    let steps = vec![
        step(
            "2.8",
            "GET",
            "/status",
            null.clone(),
            200,
            json!({"database": {"reachable": true}}),
        ),
        step(
            "2.8",
            "GET",
            "/plugins/enabled",
            null.clone(),
            200,
            json!({"enabled_plugins": ["mtls-auth", "acl", "request-termination", "prometheus"]}),
        ),
        step(
            "2.8",
            "GET",
            "/endpoints",
            null.clone(),
            200,
            json!({"next": null}),
        ),
        step(
            "2.8",
            "GET",
            "/timers",
            null.clone(),
            200,
            json!({"worker": {"count": 2}}),
        ),
        step(
            "2.8",
            "GET",
            "/cache/x",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.8",
            "GET",
            "/clustering/data-planes",
            null.clone(),
            200,
            json!({"data": [], "next": null}),
        ),
        step(
            "2.8",
            "GET",
            "/clustering/status",
            null.clone(),
            200,
            json!({}),
        ),
        step(
            "2.8",
            "GET",
            "/debug/node/log-level",
            null.clone(),
            200,
            json!({"message": "log level: notice"}),
        ),
        step(
            "2.8",
            "PUT",
            "/debug/node/log-level/debug",
            null.clone(),
            200,
            json!({"message": "log level changed"}),
        ),
        step(
            "2.8",
            "GET",
            "/debug/node/log-level",
            null.clone(),
            200,
            json!({"message": "log level: debug"}),
        ),
        step(
            "2.8",
            "PUT",
            "/debug/node/log-level/x",
            null.clone(),
            400,
            json!({"message": "unknown log level: x"}),
        ),
        step(
            "2.8",
            "GET",
            "/schemas/services",
            null.clone(),
            200,
            json!({}),
        ),
        step(
            "2.8",
            "GET",
            "/schemas/consumer_group_plugins",
            null.clone(),
            404,
            json!({"message": "No entity named 'consumer_group_plugins'"}),
        ),
        step(
            "2.8",
            "GET",
            "/schemas/plugins/mtls-auth",
            null.clone(),
            200,
            json!({}),
        ),
        step(
            "2.8",
            "GET",
            "/schemas/plugins/x",
            null.clone(),
            404,
            json!({"message": "No plugin named 'x'"}),
        ),
        step(
            "2.8",
            "GET",
            "/licenses",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.8",
            "GET",
            "/key-auths",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "7.2",
            "GET",
            "/config",
            null.clone(),
            400,
            json!({
                "message": "this endpoint is only available when Kong is configured to not use a database",
            }),
        ),
        step(
            "7.2",
            "POST",
            "/config",
            json!({"_format_version": "3.0"}),
            400,
            json!({
                "message": "this endpoint is only available when Kong is configured to not use a database",
            }),
        ),
        step(
            "7.2 whatever is sent",
            "POST",
            "/config",
            json!(["no document"]),
            400,
            json!({
                "message": "this endpoint is only available when Kong is configured to not use a database",
            }),
        ),
        step(
            "CLIENTS 5.1",
            "POST",
            "/",
            json!({}),
            405,
            json!({"message": "Method not allowed"}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn a_plugin_that_is_not_enabled_is_not_there() {
    let node = memory();
    node.directives.replace(Directives {
        plugins: Some(vec!["acl".to_owned()]),
        ..Directives::default()
    });
    let text = "plugin 'prometheus' not enabled; add it to the 'plugins' configuration property";
    let steps = vec![
        step(
            "2.8",
            "GET",
            "/plugins/enabled",
            Value::Null,
            200,
            json!({"enabled_plugins": ["acl"]}),
        ),
        step(
            "2.8",
            "GET",
            "/schemas/plugins/prometheus",
            Value::Null,
            404,
            json!({}),
        ),
        step(
            "1.10",
            "POST",
            "/plugins",
            json!({"name": "prometheus"}),
            400,
            json!({"fields": {"name": text}}),
        ),
    ];
    run(start(node).await, steps).await;
}

/// `admin_hosts`, `admin_gui_url` and `plugins` take effect on a reload: on connections that are open too.
#[tokio::test]
async fn directives_that_a_reload_changes_count_for_the_next_request() {
    let node = memory();
    let directives = Arc::clone(&node.directives);
    let mut client = Client::connect(start(node).await).await;
    let asked = [("Host", "new.internal"), ("Origin", "https://new.test")];
    let plugin = json!({"name": "prometheus"}).to_string();
    let write = [asked[0], asked[1], ("Content-Type", "application/json")];
    assert_eq!(client.send("GET", "/", &asked, None).await.status, 421);

    directives.replace(Directives {
        shown: Map::from_iter([("log_level".to_owned(), "debug".into())]),
        plugins: Some(vec!["acl".to_owned()]),
        origins: Origins::new(["https://new.test"]).expect("an origin"),
        hosts: vec!["new.internal".to_owned()],
    });
    let root = client.send("GET", "/", &asked, None).await;
    assert_eq!(root.status, 200, "{}", root.text);
    assert_eq!(
        root.header("access-control-allow-origin"),
        Some("https://new.test")
    );
    let root = root.json();
    assert_eq!(root["configuration"]["log_level"], "debug");
    let available = root["plugins"]["available_on_server"].as_object();
    assert!(
        available.is_some_and(|of| of.keys().eq(["acl"])),
        "{available:?}"
    );
    let refused = client
        .send("POST", "/plugins", &write, Some(plugin.as_bytes()))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);

    directives.replace(Directives {
        hosts: vec!["new.internal".to_owned()],
        ..Directives::default()
    });
    let foreign = client
        .send("POST", "/plugins", &write, Some(plugin.as_bytes()))
        .await;
    assert_eq!(foreign.status, 403, "{}", foreign.text);
    let own = [write[0], write[2]];
    let taken = client
        .send("POST", "/plugins", &own, Some(plugin.as_bytes()))
        .await;
    assert_eq!(taken.status, 201, "{}", taken.text);
}

#[tokio::test]
async fn every_answer_has_kongs_fields() {
    let mut client = Client::connect(start(memory()).await).await;
    let named = [("Origin", "https://gui.test")];
    for (method, target, status) in [
        ("GET", "/", 200),
        ("GET", "/services", 200),
        ("HEAD", "/services", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/services", 405),
        ("DELETE", "/services/x", 204),
    ] {
        let answer = client.send(method, target, &named, None).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.header("server"), Some("kong/3.9.1"), "{target}");
        let latency = answer.header("x-kong-admin-latency").expect("a latency");
        assert!(latency.parse::<u64>().is_ok(), "{target}: {latency}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://gui.test")
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(answer.header("via"), None);
        if status != 204 {
            let kind = answer.header("content-type");
            assert_eq!(kind, Some("application/json; charset=utf-8"), "{target}");
        }
        let foreign = client
            .send("GET", target, &[("Origin", "https://evil.test")], None)
            .await;
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn head_is_get_without_its_content() {
    let mut client = Client::connect(start(memory()).await).await;
    for target in ["/", "/services", "/status", "/schemas/routes"] {
        let get = client.get(target).await;
        let head = client.send("HEAD", target, &[], None).await;
        assert_eq!((head.status, &*head.text), (200, ""), "{target}");
        let length = get.text.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length), "{target}");
    }
}

#[tokio::test]
async fn options_says_what_a_path_has() {
    let mut client = Client::connect(start(memory()).await).await;
    for (section, target, methods) in [
        ("2.7", "/", "get, head, options"),
        ("2.7", "/status", "get, head, options"),
        ("2.7", "/services", "get, head, options, post"),
        (
            "2.7",
            "/services/x",
            "delete, get, head, options, patch, put",
        ),
    ] {
        let asked = [
            ("Origin", "https://gui.test"),
            ("Access-Control-Request-Headers", "x-a"),
        ];
        let answer = client.send("OPTIONS", target, &asked, None).await;
        assert_eq!(
            (answer.status, &*answer.text),
            (204, ""),
            "{section} {target}"
        );
        for name in ["allow", "access-control-allow-methods"] {
            assert_eq!(
                answer.header(name),
                Some(methods),
                "{section} {target} {name}"
            );
        }
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("x-a"),
            "{target}"
        );
    }
    assert_eq!(
        client.send("OPTIONS", "/nothing", &[], None).await.status,
        404
    );
}

/// KONG.md §2.5: 500 says nothing; the log says why, and the listener goes on.
#[tokio::test]
async fn a_panic_and_a_broken_store_are_500_with_the_cause_in_the_log() {
    let (log, handle) = Logged::open();
    let store = Arc::new(Memory::default());
    let mut node = node(store.clone());
    node.log = Some(handle);
    node.status = Box::new(|| panic!("the figures are gone"));
    let live = Arc::new(AtomicBool::new(true));
    let is_live = Arc::clone(&live);
    node.live = Box::new(move |_| {
        let live = is_live.load(Ordering::Relaxed);
        Box::pin(async move {
            if live {
                Ok(())
            } else {
                Err(NotLive::Stored("it does not compile".to_owned()))
            }
        })
    });
    let mut client = Client::connect(start(node).await).await;
    let unexpected = json!({"message": "An unexpected error occurred"});
    let answer = client.get("/status").await;
    assert_eq!((answer.status, answer.json()), (500, unexpected.clone()));
    assert_eq!(
        client.get("/services").await.status,
        200,
        "the same connection"
    );

    let body = json!({"name": "s", "host": "h.test"});
    *store.fail.lock().expect("a lock") = Some(CommitError::Storage("disk full".into()));
    let answer = client.json("POST", "/services", &body).await;
    assert_eq!((answer.status, answer.json()), (500, unexpected.clone()));
    *store.fail.lock().expect("a lock") = Some(CommitError::Conflict);
    let answer = client.json("POST", "/services", &body).await;
    assert_eq!((answer.status, answer.json()), (500, unexpected.clone()));
    *store.fail.lock().expect("a lock") = Some(CommitError::Busy);
    let answer = client.json("POST", "/services", &body).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    *store.fail.lock().expect("a lock") = None;
    live.store(false, Ordering::Relaxed);
    let answer = client.json("POST", "/services", &body).await;
    let told = "revision 1 is stored and not live: it does not compile";
    assert_eq!(
        (answer.status, answer.json()),
        (500, json!({"message": told}))
    );

    let text = log.text();
    for cause in [
        "the figures are gone",
        "the store cannot write: disk full",
        "a write conflicted 64 times",
        "too many changes are waiting",
        "revision 1 is stored and not live: it does not compile",
    ] {
        assert!(text.contains(cause), "{cause}: {text}");
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let mut client = Client::connect(start(node).await).await;
    client.get("/services?tags=secret").await;
    client.get("/nothing").await;
    let text = log.text();
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let found: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!([
                line["client_ip"],
                line["method"],
                line["path"],
                line["status"]
            ])
        })
        .collect();
    let expected = [
        json!(["127.0.0.1", "GET", "/services", 200]),
        json!(["127.0.0.1", "GET", "/nothing", 404]),
    ];
    assert_eq!(found, expected, "{text}");
    assert!(
        lines.iter().all(|line| line["latency_ms"].is_u64()),
        "{text}"
    );
}
