//! After 101: bytes both ways until either side ends (RFC 9110 §7.8).

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
) {
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
        if both.as_mut().poll(context).is_ready()
            || turned.as_mut().poll(context).is_ready()
            || aborting.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
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
    from.bulk(true);
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
        match from
            .fill_or(
                core,
                Some(heard.get() + read_timeout),
                std::future::pending(),
            )
            .await
        {
            Fill::Data => heard.set(Instant::now()),
            Fill::TimedOut if heard.get() + read_timeout > Instant::now() => {}
            Fill::Eof { .. } | Fill::TimedOut | Fill::Interrupted | Fill::Failed(_) => break,
        }
    }
    to.put_close_notify();
    let _ = to.flush(Some(Instant::now() + write_timeout)).await;
    to.socket.shutdown_write().await;
}
