//! Odd spellings of path and Host: what one route protects is not reached through another, whatever the target makes of
//! the spelling. The target is a real nginx, which decodes `%2F` before it resolves dots, and drops a Host's last dot.

use crate::support::client::get;
use crate::support::entities::{ca_certificate, mtls_auth};
use crate::support::external::Nginx;
use crate::support::{Ca, Client, Gateway, Leaf, Setup, TlsClient, Value, json};
use std::net::SocketAddr;

const SECRET: &str = "secret";

/// The secret is its path /admin, and all of its host api.test.
fn target() -> Nginx {
    let pair = Leaf::new("up.test").dns(&["up.test"]).self_signed();
    Nginx::start(
        "ssl_certificate @up.crt; ssl_certificate_key @up.key;\n\
         if ($host = api.test) { return 200 secret; }\n\
         location / { return 200 open; } location /admin { return 200 secret; }",
        &[("up.crt", &pair.cert_pem), ("up.key", &pair.key_pem)],
    )
}

/// One service in front of `target` with a route that asks for a certificate, and one that does not and takes the rest.
fn gateway(target: &Nginx, protected: Value) -> Gateway {
    let route = |name: &str, mut route: Value, plugins: Value| {
        route["name"] = json!(name);
        route["plugins"] = plugins;
        route["preserve_host"] = json!(true);
        route["strip_path"] = json!(false);
        route
    };
    let skip = json!({"skip_consumer_lookup": true});
    Setup::new(json!({
        "services": [{
            "name": "s", "url": format!("https://127.0.0.1:{}", target.port()), "tls_verify": false,
            "routes": [
                route("protected", protected, json!([mtls_auth(&[1], skip)])),
                route("open", json!({"paths": ["/"]}), json!([])),
            ],
        }],
        "ca_certificates": [ca_certificate(1, &Ca::root("ca"))],
    }))
    .start()
}

/// What nginx itself answers, asked without the gateway.
fn asked_alone(target: &Nginx, host: &str, path: &str) -> String {
    let address = SocketAddr::from(([127, 0, 0, 1], target.port()));
    let mut client = TlsClient::new().connect(address, "up.test");
    let response = client.get(host, path);
    assert_eq!(response.status, 200, "{host} {path}");
    response.text().to_owned()
}

#[test]
fn a_dot_segment_that_only_the_target_sees_reaches_no_protected_path() {
    let target = target();
    let gateway = gateway(&target, json!({"paths": ["/admin"]}));
    assert_eq!(gateway.get("a", "/public").text(), "open");
    // (path, whether nginx is one of those who see it, status)
    let rows = [
        ("/public/..%2Fadmin", true, 400),
        ("/public/..%2fadmin", true, 400),
        ("/public/%2e%2e%2Fadmin", true, 400),
        ("/public%2F..%2Fadmin", true, 400),
        ("/public%2F../admin", false, 400),
        ("/.%2Fadmin", true, 400),
        ("/public/..%5Cadmin", false, 400),
        ("/public/..;/admin", false, 400),
        ("/.;x=1/admin", false, 400),
        ("/public/../admin", true, 401),
        ("/public/%2E./admin", true, 401),
        ("//admin", true, 401),
        ("/%61dmin", true, 401),
    ];
    let mut client = TlsClient::new().connect(gateway.https(), "a.test");
    for (path, seen_by_nginx, status) in rows {
        if seen_by_nginx {
            assert_eq!(asked_alone(&target, "a.test", path), SECRET, "{path}");
        }
        let response = client.get("a.test", path);
        assert_eq!(response.status, status, "{path}: {}", response.text());
    }
    let absolute = "GET http://a.test/public/..%2Fadmin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let response = Client::plain(gateway.http()).send(absolute).response();
    assert_eq!(response.status, 400, "{}", response.text());
}

#[test]
fn a_path_that_the_target_may_read_as_a_protected_one_is_refused() {
    let target = target();
    let gateway = gateway(&target, json!({"paths": ["/admin", "/api/v1/secret"]}));
    let mut client = TlsClient::new().connect(gateway.https(), "a.test");
    assert_eq!(asked_alone(&target, "a.test", "/%2Fadmin"), SECRET);
    // (path, status)
    let rows = [
        ("/%2Fadmin", 400),
        ("/%5cadmin/x", 400),
        ("/;/admin", 400),
        ("/;x%2Fy/admin", 400),
        ("/api%2Fv1%2fsecret", 400),
        ("/api/v1;v=2/secret;x", 400),
        ("/api/v1;v=%2F/secret", 400),
        ("/api;a%2Fv1/secret", 400),
        ("/admin;x/y", 401),
        ("/admin%2Fy", 401),
        ("/public/admin", 200),
        ("/api%2Fv1", 200),
        ("/api%2Fv2%2Fsecret", 200),
        ("/to/http%3A%2F%2Fa.test%2Fadmin", 200),
        ("/a;b=/c;..%2F;/...%2F;c", 200),
    ];
    for (path, status) in rows {
        let response = client.get("a.test", path);
        assert_eq!(response.status, status, "{path}: {}", response.text());
        if status == 200 {
            assert_eq!(response.text(), "open", "{path}");
        }
    }
}

#[test]
fn a_host_with_a_last_dot_reaches_no_protected_host() {
    let target = target();
    // (hosts of the protected route, Host of the request)
    let rows = [
        ("api.test", "api.test"),
        ("api.test", "API.Test"),
        ("api.test", "api.test."),
        ("api.test", "Api.Test.:8443"),
        ("api.test.", "api.test"),
        ("api.test.", "api.test."),
        ("*.test", "api.test."),
        ("*.test.", "api.test"),
        ("api.*", "api.test."),
    ];
    for (host, asked) in rows {
        let gateway = gateway(&target, json!({"hosts": [host], "paths": ["/"]}));
        assert_eq!(asked_alone(&target, asked, "/"), SECRET, "{asked}");
        let mut client = TlsClient::new().connect(gateway.https(), "api.test");
        let response = client.get(asked, "/");
        assert_eq!(response.status, 401, "{host} {asked}: {}", response.text());
        let absolute = get(asked, &format!("http://{asked}/"));
        let response = client.send(absolute).response();
        assert_eq!(response.status, 401, "{host} {asked}: {}", response.text());
        assert_eq!(client.get("b.a", "/").text(), "open", "{host}");
    }
}
