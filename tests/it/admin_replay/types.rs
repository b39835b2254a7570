//! What a Go client decodes listed rows into: another type, or a missing key, ends it (KONG-CLIENTS.md §1.3).

use crate::support::Value;

/// The type of a field; null is fine for all but those with `Must`.
#[derive(Clone, Copy)]
enum Go {
    MustText,
    Text,
    Int,
    /// A whole number or one with a fraction.
    Float,
    Bool,
    Texts,
    Ints,
    /// `{"id": "…"}` and nothing else (§6 point 4).
    MustRef,
    Ref,
    /// Names to lists of texts.
    Headers,
    /// A list of `{ip, port}`.
    Addresses,
    Struct(&'static [(&'static str, Go)]),
    /// An object, whatever is in it.
    MustMap,
}
use Go::{
    Addresses, Bool, Float, Headers, Int, Ints, MustMap, MustRef, MustText, Ref, Struct, Text,
    Texts,
};

type Fields = &'static [(&'static str, Go)];

const CERTIFICATES: Fields = &[
    ("id", MustText),
    ("cert", MustText),
    ("key", MustText),
    ("cert_alt", Text),
    ("key_alt", Text),
    ("snis", Texts),
    ("tags", Texts),
    ("created_at", Int),
];
const SNIS: Fields = &[
    ("id", MustText),
    ("name", MustText),
    ("certificate", MustRef),
    ("tags", Texts),
    ("created_at", Int),
];
const CA_CERTIFICATES: Fields = &[
    ("id", MustText),
    ("cert", MustText),
    ("cert_digest", MustText),
    ("tags", Texts),
    ("created_at", Int),
];
const SERVICES: Fields = &[
    ("id", MustText),
    ("name", Text),
    ("protocol", MustText),
    ("host", MustText),
    ("port", Int),
    ("path", Text),
    ("retries", Int),
    ("connect_timeout", Int),
    ("read_timeout", Int),
    ("write_timeout", Int),
    ("client_certificate", Ref),
    ("tls_verify", Bool),
    ("tls_verify_depth", Int),
    ("ca_certificates", Texts),
    ("enabled", Bool),
    ("tags", Texts),
    ("created_at", Int),
    ("updated_at", Int),
];
const ROUTES: Fields = &[
    ("id", MustText),
    ("name", Text),
    ("protocols", Texts),
    ("methods", Texts),
    ("hosts", Texts),
    ("paths", Texts),
    ("headers", Headers),
    ("snis", Texts),
    ("sources", Addresses),
    ("destinations", Addresses),
    ("strip_path", Bool),
    ("preserve_host", Bool),
    ("regex_priority", Int),
    ("https_redirect_status_code", Int),
    ("path_handling", Text),
    ("request_buffering", Bool),
    ("response_buffering", Bool),
    ("service", Ref),
    ("tags", Texts),
    ("created_at", Int),
    ("updated_at", Int),
];
const CONSUMERS: Fields = &[
    ("id", MustText),
    ("username", Text),
    ("custom_id", Text),
    ("tags", Texts),
    ("created_at", Int),
];
const PLUGINS: Fields = &[
    ("id", MustText),
    ("name", MustText),
    ("instance_name", Text),
    ("route", Ref),
    ("service", Ref),
    ("consumer", Ref),
    ("config", MustMap),
    ("protocols", Texts),
    ("enabled", Bool),
    ("tags", Texts),
    ("created_at", Int),
];
const UPSTREAMS: Fields = &[
    ("id", MustText),
    ("name", MustText),
    ("algorithm", Text),
    ("hash_on", Text),
    ("hash_fallback", Text),
    ("hash_on_header", Text),
    ("hash_fallback_header", Text),
    ("hash_on_cookie", Text),
    ("hash_on_cookie_path", Text),
    ("hash_on_query_arg", Text),
    ("hash_fallback_query_arg", Text),
    ("hash_on_uri_capture", Text),
    ("hash_fallback_uri_capture", Text),
    ("slots", Int),
    ("host_header", Text),
    ("client_certificate", Ref),
    ("use_srv_name", Bool),
    (
        "healthchecks",
        Struct(&[
            ("threshold", Float),
            ("active", Struct(ACTIVE)),
            ("passive", Struct(PASSIVE)),
        ]),
    ),
    ("tags", Texts),
    ("created_at", Int),
];
/// `timeout` and `interval` are whole numbers to the client, whatever the schema says.
const ACTIVE: Fields = &[
    ("type", Text),
    ("timeout", Int),
    ("concurrency", Int),
    ("http_path", Text),
    ("https_sni", Text),
    ("https_verify_certificate", Bool),
    ("headers", Headers),
    (
        "healthy",
        Struct(&[
            ("interval", Int),
            ("successes", Int),
            ("http_statuses", Ints),
        ]),
    ),
    (
        "unhealthy",
        Struct(&[
            ("interval", Int),
            ("tcp_failures", Int),
            ("timeouts", Int),
            ("http_failures", Int),
            ("http_statuses", Ints),
        ]),
    ),
];
const PASSIVE: Fields = &[
    ("type", Text),
    (
        "healthy",
        Struct(&[("successes", Int), ("http_statuses", Ints)]),
    ),
    (
        "unhealthy",
        Struct(&[
            ("tcp_failures", Int),
            ("timeouts", Int),
            ("http_failures", Int),
            ("http_statuses", Ints),
        ]),
    ),
];
const TARGETS: Fields = &[
    ("id", MustText),
    ("target", MustText),
    ("weight", Int),
    ("upstream", MustRef),
    ("tags", Texts),
    ("created_at", Float),
];
const ACLS: Fields = &[
    ("id", MustText),
    ("group", MustText),
    ("consumer", MustRef),
    ("tags", Texts),
    ("created_at", Int),
];
const MTLS_AUTHS: Fields = &[
    ("id", MustText),
    ("subject_name", MustText),
    ("consumer", MustRef),
    ("ca_certificate", Ref),
    ("tags", Texts),
    ("created_at", Int),
];

/// Checks a listed row of `kind`, a key of the declarative format.
#[track_caller]
pub fn check(kind: &str, row: &Value) {
    let fields = match kind {
        "certificates" => CERTIFICATES,
        "snis" => SNIS,
        "ca_certificates" => CA_CERTIFICATES,
        "services" => SERVICES,
        "routes" => ROUTES,
        "consumers" => CONSUMERS,
        "plugins" => PLUGINS,
        "upstreams" => UPSTREAMS,
        "targets" => TARGETS,
        "acls" => ACLS,
        "mtls_auth_credentials" => MTLS_AUTHS,
        other => panic!("no kind {other}"),
    };
    check_fields(kind, fields, row);
}

#[track_caller]
fn check_fields(place: &str, fields: Fields, row: &Value) {
    for (name, go) in fields {
        let place = format!("{place}.{name}");
        let value = row
            .get(name)
            .unwrap_or_else(|| panic!("{place}: no such key (§0 point 4) in {row}"));
        assert!(fits(&place, *go, value), "{place}: {value} in {row}");
    }
}

#[track_caller]
fn fits(place: &str, go: Go, value: &Value) -> bool {
    let all = |fit: fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(fit));
    let is_ref = || {
        let members = value.as_object();
        members.is_some_and(|members| members.len() == 1 && value["id"].is_string())
    };
    let is_whole = |value: &Value| value.is_i64() || value.is_u64();
    match go {
        MustText => value.as_str().is_some_and(|text| !text.is_empty()),
        MustRef => is_ref(),
        MustMap => value.is_object(),
        _ if value.is_null() => true,
        Text => value.is_string(),
        Int => is_whole(value),
        Float => value.is_number(),
        Bool => value.is_boolean(),
        Texts => all(Value::is_string),
        Ints => all(|value| value.is_i64() || value.is_u64()),
        Ref => is_ref(),
        Headers => value.as_object().is_some_and(|members| {
            let is_texts = |value: &Value| {
                let list = value.as_array();
                list.is_some_and(|list| list.iter().all(Value::is_string))
            };
            members.values().all(is_texts)
        }),
        Addresses => value.as_array().is_some_and(|list| {
            list.iter().all(|address| {
                (address["ip"].is_null() || address["ip"].is_string())
                    && (address["port"].is_null() || is_whole(&address["port"]))
            })
        }),
        Struct(fields) => {
            check_fields(place, fields, value);
            true
        }
    }
}

#[test]
fn a_float_an_absent_key_and_an_inlined_reference_do_not_pass() {
    use crate::support::json;
    let good = json!({
        "id": "i", "name": "n", "certificate": {"id": "c"}, "tags": null, "created_at": 1,
    });
    check("snis", &good);
    for (name, value) in [
        ("created_at", json!(1.5)),
        ("created_at", json!(1.0)),
        ("certificate", json!({"id": "c", "name": "x"})),
        ("certificate", json!(null)),
        ("tags", json!({})),
        ("name", json!("")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let checked = std::panic::catch_unwind(|| check("snis", &bad));
        assert!(checked.is_err(), "{name}: {bad}");
    }
    let mut absent = good;
    absent.as_object_mut().expect("an object").remove("tags");
    assert!(std::panic::catch_unwind(|| check("snis", &absent)).is_err());
}
