//! The newest image, and those who wait for the next.

use super::{Committed, Image, Revision, Watch, Watched};
use crate::limits::{STORE_HISTORY_MAX, STORE_WATCH_QUEUE_MAX};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};

pub(super) struct Hub {
    /// Locked for as long as it takes to copy or to set a pointer.
    current: RwLock<Arc<Image>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last commits, so that who has read an image a moment ago misses none.
    history: VecDeque<Arc<Committed>>,
    watchers: Vec<Weak<Queue>>,
    closed: bool,
}

impl Hub {
    pub fn new(image: Image) -> Hub {
        Hub {
            current: RwLock::new(Arc::new(image)),
            state: Mutex::default(),
        }
    }

    pub fn image(&self) -> Arc<Image> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes commits known, in order; the last one's image is the newest.
    pub fn publish(&self, commits: Vec<Arc<Committed>>) {
        let Some(last) = commits.last() else { return };
        let mut state = lock(&self.state);
        self.set(Arc::clone(&last.image));
        for queue in state.live() {
            queue.push(&commits);
        }
        state.history.extend(commits);
        let excess = state.history.len().saturating_sub(STORE_HISTORY_MAX);
        state.history.drain(..excess);
    }

    /// Another state altogether: watchers take the whole image.
    pub fn reset(&self, image: Arc<Image>) {
        let mut state = lock(&self.state);
        self.set(Arc::clone(&image));
        state.history.clear();
        for queue in state.live() {
            queue.lag(&image);
        }
    }

    pub fn watch(&self, from: Revision) -> Box<dyn Watch> {
        let mut state = lock(&self.state);
        let image = self.image();
        let missed = state.history.iter().filter(|of| of.revision > from);
        let missed: Vec<_> = missed.cloned().collect();
        let queue = Arc::new(Queue::default());
        // The history reaches back to `from`, or the image stands for what lies between.
        if missed.len() as u64 == image.revision.saturating_sub(from) {
            queue.push(&missed);
        } else {
            queue.lag(&image);
        }
        lock(&queue.waiting).closed = state.closed;
        state.watchers.push(Arc::downgrade(&queue));
        Box::new(Watcher(queue))
    }

    /// Watchers get what they have not read yet, then `None`.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for queue in state.live() {
            queue.close();
        }
    }

    fn set(&self, image: Arc<Image>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = image;
    }
}

impl State {
    /// The queues that somebody still reads.
    fn live(&mut self) -> Vec<Arc<Queue>> {
        let live: Vec<_> = self.watchers.iter().filter_map(Weak::upgrade).collect();
        if live.len() < self.watchers.len() {
            self.watchers.retain(|queue| queue.strong_count() > 0);
        }
        live
    }
}

/// What one watcher has not read yet.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Stands for everything up to its revision; the commits come after it.
    lagged: Option<Arc<Image>>,
    commits: VecDeque<Arc<Committed>>,
    closed: bool,
}

impl Queue {
    fn push(&self, commits: &[Arc<Committed>]) {
        let Some(last) = commits.last() else { return };
        let mut waiting = lock(&self.waiting);
        if waiting.commits.len() + commits.len() > STORE_WATCH_QUEUE_MAX {
            waiting.commits.clear();
            waiting.lagged = Some(Arc::clone(&last.image));
        } else {
            waiting.commits.extend(commits.iter().cloned());
        }
        self.more.notify_all();
    }

    fn lag(&self, image: &Arc<Image>) {
        let mut waiting = lock(&self.waiting);
        waiting.commits.clear();
        waiting.lagged = Some(Arc::clone(image));
        self.more.notify_all();
    }

    fn close(&self) {
        lock(&self.waiting).closed = true;
        self.more.notify_all();
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Watched> {
        let lagged = self.lagged.take().map(Watched::Lagged);
        lagged.or_else(|| self.commits.pop_front().map(Watched::Commit))
    }
}

struct Watcher(Arc<Queue>);

impl Watch for Watcher {
    fn next(&mut self) -> Option<Watched> {
        let mut waiting = lock(&self.0.waiting);
        loop {
            match waiting.take() {
                None if !waiting.closed => {}
                watched => return watched,
            }
            let more = self.0.more.wait(waiting);
            waiting = more.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_next(&mut self) -> Option<Watched> {
        lock(&self.0.waiting).take()
    }
}

/// A panic elsewhere leaves these states whole: each change is one assignment or one push.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
