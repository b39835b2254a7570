//! What an Admin API is attacked with; each test is named for the attack.

use super::*;
use crate::entity::fixtures::{LEAF, LEAF_KEY, SEC1_KEY};
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_SIZE_MAX, ADMIN_LARGE_BODIES_MAX};
use std::time::Duration;

#[tokio::test]
async fn dns_rebinding_host() {
    let mut client = Client::connect(start(memory()).await).await;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:8001", 200),
        ("admin.internal", 200),
        ("evil.test", 421),
        ("evil.test:8001", 421),
        ("localhost.evil.test", 421),
    ] {
        for (method, target) in [("GET", "/certificates"), ("OPTIONS", "/certificates")] {
            let answer = client.send(method, target, &[("Host", host)], None).await;
            let expected = if status == 200 && method == "OPTIONS" {
                204
            } else {
                status
            };
            assert_eq!(answer.status, expected, "{method} {host}");
            assert!(
                status == 200 || answer.json()["message"].is_string(),
                "{host}"
            );
        }
    }
}

#[tokio::test]
async fn absolute_form_with_a_foreign_authority() {
    let mut client = Client::connect(start(memory()).await).await;
    let answer = client.get("http://evil.test/certificates").await;
    assert_eq!(answer.status, 421);
}

/// A form needs no preflight: without a look at `Origin` any page could write.
#[tokio::test]
async fn a_form_posted_by_a_foreign_page() {
    let mut client = Client::connect(start(memory()).await).await;
    let form = "application/x-www-form-urlencoded";
    for (origin, status) in [
        ("https://evil.test", 403),
        ("null", 403),
        ("https://gui.test", 201),
        ("http://localhost", 201),
    ] {
        let fields = [("Origin", origin), ("Content-Type", form)];
        let answer = client
            .send("POST", "/services", &fields, Some(b"host=h.test"))
            .await;
        assert_eq!(answer.status, status, "{origin}: {}", answer.text);
    }
    let read = client
        .send("GET", "/services", &[("Origin", "https://evil.test")], None)
        .await;
    assert_eq!(read.status, 200, "a page cannot read the answer");
    assert_eq!(read.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn an_oversized_body() {
    let mut node = memory();
    node.body_size_max = 1000;
    let address = start(node).await;
    let fields = [("Content-Type", "application/json")];
    for (size, status) in [(1000, 201), (1001, 413)] {
        let mut client = Client::connect(address).await;
        let body = format!("{{\"host\":\"h.test\"{:1$}}}", "", size - 17);
        assert_eq!(body.len(), size);
        let answer = client
            .send("POST", "/services", &fields, Some(body.as_bytes()))
            .await;
        assert_eq!(answer.status, status, "{size}: {}", answer.text);
    }
    // More than the buffers between the two hold: the client is still sending when it is refused.
    let mut client = Client::connect(address).await;
    let body = vec![b' '; ADMIN_BODY_SIZE_MAX];
    let answer = client.send("POST", "/services", &fields, Some(&body)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json(), json!({"message": "Payload too large"}));
    // Chunked: the size is not said ahead.
    let mut client = Client::connect(address).await;
    let head = "POST /services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
        Content-Type: application/json\r\n\r\n400\r\n";
    let request = format!("{head}{:1024}\r\n0\r\n\r\n", "{}");
    client.write(request.as_bytes()).await;
    assert_eq!(client.receive("POST").await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_end_holds_no_other_request() {
    let address = start(memory()).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(address).await;
        let head = "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
            Content-Type: application/json\r\n\r\n{";
        client.write(head.as_bytes()).await;
        slow.push(client);
    }
    let mut client = Client::connect(address).await;
    client.have("/services", json!({"host": "h.test"})).await;
    let page = client.get("/services").await.json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_slow_body() {
    let mut node = memory();
    node.timeouts.body = Duration::from_millis(50);
    let mut client = Client::connect(start(node).await).await;
    let head = "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
        Content-Type: application/json\r\n\r\n{";
    client.write(head.as_bytes()).await;
    let answer = client.receive("POST").await;
    assert_eq!(answer.status, 408, "{}", answer.text);
    assert_eq!(answer.header("connection"), Some("close"));
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "and it is closed");
}

#[tokio::test]
async fn a_slow_head_and_a_connection_that_idles() {
    let mut node = memory();
    node.timeouts.idle = Duration::from_millis(50);
    let address = start(node).await;
    for begun in ["GET / HT", ""] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/timers").await.status, 200);
        client.write(begun.as_bytes()).await;
        // Ends because the listener closes; without a bound this would never return.
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{begun}");
    }
}

/// The connection that takes nothing is given up, and what waits for it freed.
#[tokio::test]
async fn a_reader_that_takes_nothing() {
    let mut node = memory();
    node.timeouts.send = Duration::from_millis(50);
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = tcp.local_addr().expect("an address");
    let admin = Admin::new(node);
    let all = admin.connections.available_permits();
    let listener = Listener {
        tcp,
        tls: None,
        clients: None,
    };
    let own = Arc::clone(&admin);
    tokio::spawn(service::serve(own, listener));
    let mut client = Client::connect(address).await;
    let many = "x".repeat(60_000);
    for number in 0..20 {
        let tags = [format!("{number}"), many.clone()];
        client
            .have("/services", json!({"host": "h.test", "tags": tags}))
            .await;
    }
    drop(client);
    let mut stuck = TcpStream::connect(address).await.expect("connected");
    let request = b"GET /services HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    // More answers than both ends' buffers hold; the requests themselves fit.
    stuck.write_all(&request).await.expect("sent");
    while admin.connections.available_permits() < all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn large_content_from_more_clients_than_are_taken_at_once() {
    let mut node = memory();
    node.timeouts.body = Duration::from_millis(200);
    let address = start(node).await;
    let mut slow = Vec::new();
    for _ in 0..ADMIN_LARGE_BODIES_MAX {
        let mut client = Client::connect(address).await;
        let head = "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\
            Content-Type: application/json\r\n\r\n{";
        client.write(head.as_bytes()).await;
        slow.push(client);
    }
    let mut client = Client::connect(address).await;
    client.have("/services", json!({"host": "h.test"})).await;
    for client in &mut slow {
        assert_eq!(client.receive("POST").await.status, 408);
    }
    let body = format!("{{\"host\":\"h.test\"{}}}", " ".repeat(100_000));
    let fields = [("Content-Type", "application/json")];
    let answer = client
        .send("POST", "/services", &fields, Some(body.as_bytes()))
        .await;
    assert_eq!(
        answer.status, 201,
        "their places are free again: {}",
        answer.text
    );
}

#[tokio::test]
async fn deeply_nested_json() {
    let mut client = Client::connect(start(memory()).await).await;
    let fields = [("Content-Type", "application/json")];
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = client
        .send("POST", "/services", &fields, Some(deep.as_bytes()))
        .await;
    let text = json!({"message": "Cannot parse JSON body"});
    assert_eq!((answer.status, answer.json()), (400, text));
    let maps = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let answer = client
        .send("POST", "/services", &fields, Some(maps.as_bytes()))
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_thousand_and_one_arguments() {
    let mut client = Client::connect(start(memory()).await).await;
    let text = json!({"message": "Too many arguments"});
    for count in [1000, 1001] {
        let members: Map<String, Value> = (0..count).map(|n| (format!("k{n}"), 1.into())).collect();
        let form: Vec<String> = (0..count).map(|n| format!("k{n}=1")).collect();
        for (kind, content) in [
            ("application/json", Value::Object(members).to_string()),
            ("application/x-www-form-urlencoded", form.join("&")),
        ] {
            let fields = [("Content-Type", kind)];
            let answer = client
                .send("POST", "/services", &fields, Some(content.as_bytes()))
                .await;
            assert_eq!(answer.status, 400, "{kind}");
            assert_eq!(
                answer.json() == text,
                count == 1001,
                "{kind}: {}",
                answer.text
            );
        }
    }
}

/// Each error is fifty times what is wrong: ten megabytes of commas would be answered with half a gigabyte.
#[tokio::test]
async fn fifty_thousand_errors_in_one_request() {
    let mut client = Client::connect(start(memory()).await).await;
    let commas = vec![","; 50_000];
    let unknown: Map<String, Value> = (0..50_000).map(|n| (format!("k{n}"), 1.into())).collect();
    let names: Map<String, Value> = (0..50_000).map(|n| (format!("k{n}"), 1.into())).collect();
    let regexes = vec!["~/("; 1_000];
    let ids: Vec<String> = (0..1_000).map(|n| id(1000 + n)).collect();
    for (target, body) in [
        ("/services", json!({"host": "h.test", "tags": commas})),
        (
            "/upstreams",
            json!({"name": "u.test", "healthchecks": unknown}),
        ),
        ("/routes", json!({"headers": names})),
        ("/routes", json!({"paths": regexes})),
        (
            "/services",
            json!({"host": "h.test", "protocol": "https", "ca_certificates": ids}),
        ),
    ] {
        let answer = client.json("POST", target, &body).await;
        assert_eq!(answer.status, 400, "{target}");
        let message = answer.json()["message"].to_string();
        assert!(message.starts_with("\"100 schema violations ("), "{target}");
        assert!(
            answer.text.len() < 40_000,
            "{target}: {}",
            answer.text.len()
        );
    }
}

/// Names are looked for in a table, not in a list: ten thousand twice over would be fifty million comparisons.
#[tokio::test]
async fn ten_thousand_names_of_one_certificate() {
    let mut client = Client::connect(start(memory()).await).await;
    let names: Vec<String> = (0..10_000).map(|n| format!("n{n}.test")).collect();
    let body = json!({"id": id(1), "cert": LEAF, "key": LEAF_KEY, "snis": names});
    let row = client.have("/certificates", body.clone()).await;
    assert_eq!(row["snis"].as_array().map(Vec::len), Some(10_000));
    let again = client
        .json("PUT", &format!("/certificates/{}", id(1)), &body)
        .await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn an_endless_head() {
    let address = start(memory()).await;
    let mut client = Client::connect(address).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(2 * ADMIN_HEAD_SIZE_MAX)
    );
    // The server may close while this is sent.
    let _ = client.stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer).await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_path_that_means_another_once_decoded() {
    let mut client = Client::connect(start(memory()).await).await;
    client
        .have(
            "/services",
            json!({"id": id(1), "name": "s", "host": "h.test"}),
        )
        .await;
    for (target, status) in [
        ("/services/s%2Froutes", 400),
        ("/services/%2e%2e/certificates", 404),
        ("/services//routes", 404),
        ("/services/s/../../certificates", 404),
        ("/services/%00", 400),
        ("/services/%ff", 404),
        ("/SERVICES", 404),
    ] {
        assert_eq!(client.get(target).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn a_private_key_never_reaches_a_log() {
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let mut client = Client::connect(start(node).await).await;
    let secret = |key: &str| key.lines().nth(1).expect("a line of the key").to_owned();
    let at = format!("/certificates/{}", id(1));
    let put = json!({"cert": LEAF, "key": LEAF_KEY});
    let mismatched = json!({"cert": LEAF, "key": SEC1_KEY});
    let unknown = json!({"cert": LEAF, "key": LEAF_KEY, LEAF_KEY: LEAF_KEY});
    for (method, target, body, status) in [
        ("PUT", at.as_str(), &put, 200),
        ("PATCH", at.as_str(), &mismatched, 400),
        ("POST", "/certificates", &unknown, 400),
        ("POST", "/services", &put, 400),
    ] {
        let answer = client.json(method, target, body).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text);
    }
    let text = log.text();
    for line in [
        format!("PUT certificates id=\"{}\": 200", id(1)),
        format!("PATCH certificates id=\"{}\": 400", id(1)),
        "POST services: 400".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    for key in [LEAF_KEY, SEC1_KEY] {
        assert!(!text.contains(&secret(key)), "{text}");
    }
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
async fn log_injection_through_a_key() {
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let mut client = Client::connect(start(node).await).await;
    client
        .send("DELETE", "/consumers/a%0Ab%1B%5B2J", &[], None)
        .await;
    let text = log.text();
    assert!(
        text.contains(r#"DELETE consumers key="a\nb\u001b[2J": 204"#),
        "{text}"
    );
}

#[tokio::test]
async fn more_connections_than_the_listener_takes() {
    const LEFT: usize = 10;
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = tcp.local_addr().expect("an address");
    let (log, handle) = Logged::open();
    let mut node = memory();
    node.log = Some(handle);
    let admin = Admin::new(node);
    assert_eq!(admin.connections.available_permits(), ADMIN_CONNECTIONS_MAX);
    // Two thousand sockets are more than every machine gives a test.
    admin
        .connections
        .forget_permits(ADMIN_CONNECTIONS_MAX - LEFT);
    let listener = Listener {
        tcp,
        tls: None,
        clients: None,
    };
    tokio::spawn(service::serve(admin, listener));
    let mut open = Vec::new();
    for _ in 0..LEFT {
        let mut client = Client::connect(address).await;
        // Answered once, so that each is known to be accepted.
        assert_eq!(client.get("/timers").await.status, 200);
        open.push(client);
    }
    for _ in 0..3 {
        let mut refused = TcpStream::connect(address).await.expect("connected");
        assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
    assert_eq!(open[0].get("/timers").await.status, 200);
    let text = log.text();
    let told = text.matches("[warn] admin: admin_listen: more than 1000 connections");
    assert_eq!(told.count(), 1, "{text}");
}

/// It takes no certificate to hold a connection, only to be answered.
#[tokio::test]
async fn all_connections_of_a_public_listener_held() {
    let admin = Admin::new(memory());
    let mut listeners = Vec::new();
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let tcp = TcpListener::bind(address).await.expect("bound");
        let port = tcp.local_addr().expect("an address").port();
        listeners.push(SocketAddr::from(([127, 0, 0, 1], port)));
        let listener = Listener {
            tcp,
            tls: None,
            clients: None,
        };
        tokio::spawn(service::serve(Arc::clone(&admin), listener));
    }
    admin
        .connections_beyond
        .forget_permits(ADMIN_CONNECTIONS_MAX);
    let mut refused = TcpStream::connect(listeners[0]).await.expect("connected");
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    let mut local = Client::connect(listeners[1]).await;
    assert_eq!(local.get("/timers").await.status, 200);
}

/// A write whose client leaves is done and has its audit line.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer() {
    let (log, handle) = Logged::open();
    let (started, mut starts) = tokio::sync::mpsc::channel::<()>(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let mut node = memory();
    node.log = Some(handle);
    node.live = Box::new(move |_| {
        let (started, mut released) = (started.clone(), released.clone());
        Box::pin(async move {
            started.send(()).await.expect("a listener");
            released.wait_for(|go| *go).await.expect("a sender");
            Ok(())
        })
    });
    let address = start(node).await;
    let mut client = Client::connect(address).await;
    let body = json!({"name": "s", "host": "h.test"}).to_string();
    let request = format!(
        "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write(request.as_bytes()).await;
    starts.recv().await.expect("it is stored");
    drop(client);
    release.send(true).expect("a receiver");
    let mut other = Client::connect(address).await;
    assert_eq!(other.get("/services/s").await.status, 200);
    // The write's task was woken before this request came.
    let text = log.text();
    assert!(text.contains("POST services id="), "{text}");
}
