//! `services`: where to, and with which TLS identity and trust (KONG.md §1.5, §4.4).

use super::authorities::Authorities;
use super::certificates::Certificates;
use super::compile::{Globals, Log};
use super::tls_glue::{Builder, UpstreamSpec};
use super::{Host, Scheme, Service};
use crate::entity::{Config, Kind, rows};
use crate::tls::upstream::UpstreamTls;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

pub(super) struct Services<'a, 'p, B: Builder> {
    pub builder: &'a B,
    pub globals: &'a Globals<B>,
    pub certificates: &'p mut Certificates<'a, B>,
    pub authorities: &'p mut Authorities<'a, B>,
    pub previous: Option<&'a Built<B>>,
    pub built: Built<B>,
}

/// What a later compilation may take over.
pub(super) type Built<B> = HashMap<Key, (Parts<B>, Result<Arc<UpstreamTls>, Arc<str>>)>;

/// Addresses of the parts; they stay true because `Parts` holds what they point to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    client: Option<usize>,
    verify: bool,
    depth: u32,
    roots: Option<usize>,
}

/// Client pair and roots.
type Parts<B> = (
    Option<Arc<<B as Builder>::ClientPair>>,
    Option<Arc<<B as Builder>::Roots>>,
);

impl<B: Builder> Services<'_, '_, B> {
    /// The enabled services by id, and the ids of the disabled ones.
    pub fn build(
        &mut self,
        config: &Config,
        log: &mut Log,
    ) -> (HashMap<Uuid, Arc<Service>>, HashSet<Uuid>) {
        let upstreams = config.rows::<rows::Upstream>(Kind::Upstreams);
        let upstreams: HashSet<String> = upstreams
            .filter_map(|row| log.sound(Kind::Upstreams, row))
            .map(|upstream| upstream.name.to_ascii_lowercase())
            .collect();
        let (mut enabled, mut disabled) = (HashMap::new(), HashSet::new());
        for row in config.rows::<rows::Service>(Kind::Services) {
            let Some(row) = log.sound(Kind::Services, row) else {
                continue;
            };
            if !row.enabled {
                disabled.insert(row.id);
                continue;
            }
            enabled.insert(row.id, Arc::new(self.service(row, &upstreams, log)));
        }
        (enabled, disabled)
    }

    fn service(
        &mut self,
        row: rows::Service,
        upstreams: &HashSet<String>,
        log: &mut Log,
    ) -> Service {
        let scheme = match row.protocol.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            // `declarative::advise` has said so, with the place.
            _ => Scheme::NotServed,
        };
        let tls = (scheme == Scheme::Https).then(|| self.tls(&row));
        if let Some(Err(reason)) = &tls {
            log.warn(
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
            host: host(&row.host, upstreams),
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
    fn tls(&mut self, row: &rows::Service) -> Result<Arc<UpstreamTls>, Arc<str>> {
        let client = match row.client_certificate {
            Some(certificate) => {
                let pair = self.certificates.client(certificate.id);
                Some(pair.map_err(|reason| Arc::from(format!("client_certificate: {reason}")))?)
            }
            None => self.globals.client_pair.clone(),
        };
        let verify = row.tls_verify.unwrap_or(self.globals.verifies());
        let on_fallback = row.ca_certificates.is_none() && self.globals.proxy_trust.is_none();
        let depth = row.tls_verify_depth.unwrap_or(match on_fallback {
            true => self.globals.fallback_verify_depth,
            false => self.globals.verify_depth,
        });
        let roots = match (verify, &row.ca_certificates) {
            // Without verification the store has no effect (KONG.md §4.4).
            (false, _) => None,
            (true, Some(ids)) => Some(self.authorities.roots(ids)?),
            (true, None) => {
                let global = self
                    .globals
                    .proxy_trust
                    .as_ref()
                    .or(self.globals.fallback_trust.as_ref());
                Some(global.ok_or("the upstream's certificate is to be verified, and no trust store is set")?.clone())
            }
        };
        self.shared((client, roots), verify, depth)
    }

    fn shared(
        &mut self,
        parts: Parts<B>,
        verify: bool,
        depth: u32,
    ) -> Result<Arc<UpstreamTls>, Arc<str>> {
        let key = Key {
            client: parts.0.as_ref().map(|pair| Arc::as_ptr(pair).addr()),
            verify,
            depth,
            roots: parts.1.as_ref().map(|roots| Arc::as_ptr(roots).addr()),
        };
        if let Some((_, tls)) = self.built.get(&key) {
            return tls.clone();
        }
        let old = self
            .previous
            .and_then(|built| built.get(&key))
            .map(|(_, tls)| tls.clone());
        let tls = old.unwrap_or_else(|| {
            let spec = UpstreamSpec {
                client: parts.0.clone(),
                verify,
                depth,
                roots: parts.1.clone(),
            };
            self.builder.upstream(spec).map(Arc::new).map_err(Arc::from)
        });
        self.built.insert(key, (parts, tls.clone()));
        tls
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

fn host(text: &str, upstreams: &HashSet<String>) -> Host {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let name = text.to_ascii_lowercase();
    match bare.parse() {
        Ok(address) => Host::Ip(address),
        Err(_) if upstreams.contains(&name) => Host::Upstream(name.into()),
        Err(_) => Host::Name(name.into()),
    }
}
