//! What every suite stands on. Nothing here asserts on elapsed time; deadlines only end what would hang.

pub mod admin;
pub mod client;
pub mod entities;
pub mod external;
pub mod gateway;
pub mod pki;
pub mod upstream;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use admin::Admin;
pub use client::{Client, TlsClient};
pub use gateway::{Gateway, Setup};
pub use pki::{Ca, Leaf, Pair};
pub use serde_json::{Value, json};
pub use upstream::Upstream;

/// Longest wait for anything that must happen: a loaded machine may be slow, a hang must not last.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until `found` answers; panics with `what` when it never does.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of one test, removed with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "sallyport-it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file in the temporary folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the files of this test are kept in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A TCP port nobody else gets while this lives: bound, never listening, and shared with the listener that names it,
/// because both set SO_REUSEADDR and SO_REUSEPORT.
pub struct Port {
    number: u16,
    _held: socket2::Socket,
}

impl Port {
    pub fn free() -> Port {
        Port::free_on("127.0.0.1:0")
    }

    pub fn free_on(address: &str) -> Port {
        let address: std::net::SocketAddr = address.parse().expect("an address");
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.set_reuse_port(true).expect("SO_REUSEPORT");
        socket.bind(&address.into()).expect("a free port");
        let bound = socket.local_addr().expect("its address");
        let number = bound.as_socket().expect("an IP address").port();
        Port {
            number,
            _held: socket,
        }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
