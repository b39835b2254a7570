//! A reload of a gateway with a store: settings and the files they name are read again, entities stay as they are.

use crate::support::{Admin, Client, Gateway, Leaf, Setup, TlsClient, json, until};

fn shown(gateway: &Gateway) -> Vec<u8> {
    TlsClient::new()
        .connect(gateway.https(), "any.test")
        .server_chain()[0]
        .to_vec()
}

#[test]
fn a_reload_reads_settings_and_certificates_and_leaves_entities_alone() {
    let pairs: Vec<_> = (0..2)
        .map(|_| {
            Leaf::new("default.test")
                .dns(&["default.test"])
                .self_signed()
        })
        .collect();
    let mut gateway = Setup::admin().default_pair(&pairs[0]).start();
    let mut admin = gateway.admin();
    let config = json!({"status_code": 200, "body": "b", "content_type": "text/plain"});
    let says = json!({"name": "request-termination", "config": config});
    admin.have("/routes", &json!({"name": "r", "paths": ["/r"]}));
    admin.have("/routes/r/plugins", &says);
    let rows = admin.rows("/routes");
    let mut open = Client::plain(gateway.http());
    open.get("a", "/r").assert_status(200);
    assert_eq!(shown(&gateway), pairs[0].chain[0].to_vec());

    gateway.write("default.crt", &pairs[1].cert_pem);
    gateway.write("default.key", &pairs[1].key_pem);
    gateway.set("nginx_http_large_client_header_buffers", "4 1k");
    gateway.set("nginx_admin_client_max_body_size", "1k");
    gateway.set("database", "off");
    gateway.set("plugins", "request-termination, acl");
    gateway.reload_as_is();

    assert_eq!(shown(&gateway), pairs[1].chain[0].to_vec());
    let long = format!("/r{}", "x".repeat(2000));
    assert_eq!(gateway.get("a", &long).status, 414);
    for directive in ["database", "nginx_admin_client_max_body_size"] {
        gateway.error_line(&["[warn]", directive, "takes effect after a restart"]);
    }
    let log = gateway.error_log();
    assert!(
        !log.contains("nginx_http_large_client_header_buffers differs"),
        "{log}"
    );

    open.get("a", "/r").assert_status(200);
    assert_eq!(admin.rows("/routes"), rows);
    assert_eq!(
        admin.get("/plugins/enabled").body()["enabled_plugins"],
        json!(["acl", "request-termination"])
    );
    let other = json!({"name": "prometheus"});
    admin.post("/plugins", &other).assert(400);
    // What is shown is in force.
    let root = admin.get("/").assert(200);
    let directives = &root["configuration"];
    assert_eq!(
        directives["nginx_http_large_client_header_buffers"], "4 1k",
        "{directives}"
    );
    assert_eq!(
        directives["nginx_admin_client_max_body_size"], "10m",
        "{directives}"
    );
    // And what is written after it is live as before, over the settings that are new.
    admin
        .patch("/routes/r", &json!({"paths": ["/s"]}))
        .assert(200);
    open.get("a", "/s").assert_status(200);
    assert_eq!(open.get("a", "/r").status, 404);
    assert_eq!(shown(&gateway), pairs[1].chain[0].to_vec());
}

#[test]
fn a_refused_reload_changes_neither_settings_nor_entities() {
    let pair = Leaf::new("default.test")
        .dns(&["default.test"])
        .self_signed();
    let mut gateway = Setup::admin().default_pair(&pair).start();
    let mut admin = gateway.admin();
    admin.have("/consumers", &json!({"username": "alice"}));
    gateway.write("default.crt", "no certificate");
    gateway.set("nginx_http_keepalive_timeout", "soon");
    gateway.reload_refused("not read with a store");
    gateway.error_line(&["reload refused", "nginx_http_keepalive_timeout"]);
    gateway.error_line(&["reload refused", "ssl_cert"]);
    assert_eq!(shown(&gateway), pair.chain[0].to_vec());
    assert_eq!(admin.rows("/consumers").len(), 1);
    admin.have("/consumers", &json!({"username": "bob"}));
}

/// Certificates are renewed by such reloads: one must not leave a gateway that is configured over HTTP with nothing.
#[test]
fn a_reload_without_a_declarative_file_keeps_what_was_posted() {
    let mut gateway = Setup::new(json!({}))
        .set("declarative_config", "")
        .with_admin()
        .prepare()
        .spawn();
    // One with nothing to serve is not ready.
    until("the Admin API", || {
        Client::try_plain(gateway.admin_address()).ok()
    });
    gateway.reload_as_is();
    gateway.error_line(&["no declarative_config is set: every request gets 404"]);
    let says = |path: &str| {
        let config = json!({"status_code": 200, "body": path, "content_type": "text/plain"});
        let plugin = json!({"name": "request-termination", "config": config});
        json!({"_format_version": "3.0", "routes": [{"paths": [path], "plugins": [plugin]}]})
    };
    let mut admin = gateway.admin();
    admin.post("/config", &says("/posted")).assert(201);
    let hash = |admin: &mut Admin| admin.get("/status").assert(200)["configuration_hash"].clone();
    let posted = hash(&mut admin);
    let mut open = Client::plain(gateway.http());
    for _ in 0..2 {
        gateway.set("nginx_http_large_client_header_buffers", "4 1k");
        gateway.reload_as_is();
        open.get("a", "/posted").assert_status(200);
        assert_eq!(hash(&mut admin), posted);
    }
    let long = format!("/posted{}", "x".repeat(2000));
    assert_eq!(gateway.get("a", &long).status, 414, "settings are new");
    gateway.error_line(&["no declarative_config is set", "serves on until a restart"]);
    // A file that is named again takes its place.
    let path = gateway.files().folder().join("named.yml");
    gateway.write("named.yml", &says("/named").to_string());
    gateway.set("declarative_config", &path.display().to_string());
    gateway.reload_as_is();
    assert_eq!(open.get("a", "/posted").status, 404);
    open.get("a", "/named").assert_status(200);
    gateway.error_line(&["has taken the place of what POST /config brought"]);
}
