use super::*;
use std::cell::Cell;
use std::io::Read;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

#[test]
fn a_signal_wakes_each_that_waits_once_and_forgets_the_dropped() {
    let signal = Signal::default();
    let (woken, waker) = counting();
    let (other, other_waker) = counting();
    let mut context = Context::from_waker(&waker);
    let mut first = pin!(signal.wait());
    let mut second = pin!(signal.wait());
    let never_polled = signal.wait();
    let mut dropped = Box::pin(signal.wait());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    drop(dropped);
    // The last poll's waker is the one that counts.
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&other_waker))
            .is_pending()
    );
    signal.raise();
    assert!(signal.raised());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(other.0.load(Ordering::Relaxed), 1);
    signal.raise();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once");
    for wait in [first, second] {
        assert!(wait.poll(&mut context).is_ready());
    }
    assert!(pin!(never_polled).poll(&mut context).is_ready());
    assert!(pin!(signal.wait()).poll(&mut context).is_ready());
}

/// Otherwise each request of a long connection would add a slot.
#[test]
fn slots_of_a_signal_are_used_again() {
    let signal = Signal::default();
    let (woken, waker) = counting();
    let mut context = Context::from_waker(&waker);
    for _ in 0..10_000 {
        let (one, two) = (pin!(signal.wait()), pin!(signal.wait()));
        assert!(one.poll(&mut context).is_pending());
        assert!(two.poll(&mut context).is_pending());
    }
    assert_eq!(signal.slots(), 2);
    signal.raise();
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_signal_ends_the_reads_of_many_tasks_without_closing_their_connections() {
    on_both(|driver| async move {
        let signal = Rc::new(Signal::default());
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let (near, far) = pair(driver);
            let signal = signal.clone();
            let task = async move {
                let (end, buffer) = near
                    .read_or(Buffer::with_capacity(8), soon(), signal.wait())
                    .await;
                (end, buffer, near)
            };
            tasks.push((monoio::spawn(task), far));
        }
        Turn::new(driver).next().await;
        signal.raise();
        for (task, mut far) in tasks {
            let (end, buffer, near) = task.await;
            assert!(matches!(end, ReadEnd::Cancelled), "{end:?}");
            let mut buffer = buffer;
            assert_eq!(buffer.append(b"bye", 8), 3);
            let (end, _) = near.write_all(buffer, soon()).await;
            assert!(matches!(end, ReadEnd::Data(3)), "{end:?}");
            near.shutdown_write().await;
            let mut text = String::new();
            far.read_to_string(&mut text).unwrap();
            assert_eq!(text, "bye");
        }
    });
}

#[test]
fn a_panic_ends_its_own_task_and_frees_what_it_owned() {
    on_both(|driver| async move {
        let (near, mut far) = pair(driver);
        let dropped = Rc::new(Cell::new(false));
        struct OnDrop(Rc<Cell<bool>>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let guard = OnDrop(dropped.clone());
        let turn = Turn::new(driver);
        let doomed = monoio::spawn(Guarded::new(async move {
            let (_guard, near) = (guard, near);
            let deadline = Some(Instant::now() + Duration::from_millis(1));
            let (end, _) = near
                .read_or(Buffer::with_capacity(8), deadline, std::future::pending())
                .await;
            std::panic::panic_any(format!("on purpose, after {end:?}"));
        }));
        let steady = monoio::spawn(Guarded::new(async { 7 }));
        let panicked: Option<()> = doomed.await;
        assert_eq!(panicked, None);
        assert!(dropped.get(), "freed with the panic, not with the task");
        assert_eq!(steady.await, Some(7));
        turn.next().await;
        turn.next().await;
        let eof = std::thread::spawn(move || far.read(&mut [0]).unwrap());
        while !eof.is_finished() {
            turn.next().await;
        }
        assert_eq!(eof.join().unwrap(), 0);
    });
}

#[test]
fn every_ring_of_another_thread_is_answered() {
    const ITEMS: usize = 20_000;
    on_both(|driver| async move {
        let (bell, door) = doorbell().unwrap();
        let (sender, mailbox) = std::sync::mpsc::channel();
        let ringer = std::thread::spawn(move || {
            for item in 0..ITEMS {
                sender.send(item).unwrap();
                bell.ring();
                // Bursts, and pauses in which the core falls asleep.
                if item % 64 == 63 {
                    std::thread::sleep(Duration::from_micros(50));
                }
                // The last before a pause has no later one to cover for it.
                if item % 5000 == 4999 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            bell
        });
        let next = Rc::new(Cell::new(0));
        let finished = Rc::new(Signal::default());
        let answer = {
            let (next, finished) = (next.clone(), finished.clone());
            move || {
                while let Ok(item) = mailbox.try_recv() {
                    assert_eq!(item, next.get());
                    next.set(item + 1);
                }
                if next.get() == ITEMS {
                    finished.raise();
                }
            }
        };
        let listening = monoio::spawn(door.listen(driver.nonblocking(), answer));
        let ended = before(soon(), finished.wait()).await;
        assert_eq!(
            (ended, next.get()),
            (Ok(()), ITEMS),
            "{driver:?}: a ring got lost"
        );
        drop(ringer.join().unwrap());
        assert_eq!(
            before(soon(), listening).await,
            Ok(()),
            "{driver:?}: the bell is gone"
        );
    });
}

#[test]
fn turns_of_one_task_starve_no_other() {
    on_both(|driver| async move {
        let (near, mut far) = pair(driver);
        let stop = Rc::new(Cell::new(false));
        let turns = Rc::new(Cell::new(0u32));
        let spinning = {
            let (stop, turns) = (stop.clone(), turns.clone());
            monoio::spawn(async move {
                let turn = Turn::new(driver);
                while !stop.get() {
                    turn.next().await;
                    turns.set(turns.get() + 1);
                }
            })
        };
        for round in 0..50 {
            std::io::Write::write_all(&mut far, &[round]).unwrap();
            let (end, buffer) = near.read(Buffer::with_capacity(1), soon()).await;
            assert!(matches!(end, ReadEnd::Data(1)), "{end:?}");
            assert_eq!(buffer.filled(), [round]);
        }
        monoio::time::sleep(Duration::from_millis(20)).await;
        stop.set(true);
        assert_eq!(before(soon(), spinning).await, Ok(()));
        assert!(turns.get() >= 2, "{driver:?}: {}", turns.get());
    });
}

#[test]
fn a_deadline_ends_a_wait_and_lets_a_finished_one_through() {
    on_both(|_| async {
        let past = Some(Instant::now() - Duration::from_millis(1));
        assert_eq!(before(past, std::future::ready(1)).await, Ok(1));
        assert_eq!(
            before(past, std::future::pending::<()>()).await,
            Err(Elapsed)
        );
        assert_eq!(before(None, async { 2 }).await, Ok(2));
        let start = Instant::now();
        sleep_until(start + Duration::from_millis(5)).await;
        assert!(start.elapsed() >= Duration::from_millis(5));
    });
}

#[test]
fn a_clock_wakes_at_the_beat_that_was_asked_for_and_uses_its_slots_again() {
    let clock = Clock::default();
    let (woken, waker) = counting();
    let mut context = Context::from_waker(&waker);
    let mut third = Box::pin(clock.after(3));
    for beat in 1..=3 {
        assert!(third.as_mut().poll(&mut context).is_pending(), "{beat}");
        // Polled for another reason: it still waits.
        assert!(third.as_mut().poll(&mut context).is_pending(), "{beat}");
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        clock.beat();
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(third.as_mut().poll(&mut context).is_ready());
    clock.beat();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once");
    drop(third);
    for _ in 0..10_000 {
        let (one, two) = (pin!(clock.after(3)), pin!(clock.after(9)));
        assert!(one.poll(&mut context).is_pending());
        assert!(two.poll(&mut context).is_pending());
    }
    assert_eq!(clock.slots(), 2);
    for _ in 0..10 {
        clock.beat();
    }
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        1,
        "the dropped are forgotten"
    );
    assert!(pin!(clock.after(0)).poll(&mut context).is_ready());
}
