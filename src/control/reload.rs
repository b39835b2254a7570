//! A reload, from the signal to every core.

use super::{Reading, Shared, resolver};
use crate::options::Options;
use crate::publish::{self, Facts, Material, Publisher};
use crate::resolve::Resolver;
use crate::settings::io::Invocation;
use crate::settings::{self, Loaded};
use crate::snapshot::Snapshot;
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crate::telemetry::status::StatusTls;
use crate::tls::provider::Chosen;
use crate::tls::server::ServerPolicy;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// A reload: the settings are read again, then certificate files and the configuration, on a thread that may block. Only
/// when all of it is sound does anything change.
pub(super) struct Reloading {
    pub(super) loaded: Loaded,
    invocation: Invocation,
    /// `None` while a reload has it.
    publisher: Option<Publisher>,
    running: Option<tokio::task::JoinHandle<Ended>>,
    /// A signal came while a reload ran: what it announces may have been read or not.
    asked_again: bool,
    reading: Reading,
    status_tls: Option<Arc<StatusTls>>,
}

/// The publisher comes back from every reload, however it ended.
type Ended = (Publisher, Result<Prepared, Vec<String>>);

impl Reloading {
    pub(super) fn new(
        loaded: Loaded,
        invocation: Invocation,
        publisher: Publisher,
        reading: Reading,
        status_tls: Option<Arc<StatusTls>>,
    ) -> Self {
        Reloading {
            loaded,
            invocation,
            publisher: Some(publisher),
            running: None,
            asked_again: false,
            reading,
            status_tls,
        }
    }

    /// Begins a reload, or has the one that runs be followed by another.
    pub(super) fn begin(&mut self, chosen: &Arc<Chosen>) {
        let Some(mut publisher) = self.publisher.take() else {
            self.asked_again = true;
            return;
        };
        log::error(Level::Notice, "reloading");
        let invocation = self.invocation.clone();
        let (reading, chosen) = (self.reading, chosen.clone());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let prepared = prepare_guarded(&mut publisher, &invocation, reading, &chosen);
            (publisher, prepared)
        }));
    }

    /// Waits for the reload that runs, if one does. May be dropped and called again.
    pub(super) async fn prepared(&mut self) -> Result<Prepared, Vec<String>> {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        match ended {
            Ok((publisher, prepared)) => {
                self.publisher = Some(publisher);
                prepared
            }
            // Panics are caught inside: the runtime itself has failed, and the watch over the cores goes on.
            Err(error) => Err(vec![format!("the reload was lost: {error}")]),
        }
    }

    /// What came of a reload: everything of it, or its errors.
    pub(super) fn end(
        &mut self,
        prepared: Result<Prepared, Vec<String>>,
        shared: &Arc<Shared>,
        names: &Mutex<Arc<Resolver>>,
    ) {
        match prepared {
            Ok(prepared) => self.put_in_force(prepared, shared, names),
            Err(errors) => {
                shared.reloads_refused.fetch_add(1, Ordering::Relaxed);
                for error in &errors {
                    log::error(Level::Error, format_args!("reload refused: {error}"));
                }
                log::error(
                    Level::Error,
                    "reload refused; the old configuration serves on",
                );
            }
        }
        if std::mem::take(&mut self.asked_again) {
            self.begin(&shared.chosen);
        }
    }

    fn put_in_force(
        &mut self,
        prepared: Prepared,
        shared: &Arc<Shared>,
        names: &Mutex<Arc<Resolver>>,
    ) {
        let Prepared {
            loaded,
            snapshot,
            options,
            status,
            warnings,
            facts,
        } = prepared;
        for warning in loaded
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(warnings)
        {
            log::error(Level::Warn, warning);
        }
        for name in settings::restart_needed(&self.loaded, &loaded) {
            log::error(
                Level::Warn,
                format_args!("{name} has changed and takes effect after a restart"),
            );
        }
        publish::broadcast(&shared.post, &snapshot, &options);
        match resolver(&(self.reading.resolving)(&loaded.settings)) {
            Ok(resolver) => *names.lock().unwrap_or_else(PoisonError::into_inner) = resolver,
            Err(error) => log::error(
                Level::Error,
                format_args!("dns: {error}; the old resolver serves on"),
            ),
        }
        if let (Some(tls), Some(policy)) = (&self.status_tls, status) {
            tls.replace(policy);
        }
        shared
            .logs
            .set_level((self.reading.log_level)(&loaded.settings));
        *shared.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        shared.reloads_ok.fetch_add(1, Ordering::Relaxed);
        self.loaded = loaded;
        log::error(
            Level::Notice,
            format_args!("configuration {} is live", snapshot.number),
        );
    }
}

/// A reload that nothing stands in the way of.
pub(super) struct Prepared {
    loaded: Loaded,
    snapshot: Arc<Snapshot>,
    options: Arc<Options>,
    status: Option<Arc<ServerPolicy>>,
    warnings: Vec<String>,
    facts: Facts,
}

/// A panic fails this reload and no other: the publisher changes only when a compilation has succeeded.
fn prepare_guarded(
    publisher: &mut Publisher,
    invocation: &Invocation,
    reading: Reading,
    chosen: &Chosen,
) -> Result<Prepared, Vec<String>> {
    let prepared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        prepare(publisher, invocation, reading, chosen)
    }));
    prepared.unwrap_or_else(|panic| {
        let told = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a message");
        Err(vec![format!("it ended in a panic: {told}")])
    })
}

fn prepare(
    publisher: &mut Publisher,
    invocation: &Invocation,
    reading: Reading,
    chosen: &Chosen,
) -> Result<Prepared, Vec<String>> {
    // The file is read even when a directive is refused: one reload tells all there is to mend.
    let evaluated = invocation.evaluate();
    let mut errors: Vec<String> = evaluated.errors.iter().map(ToString::to_string).collect();
    let material =
        (reading.material)(&evaluated.settings, chosen, errors.is_empty()).map_err(|problems| {
            let lines = problems.lines().filter(|line| !evaluated.tells(line));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
    let configuration = (reading.configuration)(&evaluated.settings);
    match (material, configuration, evaluated.into_result()) {
        (Ok(material), Ok(configuration), Ok(loaded)) => {
            let Material {
                globals,
                certificates,
                status,
                templates,
            } = material;
            let snapshot = publisher.compile_with(globals, certificates, &configuration)?;
            let options = Arc::new((reading.options)(&loaded.settings, templates));
            Ok(Prepared {
                loaded,
                snapshot,
                options,
                status,
                warnings: publisher.take_warnings(),
                facts: publisher.facts(),
            })
        }
        (material, configuration, _) => {
            errors.extend(material.err().unwrap_or_default());
            errors.extend(configuration.err().unwrap_or_default());
            Err(errors)
        }
    }
}
