//! From a checked configuration to every core: compile, broadcast, and remember what to say about it.
//!
//! - `thread`: the one thread that compiles, in the order in which changes came.
//! - `live`: which revision of the store every core serves.
//! - `expiry`: which certificates expire first.

#[cfg(test)]
mod answers;
mod expiry;
mod live;
mod thread;

pub use expiry::Expiries;
pub use live::{Live, NotLive, Raise, live};
pub use thread::{Order, Orders, Parts, Prepared, Reply, Taken, start};

use crate::entity::{Config, Kind};
use crate::http1::error_body::Templates;
use crate::mailbox::{Post, Published};
use crate::options::Options;
use crate::snapshot::tls_glue::Tls;
use crate::snapshot::{Compiler, Globals, Problem, Settled, Settling, Snapshot, Warning};
use crate::store::Change;
use crate::telemetry::metrics::CertificateExpiry;
use crate::tls::identity::Identity;
use crate::tls::server::ServerPolicy;
use crate::tls::trust::TrustSet;
use crate::tls::upstream::Versions;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

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
    /// The same of the Admin API's.
    pub admin: Option<AdminTls>,
    pub templates: Templates,
}

/// What listeners of the Admin API with `ssl` show and ask for.
#[derive(Clone)]
pub struct AdminTls {
    pub policy: Arc<ServerPolicy>,
    /// `admin_ssl_client_ca`: whom it answers to; `None`: everyone.
    pub clients: Option<Arc<TrustSet>>,
}

/// Why a configuration cannot be served.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Unserved {
    /// Every problem: entity, id, name, field and reason.
    pub lines: Vec<String>,
    /// The rows that are to be mended. Empty where a problem is about no single row.
    pub rows: Vec<(Kind, Uuid)>,
}

/// Compiles configurations, each with what the one before it left unchanged. It may take seconds: it belongs on a thread
/// that may block.
pub struct Publisher {
    compiler: Compiler<Tls>,
    tls: Tls,
    warnings: Vec<String>,
    facts: Facts,
    expiries: Arc<Mutex<Expiries>>,
    hashed: bool,
}

/// What the status listener tells of the configuration in force.
#[derive(Clone, Default)]
pub struct Facts {
    pub number: u64,
    /// Nothing is configured.
    pub empty: bool,
    /// 32 hex digits over the content (KONG.md §7.2); of a declarative configuration only.
    pub hash: Option<Arc<str>>,
}

impl Publisher {
    /// `hashed`: the configuration is declarative, and `Facts` has its hash.
    pub fn new(
        globals: Globals<Tls>,
        own_certificates: Vec<CertificateExpiry>,
        hashed: bool,
    ) -> Self {
        let mut expiries = Expiries::default();
        expiries.set_own(own_certificates);
        Publisher {
            compiler: Compiler::new(globals),
            tls: Tls {
                upstream_versions: Versions {
                    tls12: true,
                    tls13: true,
                },
            },
            warnings: Vec::new(),
            facts: Facts::default(),
            expiries: Arc::new(Mutex::new(expiries)),
            hashed,
        }
    }

    /// Compiles with other globals from here on, if the configuration compiles with them: a refusal changes nothing.
    ///
    /// # Errors
    /// Every problem.
    pub fn compile_with(
        &mut self,
        globals: Globals<Tls>,
        own_certificates: Vec<CertificateExpiry>,
        configuration: &Configuration,
    ) -> Result<Arc<Snapshot>, Unserved> {
        let snapshot = self.whole(&globals, configuration)?;
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.set_own(own_certificates);
        expiries.sync(&configuration.config);
        drop(expiries);
        Ok(snapshot)
    }

    /// # Errors
    /// As `compile_with`.
    pub fn compile(&mut self, configuration: &Configuration) -> Result<Arc<Snapshot>, Unserved> {
        let globals = self.compiler.globals().clone();
        self.whole(&globals, configuration)
    }

    /// Compiles a configuration that differs from the one before in these rows. Costs the change.
    ///
    /// # Errors
    /// As `compile_with`.
    pub fn change(
        &mut self,
        config: &Config,
        rows: &[(Kind, Uuid)],
    ) -> Result<Arc<Snapshot>, Unserved> {
        let compiled = self.compiler.apply(&self.tls, config, rows);
        let snapshot = self.adopt(compiled, config, &[])?;
        self.index_expiries(config, rows.iter().copied());
        Ok(snapshot)
    }

    /// For judging changes one by one, each on top of those that compile: nothing of it is published. `None`: not even
    /// `config`, the configuration before all of them, does.
    pub fn trial(&self, config: &Config) -> Option<Trial> {
        let mut compiler = self.compiler.clone();
        let globals = compiler.globals().clone();
        compiler.full(&self.tls, config, &globals).ok()?;
        Some(Trial {
            compiler,
            tls: Tls {
                upstream_versions: self.tls.upstream_versions,
            },
            config: config.clone(),
        })
    }

    /// As `Compiler::settling`.
    pub fn settling(&self) -> Settling {
        self.compiler.settling()
    }

    /// As `Compiler::is_crowded`.
    pub fn is_crowded(&self) -> bool {
        self.compiler.is_crowded()
    }

    /// The same configuration in a form that is looked up faster; `None`: it is.
    pub fn settle(&mut self, settled: &Settled) -> Option<Arc<Snapshot>> {
        let snapshot = self.compiler.settle(settled)?;
        self.facts.number = snapshot.number;
        Some(Arc::new(snapshot))
    }

    /// Certificates that the order of expiry does not have as they are: reading them takes a second for 100,000, so it is
    /// not part of a compilation.
    pub fn expiries_left(&self, config: &Config) -> Vec<(Kind, Uuid)> {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.differing(config)
    }

    /// Takes these rows into the order of expiry, as they are.
    pub fn index_expiries(&self, config: &Config, rows: impl IntoIterator<Item = (Kind, Uuid)>) {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, id) in rows {
            expiries.set(kind, id, config.get(kind, id));
        }
    }

    fn whole(
        &mut self,
        globals: &Globals<Tls>,
        configuration: &Configuration,
    ) -> Result<Arc<Snapshot>, Unserved> {
        let Configuration { config, warnings } = configuration;
        let compiled = self.compiler.full(&self.tls, config, globals);
        self.adopt(compiled, config, warnings)
    }

    fn adopt(
        &mut self,
        compiled: Result<(Snapshot, Vec<Warning>), Vec<Problem>>,
        config: &Config,
        more: &[String],
    ) -> Result<Arc<Snapshot>, Unserved> {
        let (snapshot, warnings) = compiled.map_err(|problems| Unserved::new(&problems, config))?;
        let warnings = warnings.iter().map(ToString::to_string);
        self.warnings = more.iter().cloned().chain(warnings).collect();
        self.facts = Facts {
            number: snapshot.number,
            empty: config.tables.values().all(crate::entity::Table::is_empty),
            hash: self.hashed.then(|| hash(config)),
        };
        Ok(Arc::new(snapshot))
    }

    /// What the last compilation had to say, once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }

    pub fn expiries(&self) -> Arc<Mutex<Expiries>> {
        self.expiries.clone()
    }
}

impl Unserved {
    fn new(problems: &[Problem], config: &Config) -> Unserved {
        let rows = problems
            .iter()
            .map(|problem| Some((problem.kind?, problem.id?)));
        Unserved {
            lines: problems
                .iter()
                .map(|problem| problem.told(config))
                .collect(),
            rows: rows.collect::<Option<_>>().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

/// A compiler beside the one that publishes.
pub struct Trial {
    compiler: Compiler<Tls>,
    tls: Tls,
    /// What has compiled so far.
    config: Config,
}

impl Trial {
    /// As what has compiled so far leaves it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Puts a change on top of what has compiled so far.
    ///
    /// # Errors
    /// It does not compile, and is left out.
    pub fn change(&mut self, changes: &[Change]) -> Result<(), Unserved> {
        let mut config = self.config.clone();
        for Change { kind, id, row } in changes {
            match row {
                Some(row) => config.put(*kind, *id, row.clone()),
                None => drop(config.remove(*kind, *id)),
            }
        }
        let rows: Vec<_> = changes
            .iter()
            .map(|change| (change.kind, change.id))
            .collect();
        let compiled = self.compiler.apply(&self.tls, &config, &rows);
        compiled.map_err(|problems| Unserved::new(&problems, &config))?;
        self.config = config;
        Ok(())
    }
}

/// Makes a snapshot the one that every core uses from its next handshake and request head on. It does not wait for any
/// core: each finds it when it looks, and one that was published before and not looked at is skipped.
pub fn broadcast(post: &Post, snapshot: &Arc<Snapshot>, options: &Arc<Options>) {
    let skipped = post.publish(&Published {
        snapshot: snapshot.clone(),
        options: options.clone(),
    });
    for published in skipped {
        retire(published.snapshot);
    }
}

/// Gives up a snapshot. The last one to do so takes it apart, which for a large one takes milliseconds: on a thread that
/// may block, where there is a runtime that has some.
pub fn retire(snapshot: Arc<Snapshot>) {
    let Some(last) = Arc::into_inner(snapshot) else {
        return;
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(last))),
        Err(_) => drop(last),
    }
}

/// 32 hex digits over the content; zeroes while there is none (KONG.md §7.2).
pub fn hash(config: &Config) -> Arc<str> {
    if config.tables.values().all(crate::entity::Table::is_empty) {
        return "0".repeat(32).into();
    }
    let text = crate::declarative::dump(config).to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let half = digest.as_ref().iter().take(16);
    half.map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
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
