//! What is agreed and shown, and what a client may show.

use super::*;
use rustls::{CipherSuite, NamedGroup};

// ── handshakes ──

#[test]
fn every_provider_serves_both_versions_and_carries_data_both_ways() {
    for mode in [Mode::Auto, Mode::Mixed, Mode::AwsLc, Mode::Ring] {
        let core = Gateway::new().provider(choose(mode)).core();
        for (version, name, cipher) in [
            (Version::Tls12, "TLSv1.2", "ECDHE-ECDSA-"),
            (Version::Tls13, "TLSv1.3", "TLS_"),
        ] {
            let (mut session, mut client) =
                connect(&core, &Client::new(version).config(), "a.test").unwrap();
            let facts = session.facts().unwrap();
            assert_eq!(facts.version, name, "{mode:?}");
            assert!(
                facts.cipher.starts_with(cipher),
                "{mode:?}: {}",
                facts.cipher
            );
            assert!(facts.group.is_some());
            assert_eq!(facts.sni.as_deref(), Some("a.test"));
            assert_eq!(facts.alpn, Some("http/1.1"));
            assert!(!facts.resumed && !facts.client_certificate_requested);
            assert!(session.client_chain().is_none());

            client.writer().write_all(b"GET / HTTP/1.1\r\n").unwrap();
            pump(&mut session, &mut client).unwrap();
            assert_eq!(session.plaintext(), Some(b"GET / HTTP/1.1\r\n".as_slice()));
            session.consume(4);
            assert_eq!(session.plaintext(), Some(b"/ HTTP/1.1\r\n".as_slice()));
            session.consume(1000);
            assert_eq!(session.plaintext(), None);

            session.write(b"HTTP/1.1 200 OK\r\n").unwrap();
            session.close_notify();
            pump(&mut session, &mut client).unwrap();
            let mut answer = Vec::new();
            std::io::Read::read_to_end(&mut client.reader(), &mut answer).unwrap();
            assert_eq!(answer, b"HTTP/1.1 200 OK\r\n");

            assert!(!session.peer_closed());
            client.send_close_notify();
            session.feed(&sent(&mut client)).unwrap();
            assert!(session.peer_closed());
            assert_eq!(session.feed(b"whatever follows").unwrap(), 16);
        }
    }
}

#[test]
fn of_two_pairs_the_one_the_client_can_verify_is_shown_ecdsa_before_rsa() {
    use SignatureScheme as S;
    let core = Gateway::new().core();
    let all = None;
    // (rule, version, schemes, TLS 1.2 suites, shown)
    for (rule, version, schemes, suite, want) in [
        ("both: ECDSA", Version::Tls13, all, None, Ok(&*ECDSA)),
        ("both: ECDSA", Version::Tls12, None, None, Ok(&*ECDSA)),
        (
            "RSA alone",
            Version::Tls13,
            Some(vec![S::RSA_PSS_SHA256]),
            None,
            Ok(&*RSA),
        ),
        (
            "RSA alone",
            Version::Tls12,
            Some(vec![S::RSA_PKCS1_SHA256]),
            None,
            Ok(&*RSA),
        ),
        (
            "suites of RSA alone",
            Version::Tls12,
            None,
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
            Ok(&*RSA),
        ),
        (
            "ECDSA alone",
            Version::Tls12,
            None,
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
            Ok(&*ECDSA),
        ),
        (
            "another curve",
            Version::Tls13,
            Some(vec![S::ECDSA_NISTP384_SHA384, S::RSA_PSS_SHA256]),
            None,
            Ok(&*RSA),
        ),
        (
            "nothing in common",
            Version::Tls13,
            Some(vec![S::ED25519]),
            None,
            Err("handshake_failure"),
        ),
        (
            "nothing in common",
            Version::Tls12,
            Some(vec![S::ED25519]),
            None,
            Err("handshake_failure"),
        ),
    ] {
        let mut client = Client::new(version);
        client.schemes = schemes;
        if let Some(only) = suite {
            let suites = &mut client.provider.cipher_suites;
            suites.retain(|suite| suite.suite() == only);
        }
        match (connect(&core, &client.config(), "a.test"), want) {
            (Ok((_, client)), Ok(pem)) => {
                assert_eq!(leaf(&client), pem.der(), "{rule} {version:?}")
            }
            (Err(error), Err(alert)) => {
                assert_eq!(error.alert_name(), alert, "{rule} {version:?}");
                // TLS 1.3 finds out after ServerHello: its alert is encrypted.
                let clear = error.alert() == [21, 3, 3, 0, 2, 2, 40];
                assert_eq!(clear, version == Version::Tls12, "{rule}");
            }
            (got, _) => panic!("{rule} {version:?}: {:?}", got.map(|_| ())),
        }
    }
}

#[test]
fn suites_of_a_version_that_is_off_do_not_mislead_the_choice_of_the_pair() {
    let mut gateway = Gateway::new();
    gateway.settings.versions = vec![Version::Tls12];
    let core = gateway.core();
    let mut client = Client::new(Version::Tls12);
    client.versions = Version::ALL.to_vec();
    let rsa = [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ];
    let suites = &mut client.provider.cipher_suites;
    suites.retain(|suite| rsa.contains(&suite.suite()));
    let (session, client) = connect(&core, &client.config(), "a.test").unwrap();
    assert_eq!(session.facts().unwrap().version, "TLSv1.2");
    assert_eq!(leaf(&client), RSA.der());
}

#[test]
fn the_certificate_is_chosen_by_sni_and_never_the_asterisk_without_one() {
    let mut gateway = Gateway::new();
    let special = Arc::new(Identity::new([OTHER.pair()]));
    gateway.sni.insert("*", Arc::clone(&special));
    gateway
        .sni
        .insert("default.test", Arc::new(Identity::new([ECDSA.pair()])));
    gateway.sni.insert(
        "*.sub.default.test",
        Arc::new(Identity::new([ECDSA.pair()])),
    );
    let core = gateway.core();
    for (rule, name, sni, want) in [
        ("4.1 step 1", "default.test", true, &*ECDSA),
        ("4.1 step 2", "x.sub.default.test", true, &*ECDSA),
        ("4.1 step 4", "unknown.test", true, &*OTHER),
        ("4.1 step 0", "unknown.test", false, &*ECDSA),
        (
            "4.1 step 0: an address is no name",
            "192.0.2.1",
            true,
            &*ECDSA,
        ),
    ] {
        let mut client = Client::new(Version::Tls13);
        client.sni = sni;
        let (session, client) = connect(&core, &client.config(), name).unwrap();
        assert_eq!(leaf(&client), want.der(), "{rule}");
        assert_eq!(
            session.facts().unwrap().sni.is_some(),
            sni && name != "192.0.2.1",
            "{rule}"
        );
    }
}

#[test]
fn a_broken_entity_aborts_the_handshake_and_names_the_reason() {
    let mismatched = KeyPair::from_pem(&ECDSA.certificate, &OTHER.key).unwrap();
    for (identity, reason) in [
        (
            Identity::broken("invalid key: gone"),
            "certificate for a.test: invalid key: gone",
        ),
        (
            Identity::new([Arc::new(mismatched)]),
            "certificate for a.test: certificate does not match key",
        ),
        (
            Identity::new([]),
            "certificate for a.test: no certificate is configured",
        ),
    ] {
        let mut gateway = Gateway::new();
        gateway.sni.insert("a.test", Arc::new(identity));
        let core = gateway.core();
        let error = connect(&core, &Client::new(Version::Tls13).config(), "a.test").unwrap_err();
        assert!(matches!(error, Error::Identity { .. }));
        assert_eq!(error.to_string(), reason);
        assert_eq!(error.alert(), [21, 3, 3, 0, 2, 2, 80]);
        assert!(connect(&core, &Client::new(Version::Tls13).config(), "b.test").is_ok());
    }
}

#[test]
fn a_configured_order_of_suites_and_groups_is_kept() {
    let mut gateway = Gateway::new();
    gateway.settings.suites = vec![
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256.into(),
        CipherSuite::TLS13_AES_128_GCM_SHA256.into(),
    ];
    gateway.settings.groups = vec![NamedGroup::secp384r1.into()];
    gateway.settings.versions = vec![Version::Tls13];
    let core = gateway.core();
    // The client's key share is of another group: a HelloRetryRequest.
    let (session, client) =
        connect(&core, &Client::new(Version::Tls13).config(), "a.test").unwrap();
    let facts = session.facts().unwrap();
    assert_eq!(
        (facts.cipher, facts.group),
        ("TLS_CHACHA20_POLY1305_SHA256", Some("P-384"))
    );
    assert_eq!(
        client.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );

    let error = connect(&core, &Client::new(Version::Tls12).config(), "a.test").unwrap_err();
    assert_eq!(error.alert_name(), "protocol_version");
}

#[test]
fn only_http1_is_agreed_by_alpn() {
    let core = Gateway::new().core();
    for (rule, offered, want) in [
        (
            "RFC 7301 §3.2 the server's choice",
            &["h2", "http/1.1"][..],
            Ok(Some("http/1.1")),
        ),
        ("no extension", &[], Ok(None)),
        ("curl --http1.0", &["http/1.0"], Ok(Some("http/1.0"))),
        (
            "the better one first",
            &["http/1.0", "http/1.1"],
            Ok(Some("http/1.1")),
        ),
        (
            "RFC 7301 §3.2 nothing in common",
            &["h2"],
            Err("no_application_protocol"),
        ),
    ] {
        let mut client = Client::new(Version::Tls13);
        client.alpn = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        match (connect(&core, &client.config(), "a.test"), want) {
            (Ok((session, _)), Ok(want)) => assert_eq!(session.facts().unwrap().alpn, want),
            (Err(error), Err(alert)) => assert_eq!(error.alert_name(), alert),
            (got, _) => panic!("{rule}: {:?}", got.map(|_| ())),
        }
    }
}

// ── client certificates ──

#[test]
fn a_certificate_is_requested_where_the_map_says_with_its_names_and_never_demanded() {
    // A subject in DER: rustls passes it on as it is.
    let dn: &[u8] = &[
        0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, b'c', b'a',
    ];
    for version in Version::ALL {
        let mut gateway = Gateway::asking("named.test", &[dn]);
        gateway.request.insert("*.mtls.test", []);
        let core = gateway.core();
        for (name, want) in [
            ("named.test", Some(vec![dn.to_vec()])),
            ("a.b.mtls.test", Some(vec![])),
            ("open.test", None),
        ] {
            for certified in [Some(client_key()), None] {
                let presents = certified.is_some();
                let (client, recorder) = Client::with(certified, version);
                let (session, _) = connect(&core, &client.config(), name).unwrap();
                assert_eq!(*recorder.asked.lock().unwrap(), want, "{version:?} {name}");
                assert_eq!(
                    session.facts().unwrap().client_certificate_requested,
                    want.is_some()
                );
                let chain = session
                    .client_chain()
                    .map(|chain| chain.certificates.clone());
                let sent = (presents && want.is_some()).then(|| vec![CLIENT.der().to_vec()]);
                assert_eq!(chain, sent, "{version:?} {name}");
            }
        }
    }
}

#[test]
fn a_stolen_certificate_without_its_key_fails() {
    for version in Version::ALL {
        let core = Gateway::asking("*", &[]).core();
        let (client, _) = Client::with(Some(stolen()), version);
        let error = connect(&core, &client.config(), "a.test").unwrap_err();
        assert_eq!(error.alert_name(), "decrypt_error", "{version:?}: {error}");
        assert!(!error.alert().is_empty());
    }
}

#[test]
fn a_chain_above_the_bound_ends_the_handshake() {
    let core = Gateway::asking("*", &[]).core();
    let mut key = client_key();
    key.cert = vec![CLIENT.der(); crate::limits::CLIENT_CHAIN_COUNT_MAX + 1];
    let (client, _) = Client::with(Some(key), Version::Tls13);
    let error = connect(&core, &client.config(), "a.test").unwrap_err();
    assert_eq!(error.alert_name(), "certificate_unknown");
    assert!(error.to_string().contains("17 certificates"), "{error}");
}
