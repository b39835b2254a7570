//! One monoio runtime on the calling thread: io_uring with the best flags this kernel takes, or epoll.

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::future::Future;
use std::io;

/// What the operator asked for (directive `engine`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// io_uring where it is allowed; a refusal is an error that names the remedy.
    #[default]
    IoUring,
    Epoll,
}

/// What runs: shown in the log and as a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    IoUring { flags: &'static str },
    Epoll,
}

impl Driver {
    /// epoll wants non-blocking sockets, io_uring blocking ones (RUNTIME.md §14.18).
    pub fn nonblocking(self) -> bool {
        self == Driver::Epoll
    }
}

/// Entries of the submission queue; the completion queue holds four times as many (RUNTIME.md §14.17).
const ENTRIES: u32 = 4096;

/// Runs `main` on this thread until it ends. SINGLE_ISSUER binds the ring to the thread that builds it, so it is built
/// here. The flags fall back DEFER_TASKRUN → COOP_TASKRUN → none on a kernel that refuses them.
///
/// # Errors
/// The ring cannot be made (`io_uring_setup` refused: sysctl, seccomp profile, memlock limit).
pub fn run<F: Future>(engine: Engine, main: impl FnOnce(Driver) -> F) -> io::Result<F::Output> {
    if engine == Engine::Epoll {
        let mut runtime = RuntimeBuilder::<LegacyDriver>::new()
            .with_entries(ENTRIES)
            .enable_timer()
            .build()?;
        return Ok(runtime.block_on(main(Driver::Epoll)));
    }
    let mut refused = None;
    for flags in [
        "single_issuer,defer_taskrun,submit_all",
        "coop_taskrun",
        "none",
    ] {
        let mut builder = io_uring::IoUring::builder();
        builder.setup_cqsize(ENTRIES * 4);
        match flags {
            "single_issuer,defer_taskrun,submit_all" => {
                builder
                    .setup_single_issuer()
                    .setup_defer_taskrun()
                    .setup_submit_all();
            }
            "coop_taskrun" => {
                builder.setup_coop_taskrun();
            }
            _ => {}
        }
        let runtime = RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(builder)
            .with_entries(ENTRIES)
            .enable_timer()
            .build();
        match runtime {
            Ok(mut runtime) => return Ok(runtime.block_on(main(Driver::IoUring { flags }))),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("io_uring could not be set up")))
}
