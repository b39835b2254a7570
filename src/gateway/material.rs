//! Certificates, keys and trust that settings name: read from their files, generated where none is named.

use super::convert;
use crate::limits;
use crate::settings::{PemSource, Settings, TrustSource};
use crate::snapshot::Globals;
use crate::snapshot::tls_glue::Tls;
use crate::tls::keys::{KeyClass, KeyPair, generate_default};
use crate::tls::provider::Chosen;
use crate::tls::trust::Roots;
use crate::tls::upstream::ClientPair;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// All that `kong.conf` says about TLS, loaded; the default pair is generated in the prefix when none is set.
///
/// # Errors
/// One line per directive that names something unusable.
pub fn globals(settings: &Settings, chosen: &Chosen) -> Result<Globals<Tls>, String> {
    load(settings, chosen, true)
}

/// The same without leaving generated pairs behind: for `check`.
pub fn globals_without_writing(
    settings: &Settings,
    chosen: &Chosen,
) -> Result<Globals<Tls>, String> {
    load(settings, chosen, false)
}

fn load(settings: &Settings, chosen: &Chosen, write: bool) -> Result<Globals<Tls>, String> {
    let mut problems = Vec::new();
    let mut default_pairs = Vec::new();
    for (certificate, key) in settings.ssl_pairs() {
        collect(
            pair("ssl_cert", certificate, "ssl_cert_key", key),
            &mut default_pairs,
            &mut problems,
        );
    }
    if settings.ssl_cert.is_empty() {
        match generated(&settings.prefix, write) {
            Ok(pairs) => default_pairs = pairs,
            Err(problem) => problems.push(problem),
        }
    }
    let mut client_pairs = Vec::new();
    if settings.client_ssl {
        match (&settings.client_ssl_cert, &settings.client_ssl_cert_key) {
            (Some(certificate), Some(key)) => {
                let loaded = pair("client_ssl_cert", certificate, "client_ssl_cert_key", key);
                collect(loaded, &mut client_pairs, &mut problems);
            }
            // KONG.md §11.16: the default pair, ECDSA first.
            _ => client_pairs.extend(
                default_pairs
                    .iter()
                    .find(|pair| pair.algorithm() == KeyClass::Ecdsa)
                    .or(default_pairs.first())
                    .cloned(),
            ),
        }
    }
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
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    Ok(Globals {
        default_pairs,
        server: Arc::new(convert::server_settings(settings, chosen)),
        client_pair: client_pairs
            .pop()
            .map(|pair| Arc::new(ClientPair::shared(pair))),
        proxy_ssl_verify: settings.proxy_ssl_verify,
        tls_certificate_verify: settings.tls_certificate_verify,
        verify_depth: settings.proxy_ssl_verify_depth,
        proxy_trust: proxy_trust.pop(),
        fallback_trust: fallback_trust.pop(),
    })
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

/// The default pairs of KONG.md §4.2, kept in the prefix and used again by later starts.
fn generated(prefix: &Path, write: bool) -> Result<Vec<Arc<KeyPair>>, String> {
    let folder = prefix.join("ssl");
    let mut pairs = Vec::new();
    for (class, name) in [
        (KeyClass::Ecdsa, "kong-default-ecdsa"),
        (KeyClass::Rsa, "kong-default"),
    ] {
        let cert_path = folder.join(format!("{name}.crt"));
        let key_path = folder.join(format!("{name}.key"));
        let read = |path: &Path| {
            fs::read_to_string(path)
                .ok()
                .filter(|text| text.len() <= limits::PEM_FILE_SIZE_MAX as usize)
        };
        let (cert_pem, key_pem) = match (read(&cert_path), read(&key_path)) {
            (Some(certificate), Some(key)) => (certificate, key),
            _ => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                let (certificate, key) =
                    generate_default(class, now).map_err(|error| error.to_string())?;
                if write {
                    let kept = fs::create_dir_all(&folder)
                        .and_then(|()| keep(&key_path, &key, 0o600))
                        .and_then(|()| keep(&cert_path, &certificate, 0o644));
                    kept.map_err(|error| {
                        format!(
                            "ssl_cert: cannot keep the generated pair in {}: {error}",
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
