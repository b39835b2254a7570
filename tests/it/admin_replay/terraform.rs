//! Kong's Terraform provider takes one status for each verb and no other (KONG-CLIENTS.md §4.1); the older provider
//! creates with POST and updates with PATCH (§4.2).

use crate::support::admin::Answer;
use crate::support::{Admin, Ca, Setup, Value, json};

struct Provider(Admin);

impl Provider {
    #[track_caller]
    fn call(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let content = (!body.is_null()).then(|| body.to_string());
        let mut fields = vec![
            ("Kong-Admin-Token", "secret"),
            ("Accept", "application/json"),
        ];
        if content.is_some() {
            fields.push(("Content-Type", "application/json"));
        }
        let answer = self.0.send(
            method,
            target,
            &fields,
            content.as_deref().map(str::as_bytes),
        );
        if answer.status() != 204 {
            let kind = answer.header("Content-Type").unwrap_or_default();
            assert!(
                kind.starts_with("application/json"),
                "{}: {kind}",
                answer.request
            );
        }
        answer
    }

    /// Creates, and gives what the state file keeps.
    #[track_caller]
    fn create(&mut self, collection: &str, body: &Value) -> Value {
        self.call("POST", collection, body).assert(201)
    }
}

/// One resource: its collection, what creates it, what a later plan replaces it with (`Null`: it is never updated).
struct Resource {
    collection: String,
    create: Value,
    update: Value,
}

/// Create, refresh, update, refresh, and again what an `apply` without changes finds: nothing.
#[track_caller]
fn live(provider: &mut Provider, resource: &Resource) -> String {
    let created = provider.create(&resource.collection, &resource.create);
    let target = format!(
        "{}/{}",
        resource.collection,
        created["id"].as_str().expect("an id")
    );
    let read = provider.call("GET", &target, &Value::Null).assert(200);
    assert_eq!(read, created, "{target}");
    if !resource.update.is_null() {
        let updated = provider.call("PUT", &target, &resource.update).assert(200);
        for (name, value) in resource.update.as_object().expect("an object") {
            assert_eq!(updated[name], *value, "{target}: {name} drifts");
        }
        let read = provider.call("GET", &target, &Value::Null).assert(200);
        assert_eq!(read, updated, "{target}");
    }
    target
}

#[test]
fn each_resource_lives_by_the_exact_statuses_below_the_workspace() {
    let gateway = Setup::admin().start();
    let mut provider = Provider(gateway.admin());
    let ca = Ca::root("terraform root");
    let (pair, renewed) = (ca.server(&["a.test"]), ca.server(&["b.test"]));
    let id_of = |target: &str| target.rsplit_once('/').expect("a path").1.to_owned();
    let resource = |collection: &str, create: Value, update: Value| Resource {
        collection: collection.to_owned(),
        create,
        update,
    };

    let authority = live(
        &mut provider,
        &resource(
            "/ca_certificates",
            json!({ "cert": ca.pem }),
            json!({"cert": ca.pem, "tags": ["tf"]}),
        ),
    );
    let certificate = live(
        &mut provider,
        &resource(
            "/default/certificates",
            json!({"cert": pair.cert_pem, "key": pair.key_pem, "snis": ["a.test"]}),
            json!({"cert": renewed.cert_pem, "key": renewed.key_pem, "snis": ["a.test", "b.test"]}),
        ),
    );
    let certificate_id = json!({"id": id_of(&certificate)});
    let sni = live(
        &mut provider,
        &resource(
            "/default/snis",
            json!({"name": "c.test", "certificate": certificate_id}),
            json!({"name": "d.test", "certificate": certificate_id}),
        ),
    );
    let service = live(
        &mut provider,
        &resource(
            "/default/services",
            json!({"name": "s", "protocol": "https", "host": "h.test", "port": 443, "client_certificate": certificate_id}),
            json!({"name": "s", "protocol": "http", "host": "i.test", "port": 81, "ca_certificates": null}),
        ),
    );
    let service_id = json!({"id": id_of(&service)});
    let route = live(
        &mut provider,
        &resource(
            "/default/routes",
            json!({"name": "r", "paths": ["/a"], "service": service_id}),
            json!({"name": "r", "paths": ["/b"], "service": service_id, "strip_path": false}),
        ),
    );
    let consumer = live(
        &mut provider,
        &resource(
            "/default/consumers",
            json!({"username": "u"}),
            json!({"username": "u", "custom_id": "c"}),
        ),
    );
    let upstream = live(
        &mut provider,
        &resource(
            "/default/upstreams",
            json!({"name": "u.test"}),
            json!({"name": "u.test", "slots": 20}),
        ),
    );
    let plugin = live(
        &mut provider,
        &resource(
            "/default/plugins",
            json!({"name": "mtls-auth", "route": {"id": id_of(&route)}, "config": {"ca_certificates": [id_of(&authority)]}}),
            json!({"name": "mtls-auth", "enabled": false, "config": mtls_auth_in_full(&id_of(&authority))}),
        ),
    );
    // Never updated: replaced.
    let owned = [
        (
            format!("{upstream}/targets"),
            json!({"target": "t.test:80", "weight": 5}),
        ),
        (format!("{consumer}/acls"), json!({"group": "g"})),
        (
            format!("{consumer}/mtls-auth"),
            json!({"subject_name": "n", "ca_certificate": {"id": id_of(&authority)}}),
        ),
    ]
    .map(|(collection, create)| live(&mut provider, &resource(&collection, create, Value::Null)));

    let in_order = [plugin, route, service, sni, certificate];
    let all = owned
        .into_iter()
        .chain(in_order)
        .chain([consumer, upstream, authority]);
    for target in all {
        let deleted = provider.call("DELETE", &target, &Value::Null);
        assert_eq!(deleted.status(), 204, "{target}: {}", deleted.text());
        provider.call("GET", &target, &Value::Null).assert(404);
        let again = provider.call("DELETE", &target, &Value::Null).status();
        assert!(matches!(again, 204 | 404), "{target}: {again}");
    }
}

/// The provider sends a plugin's config in full.
fn mtls_auth_in_full(authority: &str) -> Value {
    json!({
        "allow_partial_chain": false, "anonymous": null, "authenticated_group_by": "DN", "ca_certificates": [authority],
        "cache_ttl": 10, "cert_cache_ttl": 1000, "consumer_by": ["username"], "default_consumer": null,
        "http_proxy_host": null, "http_proxy_port": null, "http_timeout": 3000, "https_proxy_host": null,
        "https_proxy_port": null, "revocation_check_mode": "SKIP", "san_dirname_matcher": [], "send_ca_dn": true,
        "skip_consumer_lookup": true, "ssl_verify": false,
    })
}

#[test]
fn a_failed_apply_reads_the_reason() {
    let gateway = Setup::admin().start();
    let mut provider = Provider(gateway.admin());
    provider.create("/default/services", &json!({"name": "s", "host": "h.test"}));
    for (section, collection, body, status, message) in [
        (
            "2.5 code 5",
            "/default/services",
            json!({"name": "s", "host": "h.test"}),
            409,
            "UNIQUE violation detected on '{name=\"s\"}'",
        ),
        (
            "2.5 code 2",
            "/default/services",
            json!({"name": "t"}),
            400,
            "schema violation (host: required field missing)",
        ),
        (
            "1.13",
            "/other/services",
            json!({"host": "h.test"}),
            404,
            "Not found",
        ),
    ] {
        let answer = provider.call("POST", collection, &body);
        assert_eq!(answer.assert(status)["message"], message, "{section}");
    }
}

/// §4.2: what comes back is what was sent, or each plan finds a drift.
#[test]
fn the_older_provider_finds_its_certificate_as_it_sent_it() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let pair = Ca::root("older root").server(&["a.test"]);
    let sent = json!({"cert": pair.cert_pem, "key": pair.key_pem, "snis": ["a.test", "b.test"], "tags": ["x"]});
    let created = admin.have("/certificates", &sent);
    let target = format!("/certificates/{}", created["id"].as_str().expect("an id"));
    let read = admin.get(&target).assert(200);
    for name in ["cert", "key", "snis", "tags"] {
        assert_eq!(read[name], sent[name], "{name}");
    }
    let patched = admin
        .patch(&target, &json!({"snis": ["c.test"], "tags": []}))
        .assert(200);
    assert_eq!(
        (&patched["snis"], &patched["tags"], &patched["key"]),
        (&json!(["c.test"]), &json!([]), &sent["key"])
    );
    admin.delete(&target).assert(204);
    admin.get(&target).assert(404);
    admin.get("/snis/c.test").assert(404);
}
