//! Kong's declarative file (KONG.md §7.1): text in, a checked `Config` out, or every error with its place.
//!
//! Pure: files and environment variables come through `Options::secrets`, the time through `Options::now_ms`.
//! Owns the one door to the YAML library (`document`).
mod advise;
mod document;
mod dump;
mod fuzz;
mod load;
mod place;
mod secrets;
mod walk;

#[cfg(test)]
mod tests;

pub use dump::dump;
#[doc(hidden)]
pub use fuzz::check_fuzz;
#[cfg(test)]
pub(crate) use fuzz::rows_fit;
pub(crate) use load::parallel;
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
    let document = document::read(text)?;
    let walked = walk::walk(document)?;
    load::load(walked, options)
}

/// The document as it is written, to be shown beside its errors; `None`: it cannot be read.
pub fn document(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    document::read(text).ok().map(|document| document.root)
}
