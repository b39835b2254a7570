//! Route match among 10, 1,000 and 10,000 routes (KONG.md §3), one lookup per iteration over a rotation of requests.
//! Every answer is checked. `build` is the cost of compiling a whole configuration.
use std::hint::black_box;

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sallyport::router::{Headers, Query, RouteSpec, Router, Scratch, path};
use uuid::Uuid;

const ROUTE_COUNTS: [u32; 3] = [10, 1_000, 10_000];
/// Requests in rotation: enough that neither branch predictor nor cache holds one answer.
const REQUESTS: usize = 256;
/// A whole build takes long; a few are enough.
const BUILD_SAMPLES: usize = 10;
/// Half of `limits::ROUTE_CHANGES_MAX`.
const CHANGES: u32 = 64;

/// Name, route i, and a request for it.
type Shape = (&'static str, fn(u32, &mut RouteSpec), Asked);
/// Host, path and value of `X-Tenant` of the request for route i.
type Asked = fn(u32) -> (String, String, String);

const SHAPES: [Shape; 5] = [
    (
        "hosts",
        |i, spec| spec.hosts = vec![format!("tenant{i}.example.com")],
        |i| {
            (
                format!("tenant{i}.example.com"),
                "/orders/1".into(),
                String::new(),
            )
        },
    ),
    (
        "wildcard hosts",
        |i, spec| spec.hosts = vec![format!("*.tenant{i}.example.com")],
        |i| {
            (
                format!("api.tenant{i}.example.com"),
                "/orders/1".into(),
                String::new(),
            )
        },
    ),
    (
        "prefixes on one host",
        |i, spec| {
            spec.hosts = vec!["api.example.com".into()];
            spec.paths = vec![format!("/shop/v1/{i:05}")];
        },
        |i| {
            (
                "api.example.com".into(),
                format!("/shop/v1/{i:05}/orders/1"),
                String::new(),
            )
        },
    ),
    (
        "regexes on one host",
        |i, spec| {
            spec.hosts = vec!["api.example.com".into()];
            spec.paths = vec![format!(r"~/shop/{i:05}/\d+$")];
        },
        |i| {
            (
                "api.example.com".into(),
                format!("/shop/{i:05}/42"),
                String::new(),
            )
        },
    ),
    (
        "header values",
        |i, spec| {
            spec.paths = vec!["/".into()];
            spec.headers = vec![("x-tenant".into(), vec![format!("tenant{i}")])];
        },
        |i| {
            (
                "api.example.com".into(),
                "/orders/1".into(),
                format!("tenant{i}"),
            )
        },
    ),
];

struct Tenant<'a>(&'a [u8]);

impl Headers for Tenant<'_> {
    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == "x-tenant" && value(self.0)
    }
}

fn specs(count: u32, fill: fn(u32, &mut RouteSpec)) -> Vec<RouteSpec> {
    (0..count)
        .map(|handle| {
            let mut spec = RouteSpec {
                id: Uuid::from_u128(u128::from(handle)),
                handle,
                ..RouteSpec::default()
            };
            fill(handle, &mut spec);
            spec
        })
        .collect()
}

fn find(criterion: &mut Criterion) {
    for (name, fill, request) in SHAPES {
        let mut group = criterion.benchmark_group(format!("router/{name}"));
        group.throughput(Throughput::Elements(1));
        for count in ROUTE_COUNTS {
            let router = Router::build(specs(count, fill)).expect("compiles");
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                rotate(bencher, &router, count, request);
            });
        }
        group.finish();
    }
}

/// What lookups cost while changes stand in a table of their own: some were replaced, others went.
fn find_among_changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router/after changes");
    group.throughput(Throughput::Elements(1));
    const COUNT: u32 = 10_000;
    for (name, fill, request) in SHAPES {
        let router = Router::build(specs(COUNT + CHANGES, fill)).expect("compiles");
        let handles: Vec<u32> = (COUNT..COUNT + CHANGES).collect();
        let router = router.with_changes(&handles, &[]).expect("compiles");
        let changed: Vec<_> = specs(CHANGES, fill);
        let router = router.with_changes(&[], &changed).expect("compiles");
        group.bench_function(name, |bencher| rotate(bencher, &router, COUNT, request));
    }
    group.finish();
}

/// Requests for `REQUESTS` of the `count` routes in turn.
fn rotate(bencher: &mut Bencher<'_>, router: &Router, count: u32, request: Asked) {
    // A stride that is coprime to the counts visits routes from end to end.
    let requests: Vec<_> = (0..REQUESTS as u32)
        .map(|n| n * 7_919 % count)
        .map(|i| (i, request(i)))
        .collect();
    let mut rotation = requests.iter().cycle();
    let mut scratch = Scratch::default();
    bencher.iter(|| {
        let (handle, (host, path, tenant)) = rotation.next().expect("endless");
        let query = Query {
            method: b"GET",
            host: host.as_bytes(),
            port: 443,
            path: path.as_bytes(),
            tls: Some(Some(host)),
            headers: &Tenant(tenant.as_bytes()),
        };
        let found = router.find(black_box(&query), &mut scratch);
        assert_eq!(found.map(|found| found.handle), Some(*handle));
    });
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router/build");
    group.sample_size(BUILD_SAMPLES);
    for (name, fill, _) in SHAPES {
        let specs = specs(10_000, fill);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                Router::build(black_box(specs.clone()))
                    .expect("compiles")
                    .entry_count()
            });
        });
    }
    group.finish();
}

fn normalise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router/normalise");
    for (name, received, want) in [
        (
            "already normal",
            &b"/shop/v1/orders/2026-01-01/items"[..],
            &b"/shop/v1/orders/2026-01-01/items"[..],
        ),
        (
            "dots and escapes",
            b"/shop//v1/./x/%2e%2e/%6Frders/a%2fb",
            b"/shop/v1/orders/a%2Fb",
        ),
    ] {
        group.throughput(Throughput::Bytes(received.len() as u64));
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                path::normalise(black_box(received), &mut out).expect("well formed");
                assert_eq!(out, want);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find, find_among_changes, build, normalise);
criterion_main!(benches);
