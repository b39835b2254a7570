use super::*;

fn termination(status: u16) -> Option<Arc<RequestTermination>> {
    Some(Arc::new(
        RequestTermination::from_config(&map(json!({"status_code": status}))).unwrap(),
    ))
}

#[test]
fn plugins_run_by_priority_and_the_consumers_chain_takes_over() {
    let allow_gold = Some(Arc::new(
        Acl::from_config(&map(json!({"allow": ["gold"]}))).unwrap(),
    ));
    let chain = |mtls: Value| Chain {
        mtls_auth: Some(Arc::new(self::mtls(mtls))),
        acl: allow_gold.clone(),
        request_termination: termination(503),
    };
    let of_root = Chain {
        mtls_auth: None,
        acl: None,
        request_termination: termination(418),
    };
    let of_guest = Chain {
        mtls_auth: None,
        acl: None,
        request_termination: None,
    };
    let of_consumers = HashMap::from([(id(3), of_root), (id(4), of_guest)]);
    let table = [
        ("mtls-auth before acl", chain(json!({})), None, 401),
        (
            "acl before request-termination",
            chain(json!({})),
            Some(client(&["bob"])),
            403,
        ),
        (
            "request-termination last",
            Chain {
                acl: None,
                ..chain(json!({}))
            },
            Some(client(&["bob"])),
            503,
        ),
        (
            "consumer's own chain",
            chain(json!({})),
            Some(client(&["root"])),
            418,
        ),
        (
            "anonymous consumer's own chain",
            chain(json!({"anonymous": "guest"})),
            None,
            0,
        ),
        (
            "acl alone knows nobody",
            Chain {
                mtls_auth: None,
                ..chain(json!({}))
            },
            Some(client(&["root"])),
            401,
        ),
        (
            "§5.10.9 skip + acl by CN",
            chain(json!({"skip_consumer_lookup": true})),
            Some(Client {
                cn: Some("tin"),
                ..client(&[])
            }),
            403,
        ),
        ("no plugin", Chain::default(), None, 0),
    ];
    for (rule, chain, sent, expected) in table {
        let consumers = consumers();
        let proven = testing::client_chain();
        let request = Request {
            client: sent.is_some().then_some(&proven),
            consumers: &consumers,
        };
        let mut judge = |_: &Arc<ClientChain>, _: &Arc<TrustSet>| {
            sent.clone()
                .map(|client| Arc::new(client) as Arc<dyn ClientFacts>)
                .ok_or_else(String::new)
        };
        let mut admitted = Admitted::default();
        let verdict = chain.access(
            &of_consumers,
            &request,
            &mut judge,
            &|_| false,
            &mut admitted,
        );
        let status = match verdict {
            Verdict::Answer(answer) => answer.status,
            Verdict::Continue => 0,
        };
        assert_eq!(status, expected, "{rule}");
    }
}

#[test]
fn skip_consumer_lookup_with_acl_by_cn_and_by_dn() {
    let table = [
        (
            "CN allowed",
            "CN",
            json!({"allow": ["alice"]}),
            "X-Authenticated-Groups: alice",
        ),
        ("CN denied", "CN", json!({"deny": ["alice"]}), "403"),
        (
            "DN allowed",
            "DN",
            json!({"allow": ["CN=alice,O=Acme"]}),
            "X-Authenticated-Groups: CN=alice,O=Acme",
        ),
        ("DN is not its CN", "DN", json!({"allow": ["alice"]}), "403"),
        (
            "DN denied",
            "DN",
            json!({"deny": ["CN=alice,O=Acme"]}),
            "403",
        ),
    ];
    for (rule, by, acl, expected) in table {
        let plugin = mtls(json!({"skip_consumer_lookup": true, "authenticated_group_by": by}));
        let (_, mut admitted) = access(&plugin, &consumers(), Some(Ok(client(&[]))));
        let found = match Acl::from_config(&map(acl)).unwrap().access(&mut admitted) {
            Verdict::Answer(answer) => answer.status.to_string(),
            Verdict::Continue => headers(&admitted).pop().unwrap_or_default(),
        };
        assert_eq!(found, expected, "§5.10.9 {rule}");
    }
}

#[test]
fn a_cn_with_a_comma_does_not_pass_for_two_groups() {
    let plugin = mtls(json!({"skip_consumer_lookup": true}));
    let twofold = Client {
        cn: Some("x=1, gold"),
        ..client(&[])
    };
    let (_, mut admitted) = access(&plugin, &consumers(), Some(Ok(twofold)));
    Acl::from_config(&map(json!({"deny": ["nobody"]})))
        .unwrap()
        .access(&mut admitted);
    assert_eq!(
        headers(&admitted).pop().unwrap(),
        "X-Authenticated-Groups: x=1%2C gold"
    );
}
