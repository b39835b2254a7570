mod expiry;
mod identities;
mod usage;

use super::*;
use crate::tls::provider;
use crate::tls::trust::testpki::{Made, ca, leaf};
use rcgen::{ExtendedKeyUsagePurpose as Eku, SanType};
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const BOTH: Versions = Versions::ALL;
const ONLY_TLS12: Versions = Versions {
    tls12: true,
    tls13: false,
};

#[test]
fn an_upstream_is_held_to_path_depth_and_dates() {
    let root = ca("Root").self_signed();
    let one = ca("One").signed_by(&root);
    let two = ca("Two").signed_by(&one);
    let other = ca("Other").self_signed();
    let old_root = ca("Old").years(2000, 2010).self_signed();
    let server = |issuer: &Made| leaf("s").dns("up.test").signed_by(issuer);
    let direct = server(&root);
    let below_one = server(&one);
    let below_two = server(&two);
    let expired = leaf("s").dns("up.test").years(2000, 2010);
    let expired = expired.signed_by(&root);
    let for_clients = leaf("s").dns("up.test").purposes(&[Eku::ClientAuth]);
    let for_clients = for_clients.signed_by(&root);
    let self_signed = leaf("s").dns("up.test").self_signed();
    let pinned = ca("s").dns("up.test").key_usages(&[]).self_signed();
    let by_old = server(&old_root);
    let verify = |reason| Err(UpstreamError::Verify { reason });
    type Row<'a> = (
        &'a str,
        u32,
        &'a [&'a Made],
        &'a [&'a Made],
        Result<(), UpstreamError>,
    );
    let rows: &[Row<'_>] = &[
        (
            "KONG 4.4 depth 0, signed by the root",
            0,
            &[&direct],
            &[&root],
            Ok(()),
        ),
        (
            "KONG 4.4 depth 0, one between",
            0,
            &[&below_one, &one],
            &[&root],
            verify(Reason::TooLong),
        ),
        (
            "KONG 4.4 depth 1, one between",
            1,
            &[&below_one, &one],
            &[&root],
            Ok(()),
        ),
        (
            "KONG 4.4 depth 1, root sent as well",
            1,
            &[&below_one, &one, &root],
            &[&root],
            Ok(()),
        ),
        (
            "KONG 4.4 depth 1, two between",
            1,
            &[&below_two, &two, &one],
            &[&root],
            verify(Reason::TooLong),
        ),
        (
            "KONG 4.4 depth 2, two between",
            2,
            &[&below_two, &two, &one],
            &[&root],
            Ok(()),
        ),
        (
            "KONG 4.4 depth beyond what is followed",
            u32::MAX,
            &[&direct],
            &[&root],
            Ok(()),
        ),
        (
            "intermediate missing",
            2,
            &[&below_two, &one],
            &[&root],
            verify(Reason::UnknownIssuer),
        ),
        (
            "intermediate listed, not sent",
            1,
            &[&below_one],
            &[&root, &one],
            Ok(()),
        ),
        (
            "only the intermediate listed",
            1,
            &[&below_one, &one],
            &[&one],
            verify(Reason::PartialChain),
        ),
        (
            "another CA",
            1,
            &[&direct],
            &[&other],
            verify(Reason::UnknownIssuer),
        ),
        (
            "self-signed",
            1,
            &[&self_signed],
            &[&root],
            verify(Reason::SelfSigned),
        ),
        (
            "self-signed and listed itself",
            0,
            &[&pinned],
            &[&pinned],
            Ok(()),
        ),
        (
            "leaf expired",
            1,
            &[&expired],
            &[&root],
            verify(Reason::Expired),
        ),
        (
            "root expired",
            1,
            &[&by_old],
            &[&old_root],
            verify(Reason::CaExpired),
        ),
        (
            "extended key usage",
            1,
            &[&for_clients],
            &[&root],
            verify(Reason::Purpose),
        ),
        ("no anchors", 1, &[&direct], &[], verify(Reason::NoTrust)),
    ];
    for (what, depth, sent, listed, expected) in rows {
        for versions in [BOTH, ONLY_TLS12] {
            let tls = UpstreamTls::new(UpstreamSpec {
                depth: *depth,
                versions,
                ..verifying(listed)
            });
            let outcome = core().meet(&tls, "up.test", &server_config(sent, None));
            assert_eq!(outcome.map(drop), *expected, "{what}, {versions:?}");
        }
    }
}

#[test]
fn the_name_is_looked_for_in_the_san_only() {
    let root = ca("Root").self_signed();
    let ip = |text: &str| SanType::IpAddress(text.parse().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let named = leaf("s").names(&[
        dns("up.test"),
        dns("*.wild.test"),
        ip("10.1.2.3"),
        ip("2001:db8::1"),
    ]);
    let named = named.signed_by(&root);
    let only_cn = leaf("up.test").signed_by(&root);
    let address_as_dns = leaf("10.1.2.3").names(&[dns("10.1.2.3")]).signed_by(&root);
    let no = |name: &str| Err(UpstreamError::NameMismatch { name: name.into() });
    let rows = [
        ("RFC 9525 6.3 dNSName", &named, "up.test", Ok(())),
        (
            "RFC 9525 6.3 without regard to case",
            &named,
            "UP.Test",
            Ok(()),
        ),
        ("RFC 9525 6.3 wildcard", &named, "a.wild.test", Ok(())),
        (
            "RFC 9525 6.3 wildcard, one label only",
            &named,
            "a.b.wild.test",
            no("a.b.wild.test"),
        ),
        (
            "RFC 9525 6.3 another name",
            &named,
            "other.test",
            no("other.test"),
        ),
        ("RFC 9525 6.3 CN only", &only_cn, "up.test", no("up.test")),
        ("RFC 9525 6.4 IPv4", &named, "10.1.2.3", Ok(())),
        ("RFC 9525 6.4 IPv6", &named, "2001:db8::1", Ok(())),
        (
            "RFC 9525 6.4 IPv6 in brackets",
            &named,
            "[2001:db8::1]",
            Ok(()),
        ),
        (
            "RFC 9525 6.4 another address",
            &named,
            "10.1.2.4",
            no("10.1.2.4"),
        ),
        (
            "RFC 9525 6.4 address as dNSName",
            &address_as_dns,
            "10.1.2.3",
            no("10.1.2.3"),
        ),
    ];
    let tls = UpstreamTls::new(verifying(&[&root]));
    for (what, server, name, expected) in rows {
        let outcome = core().meet(&tls, name, &server_config(&[server], None));
        assert_eq!(outcome.map(drop), expected, "{what}");
    }
}

#[test]
fn without_verification_only_possession_of_the_key_is_asked() {
    let anything = leaf("s").years(2000, 2010).self_signed();
    let tls = UpstreamTls::new(UpstreamSpec {
        verify: false,
        roots: None,
        ..verifying(&[])
    });
    let honest = server_config(&[&anything], None);
    assert!(core().meet(&tls, "up.test", &honest).is_ok());

    let thief = leaf("s").self_signed();
    for versions in [BOTH, ONLY_TLS12] {
        let tls = UpstreamTls::new(UpstreamSpec {
            versions,
            ..tls.spec.clone()
        });
        let stolen = server_config_with_key(&[&anything], &thief, None);
        let error = core().meet(&tls, "up.test", &stolen).map(drop).unwrap_err();
        assert!(matches!(error, UpstreamError::Handshake { .. }), "{error}");
    }
}

#[test]
fn the_hello_names_hosts_not_addresses_and_offers_no_protocol() {
    let tls = UpstreamTls::new(verifying(&[&ca("Root").self_signed()]));
    for (name, sni) in [
        ("up.test", Some("up.test")),
        ("10.1.2.3", None),
        ("2001:db8::1", None),
    ] {
        let mut client = core().connection(&tls, name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &bytes[..]).unwrap();
        let accepted = acceptor.accept().ok().flatten().unwrap();
        let hello = accepted.client_hello();
        assert_eq!(hello.server_name(), sni);
        assert!(hello.alpn().is_none());
    }
}

#[test]
fn what_cannot_be_used_fails_before_anything_is_sent_and_says_why() {
    let root = ca("Root").self_signed();
    let client = leaf("gateway").self_signed();
    let stranger = leaf("other").self_signed();
    let with = |client: Arc<ClientPair>| UpstreamSpec {
        client: Some(client),
        ..verifying(&[&root])
    };
    let rows = [
        (
            UpstreamSpec {
                roots: None,
                ..verifying(&[])
            },
            "up.test",
            "upstream SSL certificate verify error: (20:no trusted CA certificates are configured)",
        ),
        (
            with(pair(&[&client], &stranger)),
            "up.test",
            "upstream SSL: the client certificate cannot be used: ",
        ),
        (
            UpstreamSpec {
                versions: Versions {
                    tls12: false,
                    tls13: false,
                },
                ..verifying(&[&root])
            },
            "up.test",
            "upstream SSL: cannot be configured: ",
        ),
        (
            verifying(&[&root]),
            "",
            "upstream SSL: \"\" is neither a host name nor an IP address",
        ),
        (
            verifying(&[&root]),
            "a b",
            "upstream SSL: \"a b\" is neither a host name nor an IP address",
        ),
    ];
    for (spec, name, expected) in rows {
        let error = core()
            .connection(&UpstreamTls::new(spec), name)
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn a_refusal_reads_like_nginx_s_log_line() {
    let rows = [
        (
            UpstreamError::Verify {
                reason: Reason::UnknownIssuer,
            },
            "upstream SSL certificate verify error: (20:unable to get local issuer certificate)",
        ),
        (
            UpstreamError::NameMismatch {
                name: "up.test".into(),
            },
            "upstream SSL certificate does not match \"up.test\"",
        ),
    ];
    for (error, expected) in rows {
        assert_eq!(error.to_string(), expected);
    }
}

/// DESIGN.md "One error type per boundary" does not lose the reason: it is the text of the session's error.
#[test]
fn a_session_fails_with_the_words_of_the_refusal() {
    let root = ca("Root").self_signed();
    let rows = [
        (
            leaf("s").dns("up.test").self_signed(),
            "upstream SSL certificate verify error: (18:self-signed certificate)",
        ),
        (
            leaf("s").dns("b.test").signed_by(&root),
            "upstream SSL certificate does not match \"up.test\"",
        ),
    ];
    for (made, expected) in rows {
        let tls = UpstreamTls::new(verifying(&[&root]));
        let mut session = core().connect(&tls, "up.test").unwrap();
        let mut server = ServerConnection::new(server_config(&[&made], None)).unwrap();
        let mut bytes = Vec::new();
        session.take_output(&mut bytes);
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        let error = session.feed(&bytes).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.alert().is_empty() && !error.received_alert());
    }
}

#[test]
fn a_client_pair_in_pem_is_read_and_checked() {
    let one = leaf("gateway").self_signed();
    let key = one.key.serialize_pem();
    let mismatched = ClientPair::from_pem(&one.pem(), &leaf("x").self_signed().key.serialize_pem());
    assert_eq!(mismatched.unwrap().check(), Err(KeyError::Mismatch));
    assert_eq!(
        ClientPair::from_pem(&one.pem(), &key).unwrap().check(),
        Ok(())
    );
    for (certificate, key) in [("", &key[..]), (&one.pem(), ""), ("-----BEGIN", &key)] {
        assert!(ClientPair::from_pem(certificate, key).is_err());
    }
}

#[test]
fn no_key_shows_in_debug_output() {
    let client = leaf("gateway").self_signed();
    let text = format!(
        "{:?}",
        UpstreamTls::new(UpstreamSpec {
            client: Some(pair(&[&client], &client)),
            ..verifying(&[])
        })
    );
    let key = client.key.serialized_der();
    assert!(text.contains("ClientPair {"), "{text}");
    assert!(
        !text.contains(&format!("{:?}", &key[..8]).replace(['[', ']'], "")),
        "{text}"
    );
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn core() -> CoreUpstream {
    CoreUpstream::new(&provider::choose(provider::Mode::AwsLc))
}

fn roots(listed: &[&Made]) -> Arc<Roots> {
    let named = listed
        .iter()
        .map(|made| ("test".to_owned(), made.der.clone()));
    Arc::new(Roots::from_ders(named.collect()).unwrap())
}

fn verifying(listed: &[&Made]) -> UpstreamSpec {
    UpstreamSpec {
        client: None,
        verify: true,
        depth: 1,
        roots: Some(roots(listed)),
        versions: BOTH,
    }
}

fn pair(chain: &[&Made], key: &Made) -> Arc<ClientPair> {
    let chain: String = chain.iter().map(|made| made.pem()).collect();
    Arc::new(ClientPair::from_pem(&chain, &key.key.serialize_pem()).unwrap())
}

fn server_config(chain: &[&Made], client_root: Option<&Made>) -> Arc<ServerConfig> {
    server_config_with_key(chain, chain[0], client_root)
}

/// With the key of `key`, whose certificate need not be `chain[0]`.
fn server_config_with_key(
    chain: &[&Made],
    key: &Made,
    client_root: Option<&Made>,
) -> Arc<ServerConfig> {
    let ders = chain
        .iter()
        .map(|made| CertificateDer::from(made.der.clone()));
    let key = PrivateKeyDer::try_from(key.key.serialize_der()).unwrap();
    let signing = crypto().key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(ders.collect(), signing);
    let builder = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_root {
        Some(root) => {
            let mut store = RootCertStore::empty();
            store.add(CertificateDer::from(root.der.clone())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), crypto());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

impl CoreUpstream {
    /// A handshake in memory, both ways until nothing is left to say.
    fn meet(
        &mut self,
        tls: &UpstreamTls,
        name: &str,
        server: &Arc<ServerConfig>,
    ) -> Result<(ClientConnection, ServerConnection), UpstreamError> {
        let mut client = self.connection(tls, name)?;
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let handshake = |why: rustls::Error| UpstreamError::of(&why);
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut unread = &bytes[..];
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets().map_err(handshake)?;
            }
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut unread = &bytes[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets().map_err(handshake)?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok((client, server))
    }
}
