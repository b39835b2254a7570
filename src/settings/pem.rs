//! Where a certificate, key or trust bundle comes from: a path, a PEM text, or base64 of a PEM text (KONG.md §4.3).

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::values::{Parsed, path};

const PEM_MARK: &str = "-----BEGIN ";

/// `Debug` and `Display` never show a text, since it may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    Path(PathBuf),
    /// The PEM text itself, already decoded when it was given as base64.
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustSource {
    /// The operating system's bundle.
    System,
    Pem(PemSource),
}

pub fn pem_source(value: &str) -> Parsed<PemSource> {
    if value.contains(PEM_MARK) {
        return Ok(PemSource::Text(value.to_owned()));
    }
    match decoded(value) {
        Some(text) => Ok(PemSource::Text(text)),
        None => path(value).map(PemSource::Path),
    }
}

pub fn trust_source(value: &str) -> Parsed<TrustSource> {
    if value.eq_ignore_ascii_case("system") {
        return Ok(TrustSource::System);
    }
    pem_source(value).map(TrustSource::Pem)
}

/// Whether the value is or carries a PEM text or bare DER in base64, so that it must not be shown.
pub fn holds_pem(value: &str) -> bool {
    value.contains(PEM_MARK)
        || value
            .split(',')
            .any(|entry| decoded(entry).is_some() || is_der(entry))
}

fn decoded(value: &str) -> Option<String> {
    String::from_utf8(base64(value)?)
        .ok()
        .filter(|text| text.contains(PEM_MARK))
}

/// A key or certificate whose PEM lines were lost: taken for a path, but its text stays secret.
fn is_der(value: &str) -> bool {
    const SEQUENCE: u8 = 0x30;
    base64(value).is_some_and(|bytes| bytes.len() > 32 && bytes[0] == SEQUENCE)
}

fn base64(value: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(value.split_ascii_whitespace().collect::<String>())
        .ok()
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PemSource::Path(path) if holds_pem(&path.to_string_lossy()) => {
                f.write_str("<text without PEM lines>")
            }
            PemSource::Path(path) => write!(f, "{}", path.display()),
            PemSource::Text(_) => f.write_str("<PEM text>"),
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
