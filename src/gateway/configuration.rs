//! The declarative configuration that settings name: found, read, checked.

use super::{convert, material};
use crate::cli::Checked;
use crate::declarative::{self, Options, Secret};
use crate::entity::Config;
use crate::limits;
use crate::publish::{Configuration, Publisher};
use crate::settings::Settings;
use crate::tls::provider;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads what `declarative_config` or `declarative_config_string` holds; without either the gateway serves nothing.
///
/// # Errors
/// Every error of the file, each with its place.
pub fn read(settings: &Settings) -> Result<Configuration, Vec<String>> {
    let (text, folder, name) = match (
        &settings.declarative_config,
        &settings.declarative_config_string,
    ) {
        (Some(path), _) => {
            let text = read_text(path).map_err(|error| {
                vec![format!("declarative_config: {}: {error}", path.display())]
            })?;
            (
                text,
                path.parent().map(Path::to_path_buf),
                path.display().to_string(),
            )
        }
        (None, Some(text)) => (text.clone(), None, "declarative_config_string".to_owned()),
        (None, None) => {
            let warnings = vec!["no declarative_config is set: every request gets 404".to_owned()];
            return Ok(Configuration {
                config: Config::default(),
                warnings,
            });
        }
    };
    let secrets = |secret: Secret<'_>| resolve(secret, folder.as_deref());
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    match declarative::parse(
        &text,
        &Options {
            now_ms,
            secrets: &secrets,
            plugins: Some(&settings.plugins),
        },
    ) {
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

/// For `check`: everything that a start would find in the file, compiled as a start would.
pub fn check_file(settings: &Settings) -> Checked {
    let mut checked = Checked::default();
    let chosen = provider::choose(convert::provider_mode(settings));
    let material = material::load(settings, &chosen, false);
    match read(settings) {
        Ok(configuration) => match material {
            Ok(material) => {
                let mut publisher = Publisher::new(material.globals, material.certificates, true);
                if let Err(problems) = publisher.compile(&configuration) {
                    checked.errors.extend(problems);
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
