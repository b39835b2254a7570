use super::*;

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

fn trust_of(snapshot: &Snapshot) -> Arc<crate::tls::trust::TrustSet> {
    first(snapshot)
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
    let mut compiler = Compiler::new(globals());
    let recorder = Recorder::default();
    let (first, _) = next(&recorder, &full(), &mut compiler);
    assert_eq!(
        recorder.pairs.borrow().len(),
        2,
        "one per SNI's certificate"
    );
    // Read again from text: equal content, other allocations.
    next(&recorder, &full(), &mut compiler);
    let (third, _) = next(&recorder, &full(), &mut compiler);
    assert_eq!(recorder.pairs.borrow().len(), 2);
    assert_eq!(recorder.clients.borrow().len(), 1);
    assert_eq!(recorder.trust_sets.borrow().len(), 1);
    assert_eq!(recorder.upstreams.borrow().len(), 1);
    assert_eq!(recorder.servers.borrow().len(), 1);
    assert_eq!((first.number, third.number), (1, 3));
    assert!(Arc::ptr_eq(&first.server, &third.server));
    assert!(Arc::ptr_eq(&first.consumers, &third.consumers));
    assert!(Arc::ptr_eq(tls_of(&first), tls_of(&third)));
    assert!(Arc::ptr_eq(&trust_of(&first), &trust_of(&third)));
}

#[test]
fn a_change_rebuilds_what_depends_on_it_and_no_more() {
    // Pairs of either side, trust sets, upstream identities, server policies built by the change; and whether consumers are new.
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
            (2, 0, 1, 1),
            false,
        ),
        ("certificate of an SNI", other, (1, 0, 0, 1), false),
        ("CA", ca, (0, 1, 1, 0), false),
        ("SNI of an mTLS route", sni, (0, 0, 0, 1), false),
        ("consumer", consumer, (0, 0, 0, 0), true),
    ];
    for (rule, changed, expected, consumers) in table {
        let mut compiler = Compiler::new(globals());
        let recorder = Recorder::default();
        let counts = || {
            let pairs = recorder.pairs.borrow().len() + recorder.clients.borrow().len();
            let trust_sets = recorder.trust_sets.borrow().len();
            (
                pairs,
                trust_sets,
                recorder.upstreams.borrow().len(),
                recorder.servers.borrow().len(),
            )
        };
        let (first, _) = next(&recorder, &full(), &mut compiler);
        let before = counts();
        let (second, _) = next(&recorder, &changed, &mut compiler);
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

/// A reload of settings: key pairs and tables stay, what globals are part of is made anew.
#[test]
fn other_globals_rebuild_what_they_are_part_of() {
    let other = |change: &dyn Fn(&mut Globals<Recorder>)| {
        let mut globals = globals();
        change(&mut globals);
        globals
    };
    // Upstream identities and server policies built.
    let table = [
        ("the same", other(&|_| ()), (0, 0)),
        (
            "ssl_*",
            other(&|globals| globals.server = Arc::new(())),
            (0, 1),
        ),
        (
            "ssl_cert",
            other(&|globals| globals.default_pairs.clear()),
            (0, 1),
        ),
        (
            "nginx_proxy_proxy_ssl_verify",
            other(&|globals| globals.proxy_ssl_verify = Some(false)),
            (1, 0),
        ),
        (
            "router_flavor",
            other(&|globals| globals.traditional = true),
            (0, 0),
        ),
    ];
    for (rule, mut globals, expected) in table {
        let before = self::globals();
        let kept = |new: &mut Globals<Recorder>, old: &Globals<Recorder>| {
            // What the row does not name is the very same.
            if rule != "ssl_*" {
                new.server = old.server.clone();
            }
            if rule != "ssl_cert" {
                new.default_pairs = old.default_pairs.clone();
            }
            new.fallback_trust = old.fallback_trust.clone();
        };
        kept(&mut globals, &before);
        let mut compiler = Compiler::new(before);
        let recorder = Recorder::default();
        let v1 = full().with(
            Kind::Routes,
            30,
            json!({"service": to(20), "path_handling": "v1"}),
        );
        let v1 = v1.with(Kind::Services, 20, json!({"client_certificate": to(1)}));
        let (first, _) = next(&recorder, &v1, &mut compiler);
        let counts = || {
            (
                recorder.upstreams.borrow().len(),
                recorder.servers.borrow().len(),
            )
        };
        let before = counts();
        let (second, _) = compiler.full(&recorder, &v1.0, &globals).expect(rule);
        let after = counts();
        assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{rule}");
        assert_eq!(recorder.pairs.borrow().len(), 2, "{rule}");
        assert_eq!(recorder.trust_sets.borrow().len(), 1, "{rule}");
        let names = |snapshot: &Snapshot| recorder.server_of(&snapshot.server);
        assert_eq!(names(&first), names(&second), "{rule}");
        let handling = route(&second, 0).path_handling;
        assert_eq!(handling == Handling::V1, rule == "router_flavor", "{rule}");
    }
}

#[test]
fn a_snapshot_crosses_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Snapshot>();
}
