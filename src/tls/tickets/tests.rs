use super::*;

const NODE: [u8; 16] = [1; 16];
const PROCESS: [u8; 16] = [2; 16];

fn secret(number: u64) -> EpochSecret {
    EpochSecret {
        number,
        secret: [u8::try_from(number).unwrap() ^ 0x5a; 32],
    }
}

fn ticketer(
    node: [u8; 16],
    core: u16,
    process: [u8; 16],
    current: u64,
    previous: Option<u64>,
) -> Ticketer {
    let ticketer = Ticketer::new(node, core, process);
    ticketer.install(secret(current), previous.map(secret));
    ticketer
}

#[test]
fn a_ticket_opens_on_every_core_process_and_node_that_has_the_epoch() {
    let policy = request_digest(true, [b"ca".as_slice()]);
    let sealer = ticketer(NODE, 0, PROCESS, 7, None);
    let ticket = sealer.seal(&policy, b"session").unwrap();
    for opener in [
        &sealer,
        &ticketer(NODE, 1, PROCESS, 7, None),
        &ticketer([9; 16], 63, [8; 16], 8, Some(7)),
    ] {
        assert_eq!(
            opener.open(&policy, &ticket).as_deref(),
            Some(b"session".as_slice())
        );
        assert_eq!(
            opener.open(&policy, &ticket).as_deref(),
            Some(b"session".as_slice()),
            "by the kept key"
        );
    }
}

#[test]
fn a_ticket_dies_with_its_epoch() {
    let policy = request_digest(false, []);
    let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
    let ticket = ticketer.seal(&policy, b"session").unwrap();
    ticketer.install(secret(2), Some(secret(1)));
    assert!(
        ticketer.open(&policy, &ticket).is_some(),
        "the previous epoch is accepted"
    );
    ticketer.install(secret(3), Some(secret(2)));
    assert!(ticketer.open(&policy, &ticket).is_none());
    assert!(ticketer.state().opening.is_empty(), "its key is gone too");
}

#[test]
fn a_renewed_ticket_dies_with_the_epoch_its_session_began_in() {
    let policy = request_digest(true, []);
    let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
    let first = ticketer.seal(&policy, b"session").unwrap();
    ticketer.install(secret(2), Some(secret(1)));
    let (renewed, begun) = ticketer.working(None, || {
        ticketer.open(&policy, &first).unwrap();
        ticketer.seal(&policy, b"session").unwrap()
    });
    assert_eq!(begun, Some(1));
    let (later, _) = ticketer.working(begun, || ticketer.seal(&policy, b"session").unwrap());
    let (unlike, _) = ticketer.working(None, || ticketer.seal(&policy, b"session").unwrap());
    assert!(ticketer.open(&policy, &renewed).is_some());
    ticketer.install(secret(3), Some(secret(2)));
    for ended in [&renewed, &later] {
        assert!(ticketer.open(&policy, ended).is_none());
    }
    assert!(ticketer.open(&policy, &unlike).is_some(), "begun in 2");
}

#[test]
fn the_same_epoch_number_with_another_secret_opens_nothing() {
    let policy = request_digest(false, []);
    let one = ticketer(NODE, 0, PROCESS, 1, None);
    let ticket = one.seal(&policy, b"session").unwrap();
    let other = Ticketer::new(NODE, 0, PROCESS);
    other.install(
        EpochSecret {
            number: 1,
            secret: [0; 32],
        },
        None,
    );
    assert!(other.open(&policy, &ticket).is_none());
}

#[test]
fn a_ticket_of_another_request_policy_does_not_open() {
    let policies = [
        request_digest(false, []),
        request_digest(true, []),
        request_digest(true, [b"ca".as_slice()]),
        request_digest(true, [b"c".as_slice(), b"a".as_slice()]),
    ];
    let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
    for (i, sealed) in policies.iter().enumerate() {
        let ticket = ticketer.seal(sealed, b"session").unwrap();
        for (j, opened) in policies.iter().enumerate() {
            assert_eq!(ticketer.open(opened, &ticket).is_some(), i == j);
        }
    }
}

#[test]
fn a_ticket_changed_in_any_byte_or_cut_is_refused_and_leaves_no_key() {
    let policy = request_digest(true, []);
    let opener = ticketer(NODE, 1, PROCESS, 1, None);
    let ticket = ticketer(NODE, 0, PROCESS, 1, None)
        .seal(&policy, b"session")
        .unwrap();
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert!(opener.open(&policy, &changed).is_none(), "byte {at}");
        assert!(opener.open(&policy, &ticket[..at]).is_none(), "cut at {at}");
    }
    assert!(opener.state().opening.is_empty());
    assert!(opener.open(&policy, &ticket).is_some());
}

#[test]
fn no_nonce_comes_twice_under_one_key() {
    let policy = request_digest(false, []);
    let first = ticketer(NODE, 0, PROCESS, 1, None);
    let again = ticketer(NODE, 0, PROCESS, 1, None);
    let mut heads = std::collections::HashSet::new();
    for round in 0..3 {
        // The same epoch installed again must not start the counter anew.
        first.install(secret(1), None);
        for _ in 0..100 {
            for ticketer in [&first, &again] {
                let ticket = ticketer.seal(&policy, b"session").unwrap();
                assert!(
                    heads.insert(ticket[..HEADER_SIZE].to_vec()),
                    "round {round}"
                );
            }
        }
    }
    assert_eq!(heads.len(), 600);
}

#[test]
fn a_ticket_is_at_most_4_kb() {
    let policy = request_digest(true, []);
    let ticketer = ticketer(NODE, 0, PROCESS, 1, None);
    let room = TICKET_SIZE_MAX - HEADER_SIZE - AES_256_GCM.tag_len();
    assert_eq!(
        ticketer.seal(&policy, &vec![0; room]).unwrap().len(),
        TICKET_SIZE_MAX
    );
    assert!(ticketer.seal(&policy, &vec![0; room + 1]).is_none());
    assert!(
        ticketer
            .open(&policy, &vec![1; TICKET_SIZE_MAX + 1])
            .is_none()
    );
}

#[test]
fn without_an_epoch_nothing_is_sealed_or_opened() {
    let policy = request_digest(false, []);
    let ticket = ticketer(NODE, 0, PROCESS, 1, None)
        .seal(&policy, b"session")
        .unwrap();
    let empty = Ticketer::new(NODE, 0, PROCESS);
    assert!(empty.seal(&policy, b"session").is_none());
    assert!(empty.open(&policy, &ticket).is_none());
}

#[test]
fn the_cache_of_keys_is_bounded() {
    let policy = request_digest(false, []);
    let opener = ticketer(NODE, 0, PROCESS, 1, None);
    for core in 0..u16::try_from(TICKET_KEYS_CACHED_MAX + 10).unwrap() {
        let ticket = ticketer(NODE, core, PROCESS, 1, None)
            .seal(&policy, b"s")
            .unwrap();
        assert!(opener.open(&policy, &ticket).is_some());
        assert!(opener.state().opening.len() <= TICKET_KEYS_CACHED_MAX);
    }
}

#[test]
fn what_clients_are_told_is_the_session_timeout_up_to_a_week() {
    let ticketer = Arc::new(ticketer(NODE, 0, PROCESS, 1, None));
    for (timeout, told) in [(86_400, 86_400), (1_000_000, 604_800), (1, 1), (0, 0)] {
        let tickets = PolicyTickets::new(Arc::clone(&ticketer), [0; 32], timeout);
        assert_eq!(tickets.lifetime(), told);
    }
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", secret(3)), "EpochSecret { number: 3, .. }");
}
