//! What a verdict on a client's chain costs: worked out, remembered, and refused.
//!
//! One iteration is one request of one client. Expect about 75 µs for each link that is verified and well under 1 µs for
//! one that is remembered (RUNTIME.md §4).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sallyport::tls::client_auth::{ClientChain, Looked, Verdict, VerdictCache, Work, judge};
use sallyport::tls::identity::Identity;
use sallyport::tls::trust::{Options, TrustSet};
use std::hint::black_box;
use uuid::Uuid;

/// 2027-01-15, inside the dates rcgen gives by default.
const NOW: u64 = 1_800_000_000;
const ROOT: Uuid = Uuid::from_u128(1);
/// CAs of one name that a hostile chain is filled with.
const SAME_NAMED: usize = 10;

fn verdicts(criterion: &mut Criterion) {
    let root = Authority::root("Bench root");
    let issuing = Authority::below("Bench issuing", &root);
    let trust = trust(&root);
    let direct = chain(&[root.sign_leaf()]);
    let through_one = chain(&[issuing.sign_leaf(), issuing.der.clone()]);

    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(1));
    for (name, chain, links) in [
        ("verify/1 link", &direct, 1),
        ("verify/2 links", &through_one, 2),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut work = Work::default();
                let verdict = judge(black_box(chain), black_box(&trust), NOW, &mut work);
                assert!(matches!(verdict, Verdict::Trusted(_)));
                assert_eq!(work.signatures, links);
            });
        });
    }
    group.bench_function("remembered/2 links", |bencher| {
        let mut cache = VerdictCache::new();
        cache.judge(&through_one, &trust, NOW);
        bencher.iter(|| {
            let (verdict, looked) = cache.judge(black_box(&through_one), black_box(&trust), NOW);
            assert!(matches!(verdict, Verdict::Trusted(_)));
            assert_eq!(looked, Looked::Hit);
        });
    });
    group.bench_function("digest/2 certificates", |bencher| {
        bencher.iter_batched(
            || through_one.certificates.clone(),
            |certificates| assert_eq!(ClientChain::new(certificates).digest, through_one.digest),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("parse leaf", |bencher| {
        let der = &direct.certificates[0];
        bencher.iter(|| {
            let identity = Identity::parse(black_box(der)).expect("the leaf parses");
            assert_eq!(&*identity.subject_dn, "CN=client");
        });
    });
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let root = Authority::root("Bench root");
    let trust = trust(&root);
    let stranger = Authority::root("Nobody");
    let impostor = Authority::root("Bench root");
    let mut hostile = vec![impostor.sign_leaf()];
    hostile.extend((0..SAME_NAMED).map(|n| {
        let (name, issuer) = match n % 2 {
            0 => ("Bench root", &stranger),
            _ => ("Nobody", &root),
        };
        Authority::below(name, issuer).der
    }));

    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(1));
    for (name, chain) in [
        ("refuse/stranger", chain(&[stranger.sign_leaf()])),
        ("refuse/ten same-named CAs", chain(&hostile)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = judge(black_box(&chain), &trust, NOW, &mut Work::default());
                assert!(matches!(verdict, Verdict::Refused(_)));
            });
        });
    }
    group.finish();
}

struct Authority {
    der: Vec<u8>,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn root(name: &str) -> Authority {
        let (params, key) = (authority_params(name), KeyPair::generate().expect("a key"));
        let certificate = params.self_signed(&key).expect("a root");
        Authority {
            der: certificate.der().to_vec(),
            params,
            key,
        }
    }

    fn below(name: &str, issuer: &Authority) -> Authority {
        let (params, key) = (authority_params(name), KeyPair::generate().expect("a key"));
        let certificate = params.signed_by(&key, &issuer.issuer()).expect("a CA");
        Authority {
            der: certificate.der().to_vec(),
            params,
            key,
        }
    }

    fn sign_leaf(&self) -> Vec<u8> {
        let mut params = CertificateParams::new(["client.example".to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "client");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer()).expect("a leaf");
        certificate.der().to_vec()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn trust(root: &Authority) -> TrustSet {
    TrustSet::build(vec![(ROOT, root.der.clone())], Options::default()).expect("a trust set")
}

fn chain(certificates: &[Vec<u8>]) -> ClientChain {
    ClientChain::new(certificates.to_vec())
}

criterion_group!(benches, verdicts, refusals);
criterion_main!(benches);
