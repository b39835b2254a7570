//! `consumers`, `acls`, `mtls_auth_credentials` as the tables of KONG.md §5.4.

use super::changes::{Pass, Referrers, referred};
use super::tls_glue::Builder;
use super::{Consumer, Consumers, Credential};
use crate::entity::{Entity, Kind, rows};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The tables, and which rows refer to a consumer.
#[derive(Clone, Default)]
pub(super) struct Known {
    tables: Arc<Consumers>,
    acls: Referrers,
    credentials: Referrers,
}

impl Known {
    pub fn tables(&self) -> &Arc<Consumers> {
        &self.tables
    }

    pub fn change<B: Builder>(&mut self, pass: &mut Pass<B>) {
        let changes = pass.changes;
        let mut consumers = BTreeSet::new();
        for (id, change) in changes.of(Kind::Acls) {
            if let Some(new) = &change.new {
                pass.log.row::<rows::Acl>(Kind::Acls, id, new);
            }
            self.acls.follow(id, "consumer", change);
            let rows = [&change.old, &change.new].into_iter().flatten();
            consumers.extend(rows.filter_map(|row| referred(row, "consumer")));
        }
        consumers.extend(changes.of(Kind::Consumers).map(|(id, _)| id));
        let mut credentials = BTreeSet::new();
        for (id, change) in changes.of(Kind::MtlsAuthCredentials) {
            self.credentials.follow(id, "consumer", change);
            credentials.insert(id);
        }
        for consumer in &consumers {
            credentials.extend(self.credentials.of(*consumer));
        }
        if consumers.is_empty() && credentials.is_empty() {
            return;
        }
        let tables = Arc::make_mut(&mut self.tables);
        // All go before any comes: one may take the name of another.
        for id in &credentials {
            if let Some(old) = pass.old.get(Kind::MtlsAuthCredentials, *id) {
                tables.forget_credential(*id, old);
            }
        }
        for id in &consumers {
            tables.forget(*id);
        }
        for id in consumers {
            let new = pass.new;
            let Some(entity) = new.get(Kind::Consumers, id) else {
                continue;
            };
            let Some(row) = pass.log.row::<rows::Consumer>(Kind::Consumers, id, entity) else {
                continue;
            };
            let acls = self.acls.of(id);
            let groups = acls.filter_map(|acl| {
                let group = new.get(Kind::Acls, acl)?.get("group")?.as_str()?;
                Some(Arc::from(group))
            });
            tables.add(Consumer::new(
                id,
                row.username.as_deref(),
                row.custom_id.as_deref(),
                groups.collect(),
            ));
        }
        for id in credentials {
            let new = pass.new;
            let Some(entity) = new.get(Kind::MtlsAuthCredentials, id) else {
                continue;
            };
            let row = pass.log.row(Kind::MtlsAuthCredentials, id, entity);
            let added = row.map(|row: rows::MtlsAuthCredential| tables.add_credential(row));
            if let Some(Err(reason)) = added {
                pass.log.fail(Kind::MtlsAuthCredentials, id, reason);
            }
        }
    }
}

impl Consumers {
    fn add(&mut self, consumer: Consumer) {
        let consumer = Arc::new(consumer);
        if let Some(username) = &consumer.username {
            self.by_username.insert(username.clone(), consumer.clone());
        }
        if let Some(custom_id) = &consumer.custom_id {
            self.by_custom_id
                .insert(custom_id.clone(), consumer.clone());
        }
        self.by_id.insert(consumer.id, consumer);
    }

    fn forget(&mut self, id: Uuid) {
        let Some(old) = self.by_id.remove(&id) else {
            return;
        };
        let names = [
            (&mut self.by_username, &old.username),
            (&mut self.by_custom_id, &old.custom_id),
        ];
        for (table, name) in names {
            if let Some(name) = name
                && table.get(name).is_some_and(|held| held.id == id)
            {
                table.remove(name);
            }
        }
    }

    fn add_credential(&mut self, row: rows::MtlsAuthCredential) -> Result<(), String> {
        let consumer = self.by_id.get(&row.consumer.id);
        let consumer =
            consumer.ok_or_else(|| format!("consumer {} does not exist", row.consumer.id))?;
        let credential = Credential {
            id: row.id,
            ca_certificate: row.ca_certificate.map(|ca| ca.id),
            consumer: consumer.clone(),
        };
        let held = self
            .by_subject_name
            .entry(row.subject_name.into())
            .or_default();
        let place = held.partition_point(|other| other.id < credential.id);
        held.insert(place, credential);
        Ok(())
    }

    fn forget_credential(&mut self, id: Uuid, row: &Entity) {
        let Some(name) = row.get("subject_name").and_then(|name| name.as_str()) else {
            return;
        };
        let Some(held) = self.by_subject_name.get_mut(name) else {
            return;
        };
        if let Ok(place) = held.binary_search_by_key(&id, |credential| credential.id) {
            held.remove(place);
        }
        if held.is_empty() {
            self.by_subject_name.remove(name);
        }
    }
}
