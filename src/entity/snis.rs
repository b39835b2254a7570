//! `snis` (KONG.md §1.3). Names are stored as given and compared in lower case.
use super::schema::{Field, OnDelete, Schema, common};
use super::{Kind, checks};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Snis,
    fields: &[
        common::ID,
        Field::string("name")
            .required()
            .unique()
            .check(checks::wildcard_host),
        common::CREATED_AT,
        common::UPDATED_AT,
        common::TAGS,
        Field::foreign("certificate", Kind::Certificates, OnDelete::Cascade).required(),
    ],
    endpoint_key: Some("name"),
    unique_together: &[],
    checks: &[],
    shorthands: &[],
    prepare: None,
    finish: None,
};
