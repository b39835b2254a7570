//! What a client is shown: certificates by SNI, and whether its own is asked for.
//!
//! [`ServerPolicy`] is one snapshot's server side, shared by all cores. [`CoreServer`] is one core's view of it: it
//! keeps one rustls configuration for each distinct certificate request, never one for each certificate; the pair is
//! looked up by the configuration's resolver for each ClientHello.
//!
//! A client certificate is asked for, never demanded, and any whose key the client proves to hold is accepted here
//! (KONG.md §4.5): whether it is trusted is judged for each request by the matched route's CAs. No 0-RTT, no session
//! kept in memory, `http/1.1` as the only ALPN protocol: a client that offers only others gets the alert
//! no_application_protocol (RFC 7301 §3.2), one without the extension is served.
//!
//! Other than Kong: rustls refuses a server_name that is neither a DNS name nor an address (`name:port`) with
//! illegal_parameter, where Kong shows the default pair (KONG.md §4.1). An address counts as no name, as there.

mod requests;
mod shown;

pub use requests::{RequestEntry, RequestMap};
pub use shown::Identity;

use super::Digest;
use super::keys::KeyPair;
use super::possession;
use super::provider::{Chosen, ProviderError, Version};
use super::sni::SniTable;
use super::tickets::{PolicyTickets, Ticketer, request_digest};
use crate::limits::{CLIENT_CHAIN_COUNT_MAX, CLIENT_CHAIN_SIZE_MAX};
use ahash::RandomState;
use requests::Requests;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme,
};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What the listener's directives say (KONG.md §4.3).
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub provider: Chosen,
    pub versions: Vec<Version>,
    /// IANA numbers in order of preference; empty: all.
    pub suites: Vec<u16>,
    /// IANA numbers; empty: all. The client's order decides among them.
    pub groups: Vec<u16>,
    /// `ssl_prefer_server_ciphers`.
    pub prefer_server_order: bool,
    /// `ssl_session_tickets`; off: nothing resumes.
    pub session_tickets: bool,
    /// `ssl_session_timeout`.
    pub session_timeout_secs: u64,
}

impl ServerSettings {
    /// Both versions, all suites in the server's order, tickets for a day.
    pub fn new(provider: Chosen) -> Self {
        Self {
            provider,
            versions: Version::ALL.to_vec(),
            suites: Vec::new(),
            groups: Vec::new(),
            prefer_server_order: true,
            session_tickets: true,
            session_timeout_secs: 24 * 60 * 60,
        }
    }
}

/// One snapshot's server side: SNI table, default pair, SNI → request map, versions, suites, groups. Immutable; the next
/// one shares with it what has not changed.
pub struct ServerPolicy {
    provider: Arc<CryptoProvider>,
    versions: Vec<Version>,
    prefer_server_order: bool,
    session_tickets: bool,
    session_timeout_secs: u64,
    default: Arc<Identity>,
    sni: SniTable<Arc<Identity>>,
    requests: Requests,
}

impl ServerPolicy {
    /// `default`: the pairs shown without SNI or for a name no row covers. `http2` is accepted and not used yet.
    /// Fails when versions, suites or groups leave nothing to offer.
    pub fn new(
        settings: &ServerSettings,
        default: Vec<Arc<KeyPair>>,
        sni: SniTable<Arc<Identity>>,
        request: RequestMap,
        _http2: bool,
    ) -> Result<Self, ProviderError> {
        let mut requests = Requests::default();
        for (name, ca_names) in request.names {
            requests.set(&name, Some(ca_names.into_iter().collect()));
        }
        Self::of(settings, default, sni, requests)
    }

    /// The same names under other settings.
    pub fn with_settings(
        &self,
        settings: &ServerSettings,
        default: Vec<Arc<KeyPair>>,
    ) -> Result<Self, ProviderError> {
        Self::of(settings, default, self.sni.clone(), self.requests.clone())
    }

    /// The same settings with some names changed; costs the change. Names as for `SniTable::insert` and
    /// `RequestMap::insert`; `None` takes a name out. DER names in ascending order.
    pub fn with_changes<'n>(
        &self,
        sni: impl IntoIterator<Item = (&'n str, Option<Arc<Identity>>)>,
        requests: impl IntoIterator<Item = (&'n str, Option<Vec<Vec<u8>>>)>,
    ) -> Self {
        let mut policy = Self {
            provider: self.provider.clone(),
            versions: self.versions.clone(),
            default: self.default.clone(),
            sni: self.sni.clone(),
            requests: self.requests.clone(),
            ..*self
        };
        for (name, identity) in sni {
            match identity {
                Some(identity) => policy.sni.insert(name, identity),
                None => policy.sni.remove(name),
            };
        }
        for (name, ca_names) in requests {
            policy.requests.set(name, ca_names);
        }
        policy
    }

    fn of(
        settings: &ServerSettings,
        default: Vec<Arc<KeyPair>>,
        sni: SniTable<Arc<Identity>>,
        requests: Requests,
    ) -> Result<Self, ProviderError> {
        let provider =
            settings
                .provider
                .restrict(&settings.versions, &settings.suites, &settings.groups)?;
        Ok(Self {
            provider,
            versions: settings.versions.clone(),
            prefer_server_order: settings.prefer_server_order,
            session_tickets: settings.session_tickets,
            session_timeout_secs: settings.session_timeout_secs,
            default: Arc::new(Identity::new(default)),
            sni,
            requests,
        })
    }

    /// How a client with this SNI is asked for a certificate; `None`: it is not.
    pub fn request_for(&self, sni: Option<&str>) -> Option<&RequestEntry> {
        self.requests.names.lookup(sni).map(|entry| &**entry)
    }

    /// Every distinct way of asking.
    #[cfg(test)]
    pub fn request_entries(&self) -> impl Iterator<Item = &RequestEntry> {
        let distinct = self.requests.distinct.iter();
        distinct.map(|(_, (entry, _))| &**entry)
    }

    /// How many names have a certificate.
    pub fn sni_count(&self) -> usize {
        self.sni.len()
    }

    fn identity_for(&self, sni: Option<&str>) -> &Identity {
        sni.and_then(|name| self.sni.lookup(name))
            .map_or(&self.default, |identity| identity)
    }

    /// Digests of the chains that a client with this SNI may be shown, or why it is shown none.
    #[cfg(test)]
    pub(crate) fn shows(&self, sni: Option<&str>) -> Result<Vec<Digest>, Box<str>> {
        let pairs = self.identity_for(sni).pairs()?.iter();
        Ok(pairs.map(|pair| *pair.chain_digest()).collect())
    }

    fn certified(
        &self,
        sni: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Result<Arc<CertifiedKey>, Box<str>> {
        let pair = self.identity_for(sni).pair(schemes)?;
        pair.certified()
            .map_err(|error| error.to_string().into_boxed_str())
    }

    /// Why no certificate can be shown for `sni`, if so. For the path that failed already.
    pub(crate) fn broken_reason(&self, sni: Option<&str>) -> Option<Box<str>> {
        let identity = self.identity_for(sni);
        let reason = match identity.pair(&[]).and_then(|_| identity.pairs()) {
            Err(reason) => reason,
            Ok(pairs) => {
                let mut broken = pairs.iter().filter_map(|pair| pair.certified().err());
                broken.next()?.to_string().into()
            }
        };
        let name = sni.unwrap_or("no SNI");
        Some(format!("certificate for {name}: {reason}").into())
    }
}

impl fmt::Debug for ServerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerPolicy")
            .field("versions", &self.versions)
            .field("sni", &self.sni)
            .field("requests", &self.requests.distinct.len())
            .finish_non_exhaustive()
    }
}

/// One core's server side. Made anew for each snapshot; the ticketer lives on.
pub struct CoreServer {
    policy: Arc<ServerPolicy>,
    tickets: Arc<Ticketer>,
    /// One for each way of asking that was needed; as many at most as the policy has.
    configs: RefCell<HashMap<Digest, Arc<ServerConfig>, RandomState>>,
    /// For asking nothing.
    plain: OnceCell<Arc<ServerConfig>>,
}

impl CoreServer {
    pub fn new(policy: Arc<ServerPolicy>, tickets: Arc<Ticketer>) -> Self {
        Self {
            configs: RefCell::default(),
            plain: OnceCell::new(),
            policy,
            tickets,
        }
    }

    pub fn policy(&self) -> &Arc<ServerPolicy> {
        &self.policy
    }

    pub(crate) fn tickets(&self) -> &Arc<Ticketer> {
        &self.tickets
    }

    /// The configuration for a client with this SNI, and whether it asks for a certificate.
    pub(crate) fn config(
        &self,
        sni: Option<&str>,
    ) -> Result<(Arc<ServerConfig>, bool), rustls::Error> {
        let Some(entry) = self.policy.request_for(sni) else {
            let config = match self.plain.get() {
                Some(config) => config,
                None => {
                    let built = Arc::new(self.build(None)?);
                    self.plain.get_or_init(|| built)
                }
            };
            return Ok((Arc::clone(config), false));
        };
        let known = self.configs.borrow().get(&entry.digest).cloned();
        let config = match known {
            Some(config) => config,
            None => {
                let built = Arc::new(self.build(Some(entry))?);
                self.configs
                    .borrow_mut()
                    .insert(entry.digest, built.clone());
                built
            }
        };
        Ok((config, true))
    }

    fn build(&self, request: Option<&RequestEntry>) -> Result<ServerConfig, rustls::Error> {
        let policy = &self.policy;
        let versions: Vec<_> = policy
            .versions
            .iter()
            .map(|version| version.rustls())
            .collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&policy.provider))
            .with_protocol_versions(&versions)?;
        let builder = match request {
            Some(entry) => {
                builder.with_client_cert_verifier(Arc::new(PossessionVerifier::new(policy, entry)))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(PolicyResolver {
            policy: Arc::clone(policy),
        }));
        config.ignore_client_order = policy.prefer_server_order;
        config.alpn_protocols = alpn();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if policy.session_tickets {
            let digest = request.map_or_else(|| request_digest(false, []), |entry| entry.digest);
            config.ticketer = Arc::new(PolicyTickets::new(
                Arc::clone(&self.tickets),
                digest,
                policy.session_timeout_secs,
            ));
            // With client authentication the whole chain is in the ticket: one has to do.
            config.send_tls13_tickets = if request.is_some() { 1 } else { 2 };
        }
        Ok(config)
    }
}

/// `http/1.0` for clients that were told to speak that (`curl --http1.0`); nginx offers it too.
fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()]
}

impl fmt::Debug for CoreServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreServer")
            .field("policy", &self.policy)
            .field("tickets", &self.tickets)
            .finish_non_exhaustive()
    }
}

struct PolicyResolver {
    policy: Arc<ServerPolicy>,
}

impl ResolvesServerCert for PolicyResolver {
    /// rustls has reduced the schemes to those the suites in common allow, TLS 1.2's key exchange included.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.policy
            .certified(hello.server_name(), hello.signature_schemes())
            .ok()
    }
}

impl fmt::Debug for PolicyResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyResolver").finish_non_exhaustive()
    }
}

/// Accepts every chain within bounds; that the client holds the leaf's key is verified in both versions.
#[derive(Debug)]
struct PossessionVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    ca_names: Vec<DistinguishedName>,
}

impl PossessionVerifier {
    fn new(policy: &ServerPolicy, entry: &RequestEntry) -> Self {
        Self {
            algorithms: policy.provider.signature_verification_algorithms,
            ca_names: entry
                .ca_names
                .iter()
                .map(|name| DistinguishedName::from(name.clone()))
                .collect(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the client's chain has {count} certificates of {size} bytes; {CLIENT_CHAIN_COUNT_MAX} of {CLIENT_CHAIN_SIZE_MAX} are accepted"
)]
struct ChainTooLarge {
    count: usize,
    size: usize,
}

impl ClientCertVerifier for PossessionVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.ca_names
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let count = intermediates.len() + 1;
        let size = intermediates
            .iter()
            .fold(end_entity.len(), |size, der| size + der.len());
        if count > CLIENT_CHAIN_COUNT_MAX || size > CLIENT_CHAIN_SIZE_MAX {
            let error = ChainTooLarge { count, size };
            return Err(CertificateError::Other(OtherError(Arc::new(error))).into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        possession::verify_tls12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        possession::verify_tls13(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
