//! The control thread: everything that waits. It never blocks: compiling and file reading run on blocking threads.

mod admin;
mod reload;
#[cfg(test)]
mod tests;

use crate::admin::InForce;
use crate::admin::service::Clients;
use crate::http1::error_body::Templates;
use crate::limits;
use crate::mailbox::{Answer, Down, Epochs, Inbox, Post, Up};
use crate::options::Options;
use crate::publish::{self, AdminTls, Configuration, Expiries, Facts, Live, Material, Orders};
use crate::resolve::{ResolveSettings, Resolver};
use crate::settings::io::Invocation;
use crate::settings::{Loaded, Settings};
use crate::store::{Store, StoreKind};
use crate::telemetry::acceptor::ListenerTls;
use crate::telemetry::access::Level;
use crate::telemetry::log::{self, Logs};
use crate::telemetry::metrics::{CoreMetrics, ProcessFacts};
use crate::telemetry::process;
use crate::telemetry::status::{self, StatusSource};
use crate::tls::provider::Chosen;
use crate::tls::tickets::EpochSecret;
use reload::{Listeners, Reloading};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What the control thread is made of.
pub struct Control {
    pub loaded: Loaded,
    /// Loads the settings again.
    pub invocation: Invocation,
    pub orders: Orders,
    pub live: Live,
    pub facts: Arc<Mutex<Facts>>,
    pub expiries: Arc<Mutex<Expiries>>,
    pub store: Arc<dyn Store>,
    pub post: Arc<Post>,
    pub inbox: Inbox,
    pub epochs: Epochs,
    /// Each with whether it has `ssl`.
    pub status: Vec<(std::net::TcpListener, bool)>,
    pub status_tls: Option<Arc<ListenerTls>>,
    /// Each with whether it has `ssl`.
    pub admin: Vec<(std::net::TcpListener, bool)>,
    pub admin_tls: Option<AdminTls>,
    pub engine: &'static str,
    pub chosen: Arc<Chosen>,
    pub logs: Arc<Logs>,
    pub workers: Vec<JoinHandle<io::Result<()>>>,
    pub node_id: String,
    pub reading: Reading,
}

/// How settings are turned into what is published; the same on start and on reload.
#[derive(Clone, Copy)]
pub struct Reading {
    pub options: fn(&Settings, Templates) -> Options,
    pub configuration: fn(&Settings) -> Result<Configuration, Vec<String>>,
    /// The last argument: generated pairs are kept in the prefix.
    pub material: fn(&Settings, &Chosen, bool) -> Result<Material, String>,
    pub resolving: fn(&Settings) -> ResolveSettings,
    pub log_level: fn(&Settings) -> Level,
}

/// Runs until every core has drained.
///
/// # Errors
/// The gateway could not come up, or a core ended that nobody asked to end.
pub fn run(control: Control) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, live(control));
    // A reload that reads a file without end is not waited for.
    runtime.shutdown_background();
    ended
}

/// What tasks of the control thread share.
struct Shared {
    post: Arc<Post>,
    logs: Arc<Logs>,
    facts: Arc<Mutex<Facts>>,
    expiries: Arc<Mutex<Expiries>>,
    store: Arc<dyn Store>,
    draining: AtomicBool,
    reloads_ok: AtomicU64,
    reloads_refused: AtomicU64,
    /// The last figures of each core, for one that is too busy to answer.
    last: Mutex<Vec<CoreMetrics>>,
    node_id: String,
    engine: &'static str,
    chosen: Arc<Chosen>,
    started: SystemTime,
}

async fn live(control: Control) -> Result<(), String> {
    let Control {
        loaded,
        invocation,
        orders,
        live,
        facts,
        expiries,
        store,
        post,
        inbox,
        mut epochs,
        status,
        status_tls,
        admin,
        admin_tls,
        engine,
        chosen,
        logs,
        mut workers,
        node_id,
        reading,
    } = control;
    let cores = post.cores();
    let shared = Arc::new(Shared {
        post,
        logs,
        facts,
        expiries,
        store: store.clone(),
        draining: AtomicBool::new(false),
        reloads_ok: AtomicU64::new(0),
        reloads_refused: AtomicU64::new(0),
        last: Mutex::new((0..cores).map(CoreMetrics::new).collect()),
        node_id,
        engine,
        chosen,
        started: SystemTime::now(),
    });
    let mut signals =
        Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let resolver = resolver(&(reading.resolving)(&loaded.settings))?;
    let (events_sender, mut events) = mpsc::unbounded_channel();
    let names = Arc::new(Mutex::new(resolver));
    tokio::task::spawn_local(listen_to_cores(
        inbox,
        shared.clone(),
        names.clone(),
        events_sender,
    ));

    // Cores first: the status listener answers only when they accept.
    let mut ready = 0;
    while ready < cores {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Ready) => ready += 1,
                Some(Event::Drained) | None => {}
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                if let Some(reason) = ended(&mut workers) {
                    return Err(format!("a core could not start: {reason}"));
                }
            }
        }
    }
    for (listener, ssl) in status {
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| format!("status_listen: {error}"))?;
        let tls = status_tls.clone().filter(|_| ssl);
        tokio::task::spawn_local(status::serve(listener, tls, shared.clone()));
    }
    let (admin_tls, clients) = match admin_tls {
        Some(tls) => (
            Some(Arc::new(ListenerTls::new(tls.policy))),
            Some(Arc::new(Clients::new(tls.clients))),
        ),
        None => (None, None),
    };
    let parts = admin::Parts {
        store,
        live,
        orders: orders.clone(),
        listeners: admin,
        tls: admin_tls.clone(),
        clients: clients.clone(),
    };
    let directives = InForce::new(admin::directives(&loaded)?);
    admin::serve(parts, &loaded, &directives, &shared)?;
    log::error(Level::Notice, format_args!("{cores} cores are ready"));

    let tls = Listeners {
        status: status_tls,
        admin: admin_tls,
        clients,
    };
    let mut reloading = Reloading::new(loaded, invocation, orders, reading, tls, directives);
    let mut epoch_length = reloading.settings.ticket_epoch();
    let mut epoch = epochs_of(epoch_length);
    let mut watch = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            what = signals.next() => match what {
                Asked::Reload => reloading.begin(&shared.chosen),
                Asked::Reopen => shared.logs.reopen(),
                Asked::Stop => break,
            },
            done = reloading.done() => {
                reloading.end(done, &shared, &names);
                let wanted = reloading.settings.ticket_epoch();
                if wanted != epoch_length {
                    epoch_length = wanted;
                    epoch = epochs_of(wanted);
                }
            }
            _ = epoch.tick() => {
                let current = EpochSecret { number: epochs.current.number + 1, secret: crate::tls::tickets::random_secret() };
                epochs = Epochs { previous: Some(epochs.current), current };
                shared.post.tickets(&Arc::new(epochs.clone()));
            }
            _ = watch.tick() => {
                if let Some(reason) = ended(&mut workers) {
                    log::error(Level::Emerg, format_args!("a core ended: {reason}"));
                    return Err(format!("a core ended: {reason}"));
                }
            }
        }
    }
    drain(
        &shared,
        &mut signals,
        &mut events,
        workers,
        reloading.settings.drain_timeout,
    )
    .await
}

/// Ticks when a ticket secret has served its time, the first time one such time from now.
fn epochs_of(length: Duration) -> tokio::time::Interval {
    let length = length.max(Duration::from_secs(1));
    let mut epochs = tokio::time::interval_at(tokio::time::Instant::now() + length, length);
    // A process that slept must not hand out several epochs at once: the last one's tickets would be void.
    epochs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    epochs
}

/// Stops accepting, lets exchanges end, and gives up at the deadline or at a second signal.
async fn drain(
    shared: &Shared,
    signals: &mut Signals,
    events: &mut mpsc::UnboundedReceiver<Event>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    timeout: Duration,
) -> Result<(), String> {
    shared.draining.store(true, Ordering::Release);
    log::error(
        Level::Notice,
        format_args!("draining for at most {} s", timeout.as_secs()),
    );
    let mut deadline = Instant::now() + timeout;
    shared.post.drain(deadline);
    let mut drained = 0;
    let slack = Duration::from_millis(500);
    while drained < shared.post.cores() && Instant::now() < deadline + slack {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Drained) => drained += 1,
                Some(Event::Ready) => {}
                None => break,
            },
            what = signals.next() => if matches!(what, Asked::Stop) {
                deadline = Instant::now();
                shared.post.drain(deadline);
            },
            () = tokio::time::sleep_until((deadline + slack).into()) => {}
        }
    }
    let mut waited = 0;
    while workers.iter().any(|worker| !worker.is_finished()) && waited < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        waited += 1;
    }
    log::error(
        Level::Notice,
        format_args!(
            "drained, {drained} of {} cores in time",
            shared.post.cores()
        ),
    );
    Ok(())
}

enum Event {
    Ready,
    Drained,
}

/// Answers what cores ask.
async fn listen_to_cores(
    inbox: Inbox,
    shared: Arc<Shared>,
    names: Arc<Mutex<Arc<Resolver>>>,
    events: mpsc::UnboundedSender<Event>,
) {
    let Ok(mut bell) = tokio::net::UnixStream::from_std(inbox.bell) else {
        return;
    };
    let mut bytes = [0u8; 256];
    loop {
        while let Ok(message) = inbox.up.try_recv() {
            match message {
                Up::Resolve { core, name } => {
                    let resolver = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let shared = shared.clone();
                    tokio::task::spawn_local(async move {
                        let found = resolver.resolve(&name).await;
                        let answer = Answer {
                            addresses: found
                                .addresses
                                .iter()
                                .map(|address| (address.ip, address.port))
                                .collect(),
                            expires: Instant::now() + Duration::from_secs(found.expires_after_s),
                            error: found.error.map(|error| error.to_string().into()),
                        };
                        if let (Some(error), true) = (&answer.error, answer.addresses.is_empty()) {
                            let hosts = resolver
                                .hosts_error()
                                .map(|why| format!(" (and dns_hostsfile cannot be read: {why})"));
                            let hosts = hosts.unwrap_or_default();
                            log::error(Level::Warn, format_args!("name {name}: {error}{hosts}"));
                        }
                        shared
                            .post
                            .send(core, Down::Resolved(name, Arc::new(answer)));
                    });
                }
                Up::Released(snapshot) => publish::retire(snapshot),
                Up::Ready => drop(events.send(Event::Ready)),
                Up::Drained => drop(events.send(Event::Drained)),
            }
        }
        match bell.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn resolver(settings: &ResolveSettings) -> Result<Arc<Resolver>, String> {
    Resolver::new(settings.clone())
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

impl StatusSource for Shared {
    async fn scrape(&self) -> Vec<CoreMetrics> {
        let (sender, replies) = crossbeam::channel::bounded(self.post.cores());
        for core in 0..self.post.cores() {
            self.post.send(core, Down::Scrape(sender.clone()));
        }
        drop(sender);
        let deadline = Instant::now() + Duration::from_millis(limits::SCRAPE_WAIT_MS);
        let mut missing = self.post.cores();
        let mut fresh = Vec::new();
        while missing > 0 && Instant::now() < deadline {
            match replies.try_recv() {
                Ok(reply) => {
                    missing -= 1;
                    fresh.push(reply);
                }
                Err(crossbeam::channel::TryRecvError::Empty) => {
                    tokio::time::sleep(Duration::from_millis(1)).await
                }
                Err(crossbeam::channel::TryRecvError::Disconnected) => break,
            }
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (core, metrics) in fresh {
            if let Some(slot) = last.get_mut(core) {
                *slot = *metrics;
            }
        }
        last.clone()
    }

    fn process(&self) -> ProcessFacts {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = self.logs.stats();
        ProcessFacts {
            node_id: self.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            crypto_provider: self.chosen.name.to_owned(),
            engine: self.engine.to_owned(),
            datastore_reachable: self.store.is_reachable(),
            snapshot_number: facts.number,
            certificates: self
                .expiries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .soonest(limits::METRIC_CERTIFICATES_MAX),
            now: unix_s(SystemTime::now()),
            started: unix_s(self.started),
            memory: process::memory(),
            log_dropped: stats.dropped_lines,
            log_write_errors: stats.write_errors,
            reloads_ok: self.reloads_ok.load(Ordering::Relaxed),
            reloads_refused: self.reloads_refused.load(Ordering::Relaxed),
        }
    }

    fn log(&self) -> Option<log::LogHandle> {
        Some(self.logs.handle())
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Acquire) {
            return Err("draining".to_owned());
        }
        // A store without a row is where a new gateway begins; a declarative one without any was not given its file yet.
        if self.store.kind() == StoreKind::Off
            && self
                .facts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .empty
        {
            return Err("no configuration available (empty configuration present)".to_owned());
        }
        Ok(())
    }

    fn configuration_hash(&self) -> Option<String> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.hash.as_deref().map(str::to_owned)
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

enum Asked {
    Reload,
    Reopen,
    Stop,
}

struct Signals {
    hangup: Signal,
    user1: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user1.recv() => Asked::Reopen,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.quit.recv() => Asked::Stop,
        }
    }
}

/// Why a core's thread has ended, if one has.
fn ended(workers: &mut Vec<JoinHandle<io::Result<()>>>) -> Option<String> {
    let at = workers.iter().position(JoinHandle::is_finished)?;
    Some(match workers.remove(at).join() {
        Ok(Ok(())) => "it stopped".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    })
}
