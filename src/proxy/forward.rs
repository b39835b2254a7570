//! From an admitted request to its response's last byte: choose a connection, write the head once, move the content both
//! ways, and say whether either connection may be used again.

use crate::http1::fields::ConnectionOptions;
use crate::http1::fields::Name;
use crate::http1::framing::{self, Framing, Persistence, UpstreamExchange};
use crate::http1::head::{self, HeadLimits, Method, Parsed, ResponseHead, Version};
use crate::proxy::admit::{self, Asked, Permit};
use crate::proxy::core::Core;
use crate::proxy::exchange::{Client, Exchange, Refusal};
use crate::proxy::names;
use crate::proxy::pool::{Key, Upstream};
use crate::proxy::pump::{self, Bounds, Broken, Emit, Mover, SourceFault};
use crate::proxy::rewrite::{self, RequestParts, ResponseParts};
use crate::proxy::stream::{Fill, Stream, WriteError};
use crate::proxy::target::{self, TargetError};
use crate::proxy::tunnel;
use crate::ring;
use crate::snapshot::{Host, Route, Scheme, Service, server_name};
use crate::telemetry::metrics::Pool;
use monoio::time::Instant;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
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
            let acquired = ring::unless(acquiring, self.core.aborting.wait()).await;
            let Some(acquired) = acquired else {
                last = Some((503, DEADLINE_PASSED.into()));
                break;
            };
            let upstream = match acquired {
                Ok(upstream) => upstream,
                Err(error) => {
                    self.log_attempt(exchange, address, &error.reason());
                    last = Some((error.status(), error.reason()));
                    tried += 1;
                    continue;
                }
            };
            let reused = upstream.reused;
            match self
                .attempt(exchange, buffers, upstream, &key, &mut content)
                .await
            {
                Attempt::Ended(end) => return end,
                Attempt::NoResponse {
                    status,
                    reason,
                    sent,
                } => {
                    self.log_attempt(exchange, address, &reason);
                    last = Some((status, reason));
                    // Bytes of a request that may not be repeated have left, or its content is no longer at hand.
                    if sent && !replayable {
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

    /// The identity this request needs of its upstream connection.
    fn identity(&self) -> Result<Identity<'_>, Refusal> {
        let tls = match (&self.service.scheme, &self.service.tls) {
            (Scheme::Http, _) => None,
            (Scheme::Https, Some(Ok(tls))) => Some(tls),
            // Fail closed: a certificate or trust store that cannot be used is never left out.
            (Scheme::Https, Some(Err(reason))) => return Err(Refusal::layer(502, reason.clone())),
            (Scheme::Https, None) => {
                return Err(Refusal::layer(502, "the service has no TLS configuration"));
            }
            (Scheme::NotServed, _) => {
                let mut refusal =
                    Refusal::layer(503, "the service's protocol is not served by this version");
                refusal.message = "The upstream server is currently unavailable".into();
                return Err(refusal);
            }
        };
        let name = match tls {
            None => "".into(),
            Some(_) if self.route.preserve_host => {
                let host = self
                    .head
                    .authority
                    .map(|authority| rewrite::host_of(authority.of(self.raw)))
                    .unwrap_or_default();
                let host = std::str::from_utf8(host)
                    .map_err(|_| Refusal::layer(400, "Host is not ASCII"))?;
                server_name(host).into()
            }
            Some(_) => Cow::Borrowed(&*self.service.server_name),
        };
        Ok(Identity { name, tls })
    }

    async fn addresses(&self) -> Result<SmallVec<[SocketAddr; 4]>, Refusal> {
        let port = self.service.port;
        match &self.service.host {
            Host::Ip(ip) => Ok(smallvec![SocketAddr::new(*ip, port)]),
            Host::Name(name) => match names::resolve(self.core, name).await {
                Ok(addresses) => Ok(addresses
                    .iter()
                    .map(|(ip, own)| SocketAddr::new(ip, own.unwrap_or(port)))
                    .collect()),
                Err(names::Unresolved(reason)) => {
                    let mut refusal = Refusal::kong(503, "name resolution failed");
                    refusal.reason = format!("{name}: {reason}").into();
                    Err(refusal)
                }
            },
            Host::Upstream(name) => {
                let mut refusal =
                    Refusal::kong(503, "failure to get a peer from the ring-balancer");
                refusal.reason =
                    format!("load balancing over upstream {name} is not served by this version")
                        .into();
                Err(refusal)
            }
        }
    }

    fn write_head(&self, exchange: &RefCell<Exchange>, buffers: &mut Buffers<'_>) {
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
    fn take_early_content(&self, mover: &mut Mover, out: &mut Vec<u8>) -> Result<(), Refusal> {
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
                let deadline =
                    Instant::now() + Duration::from_millis(self.service.connect_timeout_ms);
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
            .flush(Some(Instant::now() + write_timeout))
            .await
        {
            let (status, reason) = describe(error);
            return Attempt::NoResponse {
                status,
                reason,
                sent: true,
            };
        }
        if self.expects_continue && !content.mover.done() && !content.begun {
            content.begun = true;
            self.stream.put(b"HTTP/1.1 100 Continue\r\n\r\n");
            if self
                .stream
                .flush(Some(Instant::now() + self.core.options().send_timeout))
                .await
                .is_err()
            {
                return Attempt::Ended(End::Broken);
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
            let sending =
                pin!(self.send_content(&upstream.stream, &mut content.mover, write_timeout));
            let receiving = pin!(self.receive(
                exchange,
                &upstream.stream,
                response_raw,
                response,
                answer,
                &progress,
            ));
            let turned = pin!(self.verdict_turned(exchange));
            let aborting = pin!(self.core.aborting.wait());
            race(sending, receiving, turned, aborting).await
        };
        let content_done = content.mover.done();
        match raced {
            Raced::Received(Ok(received)) => {
                if received.tunnel {
                    let watch = self.verdict_turned(exchange);
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
                    request_written: content_done,
                    response_framing: received.framing,
                    response_read: true,
                    stray_bytes: !upstream.stream.is_quiet(),
                    request_count: upstream.requests,
                    request_count_max: self.core.options().pool_requests_max,
                };
                if framing::upstream_persistence(&upstream_exchange) == Persistence::Persist {
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
                    return Attempt::Ended(self.cut(exchange, &fault.reason()));
                }
                match fault {
                    Fault::Client(reason) => {
                        exchange.borrow_mut().reason = Some(reason);
                        exchange.borrow_mut().status = 499;
                        Attempt::Ended(End::Broken)
                    }
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
                        Attempt::NoResponse {
                            status,
                            reason,
                            sent: true,
                        }
                    }
                }
            }
            Raced::SourceFault(fault) => {
                let refusal = match fault {
                    SourceFault::Malformed(error) => Refusal::layer(error.status(), error.reason()),
                    SourceFault::TooLarge => {
                        Refusal::layer(413, "content is larger than client_max_body_size")
                    }
                    SourceFault::TimedOut => {
                        Refusal::layer(408, "the client's content came too slowly")
                    }
                    SourceFault::Truncated | SourceFault::Failed(_) => {
                        return Attempt::Ended(self.cut(
                            exchange,
                            "the client closed the connection before its content ended",
                        ));
                    }
                };
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
            Raced::VerdictTurned => {
                let mut refusal = Refusal::kong(401, "TLS certificate failed verification");
                refusal.reason = VERDICT_TURNED.into();
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
            Raced::Aborted => {
                let refusal = Refusal::layer(503, DEADLINE_PASSED);
                Attempt::Ended(self.stop(exchange, &progress, refusal))
            }
        }
    }

    /// Ends an exchange that is under way: with an answer while nothing of a response has been written, else by a cut.
    fn stop(&self, exchange: &RefCell<Exchange>, progress: &Progress, refusal: Refusal) -> End {
        if progress.head_sent.get() || progress.interim.get() {
            self.cut(exchange, &refusal.reason)
        } else {
            End::Refused(refusal.closing())
        }
    }

    fn cut(&self, exchange: &RefCell<Exchange>, reason: &str) -> End {
        let mut exchange = exchange.borrow_mut();
        if exchange.status == 0 {
            // nginx's number for a client that got no answer.
            exchange.status = 499;
        }
        exchange.reason = Some(reason.into());
        End::Broken
    }

    /// Moves the rest of the request's content. A failed upstream is no end yet: its answer may already be on the way.
    async fn send_content(
        &self,
        upstream: &Stream,
        mover: &mut Mover,
        write_timeout: Duration,
    ) -> Result<(), SourceFault> {
        if mover.done() {
            return Ok(());
        }
        let options = &self.core.options();
        let bounds = Bounds {
            read_timeout: options.body_timeout,
            rate_min: options.body_min_rate,
            write_timeout,
            size_max: options.body_size_max,
        };
        match pump::relay(self.core, self.stream, upstream, mover, &bounds, false).await {
            Ok(()) | Err(Broken::Sink(_)) => Ok(()),
            Err(Broken::Source(fault)) => Err(fault),
        }
    }

    /// Reads the response and passes it on, interim ones first.
    async fn receive(
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
        let framing = loop {
            self.read_head(upstream, raw, response, read_timeout)
                .await?;
            // Interim responses too: one that claims content is read in two ways (RFC 9110 §8.6).
            let framing = framing::response_framing(response, raw, self.head.method)
                .map_err(|error| Fault::upstream(502, error.reason()))?;
            if !(100..200).contains(&response.status) || response.status == 101 {
                break framing;
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
                    client_version: self.head.version,
                    upgraded: false,
                    debug: None,
                };
                rewrite::response(self.core, &exchange.borrow(), &parts, out);
                self.stream.put(out);
                progress.interim.set(true);
                self.stream
                    .flush(Some(Instant::now() + send_timeout))
                    .await
                    .map_err(|error| Fault::Client(describe(error).1))?;
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
        let close = self.closing || ends_with_close || self.core.draining.raised();
        progress.persist.set(!close);
        let options = ConnectionOptions::of(&response.fields, raw);

        out.clear();
        let parts = ResponseParts {
            head: response,
            raw,
            framing,
            emit,
            bodiless,
            close,
            client_version: self.head.version,
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
                    .map_err(|error| Fault::upstream(502, error.reason()))?
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
            // The caller flushes after what else belongs to the end of the exchange; nothing more to wait for here.
            if close && !tunnel {
                self.stream.put_close_notify();
            }
            self.stream
                .flush(Some(Instant::now() + send_timeout))
                .await
                .map_err(|error| Fault::Client(describe(error).1))?;
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
                    Broken::Sink(error) => Fault::Client(describe(error).1),
                    Broken::Source(fault) => Fault::upstream(502, source_reason(&fault)),
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
                        .map_err(|error| Fault::upstream(502, error.reason()))?
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
            match upstream
                .fill(self.core, Some(Instant::now() + read_timeout))
                .await
            {
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
                Fill::Failed(reason) => return Err(Fault::silent(502, &reason)),
            }
        }
    }

    /// Resolves when the client of this running exchange is no longer admitted by the newest configuration.
    async fn verdict_turned(&self, exchange: &RefCell<Exchange>) {
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
            ring::sleep_until(Instant::now() + step).await;
            if !admit::still_admitted(self.core, self.client, self.route.id, &asked) {
                return;
            }
        }
    }

    fn debug(&self) -> bool {
        self.core.options().allow_debug_header
            && self
                .head
                .fields
                .iter()
                .any(|line| line.known == Name::KongDebug && line.value.of(self.raw) == b"1")
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

struct Identity<'a> {
    name: Cow<'a, str>,
    tls: Option<&'a Arc<crate::tls::upstream::UpstreamTls>>,
}

impl Identity<'_> {
    fn fingerprint(&self) -> Option<crate::tls::Digest> {
        self.tls.map(|tls| tls.fingerprint)
    }
}

struct Content {
    mover: Mover,
    /// Content has been taken from the client, so the head alone no longer is the request.
    begun: bool,
}

enum Attempt {
    Ended(End),
    /// No byte of a response came.
    NoResponse {
        status: u16,
        reason: Arc<str>,
        sent: bool,
    },
}

/// A response that was passed on whole.
struct Received {
    version: Version,
    options: ConnectionOptions,
    status: u16,
    framing: Framing,
    tunnel: bool,
}

#[derive(Default)]
struct Progress {
    head_sent: Cell<bool>,
    /// An interim response is being written: where it would be cut is unknown.
    interim: Cell<bool>,
    persist: Cell<bool>,
}

enum Fault {
    Client(Arc<str>),
    Upstream {
        status: u16,
        reason: Arc<str>,
        answered: bool,
    },
}

impl Fault {
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

    fn reason(&self) -> Arc<str> {
        match self {
            Fault::Client(reason) | Fault::Upstream { reason, .. } => reason.clone(),
        }
    }
}

enum Raced {
    Received(Result<Received, Fault>),
    SourceFault(SourceFault),
    VerdictTurned,
    /// The drain's deadline has passed.
    Aborted,
}

const VERDICT_TURNED: &str = "the client's certificate is no longer admitted";
const DEADLINE_PASSED: &str = "the gateway stops: the drain's deadline has passed";

/// Sends and receives at the same time; the response's end is the exchange's end. The content's future is dropped with it:
/// the client's connection is then not used again.
async fn race(
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

fn describe(error: WriteError) -> (u16, Arc<str>) {
    match error {
        WriteError::TimedOut => (504, "timed out while sending".into()),
        WriteError::Failed(reason) => (502, reason),
    }
}

fn source_reason(fault: &SourceFault) -> &str {
    match fault {
        SourceFault::Malformed(error) => error.reason(),
        SourceFault::Truncated => "upstream closed the connection inside a response",
        SourceFault::TimedOut => "upstream timed out while sending a response",
        SourceFault::TooLarge => "response is too large",
        SourceFault::Failed(reason) => reason,
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace
    )
}

fn is_websocket(response: &ResponseHead, raw: &[u8]) -> bool {
    response.fields.iter().any(|line| {
        line.known == Name::Upgrade && line.value.of(raw).eq_ignore_ascii_case(b"websocket")
    })
}
