//! Certificates, keys and trust that settings name: read from their files, generated where none is named.

use super::convert;
use crate::http1::error_body::{Template, Templates};
use crate::limits;
use crate::publish::{AdminTls, Material, expiry_of};
use crate::settings::io::read_bounded;
use crate::settings::{Database, PemSource, RouterFlavor, Settings, TrustSource};
use crate::snapshot::Globals;
use crate::telemetry::metrics::CertificateExpiry;
use crate::tls::keys::{KeyClass, KeyPair, generate_default};
use crate::tls::provider::{Chosen, ProviderError};
use crate::tls::server::{RequestMap, ServerPolicy, ServerSettings};
use crate::tls::sni::SniTable;
use crate::tls::trust::{self, Roots, TrustSet};
use crate::tls::upstream::ClientPair;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// All that settings name, loaded; default pairs are generated when none is set, and with `write` kept in the prefix.
///
/// # Errors
/// One line per directive that names something unusable.
pub fn load(settings: &Settings, chosen: &Chosen, write: bool) -> Result<Material, String> {
    let mut problems = Vec::new();
    let default_pairs = pairs(settings, Listener::Proxy, write, &mut problems);
    let mut client_pairs = Vec::new();
    if settings.client_ssl {
        match (&settings.client_ssl_cert, &settings.client_ssl_cert_key) {
            (Some(certificate), Some(key)) => {
                let loaded = pair("client_ssl_cert", certificate, "client_ssl_cert_key", key);
                collect(loaded, &mut client_pairs, &mut problems);
            }
            // KONG.md §11.16: the generated pair, whatever `ssl_cert` says; ECDSA stands first.
            _ => match generated(&settings.prefix, "", write) {
                Ok(pairs) => client_pairs.extend(pairs.into_iter().next()),
                Err(problem) => problems.push(problem),
            },
        }
    }
    let with_status_tls = settings.status_listen.iter().any(|listen| listen.ssl);
    let status_pairs = match with_status_tls {
        true => pairs(settings, Listener::Status, write, &mut problems),
        false => Vec::new(),
    };
    let mut proxy_trust = Vec::new();
    if let Some(path) = &settings.proxy_ssl_trusted_certificate {
        let source = PemSource::Path(path.clone());
        collect(
            trust("nginx_proxy_proxy_ssl_trusted_certificate", &[source]),
            &mut proxy_trust,
            &mut problems,
        );
    }
    let mut fallback_trust = Vec::new();
    collect(
        fallback(&settings.lua_ssl_trusted_certificate),
        &mut fallback_trust,
        &mut problems,
    );
    let templates = templates(settings, &mut problems);
    let server = convert::server_settings(settings, chosen);
    let mut status = None;
    if with_status_tls {
        match status_policy(&server, status_pairs.clone(), RequestMap::default()) {
            Ok(policy) => status = Some(Arc::new(policy)),
            Err(error) => problems.push(format!("status_listen: {error}")),
        }
    }
    let with_admin_tls = settings.admin_listen.iter().any(|listen| listen.ssl);
    let admin_pairs = match with_admin_tls {
        true => pairs(settings, Listener::Admin, write, &mut problems),
        false => Vec::new(),
    };
    let mut admin = None;
    if with_admin_tls {
        match admin_tls(settings, &server, admin_pairs.clone()) {
            Ok(tls) => admin = Some(tls),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let mut certificates = expiries("default", "ssl_cert", &default_pairs);
    certificates.extend(expiries("status", "status_ssl_cert", &status_pairs));
    certificates.extend(expiries("admin", "admin_ssl_cert", &admin_pairs));
    certificates.extend(expiries("client", "client_ssl_cert", &client_pairs));
    Ok(Material {
        globals: Globals {
            default_pairs,
            server: Arc::new(server),
            client_pair: client_pairs
                .pop()
                .map(|pair| Arc::new(ClientPair::shared(pair))),
            proxy_ssl_verify: settings.proxy_ssl_verify,
            tls_certificate_verify: settings.tls_certificate_verify,
            verify_depth: settings.proxy_ssl_verify_depth,
            fallback_verify_depth: settings.lua_ssl_verify_depth,
            proxy_trust: proxy_trust.pop(),
            fallback_trust: fallback_trust.pop(),
            traditional: settings.router_flavor == RouterFlavor::Traditional,
            advised: settings.database == Database::Off,
        },
        certificates,
        status,
        admin,
        templates,
    })
}

#[derive(Clone, Copy)]
enum Listener {
    Proxy,
    Status,
    Admin,
}

/// The pairs a listener shows by default: those of its directives, else generated ones.
fn pairs(
    settings: &Settings,
    listener: Listener,
    write: bool,
    problems: &mut Vec<String>,
) -> Vec<Arc<KeyPair>> {
    let (cert_name, key_name, prefix) = match listener {
        Listener::Proxy => ("ssl_cert", "ssl_cert_key", ""),
        Listener::Status => ("status_ssl_cert", "status_ssl_cert_key", "status-"),
        Listener::Admin => ("admin_ssl_cert", "admin_ssl_cert_key", "admin-"),
    };
    let given: Vec<_> = match listener {
        Listener::Proxy => settings.ssl_pairs().collect(),
        Listener::Status => settings.status_ssl_pairs().collect(),
        Listener::Admin => settings.admin_ssl_pairs().collect(),
    };
    let mut loaded = Vec::new();
    for (certificate, key) in &given {
        let pair = pair(cert_name, certificate, key_name, key);
        collect(pair, &mut loaded, problems);
    }
    if given.is_empty() {
        match generated(&settings.prefix, prefix, write) {
            Ok(generated) => loaded = generated,
            Err(problem) => problems.push(format!("{cert_name}: {problem}")),
        }
    }
    loaded
}

/// As the proxy's, but for tickets: a probe does not resume.
fn status_policy(
    server: &ServerSettings,
    pairs: Vec<Arc<KeyPair>>,
    requests: RequestMap,
) -> Result<ServerPolicy, ProviderError> {
    let settings = ServerSettings {
        session_tickets: false,
        ..server.clone()
    };
    ServerPolicy::new(&settings, pairs, SniTable::default(), requests, false)
}

/// With `admin_ssl_client_ca` every client is asked for a certificate; whether it is a good one is judged per request.
fn admin_tls(
    settings: &Settings,
    server: &ServerSettings,
    pairs: Vec<Arc<KeyPair>>,
) -> Result<AdminTls, String> {
    let mut requests = RequestMap::default();
    let mut clients = None;
    if !settings.admin_ssl_client_ca.is_empty() {
        let named = |reason: String| format!("admin_ssl_client_ca: {reason}");
        let mut anchors = Vec::new();
        for source in &settings.admin_ssl_client_ca {
            let text = source
                .read()
                .map_err(|error| named(format!("{source}: {error}")))?;
            let text = String::from_utf8_lossy(&text);
            let ders = crate::entity::pem::certificates(&text)
                .map_err(|reason| named(format!("{source}: {reason}")))?;
            let numbered = ders.into_iter().zip(anchors.len()..);
            let more: Vec<_> = numbered
                .map(|(der, at)| (uuid::Uuid::from_u128(at as u128 + 1), der.to_vec()))
                .collect();
            anchors.extend(more);
        }
        let trust = TrustSet::build(anchors, trust::Options::default()).map_err(named)?;
        requests.insert("*", trust.subject_names());
        clients = Some(Arc::new(trust));
    }
    let policy =
        status_policy(server, pairs, requests).map_err(|error| format!("admin_listen: {error}"))?;
    Ok(AdminTls {
        policy: Arc::new(policy),
        clients,
    })
}

fn expiries(kind: &'static str, directive: &str, pairs: &[Arc<KeyPair>]) -> Vec<CertificateExpiry> {
    let named = |pair: &Arc<KeyPair>| {
        let id = format!("{directive} ({})", pair.algorithm().name());
        expiry_of(kind, id, &pair.leaf().ok()?)
    };
    pairs.iter().filter_map(named).collect()
}

fn templates(settings: &Settings, problems: &mut Vec<String>) -> Templates {
    let mut read = |directive: &str, path: &Option<PathBuf>| {
        let path = path.as_ref()?;
        match template(path) {
            Ok(template) => Some(Arc::new(template)),
            Err(reason) => {
                problems.push(format!("{directive}: {}: {reason}", path.display()));
                None
            }
        }
    };
    Templates {
        json: read("error_template_json", &settings.error_template_json),
        plain: read("error_template_plain", &settings.error_template_plain),
        html: read("error_template_html", &settings.error_template_html),
        xml: read("error_template_xml", &settings.error_template_xml),
    }
}

fn template(path: &Path) -> Result<Template, String> {
    let bytes = read_bounded(path, limits::ERROR_TEMPLATE_SIZE_MAX).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Template::parse(&text).map_err(|error| error.to_string())
}

fn collect<T>(loaded: Result<T, String>, into: &mut Vec<Arc<T>>, problems: &mut Vec<String>) {
    match loaded {
        Ok(loaded) => into.push(Arc::new(loaded)),
        Err(problem) => problems.push(problem),
    }
}

/// Kong's words (KONG.md §4.2).
fn pair(
    cert_name: &str,
    certificate: &PemSource,
    key_name: &str,
    key: &PemSource,
) -> Result<KeyPair, String> {
    let cert_pem = text(certificate).map_err(|error| {
        format!(
            "{cert_name}: failed loading certificate from {}: {error}",
            shown(certificate)
        )
    })?;
    let key_pem = text(key).map_err(|error| {
        format!(
            "{key_name}: failed loading key from {}: {error}",
            shown(key)
        )
    })?;
    let pair = KeyPair::from_pem(&cert_pem, &key_pem).map_err(|error| match error {
        crate::tls::keys::KeyError::Key { .. } => {
            format!(
                "{key_name}: failed loading key from {}: {error}",
                shown(key)
            )
        }
        error => format!(
            "{cert_name}: failed loading certificate from {}: {error}",
            shown(certificate)
        ),
    })?;
    pair.check()
        .map_err(|error| format!("{cert_name}: {error}"))?;
    Ok(pair)
}

fn text(source: &PemSource) -> io::Result<String> {
    String::from_utf8(source.read()?).map_err(|_| io::Error::other("it is not text"))
}

/// Never a PEM text: it may be a key.
fn shown(source: &PemSource) -> String {
    match source {
        PemSource::Path(path) => path.display().to_string(),
        PemSource::Text(_) => "the given text".to_owned(),
    }
}

fn trust(name: &str, sources: &[PemSource]) -> Result<Roots, String> {
    let mut texts = Vec::new();
    for source in sources {
        let pem = source
            .read()
            .map_err(|error| format!("{name}: {}: {error}", shown(source)))?;
        texts.push((format!("{name}: {}", shown(source)), pem));
    }
    Roots::from_pems(&texts)
}

/// `lua_ssl_trusted_certificate`: chosen certificates must all be usable; of the system's bundle what cannot be used is
/// left out.
fn fallback(sources: &[TrustSource]) -> Result<Roots, String> {
    let name = "lua_ssl_trusted_certificate";
    if sources.contains(&TrustSource::System) {
        let mut ders: Vec<Vec<u8>> = rustls_native_certs::load_native_certs()
            .certs
            .into_iter()
            .map(|der| der.to_vec())
            .collect();
        for source in sources {
            if let TrustSource::Pem(source) = source {
                let pem = source
                    .read()
                    .map_err(|error| format!("{name}: {}: {error}", shown(source)))?;
                let pem = String::from_utf8(pem)
                    .map_err(|_| format!("{name}: {}: it is not text", shown(source)))?;
                let certificates = crate::entity::pem::certificates(&pem);
                let certificates =
                    certificates.map_err(|error| format!("{name}: {}: {error}", shown(source)))?;
                ders.extend(certificates.into_iter().map(|der| der.to_vec()));
            }
        }
        return Ok(Roots::from_bundle(ders).0);
    }
    let chosen: Vec<PemSource> = sources
        .iter()
        .filter_map(|source| match source {
            TrustSource::Pem(source) => Some(source.clone()),
            TrustSource::System => None,
        })
        .collect();
    trust(name, &chosen)
}

/// The default pairs of KONG.md §4.2, kept in the prefix and used again by later starts. `set` begins their files' names.
fn generated(prefix: &Path, set: &str, write: bool) -> Result<Vec<Arc<KeyPair>>, String> {
    let folder = prefix.join("ssl");
    let mut pairs = Vec::new();
    for (class, name) in [
        (KeyClass::Ecdsa, "kong-default-ecdsa"),
        (KeyClass::Rsa, "kong-default"),
    ] {
        let cert_path = folder.join(format!("{set}{name}.crt"));
        let key_path = folder.join(format!("{set}{name}.key"));
        let read = |path: &Path| {
            read_bounded(path, limits::PEM_FILE_SIZE_MAX)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
        };
        let (cert_pem, key_pem) = match (read(&cert_path), read(&key_path)) {
            (Some(certificate), Some(key)) => {
                if write {
                    close_to_others(&key_path)
                        .map_err(|error| format!("{}: {error}", key_path.display()))?;
                }
                (certificate, key)
            }
            _ => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                let (certificate, key) =
                    generate_default(class, now).map_err(|error| error.to_string())?;
                if write {
                    let kept = fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(&folder)
                        .and_then(|()| keep(&key_path, &key, 0o600))
                        .and_then(|()| keep(&cert_path, &certificate, 0o644));
                    kept.map_err(|error| {
                        format!(
                            "cannot keep the generated pair in {}: {error}",
                            folder.display()
                        )
                    })?;
                }
                (certificate, key)
            }
        };
        let pair = KeyPair::from_pem(&cert_pem, &key_pem)
            .map_err(|error| format!("{}: {error}", cert_path.display()))?;
        pair.check()
            .map_err(|error| format!("{}: {error}", cert_path.display()))?;
        pairs.push(Arc::new(pair));
    }
    Ok(pairs)
}

/// A key that a copy or a backup left readable to others is made ours again.
fn close_to_others(path: &Path) -> io::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// Writes beside and renames: a half-written key is never found by a later start.
fn keep(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Flag, Sources};
    use crate::tls::provider::{Mode, choose};

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("material-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&path).expect("a folder");
            Folder(path)
        }

        fn file(&self, name: &str, text: &str) -> String {
            let path = self.0.join(name);
            fs::write(&path, text).expect("written");
            path.display().to_string()
        }

        fn settings(&self, set: &[(&str, &str)]) -> Settings {
            let prefix = self.0.display().to_string();
            let prefix = ("prefix", prefix.as_str());
            let flags = std::iter::once(&prefix)
                .chain(set)
                .map(|(name, value)| Flag {
                    flag: "--set",
                    name: (*name).to_owned(),
                    value: (*value).to_owned(),
                });
            let sources = Sources {
                flags: flags.collect(),
                ..Sources::default()
            };
            crate::settings::load(&sources).expect("sound").settings
        }

        fn load(&self, set: &[(&str, &str)]) -> Result<Material, String> {
            load(&self.settings(set), &choose(Mode::Auto), true)
        }

        fn mode(&self, name: &str) -> u32 {
            let metadata = fs::metadata(self.0.join(name)).expect("it is there");
            metadata.permissions().mode() & 0o777
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn generated_pairs_are_kept_private_and_used_again() {
        // KONG.md §4.2
        let folder = Folder::new();
        let set = [("status_listen", "127.0.0.1:0 ssl")];
        let first = folder.load(&set).expect("loaded");
        assert!(first.status.is_some());
        assert_eq!(folder.mode("ssl"), 0o700);
        for name in ["kong-default", "kong-default-ecdsa"] {
            for set in ["", "status-", "admin-"] {
                assert_eq!(folder.mode(&format!("ssl/{set}{name}.key")), 0o600);
                assert!(folder.0.join(format!("ssl/{set}{name}.crt")).exists());
            }
        }
        let ids: Vec<&str> = first.certificates.iter().map(|one| &*one.id).collect();
        assert_eq!(
            ids,
            [
                "ssl_cert (ECDSA)",
                "ssl_cert (RSA)",
                "status_ssl_cert (ECDSA)",
                "status_ssl_cert (RSA)",
                "admin_ssl_cert (ECDSA)",
                "admin_ssl_cert (RSA)",
            ]
        );
        let open = folder.0.join("ssl/kong-default.key");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("set");
        let again = folder.load(&set).expect("loaded");
        assert_eq!(folder.mode("ssl/kong-default.key"), 0o600);
        let digests = |material: &Material| -> Vec<_> {
            let pairs = material.globals.default_pairs.iter();
            pairs.map(|pair| *pair.chain_digest()).collect()
        };
        assert_eq!(digests(&first), digests(&again));
    }

    #[test]
    fn the_client_pair_is_among_the_certificates_whose_expiry_is_told() {
        let folder = Folder::new();
        let loaded = folder.load(&[("client_ssl", "on")]).expect("loaded");
        let client = loaded.certificates.iter().find(|one| one.kind == "client");
        assert_eq!(client.map(|one| &*one.id), Some("client_ssl_cert (ECDSA)"));
        assert!(loaded.status.is_none(), "no status listener has ssl");
    }

    #[test]
    fn a_bad_template_is_an_error_that_names_its_directive() {
        let folder = Folder::new();
        let one_slot = folder.file("one", "<p>%s</p>");
        let large = folder.file(
            "large",
            &"x".repeat(limits::ERROR_TEMPLATE_SIZE_MAX as usize + 1),
        );
        let good = folder.file("good", "%s %s");
        let set = [
            ("error_template_html", one_slot.as_str()),
            ("error_template_json", "/nowhere/t.json"),
            ("error_template_xml", large.as_str()),
            ("error_template_plain", good.as_str()),
        ];
        let problems = folder.load(&set).map(drop).expect_err("three are bad");
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), 3, "{problems}");
        for (line, start) in lines.iter().zip([
            "error_template_json: /nowhere/t.json: No such file",
            "error_template_html: ",
            "error_template_xml: ",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(
            lines[1].ends_with(
                "it has 1 slots `%s`; two are needed, for the message and the request id"
            )
        );
        let loaded = folder.load(&set[3..]).expect("loaded");
        assert!(loaded.templates.plain.is_some() && loaded.templates.html.is_none());
    }

    #[test]
    fn no_part_of_a_key_is_in_an_error() {
        let folder = Folder::new();
        let pair = || generate_default(KeyClass::Ecdsa, 1_700_000_000).expect("a pair");
        let ((certificate, key), (_, other)) = (pair(), pair());
        let body = key.lines().nth(1).expect("base64");
        let broken = key.replacen('M', "!", 1);
        for (given_key, secret) in [(&*other, other.lines().nth(1)), (&*broken, Some(body))] {
            let certificate = folder.file("c.pem", &certificate);
            // By path, and as a text in the directive itself.
            for key in [folder.file("k.pem", given_key), given_key.to_owned()] {
                let set = [("ssl_cert", certificate.as_str()), ("ssl_cert_key", &key)];
                let error = folder.load(&set).map(drop).expect_err("not a pair");
                let secret = secret.expect("base64");
                assert!(!error.contains(&secret[4..20]), "{error}");
                assert!(error.starts_with("ssl_cert"), "{error}");
            }
        }
    }
}
