//! What a compilation has to say.

use crate::entity::validate::{self, Context};
use crate::entity::{Config, Entity, Kind, schema};
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

    /// One entity as its typed view. One that does not fit it is a problem.
    pub fn row<'a, T: Deserialize<'a>>(
        &mut self,
        kind: Kind,
        id: Uuid,
        entity: &'a Entity,
    ) -> Option<T> {
        let row = row(entity);
        row.map_err(|text| self.fail(kind, id, misfit(kind, entity, text)))
            .ok()
    }
}

/// What the table of fields says of a row that cannot be used, field by field; else the reason, which names none.
pub(super) fn misfit(kind: Kind, entity: &Entity, reason: String) -> String {
    let context = Context {
        now_ms: 0,
        find: &|_, _| None,
        yaml: false,
        plugins: None,
    };
    let Err(errors) = validate::restore(kind, entity.clone(), &context) else {
        return reason;
    };
    let texts = errors.flat();
    let texts = texts.iter().map(|(field, text)| match field.as_str() {
        "" => (*text).to_owned(),
        field => format!("{field}: {text}"),
    });
    texts.collect::<Vec<_>>().join("; ")
}

pub(super) fn row<'a, T: Deserialize<'a>>(entity: &'a Entity) -> Result<T, String> {
    T::deserialize(entity).map_err(|e| e.to_string())
}

impl Problem {
    /// The row by entity, id and name, and the reason. `config`: what was compiled.
    pub fn told(&self, config: &Config) -> String {
        let named = || {
            let (kind, id) = (self.kind?, self.id?);
            let key = schema::of(kind).endpoint_key.unwrap_or("name");
            let name = config.get(kind, id)?.get(key)?.as_str()?;
            // A plugin's reason begins with it.
            let name = Some(name).filter(|name| !self.text.starts_with(name))?;
            Some(format!("{} {id} ({name}): {}", kind.name(), self.text))
        };
        named().unwrap_or_else(|| self.to_string())
    }
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
