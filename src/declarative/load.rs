//! Items to rows: ids, secrets, references, validation, uniqueness, and what holds between entities.
//!
//! One pass per entity type, in the order in which references point backwards, so that a reference finds its
//! target known. Every look-up goes through a map: the work grows with the file, not with its square.
use super::advise::{self, Note};
use super::parallel::parallel;
use super::place::{Failure, dotted, place};
use super::walk::{Item, Walked};
use super::{Loaded, Options, Reading, Warning, secrets};
use crate::entity::errors::{Errors, Node};
use crate::entity::schema;
use crate::entity::validate::{self, Context};
use crate::entity::{Config, Entity, Kind, checks, pem, plugins};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// Namespace of the ids that entities without `id` get.
const NAMESPACE: Uuid = Uuid::from_u128(0x5a11_7907_7c1d_4c0e_9d51_6d75_7475_616c);

pub fn load(
    walked: Walked,
    options: &Options<'_>,
    reading: Reading<'_>,
) -> Result<Loaded, Failure> {
    let mut loader = Loader::new(walked);
    for kind in Kind::ALL {
        loader.kind(kind, options, reading);
    }
    loader.check_ca_lists();
    loader.finish(options)
}

struct Loader {
    walked: Walked,
    ids: Vec<Uuid>,
    known: HashMap<Kind, HashSet<Uuid>>,
    by_key: HashMap<(Kind, String), Uuid>,
    /// cert_digest to id, for credentials that name their CA by PEM.
    ca_by_digest: HashMap<String, Uuid>,
    /// How often an id was made for entities that nothing tells apart.
    made: HashMap<Uuid, u32>,
    rows: Vec<(usize, Entity)>,
    errors: BTreeMap<usize, Errors>,
    /// Rows that have been through validation.
    checked: AtomicUsize,
}

impl Loader {
    fn new(walked: Walked) -> Loader {
        Loader {
            ids: vec![Uuid::nil(); walked.items.len()],
            walked,
            known: HashMap::new(),
            by_key: HashMap::new(),
            ca_by_digest: HashMap::new(),
            made: HashMap::new(),
            rows: Vec::new(),
            errors: BTreeMap::new(),
            checked: AtomicUsize::new(0),
        }
    }

    fn kind(&mut self, kind: Kind, options: &Options<'_>, reading: Reading<'_>) {
        let members: Vec<usize> = (0..self.walked.items.len())
            .filter(|item| self.walked.items[*item].kind == kind)
            .collect();
        let mut inputs = Vec::with_capacity(members.len());
        for item in members {
            let mut input = std::mem::take(&mut self.walked.items[item].input);
            let readable = self.resolve_secrets(item, kind, &mut input, options);
            self.fill_parent(item, &mut input);
            self.resolve_references(item, kind, &mut input);
            self.identify(item, kind, &mut input);
            // A value that could not be read would only fail once more.
            if readable {
                inputs.push((item, input));
            }
        }
        let ctx = Context {
            now_ms: options.now_ms,
            find: &|_, _| None,
            yaml: self.walked.yaml,
            plugins: options.plugins,
        };
        let check = match reading.keep_updated_at {
            true => validate::restore,
            false => validate::insert,
        };
        let (count, all) = (&self.checked, self.walked.items.len());
        let checked = parallel(inputs, |(item, input)| {
            let outcome = check(kind, input, &ctx);
            let done = 1 + count.fetch_add(1, Ordering::Relaxed);
            if let Some(progress) = reading.progress {
                progress(done, all);
            }
            (item, outcome)
        });
        let mut rows = Vec::with_capacity(checked.len());
        for (item, outcome) in checked {
            match outcome {
                Ok(row) => rows.push((item, row)),
                Err(errors) => self.add_errors(item, errors),
            }
        }
        self.check_unique(kind, &rows);
        if kind == Kind::CaCertificates {
            for (item, row) in &rows {
                if let Some(digest) = row.get("cert_digest").and_then(Value::as_str) {
                    self.ca_by_digest.insert(digest.to_owned(), self.ids[*item]);
                }
            }
        }
        self.rows.append(&mut rows);
    }

    /// Replaces references to values kept elsewhere; false when one could not be read.
    fn resolve_secrets(
        &mut self,
        item: usize,
        kind: Kind,
        input: &mut Map<String, Value>,
        options: &Options<'_>,
    ) -> bool {
        let mut readable = true;
        let names = schema::of(kind)
            .fields
            .iter()
            .filter(|field| field.referenceable);
        let pem_reference = (kind == Kind::MtlsAuthCredentials).then_some("ca_certificate");
        for name in names.map(|field| field.name).chain(pem_reference) {
            let resolved = input
                .get(name)
                .and_then(|value| secrets::resolve(value, options.secrets));
            match resolved {
                None => {}
                Some(Ok(text)) => {
                    input.insert(name.to_owned(), text.into());
                }
                Some(Err(reason)) => {
                    readable = false;
                    let error = format!("cannot be resolved: {reason}");
                    self.errors.entry(item).or_default().field(name, error);
                }
            }
        }
        readable
    }

    fn fill_parent(&mut self, item: usize, input: &mut Map<String, Value>) {
        let Some((parent, field)) = self.walked.items[item].parent else {
            return;
        };
        let reference = reference_to(self.ids[parent]);
        match input.get(field) {
            None | Some(Value::Null) => {}
            Some(given) if refers_to(given, &self.ids[parent], &self.walked.items[parent]) => {}
            Some(_) => {
                let text = "refers to another entity than the one it is nested in";
                self.errors.entry(item).or_default().field(field, text);
            }
        }
        input.insert(field.to_owned(), reference);
    }

    /// References by id or key, as text or as `{id: …}`/`{name: …}`, become `{id: …}`.
    fn resolve_references(&mut self, item: usize, kind: Kind, input: &mut Map<String, Value>) {
        for (field, to) in schema::of(kind).references() {
            let key = schema::of(to).endpoint_key;
            let text = match input.get(field.name) {
                Some(Value::String(text)) => text,
                Some(Value::Object(entries)) => {
                    let named = entries
                        .get("id")
                        .or_else(|| key.and_then(|key| entries.get(key)));
                    let Some(Value::String(text)) = named else {
                        continue;
                    };
                    text
                }
                _ => continue,
            };
            let found = match self.find(to, text) {
                None if to == Kind::CaCertificates => self.find_ca(text),
                found => found,
            };
            let id = found.unwrap_or_else(|| {
                // The reference may be a whole PEM text.
                let shown: String = text.chars().take(80).filter(|c| !c.is_control()).collect();
                let error = invalid_reference(field.name, &shown, to);
                self.errors.entry(item).or_default().entity(error);
                // Stands in, so that the missing target is not reported twice.
                Uuid::nil()
            });
            input.insert(field.name.to_owned(), reference_to(id));
        }
    }

    fn find(&self, kind: Kind, text: &str) -> Option<Uuid> {
        let by_id = || {
            let id = text.parse().ok().filter(|_| checks::is_uuid(text))?;
            self.known.get(&kind)?.contains(&id).then_some(id)
        };
        by_id().or_else(|| self.by_key.get(&(kind, text.to_owned())).copied())
    }

    /// A CA certificate given as its whole PEM text.
    fn find_ca(&self, text: &str) -> Option<Uuid> {
        let chain = pem::certificates(text).ok()?;
        self.ca_by_digest.get(&pem::digest(chain.first()?)).copied()
    }

    /// Settles the id and makes the entity known to what refers to it.
    fn identify(&mut self, item: usize, kind: Kind, input: &mut Map<String, Value>) {
        let id = match input.get("id") {
            None | Some(Value::Null) => {
                let id = self.make_id(item, kind, input);
                input.insert("id".into(), id.to_string().into());
                id
            }
            Some(Value::String(text)) if checks::is_uuid(text) => {
                let id = text.parse().unwrap_or_default();
                if self
                    .known
                    .get(&kind)
                    .is_some_and(|known| known.contains(&id))
                {
                    let error = format!(
                        "uniqueness violation: '{}' entity with primary key set to '{id}' already declared",
                        kind.name()
                    );
                    self.errors.entry(item).or_default().entity(error);
                }
                id
            }
            // Validation refuses it; until then it needs an identity of its own.
            Some(_) => Uuid::new_v5(&NAMESPACE, format!("item {item}").as_bytes()),
        };
        self.ids[item] = id;
        self.known.entry(kind).or_default().insert(id);
        let key = schema::of(kind).endpoint_key.and_then(|key| input.get(key));
        if let Some(Value::String(key)) = key {
            self.by_key.entry((kind, key.clone())).or_insert(id);
        }
    }

    /// A UUIDv5 of the type and what makes the entity unique, so that a reload finds the same entities.
    fn make_id(&mut self, item: usize, kind: Kind, input: &Map<String, Value>) -> Uuid {
        let own: &[&[&str]] = match kind {
            Kind::Services | Kind::Routes | Kind::Upstreams | Kind::Snis => &[&["name"]],
            Kind::Consumers => &[&["username"], &["custom_id"]],
            Kind::Certificates | Kind::CaCertificates => &[&["cert"]],
            Kind::MtlsAuthCredentials => &[&["consumer", "subject_name", "ca_certificate"]],
            Kind::Acls => &[&["consumer", "group"]],
            Kind::Targets => &[&["upstream", "target"]],
            Kind::Plugins => &[&["name", "route", "service", "consumer"]],
        };
        let set = |field: &&str| input.get(*field).is_some_and(|value| !value.is_null());
        let key = own.iter().find(|fields| fields.iter().any(set));
        let mut name = kind.name().to_owned();
        let mut part = |text: &str| {
            name.push('\0');
            name.push_str(text);
        };
        match key {
            Some(fields) => {
                for field in *fields {
                    part(field);
                    part(&input.get(*field).map(Value::to_string).unwrap_or_default());
                }
            }
            None => {
                let parent = self.walked.items[item].parent;
                part(
                    &parent
                        .map(|(parent, _)| self.ids[parent].to_string())
                        .unwrap_or_default(),
                );
                part(&Value::Object(input.clone()).to_string());
            }
        }
        let first = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        // Equal certificates may be stored twice, what has no key is told apart by its content, and an id given
        // elsewhere in the file may be this one: count on. True duplicates fail `check_unique`.
        let count = self.made.entry(first).or_default();
        let known = self.known.get(&kind);
        loop {
            *count += 1;
            let id = match *count {
                1 => first,
                count => Uuid::new_v5(&first, count.to_string().as_bytes()),
            };
            if !known.is_some_and(|known| known.contains(&id)) {
                return id;
            }
        }
    }

    fn check_unique(&mut self, kind: Kind, rows: &[(usize, Entity)]) {
        let schema = schema::of(kind);
        // Names of SNIs are compared as the handshake compares them.
        let fold = |text: &str| match kind {
            Kind::Snis => text.to_ascii_lowercase(),
            _ => text.to_owned(),
        };
        for field in schema.fields.iter().filter(|field| field.unique) {
            let mut seen = HashSet::new();
            for (item, row) in rows {
                let Some(text) = row.get(field.name).and_then(Value::as_str) else {
                    continue;
                };
                if !seen.insert(fold(text)) {
                    let error = format!(
                        "uniqueness violation: '{}' entity with {} set to '{text}' already declared",
                        kind.name(),
                        field.name
                    );
                    self.errors.entry(*item).or_default().entity(error);
                }
            }
        }
        for fields in schema.unique_together {
            let mut seen = HashSet::new();
            for (item, row) in rows {
                let key = tuple(row, fields);
                if seen.contains(&key) {
                    let error = format!(
                        "uniqueness violation: '{}' entity with {key} already declared",
                        kind.name()
                    );
                    self.errors.entry(*item).or_default().entity(error);
                } else {
                    seen.insert(key);
                }
            }
        }
    }

    /// Kong lets an unknown CA pass and fails at request time; here it is refused (KONG.md §11, point 8).
    fn check_ca_lists(&mut self) {
        let known = self.known.remove(&Kind::CaCertificates).unwrap_or_default();
        for (item, row) in &self.rows {
            let (list, in_config) = match self.walked.items[*item].kind {
                Kind::Services => (row.get("ca_certificates"), false),
                Kind::Plugins => (
                    row.get("config")
                        .and_then(|config| config.get("ca_certificates")),
                    true,
                ),
                _ => continue,
            };
            let mut nodes = Vec::new();
            for (index, id) in list
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate()
            {
                let Some(text) = id.as_str() else { continue };
                if !text.parse().is_ok_and(|id| known.contains(&id)) {
                    nodes.resize(index, None);
                    let error = invalid_reference("ca_certificates", text, Kind::CaCertificates);
                    nodes.push(Some(Node::Text(error)));
                }
            }
            if nodes.is_empty() {
                continue;
            }
            let errors = self.errors.entry(*item).or_default();
            let node = Node::List(nodes);
            match in_config {
                false => errors.field("ca_certificates", node),
                true => {
                    let inner = BTreeMap::from([("ca_certificates".to_owned(), node)]);
                    errors.field("config", Node::Map(inner));
                }
            }
        }
        self.known.insert(Kind::CaCertificates, known);
    }

    /// Plugins without a protocol in common with their route, or with one of the routes of their service. Kong refuses
    /// such a plugin when it is written, and lets routes change afterwards: a store may hold it, so a file may say it.
    fn protocols_apart(&self) -> Vec<Note> {
        let mut routes: HashMap<Uuid, &Entity> = HashMap::new();
        let mut of_service: HashMap<Uuid, Vec<&Entity>> = HashMap::new();
        for (item, row) in &self.rows {
            if self.walked.items[*item].kind == Kind::Routes {
                routes.insert(self.ids[*item], row);
                if let Some(service) = referred(row, "service") {
                    of_service.entry(service).or_default().push(row);
                }
            }
        }
        let mut found = Vec::new();
        for (item, row) in &self.rows {
            if self.walked.items[*item].kind != Kind::Plugins {
                continue;
            }
            let scope: &[&Entity] = match (referred(row, "route"), referred(row, "service")) {
                (Some(route), _) => match routes.get(&route) {
                    Some(route) => std::slice::from_ref(route),
                    None => &[],
                },
                (None, Some(service)) => of_service.get(&service).map_or(&[], Vec::as_slice),
                (None, None) => &[],
            };
            if let Err(text) = plugins::check_protocols(row, scope.iter().copied()) {
                let text = format!("{text}; the plugin runs on them all the same");
                found.push((*item, "protocols", text));
            }
        }
        found
    }

    fn add_errors(&mut self, item: usize, errors: Errors) {
        let own = self.errors.entry(item).or_default();
        own.unresolved |= errors.unresolved;
        for (name, node) in errors.fields {
            match (own.fields.get_mut(&name), node) {
                (Some(Node::List(have)), Node::List(more)) if name.starts_with('@') => {
                    have.extend(more)
                }
                (Some(_), _) => {}
                (None, node) => {
                    own.fields.insert(name, node);
                }
            }
        }
    }

    fn finish(mut self, options: &Options<'_>) -> Result<Loaded, Failure> {
        for (item, errors) in std::mem::take(&mut self.errors) {
            let steps = self.walked.steps(item);
            self.walked.failure.entity(&steps, errors);
        }
        if !self.walked.failure.is_empty() {
            return Err(self.walked.failure);
        }
        let mut notes = advise::advise(&self.rows, &self.walked.items, options.now_ms / 1000);
        notes.extend(self.protocols_apart());
        let mut warnings: Vec<Warning> = std::mem::take(&mut self.walked.notes)
            .into_iter()
            .map(|(place, text)| Warning { place, text })
            .collect();
        warnings.extend(notes.into_iter().map(|(item, field, text)| Warning {
            place: dotted(&place(&self.walked.steps(item)), field),
            text,
        }));
        let mut config = Config::default();
        for (item, row) in self.rows {
            config.insert(self.walked.items[item].kind, self.ids[item], row);
        }
        Ok(Loaded { config, warnings })
    }
}

fn reference_to(id: Uuid) -> Value {
    Value::Object(Map::from_iter([(
        "id".to_owned(),
        Value::from(id.to_string()),
    )]))
}

/// Whether a foreign field that nesting fills already names the parent.
fn refers_to(given: &Value, id: &Uuid, parent: &Item) -> bool {
    let key = schema::of(parent.kind).endpoint_key.unwrap_or("id");
    let text = match given {
        Value::String(text) => Some(text.as_str()),
        given => given
            .get("id")
            .or_else(|| given.get(key))
            .and_then(Value::as_str),
    };
    let label = parent
        .label
        .as_deref()
        .and_then(|label| label.strip_prefix(key));
    text.is_some_and(|text| {
        text.parse().is_ok_and(|given: Uuid| given == *id)
            || label.is_some_and(|label| label.trim_start() == text)
    })
}

/// The id a foreign field of a checked row points to.
fn referred(row: &Entity, field: &str) -> Option<Uuid> {
    row.get(field)?.get("id")?.as_str()?.parse().ok()
}

fn invalid_reference(field: &str, text: &str, to: Kind) -> String {
    format!(
        "invalid reference '{field}: {text}' (no such entry in '{}')",
        to.name()
    )
}

/// `{consumer=null,name="acl"}`: how Kong's messages show a tuple.
fn tuple(row: &Entity, fields: &[&str]) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|field| {
            let value = row.get(*field).unwrap_or(&Value::Null);
            match value.get("id").and_then(Value::as_str) {
                Some(id) => format!("{field}={{id=\"{id}\"}}"),
                None => format!("{field}={value}"),
            }
        })
        .collect();
    format!("{{{}}}", shown.join(","))
}
