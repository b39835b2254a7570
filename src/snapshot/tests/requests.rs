use super::*;

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
    assert!(snapshot.routes.iter().next().is_none() && recorder.routes.borrow().is_empty());
    assert!(recorder.servers.borrow()[0].requests.is_empty());
}
