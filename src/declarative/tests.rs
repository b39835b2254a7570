//! KONG.md §7.1 as tables: a file, its rows or its errors. Long because the section is: one table per rule, read by look-up.
use super::{Failure, Loaded, Options, Secret, check_fuzz, dump, parse};
use crate::entity::fixtures::*;
use crate::entity::{Entity, Kind};
use serde_json::{Value, json};

const ID: &str = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";

fn secrets(secret: Secret<'_>) -> Result<String, String> {
    match secret {
        Secret::File("certs/leaf.crt") => Ok(LEAF.into()),
        Secret::File("certs/leaf.key") => Ok(LEAF_KEY.into()),
        Secret::File(_) => Err("no such file".into()),
        Secret::Env("LEAF_KEY") => Ok(LEAF_KEY.into()),
        Secret::Env("ROUND") => Ok("{vault://env/leaf-key}".into()),
        Secret::Env("BUNDLE") => Ok(json!({"key": LEAF_KEY}).to_string()),
        Secret::Env(_) => Err("not set".into()),
    }
}

fn read_at(text: &str, now_ms: i64) -> Result<Loaded, Failure> {
    parse(
        text,
        &Options {
            now_ms,
            secrets: &secrets,
            plugins: None,
        },
    )
}

fn loaded(text: &str) -> Loaded {
    match read_at(text, NOW_MS) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{text}\n{failure}"),
    }
}

fn file(mut body: Value) -> String {
    body["_format_version"] = "3.0".into();
    body.to_string()
}

/// The lines of a refusal.
fn refused(text: &str) -> Vec<String> {
    match read_at(text, NOW_MS) {
        Ok(loaded) => panic!("{text} accepted as {}", dump(&loaded.config)),
        Err(failure) => failure.lines().to_vec(),
    }
}

fn only(loaded: &Loaded, kind: Kind) -> Entity {
    let rows: Vec<_> = loaded.config.table(kind).collect();
    assert_eq!(rows.len(), 1, "{kind:?}");
    (**rows[0].1).clone()
}

#[test]
fn the_head_is_checked() {
    for (text, line) in [
        ("services: []", "_format_version: required field missing"),
        ("_format_version: 3.0", "_format_version: expected a string"),
        (
            "_format_version: '4.0'",
            "_format_version: expected one of: 1.1, 2.1, 3.0",
        ),
        (
            "_format_version: '3.0'\n_transform: 1",
            "_transform: expected a boolean",
        ),
        (
            "_format_version: '3.0'\n_workspace: other",
            "_workspace: expected one of: default",
        ),
        (
            "_format_version: '3.0'\nservice: []",
            "service: unknown field",
        ),
        (
            "_format_version: '3.0'\nservices: {}",
            "services: expected an array",
        ),
        (
            "_format_version: '3.0'\nservices: [x]",
            "services[1]: expected a record",
        ),
        (
            "_format_version: '3.0'\nconsumer_groups: [{name: a}]",
            "consumer_groups: entities of type 'consumer_groups' are not supported by Sallyport; remove them",
        ),
        (
            "_format_version: '3.0'\nconsumers: [{username: a, keyauth_credentials: [{key: a}]}]",
            "consumers[1] (username a).keyauth_credentials: entities of type 'keyauth_credentials' are not supported by Sallyport; remove them",
        ),
    ] {
        assert_eq!(refused(text), [line], "{text}");
    }
    for text in [
        "_format_version: '3.0'\n_transform: false\n_comment: c\n_ignore: [1]\n_workspace: default\n_info: {select_tags: [a]}",
        "_format_version: \"1.1\"\nconsumer_groups: []\nvaults:\nworkspaces: [{name: default}]",
        "{\"_format_version\": \"3.0\"}",
        "{_format_version: '3.0', services: []}",
    ] {
        assert_eq!(loaded(text).config.tables.len(), 0, "{text}");
    }
}

#[test]
fn syntax_errors_carry_their_line_and_none_of_the_text() {
    for text in [
        "_format_version: '3.0'\nservices:\n- key: s3cr3t\n  - x: [\n",
        "{\"_format_version\": \"3.0\",\n \"services\": [ s3cr3t ",
        "_format_version: '3.0'\ncertificates:\n- key: \"s3cr3t\n",
    ] {
        let lines = refused(text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("line "), "{lines:?}");
        assert!(!lines[0].contains("s3cr3t"), "{lines:?}");
    }
    assert_eq!(
        refused("- a"),
        ["expected a mapping with _format_version and entities"]
    );
    let same_key = "_format_version: '3.0'\nservices: []\nservices: []";
    assert_eq!(
        refused(same_key),
        ["line 3, column 1: YAML: duplicate mapping key: services"]
    );
    let found = refused("_format_version: '3.0'\nservices:\n- name: a\n bad: x\n");
    assert!(
        found[0].starts_with("line 4, column 2: YAML: ") && !found[0].contains(" at line 4"),
        "{found:?}"
    );
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb =
        "_format_version: '3.0'\n_comment: x\n_ignore:\n- &a0 [x, x, x, x, x, x, x, x]\n"
            .to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("- &a{level} [{}]\n", vec![alias; 8].join(", ")));
    }
    refused(&bomb);
    refused(&format!(
        "_format_version: '3.0'\n_ignore: {}{}",
        "[".repeat(500),
        "]".repeat(500)
    ));
    refused(&format!(
        "{{\"_format_version\": \"3.0\", \"_ignore\": {}",
        "[".repeat(100_000)
    ));
}

#[test]
fn the_example_of_kong_md_loads_whole() {
    let text = format!(
        r#"
_format_version: "3.0"
_transform: true
services:
- name: billing
  url: https://billing.internal/v1
  client_certificate: 7a0d0000-0000-4000-8000-000000000001
  ca_certificates: [ {ID} ]
  routes:
  - name: billing
    hosts: [ api.example.com ]
    snis: [ api.example.com ]
    plugins:
    - name: mtls-auth
      config: {{ ca_certificates: [ {ID} ] }}
certificates:
- id: 7a0d0000-0000-4000-8000-000000000001
  cert: {}
  key: {}
  snis: [ {{name: api.example.com}}, other.example.com ]
ca_certificates: [ {{id: {ID}, cert: {} }} ]
consumers:
- username: acme-corp
  acls: [ {{group: gold}} ]
  mtls_auth_credentials: [ {{subject_name: client.acme.test, ca_certificate: {ID}}} ]
upstreams: [ {{name: pool, targets: [ {{target: 10.0.0.1:8443}} ]}} ]
plugins: [ {{name: prometheus}} ]
"#,
        json!(LEAF),
        json!(LEAF_KEY),
        json!(ROOT)
    );
    let all = loaded(&text);
    super::rows_fit(&all.config);
    let service = only(&all, Kind::Services);
    let route = only(&all, Kind::Routes);
    assert_eq!(
        service["client_certificate"]["id"],
        "7a0d0000-0000-4000-8000-000000000001"
    );
    assert_eq!(route["service"], json!({"id": service["id"]}));
    let consumer = only(&all, Kind::Consumers);
    assert_eq!(
        only(&all, Kind::Acls)["consumer"],
        json!({"id": consumer["id"]})
    );
    assert_eq!(
        only(&all, Kind::MtlsAuthCredentials)["ca_certificate"],
        json!({"id": ID})
    );
    assert_eq!(all.config.table(Kind::Snis).count(), 2);
    assert_eq!(only(&all, Kind::Targets)["target"], "10.0.0.1:8443");
    let plugins: Vec<&Value> = all
        .config
        .table(Kind::Plugins)
        .map(|(_, row)| &row["route"])
        .collect();
    assert!(plugins.contains(&&json!({"id": route["id"]})) && plugins.contains(&&json!(null)));
    // One warning: mtls-auth's revocation mode.
    let warnings: Vec<String> = all.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "services[1] (name billing).routes[1] (name billing).plugins[1] (name mtls-auth).config.revocation_check_mode: IGNORE_CA_ERROR is stored, but this version does not look revocation up yet"
        ]
    );
    // Ids made from keys survive a reload, and a dump reads the same.
    assert_eq!(loaded(&text).config, all.config);
    assert_eq!(loaded(&dump(&all.config).to_string()).config, all.config);
}

#[test]
fn nesting_works_in_every_combination() {
    for (parent, child, body) in [
        (
            "services",
            "routes",
            json!({"name": "p", "host": "a", "routes": [{"paths": ["/"]}]}),
        ),
        (
            "services",
            "plugins",
            json!({"name": "p", "host": "a", "plugins": [{"name": "prometheus"}]}),
        ),
        (
            "routes",
            "plugins",
            json!({"name": "p", "paths": ["/"], "plugins": [{"name": "prometheus"}]}),
        ),
        (
            "consumers",
            "plugins",
            json!({"username": "p", "plugins": [{"name": "request-termination"}]}),
        ),
        (
            "consumers",
            "acls",
            json!({"username": "p", "acls": [{"group": "g"}]}),
        ),
        (
            "consumers",
            "mtls_auth_credentials",
            json!({"username": "p", "mtls_auth_credentials": [{"subject_name": "s"}]}),
        ),
        (
            "ca_certificates",
            "mtls_auth_credentials",
            json!({"cert": ROOT, "mtls_auth_credentials": [{"subject_name": "s", "consumer": "bob"}]}),
        ),
        (
            "certificates",
            "snis",
            json!({"cert": LEAF, "key": LEAF_KEY, "snis": ["s"]}),
        ),
        (
            "certificates",
            "services",
            json!({"cert": LEAF, "key": LEAF_KEY, "services": [{"url": "https://a"}]}),
        ),
        (
            "certificates",
            "upstreams",
            json!({"cert": LEAF, "key": LEAF_KEY, "upstreams": [{"name": "u"}]}),
        ),
        (
            "upstreams",
            "targets",
            json!({"name": "p", "targets": [{"target": "a"}]}),
        ),
    ] {
        let mut whole = json!({parent: [body]});
        if parent != "consumers" {
            whole["consumers"] = json!([{"username": "bob"}]);
        }
        let all = loaded(&file(whole));
        let kind = Kind::from_name(child).unwrap();
        let of = Kind::from_name(parent).unwrap();
        let row = only(&all, kind);
        let id = only(&all, of)["id"].clone();
        let filled = row.values().any(|value| value.get("id") == Some(&id));
        assert!(filled, "{child} in {parent}: {}", Value::Object(row));
    }
}

#[test]
fn references_resolve_by_id_and_by_key_or_are_refused() {
    for service in [
        json!("billing"),
        json!({"name": "billing"}),
        json!(ID),
        json!({"id": ID}),
    ] {
        let text = file(json!({
            "routes": [{"paths": ["/"], "service": service}],
            "services": [{"name": "billing", "id": ID, "host": "a"}]
        }));
        assert_eq!(
            only(&loaded(&text), Kind::Routes)["service"],
            json!({"id": ID})
        );
    }
    let text = file(json!({
        "routes": [{"name": "r", "paths": ["/"], "service": "x"}],
        "services": [{"host": "a", "protocol": "https", "client_certificate": {"id": ID}, "ca_certificates": [ID]}],
        "plugins": [{"name": "mtls-auth", "config": {"ca_certificates": [ID]}}],
    }));
    let missing_ca =
        format!("invalid reference 'ca_certificates: {ID}' (no such entry in 'ca_certificates')");
    let missing_cert =
        format!("invalid reference 'client_certificate: {ID}' (no such entry in 'certificates')");
    let failure = read_at(&text, NOW_MS).unwrap_err();
    let mut lines = failure.lines().to_vec();
    lines.sort();
    // A row with an error of its own is not looked at any further.
    assert_eq!(
        lines,
        [
            format!("plugins[1] (name mtls-auth).config.ca_certificates.1: {missing_ca}"),
            "routes[1] (name r): invalid reference 'service: x' (no such entry in 'services')"
                .into(),
            format!("services[1].ca_certificates.1: {missing_ca}"),
            format!("services[1]: {missing_cert}"),
        ]
    );
    assert_eq!(
        failure.to_json(),
        json!({
            "plugins": [{"config": {"ca_certificates": [missing_ca]}}],
            "routes": [{"@entity": ["invalid reference 'service: x' (no such entry in 'services')"]}],
            "services": [{"@entity": [missing_cert], "ca_certificates": [missing_ca]}],
        })
    );
    let text = file(json!({
        "services": [{"name": "a", "host": "a", "routes": [{"paths": ["/"], "service": "a"}]}]
    }));
    loaded(&text);
    let text = file(json!({
        "services": [{"name": "b", "host": "a"}, {"name": "a", "host": "a", "routes": [{"paths": ["/"], "service": "b"}]}]
    }));
    assert_eq!(
        refused(&text),
        [
            "services[2] (name a).routes[1].service: refers to another entity than the one it is nested in"
        ]
    );
}

#[test]
fn a_credential_names_its_ca_by_id_or_by_pem() {
    let with = |ca: Value| {
        file(json!({
            "ca_certificates": [{"id": ID, "cert": ROOT}],
            "consumers": [{"username": "c", "mtls_auth_credentials": [{"subject_name": "s", "ca_certificate": ca}]}],
        }))
    };
    for ca in [json!(ID), json!({"id": ID}), json!(ROOT)] {
        assert_eq!(
            only(&loaded(&with(ca)), Kind::MtlsAuthCredentials)["ca_certificate"],
            json!({"id": ID})
        );
    }
    let lines = refused(&with(json!(ROOT2)));
    assert!(
        lines[0].contains("invalid reference 'ca_certificate: -----BEGIN"),
        "{lines:?}"
    );
}

#[test]
fn what_is_unique_is_declared_once() {
    let twice = |kind: &str, body: Value| json!({kind: [body.clone(), body]});
    let plain = |kind: &str, field: &str, value: &str| {
        format!(
            "uniqueness violation: '{kind}' entity with {field} set to '{value}' already declared"
        )
    };
    let text = file(twice("services", json!({"name": "a", "host": "a"})));
    assert_eq!(
        refused(&text),
        [format!(
            "services[2] (name a): {}",
            plain("services", "name", "a")
        )]
    );
    let text = file(twice("consumers", json!({"custom_id": "a"})));
    assert_eq!(
        refused(&text),
        [format!(
            "consumers[2] (custom_id a): {}",
            plain("consumers", "custom_id", "a")
        )]
    );
    let text = file(twice("services", json!({"id": ID, "host": "a"})));
    assert_eq!(
        refused(&text),
        [format!(
            "services[2] (id {ID}): {}",
            plain("services", "primary key", ID)
        )]
    );
    let lines = refused(&file(twice("ca_certificates", json!({"cert": ROOT}))));
    assert!(
        lines[0].contains("entity with cert_digest set to"),
        "{lines:?}"
    );
    let text = file(json!({"certificates": [
        {"cert": LEAF, "key": LEAF_KEY, "snis": ["a.example.com", "A.example.com"]}
    ]}));
    assert!(
        refused(&text)[0].starts_with("certificates[1].snis[2] (name A.example.com): uniqueness")
    );
    let text = file(twice("plugins", json!({"name": "prometheus"})));
    assert_eq!(
        refused(&text),
        [
            "plugins[2] (name prometheus): uniqueness violation: 'plugins' entity with {consumer=null,name=\"prometheus\",route=null,service=null} already declared"
        ]
    );
    let text =
        file(json!({"consumers": [{"username": "a", "acls": [{"group": "g"}, {"group": "g"}]}]}));
    assert!(refused(&text)[0].contains("'acls' entity with {consumer={id="));
    let text = file(
        json!({"upstreams": [{"name": "a", "targets": [{"target": "t"}, {"target": "t:8000"}]}]}),
    );
    assert!(refused(&text)[0].contains("'targets' entity with {upstream={id="));
    // §1.2: equal certificates may be stored twice; what has no key is told apart.
    let all = loaded(&file(twice(
        "certificates",
        json!({"cert": LEAF, "key": LEAF_KEY}),
    )));
    assert_eq!(all.config.table(Kind::Certificates).count(), 2);
    let all = loaded(&file(
        json!({"consumers": [{"username": "a"}, {"custom_id": "a"}]}),
    ));
    assert_eq!(all.config.table(Kind::Consumers).count(), 2);
    // An id that was made for "a" and is now given to "b" does not swallow a new "a".
    let made = only(
        &loaded(&file(json!({"consumers": [{"username": "a"}]}))),
        Kind::Consumers,
    )["id"]
        .clone();
    let text = file(json!({"consumers": [{"id": made, "username": "b"}, {"username": "a"}]}));
    assert_eq!(loaded(&text).config.table(Kind::Consumers).count(), 2);
    let all = loaded(&file(twice("routes", json!({"paths": ["/"]}))));
    assert_eq!(all.config.table(Kind::Routes).count(), 2);
}

#[test]
fn every_error_is_reported_with_its_place() {
    let text = file(json!({
        "services": [
            {"name": "ok", "host": "a"},
            {"name": "billing", "port": "80", "host": "a", "routes": [{"hosts": ["a", "*"]}]},
        ],
        "consumers": [{}],
        "plugins": [{"name": "key-auth"}],
    }));
    let failure = read_at(&text, NOW_MS).unwrap_err();
    let mut lines = failure.lines().to_vec();
    lines.sort();
    let wildcard = "invalid wildcard: must be placed at leftmost or rightmost label";
    let plugin = "plugin 'key-auth' not enabled; add it to the 'plugins' configuration property";
    let consumer = "at least one of these fields must be non-empty: 'custom_id', 'username'";
    assert_eq!(
        lines,
        [
            format!("consumers[1]: {consumer}"),
            format!("plugins[1] (name key-auth).name: {plugin}"),
            "services[2] (name billing).port: expected an integer".into(),
            format!("services[2] (name billing).routes[1].hosts.2: {wildcard}"),
        ]
    );
    assert_eq!(
        failure.to_json(),
        json!({
            "consumers": [{"@entity": [consumer]}],
            "plugins": [{"name": plugin}],
            "services": [null, {"port": "expected an integer", "routes": [{"hosts": [null, wildcard]}]}],
        })
    );
}

#[test]
fn plugins_without_a_protocol_of_their_scope_are_warned_about() {
    let plugin = json!([{"name": "prometheus", "protocols": ["tcp"]}]);
    let route = json!({"name": "r", "paths": ["/"], "plugins": plugin});
    let service = json!({"host": "a", "plugins": plugin, "routes": [{"paths": ["/"]}]});
    for (config, expected) in [
        (
            json!({"routes": [route]}),
            &["must match the associated route's protocols"][..],
        ),
        (
            json!({"services": [service]}),
            &["must match the protocols of at least one route pointing to this Plugin's service"],
        ),
        (json!({"services": [{"host": "a", "plugins": plugin}]}), &[]),
    ] {
        let found = loaded(&file(config)).warnings;
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (line, text) in found.iter().zip(expected) {
            let text = format!(".protocols: {text}; the plugin runs on them all the same");
            assert!(line.ends_with(&text), "{line}");
        }
    }
}

#[test]
fn secrets_are_read_or_named() {
    for (cert, key) in [
        (
            json!({"file": "certs/leaf.crt"}),
            json!({"file": "certs/leaf.key"}),
        ),
        (
            json!("{file: certs/leaf.crt}"),
            json!("{vault://env/leaf-key}"),
        ),
        (json!(LEAF), json!("{vault://env/bundle/key}")),
    ] {
        let text = file(json!({"certificates": [{"cert": cert, "key": key}]}));
        let row = only(&loaded(&text), Kind::Certificates);
        assert_eq!(
            (&row["cert"], &row["key"]),
            (&json!(LEAF), &json!(LEAF_KEY))
        );
    }
    for (key, reason) in [
        (json!({"file": "x"}), "{file: x}: no such file"),
        (json!("{vault://env/other}"), "{vault://env/other}: not set"),
        (
            json!("{vault://hcv/x}"),
            "{vault://hcv/x}: only the vault 'env' is supported",
        ),
        (
            json!("{vault://env/bundle/none}"),
            "{vault://env/bundle/none}: the variable BUNDLE holds no text at 'none'",
        ),
        (
            json!("{vault://env/leaf-key/x}"),
            "{vault://env/leaf-key/x}: the variable LEAF_KEY does not hold JSON",
        ),
        (
            json!("{vault://env/round}"),
            "it points to another reference",
        ),
    ] {
        let text = file(json!({"certificates": [{"id": ID, "cert": LEAF, "key": key}]}));
        assert_eq!(
            refused(&text),
            [format!(
                "certificates[1] (id {ID}).key: cannot be resolved: {reason}"
            )]
        );
    }
}

#[test]
fn old_formats_mark_their_regexes() {
    let text = "_format_version: '2.1'\nroutes: [{paths: ['/a', '/b/\\d+$', '~/c']}]";
    assert_eq!(
        only(&loaded(text), Kind::Routes)["paths"],
        json!(["/a", "~/b/\\d+$", "~/c"])
    );
    let text = text.replace("2.1", "3.0");
    assert!(refused(&text)[0].contains("characters outside of the reserved list"));
}

#[test]
fn yaml_words_are_booleans_where_one_is_wanted() {
    let text = "_format_version: '3.0'\nservices: [{name: y, host: no, enabled: off}]";
    let row = only(&loaded(text), Kind::Services);
    assert_eq!(
        (&row["name"], &row["host"], &row["enabled"]),
        (&json!("y"), &json!("no"), &json!(false))
    );
    for text in [
        text.replace("off", "n"),
        file(json!({"services": [{"name": "y", "host": "a", "enabled": "off"}]})),
    ] {
        assert_eq!(
            refused(&text),
            ["services[1] (name y).enabled: expected a boolean"]
        );
    }
}

#[test]
fn plugin_configs_are_shared() {
    let text = "_format_version: '3.0'\n_plugin_configs: {t: {status_code: 404, message: x}}\nplugins: [{name: request-termination, _config: t, config: {message: y}}]";
    let row = only(&loaded(text), Kind::Plugins);
    assert_eq!(
        (&row["config"]["status_code"], &row["config"]["message"]),
        (&json!(404), &json!("y"))
    );
    let text = text.replace("_config: t,", "_config: u,");
    assert!(refused(&text)[0].ends_with("._config: no such entry in '_plugin_configs': u"));
}

#[test]
fn warnings_name_what_deserves_a_look() {
    let texts = |loaded: Loaded| -> Vec<String> {
        loaded.warnings.iter().map(ToString::to_string).collect()
    };
    let certificate = |cert: String, key: &str| {
        file(json!({"certificates": [{"id": ID, "cert": cert, "key": key}]}))
    };
    let at = format!("certificates[1] (id {ID}).cert");
    for (text, expected) in [
        // Leaf, then its issuer: in order and complete.
        (certificate(format!("{SEC1}{INTER}"), SEC1_KEY), vec![]),
        (
            certificate(format!("{SEC1}{ROOT}{INTER}"), SEC1_KEY),
            vec![
                format!("{at}: the chain is out of order: certificate 2 (CN=Fixture Root) is not the issuer of the one before it"),
                format!("{at}: the chain is out of order: certificate 3 (CN=inter.example.com) is not the issuer of the one before it"),
            ],
        ),
        (
            certificate(SEC1.into(), SEC1_KEY),
            vec![format!("{at}: the chain may be incomplete: it holds the leaf alone, and its issuer is none of the ca_certificates; add the intermediate certificates unless the issuer is a root")],
        ),
        (
            file(json!({"ca_certificates": [{"id": ID, "cert": WEAK_ROOT}]})),
            vec![format!("ca_certificates[1] (id {ID}).cert: the certificate has a weak key: RSA of 1024 bits, 2048 are the least")],
        ),
        (
            file(json!({"routes": [{"name": "r", "snis": [ID]}]})),
            vec![format!("routes[1] (name r).snis: '{ID}' looks like an id; snis of a route are host names, so this matches no TLS request")],
        ),
        (
            file(json!({"services": [{"name": "s", "url": "https://a", "tls_verify": false, "tls_verify_depth": 7}]})),
            vec![
                "services[1] (name s).tls_verify: the certificate of the upstream is not verified: anyone on the path can answer in its place".to_owned(),
                "services[1] (name s).tls_verify_depth: 7 is accepted, but at most 6 intermediate certificates are followed".to_owned(),
            ],
        ),
        (
            file(json!({"services": [{"name": "s", "protocol": "tcp", "host": "a"}], "routes": [{"name": "r", "protocols": ["grpc", "grpcs"], "paths": ["/"]}]})),
            vec![
                "services[1] (name s).protocol: services of protocol 'tcp' are kept but not yet served; requests get 503".to_owned(),
                "routes[1] (name r).protocols: routes of protocol 'grpc' and 'grpcs' are kept but not yet served; they match nothing".to_owned(),
            ],
        ),
        (
            "{_format_version: '3.0', _info: {defaults: {service: {port: 1}}}}".to_owned(),
            vec!["_info.defaults: decK applies these before it sends a file; read directly they have no effect".to_owned()],
        ),
    ] {
        assert_eq!(texts(loaded(&text)), expected, "{text}");
    }
    let plugin = json!({"name": "mtls-auth", "config": {
        "ca_certificates": [ID], "anonymous": "bob", "default_consumer": "nobody", "revocation_check_mode": "SKIP"
    }});
    let text = file(json!({
        "ca_certificates": [{"id": ID, "cert": ROOT}], "consumers": [{"username": "bob"}], "plugins": [plugin]
    }));
    assert_eq!(
        texts(loaded(&text)),
        [
            "plugins[1] (name mtls-auth).config.revocation_check_mode: SKIP is stored, but this version does not look revocation up yet",
            "plugins[1] (name mtls-auth).config.default_consumer: 'nobody' is neither the id nor the username of a consumer: such requests end in 500"
        ]
    );
    let text = certificate(format!("{SEC1}{INTER}"), SEC1_KEY);
    let late = texts(read_at(&text, LATER_MS).unwrap());
    assert_eq!(late[0], format!("{at}: the certificate has expired"));
    // 20 days before the end of INTER, whose end is the later one.
    let end = crate::entity::pem::written(&crate::entity::pem::certificates(INTER).unwrap()[0])
        .unwrap()
        .not_after;
    let soon = texts(read_at(&text, (end - 20 * 86_400) * 1000).unwrap());
    assert!(
        soon.iter().any(|line| line.ends_with("expires in 20 days")),
        "{soon:?}"
    );
    let early = texts(read_at(&text, 1000).unwrap());
    assert_eq!(early[0], format!("{at}: the certificate is not valid yet"));
}

#[test]
fn large_files_are_read_in_order_and_whole() {
    // Enough for several threads; the error is in the last one.
    let services: Vec<Value> = (0..2000)
        .map(|n| json!({"name": format!("s{n}"), "host": "a"}))
        .collect();
    let mut body = json!({"services": services});
    assert_eq!(
        loaded(&file(body.clone()))
            .config
            .table(Kind::Services)
            .count(),
        2000
    );
    body["services"][1999]["port"] = "x".into();
    assert_eq!(
        refused(&file(body)),
        ["services[2000] (name s1999).port: expected an integer"]
    );
}

#[test]
fn the_corpus_keeps_what_the_fuzz_target_asserts() {
    let files = corpus("declarative");
    assert!(files.len() >= 30, "{}", files.len());
    for (name, bytes) in files {
        // The name says which it is.
        let valid = check_fuzz(&bytes);
        assert_eq!(valid, name.starts_with("valid"), "{name}");
    }
}

#[test]
#[ignore = "for its length: tests/run --long"]
fn a_hundred_thousand_certificates_are_read() {
    for (cert, key) in [(LEAF, LEAF_KEY), (PKCS1, PKCS1_KEY)] {
        let block = |text: &str| {
            text.lines()
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        };
        let (cert, key) = (block(cert), block(key));
        let mut text = "_format_version: '3.0'\ncertificates:\n".to_owned();
        for n in 0..100_000 {
            text.push_str(&format!(
                "- cert: |\n{cert}  key: |\n{key}  snis: [{{name: n{n}.example.com}}]\n"
            ));
        }
        let start = std::time::Instant::now();
        let document = super::document::read(&text).unwrap();
        eprintln!("{} MB, document {:?}", text.len() >> 20, start.elapsed());
        drop(document);
        let start = std::time::Instant::now();
        let all = loaded(&text);
        eprintln!("whole {:?}", start.elapsed());
        assert_eq!(all.config.table(Kind::Snis).count(), 100_000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        eprintln!(
            "{:?}",
            status.lines().find(|line| line.starts_with("VmHWM"))
        );
    }
}

#[test]
fn a_plugin_outside_the_directive_plugins_is_refused_in_kongs_words() {
    let text = file(json!({"plugins": [
        {"name": "acl", "config": {"allow": ["gold"]}},
        {"name": "request-termination"},
    ]}));
    let named = ["acl".to_owned()];
    let read = |plugins| {
        let options = Options {
            now_ms: NOW_MS,
            secrets: &secrets,
            plugins,
        };
        parse(&text, &options)
            .map(|_| ())
            .map_err(|failure| failure.lines().to_vec())
    };
    assert_eq!(read(None), Ok(()));
    let lines = read(Some(&named[..])).expect_err("refused");
    // KONG.md §1.10
    let expected =
        "plugin 'request-termination' not enabled; add it to the 'plugins' configuration property";
    assert!(
        lines.len() == 1 && lines[0].ends_with(expected),
        "{lines:?}"
    );
    assert_eq!(read(Some(&[])).expect_err("refused").len(), 2);
}

#[test]
fn no_part_of_a_key_is_in_an_error() {
    // A key cut short, a key in the place of a certificate, and a key in a field that is none.
    let body = LEAF_KEY.lines().nth(1).expect("base64").to_owned();
    let cut: String = LEAF_KEY.chars().take(LEAF_KEY.len() / 2).collect();
    let texts = [
        json!({"certificates": [{"cert": LEAF, "key": cut}]}),
        json!({"certificates": [{"cert": LEAF_KEY, "key": LEAF}]}),
        json!({"certificates": [{"cert": LEAF, "key": body}]}),
        json!({"ca_certificates": [{"cert": LEAF_KEY}]}),
        json!({"certificates": [{"cert": LEAF, "key": [LEAF_KEY]}]}),
        json!({"certificates": [{"cert": LEAF, "key": LEAF_KEY, "key_alt": LEAF_KEY}]}),
    ];
    for content in texts {
        let failure = match read_at(&file(content.clone()), NOW_MS) {
            Err(failure) => failure,
            Ok(_) => panic!("accepted: {content}"),
        };
        for line in failure.lines() {
            assert!(!line.contains(&body[..16]), "{line}");
        }
    }
}
