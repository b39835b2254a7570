//! Orders in every sequence that the store's watch and the control thread can produce.

mod again;
mod refused;

use super::*;
use crate::entity::Entity;
use crate::gateway::READING;
use crate::mailbox::{Mailbox, mailboxes};
use crate::publish::{Live, NotLive, live};
use crate::settings::Flag;
use crate::settings::io::Invocation;
use crate::store::{Batch, Change, CommitError, Committed, Committing, Image, StoreKind, Watch};
use crate::tls::provider;
use serde_json::json;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

/// A store whose watch is whatever the test sends.
#[derive(Default)]
struct Scripted {
    image: Mutex<Arc<Image>>,
    /// It takes batches.
    writable: AtomicBool,
    /// What its watch would tell of batches it has taken.
    told: Mutex<Vec<Watched>>,
    /// So often it panics when it is asked.
    panics: AtomicU32,
}

impl Scripted {
    /// Commits, and returns what the watch would say.
    fn commit(&self, kind: Kind, id: Uuid, row: Option<serde_json::Value>) -> Watched {
        let row = row.map(|row| Arc::new(serde_json::from_value::<Entity>(row).unwrap()));
        self.write(vec![Change { kind, id, row }])
    }

    fn write(&self, changes: Vec<Change>) -> Watched {
        let mut held = self.image.lock().unwrap();
        let mut image = Image::clone(&held);
        let revision = image.revision + 1;
        image.apply(&changes, revision);
        *held = Arc::new(image);
        Watched::Commit(Arc::new(Committed {
            revision,
            image: held.clone(),
            changes,
        }))
    }
}

impl Store for Scripted {
    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn image(&self) -> Arc<Image> {
        let panics = |count: u32| count.checked_sub(1);
        let panics = self
            .panics
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, panics);
        assert!(panics.is_err(), "a bug");
        self.image.lock().unwrap().clone()
    }

    fn commit(&self, batch: Batch) -> Committing {
        let outcome = match self.writable.load(Ordering::Relaxed) {
            false => Err(CommitError::ReadOnly),
            true if !self.image().admits(&batch.expected) => Err(CommitError::Conflict),
            true => {
                self.told.lock().unwrap().push(self.write(batch.writes));
                Ok(self.image().revision)
            }
        };
        Box::pin(std::future::ready(outcome))
    }

    fn watch(&self, _: Revision) -> Box<dyn Watch> {
        unreachable!("the test sends what a watch would")
    }
}

struct Bench {
    publishing: Publishing,
    store: Arc<Scripted>,
    live: Live,
    core: Mailbox,
    /// What the core was told last.
    seen: Option<Arc<Snapshot>>,
    sender: Sender<Order>,
}

fn parts(store: Arc<dyn Store>, fixed: Option<Arc<Fixed>>) -> (Parts, Live, Mailbox) {
    let prepared = prepared(None);
    let (post, mut boxes, _) = mailboxes(1).unwrap();
    let revision = store.image().revision;
    let (raise, live) = live(revision);
    let parts = Parts {
        publisher: Publisher::new(prepared.globals, prepared.certificates, false),
        post: Arc::new(post),
        options: prepared.options,
        config: store.image().config.clone(),
        store,
        fixed,
        revision,
        raise,
        facts: Arc::default(),
    };
    (parts, live, boxes.remove(0))
}

fn prepared(configuration: Option<Configuration>) -> Prepared {
    let invocation = Invocation {
        file: Some("/dev/null".into()),
        flags: vec![Flag {
            flag: "--set",
            name: "database".into(),
            value: "off".into(),
        }],
    };
    let settings = invocation.evaluate().into_result().unwrap().settings;
    let chosen = provider::choose(provider::Mode::default());
    let material = (READING.material)(&settings, &chosen, false).unwrap();
    Prepared {
        options: Arc::new((READING.options)(&settings, material.templates)),
        globals: material.globals,
        certificates: material.certificates,
        configuration,
    }
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Scripted::default());
        let (parts, live, core) = parts(store.clone(), None);
        let (sender, orders) = bounded(64);
        Bench {
            publishing: Publishing::new(parts, orders),
            store,
            live,
            core,
            seen: None,
            sender,
        }
    }

    fn consumer(&self, number: u128, name: &str) -> Watched {
        let id = Uuid::from_u128(number);
        let row = json!({ "id": id, "username": name });
        self.store.commit(Kind::Consumers, id, Some(row))
    }

    /// One that passes no compilation.
    fn unusable(&self) -> Watched {
        self.store
            .commit(Kind::Plugins, UNUSABLE, Some(plugin("none-such")))
    }

    fn told(&mut self, watched: Watched) {
        self.publishing
            .guarded(|this| this.order(Order::Changed(watched)));
    }

    /// The consumers of whom the core knows.
    fn served(&mut self) -> Vec<String> {
        if let Some(published) = self.core.in_force.take_published() {
            self.seen = Some(published.snapshot);
        }
        names(self.seen.as_deref())
    }
}

const UNUSABLE: Uuid = Uuid::from_u128(99);

/// By the name of one that there is not it passes no compilation.
fn plugin(name: &str) -> serde_json::Value {
    json!({
        "id": UNUSABLE, "name": name, "enabled": true, "protocols": ["http"], "config": {},
        "route": null, "service": null, "consumer": null,
    })
}

fn names(snapshot: Option<&Snapshot>) -> Vec<String> {
    let consumers = snapshot.map(|snapshot| snapshot.consumers.by_username.keys());
    let mut names: Vec<_> = consumers
        .into_iter()
        .flatten()
        .map(|name| name.to_string())
        .collect();
    names.sort();
    names
}

fn reached(live: &Live, revision: Revision) -> Poll<Result<(), NotLive>> {
    pin!(live.reached(revision)).poll(&mut Context::from_waker(Waker::noop()))
}

/// It stays where it is when the store cannot take it back.
#[test]
fn rows_of_a_refused_change_are_in_the_next_one_that_compiles() {
    let mut bench = Bench::new();
    let first = bench.consumer(1, "ada");
    bench.told(first);
    assert_eq!(bench.served(), ["ada"]);
    let unusable = bench.unusable();
    let renamed = bench.consumer(1, "bob");
    // Both commits wait.
    bench.sender.send(Order::Changed(renamed)).unwrap();
    bench.told(unusable);
    assert_eq!(bench.served(), ["ada"]);
    let stuck = bench.live.stuck().expect("a reason");
    assert_eq!(stuck.rows, [(Kind::Plugins, UNUSABLE)]);
    assert_eq!(
        stuck.lines,
        [format!(
            "plugins {UNUSABLE}: none-such: cannot be run by this version; disable or delete it"
        )]
    );
    for revision in [2, 3] {
        let refused = Err(NotLive::Refused(stuck.clone()));
        assert_eq!(reached(&bench.live, revision), Poll::Ready(refused));
    }
    let added = bench.consumer(2, "cyd");
    bench.told(added);
    assert_eq!(
        bench.served(),
        ["ada"],
        "what was refused stands in the way of the next change"
    );
    let mended = bench.store.commit(Kind::Plugins, UNUSABLE, None);
    bench.told(mended);
    assert_eq!(bench.served(), ["bob", "cyd"]);
    assert_eq!(reached(&bench.live, 5), Poll::Ready(Ok(())));
    assert_eq!(bench.live.stuck(), None);
    let later = bench.consumer(3, "dan");
    bench.told(later);
    assert_eq!(bench.served(), ["bob", "cyd", "dan"]);
}

#[test]
fn rows_of_a_change_lost_in_a_panic_are_in_the_next_one() {
    let mut bench = Bench::new();
    let lost = bench.consumer(1, "ada");
    let revision = bench.store.image().revision;
    let waiting = bench.consumer(2, "bob");
    bench.publishing.guarded(move |this| {
        this.begun = revision;
        drop(lost);
        panic!("a bug");
    });
    let refused = reached(&bench.live, 1);
    assert!(
        matches!(refused, Poll::Ready(Err(NotLive::Refused(_)))),
        "{refused:?}"
    );
    assert_eq!(reached(&bench.live, 2), Poll::Pending, "its turn comes");
    bench.told(waiting);
    assert_eq!(bench.served(), ["ada", "bob"]);
    assert_eq!(reached(&bench.live, 2), Poll::Ready(Ok(())));
}

#[test]
fn a_commit_told_of_after_a_reload_that_has_it_brings_nothing_older_back() {
    let mut bench = Bench::new();
    let first = bench.consumer(1, "revoked");
    let second = bench
        .store
        .commit(Kind::Consumers, Uuid::from_u128(1), None);
    // The reload takes the store's newest state; the watch is behind.
    let (reply, mut taken) = oneshot::channel();
    let reload = Order::Reload(Box::new(prepared(None)), reply);
    bench.publishing.guarded(|this| this.order(reload));
    assert_eq!(taken.try_recv().unwrap().unwrap().revision, 2);
    assert_eq!(reached(&bench.live, 2), Poll::Ready(Ok(())));
    assert!(bench.served().is_empty());
    bench.told(first);
    assert!(
        bench.served().is_empty(),
        "a core that looks now must not see revision 1"
    );
    bench.told(second);
    assert!(bench.served().is_empty());
    let third = bench.consumer(2, "ada");
    bench.told(third);
    assert_eq!(bench.served(), ["ada"]);
}

#[test]
fn a_replacement_told_of_after_the_next_one_does_not_come_back() {
    let fixed = Arc::new(Fixed::new(Config::default()));
    let (parts, live, core) = parts(fixed.clone(), Some(fixed.clone()));
    let mut watch = fixed.watch(1);
    let (_sender, orders) = bounded(64);
    let mut publishing = Publishing::new(parts, orders);
    let mut replace = |name: &str| {
        let mut config = Config::default();
        let id = Uuid::from_u128(1);
        let row = json!({ "id": id, "username": name });
        config.insert(Kind::Consumers, id, serde_json::from_value(row).unwrap());
        let configuration = Configuration {
            config,
            warnings: Vec::new(),
        };
        let (reply, mut taken) = oneshot::channel();
        publishing.order(Order::Replace(Box::new(configuration), reply));
        taken.try_recv().unwrap().unwrap().revision
    };
    assert_eq!(replace("revoked"), 2);
    let late = watch.try_next().unwrap();
    assert_eq!(replace("ada"), 3);
    publishing.order(Order::Changed(late));
    let served = core.in_force.take_published().unwrap().snapshot;
    assert_eq!(names(Some(&served)), ["ada"]);
    publishing.order(Order::Changed(watch.try_next().unwrap()));
    assert!(
        core.in_force.take_published().is_none(),
        "it is what the core has"
    );
    assert_eq!(live.now(), 3);
}

#[test]
fn the_certificates_of_a_replacement_are_in_the_metric_of_their_expiry() {
    let fixed = Arc::new(Fixed::new(Config::default()));
    let (parts, _live, _core) = parts(fixed.clone(), Some(fixed));
    let (_sender, orders) = bounded(64);
    let mut publishing = Publishing::new(parts, orders);
    let id = Uuid::from_u128(1);
    let mut told = |config: Config| {
        let configuration = Configuration {
            config,
            warnings: Vec::new(),
        };
        let (reply, mut taken) = oneshot::channel();
        publishing.order(Order::Replace(Box::new(configuration), reply));
        taken.try_recv().unwrap().unwrap();
        // As between two orders.
        while !publishing.expiries_left.is_empty() {
            publishing.index_expiries();
        }
        let expiries = publishing.parts.publisher.expiries();
        let soonest = expiries.lock().unwrap().soonest(100);
        soonest
            .iter()
            .filter(|one| one.kind == "ca_certificate")
            .map(|one| one.id.clone())
            .collect::<Vec<_>>()
    };
    let row = json!({ "id": id, "cert": crate::entity::fixtures::ROOT });
    let mut config = Config::default();
    config.insert(
        Kind::CaCertificates,
        id,
        serde_json::from_value(row).unwrap(),
    );
    assert_eq!(told(config), [id.to_string()]);
    assert!(told(Config::default()).is_empty());
}

#[test]
fn a_reload_that_takes_the_place_of_a_posted_configuration_says_so_once() {
    let fixed = Arc::new(Fixed::new(Config::default()));
    let (parts, _live, _core) = parts(fixed.clone(), Some(fixed));
    let (_sender, orders) = bounded(64);
    let mut publishing = Publishing::new(parts, orders);
    let empty = || Configuration {
        config: Config::default(),
        warnings: Vec::new(),
    };
    let mut warnings = |posted: bool| {
        let (reply, mut taken) = oneshot::channel();
        publishing.order(match posted {
            true => Order::Replace(Box::new(empty()), reply),
            false => Order::Reload(Box::new(prepared(Some(empty()))), reply),
        });
        taken.try_recv().unwrap().unwrap().warnings.len()
    };
    for (posted, told) in [(false, 0), (true, 0), (true, 0), (false, 1), (false, 0)] {
        assert_eq!(warnings(posted), told);
    }
}

#[test]
fn tables_are_put_in_order_beside_the_changes_that_come_meanwhile() {
    let mut bench = Bench::new();
    let route = |number: u128| {
        let id = Uuid::from_u128(number);
        let row = json!({
            "id": id, "name": format!("r{number}"), "hosts": [format!("h{number}.test")], "protocols": ["http"],
            "methods": null, "paths": null, "headers": null, "snis": null, "service": null, "regex_priority": 0,
            "strip_path": true, "preserve_host": false, "https_redirect_status_code": 426, "path_handling": "v0",
            "request_buffering": true, "response_buffering": true,
        });
        let row = Some(Arc::new(serde_json::from_value::<Entity>(row).unwrap()));
        Change {
            kind: Kind::Routes,
            id,
            row,
        }
    };
    // In one table from the first.
    let many = limits::ROUTE_CHANGES_BEHIND_MAX as u128 + 1;
    let first = bench.store.write((0..many).map(route).collect());
    bench.told(first);
    let crowd = many..many + limits::ROUTE_CHANGES_MAX as u128;
    for number in crowd.clone() {
        assert!(!bench.publishing.parts.publisher.is_crowded());
        let next = bench.store.write(vec![route(number)]);
        bench.told(next);
    }
    // It has begun; what comes now is not in it.
    let next = bench.store.write(vec![route(crowd.end)]);
    bench.told(next);
    assert!(bench.publishing.parts.publisher.is_crowded());
    let done = bench.publishing.beside.done();
    let settled = done
        .recv_timeout(Duration::from_secs(60))
        .expect("it has begun");
    bench.publishing.take_settled(settled);
    assert!(!bench.publishing.parts.publisher.is_crowded());
    bench.served();
    let served = bench.seen.as_ref().expect("a snapshot");
    assert_eq!(served.routes.iter().count() as u128, crowd.end + 1);
    assert_eq!(served.router.entry_count() as u128, crowd.end + 1);
    assert!(!served.router.is_crowded(), "the cores have it");
}
