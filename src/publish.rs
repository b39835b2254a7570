//! From a checked configuration to every core: compile, broadcast, and remember what to say about it.

use crate::entity::{Config, Kind, rows};
use crate::http1::error_body::Templates;
use crate::limits;
use crate::mailbox::{Down, Post};
use crate::options::Options;
use crate::snapshot::tls_glue::Tls;
use crate::snapshot::{Compiler, Globals, Snapshot};
use crate::telemetry::metrics::CertificateExpiry;
use crate::tls::identity::Identity;
use crate::tls::server::ServerPolicy;
use crate::tls::upstream::Versions;
use std::sync::Arc;

/// A configuration with what is worth saying about it.
pub struct Configuration {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// All that settings name, loaded.
pub struct Material {
    pub globals: Globals<Tls>,
    /// Certificates that settings name, for the metric of their expiry.
    pub certificates: Vec<CertificateExpiry>,
    /// What status listeners with `ssl` show; `None` where none has it.
    pub status: Option<Arc<ServerPolicy>>,
    pub templates: Templates,
}

/// Compiles configurations, each with what the one before it left unchanged. It may take seconds: it belongs on a thread
/// that may block.
pub struct Publisher {
    compiler: Compiler<Tls>,
    own_certificates: Vec<CertificateExpiry>,
    tls: Tls,
    warnings: Vec<String>,
    facts: Facts,
}

/// What the status listener tells of the configuration in force.
#[derive(Clone, Default)]
pub struct Facts {
    pub number: u64,
    /// Nothing is configured.
    pub empty: bool,
    /// 32 hex digits over the content (KONG.md §7.2).
    pub hash: String,
    /// Those that expire first, at most `limits::METRIC_CERTIFICATES_MAX`.
    pub certificates: Vec<CertificateExpiry>,
}

impl Publisher {
    pub fn new(globals: Globals<Tls>, own_certificates: Vec<CertificateExpiry>) -> Self {
        Publisher {
            compiler: Compiler::new(globals),
            own_certificates,
            tls: Tls {
                upstream_versions: Versions {
                    tls12: true,
                    tls13: true,
                },
            },
            warnings: Vec::new(),
            facts: Facts::default(),
        }
    }

    /// Compiles with other globals from here on, if the configuration compiles with them: a refusal changes nothing.
    ///
    /// # Errors
    /// Every problem, in a line each.
    pub fn compile_with(
        &mut self,
        globals: Globals<Tls>,
        own_certificates: Vec<CertificateExpiry>,
        configuration: &Configuration,
    ) -> Result<Arc<Snapshot>, Vec<String>> {
        let compiled = self
            .compiler
            .full(&self.tls, &configuration.config, &globals);
        let (snapshot, warnings) = compiled
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        self.own_certificates = own_certificates;
        self.warnings = configuration.warnings.clone();
        self.warnings
            .extend(warnings.iter().map(ToString::to_string));
        self.facts = facts(
            &configuration.config,
            &self.own_certificates,
            snapshot.number,
        );
        Ok(Arc::new(snapshot))
    }

    /// # Errors
    /// As `compile_with`.
    pub fn compile(&mut self, configuration: &Configuration) -> Result<Arc<Snapshot>, Vec<String>> {
        let globals = self.compiler.globals().clone();
        self.compile_with(globals, self.own_certificates.clone(), configuration)
    }

    /// What the last compilation had to say, once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }
}

/// Makes a snapshot the one that every core uses from its next handshake and request head on.
/// Returns the cores whose mailbox was full: they are stuck, and serve the old one.
pub fn broadcast(post: &Post, snapshot: &Arc<Snapshot>, options: &Arc<Options>) -> Vec<usize> {
    post.broadcast(|| Down::Publish {
        snapshot: snapshot.clone(),
        options: options.clone(),
    })
}

fn facts(config: &Config, own_certificates: &[CertificateExpiry], number: u64) -> Facts {
    let empty = config.tables.values().all(crate::entity::Table::is_empty);
    let hash = if empty {
        "0".repeat(32)
    } else {
        let text = crate::declarative::dump(config).to_string();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest
            .as_ref()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let mut certificates = own_certificates.to_vec();
    for row in config
        .rows::<rows::Certificate>(Kind::Certificates)
        .flatten()
    {
        for pem in std::iter::once(&row.cert).chain(&row.cert_alt) {
            certificates.extend(expiry("certificate", row.id, pem));
        }
    }
    for row in config
        .rows::<rows::CaCertificate>(Kind::CaCertificates)
        .flatten()
    {
        certificates.extend(expiry("ca_certificate", row.id, &row.cert));
    }
    certificates.sort_by_key(|certificate| certificate.not_after);
    certificates.truncate(limits::METRIC_CERTIFICATES_MAX);
    Facts {
        number,
        empty,
        hash,
        certificates,
    }
}

fn expiry(kind: &'static str, id: uuid::Uuid, pem: &str) -> Option<CertificateExpiry> {
    let certificates = crate::entity::pem::certificates(pem).ok()?;
    expiry_of(kind, id.to_string(), certificates.first()?)
}

/// `None`: not a certificate that can be read. `id`: an entity's, or the directive that names it.
pub fn expiry_of(kind: &'static str, id: String, der: &[u8]) -> Option<CertificateExpiry> {
    let identity = Identity::parse(der).ok()?;
    Some(CertificateExpiry {
        kind,
        id,
        name: identity.subject_dn.to_string(),
        not_after: i64::try_from(identity.facts.not_after).unwrap_or(i64::MAX),
    })
}
