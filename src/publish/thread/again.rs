//! When to try again what ended in a panic.

use crate::limits::{PUBLISH_AGAIN_MAX, PUBLISH_AGAIN_MS, PUBLISH_AGAIN_MS_MAX};
use std::time::{Duration, Instant};

pub(super) struct Again {
    /// `None`: nothing is to be tried again.
    due: Option<Instant>,
    /// Before the next attempt.
    pause: Duration,
    left: u32,
    /// The one under way is an attempt, not a new order.
    trying: bool,
}

impl Default for Again {
    fn default() -> Again {
        Again {
            due: None,
            pause: Duration::from_millis(PUBLISH_AGAIN_MS),
            left: PUBLISH_AGAIN_MAX,
            trying: false,
        }
    }
}

impl Again {
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// An attempt begins.
    pub fn begin(&mut self) {
        self.due = None;
        self.trying = true;
    }

    /// False: there have been enough.
    pub fn after_panic(&mut self) -> bool {
        if !std::mem::take(&mut self.trying) && self.due.is_some() {
            return true;
        }
        if self.left == 0 {
            // Whatever comes next begins anew.
            *self = Again::default();
            return false;
        }
        self.due = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(Duration::from_millis(PUBLISH_AGAIN_MS_MAX));
        self.left -= 1;
        true
    }

    /// As if the pause were over.
    #[cfg(test)]
    pub fn hurry(&mut self) {
        self.due = self.due.map(|_| Instant::now());
    }

    /// Nothing is left of the last panic.
    pub fn done(&mut self) {
        *self = Again::default();
    }
}
