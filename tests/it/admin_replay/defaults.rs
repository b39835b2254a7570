//! How decK completes what a file leaves out, from `/schemas` (KONG-CLIENTS.md §1.5), written anew from that section.

use crate::support::{Value, json};
use serde_json::Map;

/// Name and attributes of each field of a schema, or of a record in it.
pub fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let list = schema["fields"].as_array().expect("an array of fields");
    list.iter().map(|field| {
        let members = field.as_object().expect("an object");
        assert_eq!(members.len(), 1, "§5.1: one key each: {field}");
        members.iter().next().expect("a member")
    })
}

/// Attributes of one field.
pub fn field<'a>(schema: &'a Value, name: &str) -> &'a Value {
    let found = fields(schema).find(|(field, _)| *field == name);
    found
        .unwrap_or_else(|| panic!("no field {name} in {schema}"))
        .1
}

/// Rows that are no plugins: leaf defaults alone, records are descended into whatever their own default says.
pub fn complete_row(row: &mut Value, schema: &Value) {
    let row = row.as_object_mut().expect("an object");
    for (name, attributes) in fields(schema) {
        let value = row.entry(name.as_str()).or_insert(Value::Null);
        if attributes["type"] == "record" {
            if value.is_null() {
                *value = json!({});
            }
            complete_row(value, attributes);
        } else if value.is_null()
            && let Some(default) = attributes.get("default")
        {
            *value = default.clone();
        }
    }
}

/// A plugin: `protocols`, `enabled`, and a `config` with every field of the schema.
pub fn complete_plugin(plugin: &mut Value, schema: &Value) {
    if plugin["protocols"].is_null() {
        plugin["protocols"] = field(schema, "protocols")["default"].clone();
    }
    if plugin["enabled"].is_null() {
        plugin["enabled"] = json!(true);
    }
    let given = plugin["config"].as_object().cloned().unwrap_or_default();
    plugin["config"] = complete_config(given, field(schema, "config"));
}

fn complete_config(mut config: Map<String, Value>, record: &Value) -> Value {
    for (name, attributes) in fields(record) {
        let given = config.remove(name).unwrap_or(Value::Null);
        let value = complete_value(given, attributes);
        config.insert(name.clone(), value);
    }
    Value::Object(config)
}

fn complete_value(given: Value, attributes: &Value) -> Value {
    let default = attributes.get("default").cloned();
    match (attributes["type"].as_str(), given) {
        (Some("record"), Value::Object(part)) => complete_config(part, attributes),
        (Some("record"), _) => match default {
            Some(default) => complete_value(default, attributes),
            None if attributes["required"] == true => complete_config(Map::new(), attributes),
            None => Value::Null,
        },
        (Some("array" | "set"), Value::Array(elements)) => elements
            .into_iter()
            .map(|element| match &element {
                Value::Object(_) => complete_value(element, &attributes["elements"]),
                _ => element,
            })
            .collect(),
        (_, Value::Null) => default.unwrap_or(Value::Null),
        (_, given) => given,
    }
}

/// `set` fields of a plugin's config compare sorted, numbers as floats.
pub fn comparable_config(config: &mut Value, record: &Value) {
    for (name, attributes) in fields(record) {
        match (attributes["type"].as_str(), &mut config[name.as_str()]) {
            (Some("set"), Value::Array(elements)) => sort(elements),
            (Some("record"), value @ Value::Object(_)) => comparable_config(value, attributes),
            _ => {}
        }
    }
    numbers_as_floats(config);
}

fn numbers_as_floats(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(elements) => elements.iter_mut().for_each(numbers_as_floats),
        Value::Object(members) => members.values_mut().for_each(numbers_as_floats),
        _ => {}
    }
}

pub fn sort(elements: &mut [Value]) {
    elements.sort_by_key(Value::to_string);
}

/// A nil pointer of a Go struct is the same whether its key was null or absent; an empty struct is one of nils.
pub fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.values_mut().for_each(without_nulls);
        members.retain(|_, value| !value.is_null() && *value != json!({}));
    }
}

/// The rules of §1.5 themselves, or a fault in them would hide one of the server.
#[test]
fn completion_follows_section_1_5() {
    let schema = json!({"fields": [
        {"consumer": {"type": "foreign"}},
        {"protocols": {"type": "set", "default": ["http"]}},
        {"config": {"type": "record", "fields": [
            {"leaf": {"type": "integer", "default": 1}},
            {"none": {"type": "string"}},
            {"map": {"type": "map"}},
            {"list": {"type": "array", "default": []}},
            {"required": {"type": "record", "required": true, "fields": [{"a": {"type": "integer", "default": 2}}]}},
            {"optional": {"type": "record", "fields": [{"a": {"type": "integer", "default": 2}}]}},
            {"own": {"type": "record", "default": {"a": 9}, "fields": [{"a": {"type": "integer", "default": 2}}, {"b": {"type": "string"}}]}},
            {"records": {"type": "array", "elements": {"type": "record", "fields": [{"a": {"type": "integer", "default": 2}}]}}},
        ]}},
    ]});
    let config = |given: Value| {
        let mut plugin = json!({"name": "x", "config": given});
        complete_plugin(&mut plugin, &schema);
        assert_eq!(
            (&plugin["protocols"], &plugin["enabled"]),
            (&json!(["http"]), &json!(true))
        );
        plugin["config"].clone()
    };
    let bare = json!({
        "leaf": 1, "none": null, "map": null, "list": [], "required": {"a": 2}, "optional": null,
        "own": {"a": 9, "b": null}, "records": null,
    });
    assert_eq!(config(Value::Null), bare);
    let given = json!({"leaf": 5, "optional": {}, "own": {"b": "c"}, "records": [{}]});
    let completed = json!({
        "leaf": 5, "none": null, "map": null, "list": [], "required": {"a": 2}, "optional": {"a": 2},
        "own": {"a": 2, "b": "c"}, "records": [{"a": 2}],
    });
    assert_eq!(config(given), completed);
    let schema = json!({"fields": [
        {"a": {"type": "integer", "default": 7}},
        {"r": {"type": "record", "default": {"x": 1}, "fields": [{"x": {"type": "integer", "default": 3}}, {"y": {"type": "string"}}]}},
    ]});
    let mut row = json!({"r": {"y": "given"}});
    complete_row(&mut row, &schema);
    assert_eq!(row, json!({"a": 7, "r": {"x": 3, "y": "given"}}));
}
