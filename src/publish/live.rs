//! Which revision of the store every core serves, and what stands in the way of a newer one.

use super::Unserved;
use crate::limits::TAKEN_BACK_MAX;
use crate::store::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// Waits for revisions to be live; cheap to clone.
#[derive(Clone)]
pub struct Live(watch::Receiver<State>);

/// The publishing thread's end.
pub struct Raise(watch::Sender<State>);

#[derive(Default, Debug)]
struct State {
    /// Every core serves this one or a newer one from its next request on.
    live: Revision,
    /// The newest one that cannot be served, as long as no newer one is. With it wait all between the two.
    stuck: Option<(Revision, Arc<Unserved>)>,
    /// Changes that could not be served and are no more, the newest last. What came before and after them is served.
    taken_back: VecDeque<(Revision, Arc<Unserved>)>,
}

/// A committed change does not serve.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotLive {
    /// It does not compile; the store is as if it had never been made.
    #[error("the change cannot be served and was taken back: {0}")]
    TakenBack(Arc<Unserved>),
    /// It, or what it came on top of, does not compile; it stays in the store, and the configuration before serves on.
    #[error("the change is stored but cannot be served: {0}")]
    Refused(Arc<Unserved>),
    #[error("the gateway is ending")]
    Ending,
}

pub fn live(now: Revision) -> (Raise, Live) {
    let state = State {
        live: now,
        ..State::default()
    };
    let (sender, receiver) = watch::channel(state);
    (Raise(sender), Live(receiver))
}

impl Live {
    #[cfg(test)]
    pub fn now(&self) -> Revision {
        self.0.borrow().live
    }

    /// Why what is stored is not what is served; `None`: it is, or will be in a moment.
    pub fn stuck(&self) -> Option<Arc<Unserved>> {
        let state = self.0.borrow();
        state.stuck.as_ref().map(|(_, unserved)| unserved.clone())
    }

    /// Waits until `revision` or a newer one is live.
    ///
    /// # Errors
    /// It never will be.
    pub async fn reached(&self, revision: Revision) -> Result<(), NotLive> {
        let mut states = self.0.clone();
        let settled = states
            .wait_for(|state| state.verdict(revision).is_some())
            .await
            .map_err(|_| NotLive::Ending)?;
        settled.verdict(revision).unwrap_or(Err(NotLive::Ending))
    }
}

impl State {
    /// `None`: not yet known.
    fn verdict(&self, revision: Revision) -> Option<Result<(), NotLive>> {
        let taken_back = self.taken_back.iter().find(|(of, _)| *of == revision);
        if let Some((_, unserved)) = taken_back {
            return Some(Err(NotLive::TakenBack(unserved.clone())));
        }
        if self.live >= revision {
            return Some(Ok(()));
        }
        let stuck = self.stuck.as_ref().filter(|(to, _)| *to >= revision);
        stuck.map(|(_, unserved)| Err(NotLive::Refused(unserved.clone())))
    }
}

impl Raise {
    pub fn live(&self, revision: Revision) {
        self.0.send_modify(|state| {
            state.live = state.live.max(revision);
            if state.stuck.as_ref().is_some_and(|(to, _)| *to <= revision) {
                state.stuck = None;
            }
        });
    }

    pub fn refused(&self, revision: Revision, unserved: Arc<Unserved>) {
        self.0.send_modify(|state| {
            if state.live < revision && state.stuck.as_ref().is_none_or(|(to, _)| *to <= revision) {
                state.stuck = Some((revision, unserved));
            }
        });
    }

    /// To be told before any newer revision is live.
    pub fn taken_back(&self, revision: Revision, unserved: Arc<Unserved>) {
        self.0.send_modify(|state| {
            while state.taken_back.len() >= TAKEN_BACK_MAX {
                state.taken_back.pop_front();
            }
            state.taken_back.push_back((revision, unserved));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll(live: &Live, revision: Revision) -> Poll<Result<(), NotLive>> {
        pin!(live.reached(revision)).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn unserved(text: &str) -> Arc<Unserved> {
        Arc::new(Unserved {
            lines: vec![text.to_owned()],
            rows: Vec::new(),
        })
    }

    #[test]
    fn a_revision_is_waited_for_until_it_or_a_newer_one_is_live_or_refused() {
        let (raise, live) = live(3);
        assert_eq!(poll(&live, 3), Poll::Ready(Ok(())));
        assert_eq!(poll(&live, 5), Poll::Pending);
        raise.live(4);
        assert_eq!(poll(&live, 5), Poll::Pending);
        raise.refused(5, unserved("five"));
        let refused = Err(NotLive::Refused(unserved("five")));
        assert_eq!(poll(&live, 5), Poll::Ready(refused));
        assert_eq!(live.stuck(), Some(unserved("five")));
        assert_eq!(
            poll(&live, 4),
            Poll::Ready(Ok(())),
            "what was live before stays so"
        );
        raise.live(4);
        assert_eq!(live.stuck(), Some(unserved("five")), "it is as it was");
        raise.live(6);
        assert_eq!(
            poll(&live, 5),
            Poll::Ready(Ok(())),
            "a newer one has it in it"
        );
        assert_eq!((live.now(), live.stuck()), (6, None));
        raise.refused(5, unserved("late"));
        assert_eq!(live.stuck(), None, "a newer one is live");
        drop(raise);
        assert_eq!(poll(&live, 7), Poll::Ready(Err(NotLive::Ending)));
    }

    #[test]
    fn a_change_that_was_taken_back_is_refused_alone() {
        let (raise, live) = live(1);
        raise.taken_back(3, unserved("three"));
        let taken_back = || Poll::Ready(Err(NotLive::TakenBack(unserved("three"))));
        assert_eq!(poll(&live, 3), taken_back());
        for revision in [2, 4] {
            assert_eq!(poll(&live, revision), Poll::Pending, "{revision}");
        }
        assert_eq!(live.stuck(), None, "it stands in nobody's way");
        raise.live(5);
        for revision in [2, 4, 5] {
            assert_eq!(poll(&live, revision), Poll::Ready(Ok(())), "{revision}");
        }
        assert_eq!(poll(&live, 3), taken_back());
        for revision in 0..TAKEN_BACK_MAX as u64 {
            raise.taken_back(10 + revision, unserved("later"));
        }
        assert_eq!(live.0.borrow().taken_back.len(), TAKEN_BACK_MAX);
    }
}
