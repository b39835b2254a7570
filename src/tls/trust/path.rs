//! One search for a path from a leaf to a listed CA: what is offered to webpki, what is counted, and what is checked
//! of a path it found.
//!
//! webpki alone is not OpenSSL's rule (DESIGN.md "Chains"): it looks at no anchor beyond its name and key, and at
//! keyUsage of no CA. Its `verify_path` callback is where our own pass says no, and the search goes on.

use super::counted::{ALGORITHMS, Counted, Counter};
use super::{Ca, Cas, Reason};
use crate::limits;
use crate::tls::identity::{self, Facts};
use rustls_pki_types::{
    CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// What searches cost, added up over the searches it is passed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Certificates parsed, the leaf among them.
    pub certificates: u32,
    /// Signatures verified, good or bad.
    pub signatures: u32,
    /// Paths whose signatures were all good.
    pub paths: u32,
}

/// Which side's chain this is and what it is held to.
#[derive(Clone, Copy, Debug)]
pub(in crate::tls) struct Rules {
    pub purpose: Purpose,
    /// Whether a listed certificate that is not self-issued may end the path.
    pub partial: bool,
    /// Intermediates between leaf and anchor (`tls_verify_depth`).
    pub depth: usize,
    /// Sent intermediates that are looked at.
    pub sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tls) enum Purpose {
    Client,
    Server,
}

/// A path that passed everything.
#[derive(Debug)]
pub(in crate::tls) struct Found {
    /// Places in `Cas::listed` of the CAs on the path, nearest to the leaf first. A CA is an authority by its name and
    /// key, so a listed, currently valid certificate with the same two counts too; the one used comes first.
    pub cas: Vec<usize>,
    /// Within these dates, both included, all certificates of the path are valid. Unix seconds.
    pub valid_from: u64,
    pub valid_until: u64,
}

/// `sent`: what the peer sent behind its leaf.
///
/// # Errors
/// The most telling reason over all paths tried.
pub(in crate::tls) fn find<S: AsRef<[u8]>>(
    cas: &Cas,
    leaf_der: &[u8],
    sent: &[S],
    rules: Rules,
    now: u64,
    work: &mut Work,
) -> Result<Found, Reason> {
    work.certificates += 1;
    let leaf = Facts::parse(leaf_der).map_err(|_| Reason::Malformed)?;
    let leaf_der = CertificateDer::from(leaf_der);
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(|why| Reason::of(&why))?;
    if let Some(outcome) = listed_itself(cas, &leaf, &leaf_der, rules, now) {
        return outcome;
    }

    let intermediates = Intermediates::choose(cas, &leaf, sent, rules, work);
    let anchors = Anchors::choose(cas, &leaf, &intermediates, rules);
    let counter = Counter::default();
    let counted = ALGORITHMS.map(|algorithm| Counted {
        algorithm,
        counter: &counter,
    });
    let algorithms = counted
        .each_ref()
        .map(|counted| counted as &dyn SignatureVerificationAlgorithm);

    let paths = Cell::new(0);
    let refusal = Cell::new(None);
    let found = RefCell::new(None);
    let own_pass = |path: &VerifiedPath<'_>| {
        paths.set(paths.get() + 1);
        let candidate = Candidate::of(path, cas, &leaf, &intermediates, &anchors)
            .ok_or(webpki::Error::UnknownIssuer)?;
        let checked = candidate.check(rules, now);
        match checked.and_then(|()| candidate.check_names(rules, &leaf_der)) {
            Ok(()) => {
                *found.borrow_mut() = Some(candidate.into_found(cas, now));
                Ok(())
            }
            Err(reason) => {
                refusal.set(refusal.get().or(Some(reason)));
                Err(webpki::Error::UnknownIssuer)
            }
        }
    };
    let outcome = end_entity.verify_for_usage(
        &algorithms,
        &anchors.offered,
        &intermediates.ders,
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        rules.purpose.key_usage(),
        None,
        Some(&own_pass),
    );
    let verified = outcome.map(|_| ());
    work.signatures += counter.verified.load(Ordering::Relaxed);
    work.paths += paths.get();
    match (verified, found.into_inner()) {
        (Ok(()), Some(found)) => Ok(found),
        (Ok(()), None) => Err(Reason::Other),
        (Err(_), _) if counter.refused.load(Ordering::Relaxed) > 0 => Err(Reason::TooMuchWork),
        (Err(why), _) => Err(refusal
            .get()
            .unwrap_or_else(|| explain(Reason::of(&why), cas, &leaf, &intermediates, rules, now))),
    }
}

/// A certificate that is on the list itself, as that of an upstream which signed its own: OpenSSL asks nobody else to vouch
/// for it, webpki takes no CA certificate for a leaf. It is held to what a leaf is held to. `None`: it is not listed, or
/// what is listed may not end a path.
fn listed_itself(
    cas: &Cas,
    leaf: &Facts,
    der: &[u8],
    rules: Rules,
    now: u64,
) -> Option<Result<Found, Reason>> {
    let mut named = cas.named(&leaf.subject);
    let (place, _) = named.find(|(_, ca)| ca.der.as_ref() == der)?;
    if !rules.partial && !leaf.self_issued() {
        return None;
    }
    Some(if now > leaf.not_after {
        Err(Reason::Expired)
    } else if now < leaf.not_before {
        Err(Reason::NotYetValid)
    } else if !rules.purpose.allowed_by(leaf) || !rules.purpose.allowed_to(leaf) {
        Err(Reason::Purpose)
    } else {
        Ok(Found {
            cas: vec![place],
            valid_from: leaf.not_before,
            valid_until: leaf.not_after,
        })
    })
}

/// webpki's reason made precise by what it does not tell.
fn explain(
    reason: Reason,
    cas: &Cas,
    leaf: &Facts,
    intermediates: &Intermediates<'_>,
    rules: Rules,
    now: u64,
) -> Reason {
    match reason {
        Reason::Expired if leaf.not_after >= now => Reason::CaExpired,
        Reason::NotYetValid if leaf.not_before <= now => Reason::CaNotYetValid,
        Reason::UnknownIssuer | Reason::BadSignature if leaf.self_issued() => Reason::SelfSigned,
        Reason::UnknownIssuer if !rules.partial => {
            let ends_at_a_listed_one = issuer_names(leaf, intermediates)
                .any(|issuer| cas.named(issuer).any(|(_, ca)| !ca.facts.self_issued()));
            match ends_at_a_listed_one {
                true => Reason::PartialChain,
                false => Reason::UnknownIssuer,
            }
        }
        other => other,
    }
}

fn issuer_names<'a>(
    leaf: &'a Facts,
    intermediates: &'a Intermediates<'_>,
) -> impl Iterator<Item = &'a [u8]> {
    std::iter::once(&*leaf.issuer).chain(intermediates.facts.iter().map(|facts| &*facts.issuer))
}

/// What webpki may put between leaf and anchor; the two lists run in step.
struct Intermediates<'a> {
    ders: Vec<CertificateDer<'a>>,
    facts: Vec<Facts>,
}

impl<'a> Intermediates<'a> {
    /// Of the sent ones: no self-issued, none twice, at most two of one subject and `rules.sent` in all, in the order
    /// sent. Same-named and self-issued ones multiply the paths (DESIGN.md "Chains"). What cannot be parsed is passed over.
    /// Of the listed ones that are no anchors: those whose names lead on, as OpenSSL completes a chain from its store.
    fn choose<S: AsRef<[u8]>>(
        cas: &'a Cas,
        leaf: &Facts,
        sent: &'a [S],
        rules: Rules,
        work: &mut Work,
    ) -> Intermediates<'a> {
        let mut chosen = Intermediates {
            ders: Vec::new(),
            facts: Vec::new(),
        };
        for der in sent.iter().take(limits::CHAIN_CERTIFICATES_PARSED_MAX) {
            if chosen.ders.len() == rules.sent {
                break;
            }
            let der = der.as_ref();
            work.certificates += 1;
            let Ok(facts) = Facts::parse(der) else {
                continue;
            };
            let same_subject = chosen
                .facts
                .iter()
                .filter(|earlier| earlier.subject == facts.subject)
                .count();
            if facts.self_issued()
                || same_subject >= limits::CLIENT_INTERMEDIATES_PER_SUBJECT_MAX
                || chosen.holds(der)
            {
                continue;
            }
            chosen.push(CertificateDer::from(der), facts);
        }
        if !rules.partial {
            chosen.add_listed(cas, leaf);
        }
        chosen
    }

    fn add_listed(&mut self, cas: &'a Cas, leaf: &Facts) {
        let mut added = 0;
        let mut names: Vec<Box<[u8]>> = issuer_names(leaf, self).map(Box::from).collect();
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            for (_, ca) in cas.named(&name) {
                if added == limits::LISTED_INTERMEDIATES_MAX {
                    return;
                }
                if ca.facts.self_issued() || self.holds(&ca.der) {
                    continue;
                }
                if !names.contains(&ca.facts.issuer) {
                    names.push(ca.facts.issuer.clone());
                }
                self.push(CertificateDer::from(ca.der.as_ref()), ca.facts.clone());
                added += 1;
            }
        }
    }

    fn holds(&self, der: &[u8]) -> bool {
        self.ders.iter().any(|earlier| earlier.as_ref() == der)
    }

    fn push(&mut self, der: CertificateDer<'a>, facts: Facts) {
        self.ders.push(der);
        self.facts.push(facts);
    }
}

/// The listed CAs that may end a path of this search; the two lists run in step.
struct Anchors<'a> {
    offered: Vec<TrustAnchor<'a>>,
    places: Vec<usize>,
}

impl<'a> Anchors<'a> {
    /// By name, and of one name those first whose key the certificate below asks for (RFC 5280 §4.2.1.1): of forty
    /// clusters' CAs with one name, the right one is tried first.
    fn choose(
        cas: &'a Cas,
        leaf: &Facts,
        intermediates: &Intermediates<'_>,
        rules: Rules,
    ) -> Anchors<'a> {
        let below = || std::iter::once(leaf).chain(&intermediates.facts);
        let mut names: Vec<&[u8]> = Vec::new();
        let mut chosen: Vec<(usize, &'a Ca)> = Vec::new();
        for name in issuer_names(leaf, intermediates) {
            if names.contains(&name) {
                continue;
            }
            names.push(name);
            chosen.extend(
                cas.named(name)
                    .filter(|(_, ca)| rules.partial || ca.facts.self_issued()),
            );
        }
        chosen.sort_by_key(|(_, ca)| {
            let id = ca.facts.subject_key_id.as_ref();
            let asked_for = id.is_some()
                && below().any(|facts| {
                    facts.issuer == ca.facts.subject && facts.authority_key_id.as_ref() == id
                });
            !asked_for
        });
        chosen.truncate(limits::PATH_ANCHORS_MAX);
        Anchors {
            offered: chosen.iter().map(|(_, ca)| borrowed(&ca.anchor)).collect(),
            places: chosen.iter().map(|(place, _)| *place).collect(),
        }
    }
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'static>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: Der::from_slice(&anchor.subject),
        subject_public_key_info: Der::from_slice(&anchor.subject_public_key_info),
        name_constraints: anchor
            .name_constraints
            .as_ref()
            .map(|constraints| Der::from_slice(constraints)),
    }
}

/// A path whose signatures are good.
struct Candidate<'a> {
    leaf: &'a Facts,
    /// Nearest to the leaf first.
    intermediates: Vec<&'a Facts>,
    anchor: &'a Facts,
    anchor_place: usize,
}

impl<'a> Candidate<'a> {
    /// `None` if webpki named something it was not given.
    fn of(
        path: &VerifiedPath<'_>,
        cas: &'a Cas,
        leaf: &'a Facts,
        offered: &'a Intermediates<'_>,
        anchors: &Anchors<'_>,
    ) -> Option<Candidate<'a>> {
        let mut intermediates = Vec::new();
        for certificate in path.intermediate_certificates() {
            let der = certificate.der();
            let place = offered.ders.iter().position(|given| *given == der)?;
            intermediates.push(offered.facts.get(place)?);
        }
        let index = anchors
            .offered
            .iter()
            .position(|given| std::ptr::addr_eq(given, path.anchor()))?;
        let anchor_place = *anchors.places.get(index)?;
        Some(Candidate {
            leaf,
            intermediates,
            anchor: &cas.listed.get(anchor_place)?.facts,
            anchor_place,
        })
    }

    /// RFC 5280 §6.1.4 (k) to (o) for every CA, and for the anchor too, as OpenSSL does.
    fn check(&self, rules: Rules, now: u64) -> Result<(), Reason> {
        if !rules.purpose.allowed_to(self.leaf) {
            return Err(Reason::Purpose);
        }
        if self.intermediates.len() > rules.depth {
            return Err(Reason::TooLong);
        }
        if !rules.partial && !self.anchor.self_issued() {
            return Err(Reason::PartialChain);
        }
        for (below, ca) in self.authorities().enumerate() {
            if now > ca.not_after {
                return Err(Reason::CaExpired);
            }
            if now < ca.not_before {
                return Err(Reason::CaNotYetValid);
            }
            if !ca.is_ca {
                return Err(Reason::NotCa);
            }
            if ca.key_usage.is_some_and(|usage| !usage.key_cert_sign) {
                return Err(Reason::NoCertSign);
            }
            if ca.path_len.is_some_and(|most| below > most as usize) {
                return Err(Reason::PathLength);
            }
            if !rules.purpose.allowed_by(ca) {
                return Err(Reason::Purpose);
            }
            // Below the anchor webpki has refused it; of an anchor it asks nothing.
            if ca.unknown_critical {
                return Err(Reason::CriticalExtension);
            }
        }
        Ok(())
    }

    /// nameConstraints by the text of a client's names, over and above webpki's by their kind: see
    /// [`identity::NameConstraints`]. An upstream's name is looked for in names of its kind alone.
    fn check_names(&self, rules: Rules, leaf_der: &[u8]) -> Result<(), Reason> {
        let constraints = || {
            self.authorities()
                .filter_map(|ca| ca.name_constraints.as_ref())
        };
        if rules.purpose != Purpose::Client || constraints().next().is_none() {
            return Ok(());
        }
        let names = identity::names(leaf_der).map_err(|_| Reason::Malformed)?;
        let allowed = constraints().all(|ca| names.iter().all(|name| ca.allow(name)));
        allowed.then_some(()).ok_or(Reason::NameConstraint)
    }

    fn into_found(self, cas: &Cas, now: u64) -> Found {
        let mut listed: Vec<usize> = Vec::new();
        for ca in self.authorities() {
            let used = (std::ptr::eq(ca, self.anchor)).then_some(self.anchor_place);
            let same_authority = cas
                .named(&ca.subject)
                .filter(|(_, other)| other.facts.spki == ca.spki && other.facts.valid_at(now))
                .map(|(place, _)| place);
            for place in used.into_iter().chain(same_authority) {
                if !listed.contains(&place) {
                    listed.push(place);
                }
            }
        }
        let mut valid_from = self.leaf.not_before;
        let mut valid_until = self.leaf.not_after;
        let named = listed.iter().filter_map(|place| cas.listed.get(*place));
        for facts in self.authorities().chain(named.map(|ca| &ca.facts)) {
            valid_from = valid_from.max(facts.not_before);
            valid_until = valid_until.min(facts.not_after);
        }
        Found {
            cas: listed,
            valid_from,
            valid_until,
        }
    }

    /// Intermediates, then the anchor.
    fn authorities(&self) -> impl Iterator<Item = &'a Facts> {
        self.intermediates
            .clone()
            .into_iter()
            .chain(std::iter::once(self.anchor))
    }
}

impl Purpose {
    fn key_usage(self) -> KeyUsage {
        match self {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        }
    }

    /// Whether the leaf's key may do what this side does with it, by OpenSSL's reading of keyUsage (RFC 5280 §4.2.1.3,
    /// RFC 8446 §4.4.2.2): a client signs.
    fn allowed_to(self, leaf: &Facts) -> bool {
        leaf.key_usage.is_none_or(|usage| {
            let signs = usage.digital_signature || usage.key_agreement;
            signs || (self == Purpose::Server && usage.key_encipherment)
        })
    }

    fn allowed_by(self, facts: &Facts) -> bool {
        facts.extended_key_usage.is_none_or(|usage| match self {
            Purpose::Client => usage.client_auth,
            Purpose::Server => usage.server_auth,
        })
    }
}
