//! The file's shape: its head, flat and nested entities, laid out as one list of items.
use super::Failure;
use super::document::Document;
use super::place::Step;
use crate::entity::{Kind, rules, schema};
use serde_json::{Map, Value};

/// The entities of a file, not yet checked.
#[derive(Default)]
pub struct Walked {
    pub items: Vec<Item>,
    pub failure: Failure,
    /// Notes on the head: (place, text).
    pub notes: Vec<(String, String)>,
    pub yaml: bool,
}

pub struct Item {
    pub kind: Kind,
    pub input: Map<String, Value>,
    /// 0-based position in its list.
    pub index: usize,
    /// What makes it recognisable in a message.
    pub label: Option<String>,
    /// The item it is nested in and the foreign field that nesting fills.
    pub parent: Option<(usize, &'static str)>,
}

impl Walked {
    /// The way down to an item.
    pub fn steps(&self, item: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut next = self.items.get(item);
        while let Some(item) = next {
            steps.push(Step {
                key: item.kind.name().to_owned(),
                index: item.index,
                label: item.label.clone(),
            });
            next = item.parent.and_then(|(parent, _)| self.items.get(parent));
        }
        steps.reverse();
        steps
    }
}

/// Fails only when the format's version is not known, which makes the rest meaningless.
pub fn walk(document: Document) -> Result<Walked, Failure> {
    let Document { mut root, yaml } = document;
    let mut walker = Walker {
        walked: Walked {
            yaml,
            ..Walked::default()
        },
        shared: Map::new(),
        migrate: false,
    };
    if !walker.head(&mut root) {
        return Err(walker.walked.failure);
    }
    let children: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, children(kind)))
        .collect();
    for (key, value) in root {
        match Kind::from_name(&key) {
            Some(kind) => walker.list(kind, value, None, &children),
            None if NOT_OURS.contains(&key.as_str()) => {
                let tolerated = key == "workspaces" && only_default(&value);
                if !rules::is_empty(&value) && !tolerated {
                    walker.walked.failure.top(&key, &not_ours(&key));
                }
            }
            None => walker.walked.failure.top(&key, "unknown field"),
        }
    }
    Ok(walker.walked)
}

struct Walker {
    walked: Walked,
    /// `_plugin_configs`: configurations that plugins name with `_config`.
    shared: Map<String, Value>,
    /// The format is older than 3.0: regexes of paths are not marked.
    migrate: bool,
}

type Children = Vec<(Kind, &'static str)>;

/// The kinds that may be nested in `parent`, with the field that refers to it.
fn children(parent: Kind) -> Children {
    let own = schema::of(parent);
    let nested = |child: Kind| {
        let (field, _) = schema::of(child)
            .references()
            .find(|(_, to)| *to == parent)?;
        // The names of a certificate are entities in a file, unlike any other field of that name.
        let taken = own
            .field(child.name())
            .is_some_and(|field| !field.transient);
        (!taken).then_some((child, field.name))
    };
    Kind::ALL.into_iter().filter_map(nested).collect()
}

impl Walker {
    /// False when the version is not known.
    fn head(&mut self, root: &mut Map<String, Value>) -> bool {
        let mut known = true;
        let failure = &mut self.walked.failure;
        match root.shift_remove("_format_version") {
            None | Some(Value::Null) => failure.top("_format_version", "required field missing"),
            Some(Value::String(version)) => match version.as_str() {
                "3.0" => {}
                "1.1" | "2.1" => self.migrate = true,
                _ => {
                    known = false;
                    failure.top("_format_version", "expected one of: 1.1, 2.1, 3.0");
                }
            },
            Some(_) => failure.top("_format_version", "expected a string"),
        }
        match root.shift_remove("_transform") {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(_) => failure.top("_transform", "expected a boolean"),
        }
        match root.shift_remove("_workspace") {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if name == "default" => {}
            Some(_) => failure.top("_workspace", "expected one of: default"),
        }
        match root.shift_remove("_plugin_configs") {
            None | Some(Value::Null) => {}
            Some(Value::Object(configs)) => self.shared = configs,
            Some(_) => failure.top("_plugin_configs", "expected a map"),
        }
        match root.shift_remove("_comment") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => failure.top("_comment", "expected a string"),
        }
        root.shift_remove("_ignore");
        let info = root.shift_remove("_info");
        if info
            .as_ref()
            .and_then(|info| info.get("defaults"))
            .is_some_and(|d| !rules::is_empty(d))
        {
            self.walked.notes.push((
                "_info.defaults".into(),
                "decK applies these before it sends a file; read directly they have no effect"
                    .into(),
            ));
        }
        known
    }

    fn list(
        &mut self,
        kind: Kind,
        value: Value,
        parent: Option<(usize, &'static str)>,
        children: &[(Kind, Children)],
    ) {
        let above = |walker: &Walker| match parent {
            Some((parent, _)) => walker.walked.steps(parent),
            None => Vec::new(),
        };
        let items = match value {
            Value::Null => return,
            Value::Array(items) => items,
            _ => {
                let steps = above(self);
                return self
                    .walked
                    .failure
                    .element(&steps, kind.name(), None, "expected an array");
            }
        };
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::Object(input) => self.item(kind, input, index, parent, children),
                // The Admin API's way to write a certificate's names.
                Value::String(name) if kind == Kind::Snis && parent.is_some() => {
                    let input = Map::from_iter([("name".to_owned(), Value::from(name))]);
                    self.item(kind, input, index, parent, children);
                }
                _ => {
                    let steps = above(self);
                    let failure = &mut self.walked.failure;
                    failure.element(&steps, kind.name(), Some(index), "expected a record");
                }
            }
        }
    }

    fn item(
        &mut self,
        kind: Kind,
        mut input: Map<String, Value>,
        index: usize,
        parent: Option<(usize, &'static str)>,
        children: &[(Kind, Children)],
    ) {
        let own = self.walked.items.len();
        let mut nested = Vec::new();
        let below = children
            .iter()
            .find(|(of, _)| *of == kind)
            .map(|(_, below)| below);
        for (child, field) in below.into_iter().flatten() {
            if let Some(value) = input.shift_remove(child.name()) {
                nested.push((*child, value, *field));
            }
        }
        input.shift_remove("_comment");
        input.shift_remove("_ignore");
        let foreign: Vec<String> = input
            .keys()
            .filter(|key| NOT_OURS_NESTED.contains(&key.as_str()))
            .cloned()
            .collect();
        let mut refused = Vec::new();
        for key in foreign {
            if input
                .shift_remove(&key)
                .is_some_and(|value| !rules::is_empty(&value))
            {
                refused.push(key);
            }
        }
        if kind == Kind::Routes && self.migrate {
            mark_regexes(&mut input);
        }
        let missing = if kind == Kind::Plugins {
            self.share_config(&mut input)
        } else {
            None
        };
        let label = label(kind, &input);
        self.walked.items.push(Item {
            kind,
            input,
            index,
            label,
            parent,
        });
        if !refused.is_empty() || missing.is_some() {
            let steps = self.walked.steps(own);
            for key in refused {
                self.walked
                    .failure
                    .element(&steps, &key, None, &not_ours(&key));
            }
            if let Some(name) = missing {
                let text = format!("no such entry in '_plugin_configs': {name}");
                self.walked.failure.element(&steps, "_config", None, &text);
            }
        }
        for (child, value, field) in nested {
            self.list(child, value, Some((own, field)), children);
        }
    }

    /// Puts the shared configuration below the plugin's own; the name of one that does not exist comes back.
    fn share_config(&self, plugin: &mut Map<String, Value>) -> Option<String> {
        let name = match plugin.shift_remove("_config")? {
            Value::String(name) => name,
            other => other.to_string(),
        };
        let Some(Value::Object(shared)) = self.shared.get(&name) else {
            return Some(name);
        };
        let mut config = shared.clone();
        match plugin.shift_remove("config") {
            Some(Value::Object(own)) => config.extend(own),
            None | Some(Value::Null) => {}
            Some(other) => {
                // Left for validation to refuse.
                plugin.insert("config".into(), other);
                return None;
            }
        }
        plugin.insert("config".into(), config.into());
        None
    }
}

/// Kong's 3.0 migration: a path with a character outside the plain set was a regex.
fn mark_regexes(route: &mut Map<String, Value>) {
    let Some(Value::Array(paths)) = route.get_mut("paths") else {
        return;
    };
    for path in paths {
        if let Value::String(text) = path {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~/%".contains(&b);
            if !text.starts_with('~') && !text.bytes().all(plain) {
                text.insert(0, '~');
            }
        }
    }
}

fn label(kind: Kind, input: &Map<String, Value>) -> Option<String> {
    let key = schema::of(kind).endpoint_key;
    let candidates = key
        .into_iter()
        .chain(["name", "custom_id", "subject_name", "group", "id"]);
    candidates.into_iter().find_map(|field| {
        let text = input.get(field)?.as_str()?;
        // Enough to recognise it by; a misplaced PEM text would fill the line.
        let short: String = text.chars().take(80).filter(|c| !c.is_control()).collect();
        Some(format!("{field} {short}"))
    })
}

fn not_ours(key: &str) -> String {
    format!("entities of type '{key}' are not supported by Sallyport; remove them")
}

fn only_default(workspaces: &Value) -> bool {
    let mut items = workspaces.as_array().into_iter().flatten();
    items.all(|workspace| workspace.get("name").is_some_and(|name| name == "default"))
}

/// Entity types that Kong knows and we do not: refused by name, unless the list is empty.
const NOT_OURS: &[&str] = &[
    "acme_storage",
    "basicauth_credentials",
    "consumer_group_consumers",
    "consumer_group_plugins",
    "consumer_groups",
    "custom_plugins",
    "degraphql_routes",
    "filter_chains",
    "graphql_ratelimiting_advanced_cost_decoration",
    "hmacauth_credentials",
    "jwt_secrets",
    "jwt_signer_jwks",
    "key_sets",
    "keyauth_credentials",
    "keyauth_enc_credentials",
    "keys",
    "licenses",
    "oauth2_credentials",
    "oauth2_tokens",
    "parameters",
    "partials",
    "plugin_ordering",
    "rbac_roles",
    "rbac_users",
    "sessions",
    "vaults",
    "workspaces",
];

/// The same, nested in an entity of ours.
const NOT_OURS_NESTED: &[&str] = &[
    "basicauth_credentials",
    "consumer_groups",
    "degraphql_routes",
    "filter_chains",
    "groups",
    "hmacauth_credentials",
    "jwt_secrets",
    "keyauth_credentials",
    "keyauth_enc_credentials",
    "oauth2_credentials",
    "oauth2_tokens",
];
