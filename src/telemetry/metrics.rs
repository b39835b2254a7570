//! What one core counts, and what the process counts: plain integers, merged when somebody scrapes.
//!
//! A core owns its `CoreMetrics` alone and writes it without atomics. The control side asks each core for a
//! clone and merges them (`render`). Every table has a bound (limits.rs); what does not fit is counted under
//! the label `_overflow`, so totals stay right.

use super::exposition;
use super::series::{HitMiss, OVERFLOW, RouteSeries, Table};
use crate::limits::{METRIC_CONSUMERS_MAX, METRIC_REQUEST_COUNTERS_MAX, METRIC_ROUTES_MAX};
use hashbrown::HashMap;
use std::sync::Arc;

/// The metrics of all cores and of the process in Prometheus' text format 0.0.4.
pub fn render(cores: &[CoreMetrics], process: &ProcessFacts) -> String {
    exposition::render(cores, process)
}

/// The counters of one core. Every method is a few additions; only the first sample of a label set allocates.
#[derive(Clone, Debug)]
pub struct CoreMetrics {
    pub(super) core: usize,
    pub(super) connections: Connections,
    pub(super) requests: u64,
    pub(super) snapshot_number: u64,
    pub(super) handshakes: Table<Handshake>,
    pub(super) handshake_failures: Table<&'static str>,
    pub(super) client_certificates: [u64; 3],
    pub(super) client_verdicts: Table<&'static str>,
    pub(super) verdict_lookups: HitMiss,
    pub(super) chain_signatures: u64,
    pub(super) upstream_handshakes: Table<(bool, &'static str)>,
    pub(super) pool: [u64; 3],
    pub(super) shed: Table<&'static str>,
    pub(super) panics: u64,
    pub(super) log_dropped: u64,
    routes: Vec<RouteSeries>,
    route_index: HashMap<(Arc<str>, Arc<str>), u32, ahash::RandomState>,
    /// The series of the sample before: on most cores the next one is the same.
    route_last: u32,
    consumers: Vec<Arc<str>>,
    consumer_index: HashMap<Arc<str>, u32, ahash::RandomState>,
    counters: HashMap<CounterKey, u64, ahash::RandomState>,
    empty: Arc<str>,
}

/// Connections now and since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    pub accepted: u64,
    pub active_tls: u64,
    pub active_plain: u64,
    /// In a handshake.
    pub handshaking: u64,
    /// In an exchange, from the request's head to the response's end.
    pub exchanging: u64,
}

/// What became of the client certificate in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCert {
    NotRequested,
    /// Requested, none sent.
    None,
    /// Sent, possession proven; trust is judged per request (`client_verdict`).
    Presented,
}

/// Who produced the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The upstream.
    Service,
    /// The gateway by its rules: a plugin, no route.
    Exit,
    /// The gateway because something failed.
    Error,
}

impl Source {
    /// The word of the access log: Kong's `service`, `exit`, `error`.
    pub fn name(self) -> &'static str {
        match self {
            Source::Service => "service",
            Source::Exit => "exit",
            Source::Error => "error",
        }
    }

    /// The label of kong_http_requests_total.
    pub(super) fn label(self) -> &'static str {
        match self {
            Source::Service => "service",
            Source::Exit | Source::Error => "kong",
        }
    }
}

/// How the pool answered a request for an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    Hit,
    Miss,
    /// A pooled connection was found closed by its peer and thrown away.
    Stale,
}

/// One exchange as the counters see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestSample<'a> {
    /// The service's name, or its id when it has none.
    pub service: Option<&'a Arc<str>>,
    /// The route's name, or its id when it has none.
    pub route: Option<&'a Arc<str>>,
    pub status: u16,
    pub source: Source,
    /// Bytes of the request, head and content, as HTTP (not TLS) bytes.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Time spent in the gateway (microseconds).
    pub kong_us: u64,
    /// From the first byte to the upstream until its head (microseconds); `None`: no upstream was asked.
    pub upstream_us: Option<u64>,
    /// From the request's first byte until the response's last (microseconds).
    pub request_us: u64,
    /// A username, only where counting per consumer is wanted.
    pub consumer: Option<&'a Arc<str>>,
}

/// What only the control side knows at a scrape.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub node_id: String,
    pub version: String,
    /// tls::provider's name, e.g. `mixed`.
    pub crypto_provider: String,
    /// `io_uring` or `epoll`.
    pub engine: String,
    pub datastore_reachable: bool,
    /// The newest published snapshot's number.
    pub snapshot_number: u64,
    pub certificates: Vec<CertificateExpiry>,
    /// Unix seconds.
    pub now: u64,
    /// Unix seconds.
    pub started: u64,
    /// `None` leaves the metric out.
    pub memory: Option<super::process::Memory>,
    /// Error-log lines and chunks the control side dropped.
    pub log_dropped: u64,
    /// Writes of the log thread that failed.
    pub log_write_errors: u64,
    /// Reloads by outcome.
    pub reloads_ok: u64,
    pub reloads_refused: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// `server`, `client`, `ca`, `upstream` …: what the certificate is used for.
    pub kind: &'static str,
    pub id: String,
    /// Its first SNI or subject.
    pub name: String,
    /// Unix seconds.
    pub not_after: i64,
}

impl CoreMetrics {
    pub fn new(core: usize) -> Self {
        let empty: Arc<str> = Arc::from("");
        CoreMetrics {
            core,
            connections: Connections::default(),
            requests: 0,
            snapshot_number: 0,
            handshakes: Table::default(),
            handshake_failures: Table::default(),
            client_certificates: [0; 3],
            client_verdicts: Table::default(),
            verdict_lookups: HitMiss::default(),
            chain_signatures: 0,
            upstream_handshakes: Table::default(),
            pool: [0; 3],
            shed: Table::default(),
            panics: 0,
            log_dropped: 0,
            routes: Vec::new(),
            route_index: HashMap::default(),
            route_last: u32::MAX,
            consumers: Vec::new(),
            consumer_index: HashMap::default(),
            counters: HashMap::default(),
            empty,
        }
    }

    pub fn connection_opened(&mut self, tls: bool) {
        self.connections.accepted += 1;
        *self.connections.active(tls) += 1;
    }

    pub fn connection_closed(&mut self, tls: bool) {
        let active = self.connections.active(tls);
        *active = active.saturating_sub(1);
    }

    /// Ended by `handshake_ended`, whatever becomes of it.
    pub fn handshake_started(&mut self) {
        self.connections.handshaking += 1;
    }

    pub fn handshake_ended(&mut self) {
        self.connections.handshaking = self.connections.handshaking.saturating_sub(1);
    }

    pub fn handshake_done(
        &mut self,
        version: &'static str,
        group: Option<&'static str>,
        cipher: &'static str,
        resumed: bool,
        client_cert: ClientCert,
    ) {
        self.client_certificates[client_cert as usize] += 1;
        self.handshakes.add(
            Handshake {
                version,
                group: group.unwrap_or(""),
                cipher,
                resumed,
            },
            Handshake::OVERFLOW,
        );
    }

    /// `reason`: the alert's name or ours, a constant of the code.
    pub fn handshake_failed(&mut self, reason: &'static str) {
        self.handshake_failures.add(reason, OVERFLOW);
    }

    /// The verdict of one request on its client's chain, e.g. `trusted`, `none`, `unknown_ca`.
    pub fn client_verdict(&mut self, outcome: &'static str) {
        self.client_verdicts.add(outcome, OVERFLOW);
    }

    pub fn verdict_lookup(&mut self, hit: bool) {
        self.verdict_lookups.add(hit);
    }

    /// So many signatures were verified to judge one client's chain.
    pub fn chain_signatures(&mut self, count: u32) {
        self.chain_signatures += u64::from(count);
    }

    /// A finished handshake towards an upstream.
    pub fn upstream_handshake(&mut self, resumed: bool) {
        self.upstream_handshakes.add((resumed, ""), (resumed, ""));
    }

    /// `reason`: a constant of the code.
    pub fn upstream_handshake_failed(&mut self, reason: &'static str) {
        self.upstream_handshakes
            .add((false, reason), (false, OVERFLOW));
    }

    pub fn pool(&mut self, result: Pool) {
        self.pool[result as usize] += 1;
    }

    /// A connection or request refused because a bound was reached. `reason`: a constant of the code.
    pub fn shed(&mut self, reason: &'static str) {
        self.shed.add(reason, OVERFLOW);
    }

    pub fn panic(&mut self) {
        self.panics += 1;
    }

    /// `lines` log lines were dropped.
    pub fn log_dropped(&mut self, lines: u64) {
        self.log_dropped += lines;
    }

    /// This core serves snapshot `number` now.
    pub fn snapshot(&mut self, number: u64) {
        self.snapshot_number = number;
    }

    /// Ended by `exchange_ended`.
    pub fn exchange_started(&mut self) {
        self.connections.exchanging += 1;
    }

    pub fn exchange_ended(&mut self) {
        self.connections.exchanging = self.connections.exchanging.saturating_sub(1);
    }

    pub fn request(&mut self, sample: &RequestSample<'_>) {
        self.requests += 1;
        let route = self.route_of(sample.service, sample.route);
        let consumer = self.consumer_of(sample.consumer);
        if let Some(series) = self.routes.get_mut(route as usize) {
            series.observe(sample);
        }
        let key = CounterKey {
            route,
            consumer,
            status: sample.status,
            source: sample.source,
        };
        if let Some(count) = self.counters.get_mut(&key) {
            *count += 1;
        } else if self.counters.len() < METRIC_REQUEST_COUNTERS_MAX {
            self.counters.insert(key, 1);
        } else {
            let overflow = CounterKey {
                route: self.route_overflow(),
                consumer: NO_CONSUMER,
                status: 0,
                source: sample.source,
            };
            *self.counters.entry(overflow).or_insert(0) += 1;
        }
    }

    /// Connections of this core, for `/status`.
    pub fn connections(&self) -> Connections {
        self.connections
    }

    /// Requests answered since the start, for `/status`.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The sums of (service, route), for the exposition.
    pub(super) fn routes(&self) -> &[RouteSeries] {
        &self.routes
    }

    /// (service, route, consumer, status, source, count), for the exposition.
    pub(super) fn request_counters(&self) -> impl Iterator<Item = RequestCounter<'_>> {
        self.counters.iter().filter_map(|(key, &count)| {
            let series = self.routes.get(key.route as usize)?;
            let consumer = match key.consumer {
                NO_CONSUMER => &self.empty,
                index => self.consumers.get(index as usize)?,
            };
            Some(RequestCounter {
                service: &series.service,
                route: &series.route,
                consumer,
                status: key.status,
                source: key.source.label(),
                count,
            })
        })
    }

    fn route_of(&mut self, service: Option<&Arc<str>>, route: Option<&Arc<str>>) -> u32 {
        let service = service.unwrap_or(&self.empty);
        let route = route.unwrap_or(&self.empty);
        if let Some(last) = self.routes.get(self.route_last as usize)
            && Arc::ptr_eq(&last.service, service)
            && Arc::ptr_eq(&last.route, route)
        {
            return self.route_last;
        }
        // No clone of the `Arc`s here: their counters are shared by all cores.
        let index = match self.route_index.get(&Names(service, route)) {
            Some(&index) => {
                if let Some(series) = self.routes.get_mut(index as usize)
                    && !(Arc::ptr_eq(&series.service, service) && Arc::ptr_eq(&series.route, route))
                {
                    // The same names in another snapshot: its pointers are those to come.
                    (series.service, series.route) = (Arc::clone(service), Arc::clone(route));
                }
                index
            }
            None if self.routes.len() < METRIC_ROUTES_MAX => {
                let key = (Arc::clone(service), Arc::clone(route));
                self.insert_route(key)
            }
            None => return self.route_overflow(),
        };
        self.route_last = index;
        index
    }

    fn insert_route(&mut self, key: (Arc<str>, Arc<str>)) -> u32 {
        // At most METRIC_ROUTES_MAX and one.
        let index = self.routes.len() as u32;
        self.routes
            .push(RouteSeries::new(key.0.clone(), key.1.clone()));
        self.route_index.insert(key, index);
        index
    }

    /// One series beyond the bound, for all that did not fit.
    fn route_overflow(&mut self) -> u32 {
        if let Some(&index) = self.route_index.get(&Names(OVERFLOW, OVERFLOW)) {
            return index;
        }
        let name: Arc<str> = Arc::from(OVERFLOW);
        self.insert_route((name.clone(), name))
    }

    fn consumer_of(&mut self, consumer: Option<&Arc<str>>) -> u32 {
        let Some(consumer) = consumer else {
            return NO_CONSUMER;
        };
        if let Some(&index) = self.consumer_index.get(&**consumer) {
            return index;
        }
        let name = if self.consumers.len() < METRIC_CONSUMERS_MAX {
            Arc::clone(consumer)
        } else if let Some(&index) = self.consumer_index.get(OVERFLOW) {
            return index;
        } else {
            Arc::from(OVERFLOW)
        };
        // At most METRIC_CONSUMERS_MAX and one.
        let index = self.consumers.len() as u32;
        self.consumers.push(name.clone());
        self.consumer_index.insert(name, index);
        index
    }
}

impl Connections {
    pub fn active_count(&self) -> u64 {
        self.active_tls + self.active_plain
    }

    /// Sums of both.
    pub fn plus(self, other: Connections) -> Connections {
        Connections {
            accepted: self.accepted + other.accepted,
            active_tls: self.active_tls + other.active_tls,
            active_plain: self.active_plain + other.active_plain,
            handshaking: self.handshaking + other.handshaking,
            exchanging: self.exchanging + other.exchanging,
        }
    }

    /// Open and idle.
    pub fn waiting_count(&self) -> u64 {
        self.active_count()
            .saturating_sub(self.handshaking + self.exchanging)
    }

    fn active(&mut self, tls: bool) -> &mut u64 {
        if tls {
            &mut self.active_tls
        } else {
            &mut self.active_plain
        }
    }
}

const NO_CONSUMER: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handshake {
    pub version: &'static str,
    pub group: &'static str,
    pub cipher: &'static str,
    pub resumed: bool,
}

impl Handshake {
    const OVERFLOW: Handshake = Handshake {
        version: OVERFLOW,
        group: OVERFLOW,
        cipher: OVERFLOW,
        resumed: false,
    };
}

/// A borrowed key of `route_index`; it hashes as the owned pair does.
#[derive(Hash)]
struct Names<'a>(&'a str, &'a str);

impl hashbrown::Equivalent<(Arc<str>, Arc<str>)> for Names<'_> {
    fn equivalent(&self, key: &(Arc<str>, Arc<str>)) -> bool {
        self.0 == &*key.0 && self.1 == &*key.1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CounterKey {
    route: u32,
    consumer: u32,
    status: u16,
    source: Source,
}

pub(super) struct RequestCounter<'a> {
    pub service: &'a Arc<str>,
    pub route: &'a Arc<str>,
    pub consumer: &'a Arc<str>,
    pub status: u16,
    pub source: &'static str,
    pub count: u64,
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
