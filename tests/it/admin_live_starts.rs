//! Starts with a store or an Admin listener that must be refused: with a reason, and with nothing touched.

use crate::support::gateway::{Prepared, sallyport};
use crate::support::{Ca, Port, Setup, json};
use std::process::Output;

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Refused with exit code 1 and every one of `parts`.
#[track_caller]
fn assert_start_refused(prepared: &Prepared, parts: &[&str]) {
    let output = prepared.run("start", &[]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_public_listener_without_protection_is_not_opened() {
    let port = Port::free_on("0.0.0.0:0");
    let public = |flags: &str| format!("0.0.0.0:{} {flags}", port.number());
    let ca = Ca::root("ops");
    for (flags, with_ca, why) in [
        ("", false, "without `ssl`"),
        ("", true, "without `ssl`"),
        ("ssl", false, "without `admin_ssl_client_ca`"),
    ] {
        let mut setup = Setup::admin()
            .set("admin_listen", public(flags))
            .file("ops.pem", &ca.pem);
        if with_ca {
            setup = setup.set("admin_ssl_client_ca", "@ops.pem");
        }
        let prepared = setup.prepare();
        assert_start_refused(
            &prepared,
            &[
                "admin_listen",
                "is not loopback",
                why,
                "admin_listen_unprotected",
            ],
        );
        assert!(
            !prepared.folder().join("prefix/store.redb").exists(),
            "nothing was started"
        );
    }
    let guarded = Setup::admin()
        .set("admin_listen", public("ssl"))
        .file("ops.pem", &ca.pem)
        .set("admin_ssl_client_ca", "@ops.pem");
    drop(guarded.start());
    let told = Setup::admin()
        .set("admin_listen", public(""))
        .set("admin_listen_unprotected", "on")
        .start();
    told.error_line(&["admin_listen", "can read private keys"]);
}

/// KONG.md §2.8: an empty store is where a gateway begins; it is ready, healthy, and says that its store can be written.
#[test]
fn an_empty_store_is_ready_and_reachable() {
    let gateway = Setup::admin().start();
    let health = gateway.files().run("health", &[]);
    assert!(health.status.success(), "{}", text_of(&health));
    assert!(
        text_of(&health).contains("Sallyport is healthy at"),
        "{}",
        text_of(&health)
    );
    let status = gateway.admin().get("/status").assert(200);
    assert_eq!(status["database"]["reachable"], true, "{status}");
    assert_eq!(
        gateway.metrics().sum("kong_datastore_reachable"),
        1,
        "of the store"
    );
}

#[test]
fn a_store_that_another_process_uses() {
    let gateway = Setup::admin().start();
    gateway
        .admin()
        .have("/consumers", &json!({"username": "first"}));
    let prefix = gateway.files().folder().join("prefix");
    // The same prefix.
    let same = Setup::admin()
        .set("prefix", prefix.display().to_string())
        .prepare();
    assert_start_refused(&same, &["prefix"]);
    // Another prefix, whose store is the same file.
    let linked = Setup::admin().prepare();
    let other = linked.folder().join("prefix");
    std::fs::create_dir_all(&other).expect("a prefix");
    std::fs::hard_link(prefix.join("store.redb"), other.join("store.redb")).expect("a link");
    assert_start_refused(
        &linked,
        &[
            "database: ",
            "store.redb",
            "another process uses this store",
        ],
    );
    gateway
        .admin()
        .have("/consumers", &json!({"username": "second"}));
    assert_eq!(gateway.admin().rows("/consumers").len(), 2);
}

#[test]
fn a_store_file_that_is_damaged() {
    let mut gateway = Setup::admin().start();
    for number in 0..50 {
        gateway
            .admin()
            .have("/consumers", &json!({"username": format!("c-{number}")}));
    }
    gateway.signal(libc::SIGTERM);
    assert!(gateway.exit().success());
    let path = gateway.files().folder().join("prefix/store.redb");
    let good = std::fs::read(&path).expect("the store");
    let half = good.len() / 2;
    let mut scrambled = good.clone();
    for byte in scrambled.iter_mut().skip(4096) {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    for (damage, bytes) in [
        ("empty", Vec::new()),
        ("another file", b"_format_version: \"3.0\"\n".to_vec()),
        ("zeroes", vec![0; good.len()]),
        ("cut", good[..half].to_vec()),
        ("its head cut", good[512..].to_vec()),
        ("scrambled behind its head", scrambled),
    ] {
        std::fs::write(&path, &bytes).expect("the damage");
        let output = gateway.files().run("start", &[]);
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{damage}: {text}");
        assert!(
            text.contains("error: database: ") && text.contains("store.redb"),
            "{damage}: {text}"
        );
        assert!(!text.contains("panicked"), "{damage}: {text}");
        let now = std::fs::read(&path).expect("the store");
        assert!(now == bytes, "{damage}: the file was changed");
    }
    std::fs::write(&path, &good).expect("the good one");
    gateway.start_again();
    assert_eq!(gateway.admin().rows("/consumers").len(), 50);
}

#[test]
fn a_prefix_that_cannot_be_written() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let prepared = Setup::admin().prepare();
    let prefix = prepared.folder().join("prefix");
    for folder in ["pids", "logs", "ssl"] {
        std::fs::create_dir_all(prefix.join(folder)).expect("a folder");
    }
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&prefix, permissions).expect("permissions");
    };
    mode(0o555);
    // Root writes everywhere, unless it gives that up.
    let program = sallyport().get_program().to_owned();
    let mut command = sallyport();
    let is_root = prefix.metadata().expect("the prefix").uid() == 0;
    if is_root {
        command = std::process::Command::new("setpriv");
        command.args([
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-all",
        ]);
        command.arg(program);
    }
    command.arg("start").arg("-c").arg(prepared.conf_path());
    let output = command.output().expect("it runs");
    mode(0o755);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("Permission denied") && text.contains("prefix"),
        "{text}"
    );
    assert!(!prefix.join("store.redb").exists());
}

#[test]
fn a_database_of_kongs_is_refused_with_the_way_to_migrate() {
    for database in ["postgres", "cassandra"] {
        let prepared = Setup::admin().set("database", database).prepare();
        assert_start_refused(
            &prepared,
            &[
                "database",
                database,
                "deck gateway dump",
                "sallyport config db_import",
                "database = embedded",
            ],
        );
    }
}
