//! What one change of a configuration costs to compile: with 1,000, 10,000 and 100,000 certificates and as many SNIs, a
//! tenth as many services, routes and consumers. `start` is the first compilation. Every snapshot is looked at.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sallyport::entity::{Config, Kind};
use sallyport::snapshot::tls_glue::Tls;
use sallyport::snapshot::{Compiler, Globals, Snapshot};
use sallyport::tls::provider;
use sallyport::tls::server::ServerSettings;
use sallyport::tls::upstream::Versions;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

const CERTIFICATE_COUNTS: [u32; 4] = [100, 1_000, 10_000, 100_000];
/// Certificates per service, route and consumer.
const SHARE: u32 = 10;
/// Routes per service that has any.
const SERVED: u32 = 10;
const START_SAMPLES: usize = 10;
/// The number of a row that comes and goes; it refers to the first of each kind.
const NEW: u32 = u32::MAX;
/// Stands for a chain and a key: they are read at the first handshake, which is not measured here.
const PEM: &str = "-----BEGIN CERTIFICATE-----";

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("changes");
    for count in CERTIFICATE_COUNTS {
        let mut node = Node::new(count);
        // Rows that come in one iteration and go in the next; and rows that change from one text to another.
        let comes_and_goes =
            |(kind, number): (Kind, u32)| move |turn: u32| (kind, number, turn.is_multiple_of(2));
        let changes = |kind: Kind| move |turn: u32| (kind, turn * 7_919 % (count / SHARE), true);
        let of_routes = |turn: u32| {
            let number = turn * 7_919 % (count / SHARE);
            (Kind::Services, number - number % SERVED, true)
        };
        type Step<'s> = &'s dyn Fn(u32) -> (Kind, u32, bool);
        let steps: [(&str, Step); 7] = [
            ("certificate replaced", &changes(Kind::Certificates)),
            ("SNI added or deleted", &comes_and_goes((Kind::Snis, NEW))),
            (
                "route added or deleted",
                &comes_and_goes((Kind::Routes, NEW)),
            ),
            ("route changed", &changes(Kind::Routes)),
            ("service of ten routes changed", &of_routes),
            (
                "consumer added or deleted",
                &comes_and_goes((Kind::Consumers, NEW)),
            ),
            (
                "credential added or deleted",
                &comes_and_goes((Kind::MtlsAuthCredentials, NEW)),
            ),
        ];
        for (name, step) in steps {
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let (kind, number, there) = step(turn);
                    node.change(kind, number, there.then_some(turn));
                    turn += 1;
                });
            });
            let (kind, number, there) = step(turn);
            if !there {
                node.change(kind, number, None);
            }
        }
        assert_eq!(node.snapshot.server.sni_count(), count as usize);
        assert_eq!(
            node.snapshot.routes.iter().count(),
            (count / SHARE) as usize
        );
    }
    group.finish();
}

fn start(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("changes/start");
    group.sample_size(START_SAMPLES);
    for count in CERTIFICATE_COUNTS {
        let config = config(count);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let mut compiler = Compiler::new(globals());
                let globals = compiler.globals().clone();
                let (snapshot, _) = compiler.full(&TLS, &config, &globals).expect("sound");
                assert_eq!(snapshot.server.sni_count(), count as usize);
            });
        });
    }
    group.finish();
}

/// A configuration with what was compiled of it.
struct Node {
    config: Config,
    compiler: Compiler<Tls>,
    snapshot: Snapshot,
}

impl Node {
    fn new(count: u32) -> Node {
        let config = config(count);
        let mut compiler = Compiler::new(globals());
        let globals = compiler.globals().clone();
        let (snapshot, _) = compiler.full(&TLS, &config, &globals).expect("sound");
        Node {
            config,
            compiler,
            snapshot,
        }
    }

    /// `version`: what is new about the row; `None`: it goes.
    fn change(&mut self, kind: Kind, number: u32, version: Option<u32>) {
        match version {
            Some(version) => self
                .config
                .insert(kind, id(kind, number), row(kind, number, version)),
            None => drop(self.config.remove(kind, id(kind, number))),
        }
        let changed = [(kind, id(kind, number))];
        let applied = self.compiler.apply(&TLS, &self.config, &changed);
        self.snapshot = applied.expect("sound").0;
        // Beside the changes in the gateway; their share of it is measured here.
        if self.compiler.is_crowded()
            && let Some(settled) = self.compiler.settling().run(&|| {})
            && let Some(snapshot) = self.compiler.settle(&settled)
        {
            self.snapshot = snapshot;
        }
    }
}

const TLS: Tls = Tls {
    upstream_versions: Versions {
        tls12: true,
        tls13: true,
    },
};

fn globals() -> Globals<Tls> {
    Globals {
        default_pairs: Vec::new(),
        server: Arc::new(ServerSettings::new(provider::choose(
            provider::Mode::default(),
        ))),
        client_pair: None,
        proxy_ssl_verify: Some(false),
        tls_certificate_verify: false,
        verify_depth: 1,
        fallback_verify_depth: 1,
        traditional: false,
        advised: false,
        proxy_trust: None,
        fallback_trust: None,
    }
}

fn config(count: u32) -> Config {
    let mut config = Config::default();
    let shares = [
        (Kind::Certificates, 1),
        (Kind::Snis, 1),
        (Kind::Services, SHARE),
        (Kind::Routes, SHARE),
        (Kind::Consumers, SHARE),
        (Kind::MtlsAuthCredentials, SHARE),
    ];
    for (kind, share) in shares {
        for number in 0..count / share {
            config.insert(kind, id(kind, number), row(kind, number, 0));
        }
    }
    config
}

/// Distinct, and spread as random ones are.
fn id(kind: Kind, number: u32) -> Uuid {
    let mixed = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uuid::from_u64_pair(mixed, (kind as u64) << 32 | u64::from(number))
}

fn row(kind: Kind, number: u32, version: u32) -> Map<String, Value> {
    let to = |kind, number| json!({"id": id(kind, number)});
    let like = if number == NEW { 0 } else { number };
    let row = match kind {
        Kind::Certificates => json!({
            "cert": format!("{PEM}{number} {version}"), "key": PEM, "cert_alt": null, "key_alt": null,
        }),
        Kind::Snis => json!({
            "name": format!("host-{number}.tenant-{}.example.com", number % 97),
            "certificate": to(Kind::Certificates, like),
        }),
        Kind::Services => json!({
            "name": format!("service-{number}"), "protocol": "https", "host": format!("s{number}.test"), "port": 443,
            "path": null, "retries": 5, "connect_timeout": 60_000 + version, "write_timeout": 60_000,
            "read_timeout": 60_000, "client_certificate": null, "tls_verify": null, "tls_verify_depth": null,
            "ca_certificates": null, "enabled": true,
        }),
        Kind::Routes => json!({
            "name": format!("route-{number}"), "protocols": ["http", "https"], "methods": null,
            "hosts": [format!("tenant{number}.example.com")], "paths": [format!("/{version}")], "headers": null,
            "snis": null, "strip_path": true, "preserve_host": false, "regex_priority": 0,
            "https_redirect_status_code": 426, "path_handling": "v0", "request_buffering": true,
            "response_buffering": true, "service": to(Kind::Services, like - like % SERVED),
        }),
        Kind::Consumers => json!({"username": format!("user-{number}"), "custom_id": null}),
        Kind::MtlsAuthCredentials => json!({
            "consumer": to(Kind::Consumers, like % 10), "subject_name": format!("client-{number}"),
            "ca_certificate": null,
        }),
        _ => json!({}),
    };
    let mut row = match row {
        Value::Object(row) => row,
        _ => Map::new(),
    };
    row.insert("id".into(), json!(id(kind, number)));
    row
}

criterion_group!(benches, changes, start);
criterion_main!(benches);
