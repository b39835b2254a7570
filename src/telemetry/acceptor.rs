//! What listeners of the control thread share: accept within a bound, TLS where the listener has it, and a send that
//! does not wait for ever. The data plane has its own, on the ring.

use super::tls_stream::{ClientSlot, TlsStream};
use crate::tls::client_auth::ClientChain;
use crate::tls::server::{CoreServer, ServerPolicy};
use crate::tls::tickets::Ticketer;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// What becomes of accepted connections.
pub trait Door: Send + Sync + 'static {
    fn serve(self: Arc<Self>, accepted: Accepted) -> impl Future<Output = ()> + Send;

    /// A TLS handshake that did not begin well.
    fn refused(&self, peer: SocketAddr, reason: &dyn fmt::Display);

    /// A connection was closed because too many are there; told of once a minute.
    fn full(&self);
}

/// The bounds of a listener.
#[derive(Clone)]
pub struct Bounds {
    /// Connections at once, of all listeners that share it; one more is closed.
    pub permits: Arc<Semaphore>,
    /// A ClientHello must be complete within this.
    pub hello: Duration,
    /// A peer that takes nothing of what is sent for this long is given up.
    pub stall: Duration,
}

/// The certificates that listeners with `ssl` show; a reload puts others in. Nothing resumes here.
pub struct ListenerTls(Mutex<Arc<ServerPolicy>>);

impl ListenerTls {
    pub fn new(policy: Arc<ServerPolicy>) -> Self {
        ListenerTls(Mutex::new(policy))
    }

    pub fn replace(&self, policy: Arc<ServerPolicy>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn core(&self) -> CoreServer {
        let policy = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // The policy seals no ticket; the ticketer is there for form.
        CoreServer::new(policy, Arc::new(Ticketer::new([0; 16], 0, [0; 16])))
    }
}

/// One connection.
pub struct Accepted {
    pub stream: Stream,
    pub peer: SocketAddr,
    /// Counts against the listener's bound for as long as a copy of it lives.
    pub permit: Arc<OwnedSemaphorePermit>,
}

impl Accepted {
    /// Where the client's certificates will be once the handshake is over.
    pub fn client(&self) -> Client {
        Client(match &self.stream.wire {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => Some(stream.client()),
        })
    }
}

/// The client's end of a connection; filled in by its handshake.
#[derive(Clone, Default)]
pub struct Client(Option<ClientSlot>);

impl Client {
    /// What the client sent, possession of the key proven; whether to trust it is the caller's to judge.
    pub fn chain(&self) -> Option<&Arc<ClientChain>> {
        self.0.as_ref()?.get()
    }
}

/// Accepts until dropped; connections end with it. `tls`: this listener has `ssl`.
pub async fn accept<D: Door>(
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    bounds: Bounds,
    door: Arc<D>,
) -> Infallible {
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: the queue is still there in a moment.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&bounds.permits).try_acquire_owned() else {
            // Closing says "not now"; waiting would say nothing.
            if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                told = Some(Instant::now());
                door.full();
            }
            continue;
        };
        let permit = Arc::new(permit);
        let door = Arc::clone(&door);
        let core = tls.as_ref().map(|tls| tls.core());
        let (hello, stall) = (bounds.hello, bounds.stall);
        connections.spawn(async move {
            let wire = match core {
                None => Ok(Wire::Plain(stream)),
                Some(core) => secured(stream, core, hello).await,
            };
            match wire {
                Ok(wire) => {
                    let stream = Stream {
                        wire,
                        stall,
                        stalled: None,
                    };
                    let accepted = Accepted {
                        stream,
                        peer,
                        permit,
                    };
                    door.serve(accepted).await;
                }
                Err(reason) => door.refused(peer, &reason),
            }
        });
    }
}

async fn secured(stream: TcpStream, core: CoreServer, hello: Duration) -> Result<Wire, String> {
    let accepted = TlsStream::accept(stream, core);
    match tokio::time::timeout(hello, accepted).await {
        Ok(Ok(stream)) => Ok(Wire::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no ClientHello in time".to_owned()),
    }
}

/// A connection that fails when its peer takes nothing for too long: what waits to be sent may be megabytes.
pub struct Stream {
    wire: Wire,
    stall: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Wire, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match step(&mut self.wire, cx) {
            Poll::Ready(done) => {
                self.stalled = None;
                Poll::Ready(done)
            }
            Poll::Pending => {
                let stall = self.stall;
                let timer = self
                    .stalled
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Wire::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watched(cx, |wire, cx| match wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(cx, |wire, cx| match wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(cx, |wire, cx| match wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        })
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let peer = TcpStream::connect(address).await.expect("connected");
        let (accepted, _) = listener.accept().await.expect("accepted");
        let mut stream = Stream {
            wire: Wire::Plain(accepted),
            stall: Duration::from_millis(20),
            stalled: None,
        };
        let piece = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = stream.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(peer);
    }
}
