//! What is exported and read again is the same to the byte: texts one by one, then random configurations.

use super::yaml;
use super::{Options, Reading, Secret, document, export, parse_as};
use crate::entity::fixtures::*;
use crate::entity::schema::{self, Shape};
use crate::entity::validate::{self, Context};
use crate::entity::{Config, Kind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What readers of YAML 1.1 or 1.2 take for something else, trim, fold or refuse when it is not quoted.
const TEXTS: &[&str] = &[
    "a",
    "yes",
    "No",
    "ON",
    "off",
    "y",
    "N",
    "true",
    "FALSE",
    "null",
    "Null",
    "~",
    "=",
    "<<",
    "1",
    "-1",
    "1.0",
    "0x1F",
    "0o7",
    "017",
    "1e5",
    "1_000",
    "12:30",
    "190:20:30.15",
    "2001-01-01",
    ".inf",
    "-.INF",
    ".nan",
    "NaN",
    "inf",
    "Infinity",
    "a: b",
    "a:",
    ":a",
    "a #b",
    "#a",
    "- a",
    "-",
    "? a",
    "?",
    "{a}",
    "[a]",
    "{",
    "]",
    ",",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "%a",
    "@a",
    "`a`",
    "|",
    ">",
    "'a'",
    "\"a\"",
    "a\\b",
    "\\",
    "---",
    "...",
    "--- a",
    "---\na\n",
    "...\na\n",
    " a",
    "a ",
    "\ta",
    "a\t",
    "a\tb",
    " ",
    "\n",
    "\n\n",
    "\na",
    "a\n",
    "a\n\n",
    "a\n\n\n",
    "a\nb",
    "a\n b\n",
    " a\nb\n",
    "a \nb\n",
    "a\n \nb",
    "a\n\nb\n",
    "a\n#b\n",
    "a\n- b\n",
    "a\n ",
    "a\r\nb\r\n",
    "a\rb",
    "é",
    "ü: ö",
    "日本語",
    "💡",
    "a\u{301}",
    "\u{85}",
    "a\u{2028}b\n",
    "\u{2029}",
    "\u{feff}a",
    "\u{fffe}",
    "\u{ffff}",
    "\u{a0}",
    "\0",
    "\u{1}",
    "\u{1b}[0m",
    "\u{7f}",
    "\u{9f}",
    "/",
    "/a/b",
    "_",
    "a.b-c_d/e",
    "a/",
    "*.example.com",
    "5a117907-7c1d-4c0e-9d51-6d757475616c",
    "12345678-1234-1234-1234-123456789012",
];

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Odd texts in a row, so that what one of them does to the next is seen too.
    fn text(&mut self) -> String {
        let count = 1 + self.below(3);
        (0..count).map(|_| self.pick(TEXTS)).collect()
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    yaml::entry(&mut out, 0, false, "key", value).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

#[track_caller]
fn reads_back(value: &Value) {
    let text = written(value);
    let read = document::read(&text).unwrap_or_else(|failure| panic!("{failure} in {text:?}"));
    assert_eq!(&read.root["key"], value, "{text}");
}

#[test]
fn every_text_reads_back_wherever_it_stands() {
    let mut random = Random(1);
    let combined: Vec<String> = (0..3000).map(|_| random.text()).collect();
    let long = "ключ".repeat(400);
    let texts = TEXTS
        .iter()
        .copied()
        .chain(combined.iter().map(String::as_str));
    for text in texts.chain([long.as_str(), ""]) {
        let keyed = Map::from_iter([
            (text.to_owned(), json!("v")),
            ("z".to_owned(), json!([text])),
        ]);
        for value in [
            json!(text),
            json!([text, "z"]),
            json!({"a": text, "z": {"b": text}}),
            json!([{"a": text, "b": [[text]]}, {"z": 1}]),
            Value::Object(keyed.clone()),
            json!([keyed]),
        ] {
            reads_back(&value);
        }
    }
}

#[test]
fn every_number_and_every_empty_value_reads_back() {
    let numbers = [
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(-0.25),
        json!(1e20),
        json!(1.5e300),
        json!(2.5e-7),
        json!(f64::MIN_POSITIVE),
        json!(1_700_000_000.123),
        json!(1_700_000_000.123_456_7),
        json!(0.1),
    ];
    for number in numbers {
        reads_back(&number);
        reads_back(&json!([number]));
    }
    for value in [
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!([[], {}, null]),
        json!({"a": [], "b": {}, "c": null}),
    ] {
        reads_back(&value);
    }
}

#[test]
fn the_text_is_what_people_and_both_versions_of_yaml_read() {
    let value = json!({
        "name": "billing", "id": "5a117907-7c1d-4c0e-9d51-6d757475616c", "pem": "-----BEGIN\nAA==\n-----END\n", "open": "a\nb",
        "kept": "a\n\n", "tags": ["plain", "on", "1.0", "ü", "a b"], "none": [], "null": null, "large": 1e20, "small": 2.5e-7,
        "list": [{"a": 1, "b": {"c": "\r\n"}}]
    });
    let expected = r#"key:
  name: billing
  id: 5a117907-7c1d-4c0e-9d51-6d757475616c
  pem: |
    -----BEGIN
    AA==
    -----END
  open: |-
    a
    b
  kept: |+
    a

  tags:
  - plain
  - "on"
  - "1.0"
  - "ü"
  - "a b"
  none: []
  "null": null
  large: 1.0e+20
  small: 2.5e-7
  list:
  - a: 1
    b:
      c: "\r\n"
"#;
    assert_eq!(written(&value), expected);
}

// ── configurations ──

fn no_secrets(secret: Secret<'_>) -> Result<String, String> {
    match secret {
        Secret::File(_) | Secret::Env(_) => Err("none here".into()),
    }
}

fn exported(config: &Config) -> String {
    let mut out = Vec::new();
    export(config, &mut out).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

fn restored(text: &str) -> Config {
    let options = Options {
        now_ms: NOW_MS + 999_999_999,
        secrets: &no_secrets,
        plugins: None,
    };
    let reading = Reading {
        keep_updated_at: true,
        progress: None,
    };
    match parse_as(text, &options, reading) {
        Ok(loaded) => loaded.config,
        Err(failure) => panic!("{failure}\n{text}"),
    }
}

#[test]
fn random_configurations_come_back_to_the_byte() {
    let mut rows = BTreeMap::new();
    let mut nulls = 0;
    for seed in 0..60 {
        let config = random_config(&mut Random(seed));
        let text = exported(&config);
        let back = restored(&text);
        assert_eq!(back, config, "seed {seed}");
        assert_eq!(exported(&back), text, "seed {seed}");
        for kind in Kind::ALL {
            *rows.entry(kind).or_insert(0) += config.table(kind).count();
            nulls += config
                .table(kind)
                .map(|(_, row)| kept_nulls(kind, row))
                .sum::<usize>();
        }
    }
    // Enough of both, or nothing has been shown.
    assert!(
        rows.len() == Kind::ALL.len() && rows.values().all(|count| *count >= 30) && nulls >= 100,
        "{rows:?}, {nulls} nulls"
    );
}

/// Fields that are null against their default.
fn kept_nulls(kind: Kind, row: &Map<String, Value>) -> usize {
    let fields = schema::of(kind).fields.iter();
    fields
        .filter(|field| field.default.is_some() && row[field.name].is_null())
        .count()
}

#[test]
fn updated_at_is_kept_for_a_restore_and_else_overwritten() {
    let row = json!({"username": "u", "created_at": 5, "updated_at": 7});
    let text = json!({"_format_version": "3.0", "consumers": [row, {"username": "v"}]}).to_string();
    let options = Options {
        now_ms: NOW_MS,
        secrets: &no_secrets,
        plugins: None,
    };
    for (keep_updated_at, expected) in [(true, 7), (false, NOW_MS / 1000)] {
        let reading = Reading {
            keep_updated_at,
            progress: None,
        };
        let config = parse_as(&text, &options, reading)
            .expect("it is valid")
            .config;
        for (_, row) in config.table(Kind::Consumers) {
            let expected = match row["username"].as_str() {
                Some("u") => (5, expected),
                // Without one there is nothing to keep.
                _ => (NOW_MS / 1000, NOW_MS / 1000),
            };
            let found = (row["created_at"].as_i64(), row["updated_at"].as_i64());
            assert_eq!(found, (Some(expected.0), Some(expected.1)), "{row:?}");
        }
    }
}

#[test]
fn progress_counts_every_row_of_the_file_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let consumers: Vec<Value> = (0..500)
        .map(|n| json!({"username": format!("u{n}")}))
        .collect();
    let text =
        json!({"_format_version": "3.0", "consumers": consumers, "services": [{"host": "a"}]})
            .to_string();
    let options = Options {
        now_ms: NOW_MS,
        secrets: &no_secrets,
        plugins: None,
    };
    let (calls, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = |done: usize, all: usize| {
        assert!(done <= all && all == 501);
        calls.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(done, Ordering::Relaxed);
    };
    let reading = Reading {
        keep_updated_at: false,
        progress: Some(&progress),
    };
    parse_as(&text, &options, reading).expect("it is valid");
    assert_eq!((calls.into_inner(), most.into_inner()), (501, 501));
}

fn random_config(random: &mut Random) -> Config {
    let mut config = Config::default();
    for kind in Kind::ALL {
        for number in 0..1 + random.below(8) {
            let Some(input) = input(kind, number, random, &config) else {
                continue;
            };
            let ctx = Context {
                now_ms: NOW_MS + random.below(1_000_000_000) as i64,
                find: &|_, _| None,
                yaml: false,
                plugins: None,
            };
            let with_nulls = sprinkle_nulls(kind, &input, random);
            // A rule between fields may refuse some of the nulls.
            let checked = validate::insert(kind, with_nulls, &ctx)
                .or_else(|_| validate::insert(kind, input.clone(), &ctx));
            // What the rules refuse is counted by its absence.
            let Ok(row) = checked else { continue };
            let id = row["id"].as_str().expect("an id").parse().expect("a UUID");
            config.insert(kind, id, row);
        }
    }
    config
}

/// Null in some of the fields that may be null, whatever their default.
fn sprinkle_nulls(
    kind: Kind,
    input: &Map<String, Value>,
    random: &mut Random,
) -> Map<String, Value> {
    fn visit(fields: &[schema::Field], into: &mut Map<String, Value>, random: &mut Random) {
        for field in fields {
            if let (Shape::Record(fields), Some(Value::Object(inner))) =
                (field.shape, into.get_mut(field.name))
            {
                visit(fields, inner, random);
            } else if !field.required
                && !field.transient
                && field.auto.is_none()
                && !into.contains_key(field.name)
                && random.one_in(2)
            {
                into.insert(field.name.to_owned(), Value::Null);
            }
        }
    }
    let mut with = input.clone();
    let fields = validate::fields_of(schema::of(kind), input.get("name"));
    visit(&fields, &mut with, random);
    with
}

/// A valid input; `None`: what it would refer to is not there, or all there can be is there.
fn input(
    kind: Kind,
    number: usize,
    random: &mut Random,
    config: &Config,
) -> Option<Map<String, Value>> {
    let some = |random: &mut Random, kind: Kind| -> Option<Value> {
        let ids: Vec<&Uuid> = config.table(kind).map(|(id, _)| id).collect();
        (!ids.is_empty()).then(|| json!({"id": random.pick(&ids)}))
    };
    let maybe = |random: &mut Random, kind: Kind| match random.one_in(2) {
        true => some(random, kind).unwrap_or(Value::Null),
        false => Value::Null,
    };
    let ids = |kind: Kind| -> Vec<Uuid> { config.table(kind).map(|(id, _)| *id).collect() };
    // Unique, and odd.
    let unique = |random: &mut Random| format!("{}{number}", random.text());
    let mut value = match kind {
        Kind::Certificates => {
            let (cert, key) =
                random.pick(&[(LEAF, LEAF_KEY), (SEC1, SEC1_KEY), (PKCS1, PKCS1_KEY)]);
            json!({"cert": pem(cert, random), "key": pem(key, random)})
        }
        Kind::Snis => {
            json!({"name": format!("N{number}.example.com"), "certificate": some(random, Kind::Certificates)?})
        }
        Kind::CaCertificates => json!({"cert": pem([ROOT, ROOT2, INTER].get(number)?, random)}),
        Kind::Services => json!({
            "name": format!("service-{number}"), "host": "a.test",
            "protocol": random.pick(&["http", "https"]), "path": random.pick(&["/", "/a%20b/", "/é"]).replace('é', "%C3%A9"),
            "retries": random.below(100),
        }),
        Kind::Routes => json!({
            "name": format!("r{number}"), "service": maybe(random, Kind::Services),
            "paths": [random.pick(&["/", "/a", "~/a(?<b>\\d+)$", "/c", "/a-b_c.d"])],
            "headers": {"x-a": [random.text().replace(|c: char| c.is_control(), "-")], "Y-Ü".replace('Ü', "u"): ["~*a+"]},
            "protocols": random.pick(&[&["http", "https"][..], &["grpc"], &["http"]]),
        }),
        Kind::Consumers => json!({"username": unique(random), "custom_id": unique(random)}),
        Kind::MtlsAuthCredentials => json!({
            "consumer": some(random, Kind::Consumers)?, "subject_name": unique(random),
            "ca_certificate": maybe(random, Kind::CaCertificates),
        }),
        Kind::Acls => json!({"consumer": some(random, Kind::Consumers)?, "group": unique(random)}),
        Kind::Upstreams => json!({
            "name": format!("pool-{number}"), "client_certificate": maybe(random, Kind::Certificates),
            "healthchecks": {"active": {"timeout": 0.25 + random.below(9) as f64}, "threshold": random.below(1000) as f64 / 10.0},
        }),
        Kind::Targets => json!({
            "upstream": some(random, Kind::Upstreams)?, "target": format!("10.0.0.{number}:80"),
            "created_at": random.pick(&[5.0, 1_700_000_000.123, 1_700_000_000.123_456_7, 1e300]),
        }),
        Kind::Plugins => match number {
            0 => json!({"name": "request-termination", "config": {
                "status_code": 503, "content_type": "text/plain", "body": random.text(),
            }}),
            1 => json!({"name": "mtls-auth", "config": {
                "ca_certificates": ids(Kind::CaCertificates), "revocation_check_mode": "SKIP",
            }}),
            2 => json!({"name": "prometheus"}),
            3 => {
                json!({"name": "acl", "config": {"allow": [unique(random), unique(random) + "z"]}})
            }
            _ => json!({
                "name": "acl", "service": some(random, Kind::Services)?, "instance_name": format!("acl-{number}"),
                "config": {"deny": [unique(random)]}, "enabled": random.one_in(2),
            }),
        },
    };
    if kind == Kind::Plugins && number > 3 {
        // One of a kind for each scope.
        let scope = &value["service"];
        if config.table(kind).any(|(_, row)| row["service"] == *scope) {
            return None;
        }
    }
    let fields = value.as_object_mut().expect("an object");
    fields.insert("id".into(), random.id().to_string().into());
    if kind == Kind::Services && fields["protocol"] == "https" {
        fields.insert("ca_certificates".into(), json!(ids(Kind::CaCertificates)));
        fields.insert(
            "client_certificate".into(),
            maybe(random, Kind::Certificates),
        );
    }
    let tags = match random.below(4) {
        0 => json!([]),
        1 => Value::Null,
        _ => json!([
            "on",
            "1.0",
            "ü ö",
            "日本",
            "a:b",
            "#c",
            "~",
            random.pick(&["💡", "'", "\"", "\\"])
        ]),
    };
    fields.insert("tags".into(), tags);
    Some(fields.clone())
}

/// The same PEM with other bytes around it.
fn pem(text: &str, random: &mut Random) -> String {
    let bare = text.trim_end();
    match random.below(5) {
        0 => bare.to_owned(),
        1 => format!("{bare}\n\n\n"),
        2 => format!("{bare}\n").replace('\n', "\r\n"),
        3 => format!("# a comment: ü\n{bare} \n"),
        _ => format!("{bare}\n"),
    }
}
