//! What a request is refused with: a status and Kong's error object (KONG.md §2.5), byte for byte.
//!
//! Rules inside of one entity come as `entity::errors::Errors`; rules between entities have a constructor each, which
//! takes plain values, so that a violation of the store is one call.
use crate::entity::Kind;
use crate::entity::errors::{Errors, Node};
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use uuid::Uuid;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub status: StatusCode,
    /// `None`: an answer without content.
    pub body: Option<Value>,
    /// Seconds, for the `Retry-After` field.
    pub retry_after_s: Option<u32>,
}

/// What a write to a store that cannot be written wanted to do, as its message says it (KONG.md §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Create,
    Upsert,
    Update,
    Remove,
}

/// By what a row that does not exist was addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing<'a> {
    Id(Uuid),
    Key { field: &'a str, value: &'a str },
}

// ── bodies without a code ──

impl Failure {
    /// `{"message": …}`.
    pub fn message(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure::with(status, json!({ "message": message.into() }))
    }

    fn with(status: StatusCode, body: Value) -> Failure {
        Failure {
            status,
            body: Some(body),
            retry_after_s: None,
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure::message(StatusCode::BAD_REQUEST, message)
    }

    /// A path, a row that is read, or a nested row that belongs to another parent.
    pub fn not_found() -> Failure {
        Failure::message(StatusCode::NOT_FOUND, "Not found")
    }

    /// `/certificates/{name}` of a name no certificate has.
    pub fn sni_not_found() -> Failure {
        Failure::message(StatusCode::NOT_FOUND, "SNI not found")
    }

    /// `/schemas/{name}`.
    pub fn no_entity(name: &str) -> Failure {
        Failure::message(StatusCode::NOT_FOUND, format!("No entity named '{name}'"))
    }

    /// `/schemas/plugins/{name}`.
    pub fn no_plugin(name: &str) -> Failure {
        Failure::message(StatusCode::NOT_FOUND, format!("No plugin named '{name}'"))
    }

    /// The answer also has an `Allow` field (RFC 9110 §15.5.6): `paths::Endpoint::methods`.
    pub fn method_not_allowed() -> Failure {
        Failure::message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    pub fn payload_too_large() -> Failure {
        Failure::message(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large")
    }

    /// Without content, as Kong answers it (KONG.md §2.3).
    pub fn unsupported_media_type() -> Failure {
        Failure {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            body: None,
            retry_after_s: None,
        }
    }

    /// `retry_after_s`: seconds after which another attempt makes sense.
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Failure {
        Failure {
            retry_after_s: Some(retry_after_s),
            ..Failure::message(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// Code 8. What went wrong is for the log.
    pub fn unexpected() -> Failure {
        Failure::message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        )
    }

    /// Nothing is wrong, there is too much at once.
    pub fn busy(message: impl Into<String>) -> Failure {
        Failure {
            retry_after_s: Some(1),
            ..Failure::unavailable(message)
        }
    }

    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::message(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

// ── error objects, by code ──

impl Failure {
    fn coded(
        status: StatusCode,
        code: u32,
        name: impl Into<String>,
        message: String,
        fields: Option<Value>,
    ) -> Failure {
        let mut body = Map::new();
        body.insert("code".into(), code.into());
        body.insert("name".into(), name.into().into());
        body.insert("message".into(), message.into());
        if let Some(fields) = fields {
            body.insert("fields".into(), fields);
        }
        Failure::with(status, Value::Object(body))
    }

    /// Code 1: an id that is none.
    pub fn invalid_primary_key(id: &str) -> Failure {
        let fields = json!({ "id": id });
        let message = format!("invalid primary key: '{}'", table(&fields));
        Failure::coded(
            StatusCode::BAD_REQUEST,
            1,
            "invalid primary key",
            message,
            Some(fields),
        )
    }

    /// Code 2 with one text at one field.
    pub fn invalid_field(field: &str, text: impl Into<String>) -> Failure {
        let mut errors = Errors::default();
        errors.field(field, text.into());
        errors.into()
    }

    /// Code 3: POST with the id of a row that exists.
    pub fn primary_key_violation(id: Uuid) -> Failure {
        let fields = json!({ "id": id });
        let message = format!("primary key violation on key '{}'", table(&fields));
        Failure::coded(
            StatusCode::BAD_REQUEST,
            3,
            "primary key violation",
            message,
            Some(fields),
        )
    }

    /// Code 4: `field` names a row of `to` that does not exist.
    pub fn foreign_key_violation(field: &str, to: Kind, id: Uuid) -> Failure {
        let key = json!({ "id": id });
        let message = format!(
            "the foreign key '{}' does not reference an existing '{}' entity.",
            table(&key),
            to.name()
        );
        Failure::foreign_key(message, object(field, key))
    }

    /// Code 4: a row of `kind` cannot be deleted while rows of `by` refer to it.
    pub fn still_referenced(kind: Kind, by: Kind) -> Failure {
        let message = format!(
            "an existing '{}' entity references this '{}' entity",
            by.name(),
            kind.name()
        );
        Failure::foreign_key(message, object("@referenced_by", by.name().into()))
    }

    fn foreign_key(message: String, fields: Value) -> Failure {
        Failure::coded(
            StatusCode::BAD_REQUEST,
            4,
            "foreign key violation",
            message,
            Some(fields),
        )
    }

    /// Code 5: another row has this value of a unique field, or these values of a unique tuple.
    pub fn unique_violation(fields: &[(&str, Value)]) -> Failure {
        let fields: Map<String, Value> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let fields = Value::Object(fields);
        let message = format!("UNIQUE violation detected on '{}'", table(&fields));
        Failure::coded(
            StatusCode::CONFLICT,
            5,
            "unique constraint violation",
            message,
            Some(fields),
        )
    }

    /// Code 6: PATCH of a row that does not exist.
    pub fn no_such_row(row: Missing<'_>) -> Failure {
        let (with, fields) = match row {
            Missing::Id(id) => ("with primary key", json!({ "id": id })),
            Missing::Key { field, value } => ("with", object(field, value.into())),
        };
        let message = format!("could not find the entity {with} '{}'", table(&fields));
        Failure::coded(StatusCode::NOT_FOUND, 6, "not found", message, Some(fields))
    }

    /// Code 7.
    pub fn invalid_offset(offset: &str, reason: &str) -> Failure {
        let message = format!("'{offset}' is not a valid offset: {reason}");
        Failure::coded(StatusCode::BAD_REQUEST, 7, "invalid offset", message, None)
    }

    /// Code 9.
    pub fn invalid_size(reason: &str) -> Failure {
        Failure::coded(
            StatusCode::BAD_REQUEST,
            9,
            "invalid size",
            reason.to_owned(),
            None,
        )
    }

    /// Code 10: a look-up by a key that cannot be one.
    pub fn invalid_unique(field: &str, text: &str) -> Failure {
        Failure::coded(
            StatusCode::BAD_REQUEST,
            10,
            format!("invalid unique {field}"),
            format!("invalid unique {field} ({field}: {text})"),
            Some(object(field, text.into())),
        )
    }

    /// Code 11. The detail stands under `options`, where other codes have `fields`.
    pub fn invalid_option(option: &str, text: &str) -> Failure {
        let body = json!({
            "code": 11,
            "name": "invalid options",
            "message": format!("invalid option ({option}: {text})"),
            "options": object(option, text.into()),
        });
        Failure::with(StatusCode::BAD_REQUEST, body)
    }

    /// Code 12: a write to a store that cannot be written. `by`: the endpoint key, when the row was addressed by it.
    pub fn read_only(verb: Verb, kind: Kind, by: Option<&str>) -> Failure {
        let verb = match verb {
            Verb::Create => "create",
            Verb::Upsert => "create or update",
            Verb::Update => "update",
            Verb::Remove => "remove",
        };
        let by = by.map(|field| format!(" by '{field}'")).unwrap_or_default();
        let message = format!(
            "cannot {verb} '{}' entities{by} when not using a database",
            kind.name()
        );
        Failure::coded(
            StatusCode::METHOD_NOT_ALLOWED,
            12,
            "operation unsupported",
            message,
            None,
        )
    }

    /// Code 14. `fields`: the tree of errors; `flattened`: the list that `?flatten_errors=1` asks for (KONG.md §7.2).
    pub fn invalid_declarative(fields: Value, flattened: Option<Value>) -> Failure {
        let message = format!("declarative config is invalid: {}", table(&fields));
        let mut failure = Failure::coded(
            StatusCode::BAD_REQUEST,
            14,
            "invalid declarative configuration",
            message,
            Some(fields),
        );
        if let (Some(Value::Object(body)), Some(flattened)) = (&mut failure.body, flattened) {
            body.insert("flattened_errors".into(), flattened);
        }
        failure
    }

    /// Code 19: a CA certificate is listed by row `by_id` of `by`.
    pub fn in_use(id: Uuid, by: Kind, by_id: Uuid) -> Failure {
        let message = format!(
            "ca certificate {id} is still referenced by {} (id = {by_id})",
            by.name()
        );
        Failure::coded(
            StatusCode::BAD_REQUEST,
            19,
            "referenced by others",
            message,
            None,
        )
    }
}

/// Code 2, or 13 when a reference by name leads nowhere.
///
/// With errors of both sorts it is 2 with all of them: what is wrong is then more than a missing row.
impl From<Errors> for Failure {
    fn from(mut errors: Errors) -> Failure {
        errors.unresolved = errors.unresolved && errors.fields.values().all(is_unresolved);
        let (code, name) = match errors.unresolved {
            true => (13, "foreign keys unresolved"),
            false => (2, "schema violation"),
        };
        Failure::coded(
            StatusCode::BAD_REQUEST,
            code,
            name,
            errors.message(),
            Some(errors.to_json()),
        )
    }
}

/// Whether all that is said of a field is that its reference cannot be resolved.
fn is_unresolved(node: &Node) -> bool {
    let text = |node: &Node| match node {
        Node::Text(text) => text.starts_with("the foreign key cannot be resolved with "),
        Node::List(_) | Node::Map(_) => false,
    };
    match node {
        Node::Map(inner) => inner.values().all(text),
        Node::Text(_) | Node::List(_) => false,
    }
}

fn object(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// A value as Kong's messages write it: `{consumer=null,name="acl",service={id="…"}}`, keys in ascending order.
fn table(value: &Value) -> String {
    let mut text = String::new();
    write_table(value, &mut text);
    text
}

fn write_table(value: &Value, out: &mut String) {
    match value {
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, &Value> = entries.iter().collect();
            out.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                if is_identifier(name) {
                    out.push_str(name);
                } else {
                    out.push('[');
                    write_quoted(name, out);
                    out.push(']');
                }
                out.push('=');
                write_table(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('{');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_table(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_quoted(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            // Writing to a String does not fail.
            let _ = write!(out, "{value}");
        }
    }
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
