//! The Admin API's listeners, and what it is told of this process.

use super::Shared;
use crate::admin::cors::Origins;
use crate::admin::service::{self, Clients, Listener};
use crate::admin::{
    Admin, Declarative, Directives, InForce, LogLevel, Node, NotLive, Stuck, Timeouts,
};
use crate::declarative::Secret;
use crate::entity::Config;
use crate::publish::{self, Configuration, Live, Order, Orders};
use crate::settings::{Listen, Loaded, shown_values};
use crate::store::{Revision, Store, StoreKind};
use crate::telemetry::acceptor::ListenerTls;
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crate::telemetry::status::{StatusSource, status_body};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// What the Admin API needs besides what tasks of the control thread share.
pub(super) struct Parts {
    pub store: Arc<dyn Store>,
    pub live: Live,
    pub orders: Orders,
    /// Each with whether it has `ssl`.
    pub listeners: Vec<(std::net::TcpListener, bool)>,
    pub tls: Option<Arc<ListenerTls>>,
    pub clients: Option<Arc<Clients>>,
}

/// Begins to serve.
///
/// # Errors
/// A listener cannot be used, named.
pub(super) fn serve(
    parts: Parts,
    loaded: &Loaded,
    directives: &Arc<InForce>,
    shared: &Arc<Shared>,
) -> Result<(), String> {
    let Parts {
        store,
        live,
        orders,
        listeners,
        tls,
        clients,
    } = parts;
    if listeners.is_empty() {
        return Ok(());
    }
    let admin = Admin::new(node(store, live, orders, loaded, directives, shared));
    for (listener, ssl) in listeners {
        let tcp = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| format!("admin_listen: {error}"))?;
        let listener = Listener {
            tcp,
            tls: tls.clone().filter(|_| ssl),
            clients: clients.clone().filter(|_| ssl),
        };
        let admin = admin.clone();
        tokio::task::spawn_local(async move {
            // It serves until the process ends.
            let Err(error) = service::serve(admin, listener).await;
            log::error(Level::Crit, format_args!("admin_listen: {error}"));
        });
    }
    Ok(())
}

fn node(
    store: Arc<dyn Store>,
    live: Live,
    orders: Orders,
    loaded: &Loaded,
    directives: &Arc<InForce>,
    shared: &Arc<Shared>,
) -> Node {
    let settings = &loaded.settings;
    let level = shared.logs.clone();
    let level_set = shared.logs.clone();
    let status = shared.clone();
    let fixed = store.kind() == StoreKind::Off;
    let stuck = live.clone();
    Node {
        store,
        live: Box::new(move |revision| {
            let live = live.clone();
            Box::pin(async move { live.reached(revision).await.map_err(not_live) })
        }),
        stuck: Box::new(move || {
            let unserved = stuck.stuck()?;
            Some(Stuck {
                rows: unserved.rows.clone(),
                reason: unserved.to_string(),
            })
        }),
        id: shared.node_id.clone(),
        hostname: crate::settings::io::hostname(),
        now_ms,
        directives: directives.clone(),
        body_size_max: settings
            .admin_client_max_body_size
            .map_or(usize::MAX, |size| {
                usize::try_from(size).unwrap_or(usize::MAX)
            }),
        timeouts: Timeouts::default(),
        log: Some(shared.logs.handle()),
        log_level: LogLevel {
            get: Box::new(move || level.level()),
            set: Box::new(move |to| level_set.set_level(to)),
        },
        status: Box::new(move || {
            let shared = status.clone();
            Box::pin(async move {
                let cores = shared.scrape().await;
                let hash = shared.configuration_hash();
                Ok(status_body(&cores, &shared.process(), hash))
            })
        }),
        cores: shared.post.cores(),
        declarative: fixed.then(|| declarative(orders)),
    }
}

fn not_live(reason: publish::NotLive) -> NotLive {
    match reason {
        publish::NotLive::TakenBack(unserved) => NotLive::TakenBack(unserved.to_string()),
        publish::NotLive::Refused(unserved) => NotLive::Stored(unserved.to_string()),
        publish::NotLive::Ending => NotLive::Stored(reason.to_string()),
    }
}

/// # Errors
/// One of `admin_gui_url` is no URL.
pub(super) fn directives(loaded: &Loaded) -> Result<Directives, String> {
    let settings = &loaded.settings;
    let urls = settings.admin_gui_url.iter().map(String::as_str);
    Ok(Directives {
        shown: configuration(loaded),
        plugins: Some(settings.plugins.clone()),
        origins: Origins::new(urls).map_err(|error| format!("admin_gui_url: {error}"))?,
        hosts: settings.admin_hosts.clone(),
    })
}

/// `POST /config`.
fn declarative(orders: Orders) -> Declarative {
    Declarative {
        // Who may post is not who may read the files and the environment of this process.
        secrets: Box::new(|secret| {
            Err(match secret {
                Secret::File(_) => "a posted configuration cannot name files".to_owned(),
                Secret::Env(_) => {
                    "a posted configuration cannot name environment variables".to_owned()
                }
            })
        }),
        replace: Box::new(move |config| {
            let orders = orders.clone();
            Box::pin(async move { replace(config, &orders).await })
        }),
    }
}

async fn replace(config: Config, orders: &Orders) -> Result<Revision, Vec<String>> {
    let configuration = Configuration {
        config,
        warnings: Vec::new(),
    };
    let (reply, taken) = oneshot::channel();
    if !orders.send(Order::Replace(Box::new(configuration), reply)) {
        return Err(vec!["too many changes are waiting".to_owned()]);
    }
    let taken = taken
        .await
        .unwrap_or_else(|_| Err(vec!["publishing ended in a panic".to_owned()]))?;
    for warning in taken.warnings {
        log::error(Level::Warn, warning);
    }
    Ok(taken.revision)
}

/// Directives by name, as they count, nothing secret among them; and the listeners in the form that clients read.
fn configuration(loaded: &Loaded) -> Map<String, Value> {
    let mut shown: Map<String, Value> = shown_values(loaded)
        .map(|(name, value)| (name.to_owned(), value.map_or(Value::Null, Value::from)))
        .collect();
    let settings = &loaded.settings;
    let texts = |name: &str| -> Value {
        let listed = shown.get(name).and_then(Value::as_str).unwrap_or_default();
        let each = listed.split(',').map(str::trim);
        each.filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("off"))
            .collect()
    };
    let lists = ["admin_listen", "proxy_listen", "status_listen"].map(|name| (name, texts(name)));
    shown.extend(lists.map(|(name, value)| (name.to_owned(), value)));
    for (name, listeners) in [
        ("proxy_listeners", &settings.proxy_listen),
        ("admin_listeners", &settings.admin_listen),
        ("status_listeners", &settings.status_listen),
    ] {
        let listeners: Value = listeners.iter().map(listener).collect();
        shown.insert(name.to_owned(), listeners);
    }
    shown.insert("plugins".to_owned(), settings.plugins.clone().into());
    shown
}

fn listener(listen: &Listen) -> Value {
    json!({
        "ip": listen.addr.ip().to_string(),
        "port": listen.addr.port(),
        "ssl": listen.ssl,
        "http2": listen.http2,
        "proxy_protocol": listen.proxy_protocol,
        "reuseport": listen.reuseport,
        "listener": listen.addr.to_string(),
    })
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_millis()
        .try_into()
        .unwrap_or(i64::MAX)
}
