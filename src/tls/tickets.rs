//! Session tickets without shared state (RUNTIME.md §3, RFC 5077 §4, RFC 8446 §4.6.1).
//!
//! The control side hands out one random secret per epoch; two epochs are `ssl_session_timeout`, so what is older than
//! that cannot be opened by anyone. A ticket's key is derived from the secret and from who sealed it; both stand in
//! clear in the ticket's header, so every core of every node that has the secret derives every key. The nonce is a
//! counter; the key is this sealer's alone, so no nonce comes twice. What binds a ticket to the request policy it was
//! made under is in the AAD: once a certificate is asked for, older tickets do not open.
//!
//! Each resumption brings a new ticket. It says in which epoch the session began, and opens no longer than a ticket of
//! that epoch: the client proves its key again at least once in `ssl_session_timeout` (RFC 8446 §4.6.1).

use super::Digest;
use super::keys::sha256;
use crate::limits::{TICKET_KEYS_CACHED_MAX, TICKET_LIFETIME_MAX_S, TICKET_SIZE_MAX};
use ahash::RandomState;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use hashbrown::HashMap;
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::{Zeroize, Zeroizing};

/// One epoch's secret, wiped when dropped.
#[derive(Clone)]
pub struct EpochSecret {
    pub number: u64,
    pub secret: [u8; 32],
}

/// A new epoch's secret, from the library's random generator.
pub fn random_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    // It fails only when the operating system gives no randomness; a ticket must then not be guessable either, and
    // neither is a handshake possible.
    if aws_lc_rs::rand::fill(&mut secret).is_err() {
        std::process::abort();
    }
    secret
}

impl Drop for EpochSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for EpochSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochSecret")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Seals and opens the tickets of one core. Shared by that core's configurations; its lock is never contended.
pub struct Ticketer {
    sealer: Sealer,
    state: Mutex<State>,
}

struct State {
    current: Option<EpochSecret>,
    previous: Option<EpochSecret>,
    /// This sealer's key of the current epoch.
    own: Option<LessSafeKey>,
    /// Tickets sealed so far, over all epochs: never reset.
    sealed: u64,
    /// In which epoch the session at hand began, of one that is resumed: see `working`.
    begun: Option<u64>,
    opening: HashMap<KeyName, LessSafeKey, RandomState>,
}

/// Who seals: a node, a core of it, a process of that core, and the how-many-eth ticketer of that process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sealer {
    node: [u8; 16],
    process: [u8; 16],
    core: u16,
    instance: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyName {
    epoch: u64,
    sealer: Sealer,
}

/// Two ticketers of one process and core must not share a key, whatever their maker does: their counters would meet.
static INSTANCES: AtomicU32 = AtomicU32::new(0);

impl Ticketer {
    /// `process`: 128 random bits of this start of the process; two processes coexist during an upgrade.
    /// Until `install` is called no ticket is made or opened.
    pub fn new(node: [u8; 16], core: u16, process: [u8; 16]) -> Self {
        Self {
            sealer: Sealer {
                node,
                process,
                core,
                instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            },
            state: Mutex::new(State {
                current: None,
                previous: None,
                own: None,
                sealed: 0,
                begun: None,
                opening: HashMap::default(),
            }),
        }
    }

    /// Takes the secret to seal with and the one still accepted; every other one is wiped with the keys made from it.
    pub fn install(&self, current: EpochSecret, previous: Option<EpochSecret>) {
        let mut state = self.state();
        let kept = [
            Some(current.number),
            previous.as_ref().map(|secret| secret.number),
        ];
        state
            .opening
            .retain(|name, _| kept.contains(&Some(name.epoch)));
        let name = KeyName {
            epoch: current.number,
            sealer: self.sealer,
        };
        state.own = name.key(&current);
        state.current = Some(current);
        state.previous = previous;
    }

    /// The epoch in use.
    pub fn epoch(&self) -> Option<u64> {
        self.state().current.as_ref().map(|secret| secret.number)
    }

    /// Runs `work` for a connection whose session began in epoch `begun`, `None`: with this very handshake. Tickets that
    /// `work` seals go by that, or by the ticket it opens before. Returns what the connection is to be worked on with next
    /// if it turns out to be resumed.
    pub(crate) fn working<R>(
        &self,
        begun: Option<u64>,
        work: impl FnOnce() -> R,
    ) -> (R, Option<u64>) {
        self.state().begun = begun;
        let done = work();
        (done, self.state().begun.take())
    }

    /// `None`: no epoch is installed, or the ticket would be larger than `TICKET_SIZE_MAX`.
    fn seal(&self, policy: &Digest, plain: &[u8]) -> Option<Vec<u8>> {
        let size = HEADER_SIZE + plain.len() + AES_256_GCM.tag_len();
        if size > TICKET_SIZE_MAX {
            return None;
        }
        let mut state = self.state();
        let epoch = state.current.as_ref()?.number;
        let counter = state.sealed;
        state.sealed = counter.checked_add(1)?;
        let key = state.own.as_ref()?;

        let header = Header {
            name: KeyName {
                epoch,
                sealer: self.sealer,
            },
            begun: state.begun.unwrap_or(epoch),
            counter,
        };
        let mut ticket = Vec::with_capacity(size);
        header.write(&mut ticket);
        let aad = header_aad(policy, &ticket)?;
        ticket.extend_from_slice(plain);
        let sealed = ticket.get_mut(HEADER_SIZE..)?;
        let tag = key
            .seal_in_place_separate_tag(header.nonce(), Aad::from(aad), sealed)
            .ok();
        let Some(tag) = tag else {
            ticket.zeroize();
            return None;
        };
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Everything about `ticket` is the client's word until the tag is checked.
    fn open(&self, policy: &Digest, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_SIZE_MAX {
            return None;
        }
        let (head, sealed) = ticket.split_at_checked(HEADER_SIZE)?;
        let header = Header::read(head)?;
        let aad = header_aad(policy, head)?;

        let mut state = self.state();
        let state = &mut *state;
        let held = |epoch: u64| {
            let secrets = [&state.current, &state.previous].into_iter().flatten();
            secrets.into_iter().find(|secret| secret.number == epoch)
        };
        held(header.begun)?;
        let secret = held(header.name.epoch)?;
        if let Some(key) = state.opening.get(&header.name) {
            let plain = decrypted(key, header, aad, sealed)?;
            state.begun = Some(header.begun);
            return Some(plain);
        }
        // A key is kept only after it opened something: a stranger's headers must not fill the cache.
        let key = header.name.key(secret)?;
        let plain = decrypted(&key, header, aad, sealed)?;
        if state.opening.len() >= TICKET_KEYS_CACHED_MAX {
            state.opening.clear();
        }
        state.opening.insert(header.name, key);
        state.begun = Some(header.begun);
        Some(plain)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer")
            .field("core", &self.sealer.core)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

/// A ticketer bound to one request policy: what rustls is given.
#[derive(Debug)]
pub(crate) struct PolicyTickets {
    ticketer: Arc<Ticketer>,
    policy: Digest,
    lifetime_secs: u32,
}

impl PolicyTickets {
    /// `timeout_secs`: `ssl_session_timeout`. It is what clients are told; what ends a ticket is the end of its epoch.
    pub(crate) fn new(ticketer: Arc<Ticketer>, policy: Digest, timeout_secs: u64) -> Self {
        let lifetime = timeout_secs.min(TICKET_LIFETIME_MAX_S);
        Self {
            ticketer,
            policy,
            lifetime_secs: u32::try_from(lifetime).unwrap_or(u32::MAX),
        }
    }
}

impl ProducesTickets for PolicyTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_secs
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.ticketer.seal(&self.policy, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.ticketer.open(&self.policy, ticket)
    }
}

impl KeyName {
    fn key(&self, secret: &EpochSecret) -> Option<LessSafeKey> {
        let prk = Salt::new(HKDF_SHA256, b"sallyport ticket 1").extract(&secret.secret);
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        prk.expand(
            &[
                &self.epoch.to_be_bytes(),
                &self.sealer.node,
                &self.sealer.core.to_be_bytes(),
                &self.sealer.process,
                &self.sealer.instance.to_be_bytes(),
            ],
            KeySize,
        )
        .and_then(|okm| okm.fill(&mut *bytes))
        .ok()?;
        Some(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, &*bytes).ok()?,
        ))
    }
}

const KEY_SIZE: usize = 32;

struct KeySize;

impl KeyType for KeySize {
    fn len(&self) -> usize {
        KEY_SIZE
    }
}

/// The clear part of a ticket.
#[derive(Clone, Copy)]
struct Header {
    name: KeyName,
    /// Epoch of the session's first handshake.
    begun: u64,
    counter: u64,
}

const VERSION: u8 = 2;
const HEADER_SIZE: usize = 1 + 8 + 16 + 2 + 16 + 4 + 8 + 8;

impl Header {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.name.epoch.to_be_bytes());
        out.extend_from_slice(&self.name.sealer.node);
        out.extend_from_slice(&self.name.sealer.core.to_be_bytes());
        out.extend_from_slice(&self.name.sealer.process);
        out.extend_from_slice(&self.name.sealer.instance.to_be_bytes());
        out.extend_from_slice(&self.begun.to_be_bytes());
        out.extend_from_slice(&self.counter.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (epoch, rest) = rest.split_first_chunk()?;
        let (node, rest) = rest.split_first_chunk()?;
        let (core, rest) = rest.split_first_chunk()?;
        let (process, rest) = rest.split_first_chunk()?;
        let (instance, rest) = rest.split_first_chunk()?;
        let (begun, rest) = rest.split_first_chunk()?;
        let counter = rest.try_into().ok()?;
        Some(Self {
            name: KeyName {
                epoch: u64::from_be_bytes(*epoch),
                sealer: Sealer {
                    node: *node,
                    process: *process,
                    core: u16::from_be_bytes(*core),
                    instance: u32::from_be_bytes(*instance),
                },
            },
            begun: u64::from_be_bytes(*begun),
            counter: u64::from_be_bytes(counter),
        })
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The policy's digest and the header.
fn header_aad(policy: &Digest, header: &[u8]) -> Option<[u8; 32 + HEADER_SIZE]> {
    let mut aad = [0; 32 + HEADER_SIZE];
    let (digest, rest) = aad.split_first_chunk_mut::<32>()?;
    *digest = *policy;
    rest.copy_from_slice(header.get(..HEADER_SIZE)?);
    Some(aad)
}

fn decrypted(
    key: &LessSafeKey,
    header: Header,
    aad: [u8; 32 + HEADER_SIZE],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let mut plain = sealed.to_vec();
    let size = key
        .open_in_place(header.nonce(), Aad::from(aad), &mut plain)
        .ok()?
        .len();
    plain.truncate(size);
    Some(plain)
}

/// What binds a ticket to the request made when it was sealed.
pub(crate) fn request_digest<'a>(
    requested: bool,
    ca_names: impl IntoIterator<Item = &'a [u8]>,
) -> Digest {
    let mut content = b"sallyport request 1".to_vec();
    content.push(u8::from(requested));
    for name in ca_names {
        content.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
        content.extend_from_slice(name);
    }
    sha256(&[&content])
}

#[cfg(test)]
mod tests;
