//! The same rules on real certificates: what `tls_glue` connects does work together.
use super::*;
use crate::plugin::{Admitted, ClientFacts, Request, Verdict};
use crate::snapshot::tls_glue::Tls;
use crate::tls::client_auth::{self, ClientChain, Work};
use crate::tls::provider;
use crate::tls::server::ServerSettings;
use crate::tls::trust::TrustSet;
use crate::tls::upstream::Versions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

struct Pem {
    cert: String,
    key: String,
    der: Vec<u8>,
}

fn params(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, cn);
    params
}

fn authority(cn: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(cn: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> Pem {
    let key = KeyPair::generate().unwrap();
    let cert = params(cn).signed_by(&key, issuer).unwrap();
    Pem {
        cert: cert.pem(),
        key: key.serialize_pem(),
        der: cert.der().to_vec(),
    }
}

/// 2026-01-01, within what rcgen fills in as validity.
const NOW: u64 = 1_767_225_600;

#[test]
fn a_client_is_admitted_by_its_real_chain() {
    let (ours, theirs) = (authority("our CA"), authority("their CA"));
    let shown = leaf("gateway", &ours);
    let tables = Tables::default()
        .with(Kind::CaCertificates, 0xA1, json!({"cert": ours.pem()}))
        .with(
            Kind::Certificates,
            0xC1,
            json!({"cert": shown.cert, "key": shown.key}),
        )
        .with(
            Kind::Snis,
            11,
            json!({"name": "*.acme.test", "certificate": to(0xC1)}),
        )
        .with(
            Kind::Services,
            2,
            json!({"client_certificate": to(0xC1), "ca_certificates": [id(0xA1)]}),
        )
        .with(
            Kind::Routes,
            1,
            json!({"service": to(2), "snis": ["api.acme.test"]}),
        )
        .with(Kind::Consumers, 3, json!({"username": "alice"}))
        .with(
            Kind::Plugins,
            50,
            mtls(json!({"route": to(1), "config": {
                "ca_certificates": [id(0xA1)], "send_ca_dn": true, "consumer_by": ["username"],
            }})),
        );
    let tls = Tls {
        upstream_versions: Versions {
            tls12: true,
            tls13: true,
        },
    };
    let globals = Globals::<Tls> {
        default_pairs: Vec::new(),
        server: Arc::new(ServerSettings::new(provider::choose(
            provider::Mode::default(),
        ))),
        client_pair: None,
        proxy_ssl_verify: None,
        tls_certificate_verify: true,
        verify_depth: 1,
        proxy_trust: None,
        fallback_trust: None,
        fallback_verify_depth: 1,
        traditional: false,
        advised: false,
    };
    let (snapshot, warnings) = Compiler::new(globals.clone())
        .full(&tls, &tables.0, &globals)
        .unwrap();
    assert_eq!(warnings, []);
    assert!(tls_of(&snapshot).verifies());
    let asked = |sni: &str| snapshot.server.request_for(Some(sni));
    assert!(asked("other.acme.test").is_none(), "§5.2");
    assert_eq!(
        asked("api.acme.test").expect("§5.2").ca_names.len(),
        1,
        "§5.2"
    );

    let chain = |cn, issuer| Some(Arc::new(ClientChain::new(vec![leaf(cn, issuer).der])));
    let table = [
        ("§5.10.1", chain("alice", &ours), "alice"),
        ("§5.3 no consumer", chain("mallory", &ours), "401"),
        ("§5.10.4 wrong CA", chain("alice", &theirs), "401"),
        ("§5.10.4 none", None, "401"),
    ];
    for (rule, client, expected) in table {
        let request = Request {
            client: client.as_ref(),
            consumers: &snapshot.consumers,
        };
        let mut judge = |chain: &Arc<ClientChain>, trust: &Arc<TrustSet>| match client_auth::judge(
            chain,
            trust,
            NOW,
            &mut Work::default(),
        ) {
            client_auth::Verdict::Trusted(trusted) => Ok(trusted as Arc<dyn ClientFacts>),
            client_auth::Verdict::Refused(reason) => Err(reason.text().to_string()),
        };
        let route = first(&snapshot);
        let mut admitted = Admitted::default();
        let verdict = route.plugins.access(
            &route.consumer_plugins,
            &request,
            &mut judge,
            &|_| false,
            &mut admitted,
        );
        let found = match verdict {
            Verdict::Answer(answer) => answer.status.to_string(),
            Verdict::Continue => admitted
                .consumer
                .unwrap()
                .username
                .as_deref()
                .unwrap()
                .into(),
        };
        assert_eq!(found, expected, "{rule}");
    }
}
