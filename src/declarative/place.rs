//! Where in the file an error is, and the failure that gathers them.
use crate::entity::errors::{Errors, Node};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One step down the file: the key of a list and the position in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub key: String,
    /// 0-based; printed 1-based.
    pub index: usize,
    /// `name billing`: what makes the entity recognisable.
    pub label: Option<String>,
}

/// Everything that is wrong with a file.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Failure {
    lines: Vec<String>,
    tree: BTreeMap<String, Node>,
}

impl Failure {
    /// One line an error: `services[2] (name billing).port: expected an integer`.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Kong's `fields`: the errors as a tree that follows the file.
    pub fn to_json(&self) -> Value {
        let fields = self
            .tree
            .iter()
            .map(|(name, node)| (name.clone(), node.to_json()));
        Value::Object(fields.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Text that is not YAML or JSON, or breaks a bound; line and column are 1-based.
    pub(super) fn syntax(place: Option<(u64, u64)>, text: String) -> Failure {
        let mut failure = Failure::default();
        let text = match place {
            Some((line, column)) => format!("line {line}, column {column}: {text}"),
            None => text,
        };
        failure.lines.push(text.clone());
        failure.tree.insert("error".to_owned(), Node::Text(text));
        failure
    }

    /// An error of a top-level key.
    pub(super) fn top(&mut self, key: &str, text: &str) {
        self.lines.push(format!("{key}: {text}"));
        self.tree
            .entry(key.to_owned())
            .or_insert_with(|| text.into());
    }

    /// An error of a list element as a whole (`expected a record`), or, without an index, of the list itself.
    pub(super) fn element(
        &mut self,
        parents: &[Step],
        key: &str,
        index: Option<usize>,
        text: &str,
    ) {
        let shown = match index {
            Some(index) => format!("{key}[{}]", index + 1),
            None => key.to_owned(),
        };
        self.lines
            .push(format!("{}: {text}", dotted(&place(parents), &shown)));
        let fields = descend(&mut self.tree, parents);
        match index {
            None => {
                fields.entry(key.to_owned()).or_insert_with(|| text.into());
            }
            Some(index) => {
                let slot = slot(fields, key, index);
                slot.get_or_insert_with(|| text.into());
            }
        }
    }

    /// The errors of one entity.
    pub(super) fn entity(&mut self, steps: &[Step], errors: Errors) {
        let at = place(steps);
        for (path, text) in errors.flat() {
            self.lines.push(format!("{}: {text}", dotted(&at, &path)));
        }
        let fields = descend(&mut self.tree, steps);
        for (name, node) in errors.fields {
            fields.entry(name).or_insert(node);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for Failure {}

/// `services[2] (name billing).routes[1]`
pub fn place(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&format!("{}[{}]", step.key, step.index + 1));
        if let Some(label) = &step.label {
            text.push_str(&format!(" ({label})"));
        }
    }
    text
}

pub fn dotted(place: &str, path: &str) -> String {
    match (place, path) {
        (place, "") => place.to_owned(),
        ("", path) => path.to_owned(),
        (place, path) => format!("{place}.{path}"),
    }
}

/// The errors of the entity at the end of `steps`.
fn descend<'t>(
    mut fields: &'t mut BTreeMap<String, Node>,
    steps: &[Step],
) -> &'t mut BTreeMap<String, Node> {
    for step in steps {
        let slot = slot(fields, &step.key, step.index);
        if !matches!(slot, Some(Node::Map(_))) {
            *slot = Some(Node::Map(BTreeMap::new()));
        }
        let Some(Node::Map(below)) = slot else {
            unreachable!("just made a map")
        };
        fields = below;
    }
    fields
}

/// The element `index` of the list at `key`.
fn slot<'t>(
    fields: &'t mut BTreeMap<String, Node>,
    key: &str,
    index: usize,
) -> &'t mut Option<Node> {
    let list = fields
        .entry(key.to_owned())
        .or_insert_with(|| Node::List(Vec::new()));
    if !matches!(list, Node::List(_)) {
        *list = Node::List(Vec::new());
    }
    let Node::List(items) = list else {
        unreachable!("just made a list")
    };
    if items.len() <= index {
        items.resize(index + 1, None);
    }
    &mut items[index]
}
