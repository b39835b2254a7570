//! What must hold for every input of the targets whose assertions have no place in the crate.
//! `tests/fuzz/main.rs` replays their corpora without a fuzzer.

use sallyport::proxy::proxy_protocol::{self, Header};
use sallyport::tls::client_auth::{ClientChain, Verdict, Work, judge};
use sallyport::tls::identity::{Facts, Identity, subject_der};
use sallyport::tls::trust::{Options, TrustSet};
use std::sync::LazyLock;
use uuid::Uuid;

const ROOT: &[u8] = include_bytes!("../corpus/certificate/valid_root.der");
const INTERMEDIATE: &[u8] = include_bytes!("../corpus/certificate/valid_inter.der");
const LEAF: &[u8] = include_bytes!("../corpus/certificate/valid_leaf.der");
/// Everything the CAs above have ever signed.
const SIGNED: &[&[u8]] = &[
    ROOT,
    INTERMEDIATE,
    LEAF,
    include_bytes!("../corpus/certificate/valid_ed25519.der"),
    include_bytes!("../corpus/certificate/valid_names.der"),
    include_bytes!("../corpus/certificate/valid_p521.der"),
    include_bytes!("../corpus/certificate/valid_pkcs1.der"),
];

/// 2030-01-01: within the dates of the three above.
const NOW: u64 = 1_893_456_000;

fn root() -> &'static TrustSet {
    static ROOTS: LazyLock<TrustSet> = LazyLock::new(|| {
        let anchors = vec![(Uuid::from_u128(1), ROOT.to_vec())];
        TrustSet::build(anchors, Options::default()).expect("the root is a CA")
    });
    &ROOTS
}

/// A certificate by itself, as a client's leaf, as an intermediate, and as a listed CA:
/// - both readers accept the same bytes and agree on the facts;
/// - what may end up in a header or be compared with a configured name has no control characters;
/// - a chain is trusted only where every certificate on it is one that the root vouched for.
///
/// True when it is a certificate.
pub fn certificate(der: &[u8]) -> bool {
    let identity = Identity::parse(der);
    let facts = Facts::parse(der);
    match (&identity, &facts) {
        (Ok(identity), Ok(facts)) => {
            assert_eq!(format!("{:?}", identity.facts), format!("{facts:?}"));
            texts_are_clean(identity);
            assert_eq!(subject_der(der).as_deref(), Ok(&*facts.subject));
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        _ => panic!("one reader refuses what the other takes"),
    }

    let vouched = SIGNED
        .iter()
        .any(|known| Facts::parse(known).map(debug) == Facts::parse(der).map(debug));
    for chain in [
        vec![der.to_vec(), INTERMEDIATE.to_vec()],
        vec![der.to_vec(), INTERMEDIATE.to_vec(), ROOT.to_vec()],
    ] {
        if trusted(chain, root()) {
            assert!(vouched, "a forged leaf is trusted");
        }
    }

    for allow_partial_chain in [false, true] {
        let listed = vec![(Uuid::from_u128(2), der.to_vec())];
        let Ok(set) = TrustSet::build(
            listed,
            Options {
                allow_partial_chain,
            },
        ) else {
            continue;
        };
        assert!(identity.is_ok(), "a CA that cannot be read is listed");
        trusted(vec![der.to_vec()], &set);
        trusted(vec![LEAF.to_vec(), INTERMEDIATE.to_vec()], &set);
        trusted(vec![LEAF.to_vec(), der.to_vec()], &set);
    }
    identity.is_ok()
}

/// Otherwise a forged chain would be refused for another reason, and nothing be asserted.
pub fn the_true_chain_is_trusted() -> bool {
    trusted(vec![LEAF.to_vec(), INTERMEDIATE.to_vec()], root())
}

fn debug(facts: Facts) -> String {
    format!("{facts:?}")
}

fn trusted(chain: Vec<Vec<u8>>, set: &TrustSet) -> bool {
    let chain = ClientChain::new(chain);
    match judge(&chain, set, NOW, &mut Work::default()) {
        Verdict::Trusted(trusted) => {
            assert!(trusted.holds_at(NOW));
            assert!(!trusted.path_cas.is_empty(), "trusted by no CA");
            true
        }
        Verdict::Refused(_) => false,
    }
}

fn texts_are_clean(identity: &Identity) {
    for text in [&identity.subject_dn, &identity.issuer_dn] {
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "not fit for a header: {text:?}"
        );
    }
    let serial = identity.serial.as_bytes();
    assert!(
        serial
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F' | b'-')),
        "{:?}",
        identity.serial
    );
    let alt_names = identity.alt_names.iter().map(|name| &name.text);
    for text in identity.common_names.iter().chain(alt_names) {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    assert!(identity.has_san || identity.alt_names.is_empty());
}

/// No verdict depends on how the bytes are split or on what follows the header, and a header ends
/// within the bytes given.
pub fn proxy_protocol(input: &[u8]) -> Result<Header, &'static str> {
    let whole = proxy_protocol::parse(input);
    if let Ok(Header::Done {
        size,
        source,
        destination,
    }) = whole
    {
        assert!((1..=input.len()).contains(&size), "{size}");
        assert_eq!(source.is_some(), destination.is_some());
        if let (Some(source), Some(destination)) = (source, destination) {
            assert_eq!(source.is_ipv4(), destination.is_ipv4());
        }
    }
    for cut in 0..input.len() {
        let part = proxy_protocol::parse(&input[..cut]);
        match whole {
            Ok(Header::Done { size, .. }) if cut >= size => assert_eq!(part, whole, "{cut}"),
            Ok(_) => assert_eq!(part, Ok(Header::NeedMore), "{cut}"),
            Err(_) => assert!(
                part == Ok(Header::NeedMore) || part == whole,
                "{cut}: {part:?}, then {whole:?}"
            ),
        }
    }
    whole
}
