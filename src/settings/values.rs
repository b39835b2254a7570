//! The forms of values: text in, typed value or a sentence saying what is accepted out.
//!
//! Stricter than Kong in one place: a boolean that is none of on, off, true, false is an error (Kong
//! reads it as off without a word, KONG.md §7.3).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{LIST_ENTRIES_MAX, TIME_MAX_S};

pub type Parsed<T> = Result<T, String>;

/// The value as an error may show it: a PEM text never, a long text only its beginning.
pub fn shown(value: &str) -> String {
    const SHOWN_MAX: usize = 60;
    if super::pem::holds_pem(value) {
        return "<PEM text>".into();
    }
    let mut short: String = value.chars().take(SHOWN_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}

pub fn boolean(value: &str) -> Parsed<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!(
            "{} is not a switch; on, off, true or false is accepted",
            shown(value)
        )),
    }
}

/// `None` for an empty text: the directive is not set.
pub fn optional<T>(value: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Parsed<Option<T>> {
    if value.is_empty() {
        Ok(None)
    } else {
        parse(value).map(Some)
    }
}

/// Entries between commas, surrounding space removed, empty ones skipped (a trailing comma is common).
pub fn list<T>(value: &str, parse: impl Fn(&str) -> Parsed<T>) -> Parsed<Vec<T>> {
    let entries: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    if entries.len() > LIST_ENTRIES_MAX {
        return Err(format!(
            "has {} entries; at most {LIST_ENTRIES_MAX} are accepted",
            entries.len()
        ));
    }
    entries.into_iter().map(parse).collect()
}

pub fn number<T>(value: &str, min: T, max: T) -> Parsed<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    value
        .parse::<T>()
        .ok()
        .filter(|number| *number >= min && *number <= max && !value.starts_with('+'))
        .ok_or_else(|| format!("{} is not a whole number from {min} to {max}", shown(value)))
}

/// nginx's times: `500ms`, `30s`, `10m`, `1h30m`, `1d`, `2w`, `1M` (30 days), `1y`; no unit means seconds.
pub fn time(value: &str) -> Parsed<Duration> {
    let refused = || {
        format!(
            "{} is not a time; a whole number with ms, s, m, h, d, w, M or y is accepted (500ms, 30s, 1h30m), without a unit in seconds",
            shown(value)
        )
    };
    let mut rest = value;
    let mut total_ms: u64 = 0;
    let mut previous_unit_ms = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, tail) = rest.split_at(digits);
        let count: u64 = count.parse().map_err(|_| refused())?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            // Only a lone number may go without a unit.
            "" if tail.is_empty() && digits == value.len() => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(refused()),
        };
        // As in nginx: units go down, each at most once.
        if unit_ms >= previous_unit_ms {
            return Err(refused());
        }
        previous_unit_ms = unit_ms;
        total_ms = count
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(refused)?;
        rest = tail.trim_start();
    }
    if value.is_empty() {
        return Err(refused());
    }
    if total_ms > TIME_MAX_S * 1_000 {
        return Err(format!("{} is longer than ten years", shown(value)));
    }
    Ok(Duration::from_millis(total_ms))
}

/// A time that bounds a wait: zero would end every exchange at once, so it is refused.
pub fn timeout(value: &str) -> Parsed<Duration> {
    let parsed = time(value)?;
    if parsed.is_zero() {
        return Err("0 would end every exchange at once; a time above 0 is accepted".into());
    }
    Ok(parsed)
}

/// Kong's DNS times: seconds, fractions allowed (`0.5`), or an nginx time.
pub fn seconds(value: &str) -> Parsed<Duration> {
    match value.split_once('.') {
        None => time(value),
        Some((whole, fraction))
            if fraction.len() <= 3
                && [whole, fraction]
                    .iter()
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())) =>
        {
            let millis = number(&format!("{fraction:0<3}"), 0u64, 999)?;
            Ok(Duration::from_millis(
                number(whole, 0u64, TIME_MAX_S)? * 1_000 + millis,
            ))
        }
        Some(_) => Err(format!(
            "{} is not a time; seconds such as 30 or 0.5 are accepted",
            shown(value)
        )),
    }
}

/// nginx's sizes in bytes: `8k`, `1m`, `1g`, letter in either case.
pub fn size(value: &str) -> Parsed<u64> {
    let refused = || {
        format!(
            "{} is not a size; a whole number with k, m or g, or without a letter in bytes, is accepted",
            shown(value)
        )
    };
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 20),
        Some(b'g' | b'G') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let count = number(digits, 0u64, u64::MAX).map_err(|_| refused())?;
    count
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(refused)
}

/// A size of which 0 means that there is no bound.
pub fn size_or_unbounded(value: &str) -> Parsed<Option<u64>> {
    size(value).map(|bytes| (bytes > 0).then_some(bytes))
}

pub fn path(value: &str) -> Parsed<PathBuf> {
    if value.is_empty() || value.contains('\0') {
        return Err("a path is accepted".into());
    }
    Ok(PathBuf::from(value))
}

/// `address[:port]`, IPv6 in brackets when a port follows.
pub fn address(value: &str, default_port: u16) -> Parsed<SocketAddr> {
    let bare = value
        .strip_prefix('[')
        .and_then(|v| v.strip_suffix(']'))
        .unwrap_or(value);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default_port));
    }
    value.parse().map_err(|_| {
        format!(
            "{} is not an address; IP, IP:port or [IPv6]:port is accepted",
            shown(value)
        )
    })
}

/// One of a fixed set of words, compared without regard to case.
pub fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Parsed<T> {
    words
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|(_, parsed)| *parsed)
        .ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            format!(
                "{} is not known; accepted: {}",
                shown(value),
                names.join(", ")
            )
        })
}

/// `0-3,8`: CPU numbers and ranges as taskset writes them. In the order given, each once.
pub fn cpu_list(value: &str) -> Parsed<Vec<usize>> {
    use crate::limits::CPU_MAX;
    let mut cpus = Vec::new();
    for entry in value.split(',').map(str::trim) {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let first = number(first.trim(), 0, CPU_MAX)?;
        let last = number(last.trim(), 0, CPU_MAX)?;
        if first > last {
            return Err(format!("{} runs backwards", shown(entry)));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}
