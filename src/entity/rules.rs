//! Interprets `EntityCheck`: rules over several fields of a row.
use super::Entity;
use super::errors::Errors;
use super::schema::{EntityCheck, Then, When};
use super::validate::{Context, Mode};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn entity_check(
    check: &EntityCheck,
    row: &Entity,
    ctx: &Context<'_>,
    mode: Mode,
    errors: &mut Errors,
) {
    let is_set = |field: &&'static str| !is_empty(lookup(row, field));
    match *check {
        EntityCheck::AtLeastOneOf(fields) => {
            if !fields.iter().any(is_set) {
                let when = if mode == Mode::Update {
                    "when updating, "
                } else {
                    ""
                };
                errors.entity(format!(
                    "{when}at least one of these fields must be non-empty: {}",
                    quoted(fields)
                ));
            }
        }
        EntityCheck::OnlyOneOf(fields) => {
            if fields.iter().filter(|field| is_set(field)).count() > 1 {
                errors.entity(format!(
                    "only one or none of these fields must be set: {}",
                    quoted(fields)
                ));
            }
        }
        EntityCheck::AllOrNone(fields) => {
            let count = fields.iter().filter(|field| is_set(field)).count();
            if count != 0 && count != fields.len() {
                errors.entity(format!(
                    "all or none of these fields must be set: {}",
                    quoted(fields)
                ));
            }
        }
        EntityCheck::Distinct(fields) => {
            let mut seen = HashSet::new();
            let values = fields
                .iter()
                .map(|field| lookup(row, field))
                .filter(|v| !is_empty(v));
            if !values
                .into_iter()
                .all(|value| seen.insert(value.to_string()))
            {
                errors.entity(format!(
                    "values of these fields must be distinct: {}",
                    quoted(fields)
                ));
            }
        }
        EntityCheck::ExclusiveSets { field, groups } => {
            let value = lookup(row, field);
            if groups
                .iter()
                .filter(|group| holds(When::ContainsAny(group), value))
                .count()
                > 1
            {
                let sets: Vec<String> = groups
                    .iter()
                    .map(|group| format!("({})", quoted(group)))
                    .collect();
                errors.entity(format!(
                    "these sets are mutually exclusive: {}",
                    sets.join(", ")
                ));
            }
        }
        EntityCheck::Conditional {
            field,
            when,
            then_field,
            then,
            message,
        } => {
            if holds(when, lookup(row, field))
                && let Err(text) = satisfies(then, lookup(row, then_field))
            {
                errors.entity(format!(
                    "failed conditional validation given value of field '{field}'"
                ));
                errors.field(then_field, message.map_or(text, str::to_owned));
            }
        }
        EntityCheck::ConditionalAtLeastOneOf {
            field,
            when,
            then,
            message,
        } => {
            if holds(when, lookup(row, field)) && !then.iter().any(is_set) {
                errors.entity(message);
            }
        }
        EntityCheck::Custom { run, .. } => run(row, ctx, errors),
    }
}

/// Whether the condition holds for a string or a set of strings; never for null.
pub(super) fn holds(when: When, value: &Value) -> bool {
    let has = |text: &str| match value {
        Value::String(value) => value == text,
        Value::Array(items) => items.iter().any(|item| item == text),
        _ => false,
    };
    let any = |texts: &[&str]| texts.iter().any(|text| has(text));
    match when {
        _ if value.is_null() => false,
        When::Is(text) | When::Contains(text) => has(text),
        When::OneOf(texts) | When::ContainsAny(texts) => any(texts),
        When::NotOneOf(texts) | When::ContainsNone(texts) => !any(texts),
        When::ContainsWithout(with, without) => has(with) && !has(without),
    }
}

fn satisfies(then: Then, value: &Value) -> Result<(), String> {
    let (fulfilled, text) = match then {
        Then::Null => (value.is_null(), "value must be null".to_owned()),
        Then::Unset => (is_empty(value), "value must be null".to_owned()),
        Then::Required => (!value.is_null(), "required field missing".to_owned()),
        Then::False => (
            value != &Value::Bool(true),
            "value must be false".to_owned(),
        ),
        Then::OneOf(choices) => (
            value.as_str().is_none_or(|text| choices.contains(&text)),
            format!("expected one of: {}", choices.join(", ")),
        ),
    };
    if fulfilled { Ok(()) } else { Err(text) }
}

/// The value at a dotted name.
fn lookup<'a>(row: &'a Entity, name: &str) -> &'a Value {
    let mut parts = name.split('.');
    let first = parts.next().and_then(|part| row.get(part));
    parts
        .fold(first, |value, part| value.and_then(|value| value.get(part)))
        .unwrap_or(&Value::Null)
}

/// Nothing stands there: null, no item, no member.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}
