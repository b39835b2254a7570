//! What happens to the Admin API does not happen to proxied traffic: floods, a disk that hangs, a process that is killed.

use crate::admin_live::{Done, on_all_cores};
use crate::support::{Admin, Client, Folder, Gateway, Setup, TlsClient, Upstream, json, until};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A gateway with one proxied route on `/`.
fn proxying(setup: Setup, upstream: &Upstream) -> Gateway {
    let gateway = setup.start();
    let url = format!("http://127.0.0.1:{}", upstream.port());
    let mut admin = gateway.admin();
    admin.put("/services/s", &json!({"url": url})).assert(200);
    admin.have("/services/s/routes", &json!({"paths": ["/"]}));
    gateway
}

/// Proxies on kept and new connections, in clear text and over TLS, while `meanwhile` runs, and then for `more` further
/// requests of each kind. Any failure is a panic.
fn while_proxying(gateway: &Gateway, meanwhile: impl FnOnce(&AtomicUsize)) {
    let (done, served) = (Done::new(), AtomicUsize::new(0));
    let (done, served) = (&done, &served);
    std::thread::scope(|scope| {
        let mut load = Vec::new();
        for kept in [true, false] {
            for tls in [true, false] {
                load.push(scope.spawn(move || {
                    let connect = || match tls {
                        true => TlsClient::new().connect(gateway.https(), "a.test"),
                        false => Client::plain(gateway.http()),
                    };
                    let mut client = connect();
                    while !done.is_raised() {
                        if !kept {
                            client = connect();
                        }
                        let answer = client.get("a.test", "/");
                        answer.assert_status(200);
                        served.fetch_add(1, Ordering::Relaxed);
                        // After `nginx_http_keepalive_requests` of them.
                        if answer.field("Connection") == Some("close") {
                            client = connect();
                        }
                    }
                }));
            }
        }
        let raise = done.when_dropped();
        meanwhile(served);
        // Each kind has been served after it, too.
        let before = served.load(Ordering::Relaxed);
        until("proxied requests", || {
            let failed = load.iter().any(std::thread::ScopedJoinHandle::is_finished);
            (failed || served.load(Ordering::Relaxed) > before + 40).then_some(())
        });
        drop(raise);
    });
    let cores = gateway.metrics();
    assert_eq!(cores.sum("sallyport_panics_total"), 0);
}

#[test]
fn a_flood_of_the_admin_api_fails_no_proxied_request() {
    const CONNECTIONS: usize = 1_000;
    sallyport::ring::sys::raise_nofile();
    let upstream = Upstream::echo();
    let gateway = proxying(on_all_cores(), &upstream);
    let host = gateway.admin_address();
    while_proxying(&gateway, |_| {
        // All there are, each with content that comes a byte at a time.
        let mut slow: Vec<TcpStream> = (0..CONNECTIONS)
            .filter_map(|_| TcpStream::connect(host).ok())
            .collect();
        let head = format!(
            "POST /services HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
        );
        for stream in &mut slow {
            // One more than the listener takes is closed.
            let _ = stream.write_all(head.as_bytes());
        }
        for _ in 0..3 {
            for stream in &mut slow {
                let _ = stream.write_all(b"{");
            }
        }
        assert_eq!(slow.len(), CONNECTIONS);
        until("the listener to be full", || {
            admitted(&gateway).is_none().then_some(())
        });
        drop(slow);
        // The largest that is taken, from more clients than are worked on at once.
        let big = json!({"host": "h.test", "tags": vec!["x".repeat(1000); 9_000]}).to_string();
        assert!(big.len() > 9_000_000 && big.len() < 10 * 1024 * 1024);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut admin = until("a connection", || admitted(&gateway));
                    let fields = [("Content-Type", "application/json")];
                    let answer = admin.send("POST", "/services", &fields, Some(big.as_bytes()));
                    assert!([201, 400].contains(&answer.status()), "{}", answer.text());
                });
            }
        });
        // As many writes and lists as come through.
        std::thread::scope(|scope| {
            for writer in 0..20 {
                let gateway = &gateway;
                scope.spawn(move || {
                    let mut admin = gateway.admin();
                    for number in 0..20 {
                        let name = format!("flood-{writer}-{number}");
                        admin
                            .put(&format!("/consumers/{name}"), &json!({}))
                            .assert(200);
                        admin.get("/consumers?size=1000").assert(200);
                    }
                });
            }
        });
    });
    assert_eq!(gateway.admin().rows("/consumers").len(), 400);
}

/// A connection that the listener has taken: while a thousand others are there it closes further ones.
fn admitted(gateway: &Gateway) -> Option<Admin> {
    let mut client = Client::try_plain(gateway.admin_address()).ok()?;
    let asked = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
        gateway.admin_address()
    );
    if !client.try_send(asked) {
        return None;
    }
    let response = crate::support::wire::Response::read(&mut client.reader, "GET").ok()?;
    (response.status == 200).then(|| gateway.admin())
}

/// A file system of its own that can be frozen: whoever writes to it then hangs in the kernel, as with a disk that does
/// not answer. It takes root and a loop device.
struct Disk {
    folder: Folder,
}

impl Disk {
    /// `None`, with the reason told, where this machine does not allow it.
    fn mount() -> Option<Disk> {
        let disk = Disk {
            folder: Folder::new(),
        };
        let image = disk.folder.file("image", "");
        let made = std::fs::File::options().write(true).open(&image);
        made.and_then(|file| file.set_len(64 * 1024 * 1024))
            .expect("an image");
        std::fs::create_dir(disk.path()).expect("a mount point");
        let image = image.display().to_string();
        let path = disk.path().display().to_string();
        for command in [
            &["mkfs.ext4", "-q", &image][..],
            &["mount", "-o", "loop", &image, &path],
        ] {
            if let Err(why) = run(command) {
                eprintln!("skipped: no file system of its own ({}: {why})", command[0]);
                return None;
            }
        }
        Some(disk)
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("disk")
    }

    /// Thaws with what it returns.
    #[track_caller]
    fn freeze(&self) -> Frozen<'_> {
        let path = self.path().display().to_string();
        run(&["fsfreeze", "--freeze", &path]).expect("fsfreeze");
        Frozen(self)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(&["umount", "--lazy", &self.path().display().to_string()]);
    }
}

struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = run(&[
            "fsfreeze",
            "--unfreeze",
            &self.0.path().display().to_string(),
        ]);
    }
}

fn run(command: &[&str]) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(command[0])
        .args(&command[1..])
        .env("PATH", path)
        .output()
        .map_err(|why| why.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The whole prefix is on it: the store, and the logs.
#[test]
fn a_disk_that_hangs_fails_no_proxied_request_and_no_read() {
    let Some(disk) = Disk::mount() else { return };
    let upstream = Upstream::echo();
    let setup = on_all_cores().set("prefix", disk.path().display().to_string());
    let gateway = proxying(setup, &upstream);
    let address = gateway.admin_address();
    while_proxying(&gateway, |served| {
        let frozen = disk.freeze();
        let mut writers: Vec<Client> = (0..20)
            .map(|number| {
                let mut client = Client::plain(address);
                let body = json!({"username": format!("late-{number}")}).to_string();
                client.send(format!(
                    "POST /consumers HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                ));
                client
            })
            .collect();
        let mut admin = gateway.admin();
        let before = served.load(Ordering::Relaxed);
        let mut asked = 0;
        until("200 proxied requests", || {
            admin.get("/services/s").assert(200);
            admin.get("/status").assert(200);
            asked += 1;
            let more = served.load(Ordering::Relaxed) - before;
            (asked >= 20 && more >= 200).then_some(())
        });
        // What is not on the disk has not been answered, and nobody sees it.
        assert_eq!(admin.rows("/consumers").len(), 0);
        for writer in &mut writers {
            let socket = writer.reader.wire.socket();
            socket.set_nonblocking(true).expect("a socket");
            assert!(
                writer.reader.fill().is_err(),
                "answered before it is written"
            );
            let socket = writer.reader.wire.socket();
            socket.set_nonblocking(false).expect("a socket");
        }
        drop(frozen);
        for writer in &mut writers {
            writer.response_to("POST").assert_status(201);
        }
    });
    assert_eq!(gateway.admin().rows("/consumers").len(), 20);
}

/// The store's disk is full, the logs are elsewhere: 500 and a line for who writes, nothing for anyone else.
#[test]
fn a_full_disk_fails_writes_and_nothing_else() {
    let Some(disk) = Disk::mount() else { return };
    let upstream = Upstream::echo();
    let logs = Folder::new();
    let log = logs.path().join("error.log");
    let setup = on_all_cores()
        .set("prefix", disk.path().display().to_string())
        .set("proxy_error_log", log.display().to_string());
    let gateway = proxying(setup, &upstream);
    let mut admin = gateway.admin();
    let reachable = |admin: &mut Admin| {
        let status = admin.get("/status").assert(200);
        let metric = gateway.metrics().sum("kong_datastore_reachable");
        assert_eq!(status["database"]["reachable"], metric == 1, "{status}");
        metric == 1
    };
    assert!(reachable(&mut admin));
    let filler = disk.path().join("filler");
    let filled = std::fs::write(&filler, vec![1; 128 << 20]);
    assert!(filled.is_err(), "64 MB hold 128 MB");
    let row = |number: u32| json!({"username": format!("u{number}"), "custom_id": format!("{number}{}", "x".repeat(60_000))});
    let mut kept = 0;
    while_proxying(&gateway, |served| {
        let full = (0..1_000).find(|number| {
            let answer = admin.post("/consumers", &row(*number));
            assert!([201, 500].contains(&answer.status()), "{}", answer.text());
            answer.status() == 500
        });
        kept = full.expect("a full disk");
        let text = admin.post("/consumers", &row(kept)).assert(500);
        assert_eq!(text, json!({"message": "An unexpected error occurred"}));
        assert!(!reachable(&mut admin));
        let before = served.load(Ordering::Relaxed);
        until("200 proxied requests", || {
            admin.get("/services/s").assert(200);
            (served.load(Ordering::Relaxed) > before + 200).then_some(())
        });
        std::fs::remove_file(&filler).expect("the filler");
        admin.have("/consumers", &row(kept));
        assert!(reachable(&mut admin));
    });
    for number in 0..=kept {
        admin.get(&format!("/consumers/u{number}")).assert(200);
    }
    until("the lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.contains("[crit]") && text.contains("the store cannot write")).then_some(())
    });
}

/// Kill -9 while a writer runs: what was answered is served after the next start.
#[test]
fn every_answered_write_is_served_after_a_kill() {
    const ROUNDS: usize = 5;
    let mut gateway = Setup::admin().start();
    let says = json!({
        "name": "request-termination",
        "config": {"status_code": 200, "content_type": "text/plain", "body": "here"},
    });
    gateway.admin().have("/plugins", &says);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let (pid, address) = (gateway.pid(), gateway.admin_address());
        let written = AtomicUsize::new(0);
        let new: Vec<Vec<String>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let written = &written;
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        let Ok(mut client) = Client::try_plain(address) else {
                            return answered;
                        };
                        for number in 0.. {
                            let path = format!("/round-{round}/{writer}/{number}/");
                            let body = json!({"paths": [path]}).to_string();
                            let sent = client.try_send(format!(
                                "POST /routes HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                                 Content-Length: {}\r\n\r\n{body}",
                                body.len()
                            ));
                            let read = |client: &mut Client| {
                                crate::support::wire::Response::read(&mut client.reader, "POST").ok()
                            };
                            let Some(response) = sent.then(|| read(&mut client)).flatten() else {
                                return answered;
                            };
                            response.assert_status(201);
                            answered.push(path);
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                        answered
                    })
                })
                .collect();
            // A different moment each round.
            let enough = 10 + 7 * round;
            until("some writes", || {
                (written.load(Ordering::Relaxed) >= enough).then_some(())
            });
            sallyport::ring::sys::kill(pid, libc::SIGKILL).expect("it can be killed");
            let joined = writers
                .into_iter()
                .map(|writer| writer.join().expect("a writer"));
            joined.collect()
        });
        answered.extend(new.into_iter().flatten());
        gateway.kill_and_restart();
        let mut client = Client::plain(gateway.http());
        for path in &answered {
            let answer = client.get("a", path);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "here"),
                "round {round}: {path}"
            );
        }
        // At most the one write each writer was waiting for is there without an answer.
        let rows = gateway.admin().rows("/routes").len();
        let bound = answered.len()..=answered.len() + 4 * (round + 1);
        assert!(
            bound.contains(&rows),
            "round {round}: {rows} rows, {bound:?} expected"
        );
    }
}
