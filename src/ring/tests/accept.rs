use super::*;
use std::cell::RefCell;
use std::future::{pending, ready};
use std::io::Read;
use std::rc::Rc;

/// A descriptor that leaks keeps its connection open, so every peer must see the end of it. (Counting /proc/self/fd would
/// count other tests' as well.)
#[test]
fn an_accept_cancelled_as_a_connection_arrives_loses_and_leaks_none() {
    const ROUNDS: usize = 240;
    for engine in [Engine::Epoll, Engine::IoUring] {
        let clients = Rc::new(RefCell::new(Vec::new()));
        let (accepted, cancelled) = run(engine, |driver| {
            let clients = clients.clone();
            async move {
                let listener = StdListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let listener = Listener::new(listener, driver.nonblocking()).unwrap();
                let turn = Turn::new(driver);
                let connect = || {
                    let client = StdStream::connect(address).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    clients.borrow_mut().push(client);
                };
                let (mut accepted, mut cancelled) = (0, 0);
                for round in 0..ROUNDS {
                    let end = match round % 4 {
                        0 => listener.accept(ready(())).await,
                        1 => listener.accept(async { connect() }).await,
                        2 => {
                            let arrive = async {
                                turn.next().await;
                                connect();
                            };
                            listener.accept(arrive).await
                        }
                        _ => {
                            connect();
                            listener.accept(ready(())).await
                        }
                    };
                    match end {
                        Some(result) => {
                            let (socket, peer) = result.unwrap();
                            assert_eq!(peer.ip(), address.ip());
                            accepted += 1;
                            drop(socket);
                        }
                        None => cancelled += 1,
                    }
                    // What a cancelled accept did not take is still in the backlog.
                    while accepted < clients.borrow().len() {
                        let end = listener.accept(turns(&turn, 2000)).await;
                        drop(end.expect("a connection got lost").unwrap());
                        accepted += 1;
                    }
                }
                // The closing of sockets goes through the ring as well.
                turn.next().await;
                turn.next().await;
                (accepted, cancelled)
            }
        })
        .unwrap();
        let clients = clients.take();
        assert_eq!(accepted, clients.len());
        assert_eq!(accepted, ROUNDS / 4 * 3);
        assert!(cancelled >= ROUNDS / 4, "{engine:?}: {cancelled}");
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "{engine:?}: not closed");
        }
    }
}

async fn turns(turn: &Turn, count: usize) {
    for _ in 0..count {
        turn.next().await;
    }
}

#[test]
fn a_listener_hands_over_connections_until_its_signal() {
    on_both(|driver| async move {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        sys::defer_accept(&listener, 1).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::new(listener, driver.nonblocking()).unwrap();
        let client = std::thread::spawn(move || {
            use std::io::Write;
            let mut stream = StdStream::connect(address).unwrap();
            stream.write_all(b"hello").unwrap();
            stream
        });
        let (socket, _) = listener.accept(pending()).await.unwrap().unwrap();
        let (end, buffer) = socket.read(Buffer::with_capacity(16), soon()).await;
        assert!(matches!(end, ReadEnd::Data(_)), "{end:?}");
        assert!(b"hello".starts_with(buffer.filled()));
        drop(client.join().unwrap());

        let signal = Signal::default();
        let (end, ()) = join2(listener.accept(signal.wait()), async {
            Turn::new(driver).next().await;
            signal.raise();
        })
        .await;
        assert!(end.is_none());
    });
}
