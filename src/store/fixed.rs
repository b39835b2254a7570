//! The rows of a declarative file (`database=off`): read like any store, replaced as a whole, never written to.

use super::hub::Hub;
use super::{Batch, CommitError, Committing, Image, Revision, Store, StoreKind, Watch};
use crate::entity::Config;
use std::sync::{Arc, Mutex, PoisonError};

pub struct Fixed {
    hub: Hub,
    /// One replacement at a time.
    replacing: Mutex<()>,
}

impl Fixed {
    /// At revision 1, rows taken as checked.
    pub fn new(config: Config) -> Fixed {
        Fixed {
            hub: Hub::new(Image::build(config)),
            replacing: Mutex::new(()),
        }
    }

    /// Takes other rows, at the next revision. Costs all rows: not for a thread that must not wait.
    pub fn replace(&self, config: Config) -> Revision {
        let _one = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let revision = self.hub.image().revision.saturating_add(1);
        let image = Image::build_at(config, revision);
        self.hub.reset(Arc::new(image));
        revision
    }
}

impl Store for Fixed {
    fn kind(&self) -> StoreKind {
        StoreKind::Off
    }

    fn image(&self) -> Arc<Image> {
        self.hub.image()
    }

    fn commit(&self, _batch: Batch) -> Committing {
        Box::pin(std::future::ready(Err(CommitError::ReadOnly)))
    }

    /// Tells of a replacement as `Lagged`.
    fn watch(&self, from: Revision) -> Box<dyn Watch> {
        self.hub.watch(from)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.hub.close();
    }
}
