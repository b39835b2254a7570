//! KONG.md §5.3 to §5.5, §5.8: who a trusted certificate is, and what the upstream is told.

use crate::support::client::TlsOptions;
use crate::support::entities::{acl, ca_certificate, id, mtls_auth, service};
use crate::support::{Ca, Client, Gateway, Leaf, Pair, Setup, TlsClient, Upstream, Value, json};
use rcgen::ExtendedKeyUsagePurpose;

const NONE: &str = "No required TLS certificate was sent";
const FAILED: &str = "TLS certificate failed verification";

/// Every name an identity field may have (§5.5, and the groups of §5.8).
const IDENTITY: [&str; 9] = [
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Anonymous-Consumer",
    "X-Consumer-Groups",
    "X-Authenticated-Groups",
    "X-Client-Cert-Dn",
    "X-Client-Cert-San",
];

/// A gateway whose route `/` has `plugins`, with `more` beside it.
fn guarded(upstream: &Upstream, plugins: &[Value], more: Value) -> Gateway {
    let route = json!({"paths": ["/"], "plugins": plugins});
    let mut document = json!({"services": [service("s", upstream, route)]});
    for (name, value) in more.as_object().expect("a map") {
        document[name] = value.clone();
    }
    Setup::new(document).start()
}

fn present(gateway: &Gateway, pair: &Pair) -> Client {
    TlsClient::presenting(pair).connect(gateway.https(), "a.test")
}

#[test]
fn an_unproven_client_gets_the_exact_401() {
    let (ca, other) = (Ca::root("clients"), Ca::root("strangers"));
    let impostor = Ca::root("clients");
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[mtls_auth(&[1], json!({}))],
        json!({"ca_certificates": [ca_certificate(1, &ca)], "consumers": [{"username": "alice"}]}),
    );
    let server_only = [ExtendedKeyUsagePurpose::ServerAuth];
    // (§5.10 item 4, client certificate, message)
    let rows = [
        ("none", None, NONE),
        ("wrong CA", Some(other.client("alice")), FAILED),
        (
            "expired",
            Some(ca.sign(Leaf::new("alice").valid(2001, 2002))),
            FAILED,
        ),
        (
            "not yet valid",
            Some(ca.sign(Leaf::new("alice").valid(2100, 2101))),
            FAILED,
        ),
        (
            "a CA of the same name",
            Some(impostor.client("alice").with(&[&impostor])),
            FAILED,
        ),
        (
            "self-signed",
            Some(Leaf::new("alice").self_signed()),
            FAILED,
        ),
        (
            "not for clients",
            Some(ca.sign(Leaf::new("alice").usage(&server_only))),
            FAILED,
        ),
        ("nobody's", Some(ca.client("bob")), FAILED),
    ];
    for (row, pair, message) in rows {
        let client = TlsClient::with(TlsOptions {
            pair,
            ..TlsOptions::default()
        });
        let mut connection = client.connect(gateway.https(), "a.test");
        let response = connection.get("a.test", "/");
        assert_eq!(response.status, 401, "{row}");
        response.assert_error(401, message);
        assert_eq!(response.field("WWW-Authenticate"), None, "{row}");
        // The connection is not at fault: it answers on.
        connection.get("a.test", "/").assert_error(401, message);
    }
    gateway.get("a.test", "/").assert_error(401, NONE);
    upstream.assert_untouched();
    present(&gateway, &ca.client("alice"))
        .get("a.test", "/")
        .assert_status(200);
}

#[test]
fn the_consumer_is_found_in_kongs_order() {
    let (ca, second) = (Ca::root("one"), Ca::root("two"));
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[mtls_auth(&[1, 2], json!({}))],
        json!({
            "ca_certificates": [ca_certificate(1, &ca), ca_certificate(2, &second)],
            "consumers": [
                {"username": "by-cn", "custom_id": "id-cn", "id": id(11)},
                {"username": "by-san", "id": id(12)},
                {"username": "by-mail", "custom_id": "mail@a.test", "id": id(13)},
                {"username": "any-ca", "id": id(14), "mtls_auth_credentials": [
                    {"id": id(21), "subject_name": "mapped"}]},
                {"username": "bound-ca", "id": id(15), "mtls_auth_credentials": [
                    {"id": id(22), "subject_name": "mapped", "ca_certificate": {"id": id(2)}}]},
                {"username": "mapped", "id": id(16)},
            ],
        }),
    );
    // (§5.10 item, client certificate, consumer or none)
    let rows = [
        ("1 CN without SAN", ca.client("by-cn"), Some("by-cn")),
        (
            "2 CN beside a SAN",
            ca.sign(Leaf::new("by-cn").dns(&["else.test"])),
            None,
        ),
        (
            "SAN dNSName",
            ca.sign(Leaf::new("x").dns(&["by-san"])),
            Some("by-san"),
        ),
        (
            "second SAN",
            ca.sign(Leaf::new("x").dns(&["y", "by-san"])),
            Some("by-san"),
        ),
        (
            "SAN rfc822Name is a custom_id",
            ca.sign(Leaf::new("x").email("mail@a.test")),
            Some("by-mail"),
        ),
        ("case counts", ca.client("By-CN"), None),
        ("3 mapping, any CA", ca.client("mapped"), Some("any-ca")),
        (
            "3 mapping, bound to the issuing CA",
            second.client("mapped"),
            Some("bound-ca"),
        ),
        ("nobody", ca.client("nobody"), None),
    ];
    for (item, pair, consumer) in rows {
        let response = present(&gateway, &pair).get("a.test", "/");
        match consumer {
            None => {
                assert_eq!(response.status, 401, "{item}");
                response.assert_error(401, FAILED);
            }
            Some(name) => {
                assert_eq!(response.status, 200, "{item}: {}", response.text());
                assert_eq!(
                    response.echoed().get("X-Consumer-Username"),
                    Some(name),
                    "{item}"
                );
            }
        }
    }
    let seen = present(&gateway, &ca.client("by-cn"))
        .get("a.test", "/")
        .echoed();
    assert_eq!(seen.get("X-Consumer-ID"), Some(&*id(11)));
    assert_eq!(seen.get("X-Consumer-Custom-ID"), Some("id-cn"));
    assert_eq!(seen.get("X-Credential-Identifier"), Some("by-cn"));
    assert_eq!(seen.get("X-Anonymous-Consumer"), None);
}

#[test]
fn consumer_by_limits_the_attributes() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let consumers = json!([
        {"username": "user", "custom_id": "custom"},
        {"username": "mapped-user", "mtls_auth_credentials": [{"id": id(21), "subject_name": "map"}]},
    ]);
    // (consumer_by, CN, whether it is found)
    let rows = [
        (json!(["username"]), "user", true),
        (json!(["username"]), "custom", false),
        (json!(["custom_id"]), "custom", true),
        (json!(["custom_id"]), "user", false),
        (json!([]), "user", false),
        (json!([]), "map", true),
    ];
    let gateway = guarded(&upstream, &[], json!({}));
    for (by, cn, found) in rows {
        let plugin = mtls_auth(&[1], json!({ "consumer_by": by }));
        gateway.reload(json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": [plugin]}))],
            "ca_certificates": [ca_certificate(1, &ca)],
            "consumers": consumers,
        }));
        let response = present(&gateway, &ca.client(cn)).get("a.test", "/");
        assert_eq!(response.status, if found { 200 } else { 401 }, "{by} {cn}");
    }
}

#[test]
fn spoofed_identity_fields_never_reach_the_upstream() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = Setup::new(json!({
        "services": [
            service("auth", &upstream, json!({"paths": ["/auth"], "plugins": [mtls_auth(&[1], json!({}))]})),
            service("skip", &upstream, json!({"paths": ["/skip"],
                "plugins": [mtls_auth(&[1], json!({"skip_consumer_lookup": true}))]})),
            service("open", &upstream, json!({"paths": ["/open"]})),
        ],
        "ca_certificates": [ca_certificate(1, &ca)],
        "consumers": [{"username": "alice"}],
    }))
    .start();
    let set_by = |path: &str, name: &str| match path {
        "/auth" => matches!(
            name,
            "X-Consumer-ID" | "X-Consumer-Username" | "X-Credential-Identifier"
        ),
        "/skip" => name == "X-Client-Cert-Dn",
        _ => false,
    };
    for path in ["/auth", "/skip", "/open"] {
        for name in IDENTITY {
            for spelled in [
                name.to_owned(),
                name.to_ascii_lowercase(),
                name.to_ascii_uppercase(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1),
            ] {
                // Twice, and once more nominated by Connection so that a naive gateway drops its own.
                let lines = format!(
                    "{spelled}: spoof\r\nX: y\r\n{spelled}: spoof\r\nConnection: keep-alive, {name}\r\n"
                );
                let mut client = present(&gateway, &ca.client("alice"));
                let response = client.get_with("a.test", path, &lines);
                assert_eq!(response.status, 200, "{path} {spelled}");
                let text = response.text();
                assert!(!text.contains("spoof"), "{path} {spelled}: {text}");
                let ours = set_by(path, name);
                let seen = response.echoed();
                assert_eq!(
                    seen.get(name).is_some(),
                    ours,
                    "{path}: {name} set by us: {ours}\n{text}"
                );
            }
        }
    }
}

/// An upstream that merges trailers into its headers must not find an identity there.
#[test]
fn spoofed_identity_trailers_never_reach_the_upstream() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[mtls_auth(&[1], json!({}))],
        json!({"ca_certificates": [ca_certificate(1, &ca)], "consumers": [{"username": "alice"}]}),
    );
    let mut client = present(&gateway, &ca.client("alice"));
    for name in IDENTITY {
        for spelled in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.replace('-', "_"),
        ] {
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: {spelled}\r\n\r\n\
                 1\r\na\r\n0\r\n{spelled}: spoof\r\nX-Sum: 1\r\n\r\n"
            ));
            client.response().assert_status(200);
            let seen = upstream.last();
            assert_eq!(
                seen.trailers.0,
                [("X-Sum".to_owned(), "1".to_owned())],
                "{spelled}"
            );
            let head = String::from_utf8_lossy(&seen.head).into_owned();
            assert!(!head.contains("spoof"), "{head}");
        }
    }
}

#[test]
fn anonymous_stands_in_for_every_failure() {
    let ca = Ca::root("ca");
    let stranger = Ca::root("stranger");
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[
            mtls_auth(&[1], json!({"anonymous": "guest"})),
            acl(json!({"allow": ["guests", "members"]})),
        ],
        json!({
            "ca_certificates": [ca_certificate(1, &ca)],
            "consumers": [
                {"username": "guest", "custom_id": "g", "id": id(11), "acls": [{"group": "guests"}]},
                {"username": "alice", "acls": [{"group": "members"}]},
                {"username": "mallory", "acls": [{"group": "others"}]},
            ],
        }),
    );
    let spoof = "X-Consumer-Username: root\r\nX-Anonymous-Consumer: false\r\nX-Credential-Identifier: r\r\nX-Consumer-Groups: admins\r\n";
    let nobody = ca.client("nobody");
    for (row, pair) in [
        ("none", None),
        ("stranger", Some(stranger.client("alice"))),
        ("no consumer", Some(nobody)),
    ] {
        let client = TlsClient::with(TlsOptions {
            pair,
            ..TlsOptions::default()
        });
        let response = client
            .connect(gateway.https(), "a.test")
            .get_with("a.test", "/", spoof);
        assert_eq!(response.status, 200, "{row}: {}", response.text());
        let seen = response.echoed();
        assert_eq!(seen.get("X-Anonymous-Consumer"), Some("true"), "{row}");
        assert_eq!(seen.get("X-Consumer-Username"), Some("guest"), "{row}");
        assert_eq!(seen.get("X-Consumer-ID"), Some(&*id(11)), "{row}");
        assert_eq!(seen.get("X-Consumer-Custom-ID"), Some("g"), "{row}");
        assert_eq!(seen.get("X-Credential-Identifier"), None, "{row}");
        assert_eq!(seen.get("X-Consumer-Groups"), Some("guests"), "{row}");
    }
    let plain = gateway.get("a.test", "/");
    assert_eq!(
        plain.echoed().get("X-Anonymous-Consumer"),
        Some("true"),
        "plain http"
    );
    let member = present(&gateway, &ca.client("alice")).get("a.test", "/");
    assert_eq!(member.echoed().get("X-Consumer-Groups"), Some("members"));
    assert_eq!(member.echoed().get("X-Anonymous-Consumer"), None);
    present(&gateway, &ca.client("mallory"))
        .get("a.test", "/")
        .assert_error(403, "You cannot consume this service");
}

#[test]
fn default_consumer_takes_trusted_certificates_that_match_nobody() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[mtls_auth(&[1], json!({"default_consumer": "fallback"}))],
        json!({
            "ca_certificates": [ca_certificate(1, &ca)],
            "consumers": [{"username": "fallback"}, {"username": "alice"}],
        }),
    );
    for (cn, consumer) in [("nobody", "fallback"), ("alice", "alice")] {
        let seen = present(&gateway, &ca.client(cn))
            .get("a.test", "/")
            .echoed();
        assert_eq!(seen.get("X-Consumer-Username"), Some(consumer), "{cn}");
        assert_eq!(seen.get("X-Anonymous-Consumer"), None, "{cn}");
    }
    let stranger = Ca::root("stranger");
    present(&gateway, &stranger.client("alice"))
        .get("a.test", "/")
        .assert_error(401, FAILED);
}

#[test]
fn groups_of_the_certificate_decide_without_a_consumer() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = guarded(&upstream, &[], json!({}));
    let alice = ca.sign(Leaf::new("alice").organization("Acme"));
    let with_san = ca.sign(Leaf::new("svc").dns(&["svc.test"]).uri("spiffe://acme/svc"));
    // RFC 2253 writes the last attribute first.
    const DN: &str = "O=Acme,CN=alice";
    const REFUSED: &str = "You cannot consume this service";
    // (authenticated_group_by, acl, who, status, message, group header)
    let rows = [
        (
            json!("CN"),
            json!({"allow": ["alice"]}),
            &alice,
            200,
            "",
            Some("alice"),
        ),
        (
            json!("CN"),
            json!({"allow": ["bob"]}),
            &alice,
            403,
            REFUSED,
            None,
        ),
        (
            json!("CN"),
            json!({"deny": ["alice"]}),
            &alice,
            403,
            REFUSED,
            None,
        ),
        (
            json!("CN"),
            json!({"deny": ["bob"]}),
            &alice,
            200,
            "",
            Some("alice"),
        ),
        (
            json!("DN"),
            json!({"allow": [DN]}),
            &alice,
            200,
            "",
            Some(DN),
        ),
        (
            json!("DN"),
            json!({"allow": ["alice"]}),
            &alice,
            403,
            REFUSED,
            None,
        ),
        (
            json!("CN"),
            json!({"allow": ["alice"], "hide_groups_header": true}),
            &alice,
            200,
            "",
            None,
        ),
        (
            json!(null),
            json!({"allow": ["alice"]}),
            &alice,
            403,
            REFUSED,
            None,
        ),
        (
            json!("CN"),
            json!({"allow": ["svc"]}),
            &with_san,
            200,
            "",
            Some("svc"),
        ),
    ];
    for (by, access, pair, status, message, group) in rows {
        let plugins = [
            mtls_auth(
                &[1],
                json!({"skip_consumer_lookup": true, "authenticated_group_by": by}),
            ),
            acl(access.clone()),
        ];
        gateway.reload(json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": plugins}))],
            "ca_certificates": [ca_certificate(1, &ca)],
        }));
        let response = present(&gateway, pair).get("a.test", "/");
        assert_eq!(
            response.status,
            status,
            "{by} {access}: {}",
            response.text()
        );
        if status != 200 {
            response.assert_error(status, message);
            continue;
        }
        let seen = response.echoed();
        assert_eq!(seen.get("X-Authenticated-Groups"), group, "{by} {access}");
        assert_eq!(seen.get("X-Consumer-Groups"), None, "{by} {access}");
        assert_eq!(seen.get("X-Consumer-Username"), None, "{by} {access}");
    }
    let seen = present(&gateway, &with_san).get("a.test", "/").echoed();
    assert_eq!(seen.get("X-Client-Cert-Dn"), Some("CN=svc"));
    assert_eq!(
        seen.get("X-Client-Cert-San"),
        Some("svc.test,spiffe://acme/svc")
    );
}

#[test]
fn acl_decides_by_the_table() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = guarded(&upstream, &[], json!({}));
    let consumers = json!([
        {"username": "gold", "acls": [{"group": "gold"}, {"group": "all"}]},
        {"username": "none"},
    ]);
    const REFUSED: &str = "You cannot consume this service";
    // (§5.8, with mtls-auth, acl, CN, status, message, X-Consumer-Groups)
    let rows = [
        (
            "in allow",
            true,
            json!({"allow": ["gold"]}),
            "gold",
            200,
            "",
            Some("all, gold"),
        ),
        (
            "not in allow",
            true,
            json!({"allow": ["silver"]}),
            "gold",
            403,
            REFUSED,
            None,
        ),
        (
            "in deny",
            true,
            json!({"deny": ["all"]}),
            "gold",
            403,
            REFUSED,
            None,
        ),
        (
            "not in deny",
            true,
            json!({"deny": ["silver"]}),
            "gold",
            200,
            "",
            Some("all, gold"),
        ),
        (
            "no acls, allow",
            true,
            json!({"allow": ["gold"]}),
            "none",
            403,
            REFUSED,
            None,
        ),
        (
            "no acls, deny",
            true,
            json!({"deny": ["gold"]}),
            "none",
            200,
            "",
            None,
        ),
        (
            "hidden",
            true,
            json!({"allow": ["gold"], "hide_groups_header": true}),
            "gold",
            200,
            "",
            None,
        ),
        (
            "no authentication",
            false,
            json!({"allow": ["gold"]}),
            "gold",
            401,
            "Unauthorized",
            None,
        ),
        (
            "no authentication, deny",
            false,
            json!({"deny": ["gold"]}),
            "gold",
            401,
            "Unauthorized",
            None,
        ),
    ];
    for (row, authenticated, access, cn, status, message, groups) in rows {
        let mut plugins = vec![acl(access)];
        if authenticated {
            plugins.push(mtls_auth(&[1], json!({})));
        }
        gateway.reload(json!({
            "services": [service("s", &upstream, json!({"paths": ["/"], "plugins": plugins}))],
            "ca_certificates": [ca_certificate(1, &ca)],
            "consumers": consumers,
        }));
        let response = present(&gateway, &ca.client(cn)).get("a.test", "/");
        assert_eq!(response.status, status, "{row}: {}", response.text());
        if status == 200 {
            let seen = response.echoed();
            let sorted = seen.get("X-Consumer-Groups").map(|value| {
                let mut values: Vec<&str> = value.split(", ").collect();
                values.sort_unstable();
                values.join(", ")
            });
            assert_eq!(sorted.as_deref(), groups, "{row}");
        } else {
            response.assert_error(status, message);
        }
    }
}

#[test]
fn the_most_specific_plugin_runs() {
    let (one, two) = (Ca::root("one"), Ca::root("two"));
    let upstream = Upstream::echo();
    let skip = json!({"skip_consumer_lookup": true});
    let mut with_own = service("s", &upstream, json!({"paths": ["/s"]}));
    with_own["plugins"] = json!([mtls_auth(&[2], skip.clone())]);
    let gateway = Setup::new(json!({
        "services": [with_own, service("g", &upstream, json!({"paths": ["/g"]}))],
        "plugins": [mtls_auth(&[1], skip)],
        "ca_certificates": [ca_certificate(1, &one), ca_certificate(2, &two)],
    }))
    .start();
    for (path, ca, status) in [
        ("/s", &two, 200),
        ("/s", &one, 401),
        ("/g", &one, 200),
        ("/g", &two, 401),
    ] {
        let response = present(&gateway, &ca.client("x")).get("a.test", path);
        assert_eq!(response.status, status, "{path} by {}", ca.name);
    }
}

#[test]
fn an_anonymous_consumer_that_does_not_exist_is_500() {
    let ca = Ca::root("ca");
    let upstream = Upstream::echo();
    let gateway = guarded(
        &upstream,
        &[mtls_auth(&[1], json!({"anonymous": id(99)}))],
        json!({"ca_certificates": [ca_certificate(1, &ca)]}),
    );
    let response = TlsClient::new().get(gateway.https(), "a.test", "/");
    response.assert_error(500, "An unexpected error occurred");
    upstream.assert_untouched();
}
