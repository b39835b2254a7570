//! `config parse`, `config db_import`, `config db_export`: Kong's declarative files (KONG.md §7.4).

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Checked, Console, Export, Hooks, Options, Refused, Verbosity};
use crate::settings::Settings;

pub(super) fn parse(
    options: &Options,
    file: &Path,
    hooks: &Hooks,
    console: &mut Console<'_>,
) -> ExitCode {
    // Files of a gateway whose database is not ours are worth a look too.
    let Some(settings) = settings(options, &["database"], console) else {
        return ExitCode::FAILURE;
    };
    let meter = Meter::new(console.err, shows_progress(options));
    let checked = (hooks.parse_file)(&settings, file, &|done, all| meter.told(done, all));
    let Checked {
        warnings, errors, ..
    } = checked;
    warnings.iter().for_each(|warning| console.warning(warning));
    if errors.is_empty() {
        console.say("parse successful");
        return ExitCode::SUCCESS;
    }
    failed_parsing(&errors, console)
}

pub(super) fn import(
    options: &Options,
    file: &Path,
    hooks: &Hooks,
    console: &mut Console<'_>,
) -> ExitCode {
    let Some(settings) = settings(options, &[], console) else {
        return ExitCode::FAILURE;
    };
    let Console { out, err } = console;
    let meter = Meter::new(*err, shows_progress(options));
    let mut begun = false;
    let mut parsed = |warnings: &[String]| {
        let mut shown = meter.lock();
        let mut console = Console {
            out: *out,
            err: shown.err,
        };
        warnings.iter().for_each(|warning| console.warning(warning));
        console.say("parse successful, beginning import");
        begun = true;
    };
    let progress = |done, all| meter.told(done, all);
    let outcome = (hooks.import)(&settings, file, &progress, &mut parsed);
    match outcome {
        Ok(warnings) => {
            warnings.iter().for_each(|warning| console.warning(warning));
            console.say("import successful");
            ExitCode::SUCCESS
        }
        Err(Refused::Parsing(errors)) => failed_parsing(&errors, console),
        Err(Refused::Other(errors)) => {
            errors.iter().for_each(|error| console.error(error));
            if begun {
                console.error("nothing has been imported");
            }
            ExitCode::FAILURE
        }
    }
}

pub(super) fn export(
    options: &Options,
    file: &Path,
    force: bool,
    hooks: &Hooks,
    console: &mut Console<'_>,
) -> ExitCode {
    let Some(settings) = settings(options, &[], console) else {
        return ExitCode::FAILURE;
    };
    let to_stdout = file.as_os_str() == "-";
    if !to_stdout && !force && fs::symlink_metadata(file).is_ok() {
        console.error(&exists(file));
        return ExitCode::FAILURE;
    }
    let export = match (hooks.export)(&settings) {
        Ok(export) => export,
        Err(errors) => {
            errors.iter().for_each(|error| console.error(error));
            return ExitCode::FAILURE;
        }
    };
    if to_stdout {
        let mut out = BufWriter::new(&mut *console.out);
        let written = (export.write)(&mut out).and_then(|()| out.flush());
        drop(out);
        return match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                console.error(&format!("standard output: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    let rows = match export.rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    match write_whole(file, force, export) {
        Ok(()) => {
            console.say(&format!("{rows} exported to {}", file.display()));
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            console.error(&exists(file));
            ExitCode::FAILURE
        }
        Err(error) => {
            console.error(&format!("{}: {error}", file.display()));
            ExitCode::FAILURE
        }
    }
}

/// The settings; but for `unasked` directives, every error of theirs is told and ends the verb.
fn settings(options: &Options, unasked: &[&str], console: &mut Console<'_>) -> Option<Settings> {
    let mut evaluated = options.invocation().evaluate();
    evaluated
        .errors
        .retain(|problem| !unasked.contains(&problem.directive.as_str()));
    if evaluated.errors.is_empty() {
        return Some(evaluated.settings);
    }
    console.errors(&evaluated.errors);
    None
}

fn failed_parsing(errors: &[String], console: &mut Console<'_>) -> ExitCode {
    console.error("Failed parsing:");
    errors.iter().for_each(|error| console.error(error));
    ExitCode::FAILURE
}

fn exists(file: &Path) -> String {
    format!("{}: the file exists; --force replaces it", file.display())
}

/// Readable by its owner only, on the disk, and in place at once or not at all: half of an export must not pass for one.
fn write_whole(file: &Path, replace: bool, export: Export) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}.partial", Uuid::new_v4()));
    let draft = PathBuf::from(draft);
    let mut options = OpenOptions::new();
    let target = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let placed = || -> io::Result<()> {
        let mut out = BufWriter::new(target);
        (export.write)(&mut out)?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        match replace {
            true => fs::rename(&draft, file),
            // Unlike a rename it finds a file that has come meanwhile.
            false => fs::hard_link(&draft, file).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // A file system without links.
                _ => fs::rename(&draft, file),
            }),
        }
    }();
    // After a rename it is gone already.
    let _ = fs::remove_file(&draft);
    placed
}

// ── progress ──

fn shows_progress(options: &Options) -> bool {
    io::stderr().is_terminal() || options.verbosity() >= Verbosity::Verbose
}

/// Says how far the check of a large file is: a line a second, from the second second on.
struct Meter<'a> {
    enabled: bool,
    shown: Mutex<Shown<'a>>,
}

struct Shown<'a> {
    err: &'a mut (dyn Write + Send),
    /// When the next line is due.
    due: Instant,
}

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl<'a> Meter<'a> {
    fn new(err: &'a mut (dyn Write + Send), enabled: bool) -> Meter<'a> {
        Meter {
            enabled,
            shown: Mutex::new(Shown {
                err,
                due: Instant::now() + PROGRESS_EVERY,
            }),
        }
    }

    /// Called for each row, by every thread that checks: who finds another one here goes on checking.
    fn told(&self, done: usize, all: usize) {
        if self.enabled
            && let Ok(mut shown) = self.shown.try_lock()
        {
            shown.told(done, all, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown<'a>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown<'_> {
    fn told(&mut self, done: usize, all: usize, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + PROGRESS_EVERY;
        let _ = writeln!(self.err, "{done} of {all} rows checked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_line_a_second_from_the_second_second_on() {
        let mut text = Vec::new();
        let begun = Instant::now();
        let mut shown = Shown {
            err: &mut text,
            due: begun + PROGRESS_EVERY,
        };
        for (done, ms) in [(1, 0), (2, 999), (3, 1000), (4, 1999), (5, 2001), (6, 2500)] {
            shown.told(done, 9, begun + Duration::from_millis(ms));
        }
        assert_eq!(
            String::from_utf8_lossy(&text),
            "3 of 9 rows checked\n5 of 9 rows checked\n"
        );
    }

    #[test]
    fn progress_that_is_not_wanted_is_not_shown() {
        for enabled in [false, true] {
            let mut text = Vec::new();
            let meter = Meter::new(&mut text, enabled);
            meter.lock().due = Instant::now();
            meter.told(1, 2);
            assert_eq!(text.is_empty(), !enabled);
        }
    }
}
