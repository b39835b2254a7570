//! From an admitted request to its response's last byte: choose a connection, try it and perhaps the next, and say whether
//! either connection may be used again. `destination` says where to, `sending` has the request half, `response` the other,
//! `race` runs both at once.

use crate::http1::framing::{self, Framing, Persistence, UpstreamExchange};
use crate::http1::head::{self, Method, ResponseHead};
use crate::proxy::admit::Permit;
use crate::proxy::core::Core;
use crate::proxy::destination::Identity;
use crate::proxy::exchange::{Client, Exchange, Refusal};
use crate::proxy::pool::{Key, Upstream};
use crate::proxy::pump::{self, Emit, Mover, SourceFault};
use crate::proxy::race::{Interrupt, Raced, race};
use crate::proxy::response::{Fault, Progress};
use crate::proxy::sending::Unsent;
use crate::proxy::stream::{Stream, WriteError};
use crate::proxy::target::{self, TargetError};
use crate::proxy::tunnel;
use crate::ring;
use crate::snapshot::{Route, Service};
use crate::telemetry::metrics::Pool;
use crate::tls::Digest;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One request on its way.
pub struct Forward<'a> {
    pub core: &'a Rc<Core>,
    pub client: &'a Client,
    pub stream: &'a Stream,
    pub route: &'a Route,
    pub service: &'a Service,
    pub permit: Permit,
    pub head: &'a head::RequestHead,
    pub raw: &'a [u8],
    /// The normalised path, and how much of it the route matched.
    pub path: &'a [u8],
    pub path_matched: Option<usize>,
    pub framing: Framing,
    pub websocket: bool,
    pub expects_continue: bool,
    /// The client connection will close after this exchange whatever the upstream says.
    pub closing: bool,
}

/// How an exchange ended.
pub enum End {
    /// Nothing was sent to the client yet: the gateway answers.
    Refused(Refusal),
    /// The response went out whole; whether the connection may carry another request.
    Done {
        persist: bool,
        /// The client has not sent all of its content, or not all of it was read.
        unread: bool,
    },
    /// The response was cut: the connection must be closed without a clean end.
    Broken,
}

impl Forward<'_> {
    pub async fn run(self, exchange: &RefCell<Exchange>, buffers: &mut Buffers<'_>) -> End {
        let identity = match self.identity() {
            Ok(identity) => identity,
            Err(refusal) => return self.refused(refusal),
        };
        let addresses = match self.addresses().await {
            Ok(addresses) => addresses,
            Err(refusal) => return self.refused(refusal),
        };
        self.write_head(exchange, buffers);

        // What has come of the content goes with the head. When that is all of it, the whole message can be sent again.
        let emit = if matches!(self.framing, Framing::Chunked) {
            Emit::Chunked
        } else {
            Emit::Bytes
        };
        let mut mover = Mover::new(self.framing, emit);
        let head_size = buffers.out.len();
        if let Err(refusal) = self.take_early_content(&mut mover, buffers.out) {
            return End::Refused(refusal);
        }
        let replayable = mover.done() && is_idempotent(self.head.method);
        let mut content = Content {
            mover,
            begun: buffers.out.len() > head_size,
        };

        let tries_max = self.service.retries as usize + 1;
        let mut last = None;
        let (mut tried, mut pooled_failed) = (0, false);
        while tried < tries_max {
            let Some(address) = addresses.get(tried % addresses.len().max(1)).copied() else {
                break;
            };
            {
                let mut exchange = exchange.borrow_mut();
                exchange.tries += 1;
                exchange.upstream_address = Some(address);
            }
            let key = Key {
                address,
                name: &identity.name,
                tls: identity.fingerprint(),
            };
            let acquiring = self.acquire(&key, &identity, pooled_failed);
            let upstream = match ring::unless(acquiring, self.interrupted()).await {
                Ok(Ok(upstream)) => upstream,
                Err(Interrupt::ClientLeft) => return self.left(exchange, CLIENT_LEFT),
                Err(Interrupt::DeadlinePassed) => {
                    last = Some((503, DEADLINE_PASSED.into()));
                    break;
                }
                Ok(Err(error)) => {
                    self.log_attempt(exchange, address, &error.reason());
                    last = Some((error.status(), error.reason()));
                    tried += 1;
                    continue;
                }
            };
            if !self.may_send() {
                let refusal = verdict_turned();
                return End::Refused(if content.mover.done() {
                    refusal
                } else {
                    refusal.closing()
                });
            }
            let reused = upstream.reused;
            match self
                .attempt(exchange, buffers, upstream, &key, &mut content)
                .await
            {
                Attempt::Ended(end) => return end,
                Attempt::NoResponse { status, reason } => {
                    self.log_attempt(exchange, address, &reason);
                    last = Some((status, reason));
                    // Bytes of a request that may not be repeated have left, or its content is no longer at hand.
                    if !replayable {
                        break;
                    }
                    // A pooled connection that its upstream had closed says nothing of the upstream: this try is free
                    // (nginx does the same), and no other pooled one is risked.
                    if reused && !pooled_failed && status != 504 {
                        pooled_failed = true;
                    } else {
                        tried += 1;
                    }
                }
            }
        }
        let (status, reason) = last.unwrap_or((502, "no upstream was tried".into()));
        let refusal = Refusal::layer(status, reason);
        End::Refused(if content.mover.done() {
            refusal
        } else {
            refusal.closing()
        })
    }

    /// A refusal before any content was taken from the client's stream.
    fn refused(&self, refusal: Refusal) -> End {
        End::Refused(if pump::pass_over(self.stream, self.framing) {
            refusal
        } else {
            refusal.closing()
        })
    }

    async fn acquire(
        &self,
        key: &Key<'_>,
        identity: &Identity<'_>,
        fresh: bool,
    ) -> Result<Upstream, TargetError> {
        let mut stale = 0;
        let pooled = if fresh {
            None
        } else {
            self.core.pool.take(key, || stale += 1)
        };
        {
            let mut metrics = self.core.metrics.borrow_mut();
            for _ in 0..stale {
                metrics.pool(Pool::Stale);
            }
            if pooled.is_some() {
                metrics.pool(Pool::Hit);
            } else {
                metrics.pool(Pool::Miss);
            }
        }
        match pooled {
            Some(upstream) => Ok(upstream),
            None => {
                let deadline = ring::now() + Duration::from_millis(self.service.connect_timeout_ms);
                // Boxed, as all that is rare here is: its states would make every exchange larger.
                Box::pin(target::connect(
                    self.core,
                    key.address,
                    key.name,
                    identity.tls,
                    deadline,
                ))
                .await
            }
        }
    }

    /// Sends the request over one connection and passes its response on.
    async fn attempt(
        &self,
        exchange: &RefCell<Exchange>,
        buffers: &mut Buffers<'_>,
        mut upstream: Upstream,
        key: &Key<'_>,
        content: &mut Content,
    ) -> Attempt {
        upstream.requests += 1;
        {
            let mut exchange = exchange.borrow_mut();
            exchange.upstream_reused = upstream.reused;
            exchange
                .forwarded
                .get_or_insert_with(std::time::Instant::now);
        }
        upstream.stream.put(buffers.out);
        let write_timeout = Duration::from_millis(self.service.write_timeout_ms);
        if let Err(error) = upstream
            .stream
            .flush(Some(ring::now() + write_timeout))
            .await
        {
            let (status, reason) = unsent(error);
            return Attempt::NoResponse { status, reason };
        }
        if self.expects_continue && !content.mover.done() && !content.begun {
            content.begun = true;
            self.stream.put(b"HTTP/1.1 100 Continue\r\n\r\n");
            if self
                .stream
                .flush(Some(ring::now() + self.core.options().send_timeout))
                .await
                .is_err()
            {
                return Attempt::Ended(self.cut(exchange, CLIENT_LEFT));
            }
        }
        if !content.mover.done() {
            content.begun = true;
        }

        let progress = Progress::default();
        let raced = {
            let Buffers {
                response_raw,
                response,
                answer,
                ..
            } = &mut *buffers;
            // Pinned where they are made: a future that is passed on by value is copied whole.
            let sending = pin!(self.send_content(
                &upstream.stream,
                &mut content.mover,
                write_timeout,
                &progress
            ));
            let receiving = pin!(self.receive(
                exchange,
                &upstream.stream,
                response_raw,
                response,
                answer,
                &progress,
            ));
            let turned = pin!(self.verdict_turned());
            let interrupted = pin!(self.interrupted());
            race(sending, receiving, turned, interrupted).await
        };
        // Taken from the client; whether the upstream has got it is `progress.request_written`.
        let content_done = content.mover.done();
        match raced {
            Raced::Received(Ok(received)) => {
                if received.tunnel {
                    let watch = self.verdict_turned();
                    let ended = Box::pin(tunnel::run(
                        self.core,
                        self.stream,
                        &upstream.stream,
                        self.service,
                        watch,
                    ))
                    .await;
                    return Attempt::Ended(match ended {
                        tunnel::Ended::Both => End::Done {
                            persist: false,
                            unread: false,
                        },
                        // A write may have been cut half-way.
                        tunnel::Ended::VerdictTurned => self.cut(exchange, VERDICT_TURNED),
                        tunnel::Ended::Aborted => self.cut(exchange, DEADLINE_PASSED),
                    });
                }
                let upstream_exchange = UpstreamExchange {
                    version: received.version,
                    options: received.options,
                    status: received.status,
                    request_written: progress.request_written.get(),
                    response_framing: received.framing,
                    response_read: true,
                    stray_bytes: !upstream.stream.is_quiet(),
                    request_count: upstream.requests,
                    request_count_max: self.core.options().pool_requests_max,
                };
                // Idle ones of an identity that lost its last service were closed when it did (`Core::switch`).
                let wanted = |tls: &Digest| {
                    let view = self.core.view();
                    view.snapshot.upstream_identities.contains(tls)
                };
                if framing::upstream_persistence(&upstream_exchange) == Persistence::Persist
                    && key.tls.as_ref().is_none_or(wanted)
                {
                    upstream.stream.release(self.core);
                    self.core.pool.put(key, upstream);
                }
                Attempt::Ended(End::Done {
                    persist: content_done && !self.closing && progress.persist.get(),
                    unread: !content_done,
                })
            }
            Raced::Received(Err(fault)) => {
                if progress.head_sent.get() {
                    return Attempt::Ended(match fault {
                        Fault::Client(reason) => self.left(exchange, &reason),
                        Fault::Upstream { reason, .. } => self.cut(exchange, &reason),
                    });
                }
                match fault {
                    Fault::Client(reason) => Attempt::Ended(self.cut(exchange, &reason)),
                    Fault::Upstream {
                        status,
                        reason,
                        answered,
                    } => {
                        if answered {
                            let refusal = Refusal::layer(status, reason);
                            return Attempt::Ended(End::Refused(if content_done {
                                refusal
                            } else {
                                refusal.closing()
                            }));
                        }
                        Attempt::NoResponse { status, reason }
                    }
                }
            }
            Raced::Unsent(Unsent::UpstreamStalls) => {
                let refusal = Refusal::layer(504, "upstream timed out while taking the request");
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
            Raced::Unsent(Unsent::Source(fault)) => {
                let refusal = match fault {
                    SourceFault::Malformed(error) => Refusal::layer(error.status(), error.reason()),
                    SourceFault::TooLarge => {
                        Refusal::layer(413, "content is larger than client_max_body_size")
                    }
                    SourceFault::TimedOut => {
                        Refusal::layer(408, "the client's content came too slowly")
                    }
                    SourceFault::Truncated | SourceFault::Failed(_) => {
                        return Attempt::Ended(self.left(
                            exchange,
                            "the client closed the connection before its content ended",
                        ));
                    }
                };
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
            Raced::VerdictTurned => {
                Attempt::Ended(self.stop(exchange, &progress, verdict_turned()))
            }
            Raced::Interrupted(Interrupt::ClientLeft) => {
                Attempt::Ended(self.left(exchange, CLIENT_LEFT))
            }
            Raced::Interrupted(Interrupt::DeadlinePassed) => {
                let refusal = Refusal::layer(503, DEADLINE_PASSED);
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
        }
    }

    fn log_attempt(&self, exchange: &RefCell<Exchange>, address: SocketAddr, reason: &str) {
        crate::proxy::log::upstream_failure(
            self.core,
            &exchange.borrow(),
            self.client,
            self.service,
            address,
            reason,
        );
    }
}

/// Buffers of the exchange's scratch that forwarding writes to.
pub struct Buffers<'a> {
    pub upstream_path: &'a mut Vec<u8>,
    pub out: &'a mut Vec<u8>,
    pub response_raw: &'a mut Vec<u8>,
    pub response: &'a mut ResponseHead,
    /// The client's head, with the first of the content.
    pub answer: &'a mut Vec<u8>,
}

struct Content {
    mover: Mover,
    /// Content has been taken from the client, so the head alone no longer is the request.
    begun: bool,
}

enum Attempt {
    Ended(End),
    /// The request has left, at least in part, and no byte of a response came.
    NoResponse {
        status: u16,
        reason: Arc<str>,
    },
}

const VERDICT_TURNED: &str = "the client's certificate is no longer admitted";
const CLIENT_LEFT: &str = "the client closed the connection while its request was served";
const DEADLINE_PASSED: &str = "the gateway stops: the drain's deadline has passed";

fn verdict_turned() -> Refusal {
    let mut refusal = Refusal::kong(401, "TLS certificate failed verification");
    refusal.reason = VERDICT_TURNED.into();
    refusal
}

/// The request's head did not leave.
fn unsent(error: WriteError) -> (u16, Arc<str>) {
    match error {
        WriteError::TimedOut => (504, "upstream timed out while taking the request".into()),
        WriteError::Failed(reason) => {
            let reason = format!("sending to the upstream failed: {reason}");
            (502, reason.into())
        }
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace
    )
}
