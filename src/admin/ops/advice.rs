//! What is accepted but deserves a warning: a line of the log for each thing about a row that was written.

use crate::declarative::advise::{self, Beside};
use crate::entity::{Entity, Kind};
use crate::limits::ADVICE_AUTHORITIES_MAX;
use crate::store::{Change, Image};
use uuid::Uuid;

/// `services 0f…: tls_verify: the certificate …`, for rows put on top of `image`. No line has a body or a key.
///
/// What the compilation of the change tells of by itself (`snapshot`, where `Globals::advised` is off) is left out.
pub fn lines(image: &Image, writes: &[Change], now_s: i64) -> Vec<String> {
    let consumer = |name: &str| match name.parse::<Uuid>() {
        Ok(id) => image.get(Kind::Consumers, id).is_some(),
        Err(_) => image.find(Kind::Consumers, "username", name).is_some(),
    };
    let authority = |name: &[u8]| is_authority(image, name);
    let beside = Beside {
        authority: &authority,
        consumer: &consumer,
        now: now_s,
    };
    let mut lines = Vec::new();
    for Change { kind, id, row } in writes {
        let Some(row) = row else { continue };
        for (field, text) in advise::of_row(*kind, row, &beside) {
            if !TOLD_BY_SNAPSHOT.contains(&(*kind, field)) {
                lines.push(format!("{} {id}: {field}: {text}", kind.name()));
            }
        }
    }
    lines
}

const TOLD_BY_SNAPSHOT: &[(Kind, &str)] = &[
    (Kind::Services, "protocol"),
    (Kind::Services, "tls_verify"),
    (Kind::Services, "tls_verify_depth"),
    (Kind::Routes, "protocols"),
];

/// With too many to look through for one row, any might be.
fn is_authority(image: &Image, name: &[u8]) -> bool {
    let stored = image.config.table(Kind::CaCertificates);
    let mut seen = 0;
    for (_, row) in stored {
        seen += 1;
        if seen > ADVICE_AUTHORITIES_MAX || is_named(row, name) {
            return true;
        }
    }
    false
}

fn is_named(row: &Entity, name: &[u8]) -> bool {
    advise::subjects(row).iter().any(|subject| subject == name)
}
