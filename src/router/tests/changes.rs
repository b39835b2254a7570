//! A changed router answers as one built of what is left.
use super::reference::{Random, random_route, with_random_request};
use super::*;
use crate::limits::{ROUTE_CHANGES_BEHIND_MAX, ROUTE_CHANGES_MAX};
use std::collections::BTreeMap;

#[test]
fn a_changed_router_agrees_with_one_built_of_the_same_routes() {
    let mut random = Random(0xc4a9_6e5d);
    let (mut scratch, mut other) = (Scratch::default(), Scratch::default());
    let (mut by_newer, mut by_base, mut folds, mut settled) = (0, 0, 0, 0);
    let mut caught_up = 0;
    for round in 0..8 {
        let density = 1 + random.below(4);
        let mut specs: BTreeMap<u32, RouteSpec> = (0..150 + random.below(200) as u32)
            .map(|handle| (handle, random_route(&mut random, handle, density)))
            .collect();
        let mut changed = Router::build(specs.values().cloned().collect()).expect("compiles");
        // Made beside the changes of the next steps.
        let mut beside: Option<(Router, Router)> = None;
        for step in 0..60 {
            let mut removed = Vec::new();
            let mut added: BTreeMap<u32, RouteSpec> = BTreeMap::new();
            let size = if step % 29 == 28 {
                100
            } else {
                1 + random.below(4)
            };
            for _ in 0..size {
                // Handles in use and others; those of a removed route come back with another one.
                let handle = random.below(specs.len() + 20) as u32;
                if added.contains_key(&handle) || removed.contains(&handle) {
                    continue;
                }
                if random.below(3) == 0 {
                    removed.push(handle);
                    specs.remove(&handle);
                    if random.below(4) > 0 {
                        continue;
                    }
                }
                let spec = random_route(&mut random, handle, density);
                specs.insert(handle, spec.clone());
                added.insert(handle, spec);
            }
            let added: Vec<_> = added.into_values().collect();
            changed = changed.with_changes(&removed, &added).expect("compiles");
            if step % 23 == 22 {
                settled += usize::from(changed.settled(&|| {}).is_some());
                changed = changed.settled(&|| {}).unwrap_or(changed);
            }
            if round % 2 == 1 && step % 13 == 2 {
                beside = changed
                    .settled(&|| {})
                    .map(|settled| (changed.clone(), settled));
            }
            if step % 13 == 5
                && let Some((before, settled)) = beside.take()
                && let Some(router) = changed.caught_up(&before, &settled)
            {
                assert!(settled.changes.is_none());
                changed = router;
                caught_up += 1;
            }
            folds += usize::from(changed.changes.is_none());
            // To build one takes long.
            if step % 5 != 2 {
                continue;
            }
            let built = Router::build(specs.values().cloned().collect()).expect("compiles");
            for _ in 0..60 {
                with_random_request(&mut random, |request| {
                    let found = find(&changed, request, &mut scratch);
                    let want = find(&built, request, &mut other);
                    assert_eq!(found, want, "round {round}, step {step}: {request:?}");
                    let newer = changed
                        .changes
                        .as_ref()
                        .zip(found)
                        .is_some_and(|(c, found)| {
                            let mut handles = c.routes.iter().map(|compiled| compiled.route.handle);
                            handles.any(|handle| handle == found.handle)
                        });
                    *(if newer { &mut by_newer } else { &mut by_base }) += 1;
                });
            }
        }
    }
    assert!(
        by_newer > 500 && by_base > 1_000 && folds > 8 && settled > 8 && caught_up > 16,
        "{by_newer}, {by_base}, {folds}, {settled}, {caught_up}"
    );
}

/// What a change costs is what is filed for it.
#[test]
fn a_change_files_itself_until_there_are_too_many() {
    let text = |i: u32| format!("hosts=h{i}.test");
    let specs = (0..2_000).map(|i| route(i, &text(i))).collect();
    let mut router = Router::build(specs).expect("compiles");
    let base = router.base.clone();
    for i in 0..ROUTE_CHANGES_BEHIND_MAX as u32 - 1 {
        assert_eq!(router.is_crowded(), i as usize >= ROUTE_CHANGES_MAX);
        router = router
            .with_changes(&[i], &[route(4_000 + i, &text(4_000 + i))])
            .expect("fits");
        let changes = router.changes.as_ref().expect("a second table");
        assert!(Arc::ptr_eq(&router.base, &base));
        assert_eq!(
            (changes.routes.len(), changes.struck.count),
            (i as usize + 1, i as usize + 1)
        );
    }
    let settled = router.settled(&|| {}).expect("there are changes");
    assert!(settled.settled(&|| {}).is_none());
    let folded = router.with_changes(&[1_999], &[]).expect("fits");
    assert!(folded.changes.is_some(), "as many as there may be");
    let folded = router.with_changes(&[1_998, 1_999], &[]);
    assert!(
        folded.expect("fits").changes.is_none(),
        "more are struck out"
    );
    let many = (6_000..).take(ROUTE_CHANGES_BEHIND_MAX + 1);
    let many: Vec<_> = many.map(|i| route(i, &text(i))).collect();
    let folded = settled.with_changes(&[], &many).expect("fits");
    assert!(folded.changes.is_none(), "more have come");
    assert_eq!(folded.entry_count(), 2_000 + many.len());
}

/// What is made beside changes costs them nothing, and has them in it.
#[test]
fn a_settled_router_catches_up_with_what_has_changed_meanwhile() {
    let text = |i: u32| format!("hosts=h{i}.test");
    let specs = (0..300).map(|i| route(i, &text(i))).collect();
    let changed = |router: &Router, removed: &[u32], added: &[u32]| {
        let added: Vec<_> = added.iter().map(|i| route(*i, &text(*i))).collect();
        router.with_changes(removed, &added).expect("compiles")
    };
    let base = Router::build(specs).expect("compiles");
    // One of the base is gone, one replaced, two have come.
    let before = changed(&base, &[1], &[2, 301, 302]);
    let settled = before.settled(&|| {}).expect("there are changes");
    let now = changed(&before, &[3, 301], &[4, 303]);
    let router = now.caught_up(&before, &settled).expect("the same base");
    assert!(Arc::ptr_eq(&router.base, &settled.base));
    let changes = router.changes.as_ref().expect("what came meanwhile");
    assert_eq!((changes.routes.len(), changes.struck.count), (2, 3));
    let same = before
        .caught_up(&before, &settled)
        .expect("nothing has come");
    assert!(same.changes.is_none());
    let other = now.settled(&|| {}).expect("there are changes");
    assert!(other.caught_up(&before, &settled).is_none(), "another base");
    let other = changed(&other, &[5], &[]);
    assert!(other.caught_up(&before, &settled).is_none(), "another base");
}

#[test]
fn a_change_that_does_not_compile_says_which_route_and_changes_nothing() {
    let router = router(&["hosts=a.test"]);
    let refused = router.with_changes(&[0], &[route(7, "paths=~/("), route(8, "")]);
    let errors = refused.expect_err("a broken regex, and a route without any category");
    let found: Vec<_> = errors.iter().map(|e| (e.handle, &*e.field)).collect();
    assert_eq!(found, [(7, "paths"), (8, "@entity")]);
    let mut scratch = Scratch::default();
    assert_eq!(
        find(&router, &REQUEST, &mut scratch).map(|found| found.handle),
        Some(0)
    );
}
