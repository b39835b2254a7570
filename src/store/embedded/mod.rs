//! The store in a file of the prefix (redb): one thread writes, everybody reads the image in memory.
//!
//! - `file`: what is in the file, how it is opened, upgraded, read and written.
//! - `writer`: the thread: batches that wait together share one transaction and one sync, each with its own verdict.
//!
//! Everything that can wait for the disk is on the store's thread. `image` and `watch` take memory, `commit` a place in a
//! bounded queue. A write that fails leaves the image as it is; the file is opened anew and brought back to the image
//! with the next write.

pub mod file;
mod writer;

use super::hub::Hub;
use super::{Batch, CommitError, Committing, Image, Revision, Store, StoreKind, Watch};
use crate::limits::{STORE_CLOSE_MS, STORE_QUEUE_MAX};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use file::Opener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use writer::{Request, Writer};

pub struct Embedded {
    hub: Arc<Hub>,
    /// `None`: closed.
    requests: Mutex<Option<Sender<Request>>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    /// The last write came through.
    reachable: Arc<AtomicBool>,
}

/// What was in the file.
pub struct Loaded {
    pub image: Arc<Image>,
}

/// Why a store cannot be used. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: another process uses this store", .path.display())]
    Locked { path: PathBuf },
    #[error(
        "{}: the store is damaged ({reason}); it was left as it is: put a copy in its place, or move it away to start with an empty one",
        .path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error(
        "{}: the store was written by a newer version (format {found}; this one reads up to {known}); it was left as it is",
        .path.display()
    )]
    Newer {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no thread for the store: {0}")]
    Thread(std::io::Error),
}

/// Opens the store at `path`; makes an empty one where no file is. Reads all rows: not for a thread that must not wait.
///
/// # Errors
/// See `OpenError`. Nothing that exists is overwritten.
pub fn open(path: &Path) -> Result<(Arc<Embedded>, Loaded), OpenError> {
    open_with(path, || {})
}

/// As `open`; the store's thread begins with `first`.
///
/// # Errors
/// As `open`.
pub fn open_with(
    path: &Path,
    first: impl FnOnce() + Send + 'static,
) -> Result<(Arc<Embedded>, Loaded), OpenError> {
    let path = path.to_path_buf();
    file::create_if_absent(&path)?;
    let named = path.clone();
    start_with(&named, Box::new(move || file::open(&path)), first)
}

/// As `open`, on whatever `opener` opens; `path` is for messages. The opener is called again after a write has failed.
#[cfg(test)]
pub fn start(path: &Path, opener: Opener) -> Result<(Arc<Embedded>, Loaded), OpenError> {
    start_with(path, opener, || {})
}

fn start_with(
    path: &Path,
    opener: Opener,
    first: impl FnOnce() + Send + 'static,
) -> Result<(Arc<Embedded>, Loaded), OpenError> {
    let database = opener()?;
    let image = file::load(&database, path)?;
    let hub = Arc::new(Hub::new(image));
    let image = hub.image();
    let (sender, requests) = bounded(STORE_QUEUE_MAX);
    let (running, ended) = bounded(0);
    let reachable = Arc::new(AtomicBool::new(true));
    let mut writer = Writer::new(
        opener,
        database,
        Arc::clone(&hub),
        requests,
        Arc::clone(&reachable),
    );
    let thread = std::thread::Builder::new().name("store".into());
    let started = thread.spawn(move || {
        first();
        writer.run();
        // The file is closed before anybody hears of it.
        drop(writer);
        drop::<Sender<()>>(running);
    });
    started.map_err(OpenError::Thread)?;
    let store = Embedded {
        hub,
        requests: Mutex::new(Some(sender)),
        ended,
        reachable,
    };
    Ok((Arc::new(store), Loaded { image }))
}

impl Embedded {
    /// Writes what waits and closes the file; later batches get `Closed`. `false`: the disk did not answer within
    /// `STORE_CLOSE_MS`.
    pub fn close(&self) -> bool {
        self.lock().take();
        let ended = self
            .ended
            .recv_timeout(Duration::from_millis(STORE_CLOSE_MS));
        ended != Err(RecvTimeoutError::Timeout)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender<Request>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Embedded {
    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn image(&self) -> Arc<Image> {
        self.hub.image()
    }

    fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// The batch is on its way when this returns; the future only waits for the verdict.
    fn commit(&self, batch: Batch) -> Committing {
        let (reply, verdict) = oneshot::channel();
        let sent = match &*self.lock() {
            None => Err(CommitError::Closed),
            Some(requests) => requests
                .try_send(Request { batch, reply })
                .map_err(|refused| match refused {
                    TrySendError::Full(_) => CommitError::Busy,
                    TrySendError::Disconnected(_) => CommitError::Closed,
                }),
        };
        Box::pin(async move {
            sent?;
            // The thread answers everything it has taken, unless it is gone.
            verdict.await.unwrap_or(Err(CommitError::Closed))
        })
    }

    fn watch(&self, from: Revision) -> Box<dyn Watch> {
        self.hub.watch(from)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}
