//! `certificates` and `snis`: key pairs built at most once per content, and what each SNI shows (KONG.md §1.2, §1.3, §4.1).

use super::changes::{Pass, Referrers};
use super::report::row;
use super::tls_glue::Builder;
use crate::entity::{Entity, Kind, rows};
use crate::tls::sni::canonical;
use imbl::HashMap;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Why not: the certificate is missing or cannot be read.
pub(super) type Client<B> = Result<Arc<<B as Builder>::ClientPair>, Arc<str>>;

/// With the reason when it is a broken one.
type Shown<B> = (Arc<<B as Builder>::Identity>, Option<Arc<str>>);

/// A name as in `tls::sni::canonical` and what it shows from now on; `None`: nothing any more.
pub(super) type NameChange<B> = (Arc<str>, Option<Arc<<B as Builder>::Identity>>);

/// Certificates that something refers to, by id, and who does.
pub(super) struct Certificates<B: Builder> {
    identities: HashMap<Uuid, Shown<B>>,
    clients: HashMap<Uuid, Client<B>>,
    snis: Referrers,
    pub services: Referrers,
    /// The rows that have a name, in ascending id. More than one only where names are equal but for a dot at the end.
    claims: HashMap<Arc<str>, SmallVec<[Uuid; 1]>>,
}

impl<B: Builder> Certificates<B> {
    /// Takes in changed certificates and SNIs. Services that show a changed one are to be judged.
    pub fn change(&mut self, pass: &mut Pass<B>) -> Vec<NameChange<B>> {
        let mut names = BTreeSet::new();
        let mut left = BTreeSet::new();
        for (id, change) in pass.changes.of(Kind::Snis) {
            if !change.touches(&["name", "certificate"]) {
                continue;
            }
            pass.log.judge(Kind::Snis, id);
            if let Some(new) = &change.new {
                pass.log.row::<rows::Sni>(Kind::Snis, id, new);
            }
            left.extend(change.old.as_deref().and_then(certificate_of));
            self.snis.follow(id, "certificate", change);
            if let Some(name) = change.old.as_deref().and_then(name_of) {
                self.unclaim(&name, id);
                names.insert(name);
            }
            if let Some(name) = change.new.as_deref().and_then(name_of) {
                self.claim(name.clone(), id);
                names.insert(name);
            }
        }
        for (id, change) in pass.changes.of(Kind::Certificates) {
            if !change.touches(&["cert", "key", "cert_alt", "key_alt"]) {
                continue;
            }
            self.identities.remove(&id);
            self.clients.remove(&id);
            let snis = self.snis.of(id);
            names.extend(snis.filter_map(|sni| name_of(pass.new.get(Kind::Snis, sni)?)));
            pass.services.extend(self.services.of(id));
        }
        let shown = names.into_iter().map(|name| {
            let identity = self.shown(pass, &name);
            (name, identity)
        });
        let shown = shown.collect();
        for certificate in left.into_iter().filter(|id| !self.snis.has(*id)) {
            self.identities.remove(&certificate);
        }
        shown
    }

    /// `cert` and `key`, never the alternative pair: what is shown to upstreams (KONG.md §4.4).
    pub fn client(&mut self, pass: &Pass<B>, id: Uuid) -> Client<B> {
        if let Some(known) = self.clients.get(&id) {
            return known.clone();
        }
        let entity = pass.new.get(Kind::Certificates, id);
        let entity = entity.ok_or_else(|| missing(id))?;
        let build = || {
            let certificate: rows::Certificate = row(entity)?;
            pass.builder
                .client_pair(&certificate.cert, &certificate.key)
        };
        let client: Client<B> = build().map(Arc::new).map_err(Arc::from);
        self.clients.insert(id, client.clone());
        client
    }

    /// `service` no longer refers to it, as the index says.
    pub fn unused(&mut self, id: Uuid) {
        if !self.services.has(id) {
            self.clients.remove(&id);
        }
    }

    /// What the row with the greatest id says of a name. A certificate that cannot be used makes its names abort
    /// handshakes, and warns.
    fn shown(&mut self, pass: &mut Pass<B>, name: &Arc<str>) -> Option<Arc<B::Identity>> {
        let claims = self.claims.get(name)?.clone();
        claims.iter().for_each(|id| pass.log.judge(Kind::Snis, *id));
        let id = *claims.last()?;
        let certificate = certificate_of(pass.new.get(Kind::Snis, id)?)?;
        let (identity, broken) = self.identity(pass, certificate);
        if let Some(reason) = broken {
            let text = format!("handshakes for {name} are aborted: {reason}");
            pass.log.warn(Kind::Snis, id, text);
        }
        Some(identity)
    }

    fn identity(&mut self, pass: &Pass<B>, id: Uuid) -> Shown<B> {
        if let Some(known) = self.identities.get(&id) {
            return known.clone();
        }
        let Some(entity) = pass.new.get(Kind::Certificates, id) else {
            let reason = missing(id);
            return (
                Arc::new(pass.builder.broken_identity(&reason)),
                Some(reason),
            );
        };
        let (identity, broken) = pass.builder.identity(entity);
        let shown = (Arc::new(identity), broken);
        self.identities.insert(id, shown.clone());
        shown
    }

    fn claim(&mut self, name: Arc<str>, id: Uuid) {
        let claims = self.claims.entry(name).or_default();
        if let Err(place) = claims.binary_search(&id) {
            claims.insert(place, id);
        }
    }

    fn unclaim(&mut self, name: &Arc<str>, id: Uuid) {
        let Some(claims) = self.claims.get_mut(name) else {
            return;
        };
        claims.retain(|held| *held != id);
        if claims.is_empty() {
            self.claims.remove(name);
        }
    }
}

/// The pairs of an entity by what builds one of them. One that is broken fails both: which of the two a client can use is
/// not for chance to decide.
pub(super) fn pairs<P>(
    certificate: &Entity,
    pair: impl Fn(&str, &str) -> Result<P, String>,
) -> Result<Vec<Arc<P>>, String> {
    let certificate: rows::Certificate = row(certificate)?;
    let mut pairs = vec![Arc::new(pair(&certificate.cert, &certificate.key)?)];
    match (&certificate.cert_alt, &certificate.key_alt) {
        (Some(cert), Some(key)) => {
            let pair = pair(cert, key).map_err(|e| format!("cert_alt, key_alt: {e}"))?;
            pairs.push(Arc::new(pair));
        }
        (None, None) => {}
        _ => {
            return Err("all or none of these fields must be set: 'cert_alt', 'key_alt'".into());
        }
    }
    Ok(pairs)
}

fn name_of(sni: &Entity) -> Option<Arc<str>> {
    Some(canonical(sni.get("name")?.as_str()?).into())
}

fn certificate_of(sni: &Entity) -> Option<Uuid> {
    super::changes::referred(sni, "certificate")
}

fn missing(id: Uuid) -> Arc<str> {
    format!("certificate {id} does not exist").into()
}

// Derived ones would ask for `B: Clone` and `B: Default`.
impl<B: Builder> Clone for Certificates<B> {
    fn clone(&self) -> Self {
        Certificates {
            identities: self.identities.clone(),
            clients: self.clients.clone(),
            snis: self.snis.clone(),
            services: self.services.clone(),
            claims: self.claims.clone(),
        }
    }
}

impl<B: Builder> Default for Certificates<B> {
    fn default() -> Self {
        Certificates {
            identities: HashMap::new(),
            clients: HashMap::new(),
            snis: Referrers::default(),
            services: Referrers::default(),
            claims: HashMap::new(),
        }
    }
}
