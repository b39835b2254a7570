//! A store that holds what cannot be served: nothing is served without it, and there is a way out.

use crate::support::gateway::Prepared;
use crate::support::{Ca, Client, Gateway, Setup, TlsClient, json};
use sallyport::entity::{Entity, Kind};
use sallyport::store::{Batch, Change, Store, embedded, wait};
use std::process::Output;
use std::sync::Arc;
use uuid::Uuid;

const ROUTE: &str = "11111111-1111-4111-8111-111111111111";
const PLUGIN: &str = "22222222-2222-4222-8222-222222222222";

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", text_of(output));
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let text = text_of(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A gateway that has stopped, whose store holds a route and what answers on it.
fn stopped() -> Gateway {
    let mut gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let route = json!({"name": "r", "paths": ["/"]});
    admin.put(&format!("/routes/{ROUTE}"), &route).assert(200);
    let says = json!({"name": "request-termination", "route": {"id": ROUTE}, "config": {"status_code": 418}});
    admin.put(&format!("/plugins/{PLUGIN}"), &says).assert(200);
    gateway.get("a", "/").assert_status(418);
    gateway.signal(libc::SIGTERM);
    assert!(gateway.exit().success());
    gateway
}

/// Rewrites a row below all checks, as an earlier version with fewer of them may have.
fn rewrite(files: &Prepared, kind: Kind, id: &str, change: impl FnOnce(&mut Entity)) {
    let path = files.folder().join("prefix/store.redb");
    let (store, loaded) = embedded::open(&path).expect("the store");
    let id: Uuid = id.parse().expect("an id");
    let row = loaded.image.get(kind, id).expect("the row");
    let mut row = row.as_ref().clone();
    change(&mut row);
    let batch = Batch {
        expected: Vec::new(),
        writes: vec![Change {
            kind,
            id,
            row: Some(Arc::new(row)),
        }],
    };
    wait(store.commit(batch), None)
        .expect("it ends")
        .expect("a commit");
    assert!(store.close());
}

fn spoil(files: &Prepared) {
    rewrite(files, Kind::Plugins, PLUGIN, |row| {
        row["config"]["status_code"] = json!("teapot");
    });
}

#[test]
fn a_row_that_cannot_be_served_refuses_the_start_by_name_and_is_mended_in_a_file() {
    let mut gateway = stopped();
    let files = gateway.files();
    spoil(files);
    let row = format!("plugins {PLUGIN}: request-termination: config.status_code: ");
    let told = ["store.redb", &row, "db_export", "db_import"];
    refused(&files.run("start", &[]), &told);
    refused(&files.run("check", &[]), &told);
    // It is neither left out nor in the way of its export.
    succeeds(&files.config(&["db_export", "out.yml"]));
    let exported = gateway.read("out.yml");
    assert_eq!(
        exported.matches("status_code: teapot").count(),
        1,
        "{exported}"
    );
    refused(
        &files.config(&["db_import", "out.yml"]),
        &["out.yml", "config.status_code"],
    );
    gateway.write("out.yml", &exported.replace("teapot", "451"));
    succeeds(&gateway.files().config(&["db_import", "out.yml"]));
    gateway.start_again();
    gateway.get("a", "/").assert_status(451);
}

#[test]
fn a_row_that_cannot_be_served_is_left_out_with_a_new_store() {
    let mut gateway = stopped();
    let files = gateway.files();
    spoil(files);
    let other = "_format_version: \"3.0\"\nconsumers:\n- username: other\n";
    gateway.write("other.yml", other);
    refused(
        &files.config(&["db_import", "other.yml"]),
        &[PLUGIN, "config.status_code", "move"],
    );
    succeeds(&files.config(&["db_export", "out.yml"]));
    let exported = gateway.read("out.yml");
    let (kept, _) = exported.split_once("plugins:").expect("the plugin");
    gateway.write("out.yml", kept);
    let store = files.folder().join("prefix/store.redb");
    std::fs::rename(&store, store.with_extension("old")).expect("it is moved away");
    succeeds(&files.config(&["db_import", "out.yml"]));
    gateway.start_again();
    gateway.get("a", "/").assert_status(503);
    let mut admin = gateway.admin();
    admin.get(&format!("/routes/{ROUTE}")).assert(200);
    assert!(admin.rows("/plugins").is_empty());
}

/// A pair that cannot be read, as the references that were stored once and are refused now, puts out of service what needs
/// it, alone.
#[test]
fn a_pair_that_cannot_be_read_is_no_refusal_to_start() {
    let mut gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    let shown = Ca::root("Root").server(&["v.test"]);
    let pair = json!({"cert": shown.cert_pem, "key": shown.key_pem, "snis": ["v.test"]});
    let certificate = admin.have("/certificates", &pair);
    let service = json!({"name": "s", "url": "https://127.0.0.1:9", "client_certificate": {"id": certificate["id"]}});
    admin.have("/services", &service);
    admin.have("/services/s/routes", &json!({"paths": ["/s"]}));
    admin.have("/routes", &json!({"name": "r", "paths": ["/r"]}));
    let says = json!({"name": "request-termination", "config": {"status_code": 418}});
    admin.have("/routes/r/plugins", &says);
    let reference =
        json!({"cert": "{vault://env/no-such-cert}", "key": "{vault://env/no-such-key}"});
    admin.put("/certificates/v.test", &reference).assert(400);
    let tls = TlsClient::new();
    assert!(tls.try_connect(gateway.https(), "v.test").is_ok());
    gateway.signal(libc::SIGTERM);
    assert!(gateway.exit().success());
    let id = certificate["id"].as_str().expect("an id");
    rewrite(gateway.files(), Kind::Certificates, id, |row| {
        row.extend(reference.as_object().cloned().unwrap_or_default());
    });
    gateway.start_again();
    gateway.error_line(&["[warn]", "v.test", "aborted"]);
    assert!(tls.try_connect(gateway.https(), "v.test").is_err());
    tls.get(gateway.https(), "other.test", "/r")
        .assert_status(418);
    let mut client = Client::plain(gateway.http());
    client.get("a", "/s").assert_status(502);
}
