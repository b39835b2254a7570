//! What a connection reads before there is an exchange: a PROXY header, the wait for a request's first byte, and the
//! request's head. Owns the deadlines of all three; no request is judged here beyond what parsing refuses.

use crate::http1::head::{self, HeadLimits, Parsed};
use crate::limits;
use crate::proxy::core::Core;
use crate::proxy::exchange::{Line, Refusal, Scratch};
use crate::proxy::proxy_protocol;
use crate::proxy::stream::{Fill, Stream};
use crate::ring::{self, Buffer, ReadEnd, Socket};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub(super) async fn read_proxy_header(
    core: &Rc<Core>,
    socket: &Socket,
) -> Result<(Buffer, Option<SocketAddr>, Option<SocketAddr>), String> {
    let deadline = ring::now() + core.options().head_timeout;
    let mut buffer = core.buffers.take();
    loop {
        let (end, back) = socket.read(buffer, Some(deadline)).await;
        buffer = back;
        match end {
            ReadEnd::Data(_) => {}
            ReadEnd::Eof => {
                return Err("the peer closed the connection before a PROXY header".to_owned());
            }
            ReadEnd::TimedOut | ReadEnd::Cancelled => {
                return Err("no PROXY header came in time".to_owned());
            }
            ReadEnd::Failed(error) => return Err(error.to_string()),
        }
        match proxy_protocol::parse(buffer.filled())? {
            proxy_protocol::Header::NeedMore => {}
            proxy_protocol::Header::Done {
                size,
                source,
                destination,
            } => {
                buffer.consume(size);
                return Ok((buffer, source, destination));
            }
        }
    }
}

/// Waits until the first byte of a request is there. False: the connection has served its time, or the client has left.
pub(super) async fn wait_for_request(core: &Rc<Core>, stream: &Stream, served: u64) -> bool {
    if !stream.plain().is_empty() {
        return true;
    }
    // nginx: the first request has client_header_timeout, the next ones keepalive_timeout.
    let timeout = if served == 0 {
        core.options().head_timeout
    } else {
        core.options().idle_timeout
    };
    let end = ring::now() + timeout;
    let held_back = stream.has_output();
    let quiet = Duration::from_millis(if held_back {
        limits::TICKETS_HELD_MS
    } else {
        limits::QUIET_MS
    });
    let quiet = (ring::now() + quiet).min(end);
    match stream
        .fill_or(core, Some(quiet), core.draining.wait())
        .await
    {
        Fill::Data => return true,
        Fill::TimedOut if quiet < end => {}
        Fill::Interrupted => return wait_in_drain(core, stream).await,
        Fill::TimedOut | Fill::Eof { .. } | Fill::Failed(_) => return false,
    }
    // Session tickets do not wait for ever for a response to travel with.
    if held_back
        && stream
            .flush(Some(ring::now() + core.options().send_timeout))
            .await
            .is_err()
    {
        return false;
    }
    // From here on the connection holds no buffer.
    stream.release(core);
    let readable = ring::before(
        Some(end),
        ring::unless(stream.socket.readable(), core.draining.wait()),
    )
    .await;
    match readable {
        Ok(Ok(Ok(()))) => {}
        Ok(Err(())) => return wait_in_drain(core, stream).await,
        Ok(Ok(Err(_))) | Err(ring::Elapsed) => return false,
    }
    match stream.fill_or(core, Some(end), core.draining.wait()).await {
        Fill::Data => true,
        Fill::Interrupted => wait_in_drain(core, stream).await,
        Fill::TimedOut | Fill::Eof { .. } | Fill::Failed(_) => false,
    }
}

/// A request may be on the way while the gateway begins to drain: it is waited for a little, and answered with
/// `Connection: close`, so that no client finds its connection cut under a request.
async fn wait_in_drain(core: &Rc<Core>, stream: &Stream) -> bool {
    let grace = core
        .drain_deadline
        .get()
        .map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(std::time::Instant::now()) / 4
        })
        .min(Duration::from_millis(limits::DRAIN_IDLE_MS));
    matches!(
        stream
            .fill_or(core, Some(ring::now() + grace), core.aborting.wait())
            .await,
        Fill::Data
    )
}

/// Reads until the head is whole, within one deadline for all of it, and copies it out of the stream's buffer.
pub(super) async fn read_head(
    core: &Rc<Core>,
    stream: &Stream,
    scratch: &mut Scratch,
) -> Result<(), HeadEnd> {
    let options = &core.options();
    let limits = HeadLimits {
        head_size_max: options.head_size_max,
        field_count_max: options.field_count_max,
        line_size_max: options.line_size_max,
    };
    let deadline = ring::now() + options.head_timeout;
    scratch.head.clear();
    let mut begun = Line::default();
    loop {
        let parsed = {
            let plain = stream.plain();
            match head::parse_request(&plain, &limits, &mut scratch.head) {
                Ok(Parsed::Complete) => {
                    scratch.raw.clear();
                    scratch.raw.extend_from_slice(&plain[..scratch.head.size]);
                    Parsed::Complete
                }
                Ok(Parsed::Partial) => {
                    // A read that times out takes the bytes with it.
                    begun.take(&plain);
                    Parsed::Partial
                }
                Err(error) => {
                    let mut refusal = Refusal::layer(error.status(), error.reason()).closing();
                    refusal.message = error.message().into();
                    begun.take(&plain);
                    refusal.to_head = begun.is_head();
                    return Err(HeadEnd::Refused(refusal, begun));
                }
            }
        };
        if parsed == Parsed::Complete {
            stream.consume(scratch.head.size);
            return Ok(());
        }
        match stream.fill(core, Some(deadline)).await {
            Fill::Data => {}
            Fill::TimedOut => {
                let mut refusal =
                    Refusal::layer(408, "the request's head came too slowly").closing();
                refusal.to_head = begun.is_head();
                return Err(HeadEnd::Refused(refusal, begun));
            }
            Fill::Eof { .. } | Fill::Interrupted | Fill::Failed(_) => return Err(HeadEnd::Gone),
        }
    }
}

pub(super) enum HeadEnd {
    /// Nothing of a request came, or the client left.
    Gone,
    Refused(Refusal, Line),
}
