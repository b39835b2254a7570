//! Certificates for the tests of `tls`, made as each row needs them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use std::sync::Arc;

/// 2027-01-15; what tests without a clock call now.
pub const NOW: u64 = 1_800_000_000;
/// 2040-01-01, when certificates made here expire unless told otherwise.
pub const LAST: u64 = 2_208_988_800;

/// A certificate with its key.
pub struct Made {
    pub der: Vec<u8>,
    pub key: Arc<KeyPair>,
    params: CertificateParams,
}

impl Made {
    pub fn pem(&self) -> String {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }
}

/// A certificate about to be made.
pub struct Spec {
    params: CertificateParams,
    key: Arc<KeyPair>,
}

/// A CA with cA and keyCertSign, without pathLenConstraint.
pub fn ca(name: &str) -> Spec {
    let mut spec = leaf(name);
    spec.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    spec.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    spec
}

/// An end entity without extensions.
pub fn leaf(name: &str) -> Spec {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    Spec {
        params,
        key: Arc::new(KeyPair::generate().unwrap()),
    }
}

impl Spec {
    pub fn path_len(mut self, most: u8) -> Spec {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        self
    }

    pub fn key_usages(mut self, usages: &[KeyUsagePurpose]) -> Spec {
        self.params.key_usages = usages.to_vec();
        self
    }

    pub fn purposes(mut self, purposes: &[ExtendedKeyUsagePurpose]) -> Spec {
        self.params.extended_key_usages = purposes.to_vec();
        self
    }

    pub fn names(mut self, names: &[SanType]) -> Spec {
        self.params.subject_alt_names = names.to_vec();
        self
    }

    pub fn dns(self, name: &str) -> Spec {
        self.names(&[SanType::DnsName(name.try_into().unwrap())])
    }

    /// First and last year; the dates are their first of January.
    pub fn years(mut self, first: i32, last: i32) -> Spec {
        self.params.not_before = date_time_ymd(first, 1, 1);
        self.params.not_after = date_time_ymd(last, 1, 1);
        self
    }

    pub fn authority_key_id(mut self) -> Spec {
        self.params.use_authority_key_identifier_extension = true;
        self
    }

    pub fn key_of(mut self, other: &Made) -> Spec {
        self.key = Arc::clone(&other.key);
        self
    }

    pub fn params(mut self, change: impl FnOnce(&mut CertificateParams)) -> Spec {
        change(&mut self.params);
        self
    }

    pub fn self_signed(self) -> Made {
        let certificate = self.params.self_signed(&*self.key).unwrap();
        Made {
            der: certificate.der().to_vec(),
            key: self.key,
            params: self.params,
        }
    }

    pub fn signed_by(self, issuer: &Made) -> Made {
        let issuer = Issuer::from_params(&issuer.params, &*issuer.key);
        let certificate = self.params.signed_by(&*self.key, &issuer).unwrap();
        Made {
            der: certificate.der().to_vec(),
            key: self.key,
            params: self.params,
        }
    }
}
