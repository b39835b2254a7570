//! Which chains lead to a listed CA and which do not, a table per rule: long, and read by look-up.

mod bounds;
mod cache;
mod constraints;

use super::*;
use crate::tls::trust::Options;
use crate::tls::trust::testpki::{Made, NOW, ca, leaf};
use rcgen::{ExtendedKeyUsagePurpose as Eku, GeneralSubtree, KeyUsagePurpose, NameConstraints};

const ROOT: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

/// 2025-01-01 and 2030-01-01.
const Y2025: u64 = 1_735_689_600;
const Y2030: u64 = 1_893_456_000;

fn trust(anchors: &[(Uuid, &Made)], allow_partial_chain: bool) -> TrustSet {
    let anchors = anchors.iter().map(|(id, made)| (*id, made.der.clone()));
    let options = Options {
        allow_partial_chain,
    };
    TrustSet::build(anchors.collect(), options).unwrap()
}

fn chain(certificates: &[&Made]) -> ClientChain {
    ClientChain::new(certificates.iter().map(|made| made.der.clone()).collect())
}

/// The ids on the path, or the reason.
fn outcome(chain: &ClientChain, trust: &TrustSet) -> Result<Vec<Uuid>, Reason> {
    match judge(chain, trust, NOW, &mut Work::default()) {
        Verdict::Trusted(trusted) => Ok(trusted.path_cas.clone()),
        Verdict::Refused(reason) => Err(reason),
    }
}

/// Each row: what the rule is about, the chain as sent, the listed CAs, allow_partial_chain, the verdict.
type Row<'a> = (
    &'a str,
    &'a [&'a Made],
    &'a [(Uuid, &'a Made)],
    bool,
    Result<&'a [Uuid], Reason>,
);

/// Trusted or not is what `openssl verify -purpose sslclient` of 3.0 says of each row too, `-partial_chain` where allowed;
/// except for the anchors that are given their chance, where OpenSSL does not go back and try another one.
fn check(rows: &[Row<'_>]) {
    for (what, sent, listed, partial, expected) in rows {
        let verdict = outcome(&chain(sent), &trust(listed, *partial));
        let expected = expected.map(<[Uuid]>::to_vec);
        assert_eq!(verdict, expected, "{what}");
    }
}

#[test]
fn paths_lead_to_listed_cas_or_nowhere() {
    let root = ca("Root").self_signed();
    let other = ca("Other").self_signed();
    let issuing = ca("Issuing").signed_by(&root);
    let direct = leaf("c").signed_by(&root);
    let client = leaf("c").signed_by(&issuing);
    let stranger = leaf("c").signed_by(&other);
    let copy = ca("Root").self_signed();
    let by_copy = leaf("c").signed_by(&copy);
    let self_signed = leaf("c").self_signed();
    let self_signed_copy = leaf("Root").self_signed();
    let no: Result<&[Uuid], Reason> = Err(Reason::UnknownIssuer);
    let only_root: &[(Uuid, &Made)] = &[(ROOT, &root)];
    let only_issuing: &[(Uuid, &Made)] = &[(SECOND, &issuing)];
    let both: &[(Uuid, &Made)] = &[(ROOT, &root), (SECOND, &issuing)];
    check(&[
        (
            "KONG 5.3 leaf of the root",
            &[&direct],
            only_root,
            false,
            Ok(&[ROOT]),
        ),
        (
            "KONG 5.3 leaf and intermediate",
            &[&client, &issuing],
            only_root,
            false,
            Ok(&[ROOT]),
        ),
        (
            "KONG 5.3 root sent as well",
            &[&client, &issuing, &root],
            only_root,
            false,
            Ok(&[ROOT]),
        ),
        (
            "KONG 5.3 out of order",
            &[&client, &root, &other, &issuing],
            only_root,
            false,
            Ok(&[ROOT]),
        ),
        ("KONG 5.10.4 stranger", &[&stranger], only_root, false, no),
        (
            "KONG 5.10.4 stranger with its root",
            &[&stranger, &other],
            only_root,
            false,
            no,
        ),
        (
            "KONG 5.10.4 signed by a copy of the CA's name",
            &[&by_copy],
            only_root,
            false,
            Err(Reason::BadSignature),
        ),
        (
            "KONG 5.10.4 the same, the copy sent",
            &[&by_copy, &copy],
            only_root,
            false,
            Err(Reason::BadSignature),
        ),
        (
            "KONG 5.10.4 self-signed copy of the CA's name",
            &[&self_signed_copy],
            only_root,
            false,
            Err(Reason::SelfSigned),
        ),
        (
            "KONG 5.10.4 self-signed",
            &[&self_signed],
            only_root,
            false,
            Err(Reason::SelfSigned),
        ),
        (
            "KONG 5.10.5 leaf only, intermediate not listed",
            &[&client],
            only_root,
            false,
            no,
        ),
        (
            "KONG 5.10.5 leaf only, only the intermediate listed",
            &[&client],
            only_issuing,
            false,
            Err(Reason::PartialChain),
        ),
        (
            "KONG 5.10.5 the same, intermediate sent",
            &[&client, &issuing],
            only_issuing,
            false,
            Err(Reason::PartialChain),
        ),
        (
            "KONG 5.10.5 the same, partial chains allowed",
            &[&client],
            only_issuing,
            true,
            Ok(&[SECOND]),
        ),
        (
            "KONG 5.4 both listed, leaf sent",
            &[&client],
            both,
            false,
            Ok(&[SECOND, ROOT]),
        ),
        (
            "KONG 5.4 both listed, both sent",
            &[&client, &issuing],
            both,
            false,
            Ok(&[SECOND, ROOT]),
        ),
        (
            "KONG 5.4 both listed, partial: the path ends at the nearest",
            &[&client, &issuing],
            both,
            true,
            Ok(&[SECOND]),
        ),
        ("nothing listed", &[&direct], &[], false, no),
        (
            "nothing sent",
            &[],
            only_root,
            false,
            Err(Reason::NoCertificate),
        ),
    ]);
}

#[test]
fn a_certificate_that_is_listed_itself_needs_nobody_to_vouch_for_it() {
    let own = ca("Own").key_usages(&[]);
    let copy = ca("Own").key_usages(&[]).self_signed();
    let server_only = ca("Own")
        .key_usages(&[])
        .purposes(&[Eku::ServerAuth])
        .self_signed();
    let certifying = ca("Own").self_signed();
    let signing = ca("Own").key_usages(&[KeyUsagePurpose::DigitalSignature]);
    let signing = signing.self_signed();
    let old = ca("Own").key_usages(&[]).years(2000, 2010).self_signed();
    let early = ca("Own").key_usages(&[]).years(2030, 2040).self_signed();
    let root = ca("Root").self_signed();
    let issuing = ca("Issuing").key_usages(&[]).signed_by(&root);
    let own = own.self_signed();
    let yes: Result<&[Uuid], Reason> = Ok(&[ROOT]);
    check(&[
        ("self-signed", &[&own], &[(ROOT, &own)], false, yes),
        (
            "with others sent",
            &[&own, &root],
            &[(SECOND, &root), (ROOT, &own)],
            false,
            yes,
        ),
        (
            "keyUsage allows it",
            &[&signing],
            &[(ROOT, &signing)],
            false,
            yes,
        ),
        (
            "keyUsage is for certificates alone",
            &[&certifying],
            &[(ROOT, &certifying)],
            false,
            Err(Reason::Purpose),
        ),
        (
            "for servers alone",
            &[&server_only],
            &[(ROOT, &server_only)],
            false,
            Err(Reason::Purpose),
        ),
        (
            "expired",
            &[&old],
            &[(ROOT, &old)],
            false,
            Err(Reason::Expired),
        ),
        (
            "early",
            &[&early],
            &[(ROOT, &early)],
            false,
            Err(Reason::NotYetValid),
        ),
        (
            "of the same name and another key",
            &[&copy],
            &[(ROOT, &own)],
            false,
            Err(Reason::CaAsLeaf),
        ),
        (
            "an intermediate ends no path",
            &[&issuing],
            &[(ROOT, &issuing)],
            false,
            Err(Reason::CaAsLeaf),
        ),
        (
            "an intermediate, partial chains allowed",
            &[&issuing],
            &[(ROOT, &issuing)],
            true,
            yes,
        ),
    ]);
}

#[test]
fn dates_of_every_certificate_of_the_path_count() {
    let root = ca("Root").self_signed();
    let old_root = ca("Old").years(2000, 2025).self_signed();
    let future_root = ca("Future").years(2030, 2040).self_signed();
    let old_ca = ca("OldCa").years(2000, 2025).signed_by(&root);
    let future_ca = ca("FutureCa").years(2030, 2040).signed_by(&root);
    let expired = leaf("c").years(2000, 2025).signed_by(&root);
    let early = leaf("c").years(2030, 2040).signed_by(&root);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    check(&[
        (
            "RFC 5280 6.1.3 (a)(2) leaf expired",
            &[&expired],
            listed,
            false,
            Err(Reason::Expired),
        ),
        (
            "RFC 5280 6.1.3 (a)(2) leaf early",
            &[&early],
            listed,
            false,
            Err(Reason::NotYetValid),
        ),
        (
            "RFC 5280 6.1.3 (a)(2) CA expired",
            &[&leaf("c").signed_by(&old_ca), &old_ca],
            listed,
            false,
            Err(Reason::CaExpired),
        ),
        (
            "RFC 5280 6.1.3 (a)(2) CA early",
            &[&leaf("c").signed_by(&future_ca), &future_ca],
            listed,
            false,
            Err(Reason::CaNotYetValid),
        ),
        (
            "DESIGN Chains: root expired",
            &[&leaf("c").signed_by(&old_root)],
            &[(ROOT, &old_root)],
            false,
            Err(Reason::CaExpired),
        ),
        (
            "DESIGN Chains: root early",
            &[&leaf("c").signed_by(&future_root)],
            &[(ROOT, &future_root)],
            false,
            Err(Reason::CaNotYetValid),
        ),
        (
            "partial anchor expired",
            &[&leaf("c").signed_by(&old_ca)],
            &[(ROOT, &old_ca)],
            true,
            Err(Reason::CaExpired),
        ),
    ]);
}

#[test]
fn constraints_of_every_ca_of_the_path_count() {
    let root = ca("Root").self_signed();
    let root0 = ca("Root0").path_len(0).self_signed();
    let root1 = ca("Root1").path_len(1).self_signed();
    let below0 = ca("Below0").signed_by(&root0);
    let below1 = ca("Below1").signed_by(&root1);
    let below2 = ca("Below2").signed_by(&below1);
    let short = ca("Short").path_len(0).signed_by(&root);
    let under_short = ca("UnderShort").signed_by(&short);
    let no_sign = ca("NoSign").key_usages(&[KeyUsagePurpose::CrlSign]);
    let no_sign = no_sign.signed_by(&root);
    let no_sign_root = ca("NoSignRoot").key_usages(&[KeyUsagePurpose::CrlSign]);
    let no_sign_root = no_sign_root.self_signed();
    let no_usage = ca("NoUsage").key_usages(&[]).self_signed();
    let end_entity = leaf("EndEntity").signed_by(&root);
    let ca_leaf = ca("c").signed_by(&root);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    let yes: Result<&[Uuid], Reason> = Ok(&[ROOT]);
    let c = |issuer: &Made| leaf("c").signed_by(issuer);
    check(&[
        (
            "RFC 5280 4.2.1.9 root's pathLen 0, none between",
            &[&c(&root0)],
            &[(ROOT, &root0)],
            false,
            yes,
        ),
        (
            "RFC 5280 4.2.1.9 root's pathLen 0, one between",
            &[&c(&below0), &below0],
            &[(ROOT, &root0)],
            false,
            Err(Reason::PathLength),
        ),
        (
            "RFC 5280 4.2.1.9 root's pathLen 1, one between",
            &[&c(&below1), &below1],
            &[(ROOT, &root1)],
            false,
            yes,
        ),
        (
            "RFC 5280 4.2.1.9 root's pathLen 1, two between",
            &[&c(&below2), &below2, &below1],
            &[(ROOT, &root1)],
            false,
            Err(Reason::PathLength),
        ),
        (
            "RFC 5280 4.2.1.9 CA's pathLen 0, none below",
            &[&c(&short), &short],
            listed,
            false,
            yes,
        ),
        (
            "RFC 5280 4.2.1.9 CA's pathLen 0, one below",
            &[&c(&under_short), &under_short, &short],
            listed,
            false,
            Err(Reason::PathLength),
        ),
        (
            "RFC 5280 4.2.1.9 partial anchor's pathLen 0, one below",
            &[&c(&under_short), &under_short],
            &[(ROOT, &short)],
            true,
            Err(Reason::PathLength),
        ),
        (
            "RFC 5280 4.2.1.3 CA without keyCertSign",
            &[&c(&no_sign), &no_sign],
            listed,
            false,
            Err(Reason::NoCertSign),
        ),
        (
            "RFC 5280 4.2.1.3 root without keyCertSign",
            &[&c(&no_sign_root)],
            &[(ROOT, &no_sign_root)],
            false,
            Err(Reason::NoCertSign),
        ),
        (
            "RFC 5280 4.2.1.3 no keyUsage at all",
            &[&c(&no_usage)],
            &[(ROOT, &no_usage)],
            false,
            yes,
        ),
        (
            "RFC 5280 4.2.1.9 a leaf used as CA",
            &[&c(&end_entity), &end_entity],
            listed,
            false,
            Err(Reason::NotCa),
        ),
        (
            "webpki: a CA used as leaf",
            &[&ca_leaf],
            listed,
            false,
            Err(Reason::CaAsLeaf),
        ),
    ]);
}

#[test]
fn an_extended_key_usage_must_name_client_auth() {
    let root = ca("Root").self_signed();
    let server_root = ca("ServerRoot").purposes(&[Eku::ServerAuth]).self_signed();
    let client_root = ca("ClientRoot").purposes(&[Eku::ClientAuth]).self_signed();
    let server_ca = ca("ServerCa").purposes(&[Eku::ServerAuth]).signed_by(&root);
    let c = |purposes: &[Eku]| leaf("c").purposes(purposes).signed_by(&root);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    let yes: Result<&[Uuid], Reason> = Ok(&[ROOT]);
    check(&[
        ("KONG 5.3 none", &[&c(&[])], listed, false, yes),
        (
            "KONG 5.3 clientAuth",
            &[&c(&[Eku::ClientAuth])],
            listed,
            false,
            yes,
        ),
        (
            "KONG 5.3 both",
            &[&c(&[Eku::ServerAuth, Eku::ClientAuth])],
            listed,
            false,
            yes,
        ),
        (
            "KONG 5.3 serverAuth",
            &[&c(&[Eku::ServerAuth])],
            listed,
            false,
            Err(Reason::Purpose),
        ),
        (
            "OpenSSL: any does not stand in",
            &[&c(&[Eku::Any])],
            listed,
            false,
            Err(Reason::Purpose),
        ),
        (
            "OpenSSL: of a CA",
            &[&leaf("c").signed_by(&server_ca), &server_ca],
            listed,
            false,
            Err(Reason::Purpose),
        ),
        (
            "OpenSSL: of the root",
            &[&leaf("c").signed_by(&server_root)],
            &[(ROOT, &server_root)],
            false,
            Err(Reason::Purpose),
        ),
        (
            "OpenSSL: of the root, right",
            &[&leaf("c").signed_by(&client_root)],
            &[(ROOT, &client_root)],
            false,
            yes,
        ),
    ]);
}

#[test]
fn name_constraints_of_the_anchor_hold() {
    let root = ca("Root").params(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".into())],
            excluded_subtrees: vec![],
        });
    });
    let root = root.self_signed();
    let inside = leaf("c").dns("a.example.com").signed_by(&root);
    let outside = leaf("c").dns("a.example.org").signed_by(&root);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    check(&[
        (
            "RFC 5280 4.2.1.10 inside",
            &[&inside],
            listed,
            false,
            Ok(&[ROOT]),
        ),
        (
            "RFC 5280 4.2.1.10 outside",
            &[&outside],
            listed,
            false,
            Err(Reason::NameConstraint),
        ),
    ]);
}

#[test]
fn an_anchor_that_fails_leaves_the_others_their_chance() {
    let root = ca("Root").years(2000, 2025).self_signed();
    let renewed = ca("Root").key_of(&root).self_signed();
    let same_name = ca("Root").self_signed();
    let cross = ca("Issuing").signed_by(&root);
    let also = ca("Issuing").key_of(&cross).signed_by(&same_name);
    let client = leaf("c").signed_by(&cross);
    let late = ca("Root")
        .key_of(&root)
        .key_usages(&[KeyUsagePurpose::CrlSign])
        .years(2020, 2050)
        .self_signed();
    check(&[
        (
            "expired and renewed with the same key",
            &[&leaf("c").signed_by(&root)],
            &[(ROOT, &root), (SECOND, &renewed)],
            false,
            Ok(&[SECOND]),
        ),
        (
            "the one tried first lacks keyCertSign",
            &[&leaf("c").signed_by(&root)],
            &[(ROOT, &late), (SECOND, &renewed)],
            false,
            Ok(&[SECOND, ROOT]),
        ),
        (
            "two of one name",
            &[&leaf("c").signed_by(&renewed)],
            &[(ROOT, &same_name), (SECOND, &renewed)],
            false,
            Ok(&[SECOND]),
        ),
        (
            "cross-signed, one way expired",
            &[&client, &cross, &also],
            &[(ROOT, &root), (SECOND, &same_name)],
            false,
            Ok(&[SECOND]),
        ),
        (
            "cross-signed, the good way sent last",
            &[&client, &cross, &also],
            &[(SECOND, &same_name)],
            false,
            Ok(&[SECOND]),
        ),
    ]);
}

#[test]
fn a_verdict_carries_the_narrowest_dates_of_its_path() {
    let root = ca("Root").self_signed();
    let issuing = ca("Issuing").years(2025, 2030).signed_by(&root);
    let client = leaf("c").dns("c.example").signed_by(&issuing);
    let verdict = judge(
        &chain(&[&client, &issuing]),
        &trust(&[(ROOT, &root)], false),
        NOW,
        &mut Work::default(),
    );
    let Verdict::Trusted(trusted) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!((trusted.valid_from, trusted.valid_until), (Y2025, Y2030));
    assert_eq!(trusted.path_cas, [ROOT]);
    assert_eq!(&*trusted.identity.subject_dn, "CN=c");
    assert_eq!(&*trusted.identity.alt_names[0].text, "c.example");
}

#[test]
fn the_digest_of_a_chain_separates_its_certificates() {
    let digest = |certificates: &[&[u8]]| {
        ClientChain::new(certificates.iter().map(|der| der.to_vec()).collect()).digest
    };
    let all = [
        digest(&[]),
        digest(&[b""]),
        digest(&[b"ab"]),
        digest(&[b"a", b"b"]),
        digest(&[b"b", b"a"]),
        digest(&[b"ab", b""]),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "{place}");
    }
}
