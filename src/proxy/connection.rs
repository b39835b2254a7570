//! One client connection from accept to close, top-down. Branching stays here; what it calls computes and returns.

use crate::http1::fields::{self, Name};
use crate::http1::framing::{self, DownstreamExchange, Framing, Persistence};
use crate::http1::head::{self, HeadLimits, Method, Parsed, TargetForm, Version};
use crate::limits;
use crate::options::{Options, RealIp};
use crate::proxy::admit::{self, Asked, Memo};
use crate::proxy::core::{ConnectionCount, Core, Exchanging, Handshaking, View};
use crate::proxy::exchange::{Client, Exchange, Refusal, Scratch};
use crate::proxy::forward::{Buffers, End, Forward};
use crate::proxy::handshake::{self, Failure};
use crate::proxy::stream::{Fill, Stream};
use crate::proxy::{log, proxy_protocol, pump, reply, rewrite};
use crate::ring::{self, Buffer, ReadEnd, Socket};
use crate::router;
use crate::snapshot::Route;
use monoio::time::Instant;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the listener says of a connection it took.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    pub peer: SocketAddr,
    pub port: u16,
    pub tls: bool,
    pub proxy_protocol: bool,
}

/// Serves one connection.
pub async fn serve(core: Rc<Core>, socket: Socket, accepted: Accepted) {
    let _count = ConnectionCount::new(&core, accepted.tls);

    // PROXY protocol: who is behind the load balancer. The header is read from any peer and believed from trusted ones
    // (nginx: real_ip_header proxy_protocol and set_real_ip_from).
    let mut first = Buffer::default();
    let mut peer = accepted.peer;
    let mut port = core.options().mapped_port(accepted.port);
    if accepted.proxy_protocol {
        match Box::pin(read_proxy_header(&core, &socket)).await {
            Ok((rest, source, destination)) => {
                first = rest;
                let options = core.options();
                if options.real_ip == RealIp::ProxyProtocol
                    && options.is_trusted(accepted.peer.ip())
                {
                    peer = source.unwrap_or(peer);
                    port = destination.map_or(port, |destination| destination.port());
                }
            }
            Err(reason) => return log::rejected(&core, accepted.peer, &reason),
        }
    }

    // The first handshake.
    let stream = if accepted.tls {
        let Some(handshaking) = Handshaking::begin(&core) else {
            return core.metrics.borrow_mut().shed("handshakes");
        };
        let done = Box::pin(handshake::accept(&core, socket, first)).await;
        drop(handshaking);
        match done {
            Ok(stream) => stream,
            Err(failure) => {
                return Box::pin(log_or_answer(&core, peer, accepted.port, failure)).await;
            }
        }
    } else {
        Stream::clear(socket, first)
    };
    let (facts, chain) = match stream.session() {
        Some(session) => (session.facts().cloned(), session.client_chain().cloned()),
        None => (None, None),
    };
    if let Some(facts) = &facts {
        log::handshake(&core, facts, chain.is_some());
    }
    let mut client = Client::new(&accepted, peer, port, facts, chain);

    // Requests, one after the other.
    let memo = Memo::default();
    loop {
        if !wait_for_request(&core, &stream, client.requests).await {
            return close(&core, &stream).await;
        }
        client.requests += 1;
        let mut scratch = core.scratch.take();
        // Boxed: an idle connection holds nothing of an exchange.
        let after = Box::pin(serve_request(&core, &stream, &client, &memo, &mut scratch)).await;
        core.scratch.give(scratch);
        match after {
            After::Next => {}
            After::Close => return close(&core, &stream).await,
            After::Linger => {
                end(&core, &stream).await;
                return linger(&core, &stream).await;
            }
            // Cut without close_notify: the client must not take what it has for the whole.
            After::Cut => return,
        }
    }
}

enum After {
    Next,
    Close,
    /// Close, while the client may still be sending.
    Linger,
    Cut,
}

/// One exchange: read head → framing → route → admit → forward → persist or close.
async fn serve_request(
    core: &Rc<Core>,
    stream: &Stream,
    client: &Client,
    memo: &Memo,
    scratch: &mut Scratch,
) -> After {
    let traffic_before = stream.traffic();
    let head_read = read_head(core, stream, scratch).await;
    let _exchanging = Exchanging::begin(core);
    let exchange = RefCell::new(Exchange::begin(core.request_id(), client, traffic_before));
    if let Err(end) = head_read {
        return match end {
            HeadEnd::Gone => After::Close,
            HeadEnd::Refused(refusal) => {
                answer(core, stream, client, &exchange, None, None, refusal, true).await
            }
        };
    }
    let Scratch {
        raw,
        head,
        response_raw,
        response,
        path,
        upstream_path,
        out,
        answer: answer_out,
        router: router_scratch,
    } = scratch;

    // What the connection allows, whatever the request becomes.
    let options = fields::ConnectionOptions::of(&head.fields, raw);
    let before_response = DownstreamExchange {
        version: head.version,
        options,
        content_read: true,
        response_written: true,
        response_framing: Framing::None,
        upgraded: false,
        draining: core.draining.raised(),
        request_count: client.requests,
        request_count_max: core.options().requests_per_connection_max,
    };
    let closing = framing::downstream_persistence(&before_response) != Persistence::Persist;

    // Frame: anything ambiguous ends here, before an upstream hears of it (RFC 9112 §6.3).
    let framing = match framing::request_framing(head, raw) {
        Ok(framing) => framing,
        Err(error) => {
            let mut refusal = Refusal::layer(error.status(), error.reason());
            refusal.message = error.message().into();
            return answer(
                core,
                stream,
                client,
                &exchange,
                Some((head, raw)),
                None,
                refusal,
                true,
            )
            .await;
        }
    };
    // Content that is here already is passed over; a request with more of it on the way closes the connection.
    let must_close =
        |refusal: &Refusal| refusal.close || closing || !pump::pass_over(stream, framing);
    let view = core.view();

    let judged = check_method(head, raw, framing, core)
        .and_then(|()| {
            router::path::normalise(head.path.of(raw), path).map_err(|error| bad_path(&error))
        })
        .and_then(|()| {
            real_ip(core, client, &exchange, head, raw);
            find_route(&view, client, head, raw, path, router_scratch)
        })
        .and_then(|(route, matched)| {
            check_protocol(route, &exchange.borrow(), head, raw)?;
            Ok((route, matched))
        });
    let (route, path_matched) = match judged {
        Ok(found) => found,
        Err(refusal) => {
            let close = must_close(&refusal);
            return answer(
                core,
                stream,
                client,
                &exchange,
                Some((head, raw)),
                None,
                refusal,
                close,
            )
            .await;
        }
    };

    // Admit: the plugins' access phase.
    let id = exchange.borrow().id;
    let asked = Asked {
        head,
        raw,
        request_id: std::str::from_utf8(&id).unwrap_or_default(),
    };
    let permit = match admit::admit(core, &view, client, memo, route, &asked) {
        Ok(permit) => permit,
        Err((refusal, client_verify)) => {
            exchange.borrow_mut().client_verify = client_verify;
            let close = must_close(&refusal);
            return answer(
                core,
                stream,
                client,
                &exchange,
                Some((head, raw)),
                Some(route),
                refusal,
                close,
            )
            .await;
        }
    };
    exchange.borrow_mut().client_verify = permit.admitted().client_verify.clone();
    let admitted = permit.share();
    let Some(service) = &route.service else {
        let refusal = Refusal::kong(503, "no Service found with those values");
        let close = must_close(&refusal);
        return answer(
            core,
            stream,
            client,
            &exchange,
            Some((head, raw)),
            Some(route),
            refusal,
            close,
        )
        .await;
    };

    // Forward, both ways.
    // RFC 6455 §4.1: a GET without content, so that what follows it are frames and nothing else.
    let websocket = options.upgrade()
        && head.version == Version::Http11
        && head.method == Method::Get
        && framing.is_empty()
        && head.fields.iter().any(|line| {
            line.known == Name::Upgrade && line.value.of(raw).eq_ignore_ascii_case(b"websocket")
        });
    let expects_continue = framing::expects_continue(head, raw).unwrap_or(false);
    let forward = Forward {
        core,
        client,
        stream,
        route,
        service,
        permit,
        head,
        raw,
        path,
        path_matched,
        framing,
        websocket,
        expects_continue,
        closing,
    };
    let mut buffers = Buffers {
        upstream_path,
        out,
        response_raw,
        response,
        answer: answer_out,
    };
    match forward.run(&exchange, &mut buffers).await {
        End::Done { persist, unread } => {
            log::exchange(
                core,
                client,
                stream,
                &exchange.borrow(),
                Some((head, raw)),
                Some(route),
                Some(&admitted),
            );
            match (persist, unread) {
                (true, _) => After::Next,
                (false, true) => After::Linger,
                (false, false) => After::Close,
            }
        }
        End::Broken => {
            log::exchange(
                core,
                client,
                stream,
                &exchange.borrow(),
                Some((head, raw)),
                Some(route),
                Some(&admitted),
            );
            After::Cut
        }
        End::Refused(refusal) => {
            let close = refusal.close || closing;
            answer(
                core,
                stream,
                client,
                &exchange,
                Some((head, raw)),
                Some(route),
                refusal,
                close,
            )
            .await
        }
    }
}

/// Sends the gateway's own answer and writes the exchange's line. Without `close` the request's content has been taken
/// from the stream: the next byte begins a request.
#[allow(clippy::too_many_arguments)]
async fn answer(
    core: &Rc<Core>,
    stream: &Stream,
    client: &Client,
    exchange: &RefCell<Exchange>,
    head: Option<(&head::RequestHead, &[u8])>,
    route: Option<&Route>,
    refusal: Refusal,
    close: bool,
) -> After {
    reply::put_refusal(
        core,
        stream,
        &mut exchange.borrow_mut(),
        head,
        &refusal,
        close,
    );
    if close {
        stream.put_close_notify();
    }
    let sent = stream
        .flush(Some(Instant::now() + core.options().send_timeout))
        .await;
    log::exchange(core, client, stream, &exchange.borrow(), head, route, None);
    match (sent, close) {
        (Err(_), _) => After::Cut,
        (Ok(()), true) => After::Linger,
        (Ok(()), false) => After::Next,
    }
}

/// Waits until the first byte of a request is there. False: the connection has served its time, or the client has left.
async fn wait_for_request(core: &Rc<Core>, stream: &Stream, served: u64) -> bool {
    if !stream.plain().is_empty() {
        return true;
    }
    // nginx: the first request has client_header_timeout, the next ones keepalive_timeout.
    let timeout = if served == 0 {
        core.options().head_timeout
    } else {
        core.options().idle_timeout
    };
    let end = Instant::now() + timeout;
    let held_back = stream.has_output();
    let quiet = Duration::from_millis(if held_back {
        limits::TICKETS_HELD_MS
    } else {
        limits::QUIET_MS
    });
    let quiet = (Instant::now() + quiet).min(end);
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
            .flush(Some(Instant::now() + core.options().send_timeout))
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
        Ok(Some(Ok(()))) => {}
        Ok(None) => return wait_in_drain(core, stream).await,
        Ok(Some(Err(_))) | Err(ring::Elapsed) => return false,
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
            .fill_or(core, Some(Instant::now() + grace), core.aborting.wait())
            .await,
        Fill::Data
    )
}

enum HeadEnd {
    /// Nothing of a request came, or the client left.
    Gone,
    Refused(Refusal),
}

/// Reads until the head is whole, within one deadline for all of it, and copies it out of the stream's buffer.
async fn read_head(core: &Rc<Core>, stream: &Stream, scratch: &mut Scratch) -> Result<(), HeadEnd> {
    let options = &core.options();
    let limits = HeadLimits {
        head_size_max: options.head_size_max,
        field_count_max: options.field_count_max,
        line_size_max: options.line_size_max,
    };
    let deadline = Instant::now() + options.head_timeout;
    scratch.head.clear();
    loop {
        let parsed = {
            let plain = stream.plain();
            match head::parse_request(&plain, &limits, &mut scratch.head) {
                Ok(Parsed::Complete) => {
                    scratch.raw.clear();
                    scratch.raw.extend_from_slice(&plain[..scratch.head.size]);
                    Parsed::Complete
                }
                Ok(Parsed::Partial) => Parsed::Partial,
                Err(error) => {
                    let mut refusal = Refusal::layer(error.status(), error.reason()).closing();
                    refusal.message = error.message().into();
                    return Err(HeadEnd::Refused(refusal));
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
                return Err(HeadEnd::Refused(
                    Refusal::layer(408, "the request's head came too slowly").closing(),
                ));
            }
            Fill::Eof { .. } | Fill::Interrupted | Fill::Failed(_) => return Err(HeadEnd::Gone),
        }
    }
}

fn check_method(
    head: &head::RequestHead,
    raw: &[u8],
    framing: Framing,
    core: &Core,
) -> Result<(), Refusal> {
    if matches!(head.method, Method::Connect | Method::Trace) {
        return Err(Refusal::layer(405, "CONNECT and TRACE are not served").closing());
    }
    if head.target_form == TargetForm::Asterisk {
        return Err(Refusal::layer(400, "the asterisk form addresses no route"));
    }
    framing::expects_continue(head, raw)
        .map_err(|error| Refusal::layer(error.status(), error.reason()).closing())?;
    let size_max = core.options().body_size_max;
    if let Framing::Length { remaining } = framing
        && size_max > 0
        && remaining > size_max
    {
        return Err(Refusal::layer(413, "content is larger than client_max_body_size").closing());
    }
    Ok(())
}

fn bad_path(error: &router::path::PathError) -> Refusal {
    Refusal::layer(400, format!("request target: {error}"))
}

/// The client's address and scheme as trusted proxies in front report them (KONG.md §3.6).
fn real_ip(
    core: &Core,
    client: &Client,
    exchange: &RefCell<Exchange>,
    head: &head::RequestHead,
    raw: &[u8],
) {
    let options = &core.options();
    let mut exchange = exchange.borrow_mut();
    if !options.is_trusted(client.socket_peer.ip()) {
        return;
    }
    fn values<'b>(
        head: &'b head::RequestHead,
        raw: &'b [u8],
        name: &'b [u8],
    ) -> impl Iterator<Item = &'b [u8]> {
        head.fields
            .iter()
            .filter(move |line| line.name.of(raw).eq_ignore_ascii_case(name))
            .map(|line| line.value.of(raw))
    }
    let name: &[u8] = match &options.real_ip {
        RealIp::XRealIp => b"X-Real-IP",
        RealIp::XForwardedFor => b"X-Forwarded-For",
        RealIp::Other(name) => name.as_bytes(),
        RealIp::ProxyProtocol => b"",
    };
    if !name.is_empty() {
        let list: SmallVec<[&[u8]; 8]> = values(head, raw, name).flat_map(fields::tokens).collect();
        if let Some(address) = reported_address(&list, options) {
            exchange.client_ip = address;
        }
    }
    if let Some(proto) = values(head, raw, b"X-Forwarded-Proto").next() {
        exchange.https = proto.eq_ignore_ascii_case(b"https");
    }
}

/// The last address, or with real_ip_recursive the last that is not itself trusted. What stands before something that
/// is no address was not written by a trusted proxy.
pub(super) fn reported_address(list: &[&[u8]], options: &Options) -> Option<IpAddr> {
    let mut found = None;
    for text in list.iter().rev() {
        let Some(address) = parse_ip(text) else { break };
        found = Some(address);
        if !options.real_ip_recursive || !options.is_trusted(address) {
            break;
        }
    }
    found
}

fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

struct FieldLookup<'a> {
    head: &'a head::RequestHead,
    raw: &'a [u8],
}

impl router::Headers for FieldLookup<'_> {
    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let same = |byte: (&u8, u8)| {
            let folded = if *byte.0 == b'_' {
                b'-'
            } else {
                byte.0.to_ascii_lowercase()
            };
            folded == byte.1
        };
        self.head.fields.iter().any(|line| {
            let candidate = line.name.of(self.raw);
            candidate.len() == name.len()
                && candidate.iter().zip(name.bytes()).all(same)
                && value(line.value.of(self.raw))
        })
    }
}

fn find_route<'v>(
    view: &'v View,
    client: &Client,
    head: &head::RequestHead,
    raw: &[u8],
    path: &[u8],
    scratch: &mut router::Scratch,
) -> Result<(&'v Arc<Route>, Option<usize>), Refusal> {
    let host = head
        .authority
        .map(|authority| rewrite::host_of(authority.of(raw)))
        .unwrap_or_default();
    let lookup = FieldLookup { head, raw };
    let query = router::Query {
        method: head.method_span.of(raw),
        host,
        port: client.port,
        path,
        tls: client.tls.as_ref().map(|facts| facts.sni.as_deref()),
        headers: &lookup,
    };
    let found = view.snapshot.router.find(&query, scratch);
    found
        .and_then(|found| {
            Some((
                view.snapshot.routes.get(found.handle as usize)?,
                found.path_matched,
            ))
        })
        .ok_or_else(|| Refusal::kong(404, "no Route matched with those values"))
}

/// An https-only route asked for in clear (KONG.md §3.5).
fn check_protocol(
    route: &Route,
    exchange: &Exchange,
    head: &head::RequestHead,
    raw: &[u8],
) -> Result<(), Refusal> {
    if route.http || exchange.https {
        return Ok(());
    }
    let status = route.https_redirect_status_code;
    let mut refusal = Refusal::kong(status, "Please use HTTPS protocol");
    if status == 426 {
        refusal
            .fields
            .push(("Upgrade", b"TLS/1.2, HTTP/1.1".to_vec()));
        return Err(refusal);
    }
    let mut location = b"https://".to_vec();
    let host = head
        .authority
        .map(|authority| rewrite::host_of(authority.of(raw)))
        .unwrap_or_default();
    location.extend(host.iter().map(u8::to_ascii_lowercase));
    location.extend_from_slice(head.path.of(raw));
    if let Some(query) = head.query {
        location.push(b'?');
        location.extend_from_slice(query.of(raw));
    }
    refusal.fields.push(("Location", location));
    Err(refusal)
}

async fn read_proxy_header(
    core: &Rc<Core>,
    socket: &Socket,
) -> Result<(Buffer, Option<SocketAddr>, Option<SocketAddr>), String> {
    let deadline = Instant::now() + core.options().head_timeout;
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

/// A handshake that did not become a connection.
async fn log_or_answer(core: &Rc<Core>, peer: SocketAddr, port: u16, failure: Failure) {
    match failure {
        Failure::Silent => {}
        Failure::Shed => core.metrics.borrow_mut().shed("handshakes"),
        Failure::Tls { sni, alert, reason } => {
            log::handshake_failure(core, peer, port, sni.as_deref(), alert, &reason)
        }
        Failure::PlainHttp(socket) => {
            let body = "The plain HTTP request was sent to HTTPS port\n";
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\nServer: {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                reply::SERVER,
                body.len(),
            );
            let deadline = Instant::now() + core.options().send_timeout;
            let _ = socket
                .write_all(Buffer::from_vec(answer.into_bytes()), Some(deadline))
                .await;
            log::handshake_failure(
                core,
                peer,
                port,
                None,
                "none",
                "plain HTTP was sent to the TLS port",
            );
            linger(core, &Stream::clear(socket, Buffer::default())).await;
        }
    }
}

/// Ends a connection cleanly: what is queued, close_notify, and only then the socket.
async fn close(core: &Rc<Core>, stream: &Stream) {
    end(core, stream).await;
    // Requests the client has sent beyond the last one that is served.
    if !stream.is_quiet() || ring::sys::peek(stream.socket.raw_fd()) == ring::sys::Peek::Data {
        linger(core, stream).await;
    }
}

async fn end(core: &Rc<Core>, stream: &Stream) {
    stream.put_close_notify();
    if stream.has_output() {
        let _ = stream
            .flush(Some(Instant::now() + core.options().send_timeout))
            .await;
    }
}

/// A socket closed with unread bytes is reset, and the reset may overtake the answer: so the rest is read for a moment.
async fn linger(core: &Rc<Core>, stream: &Stream) {
    stream.socket.shutdown_write().await;
    let deadline = Instant::now() + Duration::from_millis(limits::LINGER_MS);
    let mut count = 0;
    while count < limits::LINGER_SIZE_MAX {
        let (end, buffer) = stream
            .socket
            .read(core.buffers.take(), Some(deadline))
            .await;
        match end {
            ReadEnd::Data(more) => {
                count += more;
                core.buffers.put(buffer);
            }
            _ => return,
        }
    }
}
