//! Chunked content (RFC 9112 §7.1): an incremental decoder over slices, and the encoder's pieces.
//!
//! Chunk extensions are dropped, as §7.1.1 lets a recipient do. Trailer fields are kept for the
//! one who re-encodes, except those whose meaning would come too late (RFC 9110 §6.5.1) or forge
//! an identity.

use super::Error;
use super::encode;
use super::fields::{self, Name};
use crate::limits::{
    CHUNK_EXT_SIZE_MAX, CHUNK_EXT_TOTAL_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_COUNT_MAX,
    TRAILER_SIZE_MAX,
};
use std::ops::Range;

/// What [`Decoder::next`] found. Bytes from `consumed` on are not looked at yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub consumed: usize,
    pub event: Event,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Content: this range of the input, within `consumed`, never empty.
    Data(Range<usize>),
    /// All input is consumed.
    NeedMore,
    /// The message is over; the input from `consumed` on belongs to the next one.
    End,
}

// size line ──CRLF──▶ data ──▶ CRLF ──▶ size line
//     │ size 0
//     ▼
// trailer line ──CRLF──▶ trailer line      empty line ──▶ done
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size { digit_count: usize, value: u64 },
    Extension { value: u64, size: usize },
    SizeLf { value: u64 },
    Data { remaining: u64 },
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// Decodes one message's content. Reusable through [`Decoder::reset`], which keeps the memory.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extension_size_total: usize,
    /// The start of a trailer line whose end has not arrived.
    line: Vec<u8>,
    trailer_size: usize,
    trailer_count: usize,
    trailers: Vec<u8>,
}

impl Decoder {
    /// Allocates nothing until a trailer field comes or the trailer section arrives in pieces.
    pub fn new() -> Decoder {
        Decoder {
            state: State::START,
            extension_size_total: 0,
            line: Vec::new(),
            trailer_size: 0,
            trailer_count: 0,
            trailers: Vec::new(),
        }
    }

    /// Decodes up to the next piece of content.
    ///
    /// # Errors
    /// The rule broken, at the byte that breaks it. The decoder must not be used afterwards.
    pub fn next(&mut self, input: &[u8]) -> Result<Step, Error> {
        let mut at = 0;
        loop {
            if self.state == State::Done {
                return Ok(Step {
                    consumed: at,
                    event: Event::End,
                });
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(&byte) = rest.first() else {
                return Ok(Step {
                    consumed: at,
                    event: Event::NeedMore,
                });
            };
            match self.state {
                State::Data { remaining } => {
                    let size = usize::try_from(remaining)
                        .unwrap_or(usize::MAX)
                        .min(rest.len());
                    let remaining = remaining - size as u64;
                    self.state = if remaining == 0 {
                        State::DataCr
                    } else {
                        State::Data { remaining }
                    };
                    return Ok(Step {
                        consumed: at + size,
                        event: Event::Data(at..at + size),
                    });
                }
                State::Trailer => at += self.trailer_bytes(rest)?,
                _ => {
                    self.state = self.framing_byte(byte)?;
                    at += 1;
                }
            }
        }
    }

    /// The trailer fields worth forwarding, as lines that end in CRLF; complete once [`Event::End`] was given.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn framing_byte(&mut self, byte: u8) -> Result<State, Error> {
        match (self.state, byte) {
            (State::Size { digit_count, value }, _) if byte.is_ascii_hexdigit() => {
                if digit_count == CHUNK_SIZE_DIGITS_MAX || value > (i64::MAX as u64) >> 4 {
                    return Err(Error::ChunkSizeOverflow);
                }
                Ok(State::Size {
                    digit_count: digit_count + 1,
                    value: value << 4 | hex_value(byte),
                })
            }
            (State::Size { digit_count: 0, .. }, _) => Err(Error::ChunkSize),
            (State::Size { value, .. }, b'\r') => Ok(State::SizeLf { value }),
            (State::Size { value, .. }, b';') => self.extension_byte(value, 0),
            (State::Size { .. }, b'\n') => Err(Error::ChunkLineEnd),
            (State::Size { .. }, _) => Err(Error::ChunkSize),
            (State::Extension { value, .. }, b'\r') => Ok(State::SizeLf { value }),
            (State::Extension { value, size }, _) if fields::is_value_byte(byte) => {
                self.extension_byte(value, size)
            }
            (State::Extension { .. }, b'\n') => Err(Error::ChunkLineEnd),
            (State::Extension { .. }, _) => Err(Error::ChunkExtension),
            (State::SizeLf { value: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeLf { value }, b'\n') => Ok(State::Data { remaining: value }),
            (State::SizeLf { .. }, _) => Err(Error::ChunkLineEnd),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::START),
            (State::DataCr | State::DataLf, _) => Err(Error::ChunkDataEnd),
            (State::Data { .. } | State::Trailer | State::Done, _) => Ok(self.state),
        }
    }

    fn extension_byte(&mut self, value: u64, size: usize) -> Result<State, Error> {
        self.extension_size_total += 1;
        if size == CHUNK_EXT_SIZE_MAX || self.extension_size_total > CHUNK_EXT_TOTAL_MAX {
            return Err(Error::ChunkExtensionTooLong);
        }
        Ok(State::Extension {
            value,
            size: size + 1,
        })
    }

    /// Takes bytes up to the end of a trailer line; gives how many.
    fn trailer_bytes(&mut self, input: &[u8]) -> Result<usize, Error> {
        let newline = memchr::memchr(b'\n', input);
        let size = newline.map_or(input.len(), |at| at + 1);
        self.trailer_size += size;
        if self.trailer_size > TRAILER_SIZE_MAX {
            return Err(Error::TrailerTooLarge);
        }
        let bytes = input.get(..size).unwrap_or_default();
        if newline.is_none() {
            self.line.extend_from_slice(bytes);
        } else if self.line.is_empty() {
            self.trailer_line(bytes)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(bytes);
            self.trailer_line(&line)?;
            line.clear();
            self.line = line;
        }
        Ok(size)
    }

    /// Takes a whole line up to its LF.
    fn trailer_line(&mut self, line: &[u8]) -> Result<(), Error> {
        let line = line.strip_suffix(b"\r\n").ok_or(Error::BareLf)?;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(());
        }
        let (name, value) = fields::check_line(line)?;
        self.trailer_count += 1;
        if self.trailer_count > TRAILER_COUNT_MAX {
            return Err(Error::TooManyTrailers);
        }
        let name = line.get(name).unwrap_or_default();
        if may_trail(name) {
            let value = line.get(value).unwrap_or_default();
            encode::field(&mut self.trailers, name, value);
        }
        Ok(())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl State {
    const START: State = State::Size {
        digit_count: 0,
        value: 0,
    };
}

/// What follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the size line of a chunk of `size` bytes; the data and [`CHUNK_END`] go behind it.
/// Nothing for size 0, which would end the content.
pub fn write_chunk_header(out: &mut Vec<u8>, size: usize) {
    if size > 0 {
        encode::hex(out, size as u64);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the last chunk and a trailer section of such lines as [`Decoder::trailers`] gives.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// Whether a trailer field may be forwarded (RFC 9110 §6.5.1): no framing, routing,
/// authentication, request modifier, response control or content format, nothing the gateway
/// itself says about the client, and none of those with underscores for dashes.
fn may_trail(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 25] = [
        b"age",
        b"authorization",
        b"cache-control",
        b"cookie",
        b"date",
        b"expires",
        b"forwarded",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"location",
        b"max-forwards",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"origin",
    ];
    let known = Name::of_folded(name);
    let starts_with = |prefix: &[u8]| {
        name.get(..prefix.len())
            .is_some_and(|start| folded_eq(start, prefix))
    };
    known == Name::Other
        && !starts_with(b"content-")
        && !starts_with(b"x-forwarded-")
        && !FORBIDDEN.iter().any(|each| folded_eq(name, each))
}

/// Equal but for letter case and underscores; `lower` is lower-case.
fn folded_eq(name: &[u8], lower: &[u8]) -> bool {
    let fold = |byte: u8| match byte {
        b'_' => b'-',
        _ => byte.to_ascii_lowercase(),
    };
    name.len() == lower.len() && name.iter().zip(lower).all(|(&a, &b)| fold(a) == b)
}

fn hex_value(digit: u8) -> u64 {
    match digit {
        b'0'..=b'9' => u64::from(digit - b'0'),
        _ => u64::from((digit | 0x20) - b'a') + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut decoder = Decoder::new();
        let mut data = Vec::new();
        let mut at = 0;
        loop {
            let step = decoder.next(&input[at..])?;
            match step.event {
                Event::Data(range) => data.extend_from_slice(&input[at..][range]),
                Event::End => return Ok((data, decoder.trailers().to_vec())),
                Event::NeedMore => return Ok((data, b"unfinished".to_vec())),
            }
            at += step.consumed;
        }
    }

    #[test]
    fn trailer_fields_with_a_meaning_are_dropped() {
        let dropped = [
            "Content-Length",
            "Content_Length",
            "content-md5",
            "Transfer-Encoding",
            "Host",
            "Authorization",
            "Set-Cookie",
            "Connection",
            "Trailer",
            "X-Consumer-ID",
            "x_consumer_username",
            "X-Client-Cert",
            "X-Forwarded-For",
            "X_Forwarded_Anything",
            "Via",
            "If-Match",
        ];
        for name in dropped {
            let input = format!("0\r\n{name}: a\r\nX-Sum:  b \r\n\r\n");
            let want = (Vec::new(), b"X-Sum: b\r\n".to_vec());
            assert_eq!(decode(input.as_bytes()), Ok(want), "{name}");
        }
    }

    #[test]
    fn bounds_of_sizes_extensions_and_trailers() {
        let ext = |size: usize| format!("1;{}\r\n", "e".repeat(size - 1));
        let many = CHUNK_EXT_TOTAL_MAX / CHUNK_EXT_SIZE_MAX;
        let full = format!("{}x\r\n", ext(CHUNK_EXT_SIZE_MAX));
        let line = |size: usize| format!("a: {}\r\n", "v".repeat(size - 5));
        let table: [(&str, String, Option<Error>); 12] = [
            ("16 digits", "0000000000000001\r\n".into(), None),
            (
                "17 digits",
                "00000000000000001\r\n".into(),
                Some(Error::ChunkSizeOverflow),
            ),
            ("2^63 - 1", "7fffffffffffffff\r\n".into(), None),
            (
                "2^63",
                "8000000000000000\r\n".into(),
                Some(Error::ChunkSizeOverflow),
            ),
            ("extension", ext(CHUNK_EXT_SIZE_MAX), None),
            (
                "longer extension",
                ext(CHUNK_EXT_SIZE_MAX + 1),
                Some(Error::ChunkExtensionTooLong),
            ),
            ("extensions", full.repeat(many), None),
            (
                "more extensions",
                full.repeat(many) + "1;",
                Some(Error::ChunkExtensionTooLong),
            ),
            (
                "trailer size",
                format!("0\r\n{}\r\n", line(TRAILER_SIZE_MAX - 2)),
                None,
            ),
            (
                "more trailer size",
                format!("0\r\n{}\r\n", line(TRAILER_SIZE_MAX - 1)),
                Some(Error::TrailerTooLarge),
            ),
            (
                "trailer count",
                format!("0\r\n{}\r\n", line(6).repeat(TRAILER_COUNT_MAX)),
                None,
            ),
            (
                "more trailers",
                format!("0\r\n{}\r\n", line(6).repeat(TRAILER_COUNT_MAX + 1)),
                Some(Error::TooManyTrailers),
            ),
        ];
        for (name, input, want) in table {
            assert_eq!(decode(input.as_bytes()).err(), want, "{name}");
        }
    }

    #[test]
    fn encoded_chunks_decode_to_what_was_put_in() {
        let mut out = Vec::new();
        for data in [&b"a"[..], b"", b"sixteen bytes ..", &[b'x'; 300]] {
            write_chunk_header(&mut out, data.len());
            out.extend_from_slice(data);
            if !data.is_empty() {
                out.extend_from_slice(CHUNK_END);
            }
        }
        write_last_chunk(&mut out, b"X-Sum: 1\r\n");
        let want = [&b"asixteen bytes .."[..], &[b'x'; 300]].concat();
        assert_eq!(decode(&out), Ok((want, b"X-Sum: 1\r\n".to_vec())));
        assert_eq!(decode(b"0\r\n\r\n"), Ok((Vec::new(), Vec::new())));
    }
}
