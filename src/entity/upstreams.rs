//! `upstreams` (KONG.md §1.11).
use super::schema::{EntityCheck, Field, Literal, OnDelete, Schema, Then, When, common};
use super::{Kind, checks};
use serde_json::{Map, Value};

pub static SCHEMA: Schema = Schema {
    kind: Kind::Upstreams,
    fields: &[
        common::ID,
        common::CREATED_AT,
        common::UPDATED_AT,
        Field::string("name")
            .required()
            .unique()
            .check(checks::upstream_name),
        Field::string("algorithm")
            .one_of(&[
                "consistent-hashing",
                "least-connections",
                "round-robin",
                "latency",
            ])
            .default(Literal::Text("round-robin")),
        hash_on("hash_on"),
        hash_on("hash_fallback"),
        Field::string("hash_on_header").check(checks::header_name),
        Field::string("hash_fallback_header").check(checks::header_name),
        Field::string("hash_on_cookie").check(checks::cookie_name),
        Field::string("hash_on_cookie_path")
            .check(checks::path)
            .default(Literal::Text("/")),
        Field::string("hash_on_query_arg"),
        Field::string("hash_fallback_query_arg"),
        Field::string("hash_on_uri_capture"),
        Field::string("hash_fallback_uri_capture"),
        Field::integer("slots")
            .between(10, 65536)
            .default(Literal::Integer(10_000)),
        Field::record("healthchecks", HEALTHCHECKS).required(),
        common::TAGS,
        Field::string("host_header").check(checks::host_with_port),
        Field::foreign("client_certificate", Kind::Certificates, OnDelete::Restrict),
        Field::boolean("use_srv_name").default(Literal::Bool(false)),
    ],
    endpoint_key: Some("name"),
    unique_together: &[],
    checks: &[
        needs("hash_on", "header", "hash_on_header"),
        needs("hash_fallback", "header", "hash_fallback_header"),
        needs("hash_on", "cookie", "hash_on_cookie"),
        needs("hash_fallback", "cookie", "hash_on_cookie"),
        needs("hash_on", "query_arg", "hash_on_query_arg"),
        needs("hash_fallback", "query_arg", "hash_fallback_query_arg"),
        needs("hash_on", "uri_capture", "hash_on_uri_capture"),
        needs("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
        // A cookie is set when it is missing, so nothing falls through to the fallback.
        fallback("cookie", &["none"]),
        fallback("none", &["none"]),
        fallback(
            "consumer",
            &[
                "none",
                "ip",
                "header",
                "cookie",
                "path",
                "query_arg",
                "uri_capture",
            ],
        ),
        fallback(
            "ip",
            &[
                "none",
                "consumer",
                "header",
                "cookie",
                "path",
                "query_arg",
                "uri_capture",
            ],
        ),
        fallback(
            "path",
            &[
                "none",
                "consumer",
                "ip",
                "header",
                "cookie",
                "query_arg",
                "uri_capture",
            ],
        ),
        EntityCheck::Distinct(&["hash_on_header", "hash_fallback_header"]),
        EntityCheck::Distinct(&["hash_on_query_arg", "hash_fallback_query_arg"]),
        EntityCheck::Distinct(&["hash_on_uri_capture", "hash_fallback_uri_capture"]),
    ],
    shorthands: &[],
    prepare: Some(algorithm_and_hash_agree),
    finish: None,
};

const fn hash_on(name: &'static str) -> Field {
    Field::string(name)
        .one_of(&[
            "none",
            "consumer",
            "ip",
            "header",
            "cookie",
            "path",
            "query_arg",
            "uri_capture",
        ])
        .default(Literal::Text("none"))
}

const fn needs(field: &'static str, is: &'static str, then_field: &'static str) -> EntityCheck {
    EntityCheck::Conditional {
        field,
        when: When::Is(is),
        then_field,
        then: Then::Required,
        message: None,
    }
}

const fn fallback(hash_on: &'static str, choices: &'static [&'static str]) -> EntityCheck {
    EntityCheck::Conditional {
        field: "hash_on",
        when: When::Is(hash_on),
        then_field: "hash_fallback",
        then: Then::OneOf(choices),
        message: None,
    }
}

/// A `hash_on` means consistent hashing; an algorithm that does not hash resets `hash_on`.
fn algorithm_and_hash_agree(input: &mut Map<String, Value>) {
    let text = |input: &Map<String, Value>, field| {
        input.get(field).and_then(Value::as_str).map(str::to_owned)
    };
    match text(input, "algorithm").as_deref() {
        Some("least-connections" | "latency") => {
            input.insert("hash_on".into(), "none".into());
        }
        Some("consistent-hashing") => {}
        _ => {
            if text(input, "hash_on").is_some_and(|hash_on| hash_on != "none") {
                input.insert("algorithm".into(), "consistent-hashing".into());
            }
        }
    }
}

// ── health checks; zero turns a check off ──

const HEALTHCHECKS: &[Field] = &[
    Field::record("active", ACTIVE).required(),
    Field::record("passive", PASSIVE).required(),
    Field::number("threshold")
        .between(0, 100)
        .default(Literal::Integer(0)),
];

const ACTIVE: &[Field] = &[
    kind(),
    Field::number("timeout")
        .between(0, 65535)
        .default(Literal::Integer(1)),
    Field::integer("concurrency")
        .between(1, 2_147_483_648)
        .default(Literal::Integer(10)),
    Field::string("http_path")
        .check(checks::path)
        .default(Literal::Text("/")),
    Field::string("https_sni").check(checks::wildcard_host),
    Field::boolean("https_verify_certificate")
        .required()
        .default(Literal::Bool(true)),
    Field::map("headers", &HEADER_NAME, &HEADER_VALUES),
    Field::record(
        "healthy",
        &[
            seconds("interval"),
            count("successes"),
            statuses(&[200, 302]),
        ],
    )
    .required(),
    Field::record(
        "unhealthy",
        &[
            seconds("interval"),
            statuses(&[429, 404, 500, 501, 502, 503, 504, 505]),
            count("tcp_failures"),
            count("timeouts"),
            count("http_failures"),
        ],
    )
    .required(),
];

const PASSIVE: &[Field] = &[
    kind(),
    Field::record(
        "healthy",
        &[
            count("successes"),
            statuses(&[
                200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305,
                306, 307, 308,
            ]),
        ],
    )
    .required(),
    Field::record(
        "unhealthy",
        &[
            count("tcp_failures"),
            count("timeouts"),
            count("http_failures"),
            statuses(&[429, 500, 503]),
        ],
    )
    .required(),
];

const HEADER_NAME: Field = Field::string("").check(checks::header_name);
const HEADER_VALUES: Field = Field::array("", &common::STRING);
const STATUS: Field = Field::integer("").between(100, 999);

const fn kind() -> Field {
    Field::string("type")
        .one_of(&["tcp", "http", "https", "grpc", "grpcs"])
        .default(Literal::Text("http"))
}

const fn seconds(name: &'static str) -> Field {
    Field::number(name)
        .between(0, 65535)
        .default(Literal::Integer(0))
}

const fn count(name: &'static str) -> Field {
    Field::integer(name)
        .between(0, 255)
        .default(Literal::Integer(0))
}

const fn statuses(default: &'static [i64]) -> Field {
    Field::array("http_statuses", &STATUS).default(Literal::Integers(default))
}
