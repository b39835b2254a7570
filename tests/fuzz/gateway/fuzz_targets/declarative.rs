//! The declarative file, YAML or JSON. What is asserted stands in `src/declarative/fuzz.rs`;
//! `src/declarative/tests.rs` replays the corpus without a fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sallyport::declarative::check_fuzz(data);
});
