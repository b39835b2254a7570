//! What the entity tables accept compiles: a row that is stored and cannot be served would have to be taken back, and where
//! that fails keeps the next start from starting.

use super::*;
use crate::entity::validate::{self, Context};
use crate::entity::{Entity, fixtures};

fn accepted(kind: Kind, number: u128, input: Value) -> Option<Entity> {
    let Value::Object(mut input) = input else {
        panic!("{input} is not an object");
    };
    input.insert("id".into(), id(number).to_string().into());
    let ctx = Context {
        now_ms: fixtures::NOW_MS,
        find: &|_, _| None,
        yaml: false,
        plugins: None,
    };
    validate::insert(kind, input, &ctx).ok()
}

#[test]
fn a_row_that_is_accepted_is_never_refused_by_the_compilation() {
    let route = Kind::Routes;
    let service = Kind::Services;
    let plugin = Kind::Plugins;
    let large = format!("~*{}", "[a-z0-9]{1000}".repeat(20));
    let mut rows = vec![
        (route, json!({"paths": ["/a?b"]})),
        (route, json!({"paths": ["/a#b", "/c"]})),
        (route, json!({"paths": ["~/a?b#c"]})),
        (route, json!({"paths": [""]})),
        (route, json!({"paths": ["~"]})),
        (route, json!({"paths": ["~/(?x) # a"]})),
        (route, json!({"paths": []})),
        (route, json!({"hosts": [], "methods": [], "headers": {}})),
        (route, json!({"headers": {}})),
        (route, json!({"methods": [""]})),
        (route, json!({"hosts": [""]})),
        (route, json!({"hosts": ["*"]})),
        (route, json!({"hosts": ["*."]})),
        (route, json!({"hosts": ["a.*:0"]})),
        (
            route,
            json!({"hosts": ["[::1]:80", "127.0.0.1", "a.test."]}),
        ),
        (route, json!({"snis": ["*"], "protocols": ["https"]})),
        (
            route,
            json!({"snis": ["*foo.test"], "protocols": ["https"]}),
        ),
        (route, json!({"snis": ["foo*"], "protocols": ["https"]})),
        (route, json!({"snis": ["a.test."], "protocols": ["https"]})),
        (route, json!({"headers": {"": ["a"]}})),
        (route, json!({"headers": {"a": [""]}})),
        (route, json!({"headers": {"a": [large]}})),
        (
            route,
            json!({"headers": {"a": [format!("~*{}", "\\w".repeat(300))]}}),
        ),
        (
            route,
            json!({"headers": {"a": [format!("~*(?:{}){{4000}}", "abcdefghijkl")]}}),
        ),
    ];
    let numbers = [
        json!(0),
        json!(-1),
        json!(1),
        json!(80.0),
        json!(1e3),
        json!(1e300),
        json!(0.5),
        json!(-1.0),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(9_223_372_036_854_775_807_u64 + 1),
        Value::Null,
    ];
    for number in numbers {
        for field in [
            "created_at",
            "updated_at",
            "regex_priority",
            "https_redirect_status_code",
        ] {
            rows.push((route, json!({"paths": ["/"], field: number})));
        }
        for field in [
            "port",
            "retries",
            "connect_timeout",
            "read_timeout",
            "write_timeout",
            "tls_verify_depth",
            "created_at",
        ] {
            rows.push((
                service,
                json!({"host": "h.test", "protocol": "https", field: number}),
            ));
        }
        let config = json!({"status_code": number});
        rows.push((
            plugin,
            json!({"name": "request-termination", "config": config}),
        ));
        for field in [
            "cache_ttl",
            "cert_cache_ttl",
            "http_timeout",
            "http_proxy_port",
        ] {
            let config = json!({"ca_certificates": [id(9)], field: number});
            rows.push((plugin, json!({"name": "mtls-auth", "config": config})));
        }
        rows.push((
            Kind::Consumers,
            json!({"username": "u", "created_at": number}),
        ));
    }
    for config in [
        json!({"echo": true}),
        json!({"trigger": ""}),
        json!({"trigger": "a b"}),
        json!({"message": "m", "body": "b"}),
        json!({"message": "m", "content_type": "t"}),
        json!({"content_type": "t"}),
        json!({"content_type": "a\r\nb", "body": "b"}),
        json!({"content_type": " a", "body": "b"}),
        json!({"message": "a\u{0}\r\n"}),
        json!({"body": ""}),
    ] {
        rows.push((
            plugin,
            json!({"name": "request-termination", "config": config}),
        ));
    }
    for config in [
        json!({}),
        json!({"allow": []}),
        json!({"allow": [""]}),
        json!({"allow": ["a"], "deny": []}),
        json!({"allow": ["a"], "deny": ["b"]}),
        json!({"allow": [], "deny": []}),
        json!({"deny": ["a"], "include_consumer_groups": true}),
    ] {
        rows.push((plugin, json!({"name": "acl", "config": config})));
    }
    let cas = json!([id(9)]);
    for config in [
        json!({"ca_certificates": []}),
        json!({"ca_certificates": [id(9), id(9)]}),
        json!({"ca_certificates": [id(9).to_string().to_uppercase()]}),
        json!({"ca_certificates": cas, "consumer_by": []}),
        json!({"ca_certificates": cas, "consumer_by": null}),
        json!({"ca_certificates": cas, "anonymous": ""}),
        json!({"ca_certificates": cas, "default_consumer": "x"}),
        json!({"ca_certificates": cas, "authenticated_group_by": null}),
        json!({"ca_certificates": cas, "authenticated_group_by": "CN"}),
        json!({"ca_certificates": cas, "authenticated_group_by": "DN"}),
        json!({"ca_certificates": cas, "revocation_check_mode": null}),
        json!({"ca_certificates": cas, "send_ca_dn": null, "skip_consumer_lookup": null}),
        json!({"ca_certificates": cas, "san_dirname_matcher": [""]}),
    ] {
        rows.push((plugin, json!({"name": "mtls-auth", "config": config})));
    }
    rows.push((plugin, json!({"name": "prometheus"})));
    for name in ["mtls-auth", "acl", "prometheus"] {
        let config = match name {
            "mtls-auth" => json!({"ca_certificates": cas}),
            "acl" => json!({"allow": ["a"]}),
            _ => json!({}),
        };
        let consumer = json!({"id": id(8)});
        rows.push((
            plugin,
            json!({"name": name, "config": config, "consumer": consumer}),
        ));
    }
    let mut refused = Vec::new();
    let mut count = 0;
    for (kind, input) in rows {
        let Some(row) = accepted(kind, 1, input.clone()) else {
            continue;
        };
        count += 1;
        let mut config = Config::default();
        config.insert(kind, id(1), row);
        let globals = globals();
        let compiled = Compiler::new(globals.clone()).full(&Recorder::default(), &config, &globals);
        refused.extend(
            compiled
                .err()
                .map(|problems| format!("{kind:?} {input}: {problems:?}")),
        );
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(count > 50, "{count} were accepted");
}
