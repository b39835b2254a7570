//! `certificates` and `snis`: key pairs built at most once per content, and what each SNI shows (KONG.md §1.2, §1.3, §4.1).

use super::compile::{Log, row};
use super::tls_glue::Builder;
use crate::entity::{Config, Entity, Kind, rows};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Why not: the certificate is missing or cannot be read.
pub(super) type Client<B> = Result<Arc<<B as Builder>::ClientPair>, Arc<str>>;

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
    client: OnceLock<Client<B>>,
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
    pub fn client(&mut self, id: Uuid) -> Client<B> {
        let builder = self.builder;
        match self.certificate(id) {
            Some(certificate) => certificate.client(builder),
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
                    client: old.client.clone(),
                    identity: old.identity.clone(),
                },
                None => Certificate {
                    entity: entity.clone(),
                    client: OnceLock::new(),
                    identity: OnceLock::new(),
                },
            }
        }))
    }
}

impl<B: Builder> Certificate<B> {
    fn client(&self, builder: &B) -> Client<B> {
        let build = || {
            let certificate: rows::Certificate = row(&self.entity)?;
            builder.client_pair(&certificate.cert, &certificate.key)
        };
        self.client
            .get_or_init(|| build().map(Arc::new).map_err(Arc::from))
            .clone()
    }

    fn identity(&self, builder: &B) -> Shown<B> {
        let build = || {
            let pairs = self.pairs(builder).map_err(Arc::<str>::from);
            let broken = pairs.as_ref().err().cloned();
            (Arc::new(builder.identity(pairs)), broken)
        };
        self.identity.get_or_init(build).clone()
    }

    /// One that is broken fails both: which of the two a client can use is not for chance to decide.
    fn pairs(&self, builder: &B) -> Result<Vec<Arc<B::KeyPair>>, String> {
        let certificate: rows::Certificate = row(&self.entity)?;
        let mut pairs = vec![Arc::new(
            builder.key_pair(&certificate.cert, &certificate.key)?,
        )];
        match (&certificate.cert_alt, &certificate.key_alt) {
            (Some(cert), Some(key)) => {
                let pair = builder
                    .key_pair(cert, key)
                    .map_err(|e| format!("cert_alt, key_alt: {e}"))?;
                pairs.push(Arc::new(pair));
            }
            (None, None) => {}
            _ => {
                return Err(
                    "all or none of these fields must be set: 'cert_alt', 'key_alt'".into(),
                );
            }
        }
        Ok(pairs)
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
