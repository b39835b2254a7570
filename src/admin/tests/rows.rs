//! What KONG.md says of services, references and plugins, literally.

use super::*;

fn violation(fields: Value) -> Value {
    json!({"code": 2, "name": "schema violation", "fields": fields})
}

#[tokio::test]
async fn services_are_as_section_1_5_says() {
    let url = |url: &str| json!({ "url": url });
    let null = Value::Null;
    let steps = vec![
        step(
            "1.5",
            "POST",
            "/services",
            json!({"name": "a", "host": "h.test"}),
            201,
            json!({
                "name": "a", "protocol": "http", "host": "h.test", "port": 80, "path": null, "retries": 5,
                "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000,
                "client_certificate": null, "tls_verify": null, "tls_verify_depth": null,
                "ca_certificates": null, "enabled": true, "tags": null,
            }),
        ),
        step(
            "2.5",
            "POST",
            "/services",
            json!({"path": "x"}),
            400,
            json!({
                "code": 2, "name": "schema violation",
                "message": "2 schema violations (host: required field missing; path: should start with: /)",
                "fields": {"host": "required field missing", "path": "should start with: /"},
            }),
        ),
        step(
            "2.3",
            "POST",
            "/services",
            json!({"host": "h.test", "port": "80"}),
            400,
            violation(json!({"port": "expected an integer"})),
        ),
        step(
            "2.5",
            "POST",
            "/services",
            json!({"name": "a", "host": "h.test"}),
            409,
            json!({
                "code": 5, "name": "unique constraint violation",
                "message": "UNIQUE violation detected on '{name=\"a\"}'", "fields": {"name": "a"},
            }),
        ),
        step(
            "1.5 url",
            "PUT",
            "/services/u",
            url("https://x.test/p"),
            200,
            json!({"name": "u", "protocol": "https", "host": "x.test", "port": 443, "path": "/p"}),
        ),
        step(
            "1.5 url",
            "PATCH",
            "/services/u",
            url("http://y.test"),
            200,
            json!({"protocol": "http", "host": "y.test", "port": 80, "path": null}),
        ),
        step(
            "1.5",
            "PATCH",
            "/services/u",
            json!({"protocol": "https"}),
            200,
            json!({"port": 80}),
        ),
        step(
            "1.5 url",
            "PATCH",
            "/services/u",
            url("invalid url"),
            400,
            violation(json!({"host": "required field missing", "path": "should start with: /"})),
        ),
        step(
            "1.5 url",
            "PATCH",
            "/services/u",
            url(""),
            400,
            violation(json!({"url": "length must be at least 1"})),
        ),
        step(
            "1.5",
            "POST",
            "/services",
            json!({"host": "h.test", "tls_verify": true}),
            400,
            violation(json!({
                "@entity": ["failed conditional validation given value of field 'protocol'"],
                "tls_verify": "value must be null",
            })),
        ),
        step(
            "1.5",
            "POST",
            "/services",
            json!({"host": "h.test:80"}),
            400,
            violation(json!({"host": "must not have a port"})),
        ),
        step(
            "11.8",
            "POST",
            "/services",
            json!({"host": "h.test", "protocol": "https", "ca_certificates": [id(999)]}),
            400,
            json!({"code": 2, "name": "schema violation"}),
        ),
        step(
            "2.2 key",
            "PUT",
            "/services/k",
            json!({"host": "k.test"}),
            200,
            json!({"name": "k"}),
        ),
        step(
            "2.2 id",
            "PUT",
            format!("/services/{}", id(10)),
            json!({"host": "k.test", "name": "n"}),
            200,
            json!({"id": id(10), "name": "n"}),
        ),
        step(
            "2.2 id",
            "PUT",
            format!("/services/{}", id(10)),
            json!({"host": "k.test"}),
            200,
            json!({"id": id(10), "name": null}),
        ),
        step(
            "1.12",
            "POST",
            "/services/k/routes",
            json!({"name": "r", "paths": ["/"]}),
            201,
            json!({"name": "r"}),
        ),
        step(
            "1.12",
            "DELETE",
            "/services/k",
            null.clone(),
            400,
            json!({
                "code": 4, "name": "foreign key violation",
                "message": "an existing 'routes' entity references this 'services' entity",
                "fields": {"@referenced_by": "routes"},
            }),
        ),
        step(
            "1.12",
            "DELETE",
            "/routes/r",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12",
            "DELETE",
            "/services/k",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "2.2",
            "DELETE",
            "/services/k",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "2.5 code 10",
            "GET",
            "/services/bad%20name",
            null,
            400,
            json!({"code": 10, "name": "invalid unique name"}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn references_are_as_sections_1_1_and_2_5_say() {
    let service = json!({"id": id(10)});
    let steps = vec![
        step(
            "1.1",
            "POST",
            "/services",
            json!({"id": id(10), "name": "s", "host": "h.test"}),
            201,
            json!({"id": id(10)}),
        ),
        step(
            "1.1 by name",
            "POST",
            "/routes",
            json!({"name": "r", "paths": ["/"], "service": {"name": "s"}}),
            201,
            json!({"service": {"id": id(10)}}),
        ),
        step(
            "CLIENTS 0.7",
            "POST",
            "/routes",
            json!({"paths": ["/"], "service": {"id": id(10), "name": "x", "y": 1}}),
            201,
            json!({"service": service}),
        ),
        step(
            "2.5 code 13",
            "POST",
            "/routes",
            json!({"paths": ["/"], "service": {"name": "x"}}),
            400,
            json!({
                "code": 13, "name": "foreign keys unresolved",
                "message": "foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity)",
            }),
        ),
        step(
            "2.5",
            "POST",
            "/routes",
            json!({"paths": ["/"], "service": "s"}),
            400,
            violation(json!({"service": {"id": "missing primary key"}})),
        ),
        step(
            "1.6",
            "PATCH",
            "/routes/r",
            json!({"service": null}),
            200,
            json!({"service": null}),
        ),
    ];
    run(start(memory()).await, steps).await;
}

#[tokio::test]
async fn plugins_are_as_section_1_10_says() {
    let null = Value::Null;
    let plugin = "/plugins/p";
    let steps = vec![
        step(
            "",
            "POST",
            "/services",
            json!({"id": id(10), "name": "s", "host": "h.test"}),
            201,
            json!({}),
        ),
        step(
            "",
            "POST",
            "/services/s/routes",
            json!({"id": id(11), "name": "r", "paths": ["/"]}),
            201,
            json!({}),
        ),
        step(
            "1.10",
            "POST",
            "/plugins",
            json!({"name": "request-termination", "instance_name": "p", "service": {"id": id(10)}}),
            201,
            json!({
                "instance_name": "p", "enabled": true, "protocols": ["grpc", "grpcs", "http", "https"],
                "service": {"id": id(10)}, "route": null, "consumer": null,
                "config": {"status_code": 503, "message": null, "body": null, "content_type": null, "echo": false, "trigger": null},
            }),
        ),
        step(
            "1.10",
            "POST",
            "/services/s/plugins",
            json!({"name": "request-termination"}),
            409,
            json!({
                "code": 5,
                "message": format!(
                    "UNIQUE violation detected on '{{consumer=null,name=\"request-termination\",route=null,service={{id=\"{}\"}}}}'",
                    id(10)
                ),
            }),
        ),
        step(
            "1.10",
            "POST",
            "/plugins",
            json!({"name": "x"}),
            400,
            violation(json!({
                "name": "plugin 'x' not enabled; add it to the 'plugins' configuration property",
            })),
        ),
        step(
            "1.10 merge",
            "PATCH",
            plugin,
            json!({"config": {"status_code": 404, "message": "m"}}),
            200,
            json!({"config": {"status_code": 404, "message": "m", "echo": false}}),
        ),
        step(
            "1.10 merge",
            "PATCH",
            plugin,
            json!({"config": {"trigger": "x"}}),
            200,
            json!({"config": {"status_code": 404, "message": "m", "trigger": "x"}}),
        ),
        step(
            "1.10 unset",
            "PATCH",
            plugin,
            json!({"config": {"message": null}}),
            200,
            json!({"config": {"message": null}}),
        ),
        step(
            "CLIENTS 2",
            "PATCH",
            plugin,
            json!({"config": {"z": 1}}),
            400,
            json!({
                "message": "schema violation (config.z: unknown field)", "fields": {"config": {"z": "unknown field"}},
            }),
        ),
        step(
            "1.10 scope",
            "POST",
            "/plugins",
            json!({"name": "acl", "config": {"allow": ["g"]}, "consumer": {"id": id(12)}}),
            400,
            violation(json!({"consumer": "value must be null"})),
        ),
        step(
            "1.10 protocols",
            "POST",
            "/routes/r/plugins",
            json!({"name": "request-termination", "protocols": ["grpc"]}),
            400,
            violation(json!({"protocols": "must match the associated route's protocols"})),
        ),
        step(
            "11.8",
            "POST",
            "/plugins",
            json!({"name": "mtls-auth", "config": {"ca_certificates": [id(999)]}}),
            400,
            json!({"code": 2}),
        ),
        step(
            "1.12",
            "POST",
            "/routes/r/plugins",
            json!({"id": id(13), "name": "request-termination"}),
            201,
            json!({"route": {"id": id(11)}}),
        ),
        step(
            "1.12",
            "DELETE",
            "/routes/r",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12",
            "GET",
            format!("/plugins/{}", id(13)),
            null.clone(),
            404,
            json!({"message": "Not found"}),
        ),
        step(
            "1.12",
            "DELETE",
            "/services/s",
            null.clone(),
            204,
            null.clone(),
        ),
        step(
            "1.12",
            "GET",
            plugin,
            null,
            404,
            json!({"message": "Not found"}),
        ),
    ];
    run(start(memory()).await, steps).await;
}
