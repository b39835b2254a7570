//! Everything that crosses between the control thread and the cores, each with its bound.
//!
//! Down: snapshots, ticket epochs, answers to name look-ups, a request for figures, drain. Up: look-ups, and which
//! snapshot a core has let go. Log records have a channel of their own (`telemetry::log`).

use crate::options::Options;
use crate::ring::{Bell, Doorbell, doorbell};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::CoreMetrics;
use crate::tls::tickets::EpochSecret;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Messages that may wait for one core. Snapshots and look-ups are few; a core that has not read this many is stuck.
pub const DOWN_MAX: usize = 4096;
/// Requests of all cores that may wait for the control thread; a look-up that finds it full fails at once.
pub const UP_MAX: usize = 16384;

/// Secrets for session tickets: the one to seal with, and the one whose tickets are still opened.
#[derive(Clone)]
pub struct Epochs {
    pub current: EpochSecret,
    pub previous: Option<EpochSecret>,
}

/// Control thread → one core.
pub enum Down {
    /// From here on this is what requests see.
    Publish {
        snapshot: Arc<Snapshot>,
        options: Arc<Options>,
    },
    Tickets(Arc<Epochs>),
    Resolved(Arc<str>, Arc<Answer>),
    /// Asks for a copy of the core's figures.
    Scrape(Sender<(usize, Box<CoreMetrics>)>),
    /// Stop accepting, finish what runs, close what is idle; give up at the deadline.
    Drain {
        deadline: Instant,
    },
}

/// A core → control thread.
pub enum Up {
    Resolve {
        core: usize,
        name: Arc<str>,
    },
    /// The core holds no older snapshot than this one any more.
    Holds {
        core: usize,
        number: u64,
    },
    /// The core accepts connections.
    Ready {
        core: usize,
    },
    /// The core's last connection is gone after a drain.
    Drained {
        core: usize,
    },
}

/// What became of a name.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Empty when the look-up failed. The port is an SRV record's.
    pub addresses: Vec<(IpAddr, Option<u16>)>,
    pub expires: Instant,
    pub error: Option<Arc<str>>,
}

/// Raised by one after a snapshot has been put into every core's channel (DESIGN.md, "Publish without waiting").
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
    cores: Vec<(Sender<Down>, Bell)>,
    generation: Arc<Generation>,
}

impl Post {
    /// Puts one message into every core's channel, raises the generation, rings. Returns the cores whose channel was full.
    pub fn broadcast(&self, message: impl Fn() -> Down) -> Vec<usize> {
        let full = (0..self.cores.len())
            .filter(|core| !self.put(*core, message()))
            .collect();
        self.generation.raise();
        for (_, bell) in &self.cores {
            bell.ring();
        }
        full
    }

    /// Sends one core a message; false when its channel is full or the core is gone.
    pub fn send(&self, core: usize, message: Down) -> bool {
        let sent = self.put(core, message);
        if let Some((_, bell)) = self.cores.get(core) {
            bell.ring();
        }
        sent
    }

    fn put(&self, core: usize, message: Down) -> bool {
        self.cores
            .get(core)
            .is_some_and(|(sender, _)| match sender.try_send(message) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            })
    }

    pub fn cores(&self) -> usize {
        self.cores.len()
    }
}

/// One core's side.
pub struct Mailbox {
    pub core: usize,
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
        post.cores.push((sender, bell));
        boxes.push(Mailbox {
            core,
            down,
            doorbell,
            up: outbox.clone(),
            generation: generation.clone(),
        });
    }
    Ok((post, boxes, Inbox { up, bell: far }))
}
