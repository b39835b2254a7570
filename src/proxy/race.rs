//! What runs at once while an exchange is under way: content to the upstream, the response, the wait for a turned verdict,
//! for the client's leaving and for the drain's deadline. Owns which of them counts first, and how an exchange is ended before its time; which end
//! follows from what is for `forward` to say.

use crate::limits;
use crate::proxy::admit::{self, Asked};
use crate::proxy::exchange::{Exchange, Refusal};
use crate::proxy::forward::{End, Forward};
use crate::proxy::response::{Fault, Progress, Received};
use crate::proxy::sending::Unsent;
use crate::ring;
use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Sends and receives at the same time; the response's end is the exchange's end. The content's future is dropped with it:
/// the client's connection is then not used again.
pub(super) async fn race(
    mut sending: Pin<&mut impl Future<Output = Result<(), Unsent>>>,
    mut receiving: Pin<&mut impl Future<Output = Result<Received, Fault>>>,
    mut turned: Pin<&mut impl Future<Output = ()>>,
    mut interrupted: Pin<&mut impl Future<Output = Interrupt>>,
) -> Raced {
    let mut sent = false;
    std::future::poll_fn(move |context| {
        if !sent {
            match sending.as_mut().poll(context) {
                Poll::Ready(Ok(())) => sent = true,
                Poll::Ready(Err(unsent)) => return Poll::Ready(Raced::Unsent(unsent)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(received) = receiving.as_mut().poll(context) {
            return Poll::Ready(Raced::Received(received));
        }
        if let Poll::Ready(interrupt) = interrupted.as_mut().poll(context) {
            return Poll::Ready(Raced::Interrupted(interrupt));
        }
        turned.as_mut().poll(context).map(|()| Raced::VerdictTurned)
    })
    .await
}

pub(super) enum Raced {
    Received(Result<Received, Fault>),
    Unsent(Unsent),
    VerdictTurned,
    Interrupted(Interrupt),
}

/// What ends an exchange that is under way, whatever its upstream does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interrupt {
    /// The drain's deadline has passed.
    DeadlinePassed,
    ClientLeft,
}

impl Forward<'_> {
    pub(super) async fn interrupted(&self) -> Interrupt {
        let (mut aborting, mut left) = (pin!(self.core.aborting.wait()), pin!(self.client_left()));
        std::future::poll_fn(|context| {
            if aborting.as_mut().poll(context).is_ready() {
                return Poll::Ready(Interrupt::DeadlinePassed);
            }
            left.as_mut().poll(context).map(|()| Interrupt::ClientLeft)
        })
        .await
    }

    /// Resolves when the client has closed its side of the connection while its request is served. As in nginx a half-close
    /// counts as leaving, bytes of a next request do not. The kernel is asked now and then, and nothing is read: what the
    /// client has sent stays where it is.
    async fn client_left(&self) {
        let mut beats = limits::CLIENT_WATCH_BEATS;
        loop {
            self.core.clock.after(beats).await;
            if ring::sys::peer_closed(self.stream.socket.raw_fd()) {
                return;
            }
            beats = (beats * 2).min(limits::CLIENT_WATCH_BEATS_MAX);
        }
    }

    /// Resolves when the client of this running exchange is no longer admitted by the newest configuration.
    pub(super) async fn verdict_turned(&self) {
        if !admit::may_turn(self.route) {
            return std::future::pending().await;
        }
        // Looked at twice within the grace period, so that it is kept.
        let step = (self.core.options().client_verdict_grace / 2).max(Duration::from_millis(10));
        loop {
            ring::sleep_until(ring::now() + step).await;
            if !self.still_admitted() {
                return;
            }
        }
    }

    /// Whether nothing has taken the permit back while a connection was waited for: a name to resolve, an upstream that is
    /// slow to answer. Costs two comparisons unless the configuration has changed or a certificate has expired meanwhile.
    pub(super) fn may_send(&self) -> bool {
        !admit::may_turn(self.route) || self.permit.is_fresh(self.core) || self.still_admitted()
    }

    fn still_admitted(&self) -> bool {
        let asked = Asked {
            head: self.head,
            raw: self.raw,
        };
        admit::still_admitted(self.core, self.client, self.route, &asked)
    }

    /// Ends an exchange that is under way: with an answer while nothing of a response has been written, else by a cut.
    pub(super) fn stop(
        &self,
        exchange: &RefCell<Exchange>,
        progress: &Progress,
        refusal: Refusal,
    ) -> End {
        if progress.head_sent.get() || progress.interim.get() {
            self.cut(exchange, &refusal.reason)
        } else {
            End::Refused(refusal.closing())
        }
    }

    /// The client's doing, which is no sign of trouble here or upstream.
    pub(super) fn left(&self, exchange: &RefCell<Exchange>, reason: &str) -> End {
        exchange.borrow_mut().client_left = true;
        self.cut(exchange, reason)
    }

    pub(super) fn cut(&self, exchange: &RefCell<Exchange>, reason: &str) -> End {
        let mut exchange = exchange.borrow_mut();
        if exchange.status == 0 {
            // nginx's number for a client that got no answer.
            exchange.status = 499;
        }
        exchange.reason = Some(reason.into());
        End::Broken
    }
}
