//! The load: slots of connections, operations started when they are due, and what each event means.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;

use crate::args::{Args, Mode};
use crate::connection::{Connection, Phase, Progress};
use crate::response::Done;
use crate::stats::{Elapsed, Stats};
use crate::sys::{self, Epoll, Event};
use crate::tls::Tls;

/// Read buffer all connections share (bytes).
const SCRATCH_SIZE: usize = 256 * 1024;
/// Connections being opened at a time while the set is built up.
const OPENING_MAX: usize = 64;
/// Failures in a row after which the run is given up.
const FAILURES_MAX: u64 = 2000;
/// How long the set-up (all connections open, a ticket for each) may take.
const SETUP_MAX: Duration = Duration::from_secs(60);
/// Waits are at most this long, so that a lost edge shows as latency and not as a hang.
const WAIT_MAX: Duration = Duration::from_millis(200);

pub struct Load {
    args: Args,
    tls: Option<(Tls, ServerName<'static>)>,
    request: Vec<u8>,
    epoll: Epoll,
    slots: Vec<Option<Connection>>,
    /// Slots that can start an operation, the one that rested longest first.
    ready: VecDeque<usize>,
    /// Connections that do not carry an operation yet.
    opening: usize,
    failures_in_row: u64,
    stage: Stage,
    scratch: Vec<u8>,
    pub stats: Stats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Connections are opened or tickets collected; nothing counts.
    Setup,
    Running,
}

impl Load {
    pub fn new(args: Args, tls: Option<(Tls, ServerName<'static>)>) -> Result<Load, String> {
        let slots = args.connections.max(1);
        Ok(Load {
            request: request(&args),
            tls,
            epoll: Epoll::new().map_err(|e| format!("epoll: {e}"))?,
            slots: (0..slots).map(|_| None).collect(),
            ready: VecDeque::with_capacity(slots),
            opening: 0,
            failures_in_row: 0,
            stage: Stage::Setup,
            scratch: vec![0; SCRATCH_SIZE],
            stats: Stats::default(),
            args,
        })
    }

    /// Runs to the end and says how long the measured part took and what CPU it used.
    pub fn run(&mut self) -> Result<Elapsed, String> {
        match self.args.mode {
            Mode::Full => self.ready.extend(0..self.slots.len()),
            Mode::Resumed => {
                self.collect_tickets()?;
                self.ready.extend(0..self.slots.len());
            }
            Mode::Keepalive => self.open_all()?,
            Mode::Idle => return self.hold(),
        }
        self.stage = Stage::Running;
        if self.args.warmup > 0.0 {
            self.operate(Duration::from_secs_f64(self.args.warmup), None)?;
        }
        let reused_before = self.certs_reused();
        self.stats = Stats::default();
        let before = Reading::take(&self.args)?;
        let length = match self.args.count {
            Some(_) => Duration::MAX,
            None => Duration::from_secs_f64(self.args.seconds),
        };
        self.operate(length, self.args.count)?;
        let elapsed = before.until(&Reading::take(&self.args)?);
        self.stats.certs_reused = self.certs_reused() - reused_before;
        Ok(elapsed)
    }

    /// Starts operations when they are due, until `length` has passed or `count` have ended.
    fn operate(&mut self, length: Duration, count: Option<u64>) -> Result<(), String> {
        let begin = Instant::now();
        let mut started: u64 = 0;
        let mut events = Vec::new();
        loop {
            let passed = begin.elapsed();
            let ended = self.stats.ops + self.stats.errors_total();
            if passed >= length || count.is_some_and(|count| ended >= count) {
                return Ok(());
            }
            self.check_failures()?;
            let mut wait = WAIT_MAX.min(length - passed);
            if self.args.rate > 0.0 {
                let due = (passed.as_secs_f64() * self.args.rate) as u64 + 1;
                // The latency counts from the moment the operation was due, so a stalled server cannot hide it.
                while started < due
                    && let Some(slot) = self.ready.pop_front()
                {
                    let at = begin + Duration::from_secs_f64(started as f64 / self.args.rate);
                    self.start(slot, at);
                    started += 1;
                }
                if started >= due {
                    let next = Duration::from_secs_f64(started as f64 / self.args.rate);
                    wait = wait.min(next.saturating_sub(begin.elapsed()));
                }
            } else {
                for _ in 0..self.ready.len() {
                    if let Some(slot) = self.ready.pop_front() {
                        self.start(slot, Instant::now());
                    }
                }
            }
            self.turn(wait, &mut events)?;
        }
    }

    /// Waits once and handles what came.
    fn turn(&mut self, wait: Duration, events: &mut Vec<Event>) -> Result<(), String> {
        // A start that failed at once has left its slot ready again.
        let wait =
            match self.args.rate == 0.0 && self.stage == Stage::Running && !self.ready.is_empty() {
                true => Duration::ZERO,
                false => wait,
            };
        events.clear();
        self.epoll
            .wait(wait, events)
            .map_err(|e| format!("epoll: {e}"))?;
        for event in events.drain(..) {
            self.on_event(event);
        }
        Ok(())
    }

    fn start(&mut self, slot: usize, since: Instant) {
        match self.slots[slot].as_mut() {
            Some(connection) => {
                connection.since = since;
                if let Err(kind) = connection.send(&self.request) {
                    self.fail(slot, &kind);
                }
            }
            None => self.open(slot, since),
        }
    }

    fn open(&mut self, slot: usize, since: Instant) {
        let tls = self
            .tls
            .as_ref()
            .map(|(tls, name)| (tls.config.clone(), name.clone()));
        let opened = sys::connect(self.args.connect)
            .map_err(|e| format!("connect: {:?}", e.kind()))
            .and_then(|socket| Connection::new(socket, tls, since));
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(kind) => return self.fail(slot, &kind),
        };
        if let Err(error) = self.epoll.add(connection.socket(), slot) {
            return self.fail(slot, &format!("epoll: {:?}", error.kind()));
        }
        self.opening += 1;
        // On loopback the connection is mostly there already and the first flight saves an event.
        let flushed = connection.flush();
        self.slots[slot] = Some(connection);
        if let Err(kind) = flushed {
            self.fail(slot, &kind);
        }
    }

    fn on_event(&mut self, event: Event) {
        let slot = event.slot;
        let Some(connection) = self.slots[slot].as_mut() else {
            return;
        };
        let progress = match connection.pump(event.hangup, &mut self.scratch) {
            Ok(progress) => progress,
            // Our close crossed the server's: the exchange was whole.
            Err(kind) if connection.phase == Phase::Closing && kind.starts_with("io: ") => {
                return self.complete(slot);
            }
            Err(kind) => return self.fail(slot, &kind),
        };
        if connection.phase == Phase::Opening && connection.is_open() {
            self.opening -= 1;
            connection.phase = Phase::Quiet;
            let kind = connection.handshake_kind();
            match kind {
                Some(HandshakeKind::Resumed) => self.stats.resumed += 1,
                Some(HandshakeKind::Full) => self.stats.full += 1,
                Some(HandshakeKind::FullWithHelloRetryRequest) => {
                    self.stats.full += 1;
                    self.stats.retried += 1;
                }
                None => {}
            }
            if let Err(kind) = self.opened(slot) {
                return self.fail(slot, &kind);
            }
        }
        self.on_progress(slot, progress);
    }

    /// The connection can carry requests.
    fn opened(&mut self, slot: usize) -> Result<(), String> {
        let Some(connection) = self.slots[slot].as_mut() else {
            return Ok(());
        };
        match self.args.mode {
            Mode::Full | Mode::Resumed if self.args.with_request => connection.send(&self.request),
            // Tickets may follow the handshake; a set-up connection stays until it has them.
            Mode::Resumed if self.stage == Stage::Setup => Ok(()),
            Mode::Full | Mode::Resumed => connection.close(),
            Mode::Idle if self.args.with_request => connection.send(&self.request),
            Mode::Idle | Mode::Keepalive => {
                self.ready.push_back(slot);
                Ok(())
            }
        }
    }

    fn on_progress(&mut self, slot: usize, progress: Progress) {
        let Some(connection) = self.slots[slot].as_mut() else {
            return;
        };
        if let Some(done) = progress.response {
            if connection.phase != Phase::Exchange {
                return self.fail(slot, "a response without a request");
            }
            if let Some(kind) = self.args_refuse(&done) {
                return self.fail(slot, &kind);
            }
            self.stats.bytes += done.content_size;
            let Some(connection) = self.slots[slot].as_mut() else {
                return;
            };
            match self.args.mode {
                Mode::Keepalive => {
                    connection.phase = Phase::Quiet;
                    self.stats.ops += 1;
                    self.failures_in_row = 0;
                    self.stats.latency.record(connection.since.elapsed());
                    if done.close || progress.ended {
                        self.slots[slot] = None;
                        self.stats.reconnects += 1;
                    }
                    self.ready.push_back(slot);
                    if self.slots[slot].is_none() {
                        self.ready.pop_back();
                        self.open(slot, Instant::now());
                    }
                    return;
                }
                Mode::Idle => {
                    connection.phase = Phase::Quiet;
                    self.ready.push_back(slot);
                }
                Mode::Full | Mode::Resumed if progress.ended => return self.complete(slot),
                Mode::Full | Mode::Resumed => {
                    if let Err(kind) = connection.close()
                        && !kind.starts_with("io: ")
                    {
                        return self.fail(slot, &kind);
                    }
                }
            }
        }
        if progress.ended {
            self.on_end(slot);
        }
    }

    /// The server has closed and no response came with it.
    fn on_end(&mut self, slot: usize) {
        let phase = self.slots[slot].as_ref().map(|connection| connection.phase);
        match (phase, self.args.mode) {
            (Some(Phase::Closing), _) => self.complete(slot),
            (Some(Phase::Quiet), Mode::Keepalive) => {
                self.ready.retain(|&other| other != slot);
                self.slots[slot] = None;
                self.stats.reconnects += 1;
                self.open(slot, Instant::now());
            }
            (Some(Phase::Quiet), Mode::Idle) => {
                self.ready.retain(|&other| other != slot);
                self.fail(slot, "closed while idle");
            }
            (Some(Phase::Exchange), _) => self.fail(slot, "closed before the response"),
            (Some(_), _) => self.fail(slot, "closed in the handshake"),
            (None, _) => {}
        }
    }

    /// An operation of `full` or `resumed` is over.
    fn complete(&mut self, slot: usize) {
        if let Some(connection) = self.slots[slot].take() {
            self.stats.ops += 1;
            self.failures_in_row = 0;
            self.stats.latency.record(connection.since.elapsed());
            self.ready.push_back(slot);
        }
    }

    fn fail(&mut self, slot: usize, kind: &str) {
        self.stats.error(kind);
        self.failures_in_row += 1;
        if let Some(connection) = self.slots[slot].take()
            && connection.phase == Phase::Opening
        {
            self.opening -= 1;
        }
        match self.args.mode {
            Mode::Full | Mode::Resumed => self.ready.push_back(slot),
            // Opened again by `open_some`, not here: a server that refuses must not be hammered from a callback.
            Mode::Keepalive | Mode::Idle => self.ready.retain(|&other| other != slot),
        }
    }

    fn args_refuse(&self, done: &Done) -> Option<String> {
        if done.status != 200 {
            return Some(format!("status {}", done.status));
        }
        match self.args.expect_size {
            Some(size) if size != done.content_size => Some(format!("size {}", done.content_size)),
            _ => None,
        }
    }

    fn check_failures(&mut self) -> Result<(), String> {
        if matches!(self.args.mode, Mode::Keepalive) {
            self.open_some();
        }
        match self.failures_in_row > FAILURES_MAX {
            true => Err(format!("gave up after {:?}", self.stats.errors)),
            false => Ok(()),
        }
    }

    /// Opens slots that have no connection, a few at a time.
    fn open_some(&mut self) {
        if self.opening >= OPENING_MAX || self.slots.iter().all(Option::is_some) {
            return;
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_none() && self.opening < OPENING_MAX {
                self.open(slot, Instant::now());
            }
        }
    }

    /// Opens every connection; with `idle` and a request each has had its response afterwards.
    fn open_all(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        let mut events = Vec::new();
        while self.ready.len() < self.slots.len() {
            if begin.elapsed() > SETUP_MAX {
                let (open, all) = (self.ready.len(), self.slots.len());
                return Err(format!(
                    "{open} of {all} connections open after {SETUP_MAX:?}: {:?}",
                    self.stats.errors
                ));
            }
            self.open_some();
            self.check_failures()?;
            self.turn(WAIT_MAX.min(Duration::from_millis(20)), &mut events)?;
        }
        Ok(())
    }

    /// Full handshakes until there is a ticket for every connection of the load.
    fn collect_tickets(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        let mut events = Vec::new();
        let wanted = self.slots.len() * 2;
        while self
            .tls
            .as_ref()
            .is_some_and(|(tls, _)| tls.tickets.count() < wanted)
        {
            if begin.elapsed() > Duration::from_secs(5) {
                // TLS 1.2 keeps one session, and a server may give no tickets: what is resumed is counted.
                break;
            }
            for slot in 0..self.slots.len() {
                if self.slots[slot].is_none() {
                    self.ready.retain(|&other| other != slot);
                    self.open(slot, Instant::now());
                }
            }
            self.check_failures()?;
            self.turn(Duration::from_millis(20), &mut events)?;
            if begin.elapsed() > Duration::from_millis(200) {
                // Those opened only to be given tickets have had their time.
                for slot in &mut self.slots {
                    if slot
                        .as_ref()
                        .is_some_and(|connection| connection.phase == Phase::Quiet)
                    {
                        *slot = None;
                    }
                }
            }
        }
        for slot in &mut self.slots {
            *slot = None;
        }
        self.opening = 0;
        self.ready.clear();
        Ok(())
    }

    /// Opens the connections, says so on standard error, and holds them.
    fn hold(&mut self) -> Result<Elapsed, String> {
        self.open_all()?;
        let before = Reading::take(&self.args)?;
        self.stats.ops = self.ready.len() as u64;
        eprintln!("holding {}", self.ready.len());
        let begin = Instant::now();
        let length = Duration::from_secs_f64(self.args.seconds);
        let mut events = Vec::new();
        while let Some(left) = length.checked_sub(begin.elapsed()) {
            self.turn(left.min(WAIT_MAX), &mut events)?;
        }
        Ok(before.until(&Reading::take(&self.args)?))
    }

    fn certs_reused(&self) -> u64 {
        self.tls.as_ref().map_or(0, |(tls, _)| tls.certs.reused())
    }
}

/// The bytes of one request. A connection made for one request says that it is the last.
fn request(args: &Args) -> Vec<u8> {
    let host = args.host.as_deref().unwrap_or(&args.sni);
    let method = if args.request_size > 0 { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n", args.path);
    if args.request_size > 0 {
        head.push_str(&format!("Content-Length: {}\r\n", args.request_size));
    }
    if matches!(args.mode, Mode::Full | Mode::Resumed) {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + args.request_size, b'x');
    request
}

/// Clocks and CPU times at one moment.
struct Reading {
    at: Instant,
    client_ns: u64,
    watched_ns: Option<u64>,
    core_us: Option<u64>,
}

impl Reading {
    fn take(args: &Args) -> Result<Reading, String> {
        let of = |pid| sys::cpu_of_process(pid).map_err(|e| format!("CPU time of {pid}: {e}"));
        let mut watched_ns = None;
        for &pid in &args.watch_pid {
            watched_ns = Some(watched_ns.unwrap_or(0) + of(pid)?);
        }
        let core_us = args.watch_core.map(sys::busy_of_core).transpose();
        Ok(Reading {
            at: Instant::now(),
            client_ns: of(std::process::id())?,
            watched_ns,
            core_us: core_us.map_err(|e| format!("/proc/stat: {e}"))?,
        })
    }

    fn until(&self, later: &Reading) -> Elapsed {
        let since = |then: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(then?));
        Elapsed {
            wall: later.at - self.at,
            client_cpu_ns: later.client_ns.saturating_sub(self.client_ns),
            watched_cpu_ns: since(self.watched_ns, later.watched_ns),
            core_busy_us: since(self.core_us, later.core_us),
        }
    }
}
