//! After 101: bytes both ways until either side ends (RFC 9110 §7.8).

use crate::limits;
use crate::proxy::core::Core;
use crate::proxy::stream::{Fill, Stream};
use crate::ring;
use crate::snapshot::Service;
use monoio::time::Instant;
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Runs until both sides have ended, one has failed or been silent for the service's read timeout, the gateway aborts, or
/// `turned` says that the client is no longer admitted.
pub async fn run(
    core: &Core,
    client: &Stream,
    upstream: &Stream,
    service: &Service,
    turned: impl Future<Output = ()>,
) -> Ended {
    let read_timeout = Duration::from_millis(service.read_timeout_ms);
    let write_timeout = Duration::from_millis(service.write_timeout_ms);
    // A side that only listens is not idle while the other speaks.
    let heard = Cell::new(Instant::now());
    let both = ring::join2(
        copy(core, client, upstream, &heard, read_timeout, write_timeout),
        copy(
            core,
            upstream,
            client,
            &heard,
            read_timeout,
            core.options().send_timeout,
        ),
    );
    let (mut both, mut turned, mut aborting) =
        (pin!(both), pin!(turned), pin!(core.aborting.wait()));
    std::future::poll_fn(|context| {
        if both.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ended::Both);
        }
        if aborting.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ended::Aborted);
        }
        turned.as_mut().poll(context).map(|()| Ended::VerdictTurned)
    })
    .await
}

/// What ended a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Both directions have come to their end.
    Both,
    VerdictTurned,
    Aborted,
}

/// One direction: its end is passed on as an end, so that the other may still finish.
async fn copy(
    core: &Core,
    from: &Stream,
    to: &Stream,
    heard: &Cell<Instant>,
    read_timeout: Duration,
    write_timeout: Duration,
) {
    loop {
        let count = {
            let plain = from.plain();
            to.put(&plain);
            plain.len()
        };
        from.consume(count);
        if to
            .flush(Some(Instant::now() + write_timeout))
            .await
            .is_err()
        {
            break;
        }
        match next(core, from, heard, read_timeout).await {
            Fill::Data => heard.set(Instant::now()),
            Fill::TimedOut if heard.get() + read_timeout > Instant::now() => {}
            Fill::Eof { .. } | Fill::TimedOut | Fill::Interrupted | Fill::Failed(_) => break,
        }
    }
    to.put_close_notify();
    let _ = to.flush(Some(Instant::now() + write_timeout)).await;
    to.socket.shutdown_write().await;
}

/// Waits for bytes until the silence is too long. A tunnel that has been quiet for a moment holds no buffer.
async fn next(core: &Core, from: &Stream, heard: &Cell<Instant>, read_timeout: Duration) -> Fill {
    let end = heard.get() + read_timeout;
    let quiet = (Instant::now() + Duration::from_millis(limits::QUIET_MS)).min(end);
    match from
        .fill_or(core, Some(quiet), std::future::pending())
        .await
    {
        Fill::TimedOut if quiet < end => {}
        other => return other,
    }
    from.release(core);
    match ring::before(Some(end), from.socket.readable()).await {
        Ok(Ok(())) => from.fill_or(core, Some(end), std::future::pending()).await,
        Ok(Err(error)) => Fill::Failed(error.to_string().into()),
        Err(ring::Elapsed) => Fill::TimedOut,
    }
}
