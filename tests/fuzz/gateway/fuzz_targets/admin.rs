//! A write to the Admin API: path, content type and content. What is asserted stands in `src/admin/fuzz.rs`;
//! its own test replays the corpus without a fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = sallyport::admin::check_fuzz(data);
});
