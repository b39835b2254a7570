//! A committed batch is taken back by another one, as long as nothing has come on top of it.

use super::{Batch, Change, Committed, Image, Key, Plan};
use crate::entity::Entity;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The batch that brings the rows of `commit` back to `before`, on `image`. Without writes: they are so already.
///
/// # Errors
/// It cannot be done without touching what others have written since.
pub fn undo(
    image: Arc<Image>,
    commit: &Committed,
    before: &[Change],
) -> Result<Batch, &'static str> {
    let mut waiting = Vec::new();
    for change in before {
        let now = image.get(change.kind, change.id);
        if now == change.row.as_ref() {
            continue;
        }
        // A row that is not there has no revision: it may be this batch that has deleted it.
        let changed_at = image.changed_at(&Key::Row(change.kind, change.id));
        if now.is_some() && changed_at != commit.revision {
            return Err("a row of it has been changed since");
        }
        waiting.push(change);
    }
    let own: BTreeSet<_> = waiting.iter().map(|row| (row.kind, row.id)).collect();
    let mut plan = Plan::new(image);
    while !waiting.is_empty() {
        let count = waiting.len();
        // One may free the value, or bring the row, that another one needs.
        waiting.retain(|Change { kind, id, row }| {
            let done = match row {
                Some(row) => plan.restore(*kind, Entity::clone(row)),
                None => plan.delete(*kind, *id).map(drop),
            };
            done.is_err()
        });
        if waiting.len() == count {
            return Err("rows that were written since depend on it");
        }
    }
    let batch = plan.into_batch();
    let others = |write: &Change| !own.contains(&(write.kind, write.id));
    match batch.writes.iter().any(others) {
        true => Err("rows that were written since would go with it"),
        false => Ok(batch),
    }
}
