//! The smuggling table, the corpus of the fuzz target, and seeded mutations of both.

use super::check::{self, Random};
use super::framing::Framing;
use super::head::{Parsed, RequestHead, parse_request};
use std::path::Path;

const TABLE: &str = include_str!("../../tests/attacks/smuggling.txt");

#[test]
fn smuggling_table_holds() {
    let mut row_count = 0;
    let mut failures = Vec::new();
    for row in check::rows(TABLE) {
        row_count += 1;
        let got = check::verdict(row.side, &row.bytes);
        if got.trim() != row.verdict {
            failures.push(format!(
                "line {}, {}: {got}, not {}",
                row.line_number, row.rule, row.verdict
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(row_count >= 80, "{row_count} rows");
}

/// A prefix of a message is unfinished or refused for the reason the whole is refused for.
#[test]
fn verdict_does_not_depend_on_where_a_head_is_cut() {
    for row in check::rows(TABLE).filter(|row| row.side != "content") {
        // Content comes after the verdict on the head.
        let head_end = memchr::memmem::find(&row.bytes, b"\r\n\r\n").map(|at| at + 4);
        let head = &row.bytes[..head_end.unwrap_or(row.bytes.len())];
        let whole = check::verdict(row.side, head);
        for size in 0..head.len() {
            let cut = check::verdict(row.side, &head[..size]);
            assert!(
                cut == "partial" || cut == whole,
                "line {}, first {size} bytes: {cut}, all: {whole}",
                row.line_number
            );
        }
    }
}

#[test]
fn smuggling_table_holds_under_every_split_and_reencoding() {
    for row in check::rows(TABLE) {
        check::all(&row.bytes);
    }
}

#[test]
fn corpus_of_the_fuzz_target_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/head");
    let mut file_count = 0;
    for entry in std::fs::read_dir(&folder).expect("corpus folder") {
        let data = std::fs::read(entry.expect("entry").path()).expect("corpus file");
        check::all(&data);
        file_count += 1;
    }
    assert!(file_count >= 40, "{file_count} files");
}

/// Cuts, joins and changes the table's rows: what a fuzzer does first, with a seed that is fixed.
#[test]
fn mutated_rows_hold() {
    const INTERESTING: [&[u8]; 14] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b",",
        b"0",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: b\r\n",
        b"\r\n\r\n",
        b";x",
    ];
    let rows: Vec<Vec<u8>> = check::rows(TABLE).map(|row| row.bytes).collect();
    let mut random = Random::new(9112);
    let mut accepted_count = 0;
    for _ in 0..4000 {
        let mut data = rows[random.below(rows.len())].clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(data.len() + 1);
            match random.below(4) {
                0 => {
                    let what = INTERESTING[random.below(INTERESTING.len())];
                    data.splice(at..at, what.iter().copied());
                }
                1 => data.truncate(at),
                2 if at < data.len() => data[at] = random.word() as u8,
                _ => {
                    let other = &rows[random.below(rows.len())];
                    data.extend_from_slice(&other[random.below(other.len())..]);
                }
            }
        }
        check::all(&data);
        let mut head = RequestHead::new();
        accepted_count +=
            usize::from(parse_request(&data, &check::LIMITS, &mut head) == Ok(Parsed::Complete));
    }
    // Were every mutation refused at its first byte, nothing above would have been tested.
    assert!(accepted_count > 100, "{accepted_count} accepted");
}

/// Two requests in one buffer: the second starts where the first one's content ends.
#[test]
fn pipelined_requests_are_taken_one_after_the_other() {
    let buf = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
        GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT";
    let mut head = RequestHead::new();
    let mut at = 0;
    for (target, framing) in [
        (&b"/1"[..], Framing::Length { remaining: 2 }),
        (b"/2", Framing::None),
    ] {
        let rest = &buf[at..];
        assert_eq!(
            parse_request(rest, &check::LIMITS, &mut head),
            Ok(Parsed::Complete)
        );
        assert_eq!(head.target.of(rest), target);
        assert_eq!(super::framing::request_framing(&head, rest), Ok(framing));
        at += head.size;
        if let Framing::Length { remaining } = framing {
            at += remaining as usize;
        }
    }
    assert_eq!(
        parse_request(&buf[at..], &check::LIMITS, &mut head),
        Ok(Parsed::Partial)
    );
}
