use std::time::Duration;

use super::super::listen::{KeepAlive, Listen, listeners};

fn at(addr: &str) -> Listen {
    Listen {
        addr: addr.parse().expect(addr),
        ssl: false,
        http2: false,
        proxy_protocol: false,
        deferred: false,
        bind: false,
        reuseport: false,
        backlog: None,
        ipv6only: None,
        so_keepalive: None,
    }
}

fn tuned(idle: Option<u64>, interval: Option<u64>, count: Option<u32>) -> KeepAlive {
    KeepAlive::Tuned {
        idle: idle.map(Duration::from_secs),
        interval: interval.map(Duration::from_secs),
        count,
    }
}

/// KONG.md §4.3, grammar of listen directives.
#[test]
fn listeners_are_read_as_written() {
    let any = || at("0.0.0.0:80");
    let v6 = || at("[::]:80");
    let keep = |so_keepalive| Listen {
        so_keepalive: Some(so_keepalive),
        ..any()
    };
    let rows: Vec<(&str, Vec<Listen>)> = vec![
        ("off", vec![]),
        (" OFF ", vec![]),
        ("0.0.0.0:80", vec![any()]),
        ("127.0.0.1:0", vec![at("127.0.0.1:0")]),
        ("localhost:8000", vec![at("127.0.0.1:8000")]),
        ("[::1]:8443", vec![at("[::1]:8443")]),
        ("0.0.0.0:80,[::]:80", vec![any(), v6()]),
        (
            "127.0.0.1:0, 127.0.0.1:0",
            vec![at("127.0.0.1:0"), at("127.0.0.1:0")],
        ),
        ("0.0.0.0:80 ssl", vec![Listen { ssl: true, ..any() }]),
        (
            "0.0.0.0:80 http2",
            vec![Listen {
                http2: true,
                ..any()
            }],
        ),
        (
            "0.0.0.0:80 proxy_protocol",
            vec![Listen {
                proxy_protocol: true,
                ..any()
            }],
        ),
        (
            "0.0.0.0:80 deferred",
            vec![Listen {
                deferred: true,
                ..any()
            }],
        ),
        (
            "0.0.0.0:80 bind",
            vec![Listen {
                bind: true,
                ..any()
            }],
        ),
        (
            "0.0.0.0:80 reuseport",
            vec![Listen {
                reuseport: true,
                ..any()
            }],
        ),
        (
            "0.0.0.0:80 backlog=16384",
            vec![Listen {
                backlog: Some(16_384),
                ..any()
            }],
        ),
        (
            "[::]:80 ipv6only=on",
            vec![Listen {
                ipv6only: Some(true),
                ..v6()
            }],
        ),
        (
            "[::]:80 ipv6only=off",
            vec![Listen {
                ipv6only: Some(false),
                ..v6()
            }],
        ),
        ("0.0.0.0:80 so_keepalive=on", vec![keep(KeepAlive::On)]),
        ("0.0.0.0:80 so_keepalive=off", vec![keep(KeepAlive::Off)]),
        (
            "0.0.0.0:80 so_keepalive=30m::10",
            vec![keep(tuned(Some(1_800), None, Some(10)))],
        ),
        (
            "0.0.0.0:80 so_keepalive=:5s:",
            vec![keep(tuned(None, Some(5), None))],
        ),
        (
            "0.0.0.0:80 so_keepalive=1:2:3",
            vec![keep(tuned(Some(1), Some(2), Some(3)))],
        ),
        (
            "0.0.0.0:80  ssl   http2\treuseport backlog=1 , [::1]:1 proxy_protocol",
            vec![
                Listen {
                    ssl: true,
                    http2: true,
                    reuseport: true,
                    backlog: Some(1),
                    ..any()
                },
                Listen {
                    proxy_protocol: true,
                    ..at("[::1]:1")
                },
            ],
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(listeners(text), Ok(expected), "{text}");
    }
}

/// The refusal names the listener, and the flag where one is at fault.
#[test]
fn what_is_not_a_listener_is_refused_by_name() {
    let rows: &[(&str, &[&str])] = &[
        ("", &["listener is empty"]),
        ("0.0.0.0:80,", &["listener is empty"]),
        ("8000", &["`8000`", "IPv4:port"]),
        ("0.0.0.0", &["`0.0.0.0`"]),
        ("0.0.0.0:65536", &["`0.0.0.0:65536`"]),
        ("::1:80", &["`::1:80`", "[IPv6]:port"]),
        ("example.com:80", &["`example.com:80`"]),
        ("unix:/run/x", &["`unix:/run/x`"]),
        ("localhost:x", &["`localhost:x`"]),
        ("off, 0.0.0.0:80", &["`off`"]),
        (
            "0.0.0.0:80 quic",
            &["0.0.0.0:80", "`quic`", "proxy_protocol"],
        ),
        ("0.0.0.0:80 SSL", &["0.0.0.0:80", "`SSL`"]),
        ("0.0.0.0:80 udp", &["0.0.0.0:80", "`udp`", "stream_listen"]),
        ("0.0.0.0:80 ssl ssl", &["0.0.0.0:80", "`ssl`", "twice"]),
        ("0.0.0.0:80 backlog=1 backlog=2", &["`backlog`", "twice"]),
        ("0.0.0.0:80 ssl=on", &["`ssl`", "no value"]),
        ("0.0.0.0:80 backlog", &["`backlog`", "needs a value"]),
        ("0.0.0.0:80 backlog=0", &["0.0.0.0:80", "`backlog`", "`0`"]),
        ("0.0.0.0:80 backlog=4294967296", &["`backlog`"]),
        ("0.0.0.0:80 ipv6only=on", &["`ipv6only`", "IPv6 addresses"]),
        ("[::]:80 ipv6only=yes", &["[::]:80", "`ipv6only`", "`yes`"]),
        ("[::]:80 ipv6only", &["`ipv6only`", "needs a value"]),
        (
            "0.0.0.0:80 so_keepalive",
            &["`so_keepalive`", "needs a value"],
        ),
        ("0.0.0.0:80 so_keepalive=yes", &["`so_keepalive`", "`yes`"]),
        (
            "0.0.0.0:80 so_keepalive=::",
            &["`so_keepalive`", "at least one"],
        ),
        ("0.0.0.0:80 so_keepalive=1:2", &["`so_keepalive`"]),
        (
            "0.0.0.0:80 so_keepalive=0s::",
            &["`so_keepalive`", "1s to 32767s"],
        ),
        ("0.0.0.0:80 so_keepalive=::128", &["`so_keepalive`", "127"]),
        ("0.0.0.0:80, 0.0.0.0:80 ssl", &["0.0.0.0:80", "twice"]),
    ];
    for (text, parts) in rows {
        let why = listeners(text).expect_err(text);
        for part in *parts {
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}

#[test]
fn listeners_are_bounded() {
    use crate::limits::LISTENERS_MAX;
    let many = |count: usize| vec!["127.0.0.1:0"; count].join(",");
    assert_eq!(
        listeners(&many(LISTENERS_MAX)).map(|listeners| listeners.len()),
        Ok(LISTENERS_MAX)
    );
    assert!(listeners(&many(LISTENERS_MAX + 1)).is_err());
}
