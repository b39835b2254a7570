//! The demo's upstream: answers only a peer whose certificate its authority signed, and says what it saw.

use super::now;
use super::pki::Pki;
use super::wire::{Fault, Head, Stream};
use crate::limits::DEMO_UPSTREAM_CONNECTIONS_MAX;
use crate::tls::client_auth::{Verdict, judge};
use crate::tls::identity::subject_der;
use crate::tls::keys::KeyPair;
use crate::tls::provider::Chosen;
use crate::tls::server::{CoreServer, RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::tickets::Ticketer;
use crate::tls::trust::{Options, TrustSet, Work};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use uuid::Uuid;

/// Accepts until dropped.
pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    policy: Arc<ServerPolicy>,
    tickets: Arc<Ticketer>,
    /// Whom it lets in.
    trust: TrustSet,
    ended: AtomicBool,
    connections: AtomicUsize,
    /// Why the last peer was sent away, since it was last asked for.
    refused: Mutex<Option<String>>,
}

impl Upstream {
    /// The error is a sentence for the operator.
    pub fn start(pki: &Pki, provider: &Chosen) -> Result<Upstream, String> {
        let failed = |why: &dyn Display| format!("the demo's upstream cannot be started: {why}");
        let pair = KeyPair::from_pem(&pki.upstream.certificate_pem, &pki.upstream.key_pem)
            .map_err(|why| failed(&why))?;
        let mut request = RequestMap::default();
        let name = subject_der(&pki.gateways_ca.der).map_err(|why| failed(&why))?;
        request.insert("*", [name]);
        let settings = ServerSettings {
            session_tickets: false,
            ..ServerSettings::new(provider.clone())
        };
        let pairs = vec![Arc::new(pair)];
        let policy = ServerPolicy::new(&settings, pairs, SniTable::default(), request, false)
            .map_err(|why| failed(&why))?;
        let anchors = vec![(Uuid::nil(), pki.gateways_ca.der.clone())];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|why| failed(&why))?;
        let address = listener.local_addr().map_err(|why| failed(&why))?;
        let shared = Arc::new(Shared {
            policy: Arc::new(policy),
            tickets: Arc::new(Ticketer::new([0; 16], 0, [0; 16])),
            trust: TrustSet::build(anchors, Options::default()).map_err(|why| failed(&why))?,
            ended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            refused: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name("demo-upstream".into())
            .spawn(move || accept(&listener, &theirs))
            .map_err(|why| failed(&why))?;
        Ok(Upstream {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Why it sent a peer away since this was last called.
    pub fn take_refusal(&self) -> Option<String> {
        self.shared.refusal().take()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // The accept that waits needs a connection to see it. If none can be made the thread ends with the process.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn refusal(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: TcpStream) -> Result<(), Fault> {
        const IDLE: Duration = Duration::from_secs(75);
        socket.set_read_timeout(Some(IDLE))?;
        socket.set_write_timeout(Some(IDLE))?;
        socket.set_nodelay(true)?;
        let core = CoreServer::new(Arc::clone(&self.policy), Arc::clone(&self.tickets));
        let mut stream = Stream::server(socket, &core)?;
        let client = match self.judge(&stream) {
            Ok(subject) => subject,
            Err(why) => {
                *self.refusal() = Some(why);
                stream.finish();
                return Ok(());
            }
        };
        while let Some(head) = stream.request()? {
            let sni = stream.session().facts().and_then(|facts| facts.sni.clone());
            let (answer, persists) = answer(&head, &client, sni.as_deref());
            stream.write(&answer)?;
            if !persists {
                break;
            }
        }
        stream.finish();
        Ok(())
    }

    /// The subject of a certificate it trusts.
    fn judge(&self, stream: &Stream) -> Result<String, String> {
        let Some(chain) = stream.session().client_chain() else {
            return Err(NO_CERTIFICATE.into());
        };
        match judge(chain, &self.trust, now(), &mut Work::default()) {
            Verdict::Trusted(client) => Ok(client.identity.subject_dn.to_string()),
            Verdict::Refused(reason) => Err(reason.to_string()),
        }
    }
}

/// Why a peer without one is sent away.
const NO_CERTIFICATE: &str = "no certificate";

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let accepted = listener.accept();
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok((socket, _)) = accepted else {
            // Out of descriptors, most likely.
            thread::sleep(PAUSE);
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= DEMO_UPSTREAM_CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let theirs = Arc::clone(shared);
        let spawned = thread::Builder::new()
            .name("demo-upstream".into())
            .spawn(move || {
                // A fault is the gateway's to report: it sees the connection end.
                let _ = theirs.serve(socket);
                theirs.connections.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The response, and whether the connection goes on: content of a request is not read, so it ends the connection.
fn answer(head: &Head, client: &str, sni: Option<&str>) -> (Vec<u8>, bool) {
    let mut fields = Map::new();
    for (name, value) in &head.fields {
        let value = match fields.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        fields.insert(name.clone(), Value::from(value));
    }
    let told = json!({
        "upstream": "this is what reached me",
        "client_certificate": client,
        "sni": sni,
        "request": format!("{} {}", head.method, head.target),
        "headers": fields,
    });
    let content = format!("{told:#}\n");
    let has_content = head.field("transfer-encoding").is_some()
        || head.field("content-length").is_some_and(|size| size != "0");
    let closes = head
        .field("connection")
        .is_some_and(|options| options.to_ascii_lowercase().contains("close"));
    let persists = !has_content && !closes;
    let mut response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
        content.len(),
        if persists { "keep-alive" } else { "close" },
    );
    if head.method != "HEAD" {
        response.push_str(&content);
    }
    (response.into_bytes(), persists)
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, Outcome, Request};
    use super::*;
    use crate::tls::provider::{Mode, choose};

    #[test]
    fn only_a_certificate_of_the_right_authority_is_answered() {
        let pki = Pki::make(now()).unwrap();
        let provider = choose(Mode::Auto);
        let upstream = Upstream::start(&pki, &provider).unwrap();
        let client = Client::new(&pki.upstreams_ca, provider, upstream.port()).unwrap();
        for (rule, pair, refusal) in [
            ("the gateway", Some(&pki.gateway), None),
            ("no certificate", None, Some(NO_CERTIFICATE)),
            (
                "another authority",
                Some(&pki.alice),
                Some("unable to get local issuer certificate"),
            ),
        ] {
            let outcome = client.ask(&Request {
                name: "upstream.demo.test",
                path: "/",
                pair,
                field: Some(("X-Consumer-Username", "alice")),
            });
            assert_eq!(upstream.take_refusal().as_deref(), refusal, "{rule}");
            match outcome {
                Outcome::Answer(answer) if refusal.is_none() => {
                    let told = |name| answer.told(&[name]).unwrap();
                    assert_eq!(told("client_certificate"), "CN=gateway,O=Demo");
                    assert_eq!(told("sni"), "upstream.demo.test");
                    assert_eq!(
                        answer.told(&["headers", "x-consumer-username"]).unwrap(),
                        "alice"
                    );
                    assert_eq!(answer.shown, "upstream.demo.test");
                }
                Outcome::Failed(_) if refusal.is_some() => {}
                other => panic!("{rule}: {other:?}"),
            }
        }
        let outcome = client.ask(&Request {
            name: "wrong.demo.test",
            path: "/",
            pair: Some(&pki.gateway),
            field: None,
        });
        assert!(matches!(&outcome, Outcome::Refused(_)), "{outcome:?}");
    }
}
