//! Everything that crosses between the control thread and the cores, each with its bound.
//!
//! Down, what is in force: a snapshot with its options, ticket epochs, the drain's deadline. Each has a place per core in
//! which the newest replaces the one before, so that a core that sleeps neither misses the newest nor piles up the rest.
//! Down, in a channel: answers to name look-ups, requests for figures. Up: look-ups, and snapshots a core has let go, to
//! be taken apart on the control side. Log records have a channel of their own (`telemetry::log`).

use crate::options::Options;
use crate::ring::{Bell, Doorbell, doorbell};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::CoreMetrics;
use crate::tls::tickets::EpochSecret;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use crossbeam::queue::ArrayQueue;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Answers and requests for figures that may wait for one core; a core that has not read this many is stuck.
pub const DOWN_MAX: usize = 4096;
/// Requests of all cores that may wait for the control thread; a look-up that finds it full fails at once.
pub const UP_MAX: usize = 16384;

/// Secrets for session tickets: the one to seal with, and the one whose tickets are still opened.
#[derive(Clone)]
pub struct Epochs {
    pub current: EpochSecret,
    pub previous: Option<EpochSecret>,
}

/// What requests see from the moment it is in force.
#[derive(Clone)]
pub struct Published {
    pub snapshot: Arc<Snapshot>,
    pub options: Arc<Options>,
}

/// Control thread → one core: the newest of each kind that the core has not taken yet.
pub struct InForce {
    published: Newest<Published>,
    tickets: Newest<Arc<Epochs>>,
    drain: Newest<Instant>,
}

impl InForce {
    fn new() -> Arc<Self> {
        Arc::new(InForce {
            published: Newest::new(),
            tickets: Newest::new(),
            drain: Newest::new(),
        })
    }

    pub fn take_published(&self) -> Option<Published> {
        self.published.take()
    }

    pub fn take_tickets(&self) -> Option<Arc<Epochs>> {
        self.tickets.take()
    }

    /// Stop accepting, finish what runs, close what is idle; give up at this time.
    pub fn take_drain(&self) -> Option<Instant> {
        self.drain.take()
    }
}

/// A place for one value, written by the control thread and taken by a core, neither of which ever waits.
struct Newest<T>(ArrayQueue<T>);

impl<T> Newest<T> {
    fn new() -> Self {
        Newest(ArrayQueue::new(1))
    }

    /// Returns the value it takes the place of.
    fn put(&self, value: T) -> Option<T> {
        self.0.force_push(value)
    }

    fn take(&self) -> Option<T> {
        self.0.pop()
    }
}

/// Control thread → one core, in order.
pub enum Down {
    Resolved(Arc<str>, Arc<Answer>),
    /// Asks for a copy of the core's figures.
    Scrape(Sender<(usize, Box<CoreMetrics>)>),
}

/// A core → control thread.
pub enum Up {
    Resolve {
        core: usize,
        name: Arc<str>,
    },
    /// Nothing on the core uses this snapshot any more. It is sent back because taking a large one apart takes
    /// milliseconds: that is for the control side (`publish::retire`).
    Released(Arc<Snapshot>),
    /// The core accepts connections.
    Ready,
    /// The core's last connection is gone after a drain.
    Drained,
}

/// What became of a name.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Empty when the look-up failed. The port is an SRV record's.
    pub addresses: Vec<(IpAddr, Option<u16>)>,
    pub expires: Instant,
    pub error: Option<Arc<str>>,
}

/// Raised by one after something new is in force for every core (DESIGN.md, "Publish without waiting").
#[derive(Default)]
pub struct Generation(AtomicU64);

impl Generation {
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The control thread's side of every core's mailbox.
pub struct Post {
    cores: Vec<Slot>,
    generation: Arc<Generation>,
}

struct Slot {
    in_force: Arc<InForce>,
    down: Sender<Down>,
    bell: Bell,
}

impl Post {
    /// From here on every core's next request sees this. Returns what cores had not taken yet: nobody will see it.
    #[must_use = "an old snapshot is taken apart off the cores and off the control thread"]
    pub fn publish(&self, published: &Published) -> Vec<Published> {
        self.put_in_force(|core| core.published.put(published.clone()))
    }

    pub fn tickets(&self, epochs: &Arc<Epochs>) {
        self.put_in_force(|core| core.tickets.put(epochs.clone()));
    }

    /// Begins the drain, or gives it another deadline.
    pub fn drain(&self, deadline: Instant) {
        self.put_in_force(|core| core.drain.put(deadline));
    }

    /// Every core first, then the generation: who sees the new one finds what it announces.
    fn put_in_force<T>(&self, put: impl Fn(&InForce) -> Option<T>) -> Vec<T> {
        let displaced = self
            .cores
            .iter()
            .filter_map(|core| put(&core.in_force))
            .collect();
        self.generation.raise();
        for core in &self.cores {
            core.bell.ring();
        }
        displaced
    }

    /// Sends one core a message; false when its channel is full or the core is gone.
    pub fn send(&self, core: usize, message: Down) -> bool {
        let Some(core) = self.cores.get(core) else {
            return false;
        };
        let sent = match core.down.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        core.bell.ring();
        sent
    }

    pub fn cores(&self) -> usize {
        self.cores.len()
    }
}

/// One core's side.
pub struct Mailbox {
    pub core: usize,
    pub in_force: Arc<InForce>,
    pub down: Receiver<Down>,
    pub doorbell: Doorbell,
    pub up: Outbox,
    pub generation: Arc<Generation>,
}

/// The way up; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    sender: Sender<Up>,
    bell: Arc<std::os::unix::net::UnixStream>,
}

impl Outbox {
    /// False when the control thread is too far behind.
    pub fn send(&self, message: Up) -> bool {
        use std::io::Write;
        let sent = self.sender.try_send(message).is_ok();
        // A full pipe already wakes the control thread.
        let _ = (&*self.bell).write(&[1]);
        sent
    }
}

/// The control thread's way of hearing from the cores: messages, and a stream that becomes readable when there are some.
pub struct Inbox {
    pub up: Receiver<Up>,
    pub bell: std::os::unix::net::UnixStream,
}

/// Mailboxes for `cores` cores.
pub fn mailboxes(cores: usize) -> io::Result<(Post, Vec<Mailbox>, Inbox)> {
    let generation = Arc::new(Generation::default());
    let (up_sender, up) = bounded(UP_MAX);
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let outbox = Outbox {
        sender: up_sender,
        bell: Arc::new(near),
    };
    let mut post = Post {
        cores: Vec::with_capacity(cores),
        generation: generation.clone(),
    };
    let mut boxes = Vec::with_capacity(cores);
    for core in 0..cores {
        let (sender, down) = bounded(DOWN_MAX);
        let (bell, doorbell) = doorbell()?;
        let in_force = InForce::new();
        post.cores.push(Slot {
            in_force: in_force.clone(),
            down: sender,
            bell,
        });
        boxes.push(Mailbox {
            core,
            in_force,
            down,
            doorbell,
            up: outbox.clone(),
            generation: generation.clone(),
        });
    }
    Ok((post, boxes, Inbox { up, bell: far }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(number: u64) -> Arc<Epochs> {
        Arc::new(Epochs {
            current: EpochSecret {
                number,
                secret: crate::tls::tickets::random_secret(),
            },
            previous: None,
        })
    }

    #[test]
    fn a_core_that_sleeps_finds_the_newest_of_each_kind_however_many_came() {
        let (post, boxes, _inbox) = mailboxes(2).unwrap();
        let before = boxes[0].generation.now();
        for number in 1..=DOWN_MAX as u64 + 10 {
            post.tickets(&epochs(number));
        }
        let last = Instant::now();
        post.drain(last + std::time::Duration::from_secs(9));
        post.drain(last);
        for core in &boxes {
            assert_ne!(core.generation.now(), before);
            let tickets = core
                .in_force
                .take_tickets()
                .map(|epochs| epochs.current.number);
            assert_eq!(tickets, Some(DOWN_MAX as u64 + 10));
            assert!(core.in_force.take_tickets().is_none(), "once");
            assert_eq!(core.in_force.take_drain(), Some(last));
            assert!(core.in_force.take_published().is_none());
        }
    }

    #[test]
    fn a_full_channel_hides_nothing_that_is_in_force() {
        let (post, boxes, _inbox) = mailboxes(1).unwrap();
        let answer = Arc::new(Answer {
            addresses: Vec::new(),
            expires: Instant::now(),
            error: None,
        });
        let resolved = || Down::Resolved("a".into(), answer.clone());
        let sent = (0..DOWN_MAX + 5)
            .filter(|_| post.send(0, resolved()))
            .count();
        assert_eq!(sent, DOWN_MAX);
        assert!(!post.send(1, resolved()), "there is no such core");
        post.tickets(&epochs(7));
        assert_eq!(
            boxes[0]
                .in_force
                .take_tickets()
                .map(|epochs| epochs.current.number),
            Some(7)
        );
    }
}
