//! The requests of the demo, use case by use case, each with the answer that is right.

use super::client::{Answer, Client, Outcome, Request};
use super::gateway::Gateway;
use super::pki::{Pair, Pki};
use super::table::Row;
use super::upstream::Upstream;

pub(super) struct Part<'a> {
    pub heading: &'static str,
    pub cases: Vec<Case<'a>>,
}

pub(super) struct Case<'a> {
    asked: &'static str,
    request: Request<'a>,
    look: Look,
    expected: &'static str,
    /// Worth repeating by hand.
    shown: bool,
}

/// What of the answer the row is about. A refusal is shown with its message whatever the row is about.
#[derive(Clone, Copy)]
enum Look {
    /// The certificate the client was shown.
    Certificate,
    /// A field the upstream got: its name there, and as the table prints it.
    Field(&'static str, &'static str),
    /// What the upstream says of its peer.
    Upstream(&'static str),
    /// Why the upstream sent the gateway away.
    Refusal,
    /// What the gateway's error log says.
    Log(&'static str),
}

pub(super) fn parts(pki: &Pki) -> Vec<Part<'_>> {
    let public = |name: &'static str, path: &'static str| Request {
        name,
        path,
        pair: None,
        field: None,
    };
    let with = |name: &'static str, pair: Option<&'static str>| Request {
        name,
        path: "/",
        pair: pair.and_then(|pair| client_pair(pki, pair)),
        field: None,
    };
    let username = Look::Field("x-consumer-username", "X-Consumer-Username");
    let case = |asked, request, look, expected| Case {
        asked,
        request,
        look,
        expected,
        shown: true,
    };
    vec![
        Part {
            heading: "Use case 1: the certificate shown to clients",
            cases: vec![
                case(
                    "127.0.0.1, without SNI",
                    public("127.0.0.1", "/"),
                    Look::Certificate,
                    "200, certificate default.demo.test",
                ),
                case(
                    "api.demo.test",
                    public("api.demo.test", "/"),
                    Look::Certificate,
                    "200, certificate api.demo.test",
                ),
                case(
                    "foo.demo.test",
                    public("foo.demo.test", "/"),
                    Look::Certificate,
                    "200, certificate *.demo.test",
                ),
                case(
                    "a.b.demo.test, no certificate for it",
                    public("a.b.demo.test", "/"),
                    Look::Certificate,
                    "client refuses: certificate does not match",
                )
                .once(),
            ],
        },
        Part {
            heading: "Use case 2: clients known by their certificate",
            cases: vec![
                case(
                    "staff.demo.test by alice",
                    with("staff.demo.test", Some("alice")),
                    username,
                    "200, X-Consumer-Username: alice",
                ),
                Case {
                    asked: "alice with X-Consumer-Username: root",
                    request: Request {
                        field: Some(("X-Consumer-Username", "root")),
                        ..with("staff.demo.test", Some("alice"))
                    },
                    look: username,
                    expected: "200, X-Consumer-Username: alice",
                    shown: false,
                },
                case(
                    "without a certificate",
                    with("staff.demo.test", None),
                    username,
                    "401 No required TLS certificate was sent",
                ),
                case(
                    "by a stranger who is named alice",
                    with("staff.demo.test", Some("stranger")),
                    username,
                    "401 TLS certificate failed verification",
                ),
                case(
                    "by bob, who is no consumer",
                    with("staff.demo.test", Some("bob")),
                    username,
                    "401 TLS certificate failed verification",
                ),
                case(
                    "by carol, who is not of the staff",
                    with("staff.demo.test", Some("carol")),
                    username,
                    "403 You cannot consume this service",
                ),
                case(
                    "partners.demo.test by bob",
                    with("partners.demo.test", Some("bob")),
                    Look::Field("x-client-cert-dn", "X-Client-Cert-Dn"),
                    "200, X-Client-Cert-Dn: CN=bob,O=Demo",
                ),
            ],
        },
        Part {
            heading: "Use case 3: the gateway's certificate to the upstream",
            cases: vec![
                case(
                    "api.demo.test/",
                    public("api.demo.test", "/"),
                    Look::Upstream("client_certificate"),
                    "200, upstream saw CN=gateway,O=Demo",
                )
                .once(),
                case(
                    "api.demo.test/no-certificate",
                    public("api.demo.test", "/no-certificate"),
                    Look::Refusal,
                    "502, upstream refused: no certificate",
                ),
            ],
        },
        Part {
            heading: "Use case 4: the gateway's trust in the upstream",
            cases: vec![
                case(
                    "api.demo.test/",
                    public("api.demo.test", "/"),
                    Look::Upstream("sni"),
                    "200, upstream saw upstream.demo.test",
                )
                .once(),
                case(
                    "api.demo.test/wrong-name",
                    public("api.demo.test", "/wrong-name"),
                    Look::Log("certificate does not match"),
                    "502, log: certificate does not match",
                ),
                case(
                    "api.demo.test/wrong-authority",
                    public("api.demo.test", "/wrong-authority"),
                    Look::Log("unable to get local issuer"),
                    "502, log: unable to get local issuer",
                ),
            ],
        },
    ]
}

fn client_pair<'a>(pki: &'a Pki, name: &str) -> Option<&'a Pair> {
    [&pki.alice, &pki.bob, &pki.carol, &pki.stranger]
        .into_iter()
        .find(|pair| pair.name == name)
}

impl Case<'_> {
    /// Not repeated in the list of commands: another row's does as well, or curl cannot show it.
    fn once(self) -> Self {
        Case {
            shown: false,
            ..self
        }
    }

    pub fn play(&self, client: &Client, gateway: &Gateway, upstream: &Upstream) -> Row {
        let log_size = gateway.log_size();
        upstream.take_refusal();
        let outcome = client.ask(&self.request);
        let answered = match (&outcome, self.look) {
            (Outcome::Answer(answer), Look::Refusal) if answer.status == 502 => {
                match upstream.take_refusal() {
                    Some(why) => format!("502, upstream refused: {why}"),
                    None => "502, upstream was not reached".to_owned(),
                }
            }
            (Outcome::Answer(answer), Look::Log(text)) if answer.status == 502 => {
                match gateway.logs(log_size, text) {
                    true => format!("502, log: {text}"),
                    false => "502, log: another reason".to_owned(),
                }
            }
            (Outcome::Answer(answer), look) => summary(answer, look),
            (Outcome::Refused(why), _) if why.contains("certificate does not match") => {
                "client refuses: certificate does not match".to_owned()
            }
            (Outcome::Refused(why), _) => format!("client refuses: {why}"),
            (Outcome::Failed(why), _) => format!("no answer: {why}"),
        };
        Row {
            asked: self.asked.to_owned(),
            expected: self.expected.to_owned(),
            answered,
        }
    }

    /// The command that repeats the row, in the demo's folder.
    pub fn curl(&self, port: u16) -> Option<String> {
        if !self.shown {
            return None;
        }
        let Request {
            name,
            path,
            pair,
            field,
        } = &self.request;
        let mut command = String::from("curl -s --cacert pki/servers-ca.crt");
        if name.parse::<std::net::IpAddr>().is_err() {
            command.push_str(&format!(" --resolve {name}:{port}:127.0.0.1"));
        }
        if let Some(Pair { name, .. }) = pair {
            command.push_str(&format!(" --cert pki/{name}.crt --key pki/{name}.key"));
        }
        if let Some((name, value)) = field {
            command.push_str(&format!(" -H '{name}: {value}'"));
        }
        let url = format!("https://{name}:{port}{path}");
        Some(match self.look {
            Look::Certificate => format!("{command} -v {url} 2>&1 | grep subject:"),
            _ => format!("{command} {url}"),
        })
    }
}

fn summary(answer: &Answer, look: Look) -> String {
    let status = answer.status;
    if status != 200 {
        return match answer.told(&["message"]) {
            Some(message) => format!("{status} {message}"),
            None => status.to_string(),
        };
    }
    match look {
        Look::Certificate => format!("200, certificate {}", answer.shown),
        Look::Field(name, title) => match answer.told(&["headers", name]) {
            Some(value) => format!("200, {title}: {value}"),
            None => format!("200, no {title}"),
        },
        Look::Upstream(name) => format!(
            "200, upstream saw {}",
            answer.told(&[name]).unwrap_or("nothing")
        ),
        Look::Refusal | Look::Log(_) => "200".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    #[test]
    fn each_use_case_has_answers_and_refusals() {
        let pki = Pki::make(now()).unwrap();
        for part in parts(&pki) {
            let good = |case: &&Case<'_>| case.expected.starts_with("200, ");
            let answers = part.cases.iter().filter(good).count();
            assert!(
                answers > 0 && answers < part.cases.len(),
                "{}",
                part.heading
            );
        }
    }

    #[test]
    fn commands_repeat_the_request_they_stand_for() {
        let pki = Pki::make(now()).unwrap();
        let parts = parts(&pki);
        let commands: Vec<_> = parts
            .iter()
            .flat_map(|part| &part.cases)
            .filter_map(|case| case.curl(8443))
            .collect();
        for want in [
            "curl -s --cacert pki/servers-ca.crt -v https://127.0.0.1:8443/ 2>&1 | grep subject:",
            "curl -s --cacert pki/servers-ca.crt --resolve staff.demo.test:8443:127.0.0.1 --cert pki/alice.crt --key pki/alice.key https://staff.demo.test:8443/",
            "curl -s --cacert pki/servers-ca.crt --resolve api.demo.test:8443:127.0.0.1 https://api.demo.test:8443/wrong-name",
        ] {
            assert!(
                commands.iter().any(|command| command == want),
                "{want} is not in {commands:#?}"
            );
        }
    }
}
