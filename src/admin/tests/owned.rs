//! What KONG.md says of consumers and what they own, CA certificates, upstreams and targets, literally.

use super::*;
use crate::entity::fixtures::{ROOT, ROOT2, SEC1, SEC1_KEY};

fn violation(fields: Value) -> Value {
    json!({"code": 2, "name": "schema violation", "fields": fields})
}

#[tokio::test]
async fn consumers_and_what_they_own_are_as_sections_1_7_to_1_9_say() {
    let null = Value::Null;
    let neither = "at least one of these fields must be non-empty: 'custom_id', 'username'";
    let steps = vec![
        step(
            "1.7",
            "POST",
            "/consumers",
            json!({"id": id(4), "username": "ü ser", "custom_id": "c"}),
            201,
            json!({"custom_id": "c"}),
        ),
        step(
            "1.7",
            "GET",
            "/consumers/%C3%BC%20ser",
            null.clone(),
            200,
            json!({"id": id(4)}),
        ),
        step(
            "1.7",
            "POST",
            "/consumers",
            json!({}),
            400,
            violation(json!({"@entity": [neither]})),
        ),
        step(
            "1.7",
            "PATCH",
            "/consumers/%C3%BC%20ser",
            json!({"username": null, "custom_id": null}),
            400,
            violation(json!({"@entity": [format!("when updating, {neither}")]})),
        ),
        step(
            "1.7",
            "GET",
            "/consumers?custom_id=c",
            null.clone(),
            200,
            json!({"data": [{"id": id(4)}], "next": null}),
        ),
        step(
            "1.7",
            "GET",
            "/consumers?custom_id=x",
            null.clone(),
            200,
            json!({"data": [], "next": null}),
        ),
        step(
            "1.7",
            "GET",
            "/consumers?custom_id=",
            null.clone(),
            400,
            json!({"message": "custom_id must be an unempty string"}),
        ),
        step(
            "1.9",
            "POST",
            format!("/consumers/{}/acls", id(4)),
            json!({"id": id(5), "group": "g"}),
            201,
            json!({"group": "g", "consumer": {"id": id(4)}}),
        ),
        step(
            "1.9",
            "POST",
            format!("/consumers/{}/acls", id(4)),
            json!({"group": "g"}),
            409,
            json!({"code": 5}),
        ),
        step(
            "1.9 by group",
            "GET",
            format!("/consumers/{}/acls/g", id(4)),
            null.clone(),
            200,
            json!({"id": id(5)}),
        ),
        step(
            "2.2",
            "PUT",
            format!("/consumers/{}/acls/new", id(4)),
            json!({}),
            200,
            json!({"group": "new"}),
        ),
        step(
            "2.2",
            "PUT",
            format!("/consumers/{}/acls/g", id(4)),
            json!({"tags": ["t"]}),
            200,
            json!({"id": id(5), "tags": ["t"]}),
        ),
        step(
            "2.2",
            "DELETE",
            format!("/consumers/{}/acls/none", id(4)),
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.2",
            "DELETE",
            format!("/consumers/{}/acls/new", id(4)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "2.1",
            "GET",
            format!("/acls/{}/consumer", id(5)),
            null.clone(),
            200,
            json!({"id": id(4)}),
        ),
        step(
            "1.8",
            "POST",
            "/ca_certificates",
            json!({"id": id(6), "cert": ROOT}),
            201,
            json!({"id": id(6)}),
        ),
        step(
            "CLIENTS 1.4",
            "PUT",
            format!("/consumers/{}/mtls-auth/{}", id(4), id(7)),
            json!({"subject_name": "s", "ca_certificate": {"id": id(6)}, "consumer": {"id": id(4), "username": "x"}}),
            200,
            json!({"id": id(7), "consumer": {"id": id(4)}, "ca_certificate": {"id": id(6)}}),
        ),
        step(
            "1.8",
            "POST",
            format!("/consumers/{}/mtls-auth", id(4)),
            json!({"subject_name": "s", "ca_certificate": {"id": id(6)}}),
            409,
            json!({"code": 5}),
        ),
        step(
            "1.8",
            "GET",
            "/mtls-auths",
            null.clone(),
            200,
            json!({"data": [{"id": id(7)}]}),
        ),
        step(
            "1.12 [?]",
            "DELETE",
            format!("/ca_certificates/{}", id(6)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12 [?]",
            "GET",
            format!("/mtls-auths/{}", id(7)),
            null.clone(),
            404,
            json!({}),
        ),
        step(
            "1.12",
            "DELETE",
            format!("/consumers/{}", id(4)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12",
            "GET",
            format!("/acls/{}", id(5)),
            null,
            404,
            json!({}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn ca_certificates_are_as_section_1_4_says() {
    let null = Value::Null;
    let at = format!("/ca_certificates/{}", id(2));
    let in_use = |by: &str, by_id: String| {
        json!({
            "code": 19, "name": "referenced by others",
            "message": format!("ca certificate {} is still referenced by {by} (id = {by_id})", id(2)),
        })
    };
    let steps = vec![
        step(
            "1.4",
            "POST",
            "/ca_certificates",
            json!({"id": id(2), "cert": ROOT, "cert_digest": null}),
            201,
            json!({"cert": ROOT}),
        ),
        step(
            "1.4",
            "POST",
            "/ca_certificates",
            json!({"cert": ROOT}),
            409,
            json!({"code": 5}),
        ),
        step(
            "1.4",
            "POST",
            "/ca_certificates",
            json!({"cert": SEC1}),
            400,
            violation(json!({"@entity": [
                "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint",
            ]})),
        ),
        step(
            "1.4",
            "POST",
            "/ca_certificates",
            json!({"cert": format!("{ROOT}{ROOT2}")}),
            400,
            violation(json!({"@entity": ["please submit only one certificate at a time"]})),
        ),
        step(
            "1.4 by name",
            "GET",
            "/ca_certificates/x",
            null.clone(),
            400,
            json!({"code": 1}),
        ),
        step(
            "1.12",
            "POST",
            "/services",
            json!({"id": id(3), "host": "h.test", "protocol": "https", "ca_certificates": [id(2)]}),
            201,
            json!({}),
        ),
        step(
            "1.12",
            "DELETE",
            at.clone(),
            null.clone(),
            400,
            in_use("services", id(3)),
        ),
        step(
            "1.12",
            "PATCH",
            format!("/services/{}", id(3)),
            json!({"ca_certificates": null}),
            200,
            json!({}),
        ),
        step(
            "1.12",
            "POST",
            "/plugins",
            json!({"id": id(4), "name": "mtls-auth", "config": {"ca_certificates": [id(2)]}}),
            201,
            json!({}),
        ),
        step(
            "1.12",
            "DELETE",
            at.clone(),
            null.clone(),
            400,
            in_use("plugins", id(4)),
        ),
        step(
            "1.12",
            "DELETE",
            format!("/plugins/{}", id(4)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.4",
            "PATCH",
            at.clone(),
            json!({"cert": ROOT2}),
            200,
            json!({"cert": ROOT2}),
        ),
        step("1.12", "DELETE", at, null.clone(), 204, null),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn upstreams_and_targets_are_as_section_1_11_says() {
    let null = Value::Null;
    let steps = vec![
        step(
            "1.11",
            "POST",
            "/certificates",
            json!({"id": id(1), "cert": SEC1, "key": SEC1_KEY}),
            201,
            json!({}),
        ),
        step(
            "1.11",
            "POST",
            "/upstreams",
            json!({"id": id(5), "name": "pool", "client_certificate": {"id": id(1)}}),
            201,
            json!({
                "algorithm": "round-robin", "slots": 10000, "hash_on": "none",
                "healthchecks": {"threshold": 0, "active": {"timeout": 1, "healthy": {"http_statuses": [200, 302]}}},
            }),
        ),
        step(
            "1.11",
            "PATCH",
            "/upstreams/pool",
            json!({"healthchecks": {"active": {"timeout": 3}}}),
            200,
            json!({"healthchecks": {"active": {"timeout": 3, "concurrency": 10}}}),
        ),
        step(
            "1.12",
            "DELETE",
            format!("/certificates/{}", id(1)),
            null.clone(),
            400,
            json!({"fields": {"@referenced_by": "upstreams"}}),
        ),
        step(
            "2.1",
            "GET",
            "/upstreams/pool/client_certificate",
            null.clone(),
            200,
            json!({"id": id(1)}),
        ),
        step(
            "1.11",
            "POST",
            "/upstreams/pool/targets",
            json!({"id": id(6), "target": "10.0.0.1"}),
            201,
            json!({"target": "10.0.0.1:8000", "weight": 100, "upstream": {"id": id(5)}}),
        ),
        step(
            "1.11",
            "POST",
            "/upstreams/pool/targets",
            json!({"target": "10.0.0.1:8000"}),
            409,
            json!({"code": 5}),
        ),
        step(
            "CLIENTS 1.4",
            "PUT",
            format!("/upstreams/{}/targets/{}", id(5), id(7)),
            json!({"target": "t.test:1", "weight": 0}),
            200,
            json!({"id": id(7), "weight": 0}),
        ),
        step(
            "1.11",
            "GET",
            "/upstreams/pool/targets/10.0.0.1",
            null.clone(),
            200,
            json!({"id": id(6)}),
        ),
        step(
            "2.1",
            "GET",
            "/upstreams/pool/targets/all",
            null.clone(),
            200,
            json!({"data": [{"id": id(6)}, {"id": id(7)}]}),
        ),
        step(
            "2.8",
            "GET",
            "/upstreams/pool/health",
            null.clone(),
            200,
            json!({
                "data": [{"id": id(6), "health": "HEALTHCHECKS_OFF"}, {"id": id(7), "health": "HEALTHCHECKS_OFF"}],
                "next": null, "node_id": "6b1f3a52-0a31-4b3a-9d0e-000000000001",
            }),
        ),
        step(
            "2.8",
            "GET",
            "/upstreams/pool/health?balancer_health=1",
            null.clone(),
            200,
            json!({"data": {"id": id(5), "health": "HEALTHCHECKS_OFF"}}),
        ),
        step(
            "CLIENTS 3.2",
            "PUT",
            format!("/upstreams/pool/targets/{}/healthy", id(6)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "CLIENTS 3.2",
            "PUT",
            format!("/upstreams/pool/targets/{}/10.0.0.1:8000/unhealthy", id(6)),
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "2.1",
            "PUT",
            format!("/upstreams/pool/targets/{}/unhealthy", id(99)),
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.1",
            "GET",
            "/targets",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "1.12",
            "DELETE",
            "/upstreams/pool",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12",
            "DELETE",
            format!("/certificates/{}", id(1)),
            null.clone(),
            204,
            null,
        ),
    ];
    run(start(memory()).await, steps).await;
}
