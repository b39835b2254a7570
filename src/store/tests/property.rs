//! Random plans, several made on one image before any of them is written, against a model that scans.

use super::random::{Model, Operation, Random, operation, run};
use super::*;
use std::collections::BTreeMap;

const SEEDS: u64 = 150;
const ROUNDS: usize = 60;

/// A plan that is admitted says about each of its operations what the model says about the state it is written to, and
/// leaves the same rows; whatever it was made on.
#[test]
fn admitted_plans_are_as_if_made_on_the_newest_state() {
    let (mut admitted, mut refused) = (0, 0);
    let mut verdicts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut image = Arc::new(Image::default());
        let mut model = Model::default();
        for round in 0..ROUNDS {
            let stale = Arc::clone(&image);
            for _ in 0..1 + random.below(4) {
                let operations: Vec<Operation> = (0..1 + random.below(4))
                    .map(|_| operation(&mut random))
                    .collect();
                let mut plan = Plan::new(Arc::clone(&stale));
                let planned: Vec<String> = operations.iter().map(|of| run(&mut plan, of)).collect();
                let Some(next) = commit(&image, plan) else {
                    assert!(
                        !Arc::ptr_eq(&stale, &image),
                        "seed {seed}: a fresh plan conflicts"
                    );
                    refused += 1;
                    continue;
                };
                let expected: Vec<String> = operations.iter().map(|of| model.run(of)).collect();
                assert_eq!(
                    planned, expected,
                    "seed {seed}, round {round}: {operations:?}"
                );
                for verdict in planned {
                    let word = verdict.split(' ').next().unwrap_or_default();
                    *verdicts.entry(word.to_owned()).or_default() += 1;
                }
                admitted += 1;
                image = next;
                same_rows(&image, &model, seed);
            }
            assert_eq!(image.check(), Ok(()), "seed {seed}, round {round}");
            let rebuilt = Image::build_at(image.config.clone(), image.revision);
            assert!(
                image.is_like(&rebuilt),
                "seed {seed}, round {round}: the indexes differ"
            );
        }
    }
    // The test tests something: plans of both fates, and every verdict.
    assert!(
        admitted > 10_000 && refused > 500,
        "{admitted} admitted, {refused} refused"
    );
    for word in [
        "ok",
        "absent",
        "primary",
        "unique",
        "foreign",
        "referenced",
        "in",
        "fields",
    ] {
        assert!(
            verdicts.get(word).is_some_and(|count| *count > 100),
            "{word}: {verdicts:?}"
        );
    }
}

fn same_rows(image: &Image, model: &Model, seed: u64) {
    assert_eq!(image.row_count(), model.rows.len(), "seed {seed}");
    for ((kind, id), row) in &model.rows {
        let found = image.get(*kind, *id).map(Arc::as_ref);
        assert_eq!(found, Some(row), "seed {seed}: {kind:?} {id}");
    }
}
