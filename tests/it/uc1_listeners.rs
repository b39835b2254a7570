//! KONG.md §4.3, listen addresses: flags, PROXY protocol, IPv6; and the bounds of a handshake.

use crate::support::entities::service;
use crate::support::wire::Ended;
use crate::support::{Client, Port, Setup, TlsClient, Upstream, Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

fn routed(upstream: &Upstream) -> Value {
    json!({"services": [service("s", upstream, json!({"paths": ["/"]}))]})
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let size = u16::try_from(addresses.len())
        .expect("a short header")
        .to_be_bytes();
    [V2_SIGNATURE, &[command, family], &size, addresses].concat()
}

#[test]
fn a_proxy_header_names_the_client() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .http_flags("proxy_protocol")
        .https_flags("proxy_protocol")
        .set("trusted_ips", "127.0.0.1")
        .set("real_ip_header", "proxy_protocol")
        .start();
    let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];
    let mut v6 = Vec::new();
    v6.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v6.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    v6.extend([0x30, 0x39, 0x01, 0xbb]);
    let with_tlv = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    // (header, client's address)
    let rows: [(&str, Vec<u8>, &str); 8] = [
        (
            "v1 TCP4",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\r\n".to_vec(),
            "203.0.113.7",
        ),
        (
            "v1 TCP6",
            b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n".to_vec(),
            "2001:db8::7",
        ),
        ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ("v2 TCP4", v2(0x21, 0x11, &v4), "203.0.113.7"),
        ("v2 TCP6", v2(0x21, 0x21, &v6), "2001:db8::7"),
        (
            "v2 TCP4 with a TLV",
            v2(0x21, 0x11, &with_tlv),
            "203.0.113.7",
        ),
        ("v2 LOCAL", v2(0x20, 0x00, &[]), "127.0.0.1"),
        ("v2 LOCAL with addresses", v2(0x20, 0x11, &v4), "127.0.0.1"),
    ];
    for (row, header, expected) in rows {
        let mut client = Client::plain(gateway.http());
        client.send(&header);
        let seen = client.get("a", "/").assert_status(200).echoed();
        assert_eq!(seen.get("X-Real-IP"), Some(expected), "{row}");
        assert_eq!(seen.get("X-Forwarded-For"), Some(expected), "{row}");

        // Before a TLS handshake, and in one segment with the ClientHello or apart from it.
        let mut socket = TcpStream::connect(gateway.https()).expect("the gateway accepts");
        crate::support::wire::patient(&socket);
        socket.write_all(&header).expect("the header");
        let mut tls = TlsClient::new()
            .try_over(socket, "a.test")
            .expect("a handshake");
        let seen = tls.get("a", "/").assert_status(200).echoed();
        assert_eq!(seen.get("X-Real-IP"), Some(expected), "{row} over TLS");
        // And a second request has the same client.
        assert_eq!(
            tls.get("a", "/").echoed().get("X-Real-IP"),
            Some(expected),
            "{row}"
        );
    }
    // Header and request in one segment.
    let mut client = Client::plain(gateway.http());
    client.send("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        client.response().echoed().get("X-Real-IP"),
        Some("203.0.113.7")
    );
}

#[test]
fn a_proxy_header_of_a_stranger_is_read_and_not_believed() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .http_flags("proxy_protocol")
        .set("trusted_ips", "192.0.2.0/24")
        .set("real_ip_header", "proxy_protocol")
        .start();
    let mut client = Client::plain(gateway.http());
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 12345 443\r\n");
    let seen = client.get("a", "/").assert_status(200).echoed();
    assert_eq!(seen.get("X-Real-IP"), Some("127.0.0.1"));
    assert_eq!(seen.get("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn without_its_proxy_header_a_connection_is_closed() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .http_flags("proxy_protocol")
        .start();
    let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
    let rows: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 999.0.113.7 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0cAAAAAAAAAAAAGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &long,
    ];
    for bytes in rows {
        let mut client = Client::plain(gateway.http());
        client.send(bytes);
        let (answer, ended) = client.reader.rest();
        assert_eq!(answer, b"", "{:?}", String::from_utf8_lossy(bytes));
        assert_ne!(ended, Ended::Open, "{:?}", String::from_utf8_lossy(bytes));
    }
    upstream.assert_untouched();
}

#[test]
fn ipv6_and_the_default_line_of_kong_are_listened_on() {
    let upstream = Upstream::echo();
    let v6 = Port::free_on("[::1]:0");
    let v6_port = v6.number();
    let gateway = Setup::new(routed(&upstream))
        .listen(move |http, https| {
            format!(
                "0.0.0.0:{http} reuseport backlog=16384, 0.0.0.0:{https} http2 ssl reuseport backlog=16384, \
                 [::1]:{v6_port} ssl reuseport ipv6only=on so_keepalive=on deferred"
            )
        })
        .start();
    gateway.get("a", "/").assert_status(200);
    TlsClient::new()
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
    let address: SocketAddr = format!("[::1]:{v6_port}").parse().expect("an address");
    let seen = TlsClient::new()
        .get(address, "a.test", "/")
        .assert_status(200)
        .echoed();
    assert_eq!(seen.get("X-Forwarded-For"), Some("::1"));
    assert_eq!(seen.get("X-Forwarded-Port"), Some(&*v6_port.to_string()));
}

#[test]
fn port_maps_say_which_port_clients_use() {
    let upstream = Upstream::echo();
    let mut gateway = Setup::new(routed(&upstream)).start();
    let port = gateway.http().port();
    gateway.set(
        "port_maps",
        &format!("443:{}, 80:{port}", gateway.https().port()),
    );
    gateway.reload_as_is();
    assert_eq!(
        gateway.get("a", "/").echoed().get("X-Forwarded-Port"),
        Some("80")
    );
    let tls = TlsClient::new().get(gateway.https(), "a", "/");
    assert_eq!(tls.echoed().get("X-Forwarded-Port"), Some("443"));
}

#[test]
fn a_handshake_has_one_deadline_for_all_of_it() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .set("ssl_handshake_timeout", "1s")
        .start();
    // A ClientHello that is never whole, at once and in a trickle that would keep a timeout between bytes from firing.
    let begin = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut silent = Client::plain(gateway.https());
    silent.send(begin);
    let mut mute = Client::plain(gateway.https());
    let mut trickle = Client::plain(gateway.https());
    trickle.send(begin);
    crate::support::until("the trickle to be cut off", || {
        let taken = trickle.try_send([0]);
        std::thread::sleep(std::time::Duration::from_millis(50));
        (!taken).then_some(())
    });
    for client in [&mut silent, &mut mute] {
        let (answer, ended) = client.reader.rest();
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        assert_ne!(ended, Ended::Open);
    }
    gateway.error_line(&["the handshake timed out"]);
    TlsClient::new()
        .get(gateway.https(), "a.test", "/")
        .assert_status(200);
}

/// Address and backlog of each listening socket of a port, as the kernel tells.
fn listening(port: u16) -> Vec<(String, u32)> {
    let output = std::process::Command::new("ss")
        .args(["-Hltn", &format!("sport = :{port}")])
        .output()
        .expect("ss runs; tests/setup installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| {
            // State, Recv-Q, Send-Q (the backlog of a listening socket), local address, peer.
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[3].to_owned(), words[2].parse().expect("a backlog"))
        })
        .collect()
}

#[test]
fn each_core_has_a_socket_of_its_own_with_the_backlog_asked_for() {
    let upstream = Upstream::echo();
    let gateway = Setup::new(routed(&upstream))
        .workers(2)
        .http_flags("backlog=37")
        .https_flags("backlog=41 bind")
        .start();
    for (address, backlog) in [(gateway.http(), 37), (gateway.https(), 41)] {
        let one = (address.to_string(), backlog);
        assert_eq!(listening(address.port()), [one.clone(), one]);
    }
    // nginx's own where none is named; and one socket per core also without `reuseport`.
    let gateway = Setup::new(routed(&upstream))
        .listen(|http, https| format!("127.0.0.1:{http}, 127.0.0.1:{https} ssl"))
        .start();
    let one = (gateway.http().to_string(), 511);
    assert_eq!(listening(gateway.http().port()), [one]);
}

#[test]
fn ipv6only_off_takes_ipv4_as_well() {
    let upstream = Upstream::echo();
    let both = Port::free_on("[::]:0");
    let number = both.number();
    let gateway = Setup::new(routed(&upstream))
        .listen(move |http, https| {
            format!("127.0.0.1:{http}, 127.0.0.1:{https} ssl, [::]:{number} ipv6only=off")
        })
        .start();
    gateway.get("a", "/").assert_status(200);
    // An IPv4 client of an IPv6 socket has a mapped address, as in nginx.
    for (address, client) in [("127.0.0.1", "::ffff:127.0.0.1"), ("[::1]", "::1")] {
        let address: SocketAddr = format!("{address}:{number}").parse().expect("an address");
        let seen = Client::plain(address)
            .get("a", "/")
            .assert_status(200)
            .echoed();
        assert_eq!(seen.get("X-Forwarded-For"), Some(client), "{address}");
    }
}
