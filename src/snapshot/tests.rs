use super::compile::compile_with;
use super::testing::{Recorder, Server, Upstream};
use super::*;
use crate::entity::{Config, Kind};
use serde_json::{Map, Value, json};

// ── fixtures ──

/// Ids are small numbers; a field is what `row` fills in unless given.
#[derive(Clone, Default)]
struct Tables(Config);

impl Tables {
    fn with(mut self, kind: Kind, number: u128, fields: Value) -> Tables {
        let mut entity = map(defaults(kind));
        entity.insert("id".into(), json!(id(number)));
        entity.extend(map(fields));
        self.0.insert(kind, id(number), entity);
        self
    }
}

fn defaults(kind: Kind) -> Value {
    match kind {
        Kind::Certificates => json!({"cert_alt": null, "key_alt": null}),
        Kind::Services => json!({
            "name": null, "protocol": "https", "host": "backend.test", "port": 443, "path": null, "retries": 5,
            "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000, "client_certificate": null,
            "tls_verify": null, "tls_verify_depth": null, "ca_certificates": null, "enabled": true,
        }),
        Kind::Routes => json!({
            "name": null, "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": ["/"],
            "headers": null, "snis": null, "strip_path": true, "preserve_host": false, "regex_priority": 0,
            "https_redirect_status_code": 426, "path_handling": "v0", "request_buffering": true,
            "response_buffering": true, "service": null,
        }),
        Kind::Consumers => json!({"username": null, "custom_id": null}),
        Kind::MtlsAuthCredentials => json!({"ca_certificate": null}),
        Kind::Plugins => json!({
            "instance_name": null, "route": null, "service": null, "consumer": null, "enabled": true,
            "protocols": ["grpc", "grpcs", "http", "https"],
        }),
        _ => json!({}),
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn to(number: u128) -> Value {
    json!({ "id": id(number) })
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn mtls(fields: Value) -> Value {
    let mut plugin = map(json!({"name": "mtls-auth", "config": {"ca_certificates": [id(0xA1)]}}));
    plugin.extend(map(fields));
    Value::Object(plugin)
}

/// The status tells instances apart.
fn stop(status: u16, fields: Value) -> Value {
    let mut plugin = map(json!({"name": "request-termination", "config": {"status_code": status}}));
    plugin.extend(map(fields));
    Value::Object(plugin)
}

fn globals() -> Globals<Recorder> {
    Globals {
        default_pairs: vec![Arc::new("default/key".into())],
        server: Arc::new(()),
        client_pair: None,
        proxy_ssl_verify: None,
        tls_certificate_verify: true,
        verify_depth: 1,
        proxy_trust: None,
        fallback_trust: Some(Arc::new(vec!["system".into()])),
    }
}

fn compile(recorder: &Recorder, tables: &Tables) -> (Snapshot, Vec<String>) {
    next(recorder, tables, None)
}

fn next(
    recorder: &Recorder,
    tables: &Tables,
    previous: Option<(&Snapshot, &Globals<Recorder>)>,
) -> (Snapshot, Vec<String>) {
    let fresh = globals();
    let globals = previous.map_or(&fresh, |(_, globals)| globals);
    match compile_with(
        recorder,
        &tables.0,
        globals,
        previous.map(|(snapshot, _)| snapshot),
        7,
    ) {
        Ok((snapshot, warnings)) => (snapshot, warnings.iter().map(ToString::to_string).collect()),
        Err(problems) => panic!("{problems:?}"),
    }
}

fn problems(tables: &Tables) -> Vec<String> {
    let result = compile_with(&Recorder::default(), &tables.0, &globals(), None, 1);
    result
        .err()
        .expect("it compiled")
        .iter()
        .map(ToString::to_string)
        .collect()
}

// ── scopes (§1.10) ──

#[test]
fn the_most_specific_enabled_scope_runs() {
    // Route 1 of service 2, consumer 3; the status says which scope's instance ran.
    let scopes = [
        (
            407,
            json!({"route": to(1), "service": to(2), "consumer": to(3)}),
        ),
        (406, json!({"route": to(1), "consumer": to(3)})),
        (405, json!({"service": to(2), "consumer": to(3)})),
        (404, json!({"route": to(1), "service": to(2)})),
        (403, json!({"consumer": to(3)})),
        (402, json!({"route": to(1)})),
        (401, json!({"service": to(2)})),
        (400, json!({})),
    ];
    let base = Tables::default()
        .with(Kind::Services, 2, json!({}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Consumers, 3, json!({"username": "c"}));
    // Every subset: an instance is left out, or there but disabled.
    for present in 0u32..256 {
        let mut tables = base.clone();
        for (index, (status, scope)) in scopes.iter().enumerate() {
            let mut fields = map(scope.clone());
            fields.insert("enabled".into(), json!(present & (1 << index) != 0));
            tables = tables.with(
                Kind::Plugins,
                100 + index as u128,
                stop(*status, Value::Object(fields)),
            );
        }
        let (snapshot, _) = compile(&Recorder::default(), &tables);
        let route = &snapshot.routes[0];
        let first = |counts: &dyn Fn(&Value) -> bool| {
            let mut indices = (0..scopes.len())
                .filter(|index| present & (1 << index) != 0 && counts(&scopes[*index].1));
            indices.next().map_or(0, |index| scopes[index].0)
        };
        let stranger = first(&|scope| scope.get("consumer").is_none());
        let known = first(&|_| true);
        assert_eq!(
            status(&route.plugins),
            stranger,
            "§1.10 {present:08b}, no consumer"
        );
        let chain = route.consumer_plugins.get(&id(3)).unwrap_or(&route.plugins);
        assert_eq!(status(chain), known, "§1.10 {present:08b}, consumer");
    }
}

fn status(chain: &plugin::Chain) -> u16 {
    match chain
        .request_termination
        .as_ref()
        .map(|plugin| plugin.access(&|_| true))
    {
        Some(plugin::Verdict::Answer(answer)) => answer.status,
        Some(plugin::Verdict::Continue) => panic!("not terminated"),
        None => 0,
    }
}

#[test]
fn other_routes_services_and_consumers_do_not_count() {
    let tables = Tables::default()
        .with(Kind::Services, 2, json!({}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Routes, 4, json!({}))
        .with(Kind::Plugins, 10, stop(410, json!({"service": to(2)})))
        .with(
            Kind::Plugins,
            11,
            stop(411, json!({"route": to(4), "consumer": to(3)})),
        );
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    assert_eq!(status(&snapshot.routes[0].plugins), 410);
    assert!(snapshot.routes[0].consumer_plugins.is_empty());
    assert_eq!(status(&snapshot.routes[1].plugins), 0);
    assert_eq!(status(&snapshot.routes[1].consumer_plugins[&id(3)]), 411);
}

#[test]
fn a_consumers_chain_keeps_the_routes_other_plugins() {
    let acl = json!({"name": "acl", "route": to(1), "config": {"allow": ["gold"]}});
    let tables = Tables::default()
        .with(Kind::Routes, 1, json!({}))
        .with(Kind::Plugins, 10, acl)
        .with(Kind::Plugins, 11, stop(418, json!({"consumer": to(3)})));
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    let chain = &snapshot.routes[0].consumer_plugins[&id(3)];
    assert!(
        chain.acl.is_some(),
        "the ACL still guards the route for this consumer"
    );
}

#[test]
fn a_plugin_that_cannot_run_stops_the_publication() {
    let table = [
        (
            "unknown",
            json!({"name": "jwt", "config": {}}),
            "plugins 00000000-0000-0000-0000-00000000000a: jwt: cannot be run",
        ),
        (
            "echo",
            json!({"name": "request-termination", "config": {"echo": true}}),
            "request-termination: config.echo",
        ),
        (
            "no CA",
            json!({"name": "mtls-auth", "config": {"ca_certificates": []}}),
            "mtls-auth: config.ca_certificates",
        ),
        (
            "mtls-auth by consumer",
            mtls(json!({"consumer": to(3)})),
            "mtls-auth: consumer: value must be null",
        ),
        (
            "acl by consumer",
            json!({"name": "acl", "consumer": to(3), "config": {"allow": ["a"]}}),
            "acl: consumer",
        ),
    ];
    for (rule, plugin, expected) in table {
        let found = problems(&Tables::default().with(Kind::Plugins, 10, plugin.clone())).join("\n");
        assert!(found.contains(expected), "{rule}: {found}");
        let mut disabled = map(plugin);
        disabled.insert("enabled".into(), json!(false));
        compile(
            &Recorder::default(),
            &Tables::default().with(Kind::Plugins, 10, Value::Object(disabled)),
        );
    }
    let twice = Tables::default()
        .with(Kind::Plugins, 10, stop(410, json!({})))
        .with(Kind::Plugins, 11, stop(411, json!({})));
    assert!(problems(&twice)[0].contains("a second enabled instance"));
}

// ── SNI → request map (§5.2) ──

#[test]
fn certificates_are_requested_where_mtls_auth_may_apply() {
    let names = |names: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
        let subjects =
            |subjects: &[&str]| subjects.iter().map(|subject| subject.to_string()).collect();
        names
            .iter()
            .map(|(name, of)| (name.to_string(), subjects(of)))
            .collect()
    };
    // Service 2 has route 1 (sni a.test, *.B.test.) and route 4 (per row); CA 0xA1 is `ca1`, 0xA2 `ca2`.
    let base = Tables::default()
        .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
        .with(Kind::CaCertificates, 0xA2, json!({"cert": "ca2"}))
        .with(Kind::Services, 2, json!({}))
        .with(
            Kind::Routes,
            1,
            json!({"service": to(2), "snis": ["a.test", "*.B.test."]}),
        );
    let with_second = |fields: Value| {
        let mut route = map(json!({"service": to(2), "snis": ["c.test"]}));
        route.extend(map(fields));
        base.clone().with(Kind::Routes, 4, Value::Object(route))
    };
    let dn = |ca: u128| json!({"ca_certificates": [id(ca)], "send_ca_dn": true});
    let service = json!({"service": to(2)});
    let of_route = json!({"route": to(1)});
    let both: &[(&str, &[&str])] = &[("*.b.test", &[]), ("a.test", &[])];
    let all: &[(&str, &[&str])] = &[("*.b.test", &[]), ("a.test", &[]), ("c.test", &[])];
    let star: &[(&str, &[&str])] = &[("*", &[]), ("*.b.test", &[]), ("a.test", &[])];
    type Row = (&'static str, Tables, Vec<Value>, Vec<(String, Vec<String>)>);
    let table: Vec<Row> = vec![
        ("no plugin", base.clone(), vec![], vec![]),
        (
            "global",
            base.clone(),
            vec![mtls(json!({}))],
            names(&[("*", &[])]),
        ),
        (
            "route",
            base.clone(),
            vec![mtls(of_route.clone())],
            names(both),
        ),
        (
            "service, all routes with snis",
            with_second(json!({})),
            vec![mtls(service.clone())],
            names(all),
        ),
        (
            "service, one without snis",
            with_second(json!({"snis": null})),
            vec![mtls(service.clone())],
            names(star),
        ),
        (
            "service, the one without is http only",
            with_second(json!({"snis": null, "protocols": ["http"]})),
            vec![mtls(service.clone())],
            names(both),
        ),
        (
            "service, the one without is grpcs",
            with_second(json!({"snis": null, "protocols": ["grpcs"]})),
            vec![mtls(service.clone())],
            names(both),
        ),
        (
            "route of another service",
            with_second(json!({"service": null})),
            vec![mtls(service.clone())],
            names(both),
        ),
        (
            "disabled",
            base.clone(),
            vec![mtls(json!({"route": to(1), "enabled": false}))],
            vec![],
        ),
        (
            "protocols without https",
            base.clone(),
            vec![mtls(json!({"route": to(1), "protocols": ["http"]}))],
            vec![],
        ),
        (
            "global without TLS protocols",
            base.clone(),
            vec![mtls(json!({"protocols": ["http", "grpc"]}))],
            vec![],
        ),
        (
            "global beside route",
            base.clone(),
            vec![mtls(json!({})), mtls(of_route.clone())],
            names(star),
        ),
        (
            "send_ca_dn",
            base.clone(),
            vec![mtls(json!({"route": to(1), "config": dn(0xA1)}))],
            names(&[("*.b.test", &["CN=ca1"]), ("a.test", &["CN=ca1"])]),
        ),
        (
            "send_ca_dn, merged on one SNI",
            with_second(json!({"snis": ["a.test"]})),
            vec![
                mtls(json!({"route": to(1), "config": dn(0xA1)})),
                mtls(json!({"route": to(4), "config": dn(0xA2)})),
            ],
            names(&[("*.b.test", &["CN=ca1"]), ("a.test", &["CN=ca1", "CN=ca2"])]),
        ),
        (
            "send_ca_dn, global names only under *",
            base.clone(),
            vec![
                mtls(json!({"config": dn(0xA2)})),
                mtls(json!({"route": to(1), "config": dn(0xA1)})),
            ],
            names(&[
                ("*", &["CN=ca2"]),
                ("*.b.test", &["CN=ca1"]),
                ("a.test", &["CN=ca1"]),
            ]),
        ),
    ];
    for (rule, tables, plugins, expected) in table {
        let numbered = plugins.into_iter().zip(50..);
        let tables = numbered.fold(tables, |tables, (plugin, number)| {
            tables.with(Kind::Plugins, number, plugin)
        });
        let recorder = Recorder::default();
        compile(&recorder, &tables);
        assert_eq!(
            recorder.servers.borrow()[0].requests,
            expected,
            "§5.2 {rule}"
        );
    }
}

#[test]
fn routes_of_a_disabled_service_request_nothing() {
    let tables = Tables::default()
        .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
        .with(Kind::Services, 2, json!({"enabled": false}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Plugins, 50, mtls(json!({"service": to(2)})));
    let recorder = Recorder::default();
    let (snapshot, _) = compile(&recorder, &tables);
    assert!(snapshot.routes.is_empty() && recorder.routes.borrow().is_empty());
    assert!(recorder.servers.borrow()[0].requests.is_empty());
}

// ── mtls-auth's anchors ──

#[test]
fn one_content_of_anchors_is_one_trust_set() {
    let of = |route: u128, cas: &[u128], partial: bool| {
        let cas: Vec<Uuid> = cas.iter().map(|ca| id(*ca)).collect();
        mtls(
            json!({"route": to(route), "config": {"ca_certificates": cas, "allow_partial_chain": partial}}),
        )
    };
    let tables = (1..=4).fold(Tables::default(), |tables, route| {
        tables.with(Kind::Routes, route, json!({}))
    });
    let tables = tables
        .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
        .with(Kind::CaCertificates, 0xA2, json!({"cert": "ca2"}))
        .with(Kind::Plugins, 11, of(1, &[0xA1, 0xA2], false))
        .with(Kind::Plugins, 12, of(2, &[0xA2, 0xA1, 0xA2], false))
        .with(Kind::Plugins, 13, of(3, &[0xA1, 0xA2], true))
        .with(Kind::Plugins, 14, of(4, &[0xA1], false));
    let recorder = Recorder::default();
    let (snapshot, _) = compile(&recorder, &tables);
    let built = recorder.trust_sets.borrow();
    let both = vec![id(0xA1), id(0xA2)];
    assert_eq!(
        *built,
        [(both.clone(), false), (both, true), (vec![id(0xA1)], false)]
    );
    let trust = |index: usize| {
        snapshot.routes[index]
            .plugins
            .mtls_auth
            .as_ref()
            .unwrap()
            .trust
            .clone()
            .unwrap()
    };
    assert!(Arc::ptr_eq(&trust(0), &trust(1)));
    assert!(!Arc::ptr_eq(&trust(0), &trust(2)));
}

#[test]
fn a_missing_or_broken_ca_fails_the_plugins_whole_set() {
    for (cas, reason) in [
        (
            json!([id(0xA1), id(0xA9)]),
            "ca certificate 00000000-0000-0000-0000-0000000000a9: does not exist",
        ),
        (
            json!([id(0xA1), id(0xA2)]),
            "ca certificate 00000000-0000-0000-0000-0000000000a2: not a certificate",
        ),
    ] {
        let tables = Tables::default()
            .with(Kind::Routes, 1, json!({}))
            .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
            .with(Kind::CaCertificates, 0xA2, json!({"cert": "broken"}))
            .with(
                Kind::Plugins,
                11,
                mtls(json!({"config": {"ca_certificates": cas}})),
            );
        let (snapshot, warnings) = compile(&Recorder::default(), &tables);
        let plugin = snapshot.routes[0]
            .plugins
            .mtls_auth
            .as_ref()
            .expect("the plugin still guards the route");
        assert_eq!(plugin.trust.as_ref().unwrap_err().as_ref(), reason);
        assert!(warnings[0].contains(reason), "{warnings:?}");
    }
}

// ── services (§4.4) ──

#[test]
fn the_tls_identity_and_trust_of_a_service() {
    let upstream = |client: Option<&str>, verify, depth, roots: Option<&[&str]>| Upstream {
        client: client.map(str::to_string),
        verify,
        depth,
        roots: roots.map(|roots| roots.iter().map(|root| root.to_string()).collect()),
    };
    let system: Option<&[&str]> = Some(&["system"]);
    let with = |change: &dyn Fn(&mut Globals<Recorder>)| {
        let mut globals = globals();
        change(&mut globals);
        globals
    };
    let plain = || with(&|_| {});
    let client_ssl = || with(&|globals| globals.client_pair = Some(Arc::new("global/key".into())));
    let no_verify = || with(&|globals| globals.tls_certificate_verify = false);
    let proxy_off = || with(&|globals| globals.proxy_ssl_verify = Some(false));
    let proxy_on = || {
        with(&|globals| {
            (globals.proxy_ssl_verify, globals.tls_certificate_verify) = (Some(true), false)
        })
    };
    let proxy_trust =
        || with(&|globals| globals.proxy_trust = Some(Arc::new(vec!["proxy".into()])));
    let no_trust = || with(&|globals| globals.fallback_trust = None);
    let own = json!({"ca_certificates": [id(0xA1)]});
    let cert = json!({"client_certificate": to(0xC1)});
    let verified = || upstream(None, true, 1, system);
    let unverified = || upstream(None, false, 1, None);
    let failed = |reason: &str| Err::<Upstream, String>(reason.to_string());
    let table = [
        ("defaults", plain(), json!({}), Ok(verified())),
        (
            "own certificate",
            plain(),
            cert.clone(),
            Ok(upstream(Some("cert/key"), true, 1, system)),
        ),
        (
            "own before client_ssl",
            client_ssl(),
            cert,
            Ok(upstream(Some("cert/key"), true, 1, system)),
        ),
        (
            "client_ssl",
            client_ssl(),
            json!({}),
            Ok(upstream(Some("global/key"), true, 1, system)),
        ),
        (
            "false",
            plain(),
            json!({"tls_verify": false}),
            Ok(unverified()),
        ),
        (
            "true against global off",
            no_verify(),
            json!({"tls_verify": true}),
            Ok(verified()),
        ),
        ("null, global off", no_verify(), json!({}), Ok(unverified())),
        (
            "null, proxy_ssl_verify off outranks",
            proxy_off(),
            json!({}),
            Ok(unverified()),
        ),
        (
            "null, proxy_ssl_verify on outranks",
            proxy_on(),
            json!({}),
            Ok(verified()),
        ),
        (
            "global trust file",
            proxy_trust(),
            json!({}),
            Ok(upstream(None, true, 1, Some(&["proxy"]))),
        ),
        (
            "own store replaces it",
            proxy_trust(),
            own.clone(),
            Ok(upstream(None, true, 1, Some(&["ca1"]))),
        ),
        (
            "own store, no verification",
            proxy_off(),
            own,
            Ok(unverified()),
        ),
        (
            "depth",
            plain(),
            json!({"tls_verify_depth": 0}),
            Ok(upstream(None, true, 0, system)),
        ),
        (
            "no store at all",
            no_trust(),
            json!({}),
            failed("no trust store is set"),
        ),
        (
            "no store, no verification",
            no_trust(),
            json!({"tls_verify": false}),
            Ok(unverified()),
        ),
        (
            "empty store",
            plain(),
            json!({"ca_certificates": []}),
            failed("the list is empty"),
        ),
        (
            "missing CA",
            plain(),
            json!({"ca_certificates": [id(0xA1), id(9)]}),
            failed("does not exist"),
        ),
        (
            "broken CA",
            plain(),
            json!({"ca_certificates": [id(0xA2)]}),
            failed("not a certificate"),
        ),
        (
            "missing certificate",
            client_ssl(),
            json!({"client_certificate": to(9)}),
            failed("does not exist"),
        ),
        (
            "broken certificate",
            client_ssl(),
            json!({"client_certificate": to(0xC2)}),
            failed("client_certificate: not a certificate"),
        ),
    ];
    for (rule, globals, service, expected) in table {
        let tables = Tables::default()
            .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
            .with(Kind::CaCertificates, 0xA2, json!({"cert": "broken"}))
            .with(
                Kind::Certificates,
                0xC1,
                json!({"cert": "cert", "key": "key", "cert_alt": "alt", "key_alt": "key"}),
            )
            .with(
                Kind::Certificates,
                0xC2,
                json!({"cert": "broken", "key": "key"}),
            )
            .with(Kind::Services, 2, service)
            .with(Kind::Routes, 1, json!({"service": to(2)}));
        let recorder = Recorder::default();
        let (snapshot, warnings) =
            compile_with(&recorder, &tables.0, &globals, None, 1).expect(rule);
        let tls = snapshot.routes[0]
            .service
            .as_ref()
            .unwrap()
            .tls
            .as_ref()
            .expect("https");
        match (expected, tls) {
            (Ok(expected), Ok(_)) => assert_eq!(
                recorder.upstreams.borrow().as_slice(),
                [expected],
                "§4.4 {rule}"
            ),
            (Err(part), Err(reason)) => {
                assert!(reason.contains(&part), "§4.4 {rule}: {reason}");
                assert!(
                    recorder.upstreams.borrow().is_empty(),
                    "§4.4 {rule}: nothing weaker was built"
                );
                assert!(
                    warnings.iter().any(|warning| warning.text.contains("502")),
                    "§4.4 {rule}"
                );
            }
            (expected, found) => panic!(
                "§4.4 {rule}: {expected:?}, found {:?}",
                found.as_ref().err()
            ),
        }
    }
}

#[test]
fn one_broken_service_does_not_touch_another() {
    let tables = Tables::default()
        .with(Kind::Services, 2, json!({"client_certificate": to(9)}))
        .with(Kind::Services, 3, json!({}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Routes, 4, json!({"service": to(3)}));
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    let works = |index: usize| {
        snapshot.routes[index]
            .service
            .as_ref()
            .unwrap()
            .tls
            .as_ref()
            .unwrap()
            .is_ok()
    };
    assert_eq!((works(0), works(1)), (false, true));
}

#[test]
fn warnings_name_what_is_weaker_or_not_served() {
    let table = [
        (json!({"tls_verify": false}), "tls_verify is false"),
        (json!({"tls_verify_depth": 9}), "tls_verify_depth: 9"),
        (json!({"protocol": "grpcs"}), "protocol grpcs is not served"),
        (json!({"protocol": "http"}), ""),
        (json!({}), ""),
    ];
    for (service, expected) in table {
        let (_, warnings) = compile(
            &Recorder::default(),
            &Tables::default().with(Kind::Services, 2, service),
        );
        assert_eq!(
            warnings.is_empty(),
            expected.is_empty(),
            "{expected}: {warnings:?}"
        );
        assert!(
            warnings.iter().all(|warning| warning.contains(expected)),
            "{warnings:?}"
        );
    }
}

#[test]
fn schemes_and_hosts() {
    let table = [
        (
            "https",
            "Backend.Test",
            Scheme::Https,
            Host::Name("backend.test".into()),
            true,
        ),
        (
            "http",
            "10.0.0.1",
            Scheme::Http,
            Host::Ip([10, 0, 0, 1].into()),
            false,
        ),
        (
            "https",
            "[::1]",
            Scheme::Https,
            Host::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
            true,
        ),
        (
            "http",
            "pool",
            Scheme::Http,
            Host::Upstream("pool".into()),
            false,
        ),
        (
            "grpcs",
            "Pool",
            Scheme::NotServed,
            Host::Upstream("pool".into()),
            false,
        ),
        ("tcp", "x", Scheme::NotServed, Host::Name("x".into()), false),
        ("tls", "x", Scheme::NotServed, Host::Name("x".into()), false),
    ];
    for (protocol, host, scheme, expected, tls) in table {
        let tables = Tables::default()
            .with(Kind::Upstreams, 8, json!({"name": "pool"}))
            .with(
                Kind::Services,
                2,
                json!({"protocol": protocol, "host": host}),
            )
            .with(Kind::Routes, 1, json!({"service": to(2)}));
        let (snapshot, _) = compile(&Recorder::default(), &tables);
        let service = snapshot.routes[0].service.as_ref().unwrap();
        assert_eq!(
            (service.scheme, &service.host, service.tls.is_some()),
            (scheme, &expected, tls),
            "§1.5 {protocol} {host}"
        );
        assert_eq!(&*service.host_text, host);
    }
}

// ── routes ──

#[test]
fn routes_that_are_not_served_stay_out_and_handles_stay_true() {
    let tables = Tables::default()
        .with(Kind::Services, 20, json!({"enabled": false}))
        .with(Kind::Routes, 1, json!({"protocols": ["grpc", "grpcs"]}))
        .with(Kind::Routes, 2, json!({"service": to(20)}))
        .with(
            Kind::Routes,
            3,
            json!({"name": "three", "protocols": ["https"], "path_handling": "v1"}),
        )
        .with(Kind::Routes, 4, json!({"protocols": ["tcp"]}))
        .with(
            Kind::Routes,
            5,
            json!({"headers": {"x-a": ["1"]}, "methods": ["GET"]}),
        );
    let recorder = Recorder::default();
    let (snapshot, warnings) = compile(&recorder, &tables);
    let specs = recorder.routes.borrow();
    let found: Vec<_> = specs
        .iter()
        .map(|spec| (spec.id, snapshot.routes[spec.handle as usize].id))
        .collect();
    assert_eq!(found, [(id(3), id(3)), (id(5), id(5))]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with("routes ") && warnings[0].contains("grpc, grpcs"),
        "{warnings:?}"
    );
    let three = &snapshot.routes[0];
    assert_eq!(
        (three.http, three.https, three.path_handling),
        (false, true, Handling::V0)
    );
    assert!(three.service.is_none(), "answers 503 (§3.5)");
    assert_eq!(
        specs[1].headers,
        [("x-a".to_string(), vec!["1".to_string()])]
    );
}

#[test]
fn what_does_not_fit_together_is_a_problem_that_names_the_entity() {
    let table = [
        (
            Tables::default().with(Kind::Routes, 1, json!({"service": to(9)})),
            "routes 00000000-0000-0000-0000-000000000001: service",
        ),
        (
            Tables::default().with(Kind::Routes, 1, json!({"paths": ["~/("]})),
            "routes 00000000-0000-0000-0000-000000000001: paths",
        ),
        (
            Tables::default().with(Kind::Routes, 1, json!({"strip_path": "yes"})),
            "routes: Routes 00000000",
        ),
        (
            Tables::default().with(
                Kind::MtlsAuthCredentials,
                1,
                json!({"consumer": to(9), "subject_name": "a"}),
            ),
            "mtls_auth_credentials 00000000-0000-0000-0000-000000000001: consumer",
        ),
    ];
    for (tables, expected) in table {
        let found = problems(&tables);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }
}

// ── consumers, SNIs, what is taken over ──

#[test]
fn consumers_are_found_every_way() {
    let tables = Tables::default()
        .with(
            Kind::Consumers,
            1,
            json!({"username": "alice", "custom_id": "c-1"}),
        )
        .with(
            Kind::Acls,
            11,
            json!({"consumer": to(1), "group": "silver"}),
        )
        .with(Kind::Acls, 12, json!({"consumer": to(1), "group": "gold"}))
        .with(
            Kind::MtlsAuthCredentials,
            13,
            json!({"consumer": to(1), "subject_name": "a.test", "ca_certificate": to(0xA1)}),
        );
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    let consumers = &snapshot.consumers;
    let alice = &consumers.by_id[&id(1)];
    assert!(
        Arc::ptr_eq(alice, &consumers.by_username["alice"])
            && Arc::ptr_eq(alice, &consumers.by_custom_id["c-1"])
    );
    assert_eq!(
        alice
            .groups
            .iter()
            .map(|group| &**group)
            .collect::<Vec<_>>(),
        ["gold", "silver"]
    );
    let credential = &consumers.by_subject_name["a.test"][0];
    assert_eq!(
        (credential.id, credential.ca_certificate),
        (id(13), Some(id(0xA1)))
    );
}

#[test]
fn an_sni_shows_both_pairs_and_a_broken_one_aborts() {
    let tables = Tables::default()
        .with(
            Kind::Certificates,
            1,
            json!({"cert": "rsa", "key": "k", "cert_alt": "ec", "key_alt": "k"}),
        )
        .with(Kind::Certificates, 2, json!({"cert": "broken", "key": "k"}))
        .with(
            Kind::Certificates,
            3,
            json!({"cert": "rsa", "key": "k", "cert_alt": "broken", "key_alt": "k"}),
        )
        .with(Kind::Certificates, 4, json!({"cert": "unused", "key": "k"}))
        .with(
            Kind::Snis,
            11,
            json!({"name": "A.test", "certificate": to(1)}),
        )
        .with(
            Kind::Snis,
            12,
            json!({"name": "b.test", "certificate": to(2)}),
        )
        .with(
            Kind::Snis,
            13,
            json!({"name": "c.test", "certificate": to(3)}),
        )
        .with(Kind::Snis, 14, json!({"name": "*", "certificate": to(9)}));
    let recorder = Recorder::default();
    let (_, warnings) = compile(&recorder, &tables);
    let Server { sni, .. } = recorder.servers.borrow()[0].clone();
    let missing = "certificate 00000000-0000-0000-0000-000000000009 does not exist";
    assert_eq!(
        sni,
        [
            ("*".to_string(), Err(missing.to_string())),
            (
                "a.test".to_string(),
                Ok(vec!["rsa/k".to_string(), "ec/k".to_string()])
            ),
            ("b.test".to_string(), Err("not a certificate".to_string())),
            (
                "c.test".to_string(),
                Err("cert_alt, key_alt: not a certificate".to_string())
            ),
        ]
    );
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        !recorder
            .pairs
            .borrow()
            .iter()
            .any(|pair| pair.starts_with("unused")),
        "nothing refers to it"
    );
}

fn full() -> Tables {
    Tables::default()
        .with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1"}))
        .with(Kind::Certificates, 1, json!({"cert": "one", "key": "k"}))
        .with(Kind::Certificates, 2, json!({"cert": "two", "key": "k"}))
        .with(
            Kind::Snis,
            11,
            json!({"name": "a.test", "certificate": to(1)}),
        )
        .with(
            Kind::Snis,
            12,
            json!({"name": "b.test", "certificate": to(2)}),
        )
        .with(
            Kind::Services,
            20,
            json!({"client_certificate": to(1), "ca_certificates": [id(0xA1)]}),
        )
        .with(Kind::Routes, 30, json!({"service": to(20)}))
        .with(Kind::Consumers, 40, json!({"username": "alice"}))
        .with(Kind::Plugins, 50, mtls(json!({"route": to(30)})))
}

fn tls_of(snapshot: &Snapshot) -> &Arc<UpstreamTls> {
    match snapshot.routes[0]
        .service
        .as_ref()
        .and_then(|service| service.tls.as_ref())
    {
        Some(Ok(tls)) => tls,
        _ => panic!("no TLS identity"),
    }
}

fn trust_of(snapshot: &Snapshot) -> Arc<crate::tls::trust::TrustSet> {
    snapshot.routes[0]
        .plugins
        .mtls_auth
        .as_ref()
        .unwrap()
        .trust
        .clone()
        .unwrap()
}

#[test]
fn an_equal_configuration_builds_nothing_again() {
    let globals = globals();
    let recorder = Recorder::default();
    let (first, _) = compile_with(&recorder, &full().0, &globals, None, 1).unwrap();
    assert_eq!(
        recorder.pairs.borrow().len(),
        2,
        "a pair used twice is built once"
    );
    // Read again from text: equal content, other allocations.
    let (second, _) = next(&recorder, &full(), Some((&first, &globals)));
    let (third, _) = next(&recorder, &full(), Some((&second, &globals)));
    assert_eq!(recorder.pairs.borrow().len(), 2);
    assert_eq!(recorder.trust_sets.borrow().len(), 1);
    assert_eq!(recorder.upstreams.borrow().len(), 1);
    assert_eq!(recorder.servers.borrow().len(), 1);
    assert!(Arc::ptr_eq(&first.server, &third.server));
    assert!(Arc::ptr_eq(&first.consumers, &third.consumers));
    assert!(Arc::ptr_eq(tls_of(&first), tls_of(&third)));
    assert!(Arc::ptr_eq(&trust_of(&first), &trust_of(&third)));
}

#[test]
fn a_change_rebuilds_what_depends_on_it_and_no_more() {
    // Pairs, trust sets, upstream identities, server policies built by the change; and whether consumers are new.
    let rotated = full().with(Kind::Certificates, 1, json!({"cert": "one'", "key": "k"}));
    let other = full().with(Kind::Certificates, 2, json!({"cert": "two'", "key": "k"}));
    let ca = full().with(Kind::CaCertificates, 0xA1, json!({"cert": "ca1'"}));
    let sni = full().with(
        Kind::Routes,
        30,
        json!({"service": to(20), "snis": ["a.test"]}),
    );
    let consumer = full().with(Kind::Consumers, 41, json!({"username": "bob"}));
    let table = [
        (
            "certificate of SNI and service",
            rotated,
            (1, 0, 1, 1),
            false,
        ),
        ("certificate of an SNI", other, (1, 0, 0, 1), false),
        ("CA", ca, (0, 1, 1, 0), false),
        ("SNI of an mTLS route", sni, (0, 0, 0, 1), false),
        ("consumer", consumer, (0, 0, 0, 0), true),
    ];
    for (rule, changed, expected, consumers) in table {
        let globals = globals();
        let recorder = Recorder::default();
        let counts = || {
            let pairs = recorder.pairs.borrow().len();
            let trust_sets = recorder.trust_sets.borrow().len();
            (
                pairs,
                trust_sets,
                recorder.upstreams.borrow().len(),
                recorder.servers.borrow().len(),
            )
        };
        let (first, _) = compile_with(&recorder, &full().0, &globals, None, 1).unwrap();
        let before = counts();
        let (second, _) = next(&recorder, &changed, Some((&first, &globals)));
        let after = counts();
        let built = (
            after.0 - before.0,
            after.1 - before.1,
            after.2 - before.2,
            after.3 - before.3,
        );
        assert_eq!(built, expected, "{rule}");
        assert_eq!(
            !Arc::ptr_eq(&first.consumers, &second.consumers),
            consumers,
            "{rule}"
        );
    }
}

#[test]
fn a_snapshot_crosses_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Snapshot>();
}
