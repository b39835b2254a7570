//! One thread, one core, one ring: pin, listen, accept, read the mailbox, tick, drain.

use crate::limits;
use crate::mailbox::{Mailbox, Up};
use crate::options::Options;
use crate::proxy::connection::{self, Accepted};
use crate::proxy::core::{Core, CoreMailbox, Parts};
use crate::ring::{self, Driver, Engine, Guarded, Listener, Socket};
use crate::snapshot::Snapshot;
use crate::telemetry::access::Level;
use crate::telemetry::log::{self, CoreLog};
use crate::tls::provider::Chosen;
use crate::tls::tickets::Ticketer;
use monoio::time::Instant;
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One address to listen on; every core has a socket of its own for it.
#[derive(Clone, Debug)]
pub struct ListenOn {
    pub address: SocketAddr,
    pub tls: bool,
    pub proxy_protocol: bool,
    pub backlog: i32,
    pub ipv6only: Option<bool>,
    /// TCP_DEFER_ACCEPT: a connection is handed over with its first bytes.
    pub deferred: bool,
    /// SO_KEEPALIVE, with idle time, interval (seconds) and count where given.
    pub keepalive: Option<Keepalive>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    pub idle_s: Option<u32>,
    pub interval_s: Option<u32>,
    pub count: Option<u32>,
}

/// What a worker is started with; all of it is made on the control side.
pub struct Seed {
    /// CPU to pin to.
    pub cpu: usize,
    pub engine: Engine,
    pub listeners: Vec<(ListenOn, TcpListener)>,
    pub options: Arc<Options>,
    pub snapshot: Arc<Snapshot>,
    pub tickets: Arc<Ticketer>,
    pub mailbox: Mailbox,
    pub log: CoreLog,
    pub chosen: Arc<Chosen>,
}

/// Opens one core's socket of a reuseport group. With `cpu` the kernel prefers it for connections whose packets arrive on
/// that CPU (SO_INCOMING_CPU); without, connections spread by hash.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(on: &ListenOn, cpu: Option<usize>) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let domain = if on.address.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if on.address.is_ipv6() {
        // nginx: ipv6only is on unless said otherwise.
        socket.set_only_v6(on.ipv6only.unwrap_or(true))?;
    }
    if let Some(cpu) = cpu {
        // A kernel without it spreads by hash.
        let _ = socket.set_cpu_affinity(cpu);
    }
    // Accepted sockets inherit these: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = on.keepalive {
        let mut options = socket2::TcpKeepalive::new();
        if let Some(idle_s) = keepalive.idle_s {
            options = options.with_time(Duration::from_secs(idle_s.into()));
        }
        if let Some(interval_s) = keepalive.interval_s {
            options = options.with_interval(Duration::from_secs(interval_s.into()));
        }
        if let Some(count) = keepalive.count {
            options = options.with_retries(count);
        }
        socket.set_tcp_keepalive(&options)?;
    }
    socket.bind(&on.address.into())?;
    socket.listen(on.backlog)?;
    if on.deferred {
        ring::sys::defer_accept(&socket, 1)?;
    }
    Ok(socket.into())
}

/// Runs a worker on the calling thread until the gateway has drained.
///
/// # Errors
/// The engine cannot be started on this thread.
pub fn run(seed: Seed) -> io::Result<()> {
    if !crate::settings::io::pin(seed.cpu) {
        log::error(
            Level::Warn,
            format_args!("core {}: cannot pin to CPU {}", seed.mailbox.core, seed.cpu),
        );
    }
    let engine = seed.engine;
    ring::run(engine, move |driver| live(seed, driver))?
}

async fn live(seed: Seed, driver: Driver) -> io::Result<()> {
    let Seed {
        listeners,
        options,
        snapshot,
        tickets,
        mailbox,
        log,
        chosen,
        ..
    } = seed;
    let (mailbox, doorbell) = CoreMailbox::open(mailbox);
    let core = Core::new(Parts {
        driver,
        options,
        snapshot,
        tickets,
        mailbox,
        log,
        chosen,
    });

    // A ring that takes operations but never completes them would hang in silence (RUNTIME.md §14.6).
    self_test(&core).await?;

    let answering = core.clone();
    monoio::spawn(doorbell.listen(driver.nonblocking(), move || answering.read_mail()));
    monoio::spawn(tick(core.clone()));

    let accepting = Rc::new(Cell::new(0usize));
    for (on, listener) in listeners {
        let listener = Rc::new(Listener::new(listener, driver.nonblocking())?);
        for _ in 0..limits::ACCEPTS_IN_FLIGHT {
            accepting.set(accepting.get() + 1);
            monoio::spawn(accept(
                core.clone(),
                listener.clone(),
                on.clone(),
                accepting.clone(),
            ));
        }
    }
    core.up.send(Up::Ready);

    // Drain: no more accepts, then the last connection, or the deadline.
    core.draining.wait().await;
    while accepting.get() > 0 || core.connections.get() > 0 {
        // A second signal brings it forward.
        let deadline = core.drain_deadline.get();
        if deadline.is_none_or(|deadline| std::time::Instant::now() >= deadline) {
            core.aborting.raise();
            // Woken tasks get a moment to end.
            monoio::time::sleep(Duration::from_millis(limits::ABORT_MS)).await;
            break;
        }
        monoio::time::sleep(Duration::from_millis(5)).await;
    }
    core.pool.clear();
    core.log.borrow_mut().flush();
    core.up.send(Up::Drained);
    Ok(())
}

/// One operation through the driver, and a timer beside it.
async fn self_test(core: &Rc<Core>) -> io::Result<()> {
    let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
    near.set_nonblocking(core.driver.nonblocking())?;
    io::Write::write_all(&mut far, b"?")?;
    let mut stream = monoio::net::UnixStream::from_std(near)?;
    let read = monoio::io::AsyncReadRent::read(&mut stream, vec![0u8; 1]);
    let deadline = Instant::now() + Duration::from_millis(limits::SELF_TEST_MS);
    match ring::before(Some(deadline), read).await {
        Ok((Ok(1), _)) => Ok(()),
        Ok((Ok(_), _)) => Err(io::Error::other("the engine's self-test read nothing")),
        Ok((Err(error), _)) => Err(error),
        Err(ring::Elapsed) => Err(io::Error::other("the engine's self-test did not complete")),
    }
}

/// One of several accepts in flight on a listener.
async fn accept(core: Rc<Core>, listener: Rc<Listener>, on: ListenOn, accepting: Rc<Cell<usize>>) {
    loop {
        let accepted = listener.accept(core.draining.wait()).await;
        match accepted {
            Some(Ok((socket, peer))) => take(&core, &on, socket, peer),
            // Out of descriptors or memory: nothing is gained by asking again at once.
            Some(Err(error)) => {
                core.metrics.borrow_mut().shed("accept");
                crate::proxy::log::error(
                    &core,
                    Level::Error,
                    format_args!("accept on {}: {error}", on.address),
                );
                monoio::time::sleep(Duration::from_millis(limits::ACCEPT_BACK_OFF_MS)).await;
            }
            None => break,
        }
        if core.draining.raised() {
            break;
        }
    }
    // What the kernel has queued would be reset with the listener; it is served, and told to close. Without the filter,
    // which a sandbox may forbid, what connects in the last instant is reset all the same.
    let _ = listener.take_no_more();
    let end = Instant::now() + Duration::from_millis(limits::ACCEPT_LAST_MS);
    while Instant::now() < end {
        let quiet = Instant::now() + Duration::from_millis(limits::ACCEPT_QUIET_MS);
        match listener.accept(ring::sleep_until(quiet)).await {
            Some(Ok((socket, peer))) => take(&core, &on, socket, peer),
            Some(Err(_)) | None => break,
        }
    }
    drop(listener);
    accepting.set(accepting.get() - 1);
}

/// Serves an accepted connection, or closes it when there are too many.
fn take(core: &Rc<Core>, on: &ListenOn, socket: Socket, peer: SocketAddr) {
    if core.connections.get() >= core.options().connections_max {
        core.metrics.borrow_mut().shed("connections");
        return;
    }
    let accepted = Accepted {
        peer,
        port: on.address.port(),
        tls: on.tls,
        proxy_protocol: on.proxy_protocol,
    };
    spawn_connection(core, connection::serve(core.clone(), socket, accepted));
}

/// Runs a connection behind a guard: a panic ends it and nothing else.
fn spawn_connection(core: &Rc<Core>, future: impl Future<Output = ()> + 'static) {
    let core = core.clone();
    // Boxed here: inside the task it would lie twice, and be copied at each hand-over.
    let guarded = Guarded::new(future);
    monoio::spawn(async move {
        if guarded.await.is_none() {
            core.metrics.borrow_mut().panic();
            crate::proxy::log::error(
                &core,
                Level::Crit,
                format_args!("a connection ended in a panic"),
            );
        }
    });
}

/// Ten times a second: log chunks leave, and once a second what has been idle too long.
async fn tick(core: Rc<Core>) {
    let mut count: u32 = 0;
    loop {
        monoio::time::sleep(Duration::from_millis(limits::BEAT_MS)).await;
        core.clock.beat();
        count = count.wrapping_add(1);
        {
            let mut log = core.log.borrow_mut();
            log.flush();
            core.metrics.borrow_mut().log_dropped(log.take_dropped());
        }
        // A core without traffic still lets old snapshots go.
        core.view();
        if count.is_multiple_of(10) {
            core.pool.sweep();
            core.buffers.trim();
            core.bulk_buffers.trim();
        }
    }
}
