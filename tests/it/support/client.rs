//! Clients: plain sockets that send exact bytes, and rustls with every knob the tests turn.

use super::pki::Pair;
use super::wire::{Ended, Reader, Response, Wire, patient};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion,
    SignatureScheme, SupportedProtocolVersion,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// One client connection.
pub struct Client {
    pub reader: Reader,
}

impl Client {
    pub fn plain(address: SocketAddr) -> Client {
        Client {
            reader: Reader::new(Wire::Plain(tcp(address))),
        }
    }

    pub fn try_plain(address: SocketAddr) -> std::io::Result<Client> {
        let socket = TcpStream::connect(address)?;
        patient(&socket);
        Ok(Client {
            reader: Reader::new(Wire::Plain(socket)),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let sent = self.reader.wire.write_all(bytes.as_ref());
        sent.and_then(|()| self.reader.wire.flush())
            .expect("the gateway takes the request");
        self
    }

    /// Sends what the gateway may no longer want to read.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.reader.wire.write_all(bytes.as_ref());
        sent.and_then(|()| self.reader.wire.flush()).is_ok()
    }

    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        match Response::read(&mut self.reader, method) {
            Ok(response) => response,
            Err(ended) => panic!(
                "no whole response: {ended:?} after {:?}",
                String::from_utf8_lossy(&self.reader.buffered)
            ),
        }
    }

    /// GET over this connection, which stays open.
    #[track_caller]
    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.send(get(host, target));
        self.response()
    }

    /// GET with further field lines, each ended by CRLF.
    #[track_caller]
    pub fn get_with(&mut self, host: &str, target: &str, lines: &str) -> Response {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
        ));
        self.response()
    }

    /// The connection ends without another byte.
    #[track_caller]
    pub fn assert_closed(&mut self) -> Ended {
        let (rest, ended) = self.reader.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "", "{ended:?}");
        assert_ne!(ended, Ended::Open, "the connection stays open");
        ended
    }

    fn connection(&self) -> &ClientConnection {
        match &self.reader.wire {
            Wire::Client(tls) => &tls.conn,
            _ => panic!("not a TLS connection"),
        }
    }

    pub fn resumed(&self) -> bool {
        self.connection().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn version(&self) -> ProtocolVersion {
        self.connection().protocol_version().expect("a version")
    }

    pub fn alpn(&self) -> Option<String> {
        let protocol = self.connection().alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }

    /// The chain the gateway showed.
    pub fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        self.connection()
            .peer_certificates()
            .expect("a chain")
            .to_vec()
    }

    pub fn group(&self) -> Option<rustls::NamedGroup> {
        let group = self.connection().negotiated_key_exchange_group()?;
        Some(group.name())
    }
}

pub fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn tcp(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the gateway accepts");
    patient(&socket);
    socket
}

/// A TLS client; connections of one share its sessions.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

/// What a [`TlsClient`] is made from.
#[derive(Clone)]
pub struct TlsOptions {
    pub pair: Option<Pair>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Schemes the server may sign with.
    pub schemes: Vec<SignatureScheme>,
    pub alpn: Vec<&'static str>,
    pub resumption: bool,
}

pub static TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub static TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions {
            pair: None,
            versions: vec![TLS12, TLS13],
            groups: vec![
                aws_lc_rs::kx_group::X25519,
                aws_lc_rs::kx_group::SECP256R1,
                aws_lc_rs::kx_group::SECP384R1,
            ],
            schemes: aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes(),
            alpn: Vec::new(),
            resumption: false,
        }
    }
}

impl TlsClient {
    pub fn new() -> TlsClient {
        TlsClient::with(TlsOptions::default())
    }

    pub fn presenting(pair: &Pair) -> TlsClient {
        TlsClient::with(TlsOptions {
            pair: Some(pair.clone()),
            ..TlsOptions::default()
        })
    }

    pub fn with(options: TlsOptions) -> TlsClient {
        let provider = Arc::new(CryptoProvider {
            kx_groups: options.groups,
            ..aws_lc_rs::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&options.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer {
                provider: provider.clone(),
                schemes: options.schemes,
            }));
        let mut config = match options.pair {
            None => builder.with_no_client_auth(),
            // Sent whatever CAs the server names: what the gateway makes of it is the subject of the tests.
            Some(pair) => {
                let key = provider
                    .key_provider
                    .load_private_key(pair.key())
                    .expect("a key");
                let certified = Arc::new(CertifiedKey::new(pair.chain, key));
                builder.with_client_cert_resolver(Arc::new(Always(certified)))
            }
        };
        config.alpn_protocols = options.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.resumption = if options.resumption {
            Resumption::in_memory_sessions(32)
        } else {
            Resumption::disabled()
        };
        TlsClient {
            config: Arc::new(config),
        }
    }

    /// A finished handshake, with `sni` or, when empty, without.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr, sni: &str) -> Client {
        match self.try_connect(address, sni) {
            Ok(client) => client,
            Err(why) => panic!("handshake with sni {sni:?}: {why}"),
        }
    }

    pub fn try_connect(&self, address: SocketAddr, sni: &str) -> std::io::Result<Client> {
        let socket = TcpStream::connect(address)?;
        patient(&socket);
        self.try_over(socket, sni)
    }

    /// Over a socket on which something has been said already.
    pub fn try_over(&self, mut socket: TcpStream, sni: &str) -> std::io::Result<Client> {
        let name = if sni.is_empty() {
            // RFC 6066 §3: an address is no SNI, so none is sent.
            ServerName::IpAddress(socket.peer_addr()?.ip().into())
        } else {
            ServerName::try_from(sni.to_owned()).expect("a server name")
        };
        let mut connection =
            ClientConnection::new(self.config.clone(), name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        // TLS 1.3: the last flight.
        while connection.wants_write() {
            connection.complete_io(&mut socket)?;
        }
        let stream = rustls::StreamOwned::new(connection, socket);
        Ok(Client {
            reader: Reader::new(Wire::Client(Box::new(stream))),
        })
    }

    /// One request over a connection of its own, SNI and Host the same.
    #[track_caller]
    pub fn get(&self, address: SocketAddr, host: &str, target: &str) -> Response {
        self.connect(address, host).get(host, target)
    }
}

/// Takes every chain; possession of its key is proven.
#[derive(Debug)]
struct AnyServer {
    provider: Arc<CryptoProvider>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
