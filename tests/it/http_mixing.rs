//! Many clients at once, each with requests of every shape, against upstreams that answer in every way: whatever is
//! pooled, retried, cut or answered early, nobody ever sees a byte that belongs to another exchange.

use crate::support::entities::{service, service_with};
use crate::support::upstream::{Conversation, Next, Request};
use crate::support::wire::{Ended, Response};
use crate::support::{Ca, Client, Gateway, Setup, TlsClient, Upstream, json};
use std::io::Write;
use std::sync::{Arc, Mutex};

const CLIENTS: u64 = 8;
const CONNECTIONS: usize = 25;
const REQUESTS: usize = 12;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Sizes around those of buffers, and none.
    fn size(&mut self) -> usize {
        match self.below(8) {
            0 | 1 => 0,
            2 | 3 => self.below(64),
            4 => 18 * 1024 - 200 + self.below(400),
            5 => 64 * 1024 - 200 + self.below(400),
            6 => self.below(20_000),
            _ => self.below(300_000),
        }
    }
}

/// Byte `at` of what belongs to exchange `id`.
fn byte(id: u64, at: usize) -> u8 {
    b'a' + ((id as usize).wrapping_mul(31).wrapping_add(at / 7) % 26) as u8
}

fn bytes(id: u64, size: usize) -> Vec<u8> {
    (0..size).map(|at| byte(id, at)).collect()
}

fn check(what: &str, id: u64, content: &[u8]) {
    for (at, found) in content.iter().enumerate() {
        assert_eq!(
            *found,
            byte(id, at),
            "{what} of {id:x}: byte {at} of {}",
            content.len()
        );
    }
}

/// In chunks of odd sizes.
fn chunked(id: u64, size: usize) -> Vec<u8> {
    let content = bytes(id, size);
    let mut out = Vec::new();
    for chunk in content.chunks(1 + (id % 5000) as usize) {
        out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

/// Reads the request's content and holds it against what its exchange has.
fn take(request: &Request, conversation: &mut Conversation<'_>, id: u64) -> Result<usize, Ended> {
    let mut whole = request.clone();
    crate::support::upstream::read_content(conversation.reader, &mut whole)?;
    check("content", id, &whole.content);
    Ok(whole.content.len())
}

fn answer(request: &Request, conversation: &mut Conversation<'_>) -> Next {
    let number = |name: &str| {
        let value = request.field(name).expect("a number of the test's client");
        u64::from_str_radix(value, 16).expect("hex")
    };
    let (id, size, how) = (number("Id"), number("Size") as usize, number("How"));
    // Sometimes before the content, of which then the rest comes or the connection ends.
    let early = how.is_multiple_of(4);
    if !early && take(request, conversation, id).is_err() {
        return Next::Cut;
    }
    if how.is_multiple_of(3) {
        conversation.send(format!("HTTP/1.1 103 Early Hints\r\nId: {id:x}\r\n\r\n"));
    }
    let head = format!("HTTP/1.1 200 OK\r\nId: {id:x}\r\n");
    let close = match how % 7 {
        0 => {
            conversation.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            conversation.send(chunked(id, size));
            false
        }
        1 => {
            conversation.send(format!("{head}\r\n"));
            conversation.send(bytes(id, size));
            true
        }
        2 => {
            let content = bytes(id, size);
            let (one, two) = content.split_at(size / 2);
            conversation.send(format!(
                "{head}Content-Length: {size}\r\nConnection: close\r\n\r\n"
            ));
            conversation.send(one);
            conversation.send(two);
            true
        }
        3 if request.method == "GET" && how.is_multiple_of(5) => return Next::Cut,
        _ => {
            let mut all = format!("{head}Content-Length: {size}\r\n\r\n").into_bytes();
            all.extend(bytes(id, size));
            conversation.send(all);
            false
        }
    };
    if early && !close && take(request, conversation, id).is_err() {
        return Next::Cut;
    }
    if close { Next::Close } else { Next::Keep }
}

#[test]
fn no_exchange_sees_a_byte_of_another() {
    let ca = Ca::root("ca");
    let failures: Arc<Mutex<Vec<String>>> = Arc::default();
    let script = |failures: &Arc<Mutex<Vec<String>>>| {
        let failures = failures.clone();
        move |request: &Request, conversation: &mut Conversation<'_>| {
            let run = || answer(request, conversation);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(next) => next,
                Err(why) => {
                    let text = why.downcast_ref::<String>().cloned().unwrap_or_default();
                    let head = String::from_utf8_lossy(&request.head).into_owned();
                    failures
                        .lock()
                        .expect("the failures")
                        .push(format!("{text}\n{head}"));
                    Next::Cut
                }
            }
        }
    };
    let plain = Upstream::streaming(script(&failures));
    let tls = Upstream::tls_streaming(&ca.server(&["up.test"]), script(&failures));
    let gateway = Setup::new(json!({"services": [
        service("plain", &plain, json!({"paths": ["/plain"]})),
        service_with("tls", &tls, json!({"paths": ["/tls"]}), json!({"tls_verify": false})),
    ]}))
    .workers(2)
    .start();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let gateway = &gateway;
            scope.spawn(move || client(gateway, number));
        }
    });
    let failures = failures.lock().expect("the failures");
    assert!(
        failures.is_empty(),
        "upstreams saw:\n{}",
        failures.join("\n")
    );
    assert_eq!(gateway.metrics().sum("sallyport_panics_total"), 0);
}

fn client(gateway: &Gateway, number: u64) {
    let mut random = Random(number.wrapping_add(seed()));
    let over_tls = TlsClient::new();
    for connection in 0..CONNECTIONS {
        let mut client = if random.one_in(2) {
            Client::plain(gateway.http())
        } else {
            over_tls.connect(gateway.https(), "a.test")
        };
        for count in 0..REQUESTS {
            let id = number << 32 | (connection as u64) << 16 | count as u64;
            if !exchange(&mut client, &mut random, id) {
                break;
            }
        }
    }
}

fn seed() -> u64 {
    let text = std::env::var("SALLYPORT_TEST_SEED").unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// Whether the connection may carry another.
fn exchange(client: &mut Client, random: &mut Random, id: u64) -> bool {
    let (size, how) = (random.size(), random.below(420));
    let to = ["/plain", "/tls"][random.below(2)];
    let method = ["GET", "POST", "PUT", "HEAD"][random.below(4)];
    let lines = format!("Host: a.test\r\nId: {id:x}\r\nSize: {size:x}\r\nHow: {how:x}\r\n");
    let mut request = format!("{method} {to} HTTP/1.1\r\n{lines}").into_bytes();
    if method == "GET" || method == "HEAD" {
        request.extend(b"\r\n");
    } else if random.one_in(2) {
        request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        request.extend(chunked(id, random.size()));
    } else {
        let sent = random.size();
        request.extend(format!("Content-Length: {sent}\r\n\r\n").into_bytes());
        request.extend(bytes(id, sent));
    }
    // Some leave in the middle of what they say, some behind it.
    if random.one_in(40) {
        let part = random.below(request.len());
        client.try_send(&request[..part]);
        return false;
    }
    let mut writing = None;
    if random.one_in(3) {
        let pieces = 1 + random.below(4);
        for piece in request.chunks(request.len().div_ceil(pieces)) {
            client.try_send(piece);
            std::thread::yield_now();
        }
    } else if let crate::support::wire::Wire::Plain(socket) = &client.reader.wire {
        // While the answer is read: an upstream may give it first.
        let mut socket = socket.try_clone().expect("the socket");
        writing = Some(std::thread::spawn(move || {
            socket.write_all(&request).is_ok()
        }));
    } else {
        client.try_send(&request);
    }
    if random.one_in(40) {
        return false;
    }
    let response = Response::read(&mut client.reader, method);
    let whole = writing.is_none_or(|writing| writing.join().expect("the writer"));
    let Ok(response) = response else { return false };
    for interim in &response.interim {
        assert!(
            interim.contains(&format!("Id: {id:x}\r\n")),
            "{id:x}: {interim}"
        );
    }
    if response.status != 200 {
        assert!(
            matches!(response.status, 502 | 504 | 408),
            "{id:x}: {}{}",
            response.head,
            response.text()
        );
        return whole && response.field("Connection") != Some("close");
    }
    assert_eq!(
        response.field("Id"),
        Some(&*format!("{id:x}")),
        "{}",
        response.head
    );
    if method != "HEAD" {
        assert_eq!(response.body.len(), size, "{id:x}: {}", response.head);
        check("response", id, &response.body);
    }
    whole && response.field("Connection") != Some("close")
}
