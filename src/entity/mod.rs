//! Kong's entities: one file each, one table of fields from which validation, PATCH and schemas follow.
pub mod acls;
pub mod ca_certificates;
pub mod certificates;
pub mod checks;
pub mod consumers;
pub mod errors;
#[cfg(test)]
pub mod fixtures;
pub mod mtls_auth_credentials;
pub mod pem;
pub mod plugin_schemas;
pub mod plugins;
pub mod routes;
pub mod rows;
pub(crate) mod rules;
pub mod schema;
pub mod services;
pub mod snis;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod upstreams;
pub mod validate;

use imbl::OrdMap;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Entity types, in the order in which references point backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Certificates,
    Snis,
    CaCertificates,
    Services,
    Routes,
    Consumers,
    MtlsAuthCredentials,
    Acls,
    Upstreams,
    Targets,
    Plugins,
}

/// One normalised entity: every schema field present (unset ones null), defaults filled in.
pub type Entity = Map<String, Value>;

/// The rows of one kind, in ascending id. Persistent: a clone shares all rows, a change copies a path to one of them.
pub type Table = OrdMap<Uuid, Arc<Entity>>;

/// A whole configuration: validated, references resolved to `{"id": …}`. Cheap to clone (`Table`).
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Config {
    pub tables: BTreeMap<Kind, Table>,
}

impl Config {
    pub fn table(&self, kind: Kind) -> impl Iterator<Item = (&Uuid, &Arc<Entity>)> {
        self.tables.get(&kind).into_iter().flatten()
    }

    pub fn insert(&mut self, kind: Kind, id: Uuid, entity: Entity) {
        self.put(kind, id, Arc::new(entity));
    }

    pub fn get(&self, kind: Kind, id: Uuid) -> Option<&Arc<Entity>> {
        self.tables.get(&kind)?.get(&id)
    }

    pub fn put(&mut self, kind: Kind, id: Uuid, entity: Arc<Entity>) {
        self.replace(kind, id, entity);
    }

    /// As `put`; gives back the row that was there.
    pub fn replace(&mut self, kind: Kind, id: Uuid, entity: Arc<Entity>) -> Option<Arc<Entity>> {
        self.tables.entry(kind).or_default().insert(id, entity)
    }

    pub fn remove(&mut self, kind: Kind, id: Uuid) -> Option<Arc<Entity>> {
        let table = self.tables.get_mut(&kind)?;
        let removed = table.remove(&id);
        // An emptied configuration equals one that never held the kind.
        if table.is_empty() {
            self.tables.remove(&kind);
        }
        removed
    }
}
