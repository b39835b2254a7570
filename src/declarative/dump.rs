//! A configuration as a declarative document.
use crate::entity::{Config, Kind};
use serde_json::{Map, Value};

/// Flat, in the order of `Kind::ALL` and of ids within a kind; `parse` of its text gives the same configuration
/// again, but for `updated_at`.
pub fn dump(config: &Config) -> Value {
    let mut document = Map::from_iter([
        ("_format_version".to_owned(), Value::from("3.0")),
        // Nothing is left for a reader to turn into what is stored.
        ("_transform".to_owned(), false.into()),
    ]);
    for kind in Kind::ALL {
        let rows: Vec<Value> = config
            .table(kind)
            .map(|(_, row)| Value::Object((**row).clone()))
            .collect();
        if !rows.is_empty() {
            document.insert(kind.name().to_owned(), rows.into());
        }
    }
    Value::Object(document)
}
