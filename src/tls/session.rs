//! One TLS connection as a machine from bytes to bytes, either side. It owns no socket and no clock.
//!
//! ```text
//! ServerAcceptor ── feed ──▶ Ready(Hello) ── accept(core) ──▶ Session ── feed / plaintext / write / take_output
//!                   └─▶ Error::PlainHttp, Error::NotTls, Error::Protocol
//! ```
//!
//! Bounded by rustls (0.23): 64 KiB for one handshake message; per connection 4 warning alerts, 32 key updates
//! without data between them, one renegotiation attempt in TLS 1.2 (refused with no_renegotiation, the second ends
//! the connection), 32 records without content in a row. Bounded here: a ClientHello of `CLIENT_HELLO_SIZE_MAX`,
//! `SESSION_PLAINTEXT_BUFFERED_MAX` of unread plaintext.

use super::client_auth::ClientChain;
use super::errors::Error;
use super::provider;
use super::server::CoreServer;
use super::tickets::Ticketer;
use crate::limits::{CLIENT_HELLO_SIZE_MAX, PLAIN_METHOD_SIZE_MAX, SESSION_PLAINTEXT_BUFFERED_MAX};
use rustls::server::{Accepted, Acceptor};
use rustls::{AlertDescription, ClientConnection, Connection, HandshakeKind, ProtocolVersion};
use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

/// Reads a ClientHello, however it is cut, and says when the configuration is needed.
#[derive(Default)]
pub struct ServerAcceptor {
    stage: Stage,
    /// Bytes of the hello so far.
    size: usize,
    /// The first of them: record header, message header, legacy_version.
    begun: [u8; HELLO_VERSION_END],
    /// What followed the hello in the same read.
    rest: Vec<u8>,
}

#[derive(Default)]
#[allow(
    clippy::large_enum_variant,
    reason = "it lives as long as one hello; boxes would be two allocations for each handshake"
)]
enum Stage {
    /// Not a byte came.
    #[default]
    Start,
    Hello(Acceptor),
    Ready(Accepted, Option<Arc<str>>),
    /// Letters of what may be a plain-text HTTP method.
    Method(Vec<u8>),
    Failed,
}

const HELLO_VERSION_END: usize = 11;

#[derive(Debug)]
pub enum HelloState {
    NeedMore,
    Ready(Hello),
}

/// What the ClientHello says that decides before the handshake goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lower case. An IP address counts as none (RFC 6066 §3).
    pub sni: Option<Arc<str>>,
}

impl ServerAcceptor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all of `bytes`. After an error or `Ready` it takes no more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<HelloState, Error> {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Start => match bytes.first() {
                None => {
                    self.stage = Stage::Start;
                    Ok(HelloState::NeedMore)
                }
                // ContentType (RFC 8446 §5.1): change_cipher_spec to application_data. rustls refuses what is no hello.
                Some(20..=23) => self.read_hello(Acceptor::default(), bytes),
                Some(_) => self.read_method(Vec::new(), bytes),
            },
            Stage::Hello(acceptor) => self.read_hello(acceptor, bytes),
            Stage::Method(letters) => self.read_method(letters, bytes),
            Stage::Ready(..) | Stage::Failed => Err(Error::refused(
                "the hello was read already",
                AlertDescription::InternalError,
            )),
        }
    }

    fn read_hello(
        &mut self,
        mut acceptor: Acceptor,
        mut bytes: &[u8],
    ) -> Result<HelloState, Error> {
        let begun = self.size.min(HELLO_VERSION_END);
        for (kept, byte) in self.begun[begun..].iter_mut().zip(bytes) {
            *kept = *byte;
        }
        while !bytes.is_empty() {
            let before = bytes.len();
            if acceptor.read_tls(&mut bytes).is_err() || bytes.len() == before {
                return Err(Error::refused(
                    "the ClientHello is too long",
                    AlertDescription::DecodeError,
                ));
            }
            self.size = self.size.saturating_add(before - bytes.len());
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    self.rest = bytes.to_vec();
                    return Ok(HelloState::Ready(self.ready(accepted)));
                }
                Ok(None) if self.size > CLIENT_HELLO_SIZE_MAX => {
                    return Err(Error::refused(
                        "the ClientHello is too long",
                        AlertDescription::DecodeError,
                    ));
                }
                Ok(None) => {}
                // RFC 8446 appendix D: rustls looks for signature_algorithms first, which no such client has.
                Err((rustls::Error::PeerIncompatible(_), _)) if self.is_below_tls12() => {
                    return Err(Error::refused(
                        "the client offers TLS 1.1 or older; TLS 1.2 and 1.3 are served",
                        AlertDescription::ProtocolVersion,
                    ));
                }
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    // A Vec takes everything.
                    let _ = alert.write_all(&mut bytes);
                    return Err(Error::protocol(&error, bytes));
                }
            }
        }
        self.stage = Stage::Hello(acceptor);
        Ok(HelloState::NeedMore)
    }

    /// By legacy_version, which TLS 1.3 leaves at 1.2's number (RFC 8446 §4.1.2).
    fn is_below_tls12(&self) -> bool {
        let [22, 3, _, _, _, 1, _, _, _, major, minor] = self.begun else {
            return false;
        };
        self.size >= HELLO_VERSION_END && (major, minor) < (3, 3)
    }

    fn ready(&mut self, accepted: Accepted) -> Hello {
        let hello = accepted.client_hello();
        let sni: Option<Arc<str>> = hello.server_name().map(Arc::from);
        let described = Hello { sni: sni.clone() };
        self.stage = Stage::Ready(accepted, sni);
        described
    }

    /// A method and a space make a request line (RFC 9112 §3); anything else is neither TLS nor HTTP.
    fn read_method(&mut self, mut letters: Vec<u8>, bytes: &[u8]) -> Result<HelloState, Error> {
        for byte in bytes {
            match byte {
                b' ' if !letters.is_empty() => return Err(Error::PlainHttp),
                b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_'
                    if letters.len() < PLAIN_METHOD_SIZE_MAX =>
                {
                    letters.push(*byte)
                }
                _ => return Err(Error::NotTls),
            }
        }
        self.stage = Stage::Method(letters);
        Ok(HelloState::NeedMore)
    }

    /// Goes on with the certificate and the request this core's policy has for the hello's SNI.
    pub fn accept(self, core: &CoreServer) -> Result<Session, Error> {
        let Stage::Ready(accepted, sni) = self.stage else {
            return Err(Error::refused(
                "the ClientHello is not complete",
                AlertDescription::InternalError,
            ));
        };
        let (config, requested) = core
            .config(sni.as_deref())
            .map_err(|error| Error::refused(error.to_string(), AlertDescription::InternalError))?;
        let (connection, begun) = core
            .tickets()
            .working(None, || accepted.into_connection(config));
        let connection = connection.map_err(|(error, mut alert)| {
            if let rustls::Error::General(reason) = &error {
                // The resolver found nothing, or TLS 1.2 no signature scheme for which rustls has no alert.
                return match core.policy().broken_reason(sni.as_deref()) {
                    Some(reason) => Error::Identity { reason },
                    None => Error::refused(reason.as_str(), AlertDescription::HandshakeFailure),
                };
            }
            let mut bytes = Vec::new();
            let _ = alert.write_all(&mut bytes);
            Error::protocol(&error, bytes)
        })?;
        let mut session = Session::new(Connection::Server(connection), sni, requested);
        session.tickets = Some((Arc::clone(core.tickets()), session.begun_if_resumed(begun)));
        // What the acceptor read beyond the hello, then what it did not read.
        session.process()?;
        let taken = session.feed(&self.rest)?;
        if taken < self.rest.len() {
            return Err(session.failed(&rustls::Error::General(
                "data before the handshake ended".into(),
            )));
        }
        Ok(session)
    }
}

impl fmt::Debug for ServerAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAcceptor")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A connection from the hello to close_notify.
///
/// The caller's loop: `feed` what the socket gave, read `plaintext` and `consume` it, `write` the answer, `take_output`
/// and send it. After `feed` fails the error's `alert()` is all that may still be sent.
pub struct Session {
    connection: Connection,
    sni: Option<Arc<str>>,
    certificate_requested: bool,
    peer_closed: bool,
    /// Decrypted bytes not consumed yet.
    unread: usize,
    /// Set when the handshake left nothing to send but session tickets.
    only_tickets: bool,
    facts: Option<Box<Facts>>,
    chain: Option<Arc<ClientChain>>,
    /// While a server's handshake runs: what seals its tickets, and the epoch in which a resumed session began.
    tickets: Option<(Arc<Ticketer>, Option<u64>)>,
}

/// What was agreed; for logs, metrics and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL's name, as nginx and Kong log it.
    pub cipher: &'static str,
    /// `None` for a resumed TLS 1.2 session: nothing is exchanged then.
    pub group: Option<&'static str>,
    pub resumed: bool,
    pub sni: Option<Arc<str>>,
    /// This connection's name is one a certificate is asked for; on a resumed session the first handshake asked.
    pub client_certificate_requested: bool,
    /// `http/1.1`, `http/1.0` or `h2`; `None` when ALPN was not used.
    pub alpn: Option<&'static str>,
}

impl Session {
    /// The upstream side. `connection` has its configuration and server name already; its first flight is pending.
    #[allow(dead_code, reason = "called by tls::upstream")]
    pub(crate) fn client(connection: ClientConnection) -> Self {
        Self::new(Connection::Client(connection), None, false)
    }

    fn new(mut connection: Connection, sni: Option<Arc<str>>, certificate_requested: bool) -> Self {
        // The data plane bounds what it writes; a partial write here would only be a second bound.
        connection.set_buffer_limit(None);
        Self {
            connection,
            sni,
            certificate_requested,
            peer_closed: false,
            unread: 0,
            only_tickets: false,
            facts: None,
            chain: None,
            tickets: None,
        }
    }

    /// Takes ciphertext and returns how much of it: less than given when `plaintext` has to be read first, all of it
    /// after the peer's close_notify (RFC 8446 §6.1: what follows is ignored).
    pub fn feed(&mut self, ciphertext: &[u8]) -> Result<usize, Error> {
        let mut left = ciphertext;
        while !left.is_empty() && !self.peer_closed {
            if self.unread >= SESSION_PLAINTEXT_BUFFERED_MAX {
                return Ok(ciphertext.len() - left.len());
            }
            // rustls takes a piece at a time and keeps its buffer small that way.
            let before = left.len();
            match self.connection.read_tls(&mut left) {
                Ok(_) if left.len() < before => {}
                Ok(_) => {
                    let error = rustls::Error::General("rustls takes no more ciphertext".into());
                    return Err(self.failed(&error));
                }
                Err(error) => {
                    return Err(self.failed(&rustls::Error::General(error.to_string())));
                }
            }
            self.process()?;
        }
        Ok(ciphertext.len())
    }

    /// Lets rustls work on what it has read.
    fn process(&mut self) -> Result<(), Error> {
        let had_output = self.connection.wants_write();
        let processed = match self.tickets.take() {
            None => self.connection.process_new_packets(),
            Some((tickets, begun)) => {
                let work = || self.connection.process_new_packets();
                let (processed, begun) = tickets.working(begun, work);
                self.tickets = Some((tickets, self.begun_if_resumed(begun)));
                processed
            }
        };
        let state = match processed {
            Ok(state) => state,
            Err(error) => return Err(self.failed(&error)),
        };
        self.peer_closed = state.peer_has_closed();
        self.unread = state.plaintext_bytes_to_read();
        if self.facts.is_none() && !self.connection.is_handshaking() {
            self.finish(had_output);
        }
        Ok(())
    }

    /// A ticket that was opened need not have been taken: it may be another name's.
    fn begun_if_resumed(&self, begun: Option<u64>) -> Option<u64> {
        begun.filter(|_| self.connection.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// The handshake ended with the message just processed.
    fn finish(&mut self, had_output: bool) {
        self.tickets = None;
        let server = matches!(self.connection, Connection::Server(_));
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        self.only_tickets =
            server && version == "TLSv1.3" && !had_output && self.connection.wants_write();
        if server {
            let certificates = self.connection.peer_certificates().unwrap_or_default();
            if !certificates.is_empty() {
                let certificates = certificates.iter().map(|der| der.to_vec()).collect();
                self.chain = Some(Arc::new(ClientChain::new(certificates)));
            }
        }
        self.facts = Some(Box::new(Facts {
            version,
            cipher: self
                .connection
                .negotiated_cipher_suite()
                .map_or("unknown", provider::suite_name),
            group: self
                .connection
                .negotiated_key_exchange_group()
                .and_then(|group| provider::group_name(group.name())),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            sni: self.sni.clone(),
            client_certificate_requested: self.certificate_requested,
            alpn: self
                .connection
                .alpn_protocol()
                .map(|protocol| match protocol {
                    b"http/1.1" => "http/1.1",
                    b"http/1.0" => "http/1.0",
                    b"h2" => "h2",
                    // Only what the configuration offers is agreed.
                    _ => "unknown",
                }),
        }));
    }

    /// The next decrypted bytes; `None` when there are none now. They stay until `consume`.
    pub fn plaintext(&mut self) -> Option<&[u8]> {
        match self.connection.reader().into_first_chunk() {
            Ok(chunk) if !chunk.is_empty() => Some(chunk),
            // Nothing now, nothing any more, or an end without close_notify: the socket tells the caller which.
            _ => None,
        }
    }

    /// Drops the first `size` bytes of what `plaintext` returned; more than it returned drops just that.
    pub fn consume(&mut self, size: usize) {
        let mut reader = self.connection.reader();
        let held = reader.fill_buf().map_or(0, <[u8]>::len);
        let size = size.min(held);
        reader.consume(size);
        self.unread = self.unread.saturating_sub(size);
    }

    /// Gives back what a large record made the receive buffer grow to; for a connection that falls idle.
    /// rustls keeps 4 KiB, and all of it while a record is incomplete.
    pub fn shrink(&mut self) {
        // rustls sizes its buffer before it reads. A reader that has nothing leaves all else as it is.
        let _ = self.connection.read_tls(&mut NothingNow);
    }

    /// The peer sent close_notify: nothing more will come, and what came was not cut short.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Encrypts all of `plain`; before the handshake's end it is kept until then. No bound: the caller has one.
    pub fn write(&mut self, plain: &[u8]) -> Result<(), Error> {
        self.only_tickets = false;
        match self.connection.writer().write_all(plain) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(&rustls::Error::General(error.to_string()))),
        }
    }

    /// Moves what is to be sent to the end of `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        self.only_tickets = false;
        while self.connection.wants_write() {
            // A Vec takes everything; an error would repeat itself.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }

    pub fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// All there is to send are session tickets: they may wait for the first response and go out in its write
    /// (RUNTIME.md §3). Put a deadline on it.
    pub fn may_hold_output(&self) -> bool {
        self.only_tickets && self.connection.wants_write()
    }

    pub fn handshaking(&self) -> bool {
        self.facts.is_none()
    }

    /// Queues close_notify behind what was written. A second call does nothing.
    pub fn close_notify(&mut self) {
        self.only_tickets = false;
        self.connection.send_close_notify();
    }

    /// `None` while the handshake runs.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// The chain the client sent and proved to own, on a resumed session the one of its first handshake.
    pub fn client_chain(&self) -> Option<&Arc<ClientChain>> {
        self.chain.as_ref()
    }

    /// DER of the peer's end-entity certificate, either side; nothing is said about trust in it.
    pub fn peer_leaf(&self) -> Option<&[u8]> {
        self.connection
            .peer_certificates()?
            .first()
            .map(AsRef::as_ref)
    }

    /// The error with everything still to be sent, the alert last.
    fn failed(&mut self, error: &rustls::Error) -> Error {
        let mut pending = Vec::new();
        self.take_output(&mut pending);
        Error::protocol(error, pending)
    }
}

struct NothingNow;

impl std::io::Read for NothingNow {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("facts", &self.facts)
            .field("peer_closed", &self.peer_closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
