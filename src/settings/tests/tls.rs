use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::tls::{SUITES, ciphers, groups};
use super::*;

const CERT: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

/// KONG.md §4.2, wire texts.
#[test]
fn halves_of_pairs_are_refused_in_kongs_words() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("ssl_cert", "a")], "ssl_cert_key must be specified"),
        (&[("ssl_cert_key", "a")], "ssl_cert must be specified"),
        (
            &[("ssl_cert", "a,b"), ("ssl_cert_key", "a")],
            "ssl_cert was specified 2 times while ssl_cert_key was specified 1 times",
        ),
        (
            &[("status_ssl_cert", "a")],
            "status_ssl_cert_key must be specified",
        ),
        (
            &[("admin_ssl_cert_key", "a")],
            "admin_ssl_cert must be specified",
        ),
        (
            &[("client_ssl", "on"), ("client_ssl_cert", "a")],
            "client_ssl_cert_key must be specified",
        ),
        (
            &[("client_ssl", "on"), ("client_ssl_cert_key", "a")],
            "client_ssl_cert must be specified",
        ),
    ];
    for (set, expected) in rows {
        let problems = with(set).expect_err(expected);
        assert_eq!(texts(&problems), [format!("flag --set: {expected}")]);
    }
    // §11 point 16: the generated pair is shown.
    assert!(with(&[("client_ssl", "on")]).is_ok());
}

/// KONG.md §4.3: each value a path, a PEM text, or base64 of PEM.
#[test]
fn certificates_come_as_path_text_or_base64() {
    let list = format!("/etc/a.pem, {CERT}, {}", STANDARD.encode(CERT));
    let settings = with(&[("ssl_cert", &list), ("ssl_cert_key", "1,2,3")])
        .expect("three pairs")
        .settings;
    assert_eq!(settings.ssl_cert[0], PemSource::Path("/etc/a.pem".into()));
    assert!(
        settings.ssl_cert[1..]
            .iter()
            .all(|source| matches!(source, PemSource::Text(text) if text.trim() == CERT.trim()))
    );
    assert_eq!(settings.ssl_pairs().count(), 3);
}

#[test]
fn key_texts_are_shown_nowhere() {
    let bare = STANDARD.encode([&[0x30, 0x2e][..], &[7; 46]].concat());
    for key in [KEY.to_owned(), STANDARD.encode(KEY), bare] {
        let loaded = with(&[("ssl_cert", "/c.pem"), ("ssl_cert_key", &key)]).expect("a pair");
        let shown = [
            format!("{:?}", loaded.settings),
            effective_text(&loaded),
            loaded.settings.ssl_cert_key[0].to_string(),
        ];
        let problems =
            with(&[("log_level", &key), ("prefix", &format!("\0{key}"))]).expect_err("not a level");
        let secret = &key[key.len() / 2..key.len() / 2 + 8];
        for text in shown.into_iter().chain(texts(&problems)) {
            assert!(
                !text.contains(secret) && !text.contains("c2VjcmV0"),
                "{text}"
            );
        }
    }
}

/// KONG.md §4.3, table of suites.
#[test]
fn profiles_set_versions_and_ciphers() {
    let ids = |settings: &Settings| {
        settings
            .ssl_ciphers
            .iter()
            .map(|suite| suite.id())
            .collect::<Vec<u16>>()
    };
    let modern = with(&[("ssl_cipher_suite", "modern")])
        .expect("modern")
        .settings;
    assert_eq!(modern.ssl_protocols, [TlsVersion::Tls13]);
    assert_eq!(ids(&modern), [0x1301, 0x1302, 0x1303]);
    let intermediate = with(&[]).expect("defaults").settings;
    assert_eq!(
        intermediate.ssl_protocols,
        [TlsVersion::Tls12, TlsVersion::Tls13]
    );
    assert_eq!(
        ids(&intermediate),
        [
            0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8
        ]
    );
    let custom = with(&[
        ("ssl_cipher_suite", "custom"),
        ("ssl_protocols", "TLSv1.2"),
        ("ssl_ciphers", "ECDHE-RSA-AES256-GCM-SHA384"),
    ]);
    let custom = custom.expect("custom").settings;
    assert_eq!(custom.ssl_protocols, [TlsVersion::Tls12]);
    assert_eq!(ids(&custom), [0x1301, 0x1302, 0x1303, 0xc030]);
}

#[test]
fn a_version_without_a_cipher_and_custom_without_a_list_are_refused() {
    let rows: &[&[(&str, &str)]] = &[
        &[("ssl_cipher_suite", "custom")],
        &[
            ("ssl_cipher_suite", "custom"),
            ("ssl_ciphers", "TLS_AES_128_GCM_SHA256"),
        ],
        &[
            ("ssl_cipher_suite", "custom"),
            (
                "ssl_ciphers",
                "ECDHE-RSA-AES128-GCM-SHA256:!TLS_AES_128_GCM_SHA256:!TLS_AES_256_GCM_SHA384:!TLS_CHACHA20_POLY1305_SHA256",
            ),
        ],
    ];
    for set in rows {
        let problems = with(set).expect_err("no cipher for a version");
        assert!(
            problems.len() == 1 && problems[0].directive == "ssl_ciphers",
            "{:?}",
            texts(&problems)
        );
    }
    let tls13_alone = [
        ("ssl_cipher_suite", "custom"),
        ("ssl_protocols", "TLSv1.3"),
        ("ssl_ciphers", "TLS_AES_128_GCM_SHA256"),
    ];
    assert_eq!(
        with(&tls13_alone).expect("1.3 alone").settings.ssl_ciphers,
        [CipherSuite::Tls13Aes128GcmSha256]
    );
}

#[test]
fn cipher_names_are_openssls_and_order_is_kept() {
    for (name, suite) in SUITES {
        assert!(
            ciphers(name).is_ok_and(|list| list.contains(&suite)),
            "{name}"
        );
    }
    let order =
        ciphers("ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256").expect("two names");
    assert_eq!(
        order[3..],
        [
            CipherSuite::EcdheRsaChacha20Poly1305,
            CipherSuite::EcdheRsaAes128GcmSha256
        ]
    );
    for (text, named) in [
        (
            "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
            "`DHE-RSA-AES256-GCM-SHA384`",
        ),
        ("EECDH+AESGCM", "`EECDH+AESGCM`"),
        ("ECDHE-RSA-AES128-GCM-SHA256:!AESGCM", "`AESGCM`"),
        (
            "ECDHE-RSA-AES128-GCM-SHA256:!ECDHE-RSA-AES128-GCM-SHA256",
            "leaves no cipher",
        ),
        ("!aNULL", "leaves no cipher"),
    ] {
        let why = ciphers(text).expect_err(text);
        assert!(why.contains(named), "{text}: {why}");
    }
}

#[test]
fn groups_keep_their_order() {
    let ids = |text: &str| {
        groups(text).map(|groups| groups.iter().map(|group| group.id()).collect::<Vec<_>>())
    };
    assert_eq!(
        ids("X25519MLKEM768:X25519:P-256:P-384"),
        Ok(vec![0x11ec, 0x1d, 0x17, 0x18])
    );
    assert_eq!(ids("secp384r1:prime256v1"), Ok(vec![0x18, 0x17]));
    assert_eq!(ids("auto"), ids("X25519MLKEM768:X25519:P-256:P-384"));
}
