use super::*;
use crate::tls::trust::testpki::Spec;
use rcgen::{CidrSubnet, CustomExtension, DnType, SanType};

fn constrained(permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>) -> Spec {
    ca("Constrained").params(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: excluded,
        });
    })
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A subjectAltName of one directoryName `CN=text`.
fn directory_name(text: &str) -> CustomExtension {
    let tlv = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    };
    let attribute = [tlv(0x06, &[0x55, 4, 3]), tlv(0x0c, text.as_bytes())].concat();
    let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)));
    CustomExtension::from_oid_content(&[2, 5, 29, 17], tlv(0x30, &tlv(0xa4, &name)))
}

#[test]
fn a_constrained_ca_cannot_name_others_in_a_field_its_constraints_are_not_about() {
    let root = ca("Root").self_signed();
    let dns = constrained(vec![GeneralSubtree::DnsName("a.test".into())], vec![]);
    let dns = dns.signed_by(&root);
    let below = ca("Below").signed_by(&dns);
    let email = constrained(vec![GeneralSubtree::Rfc822Name("a.test".into())], vec![]);
    let email = email.signed_by(&root);
    let ip = CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]);
    let ip = constrained(vec![], vec![GeneralSubtree::IpAddress(ip)]).signed_by(&root);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    let (yes, no): (Result<&[Uuid], Reason>, _) = (Ok(&[ROOT]), Err(Reason::NameConstraint));

    let directory = |text: &str| {
        leaf("c")
            .params(|params| params.custom_extensions = vec![directory_name(text)])
            .signed_by(&dns)
    };
    let mail_in_subject = |text: &str| {
        let email_address = DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
        leaf("c")
            .params(|params| params.distinguished_name.push(email_address, text))
            .signed_by(&email)
    };
    let san = |name: SanType, issuer: &Made| leaf("c").names(&[name]).signed_by(issuer);
    check(&[
        (
            "CN inside",
            &[&leaf("x.a.test").signed_by(&dns), &dns],
            listed,
            false,
            yes,
        ),
        (
            "CN is no host",
            &[&leaf("admin").signed_by(&dns), &dns],
            listed,
            false,
            yes,
        ),
        (
            "CN outside",
            &[&leaf("x.b.test").signed_by(&dns), &dns],
            listed,
            false,
            no,
        ),
        (
            "CN outside, two below",
            &[&leaf("x.b.test").signed_by(&below), &below, &dns],
            listed,
            false,
            no,
        ),
        (
            "URI that is a host inside",
            &[&san(uri("x.a.test"), &dns), &dns],
            listed,
            false,
            yes,
        ),
        (
            "URI that is a host outside",
            &[&san(uri("x.b.test"), &dns), &dns],
            listed,
            false,
            no,
        ),
        (
            "directoryName inside",
            &[&directory("x.a.test"), &dns],
            listed,
            false,
            yes,
        ),
        (
            "directoryName outside",
            &[&directory("x.b.test"), &dns],
            listed,
            false,
            no,
        ),
        (
            "emailAddress inside",
            &[&mail_in_subject("x@a.test"), &email],
            listed,
            false,
            yes,
        ),
        (
            "emailAddress outside",
            &[&mail_in_subject("x@b.test"), &email],
            listed,
            false,
            no,
        ),
        (
            "CN that is a mailbox",
            &[&leaf("x@b.test").signed_by(&email), &email],
            listed,
            false,
            no,
        ),
        (
            "CN that is an address",
            &[&leaf("10.1.2.3").signed_by(&ip), &ip],
            listed,
            false,
            no,
        ),
        (
            "CN that is another address",
            &[&leaf("11.1.2.3").signed_by(&ip), &ip],
            listed,
            false,
            yes,
        ),
    ]);
}

/// Stricter than OpenSSL, which looks at no CN beside a dNSName: groups come from the CN whatever else there is (KONG.md §5.3).
#[test]
fn the_common_name_is_held_to_constraints_beside_a_san_too() {
    let root = constrained(vec![GeneralSubtree::DnsName("a.test".into())], vec![]).self_signed();
    let spoofed = leaf("admin.b.test").dns("x.a.test").signed_by(&root);
    assert_eq!(
        outcome(&chain(&[&spoofed]), &trust(&[(ROOT, &root)], false)),
        Err(Reason::NameConstraint)
    );
}

#[test]
fn a_path_through_an_unconstrained_ca_is_taken_where_there_is_one() {
    let free = ca("Issuing").signed_by(&ca("Root").self_signed());
    let narrow = constrained(vec![GeneralSubtree::DnsName("a.test".into())], vec![]);
    let one = narrow.self_signed();
    let two = ca("Two").self_signed();
    let by_one = ca("Issuing").key_of(&free).signed_by(&one);
    let by_two = ca("Issuing").key_of(&free).signed_by(&two);
    let client = leaf("x.b.test").signed_by(&by_one);
    let listed: &[(Uuid, &Made)] = &[(ROOT, &one), (SECOND, &two)];
    assert_eq!(
        outcome(&chain(&[&client, &by_one, &by_two]), &trust(listed, false)),
        Ok(vec![SECOND])
    );
}

#[test]
fn a_key_that_may_not_sign_proves_no_client() {
    use KeyUsagePurpose::{
        ContentCommitment, DigitalSignature, KeyAgreement, KeyCertSign, KeyEncipherment,
    };
    let root = ca("Root").self_signed();
    let listed: &[(Uuid, &Made)] = &[(ROOT, &root)];
    let c = |usages: &[KeyUsagePurpose]| leaf("c").key_usages(usages).signed_by(&root);
    let (yes, no): (Result<&[Uuid], Reason>, _) = (Ok(&[ROOT]), Err(Reason::Purpose));
    check(&[
        ("signs", &[&c(&[DigitalSignature])], listed, false, yes),
        (
            "OpenSSL: agrees",
            &[&c(&[KeyAgreement])],
            listed,
            false,
            yes,
        ),
        (
            "signs and more",
            &[&c(&[KeyEncipherment, DigitalSignature])],
            listed,
            false,
            yes,
        ),
        (
            "only enciphers",
            &[&c(&[KeyEncipherment])],
            listed,
            false,
            no,
        ),
        (
            "only commits",
            &[&c(&[ContentCommitment])],
            listed,
            false,
            no,
        ),
        (
            "only certificates",
            &[&c(&[KeyCertSign])],
            listed,
            false,
            no,
        ),
    ]);
}

#[test]
fn a_root_that_demands_the_unknown_is_no_anchor() {
    let with = |oid: &[u64], critical: bool| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
        extension.set_criticality(critical);
        ca("Root")
            .params(|params| params.custom_extensions = vec![extension])
            .self_signed()
    };
    let unknown = with(&[1, 2, 3, 4], true);
    let harmless = with(&[1, 2, 3, 4], false);
    let policies = with(&[2, 5, 29, 32], true);
    let row = |what, root: &Made, expected: Result<&[Uuid], Reason>| {
        let client = leaf("c").signed_by(root);
        check(&[(what, &[&client], &[(ROOT, root)], false, expected)]);
    };
    row(
        "unknown, critical",
        &unknown,
        Err(Reason::CriticalExtension),
    );
    row("unknown", &harmless, Ok(&[ROOT]));
    row("policies", &policies, Ok(&[ROOT]));
}
