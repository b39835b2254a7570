//! A verdict for a thread that has no runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Waits for `future`; `None`: it was not done within `at_most`.
pub fn wait<T>(future: impl Future<Output = T>, at_most: Option<Duration>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = at_most.map(|at_most| Instant::now() + at_most);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        let Some(deadline) = deadline else {
            thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[test]
    fn what_comes_from_another_thread_is_waited_for_and_what_does_not_come_is_given_up() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = thread::spawn(move || sender.send(7));
        assert_eq!(wait(receiver, None), Some(Ok(7)));
        assert_eq!(other.join().expect("no panic"), Ok(()));
        assert_eq!(wait(pending::<()>(), Some(Duration::ZERO)), None);
        assert_eq!(
            wait(std::future::ready(1), Some(Duration::ZERO)),
            Some(1),
            "what is there is taken"
        );
    }
}
