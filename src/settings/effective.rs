//! The configuration as it counts: written into the prefix at start, compared at reload.

use std::fmt::Write as _;

use super::pem::holds_pem;
use super::{Change, Loaded, Settings, TABLE, file};

/// Every directive with the value that counts, in the grammar of a settings file. Key texts and whole
/// configurations are left out: their lines are comments saying where the value came from.
pub fn effective_text(loaded: &Loaded) -> String {
    let mut text =
        String::from("# Effective configuration, written at start. Changes here have no effect.\n");
    for directive in TABLE {
        let line = match loaded.given.get(directive.name) {
            None if directive.default.is_empty() => format!("# {} is not set", directive.name),
            None => file::line(directive.name, directive.default),
            Some(given)
                if holds_pem(&given.value) || directive.name == "declarative_config_string" =>
            {
                format!(
                    "# {} is a text from {}, not written here",
                    directive.name, given.source
                )
            }
            Some(given) => file::line(directive.name, &given.value.replace(['\r', '\n'], " ")),
        };
        // A String never fails to grow.
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Every directive with the value that counts, `None` when unset. What is or may hold a key is a row of asterisks.
pub fn shown_values(loaded: &Loaded) -> impl Iterator<Item = (&'static str, Option<String>)> {
    TABLE.iter().map(|directive| {
        let value = match loaded.given.get(directive.name) {
            None if directive.default.is_empty() => None,
            None => Some(directive.default.to_owned()),
            Some(given)
                if holds_pem(&given.value) || directive.name == "declarative_config_string" =>
            {
                Some("******".to_owned())
            }
            Some(given) => Some(given.value.clone()),
        };
        (directive.name, value)
    })
}

/// What a reload makes of newly read settings: directives that need a restart keep the value the process was started
/// with.
pub fn keep_until_restart(settings: &mut Settings, started: &Settings) {
    for directive in TABLE.iter().filter(|d| d.change == Change::Restart) {
        (directive.keep)(settings, started);
    }
}

/// What a process that was started with `started` and has read `new` since goes by: directives that need a restart are
/// as they were.
pub fn in_force(started: &Loaded, new: &Loaded) -> Loaded {
    let given = TABLE.iter().filter_map(|directive| {
        let of = match directive.change {
            Change::Reload => new,
            Change::Restart => started,
        };
        Some((directive.name, of.given.get(directive.name)?.clone()))
    });
    let mut settings = new.settings.clone();
    keep_until_restart(&mut settings, &started.settings);
    Loaded {
        settings,
        warnings: Vec::new(),
        given: given.collect(),
    }
}

/// Directives whose value differs from the one at the start and counts only after a restart, for the warning of a reload.
pub fn restart_needed(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    let value = |loaded: &Loaded, name: &str, default: &'static str| {
        loaded
            .given
            .get(name)
            .map_or_else(|| default.to_owned(), |given| given.value.clone())
    };
    TABLE
        .iter()
        .filter(|directive| directive.change == Change::Restart)
        .filter(|directive| {
            value(old, directive.name, directive.default)
                != value(new, directive.name, directive.default)
        })
        .map(|directive| directive.name)
        .collect()
}
