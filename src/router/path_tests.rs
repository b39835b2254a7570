use super::*;

fn normal(path: &[u8]) -> Result<String, PathError> {
    let mut out = b"left over".to_vec();
    normalise(path, &mut out)?;
    Ok(String::from_utf8(out).expect("a normalised path is ASCII"))
}

fn upstream(
    service: Option<&str>,
    req: &str,
    matched: Option<usize>,
    strip: bool,
    handling: Handling,
) -> String {
    let mut out = b"left over".to_vec();
    upstream_path(
        service.map(str::as_bytes),
        req.as_bytes(),
        matched,
        strip,
        handling,
        &mut out,
    );
    String::from_utf8(out).expect("an upstream path is ASCII")
}

#[test]
fn one_spelling_per_path() {
    let table: &[(&str, &[u8], &str)] = &[
        ("absolute-form without a path", b"", "/"),
        ("unchanged", b"/", "/"),
        ("unchanged", b"/a/b.c/d~e;f=1,2", "/a/b.c/d~e;f=1,2"),
        (
            "unchanged: reserved",
            b"/:@[]!$&'()*+,;=",
            "/:@[]!$&'()*+,;=",
        ),
        ("unchanged: case", b"/Api", "/Api"),
        (
            "RFC 3986 6.2.2.2 unreserved decoded",
            b"/%41%7a%30%2D%2e%5F%7E",
            "/Az0-._~",
        ),
        (
            "RFC 3986 6.2.2.1 reserved kept, upper case",
            b"/a%2fb%3a%3F",
            "/a%2Fb%3A%3F",
        ),
        ("decoded once only", b"/%252e%252e/a", "/%252e%252e/a"),
        ("RFC 3986 5.2.4", b"/a/b/c/./../../g", "/a/g"),
        ("RFC 3986 5.2.4 dot at the end", b"/a/.", "/a/"),
        ("RFC 3986 5.2.4 dots at the end", b"/a/b/..", "/a/"),
        ("RFC 3986 5.2.4 dots to the root", b"/a/..", "/"),
        ("RFC 3986 5.2.4 above the root", b"/../../a", "/a"),
        ("RFC 3986 5.2.4 above the root", b"/a/../../..", "/"),
        (
            "dots in names stay",
            b"/a./.b/..c/d../...",
            "/a./.b/..c/d../...",
        ),
        ("KONG 3.9.10 escaped dots", b"/a/%2e%2E/b", "/b"),
        ("KONG 3.9.10 half escaped dots", b"/a/.%2e/b", "/b"),
        ("KONG 3.9.10 slashes merged", b"//a///b//", "/a/b/"),
        ("slashes merged before dots", b"/a//../b", "/b"),
        ("slashes merged around dots", b"/a/.//./b", "/a/b"),
        ("KONG 3.9.10 %2F does not split", b"/a%2Fb/%2e%2e/c", "/c"),
        (
            "dots in names stay beside escaped slashes",
            b"/a../..b%2f...%5c.c;..",
            "/a../..b%2F...%5C.c;..",
        ),
        (
            "an address in a segment stays",
            b"/http%3A%2F%2Fa.test%2F",
            "/http%3A%2F%2Fa.test%2F",
        ),
        ("parameters stay", b"/a;b=..;c=/;/d;", "/a;b=..;c=/;/d;"),
        (
            "escaped: outside RFC 3986",
            b"/a b\"<>\\^`{|}",
            "/a%20b%22%3C%3E%5C%5E%60%7B%7C%7D",
        ),
        ("escaped: not ASCII", b"/caf\xc3\xa9", "/caf%C3%A9"),
        ("encoded control stays encoded", b"/a%0d%0Ab", "/a%0D%0Ab"),
    ];
    for (rule, path, want) in table {
        let got = normal(path);
        assert_eq!(
            got.as_deref(),
            Ok(*want),
            "{rule}: {:?}",
            String::from_utf8_lossy(path)
        );
        assert_eq!(
            normal(want.as_bytes()).as_deref(),
            Ok(*want),
            "{rule}: twice"
        );
    }
}

#[test]
fn malformed_paths_refused_with_their_place() {
    let table: &[(&[u8], PathError)] = &[
        (b"a", PathError::NotAbsolute),
        (b"*", PathError::NotAbsolute),
        (b"%2Fa", PathError::NotAbsolute),
        (b"/%", PathError::Escape { at: 1 }),
        (b"/a%2", PathError::Escape { at: 2 }),
        (b"/a%2g", PathError::Escape { at: 2 }),
        (b"/a%%41", PathError::Escape { at: 2 }),
        (b"/a%+1", PathError::Escape { at: 2 }),
        (b"/a\0", PathError::Control { at: 2 }),
        (b"/a%00", PathError::Control { at: 2 }),
        (b"/\r\n", PathError::Control { at: 1 }),
        (b"/a\x7f", PathError::Control { at: 2 }),
        (b"/a?b", PathError::Delimiter { at: 2 }),
        (b"/a#b", PathError::Delimiter { at: 2 }),
        (b"/a/..%2Fb", PathError::HiddenDotSegment),
        (b"/a/..%5cb", PathError::HiddenDotSegment),
        (b"/a/..\\b", PathError::HiddenDotSegment),
        (b"/a/%2e%2E%2fb", PathError::HiddenDotSegment),
        (b"/a%2f..", PathError::HiddenDotSegment),
        (b"/a%2F../b", PathError::HiddenDotSegment),
        (b"/a%2F.%5Cb", PathError::HiddenDotSegment),
        (b"/a/..;/b", PathError::HiddenDotSegment),
        (b"/a/.;x=1;y/b", PathError::HiddenDotSegment),
        (b"/..;", PathError::HiddenDotSegment),
    ];
    for (path, want) in table {
        assert_eq!(
            normal(path),
            Err(*want),
            "{:?}",
            String::from_utf8_lossy(path)
        );
    }
}

/// Every string of up to five pieces that matter: the result is absolute, holds no dot or empty segment, and is stable;
/// joined to a service path, stripped anywhere or not at all, it stays below it, also where the target reads more into it.
#[test]
fn no_spelling_escapes_normalisation() {
    let pieces: &[&[u8]] = &[b"/", b".", b"%2e", b"%2F", b"a", b";", b"\\"];
    // As nginx, Windows and Tomcat would have it, all at once.
    let liberal = |path: &str| -> Vec<String> {
        let decoded = path.replace("%2F", "/").replace("%5C", "/");
        let segments = decoded.split('/').skip(1);
        segments
            .map(|segment| segment.split(';').next().unwrap_or_default().to_owned())
            .collect()
    };
    let is_dots = |segment: &String| segment == "." || segment == "..";
    let mut refused = 0;
    let mut stack: Vec<(usize, Vec<u8>)> = vec![(0, b"/".to_vec())];
    while let Some((count, path)) = stack.pop() {
        if count < 5 {
            stack.extend(
                pieces
                    .iter()
                    .map(|piece| (count + 1, [&path, *piece].concat())),
            );
        }
        let got = match normal(&path) {
            Ok(got) => got,
            Err(error) => {
                let text = String::from_utf8_lossy(&path).replace("%2e", ".");
                let text = text.replace('\\', "%5C");
                assert_eq!(error, PathError::HiddenDotSegment, "{text}");
                assert!(liberal(&text).iter().any(is_dots), "{text}");
                refused += 1;
                continue;
            }
        };
        assert!(!liberal(&got).iter().any(is_dots), "{got}");
        let mut segments = got.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            assert!(!matches!(segment, "." | ".."), "{got}");
            assert!(!segment.is_empty() || segments.peek().is_none(), "{got}");
        }
        assert!(got.starts_with('/'), "{got}");
        assert_eq!(normal(got.as_bytes()).as_deref(), Ok(&*got));
        for matched in (0..=got.len()).map(Some).chain([None]) {
            let sent = upstream(Some("/svc"), &got, matched, true, Handling::V0);
            assert!(
                sent == "/svc" || sent.starts_with("/svc/"),
                "{got} {matched:?}: {sent}"
            );
            assert_eq!(
                normal(sent.as_bytes()).as_deref(),
                Ok(&*sent),
                "{got} {matched:?}"
            );
            // A match cannot end inside an escape: a prefix holds whole ones.
            let splits = |at: usize| {
                got.get(..at).is_some_and(|matched| {
                    matched.ends_with('%') || matched.ends_with("%2") || matched.ends_with("%5")
                })
            };
            if !matched.is_some_and(splits) {
                assert!(
                    !liberal(&sent).iter().any(is_dots),
                    "{got} {matched:?}: {sent}"
                );
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn a_liberal_target_reads_a_path_so() {
    use Reading::{Parameters, Separators};
    let table: &[(Reading, &str, Option<&str>)] = &[
        (Separators, "/a/b", None),
        (Separators, "/a%20b", None),
        (Separators, "/a;b", None),
        (Separators, "/a%2Fb", Some("/a/b")),
        (Separators, "/a%5Cb/", Some("/a/b/")),
        (Separators, "/%2Fa%2F%2Fb%2F", Some("/a/b/")),
        (Separators, "/a;x%2Fy/b%25", Some("/a/y/b%25")),
        (Parameters, "/a%2Fb", None),
        (Parameters, "/a;x=1/b;", Some("/a/b")),
        (Parameters, "/;/a", Some("/a")),
        (Parameters, "/a;x%2Fy/b%2Fc", Some("/a/b%2Fc")),
    ];
    let mut out = Vec::new();
    for (reading, path, want) in table {
        assert_eq!(normal(path.as_bytes()).as_deref(), Ok(*path), "normal");
        let read = read_as(*reading, path.as_bytes(), &mut out);
        let got = read.then(|| String::from_utf8_lossy(&out));
        assert_eq!(got.as_deref(), *want, "{reading:?} {path}");
    }
}

/// Columns of KONG.md §3.3: service.path, route.path, request, strip=false, strip=true. `-` is a route without paths.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const V0: &[Row] = &[
    ("/", "/", "/", "/", "/"),
    ("/", "/", "/api", "/api", "/api"),
    ("/", "/", "/api/", "/api/", "/api/"),
    ("/", "/api", "/api", "/api", "/"),
    ("/", "/api", "/api/", "/api/", "/"),
    ("/", "/api", "/apix", "/apix", "/x"),
    ("/", "/api", "/api/x", "/api/x", "/x"),
    ("/", "/api/", "/api/", "/api/", "/"),
    ("/", "/api/", "/api/x", "/api/x", "/x"),
    ("/svc", "/", "/", "/svc", "/svc"),
    ("/svc", "/", "/api", "/svc/api", "/svc/api"),
    ("/svc", "/", "/api/", "/svc/api/", "/svc/api/"),
    ("/svc", "/api", "/api", "/svc/api", "/svc"),
    ("/svc", "/api", "/api/", "/svc/api/", "/svc/"),
    ("/svc", "/api", "/apix", "/svc/apix", "/svc/x"),
    ("/svc", "/api", "/api/x", "/svc/api/x", "/svc/x"),
    ("/svc", "/api/", "/api/", "/svc/api/", "/svc/"),
    ("/svc", "/api/", "/api/x", "/svc/api/x", "/svc/x"),
    ("/svc/", "/", "/", "/svc/", "/svc/"),
    ("/svc/", "/", "/api", "/svc/api", "/svc/api"),
    ("/svc/", "/", "/api/", "/svc/api/", "/svc/api/"),
    ("/svc/", "/api", "/api", "/svc/api", "/svc"),
    ("/svc/", "/api", "/api/", "/svc/api/", "/svc/"),
    ("/svc/", "/api", "/apix", "/svc/apix", "/svc/x"),
    ("/svc/", "/api", "/api/x", "/svc/api/x", "/svc/x"),
    ("/svc/", "/api/", "/api/", "/svc/api/", "/svc/"),
    ("/svc/", "/api/", "/api/x", "/svc/api/x", "/svc/x"),
    ("/svc", "-", "/", "/svc", "/svc"),
    ("/svc", "-", "/api", "/svc/api", "/svc/api"),
    ("/svc", "-", "/api/", "/svc/api/", "/svc/api/"),
    ("/svc/", "-", "/", "/svc/", "/svc/"),
    ("/svc/", "-", "/api", "/svc/api", "/svc/api"),
    ("/svc/", "-", "/api/", "/svc/api/", "/svc/api/"),
    ("/svc", "/api", "/api./x", "/svc/api./x", "/svc/x"),
    ("/svc", "/api", "/api%2E/x", "/svc/api./x", "/svc/x"),
    ("/svc", "/api", "/api../x", "/svc/api../x", "/svc/x"),
    ("/svc/", "/api", "/api%2e%2E/x", "/svc/api../x", "/svc/x"),
    // Clean-up and escaping beyond the table.
    ("/svc", "/api", "/api.", "/svc/api.", "/svc"),
    ("/svc", "/api", "/api../", "/svc/api../", "/svc/"),
    (
        "/svc",
        "/api",
        "/api/a%2fb%41",
        "/svc/api/a%2FbA",
        "/svc/a%2FbA",
    ),
    ("/s c", "/api", "/api/x", "/s%20c/api/x", "/s%20c/x"),
];

const V1: &[Row] = &[
    ("/svc", "/", "/api", "/svcapi", "/svcapi"),
    ("/svc", "/", "/api/", "/svcapi/", "/svcapi/"),
    ("/svc", "/api", "/api", "/svcapi", "/svc"),
    ("/svc", "/api", "/api/", "/svcapi/", "/svc/"),
    ("/svc", "/api", "/apix", "/svcapix", "/svcx"),
    ("/svc", "/api", "/api/x", "/svcapi/x", "/svc/x"),
    ("/svc", "/api/", "/api/", "/svcapi/", "/svc"),
    ("/svc", "/api/", "/api/x", "/svcapi/x", "/svcx"),
    ("/svc/", "/api", "/api/", "/svc/api/", "/svc/"),
    ("/svc", "-", "/api", "/svcapi", "/svcapi"),
    ("/", "/api", "/api/x", "/api/x", "/x"),
    ("/", "/", "/", "/", "/"),
];

#[test]
fn upstream_paths_as_in_kong() {
    for (handling, rows) in [(Handling::V0, V0), (Handling::V1, V1)] {
        for &(service, route, request, kept, stripped) in rows {
            let request = normal(request.as_bytes()).expect("well formed");
            let matched = (route != "-").then_some(route.len());
            for (strip, want) in [(false, kept), (true, stripped)] {
                let row = format!("{handling:?} {service} {route} {request} strip={strip}");
                assert_eq!(
                    upstream(Some(service), &request, matched, strip, handling),
                    want,
                    "{row}"
                );
                if service == "/" {
                    assert_eq!(
                        upstream(None, &request, matched, strip, handling),
                        want,
                        "{row}, no service.path"
                    );
                }
            }
        }
    }
}

#[test]
fn a_match_longer_than_the_path_strips_it_whole() {
    assert_eq!(upstream(None, "/a", Some(9), true, Handling::V0), "/");
}
