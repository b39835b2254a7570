//! Kong's declarative file (KONG.md §7.1): text in, a checked `Config` out, or every error with its place.
//!
//! Pure: files and environment variables come through `Options::secrets`, the time through `Options::now_ms`.
//! Owns the one door to the YAML library (`document`).
pub mod advise;
mod document;
mod dump;
mod export;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod load;
mod parallel;
mod place;
mod secrets;
mod walk;
mod yaml;

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod tests;

pub use dump::dump;
pub use export::export;
#[cfg(any(test, fuzzing))]
pub use fuzz::{check_fuzz, rows_fit};
pub(crate) use parallel::parallel;
pub use place::Failure;
pub use secrets::Secret;

use crate::entity::Config;
use std::fmt;

/// What a file is read with.
pub struct Options<'a> {
    /// Unix time in milliseconds.
    pub now_ms: i64,
    /// Reads what `{file: …}` and `{vault://env/…}` point to. An error is the reason, without the value.
    pub secrets: &'a (dyn Fn(Secret<'_>) -> Result<String, String> + Sync),
    /// Plugins that may be configured (directive `plugins`); `None`: every one there is.
    pub plugins: Option<&'a [String]>,
}

/// How a file is read where it is more than a gateway's configuration.
#[derive(Clone, Copy, Default)]
pub struct Reading<'a> {
    /// `updated_at` stays as the file has it: the rows go back to where they were exported.
    pub keep_updated_at: bool,
    /// Told of each row that has been checked, by the thread that did: rows checked, rows of the file.
    pub progress: Option<&'a Progress<'a>>,
}

pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file's entity types; nothing here stops a start.
    pub warnings: Vec<Warning>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `services[2] (name billing).tls_verify`
    pub place: String,
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Reads a declarative file, YAML or JSON.
///
/// All errors are gathered, but for syntax, which ends the reading. Private keys and other values of the file
/// never appear in an error; names and references do.
pub fn parse(text: &str, options: &Options<'_>) -> Result<Loaded, Failure> {
    parse_as(text, options, Reading::default())
}

/// As `parse`.
pub fn parse_as(
    text: &str,
    options: &Options<'_>,
    reading: Reading<'_>,
) -> Result<Loaded, Failure> {
    let document = document::read(text)?;
    let walked = walk::walk(document)?;
    load::load(walked, options, reading)
}

/// The document as it is written, to be shown beside its errors; `None`: it cannot be read.
pub fn document(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    document::read(text).ok().map(|document| document.root)
}
