//! Settings in the forms that the data plane and the control side use. No file is read here.

use crate::http1::error_body::{Format, Templates};
use crate::limits;
use crate::options::{Options, RealIp, ResponseFields};
use crate::resolve::{HostsFile, Order, ResolveSettings};
use crate::ring::Engine;
use crate::settings::{self, Settings};
use crate::telemetry::access::Level;
use crate::telemetry::log::{LogTargets, Sink, Target};
use crate::tls::provider::{Chosen, Mode, Version};
use crate::tls::server::ServerSettings;
use crate::worker::{Keepalive, ListenOn};
use std::time::Duration;

/// nginx's own backlog where a listener names none.
const BACKLOG: i32 = 511;

pub fn options(settings: &Settings, templates: Templates) -> Options {
    let headers = &settings.headers;
    Options {
        handshake_timeout: settings.ssl_handshake_timeout,
        head_timeout: settings.client_header_timeout,
        body_timeout: settings.client_body_timeout,
        body_min_rate: settings.client_body_min_rate.into(),
        idle_timeout: settings.keepalive_timeout,
        send_timeout: settings.send_timeout,
        requests_per_connection_max: if settings.keepalive_timeout.is_zero() {
            1
        } else {
            settings.keepalive_requests.into()
        },
        body_size_max: settings.client_max_body_size.unwrap_or(0),
        head_size_max: settings
            .large_client_header_buffers
            .head_size_max()
            .min(limits::REQUEST_HEAD_SIZE_MAX),
        line_size_max: settings.large_client_header_buffers.line_size_max(),
        field_count_max: settings.request_field_count_max as usize,
        connections_max: settings.connections_max as usize,
        handshakes_max: settings.handshakes_in_flight_max as usize,
        client_verdict_grace: settings.client_verdict_grace,
        trusted: settings.trusted_ips.clone(),
        real_ip: match &settings.real_ip_header {
            settings::RealIpHeader::ProxyProtocol => RealIp::ProxyProtocol,
            settings::RealIpHeader::Field(name) if name.eq_ignore_ascii_case("X-Real-IP") => {
                RealIp::XRealIp
            }
            settings::RealIpHeader::Field(name) if name.eq_ignore_ascii_case("X-Forwarded-For") => {
                RealIp::XForwardedFor
            }
            settings::RealIpHeader::Field(name) => RealIp::Other(name.clone()),
        },
        real_ip_recursive: settings.real_ip_recursive,
        port_maps: settings
            .port_maps
            .iter()
            .map(|map| (map.listening, map.public))
            .collect(),
        headers: ResponseFields {
            server: headers.server,
            via: headers.via,
            proxy_latency: headers.proxy_latency,
            upstream_latency: headers.upstream_latency,
            response_latency: headers.response_latency,
            upstream_status: headers.upstream_status,
            request_id: headers.request_id,
        },
        upstream_request_id: settings.headers_upstream.request_id,
        allow_debug_header: settings.allow_debug_header,
        error_default_format: match settings.error_default_type {
            settings::ErrorType::Plain => Format::Plain,
            settings::ErrorType::Json => Format::Json,
            settings::ErrorType::Xml => Format::Xml,
            settings::ErrorType::Html => Format::Html,
        },
        error_templates: templates,
        pool_size: settings.upstream_keepalive_pool_size as usize,
        pool_requests_max: match settings.upstream_keepalive_max_requests {
            0 => u64::MAX,
            count => count.into(),
        },
        pool_idle_timeout: match settings.upstream_keepalive_idle_timeout {
            Duration::ZERO => Duration::MAX,
            timeout => timeout,
        },
        access_log: settings.proxy_access_log != settings::LogTarget::Off,
    }
}

pub fn server_settings(settings: &Settings, chosen: &Chosen) -> ServerSettings {
    ServerSettings {
        versions: settings
            .ssl_protocols
            .iter()
            .map(|version| match version {
                settings::TlsVersion::Tls12 => Version::Tls12,
                settings::TlsVersion::Tls13 => Version::Tls13,
            })
            .collect(),
        suites: settings
            .ssl_ciphers
            .iter()
            .map(|suite| suite.id())
            .collect(),
        groups: settings.ssl_groups.iter().map(|group| group.id()).collect(),
        prefer_server_order: settings.ssl_prefer_server_ciphers,
        session_tickets: settings.ssl_session_tickets,
        session_timeout_secs: settings.ssl_session_timeout.as_secs(),
        ..ServerSettings::new(chosen.clone())
    }
}

pub fn listen_on(settings: &Settings) -> Vec<ListenOn> {
    settings
        .proxy_listen
        .iter()
        .map(|listen| ListenOn {
            address: listen.addr,
            tls: listen.ssl,
            proxy_protocol: listen.proxy_protocol,
            backlog: listen.backlog.map_or(BACKLOG, |backlog| {
                i32::try_from(backlog).unwrap_or(i32::MAX)
            }),
            ipv6only: listen.ipv6only,
            deferred: listen.deferred,
            keepalive: match listen.so_keepalive {
                None | Some(settings::KeepAlive::Off) => None,
                Some(settings::KeepAlive::On) => Some(Keepalive::default()),
                Some(settings::KeepAlive::Tuned {
                    idle,
                    interval,
                    count,
                }) => Some(Keepalive {
                    idle_s: idle.map(whole_seconds),
                    interval_s: interval.map(whole_seconds),
                    count,
                }),
            },
        })
        .collect()
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs().max(1)).unwrap_or(u32::MAX)
}

pub fn engine(settings: &Settings) -> Engine {
    match settings.engine {
        settings::Engine::Auto | settings::Engine::IoUring => Engine::IoUring,
        settings::Engine::Epoll => Engine::Epoll,
    }
}

pub fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::IoUring => "io_uring",
        Engine::Epoll => "epoll",
    }
}

pub fn provider_mode(settings: &Settings) -> Mode {
    match settings.tls_provider {
        settings::TlsProvider::Auto => Mode::Auto,
        settings::TlsProvider::Mixed => Mode::Mixed,
        settings::TlsProvider::AwsLc => Mode::AwsLc,
        settings::TlsProvider::Ring => Mode::Ring,
    }
}

/// Whether connections stay on the core their packets arrive on.
pub fn steering(settings: &Settings) -> bool {
    settings.accept_steering == settings::AcceptSteering::Cpu
}

pub fn log_targets(settings: &Settings) -> LogTargets {
    let mut targets = LogTargets::off();
    let directives = [
        (Sink::Access, &settings.proxy_access_log),
        (Sink::Error, &settings.proxy_error_log),
        (Sink::AdminAccess, &settings.admin_access_log),
        (Sink::AdminError, &settings.admin_error_log),
        (Sink::StatusAccess, &settings.status_access_log),
        (Sink::StatusError, &settings.status_error_log),
    ];
    for (sink, directive) in directives {
        let target = match directive {
            settings::LogTarget::Off => Target::Off,
            settings::LogTarget::Stdout => Target::Stdout,
            settings::LogTarget::Stderr => Target::Stderr,
            settings::LogTarget::File(path) => Target::File(settings.prefix.join(path)),
        };
        targets.set(sink, target);
    }
    targets.level = log_level(settings);
    targets
}

pub fn log_level(settings: &Settings) -> Level {
    match settings.log_level {
        settings::LogLevel::Debug => Level::Debug,
        settings::LogLevel::Info => Level::Info,
        settings::LogLevel::Notice => Level::Notice,
        settings::LogLevel::Warn => Level::Warn,
        settings::LogLevel::Error => Level::Error,
        settings::LogLevel::Crit => Level::Crit,
        settings::LogLevel::Alert => Level::Alert,
        settings::LogLevel::Emerg => Level::Emerg,
    }
}

pub fn resolve_settings(settings: &Settings) -> ResolveSettings {
    ResolveSettings {
        nameservers: settings.dns_resolver.clone(),
        hosts: HostsFile::Path(settings.dns_hostsfile.clone()),
        order: settings
            .dns_order
            .iter()
            .map(|record| match record {
                settings::DnsRecord::Last => Order::Last,
                settings::DnsRecord::Srv => Order::Srv,
                settings::DnsRecord::A => Order::A,
                settings::DnsRecord::Aaaa => Order::Aaaa,
                settings::DnsRecord::Cname => Order::Cname,
            })
            .collect(),
        valid_ttl_s: settings.dns_valid_ttl.map(|ttl| ttl.as_secs()),
        stale_ttl_s: settings.dns_stale_ttl.as_secs(),
        not_found_ttl_s: settings.dns_not_found_ttl.as_secs(),
        error_ttl_s: settings.dns_error_ttl.as_secs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_off_a_stream_or_a_file_that_may_be_below_the_prefix() {
        let settings = Settings {
            prefix: "/p".into(),
            proxy_error_log: settings::LogTarget::Stderr,
            status_error_log: settings::LogTarget::File("/var/a.log".into()),
            ..Settings::default()
        };
        assert_eq!(
            log_targets(&settings).targets,
            [
                Target::File("/p/logs/access.log".into()),
                Target::Stderr,
                Target::File("/p/logs/admin_access.log".into()),
                Target::File("/p/logs/error.log".into()),
                Target::Off,
                Target::File("/var/a.log".into()),
            ]
        );
    }
}
