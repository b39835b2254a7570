//! `sallyport demo`: the four uses of certificates, shown by a gateway, an upstream and a client on this machine.
//!
//! The gateway is this program, started as a newcomer would start it; what it is started with, certificates included,
//! is made for the run in a folder of its own (`pki`, `config`). The upstream (`upstream`) and the client (`client`)
//! are this process, over real sockets. `cases` says what is asked and which answer is right.

mod cases;
mod client;
mod config;
mod folder;
mod gateway;
mod pki;
mod table;
mod upstream;
mod wire;

use crate::cli::Demo;
use crate::ring;
use crate::tls::provider::{Mode, choose};
use cases::{Part, parts};
use client::Client;
use config::Ports;
use folder::Folder;
use gateway::Gateway;
use pki::Pki;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use upstream::Upstream;

/// Shows the table; then returns (`once`) or stays up until Ctrl-C. Success means that every row was as expected.
pub fn run(demo: Demo) -> ExitCode {
    match show(&demo, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn show(demo: &Demo, out: &mut dyn Write) -> Result<bool, String> {
    let interrupt = Interrupt::watch()?;
    let folder = Folder::make().map_err(|why| format!("no temporary folder: {why}"))?;
    let provider = choose(Mode::Auto);
    let pki = Pki::make(now()).map_err(|why| format!("no certificates can be made: {why}"))?;
    let upstream = Upstream::start(&pki, &provider)?;
    let ports = ports(&upstream)?;
    write_files(&folder, &pki, &ports)
        .map_err(|why| format!("{}: {why}", folder.path().display()))?;

    let epoll = refused_io_uring(out);
    let mut gateway = Gateway::start(folder.path(), epoll)?;
    gateway
        .ready(ports.status, &interrupt)
        .map_err(|why| format!("{why}\n{}", gateway.last_words()))?;
    say(
        out,
        format_args!(
            "A gateway (process {}) at 127.0.0.1:{}, an upstream at 127.0.0.1:{}, their files in {}\n",
            gateway.pid(),
            ports.proxy,
            ports.upstream,
            folder.path().display()
        ),
    );

    let client = Client::new(&pki.servers_ca, provider, ports.proxy)?;
    let parts = parts(&pki);
    let mut played = Vec::new();
    for Part { heading, cases } in &parts {
        let mut rows = Vec::new();
        for case in cases {
            interrupt.check()?;
            rows.push(case.play(&client, &gateway, &upstream));
        }
        played.push((*heading, rows));
    }
    say(out, format_args!("{}", table::render(&played)));
    let rows = played.iter().flat_map(|(_, rows)| rows);
    let failed = rows.filter(|row| !row.as_expected()).count();
    if failed > 0 {
        let words = gateway.last_words();
        say(
            out,
            format_args!("{failed} answers are not as expected.\n{words}"),
        );
    } else {
        say(out, format_args!("Every answer is as expected."));
    }
    if !demo.once {
        say(out, format_args!("\nTo repeat them:\n"));
        let path = shell_word(&folder.path().display().to_string());
        say(out, format_args!("  cd {path}"));
        let cases = parts.iter().flat_map(|part| &part.cases);
        for command in cases.filter_map(|case| case.curl(ports.proxy)) {
            say(out, format_args!("  {command}"));
        }
        say(
            out,
            format_args!(
                "\nThe gateway's configuration is {} and {}, its log {}, its metrics http://127.0.0.1:{}/metrics.\nCtrl-C ends the demo and removes the folder.",
                config::SETTINGS,
                config::DECLARATIVE,
                config::ERROR_LOG,
                ports.status,
            ),
        );
        wait(&mut gateway, &interrupt)?;
    }
    Ok(failed == 0)
}

/// Until Ctrl-C.
fn wait(gateway: &mut Gateway, interrupt: &Interrupt) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(100);
    while interrupt.check().is_ok() {
        if let Some(status) = gateway.ended() {
            // A terminal's Ctrl-C reaches the gateway as well, perhaps first.
            thread::sleep(PAUSE);
            return match interrupt.check() {
                Err(_) => Ok(()),
                Ok(()) => Err(format!(
                    "the gateway ended ({status})\n{}",
                    gateway.last_words()
                )),
            };
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Raised by SIGINT and SIGTERM. Without it they would end the process at once, and the gateway and the folder would stay.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn watch() -> Result<Interrupt, String> {
        let raised = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&raised);
        let (watching, started) = mpsc::channel();
        let watch = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let mut interrupted = signal(SignalKind::interrupt())?;
                let mut terminated = signal(SignalKind::terminate())?;
                let _ = watching.send(());
                loop {
                    tokio::select! {
                        _ = interrupted.recv() => {}
                        _ = terminated.recv() => {}
                    }
                    theirs.store(true, Ordering::Relaxed);
                }
            })
        };
        let thread = thread::Builder::new()
            .name("demo-signals".into())
            .spawn(watch)
            .map_err(|why| format!("no thread for signals: {why}"))?;
        if started.recv().is_ok() {
            return Ok(Interrupt(raised));
        }
        let why: Option<io::Error> = thread.join().ok().and_then(io::Result::<()>::err);
        let why = why.map_or_else(|| "the thread ended".to_owned(), |why| why.to_string());
        Err(format!("signals cannot be watched: {why}"))
    }

    fn check(&self) -> Result<(), String> {
        match self.0.load(Ordering::Relaxed) {
            true => Err("interrupted".to_owned()),
            false => Ok(()),
        }
    }
}

/// Free ports for the gateway. It binds them in a moment; another process taking one meanwhile is an error it reports.
fn ports(upstream: &Upstream) -> Result<Ports, String> {
    let free = || -> io::Result<(TcpListener, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let failed = |why: io::Error| format!("no free port: {why}");
    // Both are held until both are known.
    let (_proxy, proxy) = free().map_err(failed)?;
    let (_status, status) = free().map_err(failed)?;
    Ok(Ports {
        proxy,
        status,
        upstream: upstream.port(),
    })
}

fn write_files(folder: &Folder, pki: &Pki, ports: &Ports) -> io::Result<()> {
    let path = folder.path();
    fs::create_dir(path.join(config::PKI))?;
    pki.write(&path.join(config::PKI))?;
    fs::write(path.join(config::HOSTS), config::hosts())?;
    fs::write(path.join(config::DECLARATIVE), config::declarative(ports))?;
    fs::write(path.join(config::SETTINGS), config::settings(path, ports))
}

/// Whether this machine forbids io_uring to the engine, in which case that is said. Not asked when the environment
/// chooses epoll.
fn refused_io_uring(out: &mut dyn Write) -> bool {
    if std::env::var_os("SALLYPORT_ENGINE").is_some_and(|engine| engine == "epoll") {
        return false;
    }
    let probe = || ring::run(ring::Engine::IoUring, |_| async {});
    // A ring belongs to the thread that makes it.
    let why = match thread::spawn(probe).join() {
        Ok(Ok(())) => return false,
        Ok(Err(why)) => why.to_string(),
        Err(_) => "the attempt panicked".to_owned(),
    };
    say(
        out,
        format_args!("io_uring is not allowed here ({why}): the demo goes on with engine = epoll."),
    );
    true
}

/// As a shell takes it for one word.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    match text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A closed pipe ends nothing: the exit code still tells.
fn say(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Unix seconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_any_name_is_one_word() {
        for (text, want) in [
            ("/tmp/sallyport-demo-1", "/tmp/sallyport-demo-1"),
            ("/tmp/a b", "'/tmp/a b'"),
            ("/tmp/it's", r"'/tmp/it'\''s'"),
        ] {
            assert_eq!(shell_word(text), want);
        }
    }
}
