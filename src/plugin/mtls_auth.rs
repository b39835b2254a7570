//! mtls-auth (KONG.md §5.1, §5.3–§5.5): who the client is by its certificate. Priority 1600.
//!
//! Proxies, timeouts and cache lifetimes belong to revocation fetching, which is not here.

use super::*;
use crate::snapshot::Credential;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug)]
pub struct MtlsAuth {
    /// An error is why the anchors cannot be used: whoever presents a certificate gets 500, never a pass.
    pub trust: Result<Arc<TrustSet>, Arc<str>>,
    pub ca_certificates: Vec<Uuid>,
    /// Whether a CertificateRequest for this plugin names its CAs (KONG.md §5.2).
    pub send_ca_dn: bool,
    pub revocation_check: RevocationCheck,
    skip_consumer_lookup: bool,
    group_by: Option<GroupBy>,
    consumer_by: Vec<ConsumerBy>,
    /// Short names or OIDs of the directoryName attributes that count in the look-up; empty: all.
    san_dirname_matcher: Vec<String>,
    default_consumer: Option<ConsumerName>,
    anonymous: Option<ConsumerName>,
}

/// From CA ids and `allow_partial_chain` to the set of anchors.
pub type TrustBuilder<'a> = dyn FnMut(&[Uuid], bool) -> Result<Arc<TrustSet>, String> + 'a;

/// `revocation_check_mode`, KONG.md §5.6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum RevocationCheck {
    #[serde(rename = "SKIP")]
    Skip,
    #[serde(rename = "IGNORE_CA_ERROR")]
    IgnoreCaError,
    #[serde(rename = "STRICT")]
    Strict,
}

impl MtlsAuth {
    /// `trust` builds or shares the set of anchors; its error is kept, not returned.
    pub fn from_config(
        config: &Map<String, Value>,
        trust: &mut TrustBuilder,
    ) -> Result<MtlsAuth, String> {
        let config = Config::deserialize(config).map_err(|e| format!("config: {e}"))?;
        if config.ca_certificates.is_empty() {
            return Err("config.ca_certificates: length must be at least 1".into());
        }
        let partial = config.allow_partial_chain.unwrap_or(false);
        Ok(MtlsAuth {
            trust: trust(&config.ca_certificates, partial).map_err(Arc::from),
            ca_certificates: config.ca_certificates,
            send_ca_dn: config.send_ca_dn.unwrap_or(false),
            revocation_check: config
                .revocation_check_mode
                .unwrap_or(RevocationCheck::IgnoreCaError),
            skip_consumer_lookup: config.skip_consumer_lookup.unwrap_or(false),
            group_by: config.authenticated_group_by,
            consumer_by: config.consumer_by.unwrap_or_default(),
            san_dirname_matcher: config.san_dirname_matcher.unwrap_or_default(),
            default_consumer: config.default_consumer.map(ConsumerName::new),
            anonymous: config.anonymous.map(ConsumerName::new),
        })
    }

    /// KONG.md §5.3.
    pub fn access(&self, request: &Request, judge: &mut Judge, admitted: &mut Admitted) -> Verdict {
        let Some(chain) = request.client else {
            admitted.client_verify = Some("NONE".into());
            return self.refuse(
                NO_CERTIFICATE,
                "mtls-auth: no certificate was sent",
                request,
                admitted,
            );
        };
        let trust = match &self.trust {
            Ok(trust) => trust,
            Err(reason) => {
                admitted.client_verify = Some("FAILED:no usable trust anchors".into());
                return broken(format!(
                    "mtls-auth: ca_certificates cannot be used: {reason}"
                ));
            }
        };
        let facts = match judge(chain, trust).and_then(|facts| self.revocation(facts)) {
            Ok(facts) => facts,
            Err(reason) => {
                admitted.client_verify =
                    Some(format!("FAILED:{}", values::field_value(&reason)).into());
                return self.refuse(
                    NOT_VERIFIED,
                    &format!("mtls-auth: {reason}"),
                    request,
                    admitted,
                );
            }
        };
        admitted.client_verify = Some("SUCCESS".into());
        if self.skip_consumer_lookup {
            self.admit_certificate(&*facts, admitted);
            return Verdict::Continue;
        }
        match self.find(&*facts, request.consumers) {
            Some((consumer, credential)) => {
                admit_consumer(consumer, credential, admitted);
                Verdict::Continue
            }
            None => self.refuse(
                NOT_VERIFIED,
                "mtls-auth: no consumer for the certificate",
                request,
                admitted,
            ),
        }
    }

    fn revocation(&self, facts: Arc<dyn ClientFacts>) -> Result<Arc<dyn ClientFacts>, String> {
        match (self.revocation_check, facts.revocation()) {
            (RevocationCheck::Skip, _) => Ok(facts),
            (_, Revocation::Revoked) => Err("the certificate is revoked".into()),
            (RevocationCheck::Strict, Revocation::Unknown) => {
                Err("the revocation status is unknown (STRICT)".into())
            }
            (RevocationCheck::IgnoreCaError | RevocationCheck::Strict, _) => Ok(facts),
        }
    }

    /// skip_consumer_lookup: trust is enough; the group comes from the certificate.
    fn admit_certificate(&self, facts: &dyn ClientFacts, admitted: &mut Admitted) {
        let group = match self.group_by {
            Some(GroupBy::Cn) => facts.cn(),
            Some(GroupBy::Dn) => Some(facts.subject_dn()),
            None => None,
        };
        admitted
            .authenticated_groups
            .extend(group.filter(|group| !group.is_empty()).map(Arc::from));
        admitted.credential = Some(facts.subject_dn().into());
        admitted.headers.push((
            X_CLIENT_CERT_DN,
            values::field_value(facts.subject_dn()).into(),
        ));
        if facts.san(0).is_some() {
            let san = values::list(facts.sans().map(|san| san.text), ",");
            admitted.headers.push((X_CLIENT_CERT_SAN, san.into()));
        }
    }

    /// KONG.md §5.4, steps 1 to 4: the consumer and the identifier of what matched.
    fn find<'a>(
        &self,
        facts: &dyn ClientFacts,
        consumers: &'a Consumers,
    ) -> Option<(&'a Arc<Consumer>, Arc<str>)> {
        // The CN counts only without a SAN extension, be that one empty.
        let cn = || facts.cn().filter(|_| !facts.has_san());
        let names = || {
            facts
                .sans()
                .filter(|san| self.counts(san))
                .map(|san| san.text)
                .chain(cn())
        };
        let credential = |ca: Option<Uuid>| {
            names()
                .filter_map(|name| consumers.by_subject_name.get(name))
                .flatten()
                .find(|credential: &&Credential| credential.ca_certificate == ca)
        };
        let bound = facts.path_cas().iter().find_map(|ca| credential(Some(*ca)));
        if let Some(credential) = bound.or_else(|| credential(None)) {
            return Some((&credential.consumer, credential.id.to_string().into()));
        }
        let table = |by: &ConsumerBy| match by {
            ConsumerBy::Username => &consumers.by_username,
            ConsumerBy::CustomId => &consumers.by_custom_id,
        };
        let matched = self.consumer_by.iter().map(table).find_map(|table| {
            // The table's own text spares copying the certificate's.
            names()
                .find_map(|name| table.get_key_value(name))
                .map(|(name, consumer)| (consumer, name.clone()))
        });
        matched.or_else(|| {
            let consumer = self.default_consumer.as_ref()?.find(consumers)?;
            Some((
                consumer,
                names().next().unwrap_or(facts.subject_dn()).into(),
            ))
        })
    }

    /// `san_dirname_matcher`, KONG.md §5.1.
    fn counts(&self, san: &San) -> bool {
        let Some((name, oid)) = san.attribute else {
            return true;
        };
        let listed = |wanted: &String| wanted.eq_ignore_ascii_case(name) || wanted == oid;
        self.san_dirname_matcher.is_empty() || self.san_dirname_matcher.iter().any(listed)
    }

    /// KONG.md §5.4, steps 5 and 6.
    fn refuse(
        &self,
        message: &str,
        reason: &str,
        request: &Request,
        admitted: &mut Admitted,
    ) -> Verdict {
        let Some(anonymous) = &self.anonymous else {
            return Verdict::Answer(Answer::message(401, message, reason));
        };
        match anonymous.find(request.consumers) {
            Some(consumer) => {
                admit_anonymous(consumer, admitted);
                Verdict::Continue
            }
            None => broken(format!(
                "mtls-auth: anonymous consumer {:?} does not exist ({reason})",
                anonymous.text
            )),
        }
    }
}

fn admit_consumer(consumer: &Arc<Consumer>, credential: Arc<str>, admitted: &mut Admitted) {
    name_consumer(consumer, admitted);
    let value = match values::field_value(&credential) {
        std::borrow::Cow::Borrowed(_) => credential.clone(),
        std::borrow::Cow::Owned(safe) => safe.into(),
    };
    admitted.headers.push((X_CREDENTIAL_IDENTIFIER, value));
    admitted.credential = Some(credential);
}

fn admit_anonymous(consumer: &Arc<Consumer>, admitted: &mut Admitted) {
    name_consumer(consumer, admitted);
    admitted.headers.push((X_ANONYMOUS_CONSUMER, "true".into()));
    admitted.anonymous = true;
}

fn name_consumer(consumer: &Arc<Consumer>, admitted: &mut Admitted) {
    admitted
        .headers
        .push((X_CONSUMER_ID, consumer.id_value.clone()));
    let custom_id = consumer
        .custom_id_value
        .iter()
        .map(|value| (X_CONSUMER_CUSTOM_ID, value.clone()));
    let username = consumer
        .username_value
        .iter()
        .map(|value| (X_CONSUMER_USERNAME, value.clone()));
    admitted.headers.extend(custom_id.chain(username));
    admitted.consumer = Some(consumer.clone());
}

/// The gateway's own fault: an anonymous consumer cannot heal it.
fn broken(reason: String) -> Verdict {
    Verdict::Answer(Answer::message(500, "An unexpected error occurred", reason))
}

const NO_CERTIFICATE: &str = "No required TLS certificate was sent";
const NOT_VERIFIED: &str = "TLS certificate failed verification";

/// A consumer by id, else by username.
#[derive(Debug)]
struct ConsumerName {
    text: String,
    id: Option<Uuid>,
}

impl ConsumerName {
    fn new(text: String) -> ConsumerName {
        ConsumerName {
            id: Uuid::try_parse(&text).ok(),
            text,
        }
    }

    fn find<'a>(&self, consumers: &'a Consumers) -> Option<&'a Arc<Consumer>> {
        let by_id = self.id.as_ref().and_then(|id| consumers.by_id.get(id));
        by_id.or_else(|| consumers.by_username.get(self.text.as_str()))
    }
}

#[derive(Debug, Deserialize)]
enum GroupBy {
    #[serde(rename = "CN")]
    Cn,
    #[serde(rename = "DN")]
    Dn,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConsumerBy {
    Username,
    CustomId,
}

/// Defaults were filled in when the entity was written, so a null means null.
#[derive(Deserialize)]
struct Config {
    ca_certificates: Vec<Uuid>,
    skip_consumer_lookup: Option<bool>,
    authenticated_group_by: Option<GroupBy>,
    consumer_by: Option<Vec<ConsumerBy>>,
    anonymous: Option<String>,
    default_consumer: Option<String>,
    allow_partial_chain: Option<bool>,
    revocation_check_mode: Option<RevocationCheck>,
    send_ca_dn: Option<bool>,
    san_dirname_matcher: Option<Vec<String>>,
}
