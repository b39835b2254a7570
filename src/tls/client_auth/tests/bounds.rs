//! Hostile chains: what cannot be read, what was changed, and what only costs.

use super::*;

#[test]
fn chains_that_cannot_be_read_are_refused_without_a_signature() {
    let root = ca("Root").self_signed();
    let good = leaf("c").signed_by(&root).der;
    let mut trailing = good.clone();
    trailing.push(0);
    let trust = trust(&[(ROOT, &root)], false);
    for leaf in [
        vec![],
        b"x".to_vec(),
        trailing,
        good[..good.len() - 1].to_vec(),
    ] {
        let mut work = Work::default();
        let verdict = judge(&ClientChain::new(vec![leaf]), &trust, NOW, &mut work);
        assert!(
            matches!(verdict, Verdict::Refused(Reason::Malformed)),
            "{verdict:?}"
        );
        assert_eq!(work.signatures, 0);
    }
    let beside_garbage = ClientChain::new(vec![good, b"garbage".to_vec()]);
    assert_eq!(outcome(&beside_garbage, &trust), Ok(vec![ROOT]));
}

#[test]
fn no_chain_with_a_changed_byte_is_trusted() {
    let root = ca("Root").self_signed();
    let issuing = ca("Issuing").signed_by(&root);
    let client = leaf("c").signed_by(&issuing);
    let trust = trust(&[(ROOT, &root)], false);
    let good = [client.der.clone(), issuing.der.clone()];
    for certificate in 0..good.len() {
        for place in 0..good[certificate].len() {
            let mut bad = good.to_vec();
            bad[certificate][place] ^= 1 << (place % 8);
            let verdict = outcome(&ClientChain::new(bad), &trust);
            assert!(
                verdict.is_err(),
                "byte {place} of certificate {certificate}"
            );
        }
    }
}

/// DESIGN.md "Chains": ten same-named certificates cost a core a quarter of a second when nothing bounds them.
#[test]
fn same_named_cas_sent_by_a_client_cost_a_bounded_number_of_signatures() {
    let root = ca("Mesh").self_signed();
    let hub = ca("Hub").self_signed();
    let anchors = trust(&[(ROOT, &root)], false);
    let partial = trust(&[(ROOT, &root), (SECOND, &hub)], true);
    let named = |name: &str, issuer: &Made| ca(name).signed_by(issuer);
    let ten_self_issued: Vec<Made> = (0..10).map(|_| ca("Mesh").self_signed()).collect();
    let ten_by_hub: Vec<Made> = (0..10).map(|_| named("Mesh", &hub)).collect();
    let mesh: Vec<Made> = (0..10)
        .map(|n| match n % 2 {
            0 => named("Mesh", &hub),
            _ => named("Hub", &root),
        })
        .collect();
    let impostor = ca("Mesh").self_signed();
    let victim = leaf("c").signed_by(&impostor);
    // What, the CAs sent, signatures at most: with the root listed, and with partial chains and the hub listed too.
    let rows = [
        ("self-issued", &ten_self_issued, [1, 1]),
        ("of one name", &ten_by_hub, [1, 5]),
        ("in a mesh", &mesh, [limits::PATH_SIGNATURES_MAX; 2]),
    ];
    for (what, sent, most) in rows {
        let mut certificates = vec![victim.der.clone()];
        certificates.extend(sent.iter().map(|made| made.der.clone()));
        let chain = ClientChain::new(certificates);
        for (trust, most) in [&anchors, &partial].into_iter().zip(most) {
            let mut work = Work::default();
            let verdict = judge(&chain, trust, NOW, &mut work);
            assert!(
                matches!(verdict, Verdict::Refused(_)),
                "{what}: {verdict:?}"
            );
            assert!(work.signatures <= most, "{what}: {work:?}");
            assert!(work.certificates <= 11, "{what}: {work:?}");
        }
    }
}

/// A trusted insider's certificate under many same-named anchors: the bound holds, and it is said to be the bound.
#[test]
fn the_signature_bound_ends_a_search_and_key_identifiers_avoid_it() {
    let cas: Vec<Made> = (0..40).map(|_| ca("Cluster").self_signed()).collect();
    let listed: Vec<(Uuid, &Made)> = cas
        .iter()
        .enumerate()
        .map(|(n, made)| (Uuid::from_u128(n as u128), made))
        .collect();
    let trust = trust(&listed, false);
    for (n, issuer) in cas.iter().enumerate() {
        let mut work = Work::default();
        let asking = leaf("c").authority_key_id().signed_by(issuer);
        let verdict = judge(&chain(&[&asking]), &trust, NOW, &mut work);
        let Verdict::Trusted(trusted) = verdict else {
            panic!("{n}: {verdict:?}");
        };
        assert_eq!(trusted.path_cas, [Uuid::from_u128(n as u128)]);
        assert_eq!(
            work,
            Work {
                certificates: 1,
                signatures: 1,
                paths: 1
            }
        );
    }
    let impostor = ca("Cluster").self_signed();
    let mut work = Work::default();
    let verdict = judge(
        &chain(&[&leaf("c").signed_by(&impostor)]),
        &trust,
        NOW,
        &mut work,
    );
    assert!(
        matches!(verdict, Verdict::Refused(Reason::TooMuchWork)),
        "{verdict:?}"
    );
    assert_eq!(work.signatures, limits::PATH_SIGNATURES_MAX);
}

/// A root, then so many CAs each signed by the one before, then a leaf.
fn ladder(rungs: usize) -> (Made, Vec<Made>, Made) {
    let root = ca("Root").self_signed();
    let mut rest: Vec<Made> = Vec::new();
    for rung in 0..rungs {
        let issuer = rest.last().unwrap_or(&root);
        let next = ca(&format!("CA {rung}")).signed_by(issuer);
        rest.push(next);
    }
    let client = leaf("c").signed_by(rest.last().unwrap_or(&root));
    (root, rest, client)
}

#[test]
fn a_client_may_send_so_many_intermediates_and_the_set_may_add_its_own() {
    let sent_max = limits::CLIENT_INTERMEDIATES_MAX;
    let path_max = limits::PATH_INTERMEDIATES_MAX;
    // How many CAs stand between, how many of them (the nearest to the leaf) are sent; the others are listed.
    let rows = [
        (sent_max, sent_max, true),
        (sent_max + 1, sent_max + 1, false),
        (sent_max + 1, sent_max, true),
        (path_max, 0, true),
        (path_max, sent_max, true),
        (path_max + 1, sent_max, false),
        (path_max + 1, 0, false),
    ];
    for (between, sent, trusted) in rows {
        let (root, rungs, client) = ladder(between);
        let (listed, sent_rungs) = rungs.split_at(between - sent);
        let mut anchors = vec![(ROOT, &root)];
        anchors.extend(listed.iter().map(|made| (SECOND, made)));
        let mut certificates = vec![&client];
        certificates.extend(sent_rungs.iter().rev());
        let verdict = outcome(&chain(&certificates), &trust(&anchors, false));
        assert_eq!(
            verdict.is_ok(),
            trusted,
            "{between} between, {sent} sent: {verdict:?}"
        );
    }
}
