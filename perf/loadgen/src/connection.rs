//! One connection: bytes between a socket, TLS and the response reader. What they mean is decided in `load`.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::response::{Done, Reader};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// TCP or TLS is being set up.
    Opening,
    Quiet,
    /// A request is out.
    Exchange,
    /// Our close is out, the server's has not come.
    Closing,
}

pub struct Connection {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    reader: Reader,
    /// Bytes of a plain request the socket did not take yet.
    unsent: Vec<u8>,
    pub phase: Phase,
    /// When the operation in progress was to start.
    pub since: Instant,
}

/// What one look at the socket brought.
#[derive(Default)]
pub struct Progress {
    pub response: Option<Done>,
    /// The server has closed.
    pub ended: bool,
}

impl Connection {
    pub fn new(
        socket: TcpStream,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        since: Instant,
    ) -> Result<Connection, String> {
        let tls = match tls {
            Some((config, name)) => {
                let mut tls = ClientConnection::new(config, name).map_err(|e| e.to_string())?;
                // Bounded by the one request that is ever in it.
                tls.set_buffer_limit(None);
                Some(tls)
            }
            None => None,
        };
        Ok(Connection {
            socket,
            tls,
            reader: Reader::default(),
            unsent: Vec::new(),
            phase: Phase::Opening,
            since,
        })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether requests can be sent. A plain connection counts as open at once: its socket queues.
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind())
    }

    pub fn send(&mut self, request: &[u8]) -> Result<(), String> {
        self.phase = Phase::Exchange;
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(request).map_err(kind)?,
            None => self.unsent.extend_from_slice(request),
        }
        self.flush()
    }

    /// Says that nothing more will be sent, then waits for the server to do the same.
    pub fn close(&mut self) -> Result<(), String> {
        self.phase = Phase::Closing;
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()?;
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(kind(error)),
            _ => Ok(()),
        }
    }

    /// Writes what waits until the socket is full; the rest goes with the next edge.
    pub fn flush(&mut self) -> Result<(), String> {
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket),
                None if !self.unsent.is_empty() => {
                    self.socket.write(&self.unsent).inspect(|&size| {
                        self.unsent.drain(..size);
                    })
                }
                _ => return Ok(()),
            };
            match written {
                Ok(_) => {}
                Err(error) if not_now(&error) => return Ok(()),
                Err(error) => return Err(kind(error)),
            }
        }
    }

    /// Reads what is there. Stops at a read that did not fill `scratch`, since an edge follows when more comes;
    /// with `hangup` none does, so it reads to the end.
    pub fn pump(&mut self, hangup: bool, scratch: &mut [u8]) -> Result<Progress, String> {
        let mut progress = Progress::default();
        self.flush()?;
        loop {
            match self.socket.read(scratch) {
                Ok(0) => {
                    progress.ended = true;
                    if progress.response.is_none() {
                        progress.response = self.reader.end();
                    }
                    break;
                }
                Ok(size) => {
                    self.take(&scratch[..size], &mut progress)?;
                    if size < scratch.len() && !hangup {
                        break;
                    }
                }
                Err(error) if not_now(&error) => break,
                Err(error) => return Err(kind(error)),
            }
        }
        self.flush()?;
        Ok(progress)
    }

    fn take(&mut self, mut bytes: &[u8], progress: &mut Progress) -> Result<(), String> {
        let Some(tls) = &mut self.tls else {
            return answer(&mut self.reader, bytes, progress);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).map_err(kind)?;
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says so; whether it arrives changes nothing here.
                    let _ = tls.write_tls(&mut self.socket);
                    return Err(format!("tls: {error}"));
                }
            };
            let mut unread = state.plaintext_bytes_to_read();
            while unread > 0 {
                let mut plain = tls.reader();
                let chunk = plain.fill_buf().map_err(kind)?;
                let size = chunk.len();
                answer(&mut self.reader, chunk, progress)?;
                plain.consume(size);
                unread = unread.saturating_sub(size.max(1));
            }
            if state.peer_has_closed() {
                if progress.response.is_none() {
                    progress.response = self.reader.end();
                }
                // What follows a close_notify is nobody's; the end of the socket is awaited all the same.
                return Ok(());
            }
        }
        Ok(())
    }
}

fn answer(reader: &mut Reader, bytes: &[u8], progress: &mut Progress) -> Result<(), String> {
    match reader.feed(bytes)? {
        Some(_) if progress.response.is_some() => Err("two responses to one request".into()),
        Some(done) => {
            progress.response = Some(done);
            Ok(())
        }
        None => Ok(()),
    }
}

fn not_now(error: &io::Error) -> bool {
    // A socket that is not connected yet answers a write with EAGAIN and a read with ENOTCONN.
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

fn kind(error: io::Error) -> String {
    format!("io: {:?}", error.kind())
}
