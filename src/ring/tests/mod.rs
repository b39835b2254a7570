//! The cellar against the kernel, on both drivers. `tests/sanitize` runs these under AddressSanitizer: they take every
//! block of `unsafe` in this folder through its paths.

mod accept;
mod sockets;
mod wake;

use super::*;
use monoio::net::TcpStream;
use monoio::time::Instant;
use std::future::Future;
use std::net::TcpListener as StdListener;
use std::net::TcpStream as StdStream;
use std::time::Duration;

/// Above what anything here may take on a busy machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` on epoll, then on io_uring. Where io_uring is forbidden the test fails: the gateway would not run either.
fn on_both<F: Future<Output = ()>>(test: impl Fn(Driver) -> F) {
    for engine in [Engine::Epoll, Engine::IoUring] {
        run(engine, &test).unwrap_or_else(|error| panic!("{engine:?}: {error}"));
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

/// A connection: our end on this core, the peer's as a blocking stream.
fn pair(driver: Driver) -> (Socket, StdStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let far = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    (socket(driver, near), far)
}

fn socket(driver: Driver, stream: StdStream) -> Socket {
    stream.set_nonblocking(driver.nonblocking()).unwrap();
    Socket::new(TcpStream::from_std(stream).unwrap())
}

/// Byte number `position` of a stream in which neighbours, and neighbouring blocks, differ.
fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(31) ^ (position >> 8)) as u8
}

fn stream_of(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(byte_at).collect()
}
