//! The pages of Kong Manager, as the browser sends their calls: with an Origin, and a preflight before each write
//! (KONG-CLIENTS.md §3.2, §3.3).

use crate::support::admin::Answer;
use crate::support::entities::id;
use crate::support::{Admin, Gateway, Setup, Value, json};

const GUI: &str = "http://localhost:8002";

pub fn gateway() -> Gateway {
    Setup::admin().set("admin_gui_url", GUI).start()
}

/// A browser with a page of `GUI` open.
pub struct Browser(Admin);

impl Browser {
    pub fn at(gateway: &Gateway) -> Browser {
        Browser(gateway.admin())
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        if method != "GET" {
            self.preflight(method, target);
        }
        let content = (!body.is_null()).then(|| body.to_string());
        let mut fields = vec![
            ("Origin", GUI),
            ("Accept", "application/json, text/plain, */*"),
        ];
        if content.is_some() {
            fields.push(("Content-Type", "application/json"));
        }
        let content = content.as_deref().map(str::as_bytes);
        let answer = self.0.send(method, target, &fields, content);
        assert_readable(&answer);
        answer
    }

    /// A browser goes on only when this allows the method and the field.
    #[track_caller]
    fn preflight(&mut self, method: &str, target: &str) {
        let fields = [
            ("Origin", GUI),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        let answer = self.0.send("OPTIONS", target, &fields, None);
        assert_eq!(answer.status(), 204, "{}", answer.request);
        assert_readable(&answer);
        let methods = answer
            .header("Access-Control-Allow-Methods")
            .unwrap_or_default();
        assert!(
            methods.split(", ").any(|allowed| allowed == method),
            "{target}: {method} is not among {methods:?}"
        );
        assert_eq!(answer.header("Allow"), Some(methods));
        assert_eq!(
            answer.header("Access-Control-Allow-Headers"),
            Some("content-type")
        );
    }
}

/// §3.3: with credentials on, a browser shows a page nothing else; errors included.
#[track_caller]
fn assert_readable(answer: &Answer) {
    let fields = [
        answer.header("Access-Control-Allow-Origin"),
        answer.header("Access-Control-Allow-Credentials"),
    ];
    assert_eq!(fields, [Some(GUI), Some("true")], "{}", answer.request);
}

#[test]
fn the_first_page_finds_what_it_shows() {
    let gateway = gateway();
    let info = Browser::at(&gateway)
        .call("GET", "/", &Value::Null)
        .assert(200);
    for (path, expected) in [
        ("/version", json!("3.9.1")),
        ("/edition", json!("community")),
        ("/configuration/database", json!("postgres")),
        ("/configuration/role", json!("traditional")),
        (
            "/configuration/router_flavor",
            json!("traditional_compatible"),
        ),
        ("/configuration/stream_listeners", json!([])),
        ("/plugins/enabled_in_cluster", json!([])),
    ] {
        assert_eq!(info.pointer(path), Some(&expected), "§3.2 {path}");
    }
    for path in ["/hostname", "/tagline", "/lua_version", "/node_id"] {
        let text = info.pointer(path).and_then(Value::as_str);
        assert!(
            text.is_some_and(|text| !text.is_empty()),
            "§3.2 {path}: {info}"
        );
    }
    let listeners = info["configuration"]["proxy_listeners"].as_array();
    for listener in listeners.expect("§3.2 proxy_listeners") {
        assert!(
            listener["port"].is_u64() && listener["ssl"].is_boolean() && listener["ip"].is_string(),
            "{listener}"
        );
    }
    let admin_listen = info["configuration"]["admin_listen"].as_array();
    assert!(admin_listen.is_some_and(|list| list.iter().all(Value::is_string)));
    let plugins = info["plugins"]["available_on_server"]
        .as_object()
        .expect("§3.2");
    for name in ["acl", "mtls-auth", "request-termination"] {
        assert!(plugins[name]["priority"].is_i64(), "{plugins:?}");
    }
}

/// The switch in the plugin list sends the whole row back.
#[test]
fn a_plugin_is_switched_by_a_patch_with_the_whole_row() {
    let gateway = gateway();
    let mut browser = Browser::at(&gateway);
    let body = json!({"id": id(1), "name": "acl", "config": {"deny": ["x"]}});
    let mut row = browser.call("POST", "/plugins", &body).assert(201);
    row["enabled"] = json!(false);
    let target = format!("/plugins/{}", id(1));
    let switched = browser.call("PATCH", &target, &row).assert(200);
    row["updated_at"] = switched["updated_at"].clone();
    assert_eq!(switched, row);
}

/// The plugin form is built from the schema (§3.2): `protocols` and `config` in the array form.
#[test]
fn a_plugin_form_can_be_built_for_each_plugin_of_the_server() {
    let gateway = gateway();
    let mut browser = Browser::at(&gateway);
    let info = browser.call("GET", "/", &Value::Null).assert(200);
    let plugins = info["plugins"]["available_on_server"]
        .as_object()
        .expect("plugins");
    for name in plugins.keys() {
        let target = format!("/schemas/plugins/{name}");
        let schema = browser.call("GET", &target, &Value::Null).assert(200);
        let protocols = super::defaults::field(&schema, "protocols");
        assert!(protocols["default"].is_array(), "{name}: {protocols}");
        assert!(
            protocols["elements"]["one_of"].is_array(),
            "{name}: {protocols}"
        );
        for (field, attributes) in
            super::defaults::fields(super::defaults::field(&schema, "config"))
        {
            assert!(
                attributes["type"].is_string(),
                "{name}: {field}: {attributes}"
            );
        }
    }
}

/// KONG.md §2.7: no page but the configured one reads or writes anything.
#[test]
fn a_foreign_page_reads_nothing_and_changes_nothing() {
    let configured = gateway();
    let none = Setup::admin().start();
    for (gateway, origin) in [
        (&configured, "http://evil.test"),
        (&configured, "http://localhost:8003"),
        (&configured, "https://localhost:8002"),
        (&configured, "null"),
        (&none, GUI),
    ] {
        let mut admin = gateway.admin();
        let body = json!({"host": "h.test"}).to_string();
        let with = |field| [("Origin", origin), field];
        let read = admin.send("GET", "/services", &with(("Accept", "*/*")), None);
        read.assert(200);
        let asked = with(("Access-Control-Request-Method", "POST"));
        let preflight = admin.send("OPTIONS", "/services", &asked, None);
        let typed = with(("Content-Type", "application/json"));
        let written = admin.send("POST", "/services", &typed, Some(body.as_bytes()));
        assert_eq!(written.status(), 403, "{origin}: {}", written.text());
        for answer in [read, preflight, written] {
            for (name, _) in &answer.response.fields.0 {
                let is_cors = name.to_ascii_lowercase().starts_with("access-control-");
                assert!(!is_cors, "{origin}: {}: {name}", answer.request);
            }
        }
        assert!(admin.rows("/services").is_empty(), "{origin}");
    }
}
