//! Cuts, bounds, floods, alerts.

use super::*;

#[test]
fn a_hello_cut_at_any_byte_is_read_alike() {
    let core = Gateway::new().core();
    let config = Client::new(Version::Tls13).config();
    let size = sent(&mut start(&config, "a.test")).len();
    for at in 1..size {
        let mut client = start(&config, "a.test");
        let hello = sent(&mut client);
        let mut acceptor = ServerAcceptor::new();
        assert!(matches!(
            acceptor.feed(&hello[..at]),
            Ok(HelloState::NeedMore)
        ));
        let Ok(HelloState::Ready(read)) = acceptor.feed(&hello[at..]) else {
            panic!("cut at {at}")
        };
        assert_eq!(read.sni.as_deref(), Some("a.test"));
        if at % 50 == 0 {
            let mut session = acceptor.accept(&core).unwrap();
            pump(&mut session, &mut client).unwrap();
            assert!(!session.handshaking());
        }
    }
}

#[test]
fn a_hello_byte_by_byte_and_cut_over_records_completes() {
    let core = Gateway::new().core();
    let mut client = start(&Client::new(Version::Tls13).config(), "a.test");
    let hello = sent(&mut client);
    let mut records = Vec::new();
    for piece in hello[5..].chunks(100) {
        records.extend_from_slice(&[22, 3, 1, 0, u8::try_from(piece.len()).unwrap()]);
        records.extend_from_slice(piece);
    }
    let mut acceptor = ServerAcceptor::new();
    let (last, head) = records.split_last().unwrap();
    for byte in head {
        assert!(matches!(acceptor.feed(&[*byte]), Ok(HelloState::NeedMore)));
    }
    assert!(matches!(acceptor.feed(&[*last]), Ok(HelloState::Ready(_))));
    let mut session = acceptor.accept(&core).unwrap();
    pump(&mut session, &mut client).unwrap();
    assert!(!session.handshaking());
}

#[test]
fn sni_is_lower_cased() {
    let client = Client::new(Version::Tls12);
    let mut acceptor = ServerAcceptor::new();
    let Ok(HelloState::Ready(hello)) = acceptor.feed(&sent(&mut start(&client.config(), "A.Test")))
    else {
        panic!()
    };
    assert_eq!(hello.sni.as_deref(), Some("a.test"));
}

#[test]
fn first_bytes_that_are_no_tls_are_told_from_plain_http() {
    for (bytes, want) in [
        (
            &b"GET / HTTP/1.1\r\n"[..],
            Some("a plain HTTP request was sent to a TLS port"),
        ),
        (
            b"OPTIONS * HTTP/1.1",
            Some("a plain HTTP request was sent to a TLS port"),
        ),
        (
            b"PRI * HTTP/2.0",
            Some("a plain HTTP request was sent to a TLS port"),
        ),
        (b"GE", None),
        (
            b"SSH-2.0-OpenSSH",
            Some("the first bytes are not a TLS record"),
        ),
        (b" GET", Some("the first bytes are not a TLS record")),
        (
            b"\x80\x2e\x01\x03\x01",
            Some("the first bytes are not a TLS record"),
        ),
        (b"\0\0\0\0", Some("the first bytes are not a TLS record")),
        (
            b"AAAAAAAAAAAAAAAAAAAAAAAAAA",
            Some("the first bytes are not a TLS record"),
        ),
    ] {
        let mut whole = ServerAcceptor::new();
        let text = whole.feed(bytes).err().map(|error| error.to_string());
        assert_eq!(text.as_deref(), want, "{bytes:?}");
        let mut single = ServerAcceptor::new();
        let mut result = Ok(HelloState::NeedMore);
        for byte in bytes {
            result = single.feed(&[*byte]);
            if result.is_err() {
                break;
            }
        }
        let error = result.err();
        assert!(error.as_ref().is_none_or(|error| error.alert().is_empty()));
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            want,
            "{bytes:?}"
        );
    }
}

#[test]
fn a_client_of_an_older_version_is_told_so_in_one_piece_or_many() {
    for (minor, alert) in [
        (1, "protocol_version"),
        (2, "protocol_version"),
        (3, "handshake_failure"),
    ] {
        // RFC 4346 §7.4.1.2: version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression; no extensions.
        let mut body = vec![3, minor];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
        let size = body.len() as u8;
        let mut hello = vec![22, 3, 1, 0, size + 4, 1, 0, 0, size];
        hello.extend_from_slice(&body);
        let mut whole = ServerAcceptor::new();
        let error = whole.feed(&hello).unwrap_err();
        assert_eq!(error.alert_name(), alert, "{minor}: {error}");
        let mut single = ServerAcceptor::new();
        let (last, head) = hello.split_last().unwrap();
        for byte in head {
            assert!(matches!(single.feed(&[*byte]), Ok(HelloState::NeedMore)));
        }
        let error = single.feed(&[*last]).unwrap_err();
        assert_eq!(error.alert_name(), alert, "{minor} byte by byte");
        assert_eq!(error.alert()[..5], [21, 3, 3, 0, 2], "in clear text");
    }
}

#[test]
fn tls_that_is_no_hello_gets_an_alert() {
    for (rule, bytes, alert) in [
        (
            "RFC 8446 §5.1 unknown version",
            &[22u8, 9, 9, 0, 1, 0][..],
            "decode_error",
        ),
        (
            "§4 not a ClientHello",
            &[22, 3, 1, 0, 4, 14, 0, 0, 0],
            "unexpected_message",
        ),
        (
            "§5.1 data first",
            &[23, 3, 3, 0, 1, 0],
            "unexpected_message",
        ),
    ] {
        let mut acceptor = ServerAcceptor::new();
        let error = acceptor.feed(bytes).unwrap_err();
        assert_eq!(error.alert_name(), alert, "{rule}: {error}");
        assert!(acceptor.feed(bytes).is_err(), "{rule}: it stays refused");
    }
}

#[test]
fn a_hello_is_read_up_to_its_bound() {
    let mut acceptor = ServerAcceptor::new();
    // A ClientHello that announces 60,000 bytes, in records of 4,000.
    let mut first = vec![22, 3, 1, 0x0f, 0xa0, 1, 0, 0xea, 0x60];
    first.resize(5 + 4000, 0);
    let mut record = vec![22, 3, 1, 0x0f, 0xa0];
    record.resize(5 + 4000, 0);
    let mut fed = first.len();
    assert!(matches!(acceptor.feed(&first), Ok(HelloState::NeedMore)));
    let error = loop {
        fed += record.len();
        match acceptor.feed(&record) {
            Ok(HelloState::NeedMore) => assert!(fed <= CLIENT_HELLO_SIZE_MAX),
            Ok(HelloState::Ready(_)) => panic!("it is not complete"),
            Err(error) => break error,
        }
    };
    assert!(fed > CLIENT_HELLO_SIZE_MAX);
    assert_eq!(error.to_string(), "the ClientHello is too long");
    assert_eq!(error.alert(), [21, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn ciphertext_waits_while_plaintext_is_not_read() {
    let core = Gateway::new().core();
    let (mut session, mut client) =
        connect(&core, &Client::new(Version::Tls13).config(), "a.test").unwrap();
    client.set_buffer_limit(None);
    let body: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[0]).collect();
    client.writer().write_all(&body).unwrap();
    let wire = sent(&mut client);
    let taken = session.feed(&wire).unwrap();
    assert!(taken < 60_000, "{taken}");
    assert_eq!(
        session.feed(&wire[taken..]).unwrap(),
        0,
        "nothing more until it is read"
    );
    let mut got = Vec::new();
    let mut offset = taken;
    loop {
        got.extend(take_plaintext(&mut session));
        if offset == wire.len() {
            break;
        }
        offset += session.feed(&wire[offset..]).unwrap();
    }
    assert_eq!(got, body);
}

#[test]
fn a_large_answer_is_written_whole() {
    let core = Gateway::new().core();
    let (mut session, mut client) =
        connect(&core, &Client::new(Version::Tls12).config(), "a.test").unwrap();
    let body = vec![7; 1_000_000];
    session.write(&body).unwrap();
    let mut wire = Vec::new();
    session.take_output(&mut wire);
    assert!(wire.len() > body.len() && !session.has_output());
    let mut got = Vec::new();
    let mut left = wire.as_slice();
    while !left.is_empty() {
        client.read_tls(&mut left).unwrap();
        client.process_new_packets().unwrap();
        let _ = std::io::Read::read_to_end(&mut client.reader(), &mut got);
    }
    assert_eq!(got, body);
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert_behind_what_was_queued() {
    let core = Gateway::new().core();
    let (mut session, mut client) =
        connect(&core, &Client::new(Version::Tls13).config(), "a.test").unwrap();
    session.write(b"queued").unwrap();
    client.writer().write_all(b"request").unwrap();
    let mut wire = sent(&mut client);
    *wire.last_mut().unwrap() ^= 1;
    let error = session.feed(&wire).unwrap_err();
    assert_eq!(error.alert_name(), "bad_record_mac");
    assert!(!session.has_output(), "the error carries it");
    let seen = receive(&mut client, error.alert()).unwrap_err();
    assert_eq!(
        seen,
        rustls::Error::AlertReceived(AlertDescription::BadRecordMac)
    );
    let mut got = [0; 6];
    std::io::Read::read_exact(&mut client.reader(), &mut got).unwrap();
    assert_eq!(&got, b"queued");
}

#[test]
fn an_alert_from_the_client_is_its_refusal() {
    let core = Gateway::new().core();
    let mut client = start(&Client::new(Version::Tls13).config(), "a.test");
    let mut session = accept(&core, &mut client).unwrap();
    let error = session.feed(&[21, 3, 3, 0, 2, 2, 48]).unwrap_err();
    assert!(error.received_alert());
    assert_eq!(error.alert_name(), "unknown_ca");
}

#[test]
fn key_updates_work_and_a_flood_of_them_ends_the_connection() {
    let core = Gateway::new().core();
    let (mut session, mut client) =
        connect(&core, &Client::new(Version::Tls13).config(), "a.test").unwrap();
    client.refresh_traffic_keys().unwrap();
    client.writer().write_all(b"under new keys").unwrap();
    pump(&mut session, &mut client).unwrap();
    assert_eq!(take_plaintext(&mut session), b"under new keys");
    session.write(b"answer").unwrap();
    pump(&mut session, &mut client).unwrap();

    let mut wire = Vec::new();
    for _ in 0..100 {
        client.refresh_traffic_keys().unwrap();
        wire.extend(sent(&mut client));
    }
    assert!(session.feed(&wire).is_err());
}

#[test]
fn early_bytes_behind_the_hello_are_kept() {
    let core = Gateway::new().core();
    let mut client = start(&Client::new(Version::Tls13).config(), "a.test");
    let mut bytes = sent(&mut client);
    // RFC 8446 §D.4: a client may send change_cipher_spec right after its hello; enough of a tail to pass one read.
    bytes.extend([20, 3, 3, 0, 1, 1]);
    let mut acceptor = ServerAcceptor::new();
    assert!(matches!(acceptor.feed(&bytes), Ok(HelloState::Ready(_))));
    let mut session = acceptor.accept(&core).unwrap();
    pump(&mut session, &mut client).unwrap();
    assert!(!session.handshaking());
}

#[test]
fn the_client_side_is_the_same_machine() {
    for version in Version::ALL {
        let core = Gateway::asking("*", &[]).core();
        let (client, _) = Client::with(Some(client_key()), version);
        let mut upstream = Session::client(start(&client.config(), "a.test"));
        let mut wire = Vec::new();
        upstream.take_output(&mut wire);
        let mut acceptor = ServerAcceptor::new();
        assert!(matches!(acceptor.feed(&wire), Ok(HelloState::Ready(_))));
        let mut gateway = acceptor.accept(&core).unwrap();
        upstream.write(b"before the handshake ended").unwrap();
        while gateway.has_output() || upstream.has_output() {
            exchange(&mut gateway, &mut upstream);
            exchange(&mut upstream, &mut gateway);
        }
        let facts = upstream.facts().unwrap();
        assert_eq!(facts.version, version.name());
        assert_eq!(facts.cipher, gateway.facts().unwrap().cipher);
        assert!(!upstream.may_hold_output() && upstream.client_chain().is_none());
        assert_eq!(
            gateway.client_chain().unwrap().certificates,
            [CLIENT.der().to_vec()]
        );
        assert_eq!(take_plaintext(&mut gateway), b"before the handshake ended");
        gateway.write(b"answer").unwrap();
        gateway.close_notify();
        exchange(&mut gateway, &mut upstream);
        assert_eq!(take_plaintext(&mut upstream), b"answer");
        assert!(upstream.peer_closed());
    }
}

fn exchange(from: &mut Session, to: &mut Session) {
    let mut wire = Vec::new();
    from.take_output(&mut wire);
    assert_eq!(to.feed(&wire).unwrap(), wire.len());
}

#[test]
fn a_session_shrunk_between_or_within_records_loses_nothing() {
    let core = Gateway::new().core();
    let config = Client::new(Version::Tls13).config();
    let (mut session, mut client) = connect(&core, &config, "a.test").unwrap();
    let mut got = Vec::new();
    for size in [16_000, 10, 5_000] {
        client.writer().write_all(&vec![b'x'; size]).unwrap();
        let wire = sent(&mut client);
        let (first, second) = wire.split_at(wire.len() / 2);
        for half in [first, second] {
            assert_eq!(session.feed(half).unwrap(), half.len());
            session.shrink();
            got.extend(take_plaintext(&mut session));
        }
    }
    assert_eq!(got.len(), 16_000 + 10 + 5_000);
    assert!(!session.peer_closed());
}

/// RFC 8446 §4.4.4: Finished covers every byte of the handshake.
#[test]
fn no_changed_byte_of_a_hello_panics_or_lets_the_handshake_end() {
    let core = Gateway::asking("*", &[]).core();
    for version in Version::ALL {
        let (client, _) = Client::with(Some(client_key()), version);
        let config = client.config();
        let size = sent(&mut start(&config, "a.test")).len();
        for at in 0..size {
            let mut client = start(&config, "a.test");
            let mut hello = sent(&mut client);
            hello[at] ^= 0x11;
            let mut acceptor = ServerAcceptor::new();
            let Ok(HelloState::Ready(_)) = acceptor.feed(&hello) else {
                continue;
            };
            let Ok(mut session) = acceptor.accept(&core) else {
                continue;
            };
            let _ = pump(&mut session, &mut client);
            // Bytes 1 and 2 are the record's legacy_version, which no one reads and no transcript covers (§5.1).
            assert!(
                session.handshaking() || at == 1 || at == 2,
                "{version:?} byte {at}"
            );
        }
    }
}

#[test]
fn no_changed_byte_of_the_clients_last_flight_panics_or_lets_the_handshake_end() {
    let core = Gateway::asking("*", &[]).core();
    for version in Version::ALL {
        let (client, _) = Client::with(Some(client_key()), version);
        let config = client.config();
        let mut at = 0;
        loop {
            let mut client = start(&config, "a.test");
            let mut session = accept(&core, &mut client).unwrap();
            let mut flight = Vec::new();
            session.take_output(&mut flight);
            receive(&mut client, &flight).unwrap();
            let mut last = sent(&mut client);
            let unread = legacy_versions(&last);
            let Some(byte) = last.get_mut(at) else { break };
            *byte ^= 0x11;
            let ended = session.feed(&last).is_ok() && !session.handshaking();
            assert!(!ended || unread.contains(&at), "{version:?} byte {at}");
            assert_eq!(
                ended,
                session.client_chain().is_some(),
                "{version:?} byte {at}"
            );
            at += 1;
        }
    }
}

/// Where records carry legacy_version: "MUST be ignored for all purposes" (RFC 8446 §5.1).
fn legacy_versions(records: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut offsets = Vec::new();
    while let Some([_, _, _, high, low]) = records.get(at..at + 5) {
        offsets.extend([at + 1, at + 2]);
        at += 5 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    offsets
}
