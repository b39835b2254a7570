//! Where entities live, behind one interface: read a consistent image, write a batch that is compared with the state it
//! commits on, watch from a revision.
//!
//! - `relations`: what holds between rows, as data.
//! - `image`: one consistent state, with the indexes that rules between entities need.
//! - `plan`: what one request wants to change, and everything it looked at; becomes a `Batch`.
//! - `undo`: the batch that takes another one back.
//! - `hub`: the newest image, and those who wait for the next.
//! - `embedded`: a file in the prefix.
//! - `wait`: for a verdict, without a runtime.
//! - `fixed`: the rows of a declarative file; it cannot be written to.
//!
//! Whatever the store is (a file in the prefix, a declarative file that cannot be written, etcd later), the Admin API
//! sees only this.

pub mod embedded;
pub mod fixed;
mod hub;
pub mod image;
pub mod plan;
pub mod relations;
#[cfg(test)]
mod tests;
mod undo;
mod wait;

pub use embedded::{Embedded, OpenError};
pub use fixed::Fixed;
pub use image::Image;
pub use plan::{Plan, Violation};
pub use undo::undo;
pub use wait::wait;

use crate::entity::{Entity, Kind};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use uuid::Uuid;

/// Counts committed batches of this store, from 1; 0 stands for "not there".
pub type Revision = u64;

/// What a plan has looked at: it must not have changed when the batch commits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A row, by its primary key.
    Row(Kind, Uuid),
    /// Who has this value of a unique field or tuple.
    Unique {
        kind: Kind,
        /// One field, or those of a tuple.
        fields: &'static [&'static str],
        /// As it is compared (`relations::Index::value`).
        value: Box<str>,
    },
    /// Which rows of the kind `from` refer to this one. By kind, so that a route and a plugin that are created below one
    /// service do not get into each other's way.
    Referrers { to: Kind, id: Uuid, from: Kind },
}

/// Writes that are applied all or not at all.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    /// Each key with the revision it last changed at, 0 when it was absent.
    pub expected: Vec<(Key, Revision)>,
    pub writes: Vec<Change>,
}

/// One row as it is after a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub id: Uuid,
    /// `None`: deleted.
    pub row: Option<Arc<Entity>>,
}

/// One batch that has committed, with the state after it.
#[derive(Debug)]
pub struct Committed {
    pub revision: Revision,
    pub image: Arc<Image>,
    pub changes: Vec<Change>,
}

/// Why a batch has not been written. Nothing of it has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// Something the plan looked at has changed since: plan again on the newest image.
    #[error("the state has changed since it was read")]
    Conflict,
    /// The disk, or what stands in its place; the text is for the log, not for a client.
    #[error("the store cannot write: {0}")]
    Storage(Arc<str>),
    /// A configuration that comes from a file is not written to.
    #[error("this store is read-only")]
    ReadOnly,
    /// Too many batches wait.
    #[error("too many changes are waiting")]
    Busy,
    #[error("the store is closed")]
    Closed,
}

/// Which store it is, as `GET /` tells in `configuration.store`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// A file in the prefix.
    Embedded,
    /// The declarative file.
    Off,
}

impl StoreKind {
    pub const fn name(self) -> &'static str {
        match self {
            StoreKind::Embedded => "embedded",
            StoreKind::Off => "off",
        }
    }
}

pub trait Store: Send + Sync + 'static {
    fn kind(&self) -> StoreKind;

    /// The newest committed state this node knows. Never waits.
    fn image(&self) -> Arc<Image>;

    /// Whether the last write came through; a batch that was refused for its content says nothing of it. Never waits.
    fn is_reachable(&self) -> bool {
        true
    }

    /// Compares and writes. `Ok` means durable (synced) and in `image()`.
    fn commit(&self, batch: Batch) -> Committing;

    /// Every commit after `from`, in order.
    ///
    /// A watcher that falls too far behind gets `Lagged` once and goes on from the newest image.
    fn watch(&self, from: Revision) -> Box<dyn Watch>;
}

pub type Committing = Pin<Box<dyn Future<Output = Result<Revision, CommitError>> + Send>>;

/// For a thread that may block.
pub trait Watch: Send {
    /// Waits for the next commit. `None`: the store is closed.
    fn next(&mut self) -> Option<Watched>;

    /// As `next`, without waiting; `None` also when there is nothing.
    fn try_next(&mut self) -> Option<Watched>;
}

#[derive(Clone, Debug)]
pub enum Watched {
    Commit(Arc<Committed>),
    /// Commits were skipped: take the whole image.
    Lagged(Arc<Image>),
}
