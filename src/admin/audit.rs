//! One line for each write: who, what, and what came of it. Never a body: it may hold a key.

use super::paths::Address;
use super::reply::About;
use crate::telemetry::access::{Level, write_error_head, write_string};
use crate::telemetry::log::{LogHandle, Sink};
use hyper::StatusCode;
use std::net::SocketAddr;

pub struct Line<'a> {
    pub now_ms: u64,
    pub peer: SocketAddr,
    /// Subject of the client's certificate, when it was verified.
    pub subject: Option<&'a str>,
    pub method: &'a str,
    /// The entity's name, or the endpoint's where it is none.
    pub entity: &'a str,
    /// How the request named the row.
    pub asked: Option<&'a Address>,
    /// What was written.
    pub about: Option<About>,
    pub status: StatusCode,
}

impl Line<'_> {
    /// `… [notice] admin: client="127.0.0.1:40000" subject="CN=ops" POST services id="…": 201`
    pub fn write(&self, out: &mut Vec<u8>) {
        write_error_head(out, self.now_ms, Level::Notice);
        out.extend_from_slice(b"admin: client=");
        write_string(out, self.peer.to_string().as_bytes());
        out.extend_from_slice(b" subject=");
        match self.subject {
            Some(subject) => write_string(out, subject.as_bytes()),
            None => out.extend_from_slice(b"none"),
        }
        out.push(b' ');
        // A method this server knows.
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.entity.as_bytes());
        let (name, value) = match (self.about.and_then(|about| about.id), self.asked) {
            (Some(id), _) => ("id", id.to_string()),
            (None, Some(Address::Id(id))) => ("id", id.to_string()),
            (None, Some(Address::Key(key))) => ("key", key.clone()),
            (None, None) => ("id", String::new()),
        };
        if !value.is_empty() {
            out.extend_from_slice(format!(" {name}=").as_bytes());
            write_string(out, value.as_bytes());
        }
        out.extend_from_slice(format!(": {}", self.status.as_u16()).as_bytes());
    }

    /// Whatever the log level is.
    pub fn log(&self, log: &LogHandle) {
        log.line(Sink::AdminError, |line| self.write(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Kind;
    use uuid::Uuid;

    #[test]
    fn a_line_says_who_did_what_to_which_row() {
        let id = Uuid::from_u128(7);
        let by_id = Address::Id(id);
        let by_key = Address::Key("a\"b\n".to_owned());
        let about = |id| {
            Some(About {
                kind: Kind::Services,
                id,
            })
        };
        let start = "1970-01-01T00:00:00.000Z [notice] admin: client=\"127.0.0.1:7\" subject=";
        for (subject, asked, about, end) in [
            (
                None,
                None,
                about(Some(id)),
                format!("none PUT services id=\"{id}\": 200"),
            ),
            (
                Some("CN=ops"),
                Some(&by_id),
                None,
                format!("\"CN=ops\" PUT services id=\"{id}\": 200"),
            ),
            (
                None,
                Some(&by_key),
                about(None),
                "none PUT services key=\"a\\\"b\\n\": 200".to_owned(),
            ),
            (None, None, None, "none PUT services: 200".to_owned()),
        ] {
            let mut out = Vec::new();
            let line = Line {
                now_ms: 0,
                peer: "127.0.0.1:7".parse().expect("an address"),
                subject,
                method: "PUT",
                entity: "services",
                asked,
                about,
                status: StatusCode::OK,
            };
            line.write(&mut out);
            let text = String::from_utf8(out).expect("text");
            assert_eq!(text, format!("{start}{end}"));
        }
    }
}
