//! A reload, from the signal to every core.

use super::{Reading, Shared, resolver};
use crate::admin::service::Clients;
use crate::admin::{Directives, InForce};
use crate::publish::{AdminTls, Material, Order, Orders, Prepared, Taken};
use crate::resolve::Resolver;
use crate::settings::io::Invocation;
use crate::settings::{self, Database, Loaded, Settings};
use crate::telemetry::acceptor::ListenerTls;
use crate::telemetry::access::Level;
use crate::telemetry::log;
use crate::tls::provider::Chosen;
use crate::tls::server::ServerPolicy;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A reload: the settings are read again, then certificate files and the declarative configuration, on a thread that may
/// block; the publishing thread compiles them. Only when all of it is sound does anything change.
pub(super) struct Reloading {
    /// What the process was started with: some directives stay so.
    started: Arc<Loaded>,
    /// In force.
    pub(super) settings: Settings,
    invocation: Invocation,
    orders: Orders,
    running: Option<Running>,
    /// A signal came while a reload ran: what it announces may have been read or not.
    asked_again: bool,
    reading: Reading,
    tls: Listeners,
    /// The Admin API's.
    directives: Arc<InForce>,
}

type Running = tokio::task::JoinHandle<Result<Done, Vec<String>>>;

/// What the control thread's own listeners show.
#[derive(Clone, Default)]
pub(super) struct Listeners {
    pub status: Option<Arc<ListenerTls>>,
    pub admin: Option<Arc<ListenerTls>>,
    pub clients: Option<Arc<Clients>>,
}

impl Reloading {
    pub(super) fn new(
        loaded: Loaded,
        invocation: Invocation,
        orders: Orders,
        reading: Reading,
        tls: Listeners,
        directives: Arc<InForce>,
    ) -> Self {
        Reloading {
            settings: loaded.settings.clone(),
            started: Arc::new(loaded),
            invocation,
            orders,
            running: None,
            asked_again: false,
            reading,
            tls,
            directives,
        }
    }

    /// Begins a reload, or has the one that runs be followed by another.
    pub(super) fn begin(&mut self, chosen: &Arc<Chosen>) {
        if self.running.is_some() {
            self.asked_again = true;
            return;
        }
        log::error(Level::Notice, "reloading");
        let reading = self.reading;
        let (invocation, chosen) = (self.invocation.clone(), chosen.clone());
        let (orders, started) = (self.orders.clone(), self.started.clone());
        self.running = Some(tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || {
                read_guarded(&invocation, &started, reading, &chosen)
            });
            // Panics are caught inside: the runtime itself has failed, and the watch over the cores goes on.
            let read = read
                .await
                .map_err(|error| vec![format!("the reload was lost: {error}")])??;
            publish(read, &orders).await
        }));
    }

    /// Waits for the reload that runs, if one does. May be dropped and called again.
    pub(super) async fn done(&mut self) -> Result<Done, Vec<String>> {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        ended.unwrap_or_else(|error| Err(vec![format!("the reload was lost: {error}")]))
    }

    /// What came of a reload: everything of it, or its errors.
    pub(super) fn end(
        &mut self,
        done: Result<Done, Vec<String>>,
        shared: &Arc<Shared>,
        names: &Mutex<Arc<Resolver>>,
    ) {
        match done {
            Ok(done) => self.put_in_force(done, shared, names),
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

    /// The cores have it already; what follows is the control thread's own.
    fn put_in_force(&mut self, done: Done, shared: &Arc<Shared>, names: &Mutex<Arc<Resolver>>) {
        let Done {
            loaded,
            taken,
            status,
            admin,
            directives,
        } = done;
        self.directives.replace(directives);
        for warning in loaded
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(taken.warnings)
        {
            log::error(Level::Warn, warning);
        }
        for name in settings::restart_needed(&self.started, &loaded) {
            log::error(
                Level::Warn,
                format_args!("{name} differs from the start and takes effect after a restart"),
            );
        }
        match resolver(&(self.reading.resolving)(&loaded.settings)) {
            Ok(resolver) => *names.lock().unwrap_or_else(PoisonError::into_inner) = resolver,
            Err(error) => log::error(
                Level::Error,
                format_args!("dns: {error}; the old resolver serves on"),
            ),
        }
        if let (Some(tls), Some(policy)) = (&self.tls.status, status) {
            tls.replace(policy);
        }
        if let (Some(tls), Some(clients), Some(admin)) = (&self.tls.admin, &self.tls.clients, admin)
            && let Err(reason) = secure_admin(tls, clients, admin)
        {
            log::error(Level::Warn, reason);
        }
        shared
            .logs
            .set_level((self.reading.log_level)(&loaded.settings));
        shared.reloads_ok.fetch_add(1, Ordering::Relaxed);
        self.settings = loaded.settings;
        log::error(
            Level::Notice,
            format_args!("configuration {} is live", taken.number),
        );
    }
}

/// Gives the Admin API's listeners with `ssl` what was read again. Authorities that came shut out who has no certificate of
/// theirs from the next request on; taking the last one away must not open the listeners.
///
/// # Errors
/// What stays as it was, and why.
pub(super) fn secure_admin(
    tls: &ListenerTls,
    clients: &Clients,
    admin: AdminTls,
) -> Result<(), &'static str> {
    match admin.clients {
        // The authorities first: in between nobody comes in, in place of everybody.
        Some(trust) => clients.replace(trust),
        None if clients.are_chosen() => {
            return Err(
                "admin_ssl_client_ca names none any more: until a restart the authorities before it count, and what \
                 listeners of admin_listen show stays",
            );
        }
        None => {}
    }
    tls.replace(admin.policy);
    Ok(())
}

/// A reload that every core has.
pub(super) struct Done {
    loaded: Loaded,
    taken: Taken,
    status: Option<Arc<ServerPolicy>>,
    admin: Option<AdminTls>,
    directives: Directives,
}

/// Settings and files, read and sound by themselves.
struct Read {
    loaded: Loaded,
    prepared: Prepared,
    status: Option<Arc<ServerPolicy>>,
    admin: Option<AdminTls>,
    directives: Directives,
}

async fn publish(read: Read, orders: &Orders) -> Result<Done, Vec<String>> {
    let (reply, taken) = oneshot::channel();
    if !orders.send(Order::Reload(Box::new(read.prepared), reply)) {
        return Err(vec!["too many changes are waiting".to_owned()]);
    }
    let taken = taken
        .await
        .unwrap_or_else(|_| Err(vec!["it ended in a panic".to_owned()]))?;
    Ok(Done {
        loaded: read.loaded,
        taken,
        status: read.status,
        admin: read.admin,
        directives: read.directives,
    })
}

/// A panic fails this reload and no other.
fn read_guarded(
    invocation: &Invocation,
    started: &Loaded,
    reading: Reading,
    chosen: &Chosen,
) -> Result<Read, Vec<String>> {
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        read(invocation, started, reading, chosen)
    }));
    read.unwrap_or_else(|panic| {
        let told = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a message");
        Err(vec![format!("it ended in a panic: {told}")])
    })
}

fn read(
    invocation: &Invocation,
    started: &Loaded,
    reading: Reading,
    chosen: &Chosen,
) -> Result<Read, Vec<String>> {
    // The file is read even when a directive is refused: one reload tells all there is to mend.
    let mut evaluated = invocation.evaluate();
    settings::keep_until_restart(&mut evaluated.settings, &started.settings);
    let mut errors: Vec<String> = evaluated.errors.iter().map(ToString::to_string).collect();
    let material =
        (reading.material)(&evaluated.settings, chosen, errors.is_empty()).map_err(|problems| {
            let lines = problems.lines().filter(|line| !evaluated.tells(line));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
    let configuration = match evaluated.settings.database {
        Database::Off if evaluated.settings.names_configuration() => {
            (reading.configuration)(&evaluated.settings).map(Some)
        }
        // The store has it; without one, what `POST /config` brought has nothing to give way to.
        Database::Off | Database::Embedded => Ok(None),
    };
    match (material, configuration, evaluated.into_result()) {
        (Ok(material), Ok(configuration), Ok(loaded)) => {
            let Material {
                globals,
                certificates,
                status,
                admin,
                templates,
            } = material;
            let options = Arc::new((reading.options)(&loaded.settings, templates));
            let directives = super::admin::directives(&settings::in_force(started, &loaded))
                .map_err(|error| vec![error])?;
            Ok(Read {
                loaded,
                prepared: Prepared {
                    globals,
                    certificates,
                    options,
                    configuration,
                },
                status,
                admin,
                directives,
            })
        }
        (material, configuration, _) => {
            errors.extend(material.err().unwrap_or_default());
            errors.extend(configuration.err().unwrap_or_default());
            Err(errors)
        }
    }
}
