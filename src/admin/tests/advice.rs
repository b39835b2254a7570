//! What is accepted but may not be meant is said in the log, once for each write (`declarative::advise`).

use super::*;
use crate::entity::fixtures::{INTER, ROOT, ROOT2, SEC1, SEC1_KEY, WEAK_ROOT};
use serde_json::json;

const CA: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// The lines of the log that speak of rows, without time and id.
fn advice(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains("[warn]"));
    let said = lines.filter_map(|line| line.split_once("admin: "));
    said.map(|(_, line)| {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.skip(1).collect();
        format!("{kind} {}", rest.join(" "))
    })
    .collect()
}

async fn written(writes: Vec<(&str, &str, Value, u16)>) -> String {
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let mut client = Client::connect(start(node).await).await;
    for (method, target, body, status) in writes {
        let answer = client.json(method, target, &body).await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text);
    }
    log.text()
}

#[tokio::test]
async fn a_row_that_may_not_be_meant_is_told_of_when_it_is_written() {
    let pair = |chain: String| json!({"cert": chain, "key": SEC1_KEY});
    let incomplete = "certificates cert: the chain may be incomplete: it holds the leaf alone, and its issuer is none \
                      of the ca_certificates; add the intermediate certificates unless the issuer is a root";
    let mtls = |extra: (&str, &str)| {
        let mut config = json!({"ca_certificates": [CA], "revocation_check_mode": "SKIP"});
        config[extra.0] = extra.1.into();
        json!({"name": "mtls-auth", "config": config})
    };
    let ca = || {
        (
            "PUT",
            format!("/ca_certificates/{CA}"),
            json!({"cert": ROOT}),
            200,
        )
    };
    let unknown = "plugins config.default_consumer: 'nobody' is neither the id nor the username of a consumer: such \
                   requests end in 500";
    let revocation = "plugins config.revocation_check_mode: SKIP is stored, but this version does not look revocation \
                      up yet";
    for (writes, expected) in [
        (
            vec![(
                "POST",
                "/certificates".to_owned(),
                pair(format!("{SEC1}{INTER}")),
                201,
            )],
            vec![],
        ),
        (
            vec![(
                "POST",
                "/certificates".to_owned(),
                pair(format!("{SEC1}{ROOT2}")),
                201,
            )],
            vec![
                "certificates cert: the chain is out of order: certificate 2 (CN=Other Root) is not the issuer of \
                  the one before it",
            ],
        ),
        (
            vec![(
                "POST",
                "/certificates".to_owned(),
                pair(SEC1.to_owned()),
                201,
            )],
            vec![incomplete],
        ),
        (
            vec![
                (
                    "POST",
                    "/ca_certificates".to_owned(),
                    json!({"cert": INTER}),
                    201,
                ),
                (
                    "POST",
                    "/certificates".to_owned(),
                    pair(SEC1.to_owned()),
                    201,
                ),
            ],
            vec![],
        ),
        (
            vec![(
                "POST",
                "/ca_certificates".to_owned(),
                json!({"cert": WEAK_ROOT}),
                201,
            )],
            vec![
                "ca_certificates cert: the certificate has a weak key: RSA of 1024 bits, 2048 are the least",
            ],
        ),
        (
            vec![
                ca(),
                (
                    "POST",
                    "/plugins".to_owned(),
                    mtls(("default_consumer", "nobody")),
                    201,
                ),
            ],
            vec![revocation, unknown],
        ),
        (
            vec![
                ca(),
                (
                    "POST",
                    "/consumers".to_owned(),
                    json!({"username": "nobody"}),
                    201,
                ),
                (
                    "POST",
                    "/plugins".to_owned(),
                    mtls(("default_consumer", "nobody")),
                    201,
                ),
            ],
            vec![revocation],
        ),
        // The compilation tells of these.
        (
            vec![(
                "POST",
                "/services".to_owned(),
                json!({"url": "https://a", "tls_verify": false, "tls_verify_depth": 7}),
                201,
            )],
            vec![],
        ),
        // What is not written is not told of.
        (
            vec![(
                "POST",
                "/certificates".to_owned(),
                json!({"cert": SEC1}),
                400,
            )],
            vec![],
        ),
    ] {
        let named = writes.iter().map(|(method, target, body, status)| {
            (*method, target.as_str(), body.clone(), *status)
        });
        let text = written(named.collect()).await;
        assert_eq!(advice(&text), expected, "{text}");
        assert!(!text.contains("BEGIN"), "{text}");
    }
}

#[tokio::test]
async fn every_write_of_a_row_tells_of_it_again() {
    let pair = json!({"cert": SEC1, "key": SEC1_KEY, "snis": ["a.test"]});
    let text = written(vec![
        ("POST", "/certificates", pair, 201),
        ("PATCH", "/certificates/a.test", json!({"tags": ["t"]}), 200),
        ("DELETE", "/certificates/a.test", Value::Null, 204),
    ])
    .await;
    let said = advice(&text);
    assert_eq!(said.len(), 2, "{text}");
}

/// The log has room for 512 lines: a write that fills it would hide what others do meanwhile.
#[tokio::test]
async fn a_thousand_warnings_over_the_audit_line_of_another() {
    let chain = format!("{SEC1}{}", format!("{INTER}{SEC1}").repeat(500));
    let pair = json!({"cert": chain, "key": SEC1_KEY});
    let text = written(vec![("POST", "/certificates", pair, 201)]).await;
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("[warn]"))
        .collect();
    assert_eq!(told.len(), 33, "{text}");
    let last = told.last().copied().unwrap_or_default();
    assert!(
        last.ends_with("admin: 468 more warnings of the same change"),
        "{last}"
    );
}
