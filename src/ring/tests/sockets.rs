use super::*;
use std::future::{pending, ready};
use std::io::{Read, Write};

/// Checks that what `buffer` holds continues the stream at `*position`, and takes it.
fn take(buffer: &mut Buffer, position: &mut usize) {
    for &byte in buffer.filled() {
        assert_eq!(byte, byte_at(*position), "byte {position}");
        *position += 1;
    }
    buffer.clear();
}

/// Reads until the stream has come to `end`.
async fn read_up_to(
    socket: &Socket,
    mut buffer: Buffer,
    position: &mut usize,
    end: usize,
) -> Buffer {
    while *position < end {
        let (read, back) = socket.read(buffer, soon()).await;
        assert!(
            matches!(read, ReadEnd::Data(_)),
            "{read:?} at {position} of {end}"
        );
        buffer = back;
        take(&mut buffer, position);
    }
    buffer
}

#[test]
fn a_cancelled_read_loses_no_byte_when_data_arrives_in_the_same_turn() {
    const ROUNDS: usize = 4000;
    on_both(|driver| async move {
        let (near, far) = pair(driver);
        let turn = Turn::new(driver);
        let mut buffer = Buffer::with_capacity(64);
        let (mut sent, mut position) = (0, 0);
        let (mut data, mut cancelled) = (0, 0);
        for round in 0..ROUNDS {
            let write = |sent: &mut usize| {
                let end = *sent + 1 + round % 7;
                (&far).write_all(&stream_of(*sent..end)).unwrap();
                *sent = end;
            };
            let (end, back) = match round % 4 {
                // Nothing arrives: the read must have taken nothing.
                0 => near.read_or(buffer, soon(), ready(())).await,
                // Arrives after the read is made and before it is cancelled.
                1 => {
                    near.read_or(buffer, soon(), async { write(&mut sent) })
                        .await
                }
                // Arrives while the read waits in the kernel; every 16th round, a turn costs epoll a millisecond.
                2 if round % 64 == 2 || driver != Driver::Epoll => {
                    let arrive = async {
                        turn.next().await;
                        write(&mut sent);
                    };
                    near.read_or(buffer, soon(), arrive).await
                }
                // Is there before the read is made.
                _ => {
                    write(&mut sent);
                    near.read_or(buffer, soon(), ready(())).await
                }
            };
            buffer = back;
            match end {
                ReadEnd::Data(count) => {
                    assert_eq!(count, buffer.len());
                    data += 1;
                }
                ReadEnd::Cancelled => {
                    assert!(buffer.is_empty(), "cancelled, but with bytes");
                    assert_eq!(buffer.capacity(), 64, "the buffer came back");
                    cancelled += 1;
                }
                other => panic!("round {round}: {other:?}"),
            }
            take(&mut buffer, &mut position);
            // Three in four rounds: what a cancelled read did not take is there for the next one, with newer bytes
            // behind it in the others.
            if round % 4 != 3 {
                buffer = read_up_to(&near, buffer, &mut position, sent).await;
            }
        }
        read_up_to(&near, buffer, &mut position, sent).await;
        assert_eq!(position, sent);
        assert!(
            data >= ROUNDS / 8 && cancelled >= ROUNDS / 8,
            "{driver:?}: {data} {cancelled}"
        );
    });
}

#[test]
fn a_cancelled_read_loses_no_byte_to_a_writer_on_another_core() {
    const SIZE: usize = 60_000;
    on_both(|driver| async move {
        let (near, mut far) = pair(driver);
        let writer = std::thread::spawn(move || {
            let mut sent = 0;
            while sent < SIZE {
                let end = (sent + 1 + sent % 13).min(SIZE);
                far.write_all(&stream_of(sent..end)).unwrap();
                sent = end;
                for _ in 0..(sent % 17) * 40 {
                    std::hint::spin_loop();
                }
            }
            far
        });
        let turn = Turn::new(driver);
        let mut buffer = Buffer::with_capacity(64);
        let (mut position, mut rounds, mut stopped) = (0, 0, 0);
        let until = Instant::now() + PATIENCE;
        loop {
            rounds += 1;
            let deadline =
                Some(until.min(Instant::now() + Duration::from_micros(rounds % 3 * 500)));
            let (end, back) = match rounds % 3 {
                0 => near.read_or(buffer, Some(until), ready(())).await,
                1 => near.read_or(buffer, Some(until), turn.next()).await,
                _ => near.read_or(buffer, deadline, pending()).await,
            };
            buffer = back;
            match end {
                ReadEnd::Data(count) => assert_eq!(count, buffer.len()),
                ReadEnd::Cancelled | ReadEnd::TimedOut => {
                    assert!(buffer.is_empty(), "ended early, but with bytes");
                    stopped += 1;
                }
                other => panic!("round {rounds}: {other:?}"),
            }
            take(&mut buffer, &mut position);
            if position == SIZE {
                break;
            }
            assert!(
                Instant::now() < until,
                "{driver:?}: {position} of {SIZE} after {rounds} rounds"
            );
        }
        assert!(
            stopped > 0,
            "{driver:?}: no read was ended early in {rounds} rounds"
        );
        drop(writer.join().unwrap());
        let (end, _) = near.read(buffer, soon()).await;
        assert!(matches!(end, ReadEnd::Eof), "{end:?}");
    });
}

#[test]
fn reads_append_behind_what_is_filled_and_never_over_it() {
    const SIZE: usize = 100_000;
    on_both(|driver| async move {
        let (near, mut far) = pair(driver);
        let writer = std::thread::spawn(move || far.write_all(&stream_of(0..SIZE)).unwrap());
        let mut buffer = Buffer::with_capacity(48);
        let (mut position, mut rounds) = (0, 0usize);
        loop {
            rounds += 1;
            if !buffer.reserve(1, 160) {
                buffer.consume(0);
                assert_eq!(buffer.len(), 160, "full at its bound");
            }
            if buffer.room() > 0 {
                let before = buffer.filled().to_vec();
                let (end, back) = near.read(buffer, soon()).await;
                buffer = back;
                assert!(buffer.filled().starts_with(&before));
                match end {
                    ReadEnd::Data(count) => assert_eq!(buffer.len(), before.len() + count),
                    ReadEnd::Eof => break,
                    other => panic!("{other:?}"),
                }
            }
            let count = (rounds * 7 % 90).min(buffer.len());
            let taken = buffer.filled()[..count].to_vec();
            assert_eq!(taken, stream_of(position..position + count));
            buffer.consume(count);
            position += count;
        }
        assert_eq!(buffer.filled(), stream_of(position..SIZE));
        writer.join().unwrap();
    });
}

#[test]
fn write_all_finishes_what_a_small_send_buffer_takes_in_parts() {
    const SIZE: usize = 400_000;
    on_both(|driver| async move {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        // Inherited by the accepted side: a window that closes early.
        let _ = socket2::SockRef::from(&listener).set_recv_buffer_size(1);
        let stream = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        socket2::SockRef::from(&stream)
            .set_send_buffer_size(1)
            .unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        let near = socket(driver, stream);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        // A part that has been consumed already is not sent.
        let mut buffer = Buffer::from_vec(stream_of(0..SIZE));
        buffer.consume(1000);
        let (end, buffer) = near.write_all(buffer, soon()).await;
        assert!(
            matches!(end, ReadEnd::Data(count) if count == SIZE - 1000),
            "{end:?}"
        );
        assert!(buffer.is_empty());
        near.shutdown_write().await;
        assert!(reader.join().unwrap() == stream_of(1000..SIZE));
    });
}

#[test]
fn write_all_ends_at_its_deadline_when_the_peer_does_not_read() {
    on_both(|driver| async move {
        let (near, far) = pair(driver);
        socket2::SockRef::from(&far)
            .set_recv_buffer_size(1)
            .unwrap();
        let start = Instant::now();
        let deadline = Some(start + Duration::from_millis(50));
        let buffer = Buffer::from_vec(vec![7; 16 << 20]);
        let (end, _) = near.write_all(buffer, deadline).await;
        assert!(matches!(end, ReadEnd::TimedOut), "{end:?}");
        assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < PATIENCE / 2);
    });
}

#[test]
fn a_peer_that_resets_is_an_error_and_not_an_end() {
    on_both(|driver| async move {
        let (near, far) = pair(driver);
        socket2::SockRef::from(&far)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(far);
        let (end, buffer) = near.read(Buffer::with_capacity(8), soon()).await;
        assert!(matches!(end, ReadEnd::Failed(_)), "{end:?}");
        assert!(buffer.is_empty());
        let (end, _) = near.write_all(Buffer::from_vec(vec![1; 8]), soon()).await;
        assert!(matches!(end, ReadEnd::Failed(_)), "{end:?}");
    });
}

#[test]
fn one_read_and_one_write_are_in_flight_at_the_same_time() {
    const SIZE: usize = 1 << 20;
    on_both(|driver| async move {
        let (near, far) = pair(driver);
        let echo = std::thread::spawn(move || {
            std::io::copy(&mut &far, &mut &far).unwrap();
        });
        let write = async {
            let (end, _) = near
                .write_all(Buffer::from_vec(stream_of(0..SIZE)), soon())
                .await;
            assert!(matches!(end, ReadEnd::Data(SIZE)), "{end:?}");
            near.shutdown_write().await;
        };
        let read = async {
            let mut position = 0;
            let mut buffer = Buffer::with_capacity(4096);
            loop {
                let (end, back) = near.read_or(buffer, soon(), pending()).await;
                buffer = back;
                match end {
                    ReadEnd::Data(_) => take(&mut buffer, &mut position),
                    ReadEnd::Eof => return position,
                    other => panic!("{other:?} at {position}"),
                }
            }
        };
        let ((), position) = join2(write, read).await;
        assert_eq!(position, SIZE);
        echo.join().unwrap();
    });
}

/// The kernel owns the buffer of a dropped read until it answers; the memory must outlive that.
#[test]
fn a_read_dropped_at_its_deadline_leaves_the_memory_to_the_kernel() {
    on_both(|driver| async move {
        for round in 0..100 {
            let (near, far) = pair(driver);
            let deadline = Some(Instant::now() + Duration::from_millis(round % 3));
            let (end, buffer) = near.read(Buffer::with_capacity(32), deadline).await;
            assert!(matches!(end, ReadEnd::TimedOut), "{end:?}");
            assert_eq!(buffer.capacity(), 0);
            let reused = [0xaau8; 32];
            // May arrive where the dropped read put its buffer, never in memory that is ours again.
            let _ = (&far).write(&[0x55; 32]);
            Turn::new(driver).next().await;
            assert!(reused.iter().all(|&byte| byte == 0xaa));
            drop(near);
        }
    });
}

#[test]
fn connect_reaches_a_listener_and_names_a_refusal() {
    on_both(|driver| async move {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = Socket::connect(address, soon()).await.ok().unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"x").unwrap();
        near.readable().await.unwrap();
        assert_eq!(sys::peek(near.raw_fd()), sys::Peek::Data);
        drop(listener);
        let end = Socket::connect(address, soon()).await.err();
        assert!(
            matches!(&end, Some(ReadEnd::Failed(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused),
            "{driver:?}: {end:?}"
        );
    });
}
