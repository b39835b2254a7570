//! What the Admin API does to entities, on a `store::Plan`: no sockets, no waiting (KONG.md §1, §2.1, §2.2).
//!
//! - `advice`: what is said of rows that are accepted but may not be meant.
//! - `rows`: one row or one collection, at the top or below its parent.
//! - `certificates`: `snis`, the field that is rows of another kind.
//! - `lists`: pages, and the collections that are no table (`/tags`, the health of an upstream).
//! - `commit`: a plan to the store, again when it conflicts, until it is live.
//!
//! Everything runs on the state the plan was made on; what it looked at is compared when it commits. So an operation may
//! be run again from its start, and does nothing besides.

mod advice;
mod certificates;
mod commit;
pub mod lists;
mod rows;

pub use commit::{read, write};

use super::body::Input;
use super::errors::Failure;
pub use super::paths::Address;
use super::paths::Children;
use super::reply::Reply;
use crate::entity::errors::Errors;
use crate::entity::validate::{self, Context};
use crate::entity::{Entity, Kind, checks, schema};
use crate::store::{Plan, Violation};
use hyper::StatusCode;
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

/// The parent a row or collection is addressed below.
#[derive(Clone, Debug)]
pub struct Parent {
    pub kind: Kind,
    pub at: Address,
    /// The field of the child that refers to it.
    pub field: &'static str,
}

impl From<&Children> for Parent {
    fn from(children: &Children) -> Parent {
        Parent {
            kind: children.parent,
            at: children.address.clone(),
            field: children.field,
        }
    }
}

/// A parent that is there.
#[derive(Clone, Copy)]
struct Owner {
    kind: Kind,
    id: Uuid,
    field: &'static str,
}

/// A row at the end of a reference: `/routes/{r}/service`.
#[derive(Clone, Debug)]
pub struct Link {
    pub from: Kind,
    pub at: Address,
    pub field: &'static str,
    pub to: Kind,
}

/// One run of an operation.
pub struct Operation<'a> {
    pub plan: &'a mut Plan,
    /// Unix time in milliseconds.
    pub now_ms: i64,
    /// Plugins that may be configured; `None`: every one there is.
    pub plugins: Option<&'a [String]>,
}

pub type Outcome = Result<Reply, Failure>;

impl Operation<'_> {
    /// Checks the input of POST or PUT and completes it.
    fn checked(&self, kind: Kind, input: Map<String, Value>) -> Result<Entity, Errors> {
        self.validated(|context| validate::insert(kind, input, context))
    }

    fn patched(
        &self,
        kind: Kind,
        stored: &Entity,
        patch: Map<String, Value>,
    ) -> Result<Entity, Errors> {
        self.validated(|context| validate::update(kind, stored, patch, context))
    }

    fn validated<T>(&self, check: impl FnOnce(&Context<'_>) -> T) -> T {
        let image = self.plan.image();
        let find = |kind: Kind, name: &str| image.find(kind, schema::of(kind).endpoint_key?, name);
        check(&Context {
            now_ms: self.now_ms,
            find: &find,
            yaml: false,
            plugins: self.plugins,
        })
    }

    /// `POST /schemas/{entity}/validate`: whether the input would be a row, whatever else is stored.
    pub fn validate(&mut self, kind: Kind, input: Input) -> Outcome {
        self.checked(kind, input.typed_for(kind, None))?;
        Ok(Reply::message(
            StatusCode::OK,
            "schema validation successful",
        ))
    }

    /// The parent's id.
    ///
    /// # Errors
    /// 404 when it is not there.
    fn owner(&mut self, parent: Option<&Parent>) -> Result<Option<Owner>, Failure> {
        let Some(parent) = parent else {
            return Ok(None);
        };
        match self.resolve(parent.kind, &parent.at, None)? {
            Some(id) => Ok(Some(Owner {
                kind: parent.kind,
                id,
                field: parent.field,
            })),
            None => Err(absent(parent.kind, &parent.at)),
        }
    }

    /// The id of the row an address means; an id is not looked at, but for its owner.
    ///
    /// # Errors
    /// The address cannot be one of this kind.
    fn resolve(
        &mut self,
        kind: Kind,
        at: &Address,
        owner: Option<Owner>,
    ) -> Result<Option<Uuid>, Failure> {
        let id = match at {
            Address::Id(id) => Some(*id),
            Address::Key(key) => self.by_key(kind, key, owner)?,
        };
        let Some(row) = id.and_then(|id| self.plan.get(kind, id)) else {
            return Ok(None);
        };
        let owned = owner.is_none_or(|owner| refers_to(&row, owner.field) == Some(owner.id));
        Ok(id.filter(|_| owned))
    }

    fn by_key(
        &mut self,
        kind: Kind,
        key: &str,
        owner: Option<Owner>,
    ) -> Result<Option<Uuid>, Failure> {
        let schema = schema::of(kind);
        match (kind, owner, schema.endpoint_key) {
            (Kind::Certificates, ..) => Ok(self.certificate_of(key)),
            (Kind::Acls, Some(owner), _) => {
                Ok(self.by_pair(kind, &["consumer", "group"], owner, "group", key))
            }
            (Kind::Targets, Some(owner), _) => {
                let target = checks::normal_target(key).unwrap_or_else(|| key.to_owned());
                Ok(self.by_pair(kind, &["upstream", "target"], owner, "target", &target))
            }
            (_, _, Some(field)) => {
                let check = schema.field(field).and_then(|field| field.check);
                if let Some(Err(text)) = check.map(|check| check(&key.into())) {
                    return Err(Failure::invalid_unique(field, &text));
                }
                Ok(self.plan.find(kind, field, key))
            }
            (_, _, None) => Err(Failure::invalid_primary_key(key)),
        }
    }

    /// By a key that is unique below its owner.
    fn by_pair(
        &mut self,
        kind: Kind,
        tuple: &'static [&'static str],
        owner: Owner,
        field: &str,
        key: &str,
    ) -> Option<Uuid> {
        let row = Map::from_iter([
            (owner.field.to_owned(), reference(owner.id)),
            (field.to_owned(), key.into()),
        ]);
        self.plan.find_tuple(kind, tuple, &row)
    }

    /// A row as it is answered.
    fn shown(&mut self, kind: Kind, row: &Arc<Entity>) -> Arc<Entity> {
        if kind != Kind::Certificates {
            return Arc::clone(row);
        }
        let names = id_of(row).map(|id| self.sni_names(id)).unwrap_or_default();
        let mut row = Entity::clone(row);
        row.insert("snis".into(), names.into());
        Arc::new(row)
    }
}

/// What a row that is not there is answered with on GET, and as a parent.
fn absent(kind: Kind, at: &Address) -> Failure {
    match (kind, at) {
        (Kind::Certificates, Address::Key(_)) => Failure::sni_not_found(),
        _ => Failure::not_found(),
    }
}

/// `{"id": …}`.
fn reference(id: Uuid) -> Value {
    Value::Object(Map::from_iter([("id".to_owned(), id.to_string().into())]))
}

/// Where a reference of a stored row points; `None`: nowhere.
fn refers_to(row: &Entity, field: &str) -> Option<Uuid> {
    row.get(field)?.get("id")?.as_str()?.parse().ok()
}

fn id_of(row: &Entity) -> Option<Uuid> {
    row.get("id")?.as_str()?.parse().ok()
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Failure {
        match violation {
            Violation::PrimaryKey { id } => Failure::primary_key_violation(id),
            Violation::Unique { kind: _, fields } => Failure::unique_violation(&fields),
            Violation::ForeignKey {
                kind: _,
                field,
                to,
                id,
            } => Failure::foreign_key_violation(field, to, id),
            Violation::Referenced { kind, id: _, by } => Failure::still_referenced(kind, by),
            Violation::InUse { id, by, by_id } => Failure::in_use(id, by, by_id),
            Violation::Fields(errors) => errors.into(),
        }
    }
}
