//! TLS for listeners of the control thread: a `tls::Session` around a tokio stream. The data plane has its own, on the
//! ring.

use crate::limits::STATUS_TLS_OUT_MAX;
use crate::tls::Error;
use crate::tls::client_auth::ClientChain;
use crate::tls::server::CoreServer;
use crate::tls::session::{HelloState, ServerAcceptor, Session};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The server's end of one connection. The handshake goes on with the first reads.
pub struct TlsStream<IO> {
    io: IO,
    session: Session,
    /// Ciphertext that the session takes once its plaintext has been read.
    incoming: Vec<u8>,
    /// Ciphertext to send; the first `sent` bytes are gone.
    out: Vec<u8>,
    sent: usize,
    closing: bool,
    client: ClientSlot,
}

/// The certificates of a client that has sent some, once the handshake is over.
pub type ClientSlot = Arc<OnceLock<Arc<ClientChain>>>;

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Reads the ClientHello and begins the handshake. No time limit: the caller has one.
    ///
    /// # Errors
    /// What was received is no ClientHello that can be served; the peer has been told.
    pub async fn accept(mut io: IO, core: CoreServer) -> io::Result<TlsStream<IO>> {
        let mut acceptor = ServerAcceptor::new();
        let mut bytes = [0; READ_SIZE];
        loop {
            let count = io.read(&mut bytes).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let fed = match acceptor.feed(bytes.get(..count).unwrap_or_default()) {
                Ok(HelloState::NeedMore) => continue,
                Ok(HelloState::Ready(_)) => acceptor.accept(&core),
                Err(error) => Err(error),
            };
            return match fed {
                Ok(session) => {
                    let mut stream = TlsStream {
                        io,
                        session,
                        incoming: Vec::new(),
                        out: Vec::new(),
                        sent: 0,
                        closing: false,
                        client: ClientSlot::default(),
                    };
                    stream.session.take_output(&mut stream.out);
                    Ok(stream)
                }
                Err(error) => {
                    let last = match &error {
                        Error::PlainHttp => PLAIN_HTTP,
                        error => error.alert(),
                    };
                    io.write_all(last).await?;
                    io.shutdown().await?;
                    Err(io::Error::other(error.to_string()))
                }
            };
        }
    }

    pub fn client(&self) -> ClientSlot {
        Arc::clone(&self.client)
    }

    /// Sends what is queued.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Gives the session what was received, and queues what it answers.
    fn feed(&mut self) -> io::Result<()> {
        match self.session.feed(&self.incoming) {
            Ok(taken) => {
                self.incoming.drain(..taken.min(self.incoming.len()));
                self.session.take_output(&mut self.out);
                if let (None, false, Some(chain)) = (
                    self.client.get(),
                    self.session.handshaking(),
                    self.session.client_chain(),
                ) {
                    // Only this stream fills it.
                    let _ = self.client.set(Arc::clone(chain));
                }
                Ok(())
            }
            Err(error) => {
                self.incoming.clear();
                self.out.extend_from_slice(error.alert());
                Err(io::Error::other(error.to_string()))
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            // A peer that does not read yet hinders no reading.
            if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            if let Some(plain) = this.session.plaintext() {
                let count = plain.len().min(into.remaining());
                into.put_slice(plain.get(..count).unwrap_or_default());
                this.session.consume(count);
                return Poll::Ready(Ok(()));
            }
            if this.session.peer_closed() {
                return Poll::Ready(Ok(()));
            }
            if this.incoming.is_empty() {
                let mut bytes = [0; READ_SIZE];
                let mut read = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                this.incoming.extend_from_slice(read.filled());
            }
            if let Err(error) = this.feed() {
                // The alert is sent as far as the socket takes it now.
                let _ = this.poll_send(cx);
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.out.len() - this.sent >= STATUS_TLS_OUT_MAX {
            ready!(this.poll_send(cx))?;
        }
        let piece = plain.get(..STATUS_TLS_OUT_MAX).unwrap_or(plain);
        this.session
            .write(piece)
            .map_err(|error| io::Error::other(error.to_string()))?;
        this.session.take_output(&mut this.out);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing {
            this.closing = true;
            this.session.close_notify();
            this.session.take_output(&mut this.out);
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

const READ_SIZE: usize = 4096;
/// RFC 9110 §15.5.1, as on the proxy's TLS ports.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 50\r\n\r\n\
    The plain HTTP request was sent to an HTTPS port.\n";
