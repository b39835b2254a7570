//! What one compilation starts from, and who refers to whom.

use super::Globals;
use super::report::Log;
use super::tls_glue::Builder;
use crate::entity::{Config, Entity, Kind, Table};
use imbl::OrdSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// One compilation on its way.
pub(super) struct Pass<'a, B: Builder> {
    pub builder: &'a B,
    pub globals: &'a Globals<B>,
    pub old: &'a Config,
    pub new: &'a Config,
    pub changes: &'a Changes,
    /// Services to be judged again for what they refer to.
    pub services: BTreeSet<Uuid>,
    /// The same of plugins.
    pub plugins: BTreeSet<Uuid>,
    pub log: Log,
}

/// Rows that differ.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<Kind, BTreeMap<Uuid, Change>>);

/// A row before and after. At least one is there, and they are not equal.
pub(super) struct Change {
    pub old: Option<Arc<Entity>>,
    pub new: Option<Arc<Entity>>,
}

impl Changes {
    /// Those of `listed` that differ.
    pub fn listed(old: &Config, new: &Config, listed: &[(Kind, Uuid)]) -> Changes {
        let mut changes = Changes::default();
        for (kind, id) in listed {
            changes.note(*kind, *id, old.get(*kind, *id), new.get(*kind, *id));
        }
        changes
    }

    /// All that differ. Walks every table that is not the very same.
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut changes = Changes::default();
        let none = Table::new();
        let kinds: BTreeSet<_> = old.tables.keys().chain(new.tables.keys()).collect();
        for kind in kinds {
            let table = |config: &'_ Config| config.tables.get(kind).cloned();
            let (old, new) = (table(old), table(new));
            let (old, new) = (old.as_ref().unwrap_or(&none), new.as_ref().unwrap_or(&none));
            if old.ptr_eq(new) {
                continue;
            }
            for (id, row) in old {
                changes.note(*kind, *id, Some(row), new.get(id));
            }
            for (id, row) in new {
                if !old.contains_key(id) {
                    changes.note(*kind, *id, None, Some(row));
                }
            }
        }
        changes
    }

    pub fn has(&self, kind: Kind, id: Uuid) -> bool {
        self.0.get(&kind).is_some_and(|rows| rows.contains_key(&id))
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (Uuid, &Change)> {
        let changes = self.0.get(&kind).into_iter().flatten();
        changes.map(|(id, change)| (*id, change))
    }

    fn note(&mut self, kind: Kind, id: Uuid, old: Option<&Arc<Entity>>, new: Option<&Arc<Entity>>) {
        let same = match (old, new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (None, None) => true,
            _ => false,
        };
        if !same {
            let change = Change {
                old: old.cloned(),
                new: new.cloned(),
            };
            self.0.entry(kind).or_default().insert(id, change);
        }
    }
}

impl Change {
    /// Whether one of these fields is another, or the row has come or gone.
    pub fn touches(&self, fields: &[&str]) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => fields
                .iter()
                .any(|field| old.get(*field) != new.get(*field)),
            _ => true,
        }
    }
}

/// Pairs of who is referred to and who refers; one direction of a foreign key or of a list of ids.
#[derive(Clone, Default)]
pub(super) struct Referrers(OrdSet<(Uuid, Uuid)>);

impl Referrers {
    pub fn insert(&mut self, to: Uuid, from: Uuid) {
        self.0.insert((to, from));
    }

    pub fn remove(&mut self, to: Uuid, from: Uuid) {
        self.0.remove(&(to, from));
    }

    /// In ascending id.
    pub fn of(&self, to: Uuid) -> impl Iterator<Item = Uuid> + '_ {
        let pairs = self.0.range((to, Uuid::nil())..=(to, Uuid::max()));
        pairs.map(|(_, from)| *from)
    }

    pub fn has(&self, to: Uuid) -> bool {
        self.of(to).next().is_some()
    }

    /// Follows a foreign key in `field` of `from`.
    pub fn follow(&mut self, from: Uuid, field: &str, change: &Change) {
        if let Some(to) = change.old.as_ref().and_then(|row| referred(row, field)) {
            self.remove(to, from);
        }
        if let Some(to) = change.new.as_ref().and_then(|row| referred(row, field)) {
            self.insert(to, from);
        }
    }

    /// The same of a list of ids.
    pub fn follow_list(&mut self, from: Uuid, old: &[Uuid], new: &[Uuid]) {
        old.iter().for_each(|to| self.remove(*to, from));
        new.iter().for_each(|to| self.insert(*to, from));
    }
}

/// The id in a foreign key; `None` also where there is none.
pub(super) fn referred(row: &Entity, field: &str) -> Option<Uuid> {
    let id = row.get(field)?.get("id")?.as_str()?;
    Uuid::try_parse(id).ok()
}

/// The ids in a list; empty also where there is none.
pub(super) fn listed(row: Option<&Arc<Entity>>, field: &str) -> Vec<Uuid> {
    let list = row.and_then(|row| row.get(field)?.as_array());
    let ids = list.into_iter().flatten();
    ids.filter_map(|id| Uuid::try_parse(id.as_str()?).ok())
        .collect()
}
