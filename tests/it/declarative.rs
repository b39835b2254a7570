//! KONG.md §7.1, the declarative file as a gateway serves it: forms, references, secrets, what is kept and not served.

use crate::support::client::{TlsClient, get};
use crate::support::entities::{certificate, service, url};
use crate::support::upstream::common_name;
use crate::support::{Ca, Client, Leaf, Setup, Upstream, Value, json};

/// As a block scalar of YAML.
fn block(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

#[test]
fn nested_and_flat_yaml_and_json_file_and_string_serve_the_same() {
    let upstream = Upstream::echo();
    let pair = Leaf::new("pem.test").dns(&["pem.test"]).self_signed();
    let (cert, key) = (block(&pair.cert_pem), block(&pair.key_pem));
    let url = url(&upstream);
    let service_id = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";
    let certificates = json!([{"cert": pair.cert_pem, "key": pair.key_pem, "snis": ["pem.test"]}]);
    let nested_yaml = format!(
        "_format_version: \"3.0\"\n_transform: true\n_comment: not looked at\n_ignore: [1]\n\
         services:\n- name: s\n  url: {url}\n  routes:\n  - name: r\n    paths: [/x]\n    plugins:\n\
         \x20   - {{name: request-termination, config: {{status_code: 418, trigger: stop}}}}\n\
         certificates:\n- cert: |\n{cert}  key: |\n{key}  snis: [{{name: pem.test}}]\n"
    );
    let flat = |reference: Value| {
        json!({
            "_format_version": "3.0", "_transform": false,
            "plugins": [{"name": "request-termination", "route": {"name": "r"}, "config": {"status_code": 418, "trigger": "stop"}}],
            "routes": [{"name": "r", "paths": ["/x"], "service": reference}],
            "services": [{"name": "s", "id": service_id, "url": url}],
            "certificates": certificates,
        })
        .to_string()
    };
    let old_format = flat(json!("s")).replace("\"3.0\"", "\"1.1\"");
    let documents = [
        ("nested YAML", nested_yaml.clone()),
        ("flat JSON, reference by name", flat(json!("s"))),
        (
            "flat JSON, reference by id",
            flat(json!({"id": service_id})),
        ),
        ("format 1.1", old_format),
    ];
    let check = |row: &str, gateway: &crate::support::Gateway| {
        let response = gateway.get("a", "/x/y");
        assert!(
            response.assert_status(200).text().starts_with("GET /y "),
            "{row}"
        );
        assert_eq!(gateway.get("a", "/x?stop").status, 418, "{row}");
        let shown = TlsClient::new()
            .connect(gateway.https(), "pem.test")
            .server_chain();
        assert_eq!(common_name(&shown[0]), "pem.test", "{row}");
    };
    let gateway =
        Setup::new(json!({"services": [service("before", &upstream, json!({"paths": ["/"]}))]}))
            .start();
    for (row, text) in documents {
        gateway.files().write_declarative_text(&text);
        gateway.reload_as_is();
        check(row, &gateway);
    }
    // As a directive of the file, and from the environment over several lines.
    let by_file = Setup::new(json!({}))
        .set("declarative_config", "")
        .set("declarative_config_string", flat(json!("s")))
        .start();
    check("string in the settings file", &by_file);
    let by_env = Setup::new(json!({}))
        .set("declarative_config", "")
        .env("KONG_DECLARATIVE_CONFIG_STRING", &nested_yaml)
        .start();
    check("string in the environment", &by_env);
    let effective = by_env.read("prefix/.sallyport_env");
    assert!(!effective.contains("PRIVATE KEY"), "{effective}");
}

#[test]
fn regexes_of_old_formats_are_marked_and_served() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({"routes": [{"name": "r", "paths": ["/"]}]})).start();
    for (version, answered) in [("2.1", true), ("3.0", false)] {
        let route = json!({"name": "r", "paths": ["/n/\\d+$"], "strip_path": false});
        let document =
            json!({"_format_version": version, "services": [service("s", &upstream, route)]});
        if answered {
            gateway
                .files()
                .write_declarative_text(&document.to_string());
            gateway.reload_as_is();
            gateway.get("a", "/n/12").assert_status(200);
            assert_eq!(gateway.get("a", "/n/x").status, 404);
        } else {
            // Here it would be a prefix, which holds no such characters.
            gateway.reload_refused(&document.to_string());
            gateway.error_line(&["reload refused", "(name s).paths.1: invalid path"]);
        }
    }
}

#[test]
fn pem_comes_from_the_environment_and_from_files_beside_the_declarative_file() {
    let ca = Ca::root("ca");
    let (env, file) = (ca.server(&["env.test"]), ca.server(&["file.test"]));
    let document = json!({"certificates": [
        {"cert": "{vault://env/edge-cert}", "key": "{vault://env/edge/key}", "snis": ["env.test"]},
        {"cert": {"file": "file.crt"}, "key": "{file: file.key}", "snis": ["file.test"]},
    ], "ca_certificates": [{"cert": {"file": "ca.crt"}}]});
    let setup = |key: &str| {
        Setup::new(document.clone())
            .env("EDGE_CERT", &env.cert_pem)
            .env("EDGE", &json!({ "key": key }).to_string())
            .file("file.crt", &file.cert_pem)
            .file("file.key", &file.key_pem)
            .file("ca.crt", &ca.pem)
    };
    let gateway = setup(&env.key_pem).start();
    for name in ["env.test", "file.test"] {
        let shown = TlsClient::new()
            .connect(gateway.https(), name)
            .server_chain();
        assert_eq!(common_name(&shown[0]), name);
    }
    // A file is read again by a reload.
    let renewed = ca.server(&["file.test", "renewed.test"]);
    gateway.write("file.crt", &renewed.cert_pem);
    gateway.write("file.key", &renewed.key_pem);
    gateway.reload_as_is();
    let shown = TlsClient::new()
        .connect(gateway.https(), "file.test")
        .server_chain();
    assert_eq!(shown[0], renewed.chain[0]);
    // Another's key is refused where it stands, and is not told.
    let output = setup(&file.key_pem).prepare().run("check", &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        told.contains("certificates[1]") && told.contains("certificate does not match key"),
        "{told}"
    );
    let line = file.key_pem.lines().nth(1).expect("base64");
    assert!(!told.contains(line), "{told}");
}

#[test]
fn what_is_not_served_yet_is_kept_and_answers_as_told() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("web", &upstream, json!({"paths": ["/web"]})),
            {"name": "stream", "protocol": "tls", "host": "127.0.0.1", "port": 1, "routes": [{"name": "to-stream", "paths": ["/stream"]}]},
        ],
        "routes": [
            {"name": "rpc", "protocols": ["grpc", "grpcs"], "paths": ["/web/rpc"]},
            {"name": "tcp", "protocols": ["tcp"], "destinations": [{"port": 9}]},
            {"name": "through", "protocols": ["tls_passthrough"], "snis": ["a.test"]},
        ],
        "upstreams": [{"name": "pool", "targets": [{"target": "10.0.0.1:8443"}]}],
        "plugins": [{"name": "prometheus"}],
    }))
    .start();
    // A route of another protocol matches nothing, though its path is the longer one.
    gateway.get("a", "/web/rpc").assert_status(200);
    assert_eq!(gateway.get("a", "/stream").status, 503);
    for name in [
        "(name rpc)",
        "(name tcp)",
        "(name through)",
        "(name stream)",
    ] {
        gateway.error_line(&[name, "kept but not yet served"]);
    }
    // Metrics are there with the plugin or without.
    assert!(gateway.metrics().sum("kong_http_requests_total") > 0);
    // Kept means checked: each is refused with its place where it is wrong.
    gateway.reload_refused(
        &json!({"_format_version": "3.0",
            "routes": [{"name": "tcp", "protocols": ["tcp"], "destinations": [{"port": 70_000}]}],
            "upstreams": [{"name": "10.0.0.1", "targets": [{"target": "a b"}]}]})
        .to_string(),
    );
    gateway.error_line(&["routes[1] (name tcp).destinations"]);
    gateway.error_line(&["upstreams[1] (name 10.0.0.1).name"]);
    gateway.get("a", "/web").assert_status(200);
}

#[test]
fn a_good_file_counts_on_every_core_for_the_next_request_of_each_connection() {
    let upstream = Upstream::echo();
    let one = |path: &str| {
        json!({
            "services": [service("s", &upstream, json!({"paths": [path]}))],
            "certificates": [certificate(1, &Leaf::new(path).self_signed(), &["a.test"])],
        })
    };
    let gateway = Setup::new(one("/0"))
        .workers(2)
        .set("accept_steering", "hash")
        .start();
    // Enough that both cores have some.
    let mut clients: Vec<Client> = (0..24).map(|_| Client::plain(gateway.http())).collect();
    for client in &mut clients {
        client.get("a", "/0").assert_status(200);
    }
    let metrics = gateway.metrics();
    let idle = metrics
        .0
        .lines()
        .filter(|line| line.starts_with("sallyport_core_requests_total{") && line.ends_with(" 0"));
    assert_eq!(idle.count(), 0, "one core has no connection: {}", metrics.0);
    for number in 1..4 {
        let (old, new) = (format!("/{}", number - 1), format!("/{number}"));
        gateway.reload(one(&new));
        for client in &mut clients {
            // The very first request after the reload, on the connection that was there before.
            let response = client.send(get("a", &new)).response();
            assert_eq!(response.status, 200, "{new}");
            assert_eq!(client.get("a", &old).status, 404, "{old}");
        }
        for _ in 0..8 {
            let shown = TlsClient::new()
                .connect(gateway.https(), "a.test")
                .server_chain();
            assert_eq!(common_name(&shown[0]), new);
        }
    }
}
