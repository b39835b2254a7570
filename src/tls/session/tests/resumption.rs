//! Tickets: what resumes, what must not, and when they are sent.

use super::*;

fn resumed(session: &Session, client: &ClientConnection) -> bool {
    let server = session.facts().unwrap().resumed;
    assert_eq!(
        server,
        client.handshake_kind() == Some(HandshakeKind::Resumed)
    );
    server
}

#[test]
fn a_second_connection_resumes_with_the_clients_chain_on_any_core_and_node() {
    for version in Version::ALL {
        for request in [false, true] {
            let gateway = |tickets| match request {
                true => Gateway::asking("*", &[]).tickets(tickets).core(),
                false => Gateway::new().tickets(tickets).core(),
            };
            let first = gateway(ticketer(0, 1));
            let second = gateway(ticketer(5, 2));
            let (client, _) = Client::with(Some(client_key()), version);
            let config = client.resuming().config();
            let (session, client) = connect(&first, &config, "a.test").unwrap();
            assert!(!resumed(&session, &client));
            let chain = session.client_chain().map(|chain| chain.digest);
            assert_eq!(chain.is_some(), request);
            if version == Version::Tls13 {
                assert_eq!(client.tls13_tickets_received(), if request { 1 } else { 2 });
            }
            for core in [&first, &second] {
                let (session, client) = connect(core, &config, "a.test").unwrap();
                assert!(resumed(&session, &client), "{version:?} request {request}");
                assert_eq!(session.client_chain().map(|chain| chain.digest), chain);
                assert_eq!(
                    session.facts().unwrap().client_certificate_requested,
                    request
                );
            }
        }
    }
}

#[test]
fn a_session_is_not_resumed_where_it_must_not_be() {
    let dn: &[u8] = &[0x30, 0x00];
    type Case = (
        &'static str,
        fn() -> CoreServer,
        &'static str,
        fn(&[u8]) -> CoreServer,
    );
    let cases: [Case; 6] = [
        (
            "a request was switched on",
            || Gateway::new().core(),
            "a.test",
            |_| Gateway::asking("a.test", &[]).core(),
        ),
        (
            "a request was switched off",
            || Gateway::asking("*", &[]).core(),
            "a.test",
            |_| Gateway::new().core(),
        ),
        (
            "CA names changed",
            || Gateway::asking("*", &[]).core(),
            "a.test",
            |dn| Gateway::asking("*", &[dn]).core(),
        ),
        (
            "another SNI",
            || Gateway::new().core(),
            "b.test",
            |_| Gateway::new().core(),
        ),
        (
            "an old epoch",
            || Gateway::new().core(),
            "a.test",
            |_| Gateway::new().tickets(ticketer(0, 3)).core(),
        ),
        (
            "tickets switched off",
            || Gateway::new().core(),
            "a.test",
            |_| {
                let mut gateway = Gateway::new();
                gateway.settings.session_tickets = false;
                gateway.core()
            },
        ),
    ];
    for version in Version::ALL {
        for (case, before, name, after) in &cases {
            let (client, _) = Client::with(Some(client_key()), version);
            let config = client.resuming().config();
            connect(&before(), &config, "a.test").unwrap();
            let (session, client) = connect(&after(dn), &config, name).unwrap();
            assert!(!resumed(&session, &client), "{version:?}: {case}");
        }
    }
}

/// RFC 8446 §4.6.1: each resumption brings a new ticket, but the key was proven in the first handshake alone.
#[test]
fn resuming_again_and_again_does_not_put_off_the_next_full_handshake() {
    for version in Version::ALL {
        for hello_retry in [false, true] {
            let core = |epoch| {
                let mut gateway = Gateway::asking("*", &[]).tickets(ticketer(0, epoch));
                if hello_retry {
                    // Not the group the client guesses.
                    gateway.settings.groups = vec![NamedGroup::secp384r1.into()];
                }
                gateway.core()
            };
            let (client, _) = Client::with(Some(client_key()), version);
            let config = client.resuming().config();
            let kinds = [1, 2, 2, 3, 4, 4, 5].map(|epoch| {
                let (session, client) = connect(&core(epoch), &config, "a.test").unwrap();
                assert!(session.client_chain().is_some());
                resumed(&session, &client)
            });
            // Begun in 1 it ends with 2, begun in 3 it ends with 4.
            let expected = [false, true, true, false, true, true, false];
            assert_eq!(kinds, expected, "{version:?}, hello retry {hello_retry}");
        }
    }
}

#[test]
fn without_tickets_none_is_sent_and_nothing_resumes() {
    for version in Version::ALL {
        let mut gateway = Gateway::new();
        gateway.settings.session_tickets = false;
        let core = gateway.core();
        let config = Client::new(version).resuming().config();
        for _ in 0..2 {
            let (session, client) = connect(&core, &config, "a.test").unwrap();
            assert!(!resumed(&session, &client));
            assert_eq!(client.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn a_chain_too_large_for_a_ticket_gets_none() {
    for version in Version::ALL {
        let core = Gateway::asking("*", &[]).core();
        let mut key = client_key();
        key.cert = vec![CLIENT.der(); 12];
        let (client, _) = Client::with(Some(key), version);
        let config = client.resuming().config();
        for _ in 0..2 {
            let (session, client) = connect(&core, &config, "a.test").unwrap();
            assert!(!resumed(&session, &client));
            assert_eq!(session.client_chain().unwrap().certificates.len(), 12);
        }
    }
}

#[test]
fn tickets_alone_may_be_held_back_until_the_first_response() {
    let core = Gateway::new().core();
    for version in Version::ALL {
        let mut client = start(&Client::new(version).config(), "a.test");
        let mut session = accept(&core, &mut client).unwrap();
        assert!(
            session.has_output() && !session.may_hold_output(),
            "the server's flight"
        );
        let mut flight = Vec::new();
        session.take_output(&mut flight);
        receive(&mut client, &flight).unwrap();
        session.feed(&sent(&mut client)).unwrap();
        // In TLS 1.2 the client waits for our Finished.
        assert_eq!(session.may_hold_output(), version == Version::Tls13);
        assert!(session.has_output());
        if version == Version::Tls12 {
            continue;
        }
        client.writer().write_all(b"request").unwrap();
        session.feed(&sent(&mut client)).unwrap();
        assert!(session.may_hold_output());
        session.write(b"response").unwrap();
        assert!(!session.may_hold_output() && session.has_output());
        let mut out = Vec::new();
        session.take_output(&mut out);
        assert!(!session.has_output() && !session.may_hold_output());
        receive(&mut client, &out).unwrap();
        assert_eq!(client.tls13_tickets_received(), 2);
    }
}
