//! `acls`: a consumer's groups (KONG.md §1.9).
use super::Kind;
use super::schema::{Field, OnDelete, Schema, common};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Acls,
    fields: &[
        common::ID,
        common::CREATED_AT,
        Field::foreign("consumer", Kind::Consumers, OnDelete::Cascade).required(),
        Field::string("group").required(),
        common::TAGS,
    ],
    endpoint_key: None,
    unique_together: &[&["consumer", "group"]],
    checks: &[],
    shorthands: &[],
    prepare: None,
    finish: None,
};
