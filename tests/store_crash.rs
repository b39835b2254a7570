//! A process that writes at full speed is killed with SIGKILL at random moments (issue 4): every acknowledged write is
//! there, none in part, and the file opens each time.
//!
//! The writer is this program once more, told by an environment variable to be it.

use sallyport::entity::{Entity, Kind};
use sallyport::store::embedded::{self, Embedded};
use sallyport::store::{CommitError, Image, Plan, Store};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const STORE: &str = "STORE_CRASH_TEST_PATH";
/// They commit at the same time, so that groups form.
const WRITERS: u64 = 8;
/// Each batch makes a pair and deletes the one made this many batches before.
const PAIRS: u64 = 3;

#[test]
fn ten_kills_lose_nothing() {
    kills(10, 1);
}

#[test]
#[ignore = "200 rounds: tests/run --long"]
fn two_hundred_kills_lose_nothing() {
    kills(200, 2);
}

fn kills(rounds: u64, seed: u64) {
    let folder = Folder::new();
    let path = folder.0.join("store.redb");
    let mut random = seed;
    let mut done: BTreeMap<u64, u64> = BTreeMap::new();
    let mut acknowledged = 0;
    for round in 0..rounds {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Some die while they open the file.
        let until = Duration::from_millis((random >> 33) % 250);
        for (writer, number) in killed_after(&path, until) {
            acknowledged += 1;
            done.insert(writer, number);
        }
        let (store, loaded) =
            embedded::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        for writer in 0..WRITERS {
            let promised = done.get(&writer).copied().unwrap_or(0);
            let found = last(&loaded.image, writer);
            // The batch under way may have been written before its answer was.
            assert!(
                found == promised || found == promised + 1,
                "round {round}, writer {writer}: {found} is there, {promised} was acknowledged"
            );
            done.insert(writer, found);
        }
        assert_eq!(
            loaded.image.row_count() as u64,
            (0..WRITERS)
                .map(|writer| 2 * PAIRS.min(done[&writer]))
                .sum::<u64>(),
            "round {round}: the batches are whole"
        );
        assert!(store.close());
    }
    assert!(
        acknowledged > rounds,
        "{acknowledged} writes in {rounds} rounds"
    );
    println!("{acknowledged} acknowledged writes, {rounds} kills");
}

/// Starts the writer, kills it after a while, and gives back what it said was written.
fn killed_after(path: &Path, while_: Duration) -> Vec<(u64, u64)> {
    let own = std::env::current_exe().expect("this program");
    let mut child = Command::new(own)
        .args(["--exact", "the_writer", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the writer starts");
    let output = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        let lines = lines.filter_map(|line| String::from_utf8(line).ok());
        lines.filter_map(|line| acknowledgement(&line)).collect()
    });
    std::thread::sleep(while_);
    child.kill().expect("a child to kill");
    let status = child.wait().expect("a child");
    assert!(!status.success(), "the writer never ends by itself");
    reader.join().expect("the reader")
}

fn acknowledgement(line: &str) -> Option<(u64, u64)> {
    // A line that was cut by the kill has no end mark.
    let mut words = line.strip_prefix("ack ")?.strip_suffix(" .")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Not a test: what `killed_after` starts.
#[test]
fn the_writer() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let (store, _) = embedded::open(Path::new(&path)).expect("the store opens");
    let threads: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || write_for_ever(&store, writer))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a writer does not end");
    }
}

fn write_for_ever(store: &Embedded, writer: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut number = last(&store.image(), writer);
    loop {
        number += 1;
        let mut plan = Plan::new(store.image());
        for half in 0..2 {
            let row = row(writer, number, half);
            plan.insert(Kind::Consumers, row).expect("a free name");
            if number > PAIRS {
                let old = id(writer, number - PAIRS, half);
                assert_eq!(plan.delete(Kind::Consumers, old), Ok(true));
            }
        }
        match runtime.block_on(store.commit(plan.into_batch())) {
            Ok(_) => {}
            Err(CommitError::Conflict) => panic!("writers have nothing in common"),
            Err(error) => panic!("{error}"),
        }
        let mut output = std::io::stdout().lock();
        let line = format!("\nack {writer} {number} .\n");
        output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush())
            .expect("a reader");
    }
}

/// The newest pair of a writer; panics when a pair is not whole.
fn last(image: &Image, writer: u64) -> u64 {
    let mut last = 0;
    for (id, row) in image.config.table(Kind::Consumers) {
        let (of, number, half) = parts(*id);
        if of == writer {
            last = last.max(number);
            let other = self::id(writer, number, 1 - half);
            assert!(image.get(Kind::Consumers, other).is_some(), "{id} is alone");
            assert_eq!(**row, self::row(writer, number, half));
        }
    }
    for number in (1..=last).rev().take(PAIRS as usize) {
        let there = image.get(Kind::Consumers, id(writer, number, 0));
        assert!(
            there.is_some(),
            "pair {number} of writer {writer} is missing"
        );
    }
    last
}

fn id(writer: u64, number: u64, half: u64) -> Uuid {
    Uuid::from_u64_pair(writer, 2 * number + half)
}

fn parts(id: Uuid) -> (u64, u64, u64) {
    let (writer, rest) = id.as_u64_pair();
    (writer, rest / 2, rest % 2)
}

fn row(writer: u64, number: u64, half: u64) -> Entity {
    let mut row = Map::new();
    row.insert("id".into(), json!(id(writer, number, half)));
    row.insert(
        "username".into(),
        json!(format!("{writer}-{number}-{half}")),
    );
    row.insert("tags".into(), json!(["x".repeat((number % 3000) as usize)]));
    row
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("sallyport-crash-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Issue 4: a small tmpfs. What the store does with a full disk is tested on a disk in memory too; this is the kernel's
/// word for it.
#[test]
fn a_full_file_system_refuses_writes_and_loses_nothing() {
    let folder = Folder::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&folder.0)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let _mount = Mount(folder.0.clone());
    let path = folder.0.join("store.redb");
    let (store, _) = embedded::open(&path).expect("4 MB are enough to begin with");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let write = |number: u64| {
        let mut plan = Plan::new(store.image());
        let mut row = row(0, number, 0);
        row.insert(
            "custom_id".into(),
            json!(format!("{number}{}", "x".repeat(60_000))),
        );
        plan.insert(Kind::Consumers, row).expect("a free name");
        runtime.block_on(store.commit(plan.into_batch()))
    };
    assert_eq!(write(1), Ok(1));
    let filler = folder.0.join("filler");
    let mut written = 1;
    // Something else fills it up.
    let filled = std::fs::write(&filler, vec![1; 8 << 20]);
    assert!(filled.is_err(), "4 MB hold 8 MB");
    let mut refused = 0;
    for number in 2..100 {
        match write(number) {
            Ok(_) => written += 1,
            Err(CommitError::Storage(reason)) => {
                assert!(reason.to_lowercase().contains("space"), "{reason}");
                refused += 1;
                assert_eq!(store.image().row_count(), written);
            }
            Err(error) => panic!("{error}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "it is full after {written}");
    std::fs::remove_file(&filler).expect("the filler");
    assert!(write(1000).is_ok());
    let config = store.image().config.clone();
    assert!(store.close());
    let (store, loaded) = embedded::open(&path).expect("it opens again");
    assert!(loaded.image.config == config);
    assert_eq!(loaded.image.row_count(), written + 1);
    assert!(store.close());
}

struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
