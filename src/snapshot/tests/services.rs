use super::*;

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
            "lua_ssl_verify_depth with its store",
            with(&|globals| globals.fallback_verify_depth = 3),
            json!({}),
            Ok(upstream(None, true, 3, system)),
        ),
        (
            "lua_ssl_verify_depth with another store",
            with(&|globals| {
                globals.fallback_verify_depth = 3;
                globals.proxy_trust = Some(Arc::new(vec!["proxy".into()]));
            }),
            json!({}),
            Ok(upstream(None, true, 1, Some(&["proxy"]))),
        ),
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
        let (snapshot, warnings) = Compiler::new(globals.clone())
            .full(&recorder, &tables.0, &globals)
            .expect(rule);
        let tls = first(&snapshot)
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
    let works = |handle: u32| {
        route(&snapshot, handle)
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

/// What a row of a declarative file alone shows is told where it is read, with its place (`declarative::advise`): once is
/// enough.
#[test]
fn what_a_row_alone_shows_is_not_told_again() {
    for service in [
        json!({"tls_verify": false}),
        json!({"tls_verify_depth": 9}),
        json!({"protocol": "grpcs"}),
    ] {
        let tables = Tables::default().with(Kind::Services, 2, service.clone());
        for advised in [false, true] {
            let globals = Globals {
                advised,
                ..globals()
            };
            let compiled =
                Compiler::new(globals.clone()).full(&Recorder::default(), &tables.0, &globals);
            let warnings = compiled.expect("sound").1;
            assert_eq!(warnings.is_empty(), advised, "{service}: {warnings:?}");
        }
    }
}

#[test]
fn what_a_service_has_been_told_is_not_told_again_when_its_certificate_is_renewed() {
    let recorder = Recorder::default();
    let mut compiler = Compiler::new(globals());
    let certificate = |key: &str| json!({"cert": "c", "key": key});
    let service = |more: Value| {
        let mut row = json!({"client_certificate": to(1), "tls_verify": false});
        row.as_object_mut().expect("a row").extend(map(more));
        row
    };
    let tables = Tables::default()
        .with(Kind::Certificates, 1, certificate("k"))
        .with(Kind::Services, 2, service(json!({})));
    let first = next(&recorder, &tables, &mut compiler).1;
    assert_eq!(first.len(), 1, "{first:?}");
    let told = |compiler: &mut Compiler<Recorder>, tables: &Tables, kind, number| {
        let applied = compiler.apply(&recorder, &tables.0, &[(kind, id(number))]);
        let warnings = applied.expect("it compiles").1;
        let texts = warnings.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    let tables = tables.with(Kind::Certificates, 1, certificate("k2"));
    let renewed = told(&mut compiler, &tables, Kind::Certificates, 1);
    assert_eq!(renewed, Vec::<String>::new());
    // Written again, it is told again.
    let tables = tables.with(Kind::Services, 2, service(json!({"retries": 1})));
    assert_eq!(told(&mut compiler, &tables, Kind::Services, 2), first);
    // What is new because of the certificate is told.
    let tables = tables.with(Kind::Certificates, 1, json!({"cert": "broken", "key": "k"}));
    let broken = told(&mut compiler, &tables, Kind::Certificates, 1);
    assert!(
        broken.iter().any(|text| text.contains("requests get 502")),
        "{broken:?}"
    );
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
        let service = first(&snapshot).service.as_ref().unwrap();
        assert_eq!(
            (service.scheme, &service.host, service.tls.is_some()),
            (scheme, &expected, tls),
            "§1.5 {protocol} {host}"
        );
        assert_eq!(&*service.host_text, host);
    }
}
