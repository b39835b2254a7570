//! `mtls_auth_credentials` (KONG.md §1.8). Deleting a CA deletes the credentials bound to it: a null would
//! widen them to any CA (KONG.md §11, point 9).
use super::Kind;
use super::schema::{Field, OnDelete, Schema, common};

pub static SCHEMA: Schema = Schema {
    kind: Kind::MtlsAuthCredentials,
    fields: &[
        common::ID,
        common::CREATED_AT,
        Field::foreign("consumer", Kind::Consumers, OnDelete::Cascade).required(),
        Field::string("subject_name").required(),
        Field::foreign("ca_certificate", Kind::CaCertificates, OnDelete::Cascade),
        common::TAGS,
    ],
    endpoint_key: None,
    unique_together: &[&["subject_name", "ca_certificate"]],
    checks: &[],
    shorthands: &[],
    prepare: None,
    finish: None,
};
