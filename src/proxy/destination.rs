//! Where a request goes: the identity its upstream connection must have, and the addresses to try. Fails closed: what cannot
//! be shown or verified as configured is refused before anything is connected.

use crate::proxy::exchange::Refusal;
use crate::proxy::forward::Forward;
use crate::proxy::{names, rewrite};
use crate::snapshot::{Host, Scheme, server_name};
use crate::tls::Digest;
use crate::tls::upstream::UpstreamTls;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

impl Forward<'_> {
    /// The identity this request needs of its upstream connection.
    pub(super) fn identity(&self) -> Result<Identity<'_>, Refusal> {
        let tls = match (&self.service.scheme, &self.service.tls) {
            (Scheme::Http, _) => None,
            (Scheme::Https, Some(Ok(tls))) => Some(tls),
            // Fail closed: a certificate or trust store that cannot be used is never left out.
            (Scheme::Https, Some(Err(reason))) => return Err(Refusal::layer(502, reason.clone())),
            (Scheme::Https, None) => {
                return Err(Refusal::layer(502, "the service has no TLS configuration"));
            }
            (Scheme::NotServed, _) => {
                let mut refusal =
                    Refusal::layer(503, "the service's protocol is not served by this version");
                refusal.message = "The upstream server is currently unavailable".into();
                return Err(refusal);
            }
        };
        let name = match (tls, self.head.authority) {
            (None, _) => "".into(),
            // An HTTP/1.0 client without Host leaves nothing to preserve: then it is the service's name, as in `write_head`.
            (Some(_), Some(authority)) if self.route.preserve_host => {
                let host = rewrite::host_of(authority.of(self.raw));
                let host = std::str::from_utf8(host)
                    .map_err(|_| Refusal::layer(400, "Host is not ASCII"))?;
                server_name(host).into()
            }
            (Some(_), _) => Cow::Borrowed(&*self.service.server_name),
        };
        Ok(Identity { name, tls })
    }

    pub(super) async fn addresses(&self) -> Result<SmallVec<[SocketAddr; 4]>, Refusal> {
        let port = self.service.port;
        match &self.service.host {
            Host::Ip(ip) => Ok(smallvec![SocketAddr::new(*ip, port)]),
            Host::Name(name) => match names::resolve(self.core, name).await {
                Ok(addresses) => Ok(addresses
                    .iter()
                    .map(|(ip, own)| SocketAddr::new(ip, own.unwrap_or(port)))
                    .collect()),
                Err(names::Unresolved(reason)) => {
                    let mut refusal = Refusal::kong(503, "name resolution failed");
                    refusal.reason = format!("{name}: {reason}").into();
                    Err(refusal)
                }
            },
            Host::Upstream(name) => {
                let mut refusal =
                    Refusal::kong(503, "failure to get a peer from the ring-balancer");
                refusal.reason =
                    format!("load balancing over upstream {name} is not served by this version")
                        .into();
                Err(refusal)
            }
        }
    }
}

/// What a connection to the upstream has to be made with.
pub(super) struct Identity<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) tls: Option<&'a Arc<UpstreamTls>>,
}

impl Identity<'_> {
    pub(super) fn fingerprint(&self) -> Option<Digest> {
        self.tls.map(|tls| tls.fingerprint)
    }
}
