mod acl;
mod chain;
mod mtls_auth;
mod request_termination;

use super::mtls_auth::MtlsAuth;
use super::request_termination::RequestTermination;
use super::*;
use crate::plugin::acl::Acl;
use crate::snapshot::{Credential, testing};
use serde_json::{Map, Value, json};

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
    fn san(&self, index: usize) -> Option<San<'_>> {
        let text = self.san.get(index)?;
        // `attribute=value` is one of a directoryName.
        Some(match text.split_once('=') {
            Some(("CN", text)) => San {
                text,
                attribute: Some(("CN", "2.5.4.3")),
            },
            Some(("O", text)) => San {
                text,
                attribute: Some(("O", "2.5.4.10")),
            },
            _ => San {
                text,
                attribute: None,
            },
        })
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
        consumers,
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
