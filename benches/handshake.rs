//! Handshakes in memory, both sides in one thread: the server's share is what `tls::session` does, the client's is
//! rustls with the same provider. Full, mutual and resumed, for each provider; TLS 1.3, P-256 certificates.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use sallyport::tls::keys::{KeyClass, KeyPair, generate_default};
use sallyport::tls::provider::{Mode, choose};
use sallyport::tls::server::{CoreServer, RequestMap, ServerPolicy, ServerSettings};
use sallyport::tls::session::{HelloState, ServerAcceptor, Session};
use sallyport::tls::sni::SniTable;
use sallyport::tls::tickets::{EpochSecret, Ticketer};
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;

const NOW: u64 = 1_700_000_000;
const RECORD_SIZES: [usize; 3] = [200, 4096, 16384];

fn core(mode: Mode, ask: bool, tickets: bool) -> CoreServer {
    let (certificate, key) = generate_default(KeyClass::Ecdsa, NOW).expect("a P-256 pair");
    let pair = KeyPair::from_pem(&certificate, &key).expect("the pair just made");
    pair.check().expect("the pair just made");
    let mut settings = ServerSettings::new(choose(mode));
    settings.session_tickets = tickets;
    let mut request = RequestMap::default();
    if ask {
        request.insert("*", []);
    }
    let policy = ServerPolicy::new(
        &settings,
        vec![Arc::new(pair)],
        SniTable::default(),
        request,
        false,
    )
    .expect("default settings");
    let ticketer = Ticketer::new([1; 16], 0, [2; 16]);
    ticketer.install(
        EpochSecret {
            number: 1,
            secret: [3; 32],
        },
        None,
    );
    CoreServer::new(Arc::new(policy), Arc::new(ticketer))
}

fn client(presents: bool, resumes: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let mut config = if presents {
        let (certificate, key) = generate_default(KeyClass::Ecdsa, NOW).expect("a P-256 pair");
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        builder
            .with_client_auth_cert(vec![certificate], key)
            .expect("a pair")
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = if resumes {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)))
    } else {
        Resumption::disabled()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn connect(core: &CoreServer, config: &Arc<ClientConfig>) -> (Session, ClientConnection) {
    let name = ServerName::try_from("bench.example.com").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut wire = Vec::with_capacity(4096);
    client.write_tls(&mut wire).expect("a Vec takes everything");
    let mut acceptor = ServerAcceptor::new();
    assert!(matches!(acceptor.feed(&wire), Ok(HelloState::Ready(_))));
    let mut session = acceptor.accept(core).expect("a handshake");
    loop {
        wire.clear();
        session.take_output(&mut wire);
        let mut left = wire.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).expect("bytes");
            client.process_new_packets().expect("a handshake");
        }
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a Vec takes everything");
        }
        if wire.is_empty() && !session.has_output() {
            break;
        }
        session.feed(&wire).expect("a handshake");
    }
    (session, client)
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    for mode in [Mode::Mixed, Mode::AwsLc, Mode::Ring] {
        for (kind, ask, resumes) in [
            ("full", false, false),
            ("mutual", true, false),
            ("resumed", false, true),
            ("mutual resumed", true, true),
        ] {
            let core = core(mode, ask, resumes);
            let config = client(ask, resumes);
            connect(&core, &config);
            let (session, _) = connect(&core, &config);
            let facts = session.facts().expect("a handshake");
            assert_eq!(
                (facts.resumed, session.client_chain().is_some()),
                (resumes, ask)
            );
            group.bench_function(BenchmarkId::new(kind, choose(mode).name), |b| {
                b.iter_batched(
                    || (),
                    |()| black_box(connect(&core, &config)),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// One record received and one sent: decryption and encryption by the session, the client's work outside the timing.
fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for mode in [Mode::Mixed, Mode::AwsLc] {
        for size in RECORD_SIZES {
            let (mut session, mut client) =
                connect(&core(mode, false, false), &client(false, false));
            let content = vec![7; size];
            let mut out = Vec::with_capacity(size + 64);
            group.throughput(Throughput::Bytes(2 * size as u64));
            group.bench_function(BenchmarkId::new(choose(mode).name, size), |b| {
                b.iter_custom(|rounds| {
                    let mut spent = std::time::Duration::ZERO;
                    let mut sink = vec![0; size];
                    for _ in 0..rounds {
                        client.writer().write_all(&content).expect("a record");
                        let mut wire = Vec::with_capacity(size + 64);
                        while client.wants_write() {
                            client.write_tls(&mut wire).expect("a Vec takes everything");
                        }
                        out.clear();
                        let start = std::time::Instant::now();
                        session.feed(&wire).expect("a record");
                        while let Some(chunk) = session.plaintext() {
                            let length = chunk.len();
                            session.consume(length);
                        }
                        session.write(&content).expect("a record");
                        session.take_output(&mut out);
                        spent += start.elapsed();
                        let mut left = out.as_slice();
                        while !left.is_empty() {
                            client.read_tls(&mut left).expect("bytes");
                            client.process_new_packets().expect("a record");
                        }
                        client.reader().read_exact(&mut sink).expect("the content");
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

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
            &self.0.signature_verification_algorithms,
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
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

criterion_group!(benches, handshakes, records);
criterion_main!(benches);
