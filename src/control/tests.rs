//! Reloads against the parts they change: a mailbox, logs, and a publisher.

use super::*;
use crate::entity::Config;
use crate::gateway::READING;
use crate::publish::{Configuration, Publisher};
use crate::settings::Flag;
use crate::store::fixed::Fixed;
use crate::telemetry::log::LogTargets;
use crate::tls::provider;

fn shared(post: Post) -> Arc<Shared> {
    Arc::new(Shared {
        post: Arc::new(post),
        logs: Arc::new(Logs::open(&LogTargets::off()).unwrap()),
        facts: Arc::default(),
        expiries: Arc::default(),
        store: Arc::new(Fixed::new(Config::default())),
        draining: AtomicBool::new(false),
        reloads_ok: AtomicU64::new(0),
        reloads_refused: AtomicU64::new(0),
        last: Mutex::default(),
        node_id: String::new(),
        engine: "none",
        chosen: Arc::new(provider::choose(provider::Mode::default())),
        started: SystemTime::now(),
    })
}

fn reloading(shared: &Shared, reading: Reading) -> Reloading {
    let set = |name: &str, value: &str| Flag {
        flag: "--set",
        name: name.into(),
        value: value.into(),
    };
    let invocation = Invocation {
        file: Some("/dev/null".into()),
        flags: vec![
            set("database", "off"),
            set("declarative_config_string", "read by the test"),
        ],
    };
    let loaded = invocation.evaluate().into_result().unwrap();
    let material = (reading.material)(&loaded.settings, &shared.chosen, false).unwrap();
    let options = (reading.options)(&loaded.settings, material.templates);
    let fixed = Arc::new(Fixed::new(Config::default()));
    let (raise, _) = publish::live(1);
    let orders = publish::start(publish::Parts {
        publisher: Publisher::new(material.globals, material.certificates, true),
        post: shared.post.clone(),
        options: Arc::new(options),
        store: fixed.clone(),
        fixed: Some(fixed),
        revision: 1,
        config: Config::default(),
        raise,
        facts: shared.facts.clone(),
    })
    .unwrap();
    let directives = InForce::new(admin::directives(&loaded).unwrap());
    let tls = Listeners::default();
    Reloading::new(loaded, invocation, orders, reading, tls, directives)
}

fn nothing(_: &Settings) -> Result<Configuration, Vec<String>> {
    Ok(Configuration {
        config: Config::default(),
        warnings: Vec::new(),
    })
}

static PANICS: AtomicU64 = AtomicU64::new(0);

fn panics_twice(settings: &Settings) -> Result<Configuration, Vec<String>> {
    assert!(PANICS.fetch_add(1, Ordering::AcqRel) >= 2, "a bug");
    nothing(settings)
}

/// Without a generated pair in a prefix: what is tested is not the material.
fn material(settings: &Settings, chosen: &Chosen, _: bool) -> Result<Material, String> {
    (READING.material)(settings, chosen, false)
}

#[test]
fn a_panic_fails_its_reload_and_the_next_one_works() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (post, boxes, _inbox) = crate::mailbox::mailboxes(1).unwrap();
        let shared = shared(post);
        let mut reloading = reloading(
            &shared,
            Reading {
                configuration: panics_twice,
                material,
                ..READING
            },
        );
        let names = Mutex::new(resolver(&(READING.resolving)(&reloading.settings)).unwrap());
        for (refused, ok) in [(1, 0), (2, 0), (2, 1), (2, 2)] {
            reloading.begin(&shared.chosen);
            let done = reloading.done().await;
            if let Err(errors) = &done {
                assert_eq!(errors, &["it ended in a panic: a bug"]);
            }
            reloading.end(done, &shared, &names);
            assert_eq!(shared.reloads_refused.load(Ordering::Relaxed), refused);
            assert_eq!(shared.reloads_ok.load(Ordering::Relaxed), ok);
        }
        let published = boxes[0].in_force.take_published().unwrap();
        assert_eq!(published.snapshot.number, 2, "a panic takes no number");
    });
}

#[test]
fn a_reload_asked_for_while_one_runs_is_done_after_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (post, _boxes, _inbox) = crate::mailbox::mailboxes(1).unwrap();
        let shared = shared(post);
        let mut reloading = reloading(
            &shared,
            Reading {
                configuration: nothing,
                material,
                ..READING
            },
        );
        let names = Mutex::new(resolver(&(READING.resolving)(&reloading.settings)).unwrap());
        for _ in 0..5 {
            reloading.begin(&shared.chosen);
        }
        for _ in 0..2 {
            let done = reloading.done().await;
            reloading.end(done, &shared, &names);
        }
        assert_eq!(shared.reloads_ok.load(Ordering::Relaxed), 2);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), reloading.done())
                .await
                .is_err(),
            "nothing else runs"
        );
    });
}

/// The Admin API's TLS as a start or a reload reads it, with the authority of clients or without any.
fn admin_tls(chosen: &Chosen, authority: Option<&str>) -> AdminTls {
    let mut flags = vec![("database", "off"), ("admin_listen", "127.0.0.1:0 ssl")];
    flags.extend(authority.map(|pem| ("admin_ssl_client_ca", pem)));
    let flags = flags.into_iter().map(|(name, value)| Flag {
        flag: "--set",
        name: name.into(),
        value: value.into(),
    });
    let invocation = Invocation {
        file: Some("/dev/null".into()),
        flags: flags.collect(),
    };
    let settings = invocation.evaluate().into_result().unwrap().settings;
    let material = material(&settings, chosen, false).unwrap();
    material.admin.unwrap()
}

#[test]
fn a_reload_closes_the_admin_listener_and_never_opens_it() {
    use crate::entity::fixtures::ROOT;
    let chosen = provider::choose(provider::Mode::default());
    let start = admin_tls(&chosen, None);
    let asks = |admin: &AdminTls| admin.policy.request_for(None).is_some();
    assert!(!asks(&start));
    let tls = ListenerTls::new(start.policy);
    let clients = Clients::new(start.clients);
    for (reload, authority, taken, chosen_clients) in [
        ("no authority", None, true, false),
        ("one comes", Some(ROOT), true, true),
        ("it goes", None, false, true),
        ("it stays", Some(ROOT), true, true),
    ] {
        let read = admin_tls(&chosen, authority);
        assert_eq!(asks(&read), authority.is_some(), "{reload}");
        let outcome = reload::secure_admin(&tls, &clients, read);
        assert_eq!(outcome.is_ok(), taken, "{reload}");
        assert_eq!(clients.are_chosen(), chosen_clients, "{reload}");
    }
}
