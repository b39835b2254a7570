//! What must hold for every request: called by the fuzz target and by the replay of its corpus.

use super::body::{self, Input, Yaml};
use super::errors::Failure;
use super::ops::{Link, Operation, Outcome, Parent};
use super::paths::{self, Endpoint};
use super::reply::Reply;
use crate::declarative::{self, Options, Reading, Secret, rows_fit};
use crate::entity::Kind;
use crate::store::{Image, Plan};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use uuid::Uuid;

/// 2026-01-01, fixed: nothing may depend on the clock.
const NOW_MS: i64 = 1_767_225_600_000;

/// What has become of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its path is none, or has none of the methods that write rows.
    Nowhere,
    /// Its content was not read.
    Unread,
    /// No method with content was taken.
    Refused,
    /// A row was put there or changed.
    Written,
}

/// Asserts on one input: a path, a content type and the content, with a line break between. All methods that write are
/// tried, each on the same few rows.
///
/// - a path with a slash at its end, and one below the workspace, name the same;
/// - content is read without waiting, and to the same twice;
/// - a refusal is 4xx and says why in JSON, or has no content (415);
/// - what is answered to a write is what the store has after it;
/// - a batch is admitted on the state it was planned on, and its rows fit their typed views;
/// - everything that can be stored can be exported, and comes back the same.
pub fn check_fuzz(bytes: &[u8]) -> Fate {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let path = lines.next().unwrap_or_default();
    let content_type = lines.next().unwrap_or_default();
    let content = Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let Ok(path) = std::str::from_utf8(path) else {
        return Fate::Nowhere;
    };
    let Some(endpoint) = endpoint(path) else {
        return Fate::Nowhere;
    };
    if endpoint.methods().len() == READ_ONLY {
        return Fate::Nowhere;
    }
    let input = match read(content_type, content, &endpoint) {
        Ok(input) => input,
        Err(failure) => {
            refusal(failure.into());
            return Fate::Unread;
        }
    };
    let mut fate = match endpoint {
        Endpoint::Row(..) | Endpoint::Child(..) | Endpoint::Foreign { .. } => Fate::Refused,
        Endpoint::Collection(_) | Endpoint::Children(_) => Fate::Refused,
        _ => Fate::Nowhere,
    };
    written(&endpoint, Write::Delete, &input);
    for method in [Write::Post, Write::Put, Write::Patch] {
        if written(&endpoint, method, &input) {
            fate = Fate::Written;
        }
    }
    fate
}

/// GET, HEAD and OPTIONS.
const READ_ONLY: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Write {
    Post,
    Put,
    Patch,
    Delete,
}

fn endpoint(path: &str) -> Option<Endpoint> {
    let endpoint = paths::resolve(path);
    if path.starts_with('/') && !path.ends_with('/') {
        assert_eq!(paths::resolve(&format!("{path}/")), endpoint, "{path}/");
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    let plain = !first.contains('%') && !["", "default", "kong"].contains(&first);
    if let (Some(endpoint), true) = (&endpoint, plain) {
        let below = paths::resolve(&format!("/default{path}"));
        assert_eq!(below.as_ref(), Some(endpoint), "/default{path}");
        let methods = endpoint.methods();
        assert!(methods.is_sorted() && methods.contains(&"OPTIONS"));
    }
    endpoint
}

fn read(content_type: &[u8], content: Bytes, endpoint: &Endpoint) -> Result<Input, Failure> {
    let mut headers = HeaderMap::new();
    if let (Ok(value), false) = (
        HeaderValue::from_bytes(content_type),
        content_type.is_empty(),
    ) {
        headers.insert(CONTENT_TYPE, value);
    }
    let yaml = match endpoint {
        Endpoint::Config => Yaml::Accepted,
        _ => Yaml::Refused,
    };
    let first = at_once(body::read(&headers, content.clone(), yaml));
    let second = at_once(body::read(&headers, content, yaml));
    match (&first, &second) {
        (Ok(first), Ok(second)) => assert_eq!(first, second, "two readings differ"),
        (Err(first), Err(second)) => assert_eq!(first.status, second.status),
        _ => panic!("one reading fails, the other does not"),
    }
    first
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("content that is there is waited for"),
    }
}

/// One method on the rows there are. `false`: refused, or nothing has changed.
fn written(endpoint: &Endpoint, method: Write, input: &Input) -> bool {
    let image = &*STORED;
    let mut plan = Plan::new(Arc::clone(image));
    let mut operation = Operation {
        plan: &mut plan,
        now_ms: NOW_MS,
        plugins: None,
    };
    let Some(outcome) = perform(&mut operation, endpoint, method, input.clone()) else {
        return false;
    };
    let reply = match outcome {
        Ok(reply) => reply,
        Err(failure) => {
            refusal(failure.into());
            return false;
        }
    };
    let batch = plan.into_batch();
    assert!(image.admits(&batch.expected), "a fresh plan conflicts");
    if batch.writes.is_empty() {
        return false;
    }
    let mut after = Image::clone(image);
    after.apply(&batch.writes, image.revision + 1);
    answered(&reply, &after);
    rows_fit(&after.config);
    restores(&after);
    true
}

fn perform(
    operation: &mut Operation<'_>,
    endpoint: &Endpoint,
    method: Write,
    input: Input,
) -> Option<Outcome> {
    Some(match (endpoint, method) {
        (Endpoint::Collection(kind), Write::Post) => operation.insert(*kind, input, None),
        (Endpoint::Children(children), Write::Post) => {
            operation.insert(children.child, input, Some(&Parent::from(children)))
        }
        (Endpoint::Row(kind, at), Write::Put) => operation.upsert(*kind, at, input, None),
        (Endpoint::Row(kind, at), Write::Patch) => operation.update(*kind, at, input, None),
        (Endpoint::Row(kind, at), Write::Delete) => operation.delete(*kind, at, None),
        (Endpoint::Child(children, at), method) => {
            let parent = Parent::from(children);
            match method {
                Write::Post => return None,
                Write::Put => operation.upsert(children.child, at, input, Some(&parent)),
                Write::Patch => operation.update(children.child, at, input, Some(&parent)),
                Write::Delete => operation.delete(children.child, at, Some(&parent)),
            }
        }
        (Endpoint::Foreign { .. }, Write::Put) => operation.upsert_linked(&link(endpoint)?, input),
        (Endpoint::Foreign { .. }, Write::Patch) => {
            operation.update_linked(&link(endpoint)?, input)
        }
        _ => return None,
    })
}

fn link(endpoint: &Endpoint) -> Option<Link> {
    let Endpoint::Foreign {
        from,
        address,
        field,
        to,
    } = endpoint
    else {
        return None;
    };
    Some(Link {
        from: *from,
        at: address.clone(),
        field,
        to: *to,
    })
}

fn refusal(reply: Reply) {
    assert!(reply.status.is_client_error(), "{}", reply.status);
    let Some(content) = reply.content else {
        return assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    };
    let body: Value = serde_json::from_slice(&content).unwrap_or_default();
    let message = body.get("message").and_then(Value::as_str);
    assert!(message.is_some_and(|text| !text.is_empty()), "{body}");
}

fn answered(reply: &Reply, after: &Image) {
    let (Some(about), Some(content)) = (reply.about, &reply.content) else {
        return;
    };
    let Ok(Value::Object(mut shown)) = serde_json::from_slice(content) else {
        panic!("an answer that is no object");
    };
    if about.kind == Kind::Certificates {
        assert!(
            shown
                .shift_remove("snis")
                .is_some_and(|names| names.is_array())
        );
    }
    let stored = about.id.and_then(|id| after.get(about.kind, id));
    assert_eq!(stored.map(Arc::as_ref), Some(&shown), "not what is stored");
}

fn restores(after: &Image) {
    let mut text = Vec::new();
    let exported = declarative::export(&after.config, &mut text);
    assert!(exported.is_ok(), "memory refuses a write");
    let secrets = |_: Secret<'_>| Err("none".to_owned());
    let options = Options {
        now_ms: NOW_MS + 1_000,
        secrets: &secrets,
        plugins: None,
    };
    let reading = Reading {
        keep_updated_at: true,
        progress: None,
    };
    match declarative::parse_as(&String::from_utf8_lossy(&text), &options, reading) {
        Ok(again) => assert_eq!(after.config, again.config, "an export reads differently"),
        Err(failure) => panic!("an export is refused: {failure}"),
    }
}

/// One row of each kind, with the ids 1 to 11 in the last digits.
static STORED: LazyLock<Arc<Image>> = LazyLock::new(|| {
    let mut image = Image::default();
    for (number, (kind, input)) in (1..).zip(rows()) {
        let Value::Object(mut input) = input else {
            continue;
        };
        input.insert("id".into(), id(number).into());
        let mut plan = Plan::new(Arc::new(image.clone()));
        let mut operation = Operation {
            plan: &mut plan,
            now_ms: NOW_MS,
            plugins: None,
        };
        let outcome = operation.insert(kind, Input::Json(input), None);
        assert!(outcome.is_ok(), "{kind:?}: {outcome:?}");
        let batch = plan.into_batch();
        image.apply(&batch.writes, number.into());
    }
    Arc::new(image)
});

fn id(number: u32) -> String {
    Uuid::from_u128(number.into()).to_string()
}

fn reference(number: u32) -> Value {
    Value::Object(Map::from_iter([("id".to_owned(), id(number).into())]))
}

fn rows() -> [(Kind, Value); 11] {
    let pair = json!({
        "cert": include_str!("../entity/fixtures/ed25519.crt"),
        "key": include_str!("../entity/fixtures/ed25519.key"),
        "snis": ["a.test"],
    });
    let authority = json!({"cert": include_str!("../entity/fixtures/root.crt")});
    let mtls = json!({"ca_certificates": [id(2)]});
    [
        (Kind::Certificates, pair),
        (Kind::CaCertificates, authority),
        (
            Kind::Services,
            json!({"name": "s", "url": "https://h.test/p", "client_certificate": reference(1),
                   "ca_certificates": [id(2)], "tls_verify": true}),
        ),
        (
            Kind::Routes,
            json!({"name": "r", "paths": ["/r"], "service": reference(3)}),
        ),
        (Kind::Consumers, json!({"username": "c", "custom_id": "x"})),
        (
            Kind::MtlsAuthCredentials,
            json!({"subject_name": "n", "consumer": reference(5), "ca_certificate": reference(2)}),
        ),
        (Kind::Acls, json!({"group": "g", "consumer": reference(5)})),
        (Kind::Upstreams, json!({"name": "u"})),
        (
            Kind::Targets,
            json!({"target": "t.test:1", "upstream": reference(8)}),
        ),
        (
            Kind::Plugins,
            json!({"name": "mtls-auth", "instance_name": "p", "route": reference(4), "config": mtls}),
        ),
        (
            Kind::Snis,
            json!({"name": "b.test", "certificate": reference(1)}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::fixtures::corpus;

    #[test]
    fn the_corpus_keeps_what_the_fuzz_target_asserts() {
        let files = corpus("admin");
        assert!(files.len() >= 30, "{}", files.len());
        for (name, bytes) in files {
            let fate = match check_fuzz(&bytes) {
                Fate::Nowhere => "nowhere",
                Fate::Unread => "unread",
                Fate::Refused => "refused",
                Fate::Written => "written",
            };
            assert_eq!(Some(fate), name.split('_').next(), "{name}");
        }
    }
}
