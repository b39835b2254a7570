//! What the demo's gateway is started with: a settings file and a declarative file, both meant to be read.

use super::pki::{CAROLS_ADDRESS, UPSTREAM_NAME};
use std::path::Path;

/// Files of the demo's folder.
pub(super) const SETTINGS: &str = "sallyport.conf";
pub(super) const DECLARATIVE: &str = "kong.yml";
pub(super) const HOSTS: &str = "hosts";
/// The gateway's prefix, and its error log.
pub(super) const PREFIX: &str = "prefix";
pub(super) const ERROR_LOG: &str = "prefix/logs/error.log";
/// Certificates and keys.
pub(super) const PKI: &str = "pki";

/// A name that leads to the upstream and that its certificate lacks.
const WRONG_NAME: &str = "wrong.demo.test";

pub(super) struct Ports {
    pub proxy: u16,
    pub status: u16,
    pub upstream: u16,
}

/// kong.conf's directives.
pub(super) fn settings(folder: &Path, ports: &Ports) -> String {
    let at = |name: &str| folder.join(name).display().to_string().replace('#', "\\#");
    format!(
        "\
# Settings of the gateway that `sallyport demo` runs: Kong's directives, as in kong.conf.
# Everything not named here has its default.

# Folder of pid file, logs and generated certificates.
prefix = {prefix}

# Services, routes and certificates come from a file, not from a database.
database = off
declarative_config = {declarative}

# Where clients connect, and where health and metrics are served.
proxy_listen = 127.0.0.1:{proxy} ssl
status_listen = 127.0.0.1:{status}
admin_listen = off

# The certificate for clients that name no host, or one that no other certificate is for.
ssl_cert = {default_crt}
ssl_cert_key = {default_key}

# The demo's upstream has names that only this file knows.
dns_hostsfile = {hosts}

# One engine thread will do here; by default every core gets one.
nginx_worker_processes = 1
drain_timeout = 2s
",
        prefix = at(PREFIX),
        declarative = at(DECLARATIVE),
        proxy = ports.proxy,
        status = ports.status,
        default_crt = at("pki/default.crt"),
        default_key = at("pki/default.key"),
        hosts = at(HOSTS),
    )
}

pub(super) fn hosts() -> String {
    format!("127.0.0.1 {UPSTREAM_NAME} {WRONG_NAME}\n")
}

/// Kong's declarative format.
pub(super) fn declarative(ports: &Ports) -> String {
    format!(
        r#"# What the gateway of `sallyport demo` does, in Kong's declarative format.
# `{{file: ...}}` reads a certificate or key from a file beside this one; Kong's way, the PEM text
# itself, works as well.

_format_version: "3.0"

# ── Use case 1: the certificate shown to clients ──
# A client names the host it wants (SNI) and is shown the certificate that lists it. Who names none,
# or another, is shown the default pair: ssl_cert in sallyport.conf.

certificates:
- id: {api}
  cert: {{file: pki/api.crt}}
  key: {{file: pki/api.key}}
  snis:
  - name: api.demo.test
- id: {wildcard}
  cert: {{file: pki/wildcard.crt}}
  key: {{file: pki/wildcard.key}}
  snis:
  - name: "*.demo.test"
# No snis: this one is for upstreams, see use case 3.
- id: {gateway}
  cert: {{file: pki/gateway.crt}}
  key: {{file: pki/gateway.key}}

# ── Use case 2: clients known by their certificate ──
# Authorities, by id; plugins and services name those they trust.

ca_certificates:
- id: {clients_ca}
  cert: {{file: pki/clients-ca.crt}}
- id: {upstreams_ca}
  cert: {{file: pki/upstreams-ca.crt}}

consumers:
# The certificate with the common name "alice" is hers: username and name are the same.
- username: alice
  acls:
  - group: staff
# Carol's certificate holds an address instead; this maps it to her.
- username: carol
  acls:
  - group: guests
  mtls_auth_credentials:
  - id: {credential}
    subject_name: {CAROLS_ADDRESS}
# Bob has a certificate of the same authority and is no consumer.

services:
# ── Use cases 3 and 4: the gateway's certificate to the upstream, and its trust in it ──
- name: orders
  url: https://{UPSTREAM_NAME}:{upstream}
  # Shown when the upstream asks for a certificate, which this one does. The whole chain is sent.
  client_certificate: {gateway}
  # The upstream's certificate must lead to this authority and be for {UPSTREAM_NAME}.
  tls_verify: true
  ca_certificates: [{upstreams_ca}]
  routes:
  - name: public
    protocols: [https]
    hosts: [api.demo.test, foo.demo.test, 127.0.0.1]
  # Only who has a certificate and is in the group `staff`. With `snis`, clients are asked for a
  # certificate under this name only.
  - name: staff
    protocols: [https]
    hosts: [staff.demo.test]
    snis: [staff.demo.test]
    plugins:
    - name: mtls-auth
      config:
        ca_certificates: [{clients_ca}]
        revocation_check_mode: SKIP
    - name: acl
      config:
        allow: [staff]
  # Anyone with a certificate of that authority; the upstream learns the subject.
  - name: partners
    protocols: [https]
    hosts: [partners.demo.test]
    snis: [partners.demo.test]
    plugins:
    - name: mtls-auth
      config:
        ca_certificates: [{clients_ca}]
        skip_consumer_lookup: true
        revocation_check_mode: SKIP

# The same upstream, each time with one thing wrong. All of these answer 502; the error log says why.
# By default each would be tried five times more.
- name: no-certificate
  retries: 0
  url: https://{UPSTREAM_NAME}:{upstream}
  tls_verify: true
  ca_certificates: [{upstreams_ca}]
  routes:
  - name: no-certificate
    protocols: [https]
    hosts: [api.demo.test]
    paths: [/no-certificate]
- name: wrong-name
  retries: 0
  # Leads to the same address, and the upstream's certificate is not for it.
  url: https://{WRONG_NAME}:{upstream}
  client_certificate: {gateway}
  tls_verify: true
  ca_certificates: [{upstreams_ca}]
  routes:
  - name: wrong-name
    protocols: [https]
    hosts: [api.demo.test]
    paths: [/wrong-name]
- name: wrong-authority
  retries: 0
  url: https://{UPSTREAM_NAME}:{upstream}
  client_certificate: {gateway}
  tls_verify: true
  # The clients' authority: it signed no upstream.
  ca_certificates: [{clients_ca}]
  routes:
  - name: wrong-authority
    protocols: [https]
    hosts: [api.demo.test]
    paths: [/wrong-authority]
"#,
        api = "c0000000-0000-4000-8000-000000000001",
        wildcard = "c0000000-0000-4000-8000-000000000002",
        gateway = "c0000000-0000-4000-8000-000000000003",
        clients_ca = "ca000000-0000-4000-8000-000000000001",
        upstreams_ca = "ca000000-0000-4000-8000-000000000002",
        credential = "ce000000-0000-4000-8000-000000000001",
        upstream = ports.upstream,
    )
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::super::now;
    use super::super::pki::Pki;
    use super::*;
    use crate::declarative::{Options, Secret, parse};
    use crate::entity::Kind;
    use crate::settings::Settings;
    use crate::settings::io::Invocation;
    use std::fs;

    const PORTS: Ports = Ports {
        proxy: 18443,
        status: 18007,
        upstream: 19443,
    };

    #[test]
    fn the_declarative_file_is_valid_and_says_what_it_means_without_a_warning() {
        let pki = Pki::make(now()).unwrap();
        let folder = Folder::make().unwrap();
        fs::create_dir(folder.path().join(PKI)).unwrap();
        pki.write(&folder.path().join(PKI)).unwrap();
        let read = |secret: Secret<'_>| match secret {
            Secret::File(path) => {
                fs::read_to_string(folder.path().join(path)).map_err(|why| why.to_string())
            }
            Secret::Env(name) => Err(name.to_owned()),
        };
        let options = Options {
            now_ms: i64::try_from(now()).unwrap() * 1000,
            secrets: &read,
            plugins: None,
        };
        let loaded = parse(&declarative(&PORTS), &options).unwrap_or_else(|why| panic!("{why:?}"));
        // Every mtls-auth is warned of until revocation is looked up.
        let warnings: Vec<_> = (loaded.warnings.iter().map(ToString::to_string))
            .filter(|warning| !warning.contains("revocation_check_mode"))
            .collect();
        assert!(warnings.is_empty(), "{warnings:?}");
        for (kind, count) in [
            (Kind::Services, 4),
            (Kind::Routes, 6),
            (Kind::Certificates, 3),
            (Kind::CaCertificates, 2),
            (Kind::Consumers, 2),
            (Kind::Plugins, 3),
        ] {
            assert_eq!(loaded.config.table(kind).count(), count, "{kind:?}");
        }
    }

    #[test]
    fn the_settings_file_is_accepted() {
        let folder = Folder::make().unwrap();
        let pki = Pki::make(now()).unwrap();
        fs::create_dir(folder.path().join(PKI)).unwrap();
        pki.write(&folder.path().join(PKI)).unwrap();
        fs::write(folder.path().join(HOSTS), hosts()).unwrap();
        let file = folder.path().join(SETTINGS);
        fs::write(&file, settings(folder.path(), &PORTS)).unwrap();
        let invocation = Invocation {
            file: Some(file),
            flags: Vec::new(),
        };
        let evaluated = invocation.evaluate();
        let errors: Vec<_> = evaluated.errors.iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let got: Settings = evaluated.settings;
        assert_eq!(got.prefix, folder.path().join(PREFIX));
        assert_eq!(
            got.declarative_config,
            Some(folder.path().join(DECLARATIVE))
        );
        assert_eq!(got.proxy_listen.len(), 1);
        assert_eq!(got.ssl_cert.len(), 1);
    }
}
