//! The thread that owns the file.

use super::file::{self, Opener};
use crate::entity::Kind;
use crate::limits::STORE_GROUP_MAX;
use crate::store::hub::Hub;
use crate::store::{Batch, CommitError, Committed, Image, Revision};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crossbeam::channel::Receiver;
use redb::Database;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;
use uuid::Uuid;

pub struct Request {
    pub batch: Batch,
    pub reply: oneshot::Sender<Verdict>,
}

type Verdict = Result<Revision, CommitError>;

pub struct Writer {
    opener: Opener,
    /// `None` after a failure: redb refuses everything then, until the file is opened anew.
    database: Option<Database>,
    hub: Arc<Hub>,
    requests: Receiver<Request>,
    /// Rows of groups that failed. They may be in the file all the same (a sync that failed after the write), so the next
    /// write puts them back to what the image says.
    doubtful: BTreeSet<(Kind, Uuid)>,
    /// The last write came through.
    reachable: Arc<AtomicBool>,
}

impl Writer {
    pub fn new(
        opener: Opener,
        database: Database,
        hub: Arc<Hub>,
        requests: Receiver<Request>,
        reachable: Arc<AtomicBool>,
    ) -> Writer {
        Writer {
            opener,
            database: Some(database),
            hub,
            requests,
            doubtful: BTreeSet::new(),
            reachable,
        }
    }

    /// Until nobody can send any more, and everything sent has been answered.
    pub fn run(&mut self) {
        while let Ok(first) = self.requests.recv() {
            let more = self.requests.try_iter().take(STORE_GROUP_MAX - 1);
            let group: Vec<Request> = std::iter::once(first).chain(more).collect();
            self.commit(group);
        }
        if !self.doubtful.is_empty() {
            let image = self.hub.image();
            if let Err(reason) = self.write(&image, &[]) {
                self.report(&reason);
            }
        }
    }

    /// Decides each batch on the state that the ones before it leave, writes those that stand, and answers all of them
    /// when their fate is known: who has to plan again finds the newest image.
    fn commit(&mut self, group: Vec<Request>) {
        let base = self.hub.image();
        let mut image = Image::clone(&base);
        let mut commits: Vec<Arc<Committed>> = Vec::new();
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(group.len());
        for request in &group {
            let batch = &request.batch;
            verdicts.push(if !image.admits(&batch.expected) {
                Err(CommitError::Conflict)
            } else if batch.writes.is_empty() {
                Ok(image.revision)
            } else {
                let revision = image.revision.saturating_add(1);
                image.apply(&batch.writes, revision);
                commits.push(Arc::new(Committed {
                    revision,
                    image: Arc::new(image.clone()),
                    changes: batch.writes.clone(),
                }));
                Ok(revision)
            });
        }
        if !commits.is_empty() {
            let written = self.write(&image, &commits);
            self.reachable.store(written.is_ok(), Ordering::Relaxed);
            match written {
                Ok(()) => self.hub.publish(commits),
                Err(reason) => {
                    self.report(&reason);
                    let reason: Arc<str> = reason.into();
                    // What was decided on the group's own changes is void with them.
                    for (verdict, request) in verdicts.iter_mut().zip(&group) {
                        let batch = &request.batch;
                        *verdict = if !base.admits(&batch.expected) {
                            Err(CommitError::Conflict)
                        } else if batch.writes.is_empty() {
                            Ok(base.revision)
                        } else {
                            Err(CommitError::Storage(Arc::clone(&reason)))
                        };
                    }
                }
            }
        }
        for (request, verdict) in group.into_iter().zip(verdicts) {
            // Who has gone away needs no answer.
            let _ = request.reply.send(verdict);
        }
    }

    /// Makes the file hold `image`, which differs from what it holds by `commits` and by what is doubtful.
    fn write(&mut self, image: &Image, commits: &[Arc<Committed>]) -> Result<(), String> {
        let changes = commits.iter().flat_map(|commit| &commit.changes);
        let own: BTreeSet<(Kind, Uuid)> = changes.map(|change| (change.kind, change.id)).collect();
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let database = (self.opener)().map_err(|error| error.to_string())?;
                log::error(Level::Notice, "the store has been opened again");
                database
            }
        };
        let rows = own.union(&self.doubtful);
        let rows = rows.map(|(kind, id)| (*kind, *id, image.get(*kind, *id)));
        match file::write(&database, rows, image.revision) {
            Ok(()) => {
                self.database = Some(database);
                self.doubtful.clear();
                Ok(())
            }
            Err(reason) => {
                file::discard(database);
                self.doubtful.extend(own);
                Err(reason)
            }
        }
    }

    fn report(&self, reason: &str) {
        log::error(
            Level::Crit,
            format_args!("the store cannot write, nothing of these changes is kept: {reason}"),
        );
    }
}

impl Drop for Writer {
    /// Watchers hear of the end however the thread has come to it.
    fn drop(&mut self) {
        self.reachable.store(false, Ordering::Relaxed);
        self.hub.close();
    }
}
