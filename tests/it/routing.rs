//! KONG.md §3: which route answers, what the upstream is asked, and what the gateway says itself.

use crate::support::client::get;
use crate::support::entities::{service, service_with, url};
use crate::support::upstream::Next;
use crate::support::{Client, Gateway, Setup, TlsClient, Upstream, Value, json};

/// How a request comes.
#[derive(Clone, Copy, Debug)]
enum By {
    Plain,
    Tls(&'static str),
}

/// The route that answers, by name, or the status when none does.
fn answered(gateway: &Gateway, by: By, request_line: &str, lines: &str) -> String {
    let mut client = match by {
        By::Plain => Client::plain(gateway.http()),
        By::Tls(sni) => TlsClient::new().connect(gateway.https(), sni),
    };
    client.send(format!(
        "{request_line} HTTP/1.1\r\n{lines}Kong-Debug: 1\r\n\r\n"
    ));
    let response = client.response();
    match response.field("Kong-Route-Name") {
        Some(name) => name.to_owned(),
        None => response.status.to_string(),
    }
}

/// One service per route: `(name, route)`.
fn gateway_of(upstream: &Upstream, routes: &[(&str, Value)]) -> Setup {
    let services: Vec<Value> = routes
        .iter()
        .map(|(name, route)| service(name, upstream, route.clone()))
        .collect();
    Setup::new(json!({ "services": services })).set("allow_debug_header", "on")
}

#[test]
fn the_most_specific_route_answers() {
    let upstream = Upstream::echo();
    let gateway = gateway_of(
        &upstream,
        &[
            (
                "sni-only",
                json!({"protocols": ["https"], "snis": ["a.test"], "paths": ["/secure"]}),
            ),
            ("pair-plain", json!({"paths": ["/pair"]})),
            ("pair-sni", json!({"paths": ["/pair"], "snis": ["a.test"]})),
            ("wild", json!({"hosts": ["*.example.com"]})),
            ("exact", json!({"hosts": ["api.example.com"]})),
            (
                "wild-path",
                json!({"hosts": ["*.example.com"], "paths": ["/two"]}),
            ),
            ("api", json!({"hosts": ["p.test"], "paths": ["/api"]})),
            ("api-v1", json!({"hosts": ["p.test"], "paths": ["/api/v1"]})),
            (
                "regex",
                json!({"hosts": ["r.test"], "paths": ["~/api/v\\d+"]}),
            ),
            (
                "not-regex",
                json!({"hosts": ["r.test"], "paths": ["/api/v1"]}),
            ),
            (
                "regex-high",
                json!({"hosts": ["r2.test"], "paths": ["~/api/.*"], "regex_priority": 9}),
            ),
            (
                "regex-low",
                json!({"hosts": ["r2.test"], "paths": ["~/api/v\\d+"], "regex_priority": 1}),
            ),
            ("method", json!({"hosts": ["m.test"], "methods": ["GET"]})),
            (
                "long-path",
                json!({"hosts": ["m.test"], "paths": ["/long"]}),
            ),
            (
                "header",
                json!({"hosts": ["h.test"], "headers": {"X-Version": ["Two"]}}),
            ),
            ("no-header", json!({"hosts": ["h.test"]})),
            (
                "header-regex",
                json!({"hosts": ["h.test"], "headers": {"x-tenant": ["~*^acme-[0-9]+$"]}}),
            ),
            (
                "http-only",
                json!({"protocols": ["http"], "hosts": ["plain.test"]}),
            ),
            ("slashed", json!({"hosts": ["n.test"], "paths": ["/a%2Fb"]})),
            ("normal", json!({"hosts": ["n.test"], "paths": ["/a/b~"]})),
        ],
    )
    .start();
    // (KONG.md §3.9 item, how, request line, lines, route or status)
    let rows = [
        (
            "1",
            By::Tls("a.test"),
            "GET /secure",
            "Host: x\r\n",
            "sni-only",
        ),
        ("1", By::Tls("b.test"), "GET /secure", "Host: x\r\n", "404"),
        ("1", By::Tls(""), "GET /secure", "Host: x\r\n", "404"),
        ("1", By::Plain, "GET /secure", "Host: x\r\n", "426"),
        (
            "3",
            By::Tls("a.test"),
            "GET /pair",
            "Host: x\r\n",
            "pair-sni",
        ),
        (
            "3",
            By::Tls("b.test"),
            "GET /pair",
            "Host: x\r\n",
            "pair-plain",
        ),
        (
            "4",
            By::Plain,
            "GET /",
            "Host: api.example.com\r\n",
            "exact",
        ),
        (
            "4",
            By::Plain,
            "GET /",
            "Host: deep.down.example.com\r\n",
            "wild",
        ),
        (
            "4",
            By::Plain,
            "GET /two",
            "Host: api.example.com\r\n",
            "wild-path",
        ),
        (
            "4",
            By::Plain,
            "GET /",
            "Host: API.Example.COM\r\n",
            "exact",
        ),
        ("4", By::Plain, "GET /", "Host: example.com\r\n", "404"),
        ("5", By::Plain, "GET /api/v2", "Host: p.test\r\n", "api"),
        (
            "5",
            By::Plain,
            "GET /api/v1/x",
            "Host: p.test\r\n",
            "api-v1",
        ),
        ("5", By::Plain, "GET /apix", "Host: p.test\r\n", "api"),
        ("5", By::Plain, "GET /api/v1", "Host: r.test\r\n", "regex"),
        (
            "5",
            By::Plain,
            "GET /api/v1",
            "Host: r2.test\r\n",
            "regex-high",
        ),
        ("6", By::Plain, "GET /long", "Host: m.test\r\n", "long-path"),
        ("6", By::Plain, "GET /other", "Host: m.test\r\n", "method"),
        ("6", By::Plain, "POST /other", "Host: m.test\r\n", "404"),
        (
            "8",
            By::Plain,
            "GET /",
            "Host: h.test\r\nx_version: tWO\r\n",
            "header",
        ),
        (
            "8",
            By::Plain,
            "GET /",
            "Host: h.test\r\nX-Version: three\r\n",
            "no-header",
        ),
        (
            "8",
            By::Plain,
            "GET /",
            "Host: h.test\r\nX-Version: one\r\nX-Version: two\r\n",
            "header",
        ),
        (
            "8",
            By::Plain,
            "GET /",
            "Host: h.test\r\nX-Tenant: ACME-12\r\n",
            "header-regex",
        ),
        (
            "10",
            By::Plain,
            "GET /x/%2e%2e//a/./b%7E",
            "Host: n.test\r\n",
            "normal",
        ),
        ("10", By::Plain, "GET /a%2fb", "Host: n.test\r\n", "slashed"),
        (
            "11",
            By::Tls("x.test"),
            "GET /",
            "Host: plain.test\r\n",
            "http-only",
        ),
        (
            "no route",
            By::Plain,
            "GET /",
            "Host: nobody.test\r\n",
            "404",
        ),
    ];
    for (item, by, line, lines, expected) in rows {
        assert_eq!(
            answered(&gateway, by, line, lines),
            expected,
            "item {item}: {by:?} {line} {lines:?}"
        );
    }
}

/// §3.2, "Exact tie": the larger id, in the flavour `traditional` the older route.
#[test]
fn a_tie_goes_to_the_larger_id_or_by_flavour_to_the_older_route() {
    let upstream = Upstream::echo();
    let route = |number: u32, created_at: u32| {
        let id = crate::support::entities::id(number);
        json!({"id": id, "created_at": created_at, "hosts": ["tie.test"], "paths": ["/"]})
    };
    let mut gateway = gateway_of(
        &upstream,
        &[
            ("younger", route(1, 300)),
            ("oldest", route(2, 100)),
            ("largest", route(3, 200)),
            // Old, and of lower rank.
            ("lower", json!({"hosts": ["tie.test"], "created_at": 1})),
        ],
    )
    .start();
    for (flavour, expected) in [
        ("traditional_compatible", "largest"),
        ("traditional", "oldest"),
        ("traditional_compatible", "largest"),
    ] {
        gateway.set("router_flavor", flavour);
        gateway.reload_as_is();
        assert_eq!(
            answered(&gateway, By::Plain, "GET /x", "Host: tie.test\r\n"),
            expected,
            "{flavour}"
        );
    }
}

#[test]
fn a_host_with_a_port_answers_on_that_port_alone() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({"services": [
        service("mapped", &upstream, json!({"hosts": ["foo.test:8443"]})),
    ]}))
    .set("allow_debug_header", "on");
    let gateway = gateway
        .listen(|http, https| {
            format!("127.0.0.1:{http} reuseport, 127.0.0.1:{https} ssl reuseport")
        })
        .start();
    // Neither listener is 8443; the port in Host does not count (KONG.md §3.1).
    assert_eq!(
        answered(&gateway, By::Plain, "GET /", "Host: foo.test:8443\r\n"),
        "404"
    );

    let upstream_port = upstream.port();
    let declarative = move |port: u16| {
        json!({"services": [{"name": "own", "url": format!("http://127.0.0.1:{upstream_port}"),
            "routes": [{"name": "own", "hosts": [format!("foo.test:{port}")]}]}]})
    };
    gateway.reload(declarative(gateway.http().port()));
    assert_eq!(
        answered(&gateway, By::Plain, "GET /", "Host: foo.test\r\n"),
        "own"
    );
    assert_eq!(
        answered(&gateway, By::Tls("foo.test"), "GET /", "Host: foo.test\r\n"),
        "404"
    );
}

#[test]
fn an_https_route_asked_in_clear_is_refused_or_redirected() {
    let upstream = Upstream::echo();
    let https = |code: u16, path: &str| json!({"protocols": ["https"], "paths": [path], "https_redirect_status_code": code});
    let gateway = gateway_of(
        &upstream,
        &[
            ("r426", https(426, "/r426")),
            ("r301", https(301, "/r301")),
            ("r302", https(302, "/r302")),
            ("r307", https(307, "/r307")),
            ("r308", https(308, "/r308")),
        ],
    )
    .set("trusted_ips", "127.0.0.0/8")
    .start();

    let upgrade = gateway.get("Host.Test:8000", "/r426/x");
    upgrade.assert_error(426, "Please use HTTPS protocol");
    assert_eq!(upgrade.field("Upgrade"), Some("TLS/1.2, HTTP/1.1"));
    let options = upgrade
        .fields
        .all("Connection")
        .join(", ")
        .to_ascii_lowercase();
    assert!(
        options.split(", ").any(|option| option == "upgrade"),
        "{}",
        upgrade.head
    );

    for code in [301, 302, 307, 308] {
        let moved = gateway.get("host.test:8000", &format!("/r{code}/a%2Fb?q=1&r=%20"));
        moved.assert_status(code);
        let location = format!("https://host.test/r{code}/a%2Fb?q=1&r=%20");
        assert_eq!(moved.field("Location"), Some(&*location));
        assert_eq!(moved.text(), "");
    }

    // §3.9 item 15: a trusted peer says that its client used TLS.
    let forwarded = Client::plain(gateway.http()).get_with(
        "host.test",
        "/r301",
        "X-Forwarded-Proto: https\r\n",
    );
    assert_eq!(
        forwarded
            .assert_status(200)
            .echoed()
            .get("X-Forwarded-Proto"),
        Some("https")
    );
}

#[test]
fn forwarding_fields_of_strangers_are_replaced_and_of_trusted_peers_kept() {
    let upstream = Upstream::echo();
    let declarative = json!({"services": [
        service("strip", &upstream, json!({"paths": ["/pre"]})),
        service("keep", &upstream, json!({"paths": ["/keep"], "strip_path": false})),
    ]});
    let sent = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.test\r\n\
                X-Forwarded-Port: 1\r\nX-Forwarded-Path: /evil\r\nX-Forwarded-Prefix: /evil\r\nX-Real-IP: 192.0.2.9\r\n";
    for (trusted, rows) in [
        (
            "",
            [
                ("X-Forwarded-For", Some("192.0.2.1, 127.0.0.1".to_owned())),
                ("X-Forwarded-Proto", Some("http".into())),
                ("X-Forwarded-Host", Some("host.test".into())),
                ("X-Forwarded-Port", None),
                ("X-Forwarded-Path", Some("/pre/x".into())),
                ("X-Forwarded-Prefix", Some("/pre".into())),
                ("X-Real-IP", Some("127.0.0.1".into())),
            ],
        ),
        (
            "127.0.0.1",
            [
                ("X-Forwarded-For", Some("192.0.2.1, 127.0.0.1".to_owned())),
                ("X-Forwarded-Proto", Some("gopher".into())),
                ("X-Forwarded-Host", Some("evil.test".into())),
                ("X-Forwarded-Port", Some("1".into())),
                ("X-Forwarded-Path", Some("/evil".into())),
                ("X-Forwarded-Prefix", Some("/evil".into())),
                ("X-Real-IP", Some("192.0.2.9".into())),
            ],
        ),
    ] {
        let gateway = Setup::new(declarative.clone())
            .set("trusted_ips", trusted)
            .start();
        let response = Client::plain(gateway.http()).get_with("Host.Test:99", "/pre/x?q", sent);
        let seen = response.assert_status(200).echoed();
        for (name, expected) in rows {
            let expected = expected.unwrap_or_else(|| gateway.http().port().to_string());
            assert_eq!(
                seen.get(name),
                Some(&*expected),
                "trusted {trusted:?}: {name}"
            );
        }
        // §3.6: without an incoming value it is the client's address, by a trusted peer's word.
        let alone =
            Client::plain(gateway.http()).get_with("a", "/keep", "X-Real-IP: 192.0.2.9\r\n");
        let expected = if trusted.is_empty() {
            "127.0.0.1"
        } else {
            "192.0.2.9"
        };
        assert_eq!(
            alone.echoed().get("X-Forwarded-For"),
            Some(expected),
            "trusted {trusted:?}"
        );
        // Nothing was stripped, so there is no prefix (§3.6).
        let kept = gateway.get("host.test", "/keep/x");
        assert_eq!(kept.echoed().get("X-Forwarded-Prefix"), None);
    }
}

#[test]
fn real_ip_recursive_skips_trusted_addresses_from_the_right() {
    let upstream = Upstream::echo();
    for (recursive, expected) in [("off", "10.0.0.2"), ("on", "203.0.113.5")] {
        let gateway = gateway_of(&upstream, &[("all", json!({"paths": ["/"]}))])
            .set("trusted_ips", "127.0.0.1, 10.0.0.0/8")
            .set("real_ip_header", "X-Forwarded-For")
            .set("real_ip_recursive", recursive)
            .start();
        let lines = "X-Forwarded-For: 198.51.100.1, 203.0.113.5, 10.0.0.2\r\n";
        let response = Client::plain(gateway.http()).get_with("a", "/", lines);
        assert_eq!(
            response.echoed().get("X-Real-IP"),
            Some(expected),
            "recursive {recursive}"
        );
    }
}

#[test]
fn the_upstream_is_asked_for_the_path_that_service_and_route_make() {
    let upstream = Upstream::echo();
    let path_service = |name: &str, path: &str, route: Value| {
        let url = url(&upstream) + path;
        service_with(name, &upstream, route, json!({ "url": url }))
    };
    let gateway = Setup::new(json!({"services": [
        path_service("a", "", json!({"hosts": ["a"], "paths": ["/api"]})),
        path_service("b", "", json!({"hosts": ["b"], "paths": ["/api"], "strip_path": false})),
        path_service("c", "/svc", json!({"hosts": ["c"], "paths": ["/api"]})),
        path_service("d", "/svc/", json!({"hosts": ["d"], "paths": ["/api"], "strip_path": false})),
        path_service("e", "/svc", json!({"hosts": ["e"], "paths": ["~/items/\\d+/of"]})),
        path_service("f", "/svc", json!({"hosts": ["f"]})),
    ]}))
    .start();
    // (host, request target, upstream's target)
    let rows = [
        ("a", "/api", "/"),
        ("a", "/api/x?y=1?2", "/x?y=1?2"),
        ("a", "/apix", "/x"),
        ("a", "/api/x?", "/x?"),
        ("b", "/api/x", "/api/x"),
        ("c", "/api", "/svc"),
        ("c", "/api/", "/svc/"),
        ("c", "/api/%41%2F%7e", "/svc/A%2F~"),
        ("c", "/api../x", "/svc/x"),
        ("d", "/api/", "/svc/api/"),
        ("e", "/items/12/of/all", "/svc/all"),
        ("f", "/x/y", "/svc/x/y"),
    ];
    for (host, target, expected) in rows {
        let response = gateway.get(host, target);
        assert_eq!(response.status, 200, "{host} {target}: {}", response.text());
        let line = response
            .text()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(line, format!("GET {expected} HTTP/1.1"), "{host} {target}");
    }
}

#[test]
fn host_is_the_services_unless_preserved() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({"services": [
        service("own", &upstream, json!({"paths": ["/own"]})),
        service("kept", &upstream, json!({"paths": ["/kept"], "preserve_host": true})),
    ]}))
    .start();
    let own = format!("127.0.0.1:{}", upstream.port());
    assert_eq!(
        gateway.get("Client.Test:81", "/own").echoed().get("Host"),
        Some(&*own)
    );
    assert_eq!(
        gateway.get("Client.Test:81", "/kept").echoed().get("Host"),
        Some("Client.Test:81")
    );
}

#[test]
fn fields_added_and_removed_are_those_of_kong() {
    let upstream = Upstream::plain(|request, conversation| {
        let via = if request.target == "/via" {
            "Via: 1.0 cache\r\n"
        } else {
            ""
        };
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\n{via}Content-Length: {}\r\nX-Secret: 1\r\nConnection: x-secret\r\nKeep-Alive: timeout=5\r\n\r\n",
            request.head.len()
        ));
        conversation.send(&request.head);
        crate::support::upstream::Next::Keep
    });
    let gateway = Gateway::before(&upstream);
    let response = Client::plain(gateway.http()).get_with(
        "a",
        "/",
        "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy: x\r\nProxy-Connection: y\r\nTE: gzip, trailers\r\n\
         Upgrade: h2c\r\nVia: 1.1 front\r\nX-Kong-Request-Id: spoofed\r\nunder_score: kept\r\n",
    );
    let seen = response.assert_status(200).echoed();
    for name in [
        "X-Hop",
        "Keep-Alive",
        "Proxy",
        "Proxy-Connection",
        "Upgrade",
    ] {
        assert_eq!(seen.get(name), None, "{name} ends at the gateway");
    }
    assert_eq!(seen.get("TE"), Some("trailers"));
    assert_eq!(seen.get("Connection"), Some("keep-alive"));
    assert_eq!(seen.get("Via"), Some("1.1 front, 1.1 kong/3.9.1"));
    assert_eq!(seen.get("under_score"), Some("kept"));
    let id = seen.get("X-Kong-Request-Id").expect("an id").to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(response.field("X-Kong-Request-Id"), Some(&*id));
    assert_eq!(response.field("Via"), Some("1.1 kong/3.9.1"));
    assert_eq!(response.field("Server"), Some("kong/3.9.1"));
    assert!(response.field("X-Kong-Upstream-Latency").is_some());
    assert!(response.field("X-Kong-Proxy-Latency").is_some());
    assert_eq!(response.field("X-Secret"), None, "nominated by Connection");
    assert_eq!(response.field("Keep-Alive"), None);
    let again = gateway.get("a", "/via");
    assert_eq!(again.field("Via"), Some("1.0 cache, 1.1 kong/3.9.1"));
}

#[test]
fn headers_directive_chooses_what_is_added() {
    let upstream = Upstream::echo();
    let services = json!({"services": [service("all", &upstream, json!({"paths": ["/here"]}))]});
    let bare = Setup::new(services.clone())
        .set("headers", "off")
        .set("headers_upstream", "off")
        .start();
    let response = bare.get("a", "/here");
    for name in [
        "Via",
        "Server",
        "X-Kong-Proxy-Latency",
        "X-Kong-Upstream-Latency",
        "X-Kong-Request-Id",
    ] {
        assert_eq!(response.field(name), None, "{name}");
    }
    assert_eq!(response.echoed().get("X-Kong-Request-Id"), None);
    let listed = Setup::new(services)
        .set("headers", "X-Kong-Upstream-Status")
        .start();
    let response = listed.get("a", "/here");
    assert_eq!(response.field("X-Kong-Upstream-Status"), Some("200"));
    assert_eq!(response.field("Via"), None);
}

#[test]
fn fields_of_an_upstream_that_is_a_kong_too_give_way_to_ours() {
    const NAMES: [&str; 4] = [
        "X-Kong-Upstream-Latency",
        "X-Kong-Proxy-Latency",
        "X-Kong-Upstream-Status",
        "X-Kong-Request-Id",
    ];
    let upstream = Upstream::plain(|_, conversation| {
        let lines: String = NAMES.map(|name| format!("{name}: theirs\r\n")).concat();
        conversation.send(format!(
            "HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"
        ));
        Next::Keep
    });
    let services = json!({"services": [service("all", &upstream, json!({"paths": ["/"]}))]});
    // (directive, who says each of the fields, in the order of `NAMES`)
    let rows = [
        (
            "server_tokens, latency_tokens, X-Kong-Request-Id",
            [true, true, false, true],
        ),
        ("X-Kong-Upstream-Status", [false, false, true, false]),
        ("off", [false; 4]),
    ];
    for (headers, ours) in rows {
        let gateway = Setup::new(services.clone()).set("headers", headers).start();
        let response = gateway.get("a", "/");
        for (name, ours) in NAMES.into_iter().zip(ours) {
            let value = response.field(name).expect("it stands there once");
            assert_eq!(value != "theirs", ours, "{headers}: {name}: {value}");
        }
    }
}

#[test]
fn error_bodies_follow_accept() {
    let upstream = Upstream::echo();
    let gone = {
        let upstream = Upstream::echo();
        upstream.port()
    };
    let gateway = Setup::new(json!({"services": [
        service("all", &upstream, json!({"paths": ["/up"]})),
        {"name": "gone", "url": format!("http://127.0.0.1:{gone}"), "retries": 0,
            "routes": [{"name": "gone", "paths": ["/gone"]}]},
    ], "routes": [{"name": "orphan", "paths": ["/orphan"]}]}))
    .start();
    const REFUSED: &str = "An invalid response was received from the upstream server";
    const NO_ROUTE: &str = "no Route matched with those values";
    // (§3.5 row, target, lines, status, message, content type)
    let rows = [
        (
            "no Accept, Kong's logic",
            "/none",
            "",
            404,
            NO_ROUTE,
            "application/json; charset=utf-8",
        ),
        (
            "any",
            "/none",
            "Accept: */*\r\n",
            404,
            NO_ROUTE,
            "application/json; charset=utf-8",
        ),
        (
            "unknown",
            "/none",
            "Accept: image/png\r\n",
            404,
            NO_ROUTE,
            "application/json; charset=utf-8",
        ),
        (
            "highest q",
            "/none",
            "Accept: text/html;q=0.5, text/plain;q=0.9\r\n",
            404,
            NO_ROUTE,
            "text/plain; charset=utf-8",
        ),
        (
            "html",
            "/none",
            "Accept: text/html\r\n",
            404,
            NO_ROUTE,
            "text/html; charset=utf-8",
        ),
        (
            "xml",
            "/none",
            "Accept: application/xml\r\n",
            404,
            NO_ROUTE,
            "application/xml; charset=utf-8",
        ),
        (
            "no service",
            "/orphan",
            "",
            503,
            "no Service found with those values",
            "application/json; charset=utf-8",
        ),
        (
            "no Accept, proxy layer",
            "/gone",
            "",
            502,
            REFUSED,
            "text/plain; charset=utf-8",
        ),
        (
            "Content-Type, proxy layer",
            "/gone",
            "Content-Type: application/json\r\n",
            502,
            REFUSED,
            "application/json; charset=utf-8",
        ),
        (
            "json, proxy layer",
            "/gone",
            "Accept: application/json\r\n",
            502,
            REFUSED,
            "application/json; charset=utf-8",
        ),
    ];
    for (row, target, lines, status, message, content_type) in rows {
        let response = Client::plain(gateway.http()).get_with("a", target, lines);
        assert_eq!(response.status, status, "{row}");
        assert_eq!(response.field("Content-Type"), Some(content_type), "{row}");
        let (body, id) = (
            response.text(),
            response
                .field("X-Kong-Request-Id")
                .expect("an id")
                .to_owned(),
        );
        assert!(
            body.contains(message) && body.contains(&id),
            "{row}: {body}"
        );
        match content_type {
            "application/json; charset=utf-8" => response.assert_error(status, message),
            "text/plain; charset=utf-8" => {
                assert_eq!(body, format!("{message}\nrequest_id: {id}\n"), "{row}")
            }
            _ => {}
        }
    }
}

#[test]
fn a_change_of_routes_counts_for_the_next_request_of_an_open_connection() {
    let upstream = Upstream::echo();
    let one = |name: &str, enabled: bool| json!({"services": [service_with(name, &upstream, json!({"paths": [format!("/{name}")]}), json!({"enabled": enabled}))]});
    let gateway = Setup::new(one("first", true)).start();
    let mut client = Client::plain(gateway.http());
    client.get("a", "/first").assert_status(200);
    gateway.reload(one("second", true));
    client
        .get("a", "/first")
        .assert_error(404, "no Route matched with those values");
    client.get("a", "/second").assert_status(200);
    // §3.9 item 14.
    gateway.reload(one("second", false));
    client
        .get("a", "/second")
        .assert_error(404, "no Route matched with those values");
    assert_eq!(
        client.send(get("a", "/x")).response().status,
        404,
        "the connection lives on"
    );
}

#[test]
fn an_upstream_entity_is_answered_503_until_balancing_is_served() {
    let gateway = Setup::new(json!({
        "upstreams": [{"name": "pool.test", "targets": [{"target": "127.0.0.1:1"}]}],
        "services": [{"name": "s", "host": "pool.test", "routes": [{"name": "r", "paths": ["/"]}]}],
    }))
    .start();
    gateway
        .get("a", "/")
        .assert_error(503, "failure to get a peer from the ring-balancer");
    gateway.error_line(&["pool.test"]);
}
