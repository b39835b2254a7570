//! Facts that programs on the Go library rely on (KONG-CLIENTS.md §2).

use crate::support::entities::id;
use crate::support::{Admin, Gateway, Setup, Value, json};

fn with_services(numbers: &[u32]) -> Gateway {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    for number in numbers {
        let name = format!("s{number}");
        let row = json!({"id": id(*number), "name": name, "host": "h.test"});
        admin.have("/services", &row);
    }
    gateway
}

fn ids(page: &Value) -> Vec<String> {
    let rows = page["data"].as_array().expect("an array");
    rows.iter()
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// The next page by the offset alone, which is what the library keeps.
fn next(admin: &mut Admin, page: &Value, size: usize) -> Value {
    let offset = page["offset"].as_str().expect("an offset");
    let offset: String = form_urlencoded::byte_serialize(offset.as_bytes()).collect();
    admin
        .get(&format!("/services?size={size}&offset={offset}"))
        .assert(200)
}

#[test]
fn one_row_then_two_of_three_end_without_an_offset() {
    let gateway = with_services(&[1, 2, 3]);
    let mut admin = gateway.admin();
    let first = admin.get("/services?size=1").assert(200);
    assert_eq!(ids(&first), [id(1)]);
    let second = next(&mut admin, &first, 2);
    assert_eq!(ids(&second), [id(2), id(3)]);
    assert_eq!(second["next"], Value::Null);
    assert_eq!(second.get("offset"), None, "{second}");
}

#[test]
fn pages_stay_as_they_are_when_rows_come_and_go_in_between() {
    let gateway = with_services(&[10, 20, 30, 40]);
    let mut admin = gateway.admin();
    let first = admin.get("/services?size=2").assert(200);
    assert_eq!(ids(&first), [id(10), id(20)]);
    let mut other = gateway.admin();
    for number in [5, 15, 35] {
        let row = json!({"id": id(number), "host": "h.test"});
        other.have("/services", &row);
    }
    // The row that the offset was taken from, too.
    other.delete(&format!("/services/{}", id(20))).assert(204);
    let second = next(&mut admin, &first, 2);
    assert_eq!(ids(&second), [id(30), id(35)]);
    let third = next(&mut admin, &second, 2);
    assert_eq!(ids(&third), [id(40)]);
    assert_eq!(third.get("offset"), None);
}

#[test]
fn next_is_a_path_that_is_asked_as_it_stands() {
    let gateway = with_services(&[1, 2, 3]);
    let mut admin = gateway.admin();
    let mut target = "/services?size=1&tags=".to_owned();
    admin.get(&target).assert(400);
    target = "/services?size=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = admin.get(&target).assert(200);
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => target = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [id(1), id(2), id(3)]);
}

#[test]
fn deleting_what_is_not_there_is_no_error() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    for target in [
        "/services/absent",
        "/routes/absent",
        "/upstreams/absent.test",
        "/consumers/absent",
        "/plugins/absent",
        "/snis/absent.test",
        &format!("/certificates/{}", id(9)),
        &format!("/ca_certificates/{}", id(9)),
        &format!("/services/{}", id(9)),
    ] {
        let answer = admin.delete(target);
        assert_eq!(
            (answer.status(), answer.text()),
            (204, String::new()),
            "{target}"
        );
    }
}

#[test]
fn a_patch_may_repeat_the_id_and_the_dates() {
    let gateway = with_services(&[1]);
    let mut admin = gateway.admin();
    let mut row = admin.get("/services/s1").assert(200);
    row["port"] = json!(8080);
    let patched = admin
        .patch(&format!("/services/{}", id(1)), &row)
        .assert(200);
    assert_eq!(
        (&patched["port"], &patched["id"], &patched["created_at"]),
        (&json!(8080), &json!(id(1)), &row["created_at"])
    );
    assert_eq!(admin.get("/services/s1").assert(200), patched);
    let missing = admin.patch(&format!("/services/{}", id(9)), &json!({"port": 1}));
    let text = format!(
        "could not find the entity with primary key '{{id=\"{}\"}}'",
        id(9)
    );
    assert_eq!(missing.assert(404)["message"], text);
}

#[test]
fn validation_names_the_field_in_the_text_that_clients_compare() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    for (kind, body, status, message) in [
        (
            "plugins",
            json!({"name": "acl", "config": {"allow": ["a"], "garbage": 1}}),
            400,
            "schema violation (config.garbage: unknown field)",
        ),
        (
            "plugins",
            json!({"name": "acl", "config": {"allow": ["a"]}}),
            200,
            "schema validation successful",
        ),
        (
            "plugins",
            json!({"name": "no-such"}),
            400,
            "schema violation (name: plugin 'no-such' not enabled; add it to the 'plugins' configuration property)",
        ),
        (
            "services",
            json!({"host": "h.test", "garbage": 1}),
            400,
            "schema violation (garbage: unknown field)",
        ),
        (
            "services",
            json!({"name": "n", "port": "80"}),
            400,
            "2 schema violations (host: required field missing; port: expected an integer)",
        ),
        (
            "consumers",
            json!({}),
            400,
            "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')",
        ),
        ("nothing", json!({}), 404, "No entity named 'nothing'"),
    ] {
        let answer = admin.post(&format!("/schemas/{kind}/validate"), &body);
        assert_eq!(answer.assert(status)["message"], message, "{kind} {body}");
    }
}
