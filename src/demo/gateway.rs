//! The gateway as a process of its own, stopped when its handle goes.

use super::Interrupt;
use super::config::{ERROR_LOG, SETTINGS};
use crate::limits::DEMO_LOG_LINES_SHOWN_MAX;
use crate::ring::sys::kill;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(super) struct Gateway {
    child: Child,
    folder: PathBuf,
}

/// What of the environment reaches the gateway; other directives in it are for other gateways.
const PASSED: [&str; 3] = [
    "SALLYPORT_ENGINE",
    "SALLYPORT_LOG_LEVEL",
    "SALLYPORT_TLS_PROVIDER",
];

/// What the gateway writes before it has its logs.
const OUTPUT: &str = "gateway.out";

impl Gateway {
    /// Starts `sallyport start` on the settings in `folder`. The error is a sentence for the operator.
    pub fn start(folder: &Path, epoll: bool) -> Result<Gateway, String> {
        let failed = |why: std::io::Error| format!("the gateway cannot be started: {why}");
        let program = std::env::current_exe().map_err(failed)?;
        let output = File::create(folder.join(OUTPUT)).map_err(failed)?;
        let mut command = Command::new(program);
        command
            .arg("start")
            .arg("-c")
            .arg(folder.join(SETTINGS))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        if epoll {
            command.args(["--set", "engine=epoll"]);
        }
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("SALLYPORT_") || text.starts_with("KONG_"))
                && !PASSED.contains(&&*text)
            {
                command.env_remove(name);
            }
        }
        Ok(Gateway {
            child: command.spawn().map_err(failed)?,
            folder: folder.to_owned(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the status listener says that it is ready.
    pub fn ready(&mut self, status_port: u16, interrupt: &Interrupt) -> Result<(), String> {
        const WAIT: Duration = Duration::from_secs(30);
        let begun = Instant::now();
        let address = (Ipv4Addr::LOCALHOST, status_port).into();
        loop {
            if is_ready(address) {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err(format!("the gateway ended at its start ({status})"));
            }
            if begun.elapsed() > WAIT {
                return Err(format!(
                    "the gateway is not ready after {} s",
                    WAIT.as_secs()
                ));
            }
            interrupt.check()?;
            thread::sleep(PAUSE);
        }
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Bytes in the error log: where to look for what comes next.
    pub fn log_size(&self) -> usize {
        self.log().len()
    }

    /// Whether `text` comes into the error log behind `from`; waited for a moment, since logs are written apart.
    pub fn logs(&self, from: usize, text: &str) -> bool {
        const WAIT: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        loop {
            let log = self.log();
            let new = log.get(from..).unwrap_or_default();
            if memchr::memmem::find(new, text.as_bytes()).is_some() {
                return true;
            }
            if begun.elapsed() > WAIT {
                return false;
            }
            thread::sleep(PAUSE);
        }
    }

    /// The last lines of what the gateway wrote.
    pub fn last_words(&self) -> String {
        let mut words = String::new();
        for name in [OUTPUT, ERROR_LOG] {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if !text.trim().is_empty() {
                words.push_str(&format!("{name}:\n{}", tail(&text)));
            }
        }
        words
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.folder.join(ERROR_LOG)).unwrap_or_default()
    }
}

impl Drop for Gateway {
    /// SIGTERM and time to drain, then SIGKILL.
    fn drop(&mut self) {
        const WAIT: Duration = Duration::from_secs(8);
        if self.ended().is_some() {
            return;
        }
        let told = i32::try_from(self.child.id()).is_ok_and(|pid| kill(pid, libc::SIGTERM).is_ok());
        let begun = Instant::now();
        while told && begun.elapsed() < WAIT {
            if self.ended().is_some() {
                return;
            }
            thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PAUSE: Duration = Duration::from_millis(20);

fn is_ready(address: SocketAddr) -> bool {
    const WAIT: Duration = Duration::from_secs(1);
    const ANSWER_SIZE_MAX: u64 = 4096;
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect_timeout(&address, WAIT)?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.write_all(
            b"GET /status/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = Vec::new();
        socket.take(ANSWER_SIZE_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(DEMO_LOG_LINES_SHOWN_MAX);
    let shown = lines.get(from..).unwrap_or_default();
    shown.iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown() {
        let text: String = (0..DEMO_LOG_LINES_SHOWN_MAX + 2)
            .map(|n| format!("{n}\n"))
            .collect();
        let shown = tail(&text);
        assert!(shown.starts_with("  2\n"), "{shown}");
        assert_eq!(shown.lines().count(), DEMO_LOG_LINES_SHOWN_MAX);
        assert_eq!(tail("a"), "  a\n");
    }
}
