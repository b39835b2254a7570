//! A disk in memory that keeps a log of what is done to it, loses power, runs full, fails and hangs.

use super::random::Random;
use redb::{BackendError, StorageBackend};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

const SECTOR: usize = 512;
const PAGE: u64 = 4096;
const ENOSPC: i32 = 28;

#[derive(Clone, Debug)]
pub enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Default, Debug)]
pub struct State {
    pub bytes: Vec<u8>,
    pub log: Vec<Op>,
    /// Pages that hold something.
    used: BTreeSet<u64>,
    /// A write to a further page finds no space.
    pub pages_max: Option<usize>,
    /// Syncs that fail after all was written.
    pub syncs_fail: usize,
    /// A sync waits.
    pub hangs: bool,
    /// A sync is waiting.
    pub hanging: bool,
}

#[derive(Clone, Default, Debug)]
pub struct Disk(Arc<(Mutex<State>, Condvar)>);

impl Disk {
    pub fn of(bytes: Vec<u8>) -> Disk {
        let disk = Disk::default();
        disk.with(|state| state.bytes = bytes);
        disk
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let outcome = work(&mut self.lock());
        self.0.1.notify_all();
        outcome
    }

    /// Waits until a sync hangs.
    pub fn wait_until_it_hangs(&self) {
        let mut state = self.lock();
        while !state.hanging {
            state = self.0.1.wait(state).expect("no panic under the lock");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no panic under the lock")
    }
}

impl State {
    pub fn pages_used(&self) -> usize {
        self.used.len()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.lock();
        let from = offset as usize;
        match state.bytes.get(from..from + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.lock();
        state.log.push(Op::SetLen(len));
        state.used.retain(|page| page * PAGE < len);
        state.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.lock();
        while state.hangs {
            state.hanging = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).expect("no panic under the lock");
        }
        state.hanging = false;
        if state.syncs_fail > 0 {
            state.syncs_fail -= 1;
            return Err(io::Error::other("the sync fails"));
        }
        state.log.push(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.lock();
        let pages = offset / PAGE..=(offset + data.len() as u64 - 1) / PAGE;
        for page in pages {
            let full = state.pages_max.is_some_and(|most| state.used.len() >= most);
            if full && !state.used.contains(&page) {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            state.used.insert(page);
        }
        state.log.push(Op::Write(offset, data.to_vec()));
        put(&mut state.bytes, offset, data);
        Ok(())
    }

    fn try_lock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<(), BackendError> {
        Ok(())
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let from = offset as usize;
    if bytes.len() < from + data.len() {
        bytes.resize(from + data.len(), 0);
    }
    bytes[from..from + data.len()].copy_from_slice(data);
}

/// What has become of writes that were not synced when the power went.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    Kept,
    Lost,
    /// Some are lost, some half written, in any order.
    Any,
}

/// The bytes after a power cut behind the first `cut` operations of `log` on a disk that held `base`.
pub fn after_power_cut(
    base: &[u8],
    log: &[Op],
    cut: usize,
    unsynced: Unsynced,
    random: &mut Random,
) -> Vec<u8> {
    let log = &log[..cut];
    let synced = log.iter().rposition(|op| matches!(op, Op::Sync));
    let (safe, tail) = log.split_at(synced.map_or(0, |at| at + 1));
    let mut bytes = base.to_vec();
    for op in safe {
        redo(&mut bytes, op);
    }
    match unsynced {
        Unsynced::Kept => tail.iter().for_each(|op| redo(&mut bytes, op)),
        Unsynced::Lost => {}
        Unsynced::Any => {
            let mut tail: Vec<&Op> = tail.iter().filter(|_| random.one_in(2)).collect();
            for at in (1..tail.len()).rev() {
                tail.swap(at, random.below(at + 1));
            }
            for op in tail {
                match op {
                    Op::Write(offset, data) if random.one_in(3) => {
                        for (number, sector) in data.chunks(SECTOR).enumerate() {
                            if random.one_in(2) {
                                put(&mut bytes, offset + (number * SECTOR) as u64, sector);
                            }
                        }
                    }
                    op => redo(&mut bytes, op),
                }
            }
        }
    }
    bytes
}

fn redo(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => put(bytes, *offset, data),
        Op::SetLen(len) => bytes.resize(*len as usize, 0),
        Op::Sync => {}
    }
}
