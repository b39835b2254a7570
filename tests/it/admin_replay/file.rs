//! A state file in decK's form with every kind of row, and how decK takes such a file apart.

use super::deck::{State, natural_key, rows_of};
use crate::support::entities::id;
use crate::support::{Ca, Pair, Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// Certificates of the file.
pub struct Pki {
    pub server: Pair,
    pub client: Pair,
    pub root: Ca,
    pub other_root: Ca,
}

impl Pki {
    pub fn new() -> Pki {
        let root = Ca::root("replay root");
        Pki {
            server: root.server(&["a.test", "*.wild.test"]),
            client: root.client("gateway"),
            other_root: Ca::root("other root"),
            root,
        }
    }
}

/// Every kind, sparse: what has a default is mostly left out.
pub fn everything(pki: &Pki) -> Value {
    let root = id(11);
    let other_root = id(12);
    json!({
        "_format_version": "3.0",
        "certificates": [
            {
                "id": id(1), "cert": pki.server.cert_pem, "key": pki.server.key_pem, "tags": ["t1", "replay"],
                "snis": [{"name": "a.test", "tags": ["sni"]}, {"name": "*.wild.test"}],
            },
            // As a user's editor leaves it: no newline at the end.
            {"id": id(2), "cert": pki.client.cert_pem.trim_end(), "key": pki.client.key_pem.trim_end()},
        ],
        "ca_certificates": [
            {"id": root, "cert": pki.root.pem, "tags": ["t1"]},
            {"id": other_root, "cert": pki.other_root.pem},
        ],
        "consumers": [
            {
                "username": "alice", "custom_id": "c-1", "tags": ["b", "a", "équipe une"],
                "acls": [{"group": "gold"}, {"group": "silver", "tags": ["acl"]}],
                "mtls_auth_credentials": [
                    {"id": id(21), "subject_name": "alice@example.test", "ca_certificate": {"id": root}, "tags": ["t1"]},
                    {"id": id(22), "subject_name": "alice"},
                ],
                "plugins": [{"name": "request-termination", "config": {"status_code": 429, "message": "too much"}, "enabled": false}],
            },
            {"custom_id": "only-custom"},
        ],
        "services": [
            {
                "name": "plain", "host": "balanced.test",
                "routes": [
                    {
                        "name": "by-path", "paths": ["/b", "/a", "~/r/[0-9]+$"], "methods": ["POST", "GET"], "tags": ["t1"],
                        "plugins": [
                            {"name": "acl", "config": {"allow": ["silver", "gold"]}},
                            {"name": "mtls-auth", "config": {"ca_certificates": [other_root, root], "send_ca_dn": true}},
                        ],
                    },
                    {
                        "name": "by-host", "hosts": ["h.test", "*.h.test"], "headers": {"x-one": ["1", "2"]},
                        "protocols": ["https"], "snis": ["b.test", "a.test"], "strip_path": false, "preserve_host": true,
                        "regex_priority": 7, "https_redirect_status_code": 308, "path_handling": "v1",
                        "request_buffering": false, "response_buffering": false,
                    },
                ],
                "plugins": [{
                    "name": "request-termination", "instance_name": "stopped", "tags": ["t1"], "protocols": ["https", "http"],
                    "config": {"status_code": 451, "content_type": "text/plain", "body": "no", "trigger": "x-stop"},
                }],
            },
            {
                "name": "over-tls", "protocol": "https", "host": "secure.test", "port": 8443, "path": "/base", "retries": 0,
                "connect_timeout": 1000, "write_timeout": 2000, "read_timeout": 3000,
                "client_certificate": id(2), "tls_verify": true, "tls_verify_depth": 3,
                "ca_certificates": [other_root, root], "tags": ["t1", "t2"],
                "plugins": [{"name": "mtls-auth", "config": {
                    "ca_certificates": [root], "consumer_by": ["custom_id"], "anonymous": "alice", "cache_ttl": 12.5,
                    "authenticated_group_by": "DN", "revocation_check_mode": "SKIP",
                }}],
            },
            {
                "name": "remote-calls", "protocol": "grpc", "host": "grpc.test", "port": 50051, "enabled": false,
                "routes": [{"name": "grpc-route", "protocols": ["grpc", "grpcs"], "paths": ["/pkg.Service"], "strip_path": false}],
            },
        ],
        "routes": [{"name": "no-service", "paths": ["/nowhere"]}],
        "upstreams": [
            {
                "name": "balanced.test", "tags": ["t1"],
                "healthchecks": {
                    "threshold": 12.5,
                    "active": {"https_sni": "probe.test", "headers": {"x-probe": ["1"]}, "healthy": {"interval": 5, "successes": 1}},
                    "passive": {"unhealthy": {"http_statuses": [500]}},
                },
                "targets": [
                    {"target": "192.0.2.1:8000", "weight": 50, "tags": ["t1"]},
                    {"target": "t.test:81"},
                    {"target": "[2001:0db8:0000:0000:0000:0000:0000:0001]:8080", "weight": 0},
                ],
            },
            {
                "name": "hashed.test", "algorithm": "consistent-hashing", "hash_on": "header", "hash_on_header": "x-user",
                "hash_fallback": "ip", "slots": 100, "host_header": "inner.test", "client_certificate": {"id": id(2)},
            },
        ],
        "plugins": [
            {"name": "prometheus", "config": {"per_consumer": true}, "tags": ["t1"]},
            {"name": "acl", "config": {"deny": ["banned"], "hide_groups_header": true}},
        ],
    })
}

/// The same file after a day of changes: rows of every kind added, altered and gone.
pub fn changed(pki: &Pki, renewed: &Pair) -> Value {
    let mut document = everything(pki);
    // The certificate is renewed and keeps its id and names.
    document["certificates"][0]["cert"] = json!(renewed.cert_pem);
    document["certificates"][0]["key"] = json!(renewed.key_pem);
    document["certificates"][0]["snis"][1] = json!({"name": "new.test"});
    document["ca_certificates"][1]["tags"] = json!(["late"]);
    document["consumers"][1]["username"] = json!("now-named");
    document["consumers"][0]["tags"] = Value::Null;
    document["consumers"][0]["acls"] =
        json!([{"group": "gold", "tags": ["x"]}, {"group": "bronze"}]);
    document["consumers"][0]["mtls_auth_credentials"][0]["subject_name"] = json!("other");
    remove(&mut document["consumers"][0]["mtls_auth_credentials"], 1);
    document["consumers"][0]["plugins"][0]["enabled"] = json!(true);
    document["services"][1]["ca_certificates"] = json!([id(11)]);
    document["services"][1]["path"] = Value::Null;
    document["services"][0]["routes"][0]["paths"] = json!(["/a", "/b"]);
    document["services"][0]["routes"][0]["plugins"][1]["config"] =
        json!({"ca_certificates": [id(12)]});
    remove(&mut document["services"][0]["plugins"], 0);
    remove(&mut document["services"], 2);
    document["services"][0]["routes"][1] = json!({"name": "by-host", "hosts": ["k.test"]});
    document["upstreams"][0]["healthchecks"] = json!({"active": {"timeout": 3}});
    document["upstreams"][0]["targets"][0]["weight"] = json!(51);
    document["upstreams"][0]["targets"][1]["target"] = json!("t.test:82");
    remove(&mut document["upstreams"], 1);
    remove(&mut document["plugins"], 0);
    document["plugins"][0]["config"] = json!({"deny": ["banned", "late"]});
    document
}

fn remove(list: &mut Value, at: usize) {
    list.as_array_mut().expect("a list").remove(at);
}

/// Takes a file apart into rows. Ids that the file lacks come from the current rows with the same natural key, or are new.
pub fn rows(document: &Value, current: &State) -> State {
    let mut rows = Rows {
        current,
        state: State::new(),
    };
    for mut certificate in list(document, "certificates") {
        let snis = take(&mut certificate, "snis");
        let id = rows.add("certificates", certificate);
        rows.add_all("snis", snis, "certificate", &id);
    }
    for authority in list(document, "ca_certificates") {
        rows.add("ca_certificates", authority);
    }
    for mut consumer in list(document, "consumers") {
        let owned = ["acls", "mtls_auth_credentials", "plugins"]
            .map(|kind| (kind, take(&mut consumer, kind)));
        let id = rows.add("consumers", consumer);
        for (kind, owned) in owned {
            rows.add_all(kind, owned, "consumer", &id);
        }
    }
    for mut service in list(document, "services") {
        if service["client_certificate"].is_string() {
            service["client_certificate"] = json!({"id": service["client_certificate"]});
        }
        let (routes, plugins) = (take(&mut service, "routes"), take(&mut service, "plugins"));
        let id = rows.add("services", service);
        rows.add_all("plugins", plugins, "service", &id);
        for mut route in routes {
            route["service"] = json!({ "id": id });
            rows.add_route(route);
        }
    }
    for route in list(document, "routes") {
        rows.add_route(route);
    }
    for mut upstream in list(document, "upstreams") {
        let targets = take(&mut upstream, "targets");
        let id = rows.add("upstreams", upstream);
        rows.add_all("targets", targets, "upstream", &id);
    }
    for plugin in list(document, "plugins") {
        rows.add("plugins", plugin);
    }
    rows.state
}

fn list(document: &Value, kind: &str) -> Vec<Value> {
    document[kind].as_array().cloned().unwrap_or_default()
}

fn take(row: &mut Value, kind: &str) -> Vec<Value> {
    let taken = row.as_object_mut().expect("a row").remove(kind);
    taken
        .and_then(|taken| taken.as_array().cloned())
        .unwrap_or_default()
}

struct Rows<'a> {
    current: &'a State,
    state: State,
}

impl Rows<'_> {
    fn add_route(&mut self, mut route: Value) {
        let plugins = take(&mut route, "plugins");
        let id = self.add("routes", route);
        self.add_all("plugins", plugins, "route", &id);
    }

    fn add_all(&mut self, kind: &'static str, rows: Vec<Value>, parent: &str, id: &str) {
        for mut row in rows {
            row[parent] = json!({ "id": id });
            self.add(kind, row);
        }
    }

    fn add(&mut self, kind: &'static str, mut row: Value) -> String {
        let id = self.id_of(kind, &row);
        row["id"] = json!(id);
        self.state.entry(kind).or_default().push(row);
        id
    }

    fn id_of(&self, kind: &str, row: &Value) -> String {
        static FRESH: AtomicU32 = AtomicU32::new(100_000);
        if let Some(id) = row["id"].as_str() {
            return id.to_owned();
        }
        let key = natural_key(kind, row);
        let current = rows_of(self.current, kind);
        let same_key = |current: &&Value| key.is_some() && natural_key(kind, current) == key;
        let same_custom_id = |current: &&Value| {
            kind == "consumers"
                && row["custom_id"].is_string()
                && current["custom_id"] == row["custom_id"]
        };
        let mut found = current.iter().find(same_key);
        found = found.or_else(|| current.iter().find(same_custom_id));
        match found {
            Some(current) => current["id"].as_str().expect("an id").to_owned(),
            None => id(FRESH.fetch_add(1, Ordering::Relaxed)),
        }
    }
}
