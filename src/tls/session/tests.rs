//! Handshakes in memory against rustls as the client: what the tests share.

mod bytes;
mod handshake;
mod resumption;

use super::*;
use crate::tls::keys::{KeyClass, KeyPair, generate_default};
use crate::tls::provider::{Chosen, Mode, Version, choose};
use crate::tls::server::{Identity, RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::tickets::{EpochSecret, Ticketer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};
use std::sync::{LazyLock, Mutex};

// ── the gateway ──

struct Pem {
    certificate: String,
    key: String,
}

impl Pem {
    fn new(class: KeyClass) -> Self {
        let (certificate, key) = generate_default(class, 1_700_000_000).unwrap();
        Self { certificate, key }
    }

    fn pair(&self) -> Arc<KeyPair> {
        Arc::new(KeyPair::from_pem(&self.certificate, &self.key).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

static RSA: LazyLock<Pem> = LazyLock::new(|| Pem::new(KeyClass::Rsa));
static ECDSA: LazyLock<Pem> = LazyLock::new(|| Pem::new(KeyClass::Ecdsa));
static OTHER: LazyLock<Pem> = LazyLock::new(|| Pem::new(KeyClass::Ecdsa));
static CLIENT: LazyLock<Pem> = LazyLock::new(|| Pem::new(KeyClass::Ecdsa));

struct Gateway {
    settings: ServerSettings,
    sni: SniTable<Arc<Identity>>,
    request: RequestMap,
    tickets: Arc<Ticketer>,
}

impl Gateway {
    fn new() -> Self {
        Self {
            settings: ServerSettings::new(choose(Mode::Auto)),
            sni: SniTable::default(),
            request: RequestMap::default(),
            tickets: ticketer(0, 1),
        }
    }

    fn asking(sni: &str, ca_names: &[&[u8]]) -> Self {
        let mut gateway = Self::new();
        gateway
            .request
            .insert(sni, ca_names.iter().map(|name| name.to_vec()));
        gateway
    }

    fn provider(mut self, provider: Chosen) -> Self {
        self.settings.provider = provider;
        self
    }

    fn tickets(mut self, tickets: Arc<Ticketer>) -> Self {
        self.tickets = tickets;
        self
    }

    fn core(self) -> CoreServer {
        let default = vec![RSA.pair(), ECDSA.pair()];
        let policy =
            ServerPolicy::new(&self.settings, default, self.sni, self.request, false).unwrap();
        CoreServer::new(Arc::new(policy), self.tickets)
    }
}

fn ticketer(core: u16, epoch: u8) -> Arc<Ticketer> {
    let ticketer = Ticketer::new([1; 16], core, [2; 16]);
    let secret = |number: u8| EpochSecret {
        number: number.into(),
        secret: [number; 32],
    };
    ticketer.install(secret(epoch), Some(secret(epoch - 1)));
    Arc::new(ticketer)
}

// ── the client ──

struct Client {
    versions: Vec<Version>,
    provider: CryptoProvider,
    schemes: Option<Vec<SignatureScheme>>,
    resolver: Option<Arc<Recorder>>,
    alpn: Vec<Vec<u8>>,
    resumption: Resumption,
    sni: bool,
}

impl Client {
    fn new(version: Version) -> Self {
        Self {
            versions: vec![version],
            provider: aws_lc_rs::default_provider(),
            schemes: None,
            resolver: None,
            alpn: vec![b"http/1.1".to_vec()],
            resumption: Resumption::disabled(),
            sni: true,
        }
    }

    fn with(certified: Option<CertifiedKey>, version: Version) -> (Self, Arc<Recorder>) {
        let recorder = Arc::new(Recorder {
            certified: certified.map(Arc::new),
            asked: Mutex::new(None),
        });
        let client = Self {
            resolver: Some(Arc::clone(&recorder)),
            ..Self::new(version)
        };
        (client, recorder)
    }

    fn resuming(mut self) -> Self {
        self.resumption = Resumption::store(Arc::new(AnyName(ClientSessionMemoryCache::new(8))));
        self
    }

    fn config(self) -> Arc<ClientConfig> {
        let provider = Arc::new(self.provider);
        let verifier = Arc::new(AnyServer {
            schemes: self.schemes.unwrap_or_else(|| {
                provider
                    .signature_verification_algorithms
                    .supported_schemes()
            }),
            provider: Arc::clone(&provider),
        });
        let versions: Vec<_> = self
            .versions
            .iter()
            .map(|version| version.rustls())
            .collect();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.resolver {
            Some(resolver) => builder.with_client_cert_resolver(resolver),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        config.resumption = self.resumption;
        config.enable_sni = self.sni;
        Arc::new(config)
    }
}

/// The client's certificate, as an honest client would have it.
fn client_key() -> CertifiedKey {
    (*CLIENT.pair().certified().unwrap()).clone()
}

/// The client's certificate with a key that is not its own.
fn stolen() -> CertifiedKey {
    CertifiedKey::new(
        vec![CLIENT.der()],
        Arc::clone(&OTHER.pair().certified().unwrap().key),
    )
}

/// Presents one certificate and remembers the CA names it was asked with.
#[derive(Debug)]
struct Recorder {
    certified: Option<Arc<CertifiedKey>>,
    asked: Mutex<Option<Vec<Vec<u8>>>>,
}

impl ResolvesClientCert for Recorder {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.asked.lock().unwrap() = Some(hints.iter().map(|name| name.to_vec()).collect());
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes every certificate, checks every signature.
#[derive(Debug)]
struct AnyServer {
    schemes: Vec<SignatureScheme>,
    provider: Arc<CryptoProvider>,
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
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Offers a session of any name to every name: what a hostile client would do.
#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache);

fn any() -> ServerName<'static> {
    ServerName::try_from("any.test").unwrap()
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(any(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&any())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(any(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&any())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&any());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(any(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&any())
    }
}

// ── the wire ──

fn start(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(
        Arc::clone(config),
        ServerName::try_from(name.to_owned()).unwrap(),
    )
    .unwrap()
}

fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn accept(core: &CoreServer, client: &mut ClientConnection) -> Result<Session, Error> {
    let mut acceptor = ServerAcceptor::new();
    match acceptor.feed(&sent(client))? {
        HelloState::Ready(_) => acceptor.accept(core),
        HelloState::NeedMore => panic!("the whole hello was fed"),
    }
}

/// Exchanges flights until both are silent.
fn pump(session: &mut Session, client: &mut ClientConnection) -> Result<(), Error> {
    loop {
        let mut to_client = Vec::new();
        session.take_output(&mut to_client);
        // What the client thinks of it shows in what it sends next.
        let _ = receive(client, &to_client);
        let to_server = sent(client);
        if to_client.is_empty() && to_server.is_empty() {
            return Ok(());
        }
        assert_eq!(session.feed(&to_server)?, to_server.len());
    }
}

fn connect(
    core: &CoreServer,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<(Session, ClientConnection), Error> {
    let mut client = start(config, name);
    let mut session = accept(core, &mut client)?;
    pump(&mut session, &mut client)?;
    assert!(!session.handshaking());
    Ok((session, client))
}

fn take_plaintext(session: &mut Session) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = session.plaintext() {
        let size = chunk.len();
        all.extend_from_slice(chunk);
        session.consume(size);
    }
    all
}

fn leaf(client: &ClientConnection) -> CertificateDer<'static> {
    client.peer_certificates().unwrap()[0].clone()
}
