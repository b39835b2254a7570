//! Where entities come from: the store in the prefix, or the declarative configuration that settings name.

use super::configuration;
use crate::publish::Configuration;
use crate::ring;
use crate::settings::{Database, Settings};
use crate::store::embedded::{self, Embedded};
use crate::store::fixed::Fixed;
use crate::store::{Revision, Store};
use std::path::PathBuf;
use std::sync::Arc;

pub struct Entities {
    pub store: Arc<dyn Store>,
    /// The same store, where it is replaced as a whole.
    pub fixed: Option<Arc<Fixed>>,
    /// The same store, where it is a file.
    pub embedded: Option<Arc<Embedded>>,
    /// What it holds now.
    pub configuration: Configuration,
    pub revision: Revision,
}

/// The file of `database = embedded`.
pub fn store_file(settings: &Settings) -> PathBuf {
    settings.prefix.join("store.redb")
}

/// `cpus`: where the store's thread may run.
///
/// # Errors
/// Every error of a declarative file, each with its place; or why the store cannot be opened.
pub fn open(settings: &Settings, cpus: &[usize]) -> Result<Entities, Vec<String>> {
    match settings.database {
        Database::Off => {
            let configuration = configuration::read(settings)?;
            let fixed = Arc::new(Fixed::new(configuration.config.clone()));
            Ok(Entities {
                revision: fixed.image().revision,
                store: fixed.clone(),
                fixed: Some(fixed),
                embedded: None,
                configuration,
            })
        }
        Database::Embedded => {
            let path = store_file(settings);
            let cpus = cpus.to_vec();
            let stay = move || {
                ring::sys::stay_on(&cpus);
            };
            let (embedded, loaded) = embedded::open_with(&path, stay)
                .map_err(|error| vec![format!("database: {error}")])?;
            Ok(Entities {
                revision: loaded.image.revision,
                store: embedded.clone(),
                fixed: None,
                embedded: Some(embedded),
                configuration: Configuration {
                    config: loaded.image.config.clone(),
                    warnings: Vec::new(),
                },
            })
        }
    }
}
