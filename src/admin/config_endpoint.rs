//! `/config`: a whole configuration at once, where the store is not written to row by row (KONG.md §7.2).

use super::body::Input;
use super::errors::Failure;
use super::ops::Outcome;
use super::reply::Reply;
use super::{Admin, Declarative, first_of, flatten};
use crate::declarative::{self, Loaded, Options};
use crate::entity::{Config, Kind};
use crate::store::{Revision, StoreKind};
use crate::telemetry::access::Level;
use aws_lc_rs::digest;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The text that was loaded last, while nothing else has been.
#[derive(Default)]
pub struct Last {
    revision: Revision,
    digest: Vec<u8>,
}

pub async fn show(admin: &Arc<Admin>) -> Outcome {
    declarative(admin)?;
    let own = Arc::clone(admin);
    admin
        .compute(move || {
            let document = declarative::dump(&own.node.store.image().config);
            // JSON is YAML.
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            Reply::json(StatusCode::OK, &json!({ "config": text }))
        })
        .await
}

pub async fn load(admin: &Arc<Admin>, input: Input, query: &str) -> Outcome {
    let declarative = declarative(admin)?;
    let text = text_of(input)?;
    let Ok(mut last) = admin.loading.try_lock() else {
        let text = "Currently loading previous configuration";
        return Err(Failure::too_many_requests(text, RETRY_AFTER_S));
    };
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let unchanged =
        last.revision == admin.node.store.image().revision && last.digest == digest.as_ref();
    if unchanged && flag(query, "check_hash") {
        return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
    }
    let (own, with_list) = (Arc::clone(admin), flag(query, "flatten_errors"));
    let loaded = admin
        .compute(move || parse(&own, &text, with_list))
        .await??;
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    for warning in first_of(warnings.collect()) {
        admin.log(Level::Warn, &warning);
    }
    let replaced = (declarative.replace)(loaded.config).await;
    let revision = replaced.map_err(|reasons| {
        let list = with_list.then(|| Value::Array(Vec::new()));
        Failure::invalid_declarative(json!({ "error": reasons.join("; ") }), list)
    })?;
    *last = Last {
        revision,
        digest: digest.as_ref().to_vec(),
    };
    drop(last);
    let own = Arc::clone(admin);
    admin
        .compute(move || {
            Reply::json(
                StatusCode::CREATED,
                &entities(&own.node.store.image().config),
            )
        })
        .await
}

/// # Errors
/// 400 where there is a database to write to.
fn declarative(admin: &Admin) -> Result<&Declarative, Failure> {
    let there = admin.node.declarative.as_ref();
    there
        .filter(|_| admin.node.store.kind() == StoreKind::Off)
        .ok_or_else(unavailable)
}

/// What a store that is written to row by row says.
pub fn unavailable() -> Failure {
    let text = "this endpoint is only available when Kong is configured to not use a database";
    Failure::bad_request(text)
}

/// The configuration is the content, or its field `config`: as text, or as it is where that is JSON (HTTPie sends
/// `config@kong.json` as a part of that type).
fn text_of(input: Input) -> Result<String, Failure> {
    let whole = input.object("config").map(Value::to_string);
    let field = whole.or_else(|| input.text("config").map(str::to_owned));
    let text = match (field, input) {
        (Some(text), _) => text,
        (None, Input::Yaml(text)) => text,
        (None, Input::Json(document)) if !document.is_empty() => {
            Value::Object(document).to_string()
        }
        (None, Input::Json(_) | Input::Form(_)) => String::new(),
    };
    match text.trim().is_empty() {
        true => Err(Failure::bad_request("expected a declarative configuration")),
        false => Ok(text),
    }
}

fn parse(admin: &Admin, text: &str, with_list: bool) -> Result<Loaded, Failure> {
    let declarative = declarative(admin)?;
    let directives = admin.node.directives.now();
    let options = Options {
        now_ms: (admin.node.now_ms)(),
        secrets: &*declarative.secrets,
        plugins: directives.plugins.as_deref(),
    };
    declarative::parse(text, &options).map_err(|failure| {
        let tree = failure.to_json();
        let list = with_list.then(|| {
            let document = declarative::document(text).unwrap_or_default();
            Value::Array(flatten::flatten(&document, &tree))
        });
        Failure::invalid_declarative(tree, list)
    })
}

/// Entity → id → row.
fn entities(config: &Config) -> Map<String, Value> {
    let mut all = Map::new();
    for kind in Kind::ALL {
        let rows: Map<String, Value> = config
            .table(kind)
            .map(|(id, row)| (id.to_string(), Value::Object((**row).clone())))
            .collect();
        if !rows.is_empty() {
            all.insert(kind.name().to_owned(), rows.into());
        }
    }
    all
}

fn flag(query: &str, name: &str) -> bool {
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(given, _)| given == name);
    let last = given.last();
    last.is_some_and(|(_, value)| ["1", "true", "on", "yes"].contains(&&*value))
}

/// Seconds; a large configuration takes about that long.
const RETRY_AFTER_S: u32 = 1;
