//! A second matcher, without an index, and random configurations on which both must agree.
use std::collections::HashMap;

use super::*;

/// Small alphabets, so that most routes of a configuration can match one request.
#[test]
fn router_agrees_with_kongs_number_over_all_routes() {
    let mut random = Random(0x5a11_9027);
    let mut reference = Reference::default();
    let mut scratch = Scratch::default();
    let (mut matched, mut missed) = (0, 0);
    for round in 0..2500 {
        let route_count = match round % 50 {
            0 => 300,
            1..10 => 1 + random.below(4),
            _ => 1 + random.below(40),
        };
        // Few categories at a time make long lists of like routes.
        let density = 1 + random.below(4);
        let specs: Vec<_> = (0..route_count as u32)
            .map(|handle| random_route(&mut random, handle, density))
            .collect();
        let router = Router::build(specs.clone()).expect("compiles");
        for _ in 0..30 {
            with_random_request(&mut random, |request| {
                let want = reference.find(&specs, request);
                assert_eq!(
                    find(&router, request, &mut scratch),
                    want,
                    "round {round}: {request:?} in {specs:#?}"
                );
                *(if want.is_some() {
                    &mut matched
                } else {
                    &mut missed
                }) += 1;
            });
        }
    }
    assert!(
        matched > 10_000 && missed > 5_000,
        "both outcomes are common: {matched}, {missed}"
    );
}

pub(super) fn with_random_request(random: &mut Random, ask: impl FnOnce(&Request)) {
    let headers: Vec<_> = (0..random.below(3))
        .map(|_| {
            (
                random.pick(&["x-h", "X_H", "x_i", "X-I", "x-other"]),
                random.pick(&["1", "2", "A", "a", "v7"]),
            )
        })
        .collect();
    let request = Request {
        method: random.pick(&["GET", "POST", "FOO", "get"]),
        host: random.pick(&[
            "a.test",
            "A.TEST",
            "b.a.test",
            "c.b.a.test",
            "test",
            "a.b",
            "",
            "a.",
            "a.test.",
            "B.A.test.",
            ".test",
            "b.a.x",
        ]),
        port: random.pick(&[8443, 9443]),
        path: random.pick(&[
            "/", "/a", "/ab", "/a/", "/a/b", "/abc/x", "/b", "/bb/x", "/a1", "/a22/x", "/c",
            "/x/b", "/ac",
        ]),
        tls: random.pick(&[
            None,
            Some(None),
            Some(Some("a.test")),
            Some(Some("B.a.test.")),
            Some(Some("test")),
            Some(Some("a.x")),
        ]),
        headers: &headers,
    };
    ask(&request);
}

pub(super) fn random_route(random: &mut Random, handle: u32, density: usize) -> RouteSpec {
    const HOSTS: &[&str] = &[
        "a.test",
        "A.test:8443",
        "b.a.test",
        "*.test",
        "*.a.test",
        "a.*",
        "b.a.*:9443",
        "test",
        "c.b.a.test",
        "*.b.a.test",
        "a.test.",
        "*.a.test.:8443",
    ];
    const PATHS: &[&str] = &[
        "/",
        "/a",
        "/b",
        "/ab",
        "/a/",
        "/a/b",
        "/abc",
        "~/a",
        "~/b",
        r"~/a\d",
        r"~/a\d+",
        "~/(a|b)",
        "~/[ab]+/x",
        "~/a|/b",
        "~/ab?c",
        "~/(?i)A",
        r"~/\w",
        "~/x(?x)/b # |",
    ];
    const SNIS: &[&str] = &[
        "a.test",
        "b.a.test",
        "B.A.test.",
        "*.test",
        "*.a.test",
        "a.*",
        "test",
    ];
    const METHODS: &[&str] = &["GET", "POST", "FOO"];
    const VALUES: &[&str] = &["1", "2", "a", "B", r"~*^V\d$", "~*a"];
    let some = |random: &mut Random, from: &[&str], max: usize| -> Vec<String> {
        if random.below(5) >= density {
            return Vec::new();
        }
        (0..1 + random.below(max))
            .map(|_| s(random.pick(from)))
            .collect()
    };
    // Ids in no relation to the order of the routes, distinct.
    let id = Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(handle));
    let headers = ["x-h", "X_I"];
    let headers = headers.iter().filter_map(|name| {
        let values = some(random, VALUES, 2);
        (!values.is_empty()).then(|| (s(name), values))
    });
    let headers = headers.collect();
    let mut spec = RouteSpec {
        id,
        handle,
        methods: some(random, METHODS, 2),
        hosts: some(random, HOSTS, 3),
        paths: some(random, PATHS, 4),
        headers,
        snis: some(random, SNIS, 2),
        regex_priority: random.below(3) as i64,
        created_at: (id.as_u128() >> 64 & 1 == 1).then_some((id.as_u128() >> 65 & 1) as i64),
    };
    if [&spec.methods, &spec.hosts, &spec.paths, &spec.snis]
        .iter()
        .all(|list| list.is_empty())
        && spec.headers.is_empty()
    {
        spec.paths.push(s("/"));
    }
    spec
}

/// KONG.md §3.1 and §3.2 written down once more, without an index.
#[derive(Default)]
struct Reference {
    regexes: HashMap<String, regex::Regex>,
}

impl Reference {
    fn find(&mut self, specs: &[RouteSpec], request: &Request) -> Option<Match> {
        let mut best: Option<((u64, i64, Uuid), Match)> = None;
        for spec in specs {
            if !self.without_paths(spec, request) {
                continue;
            }
            for (path_bits, path_matched) in self.paths(spec, request.path) {
                // Ties: the older, then the larger id.
                let youth = spec.created_at.map_or(i64::MIN, |at| -at);
                let rank = (number(spec) | path_bits, youth, spec.id);
                if best.is_none_or(|(best, _)| rank > best) {
                    best = Some((
                        rank,
                        Match {
                            handle: spec.handle,
                            path_matched,
                        },
                    ));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// The path bits of every virtual route that matches, and the bytes it matched.
    fn paths(&mut self, spec: &RouteSpec, path: &str) -> Vec<(u64, Option<usize>)> {
        if spec.paths.is_empty() {
            return vec![(0, None)];
        }
        let mut found: Vec<_> = spec
            .paths
            .iter()
            .filter(|prefix| prefix.starts_with('/') && path.starts_with(&***prefix))
            .map(|prefix| (prefix.len() as u64, Some(prefix.len())))
            .collect();
        let regex = spec
            .paths
            .iter()
            .filter_map(|path| path.strip_prefix('~'))
            .find_map(|pattern| {
                self.regex(&format!("^(?:{pattern}\n)"), &format!("^(?:{pattern})"))
                    .find(path)
                    .map(|found| found.end())
            });
        found.extend(
            regex.map(|matched| (1 << 51 | (spec.regex_priority as u64) << 19, Some(matched))),
        );
        found
    }

    /// The second form; the first where a comment swallows the parenthesis.
    fn regex(&mut self, commented: &str, plain: &str) -> &regex::Regex {
        self.regexes.entry(plain.to_owned()).or_insert_with(|| {
            regex::Regex::new(plain)
                .or_else(|_| regex::Regex::new(commented))
                .expect("compiles")
        })
    }

    fn without_paths(&mut self, spec: &RouteSpec, request: &Request) -> bool {
        let name_matches = |pattern: &str, name: &str| match (
            pattern.strip_prefix('*'),
            pattern.strip_suffix('*'),
        ) {
            (Some(suffix), _) => name.len() > suffix.len() && name.ends_with(suffix),
            (_, Some(prefix)) => name.len() > prefix.len() && name.starts_with(prefix),
            _ => name == pattern,
        };
        let method =
            spec.methods.is_empty() || spec.methods.iter().any(|method| method == request.method);
        let whole = |name: &str| name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let host = whole(request.host);
        let host = spec.hosts.is_empty()
            || spec.hosts.iter().any(|pattern| {
                let pattern = pattern.to_lowercase();
                let (name, port) = pattern.split_once(':').unwrap_or((&pattern, ""));
                name_matches(&whole(name), &host)
                    && (port.is_empty() || port == request.port.to_string())
            });
        let sni = match request.tls {
            _ if spec.snis.is_empty() => true,
            None => true,
            Some(None) => false,
            Some(Some(sni)) => {
                let sni = sni.to_lowercase();
                let sni = sni.trim_end_matches('.');
                spec.snis
                    .iter()
                    .any(|pattern| name_matches(pattern.to_lowercase().trim_end_matches('.'), sni))
            }
        };
        let canonical = |name: &str| name.to_lowercase().replace('_', "-");
        let headers = spec.headers.iter().all(|(name, wanted)| {
            request
                .headers
                .iter()
                .filter(|(line, _)| canonical(line) == canonical(name))
                .any(|(_, value)| {
                    wanted.iter().any(|want| match want.strip_prefix("~*") {
                        Some(pattern) => {
                            let pattern = format!("(?i){pattern}");
                            self.regex(&pattern, &pattern).is_match(value)
                        }
                        None => want.eq_ignore_ascii_case(value),
                    })
                })
        });
        method && host && sni && headers
    }
}

/// KONG.md §3.2 without the path bits.
fn number(spec: &RouteSpec) -> u64 {
    let lists = [
        spec.methods.len(),
        spec.hosts.len(),
        spec.headers.len(),
        spec.snis.len(),
        spec.paths.len(),
    ];
    let category_count = lists.iter().filter(|len| **len > 0).count() as u64;
    let plain_hosts = !spec.hosts.is_empty() && spec.hosts.iter().all(|host| !host.contains('*'));
    category_count << 61 | u64::from(plain_hosts) << 60 | (spec.headers.len() as u64) << 52
}

/// SplitMix64: deterministic, and good enough to mix tables.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
