//! `consumers`, `acls`, `mtls_auth_credentials` as the tables of KONG.md §5.4.

use super::compile::Log;
use super::{Consumer, Consumers, Credential};
use crate::entity::{Config, Kind, rows};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// What `build` reads.
pub(super) const KINDS: [Kind; 3] = [Kind::Consumers, Kind::Acls, Kind::MtlsAuthCredentials];

pub(super) fn build(config: &Config, log: &mut Log) -> Consumers {
    let mut groups: HashMap<Uuid, Vec<Arc<str>>> = HashMap::new();
    for acl in config.rows::<rows::Acl>(Kind::Acls) {
        if let Some(acl) = log.sound(Kind::Acls, acl) {
            groups
                .entry(acl.consumer.id)
                .or_default()
                .push(acl.group.into());
        }
    }
    let mut consumers = Consumers::default();
    for row in config.rows::<rows::Consumer>(Kind::Consumers) {
        let Some(row) = log.sound(Kind::Consumers, row) else {
            continue;
        };
        let groups = groups.remove(&row.id).unwrap_or_default();
        let consumer = Arc::new(Consumer::new(
            row.id,
            row.username.as_deref(),
            row.custom_id.as_deref(),
            groups,
        ));
        if let Some(username) = &consumer.username {
            consumers
                .by_username
                .insert(username.clone(), consumer.clone());
        }
        if let Some(custom_id) = &consumer.custom_id {
            consumers
                .by_custom_id
                .insert(custom_id.clone(), consumer.clone());
        }
        consumers.by_id.insert(row.id, consumer);
    }
    for row in config.rows::<rows::MtlsAuthCredential>(Kind::MtlsAuthCredentials) {
        let Some(row) = log.sound(Kind::MtlsAuthCredentials, row) else {
            continue;
        };
        let Some(consumer) = consumers.by_id.get(&row.consumer.id) else {
            log.fail(
                Kind::MtlsAuthCredentials,
                row.id,
                format!("consumer {} does not exist", row.consumer.id),
            );
            continue;
        };
        let credential = Credential {
            id: row.id,
            ca_certificate: row.ca_certificate.map(|ca| ca.id),
            consumer: consumer.clone(),
        };
        consumers
            .by_subject_name
            .entry(row.subject_name.into())
            .or_default()
            .push(credential);
    }
    consumers
}
