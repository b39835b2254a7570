//! What is accepted but deserves a warning: for the rows of a file, and for one that the Admin API writes.
use super::parallel::parallel;
use super::walk::Item;
use crate::entity::pem;
use crate::entity::{Entity, Kind, checks};
use crate::tls::identity::{Algorithm, Written};
use serde_json::Value;
use std::collections::HashSet;

/// (item, field, text)
pub type Note = (usize, &'static str, String);

/// Days before the end of a certificate from which it is warned about.
const EXPIRY_NOTICE_DAYS: i64 = 30;
/// Bits below which an RSA key is weak (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;
/// Intermediates that the verifier follows (`limits::PATH_INTERMEDIATES_MAX`).
const DEPTH_MAX: u64 = crate::limits::PATH_INTERMEDIATES_MAX as u64;
/// Protocols that routes and services may name and this version does not serve.
const NOT_SERVED: &[&str] = &["grpc", "grpcs", "tcp", "tls", "tls_passthrough", "udp"];

/// What a row is held against.
pub struct Beside<'a> {
    /// Whether one of the CA certificates has this name.
    pub authority: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Whether this is the id or the username of a consumer.
    pub consumer: &'a (dyn Fn(&str) -> bool + Sync),
    /// Unix seconds.
    pub now: i64,
}

/// Looks at the checked rows of a file; `now` is in Unix seconds.
pub fn advise(rows: &[(usize, Entity)], items: &[Item], now: i64) -> Vec<Note> {
    let authorities = authorities(rows, items);
    let consumers = consumers(rows, items);
    let beside = Beside {
        authority: &|name| authorities.contains(name),
        consumer: &|name| consumers.contains(name),
        now,
    };
    let of_one = |(item, row): &(usize, Entity)| -> Vec<Note> {
        let notes = of_row(items[*item].kind, row, &beside).into_iter();
        notes.map(|(field, text)| (*item, field, text)).collect()
    };
    parallel(rows.iter().collect(), of_one)
        .into_iter()
        .flatten()
        .collect()
}

/// Field and text of everything that one checked row deserves. No text has content of the row that may be secret.
pub fn of_row(kind: Kind, row: &Entity, beside: &Beside<'_>) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    let mut note = |field: &'static str, text: String| notes.push((field, text));
    match kind {
        Kind::Certificates => {
            certificate(row, "cert", beside, &mut note);
            certificate(row, "cert_alt", beside, &mut note);
        }
        Kind::CaCertificates => {
            for facts in chain(row, "cert") {
                dates(&facts, "cert", "the certificate", beside.now, &mut note);
                strength(&facts, "cert", "the certificate", &mut note);
            }
        }
        Kind::Services => service(row, &mut note),
        Kind::Routes => route(row, &mut note),
        Kind::Plugins => plugin(row, beside, &mut note),
        _ => {}
    }
    notes
}

/// The subject of each certificate of a row, as `Beside::authority` is asked for it.
pub fn subjects(row: &Entity) -> Vec<Vec<u8>> {
    let chain = chain(row, "cert").into_iter();
    chain.map(|facts| facts.subject).collect()
}

/// Names of the CA certificates of the file.
fn authorities(rows: &[(usize, Entity)], items: &[Item]) -> HashSet<Vec<u8>> {
    let cas = rows
        .iter()
        .filter(|(item, _)| items[*item].kind == Kind::CaCertificates);
    cas.flat_map(|(_, row)| subjects(row)).collect()
}

/// Ids and usernames of the consumers of the file.
fn consumers<'a>(rows: &'a [(usize, Entity)], items: &[Item]) -> HashSet<&'a str> {
    let consumers = rows
        .iter()
        .filter(|(item, _)| items[*item].kind == Kind::Consumers);
    let names = consumers.flat_map(|(_, row)| [row.get("id"), row.get("username")]);
    names.flatten().filter_map(Value::as_str).collect()
}

fn certificate(
    row: &Entity,
    field: &'static str,
    beside: &Beside<'_>,
    note: &mut impl FnMut(&'static str, String),
) {
    let chain = chain(row, field);
    for (index, facts) in chain.iter().enumerate() {
        let which = match index {
            0 => "the certificate".to_owned(),
            index => format!(
                "certificate {} of the chain ({})",
                index + 1,
                facts.subject_text
            ),
        };
        dates(facts, field, &which, beside.now, note);
        strength(facts, field, &which, note);
    }
    for (index, pair) in chain.windows(2).enumerate() {
        if let [below, above] = pair
            && below.issuer != above.subject
        {
            note(
                field,
                format!(
                    "the chain is out of order: certificate {} ({}) is not the issuer of the one before it",
                    index + 2,
                    above.subject_text
                ),
            );
        }
    }
    if let [leaf] = chain.as_slice()
        && leaf.issuer != leaf.subject
        && !(beside.authority)(&leaf.issuer)
    {
        note(
            field,
            "the chain may be incomplete: it holds the leaf alone, and its issuer is none of the ca_certificates; \
             add the intermediate certificates unless the issuer is a root"
                .to_owned(),
        );
    }
}

fn dates(
    facts: &Written,
    field: &'static str,
    which: &str,
    now: i64,
    note: &mut impl FnMut(&'static str, String),
) {
    const DAY: i64 = 86_400;
    let left = facts.not_after.saturating_sub(now);
    if left < 0 {
        note(field, format!("{which} has expired"));
    } else if left < EXPIRY_NOTICE_DAYS * DAY {
        note(field, format!("{which} expires in {} days", left / DAY));
    }
    if facts.not_before > now {
        note(field, format!("{which} is not valid yet"));
    }
}

fn strength(
    facts: &Written,
    field: &'static str,
    which: &str,
    note: &mut impl FnMut(&'static str, String),
) {
    if facts.public_key.algorithm == Algorithm::Rsa && facts.rsa_bits < RSA_BITS_MIN {
        note(
            field,
            format!(
                "{which} has a weak key: RSA of {} bits, {RSA_BITS_MIN} are the least",
                facts.rsa_bits
            ),
        );
    }
    if let Some(name) = facts.weak_signature {
        note(field, format!("{which} has a weak signature: {name}"));
    }
}

fn service(row: &Entity, note: &mut impl FnMut(&'static str, String)) {
    if row.get("tls_verify") == Some(&Value::Bool(false)) {
        note(
            "tls_verify",
            "the certificate of the upstream is not verified: anyone on the path can answer in its place".into(),
        );
    }
    let depth = row.get("tls_verify_depth").and_then(Value::as_u64);
    if let Some(depth) = depth.filter(|depth| *depth > DEPTH_MAX) {
        note(
            "tls_verify_depth",
            format!(
                "{depth} is accepted, but at most {DEPTH_MAX} intermediate certificates are followed"
            ),
        );
    }
    let protocol = row
        .get("protocol")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if NOT_SERVED.contains(&protocol) {
        note(
            "protocol",
            format!(
                "services of protocol '{protocol}' are kept but not yet served; requests get 503"
            ),
        );
    }
}

fn route(row: &Entity, note: &mut impl FnMut(&'static str, String)) {
    let texts = |field: &str| {
        row.get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let protocols = texts("protocols").filter_map(Value::as_str);
    let not_served: Vec<String> = protocols
        .filter(|protocol| NOT_SERVED.contains(protocol))
        .map(|protocol| format!("'{protocol}'"))
        .collect();
    if !not_served.is_empty() {
        note(
            "protocols",
            format!(
                "routes of protocol {} are kept but not yet served; they match nothing",
                not_served.join(" and ")
            ),
        );
    }
    for sni in texts("snis").filter_map(Value::as_str) {
        if checks::is_uuid(sni) {
            note(
                "snis",
                format!(
                    "'{sni}' looks like an id; snis of a route are host names, so this matches no TLS request"
                ),
            );
        }
    }
}

fn plugin(row: &Entity, beside: &Beside<'_>, note: &mut impl FnMut(&'static str, String)) {
    let config = |field: &str| row.get("config").and_then(|config| config.get(field));
    let mtls = row.get("name").is_some_and(|name| name == "mtls-auth");
    // STRICT is refused by the schema.
    if let Some(mode) = config("revocation_check_mode").and_then(Value::as_str)
        && mtls
    {
        note(
            "config.revocation_check_mode",
            format!("{mode} is stored, but this version does not look revocation up yet"),
        );
    }
    for (field, at) in [
        ("anonymous", "config.anonymous"),
        ("default_consumer", "config.default_consumer"),
    ] {
        let name = config(field).and_then(Value::as_str).filter(|_| mtls);
        if let Some(name) = name.filter(|name| !(beside.consumer)(name)) {
            note(
                at,
                format!(
                    "'{name}' is neither the id nor the username of a consumer: such requests end in 500"
                ),
            );
        }
    }
}

/// The facts of each certificate of a PEM field; empty when it is unset.
fn chain(row: &Entity, field: &str) -> Vec<Written> {
    let text = row.get(field).and_then(Value::as_str).unwrap_or_default();
    let chain = pem::certificates(text).unwrap_or_default();
    chain
        .iter()
        .filter_map(|der| pem::written(der).ok())
        .collect()
}
