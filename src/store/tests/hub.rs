use super::*;
use crate::entity::Config;
use crate::entity::Kind::*;
use crate::limits::{STORE_HISTORY_MAX, STORE_WATCH_QUEUE_MAX};
use crate::store::hub::Hub;
use crate::store::{Batch, CommitError, Committed, Fixed, Store, Watch, Watched};

/// Publishes `count` commits of nothing, one by one.
fn publish(hub: &Hub, count: usize) {
    for _ in 0..count {
        let mut image = Image::clone(&hub.image());
        image.revision += 1;
        hub.publish(vec![Arc::new(Committed {
            revision: image.revision,
            image: Arc::new(image),
            changes: Vec::new(),
        })]);
    }
}

/// What is there to read: `+revision` for a commit, `=revision` for a whole image.
fn read(watch: &mut dyn Watch) -> Vec<String> {
    let watched = std::iter::from_fn(|| watch.try_next());
    watched
        .map(|watched| match watched {
            Watched::Commit(of) => format!("+{}", of.revision),
            Watched::Lagged(image) => format!("={}", image.revision),
        })
        .collect()
}

#[test]
fn a_watcher_misses_nothing_between_image_and_watch() {
    let hub = Hub::new(Image::default());
    let from = hub.image().revision;
    publish(&hub, 2);
    let mut watch = hub.watch(from);
    publish(&hub, 1);
    assert_eq!(read(&mut *watch), ["+1", "+2", "+3"]);
    assert_eq!(read(&mut *hub.watch(2)), ["+3"]);
    assert!(read(&mut *hub.watch(3)).is_empty());
}

#[test]
fn what_lies_before_the_history_is_told_by_the_image() {
    let hub = Hub::new(Image::default());
    publish(&hub, STORE_HISTORY_MAX + 1);
    let newest = hub.image().revision;
    assert_eq!(read(&mut *hub.watch(0)), [format!("={newest}")]);
    assert_eq!(read(&mut *hub.watch(1)).len(), STORE_HISTORY_MAX);
}

#[test]
fn a_watcher_that_falls_behind_gets_the_newest_image_once_and_goes_on() {
    let hub = Hub::new(Image::default());
    let mut watch = hub.watch(0);
    publish(&hub, STORE_WATCH_QUEUE_MAX);
    let mut slow = hub.watch(hub.image().revision);
    publish(&hub, 1);
    let newest = hub.image().revision;
    publish(&hub, 1);
    let next = newest + 1;
    assert_eq!(
        read(&mut *watch),
        [format!("={newest}"), format!("+{next}")]
    );
    assert_eq!(read(&mut *slow), [format!("+{newest}"), format!("+{next}")]);
}

#[test]
fn a_waiting_watcher_hears_of_a_commit_and_of_the_end() {
    let hub = Arc::new(Hub::new(Image::default()));
    let mut watch = hub.watch(0);
    let waiting = std::thread::spawn(move || {
        let first = watch.next();
        (
            matches!(first, Some(Watched::Commit(of)) if of.revision == 1),
            watch.next().is_none(),
        )
    });
    publish(&hub, 1);
    hub.close();
    assert_eq!(waiting.join().expect("no panic"), (true, true));
    assert!(
        hub.watch(1).next().is_none(),
        "closed for those who come later"
    );
}

/// KONG.md §7.2: `database=off`.
#[test]
fn a_fixed_store_is_replaced_and_never_written_to() {
    let store = Fixed::new(Config::default());
    assert_eq!(store.image().revision, 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(store.commit(Batch::default()));
    assert_eq!(outcome, Err(CommitError::ReadOnly));
    let mut watch = store.watch(1);
    let mut config = Config::default();
    let (kind, row) = make(Consumers, 30, json!({"username": "u"}));
    config.insert(kind, id(30), row);
    assert_eq!(store.replace(config), 2);
    assert_eq!(store.image().find(Consumers, "username", "u"), Some(id(30)));
    assert_eq!(read(&mut *watch), ["=2"]);
    drop(store);
    assert!(watch.next().is_none());
}
