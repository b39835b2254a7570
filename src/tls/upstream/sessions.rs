//! Sessions with upstreams, offered again only as long as the path they rest on is valid.
//!
//! Resuming verifies no certificate, and the upstream says how long its tickets last and gives new ones with each
//! resumption: an expired certificate would be accepted for ever. OpenSSL does so; KONG.md §4.4 wants no leniency.

use crate::limits;
use crate::tls::client_auth::lru::Lru;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// rustls divides by the tickets it keeps of one server.
pub(super) const KEPT_MAX: usize = limits::UPSTREAM_SESSION_NAMES_MAX * 8;

pub(super) struct Sessions {
    kept: ClientSessionMemoryCache,
    /// The last second in which sessions with a name may be resumed: the first end of any path they may rest on.
    until: Mutex<Lru<ServerName<'static>, u64>>,
    time: Arc<dyn TimeProvider>,
}

impl Sessions {
    pub fn new(time: Arc<dyn TimeProvider>) -> Sessions {
        Sessions {
            kept: ClientSessionMemoryCache::new(KEPT_MAX),
            until: Mutex::new(Lru::new(limits::UPSTREAM_SESSION_NAMES_MAX)),
            time,
        }
    }

    /// A path for `name` was good at `now` and is until `end`. Several upstreams may have the name, each with a
    /// certificate of its own.
    pub fn verified(&self, name: &ServerName<'_>, now: u64, end: u64) {
        let name = name.to_owned();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = until.get(&name).filter(|earlier| now <= **earlier);
        let end = earlier.map_or(end, |earlier| end.min(*earlier));
        until.insert(name, end);
    }

    /// What is kept for a name whose path has ended, or is not known any more, is forgotten.
    fn hold(&self, name: &ServerName<'_>) -> bool {
        let name = name.to_owned();
        let now = self.time.current_time().as_ref().map(UnixTime::as_secs);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = until
            .get(&name)
            .is_some_and(|until| now.is_some_and(|now| now <= *until));
        drop(until);
        if !holds {
            while self.kept.take_tls13_ticket(&name).is_some() {}
            self.kept.remove_tls12_session(&name);
        }
        holds
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.hold(name).then(|| self.kept.tls12_session(name))?
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.hold(name).then(|| self.kept.take_tls13_ticket(name))?
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
