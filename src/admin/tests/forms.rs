//! KONG.md §2.3 over HTTP: what documentation and scripts send.

use super::*;
use crate::entity::fixtures::{LEAF, LEAF_KEY};
use std::time::Duration;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn forms_do_what_json_does() {
    let mut client = Client::connect(start(memory()).await).await;
    client
        .have(
            "/services",
            json!({"id": id(1), "name": "s", "host": "h.test"}),
        )
        .await;
    // (section, method, target, content, status, expected)
    for (section, method, target, content, status, expected) in [
        (
            "2.3",
            "POST",
            "/services",
            "name=f&url=https://x.test/p&retries=3",
            201,
            json!({"name": "f", "protocol": "https", "port": 443, "path": "/p", "retries": 3}),
        ),
        (
            "2.3 k[]",
            "POST",
            "/routes",
            "name=r&paths[]=/a&paths[]=/b&service.name=s",
            201,
            json!({"paths": ["/a", "/b"], "service": {"id": id(1)}}),
        ),
        (
            "2.3 k",
            "PATCH",
            "/routes/r",
            "hosts=a.test&strip_path=false",
            200,
            json!({"hosts": ["a.test"], "strip_path": false}),
        ),
        (
            "2.3 k[1]",
            "PATCH",
            "/routes/r",
            "hosts%5B1%5D=a.test&hosts%5B2%5D=b.test",
            200,
            json!({"hosts": ["a.test", "b.test"]}),
        ),
        (
            "2.3 empty",
            "PATCH",
            "/routes/r",
            "hosts=",
            200,
            json!({"hosts": null}),
        ),
        (
            "2.3 map",
            "PATCH",
            "/routes/r",
            "headers.x-foo=v",
            200,
            json!({"headers": {"x-foo": ["v"]}}),
        ),
        (
            "2.3 not split",
            "PATCH",
            "/routes/r",
            "protocols=http,https",
            400,
            json!({"code": 2}),
        ),
        (
            "2.3 record",
            "POST",
            "/routes/r/plugins",
            "name=request-termination&instance_name=p&config.status_code=404",
            201,
            json!({"config": {"status_code": 404}}),
        ),
        (
            "2.3 PATCH of a plugin without its name",
            "PATCH",
            "/plugins/p",
            "config.status_code=405&config.message=true",
            200,
            json!({"config": {"status_code": 405, "message": "true"}}),
        ),
    ] {
        let fields = [("Content-Type", FORM)];
        let answer = client
            .send(method, target, &fields, Some(content.as_bytes()))
            .await;
        assert_eq!(answer.status, status, "{section}: {}", answer.text);
        assert!(has(&answer.json(), &expected), "{section}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_certificate_comes_as_files_and_as_a_form() {
    let mut client = Client::connect(start(memory()).await).await;
    let part = |name: &str, file: bool, text: &str| {
        let file = if file { "; filename=\"x.pem\"" } else { "" };
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    };
    let multipart = [
        part("cert", true, LEAF),
        part("key", true, LEAF_KEY),
        part("snis[]", false, "a.test"),
        "--b--\r\n".to_owned(),
    ]
    .concat();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("cert", LEAF)
        .append_pair("key", LEAF_KEY)
        .append_pair("snis", "b.test")
        .finish();
    for (kind, content, name) in [
        ("multipart/form-data; boundary=b", multipart, "a.test"),
        (FORM, form, "b.test"),
    ] {
        let fields = [("Content-Type", kind)];
        let answer = client
            .send("POST", "/certificates", &fields, Some(content.as_bytes()))
            .await;
        assert_eq!(answer.status, 201, "{kind}: {}", answer.text);
        let expected = json!({"cert": LEAF, "key": LEAF_KEY, "snis": [name]});
        assert!(has(&answer.json(), &expected), "{kind}: {}", answer.text);
    }
}

#[tokio::test]
async fn other_content_is_refused() {
    let mut client = Client::connect(start(memory()).await).await;
    type Row = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static [u8],
        u16,
        &'static str,
    );
    let rows: &[Row] = &[
        ("2.3 type", &[("Content-Type", "text/plain")], b"x", 415, ""),
        ("2.3 no type", &[], b"x", 415, ""),
        (
            "2.3 JSON",
            &[("Content-Type", "application/json")],
            b"{",
            400,
            r#"{"message":"Cannot parse JSON body"}"#,
        ),
        (
            "2.3 list",
            &[("Content-Type", "application/json")],
            b"[]",
            400,
            r#"{"message":"Cannot parse JSON body"}"#,
        ),
        (
            "2.3 twice",
            &[("Content-Type", "application/json"), ("Content-Type", FORM)],
            b"{}",
            400,
            r#"{"message":"Multiple Content-Type headers not allowed"}"#,
        ),
    ];
    for (section, fields, content, status, text) in rows {
        let answer = client
            .send("POST", "/services", fields, Some(content))
            .await;
        assert_eq!(
            (answer.status, &*answer.text),
            (*status, *text),
            "{section}"
        );
    }
    let empty = client.send("POST", "/services", &[], None).await;
    assert_eq!(
        empty.json()["fields"],
        json!({"host": "required field missing"}),
        "2.3 empty"
    );
}

#[tokio::test]
async fn validate_says_what_a_write_would() {
    let mut client = Client::connect(start(memory()).await).await;
    for (target, body, status, expected) in [
        (
            "/schemas/services/validate",
            json!({"host": "h.test"}),
            200,
            json!({"message": "schema validation successful"}),
        ),
        (
            "/schemas/services/validate",
            json!({}),
            400,
            json!({"code": 2, "message": "schema violation (host: required field missing)"}),
        ),
        (
            "/schemas/plugins/validate",
            json!({"name": "request-termination", "config": {"k": 1}}),
            400,
            json!({"message": "schema violation (config.k: unknown field)"}),
        ),
        (
            "/schemas/nothing/validate",
            json!({}),
            404,
            json!({"message": "No entity named 'nothing'"}),
        ),
    ] {
        let answer = client.json("POST", target, &body).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text);
        assert!(has(&answer.json(), &expected), "{target}: {}", answer.text);
    }
    assert_eq!(
        client.get("/services").await.json()["data"],
        json!([]),
        "nothing was written"
    );
}

/// RFC 9110 §10.1.1: curl asks before it sends more than a megabyte.
#[tokio::test]
async fn content_that_is_asked_for_comes_after_100() {
    let address = start(memory()).await;
    let body = r#"{"host":"h.test"}"#;
    for (target, first) in [
        ("/services", "HTTP/1.1 100 "),
        ("/nothing", "HTTP/1.1 404 "),
    ] {
        let mut client = Client::connect(address).await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        client.write(head.as_bytes()).await;
        let mut bytes = vec![0; first.len()];
        client.stream.read_exact(&mut bytes).await.expect("read");
        assert_eq!(String::from_utf8_lossy(&bytes), first, "{target}");
        if target == "/services" {
            let mut rest = Vec::new();
            while !rest.ends_with(b"\r\n\r\n") {
                client.stream.read_buf(&mut rest).await.expect("read");
            }
            client.write(body.as_bytes()).await;
            assert_eq!(client.receive("POST").await.status, 201);
        }
    }
}

#[tokio::test]
async fn content_of_get_and_delete_is_ignored() {
    let mut client = Client::connect(start(memory()).await).await;
    for (method, status) in [("GET", 200), ("DELETE", 405)] {
        let answer = client
            .send(method, "/services", &[], Some(b"{no JSON"))
            .await;
        assert_eq!(answer.status, status, "{method}");
    }
    let fields = [("Content-Type", "text/plain")];
    let deleted = client
        .send("DELETE", "/services/x", &fields, Some(b"text"))
        .await;
    assert_eq!(deleted.status, 204);
    // Nor does it end the connection when it comes behind its head.
    for (method, status) in [
        ("GET", 404),
        ("HEAD", 404),
        ("DELETE", 204),
        ("OPTIONS", 204),
    ] {
        let head = format!(
            "{method} /services/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
        );
        client
            .stream
            .write_all(head.as_bytes())
            .await
            .expect("sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.stream.write_all(b"text").await.expect("sent");
        let answer = client.receive(method).await;
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.header("connection"), None, "{method}");
        assert_eq!(client.get("/timers").await.status, 200, "{method}");
    }
}
