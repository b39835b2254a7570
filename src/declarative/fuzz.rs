//! What must hold for every text: called by the fuzz target and by the replay of its corpus.
use super::{Options, Reading, Secret, dump, export, parse, parse_as};
use crate::entity::{Config, Kind, rows, schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Asserts on one input:
/// - reading it twice gives the same outcome;
/// - a failure has at least one line, and a tree that is not empty;
/// - each row of a success fits its typed view, and each reference in it has its target;
/// - a success, dumped and read again, gives the same configuration;
/// - exported and restored at another time, it does too.
///
/// True when the input is a valid file.
pub fn check_fuzz(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    // 2026-01-01, fixed: nothing may depend on the clock.
    let options = Options {
        now_ms: 1_767_225_600_000,
        secrets: &no_secrets,
        plugins: None,
    };
    let first = parse(text, &options);
    let second = parse(text, &options);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.config, second.config, "two readings differ");
            assert_eq!(
                first.warnings, second.warnings,
                "two readings warn differently"
            );
            rows_fit(&first.config);
            references_resolve(&first.config);
            let text = dump(&first.config).to_string();
            match parse(&text, &options) {
                Ok(again) => assert_eq!(first.config, again.config, "a dump reads differently"),
                Err(failure) => panic!("a dump is refused: {failure}"),
            }
            restores(&first.config, &options);
            true
        }
        (Err(first), Err(second)) => {
            assert_eq!(first, second, "two readings fail differently");
            assert!(
                !first.lines().is_empty() && !first.is_empty(),
                "a failure without a reason"
            );
            assert!(
                first
                    .to_json()
                    .as_object()
                    .is_some_and(|tree| !tree.is_empty())
            );
            false
        }
        _ => panic!("one reading fails, the other does not"),
    }
}

fn restores(config: &Config, options: &Options<'_>) {
    let mut text = Vec::new();
    assert!(export(config, &mut text).is_ok(), "memory refuses a write");
    let text = String::from_utf8_lossy(&text);
    let later = Options {
        now_ms: options.now_ms + 1_000,
        ..*options
    };
    let reading = Reading {
        keep_updated_at: true,
        progress: None,
    };
    match parse_as(&text, &later, reading) {
        Ok(again) => assert_eq!(*config, again.config, "an export reads differently"),
        Err(failure) => panic!("an export is refused: {failure}"),
    }
}

fn no_secrets(secret: Secret<'_>) -> Result<String, String> {
    match secret {
        Secret::File(_) => Err("no such file".into()),
        Secret::Env(_) => Err("not set".into()),
    }
}

/// Every row deserializes into its struct of `rows`.
pub fn rows_fit(config: &Config) {
    fn fit<T: DeserializeOwned>(config: &Config, kind: Kind) {
        for (id, row) in config.table(kind) {
            let view = serde_json::from_value::<T>(Value::Object(Map::clone(row)));
            if let Err(error) = view {
                panic!("{kind:?} {id} does not fit its view: {error}");
            }
        }
    }
    for kind in Kind::ALL {
        match kind {
            Kind::Certificates => fit::<rows::Certificate>(config, kind),
            Kind::Snis => fit::<rows::Sni>(config, kind),
            Kind::CaCertificates => fit::<rows::CaCertificate>(config, kind),
            Kind::Services => fit::<rows::Service>(config, kind),
            Kind::Routes => fit::<rows::Route>(config, kind),
            Kind::Consumers => fit::<rows::Consumer>(config, kind),
            Kind::MtlsAuthCredentials => fit::<rows::MtlsAuthCredential>(config, kind),
            Kind::Acls => fit::<rows::Acl>(config, kind),
            Kind::Upstreams => fit::<rows::Upstream>(config, kind),
            // Not served yet, so it has no view.
            Kind::Targets => {}
            Kind::Plugins => fit::<rows::Plugin>(config, kind),
        }
    }
}

fn references_resolve(config: &Config) {
    for kind in Kind::ALL {
        for (field, to) in schema::of(kind).references() {
            for (id, row) in config.table(kind) {
                let Some(target) = row
                    .get(field.name)
                    .and_then(|reference| reference.get("id"))
                else {
                    continue;
                };
                let target: Option<Uuid> = target.as_str().and_then(|text| text.parse().ok());
                let found = target.is_some_and(|target| {
                    config
                        .tables
                        .get(&to)
                        .is_some_and(|table| table.contains_key(&target))
                });
                assert!(found, "{} {id}: {} points nowhere", kind.name(), field.name);
            }
        }
        for (id, row) in config.table(kind) {
            let own = row.get("id").and_then(Value::as_str);
            assert_eq!(own, Some(id.to_string().as_str()), "a row under another id");
        }
    }
}
