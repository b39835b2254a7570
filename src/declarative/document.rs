//! Text to a tree of values: the one door to the YAML library.
use super::Failure;
use crate::limits;
use serde_json::{Map, Value};
use serde_saphyr::options::AliasLimits;

pub struct Document {
    pub root: Map<String, Value>,
    /// Read as YAML rather than JSON.
    pub yaml: bool,
}

/// YAML or JSON, one document, a mapping at its root.
///
/// A text that begins with `{` is read as JSON first, then as YAML in flow style.
pub fn read(text: &str) -> Result<Document, Failure> {
    if text.len() > limits::DECLARATIVE_SIZE_MAX {
        let text = format!("larger than {} bytes", limits::DECLARATIVE_SIZE_MAX);
        return Err(Failure::syntax(None, text));
    }
    let (value, yaml) = if text.trim_start().starts_with('{') {
        match serde_json::from_str(text) {
            Ok(value) => (value, false),
            Err(error) => (self::yaml(text).map_err(|_| json_failure(&error))?, true),
        }
    } else {
        (self::yaml(text)?, true)
    };
    match value {
        Value::Object(root) => Ok(Document { root, yaml }),
        _ => Err(Failure::syntax(
            None,
            "expected a mapping with _format_version and entities".to_owned(),
        )),
    }
}

fn json_failure(error: &serde_json::Error) -> Failure {
    let at = format!(" at line {} column {}", error.line(), error.column());
    Failure::syntax(
        Some((error.line() as u64, error.column() as u64)),
        format!("JSON: {error}").replace(&at, ""),
    )
}

fn yaml(text: &str) -> Result<Value, Failure> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location().map(|at| (at.line(), at.column()));
        let mut text = error.to_string();
        // The place stands in front of the line, and options of the library are nothing a file can set.
        if let Some((line, column)) = place {
            text = text.replace(&format!(" at line {line}, column {column}"), "");
        }
        let text = text.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
        Failure::syntax(place, format!("YAML: {text}"))
    })
}

fn options() -> serde_saphyr::Options {
    let mut alias_limits = AliasLimits::default();
    alias_limits.max_total_replayed_events = limits::DECLARATIVE_ALIAS_NODES_MAX;
    alias_limits.max_replay_stack_depth = 16;
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: limits::DECLARATIVE_DEPTH_MAX,
            max_nodes: limits::DECLARATIVE_NODES_MAX,
            // Start and end of each collection, and the scalars.
            max_events: 2 * limits::DECLARATIVE_NODES_MAX,
            max_total_scalar_bytes: limits::DECLARATIVE_SIZE_MAX,
            max_aliases: limits::DECLARATIVE_ALIASES_MAX,
            max_anchors: limits::DECLARATIVE_ALIASES_MAX,
            max_recorded_anchor_bytes: limits::DECLARATIVE_ANCHOR_SIZE_MAX,
            max_recorded_anchor_events: limits::DECLARATIVE_ALIAS_NODES_MAX,
            max_merge_keys: limits::DECLARATIVE_ALIASES_MAX,
        },
        alias_limits: alias_limits,
        emit_comments: false,
        // Otherwise `username: y` would be a boolean; what Kong takes for one is left to validation.
        strict_booleans: true,
        // A snippet would show lines of the file, private keys among them.
        with_snippet: false,
    }
}
