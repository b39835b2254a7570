//! Rows as the Admin API would hand them over, and the tests of what holds between them.

mod crash;
mod disk;
mod files;
mod hub;
mod plan;
mod property;
mod random;
mod undo;

use super::{Image, Plan, Revision};
use crate::entity::validate::{self, Context};
use crate::entity::{Entity, Kind, fixtures};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn reference(number: u128) -> Value {
    json!({"id": id(number)})
}

/// A checked row with this id.
pub fn row(kind: Kind, number: u128, input: Value) -> Entity {
    let Value::Object(mut input) = input else {
        panic!("{input} is not an object");
    };
    input.insert("id".into(), id(number).to_string().into());
    let ctx = Context {
        now_ms: fixtures::NOW_MS,
        find: &|_, _| None,
        yaml: false,
        plugins: None,
    };
    validate::insert(kind, input, &ctx)
        .unwrap_or_else(|errors| panic!("{kind:?}: {}", errors.message()))
}

/// What a batch of these rows leaves.
pub fn image(rows: Vec<(Kind, Entity)>) -> Arc<Image> {
    then(&Arc::new(Image::default()), |plan| {
        for (kind, row) in rows {
            plan.insert(kind, row).expect("the rows fit together");
        }
    })
}

/// The image after one more batch.
pub fn then(image: &Arc<Image>, operation: impl FnOnce(&mut Plan)) -> Arc<Image> {
    let mut plan = Plan::new(Arc::clone(image));
    operation(&mut plan);
    commit(image, plan).expect("nothing was written in between")
}

/// The image after the batch; `None`: the store would answer Conflict.
pub fn commit(newest: &Arc<Image>, plan: Plan) -> Option<Arc<Image>> {
    let batch = plan.into_batch();
    let revision: Revision = newest.revision + 1;
    newest.admits(&batch.expected).then(|| {
        let mut next = Image::clone(newest);
        next.apply(&batch.writes, revision);
        Arc::new(next)
    })
}

pub fn certificate(number: u128) -> (Kind, Entity) {
    let input = json!({"cert": fixtures::LEAF, "key": fixtures::LEAF_KEY});
    (Kind::Certificates, row(Kind::Certificates, number, input))
}

pub fn ca(number: u128) -> (Kind, Entity) {
    let input = json!({"cert": fixtures::ROOT});
    (
        Kind::CaCertificates,
        row(Kind::CaCertificates, number, input),
    )
}

pub fn make(kind: Kind, number: u128, input: Value) -> (Kind, Entity) {
    (kind, row(kind, number, input))
}
