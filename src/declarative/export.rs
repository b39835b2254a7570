//! A configuration as the text of a declarative file.
use super::yaml;
use crate::entity::schema::{self, Field, Shape};
use crate::entity::{Config, Entity, Kind, validate};
use serde_json::{Map, Value};
use std::io::{self, Write};

/// Writes the file whose reading with `Reading::keep_updated_at` gives the same rows again, so that exporting them once
/// more gives the same bytes.
///
/// Flat tables in the order of `Kind::ALL`, rows in ascending id, fields in the schema's order. References are ids. A
/// field that is null is left out where reading would give null for it anyway. The text holds private keys.
pub fn export(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "_format_version: \"3.0\"\n_transform: false")?;
    for kind in Kind::ALL {
        let mut rows = config.table(kind).peekable();
        if rows.peek().is_some() {
            writeln!(out, "{}:", kind.name())?;
        }
        for (_, row) in rows {
            let fields = validate::fields_of(schema::of(kind), row.get("name"));
            item(out, &shown(&fields, row))?;
        }
    }
    Ok(())
}

fn item(out: &mut dyn Write, row: &Entity) -> io::Result<()> {
    out.write_all(b"- ")?;
    for (place, (name, value)) in row.iter().enumerate() {
        yaml::entry(out, 2, place == 0, name, value)?;
    }
    Ok(())
}

/// The fields that have to stand in the file, in the form they have there.
fn shown(fields: &[Field], row: &Map<String, Value>) -> Map<String, Value> {
    let field = |name: &str| fields.iter().find(|field| field.name == name);
    let entries = row
        .iter()
        .filter_map(|(name, value)| match (field(name), value) {
            (Some(field), Value::Null) if validate::absent_is_null(field) => None,
            (Some(field), Value::Object(inner)) => Some((
                name.clone(),
                match field.shape {
                    Shape::Foreign { .. } => inner.get("id").unwrap_or(value).clone(),
                    Shape::Record(fields) => shown(fields, inner).into(),
                    _ => value.clone(),
                },
            )),
            _ => Some((name.clone(), value.clone())),
        });
    entries.collect()
}
