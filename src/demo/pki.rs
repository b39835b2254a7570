//! The certificates of the demo: made anew for each run, valid for a month, in a folder that only the user can read.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Everyone who shows a certificate, and the authorities behind them.
pub(super) struct Pki {
    /// What the demo's clients trust.
    pub servers_ca: Authority,
    /// Whose clients the gateway accepts.
    pub clients_ca: Authority,
    /// An authority the gateway has not heard of.
    pub strangers_ca: Authority,
    /// Whose upstreams the gateway trusts.
    pub upstreams_ca: Authority,
    /// Whom the upstream lets in.
    pub gateways_ca: Authority,
    pub default: Pair,
    pub api: Pair,
    pub wildcard: Pair,
    pub alice: Pair,
    pub bob: Pair,
    pub carol: Pair,
    pub stranger: Pair,
    pub upstream: Pair,
    pub gateway: Pair,
}

/// Its key is never written: it ends with the process.
pub(super) struct Authority {
    /// Stem of the file name.
    pub name: &'static str,
    pub pem: String,
    pub der: Vec<u8>,
    /// What its end entities send along: itself, unless it is a root.
    sent: String,
    issuer: Issuer<'static, KeyPair>,
}

/// An end entity's certificate with its key.
pub(super) struct Pair {
    /// Stem of the file names.
    pub name: &'static str,
    /// The chain, leaf first, without the root.
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Pki {
    /// `now`: unix seconds.
    pub fn make(now: u64) -> Result<Pki, rcgen::Error> {
        let servers_ca = Authority::root("servers-ca", "Demo root of servers", now)?;
        let clients_ca = Authority::root("clients-ca", "Demo CA of clients", now)?;
        let strangers_ca = Authority::root("strangers-ca", "Demo CA of strangers", now)?;
        let upstreams_ca = Authority::root("upstreams-ca", "Demo CA of upstreams", now)?;
        let gateways_ca = Authority::root("gateways-ca", "Demo root of gateways", now)?;
        // What the gateway shows, to either side, leads to a root over one intermediate certificate that it sends.
        let servers = servers_ca.intermediate("Demo CA of servers", now)?;
        let gateways = gateways_ca.intermediate("Demo CA of gateways", now)?;
        let server = |name, common_name, dns: &[&str]| {
            servers.issue(name, common_name, &names(dns)?, Purpose::Server, now)
        };
        let client = |name, common_name, email: &[SanType]| {
            clients_ca.issue(name, common_name, email, Purpose::Client, now)
        };
        Ok(Pki {
            default: server("default", "default.demo.test", &["localhost", "127.0.0.1"])?,
            api: server("api", "api.demo.test", &["api.demo.test"])?,
            wildcard: server("wildcard", "*.demo.test", &["*.demo.test"])?,
            alice: client("alice", "alice", &[])?,
            bob: client("bob", "bob", &[])?,
            carol: client(
                "carol",
                "Carol",
                &[SanType::Rfc822Name(CAROLS_ADDRESS.try_into()?)],
            )?,
            // Alice's name, another authority's signature.
            stranger: strangers_ca.issue("stranger", "alice", &[], Purpose::Client, now)?,
            upstream: upstreams_ca.issue(
                "upstream",
                UPSTREAM_NAME,
                &names(&[UPSTREAM_NAME, "localhost", "127.0.0.1"])?,
                Purpose::Server,
                now,
            )?,
            gateway: gateways.issue("gateway", "gateway", &[], Purpose::Client, now)?,
            servers_ca,
            clients_ca,
            strangers_ca,
            upstreams_ca,
            gateways_ca,
        })
    }

    /// Writes `NAME.crt` and `NAME.key` into `folder`, keys with mode 0600.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for authority in self.authorities() {
            write(folder, authority.name, "crt", &authority.pem, 0o644)?;
        }
        for pair in self.pairs() {
            write(folder, pair.name, "crt", &pair.certificate_pem, 0o644)?;
            write(folder, pair.name, "key", &pair.key_pem, 0o600)?;
        }
        Ok(())
    }

    fn authorities(&self) -> [&Authority; 5] {
        [
            &self.servers_ca,
            &self.clients_ca,
            &self.strangers_ca,
            &self.upstreams_ca,
            &self.gateways_ca,
        ]
    }

    fn pairs(&self) -> [&Pair; 9] {
        [
            &self.default,
            &self.api,
            &self.wildcard,
            &self.alice,
            &self.bob,
            &self.carol,
            &self.stranger,
            &self.upstream,
            &self.gateway,
        ]
    }
}

pub(super) const ORGANIZATION: &str = "Demo";
pub(super) const UPSTREAM_NAME: &str = "upstream.demo.test";
pub(super) const CAROLS_ADDRESS: &str = "carol@clients.demo.test";

const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// For clocks that differ a little.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy)]
enum Purpose {
    Server,
    Client,
}

impl Authority {
    fn root(name: &'static str, common_name: &str, now: u64) -> Result<Authority, rcgen::Error> {
        let params = ca_params(common_name, BasicConstraints::Unconstrained, now);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Authority {
            name,
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            sent: String::new(),
            issuer: Issuer::new(params, key),
        })
    }

    fn intermediate(&self, common_name: &str, now: u64) -> Result<Authority, rcgen::Error> {
        let mut params = ca_params(common_name, BasicConstraints::Constrained(0), now);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Authority {
            name: self.name,
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            sent: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    fn issue(
        &self,
        name: &'static str,
        common_name: &str,
        alt_names: &[SanType],
        purpose: Purpose,
        now: u64,
    ) -> Result<Pair, rcgen::Error> {
        let mut params = params(common_name, now);
        params.subject_alt_names = alt_names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            name,
            certificate_pem: certificate.pem() + &self.sent,
            key_pem: key.serialize_pem(),
        })
    }
}

fn ca_params(common_name: &str, constraints: BasicConstraints, now: u64) -> CertificateParams {
    let mut params = params(common_name, now);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(common_name: &str, now: u64) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::CommonName, common_name);
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    params
}

fn names(texts: &[&str]) -> Result<Vec<SanType>, rcgen::Error> {
    texts
        .iter()
        .map(|text| match text.parse() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => Ok(SanType::DnsName((*text).try_into()?)),
        })
        .collect()
}

fn write(folder: &Path, name: &str, suffix: &str, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(folder.join(format!("{name}.{suffix}")))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::client_auth::{ClientChain, Verdict, judge};
    use crate::tls::trust::Work;
    use crate::tls::trust::{Options, TrustSet};
    use std::os::unix::fs::PermissionsExt as _;
    use uuid::Uuid;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn clients_are_trusted_by_their_own_authority_only() {
        let pki = Pki::make(NOW).unwrap();
        let anchors = vec![(Uuid::nil(), pki.clients_ca.der.clone())];
        let trust = TrustSet::build(anchors, Options::default()).unwrap();
        for (pair, trusted, subject) in [
            (&pki.alice, true, "CN=alice,O=Demo"),
            (&pki.bob, true, "CN=bob,O=Demo"),
            (&pki.carol, true, "CN=Carol,O=Demo"),
            (&pki.stranger, false, ""),
            (&pki.gateway, false, ""),
            (&pki.api, false, ""),
        ] {
            let leaf = pem(&pair.certificate_pem);
            let chain = ClientChain::new(vec![leaf]);
            let verdict = judge(&chain, &trust, NOW, &mut Work::default());
            match verdict {
                Verdict::Trusted(client) => {
                    assert!(trusted, "{}", pair.name);
                    assert_eq!(&*client.identity.subject_dn, subject, "{}", pair.name);
                }
                Verdict::Refused(reason) => assert!(!trusted, "{}: {reason}", pair.name),
            }
        }
    }

    fn pem(text: &str) -> Vec<u8> {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::CertificateDer::from_pem_slice(text.as_bytes())
            .unwrap()
            .to_vec()
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let folder = crate::demo::folder::Folder::make().unwrap();
        let pki = Pki::make(NOW).unwrap();
        pki.write(folder.path()).unwrap();
        for pair in pki.pairs() {
            let key = folder.path().join(format!("{}.key", pair.name));
            let mode = std::fs::metadata(key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", pair.name);
        }
        // No authority's key is there.
        assert!(!folder.path().join("clients-ca.key").exists());
    }
}
