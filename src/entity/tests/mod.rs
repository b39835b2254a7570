//! KONG.md §1 and §2.5 as tables: what is put in, what comes out.
mod certificates;
mod others;
mod routes;
mod services;

use super::fixtures::*;
use super::validate::{Context, insert, update};
use super::{Config, Entity, Kind, schema};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const ID: &str = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";

fn find(kind: Kind, key: &str) -> Option<Uuid> {
    ((kind, key) == (Kind::Services, "billing")).then(|| ID.parse().unwrap())
}

fn at(now_ms: i64) -> Context<'static> {
    Context {
        now_ms,
        find: &find,
        yaml: false,
        plugins: None,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn accepted(kind: Kind, input: Value) -> Entity {
    match insert(kind, object(input.clone()), &at(NOW_MS)) {
        Ok(row) => row,
        Err(errors) => panic!("{input}: {}", errors.message()),
    }
}

/// The message and the `fields` of a refusal.
fn refused(kind: Kind, input: Value) -> (String, Value) {
    match insert(kind, object(input.clone()), &at(NOW_MS)) {
        Ok(row) => panic!("{input} accepted as {}", Value::Object(row)),
        Err(errors) => (errors.message(), errors.to_json()),
    }
}

fn table(kind: Kind, rows: &[(&str, Value, &str)]) {
    for (section, input, message) in rows {
        let (found, _) = refused(kind, input.clone());
        assert_eq!(&found, message, "{section}: {input}");
    }
}

#[test]
fn patch_merges_records_and_replaces_lists() {
    let ctx = at(NOW_MS + 5_000);
    let patch = |kind, stored: &Entity, patch: Value| update(kind, stored, object(patch), &ctx);
    let service = accepted(
        Kind::Services,
        json!({"url": "http://a/old", "retries": 3, "created_at": 7, "tags": ["x"]}),
    );
    let row = patch(Kind::Services, &service, json!({"url": "https://b"})).unwrap();
    assert_eq!(
        (&row["host"], &row["port"], &row["path"]),
        (&json!("b"), &json!(443), &json!(null))
    );
    assert_eq!(
        (&row["retries"], &row["created_at"]),
        (&json!(3), &json!(7))
    );
    assert_eq!(
        (&row["id"], &row["updated_at"]),
        (&service["id"], &json!(1_798_761_605))
    );
    let row = patch(
        Kind::Services,
        &service,
        json!({"protocol": "https", "tags": null}),
    )
    .unwrap();
    assert_eq!((&row["port"], &row["tags"]), (&json!(80), &json!(null)));
    let plugin = accepted(
        Kind::Plugins,
        json!({"name": "acl", "config": {"allow": ["a", "b"], "hide_groups_header": true}}),
    );
    let row = patch(Kind::Plugins, &plugin, json!({"config": {"allow": ["c"]}})).unwrap();
    assert_eq!(row["config"]["allow"], json!(["c"]));
    assert_eq!(row["config"]["hide_groups_header"], true);
    let id = service["id"].as_str().unwrap().to_uppercase();
    patch(Kind::Services, &service, json!({"id": id})).unwrap();
    let errors = patch(Kind::Services, &service, json!({"id": ID})).unwrap_err();
    assert_eq!(
        errors.message(),
        "schema violation (id: immutable field cannot be updated)"
    );
    let consumer = accepted(Kind::Consumers, json!({"username": "a"}));
    let errors = patch(Kind::Consumers, &consumer, json!({"username": null})).unwrap_err();
    assert_eq!(
        errors.message(),
        "schema violation (when updating, at least one of these fields must be non-empty: 'custom_id', 'username')"
    );
    // §1.2: the new certificate is checked against the stored key.
    let certificate = accepted(Kind::Certificates, json!({"cert": LEAF, "key": LEAF_KEY}));
    let errors = patch(Kind::Certificates, &certificate, json!({"cert": SEC1})).unwrap_err();
    assert_eq!(
        errors.message(),
        "schema violation (certificate does not match key)"
    );
    patch(
        Kind::Certificates,
        &certificate,
        json!({"cert": SEC1, "key": SEC1_KEY}),
    )
    .unwrap();
}

#[test]
fn rows_have_every_field_of_their_schema_and_fit_their_view() {
    let mut config = Config::default();
    let inputs = [
        (Kind::Certificates, json!({"cert": LEAF, "key": LEAF_KEY})),
        (Kind::Snis, json!({"name": "a", "certificate": {"id": ID}})),
        (Kind::CaCertificates, json!({"cert": ROOT})),
        (
            Kind::Services,
            json!({"host": "a", "retries": null, "connect_timeout": null, "read_timeout": null, "write_timeout": null}),
        ),
        (
            Kind::Routes,
            json!({"paths": ["/"], "regex_priority": null, "path_handling": null}),
        ),
        (Kind::Consumers, json!({"username": "a"})),
        (
            Kind::MtlsAuthCredentials,
            json!({"consumer": {"id": ID}, "subject_name": "a"}),
        ),
        (Kind::Acls, json!({"consumer": {"id": ID}, "group": "a"})),
        (Kind::Upstreams, json!({"name": "a", "algorithm": null})),
        (
            Kind::Targets,
            json!({"upstream": {"id": ID}, "target": "a"}),
        ),
        (
            Kind::Plugins,
            json!({"name": "acl", "config": {"allow": ["a"]}}),
        ),
    ];
    assert_eq!(inputs.len(), Kind::ALL.len());
    for (kind, input) in inputs {
        let row = accepted(kind, input);
        let fields = schema::of(kind)
            .fields
            .iter()
            .filter(|field| !field.transient);
        let names: Vec<&str> = fields.map(|field| field.name).collect();
        assert_eq!(
            row.keys().map(String::as_str).collect::<Vec<_>>(),
            names,
            "{kind:?}"
        );
        let id: Uuid = row["id"].as_str().unwrap().parse().unwrap();
        config.insert(kind, id, row);
    }
    crate::declarative::rows_fit(&config);
}

#[test]
fn references_only_point_backwards() {
    for (position, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(schema::of(kind).kind, kind);
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        for (field, to) in schema::of(kind).references() {
            assert!(
                Kind::ALL[..position].contains(&to),
                "{kind:?}.{}",
                field.name
            );
        }
    }
}
