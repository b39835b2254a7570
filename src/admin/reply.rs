//! An answer before it is HTTP: what operations and information endpoints make, on whichever thread they run.

use super::errors::Failure;
use crate::entity::Kind;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// JSON; `None`: no content.
    pub content: Option<Bytes>,
    /// Seconds, for `Retry-After`.
    pub retry_after_s: Option<u32>,
    /// What was written, for the audit line.
    pub about: Option<About>,
}

/// One row, or none where there was nothing to delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    pub kind: Kind,
    pub id: Option<Uuid>,
}

impl Reply {
    pub fn empty(status: StatusCode) -> Reply {
        Reply {
            status,
            content: None,
            retry_after_s: None,
            about: None,
        }
    }

    pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
        match serde_json::to_vec(body) {
            Ok(text) => Reply {
                content: Some(Bytes::from(text)),
                ..Reply::empty(status)
            },
            // Keys are strings and nothing else of what is answered can fail.
            Err(_) => Failure::unexpected().into(),
        }
    }

    pub fn message(status: StatusCode, text: &str) -> Reply {
        Reply::json(status, &json!({ "message": text }))
    }

    pub fn about(mut self, kind: Kind, id: Option<Uuid>) -> Reply {
        self.about = Some(About { kind, id });
        self
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        let mut reply = match &failure.body {
            Some(body) => Reply {
                content: Some(Bytes::from(body.to_string())),
                ..Reply::empty(failure.status)
            },
            None => Reply::empty(failure.status),
        };
        reply.retry_after_s = failure.retry_after_s;
        reply
    }
}
