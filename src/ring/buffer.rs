//! Owned buffers: what the kernel reads into and writes from while an operation is in flight.
#![allow(unsafe_code)]

use monoio::buf::{IoBuf, IoBufMut};
use std::cell::{Cell, RefCell};

/// A linear buffer: `filled` bytes lie between `start` and `end`, new ones are appended behind `end`.
/// As an `IoBuf` it is the filled part, as an `IoBufMut` the free tail.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// A buffer that holds `capacity` bytes, zeroed once.
    pub fn with_capacity(capacity: usize) -> Self {
        Buffer {
            bytes: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    /// A buffer whose filled part is `bytes`.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Buffer {
            bytes,
            start: 0,
            end,
        }
    }

    /// The vector behind it, emptied, with its capacity.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Free bytes behind the filled part.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.end
    }

    /// Drops the first `count` filled bytes (at most all of them).
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Appends as much of `bytes` as fits, growing up to `capacity_max`; returns how many were taken.
    pub fn append(&mut self, bytes: &[u8], capacity_max: usize) -> usize {
        if self.room() < bytes.len() {
            self.compact();
            let wanted = (self.end + bytes.len()).min(capacity_max);
            if wanted > self.bytes.len() {
                let grown = wanted.max((self.bytes.len() * 2).min(capacity_max));
                self.bytes.resize(grown, 0);
            }
        }
        let count = bytes.len().min(self.room());
        self.bytes[self.end..self.end + count].copy_from_slice(&bytes[..count]);
        self.end += count;
        count
    }

    /// Makes room for at least one more byte, growing up to `capacity_max`. False when it is full at that size.
    pub fn reserve(&mut self, room: usize, capacity_max: usize) -> bool {
        if self.room() >= room {
            return true;
        }
        self.compact();
        if self.room() < room {
            let wanted = (self.end + room)
                .max(self.bytes.len() * 2)
                .min(capacity_max);
            if wanted > self.bytes.len() {
                self.bytes.resize(wanted, 0);
            }
        }
        self.room() > 0
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

// SAFETY: the pointer is into the Vec's heap block, which does not move while the buffer is owned by an operation, and
// `bytes_init` bytes from it are initialised (the Vec is zeroed to its length and start <= end <= length).
unsafe impl IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above; the free tail is `room` bytes of initialised memory owned by the Vec.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes[self.end..].as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    /// monoio calls it once, after an operation, with the count of bytes the kernel wrote.
    unsafe fn set_init(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }
}

/// A core's free buffers of one size; at most `kept_max` wait here, the rest go back to the allocator.
pub struct Pool {
    size: usize,
    kept_max: usize,
    free: RefCell<Vec<Buffer>>,
    /// The fewest that were free at one time since the last `trim`.
    spare: Cell<usize>,
}

impl Pool {
    pub fn new(size: usize, kept_max: usize) -> Self {
        Pool {
            size,
            kept_max,
            free: RefCell::new(Vec::new()),
            spare: Cell::new(0),
        }
    }

    pub fn take(&self) -> Buffer {
        let taken = self.free.borrow_mut().pop();
        self.spare
            .set(self.spare.get().min(self.free.borrow().len()));
        taken.unwrap_or_else(|| Buffer::with_capacity(self.size))
    }

    /// Frees what nobody has needed since the last call: a burst of connections does not keep its memory.
    pub fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let kept = free.len() - self.spare.get().min(free.len());
        free.truncate(kept);
        free.shrink_to(kept);
        self.spare.set(kept);
    }

    /// Takes a buffer back. One that has grown or shrunk since is dropped.
    pub fn put(&self, mut buffer: Buffer) {
        buffer.clear();
        let mut free = self.free.borrow_mut();
        if buffer.capacity() == self.size && free.len() < self.kept_max {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_compacts_then_grows_up_to_the_bound() {
        let mut buffer = Buffer::with_capacity(4);
        assert_eq!(buffer.append(b"abcd", 8), 4);
        buffer.consume(3);
        assert_eq!(buffer.append(b"efgh", 8), 4);
        assert_eq!(buffer.filled(), b"defgh");
        assert_eq!(buffer.append(b"0123456789", 8), 3);
        assert_eq!(buffer.filled(), b"defgh012");
        assert!(!buffer.reserve(1, 8));
    }

    #[test]
    fn the_kernel_writes_behind_what_is_filled() {
        let mut buffer = Buffer::with_capacity(8);
        buffer.append(b"ab", 8);
        assert_eq!(buffer.bytes_total(), 6);
        // SAFETY: six bytes are there, zeroed.
        unsafe { buffer.set_init(2) };
        assert_eq!(buffer.filled(), b"ab\0\0");
        assert_eq!(buffer.bytes_init(), 4);
    }

    #[test]
    fn a_pool_trims_what_was_never_needed() {
        let pool = Pool::new(16, 8);
        let burst: Vec<_> = (0..4).map(|_| pool.take()).collect();
        burst.into_iter().for_each(|buffer| pool.put(buffer));
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 4);
        // One of four is in use from here on.
        let used = pool.take();
        pool.put(used);
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 1);
        pool.trim();
        assert!(pool.free.borrow().is_empty());
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_bound() {
        let pool = Pool::new(16, 1);
        let (a, b) = (pool.take(), pool.take());
        pool.put(a);
        pool.put(b);
        assert_eq!(pool.free.borrow().len(), 1);
        pool.put(Buffer::with_capacity(8));
        assert_eq!(pool.take().capacity(), 16);
    }
}
