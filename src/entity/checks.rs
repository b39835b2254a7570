//! Checks of single values. Each error is Kong's text (KONG.md §1).
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of services, routes and plugin instances.
pub fn utf8_name(value: &Value) -> Result<(), String> {
    let name = text(value);
    let accepted = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || ".-_~".contains(c);
    if name.chars().all(accepted) {
        Ok(())
    } else {
        Err(format!(
            "invalid value '{name}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
        ))
    }
}

pub fn tag(value: &Value) -> Result<(), String> {
    let tag = text(value);
    let accepted = |c: char| !c.is_ascii() || (matches!(c, ' '..='~') && c != ',' && c != '/');
    if tag.chars().all(accepted) {
        Ok(())
    } else {
        Err(format!(
            "invalid tag '{tag}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
        ))
    }
}

/// Whether the text is 8-4-4-4-12 hexadecimal digits, of any version and case.
pub fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

// ── hosts ──

/// `services.host`: a host name, an IPv4 address or an IPv6 address in brackets; no port.
pub fn host(value: &Value) -> Result<(), String> {
    let host = text(value);
    match split_port(host) {
        Ok((_, Some(_))) | Err(_) => Err("must not have a port".into()),
        Ok((name, None)) if is_ip_literal(name) || is_hostname(name) => Ok(()),
        Ok(_) => Err(format!("invalid value: {host}")),
    }
}

/// `snis.name` and `routes.snis`: a host name, or one `*` as the first or last character.
/// Only the place of the wildcard is looked at, so `*foo.com` passes, as it does in Kong.
pub fn wildcard_host(value: &Value) -> Result<(), String> {
    let name = text(value);
    let wildcards = name.matches('*').count();
    if wildcards > 1 {
        return Err("only one wildcard must be specified".into());
    }
    if wildcards == 1 && !name.starts_with('*') && !name.ends_with('*') {
        return Err("wildcard must be leftmost or rightmost character".into());
    }
    if is_ip_literal(name) || name.parse::<Ipv6Addr>().is_ok() {
        return Err("must not be an IP".into());
    }
    let plain = name.replacen('*', "w", wildcards);
    match split_port(&plain) {
        Ok((_, Some(_))) | Err(_) => Err("must not have a port".into()),
        Ok((plain, None)) if is_hostname(plain) => Ok(()),
        Ok(_) => Err(format!("invalid value: {name}")),
    }
}

/// `routes.hosts`: a host name or an address, with an optional port; one `*` as the whole first or last label.
pub fn route_host(value: &Value) -> Result<(), String> {
    let given = text(value);
    let (name, _) = split_port(given)?;
    match name.matches('*').count() {
        0 if is_ip_literal(name) || is_hostname(name) => Ok(()),
        0 => Err(format!("invalid hostname: {given}")),
        1 => {
            let Some(rest) = name.strip_prefix("*.").or_else(|| name.strip_suffix(".*")) else {
                return Err(
                    "invalid wildcard: must be placed at leftmost or rightmost label".into(),
                );
            };
            if is_hostname(rest) {
                Ok(())
            } else {
                Err(format!("invalid hostname: {given}"))
            }
        }
        _ => Err("invalid wildcard: must have at most one wildcard".into()),
    }
}

/// `upstreams.name`.
pub fn upstream_name(value: &Value) -> Result<(), String> {
    let name = text(value);
    let refuse = |reason: &str| Err(format!("Invalid name ('{name}'); {reason}"));
    if is_ip_literal(name) || name.parse::<Ipv6Addr>().is_ok() {
        return refuse("no ip addresses allowed");
    }
    match split_port(name) {
        Ok((host, Some(_))) if is_ip_literal(host) => refuse("no ip addresses allowed"),
        Ok((host, Some(_))) if is_hostname(host) => refuse("no port allowed"),
        Ok((host, None)) if is_hostname(host) => Ok(()),
        _ => refuse("must be a valid hostname"),
    }
}

/// `upstreams.host_header`: `host[:port]`.
pub fn host_with_port(value: &Value) -> Result<(), String> {
    let given = text(value);
    match split_port(given) {
        Ok((name, _)) if is_ip_literal(name) || is_hostname(name) => Ok(()),
        _ => Err(format!("invalid value: {given}")),
    }
}

/// A target as `host:port`, and whether it is one: addresses in full form, the port 8000 when absent.
pub fn normal_target(target: &str) -> Option<String> {
    if let Ok(address) = target.parse::<Ipv6Addr>() {
        return Some(format!("{}:{TARGET_PORT}", expanded(address)));
    }
    let (name, port) = split_port(target).ok()?;
    let port = port.unwrap_or(TARGET_PORT);
    if let Some(address) = bracketed(name) {
        return Some(format!("{}:{port}", expanded(address)));
    }
    (is_ip_literal(name) || is_hostname(name)).then(|| format!("{name}:{port}"))
}

pub fn target(value: &Value) -> Result<(), String> {
    let target = text(value);
    normal_target(target)
        .map(drop)
        .ok_or_else(|| format!("Invalid target ('{target}'); not a valid hostname or ip address"))
}

const TARGET_PORT: u16 = 8000;

/// Splits `name[:port]`; a bracketed IPv6 address keeps its brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let name_end = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => 0,
    };
    let Some(colon) = text[name_end..].find(':').map(|at| name_end + at) else {
        return Ok((text, None));
    };
    let digits = &text[colon + 1..];
    match digits.parse::<u16>() {
        Ok(port) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok((&text[..colon], Some(port))),
        _ => Err("invalid port number".into()),
    }
}

/// An IPv4 address, or an IPv6 address in brackets.
fn is_ip_literal(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || bracketed(text).is_some()
}

fn bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn expanded(address: Ipv6Addr) -> String {
    let groups: Vec<String> = address
        .segments()
        .iter()
        .map(|g| format!("{g:04x}"))
        .collect();
    format!("[{}]", groups.join(":"))
}

/// Labels of letters, digits, `-` and `_`; a trailing dot is accepted. What looks like an address is none.
fn is_hostname(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address_like = labels.split('.').count() == 4
        && labels
            .split('.')
            .all(|l| l.bytes().all(|b| b.is_ascii_digit()));
    labels.len() <= 253 && labels.split('.').all(label) && !address_like
}

/// `routes.sources` and `destinations`: an address or a CIDR range.
pub fn ip_or_cidr(value: &Value) -> Result<(), String> {
    let given = text(value);
    let valid = match given.split_once('/') {
        None => given.parse::<IpAddr>().is_ok(),
        Some((address, bits)) => {
            let limit = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => Some(32),
                Ok(IpAddr::V6(_)) => Some(128),
                Err(_) => None,
            };
            matches!((limit, bits.parse::<u8>()), (Some(limit), Ok(bits)) if bits <= limit)
        }
    };
    valid
        .then_some(())
        .ok_or_else(|| format!("invalid ip or cidr range: '{given}'"))
}

// ── paths ──

/// `services.path`.
pub fn path(value: &Value) -> Result<(), String> {
    let path = text(value);
    if !path.starts_with('/') {
        return Err("should start with: /".into());
    }
    if path.contains("//") {
        return Err("must not have empty segments".into());
    }
    path_characters(path)
}

/// `routes.paths`: `/prefix` in normal form, or `~/regex`. The regex itself is looked at in `routes`.
pub fn route_path(value: &Value) -> Result<(), String> {
    let path = text(value);
    if path.starts_with("~/") {
        return Ok(());
    }
    if !path.starts_with('/') {
        return Err("should start with: / (fixed path) or ~/ (regex path)".into());
    }
    if path.contains("//") {
        return Err("must not have empty segments".into());
    }
    path_characters(path)?;
    let normal = normal_path(path);
    if normal == path {
        Ok(())
    } else {
        Err(format!(
            "non-normalized path, consider use '{normal}' instead"
        ))
    }
}

/// Bytes outside RFC 3986's reserved and unreserved sets, and `%` without two hexadecimal digits, are refused.
fn path_characters(path: &str) -> Result<(), String> {
    let accepted = |c: char| c.is_ascii_alphanumeric() || "-._~%:/?#[]@!$&'()*+,;=".contains(c);
    if !path.chars().all(accepted) {
        return Err(format!(
            "invalid path: '{path}' (characters outside of the reserved list of RFC 3986 found)"
        ));
    }
    // All ASCII from here on, so bytes are characters.
    for (at, _) in path.match_indices('%') {
        let escape = &path[at..path.len().min(at + 3)];
        if escape.len() < 3 || !escape[1..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid url-encoded value: '{escape}'"));
        }
    }
    Ok(())
}

/// RFC 3986 §6.2.2: escapes of unreserved characters decoded, others in upper case, dot segments resolved.
fn normal_path(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3).unwrap_or_default();
        match u8::from_str_radix(escape, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
            }
            _ => {
                decoded.push('%');
                decoded.push_str(&escape.to_ascii_uppercase());
            }
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    decoded.push_str(rest);

    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in decoded.split('/').skip(1) {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_in_slash || segments.is_empty() {
        normal.push('/');
    }
    normal
}

// ── other ──

/// `routes.methods`.
pub fn method(value: &Value) -> Result<(), String> {
    let method = text(value);
    if method.bytes().all(|b| b.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(format!("invalid value: {method}"))
    }
}

pub fn header_name(value: &Value) -> Result<(), String> {
    let name = text(value);
    if name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        Ok(())
    } else {
        Err(format!(
            "bad header name '{name}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
        ))
    }
}

/// It becomes the name of a cookie in `Set-Cookie`.
pub fn cookie_name(value: &Value) -> Result<(), String> {
    let name = text(value);
    header_name(value).map_err(|_| {
        format!("bad cookie name '{name}', allowed characters are A-Z, a-z, 0-9, '_', and '-'")
    })
}

/// The keys of `routes.headers`.
pub fn route_header_name(value: &Value) -> Result<(), String> {
    if text(value).eq_ignore_ascii_case("host") {
        return Err(
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute".into(),
        );
    }
    header_name(value)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
