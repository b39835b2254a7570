//! `consumers` (KONG.md §1.7).
use super::Kind;
use super::schema::{EntityCheck, Field, Schema, common};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Consumers,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        Field::string("username").unique(),
        Field::string("custom_id").unique(),
        common::TAGS,
    ],
    endpoint_key: Some("username"),
    unique_together: &[],
    checks: &[EntityCheck::AtLeastOneOf(&["custom_id", "username"])],
    shorthands: &[],
    prepare: None,
    finish: None,
};
