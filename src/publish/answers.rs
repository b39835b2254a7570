//! Whatever the order in which a configuration came about, every core answers as if it had been compiled whole: real rows
//! through the store's plans, real certificates, and the answers themselves: which route, by which trust, which certificate.

mod changes;

use super::{Configuration, Publisher};
use crate::plugin::Chain;
use crate::router::{Headers, Query, Scratch};
use crate::snapshot::{Route, Service, Settling, Snapshot};
use crate::store::Image;
use changes::{Random, Texts, committed, globals, other};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const NAMES: [&str; 7] = [
    "a.test",
    "b.a.test",
    "c.b.a.test",
    "A.test.",
    "b.test",
    "a.x",
    "f3.test",
];

#[test]
fn any_sequence_of_commits_is_served_as_the_whole_would_be() {
    let texts = Texts::make();
    let mut told = Told::default();
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut globals = globals(&texts);
        let mut publisher = Publisher::new(globals.clone(), Vec::new(), true);
        let mut image = Arc::new(Image::default());
        let mut settling: Option<Settling> = None;
        for step in 0..45 {
            let count = if step == 0 { 400 } else { 1 + random.below(4) };
            let (next, rows, log) = committed(&mut random, &texts, &image, step == 0, count);
            image = next;
            told.cascades += usize::from(rows.len() > log.len() && step > 0);
            let context = format!("seed {seed}, step {step}: {log:?}");
            let mut snapshot = if random.below(9) == 0 {
                globals = other(&mut random, &texts, globals);
                let whole = configuration(&image);
                publisher.compile_with(globals.clone(), Vec::new(), &whole)
            } else {
                publisher.change(&image.config, &rows)
            }
            .unwrap_or_else(|problems| panic!("{context}: {problems:?}"));
            // As on its thread: changes and whole configurations come between the beginning and the end.
            if random.below(4) == 0 {
                match settling.take() {
                    None => settling = Some(publisher.settling()),
                    Some(begun) => {
                        if let Some(settled) = begun.run(&|| {})
                            && let Some(settled) = publisher.settle(&settled)
                        {
                            snapshot = settled;
                            told.settled += 1;
                        }
                    }
                }
            }
            let mut fresh = Publisher::new(globals.clone(), Vec::new(), true);
            let whole = fresh
                .compile(&configuration(&image))
                .unwrap_or_else(|problems| panic!("{context}: {problems:?}"));
            assert_eq!(publisher.facts().hash, fresh.facts().hash, "{context}");
            same(&snapshot, &whole, &mut random, &mut told, &context);
        }
    }
    let Told {
        matched,
        missed,
        asked,
        trusting,
        settled,
        cascades,
    } = told;
    assert!(
        matched > 3_000
            && missed > 300
            && asked > 500
            && trusting > 500
            && settled > 10
            && cascades > 10,
        "all of it is common: {told:?}"
    );
}

/// How often what is compared was there to compare.
#[derive(Default, Debug)]
struct Told {
    matched: usize,
    missed: usize,
    asked: usize,
    trusting: usize,
    settled: usize,
    cascades: usize,
}

fn configuration(image: &Image) -> Configuration {
    Configuration {
        config: image.config.clone(),
        warnings: Vec::new(),
    }
}

fn same(found: &Snapshot, want: &Snapshot, random: &mut Random, told: &mut Told, context: &str) {
    assert_eq!(routes(found), routes(want), "{context}");
    assert_eq!(consumers(found), consumers(want), "{context}");
    assert_eq!(found.authorities, want.authorities, "{context}");
    assert_eq!(
        found.upstream_identities, want.upstream_identities,
        "{context}"
    );
    assert_eq!(
        found.server.sni_count(),
        want.server.sni_count(),
        "{context}"
    );
    for sni in NAMES.map(Some).into_iter().chain([None]) {
        assert_eq!(
            found.server.shows(sni),
            want.server.shows(sni),
            "{sni:?}, {context}"
        );
        let asks = |snapshot: &Snapshot| {
            let entry = snapshot.server.request_for(sni)?;
            Some(entry.ca_names.clone())
        };
        assert_eq!(asks(found), asks(want), "{sni:?}, {context}");
        told.asked += usize::from(asks(want).is_some());
    }
    for _ in 0..25 {
        let sni = random.pick(&NAMES);
        let query = Query {
            method: random.pick::<&str>(&["GET", "POST"]).as_bytes(),
            host: random.pick(&NAMES).as_bytes(),
            port: random.pick(&[8443, 9443]),
            path: random
                .pick::<&str>(&["/", "/a", "/a/1", "/b/c", "/f7", "/f8/x"])
                .as_bytes(),
            tls: random.pick(&[None, Some(None), Some(Some(sni))]),
            headers: &Tenant(random.pick(&[None, Some("one"), Some("TWO")])),
        };
        let matched = |snapshot: &Snapshot| {
            let found = snapshot.router.find(&query, &mut Scratch::default())?;
            let route = snapshot.routes.get(found.handle)?;
            Some((text(route), found.path_matched))
        };
        let want = matched(want);
        assert_eq!(matched(found), want, "{context}");
        match want {
            None => told.missed += 1,
            Some((text, _)) => {
                told.matched += 1;
                told.trusting += usize::from(text.contains("trust Ok"));
            }
        }
    }
}

fn routes(snapshot: &Snapshot) -> BTreeMap<Uuid, String> {
    let texts: BTreeMap<_, _> = snapshot
        .routes
        .iter()
        .map(|route| (route.id, text(route)))
        .collect();
    assert_eq!(texts.len(), snapshot.routes.iter().count());
    texts
}

/// All that the data plane can tell of a route.
fn text(route: &Arc<Route>) -> String {
    let Route {
        id,
        label,
        name,
        http,
        https,
        https_redirect_status_code,
        strip_path,
        preserve_host,
        path_handling,
        service: of,
        plugins: chain,
        consumer_plugins,
    } = &**route;
    let of_consumers: BTreeMap<_, _> = consumer_plugins
        .iter()
        .map(|(consumer, chain)| (consumer, plugins(chain)))
        .collect();
    format!(
        "{id} {label} {name:?} {http} {https} {https_redirect_status_code} {strip_path} {preserve_host} {path_handling:?} \
         {:?} {} {of_consumers:?}",
        of.as_deref().map(service),
        plugins(chain),
    )
}

fn service(service: &Service) -> String {
    let Service {
        id,
        label,
        name,
        scheme,
        host,
        host_text,
        authority,
        server_name,
        port,
        path,
        retries,
        connect_timeout_ms,
        write_timeout_ms,
        read_timeout_ms,
        tls,
    } = service;
    let tls = tls
        .as_ref()
        .map(|tls| tls.as_ref().map(|tls| tls.fingerprint));
    format!(
        "{id} {label} {name:?} {scheme:?} {host:?} {host_text} {authority} {server_name} {port} {path:?} {retries} \
         {connect_timeout_ms} {write_timeout_ms} {read_timeout_ms} {tls:?}"
    )
}

fn plugins(chain: &Chain) -> String {
    let mtls = chain.mtls_auth.as_ref().map(|plugin| {
        let trust = plugin.trust.as_ref().map(|trust| trust.digest);
        format!(
            "trust {trust:?} {:?} {}",
            plugin.ca_certificates, plugin.send_ca_dn
        )
    });
    format!("{mtls:?} {:?} {:?}", chain.acl, chain.request_termination)
}

fn consumers(snapshot: &Snapshot) -> Vec<String> {
    let all = &snapshot.consumers;
    let named = |(name, consumer): (&Arc<str>, &Arc<_>)| format!("{name} {consumer:?}");
    let mut texts: Vec<_> = all.by_id.values().map(|of| format!("{of:?}")).collect();
    texts.extend(all.by_username.iter().map(named));
    texts.extend(all.by_custom_id.iter().map(named));
    texts.extend(all.by_subject_name.iter().map(|of| format!("{of:?}")));
    texts.sort();
    texts
}

/// The field that routes ask about.
struct Tenant(Option<&'static str>);

impl Headers for Tenant {
    fn any(&self, name: &str, value: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == "x-tenant" && self.0.is_some_and(|text| value(text.as_bytes()))
    }
}
