//! For tests. The PEM texts were made once with openssl, valid until 2126, worth nothing.

use std::path::Path;

pub const ROOT: &str = include_str!("fixtures/root.crt");
/// Self-issued with the key of `ROOT`.
pub const ROOT2: &str = include_str!("fixtures/root2.crt");
/// RSA of 1024 bits.
pub const WEAK_ROOT: &str = include_str!("fixtures/weak_root.crt");
/// Issued by `ROOT`.
pub const INTER: &str = include_str!("fixtures/inter.crt");
/// P-256, PKCS#8, issued by `ROOT`.
pub const LEAF: &str = include_str!("fixtures/leaf.crt");
pub const LEAF_KEY: &str = include_str!("fixtures/leaf.key");
/// P-256, SEC1, issued by `INTER`.
pub const SEC1: &str = include_str!("fixtures/sec1.crt");
pub const SEC1_KEY: &str = include_str!("fixtures/sec1.key");
/// RSA of 4096 bits, PKCS#1, issued by `ROOT`.
pub const PKCS1: &str = include_str!("fixtures/pkcs1.crt");
pub const PKCS1_KEY: &str = include_str!("fixtures/pkcs1.key");
pub const P521: &str = include_str!("fixtures/p521.crt");
pub const P521_KEY: &str = include_str!("fixtures/p521.key");
pub const ED25519: &str = include_str!("fixtures/ed25519.crt");
pub const ED25519_KEY: &str = include_str!("fixtures/ed25519.key");
/// P-256 by explicit parameters instead of its name.
pub const EXPLICIT: &str = include_str!("fixtures/explicit.crt");
pub const EXPLICIT_KEY: &str = include_str!("fixtures/explicit.key");
pub const ENCRYPTED_KEY: &str = include_str!("fixtures/encrypted.key");
/// 2027-01-01, in milliseconds.
pub const NOW_MS: i64 = 1_798_761_600_000;
/// 2200-01-01: when every certificate here has expired.
pub const LATER_MS: i64 = 7_258_118_400_000;

/// Names and contents of a fuzz target's corpus, in the order of the names.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(target))
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}
