//! Work on many rows, shared by all cores that this process may use.
use crate::limits;
use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Rows that a thread takes at a time: few enough that the last ones are shared too.
const PORTION: usize = 64;

/// Runs `work` over the items, on all cores when they are many; results in order.
///
/// Parsing a private key costs up to a millisecond, which 100,000 certificates would turn into minutes. Threads take
/// portions as they are done with the one before, because one key costs a hundred times another.
pub fn parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let free = thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = free
        .min(limits::CHECK_THREADS_MAX)
        .min(items.len() / PORTION);
    if threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let waiting = Mutex::new(items.into_iter().enumerate());
    let take = || -> Vec<(usize, T)> {
        // Taking a portion cannot leave the iterator half way.
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.by_ref().take(PORTION).collect()
    };
    let run = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let portion = take();
            let Some((first, _)) = portion.first() else {
                return done;
            };
            let first = *first;
            done.push((
                first,
                portion.into_iter().map(|(_, item)| work(item)).collect(),
            ));
        }
    };
    let portions: BTreeMap<usize, Vec<R>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            // Ours to report, not to swallow.
            Err(panic) => panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    });
    portions.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_however_many_there_are() {
        for count in [
            0,
            1,
            PORTION,
            2 * PORTION,
            2 * PORTION + 1,
            100 * PORTION + 7,
        ] {
            let expected: Vec<usize> = (0..count).map(|item| item * 3).collect();
            let found = parallel((0..count).collect(), |item: usize| item * 3);
            assert_eq!(found, expected, "{count}");
        }
    }
}
