//! TLS over a blocking socket and HTTP/1.1 messages on it: as much as the demo's client and its upstream need.

use crate::limits::{DEMO_FIELD_COUNT_MAX, DEMO_MESSAGE_SIZE_MAX};
use crate::tls;
use crate::tls::server::CoreServer;
use crate::tls::session::{HelloState, ServerAcceptor, Session};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// One connection after its handshake.
pub(super) struct Stream {
    socket: TcpStream,
    session: Session,
    /// Decrypted and not taken yet.
    plain: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Tls(tls::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended too early")]
    Cut,
    #[error("what came is no HTTP/1.1 message")]
    Message,
    #[error("a message is larger than {DEMO_MESSAGE_SIZE_MAX} bytes")]
    TooLarge,
}

/// A message without its content. Field names are in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Method and target of a request; empty for a response.
    pub method: String,
    pub target: String,
    /// Of a response; 0 for a request.
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Stream {
    pub fn client(socket: TcpStream, session: Session) -> Result<Stream, Fault> {
        Stream {
            socket,
            session,
            plain: Vec::new(),
        }
        .shaken()
    }

    pub fn server(mut socket: TcpStream, core: &CoreServer) -> Result<Stream, Fault> {
        let mut acceptor = ServerAcceptor::new();
        let mut buffer = [0; READ_SIZE];
        loop {
            let size = socket.read(&mut buffer)?;
            let read = buffer
                .get(..size)
                .filter(|read| !read.is_empty())
                .ok_or(Fault::Cut)?;
            match acceptor.feed(read) {
                Ok(HelloState::NeedMore) => {}
                Ok(HelloState::Ready(_)) => break,
                Err(error) => return Err(alerted(&mut socket, error)),
            }
        }
        match acceptor.accept(core) {
            Ok(session) => Stream {
                socket,
                session,
                plain: Vec::new(),
            }
            .shaken(),
            Err(error) => Err(alerted(&mut socket, error)),
        }
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn write(&mut self, plain: &[u8]) -> Result<(), Fault> {
        self.session.write(plain).map_err(Fault::Tls)?;
        self.flush()
    }

    /// The head of the next request; `None` when the peer has ended instead.
    pub fn request(&mut self) -> Result<Option<Head>, Fault> {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.plain, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill()? {
                return match self.plain.is_empty() {
                    true => Ok(None),
                    false => Err(Fault::Cut),
                };
            }
        };
        let rest = self.plain.split_off(end);
        let raw = std::mem::replace(&mut self.plain, rest);
        request_head(&raw).map(Some)
    }

    /// The response that ends with the connection, and its content. Interim responses are passed over.
    pub fn response(&mut self) -> Result<(Head, Vec<u8>), Fault> {
        while self.fill()? {}
        response(&self.plain)
    }

    /// Ends the connection in order: close_notify, then what is still on its way is let in, so that no reset overtakes
    /// the answer.
    pub fn finish(mut self) {
        const LINGER: Duration = Duration::from_millis(500);
        self.session.close_notify();
        if self.flush().is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut buffer = [0; READ_SIZE];
        if self.socket.set_read_timeout(Some(LINGER)).is_ok() {
            while matches!(self.socket.read(&mut buffer), Ok(size) if size > 0) {}
        }
    }

    fn shaken(mut self) -> Result<Stream, Fault> {
        loop {
            self.flush()?;
            if !self.session.handshaking() {
                return Ok(self);
            }
            if !self.fill()? {
                return Err(Fault::Cut);
            }
        }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let mut out = Vec::new();
        self.session.take_output(&mut out);
        Ok(self.socket.write_all(&out)?)
    }

    /// Reads once; false when nothing will come any more.
    fn fill(&mut self) -> Result<bool, Fault> {
        if self.session.peer_closed() {
            return Ok(false);
        }
        let mut buffer = [0; READ_SIZE];
        let size = match self.socket.read(&mut buffer) {
            Ok(size) => size,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(why) => return Err(why.into()),
        };
        let mut rest = buffer.get(..size).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        while !rest.is_empty() {
            let taken = match self.session.feed(rest) {
                Ok(taken) => taken,
                Err(error) => return Err(alerted(&mut self.socket, error)),
            };
            let before = self.plain.len();
            while let Some(chunk) = self.session.plaintext() {
                let size = chunk.len();
                self.plain.extend_from_slice(chunk);
                self.session.consume(size);
            }
            if self.plain.len() > DEMO_MESSAGE_SIZE_MAX {
                return Err(Fault::TooLarge);
            }
            if taken == 0 && self.plain.len() == before {
                return Err(Fault::Cut);
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(true)
    }
}

const READ_SIZE: usize = 16 * 1024;

/// Sends what the error still has to say; if that fails the peer is gone already.
fn alerted(socket: &mut TcpStream, error: tls::Error) -> Fault {
    let _ = socket.write_all(error.alert());
    Fault::Tls(error)
}

fn request_head(raw: &[u8]) -> Result<Head, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; DEMO_FIELD_COUNT_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(raw) {
        Ok(httparse::Status::Complete(_)) => Ok(Head {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            status: 0,
            fields: texts(request.headers),
        }),
        _ => Err(Fault::Message),
    }
}

fn response(mut raw: &[u8]) -> Result<(Head, Vec<u8>), Fault> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; DEMO_FIELD_COUNT_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let size = match response.parse(raw) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Err(Fault::Cut),
            Err(_) => return Err(Fault::Message),
        };
        let head = Head {
            status: response.code.unwrap_or_default(),
            fields: texts(response.headers),
            ..Head::default()
        };
        raw = raw.get(size..).unwrap_or_default();
        if (100..200).contains(&head.status) {
            continue;
        }
        let chunked = head.field("transfer-encoding").is_some();
        let content = match head.field("content-length") {
            _ if chunked => unchunked(raw)?,
            Some(size) => {
                let size = size.parse().map_err(|_| Fault::Message)?;
                raw.get(..size).ok_or(Fault::Cut)?.to_vec()
            }
            None => raw.to_vec(),
        };
        return Ok((head, content));
    }
}

fn unchunked(mut raw: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    loop {
        let (at, size) = match httparse::parse_chunk_size(raw) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Err(Fault::Cut),
            Err(_) => return Err(Fault::Message),
        };
        if size == 0 {
            return Ok(content);
        }
        let size = usize::try_from(size).map_err(|_| Fault::TooLarge)?;
        let rest = raw.get(at..).unwrap_or_default();
        let (chunk, rest) = rest.split_at_checked(size).ok_or(Fault::Cut)?;
        content.extend_from_slice(chunk);
        raw = rest.strip_prefix(b"\r\n").ok_or(Fault::Message)?;
    }
}

fn texts(fields: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |field: &httparse::Header<'_>| {
        (
            field.name.to_ascii_lowercase(),
            String::from_utf8_lossy(field.value).into_owned(),
        )
    };
    fields.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_by_its_framing() {
        for (rule, raw, want) in [
            (
                "Content-Length",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
                Some((200, "ab")),
            ),
            (
                "chunked",
                "HTTP/1.1 401 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                Some((401, "abc")),
            ),
            (
                "until the end",
                "HTTP/1.1 502 x\r\n\r\nabc",
                Some((502, "abc")),
            ),
            (
                "interim",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                Some((200, "")),
            ),
            (
                "short content",
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
                None,
            ),
            (
                "short chunk",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
                None,
            ),
            ("head cut", "HTTP/1.1 200 OK\r\nContent-", None),
            ("no HTTP", "\0\0\0", None),
        ] {
            let got = response(raw.as_bytes()).ok();
            let got = got.map(|(head, content)| (head.status, String::from_utf8(content).unwrap()));
            assert_eq!(
                got,
                want.map(|(status, content)| (status, content.to_owned())),
                "{rule}"
            );
        }
    }

    #[test]
    fn a_request_head_keeps_what_the_upstream_echoes() {
        let head = request_head(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Kong: Y\r\n\r\n").unwrap();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("GET", "/a?b")
        );
        assert_eq!(head.field("x-kong"), Some("Y"));
        assert!(request_head(b"GET\r\n\r\n").is_err());
    }
}
