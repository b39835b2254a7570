//! Consumers, upstreams and plugins (KONG.md §1.7 to §1.11, §5).
use super::{ID, accepted, refused, table};
use crate::entity::Kind;
use serde_json::{Value, json};

#[test]
fn consumers_acls_and_credentials_follow_kong() {
    table(
        Kind::Consumers,
        &[
            (
                "1.7",
                json!({}),
                "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')",
            ),
            (
                "1.7",
                json!({"username": ""}),
                "schema violation (username: length must be at least 1)",
            ),
        ],
    );
    table(
        Kind::Acls,
        &[
            (
                "1.9",
                json!({}),
                "2 schema violations (consumer: required field missing; group: required field missing)",
            ),
            (
                "1.9",
                json!({"consumer": {"id": ID}, "group": "a", "updated_at": 1}),
                "schema violation (updated_at: unknown field)",
            ),
        ],
    );
    table(
        Kind::MtlsAuthCredentials,
        &[(
            "1.8",
            json!({"consumer": {"id": ID}}),
            "schema violation (subject_name: required field missing)",
        )],
    );
    let row = accepted(
        Kind::MtlsAuthCredentials,
        json!({"consumer": {"id": ID}, "subject_name": "a"}),
    );
    assert_eq!(row["ca_certificate"], json!(null));
    assert!(!row.contains_key("updated_at"));
}

#[test]
fn upstreams_and_targets_follow_kong() {
    table(
        Kind::Upstreams,
        &[
            (
                "1.11",
                json!({"name": "a b"}),
                "schema violation (name: Invalid name ('a b'); must be a valid hostname)",
            ),
            (
                "1.11",
                json!({"name": "1.2.3.4"}),
                "schema violation (name: Invalid name ('1.2.3.4'); no ip addresses allowed)",
            ),
            (
                "1.11",
                json!({"name": "a:80"}),
                "schema violation (name: Invalid name ('a:80'); no port allowed)",
            ),
            (
                "1.11",
                json!({"name": "a", "slots": 9}),
                "schema violation (slots: value should be between 10 and 65536)",
            ),
            (
                "1.11",
                json!({"name": "a", "hash_on": "header"}),
                "2 schema violations (failed conditional validation given value of field 'hash_on'; hash_on_header: required field missing)",
            ),
            (
                "1.11",
                json!({"name": "a", "hash_on": "cookie", "hash_on_cookie": "a <> b"}),
                "schema violation (hash_on_cookie: bad cookie name 'a <> b', allowed characters are A-Z, a-z, 0-9, '_', and '-')",
            ),
            (
                "1.11",
                json!({"name": "a", "healthchecks": {"active": {"timeout": -1, "x": 1}}}),
                "2 schema violations (healthchecks.active.timeout: value should be between 0 and 65535; healthchecks.active.x: unknown field)",
            ),
        ],
    );
    let row = accepted(
        Kind::Upstreams,
        json!({"name": "pool", "healthchecks": {"threshold": 5}}),
    );
    let checks = &row["healthchecks"];
    assert_eq!(
        (&row["algorithm"], &row["slots"]),
        (&json!("round-robin"), &json!(10_000))
    );
    assert_eq!(
        (&checks["threshold"], &checks["active"]["headers"]),
        (&json!(5), &json!(null))
    );
    assert_eq!(
        checks["active"]["healthy"]["http_statuses"],
        json!([200, 302])
    );
    assert_eq!(
        checks["passive"]["unhealthy"]["http_statuses"],
        json!([429, 500, 503])
    );
    let row = accepted(Kind::Upstreams, json!({"name": "pool", "hash_on": "ip"}));
    assert_eq!(row["algorithm"], "consistent-hashing");
    let row = accepted(
        Kind::Upstreams,
        json!({"name": "pool", "hash_on": "ip", "algorithm": "least-connections"}),
    );
    assert_eq!(row["hash_on"], "none");
    for (given, stored) in [
        ("a", "a:8000"),
        ("a:1", "a:1"),
        ("1.2.3.4", "1.2.3.4:8000"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
        ("[::1]:5", "[0000:0000:0000:0000:0000:0000:0000:0001]:5"),
    ] {
        let row = accepted(
            Kind::Targets,
            json!({"target": given, "upstream": {"id": ID}}),
        );
        assert_eq!(
            (&row["target"], &row["weight"]),
            (&json!(stored), &json!(100))
        );
        assert_eq!(row["created_at"].as_f64(), Some(1_798_761_600.0));
    }
    refused(
        Kind::Targets,
        json!({"target": "a b", "upstream": {"id": ID}}),
    );
}

#[test]
fn plugins_follow_their_own_tables() {
    let acl = |config: Value| json!({"name": "acl", "config": config});
    let mtls = |config: Value| json!({"name": "mtls-auth", "config": config});
    let termination = |config: Value| json!({"name": "request-termination", "config": config});
    table(
        Kind::Plugins,
        &[
            (
                "1.10",
                json!({}),
                "schema violation (name: required field missing)",
            ),
            (
                "1.10",
                json!({"name": "x"}),
                "schema violation (name: plugin 'x' not enabled; add it to the 'plugins' configuration property)",
            ),
            (
                "1.10",
                json!({"name": "acl", "config": {"allow": ["a"]}, "consumer": {"id": ID}}),
                "schema violation (consumer: value must be null)",
            ),
            (
                "2.5",
                json!({"name": "acl", "config": {"allow": ["a"]}, "protocols": ["x"]}),
                "schema violation (protocols.1: expected one of: grpc, grpcs, http, https)",
            ),
            (
                "5.8",
                acl(json!({})),
                "schema violation (at least one of these fields must be non-empty: 'config.allow', 'config.deny')",
            ),
            (
                "5.8",
                acl(json!({"allow": ["a"], "deny": ["b"]})),
                "schema violation (only one or none of these fields must be set: 'config.allow', 'config.deny')",
            ),
            (
                "5.8",
                acl(json!({"allow": "a"})),
                "schema violation (config.allow: expected an array)",
            ),
            (
                "5.1",
                mtls(json!({})),
                "schema violation (config.ca_certificates: required field missing)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": []})),
                "schema violation (config.ca_certificates: length must be at least 1)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": [ID], "consumer_by": ["x"]})),
                "schema violation (config.consumer_by.1: expected one of: username, custom_id)",
            ),
            (
                "5.1",
                mtls(json!({"ca_certificates": [ID], "revocation_check_mode": "STRICT"})),
                "schema violation (config.revocation_check_mode: STRICT needs revocation lookups, which this version does not do)",
            ),
            (
                "",
                termination(json!({"status_code": 199})),
                "schema violation (config.status_code: value should be between 200 and 599)",
            ),
            (
                "",
                termination(json!({"status_code": 600})),
                "schema violation (config.status_code: value should be between 200 and 599)",
            ),
            (
                "",
                termination(json!({"echo": true})),
                "schema violation (config.echo: true is not supported; requests are answered without an echo)",
            ),
            (
                "",
                termination(json!({"body": "b", "content_type": "text/plain\r\nSet-Cookie: a=b"})),
                "schema violation (config.content_type: must not contain control characters or outer spaces)",
            ),
            (
                "",
                termination(json!({"message": "a", "body": "b"})),
                "schema violation (config: message cannot be used with content_type or body)",
            ),
            (
                "",
                termination(json!({"content_type": "a"})),
                "schema violation (config: content_type requires a body)",
            ),
        ],
    );
    let row = accepted(
        Kind::Plugins,
        mtls(json!({"ca_certificates": [ID.to_uppercase()]})),
    );
    assert_eq!(
        row["config"],
        json!({
            "anonymous": null, "consumer_by": ["username", "custom_id"], "ca_certificates": [ID], "cache_ttl": 60,
            "skip_consumer_lookup": false, "allow_partial_chain": false, "authenticated_group_by": "CN",
            "revocation_check_mode": "IGNORE_CA_ERROR", "http_timeout": 30000, "cert_cache_ttl": 60000,
            "send_ca_dn": false, "http_proxy_host": null, "http_proxy_port": null, "https_proxy_host": null,
            "https_proxy_port": null, "default_consumer": null, "ssl_verify": true, "san_dirname_matcher": []
        })
    );
    assert_eq!(row["protocols"], json!(["grpc", "grpcs", "http", "https"]));
    let (message, _) = refused(Kind::Plugins, json!({"config": {"allow": ["a"]}}));
    assert_eq!(message, "schema violation (name: required field missing)");
    let row = accepted(
        Kind::Plugins,
        json!({"name": "prometheus", "consumer_group": null, "ordering": null}),
    );
    assert_eq!(row["config"]["per_consumer"], false);
    let row = accepted(
        Kind::Plugins,
        json!({"name": "request-termination", "consumer": {"id": ID}}),
    );
    assert_eq!(row["config"]["status_code"], 503);
}
