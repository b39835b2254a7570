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

use super::Digest;
use super::keys::{KeyClass, KeyPair};
use super::provider::{Chosen, ProviderError, Version};
use super::sni::{RouteNames, SniTable};
use super::tickets::{PolicyTickets, Ticketer, request_digest};
use crate::limits::{CLIENT_CA_NAMES_SIZE_MAX, CLIENT_CHAIN_COUNT_MAX, CLIENT_CHAIN_SIZE_MAX};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme,
};
use smallvec::SmallVec;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What the listener's directives say (KONG.md §4.3).
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub provider: Chosen,
    pub versions: Vec<Version>,
    /// IANA numbers in order of preference (`provider::suites_from_names`); empty: all.
    pub suites: Vec<u16>,
    /// IANA numbers (`provider::groups_from_names`); empty: all. The client's order decides among them.
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

/// One `certificates` entity: its pair and, with `cert_alt`, a second of another class.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub pairs: SmallVec<[Arc<KeyPair>; 2]>,
    /// Why the entity cannot be used, if so: its handshakes are aborted with this reason.
    pub broken: Option<Box<str>>,
}

impl Identity {
    pub fn new(pairs: impl IntoIterator<Item = Arc<KeyPair>>) -> Self {
        let mut pairs: SmallVec<[Arc<KeyPair>; 2]> = pairs.into_iter().collect();
        pairs.sort_by_key(|pair| preference(pair.algorithm()));
        Self {
            pairs,
            broken: None,
        }
    }

    /// Stands for an entity whose certificate or key could not be read (KONG.md §4.1: abort, not the default pair).
    pub fn broken(reason: impl Into<Box<str>>) -> Self {
        Self {
            pairs: SmallVec::new(),
            broken: Some(reason.into()),
        }
    }

    /// The pair for a client that verifies `schemes`: ECDSA before Ed25519 before RSA. With nothing in common the first
    /// pair, so that rustls finds nothing in common either and says so with the alert the RFC wants.
    fn pair(&self, schemes: &[SignatureScheme]) -> Result<&Arc<KeyPair>, Box<str>> {
        if let Some(reason) = &self.broken {
            return Err(reason.clone());
        }
        self.pairs
            .iter()
            .find(|pair| pair.signs(schemes))
            .or(self.pairs.first())
            .ok_or_else(|| "no certificate is configured".into())
    }
}

/// The cheapest signature first (RUNTIME.md §5).
fn preference(class: KeyClass) -> u8 {
    match class {
        KeyClass::Ecdsa => 0,
        KeyClass::Ed25519 => 1,
        KeyClass::Rsa => 2,
    }
}

/// For which names a client certificate is asked, and with which CA names (KONG.md §5.2).
#[derive(Default)]
pub struct RequestMap {
    names: RouteNames<BTreeSet<Vec<u8>>>,
}

impl RequestMap {
    /// Asks on `sni` (exact, `*.x`, `x.*`, or `*` for every name and for none) with the DER subjects given.
    /// Several calls for one name are merged.
    pub fn insert(&mut self, sni: &str, ca_names: impl IntoIterator<Item = Vec<u8>>) {
        self.names.entry(sni, BTreeSet::new).extend(ca_names);
    }
}

impl fmt::Debug for RequestMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMap").finish_non_exhaustive()
    }
}

/// One way of asking for a certificate.
#[derive(Debug)]
pub struct RequestEntry {
    /// DER, sorted: two nodes with the same content have the same digest. Empty: any certificate is asked for.
    pub ca_names: Vec<Vec<u8>>,
    /// The names were larger than `CLIENT_CA_NAMES_SIZE_MAX` and none is sent.
    pub names_dropped: bool,
    digest: Digest,
}

/// One snapshot's server side: SNI table, default pair, SNI → request map, versions, suites, groups. Immutable.
pub struct ServerPolicy {
    provider: Arc<CryptoProvider>,
    versions: Vec<Version>,
    prefer_server_order: bool,
    session_tickets: bool,
    session_timeout_secs: u64,
    default: Identity,
    sni: SniTable<Arc<Identity>>,
    requests: RouteNames<usize>,
    /// Distinct ones; `requests` holds indexes.
    entries: Vec<RequestEntry>,
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
        let provider =
            settings
                .provider
                .restrict(&settings.versions, &settings.suites, &settings.groups)?;
        let mut entries: Vec<RequestEntry> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let requests = request.names.map(|names| {
            let entry = RequestEntry::new(names);
            *known.entry(entry.digest).or_insert_with(|| {
                entries.push(entry);
                entries.len() - 1
            })
        });
        Ok(Self {
            provider,
            versions: settings.versions.clone(),
            prefer_server_order: settings.prefer_server_order,
            session_tickets: settings.session_tickets,
            session_timeout_secs: settings.session_timeout_secs,
            default: Identity::new(default),
            sni,
            requests,
            entries,
        })
    }

    /// How a client with this SNI is asked for a certificate; `None`: it is not.
    pub fn request_for(&self, sni: Option<&str>) -> Option<&RequestEntry> {
        self.request_index(sni)
            .and_then(|index| self.entries.get(index))
    }

    /// Every distinct way of asking: for a warning about dropped names.
    pub fn request_entries(&self) -> &[RequestEntry] {
        &self.entries
    }

    fn request_index(&self, sni: Option<&str>) -> Option<usize> {
        self.requests.lookup(sni).copied()
    }

    fn identity_for(&self, sni: Option<&str>) -> &Identity {
        sni.and_then(|name| self.sni.lookup(name))
            .map_or(&self.default, |identity| identity)
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
        let reason = match identity.pair(&[]) {
            Err(reason) => reason,
            Ok(_) => {
                let mut pairs = identity.pairs.iter();
                pairs
                    .find_map(|pair| pair.certified().err())?
                    .to_string()
                    .into()
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
            .field("requests", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl RequestEntry {
    fn new(names: BTreeSet<Vec<u8>>) -> Self {
        // Each name stands behind a length of two bytes (RFC 8446 §4.2.4).
        let size: usize = names.iter().map(|name| name.len() + 2).sum();
        let names_dropped = size > CLIENT_CA_NAMES_SIZE_MAX;
        let ca_names: Vec<Vec<u8>> = match names_dropped {
            true => Vec::new(),
            false => names.into_iter().filter(|name| !name.is_empty()).collect(),
        };
        Self {
            digest: request_digest(true, ca_names.iter().map(Vec::as_slice)),
            ca_names,
            names_dropped,
        }
    }
}

/// One core's server side. Made anew for each snapshot; the ticketer lives on.
pub struct CoreServer {
    policy: Arc<ServerPolicy>,
    tickets: Arc<Ticketer>,
    /// One for each entry of the policy, one for asking nothing; built when first needed.
    configs: Vec<OnceCell<Arc<ServerConfig>>>,
    plain: OnceCell<Arc<ServerConfig>>,
}

impl CoreServer {
    pub fn new(policy: Arc<ServerPolicy>, tickets: Arc<Ticketer>) -> Self {
        Self {
            configs: (0..policy.entries.len()).map(|_| OnceCell::new()).collect(),
            plain: OnceCell::new(),
            policy,
            tickets,
        }
    }

    pub fn policy(&self) -> &Arc<ServerPolicy> {
        &self.policy
    }

    /// The configuration for a client with this SNI, and whether it asks for a certificate.
    pub(crate) fn config(
        &self,
        sni: Option<&str>,
    ) -> Result<(Arc<ServerConfig>, bool), rustls::Error> {
        let entry = self
            .policy
            .request_index(sni)
            .and_then(|index| Some((self.configs.get(index)?, self.policy.entries.get(index)?)));
        let (cell, entry) = match entry {
            Some((cell, entry)) => (cell, Some(entry)),
            None => (&self.plain, None),
        };
        let config = match cell.get() {
            Some(config) => config,
            None => {
                let built = Arc::new(self.build(entry)?);
                cell.get_or_init(|| built)
            }
        };
        Ok((Arc::clone(config), entry.is_some()))
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
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
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
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider::{Mode, choose};

    fn policy(map: &[(&str, &[&str])]) -> ServerPolicy {
        let mut request = RequestMap::default();
        for (sni, names) in map {
            request.insert(sni, names.iter().map(|name| name.as_bytes().to_vec()));
        }
        let settings = ServerSettings::new(choose(Mode::Auto));
        ServerPolicy::new(&settings, Vec::new(), SniTable::default(), request, false).unwrap()
    }

    #[test]
    fn a_certificate_is_requested_by_kong_5_2() {
        let scoped: &[(&str, &[&str])] = &[
            ("a.test", &["ca 2", "ca 1"]),
            ("*.wild.test", &[]),
            ("a.test", &["ca 1", "ca 3"]),
        ];
        let global: &[(&str, &[&str])] = &[("a.test", &["ca 1"]), ("*", &["ca 9"])];
        for (rule, map, sni, want) in [
            (
                "entry of the SNI, merged",
                scoped,
                Some("a.test"),
                Some(vec!["ca 1", "ca 2", "ca 3"]),
            ),
            ("send_ca_dn off", scoped, Some("x.wild.test"), Some(vec![])),
            ("no request", scoped, Some("b.test"), None),
            ("no request without SNI", scoped, None, None),
            ("entry, not *", global, Some("a.test"), Some(vec!["ca 1"])),
            (
                "unknown SNI: the * names",
                global,
                Some("b.test"),
                Some(vec!["ca 9"]),
            ),
            ("no SNI: the * names", global, None, Some(vec!["ca 9"])),
        ] {
            let policy = policy(map);
            let names = policy.request_for(sni).map(|entry| {
                entry
                    .ca_names
                    .iter()
                    .map(|name| std::str::from_utf8(name).unwrap())
                    .collect::<Vec<_>>()
            });
            assert_eq!(names, want, "{rule}");
        }
    }

    #[test]
    fn one_configuration_serves_every_name_that_is_asked_alike() {
        let policy = Arc::new(policy(&[
            ("a.test", &["ca"]),
            ("b.test", &["ca"]),
            ("c.test", &["other"]),
        ]));
        assert_eq!(policy.request_entries().len(), 2);
        let core = CoreServer::new(policy, Arc::new(Ticketer::new([0; 16], 0, [0; 16])));
        let config = |sni| core.config(sni).unwrap().0;
        assert!(Arc::ptr_eq(
            &config(Some("a.test")),
            &config(Some("b.test"))
        ));
        assert!(!Arc::ptr_eq(
            &config(Some("a.test")),
            &config(Some("c.test"))
        ));
        assert!(Arc::ptr_eq(&config(Some("d.test")), &config(None)));
    }

    #[test]
    fn ca_names_above_the_bound_are_dropped_whole() {
        let many: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; 100]).collect();
        let mut request = RequestMap::default();
        request.insert("*", many);
        let settings = ServerSettings::new(choose(Mode::Auto));
        let policy =
            ServerPolicy::new(&settings, Vec::new(), SniTable::default(), request, false).unwrap();
        let entry = policy.request_for(None).unwrap();
        assert!(entry.names_dropped && entry.ca_names.is_empty());
    }

    #[test]
    fn a_chain_is_accepted_up_to_its_bounds() {
        let policy = policy(&[("*", &[])]);
        let verifier = PossessionVerifier::new(&policy, policy.request_for(None).unwrap());
        let verify = |count: usize, size: usize| {
            let der = CertificateDer::from(vec![0; size]);
            verifier.verify_client_cert(
                &der,
                &vec![der.clone(); count - 1],
                UnixTime::since_unix_epoch(std::time::Duration::ZERO),
            )
        };
        assert!(verify(CLIENT_CHAIN_COUNT_MAX, 1).is_ok());
        assert!(verify(CLIENT_CHAIN_COUNT_MAX + 1, 1).is_err());
        assert!(verify(1, CLIENT_CHAIN_SIZE_MAX).is_ok());
        assert!(verify(2, CLIENT_CHAIN_SIZE_MAX / 2 + 1).is_err());
    }
}
