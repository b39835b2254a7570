use super::*;
use crate::router::path::{Handling, normalise, upstream_path};

/// KONG.md section, routes (the first is 0), request, the route expected and the bytes of the path it matched.
type Case<'a> = (
    &'a str,
    &'a [&'a str],
    Request<'a>,
    Option<(u32, Option<usize>)>,
);

#[test]
fn kong_cases() {
    let tls = |sni| Request {
        tls: Some(Some(sni)),
        ..REQUEST
    };
    let path = |path| Request { path, ..REQUEST };
    let host = |host| Request { host, ..REQUEST };
    let lines = |headers| Request { headers, ..REQUEST };
    let sni_twins: &[&str] = &["hosts=a.test", "hosts=a.test snis=a.test"];
    let api: &[&str] = &["paths=/api", "paths=/api/v1"];
    let api_regex: &[&str] = &["paths=/api/v1", r"paths=~/api/v\d+"];
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("3.9.1 its SNI", &["snis=a.test"], tls("a.test"), Some((0, None))),
        ("3.9.1 another SNI", &["snis=a.test"], tls("b.test"), None),
        ("3.9.1, 3.9.2 clear text: matched, to be redirected", &["snis=a.test"], REQUEST, Some((0, None))),
        ("3.1 TLS without SNI", &["snis=a.test"], Request { tls: Some(None), ..REQUEST }, None),
        ("3.1 SNI in another case, trailing dot", &["snis=A.test"], tls("a.TEST."), Some((0, None))),
        ("3.1 trailing dot configured", &["snis=a.test."], tls("a.test"), Some((0, None))),
        ("3.1 SNI *.x", &["snis=*.test"], tls("x.y.test"), Some((0, None))),
        ("3.1 SNI *.x wants a label", &["snis=*.test"], tls("test"), None),
        ("3.1 SNI x.*", &["snis=a.*"], tls("a.x.y"), Some((0, None))),
        ("3.9.3 its SNI", sni_twins, tls("a.test"), Some((1, None))),
        ("3.9.3 another SNI", sni_twins, tls("b.test"), Some((0, None))),
        ("3.2 clear text: snis count all the same", sni_twins, REQUEST, Some((1, None))),
        ("3.9.4 exact over wildcard", &["hosts=api.x.com", "hosts=*.x.com"], host("api.x.com"), Some((0, None))),
        ("3.9.4 two categories over one", &["hosts=api.x.com", "hosts=*.x.com paths=/"], host("api.x.com"), Some((1, Some(1)))),
        ("3.2 one wildcard among hosts", &["hosts=a.test", "hosts=a.test,*.b"], REQUEST, Some((0, None))),
        ("3.1 any number of labels", &["hosts=*.x.com"], host("a.b.x.com"), Some((0, None))),
        ("3.1 at least one character", &["hosts=*.x.com"], host(".x.com"), None),
        ("3.1 not the suffix itself", &["hosts=*.x.com"], host("x.com"), None),
        ("3.1 whole labels", &["hosts=*.x.com"], host("ax.com"), None),
        ("3.1 right wildcard", &["hosts=api.*"], host("api.x.y"), Some((0, None))),
        ("3.1 right wildcard, whole labels", &["hosts=api.*"], host("apix.y"), None),
        ("3.1 lower-cased on both sides", &["hosts=API.test"], host("api.TEST"), Some((0, None))),
        ("1.6 IPv6", &["hosts=[::1]:8443"], host("[::1]"), Some((0, None))),
        ("1.6 IPv6 without brackets", &["hosts=2001:DB8::1"], host("[2001:db8::1]"), Some((0, None))),
        ("3.9.5 longer prefix", api, path("/api/v1/x"), Some((1, Some(7)))),
        ("3.9.5 shorter prefix", api, path("/api/v2"), Some((0, Some(4)))),
        ("3.1 not segment-aware", api, path("/apix"), Some((0, Some(4)))),
        ("3.1 case-sensitive", api, path("/API"), None),
        ("3.9.5 regex over prefix", api_regex, path("/api/v1"), Some((1, Some(7)))),
        ("3.9.5 regex_priority", &["paths=~/a regex_priority=2", "paths=~/ab regex_priority=1"], path("/ab"), Some((0, Some(2)))),
        ("3.9.5 regex_priority is for regexes", &["paths=/ab", "paths=/a regex_priority=9"], path("/ab"), Some((0, Some(3)))),
        ("3.2 negative regex_priority", &["paths=~/a", "paths=~/a regex_priority=-1"], path("/a"), Some((0, Some(2)))),
        ("3.2 negative regex still over prefix", &["paths=/a", "paths=~/a regex_priority=-1"], path("/a"), Some((1, Some(2)))),
        ("3.9.6 path bits part equal counts", &["hosts=a.test paths=/", "hosts=a.test methods=GET"], REQUEST, Some((0, Some(1)))),
        ("3.2 hosts over headers", &["hosts=a.test", "headers=x:1,2"], lines(&[("x", "1")]), Some((0, None))),
        ("3.9.7 its port", &["hosts=a.test:8443"], REQUEST, Some((0, None))),
        ("3.9.7 another port", &["hosts=a.test:8443"], Request { port: 9443, ..REQUEST }, None),
        ("3.9.7 without port on any", &["hosts=a.test"], Request { port: 9443, ..REQUEST }, Some((0, None))),
        ("3.2 a port adds nothing", &["hosts=a.test:8443", "hosts=a.test"], REQUEST, Some((1, None))),
        ("3.1 wildcard with port", &["hosts=*.test:1"], REQUEST, None),
        ("3.9.8 headers over none", &["paths=/", "paths=/ headers=x-v:1"], lines(&[("X-V", "1")]), Some((1, Some(1)))),
        ("3.9.8 header missing", &["paths=/", "paths=/ headers=x-v:1"], REQUEST, Some((0, Some(1)))),
        ("3.9.8 value in another case", &["headers=x-v:Blue"], lines(&[("x-v", "bLUE")]), Some((0, None))),
        ("3.1 _ is -", &["headers=X_V:1"], lines(&[("x-v", "1")]), Some((0, None))),
        ("3.1 - is _", &["headers=X-V:1"], lines(&[("x_v", "1")]), Some((0, None))),
        ("3.1 any value of a repeated header", &["headers=x:1"], lines(&[("x", "0"), ("x", "1")]), Some((0, None))),
        ("3.1 whole value", &["headers=x:1"], lines(&[("x", "11")]), None),
        ("3.1 every header", &["headers=x:1 headers=y:1"], lines(&[("x", "1")]), None),
        ("3.1 header regex", &["headers=x:~*^V\\d+$"], lines(&[("x", "v12")]), Some((0, None))),
        ("3.1 header regex, class in upper case", &["headers=x:~*^\\D$"], lines(&[("x", "1")]), None),
        ("3.2 more headers", &["headers=x:1", "headers=x:1 headers=y:1"], lines(&[("x", "1"), ("y", "1")]), Some((1, None))),
        ("3.9.9 regex: the whole match", &[r"paths=~/a/\d+"], path("/a/123/x"), Some((0, Some(6)))),
        ("3.1 regex not anchored at the end", &["paths=~/a"], path("/abc"), Some((0, Some(2)))),
        ("3.1 regex anchored at the start", &["paths=~/b"], path("/a/b"), None),
        ("3.1 deviation: every alternative anchored", &["paths=~/a|/b"], path("/x/b"), None),
        ("3.2 the first regex that matches counts", &["paths=~/a,~/ab"], path("/ab"), Some((0, Some(2)))),
        ("3.2 virtual routes by length", &["paths=/a,/abc", "paths=/ab"], path("/abc"), Some((0, Some(4)))),
        ("3.2 virtual routes by length, between", &["paths=/a,/abc", "paths=/ab"], path("/abd"), Some((1, Some(3)))),
        ("3.2 virtual regex", &["paths=/abc,~/a", "paths=/abcd"], path("/abcd"), Some((0, Some(2)))),
        ("3.9.10 %2F is not a slash", &["paths=/a/b", "paths=/a"], path("/a%2Fb"), Some((1, Some(2)))),
        ("3.1 prefix in another spelling", &["paths=/%61/./b"], path("/a/b"), Some((0, Some(4)))),
        ("3.1 method", &["methods=GET,POST"], REQUEST, Some((0, None))),
        ("3.1 method in another case", &["methods=GET"], Request { method: "get", ..REQUEST }, None),
        ("3.1 every category", &["methods=POST hosts=a.test paths=/"], REQUEST, None),
        ("3.2 tie: larger id", &["paths=/a", "paths=/a"], path("/a"), Some((1, Some(2)))),
        ("3.9.14 no route", &[], REQUEST, None),
    ];
    let mut scratch = Scratch::default();
    for (rule, routes, request, want) in cases {
        let got = find(&router(routes), request, &mut scratch)
            .map(|found| (found.handle, found.path_matched));
        assert_eq!(got, *want, "{rule}: {routes:?}, {request:?}");
    }
}

/// KONG.md §3.2, "Exact tie". Handles are the places in the list; ids grow with them.
#[test]
fn of_equal_routes_the_older_wins_where_age_counts_else_the_larger_id() {
    let rows: [(&str, &[Option<i64>], u32); 7] = [
        ("no age: larger id", &[None, None, None], 2),
        ("older is first", &[Some(1), Some(2), Some(3)], 0),
        ("older is last", &[Some(3), Some(2), Some(1)], 2),
        ("older is between", &[Some(2), Some(1), Some(3)], 1),
        ("same age: larger id", &[Some(5), Some(5), Some(9)], 1),
        ("before 1970", &[Some(0), Some(-1)], 1),
        ("an age before none", &[Some(9), None], 0),
    ];
    for (rule, ages, want) in rows {
        let specs = (0u32..).zip(ages).map(|(handle, age)| RouteSpec {
            created_at: *age,
            ..route(handle, "hosts=a.test paths=/a")
        });
        let router = Router::build(specs.collect()).expect("compiles");
        let path = Request {
            path: "/a",
            ..REQUEST
        };
        let found = find(&router, &path, &mut Scratch::default()).expect("a route");
        assert_eq!(found.handle, want, "{rule}");
    }
    // Age parts equals only.
    let old = RouteSpec {
        created_at: Some(1),
        ..route(0, "paths=/")
    };
    let young = RouteSpec {
        created_at: Some(2),
        ..route(1, "paths=/a")
    };
    let router = Router::build(vec![old, young]).expect("compiles");
    let path = Request {
        path: "/a",
        ..REQUEST
    };
    let found = find(&router, &path, &mut Scratch::default()).expect("a route");
    assert_eq!(found.handle, 1, "rank before age");
}

#[test]
fn routes_that_do_not_compile_are_named_with_their_field() {
    let table: &[(&str, &str, &str)] = &[
        ("", "@entity", "names no method"),
        ("paths=~/(", "paths", "invalid regex '/('"),
        ("paths=~a", "paths", "should start with"),
        ("paths=a", "paths", "should start with"),
        ("paths=/a%zz", "paths", "'/a%zz': byte 2"),
        ("hosts=*", "hosts", "invalid wildcard"),
        ("hosts=*.a.*", "hosts", "must have at most one wildcard"),
        ("hosts=a.*.b", "hosts", "leftmost or rightmost label"),
        ("hosts=a*", "hosts", "leftmost or rightmost label"),
        ("hosts=a:x", "hosts", "invalid port number"),
        ("hosts=a:65536", "hosts", "invalid port number"),
        ("hosts=[::1", "hosts", "invalid hostname"),
        ("snis=*a", "snis", "invalid wildcard"),
        ("headers=x-y:~*(", "headers.x-y", "invalid regex '('"),
    ];
    for (text, field, reason) in table {
        let errors = Router::build(vec![route(0, "paths=/"), route(7, text)]).expect_err(text);
        let [error] = errors.as_slice() else {
            panic!("{text}: {errors:?}")
        };
        assert_eq!(
            (error.handle, &*error.field, error.route),
            (7, *field, Uuid::from_u128(8)),
            "{text}"
        );
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
    let empty = RouteSpec {
        headers: vec![("x".into(), vec![])],
        ..RouteSpec::default()
    };
    assert_eq!(
        Router::build(vec![empty]).expect_err("no value")[0].field,
        "headers.x"
    );
    let errors =
        Router::build(vec![route(0, "paths=~/( hosts=*"), route(1, "snis=*")]).expect_err("three");
    assert_eq!(errors.len(), 3, "{errors:?}");
}

/// Two spellings of one path must not be matched as one route's and served as another's.
#[test]
fn encoded_dots_and_slashes_cannot_reach_another_routes_prefix() {
    let router = router(&["paths=/public", "paths=/admin", "paths=~/caf%C3%A9"]);
    let prefixes = ["/public", "/admin", "/caf%C3%A9"];
    let table: &[(&[u8], Option<u32>)] = &[
        (b"/public/../admin", Some(1)),
        (b"/public/%2e%2e/admin", Some(1)),
        (b"/public/.%2E/admin", Some(1)),
        (b"/public//..//admin", Some(1)),
        (b"//admin", Some(1)),
        (b"/./admin", Some(1)),
        (b"/%61dmin", Some(1)),
        (b"/../admin", Some(1)),
        (b"/public..%2fadmin", Some(0)),
        (b"/public..%5cadmin", Some(0)),
        (b"/public..;/admin", Some(0)),
        (b"/public/%252e%252e/admin", Some(0)),
        (b"/public../admin", Some(0)),
        (b"/public%2e%2e/admin", Some(0)),
        (b"/public./admin", Some(0)),
        (b"/public..", Some(0)),
        (b"/admin/../public", Some(0)),
        (b"/%2fadmin", None),
        (b"/caf\xc3\xa9", Some(2)),
        (b"/caf%c3%a9", Some(2)),
    ];
    let (mut path, mut sent, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for (received, want) in table {
        let received_text = String::from_utf8_lossy(received);
        normalise(received, &mut path).expect("well formed");
        let text = std::str::from_utf8(&path).expect("ASCII");
        let found = find(
            &router,
            &Request {
                path: text,
                ..REQUEST
            },
            &mut Scratch::default(),
        );
        assert_eq!(found.map(|found| found.handle), *want, "{received_text}");
        let Some(found) = found else { continue };
        for handling in [Handling::V0, Handling::V1] {
            let case = format!("{received_text} {handling:?}");
            upstream_path(None, &path, found.path_matched, false, handling, &mut sent);
            assert_eq!(sent, path, "{case}: what was matched is what is sent");
            assert!(
                sent.starts_with(prefixes[found.handle as usize].as_bytes()),
                "{case}"
            );
            upstream_path(
                Some(b"/svc/"),
                &path,
                found.path_matched,
                true,
                handling,
                &mut sent,
            );
            normalise(&sent, &mut again).expect("well formed");
            assert_eq!(
                again, sent,
                "{case}: nothing left that the target could resolve"
            );
            assert!(
                sent == b"/svc" || sent.starts_with(b"/svc/"),
                "{case}: below service.path"
            );
        }
    }
}
