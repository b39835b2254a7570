//! Host names to addresses, on the control side: hosts file, then DNS with TTLs respected.
//!
//! Kong's directives `dns_resolver`, `dns_hostsfile`, `dns_order`, `dns_valid_ttl`, `dns_stale_ttl`,
//! `dns_not_found_ttl` and `dns_error_ttl`. Cores never come here: they send a name up and get an `Answer` down.
//! One query per name at a time; refusals are kept as long as their own TTL says; after a failure (not after an
//! NXDOMAIN) the last good addresses are served for `stale_ttl_s`. IP literals are answered without a query.

mod hosts;

pub use hosts::HostsFile;

use crate::limits::{
    RESOLVE_ADDRESSES_MAX, RESOLVE_DEADLINE_MS, RESOLVE_FLIGHTS_MAX, RESOLVE_NAMES_MAX,
    RESOLVE_QUERY_MS, RESOLVE_RETRIES, RESOLVE_SRV_TARGETS_MAX, RESOLVE_TTL_MAX_S,
    RESOLVE_TTL_MIN_S,
};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct ResolveSettings {
    /// dns_resolver; empty: those of /etc/resolv.conf. Its search list and ndots hold in both cases.
    pub nameservers: Vec<SocketAddr>,
    /// dns_hostsfile.
    pub hosts: HostsFile,
    /// dns_order: the record types asked for, in turn, until one is there.
    pub order: Vec<Order>,
    /// dns_valid_ttl: in place of the records' own TTL (seconds).
    pub valid_ttl_s: Option<u64>,
    /// dns_stale_ttl (seconds).
    pub stale_ttl_s: u64,
    /// dns_not_found_ttl (seconds).
    pub not_found_ttl_s: u64,
    /// dns_error_ttl (seconds).
    pub error_ttl_s: u64,
}

impl Default for ResolveSettings {
    /// Kong's defaults.
    fn default() -> Self {
        ResolveSettings {
            nameservers: Vec::new(),
            hosts: HostsFile::Path("/etc/hosts".into()),
            order: vec![Order::Last, Order::Srv, Order::A, Order::Cname],
            valid_ttl_s: None,
            stale_ttl_s: 3_600,
            not_found_ttl_s: 30,
            error_ttl_s: 1,
        }
    }
}

/// An entry of dns_order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The type that answered last time for this name.
    Last,
    Srv,
    A,
    Aaaa,
    /// Queries for addresses follow CNAMEs anyway: this asks nothing.
    Cname,
}

/// What is known of a name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In the order they are to be tried first time; rotating is the caller's. Empty: `error` says why.
    pub addresses: Vec<Address>,
    /// Ask again after this many seconds; at least 1.
    pub expires_after_s: u64,
    /// With addresses: they are stale and this is why.
    pub error: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    /// From an SRV record: it goes before the service's port.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name or its records do not exist.
    #[error("no address found")]
    NotFound,
    /// No name server answered in time.
    #[error("the name servers did not answer within the time allowed")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

/// The resolver cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("dns_resolver: {0}")]
pub struct SetupError(String);

pub struct Resolver {
    dns: TokioResolver,
    settings: ResolveSettings,
    hosts: hosts::Watched,
    names: Mutex<HashMap<Box<str>, Entry>>,
    /// Names being asked for: who holds a name's lock asks, the others wait and find the answer kept.
    flights: Mutex<HashMap<Box<str>, Arc<tokio::sync::Mutex<()>>>>,
    permits: tokio::sync::Semaphore,
}

impl Resolver {
    /// To be called within a tokio runtime. Reads /etc/resolv.conf; without one, the name server is the one on
    /// this host, as for glibc.
    pub fn new(settings: ResolveSettings) -> Result<Resolver, SetupError> {
        let (mut config, mut options) = hickory_resolver::system_conf::read_system_conf()
            .unwrap_or_else(|_| {
                let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
                (config, ResolverOpts::default())
            });
        if !settings.nameservers.is_empty() {
            let (domain, search, _) = config.into_parts();
            let servers = settings.nameservers.iter().map(name_server).collect();
            config = ResolverConfig::from_parts(domain, search, servers);
        }
        options.use_hosts_file = ResolveHosts::Never;
        // Answers are kept here, with our own rules on TTLs.
        options.cache_size = 0;
        options.preserve_intermediates = true;
        options.timeout = Duration::from_millis(RESOLVE_QUERY_MS);
        options.attempts = RESOLVE_RETRIES;
        let dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| SetupError(error.to_string()))?;
        Ok(Resolver {
            dns,
            hosts: hosts::Watched::new(settings.hosts.clone()),
            settings,
            names: Mutex::default(),
            flights: Mutex::default(),
            permits: tokio::sync::Semaphore::new(RESOLVE_FLIGHTS_MAX),
        })
    }

    /// Takes at most `RESOLVE_DEADLINE_MS` once it is its turn.
    pub async fn resolve(&self, name: &str) -> Answer {
        self.resolve_at(name, Instant::now()).await
    }

    /// Why the hosts file could not be read when last looked at.
    pub fn hosts_error(&self) -> Option<String> {
        self.hosts.error()
    }

    async fn resolve_at(&self, name: &str, now: Instant) -> Answer {
        let name = name.to_ascii_lowercase();
        if !(1..=NAME_LENGTH_MAX).contains(&name.trim_end_matches('.').len()) {
            return Answer {
                addresses: Vec::new(),
                expires_after_s: clamp_ttl(self.settings.not_found_ttl_s),
                error: Some(Error::Failed("not a host name".to_owned())),
            };
        }
        if let Some(addresses) = self.local(&name, now).await {
            return Answer {
                addresses,
                expires_after_s: hosts::TTL_S,
                error: None,
            };
        }
        if let Some(answer) = self.kept(&name, now) {
            return answer;
        }
        let flight = Flight::join(&self.flights, &name);
        let _turn = flight.lock.lock().await;
        if let Some(answer) = self.kept(&name, now) {
            return answer;
        }
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let last = locked(&self.names).get(&*name).and_then(|entry| entry.last);
        let deadline = Duration::from_millis(RESOLVE_DEADLINE_MS);
        let found = tokio::time::timeout(deadline, self.query(&name, last))
            .await
            .unwrap_or(Err(Error::Timeout));
        self.keep(&name, found, now)
    }

    /// IP literals, the hosts file, and `localhost` (RFC 6761 §6.3: never asked of a name server).
    async fn local(&self, name: &str, now: Instant) -> Option<Vec<Address>> {
        let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        if let Ok(ip) = literal.unwrap_or(name).parse::<IpAddr>() {
            return Some(vec![Address { ip, port: None }]);
        }
        let relative = name.strip_suffix('.').unwrap_or(name);
        let mut ips = if relative == "localhost" || relative.ends_with(".localhost") {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            self.hosts.lookup(relative, now).await?
        };
        // As with DNS, the first type of `order` that has addresses is the answer. Addresses are tried in turn: one of a type
        // nobody asks for (`localhost` is ::1 too) would be refused where the service listens on the other.
        let first = self.settings.order.iter().find_map(|kind| {
            let ipv6 = match kind {
                Order::A => false,
                Order::Aaaa => true,
                Order::Last | Order::Srv | Order::Cname => return None,
            };
            ips.iter().any(|ip| ip.is_ipv6() == ipv6).then_some(ipv6)
        });
        if let Some(ipv6) = first {
            ips.retain(|ip| ip.is_ipv6() == ipv6);
        }
        ips.truncate(RESOLVE_ADDRESSES_MAX);
        let addresses = ips.into_iter().map(|ip| Address { ip, port: None });
        Some(addresses.collect())
    }

    /// The answer kept for `name`, unless it has expired.
    fn kept(&self, name: &str, now: Instant) -> Option<Answer> {
        let names = locked(&self.names);
        let entry = names.get(name)?;
        (now < entry.expires).then(|| entry.answer(now))
    }

    fn keep(&self, name: &str, found: Result<Found, Error>, now: Instant) -> Answer {
        let settings = &self.settings;
        let after = |ttl_s: u64| now + Duration::from_secs(clamp_ttl(ttl_s));
        let mut names = locked(&self.names);
        let before = names.get(name);
        let entry = match found {
            Ok(found) => {
                let expires = after(settings.valid_ttl_s.unwrap_or(found.ttl_s));
                Entry {
                    addresses: found.addresses,
                    error: None,
                    expires,
                    stale_until: expires
                        + Duration::from_secs(settings.stale_ttl_s.min(STALE_MAX_S)),
                    last: Some(found.kind),
                }
            }
            Err(Error::NotFound) => Entry {
                addresses: Vec::new(),
                error: Some(Error::NotFound),
                expires: after(settings.not_found_ttl_s),
                stale_until: now,
                last: before.and_then(|entry| entry.last),
            },
            Err(error) => {
                let stale = before.filter(|entry| now < entry.stale_until);
                Entry {
                    addresses: stale.map(|e| e.addresses.clone()).unwrap_or_default(),
                    error: Some(error),
                    expires: after(settings.error_ttl_s),
                    stale_until: stale.map_or(now, |entry| entry.stale_until),
                    last: before.and_then(|entry| entry.last),
                }
            }
        };
        let answer = entry.answer(now);
        if names.len() >= RESOLVE_NAMES_MAX && !names.contains_key(name) {
            make_room(&mut names, now);
        }
        names.insert(name.into(), entry);
        answer
    }

    /// The types of `order` in turn. Only when every one of them says so does the name not exist.
    async fn query(&self, name: &str, last: Option<Order>) -> Result<Found, Error> {
        let mut failure = None;
        for kind in kinds(&self.settings.order, last) {
            let found = match kind {
                Order::Srv => self.services(name).await,
                Order::Aaaa => self.addresses(name, RecordType::AAAA).await,
                Order::A | Order::Last | Order::Cname => self.addresses(name, RecordType::A).await,
            };
            match found {
                Ok((addresses, ttl_s)) => {
                    return Ok(Found {
                        addresses,
                        ttl_s,
                        kind,
                    });
                }
                Err(Error::NotFound) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or(Error::NotFound))
    }

    async fn addresses(&self, name: &str, kind: RecordType) -> Result<(Vec<Address>, u64), Error> {
        let (records, ttl_s) = self.records(name, kind).await?;
        let ips = records.iter().filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::from(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
            _ => None,
        });
        let addresses: Vec<Address> = ips
            .take(RESOLVE_ADDRESSES_MAX)
            .map(|ip| Address { ip, port: None })
            .collect();
        if addresses.is_empty() {
            return Err(Error::NotFound);
        }
        Ok((addresses, ttl_s))
    }

    /// RFC 2782: the targets of the lowest priority, the heaviest first.
    async fn services(&self, name: &str) -> Result<(Vec<Address>, u64), Error> {
        let (records, mut ttl_s) = self.records(name, RecordType::SRV).await?;
        let mut targets: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            .collect();
        let lowest = targets.iter().map(|srv| srv.priority).min();
        targets.retain(|srv| Some(srv.priority) == lowest);
        targets.sort_by_key(|srv| std::cmp::Reverse(srv.weight));
        let mut addresses = Vec::new();
        let mut failure = Error::NotFound;
        for srv in targets.into_iter().take(RESOLVE_SRV_TARGETS_MAX) {
            let target = srv.target.to_ascii();
            let found = match self.addresses(&target, RecordType::A).await {
                Err(Error::NotFound) => self.addresses(&target, RecordType::AAAA).await,
                found => found,
            };
            match found {
                Ok((ips, target_ttl_s)) => {
                    ttl_s = ttl_s.min(target_ttl_s);
                    addresses.extend(ips.iter().map(|address| Address {
                        ip: address.ip,
                        port: Some(srv.port),
                    }));
                }
                Err(error) => failure = error,
            }
        }
        addresses.truncate(RESOLVE_ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(failure);
        }
        Ok((addresses, ttl_s))
    }

    /// The records and the lowest TTL among them, CNAMEs on the way included.
    async fn records(&self, name: &str, kind: RecordType) -> Result<(Vec<Record>, u64), Error> {
        let lookup = self.dns.lookup(name, kind).await.map_err(error_of)?;
        let records = lookup.answers().to_vec();
        let ttl_s = records.iter().map(|record| u64::from(record.ttl)).min();
        Ok((records, ttl_s.unwrap_or(0)))
    }
}

/// RFC 1035 §2.3.4, as text without the final dot.
const NAME_LENGTH_MAX: usize = 253;
/// A year: keeps instants within what the clock can hold.
const STALE_MAX_S: u64 = 31_536_000;

/// What is kept of a name.
struct Entry {
    addresses: Vec<Address>,
    error: Option<Error>,
    expires: Instant,
    /// Until when the addresses outlive a failure.
    stale_until: Instant,
    /// The type that answered last.
    last: Option<Order>,
}

impl Entry {
    fn answer(&self, now: Instant) -> Answer {
        let left = self.expires.saturating_duration_since(now);
        Answer {
            addresses: self.addresses.clone(),
            expires_after_s: left.as_secs().max(RESOLVE_TTL_MIN_S),
            error: self.error.clone(),
        }
    }
}

struct Found {
    addresses: Vec<Address>,
    ttl_s: u64,
    kind: Order,
}

/// A name's place among those being asked for; the last to leave takes it away.
struct Flight<'r> {
    flights: &'r Mutex<HashMap<Box<str>, Arc<tokio::sync::Mutex<()>>>>,
    name: Box<str>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<'r> Flight<'r> {
    fn join(
        flights: &'r Mutex<HashMap<Box<str>, Arc<tokio::sync::Mutex<()>>>>,
        name: &str,
    ) -> Flight<'r> {
        let lock = Arc::clone(locked(flights).entry(name.into()).or_default());
        Flight {
            flights,
            name: name.into(),
            lock,
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = locked(self.flights);
        // The map's own and this one.
        if Arc::strong_count(&self.lock) <= 2 {
            flights.remove(&self.name);
        }
    }
}

fn kinds(order: &[Order], last: Option<Order>) -> Vec<Order> {
    let mut kinds = Vec::new();
    for &wanted in order {
        let kind = match wanted {
            Order::Last => last,
            Order::Cname => None,
            kind => Some(kind),
        };
        kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
    }
    if kinds.is_empty() {
        kinds.push(Order::A);
    }
    kinds
}

/// Expired names first; when none has expired, the one that expires next.
fn make_room(names: &mut HashMap<Box<str>, Entry>, now: Instant) {
    names.retain(|_, entry| now < entry.expires);
    if names.len() >= RESOLVE_NAMES_MAX {
        let next = names.iter().min_by_key(|(_, entry)| entry.expires);
        if let Some(name) = next.map(|(name, _)| name.clone()) {
            names.remove(&name);
        }
    }
}

fn clamp_ttl(ttl_s: u64) -> u64 {
    ttl_s.clamp(RESOLVE_TTL_MIN_S, RESOLVE_TTL_MAX_S)
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![
        at_port(ConnectionConfig::udp()),
        at_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(address.ip(), true, connections)
}

fn error_of(error: NetError) -> Error {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => Error::NotFound,
        NetError::Timeout => Error::Timeout,
        other => Error::Failed(other.to_string()),
    }
}

/// No code panics while it holds one of these locks; were one to, the maps would still be whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
