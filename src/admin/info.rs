//! What a node tells of itself (KONG.md §2.8, KONG-CLIENTS.md §0 and §5).

use super::dispatch::Method;
use super::errors::Failure;
use super::ops::Outcome;
use super::paths::{self, Endpoint};
use super::reply::Reply;
use super::{Admin, Directives, KONG_VERSION, Node, schemas};
use crate::entity::Kind;
use crate::entity::plugin_schemas::{PLUGINS, PluginSchema};
use crate::store::StoreKind;
use crate::telemetry::access::Level;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The answer of an endpoint that is no entity's.
pub async fn answer(admin: &Arc<Admin>, endpoint: Endpoint, method: Method) -> Outcome {
    let node = &admin.node;
    let body = match endpoint {
        Endpoint::Root => {
            let own = Arc::clone(admin);
            admin.compute(move || root(&own.node)).await?
        }
        Endpoint::Status => match (node.status)().await {
            Ok(status) => status,
            Err(reason) => return Err(Failure::unavailable(reason)),
        },
        Endpoint::Endpoints => json!({ "data": paths::all(), "next": null }),
        Endpoint::Timers => timers(node),
        Endpoint::PluginsEnabled => {
            let directives = node.directives.now();
            let names: Vec<&str> = enabled(&directives).map(|plugin| plugin.name).collect();
            json!({ "enabled_plugins": names })
        }
        Endpoint::PluginConfigSchema(name) => {
            let plugin = schemas::plugin_named(&name, node.directives.now().plugins.as_deref())?;
            schemas::plugin_config(plugin)
        }
        // There is no cache in front of the store: whatever the key, nothing is held, and nothing has to be dropped.
        Endpoint::Cache(_) => {
            return match method {
                Method::Delete => Ok(Reply::empty(StatusCode::NO_CONTENT)),
                _ => Err(Failure::not_found()),
            };
        }
        // Data planes of a hybrid cluster; this node is none's control plane.
        Endpoint::DataPlanes => json!({ "data": [], "next": null }),
        Endpoint::ClusteringStatus => json!({}),
        Endpoint::LogLevel => {
            json!({ "message": format!("log level: {}", (node.log_level.get)().name()) })
        }
        Endpoint::SetLogLevel(level) => {
            let Some(level) = Level::parse(&level) else {
                return Err(Failure::bad_request(format!("unknown log level: {level}")));
            };
            (node.log_level.set)(level);
            json!({ "message": "log level changed" })
        }
        Endpoint::Workspaces => json!({ "data": [workspace()], "next": null }),
        Endpoint::Workspace => workspace(),
        // All others are entities'; `dispatch` has them.
        _ => return Err(Failure::not_found()),
    };
    Ok(Reply::json(StatusCode::OK, &body))
}

/// `GET /`.
fn root(node: &Node) -> Value {
    let directives = node.directives.now();
    let plugins: Map<String, Value> = enabled(&directives)
        .map(|plugin| {
            let facts = json!({ "version": KONG_VERSION, "priority": plugin.priority });
            (plugin.name.to_owned(), facts)
        })
        .collect();
    let image = node.store.image();
    let used: BTreeSet<&str> = image
        .config
        .table(Kind::Plugins)
        .filter_map(|(_, row)| row.get("name")?.as_str())
        .collect();
    let pid = std::process::id();
    json!({
        "tagline": "Welcome to Sallyport",
        "version": KONG_VERSION,
        "edition": "community",
        "hostname": node.hostname,
        "node_id": node.id,
        "lua_version": "none",
        "timers": { "running": 0, "pending": 0 },
        "plugins": { "available_on_server": plugins, "enabled_in_cluster": used },
        "configuration": configuration(node, &directives),
        "pids": { "master": pid, "workers": vec![pid; node.cores] },
        "sallyport": { "version": env!("CARGO_PKG_VERSION") },
    })
}

/// Clients read `database` as "rows can be written": `postgres` says so. What it really is stands in `store`.
fn configuration(node: &Node, directives: &Directives) -> Map<String, Value> {
    let store = node.store.kind();
    let database = match store {
        StoreKind::Off => "off",
        StoreKind::Embedded => "postgres",
    };
    let mut shown = directives.shown.clone();
    for (name, value) in [
        ("database", Value::from(database)),
        ("store", store.name().into()),
        ("role", "traditional".into()),
        ("wasm", false.into()),
    ] {
        shown.insert(name.to_owned(), value);
    }
    // A string in every answer: clients choose their forms by it.
    shown
        .entry("router_flavor")
        .or_insert_with(|| "traditional_compatible".into());
    for list in [
        "admin_listen",
        "admin_gui_listeners",
        "proxy_listeners",
        "stream_listeners",
    ] {
        shown
            .entry(list)
            .or_insert_with(|| Value::Array(Vec::new()));
    }
    shown
}

/// The shape of Kong's answer; there are no timers of its sort here.
fn timers(node: &Node) -> Value {
    json!({
        "worker": { "id": 0, "count": node.cores },
        "stats": {
            "sys": { "total": 0, "runs": 0, "running": 0, "pending": 0, "waiting": 0 },
            "timers": {},
        },
    })
}

/// There is one, with the id that Kong's documents never show.
fn workspace() -> Value {
    json!({
        "id": uuid::Uuid::nil(),
        "name": "default",
        "comment": null,
        "config": {},
        "meta": {},
        "created_at": 0,
        "updated_at": 0,
    })
}

fn enabled(directives: &Directives) -> impl Iterator<Item = &'static PluginSchema> {
    let names = directives.plugins.as_deref();
    let is_enabled = move |plugin: &&PluginSchema| {
        names.is_none_or(|names| names.iter().any(|name| name == plugin.name))
    };
    PLUGINS.iter().filter(is_enabled)
}
