//! For which names a client certificate is asked, and how (KONG.md §5.2).

use crate::limits::CLIENT_CA_NAMES_SIZE_MAX;
use crate::shards::Shards;
use crate::tls::Digest;
use crate::tls::sni::{self, RouteNames};
use crate::tls::tickets::request_digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// For which names a client certificate is asked, and with which CA names (KONG.md §5.2).
#[derive(Default)]
pub struct RequestMap {
    pub(super) names: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

impl RequestMap {
    /// Asks on `sni` (exact, `*.x`, `x.*`, or `*` for every name and for none) with the DER subjects given.
    /// Several calls for one name are merged.
    pub fn insert(&mut self, sni: &str, ca_names: impl IntoIterator<Item = Vec<u8>>) {
        let names = self.names.entry(sni::canonical(sni)).or_default();
        names.extend(ca_names);
    }
}

impl fmt::Debug for RequestMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMap").finish_non_exhaustive()
    }
}

/// One way of asking for a certificate.
#[derive(Debug)]
pub struct RequestEntry {
    /// DER, sorted: two nodes with the same content have the same digest. Empty, as where they are larger than
    /// `CLIENT_CA_NAMES_SIZE_MAX` together: any certificate is asked for.
    pub ca_names: Vec<Vec<u8>>,
    pub(super) digest: Digest,
}

/// Ways of asking by name, each way held once.
#[derive(Clone, Default)]
pub(super) struct Requests {
    pub(super) names: RouteNames<Arc<RequestEntry>>,
    /// By digest, with the number of names that ask so.
    pub(super) distinct: Shards<Digest, (Arc<RequestEntry>, usize)>,
}

impl Requests {
    pub(super) fn set(&mut self, name: &str, ca_names: Option<Vec<Vec<u8>>>) {
        let old = match ca_names {
            None => self.names.remove(name),
            Some(ca_names) => {
                let entry = RequestEntry::new(ca_names);
                let (entry, count) = match self.distinct.get(&entry.digest) {
                    Some((known, count)) => (known.clone(), count + 1),
                    None => (Arc::new(entry), 1),
                };
                self.distinct.insert(entry.digest, (entry.clone(), count));
                self.names.insert(name, entry)
            }
        };
        let Some(digest) = old.map(|old| old.digest) else {
            return;
        };
        match self.distinct.get(&digest).cloned() {
            Some((entry, count)) if count > 1 => {
                self.distinct.insert(digest, (entry, count - 1));
            }
            _ => drop(self.distinct.remove(&digest)),
        }
    }
}

impl RequestEntry {
    /// `names` in ascending order.
    fn new(names: Vec<Vec<u8>>) -> Self {
        // Each name stands behind a length of two bytes (RFC 8446 §4.2.4).
        let size: usize = names.iter().map(|name| name.len() + 2).sum();
        let ca_names: Vec<Vec<u8>> = match size > CLIENT_CA_NAMES_SIZE_MAX {
            true => Vec::new(),
            false => names.into_iter().filter(|name| !name.is_empty()).collect(),
        };
        Self {
            digest: request_digest(true, ca_names.iter().map(Vec::as_slice)),
            ca_names,
        }
    }
}
