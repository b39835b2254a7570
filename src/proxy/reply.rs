//! Responses the gateway makes itself (KONG.md §3.5, §3.7).

use crate::http1::encode;
use crate::http1::error_body;
use crate::http1::fields::Name;
use crate::http1::head::{Method, RequestHead};
use crate::proxy::core::Core;
use crate::proxy::exchange::{Exchange, Refusal};
use crate::proxy::stream::Stream;

/// What clients of Kong read as the server's version (KONG.md §0).
pub const SERVER: &str = "kong/3.9.1";
pub const VIA: &str = "1.1 kong/3.9.1";

/// Queues the answer to a refused request. `head` is `None` when the request could not be parsed.
pub fn put_refusal(
    core: &Core,
    stream: &Stream,
    exchange: &mut Exchange,
    head: Option<(&RequestHead, &[u8])>,
    refusal: &Refusal,
    close: bool,
) {
    exchange.status = refusal.status;
    exchange.reason = Some(refusal.reason.clone());
    let field = |name: Name| head.and_then(|(head, raw)| head.first(raw, name));
    // request-termination may be told to give any status; what these cannot have would be taken for the next response
    // (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
    let bodiless = matches!(refusal.status, 204 | 304);
    let (content_type, body) = match &refusal.body {
        _ if bodiless || refusal.status == 205 => (String::new(), String::new()),
        Some((body, content_type)) => (content_type.to_string(), body.to_string()),
        None if (300..400).contains(&refusal.status) => (String::new(), String::new()),
        None => {
            let options = core.options();
            let (content_type, body) = error_body::render(
                &refusal.message,
                exchange.id(),
                field(Name::Accept),
                field(Name::ContentType),
                refusal.origin,
                (options.error_default_format, &options.error_templates),
            );
            (content_type.to_owned(), body)
        }
    };
    let mut out = Vec::with_capacity(512 + body.len());
    encode::status_line(&mut out, refusal.status);
    encode::field(&mut out, b"Date", core.date.borrow_mut().at(core.now()));
    if !content_type.is_empty() {
        encode::field(&mut out, b"Content-Type", content_type.as_bytes());
    }
    // RFC 9110 §7.8: who sends Upgrade names it in Connection.
    let upgrade = refusal.fields.iter().any(|(name, _)| *name == "Upgrade");
    let connection: &[u8] = match (close, upgrade) {
        (false, false) => b"keep-alive",
        (false, true) => b"Upgrade",
        (true, false) => b"close",
        (true, true) => b"close, Upgrade",
    };
    encode::field(&mut out, b"Connection", connection);
    if !bodiless {
        encode::field_number(&mut out, b"Content-Length", body.len() as u64);
    }
    for (name, value) in &refusal.fields {
        encode::field(&mut out, name.as_bytes(), value);
    }
    let headers = &core.options().headers;
    if headers.server {
        encode::field(&mut out, b"Server", SERVER.as_bytes());
    }
    if headers.response_latency {
        let kong_ms = exchange.latencies().request_us / 1000;
        encode::field_number(&mut out, b"X-Kong-Response-Latency", kong_ms);
    }
    if headers.request_id {
        encode::field(&mut out, b"X-Kong-Request-Id", &exchange.id);
    }
    encode::head_end(&mut out);
    if !refusal.to_head && head.is_none_or(|(head, _)| head.method != Method::Head) {
        out.extend_from_slice(body.as_bytes());
    }
    stream.put(&out);
}
