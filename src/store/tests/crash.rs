//! Power cuts, full, failing and hanging disks under the embedded store.

use super::disk::{Disk, Op, Unsynced, after_power_cut};
use super::random::{Operation, Random, operation, run};
use super::*;
use crate::entity::Config;
use crate::entity::Kind::Consumers;
use crate::limits::STORE_QUEUE_MAX;
use crate::store::embedded::{self, Embedded, file};
use crate::store::{CommitError, Store, Watch, Watched};
use std::path::Path;

fn start(disk: &Disk) -> Arc<Embedded> {
    let disk = disk.clone();
    let path = Path::new("test");
    let opener = Box::new(move || file::open_on(disk.clone(), path, file::STEPS));
    embedded::start(path, opener).expect("it opens").0
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// Puts consumer `number` with this name.
fn put(store: &Embedded, number: u128, name: &str) -> Result<Revision, CommitError> {
    let mut plan = Plan::new(store.image());
    let (kind, row) = make(Consumers, number, json!({"username": name}));
    plan.replace(kind, row).expect("a free name");
    wait(store.commit(plan.into_batch()))
}

fn name_of(store: &Embedded, number: u128) -> Option<String> {
    let image = store.image();
    let row = image.get(Consumers, id(number))?;
    row["username"].as_str().map(str::to_owned)
}

/// Every state the store has been in, by revision.
fn states(watch: &mut dyn Watch, states: &mut Vec<Config>) {
    while let Some(watched) = watch.try_next() {
        match watched {
            Watched::Commit(commit) => {
                assert_eq!(commit.revision, states.len() as u64);
                states.push(commit.image.config.clone());
            }
            Watched::Lagged(image) => panic!("lagged at {}", image.revision),
        }
    }
}

/// Issue 4, "How it is checked": cut the log of writes and syncs at every point.
#[test]
fn after_a_power_cut_every_acknowledged_batch_is_there_and_none_in_part() {
    let mut random = Random(4);
    let disk = Disk::default();
    let store = start(&disk);
    put(&store, 1, "first").expect("an empty disk");
    let mut history = vec![Config::default(), store.image().config.clone()];
    let mut watch = store.watch(1);
    let base = disk.with(|state| {
        state.log.clear();
        state.bytes.clone()
    });
    // (operations in the log, newest revision) whenever something was acknowledged.
    let mut acknowledged = vec![(0, 1)];
    while history.len() < 60 {
        let image = store.image();
        let commits: Vec<_> = (0..1 + random.below(3))
            .map(|_| {
                let mut plan = Plan::new(Arc::clone(&image));
                for _ in 0..1 + random.below(4) {
                    let of: Operation = operation(&mut random);
                    run(&mut plan, &of);
                }
                store.commit(plan.into_batch())
            })
            .collect();
        for commit in commits {
            match wait(commit) {
                Ok(revision) => {
                    acknowledged.push((disk.with(|state| state.log.len()), revision));
                }
                Err(error) => assert_eq!(error, CommitError::Conflict),
            }
        }
        states(&mut *watch, &mut history);
    }
    let log: Vec<Op> = disk.with(|state| state.log.clone());
    assert!(log.len() > 300, "{} operations", log.len());
    for cut in 0..=log.len() {
        for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Any] {
            let bytes = after_power_cut(&base, &log, cut, unsynced, &mut random);
            let disk = Disk::of(bytes);
            let path = Path::new("test");
            let image = file::open_on(disk, path, file::STEPS)
                .and_then(|database| file::load(&database, path))
                .unwrap_or_else(|error| panic!("cut {cut}, {unsynced:?}: {error}"));
            let promised = acknowledged.iter().filter(|(position, _)| *position <= cut);
            let promised = promised.map(|(_, revision)| *revision).max();
            assert!(
                Some(image.revision) >= promised,
                "cut {cut}, {unsynced:?}: revision {} of {promised:?}",
                image.revision
            );
            assert_eq!(
                image.config, history[image.revision as usize],
                "cut {cut}, {unsynced:?}: revision {}",
                image.revision
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let disk = Disk::default();
    let store = start(&disk);
    assert_eq!(put(&store, 1, "first"), Ok(1));
    let mut stale = Plan::new(store.image());
    let (kind, row) = make(Consumers, 1, json!({"username": "stale"}));
    stale.replace(kind, row).expect("a free name");
    assert_eq!(put(&store, 1, "kept"), Ok(2));
    assert!(store.is_reachable());
    disk.with(|state| state.pages_max = Some(state.pages_used() + 20));
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 2..200 {
        match put(&store, number, &"x".repeat(2000 + number as usize)) {
            Ok(_) => kept.push(number),
            Err(CommitError::Storage(reason)) => {
                assert!(reason.contains("space"), "{reason}");
                assert_eq!(name_of(&store, number), None);
                assert!(!store.is_reachable(), "{number}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert!(!kept.is_empty() && refused == 3, "{kept:?}");
    // What is refused for its content says nothing of the disk.
    let conflict = wait(store.commit(stale.into_batch()));
    assert_eq!(conflict, Err(CommitError::Conflict));
    assert!(!store.is_reachable());
    // Reads go on, and what was there is there.
    assert_eq!(name_of(&store, 1).as_deref(), Some("kept"));
    disk.with(|state| state.pages_max = None);
    assert!(put(&store, 1000, "after").is_ok());
    assert!(store.is_reachable(), "the last write came through");
    let config = store.image().config.clone();
    drop(store);
    let store = start(&disk);
    assert_eq!(store.image().config, config);
    for number in kept {
        assert!(name_of(&store, number).is_some(), "{number}");
    }
}

/// The bytes are on the disk when the sync fails: the file must not know more than was answered.
#[test]
fn what_a_failed_sync_leaves_in_the_file_is_taken_back() {
    for syncs in 1..4 {
        let disk = Disk::default();
        let store = start(&disk);
        assert_eq!(put(&store, 1, "one"), Ok(1));
        assert_eq!(put(&store, 2, "two"), Ok(2));
        disk.with(|state| state.syncs_fail = syncs);
        let refused = put(&store, 1, "changed");
        assert!(
            matches!(refused, Err(CommitError::Storage(_))),
            "{refused:?}"
        );
        assert_eq!(store.image().revision, 2);
        // The next that succeeds is of another row.
        let mut revision = Err(CommitError::Busy);
        for _ in 0..syncs + 1 {
            revision = put(&store, 3, "three");
            if revision.is_ok() {
                break;
            }
        }
        assert_eq!(revision, Ok(3), "{syncs}");
        drop(store);
        let store = start(&disk);
        assert_eq!(store.image().revision, 3);
        let names = [1, 2, 3].map(|number| name_of(&store, number));
        assert_eq!(
            names.map(Option::unwrap_or_default),
            ["one", "two", "three"]
        );
    }
}

/// The last thing before the end fails: closing puts it right.
#[test]
fn a_failed_write_is_taken_back_when_the_store_is_closed() {
    let disk = Disk::default();
    let store = start(&disk);
    assert_eq!(put(&store, 1, "one"), Ok(1));
    disk.with(|state| state.syncs_fail = 1);
    assert!(put(&store, 1, "changed").is_err());
    assert!(store.close());
    assert_eq!(put(&store, 1, "late"), Err(CommitError::Closed));
    let store = start(&disk);
    assert_eq!(store.image().revision, 1);
    assert_eq!(name_of(&store, 1).as_deref(), Some("one"));
}

#[test]
fn a_hanging_disk_holds_commits_and_nothing_else() {
    let disk = Disk::default();
    let store = start(&disk);
    assert_eq!(put(&store, 1, "one"), Ok(1));
    disk.with(|state| state.hangs = true);
    let commit = |number: u128| {
        let mut plan = Plan::new(store.image());
        let (kind, row) = make(Consumers, number, json!({"username": format!("n{number}")}));
        plan.insert(kind, row).expect("a free name");
        store.commit(plan.into_batch())
    };
    let first = commit(2);
    disk.wait_until_it_hangs();
    let mut waiting: Vec<_> = (0..STORE_QUEUE_MAX as u128)
        .map(|n| commit(10 + n))
        .collect();
    assert_eq!(wait(commit(5000)), Err(CommitError::Busy));
    assert_eq!(store.image().revision, 1);
    assert_eq!(name_of(&store, 1).as_deref(), Some("one"));
    assert!(store.watch(1).try_next().is_none());
    disk.with(|state| state.hangs = false);
    assert_eq!(wait(first), Ok(2));
    let revisions: Vec<_> = waiting.drain(..).map(wait).collect();
    let expected: Vec<_> = (3..3 + STORE_QUEUE_MAX as u64).map(Ok).collect();
    assert_eq!(
        revisions, expected,
        "each batch has its own revision, in order"
    );
    // They waited together, so they shared a sync.
    let syncs = disk.with(|state| state.log.iter().filter(|op| matches!(op, Op::Sync)).count());
    assert!(syncs < 100, "{syncs} syncs");
}

/// Two batches of one group, of which the second was made before the first: its own verdict.
#[test]
fn batches_of_one_group_have_their_own_verdicts() {
    let disk = Disk::default();
    let store = start(&disk);
    assert_eq!(put(&store, 1, "one"), Ok(1));
    disk.with(|state| state.hangs = true);
    let image = store.image();
    let commit = |number: u128, name: &str| {
        let mut plan = Plan::new(Arc::clone(&image));
        let (kind, row) = make(Consumers, number, json!({"username": name}));
        plan.replace(kind, row).expect("a free name");
        store.commit(plan.into_batch())
    };
    let ahead = commit(2, "ahead");
    disk.wait_until_it_hangs();
    let group = [commit(3, "same"), commit(4, "same"), commit(5, "other")];
    disk.with(|state| state.hangs = false);
    assert_eq!(wait(ahead), Ok(2));
    assert_eq!(
        group.map(wait),
        [Ok(3), Err(CommitError::Conflict), Ok(4)],
        "the name is taken within the group"
    );
    let batch = Plan::new(store.image()).into_batch();
    assert_eq!(wait(store.commit(batch)), Ok(4), "nothing to write");
}
