//! Idle upstream connections of one core. A connection is reused only for the very identity it was made for: address,
//! verified name, and the fingerprint of the effective TLS configuration, all by content (DESIGN.md, "One connection" 6).

use crate::limits;
use crate::proxy::stream::Stream;
use crate::ring;
use crate::tls::Digest;
use hashbrown::{Equivalent, HashMap};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What must agree for two requests to share a connection, borrowed from the request at hand.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    pub address: SocketAddr,
    /// The name sent as SNI and verified; empty on clear text.
    pub name: &'a str,
    /// `None` on clear text.
    pub tls: Option<Digest>,
}

#[derive(PartialEq, Eq)]
struct OwnedKey {
    address: SocketAddr,
    name: Box<str>,
    tls: Option<Digest>,
}

impl OwnedKey {
    fn borrow(&self) -> Key<'_> {
        Key {
            address: self.address,
            name: &self.name,
            tls: self.tls,
        }
    }
}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl Equivalent<OwnedKey> for Key<'_> {
    fn equivalent(&self, key: &OwnedKey) -> bool {
        *self == key.borrow()
    }
}

/// An upstream connection with its history.
pub struct Upstream {
    /// Boxed: it moves between pool and exchange, and a TLS session is more than a kilobyte.
    pub stream: Box<Stream>,
    pub requests: u64,
    /// It has been in the pool: the upstream may close it under a request, which then may be tried once more.
    pub reused: bool,
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

pub struct Pool {
    idle: RefCell<HashMap<OwnedKey, Vec<Idle>, ahash::RandomState>>,
    count: Cell<usize>,
    size_max: Cell<usize>,
    requests_max: Cell<u64>,
    idle_timeout: Cell<Duration>,
}

impl Pool {
    /// `size_max` per identity (Kong's `upstream_keepalive_pool_size`; 0 turns the pool off).
    pub fn new(size_max: usize, requests_max: u64, idle_timeout: Duration) -> Self {
        Pool {
            idle: RefCell::default(),
            count: Cell::new(0),
            size_max: Cell::new(size_max),
            requests_max: Cell::new(requests_max),
            idle_timeout: Cell::new(idle_timeout),
        }
    }

    /// Other bounds from here on.
    pub fn bound(&self, size_max: usize, requests_max: u64, idle_timeout: Duration) {
        self.size_max.set(size_max);
        self.requests_max.set(requests_max);
        self.idle_timeout.set(idle_timeout);
    }

    /// The connection that went idle last, if one is still open; `stale` is called for each that is not.
    pub fn take(&self, key: &Key, mut stale: impl FnMut()) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let shelf = idle.get_mut(key)?;
        while let Some(Idle {
            mut upstream,
            since,
        }) = shelf.pop()
        {
            self.count.set(self.count.get() - 1);
            if ring::now().into_std().saturating_duration_since(since) < self.idle_timeout.get()
                && upstream.stream.still_idle()
            {
                upstream.reused = true;
                return Some(upstream);
            }
            stale();
        }
        None
    }

    /// Keeps a connection whose exchange ended cleanly, or drops it at the bounds.
    pub fn put(&self, key: &Key, upstream: Upstream) {
        if upstream.requests >= self.requests_max.get() || self.count.get() >= limits::POOL_IDLE_MAX
        {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let entry = Idle {
            upstream,
            since: ring::now().into_std(),
        };
        match idle.get_mut(key) {
            Some(shelf) if shelf.len() >= self.size_max.get() => return,
            Some(shelf) => shelf.push(entry),
            None if self.size_max.get() == 0 => return,
            None => {
                let owned = OwnedKey {
                    address: key.address,
                    name: key.name.into(),
                    tls: key.tls,
                };
                idle.insert(owned, vec![entry]);
            }
        }
        self.count.set(self.count.get() + 1);
    }

    /// Drops what has been idle too long. Called by the core's tick.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.retain(|_, idle| now.duration_since(idle.since) < self.idle_timeout.get());
    }

    /// Drops every TLS connection whose identity no service has any more.
    pub fn keep_only(&self, live: impl Fn(&Digest) -> bool) {
        self.retain(|key, _| key.tls.is_none_or(|tls| live(&tls)));
    }

    pub fn clear(&self) {
        self.retain(|_, _| false);
    }

    fn retain(&self, mut keep: impl FnMut(&OwnedKey, &Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|key, shelf| {
            shelf.retain(|entry| keep(key, entry));
            !shelf.is_empty()
        });
        self.count.set(idle.values().map(Vec::len).sum());
    }
}
