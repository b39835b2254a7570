//! `/schemas` (KONG-CLIENTS.md §5.1): the tables that validate, as JSON. A default that is absent has no key, because
//! clients complete what they compare by these answers.
use super::errors::Failure;
use crate::entity::plugin_schemas::{self, PluginSchema};
use crate::entity::schema::{self, Auto, Choices, EntityCheck, Field, OnDelete, Shape, Then, When};
use crate::entity::{Kind, plugins};
use serde_json::{Map, Value, json};

/// What a name of `/schemas/{name}` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    Entity(Kind),
    /// Tags have a schema and no rows of their own.
    Tags,
}

/// # Errors
/// 404, as of any name that is no entity's.
pub fn named(name: &str) -> Result<Named, Failure> {
    match name {
        "tags" => Ok(Named::Tags),
        name => Kind::from_name(name)
            .map(Named::Entity)
            .ok_or_else(|| Failure::no_entity(name)),
    }
}

/// The plugin of that name. `enabled`: the directive `plugins`; `None`: every one there is.
///
/// # Errors
/// 404.
pub fn plugin_named(
    name: &str,
    enabled: Option<&[String]>,
) -> Result<&'static PluginSchema, Failure> {
    let is_enabled = enabled.is_none_or(|names| names.iter().any(|enabled| enabled == name));
    plugin_schemas::find(name)
        .filter(|_| is_enabled)
        .ok_or_else(|| Failure::no_plugin(name))
}

/// `/schemas/{entity}`.
pub fn entity(named: Named) -> Value {
    match named {
        Named::Tags => json!({
            "entity_checks": [],
            "fields": [
                {"tag": {"type": "string", "required": true}},
                {"entity_name": {"type": "string", "required": true}},
                {"entity_id": {"type": "string", "uuid": true, "required": true}},
            ],
        }),
        Named::Entity(kind) => {
            let schema = schema::of(kind);
            json!({
                "entity_checks": checks(schema.checks),
                "fields": fields(schema.fields),
            })
        }
    }
}

/// `/schemas/plugins/{name}`: the scopes, `protocols` and `config`, which is what a plugin can change of `plugins`.
pub fn plugin(plugin: &PluginSchema) -> Value {
    let table = plugins::fields_of(plugin.name).unwrap_or_default();
    let own = |name: &&str| table.iter().find(|field| field.name == *name).map(member);
    let names = ["consumer", "service", "route", "protocols", "config"];
    json!({
        "entity_checks": checks(plugin.checks),
        "fields": names.iter().filter_map(own).collect::<Vec<_>>(),
    })
}

/// `/plugins/schema/{name}`: the fields of `config` alone.
pub fn plugin_config(plugin: &PluginSchema) -> Value {
    json!({ "fields": fields(plugin.config) })
}

fn fields(table: &[Field]) -> Value {
    table.iter().map(member).collect()
}

/// `{"name": {…}}`
fn member(field: &Field) -> Value {
    Value::Object(Map::from_iter([(field.name.to_owned(), attributes(field))]))
}

fn attributes(field: &Field) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    let is_text = matches!(field.shape, Shape::String);
    match field.shape {
        Shape::String => drop(put("type", "string".into())),
        Shape::Integer => drop(put("type", "integer".into())),
        Shape::Number => drop(put("type", "number".into())),
        Shape::Boolean => drop(put("type", "boolean".into())),
        Shape::Array(of) => {
            put("type", "array".into());
            put("elements", attributes(of));
        }
        Shape::Set(of) => {
            put("type", "set".into());
            put("elements", attributes(of));
        }
        Shape::Map { keys, values } => {
            put("type", "map".into());
            put("keys", attributes(keys));
            put("values", attributes(values));
        }
        Shape::Record(table) => {
            put("type", "record".into());
            put("fields", fields(table));
        }
        Shape::Foreign { to, on_delete } => {
            put("type", "foreign".into());
            put("reference", to.name().into());
            if on_delete == OnDelete::Cascade {
                put("on_delete", "cascade".into());
            }
        }
    }
    if field.must_be_null {
        put("eq", Value::Null);
    }
    if let Some(default) = field.default {
        put("default", default.value());
    }
    match field.one_of {
        Choices::Any => {}
        Choices::Texts(choices) => drop(put("one_of", json!(choices))),
        Choices::Integers(choices) => drop(put("one_of", json!(choices))),
    }
    if let Some((low, high)) = field.between {
        put("between", json!([low, high]));
    }
    // One byte is what each string has at least.
    if let Some(least) = field.len_min.filter(|least| !is_text || *least != 1) {
        put("len_min", least.into());
    }
    match field.auto {
        None | Some(Auto::Computed) => {}
        Some(Auto::Id) => drop(put("auto", true.into())),
        Some(
            Auto::CreatedAt | Auto::UpdatedAt | Auto::CreatedAtFraction | Auto::UpdatedAtFraction,
        ) => {
            put("auto", true.into());
            put("timestamp", true.into());
        }
    }
    for (name, is) in [
        ("required", field.required),
        ("unique", field.unique),
        ("uuid", field.uuid),
        ("transient", field.transient),
        ("referenceable", field.referenceable),
    ] {
        if is {
            put(name, true.into());
        }
    }
    Value::Object(all)
}

/// Rules that are code have no JSON.
fn checks(checks: &[EntityCheck]) -> Value {
    checks.iter().filter_map(check).collect()
}

fn check(check: &EntityCheck) -> Option<Value> {
    Some(match *check {
        EntityCheck::AtLeastOneOf(fields) => json!({ "at_least_one_of": fields }),
        EntityCheck::OnlyOneOf(fields) => json!({ "only_one_of": fields }),
        EntityCheck::AllOrNone(fields) => json!({ "mutually_required": fields }),
        EntityCheck::Distinct(fields) => json!({ "distinct": fields }),
        EntityCheck::ExclusiveSets { field, groups } => {
            json!({ "mutually_exclusive_subsets": { "field": field, "subsets": groups } })
        }
        EntityCheck::Conditional {
            field,
            when: condition,
            then_field,
            then,
            message,
        } => {
            let mut rule = Map::from_iter([
                ("if_field".to_owned(), field.into()),
                ("if_match".to_owned(), when(condition)),
                ("then_field".to_owned(), then_field.into()),
                ("then_match".to_owned(), consequence(then)),
            ]);
            if let Some(message) = message {
                rule.insert("then_err".to_owned(), message.into());
            }
            json!({ "conditional": rule })
        }
        EntityCheck::ConditionalAtLeastOneOf {
            field,
            when: condition,
            then,
            message,
        } => json!({ "conditional_at_least_one_of": {
            "if_field": field,
            "if_match": when(condition),
            "then_at_least_one_of": then,
            "then_err": message,
        } }),
        EntityCheck::Custom { .. } => return None,
    })
}

fn when(when: When) -> Value {
    match when {
        When::Is(text) => json!({ "eq": text }),
        When::OneOf(texts) => json!({ "one_of": texts }),
        When::NotOneOf(texts) => json!({ "not_one_of": texts }),
        When::Contains(text) => json!({ "contains": text }),
        When::ContainsWithout(with, without) => {
            json!({ "contains": with, "not_contains": without })
        }
        When::ContainsAny(texts) => json!({ "contains_any": texts }),
        When::ContainsNone(texts) => json!({ "contains_none": texts }),
    }
}

fn consequence(then: Then) -> Value {
    match then {
        Then::Unset => json!({ "len_max": 0 }),
        Then::Null => json!({ "eq": null }),
        Then::Required => json!({ "required": true }),
        Then::OneOf(choices) => json!({ "one_of": choices }),
        Then::False => json!({ "eq": false }),
    }
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
