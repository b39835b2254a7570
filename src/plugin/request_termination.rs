//! request-termination: answers in the upstream's place. Priority 2, so every other plugin has had its say.
//!
//! `echo` is refused: its answer holds the request's content and the node's name and worker, and its exact form is not
//! published.

use super::{Answer, Verdict, values};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

#[derive(Debug)]
pub struct RequestTermination {
    status: u16,
    message: Arc<str>,
    /// Body and content type.
    body: Option<(Arc<str>, Arc<str>)>,
    /// Only requests with a header or query argument of this name are answered.
    trigger: Option<String>,
    reason: Arc<str>,
}

impl RequestTermination {
    pub fn from_config(config: &Map<String, Value>) -> Result<RequestTermination, String> {
        let config = Config::deserialize(config).map_err(|e| format!("config: {e}"))?;
        if config.echo == Some(true) {
            return Err("config.echo: true is not supported; set it to false".into());
        }
        let status = config.status_code.unwrap_or(503);
        // 1xx is never the last response to a request (RFC 9110 §15.2): the client would wait on.
        if !(200..=599).contains(&status) {
            return Err(format!(
                "config.status_code: {status} cannot end a request; expected 200 to 599"
            ));
        }
        if config.message.is_some() && (config.body.is_some() || config.content_type.is_some()) {
            return Err(
                "config.message: cannot be combined with config.body or config.content_type".into(),
            );
        }
        if config.content_type.is_some() && config.body.is_none() {
            return Err("config.content_type: needs config.body".into());
        }
        let content_type = config
            .content_type
            .as_deref()
            .unwrap_or("application/json; charset=utf-8");
        if values::field_value(content_type) != content_type {
            return Err(
                "config.content_type: must not contain control characters or outer spaces".into(),
            );
        }
        Ok(RequestTermination {
            status,
            message: config
                .message
                .as_deref()
                .unwrap_or(default_message(status))
                .into(),
            body: config.body.map(|body| (body.into(), content_type.into())),
            trigger: config.trigger,
            reason: "request-termination".into(),
        })
    }

    pub fn access(&self, present: &dyn Fn(&str) -> bool) -> Verdict {
        if self.trigger.as_deref().is_some_and(|name| !present(name)) {
            return Verdict::Continue;
        }
        Verdict::Answer(Answer {
            status: self.status,
            message: self.message.clone(),
            body: self.body.clone(),
            reason: self.reason.clone(),
        })
    }
}

#[derive(Deserialize)]
struct Config {
    status_code: Option<u16>,
    message: Option<String>,
    body: Option<String>,
    content_type: Option<String>,
    trigger: Option<String>,
    echo: Option<bool>,
}

/// The words of KONG.md §3.5 where it has some for the status.
fn default_message(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        417 => "Expectation failed",
        429 => "Too many requests",
        500 => "An unexpected error occurred",
        502 => "Bad gateway",
        503 => "Service unavailable",
        504 => "Gateway timeout",
        _ => "Request terminated",
    }
}
