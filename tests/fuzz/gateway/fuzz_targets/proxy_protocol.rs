//! The header a load balancer puts before the first byte. What is asserted stands in `checks.rs`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = checks::proxy_protocol(data);
});
