//! When certificates of the configuration expire, kept in order so that a change costs its own.

use super::expiry_of;
use crate::entity::{Config, Entity, Kind, pem};
use crate::telemetry::metrics::CertificateExpiry;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Not after (unix seconds), and what it is of.
type Entry = (i64, Kind, Uuid, usize);

#[derive(Default)]
pub struct Expiries {
    by_row: HashMap<(Kind, Uuid), Vec<CertificateExpiry>>,
    order: BTreeSet<Entry>,
}

/// The kinds that hold certificates, their fields, and their name in the metric.
const KINDS: [(Kind, &[&str], &str); 2] = [
    (
        Kind::Certificates,
        &["cert", "cert_alt"],
        "certificate",
    ),
    (Kind::CaCertificates, &["cert"], "ca_certificate"),
];

impl Expiries {
    /// All rows of a configuration. Parses every certificate: milliseconds for a hundred, a second for 100,000.
    pub fn of(config: &Config) -> Expiries {
        let mut expiries = Expiries::default();
        for (kind, ..) in KINDS {
            for (id, row) in config.table(kind) {
                expiries.set(kind, *id, Some(row));
            }
        }
        expiries
    }

    /// Takes a row as it is now; kinds without certificates are passed over.
    pub fn set(&mut self, kind: Kind, id: Uuid, row: Option<&Entity>) {
        let Some((_, fields, name)) = KINDS.into_iter().find(|(known, ..)| *known == kind) else {
            return;
        };
        for (at, old) in self
            .by_row
            .remove(&(kind, id))
            .into_iter()
            .flatten()
            .enumerate()
        {
            self.order.remove(&(old.not_after, kind, id, at));
        }
        let Some(row) = row else { return };
        let texts = fields.iter().filter_map(|field| row.get(*field)?.as_str());
        let found: Vec<CertificateExpiry> = texts
            .filter_map(|text| {
                let chain = pem::certificates(text).ok()?;
                expiry_of(name, id.to_string(), chain.first()?)
            })
            .collect();
        for (at, expiry) in found.iter().enumerate() {
            self.order.insert((expiry.not_after, kind, id, at));
        }
        if !found.is_empty() {
            self.by_row.insert((kind, id), found);
        }
    }

    /// Those that expire first, at most `count`, in that order.
    pub fn soonest(&self, count: usize) -> Vec<CertificateExpiry> {
        let first = self.order.iter().take(count);
        first
            .filter_map(|(_, kind, id, at)| self.by_row.get(&(*kind, *id))?.get(*at).cloned())
            .collect()
    }
}
