//! The time as a task sees it: read once for each time it is woken. What it does until it waits again takes less than the
//! millisecond that deadlines are kept by, and a request asks for the time a dozen times.

use monoio::time::Instant;
use std::cell::Cell;
use std::time::SystemTime;

thread_local! {
    static KEPT: Cell<Kept> = const { Cell::new(Kept::Not) };
}

/// Whether times are kept, and those that were asked for.
#[derive(Clone, Copy)]
enum Kept {
    /// What runs is no task that says when it was woken.
    Not,
    Since {
        now: Option<Instant>,
        wall: Option<SystemTime>,
    },
}

/// A task has been woken: times are kept from here to `end`. `Guarded` calls both around each poll.
pub fn begin() {
    KEPT.set(Kept::Since {
        now: None,
        wall: None,
    });
}

pub fn end() {
    KEPT.set(Kept::Not);
}

/// The monotonic clock, as this task first read it since it was woken.
pub fn now() -> Instant {
    match KEPT.get() {
        Kept::Since { now: Some(now), .. } => now,
        Kept::Since { now: None, wall } => {
            let now = Instant::now();
            let kept = Kept::Since {
                now: Some(now),
                wall,
            };
            KEPT.set(kept);
            now
        }
        Kept::Not => Instant::now(),
    }
}

/// The wall clock, likewise.
pub fn wall() -> SystemTime {
    match KEPT.get() {
        Kept::Since {
            wall: Some(wall), ..
        } => wall,
        Kept::Since { now, wall: None } => {
            let wall = SystemTime::now();
            let kept = Kept::Since {
                now,
                wall: Some(wall),
            };
            KEPT.set(kept);
            wall
        }
        Kept::Not => SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_from_begin_to_end_and_no_longer() {
        begin();
        let (first, wall_first) = (now(), wall());
        while Instant::now() == first {}
        assert_eq!((now(), wall()), (first, wall_first));
        begin();
        assert!(now() > first);
        end();
        let outside = now();
        while Instant::now() == outside {}
        assert!(now() > outside);
    }
}
