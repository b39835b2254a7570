//! The listen grammar of KONG.md §4.3: `address:port flag…, …`, or `off`.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::values::{Parsed, number, shown, time};
use crate::limits::LISTENERS_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub addr: SocketAddr,
    pub ssl: bool,
    pub http2: bool,
    pub proxy_protocol: bool,
    /// TCP_DEFER_ACCEPT.
    pub deferred: bool,
    pub bind: bool,
    pub reuseport: bool,
    pub backlog: Option<u32>,
    /// `None`: nginx's default, on.
    pub ipv6only: Option<bool>,
    pub so_keepalive: Option<KeepAlive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    On,
    Off,
    /// `idle:interval:count`; a part left empty keeps the system's value.
    Tuned {
        idle: Option<Duration>,
        interval: Option<Duration>,
        count: Option<u32>,
    },
}

const FLAGS: &str = "ssl, http2, proxy_protocol, deferred, bind, reuseport, backlog=N, ipv6only=on|off, so_keepalive=on|off|idle:interval:count";

/// An empty list for `off`.
pub fn listeners(value: &str) -> Parsed<Vec<Listen>> {
    if value.trim().eq_ignore_ascii_case("off") {
        return Ok(Vec::new());
    }
    let parsed = value
        .split(',')
        .map(listener)
        .collect::<Parsed<Vec<Listen>>>()?;
    if parsed.len() > LISTENERS_MAX {
        return Err(format!(
            "has {} listeners; at most {LISTENERS_MAX} are accepted",
            parsed.len()
        ));
    }
    let mut seen = HashSet::new();
    for listen in &parsed {
        // Port 0 asks the system for any free port, so it may repeat.
        if listen.addr.port() != 0 && !seen.insert(listen.addr) {
            return Err(format!("listener {} is named twice", listen.addr));
        }
    }
    Ok(parsed)
}

fn listener(text: &str) -> Parsed<Listen> {
    let mut words = text.split_ascii_whitespace();
    let at = words
        .next()
        .ok_or("a listener is empty; `address:port flag…, …` or `off` is accepted")?;
    let addr = listen_address(at)?;
    let mut listen = Listen {
        addr,
        ssl: false,
        http2: false,
        proxy_protocol: false,
        deferred: false,
        bind: false,
        reuseport: false,
        backlog: None,
        ipv6only: None,
        so_keepalive: None,
    };
    let mut seen = HashSet::new();
    for word in words {
        let (flag, argument) = match word.split_once('=') {
            Some((flag, argument)) => (flag, Some(argument)),
            None => (word, None),
        };
        if !seen.insert(flag) {
            return Err(format!("listener {at}: flag `{flag}` is given twice"));
        }
        set_flag(&mut listen, flag, argument).map_err(|why| format!("listener {at}: {why}"))?;
    }
    Ok(listen)
}

fn set_flag(listen: &mut Listen, flag: &str, argument: Option<&str>) -> Parsed<()> {
    match (flag, argument) {
        ("ssl", None) => listen.ssl = true,
        ("http2", None) => listen.http2 = true,
        ("proxy_protocol", None) => listen.proxy_protocol = true,
        ("deferred", None) => listen.deferred = true,
        ("bind", None) => listen.bind = true,
        ("reuseport", None) => listen.reuseport = true,
        ("backlog", Some(count)) => {
            listen.backlog = Some(
                number(count, 1, i32::MAX as u32)
                    .map_err(|why| format!("flag `backlog`: {why}"))?,
            );
        }
        ("ipv6only", Some(switch)) => {
            if listen.addr.is_ipv4() {
                return Err("flag `ipv6only` is for IPv6 addresses".into());
            }
            listen.ipv6only = Some(on_off(switch).ok_or_else(|| {
                format!("flag `ipv6only`: {} is neither on nor off", shown(switch))
            })?);
        }
        ("so_keepalive", Some(text)) => {
            listen.so_keepalive =
                Some(keep_alive(text).map_err(|why| format!("flag `so_keepalive`: {why}"))?);
        }
        ("udp", _) => return Err("flag `udp` is for stream_listen, which is not served".into()),
        ("backlog" | "ipv6only" | "so_keepalive", None) => {
            return Err(format!("flag `{flag}` needs a value, as in `{flag}=…`"));
        }
        ("ssl" | "http2" | "proxy_protocol" | "deferred" | "bind" | "reuseport", Some(_)) => {
            return Err(format!("flag `{flag}` takes no value"));
        }
        _ => {
            return Err(format!(
                "flag {} is not known; accepted: {FLAGS}",
                shown(flag)
            ));
        }
    }
    Ok(())
}

fn listen_address(at: &str) -> Parsed<SocketAddr> {
    let refused = || {
        format!(
            "listener {}: `IPv4:port`, `[IPv6]:port` or `localhost:port` is accepted",
            shown(at)
        )
    };
    if let Some(("localhost", port)) = at.rsplit_once(':') {
        let port = number(port, 0, u16::MAX).map_err(|_| refused())?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    at.parse().map_err(|_| refused())
}

fn on_off(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn keep_alive(text: &str) -> Parsed<KeepAlive> {
    match on_off(text) {
        Some(true) => return Ok(KeepAlive::On),
        Some(false) => return Ok(KeepAlive::Off),
        None => {}
    }
    let refused = || {
        format!(
            "{} is neither on, off nor `idle:interval:count` with at least one of the three",
            shown(text)
        )
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [idle, interval, count] = parts[..] else {
        return Err(refused());
    };
    if idle.is_empty() && interval.is_empty() && count.is_empty() {
        return Err(refused());
    }
    // The system takes whole seconds from 1 to 32767 (nginx's own check is the kernel's).
    let wait = |part: &str| -> Parsed<Option<Duration>> {
        if part.is_empty() {
            return Ok(None);
        }
        let wait = time(part)?;
        if wait < Duration::from_secs(1) || wait > Duration::from_secs(32_767) {
            return Err(format!("{} is outside 1s to 32767s", shown(part)));
        }
        Ok(Some(wait))
    };
    let count = if count.is_empty() {
        None
    } else {
        Some(number(count, 1, 127)?)
    };
    Ok(KeepAlive::Tuned {
        idle: wait(idle)?,
        interval: wait(interval)?,
        count,
    })
}
