//! The request half of an exchange: the head is written once, what has come of the content goes with it, and the rest is
//! moved as it comes. Owns the bound on the content's size.

use crate::proxy::exchange::{Exchange, Refusal};
use crate::proxy::forward::{Buffers, Forward};
use crate::proxy::pump::{self, Bounds, Broken, Mover, SourceFault};
use crate::proxy::response::Progress;
use crate::proxy::rewrite::{self, RequestParts};
use crate::proxy::stream::{Stream, WriteError};
use crate::ring;
use std::cell::RefCell;
use std::time::Duration;

impl Forward<'_> {
    pub(super) fn write_head(&self, exchange: &RefCell<Exchange>, buffers: &mut Buffers<'_>) {
        crate::router::path::upstream_path(
            self.service.path.as_deref().map(str::as_bytes),
            self.path,
            self.path_matched,
            self.route.strip_path,
            self.route.path_handling,
            buffers.upstream_path,
        );
        let host = match self.head.authority {
            Some(authority) if self.route.preserve_host => authority.of(self.raw),
            _ => self.service.authority.as_bytes(),
        };
        let parts = RequestParts {
            head: self.head,
            raw: self.raw,
            path: buffers.upstream_path,
            host,
            framing: self.framing,
            websocket: self.websocket,
            admitted: self.permit.admitted(),
            request_path: self.path,
            stripped: self
                .path_matched
                .filter(|_| self.route.strip_path)
                .unwrap_or(0),
        };
        buffers.out.clear();
        rewrite::request(
            self.core,
            self.client,
            &exchange.borrow(),
            &parts,
            buffers.out,
        );
    }

    /// Appends what has already been received of the content to the message.
    pub(super) fn take_early_content(
        &self,
        mover: &mut Mover,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        while !mover.done() {
            let taken = {
                let plain = self.stream.plain();
                if plain.is_empty() {
                    break;
                }
                mover
                    .step(&plain, out)
                    .map_err(|error| Refusal::layer(error.status(), error.reason()).closing())?
            };
            self.stream.consume(taken);
            if taken == 0 {
                break;
            }
        }
        self.check_size(mover.count)
    }

    fn check_size(&self, count: u64) -> Result<(), Refusal> {
        let size_max = self.core.options().body_size_max;
        if size_max > 0 && count > size_max {
            return Err(
                Refusal::layer(413, "content is larger than client_max_body_size").closing(),
            );
        }
        Ok(())
    }

    /// Moves the rest of the request's content. An upstream that has closed its side is no end yet: its answer may already
    /// be on the way. One that takes nothing for its write timeout is, unless it is answering (nginx: proxy_send_timeout).
    pub(super) async fn send_content(
        &self,
        upstream: &Stream,
        mover: &mut Mover,
        write_timeout: Duration,
        progress: &Progress,
    ) -> Result<(), Unsent> {
        let sent = if mover.done() {
            Ok(())
        } else {
            let options = &self.core.options();
            let bounds = Bounds {
                read_timeout: options.body_timeout,
                rate_min: options.body_min_rate,
                write_timeout,
                size_max: options.body_size_max,
            };
            pump::relay(self.core, self.stream, upstream, mover, &bounds, false).await
        };
        progress.sending_ended.set(Some(ring::now()));
        match sent {
            Ok(()) => {
                progress.request_written.set(true);
                Ok(())
            }
            Err(Broken::Source(fault)) => Err(Unsent::Source(fault)),
            Err(Broken::Sink(WriteError::TimedOut)) if !progress.head_sent.get() => {
                Err(Unsent::UpstreamStalls)
            }
            Err(Broken::Sink(_)) => Ok(()),
        }
    }
}

/// Why content that has to be sent was not.
pub(super) enum Unsent {
    Source(SourceFault),
    UpstreamStalls,
}
