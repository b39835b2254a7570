//! What holds between rows, as data: which fields point where, and which values only one row may have.
//!
//! Both follow from the entity tables (`schema`); added are the lists of CA certificates, which Kong does not treat as
//! references (KONG.md §1.12, code 19) and which are checked here (KONG.md §11, point 8).

use crate::entity::schema::{self, OnDelete, Shape};
use crate::entity::{Entity, Kind};
use serde_json::Value;
use std::sync::OnceLock;
use uuid::Uuid;

/// What a row that refers means for deleting the row it refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The deletion is refused (code 4).
    Restrict,
    /// It is deleted too.
    Cascade,
    /// The deletion is refused (code 19): a list of CA certificates.
    InUse,
}

/// One field that refers to rows of another kind.
#[derive(Clone, Copy, Debug)]
pub struct Relation {
    pub from: Kind,
    /// Dotted where it lies in a record.
    pub field: &'static str,
    pub to: Kind,
    pub rule: Rule,
}

/// The place of a relation in `all()`.
pub type RelationNumber = u8;

/// One field, or a tuple, whose value only one row of its kind may have.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    pub kind: Kind,
    pub fields: &'static [&'static str],
    /// `unique_together`: a null in it counts as a value. A single field may be null in many rows.
    pub tuple: bool,
}

/// The place of an index in `indexes()`.
pub type IndexNumber = usize;

/// Every relation, by the kind that refers.
pub fn all() -> &'static [Relation] {
    static ALL: OnceLock<Vec<Relation>> = OnceLock::new();
    ALL.get_or_init(|| {
        let foreign = Kind::ALL.into_iter().flat_map(|from| {
            schema::of(from)
                .fields
                .iter()
                .filter_map(move |field| match field.shape {
                    Shape::Foreign { to, on_delete } => Some(Relation {
                        from,
                        field: field.name,
                        to,
                        rule: match on_delete {
                            OnDelete::Restrict => Rule::Restrict,
                            OnDelete::Cascade => Rule::Cascade,
                        },
                    }),
                    _ => None,
                })
        });
        let lists = [
            (Kind::Services, "ca_certificates"),
            (Kind::Plugins, "config.ca_certificates"),
        ];
        let lists = lists.into_iter().map(|(from, field)| Relation {
            from,
            field,
            to: Kind::CaCertificates,
            rule: Rule::InUse,
        });
        let mut relations: Vec<Relation> = foreign.chain(lists).collect();
        relations.sort_by_key(|relation| relation.from);
        relations
    })
}

/// The relations of rows of `from`, with their numbers.
pub fn of(from: Kind) -> impl Iterator<Item = (RelationNumber, &'static Relation)> {
    numbered().filter(move |(_, relation)| relation.from == from)
}

/// The relations that point to rows of `to`.
pub fn to(to: Kind) -> impl Iterator<Item = (RelationNumber, &'static Relation)> {
    numbered().filter(move |(_, relation)| relation.to == to)
}

pub fn number(from: Kind, field: &str, to: Kind) -> Option<RelationNumber> {
    of(from)
        .find(|(_, relation)| relation.field == field && relation.to == to)
        .map(|(number, _)| number)
}

fn numbered() -> impl Iterator<Item = (RelationNumber, &'static Relation)> {
    (0..).zip(all())
}

impl Relation {
    /// The ids a checked row refers to by this field, in the row's order.
    pub fn targets(&self, row: &Entity) -> Vec<Uuid> {
        let id = |value: &Value| value.as_str()?.parse().ok();
        match (self.rule, value_at(row, self.field)) {
            (_, None) => Vec::new(),
            (Rule::InUse, Some(list)) => {
                let items = list.as_array().into_iter().flatten();
                items.filter_map(id).collect()
            }
            (_, Some(reference)) => reference.get("id").and_then(id).into_iter().collect(),
        }
    }
}

/// Every index, by kind: single fields first, in the schema's order.
pub fn indexes() -> &'static [Index] {
    static ALL: OnceLock<Vec<Index>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut indexes = Vec::new();
        for kind in Kind::ALL {
            let schema = schema::of(kind);
            let unique = schema.fields.iter().filter(|field| field.unique);
            indexes.extend(unique.map(|field| Index {
                kind,
                fields: std::slice::from_ref(&field.name),
                tuple: false,
            }));
            indexes.extend(schema.unique_together.iter().map(|fields| Index {
                kind,
                fields,
                tuple: true,
            }));
        }
        indexes
    })
}

pub fn indexes_of(kind: Kind) -> impl Iterator<Item = (IndexNumber, &'static Index)> {
    let all = indexes().iter().enumerate();
    all.filter(move |(_, index)| index.kind == kind)
}

pub fn index(kind: Kind, fields: &[&str]) -> Option<(IndexNumber, &'static Index)> {
    indexes_of(kind).find(|(_, index)| index.fields == fields)
}

impl Index {
    /// The value a row has in this index; `None`: it has none there.
    pub fn value(&self, row: &Entity) -> Option<String> {
        if !self.tuple {
            let field = self.fields.first()?;
            return Some(self.folded(row.get(*field)?.as_str()?));
        }
        // As JSON, so that no text can look like two values.
        let parts: Vec<String> = self
            .fields
            .iter()
            .map(|field| match row.get(*field) {
                None => Value::Null.to_string(),
                Some(value) => match value.get("id").and_then(Value::as_str) {
                    Some(id) => id.to_ascii_lowercase(),
                    None => value.to_string(),
                },
            })
            .collect();
        Some(parts.join(","))
    }

    /// A single value as it is compared: names of SNIs as a handshake compares them.
    pub fn folded(&self, text: &str) -> String {
        match self.kind {
            Kind::Snis => text.to_ascii_lowercase(),
            _ => text.to_owned(),
        }
    }

    /// The fields with their values in `row`, for a message.
    pub fn shown(&self, row: &Entity) -> Vec<(&'static str, Value)> {
        let value = |field: &&'static str| row.get(*field).cloned().unwrap_or(Value::Null);
        let fields = self.fields.iter();
        fields.map(|field| (*field, value(field))).collect()
    }
}

fn value_at<'a>(row: &'a Entity, dotted: &str) -> Option<&'a Value> {
    let mut steps = dotted.split('.');
    let first = row.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}
