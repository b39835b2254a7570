//! Every page of Kong Manager with the calls it makes (KONG-CLIENTS.md §3.2).

use super::manager::{Browser, gateway};
use crate::support::admin::has;
use crate::support::entities::id;
use crate::support::{Ca, Value, json};

/// One call of a page: method, target, content, status, and members that the answer must have.
type Call = (&'static str, String, Value, u16, Value);

#[test]
fn every_call_of_every_page_is_answered() {
    let gateway = gateway();
    let mut browser = Browser::at(&gateway);
    let ca = Ca::root("manager root");
    let pair = ca.server(&["gui.test"]);
    let none = Value::Null;
    let at = |path: &str, number: u32| format!("{path}/{}", id(number));
    let call = |method, target: &str, body: &Value, status, expected: Value| -> Call {
        (method, target.to_owned(), body.clone(), status, expected)
    };
    let service = json!({
        "id": id(1), "name": "s", "url": "https://up.test/base", "port": 443, "tags": [], "tls_sans": null,
        "client_certificate": null, "ca_certificates": null, "retries": 5, "connect_timeout": 60000,
    });
    let listed = |number: u32| json!({"data": [{"id": id(number)}], "next": null});
    let nested_route = at("/services/s/routes", 2);
    let steps = [
        // services
        call(
            "GET",
            "/services?size=30",
            &none,
            200,
            json!({"data": [], "next": null}),
        ),
        call(
            "POST",
            "/services",
            &service,
            201,
            json!({"protocol": "https", "host": "up.test", "port": 443, "path": "/base"}),
        ),
        call("GET", "/services?size=30", &none, 200, listed(1)),
        call("GET", "/services/s", &none, 200, json!({"id": id(1)})),
        call(
            "GET",
            "/services/no-such",
            &none,
            404,
            json!({"message": "Not found"}),
        ),
        call(
            "PATCH",
            &at("/services", 1),
            &json!({"name": "s", "path": null, "tags": ["gui"]}),
            200,
            json!({"path": null, "tags": ["gui"]}),
        ),
        call(
            "PATCH",
            &at("/services", 1),
            &json!({"tags": null}),
            200,
            json!({"tags": null}),
        ),
        // a service's routes and plugins
        call(
            "GET",
            &format!("{}/routes?size=30", at("/services", 1)),
            &none,
            200,
            json!({"data": []}),
        ),
        call(
            "POST",
            &format!("{}/routes", at("/services", 1)),
            &json!({"id": id(2), "name": "r", "paths": ["/a"], "hosts": null}),
            201,
            json!({"service": {"id": id(1)}}),
        ),
        call(
            "GET",
            &format!("{}/routes/r", at("/services", 1)),
            &none,
            200,
            json!({"id": id(2)}),
        ),
        call(
            "PATCH",
            &nested_route,
            &json!({"name": null}),
            200,
            json!({"name": null}),
        ),
        call(
            "GET",
            &format!("{}/plugins?size=30", at("/services", 1)),
            &none,
            200,
            json!({"data": []}),
        ),
        call(
            "POST",
            &format!("{}/plugins", at("/services", 1)),
            &json!({"id": id(3), "name": "acl", "config": {"allow": ["a"], "deny": null}}),
            201,
            json!({"service": {"id": id(1)}}),
        ),
        call(
            "GET",
            &at(&format!("{}/plugins", at("/services", 1)), 3),
            &none,
            200,
            json!({"name": "acl"}),
        ),
        // routes
        call("GET", "/routes?size=30", &none, 200, listed(2)),
        call(
            "GET",
            &at("/routes", 2),
            &none,
            200,
            json!({"paths": ["/a"]}),
        ),
        call(
            "PATCH",
            &at("/routes", 2),
            &json!({"hosts": ["h.test"], "paths": null, "methods": ["GET"]}),
            200,
            json!({"paths": null, "hosts": ["h.test"]}),
        ),
        call(
            "POST",
            "/routes",
            &json!({"id": id(4), "name": "alone", "paths": ["/b"], "service": {"id": id(1)}}),
            201,
            json!({"name": "alone"}),
        ),
        // consumers
        call(
            "POST",
            "/consumers",
            &json!({"id": id(5), "username": "u", "custom_id": null, "tags": []}),
            201,
            json!({"tags": []}),
        ),
        call("GET", "/consumers?size=30", &none, 200, listed(5)),
        call("GET", "/consumers/u", &none, 200, json!({"id": id(5)})),
        call(
            "PATCH",
            &at("/consumers", 5),
            &json!({"username": "u", "custom_id": "c"}),
            200,
            json!({"custom_id": "c"}),
        ),
        call(
            "POST",
            &format!("{}/acls", at("/consumers", 5)),
            &json!({"id": id(6), "group": "g", "tags": null}),
            201,
            json!({"consumer": {"id": id(5)}}),
        ),
        call(
            "GET",
            &format!("{}/acls?size=30", at("/consumers", 5)),
            &none,
            200,
            listed(6),
        ),
        call(
            "PATCH",
            &at(&format!("{}/acls", at("/consumers", 5)), 6),
            &json!({"group": "h"}),
            200,
            json!({"group": "h"}),
        ),
        call(
            "GET",
            &format!("{}/key-auth", at("/consumers", 5)),
            &none,
            404,
            json!({"message": "Not found"}),
        ),
        call(
            "DELETE",
            &at(&format!("{}/acls", at("/consumers", 5)), 6),
            &none,
            204,
            Value::Null,
        ),
        // the plugin picker and its forms
        call("GET", "/schemas/plugins/acl", &none, 200, json!({})),
        call("GET", "/schemas/acls", &none, 200, json!({})),
        call(
            "GET",
            "/schemas/jwt_secrets",
            &none,
            404,
            json!({"message": "No entity named 'jwt_secrets'"}),
        ),
        call("GET", "/services?size=50&name=s", &none, 200, listed(1)),
        call(
            "GET",
            "/consumers?size=50&username=u",
            &none,
            200,
            listed(5),
        ),
        call(
            "GET",
            "/services?size=1000&sort_by=name&sort_desc=1",
            &none,
            200,
            listed(1),
        ),
        call(
            "POST",
            "/plugins",
            &json!({"id": id(7), "name": "request-termination", "consumer": {"id": id(5)}, "config": {"status_code": 404}}),
            201,
            json!({"enabled": true}),
        ),
        call(
            "GET",
            &format!("{}/plugins?size=30", at("/consumers", 5)),
            &none,
            200,
            listed(7),
        ),
        call(
            "GET",
            &at("/plugins", 7),
            &none,
            200,
            json!({"config": {"status_code": 404}}),
        ),
        call(
            "PATCH",
            &at("/plugins", 7),
            &json!({"instance_name": "mine", "config": {"status_code": 405}}),
            200,
            json!({"instance_name": "mine"}),
        ),
        call(
            "GET",
            "/plugins/mine",
            &none,
            200,
            json!({"config": {"status_code": 405}}),
        ),
        // certificates, their names and the authorities
        call(
            "POST",
            "/certificates",
            &json!({"id": id(8), "cert": pair.cert_pem, "key": pair.key_pem, "cert_alt": null, "key_alt": null, "snis": ["gui.test"], "tags": []}),
            201,
            json!({"snis": ["gui.test"], "cert": pair.cert_pem}),
        ),
        call(
            "GET",
            "/certificates/gui.test",
            &none,
            200,
            json!({"id": id(8)}),
        ),
        call(
            "PATCH",
            &at("/certificates", 8),
            &json!({"cert": pair.cert_pem, "key": pair.key_pem, "cert_alt": null, "key_alt": null, "snis": ["gui.test", "b.test"], "tags": ["x"]}),
            200,
            json!({"snis": ["b.test", "gui.test"]}),
        ),
        call("GET", "/certificates?size=1000", &none, 200, listed(8)),
        call(
            "POST",
            "/snis",
            &json!({"id": id(9), "name": "c.test", "tags": [], "certificate": {"id": id(8)}}),
            201,
            json!({"name": "c.test"}),
        ),
        call("GET", "/snis/c.test", &none, 200, json!({"id": id(9)})),
        call(
            "PATCH",
            &at("/snis", 9),
            &json!({"name": "d.test", "certificate": {"id": id(8)}}),
            200,
            json!({"name": "d.test"}),
        ),
        call("DELETE", &at("/snis", 9), &none, 204, Value::Null),
        call(
            "POST",
            "/ca_certificates",
            &json!({"id": id(10), "cert": ca.pem, "cert_digest": null, "tags": []}),
            201,
            json!({"cert": ca.pem}),
        ),
        call(
            "GET",
            &at("/ca_certificates", 10),
            &none,
            200,
            json!({"id": id(10)}),
        ),
        call(
            "PATCH",
            &at("/ca_certificates", 10),
            &json!({"cert": ca.pem, "cert_digest": null, "tags": ["x"]}),
            200,
            json!({"tags": ["x"]}),
        ),
        call(
            "DELETE",
            &at("/ca_certificates", 10),
            &none,
            204,
            Value::Null,
        ),
        // upstreams and targets
        call(
            "POST",
            "/upstreams",
            &json!({"id": id(11), "name": "u.test", "slots": 100, "host_header": null}),
            201,
            json!({"slots": 100}),
        ),
        call(
            "PATCH",
            &at("/upstreams", 11),
            &json!({"name": "u.test", "healthchecks": {"active": {"timeout": 2}}}),
            200,
            json!({"slots": 100, "healthchecks": {"active": {"timeout": 2, "concurrency": 10}}}),
        ),
        call(
            "POST",
            &format!("{}/targets", at("/upstreams", 11)),
            &json!({"id": id(12), "target": "t.test:80", "weight": 10, "tags": [], "upstream": {"id": id(11)}}),
            201,
            json!({"weight": 10}),
        ),
        call(
            "GET",
            &format!("{}/targets?size=30", at("/upstreams", 11)),
            &none,
            200,
            listed(12),
        ),
        call(
            "PATCH",
            &at(&format!("{}/targets", at("/upstreams", 11)), 12),
            &json!({"weight": 20}),
            200,
            json!({"weight": 20}),
        ),
        call(
            "PUT",
            &format!(
                "{}/unhealthy",
                at(&format!("{}/targets", at("/upstreams", 11)), 12)
            ),
            &none,
            204,
            Value::Null,
        ),
        call(
            "PUT",
            &format!(
                "{}/healthy",
                at(&format!("{}/targets", at("/upstreams", 11)), 12)
            ),
            &none,
            204,
            Value::Null,
        ),
        call(
            "GET",
            &format!("{}/health", at("/upstreams", 11)),
            &none,
            200,
            json!({"data": [{"id": id(12)}]}),
        ),
        call(
            "DELETE",
            &at(&format!("{}/targets", at("/upstreams", 11)), 12),
            &none,
            204,
            Value::Null,
        ),
        // and the delete buttons
        call(
            "DELETE",
            &at("/services", 1),
            &none,
            400,
            json!({"code": 4, "message": "an existing 'routes' entity references this 'services' entity"}),
        ),
        call("DELETE", &nested_route, &none, 204, Value::Null),
        call("DELETE", &at("/routes", 4), &none, 204, Value::Null),
        call(
            "DELETE",
            &at(&format!("{}/plugins", at("/services", 1)), 3),
            &none,
            204,
            Value::Null,
        ),
        call("DELETE", &at("/services", 1), &none, 204, Value::Null),
        call("DELETE", &at("/consumers", 5), &none, 204, Value::Null),
        call(
            "GET",
            "/plugins?size=30",
            &none,
            200,
            json!({"data": [], "next": null}),
        ),
        call("DELETE", &at("/certificates", 8), &none, 204, Value::Null),
        call("DELETE", &at("/upstreams", 11), &none, 204, Value::Null),
        call(
            "GET",
            "/vaults?size=30",
            &none,
            404,
            json!({"message": "Not found"}),
        ),
    ];
    for (method, target, body, status, expected) in steps {
        let found = browser.call(method, &target, &body).assert(status);
        assert!(
            has(&found, &expected),
            "{method} {target}: {found}\nlacks {expected}"
        );
    }
}
