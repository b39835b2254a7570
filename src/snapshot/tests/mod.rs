mod accepted;
mod authorities;
mod changes;
mod requests;
mod reuse;
mod routes;
mod scopes;
mod services;
mod tls_glue;

use super::testing::{Recorder, Server, Upstream};
use super::*;
use crate::entity::{Config, Kind};
use serde_json::{Map, Value, json};

/// Ids are small numbers; a field is what `row` fills in unless given.
#[derive(Clone, Default)]
struct Tables(Config);

impl Tables {
    fn with(mut self, kind: Kind, number: u128, fields: Value) -> Tables {
        let mut entity = map(defaults(kind));
        entity.insert("id".into(), json!(id(number)));
        entity.extend(map(fields));
        self.0.insert(kind, id(number), entity);
        self
    }
}

fn defaults(kind: Kind) -> Value {
    match kind {
        Kind::Certificates => json!({"cert_alt": null, "key_alt": null}),
        Kind::Services => json!({
            "name": null, "protocol": "https", "host": "backend.test", "port": 443, "path": null, "retries": 5,
            "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000, "client_certificate": null,
            "tls_verify": null, "tls_verify_depth": null, "ca_certificates": null, "enabled": true,
        }),
        Kind::Routes => json!({
            "name": null, "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": ["/"],
            "headers": null, "snis": null, "strip_path": true, "preserve_host": false, "regex_priority": 0,
            "https_redirect_status_code": 426, "path_handling": "v0", "request_buffering": true,
            "response_buffering": true, "service": null,
        }),
        Kind::Consumers => json!({"username": null, "custom_id": null}),
        Kind::MtlsAuthCredentials => json!({"ca_certificate": null}),
        Kind::Plugins => json!({
            "instance_name": null, "route": null, "service": null, "consumer": null, "enabled": true,
            "protocols": ["grpc", "grpcs", "http", "https"],
        }),
        _ => json!({}),
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn to(number: u128) -> Value {
    json!({ "id": id(number) })
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn mtls(fields: Value) -> Value {
    let mut plugin = map(json!({"name": "mtls-auth", "config": {"ca_certificates": [id(0xA1)]}}));
    plugin.extend(map(fields));
    Value::Object(plugin)
}

/// The status tells instances apart.
fn stop(status: u16, fields: Value) -> Value {
    let mut plugin = map(json!({"name": "request-termination", "config": {"status_code": status}}));
    plugin.extend(map(fields));
    Value::Object(plugin)
}

fn globals() -> Globals<Recorder> {
    Globals {
        default_pairs: vec![Arc::new("default/key".into())],
        server: Arc::new(()),
        client_pair: None,
        proxy_ssl_verify: None,
        tls_certificate_verify: true,
        verify_depth: 1,
        fallback_verify_depth: 1,
        proxy_trust: None,
        fallback_trust: Some(Arc::new(vec!["system".into()])),
        traditional: false,
        advised: false,
    }
}

fn compile(recorder: &Recorder, tables: &Tables) -> (Snapshot, Vec<String>) {
    next(recorder, tables, &mut Compiler::new(globals()))
}

fn next(
    recorder: &Recorder,
    tables: &Tables,
    compiler: &mut Compiler<Recorder>,
) -> (Snapshot, Vec<String>) {
    let globals = compiler.globals().clone();
    match compiler.full(recorder, &tables.0, &globals) {
        Ok((snapshot, warnings)) => (snapshot, warnings.iter().map(ToString::to_string).collect()),
        Err(problems) => panic!("{problems:?}"),
    }
}

fn problems(tables: &Tables) -> Vec<String> {
    let result = Compiler::new(globals()).full(&Recorder::default(), &tables.0, &globals());
    result
        .err()
        .expect("it compiled")
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn tls_of(snapshot: &Snapshot) -> &Arc<UpstreamTls> {
    match first(snapshot)
        .service
        .as_ref()
        .and_then(|service| service.tls.as_ref())
    {
        Some(Ok(tls)) => tls,
        _ => panic!("no TLS identity"),
    }
}

fn route(snapshot: &Snapshot, handle: u32) -> &Route {
    snapshot.routes.get(handle).expect("the route is served")
}

fn first(snapshot: &Snapshot) -> &Route {
    route(snapshot, 0)
}
