//! What decK does with a gateway, call for call (KONG-CLIENTS.md §1): ping, dump, diff, sync, reset.

use super::defaults::{
    comparable_config, complete_plugin, complete_row, field, sort, without_nulls,
};
use super::{file, types};
use crate::support::{Admin, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;

/// Rows by the declarative format's name of their kind.
pub type State = BTreeMap<&'static str, Vec<Value>>;

/// Kinds in the order they are written, each stage at once (§1.4 step 8). Deletes go the other way round.
pub const STAGES: [&[&str]; 4] = [
    &["certificates", "ca_certificates", "consumers"],
    &[
        "snis",
        "services",
        "upstreams",
        "acls",
        "mtls_auth_credentials",
    ],
    &["routes", "targets"],
    &["plugins"],
];

/// §1.3: the lists of kinds that are here, all but targets.
const LISTS: [(&str, &str); 10] = [
    ("services", "/services"),
    ("routes", "/routes"),
    ("plugins", "/plugins"),
    ("certificates", "/certificates"),
    ("snis", "/snis"),
    ("upstreams", "/upstreams"),
    ("consumers", "/consumers"),
    ("ca_certificates", "/ca_certificates"),
    ("acls", "/acls"),
    ("mtls_auth_credentials", "/mtls-auths"),
];

/// §1.3: lists that may answer 404, which these do; 403 or 501 would end a dump.
const ABSENT: [&str; 17] = [
    "/vaults",
    "/keys",
    "/key-sets",
    "/partials",
    "/filter-chains",
    "/consumer_groups",
    "/key-auths",
    "/basic-auths",
    "/hmac-auths",
    "/jwts",
    "/oauth2",
    "/degraphql_routes",
    "/graphql-rate-limiting-advanced/costs",
    "/cloned-plugins",
    "/custom-plugins",
    "/licenses",
    "/rbac/roles/",
];

/// Schemas that complete rows (§1.4 step 5).
const COMPLETED: [&str; 4] = ["services", "routes", "upstreams", "targets"];

const PARALLEL: usize = 10;

#[derive(Clone, Copy)]
pub struct Deck {
    pub address: SocketAddr,
    /// `--select-tag`, as it stands in a query.
    pub tags: Option<&'static str>,
    /// Rows of a page.
    pub page: usize,
}

/// One difference between file and gateway.
#[derive(Debug)]
pub enum Change {
    Create(&'static str, Value),
    /// The row as it shall be, the row as it is.
    Update(&'static str, Value, Value),
    Delete(&'static str, Value),
}

impl Deck {
    pub fn new(address: SocketAddr) -> Deck {
        Deck {
            address,
            tags: None,
            page: 1000,
        }
    }

    fn admin(&self) -> Admin {
        Admin::of(self.address)
    }

    /// `deck gateway ping`: the version, of which major and minor are read.
    #[track_caller]
    pub fn ping(&self) -> String {
        let root = self.admin().get("/");
        let server = root.header("Server").unwrap_or_default();
        assert!(!server.contains("ai-gateway"), "{server}");
        let version = root.assert(200)["version"].clone();
        let version = version.as_str().expect("a string").to_owned();
        let numbers: Vec<&str> = version.split('.').collect();
        let is_number = |part: &&str| part.parse::<u32>().is_ok();
        assert!(
            numbers.len() == 3 && numbers.iter().all(is_number),
            "§0 point 1: {version}"
        );
        version
    }

    /// `deck gateway dump`: every list at once, each with its checks.
    pub fn dump(&self) -> State {
        self.ping();
        let mut state: State = std::thread::scope(|scope| {
            let lists = LISTS.map(|(kind, path)| {
                scope.spawn(move || {
                    // Never with a tag filter (§1.3).
                    let tags = self.tags.filter(|_| kind != "mtls_auth_credentials");
                    (kind, self.list(kind, path, tags))
                })
            });
            let absent = ABSENT.map(|path| scope.spawn(move || self.absent(path)));
            for list in absent {
                list.join().expect("a list that is not there");
            }
            lists
                .map(|list| list.join().expect("a list"))
                .into_iter()
                .collect()
        });
        let mut targets = Vec::new();
        for upstream in &state["upstreams"] {
            let path = format!("/upstreams/{}/targets", text(upstream, "id"));
            targets.extend(self.list("targets", &path, self.tags));
        }
        state.insert("targets", targets);
        for (kind, rows) in &state {
            no_row_twice(kind, rows);
        }
        state
    }

    fn absent(&self, path: &str) {
        let answer = self.admin().get(&format!("{path}?size=1000"));
        assert_eq!(answer.assert(404), json!({"message": "Not found"}));
    }

    /// All pages of a list, the way a Go client walks them: while the answer has an `offset`.
    fn list(&self, kind: &str, path: &str, tags: Option<&str>) -> Vec<Value> {
        let mut admin = self.admin();
        let tags = tags.map(|tags| format!("&tags={tags}")).unwrap_or_default();
        let mut rows = Vec::new();
        let mut offset = String::new();
        loop {
            let target = format!("{path}?size={}{tags}{offset}", self.page);
            let page = admin.get(&target).assert(200);
            let data = page["data"].as_array();
            let data = data.unwrap_or_else(|| panic!("{target}: data is no array: {page}"));
            assert!(data.len() <= self.page, "{target}");
            for row in data {
                types::check(kind, row);
            }
            rows.extend(data.iter().cloned());
            match &page["offset"] {
                Value::Null => {
                    assert_eq!(page["next"], Value::Null, "{target}");
                    return rows;
                }
                Value::String(next) if !next.is_empty() => {
                    assert!(page["next"].is_string(), "{target}: {page}");
                    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
                    offset = format!("&offset={next}");
                }
                other => panic!("{target}: the offset {other} would never end (§0 point 9)"),
            }
        }
    }

    /// `deck gateway diff`: what a sync would do.
    pub fn diff(&self, document: &Value) -> Vec<Change> {
        let current = self.dump();
        let wanted = file::rows(document, &current);
        let mut admin = self.admin();
        let mut schemas = Schemas::read(&mut admin);
        let mut changes = Vec::new();
        for kind in STAGES.concat() {
            let (have, want) = (rows_of(&current, kind), rows_of(&wanted, kind));
            for row in want {
                let mut complete = row.clone();
                schemas.complete(kind, &mut complete);
                // The config of a plugin is sent as the file has it.
                let mut sent = if kind == "plugins" { row } else { &complete }.clone();
                sent.as_object_mut()
                    .expect("an object")
                    .retain(|_, value| !value.is_null());
                match have.iter().find(|current| current["id"] == row["id"]) {
                    None => changes.push(Change::Create(kind, sent)),
                    Some(current) => {
                        let now = schemas.comparable(kind, current);
                        if schemas.comparable(kind, &complete) != now {
                            changes.push(Change::Update(kind, sent, current.clone()));
                        }
                    }
                }
            }
            for row in have {
                if !want.iter().any(|wanted| wanted["id"] == row["id"]) {
                    changes.push(Change::Delete(kind, row.clone()));
                }
            }
        }
        changes
    }

    /// `deck gateway sync`; how many creates, updates and deletes it took.
    pub fn sync(&self, document: &Value) -> (usize, usize, usize) {
        let changes = self.diff(document);
        self.carry_out(&changes);
        let count = |which: fn(&&Change) -> bool| changes.iter().filter(which).count();
        (
            count(|change| matches!(change, Change::Create(..))),
            count(|change| matches!(change, Change::Update(..))),
            count(|change| matches!(change, Change::Delete(..))),
        )
    }

    /// `deck gateway reset`.
    pub fn reset(&self) {
        self.carry_out(&self.diff(&json!({})));
    }

    fn carry_out(&self, changes: &[Change]) {
        for stage in STAGES {
            self.in_parallel(changes, |admin, change| match change {
                Change::Create(kind, row) if stage.contains(kind) => create(admin, kind, row),
                Change::Update(kind, row, current) if stage.contains(kind) => {
                    update(admin, kind, row, current);
                }
                _ => {}
            });
        }
        for stage in STAGES.iter().rev() {
            self.in_parallel(changes, |admin, change| match change {
                Change::Delete(kind, row) if stage.contains(kind) => {
                    admin.delete(&path_of(kind, row)).assert(204);
                }
                _ => {}
            });
        }
    }

    /// Ten connections share the work (§6 point 19).
    fn in_parallel(&self, changes: &[Change], work: impl Fn(&mut Admin, &Change) + Sync) {
        let waiting = Mutex::new(changes.iter());
        let next = || waiting.lock().expect("no panic holds it").next();
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    let mut admin = self.admin();
                    while let Some(change) = next() {
                        work(&mut admin, change);
                    }
                });
            }
        });
    }
}

fn create(admin: &mut Admin, kind: &str, row: &Value) {
    let path = path_of(kind, row);
    if kind == "certificates" {
        // It exists although no list has it: then it carries none of the selected tags.
        admin.get(&path).assert(404);
    }
    let answer = admin.put(&path, row);
    if kind == "targets" && answer.status() == 404 {
        let collection = path.rsplit_once('/').expect("a path").0;
        admin.post(collection, row).assert(201);
        return;
    }
    let stored = answer.assert(200);
    assert_eq!(stored["id"], row["id"], "§0 point 8: {path}");
}

fn update(admin: &mut Admin, kind: &str, row: &Value, current: &Value) {
    let mut body = row.clone();
    let created_at = &current["created_at"];
    body["created_at"] = created_at.clone();
    if kind == "certificates" && current["snis"] != json!([]) {
        body["snis"] = current["snis"].clone();
    }
    let stored = admin.put(&path_of(kind, row), &body).assert(200);
    assert_eq!(
        (&stored["id"], &stored["created_at"]),
        (&row["id"], created_at),
        "§0 point 8: {kind}"
    );
}

/// Where decK writes a row (§1.4).
fn path_of(kind: &str, row: &Value) -> String {
    let id = text(row, "id");
    match kind {
        "targets" => format!("/upstreams/{}/targets/{id}", text(&row["upstream"], "id")),
        "acls" => format!("/consumers/{}/acls/{id}", text(&row["consumer"], "id")),
        "mtls_auth_credentials" => {
            format!("/consumers/{}/mtls-auth/{id}", text(&row["consumer"], "id"))
        }
        kind => format!("/{kind}/{id}"),
    }
}

pub fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name]
        .as_str()
        .unwrap_or_else(|| panic!("no text {name} in {row}"))
}

pub fn rows_of<'a>(state: &'a State, kind: &str) -> &'a [Value] {
    state.get(kind).map(Vec::as_slice).unwrap_or_default()
}

/// What identifies a row besides its id (§1.4 step 6); `None`: nothing does.
pub fn natural_key(kind: &str, row: &Value) -> Option<String> {
    let part = |name: &str| row[name].as_str().map(str::to_owned);
    let id = |name: &str| row[name]["id"].as_str().unwrap_or_default().to_owned();
    match kind {
        "services" | "routes" | "upstreams" | "snis" => part("name"),
        "consumers" => part("username").or_else(|| part("custom_id")),
        "targets" => Some(id("upstream") + " " + &part("target")?),
        "certificates" => Some(part("cert")? + &part("key")?),
        "ca_certificates" => part("cert"),
        "acls" => Some(id("consumer") + " " + &part("group")?),
        "plugins" => {
            let scope = ["service", "route", "consumer"].map(id).join(" ");
            Some(part("name")? + " " + &scope)
        }
        _ => None,
    }
}

/// A second row of the same id or natural key is fatal to decK (§1.3).
fn no_row_twice(kind: &str, rows: &[Value]) {
    let mut ids = HashSet::new();
    let mut keys = HashSet::new();
    for row in rows {
        assert!(ids.insert(text(row, "id")), "{kind}: twice: {row}");
        if let Some(key) = natural_key(kind, row) {
            assert!(keys.insert(key), "{kind}: already exists: {row}");
        }
    }
}

/// Answers of `/schemas`, as far as they are asked for.
pub struct Schemas<'a> {
    admin: &'a mut Admin,
    rows: BTreeMap<&'static str, Value>,
    plugins: BTreeMap<String, Value>,
}

impl Schemas<'_> {
    #[track_caller]
    pub fn read(admin: &mut Admin) -> Schemas<'_> {
        let rows = COMPLETED.map(|kind| (kind, admin.get(&format!("/schemas/{kind}")).assert(200)));
        // "No defaults for this type", which is right for this one alone.
        admin.get("/schemas/consumer_group_plugins").assert(404);
        Schemas {
            rows: rows.into_iter().collect(),
            plugins: BTreeMap::new(),
            admin,
        }
    }

    pub fn plugin(&mut self, name: &str) -> &Value {
        let admin = &mut self.admin;
        self.plugins
            .entry(name.to_owned())
            .or_insert_with(|| admin.get(&format!("/schemas/plugins/{name}")).assert(200))
    }

    fn complete(&mut self, kind: &str, row: &mut Value) {
        if kind == "plugins" {
            let name = text(row, "name").to_owned();
            complete_plugin(row, self.plugin(&name));
        } else if let Some(schema) = self.rows.get(kind) {
            complete_row(row, schema);
        }
    }

    /// A row as decK compares it (§1.5): without what it does not look at, sets sorted.
    fn comparable(&mut self, kind: &str, row: &Value) -> Value {
        let mut row = row.clone();
        let members = row.as_object_mut().expect("an object");
        let mut unseen = BTreeSet::from(["created_at", "updated_at"]);
        match kind {
            "certificates" => drop(unseen.insert("snis")),
            "ca_certificates" => drop(unseen.insert("cert_digest")),
            _ => {}
        }
        members.retain(|name, _| !unseen.contains(name.as_str()));
        let sorted: &[&str] = match kind {
            "services" => &["tags", "ca_certificates"],
            "plugins" => &["tags", "protocols"],
            _ => &["tags"],
        };
        for name in sorted {
            if let Some(Value::Array(elements)) = members.get_mut(*name) {
                sort(elements);
            }
        }
        let config = members.remove("config");
        without_nulls(&mut row);
        if let Some(mut config) = config {
            let name = text(&row, "name").to_owned();
            comparable_config(&mut config, field(self.plugin(&name), "config"));
            row["config"] = config;
        }
        row
    }
}
