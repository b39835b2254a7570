//! System calls no crate of ours offers safely.
#![allow(unsafe_code)]

use std::io;

/// kill(2) for one process; `signal` 0 only asks whether it exists and may be signalled.
///
/// Refuses numbers below 1, which kill(2) takes for groups of processes or for all of them.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid < 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a process id is above 0",
        ));
    }
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the calling thread, and threads it starts from here on, these CPUs; false where the system refuses.
pub fn stay_on(cpus: &[usize]) -> bool {
    const KNOWN: usize = libc::CPU_SETSIZE as usize;
    // SAFETY: a cpu_set_t is bits, all of which may be zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().copied().filter(|cpu| *cpu < KNOWN) {
        // SAFETY: the bit lies within the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the kernel reads a set of the size given; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) == 0 }
}

/// What a quiet connection holds, without taking it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// Nothing to read: the connection is open and idle.
    Quiet,
    Closed,
    /// Bytes are waiting.
    Data,
}

/// Looks at a socket without waiting and without taking a byte (MSG_PEEK | MSG_DONTWAIT).
pub fn peek(fd: i32) -> Peek {
    let mut byte = [0u8; 1];
    // SAFETY: one byte is written at most, into a buffer of one byte; the descriptor is the caller's open socket.
    let count = unsafe {
        libc::recv(
            fd,
            byte.as_mut_ptr().cast(),
            1,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    };
    match count {
        0 => Peek::Closed,
        count if count > 0 => Peek::Data,
        _ => match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Peek::Quiet,
            _ => Peek::Closed,
        },
    }
}

/// Whether the peer has ended its side or the connection is broken, whatever is still unread before that end (POLLRDHUP).
/// Takes no byte and does not wait.
pub fn peer_closed(fd: i32) -> bool {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one pollfd, which the kernel reads and writes; a timeout of 0 returns at once.
    let count = unsafe { libc::poll(&mut asked, 1, 0) };
    let over = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
    count > 0 && asked.revents & over != 0
}

/// Reads what is there without waiting.
pub fn read_now(fd: i32, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: at most `into.len()` bytes are written into `into`.
    let count = unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// TCP_DEFER_ACCEPT: the listener hands a connection over when its first bytes have come, or after `seconds`.
pub fn defer_accept(socket: &impl std::os::fd::AsRawFd, seconds: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one int of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Forbids core dumps and ptrace by others: private keys live in this memory.
pub fn undumpable() {
    // SAFETY: prctl with integer arguments.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Raises the soft limit on open files to the hard one; returns the limit in force.
pub fn raise_nofile() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills, then reads, one rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max
        {
            let raised = libc::rlimit {
                rlim_cur: limit.rlim_max,
                rlim_max: limit.rlim_max,
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
                limit = raised;
            }
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_those_it_starts_stay_on_its_cpus() {
        let allowed = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc(5)");
            let list = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            list.expect("proc(5) has it").trim().to_owned()
        };
        let thread = std::thread::spawn(move || {
            let list = allowed();
            let first = list.split(['-', ',']).next();
            let first: usize = first.and_then(|cpu| cpu.parse().ok()).expect("a CPU");
            assert!(stay_on(&[first]));
            let started = std::thread::spawn(allowed).join().expect("it ends");
            assert_eq!([allowed(), started], [first.to_string(), first.to_string()]);
            assert!(!stay_on(&[]), "a thread needs one");
        });
        thread.join().expect("it ends");
    }

    #[test]
    fn own_process_can_be_asked_for_and_groups_cannot() {
        assert!(kill(std::process::id() as i32, 0).is_ok());
        for pid in [0, -1, i32::MIN] {
            assert_eq!(
                kill(pid, 0).map_err(|e| e.kind()),
                Err(io::ErrorKind::InvalidInput),
                "{pid}"
            );
        }
    }

    #[test]
    fn peek_tells_quiet_data_and_closed_apart() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(peek(near.as_raw_fd()), Peek::Quiet);
        far.write_all(b"x").unwrap();
        assert_eq!(peek(near.as_raw_fd()), Peek::Data);
        let mut byte = [0; 4];
        assert_eq!(read_now(near.as_raw_fd(), &mut byte).unwrap(), 1);
        drop(far);
        assert_eq!(peek(near.as_raw_fd()), Peek::Closed);
    }

    #[test]
    fn peek_takes_no_byte_and_a_closed_descriptor_is_closed() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.write_all(b"abc").unwrap();
        assert_eq!(peek(near.as_raw_fd()), Peek::Data);
        let mut bytes = [0; 2];
        assert_eq!(read_now(near.as_raw_fd(), &mut bytes).unwrap(), 2);
        assert_eq!(&bytes, b"ab");
        assert_eq!(read_now(near.as_raw_fd(), &mut []).unwrap(), 0);
        assert_eq!(read_now(near.as_raw_fd(), &mut bytes).unwrap(), 1);
        assert_eq!(&bytes, b"cb");
        let waiting = read_now(near.as_raw_fd(), &mut bytes).map_err(|error| error.kind());
        assert_eq!(waiting, Err(io::ErrorKind::WouldBlock));
        assert_eq!(peek(-1), Peek::Closed);
        assert!(read_now(-1, &mut bytes).is_err());
    }

    #[test]
    fn a_peer_that_ended_is_seen_behind_what_it_said() {
        use std::io::Write;
        use std::net::{Shutdown, TcpListener, TcpStream};
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        let fd = near.as_raw_fd();
        assert!(!peer_closed(fd), "open and quiet");
        peer.write_all(b"said").unwrap();
        while peek(fd) == Peek::Quiet {}
        assert!(!peer_closed(fd), "unread bytes are no end");
        peer.shutdown(Shutdown::Write).unwrap();
        while !peer_closed(fd) {}
        let mut said = [0; 8];
        assert_eq!(read_now(fd, &mut said).unwrap(), 4, "nothing was taken");
    }

    #[test]
    fn defer_accept_is_for_tcp() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(defer_accept(&listener, 1).is_ok());
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(defer_accept(&near, 1).is_err());
    }

    #[test]
    fn the_limit_on_files_is_raised_to_the_hard_one_and_stays() {
        let first = raise_nofile();
        assert!(first > 0);
        assert_eq!(raise_nofile(), first);
    }

    #[test]
    fn an_undumpable_process_says_so() {
        undumpable();
        // SAFETY: prctl with integer arguments. Set back: a sanitizer that looks for leaks has to attach.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
        }
    }
}
