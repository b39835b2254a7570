//! The log files and the thread that owns them.
//!
//! A core appends lines to a buffer of its own (`CoreLog`) and hands full buffers, and error lines at once, to the
//! thread through a bounded queue; when the queue is full the lines are dropped and counted. Neither makes a system call: the
//! thread looks at the queue every `LOG_POLL_MS` instead of being woken. The control side uses `LogHandle`,
//! which does wake it. A write that fails (disk full) is counted and the process goes on.

mod writer;

use super::access::{Level, write_error_head, write_text};
use crate::limits::{
    LOG_BUFFERS_KEPT_MAX, LOG_CHUNK_SIZE, LOG_CHUNKS_AT_ONCE_MAX, LOG_CHUNKS_MAX, LOG_CLOSE_MS,
    LOG_TEXT_SIZE_MAX,
};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes `text` to the process's error log (`Logs::install`); to standard error while there is none.
/// For the control side: it may wake the log thread.
pub fn error(level: Level, text: impl Display) {
    let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    match &*installed {
        Some(handle) => handle.error(level, text),
        None => {
            let mut line = Vec::new();
            error_line(&mut line, unix_ms(), level, text);
            eprintln!("{}", String::from_utf8_lossy(&line));
        }
    }
}

static INSTALLED: RwLock<Option<LogHandle>> = RwLock::new(None);

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

/// Kong's proxy_access_log, proxy_error_log, admin_access_log …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    Access,
    Error,
    AdminAccess,
    AdminError,
    StatusAccess,
    StatusError,
}

impl Sink {
    pub const ALL: [Sink; SINKS] = [
        Sink::Access,
        Sink::Error,
        Sink::AdminAccess,
        Sink::AdminError,
        Sink::StatusAccess,
        Sink::StatusError,
    ];

    /// The directive's name.
    pub fn directive(self) -> &'static str {
        match self {
            Sink::Access => "proxy_access_log",
            Sink::Error => "proxy_error_log",
            Sink::AdminAccess => "admin_access_log",
            Sink::AdminError => "admin_error_log",
            Sink::StatusAccess => "status_access_log",
            Sink::StatusError => "status_error_log",
        }
    }
}

const SINKS: usize = 6;

#[derive(Clone, Debug)]
pub struct LogTargets {
    /// In the order of `Sink::ALL`.
    pub targets: [Target; SINKS],
    /// log_level: what is below is not written to an error log.
    pub level: Level,
}

impl LogTargets {
    /// Nothing is written; level notice, Kong's default.
    pub fn off() -> LogTargets {
        LogTargets {
            targets: [const { Target::Off }; SINKS],
            level: Level::Notice,
        }
    }

    pub fn set(&mut self, sink: Sink, target: Target) {
        self.targets[sink as usize] = target;
    }
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{directive}: {path}: {error}", path = .path.display())]
    File {
        directive: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the log thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What was lost since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Lines the control side or the log thread dropped; those of a core are counted by `CoreLog`.
    pub dropped_lines: u64,
    pub write_errors: u64,
}

/// The log thread. Dropping it closes it.
pub struct Logs {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

struct Shared {
    enabled: [bool; SINKS],
    level: AtomicU8,
    chunks: Sender<Chunk>,
    spare: Receiver<Vec<u8>>,
    reopen: AtomicBool,
    closing: AtomicBool,
    dropped_lines: AtomicU64,
    write_errors: AtomicU64,
}

/// Whole lines for one sink.
struct Chunk {
    sink: Sink,
    bytes: Vec<u8>,
    lines: u64,
}

impl Logs {
    /// Opens every file, then starts the thread.
    pub fn open(targets: &LogTargets) -> Result<Logs, OpenError> {
        let outputs = writer::Outputs::open(targets)?;
        let (chunks, queue) = bounded(LOG_CHUNKS_MAX);
        let (recycled, spare) = bounded(LOG_BUFFERS_KEPT_MAX);
        let (end, ended) = bounded(1);
        let shared = Arc::new(Shared {
            enabled: targets.targets.each_ref().map(|t| *t != Target::Off),
            level: AtomicU8::new(targets.level as u8),
            chunks,
            spare,
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            dropped_lines: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                writer::run(&theirs, outputs, &queue, &recycled);
                // `close` may have given up waiting.
                let _ = end.try_send(());
            })
            .map_err(OpenError::Thread)?;
        Ok(Logs {
            shared,
            thread: Some(thread),
            ended,
        })
    }

    /// The buffers of one core.
    pub fn core_log(&self) -> CoreLog {
        CoreLog {
            shared: Arc::clone(&self.shared),
            buffers: Default::default(),
            dropped_lines: 0,
        }
    }

    /// For the control side.
    pub fn handle(&self) -> LogHandle {
        LogHandle {
            shared: Arc::clone(&self.shared),
            thread: self.thread.as_ref().map(|thread| thread.thread().clone()),
        }
    }

    /// Makes this the log of `telemetry::log::error`.
    pub fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.handle());
    }

    /// Opens every file again once what is queued is written (SIGUSR1, after a rotation). A file that cannot be
    /// opened is written on under its old descriptor.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    pub fn level(&self) -> Level {
        let now = self.shared.level.load(Ordering::Relaxed);
        let mut levels = Level::ALL.into_iter();
        levels
            .find(|level| *level as u8 == now)
            .unwrap_or(Level::Notice)
    }

    /// log_level, from now on.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    pub fn stats(&self) -> LogStats {
        LogStats {
            dropped_lines: self.shared.dropped_lines.load(Ordering::Relaxed),
            write_errors: self.shared.write_errors.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued and ends the thread. `false`: it did not end within `LOG_CLOSE_MS`, for a pipe is
    /// not read, and is left behind. Cores flush before.
    pub fn close(mut self) -> bool {
        self.end()
    }

    fn end(&mut self) -> bool {
        let Some(thread) = self.thread.take() else {
            return true;
        };
        self.uninstall();
        self.shared.closing.store(true, Ordering::Release);
        thread.thread().unpark();
        let wait = Duration::from_millis(LOG_CLOSE_MS);
        // Err of a disconnected channel: the thread panicked.
        match self.ended.recv_timeout(wait) {
            Err(crossbeam::channel::RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(crossbeam::channel::RecvTimeoutError::Disconnected) => {
                thread.join().is_ok()
            }
        }
    }

    /// What comes after the end is to be seen on standard error.
    fn uninstall(&self) {
        let mut installed = INSTALLED.write().unwrap_or_else(PoisonError::into_inner);
        installed.take_if(|handle| Arc::ptr_eq(&handle.shared, &self.shared));
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn enabled(&self, sink: Sink) -> bool {
        self.enabled
            .get(sink as usize)
            .is_some_and(|enabled| *enabled)
    }

    fn level_enabled(&self, level: Level) -> bool {
        level as u8 >= self.level.load(Ordering::Relaxed)
    }
}

/// One core's buffers. Nothing here waits or makes a system call.
pub struct CoreLog {
    shared: Arc<Shared>,
    /// By sink.
    buffers: [Buffer; SINKS],
    dropped_lines: u64,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    /// Where the last whole line ends: a closure that panicked leaves a piece behind it.
    whole: usize,
}

impl CoreLog {
    /// Appends what `write` appends, as one line; it must not contain a line end.
    pub fn line(&mut self, sink: Sink, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.shared.enabled(sink) {
            return;
        }
        let Some(buffer) = self.buffers.get_mut(sink as usize) else {
            return;
        };
        if buffer.bytes.capacity() == 0 {
            buffer.bytes = self.shared.spare.try_recv().unwrap_or_default();
            // Room for the line that makes it full.
            buffer.bytes.reserve(LOG_CHUNK_SIZE + LOG_CHUNK_SIZE / 8);
        }
        buffer.bytes.truncate(buffer.whole);
        write(&mut buffer.bytes);
        buffer.bytes.push(b'\n');
        buffer.whole = buffer.bytes.len();
        buffer.lines += 1;
        if buffer.whole >= LOG_CHUNK_SIZE {
            self.hand_over(sink);
        }
    }

    /// An error line; `write` appends the text (`access::write_text` escapes what peers sent).
    pub fn error(&mut self, now_ms: u64, level: Level, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.shared.level_enabled(level) {
            return;
        }
        self.line(Sink::Error, |line| {
            write_error_head(line, now_ms, level);
            write(line);
        });
        // At once, so that the lines of two cores stand in the order they were written in, as nginx's do; in
        // larger pieces when many come, so that they do not fill the queue.
        if self.shared.chunks.len() < LOG_CHUNKS_AT_ONCE_MAX {
            self.hand_over(Sink::Error);
        }
    }

    /// Hands over everything; to be called by the core's tick, so that lines of a quiet core appear.
    pub fn flush(&mut self) {
        for sink in Sink::ALL {
            self.hand_over(sink);
        }
    }

    /// Lines dropped since the last call, for `CoreMetrics::log_dropped`.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_lines)
    }

    fn hand_over(&mut self, sink: Sink) {
        let Some(buffer) = self.buffers.get_mut(sink as usize) else {
            return;
        };
        if buffer.whole == 0 {
            return;
        }
        let mut full = std::mem::take(buffer);
        full.bytes.truncate(full.whole);
        let chunk = Chunk {
            sink,
            bytes: full.bytes,
            lines: full.lines,
        };
        if let Err(refused) = self.shared.chunks.try_send(chunk) {
            let mut chunk = refused.into_inner();
            self.dropped_lines += chunk.lines;
            chunk.bytes.clear();
            buffer.bytes = chunk.bytes;
        }
    }
}

/// The logs for any thread of the control side.
#[derive(Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
    thread: Option<std::thread::Thread>,
}

impl LogHandle {
    /// A line of the proxy's error log. The text is cut at `LOG_TEXT_SIZE_MAX`.
    pub fn error(&self, level: Level, text: impl Display) {
        self.error_to(Sink::Error, level, text);
    }

    /// A line of an error log.
    pub fn error_to(&self, sink: Sink, level: Level, text: impl Display) {
        if self.shared.level_enabled(level) {
            self.line(sink, |line| error_line(line, unix_ms(), level, text));
        }
    }

    /// One line, handed over at once.
    pub fn line(&self, sink: Sink, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.shared.enabled(sink) {
            return;
        }
        let mut bytes = Vec::with_capacity(256);
        write(&mut bytes);
        bytes.push(b'\n');
        let chunk = Chunk {
            sink,
            bytes,
            lines: 1,
        };
        if self.shared.chunks.try_send(chunk).is_err() {
            self.shared.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

fn error_line(line: &mut Vec<u8>, now_ms: u64, level: Level, text: impl Display) {
    write_error_head(line, now_ms, level);
    let text = text.to_string();
    let kept = text.as_bytes().get(..LOG_TEXT_SIZE_MAX);
    write_text(line, kept.unwrap_or(text.as_bytes()));
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
