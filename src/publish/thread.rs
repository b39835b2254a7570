//! The publishing thread: the only one that compiles. It takes commits of the store, reloads and replacements in the order
//! in which they came, and puts each outcome before every core.

use super::live::Raise;
use super::{Configuration, Facts, Publisher, broadcast};
use crate::entity::{Config, Kind};
use crate::limits;
use crate::mailbox::Post;
use crate::options::Options;
use crate::snapshot::tls_glue::Tls;
use crate::snapshot::{Globals, Snapshot};
use crate::store::fixed::Fixed;
use crate::store::{Revision, Store, Watched};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crate::telemetry::metrics::CertificateExpiry;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
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
    /// Of the newest change that was begun.
    begun: Revision,
    /// Changes were refused, or lost in a panic. The next change does not name their rows, and is part of what they left:
    /// what differs is looked for in all rows.
    behind: bool,
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
            behind: false,
            posted: false,
        }
    }

    fn run(mut self) {
        self.expiries_left = self.parts.publisher.expiries_left(&self.parts.config);
        while let Some(order) = self.next() {
            self.guarded(|this| this.order(order));
        }
    }

    /// A panic refuses what was under way and nothing else.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return;
        }
        log::error(
            Level::Crit,
            "publishing a configuration ended in a panic; the one before serves on",
        );
        self.behind = true;
        self.parts.raise.refused(self.begun);
    }

    /// Waits for the next order; when none comes for a while after changes, the tables are put in order meanwhile.
    fn next(&mut self) -> Option<Order> {
        if let Some(order) = self.next.take() {
            return Some(order);
        }
        while !self.expiries_left.is_empty() {
            match self.orders.try_recv() {
                Ok(order) => return Some(order),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.index_expiries(),
            }
        }
        if self.unsettled {
            match self.orders.recv_timeout(SETTLE_AFTER) {
                Ok(order) => return Some(order),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.unsettled = false;
            let settled = catch_unwind(AssertUnwindSafe(|| self.parts.publisher.settle()))
                .unwrap_or_default();
            if let Some(snapshot) = settled {
                let config = self.parts.config.clone();
                self.publish(&snapshot, &config);
            }
        }
        self.orders.recv().ok()
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
        let mut changes = Changes::default();
        changes.add(&first);
        let mut newest = first;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Changed(watched) => {
                    changes.add(&watched);
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
        if image.revision <= self.parts.revision {
            // A reload or a replacement was told of the store before its watch was, and has taken this in. To publish it
            // would bring back what has been changed since.
            return self.parts.raise.live(image.revision);
        }
        self.begun = image.revision;
        if same(&self.parts.config, &image.config) {
            self.parts.revision = image.revision;
            return self.parts.raise.live(image.revision);
        }
        let rows = changes.rows.filter(|_| !self.behind);
        let compiled = match &rows {
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
                self.parts.revision = image.revision;
                self.behind = false;
                if rows.is_none() {
                    self.expiries_left = self.parts.publisher.expiries_left(&image.config);
                }
                for warning in self.parts.publisher.take_warnings() {
                    log::error(Level::Warn, warning);
                }
                self.parts.raise.live(image.revision);
            }
            Err(problems) => {
                for problem in problems {
                    log::error(
                        Level::Crit,
                        format_args!("revision {} cannot be served: {problem}", image.revision),
                    );
                }
                self.behind = true;
                self.parts.raise.refused(image.revision);
            }
        }
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
            .compile_with(globals, certificates, &configuration)?;
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
        let snapshot = self.parts.publisher.compile(configuration)?;
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
        self.parts.revision = revision;
        self.behind = false;
        self.parts.raise.live(revision);
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

/// Rows that have changed since the last compilation.
#[derive(Default)]
struct Changes {
    seen: HashSet<(Kind, Uuid)>,
    /// `None`: too many, or not known.
    rows: Option<Vec<(Kind, Uuid)>>,
    begun: bool,
}

impl Changes {
    fn add(&mut self, watched: &Watched) {
        if !std::mem::replace(&mut self.begun, true) {
            self.rows = Some(Vec::new());
        }
        let Watched::Commit(commit) = watched else {
            self.rows = None;
            return;
        };
        let Some(rows) = &mut self.rows else { return };
        for change in &commit.changes {
            if self.seen.insert((change.kind, change.id)) {
                rows.push((change.kind, change.id));
            }
        }
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
