//! The response half of an exchange: the upstream's heads, interim ones first, are read and written anew, and the content
//! is passed on. Owns what may go wrong on the way (`Fault`) and how far it got (`Progress`); what follows from either is
//! for `forward` to say.

use crate::http1::fields::{ConnectionOptions, Name};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{self, HeadLimits, Method, Parsed, ResponseHead, Version};
use crate::proxy::exchange::{Exchange, TOO_MANY_OPTIONS};
use crate::proxy::forward::Forward;
use crate::proxy::pump::{self, Bounds, Broken, Emit, Mover, SourceFault};
use crate::proxy::rewrite::{self, ResponseParts};
use crate::proxy::stream::{Fill, Stream, WriteError};
use crate::ring;
use monoio::time::Instant;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

impl Forward<'_> {
    /// Reads the response and passes it on, interim ones first.
    pub(super) async fn receive(
        &self,
        exchange: &RefCell<Exchange>,
        upstream: &Stream,
        raw: &mut Vec<u8>,
        response: &mut ResponseHead,
        out: &mut Vec<u8>,
        progress: &Progress,
    ) -> Result<Received, Fault> {
        let read_timeout = Duration::from_millis(self.service.read_timeout_ms);
        let send_timeout = self.core.options().send_timeout;
        let client_10 = self.head.version == Version::Http10;
        let mut interim_count = 0;
        let (framing, options) = loop {
            self.read_head(upstream, raw, response, read_timeout, progress)
                .await?;
            // Interim responses too: one that claims content is read in two ways (RFC 9110 §8.6).
            let framing = framing::response_framing(response, raw, self.head.method)
                .map_err(|error| Fault::refused(error.reason()))?;
            let options = ConnectionOptions::of(&response.fields, raw);
            if options.too_many() {
                return Err(Fault::refused(TOO_MANY_OPTIONS));
            }
            if !(100..200).contains(&response.status) || response.status == 101 {
                break (framing, options);
            }
            interim_count += 1;
            if interim_count > crate::limits::INTERIM_RESPONSES_MAX {
                return Err(Fault::upstream(
                    502,
                    "the upstream sends interim responses without end",
                ));
            }
            // 100 was ours to say (or nobody asked); an HTTP/1.0 client knows no interim responses (RFC 9110 §15.2).
            if response.status != 100 && !client_10 {
                out.clear();
                let parts = ResponseParts {
                    head: response,
                    raw,
                    framing: Framing::None,
                    emit: Emit::Bytes,
                    bodiless: true,
                    close: false,
                    upgraded: false,
                    debug: None,
                };
                rewrite::response(self.core, &exchange.borrow(), &parts, out);
                self.stream.put(out);
                progress.interim.set(true);
                self.stream
                    .flush(Some(ring::now() + send_timeout))
                    .await
                    .map_err(Fault::client)?;
                progress.interim.set(false);
            }
        };
        {
            let mut exchange = exchange.borrow_mut();
            exchange.answered = Some(std::time::Instant::now());
            exchange.upstream_status = response.status;
        }
        let tunnel = response.status == 101;
        if tunnel && !(self.websocket && is_websocket(response, raw)) {
            return Err(Fault::upstream(
                502,
                "the upstream switched to a protocol nobody asked for",
            ));
        }
        let bodiless = self.head.method == Method::Head || response.status == 304;
        let emit = match framing {
            Framing::Chunked | Framing::UntilClose if !client_10 => Emit::Chunked,
            _ => Emit::Bytes,
        };
        let ends_with_close =
            client_10 && matches!(framing, Framing::Chunked | Framing::UntilClose);
        // RFC 9112 §9.6: content that nobody waits for, now that the whole answer is here.
        let at_hand = match framing {
            Framing::None => true,
            Framing::Length { remaining } => remaining <= upstream.plain().len() as u64,
            Framing::Chunked | Framing::UntilClose => false,
        };
        let leaves_content = at_hand && !tunnel && !progress.request_written.get();
        let close =
            self.closing || ends_with_close || leaves_content || self.core.draining.raised();
        progress.persist.set(!close);

        out.clear();
        let parts = ResponseParts {
            head: response,
            raw,
            framing,
            emit,
            bodiless,
            close,
            upgraded: tunnel,
            debug: self.debug().then_some(self.route),
        };
        rewrite::response(self.core, &exchange.borrow(), &parts, out);
        let mut mover = Mover::new(framing, emit);
        // Head and first content in one record and one send.
        while !mover.done() && out.len() < crate::limits::BUFFER_SIZE {
            let taken = {
                let plain = upstream.plain();
                if plain.is_empty() {
                    break;
                }
                let window = plain.len().min(crate::limits::BUFFER_SIZE);
                mover
                    .step(&plain[..window], out)
                    .map_err(|error| Fault::refused(error.reason()))?
            };
            upstream.consume(taken);
            if taken == 0 {
                break;
            }
        }
        {
            let mut exchange = exchange.borrow_mut();
            exchange.status = response.status;
            exchange.proxied = true;
        }
        progress.head_sent.set(true);
        self.stream.put(out);
        if mover.done() {
            // All of it is here: one send, with close_notify behind it.
            if close && !tunnel {
                self.stream.put_close_notify();
            }
            self.stream
                .flush(Some(ring::now() + send_timeout))
                .await
                .map_err(Fault::client)?;
        } else {
            let bounds = Bounds {
                read_timeout,
                rate_min: 0,
                write_timeout: send_timeout,
                size_max: 0,
            };
            pump::relay(self.core, upstream, self.stream, &mut mover, &bounds, close)
                .await
                .map_err(|broken| match broken {
                    Broken::Sink(error) => Fault::client(error),
                    Broken::Source(fault) => Fault::source(&fault),
                })?;
        }
        Ok(Received {
            version: response.version,
            options,
            status: response.status,
            framing,
            tunnel,
        })
    }

    async fn read_head(
        &self,
        upstream: &Stream,
        raw: &mut Vec<u8>,
        response: &mut ResponseHead,
        read_timeout: Duration,
        progress: &Progress,
    ) -> Result<(), Fault> {
        let limits = HeadLimits {
            head_size_max: crate::limits::RESPONSE_HEAD_SIZE_MAX,
            field_count_max: crate::limits::RESPONSE_FIELD_COUNT_MAX,
            line_size_max: crate::limits::RESPONSE_HEAD_SIZE_MAX,
        };
        let mut heard = false;
        response.clear();
        loop {
            let parsed = {
                let plain = upstream.plain();
                heard |= !plain.is_empty();
                let parsed = if plain.is_empty() {
                    Parsed::Partial
                } else {
                    head::parse_response(&plain, &limits, response)
                        .map_err(|error| Fault::refused(error.reason()))?
                };
                if parsed == Parsed::Complete {
                    raw.clear();
                    raw.extend_from_slice(&plain[..response.size]);
                }
                parsed
            };
            if parsed == Parsed::Complete {
                upstream.consume(response.size);
                return Ok(());
            }
            match self.fill_head(upstream, read_timeout, progress).await {
                Fill::Data => {}
                Fill::Eof { .. } if heard => {
                    return Err(Fault::upstream(
                        502,
                        "upstream closed the connection inside a response head",
                    ));
                }
                Fill::Eof { .. } => {
                    return Err(Fault::silent(
                        502,
                        "upstream prematurely closed connection while reading response header",
                    ));
                }
                Fill::TimedOut | Fill::Interrupted => {
                    return Err(Fault::silent(
                        504,
                        "upstream timed out while reading response header",
                    ));
                }
                Fill::Failed(reason) => {
                    return Err(Fault::silent(502, &unread(&reason)));
                }
            }
        }
    }

    /// Waits for more of a head. An upstream that takes content is not silent: its time begins when there is nothing more to
    /// send (nginx: proxy_read_timeout), and who gives or takes content too slowly is found by the timeouts of that.
    async fn fill_head(
        &self,
        upstream: &Stream,
        read_timeout: Duration,
        progress: &Progress,
    ) -> Fill {
        let mut since = ring::now();
        while progress.sending_ended.get().is_none() {
            let deadline = Some(ring::now() + read_timeout);
            // Boxed: it is rare, and its state would make every exchange larger.
            match Box::pin(upstream.fill_or(self.core, deadline, std::future::pending())).await {
                Fill::TimedOut => {}
                other => return other,
            }
        }
        if let Some(ended) = progress.sending_ended.get() {
            since = since.max(ended);
        }
        upstream.fill(self.core, Some(since + read_timeout)).await
    }

    fn debug(&self) -> bool {
        self.core.options().allow_debug_header
            && self
                .head
                .fields
                .iter()
                .any(|line| line.known == Name::KongDebug && line.value.of(self.raw) == b"1")
    }
}

/// A response that was passed on whole.
pub(super) struct Received {
    pub(super) version: Version,
    pub(super) options: ConnectionOptions,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) tunnel: bool,
}

#[derive(Default)]
pub(super) struct Progress {
    /// The last byte of the request has been handed to the kernel. That it was taken from the client says less.
    pub(super) request_written: Cell<bool>,
    /// Since when there is nothing more of the request to send, or nobody who takes it.
    pub(super) sending_ended: Cell<Option<Instant>>,
    pub(super) head_sent: Cell<bool>,
    /// An interim response is being written: where it would be cut is unknown.
    pub(super) interim: Cell<bool>,
    pub(super) persist: Cell<bool>,
}

pub(super) enum Fault {
    Client(Arc<str>),
    Upstream {
        status: u16,
        reason: Arc<str>,
        answered: bool,
    },
}

impl Fault {
    fn client(error: WriteError) -> Self {
        Fault::Client(match error {
            WriteError::TimedOut => "the client timed out while it was sent the response".into(),
            WriteError::Failed(reason) => format!("sending to the client failed: {reason}").into(),
        })
    }

    fn source(fault: &SourceFault) -> Self {
        match fault {
            SourceFault::Malformed(error) => Fault::refused(error.reason()),
            SourceFault::Truncated => {
                Fault::upstream(502, "upstream closed the connection inside a response")
            }
            SourceFault::TimedOut => {
                Fault::upstream(502, "upstream timed out while sending a response")
            }
            SourceFault::TooLarge => Fault::refused("response is too large"),
            SourceFault::Failed(reason) => Fault::upstream(502, &unread(reason)),
        }
    }

    /// What the upstream has sent is not passed on.
    fn refused(why: &str) -> Self {
        Fault::upstream(502, &format!("the upstream's response is refused: {why}"))
    }

    fn upstream(status: u16, reason: &str) -> Self {
        Fault::Upstream {
            status,
            reason: reason.into(),
            answered: true,
        }
    }

    /// Before any byte of a response.
    fn silent(status: u16, reason: &str) -> Self {
        Fault::Upstream {
            status,
            reason: reason.into(),
            answered: false,
        }
    }
}

fn unread(reason: &str) -> String {
    format!("reading from the upstream failed: {reason}")
}

fn is_websocket(response: &ResponseHead, raw: &[u8]) -> bool {
    response.fields.iter().any(|line| {
        line.known == Name::Upgrade && line.value.of(raw).eq_ignore_ascii_case(b"websocket")
    })
}
