//! Random operations over few ids and few values, so that they meet; rows hold only what rules look at.

use super::*;
use crate::entity::Kind::*;
use crate::store::Violation;
use serde_json::Map;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

#[derive(Clone, Debug)]
pub enum Operation {
    Insert(Kind, Entity),
    Replace(Kind, Entity),
    Delete(Kind, Uuid),
}

const IDS: usize = 5;

pub fn operation(random: &mut Random) -> Operation {
    let kind = random.pick(&Kind::ALL);
    match random.below(5) {
        0 => Operation::Delete(kind, some_id(random)),
        1 | 2 => Operation::Insert(kind, some_row(random, kind)),
        _ => Operation::Replace(kind, some_row(random, kind)),
    }
}

fn some_id(random: &mut Random) -> Uuid {
    id(1 + random.below(IDS) as u128)
}

fn some_row(random: &mut Random, kind: Kind) -> Entity {
    let own = some_id(random);
    let mut row = Map::new();
    row.insert("id".into(), own.to_string().into());
    row.insert("tags".into(), json!([format!("t{}", random.below(3))]));
    for (of, field, _) in UNIQUE {
        if *of == kind {
            row.insert((*field).into(), some_value(random, kind, field));
        }
    }
    for (from, field, _, _) in FOREIGN {
        if *from == kind {
            let target = match random.one_in(3) {
                true => Value::Null,
                false => json!({"id": some_id(random)}),
            };
            row.insert((*field).into(), target);
        }
    }
    let list = match random.below(3) {
        0 => Value::Null,
        1 => json!([]),
        _ => json!([some_id(random), some_id(random)]),
    };
    let protocols = random.pick(&[&["http"][..], &["https"], &["http", "https"]]);
    match kind {
        Services => drop(row.insert("ca_certificates".into(), list)),
        Routes => drop(row.insert("protocols".into(), json!(protocols))),
        Plugins => {
            row.insert("name".into(), random.pick(&["acl", "mtls-auth"]).into());
            row.insert("protocols".into(), json!(protocols));
            row.insert("config".into(), json!({"ca_certificates": list}));
        }
        MtlsAuthCredentials => {
            row.insert("subject_name".into(), random.pick(&["a", "b"]).into());
        }
        Acls => drop(row.insert("group".into(), random.pick(&["a", "b"]).into())),
        Targets => drop(row.insert("target".into(), random.pick(&["a:1", "b:1"]).into())),
        _ => {}
    }
    row
}

fn some_value(random: &mut Random, kind: Kind, field: &str) -> Value {
    match kind {
        Snis => random.pick(&["a.x", "A.x", "b.x"]).into(),
        _ if random.one_in(4) => Value::Null,
        _ => format!("{field}{}", random.below(4)).into(),
    }
}

/// The rules once more, written out: single unique fields, in the order in which they are looked at.
const UNIQUE: &[(Kind, &str, bool)] = &[
    (Snis, "name", true),
    (CaCertificates, "cert_digest", false),
    (Services, "name", false),
    (Routes, "name", false),
    (Consumers, "username", false),
    (Consumers, "custom_id", false),
    (Upstreams, "name", false),
    (Plugins, "instance_name", false),
];

const TUPLES: &[(Kind, &[&str])] = &[
    (MtlsAuthCredentials, &["subject_name", "ca_certificate"]),
    (Acls, &["consumer", "group"]),
    (Targets, &["upstream", "target"]),
    (Plugins, &["consumer", "name", "route", "service"]),
];

/// From, field, to, and whether the row goes with what it refers to.
const FOREIGN: &[(Kind, &str, Kind, bool)] = &[
    (Snis, "certificate", Certificates, true),
    (Services, "client_certificate", Certificates, false),
    (Routes, "service", Services, false),
    (MtlsAuthCredentials, "consumer", Consumers, true),
    (MtlsAuthCredentials, "ca_certificate", CaCertificates, true),
    (Acls, "consumer", Consumers, true),
    (Upstreams, "client_certificate", Certificates, false),
    (Targets, "upstream", Upstreams, true),
    (Plugins, "route", Routes, true),
    (Plugins, "service", Services, true),
    (Plugins, "consumer", Consumers, true),
];

/// Rows in plain maps; every rule is a scan.
#[derive(Clone, Default)]
pub struct Model {
    pub rows: std::collections::BTreeMap<(Kind, Uuid), Entity>,
}

impl Model {
    /// The verdict in words, as `verdict` gives it for a plan.
    pub fn run(&mut self, operation: &Operation) -> String {
        match operation {
            Operation::Insert(kind, row) => self.put(*kind, row, true),
            Operation::Replace(kind, row) => self.put(*kind, row, false),
            Operation::Delete(kind, id) => self.delete(*kind, *id),
        }
    }

    fn put(&mut self, kind: Kind, row: &Entity, insert: bool) -> String {
        let own: Uuid = row["id"].as_str().expect("text").parse().expect("an id");
        let stored = self.rows.get(&(kind, own));
        let mut bad = Vec::new();
        // What the stored row lists already is not looked at again, and must be there.
        if listed(kind, row)
            .iter()
            .any(|ca| !self.rows.contains_key(&(CaCertificates, *ca)))
        {
            bad.push(if kind == Plugins {
                "config"
            } else {
                "ca_certificates"
            });
        }
        if kind == Plugins && !self.protocols_match(row) {
            bad.push("protocols");
        }
        if !bad.is_empty() {
            return format!("fields {bad:?}");
        }
        if insert && stored.is_some() {
            return "primary key".into();
        }
        let others = || {
            let rows = self.rows.iter();
            rows.filter(move |((of, id), _)| *of == kind && *id != own)
                .map(|(_, row)| row)
        };
        for (of, field, folded) in UNIQUE {
            let same = |other: &Entity| match (other[*field].as_str(), row[*field].as_str()) {
                (Some(one), Some(two)) if *folded => one.eq_ignore_ascii_case(two),
                (one, two) => one.is_some() && one == two,
            };
            if *of == kind && others().any(same) {
                return format!("unique {field}");
            }
        }
        for (of, fields) in TUPLES {
            let same = |other: &Entity| fields.iter().all(|field| other[*field] == row[*field]);
            if *of == kind && others().any(same) {
                return format!("unique {}", fields.join(","));
            }
        }
        for (from, field, to, _) in FOREIGN {
            let target = target(row, field);
            if *from == kind && target.is_some_and(|id| !self.rows.contains_key(&(*to, id))) {
                return format!("foreign {field}");
            }
        }
        self.rows.insert((kind, own), row.clone());
        "ok".into()
    }

    fn protocols_match(&self, plugin: &Entity) -> bool {
        let overlap = |route: &Entity| {
            let own = plugin["protocols"].as_array().expect("a list");
            let of_route = route["protocols"].as_array().expect("a list");
            own.iter().any(|protocol| of_route.contains(protocol))
        };
        if let Some(route) = target(plugin, "route") {
            return self.rows.get(&(Routes, route)).is_none_or(overlap);
        }
        let Some(service) = target(plugin, "service") else {
            return true;
        };
        let rows = self.rows.iter();
        let routes: Vec<&Entity> = rows
            .filter(|((kind, _), row)| *kind == Routes && target(row, "service") == Some(service))
            .map(|(_, row)| row)
            .collect();
        routes.is_empty() || routes.into_iter().any(overlap)
    }

    fn delete(&mut self, kind: Kind, id: Uuid) -> String {
        if !self.rows.contains_key(&(kind, id)) {
            return "absent".into();
        }
        for by in [Services, Plugins] {
            let lists =
                |(of, _): &&(Kind, Uuid), row: &Entity| *of == by && listed(by, row).contains(&id);
            let found = self.rows.iter().find(|(key, row)| lists(key, row));
            if let (CaCertificates, Some(((_, by_id), _))) = (kind, found) {
                return format!("in use by {by:?} {by_id}");
            }
        }
        let mut gone = vec![(kind, id)];
        for (from, field, to, cascade) in FOREIGN {
            let rows = self.rows.iter();
            let referrers = rows.filter(|((of, _), row)| {
                of == from && *to == kind && target(row, field) == Some(id)
            });
            let referrers: Vec<(Kind, Uuid)> = referrers.map(|(key, _)| *key).collect();
            match (cascade, referrers.is_empty()) {
                (_, true) => {}
                (false, false) => return format!("referenced by {from:?}"),
                (true, false) => gone.extend(referrers),
            }
        }
        for key in gone {
            self.rows.remove(&key);
        }
        "ok".into()
    }
}

fn target(row: &Entity, field: &str) -> Option<Uuid> {
    row.get(field)?.get("id")?.as_str()?.parse().ok()
}

fn listed(kind: Kind, row: &Entity) -> Vec<Uuid> {
    let list = match kind {
        Services => row.get("ca_certificates"),
        Plugins => row
            .get("config")
            .and_then(|config| config.get("ca_certificates")),
        _ => None,
    };
    let ids = list.and_then(Value::as_array).into_iter().flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

pub fn run(plan: &mut Plan, operation: &Operation) -> String {
    let outcome = match operation {
        Operation::Insert(kind, row) => plan.insert(*kind, row.clone()).map(|()| "ok"),
        Operation::Replace(kind, row) => plan.replace(*kind, row.clone()).map(|()| "ok"),
        Operation::Delete(kind, id) => plan
            .delete(*kind, *id)
            .map(|there| if there { "ok" } else { "absent" }),
    };
    match outcome {
        Ok(word) => word.into(),
        Err(Violation::PrimaryKey { .. }) => "primary key".into(),
        Err(Violation::Unique { fields, .. }) => {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            format!("unique {}", names.join(","))
        }
        Err(Violation::ForeignKey { field, .. }) => format!("foreign {field}"),
        Err(Violation::Referenced { by, .. }) => format!("referenced by {by:?}"),
        Err(Violation::InUse { by, by_id, .. }) => format!("in use by {by:?} {by_id}"),
        Err(Violation::Fields(errors)) => {
            format!("fields {:?}", errors.fields.keys().collect::<Vec<_>>())
        }
    }
}
