//! One client connection from accept to close, top-down. Branching stays here; what it calls computes and returns:
//! `request` waits and reads, `matching` finds the route, `forward` does the rest.

use crate::http1::fields::{self, Name};
use crate::http1::framing::{self, DownstreamExchange, Framing, Persistence};
use crate::http1::head::{self, Method, Version};
use crate::limits;
use crate::options::RealIp;
use crate::plugin::Admitted;
use crate::proxy::admit::{self, Asked, Memo};
use crate::proxy::core::{ConnectionCount, Core, Exchanging, Handshaking};
use crate::proxy::exchange::{Client, Exchange, Refusal, Scratch, TOO_MANY_OPTIONS};
use crate::proxy::forward::{Buffers, End, Forward};
use crate::proxy::handshake::{self, Failure};
use crate::proxy::matching::{bad_path, check_method, check_protocol, find_route, real_ip};
use crate::proxy::request::{HeadEnd, read_head, read_proxy_header, wait_for_request};
use crate::proxy::stream::Stream;
use crate::proxy::{log, pump, reply};
use crate::ring::{self, Buffer, ReadEnd, Socket};
use crate::router;
use crate::snapshot::Route;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
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
    // Boxed: a TLS session is more than a kilobyte, and every move would copy it.
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
        Box::new(Stream::clear(socket, first))
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
    let turn = Turn {
        core,
        stream,
        client,
        exchange: &exchange,
        head: None,
        route: None,
    };
    if let Err(end) = head_read {
        return match end {
            HeadEnd::Gone => After::Close,
            HeadEnd::Refused(refusal, line) => {
                exchange.borrow_mut().line = Some(Box::new(line));
                turn.answer(refusal, true).await
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

    let turn = Turn {
        head: Some((head, raw)),
        ..turn
    };

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

    if options.too_many() {
        return turn
            .answer(Refusal::layer(400, TOO_MANY_OPTIONS), true)
            .await;
    }

    // Frame: anything ambiguous ends here, before an upstream hears of it (RFC 9112 §6.3).
    let framing = match framing::request_framing(head, raw) {
        Ok(framing) => framing,
        Err(error) => {
            let mut refusal = Refusal::layer(error.status(), error.reason());
            refusal.message = error.message().into();
            return turn.answer(refusal, true).await;
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
            check_protocol(&route, &exchange.borrow(), head, raw)?;
            Ok((route, matched))
        });
    let (held, path_matched) = match judged {
        Ok(found) => found,
        Err(refusal) => {
            let close = must_close(&refusal);
            return turn.answer(refusal, close).await;
        }
    };
    let route: &Route = &held;
    let turn = Turn {
        route: Some(route),
        ..turn
    };

    // Admit: the plugins' access phase.
    let asked = Asked { head, raw };
    let permit = match admit::admit(core, &view, client, memo, route, &asked) {
        Ok(permit) => permit,
        Err((refusal, client_verify)) => {
            exchange.borrow_mut().client_verify = client_verify;
            let close = must_close(&refusal);
            return turn.answer(refusal, close).await;
        }
    };
    // From here on the route is enough: a snapshot must not live as long as a tunnel.
    drop(view);
    exchange.borrow_mut().client_verify = permit.admitted().client_verify.clone();
    let admitted = permit.share();
    let Some(service) = &route.service else {
        let refusal = Refusal::kong(503, "no Service found with those values");
        let close = must_close(&refusal);
        return turn.answer(refusal, close).await;
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
            turn.log(Some(&admitted));
            match (persist, unread) {
                (true, _) => After::Next,
                (false, true) => After::Linger,
                (false, false) => After::Close,
            }
        }
        End::Broken => {
            turn.log_cause();
            turn.log(Some(&admitted));
            After::Cut
        }
        End::Refused(refusal) => {
            let close = refusal.close || closing;
            turn.answer(refusal, close).await
        }
    }
}

/// An exchange as far as it has come.
#[derive(Clone, Copy)]
struct Turn<'a> {
    core: &'a Rc<Core>,
    stream: &'a Stream,
    client: &'a Client,
    exchange: &'a RefCell<Exchange>,
    /// `None` where the request could not be parsed; the exchange has its `line` then.
    head: Option<(&'a head::RequestHead, &'a [u8])>,
    route: Option<&'a Route>,
}

impl Turn<'_> {
    /// Sends the gateway's own answer and writes the exchange's line. Without `close` the request's content has been taken
    /// from the stream: the next byte begins a request. The error line comes before the answer: a client that has the
    /// answer, and what it then causes on another core, are behind it in the log.
    async fn answer(self, refusal: Refusal, close: bool) -> After {
        let Turn { core, stream, .. } = self;
        reply::put_refusal(
            core,
            stream,
            &mut self.exchange.borrow_mut(),
            self.head,
            &refusal,
            close,
        );
        if close {
            stream.put_close_notify();
        }
        self.log_cause();
        let sent = stream
            .flush(Some(ring::now() + core.options().send_timeout))
            .await;
        self.log(None);
        match (sent, close) {
            (Err(_), _) => After::Cut,
            (Ok(()), true) => After::Linger,
            (Ok(()), false) => After::Next,
        }
    }

    fn log_cause(self) {
        let exchange = self.exchange.borrow();
        let service = self.route.and_then(|route| route.service.as_deref());
        log::cause(self.core, &exchange, service);
    }

    fn log(self, admitted: Option<&Admitted>) {
        let exchange = self.exchange.borrow();
        log::exchange(
            self.core,
            self.client,
            self.stream,
            &exchange,
            self.head,
            self.route,
            admitted,
        );
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
        Failure::PlainHttp { socket, method } => {
            let body = "The plain HTTP request was sent to HTTPS port\n";
            let mut answer = format!(
                "HTTP/1.1 400 Bad Request\r\nServer: {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                reply::SERVER,
                body.len(),
            );
            if method != Some(Method::Head) {
                answer.push_str(body);
            }
            let reason = "plain HTTP was sent to the TLS port";
            log::handshake_failure(core, peer, port, None, "none", reason);
            let deadline = ring::now() + core.options().send_timeout;
            let _ = socket
                .write_all(Buffer::from_vec(answer.into_bytes()), Some(deadline))
                .await;
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
            .flush(Some(ring::now() + core.options().send_timeout))
            .await;
    }
}

/// A socket closed with unread bytes is reset, and the reset may overtake the answer: so the rest is read for a moment.
async fn linger(core: &Rc<Core>, stream: &Stream) {
    stream.socket.shutdown_write().await;
    let deadline = ring::now() + Duration::from_millis(limits::LINGER_MS);
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
