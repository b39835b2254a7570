//! Waking a core from another thread: a byte through a socket pair, read by a task of the core (RUNTIME.md §1).

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The ringing side; any thread may hold it.
pub struct Bell {
    stream: StdUnixStream,
    /// Set while a byte is on its way: a second ring before the core has woken costs nothing.
    rung: Arc<AtomicBool>,
}

/// The side that is moved to the core's thread and opened there.
pub struct Doorbell {
    stream: StdUnixStream,
    rung: Arc<AtomicBool>,
}

pub fn doorbell() -> io::Result<(Bell, Doorbell)> {
    let (near, far) = StdUnixStream::pair()?;
    near.set_nonblocking(true)?;
    let rung = Arc::new(AtomicBool::new(false));
    Ok((
        Bell {
            stream: near,
            rung: rung.clone(),
        },
        Doorbell { stream: far, rung },
    ))
}

impl Bell {
    /// Wakes the core. A full pipe is no failure: the core has not yet read what is in it.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = (&self.stream).write(&[1]);
        }
    }
}

impl Doorbell {
    /// On the core's thread: calls `answer` after each ring, until the other side is gone.
    pub async fn listen(self, nonblocking: bool, mut answer: impl FnMut()) {
        if self.stream.set_nonblocking(nonblocking).is_err() {
            return;
        }
        let Ok(mut stream) = UnixStream::from_std(self.stream) else {
            return;
        };
        let mut buffer = vec![0u8; 16];
        loop {
            let (result, returned) = stream.read(buffer).await;
            buffer = returned;
            // Lowered before the mailbox is emptied: what is put in after that rings again.
            // A read-modify-write: a plain store could pass the look into the mailbox.
            self.rung.swap(false, Ordering::AcqRel);
            answer();
            match result {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}
