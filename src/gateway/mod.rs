//! The front door's inside: from checked settings to running cores, and back down.
//!
//! - `material`: files that settings name, read and taken apart.
//! - `convert`: settings in the forms that the data plane and the control side use.
//! - `configuration`: the declarative file.
//! - `entities`: the store, whichever it is.
//! - `transfer`: rows into the store and out of it, while no gateway runs.
mod configuration;
mod convert;
mod entities;
mod material;
mod transfer;

pub use configuration::{check_file, parse_file};
pub use transfer::{export, import};

use crate::cli::Start;
use crate::control::{self, Control, Reading};
use crate::limits;
use crate::mailbox::{self, Epochs};
use crate::publish::{self, Publisher};
use crate::ring::{self, Engine};
use crate::settings::{Listen, LogTarget};
use crate::telemetry::acceptor::ListenerTls;
use crate::telemetry::access::Level;
use crate::telemetry::log::{self, Logs};
use crate::tls::provider;
use crate::tls::tickets::{EpochSecret, Ticketer, random_secret};
use crate::worker::{self, Seed};
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The process-wide default of the TLS library: the first thing a process does.
pub fn install_crypto() {
    provider::install_default(provider::Mode::Auto);
}

/// Runs the gateway in the foreground until it has drained.
pub fn start(start: Start) -> ExitCode {
    match run(start) {
        Ok(code) => code,
        Err(reason) => {
            for line in reason.lines() {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(start: Start) -> Result<ExitCode, String> {
    let settings = &start.loaded.settings;
    ring::sys::undumpable();
    let descriptors = ring::sys::raise_nofile();

    let chosen = Arc::new(provider::choose(convert::provider_mode(settings)));
    let placement = crate::settings::io::placement(settings)?;
    let engine = convert::engine(settings);
    check_engine(engine)?;

    // Everything that can be refused is refused before a socket is opened.
    let (material, entities) = match (
        material::load(settings, &chosen, true),
        entities::open(settings, &placement.others),
    ) {
        (Ok(material), Ok(entities)) => (material, entities),
        (material, entities) => {
            let mut problems: Vec<String> = material.err().into_iter().collect();
            problems.extend(entities.err().unwrap_or_default());
            return Err(problems.join("\n"));
        }
    };
    let hashed = entities.fixed.is_some();
    let mut publisher = Publisher::new(material.globals, material.certificates, hashed);
    let snapshot = publisher
        .compile(&entities.configuration)
        .map_err(|unserved| match entities.embedded {
            Some(_) => transfer::mend(&entities::store_file(settings), unserved).join("\n"),
            None => unserved.lines.join("\n"),
        })?;

    // Nothing is computed on all cores any more: threads from here on, but for the cores' own, leave these alone.
    let kept_off = ring::sys::stay_on(&placement.others);
    let logs =
        Arc::new(Logs::open(&convert::log_targets(settings)).map_err(|error| error.to_string())?);
    logs.install();
    log::error(
        Level::Notice,
        format_args!(
            "sallyport {} starts, {placement}",
            env!("CARGO_PKG_VERSION")
        ),
    );
    if !kept_off {
        log::error(
            Level::Warn,
            "cannot keep other threads off the engine's CPUs",
        );
    }
    log::error(
        Level::Notice,
        format_args!("crypto provider {}: {}", chosen.name, chosen.why),
    );
    log::error(
        Level::Notice,
        format_args!("{descriptors} open files are allowed"),
    );
    // `cli` has told those of the settings on standard error; where the log is that too, once is enough.
    let told = settings.proxy_error_log == LogTarget::Stderr;
    let of_settings = start.loaded.warnings.iter().filter(|_| !told);
    for warning in of_settings
        .map(ToString::to_string)
        .chain(publisher.take_warnings())
    {
        log::error(Level::Warn, warning);
    }

    let on = convert::listen_on(settings);
    let steer = convert::steering(settings);
    let mut sockets = listen(&on, &placement.workers, steer)?;
    let status = bind("status_listen", &settings.status_listen)?;
    let admin = bind("admin_listen", &settings.admin_listen)?;

    let (post, boxes, inbox) =
        mailbox::mailboxes(placement.workers.len()).map_err(|error| error.to_string())?;
    let epochs = first_epochs();
    let node_id = node_id(&settings.prefix);
    let node = *node_id.as_bytes();
    let node_id = node_id.to_string();
    let process = random_16();
    let options = Arc::new(convert::options(settings, material.templates));
    let mut workers = Vec::new();
    for ((mailbox, cpu), listeners) in boxes
        .into_iter()
        .zip(&placement.workers)
        .zip(sockets.drain(..))
    {
        let tickets = Arc::new(Ticketer::new(node, mailbox.core as u16, process));
        tickets.install(epochs.current.clone(), epochs.previous.clone());
        let seed = Seed {
            cpu: *cpu,
            engine,
            listeners,
            options: options.clone(),
            snapshot: snapshot.clone(),
            tickets,
            mailbox,
            log: logs.core_log(),
            chosen: chosen.clone(),
        };
        let name = format!("core-{}", seed.mailbox.core);
        let worker = thread::Builder::new()
            .name(name)
            .spawn(move || worker::run(seed));
        workers.push(worker.map_err(|error| format!("cannot start a thread: {error}"))?);
    }

    let post = Arc::new(post);
    let (raise, live) = publish::live(entities.revision);
    let facts = Arc::new(Mutex::new(publisher.facts()));
    let expiries = publisher.expiries();
    let orders = publish::start(publish::Parts {
        publisher,
        post: post.clone(),
        options,
        store: entities.store.clone(),
        fixed: entities.fixed,
        revision: entities.revision,
        config: entities.configuration.config,
        raise,
        facts: facts.clone(),
    })
    .map_err(|error| format!("cannot start a thread: {error}"))?;

    // This thread becomes the control thread.
    if !crate::settings::io::pin(placement.control.cpu()) {
        log::error(Level::Warn, "cannot pin the control thread");
    }
    let control = Control {
        loaded: start.loaded,
        invocation: start.invocation,
        orders,
        live,
        facts,
        expiries,
        store: entities.store,
        post,
        inbox,
        epochs,
        status,
        status_tls: material
            .status
            .map(|policy| Arc::new(ListenerTls::new(policy))),
        admin,
        admin_tls: material.admin,
        engine: convert::engine_name(engine),
        chosen: chosen.clone(),
        logs: logs.clone(),
        workers,
        node_id,
        reading: READING,
    };
    let outcome = control::run(control);
    if let Some(embedded) = entities.embedded
        && !embedded.close()
    {
        log::error(Level::Error, "the store did not close in time");
    }
    drop(logs);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// How a reload reads what the start has read.
pub(crate) const READING: Reading = Reading {
    options: convert::options,
    configuration: configuration::read,
    material: material::load,
    resolving: convert::resolve_settings,
    log_level: convert::log_level,
};

/// Asks for a ring and gives it back: a refusal is told with its remedy before anything else is started.
fn check_engine(engine: Engine) -> Result<(), String> {
    let tried = thread::spawn(move || ring::run(engine, |_| async {})).join();
    match tried {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(engine_refused(&error)),
        Err(_) => Err("the engine could not be tried".to_owned()),
    }
}

fn engine_refused(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "sysctl kernel.io_uring_disabled is not 0, or the container's seccomp profile forbids io_uring_setup: \
             set the sysctl to 0 or allow the calls io_uring_setup, io_uring_enter, io_uring_register"
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring: Linux 5.11 or newer is needed",
        Some(libc::ENOMEM) => {
            "the limit on locked memory is too low: raise RLIMIT_MEMLOCK (ulimit -l)"
        }
        _ => "see dmesg for the reason",
    };
    format!("io_uring cannot be used: {error}\n{remedy}\nor choose the slower mode: engine = epoll")
}

type Sockets = Vec<Vec<(worker::ListenOn, std::net::TcpListener)>>;

/// Opens every core's sockets. A group may be joined by any process of this user, so the address is first bound alone:
/// another gateway on it is an error, not a silent sharer.
fn listen(on: &[worker::ListenOn], cpus: &[usize], steer: bool) -> Result<Sockets, String> {
    for on in on.iter().filter(|on| on.address.port() != 0) {
        free(on).map_err(|error| format!("proxy_listen: cannot bind {}: {error}", on.address))?;
    }
    cpus.iter()
        .map(|cpu| {
            on.iter()
                .map(|on| {
                    let socket = worker::listen(on, (steer && cpus.len() > 1).then_some(*cpu));
                    Ok((
                        on.clone(),
                        socket.map_err(|error| {
                            format!("proxy_listen: cannot bind {}: {error}", on.address)
                        })?,
                    ))
                })
                .collect()
        })
        .collect()
}

/// Waits for an address in use, for a moment: the kernel takes the rings of a process that was killed apart, and closes the
/// sockets they accept on, after the process has ended.
fn free(on: &worker::ListenOn) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_millis(limits::BIND_WAIT_MS);
    loop {
        match probe(on) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(limits::BIND_AGAIN_MS));
            }
            outcome => return outcome,
        }
    }
}

fn probe(on: &worker::ListenOn) -> io::Result<()> {
    use socket2::{Domain, Socket, Type};
    let domain = if on.address.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    // TIME_WAIT of an earlier run is no hindrance.
    socket.set_reuse_address(true)?;
    if on.address.is_ipv6() {
        socket.set_only_v6(on.ipv6only.unwrap_or(true))?;
    }
    socket.bind(&on.address.into())
}

/// Listeners of the control thread, each with whether it has `ssl`.
fn bind(directive: &str, listen: &[Listen]) -> Result<Vec<(std::net::TcpListener, bool)>, String> {
    let mut listeners = Vec::new();
    for listen in listen {
        let told = |error: io::Error| format!("{directive}: cannot bind {}: {error}", listen.addr);
        let listener = std::net::TcpListener::bind(listen.addr).map_err(told)?;
        listener.set_nonblocking(true).map_err(told)?;
        listeners.push((listener, listen.ssl));
    }
    Ok(listeners)
}

/// This node's id, kept in the prefix (`kong.id`, as Kong does).
fn node_id(prefix: &std::path::Path) -> uuid::Uuid {
    let path = prefix.join("kong.id");
    let kept = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    kept.unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4();
        if let Err(error) = std::fs::write(&path, id.to_string()) {
            log::error(
                Level::Warn,
                format_args!(
                    "{}: {error}; the node id will differ next time",
                    path.display()
                ),
            );
        }
        id
    })
}

fn first_epochs() -> Epochs {
    Epochs {
        current: EpochSecret {
            number: 1,
            secret: random_secret(),
        },
        previous: None,
    }
}

fn random_16() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_ring_is_told_with_its_remedy_and_the_other_mode() {
        for (number, remedies) in [
            (libc::EPERM, &["kernel.io_uring_disabled", "seccomp"][..]),
            (libc::ENOSYS, &["Linux 5.11"]),
            (libc::ENOMEM, &["RLIMIT_MEMLOCK"]),
            (libc::EIO, &["dmesg"]),
        ] {
            let told = engine_refused(&io::Error::from_raw_os_error(number));
            for word in remedies
                .iter()
                .chain(&["io_uring cannot be used", "engine = epoll"])
            {
                assert!(told.contains(word), "{number}: {word} in {told}");
            }
        }
    }
}
