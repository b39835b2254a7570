use super::*;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const CNAME: u16 = 5;

/// What the server says to one question.
#[derive(Clone)]
enum Say {
    /// (owner; empty: the question's name), type, TTL, RDATA
    Records(Vec<(&'static str, u16, u32, Vec<u8>)>),
    Code(u8),
    Nothing,
}

/// A name server on loopback that answers from a function and counts the questions.
struct Server {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl Fn(&str, u16) -> Say + Send + 'static) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let tick = Some(Duration::from_millis(20));
        socket.set_read_timeout(tick).expect("time-out set");
        let address = socket.local_addr().expect("address");
        let questions = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, stopped) = (Arc::clone(&questions), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 1500];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let query = &buffer[..length];
                let (name, kind, end) = question(query);
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = reply(query, end, &answer(&name, kind)) {
                    socket.send_to(&reply, peer).expect("sent");
                }
            }
        });
        Server {
            address,
            questions,
            stop,
            thread: Some(thread),
        }
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    fn resolver(&self, change: impl FnOnce(&mut ResolveSettings)) -> Resolver {
        let mut settings = ResolveSettings {
            nameservers: vec![self.address],
            hosts: HostsFile::Off,
            order: vec![Order::Last, Order::A, Order::Aaaa],
            ..ResolveSettings::default()
        };
        change(&mut settings);
        Resolver::new(settings).expect("a resolver")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// RFC 1035 §4.1.2: the name, the type and where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        let label = &query[at + 1..at + 1 + length];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (labels.join("."), kind, at + 5)
}

/// RFC 1035 §4.1: header, the question echoed, records with the question's name as a pointer.
fn reply(query: &[u8], question_end: usize, say: &Say) -> Option<Vec<u8>> {
    let (code, records) = match say {
        Say::Records(records) => (0, records.as_slice()),
        Say::Code(code) => (*code, &[][..]),
        Say::Nothing => return None,
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1]);
    reply.extend((records.len() as u16).to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&query[12..question_end]);
    for (owner, kind, ttl, data) in records {
        if owner.is_empty() {
            reply.extend([0xc0, 12]);
        } else {
            reply.extend(wire_name(owner));
        }
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(ttl.to_be_bytes());
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn v4(last: u8, ttl: u32) -> (&'static str, u16, u32, Vec<u8>) {
    ("", A, ttl, vec![10, 0, 0, last])
}

fn v6(last: u8, ttl: u32) -> (&'static str, u16, u32, Vec<u8>) {
    let mut ip = vec![0x20, 1, 0xd, 0xb8];
    ip.extend([0; 11]);
    ip.push(last);
    ("", AAAA, ttl, ip)
}

fn ips(answer: &Answer) -> Vec<String> {
    let ips = answer
        .addresses
        .iter()
        .map(|address| address.ip.to_string());
    ips.collect()
}

fn later(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn the_lowest_ttl_holds_and_is_bounded() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("two.test", A) => Say::Records(vec![v4(1, 300), v4(2, 60)]),
        ("zero.test", A) => Say::Records(vec![v4(1, 0)]),
        ("years.test", A) => Say::Records(vec![v4(1, 2_000_000_000)]),
        ("alias.test", A) => Say::Records(vec![
            ("", CNAME, 20, wire_name("real.test")),
            ("real.test", A, 300, vec![10, 0, 0, 9]),
        ]),
        _ => Say::Code(3),
    });
    let resolver = server.resolver(|_| {});
    // (name, addresses, seconds)
    let rows: [(&str, &[&str], u64); 4] = [
        ("two.test.", &["10.0.0.1", "10.0.0.2"], 60),
        ("zero.test.", &["10.0.0.1"], RESOLVE_TTL_MIN_S),
        ("years.test.", &["10.0.0.1"], RESOLVE_TTL_MAX_S),
        ("alias.test.", &["10.0.0.9"], 20),
    ];
    for (name, addresses, seconds) in rows {
        let answer = resolver.resolve(name).await;
        assert_eq!(ips(&answer), addresses, "{name}: {answer:?}");
        assert_eq!(answer.expires_after_s, seconds, "{name}");
        assert_eq!(answer.error, None);
    }
}

#[tokio::test]
async fn an_answer_is_kept_until_its_ttl_is_over() {
    let server = Server::start(|_, kind| match kind {
        A => Say::Records(vec![v4(1, 60)]),
        _ => Say::Code(3),
    });
    let resolver = server.resolver(|_| {});
    resolver.resolve("a.test.").await;
    assert_eq!(server.questions(), 1);
    let kept = resolver.resolve_at("A.test.", later(30)).await;
    assert!((29..=30).contains(&kept.expires_after_s), "{kept:?}");
    assert_eq!(server.questions(), 1);
    resolver.resolve_at("a.test.", later(61)).await;
    assert_eq!(server.questions(), 2);
}

#[tokio::test]
async fn dns_valid_ttl_stands_in_for_the_records_ttl() {
    let server = Server::start(|_, _| Say::Records(vec![v4(1, 5)]));
    let resolver = server.resolver(|settings| settings.valid_ttl_s = Some(77));
    let answer = resolver.resolve("a.test.").await;
    assert_eq!(answer.expires_after_s, 77);
}

#[tokio::test]
async fn the_first_type_of_dns_order_that_is_there_answers_and_last_is_asked_first_next_time() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("both.test", A) | ("four.test", A) => Say::Records(vec![v4(1, 5)]),
        ("both.test", AAAA) | ("six.test", AAAA) => Say::Records(vec![v6(6, 5)]),
        _ => Say::Code(0),
    });
    let a_first = server.resolver(|_| {});
    assert_eq!(ips(&a_first.resolve("both.test.").await), ["10.0.0.1"]);
    let six_first = server.resolver(|s| s.order = vec![Order::Aaaa, Order::A]);
    assert_eq!(ips(&six_first.resolve("both.test.").await), ["2001:db8::6"]);
    assert_eq!(ips(&six_first.resolve("four.test.").await), ["10.0.0.1"]);

    let before = server.questions();
    assert_eq!(ips(&a_first.resolve("six.test.").await), ["2001:db8::6"]);
    assert_eq!(server.questions() - before, 2, "A, then AAAA");
    let before = server.questions();
    assert_eq!(
        ips(&a_first.resolve_at("six.test.", later(10)).await),
        ["2001:db8::6"]
    );
    assert_eq!(server.questions() - before, 1, "LAST: AAAA at once");
}

#[tokio::test]
async fn srv_gives_the_ports_of_the_lowest_priority_heaviest_first() {
    fn srv(priority: u8, weight: u8, port: u16, target: &str) -> (&'static str, u16, u32, Vec<u8>) {
        let mut data = vec![0, priority, 0, weight];
        data.extend(port.to_be_bytes());
        data.extend(wire_name(target));
        ("", SRV, 50, data)
    }
    let server = Server::start(|name, kind| match (name, kind) {
        ("svc.test", SRV) => Say::Records(vec![
            srv(1, 1, 8001, "light.test"),
            srv(1, 9, 8009, "heavy.test"),
            srv(2, 99, 8099, "spare.test"),
        ]),
        ("light.test", A) => Say::Records(vec![v4(1, 9)]),
        ("heavy.test", AAAA) => Say::Records(vec![v6(9, 70)]),
        _ => Say::Code(0),
    });
    let resolver = server.resolver(|s| s.order = vec![Order::Srv, Order::A]);
    let answer = resolver.resolve("svc.test.").await;
    let found: Vec<String> = answer
        .addresses
        .iter()
        .map(|address| format!("{}@{:?}", address.ip, address.port))
        .collect();
    assert_eq!(found, ["2001:db8::9@Some(8009)", "10.0.0.1@Some(8001)"]);
    assert_eq!(answer.expires_after_s, 9);
}

#[tokio::test]
async fn nxdomain_is_kept_and_is_never_answered_with_stale_addresses() {
    let exists = Arc::new(AtomicBool::new(true));
    let there = Arc::clone(&exists);
    let server = Server::start(move |_, kind| match kind {
        A if there.load(Ordering::SeqCst) => Say::Records(vec![v4(1, 1)]),
        _ => Say::Code(3),
    });
    let resolver = server.resolver(|settings| settings.not_found_ttl_s = 40);
    assert_eq!(ips(&resolver.resolve("a.test.").await), ["10.0.0.1"]);
    exists.store(false, Ordering::SeqCst);
    let gone = resolver.resolve_at("a.test.", later(5)).await;
    let expected = Answer {
        addresses: Vec::new(),
        expires_after_s: 40,
        error: Some(Error::NotFound),
    };
    assert_eq!(gone, expected);
    let asked = server.questions();
    resolver.resolve_at("a.test.", later(30)).await;
    assert_eq!(server.questions(), asked, "the refusal is kept");
}

#[tokio::test]
async fn a_failure_is_answered_with_stale_addresses_for_the_stale_ttl_only() {
    let works = Arc::new(AtomicBool::new(true));
    let working = Arc::clone(&works);
    let server = Server::start(move |_, kind| match kind {
        A if working.load(Ordering::SeqCst) => Say::Records(vec![v4(1, 10)]),
        // SERVFAIL
        _ => Say::Code(2),
    });
    let resolver = server.resolver(|settings| {
        settings.stale_ttl_s = 100;
        settings.error_ttl_s = 3;
    });
    resolver.resolve("a.test.").await;
    works.store(false, Ordering::SeqCst);
    for at_s in [15, 60, 105] {
        let stale = resolver.resolve_at("a.test.", later(at_s)).await;
        assert_eq!(ips(&stale), ["10.0.0.1"], "{at_s}");
        assert!(matches!(stale.error, Some(Error::Failed(_))), "{stale:?}");
        assert_eq!(stale.expires_after_s, 3);
    }
    let over = resolver.resolve_at("a.test.", later(112)).await;
    assert_eq!(ips(&over), [""; 0]);
    assert!(matches!(over.error, Some(Error::Failed(_))), "{over:?}");
    works.store(true, Ordering::SeqCst);
    let back = resolver.resolve_at("a.test.", later(130)).await;
    assert_eq!((ips(&back).len(), back.error), (1, None));
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let server = Server::start(|_, _| Say::Nothing);
    let resolver = server.resolver(|settings| settings.order = vec![Order::A]);
    let answer = resolver.resolve("a.test.").await;
    assert_eq!(answer.addresses, []);
    assert_eq!(answer.error, Some(Error::Timeout));
    assert!(server.questions() >= 1);
}

#[tokio::test]
async fn many_who_ask_for_one_name_are_one_question() {
    let server = Server::start(|_, kind| {
        std::thread::sleep(Duration::from_millis(50));
        match kind {
            A => Say::Records(vec![v4(1, 60)]),
            _ => Say::Code(3),
        }
    });
    let resolver = Arc::new(server.resolver(|_| {}));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.resolve("a.test.").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(ips(&task.await.expect("no panic")), ["10.0.0.1"]);
    }
    assert_eq!(server.questions(), 1);
    assert!(locked(&resolver.flights).is_empty());
}

#[tokio::test]
async fn literals_localhost_and_the_hosts_file_ask_no_server() {
    let server = Server::start(|_, _| Say::Records(vec![v4(99, 60)]));
    let text =
        "10.1.1.1 db.test DB\n2001:db8::5 db.test\n10.6.6.6 localhost\n2001:db8::6 six.test\n";
    let hosts = HostsFile::Text(text.to_owned());
    let resolver = server.resolver(|settings| settings.hosts = hosts.clone());
    // (name, addresses)
    let rows: [(&str, &[&str]); 9] = [
        ("192.0.2.1", &["192.0.2.1"]),
        ("::1", &["::1"]),
        ("[2001:db8::1]", &["2001:db8::1"]),
        ("localhost", &["127.0.0.1"]),
        ("LocalHost.", &["127.0.0.1"]),
        ("a.localhost", &["127.0.0.1"]),
        ("db.test.", &["10.1.1.1"]),
        ("six.test", &["2001:db8::6"]),
        ("db", &["10.1.1.1"]),
    ];
    for (name, addresses) in rows {
        let answer = resolver.resolve(name).await;
        assert_eq!(ips(&answer), addresses, "{name}");
        assert!(answer.expires_after_s >= 1 && answer.error.is_none());
    }
    let six_first = server.resolver(|settings| {
        settings.hosts = hosts;
        settings.order = vec![Order::Aaaa, Order::A];
    });
    for (name, address) in [
        ("db.test", "2001:db8::5"),
        ("localhost", "::1"),
        ("db", "10.1.1.1"),
    ] {
        assert_eq!(ips(&six_first.resolve(name).await), [address], "{name}");
    }
    assert_eq!(server.questions(), 0);
}

#[tokio::test]
async fn a_name_that_is_none_is_an_error_not_a_question() {
    let server = Server::start(|_, _| Say::Records(vec![v4(1, 60)]));
    let resolver = server.resolver(|_| {});
    let label = "a".repeat(64);
    let long = "a.".repeat(130);
    for name in [label.as_str(), long.as_str(), "a..b", "", "."] {
        let answer = resolver.resolve(name).await;
        assert_eq!(answer.addresses, [], "{name:?}");
        assert!(answer.error.is_some(), "{name:?}");
    }
    assert_eq!(server.questions(), 0);
}

#[test]
fn a_full_table_lets_the_expired_go_then_the_next_to_expire() {
    let now = Instant::now();
    let entry = |expires_s: u64| Entry {
        addresses: Vec::new(),
        error: None,
        expires: now + Duration::from_secs(expires_s),
        stale_until: now,
        last: None,
    };
    let mut names: HashMap<Box<str>, Entry> = (1..=RESOLVE_NAMES_MAX)
        .map(|i| (i.to_string().into(), entry(i as u64)))
        .collect();
    make_room(&mut names, now);
    assert_eq!(names.len(), RESOLVE_NAMES_MAX - 1);
    assert!(!names.contains_key("1"));
    names.insert("old".into(), entry(0));
    make_room(&mut names, now);
    assert!(!names.contains_key("old") && names.contains_key("2"));
}

#[test]
fn dns_order_says_what_is_asked_for_and_in_which_order() {
    // (order, last, asked)
    let rows: [(&[Order], Option<Order>, &[Order]); 4] = [
        (&[Order::Last, Order::A], None, &[Order::A]),
        (
            &[Order::Last, Order::A, Order::Aaaa],
            Some(Order::Aaaa),
            &[Order::Aaaa, Order::A],
        ),
        (&[Order::Cname], None, &[Order::A]),
        (&[], None, &[Order::A]),
    ];
    for (order, last, asked) in rows {
        assert_eq!(kinds(order, last), asked);
    }
}

#[tokio::test]
async fn kongs_default_order_costs_a_name_with_addresses_one_more_query_and_a_local_one_none() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("plain.test", A) => Say::Records(vec![v4(1, 5)]),
        // A server that knows no SRV is no failure either.
        ("old.test", SRV) => Say::Code(4),
        ("old.test", A) => Say::Records(vec![v4(2, 5)]),
        _ => Say::Code(0),
    });
    let resolver = server.resolver(|settings| {
        settings.order = ResolveSettings::default().order;
        settings.hosts = HostsFile::Text("10.9.9.9 fixed.test".to_owned());
    });
    // (name, seconds from now, address, queries)
    let rows = [
        ("localhost", 0, "127.0.0.1", 0),
        ("fixed.test", 0, "10.9.9.9", 0),
        ("192.0.2.7", 0, "192.0.2.7", 0),
        ("plain.test.", 0, "10.0.0.1", 2),
        ("plain.test.", 10, "10.0.0.1", 1),
    ];
    for (name, seconds, address, queries) in rows {
        let before = server.questions();
        let answer = resolver.resolve_at(name, later(seconds)).await;
        assert_eq!(
            ips(&answer).first().map(String::as_str),
            Some(address),
            "{name}"
        );
        assert_eq!(answer.error, None, "{name}");
        assert_eq!(
            server.questions() - before,
            queries,
            "{name} after {seconds} s"
        );
    }
    assert_eq!(ips(&resolver.resolve("old.test.").await), ["10.0.0.2"]);
}
