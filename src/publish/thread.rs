//! The publishing thread: the only one that compiles. It takes commits of the store, reloads and replacements in the order
//! in which they came, and puts each outcome before every core.

mod again;
mod beside;
mod pending;

use super::live::Raise;
use super::{Configuration, Facts, Publisher, Unserved, broadcast};
use crate::entity::{Config, Kind};
use crate::limits;
use crate::mailbox::Post;
use crate::options::Options;
use crate::snapshot::tls_glue::Tls;
use crate::snapshot::{Globals, Settled, Snapshot};
use crate::store::fixed::Fixed;
use crate::store::{Image, Revision, Store, Watched};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crate::telemetry::metrics::CertificateExpiry;
use again::Again;
use beside::Beside;
use crossbeam::channel::{Receiver, Sender, TryRecvError, at, bounded, never, select};
use pending::Pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Rows taken into the order of expiry at a time; an order that comes meanwhile waits for them, a few milliseconds.
const EXPIRIES_AT_A_TIME: usize = 256;
/// Without an order for this long, the tables are put in order.
const SETTLE_AFTER: Duration = Duration::from_millis(200);

/// What the thread is told.
pub enum Order {
    /// The store has committed.
    Changed(Watched),
    /// Settings have been read again.
    Reload(Box<Prepared>, Reply),
    /// A whole configuration in place of the declarative one (`POST /config`).
    Replace(Box<Configuration>, Reply),
    /// By nobody: a panic has left the store's newest state unserved.
    Again,
}

/// Settings read again and sound by themselves.
pub struct Prepared {
    pub globals: Globals<Tls>,
    pub certificates: Vec<CertificateExpiry>,
    pub options: Arc<Options>,
    /// `None`: what the store has stays.
    pub configuration: Option<Configuration>,
}

/// What has become live, or every reason why nothing has changed.
pub type Reply = oneshot::Sender<Result<Taken, Vec<String>>>;

#[derive(Clone, Debug)]
pub struct Taken {
    /// The snapshot's.
    pub number: u64,
    /// Of the store.
    pub revision: Revision,
    pub warnings: Vec<String>,
}

/// What the thread works with.
pub struct Parts {
    /// Has compiled the configuration that the cores began with.
    pub publisher: Publisher,
    pub post: Arc<Post>,
    pub options: Arc<Options>,
    pub store: Arc<dyn Store>,
    /// The same store when it is the declarative one.
    pub fixed: Option<Arc<Fixed>>,
    /// Of the store, as the cores have it.
    pub revision: Revision,
    /// What the last compilation was made of.
    pub config: Config,
    pub raise: Raise,
    pub facts: Arc<Mutex<Facts>>,
}

/// Sends orders. The thread ends with the process: it owns nothing that must be closed.
#[derive(Clone)]
pub struct Orders(Sender<Order>);

impl Orders {
    /// False when too many wait.
    pub fn send(&self, order: Order) -> bool {
        self.0.try_send(order).is_ok()
    }
}

/// # Errors
/// A thread cannot be started.
pub fn start(parts: Parts) -> std::io::Result<Orders> {
    let (sender, orders) = bounded(limits::PUBLISH_ORDERS_MAX);
    let mut watch = parts.store.watch(parts.revision);
    let commits = sender.clone();
    thread::Builder::new().name("watch".into()).spawn(move || {
        // Waiting here lets the store's own queue fill, which it turns into one `Lagged`.
        while let Some(watched) = watch.next() {
            if commits.send(Order::Changed(watched)).is_err() {
                return;
            }
        }
    })?;
    thread::Builder::new()
        .name("publish".into())
        .spawn(move || Publishing::new(parts, orders).run())?;
    Ok(Orders(sender))
}

struct Publishing {
    parts: Parts,
    orders: Receiver<Order>,
    /// Taken from the channel, and not yet its turn.
    next: Option<Order>,
    /// Certificates whose expiry is still to be read: when no order waits.
    expiries_left: Vec<(Kind, Uuid)>,
    /// Changes have been compiled since the last time that everything was put into its fastest form.
    unsettled: bool,
    beside: Beside,
    /// Of the newest change that was begun.
    begun: Revision,
    /// Commits since what is served.
    pending: Pending,
    /// After a panic it is not known what has been taken in: what differs is looked for in all rows.
    behind: bool,
    again: Again,
    /// What is in force came by `POST /config`.
    posted: bool,
}

impl Publishing {
    fn new(parts: Parts, orders: Receiver<Order>) -> Self {
        Publishing {
            begun: parts.revision,
            parts,
            orders,
            next: None,
            expiries_left: Vec::new(),
            unsettled: false,
            beside: Beside::default(),
            pending: Pending::default(),
            behind: false,
            again: Again::default(),
            posted: false,
        }
    }

    fn run(mut self) {
        self.expiries_left = self.parts.publisher.expiries_left(&self.parts.config);
        while let Some(order) = self.next() {
            self.guarded(|this| this.order(order));
        }
    }

    /// A panic refuses what was under way and nothing else, and has the store's state tried again later.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return;
        }
        log::error(
            Level::Crit,
            "publishing a configuration ended in a panic; the one before serves on",
        );
        self.behind = true;
        let unserved = Unserved {
            lines: vec!["publishing it ended in a panic".to_owned()],
            rows: Vec::new(),
        };
        self.parts.raise.refused(self.begun, Arc::new(unserved));
        if !self.again.after_panic() {
            log::error(
                Level::Crit,
                "publishing is not tried again before the next change or reload",
            );
        }
    }

    /// Waits for the next order. Until it comes: tables that are in order are taken, expiries read, and when none comes for a
    /// while after changes the tables are put in order.
    fn next(&mut self) -> Option<Order> {
        loop {
            if let Ok(settled) = self.beside.done().try_recv() {
                self.take_settled(settled);
            }
            if let Some(order) = self.next.take() {
                return Some(order);
            }
            match self.orders.try_recv() {
                Ok(order) => return Some(order),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if !self.expiries_left.is_empty() {
                self.index_expiries();
                continue;
            }
            let settle_at = self.unsettled.then(|| Instant::now() + SETTLE_AFTER);
            let due = settle_at.into_iter().chain(self.again.due()).min();
            let timeout = due.map_or_else(never, at);
            let done = self.beside.done();
            select! {
                recv(self.orders) -> order => return order.ok(),
                recv(done) -> settled => self.take_settled(settled.unwrap_or_default()),
                recv(timeout) -> _ => {
                    if due == self.again.due() {
                        self.again.begin();
                        return Some(Order::Again);
                    }
                    // One under way has begun before the newest changes.
                    self.unsettled = !self.settle();
                }
            }
        }
    }

    /// False: that is under way already.
    fn settle(&mut self) -> bool {
        let publisher = &self.parts.publisher;
        self.beside.start(|| publisher.settling())
    }

    /// `None`: there was nothing to do, or it has ended in a panic.
    fn take_settled(&mut self, settled: Option<Settled>) {
        self.beside.end();
        let Some(settled) = settled else { return };
        self.guarded(|this| {
            if let Some(snapshot) = this.parts.publisher.settle(&settled) {
                let config = this.parts.config.clone();
                this.publish(&snapshot, &config);
            }
        });
    }

    /// A portion of those that are left, as the rows are now.
    fn index_expiries(&mut self) {
        let left = self.expiries_left.len().saturating_sub(EXPIRIES_AT_A_TIME);
        let portion = self.expiries_left.split_off(left);
        let (publisher, config) = (&self.parts.publisher, &self.parts.config);
        let index = AssertUnwindSafe(|| publisher.index_expiries(config, portion));
        if catch_unwind(index).is_err() {
            log::error(
                Level::Crit,
                "reading the expiry of certificates ended in a panic",
            );
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Changed(watched) => self.changed(watched),
            Order::Again => {
                let image = self.parts.store.image();
                self.advance(&image);
            }
            Order::Reload(prepared, reply) => {
                let outcome = self.reload(*prepared);
                let _ = reply.send(outcome);
            }
            Order::Replace(configuration, reply) => {
                let outcome = self.replace(&configuration);
                let _ = reply.send(outcome);
                self.expiries_left = self.parts.publisher.expiries_left(&self.parts.config);
            }
        }
    }

    /// Compiles for all commits that wait at once.
    fn changed(&mut self, first: Watched) {
        self.pending.add(&first);
        let mut newest = first;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Changed(watched) => {
                    self.pending.add(&watched);
                    newest = watched;
                }
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        let image = match newest {
            Watched::Commit(commit) => commit.image.clone(),
            Watched::Lagged(image) => image,
        };
        self.advance(&image);
    }

    /// Goes on to a newer state of the store.
    fn advance(&mut self, image: &Image) {
        // A reload or a replacement was told of the store before its watch was, and has taken that in. To publish an older
        // state would bring back what has been changed since.
        self.pending.served(self.parts.revision);
        if image.revision <= self.parts.revision {
            self.again.done();
            return self.parts.raise.live(image.revision);
        }
        self.begun = image.revision;
        if same(&self.parts.config, &image.config) {
            return self.is_served(image.revision);
        }
        let rows = self.pending.rows(self.parts.revision, image.revision);
        let compiled = match rows.as_ref().filter(|_| !self.behind) {
            Some(rows) => self.parts.publisher.change(&image.config, rows),
            None => self.parts.publisher.compile(&Configuration {
                config: image.config.clone(),
                warnings: Vec::new(),
            }),
        };
        match compiled {
            Ok(snapshot) => {
                self.unsettled = true;
                self.publish(&snapshot, &image.config);
                if rows.is_none() || self.behind {
                    self.expiries_left = self.parts.publisher.expiries_left(&image.config);
                }
                for warning in self.parts.publisher.take_warnings() {
                    log::error(Level::Warn, warning);
                }
                self.is_served(image.revision);
                if self.parts.publisher.is_crowded() {
                    // One that is under way is followed by another after the next change.
                    let _ = self.settle();
                }
            }
            Err(unserved) => {
                for line in &unserved.lines {
                    log::error(
                        Level::Crit,
                        format_args!("revision {} cannot be served: {line}", image.revision),
                    );
                }
                self.again.done();
                if rows.is_none() || !self.take_back(image.revision) {
                    let unserved = Arc::new(unserved);
                    self.parts.raise.refused(image.revision, unserved);
                }
            }
        }
    }

    /// Of several commits that do not compile together each gets the verdict it would get without the others that do not
    /// compile: those are undone in the store. So nothing stays there that stands in the way of all that comes, and of the
    /// next start. False: something does.
    fn take_back(&mut self, newest: Revision) -> bool {
        let (pending, parts) = (&mut self.pending, &self.parts);
        let mut undone = None;
        for culprit in pending.culprits(&parts.publisher, &parts.config) {
            let Some(revision) = pending.revision(&culprit) else {
                continue;
            };
            if let Some(earlier) = pending.taken_back(&culprit) {
                undone = undone.max(Some(earlier));
                continue;
            }
            match pending.take_back(&culprit, &*parts.store) {
                Ok(by) => {
                    undone = undone.max(Some(by));
                    let text = format_args!("revision {revision} is taken back by revision {by}");
                    log::error(Level::Error, text);
                    let unserved = Arc::new(culprit.unserved);
                    parts.raise.taken_back(revision, unserved);
                }
                Err(reason) => {
                    let text = format_args!("revision {revision} cannot be taken back: {reason}");
                    log::error(Level::Crit, text);
                    return false;
                }
            }
        }
        // The watch is about to tell of it, and the rest is served with it.
        undone.is_some_and(|undone| undone > newest)
    }

    /// Every core has this revision of the store.
    fn is_served(&mut self, revision: Revision) {
        self.parts.revision = revision;
        self.pending.served(revision);
        self.behind = false;
        self.again.done();
        self.parts.raise.live(revision);
    }

    fn reload(&mut self, prepared: Prepared) -> Result<Taken, Vec<String>> {
        let image = self.parts.store.image();
        let Prepared {
            globals,
            certificates,
            options,
            configuration,
        } = prepared;
        let replaced = configuration.is_some();
        let configuration = configuration.unwrap_or_else(|| Configuration {
            config: image.config.clone(),
            warnings: Vec::new(),
        });
        let snapshot = self
            .parts
            .publisher
            .compile_with(globals, certificates, &configuration)
            .map_err(|unserved| unserved.lines)?;
        self.parts.options = options;
        let mut taken = self.finish(&snapshot, configuration.config, replaced, image.revision);
        // Whoever posted it has been told that it is live; it may have come while the file was being read.
        if replaced && std::mem::take(&mut self.posted) {
            let text =
                "the declarative configuration has taken the place of what POST /config brought";
            taken.warnings.push(text.to_owned());
        }
        if !replaced && self.parts.fixed.is_some() {
            let stays = match self.parts.publisher.facts().empty {
                true => "every request gets 404",
                false => "what is in force serves on until a restart",
            };
            taken
                .warnings
                .push(format!("no declarative_config is set: {stays}"));
        }
        Ok(taken)
    }

    fn replace(&mut self, configuration: &Configuration) -> Result<Taken, Vec<String>> {
        let revision = self.parts.store.image().revision;
        let compiled = self.parts.publisher.compile(configuration);
        let snapshot = compiled.map_err(|unserved| unserved.lines)?;
        self.posted = true;
        Ok(self.finish(&snapshot, configuration.config.clone(), true, revision))
    }

    fn finish(
        &mut self,
        snapshot: &Arc<Snapshot>,
        config: Config,
        replaced: bool,
        revision: Revision,
    ) -> Taken {
        self.publish(snapshot, &config);
        let revision = match &self.parts.fixed {
            // Its watch tells of the new one too, which `same` then recognises.
            Some(fixed) if replaced => fixed.replace(config),
            _ => revision,
        };
        self.is_served(revision);
        Taken {
            number: snapshot.number,
            revision,
            warnings: self.parts.publisher.take_warnings(),
        }
    }

    fn publish(&mut self, snapshot: &Arc<Snapshot>, config: &Config) {
        broadcast(&self.parts.post, snapshot, &self.parts.options);
        self.parts.config = config.clone();
        *self
            .parts
            .facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.parts.publisher.facts();
    }
}

/// Whether two configurations are one and the same, by address: a table that was touched is another one.
fn same(one: &Config, other: &Config) -> bool {
    Kind::ALL.into_iter().all(
        |kind| match (one.tables.get(&kind), other.tables.get(&kind)) {
            (Some(one), Some(other)) => one.ptr_eq(other) || (one.is_empty() && other.is_empty()),
            (None, None) => true,
            (Some(table), None) | (None, Some(table)) => table.is_empty(),
        },
    )
}

#[cfg(test)]
mod tests;
