//! Whatever the order in which a configuration came about, what is compiled is the same.

use super::*;
use crate::router::{Headers, Query, Scratch};
use std::collections::BTreeMap;

#[test]
fn any_sequence_of_changes_compiles_to_what_the_whole_compiles_to() {
    let (mut compiled, mut refused) = (0, 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        let recorder = Recorder::default();
        let mut compiler = Compiler::new(globals());
        let mut config = Config::default();
        let mut serial = 0;
        for step in 0..60 {
            let mut changed = config.clone();
            let rows = if step == 0 { 60 } else { 1 + random.below(4) };
            let mut listed = Vec::new();
            for _ in 0..rows {
                serial += 1;
                listed.extend(change(&mut random, &mut changed, serial));
            }
            let context = format!("seed {seed}, step {step}: {listed:?}");
            let mut fresh = Compiler::new(compiler.globals().clone());
            let globals = fresh.globals().clone();
            let whole = fresh.full(&recorder, &changed, &globals);
            match (compiler.apply(&recorder, &changed, &listed), whole) {
                (Ok((snapshot, _)), Ok((whole, warnings))) => {
                    same(&recorder, &snapshot, &whole, &mut random, &context);
                    config = changed;
                    let (again, all) = compiler
                        .full(&recorder, &config, &globals)
                        .expect("it has been compiled");
                    assert_eq!(all, warnings, "{context}");
                    assert!(Arc::ptr_eq(&again.server, &snapshot.server), "{context}");
                    compiled += 1;
                }
                (Err(found), Err(want)) => {
                    // The next step goes on from the configuration before.
                    let texts = |problems: Vec<Problem>| {
                        let texts = problems.iter().map(ToString::to_string);
                        texts.collect::<std::collections::BTreeSet<_>>()
                    };
                    assert_eq!(texts(found), texts(want), "{context}");
                    refused += 1;
                }
                (Ok(_), Err(problems)) => panic!("{context}: not seen: {problems:?}"),
                (Err(problems), Ok(_)) => panic!("{context}: not there: {problems:?}"),
            }
        }
    }
    assert!(
        compiled > 1_000 && refused > 100,
        "both are common: {compiled}, {refused}"
    );
}

fn settle(compiler: &mut Compiler<Recorder>) -> Option<Snapshot> {
    let settled = compiler.settling().run(&|| {})?;
    compiler.settle(&settled)
}

#[test]
fn a_settled_snapshot_answers_as_the_one_before() {
    let recorder = Recorder::default();
    let mut compiler = Compiler::new(globals());
    let routes = |tables: Tables, from: u128, to: u128| {
        (from..to).fold(tables, |tables, number| {
            let hosts = json!({"hosts": [format!("h{number}.test")]});
            tables.with(Kind::Routes, number, hosts)
        })
    };
    let tables = routes(Tables::default(), 1, 300);
    next(&recorder, &tables, &mut compiler);
    assert!(settle(&mut compiler).is_none(), "nothing has changed since");
    let tables = routes(tables, 300, 302);
    let added = [300, 301].map(|number| (Kind::Routes, id(number)));
    let (changed, _) = compiler
        .apply(&recorder, &tables.0, &added)
        .expect("it compiles");
    let settled = settle(&mut compiler).expect("two routes have come");
    assert!(settle(&mut compiler).is_none());
    assert_eq!((changed.number, settled.number), (2, 3));
    assert!(Arc::ptr_eq(&changed.server, &settled.server));
    for number in [1, 299, 300, 301, 302] {
        let host = format!("h{number}.test");
        let query = Query {
            method: b"GET",
            host: host.as_bytes(),
            port: 443,
            path: b"/",
            tls: None,
            headers: &NoHeaders,
        };
        let matched = |snapshot: &Snapshot| {
            let found = snapshot.router.find(&query, &mut Scratch::default())?;
            Some(route(snapshot, found.handle).id)
        };
        let expected = (number < 302).then(|| id(number));
        assert_eq!((matched(&changed), matched(&settled)), (expected, expected));
    }
}

fn same(
    recorder: &Recorder,
    found: &Snapshot,
    want: &Snapshot,
    random: &mut Random,
    context: &str,
) {
    assert_eq!(
        recorder.server_of(&found.server),
        recorder.server_of(&want.server),
        "{context}"
    );
    assert_eq!(routes(found), routes(want), "{context}");
    assert_eq!(consumers(found), consumers(want), "{context}");
    assert_eq!(
        found.upstream_identities, want.upstream_identities,
        "{context}"
    );
    for _ in 0..10 {
        let host = random.pick(&["a.test", "b.test", "x.a.test"]);
        let query = Query {
            method: random.pick::<&str>(&["GET", "POST"]).as_bytes(),
            host: host.as_bytes(),
            port: 443,
            path: random.pick::<&str>(&["/", "/a", "/b/c", "/a/1"]).as_bytes(),
            tls: random.pick(&[None, Some(None), Some(Some("a.test")), Some(Some("b.test"))]),
            headers: &NoHeaders,
        };
        let matched = |snapshot: &Snapshot| {
            let found = snapshot.router.find(&query, &mut Scratch::default())?;
            Some((route(snapshot, found.handle).id, found.path_matched))
        };
        assert_eq!(matched(found), matched(want), "{context}");
    }
}

/// By id, all that the data plane can tell of each.
fn routes(snapshot: &Snapshot) -> BTreeMap<Uuid, String> {
    let text = |route: &Arc<Route>| {
        assert!(Arc::ptr_eq(
            snapshot.routes.by_id(route.id).expect("found by id"),
            route
        ));
        let mut chains: Vec<_> = route
            .consumer_plugins
            .iter()
            .map(|(consumer, chain)| (consumer, plugins(chain)))
            .collect();
        chains.sort();
        let text = format!(
            "{} {:?} {} {} {} {} {:?} {} {chains:?} {:?}",
            route.label,
            route.name,
            route.http,
            route.https,
            route.strip_path,
            route.https_redirect_status_code,
            route.path_handling,
            plugins(&route.plugins),
            route.service.as_deref().map(service),
        );
        (route.id, text)
    };
    let texts: BTreeMap<_, _> = snapshot.routes.iter().map(text).collect();
    assert_eq!(texts.len(), snapshot.routes.iter().count());
    texts
}

fn service(service: &Service) -> String {
    let tls = service
        .tls
        .as_ref()
        .map(|tls| tls.as_ref().map(|tls| tls.fingerprint));
    format!(
        "{} {} {:?} {:?} {} {tls:?}",
        service.id, service.label, service.scheme, service.host, service.authority
    )
}

fn plugins(chain: &plugin::Chain) -> String {
    let mtls = chain.mtls_auth.as_ref().map(|plugin| {
        let trust = plugin.trust.as_ref().map(|_| ());
        format!(
            "{:?} {trust:?} {}",
            plugin.ca_certificates, plugin.send_ca_dn
        )
    });
    let stop = chain.request_termination.as_ref();
    let stop = stop.map(|plugin| match plugin.access(&|_| true) {
        plugin::Verdict::Answer(answer) => answer.status,
        plugin::Verdict::Continue => 0,
    });
    format!("{mtls:?} {} {stop:?}", chain.acl.is_some())
}

fn consumers(snapshot: &Snapshot) -> Vec<String> {
    let Consumers {
        by_id,
        by_username,
        by_custom_id,
        by_subject_name,
    } = &*snapshot.consumers;
    let mut texts: Vec<_> = by_id
        .values()
        .map(|consumer| format!("{consumer:?}"))
        .collect();
    for (table, names) in [("username", by_username), ("custom_id", by_custom_id)] {
        for (name, consumer) in names {
            assert!(Arc::ptr_eq(consumer, &by_id[&consumer.id]), "one of each");
            texts.push(format!("{table} {name} {}", consumer.id));
        }
    }
    for (name, credentials) in by_subject_name {
        for credential in credentials {
            assert!(Arc::ptr_eq(
                &credential.consumer,
                &by_id[&credential.consumer.id]
            ));
        }
        let credentials = credentials
            .iter()
            .map(|one| (one.id, one.ca_certificate, one.consumer.id));
        texts.push(format!("{name} {:?}", credentials.collect::<Vec<_>>()));
    }
    texts.sort();
    texts
}

/// Changes, adds or deletes a random row; the rows it has touched.
fn change(random: &mut Random, config: &mut Config, serial: u32) -> Vec<(Kind, Uuid)> {
    const KINDS: [(Kind, usize); 10] = [
        (Kind::Certificates, 5),
        (Kind::Snis, 6),
        (Kind::CaCertificates, 3),
        (Kind::Services, 4),
        (Kind::Routes, 8),
        (Kind::Consumers, 4),
        (Kind::MtlsAuthCredentials, 5),
        (Kind::Acls, 6),
        (Kind::Upstreams, 2),
        (Kind::Plugins, 9),
    ];
    if random.below(12) == 0 {
        return swap_names(random, config);
    }
    let (kind, count) = random.pick(&KINDS);
    let id = numbered(kind, random.below(count));
    if random.below(5) == 0 {
        config.remove(kind, id);
    } else {
        let mut row = map(defaults(kind));
        row.insert("id".into(), json!(id));
        row.extend(map(fields(random, kind, serial)));
        config.insert(kind, id, row);
    }
    vec![(kind, id)]
}

/// Two consumers change their names with each other: the store allows it in one transaction.
fn swap_names(random: &mut Random, config: &mut Config) -> Vec<(Kind, Uuid)> {
    let ids = [0, 1].map(|_| numbered(Kind::Consumers, random.below(4)));
    let rows = ids.map(|id| config.get(Kind::Consumers, id).cloned());
    let [Some(one), Some(other)] = rows else {
        return Vec::new();
    };
    for (id, row, name) in [(ids[0], &one, &other), (ids[1], &other, &one)] {
        let mut row = Map::clone(row);
        row.insert("username".into(), name["username"].clone());
        config.insert(Kind::Consumers, id, row);
    }
    ids.map(|id| (Kind::Consumers, id)).to_vec()
}

fn fields(random: &mut Random, kind: Kind, serial: u32) -> Value {
    let refer = |random: &mut Random, kind: Kind, count: usize| match random.below(3) {
        0 => Value::Null,
        _ => json!({"id": numbered(kind, random.below(count))}),
    };
    let cas = |random: &mut Random| {
        let ids = (0..1 + random.below(2)).map(|_| numbered(Kind::CaCertificates, random.below(3)));
        json!(ids.collect::<Vec<_>>())
    };
    match kind {
        Kind::Certificates => json!({
            "cert": random.pick(&["one", "two", "broken"]), "key": "k",
            "tags": [random.below(2)],
        }),
        Kind::Snis => json!({
            "name": random.pick(&["a.test", "A.test.", "*.a.test", "b.test", "*"]),
            "certificate": {"id": numbered(Kind::Certificates, random.below(5))},
        }),
        Kind::CaCertificates => json!({"cert": random.pick(&["ca1", "ca2", "broken"])}),
        Kind::Services => json!({
            "name": random.pick(&[Some("s"), None]),
            "enabled": random.below(4) > 0,
            "protocol": random.pick(&["https", "http", "grpc"]),
            "host": random.pick(&["pool", "Pool", "10.0.0.1", "b.test"]),
            "client_certificate": refer(random, Kind::Certificates, 5),
            "ca_certificates": if random.below(2) == 0 { Value::Null } else { cas(random) },
            "tls_verify": random.pick(&[Some(true), Some(false), None]),
        }),
        Kind::Routes => json!({
            "name": random.pick(&[Some("r"), None]),
            "hosts": random.pick(&[json!(null), json!(["a.test"]), json!(["*.test"])]),
            "paths": random.pick(&[json!(["/"]), json!(["/a"]), json!(["/b", r"~/a/\d"])]),
            "snis": random.pick(&[json!(null), json!(["a.test", "*.B.test."]), json!(["b.test"])]),
            "protocols": random.pick(&[json!(["https"]), json!(["http", "https"]), json!(["http"]), json!(["grpc"])]),
            "service": refer(random, Kind::Services, 4),
            "strip_path": random.below(2) == 0,
        }),
        Kind::Consumers => json!({
            "username": format!("u{serial}"),
            "custom_id": random.pick(&[Some(format!("c{serial}")), None]),
        }),
        Kind::MtlsAuthCredentials => json!({
            "consumer": {"id": numbered(Kind::Consumers, random.below(4))},
            "subject_name": random.pick(&["x", "y"]),
            "ca_certificate": refer(random, Kind::CaCertificates, 3),
        }),
        Kind::Acls => json!({
            "consumer": {"id": numbered(Kind::Consumers, random.below(4))},
            "group": random.pick(&["gold", "silver"]),
        }),
        Kind::Upstreams => json!({"name": random.pick(&["pool", "POOL", "b.test"])}),
        Kind::Plugins => plugin(random, refer, cas),
        Kind::Targets => json!({}),
    }
}

fn plugin(
    random: &mut Random,
    refer: impl Fn(&mut Random, Kind, usize) -> Value,
    cas: impl Fn(&mut Random) -> Value,
) -> Value {
    let (name, config) = match random.below(4) {
        0 | 1 => (
            "mtls-auth",
            json!({"ca_certificates": cas(random), "send_ca_dn": random.below(2) == 0}),
        ),
        2 => ("acl", json!({"allow": ["gold"]})),
        _ => (
            "request-termination",
            json!({"status_code": 400 + random.below(9)}),
        ),
    };
    let consumer = match name {
        "request-termination" => refer(random, Kind::Consumers, 4),
        _ => Value::Null,
    };
    json!({
        "name": name,
        "config": config,
        "enabled": random.below(5) > 0,
        "protocols": random.pick(&[json!(["http"]), json!(["https"]), json!(["grpcs", "https"])]),
        "route": refer(random, Kind::Routes, 8),
        "service": refer(random, Kind::Services, 4),
        "consumer": consumer,
    })
}

fn numbered(kind: Kind, number: usize) -> Uuid {
    // In no relation to the order of the numbers.
    let mixed = (number as u128 * 7 + 3) % 11;
    id(mixed << 64 | (kind as u128) << 8 | number as u128)
}

struct NoHeaders;

impl Headers for NoHeaders {
    fn any(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
