//! What runs at once while an exchange is under way: content to the upstream, the response, the wait for a turned verdict
//! and for the drain's deadline. Owns which of them counts first, and how an exchange is ended before its time; which end
//! follows from what is for `forward` to say.

use crate::proxy::admit::{self, Asked};
use crate::proxy::exchange::{Exchange, Refusal};
use crate::proxy::forward::{End, Forward};
use crate::proxy::pump::SourceFault;
use crate::proxy::response::{Fault, Progress, Received};
use crate::ring;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// Sends and receives at the same time; the response's end is the exchange's end. The content's future is dropped with it:
/// the client's connection is then not used again.
pub(super) async fn race(
    mut sending: Pin<&mut impl Future<Output = Result<(), SourceFault>>>,
    mut receiving: Pin<&mut impl Future<Output = Result<Received, Fault>>>,
    mut turned: Pin<&mut impl Future<Output = ()>>,
    mut aborting: Pin<&mut impl Future<Output = ()>>,
) -> Raced {
    let mut sent = false;
    std::future::poll_fn(move |context| {
        if !sent {
            match sending.as_mut().poll(context) {
                Poll::Ready(Ok(())) => sent = true,
                Poll::Ready(Err(fault)) => return Poll::Ready(Raced::SourceFault(fault)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(received) = receiving.as_mut().poll(context) {
            return Poll::Ready(Raced::Received(received));
        }
        if aborting.as_mut().poll(context).is_ready() {
            return Poll::Ready(Raced::Aborted);
        }
        turned.as_mut().poll(context).map(|()| Raced::VerdictTurned)
    })
    .await
}

pub(super) enum Raced {
    Received(Result<Received, Fault>),
    SourceFault(SourceFault),
    VerdictTurned,
    /// The drain's deadline has passed.
    Aborted,
}

impl Forward<'_> {
    /// Resolves when the client of this running exchange is no longer admitted by the newest configuration.
    pub(super) async fn verdict_turned(&self, exchange: &RefCell<Exchange>) {
        if !admit::may_turn(self.route) {
            return std::future::pending().await;
        }
        let id = exchange.borrow().id;
        let asked = Asked {
            head: self.head,
            raw: self.raw,
            request_id: std::str::from_utf8(&id).unwrap_or_default(),
        };
        // Looked at twice within the grace period, so that it is kept.
        let step = (self.core.options().client_verdict_grace / 2).max(Duration::from_millis(10));
        loop {
            ring::sleep_until(ring::now() + step).await;
            if !admit::still_admitted(self.core, self.client, self.route.id, &asked) {
                return;
            }
        }
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
