//! `certificates` (KONG.md §1.2).
use super::errors::Errors;
use super::pem;
use super::schema::{EntityCheck, Field, Schema, common};
use super::validate::Context;
use super::{Entity, Kind, checks};
use crate::tls::identity::{Algorithm, Written};
use serde_json::Value;
use std::collections::HashSet;
use uuid::Uuid;

pub static SCHEMA: Schema = Schema {
    kind: Kind::Certificates,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        Field::string("cert").required().check(cert).referenceable(),
        // Parsed by `key_belongs_to_certificate`: once, because parsing a key costs more than all else.
        Field::string("key").required().referenceable(),
        Field::string("cert_alt").check(cert).referenceable(),
        Field::string("key_alt").referenceable(),
        common::TAGS,
        Field::array("snis", &SNI).transient(),
    ],
    endpoint_key: None,
    unique_together: &[],
    checks: &[
        EntityCheck::AllOrNone(&["cert_alt", "key_alt"]),
        EntityCheck::Custom {
            fields: &["cert", "key"],
            run: pair_matches,
        },
        EntityCheck::Custom {
            fields: &["cert_alt", "key_alt"],
            run: alternative_pair_matches,
        },
        EntityCheck::Custom {
            fields: &["cert", "cert_alt"],
            run: types_differ,
        },
    ],
    shorthands: &[],
    prepare: None,
    finish: None,
};

const SNI: Field = Field::string("").check(checks::wildcard_host);

/// Checks the names of a certificate's `snis` against each other and against their owners.
///
/// `owner_of` names the certificate that has the SNI now; one owned by `certificate` itself is fine.
pub fn check_snis(
    names: &[String],
    certificate: Option<Uuid>,
    owner_of: impl Fn(&str) -> Option<Uuid>,
) -> Result<(), Errors> {
    let mut errors = Errors::default();
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.as_str()) {
            errors.field("snis", format!("{name} is duplicated"));
        }
        if let Some(owner) = owner_of(name).filter(|owner| Some(*owner) != certificate) {
            errors.field(
                "snis",
                format!("{name} already associated with existing certificate '{owner}'"),
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Takes the transient names out of a checked certificate; `None` when the input had no `snis`.
pub fn take_snis(certificate: &mut Entity) -> Option<Vec<String>> {
    match certificate.remove("snis")? {
        Value::Array(names) => Some(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        _ => Some(Vec::new()),
    }
}

fn cert(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if pem::is_reference(text) {
        return Err(format!("invalid certificate: {A_REFERENCE}"));
    }
    for der in pem::certificates(text)? {
        pem::written(&der)?;
    }
    Ok(())
}

fn pair_matches(row: &Entity, _: &Context<'_>, errors: &mut Errors) {
    match_pair(row, "cert", "key", "certificate does not match key", errors);
}

fn alternative_pair_matches(row: &Entity, _: &Context<'_>, errors: &mut Errors) {
    let text = "alternative certificate does not match key";
    match_pair(row, "cert_alt", "key_alt", text, errors);
}

/// A file's are followed before its rows are checked. One that is stored would never be followed, handshakes with it would
/// be aborted, and the file that it is exported to could not be imported.
const A_REFERENCE: &str = "references are followed in declarative files only, send the PEM text";

fn match_pair(row: &Entity, cert: &str, key: &str, mismatch: &str, errors: &mut Errors) {
    let Some(key_text) = text(row, key) else {
        return;
    };
    if pem::is_reference(key_text) {
        return errors.field(key, format!("invalid key: {A_REFERENCE}"));
    }
    match pem::public_of_key(key_text) {
        Err(reason) => errors.field(key, reason),
        Ok(public) => {
            let Some(leaf) = text(row, cert).and_then(leaf) else {
                return;
            };
            if leaf.public_key.algorithm == Algorithm::Other {
                errors.field(cert, NO_SUCH_KEY);
            } else if leaf.public_key != public {
                errors.entity(mismatch);
            }
        }
    }
}

fn types_differ(row: &Entity, _: &Context<'_>, errors: &mut Errors) {
    let algorithm = |field| Some(text(row, field).and_then(leaf)?.public_key.algorithm);
    if let (Some(first), Some(second)) = (algorithm("cert"), algorithm("cert_alt"))
        && first == second
    {
        errors.entity(
            "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), \
             the provided certificates were both of the same type",
        );
    }
}

const NO_SUCH_KEY: &str = "invalid certificate: the public key is neither RSA, nor ECDSA on P-256, P-384 or P-521, nor Ed25519";

/// The field's text, unless it is unset.
fn text<'a>(row: &'a Entity, field: &str) -> Option<&'a str> {
    row.get(field)?.as_str()
}

fn leaf(text: &str) -> Option<Written> {
    pem::written(pem::certificates(text).ok()?.first()?).ok()
}
