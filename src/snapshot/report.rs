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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entity(row: serde_json::Value) -> Entity {
        serde_json::from_value(row).expect("an object")
    }

    #[test]
    fn a_problem_is_told_with_the_row_by_id_and_name() {
        let id = Uuid::from_u128(1);
        let problem = |kind| Problem {
            kind: Some(kind),
            id: Some(id),
            text: "acl: no".to_owned(),
        };
        let mut config = Config::default();
        for (kind, key, name) in [
            (Kind::Consumers, "username", "ada"),
            (Kind::Plugins, "name", "acl"),
        ] {
            config.insert(kind, id, entity(json!({"id": id, (key): name})));
        }
        for (kind, told) in [
            (Kind::Consumers, format!("consumers {id} (ada): acl: no")),
            (Kind::Plugins, format!("plugins {id}: acl: no")),
            (Kind::Routes, format!("routes {id}: acl: no")),
        ] {
            assert_eq!(problem(kind).told(&config), told);
        }
    }

    /// The reader's text names no field, and may quote what it found.
    #[test]
    fn a_row_that_does_not_fit_is_told_by_its_fields() {
        let reason = || "invalid type: string \"secret\", expected a boolean".to_owned();
        let service = |more: (&str, serde_json::Value)| {
            let mut row = entity(json!({"name": "s", "host": "h"}));
            row.insert(more.0.to_owned(), more.1);
            misfit(Kind::Services, &row, reason())
        };
        assert_eq!(
            service(("enabled", json!("secret"))),
            "enabled: expected a boolean"
        );
        assert_eq!(
            service(("port", json!(80))),
            reason(),
            "the table finds nothing"
        );
    }
}
