//! One consistent state: rows, and the indexes that rules between entities need.

use super::Revision;
use crate::entity::Config;

/// Cheap to clone; a change copies paths, not tables.
#[derive(Clone, Default, Debug)]
pub struct Image {
    pub revision: Revision,
    pub config: Config,
}
