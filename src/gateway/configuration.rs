//! The declarative configuration that settings name: found, read, checked.

use super::{convert, material, transfer};
use crate::cli::Checked;
use crate::declarative::{self, Options, Progress, Reading, Secret};
use crate::entity::Config;
use crate::limits;
use crate::publish::{Configuration, Publisher, Unserved};
use crate::settings::{Database, Settings};
use crate::tls::provider;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads what `declarative_config` or `declarative_config_string` holds; without either the gateway serves nothing.
///
/// # Errors
/// Every error of the file, each with its place.
pub fn read(settings: &Settings) -> Result<Configuration, Vec<String>> {
    match (
        &settings.declarative_config,
        &settings.declarative_config_string,
    ) {
        (Some(path), _) => {
            read_file(settings, path, Reading::default()).map_err(|refused| match refused {
                Unread::Io(text) => vec![format!("declarative_config: {text}")],
                Unread::Invalid(errors) => errors,
            })
        }
        (None, Some(text)) => parse(
            settings,
            text,
            None,
            "declarative_config_string",
            Reading::default(),
        ),
        (None, None) => {
            let warnings = vec!["no declarative_config is set: every request gets 404".to_owned()];
            Ok(Configuration {
                config: Config::default(),
                warnings,
            })
        }
    }
}

/// Why there is nothing to go on with.
pub(super) enum Unread {
    Io(String),
    /// Each error with its place.
    Invalid(Vec<String>),
}

impl Unread {
    pub fn lines(self) -> Vec<String> {
        match self {
            Unread::Io(text) => vec![text],
            Unread::Invalid(errors) => errors,
        }
    }
}

/// Reads a declarative file.
pub(super) fn read_file(
    settings: &Settings,
    path: &Path,
    reading: Reading<'_>,
) -> Result<Configuration, Unread> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|error| Unread::Io(format!("{name}: {error}")))?;
    parse(settings, &text, path.parent(), &name, reading).map_err(Unread::Invalid)
}

/// `folder`: where references to files begin. `name`: of the text, for messages.
fn parse(
    settings: &Settings,
    text: &str,
    folder: Option<&Path>,
    name: &str,
    reading: Reading<'_>,
) -> Result<Configuration, Vec<String>> {
    let secrets = |secret: Secret<'_>| resolve(secret, folder);
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    let options = Options {
        now_ms,
        secrets: &secrets,
        plugins: Some(&settings.plugins),
    };
    match declarative::parse_as(text, &options, reading) {
        Ok(loaded) => Ok(Configuration {
            config: loaded.config,
            warnings: loaded
                .warnings
                .iter()
                .map(|warning| format!("{name}: {warning}"))
                .collect(),
        }),
        Err(failure) => Err(failure
            .lines()
            .iter()
            .map(|line| format!("{name}: {line}"))
            .collect()),
    }
}

/// For `check`: what a start would find in the declarative file or in the store, compiled as a start would.
pub fn check_file(settings: &Settings) -> Checked {
    match settings.database {
        Database::Off => compiled(settings, read(settings), |unserved| unserved.lines),
        Database::Embedded => transfer::check_store(settings),
    }
}

/// For `config parse`: a file, whatever the settings name.
pub fn parse_file(settings: &Settings, path: &Path, progress: &Progress<'_>) -> Checked {
    let reading = Reading {
        progress: Some(progress),
        ..Reading::default()
    };
    let read = read_file(settings, path, reading).map_err(Unread::lines);
    compiled(settings, read, |unserved| unserved.lines)
}

/// Compiles a configuration as a start would; says what keeps one from starting, `told` of what does not compile.
pub(super) fn compiled(
    settings: &Settings,
    configuration: Result<Configuration, Vec<String>>,
    told: impl FnOnce(Unserved) -> Vec<String>,
) -> Checked {
    let mut checked = Checked::default();
    let chosen = provider::choose(convert::provider_mode(settings));
    let material = material::load(settings, &chosen, false);
    match configuration {
        Ok(configuration) => match material {
            Ok(material) => {
                let mut publisher = Publisher::new(material.globals, material.certificates, false);
                if let Err(unserved) = publisher.compile(&configuration) {
                    checked.errors.extend(told(unserved));
                }
                checked.warnings.extend(publisher.take_warnings());
            }
            Err(problem) => {
                checked.warnings.extend(configuration.warnings);
                checked.errors.extend(problem.lines().map(str::to_owned));
            }
        },
        Err(errors) => {
            checked.errors.extend(errors);
            if let Err(problem) = material {
                checked.errors.extend(problem.lines().map(str::to_owned));
            }
        }
    }
    checked
}

fn resolve(secret: Secret<'_>, folder: Option<&Path>) -> Result<String, String> {
    match secret {
        Secret::Env(name) => {
            std::env::var(name).map_err(|_| format!("environment variable {name} is not set"))
        }
        Secret::File(path) => {
            let path = folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path));
            read_text(&path).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > limits::DECLARATIVE_SIZE_MAX as u64 {
        return Err(std::io::Error::other(format!(
            "{size} bytes are more than the {} that are read",
            limits::DECLARATIVE_SIZE_MAX as u64
        )));
    }
    std::fs::read_to_string(path)
}
