//! "Live on 2xx" (issue 4): once the Admin API has answered a write, the very next request sees it, on every core, on
//! kept connections and on new ones, in clear text and over TLS.

use crate::support::entities::{id, mtls_auth};
use crate::support::wire::Response;
use crate::support::{Ca, Client, Gateway, Pair, Setup, TlsClient, Upstream, Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// As many cores as a test can show something with.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(2))
}

/// Every core, each of them with connections: hashing spreads them, where steering would follow the client's own CPU.
pub fn on_all_cores() -> Setup {
    Setup::admin()
        .workers(cores())
        .set("accept_steering", "hash")
}

/// Raised when it is dropped, so that load ends also with a test that fails.
pub struct Done(AtomicBool);

impl Done {
    pub fn new() -> Done {
        Done(AtomicBool::new(false))
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub fn when_dropped(&self) -> Raise<'_> {
        Raise(&self.0)
    }
}

pub struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Kept connections of both kinds to every core.
struct Kept {
    http: SocketAddr,
    https: SocketAddr,
    connections: Vec<Client>,
}

impl Kept {
    #[track_caller]
    fn open(gateway: &Gateway) -> Kept {
        let mut connections = Vec::new();
        while connections.len() < 256 {
            for _ in 0..4 {
                connections.push(Client::plain(gateway.http()));
                connections.push(TlsClient::new().connect(gateway.https(), "kept.test"));
            }
            // Each has been served once, so its core has it.
            for client in &mut connections {
                client.get("kept.test", "/none").assert_status(404);
            }
            let metrics = gateway.metrics();
            let busy = (0..cores()).filter(|core| {
                let core = format!("core=\"{core}\"");
                metrics.sum_with("sallyport_core_connections", &[&core]) > 0
            });
            if busy.count() == cores() {
                return Kept {
                    http: gateway.http(),
                    https: gateway.https(),
                    connections,
                };
            }
        }
        panic!("a core without connections:\n{}", gateway.metrics().0);
    }

    /// The next answer on each kept connection, then on a new one of each kind.
    fn each(&mut self, host: &str, target: &str, mut check: impl FnMut(&Response)) {
        for client in &mut self.connections {
            check(&client.get(host, target));
        }
        check(&Client::plain(self.http).get(host, target));
        check(&TlsClient::new().get(self.https, host, target));
    }

    /// Three requests at once on the first connection of each kind.
    fn pipelined(&mut self, host: &str, target: &str, mut check: impl FnMut(&Response)) {
        let three = crate::support::client::get(host, target).repeat(3);
        for client in self.connections.iter_mut().take(2) {
            client.send(&three);
            for _ in 0..3 {
                check(&client.response());
            }
        }
    }
}

fn says(text: &str) -> Value {
    json!({
        "name": "request-termination",
        "config": {"status_code": 200, "content_type": "text/plain", "body": text},
    })
}

#[test]
fn two_hundred_changes_and_not_one_stale_answer() {
    let gateway = on_all_cores().start();
    let mut kept = Kept::open(&gateway);
    let mut admin = gateway.admin();
    let route = admin.have("/routes", &json!({"name": "r", "paths": ["/r"]}));
    let plugin = admin.have("/routes/r/plugins", &says("0"));
    let target = format!("/plugins/{}", plugin["id"].as_str().expect("an id"));
    let route = format!("/routes/{}", route["id"].as_str().expect("an id"));
    for number in 1..=200 {
        // What is said, and every other time also where.
        let text = number.to_string();
        let (path, other) = match (number / 2) % 2 {
            0 => ("/r", "/s"),
            _ => ("/s", "/r"),
        };
        admin
            .patch(&target, &json!({"config": {"body": text}}))
            .assert(200);
        if number % 2 == 0 {
            admin.patch(&route, &json!({"paths": [path]})).assert(200);
            kept.each("a", path, |answer| {
                assert_eq!(answer.text(), text, "change {number}")
            });
            kept.each("a", other, |answer| {
                assert_eq!(answer.status, 404, "change {number}, {}", answer.text());
            });
        } else {
            kept.pipelined("a", path, |answer| {
                assert_eq!(answer.text(), text, "change {number}")
            });
        }
    }
}

#[test]
fn a_service_that_points_elsewhere_is_followed_there_by_the_next_request() {
    let upstreams: Vec<Upstream> = ["one", "two"]
        .into_iter()
        .map(|name| {
            Upstream::plain(move |_, conversation| {
                let size = name.len();
                conversation.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{name}"
                ));
                crate::support::upstream::Next::Keep
            })
        })
        .collect();
    let gateway = on_all_cores().start();
    let mut kept = Kept::open(&gateway);
    let mut admin = gateway.admin();
    let url = |at: usize| json!({"url": format!("http://127.0.0.1:{}", upstreams[at].port())});
    admin.put("/services/s", &url(0)).assert(200);
    admin.have("/services/s/routes", &json!({"paths": ["/s"]}));
    for number in 1..=20 {
        let at = number % 2;
        admin.patch("/services/s", &url(at)).assert(200);
        let text = ["one", "two"][at];
        kept.each("a", "/s", |answer| {
            assert_eq!(answer.text(), text, "change {number}")
        });
    }
    // Whole rows come and go.
    for number in 0..10 {
        let route = format!("/routes/{}", id(number));
        let body = json!({"paths": ["/come-and-go"], "service": {"name": "s"}});
        admin.put(&route, &body).assert(200);
        kept.each("a", "/come-and-go", |answer| {
            answer.assert_status(200);
        });
        admin.delete(&route).assert(204);
        kept.each("a", "/come-and-go", |answer| {
            answer.assert_status(404);
        });
    }
}

#[test]
fn the_next_handshake_shows_the_certificate_just_written() {
    let ca = Ca::root("bank");
    let pairs: Vec<Pair> = (0..2).map(|_| ca.server(&["pay.test"])).collect();
    let gateway = on_all_cores().start();
    let mut admin = gateway.admin();
    let certificate = |at: usize, snis: Value| json!({"cert": pairs[at].cert_pem, "key": pairs[at].key_pem, "snis": snis});
    let target = format!("/certificates/{}", id(1));
    admin
        .put(&target, &certificate(0, json!(["pay.test"])))
        .assert(200);
    // New connections go to cores by hash: some to each.
    let shown = |name: &str| -> Vec<usize> {
        let client = TlsClient::new();
        let leaf = (0..6).map(|_| client.connect(gateway.https(), name).server_chain()[0].clone());
        let at = leaf.map(|leaf| pairs.iter().position(|pair| pair.chain[0] == leaf));
        at.map(|at| at.unwrap_or(usize::MAX)).collect()
    };
    for number in 1..=20 {
        let at = number % 2;
        let body = json!({"cert": pairs[at].cert_pem, "key": pairs[at].key_pem});
        admin.patch(&target, &body).assert(200);
        assert_eq!(shown("pay.test"), [at; 6], "replacement {number}");
    }
    // Names move from one certificate to the other, and go.
    let other = format!("/certificates/{}", id(2));
    admin.put(&other, &certificate(1, json!([]))).assert(200);
    for number in 1..=10 {
        let at = number % 2;
        let owner = json!({"certificate": {"id": id(1 + u32::try_from(at).expect("small"))}});
        admin.patch("/snis/pay.test", &owner).assert(200);
        assert_eq!(shown("pay.test"), [at; 6], "move {number}");
    }
    admin.delete("/snis/pay.test").assert(204);
    assert_eq!(shown("pay.test"), [usize::MAX; 6], "the default");
    admin.have(
        "/snis",
        &json!({"name": "pay.*", "certificate": {"id": id(1)}}),
    );
    assert_eq!(shown("pay.test"), [0; 6]);
    admin.delete(&target).assert(204);
    assert_eq!(shown("pay.test"), [usize::MAX; 6], "gone with its names");
}

/// Both halves of mutual TLS on connections that stay open: each write is one row of the table.
#[test]
fn what_decides_about_a_client_counts_on_its_open_connection() {
    let (bank, other) = (Ca::root("bank"), Ca::root("other"));
    let alice = TlsClient::presenting(&bank.client("alice"));
    let gateway = on_all_cores().start();
    let mut admin = gateway.admin();
    for (number, ca) in [(1, &bank), (2, &other)] {
        let target = format!("/ca_certificates/{}", id(number));
        admin.put(&target, &json!({"cert": ca.pem})).assert(200);
    }
    admin.have(
        "/routes",
        &json!({"name": "r", "paths": ["/r"], "protocols": ["https"]}),
    );
    admin.have("/routes/r/plugins", &says("hello"));
    admin.have("/consumers", &json!({"username": "alice"}));
    let plugin = admin.have("/routes/r/plugins", &mtls_auth(&[1], json!({})));
    let plugin = format!("/plugins/{}", plugin["id"].as_str().expect("an id"));
    let mut open: Vec<Client> = (0..8)
        .map(|_| alice.connect(gateway.https(), "r.test"))
        .collect();
    let mut expect = |step: &str, status: u16| {
        for client in &mut open {
            assert_eq!(client.get("r.test", "/r").status, status, "{step}");
        }
        assert_eq!(
            alice.get(gateway.https(), "r.test", "/r").status,
            status,
            "{step}"
        );
    };
    expect("at first", 200);
    let acl = json!({"name": "acl", "config": {"allow": ["tellers"]}});
    let acl_plugin = admin.have("/routes/r/plugins", &acl);
    expect("acl without a group", 403);
    admin.have("/consumers/alice/acls", &json!({"group": "tellers"}));
    expect("a group", 200);
    admin.delete("/consumers/alice/acls/tellers").assert(204);
    expect("no group any more", 403);
    admin
        .put("/consumers/alice/acls/tellers", &json!({}))
        .assert(200);
    expect("a group again", 200);
    let deny = json!({"config": {"allow": null, "deny": ["tellers"]}});
    let acl_plugin = format!("/plugins/{}", acl_plugin["id"].as_str().expect("an id"));
    admin.patch(&acl_plugin, &deny).assert(200);
    expect("the group is denied", 403);
    admin
        .patch(&acl_plugin, &json!({"enabled": false}))
        .assert(200);
    expect("the plugin is off", 200);
    admin.delete("/consumers/alice").assert(204);
    expect("the consumer is gone", 401);
    admin.have("/consumers", &json!({"username": "bob"}));
    expect("another consumer", 401);
    let credential = json!({"subject_name": "alice", "ca_certificate": {"id": id(1)}});
    let credential = admin.have("/consumers/bob/mtls-auth", &credential);
    expect("a credential of this subject", 200);
    let target = format!("/mtls-auths/{}", credential["id"].as_str().expect("an id"));
    admin
        .patch(&target, &json!({"subject_name": "mallory"}))
        .assert(200);
    expect("a credential of another subject", 401);
    admin
        .patch(&target, &json!({"subject_name": "alice"}))
        .assert(200);
    expect("the credential again", 200);
    admin.delete(&target).assert(204);
    expect("no credential any more", 401);
    admin.have("/consumers", &json!({"username": "alice"}));
    expect("the consumer again", 200);
    let trusts = |number: u32| json!({"config": {"ca_certificates": [id(number)]}});
    admin.patch(&plugin, &trusts(2)).assert(200);
    expect("trust in another CA", 401);
    let bank_target = format!("/ca_certificates/{}", id(1));
    admin.delete(&bank_target).assert(204);
    expect("the CA is removed", 401);
    admin
        .put(&bank_target, &json!({"cert": bank.pem}))
        .assert(200);
    admin.patch(&plugin, &trusts(1)).assert(200);
    expect("the CA is back", 200);
    // The row stays, what it holds is another CA.
    admin
        .delete(&format!("/ca_certificates/{}", id(2)))
        .assert(204);
    admin
        .put(&bank_target, &json!({"cert": other.pem}))
        .assert(200);
    expect("another certificate in the same row", 401);
    admin
        .put(&bank_target, &json!({"cert": bank.pem}))
        .assert(200);
    expect("the first one again", 200);
    admin.delete(&plugin).assert(204);
    expect("nobody is asked", 200);
}

/// decK's numbers (KONG-CLIENTS.md §6.19), against the real store: what one connection wrote, another reads, builds upon
/// and is served by.
#[test]
fn ten_writers_read_their_own_writes_while_lists_run() {
    let upstream = Upstream::echo();
    let gateway = on_all_cores().start();
    let done = Done::new();
    std::thread::scope(|scope| {
        let raise = done.when_dropped();
        for _ in 0..25 {
            scope.spawn(|| {
                let mut admin = gateway.admin();
                while !done.is_raised() {
                    for kind in ["services", "routes"] {
                        let page = admin.get(&format!("/{kind}?size=1000")).assert(200);
                        let rows = page["data"].as_array().expect("rows");
                        let ids: Vec<&str> =
                            rows.iter().filter_map(|row| row["id"].as_str()).collect();
                        assert!(ids.is_sorted(), "by id");
                    }
                }
            });
        }
        let writers: Vec<_> = (0..10)
            .map(|writer| {
                let (gateway, upstream) = (&gateway, &upstream);
                scope.spawn(move || {
                    let (mut one, mut two) = (gateway.admin(), gateway.admin());
                    let mut client = Client::plain(gateway.http());
                    for number in 0..10 {
                        let name = format!("s-{writer}-{number}");
                        let url = format!("http://127.0.0.1:{}", upstream.port());
                        one.put(&format!("/services/{name}"), &json!({"url": url}))
                            .assert(200);
                        two.get(&format!("/services/{name}")).assert(200);
                        let route = json!({"name": name, "paths": [format!("/{name}/")]});
                        two.have(&format!("/services/{name}/routes"), &route);
                        client.get("a", &format!("/{name}/")).assert_status(200);
                        one.patch(&format!("/routes/{name}"), &json!({"tags": ["seen"]}))
                            .assert(200);
                        let row = two.get(&format!("/routes/{name}")).assert(200);
                        assert_eq!(row["tags"], json!(["seen"]));
                    }
                })
            })
            .collect();
        let failed = writers
            .into_iter()
            .filter_map(|writer| writer.join().err())
            .count();
        drop(raise);
        assert_eq!(failed, 0, "writers that failed");
    });
    assert_eq!(gateway.admin().rows("/services").len(), 100);
    assert_eq!(gateway.admin().rows("/routes").len(), 100);
    let log = gateway.error_log();
    assert!(!log.contains("[crit]") && !log.contains("[error]"), "{log}");
}
