use super::*;

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
    let trust = |handle: u32| {
        route(&snapshot, handle)
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
        let plugin = first(&snapshot)
            .plugins
            .mtls_auth
            .as_ref()
            .expect("the plugin still guards the route");
        assert_eq!(plugin.trust.as_ref().unwrap_err().as_ref(), reason);
        assert!(warnings[0].contains(reason), "{warnings:?}");
    }
}
