//! Reads what [`super::load`] and [`super::cores`] are pure over: settings file, environment, CPU mask, PEM files.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::cores::{Placement, place};
use super::{
    Evaluated, Flag, Given, Loaded, PemSource, Problem, Settings, Source, Sources, TrustSource,
};
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
    /// Settings whose directives, PEM files and CPUs are all in order, or every problem.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        self.evaluate().into_result()
    }

    /// As [`Invocation::load`], for commands that go on after an error.
    pub fn evaluate(&self) -> Evaluated {
        let (sources, unread) = self.sources();
        let mut evaluated = super::evaluate(&sources);
        evaluated.errors.extend(unread);
        absolute_prefix(&mut evaluated.settings);
        let pem_problems = file_problems(&evaluated);
        evaluated.errors.extend(pem_problems);
        match placement(&evaluated.settings) {
            Ok(Placement { warning: None, .. }) => {}
            Ok(Placement {
                warning: Some(why), ..
            }) => {
                let problem = placement_problem(&evaluated, why);
                evaluated.warnings.push(problem);
            }
            Err(why) => {
                let problem = placement_problem(&evaluated, why);
                evaluated.errors.push(problem);
            }
        }
        evaluated
    }

    /// The prefix alone, for commands that address a running gateway: other directives may be broken by now.
    pub fn prefix(&self) -> Result<PathBuf, Vec<Problem>> {
        let (sources, unread) = self.sources();
        let mut evaluated = super::evaluate(&sources);
        absolute_prefix(&mut evaluated.settings);
        evaluated
            .errors
            .retain(|problem| problem.directive == "prefix");
        // Without its file the prefix is known only where something above the file names it.
        let prefix_given = evaluated.given.contains_key("prefix");
        evaluated.errors.extend(unread.filter(|_| !prefix_given));
        evaluated.into_result().map(|loaded| loaded.settings.prefix)
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

    fn sources(&self) -> (Sources, Option<Problem>) {
        let (file, unread) = match self.file().map(|path| (read_settings(&path), path)) {
            None => (None, None),
            Some((Ok(text), path)) => (Some((path, text)), None),
            Some((Err(why), path)) => {
                let message = format!("the settings file cannot be read: {why}");
                (
                    None,
                    Some(Problem {
                        directive: String::new(),
                        source: Source::Unread(path),
                        message,
                    }),
                )
            }
        };
        // A variable that is not UTF-8 cannot be one of ours.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        (
            Sources {
                file,
                env,
                flags: self.flags.clone(),
            },
            unread,
        )
    }
}

/// Pid file and generated keys must not move with the working directory.
fn absolute_prefix(settings: &mut Settings) {
    if let Ok(prefix) = std::path::absolute(&settings.prefix) {
        settings.prefix = prefix;
    }
}

fn read_settings(path: &Path) -> std::io::Result<String> {
    let bytes = read_bounded(path, SETTINGS_FILE_SIZE_MAX)?;
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
}

/// Where threads go under the CPU mask of this process.
pub fn placement(settings: &Settings) -> Result<Placement, String> {
    // The system tells the mask of the calling thread, and threads are pinned later: the first answer is the process's.
    static MASK: OnceLock<Vec<usize>> = OnceLock::new();
    let mask = MASK.get_or_init(|| {
        core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect()
    });
    place(
        mask,
        settings.worker_processes,
        settings.cores.as_deref(),
        settings.control_core,
    )
}

/// Binds the calling thread to one CPU; false where the system refuses.
pub fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
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

/// The sentences of [`place`] begin with the directive they are about.
fn placement_problem(evaluated: &Evaluated, message: String) -> Problem {
    let directive = message
        .split_once(':')
        .map_or("", |(name, _)| name)
        .to_owned();
    let source = evaluated
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
fn file_problems(evaluated: &Evaluated) -> Vec<Problem> {
    let settings = &evaluated.settings;
    let mut problems = Vec::new();
    let mut note = |directive: &str, message: String| {
        let source = evaluated
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
        ("admin_ssl_client_ca", &settings.admin_ssl_client_ca),
        ("client_ssl_cert", &client(&settings.client_ssl_cert)),
    ];
    for (directive, sources) in certificates {
        for source in sources {
            if let Err(why) = holds_certificate(source) {
                note(
                    directive,
                    format!("{directive}: failed loading certificate from {source}: {why}"),
                );
            }
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
        for source in sources {
            if let Err(why) = holds_key(source) {
                note(
                    directive,
                    format!("{directive}: failed loading key from {source}: {why}"),
                );
            }
        }
    }
    for trust in &settings.lua_ssl_trusted_certificate {
        if let TrustSource::Pem(source) = trust
            && let Err(why) = holds_certificate(source)
        {
            note(
                "lua_ssl_trusted_certificate",
                format!(
                    "lua_ssl_trusted_certificate: failed loading certificate from {source}: {why}"
                ),
            );
        }
    }
    if let Some(path) = &settings.proxy_ssl_trusted_certificate
        && let Err(why) = holds_certificate(&PemSource::Path(path.clone()))
    {
        note(
            "nginx_proxy_proxy_ssl_trusted_certificate",
            format!(
                "no certificate could be read from {}: {why}",
                path.display()
            ),
        );
    }
    // Without the default one, as in an empty container, all names are the name servers'.
    if evaluated.given.contains_key("dns_hostsfile")
        && let Err(why) = is_readable(&settings.dns_hostsfile)
    {
        note(
            "dns_hostsfile",
            format!("{}: {why}", settings.dns_hostsfile.display()),
        );
    }
    problems
}

fn is_readable(path: &Path) -> std::io::Result<()> {
    match std::fs::File::open(path)?.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    }
}

fn holds_certificate(source: &PemSource) -> Result<(), String> {
    let text = source.read().map_err(|why| why.to_string())?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        certificate.map_err(|_| NO_PEM)?;
        count += 1;
    }
    match count {
        0 => Err("it holds no PEM certificate".into()),
        _ => Ok(()),
    }
}

fn holds_key(source: &PemSource) -> Result<(), String> {
    let text = source.read().map_err(|why| why.to_string())?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(_) => Ok(()),
        Err(_) if memchr::memmem::find(&text, b"ENCRYPTED").is_some() => {
            Err("it is encrypted; a key without passphrase is needed".into())
        }
        Err(pem::Error::NoItemsFound) => Err("it holds no PEM key".into()),
        Err(_) => Err(NO_PEM.into()),
    }
}

/// The library would show a line of the file, which may be a key.
const NO_PEM: &str = "it is not well-formed PEM";

/// This machine's name, as the kernel knows it.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// The whole file, unless it is larger than `size_max` bytes.
pub fn read_bounded(path: &Path, size_max: u64) -> std::io::Result<Vec<u8>> {
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
