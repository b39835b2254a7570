//! Interprets the field tables: input in, a normalised row or a tree of errors out. Pure but for the
//! UUIDs it makes.
use super::errors::{Errors, Node};
use super::plugin_schemas;
use super::rules::entity_check;
use super::schema::{self, Auto, Choices, Field, Schema, Shape};
use super::{Entity, Kind, checks, plugins};
use crate::limits::ERRORS_IN_ONE_PLACE_MAX;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// What checks need from outside.
pub struct Context<'a> {
    /// Unix time in milliseconds.
    pub now_ms: i64,
    /// The id of the entity whose endpoint key (name, username, …) is given: references by name.
    pub find: &'a (dyn Fn(Kind, &str) -> Option<Uuid> + Sync),
    /// The input was YAML: `yes`, `no`, `on` and `off` are booleans where the schema wants one.
    pub yaml: bool,
    /// Plugins that may be configured (directive `plugins`); `None`: every one there is.
    pub plugins: Option<&'a [String]>,
}

impl Context<'_> {
    fn enables(&self, plugin: &str) -> bool {
        self.plugins
            .is_none_or(|names| names.iter().any(|name| name == plugin))
    }
}

/// Checks the input of POST, PUT or a declarative file and completes it: ids, timestamps, defaults, nulls.
///
/// Every field of the schema is in the result, in the schema's order; transient ones only if supplied. References
/// come out as `{"id": …}`; whether that id exists is the caller's to check.
pub fn insert(kind: Kind, input: Map<String, Value>, ctx: &Context<'_>) -> Result<Entity, Errors> {
    run(schema::of(kind), input, ctx, Mode::Insert)
}

/// As `insert`, for rows that come back from an export: `updated_at` stays as supplied.
pub fn restore(kind: Kind, input: Map<String, Value>, ctx: &Context<'_>) -> Result<Entity, Errors> {
    run(schema::of(kind), input, ctx, Mode::Restore)
}

/// Checks a PATCH: `patch` over `stored`, records merged deeply, everything else replaced.
pub fn update(
    kind: Kind,
    stored: &Entity,
    patch: Map<String, Value>,
    ctx: &Context<'_>,
) -> Result<Entity, Errors> {
    let schema = schema::of(kind);
    let mut errors = Errors::default();
    let mut patch = patch;
    if let Some(id) = patch.shift_remove("id")
        && !same_id(&id, stored.get("id"))
    {
        errors.field("id", "immutable field cannot be updated");
    }
    expand_shorthands(schema, &mut patch, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let fields = fields_of(schema, patch.get("name").or(stored.get("name")));
    let mut merged = stored.clone();
    if kind == Kind::Plugins
        && patch
            .get("name")
            .is_some_and(|name| stored.get("name") != Some(name))
    {
        // Another plugin's configuration means nothing to this one.
        merged.remove("config");
    }
    merge(&fields, &mut merged, patch);
    run(schema, merged, ctx, Mode::Update)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Insert,
    /// Insertion of a row as it was.
    Restore,
    Update,
}

fn run(
    schema: &Schema,
    mut input: Map<String, Value>,
    ctx: &Context<'_>,
    mode: Mode,
) -> Result<Entity, Errors> {
    let mut errors = Errors::default();
    expand_shorthands(schema, &mut input, &mut errors);
    if let Some(prepare) = schema.prepare {
        prepare(&mut input);
    }
    let name = input.get("name").and_then(Value::as_str).map(str::to_owned);
    let plugin = (schema.kind == Kind::Plugins)
        .then(|| name.as_deref().filter(|name| ctx.enables(name)))
        .flatten()
        .and_then(plugin_schemas::find);
    if schema.kind == Kind::Plugins && plugin.is_none() {
        // Without its table nothing can be said of a plugin's configuration.
        input.shift_remove("config");
        if let Some(name) = &name {
            errors.field("name", plugins::not_enabled(name));
            return Err(errors);
        }
    }
    let fields = fields_of(schema, input.get("name"));
    let (mut row, broken) = record(&fields, input, ctx, mode, &mut errors.unresolved);
    for (name, node) in broken {
        errors.fields.entry(name).or_insert(node);
    }
    if let (Some(check), Some(config)) = (plugin.and_then(|p| p.config_check), row.get("config"))
        && let Err(text) = check(config)
    {
        errors.field("config", text);
    }
    // A check that looks at a field in error would only add noise.
    let broken: HashSet<String> = errors.fields.keys().cloned().collect();
    let own = plugin.map_or(&[][..], |plugin| plugin.checks);
    for check in schema.checks.iter().chain(own) {
        let root = |field: &str| {
            field
                .split('.')
                .next()
                .is_some_and(|root| broken.contains(root))
        };
        if !check.fields().any(root) {
            entity_check(check, &row, ctx, mode, &mut errors);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(finish) = schema.finish {
        finish(&mut row);
    }
    Ok(row)
}

/// The table in force: for plugins, the one narrowed by the plugin's own.
pub fn fields_of(schema: &Schema, name: Option<&Value>) -> Cow<'static, [Field]> {
    match (schema.kind, name.and_then(Value::as_str)) {
        (Kind::Plugins, Some(name)) => {
            plugins::fields_of(name).map_or(Cow::Borrowed(schema.fields), Cow::Owned)
        }
        _ => Cow::Borrowed(schema.fields),
    }
}

fn expand_shorthands(schema: &Schema, input: &mut Map<String, Value>, errors: &mut Errors) {
    for shorthand in schema.shorthands {
        // `shift_remove` keeps the order of the others.
        if let Some(value) = input.shift_remove(shorthand.name) {
            (shorthand.expand)(value, input, errors);
        }
    }
}

/// Clients send the id along; what it must not do is change.
fn same_id(given: &Value, stored: Option<&Value>) -> bool {
    match (given.as_str(), stored.and_then(Value::as_str)) {
        (Some(given), Some(stored)) => given.eq_ignore_ascii_case(stored),
        _ => given.is_null(),
    }
}

fn merge(fields: &[Field], into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        let nested = fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.shape);
        match (nested, into.get_mut(&name), value) {
            (Some(Shape::Record(fields)), Some(Value::Object(into)), Value::Object(patch)) => {
                merge(fields, into, patch);
            }
            (_, _, value) => {
                into.insert(name, value);
            }
        }
    }
}

// ── values ──

type Broken = BTreeMap<String, Node>;

/// Checks the fields of an entity or record. What is in error is absent from the row.
fn record(
    fields: &[Field],
    mut input: Map<String, Value>,
    ctx: &Context<'_>,
    mode: Mode,
    unresolved: &mut bool,
) -> (Map<String, Value>, Broken) {
    let mut row = Map::new();
    let mut broken = Broken::new();
    for field in fields {
        match complete(field, input.remove(field.name), ctx, mode, unresolved) {
            Ok(Some(value)) => {
                row.insert(field.name.to_owned(), value);
            }
            Ok(None) => {}
            Err(node) => {
                broken.insert(field.name.to_owned(), node);
            }
        }
    }
    let unknown = input.into_iter().take(ERRORS_IN_ONE_PLACE_MAX);
    broken.extend(unknown.map(|(name, _)| (name, "unknown field".into())));
    (row, broken)
}

/// One field, supplied or not; `None` when the row does not have it.
fn complete(
    field: &Field,
    input: Option<Value>,
    ctx: &Context<'_>,
    mode: Mode,
    unresolved: &mut bool,
) -> Result<Option<Value>, Node> {
    if field.transient && input.is_none() {
        return Ok(None);
    }
    let input = match field.auto {
        Some(auto) => automatic(auto, input, ctx, mode),
        None => input.or_else(|| default(field)),
    };
    let value = match input {
        None | Some(Value::Null) => Value::Null,
        Some(_) if field.must_be_null => return Err("value must be null".into()),
        Some(value) => self::value(field, value, ctx, mode, unresolved)?,
    };
    if value.is_null() && field.required {
        return Err("required field missing".into());
    }
    Ok(Some(value))
}

fn automatic(auto: Auto, input: Option<Value>, ctx: &Context<'_>, mode: Mode) -> Option<Value> {
    let supplied = input.filter(|value| !value.is_null());
    let kept = supplied.clone().filter(|_| mode == Mode::Restore);
    let seconds = || Value::from(ctx.now_ms / 1000);
    // 2^53 ms is far away, so the division is exact to the millisecond.
    let fraction = || Value::from(ctx.now_ms as f64 / 1000.0);
    match auto {
        Auto::Id => supplied.or_else(|| Some(Uuid::new_v4().to_string().into())),
        Auto::CreatedAt => supplied.or_else(|| Some(seconds())),
        Auto::CreatedAtFraction => supplied.or_else(|| Some(fraction())),
        Auto::UpdatedAt => kept.or_else(|| Some(seconds())),
        Auto::UpdatedAtFraction => kept.or_else(|| Some(fraction())),
        Auto::Computed => None,
    }
}

/// Whether a field that is left out comes to null, as it would be if null were given.
pub fn absent_is_null(field: &Field) -> bool {
    field.auto.is_none() && default(field).is_none()
}

fn default(field: &Field) -> Option<Value> {
    match (field.default, field.shape) {
        (Some(literal), _) => Some(literal.value()),
        // Its leaves have the defaults.
        (None, Shape::Record(_)) if field.required => Some(Value::Object(Map::new())),
        _ => None,
    }
}

/// One value that is not null.
fn value(
    field: &Field,
    input: Value,
    ctx: &Context<'_>,
    mode: Mode,
    unresolved: &mut bool,
) -> Result<Value, Node> {
    let value = match (field.shape, input) {
        (Shape::String, Value::String(text)) if field.uuid => match checks::is_uuid(&text) {
            true => text.to_ascii_lowercase().into(),
            false => return Err("expected a valid UUID".into()),
        },
        (Shape::String, Value::String(text)) => {
            at_least(field, text.len())?;
            text.into()
        }
        (Shape::String, _) => return Err("expected a string".into()),
        (Shape::Integer, Value::Number(number)) => match integer(&number) {
            Some(number) => number.into(),
            None => return Err("expected an integer".into()),
        },
        (Shape::Integer, _) => return Err("expected an integer".into()),
        (Shape::Number, Value::Number(number)) => match integer(&number) {
            Some(number) => number.into(),
            None => number.into(),
        },
        (Shape::Number, _) => return Err("expected a number".into()),
        (Shape::Boolean, Value::Bool(flag)) => flag.into(),
        (Shape::Boolean, Value::String(word)) if ctx.yaml => match yaml_boolean(&word) {
            Some(flag) => flag.into(),
            None => return Err("expected a boolean".into()),
        },
        (Shape::Boolean, _) => return Err("expected a boolean".into()),
        (Shape::Array(of), Value::Array(items)) => {
            let items = elements(of, items, ctx, mode, unresolved)?;
            at_least(field, items.len())?;
            items.into()
        }
        (Shape::Array(_), _) => return Err("expected an array".into()),
        (Shape::Set(of), Value::Array(items)) => {
            let items = distinct(elements(of, items, ctx, mode, unresolved)?);
            at_least(field, items.len())?;
            items.into()
        }
        (Shape::Set(_), _) => return Err("expected a set".into()),
        (Shape::Map { keys, values }, Value::Object(entries)) => {
            map(keys, values, entries, ctx, mode, unresolved)?
        }
        (Shape::Map { .. }, _) => return Err("expected a map".into()),
        (Shape::Record(fields), Value::Object(entries)) => {
            let (row, broken) = record(fields, entries, ctx, mode, unresolved);
            if !broken.is_empty() {
                return Err(Node::Map(broken));
            }
            row.into()
        }
        (Shape::Record(_), _) => return Err("expected a record".into()),
        (Shape::Foreign { to, .. }, input) => return foreign(to, input, ctx, unresolved),
    };
    one_of(field, &value)?;
    between(field, &value)?;
    if let Some(check) = field.check {
        check(&value)?;
    }
    Ok(value)
}

fn elements(
    of: &Field,
    items: Vec<Value>,
    ctx: &Context<'_>,
    mode: Mode,
    unresolved: &mut bool,
) -> Result<Vec<Value>, Node> {
    let mut values = Vec::with_capacity(items.len());
    let mut broken = Vec::new();
    let mut told = 0;
    for (index, item) in items.into_iter().enumerate() {
        match value(of, item, ctx, mode, unresolved) {
            Ok(value) => values.push(value),
            Err(node) => {
                broken.resize(index, None);
                broken.push(Some(node));
                told += 1;
            }
        }
        if told == ERRORS_IN_ONE_PLACE_MAX {
            break;
        }
    }
    if broken.is_empty() {
        Ok(values)
    } else {
        Err(Node::List(broken))
    }
}

/// Kong reports a key in error for the field as a whole; a value in error we report under its key.
fn map(
    keys: &Field,
    values: &Field,
    entries: Map<String, Value>,
    ctx: &Context<'_>,
    mode: Mode,
    unresolved: &mut bool,
) -> Result<Value, Node> {
    let mut row = Map::new();
    let mut broken = Broken::new();
    for (key, entry) in entries {
        value(keys, Value::from(key.as_str()), ctx, mode, unresolved)?;
        match value(values, entry, ctx, mode, unresolved) {
            Ok(value) => {
                row.insert(key, value);
            }
            Err(node) => {
                broken.insert(key, node);
            }
        }
        if broken.len() == ERRORS_IN_ONE_PLACE_MAX {
            break;
        }
    }
    if broken.is_empty() {
        Ok(row.into())
    } else {
        Err(Node::Map(broken))
    }
}

/// `{"id": …}`, or the endpoint key of the entity (`{"name": …}`); other keys beside them are ignored.
fn foreign(
    to: Kind,
    input: Value,
    ctx: &Context<'_>,
    unresolved: &mut bool,
) -> Result<Value, Node> {
    let at = |name: &str, text: String| Node::Map(Broken::from([(name.to_owned(), text.into())]));
    let missing = || at("id", "missing primary key".into());
    let Value::Object(entries) = input else {
        return Err(missing());
    };
    let id = match entries.get("id").filter(|id| !id.is_null()) {
        Some(Value::String(id)) if checks::is_uuid(id) => id.to_ascii_lowercase(),
        Some(_) => return Err(at("id", "expected a valid UUID".into())),
        None => {
            let key = schema::of(to).endpoint_key.ok_or_else(missing)?;
            let name = match entries.get(key) {
                Some(Value::String(name)) => name,
                Some(_) => return Err(at(key, "expected a string".into())),
                None => return Err(missing()),
            };
            let Some(id) = (ctx.find)(to, name) else {
                *unresolved = true;
                return Err(at(
                    key,
                    format!(
                        "the foreign key cannot be resolved with '{{{key}=\"{name}\"}}' for an existing '{}' entity",
                        to.name()
                    ),
                ));
            };
            id.to_string()
        }
    };
    Ok(Value::Object(Map::from_iter([(
        "id".to_owned(),
        id.into(),
    )])))
}

/// Kong's reader knows the words of YAML 1.1, but for `y` and `n`.
fn yaml_boolean(word: &str) -> Option<bool> {
    match word {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number, however it is written.
fn integer(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // In this range the cast neither rounds nor saturates.
        (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
    })
}

fn distinct(mut items: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(item.to_string()));
    // The row may stay for years, and with it the room of what was dropped.
    items.shrink_to_fit();
    items
}

fn at_least(field: &Field, length: usize) -> Result<(), Node> {
    match field.len_min {
        Some(least) if length < least => Err(format!("length must be at least {least}").into()),
        _ => Ok(()),
    }
}

fn one_of(field: &Field, value: &Value) -> Result<(), Node> {
    let (found, choices) = match field.one_of {
        Choices::Any => return Ok(()),
        Choices::Texts(choices) => (
            value.as_str().is_some_and(|text| choices.contains(&text)),
            choices.join(", "),
        ),
        Choices::Integers(choices) => {
            let texts: Vec<String> = choices.iter().map(i64::to_string).collect();
            (
                value
                    .as_i64()
                    .is_some_and(|number| choices.contains(&number)),
                texts.join(", "),
            )
        }
    };
    if found {
        Ok(())
    } else {
        Err(format!("expected one of: {choices}").into())
    }
}

fn between(field: &Field, value: &Value) -> Result<(), Node> {
    let (Some((low, high)), Some(number)) = (field.between, value.as_f64()) else {
        return Ok(());
    };
    // Bounds in the tables are far below 2^53.
    if number < low as f64 || number > high as f64 {
        return Err(format!("value should be between {low} and {high}").into());
    }
    Ok(())
}
