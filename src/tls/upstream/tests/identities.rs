//! What the gateway shows, and that nothing of it is shared with another identity.

use super::*;

#[test]
fn the_whole_client_chain_is_sent_to_an_upstream_that_asks() {
    let root = ca("Root").self_signed();
    let client_root = ca("ClientRoot").self_signed();
    let issuing = ca("Issuing").signed_by(&client_root);
    let client = leaf("gateway").signed_by(&issuing);
    let server = leaf("s").dns("up.test").signed_by(&root);
    let tls = UpstreamTls::new(UpstreamSpec {
        client: Some(pair(&[&client, &issuing], &client)),
        ..verifying(&[&root])
    });
    let asking = server_config(&[&server], Some(&client_root));
    let (_, met) = core().meet(&tls, "up.test", &asking).unwrap();
    let sent: Vec<&[u8]> = met
        .peer_certificates()
        .unwrap()
        .iter()
        .map(|der| &**der)
        .collect();
    assert_eq!(sent, [&client.der[..], &issuing.der]);

    let silent = server_config(&[&server], None);
    let (_, met) = core().meet(&tls, "up.test", &silent).unwrap();
    assert!(met.peer_certificates().is_none());

    let without = UpstreamTls::new(verifying(&[&root]));
    assert!(core().meet(&without, "up.test", &asking).is_err());
}

/// DESIGN.md "TLS resumption never crosses identities".
#[test]
fn resumption_stays_within_one_identity_and_one_name() {
    let root = ca("Root").self_signed();
    let client_root = ca("ClientRoot").self_signed();
    let names = ["up.test", "also.test"].map(|name| SanType::DnsName(name.try_into().unwrap()));
    let server = leaf("s").names(&names).signed_by(&root);
    let client = || {
        let made = leaf("gateway").signed_by(&client_root);
        pair(&[&made], &made)
    };
    let one = client();
    for versions in [BOTH, ONLY_TLS12] {
        let base = UpstreamSpec {
            client: Some(Arc::clone(&one)),
            versions,
            ..verifying(&[&root])
        };
        let tls = |change: &dyn Fn(&mut UpstreamSpec)| {
            let mut spec = base.clone();
            change(&mut spec);
            UpstreamTls::new(spec)
        };
        let config = server_config(&[&server], Some(&client_root));
        let mut core = core();
        let mut kind = |tls: &UpstreamTls, name: &str| {
            let (client, _) = core.meet(tls, name, &config).unwrap();
            client.handshake_kind().unwrap()
        };
        let same = tls(&|_| ());
        assert_eq!(kind(&same, "up.test"), HandshakeKind::Full);
        assert_eq!(kind(&same, "up.test"), HandshakeKind::Resumed);
        let again = tls(&|_| ());
        assert_eq!(
            kind(&again, "up.test"),
            HandshakeKind::Resumed,
            "an equal identity of a later snapshot"
        );
        assert_eq!(
            kind(&same, "also.test"),
            HandshakeKind::Full,
            "another name"
        );
        let others = [
            (
                "another client certificate",
                tls(&|spec| spec.client = Some(client())),
            ),
            ("another depth", tls(&|spec| spec.depth = 2)),
            ("no verification", tls(&|spec| spec.verify = false)),
            (
                "more trust",
                tls(&|spec| spec.roots = Some(roots(&[&root, &client_root]))),
            ),
        ];
        for (what, other) in &others {
            assert_eq!(kind(other, "up.test"), HandshakeKind::Full, "{what}");
        }
        assert_eq!(core.config_count(), 5);
        core.gc(|fingerprint| *fingerprint == same.fingerprint);
        assert_eq!(core.config_count(), 1);
        let (after, _) = core.meet(&same, "up.test", &config).unwrap();
        assert_eq!(
            after.handshake_kind(),
            Some(HandshakeKind::Resumed),
            "kept by gc"
        );
        core.gc(|_| false);
        let (after, _) = core.meet(&same, "up.test", &config).unwrap();
        assert_eq!(
            after.handshake_kind(),
            Some(HandshakeKind::Full),
            "dropped by gc"
        );
    }
}

#[test]
fn the_fingerprint_is_the_effective_identity_by_content() {
    let root = ca("Root").self_signed();
    let other_root = ca("Other").self_signed();
    let client = leaf("gateway").self_signed();
    let renewed = leaf("gateway")
        .key_of(&client)
        .years(2021, 2041)
        .self_signed();
    let base = || UpstreamSpec {
        client: Some(pair(&[&client], &client)),
        ..verifying(&[&root])
    };
    let of = |spec: UpstreamSpec| UpstreamTls::new(spec).fingerprint;
    let off = |spec: UpstreamSpec| UpstreamSpec {
        verify: false,
        ..spec
    };
    let expected = of(base());
    let rows = [
        ("built again", base(), true),
        (
            "no client certificate",
            UpstreamSpec {
                client: None,
                ..base()
            },
            false,
        ),
        (
            "renewed in place",
            UpstreamSpec {
                client: Some(pair(&[&renewed], &client)),
                ..base()
            },
            false,
        ),
        (
            "chain extended",
            UpstreamSpec {
                client: Some(pair(&[&client, &root], &client)),
                ..base()
            },
            false,
        ),
        ("depth", UpstreamSpec { depth: 3, ..base() }, false),
        (
            "trust",
            UpstreamSpec {
                roots: Some(roots(&[&other_root])),
                ..base()
            },
            false,
        ),
        (
            "no trust",
            UpstreamSpec {
                roots: None,
                ..base()
            },
            false,
        ),
        (
            "versions",
            UpstreamSpec {
                versions: ONLY_TLS12,
                ..base()
            },
            false,
        ),
        ("verification off", off(base()), false),
    ];
    for (what, spec, same) in rows {
        assert_eq!(of(spec) == expected, same, "{what}");
    }
    let no_trust = UpstreamSpec {
        roots: None,
        depth: 9,
        ..base()
    };
    assert_eq!(
        of(off(base())),
        of(off(no_trust)),
        "KONG 4.4: without verification neither has effect"
    );
}
