//! `ca_certificates`: decoded once, and the sets of anchors made of them, one per distinct content (KONG.md §1.4).

use super::changes::{Pass, Referrers};
use super::report::row;
use super::shared::Shared;
use super::tls_glue::Builder;
use crate::entity::{Kind, rows};
use crate::tls::trust::TrustSet;
use imbl::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// What was decoded, who refers to it, and the sets in use.
pub(super) struct Authorities<B: Builder> {
    decoded: HashMap<Uuid, Outcome>,
    trust_sets: Shared<(Anchors, bool), TrustSet>,
    roots: Shared<Anchors, B::Roots>,
    pub plugins: Referrers,
    pub services: Referrers,
}

/// In ascending id, each once, with the DER: two lists with one content are one set.
type Anchors = Vec<(Uuid, Arc<[u8]>)>;

type Outcome = Result<Decoded, Arc<str>>;

#[derive(Clone)]
struct Decoded {
    der: Arc<[u8]>,
    subject: Arc<[u8]>,
}

impl<B: Builder> Authorities<B> {
    /// Takes in changed CAs. Plugins and services that list one are to be judged.
    pub fn change(&mut self, pass: &mut Pass<B>) {
        for (id, change) in pass.changes.of(Kind::CaCertificates) {
            if change.touches(&["cert"]) {
                self.decoded.remove(&id);
                pass.plugins.extend(self.plugins.of(id));
                pass.services.extend(self.services.of(id));
            }
        }
    }

    /// The anchors of an mtls-auth plugin. One that is missing or broken fails the set: a smaller set is not what was asked.
    pub fn trust_set(
        &mut self,
        pass: &Pass<B>,
        ids: &[Uuid],
        allow_partial_chain: bool,
    ) -> Result<Arc<TrustSet>, String> {
        let key = (self.anchors(pass, ids)?, allow_partial_chain);
        if let Some(set) = self.trust_sets.get(&key) {
            return Ok(set);
        }
        let set = pass.builder.trust_set(owned(&key.0), allow_partial_chain)?;
        Ok(self.trust_sets.insert(key, set))
    }

    /// The store of a service that has one of its own (KONG.md §4.4).
    pub fn roots(&mut self, pass: &Pass<B>, ids: &[Uuid]) -> Result<Arc<B::Roots>, Arc<str>> {
        let key = self.anchors(pass, ids).map_err(Arc::<str>::from)?;
        if let Some(roots) = self.roots.get(&key) {
            return Ok(roots);
        }
        let roots = pass.builder.roots(owned(&key)).map_err(Arc::<str>::from)?;
        Ok(self.roots.insert(key, roots))
    }

    /// The subject in DER; `None` for a CA that is missing or broken, which `trust_set` reports.
    pub fn subject(&mut self, pass: &Pass<B>, id: Uuid) -> Option<Vec<u8>> {
        let decoded = self.decoded(pass, id).ok()?;
        Some(decoded.subject.to_vec())
    }

    fn anchors(&mut self, pass: &Pass<B>, ids: &[Uuid]) -> Result<Anchors, String> {
        if ids.is_empty() {
            return Err("ca_certificates: the list is empty".into());
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| Ok((id, self.decoded(pass, id)?.der)))
            .collect()
    }

    fn decoded(&mut self, pass: &Pass<B>, id: Uuid) -> Result<Decoded, String> {
        let named = |reason: Arc<str>| format!("ca certificate {id}: {reason}");
        if let Some(decoded) = self.decoded.get(&id) {
            return decoded.clone().map_err(named);
        }
        let entity = pass.new.get(Kind::CaCertificates, id);
        let entity = entity.ok_or_else(|| named("does not exist".into()))?;
        let decode = || -> Result<Decoded, String> {
            let authority = pass
                .builder
                .authority(&row::<rows::CaCertificate>(entity)?.cert)?;
            Ok(Decoded {
                der: authority.der.into(),
                subject: authority.subject.into(),
            })
        };
        let decoded: Outcome = decode().map_err(Arc::from);
        self.decoded.insert(id, decoded.clone());
        decoded.map_err(named)
    }
}

fn owned(anchors: &Anchors) -> Vec<(Uuid, Vec<u8>)> {
    anchors
        .iter()
        .map(|(id, der)| (*id, der.to_vec()))
        .collect()
}

// Derived ones would ask for `B: Clone` and `B: Default`.
impl<B: Builder> Clone for Authorities<B> {
    fn clone(&self) -> Self {
        Authorities {
            decoded: self.decoded.clone(),
            trust_sets: self.trust_sets.clone(),
            roots: self.roots.clone(),
            plugins: self.plugins.clone(),
            services: self.services.clone(),
        }
    }
}

impl<B: Builder> Default for Authorities<B> {
    fn default() -> Self {
        Authorities {
            decoded: HashMap::new(),
            trust_sets: Shared::default(),
            roots: Shared::default(),
            plugins: Referrers::default(),
            services: Referrers::default(),
        }
    }
}
