use super::*;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Node {
    ready: AtomicBool,
    stuck: bool,
    log: Option<LogHandle>,
}

impl StatusSource for Node {
    async fn scrape(&self) -> Vec<CoreMetrics> {
        if self.stuck {
            std::future::pending::<()>().await;
        }
        let mut core = CoreMetrics::new(0);
        core.connection_opened(true);
        core.connection_opened(true);
        core.connection_closed(true);
        vec![core, CoreMetrics::new(1)]
    }

    fn process(&self) -> ProcessFacts {
        ProcessFacts {
            datastore_reachable: true,
            ..ProcessFacts::default()
        }
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err("no configuration available".to_owned())
        }
    }

    fn configuration_hash(&self) -> Option<String> {
        Some("0".repeat(32))
    }

    fn log(&self) -> Option<LogHandle> {
        self.log.clone()
    }
}

async fn start(stuck: bool) -> (SocketAddr, Arc<Node>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let node = Arc::new(Node {
        ready: AtomicBool::new(true),
        stuck,
        log: None,
    });
    tokio::spawn(serve(listener, None, Arc::clone(&node)));
    (address, node)
}

/// Head and content of the response to one request on a connection of its own.
async fn ask(address: SocketAddr, method: &str, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("read");
    let (head, content) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), content.to_owned())
}

#[tokio::test]
async fn each_target_answers_as_kong_does() {
    let (address, _) = start(false).await;
    // (method, target, status, part of the head, content; "…": anything)
    let rows = [
        (
            "GET",
            "/status/ready",
            "200",
            "application/json",
            r#"{"message":"ready"}"#,
        ),
        (
            "GET",
            "/status/ready/?x",
            "200",
            "application/json",
            r#"{"message":"ready"}"#,
        ),
        ("HEAD", "/status/ready", "200", "content-length: 19", ""),
        ("HEAD", "/metrics", "200", "text/plain; version=0.0.4", ""),
        ("GET", "/metrics", "200", "text/plain; version=0.0.4", "…"),
        (
            "GET",
            "/",
            "404",
            "application/json",
            r#"{"message":"Not found"}"#,
        ),
        (
            "POST",
            "/nothing",
            "404",
            "application/json",
            r#"{"message":"Not found"}"#,
        ),
        (
            "POST",
            "/status",
            "405",
            "allow: get, head",
            r#"{"message":"Method not allowed"}"#,
        ),
    ];
    for (method, target, status, part, expected) in rows {
        let (head, content) = ask(address, method, target).await;
        let start = format!("http/1.1 {status} ");
        assert!(head.starts_with(&start), "{method} {target}: {head}");
        assert!(head.contains(part), "{method} {target}: {head}");
        assert!(
            expected == "…" || content == expected,
            "{target}: {content}"
        );
    }
}

#[tokio::test]
async fn status_has_kongs_integers_and_the_configuration_hash() {
    let (address, _) = start(false).await;
    let (_, content) = ask(address, "GET", "/status").await;
    let body: Value = serde_json::from_str(&content).expect("JSON");
    let server = json!({
        "connections_accepted": 2,
        "connections_active": 1,
        "connections_handled": 2,
        "connections_reading": 0,
        "connections_waiting": 1,
        "connections_writing": 0,
        "total_requests": 0,
    });
    assert_eq!(body["server"], server);
    assert_eq!(body["database"], json!({"reachable": true}));
    assert_eq!(body["configuration_hash"], "0".repeat(32));
    assert!(body["memory"].is_object());
}

#[tokio::test]
async fn metrics_are_the_scrape() {
    let (address, _) = start(false).await;
    let (_, content) = ask(address, "GET", "/metrics").await;
    assert!(
        content.contains("\nsallyport_core_connections{core=\"0\"} 1\n"),
        "{content}"
    );
    assert!(content.ends_with('\n'));
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why_with_503() {
    let (address, node) = start(false).await;
    node.ready.store(false, Ordering::SeqCst);
    let (head, content) = ask(address, "GET", "/status/ready").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(content, r#"{"message":"no configuration available"}"#);
}

#[tokio::test]
async fn cores_that_do_not_answer_leave_readiness_answered_and_the_scrape_503() {
    let (address, _) = start(true).await;
    let (head, _) = ask(address, "GET", "/status/ready").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let (head, _) = ask(address, "GET", "/metrics").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_served_again_when_one_ends() {
    let (address, _) = start(false).await;
    let mut idle = Vec::new();
    for _ in 0..STATUS_CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // One answered request each, so that each is known to be accepted.
        let request = b"GET /status/ready HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("read");
        assert_eq!(&first, b"HTTP/1.1 200");
        idle.push(stream);
    }
    let mut refused = TcpStream::connect(address).await.expect("connected");
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    idle.clear();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = b"GET /status/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut response = Vec::new();
        let sent = stream.write_all(request).await;
        let read = stream.read_to_end(&mut response).await;
        if sent.is_ok() && read.is_ok() && response.starts_with(b"HTTP/1.1 200") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never served again");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let (address, _) = start(false).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET /sta").await.expect("sent");
    let mut rest = Vec::new();
    // Ends because the listener closes; without a bound this would never return.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

/// A status listener with a fresh certificate, and its address.
async fn start_tls() -> SocketAddr {
    use crate::tls::keys::{KeyClass, KeyPair, generate_default};
    use crate::tls::provider::{Mode, choose};
    use crate::tls::server::{RequestMap, ServerPolicy, ServerSettings};
    use crate::tls::sni::SniTable;
    let (certificate, key) = generate_default(KeyClass::Ecdsa, 1_700_000_000).expect("a pair");
    let pair = Arc::new(KeyPair::from_pem(&certificate, &key).expect("a pair"));
    let policy = ServerPolicy::new(
        &ServerSettings::new(choose(Mode::Auto)),
        vec![pair],
        SniTable::default(),
        RequestMap::default(),
        false,
    );
    let tls = Arc::new(StatusTls::new(Arc::new(policy.expect("a policy"))));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let node = Arc::new(Node {
        ready: AtomicBool::new(true),
        stuck: false,
        log: None,
    });
    tokio::spawn(serve(listener, Some(tls), node));
    address
}

#[tokio::test]
async fn a_listener_with_ssl_answers_over_tls() {
    use crate::tls::provider::{Mode, choose};
    use crate::tls::upstream::{CoreUpstream, UpstreamSpec, UpstreamTls, Versions};
    let address = start_tls().await;
    for versions in [(true, false), (false, true)] {
        let tls = UpstreamTls::new(UpstreamSpec {
            client: None,
            verify: false,
            depth: 0,
            roots: None,
            versions: Versions {
                tls12: versions.0,
                tls13: versions.1,
            },
        });
        let mut session = CoreUpstream::new(&choose(Mode::Auto))
            .connect(&tls, "localhost")
            .expect("a session");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        session
            .write(b"GET /status/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("written");
        let (mut response, mut bytes) = (Vec::new(), [0; 4096]);
        while !session.peer_closed() {
            let mut out = Vec::new();
            session.take_output(&mut out);
            // In pieces, as a network may deliver them.
            for piece in out.chunks(100) {
                stream.write_all(piece).await.expect("sent");
            }
            let count = stream.read(&mut bytes).await.expect("read");
            assert!(count > 0, "closed without close_notify");
            session.feed(&bytes[..count]).expect("sound TLS");
            while let Some(plain) = session.plaintext().map(<[u8]>::to_vec) {
                session.consume(plain.len());
                response.extend(plain);
            }
        }
        let response = String::from_utf8(response).expect("text");
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.ends_with(r#"{"message":"ready"}"#), "{response}");
    }
}

#[tokio::test]
async fn plain_http_on_a_listener_with_ssl_gets_400() {
    let address = start_tls().await;
    let (head, content) = ask(address, "GET", "/status").await;
    assert!(head.starts_with("http/1.1 400 bad request\r\n"), "{head}");
    let length = format!("content-length: {}", content.len());
    assert!(head.contains(&length), "{head}");
}

#[tokio::test]
async fn status_access_log_has_a_line_for_each_request() {
    use crate::telemetry::log::{LogTargets, Logs, Target};
    let path = std::env::temp_dir().join(format!("status-access-{}", uuid::Uuid::new_v4()));
    let mut targets = LogTargets::off();
    targets.set(Sink::StatusAccess, Target::File(path.clone()));
    let logs = Logs::open(&targets).expect("opened");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let node = Node {
        ready: AtomicBool::new(true),
        stuck: false,
        log: Some(logs.handle()),
    };
    tokio::spawn(serve(listener, None, Arc::new(node)));
    ask(address, "GET", "/status/ready?secret").await;
    ask(address, "POST", "/status").await;
    assert!(logs.close());
    let text = std::fs::read_to_string(&path).expect("written");
    std::fs::remove_file(&path).expect("removed");
    let found: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .map(|line: serde_json::Value| {
            json!([
                line["client_ip"],
                line["method"],
                line["path"],
                line["status"]
            ])
        })
        .collect();
    assert_eq!(
        found,
        [
            json!(["127.0.0.1", "GET", "/status/ready", 200]),
            json!(["127.0.0.1", "POST", "/status", 405]),
        ]
    );
}
