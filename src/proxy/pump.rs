//! Moving content: from one stream's framing to another's, with back-pressure and bounded memory.

use crate::http1::chunked::{Decoder, Event};
use crate::http1::framing::Framing;
use crate::http1::{Error, chunked};
use crate::proxy::core::Core;
use crate::proxy::stream::{Fill, Stream, WriteError};
use crate::ring;
use std::sync::Arc;
use std::time::Duration;

/// How content is framed on the way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emit {
    /// As it is: under a Content-Length, or until the connection closes.
    Bytes,
    Chunked,
    /// Nowhere: read and dropped.
    Nothing,
}

/// Why content did not get through.
#[derive(Debug)]
pub enum Broken {
    /// The side it comes from: closed early, too slow, or malformed.
    Source(SourceFault),
    /// The side it goes to.
    Sink(WriteError),
}

#[derive(Debug)]
pub enum SourceFault {
    Malformed(Error),
    Truncated,
    TimedOut,
    TooLarge,
    Failed(Arc<str>),
}

/// Bounds of one direction.
pub struct Bounds {
    /// Between two reads.
    pub read_timeout: Duration,
    /// Bytes per second below which content ends after `read_timeout`; 0 is off.
    pub rate_min: u64,
    /// For one write of what one read gave.
    pub write_timeout: Duration,
    /// Content bytes; 0 is off.
    pub size_max: u64,
}

impl Bounds {
    /// How long the next read may take, after `count` bytes for which the source was waited for `waited` in all.
    fn patience(&self, count: u64, waited: Duration) -> Duration {
        match count.checked_div(self.rate_min) {
            Some(paid_s) => self
                .read_timeout
                .saturating_add(Duration::from_secs(paid_s))
                .saturating_sub(waited)
                .min(self.read_timeout),
            None => self.read_timeout,
        }
    }
}

/// Moves the rest of a message's content, a read's worth at a time: a slow reader stops the reading.
/// With `last` the sink is told close_notify in the same send as the end of the content.
pub async fn relay(
    core: &Core,
    source: &Stream,
    sink: &Stream,
    mover: &mut Mover,
    bounds: &Bounds,
    last: bool,
) -> Result<(), Broken> {
    // Time spent waiting for the source alone: a slow sink is not the source's fault.
    let mut waited = Duration::ZERO;
    let mut out = Vec::new();
    source.bulk(true);
    loop {
        move_available(source, sink, mover, &mut out)
            .map_err(|error| Broken::Source(SourceFault::Malformed(error)))?;
        if bounds.size_max > 0 && mover.count > bounds.size_max {
            return Err(Broken::Source(SourceFault::TooLarge));
        }
        if mover.done() && last {
            sink.put_close_notify();
        }
        sink.flush(Some(ring::now() + bounds.write_timeout))
            .await
            .map_err(Broken::Sink)?;
        if mover.done() {
            source.bulk(false);
            return Ok(());
        }
        let asked = ring::now();
        let patience = bounds.patience(mover.count, waited);
        let filled = source.fill(core, Some(asked + patience)).await;
        waited += ring::now().saturating_duration_since(asked);
        match filled {
            Fill::Data => {}
            Fill::Eof { clean } => {
                out.clear();
                // On TLS only close_notify proves that the end is the peer's (RFC 8446 §6.1).
                if !clean || !mover.close(&mut out) {
                    return Err(Broken::Source(SourceFault::Truncated));
                }
                sink.put(&out);
            }
            Fill::TimedOut | Fill::Interrupted => {
                return Err(Broken::Source(SourceFault::TimedOut));
            }
            Fill::Failed(reason) => return Err(Broken::Source(SourceFault::Failed(reason))),
        }
    }
}

/// Drops a request's content when all of it has been received, so that the next byte begins a request. False: more of
/// it is on its way (or it is malformed), and the connection can carry nothing else.
pub fn pass_over(source: &Stream, framing: Framing) -> bool {
    let mut mover = Mover::new(framing, Emit::Nothing);
    let mut nothing = Vec::new();
    while !mover.done() {
        let taken = {
            let plain = source.plain();
            mover.step(&plain, &mut nothing).unwrap_or(0)
        };
        source.consume(taken);
        if taken == 0 {
            break;
        }
    }
    mover.done()
}

/// Moves what has been received already; nothing is sent yet.
pub fn move_available(
    source: &Stream,
    sink: &Stream,
    mover: &mut Mover,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    while !mover.done() {
        let taken = {
            let plain = source.plain();
            if plain.is_empty() {
                break;
            }
            match mover.pass(plain.len()) {
                Some(count) => {
                    sink.put(&plain[..count]);
                    count
                }
                None => {
                    out.clear();
                    let count = mover.step(&plain, out)?;
                    if !out.is_empty() {
                        sink.put(out);
                    }
                    count
                }
            }
        };
        source.consume(taken);
        if taken == 0 {
            break;
        }
    }
    Ok(())
}

/// Takes content apart by its framing and puts it together again by `Emit`; a machine over bytes, no sockets.
pub struct Mover {
    framing: Framing,
    decoder: Decoder,
    emit: Emit,
    done: bool,
    /// Content bytes that went through.
    pub count: u64,
}

impl Mover {
    pub fn new(framing: Framing, emit: Emit) -> Self {
        let done = matches!(framing, Framing::None | Framing::Length { remaining: 0 });
        Mover {
            framing,
            decoder: Decoder::new(),
            emit,
            done,
            count: 0,
        }
    }

    /// The content has ended; nothing more of the input belongs to it.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Takes what it can of `input` and appends its outgoing form to `out`, or passes it to `put` where no framing has to
    /// be added. Returns how many bytes were taken.
    ///
    /// # Errors
    /// Malformed chunked content.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let mut taken = 0;
        while !self.done && taken < input.len() {
            let rest = &input[taken..];
            match &mut self.framing {
                Framing::None => self.done = true,
                Framing::Length { remaining } => {
                    let count = rest
                        .len()
                        .min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    *remaining -= count as u64;
                    self.done = *remaining == 0;
                    taken += count;
                    self.emit_data(&rest[..count], out);
                    if self.done {
                        self.emit_end(out);
                    }
                }
                Framing::UntilClose => {
                    taken += rest.len();
                    self.emit_data(rest, out);
                }
                Framing::Chunked => {
                    let step = self.decoder.next(rest)?;
                    taken += step.consumed;
                    match step.event {
                        Event::Data(range) => {
                            self.emit_data(rest.get(range).unwrap_or_default(), out)
                        }
                        Event::NeedMore => break,
                        Event::End => {
                            self.done = true;
                            self.emit_end(out);
                        }
                    }
                }
            }
        }
        Ok(taken)
    }

    /// The peer closed: the end of content that lasts until then, and a truncation of any other.
    pub fn close(&mut self, out: &mut Vec<u8>) -> bool {
        if self.done {
            return true;
        }
        if matches!(self.framing, Framing::UntilClose) {
            self.done = true;
            self.emit_end(out);
        }
        self.done
    }

    /// How many of `available` bytes may be handed on as they lie; `None` when they have to go through `step`.
    pub fn pass(&mut self, available: usize) -> Option<usize> {
        if self.emit != Emit::Bytes {
            return None;
        }
        let count = match &mut self.framing {
            Framing::Length { remaining } => {
                let count = available.min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= count as u64;
                self.done = *remaining == 0;
                count
            }
            Framing::UntilClose => available,
            Framing::None | Framing::Chunked => return None,
        };
        self.count += count as u64;
        Some(count)
    }

    fn emit_data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.count += data.len() as u64;
        match self.emit {
            Emit::Bytes => out.extend_from_slice(data),
            Emit::Chunked if !data.is_empty() => {
                chunked::write_chunk_header(out, data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(chunked::CHUNK_END);
            }
            Emit::Chunked | Emit::Nothing => {}
        }
    }

    fn emit_end(&self, out: &mut Vec<u8>) {
        if self.emit == Emit::Chunked {
            chunked::write_last_chunk(out, self.decoder.trailers());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_source_runs_out_of_patience_and_a_slow_sink_costs_it_nothing() {
        let bounds = |rate_min| Bounds {
            read_timeout: Duration::from_secs(10),
            rate_min,
            write_timeout: Duration::ZERO,
            size_max: 0,
        };
        let rows = [
            ("no rate", 0, 1, 100, 10),
            ("first read", 100, 0, 0, 10),
            ("nothing came for 4 s", 100, 0, 4, 6),
            ("200 bytes pay for 2 s", 100, 200, 4, 8),
            ("never more than one timeout", 100, 1 << 40, 4, 10),
            ("used up", 100, 100, 50, 0),
        ];
        for (case, rate, count, waited_s, expected_s) in rows {
            assert_eq!(
                bounds(rate).patience(count, Duration::from_secs(waited_s)),
                Duration::from_secs(expected_s),
                "{case}"
            );
        }
    }

    #[test]
    fn a_mover_takes_its_content_and_not_a_byte_more() {
        type Row = (
            &'static str,
            Framing,
            Emit,
            &'static [u8],
            usize,
            &'static [u8],
        );
        let rows: [Row; 4] = [
            (
                "9112 §6.2",
                Framing::Length { remaining: 3 },
                Emit::Bytes,
                b"abcGET",
                3,
                b"abc",
            ),
            (
                "9112 §7.1",
                Framing::Chunked,
                Emit::Chunked,
                b"3\r\nabc\r\n0\r\n\r\nGET",
                13,
                b"3\r\nabc\r\n0\r\n\r\n",
            ),
            (
                "9112 §7.1 to HTTP/1.0",
                Framing::Chunked,
                Emit::Bytes,
                b"3\r\nabc\r\n0\r\n\r\nGET",
                13,
                b"abc",
            ),
            (
                "dropped",
                Framing::Length { remaining: 3 },
                Emit::Nothing,
                b"abcGET",
                3,
                b"",
            ),
        ];
        for (rule, framing, emit, input, taken, output) in rows {
            for step in [1, 2, input.len()] {
                let mut mover = Mover::new(framing, emit);
                let mut out = Vec::new();
                let mut at = 0;
                while !mover.done() && at < input.len() {
                    let end = (at + step).min(input.len());
                    at += mover.step(&input[at..end], &mut out).unwrap();
                }
                assert!(mover.done(), "{rule}");
                assert_eq!(at, taken, "{rule}");
                // In pieces the chunks are others, their content is the same.
                if step == input.len() || emit != Emit::Chunked {
                    assert_eq!(out, output, "{rule} by {step}");
                }
            }
        }
    }
}
