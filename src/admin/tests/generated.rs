//! Each entity and verb, from the entity tables: what a table says of a field, the API does.

use super::*;
use crate::entity::schema::{self, Auto, Shape};

/// Below a collection of its own where it has none at the top.
fn row_of(kind: Kind, id: &str) -> String {
    format!("{}/{id}", least(kind).0)
}

async fn ready() -> Client {
    let mut client = Client::connect(start(memory()).await).await;
    parents(&mut client).await;
    client
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

/// KONG.md §1.1: every field in every answer; absent ones with their default, or null.
#[tokio::test]
async fn a_created_row_has_every_field_of_its_table() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body.clone()).await;
        let own = row["id"].as_str().expect("an id").to_owned();
        for field in schema::of(kind).fields {
            let value = row.get(field.name);
            let place = format!("{}.{}: {value:?}", kind.name(), field.name);
            let value = value.unwrap_or_else(|| panic!("{place}"));
            let from_path = kind == Kind::Targets && field.name == "upstream";
            if field.auto.is_some() || body.get(field.name).is_some() {
                assert!(!value.is_null(), "{place}");
            } else if field.transient {
                assert_eq!(value, &json!([]), "{place}");
            } else if let Some(default) = field.default {
                assert_eq!(value, &default.value(), "{place}");
            } else if !from_path && !matches!(field.shape, Shape::Record(_)) {
                assert!(value.is_null(), "{place}");
            }
        }
        let read = client.get(&row_of(kind, &own)).await;
        assert_eq!((read.status, read.json()), (200, row), "{}", kind.name());
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_on_every_write() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body.clone()).await;
        let own = row["id"].as_str().expect("an id");
        let wrong = with(&body, "no_such_field", json!(1));
        let at = row_of(kind, own);
        for (method, target, body) in [
            ("POST", target, &wrong),
            ("PUT", at.as_str(), &wrong),
            ("PATCH", at.as_str(), &json!({"no_such_field": 1})),
        ] {
            let answer = client.json(method, target, body).await;
            let expected = json!({
                "code": 2,
                "name": "schema violation",
                "message": "schema violation (no_such_field: unknown field)",
                "fields": {"no_such_field": "unknown field"},
            });
            let found = (answer.status, answer.json());
            assert_eq!(found, (400, expected), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn a_required_field_is_missed_when_absent_and_when_null() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let own = client.have(target, body.clone()).await["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        for field in schema::of(kind).fields {
            // The parent of a nested row comes from the path.
            let from_path = kind == Kind::Targets && field.name == "upstream";
            if !field.required || from_path || matches!(field.shape, Shape::Record(_)) {
                continue;
            }
            let expected = json!({"code": 2, "fields": {field.name: "required field missing"}});
            let null = json!({field.name: null});
            let mut without = body.clone();
            without
                .as_object_mut()
                .expect("an object")
                .remove(field.name);
            let mut cases = vec![
                (
                    "POST",
                    target.to_owned(),
                    with(&body, field.name, Value::Null),
                ),
                ("PATCH", row_of(kind, &own), null),
            ];
            if field.default.is_none() {
                cases.push(("POST", target.to_owned(), without));
            }
            for (method, target, body) in cases {
                let answer = client.json(method, &target, &body).await;
                let place = format!("{method} {target} {body}: {}", answer.text);
                assert_eq!(answer.status, 400, "{place}");
                assert!(has(&answer.json(), &expected), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn a_unique_value_is_taken_once() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body.clone()).await;
        let schema = schema::of(kind);
        let single: Vec<&str> = (schema.fields.iter())
            .filter(|field| field.unique && !row[field.name].is_null())
            .map(|field| field.name)
            .collect();
        let tuples = schema.unique_together.iter().map(|tuple| tuple.to_vec());
        let taken = single
            .into_iter()
            .map(|name| vec![name])
            .chain(tuples)
            .next();
        let answer = client.json("POST", target, &body).await;
        let Some(fields) = taken else {
            assert_eq!(answer.status, 201, "{target}: {}", answer.text);
            continue;
        };
        assert_eq!(answer.status, 409, "{target}: {}", answer.text);
        let found = answer.json();
        assert_eq!(found["code"], 5, "{target}");
        assert_eq!(found["name"], "unique constraint violation", "{target}");
        for name in fields {
            assert_eq!(found["fields"][name], row[name], "{target}: {found}");
        }
    }
}

#[tokio::test]
async fn an_id_is_taken_once() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let body = with(&body, "id", json!(id(100)));
        client.have(target, body.clone()).await;
        let answer = client.json("POST", target, &body).await;
        let expected = json!({
            "code": 3,
            "name": "primary key violation",
            "message": format!("primary key violation on key '{{id=\"{}\"}}'", id(100)),
            "fields": {"id": id(100)},
        });
        assert_eq!((answer.status, answer.json()), (400, expected), "{target}");
    }
}

/// KONG.md §2.5, code 4.
#[tokio::test]
async fn a_reference_to_what_is_not_there_is_refused() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        for (field, to) in schema::of(kind).references() {
            if kind == Kind::Targets {
                continue;
            }
            let mut body = with(&body, field.name, json!({"id": id(999)}));
            if field.name == "client_certificate" && kind == Kind::Services {
                body["protocol"] = "https".into();
            }
            let answer = client.json("POST", target, &body).await;
            let expected = json!({
                "code": 4,
                "name": "foreign key violation",
                "message": format!(
                    "the foreign key '{{id=\"{}\"}}' does not reference an existing '{}' entity.",
                    id(999), to.name(),
                ),
                "fields": {field.name: {"id": id(999)}},
            });
            let found = (answer.status, answer.json());
            assert_eq!(found, (400, expected), "{target} {}", field.name);
        }
    }
}

/// KONG.md §2.2: create-or-replace; what is not sent goes back to its default, `created_at` too.
#[tokio::test]
async fn put_creates_and_replaces() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (_, body) = least(kind);
        let at = row_of(kind, &id(200));
        let tagged = with(&body, "tags", json!(["t"]));
        let first = client.json("PUT", &at, &tagged).await;
        assert_eq!(first.status, 200, "{at}: {}", first.text);
        assert_eq!(first.json()["id"], id(200), "{at}");
        assert_eq!(first.json()["tags"], json!(["t"]), "{at}");
        let second = client.json("PUT", &at, &body).await;
        assert_eq!(second.status, 200, "{at}: {}", second.text);
        let (first, second) = (first.json(), second.json());
        assert_eq!(second["tags"], Value::Null, "{at}");
        let times = |row: &Value| row["created_at"].as_f64().expect("a time");
        assert!(times(&first) < times(&second), "{at}");
        let kept = with(&body, "created_at", json!(1_500_000_000));
        let third = client.json("PUT", &at, &kept).await;
        assert_eq!(third.json()["created_at"], 1_500_000_000, "{at}");
    }
}

/// KONG.md §1.1: `updated_at` is the server's, `created_at` stays.
#[tokio::test]
async fn patch_changes_what_is_sent_and_nothing_else() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body).await;
        let at = row_of(kind, row["id"].as_str().expect("an id"));
        let patch =
            json!({"id": row["id"], "tags": ["a", "a", "b"], "created_at": row["created_at"]});
        let changed = client.json("PATCH", &at, &patch).await;
        assert_eq!(changed.status, 200, "{at}: {}", changed.text);
        let mut expected = row.clone();
        expected["tags"] = json!(["a", "b"]);
        let mut found = changed.json();
        if schema::of(kind)
            .fields
            .iter()
            .any(|field| matches!(field.auto, Some(Auto::UpdatedAt | Auto::UpdatedAtFraction)))
        {
            assert_ne!(found["updated_at"], row["updated_at"], "{at}");
            found["updated_at"] = row["updated_at"].clone();
        }
        assert_eq!(found, expected, "{at}");
        let other = client.json("PATCH", &at, &json!({"id": id(999)})).await;
        assert_eq!(other.status, 400, "{at}");
        assert_eq!(
            other.json()["fields"]["id"],
            "immutable field cannot be updated",
            "{at}"
        );
        let unset = client.json("PATCH", &at, &json!({"tags": null})).await;
        assert_eq!(unset.json()["tags"], Value::Null, "{at}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_by_verb() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let nested = kind == Kind::Targets;
        let at = row_of(kind, &id(999));
        let read = client.get(&at).await;
        assert_eq!(
            (read.status, read.json()),
            (404, json!({"message": "Not found"})),
            "{at}"
        );
        let patched = client.json("PATCH", &at, &json!({})).await;
        assert_eq!(patched.status, 404, "{at}");
        if !nested {
            let expected = json!({
                "code": 6,
                "name": "not found",
                "message": format!("could not find the entity with primary key '{{id=\"{}\"}}'", id(999)),
                "fields": {"id": id(999)},
            });
            assert_eq!(patched.json(), expected, "{at}");
        }
        let deleted = client.send("DELETE", &at, &[], None).await;
        let expected = if nested { 404 } else { 204 };
        assert_eq!(deleted.status, expected, "{at}");
    }
}

#[tokio::test]
async fn a_deleted_row_is_gone() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body).await;
        let at = row_of(kind, row["id"].as_str().expect("an id"));
        let deleted = client.send("DELETE", &at, &[], None).await;
        assert_eq!((deleted.status, &*deleted.text), (204, ""), "{at}");
        assert_eq!(deleted.header("content-type"), None, "{at}");
        assert_eq!(client.get(&at).await.status, 404, "{at}");
    }
}

/// KONG.md §2.1: by the endpoint key, where the table has one.
#[tokio::test]
async fn a_row_is_addressed_by_its_key() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let Some(key) = schema::of(kind).endpoint_key else {
            continue;
        };
        let (target, body) = least(kind);
        // A hostname suits every key; below its port for a target.
        let at = format!("{target}/key.test");
        let put = client.json("PUT", &at, &body).await;
        assert_eq!(put.status, 200, "{at}: {}", put.text);
        let row = put.json();
        let written = row[key].as_str().expect("a key");
        assert!(written.starts_with("key.test"), "{at}: {written}");
        for (method, body) in [("GET", Value::Null), ("PATCH", json!({"tags": ["t"]}))] {
            let answer = match &body {
                Value::Null => client.get(&at).await,
                body => client.json(method, &at, body).await,
            };
            assert_eq!(answer.status, 200, "{method} {at}: {}", answer.text);
            assert_eq!(answer.json()["id"], row["id"], "{method} {at}");
        }
        let again = client.json("PUT", &at, &body).await;
        assert_eq!(again.json()["id"], row["id"], "{at}: {}", again.text);
        let deleted = client.send("DELETE", &at, &[], None).await;
        assert_eq!(deleted.status, 204, "{at}");
        assert_eq!(client.get(&at).await.status, 404, "{at}");
        if kind != Kind::Targets {
            let patched = client.json("PATCH", &at, &json!({})).await;
            let text = format!("could not find the entity with '{{{key}=\"key.test\"}}'");
            assert_eq!(patched.json()["message"], text, "{at}");
        }
    }
}

/// KONG.md §2.2: POST on a row and DELETE of a collection are 405, with `Allow`.
#[tokio::test]
async fn a_method_a_path_does_not_have_is_405() {
    let mut client = ready().await;
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let at = row_of(kind, &id(1));
        for (method, target, allowed) in [
            (
                "POST",
                at.as_str(),
                "delete, get, head, options, patch, put",
            ),
            ("DELETE", target, "get, head, options, post"),
            ("PUT", target, "get, head, options, post"),
        ] {
            let answer = client.json(method, target, &body).await;
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.json(), json!({"message": "Method not allowed"}));
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {target}");
        }
    }
}
