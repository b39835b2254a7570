//! KONG.md §4.4, §10 check 5: which upstream certificates are trusted; every failure is 502 and no byte of the request.

use crate::support::entities::{ca_certificate, id, service_with};
use crate::support::pki::CaShape;
use crate::support::{Ca, Gateway, Leaf, Pair, Setup, Upstream, Value, json};
use std::io::{Read, Write};

const BODY: &str = "An invalid response was received from the upstream server";

/// One service per case, all through one gateway: `/n`.
struct Case {
    row: &'static str,
    pair: Pair,
    /// Host of the request, which `preserve_host` makes the name.
    name: &'static str,
    service: Value,
    accepted: bool,
}

fn check(gateway: impl Fn(Value) -> Gateway, cas: Value, cases: Vec<Case>) {
    let upstreams: Vec<Upstream> = cases
        .iter()
        .map(|case| Upstream::tls(&case.pair, None))
        .collect();
    let services: Vec<Value> = cases
        .iter()
        .zip(&upstreams)
        .enumerate()
        .map(|(number, (case, upstream))| {
            let route =
                json!({"paths": [format!("/{number}/")], "preserve_host": !case.name.is_empty()});
            let mut service =
                service_with(&format!("s{number}"), upstream, route, case.service.clone());
            service["retries"] = json!(0);
            service
        })
        .collect();
    let gateway = gateway(json!({"services": services, "ca_certificates": cas}));
    for (number, (case, upstream)) in cases.iter().zip(&upstreams).enumerate() {
        let host = if case.name.is_empty() {
            "client.test"
        } else {
            case.name
        };
        let mut client = crate::support::Client::plain(gateway.http());
        let response =
            client.get_with(host, &format!("/{number}/"), "Accept: application/json\r\n");
        if case.accepted {
            assert_eq!(
                response.status,
                200,
                "{}: {}",
                case.row,
                gateway.error_log()
            );
        } else {
            assert_eq!(response.status, 502, "{}", case.row);
            response.assert_error(502, BODY);
            upstream.assert_untouched();
            // The cause of the try, and the answer it came to.
            let cause = "upstream SSL certificate ";
            gateway.error_line(&[&format!("service s{number} "), cause]);
            let upstream = format!(
                "service: s{number}, upstream: 127.0.0.1:{}",
                upstream.port()
            );
            gateway.error_line(&["502 to 127.0.0.1: ", cause, &upstream]);
        }
    }
}

#[test]
fn trust_is_the_services_else_the_global_else_the_gateways() {
    let (right, wrong) = (Ca::root("right"), Ca::root("wrong"));
    let signed = || right.server(&["up.test"]);
    let case = |row, name, service, accepted| Case {
        row,
        pair: signed(),
        name,
        service,
        accepted,
    };
    let cas = || json!([ca_certificate(1, &right), ca_certificate(2, &wrong)]);
    let with = |verify: Value, numbers: &[u32]| {
        let ids: Vec<String> = numbers.iter().map(|number| id(*number)).collect();
        json!({"tls_verify": verify, "ca_certificates": ids})
    };
    // tls_verify × CA × name, with the global store wrong and verification on by default.
    let (right_pem, wrong_pem) = (right.pem.clone(), wrong.pem.clone());
    check(
        |document| {
            Setup::new(document)
                .file("trust.pem", &wrong_pem)
                .set("lua_ssl_trusted_certificate", "@trust.pem")
                .start()
        },
        cas(),
        vec![
            case(
                "true, right CA, right name",
                "up.test",
                with(json!(true), &[1]),
                true,
            ),
            case(
                "true, right CA, wrong name",
                "other.test",
                with(json!(true), &[1]),
                false,
            ),
            case(
                "true, wrong CA, right name",
                "up.test",
                with(json!(true), &[2]),
                false,
            ),
            case(
                "true, both CAs",
                "up.test",
                with(json!(true), &[2, 1]),
                true,
            ),
            case(
                "true, no CA of its own: the gateway's",
                "up.test",
                json!({"tls_verify": true}),
                false,
            ),
            case(
                "false, wrong CA, wrong name",
                "other.test",
                with(json!(false), &[2]),
                true,
            ),
            case(
                "false, nothing",
                "other.test",
                json!({"tls_verify": false}),
                true,
            ),
            case(
                "null inherits on, right CA",
                "up.test",
                with(json!(null), &[1]),
                true,
            ),
            case(
                "null inherits on, wrong CA",
                "up.test",
                with(json!(null), &[2]),
                false,
            ),
            case("null, the gateway's trust", "up.test", json!({}), false),
            case("name from an IP host", "", with(json!(true), &[1]), false),
        ],
    );
    // The file of nginx's name outranks the gateway's; the service's replaces both.
    check(
        |document| {
            Setup::new(document)
                .file("trust.pem", &wrong_pem)
                .file("global.pem", &right_pem)
                .set("lua_ssl_trusted_certificate", "@trust.pem")
                .set("nginx_proxy_proxy_ssl_trusted_certificate", "@global.pem")
                .start()
        },
        cas(),
        vec![
            case("null, global file", "up.test", json!({}), true),
            case("null, global file, wrong name", "x.test", json!({}), false),
            case(
                "the service's CAs replace the global file",
                "up.test",
                with(json!(null), &[2]),
                false,
            ),
        ],
    );
    // Kong's old default, by either directive; an explicit true still verifies.
    for off in ["tls_certificate_verify", "nginx_proxy_proxy_ssl_verify"] {
        check(
            |document| Setup::new(document).set(off, "off").start(),
            cas(),
            vec![
                case("null inherits off", "x.test", json!({}), true),
                case(
                    "null inherits off, a CA list alone verifies nothing",
                    "x.test",
                    with(json!(null), &[2]),
                    true,
                ),
                case("true verifies", "up.test", with(json!(true), &[2]), false),
            ],
        );
    }
}

#[test]
fn depth_counts_intermediates() {
    let root = Ca::root("root");
    let (one, two) = {
        let one = root.intermediate("one");
        let two = one.intermediate("two");
        (one, two)
    };
    let with = |depth: Value| json!({"tls_verify": true, "ca_certificates": [id(1)], "tls_verify_depth": depth});
    let case = |row, pair: Pair, depth, accepted| Case {
        row,
        pair,
        name: "up.test",
        service: with(depth),
        accepted,
    };
    check(
        |document| Setup::new(document).start(),
        json!([ca_certificate(1, &root)]),
        vec![
            case("direct, depth 0", root.server(&["up.test"]), json!(0), true),
            case(
                "one intermediate, depth 0",
                one.server(&["up.test"]),
                json!(0),
                false,
            ),
            case(
                "one intermediate, default depth 1",
                one.server(&["up.test"]),
                json!(null),
                true,
            ),
            case(
                "two intermediates, default depth 1",
                two.server(&["up.test"]),
                json!(null),
                false,
            ),
            case(
                "two intermediates, depth 2",
                two.server(&["up.test"]),
                json!(2),
                true,
            ),
            case(
                "intermediate not sent",
                one.server(&["up.test"]).leaf_alone(),
                json!(5),
                false,
            ),
        ],
    );
}

#[test]
fn names_are_sans_and_dates_count() {
    let root = Ca::root("root");
    let strict = || json!({"tls_verify": true, "ca_certificates": [id(1)]});
    let case = |row, pair: Pair, name, accepted| Case {
        row,
        pair,
        name,
        service: strict(),
        accepted,
    };
    let client_only = [rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let short = root.intermediate_shaped(
        "short",
        &CaShape {
            path_len: Some(0),
            ..CaShape::default()
        },
    );
    check(
        |document| Setup::new(document).start(),
        json!([ca_certificate(1, &root)]),
        vec![
            case(
                "IP SAN",
                root.sign(Leaf::new("x").ip("127.0.0.1")),
                "",
                true,
            ),
            case(
                "other IP SAN",
                root.sign(Leaf::new("x").ip("127.0.0.2")),
                "",
                false,
            ),
            case(
                "DNS SAN that looks like the IP",
                root.sign(Leaf::new("127.0.0.1").dns(&["127.0.0.1.test"])),
                "",
                false,
            ),
            case(
                "CN alone",
                root.sign(Leaf::new("up.test")),
                "up.test",
                false,
            ),
            case(
                "wildcard SAN",
                root.server(&["*.up.test"]),
                "a.up.test",
                true,
            ),
            case(
                "wildcard SAN, two labels",
                root.server(&["*.up.test"]),
                "a.b.up.test",
                false,
            ),
            case(
                "case of the name",
                root.server(&["up.test"]),
                "UP.Test",
                true,
            ),
            case(
                "preserved host with a port",
                root.server(&["up.test"]),
                "up.test:8443",
                true,
            ),
            case(
                "expired",
                root.sign(Leaf::new("x").dns(&["up.test"]).valid(2001, 2002)),
                "up.test",
                false,
            ),
            case(
                "not yet valid",
                root.sign(Leaf::new("x").dns(&["up.test"]).valid(2100, 2101)),
                "up.test",
                false,
            ),
            case(
                "not for servers",
                root.sign(Leaf::new("x").dns(&["up.test"]).usage(&client_only)),
                "up.test",
                false,
            ),
            case(
                "self-signed",
                Leaf::new("x").dns(&["up.test"]).self_signed(),
                "up.test",
                false,
            ),
            case(
                "pathLen exceeded",
                short.intermediate("below").server(&["up.test"]),
                "up.test",
                false,
            ),
        ],
    );
}

#[test]
fn trust_taken_away_by_a_reload_counts_for_the_next_request() {
    let (right, wrong) = (Ca::root("right"), Ca::root("wrong"));
    let upstream = Upstream::tls(&right.server(&["up.test"]), None);
    let trusting = |number: u32| {
        json!({
            "services": [service_with("s", &upstream, json!({"paths": ["/"], "preserve_host": true}),
                json!({"tls_verify": true, "ca_certificates": [id(number)], "retries": 0}))],
            "ca_certificates": [ca_certificate(1, &right), ca_certificate(2, &wrong)],
        })
    };
    let gateway = Setup::new(trusting(1)).start();
    let mut client = crate::support::Client::plain(gateway.http());
    client.get("up.test", "/").assert_status(200);
    gateway.reload(trusting(2));
    let asked = upstream.requests().len();
    assert_eq!(
        client.get("up.test", "/").status,
        502,
        "the pooled connection was verified under other trust"
    );
    assert_eq!(upstream.requests().len(), asked);
    gateway.reload(trusting(1));
    client.get("up.test", "/").assert_status(200);
}

#[test]
fn an_upstream_that_speaks_no_tls_is_502_and_a_mute_one_504() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        // One connection; the next finds nobody.
        if let Ok((mut socket, _)) = listener.accept() {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = socket.read(&mut [0; 1024]);
        }
    });
    // Waits for a request that is none.
    let mute = Upstream::echo();
    let to = |name: &str, port: u16| {
        json!({
            "name": name, "url": format!("https://127.0.0.1:{port}"), "tls_verify": false, "retries": 0,
            "connect_timeout": 500, "routes": [{"name": name, "paths": [format!("/{name}")]}],
        })
    };
    let nameless = json!({
        "id": id(7), "url": "https://upstream.invalid:8443", "retries": 0, "routes": [{"name": "nameless", "paths": ["/nameless"]}],
    });
    let gateway = Setup::new(json!({
        "services": [to("plain", plain.port()), to("mute", mute.port()), nameless],
    }))
    .start();
    assert_eq!(gateway.get("a", "/plain").status, 502);
    gateway.error_line(&["service plain "]);
    assert_eq!(gateway.get("a", "/mute").status, 504);
    gateway.error_line(&["service mute "]);
    gateway.error_line(&["504 to ", "service: mute, upstream: 127.0.0.1:"]);
    assert!(mute.requests().is_empty());
    // Without a name the service is told by its id; without an address the upstream by its host.
    assert_eq!(gateway.get("a", "/nameless").status, 503);
    let words = format!("service: {}, upstream: upstream.invalid:8443,", id(7));
    gateway.error_line(&["503 to ", &words]);
}

/// KONG.md §3.4: only what the client sent can be preserved.
#[test]
fn without_a_host_to_preserve_the_upstream_is_verified_by_the_services_name() {
    let ca = Ca::root("ca");
    let right = Upstream::tls(&ca.sign(Leaf::new("x").ip("127.0.0.1")), None);
    let wrong = Upstream::tls(&ca.sign(Leaf::new("x").ip("127.0.0.2")), None);
    let to = |name: &str, upstream: &Upstream| {
        service_with(
            name,
            upstream,
            json!({"paths": [format!("/{name}")], "preserve_host": true}),
            json!({"tls_verify": true, "ca_certificates": [id(1)], "retries": 0}),
        )
    };
    let gateway = Setup::new(json!({
        "services": [to("right", &right), to("wrong", &wrong)],
        "ca_certificates": [ca_certificate(1, &ca)],
    }))
    .start();
    for (name, status) in [("right", 200), ("wrong", 502)] {
        let mut client = crate::support::Client::plain(gateway.http());
        client.send(format!("GET /{name} HTTP/1.0\r\n\r\n"));
        assert_eq!(client.response().status, status, "{name}");
    }
    let host = format!("127.0.0.1:{}", right.port());
    assert_eq!(right.last().field("Host"), Some(&*host));
    wrong.assert_untouched();
}
