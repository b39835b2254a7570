//! The Admin API of a gateway, and a client that speaks JSON to it.

use super::client::Client;
use super::wire::Response;
use super::{Gateway, Setup, Value, json};
use std::net::SocketAddr;

impl Setup {
    /// An empty embedded store in the gateway's folder, and a plain Admin listener on a free loopback port.
    pub fn admin() -> Setup {
        Setup::new(json!({}))
            .set("database", "embedded")
            .set("declarative_config", "")
            .with_admin()
    }
}

impl Gateway {
    /// A client of the Admin API with a connection of its own.
    pub fn admin(&self) -> Admin {
        Admin::of(self.admin_address())
    }
}

/// One kept connection to an Admin listener; opened with the first request.
pub struct Admin {
    address: SocketAddr,
    connection: Option<Client>,
}

impl Admin {
    pub fn of(address: SocketAddr) -> Admin {
        Admin {
            address,
            connection: None,
        }
    }

    /// Sends one request. `fields`: in front of `Content-Length`; `Host` is added where they lack it.
    #[track_caller]
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        content: Option<&[u8]>,
    ) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        if !fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Host"))
        {
            request.extend_from_slice(format!("Host: {}\r\n", self.address).as_bytes());
        }
        for (name, value) in fields {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(content) = content {
            request.extend_from_slice(format!("Content-Length: {}\r\n", content.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(content.unwrap_or_default());
        let address = self.address;
        let connection = self
            .connection
            .get_or_insert_with(|| Client::plain(address));
        let response = connection.send(request).response_to(method);
        if response.field("Connection") == Some("close") {
            self.connection = None;
        }
        Answer {
            request: format!("{method} {target}"),
            response,
        }
    }

    /// With `body` as JSON.
    #[track_caller]
    pub fn json(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let text = body.to_string();
        let fields = [("Content-Type", "application/json")];
        self.send(method, target, &fields, Some(text.as_bytes()))
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        self.send("GET", target, &[], None)
    }

    #[track_caller]
    pub fn post(&mut self, target: &str, body: &Value) -> Answer {
        self.json("POST", target, body)
    }

    #[track_caller]
    pub fn put(&mut self, target: &str, body: &Value) -> Answer {
        self.json("PUT", target, body)
    }

    #[track_caller]
    pub fn patch(&mut self, target: &str, body: &Value) -> Answer {
        self.json("PATCH", target, body)
    }

    #[track_caller]
    pub fn delete(&mut self, target: &str) -> Answer {
        self.send("DELETE", target, &[], None)
    }

    /// Creates what a test builds on, and gives the row.
    #[track_caller]
    pub fn have(&mut self, target: &str, body: &Value) -> Value {
        self.post(target, body).assert(201)
    }

    /// The rows of a list that fits one page.
    #[track_caller]
    pub fn rows(&mut self, target: &str) -> Vec<Value> {
        let page = self.get(&format!("{target}?size=1000")).assert(200);
        assert_eq!(page["next"], Value::Null, "{target}: more than one page");
        page["data"].as_array().expect("an array").clone()
    }
}

/// What came back, and to what.
pub struct Answer {
    /// Method and target.
    pub request: String,
    pub response: Response,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status
    }

    pub fn text(&self) -> String {
        self.response.text()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.field(name)
    }

    /// The content; `Null` where there is none.
    #[track_caller]
    pub fn body(&self) -> Value {
        if self.response.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.response.body)
            .unwrap_or_else(|why| panic!("{}: not JSON ({why}): {}", self.request, self.text()))
    }

    /// The content of an answer with this status.
    #[track_caller]
    pub fn assert(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{}: {}", self.request, self.text());
        self.body()
    }
}

/// Whether `found` has all members of `expected`; lists in full length.
pub fn has(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| has(found, value))),
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| has(a, b))
        }
        (found, expected) => found == expected,
    }
}
