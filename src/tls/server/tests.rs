use super::*;
use crate::tls::provider::{Mode, choose};

fn policy(map: &[(&str, &[&str])]) -> ServerPolicy {
    let mut request = RequestMap::default();
    for (sni, names) in map {
        request.insert(sni, names.iter().map(|name| name.as_bytes().to_vec()));
    }
    let settings = ServerSettings::new(choose(Mode::Auto));
    ServerPolicy::new(&settings, Vec::new(), SniTable::default(), request, false).unwrap()
}

#[test]
fn a_certificate_is_requested_by_kong_5_2() {
    let scoped: &[(&str, &[&str])] = &[
        ("a.test", &["ca 2", "ca 1"]),
        ("*.wild.test", &[]),
        ("a.test", &["ca 1", "ca 3"]),
    ];
    let global: &[(&str, &[&str])] = &[("a.test", &["ca 1"]), ("*", &["ca 9"])];
    for (rule, map, sni, want) in [
        (
            "entry of the SNI, merged",
            scoped,
            Some("a.test"),
            Some(vec!["ca 1", "ca 2", "ca 3"]),
        ),
        ("send_ca_dn off", scoped, Some("x.wild.test"), Some(vec![])),
        ("no request", scoped, Some("b.test"), None),
        ("no request without SNI", scoped, None, None),
        ("entry, not *", global, Some("a.test"), Some(vec!["ca 1"])),
        (
            "unknown SNI: the * names",
            global,
            Some("b.test"),
            Some(vec!["ca 9"]),
        ),
        ("no SNI: the * names", global, None, Some(vec!["ca 9"])),
    ] {
        let policy = policy(map);
        let names = policy.request_for(sni).map(|entry| {
            entry
                .ca_names
                .iter()
                .map(|name| std::str::from_utf8(name).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(names, want, "{rule}");
    }
}

#[test]
fn one_configuration_serves_every_name_that_is_asked_alike() {
    let policy = Arc::new(policy(&[
        ("a.test", &["ca"]),
        ("b.test", &["ca"]),
        ("c.test", &["other"]),
    ]));
    assert_eq!(policy.request_entries().count(), 2);
    let core = CoreServer::new(policy, Arc::new(Ticketer::new([0; 16], 0, [0; 16])));
    let config = |sni| core.config(sni).unwrap().0;
    assert!(Arc::ptr_eq(
        &config(Some("a.test")),
        &config(Some("b.test"))
    ));
    assert!(!Arc::ptr_eq(
        &config(Some("a.test")),
        &config(Some("c.test"))
    ));
    assert!(Arc::ptr_eq(&config(Some("d.test")), &config(None)));
}

#[test]
fn a_changed_policy_answers_as_one_made_so() {
    type Names = &'static [(&'static str, &'static [&'static str])];
    type Changes = &'static [(&'static str, Option<&'static [&'static str]>)];
    let rows: &[(&str, Names, Changes, Names)] = &[
        ("none", &[("a.test", &["1"])], &[], &[("a.test", &["1"])]),
        (
            "added, known way of asking",
            &[("a.test", &["1"])],
            &[("*.b.test", Some(&["1"]))],
            &[("a.test", &["1"]), ("*.b.test", &["1"])],
        ),
        (
            "replaced, the last with its way of asking",
            &[("a.test", &["1"]), ("*", &[])],
            &[("a.test", Some(&["1", "2"]))],
            &[("a.test", &["1", "2"]), ("*", &[])],
        ),
        (
            "taken out, with another of the kind left",
            &[("a.test", &["1"]), ("b.*", &["1"])],
            &[("a.test", None), ("unknown.test", None)],
            &[("b.*", &["1"])],
        ),
        ("the last", &[("*", &["1"])], &[("*", None)], &[]),
    ];
    let bytes = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    for (rule, before, changes, after) in rows {
        let before = policy(before);
        let changes = changes
            .iter()
            .map(|(name, names)| (*name, names.map(bytes)));
        let (changed, made) = (before.with_changes([], changes), policy(after));
        for sni in [
            None,
            Some("a.test"),
            Some("x.b.test"),
            Some("b.org"),
            Some("*"),
        ] {
            let digest = |policy: &ServerPolicy| policy.request_for(sni).map(|e| e.digest);
            assert_eq!(digest(&changed), digest(&made), "{rule}: {sni:?}");
        }
        let distinct = |policy: &ServerPolicy| policy.request_entries().count();
        assert_eq!(distinct(&changed), distinct(&made), "{rule}");
    }
}

#[test]
fn an_identity_is_read_at_its_first_use_and_once() {
    let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = reads.clone();
    let identity = Arc::new(Identity::lazy(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err("invalid key: gone".into())
    }));
    let count = || reads.load(std::sync::atomic::Ordering::Relaxed);
    let policy = policy(&[]).with_changes([("A.test.", Some(identity))], []);
    assert_eq!((policy.sni_count(), count()), (1, 0));
    for _ in 0..2 {
        let reason = policy.broken_reason(Some("a.test"));
        let expected = "certificate for a.test: invalid key: gone";
        assert_eq!((reason.as_deref(), count()), (Some(expected), 1));
    }
    let without = policy.with_changes([("a.test", None)], []);
    assert_eq!(without.sni_count(), 0);
}

#[test]
fn ca_names_above_the_bound_are_dropped_whole() {
    let many: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; 100]).collect();
    let mut request = RequestMap::default();
    request.insert("*", many);
    let settings = ServerSettings::new(choose(Mode::Auto));
    let policy =
        ServerPolicy::new(&settings, Vec::new(), SniTable::default(), request, false).unwrap();
    let entry = policy.request_for(None).unwrap();
    assert!(entry.ca_names.is_empty());
}

#[test]
fn a_chain_is_accepted_up_to_its_bounds() {
    let policy = policy(&[("*", &[])]);
    let verifier = PossessionVerifier::new(&policy, policy.request_for(None).unwrap());
    let verify = |count: usize, size: usize| {
        let der = CertificateDer::from(vec![0; size]);
        verifier.verify_client_cert(
            &der,
            &vec![der.clone(); count - 1],
            UnixTime::since_unix_epoch(std::time::Duration::ZERO),
        )
    };
    assert!(verify(CLIENT_CHAIN_COUNT_MAX, 1).is_ok());
    assert!(verify(CLIENT_CHAIN_COUNT_MAX + 1, 1).is_err());
    assert!(verify(1, CLIENT_CHAIN_SIZE_MAX).is_ok());
    assert!(verify(2, CLIENT_CHAIN_SIZE_MAX / 2 + 1).is_err());
}
