//! Rows below a parent and at the end of a reference (KONG.md §2.1).

use super::*;
use crate::entity::fixtures::{LEAF, LEAF_KEY, SEC1, SEC1_KEY};

#[tokio::test]
async fn a_row_below_a_parent_is_its_own_or_absent() {
    let null = Value::Null;
    let absent = json!({"message": "Not found"});
    let r = id(11);
    let own = format!("/services/a/routes/{r}");
    let foreign = format!("/services/b/routes/{r}");
    let steps = vec![
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(10), "name": "a", "host": "h.test"}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(20), "name": "b", "host": "h.test"}),
            201,
            json!({}),
        ),
        step(
            "2.1 POST",
            "POST",
            "/services/a/routes",
            json!({"id": r, "name": "r", "paths": ["/"], "service": {"id": id(20)}}),
            201,
            json!({"service": {"id": id(10)}}),
        ),
        step(
            "2.1 GET",
            "GET",
            own.clone(),
            null.clone(),
            200,
            json!({"id": r}),
        ),
        step(
            "2.1 GET",
            "GET",
            "/services/a/routes/r",
            null.clone(),
            200,
            json!({"id": r}),
        ),
        step(
            "2.1 owner",
            "GET",
            foreign.clone(),
            null.clone(),
            404,
            absent.clone(),
        ),
        step(
            "2.1 owner",
            "GET",
            "/services/b/routes/r",
            null.clone(),
            404,
            absent.clone(),
        ),
        step(
            "2.1 owner",
            "PATCH",
            foreign.clone(),
            json!({}),
            404,
            absent.clone(),
        ),
        step(
            "2.1 owner",
            "PUT",
            foreign.clone(),
            json!({"paths": ["/"]}),
            404,
            absent.clone(),
        ),
        step(
            "2.1 owner",
            "PUT",
            "/services/b/routes/r",
            json!({"paths": ["/"]}),
            404,
            absent.clone(),
        ),
        step(
            "2.2 owner",
            "DELETE",
            foreign,
            null.clone(),
            404,
            absent.clone(),
        ),
        step(
            "2.1 parent",
            "GET",
            "/services/none/routes",
            null.clone(),
            404,
            absent.clone(),
        ),
        step(
            "2.1 parent",
            "POST",
            "/services/none/routes",
            json!({"paths": ["/"]}),
            404,
            absent.clone(),
        ),
        step(
            "2.1 parent",
            "GET",
            format!("/services/{}/routes/{r}", id(99)),
            null.clone(),
            404,
            absent.clone(),
        ),
        step(
            "2.1 parent",
            "PUT",
            format!("/services/{}/routes/{r}", id(99)),
            json!({"paths": ["/"]}),
            404,
            absent.clone(),
        ),
        step(
            "CLIENTS 3.2",
            "PATCH",
            own.clone(),
            json!({"name": "s"}),
            200,
            json!({"name": "s", "service": {"id": id(10)}}),
        ),
        step(
            "2.1 PUT",
            "PUT",
            own.clone(),
            json!({"paths": ["/x"]}),
            200,
            json!({"id": r, "name": null, "service": {"id": id(10)}}),
        ),
        step(
            "2.1 PUT",
            "PUT",
            "/services/a/routes/new",
            json!({"paths": ["/y"]}),
            200,
            json!({"name": "new", "service": {"id": id(10)}}),
        ),
        step(
            "2.1 slash",
            "GET",
            "/services/a/routes/",
            null.clone(),
            200,
            json!({"next": null}),
        ),
        step(
            "2.2",
            "DELETE",
            own.clone(),
            null.clone(),
            204,
            null.clone(),
        ),
        step("2.2", "DELETE", own, null, 404, absent),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn a_reference_is_followed() {
    let null = Value::Null;
    let steps = vec![
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(10), "name": "a", "host": "h.test", "tags": ["t"]}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/services/a/routes",
            json!({"name": "r", "paths": ["/"]}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/routes",
            json!({"name": "free", "paths": ["/f"]}),
            201,
            json!({"service": null}),
        ),
        step(
            "2.1 GET",
            "GET",
            "/routes/r/service",
            null.clone(),
            200,
            json!({"id": id(10)}),
        ),
        step(
            "2.1 PATCH",
            "PATCH",
            "/routes/r/service",
            json!({"port": 81}),
            200,
            json!({"id": id(10), "port": 81, "tags": ["t"]}),
        ),
        step(
            "2.1 PUT",
            "PUT",
            "/routes/r/service",
            json!({"host": "i.test"}),
            200,
            json!({"id": id(10), "host": "i.test", "tags": null}),
        ),
        step(
            "2.1 null",
            "GET",
            "/routes/free/service",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.1 null",
            "PATCH",
            "/routes/free/service",
            json!({}),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.1 null",
            "PUT",
            "/routes/free/service",
            json!({"name": "new", "host": "n.test"}),
            200,
            json!({"name": "new"}),
        ),
        step(
            "2.1 null",
            "GET",
            "/routes/free/service",
            null.clone(),
            200,
            json!({"name": "new"}),
        ),
        step(
            "2.1",
            "GET",
            "/routes/none/service",
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "2.1",
            "DELETE",
            "/routes/r/service",
            null,
            405,
            json!({"message": "Method not allowed"}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

/// KONG-CLIENTS.md §4.1: Terraform puts the workspace in front.
#[tokio::test]
async fn the_workspace_in_front_changes_nothing() {
    let null = Value::Null;
    let steps = vec![
        step(
            "1.13",
            "POST",
            "/default/services",
            json!({"id": id(10), "name": "a", "host": "h.test"}),
            201,
            json!({"name": "a"}),
        ),
        step(
            "1.13",
            "GET",
            "/default/services/a",
            null.clone(),
            200,
            json!({"id": id(10)}),
        ),
        step(
            "1.13",
            "GET",
            "/services/a",
            null.clone(),
            200,
            json!({"id": id(10)}),
        ),
        step(
            "CLIENTS 5.23",
            "GET",
            "/default/workspaces/default",
            null.clone(),
            200,
            json!({"name": "default"}),
        ),
        step(
            "CLIENTS 5.23",
            "GET",
            "/workspaces",
            null.clone(),
            200,
            json!({"data": [{"name": "default"}], "next": null}),
        ),
        step(
            "CLIENTS 5.23",
            "GET",
            "/default/kong",
            null,
            200,
            json!({"version": "3.9.1"}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn a_put_to_a_free_key_takes_over_no_other_row() {
    let primary_key = |number| {
        json!({
            "code": 3, "name": "primary key violation",
            "message": format!("primary key violation on key '{{id=\"{}\"}}'", id(number)),
            "fields": {"id": id(number)},
        })
    };
    let acl = json!({"id": id(30), "group": "gold", "consumer": {"id": id(20)}});
    let null = Value::Null;
    let steps = vec![
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(10), "name": "a", "host": "h.test"}),
            201,
            json!({}),
        ),
        step(
            "2.5 code 3",
            "PUT",
            "/services/b",
            json!({"id": id(10), "host": "evil.test"}),
            400,
            primary_key(10),
        ),
        step(
            "2.2",
            "GET",
            "/services/a",
            null.clone(),
            200,
            json!({"id": id(10), "host": "h.test"}),
        ),
        step(
            "2.2 its own id",
            "PUT",
            "/services/a",
            json!({"id": id(10), "host": "i.test"}),
            200,
            json!({"id": id(10), "name": "a", "host": "i.test"}),
        ),
        step(
            "2.2 a free id",
            "PUT",
            "/services/b",
            json!({"id": id(11), "host": "h.test"}),
            200,
            json!({"id": id(11), "name": "b"}),
        ),
        step(
            "",
            "POST",
            "/consumers",
            json!({"id": id(20), "username": "c"}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/consumers",
            json!({"id": id(21), "username": "d"}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/consumers/c/acls",
            json!({"id": id(30), "group": "gold"}),
            201,
            acl.clone(),
        ),
        step(
            "2.2 group",
            "PUT",
            "/consumers/d/acls/silver",
            json!({"id": id(30)}),
            400,
            primary_key(30),
        ),
        step(
            "2.2 group",
            "GET",
            format!("/acls/{}", id(30)),
            null,
            200,
            acl,
        ),
        step(
            "",
            "POST",
            "/certificates",
            json!({"id": id(40), "cert": LEAF, "key": LEAF_KEY, "snis": ["a.test"]}),
            201,
            json!({}),
        ),
        step(
            "1.2 PUT by name",
            "PUT",
            "/certificates/b.test",
            json!({"id": id(40), "cert": SEC1, "key": SEC1_KEY}),
            400,
            primary_key(40),
        ),
        step(
            "1.2 PUT by name",
            "GET",
            "/certificates/a.test",
            Value::Null,
            200,
            json!({"id": id(40), "cert": LEAF, "snis": ["a.test"]}),
        ),
    ];
    run(start(memory()).await, steps).await;
}
