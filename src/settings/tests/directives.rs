//! Every directive: values that are taken and values that are refused. As long as the list of directives.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::super::values::{cpu_list, seconds, size, time};
use super::*;

/// Accepted, refused.
type Values = (&'static [&'static str], &'static [&'static str]);

const SWITCH: Values = (
    &["on", "off", "true", "FALSE", "On"],
    &["yes", "1", "0", "enabled", "on off"],
);
const LOG: Values = (
    &[
        "off",
        "/dev/stdout",
        "/dev/stderr",
        "logs/x.log",
        "/var/log/x.log",
    ],
    &["syslog:server=10.0.0.1"],
);
const WAIT: Values = (
    &["1", "60s", "500ms", "1h30m", "1d"],
    &[
        "0",
        "-1",
        "1x",
        "s",
        "1.5s",
        "1m1h",
        "99y",
        "99999999999999999999",
    ],
);
const SECONDS: Values = (&["0", "30", "0.5", "5m"], &["-1", "0.5s", "x", ".5", "1."]);
const DEPTH: Values = (&["0", "1", "100"], &["-1", "101", "x", "+1"]);
const PEMS: Values = (&["/etc/x.pem", "a.pem, b.pem"], &["a\0b"]);
const PATH: Values = (&["/etc/x", "relative/x"], &["a\0b"]);
const LISTENERS: Values = (
    &["off", "0.0.0.0:1", "[::]:1 ssl"],
    &["8000", "0.0.0.0:8000 quic"],
);

/// Directive; accepted; refused. Pairs of certificates and keys are set together in `accepted`.
const ROWS: &[(&str, Values)] = &[
    ("prefix", (&["/srv/x", "here"], &["a\0b"])),
    (
        "log_level",
        (
            &[
                "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg",
            ],
            &["loud", "5"],
        ),
    ),
    ("proxy_access_log", LOG),
    ("proxy_error_log", LOG),
    ("admin_access_log", LOG),
    ("admin_error_log", LOG),
    ("status_access_log", LOG),
    ("status_error_log", LOG),
    (
        "nginx_worker_processes",
        (&["auto", "1", "64"], &["0", "-1", "many", "4097"]),
    ),
    (
        "cores",
        (
            &["auto", "0", "0-3,8", "8,0-3"],
            &["3-0", "0,0", "0-3,2", "a", "0-", "0,,1", "0-4000000000"],
        ),
    ),
    (
        "control_core",
        (&["auto", "0", "63"], &["-1", "0-1", "4096"]),
    ),
    ("engine", (&["auto", "io_uring", "epoll"], &["kqueue"])),
    ("accept_steering", (&["cpu", "hash"], &["random"])),
    ("drain_timeout", WAIT),
    (
        "database",
        (
            &["embedded", "off", "OFF"],
            &["postgres", "cassandra", "on", "sqlite"],
        ),
    ),
    ("declarative_config", PATH),
    (
        "declarative_config_string",
        (&["{\"_format_version\": \"3.0\"}"], &[]),
    ),
    (
        "plugins",
        (
            &["bundled", "off", "acl", "bundled, mine", "acl,acl"],
            &["off,acl"],
        ),
    ),
    (
        "router_flavor",
        (
            &["traditional_compatible", "traditional"],
            &["expressions", "other"],
        ),
    ),
    ("proxy_listen", LISTENERS),
    ("admin_listen", LISTENERS),
    ("admin_ssl_client_ca", PEMS),
    ("admin_listen_unprotected", SWITCH),
    (
        "admin_hosts",
        (
            &["gateway.internal", "a.test, 192.0.2.1", "::1"],
            &["a.test:8001", "http://a.test", "a b"],
        ),
    ),
    (
        "admin_gui_url",
        (
            &[
                "http://localhost:8002",
                "https://gui.test/km, http://a.test",
            ],
            &["localhost:8002", "https://", "ftp://a.test", "https:///x"],
        ),
    ),
    (
        "nginx_admin_client_max_body_size",
        (&["0", "8k", "10m"], &["8kb", "-1"]),
    ),
    ("status_listen", LISTENERS),
    ("stream_listen", (&["off"], &["0.0.0.0:9000"])),
    (
        "port_maps",
        (
            &["80:8000", "80:8000, 443:8443"],
            &["80", "80:0", "80:8000:1", "x:1", "65536:1"],
        ),
    ),
    (
        "trusted_ips",
        (
            &["10.0.0.0/8", "::1, 192.0.2.1", "0.0.0.0/0,::/0"],
            &["unix:", "10.0.0.0/33", "::/129", "host", "10.0.0/8"],
        ),
    ),
    (
        "real_ip_header",
        (
            &["X-Real-IP", "x-forwarded-for", "proxy_protocol"],
            &["X Real", "a:b"],
        ),
    ),
    ("real_ip_recursive", SWITCH),
    ("ssl_cert", PEMS),
    ("ssl_cert_key", PEMS),
    ("status_ssl_cert", PEMS),
    ("status_ssl_cert_key", PEMS),
    ("admin_ssl_cert", PEMS),
    ("admin_ssl_cert_key", PEMS),
    (
        "ssl_cipher_suite",
        (
            &["modern", "intermediate", "Modern"],
            &["old", "fips", "strong"],
        ),
    ),
    (
        "ssl_ciphers",
        (
            &[
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256:!aNULL",
            ],
            &["HIGH", "DHE-RSA-AES128-GCM-SHA256", "AES128-SHA"],
        ),
    ),
    (
        "ssl_protocols",
        (
            &["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3", "TLSv1.3,TLSv1.2"],
            &["TLSv1.1", "SSLv3 TLSv1.2", "TLSv1", "1.3"],
        ),
    ),
    ("ssl_prefer_server_ciphers", SWITCH),
    (
        "ssl_groups",
        (
            &[
                "X25519",
                "P-256:P-384",
                "X25519MLKEM768:X25519",
                "auto",
                "prime256v1",
            ],
            &["P-521", "X25519:X25519", ":"],
        ),
    ),
    ("ssl_session_tickets", SWITCH),
    (
        "ssl_session_timeout",
        (&["1d", "10m", "7d", "2"], &["0", "1s", "8d", "x"]),
    ),
    (
        "ssl_session_cache_size",
        (
            &["10m", "8k", "1G", "4096"],
            &["10x", "m", "-1", "1.5m", "99999999999g"],
        ),
    ),
    ("ssl_dhparam", (&["ffdhe2048", "/etc/dh.pem"], &["a\0b"])),
    (
        "tls_provider",
        (&["auto", "mixed", "aws-lc", "ring"], &["openssl"]),
    ),
    ("client_ssl", SWITCH),
    ("client_ssl_cert", PATH),
    ("client_ssl_cert_key", PATH),
    (
        "lua_ssl_trusted_certificate",
        (&["system", "system, /etc/x.pem"], &["a\0b"]),
    ),
    ("lua_ssl_verify_depth", DEPTH),
    ("tls_certificate_verify", SWITCH),
    ("nginx_proxy_proxy_ssl_verify", SWITCH),
    ("nginx_proxy_proxy_ssl_trusted_certificate", PATH),
    ("nginx_proxy_proxy_ssl_verify_depth", DEPTH),
    (
        "upstream_keepalive_pool_size",
        (&["0", "512"], &["-1", "x", "1048577"]),
    ),
    (
        "upstream_keepalive_max_requests",
        (&["0", "10000"], &["-1", "x", "4294967296"]),
    ),
    ("upstream_keepalive_idle_timeout", SECONDS),
    ("ssl_handshake_timeout", WAIT),
    ("nginx_http_client_header_timeout", WAIT),
    ("nginx_http_client_body_timeout", WAIT),
    ("client_body_min_rate", (&["0", "240"], &["-1", "1k"])),
    (
        "nginx_http_keepalive_timeout",
        (&["0", "75s"], &["75s 60s", "x"]),
    ),
    (
        "nginx_http_keepalive_requests",
        (&["1", "10000"], &["0", "x"]),
    ),
    (
        "nginx_http_client_max_body_size",
        (&["0", "8k", "1m", "1g"], &["8kb", "-1"]),
    ),
    (
        "nginx_http_large_client_header_buffers",
        (
            &["4 8k", "64 64k", "1 512"],
            &["4", "4 8k 1", "0 8k", "65 8k", "4 65k", "4 511", "x 8k"],
        ),
    ),
    ("nginx_http_send_timeout", WAIT),
    (
        "request_field_count_max",
        (&["1", "100", "256"], &["0", "257"]),
    ),
    (
        "connections_max",
        (&["1", "auto", "1048576"], &["0", "1048577", "x"]),
    ),
    (
        "handshakes_in_flight_max",
        (&["1", "65536"], &["0", "65537"]),
    ),
    ("client_verdict_grace", (&["0", "5s"], &["x"])),
    (
        "headers",
        (
            &["off", "server_tokens", "x-kong-request-id, Via"],
            &["off, Via", "X-Other"],
        ),
    ),
    (
        "headers_upstream",
        (&["off", "X-Kong-Request-Id"], &["server_tokens"]),
    ),
    (
        "error_default_type",
        (
            &[
                "text/plain",
                "text/html",
                "application/json",
                "application/xml",
            ],
            &["text/css"],
        ),
    ),
    ("allow_debug_header", SWITCH),
    ("error_template_html", PATH),
    ("error_template_json", PATH),
    ("error_template_plain", PATH),
    ("error_template_xml", PATH),
    (
        "dns_resolver",
        (
            &["10.0.0.2", "10.0.0.2:5353, [::1]:53", "::1", "[::1]"],
            &["host", "10.0.0.2:x", "[::1"],
        ),
    ),
    ("dns_hostsfile", PATH),
    (
        "dns_order",
        (&["LAST,SRV,A,CNAME", "aaaa,a"], &["SRV", "MX,A"]),
    ),
    ("dns_valid_ttl", SECONDS),
    ("dns_stale_ttl", SECONDS),
    ("dns_not_found_ttl", SECONDS),
    ("dns_error_ttl", SECONDS),
];

/// What a directive needs beside it to be in order.
fn companion(name: &str, value: &str) -> Vec<(&'static str, String)> {
    let half = |cert: &'static str, key: &'static str| {
        vec![(if name == cert { key } else { cert }, value.to_owned())]
    };
    match name {
        "ssl_cert" | "ssl_cert_key" => half("ssl_cert", "ssl_cert_key"),
        "status_ssl_cert" | "status_ssl_cert_key" => half("status_ssl_cert", "status_ssl_cert_key"),
        "admin_ssl_cert" | "admin_ssl_cert_key" => half("admin_ssl_cert", "admin_ssl_cert_key"),
        "ssl_ciphers" => vec![("ssl_cipher_suite", "custom".into())],
        "declarative_config" | "declarative_config_string" => vec![("database", "off".into())],
        "admin_listen" => vec![("admin_listen_unprotected", "on".into())],
        _ => Vec::new(),
    }
}

#[test]
fn every_directive_takes_its_values_and_refuses_others() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
    let table: BTreeSet<&str> = TABLE.iter().map(|directive| directive.name).collect();
    assert_eq!(rows, table);
    for (name, (accepted, refused)) in ROWS {
        assert!(!accepted.is_empty(), "{name}");
        for value in *accepted {
            let beside = companion(name, value);
            let mut set = vec![(*name, *value)];
            set.extend(beside.iter().map(|(name, value)| (*name, value.as_str())));
            let loaded = with(&set).map_err(|problems| texts(&problems));
            assert!(loaded.is_ok(), "{name} = {value}: {loaded:?}");
        }
        for value in *refused {
            let problems = with(&[(name, value)]).expect_err(&format!("{name} = {value}"));
            let own = problems.iter().find(|problem| problem.directive == *name);
            let own = own.unwrap_or_else(|| panic!("{name} = {value}: {:?}", texts(&problems)));
            assert_eq!(own.source, Source::Flag("--set"), "{name} = {value}");
            assert!(
                own.to_string()
                    .starts_with(&format!("flag --set: {name}: ")),
                "{own}"
            );
        }
    }
}

#[test]
fn names_are_unique_and_documented() {
    let mut seen = BTreeSet::new();
    for directive in TABLE {
        for name in std::iter::once(&directive.name).chain(directive.aliases) {
            assert!(seen.insert(*name), "{name}");
        }
        assert!(
            directive.doc.trim().ends_with('.') && directive.doc.len() > 10,
            "{}",
            directive.name
        );
        assert_eq!(
            directive.name.starts_with("nginx_") && directive.name != "nginx_worker_processes",
            directive.origin == Origin::Nginx,
            "{}",
            directive.name
        );
    }
}

#[test]
fn defaults_are_kongs_where_kong_has_one() {
    let Settings { proxy_listen, .. } = Settings::default();
    assert_eq!(proxy_listen.len(), 2);
    assert!(
        proxy_listen
            .iter()
            .all(|listen| listen.reuseport && listen.backlog == Some(16_384))
    );
    assert_eq!(
        proxy_listen
            .iter()
            .map(|listen| (listen.addr.port(), listen.ssl, listen.http2))
            .collect::<Vec<_>>(),
        [(8000, false, false), (8443, true, true)]
    );
    let loaded = with(&[]).expect("defaults are in order");
    assert_eq!(warned(&loaded), Vec::<String>::new());
    let settings = loaded.settings;
    assert_eq!(settings.status_listen[0].addr.to_string(), "127.0.0.1:8007");
    assert_eq!(settings.upstream_keepalive_pool_size, 512);
    assert_eq!(settings.upstream_keepalive_max_requests, 10_000);
    assert_eq!(
        settings.upstream_keepalive_idle_timeout,
        Duration::from_secs(60)
    );
    assert_eq!(settings.client_max_body_size, None);
    assert_eq!(settings.large_client_header_buffers.head_size_max(), 32_768);
    assert_eq!(settings.large_client_header_buffers.line_size_max(), 8_192);
    assert_eq!(settings.ssl_session_timeout, Duration::from_secs(86_400));
    assert_eq!(settings.ticket_epoch(), Duration::from_secs(43_200));
    assert_eq!(settings.lua_ssl_trusted_certificate, [TrustSource::System]);
    assert_eq!(
        settings.real_ip_header,
        RealIpHeader::Field("x-real-ip".into())
    );
    assert_eq!(settings.error_default_type, ErrorType::Plain);
    assert_eq!(settings.plugins, PLUGINS_SERVED);
    assert!(
        settings.headers.server
            && settings.headers.via
            && settings.headers.request_id
            && !settings.headers.upstream_status
    );
    assert!(
        settings.tls_certificate_verify
            && settings.proxy_ssl_verify.is_none()
            && settings.headers_upstream.request_id
            && !settings.client_ssl
    );
}

#[test]
fn nginx_times_and_sizes_have_their_units() {
    let times: &[(&str, u64)] = &[
        ("0", 0),
        ("30", 30_000),
        ("500ms", 500),
        ("10m", 600_000),
        ("1h30m", 5_400_000),
        ("1d 2h", 93_600_000),
        ("1w", 604_800_000),
        ("1M", 2_592_000_000),
        ("1y", 31_536_000_000),
    ];
    for (text, ms) in times {
        assert_eq!(time(text), Ok(Duration::from_millis(*ms)), "{text}");
    }
    for text in ["", " ", "1s1s", "1s30", "30 s", "1S", "1ms1s", "m", "1é"] {
        assert!(time(text).is_err(), "{text}");
    }
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    assert_eq!(seconds("4.025"), Ok(Duration::from_millis(4_025)));
    let sizes: &[(&str, u64)] = &[
        ("0", 0),
        ("512", 512),
        ("8k", 8_192),
        ("8K", 8_192),
        ("1m", 1 << 20),
        ("2G", 2 << 30),
    ];
    for (text, bytes) in sizes {
        assert_eq!(size(text), Ok(*bytes), "{text}");
    }
    assert_eq!(cpu_list("8, 0-2"), Ok(vec![8, 0, 1, 2]));
}

#[test]
fn address_blocks_hold_what_their_prefix_says() {
    let rows: &[(&str, &str, bool)] = &[
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.1.2.3/8", "10.9.9.9", true),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("0.0.0.0/0", "203.0.113.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
    ];
    for (block, ip, inside) in rows {
        let settings = with(&[("trusted_ips", block)]).expect(block).settings;
        assert_eq!(
            settings.trusted_ips[0].contains(ip.parse::<IpAddr>().expect(ip)),
            *inside,
            "{ip} in {block}"
        );
    }
}

#[test]
fn port_maps_are_pairs_of_the_public_and_the_listening_port() {
    let settings = with(&[("port_maps", "80:8000, 443:8443")])
        .expect("pairs")
        .settings;
    let pairs = settings.port_maps.iter();
    let pairs: Vec<_> = pairs.map(|map| (map.public, map.listening)).collect();
    assert_eq!(pairs, [(80, 8000), (443, 8443)]);
}

/// §7.3 and the issue: what is taken although it does less than in Kong says so.
#[test]
fn accepted_values_that_do_less_are_warned_about() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (
            &[
                ("admin_ssl_client_ca", "/ca.pem"),
                ("admin_listen", "127.0.0.1:8001"),
            ],
            "admin_ssl_client_ca: does not count: no listener",
        ),
        (
            &[("ssl_session_cache_size", "10m")],
            "ssl_session_cache_size: is not used",
        ),
        (&[("ssl_dhparam", "ffdhe2048")], "ssl_dhparam: is not used"),
        (
            &[("router_flavor", "traditional")],
            "`traditional` honours path_handling v1",
        ),
        (
            &[("tls_certificate_verify", "off")],
            "tls_certificate_verify: off: upstream",
        ),
        (
            &[("nginx_proxy_proxy_ssl_verify", "off")],
            "nginx_proxy_proxy_ssl_verify: off: upstream",
        ),
        (
            &[("client_ssl_cert", "a"), ("client_ssl_cert_key", "b")],
            "client_ssl_cert: is not used while",
        ),
        (
            &[("proxy_access_log", "logs/a.log main")],
            "`main` behind the path",
        ),
        (
            &[("plugins", "bundled,rate-limiting")],
            "`rate-limiting` is a plugin of Kong that this gateway does not have; it cannot be configured",
        ),
        (
            &[("plugins", "bundled,mine")],
            "`mine` is no plugin that this gateway has; it cannot be configured",
        ),
        (
            &[("ssl_protocols", "TLSv1.3")],
            "ssl_protocols: does not count",
        ),
        (
            &[("nginx_http_large_client_header_buffers", "2 64k")],
            "holds 131072 bytes; a head above 131071 is refused all the same",
        ),
    ];
    for (set, expected) in rows {
        let loaded = with(set)
            .map_err(|problems| texts(&problems))
            .expect("only warnings");
        let warnings = warned(&loaded);
        assert!(
            warnings.len() == 1 && warnings[0].contains(expected),
            "{set:?}: {warnings:?}"
        );
    }
}

/// The issue, use case 1: `http2` is accepted with one warning, on Kong's default line too.
#[test]
fn http2_is_warned_about_once() {
    for (set, count) in [
        (&[][..], 1),
        (
            &[("proxy_listen", "0.0.0.0:1 http2, 0.0.0.0:2 http2 ssl")],
            1,
        ),
        (&[("proxy_listen", "0.0.0.0:1 ssl")], 0),
    ] {
        let warnings = texts(&with(set).expect("listeners").warnings);
        assert_eq!(warnings.len(), count, "{warnings:?}");
        assert!(
            warnings
                .iter()
                .all(|warning| warning.contains("proxy_listen: `http2`"))
        );
    }
}

#[test]
fn status_and_proxy_cannot_share_an_address() {
    let problems = with(&[
        ("proxy_listen", "0.0.0.0:1"),
        ("status_listen", "0.0.0.0:1"),
    ]);
    let problems = problems.expect_err("one address twice");
    assert_eq!(
        texts(&problems),
        ["flag --set: status_listen: 0.0.0.0:1 is an address of proxy_listen too"]
    );
    // (proxy, status, what the error ends with)
    for (proxy, status, error) in [
        (
            "0.0.0.0:1",
            "127.0.0.1:1",
            Some("127.0.0.1:1 is an address of proxy_listen too (0.0.0.0:1)"),
        ),
        (
            "127.0.0.1:1",
            "0.0.0.0:1",
            Some("0.0.0.0:1 is an address of proxy_listen too (127.0.0.1:1)"),
        ),
        (
            "[::]:1",
            "[::1]:1",
            Some("[::1]:1 is an address of proxy_listen too ([::]:1)"),
        ),
        ("0.0.0.0:1", "127.0.0.1:2", None),
        ("0.0.0.0:1", "[::1]:1", None),
        ("127.0.0.1:1", "127.0.0.2:1", None),
    ] {
        let loaded = with(&[("proxy_listen", proxy), ("status_listen", status)]);
        let told = loaded.err().map(|problems| texts(&problems));
        let told = told.iter().flatten().next().map(String::as_str);
        assert_eq!(
            told.map(|told| told.trim_start_matches("flag --set: status_listen: ")),
            error,
            "{proxy} and {status}"
        );
    }
    assert!(
        with(&[
            ("proxy_listen", "0.0.0.0:0"),
            ("status_listen", "0.0.0.0:0")
        ])
        .is_ok()
    );
}

#[test]
fn a_proxy_header_is_read_by_the_proxy_alone() {
    for name in ["admin_listen", "status_listen"] {
        let problems = with(&[(name, "127.0.0.1:1 proxy_protocol")]);
        assert_eq!(
            texts(&problems.expect_err("a flag that would not count")),
            [format!(
                "flag --set: {name}: 127.0.0.1:1: `proxy_protocol` is for proxy_listen only"
            )]
        );
    }
    assert!(with(&[("proxy_listen", "127.0.0.1:1 proxy_protocol")]).is_ok());
}

#[test]
fn verification_that_one_directive_turns_on_is_not_warned_about() {
    let loaded = with(&[
        ("tls_certificate_verify", "off"),
        ("nginx_proxy_proxy_ssl_verify", "on"),
    ])
    .expect("switches");
    assert_eq!(warned(&loaded), Vec::<String>::new());
}
