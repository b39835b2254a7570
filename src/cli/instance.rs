//! The gateway that runs in a prefix: its pid file, and the verbs that signal it.
//!
//! The running process holds a lock on its pid file, so a file left behind by a killed one is told
//! from a live one whatever process has that number now.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::Console;
use crate::ring::sys::kill;
use crate::settings::io::Invocation;
use crate::settings::{Loaded, Settings, Sources, effective_text, load};

/// A prefix, seen as the place of at most one running gateway.
pub struct Instance {
    prefix: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running { pid: i32 },
    Stopped,
}

/// The pid file of this process: locked as long as this lives, removed with it.
pub struct PidFile {
    path: PathBuf,
    // Held for its lock.
    file: File,
}

impl Instance {
    pub fn of(prefix: &Path) -> Instance {
        Instance {
            prefix: prefix.to_owned(),
        }
    }

    pub fn pid_path(&self) -> PathBuf {
        self.prefix.join("pids").join("sallyport.pid")
    }

    pub fn effective_path(&self) -> PathBuf {
        self.prefix.join(".sallyport_env")
    }

    /// Makes this process the one of the prefix: folders, lock, pid, effective configuration.
    /// The error is a sentence for the operator.
    pub fn claim(&self, loaded: &Loaded) -> Result<PidFile, String> {
        let at = |path: &Path, why: io::Error| {
            format!(
                "prefix: {}: {why} (another folder can be chosen with -p)",
                path.display()
            )
        };
        for (folder, mode) in [
            ("", 0o755),
            ("pids", 0o755),
            ("logs", 0o755),
            ("ssl", 0o700),
        ] {
            let path = match folder {
                "" => self.prefix.clone(),
                folder => self.prefix.join(folder),
            };
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .and_then(|()| match folder {
                    "ssl" => close_to_others(&path),
                    _ => Ok(()),
                })
                .map_err(|why| at(&path, why))?;
        }
        let path = self.pid_path();
        let mut file = self.lock(&path)?;
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|why| at(&path, why))?;
        let pid_file = PidFile { path, file };
        let effective = self.effective_path();
        write_private(&effective, &effective_text(loaded)).map_err(|why| at(&effective, why))?;
        Ok(pid_file)
    }

    pub fn state(&self) -> io::Result<State> {
        // A process that has just taken the lock writes its number at once.
        const TRIES: usize = 50;
        const PAUSE: Duration = Duration::from_millis(10);
        for _ in 0..TRIES {
            let mut file = match File::open(self.pid_path()) {
                Ok(file) => file,
                Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(State::Stopped),
                Err(why) => return Err(why),
            };
            match file.try_lock_shared() {
                Ok(()) => return Ok(State::Stopped),
                Err(TryLockError::Error(why)) => return Err(why),
                Err(TryLockError::WouldBlock) => {}
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            if let Ok(pid) = text.trim().parse() {
                return Ok(State::Running { pid });
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other(
            "the pid file is locked but holds no process id",
        ))
    }

    /// The locked file that stands at `path` now: another process may remove its own between our open and lock.
    fn lock(&self, path: &Path) -> Result<File, String> {
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path);
            let file = opened.map_err(|why| format!("pid file {}: {why}", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(why)) => {
                    return Err(format!("pid file {}: {why}", path.display()));
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = match self.state() {
                        Ok(State::Running { pid }) => format!(" (pid {pid})"),
                        Ok(State::Stopped) => continue,
                        Err(_) => String::new(),
                    };
                    return Err(format!(
                        "Sallyport is already running in {}{pid}",
                        self.prefix.display()
                    ));
                }
            }
            let same = |there: fs::Metadata| {
                file.metadata()
                    .is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
            };
            if fs::metadata(path).is_ok_and(same) {
                return Ok(file);
            }
        }
        Err(format!(
            "pid file {}: other processes keep replacing it",
            path.display()
        ))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Removed before the lock goes with the file: whoever locks next finds a file of its own.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

pub(super) fn stop(
    invocation: &Invocation,
    timeout_s: Option<u64>,
    console: &mut Console<'_>,
) -> ExitCode {
    let Some((instance, pid)) = running(invocation, console) else {
        return ExitCode::FAILURE;
    };
    let wait = timeout_s.map_or_else(
        || drain_timeout(&instance, invocation) + Duration::from_secs(5),
        Duration::from_secs,
    );
    match end(&instance, pid, libc::SIGTERM, wait) {
        Ok(true) => {
            console.say("Sallyport stopped");
            return ExitCode::SUCCESS;
        }
        Ok(false) => console.error(&format!(
            "process {pid} was told to stop and still runs after {} s; `quit` ends it by force",
            wait.as_secs()
        )),
        Err(why) => console.error(&why),
    }
    ExitCode::FAILURE
}

pub(super) fn quit(invocation: &Invocation, timeout_s: u64, console: &mut Console<'_>) -> ExitCode {
    const FORCED_WAIT: Duration = Duration::from_secs(5);
    let Some((instance, pid)) = running(invocation, console) else {
        return ExitCode::FAILURE;
    };
    let steps = [
        (libc::SIGQUIT, Duration::from_secs(timeout_s), "gracefully"),
        (libc::SIGKILL, FORCED_WAIT, "by force: the time was up"),
    ];
    for (signal, wait, how) in steps {
        match end(&instance, pid, signal, wait) {
            Ok(true) => {
                console.say(&format!("Sallyport stopped {how}"));
                return ExitCode::SUCCESS;
            }
            Ok(false) => {}
            Err(why) => {
                console.error(&why);
                return ExitCode::FAILURE;
            }
        }
    }
    console.error(&format!("process {pid} still runs"));
    ExitCode::FAILURE
}

/// Whether the process is gone `wait` after the signal.
fn end(instance: &Instance, pid: i32, signal: i32, wait: Duration) -> Result<bool, String> {
    match kill(pid, signal) {
        Ok(()) => {}
        // It ended by itself meanwhile.
        Err(why) if why.raw_os_error() == Some(libc::ESRCH) => {}
        Err(why) => return Err(format!("process {pid} cannot be signalled: {why}")),
    }
    Ok(gone_within(instance, wait))
}

pub(super) fn reload(invocation: &Invocation, console: &mut Console<'_>) -> ExitCode {
    let Some((_, pid)) = running(invocation, console) else {
        return ExitCode::FAILURE;
    };
    match kill(pid, libc::SIGHUP) {
        Ok(()) => {
            console.say(&format!(
                "process {pid} reads its configuration again; its error log says with what result"
            ));
            ExitCode::SUCCESS
        }
        Err(why) => {
            console.error(&format!("process {pid} cannot be signalled: {why}"));
            ExitCode::FAILURE
        }
    }
}

pub(super) fn health(invocation: &Invocation, console: &mut Console<'_>) -> ExitCode {
    let Some((instance, _)) = running(invocation, console) else {
        return ExitCode::FAILURE;
    };
    console.say("sallyport...running");
    console.say("");
    console.say(&format!(
        "Sallyport is healthy at {}",
        instance.prefix.display()
    ));
    ExitCode::SUCCESS
}

/// The gateway of the prefix and its process; says so when there is none.
fn running(invocation: &Invocation, console: &mut Console<'_>) -> Option<(Instance, i32)> {
    let prefix = match invocation.prefix() {
        Ok(prefix) => prefix,
        Err(problems) => {
            console.errors(&problems);
            return None;
        }
    };
    let instance = Instance::of(&prefix);
    match instance.state() {
        Ok(State::Running { pid }) => Some((instance, pid)),
        Ok(State::Stopped) => {
            console.error(&format!("Sallyport is not running at {}", prefix.display()));
            None
        }
        Err(why) => {
            console.error(&format!(
                "pid file {}: {why}",
                instance.pid_path().display()
            ));
            None
        }
    }
}

fn gone_within(instance: &Instance, wait: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    loop {
        if matches!(instance.state(), Ok(State::Stopped)) {
            return true;
        }
        if begun.elapsed() >= wait {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Of the gateway that runs: the longer one of what it wrote at its start and what a reload may have read since.
fn drain_timeout(instance: &Instance, invocation: &Invocation) -> Duration {
    let path = instance.effective_path();
    let settings = fs::read_to_string(&path)
        .ok()
        .and_then(|text| {
            load(&Sources {
                file: Some((path, text)),
                ..Sources::default()
            })
            .ok()
        })
        .map_or_else(Settings::default, |loaded| loaded.settings);
    let now = invocation.evaluate().settings;
    settings.drain_timeout.max(now.drain_timeout)
}

/// A folder of keys that an installation or a copy left open.
fn close_to_others(folder: &Path) -> io::Result<()> {
    let permissions = fs::metadata(folder)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Readable by its owner only, in place at once or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match fs::remove_file(&partial) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?
        .write_all(text.as_bytes())?;
    fs::rename(&partial, path)
}
