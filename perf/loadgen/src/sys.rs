//! The kernel's side: epoll (the one place for `unsafe`), non-blocking connect, and CPU time from /proc.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Events taken from the kernel in one call.
const EVENTS_MAX: usize = 256;

/// What happened on a socket since the last look.
#[derive(Clone, Copy)]
pub struct Event {
    pub slot: usize,
    /// The peer has closed its side or the connection is broken: read until the end, no further edge comes.
    pub hangup: bool,
}

/// An edge-triggered epoll instance; sockets leave it when they are closed.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointer is passed; the result is checked before use.
        #[allow(unsafe_code)]
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned by the kernel and is owned by nobody else.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
        })
    }

    /// Watches `socket` for both directions; events carry `slot`.
    pub fn add(&self, socket: &TcpStream, slot: usize) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: slot as u64,
        };
        // SAFETY: both descriptors are open for the length of the call; `event` is a valid epoll_event that the
        // kernel only reads.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &mut event,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits at most `timeout` and appends what happened to `out`. The timeout has nanoseconds (epoll_pwait2, Linux
    /// 5.11): with milliseconds paced operations would leave in bursts.
    pub fn wait(&mut self, timeout: Duration, out: &mut Vec<Event>) -> io::Result<()> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        // SAFETY: `events` is a live buffer of EVENTS_MAX initialised elements and the kernel writes at most that
        // many; `timeout` outlives the call; a null signal mask is allowed and makes its size meaningless.
        #[allow(unsafe_code)]
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                &timeout as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            };
        }
        let ended = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        out.extend(self.events.iter().take(count as usize).map(|event| Event {
            slot: event.u64 as usize,
            hangup: event.events & ended != 0,
        }));
        Ok(())
    }
}

/// Starts a connection and returns before it is established.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// Asks for timers without the default slack of 50 µs; a kernel that refuses leaves them as they were.
pub fn precise_timers() {
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// CPU time in ns that the live threads of `pid` have had so far, system calls included.
pub fn cpu_of_process(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        total += first.unwrap_or(0);
    }
    Ok(total)
}

/// Busy time in µs of one core so far, whoever used it, in steps of 10 ms (a clock tick).
pub fn busy_of_core(core: usize) -> io::Result<u64> {
    let name = format!("cpu{core} ");
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find(|line| line.starts_with(&name));
    let fields: Vec<u64> = line
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no core {core}")))?
        .split_whitespace()
        .skip(1)
        .map(|n| n.parse().unwrap_or(0))
        .collect();
    // user nice system idle iowait irq softirq steal
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&i| fields.get(i)).sum();
    Ok(ticks * 10_000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// More than one call takes.
    const COUNT: usize = EVENTS_MAX + 10;

    /// Not the index: what comes back is what was given.
    fn slot(index: usize) -> usize {
        usize::MAX - index
    }

    /// Connections that `epoll` watches, and their peers, all of it established.
    fn connections(epoll: &Epoll, count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (0..count)
            .map(|index| {
                let socket = connect(address).unwrap();
                let (peer, _) = listener.accept().unwrap();
                epoll.add(&socket, slot(index)).unwrap();
                (socket, peer)
            })
            .unzip()
    }

    /// Waits until each connection has had an event.
    fn one_each(epoll: &mut Epoll, hangup: bool) {
        let mut missing: BTreeSet<usize> = (0..COUNT).map(slot).collect();
        let mut events = Vec::new();
        while !missing.is_empty() {
            events.clear();
            epoll.wait(Duration::from_secs(10), &mut events).unwrap();
            assert!((1..=EVENTS_MAX).contains(&events.len()), "{missing:?}");
            for event in &events {
                missing.remove(&event.slot);
                assert_eq!(event.hangup, hangup);
            }
        }
    }

    fn nothing_happens(epoll: &mut Epoll) {
        let mut events = Vec::new();
        epoll.wait(Duration::ZERO, &mut events).unwrap();
        assert!(events.is_empty(), "{} events", events.len());
    }

    #[test]
    fn more_events_than_one_call_takes_reach_their_slots() {
        let mut epoll = Epoll::new().unwrap();
        nothing_happens(&mut epoll);
        let (mut sockets, mut peers) = connections(&epoll, COUNT);

        one_each(&mut epoll, false);
        // An edge is told once.
        nothing_happens(&mut epoll);

        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        one_each(&mut epoll, false);
        for socket in &mut sockets {
            assert_eq!(socket.read(&mut [0; 2]).unwrap(), 1);
        }

        drop(peers);
        one_each(&mut epoll, true);
        for socket in &mut sockets {
            assert_eq!(socket.read(&mut [0; 2]).unwrap(), 0);
        }
    }

    #[test]
    fn a_closed_socket_is_watched_no_more() {
        let mut epoll = Epoll::new().unwrap();
        let (sockets, peers) = connections(&epoll, 3);
        drop(sockets);
        drop(peers);
        nothing_happens(&mut epoll);
    }

    #[test]
    fn a_socket_is_added_once() {
        let epoll = Epoll::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = connect(listener.local_addr().unwrap()).unwrap();
        epoll.add(&socket, 1).unwrap();
        let error = epoll.add(&socket, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
