//! Lookups are judged by what they examine, never by time.
use super::*;

const MANY: u32 = 10_000;

#[test]
fn ten_thousand_routes_cost_a_handful_of_checks() {
    struct Shape {
        name: &'static str,
        route: fn(u32) -> String,
        /// For route i, the request as (host, path, sni, header name, header value); empty strings stand for the defaults.
        request: fn(u32) -> [String; 5],
        examined_max: usize,
    }
    let shapes = [
        Shape {
            name: "distinct hosts",
            route: |i| format!("hosts=h{i}.test paths=/"),
            request: |i| [format!("h{i}.test"), s(""), s(""), s(""), s("")],
            examined_max: 2,
        },
        Shape {
            name: "one host, distinct prefixes",
            route: |i| format!("hosts=a.test paths=/shop/{}/{i:05}", i % 10),
            request: |i| {
                [
                    s(""),
                    format!("/shop/{}/{i:05}/x", i % 10),
                    s(""),
                    s(""),
                    s(""),
                ]
            },
            examined_max: 2,
        },
        Shape {
            name: "paths only, one the prefix of another",
            route: |i| format!("paths=/shared/prefix/{i}"),
            request: |i| [s(""), format!("/shared/prefix/{i}/x"), s(""), s(""), s("")],
            examined_max: 2,
        },
        Shape {
            name: "regexes on one host",
            route: |i| format!(r"hosts=a.test paths=~/svc{i:05}/\d+$"),
            request: |i| [s(""), format!("/svc{i:05}/77"), s(""), s(""), s("")],
            examined_max: 2,
        },
        Shape {
            name: "regexes on one host that begin alike",
            route: |i| format!(r"hosts=a.test paths=~/v\d+/svc{i}/"),
            request: |i| [s(""), format!("/v12/svc{i}/x"), s(""), s(""), s("")],
            // A pass per set, then the members of one set.
            examined_max: 1 + 10_000usize.div_ceil(64) + 64,
        },
        Shape {
            name: "left wildcards",
            route: |i| format!("hosts=*.t{i}.test"),
            request: |i| [format!("x.y.t{i}.test"), s(""), s(""), s(""), s("")],
            examined_max: 1,
        },
        Shape {
            name: "right wildcards",
            route: |i| format!("hosts=t{i}.*"),
            request: |i| [format!("t{i}.x.y"), s(""), s(""), s(""), s("")],
            examined_max: 1,
        },
        Shape {
            name: "header values",
            route: |i| format!("hosts=a.test paths=/ headers=x-tenant:T{i}"),
            request: |i| [s(""), s(""), s(""), s("X-Tenant"), format!("t{i}")],
            examined_max: 2,
        },
        Shape {
            name: "header names",
            route: |i| format!("paths=/ headers=x-{i}:on"),
            request: |i| [s(""), s(""), s(""), format!("X_{i}"), s("ON")],
            examined_max: 2,
        },
        Shape {
            name: "server names",
            route: |i| format!("snis=s{i}.test"),
            request: |i| [s(""), s(""), format!("s{i}.test"), s(""), s("")],
            examined_max: 1,
        },
        Shape {
            name: "server name wildcards behind one path",
            route: |i| format!("paths=/ snis=*.s{i}.test"),
            request: |i| [s(""), s(""), format!("x.s{i}.test"), s(""), s("")],
            examined_max: 2,
        },
        Shape {
            name: "a hundred server names times a hundred header values",
            route: |i| {
                format!(
                    "paths=/ methods=GET snis=s{}.test headers=x:{}",
                    i / 100,
                    i % 100
                )
            },
            request: |i| {
                [
                    s(""),
                    s(""),
                    format!("s{}.test", i / 100),
                    s("x"),
                    (i % 100).to_string(),
                ]
            },
            examined_max: 101,
        },
        Shape {
            name: "a hundred hosts times a hundred paths",
            route: |i| format!("hosts=h{}.test paths=/p{:02}", i / 100, i % 100),
            request: |i| {
                [
                    format!("h{}.test", i / 100),
                    format!("/p{:02}", i % 100),
                    s(""),
                    s(""),
                    s(""),
                ]
            },
            examined_max: 2,
        },
        Shape {
            name: "methods",
            route: |i| format!("paths=/ methods={}", letters(i)),
            request: |i| [s(""), letters(i), s(""), s(""), s("")],
            examined_max: 2,
        },
    ];
    let mut scratch = Scratch::default();
    for shape in &shapes {
        let specs = (0..MANY).map(|i| route(i, &(shape.route)(i))).collect();
        let router = Router::build(specs).expect("compiles");
        for i in (0..MANY).step_by(97).chain([MANY - 1, MANY]) {
            let [host, path, sni, name, value] = (shape.request)(i);
            let (method, path) = if shape.name == "methods" {
                (&*path, "")
            } else {
                ("GET", &*path)
            };
            let or = |text: &'_ str, default| {
                if text.is_empty() {
                    default
                } else {
                    String::from(text)
                }
            };
            let (host, path) = (or(&host, s("a.test")), or(path, s("/")));
            let headers = [(&*name, &*value)];
            let query = Query {
                method: method.as_bytes(),
                host: host.as_bytes(),
                port: 8443,
                path: path.as_bytes(),
                tls: Some((!sni.is_empty()).then_some(&*sni)),
                headers: &Fields {
                    lines: if name.is_empty() { &[] } else { &headers },
                    each: true,
                },
            };
            let found = router.find(&query, &mut scratch).map(|found| found.handle);
            // Beyond the last there is no route, or the one whose prefix it still has.
            if i < MANY {
                assert_eq!(found, Some(i), "{}", shape.name);
            }
            assert!(
                scratch.examined() <= shape.examined_max,
                "{}, route {i}: {}",
                shape.name,
                scratch.examined()
            );
        }
    }
}

/// A method name for a number.
fn letters(mut number: u32) -> String {
    let mut name = String::from("M");
    while number > 0 {
        name.push(char::from(b'A' + (number % 26) as u8));
        number /= 26;
    }
    name
}

#[test]
fn server_names_cost_nothing_in_clear_text() {
    let specs = (0..MANY)
        .map(|i| route(i, &format!("snis=s{i}.test headers=x:{i}")))
        .collect();
    let router = Router::build(specs).expect("compiles");
    let mut scratch = Scratch::default();
    let request = Request {
        headers: &[("x", "77")],
        ..REQUEST
    };
    assert_eq!(
        find(&router, &request, &mut scratch).map(|found| found.handle),
        Some(77)
    );
    assert_eq!(scratch.examined(), 1);
}

#[test]
fn a_hundred_thousand_hosts_cost_one_check() {
    let specs = (0..100_000)
        .map(|i| route(i, &format!("hosts=h{i}.test")))
        .collect();
    let router = Router::build(specs).expect("compiles");
    let mut scratch = Scratch::default();
    for i in [0, 1, 77_777, 99_999] {
        let host = format!("h{i}.test");
        assert_eq!(
            find(
                &router,
                &Request {
                    host: &host,
                    ..REQUEST
                },
                &mut scratch
            )
            .map(|found| found.handle),
            Some(i)
        );
        assert_eq!(scratch.examined(), 1);
    }
}

/// A path beside a chain of nested prefixes must not walk the chain; one inside stops at the first match.
#[test]
fn nested_prefixes_are_not_walked() {
    let specs = (0..2000u32)
        .map(|i| route(i, &format!("paths=/{}", "a".repeat(i as usize))))
        .collect();
    let router = Router::build(specs).expect("compiles");
    let mut scratch = Scratch::default();
    for (path, want) in [
        ("/aab", 2),
        ("/b", 0),
        (&*format!("/{}b", "a".repeat(1500)), 1500),
        (&*format!("/{}", "a".repeat(5000)), 1999),
    ] {
        let found = find(&router, &Request { path, ..REQUEST }, &mut scratch);
        assert_eq!(
            found,
            Some(Match {
                handle: want,
                path_matched: Some(want as usize + 1)
            })
        );
        assert_eq!(scratch.examined(), 2, "one node, one entry");
    }
}

#[test]
fn a_host_of_many_labels_is_looked_up_once_per_depth_configured() {
    let router = router(&["hosts=*.x.test", "hosts=x.*", "hosts=*.y.x.test"]);
    let host = format!("{}y.x.test", "l.".repeat(4000));
    let mut scratch = Scratch::default();
    assert_eq!(
        find(
            &router,
            &Request {
                host: &host,
                ..REQUEST
            },
            &mut scratch
        )
        .map(|found| found.handle),
        Some(2)
    );
    assert!(scratch.examined() <= 2, "{}", scratch.examined());
}

/// One route with more hosts times paths than are filed one by one still matches all of them.
#[test]
fn a_route_with_too_many_places_matches_by_host_then_path() {
    let list = |text: fn(u32) -> String| (0..100).map(text).collect::<Vec<_>>().join(",");
    let hosts = list(|i| format!("h{i}.test"));
    let paths = list(|i| format!("/p{i:02}"));
    let regexes = list(|i| format!("~/r{i:02}x?"));
    let router = router(&[&format!("hosts={hosts} paths={paths},{regexes}")]);
    let mut scratch = Scratch::default();
    for (host, path, want) in [
        ("h7.test", "/p42/x", Some(4)),
        ("h99.test", "/r99xx", Some(5)),
        ("h7.test", "/p4", None),
        ("h7.test", "/r4", None),
        ("h100.test", "/p42", None),
    ] {
        let found = find(
            &router,
            &Request {
                host,
                path,
                ..REQUEST
            },
            &mut scratch,
        );
        assert_eq!(
            found.map(|found| found.path_matched),
            want.map(Some),
            "{host} {path}"
        );
    }
}
