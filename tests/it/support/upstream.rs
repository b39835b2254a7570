//! Upstreams: a threaded HTTP/1.1 server, plain or TLS, that keeps every byte it was sent and answers by script.

use super::pki::{Ca, Pair};
use super::wire::{Ended, Fields, Reader, Wire, patient};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls::{crypto::aws_lc_rs, pki_types::CertificateDer, pki_types::UnixTime};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Head as it came, its empty line included.
    pub head: Vec<u8>,
    pub fields: Fields,
    pub content: Vec<u8>,
    pub trailers: Fields,
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Common name of the certificate the gateway showed.
    pub subject: Option<String>,
    /// Certificates the gateway showed.
    pub chain_count: usize,
    pub sni: Option<String>,
}

impl Request {
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }
}

/// What a script may do with a connection.
pub struct Conversation<'a> {
    pub reader: &'a mut Reader,
}

impl Conversation<'_> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that has closed meanwhile is what some tests look for.
        let _ = self.reader.wire.write_all(bytes.as_ref());
        let _ = self.reader.wire.flush();
    }

    /// The head that came, as content of a 200.
    pub fn echo(&mut self, request: &Request) -> Next {
        let size = request.head.len();
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&request.head);
        self.send(bytes);
        Next::Keep
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
    /// Without close_notify.
    Cut,
    Reset,
}

/// When the script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With the whole content in `Request::content`.
    Whole,
    /// When the head is there; the content is the script's to read.
    Head,
}

type Script = dyn Fn(&Request, &mut Conversation<'_>) -> Next + Send + Sync;

struct Shared {
    script: Box<Script>,
    when: When,
    tls: Option<Arc<ServerConfig>>,
    stop: AtomicBool,
    accepted: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    /// Every decrypted byte of every connection.
    bytes: AtomicUsize,
}

/// A server; ends with the test.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Echoes request heads.
    pub fn echo() -> Upstream {
        Upstream::plain(|request, conversation| conversation.echo(request))
    }

    pub fn plain(
        script: impl Fn(&Request, &mut Conversation<'_>) -> Next + Send + Sync + 'static,
    ) -> Upstream {
        Upstream::start(None, When::Whole, Box::new(script))
    }

    /// The script reads the content itself.
    pub fn streaming(
        script: impl Fn(&Request, &mut Conversation<'_>) -> Next + Send + Sync + 'static,
    ) -> Upstream {
        Upstream::start(None, When::Head, Box::new(script))
    }

    /// Echoes heads over TLS with `pair`, and asks for a client certificate signed by `ca` when there is one.
    pub fn tls(pair: &Pair, ca: Option<&Ca>) -> Upstream {
        Upstream::tls_with(pair, ca, |request, conversation| conversation.echo(request))
    }

    pub fn tls_with(
        pair: &Pair,
        ca: Option<&Ca>,
        script: impl Fn(&Request, &mut Conversation<'_>) -> Next + Send + Sync + 'static,
    ) -> Upstream {
        Upstream::start(Some(server_config(pair, ca)), When::Whole, Box::new(script))
    }

    /// Over TLS without client certificates; the script reads the content itself.
    pub fn tls_streaming(
        pair: &Pair,
        script: impl Fn(&Request, &mut Conversation<'_>) -> Next + Send + Sync + 'static,
    ) -> Upstream {
        let config = server_config(pair, None);
        Upstream::start(Some(config), When::Head, Box::new(script))
    }

    fn start(tls: Option<Arc<ServerConfig>>, when: When, script: Box<Script>) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            script,
            when,
            tls,
            stop: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            requests: Mutex::default(),
            bytes: AtomicUsize::new(0),
        });
        let for_thread = shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if for_thread.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let number = for_thread.accepted.fetch_add(1, Ordering::AcqRel);
                let shared = for_thread.clone();
                std::thread::spawn(move || serve(&shared, socket, number));
            }
        });
        Upstream { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn is_tls(&self) -> bool {
        self.shared.tls.is_some()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("the requests").clone()
    }

    #[track_caller]
    pub fn last(&self) -> Request {
        self.requests()
            .pop()
            .expect("a request reached the upstream")
    }

    /// Decrypted bytes of requests so far.
    pub fn bytes_seen(&self) -> usize {
        self.shared.bytes.load(Ordering::Acquire)
    }

    /// Not a byte of a request came.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(
            self.shared.bytes.load(Ordering::Acquire),
            0,
            "bytes reached the upstream: {:?}",
            self.requests()
        );
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the accepting thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
    }
}

fn server_config(pair: &Pair, ca: Option<&Ca>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(Arc::new(Demands { ca: ca.der.clone() })),
    };
    let config = builder
        .with_single_cert(pair.chain.clone(), pair.key())
        .expect("the upstream's pair");
    Arc::new(config)
}

fn serve(shared: &Shared, mut socket: TcpStream, number: usize) {
    patient(&socket);
    let (mut subject, mut chain_count, mut sni) = (None, 0, None);
    let wire = match &shared.tls {
        None => Wire::Plain(socket),
        Some(config) => {
            let mut connection =
                rustls::ServerConnection::new(config.clone()).expect("a TLS session");
            while connection.is_handshaking() {
                if connection.complete_io(&mut socket).is_err() {
                    return;
                }
            }
            if let Some(chain) = connection.peer_certificates() {
                subject = chain.first().map(common_name);
                chain_count = chain.len();
            }
            sni = connection.server_name().map(str::to_owned);
            Wire::Server(Box::new(rustls::StreamOwned::new(connection, socket)))
        }
    };
    let mut reader = Reader::new(wire);
    loop {
        let read = read_request(shared, &mut reader);
        let Ok(mut request) = read else {
            shared
                .bytes
                .fetch_add(reader.buffered.len(), Ordering::AcqRel);
            return;
        };
        request.connection = number;
        request.subject.clone_from(&subject);
        request.chain_count = chain_count;
        request.sni.clone_from(&sni);
        shared
            .requests
            .lock()
            .expect("the requests")
            .push(request.clone());
        let mut conversation = Conversation {
            reader: &mut reader,
        };
        match (shared.script)(&request, &mut conversation) {
            Next::Keep => {}
            Next::Close => {
                reader.wire.finish();
                let _ = reader.rest();
                return;
            }
            Next::Cut => return reader.wire.cut(),
            Next::Reset => return reader.wire.reset(),
        }
    }
}

fn read_request(shared: &Shared, reader: &mut Reader) -> Result<Request, Ended> {
    let head = reader.through(b"\r\n\r\n")?;
    shared.bytes.fetch_add(head.len(), Ordering::AcqRel);
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut line = text.lines().next().unwrap_or_default().split(' ');
    let method = line.next().unwrap_or_default().to_owned();
    let target = line.next().unwrap_or_default().to_owned();
    assert_eq!(line.next(), Some("HTTP/1.1"), "{text}");
    let fields = Fields::of(&head);
    let mut request = Request {
        method,
        target,
        head,
        fields,
        content: Vec::new(),
        trailers: Fields::default(),
        connection: 0,
        subject: None,
        chain_count: 0,
        sni: None,
    };
    if shared.when == When::Whole {
        read_content(reader, &mut request)?;
        shared
            .bytes
            .fetch_add(request.content.len(), Ordering::AcqRel);
    }
    Ok(request)
}

/// The content of `request` as its head frames it.
pub fn read_content(reader: &mut Reader, request: &mut Request) -> Result<(), Ended> {
    let length = request.fields.get("Content-Length").map(str::to_owned);
    let coding = request.fields.get("Transfer-Encoding").map(str::to_owned);
    assert!(
        length.is_none() || coding.is_none(),
        "the gateway sent both framings"
    );
    if coding.is_some() {
        assert_eq!(coding.as_deref(), Some("chunked"));
        (request.content, request.trailers) = reader.chunked()?;
    } else if let Some(length) = length {
        request.content = reader.exact(length.parse().expect("a number"))?;
    }
    Ok(())
}

pub fn common_name(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).expect("a parsable certificate");
    let name = parsed.subject().iter_common_name().next();
    name.and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// Demands a client certificate issued under one CA, and lets webpki judge it.
#[derive(Debug)]
struct Demands {
    ca: CertificateDer<'static>,
}

impl ClientCertVerifier for Demands {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|why| rustls::Error::General(why.to_string()))?;
        verifier.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
