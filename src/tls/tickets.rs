//! Session tickets without shared state (RUNTIME.md §3, RFC 5077 §4, RFC 8446 §4.6.1).
//!
//! The control side hands out one random secret per epoch; two epochs are `ssl_session_timeout`, so what is older than
//! that cannot be opened by anyone. A ticket's key is derived from the secret and from who sealed it; both stand in
//! clear in the ticket's header, so every core of every node that has the secret derives every key. The nonce is a
//! counter; the key is this sealer's alone, so no nonce comes twice. What binds a ticket to the request policy it was
//! made under is in the AAD: once a certificate is asked for, older tickets do not open.

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
        let secret = [&state.current, &state.previous]
            .into_iter()
            .flatten()
            .find(|secret| secret.number == header.name.epoch)?;
        if let Some(key) = state.opening.get(&header.name) {
            return decrypted(key, header, aad, sealed);
        }
        // A key is kept only after it opened something: a stranger's headers must not fill the cache.
        let key = header.name.key(secret)?;
        let plain = decrypted(&key, header, aad, sealed)?;
        if state.opening.len() >= TICKET_KEYS_CACHED_MAX {
            state.opening.clear();
        }
        state.opening.insert(header.name, key);
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
    counter: u64,
}

const VERSION: u8 = 1;
const HEADER_SIZE: usize = 1 + 8 + 16 + 2 + 16 + 4 + 8;

impl Header {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.name.epoch.to_be_bytes());
        out.extend_from_slice(&self.name.sealer.node);
        out.extend_from_slice(&self.name.sealer.core.to_be_bytes());
        out.extend_from_slice(&self.name.sealer.process);
        out.extend_from_slice(&self.name.sealer.instance.to_be_bytes());
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
mod tests {
    use super::*;

    const NODE: [u8; 16] = [1; 16];
    const PROCESS: [u8; 16] = [2; 16];

    fn secret(number: u64) -> EpochSecret {
        EpochSecret {
            number,
            secret: [u8::try_from(number).unwrap() ^ 0x5a; 32],
        }
    }

    fn ticketer(
        node: [u8; 16],
        core: u16,
        process: [u8; 16],
        current: u64,
        previous: Option<u64>,
    ) -> Ticketer {
        let ticketer = Ticketer::new(node, core, process);
        ticketer.install(secret(current), previous.map(secret));
        ticketer
    }

    #[test]
    fn a_ticket_opens_on_every_core_process_and_node_that_has_the_epoch() {
        let policy = request_digest(true, [b"ca".as_slice()]);
        let sealer = ticketer(NODE, 0, PROCESS, 7, None);
        let ticket = sealer.seal(&policy, b"session").unwrap();
        for opener in [
            &sealer,
            &ticketer(NODE, 1, PROCESS, 7, None),
            &ticketer([9; 16], 63, [8; 16], 8, Some(7)),
        ] {
            assert_eq!(
                opener.open(&policy, &ticket).as_deref(),
                Some(b"session".as_slice())
            );
            assert_eq!(
                opener.open(&policy, &ticket).as_deref(),
                Some(b"session".as_slice()),
                "by the kept key"
            );
        }
    }

    #[test]
    fn a_ticket_dies_with_its_epoch() {
        let policy = request_digest(false, []);
        let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
        let ticket = ticketer.seal(&policy, b"session").unwrap();
        ticketer.install(secret(2), Some(secret(1)));
        assert!(
            ticketer.open(&policy, &ticket).is_some(),
            "the previous epoch is accepted"
        );
        ticketer.install(secret(3), Some(secret(2)));
        assert!(ticketer.open(&policy, &ticket).is_none());
        assert!(ticketer.state().opening.is_empty(), "its key is gone too");
    }

    #[test]
    fn the_same_epoch_number_with_another_secret_opens_nothing() {
        let policy = request_digest(false, []);
        let one = ticketer(NODE, 0, PROCESS, 1, None);
        let ticket = one.seal(&policy, b"session").unwrap();
        let other = Ticketer::new(NODE, 0, PROCESS);
        other.install(
            EpochSecret {
                number: 1,
                secret: [0; 32],
            },
            None,
        );
        assert!(other.open(&policy, &ticket).is_none());
    }

    #[test]
    fn a_ticket_of_another_request_policy_does_not_open() {
        let policies = [
            request_digest(false, []),
            request_digest(true, []),
            request_digest(true, [b"ca".as_slice()]),
            request_digest(true, [b"c".as_slice(), b"a".as_slice()]),
        ];
        let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
        for (i, sealed) in policies.iter().enumerate() {
            let ticket = ticketer.seal(sealed, b"session").unwrap();
            for (j, opened) in policies.iter().enumerate() {
                assert_eq!(ticketer.open(opened, &ticket).is_some(), i == j);
            }
        }
    }

    #[test]
    fn a_ticket_changed_in_any_byte_or_cut_is_refused_and_leaves_no_key() {
        let policy = request_digest(true, []);
        let opener = ticketer(NODE, 1, PROCESS, 1, None);
        let ticket = ticketer(NODE, 0, PROCESS, 1, None)
            .seal(&policy, b"session")
            .unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(opener.open(&policy, &changed).is_none(), "byte {at}");
            assert!(opener.open(&policy, &ticket[..at]).is_none(), "cut at {at}");
        }
        assert!(opener.state().opening.is_empty());
        assert!(opener.open(&policy, &ticket).is_some());
    }

    #[test]
    fn no_nonce_comes_twice_under_one_key() {
        let policy = request_digest(false, []);
        let first = ticketer(NODE, 0, PROCESS, 1, None);
        let again = ticketer(NODE, 0, PROCESS, 1, None);
        let mut heads = std::collections::HashSet::new();
        for round in 0..3 {
            // The same epoch installed again must not start the counter anew.
            first.install(secret(1), None);
            for _ in 0..100 {
                for ticketer in [&first, &again] {
                    let ticket = ticketer.seal(&policy, b"session").unwrap();
                    assert!(
                        heads.insert(ticket[..HEADER_SIZE].to_vec()),
                        "round {round}"
                    );
                }
            }
        }
        assert_eq!(heads.len(), 600);
    }

    #[test]
    fn a_ticket_is_at_most_4_kb() {
        let policy = request_digest(true, []);
        let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
        let room = TICKET_SIZE_MAX - HEADER_SIZE - AES_256_GCM.tag_len();
        assert_eq!(
            ticketer.seal(&policy, &vec![0; room]).unwrap().len(),
            TICKET_SIZE_MAX
        );
        assert!(ticketer.seal(&policy, &vec![0; room + 1]).is_none());
        assert!(
            ticketer
                .open(&policy, &vec![1; TICKET_SIZE_MAX + 1])
                .is_none()
        );
    }

    #[test]
    fn without_an_epoch_nothing_is_sealed_or_opened() {
        let policy = request_digest(false, []);
        let ticket = ticketer(NODE, 0, PROCESS, 1, None)
            .seal(&policy, b"session")
            .unwrap();
        let empty = Ticketer::new(NODE, 0, PROCESS);
        assert!(empty.seal(&policy, b"session").is_none());
        assert!(empty.open(&policy, &ticket).is_none());
    }

    #[test]
    fn the_cache_of_keys_is_bounded() {
        let policy = request_digest(false, []);
        let opener = ticketer(NODE, 0, PROCESS, 1, None);
        for core in 0..u16::try_from(TICKET_KEYS_CACHED_MAX + 10).unwrap() {
            let ticket = ticketer(NODE, core, PROCESS, 1, None)
                .seal(&policy, b"s")
                .unwrap();
            assert!(opener.open(&policy, &ticket).is_some());
            assert!(opener.state().opening.len() <= TICKET_KEYS_CACHED_MAX);
        }
    }

    #[test]
    fn what_clients_are_told_is_the_session_timeout_up_to_a_week() {
        let ticketer = Arc::new(ticketer(NODE, 0, PROCESS, 1, None));
        for (timeout, told) in [(86_400, 86_400), (1_000_000, 604_800), (1, 1), (0, 0)] {
            let tickets = PolicyTickets::new(Arc::clone(&ticketer), [0; 32], timeout);
            assert_eq!(tickets.lifetime(), told);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", secret(3)), "EpochSecret { number: 3, .. }");
    }
}
