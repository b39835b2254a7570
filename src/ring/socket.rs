//! Stream sockets of one core, and the listeners they come from.
#![allow(unsafe_code)]

use super::{Buffer, Elapsed, before};
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelHandle, CancelableAsyncReadRent, Canceller};
use monoio::net::{TcpListener, TcpStream};
use monoio::time::Instant;
use std::cell::{RefCell, UnsafeCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::Poll;

/// How a read ended. The buffer comes back with it in every case but `TimedOut` of `read`.
#[derive(Debug)]
pub enum ReadEnd {
    /// So many bytes were appended.
    Data(usize),
    /// The peer closed its side.
    Eof,
    TimedOut,
    /// The wait was ended by the caller's signal; no byte was lost.
    Cancelled,
    Failed(io::Error),
}

/// A connected stream. One read and one write may be in flight at the same time.
pub struct Socket {
    stream: UnsafeCell<TcpStream>,
    /// For the one read in flight; kept, since a new one allocates twice.
    canceller: RefCell<Canceller>,
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Socket {
            stream: UnsafeCell::new(stream),
            canceller: RefCell::default(),
        }
    }

    /// Connects; the future may be dropped: the descriptor belongs to the operation's data and goes with it.
    pub async fn connect(
        address: SocketAddr,
        deadline: Option<Instant>,
    ) -> Result<Socket, ReadEnd> {
        match before(deadline, TcpStream::connect_addr(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(Socket::new(stream))
            }
            Ok(Err(error)) => Err(ReadEnd::Failed(error)),
            Err(Elapsed) => Err(ReadEnd::TimedOut),
        }
    }

    fn stream(&self) -> &TcpStream {
        // SAFETY: see `stream_mut`; a shared look at the descriptor.
        unsafe { &*self.stream.get() }
    }

    #[allow(clippy::mut_from_ref)]
    fn stream_mut(&self) -> &mut TcpStream {
        // SAFETY: monoio marks TcpStream as `Split`: its read and write methods only clone the descriptor and are
        // independent of each other; the reference does not outlive the call that makes an operation, and a Socket never
        // leaves its thread (UnsafeCell makes it !Sync, SharedFd's Rc makes it !Send).
        unsafe { &mut *self.stream.get() }
    }

    pub fn raw_fd(&self) -> i32 {
        self.stream().as_raw_fd()
    }

    /// Appends what arrives to `buffer`. On `TimedOut` the operation and its buffer are dropped and bytes may be lost: the
    /// connection must be closed then.
    pub async fn read(&self, buffer: Buffer, deadline: Option<Instant>) -> (ReadEnd, Buffer) {
        // Pinned here, as below: what is passed on by value is copied whole.
        match before(deadline, pin!(self.stream_mut().read(buffer))).await {
            Ok((result, buffer)) => (read_end(result), buffer),
            Err(Elapsed) => (ReadEnd::TimedOut, Buffer::default()),
        }
    }

    /// Like `read`, but ends without losing a byte when `deadline` passes or `interrupt` resolves: the operation is
    /// cancelled in the kernel and awaited, so it either gives its data or proves that it took none.
    pub async fn read_or(
        &self,
        buffer: Buffer,
        deadline: Option<Instant>,
        interrupt: impl Future<Output = ()>,
    ) -> (ReadEnd, Buffer) {
        let handle: CancelHandle = self.canceller.borrow().handle();
        let mut cancelled = false;
        let mut operation = pin!(self.stream_mut().cancelable_read(buffer, handle));
        let mut timer = deadline.map(|deadline| Box::pin(monoio::time::sleep_until(deadline)));
        let mut interrupt = pin!(interrupt);
        let mut why = ReadEnd::Cancelled;
        let (result, buffer) = std::future::poll_fn(|context| {
            if let Poll::Ready(done) = operation.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            if !cancelled {
                let timed_out = timer
                    .as_mut()
                    .is_some_and(|timer| timer.as_mut().poll(context).is_ready());
                if timed_out || interrupt.as_mut().poll(context).is_ready() {
                    if timed_out {
                        why = ReadEnd::TimedOut;
                    }
                    cancelled = true;
                    let canceller = self.canceller.take();
                    self.canceller.replace(canceller.cancel());
                    return operation.as_mut().poll(context);
                }
            }
            Poll::Pending
        })
        .await;
        match result {
            Err(error) if cancelled && error.raw_os_error() == Some(libc::ECANCELED) => {
                (why, buffer)
            }
            result => (read_end(result), buffer),
        }
    }

    /// Waits until there is something to read (or the peer closed), holding no buffer.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream().readable(false).await
    }

    /// Sends the whole of `buffer`. After a failure or a deadline how much left is unknown: the connection is unusable.
    pub async fn write_all(
        &self,
        mut buffer: Buffer,
        deadline: Option<Instant>,
    ) -> (ReadEnd, Buffer) {
        let mut sent = 0;
        while !buffer.is_empty() {
            match before(deadline, pin!(self.stream_mut().write(buffer))).await {
                Ok((Ok(0), back)) => return (ReadEnd::Eof, back),
                Ok((Ok(count), back)) => {
                    buffer = back;
                    buffer.consume(count);
                    sent += count;
                }
                Ok((Err(error), back)) => {
                    buffer = back;
                    if error.kind() != io::ErrorKind::Interrupted {
                        return (ReadEnd::Failed(error), buffer);
                    }
                }
                Err(Elapsed) => return (ReadEnd::TimedOut, Buffer::default()),
            }
        }
        (ReadEnd::Data(sent), buffer)
    }

    /// Half-closes: the peer sees the end of our bytes, its own may still come.
    pub async fn shutdown_write(&self) {
        let _ = self.stream_mut().shutdown().await;
    }
}

fn read_end(result: io::Result<usize>) -> ReadEnd {
    match result {
        Ok(0) => ReadEnd::Eof,
        Ok(count) => ReadEnd::Data(count),
        Err(error) => ReadEnd::Failed(error),
    }
}

/// A listening socket of one core.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    pub fn new(listener: std::net::TcpListener, nonblocking: bool) -> io::Result<Self> {
        listener.set_nonblocking(nonblocking)?;
        Ok(Listener {
            inner: TcpListener::from_std(listener)?,
        })
    }

    /// Drops SYNs from here on, so that the queue of established connections can be emptied and the listener closed
    /// without resetting any. Clients that knock meanwhile knock again, and are refused once it is closed.
    pub fn take_no_more(&self) -> io::Result<()> {
        use socket2::SockFilter;
        // Classic BPF over the TCP header (filter(4), linux/filter.h): byte 13 holds the flags.
        const FLAGS_OFFSET: u32 = 13;
        const SYN: u32 = 0x02;
        const SYN_OR_ACK: u32 = 0x12;
        const DROP: u32 = 0;
        const PASS: u32 = u32::MAX;
        let filter = [
            SockFilter::new(
                (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16,
                0,
                0,
                FLAGS_OFFSET,
            ),
            SockFilter::new(
                (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16,
                0,
                0,
                SYN_OR_ACK,
            ),
            SockFilter::new(
                (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                0,
                1,
                SYN,
            ),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, DROP),
            SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, PASS),
        ];
        // SAFETY: the descriptor is the listener's, which lives as long as `self`.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.inner.as_raw_fd()) };
        socket2::SockRef::from(&fd).attach_filter(&filter)
    }

    /// One accept; `None` when `interrupt` came first. A dropped accept future would leak what it accepted, so it is
    /// cancelled and awaited: a connection that won the race is returned.
    pub async fn accept(
        &self,
        interrupt: impl Future<Output = ()>,
    ) -> Option<io::Result<(Socket, SocketAddr)>> {
        let canceller = Canceller::new();
        let handle = canceller.handle();
        let mut canceller = Some(canceller);
        let mut operation = pin!(self.inner.cancelable_accept(handle));
        let mut interrupt = pin!(interrupt);
        let result = std::future::poll_fn(|context| {
            if let Poll::Ready(done) = operation.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            if canceller.is_some()
                && interrupt.as_mut().poll(context).is_ready()
                && let Some(canceller) = canceller.take()
            {
                canceller.cancel();
                return operation.as_mut().poll(context);
            }
            Poll::Pending
        })
        .await;
        match result {
            Err(error) if canceller.is_none() && error.raw_os_error() == Some(libc::ECANCELED) => {
                None
            }
            Ok((stream, peer)) => Some(Ok((Socket::new(stream), peer))),
            Err(error) => Some(Err(error)),
        }
    }
}
