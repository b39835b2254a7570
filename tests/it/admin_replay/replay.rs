//! decK from ping to reset, over a file with every kind of row (KONG-CLIENTS.md §1 and §7).

use super::deck::{Change, Deck, STAGES, natural_key, rows_of, text};
use super::file::{Pki, changed, everything, rows};
use crate::support::entities::id;
use crate::support::{Gateway, Setup, Value, json};

#[track_caller]
fn assert_in_sync(deck: Deck, document: &Value) {
    let changes = deck.diff(document);
    assert!(changes.is_empty(), "§1.5: {changes:#?}");
}

/// How many rows of each kind the gateway has, in the order of the stages.
fn counts(deck: Deck) -> Vec<(&'static str, usize)> {
    let state = deck.dump();
    let kinds = STAGES.concat().into_iter();
    kinds
        .map(|kind| (kind, rows_of(&state, kind).len()))
        .collect()
}

fn synced(document: &Value) -> (Gateway, Deck) {
    let gateway = Setup::admin().start();
    let deck = Deck::new(gateway.admin_address());
    deck.sync(document);
    (gateway, deck)
}

#[test]
fn a_file_with_every_kind_of_row_is_synced_changed_and_reset() {
    let pki = Pki::new();
    let document = everything(&pki);
    let gateway = Setup::admin().start();
    let deck = Deck::new(gateway.admin_address());
    assert_eq!(deck.ping(), "3.9.1");
    assert!(counts(deck).iter().all(|(_, count)| *count == 0));
    let wanted = rows(&document, &deck.dump());
    for kind in STAGES.concat() {
        assert!(!rows_of(&wanted, kind).is_empty(), "the file lacks {kind}");
    }
    let all: usize = wanted.values().map(Vec::len).sum();
    assert_eq!(deck.sync(&document), (all, 0, 0));
    assert_in_sync(deck, &document);
    assert_eq!(deck.sync(&document), (0, 0, 0), "nothing is left to do");

    let renewed = pki.root.server(&["renewed.test"]);
    let document = changed(&pki, &renewed);
    let (created, updated, deleted) = deck.sync(&document);
    assert!(created > 0 && updated > 10 && deleted > 0);
    assert_in_sync(deck, &document);
    let state = deck.dump();
    let certificates = rows_of(&state, "certificates");
    let certificate = certificates.iter().find(|row| row["id"] == id(1));
    assert_eq!(
        certificate.expect("it keeps its id")["snis"],
        json!(["a.test", "new.test"])
    );

    deck.reset();
    assert!(
        counts(deck).iter().all(|(_, count)| *count == 0),
        "{:?}",
        counts(deck)
    );
    // And once more from nothing: no deleted row is in the way.
    deck.sync(&document);
    assert_in_sync(deck, &document);
}

/// Each default that the tables could have wrong shows as one difference: none of them is hidden by the comparison.
#[test]
fn a_single_changed_leaf_is_one_difference() {
    let pki = Pki::new();
    let document = everything(&pki);
    let (_gateway, deck) = synced(&document);
    for (section, path, value) in [
        ("1.5 services", "/services/0/retries", json!(6)),
        ("1.5 services", "/services/1/tls_verify", json!(false)),
        (
            "1.5 routes",
            "/services/0/routes/0/strip_path",
            json!(false),
        ),
        (
            "1.5 order",
            "/services/0/routes/0/methods",
            json!(["GET", "POST"]),
        ),
        ("1.5 targets", "/upstreams/0/targets/1/weight", json!(99)),
        (
            "1.5 health checks",
            "/upstreams/0/healthchecks/active/unhealthy",
            json!({"timeouts": 1}),
        ),
        (
            "1.5 plugins",
            "/plugins/0/config/latency_metrics",
            json!(true),
        ),
        ("1.5 plugins", "/plugins/1/config/allow", json!([])),
        ("1.5 protocols", "/plugins/0/protocols", json!(["http"])),
        ("1.4 certificates", "/certificates/0/tags", json!(["t1"])),
        ("1.4 snis", "/certificates/0/snis/1/tags", json!(["t1"])),
        (
            "1.4 ca_certificates",
            "/ca_certificates/1/tags",
            json!(["t1"]),
        ),
        ("1.4 consumers", "/consumers/0/custom_id", json!("c-2")),
        ("1.4 acls", "/consumers/0/acls/0/tags", json!(["t1"])),
        (
            "1.4 mtls-auth",
            "/consumers/0/mtls_auth_credentials/0/ca_certificate",
            Value::Null,
        ),
    ] {
        let mut other = document.clone();
        let (parent, name) = path.rsplit_once('/').expect("a path");
        other.pointer_mut(parent).expect("a row")[name] = value;
        let changes = deck.diff(&other);
        assert!(
            matches!(changes[..], [Change::Update(..)]),
            "{section} {path}: {changes:#?}"
        );
    }
    // The order of what is a set to decK is none.
    let mut reordered = document.clone();
    reordered["services"][1]["ca_certificates"] = json!([id(11), id(12)]);
    reordered["services"][1]["tags"] = json!(["t2", "t1"]);
    assert_in_sync(deck, &reordered);
}

#[test]
fn a_dump_by_pages_of_one_is_the_same() {
    let (_gateway, deck) = synced(&everything(&Pki::new()));
    let whole = deck.dump();
    for page in [1, 2, 3] {
        let by_pages = Deck { page, ..deck }.dump();
        assert_eq!(by_pages, whole, "pages of {page}");
    }
}

/// §1.3 and §6 point 21: commas mean all of them, and targets and credentials are filtered too.
#[test]
fn a_dump_by_tags_has_the_rows_with_all_of_them() {
    let (_gateway, deck) = synced(&everything(&Pki::new()));
    let whole = deck.dump();
    for (query, tags) in [
        ("t1", vec!["t1"]),
        ("t1,t2", vec!["t1", "t2"]),
        ("%C3%A9quipe%20une", vec!["équipe une"]),
        ("%C3%A9quipe+une,a", vec!["équipe une", "a"]),
        ("nobody", vec!["nobody"]),
    ] {
        let filtered = Deck {
            tags: Some(query),
            ..deck
        }
        .dump();
        for (kind, listed) in filtered {
            let has_all = |row: &&Value| {
                let own = row["tags"].as_array().cloned().unwrap_or_default();
                tags.iter().all(|tag| own.contains(&json!(tag)))
            };
            let shown: Vec<&Value> = match kind {
                "mtls_auth_credentials" => whole[kind].iter().collect(),
                // Those of upstreams that the filter leaves out are not asked for.
                "targets" if query != "t1" => Vec::new(),
                _ => whole[kind].iter().filter(has_all).collect(),
            };
            assert_eq!(listed.iter().collect::<Vec<_>>(), shown, "{query}: {kind}");
        }
    }
    let credentials = gateway_credentials(deck);
    assert_eq!(credentials, [id(21)]);
}

fn gateway_credentials(deck: Deck) -> Vec<String> {
    let mut admin = crate::support::Admin::of(deck.address);
    let page = admin.get("/mtls-auths?tags=t1").assert(200);
    let rows = page["data"].as_array().expect("an array");
    rows.iter().map(|row| text(row, "id").to_owned()).collect()
}

/// §1.7 `deck gateway validate`: every row of the file, with its id and references.
#[test]
fn every_row_of_the_file_is_valid_by_itself() {
    let pki = Pki::new();
    let (_gateway, deck) = synced(&everything(&pki));
    let mut admin = crate::support::Admin::of(deck.address);
    for (kind, rows) in rows(&everything(&pki), &deck.dump()) {
        // Not validated online.
        if kind == "mtls_auth_credentials" {
            continue;
        }
        for mut row in rows {
            for (parent, name) in [("service", "plain"), ("consumer", "alice")] {
                if row[parent]["id"].is_string() {
                    row[parent][if parent == "service" {
                        "name"
                    } else {
                        "username"
                    }] = json!(name);
                }
            }
            let answer = admin.post(&format!("/schemas/{kind}/validate"), &row);
            let key = natural_key(kind, &row);
            assert_eq!(answer.status(), 200, "{kind} {key:?}: {}", answer.text());
            assert_eq!(
                answer.body(),
                json!({"message": "schema validation successful"})
            );
            row["unknown"] = json!(1);
            let answer = admin.post(&format!("/schemas/{kind}/validate"), &row);
            let text = "schema violation (unknown: unknown field)";
            assert_eq!(answer.assert(400)["message"], text, "{kind}");
        }
    }
    for kind in ["keyauth_credentials", "vaults", "filter_chains", "partials"] {
        let answer = admin.post(&format!("/schemas/{kind}/validate"), &json!({}));
        answer.assert(404);
    }
}

/// §1.4 step 3: a file that names the workspace puts it in front of every path.
#[test]
fn the_only_workspace_is_found_and_no_other_can_be_made() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let workspace = admin.get("/default/workspaces/default").assert(200);
    assert_eq!(workspace["name"], "default");
    admin.get("/default/services?size=1000").assert(200);
    admin.get("/other/workspaces/other").assert(404);
    let refused = admin.post("/workspaces", &json!({"name": "other"}));
    assert!(matches!(refused.status(), 404 | 405), "{}", refused.text());
}
