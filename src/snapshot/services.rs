//! `services`: where to, and with which TLS identity and trust (KONG.md §1.5, §4.4).

use super::authorities::Authorities;
use super::certificates::Certificates;
use super::changes::{Pass, listed, referred};
use super::shared::Shared;
use super::tls_glue::{Builder, UpstreamSpec};
use super::{Host, Scheme, Service};
use crate::entity::{Kind, rows};
use crate::limits::PATH_INTERMEDIATES_MAX;
use crate::tls::Digest;
use crate::tls::upstream::UpstreamTls;
use imbl::HashMap;
use std::sync::{Arc, Weak};
use uuid::Uuid;

/// The services by id; `None`: a disabled one. And what they share.
pub(super) struct Services<B: Builder> {
    built: HashMap<Uuid, Option<Arc<Service>>>,
    /// Names of `upstreams` in lower case, with the number of rows that have them.
    upstreams: HashMap<String, usize>,
    identities: Shared<Key<B>, UpstreamTls>,
    fingerprints: Fingerprints,
}

/// Of the TLS identities towards upstreams, with the number of services that have each.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Fingerprints(HashMap<Digest, usize>);

/// What is to be done about the routes of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It came, went, was enabled or disabled.
    Other,
    /// Another content.
    Renewed,
}

/// Parts of an identity, equal when they are the very same. Held weakly: an address is not used again meanwhile.
pub(super) struct Key<B: Builder> {
    client: Option<Weak<B::ClientPair>>,
    verify: bool,
    depth: u32,
    roots: Option<Weak<B::Roots>>,
}

/// Client pair and roots.
type Parts<B> = (
    Option<Arc<<B as Builder>::ClientPair>>,
    Option<Arc<<B as Builder>::Roots>>,
);

/// Where a service takes parts from.
pub(super) struct Sources<'s, B: Builder> {
    pub certificates: &'s mut Certificates<B>,
    pub authorities: &'s mut Authorities<B>,
}

impl<B: Builder> Services<B> {
    /// Takes in changed services and upstreams, and judges `pass.services`. The services whose routes are concerned.
    pub fn change(&mut self, pass: &mut Pass<B>, from: &mut Sources<B>) -> Vec<(Uuid, Outcome)> {
        self.change_upstreams(pass);
        for (id, change) in pass.changes.of(Kind::Services) {
            pass.services.insert(id);
            from.certificates
                .services
                .follow(id, "client_certificate", change);
            if let Some(old) = change
                .old
                .as_deref()
                .and_then(|old| referred(old, "client_certificate"))
            {
                from.certificates.unused(old);
            }
            let cas = |row| listed(row, "ca_certificates");
            let services = &mut from.authorities.services;
            services.follow_list(id, &cas(change.old.as_ref()), &cas(change.new.as_ref()));
        }
        let mut concerned = Vec::new();
        for id in std::mem::take(&mut pass.services) {
            let old = self.built.get(&id).cloned();
            let new = self.judge(pass, from, id);
            match &new {
                Some(new) => self.built.insert(id, new.clone()),
                None => self.built.remove(&id),
            };
            let fingerprint = |service: &Option<Option<Arc<Service>>>| {
                let tls = service.as_ref()?.as_ref()?.tls.as_ref()?;
                Some(tls.as_ref().ok()?.fingerprint)
            };
            if let Some(new) = fingerprint(&new) {
                self.fingerprints.add(new);
            }
            if let Some(old) = fingerprint(&old) {
                self.fingerprints.remove(&old);
            }
            match (old, new) {
                (Some(Some(_)), Some(Some(_))) => concerned.push((id, Outcome::Renewed)),
                (Some(None), Some(None)) => {}
                _ => concerned.push((id, Outcome::Other)),
            }
        }
        concerned
    }

    /// `Err`: there is none. `None`: a disabled one.
    pub fn get(&self, id: Uuid) -> Result<Option<&Arc<Service>>, String> {
        match self.built.get(&id) {
            Some(service) => Ok(service.as_ref()),
            None => Err(format!("service {id} does not exist")),
        }
    }

    pub fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// A name that came or went makes of each host of that name something else.
    fn change_upstreams(&mut self, pass: &mut Pass<B>) {
        let mut turned = Vec::new();
        for (id, change) in pass.changes.of(Kind::Upstreams) {
            if !change.touches(&["name"]) {
                continue;
            }
            if let Some(new) = &change.new {
                pass.log.row::<rows::Upstream>(Kind::Upstreams, id, new);
            }
            let name = |row: &Option<Arc<crate::entity::Entity>>| {
                Some(row.as_ref()?.get("name")?.as_str()?.to_ascii_lowercase())
            };
            if let Some(new) = name(&change.new) {
                *self.upstreams.entry(new.clone()).or_insert(0) += 1;
                turned.push(new);
            }
            if let Some(old) = name(&change.old) {
                match self.upstreams.get_mut(&old) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(self.upstreams.remove(&old)),
                }
                turned.push(old);
            }
        }
        if turned.is_empty() {
            return;
        }
        for (id, service) in &self.built {
            let host = service.as_ref().map(|service| &service.host);
            if let Some(Host::Name(name) | Host::Upstream(name)) = host
                && turned.iter().any(|turned| **turned == **name)
            {
                pass.services.insert(*id);
            }
        }
    }

    fn judge(
        &mut self,
        pass: &mut Pass<B>,
        from: &mut Sources<B>,
        id: Uuid,
    ) -> Option<Option<Arc<Service>>> {
        pass.log.judge(Kind::Services, id);
        let new = pass.new;
        let entity = new.get(Kind::Services, id)?;
        let row: rows::Service = pass.log.row(Kind::Services, id, entity)?;
        Some(match row.enabled {
            true => Some(Arc::new(self.service(pass, from, row))),
            false => None,
        })
    }

    fn service(
        &mut self,
        pass: &mut Pass<B>,
        from: &mut Sources<B>,
        row: rows::Service,
    ) -> Service {
        let scheme = match row.protocol.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                if !pass.globals.advised {
                    pass.log.warn(
                        Kind::Services,
                        row.id,
                        format!("protocol {other} is not served; requests get 503"),
                    );
                }
                Scheme::NotServed
            }
        };
        let tls = (scheme == Scheme::Https).then(|| self.tls(pass, from, &row));
        if let Some(Err(reason)) = &tls {
            pass.log.warn(
                Kind::Services,
                row.id,
                format!("requests get 502: {reason}"),
            );
        }
        Service {
            id: row.id,
            label: row
                .name
                .clone()
                .unwrap_or_else(|| row.id.to_string())
                .into(),
            name: row.name.map(Arc::from),
            scheme,
            host: host(&row.host, &self.upstreams),
            authority: authority(&row.host, row.port, scheme),
            server_name: server_name(&row.host).into(),
            host_text: row.host.into(),
            port: row.port,
            path: row.path.map(Box::from),
            retries: row.retries,
            connect_timeout_ms: row.connect_timeout,
            write_timeout_ms: row.write_timeout,
            read_timeout_ms: row.read_timeout,
            tls,
        }
    }

    /// Anything that cannot be loaded is an error: going on without it would show a weaker identity or trust.
    fn tls(
        &mut self,
        pass: &mut Pass<B>,
        from: &mut Sources<B>,
        row: &rows::Service,
    ) -> Result<Arc<UpstreamTls>, Arc<str>> {
        let globals = pass.globals;
        let client = match row.client_certificate {
            Some(certificate) => {
                let pair = from.certificates.client(pass, certificate.id);
                Some(pair.map_err(|reason| Arc::from(format!("client_certificate: {reason}")))?)
            }
            None => globals.client_pair.clone(),
        };
        let verify = row.tls_verify.unwrap_or(globals.verifies());
        if row.tls_verify == Some(false) && globals.verifies() && !globals.advised {
            pass.log.warn(
                Kind::Services,
                row.id,
                "tls_verify is false: the upstream's certificate is not verified".into(),
            );
        }
        let on_fallback = row.ca_certificates.is_none() && globals.proxy_trust.is_none();
        let depth = row.tls_verify_depth.unwrap_or(match on_fallback {
            true => globals.fallback_verify_depth,
            false => globals.verify_depth,
        });
        if row
            .tls_verify_depth
            .is_some_and(|depth| depth as usize > PATH_INTERMEDIATES_MAX)
            && !globals.advised
        {
            let text = format!(
                "tls_verify_depth: {depth} is more than the {PATH_INTERMEDIATES_MAX} intermediates followed"
            );
            pass.log.warn(Kind::Services, row.id, text);
        }
        let roots = match (verify, &row.ca_certificates) {
            // Without verification the store has no effect (KONG.md §4.4).
            (false, _) => None,
            (true, Some(ids)) => Some(from.authorities.roots(pass, ids)?),
            (true, None) => {
                let global = globals
                    .proxy_trust
                    .as_ref()
                    .or(globals.fallback_trust.as_ref());
                Some(global.ok_or("the upstream's certificate is to be verified, and no trust store is set")?.clone())
            }
        };
        self.shared(pass, (client, roots), verify, depth)
    }

    fn shared(
        &mut self,
        pass: &Pass<B>,
        (client, roots): Parts<B>,
        verify: bool,
        depth: u32,
    ) -> Result<Arc<UpstreamTls>, Arc<str>> {
        let key = Key {
            client: client.as_ref().map(Arc::downgrade),
            verify,
            depth,
            roots: roots.as_ref().map(Arc::downgrade),
        };
        if let Some(known) = self.identities.get(&key) {
            return Ok(known);
        }
        let spec = UpstreamSpec {
            client,
            verify,
            depth,
            roots,
        };
        let tls = pass.builder.upstream(spec).map_err(Arc::<str>::from)?;
        Ok(self.identities.insert(key, tls))
    }
}

impl Fingerprints {
    /// Whether a service has an identity with this fingerprint.
    pub fn contains(&self, fingerprint: &Digest) -> bool {
        self.0.contains_key(fingerprint)
    }

    fn add(&mut self, fingerprint: Digest) {
        *self.0.entry(fingerprint).or_insert(0) += 1;
    }

    fn remove(&mut self, fingerprint: &Digest) {
        match self.0.get_mut(fingerprint) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(fingerprint)),
        }
    }
}

fn authority(host: &str, port: u16, scheme: Scheme) -> Arc<str> {
    let own = if scheme == Scheme::Https { 443 } else { 80 };
    if port == own {
        host.into()
    } else {
        format!("{host}:{port}").into()
    }
}

/// A host as it is sent as SNI and verified.
pub fn server_name(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase()
}

fn host(text: &str, upstreams: &HashMap<String, usize>) -> Host {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let name = text.to_ascii_lowercase();
    match bare.parse() {
        Ok(address) => Host::Ip(address),
        Err(_) if upstreams.contains_key(&name) => Host::Upstream(name.into()),
        Err(_) => Host::Name(name.into()),
    }
}

impl<B: Builder> Key<B> {
    fn parts(&self) -> (Option<usize>, bool, u32, Option<usize>) {
        let client = self.client.as_ref().map(|pair| pair.as_ptr().addr());
        let roots = self.roots.as_ref().map(|roots| roots.as_ptr().addr());
        (client, self.verify, self.depth, roots)
    }
}

impl<B: Builder> PartialEq for Key<B> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<B: Builder> Eq for Key<B> {}

impl<B: Builder> std::hash::Hash for Key<B> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

// Derived ones would ask for `B: Clone` and `B: Default`.
impl<B: Builder> Clone for Key<B> {
    fn clone(&self) -> Self {
        Key {
            client: self.client.clone(),
            verify: self.verify,
            depth: self.depth,
            roots: self.roots.clone(),
        }
    }
}

impl<B: Builder> Clone for Services<B> {
    fn clone(&self) -> Self {
        Services {
            built: self.built.clone(),
            upstreams: self.upstreams.clone(),
            identities: self.identities.clone(),
            fingerprints: self.fingerprints.clone(),
        }
    }
}

impl<B: Builder> Default for Services<B> {
    fn default() -> Self {
        Services {
            built: HashMap::new(),
            upstreams: HashMap::new(),
            identities: Shared::default(),
            fingerprints: Fingerprints::default(),
        }
    }
}
