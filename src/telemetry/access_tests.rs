use super::*;
use serde_json::{Value, json};

fn bare() -> Record<'static> {
    Record {
        started_ms: 1_795_545_265_123,
        client_ip: "192.0.2.7".parse().unwrap(),
        client_port: 50_123,
        listener_port: 8_443,
        request_id: "0123456789abcdef0123456789abcdef",
        method: b"GET",
        target: b"/a?b=c",
        http_version: "HTTP/1.1",
        host: None,
        user_agent: None,
        status: 404,
        bytes_in: 12,
        bytes_out: u64::MAX,
        latencies: Latencies {
            kong_us: 7,
            proxy_us: None,
            request_us: 1_234_567,
        },
        upstream: None,
        service: None,
        route: None,
        consumer: None,
        tls: None,
        source: Source::Exit,
        error: None,
    }
}

fn parsed(record: &Record<'_>) -> Value {
    let mut out = Vec::new();
    record.write_json(&mut out);
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", out.escape_ascii()))
}

#[test]
fn what_is_unknown_is_left_out() {
    let expected = json!({
        "time": "2026-11-24T18:34:25.123Z",
        "started_at": 1_795_545_265_123_u64,
        "client_ip": "192.0.2.7",
        "client_port": 50_123,
        "listener_port": 8_443,
        "request": {
            "id": "0123456789abcdef0123456789abcdef",
            "method": "GET",
            "uri": "/a?b=c",
            "version": "HTTP/1.1",
            "size": 12
        },
        "response": {"status": 404, "size": u64::MAX},
        "latencies": {"kong": 0.007, "request": 1234.567},
        "source": "exit"
    });
    assert_eq!(parsed(&bare()), expected);
}

#[test]
fn a_full_record_names_the_client_and_both_tls_sides() {
    let id = uuid::Uuid::from_u128(0xa1);
    let record = Record {
        client_ip: "2001:db8::1".parse().unwrap(),
        host: Some(b"api.example"),
        user_agent: Some(b"curl/8"),
        latencies: Latencies {
            kong_us: 1_000,
            proxy_us: Some(2_050),
            request_us: 3_050,
        },
        upstream: Some(Upstream {
            address: Some("[2001:db8::2]:443".parse().unwrap()),
            status: Some(200),
            tries: 2,
            reused: true,
            tls: Some(UpstreamTls {
                version: "TLSv1.3",
                cipher: "TLS13_AES_128_GCM_SHA256",
                verified_name: Some("billing.internal"),
                resumed: false,
            }),
        }),
        service: Some(Named {
            id,
            name: Some("billing"),
        }),
        route: Some(Named { id, name: None }),
        consumer: Some(Named {
            id,
            name: Some("alice"),
        }),
        tls: Some(Tls {
            version: "TLSv1.3",
            cipher: "c",
            group: Some("X25519"),
            sni: Some("api.example"),
            resumed: true,
            client_verify: Some("FAILED:unknown CA \"x\""),
            client_subject: Some("CN=alice,O=\"a\\b\""),
            client_issuer: Some("CN=ca"),
            client_serial: Some("0a"),
        }),
        source: Source::Service,
        error: Some("line\nbreak"),
        ..bare()
    };
    let value = parsed(&record);
    let rows = [
        ("/client_ip", json!("2001:db8::1")),
        ("/request/host", json!("api.example")),
        ("/request/user_agent", json!("curl/8")),
        ("/request/tls/group", json!("X25519")),
        ("/request/tls/resumed", json!(true)),
        (
            "/request/tls/client_verify",
            json!("FAILED:unknown CA \"x\""),
        ),
        ("/request/tls/client_subject", json!("CN=alice,O=\"a\\b\"")),
        ("/request/tls/client_serial", json!("0a")),
        ("/latencies/proxy", json!(2.05)),
        ("/upstream/address", json!("[2001:db8::2]:443")),
        ("/upstream/tries", json!(2)),
        ("/upstream/reused", json!(true)),
        ("/upstream/tls/verified_name", json!("billing.internal")),
        ("/service/id", json!("00000000-0000-0000-0000-0000000000a1")),
        ("/service/name", json!("billing")),
        ("/consumer/username", json!("alice")),
        ("/error", json!("line\nbreak")),
        ("/source", json!("service")),
    ];
    for (pointer, expected) in rows {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(value.pointer("/route/name"), None);
}

#[test]
fn strings_are_escaped() {
    // (RFC 8259 section or reason, bytes, JSON text)
    let rows: [(&str, &[u8], &str); 9] = [
        ("7 quotation mark", b"a\"b", r#""a\"b""#),
        ("7 reverse solidus", b"a\\b", r#""a\\b""#),
        ("7 two-character", b"\n\r\t", r#""\n\r\t""#),
        ("7 control", b"\x00\x1b\x1f", r#""\u0000\u001b\u001f""#),
        ("DEL", b"\x7f", r#""\u007f""#),
        (
            "C1 control",
            "a\u{85}b\u{9f}\u{a0}".as_bytes(),
            "\"a\\u0085b\\u009f\u{a0}\"",
        ),
        ("8.1 UTF-8 as it is", "grüße 🦀".as_bytes(), "\"grüße 🦀\""),
        ("8.1 not UTF-8", b"a\xffb\xc3", r#""a\\xffb\\xc3""#),
        ("7 empty", b"", r#""""#),
    ];
    for (section, bytes, expected) in rows {
        let mut out = Vec::new();
        write_string(&mut out, bytes);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{section}");
    }
}

#[test]
fn every_byte_pair_makes_valid_json_and_one_line() {
    for first in 0..=255_u8 {
        for second in 0..=255_u8 {
            let mut out = Vec::new();
            write_string(&mut out, &[first, second]);
            let parsed: Result<String, _> = serde_json::from_slice(&out);
            assert!(parsed.is_ok(), "{first:#x} {second:#x}");
            out.clear();
            write_text(&mut out, &[first, second]);
            let text = std::str::from_utf8(&out);
            assert!(text.is_ok_and(|text| !text.contains(char::is_control)));
        }
    }
}

#[test]
fn times_are_rfc_3339() {
    // (unix milliseconds, RFC 3339 §5.6)
    let rows = [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
        (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
        (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ];
    for (unix_ms, expected) in rows {
        let mut out = Vec::new();
        write_rfc3339(&mut out, unix_ms);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn a_failed_handshake_names_peer_sni_alert_and_reason() {
    let failure = HandshakeFailure {
        peer: "[2001:db8::1]:5".parse().unwrap(),
        port: 8_443,
        sni: Some("a\"b"),
        alert: Some("handshake_failure"),
        reason: "no certificate\nfor it",
    };
    let mut out = Vec::new();
    write_error_head(&mut out, 0, Level::Notice);
    failure.write_text(&mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "1970-01-01T00:00:00.000Z [notice] TLS handshake with client [2001:db8::1]:5 failed: \
         no certificate\\nfor it, alert: handshake_failure, sni: \"a\\\"b\", port: 8443"
    );
}

#[test]
fn levels_are_kongs_in_order_of_severity() {
    let names: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
    assert_eq!(
        names,
        [
            "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"
        ]
    );
    for level in Level::ALL {
        assert_eq!(Level::parse(level.name()), Some(level));
    }
    assert!(Level::ALL.is_sorted());
    assert_eq!(Level::parse("warning"), None);
}
