//! `ca_certificates` (KONG.md §1.4).
use super::errors::Errors;
use super::pem;
use super::schema::{Auto, EntityCheck, Field, Schema, common};
use super::validate::Context;
use super::{Entity, Kind};
use serde_json::Value;

pub static SCHEMA: Schema = Schema {
    kind: Kind::CaCertificates,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        Field::string("cert").required().referenceable(),
        Field::string("cert_digest").unique().auto(Auto::Computed),
        common::TAGS,
    ],
    endpoint_key: None,
    unique_together: &[],
    checks: &[EntityCheck::Custom {
        fields: &["cert"],
        run: is_one_valid_ca,
    }],
    shorthands: &[],
    prepare: None,
    finish: Some(put_digest),
};

/// In the order given by KONG.md §1.4; the first that fails is the one reported.
fn is_one_valid_ca(row: &Entity, ctx: &Context<'_>, errors: &mut Errors) {
    let Some(text) = row.get("cert").and_then(Value::as_str) else {
        return;
    };
    if pem::is_reference(text) {
        return errors.entity("invalid certificate: a CA certificate cannot be a reference here");
    }
    if let Err(reason) = check(text, ctx.now_ms / 1000) {
        errors.entity(reason);
    }
}

fn check(text: &str, now: i64) -> Result<(), String> {
    let chain = pem::certificates(text)?;
    let facts = chain
        .iter()
        .map(|der| pem::written(der))
        .collect::<Result<Vec<_>, _>>()?;
    let [facts] = facts.as_slice() else {
        return Err("please submit only one certificate at a time".into());
    };
    if facts.not_after < now {
        return Err("certificate expired, \"Not After\" time is in the past".into());
    }
    if !facts.is_ca {
        return Err(
            "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
                .into(),
        );
    }
    Ok(())
}

fn put_digest(row: &mut Entity) {
    let digest = row
        .get("cert")
        .and_then(Value::as_str)
        .and_then(|text| pem::certificates(text).ok())
        .and_then(|chain| chain.first().map(|der| pem::digest(der)));
    row.insert("cert_digest".into(), digest.into());
}
