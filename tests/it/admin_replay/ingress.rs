//! What Kong's Ingress Controller asks of a gateway without a database (KONG-CLIENTS.md §4.3).

use crate::support::entities::{id, url};
use crate::support::{Admin, Gateway, Setup, Upstream, Value, json, until};
use std::net::TcpStream;

const PUSH: &str = "/config?check_hash=1&flatten_errors=1";

/// Without a configuration it is not ready, and can be given one.
fn empty() -> Gateway {
    let gateway = Setup::new(json!({})).with_admin().prepare().spawn();
    until("the Admin listener", || {
        TcpStream::connect(gateway.admin_address()).ok()
    });
    gateway
}

fn readiness(gateway: &Gateway) -> u16 {
    Admin::of(gateway.status()).get("/status/ready").status()
}

fn hash(admin: &mut Admin) -> String {
    let status = admin.get("/status").assert(200);
    let hash = status["configuration_hash"].as_str();
    hash.unwrap_or_else(|| panic!("no configuration_hash: {status}"))
        .to_owned()
}

fn document(services: Value) -> Value {
    json!({"_format_version": "3.0", "services": services})
}

#[test]
fn the_controller_finds_what_it_starts_with() {
    let gateway = empty();
    let mut admin = gateway.admin();
    let status = admin.get("/status").assert(200);
    for name in [
        "connections_accepted",
        "connections_active",
        "connections_handled",
        "connections_reading",
        "connections_waiting",
        "connections_writing",
        "total_requests",
    ] {
        assert!(status["server"][name].is_u64(), "§4.5 {name}: {status}");
    }
    let root = admin.get("/").assert(200);
    let version = root["version"].as_str().expect("a version");
    let numbers: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().expect("a number"))
        .collect();
    assert!(numbers.len() == 3 && numbers >= vec![3, 4, 1], "{version}");
    assert_eq!(root["configuration"]["database"], "off");
    assert_eq!(
        root["configuration"]["router_flavor"],
        "traditional_compatible"
    );
    assert!(root["node_id"].is_string(), "{root}");
    let listeners = root["configuration"]["proxy_listeners"].as_array();
    assert!(listeners.is_some_and(|list| !list.is_empty()), "{root}");
}

#[test]
fn a_pushed_configuration_is_served_once_it_is_answered() {
    let gateway = empty();
    let upstream = Upstream::echo();
    let mut admin = gateway.admin();
    let before = hash(&mut admin);
    assert_eq!(before, "0".repeat(32), "§4.3: empty");
    assert_eq!(readiness(&gateway), 503);
    let route = json!({"id": id(2), "name": "r", "hosts": ["k.test"], "tags": ["k8s-name:r"]});
    let body = document(json!([
        {"id": id(1), "name": "s", "url": url(&upstream), "tags": ["k8s-name:s"], "routes": [route]},
    ]));
    let pushed = admin.post(PUSH, &body);
    assert!(matches!(pushed.status(), 200 | 201), "{}", pushed.text());
    gateway.get("k.test", "/").assert_status(200);
    assert_eq!(readiness(&gateway), 200);
    let after = until("another hash", || {
        Some(hash(&mut admin)).filter(|hash| *hash != before)
    });
    assert_eq!(after.len(), 32);
    assert!(
        after.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{after}"
    );

    let same = admin.post(PUSH, &body);
    assert!(matches!(same.status(), 200 | 201 | 304), "{}", same.text());
    assert_eq!(
        hash(&mut admin),
        after,
        "the same configuration has the same hash"
    );

    let gone = admin.post(PUSH, &document(json!([])));
    assert!(matches!(gone.status(), 200 | 201), "{}", gone.text());
    gateway.get("k.test", "/").assert_status(404);
}

#[test]
fn what_is_wrong_is_told_by_entity_and_the_old_configuration_serves_on() {
    let gateway = empty();
    let upstream = Upstream::echo();
    let mut admin = gateway.admin();
    let good = document(json!([
        {"id": id(1), "name": "s", "url": url(&upstream), "routes": [{"name": "r", "hosts": ["k.test"]}]},
    ]));
    admin.post(PUSH, &good).assert(201);
    let hash_before = hash(&mut admin);
    let wrong = json!({
        "_format_version": "3.0",
        "services": [
            {
                "id": id(1), "name": "s", "host": "h.test", "port": "80", "tags": ["k8s-name:s", "k8s-kind:Service"],
                "routes": [{"id": id(2), "name": "r", "paths": ["no-slash"], "tags": ["k8s-name:r"]}],
            },
            {"id": id(3), "name": "fine", "host": "h.test"},
        ],
        "consumers": [{
            "id": id(4), "username": "u", "tags": ["k8s-name:u"],
            "plugins": [{"id": id(5), "name": "request-termination", "config": {"garbage": 1}, "tags": ["k8s-name:p"]}],
        }],
    });
    let answer = admin.post(PUSH, &wrong).assert(400);
    assert_eq!(
        (&answer["code"], &answer["name"]),
        (&json!(14), &json!("invalid declarative configuration"))
    );
    let flattened = answer["flattened_errors"].as_array().expect("§4.3");
    for (kind, number, name, tags, field, message) in [
        (
            "service",
            1,
            json!("s"),
            json!(["k8s-name:s", "k8s-kind:Service"]),
            "port",
            "expected an integer",
        ),
        (
            "route",
            2,
            json!("r"),
            json!(["k8s-name:r"]),
            "paths",
            "should start with: / (fixed path) or ~/ (regex path)",
        ),
        (
            "plugin",
            5,
            json!("request-termination"),
            json!(["k8s-name:p"]),
            "config.garbage",
            "unknown field",
        ),
    ] {
        let found = flattened.iter().find(|one| one["entity_id"] == id(number));
        let one = found.unwrap_or_else(|| panic!("{kind} {number} in {answer:#}"));
        assert_eq!(
            (
                &one["entity_type"],
                &one["entity_name"],
                &one["entity_tags"]
            ),
            (&json!(kind), &name, &tags),
            "{one}"
        );
        let errors = one["errors"].as_array().expect("errors");
        let mut told = errors.iter().filter(|error| {
            error["type"] == "field"
                && error["field"]
                    .as_str()
                    .is_some_and(|found| found.starts_with(field))
        });
        let told = told.next().unwrap_or_else(|| panic!("{field} in {one}"));
        let text = told["message"].as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| told["messages"].to_string());
        assert!(text.contains(message), "{told}");
    }
    let named = |number: u32| flattened.iter().any(|one| one["entity_id"] == id(number));
    assert!(
        !named(3) && !named(4),
        "rows without a fault are not named: {answer:#}"
    );
    gateway.get("k.test", "/").assert_status(200);
    assert_eq!(hash(&mut admin), hash_before);
}

/// §4.3: the webhook validates through the same listener.
#[test]
fn the_webhook_validates_without_a_database() {
    let gateway = empty();
    let mut admin = gateway.admin();
    for (kind, body, status) in [
        ("consumers", json!({"username": "u"}), 200),
        ("consumers", json!({}), 400),
        (
            "plugins",
            json!({"name": "acl", "config": {"allow": ["a"]}}),
            200,
        ),
        ("plugins", json!({"name": "acl", "config": {}}), 400),
        ("routes", json!({"paths": ["/"]}), 200),
        ("routes", json!({"paths": ["x"]}), 400),
    ] {
        let answer = admin.post(&format!("/schemas/{kind}/validate"), &body);
        assert!(
            answer.assert(status)["message"].is_string(),
            "{kind} {body}"
        );
    }
}

/// KONG.md §2.5 code 12: rows are pushed, not written.
#[test]
fn rows_are_read_only_without_a_database_and_config_is_refused_with_one() {
    let gateway = empty();
    let mut admin = gateway.admin();
    let answer = admin.post("/services", &json!({"host": "h.test"}));
    assert_eq!(answer.assert(405)["code"], 12);
    let with_store = Setup::admin().start();
    let refused = with_store.admin().post(PUSH, &document(json!([])));
    assert!(refused.assert(400)["message"].is_string());
}
