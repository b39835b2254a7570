use super::*;
use crate::http1::fields;

const NONE_SENT: &str = "401 No required TLS certificate was sent";
const UNVERIFIED: &str = "401 TLS certificate failed verification";

#[test]
fn failures_have_kongs_texts_and_keep_reasons_in_the_log() {
    let revoked = Client {
        revocation: Revocation::Revoked,
        ..client(&[])
    };
    let good = Client {
        revocation: Revocation::Good,
        ..client(&[])
    };
    let stranger = client(&["nobody.test"]);
    let table = [
        ("§5.3 A", json!({}), None, NONE_SENT, "NONE"),
        (
            "§5.3 B untrusted",
            json!({}),
            Some(Err("unknown issuer")),
            UNVERIFIED,
            "FAILED:unknown issuer",
        ),
        (
            "§5.3 B line break",
            json!({}),
            Some(Err("bad\r\nname")),
            UNVERIFIED,
            "FAILED:bad%0D%0Aname",
        ),
        (
            "§5.3 no consumer",
            json!({}),
            Some(Ok(stranger.clone())),
            UNVERIFIED,
            "SUCCESS",
        ),
        (
            "§5.3 A anonymous",
            json!({"anonymous": "guest"}),
            None,
            "guest",
            "NONE",
        ),
        (
            "§5.3 B anonymous by id",
            json!({"anonymous": id(4)}),
            Some(Err("expired")),
            "guest",
            "FAILED:expired",
        ),
        (
            "§5.3 no consumer, anonymous",
            json!({"anonymous": "guest"}),
            Some(Ok(stranger.clone())),
            "guest",
            "SUCCESS",
        ),
        (
            "§5.3 anonymous is gone",
            json!({"anonymous": "x"}),
            None,
            "500 An unexpected error occurred",
            "NONE",
        ),
        (
            "§5.4 anonymous not needed",
            json!({"anonymous": "x"}),
            Some(Ok(client(&[]))),
            "alice",
            "SUCCESS",
        ),
        (
            "§5.6 revoked",
            json!({}),
            Some(Ok(revoked.clone())),
            UNVERIFIED,
            "FAILED:the certificate is revoked",
        ),
        (
            "§5.6 SKIP",
            json!({"revocation_check_mode": "SKIP"}),
            Some(Ok(revoked)),
            "alice",
            "SUCCESS",
        ),
        (
            "§5.6 STRICT, unknown",
            json!({"revocation_check_mode": "STRICT"}),
            Some(Ok(client(&[]))),
            UNVERIFIED,
            "FAILED:the revocation status is unknown (STRICT)",
        ),
        (
            "§5.6 STRICT, good",
            json!({"revocation_check_mode": "STRICT"}),
            Some(Ok(good)),
            "alice",
            "SUCCESS",
        ),
        (
            "§5.4 default",
            json!({"default_consumer": "bob"}),
            Some(Ok(stranger.clone())),
            "bob",
            "SUCCESS",
        ),
        (
            "§5.4 default by id",
            json!({"default_consumer": id(2)}),
            Some(Ok(stranger.clone())),
            "bob",
            "SUCCESS",
        ),
        (
            "§5.4 default is gone",
            json!({"default_consumer": "x"}),
            Some(Ok(stranger.clone())),
            UNVERIFIED,
            "SUCCESS",
        ),
        (
            "§5.4 default needs trust",
            json!({"default_consumer": "bob"}),
            Some(Err("x")),
            UNVERIFIED,
            "FAILED:x",
        ),
    ];
    for (rule, config, sent, expected, verify) in table {
        let (verdict, admitted) = access(&mtls(config), &consumers(), sent);
        assert_eq!(outcome(&verdict, &admitted), expected, "{rule}");
        assert_eq!(admitted.client_verify.as_deref(), Some(verify), "{rule}");
        if let Verdict::Answer(answer) = verdict {
            assert!(answer.body.is_none() && !answer.reason.is_empty(), "{rule}");
            assert!(
                admitted.consumer.is_none() && admitted.headers.is_empty(),
                "{rule}"
            );
        }
    }
}

#[test]
fn unusable_anchors_are_500_even_with_an_anonymous_consumer() {
    let config = map(json!({"ca_certificates": [id(0xA1)], "anonymous": "guest"}));
    let plugin = MtlsAuth::from_config(&config, &mut |_, _| {
        Err("ca certificate does not exist".into())
    })
    .unwrap();
    let (verdict, admitted) = access(&plugin, &consumers(), Some(Ok(client(&[]))));
    assert_eq!(
        outcome(&verdict, &admitted),
        "500 An unexpected error occurred"
    );
    assert!(admitted.consumer.is_none());
}

#[test]
fn consumer_lookup_order() {
    type Credentials = &'static [(u128, &'static str, Option<u128>, u128)];
    type Row = (
        &'static str,
        Value,
        Credentials,
        &'static [&'static str],
        &'static str,
        &'static str,
    );
    // Credential: id, name, CA, consumer. Consumers: 1 alice, 2 bob, 3 root, 5 carol (custom_id alice).
    let table: [Row; 16] = [
        (
            "§5.10.1 CN without SAN",
            json!({}),
            &[],
            &[],
            "alice",
            "alice",
        ),
        (
            "§5.10.2 CN not used beside a SAN",
            json!({}),
            &[],
            &["nobody.test"],
            UNVERIFIED,
            "",
        ),
        (
            "§5.4 SAN by username",
            json!({}),
            &[],
            &["bob"],
            "bob",
            "bob",
        ),
        (
            "§5.4 names in certificate order",
            json!({}),
            &[],
            &["root", "bob"],
            "root",
            "root",
        ),
        (
            "§5.4 case-sensitive",
            json!({}),
            &[],
            &["Bob"],
            UNVERIFIED,
            "",
        ),
        (
            "§5.4 list order: username first",
            json!({}),
            &[],
            &["c-1", "bob"],
            "bob",
            "bob",
        ),
        (
            "§5.4 list order: custom_id first",
            json!({"consumer_by": ["custom_id", "username"]}),
            &[],
            &["bob", "c-1"],
            "alice",
            "c-1",
        ),
        (
            "§5.4 only custom_id",
            json!({"consumer_by": ["custom_id"]}),
            &[],
            &[],
            "carol",
            "alice",
        ),
        (
            "§5.1 consumer_by empty",
            json!({"consumer_by": []}),
            &[],
            &[],
            UNVERIFIED,
            "",
        ),
        (
            "§5.1 consumer_by null",
            json!({"consumer_by": null}),
            &[],
            &[],
            UNVERIFIED,
            "",
        ),
        (
            "§5.4 credential before username",
            json!({}),
            &[(0xC1, "bob", None, 3)],
            &["bob"],
            "root",
            "c1",
        ),
        (
            "§5.10.3 bound before null",
            json!({}),
            &[(0xC1, "x", None, 2), (0xC2, "x", Some(0xA2), 3)],
            &["x"],
            "root",
            "c2",
        ),
        (
            "§5.4 nearest CA first",
            json!({}),
            &[(0xC1, "x", Some(0xA2), 2), (0xC2, "x", Some(0xA1), 3)],
            &["x"],
            "root",
            "c2",
        ),
        (
            "§5.4 nearest CA before name order",
            json!({}),
            &[(0xC1, "x", Some(0xA2), 2), (0xC2, "y", Some(0xA1), 3)],
            &["x", "y"],
            "root",
            "c2",
        ),
        (
            "§5.4 bound to a CA not on the path",
            json!({}),
            &[(0xC1, "x", Some(0xA3), 2)],
            &["x"],
            UNVERIFIED,
            "",
        ),
        (
            "§5.4 credential by CN beside a SAN",
            json!({}),
            &[(0xC1, "alice", None, 2)],
            &["x"],
            UNVERIFIED,
            "",
        ),
    ];
    for (rule, config, credentials, san, expected, identifier) in table {
        let mut consumers = consumers();
        for &(number, name, ca, consumer) in credentials {
            credential(&mut consumers, number, name, ca, consumer);
        }
        let (verdict, admitted) = access(&mtls(config), &consumers, Some(Ok(client(san))));
        assert_eq!(outcome(&verdict, &admitted), expected, "{rule}");
        let found = admitted.credential.as_deref().unwrap_or("");
        assert_eq!(found.trim_start_matches(['0', '-']), identifier, "{rule}");
    }
}

#[test]
fn directory_attributes_count_as_the_matcher_says() {
    let table = [
        ("all", json!([]), "bob"),
        ("null", Value::Null, "bob"),
        ("by name", json!(["o"]), "root"),
        ("by OID", json!(["2.5.4.10"]), "root"),
        ("another", json!(["OU"]), UNVERIFIED),
    ];
    for (rule, matcher, expected) in table {
        let plugin = mtls(json!({"san_dirname_matcher": matcher}));
        let sent = client(&["CN=bob", "O=root"]);
        let (verdict, admitted) = access(&plugin, &consumers(), Some(Ok(sent)));
        assert_eq!(outcome(&verdict, &admitted), expected, "§5.1 {rule}");
    }
}

#[test]
fn an_empty_san_extension_still_rules_the_cn_out() {
    let empty = Client {
        has_san: true,
        ..client(&[])
    };
    let (verdict, admitted) = access(&mtls(json!({})), &consumers(), Some(Ok(empty)));
    assert_eq!(outcome(&verdict, &admitted), UNVERIFIED);
}

#[test]
fn headers_for_the_upstream() {
    let skip = json!({"skip_consumer_lookup": true});
    let alice = "X-Consumer-ID: 00000000-0000-0000-0000-000000000001";
    let guest = "X-Consumer-ID: 00000000-0000-0000-0000-000000000004";
    let table: [(&str, Value, Option<Client>, &[&str]); 5] = [
        (
            "§5.5 consumer",
            json!({}),
            Some(client(&[])),
            &[
                alice,
                "X-Consumer-Custom-ID: c-1",
                "X-Consumer-Username: alice",
                "X-Credential-Identifier: alice",
            ],
        ),
        (
            "§5.5 anonymous without custom_id",
            json!({"anonymous": "guest"}),
            None,
            &[
                guest,
                "X-Consumer-Username: guest",
                "X-Anonymous-Consumer: true",
            ],
        ),
        (
            "§5.5 skip",
            skip.clone(),
            Some(client(&["a.test", "spiffe://b"])),
            &[
                "X-Client-Cert-Dn: CN=alice,O=Acme",
                "X-Client-Cert-San: a.test,spiffe://b",
            ],
        ),
        (
            "§5.5 skip without SAN",
            skip.clone(),
            Some(client(&[])),
            &["X-Client-Cert-Dn: CN=alice,O=Acme"],
        ),
        (
            "§5.3 skip never looks at consumers",
            skip,
            Some(client(&["bob"])),
            &[
                "X-Client-Cert-Dn: CN=alice,O=Acme",
                "X-Client-Cert-San: bob",
            ],
        ),
    ];
    for (rule, config, sent, expected) in table {
        let (_, admitted) = access(&mtls(config), &consumers(), sent.map(Ok));
        assert_eq!(headers(&admitted), expected, "{rule}");
        for (name, _) in &admitted.headers {
            assert!(
                fields::is_identity(name.as_bytes()),
                "{rule}: {name} must be stripped from clients"
            );
        }
    }
}

#[test]
fn groups_from_the_certificate() {
    let table = [
        ("§5.3.4 CN", json!("CN"), Some("alice"), vec!["alice"]),
        (
            "§5.3.4 DN",
            json!("DN"),
            Some("alice"),
            vec!["CN=alice,O=Acme"],
        ),
        ("§5.3.4 null", Value::Null, Some("alice"), vec![]),
        ("§5.3.4 no CN", json!("CN"), None, vec![]),
    ];
    for (rule, by, cn, expected) in table {
        let plugin = mtls(json!({"skip_consumer_lookup": true, "authenticated_group_by": by}));
        let (_, admitted) = access(
            &plugin,
            &consumers(),
            Some(Ok(Client { cn, ..client(&[]) })),
        );
        let groups: Vec<&str> = admitted
            .authenticated_groups
            .iter()
            .map(|group| &**group)
            .collect();
        assert_eq!(groups, expected, "{rule}");
        assert!(
            admitted.credential.is_some(),
            "{rule}: counts as a credential (§5.8)"
        );
    }
    let (_, admitted) = access(&mtls(json!({})), &consumers(), Some(Ok(client(&[]))));
    assert!(
        admitted.authenticated_groups.is_empty(),
        "§5.1 used only with skip_consumer_lookup"
    );
}

#[test]
fn a_certificate_with_line_breaks_in_its_names_injects_no_header() {
    let attack = "a\r\nX-Consumer-Username: root\0";
    let evil = Client {
        dn: "CN=a\r\nX-Consumer-ID: 3",
        cn: Some("a\r\nX-Consumer-ID: 3"),
        ..client(&[attack, "b,root"])
    };
    let skip = mtls(json!({"skip_consumer_lookup": true}));
    let default = mtls(json!({"default_consumer": "bob"}));
    let mut consumers = consumers();
    let named = Arc::new(Consumer::new(
        id(9),
        Some(attack),
        Some("c\nd"),
        vec!["g\r\nX: y".into()],
    ));
    consumers.by_username.insert(attack.into(), named.clone());
    consumers.by_id.insert(id(9), named);
    let by_name = mtls(json!({}));
    for plugin in [&skip, &default, &by_name] {
        let (_, mut admitted) = access(plugin, &consumers, Some(Ok(evil.clone())));
        let acl = Acl::from_config(&map(json!({"deny": ["nobody"]}))).unwrap();
        acl.access(&mut admitted);
        assert!(!admitted.headers.is_empty());
        for line in headers(&admitted) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
    let (_, admitted) = access(&skip, &consumers, Some(Ok(evil)));
    assert_eq!(
        headers(&admitted)[1],
        "X-Client-Cert-San: a%0D%0AX-Consumer-Username: root%00,b%2Croot"
    );
}
