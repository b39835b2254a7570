//! KONG.md §7.4: `config parse`, `db_import`, `db_export`, and `check` of a store, with the real process.

use crate::support::gateway::Prepared;
use crate::support::{Ca, Client, Gateway, Leaf, Setup, Upstream, Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// A prefix with a store that is not there yet.
fn embedded() -> Setup {
    Setup::new(json!({}))
        .set("database", "embedded")
        .set("declarative_config", "")
}

fn write(files: &Prepared, name: &str, text: &str) {
    std::fs::write(files.folder().join(name), text).expect("a file");
}

fn read(files: &Prepared, name: &str) -> String {
    std::fs::read_to_string(files.folder().join(name)).expect("the file")
}

fn store_of(files: &Prepared) -> std::path::PathBuf {
    files.folder().join("prefix/store.redb")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(output: &Output, on_out: &str) {
    let told = format!("{}{}", out(output), err(output));
    assert!(output.status.success(), "{told}");
    assert_eq!(out(output), on_out, "{told}");
}

/// Ends with 1 and says all of `parts`.
#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let told = err(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in parts {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[track_caller]
fn imported(files: &Prepared, name: &str) {
    succeeds(
        &files.config(&["db_import", name]),
        "parse successful, beginning import\nimport successful\n",
    );
}

#[track_caller]
fn exported(files: &Prepared) -> String {
    let output = files.config(&["db_export", "-"]);
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}

/// A gateway on a store with one consumer in it, and the export of that.
fn running(files: Prepared) -> (String, Gateway) {
    write(
        &files,
        "in.yml",
        "_format_version: \"3.0\"\nconsumers:\n- username: a\n",
    );
    imported(&files, "in.yml");
    let before = exported(&files);
    let gateway = files.spawn();
    gateway.wait_ready();
    (before, gateway)
}

/// Every kind, with what is lost easily.
fn everything(upstream: &Upstream) -> String {
    let ca = Ca::root("ca.test");
    let pair = Leaf::new("pem.test").dns(&["pem.test"]).self_signed();
    let cert = format!("{}\n\n", pair.cert_pem.trim_end()).replace('\n', "\r\n");
    json!({
        "_format_version": "3.0",
        "certificates": [
            {"cert": cert, "key": pair.key_pem.trim_end(), "tags": ["ü", "on"], "created_at": 5, "updated_at": 7,
             "snis": [{"name": "pem.test"}]},
        ],
        "ca_certificates": [{"id": ID, "cert": ca.pem}],
        "services": [{"name": "s", "host": "127.0.0.1", "port": upstream.port(), "retries": null, "tags": [], "routes": [
            {"name": "r", "paths": ["/x"], "headers": {"X-A": ["1.0", "no"]}, "path_handling": null},
        ]}],
        "consumers": [{"username": " yes ", "custom_id": "1e5", "acls": [{"group": "a: b #c"}],
            "mtls_auth_credentials": [{"subject_name": "日本\n", "ca_certificate": {"id": ID}}]}],
        "upstreams": [{"name": "pool", "targets": [{"target": "10.0.0.1:80", "created_at": 1_700_000_000.123_456_7}]}],
        "plugins": [{"name": "request-termination", "route": "r", "config": {"status_code": 418, "trigger": "stop", "message": "~"}}],
    })
    .to_string()
}

#[test]
fn what_is_exported_and_imported_elsewhere_is_exported_as_the_same_bytes_and_served() {
    let upstream = Upstream::echo();
    let (one, two) = (embedded().prepare(), embedded().prepare());
    write(&one, "in.json", &everything(&upstream));
    imported(&one, "in.json");
    // The support code's own.
    std::fs::remove_file(one.folder().join("kong.yml")).expect("kong.yml");
    succeeds(
        &one.config(&["db_export"]),
        "11 rows exported to kong.yml\n",
    );
    let text = read(&one, "kong.yml");
    let facts = std::fs::metadata(one.folder().join("kong.yml")).expect("the file");
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    for line in [
        "_format_version: \"3.0\"\n",
        "  created_at: 5\n  updated_at: 7\n",
        "  retries: null\n",
        "  tags: []\n",
        "  created_at: 1700000000.1234567\n",
        "  ca_certificate: 00000000-0000-4000-8000-000000000001\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    write(&two, "from_one.yml", &text);
    imported(&two, "from_one.yml");
    assert_eq!(exported(&two), text);
    // Once more changes nothing.
    imported(&two, "from_one.yml");
    assert_eq!(exported(&two), text);

    let gateway = two.spawn();
    gateway.wait_ready();
    let ask = |target: &str| {
        // What the route's `headers` want.
        Client::plain(gateway.http()).get_with("a", target, "X-A: no\r\n")
    };
    assert_eq!(ask("/x?stop").status, 418);
    assert!(ask("/x/y").assert_status(200).text().starts_with("GET /y "));
}

/// KONG.md §1.10: a route may leave the protocols of its plugin, and what is stored then can be moved.
#[test]
fn a_plugin_whose_route_has_changed_is_exported_and_imported() {
    let mut gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    admin.have(
        "/routes",
        &json!({"name": "r", "paths": ["/"], "protocols": ["https"]}),
    );
    let plugin = json!({"name": "prometheus", "protocols": ["https"]});
    admin.have("/routes/r/plugins", &plugin);
    admin
        .patch("/routes/r", &json!({"protocols": ["http"]}))
        .assert(200);
    gateway.signal(libc::SIGTERM);
    gateway.exit();
    let text = exported(gateway.files());
    let elsewhere = embedded().prepare();
    write(&elsewhere, "kong.yml", &text);
    let output = elsewhere.config(&["db_import", "kong.yml"]);
    assert!(output.status.success(), "{}", err(&output));
    let told = err(&output);
    assert!(
        told.contains("must match the associated route's protocols"),
        "{told}"
    );
    assert_eq!(exported(&elsewhere), text);
    // Over itself, too.
    assert!(
        elsewhere
            .config(&["db_import", "kong.yml"])
            .status
            .success()
    );
}

#[test]
fn a_running_gateway_keeps_its_store_to_itself() {
    let (before, mut gateway) = running(embedded().prepare());
    let files = gateway.files();
    let pid = format!("pid {}", gateway.pid());
    for arguments in [&["db_import", "in.yml"][..], &["db_export", "-"]] {
        let output = files.config(arguments);
        refused(&output, &["database", &pid, "Admin API", "sallyport stop"]);
        assert_eq!(out(&output), "", "{arguments:?}");
    }
    let output = files.run("check", &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(
        out(&output).contains(&format!("in use by the gateway with {pid}")),
        "{}",
        out(&output)
    );

    gateway.signal(libc::SIGTERM);
    gateway.exit();
    assert_eq!(exported(gateway.files()), before);
}

#[test]
fn a_store_whose_gateway_was_killed_is_whole() {
    let (before, mut gateway) = running(embedded().prepare());
    gateway.signal(libc::SIGKILL);
    gateway.exit();
    let output = gateway.files().run("check", &[]);
    assert!(
        output.status.success() && out(&output).contains("ended by force"),
        "{}{}",
        out(&output),
        err(&output)
    );
    assert_eq!(exported(gateway.files()), before);
}

#[test]
fn without_a_store_both_verbs_say_why() {
    let off = embedded().set("database", "off").prepare();
    write(&off, "in.yml", "_format_version: \"3.0\"\n");
    for arguments in [&["db_import", "in.yml"][..], &["db_export", "-"]] {
        refused(
            &off.config(arguments),
            &["database", "`off`", "database = embedded"],
        );
    }
    let files = embedded().prepare();
    refused(
        &files.config(&["db_export", "-"]),
        &["store.redb", "no store yet"],
    );
    refused(
        &files.config(&["db_import", "none.yml"]),
        &["error: none.yml: "],
    );
    assert!(!store_of(&files).exists());
}

#[test]
fn an_invalid_file_is_told_whole_and_makes_no_store() {
    let files = embedded().prepare();
    let bad = "_format_version: \"3.0\"\nservices:\n- name: s\n- name: t\n  host: a\n  port: x\n";
    write(&files, "bad.yml", bad);
    let lines = [
        "error: Failed parsing:\n",
        "error: bad.yml: services[1] (name s).host: required field missing\n",
        "error: bad.yml: services[2] (name t).port: expected an integer\n",
    ];
    for verb in ["parse", "db_import"] {
        let output = files.config(&[verb, "bad.yml"]);
        refused(&output, &lines);
        assert_eq!(out(&output), "", "{verb}");
    }
    assert!(!store_of(&files).exists());
}

#[test]
fn a_conflict_names_entity_and_field_and_leaves_the_store_as_it_was() {
    let files = embedded().prepare();
    let consumer = |number: u8, name: &str| json!({"id": ID.replace('1', &number.to_string()), "username": name});
    let document =
        |consumers: Value| json!({"_format_version": "3.0", "consumers": consumers}).to_string();
    write(
        &files,
        "in.json",
        &document(json!([consumer(1, "a"), consumer(2, "b")])),
    );
    imported(&files, "in.json");
    let before = exported(&files);

    write(
        &files,
        "conflict.json",
        &document(json!([consumer(3, "fine"), consumer(4, "b")])),
    );
    let output = files.config(&["db_import", "conflict.json"]);
    let four = ID.replace('1', "4");
    let two = ID.replace('1', "2");
    let line = format!(
        "error: consumers (username b, id {four}): username \"b\" is taken by the stored row {two}\n"
    );
    refused(&output, &[&line, "nothing has been imported"]);
    assert_eq!(out(&output), "parse successful, beginning import\n");
    assert_eq!(exported(&files), before);

    // A name that another row gives up in the same file is free, whichever comes first.
    write(
        &files,
        "moved.json",
        &document(json!([consumer(1, "b"), consumer(2, "c")])),
    );
    imported(&files, "moved.json");
    let after = exported(&files);
    assert!(
        after.contains("username: b\n") && after.contains("username: c\n"),
        "{after}"
    );
    assert!(!after.contains("username: a\n"), "{after}");
}

#[test]
fn an_export_replaces_a_file_only_by_force() {
    let files = embedded().prepare();
    write(&files, "in.yml", "_format_version: \"3.0\"\n");
    imported(&files, "in.yml");
    write(&files, "kong.yml", "mine");
    refused(
        &files.config(&["db_export"]),
        &["kong.yml: the file exists", "--force"],
    );
    assert_eq!(read(&files, "kong.yml"), "mine");
    succeeds(
        &files.config(&["db_export", "--force"]),
        "0 rows exported to kong.yml\n",
    );
    assert_eq!(
        read(&files, "kong.yml"),
        "_format_version: \"3.0\"\n_transform: false\n"
    );
}

#[test]
fn check_looks_into_a_store_and_makes_none() {
    let files = embedded().prepare();
    let line = |output: &Output| {
        assert!(
            output.status.success() && err(output).is_empty(),
            "{}",
            err(output)
        );
        let text = out(output);
        let line = text.lines().find(|line| line.starts_with("store "));
        line.unwrap_or_else(|| panic!("a line of the store in {text}"))
            .to_owned()
    };
    let told = line(&files.run("check", &[]));
    assert!(told.ends_with(": none yet; a start makes it"), "{told}");
    assert!(!store_of(&files).exists());

    write(
        &files,
        "in.yml",
        "_format_version: \"3.0\"\nconsumers:\n- username: a\n- username: b\n",
    );
    imported(&files, "in.yml");
    let bytes = |path: &Path| std::fs::read(path).expect("the store");
    let before = bytes(&store_of(&files));
    let told = line(&files.run("check", &[]));
    assert!(told.ends_with(": format 1, revision 1, 2 rows"), "{told}");
    assert!(
        bytes(&store_of(&files)) == before,
        "check has written to the store"
    );

    // Damaged: told, and left as it is.
    std::fs::write(store_of(&files), "nothing of ours").expect("a file");
    refused(&files.run("check", &[]), &["database: ", "store.redb"]);
    assert_eq!(bytes(&store_of(&files)), b"nothing of ours");
}
