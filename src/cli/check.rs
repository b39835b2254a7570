//! `check`: every error with its place, nothing started.

use std::process::ExitCode;

use super::{Checked, Console, Hooks, Verbosity};
use crate::settings::io::{Invocation, placement};
use crate::settings::{Loaded, Settings, effective_text};

pub(super) fn check(
    invocation: &Invocation,
    verbosity: Verbosity,
    hooks: &Hooks,
    console: &mut Console<'_>,
) -> ExitCode {
    let evaluated = invocation.evaluate();
    // The declarative file is checked even when a directive is refused: one run shows all.
    let Checked {
        notes,
        warnings,
        mut errors,
    } = (hooks.check_file)(&evaluated.settings);
    errors.retain(|error| !evaluated.tells(error));
    console.warnings(&evaluated.warnings);
    warnings.iter().for_each(|warning| console.warning(warning));
    console.errors(&evaluated.errors);
    errors.iter().for_each(|error| console.error(error));
    let checked = match invocation.file() {
        Some(file) => format!("configuration at {}", file.display()),
        None => "configuration of environment and defaults".to_owned(),
    };
    let count = evaluated.errors.len() + errors.len();
    if count > 0 {
        console.error(&format!(
            "{checked} is not valid ({count} {})",
            if count == 1 { "error" } else { "errors" }
        ));
        return ExitCode::FAILURE;
    }
    let loaded = Loaded {
        settings: evaluated.settings,
        warnings: evaluated.warnings,
        given: evaluated.given,
    };
    describe(
        invocation,
        &loaded.settings,
        verbosity.max(Verbosity::Verbose),
        || effective_text(&loaded),
        console,
    );
    notes.iter().for_each(|note| console.say(note));
    console.say(&format!("{checked} is valid"));
    ExitCode::SUCCESS
}

/// What was read and where threads go; with `--vv` the effective configuration.
pub(super) fn describe(
    invocation: &Invocation,
    settings: &Settings,
    verbosity: Verbosity,
    effective: impl FnOnce() -> String,
    console: &mut Console<'_>,
) {
    if verbosity >= Verbosity::Verbose {
        match invocation.file() {
            Some(file) => console.say(&format!("settings file: {}", file.display())),
            None => console.say("settings file: none"),
        }
        // A mask that cannot be met was an error before this point.
        if let Ok(placement) = placement(settings) {
            console.say(&placement.to_string());
        }
    }
    if verbosity >= Verbosity::VeryVerbose {
        console.say(effective().trim_end());
    }
}
