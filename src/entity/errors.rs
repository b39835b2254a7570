//! What is wrong with an entity: a tree that renders as Kong's `fields` and `message` (KONG.md §2.5).
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The key of what concerns the entity as a whole.
pub const ENTITY: &str = "@entity";

/// The errors of one entity.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Errors {
    pub fields: BTreeMap<String, Node>,
    /// A foreign key was given by name and no such entity exists: error code 13 in place of 2.
    pub unresolved: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Text(String),
    /// By element; elements without an error are `None`.
    List(Vec<Option<Node>>),
    Map(BTreeMap<String, Node>),
}

impl Errors {
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds a text under `@entity`.
    pub fn entity(&mut self, text: impl Into<String>) {
        let list = self
            .fields
            .entry(ENTITY.to_owned())
            .or_insert_with(|| Node::List(Vec::new()));
        if let Node::List(items) = list {
            items.push(Some(Node::Text(text.into())));
        }
    }

    /// Sets the error of a field; the first one stays.
    pub fn field(&mut self, name: &str, error: impl Into<Node>) {
        self.fields
            .entry(name.to_owned())
            .or_insert_with(|| error.into());
    }

    /// Kong's `fields`.
    pub fn to_json(&self) -> Value {
        map_json(&self.fields)
    }

    /// Each error as (path, text): those of the entity first and with an empty path, then by field.
    pub fn flat(&self) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        flatten("", &self.fields, &mut found);
        found
    }

    /// Kong's `message`: `schema violation (…)`, or `3 schema violations (…; …)`.
    pub fn message(&self) -> String {
        let flat = self.flat();
        let texts: Vec<String> = flat
            .iter()
            .map(|(path, text)| match path.as_str() {
                "" => (*text).to_owned(),
                path => format!("{path}: {text}"),
            })
            .collect();
        let what = match (self.unresolved, texts.len()) {
            (true, 0 | 1) => "foreign key unresolved".to_owned(),
            (true, count) => format!("{count} foreign keys unresolved"),
            (false, 0 | 1) => "schema violation".to_owned(),
            (false, count) => format!("{count} schema violations"),
        };
        format!("{what} ({})", texts.join("; "))
    }
}

impl Node {
    pub fn to_json(&self) -> Value {
        match self {
            Node::Text(text) => Value::from(text.as_str()),
            Node::List(items) => items
                .iter()
                .map(|item| item.as_ref().map_or(Value::Null, Node::to_json))
                .collect(),
            Node::Map(fields) => map_json(fields),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Node {
        Node::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Node {
        Node::Text(text)
    }
}

fn map_json(fields: &BTreeMap<String, Node>) -> Value {
    Value::Object(
        fields
            .iter()
            .map(|(name, node)| (name.clone(), node.to_json()))
            .collect::<Map<_, _>>(),
    )
}

fn flatten<'a>(
    prefix: &str,
    fields: &'a BTreeMap<String, Node>,
    found: &mut Vec<(String, &'a str)>,
) {
    if let Some(Node::List(texts)) = fields.get(ENTITY) {
        for text in texts.iter().flatten() {
            if let Node::Text(text) = text {
                found.push((prefix.to_owned(), text));
            }
        }
    }
    for (name, node) in fields.iter().filter(|(name, _)| *name != ENTITY) {
        flatten_node(join(prefix, name), node, found);
    }
}

fn flatten_node<'a>(path: String, node: &'a Node, found: &mut Vec<(String, &'a str)>) {
    match node {
        Node::Text(text) => found.push((path, text)),
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(item) = item {
                    flatten_node(join(&path, &(index + 1).to_string()), item, found);
                }
            }
        }
        Node::Map(fields) => flatten(&path, fields, found),
    }
}

fn join(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    }
}
