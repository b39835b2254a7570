//! Random batches of real rows, as the store's plans take them, and random settings.

use crate::entity::validate::{self, Context};
use crate::entity::{Entity, Kind, fixtures};
use crate::snapshot::Globals;
use crate::snapshot::tls_glue::Tls;
use crate::store::{Image, Plan};
use crate::tls::keys::KeyPair;
use crate::tls::provider;
use crate::tls::server::ServerSettings;
use crate::tls::trust::Roots;
use crate::tls::trust::testpki;
use crate::tls::upstream::ClientPair;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// More than `limits::ROUTE_CHANGES_MAX`, so that the router keeps changes in a table of their own.
const ROUTES: usize = 150;

/// PEM texts.
pub struct Texts {
    /// Two of each: a CA changes its certificate, and stays the same entity.
    cas: Vec<String>,
    pairs: Vec<(String, String)>,
}

impl Texts {
    pub fn make() -> Texts {
        let ca = |number: usize| testpki::ca(&format!("ca {number}")).self_signed().pem();
        let pair = |(cert, key): (&str, &str)| (cert.to_owned(), key.to_owned());
        Texts {
            cas: (0..6).map(ca).collect(),
            pairs: [
                (fixtures::LEAF, fixtures::LEAF_KEY),
                (fixtures::SEC1, fixtures::SEC1_KEY),
                (fixtures::ED25519, fixtures::ED25519_KEY),
                (fixtures::P521, fixtures::P521_KEY),
            ]
            .map(pair)
            .to_vec(),
        }
    }
}

pub fn globals(texts: &Texts) -> Globals<Tls> {
    let chosen = provider::choose(provider::Mode::default());
    Globals {
        default_pairs: vec![default_pair(texts, 0)],
        server: Arc::new(ServerSettings::new(chosen)),
        client_pair: None,
        proxy_ssl_verify: None,
        tls_certificate_verify: true,
        verify_depth: 1,
        fallback_verify_depth: 1,
        proxy_trust: None,
        fallback_trust: Some(trust(texts, 0)),
        traditional: false,
        advised: false,
    }
}

/// One of the settings is another.
pub fn other(random: &mut Random, texts: &Texts, globals: Globals<Tls>) -> Globals<Tls> {
    match random.below(6) {
        0 => Globals {
            traditional: !globals.traditional,
            ..globals
        },
        1 => {
            let (cert, key) = &texts.pairs[random.below(4)];
            let pair = ClientPair::from_pem(cert, key).expect("a good pair");
            Globals {
                client_pair: Some(Arc::new(pair)),
                ..globals
            }
        }
        2 => Globals {
            tls_certificate_verify: !globals.tls_certificate_verify,
            ..globals
        },
        3 => Globals {
            default_pairs: vec![default_pair(texts, random.below(4))],
            ..globals
        },
        4 => Globals {
            proxy_trust: (random.below(2) == 0).then(|| trust(texts, random.below(6))),
            ..globals
        },
        _ => Globals {
            fallback_trust: Some(trust(texts, random.below(6))),
            verify_depth: 1 + random.below(3) as u32,
            ..globals
        },
    }
}

fn default_pair(texts: &Texts, number: usize) -> Arc<KeyPair> {
    let (cert, key) = &texts.pairs[number];
    Arc::new(KeyPair::from_pem(cert, key).expect("a good pair"))
}

fn trust(texts: &Texts, number: usize) -> Arc<Roots> {
    let named = [("trust", texts.cas[number].as_str())];
    Arc::new(Roots::from_pems(&named).expect("a CA"))
}

type Rows = Vec<(Kind, Uuid)>;

/// The image after one batch, the rows it names, and what it was made of. What breaks a rule is left out of it.
pub fn committed(
    random: &mut Random,
    texts: &Texts,
    image: &Arc<Image>,
    first: bool,
    count: usize,
) -> (Arc<Image>, Rows, Vec<String>) {
    let mut plan = Plan::new(image.clone());
    let mut log = Vec::new();
    for number in 0..if first { ROUTES } else { 0 } {
        let input = json!({"hosts": [format!("f{number}.test")], "paths": [format!("/f{number}")]});
        let row = checked(Kind::Routes, number + 100, input).expect("a good route");
        plan.insert(Kind::Routes, row).expect("nothing is there");
    }
    for _ in 0..count {
        let (kind, numbers) = random.pick(&KINDS);
        // Most changes meet those few that refer to each other.
        let number = match (kind, random.below(3)) {
            (Kind::Routes, 0) => 100 + random.below(ROUTES),
            _ => random.below(numbers),
        };
        let id = id(kind, number);
        let input = fields(random, texts, kind);
        let stored = image.get(kind, id);
        let (what, done) = match (random.below(6), stored) {
            (0 | 1, Some(_)) => ("delete", plan.delete(kind, id).is_ok()),
            (2, Some(stored)) => {
                // One field alone.
                let (name, value) = input
                    .as_object()
                    .and_then(|fields| fields.iter().nth(random.below(fields.len())))
                    .expect("it has fields");
                let patch = Map::from_iter([(name.clone(), value.clone())]);
                let row = validate::update(kind, stored, patch, &CONTEXT);
                let done = row.is_ok_and(|row| plan.replace(kind, row).is_ok());
                ("update", done)
            }
            _ => {
                let row = checked(kind, number, input);
                let done = row.is_some_and(|row| plan.replace(kind, row).is_ok());
                ("replace", done)
            }
        };
        if done {
            log.push(format!("{what} {kind:?} {number}"));
        }
    }
    let batch = plan.into_batch();
    let rows = batch.writes.iter().map(|of| (of.kind, of.id)).collect();
    let mut next = Image::clone(image);
    next.apply(&batch.writes, image.revision + 1);
    (Arc::new(next), rows, log)
}

const CONTEXT: Context<'static> = Context {
    now_ms: fixtures::NOW_MS,
    find: &|_, _| None,
    yaml: false,
    plugins: None,
};

const KINDS: [(Kind, usize); 11] = [
    (Kind::Certificates, 5),
    (Kind::Snis, 7),
    (Kind::CaCertificates, 4),
    (Kind::Services, 4),
    (Kind::Routes, 10),
    (Kind::Routes, 10),
    (Kind::Consumers, 4),
    (Kind::MtlsAuthCredentials, 5),
    (Kind::Acls, 6),
    (Kind::Upstreams, 2),
    (Kind::Plugins, 10),
];

fn checked(kind: Kind, number: usize, input: Value) -> Option<Entity> {
    let Value::Object(mut input) = input else {
        return None;
    };
    input.insert("id".into(), json!(id(kind, number)));
    validate::insert(kind, input, &CONTEXT).ok()
}

fn id(kind: Kind, number: usize) -> Uuid {
    // In no relation to the order of the numbers.
    let mixed = (number as u128 * 7 + 3) % 11;
    Uuid::from_u128(mixed << 64 | (kind as u128 + 1) << 16 | number as u128)
}

fn fields(random: &mut Random, texts: &Texts, kind: Kind) -> Value {
    let refer = |random: &mut Random, kind: Kind, count: usize| match random.below(3) {
        0 => Value::Null,
        _ => json!({"id": id(kind, random.below(count))}),
    };
    let cas = |random: &mut Random| {
        let first = random.below(4);
        let second = (first + 1 + random.below(3)) % 4;
        let ids = [first, second].map(|number| id(Kind::CaCertificates, number));
        json!(ids[..1 + random.below(2)])
    };
    match kind {
        Kind::Certificates => {
            let (cert, key) = random.pick(&texts.pairs);
            json!({"cert": cert, "key": key, "tags": [format!("t{}", random.below(2))]})
        }
        Kind::Snis => json!({
            "name": random.pick(&["a.test", "*.a.test", "b.test", "*", "a.*", "b.a.test"]),
            "certificate": {"id": id(Kind::Certificates, random.below(5))},
        }),
        Kind::CaCertificates => json!({"cert": random.pick(&texts.cas)}),
        Kind::Services => json!({
            "name": random.pick(&[Some("s"), None]),
            "enabled": random.below(4) > 0,
            "protocol": random.pick(&["https", "https", "http", "grpc"]),
            "host": random.pick(&["pool", "Pool", "10.0.0.1", "b.test"]),
            "port": random.pick(&[443, 8443]),
            "path": random.pick(&[None, Some("/svc")]),
            "retries": random.below(3),
            "client_certificate": refer(random, Kind::Certificates, 5),
            "ca_certificates": if random.below(2) == 0 { Value::Null } else { cas(random) },
            "tls_verify": random.pick(&[Some(true), Some(false), None]),
        }),
        Kind::Routes => json!({
            "name": random.pick(&[Some("r"), None]),
            "methods": random.pick(&[json!(null), json!(null), json!(["GET"])]),
            "hosts": random.pick(&[
                json!(null), json!(["a.test"]), json!(["*.test", "a.x"]), json!(["b.test:8443", "*.a.test"]),
            ]),
            "paths": random.pick(&[json!(null), json!(["/"]), json!(["/a"]), json!(["/b", r"~/a/\d"]), json!(["~/[fb]"])]),
            "headers": random.pick(&[
                json!(null), json!(null), json!({"x-tenant": ["one"]}), json!({"X_Tenant": ["~*^t", "One"]}),
            ]),
            "snis": random.pick(&[json!(null), json!(null), json!(["a.test", "*.B.test."]), json!(["b.test", "a.*"])]),
            "protocols": random.pick(&[json!(["https"]), json!(["http", "https"]), json!(["http"]), json!(["grpc"])]),
            "service": refer(random, Kind::Services, 4),
            "strip_path": random.below(2) == 0,
            "preserve_host": random.below(2) == 0,
            "regex_priority": random.below(2),
            "path_handling": random.pick(&["v0", "v1"]),
        }),
        Kind::Consumers => json!({
            "username": format!("u{}", random.below(6)),
            "custom_id": random.pick(&[Some("c1"), Some("c2"), Some("c3"), None]),
        }),
        Kind::MtlsAuthCredentials => json!({
            "consumer": {"id": id(Kind::Consumers, random.below(4))},
            "subject_name": random.pick(&["x", "y"]),
            "ca_certificate": refer(random, Kind::CaCertificates, 4),
        }),
        Kind::Acls => json!({
            "consumer": {"id": id(Kind::Consumers, random.below(4))},
            "group": random.pick(&["gold", "silver"]),
        }),
        Kind::Upstreams => json!({"name": random.pick(&["pool", "b.test"])}),
        Kind::Plugins => {
            let (name, config) = match random.below(4) {
                0 | 1 => (
                    "mtls-auth",
                    json!({"ca_certificates": cas(random), "send_ca_dn": random.below(2) == 0,
                        "allow_partial_chain": random.below(2) == 0}),
                ),
                2 => ("acl", json!({"allow": [random.pick(&["gold", "silver"])]})),
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
                "protocols": random.pick(&[json!(["http", "https"]), json!(["https"]), json!(["grpcs", "https"])]),
                "route": refer(random, Kind::Routes, 10),
                "service": refer(random, Kind::Services, 4),
                "consumer": consumer,
            })
        }
        Kind::Targets => json!({}),
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
