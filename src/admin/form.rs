//! Forms (KONG.md §2.3): keys that spell a structure, and values that get their type from the fields of a schema.
//!
//! What does not fit its field is left as text, so that the validator refuses it with Kong's words.
use super::errors::Failure;
use crate::entity::schema::{Field, Shape};
use crate::limits::ADMIN_FORM_DEPTH_MAX;
use serde_json::{Map, Number, Value};

/// Keys and values of an urlencoded or multipart body, as a tree.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Form {
    root: Node,
}

/// What was given at one place. A key may have values, elements and members at once; typing decides.
#[derive(Clone, Default, Debug, PartialEq)]
struct Node {
    /// `k=v`
    leaves: Vec<Leaf>,
    /// `k[]=v`, `k[1]=v`
    items: Vec<(Option<u32>, Node)>,
    /// `k.x=v`, `k[x]=v`
    members: Vec<(String, Node)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    Text(String),
    /// A part of type `application/json`.
    Json(Value),
}

enum Step {
    Member(String),
    Item(u32),
    Push,
}

impl Form {
    /// # Errors
    /// 400 for a key of too many steps.
    pub fn add(&mut self, key: &str, leaf: Leaf) -> Result<(), Failure> {
        let steps = steps(key).unwrap_or_else(|| vec![Step::Member(key.to_owned())]);
        if steps.len() > ADMIN_FORM_DEPTH_MAX {
            return Err(Failure::bad_request(format!(
                "the key of an argument has more than {ADMIN_FORM_DEPTH_MAX} levels"
            )));
        }
        let mut node = &mut self.root;
        for step in steps {
            node = node.at(step);
        }
        node.leaves.push(leaf);
        Ok(())
    }

    /// The text at a top-level key that has one value.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, node) = self.root.members.iter().find(|(key, _)| key == name)?;
        match node.leaves.as_slice() {
            [Leaf::Text(text)] if !text.is_empty() => Some(text),
            [Leaf::Json(Value::String(text))] => Some(text),
            _ => None,
        }
    }

    /// The JSON at a top-level key that has one value.
    pub fn json(&self, name: &str) -> Option<&Value> {
        let (_, node) = self.root.members.iter().find(|(key, _)| key == name)?;
        match node.leaves.as_slice() {
            [Leaf::Json(value)] => Some(value),
            _ => None,
        }
    }

    pub fn typed(self, fields: &[Field]) -> Map<String, Value> {
        members(self.root.members, |name| {
            fields.iter().find(|field| field.name == name)
        })
    }
}

impl Node {
    fn at(&mut self, step: Step) -> &mut Node {
        match step {
            Step::Member(name) => child(&mut self.members, |key| *key == name, || name.clone()),
            Step::Item(index) => child(&mut self.items, |key| *key == Some(index), || Some(index)),
            Step::Push => child(&mut self.items, |_| false, || None),
        }
    }

    fn has_structure(&self) -> bool {
        !self.items.is_empty() || !self.members.is_empty()
    }
}

fn child<K>(
    children: &mut Vec<(K, Node)>,
    is: impl Fn(&K) -> bool,
    key: impl FnOnce() -> K,
) -> &mut Node {
    let at = match children.iter().position(|(key, _)| is(key)) {
        Some(at) => at,
        None => {
            children.push((key(), Node::default()));
            children.len() - 1
        }
    };
    &mut children[at].1
}

/// `a.b`, `a[b]`, `a[]`, `a[1]` and what they combine to; `None`: the key is a name as it stands.
fn steps(key: &str) -> Option<Vec<Step>> {
    let name_end = |text: &str| text.find(['.', '[']).unwrap_or(text.len());
    let (first, mut rest) = key.split_at(name_end(key));
    let mut steps = vec![Step::Member(first.to_owned())];
    if first.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, after) = after.split_at(name_end(after));
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else {
            let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(match inner {
                "" => Step::Push,
                inner => index(inner).map_or_else(|| Step::Member(inner.to_owned()), Step::Item),
            });
            rest = after;
        }
    }
    Some(steps)
}

fn index(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

// ── types ──

/// A node by its field; `None`: the schema does not know it.
fn typed(field: Option<&Field>, node: Node) -> Value {
    match field.map(|field| field.shape) {
        Some(Shape::Array(of) | Shape::Set(of)) => list(of, node),
        Some(Shape::Record(fields)) => {
            structure(node, |name| fields.iter().find(|field| field.name == name))
        }
        Some(Shape::Map { values, .. }) => structure(node, |_| Some(values)),
        Some(Shape::Foreign { .. }) => structure(node, |_| None),
        Some(Shape::String | Shape::Integer | Shape::Number | Shape::Boolean) | None
            if node.has_structure() =>
        {
            match node.members.is_empty() {
                true => elements(field, node),
                false => structure(node, |_| None),
            }
        }
        Some(Shape::String | Shape::Integer | Shape::Number | Shape::Boolean) | None => {
            leaves(field, node.leaves)
        }
    }
}

fn members<'a>(
    members: Vec<(String, Node)>,
    field: impl Fn(&str) -> Option<&'a Field>,
) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, node)| {
            let value = typed(field(&name), node);
            (name, value)
        })
        .collect()
}

/// A record, map or reference. Members win over a value at the same key, unless that is JSON and merges.
fn structure<'a>(node: Node, field: impl Fn(&str) -> Option<&'a Field>) -> Value {
    if !node.has_structure() {
        return leaves(None, node.leaves);
    }
    let mut all = Map::new();
    for leaf in node.leaves {
        if let Leaf::Json(Value::Object(entries)) = leaf {
            all.extend(entries);
        }
    }
    // `headers[1]=v`: the name is a number.
    let numbered = node
        .items
        .into_iter()
        .enumerate()
        .map(|(at, (index, node))| {
            let name = index.map_or_else(|| (at + 1).to_string(), |index| index.to_string());
            (name, node)
        });
    let given = node.members.into_iter().chain(numbered).collect();
    all.extend(members(given, field));
    Value::Object(all)
}

fn list(of: &Field, mut node: Node) -> Value {
    // `k.1=v` is `k[1]=v` where a list is wanted.
    if node.members.iter().all(|(name, _)| index(name).is_some()) {
        let numbered = std::mem::take(&mut node.members);
        let numbered = numbered
            .into_iter()
            .map(|(name, node)| (index(&name), node));
        node.items.extend(numbered);
    }
    if !node.members.is_empty() {
        return structure(node, |_| None);
    }
    if node.items.is_empty() {
        return match node.leaves.as_slice() {
            [Leaf::Text(text)] if text.is_empty() => Value::Null,
            [Leaf::Json(value @ (Value::Array(_) | Value::Null))] => value.clone(),
            _ => node
                .leaves
                .into_iter()
                .map(|leaf| scalar(Some(of), leaf))
                .collect(),
        };
    }
    elements(Some(of), node)
}

/// Values first, then elements by their index, then those without one. `k[]=` alone is a list without elements.
fn elements(of: Option<&Field>, mut node: Node) -> Value {
    if let ([], [(None, only)]) = (node.leaves.as_slice(), node.items.as_slice())
        && !only.has_structure()
        && matches!(only.leaves.as_slice(), [Leaf::Text(text)] if text.is_empty())
    {
        return Value::Array(Vec::new());
    }
    node.items
        .sort_by_key(|(index, _)| index.map_or(u64::MAX, u64::from));
    let plain = node.leaves.into_iter().map(|leaf| scalar(of, leaf));
    let items = node.items.into_iter().map(|(_, node)| typed(of, node));
    plain.chain(items).collect()
}

/// One value as itself, several as a list.
fn leaves(field: Option<&Field>, leaves: Vec<Leaf>) -> Value {
    let mut values: Vec<Value> = leaves.into_iter().map(|leaf| scalar(field, leaf)).collect();
    match (values.pop(), values.is_empty()) {
        (None, _) => Value::Null,
        (Some(only), true) => only,
        (Some(last), false) => {
            values.push(last);
            Value::Array(values)
        }
    }
}

fn scalar(field: Option<&Field>, leaf: Leaf) -> Value {
    let text = match leaf {
        Leaf::Json(value) => return value,
        Leaf::Text(text) if text.is_empty() => return Value::Null,
        Leaf::Text(text) => text,
    };
    let value = match field.map(|field| field.shape) {
        Some(Shape::Boolean) => text.parse().ok().map(Value::Bool),
        Some(Shape::Integer | Shape::Number) => number(&text),
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let number = text.parse().ok().and_then(Number::from_f64)?;
    Some(Value::Number(number))
}
