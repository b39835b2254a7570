//! KONG-CLIENTS.md §5.1 and §1.5: the shape of schemas, and that a client which completes by them gets what is stored.
use super::*;
use crate::entity::fixtures::{LEAF, LEAF_KEY, NOW_MS, ROOT};
use crate::entity::validate::{Context, insert};
use std::collections::BTreeMap;

const ID: &str = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";

fn stored(kind: Kind, input: &Value) -> Value {
    let ctx = Context {
        now_ms: NOW_MS,
        find: &|_, _| None,
        yaml: false,
        plugins: None,
    };
    let input = input.as_object().unwrap().clone();
    match insert(kind, input, &ctx) {
        Ok(row) => Value::Object(row),
        Err(errors) => panic!("{kind:?}: {}", errors.message()),
    }
}

/// The attributes of each field of a schema.
fn members(fields: &Value) -> BTreeMap<String, Value> {
    let fields = fields.as_array().unwrap().iter();
    fields
        .map(|field| {
            let field = field.as_object().unwrap();
            assert_eq!(field.len(), 1, "5.1: one name for each field");
            let (name, attributes) = field.iter().next().unwrap();
            (name.clone(), attributes.clone())
        })
        .collect()
}

// ── decK's filling (KONG-CLIENTS.md §1.5), by JSON alone ──

/// Plain entities: leaf defaults fill what is absent; of a record only the leaves.
fn fill_entity(fields: &Value, object: &mut Map<String, Value>) {
    for (name, attributes) in members(fields) {
        if attributes["type"] == "record" {
            let inner = object.entry(name).or_insert_with(|| json!({}));
            fill_entity(&attributes["fields"], inner.as_object_mut().unwrap());
        } else if let Some(default) = attributes.get("default") {
            object.entry(name).or_insert_with(|| default.clone());
        }
    }
}

/// Plugin configurations: with no default, an explicit null.
fn fill_config(fields: &Value, object: &mut Map<String, Value>) {
    for (name, attributes) in members(fields) {
        let is_record = attributes["type"] == "record";
        let elements = attributes.get("elements").cloned().unwrap_or_default();
        if let Some(given) = object.get_mut(&name) {
            match given {
                Value::Object(inner) if is_record => fill_config(&attributes["fields"], inner),
                Value::Array(items) if elements["type"] == "record" => {
                    for item in items.iter_mut().filter_map(Value::as_object_mut) {
                        fill_config(&elements["fields"], item);
                    }
                }
                _ => {}
            }
            continue;
        }
        let value = if let Some(default) = attributes.get("default") {
            default.clone()
        } else if is_record && attributes["required"] == true {
            let mut inner = Map::new();
            fill_config(&attributes["fields"], &mut inner);
            Value::Object(inner)
        } else {
            Value::Null
        };
        object.insert(name, value);
    }
}

/// Absent and null are one thing where decK compares whole structs.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        value => value,
    }
}

#[test]
fn an_entity_completed_by_its_schema_is_what_is_stored() {
    for (section, kind, sparse) in [
        (
            "1.5",
            Kind::Certificates,
            json!({"cert": LEAF, "key": LEAF_KEY}),
        ),
        (
            "1.5",
            Kind::Snis,
            json!({"name": "a.test", "certificate": {"id": ID}}),
        ),
        ("1.5", Kind::CaCertificates, json!({"cert": ROOT})),
        ("1.5", Kind::Services, json!({"host": "a"})),
        (
            "1.5",
            Kind::Services,
            json!({"host": "a", "retries": 0, "enabled": false, "tags": ["x"]}),
        ),
        ("1.5", Kind::Routes, json!({"paths": ["/a"]})),
        (
            "1.5",
            Kind::Routes,
            json!({"snis": ["a"], "protocols": ["https"], "strip_path": false}),
        ),
        ("1.5", Kind::Consumers, json!({"username": "a"})),
        (
            "1.5",
            Kind::MtlsAuthCredentials,
            json!({"consumer": {"id": ID}, "subject_name": "a"}),
        ),
        (
            "1.5",
            Kind::Acls,
            json!({"consumer": {"id": ID}, "group": "a"}),
        ),
        ("1.5", Kind::Upstreams, json!({"name": "a"})),
        (
            "1.5",
            Kind::Upstreams,
            json!({"name": "a", "healthchecks": {"active": {"type": "https", "healthy": {"interval": 5}}}}),
        ),
        (
            "1.5",
            Kind::Targets,
            json!({"target": "a:80", "upstream": {"id": ID}}),
        ),
        (
            "1.5",
            Kind::Plugins,
            json!({"name": "acl", "config": {"allow": ["a"]}}),
        ),
    ] {
        let mut filled = sparse.as_object().unwrap().clone();
        fill_entity(&entity(Named::Entity(kind))["fields"], &mut filled);
        let mut stored = without_nulls(stored(kind, &sparse));
        let row = stored.as_object_mut().unwrap();
        for auto in ["id", "created_at", "updated_at", "cert_digest"] {
            row.remove(auto);
        }
        if kind == Kind::Plugins {
            row.remove("config");
            filled.remove("config");
        }
        assert_eq!(Value::Object(filled), stored, "{section}: {kind:?}");
    }
    for kind in Kind::ALL {
        let names: Vec<String> = members(&entity(Named::Entity(kind))["fields"])
            .into_keys()
            .collect();
        let mut own: Vec<&str> = schema::of(kind).fields.iter().map(|f| f.name).collect();
        own.sort_unstable();
        assert_eq!(names, own, "5.1: every field of {kind:?}");
    }
}

#[test]
fn a_plugin_completed_by_its_schema_is_what_is_stored() {
    let sparse = |name: &str| match name {
        "mtls-auth" => vec![
            json!({"ca_certificates": [ID]}),
            json!({"ca_certificates": [ID], "consumer_by": [], "cache_ttl": 1}),
        ],
        "acl" => vec![
            json!({"allow": ["a"]}),
            json!({"deny": ["a"], "hide_groups_header": true}),
        ],
        "request-termination" => vec![json!({}), json!({"status_code": 404, "message": "no"})],
        "prometheus" => vec![json!({}), json!({"per_consumer": true})],
        other => panic!("no case for the plugin {other}"),
    };
    for table in plugin_schemas::PLUGINS {
        let fields = members(&plugin(table)["fields"]);
        for config in sparse(table.name) {
            let mut filled = config.as_object().unwrap().clone();
            fill_config(&fields["config"]["fields"], &mut filled);
            let stored = stored(
                Kind::Plugins,
                &json!({"name": table.name, "config": config}),
            );
            assert_eq!(
                stored["config"],
                Value::Object(filled),
                "1.5: {}",
                table.name
            );
            let protocols = fields["protocols"]["default"].clone();
            assert_eq!(stored["protocols"], protocols, "1.5: {}", table.name);
            assert_eq!(stored["enabled"], true, "1.5: {}", table.name);
        }
    }
}

#[test]
fn attributes_are_written_as_clients_read_them() {
    let services = members(&entity(Named::Entity(Kind::Services))["fields"]);
    let routes = members(&entity(Named::Entity(Kind::Routes))["fields"]);
    let targets = members(&entity(Named::Entity(Kind::Targets))["fields"]);
    let plugins = members(&entity(Named::Entity(Kind::Plugins))["fields"]);
    let acl = members(&plugin(plugin_named("acl", None).unwrap())["fields"]);
    let mtls = members(&plugin(plugin_named("mtls-auth", None).unwrap())["fields"]);
    let mtls = members(&mtls["config"]["fields"]);
    let foreign = json!({"type": "foreign", "reference": "services", "on_delete": "cascade"});
    let http = ["grpc", "grpcs", "http", "https"];
    for (section, found, expected) in [
        (
            "5.1 id",
            &services["id"],
            json!({"type": "string", "auto": true, "uuid": true}),
        ),
        (
            "5.1 time",
            &services["created_at"],
            json!({"type": "integer", "auto": true, "timestamp": true}),
        ),
        (
            "5.1 time",
            &targets["created_at"],
            json!({"type": "number", "auto": true, "timestamp": true}),
        ),
        (
            "5.1 name",
            &services["name"],
            json!({"type": "string", "unique": true}),
        ),
        (
            "5.1 range",
            &services["port"],
            json!({"type": "integer", "default": 80, "between": [0, 65535], "required": true}),
        ),
        (
            "5.1 no default",
            &services["tls_verify"],
            json!({"type": "boolean"}),
        ),
        (
            "5.1 array",
            &services["ca_certificates"],
            json!({"type": "array", "elements": {"type": "string", "uuid": true}}),
        ),
        (
            "5.1 foreign",
            &routes["service"],
            json!({"type": "foreign", "reference": "services"}),
        ),
        (
            "5.1 map",
            &routes["headers"],
            json!({"type": "map", "keys": {"type": "string"}, "values": {"type": "array", "len_min": 1, "elements": {"type": "string"}}}),
        ),
        ("5.1 foreign", &plugins["service"], foreign.clone()),
        ("5.1 scope", &acl["service"], foreign),
        (
            "5.1 forbidden scope",
            &acl["consumer"],
            json!({"type": "foreign", "reference": "consumers", "on_delete": "cascade", "eq": null}),
        ),
        (
            "5.1 protocols",
            &acl["protocols"],
            json!({"type": "set", "required": true, "default": http, "elements": {"type": "string", "one_of": http}}),
        ),
        (
            "5.1 empty default",
            &mtls["san_dirname_matcher"],
            json!({"type": "array", "default": [], "elements": {"type": "string"}}),
        ),
        (
            "5.1 list",
            &mtls["ca_certificates"],
            json!({"type": "array", "required": true, "len_min": 1, "elements": {"type": "string", "uuid": true}}),
        ),
    ] {
        assert_eq!(found, &expected, "{section}");
    }
    let consumers = entity(Named::Entity(Kind::Consumers));
    let expected = json!([{"at_least_one_of": ["custom_id", "username"]}]);
    assert_eq!(consumers["entity_checks"], expected, "5.1");
    let keys: Vec<String> = members(&entity(Named::Tags)["fields"])
        .into_keys()
        .collect();
    assert_eq!(keys, ["entity_id", "entity_name", "tag"], "2.4");
}

#[test]
fn names_that_have_no_schema_are_404() {
    for name in ["consumer_group_plugins", "vaults", "x", "plugin"] {
        let failure = named(name).unwrap_err();
        assert_eq!(failure, Failure::no_entity(name), "2.8: {name}");
    }
    let enabled = ["acl".to_owned()];
    for (section, name, found) in [
        ("2.8", "acl", true),
        ("2.8 not enabled", "mtls-auth", false),
        ("2.8", "x", false),
    ] {
        let plugin = plugin_named(name, Some(&enabled));
        assert_eq!(plugin.is_ok(), found, "{section}: {name}");
        if let Err(failure) = plugin {
            assert_eq!(failure, Failure::no_plugin(name), "{section}");
        }
    }
    let config = members(&plugin_config(plugin_named("acl", None).unwrap())["fields"]);
    assert!(config.contains_key("allow"), "2.1 /plugins/schema/acl");
}
