//! The gateway's own settings, by Kong's directive names (KONG.md §4.3, §7.3).
//!
//! [`load`] is pure: file text, environment and flags in; [`Settings`] or every problem at once out.
//! [`io`] reads those sources and the files that settings name. [`cores`] turns the CPU mask and
//! three directives into a placement.
//!
//! Precedence: flags, `SALLYPORT_<NAME>`, `KONG_<NAME>`, file, default. An empty value or `NONE`
//! stands for the default and outranks lower sources. A name Kong has and we do not is a warning,
//! any other unknown name an error with the nearest name; from the environment it is at most a
//! warning, since orchestrators add variables of their own.

pub mod cores;
mod effective;
mod file;
pub mod io;
mod kong_names;
mod listen;
mod pem;
mod rules;
mod table;
mod tls;
mod types;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use effective::{effective_text, in_force, keep_until_restart, restart_needed, shown_values};
pub use listen::{KeepAlive, Listen};
pub use pem::{PemSource, TrustSource};
pub use table::{Change, Directive, Origin, Settings, TABLE, directive};
pub use tls::{CipherSuite, Group, SuiteProfile, TlsVersion};
pub use types::*;

/// Everything settings are made from, already read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Path (for messages) and text.
    pub file: Option<(PathBuf, String)>,
    /// The environment; only `SALLYPORT_*` and `KONG_*` are looked at.
    pub env: Vec<(String, String)>,
    /// What the command line sets, last one wins.
    pub flags: Vec<Flag>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As typed, for messages: `--set`, `-p`.
    pub flag: &'static str,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub warnings: Vec<Problem>,
    /// What was set, by directive: for the effective configuration and for comparing two loads.
    pub given: BTreeMap<&'static str, Given>,
}

/// A value as it was given, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub value: String,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File {
        path: PathBuf,
        line: usize,
    },
    /// The settings file as a whole.
    Unread(PathBuf),
    Env(String),
    Flag(&'static str),
    Default,
}

/// An error or a warning about one directive. `Display` gives place, directive and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub directive: String,
    pub source: Source,
    pub message: String,
}

/// The sources after every check. A directive whose value is refused keeps its default, so that what
/// depends on the others can still be checked.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub settings: Settings,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub given: BTreeMap<&'static str, Given>,
}

/// Every problem of the sources, or settings and warnings.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    evaluate(sources).into_result()
}

/// As [`load`], for commands that go on after an error to find the next one.
pub fn evaluate(sources: &Sources) -> Evaluated {
    let mut report = Report::default();
    let given = gather(sources, &mut report);
    let mut settings = Settings::default();
    for directive in TABLE {
        let Some(Given { value, source }) = given.get(directive.name) else {
            continue;
        };
        if let Err(why) = (directive.set)(&mut settings, value) {
            report.error(directive.name, source, why);
        }
    }
    rules::apply(&mut settings, &given, &mut report);
    Evaluated {
        settings,
        errors: report.errors,
        warnings: report.warnings,
        given,
    }
}

impl Evaluated {
    /// Whether `line`, found when files were loaded, tells once more what one of the errors tells.
    pub fn tells(&self, line: &str) -> bool {
        self.errors
            .iter()
            .any(|error| !error.directive.is_empty() && line.starts_with(&error.message))
    }

    pub fn into_result(self) -> Result<Loaded, Vec<Problem>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Loaded {
            settings: self.settings,
            warnings: self.warnings,
            given: self.given,
        })
    }
}

#[derive(Default)]
struct Report {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    fn error(&mut self, directive: &str, source: &Source, message: impl Into<String>) {
        self.errors.push(Problem {
            directive: directive.into(),
            source: source.clone(),
            message: message.into(),
        });
    }

    fn warn(&mut self, directive: &str, source: &Source, message: impl Into<String>) {
        self.warnings.push(Problem {
            directive: directive.into(),
            source: source.clone(),
            message: message.into(),
        });
    }
}

/// One assignment of one source, before it is known which of them counts.
struct Assignment<'a> {
    name: String,
    value: &'a str,
    source: Source,
}

/// The value that counts for each directive of the table: sources from low to high, the later outranks.
fn gather(sources: &Sources, report: &mut Report) -> BTreeMap<&'static str, Given> {
    let lines = sources
        .file
        .as_ref()
        .map(|(path, text)| (path, file::lines(text)));
    let mut assignments = Vec::new();
    if let Some((path, lines)) = &lines {
        assignments.push(from_file(path, lines, report));
    }
    assignments.push(from_env("KONG_", &sources.env, report));
    assignments.push(from_env("SALLYPORT_", &sources.env, report));
    assignments.push(from_flags(&sources.flags, report));

    let mut given = BTreeMap::new();
    for level in assignments {
        // Within one source an alias outranks the name, wherever it stands.
        let (aliases, names): (Vec<_>, Vec<_>) = level.into_iter().partition(|assignment| {
            directive(&assignment.name).is_some_and(|d| d.name != assignment.name)
        });
        for assignment in names.into_iter().chain(aliases) {
            let Some(directive) = directive(&assignment.name) else {
                continue;
            };
            if assignment.value.is_empty() || assignment.value == "NONE" {
                given.remove(directive.name);
            } else {
                given.insert(
                    directive.name,
                    Given {
                        value: assignment.value.to_owned(),
                        source: assignment.source,
                    },
                );
            }
        }
    }
    given
}

fn from_file<'a>(
    path: &Path,
    lines: &'a [file::Line<'_>],
    report: &mut Report,
) -> Vec<Assignment<'a>> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut assignments = Vec::new();
    for line in lines {
        let source = Source::File {
            path: path.to_owned(),
            line: line.number,
        };
        match &line.content {
            file::Content::Unreadable => {
                report.error("", &source, "the line is not `name = value`")
            }
            file::Content::Assignment { name, value } => {
                if let Some(first) = seen.insert(name, line.number) {
                    report.warn(
                        name,
                        &source,
                        format!("is set again; line {first} does not count"),
                    );
                }
                match directive(name) {
                    Some(_) => assignments.push(Assignment {
                        name: (*name).to_owned(),
                        value,
                        source,
                    }),
                    None => unknown(name, value.trim(), &source, report),
                }
            }
        }
    }
    assignments
}

fn from_env<'a>(
    prefix: &str,
    env: &'a [(String, String)],
    report: &mut Report,
) -> Vec<Assignment<'a>> {
    let mut assignments = Vec::new();
    for (variable, value) in env {
        let Some(upper) = variable.strip_prefix(prefix) else {
            continue;
        };
        let name = upper.to_ascii_lowercase();
        let source = Source::Env(variable.clone());
        if directive(&name).is_some() {
            assignments.push(Assignment {
                name,
                value: value.trim(),
                source,
            });
        } else if kong_names::is_kongs(&name) {
            unknown(&name, value.trim(), &source, report);
        } else if !is_orchestrators(upper, value) {
            let near = nearest(&name)
                .map(|near| format!("; the nearest is {prefix}{}", near.to_ascii_uppercase()))
                .unwrap_or_default();
            report.warn(
                &name,
                &source,
                format!("is no directive, so the variable is ignored{near}"),
            );
        }
    }
    assignments
}

fn from_flags<'a>(flags: &'a [Flag], report: &mut Report) -> Vec<Assignment<'a>> {
    let mut assignments = Vec::new();
    for Flag { flag, name, value } in flags {
        let source = Source::Flag(flag);
        match directive(name) {
            Some(_) => assignments.push(Assignment {
                name: name.clone(),
                value: value.trim(),
                source,
            }),
            None => unknown(name, value.trim(), &source, report),
        }
    }
    assignments
}

/// A name outside the table, in a place that only operators write to.
fn unknown(name: &str, value: &str, source: &Source, report: &mut Report) {
    if kong_names::is_kongs(name) {
        // Without a value nothing is set, so nothing is lost: templates of kong.conf have many such lines.
        if kong_names::is_silent(name) || value.is_empty() {
            return;
        }
        // nginx's proxy_ssl_* is about upstreams, its ssl_* about clients: one is no slip for the other.
        let of_upstreams = |name: &str| name.starts_with("nginx_proxy_proxy_");
        let near = nearest(name).filter(|near| {
            kong_names::is_injection(name) && of_upstreams(near) == of_upstreams(name)
        });
        let near = near
            .map(|near| format!(" (did you mean {near}?)"))
            .unwrap_or_default();
        report.warn(
            name,
            source,
            format!("is a directive of Kong that this gateway does not have; it is ignored{near}"),
        );
        return;
    }
    let near = nearest(name)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    report.error(name, source, format!("is no directive{near}"));
}

/// The directive whose name is close enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let names = TABLE
        .iter()
        .flat_map(|directive| std::iter::once(&directive.name).chain(directive.aliases));
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let (distance, near) = names
        .map(|known| (strsim::damerau_levenshtein(&lower, known), *known))
        .min()?;
    (distance <= 1 + name.len() / 5).then_some(near)
}

/// Variables that Kubernetes and Docker links make for a service called `kong…`: `KONG_SERVICE_HOST`,
/// `KONG_PORT_8000_TCP_ADDR`, `KONG_ADMIN_SERVICE_PORT_HTTP`, `KONG_PORT=tcp://…`, `KONG_NAME=/web/kong`, `KONG_ENV_…`.
fn is_orchestrators(upper: &str, value: &str) -> bool {
    const URL_SCHEMES: [&str; 3] = ["tcp://", "udp://", "sctp://"];
    let bare = format!("_{upper}");
    let port = bare
        .split("_PORT_")
        .nth(1)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    bare.ends_with("_SERVICE_HOST")
        || bare.contains("_SERVICE_PORT")
        || port
        || (bare.ends_with("_PORT") && URL_SCHEMES.iter().any(|scheme| value.starts_with(scheme)))
        || (bare.ends_with("_NAME") && value.starts_with('/'))
        || bare.starts_with("_ENV_")
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Unread(path) => write!(f, "{}", path.display()),
            Source::Env(variable) => write!(f, "environment variable {variable}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
            Source::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        // Kong's own sentences begin with the directive (KONG.md §4.2) and stay whole.
        if self.directive.is_empty() || self.message.starts_with(&self.directive) {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.directive, self.message)
        }
    }
}
