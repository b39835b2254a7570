//! One row: read, created, replaced, changed, deleted; at the top, below its parent, or at the end of a reference.

use super::{
    Address, Link, Operation, Outcome, Owner, Parent, absent, id_of, reference, refers_to,
};
use crate::admin::body::Input;
use crate::admin::errors::{Failure, Missing};
use crate::admin::reply::Reply;
use crate::entity::{Entity, Kind, certificates, schema};
use hyper::StatusCode;
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

impl Operation<'_> {
    pub fn get(&mut self, kind: Kind, at: &Address, parent: Option<&Parent>) -> Outcome {
        let owner = self.owner(parent)?;
        match self.resolve(kind, at, owner)? {
            Some(id) => self.answer(StatusCode::OK, kind, id),
            None => Err(missing_below(kind, at, owner)),
        }
    }

    /// POST.
    pub fn insert(&mut self, kind: Kind, input: Input, parent: Option<&Parent>) -> Outcome {
        let mut input = input.typed_for(kind, None);
        if let Some(owner) = self.owner(parent)? {
            input.insert(owner.field.to_owned(), reference(owner.id));
        }
        let mut row = self.checked(kind, input)?;
        let names = take_names(kind, &mut row);
        let id = required_id(&row)?;
        self.check_names(id, names.as_deref())?;
        self.plan.insert(kind, row)?;
        self.assign_names(id, names)?;
        self.written(StatusCode::CREATED, kind, id)
    }

    /// PUT: what is not sent goes back to its default.
    pub fn upsert(
        &mut self,
        kind: Kind,
        at: &Address,
        input: Input,
        parent: Option<&Parent>,
    ) -> Outcome {
        let owner = self.owner(parent)?;
        let mut input = input.typed_for(kind, None);
        if let Some(owner) = owner {
            input.insert(owner.field.to_owned(), reference(owner.id));
        }
        let addressed = match at {
            Address::Id(id) => {
                let stored = self.plan.get(kind, *id);
                let elsewhere =
                    |row: &Arc<Entity>, owner: Owner| refers_to(row, owner.field) != Some(owner.id);
                if let (Some(row), Some(owner)) = (&stored, owner)
                    && elsewhere(row, owner)
                {
                    return Err(Failure::not_found());
                }
                Some(*id)
            }
            Address::Key(key) => {
                write_key(kind, key, &mut input)?;
                self.stored_by_key(kind, key, owner)?
            }
        };
        let put = match addressed {
            Some(id) => {
                input.insert("id".into(), id.to_string().into());
                Put::AtItsId
            }
            None => Put::New,
        };
        let id = self.put(kind, input, put)?;
        self.written(StatusCode::OK, kind, id)
    }

    /// PATCH.
    pub fn update(
        &mut self,
        kind: Kind,
        at: &Address,
        patch: Input,
        parent: Option<&Parent>,
    ) -> Outcome {
        let owner = self.owner(parent)?;
        let Some(id) = self.resolve(kind, at, owner)? else {
            return Err(match (owner, at, schema::of(kind).endpoint_key) {
                (None, Address::Id(id), _) => Failure::no_such_row(Missing::Id(*id)),
                (None, Address::Key(value), Some(field)) => {
                    Failure::no_such_row(Missing::Key { field, value })
                }
                _ => missing_below(kind, at, owner),
            });
        };
        let mut patch = self.typed_patch(kind, id, patch);
        if let Some(owner) = owner {
            patch.insert(owner.field.to_owned(), reference(owner.id));
        }
        self.patch(kind, id, patch)?;
        self.written(StatusCode::OK, kind, id)
    }

    /// DELETE: 204 also when there is nothing to delete, but for what stands below a parent.
    pub fn delete(&mut self, kind: Kind, at: &Address, parent: Option<&Parent>) -> Outcome {
        let owner = self.owner(parent)?;
        let found = self.resolve(kind, at, owner)?;
        match (found, kind, at) {
            (Some(id), ..) => {
                self.plan.delete(kind, id)?;
                Ok(Reply::empty(StatusCode::NO_CONTENT).about(kind, Some(id)))
            }
            (None, Kind::Certificates, Address::Key(_)) => Err(Failure::sni_not_found()),
            (None, ..) if owner.is_some() => Err(Failure::not_found()),
            (None, ..) => Ok(Reply::empty(StatusCode::NO_CONTENT).about(kind, None)),
        }
    }

    // ── at the end of a reference ──

    /// 404 also when the reference is null.
    pub fn get_linked(&mut self, link: &Link) -> Outcome {
        let (_, target) = self.follow(link)?;
        let target = target.ok_or_else(Failure::not_found)?;
        self.answer(StatusCode::OK, link.to, target)
    }

    pub fn update_linked(&mut self, link: &Link, patch: Input) -> Outcome {
        let (_, target) = self.follow(link)?;
        let target = target.ok_or_else(Failure::not_found)?;
        let patch = self.typed_patch(link.to, target, patch);
        self.patch(link.to, target, patch)?;
        self.written(StatusCode::OK, link.to, target)
    }

    /// Replaces the row; where the reference is null, creates one and refers to it.
    pub fn upsert_linked(&mut self, link: &Link, input: Input) -> Outcome {
        let (id, target) = self.follow(link)?;
        let mut input = input.typed_for(link.to, None);
        if let Some(target) = target {
            input.insert("id".into(), target.to_string().into());
        }
        let created = self.put(link.to, input, Put::AtItsId)?;
        if target.is_none() {
            let refer = Map::from_iter([(link.field.to_owned(), reference(created))]);
            self.patch(link.from, id, refer)?;
        }
        self.written(StatusCode::OK, link.to, created)
    }

    /// The row a link begins at, and where it points.
    fn follow(&mut self, link: &Link) -> Result<(Uuid, Option<Uuid>), Failure> {
        let id = self.resolve(link.from, &link.at, None)?;
        let row = id.and_then(|id| Some((id, self.plan.get(link.from, id)?)));
        match row {
            Some((id, row)) => Ok((id, refers_to(&row, link.field))),
            None => Err(absent(link.from, &link.at)),
        }
    }

    // ── steps ──

    /// A plugin's fields depend on its name, which a patch need not repeat.
    fn typed_patch(&mut self, kind: Kind, id: Uuid, patch: Input) -> Map<String, Value> {
        let stored = match kind {
            Kind::Plugins => self.plan.get(kind, id),
            _ => None,
        };
        let name = stored.as_ref().and_then(|row| row.get("name")?.as_str());
        patch.typed_for(kind, name)
    }

    /// Checks and stores a whole row.
    fn put(&mut self, kind: Kind, input: Map<String, Value>, put: Put) -> Result<Uuid, Failure> {
        let mut row = self.checked(kind, input)?;
        let names = take_names(kind, &mut row);
        let id = required_id(&row)?;
        self.check_names(id, names.as_deref())?;
        match put {
            Put::AtItsId => self.plan.replace(kind, row)?,
            Put::New => self.plan.insert(kind, row)?,
        }
        self.assign_names(id, names)?;
        Ok(id)
    }

    fn patch(&mut self, kind: Kind, id: Uuid, patch: Map<String, Value>) -> Result<(), Failure> {
        let stored = self.plan.get(kind, id).ok_or_else(Failure::not_found)?;
        let mut row = self.patched(kind, &stored, patch)?;
        let names = match kind {
            Kind::Certificates => certificates::take_snis(&mut row),
            _ => None,
        };
        self.check_names(id, names.as_deref())?;
        self.plan.replace(kind, row)?;
        self.assign_names(id, names)
    }

    /// The row with that key, for PUT: a key that cannot be one is left to the check of the whole row.
    fn stored_by_key(
        &mut self,
        kind: Kind,
        key: &str,
        owner: Option<Owner>,
    ) -> Result<Option<Uuid>, Failure> {
        match (kind, schema::of(kind).endpoint_key) {
            (Kind::Certificates | Kind::Acls | Kind::Targets, _) | (_, None) => {
                self.by_key(kind, key, owner)
            }
            (_, Some(field)) => {
                let id = self.plan.find(kind, field, key);
                let row = id.and_then(|id| self.plan.get(kind, id));
                let elsewhere = match (row, owner) {
                    (Some(row), Some(owner)) => refers_to(&row, owner.field) != Some(owner.id),
                    _ => false,
                };
                if elsewhere {
                    return Err(Failure::not_found());
                }
                Ok(id)
            }
        }
    }

    fn answer(&mut self, status: StatusCode, kind: Kind, id: Uuid) -> Outcome {
        let row = self.plan.get(kind, id).ok_or_else(Failure::not_found)?;
        Ok(Reply::json(status, &*self.shown(kind, &row)))
    }

    fn written(&mut self, status: StatusCode, kind: Kind, id: Uuid) -> Outcome {
        Ok(self.answer(status, kind, id)?.about(kind, Some(id)))
    }
}

/// Which row a PUT is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    /// The one with the id that is said, whether or not it is there.
    AtItsId,
    /// One that is not there: the key in the path is nobody's. An id in the content must be free, or the PUT would take
    /// over a row that the path does not name, another consumer's for one.
    New,
}

/// What PUT to a key means for the row: it has that key.
fn write_key(kind: Kind, key: &str, input: &mut Map<String, Value>) -> Result<(), Failure> {
    match (kind, schema::of(kind).endpoint_key) {
        (Kind::Certificates, _) => add_name(key, input),
        (Kind::Acls, _) => {
            input.entry("group").or_insert_with(|| key.into());
        }
        (_, Some(field)) => {
            input.insert(field.to_owned(), key.into());
        }
        (_, None) => return Err(Failure::invalid_primary_key(key)),
    }
    Ok(())
}

/// Whatever is not a list of names is left for the check to refuse.
fn add_name(name: &str, input: &mut Map<String, Value>) {
    let names = input.entry("snis").or_insert(Value::Null);
    match names {
        Value::Null => *names = Value::Array(vec![name.into()]),
        Value::Array(items) => {
            let has = |item: &Value| {
                item.as_str()
                    .is_some_and(|item| item.eq_ignore_ascii_case(name))
            };
            if !items.iter().any(has) {
                items.push(name.into());
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {}
    }
}

/// The names a new certificate is to have; where none are said it has none, after PUT too (KONG.md §1.2).
fn take_names(kind: Kind, row: &mut Entity) -> Option<Vec<String>> {
    (kind == Kind::Certificates).then(|| certificates::take_snis(row).unwrap_or_default())
}

fn missing_below(kind: Kind, at: &Address, owner: Option<Owner>) -> Failure {
    match owner {
        Some(_) => Failure::not_found(),
        None => absent(kind, at),
    }
}

/// A checked row has an id.
fn required_id(row: &Entity) -> Result<Uuid, Failure> {
    id_of(row).ok_or_else(|| Failure::invalid_field("id", "expected a valid UUID"))
}
