//! `tests/attacks/smuggling.txt` over real sockets: what is refused is refused before an upstream hears of it.

use crate::support::upstream::Next;
use crate::support::wire::{Ended, Response};
use crate::support::{Client, Gateway, Upstream, until};
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

struct Row {
    side: String,
    rule: String,
    bytes: Vec<u8>,
    verdict: String,
}

fn rows(side: &str) -> Vec<Row> {
    const TABLE: &str = include_str!("../attacks/smuggling.txt");
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows: Vec<Row> = lines
        .map(|line| {
            let columns: Vec<&str> = line
                .split('|')
                .map(|column| column.strip_prefix(' ').unwrap_or(column))
                .collect();
            assert_eq!(columns.len(), 4, "{line}");
            let trimmed = |index: usize| columns[index].strip_suffix(' ').unwrap_or(columns[index]);
            Row {
                side: trimmed(0).to_owned(),
                rule: trimmed(1).to_owned(),
                bytes: unescape(trimmed(2)),
                verdict: trimmed(3).trim().to_owned(),
            }
        })
        .filter(|row| row.side == side)
        .collect();
    assert!(rows.len() > 1, "the table has rows of {side}");
    rows
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&kind, more) = rest.split_first().expect("an escape");
        rest = more;
        bytes.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b's' => b' ',
            b'0' => 0,
            b'\\' => b'\\',
            b'"' => b'"',
            b'x' => {
                let (digits, more) = rest.split_at(2);
                rest = more;
                let digits = std::str::from_utf8(digits).expect("two digits");
                u8::from_str_radix(digits, 16).expect("hexadecimal digits")
            }
            other => panic!("unknown escape \\{}", char::from(other)),
        });
    }
    bytes
}

/// The status of `refuse 400 Rule`.
fn refused(verdict: &str) -> Option<u16> {
    let rest = verdict.strip_prefix("refuse ")?;
    rest.split(' ').next()?.parse().ok()
}

#[track_caller]
fn assert_refused(gateway: &Gateway, upstream: &Upstream, rule: &str, bytes: &[u8], status: u16) {
    let before = upstream.bytes_seen();
    let mut client = Client::plain(gateway.http());
    client.send(bytes);
    let response = match Response::read(&mut client.reader, "GET") {
        Ok(response) => response,
        Err(ended) => panic!("{rule}: no answer: {ended:?}"),
    };
    assert_eq!(response.status, status, "{rule}");
    assert_eq!(response.field("Connection"), Some("close"), "{rule}");
    let (rest, ended) = client.reader.rest();
    assert_eq!(rest, b"", "{rule}: a second answer");
    assert_ne!(ended, Ended::Open, "{rule}: the connection stays open");
    assert_eq!(
        upstream.bytes_seen(),
        before,
        "{rule}: bytes reached the upstream"
    );
}

#[test]
fn a_request_with_two_readings_is_refused_before_the_upstream_hears_of_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    for row in rows("request") {
        if let Some(status) = refused(&row.verdict) {
            assert_refused(&gateway, &upstream, &row.rule, &row.bytes, status);
        }
    }
}

#[test]
fn chunked_content_with_two_readings_is_refused_before_the_upstream_hears_of_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for row in rows("content") {
        let bytes = [HEAD, &row.bytes].concat();
        if let Some(status) = refused(&row.verdict) {
            assert_refused(&gateway, &upstream, &row.rule, &bytes, status);
        } else if let Some(content) = row.verdict.strip_prefix("accept") {
            let mut client = Client::plain(gateway.http());
            let response = client.send(&bytes).response();
            assert_eq!(response.status, 200, "{}", row.rule);
            assert_eq!(
                upstream.last().content,
                content.trim().as_bytes(),
                "{}",
                row.rule
            );
            for (name, _) in &upstream.last().trailers.0 {
                let framing = ["content-length", "transfer-encoding"];
                assert!(
                    !framing.contains(&&*name.to_ascii_lowercase()),
                    "{}: {name} passed on",
                    row.rule
                );
            }
        }
    }
}

#[test]
fn a_request_with_one_reading_reaches_the_upstream_as_that() {
    let upstream = Upstream::echo();
    let gateway = Gateway::before(&upstream);
    for row in rows("request") {
        let Some(framing) = row.verdict.strip_prefix("accept ") else {
            continue;
        };
        let special = [(&b"CONNECT"[..], 405), (b"OPTIONS *", 400)];
        let mut client = Client::plain(gateway.http());
        if framing == "length 9223372036854775807" {
            // Its content never ends; the head is taken.
            client.send(&row.bytes);
            crate::support::until("the head upstream", || {
                (upstream.accepted() > 0).then_some(())
            });
            continue;
        }
        let response = client.send(&row.bytes).response();
        if let Some((_, status)) = special
            .iter()
            .find(|(start, _)| row.bytes.starts_with(start))
        {
            assert_eq!(response.status, *status, "{}", row.rule);
            continue;
        }
        assert_eq!(response.status, 200, "{}: {}", row.rule, response.text());
        let last = upstream.last();
        let expected = if framing == "length 5" { "hello" } else { "" };
        assert_eq!(
            String::from_utf8_lossy(&last.content),
            expected,
            "{}",
            row.rule
        );
    }
}

#[test]
fn a_response_with_two_readings_is_502_and_its_connection_is_not_used_again() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let for_upstream = answer.clone();
    let upstream = Upstream::plain(move |_, conversation| {
        let bytes = for_upstream.lock().expect("the answer").clone();
        conversation.send(bytes);
        Next::Close
    });
    let gateway = Gateway::before(&upstream);
    for (side, method) in [("response", "GET"), ("response-to-head", "HEAD")] {
        for row in rows(side) {
            answer.lock().expect("the answer").clone_from(&row.bytes);
            let connections = upstream.accepted();
            let mut client = Client::plain(gateway.http());
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            // An interim response and nothing behind it: no answer, which may be asked for again.
            let interim = row.bytes.starts_with(b"HTTP/1.1 103");
            let response = client.response_to(method);
            if interim {
                assert_eq!(response.status, 502, "{side}: {}", row.rule);
            } else if refused(&row.verdict).is_some() {
                assert_eq!(response.status, 502, "{side}: {}", row.rule);
                // An answer is an answer: what follows it might be the next client's.
                assert_eq!(
                    upstream.accepted(),
                    connections + 1,
                    "{}: asked again",
                    row.rule
                );
            } else {
                let digits: String = String::from_utf8_lossy(&row.bytes)
                    .split_whitespace()
                    .nth(1)
                    .expect("a status")
                    .into();
                assert_eq!(response.status.to_string(), digits, "{side}: {}", row.rule);
            }
        }
    }
}

#[test]
fn bytes_behind_a_response_are_nobodys() {
    let upstream = Upstream::plain(|request, conversation| {
        if request.target == "/poison" {
            conversation.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            );
            return Next::Keep;
        }
        conversation.echo(request)
    });
    let gateway = Gateway::before(&upstream);
    let mut client = Client::plain(gateway.http());
    assert_eq!(client.get("a", "/poison").text(), "hi");
    for _ in 0..4 {
        let next = client.get("a", "/next");
        assert!(next.text().starts_with("GET /next"), "{}", next.text());
    }
    let connections: Vec<usize> = upstream
        .requests()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_ne!(
        connections[0], connections[1],
        "the poisoned connection is used again"
    );
}

/// What became of content whose request was answered before the upstream had read it.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Whole,
    /// The gateway closed the connection: nobody takes it for whole.
    Cut,
    /// Something else came in its place.
    Taken(String),
}

/// An upstream that answers a request at once when told to, while most of its content is still on its way, and reads the
/// rest afterwards: what Go's server and nginx do with content nobody asked them for.
#[test]
fn the_next_request_never_becomes_the_rest_of_content_that_was_not_written_whole() {
    let (answer, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let (report, read) = mpsc::channel();
    let upstream = Upstream::streaming(move |request, conversation| {
        let Some(length) = request.field("Content-Length") else {
            return conversation.echo(request);
        };
        let length: usize = length.parse().expect("a number");
        let _ = told.lock().expect("the word").recv();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let mut left = length;
        let content = loop {
            let buffered = &mut conversation.reader.buffered;
            let bytes: Vec<u8> = buffered.drain(..buffered.len().min(left)).collect();
            if let Some(at) = bytes.iter().position(|byte| *byte != b'x') {
                break Content::Taken(String::from_utf8_lossy(&bytes[at..]).into_owned());
            }
            left -= bytes.len();
            if left == 0 {
                break Content::Whole;
            }
            if conversation.reader.fill().is_err() {
                break Content::Cut;
            }
        };
        let next = match content {
            Content::Whole => Next::Keep,
            _ => Next::Cut,
        };
        let _ = report.send(content);
        next
    });
    let gateway = Gateway::before(&upstream);
    let content = |size: usize| {
        let mut client = Client::plain(gateway.http());
        let mut writer = client.reader.wire.socket().try_clone().expect("the socket");
        let writing = std::thread::spawn(move || {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
            // What is not read for a request that has its answer is not taken either.
            let _ = writer.write_all(head.as_bytes());
            let _ = writer.write_all(&vec![b'x'; size]);
        });
        // Time for what fits between gateway and upstream to get there. Too little of it hides a mistake, and no more.
        std::thread::sleep(Duration::from_millis(20));
        answer.send(()).expect("the upstream listens");
        assert_eq!(client.response().status, 200, "{size}");
        let mut other = Client::plain(gateway.http());
        let next = other.get("a", "/next");
        assert!(
            next.text().starts_with("GET /next"),
            "{size}: {}",
            next.text()
        );
        let became = until("the content's end", || read.try_recv().ok());
        assert!(!matches!(became, Content::Taken(_)), "{size}: {became:?}");
        drop(client);
        writing.join().expect("the writer");
        became
    };
    // How much the kernel takes for an upstream that does not read; then around it, in steps smaller than one write.
    let (mut fits, mut stuck) = (0, 16 << 20);
    while stuck - fits > STEP {
        let size = (fits + stuck) / 2;
        match content(size) {
            Content::Whole => fits = size,
            _ => stuck = size,
        }
    }
    for size in (fits.saturating_sub(8 * STEP)..fits + 16 * STEP).step_by(STEP) {
        content(size);
    }
}

const STEP: usize = 8 << 10;
