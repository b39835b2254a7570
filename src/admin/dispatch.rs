//! From an endpoint and a method to the operation or information behind it.

use super::Admin;
use super::body::{self, Input, Yaml};
use super::errors::{Failure, Verb};
use super::ops::lists::Asked;
use super::ops::{self, Link, Outcome, Parent};
use super::paths::{Address, Children, Endpoint};
use super::reply::Reply;
use super::schemas::{self, Named};
use super::{config_endpoint, info};
use crate::entity::{Kind, schema};
use crate::limits::ADMIN_INLINE_SIZE_MAX;
use crate::store::StoreKind;
use hyper::body::Bytes;
use hyper::{HeaderMap, StatusCode};
use std::sync::Arc;

/// What a method means; HEAD is a GET whose content is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn parse(name: &str) -> Option<Method> {
        Some(match name {
            "GET" | "HEAD" => Method::Get,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => return None,
        })
    }

    /// Content of the others is ignored (KONG.md §2.3).
    pub fn has_content(self) -> bool {
        matches!(self, Method::Post | Method::Put | Method::Patch)
    }
}

/// One request whose endpoint has its method.
pub struct Call {
    pub endpoint: Endpoint,
    pub method: Method,
    pub headers: HeaderMap,
    pub content: Bytes,
    pub asked: Asked,
}

/// The entity a call is about, and how it names the row.
pub fn subject(endpoint: &Endpoint) -> Option<(Kind, Option<&Address>)> {
    Some(match endpoint {
        Endpoint::Collection(kind) => (*kind, None),
        Endpoint::Row(kind, at) => (*kind, Some(at)),
        Endpoint::Children(children) => (children.child, None),
        Endpoint::Child(children, at) => (children.child, Some(at)),
        Endpoint::Foreign { to, .. } => (*to, None),
        Endpoint::TargetHealth { target, .. } => (Kind::Targets, Some(target)),
        _ => return None,
    })
}

/// Refuses what the store cannot do, before the content is read (KONG.md §7.2): rows where it is not written to, a whole
/// configuration where it is.
///
/// # Errors
/// 405, code 12; 400.
pub fn check_writable(
    store: StoreKind,
    endpoint: &Endpoint,
    method: Method,
) -> Result<(), Failure> {
    if store != StoreKind::Off && matches!((endpoint, method), (Endpoint::Config, Method::Post)) {
        return Err(config_endpoint::unavailable());
    }
    if store != StoreKind::Off || matches!(endpoint, Endpoint::TargetHealth { .. }) {
        return Ok(());
    }
    let verb = match method {
        Method::Get => return Ok(()),
        Method::Post => Verb::Create,
        Method::Put => Verb::Upsert,
        Method::Patch => Verb::Update,
        Method::Delete => Verb::Remove,
    };
    match subject(endpoint) {
        None => Ok(()),
        Some((kind, at)) => {
            let by = match at {
                Some(Address::Key(_)) => schema::of(kind).endpoint_key,
                Some(Address::Id(_)) | None => None,
            };
            Err(Failure::read_only(verb, kind, by))
        }
    }
}

pub async fn perform(admin: &Arc<Admin>, call: Call) -> Outcome {
    let Call {
        endpoint,
        method,
        headers,
        content,
        asked,
    } = call;
    let input = if method.has_content() {
        let yaml = match endpoint {
            Endpoint::Config => Yaml::Accepted,
            _ => Yaml::Refused,
        };
        read_content(admin, headers, content, yaml).await?
    } else {
        Input::Form(Default::default())
    };
    match (endpoint, method) {
        (Endpoint::Collection(kind), Method::Get) => list(admin, kind, None, asked).await,
        (Endpoint::Collection(kind), _) => {
            ops::write(admin, move |op| op.insert(kind, input.clone(), None)).await
        }
        (Endpoint::Children(children), Method::Get) => {
            list(admin, children.child, Some(Parent::from(&children)), asked).await
        }
        (Endpoint::Children(children), _) => {
            let parent = Parent::from(&children);
            let kind = children.child;
            ops::write(admin, move |op| {
                op.insert(kind, input.clone(), Some(&parent))
            })
            .await
        }
        (Endpoint::Row(kind, at), method) => row(admin, method, kind, at, None, input).await,
        (Endpoint::Child(children, at), method) => {
            let parent = Parent::from(&children);
            row(admin, method, children.child, at, Some(parent), input).await
        }
        (
            Endpoint::Foreign {
                from,
                address,
                field,
                to,
            },
            method,
        ) => {
            let link = Link {
                from,
                at: address,
                field,
                to,
            };
            linked(admin, method, link, input).await
        }
        (Endpoint::AllTargets(upstream), _) => {
            let children = Children {
                parent: Kind::Upstreams,
                address: upstream,
                child: Kind::Targets,
                field: "upstream",
            };
            list(admin, Kind::Targets, Some(Parent::from(&children)), asked).await
        }
        (Endpoint::UpstreamHealth(at), _) => {
            reading(admin, move |admin| {
                ops::read(admin, |op| op.upstream_health(&at, &asked, &admin.node.id))
            })
            .await
        }
        (
            Endpoint::TargetHealth {
                upstream,
                target,
                address,
                healthy: _,
            },
            _,
        ) => ops::read(admin, |op| {
            op.set_target_health(&upstream, &target, address.as_deref())
        }),
        (Endpoint::Tags, _) => {
            reading(admin, move |admin| {
                ops::read(admin, |op| op.tags(None, &asked))
            })
            .await
        }
        (Endpoint::Tag(tag), _) => {
            reading(admin, move |admin| {
                ops::read(admin, |op| op.tags(Some(&tag), &asked))
            })
            .await
        }
        (Endpoint::Schema(name), _) => {
            let schema = schemas::entity(schemas::named(&name)?);
            Ok(Reply::json(StatusCode::OK, &schema))
        }
        (Endpoint::PluginSchema(name), _) => {
            let plugin =
                schemas::plugin_named(&name, admin.node.directives.now().plugins.as_deref())?;
            Ok(Reply::json(StatusCode::OK, &schemas::plugin(plugin)))
        }
        (Endpoint::Validate(name), _) => {
            let Named::Entity(kind) = schemas::named(&name)? else {
                return Err(Failure::no_entity(&name));
            };
            reading(admin, move |admin| {
                ops::read(admin, |op| op.validate(kind, input))
            })
            .await
        }
        (Endpoint::Config, Method::Get) => config_endpoint::show(admin).await,
        (Endpoint::Config, _) => config_endpoint::load(admin, input, &asked.query).await,
        (endpoint, method) => info::answer(admin, endpoint, method).await,
    }
}

async fn row(
    admin: &Arc<Admin>,
    method: Method,
    kind: Kind,
    at: Address,
    parent: Option<Parent>,
    input: Input,
) -> Outcome {
    let parent = move || parent.clone();
    match method {
        Method::Get => ops::read(admin, |op| op.get(kind, &at, parent().as_ref())),
        Method::Post => Err(Failure::method_not_allowed()),
        Method::Put => {
            ops::write(admin, move |op| {
                op.upsert(kind, &at, input.clone(), parent().as_ref())
            })
            .await
        }
        Method::Patch => {
            ops::write(admin, move |op| {
                op.update(kind, &at, input.clone(), parent().as_ref())
            })
            .await
        }
        Method::Delete => {
            ops::write(admin, move |op| op.delete(kind, &at, parent().as_ref())).await
        }
    }
}

async fn linked(admin: &Arc<Admin>, method: Method, link: Link, input: Input) -> Outcome {
    match method {
        Method::Get => ops::read(admin, |op| op.get_linked(&link)),
        Method::Put => ops::write(admin, move |op| op.upsert_linked(&link, input.clone())).await,
        Method::Patch => ops::write(admin, move |op| op.update_linked(&link, input.clone())).await,
        Method::Post | Method::Delete => Err(Failure::method_not_allowed()),
    }
}

async fn list(admin: &Arc<Admin>, kind: Kind, parent: Option<Parent>, asked: Asked) -> Outcome {
    reading(admin, move |admin| {
        ops::read(admin, |op| op.list(kind, parent.as_ref(), &asked))
    })
    .await
}

/// A read that looks at many rows, on a thread that may compute.
async fn reading(
    admin: &Arc<Admin>,
    read: impl FnOnce(&Admin) -> Outcome + Send + 'static,
) -> Outcome {
    let own = Arc::clone(admin);
    admin.compute(move || read(&own)).await?
}

/// What is small is parsed here, what is large on a thread that may compute.
async fn read_content(
    admin: &Arc<Admin>,
    headers: HeaderMap,
    content: Bytes,
    yaml: Yaml,
) -> Result<Input, Failure> {
    if content.len() <= ADMIN_INLINE_SIZE_MAX {
        return body::read(&headers, content, yaml).await;
    }
    let runtime = tokio::runtime::Handle::current();
    admin
        .compute(move || runtime.block_on(body::read(&headers, content, yaml)))
        .await?
}
