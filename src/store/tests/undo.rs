//! A batch taken back leaves the rows as they were, or is refused.

use super::random::{Random, operation, run};
use super::*;
use crate::entity::Kind::*;
use crate::store::{Batch, Change, Committed, undo};

/// The batch as committed on `image`.
fn committed(image: &Image, batch: Batch) -> Committed {
    let mut next = Image::clone(image);
    next.apply(&batch.writes, image.revision + 1);
    Committed {
        revision: next.revision,
        image: Arc::new(next),
        changes: batch.writes,
    }
}

fn before(image: &Image, commit: &Committed) -> Vec<Change> {
    let rows = commit.changes.iter().map(|change| Change {
        row: image.get(change.kind, change.id).cloned(),
        ..*change
    });
    rows.collect()
}

#[test]
fn whatever_a_plan_has_written_can_be_taken_back() {
    let (mut undone, mut unchanged) = (0, 0);
    for seed in 0..100 {
        let mut random = Random(seed);
        let mut image = Arc::new(Image::default());
        for _ in 0..40 {
            let mut plan = Plan::new(Arc::clone(&image));
            for _ in 0..1 + random.below(4) {
                run(&mut plan, &operation(&mut random));
            }
            let commit = committed(&image, plan.into_batch());
            let back = undo(commit.image.clone(), &commit, &before(&image, &commit));
            let back = back.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
            assert!(commit.image.admits(&back.expected), "seed {seed}");
            let after = committed(&commit.image, back);
            assert!(after.image.config == image.config, "seed {seed}");
            match commit.changes.is_empty() {
                true => unchanged += 1,
                false => undone += 1,
            }
            image = commit.image;
        }
    }
    assert!(
        undone > 500 && unchanged > 100,
        "both are common: {undone}, {unchanged}"
    );
}

#[test]
fn what_has_come_since_is_not_touched() {
    let base = image(vec![
        make(Consumers, 1, json!({"username": "a"})),
        make(Consumers, 2, json!({"username": "b"})),
    ]);
    // One new, one changed, one deleted.
    let mut plan = Plan::new(base.clone());
    for (kind, row) in [
        make(Consumers, 3, json!({"username": "c"})),
        make(Consumers, 1, json!({"username": "b2"})),
    ] {
        plan.replace(kind, row).expect("free");
    }
    plan.delete(Consumers, id(2)).expect("nothing refers to it");
    let commit = committed(&base, plan.into_batch());
    let rows = before(&base, &commit);
    let since = |operation: &dyn Fn(&mut Plan)| {
        let newest = then(&commit.image, |plan| operation(plan));
        undo(newest, &commit, &rows).map(|batch| batch.writes.len())
    };
    let put = |plan: &mut Plan, (kind, row): (Kind, Entity)| {
        plan.replace(kind, row).expect("the row fits");
    };
    assert_eq!(since(&|_| {}), Ok(3));
    assert_eq!(
        since(&|plan| put(plan, make(Consumers, 9, json!({"username": "z"})))),
        Ok(3),
        "another row"
    );
    assert_eq!(
        since(&|plan| put(plan, make(Consumers, 1, json!({"username": "b3"})))),
        Err("a row of it has been changed since")
    );
    assert_eq!(
        since(&|plan| put(plan, make(Consumers, 9, json!({"username": "b"})))),
        Err("rows that were written since depend on it"),
        "the name of the deleted one is taken"
    );
    let acl = make(Acls, 9, json!({"consumer": reference(3), "group": "g"}));
    assert_eq!(
        since(&|plan| put(plan, acl.clone())),
        Err("rows that were written since would go with it")
    );
    assert_eq!(
        since(&|plan| {
            plan.delete(Consumers, id(3)).expect("it is free");
        }),
        Ok(2),
        "what is as it was stays so"
    );
}
