//! The first door: a client's TLS handshake, from its first byte to a `Stream` that carries plaintext.
//!
//! Whatever certificate the client proves is taken; trust is judged per request (DESIGN.md, "Possession in TLS, trust in
//! HTTP").

use crate::http1::head::{self, Method};
use crate::limits;
use crate::proxy::core::{Core, Handshakes};
use crate::proxy::stream::Stream;
use crate::ring::{self, Buffer, ReadEnd, Socket};
use crate::tls;
use crate::tls::session::{HelloState, ServerAcceptor, Session};
use monoio::time::Instant;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no TLS connection.
pub enum Failure {
    /// The client spoke HTTP to the TLS port: it is answered 400 in clear.
    PlainHttp {
        socket: Socket,
        method: Option<Method>,
    },
    /// Nothing was said at all (a port scan, a health check): no line is written for it.
    Silent,
    Tls {
        sni: Option<Arc<str>>,
        alert: &'static str,
        reason: String,
    },
    Shed,
}

impl Failure {
    fn gone(sni: &Option<Arc<str>>, reason: impl Into<String>) -> Self {
        Failure::Tls {
            sni: sni.clone(),
            alert: "none",
            reason: reason.into(),
        }
    }
}

/// Drives the handshake; `first` is what was already read (behind a PROXY protocol header).
pub async fn accept(
    core: &Rc<Core>,
    socket: Socket,
    first: Buffer,
) -> Result<Box<Stream>, Failure> {
    let deadline = core.deadline(core.options().handshake_timeout);
    let mut acceptor = ServerAcceptor::new();
    let mut input = first;
    let mut total = input.len();

    // ClientHello.
    let sni = loop {
        if !input.is_empty() {
            match acceptor.feed(input.filled()) {
                Ok(HelloState::Ready(hello)) => break hello.sni,
                Ok(HelloState::NeedMore) if total > limits::CLIENT_HELLO_SIZE_MAX => {
                    return Err(Failure::gone(&None, "ClientHello is too large"));
                }
                Ok(HelloState::NeedMore) => {}
                Err(error) if error.is_plain_http() => {
                    let method = head::method_begun(input.filled());
                    return Err(Failure::PlainHttp { socket, method });
                }
                Err(error) => return Err(refuse(&socket, deadline, &None, error).await),
            }
        }
        input = if total == 0 {
            first_bytes(core, &socket, deadline).await?
        } else {
            read(core, &socket, deadline, &None).await?
        };
        total += input.len();
    };
    core.buffers.put(input);

    if !Handshakes::step(core).await {
        return Err(Failure::Shed);
    }
    // The newest snapshot decides what this client is shown and asked.
    let accepted = acceptor.accept(&core.view().server);
    let mut session = match accepted {
        Ok(session) => session,
        Err(error) => return Err(refuse(&socket, deadline, &sni, error).await),
    };
    let mut pending = Buffer::default();
    loop {
        // Session tickets wait for the first response.
        if session.handshaking() || !session.may_hold_output() {
            send(&socket, &mut session, deadline, &sni).await?;
        }
        if !session.handshaking() {
            break;
        }
        let input = read(core, &socket, deadline, &sni).await?;
        total += input.len();
        if total > limits::HANDSHAKE_SIZE_MAX {
            return Err(Failure::gone(&sni, "the handshake is too large"));
        }
        // A flight with the client's certificate costs as much as the first; each waits for its turn.
        if !Handshakes::step(core).await {
            return Err(Failure::Shed);
        }
        let mut rest = input;
        while !rest.is_empty() {
            match session.feed(rest.filled()) {
                Ok(0) => break,
                Ok(taken) => rest.consume(taken),
                Err(error) => return Err(refuse(&socket, deadline, &sni, error).await),
            }
        }
        if rest.is_empty() {
            core.buffers.put(rest);
        } else {
            pending = rest;
        }
    }
    Ok(Box::new(Stream::tls(socket, session, pending)))
}

/// The wait for a client that has connected and said nothing yet; it does not hold up a drain.
async fn first_bytes(
    core: &Rc<Core>,
    socket: &Socket,
    deadline: Instant,
) -> Result<Buffer, Failure> {
    let drained = async {
        core.draining.wait().await;
        ring::sleep_until(ring::now() + Duration::from_millis(limits::DRAIN_IDLE_MS)).await;
    };
    let buffer = core.buffers.take();
    let (end, buffer) = socket.read_or(buffer, Some(deadline), drained).await;
    match end {
        ReadEnd::Data(_) => Ok(buffer),
        ReadEnd::TimedOut => Err(Failure::gone(&None, "the handshake timed out")),
        ReadEnd::Eof | ReadEnd::Cancelled | ReadEnd::Failed(_) => Err(Failure::Silent),
    }
}

async fn read(
    core: &Rc<Core>,
    socket: &Socket,
    deadline: Instant,
    sni: &Option<Arc<str>>,
) -> Result<Buffer, Failure> {
    let (end, buffer) = socket.read(core.buffers.take(), Some(deadline)).await;
    match end {
        ReadEnd::Data(_) => Ok(buffer),
        ReadEnd::Eof => Err(Failure::gone(
            sni,
            "the client closed the connection during the handshake",
        )),
        ReadEnd::TimedOut | ReadEnd::Cancelled => {
            Err(Failure::gone(sni, "the handshake timed out"))
        }
        ReadEnd::Failed(error) => Err(Failure::gone(sni, error.to_string())),
    }
}

async fn send(
    socket: &Socket,
    session: &mut Session,
    deadline: Instant,
    sni: &Option<Arc<str>>,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    session.take_output(&mut out);
    if out.is_empty() {
        return Ok(());
    }
    match socket
        .write_all(Buffer::from_vec(out), Some(deadline))
        .await
        .0
    {
        ReadEnd::Data(_) => Ok(()),
        ReadEnd::Failed(error) => Err(Failure::gone(sni, error.to_string())),
        _ => Err(Failure::gone(
            sni,
            "the client did not take the handshake's bytes",
        )),
    }
}

/// Sends the alert and says why.
async fn refuse(
    socket: &Socket,
    deadline: Instant,
    sni: &Option<Arc<str>>,
    error: tls::Error,
) -> Failure {
    if !error.alert().is_empty() {
        let _ = socket
            .write_all(Buffer::from_vec(error.alert().to_vec()), Some(deadline))
            .await;
    }
    Failure::Tls {
        sni: sni.clone(),
        alert: error.alert_name(),
        reason: error.to_string(),
    }
}
