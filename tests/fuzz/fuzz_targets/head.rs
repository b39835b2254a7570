//! Heads, framing and chunked content of HTTP/1.1. What is asserted stands in `src/http1/check.rs`:
//! a head that parses re-encodes to one that means the same, no bytes have two framings, and no
//! verdict depends on how the bytes are split. `src/http1/tests.rs` replays the corpus without
//! a fuzzer.
//!
//! Run in this folder: `cargo +nightly fuzz run head`, where cargo-fuzz is installed; without it,
//! see `run-head`.
#![no_main]

#[allow(dead_code)]
#[path = "../../../src/http1/mod.rs"]
mod http1;
#[allow(dead_code)]
#[path = "../../../src/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1::check::all(data));
