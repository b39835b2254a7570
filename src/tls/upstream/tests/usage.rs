//! What an upstream's key may be used for.

use super::*;
use rcgen::KeyUsagePurpose;

/// Trusted or not is what `openssl verify -purpose sslserver` of 3.0 says.
#[test]
fn a_key_that_serves_no_handshake_proves_no_upstream() {
    use KeyUsagePurpose::{ContentCommitment, DigitalSignature, KeyCertSign, KeyEncipherment};
    let root = ca("Root").self_signed();
    let tls = UpstreamTls::new(verifying(&[&root]));
    let rows: [(&[KeyUsagePurpose], bool); 5] = [
        (&[], true),
        (&[DigitalSignature], true),
        (&[KeyEncipherment], true),
        (&[ContentCommitment], false),
        (&[KeyCertSign], false),
    ];
    for (usages, good) in rows {
        let made = leaf("s").dns("up.test").key_usages(usages).signed_by(&root);
        let outcome = core().meet(&tls, "up.test", &server_config(&[&made], None));
        let reason = Reason::Purpose;
        let expected = good.then_some(()).ok_or(UpstreamError::Verify { reason });
        assert_eq!(outcome.map(drop), expected, "{usages:?}");
    }
}

/// Names of an upstream are compared by their kind, so a common name outside the constraints is nobody's.
#[test]
fn the_common_name_of_an_upstream_is_held_to_nothing() {
    let root = ca("Root").params(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("up.test".into())],
            excluded_subtrees: vec![],
        });
    });
    let root = root.self_signed();
    let tls = UpstreamTls::new(verifying(&[&root]));
    let made = leaf("b.test").dns("up.test").signed_by(&root);
    let outcome = core().meet(&tls, "up.test", &server_config(&[&made], None));
    assert_eq!(outcome.map(drop), Ok(()));
    let made = leaf("up.test").dns("b.test").signed_by(&root);
    let outcome = core().meet(&tls, "b.test", &server_config(&[&made], None));
    let reason = Reason::NameConstraint;
    assert_eq!(outcome.map(drop), Err(UpstreamError::Verify { reason }));
}
