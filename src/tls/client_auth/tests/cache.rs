//! What a core remembers, and for how long.

use super::*;

fn good_and_stranger() -> (ClientChain, TrustSet, Made) {
    let root = ca("Root").self_signed();
    let client = leaf("c").years(2025, 2030).signed_by(&root);
    (chain(&[&client]), trust(&[(ROOT, &root)], false), root)
}

fn stranger(n: usize) -> ClientChain {
    ClientChain::new(vec![n.to_be_bytes().to_vec()])
}

fn is_trusted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Trusted(_))
}

#[test]
fn a_verdict_is_worked_out_once() {
    let (client, trust, _) = good_and_stranger();
    let mut cache = VerdictCache::new();
    let (verdict, looked) = cache.judge(&client, &trust, NOW);
    assert!(is_trusted(&verdict));
    assert_eq!(looked, Looked::Verified { signatures: 1 });
    for _ in 0..3 {
        let (verdict, looked) = cache.judge(&client, &trust, NOW + 1);
        assert!(is_trusted(&verdict));
        assert_eq!(looked, Looked::Hit);
    }
    assert_eq!(cache.sizes(), (1, 0));
}

/// RUNTIME §14.8: a CA taken out of the set is felt by the next request.
#[test]
fn another_trust_set_is_another_verdict_and_an_equal_one_is_not() {
    let (client, with, root) = good_and_stranger();
    let other = ca("Other").self_signed();
    let without = trust(&[(SECOND, &other)], false);
    let equal = trust(&[(ROOT, &root)], false);
    let mut cache = VerdictCache::new();
    assert!(is_trusted(&cache.judge(&client, &with, NOW).0));
    assert!(!is_trusted(&cache.judge(&client, &without, NOW).0));
    let (verdict, looked) = cache.judge(&client, &equal, NOW);
    assert!(is_trusted(&verdict));
    assert_eq!(looked, Looked::Hit);
}

#[test]
fn a_good_verdict_does_not_outlive_the_path_s_dates_nor_precede_them() {
    let (client, trust, _) = good_and_stranger();
    let mut cache = VerdictCache::new();
    let rows = [
        (Y2030 - 1, true, false),
        (Y2030, true, true),
        (Y2030 + 1, false, false),
        (Y2025 - 1, false, false),
        (Y2025 + limits::VERDICT_REFUSED_TTL_S, true, false),
        (NOW, true, true),
    ];
    for (now, trusted, hit) in rows {
        let (verdict, looked) = cache.judge(&client, &trust, now);
        assert_eq!(
            (is_trusted(&verdict), looked == Looked::Hit),
            (trusted, hit),
            "{now}"
        );
    }
}

#[test]
fn a_refusal_is_believed_for_its_time_only() {
    let root = ca("Root").self_signed();
    let early = chain(&[&leaf("c").years(2030, 2040).signed_by(&root)]);
    let trust = trust(&[(ROOT, &root)], false);
    let start = Y2030 - 2;
    let mut cache = VerdictCache::new();
    let rows = [
        (start, false, false),
        (start + 1, false, true),
        (start + limits::VERDICT_REFUSED_TTL_S - 1, false, true),
        (start + limits::VERDICT_REFUSED_TTL_S, true, false),
        (start - 1, false, false), // the clock went back
    ];
    for (now, trusted, hit) in rows {
        let (verdict, looked) = cache.judge(&early, &trust, now);
        assert_eq!(
            (is_trusted(&verdict), looked == Looked::Hit),
            (trusted, hit),
            "{now}"
        );
    }
}

#[test]
fn strangers_cannot_evict_good_verdicts() {
    let (client, trust, _) = good_and_stranger();
    let mut cache = VerdictCache::bounded(2, 4);
    cache.judge(&client, &trust, NOW);
    for n in 0..1000 {
        let (verdict, _) = cache.judge(&stranger(n), &trust, NOW);
        assert!(!is_trusted(&verdict));
    }
    assert_eq!(cache.sizes(), (1, 4));
    assert_eq!(cache.judge(&client, &trust, NOW).1, Looked::Hit);
}

#[test]
fn both_caches_stay_within_their_bounds() {
    let root = ca("Root").self_signed();
    let trust = trust(&[(ROOT, &root)], false);
    let clients: Vec<ClientChain> = (0..5)
        .map(|_| chain(&[&leaf("c").signed_by(&root)]))
        .collect();
    let mut cache = VerdictCache::bounded(3, 1);
    for client in &clients {
        cache.judge(client, &trust, NOW);
    }
    assert_eq!(cache.sizes(), (3, 0));
    assert_eq!(cache.judge(&clients[4], &trust, NOW).1, Looked::Hit);
    assert_ne!(cache.judge(&clients[0], &trust, NOW).1, Looked::Hit);
}
