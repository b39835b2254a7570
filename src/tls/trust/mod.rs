//! Sets of CA certificates: a plugin's `ca_certificates` and what upstreams are verified against.
//!
//! Both follow OpenSSL's rule rather than webpki's: a self-issued certificate is an anchor; any other listed one only
//! helps to build a path, unless `allow_partial_chain` makes it an anchor too (DESIGN.md "Chains", KONG.md §5.1).

mod counted;
pub(in crate::tls) mod path;
mod reason;
#[cfg(test)]
pub(crate) mod testpki;
#[cfg(test)]
mod tests;

pub use path::Work;
pub use reason::Reason;

use super::Digest;
use super::identity::Facts;
use super::keys::pem_reason;
use aws_lc_rs::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use std::collections::HashMap;
use uuid::Uuid;

/// The CAs one plugin trusts. Built on the control side, shared by all cores. `digest` covers content only (ids, DER and
/// options), never a snapshot number: an unrelated change must not empty a verdict cache.
#[derive(Debug)]
pub struct TrustSet {
    pub digest: Digest,
    pub(in crate::tls) cas: Cas,
    pub(in crate::tls) options: Options,
}

/// What changes a verdict besides the certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A listed certificate that is not self-issued may end a path (KONG.md §5.1).
    pub allow_partial_chain: bool,
}

impl TrustSet {
    /// `anchors`: id and DER of each `ca_certificates` entity, in any order. An empty set trusts nobody.
    ///
    /// # Errors
    /// Names the first entity that is not a CA certificate this gateway can use.
    pub fn build(anchors: Vec<(Uuid, Vec<u8>)>, options: Options) -> Result<TrustSet, String> {
        let mut listed = Vec::with_capacity(anchors.len());
        for (id, der) in anchors {
            let ca = Ca::new(id, der).map_err(|why| format!("ca_certificates {id}: {why}"))?;
            listed.push(ca);
        }
        let cas = Cas::new(listed);
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"sallyport trust set 1");
        hash.update(&[u8::from(options.allow_partial_chain)]);
        for ca in &cas.listed {
            hash.update(ca.id.as_bytes());
            hash.update(&ca.digest);
        }
        Ok(TrustSet {
            digest: finish(hash),
            cas,
            options,
        })
    }

    /// DER of each listed CA's subject, every name once: what `send_ca_dn` puts into a CertificateRequest.
    pub fn subject_names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = self
            .cas
            .by_subject
            .keys()
            .map(|subject| subject.to_vec())
            .collect();
        names.sort_unstable();
        names
    }
}

/// What upstream certificates are verified against. `digest` covers content only.
#[derive(Debug)]
pub struct Roots {
    pub digest: Digest,
    pub(in crate::tls) cas: Cas,
}

impl Roots {
    /// Chosen certificates: each with the words that name it in an error, and its DER.
    ///
    /// # Errors
    /// Names the first that is not a CA certificate this gateway can use.
    pub fn from_ders(named: Vec<(String, Vec<u8>)>) -> Result<Roots, String> {
        let mut listed = Vec::with_capacity(named.len());
        for (name, der) in named {
            listed.push(Ca::new(Uuid::nil(), der).map_err(|why| format!("{name}: {why}"))?);
        }
        Ok(Roots::of(listed))
    }

    /// PEM texts, each with the words that name it in an error and with at least one certificate.
    ///
    /// # Errors
    /// As [`Roots::from_ders`], and for a text that is no PEM or holds no certificate.
    pub fn from_pems<N: AsRef<str>, P: AsRef<[u8]>>(texts: &[(N, P)]) -> Result<Roots, String> {
        let mut named = Vec::new();
        for (name, pem) in texts {
            let name = name.as_ref();
            let before = named.len();
            for der in CertificateDer::pem_slice_iter(pem.as_ref()) {
                let der = der.map_err(|why| format!("{name}: not PEM: {}", pem_reason(&why)))?;
                let place = format!("{name}, certificate {}", named.len() - before + 1);
                named.push((place, der.to_vec()));
            }
            if named.len() == before {
                return Err(format!("{name}: no certificate in it"));
            }
        }
        Roots::from_ders(named)
    }

    /// The system's bundle. What cannot serve as a CA here is left out and described, one line each: nobody chose it.
    pub fn from_bundle(ders: Vec<Vec<u8>>) -> (Roots, Vec<String>) {
        let mut listed = Vec::with_capacity(ders.len());
        let mut left_out = Vec::new();
        for (index, der) in ders.into_iter().enumerate() {
            match Ca::new(Uuid::nil(), der) {
                Ok(ca) => listed.push(ca),
                Err(why) => left_out.push(format!("certificate {}: {why}", index + 1)),
            }
        }
        (Roots::of(listed), left_out)
    }

    pub fn len(&self) -> usize {
        self.cas.listed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cas.listed.is_empty()
    }

    fn of(listed: Vec<Ca>) -> Roots {
        let cas = Cas::new(listed);
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"sallyport roots 1");
        for ca in &cas.listed {
            hash.update(&ca.digest);
        }
        Roots {
            digest: finish(hash),
            cas,
        }
    }
}

/// Listed certificates, findable by subject.
#[derive(Debug)]
pub(in crate::tls) struct Cas {
    /// Those that expire last come first, so that a renewed CA with the same name and key is tried before the old one.
    pub listed: Vec<Ca>,
    /// Places in `listed` by subject DER, ascending.
    by_subject: HashMap<Box<[u8]>, Vec<usize>>,
}

impl Cas {
    fn new(mut listed: Vec<Ca>) -> Cas {
        listed.sort_by(|a, b| {
            (b.facts.not_after.cmp(&a.facts.not_after))
                .then_with(|| a.digest.cmp(&b.digest))
                .then_with(|| a.id.cmp(&b.id))
        });
        listed.dedup_by(|a, b| a.id == b.id && a.digest == b.digest);
        let mut by_subject: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        for (place, ca) in listed.iter().enumerate() {
            by_subject
                .entry(ca.facts.subject.clone())
                .or_default()
                .push(place);
        }
        Cas { listed, by_subject }
    }

    pub fn named(&self, subject: &[u8]) -> impl Iterator<Item = (usize, &Ca)> {
        self.by_subject
            .get(subject)
            .into_iter()
            .flatten()
            .filter_map(|place| Some((*place, self.listed.get(*place)?)))
    }
}

#[derive(Debug)]
pub(in crate::tls) struct Ca {
    /// Nil in `Roots`, which have no entities.
    pub id: Uuid,
    pub facts: Facts,
    pub der: CertificateDer<'static>,
    pub anchor: TrustAnchor<'static>,
    digest: Digest,
}

impl Ca {
    fn new(id: Uuid, der: Vec<u8>) -> Result<Ca, String> {
        let facts = Facts::parse(&der).map_err(|why| why.to_string())?;
        if !facts.is_ca {
            return Err(
                "not a CA: basicConstraints has no cA (X.509 v1 certificates have none)".into(),
            );
        }
        let digest = sha256(&der);
        let der = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|why| format!("cannot be a trust anchor: {why}"))?
            .to_owned();
        Ok(Ca {
            id,
            facts,
            der,
            anchor,
            digest,
        })
    }
}

pub(in crate::tls) fn sha256(bytes: &[u8]) -> Digest {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(bytes);
    finish(hash)
}

pub(in crate::tls) fn finish(hash: digest::Context) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(hash.finish().as_ref());
    out
}
