//! One byte stream of a connection, clear or TLS: a `tls::Session` on a ring socket.
//!
//! Reads append plaintext to `plain`; writes queue into `out` and leave in one send (`flush`). A stream has one reader
//! and one writer at a time; both may run in the same task, so its parts are behind `RefCell`s that are never held
//! across an await.

use crate::limits;
use crate::proxy::core::Core;
use crate::ring::{Buffer, ReadEnd, Socket, sys};
use crate::tls::session::Session;
use monoio::time::Instant;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::Future;
use std::sync::Arc;

/// How an attempt to get more plaintext ended.
#[derive(Debug)]
pub enum Fill {
    /// `plain` holds more than before.
    Data,
    /// The peer ended its side: with close_notify (or on clear text), or by cutting the connection.
    Eof {
        clean: bool,
    },
    /// The stream can only be closed now.
    TimedOut,
    /// The caller's interrupt came first; nothing is lost.
    Interrupted,
    Failed(Arc<str>),
}

/// How a write ended when it did not succeed; the stream can only be closed.
#[derive(Debug)]
pub enum WriteError {
    TimedOut,
    Failed(Arc<str>),
}

/// A caller that asks for more while it leaves this much unread would wait for ever.
const TOO_MUCH_UNREAD: &str = "more is unread than a connection may hold";

pub struct Stream {
    pub socket: Socket,
    tls: Option<RefCell<Session>>,
    plain: RefCell<Buffer>,
    /// Ciphertext the session has not taken yet, because its plaintext must be read first.
    pending: RefCell<Buffer>,
    out: RefCell<Vec<u8>>,
    received: Cell<u64>,
    sent: Cell<u64>,
    /// A read is worth a large buffer: content is flowing.
    bulk: Cell<bool>,
}

impl Stream {
    pub fn clear(socket: Socket, plain: Buffer) -> Self {
        Self::new(socket, None, plain, Buffer::default())
    }

    pub fn tls(socket: Socket, session: Session, pending: Buffer) -> Self {
        Self::new(
            socket,
            Some(RefCell::new(session)),
            Buffer::default(),
            pending,
        )
    }

    fn new(socket: Socket, tls: Option<RefCell<Session>>, plain: Buffer, pending: Buffer) -> Self {
        Stream {
            socket,
            tls,
            plain: RefCell::new(plain),
            pending: RefCell::new(pending),
            out: RefCell::new(Vec::new()),
            received: Cell::new(0),
            sent: Cell::new(0),
            bulk: Cell::new(false),
        }
    }

    /// The plaintext received and not consumed.
    pub fn plain(&self) -> Ref<'_, [u8]> {
        Ref::map(self.plain.borrow(), Buffer::filled)
    }

    pub fn consume(&self, count: usize) {
        self.received.set(self.received.get() + count as u64);
        self.plain.borrow_mut().consume(count);
    }

    pub fn session(&self) -> Option<RefMut<'_, Session>> {
        self.tls.as_ref().map(RefCell::borrow_mut)
    }

    /// Content is flowing (or no longer): sizes the next reads.
    pub fn bulk(&self, bulk: bool) {
        self.bulk.set(bulk);
    }

    /// Bytes of plaintext that were consumed and queued.
    pub fn traffic(&self) -> (u64, u64) {
        (self.received.get(), self.sent.get())
    }

    /// Appends more plaintext, or says why there is none. The stream is dead after `TimedOut`.
    pub async fn fill(&self, core: &Core, deadline: Option<Instant>) -> Fill {
        loop {
            if let Some(ready) = self.take_ready() {
                return ready;
            }
            let buffer = self.read_buffer(core);
            let (end, buffer) = self.socket.read(buffer, deadline).await;
            if let Some(done) = self.received(core, end, buffer) {
                return done;
            }
        }
    }

    /// Like `fill`, but may be interrupted or time out without losing a byte: the wait for a next request.
    pub async fn fill_or(
        &self,
        core: &Core,
        deadline: Option<Instant>,
        interrupt: impl Future<Output = ()>,
    ) -> Fill {
        let mut interrupt = std::pin::pin!(interrupt);
        loop {
            if let Some(ready) = self.take_ready() {
                return ready;
            }
            let buffer = self.read_buffer(core);
            let (end, buffer) = self
                .socket
                .read_or(buffer, deadline, interrupt.as_mut())
                .await;
            if let Some(done) = self.received(core, end, buffer) {
                return done;
            }
        }
    }

    /// Plaintext that needs no read: what the session holds, or what it can make of pending ciphertext.
    fn take_ready(&self) -> Option<Fill> {
        let Some(tls) = &self.tls else {
            let full = self.plain.borrow().len() >= limits::PLAIN_BUFFER_MAX;
            return full.then(|| Fill::Failed(TOO_MUCH_UNREAD.into()));
        };
        let mut session = tls.borrow_mut();
        let mut plain = self.plain.borrow_mut();
        let mut pending = self.pending.borrow_mut();
        loop {
            let mut moved = 0;
            while let Some(chunk) = session.plaintext() {
                let taken = plain.append(chunk, limits::PLAIN_BUFFER_MAX);
                moved += taken;
                session.consume(taken);
                if taken == 0 {
                    break;
                }
            }
            if moved > 0 {
                return Some(Fill::Data);
            }
            if plain.len() >= limits::PLAIN_BUFFER_MAX {
                return Some(Fill::Failed(TOO_MUCH_UNREAD.into()));
            }
            if pending.is_empty() {
                return session.peer_closed().then_some(Fill::Eof { clean: true });
            }
            match session.feed(pending.filled()) {
                Ok(taken) => {
                    pending.consume(taken);
                    if taken == 0 && session.plaintext().is_none() {
                        return Some(Fill::Failed("the session takes no more bytes".into()));
                    }
                }
                Err(error) => {
                    self.out.borrow_mut().extend_from_slice(error.alert());
                    return Some(Fill::Failed(error.to_string().into()));
                }
            }
        }
    }

    fn read_buffer(&self, core: &Core) -> Buffer {
        if self.tls.is_some() {
            return if self.bulk.get() {
                core.bulk_buffers.take()
            } else {
                core.buffers.take()
            };
        }
        // Clear text is read where it is parsed.
        let mut plain = self.plain.take();
        if plain.capacity() == 0 {
            plain = core.buffers.take();
        } else {
            plain.reserve(1, limits::PLAIN_BUFFER_MAX);
        }
        plain
    }

    /// Takes a read's buffer back; `None` when the read gave no plaintext yet and another is needed.
    fn received(&self, core: &Core, end: ReadEnd, buffer: Buffer) -> Option<Fill> {
        let Some(tls) = &self.tls else {
            *self.plain.borrow_mut() = buffer;
            return Some(match end {
                ReadEnd::Data(_) => Fill::Data,
                ReadEnd::Eof => Fill::Eof { clean: true },
                ReadEnd::TimedOut => Fill::TimedOut,
                ReadEnd::Cancelled => Fill::Interrupted,
                ReadEnd::Failed(error) => Fill::Failed(error.to_string().into()),
            });
        };
        match end {
            ReadEnd::Data(_) => {
                let fed = tls.borrow_mut().feed(buffer.filled());
                match fed {
                    Ok(taken) if taken == buffer.len() => self.give_back(core, buffer),
                    Ok(taken) => {
                        let mut pending = self.pending.borrow_mut();
                        pending.append(&buffer.filled()[taken..], usize::MAX);
                        self.give_back(core, buffer);
                    }
                    Err(error) => {
                        self.give_back(core, buffer);
                        self.out.borrow_mut().extend_from_slice(error.alert());
                        return Some(Fill::Failed(error.to_string().into()));
                    }
                }
                self.take_ready()
            }
            ReadEnd::Eof => {
                self.give_back(core, buffer);
                Some(Fill::Eof { clean: false })
            }
            ReadEnd::TimedOut => {
                self.give_back(core, buffer);
                Some(Fill::TimedOut)
            }
            ReadEnd::Cancelled => {
                self.give_back(core, buffer);
                Some(Fill::Interrupted)
            }
            ReadEnd::Failed(error) => {
                self.give_back(core, buffer);
                Some(Fill::Failed(error.to_string().into()))
            }
        }
    }

    fn give_back(&self, core: &Core, buffer: Buffer) {
        if buffer.capacity() == limits::BULK_BUFFER_SIZE {
            core.bulk_buffers.put(buffer);
        } else {
            core.buffers.put(buffer);
        }
    }

    /// Gives an empty plaintext buffer back to the core: an idle connection holds none.
    pub fn release(&self, core: &Core) {
        let mut plain = self.plain.borrow_mut();
        if plain.is_empty() && plain.capacity() > 0 {
            let buffer = std::mem::take(&mut *plain);
            self.give_back(core, buffer);
        }
        let mut out = self.out.borrow_mut();
        if out.is_empty() {
            *out = Vec::new();
        }
        let mut pending = self.pending.borrow_mut();
        if pending.is_empty() {
            *pending = Buffer::default();
        }
        if let Some(tls) = &self.tls {
            tls.borrow_mut().shrink();
        }
    }

    /// Nothing received waits to be used.
    pub fn is_quiet(&self) -> bool {
        self.plain.borrow().is_empty()
            && self.pending.borrow().is_empty()
            && self
                .tls
                .as_ref()
                .is_none_or(|tls| tls.borrow_mut().plaintext().is_none())
    }

    /// Queues bytes; nothing is sent before `flush`.
    pub fn put(&self, bytes: &[u8]) {
        self.sent.set(self.sent.get() + bytes.len() as u64);
        match &self.tls {
            // A failure shows at the next flush or read: rustls takes all or is dead.
            Some(tls) => drop(tls.borrow_mut().write(bytes)),
            None => self.out.borrow_mut().extend_from_slice(bytes),
        }
    }

    /// Sends all that is queued, in one send where the kernel takes it.
    pub async fn flush(&self, deadline: Option<Instant>) -> Result<(), WriteError> {
        let mut out = self.out.take();
        if let Some(tls) = &self.tls {
            tls.borrow_mut().take_output(&mut out);
        }
        if out.is_empty() {
            *self.out.borrow_mut() = out;
            return Ok(());
        }
        let (end, buffer) = self.socket.write_all(Buffer::from_vec(out), deadline).await;
        match end {
            ReadEnd::Data(_) => {
                let vector = buffer.into_vec();
                if vector.capacity() <= limits::OUT_BUFFER_KEPT {
                    let mut out = self.out.borrow_mut();
                    if out.is_empty() {
                        *out = vector;
                    }
                }
                Ok(())
            }
            ReadEnd::TimedOut => Err(WriteError::TimedOut),
            ReadEnd::Eof | ReadEnd::Cancelled => {
                Err(WriteError::Failed("connection closed while writing".into()))
            }
            ReadEnd::Failed(error) => Err(WriteError::Failed(error.to_string().into())),
        }
    }

    /// Queued bytes wait for a flush (held-back session tickets among them).
    pub fn has_output(&self) -> bool {
        !self.out.borrow().is_empty()
            || self
                .tls
                .as_ref()
                .is_some_and(|tls| tls.borrow().has_output())
    }

    /// Queues close_notify; goes out with the next flush.
    pub fn put_close_notify(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().close_notify();
        }
    }

    /// Whether an idle upstream connection may carry another request: open, and nothing unread on it that matters.
    pub fn still_idle(&self) -> bool {
        match sys::peek(self.socket.raw_fd()) {
            // A close_notify that came with the last response left nothing to read behind it.
            sys::Peek::Quiet => self
                .tls
                .as_ref()
                .is_none_or(|tls| !tls.borrow().peer_closed()),
            sys::Peek::Closed => false,
            // On TLS it may be a session ticket; on clear text nobody asked for anything.
            sys::Peek::Data => {
                let Some(tls) = &self.tls else { return false };
                let mut bytes = [0u8; 4096];
                let Ok(count) = sys::read_now(self.socket.raw_fd(), &mut bytes) else {
                    return false;
                };
                let mut session = tls.borrow_mut();
                count < bytes.len()
                    && session
                        .feed(&bytes[..count])
                        .is_ok_and(|taken| taken == count)
                    && session.plaintext().is_none()
                    && !session.peer_closed()
                    && sys::peek(self.socket.raw_fd()) == sys::Peek::Quiet
            }
        }
    }
}
