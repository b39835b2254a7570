//! The command line: what each verb accepts, and the verbs that need no engine.
//!
//! `start` and `demo` are passed in as [`Hooks`], so that this module stands below the gateway.

mod check;
mod config;
mod instance;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::declarative::Progress;
use crate::settings::io::Invocation;
use crate::settings::{Flag, Loaded, Problem, Settings};

pub use instance::{Instance, PidFile, State};

/// What the verbs call that stands above this module.
pub struct Hooks {
    /// Runs the gateway in the foreground until it has drained.
    pub start: fn(Start) -> ExitCode,
    pub demo: fn(Demo) -> ExitCode,
    /// Checks what the settings would have served: the declarative configuration they name, or the store.
    pub check_file: fn(&Settings) -> Checked,
    /// Checks a declarative file.
    pub parse_file: fn(&Settings, &Path, &Progress<'_>) -> Checked,
    /// Puts a declarative file's rows into the store; gives back warnings.
    pub import:
        fn(&Settings, &Path, &Progress<'_>, &mut Parsed<'_>) -> Result<Vec<String>, Refused>,
    /// Reads the store's rows; every reason why not is a line.
    pub export: fn(&Settings) -> Result<Export, Vec<String>>,
}

/// Hears that a file is valid, with warnings.
pub type Parsed<'a> = dyn FnMut(&[String]) + 'a;

/// Why an import has not been.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Every error of the file, with its place.
    Parsing(Vec<String>),
    Other(Vec<String>),
}

impl Refused {
    pub fn lines(self) -> Vec<String> {
        match self {
            Refused::Parsing(lines) | Refused::Other(lines) => lines,
        }
    }
}

/// Rows on their way out.
pub struct Export {
    pub rows: usize,
    /// Writes a declarative file that holds them.
    pub write: Box<dyn FnOnce(&mut dyn Write) -> io::Result<()>>,
}

/// What `start` hands over. The pid file is held by the caller as long as the hook runs.
pub struct Start {
    pub loaded: Loaded,
    /// Loads the settings again on SIGHUP.
    pub invocation: Invocation,
}

pub struct Demo {
    /// Exit when the table is printed, successfully only if every row is as expected.
    pub once: bool,
}

/// Findings in a declarative file, each a line that names its place.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Facts, for the standard output.
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub errors: Vec<String>,
}

/// Runs the command line of this process.
pub fn run(hooks: &Hooks) -> ExitCode {
    run_args(
        std::env::args_os(),
        hooks,
        &mut io::stdout(),
        &mut io::stderr(),
    )
}

/// Runs `args`, program name first, with its output going to `out` and `err`.
pub fn run_args(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    hooks: &Hooks,
    out: &mut dyn Write,
    err: &mut (dyn Write + Send),
) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refused) => {
            let text = refused.render();
            // Help and version are no errors and belong on the standard output.
            let _ = match refused.use_stderr() {
                true => write!(err, "{text}"),
                false => write!(out, "{text}"),
            };
            return ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2));
        }
    };
    let mut console = Console { out, err };
    match cli.verb {
        Verb::Start(options) => start(&options, hooks, &mut console),
        Verb::Demo { once } => (hooks.demo)(Demo { once }),
        Verb::Check { file, mut options } => {
            options.conf = file.or(options.conf);
            check::check(
                &options.invocation(),
                options.verbosity(),
                hooks,
                &mut console,
            )
        }
        Verb::Config { verb } => match verb {
            ConfigVerb::Parse { file, options } => {
                config::parse(&options, &file, hooks, &mut console)
            }
            ConfigVerb::DbImport { file, options } => {
                config::import(&options, &file, hooks, &mut console)
            }
            ConfigVerb::DbExport {
                file,
                force,
                options,
            } => config::export(&options, &file, force, hooks, &mut console),
        },
        Verb::Stop { timeout, options } => {
            instance::stop(&options.invocation(), timeout, &mut console)
        }
        Verb::Quit { timeout, options } => {
            instance::quit(&options.invocation(), timeout, &mut console)
        }
        Verb::Reload(options) => instance::reload(&options.invocation(), &mut console),
        Verb::Health(options) => instance::health(&options.invocation(), &mut console),
        Verb::Version { all } => version(all, &mut console),
    }
}

#[derive(Parser)]
#[command(
    name = "sallyport",
    version,
    about = "A mutual-TLS gateway configured as Kong is",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway in the foreground
    Start(Options),
    /// Show the four uses of certificates with a PKI made for the occasion
    Demo {
        /// Exit after the table; 0 only if every row is as expected
        #[arg(long)]
        once: bool,
    },
    /// Validate the settings and the declarative file they name
    Check {
        /// Settings file, as -c
        file: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// Work on declarative files
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// End a running gateway: SIGTERM, then wait for it to drain
    Stop {
        /// Seconds to wait; by default its drain_timeout and five more
        #[arg(short, long)]
        timeout: Option<u64>,
        #[command(flatten)]
        options: Options,
    },
    /// End a running gateway gracefully: SIGQUIT, and SIGKILL when the time is up
    Quit {
        /// Seconds to wait
        #[arg(short, long, default_value_t = 10)]
        timeout: u64,
        #[command(flatten)]
        options: Options,
    },
    /// Have a running gateway read its configuration again
    Reload(Options),
    /// Say whether a gateway is running
    Health(Options),
    /// Print the version
    Version {
        /// Print the versions of the libraries that matter too
        #[arg(short, long)]
        all: bool,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Validate a declarative file
    Parse {
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Put a declarative file's entities into the store, all or none; no gateway may run on the prefix
    #[command(name = "db_import")]
    DbImport {
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Write the store's entities, private keys included, to a declarative file; no gateway may run on the prefix
    #[command(name = "db_export")]
    DbExport {
        /// `-` is the standard output
        #[arg(default_value = "kong.yml")]
        file: PathBuf,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        options: Options,
    },
}

/// Where settings come from.
#[derive(Args)]
struct Options {
    /// Settings file; else the first that exists of /etc/sallyport/sallyport.conf, /etc/kong/kong.conf and /etc/kong.conf
    #[arg(short, long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Folder of pid file, logs and generated certificates
    #[arg(short, long, value_name = "FOLDER")]
    prefix: Option<String>,
    /// Set a directive, above environment and file
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Say what is read
    #[arg(long = "v")]
    verbose: bool,
    /// Print the effective configuration too
    #[arg(long = "vv")]
    very_verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verbosity {
    Quiet,
    Verbose,
    VeryVerbose,
}

impl Options {
    fn invocation(&self) -> Invocation {
        let sets = self.set.iter().map(|(name, value)| Flag {
            flag: "--set",
            name: name.clone(),
            value: value.clone(),
        });
        let prefix = self.prefix.iter().map(|prefix| Flag {
            flag: "-p",
            name: "prefix".into(),
            value: prefix.clone(),
        });
        Invocation {
            file: self.conf.clone(),
            flags: sets.chain(prefix).collect(),
        }
    }

    fn verbosity(&self) -> Verbosity {
        match (self.very_verbose, self.verbose) {
            (true, _) => Verbosity::VeryVerbose,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Quiet,
        }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("NAME=VALUE is accepted".into()),
    }
}

fn start(options: &Options, hooks: &Hooks, console: &mut Console<'_>) -> ExitCode {
    let invocation = options.invocation();
    let loaded = match invocation.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            console.errors(&problems);
            return ExitCode::FAILURE;
        }
    };
    check::describe(
        &invocation,
        &loaded.settings,
        options.verbosity(),
        || crate::settings::effective_text(&loaded),
        console,
    );
    console.warnings(&loaded.warnings);
    let pid_file = match Instance::of(&loaded.settings.prefix).claim(&loaded) {
        Ok(pid_file) => pid_file,
        Err(why) => {
            console.error(&why);
            return ExitCode::FAILURE;
        }
    };
    // In the foreground and, from here on, silent: a terminal would look as if nothing had happened.
    let settings = &loaded.settings;
    if let Some(log) = settings.proxy_error_log.below(&settings.prefix) {
        console.note(&format!(
            "Sallyport starts in {}; more is in {}",
            settings.prefix.display(),
            log.display()
        ));
    }
    let code = (hooks.start)(Start { loaded, invocation });
    drop(pid_file);
    code
}

fn version(all: bool, console: &mut Console<'_>) -> ExitCode {
    const LOCK: &str = include_str!("../../Cargo.lock");
    const SHOWN: [&str; 7] = [
        "rustls",
        "aws-lc-rs",
        "ring",
        "monoio",
        "rustls-webpki",
        "x509-parser",
        "httparse",
    ];
    if !all {
        console.say(env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    console.say(&format!("sallyport {}", env!("CARGO_PKG_VERSION")));
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        let Some(name) = quoted(line, "name") else {
            continue;
        };
        if let Some(version) = lines
            .next()
            .and_then(|line| quoted(line, "version"))
            .filter(|_| SHOWN.contains(&name))
        {
            console.say(&format!("{name} {version}"));
        }
    }
    ExitCode::SUCCESS
}

/// The text of a lock file's `key = "text"` line.
fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?
        .strip_prefix(" = \"")?
        .strip_suffix('"')
}

/// Where a command writes. A closed pipe ends nothing: the exit code still tells.
struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut (dyn Write + Send),
}

impl Console<'_> {
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Beside the output, which may be the access log's.
    fn note(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    fn error(&mut self, line: &str) {
        let _ = writeln!(self.err, "error: {line}");
    }

    fn warning(&mut self, line: &str) {
        let _ = writeln!(self.err, "warning: {line}");
    }

    fn errors(&mut self, problems: &[Problem]) {
        for problem in problems {
            self.error(&problem.to_string());
        }
    }

    fn warnings(&mut self, problems: &[Problem]) {
        for problem in problems {
            self.warning(&problem.to_string());
        }
    }
}
