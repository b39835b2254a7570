//! The log thread's side: files, their reopening, writes that fail.

use super::{Chunk, LogTargets, OpenError, Shared, Sink, Target};
use crate::limits::{LOG_CHUNK_KEPT_SIZE_MAX, LOG_CHUNKS_MAX, LOG_POLL_BUSY_MS, LOG_POLL_MS};
use crossbeam::channel::{Receiver, Sender};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) struct Outputs(Vec<Output>);

/// One sink's file.
struct Output {
    target: Target,
    file: Option<File>,
    /// The last write failed: said once, not per write.
    failing: bool,
    /// A write ended within a line.
    torn: bool,
}

impl Outputs {
    pub fn open(targets: &LogTargets) -> Result<Outputs, OpenError> {
        let mut outputs = Vec::with_capacity(Sink::ALL.len());
        for (sink, target) in Sink::ALL.iter().zip(&targets.targets) {
            let file = open(target).map_err(|error| OpenError::File {
                directive: sink.directive(),
                path: target.path().to_owned(),
                error,
            })?;
            outputs.push(Output {
                target: target.clone(),
                file,
                failing: false,
                torn: false,
            });
        }
        Ok(Outputs(outputs))
    }
}

impl Target {
    fn path(&self) -> &Path {
        match self {
            Target::Off => Path::new("off"),
            Target::Stdout => Path::new("/dev/stdout"),
            Target::Stderr => Path::new("/dev/stderr"),
            Target::File(path) => path,
        }
    }
}

/// Until `closing` is set and the queue is empty.
pub(super) fn run(
    shared: &Shared,
    mut outputs: Outputs,
    queue: &Receiver<Chunk>,
    recycled: &Sender<Vec<u8>>,
) {
    loop {
        let closing = shared.closing.load(Ordering::Acquire);
        let reopen = shared.reopen.swap(false, Ordering::AcqRel);
        // Bounded, so that a steady stream does not keep the flags from being seen.
        let mut written = 0;
        while written < LOG_CHUNKS_MAX
            && let Ok(mut chunk) = queue.try_recv()
        {
            written += 1;
            if let Some(output) = outputs.0.get_mut(chunk.sink as usize)
                && let Err(error) = output.write(&chunk.bytes)
            {
                shared.write_errors.fetch_add(1, Ordering::Relaxed);
                shared
                    .dropped_lines
                    .fetch_add(chunk.lines, Ordering::Relaxed);
                output.complain("write", &error);
            }
            chunk.bytes.clear();
            if chunk.bytes.capacity() <= LOG_CHUNK_KEPT_SIZE_MAX {
                // Enough buffers are kept when this is refused.
                let _ = recycled.try_send(chunk.bytes);
            }
        }
        if reopen {
            for output in &mut outputs.0 {
                output.reopen();
            }
        }
        if written < LOG_CHUNKS_MAX {
            if closing {
                return;
            }
            let pause_ms = if written == 0 {
                LOG_POLL_MS
            } else {
                LOG_POLL_BUSY_MS
            };
            std::thread::park_timeout(Duration::from_millis(pause_ms));
        }
    }
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if self.torn {
            write_all(file, b"\n").map_err(|(error, _)| error)?;
            self.torn = false;
        }
        let written = write_all(file, bytes);
        if let Err((_, written)) = written {
            let end = written.checked_sub(1).and_then(|last| bytes.get(last));
            self.torn = end.is_some_and(|byte| *byte != b'\n');
        }
        written.map_err(|(error, _)| error)?;
        self.failing = false;
        Ok(())
    }

    fn reopen(&mut self) {
        if !matches!(self.target, Target::File(_)) {
            return;
        }
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
            }
            Err(error) => self.complain("open", &error),
        }
    }

    /// On standard error, for the log itself may be what fails.
    fn complain(&mut self, what: &str, error: &io::Error) {
        if !self.failing && self.target != Target::Stderr {
            let path = self.target.path().display();
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "cannot {what} the log {path}: {error}");
        }
        self.failing = true;
    }
}

/// A descriptor somebody made non-blocking is tried again this often, every `FULL_PAUSE_MS`, before lines are lost.
const FULL_TRIES_MAX: u32 = 100;
const FULL_PAUSE_MS: u64 = 5;

/// The error comes with how many bytes went out before it.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    let mut tries = 0;
    while let Some(rest) = bytes.get(written..)
        && !rest.is_empty()
    {
        match file.write(rest) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < FULL_TRIES_MAX => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(FULL_PAUSE_MS));
            }
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

fn open(target: &Target) -> io::Result<Option<File>> {
    let file = match target {
        Target::Off => return Ok(None),
        // A descriptor of our own: no buffer and no lock of the standard library's.
        Target::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        Target::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        Target::File(path) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path)?
        }
    };
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts `room` bytes, then fails as a full disk does.
    struct Disk {
        room: usize,
        content: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room).min(3);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.content.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_writes_are_continued_and_a_full_disk_says_how_far_it_got() {
        let mut disk = Disk {
            room: 9,
            content: Vec::new(),
        };
        assert!(write_all(&mut disk, b"1234\n").is_ok());
        let (error, written) = write_all(&mut disk, b"5678\n").expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(written, 4);
        assert_eq!(disk.content, b"1234\n5678");
    }
}
