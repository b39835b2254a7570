//! What one core owns. Nothing here is shared: the snapshot is an `Arc` behind a per-core `Rc`, so that a request raises
//! a counter no other core touches.

use crate::mailbox::{Down, Generation, InForce, Mailbox, Outbox, Published, Up};
use crate::options::Options;
use crate::proxy::exchange::Scratch;
use crate::proxy::names::Names;
use crate::proxy::pool::Pool;
use crate::ring::{self, Clock, Driver, Signal};
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::log::CoreLog;
use crate::telemetry::metrics::CoreMetrics;
use crate::tls::Digest;
use crate::tls::client_auth::VerdictCache;
use crate::tls::server::CoreServer;
use crate::tls::tickets::Ticketer;
use crate::tls::upstream::CoreUpstream;
use crate::{http1, limits};
use ahash::RandomState;
use crossbeam::channel::Receiver;
use monoio::time::Instant;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::UNIX_EPOCH;
use uuid::Uuid;

/// One snapshot as this core uses it.
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub server: CoreServer,
    /// Those that some exchange of this core has asked for: their counters are this core's alone.
    held: RefCell<HashMap<u32, HeldRoute, RandomState>>,
    /// Last, so that it goes when nothing else of this view holds the snapshot.
    _return: Return,
}

/// A route without the snapshot it is of: what an exchange keeps once it is admitted. A tunnel lives for days, and a
/// snapshot kept for each would be a routing table kept for each.
pub type HeldRoute = Rc<Arc<Route>>;

/// Sends a snapshot back to the control side when the last request of this core that is matched or admitted by it has
/// moved on.
struct Return(Option<Arc<Snapshot>>, Outbox);

impl Drop for Return {
    fn drop(&mut self) {
        if let Some(snapshot) = self.0.take() {
            // Where the control side is that far behind it is taken apart here.
            self.1.send(Up::Released(snapshot));
        }
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>, tickets: &Arc<Ticketer>, up: &Outbox) -> Rc<Self> {
        let server = CoreServer::new(snapshot.server.clone(), tickets.clone());
        Rc::new(View {
            _return: Return(Some(snapshot.clone()), up.clone()),
            held: RefCell::default(),
            snapshot,
            server,
        })
    }

    pub fn hold(&self, handle: u32) -> Option<HeldRoute> {
        let mut held = self.held.borrow_mut();
        if let Some(route) = held.get(&handle) {
            return Some(route.clone());
        }
        let route = Rc::new(self.snapshot.routes.get(handle)?.clone());
        held.insert(handle, route.clone());
        Some(route)
    }

    pub fn route(&self, id: Uuid) -> Option<&Arc<Route>> {
        self.snapshot.routes.by_id(id)
    }
}

/// Memory for requests, lent to one exchange at a time.
#[derive(Default)]
#[allow(clippy::vec_box)] // lent out as boxes: moving one moves a pointer, not a kilobyte
pub struct ScratchPool(RefCell<Vec<Box<Scratch>>>);

impl ScratchPool {
    pub fn take(&self) -> Box<Scratch> {
        self.0.borrow_mut().pop().unwrap_or_else(Scratch::new)
    }

    /// Keeps it for the next request unless one long message has made it large.
    pub fn give(&self, scratch: Box<Scratch>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < limits::SCRATCH_KEPT && scratch.size() <= limits::SCRATCH_SIZE_KEPT {
            kept.push(scratch);
        }
    }
}

pub struct Core {
    pub index: usize,
    pub driver: Driver,
    options: RefCell<Rc<Options>>,
    view: RefCell<Rc<View>>,
    tickets: Arc<Ticketer>,
    in_force: Arc<InForce>,
    down: Receiver<Down>,
    generation: Arc<Generation>,
    seen: Cell<u64>,
    pub up: Outbox,
    pub metrics: RefCell<CoreMetrics>,
    pub log: RefCell<CoreLog>,
    pub verdicts: RefCell<VerdictCache>,
    pub upstream_tls: RefCell<CoreUpstream>,
    pub pool: Pool,
    pub names: Names,
    pub scratch: ScratchPool,
    pub buffers: ring::Pool,
    pub bulk_buffers: ring::Pool,
    /// Raised when the gateway drains: idle connections close, running exchanges end with `Connection: close`.
    pub draining: Signal,
    /// Raised at the drain's deadline: everything ends.
    pub aborting: Signal,
    /// Beats every `limits::BEAT_MS`.
    pub clock: Clock,
    pub drain_deadline: Cell<Option<std::time::Instant>>,
    pub connections: Cell<usize>,
    handshaking: Cell<usize>,
    pub handshakes: Handshakes,
    turn: ring::Turn,
    ids: Cell<(u64, u64)>,
    id_seed: ahash::RandomState,
    pub date: RefCell<http1::encode::DateCache>,
}

impl Core {
    pub fn new(parts: Parts) -> Rc<Self> {
        let Parts {
            driver,
            options,
            snapshot,
            tickets,
            mailbox,
            log,
            chosen,
        } = parts;
        let mut metrics = CoreMetrics::new(mailbox.core);
        metrics.snapshot(snapshot.number);
        let seed = ahash::RandomState::new();
        Rc::new(Core {
            index: mailbox.core,
            driver,
            view: RefCell::new(View::new(snapshot, &tickets, &mailbox.up)),
            tickets,
            in_force: mailbox.in_force,
            down: mailbox.down,
            seen: Cell::new(0),
            generation: mailbox.generation,
            up: mailbox.up,
            metrics: RefCell::new(metrics),
            log: RefCell::new(log),
            verdicts: RefCell::new(VerdictCache::new()),
            upstream_tls: RefCell::new(CoreUpstream::new(&chosen)),
            pool: Pool::new(
                options.pool_size,
                options.pool_requests_max,
                options.pool_idle_timeout,
            ),
            names: Names::default(),
            scratch: ScratchPool::default(),
            buffers: ring::Pool::new(limits::BUFFER_SIZE, limits::BUFFERS_KEPT),
            bulk_buffers: ring::Pool::new(limits::BULK_BUFFER_SIZE, limits::BULK_BUFFERS_KEPT),
            draining: Signal::default(),
            aborting: Signal::default(),
            clock: Clock::default(),
            drain_deadline: Cell::new(None),
            connections: Cell::new(0),
            handshaking: Cell::new(0),
            handshakes: Handshakes::default(),
            turn: ring::Turn::new(driver),
            ids: Cell::new((seed.hash_one(1u8), 0)),
            id_seed: seed,
            date: RefCell::new(http1::encode::DateCache::new(0)),
            options: RefCell::new(Rc::new(Options::clone(&options))),
        })
    }

    /// The snapshot the next request (or handshake) sees: what was published before this call is in it.
    pub fn view(&self) -> Rc<View> {
        if self.generation.now() != self.seen.get() {
            self.read_mail();
        }
        self.view.borrow().clone()
    }

    /// Takes everything out of the mailbox. Called when the generation has changed, and when the doorbell rings.
    pub fn read_mail(&self) {
        // Read first: what is put in after this raises it again.
        self.seen.set(self.generation.now());
        if let Some(Published { snapshot, options }) = self.in_force.take_published() {
            self.switch(snapshot, &options);
        }
        if let Some(epochs) = self.in_force.take_tickets() {
            self.tickets
                .install(epochs.current.clone(), epochs.previous.clone());
        }
        if let Some(deadline) = self.in_force.take_drain() {
            self.drain_deadline.set(Some(deadline));
            self.draining.raise();
        }
        while let Ok(message) = self.down.try_recv() {
            match message {
                Down::Resolved(name, answer) => self.names.answered(&name, &answer),
                Down::Scrape(reply) => {
                    let _ = reply.try_send((self.index, Box::new(self.metrics.borrow().clone())));
                }
            }
        }
    }

    fn switch(&self, snapshot: Arc<Snapshot>, options: &Options) {
        let number = snapshot.number;
        // First, and by itself: it has left the mailbox, so a panic in what follows must not lose it.
        let view = View::new(snapshot.clone(), &self.tickets, &self.up);
        let before = self.view.replace(view);
        *self.options.borrow_mut() = Rc::new(options.clone());
        // Connections that no live service could ask for any more are closed at once, not at their idle timeout.
        let live = |fingerprint: &Digest| snapshot.upstream_identities.contains(fingerprint);
        self.pool.bound(
            options.pool_size,
            options.pool_requests_max,
            options.pool_idle_timeout,
        );
        self.pool.keep_only(live);
        self.upstream_tls.borrow_mut().gc(live);
        drop(before);
        self.metrics.borrow_mut().snapshot(number);
    }

    /// The settings in force.
    pub fn options(&self) -> Rc<Options> {
        self.options.borrow().clone()
    }

    /// Unix seconds, for certificates' dates.
    pub fn now(&self) -> u64 {
        ring::wall()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// 32 lower-case hex characters: 64 random bits of this process, and a counter mixed by a keyed hash.
    pub fn request_id(&self) -> [u8; 32] {
        let (prefix, count) = self.ids.get();
        self.ids.set((prefix, count.wrapping_add(1)));
        let low = self.id_seed.hash_one((self.index, count));
        let mut id = [0u8; 32];
        for (index, byte) in id.iter_mut().enumerate() {
            let word = if index < 16 {
                prefix ^ low.rotate_left(32)
            } else {
                low
            };
            let nibble = (word >> (60 - 4 * (index % 16))) & 0xf;
            *byte = b"0123456789abcdef"[nibble as usize];
        }
        id
    }
}

/// What a core is made of.
pub struct Parts {
    pub driver: Driver,
    pub options: Arc<Options>,
    pub snapshot: Arc<Snapshot>,
    pub tickets: Arc<Ticketer>,
    pub mailbox: CoreMailbox,
    pub log: CoreLog,
    pub chosen: Arc<crate::tls::provider::Chosen>,
}

/// A mailbox without its doorbell, which the worker listens to.
pub struct CoreMailbox {
    pub core: usize,
    pub in_force: Arc<InForce>,
    pub down: Receiver<Down>,
    pub up: Outbox,
    pub generation: Arc<Generation>,
}

impl CoreMailbox {
    pub fn open(mailbox: Mailbox) -> (Self, ring::Doorbell) {
        let Mailbox {
            core,
            in_force,
            down,
            doorbell,
            up,
            generation,
        } = mailbox;
        (
            CoreMailbox {
                core,
                in_force,
                down,
                up,
                generation,
            },
            doorbell,
        )
    }
}

/// Counts connections of this core while it lives, whatever ends them.
pub struct ConnectionCount(Rc<Core>, bool);

impl ConnectionCount {
    pub fn new(core: &Rc<Core>, tls: bool) -> Self {
        core.connections.set(core.connections.get() + 1);
        core.metrics.borrow_mut().connection_opened(tls);
        ConnectionCount(core.clone(), tls)
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.borrow_mut().connection_closed(self.1);
    }
}

/// One connection between accept and finished handshake; at most `handshakes_max` of them exist on a core.
pub struct Handshaking(Rc<Core>);

impl Handshaking {
    pub fn begin(core: &Rc<Core>) -> Option<Self> {
        if core.handshaking.get() >= core.options().handshakes_max {
            return None;
        }
        core.handshaking.set(core.handshaking.get() + 1);
        core.metrics.borrow_mut().handshake_started();
        Some(Handshaking(core.clone()))
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.0.handshaking.set(self.0.handshaking.get() - 1);
        self.0.metrics.borrow_mut().handshake_ended();
    }
}

/// One exchange between its request's head and its end, for the gauge.
pub struct Exchanging(Rc<Core>);

impl Exchanging {
    pub fn begin(core: &Rc<Core>) -> Self {
        core.metrics.borrow_mut().exchange_started();
        Exchanging(core.clone())
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.0.metrics.borrow_mut().exchange_ended();
    }
}

/// Spreads the computing of handshakes over turns of the loop, so that a storm of them does not hold up what is
/// established. At most `HANDSHAKE_STEPS_PER_TURN` steps run in a turn; the rest queue in order.
#[derive(Default)]
pub struct Handshakes {
    steps: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Cell<Option<Waker>>>>>,
    pacing: Cell<bool>,
}

impl Handshakes {
    /// Waits for a place among this turn's steps. False: too many wait already, the connection is to be shed.
    pub async fn step(core: &Rc<Core>) -> bool {
        let this = &core.handshakes;
        if this.steps.get() < limits::HANDSHAKE_STEPS_PER_TURN && this.waiting.borrow().is_empty() {
            this.take(core);
            return true;
        }
        if this.waiting.borrow().len() >= limits::HANDSHAKES_WAITING_MAX {
            return false;
        }
        let place = Rc::new(Cell::new(None));
        this.waiting.borrow_mut().push_back(place.clone());
        let mut queued = false;
        std::future::poll_fn(|context| {
            // The pacer takes the place out of the queue when it wakes it.
            if queued && Rc::strong_count(&place) == 1 {
                return Poll::Ready(());
            }
            queued = true;
            place.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        this.take(core);
        true
    }

    fn take(&self, core: &Rc<Core>) {
        self.steps.set(self.steps.get() + 1);
        if !self.pacing.replace(true) {
            monoio::spawn(pace(core.clone()));
        }
    }
}

/// Runs while handshakes are under way: begins a new count each turn, and lets as many of the waiting go on.
async fn pace(core: Rc<Core>) {
    let this = &core.handshakes;
    loop {
        core.turn.next().await;
        let idle = this.steps.get() == 0;
        this.steps.set(0);
        let mut waiting = this.waiting.borrow_mut();
        if idle && waiting.is_empty() {
            this.pacing.set(false);
            return;
        }
        let count = waiting.len().min(limits::HANDSHAKE_STEPS_PER_TURN);
        for place in waiting.drain(..count) {
            if let Some(waker) = place.take() {
                waker.wake();
            }
        }
    }
}

impl Core {
    /// Now and `timeout` later.
    pub fn deadline(&self, timeout: std::time::Duration) -> Instant {
        ring::now() + timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::validate::{self, Context};
    use crate::entity::{Config, Kind};
    use crate::mailbox::mailboxes;
    use crate::snapshot::testing::Recorder;
    use crate::snapshot::{Compiler, Globals};

    #[test]
    fn an_exchange_keeps_its_route_and_not_the_snapshot() {
        let id = Uuid::from_u128(7);
        let row = serde_json::json!({"id": id, "name": "r", "paths": ["/"]});
        let context = Context {
            now_ms: 0,
            find: &|_, _| None,
            yaml: false,
            plugins: None,
        };
        let row = serde_json::from_value(row).unwrap();
        let row = validate::insert(Kind::Routes, row, &context).expect("a good route");
        let mut config = Config::default();
        config.insert(Kind::Routes, id, row);
        let globals: Globals<Recorder> = Globals {
            default_pairs: Vec::new(),
            server: Arc::new(()),
            client_pair: None,
            proxy_ssl_verify: None,
            tls_certificate_verify: false,
            verify_depth: 1,
            fallback_verify_depth: 1,
            proxy_trust: None,
            fallback_trust: None,
            traditional: false,
            advised: false,
        };
        let compiled = Compiler::new(globals.clone()).full(&Recorder::default(), &config, &globals);
        let snapshot = Arc::new(compiled.expect("it compiles").0);
        let (_post, boxes, inbox) = mailboxes(1).unwrap();
        let tickets = Arc::new(Ticketer::new([0; 16], 0, [0; 16]));
        let kept = Arc::downgrade(&snapshot);
        let view = View::new(snapshot, &tickets, &boxes[0].up);
        let (one, two) = (view.hold(0).unwrap(), view.hold(0).unwrap());
        assert!(Rc::ptr_eq(&one, &two), "counted on this core alone");
        assert!(view.hold(1).is_none());
        drop(view);
        let Ok(Up::Released(released)) = inbox.up.try_recv() else {
            panic!("the snapshot was not sent back");
        };
        drop(released);
        assert!(kept.upgrade().is_none(), "nobody has it any more");
        assert_eq!(one.name.as_deref(), Some("r"));
    }
}
