//! What must hold for any bytes, as plain functions: the fuzz target, the replay of its corpus
//! and the smuggling table all call these. They panic on a violation.

use super::chunked::{self, Decoder, Event};
use super::encode;
use super::framing::{Framing, request_framing, response_framing};
use super::head::{
    FieldLine, HeadLimits, Method, Parsed, RequestHead, ResponseHead, parse_request, parse_response,
};
use super::{Error, fields};

/// Small enough that a fuzzer reaches each bound.
pub const LIMITS: HeadLimits = HeadLimits {
    head_size_max: 2048,
    field_count_max: 32,
    line_size_max: 512,
};

/// For heads that were re-encoded, which adds a space per field line.
const LIMITS_REENCODED: HeadLimits = HeadLimits {
    head_size_max: 4096,
    field_count_max: 32,
    line_size_max: 1024,
};

/// Everything this module knows, on one input.
pub fn all(data: &[u8]) {
    let mut random = Random::new(seed_of(data));
    head::<RequestHead>(data, &mut random);
    head::<ResponseHead>(data, &mut random);
    content(data, &mut random);
}

/// What a head means, owned, for comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// Start line parts: the request's method, target, path, query and authority, or status and reason.
    start: Vec<Vec<u8>>,
    version: super::head::Version,
    fields: Vec<(Vec<u8>, Vec<u8>, fields::Name)>,
    framing: Result<Framing, Error>,
}

/// Request and response heads behind one door.
pub trait Head {
    fn fresh() -> Self;
    fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parsed, Error>;
    fn size(&self) -> usize;
    fn meaning(&self, buf: &[u8]) -> Meaning;
    fn reencode(&self, buf: &[u8]) -> Vec<u8>;
}

/// Asserts that the verdict on a head is the same however its bytes are split, and that one that
/// is accepted re-encodes to one that means the same and has one framing for any reader.
fn head<H: Head>(data: &[u8], random: &mut Random) {
    let mut whole = H::fresh();
    let verdict = whole.parse(data, &LIMITS);
    let meaning = (verdict == Ok(Parsed::Complete)).then(|| whole.meaning(data));

    // Growing by one byte at a time, then by random steps, in one head each.
    for step_max in [1, 7, 64, 1024] {
        let mut split = H::fresh();
        let mut size = 0;
        let split_verdict = loop {
            size = (size + 1 + random.below(step_max)).min(data.len());
            match split.parse(&data[..size], &LIMITS) {
                Ok(Parsed::Partial) if size < data.len() => {}
                verdict => break verdict,
            }
        };
        assert_eq!(split_verdict, verdict, "steps up to {step_max}");
        if let Some(meaning) = &meaning {
            assert_eq!(&split.meaning(&data[..size]), meaning);
            assert_eq!(split.size(), whole.size());
        }
    }
    // A prefix on its own is unfinished or has the verdict of the whole.
    for _ in 0..8 {
        let size = random.below(data.len() + 1);
        let prefix_verdict = H::fresh().parse(&data[..size], &LIMITS);
        assert!(
            prefix_verdict == Ok(Parsed::Partial) || prefix_verdict == verdict,
            "{prefix_verdict:?} for {size} bytes, {verdict:?} for all"
        );
    }

    let Some(meaning) = meaning else { return };
    assert!(whole.size() <= data.len());
    assert_one_reading(&data[..whole.size()], meaning.framing);
    let again = whole.reencode(data);
    let mut second = H::fresh();
    assert_eq!(
        second.parse(&again, &LIMITS_REENCODED),
        Ok(Parsed::Complete)
    );
    assert_eq!(second.size(), again.len());
    assert_eq!(second.meaning(&again), meaning);
    assert_eq!(second.reencode(&again), again);
}

/// Reads an accepted head as a lenient server would (lines end at LF, white space around names is
/// nothing) and asserts that this finds the framing we found.
fn assert_one_reading(head: &[u8], framing: Result<Framing, Error>) {
    let text = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lengths = Vec::new();
    let mut codings = Vec::new();
    for line in text.split(|&byte| byte == b'\n').skip(1) {
        let line = line.trim_ascii();
        assert!(!line.contains(&b'\r'), "bare CR in {:?}", show(line));
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            assert!(line.is_empty(), "line without colon: {:?}", show(line));
            continue;
        };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings.push(value);
        }
    }
    match framing {
        Ok(Framing::Chunked) => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        Ok(Framing::Length { remaining }) => {
            assert!(lengths.len() == 1 && codings.is_empty());
            let text = std::str::from_utf8(lengths[0]).expect("digits");
            assert_eq!(text.parse(), Ok(remaining));
        }
        Ok(Framing::UntilClose) => assert!(lengths.is_empty() && codings.is_empty()),
        // HEAD and 304 may declare what they do not send; requests may not.
        Ok(Framing::None) => assert!(lengths.len() + codings.len() <= 1),
        Err(_) => {}
    }
}

/// Asserts that chunked content decodes to the same under any split, and back after encoding.
fn content(data: &[u8], random: &mut Random) {
    let whole = decode(data, usize::MAX, random);
    for step_max in [1, 5, 64] {
        assert_eq!(
            decode(data, step_max, random),
            whole,
            "steps up to {step_max}"
        );
    }
    let Ok(Decoded {
        data: content,
        trailers,
        end: Some(end),
    }) = whole
    else {
        return;
    };
    assert!(end <= data.len());
    let mut encoded = Vec::new();
    let mut rest = &content[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + random.below(rest.len()));
        chunked::write_chunk_header(&mut encoded, piece.len());
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(chunked::CHUNK_END);
        rest = behind;
    }
    // "a:b" is written "a: b", which may pass the bound of the section.
    if trailers.len() < crate::limits::TRAILER_SIZE_MAX - 2 {
        chunked::write_last_chunk(&mut encoded, &trailers);
        let end = Some(encoded.len());
        let want = Decoded {
            data: content,
            trailers,
            end,
        };
        assert_eq!(decode(&encoded, usize::MAX, random), Ok(want));
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Decoded {
    data: Vec<u8>,
    trailers: Vec<u8>,
    /// Bytes the content took; `None` when it is unfinished.
    end: Option<usize>,
}

/// Feeds `input` in slices of at most `step_max` bytes.
fn decode(input: &[u8], step_max: usize, random: &mut Random) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new();
    let mut data = Vec::new();
    let mut at = 0;
    let mut arrived = 0;
    loop {
        let step = decoder.next(&input[at..arrived])?;
        if let Event::Data(range) = &step.event {
            assert!(!range.is_empty() && range.end <= step.consumed);
            data.extend_from_slice(&input[at..arrived][range.clone()]);
        }
        at += step.consumed;
        if step.event == Event::NeedMore {
            assert_eq!(at, arrived);
            if arrived == input.len() {
                break;
            }
            let step = 1 + random.below(step_max);
            arrived = arrived.saturating_add(step).min(input.len());
            if step_max == usize::MAX {
                arrived = input.len();
            }
        } else if step.event == Event::End {
            return Ok(Decoded {
                data,
                trailers: decoder.trailers().to_vec(),
                end: Some(at),
            });
        }
    }
    Ok(Decoded {
        data,
        trailers: Vec::new(),
        end: None,
    })
}

impl Head for RequestHead {
    fn fresh() -> Self {
        RequestHead::new()
    }

    fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parsed, Error> {
        parse_request(buf, limits, self)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn meaning(&self, buf: &[u8]) -> Meaning {
        let optional = |span: Option<super::head::Span>| match span {
            Some(span) => [b"+", span.of(buf)].concat(),
            None => Vec::new(),
        };
        Meaning {
            start: vec![
                self.method_span.of(buf).to_vec(),
                self.target.of(buf).to_vec(),
                self.path.of(buf).to_vec(),
                optional(self.query),
                optional(self.authority),
                format!("{:?} {:?}", self.method, self.target_form).into_bytes(),
            ],
            version: self.version,
            fields: owned(&self.fields, buf),
            framing: request_framing(self, buf),
        }
    }

    fn reencode(&self, buf: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::request_line(
            &mut out,
            self.method_span.of(buf),
            self.target.of(buf),
            None,
            self.version,
        );
        encode_fields(&mut out, &self.fields, buf);
        out
    }
}

impl Head for ResponseHead {
    fn fresh() -> Self {
        ResponseHead::new()
    }

    fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parsed, Error> {
        parse_response(buf, limits, self)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn meaning(&self, buf: &[u8]) -> Meaning {
        Meaning {
            start: vec![
                self.status.to_string().into_bytes(),
                self.reason.of(buf).to_vec(),
            ],
            version: self.version,
            fields: owned(&self.fields, buf),
            framing: response_framing(self, buf, Method::Get),
        }
    }

    fn reencode(&self, buf: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::status_line_with(&mut out, self.version, self.status, self.reason.of(buf));
        encode_fields(&mut out, &self.fields, buf);
        out
    }
}

fn owned(fields: &[FieldLine], buf: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, fields::Name)> {
    fields
        .iter()
        .map(|field| {
            (
                field.name.of(buf).to_vec(),
                field.value.of(buf).to_vec(),
                field.known,
            )
        })
        .collect()
}

fn encode_fields(out: &mut Vec<u8>, fields: &[FieldLine], buf: &[u8]) {
    for field in fields {
        encode::field(out, field.name.of(buf), field.value.of(buf));
    }
    encode::head_end(out);
}

/// One row of `tests/attacks/smuggling.txt`.
#[derive(Debug)]
pub struct Row<'t> {
    pub line_number: usize,
    pub side: &'t str,
    pub rule: &'t str,
    pub bytes: Vec<u8>,
    /// As [`verdict`] words it.
    pub verdict: &'t str,
}

/// The rows of a table `side | rule | bytes | verdict`; `#` starts a comment line. Bytes are
/// escaped as in Rust, with `\x7c` for the separator; `\s` is a space, where one stands at an end.
pub fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    let lines = table.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(index, line)| {
        let mut columns = line.split('|').map(str::trim);
        let mut column = || {
            columns
                .next()
                .unwrap_or_else(|| panic!("line {}: four columns", index + 1))
        };
        let (side, rule, bytes, verdict) = (column(), column(), column(), column());
        Row {
            line_number: index + 1,
            side,
            rule,
            bytes: unescape(bytes),
            verdict,
        }
    })
}

/// What we make of a row's bytes, in the table's words: `accept` with the framing (or, for the side
/// `content`, the decoded bytes), `refuse` with status and rule, or `partial`. Chunked content
/// behind a head is decoded too.
pub fn verdict(side: &str, bytes: &[u8]) -> String {
    let refuse = |error: Error| format!("refuse {} {error:?}", error.status());
    let mut random = Random::new(0);
    let (parsed, size, framing) = match side {
        "request" => {
            let mut head = RequestHead::new();
            let parsed = parse_request(bytes, &LIMITS, &mut head);
            (parsed, head.size, request_framing(&head, bytes))
        }
        "response" | "response-to-head" | "response-to-connect" => {
            let method = match side {
                "response" => Method::Get,
                "response-to-head" => Method::Head,
                _ => Method::Connect,
            };
            let mut head = ResponseHead::new();
            let parsed = parse_response(bytes, &LIMITS, &mut head);
            (parsed, head.size, response_framing(&head, bytes, method))
        }
        "content" => {
            return match decode(bytes, usize::MAX, &mut random) {
                Ok(Decoded { end: None, .. }) => "partial".into(),
                Ok(decoded) => format!("accept {}", show(&decoded.data)),
                Err(error) => refuse(error),
            };
        }
        _ => panic!("no such side: {side}"),
    };
    match (parsed, framing) {
        (Ok(Parsed::Partial), _) => "partial".into(),
        (Err(error), _) | (_, Err(error)) => refuse(error),
        (_, Ok(Framing::None)) => "accept none".into(),
        (_, Ok(Framing::Length { remaining })) => format!("accept length {remaining}"),
        (_, Ok(Framing::UntilClose)) => "accept until close".into(),
        (_, Ok(Framing::Chunked)) => match decode(&bytes[size..], usize::MAX, &mut random) {
            Ok(_) => "accept chunked".into(),
            Err(error) => refuse(error),
        },
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b's') => b' ',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let digits = std::str::from_utf8(&digits).unwrap_or("?");
                u8::from_str_radix(digits, 16)
                    .unwrap_or_else(|_| panic!("two hex digits behind \\x in {text}"))
            }
            other => panic!("unknown escape {other:?} in {text}"),
        });
    }
    out
}

/// SplitMix64: a run with the same input takes the same steps.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to `bound`, which is left out; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound.max(1) as u64) as usize
    }
}

/// FNV-1a, so that the splits tried depend on the input alone.
fn seed_of(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
