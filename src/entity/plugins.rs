//! `plugins` (KONG.md §1.10). The plugin's own table (`plugin_schemas`) replaces `config`, and may narrow
//! `protocols` and forbid scopes.
use super::schema::{Field, Literal, OnDelete, Schema, Shape, common};
use super::{Entity, Kind, checks, plugin_schemas};
use serde_json::{Map, Value};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Plugins,
    fields: &[
        common::ID,
        Field::string("name").required(),
        Field::string("instance_name")
            .unique()
            .check(checks::utf8_name),
        common::CREATED_AT,
        common::UPDATED_AT,
        Field::foreign("route", Kind::Routes, OnDelete::Cascade),
        Field::foreign("service", Kind::Services, OnDelete::Cascade),
        Field::foreign("consumer", Kind::Consumers, OnDelete::Cascade),
        Field::record("config", &[]).required(),
        protocols(ALL_PROTOCOLS),
        Field::boolean("enabled")
            .required()
            .default(Literal::Bool(true)),
        common::TAGS,
    ],
    endpoint_key: Some("instance_name"),
    // Key order is the one the message of a violation shows.
    unique_together: &[&["consumer", "name", "route", "service"]],
    checks: &[],
    shorthands: &[],
    prepare: Some(drop_foreign_nulls),
    finish: None,
};

const ALL_PROTOCOLS: &Field = &Field::string("").one_of(super::services::PROTOCOLS);

const fn protocols(elements: &'static Field) -> Field {
    Field::set("protocols", elements)
        .required()
        .default(Literal::Texts(&["grpc", "grpcs", "http", "https"]))
}

/// Fields of other editions, which decK writes as null into its files.
fn drop_foreign_nulls(input: &mut Map<String, Value>) {
    for name in ["consumer_group", "ordering", "condition"] {
        if input.get(name).is_some_and(Value::is_null) {
            input.shift_remove(name);
        }
    }
}

/// The table for the plugin of that name; `None`: not enabled here.
pub fn fields_of(name: &str) -> Option<Vec<Field>> {
    let plugin = plugin_schemas::find(name)?;
    let narrow = |field: &Field| match field.name {
        "config" => Field {
            shape: Shape::Record(plugin.config),
            ..*field
        },
        "protocols" => protocols(plugin.protocols),
        "consumer" if !plugin.consumer_scope => field.null_only(),
        _ => *field,
    };
    Some(SCHEMA.fields.iter().map(narrow).collect())
}

pub fn not_enabled(name: &str) -> String {
    format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property")
}

/// Whether a plugin shares a protocol with its route, or with one of the routes of its service.
///
/// `routes` are those of the scope; a service without routes passes. The error is for `protocols`.
pub fn check_protocols<'a>(
    plugin: &Entity,
    routes: impl IntoIterator<Item = &'a Entity>,
) -> Result<(), &'static str> {
    let own = texts(plugin, "protocols");
    let mut routes = routes.into_iter().peekable();
    if routes.peek().is_none()
        || routes.any(|route| texts(route, "protocols").iter().any(|p| own.contains(p)))
    {
        return Ok(());
    }
    Err(match plugin.get("route") {
        Some(Value::Object(_)) => "must match the associated route's protocols",
        _ => "must match the protocols of at least one route pointing to this Plugin's service",
    })
}

fn texts<'a>(row: &'a Entity, field: &str) -> Vec<&'a str> {
    let items = row
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    items.filter_map(Value::as_str).collect()
}
