//! When certificates of the configuration expire, kept in order so that a change costs its own.

use super::expiry_of;
use crate::entity::{Config, Entity, Kind, pem};
use crate::telemetry::metrics::CertificateExpiry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Default)]
pub struct Expiries {
    /// What settings name; part of every answer.
    own: Vec<CertificateExpiry>,
    by_row: HashMap<(Kind, Uuid), Row>,
    /// Not after (unix seconds), and what it is of.
    order: BTreeSet<(i64, Kind, Uuid, usize)>,
}

struct Row {
    /// What was parsed.
    entity: Arc<Entity>,
    found: Vec<CertificateExpiry>,
}

/// The kinds that hold certificates, their fields, and their name in the metric.
const KINDS: [(Kind, &[&str], &str); 2] = [
    (Kind::Certificates, &["cert", "cert_alt"], "certificate"),
    (Kind::CaCertificates, &["cert"], "ca_certificate"),
];

impl Expiries {
    pub fn set_own(&mut self, own: Vec<CertificateExpiry>) {
        self.own = own;
    }

    /// Takes a whole configuration. Rows it has seen are not parsed again; all others are: a second for 100,000.
    pub fn sync(&mut self, config: &Config) {
        for (kind, id) in self.differing(config) {
            self.set(kind, id, config.get(kind, id));
        }
    }

    /// The rows to `set` so that this is a whole configuration's.
    pub fn differing(&self, config: &Config) -> Vec<(Kind, Uuid)> {
        let known = self.by_row.keys().copied();
        let gone = known.filter(|(kind, id)| config.get(*kind, *id).is_none());
        let tables = KINDS
            .into_iter()
            .flat_map(|(kind, ..)| config.table(kind).map(move |(id, row)| (kind, *id, row)));
        let new = tables.filter(|(kind, id, row)| {
            let old = self.by_row.get(&(*kind, *id));
            old.is_none_or(|old| !Arc::ptr_eq(&old.entity, row))
        });
        gone.chain(new.map(|(kind, id, _)| (kind, id))).collect()
    }

    /// Takes a row as it is now; kinds without certificates are passed over.
    pub fn set(&mut self, kind: Kind, id: Uuid, row: Option<&Arc<Entity>>) {
        let Some((_, fields, name)) = KINDS.into_iter().find(|(known, ..)| *known == kind) else {
            return;
        };
        let old = self.by_row.get(&(kind, id));
        if let (Some(old), Some(row)) = (old, row)
            && Arc::ptr_eq(&old.entity, row)
        {
            return;
        }
        if let Some(old) = self.by_row.remove(&(kind, id)) {
            for (at, expiry) in old.found.iter().enumerate() {
                self.order.remove(&(expiry.not_after, kind, id, at));
            }
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
        let entity = Arc::clone(row);
        self.by_row.insert((kind, id), Row { entity, found });
    }

    /// Those that expire first, at most `count`, in that order.
    pub fn soonest(&self, count: usize) -> Vec<CertificateExpiry> {
        let rows = self.order.iter().take(count);
        let mut first: Vec<CertificateExpiry> = rows
            .filter_map(|(_, kind, id, at)| self.by_row.get(&(*kind, *id))?.found.get(*at).cloned())
            .chain(self.own.iter().cloned())
            .collect();
        first.sort_by_key(|expiry| expiry.not_after);
        first.truncate(count);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::fixtures;
    use serde_json::Value;

    fn row(cert: &str) -> Arc<Entity> {
        Arc::new(Entity::from_iter([("cert".to_owned(), Value::from(cert))]))
    }

    fn ids(expiries: &Expiries, count: usize) -> Vec<String> {
        let first = expiries.soonest(count);
        first.into_iter().map(|expiry| expiry.id).collect()
    }

    #[test]
    fn the_order_follows_each_change_and_a_whole_configuration_alike() {
        let [one, two, own] = [1, 2, 3].map(Uuid::from_u128);
        let named = |id: Uuid, not_after| CertificateExpiry {
            kind: "default",
            id: id.to_string(),
            name: String::new(),
            not_after,
        };
        let mut expiries = Expiries::default();
        expiries.set_own(vec![named(own, 5)]);
        expiries.set(Kind::Certificates, one, Some(&row(fixtures::LEAF)));
        expiries.set(Kind::Services, two, Some(&row(fixtures::LEAF)));
        assert_eq!(
            ids(&expiries, 9),
            [own.to_string(), one.to_string()],
            "other kinds hold none"
        );
        expiries.set(Kind::CaCertificates, two, Some(&row(fixtures::ROOT)));
        assert_eq!(ids(&expiries, 9).len(), 3);
        assert_eq!(ids(&expiries, 1), [own.to_string()]);
        expiries.set(Kind::Certificates, one, Some(&row("not a certificate")));
        assert_eq!(ids(&expiries, 9), [own.to_string(), two.to_string()]);
        let mut config = Config::default();
        config.put(Kind::Certificates, one, row(fixtures::LEAF));
        let mut differing = expiries.differing(&config);
        differing.sort();
        assert_eq!(
            differing,
            [(Kind::Certificates, one), (Kind::CaCertificates, two)],
            "one has another row, the other is gone"
        );
        expiries.sync(&config);
        assert_eq!(expiries.differing(&config), []);
        assert_eq!(ids(&expiries, 9), [own.to_string(), one.to_string()]);
        expiries.set(Kind::Certificates, one, None);
        assert_eq!(ids(&expiries, 9), [own.to_string()]);
    }
}
