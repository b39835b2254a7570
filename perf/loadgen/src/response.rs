//! Where one response ends: enough of HTTP/1.1 (RFC 9112 §6) to count it.

use std::borrow::Cow;

/// Bytes a response head may have.
const HEAD_SIZE_MAX: usize = 32 * 1024;

/// A response that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub status: u16,
    pub content_size: u64,
    /// The server said `Connection: close`.
    pub close: bool,
}

/// Reads one response after another; interim ones (1xx) are skipped.
#[derive(Default)]
pub struct Reader {
    state: State,
    /// The beginning of a head or of a chunk's line that came in pieces.
    partial: Vec<u8>,
    status: u16,
    content_size: u64,
    close: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    #[default]
    Head,
    Content {
        remaining: u64,
    },
    UntilClose,
    ChunkLine,
    ChunkData {
        /// With the line end that follows the data.
        remaining: u64,
    },
    Trailer,
}

impl Reader {
    /// Takes `bytes` and returns the response they complete. Bytes behind its end are an error: nothing is pipelined.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Done>, &'static str> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    let Some((head, rest)) = self.take_until(bytes, b"\r\n\r\n")? else {
                        return Ok(None);
                    };
                    bytes = rest;
                    self.read_head(&head)?;
                }
                State::Content { remaining } => {
                    let taken = remaining.min(bytes.len() as u64);
                    self.content_size += taken;
                    self.state = State::Content {
                        remaining: remaining - taken,
                    };
                    bytes = &bytes[taken as usize..];
                }
                State::UntilClose => {
                    self.content_size += bytes.len() as u64;
                    return Ok(None);
                }
                State::ChunkLine => {
                    let Some((line, rest)) = self.take_until(bytes, b"\r\n")? else {
                        return Ok(None);
                    };
                    bytes = rest;
                    let size = chunk_size(&line).ok_or("chunk size")?;
                    self.content_size += size;
                    self.state = match size {
                        0 => State::Trailer,
                        size => State::ChunkData {
                            remaining: size + 2,
                        },
                    };
                }
                State::ChunkData { remaining } => {
                    let taken = remaining.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.state = match remaining - taken {
                        0 => State::ChunkLine,
                        remaining => State::ChunkData { remaining },
                    };
                }
                State::Trailer => {
                    let Some((line, rest)) = self.take_until(bytes, b"\r\n")? else {
                        return Ok(None);
                    };
                    bytes = rest;
                    if line.len() == 2 {
                        self.state = State::Content { remaining: 0 };
                    }
                }
            }
            if self.state == (State::Content { remaining: 0 }) {
                if !bytes.is_empty() {
                    return Err("bytes after the response");
                }
                return Ok(Some(self.finish()));
            }
        }
        Ok(None)
    }

    /// The connection has ended: a response that runs until the close is whole now.
    pub fn end(&mut self) -> Option<Done> {
        (self.state == State::UntilClose).then(|| self.finish())
    }

    fn finish(&mut self) -> Done {
        let done = Done {
            status: self.status,
            content_size: self.content_size,
            close: self.close,
        };
        *self = Reader {
            partial: std::mem::take(&mut self.partial),
            ..Reader::default()
        };
        done
    }

    /// Everything up to and including `end`, or keeps what is there until more comes.
    fn take_until<'a>(
        &mut self,
        bytes: &'a [u8],
        end: &[u8],
    ) -> Result<Option<Split<'a>>, &'static str> {
        if self.partial.is_empty()
            && let Some(at) = find(bytes, end)
        {
            let (head, rest) = bytes.split_at(at + end.len());
            return Ok(Some((head.into(), rest)));
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let from = before.saturating_sub(end.len() - 1);
        match find(&self.partial[from..], end) {
            Some(at) => {
                let size = from + at + end.len();
                let head = self.partial[..size].to_vec();
                self.partial.clear();
                Ok(Some((head.into(), &bytes[size - before..])))
            }
            None if self.partial.len() > HEAD_SIZE_MAX => Err("head too large"),
            None => Ok(None),
        }
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), &'static str> {
        if !head.starts_with(b"HTTP/1.") {
            return Err("not HTTP/1");
        }
        let digits = head.get(9..12).and_then(|d| std::str::from_utf8(d).ok());
        self.status = digits.and_then(|d| d.parse().ok()).ok_or("status line")?;
        if (100..200).contains(&self.status) {
            return Ok(());
        }
        let mut content_length = None;
        let mut chunked = false;
        for line in head.split(|&b| b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|&b| b == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                let text = std::str::from_utf8(value).map_err(|_| "content length")?;
                content_length = Some(text.parse::<u64>().map_err(|_| "content length")?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"connection") {
                self.close = value.eq_ignore_ascii_case(b"close");
            }
        }
        self.state = match (chunked, content_length) {
            (true, _) => State::ChunkLine,
            (false, Some(remaining)) => State::Content { remaining },
            (false, None) if matches!(self.status, 204 | 304) => State::Content { remaining: 0 },
            (false, None) => State::UntilClose,
        };
        Ok(())
    }
}

/// What was looked for, and what follows it.
type Split<'a> = (Cow<'a, [u8]>, &'a [u8]);

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| matches!(b, b';' | b'\r' | b' ')).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16)
        .ok()
        .filter(|&size| size < 1 << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (RFC 9112, response, status, content size, close)
    const WHOLE: &[(&str, &str, u16, u64, bool)] = &[
        (
            "6.2",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            2,
            false,
        ),
        (
            "6.2",
            "HTTP/1.1 200 OK\r\ncontent-length:0\r\nconnection: Close\r\n\r\n",
            200,
            0,
            true,
        ),
        ("6.3", "HTTP/1.1 204 No Content\r\n\r\n", 204, 0, false),
        (
            "7.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            15,
            false,
        ),
        (
            "7.1.2",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
            200,
            1,
            false,
        ),
        (
            "15.2",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 1\r\n\r\nx",
            401,
            1,
            false,
        ),
    ];

    #[test]
    fn a_response_ends_where_its_framing_says_however_it_is_cut() {
        for &(section, text, status, content_size, close) in WHOLE {
            let expected = Done {
                status,
                content_size,
                close,
            };
            for piece in [1, 2, 3, 7, text.len()] {
                let mut reader = Reader::default();
                let mut done = None;
                for bytes in text.as_bytes().chunks(piece) {
                    assert!(done.is_none(), "{section}: ended early: {text:?}");
                    done = reader.feed(bytes).expect(section);
                }
                assert_eq!(
                    done.as_ref(),
                    Some(&expected),
                    "{section} by {piece}: {text:?}"
                );
            }
        }
    }

    #[test]
    fn content_without_a_length_runs_until_the_close() {
        let mut reader = Reader::default();
        assert_eq!(reader.feed(b"HTTP/1.0 200 OK\r\n\r\nabc"), Ok(None));
        let done = reader.end().expect("the content had no length");
        assert_eq!((done.status, done.content_size), (200, 3));
        assert_eq!(reader.end(), None);
    }

    #[test]
    fn what_is_not_one_response_is_an_error() {
        let rows: &[(&str, &[u8])] = &[
            (
                "bytes behind the end",
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
            ),
            ("no HTTP", b"SSH-2.0-x\r\n\r\n"),
            ("length", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
            (
                "chunk size",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ),
        ];
        for (what, bytes) in rows {
            assert!(Reader::default().feed(bytes).is_err(), "{what}");
        }
    }
}
