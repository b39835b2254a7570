//! Reads what [`super::load`] and [`super::cores`] are pure over: settings file, environment, CPU mask, PEM files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::cores::{Placement, place};
use super::{Flag, Given, Loaded, PemSource, Problem, Settings, Source, Sources, TrustSource};
use crate::limits::{PEM_FILE_SIZE_MAX, SETTINGS_FILE_SIZE_MAX};

/// Looked for in this order when no file is named.
pub const DEFAULT_FILES: [&str; 3] = [
    "/etc/sallyport/sallyport.conf",
    "/etc/kong/kong.conf",
    "/etc/kong.conf",
];

/// What the command line says about settings. Kept by a running gateway, which loads again on SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// `-c`
    pub file: Option<PathBuf>,
    pub flags: Vec<Flag>,
}

impl Invocation {
    /// Loads the settings and checks the PEM files they name. Every problem of the first step that has any.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let mut loaded = self.load_settings()?;
        let problems = pem_problems(&loaded);
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Some(why) = placement(&loaded.settings)
            .map_err(|why| vec![mask_problem(&loaded, why)])?
            .warning
        {
            loaded.warnings.push(mask_problem(&loaded, why));
        }
        Ok(loaded)
    }

    /// Settings alone, for commands that only need the prefix.
    pub fn load_settings(&self) -> Result<Loaded, Vec<Problem>> {
        let sources = Sources {
            file: self.read_file().map_err(|problem| vec![problem])?,
            // A variable that is not UTF-8 cannot be one of ours.
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            flags: self.flags.clone(),
        };
        let mut loaded = super::load(&sources)?;
        // The pid file and the generated keys must not move with the working directory.
        loaded.settings.prefix =
            std::path::absolute(&loaded.settings.prefix).unwrap_or(loaded.settings.prefix);
        Ok(loaded)
    }

    /// The file that is read: `-c`, else the first default that exists.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.file {
            Some(file) => Some(file.clone()),
            None => DEFAULT_FILES
                .iter()
                .map(PathBuf::from)
                .find(|file| file.exists()),
        }
    }

    fn read_file(&self) -> Result<Option<(PathBuf, String)>, Problem> {
        let Some(path) = self.file() else {
            return Ok(None);
        };
        let text = read_bounded(&path, SETTINGS_FILE_SIZE_MAX).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
        });
        match text {
            Ok(text) => Ok(Some((path, text))),
            Err(why) => Err(Problem {
                directive: String::new(),
                source: Source::Flag("-c"),
                message: format!("the settings file {} cannot be read: {why}", path.display()),
            }),
        }
    }
}

/// Where threads go under the CPU mask of this process.
pub fn placement(settings: &Settings) -> Result<Placement, String> {
    let mask: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    place(
        &mask,
        settings.worker_processes,
        settings.cores.as_deref(),
        settings.control_core,
    )
}

impl PemSource {
    /// The PEM text: of the file as it is now, or as given.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            PemSource::Text(text) => Ok(text.clone().into_bytes()),
            PemSource::Path(path) => read_bounded(path, PEM_FILE_SIZE_MAX),
        }
    }
}

fn mask_problem(loaded: &Loaded, message: String) -> Problem {
    let directive = message
        .split_once(':')
        .map_or("", |(name, _)| name)
        .to_owned();
    let source = loaded
        .given
        .get(directive.as_str())
        .map_or(Source::Default, |given| given.source.clone());
    Problem {
        directive,
        source,
        message,
    }
}

/// Files that cannot be read or hold nothing usable, in Kong's words (KONG.md §4.2).
fn pem_problems(loaded: &Loaded) -> Vec<Problem> {
    let settings = &loaded.settings;
    let mut problems = Vec::new();
    let mut note = |directive: &str, message: String| {
        let source = loaded
            .given
            .get(directive)
            .map_or(Source::Default, |Given { source, .. }| source.clone());
        problems.push(Problem {
            directive: directive.to_owned(),
            source,
            message,
        });
    };
    let client = |half: &Option<PemSource>| {
        half.iter()
            .filter(|_| settings.client_ssl)
            .cloned()
            .collect::<Vec<_>>()
    };
    let certificates = [
        ("ssl_cert", &settings.ssl_cert),
        ("status_ssl_cert", &settings.status_ssl_cert),
        ("admin_ssl_cert", &settings.admin_ssl_cert),
        ("client_ssl_cert", &client(&settings.client_ssl_cert)),
    ];
    for (directive, sources) in certificates {
        for source in sources.iter().filter(|source| !holds_certificate(source)) {
            note(
                directive,
                format!("{directive}: failed loading certificate from {source}"),
            );
        }
    }
    let keys = [
        ("ssl_cert_key", &settings.ssl_cert_key),
        ("status_ssl_cert_key", &settings.status_ssl_cert_key),
        ("admin_ssl_cert_key", &settings.admin_ssl_cert_key),
        (
            "client_ssl_cert_key",
            &client(&settings.client_ssl_cert_key),
        ),
    ];
    for (directive, sources) in keys {
        for source in sources.iter().filter(|source| !holds_key(source)) {
            note(
                directive,
                format!("{directive}: failed loading key from {source}"),
            );
        }
    }
    for trust in &settings.lua_ssl_trusted_certificate {
        if let TrustSource::Pem(source) = trust
            && !holds_certificate(source)
        {
            note(
                "lua_ssl_trusted_certificate",
                format!("lua_ssl_trusted_certificate: failed loading certificate from {source}"),
            );
        }
    }
    if let Some(path) = &settings.proxy_ssl_trusted_certificate
        && !holds_certificate(&PemSource::Path(path.clone()))
    {
        note(
            "nginx_proxy_proxy_ssl_trusted_certificate",
            format!("no certificate could be read from {}", path.display()),
        );
    }
    problems
}

fn holds_certificate(source: &PemSource) -> bool {
    let Ok(text) = source.read() else {
        return false;
    };
    let mut count = 0;
    CertificateDer::pem_slice_iter(&text)
        .inspect(|_| count += 1)
        .all(|certificate| certificate.is_ok())
        && count > 0
}

fn holds_key(source: &PemSource) -> bool {
    source
        .read()
        .is_ok_and(|text| PrivateKeyDer::from_pem_slice(&text).is_ok())
}

fn read_bounded(path: &Path, size_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = std::fs::File::open(path)?
        .take(size_max + 1)
        .read_to_end(&mut bytes)?;
    if size as u64 > size_max {
        return Err(std::io::Error::other(format!(
            "it is larger than {size_max} bytes"
        )));
    }
    Ok(bytes)
}
