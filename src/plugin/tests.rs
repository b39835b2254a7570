use super::mtls_auth::MtlsAuth;
use super::request_termination::RequestTermination;
use super::*;
use crate::plugin::acl::Acl;
use crate::snapshot::{Credential, testing};
use serde_json::{Map, Value, json};

// ── fixtures ──

#[derive(Clone, Debug)]
struct Client {
    dn: &'static str,
    cn: Option<&'static str>,
    san: Vec<String>,
    has_san: bool,
    path: Vec<Uuid>,
    revocation: Revocation,
}

impl ClientFacts for Client {
    fn subject_dn(&self) -> &str {
        self.dn
    }
    fn cn(&self) -> Option<&str> {
        self.cn
    }
    fn san(&self) -> &[String] {
        &self.san
    }
    fn has_san(&self) -> bool {
        self.has_san
    }
    fn path_cas(&self) -> &[Uuid] {
        &self.path
    }
    fn revocation(&self) -> Revocation {
        self.revocation
    }
}

/// CN `alice`, issued by the CA 0xA1 below 0xA2.
fn client(san: &[&str]) -> Client {
    Client {
        dn: "CN=alice,O=Acme",
        cn: Some("alice"),
        san: san.iter().map(|name| name.to_string()).collect(),
        has_san: !san.is_empty(),
        path: vec![id(0xA1), id(0xA2)],
        revocation: Revocation::Unknown,
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

/// As the entity table leaves it: defaults filled in, then `changes`.
fn mtls(changes: Value) -> MtlsAuth {
    let mut config = map(json!({
        "ca_certificates": [id(0xA1), id(0xA2)], "skip_consumer_lookup": false, "authenticated_group_by": "CN",
        "consumer_by": ["username", "custom_id"], "anonymous": null, "default_consumer": null,
        "allow_partial_chain": false, "revocation_check_mode": "IGNORE_CA_ERROR", "send_ca_dn": false,
    }));
    config.extend(map(changes));
    MtlsAuth::from_config(&config, &mut |_, _| Ok(Arc::new(testing::trust_set()))).expect("config")
}

/// Usernames alice (id 1, custom_id c-1), bob (2), root (3, group gold), guest (4); carol (5) whose custom_id is alice.
fn consumers() -> Consumers {
    let mut consumers = Consumers::default();
    let rows = [
        (1, Some("alice"), Some("c-1"), vec![]),
        (2, Some("bob"), None, vec![]),
        (3, Some("root"), None, vec!["gold"]),
        (4, Some("guest"), None, vec![]),
        (5, Some("carol"), Some("alice"), vec![]),
    ];
    for (number, username, custom_id, groups) in rows {
        let groups = groups.into_iter().map(Arc::from).collect();
        let consumer = Arc::new(Consumer::new(id(number), username, custom_id, groups));
        consumers.by_id.insert(consumer.id, consumer.clone());
        consumers.by_username.extend(
            consumer
                .username
                .clone()
                .map(|name| (name, consumer.clone())),
        );
        consumers.by_custom_id.extend(
            consumer
                .custom_id
                .clone()
                .map(|name| (name, consumer.clone())),
        );
    }
    consumers
}

fn credential(
    consumers: &mut Consumers,
    number: u128,
    name: &str,
    ca: Option<u128>,
    consumer: u128,
) {
    let consumer = consumers.by_id[&id(consumer)].clone();
    let credential = Credential {
        id: id(number),
        ca_certificate: ca.map(id),
        consumer,
    };
    consumers
        .by_subject_name
        .entry(name.into())
        .or_default()
        .push(credential);
}

/// What became of a request: `consumer name` or `status message`.
fn outcome(verdict: &Verdict, admitted: &Admitted) -> String {
    match verdict {
        Verdict::Answer(answer) => format!("{} {}", answer.status, answer.message),
        Verdict::Continue => match &admitted.consumer {
            Some(consumer) => consumer.username.as_deref().unwrap_or("?").to_string(),
            None => "no consumer".into(),
        },
    }
}

fn access(
    plugin: &MtlsAuth,
    consumers: &Consumers,
    sent: Option<Result<Client, &str>>,
) -> (Verdict, Admitted) {
    let chain = testing::client_chain();
    let request = Request {
        client: sent.is_some().then_some(&chain),
        now: 0,
        consumers,
        request_id: "r",
    };
    let mut admitted = Admitted::default();
    let mut judge = |_: &Arc<ClientChain>, _: &Arc<TrustSet>| match sent
        .clone()
        .expect("judged without a certificate")
    {
        Ok(client) => Ok(Arc::new(client) as Arc<dyn ClientFacts>),
        Err(reason) => Err(reason.to_string()),
    };
    let verdict = plugin.access(&request, &mut judge, &mut admitted);
    (verdict, admitted)
}

fn headers(admitted: &Admitted) -> Vec<String> {
    admitted
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

// ── mtls-auth ──

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
    // Credential: id, name, CA, consumer. Consumers: 1 alice, 2 bob, 3 root, 5 carol (custom_id alice).
    let table: [(&str, Value, Credentials, &[&str], &str, &str); 16] = [
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
                IDENTITY_HEADERS.contains(name),
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

// ── acl ──

#[test]
fn acl_decides_by_the_right_groups() {
    struct Case {
        consumer: Option<&'static [&'static str]>,
        credential: bool,
        authenticated: &'static [&'static str],
    }
    let case = |consumer, credential, authenticated| Case {
        consumer,
        credential,
        authenticated,
    };
    const GOLD: Option<&[&str]> = Some(&["silver", "gold"]);
    const NO_ACLS: Option<&[&str]> = Some(&[]);
    let no = "403 You cannot consume this service";
    let unauthorized = "401 Unauthorized";
    let always = json!({"allow": ["gold"], "always_use_authenticated_groups": true});
    let hidden = json!({"allow": ["gold"], "hide_groups_header": true});
    let (allow, deny) = (
        json!({"allow": ["gold"], "deny": null}),
        json!({"deny": ["gold"]}),
    );
    let table = [
        ("nobody", &allow, case(None, false, &[]), unauthorized),
        ("nobody, deny", &deny, case(None, false, &[]), unauthorized),
        ("no group, credential", &allow, case(None, true, &[]), no),
        (
            "no group, credential, deny",
            &deny,
            case(None, true, &[]),
            no,
        ),
        (
            "authenticated",
            &allow,
            case(None, true, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "authenticated, other",
            &allow,
            case(None, true, &["Gold"]),
            no,
        ),
        (
            "authenticated, denied",
            &deny,
            case(None, true, &["gold"]),
            no,
        ),
        (
            "authenticated, not denied",
            &deny,
            case(None, true, &["tin"]),
            "X-Authenticated-Groups: tin",
        ),
        (
            "anonymous, authenticated",
            &allow,
            case(NO_ACLS, false, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "anonymous, authenticated other",
            &allow,
            case(GOLD, false, &["tin"]),
            no,
        ),
        (
            "both, always=false",
            &allow,
            case(GOLD, true, &["tin"]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "both, always=false, other",
            &allow,
            case(Some(&["tin"]), true, &["gold"]),
            no,
        ),
        (
            "both, always=true",
            &always,
            case(Some(&["tin"]), true, &["gold"]),
            "X-Authenticated-Groups: gold",
        ),
        (
            "both, always=true, other",
            &always,
            case(GOLD, true, &["tin"]),
            no,
        ),
        (
            "always=true, none authenticated",
            &always,
            case(GOLD, true, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "consumer",
            &allow,
            case(GOLD, true, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        ("consumer, denied", &deny, case(GOLD, true, &[]), no),
        (
            "consumer, not denied",
            &deny,
            case(Some(&["tin"]), true, &[]),
            "X-Consumer-Groups: tin",
        ),
        (
            "§5.10.10 anonymous, group",
            &allow,
            case(GOLD, false, &[]),
            "X-Consumer-Groups: gold, silver",
        ),
        (
            "§5.10.10 anonymous, other",
            &allow,
            case(Some(&["tin"]), false, &[]),
            no,
        ),
        ("no acls, allow", &allow, case(NO_ACLS, true, &[]), no),
        (
            "no acls, allow, anonymous",
            &allow,
            case(NO_ACLS, false, &[]),
            unauthorized,
        ),
        ("no acls, deny", &deny, case(NO_ACLS, true, &[]), ""),
        (
            "no acls, deny, anonymous",
            &deny,
            case(NO_ACLS, false, &[]),
            "",
        ),
        ("hidden", &hidden, case(GOLD, true, &[]), ""),
        (
            "hidden, authenticated",
            &hidden,
            case(None, true, &["gold"]),
            "",
        ),
    ];
    for (rule, config, case, expected) in table {
        let groups = |groups: &[&str]| {
            groups
                .iter()
                .map(|group| Arc::from(*group))
                .collect::<Vec<Arc<str>>>()
        };
        let mut admitted = Admitted {
            consumer: case
                .consumer
                .map(|acls| Arc::new(Consumer::new(id(1), Some("c"), None, groups(acls)))),
            credential: case.credential.then(|| "credential".into()),
            authenticated_groups: groups(case.authenticated),
            ..Admitted::default()
        };
        let acl = Acl::from_config(&map(config.clone())).unwrap();
        let found = match acl.access(&mut admitted) {
            Verdict::Answer(answer) => format!("{} {}", answer.status, answer.message),
            Verdict::Continue => headers(&admitted).join("\n"),
        };
        assert_eq!(found, expected, "§5.8 {rule}");
    }
}

#[test]
fn acl_needs_exactly_one_list() {
    let table = [
        (
            json!({"allow": null, "deny": null}),
            "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
        ),
        (
            json!({"allow": [], "deny": []}),
            "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
        ),
        (
            json!({"allow": ["a"], "deny": ["b"]}),
            "only one or none of these fields must be set: 'config.allow', 'config.deny'",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(Acl::from_config(&map(config)).unwrap_err(), expected);
    }
}

// ── request-termination ──

#[test]
fn termination_answers_as_configured() {
    let json_type = "application/json; charset=utf-8";
    let table = [
        ("default", json!({}), 503, "Service unavailable", None),
        (
            "message",
            json!({"status_code": 403, "message": "so long"}),
            403,
            "so long",
            None,
        ),
        (
            "body",
            json!({"status_code": 200, "body": "{}"}),
            200,
            "Request terminated",
            Some(("{}", json_type)),
        ),
        (
            "type",
            json!({"body": "x", "content_type": "text/plain"}),
            503,
            "Service unavailable",
            Some(("x", "text/plain")),
        ),
    ];
    for (rule, config, status, message, body) in table {
        let plugin = RequestTermination::from_config(&map(config)).unwrap();
        let Verdict::Answer(answer) = plugin.access(&|_| false) else {
            panic!("{rule}: went on")
        };
        assert_eq!(
            (answer.status, &*answer.message),
            (status, message),
            "{rule}"
        );
        assert_eq!(
            answer.body.as_ref().map(|(body, kind)| (&**body, &**kind)),
            body,
            "{rule}"
        );
    }
}

#[test]
fn a_trigger_spares_requests_without_it() {
    let plugin = RequestTermination::from_config(&map(json!({"trigger": "X-Stop"}))).unwrap();
    assert!(matches!(plugin.access(&|_| false), Verdict::Continue));
    assert!(matches!(
        plugin.access(&|name| name == "X-Stop"),
        Verdict::Answer(_)
    ));
}

#[test]
fn termination_refuses_what_it_cannot_answer() {
    let table = [
        (json!({"echo": true}), "config.echo"),
        (json!({"status_code": 100}), "config.status_code"),
        (json!({"status_code": 199}), "config.status_code"),
        (json!({"status_code": 600}), "config.status_code"),
        (json!({"message": "a", "body": "b"}), "config.message"),
        (json!({"content_type": "text/plain"}), "config.content_type"),
        (
            json!({"body": "b", "content_type": "text/plain\r\nSet-Cookie: a=b"}),
            "config.content_type",
        ),
    ];
    for (config, field) in table {
        let error = RequestTermination::from_config(&map(config.clone())).unwrap_err();
        assert!(error.starts_with(field), "{config}: {error}");
    }
}

// ── the chain ──

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
            now: 0,
            consumers: &consumers,
            request_id: "r",
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
