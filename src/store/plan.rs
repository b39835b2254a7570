//! What one request wants to change, and everything it looked at.
//!
//! A plan is made on one image; the batch it becomes is written only if what the plan looked at is still so. The rules
//! between rows (KONG.md §1.10, §1.12, §11 points 8 and 9) are decided here, so what they look at is recorded here. A key
//! stands for its value: equal revisions (or absence at both times) mean that the decision would be the same again.
//!
//! | operation | reads | why | touches |
//! |---|---|---|---|
//! | `get` | `Row` | the caller acts on it | |
//! | `find`, `find_tuple` | `Unique` of the value | who has it, or nobody | |
//! | `referrers` | `Referrers` of the kind | the whole set | |
//! | `insert` | its `Row` | must be absent | `Row` |
//! | | `Unique` of each value | must be free | `Unique` of each |
//! | | `Row` of each row it refers to, CA lists included | must exist when the batch commits | `Referrers` of each |
//! | `replace` | as `insert`, for what differs from the stored row; its `Row` vouches for the rest: committed states hold no dangling reference and no value twice | | `Row`; `Unique` and `Referrers` of what it gains and loses |
//! | `restore` | as `replace`, without the next line | | |
//! | a plugin | `Row` of its route, or of one route of its service that shares a protocol; `Referrers` of the service when it has no route | the rule holds as long as that one does | |
//! | `delete` | its `Row` | | `Row`, its `Unique`s, `Referrers` of what it referred to |
//! | | `Referrers` of each kind that can refer to it, and of each row that goes with it | nobody may have come that would refuse, or would be left behind | the same for each row that goes with it |
//!
//! So two creations below one parent have no key in common but the parent's `Row`, which neither touches; a creation and
//! the deletion of the parent meet twice: in the parent's `Row` and in its `Referrers`, whichever comes first. A change of
//! a row that goes with its parent is no conflict: the deletion follows it.

use super::relations::{self, Index, Rule};
use super::{Batch, Change, Image, Key, Revision};
use crate::entity::errors::{Errors, Node};
use crate::entity::{Entity, Kind, plugins, schema};
use crate::limits::ERRORS_IN_ONE_PLACE_MAX;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

pub struct Plan {
    base: Arc<Image>,
    /// `base` with the plan's own writes. Its revisions mean nothing: what is expected is looked up in `base`.
    work: Image,
    expected: HashMap<Key, Revision>,
    written: BTreeSet<(Kind, Uuid)>,
}

/// A rule between entities that a change would break. The plan is as it was before.
#[derive(Clone, PartialEq, Debug)]
pub enum Violation {
    /// An entity with this id is there (code 3).
    PrimaryKey { id: Uuid },
    /// Another entity has these values (code 5): one field, or a tuple in the schema's order.
    Unique {
        kind: Kind,
        fields: Vec<(&'static str, Value)>,
    },
    /// A reference to what is not there (code 4).
    ForeignKey {
        kind: Kind,
        field: &'static str,
        to: Kind,
        id: Uuid,
    },
    /// Cannot be deleted: rows of `by` refer to it (code 4).
    Referenced { kind: Kind, id: Uuid, by: Kind },
    /// Cannot be deleted: `by_id` lists the CA certificate (code 19).
    InUse { id: Uuid, by: Kind, by_id: Uuid },
    /// What is wrong with fields (code 2).
    Fields(Errors),
}

/// Those of a plugin, beside its routes'.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocols {
    Checked,
    AsTheyAre,
}

impl Plan {
    pub fn new(image: Arc<Image>) -> Plan {
        Plan {
            work: Image::clone(&image),
            base: image,
            expected: HashMap::new(),
            written: BTreeSet::new(),
        }
    }

    /// The state the plan is made on. What is read through it is not recorded.
    pub fn image(&self) -> &Image {
        &self.base
    }

    /// A row, as the plan leaves it.
    pub fn get(&mut self, kind: Kind, id: Uuid) -> Option<Arc<Entity>> {
        self.look_at(Key::Row(kind, id));
        self.work.get(kind, id).cloned()
    }

    /// Who has this value of a unique field. SNI names compare in lower case.
    pub fn find(&mut self, kind: Kind, field: &'static str, value: &str) -> Option<Uuid> {
        let (number, index) = relations::index(kind, &[field])?;
        self.holder(number, index, &index.folded(value))
    }

    /// Who has the values that `row` has in the fields of a unique tuple of the schema.
    pub fn find_tuple(
        &mut self,
        kind: Kind,
        fields: &'static [&'static str],
        row: &Entity,
    ) -> Option<Uuid> {
        let (number, index) = relations::index(kind, fields)?;
        self.holder(number, index, &index.value(row)?)
    }

    /// The rows of `from` whose `field` refers to the row `id` of `to`, in ascending id.
    pub fn referrers(&mut self, from: Kind, field: &str, to: Kind, id: Uuid) -> Vec<Uuid> {
        self.look_at(Key::Referrers { to, id, from });
        self.work.referrers(from, field, to, id).collect()
    }

    /// Adds a checked row.
    ///
    /// # Errors
    /// In this order: fields (CA lists, a plugin's protocols), primary key, unique values, references.
    pub fn insert(&mut self, kind: Kind, row: Entity) -> Result<(), Violation> {
        let id = id_of(&row)?;
        let there = self.get(kind, id);
        self.check_fields(kind, &row, None, Protocols::Checked)?;
        if there.is_some() {
            return Err(Violation::PrimaryKey { id });
        }
        self.check_relations(kind, id, &row, None)?;
        self.write(kind, id, Some(row));
        Ok(())
    }

    /// Puts a checked row in place of the one with its id, if there is one.
    ///
    /// # Errors
    /// As `insert`, without the primary key.
    pub fn replace(&mut self, kind: Kind, row: Entity) -> Result<(), Violation> {
        self.put(kind, row, Protocols::Checked)
    }

    /// As `replace`, for a row of a file: what a store may hold, an import takes. Kong compares a plugin's protocols with
    /// those of its routes when the plugin is written, and not when a route is.
    ///
    /// # Errors
    /// As `replace`, without a plugin's protocols.
    pub fn restore(&mut self, kind: Kind, row: Entity) -> Result<(), Violation> {
        self.put(kind, row, Protocols::AsTheyAre)
    }

    fn put(&mut self, kind: Kind, row: Entity, protocols: Protocols) -> Result<(), Violation> {
        let id = id_of(&row)?;
        let stored = self.get(kind, id);
        self.check_fields(kind, &row, stored.as_deref(), protocols)?;
        self.check_relations(kind, id, &row, stored.as_deref())?;
        self.write(kind, id, Some(row));
        Ok(())
    }

    /// Removes a row and what goes with it (KONG.md §1.12). `false`: it was not there.
    ///
    /// # Errors
    /// Something refers to it, or to a row that would go with it.
    pub fn delete(&mut self, kind: Kind, id: Uuid) -> Result<bool, Violation> {
        if self.get(kind, id).is_none() {
            return Ok(false);
        }
        let mut doomed = vec![(kind, id)];
        let mut seen = BTreeSet::from([(kind, id)]);
        let mut at = 0;
        while let Some((kind, id)) = doomed.get(at).copied() {
            at += 1;
            for (number, relation) in relations::to(kind) {
                let by = relation.from;
                self.look_at(Key::Referrers {
                    to: kind,
                    id,
                    from: by,
                });
                let mut referrers = self.work.edges_to(number, id, None);
                match (relation.rule, referrers.next()) {
                    (_, None) => {}
                    (Rule::Restrict, Some(_)) => {
                        return Err(Violation::Referenced { kind, id, by });
                    }
                    (Rule::InUse, Some(by_id)) => return Err(Violation::InUse { id, by, by_id }),
                    (Rule::Cascade, Some(first)) => {
                        let all = std::iter::once(first).chain(referrers);
                        doomed.extend(
                            all.map(|referrer| (by, referrer))
                                .filter(|row| seen.insert(*row)),
                        );
                    }
                }
            }
        }
        for (kind, id) in doomed {
            self.write(kind, id, None);
        }
        Ok(true)
    }

    /// Nothing has been written.
    pub fn is_read_only(&self) -> bool {
        self.written.is_empty()
    }

    /// What was written, in ascending kind and id; a row that ends as it began is not in it.
    pub fn into_batch(self) -> Batch {
        let Plan {
            base,
            work,
            expected,
            written,
        } = self;
        let writes = written.into_iter().filter_map(|(kind, id)| {
            let row = work.get(kind, id);
            let same = match (base.get(kind, id), row) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (None, None) => true,
                _ => false,
            };
            (!same).then(|| Change {
                kind,
                id,
                row: row.cloned(),
            })
        });
        Batch {
            writes: writes.collect(),
            expected: expected.into_iter().collect(),
        }
    }

    // ── rules ──

    fn check_fields(
        &mut self,
        kind: Kind,
        row: &Entity,
        stored: Option<&Entity>,
        protocols: Protocols,
    ) -> Result<(), Violation> {
        let mut errors = Errors::default();
        self.check_ca_list(kind, row, stored, &mut errors);
        if kind == Kind::Plugins
            && protocols == Protocols::Checked
            && let Err(text) = self.check_protocols(row)
        {
            errors.field("protocols", text);
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Violation::Fields(errors)),
        }
    }

    /// Kong lets an unknown CA pass and fails at request time; here it is refused (KONG.md §11, point 8).
    fn check_ca_list(
        &mut self,
        kind: Kind,
        row: &Entity,
        stored: Option<&Entity>,
        errors: &mut Errors,
    ) {
        for (_, relation) in relations::of(kind) {
            if relation.rule != Rule::InUse {
                continue;
            }
            let had: BTreeSet<Uuid> = stored
                .map(|stored| relation.targets(stored).into_iter().collect())
                .unwrap_or_default();
            let mut nodes = Vec::new();
            let mut told = 0;
            for (position, id) in relation.targets(row).into_iter().enumerate() {
                if had.contains(&id) || self.exists(relation.to, id) {
                    continue;
                }
                told += 1;
                if told > ERRORS_IN_ONE_PLACE_MAX {
                    break;
                }
                nodes.resize(position, None);
                nodes.push(Some(Node::Text(format!(
                    "invalid reference 'ca_certificates: {id}' (no such entry in '{}')",
                    relation.to.name()
                ))));
            }
            if nodes.is_empty() {
                continue;
            }
            match relation.field.split_once('.') {
                None => errors.field(relation.field, Node::List(nodes)),
                Some((record, field)) => {
                    let inner = BTreeMap::from([(field.to_owned(), Node::List(nodes))]);
                    errors.field(record, Node::Map(inner));
                }
            }
        }
    }

    fn check_protocols(&mut self, plugin: &Entity) -> Result<(), &'static str> {
        let target = |field: &str| {
            let number = relations::of(Kind::Plugins).find(|(_, of)| of.field == field);
            number.and_then(|(_, relation)| relation.targets(plugin).first().copied())
        };
        if let Some(route) = target("route") {
            // One that is not there is reported as a foreign key.
            let route = self.get(Kind::Routes, route);
            return plugins::check_protocols(plugin, route.as_deref());
        }
        let Some(service) = target("service") else {
            return Ok(());
        };
        let of_service = self
            .work
            .referrers(Kind::Routes, "service", Kind::Services, service);
        let mut verdict = Ok(());
        let mut seen = Vec::new();
        for route in of_service {
            seen.push(Key::Row(Kind::Routes, route));
            let route = self.work.get(Kind::Routes, route);
            verdict = plugins::check_protocols(plugin, route.map(Arc::as_ref));
            if verdict.is_ok() {
                // This one is enough.
                seen.drain(..seen.len() - 1);
                break;
            }
        }
        if verdict.is_err() || seen.is_empty() {
            seen.push(Key::Referrers {
                to: Kind::Services,
                id: service,
                from: Kind::Routes,
            });
        }
        for key in seen {
            self.look_at(key);
        }
        verdict
    }

    /// Unique values, then references: the order in which Kong's database finds them.
    fn check_relations(
        &mut self,
        kind: Kind,
        id: Uuid,
        row: &Entity,
        stored: Option<&Entity>,
    ) -> Result<(), Violation> {
        for (number, index) in relations::indexes_of(kind) {
            let value = index.value(row);
            if value == stored.and_then(|stored| index.value(stored)) {
                continue;
            }
            let Some(value) = value else { continue };
            if self
                .holder(number, index, &value)
                .is_some_and(|holder| holder != id)
            {
                let fields = index.shown(row);
                return Err(Violation::Unique { kind, fields });
            }
        }
        for (_, relation) in relations::of(kind) {
            if relation.rule == Rule::InUse {
                continue;
            }
            let had = stored.map(|stored| relation.targets(stored));
            for target in relation.targets(row) {
                let kept = had.as_ref().is_some_and(|had| had.contains(&target));
                if !kept && !self.exists(relation.to, target) {
                    return Err(Violation::ForeignKey {
                        kind,
                        field: relation.field,
                        to: relation.to,
                        id: target,
                    });
                }
            }
        }
        Ok(())
    }

    // ── reads and writes ──

    fn exists(&mut self, kind: Kind, id: Uuid) -> bool {
        self.look_at(Key::Row(kind, id));
        self.work.get(kind, id).is_some()
    }

    fn holder(
        &mut self,
        number: relations::IndexNumber,
        index: &Index,
        value: &str,
    ) -> Option<Uuid> {
        self.look_at(Key::Unique {
            kind: index.kind,
            fields: index.fields,
            value: value.into(),
        });
        self.work.holder(number, value)
    }

    fn look_at(&mut self, key: Key) {
        let changed_at = self.base.changed_at(&key);
        self.expected.insert(key, changed_at);
    }

    fn write(&mut self, kind: Kind, id: Uuid, row: Option<Entity>) {
        let row = row.map(|mut row| {
            let transient = schema::of(kind)
                .fields
                .iter()
                .filter(|field| field.transient);
            for field in transient {
                row.shift_remove(field.name);
            }
            Arc::new(row)
        });
        self.written.insert((kind, id));
        let revision = self.base.revision.saturating_add(1);
        self.work.apply(&[Change { kind, id, row }], revision);
    }
}

fn id_of(row: &Entity) -> Result<Uuid, Violation> {
    let id = row.get("id").and_then(Value::as_str);
    id.and_then(|id| id.parse().ok()).ok_or_else(|| {
        let mut errors = Errors::default();
        errors.field("id", "expected a valid UUID");
        Violation::Fields(errors)
    })
}
