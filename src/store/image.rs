//! One consistent state: rows, and the indexes that rules between entities need.
//!
//! Everything in it is a persistent map: a clone shares all of it, a change copies paths of a few trees.

use super::relations::{self, IndexNumber, RelationNumber};
use super::{Change, Key, Revision};
use crate::entity::{Config, Entity, Kind};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// Cheap to clone; a change copies paths, not tables.
#[derive(Clone, Debug)]
pub struct Image {
    pub revision: Revision,
    /// To read. Rows change through `apply` only, which keeps the indexes in step.
    pub config: Config,
    /// When each row last changed.
    rows: imbl::HashMap<(Kind, Uuid), Revision>,
    /// By `IndexNumber`: who has a value.
    unique: Vec<imbl::HashMap<Arc<str>, Holder>>,
    /// Who refers to whom: in ascending id of the referrer below relation and target.
    edges: imbl::OrdSet<(RelationNumber, Uuid, Uuid)>,
    /// Rows of a kind that refer to a row. Absent: none.
    referrers: imbl::HashMap<(Kind, Uuid, Kind), Tally>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holder {
    id: Uuid,
    revision: Revision,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tally {
    /// Edges, of all relations of the kind.
    count: usize,
    revision: Revision,
}

impl Default for Image {
    /// Nothing, at revision 0.
    fn default() -> Image {
        Image {
            revision: 0,
            config: Config::default(),
            rows: imbl::HashMap::new(),
            unique: vec![imbl::HashMap::new(); relations::indexes().len()],
            edges: imbl::OrdSet::new(),
            referrers: imbl::HashMap::new(),
        }
    }
}

impl Image {
    /// The state at revision 1 that holds these rows, which are taken as checked.
    pub fn build(config: Config) -> Image {
        Image::build_at(config, 1)
    }

    /// As `build`: every row counts as changed at `revision`.
    pub fn build_at(config: Config, revision: Revision) -> Image {
        let mut image = Image {
            revision,
            ..Image::default()
        };
        for kind in Kind::ALL {
            for (id, row) in config.table(kind) {
                image.index(kind, *id, None, Some(row), revision);
            }
        }
        image.config = config;
        image
    }

    pub fn get(&self, kind: Kind, id: Uuid) -> Option<&Arc<Entity>> {
        self.config.get(kind, id)
    }

    /// Who has this value of a unique field (an endpoint key, for one). SNI names compare in lower case.
    pub fn find(&self, kind: Kind, field: &str, value: &str) -> Option<Uuid> {
        let (number, index) = relations::index(kind, &[field])?;
        self.holder(number, &index.folded(value))
    }

    /// The rows of `from` whose `field` refers to the row `id` of `to`, in ascending id.
    pub fn referrers(
        &self,
        from: Kind,
        field: &str,
        to: Kind,
        id: Uuid,
    ) -> impl Iterator<Item = Uuid> {
        self.referrers_after(from, field, to, id, None)
    }

    /// As `referrers`, those whose id is greater than `after`: the next page of a list.
    pub fn referrers_after(
        &self,
        from: Kind,
        field: &str,
        to: Kind,
        id: Uuid,
        after: Option<Uuid>,
    ) -> impl Iterator<Item = Uuid> {
        let number = relations::number(from, field, to);
        number
            .into_iter()
            .flat_map(move |number| self.edges_to(number, id, after))
    }

    /// Brings rows and indexes to `revision`.
    pub fn apply(&mut self, changes: &[Change], revision: Revision) {
        for change in changes {
            let old = match &change.row {
                Some(row) => self.config.replace(change.kind, change.id, row.clone()),
                None => self.config.remove(change.kind, change.id),
            };
            let (old, new) = (old.as_ref(), change.row.as_ref());
            self.index(change.kind, change.id, old, new, revision);
        }
        self.revision = revision;
    }

    /// When what `key` names last changed; 0: it is not there.
    pub fn changed_at(&self, key: &Key) -> Revision {
        match key {
            Key::Row(kind, id) => self.rows.get(&(*kind, *id)).copied(),
            Key::Unique {
                kind,
                fields,
                value,
            } => {
                let number = relations::index(*kind, fields).map(|(number, _)| number);
                let holder = number.and_then(|number| self.unique.get(number)?.get(&**value));
                holder.map(|holder| holder.revision)
            }
            Key::Referrers { to, id, from } => self
                .referrers
                .get(&(*to, *id, *from))
                .map(|tally| tally.revision),
        }
        .unwrap_or(0)
    }

    /// Whether everything is as the batch expects.
    pub fn admits(&self, expected: &[(Key, Revision)]) -> bool {
        expected
            .iter()
            .all(|(key, revision)| self.changed_at(key) == *revision)
    }

    /// Whether the rows keep the rules between them: no value twice, no reference to what is not there.
    ///
    /// # Errors
    /// The first row that does not.
    pub fn check(&self) -> Result<(), String> {
        for kind in Kind::ALL {
            for (id, row) in self.config.table(kind) {
                for (number, index) in relations::indexes_of(kind) {
                    let holder = index
                        .value(row)
                        .and_then(|value| self.holder(number, &value));
                    if holder.is_some_and(|holder| holder != *id) {
                        return Err(format!(
                            "{}: two rows have the same {}, {id} is one of them",
                            kind.name(),
                            index.fields.join(", ")
                        ));
                    }
                }
                for (_, relation) in relations::of(kind) {
                    for target in relation.targets(row) {
                        if self.get(relation.to, target).is_none() {
                            return Err(format!(
                                "{} {id}: {} refers to {target}, which is not there",
                                kind.name(),
                                relation.field
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows of all kinds.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Whether both hold the same rows, and indexes that say the same.
    #[cfg(test)]
    pub(super) fn is_like(&self, other: &Image) -> bool {
        let ids = |image: &Image| -> Vec<std::collections::BTreeMap<Arc<str>, Uuid>> {
            let holders = image.unique.iter();
            holders
                .map(|of| {
                    of.iter()
                        .map(|(value, of)| (value.clone(), of.id))
                        .collect()
                })
                .collect()
        };
        let counts = |image: &Image| -> std::collections::BTreeMap<(Kind, Uuid, Kind), usize> {
            let tallies = image.referrers.iter();
            tallies.map(|(key, tally)| (*key, tally.count)).collect()
        };
        let rows =
            |image: &Image| -> BTreeSet<(Kind, Uuid)> { image.rows.keys().copied().collect() };
        let tables = |image: &Image| -> Vec<(Kind, Uuid, Arc<Entity>)> {
            let kinds = Kind::ALL.into_iter();
            kinds
                .flat_map(|kind| {
                    image
                        .config
                        .table(kind)
                        .map(move |(id, row)| (kind, *id, row.clone()))
                })
                .collect()
        };
        tables(self) == tables(other)
            && rows(self) == rows(other)
            && ids(self) == ids(other)
            && counts(self) == counts(other)
            && self.edges == other.edges
    }

    pub(super) fn holder(&self, number: IndexNumber, value: &str) -> Option<Uuid> {
        Some(self.unique.get(number)?.get(value)?.id)
    }

    pub(super) fn edges_to(
        &self,
        number: RelationNumber,
        id: Uuid,
        after: Option<Uuid>,
    ) -> impl Iterator<Item = Uuid> + use<'_> {
        let first = match after {
            Some(after) => Bound::Excluded((number, id, after)),
            None => Bound::Included((number, id, Uuid::nil())),
        };
        let last = Bound::Included((number, id, Uuid::max()));
        self.edges
            .range((first, last))
            .map(|(_, _, referrer)| *referrer)
    }

    /// Takes what `old` has out of the indexes and puts what `new` has into them; what both have stays untouched.
    fn index(
        &mut self,
        kind: Kind,
        id: Uuid,
        old: Option<&Arc<Entity>>,
        new: Option<&Arc<Entity>>,
        revision: Revision,
    ) {
        match new {
            Some(_) => self.rows.insert((kind, id), revision),
            None => self.rows.remove(&(kind, id)),
        };
        for (number, index) in relations::indexes_of(kind) {
            let had = old.and_then(|row| index.value(row));
            let has = new.and_then(|row| index.value(row));
            let Some(holders) = self.unique.get_mut(number).filter(|_| had != has) else {
                continue;
            };
            // Another row of the same batch may have taken the value over.
            if let Some(had) = had
                && holders.get(had.as_str()).is_some_and(|of| of.id == id)
            {
                holders.remove(had.as_str());
            }
            if let Some(has) = has {
                holders.insert(has.into(), Holder { id, revision });
            }
        }
        for (number, relation) in relations::of(kind) {
            // A list may name a target twice.
            let targets = |row: Option<&Arc<Entity>>| -> BTreeSet<Uuid> {
                row.map(|row| relation.targets(row))
                    .into_iter()
                    .flatten()
                    .collect()
            };
            let (had, has) = (targets(old), targets(new));
            for target in had.difference(&has) {
                self.edges.remove(&(number, *target, id));
                self.count(relation, *target, revision, |count| count.saturating_sub(1));
            }
            for target in has.difference(&had) {
                self.edges.insert((number, *target, id));
                self.count(relation, *target, revision, |count| count + 1);
            }
        }
    }

    fn count(
        &mut self,
        relation: &relations::Relation,
        target: Uuid,
        revision: Revision,
        change: impl Fn(usize) -> usize,
    ) {
        let key = (relation.to, target, relation.from);
        let count = change(self.referrers.get(&key).map_or(0, |tally| tally.count));
        match count {
            0 => self.referrers.remove(&key),
            count => self.referrers.insert(key, Tally { count, revision }),
        };
    }
}
