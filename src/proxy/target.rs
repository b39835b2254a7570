//! The second door: a connection to an upstream, connected and, for https, its certificate verified and ours shown.

use crate::proxy::core::Core;
use crate::proxy::pool::Upstream;
use crate::proxy::stream::Stream;
use crate::ring::{Buffer, ReadEnd, Socket};
use crate::tls::upstream::UpstreamTls;
use monoio::time::Instant;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a target could not be used. No byte of the request has left.
#[derive(Debug)]
pub enum TargetError {
    /// Refused, reset, unreachable.
    Connect(String),
    TimedOut,
    /// The connection broke during the handshake.
    Closed(String),
    /// The handshake or the verification of its certificate failed.
    Tls(String),
}

impl TargetError {
    pub fn status(&self) -> u16 {
        match self {
            TargetError::Connect(_) | TargetError::Closed(_) | TargetError::Tls(_) => 502,
            TargetError::TimedOut => 504,
        }
    }

    pub fn reason(&self) -> Arc<str> {
        match self {
            TargetError::Connect(reason) => format!("connect() failed: {reason}").into(),
            TargetError::TimedOut => "upstream timed out while connecting".into(),
            TargetError::Closed(reason) => {
                format!("peer closed connection in SSL handshake: {reason}").into()
            }
            TargetError::Tls(reason) => reason.as_str().into(),
        }
    }
}

/// Connects, and for TLS completes the handshake. The client's last flight is left in the session's output: it goes out
/// together with the request.
pub async fn connect(
    core: &Core,
    address: SocketAddr,
    name: &str,
    tls: Option<&Arc<UpstreamTls>>,
    deadline: Instant,
) -> Result<Upstream, TargetError> {
    let socket = Socket::connect(address, Some(deadline))
        .await
        .map_err(|end| match end {
            ReadEnd::Failed(error) => TargetError::Connect(error.to_string()),
            _ => TargetError::TimedOut,
        })?;
    let stream = match tls {
        None => Stream::clear(socket, Buffer::default()),
        Some(tls) => handshake(core, socket, name, tls, deadline)
            .await
            .inspect_err(|error| {
                let reason = match error {
                    TargetError::Connect(_) | TargetError::Closed(_) => "closed",
                    TargetError::TimedOut => "timeout",
                    TargetError::Tls(_) => "tls",
                };
                core.metrics.borrow_mut().upstream_handshake_failed(reason);
            })?,
    };
    Ok(Upstream {
        stream: Box::new(stream),
        requests: 0,
        reused: false,
    })
}

async fn handshake(
    core: &Core,
    socket: Socket,
    name: &str,
    tls: &Arc<UpstreamTls>,
    deadline: Instant,
) -> Result<Stream, TargetError> {
    let session = core.upstream_tls.borrow_mut().connect(tls, name);
    let mut session = session.map_err(|error| TargetError::Tls(error.to_string()))?;
    let mut pending = Buffer::default();
    loop {
        let mut out = Vec::new();
        session.take_output(&mut out);
        match socket
            .write_all(Buffer::from_vec(out), Some(deadline))
            .await
            .0
        {
            ReadEnd::Data(_) => {}
            ReadEnd::TimedOut => return Err(TargetError::TimedOut),
            ReadEnd::Failed(error) => return Err(TargetError::Closed(error.to_string())),
            ReadEnd::Eof | ReadEnd::Cancelled => {
                return Err(TargetError::Closed("nothing more is taken".into()));
            }
        }
        let (end, mut buffer) = socket.read(core.buffers.take(), Some(deadline)).await;
        match end {
            ReadEnd::Data(_) => {}
            ReadEnd::TimedOut | ReadEnd::Cancelled => return Err(TargetError::TimedOut),
            ReadEnd::Eof => {
                return Err(TargetError::Tls(
                    "peer closed connection in SSL handshake".into(),
                ));
            }
            ReadEnd::Failed(error) => return Err(TargetError::Closed(error.to_string())),
        }
        while !buffer.is_empty() {
            match session.feed(buffer.filled()) {
                Ok(0) => break,
                Ok(taken) => buffer.consume(taken),
                Err(error) => {
                    // The upstream is told why; whether it hears it changes nothing.
                    let alert = error.alert().to_vec();
                    let _ = socket
                        .write_all(Buffer::from_vec(alert), Some(deadline))
                        .await;
                    return Err(TargetError::Tls(error.to_string()));
                }
            }
        }
        if buffer.is_empty() {
            core.buffers.put(buffer);
        } else {
            pending = buffer;
        }
        if !session.handshaking() {
            break;
        }
    }
    core.metrics
        .borrow_mut()
        .upstream_handshake(session.facts().is_some_and(|facts| facts.resumed));
    Ok(Stream::tls(socket, session, pending))
}
