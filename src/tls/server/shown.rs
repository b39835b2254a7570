//! What an SNI shows: the key pairs of one `certificates` entity, read at the first handshake.

use crate::tls::keys::{KeyClass, KeyPair};
use rustls::SignatureScheme;
use smallvec::SmallVec;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One `certificates` entity: its pair and, with `cert_alt`, a second of another class.
#[derive(Debug)]
pub struct Identity {
    pairs: OnceLock<Pairs>,
    /// Taken by the first use.
    source: Source,
}

/// Or why the entity cannot be used: its handshakes are aborted with this reason.
type Pairs = Result<SmallVec<[Arc<KeyPair>; 2]>, Box<str>>;

#[derive(Default)]
struct Source(Mutex<Option<Load>>);

type Load = Box<dyn FnOnce() -> Result<Vec<Arc<KeyPair>>, String> + Send>;

impl Identity {
    pub fn new(pairs: impl IntoIterator<Item = Arc<KeyPair>>) -> Self {
        Self::known(Ok(in_order(pairs)))
    }

    /// Stands for an entity whose certificate or key could not be read (KONG.md §4.1: abort, not the default pair).
    pub fn broken(reason: impl Into<Box<str>>) -> Self {
        Self::known(Err(reason.into()))
    }

    /// Read at the first handshake that needs it, once for all cores: of 100,000 entities few are used in the first
    /// seconds, and to read them all would be most of a start.
    pub fn lazy(load: impl FnOnce() -> Result<Vec<Arc<KeyPair>>, String> + Send + 'static) -> Self {
        Self {
            pairs: OnceLock::new(),
            source: Source(Mutex::new(Some(Box::new(load)))),
        }
    }

    fn known(pairs: Pairs) -> Self {
        Self {
            pairs: OnceLock::from(pairs),
            source: Source::default(),
        }
    }

    pub(super) fn pairs(&self) -> Result<&[Arc<KeyPair>], Box<str>> {
        let pairs = self.pairs.get_or_init(|| {
            let mut source = self.source.0.lock().unwrap_or_else(PoisonError::into_inner);
            let load = source.take();
            drop(source);
            match load {
                Some(load) => load().map(in_order).map_err(String::into_boxed_str),
                None => Err("an earlier attempt to read it did not end".into()),
            }
        });
        match pairs {
            Ok(pairs) => Ok(pairs),
            Err(reason) => Err(reason.clone()),
        }
    }

    /// The pair for a client that verifies `schemes`: ECDSA before Ed25519 before RSA. With nothing in common the first
    /// pair, so that rustls finds nothing in common either and says so with the alert the RFC wants.
    pub(super) fn pair(&self, schemes: &[SignatureScheme]) -> Result<&Arc<KeyPair>, Box<str>> {
        let pairs = self.pairs()?;
        pairs
            .iter()
            .find(|pair| pair.signs(schemes))
            .or(pairs.first())
            .ok_or_else(|| "no certificate is configured".into())
    }
}

fn in_order(pairs: impl IntoIterator<Item = Arc<KeyPair>>) -> SmallVec<[Arc<KeyPair>; 2]> {
    let mut pairs: SmallVec<[Arc<KeyPair>; 2]> = pairs.into_iter().collect();
    pairs.sort_by_key(|pair| preference(pair.algorithm()));
    pairs
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// The cheapest signature first (RUNTIME.md §5).
fn preference(class: KeyClass) -> u8 {
    match class {
        KeyClass::Ecdsa => 0,
        KeyClass::Ed25519 => 1,
        KeyClass::Rsa => 2,
    }
}
