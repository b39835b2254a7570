//! The service over a loopback socket, on a store in memory or on a configuration that is not written to.

mod advice;
mod attacks;
mod certificates;
mod concurrency;
mod declarative;
mod embedded;
mod forms;
mod generated;
mod info;
mod lists;
mod nested;
mod owned;
mod rows;
mod stuck;
mod tls;

use super::cors::Origins;
use super::service::{self, Listener};
use super::{Admin, Declarative, Directives, InForce, LogLevel, Node, NotLive, Stuck, Timeouts};
use crate::entity::fixtures::NOW_MS;
use crate::entity::{Config, Kind};
use crate::limits::ADMIN_BODY_SIZE_MAX;
use crate::store::{
    Batch, CommitError, Committing, Fixed, Image, Revision, Store, StoreKind, Watch, Watched,
};
use crate::telemetry::access::Level;
use crate::telemetry::log::LogHandle;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

// ── a store in memory ──

#[derive(Default)]
pub struct Memory {
    image: Mutex<Arc<Image>>,
    pub conflicts: AtomicU64,
    /// What the next commits answer in place of being written.
    pub fail: Mutex<Option<CommitError>>,
}

impl Store for Memory {
    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn image(&self) -> Arc<Image> {
        self.image.lock().expect("a lock").clone()
    }

    fn commit(&self, batch: Batch) -> Committing {
        if let Some(error) = self.fail.lock().expect("a lock").clone() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let mut image = self.image.lock().expect("a lock");
        let outcome = if image.admits(&batch.expected) {
            let revision = image.revision + 1;
            let mut next = Image::clone(&image);
            next.apply(&batch.writes, revision);
            *image = Arc::new(next);
            Ok(revision)
        } else {
            self.conflicts.fetch_add(1, Ordering::Relaxed);
            Err(CommitError::Conflict)
        };
        Box::pin(std::future::ready(outcome))
    }

    fn watch(&self, _: Revision) -> Box<dyn Watch> {
        Box::new(Nothing)
    }
}

struct Nothing;

impl Watch for Nothing {
    fn next(&mut self) -> Option<Watched> {
        None
    }

    fn try_next(&mut self) -> Option<Watched> {
        None
    }
}

// ── a server ──

/// Each look at the clock is a second later than the one before.
pub fn now() -> i64 {
    static LOOKS: AtomicI64 = AtomicI64::new(0);
    NOW_MS + 1000 * LOOKS.fetch_add(1, Ordering::Relaxed)
}

pub fn node(store: Arc<dyn Store>) -> Node {
    let level = Arc::new(Mutex::new(Level::Notice));
    let set = Arc::clone(&level);
    Node {
        store,
        live: Box::new(|_| Box::pin(std::future::ready(Ok(())))),
        stuck: Box::new(|| None),
        id: "6b1f3a52-0a31-4b3a-9d0e-000000000001".to_owned(),
        hostname: "host".to_owned(),
        now_ms: now,
        directives: InForce::new(Directives {
            shown: Map::from_iter([("log_level".to_owned(), "notice".into())]),
            plugins: None,
            origins: Origins::new(["https://gui.test"]).expect("an origin"),
            hosts: vec!["admin.internal".to_owned()],
        }),
        body_size_max: ADMIN_BODY_SIZE_MAX,
        timeouts: Timeouts::default(),
        log: None,
        log_level: LogLevel {
            get: Box::new(move || *level.lock().expect("a lock")),
            set: Box::new(move |level| *set.lock().expect("a lock") = level),
        },
        status: Box::new(|| {
            Box::pin(std::future::ready(Ok(
                json!({"database": {"reachable": true}}),
            )))
        }),
        cores: 2,
        declarative: None,
    }
}

pub fn memory() -> Node {
    node(Arc::new(Memory::default()))
}

/// `database = off`.
pub fn fixed(config: Config) -> Node {
    let store = Arc::new(Fixed::new(config));
    let own = Arc::clone(&store);
    let mut node = node(store);
    node.declarative = Some(Declarative {
        secrets: Box::new(|_| Err("is not read here".to_owned())),
        replace: Box::new(move |config| {
            let own = Arc::clone(&own);
            Box::pin(async move { Ok(own.replace(config)) })
        }),
    });
    node
}

pub async fn start(node: Node) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = tcp.local_addr().expect("an address");
    let listener = Listener {
        tcp,
        tls: None,
        clients: None,
    };
    tokio::spawn(service::serve(Admin::new(node), listener));
    address
}

/// A node whose log lines come to a file; `text` ends the log and gives them.
pub struct Logged {
    logs: crate::telemetry::log::Logs,
    path: std::path::PathBuf,
}

impl Logged {
    pub fn open() -> (Logged, LogHandle) {
        use crate::telemetry::log::{LogTargets, Logs, Sink, Target};
        let name = format!("sallyport-admin-{}.log", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let mut targets = LogTargets::off();
        for sink in [Sink::AdminAccess, Sink::AdminError] {
            targets.set(sink, Target::File(path.clone()));
        }
        let logs = Logs::open(&targets).expect("a log");
        let handle = logs.handle();
        (Logged { logs, path }, handle)
    }

    pub fn text(self) -> String {
        self.logs.close();
        let text = std::fs::read_to_string(&self.path).expect("a log file");
        std::fs::remove_file(&self.path).expect("removed");
        text
    }
}

// ── a client ──

pub struct Answer {
    pub status: u16,
    /// Lower case, without the status line.
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n");
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One connection that is kept.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client {
            stream: TcpStream::connect(address).await.expect("connected"),
        }
    }

    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        content: Option<&[u8]>,
    ) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        if !fields.iter().any(|(name, _)| *name == "Host") {
            request.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in fields {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(content) = content {
            let length = format!("Content-Length: {}\r\n", content.len());
            request.extend_from_slice(length.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(content.unwrap_or_default());
        self.write(&request).await;
        self.receive(method).await
    }

    /// Bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    pub async fn receive(&mut self, method: &str) -> Answer {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let count = self.stream.read_buf(&mut bytes).await.expect("read");
            assert!(count > 0, "closed: {}", String::from_utf8_lossy(&bytes));
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let (first, head) = head.split_once("\r\n").expect("a status line");
        let mut answer = Answer {
            status: first[9..12].parse().expect("a status"),
            head: head.to_owned(),
            text: String::new(),
        };
        let length: usize = match answer.header("content-length") {
            Some(length) if method != "HEAD" => length.parse().expect("a length"),
            _ => 0,
        };
        let mut content = bytes.split_off(end + 4);
        while content.len() < length {
            let count = self.stream.read_buf(&mut content).await.expect("read");
            assert!(count > 0, "closed in content");
        }
        answer.text = String::from_utf8(content).expect("text");
        answer
    }

    pub async fn json(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let text = body.to_string();
        let fields = [("Content-Type", "application/json")];
        self.send(method, target, &fields, Some(text.as_bytes()))
            .await
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.send("GET", target, &[], None).await
    }

    /// Creates what a test builds on.
    pub async fn have(&mut self, target: &str, body: Value) -> Value {
        let answer = self.json("POST", target, &body).await;
        assert_eq!(answer.status, 201, "{target}: {}", answer.text);
        answer.json()
    }
}

/// Ten clients write services, each with a second connection that reads them and gives them routes; then there are as many
/// routes. decK writes a route as soon as its service is answered.
pub async fn ten_writers_and_readers(address: SocketAddr, services_each: u128) {
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        writers.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut other = Client::connect(address).await;
            for number in 0..services_each {
                let service = id(1000 * writer + number);
                let target = format!("/services/{service}");
                let put = client
                    .json("PUT", &target, &json!({"host": "h.test"}))
                    .await;
                assert_eq!(put.status, 200, "{}", put.text);
                assert_eq!(other.get(&target).await.status, 200, "{target}");
                let route = json!({"paths": ["/"], "service": {"id": service}});
                other.have("/routes", route).await;
            }
        });
    }
    writers.join_all().await;
    let mut client = Client::connect(address).await;
    let page = client.get("/routes?size=1000").await.json();
    let count = page["data"].as_array().map(Vec::len);
    assert_eq!(count, Some(10 * services_each as usize));
}

// ── tables ──

/// One request and what it must be answered with.
pub struct Step {
    pub section: &'static str,
    pub method: &'static str,
    pub target: String,
    /// `Null`: no content.
    pub body: Value,
    pub status: u16,
    /// What the answer has at least.
    pub expected: Value,
}

pub fn step(
    section: &'static str,
    method: &'static str,
    target: impl Into<String>,
    body: Value,
    status: u16,
    expected: Value,
) -> Step {
    Step {
        section,
        method,
        target: target.into(),
        body,
        status,
        expected,
    }
}

/// Runs steps one after the other on one server.
pub async fn run(address: SocketAddr, steps: Vec<Step>) {
    let mut client = Client::connect(address).await;
    for step in steps {
        let place = format!("{}: {} {}", step.section, step.method, step.target);
        let answer = match &step.body {
            Value::Null => client.send(step.method, &step.target, &[], None).await,
            body => client.json(step.method, &step.target, body).await,
        };
        assert_eq!(answer.status, step.status, "{place}: {}", answer.text);
        match &step.expected {
            Value::Null => assert_eq!(answer.text, "", "{place}"),
            expected => {
                let found = answer.json();
                assert!(has(&found, expected), "{place}: {found}\nlacks {expected}");
            }
        }
    }
}

/// Whether `found` has all that `expected` has; lists in full.
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

/// `00000000-0000-4000-8000-…`
pub fn id(number: u128) -> String {
    uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | number).to_string()
}

/// The least a row of each kind can be made of, and where; the rows it refers to are there (`parents`).
pub fn least(kind: Kind) -> (&'static str, Value) {
    use crate::entity::fixtures::{LEAF, LEAF_KEY, ROOT2};
    match kind {
        Kind::Certificates => ("/certificates", json!({"cert": LEAF, "key": LEAF_KEY})),
        Kind::Snis => (
            "/snis",
            json!({"name": "a.test", "certificate": {"id": id(1)}}),
        ),
        Kind::CaCertificates => ("/ca_certificates", json!({ "cert": ROOT2 })),
        Kind::Services => ("/services", json!({"host": "h.test"})),
        Kind::Routes => ("/routes", json!({"paths": ["/"]})),
        Kind::Consumers => ("/consumers", json!({"username": "u"})),
        Kind::MtlsAuthCredentials => (
            "/mtls-auths",
            json!({"consumer": {"id": id(4)}, "subject_name": "s"}),
        ),
        Kind::Acls => ("/acls", json!({"consumer": {"id": id(4)}, "group": "g"})),
        Kind::Upstreams => ("/upstreams", json!({"name": "u.test"})),
        Kind::Targets => (
            "/upstreams/00000000-0000-4000-8000-000000000005/targets",
            json!({"target": "t.test"}),
        ),
        Kind::Plugins => ("/plugins", json!({"name": "request-termination"})),
    }
}

/// One row of each kind that others refer to: certificate 1, CA 2, service 3, consumer 4, upstream 5, route 6.
pub async fn parents(client: &mut Client) {
    use crate::entity::fixtures::{ROOT, SEC1, SEC1_KEY};
    for (target, body) in [
        (
            "/certificates",
            json!({"id": id(1), "cert": SEC1, "key": SEC1_KEY}),
        ),
        ("/ca_certificates", json!({"id": id(2), "cert": ROOT})),
        (
            "/services",
            json!({"id": id(3), "name": "parent", "host": "h.test"}),
        ),
        ("/consumers", json!({"id": id(4), "username": "parent"})),
        ("/upstreams", json!({"id": id(5), "name": "parent.test"})),
        (
            "/routes",
            json!({"id": id(6), "name": "parent", "paths": ["/p"], "service": {"id": id(3)}}),
        ),
    ] {
        client.have(target, body).await;
    }
}
