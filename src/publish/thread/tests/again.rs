//! What a panic has lost comes by itself, or with the next order.

use super::*;
use crate::limits::PUBLISH_AGAIN_MAX;

impl Bench {
    /// A commit that ends in a panic.
    fn lost(&mut self, name: &str) {
        let _lost = self.consumer(1, name);
        let revision = self.store.image().revision;
        self.publishing.guarded(|this| {
            this.begun = revision;
            panic!("a bug");
        });
    }

    /// The next attempt; false: there is none.
    fn attempt(&mut self) -> bool {
        self.publishing.again.hurry();
        if self.publishing.again.due().is_none() {
            return false;
        }
        let order = self.publishing.next().expect("an order");
        assert!(matches!(order, Order::Again));
        self.publishing.guarded(|this| this.order(order));
        true
    }
}

#[test]
fn a_change_lost_in_a_panic_is_live_without_another_change() {
    let mut bench = Bench::new();
    assert!(!bench.attempt(), "nothing is lost");
    bench.lost("ada");
    assert!(bench.served().is_empty());
    // The first attempts end as it did.
    bench.store.panics.store(3, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(bench.attempt());
        assert!(bench.served().is_empty());
    }
    assert!(bench.attempt());
    assert_eq!(bench.served(), ["ada"]);
    assert_eq!(reached(&bench.live, 1), Poll::Ready(Ok(())));
    assert_eq!(bench.live.stuck(), None);
    assert!(!bench.attempt(), "nothing is left");
}

#[test]
fn a_panic_that_comes_each_time_is_tried_so_often_and_again_with_the_next_change() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        bench.lost("ada");
        bench.store.panics.store(u32::MAX, Ordering::Relaxed);
        let mut attempts = 0;
        while bench.attempt() {
            attempts += 1;
        }
        assert_eq!(attempts, PUBLISH_AGAIN_MAX);
        bench.store.panics.store(0, Ordering::Relaxed);
    }
    let next = bench.consumer(2, "bob");
    bench.told(next);
    assert_eq!(bench.served(), ["ada", "bob"]);
}

#[test]
fn an_order_that_comes_first_takes_the_place_of_an_attempt() {
    let mut bench = Bench::new();
    bench.lost("ada");
    bench.lost("bob");
    let next = bench.consumer(2, "cyd");
    bench.sender.send(Order::Changed(next)).unwrap();
    let order = bench.publishing.next().expect("an order");
    assert!(matches!(order, Order::Changed(_)), "it does not wait");
    bench.publishing.guarded(|this| this.order(order));
    assert_eq!(bench.served(), ["bob", "cyd"]);
    assert!(!bench.attempt(), "nothing is left");
}
