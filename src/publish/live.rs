//! Which revision of the store every core serves.

use crate::store::Revision;
use tokio::sync::watch;

/// Waits for revisions to be live; cheap to clone.
#[derive(Clone)]
pub struct Live(watch::Receiver<State>);

/// The publishing thread's end.
pub struct Raise(watch::Sender<State>);

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct State {
    /// Every core serves this one or a newer one from its next request on.
    live: Revision,
    /// The newest one that could not be compiled; what came after it may still become live.
    refused: Revision,
}

/// A committed change does not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotLive {
    /// It did not compile; the log has the reasons, and the configuration before it serves on.
    #[error("the change is stored but cannot be served")]
    Refused,
    #[error("the gateway is ending")]
    Ending,
}

pub fn live(now: Revision) -> (Raise, Live) {
    let state = State {
        live: now,
        refused: 0,
    };
    let (sender, receiver) = watch::channel(state);
    (Raise(sender), Live(receiver))
}

impl Live {
    #[cfg(test)]
    pub fn now(&self) -> Revision {
        self.0.borrow().live
    }

    /// Waits until `revision` or a newer one is live.
    ///
    /// # Errors
    /// It never will be.
    pub async fn reached(&self, revision: Revision) -> Result<(), NotLive> {
        let mut states = self.0.clone();
        let settled = states
            .wait_for(|state| state.live >= revision || state.refused >= revision)
            .await
            .map_err(|_| NotLive::Ending)?;
        match settled.live >= revision {
            true => Ok(()),
            false => Err(NotLive::Refused),
        }
    }
}

impl Raise {
    pub fn live(&self, revision: Revision) {
        self.0
            .send_modify(|state| state.live = state.live.max(revision));
    }

    pub fn refused(&self, revision: Revision) {
        self.0
            .send_modify(|state| state.refused = state.refused.max(revision));
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

    #[test]
    fn a_revision_is_waited_for_until_it_or_a_newer_one_is_live_or_refused() {
        let (raise, live) = live(3);
        assert_eq!(poll(&live, 3), Poll::Ready(Ok(())));
        assert_eq!(poll(&live, 5), Poll::Pending);
        raise.live(4);
        assert_eq!(poll(&live, 5), Poll::Pending);
        raise.refused(5);
        assert_eq!(poll(&live, 5), Poll::Ready(Err(NotLive::Refused)));
        assert_eq!(
            poll(&live, 4),
            Poll::Ready(Ok(())),
            "what was live before stays so"
        );
        raise.live(6);
        assert_eq!(
            poll(&live, 5),
            Poll::Ready(Ok(())),
            "a newer one has it in it"
        );
        assert_eq!(live.now(), 6);
        drop(raise);
        assert_eq!(poll(&live, 7), Poll::Ready(Err(NotLive::Ending)));
    }
}
