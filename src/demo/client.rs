//! The demo's client: one request on a connection of its own, with or without a certificate.

use super::pki::{Authority, Pair};
use super::wire::{Fault, Stream};
use crate::tls::identity::Identity;
use crate::tls::provider::Chosen;
use crate::tls::trust::Roots;
use crate::tls::upstream::{ClientPair, CoreUpstream, UpstreamSpec, UpstreamTls, Versions};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Client {
    roots: Arc<Roots>,
    provider: Chosen,
    address: SocketAddr,
}

pub(super) struct Request<'a> {
    /// Host name, asked for by SNI, or IP address, asked for without.
    pub name: &'a str,
    pub path: &'a str,
    pub pair: Option<&'a Pair>,
    pub field: Option<(&'a str, &'a str)>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Answer),
    /// The client refuses the server's certificate: why.
    Refused(String),
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// Common name of the certificate the server showed.
    pub shown: String,
    /// JSON; `Null` when the content is something else.
    content: Value,
}

impl Answer {
    /// The text at a path of the content.
    pub fn told(&self, path: &[&str]) -> Option<&str> {
        let found = path
            .iter()
            .try_fold(&self.content, |value, name| value.get(name));
        found?.as_str()
    }
}

impl Client {
    /// Trusts `authority` and speaks to the port of this machine.
    pub fn new(authority: &Authority, provider: Chosen, port: u16) -> Result<Client, String> {
        let named = vec![(authority.name.to_owned(), authority.der.clone())];
        Ok(Client {
            roots: Arc::new(Roots::from_ders(named)?),
            provider,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        })
    }

    pub fn ask(&self, request: &Request<'_>) -> Outcome {
        match self.exchange(request) {
            Ok(answer) => Outcome::Answer(answer),
            // An alert of the server's is not this client's refusal.
            Err(Fault::Tls(error)) if error.alert_name() == REFUSAL && !error.received_alert() => {
                Outcome::Refused(error.to_string())
            }
            Err(fault) => Outcome::Failed(fault.to_string()),
        }
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Answer, Fault> {
        const WAIT: Duration = Duration::from_secs(15);
        let socket = TcpStream::connect_timeout(&self.address, WAIT)?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.set_write_timeout(Some(WAIT))?;
        socket.set_nodelay(true)?;
        let pair = request
            .pair
            .map(|pair| ClientPair::from_pem(&pair.certificate_pem, &pair.key_pem).map(Arc::new));
        let identity = UpstreamTls::new(UpstreamSpec {
            client: pair.transpose().map_err(std::io::Error::other)?,
            verify: true,
            depth: 1,
            roots: Some(Arc::clone(&self.roots)),
            versions: Versions {
                tls12: true,
                tls13: true,
            },
        });
        // A new one each time: nothing resumes, each row is a full handshake.
        let session = CoreUpstream::new(&self.provider)
            .connect(&identity, request.name)
            .map_err(std::io::Error::other)?;
        let mut stream = Stream::client(socket, session)?;
        let shown = stream.session().peer_leaf().map(Identity::parse);
        let shown = match shown {
            Some(Ok(leaf)) => leaf.common_names.first().map_or_else(
                || leaf.subject_dn.to_string(),
                |common_name| common_name.to_string(),
            ),
            _ => "nothing readable".to_owned(),
        };
        stream.write(&self.head(request))?;
        let (head, content) = stream.response()?;
        stream.finish();
        Ok(Answer {
            status: head.status,
            shown,
            content: serde_json::from_slice(&content).unwrap_or_default(),
        })
    }

    fn head(&self, request: &Request<'_>) -> Vec<u8> {
        let field = request
            .field
            .map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUser-Agent: sallyport-demo\r\nAccept: application/json\r\n{field}Connection: close\r\n\r\n",
            path = request.path,
            name = request.name,
            port = self.address.port(),
        )
        .into_bytes()
    }
}

/// What our verifier's refusals go out as (RFC 8446 §6.2).
const REFUSAL: &str = "certificate_unknown";
