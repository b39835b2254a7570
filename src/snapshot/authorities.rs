//! `ca_certificates`: decoded once, and the sets of anchors made of them, one per distinct content (KONG.md §1.4).

use super::compile::row;
use super::tls_glue::Builder;
use crate::entity::{Config, Entity, Kind, rows};
use crate::tls::trust::TrustSet;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

pub(super) struct Authorities<'a, B: Builder> {
    builder: &'a B,
    config: &'a Config,
    previous: Option<&'a Built<B>>,
    built: Built<B>,
}

/// What a later compilation may take over.
pub(super) struct Built<B: Builder> {
    authorities: HashMap<Uuid, (Arc<Entity>, Outcome)>,
    trust_sets: HashMap<(Anchors, bool), Result<Arc<TrustSet>, String>>,
    roots: HashMap<Anchors, Result<Arc<B::Roots>, Arc<str>>>,
}

/// In ascending id, each once, with the DER: two lists with one content are one set.
type Anchors = Vec<(Uuid, Arc<[u8]>)>;

type Outcome = Result<Decoded, Arc<str>>;

#[derive(Clone)]
struct Decoded {
    der: Arc<[u8]>,
    subject: Arc<[u8]>,
}

impl<B: Builder> Default for Built<B> {
    fn default() -> Self {
        Built {
            authorities: HashMap::new(),
            trust_sets: HashMap::new(),
            roots: HashMap::new(),
        }
    }
}

impl<'a, B: Builder> Authorities<'a, B> {
    pub fn new(builder: &'a B, config: &'a Config, previous: Option<&'a Built<B>>) -> Self {
        Authorities {
            builder,
            config,
            previous,
            built: Built::default(),
        }
    }

    /// The anchors of an mtls-auth plugin. One that is missing or broken fails the set: a smaller set is not what was asked.
    pub fn trust_set(
        &mut self,
        ids: &[Uuid],
        allow_partial_chain: bool,
    ) -> Result<Arc<TrustSet>, String> {
        let key = (self.anchors(ids)?, allow_partial_chain);
        if let Some(set) = self.built.trust_sets.get(&key) {
            return set.clone();
        }
        let old = self
            .previous
            .and_then(|built| built.trust_sets.get(&key))
            .cloned();
        let set = old.unwrap_or_else(|| {
            self.builder
                .trust_set(owned(&key.0), allow_partial_chain)
                .map(Arc::new)
        });
        self.built.trust_sets.insert(key, set.clone());
        set
    }

    /// The store of a service that has one of its own (KONG.md §4.4).
    pub fn roots(&mut self, ids: &[Uuid]) -> Result<Arc<B::Roots>, Arc<str>> {
        let key = self.anchors(ids).map_err(Arc::<str>::from)?;
        if let Some(roots) = self.built.roots.get(&key) {
            return roots.clone();
        }
        let old = self
            .previous
            .and_then(|built| built.roots.get(&key))
            .cloned();
        let roots = old.unwrap_or_else(|| {
            self.builder
                .roots(owned(&key))
                .map(Arc::new)
                .map_err(Arc::from)
        });
        self.built.roots.insert(key, roots.clone());
        roots
    }

    /// The subject in DER; `None` for a CA that is missing or broken, which `trust_set` reports.
    pub fn subject(&mut self, id: Uuid) -> Option<Vec<u8>> {
        self.decoded(id)
            .ok()
            .map(|decoded| decoded.subject.to_vec())
    }

    pub fn into_built(self) -> Built<B> {
        self.built
    }

    fn anchors(&mut self, ids: &[Uuid]) -> Result<Anchors, String> {
        if ids.is_empty() {
            return Err("ca_certificates: the list is empty".into());
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| Ok((id, self.decoded(id)?.der)))
            .collect()
    }

    fn decoded(&mut self, id: Uuid) -> Result<Decoded, String> {
        let named = |reason: Arc<str>| format!("ca certificate {id}: {reason}");
        let entity = self
            .config
            .tables
            .get(&Kind::CaCertificates)
            .and_then(|table| table.get(&id));
        let entity = entity.ok_or_else(|| named("does not exist".into()))?;
        if let Some((_, decoded)) = self.built.authorities.get(&id) {
            return decoded.clone().map_err(named);
        }
        let old = self.previous.and_then(|built| built.authorities.get(&id));
        let decoded = match old
            .filter(|(old, _)| Arc::ptr_eq(old, entity) || old.get("cert") == entity.get("cert"))
        {
            Some((_, decoded)) => decoded.clone(),
            None => self.decode(entity).map_err(Arc::from),
        };
        self.built
            .authorities
            .insert(id, (entity.clone(), decoded.clone()));
        decoded.map_err(named)
    }

    fn decode(&self, entity: &Entity) -> Result<Decoded, String> {
        let authority = self
            .builder
            .authority(&row::<rows::CaCertificate>(entity)?.cert)?;
        Ok(Decoded {
            der: authority.der.into(),
            subject: authority.subject.into(),
        })
    }
}

fn owned(anchors: &Anchors) -> Vec<(Uuid, Vec<u8>)> {
    anchors
        .iter()
        .map(|(id, der)| (*id, der.to_vec()))
        .collect()
}
