//! KONG.md §5.3, §5.10 item 5, and what DESIGN.md says of chains: which path counts, and what a hostile one may cost.

use crate::support::entities::{ca_certificate, mtls_auth, service};
use crate::support::pki::CaShape;
use crate::support::{Ca, Gateway, Leaf, Pair, Setup, TlsClient, Upstream, json};

const FAILED: &str = "TLS certificate failed verification";

/// Trusts `anchors` for route `/`; trust is all that is asked.
fn trusting(upstream: &Upstream, anchors: &[&Ca], partial: bool) -> serde_json::Value {
    let numbers: Vec<u32> = (1..=anchors.len() as u32).collect();
    let plugin = mtls_auth(
        &numbers,
        json!({"skip_consumer_lookup": true, "allow_partial_chain": partial}),
    );
    let cas: Vec<_> = numbers
        .iter()
        .zip(anchors)
        .map(|(number, ca)| ca_certificate(*number, ca))
        .collect();
    json!({
        "services": [service("s", upstream, json!({"paths": ["/"], "plugins": [plugin]}))],
        "ca_certificates": cas,
    })
}

fn status(gateway: &Gateway, pair: &Pair) -> u16 {
    let response = TlsClient::presenting(pair).get(gateway.https(), "a.test", "/");
    if response.status == 401 {
        response.assert_error(401, FAILED);
    }
    response.status
}

#[test]
fn a_path_ends_at_a_listed_root_or_with_allow_partial_chain_at_any_listed_ca() {
    let upstream = Upstream::echo();
    let root = Ca::root("root");
    let middle = root.intermediate("middle");
    let low = middle.intermediate("low");
    let by_middle = middle.client("client");
    let by_low = low.client("client");
    let gateway = Setup::new(trusting(&upstream, &[&root], false)).start();
    // (anchors, allow_partial_chain, what the client sends, accepted)
    let rows: [(&str, &[&Ca], bool, Pair, bool); 10] = [
        (
            "root; leaf alone",
            &[&root],
            false,
            by_middle.clone().leaf_alone(),
            false,
        ),
        (
            "root; leaf and intermediate",
            &[&root],
            false,
            by_middle.clone(),
            true,
        ),
        (
            "root; two intermediates",
            &[&root],
            false,
            by_low.clone(),
            true,
        ),
        (
            "root; one of two missing",
            &[&root],
            false,
            by_low.clone().leaf_alone().with(&[&low]),
            false,
        ),
        (
            "root and intermediate; leaf alone",
            &[&root, &middle],
            false,
            by_middle.clone().leaf_alone(),
            true,
        ),
        (
            "intermediate alone",
            &[&middle],
            false,
            by_middle.clone().leaf_alone(),
            false,
        ),
        (
            "intermediate alone; root sent too",
            &[&middle],
            false,
            by_middle.clone().with(&[&root]),
            false,
        ),
        (
            "intermediate alone, partial",
            &[&middle],
            true,
            by_middle.clone().leaf_alone(),
            true,
        ),
        (
            "intermediate alone, partial; long chain",
            &[&middle],
            true,
            by_low.clone().leaf_alone().with(&[&low]),
            true,
        ),
        (
            "other intermediate, partial",
            &[&low],
            true,
            by_middle.clone().leaf_alone(),
            false,
        ),
    ];
    for (row, anchors, partial, pair, accepted) in rows {
        gateway.reload(trusting(&upstream, anchors, partial));
        assert_eq!(
            status(&gateway, &pair),
            if accepted { 200 } else { 401 },
            "{row}"
        );
    }
}

#[test]
fn what_webpki_lets_through_is_refused() {
    let upstream = Upstream::echo();
    let shaped = |shape: CaShape| Ca::root_shaped("shaped", &shape);
    let no_depth = shaped(CaShape {
        path_len: Some(0),
        ..CaShape::default()
    });
    let one_deep = shaped(CaShape {
        path_len: Some(1),
        ..CaShape::default()
    });
    let no_sign = shaped(CaShape {
        no_cert_sign: true,
        ..CaShape::default()
    });
    let root = Ca::root("root");
    let middle_no_sign = root.intermediate_shaped(
        "middle",
        &CaShape {
            no_cert_sign: true,
            ..CaShape::default()
        },
    );
    let middle_expired = root.intermediate_shaped(
        "middle",
        &CaShape {
            expired: true,
            ..CaShape::default()
        },
    );
    let middle_no_depth = root.intermediate_shaped(
        "middle",
        &CaShape {
            path_len: Some(0),
            ..CaShape::default()
        },
    );
    let leaf_as_ca = {
        // An end entity in a CA's place: the "intermediate" it would be is not one.
        let fake = Ca::root("fake");
        fake.client("client").with(&[])
    };
    let gateway = Setup::new(trusting(&upstream, &[&root], false)).start();
    // (row, anchor, chain, accepted)
    let rows: [(&str, &Ca, Pair, bool); 9] = [
        (
            "root pathLen 0, no intermediate",
            &no_depth,
            no_depth.client("c"),
            true,
        ),
        (
            "root pathLen 0 exceeded",
            &no_depth,
            no_depth.intermediate("m").client("c"),
            false,
        ),
        (
            "root pathLen 1, one intermediate",
            &one_deep,
            one_deep.intermediate("m").client("c"),
            true,
        ),
        (
            "root pathLen 1 exceeded",
            &one_deep,
            one_deep.intermediate("m").intermediate("n").client("c"),
            false,
        ),
        (
            "root without keyCertSign",
            &no_sign,
            no_sign.client("c"),
            false,
        ),
        (
            "intermediate without keyCertSign",
            &root,
            middle_no_sign.client("c"),
            false,
        ),
        (
            "expired intermediate",
            &root,
            middle_expired.client("c"),
            false,
        ),
        (
            "intermediate pathLen 0 exceeded",
            &root,
            middle_no_depth.intermediate("n").client("c"),
            false,
        ),
        ("another CA", &root, leaf_as_ca, false),
    ];
    for (row, anchor, pair, accepted) in rows {
        gateway.reload(trusting(&upstream, &[anchor], false));
        assert_eq!(
            status(&gateway, &pair),
            if accepted { 200 } else { 401 },
            "{row}"
        );
    }
}

#[test]
fn a_root_that_has_expired_is_refused_when_written_and_trusted_by_nobody() {
    let expired = Ca::root_shaped(
        "old",
        &CaShape {
            expired: true,
            ..CaShape::default()
        },
    );
    let current = Ca::root("current");
    let upstream = Upstream::echo();
    let gateway = Setup::new(trusting(&upstream, &[&current], false)).start();
    // KONG.md §1.4 check 3: it cannot even be configured ...
    let document = {
        let mut document = trusting(&upstream, &[&expired], false);
        document["_format_version"] = json!("3.0");
        document.to_string()
    };
    gateway.reload_refused(&document);
    gateway.error_line(&["certificate expired, \"Not After\" time is in the past"]);
    // ... and sent by the client it is no help.
    assert_eq!(
        status(&gateway, &expired.client("c").with(&[&expired])),
        401
    );
    assert_eq!(status(&gateway, &current.client("c")), 200);
}

#[test]
fn of_ten_cas_of_one_name_two_are_looked_at() {
    let upstream = Upstream::echo();
    let root = Ca::root("root");
    let gateway = Setup::new(trusting(&upstream, &[&root], false)).start();
    // Ten intermediates of one name and different keys: each could have signed each.
    let twins: Vec<Ca> = (0..10).map(|_| root.intermediate("twin")).collect();
    let crossed: Vec<Ca> = twins.iter().map(|twin| twin.intermediate("twin")).collect();
    let stranger = Ca::root("stranger").intermediate("twin");
    let mut pair = stranger.client("c").leaf_alone();
    pair = pair.with(&crossed.iter().collect::<Vec<_>>());
    assert_eq!(status(&gateway, &pair), 401);
    // An issuer among the first two of its name is found whatever follows; one behind them is never looked at, which
    // is what bounds the work.
    let order = |first: usize| -> Vec<&Ca> { twins.iter().cycle().skip(first).take(10).collect() };
    for (first, accepted) in [(0, true), (9, true), (8, false), (1, false)] {
        let sent = twins[0].client("c").leaf_alone().with(&order(first));
        let expected = if accepted { 200 } else { 401 };
        assert_eq!(
            status(&gateway, &sent),
            expected,
            "the issuer stands behind {} others",
            (10 - first) % 10
        );
    }
    // Judged once per chain: the second request costs a look-up.
    let client = TlsClient::presenting(&pair);
    let mut connection = client.connect(gateway.https(), "a.test");
    let misses = "sallyport_client_verdict_cache_total{result=\"miss\"}";
    let before = gateway.metrics().sum(misses);
    for _ in 0..20 {
        connection.get("a.test", "/").assert_error(401, FAILED);
    }
    // A refusal is believed for a few seconds; on a slow machine it is judged again, not twenty times.
    let judged = gateway.metrics().sum(misses) - before;
    assert!(judged < 20, "{judged} of 20 requests were judged anew");
}

/// DESIGN.md "Chains": unbounded, ten certificates of one name cost thousands of signatures.
#[test]
fn ten_cas_of_one_name_cost_a_bounded_number_of_signatures() {
    let upstream = Upstream::echo();
    let (root, hub) = (Ca::root("Mesh"), Ca::root("Hub"));
    let gateway = Setup::new(trusting(&upstream, &[&root, &hub], false)).start();
    let stranger = Ca::root("Mesh");
    let times = |make: &dyn Fn(usize) -> Ca| -> Vec<Ca> { (0..10).map(make).collect() };
    let self_issued = times(&|_| Ca::root("Mesh"));
    let self_named = times(&|_| root.intermediate("Mesh"));
    let of_one_name = times(&|_| hub.intermediate("Mesh"));
    let crossed = times(&|n| match n % 2 {
        0 => hub.intermediate("Mesh"),
        _ => root.intermediate("Hub"),
    });
    let strangers = times(&|_| Ca::root("Nobody").intermediate("Mesh"));
    let middle = hub.intermediate("Middle");
    let victim = || stranger.client("victim").leaf_alone();
    let sent = |cas: &[Ca]| victim().with(&cas.iter().collect::<Vec<_>>());
    const MOST: u64 = sallyport::limits::PATH_SIGNATURES_MAX as u64;
    // (what is sent, status, signatures at least and at most)
    let rows: [(&str, Pair, u16, u64, u64); 8] = [
        ("a good leaf", root.client("good"), 200, 1, 1),
        ("a good leaf and its CA", middle.client("good"), 200, 2, 2),
        // The leaf's issuer is named as a listed root: its one signature is tried under that root's key.
        ("a leaf of another's", victim(), 401, 1, 1),
        ("ten self-signed", sent(&self_issued), 401, 1, 1),
        ("ten named as their issuer", sent(&self_named), 401, 1, 1),
        // Two of the name are looked at: two links each, and the root itself.
        ("ten of one name", sent(&of_one_name), 401, 1, 5),
        ("ten that name each other", sent(&crossed), 401, 1, MOST),
        ("ten of strangers", sent(&strangers), 401, 1, 5),
    ];
    for (row, pair, status, least, most) in rows {
        let mut client = TlsClient::presenting(&pair).connect(gateway.https(), "a.test");
        let signatures = "sallyport_client_chain_signatures_total";
        let judged = "sallyport_client_verdict_cache_total{result=\"miss\"}";
        let before = gateway.metrics();
        assert_eq!(client.get("a.test", "/").status, status, "{row}");
        let after = gateway.metrics();
        assert_eq!(after.sum(judged) - before.sum(judged), 1, "{row}");
        let count = after.sum(signatures) - before.sum(signatures);
        assert!(
            (least..=most).contains(&count),
            "{row}: {count} signatures, expected {least} to {most}"
        );
    }
    // What has been judged good costs no signature again, on no connection.
    let good = root.client("again");
    let client = TlsClient::presenting(&good);
    client
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
    let before = gateway
        .metrics()
        .sum("sallyport_client_chain_signatures_total");
    for _ in 0..10 {
        client
            .get(gateway.https(), "a.test", "/")
            .assert_status(200);
    }
    let after = gateway
        .metrics()
        .sum("sallyport_client_chain_signatures_total");
    assert_eq!(after, before);
}

#[test]
fn a_chain_the_handshake_cannot_carry_ends_in_an_alert() {
    let upstream = Upstream::echo();
    let root = Ca::root("root");
    let gateway = Setup::new(trusting(&upstream, &[&root], false)).start();
    let padding = Ca::root("padding");
    let seventeen = root.client("c").with(&[&padding; 17]);
    let refused = TlsClient::presenting(&seventeen)
        .try_connect(gateway.https(), "a.test")
        .and_then(|mut client| {
            // TLS 1.3: the client's handshake ends before the server has judged its flight.
            client.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client
                .reader
                .fill()
                .map_err(|ended| std::io::Error::other(format!("{ended:?}")))
        });
    assert!(refused.is_err(), "seventeen certificates were taken");
    gateway.error_line(&["TLS handshake with client", "failed"]);
    assert_eq!(status(&gateway, &root.sign(Leaf::new("c"))), 200);
}
