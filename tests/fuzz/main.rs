//! Replays the corpora of `certificate` and `proxy_protocol`, as `cargo test` without a fuzzer. Those of the other
//! targets are replayed by the tests of the modules that assert: `http1`, `declarative`, `admin`.

#[path = "gateway/checks.rs"]
mod checks;

use sallyport::proxy::proxy_protocol::Header;
use std::path::Path;

/// Names and contents, in the order of the names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn certificates_keep_what_the_target_asserts() {
    assert!(checks::the_true_chain_is_trusted());
    let files = corpus("certificate");
    assert!(files.len() >= 10, "{}", files.len());
    for (name, der) in files {
        let valid = checks::certificate(&der);
        assert_eq!(valid, name.starts_with("valid"), "{name}");
    }
}

#[test]
fn proxy_headers_keep_what_the_target_asserts() {
    let files = corpus("proxy_protocol");
    assert!(files.len() >= 20, "{}", files.len());
    for (name, bytes) in files {
        let verdict = match checks::proxy_protocol(&bytes) {
            Ok(Header::NeedMore) => "more",
            Ok(Header::Done { .. }) => "done",
            Err(_) => "refused",
        };
        assert_eq!(Some(verdict), name.split('_').next(), "{name}");
    }
}
