//! Deadlines, turns of the loop, and what many tasks of one core can wait for: a signal, and a coarse clock.

use super::Driver;
use monoio::net::UnixStream;
use monoio::time::Instant;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A deadline passed first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

/// Runs `future` to its end or to `deadline`. The future is dropped when time is up: use it only where what it owns
/// (a connection, a buffer) dies with it, never around a read whose connection lives on (RUNTIME.md §14.1).
pub async fn before<F: Future>(deadline: Option<Instant>, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let Some(deadline) = deadline else {
        return Ok(future.await);
    };
    // Boxed: it is large and aligned to cache lines, and would make every future around it so, which each await copies.
    let mut timer = None;
    std::future::poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        // The timer is made only when the future has to wait.
        timer
            .get_or_insert_with(|| Box::pin(monoio::time::sleep_until(deadline)))
            .as_mut()
            .poll(context)
            .map(|()| Err(Elapsed))
    })
    .await
}

/// Runs `future` unless `interrupt` resolves first; the error is the interrupt's. The future is dropped then: the rule of
/// `before` holds.
pub async fn unless<T, E>(
    future: impl Future<Output = T>,
    interrupt: impl Future<Output = E>,
) -> Result<T, E> {
    let (mut future, mut interrupt) = (pin!(future), pin!(interrupt));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        interrupt.as_mut().poll(context).map(Err)
    })
    .await
}

pub async fn sleep_until(deadline: Instant) {
    monoio::time::sleep_until(deadline).await
}

/// Waits for the next turn of the loop. A task that wakes itself would starve the others (RUNTIME.md §14.3), so the ring
/// is asked about a socket that is always readable: the answer comes with the next batch of completions.
pub struct Turn {
    stream: Option<(UnixStream, StdUnixStream)>,
}

impl Turn {
    /// On the core's own thread.
    pub fn new(driver: Driver) -> Self {
        // epoll would answer at once, without a turn of the loop.
        let ready = || {
            let (near, far) = StdUnixStream::pair()?;
            (&far).write_all(&[1])?;
            io::Result::Ok((UnixStream::from_std(near)?, far))
        };
        Turn {
            stream: if driver == Driver::Epoll {
                None
            } else {
                ready().ok()
            },
        }
    }

    pub async fn next(&self) {
        match &self.stream {
            Some((stream, _)) => drop(stream.readable(false).await),
            None => monoio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Runs both to their ends in this one task.
pub async fn join2<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_output, mut b_output) = (None, None);
    std::future::poll_fn(move |context| {
        if a_output.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            a_output = Some(output);
        }
        if b_output.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            b_output = Some(output);
        }
        match (a_output.take(), b_output.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_output, b_output) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// A flag of one core that is raised once; every task polling it is woken then.
#[derive(Default)]
pub struct Signal {
    raised: Cell<bool>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Signal {
    pub fn raised(&self) -> bool {
        self.raised.get()
    }

    pub fn raise(&self) {
        self.raised.set(true);
        for waker in self
            .waiting
            .borrow_mut()
            .iter_mut()
            .filter_map(Option::take)
        {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// A place among the waiting; the caller polls it beside other futures.
    pub fn wait(&self) -> Wait<'_> {
        Wait {
            signal: self,
            slot: None,
        }
    }
}

pub struct Wait<'a> {
    signal: &'a Signal,
    slot: Option<usize>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.signal.raised.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.signal.waiting.borrow_mut();
        let slot = match self.slot {
            Some(slot) => slot,
            None => self.signal.free.borrow_mut().pop().unwrap_or_else(|| {
                waiting.push(None);
                waiting.len() - 1
            }),
        };
        match &mut waiting[slot] {
            Some(waker) if waker.will_wake(context.waker()) => {}
            place => *place = Some(context.waker().clone()),
        }
        drop(waiting);
        self.slot = Some(slot);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.signal.waiting.borrow_mut()[slot] = None;
            self.signal.free.borrow_mut().push(slot);
        }
    }
}

/// A coarse clock of one core. To wait for it costs a place in a list and no timer: for waits that nearly always end before
/// their time.
#[derive(Default)]
pub struct Clock {
    beats: Cell<u64>,
    waiting: RefCell<Vec<Option<(u64, Waker)>>>,
    free: RefCell<Vec<usize>>,
}

impl Clock {
    pub fn beat(&self) {
        let now = self.beats.get() + 1;
        self.beats.set(now);
        for place in self.waiting.borrow_mut().iter_mut() {
            if let Some((_, waker)) = place.take_if(|(due, _)| *due <= now) {
                waker.wake();
            }
        }
    }

    /// Resolves at the given beat from now: 1 is the next one.
    pub fn after(&self, beats: u64) -> After<'_> {
        After {
            clock: self,
            due: self.beats.get().saturating_add(beats),
            slot: None,
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.waiting.borrow().len()
    }
}

pub struct After<'a> {
    clock: &'a Clock,
    due: u64,
    slot: Option<usize>,
}

impl Future for After<'_> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.clock.beats.get() >= self.due {
            return Poll::Ready(());
        }
        let mut waiting = self.clock.waiting.borrow_mut();
        let slot = match self.slot {
            Some(slot) => slot,
            None => self.clock.free.borrow_mut().pop().unwrap_or_else(|| {
                waiting.push(None);
                waiting.len() - 1
            }),
        };
        match &mut waiting[slot] {
            Some((_, waker)) if waker.will_wake(context.waker()) => {}
            place => *place = Some((self.due, context.waker().clone())),
        }
        drop(waiting);
        self.slot = Some(slot);
        Poll::Pending
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.clock.waiting.borrow_mut()[slot] = None;
            self.clock.free.borrow_mut().push(slot);
        }
    }
}
