//! The gateway as a client: the identity it shows an upstream and the trust it holds it to (KONG.md §4.4).
//!
//! [`UpstreamTls`] is the effective identity, built on the control side. A core turns it into one rustls configuration
//! with its own session store, so what one identity's handshake earned, no other identity resumes.

mod client_pair;
mod sessions;
#[cfg(test)]
mod tests;
mod verifier;

pub use client_pair::ClientPair;

use super::Digest;
use super::client_auth::lru::Lru;
use super::keys::KeyError;
use super::provider::{Chosen, Version};
use super::session::Session;
use super::trust::{Reason, Roots, finish};
use crate::limits;
use aws_lc_rs::digest;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ClientConnection, OtherError, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use sessions::Sessions;
use std::sync::Arc;
use verifier::{Verifier, VerifyPath};

/// What a service asks of TLS, with the global values filled in.
#[derive(Clone, Debug)]
pub struct UpstreamSpec {
    /// Shown only to an upstream that asks; the whole chain is sent.
    pub client: Option<Arc<ClientPair>>,
    pub verify: bool,
    /// Intermediates allowed between leaf and anchor (`tls_verify_depth`). webpki follows
    /// `limits::PATH_INTERMEDIATES_MAX` at most.
    pub depth: u32,
    /// What to verify against. Without any, verification fails.
    pub roots: Option<Arc<Roots>>,
    pub versions: Versions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub tls12: bool,
    pub tls13: bool,
}

impl Versions {
    #[cfg(test)]
    pub const ALL: Versions = Versions {
        tls12: true,
        tls13: true,
    };
}

impl FromIterator<Version> for Versions {
    fn from_iter<I: IntoIterator<Item = Version>>(listed: I) -> Versions {
        let mut versions = Versions {
            tls12: false,
            tls13: false,
        };
        for version in listed {
            match version {
                Version::Tls12 => versions.tls12 = true,
                Version::Tls13 => versions.tls13 = true,
            }
        }
        versions
    }
}

/// What a connection to an upstream must prove and present; built on the control side, shared by all cores.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Digest of client chain, verify flag, depth, trust digest, versions; the name and address are added by the pool's key.
    /// Without verification depth and trust do not count.
    pub fingerprint: Digest,
    spec: UpstreamSpec,
}

impl UpstreamTls {
    pub fn new(spec: UpstreamSpec) -> UpstreamTls {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"sallyport upstream 1");
        hash.update(&[u8::from(spec.versions.tls12), u8::from(spec.versions.tls13)]);
        match &spec.client {
            Some(pair) => {
                hash.update(&[1]);
                hash.update(&pair.chain_digest);
            }
            None => hash.update(&[0]),
        }
        hash.update(&[u8::from(spec.verify)]);
        if spec.verify {
            hash.update(&spec.depth.to_be_bytes());
            match &spec.roots {
                Some(roots) => {
                    hash.update(&[1]);
                    hash.update(&roots.digest);
                }
                None => hash.update(&[0]),
            }
        }
        UpstreamTls {
            fingerprint: finish(hash),
            spec,
        }
    }

    #[cfg(test)]
    pub fn verifies(&self) -> bool {
        self.spec.verify
    }
}

/// Why there is no TLS to an upstream. The client gets 502; this goes into the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream SSL: {name:?} is neither a host name nor an IP address")]
    Name { name: String },
    #[error("upstream SSL: the client certificate cannot be used: {why}")]
    ClientPair { why: KeyError },
    #[error("upstream SSL: cannot be configured: {why}")]
    Configuration { why: String },
    /// The upstream's certificate was refused.
    #[error("upstream SSL certificate verify error: ({}:{})", reason.openssl_code(), reason.text())]
    Verify { reason: Reason },
    /// The path is good; no dNSName or iPAddress of it is the name asked for. The common name does not count.
    #[error("upstream SSL certificate does not match \"{name}\"")]
    NameMismatch { name: String },
    #[error("upstream SSL handshake failed: {why}")]
    Handshake { why: String },
}

impl UpstreamError {
    /// Of a connection that rustls gave up; what our verifier refused comes back as it was.
    fn of(error: &rustls::Error) -> UpstreamError {
        if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(own))) =
            error
            && let Some(refusal) = own.downcast_ref::<UpstreamError>()
        {
            return refusal.clone();
        }
        UpstreamError::Handshake {
            why: error.to_string(),
        }
    }
}

/// One core's client configurations, by fingerprint.
pub struct CoreUpstream {
    provider: Arc<CryptoProvider>,
    time: Arc<dyn TimeProvider>,
    configs: Lru<Digest, Arc<ClientConfig>>,
}

impl CoreUpstream {
    pub fn new(chosen: &Chosen) -> CoreUpstream {
        CoreUpstream {
            provider: Arc::clone(&chosen.provider),
            time: Arc::new(DefaultTimeProvider),
            configs: Lru::new(limits::UPSTREAM_CONFIGS_MAX),
        }
    }

    /// A connection whose ClientHello waits in `take_output`. `name` is the host name or IP address to verify, and the SNI unless it is
    /// an address (RFC 6066 §3); an IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// `Name`, `ClientPair`, `Configuration`, and `Verify` when there is nothing to verify against. What the upstream's
    /// certificate is refused for later is an error of the session, with the text of `Verify` or `NameMismatch`.
    pub fn connect(&mut self, tls: &UpstreamTls, name: &str) -> Result<Session, UpstreamError> {
        Ok(Session::client(self.connection(tls, name)?))
    }

    fn connection(
        &mut self,
        tls: &UpstreamTls,
        name: &str,
    ) -> Result<ClientConnection, UpstreamError> {
        let no_trust = tls.spec.roots.as_ref().is_none_or(|roots| roots.is_empty());
        if tls.spec.verify && no_trust {
            let reason = Reason::NoTrust;
            return Err(UpstreamError::Verify { reason });
        }
        let unbracketed = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(name);
        let server_name =
            ServerName::try_from(unbracketed.to_owned()).map_err(|_| UpstreamError::Name {
                name: name.to_owned(),
            })?;
        let config = self.config(tls)?;
        ClientConnection::new(config, server_name).map_err(|error| UpstreamError::of(&error))
    }

    /// Forgets configurations, with their sessions, of identities that no snapshot has any more.
    pub fn gc(&mut self, live: impl Fn(&Digest) -> bool) {
        self.configs.retain(live);
    }

    /// Configurations held.
    #[cfg(test)]
    pub fn config_count(&self) -> usize {
        self.configs.len()
    }

    fn config(&mut self, tls: &UpstreamTls) -> Result<Arc<ClientConfig>, UpstreamError> {
        if let Some(config) = self.configs.get(&tls.fingerprint) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(build(&tls.spec, &self.provider, &self.time)?);
        self.configs.insert(tls.fingerprint, Arc::clone(&config));
        Ok(config)
    }
}

/// No ALPN: HTTP/1.1 as nginx speaks it. Sessions are kept per name within the one identity.
fn build(
    spec: &UpstreamSpec,
    provider: &Arc<CryptoProvider>,
    time: &Arc<dyn TimeProvider>,
) -> Result<ClientConfig, UpstreamError> {
    let configuration = |why: rustls::Error| UpstreamError::Configuration {
        why: why.to_string(),
    };
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if spec.versions.tls13 {
        versions.push(Version::Tls13.rustls());
    }
    if spec.versions.tls12 {
        versions.push(Version::Tls12.rustls());
    }
    let (path, resumption) = match (spec.verify, &spec.roots) {
        // No certificate is looked at, so none ends a session.
        (false, _) => (None, Resumption::in_memory_sessions(sessions::KEPT_MAX)),
        (true, Some(roots)) => {
            let sessions = Arc::new(Sessions::new(Arc::clone(time)));
            let path = VerifyPath {
                roots: Arc::clone(roots),
                depth: usize::try_from(spec.depth).unwrap_or(usize::MAX),
                sessions: Arc::clone(&sessions),
            };
            (Some(path), Resumption::store(sessions))
        }
        (true, None) => {
            let reason = Reason::NoTrust;
            return Err(UpstreamError::Verify { reason });
        }
    };
    let builder = ClientConfig::builder_with_details(Arc::clone(provider), Arc::clone(time))
        .with_protocol_versions(&versions)
        .map_err(configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            algorithms: provider.signature_verification_algorithms,
            path,
        }));
    let mut config = match &spec.client {
        Some(pair) => {
            let certified = pair
                .certified()
                .map_err(|why| UpstreamError::ClientPair { why })?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = resumption;
    config.enable_sni = true;
    Ok(config)
}
