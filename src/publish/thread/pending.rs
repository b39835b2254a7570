//! Commits that are not served yet, and which of them is to blame when they do not compile together.

use crate::entity::{Config, Kind};
use crate::limits::{PUBLISH_ORDERS_MAX, TAKE_BACK_ATTEMPTS, TAKE_BACK_MS};
use crate::publish::{Publisher, Unserved};
use crate::store::{Change, CommitError, Committed, Revision, Store, Watched, undo, wait};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// In order, without gaps but at the beginning.
#[derive(Default)]
pub(super) struct Pending(Vec<Waiting>);

struct Waiting {
    commit: Arc<Committed>,
    /// The revision that has undone it.
    taken_back: Option<Revision>,
}

/// A commit that does not compile on top of those before it that do.
pub(super) struct Culprit {
    index: usize,
    pub unserved: Unserved,
    /// Its rows as they were; `None`: others that compile have written them since.
    before: Option<Vec<Change>>,
}

impl Pending {
    pub fn add(&mut self, watched: &Watched) {
        match watched {
            Watched::Commit(commit) => {
                if self.0.len() >= PUBLISH_ORDERS_MAX {
                    self.0.clear();
                }
                self.0.push(Waiting {
                    commit: commit.clone(),
                    taken_back: None,
                });
            }
            Watched::Lagged(_) => self.0.clear(),
        }
    }

    /// Everything up to `revision` is served.
    pub fn served(&mut self, revision: Revision) {
        self.0.retain(|waiting| waiting.commit.revision > revision);
    }

    /// The rows that differ between two revisions; `None`: not every commit in between is known.
    pub fn rows(&self, served: Revision, newest: Revision) -> Option<Vec<(Kind, Uuid)>> {
        if self.0.len() as u64 != newest.saturating_sub(served) {
            return None;
        }
        let mut seen = HashSet::new();
        let changes = self.0.iter().flat_map(|waiting| &waiting.commit.changes);
        let rows = changes.map(|change| (change.kind, change.id));
        Some(rows.filter(|row| seen.insert(*row)).collect())
    }

    /// The newest first: what came on top of another one is undone before it. `served`: what they come on top of.
    pub fn culprits(&self, publisher: &Publisher, served: &Config) -> Vec<Culprit> {
        let Some(mut trial) = publisher.trial(served) else {
            return Vec::new();
        };
        let mut culprits: Vec<Culprit> = Vec::new();
        for (index, waiting) in self.0.iter().enumerate() {
            let changes = &waiting.commit.changes;
            let Err(unserved) = trial.change(changes) else {
                let touched: HashSet<_> = changes.iter().map(|row| (row.kind, row.id)).collect();
                let touches = |row: &Change| touched.contains(&(row.kind, row.id));
                for culprit in &mut culprits {
                    culprit.before.take_if(|rows| rows.iter().any(touches));
                }
                continue;
            };
            let before = changes.iter().map(|change| Change {
                row: trial.config().get(change.kind, change.id).cloned(),
                ..*change
            });
            culprits.push(Culprit {
                index,
                unserved,
                before: Some(before.collect()),
            });
        }
        culprits.reverse();
        culprits
    }

    pub fn revision(&self, culprit: &Culprit) -> Option<Revision> {
        Some(self.0.get(culprit.index)?.commit.revision)
    }

    /// The revision that has undone it, earlier.
    pub fn taken_back(&self, culprit: &Culprit) -> Option<Revision> {
        self.0.get(culprit.index)?.taken_back
    }

    /// Undoes it in the store, which tells of that by its watch. The revision that does.
    ///
    /// # Errors
    /// Why it stays.
    pub fn take_back(
        &mut self,
        culprit: &Culprit,
        store: &dyn Store,
    ) -> Result<Revision, Box<str>> {
        let overwritten = "others have written its rows since";
        let before = culprit.before.as_ref().ok_or(overwritten)?;
        let waiting = self.0.get_mut(culprit.index).ok_or("it is not known")?;
        for _ in 0..TAKE_BACK_ATTEMPTS {
            let batch = undo(store.image(), &waiting.commit, before)?;
            match wait(
                store.commit(batch),
                Some(Duration::from_millis(TAKE_BACK_MS)),
            ) {
                Some(Ok(revision)) => {
                    waiting.taken_back = Some(revision);
                    return Ok(revision);
                }
                Some(Err(CommitError::Conflict)) => {}
                Some(Err(error)) => return Err(error.to_string().into()),
                // It may come yet, and is served then.
                None => return Err("the store does not answer".into()),
            }
        }
        Err("its rows are being written by others".into())
    }
}
