//! A session is worth no more than the certificates it was made with.

use super::*;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// 2030-01-01 and 2031-01-01.
const Y2030: u64 = 1_893_456_000;
const Y2031: u64 = 1_924_992_000;

#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_secs(self.0.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// A core whose clock is set by hand.
fn core_at(now: u64) -> (CoreUpstream, Arc<Clock>) {
    let clock = Arc::new(Clock(AtomicU64::new(now)));
    let mut core = core();
    core.time = Arc::clone(&clock) as Arc<dyn TimeProvider>;
    (core, clock)
}

fn kind(
    core: &mut CoreUpstream,
    tls: &UpstreamTls,
    server: &Arc<ServerConfig>,
) -> Result<HandshakeKind, UpstreamError> {
    let (client, _) = core.meet(tls, "up.test", server)?;
    Ok(client.handshake_kind().unwrap())
}

#[test]
fn a_session_is_not_resumed_past_the_end_of_any_certificate_of_its_path() {
    let root = ca("Root").self_signed();
    let short_root = ca("Root").years(2020, 2030).self_signed();
    let short_leaf = leaf("s").dns("up.test").years(2020, 2030);
    let paths = [
        ("the leaf", short_leaf.signed_by(&root), &root),
        (
            "the root",
            leaf("s").dns("up.test").signed_by(&short_root),
            &short_root,
        ),
    ];
    for versions in [BOTH, ONLY_TLS12] {
        for (what, made, root) in &paths {
            let tls = UpstreamTls::new(UpstreamSpec {
                versions,
                ..verifying(&[root])
            });
            let server = server_config(&[made], None);
            let (mut core, clock) = core_at(Y2030 - 1);
            let mut kind = || kind(&mut core, &tls, &server);
            assert_eq!(kind(), Ok(HandshakeKind::Full), "{what}");
            clock.0.store(Y2030, Ordering::Relaxed);
            assert_eq!(
                kind(),
                Ok(HandshakeKind::Resumed),
                "{what}: its last second"
            );
            clock.0.store(Y2030 + 1, Ordering::Relaxed);
            let refused = kind().unwrap_err();
            assert!(
                matches!(
                    refused,
                    UpstreamError::Verify {
                        reason: Reason::Expired | Reason::CaExpired
                    }
                ),
                "{what}: {refused}"
            );
        }
    }
}

#[test]
fn of_two_upstreams_of_one_name_the_first_end_counts_and_a_renewed_certificate_resumes() {
    let root = ca("Root").self_signed();
    let tls = UpstreamTls::new(verifying(&[&root]));
    let until = |year| {
        let made = leaf("s").dns("up.test").years(2020, year).signed_by(&root);
        server_config(&[&made], None)
    };
    let (short, long) = (until(2030), until(2031));
    let (mut core, clock) = core_at(Y2030 - 1);
    let mut kind = |server| kind(&mut core, &tls, server);
    // The other one cannot open the first one's tickets.
    assert_eq!(kind(&short), Ok(HandshakeKind::Full));
    assert_eq!(kind(&long), Ok(HandshakeKind::Full));
    clock.0.store(Y2030 + 1, Ordering::Relaxed);
    assert!(kind(&short).is_err());
    assert_eq!(kind(&long), Ok(HandshakeKind::Full));
    assert_eq!(kind(&long), Ok(HandshakeKind::Resumed));
    clock.0.store(Y2031 + 1, Ordering::Relaxed);
    assert!(kind(&long).is_err());
}

/// `tls_verify` off asks for no date either.
#[test]
fn without_verification_sessions_are_resumed_whatever_the_dates() {
    let root = ca("Root").self_signed();
    let made = leaf("s").dns("up.test").years(2020, 2030).signed_by(&root);
    let tls = UpstreamTls::new(UpstreamSpec {
        verify: false,
        ..verifying(&[&root])
    });
    let server = server_config(&[&made], None);
    let (mut core, _) = core_at(Y2030 + 1);
    assert_eq!(kind(&mut core, &tls, &server), Ok(HandshakeKind::Full));
    assert_eq!(kind(&mut core, &tls, &server), Ok(HandshakeKind::Resumed));
}
