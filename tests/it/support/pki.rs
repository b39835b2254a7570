//! Certificates made for the occasion.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;

/// A chain and the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    pub cert_pem: String,
    pub key_pem: String,
}

impl Pair {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }

    /// The same key behind another chain: `more` follows what is there.
    pub fn with(mut self, more: &[&Ca]) -> Pair {
        for ca in more {
            self.chain.push(ca.der.clone());
            self.cert_pem.push_str(&ca.pem);
        }
        self
    }

    pub fn leaf_alone(mut self) -> Pair {
        self.chain.truncate(1);
        let end = "-----END CERTIFICATE-----";
        if let Some(at) = self.cert_pem.find(end) {
            self.cert_pem.truncate(at + end.len());
            self.cert_pem.push('\n');
        }
        self
    }
}

/// A certification authority, root or not.
pub struct Ca {
    pub name: String,
    pub pem: String,
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// From this one up to the root's child: what its leaves send behind themselves.
    below_root: Vec<(CertificateDer<'static>, String)>,
}

/// How a CA departs from the ordinary.
#[derive(Clone, Default)]
pub struct CaShape {
    pub path_len: Option<u8>,
    pub expired: bool,
    /// keyUsage without keyCertSign.
    pub no_cert_sign: bool,
}

impl Ca {
    pub fn root(name: &str) -> Ca {
        Ca::root_shaped(name, &CaShape::default())
    }

    pub fn root_shaped(name: &str, shape: &CaShape) -> Ca {
        let (params, key) = (ca_params(name, shape), ec_key());
        let certificate = params.self_signed(&key).expect("a root certificate");
        Ca {
            name: name.to_owned(),
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            below_root: Vec::new(),
        }
    }

    pub fn intermediate(&self, name: &str) -> Ca {
        self.intermediate_shaped(name, &CaShape::default())
    }

    pub fn intermediate_shaped(&self, name: &str, shape: &CaShape) -> Ca {
        let (params, key) = (ca_params(name, shape), ec_key());
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("an intermediate certificate");
        let mut below_root = vec![(certificate.der().clone(), certificate.pem())];
        below_root.extend(self.below_root.iter().cloned());
        Ca {
            name: name.to_owned(),
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            below_root,
        }
    }

    pub fn sign(&self, leaf: Leaf) -> Pair {
        let (params, key) = leaf.into_parts();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("an end entity certificate");
        let mut chain = vec![certificate.der().clone()];
        let mut cert_pem = certificate.pem();
        for (der, pem) in &self.below_root {
            chain.push(der.clone());
            cert_pem.push_str(pem);
        }
        Pair {
            chain,
            key_der: key.serialize_der(),
            cert_pem,
            key_pem: key.serialize_pem(),
        }
    }

    /// A client certificate with a CN and no SAN.
    pub fn client(&self, cn: &str) -> Pair {
        self.sign(Leaf::new(cn))
    }

    /// A server certificate for DNS names, the first of them the CN too.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.sign(Leaf::new(names[0]).dns(names))
    }
}

/// An end entity certificate to be signed.
pub struct Leaf {
    params: CertificateParams,
    rsa: bool,
}

impl Leaf {
    pub fn new(cn: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = name_of(cn);
        set_dates(&mut params, 2020, 2120);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        Leaf { params, rsa: false }
    }

    pub fn rsa(mut self) -> Leaf {
        self.rsa = true;
        self
    }

    pub fn dns(mut self, names: &[&str]) -> Leaf {
        for name in names {
            let name = (*name).try_into().expect("a DNS name");
            self.params.subject_alt_names.push(SanType::DnsName(name));
        }
        self
    }

    pub fn ip(mut self, address: &str) -> Leaf {
        let address: IpAddr = address.parse().expect("an IP address");
        self.params
            .subject_alt_names
            .push(SanType::IpAddress(address));
        self
    }

    pub fn email(mut self, address: &str) -> Leaf {
        let address = address.try_into().expect("an address");
        self.params
            .subject_alt_names
            .push(SanType::Rfc822Name(address));
        self
    }

    pub fn uri(mut self, uri: &str) -> Leaf {
        let uri = uri.try_into().expect("a URI");
        self.params.subject_alt_names.push(SanType::URI(uri));
        self
    }

    pub fn organization(mut self, name: &str) -> Leaf {
        self.params
            .distinguished_name
            .push(DnType::OrganizationName, name);
        self
    }

    pub fn usage(mut self, usages: &[ExtendedKeyUsagePurpose]) -> Leaf {
        self.params.extended_key_usages = usages.to_vec();
        self
    }

    pub fn valid(mut self, from_year: i32, to_year: i32) -> Leaf {
        set_dates(&mut self.params, from_year, to_year);
        self
    }

    /// Signed by its own key.
    pub fn self_signed(self) -> Pair {
        let (params, key) = self.into_parts();
        let certificate = params.self_signed(&key).expect("a self-signed certificate");
        Pair {
            chain: vec![certificate.der().clone()],
            key_der: key.serialize_der(),
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    fn into_parts(self) -> (CertificateParams, KeyPair) {
        let key = if self.rsa {
            KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key")
        } else {
            ec_key()
        };
        (self.params, key)
    }
}

fn ec_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key")
}

fn set_dates(params: &mut CertificateParams, from_year: i32, to_year: i32) {
    params.not_before = rcgen::date_time_ymd(from_year, 1, 1);
    params.not_after = rcgen::date_time_ymd(to_year, 1, 1);
}

fn name_of(cn: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, cn);
    name
}

fn ca_params(name: &str, shape: &CaShape) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name_of(name);
    let (from_year, to_year) = if shape.expired {
        (2010, 2020)
    } else {
        (2020, 2120)
    };
    set_dates(&mut params, from_year, to_year);
    params.is_ca = IsCa::Ca(match shape.path_len {
        Some(count) => BasicConstraints::Constrained(count),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = if shape.no_cert_sign {
        vec![KeyUsagePurpose::CrlSign]
    } else {
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
    };
    params.use_authority_key_identifier_extension = true;
    params
}
