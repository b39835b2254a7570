//! Rules between directives, and what is accepted with a warning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::kong_names::BUNDLED_PLUGINS;
use super::tls::SUITES;
use super::*;
use crate::limits::REQUEST_HEAD_SIZE_MAX;

pub(super) fn apply(
    settings: &mut Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    cipher_profile(settings, given, report);
    let lists = [
        ("ssl_cert", &settings.ssl_cert, &settings.ssl_cert_key),
        (
            "status_ssl_cert",
            &settings.status_ssl_cert,
            &settings.status_ssl_cert_key,
        ),
        (
            "admin_ssl_cert",
            &settings.admin_ssl_cert,
            &settings.admin_ssl_cert_key,
        ),
    ];
    for (cert, certs, keys) in lists {
        pair(cert, certs.len(), keys.len(), given, report);
    }
    let client_pair = [&settings.client_ssl_cert, &settings.client_ssl_cert_key]
        .map(|half| usize::from(half.is_some()));
    if settings.client_ssl {
        pair(
            "client_ssl_cert",
            client_pair[0],
            client_pair[1],
            given,
            report,
        );
    }
    if settings.declarative_config.is_some() && settings.declarative_config_string.is_some() {
        report.error(
            "declarative_config",
            &source(given, "declarative_config"),
            "is set and so is declarative_config_string; one of the two is accepted",
        );
    }
    for (name, set) in [
        ("declarative_config", settings.declarative_config.is_some()),
        (
            "declarative_config_string",
            settings.declarative_config_string.is_some(),
        ),
    ] {
        if set && settings.database == Database::Embedded {
            report.error(
                name,
                &source(given, name),
                "does not count with `database = embedded`; set `database = off` to serve it, or put it into the store with `sallyport config db_import FILE`",
            );
        }
    }
    one_listener_per_address(settings, given, report);
    no_proxy_protocol(settings, given, report);
    protected_admin(settings, given, report);
    accepted_with_a_warning(settings, given, report);
}

/// Listeners of different kinds cannot share an address. Port 0 is any free port.
fn one_listener_per_address(
    settings: &Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    let lists = [
        ("proxy_listen", &settings.proxy_listen),
        ("admin_listen", &settings.admin_listen),
        ("status_listen", &settings.status_listen),
    ];
    for (at, (name, listeners)) in lists.iter().enumerate() {
        for listen in listeners.iter().filter(|listen| listen.addr.port() != 0) {
            for (other, others) in &lists[..at] {
                let taken = others.iter().find(|other| overlap(other.addr, listen.addr));
                if let Some(taken) = taken {
                    let by = match taken.addr == listen.addr {
                        true => String::new(),
                        false => format!(" ({})", taken.addr),
                    };
                    report.error(
                        name,
                        &source(given, name),
                        format!("{} is an address of {other} too{by}", listen.addr),
                    );
                }
            }
        }
    }
}

/// Only the engine reads a PROXY header; elsewhere it would be taken for a request that is none.
fn no_proxy_protocol(
    settings: &Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    for (name, listeners) in [
        ("admin_listen", &settings.admin_listen),
        ("status_listen", &settings.status_listen),
    ] {
        for listen in listeners.iter().filter(|listen| listen.proxy_protocol) {
            report.error(
                name,
                &source(given, name),
                format!("{}: `proxy_protocol` is for proxy_listen only", listen.addr),
            );
        }
    }
}

/// All addresses of a family include each of them.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || (wide && one.port() == other.port() && one.is_ipv4() == other.is_ipv4())
}

/// The Admin API returns private keys: beyond loopback it is for clients with certificates, unless told otherwise.
fn protected_admin(
    settings: &Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    let authenticated = !settings.admin_ssl_client_ca.is_empty();
    for listen in &settings.admin_listen {
        let why = match (listen.addr.ip().is_loopback(), listen.ssl, authenticated) {
            (true, _, _) | (_, true, true) => continue,
            (false, false, _) => "without `ssl`",
            (false, true, false) => "without `admin_ssl_client_ca`",
        };
        if settings.admin_listen_unprotected {
            report.warn(
                "admin_listen",
                &source(given, "admin_listen"),
                format!("{} is not loopback and is open {why}: whoever reaches it can read private keys", listen.addr),
            );
        } else {
            report.error(
                "admin_listen",
                &source(given, "admin_listen"),
                format!(
                    "{} is not loopback and would be open {why}; use `ssl` with `admin_ssl_client_ca`, or set `admin_listen_unprotected = on`",
                    listen.addr
                ),
            );
        }
    }
    if authenticated && !settings.admin_listen.iter().any(|listen| listen.ssl) {
        report.warn(
            "admin_ssl_client_ca",
            &source(given, "admin_ssl_client_ca"),
            "does not count: no listener of admin_listen has `ssl`",
        );
    }
}

/// The profile fills versions and ciphers in; `custom` keeps what was given (KONG.md §4.3).
fn cipher_profile(
    settings: &mut Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    let all = SUITES.map(|(_, suite)| suite);
    let tls13: Vec<CipherSuite> = all.into_iter().filter(|suite| suite.is_tls13()).collect();
    match settings.ssl_cipher_suite {
        SuiteProfile::Modern => {
            settings.ssl_protocols = vec![TlsVersion::Tls13];
            settings.ssl_ciphers = tls13;
        }
        SuiteProfile::Intermediate => {
            settings.ssl_protocols = vec![TlsVersion::Tls12, TlsVersion::Tls13];
            settings.ssl_ciphers = all.to_vec();
        }
        SuiteProfile::Custom if given.contains_key("ssl_ciphers") => {
            for version in settings.ssl_protocols.clone() {
                let offered = settings
                    .ssl_ciphers
                    .iter()
                    .any(|suite| suite.is_tls13() == (version == TlsVersion::Tls13));
                // A refused ssl_ciphers left the list empty and is reported already.
                if !offered && !settings.ssl_ciphers.is_empty() {
                    let name = if version == TlsVersion::Tls13 {
                        "TLSv1.3"
                    } else {
                        "TLSv1.2"
                    };
                    report.error(
                        "ssl_ciphers",
                        &source(given, "ssl_ciphers"),
                        format!("has no cipher for {name}, which ssl_protocols offers"),
                    );
                }
            }
        }
        SuiteProfile::Custom => {
            report.error(
                "ssl_ciphers",
                &source(given, "ssl_cipher_suite"),
                "must be set with `ssl_cipher_suite = custom`",
            );
        }
    }
    if settings.ssl_cipher_suite != SuiteProfile::Custom {
        for name in ["ssl_protocols", "ssl_ciphers"] {
            if let Some(Given { source, .. }) = given.get(name) {
                report.warn(
                    name,
                    source,
                    "does not count: ssl_cipher_suite sets it unless it is `custom`",
                );
            }
        }
    }
}

/// Kong's sentences for halves of pairs (KONG.md §4.2), byte for byte.
fn pair(
    cert: &'static str,
    certs: usize,
    keys: usize,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    let key = format!("{cert}_key");
    match (certs, keys) {
        (0, 0) => {}
        (0, _) => report.error(
            cert,
            &source(given, &key),
            format!("{cert} must be specified"),
        ),
        (_, 0) => report.error(
            &key,
            &source(given, cert),
            format!("{key} must be specified"),
        ),
        (certs, keys) if certs != keys => report.error(
            cert,
            &source(given, cert),
            format!("{cert} was specified {certs} times while {key} was specified {keys} times"),
        ),
        _ => {}
    }
}

fn accepted_with_a_warning(
    settings: &Settings,
    given: &BTreeMap<&'static str, Given>,
    report: &mut Report,
) {
    if settings.proxy_listen.iter().any(|listen| listen.http2) {
        report.warn(
            "proxy_listen",
            &source(given, "proxy_listen"),
            "`http2` is accepted, but HTTP/2 is not served yet; clients are offered HTTP/1.1",
        );
    }
    // Directives that are worth a word whenever they are set to something that counts.
    let when_given: [(&str, bool, &str); 7] = [
        (
            "ssl_session_cache_size",
            true,
            "is not used: sessions are kept in tickets",
        ),
        (
            "ssl_dhparam",
            true,
            "is not used: rustls has no finite-field Diffie-Hellman",
        ),
        (
            "router_flavor",
            settings.router_flavor == RouterFlavor::Traditional,
            "`traditional` honours path_handling v1 and prefers the older of two routes of equal rank; all else is as in traditional_compatible",
        ),
        (
            "tls_certificate_verify",
            !settings.tls_certificate_verify && settings.proxy_ssl_verify != Some(true),
            "off: upstream certificates are not verified where the service does not ask for it",
        ),
        (
            "nginx_proxy_proxy_ssl_verify",
            settings.proxy_ssl_verify == Some(false),
            "off: upstream certificates are not verified where the service does not ask for it",
        ),
        (
            "client_ssl_cert",
            !settings.client_ssl,
            "is not used while client_ssl is off",
        ),
        (
            "ssl_session_timeout",
            settings.ssl_session_timeout < Duration::from_secs(60),
            "ticket secrets turn twice in that time; below 60s few sessions are resumed",
        ),
    ];
    for (name, counts, why) in when_given {
        if let Some(Given { source, .. }) = given.get(name).filter(|_| counts) {
            report.warn(name, source, why);
        }
    }
    let buffers = "nginx_http_large_client_header_buffers";
    let head_size_max = settings.large_client_header_buffers.head_size_max();
    if head_size_max > REQUEST_HEAD_SIZE_MAX {
        report.warn(
            buffers,
            &source(given, buffers),
            format!(
                "holds {head_size_max} bytes; a head above {REQUEST_HEAD_SIZE_MAX} is refused all the same"
            ),
        );
    }
    for name in [
        "proxy_access_log",
        "proxy_error_log",
        "admin_access_log",
        "admin_error_log",
        "status_access_log",
        "status_error_log",
    ] {
        if let Some(Given { value, source }) = given.get(name)
            && let Some((_, rest)) = value.split_once(char::is_whitespace)
        {
            report.warn(
                name,
                source,
                format!(
                    "`{}` behind the path is ignored; formats and levels cannot be chosen per log",
                    rest.trim()
                ),
            );
        }
    }
    for plugin in settings
        .plugins
        .iter()
        .filter(|plugin| !PLUGINS_SERVED.contains(&plugin.as_str()))
    {
        let kind = if BUNDLED_PLUGINS.contains(&plugin.as_str()) {
            "a plugin of Kong that this gateway does not have"
        } else {
            "no plugin that this gateway has"
        };
        report.warn(
            "plugins",
            &source(given, "plugins"),
            format!("`{plugin}` is {kind}; it cannot be configured"),
        );
    }
}

fn source(given: &BTreeMap<&'static str, Given>, name: &str) -> Source {
    given
        .get(name)
        .map_or(Source::Default, |given| given.source.clone())
}

impl Settings {
    /// Whether a declarative configuration is named.
    pub fn names_configuration(&self) -> bool {
        self.declarative_config.is_some() || self.declarative_config_string.is_some()
    }

    /// How long one ticket secret seals: two such spans are the session timeout (DESIGN.md).
    pub fn ticket_epoch(&self) -> Duration {
        self.ssl_session_timeout / 2
    }

    /// Certificates and keys of `ssl_cert`, paired; empty when the generated pair is to be used.
    pub fn ssl_pairs(&self) -> impl Iterator<Item = (&PemSource, &PemSource)> {
        self.ssl_cert.iter().zip(&self.ssl_cert_key)
    }

    /// The same of `admin_ssl_cert`.
    pub fn admin_ssl_pairs(&self) -> impl Iterator<Item = (&PemSource, &PemSource)> {
        self.admin_ssl_cert.iter().zip(&self.admin_ssl_cert_key)
    }

    /// The same of `status_ssl_cert`.
    pub fn status_ssl_pairs(&self) -> impl Iterator<Item = (&PemSource, &PemSource)> {
        self.status_ssl_cert.iter().zip(&self.status_ssl_cert_key)
    }
}
