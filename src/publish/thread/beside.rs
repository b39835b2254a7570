//! Tables are put in order on a thread beside the one that publishes: no change waits for it.

use crate::snapshot::{Settled, Settling};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crossbeam::channel::{Receiver, bounded, never};
use std::thread;
use std::time::Duration;

/// Between two parts of the work, for all that waits for the CPU. To yield is not enough under a real-time policy: it keeps
/// kernel threads waiting that the store's disk needs.
const PAUSE: Duration = Duration::from_micros(50);

#[derive(Default)]
pub(super) struct Beside {
    /// `None`: nothing is under way.
    done: Option<Receiver<Option<Settled>>>,
}

impl Beside {
    /// Begins; false: one is under way.
    pub fn start(&mut self, settling: impl FnOnce() -> Settling) -> bool {
        if self.done.is_some() {
            return false;
        }
        let settling = settling();
        let (sender, done) = bounded(1);
        let started = thread::Builder::new().name("settle".into()).spawn(move || {
            let settled = settling.run(&|| thread::sleep(PAUSE));
            // Nobody waits for it when the process ends.
            let _ = sender.send(settled);
        });
        match started {
            Ok(_) => self.done = Some(done),
            // A change too many does it by itself.
            Err(error) => log::error(
                Level::Warn,
                format_args!("tables cannot be put in order: no thread: {error}"),
            ),
        }
        true
    }

    /// Receives once when it is done, or has ended in a panic.
    pub fn done(&self) -> Receiver<Option<Settled>> {
        self.done.clone().unwrap_or_else(never)
    }

    /// Has been received.
    pub fn end(&mut self) {
        self.done = None;
    }
}
