//! Kong's plugins, one file each: compiled configuration and access phase. `Chain::access` runs them by priority.
//!
//! Pure: the request, the judgement on the client's chain and the consumers are passed in. Field values built here from
//! certificates or entities pass through `values`, so that none of them can end a field line.

pub mod acl;
pub mod mtls_auth;
pub mod request_termination;
pub mod values;

use crate::snapshot::{Consumer, Consumers};
use crate::tls::client_auth::ClientChain;
use crate::tls::trust::TrustSet;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// The plugins that apply to one route, at most one instance per name, already resolved by scope (KONG.md §1.10).
#[derive(Clone, Default)]
pub struct Chain {
    pub mtls_auth: Option<Arc<mtls_auth::MtlsAuth>>,
    pub acl: Option<Arc<acl::Acl>>,
    pub request_termination: Option<Arc<request_termination::RequestTermination>>,
}

impl Chain {
    /// The access phase in descending priority: mtls-auth 1600, acl 950, request-termination 2. The first answer ends it.
    ///
    /// Once mtls-auth has named a consumer (an anonymous one too), that consumer's chain of `consumer_chains` takes over
    /// for the plugins behind it; such a chain is complete, it does not fall back to `self`.
    /// `present` says whether the request has a header or a query argument of that name.
    pub fn access(
        &self,
        consumer_chains: &HashMap<Uuid, Chain>,
        request: &Request,
        judge: &mut Judge,
        present: &dyn Fn(&str) -> bool,
        admitted: &mut Admitted,
    ) -> Verdict {
        if let Some(plugin) = &self.mtls_auth
            && let Verdict::Answer(answer) = plugin.access(request, judge, admitted)
        {
            return Verdict::Answer(answer);
        }
        let chain = admitted
            .consumer
            .as_ref()
            .and_then(|consumer| consumer_chains.get(&consumer.id))
            .unwrap_or(self);
        if let Some(plugin) = &chain.acl
            && let Verdict::Answer(answer) = plugin.access(admitted)
        {
            return Verdict::Answer(answer);
        }
        match &chain.request_termination {
            Some(plugin) => plugin.access(present),
            None => Verdict::Continue,
        }
    }

    /// Whether both chains hold the same instances.
    pub fn same(&self, other: &Chain) -> bool {
        same(&self.mtls_auth, &other.mtls_auth)
            && same(&self.acl, &other.acl)
            && same(&self.request_termination, &other.request_termination)
    }

    /// Whether this chain holds an instance that `other` does not.
    pub fn guards_beyond(&self, other: &Chain) -> bool {
        fn beyond<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
            one.is_some() && !same(one, other)
        }
        beyond(&self.mtls_auth, &other.mtls_auth)
            || beyond(&self.acl, &other.acl)
            || beyond(&self.request_termination, &other.request_termination)
    }
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// What the access phase may look at in one request.
pub struct Request<'a> {
    /// The chain proven on this connection, `None` on clear text or when the client sent none.
    pub client: Option<&'a Arc<ClientChain>>,
    pub consumers: &'a Consumers,
}

/// Judges a client's chain against a plugin's trust anchors: the per-core verdict cache, else the path building behind it.
/// `Err` is the reason of a refusal, for the log.
pub type Judge<'a> =
    dyn FnMut(&Arc<ClientChain>, &Arc<TrustSet>) -> Result<Arc<dyn ClientFacts>, String> + 'a;

/// What is known about a client whose chain is trusted. An `Arc` of the verdict cache's own entry coerces to it.
pub trait ClientFacts {
    /// RFC 4514 text of the subject.
    fn subject_dn(&self) -> &str;
    /// The first commonName of the subject.
    fn cn(&self) -> Option<&str>;
    /// The subject alternative names in certificate order; `None` behind the last.
    fn san(&self, index: usize) -> Option<San<'_>>;
    /// Whether the extension is there at all; it may hold no value that `san` gives.
    fn has_san(&self) -> bool;
    /// Those of the plugin's CAs that the verified path runs through, nearest to the leaf first.
    fn path_cas(&self) -> &[Uuid];
    /// KONG.md §5.6. `Unknown` where nothing was looked up.
    fn revocation(&self) -> Revocation {
        Revocation::Unknown
    }
}

/// One value of the subjectAltName extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct San<'a> {
    pub text: &'a str,
    /// Of an attribute of a directoryName: its short name (`CN`) and its OID in dotted form.
    pub attribute: Option<(&'a str, &'a str)>,
}

impl dyn ClientFacts + '_ {
    pub fn sans(&self) -> impl Iterator<Item = San<'_>> {
        (0..).map_while(|index| self.san(index))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revocation {
    Good,
    Revoked,
    Unknown,
}

/// What the access phase found out; starts empty, plugins fill it in order.
#[derive(Default)]
pub struct Admitted {
    pub consumer: Option<Arc<Consumer>>,
    /// A credential was accepted (mtls-auth succeeded); `None` for an anonymous consumer.
    pub credential: Option<Arc<str>>,
    pub anonymous: bool,
    /// Groups taken from the certificate (skip_consumer_lookup), as they stand there.
    pub authenticated_groups: Vec<Arc<str>>,
    /// Fields to set on the upstream's request, after every client-sent identity header (`fields::is_identity`) was dropped.
    pub headers: Vec<(&'static str, Arc<str>)>,
    /// For the log: `SUCCESS`, `NONE` or `FAILED:reason` (KONG.md §5.7).
    pub client_verify: Option<Arc<str>>,
}

/// Fields by which the gateway tells an upstream who calls (KONG.md §5.5).
pub const X_CONSUMER_ID: &str = "X-Consumer-ID";
pub const X_CONSUMER_CUSTOM_ID: &str = "X-Consumer-Custom-ID";
pub const X_CONSUMER_USERNAME: &str = "X-Consumer-Username";
pub const X_CONSUMER_GROUPS: &str = "X-Consumer-Groups";
pub const X_CREDENTIAL_IDENTIFIER: &str = "X-Credential-Identifier";
pub const X_ANONYMOUS_CONSUMER: &str = "X-Anonymous-Consumer";
pub const X_AUTHENTICATED_GROUPS: &str = "X-Authenticated-Groups";
pub const X_CLIENT_CERT_DN: &str = "X-Client-Cert-Dn";
pub const X_CLIENT_CERT_SAN: &str = "X-Client-Cert-San";

/// A plugin's word on a request.
#[derive(Debug)]
pub enum Verdict {
    Continue,
    /// Answer now. `message` goes into Kong's error body (KONG.md §3.5) unless `body` is given.
    Answer(Answer),
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub message: Arc<str>,
    /// A verbatim body with its content type (request-termination).
    pub body: Option<(Arc<str>, Arc<str>)>,
    /// For the log only.
    pub reason: Arc<str>,
}

impl Answer {
    /// One that is written as Kong's error body.
    pub fn message(status: u16, message: &str, reason: impl Into<Arc<str>>) -> Answer {
        Answer {
            status,
            message: message.into(),
            body: None,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests;
