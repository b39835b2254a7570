//! What a compilation has to say.

use crate::entity::{Entity, Kind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// Why nothing was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `None` when it is about no single entity.
    pub kind: Option<Kind>,
    pub id: Option<Uuid>,
    pub text: String,
}

/// A part that is out of service, or weaker than the operator may think.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    pub kind: Kind,
    pub id: Uuid,
    pub text: String,
}

#[derive(Default)]
pub(super) struct Log {
    /// Every entity judged, with the warnings it gets; those it had are no more.
    pub judged: BTreeMap<(Kind, Uuid), Vec<String>>,
    pub problems: Vec<Problem>,
}

impl Log {
    /// The entity is looked at anew, or gone.
    pub fn judge(&mut self, kind: Kind, id: Uuid) {
        self.judged.entry((kind, id)).or_default();
    }

    pub fn warn(&mut self, kind: Kind, id: Uuid, text: String) {
        self.judged.entry((kind, id)).or_default().push(text);
    }

    pub fn fail(&mut self, kind: Kind, id: Uuid, text: String) {
        self.problems.push(Problem {
            kind: Some(kind),
            id: Some(id),
            text,
        });
    }

    /// One entity as its typed view. One that does not fit it is a problem whose text names kind and id.
    pub fn row<'a, T: Deserialize<'a>>(
        &mut self,
        kind: Kind,
        id: Uuid,
        entity: &'a Entity,
    ) -> Option<T> {
        let row = row(entity);
        row.map_err(|text| {
            self.problems.push(Problem {
                kind: Some(kind),
                id: None,
                text: format!("{kind:?} {id}: {text}"),
            })
        })
        .ok()
    }
}

pub(super) fn row<'a, T: Deserialize<'a>>(entity: &'a Entity) -> Result<T, String> {
    T::deserialize(entity).map_err(|e| e.to_string())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.kind, self.id) {
            (Some(kind), Some(id)) => write!(f, "{} {id}: {}", kind.name(), self.text),
            (Some(kind), None) => write!(f, "{}: {}", kind.name(), self.text),
            (None, _) => f.write_str(&self.text),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind.name(), self.id, self.text)
    }
}
