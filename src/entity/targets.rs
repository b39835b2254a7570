//! `targets` of an upstream (KONG.md §1.11). Timestamps carry milliseconds.
use super::schema::{Auto, Field, Literal, OnDelete, Schema, common};
use super::{Entity, Kind, checks};
use serde_json::Value;

pub static SCHEMA: Schema = Schema {
    kind: Kind::Targets,
    fields: &[
        common::ID,
        Field::number("created_at").auto(Auto::CreatedAtFraction),
        Field::number("updated_at").auto(Auto::UpdatedAtFraction),
        Field::foreign("upstream", Kind::Upstreams, OnDelete::Cascade).required(),
        Field::string("target").required().check(checks::target),
        Field::integer("weight")
            .between(0, 65535)
            .default(Literal::Integer(100)),
        common::TAGS,
    ],
    endpoint_key: Some("target"),
    unique_together: &[&["upstream", "target"]],
    checks: &[],
    shorthands: &[],
    prepare: None,
    finish: Some(put_normal_target),
};

/// `host:port` with the default port and addresses in full form, so that equal targets are equal texts.
fn put_normal_target(row: &mut Entity) {
    let normal = row
        .get("target")
        .and_then(Value::as_str)
        .and_then(checks::normal_target);
    if let Some(normal) = normal {
        row.insert("target".into(), normal.into());
    }
}
