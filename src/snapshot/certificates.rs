//! `certificates` and `snis`: key pairs built at most once per content, and what each SNI shows (KONG.md §1.2, §1.3, §4.1).

use super::compile::{Log, row};
use super::tls_glue::Builder;
use crate::entity::{Config, Entity, Kind, rows};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

pub(super) type Pair<B> = Result<Arc<<B as Builder>::KeyPair>, Arc<str>>;

/// Certificates something refers to; by id.
pub(super) struct Certificates<'a, B: Builder> {
    builder: &'a B,
    config: &'a Config,
    previous: Option<&'a Built<B>>,
    built: HashMap<Uuid, Certificate<B>>,
}

/// What a later compilation may take over.
pub(super) type Built<B> = HashMap<Uuid, Certificate<B>>;

/// One entity with what was built of it, each part when first asked for.
pub(super) struct Certificate<B: Builder> {
    entity: Arc<Entity>,
    pair: OnceLock<Pair<B>>,
    identity: OnceLock<Shown<B>>,
}

/// With the reason when it is a broken one.
type Shown<B> = (Arc<<B as Builder>::Identity>, Option<Arc<str>>);

impl<'a, B: Builder> Certificates<'a, B> {
    pub fn new(builder: &'a B, config: &'a Config, previous: Option<&'a Built<B>>) -> Self {
        Certificates {
            builder,
            config,
            previous,
            built: HashMap::new(),
        }
    }

    /// `cert` and `key`, never the alternative pair: what is shown to upstreams (KONG.md §4.4).
    pub fn pair(&mut self, id: Uuid) -> Pair<B> {
        let builder = self.builder;
        match self.certificate(id) {
            Some(certificate) => certificate.pair(builder),
            None => Err(missing(id)),
        }
    }

    /// SNI table in ascending name. A certificate that cannot be used makes its names abort handshakes, and warns.
    pub fn snis(&mut self, log: &mut Log) -> Vec<(String, Arc<B::Identity>)> {
        let mut table = Vec::new();
        for sni in self.config.rows::<rows::Sni>(Kind::Snis) {
            let Some(sni) = log.sound(Kind::Snis, sni) else {
                continue;
            };
            let builder = self.builder;
            let (identity, broken) = match self.certificate(sni.certificate.id) {
                Some(certificate) => certificate.identity(builder),
                None => {
                    let reason = missing(sni.certificate.id);
                    (
                        Arc::new(builder.identity(Err(reason.clone()))),
                        Some(reason),
                    )
                }
            };
            if let Some(reason) = broken {
                log.warn(
                    Kind::Snis,
                    sni.id,
                    format!("handshakes for {} are aborted: {reason}", sni.name),
                );
            }
            table.push((sni.name.to_ascii_lowercase(), identity));
        }
        table.sort_by(|one, other| one.0.cmp(&other.0));
        table
    }

    pub fn into_built(self) -> Built<B> {
        self.built
    }

    fn certificate(&mut self, id: Uuid) -> Option<&Certificate<B>> {
        let entity = self.config.tables.get(&Kind::Certificates)?.get(&id)?;
        let previous = self.previous;
        Some(self.built.entry(id).or_insert_with(|| {
            let same = previous
                .and_then(|built| built.get(&id))
                .filter(|old| same_text(&old.entity, entity));
            match same {
                Some(old) => Certificate {
                    entity: entity.clone(),
                    pair: old.pair.clone(),
                    identity: old.identity.clone(),
                },
                None => Certificate {
                    entity: entity.clone(),
                    pair: OnceLock::new(),
                    identity: OnceLock::new(),
                },
            }
        }))
    }
}

impl<B: Builder> Certificate<B> {
    fn pair(&self, builder: &B) -> Pair<B> {
        let build = || {
            let certificate: rows::Certificate = row(&self.entity).map_err(Arc::<str>::from)?;
            builder
                .key_pair(&certificate.cert, &certificate.key)
                .map(Arc::new)
                .map_err(Arc::from)
        };
        self.pair.get_or_init(build).clone()
    }

    fn identity(&self, builder: &B) -> Shown<B> {
        let build = || {
            let pairs = self.pair(builder).and_then(|pair| {
                let alternative = self.alternative(builder).map_err(Arc::<str>::from)?;
                Ok([Some(pair), alternative]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>())
            });
            let broken = pairs.as_ref().err().cloned();
            (Arc::new(builder.identity(pairs)), broken)
        };
        self.identity.get_or_init(build).clone()
    }

    fn alternative(&self, builder: &B) -> Result<Option<Arc<B::KeyPair>>, String> {
        let certificate: rows::Certificate = row(&self.entity)?;
        match (&certificate.cert_alt, &certificate.key_alt) {
            (Some(cert), Some(key)) => {
                let pair = builder
                    .key_pair(cert, key)
                    .map_err(|e| format!("cert_alt, key_alt: {e}"))?;
                Ok(Some(Arc::new(pair)))
            }
            (None, None) => Ok(None),
            _ => Err("all or none of these fields must be set: 'cert_alt', 'key_alt'".into()),
        }
    }
}

fn same_text(old: &Arc<Entity>, new: &Arc<Entity>) -> bool {
    let equal = |field| old.get(field) == new.get(field);
    Arc::ptr_eq(old, new)
        || ["cert", "key", "cert_alt", "key_alt"]
            .into_iter()
            .all(equal)
}

fn missing(id: Uuid) -> Arc<str> {
    format!("certificate {id} does not exist").into()
}
