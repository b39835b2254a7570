//! Over TLS, and with client certificates: who may come in is judged by the request, so that OPTIONS needs none.

use super::*;
use crate::admin::service::Clients;
use crate::entity::fixtures::{LEAF, LEAF_KEY, ROOT};
use crate::entity::pem;
use crate::telemetry::acceptor::ListenerTls;
use crate::tls::keys::{KeyClass, KeyPair, generate_default};
use crate::tls::provider::{Mode, choose};
use crate::tls::server::{RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::trust::{Options, TrustSet};
use crate::tls::upstream::{ClientPair, CoreUpstream, UpstreamSpec, UpstreamTls, Versions};

const SINCE: u64 = 1_700_000_000;

fn trust(pem: &str) -> Arc<TrustSet> {
    let der = pem::certificates(pem).expect("PEM").swap_remove(0).to_vec();
    let anchors = vec![(uuid::Uuid::nil(), der)];
    Arc::new(TrustSet::build(anchors, Options::default()).expect("a CA"))
}

async fn start_tls(node: Node, authority: Option<&str>) -> SocketAddr {
    start_for(node, authority).await.0
}

/// With what a reload changes.
async fn start_for(node: Node, authority: Option<&str>) -> (SocketAddr, Arc<Clients>) {
    let (certificate, key) = generate_default(KeyClass::Ecdsa, SINCE).expect("a pair");
    let pair = Arc::new(KeyPair::from_pem(&certificate, &key).expect("a pair"));
    let mut request = RequestMap::default();
    if authority.is_some() {
        request.insert("*", []);
    }
    let clients = Arc::new(Clients::new(authority.map(trust)));
    let settings = ServerSettings::new(choose(Mode::Auto));
    let policy = ServerPolicy::new(&settings, vec![pair], SniTable::default(), request, false);
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = tcp.local_addr().expect("an address");
    let listener = Listener {
        tcp,
        tls: Some(Arc::new(ListenerTls::new(Arc::new(
            policy.expect("a policy"),
        )))),
        clients: Some(Arc::clone(&clients)),
    };
    tokio::spawn(service::serve(Admin::new(node), listener));
    (address, clients)
}

/// The answer to one request.
async fn ask(address: SocketAddr, pair: Option<(&str, &str)>, method: &str, body: &str) -> String {
    let client = pair.map(|(certificate, key)| {
        Arc::new(ClientPair::from_pem(certificate, key).expect("a pair"))
    });
    let tls = UpstreamTls::new(UpstreamSpec {
        client,
        verify: false,
        depth: 0,
        roots: None,
        versions: Versions::ALL,
    });
    let mut session = CoreUpstream::new(&choose(Mode::Auto))
        .connect(&tls, "localhost")
        .expect("a session");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!(
        "{method} /services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    session.write(request.as_bytes()).expect("written");
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while !session.peer_closed() {
        let mut out = Vec::new();
        session.take_output(&mut out);
        stream.write_all(&out).await.expect("sent");
        let count = stream.read(&mut bytes).await.expect("read");
        assert!(count > 0, "closed without close_notify");
        session.feed(&bytes[..count]).expect("sound TLS");
        while let Some(plain) = session.plaintext().map(<[u8]>::to_vec) {
            session.consume(plain.len());
            answer.extend(plain);
        }
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn a_listener_with_ssl_takes_anyone_when_it_wants_no_certificate() {
    let address = start_tls(memory(), None).await;
    let answer = ask(address, None, "POST", r#"{"host":"h.test"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn an_authority_that_a_reload_brings_shuts_out_who_has_no_certificate_of_it() {
    let (address, clients) = start_for(memory(), None).await;
    let answer = ask(address, None, "GET", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!clients.are_chosen());
    clients.replace(trust(ROOT));
    assert!(clients.are_chosen());
    let answer = ask(address, None, "GET", "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn only_clients_of_the_authority_come_in_and_the_audit_line_names_them() {
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let address = start_tls(node, Some(ROOT)).await;
    let (certificate, key) = generate_default(KeyClass::Ecdsa, SINCE).expect("a pair");
    let own = Some((LEAF, LEAF_KEY));
    let foreign = Some((certificate.as_str(), key.as_str()));
    for (rule, pair, method, status) in [
        ("of the authority", own, "POST", "201"),
        ("no certificate", None, "POST", "403"),
        ("no certificate", None, "GET", "403"),
        ("of another", foreign, "POST", "403"),
        ("CLIENTS 6.23", None, "OPTIONS", "204"),
    ] {
        let answer = ask(address, pair, method, r#"{"host":"h.test"}"#).await;
        let first = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&first), "{rule} {method}: {answer}");
    }
    let text = log.text();
    let line = "subject=\"CN=leaf.example.com\" POST services id=";
    assert!(text.contains(line), "{text}");
    assert!(
        !text.contains("subject=none POST"),
        "refused before it was a write: {text}"
    );
}
