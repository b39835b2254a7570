//! A change that does not compile, among others and alone: it is taken back, and stands in nobody's way.

use super::*;
use crate::store::{embedded, wait};

impl Bench {
    fn writable() -> Bench {
        let bench = Bench::new();
        bench.store.writable.store(true, Ordering::Relaxed);
        bench
    }

    /// All of them wait when the thread comes to the first.
    fn told_at_once(&mut self, commits: Vec<Watched>) {
        let mut commits = commits.into_iter();
        let first = commits.next().expect("a commit");
        for commit in commits {
            self.sender.send(Order::Changed(commit)).unwrap();
        }
        self.told(first);
    }

    /// What the store's watch tells of what the thread has written; how much that is.
    fn told_of_its_own(&mut self) -> usize {
        let own = std::mem::take(&mut *self.store.told.lock().unwrap());
        let count = own.len();
        own.into_iter().for_each(|watched| self.told(watched));
        count
    }

    #[track_caller]
    fn is_taken_back(&self, revision: Revision) {
        match reached(&self.live, revision) {
            Poll::Ready(Err(NotLive::TakenBack(unserved))) => {
                assert_eq!(unserved.rows, [(Kind::Plugins, UNUSABLE)]);
            }
            other => panic!("{revision}: {other:?}"),
        }
    }

    #[track_caller]
    fn is_live(&self, revision: Revision) {
        assert_eq!(
            reached(&self.live, revision),
            Poll::Ready(Ok(())),
            "{revision}"
        );
    }
}

#[test]
fn of_changes_that_wait_together_only_the_one_that_does_not_compile_is_refused() {
    for place in 0..3_usize {
        let mut bench = Bench::writable();
        let commits = (0..3).map(|at| match at == place {
            true => bench.unusable(),
            false => bench.consumer(at as u128, &format!("c{at}")),
        });
        let commits = commits.collect();
        bench.told_at_once(commits);
        assert_eq!(bench.told_of_its_own(), 1);
        let others: Vec<usize> = (0..3).filter(|at| *at != place).collect();
        let names: Vec<_> = others.iter().map(|at| format!("c{at}")).collect();
        assert_eq!(bench.served(), names, "{place}");
        others.iter().for_each(|at| bench.is_live(*at as u64 + 1));
        bench.is_taken_back(place as u64 + 1);
        assert_eq!(bench.live.stuck(), None);
        let image = bench.store.image();
        assert_eq!(image.get(Kind::Plugins, UNUSABLE), None);
        assert_eq!(image.row_count(), 2);
    }
}

#[test]
fn changes_that_come_before_the_store_tells_of_its_own_wait_for_it() {
    let mut bench = Bench::writable();
    let (unusable, ada) = (bench.unusable(), bench.consumer(1, "ada"));
    bench.told(unusable);
    bench.told(ada);
    assert_eq!(reached(&bench.live, 2), Poll::Pending);
    let bob = bench.consumer(2, "bob");
    assert_eq!(bench.told_of_its_own(), 1);
    assert_eq!(bench.served(), ["ada"]);
    bench.told(bob);
    assert_eq!(bench.served(), ["ada", "bob"]);
    bench.is_taken_back(1);
    [2, 3, 4]
        .into_iter()
        .for_each(|revision| bench.is_live(revision));
}

#[test]
fn a_row_that_was_changed_is_as_it_was_before_the_first_change_that_does_not_compile() {
    let mut bench = Bench::writable();
    let change = |bench: &Bench, name| {
        let row = Some(plugin(name));
        bench.store.commit(Kind::Plugins, UNUSABLE, row)
    };
    let sound = change(&bench, "prometheus");
    bench.told(sound);
    let commits = vec![
        change(&bench, "none-such"),
        bench.consumer(1, "ada"),
        change(&bench, "nor-such"),
    ];
    bench.told_at_once(commits);
    assert_eq!(bench.told_of_its_own(), 2);
    bench.is_taken_back(2);
    bench.is_taken_back(4);
    bench.is_live(3);
    let row = bench.store.image().get(Kind::Plugins, UNUSABLE).cloned();
    assert_eq!(row.expect("the row")["name"], "prometheus");
    assert_eq!(bench.served(), ["ada"]);
}

#[test]
fn a_change_that_mends_another_makes_both_live() {
    let mut bench = Bench::writable();
    let commits = vec![
        bench.unusable(),
        bench
            .store
            .commit(Kind::Plugins, UNUSABLE, Some(plugin("prometheus"))),
    ];
    bench.told_at_once(commits);
    assert_eq!(bench.told_of_its_own(), 0);
    [1, 2]
        .into_iter()
        .for_each(|revision| bench.is_live(revision));
}

/// Two rows in one batch: what others have put below one of them is theirs.
#[test]
fn a_change_that_others_have_built_on_stays_until_it_is_mended() {
    let mut bench = Bench::writable();
    let row = |row| Some(Arc::new(serde_json::from_value::<Entity>(row).unwrap()));
    let consumer = Uuid::from_u128(1);
    let both = bench.store.write(vec![
        Change {
            kind: Kind::Consumers,
            id: consumer,
            row: row(json!({"id": consumer, "username": "ada"})),
        },
        Change {
            kind: Kind::Plugins,
            id: UNUSABLE,
            row: row(plugin("none-such")),
        },
    ]);
    let acl = Uuid::from_u128(2);
    let below = json!({"id": acl, "consumer": {"id": consumer}, "group": "g"});
    let below = bench.store.commit(Kind::Acls, acl, Some(below));
    bench.told_at_once(vec![both, below]);
    assert_eq!(bench.told_of_its_own(), 0);
    assert!(bench.served().is_empty());
    let stuck = bench.live.stuck().expect("a reason");
    assert_eq!(stuck.rows, [(Kind::Plugins, UNUSABLE)]);
    for revision in [1, 2] {
        let refused = Err(NotLive::Refused(stuck.clone()));
        assert_eq!(reached(&bench.live, revision), Poll::Ready(refused));
    }
    let mended = bench.store.commit(Kind::Plugins, UNUSABLE, None);
    bench.told(mended);
    assert_eq!(bench.served(), ["ada"]);
    assert_eq!(bench.live.stuck(), None);
}

/// With the store of a file and its watch, and over a restart.
#[test]
fn what_was_taken_back_is_not_there_at_the_next_start() {
    let path = std::env::temp_dir().join(format!("sallyport-publish-{}.db", Uuid::new_v4()));
    let (store, _) = embedded::open(&path).expect("a new store");
    let (parts, live, core) = parts(store.clone(), None);
    let _orders = start(parts).expect("threads");
    let write = |kind, id, row: serde_json::Value| {
        let row = Some(Arc::new(serde_json::from_value::<Entity>(row).unwrap()));
        store.commit(Batch {
            expected: Vec::new(),
            writes: vec![Change { kind, id, row }],
        })
    };
    let consumer = |number: u128, name: &str| {
        let id = Uuid::from_u128(number);
        write(
            Kind::Consumers,
            id,
            json!({"id": id, "username": name, "custom_id": null}),
        )
    };
    let commits = [
        consumer(1, "ada"),
        write(Kind::Plugins, UNUSABLE, plugin("none-such")),
        consumer(2, "bob"),
    ];
    let verdicts = commits.map(|commit| {
        let revision = wait(commit, None).expect("it ends").expect("it commits");
        wait(live.reached(revision), None).expect("it ends")
    });
    assert_eq!((&verdicts[0], &verdicts[2]), (&Ok(()), &Ok(())));
    let refused = &verdicts[1];
    assert!(matches!(refused, Err(NotLive::TakenBack(_))), "{refused:?}");
    let served = core.in_force.take_published().expect("a snapshot");
    assert_eq!(names(Some(&served.snapshot)), ["ada", "bob"]);
    assert!(store.close());
    let (_, loaded) = embedded::open(&path).expect("the store again");
    std::fs::remove_file(&path).expect("the file");
    assert_eq!(loaded.image.get(Kind::Plugins, UNUSABLE), None);
    assert_eq!(loaded.image.row_count(), 2);
}
