//! KONG.md §4.1, §4.2: which certificate a client is shown.

use crate::support::client::{TLS12, TLS13, TlsOptions};
use crate::support::entities::{certificate, id, service};
use crate::support::external::s_client;
use crate::support::upstream::common_name;
use crate::support::{Ca, Leaf, Pair, Setup, TlsClient, Upstream, json};
use std::os::unix::fs::MetadataExt;

fn named(name: &str) -> Pair {
    Leaf::new(name).dns(&[name]).self_signed()
}

fn shown(address: std::net::SocketAddr, sni: &str) -> String {
    let client = TlsClient::new().connect(address, sni);
    common_name(&client.server_chain()[0])
}

#[test]
fn certificate_follows_the_order_of_names() {
    let declarative = |star: bool| {
        let mut certificates = vec![
            certificate(1, &named("exact"), &["a.example.com"]),
            certificate(2, &named("left"), &["*.example.com"]),
            certificate(3, &named("right"), &["example.*"]),
        ];
        if star {
            certificates.push(certificate(4, &named("star"), &["*"]));
        }
        json!({ "certificates": certificates })
    };
    let gateway = Setup::new(declarative(true))
        .default_pair(&named("default"))
        .start();
    // (§4.1 step, SNI, certificate with an entity for *, without)
    let rows = [
        ("0", "", "default", "default"),
        ("1", "a.example.com", "exact", "exact"),
        ("2", "b.example.com", "left", "left"),
        ("2 one level only", "x.b.example.com", "star", "default"),
        ("2 three labels at least", "example.com", "right", "right"),
        ("3", "example.org", "right", "right"),
        ("4, 5", "other.test", "star", "default"),
        ("4, 5", "localhost", "star", "default"),
    ];
    for (step, sni, with_star, _) in rows {
        assert_eq!(
            shown(gateway.https(), sni),
            with_star,
            "step {step}, sni {sni:?}"
        );
    }
    let (_, upper) = s_client(gateway.https(), &["-servername", "A.Example.COM"], "");
    assert!(
        upper.contains("CN = exact"),
        "names are compared without case: {upper}"
    );
    gateway.reload(declarative(false));
    for (step, sni, _, without_star) in rows {
        assert_eq!(
            shown(gateway.https(), sni),
            without_star,
            "step {step}, sni {sni:?}, no *"
        );
    }
}

#[test]
fn rsa_or_ecdsa_by_what_the_client_can_verify() {
    let ca = Ca::root("ca");
    let (rsa, ec) = (
        ca.sign(Leaf::new("entity-rsa").rsa()),
        ca.sign(Leaf::new("entity-ec")),
    );
    let (default_rsa, default_ec) = (
        Leaf::new("default-rsa").rsa().self_signed(),
        Leaf::new("default-ec").self_signed(),
    );
    let gateway = Setup::new(json!({"certificates": [{
        "id": id(1), "cert": rsa.cert_pem, "key": rsa.key_pem,
        "cert_alt": ec.cert_pem, "key_alt": ec.key_pem, "snis": [{"name": "dual.test"}],
    }]}))
    .file("rsa.crt", &default_rsa.cert_pem)
    .file("rsa.key", &default_rsa.key_pem)
    .file("ec.crt", &default_ec.cert_pem)
    .file("ec.key", &default_ec.key_pem)
    .set("ssl_cert", "@rsa.crt, @ec.crt")
    .set("ssl_cert_key", "@rsa.key, @ec.key")
    .start();
    // (arguments, kind of certificate)
    let rows: [(&[&str], &str); 6] = [
        (&["-tls1_2", "-sigalgs", "RSA+SHA256"], "rsa"),
        (&["-tls1_2", "-sigalgs", "ECDSA+SHA256"], "ec"),
        (&["-tls1_2"], "ec"),
        (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "rsa"),
        (&["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], "ec"),
        (&["-tls1_3"], "ec"),
    ];
    for (arguments, kind) in rows {
        for (sni, owner) in [("dual.test", "entity"), ("other.test", "default")] {
            let mut all = vec!["-servername", sni];
            all.extend(arguments);
            let (_, output) = s_client(gateway.https(), &all, "");
            assert!(
                output.contains(&format!("CN = {owner}-{kind}")),
                "{all:?}: {output}"
            );
        }
    }
}

#[test]
fn the_chain_is_sent_as_given() {
    let root = Ca::root("root");
    let middle = root.intermediate("middle");
    let pair = middle.server(&["chain.test"]);
    let gateway =
        Setup::new(json!({"certificates": [certificate(1, &pair, &["chain.test"])]})).start();
    for version in [TLS12, TLS13] {
        let client = TlsClient::with(TlsOptions {
            versions: vec![version],
            ..TlsOptions::default()
        });
        let chain = client.connect(gateway.https(), "chain.test").server_chain();
        assert_eq!(chain, pair.chain);
    }
}

#[test]
fn reload_swaps_certificates_for_new_handshakes_only() {
    let upstream = Upstream::echo();
    let with = |pair: &Pair| {
        json!({
            "certificates": [certificate(1, pair, &["a.test"])],
            "services": [service("s", &upstream, json!({"paths": ["/"]}))],
        })
    };
    let gateway = Setup::new(with(&named("old")))
        .default_pair(&named("old-default"))
        .start();
    let mut open = TlsClient::new().connect(gateway.https(), "a.test");
    open.get("a.test", "/").assert_status(200);
    let new_default = named("new-default");
    gateway.write("default.crt", &new_default.cert_pem);
    gateway.write("default.key", &new_default.key_pem);
    gateway.reload(with(&named("new")));
    assert_eq!(shown(gateway.https(), "a.test"), "new");
    assert_eq!(shown(gateway.https(), "b.test"), "new-default");
    open.get("a.test", "/").assert_status(200);
    gateway.reload(json!({"services": [service("s", &upstream, json!({"paths": ["/"]}))]}));
    assert_eq!(
        shown(gateway.https(), "a.test"),
        "new-default",
        "its entity is gone"
    );
}

#[test]
fn the_generated_default_pair_is_private_and_kept() {
    // Ready means configured: one route is enough.
    let gateway = Setup::new(json!({"routes": [{"name": "r", "paths": ["/"]}]}))
        .set("ssl_cert", "")
        .set("ssl_cert_key", "")
        .start();
    let folder = gateway.files().folder().join("prefix/ssl");
    for (cert, key, kind) in [
        ("kong-default.crt", "kong-default.key", "RSA+SHA256"),
        (
            "kong-default-ecdsa.crt",
            "kong-default-ecdsa.key",
            "ECDSA+SHA256",
        ),
    ] {
        let mode = std::fs::metadata(folder.join(key))
            .expect("the key file")
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
        assert!(folder.join(cert).exists(), "{cert}");
        let (_, output) = s_client(gateway.https(), &["-tls1_2", "-sigalgs", kind], "");
        assert!(output.contains("CN = localhost"), "{kind}: {output}");
        assert!(output.contains("O = Kong"), "{kind}: {output}");
    }
}
