//! `flattened_errors`: the tree of errors of a declarative configuration as a list of the entities in error (KONG.md §7.2).

use crate::entity::Kind;
use crate::entity::errors::ENTITY;
use serde_json::{Map, Value, json};

/// `tree` follows `document` (`declarative::Failure::to_json`). What is wrong with the document itself is not in the list.
pub fn flatten(document: &Map<String, Value>, tree: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    if let Value::Object(tree) = tree {
        lists(document, tree, &mut found);
    }
    found
}

/// The lists of entities among the fields of `tree`.
fn lists(parent: &Map<String, Value>, tree: &Map<String, Value>, found: &mut Vec<Value>) {
    for (name, errors) in tree {
        let (Some(kind), Some(rows)) = (
            Kind::from_name(name),
            parent.get(name).and_then(Value::as_array),
        ) else {
            continue;
        };
        for (row, errors) in rows.iter().zip(errors.as_array().into_iter().flatten()) {
            if let (Value::Object(row), Value::Object(errors)) = (row, errors) {
                entity(kind, row, errors, found);
            }
        }
    }
}

fn entity(kind: Kind, row: &Map<String, Value>, tree: &Map<String, Value>, found: &mut Vec<Value>) {
    let is_nested = |name: &String| {
        let below = row.get(name).and_then(Value::as_array);
        Kind::from_name(name).is_some()
            && below.is_some_and(|rows| rows.iter().any(Value::is_object))
    };
    let mut errors = Vec::new();
    for (name, node) in tree.iter().filter(|(name, _)| !is_nested(name)) {
        describe(name, node, &mut errors);
    }
    if !errors.is_empty() {
        let own: Map<String, Value> = row
            .iter()
            .filter(|(name, _)| !is_nested(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let named = ["name", "username", "instance_name", "target", "group"];
        let name = named.iter().find_map(|name| row.get(*name)?.as_str());
        found.push(json!({
            "entity_type": singular(kind),
            "entity_id": row.get("id"),
            "entity_name": name,
            "entity_tags": row.get("tags"),
            "entity": own,
            "errors": errors,
        }));
    }
    lists(row, tree, found);
}

/// One entry for each text, its field as a dotted path; the texts of a list's elements share one.
fn describe(path: &str, node: &Value, errors: &mut Vec<Value>) {
    match node {
        Value::String(text) => {
            errors.push(json!({ "type": "field", "field": path, "message": text }));
        }
        Value::Array(items) if path == ENTITY => {
            for text in items.iter().filter(|item| item.is_string()) {
                errors.push(json!({ "type": "entity", "message": text }));
            }
        }
        Value::Array(items) => {
            let texts: Vec<&Value> = items.iter().filter(|item| item.is_string()).collect();
            if !texts.is_empty() {
                errors.push(json!({ "type": "field", "field": path, "messages": texts }));
            }
            for (index, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| !item.is_string())
            {
                describe(&format!("{path}.{}", index + 1), item, errors);
            }
        }
        Value::Object(fields) => {
            for (name, node) in fields {
                let is_entity = name == ENTITY;
                let below = format!("{path}.{name}");
                describe(if is_entity { ENTITY } else { &below }, node, errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificates => "certificate",
        Kind::Snis => "sni",
        Kind::CaCertificates => "ca_certificate",
        Kind::Services => "service",
        Kind::Routes => "route",
        Kind::Consumers => "consumer",
        Kind::MtlsAuthCredentials => "mtls_auth_credential",
        Kind::Acls => "acl",
        Kind::Upstreams => "upstream",
        Kind::Targets => "target",
        Kind::Plugins => "plugin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entity_in_error_is_listed_with_its_errors() {
        let document = json!({
            "_format_version": "3.0",
            "services": [
                {"name": "sound", "host": "a"},
                {
                    "name": "s", "id": "1", "tags": ["t"], "ca_certificates": ["x"], "port": "80",
                    "routes": [{"name": "r", "hosts": ["a", "*"]}],
                },
            ],
            "consumers": [{"username": "u", "custom": 1}],
        });
        let tree = json!({
            "_transform": "expected a boolean",
            "services": [null, {
                "port": "expected an integer",
                "@entity": ["together wrong"],
                "ca_certificates": ["expected a valid UUID"],
                "routes": [{"hosts": [null, "invalid hostname: *"]}],
            }],
            "consumers": [{"custom": {"deep": "unknown field"}}],
        });
        let expected = json!([
            {
                "entity_type": "service", "entity_id": "1", "entity_name": "s", "entity_tags": ["t"],
                "entity": {
                    "name": "s", "id": "1", "tags": ["t"], "ca_certificates": ["x"], "port": "80",
                },
                "errors": [
                    {"type": "field", "field": "port", "message": "expected an integer"},
                    {"type": "entity", "message": "together wrong"},
                    {"type": "field", "field": "ca_certificates", "messages": ["expected a valid UUID"]},
                ],
            },
            {
                "entity_type": "route", "entity_id": null, "entity_name": "r", "entity_tags": null,
                "entity": {"name": "r", "hosts": ["a", "*"]},
                "errors": [{"type": "field", "field": "hosts", "messages": ["invalid hostname: *"]}],
            },
            {
                "entity_type": "consumer", "entity_id": null, "entity_name": "u", "entity_tags": null,
                "entity": {"username": "u", "custom": 1},
                "errors": [{"type": "field", "field": "custom.deep", "message": "unknown field"}],
            },
        ]);
        let document = document.as_object().expect("a document");
        assert_eq!(Value::Array(flatten(document, &tree)), expected);
    }
}
