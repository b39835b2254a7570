//! Bytes on a connection, plain or TLS, and HTTP/1.1 responses taken apart strictly.

use super::PATIENCE;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// One side of a connection.
pub enum Wire {
    Plain(TcpStream),
    Client(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
    Server(Box<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>),
}

impl Wire {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Client(tls) => &tls.sock,
            Wire::Server(tls) => &tls.sock,
        }
    }

    /// Ends our direction: close_notify on TLS, FIN on both.
    pub fn finish(&mut self) {
        match self {
            Wire::Plain(_) => {}
            Wire::Client(tls) => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
            Wire::Server(tls) => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Cuts the connection: FIN without close_notify.
    pub fn cut(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Cuts the connection with RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.socket());
        let _ = socket.set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(into),
            Wire::Client(tls) => tls.read(into),
            Wire::Server(tls) => tls.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Client(tls) => tls.write(bytes),
            Wire::Server(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.flush(),
            Wire::Client(tls) => tls.flush(),
            Wire::Server(tls) => tls.flush(),
        }
    }
}

pub fn patient(socket: &TcpStream) {
    socket.set_nodelay(true).expect("TCP_NODELAY");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a read timeout");
    socket
        .set_write_timeout(Some(PATIENCE))
        .expect("a write timeout");
}

/// How reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// FIN, and on TLS close_notify before it.
    Clean,
    /// FIN without close_notify.
    Cut,
    Reset,
    /// The peer kept the connection open and silent.
    Open,
    /// A TLS alert.
    Alert,
}

/// A wire with what has been read and not taken.
pub struct Reader {
    pub wire: Wire,
    pub buffered: Vec<u8>,
}

impl Reader {
    pub fn new(wire: Wire) -> Reader {
        Reader {
            wire,
            buffered: Vec::new(),
        }
    }

    /// Reads once more.
    pub fn fill(&mut self) -> Result<usize, Ended> {
        let mut chunk = [0; 16 * 1024];
        match self.wire.read(&mut chunk) {
            Ok(0) => Err(Ended::Clean),
            Ok(count) => {
                self.buffered.extend_from_slice(&chunk[..count]);
                Ok(count)
            }
            Err(why) => Err(match why.kind() {
                io::ErrorKind::UnexpectedEof => Ended::Cut,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ended::Reset,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ended::Open,
                _ => Ended::Alert,
            }),
        }
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Err(ended) = self.fill() {
                return (std::mem::take(&mut self.buffered), ended);
            }
        }
    }

    pub fn exact(&mut self, count: usize) -> Result<Vec<u8>, Ended> {
        while self.buffered.len() < count {
            self.fill()?;
        }
        Ok(self.buffered.drain(..count).collect())
    }

    /// Up to and with `mark`.
    pub fn through(&mut self, mark: &[u8]) -> Result<Vec<u8>, Ended> {
        let mut from = 0;
        loop {
            let found = self.buffered[from..]
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(at) = found {
                return self.exact(from + at + mark.len());
            }
            from = (self.buffered.len() + 1).saturating_sub(mark.len());
            self.fill()?;
        }
    }

    /// Chunked content and its trailer section.
    pub fn chunked(&mut self) -> Result<(Vec<u8>, Fields), Ended> {
        let mut content = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.through(b"\r\n")?).into_owned();
            let digits = line.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16)
                .unwrap_or_else(|_| panic!("a chunk size, not {line:?}"));
            if size == 0 {
                break;
            }
            content.extend(self.exact(size)?);
            assert_eq!(self.exact(2)?, b"\r\n", "a chunk ends with CRLF");
        }
        let mut trailers = Fields::default();
        loop {
            let line = self.through(b"\r\n")?;
            if line == b"\r\n" {
                return Ok((content, trailers));
            }
            trailers.push_line(&line);
        }
    }
}

/// Field lines in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    pub fn of(head: &[u8]) -> Fields {
        let text = String::from_utf8_lossy(head);
        let mut fields = Fields::default();
        for line in text.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
            fields.push_line(line.as_bytes());
        }
        fields
    }

    fn push_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let (name, value) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("a field line, not {line:?}"));
        self.0.push((name.to_owned(), value.trim().to_owned()));
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that stands there at most once.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(
            all.len() <= 1,
            "{name} stands there more than once: {all:?}"
        );
        all.first().copied()
    }
}

/// A response as it came.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Interim responses before it, heads as they came.
    pub interim: Vec<String>,
}

impl Response {
    /// Reads one response to a request with `method`.
    pub fn read(reader: &mut Reader, method: &str) -> Result<Response, Ended> {
        let mut interim = Vec::new();
        let (head, status) = loop {
            let head = String::from_utf8_lossy(&reader.through(b"\r\n\r\n")?).into_owned();
            let status: u16 = head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|digits| digits.parse().ok())
                .unwrap_or_else(|| panic!("a status line, not {head:?}"));
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
            } else {
                break (head, status);
            }
        };
        let fields = Fields::of(head.as_bytes());
        let mut trailers = Fields::default();
        let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
        let length = fields.get("Content-Length");
        let coding = fields.get("Transfer-Encoding");
        assert!(
            length.is_none() || coding.is_none(),
            "both framings: {head}"
        );
        let body = if bodiless {
            Vec::new()
        } else if coding.is_some() {
            assert_eq!(coding, Some("chunked"), "{head}");
            let (content, section) = reader.chunked()?;
            trailers = section;
            content
        } else if let Some(length) = length {
            reader.exact(length.parse().expect("a number"))?
        } else {
            let (content, ended) = reader.rest();
            if ended != Ended::Clean {
                return Err(ended);
            }
            content
        };
        Ok(Response {
            status,
            head,
            fields,
            body,
            trailers,
            interim,
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The content as a request head that the upstream echoed.
    pub fn echoed(&self) -> Fields {
        Fields::of(&self.body)
    }

    /// Kong's JSON error body to the byte, with the request id that the response names (KONG.md §3.5).
    #[track_caller]
    pub fn assert_error(&self, status: u16, message: &str) {
        assert_eq!(self.status, status, "{}{}", self.head, self.text());
        let id = self.field("X-Kong-Request-Id").expect("a request id");
        assert_eq!(
            id.bytes()
                .filter(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                .count(),
            32,
            "{id}"
        );
        let body = format!("{{\n  \"message\":\"{message}\",\n  \"request_id\":\"{id}\"\n}}");
        assert_eq!(self.text(), body);
        assert_eq!(
            self.field("Content-Type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(self.field("Server"), Some("kong/3.9.1"));
        assert!(self.field("X-Kong-Response-Latency").is_some());
    }

    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Response {
        assert_eq!(self.status, status, "{}{}", self.head, self.text());
        self
    }
}
