use super::*;
use crate::telemetry::access::write_error_head;
use std::path::Path;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("logs-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).expect("created");
        Folder(path)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn targets(&self) -> LogTargets {
        let mut targets = LogTargets::off();
        targets.set(Sink::Access, Target::File(self.0.join("new/access.log")));
        targets.set(Sink::Error, Target::File(self.0.join("error.log")));
        targets
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

#[test]
fn lines_of_cores_and_of_the_control_side_arrive_whole_and_in_order() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let mut cores = [logs.core_log(), logs.core_log()];
    let count = 5_000;
    for i in 0..count {
        for (index, core) in cores.iter_mut().enumerate() {
            core.line(Sink::Access, |line| {
                line.extend_from_slice(format!("{index} {i} {}", "x".repeat(60)).as_bytes());
            });
        }
    }
    cores[0].error(0, Level::Error, |line| line.extend_from_slice(b"of a core"));
    let handle = logs.handle();
    handle.error(Level::Warn, format_args!("of {}\nnot a line", "control"));
    handle.error_to(Sink::AdminError, Level::Crit, "goes nowhere");
    let dropped: u64 = cores
        .iter_mut()
        .map(|core| {
            core.flush();
            core.take_dropped()
        })
        .sum();
    assert_eq!(dropped, 0);
    assert!(logs.close());
    let access = folder.read("new/access.log");
    for index in 0..2 {
        let prefix = format!("{index} ");
        let numbers: Vec<usize> = access
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(numbers.len(), count);
        assert!(numbers.is_sorted());
    }
    let errors = folder.read("error.log");
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.contains("1970-01-01T00:00:00.000Z [error] of a core\n"));
    assert!(errors.contains("[warn] of control\\nnot a line\n"));
}

#[test]
fn error_lines_of_two_cores_stand_in_the_order_they_were_written_in() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let mut cores = [logs.core_log(), logs.core_log()];
    let turns = [0, 1, 1, 0, 1, 0, 0, 1];
    for (number, core) in turns.into_iter().enumerate() {
        cores[core].error(0, Level::Error, |line| {
            line.extend_from_slice(format!("#{number}").as_bytes());
        });
    }
    // Ticks come in any order.
    cores[1].flush();
    cores[0].flush();
    assert!(logs.close());
    let errors = folder.read("error.log");
    let numbers: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.split('#').nth(1))
        .collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn an_idle_thread_writes_what_was_flushed_without_being_closed() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let mut core = logs.core_log();
    core.line(Sink::Access, |line| line.push(b'a'));
    core.flush();
    let mut polls = 0;
    while folder.read("new/access.log") != "a\n" {
        std::thread::sleep(Duration::from_millis(10));
        polls += 1;
        assert!(polls < 500, "nothing was written");
    }
}

#[test]
fn after_a_rotation_the_old_file_has_what_came_before_and_the_new_one_the_rest() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let handle = logs.handle();
    handle.line(Sink::Error, |line| line.extend_from_slice(b"before"));
    let mut polls = 0;
    while folder.read("error.log").is_empty() {
        std::thread::sleep(Duration::from_millis(10));
        polls += 1;
        assert!(polls < 500, "nothing was written");
    }
    std::fs::rename(folder.0.join("error.log"), folder.0.join("error.log.1")).expect("renamed");
    handle.line(Sink::Error, |line| line.extend_from_slice(b"queued"));
    logs.reopen();
    let mut polls = 0;
    while !folder.0.join("error.log").exists() {
        std::thread::sleep(Duration::from_millis(10));
        polls += 1;
        assert!(polls < 500, "not reopened");
    }
    handle.line(Sink::Error, |line| line.extend_from_slice(b"after"));
    assert!(logs.close());
    assert_eq!(folder.read("error.log.1"), "before\nqueued\n");
    assert_eq!(folder.read("error.log"), "after\n");
}

#[test]
fn a_level_below_log_level_is_not_written_and_the_level_can_change() {
    let folder = Folder::new();
    let mut targets = folder.targets();
    targets.level = Level::Error;
    let logs = Logs::open(&targets).expect("opened");
    let handle = logs.handle();
    let mut core = logs.core_log();
    handle.error(Level::Warn, "no");
    core.error(0, Level::Warn, |_| unreachable!("not asked for"));
    logs.set_level(Level::Debug);
    handle.error(Level::Debug, "yes");
    assert!(logs.close());
    let errors = folder.read("error.log");
    assert!(errors.ends_with("[debug] yes\n") && errors.lines().count() == 1);
}

#[test]
fn a_sink_that_is_off_is_not_even_formatted() {
    let logs = Logs::open(&LogTargets::off()).expect("opened");
    let mut core = logs.core_log();
    core.line(Sink::Access, |_| unreachable!("off"));
    logs.handle().line(Sink::Access, |_| unreachable!("off"));
    assert!(logs.close());
}

#[test]
fn what_exceeds_the_queue_is_dropped_and_counted_and_nobody_waits() {
    let (chunks, queue) = bounded(2);
    let (_recycled, spare) = bounded(1);
    let shared = Arc::new(Shared {
        enabled: [true; SINKS],
        level: AtomicU8::new(0),
        chunks,
        spare,
        reopen: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        dropped_lines: AtomicU64::new(0),
        write_errors: AtomicU64::new(0),
    });
    let mut core = CoreLog {
        shared: Arc::clone(&shared),
        buffers: Default::default(),
        dropped_lines: 0,
    };
    // Nobody reads the queue: two chunks fit, whatever comes later is lost.
    for _ in 0..4 {
        for _ in 0..3 {
            core.line(Sink::Access, |line| line.push(b'a'));
        }
        core.flush();
    }
    assert_eq!(core.take_dropped(), 6);
    assert_eq!(core.take_dropped(), 0);
    let handle = LogHandle {
        shared: Arc::clone(&shared),
        thread: None,
    };
    handle.error(Level::Error, "lost");
    assert_eq!(shared.dropped_lines.load(Ordering::Relaxed), 1);
    let kept: u64 = queue.try_iter().map(|chunk| chunk.lines).sum();
    assert_eq!(kept, 6);
}

#[test]
fn a_full_buffer_is_handed_over_without_a_flush() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let mut core = logs.core_log();
    let line = vec![b'a'; LOG_CHUNK_SIZE];
    core.line(Sink::Access, |out| out.extend_from_slice(&line));
    assert_eq!(core.buffers[Sink::Access as usize].whole, 0);
    assert!(logs.close());
    assert_eq!(folder.read("new/access.log").len(), LOG_CHUNK_SIZE + 1);
}

#[test]
fn a_line_whose_writer_panicked_leaves_nothing() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    let mut core = logs.core_log();
    core.line(Sink::Access, |line| line.push(b'1'));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        core.line(Sink::Access, |line| {
            line.extend_from_slice(b"half");
            std::panic::resume_unwind(Box::new(()));
        });
    }));
    assert!(panicked.is_err());
    core.line(Sink::Access, |line| line.push(b'2'));
    core.flush();
    assert!(logs.close());
    assert_eq!(folder.read("new/access.log"), "1\n2\n");
}

#[test]
fn a_full_disk_is_counted_and_the_thread_goes_on() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let folder = Folder::new();
    let mut targets = folder.targets();
    targets.set(Sink::Access, Target::File(full.to_owned()));
    let logs = Logs::open(&targets).expect("opened");
    let handle = logs.handle();
    handle.line(Sink::Access, |line| line.push(b'x'));
    handle.line(Sink::Error, |line| line.push(b'y'));
    let shared = Arc::clone(&logs.shared);
    assert!(logs.close());
    assert_eq!(shared.write_errors.load(Ordering::Relaxed), 1);
    assert_eq!(shared.dropped_lines.load(Ordering::Relaxed), 1);
    assert_eq!(folder.read("error.log"), "y\n");
}

#[test]
fn a_log_that_cannot_be_opened_is_named_by_its_directive() {
    let folder = Folder::new();
    let mut targets = folder.targets();
    targets.set(Sink::AdminAccess, Target::File(folder.0.clone()));
    let error = Logs::open(&targets).err().expect("a folder is no log");
    let text = error.to_string();
    let expected = format!("admin_access_log: {}: ", folder.0.display());
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_long_error_text_is_cut() {
    let mut line = Vec::new();
    error_line(&mut line, 0, Level::Error, "é".repeat(LOG_TEXT_SIZE_MAX));
    let mut shortest = Vec::new();
    write_error_head(&mut shortest, 0, Level::Error);
    assert_eq!(line.len(), shortest.len() + LOG_TEXT_SIZE_MAX);
}

/// The only test that touches the process's own log.
#[test]
fn the_installed_log_gets_the_errors_until_it_is_closed() {
    let folder = Folder::new();
    let logs = Logs::open(&folder.targets()).expect("opened");
    logs.install();
    error(Level::Crit, "installed");
    assert!(logs.close());
    assert!(folder.read("error.log").ends_with("[crit] installed\n"));
    let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    assert!(installed.is_none());
}
