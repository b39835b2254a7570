//! KONG.md §1.2: `snis` are rows of their own, and a field of the certificate.

use super::*;
use crate::entity::fixtures::{LEAF, LEAF_KEY, SEC1, SEC1_KEY};

fn pair(snis: Value) -> Value {
    json!({"cert": LEAF, "key": LEAF_KEY, "snis": snis})
}

fn snis(text: String) -> Value {
    json!({
        "code": 2, "name": "schema violation",
        "message": format!("schema violation (snis: {text})"),
        "fields": {"snis": text},
    })
}

#[tokio::test]
async fn every_operation_on_snis_is_as_section_1_2_says() {
    let null = Value::Null;
    let one = format!("/certificates/{}", id(1));
    let owned = snis(format!(
        "a.test already associated with existing certificate '{}'",
        id(1)
    ));
    let bare = json!({"cert": LEAF, "key": LEAF_KEY});
    let steps = vec![
        step(
            "POST",
            "POST",
            "/certificates",
            json!({"id": id(1), "cert": LEAF, "key": LEAF_KEY, "snis": ["b.test", "a.test"]}),
            201,
            json!({"snis": ["a.test", "b.test"], "cert": LEAF, "key": LEAF_KEY, "cert_alt": null, "key_alt": null}),
        ),
        step(
            "POST, duplicated",
            "POST",
            "/certificates",
            pair(json!(["x.test", "x.test"])),
            400,
            snis("x.test is duplicated".into()),
        ),
        step(
            "POST, duplicated but for case",
            "POST",
            "/certificates",
            pair(json!(["x.test", "X.test"])),
            400,
            snis("x.test is duplicated".into()),
        ),
        step(
            "POST, owned",
            "POST",
            "/certificates",
            pair(json!(["a.test"])),
            400,
            owned.clone(),
        ),
        step(
            "POST, owned but for case",
            "POST",
            "/certificates",
            pair(json!(["A.TEST"])),
            400,
            owned.clone(),
        ),
        step(
            "nothing of a refused write",
            "GET",
            "/certificates",
            null.clone(),
            200,
            json!({"data": [{"id": id(1)}], "next": null}),
        ),
        step(
            "no snis",
            "POST",
            "/certificates",
            json!({"id": id(2), "cert": SEC1, "key": SEC1_KEY}),
            201,
            json!({"snis": []}),
        ),
        step(
            "PATCH, owned",
            "PATCH",
            format!("/certificates/{}", id(2)),
            json!({"snis": ["a.test"]}),
            400,
            owned.clone(),
        ),
        step(
            "PUT, owned",
            "PUT",
            format!("/certificates/{}", id(2)),
            pair(json!(["a.test"])),
            400,
            owned,
        ),
        step(
            "rows",
            "GET",
            "/snis/a.test",
            null.clone(),
            200,
            json!({"certificate": {"id": id(1)}}),
        ),
        step(
            "1.3 case",
            "GET",
            "/snis/A.Test",
            null.clone(),
            200,
            json!({"name": "a.test"}),
        ),
        step(
            "2.1",
            "GET",
            "/snis/a.test/certificate",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "by SNI",
            "GET",
            "/certificates/b.test",
            null.clone(),
            200,
            json!({"id": id(1), "snis": ["a.test", "b.test"]}),
        ),
        step(
            "by SNI",
            "GET",
            "/certificates/none.test",
            null.clone(),
            404,
            json!({"message": "SNI not found"}),
        ),
        step(
            "PATCH without",
            "PATCH",
            one.clone(),
            json!({"tags": ["t"]}),
            200,
            json!({"snis": ["a.test", "b.test"], "tags": ["t"]}),
        ),
        step(
            "PATCH list",
            "PATCH",
            "/certificates/a.test",
            json!({"snis": ["b.test", "c.test"]}),
            200,
            json!({"snis": ["b.test", "c.test"]}),
        ),
        step(
            "PATCH list",
            "GET",
            "/snis/a.test",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "PATCH null",
            "PATCH",
            one.clone(),
            json!({"snis": null}),
            200,
            json!({"snis": []}),
        ),
        step(
            "PUT with",
            "PUT",
            one.clone(),
            pair(json!(["d.test"])),
            200,
            json!({"snis": ["d.test"], "tags": null}),
        ),
        step(
            "PUT without",
            "PUT",
            one.clone(),
            bare.clone(),
            200,
            json!({"snis": []}),
        ),
        step(
            "PUT by SNI, unknown",
            "PUT",
            "/certificates/*.new.test",
            bare.clone(),
            200,
            json!({"snis": ["*.new.test"]}),
        ),
        step(
            "PUT by SNI, known",
            "PUT",
            "/certificates/%2A.new.test",
            pair(json!(["e.test"])),
            200,
            json!({"snis": ["*.new.test", "e.test"]}),
        ),
        step(
            "PUT by SNI, nested",
            "PUT",
            "/certificates/e.test/snis/f.test",
            json!({}),
            200,
            json!({"name": "f.test"}),
        ),
        step(
            "nested",
            "GET",
            "/certificates/e.test/snis",
            null.clone(),
            200,
            json!({"next": null}),
        ),
        step(
            "DELETE by SNI",
            "DELETE",
            "/certificates/none.test",
            null.clone(),
            404,
            json!({"message": "SNI not found"}),
        ),
        step(
            "DELETE by SNI",
            "DELETE",
            "/certificates/e.test",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "DELETE",
            "GET",
            "/snis",
            null.clone(),
            200,
            json!({"data": [], "next": null}),
        ),
        step(
            "by id",
            "PATCH",
            format!("/certificates/{}", id(99)),
            json!({}),
            404,
            json!({"code": 6}),
        ),
        step(
            "key",
            "PATCH",
            one.clone(),
            json!({"cert": SEC1}),
            400,
            json!({
                "message": "schema violation (certificate does not match key)",
                "fields": {"@entity": ["certificate does not match key"]},
            }),
        ),
        step(
            "key",
            "PATCH",
            one,
            json!({"cert": SEC1, "key": SEC1_KEY}),
            200,
            json!({"cert": SEC1, "key": SEC1_KEY}),
        ),
        step(
            "POST, bad name",
            "POST",
            "/certificates",
            pair(json!(["a.*.test"])),
            400,
            json!({"code": 2}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

/// KONG.md §1.2 [K!]: the rows of the names go only when the certificate does.
#[tokio::test]
async fn a_certificate_in_use_keeps_its_names() {
    let steps = vec![
        step(
            "",
            "POST",
            "/certificates",
            json!({"id": id(1), "cert": LEAF, "key": LEAF_KEY, "snis": ["a.test"]}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(2), "host": "h.test", "protocol": "https", "client_certificate": {"id": id(1)}}),
            201,
            json!({}),
        ),
        step(
            "1.2",
            "DELETE",
            "/certificates/a.test",
            Value::Null,
            400,
            json!({
                "code": 4, "fields": {"@referenced_by": "services"},
                "message": "an existing 'services' entity references this 'certificates' entity",
            }),
        ),
        step(
            "1.2",
            "GET",
            "/snis/a.test",
            Value::Null,
            200,
            json!({"certificate": {"id": id(1)}}),
        ),
        step(
            "2.1",
            "GET",
            format!("/certificates/{}/services", id(1)),
            Value::Null,
            200,
            json!({"data": [{"id": id(2)}]}),
        ),
        step(
            "2.1",
            "GET",
            format!("/services/{}/client_certificate", id(2)),
            Value::Null,
            200,
            json!({"snis": ["a.test"]}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

/// KONG-CLIENTS.md §6, point 20: decK replaces a certificate and lists its names.
#[tokio::test]
async fn a_replaced_certificate_is_never_without_its_names() {
    let store = Arc::new(Memory::default());
    let address = start(node(store.clone())).await;
    let mut client = Client::connect(address).await;
    let first = json!({"id": id(1), "cert": LEAF, "key": LEAF_KEY, "snis": ["a.test", "b.test"]});
    client.have("/certificates", first).await;
    let before = client.get("/snis/a.test").await.json();
    let revision = store.image().revision;
    let second = json!({"cert": SEC1, "key": SEC1_KEY, "snis": ["b.test", "a.test"]});
    let target = format!("/certificates/{}", id(1));
    let answer = client.json("PUT", &target, &second).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(store.image().revision, revision + 1, "one batch");
    let after = client.get("/snis/a.test").await.json();
    assert_eq!(after, before, "the row has not been touched");
}

/// KONG-CLIENTS.md §6, points 1 and 2.
#[tokio::test]
async fn pem_texts_come_back_byte_for_byte() {
    let mut client = Client::connect(start(memory()).await).await;
    for (cert, key) in [
        (LEAF.trim_end().to_owned(), LEAF_KEY.to_owned()),
        (format!("{LEAF}\n\n"), LEAF_KEY.trim_end().to_owned()),
    ] {
        let row = client
            .have("/certificates", json!({"cert": cert, "key": key}))
            .await;
        assert_eq!(
            (row["cert"].as_str(), row["key"].as_str()),
            (Some(&*cert), Some(&*key))
        );
    }
}
