//! Rows into the store and out of it, and a look into it, while no gateway runs on the prefix.

use super::configuration::{self, Unread, compiled};
use super::entities::store_file;
use crate::cli::{Checked, Export, Instance, Parsed, Refused, State};
use crate::declarative::{self, Progress, Reading};
use crate::entity::{Config, Entity, Kind, schema};
use crate::publish::{Configuration, Unserved};
use crate::settings::{Database, Settings};
use crate::store::embedded::file::{self, Inspected};
use crate::store::{CommitError, Image, OpenError, Plan, Store, Violation, embedded, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// For `config db_import`: every row of the file in place of the one with its id, or beside the others; all or nothing.
///
/// `parsed` hears when the file is valid, with what is worth saying about it; so does the caller at the end.
///
/// # Errors
/// Every error of the file, or every conflict with what is stored. The store is as it was.
pub fn import(
    settings: &Settings,
    path: &Path,
    progress: &Progress<'_>,
    parsed: &mut Parsed<'_>,
) -> Result<Vec<String>, Refused> {
    at_rest(
        settings,
        "to import into",
        "send the changes to its Admin API (admin_listen)",
    )?;
    let reading = Reading {
        keep_updated_at: true,
        progress: Some(progress),
    };
    let read =
        configuration::read_file(settings, path, reading).map_err(|unread| match unread {
            Unread::Io(text) => Refused::Other(vec![text]),
            Unread::Invalid(errors) => Refused::Parsing(errors),
        })?;
    parsed(&read.warnings);
    let path = store_file(settings);
    let open = || embedded::open(&path).map_err(|error| refused(settings, &error));
    // A refused import makes no store.
    let there = match path.exists() {
        true => Some(open()?),
        false => None,
    };
    let image = there
        .as_ref()
        .map_or_else(Arc::default, |(_, loaded)| loaded.image.clone());
    let batch = plan(image.clone(), &read)
        .map_err(Refused::Other)?
        .into_batch();
    drop(read);
    // A store that a start would refuse is worse than an import that is refused.
    let mut after = Image::clone(&image);
    after.apply(&batch.writes, image.revision.saturating_add(1));
    let configuration = Configuration {
        config: after.config,
        warnings: Vec::new(),
    };
    let Checked {
        warnings, errors, ..
    } = compiled(settings, Ok(configuration), |unserved| {
        mend(&path, unserved)
    });
    if !errors.is_empty() {
        return Err(Refused::Other(errors));
    }
    let (store, _) = match there {
        Some(there) => there,
        None => {
            fs::create_dir_all(&settings.prefix).map_err(|error| {
                other(format!("prefix: {}: {error}", settings.prefix.display()))
            })?;
            open()?
        }
    };
    // Without a limit: to give up would not say whether it was written.
    wait(store.commit(batch), None)
        .unwrap_or(Err(CommitError::Closed))
        .map_err(|error| other(format!("database: {error}")))?;
    match store.close() {
        true => Ok(warnings),
        false => Err(other(
            "database: everything is written, but the store did not close in time".to_owned(),
        )),
    }
}

/// For `config db_export`: the rows of the store. It is closed again.
///
/// # Errors
/// Why it cannot be read.
pub fn export(settings: &Settings) -> Result<Export, Vec<String>> {
    let image = at_rest(settings, "to export from", "dump it through its Admin API, e.g. with deck")
        .and_then(|()| {
            let path = store_file(settings);
            if !path.exists() {
                return Err(other(format!(
                    "database: {}: there is no store yet; a start or `sallyport config db_import FILE` makes it",
                    path.display()
                )));
            }
            let opened = file::open(&path).and_then(|database| file::load(&database, &path));
            opened.map_err(|error| refused(settings, &error))
        })
        .map_err(Refused::lines)?;
    Ok(Export {
        rows: image.row_count(),
        write: Box::new(move |out| declarative::export(&image.config, out)),
    })
}

/// Why the store at `path` cannot be served, and what is to be done: nothing of it is left out to serve the rest, since it
/// may be what keeps strangers away. `export` does not compile, so it works on such a store.
pub fn mend(path: &Path, unserved: Unserved) -> Vec<String> {
    let file = path.display();
    let mut lines = vec![format!(
        "database: {file}: it holds what this version cannot serve; nothing was changed"
    )];
    lines.extend(unserved.lines);
    lines.push(format!(
        "database: to mend it, `sallyport config db_export FILE`, correct these rows in FILE, `sallyport config db_import \
         FILE`; or take them out of FILE, move {file} away, and import FILE"
    ));
    lines
}

/// For `check`: what is in the store, compiled as a start would. It is neither made nor written to.
pub fn check_store(settings: &Settings) -> Checked {
    let path = store_file(settings);
    // Settings are checked without a store too: files that they name.
    let nothing = || Configuration {
        config: Config::default(),
        warnings: Vec::new(),
    };
    let empty = || compiled(settings, Ok(nothing()), |unserved| unserved.lines);
    let with = |text: String, checked: Checked| Checked {
        notes: vec![format!("store {}: {text}", path.display())],
        ..checked
    };
    if let Some(pid) = running(settings) {
        return with(format!("in use by the gateway with pid {pid}"), empty());
    }
    if !path.exists() {
        return with("none yet; a start makes it".to_owned(), empty());
    }
    match file::inspect(&path) {
        Ok(Inspected::Whole { format, image }) => {
            let text = format!(
                "format {format}, revision {}, {} rows",
                image.revision,
                image.row_count()
            );
            let configuration = Configuration {
                config: image.config,
                warnings: Vec::new(),
            };
            let told = |unserved| mend(&path, unserved);
            with(text, compiled(settings, Ok(configuration), told))
        }
        Ok(Inspected::Older { format, known }) => with(
            format!("format {format}; the next start brings it to format {known}"),
            empty(),
        ),
        Ok(Inspected::Unclean) => with(
            "its gateway was ended by force; the next start looks it through".to_owned(),
            empty(),
        ),
        Err(OpenError::Locked { .. }) => with("in use by another process".to_owned(), empty()),
        Err(error) => {
            let mut checked = empty();
            checked.errors.push(format!("database: {error}"));
            checked
        }
    }
}

// ── the store is there, and nobody's ──

/// `instead`: what can be done while a gateway runs.
fn at_rest(settings: &Settings, purpose: &str, instead: &str) -> Result<(), Refused> {
    if settings.database == Database::Off {
        return Err(other(format!(
            "database: there is no store {purpose} with `off`; set `database = embedded`"
        )));
    }
    match running(settings) {
        Some(pid) => Err(other(format!(
            "database: the gateway of {} (pid {pid}) uses the store: {instead}, or stop it first (`sallyport stop`)",
            settings.prefix.display()
        ))),
        None => Ok(()),
    }
}

fn running(settings: &Settings) -> Option<i32> {
    match Instance::of(&settings.prefix).state() {
        Ok(State::Running { pid }) => Some(pid),
        // The store's own lock decides.
        Ok(State::Stopped) | Err(_) => None,
    }
}

fn refused(settings: &Settings, error: &OpenError) -> Refused {
    let holder = match error {
        OpenError::Locked { .. } => running(settings).map(|pid| format!(" (pid {pid})")),
        _ => None,
    };
    other(format!("database: {error}{}", holder.unwrap_or_default()))
}

fn other(text: String) -> Refused {
    Refused::Other(vec![text])
}

// ── rules between the file's rows and those stored ──

/// # Errors
/// The conflicts of the first kind that has any: what depends on those rows would only repeat them.
fn plan(image: Arc<Image>, read: &Configuration) -> Result<Plan, Vec<String>> {
    let mut plan = Plan::new(image);
    for kind in Kind::ALL {
        let rows = read.config.table(kind).map(|(id, row)| (*id, row));
        let mut waiting: BTreeMap<Uuid, &Arc<Entity>> = rows.collect();
        // A row may take a value over from one that gives it up further down.
        loop {
            let mut errors = Vec::new();
            let count = waiting.len();
            waiting.retain(|id, row| match plan.restore(kind, Entity::clone(row)) {
                Ok(()) => false,
                Err(violation) => {
                    errors.extend(told(kind, *id, row, violation, &mut plan));
                    true
                }
            });
            if waiting.is_empty() {
                break;
            }
            if waiting.len() == count {
                return Err(errors);
            }
        }
    }
    Ok(plan)
}

/// A conflict in words: entity, field, and what it collides with.
fn told(kind: Kind, id: Uuid, row: &Entity, violation: Violation, plan: &mut Plan) -> Vec<String> {
    let label = schema::of(kind).endpoint_key.and_then(|key| {
        let text = row.get(key)?.as_str()?;
        Some(format!("{key} {text}, "))
    });
    let place = format!("{} ({}id {id})", kind.name(), label.unwrap_or_default());
    let text = match violation {
        Violation::Fields(errors) => {
            let lines = errors.flat();
            return lines
                .into_iter()
                .map(|(field, text)| format!("{place}.{field}: {text}"))
                .collect();
        }
        Violation::Unique { kind, fields } => {
            let holder = match fields.as_slice() {
                [(field, Value::String(value))] => plan.find(kind, field, value),
                _ => schema::of(kind)
                    .unique_together
                    .iter()
                    .find(|tuple| tuple.iter().eq(fields.iter().map(|(field, _)| field)))
                    .and_then(|tuple| plan.find_tuple(kind, tuple, row)),
            };
            let shown: Vec<String> = fields
                .iter()
                .map(|(field, value)| format!("{field} {}", value.get("id").unwrap_or(value)))
                .collect();
            let holder = holder.map_or_else(
                || "another row".to_owned(),
                |holder| format!("the stored row {holder}"),
            );
            format!("{} is taken by {holder}", shown.join(", "))
        }
        Violation::ForeignKey { field, to, id, .. } => {
            format!("{field}: there is no {id} in {}", to.name())
        }
        Violation::PrimaryKey { id } => format!("id: {id} is taken"),
        Violation::Referenced { by, .. } => format!("rows of {} refer to it", by.name()),
        Violation::InUse { by, by_id, .. } => format!("{} {by_id} lists it", by.name()),
    };
    vec![format!("{place}: {text}")]
}
