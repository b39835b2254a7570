//! `database = off` (KONG.md §7.2): rows are read, and replaced all at once.

use super::*;

fn document(name: &str) -> Value {
    json!({
        "_format_version": "3.0",
        "services": [{"id": id(1), "name": name, "host": "h.test", "routes": [{"id": id(2), "name": "r", "paths": ["/"]}]}],
    })
}

#[tokio::test]
async fn rows_cannot_be_written() {
    let address = start(fixed(Config::default())).await;
    let mut client = Client::connect(address).await;
    assert_eq!(
        client.json("POST", "/config", &document("s")).await.status,
        201
    );
    let body = json!({"host": "h.test"});
    for (method, target, message) in [
        (
            "POST",
            "/services",
            "cannot create 'services' entities when not using a database",
        ),
        (
            "POST",
            "/services/s/routes",
            "cannot create 'routes' entities when not using a database",
        ),
        (
            "PUT",
            "/services/x",
            "cannot create or update 'services' entities by 'name' when not using a database",
        ),
        (
            "PUT",
            "/services/00000000-0000-4000-8000-000000000001",
            "cannot create or update 'services' entities when not using a database",
        ),
        (
            "PATCH",
            "/services/s",
            "cannot update 'services' entities by 'name' when not using a database",
        ),
        (
            "PATCH",
            "/routes/r/service",
            "cannot update 'services' entities when not using a database",
        ),
        (
            "DELETE",
            "/services/00000000-0000-4000-8000-000000000001",
            "cannot remove 'services' entities when not using a database",
        ),
        (
            "DELETE",
            "/services/s",
            "cannot remove 'services' entities by 'name' when not using a database",
        ),
    ] {
        let answer = client.json(method, target, &body).await;
        let expected = json!({"code": 12, "name": "operation unsupported", "message": message});
        assert_eq!(
            (answer.status, answer.json()),
            (405, expected),
            "{method} {target}"
        );
    }
    assert_eq!(client.get("/services/s").await.status, 200);
    assert_eq!(client.get("/services/s/routes/r").await.json()["id"], id(2));
    let valid = client
        .json("POST", "/schemas/services/validate", &body)
        .await;
    assert_eq!(valid.status, 200, "nothing is written by it");
}

#[tokio::test]
async fn a_configuration_is_replaced_in_every_form_it_is_sent() {
    let mut client = Client::connect(start(fixed(Config::default())).await).await;
    let yaml = "_format_version: '3.0'\nservices: [{name: b, host: h.test}]\n";
    let json_text = json!({ "config": document("c").to_string() }).to_string();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("config", &document("d").to_string())
        .finish();
    let part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"config\"; filename=\"k.yml\"\r\n\r\n{yaml}\r\n--b--\r\n"
    );
    // What HTTPie makes of `config@kong.json`.
    let json_part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"config\"; filename=\"k.json\"\r\nContent-Type: application/json\r\n\r\n{}\r\n--b--\r\n",
        document("e")
    );
    let json_object = json!({ "config": document("f") }).to_string();
    for (kind, content, name) in [
        ("application/json", document("a").to_string(), "a"),
        ("text/yaml", yaml.to_owned(), "b"),
        ("application/json", json_text, "c"),
        ("application/x-www-form-urlencoded", form, "d"),
        ("multipart/form-data; boundary=b", part, "b"),
        ("multipart/form-data; boundary=b", json_part, "e"),
        ("application/json", json_object, "f"),
    ] {
        let fields = [("Content-Type", kind)];
        let answer = client
            .send("POST", "/config", &fields, Some(content.as_bytes()))
            .await;
        assert_eq!(answer.status, 201, "{kind}: {}", answer.text);
        let services = &answer.json()["services"];
        let row = services.as_object().and_then(|rows| rows.values().next());
        assert_eq!(row.map(|row| &row["name"]), Some(&json!(name)), "{kind}");
        let listed = client.get("/services").await.json();
        assert_eq!(listed["data"][0]["name"], name, "{kind}");
    }
}

#[tokio::test]
async fn what_is_shown_can_be_loaded_again() {
    let mut client = Client::connect(start(fixed(Config::default())).await).await;
    client.json("POST", "/config", &document("s")).await;
    let before = client.get("/routes/r").await.json();
    let shown = client.get("/config").await.json()["config"]
        .as_str()
        .expect("a text")
        .to_owned();
    // go-kong reads the text as YAML and looks for both.
    let read: Value = serde_json::from_str(&shown).expect("JSON is YAML");
    assert_eq!(read["_format_version"], "3.0");
    assert_eq!(read["_transform"], false);
    let fields = [("Content-Type", "application/yaml")];
    let answer = client
        .send("POST", "/config", &fields, Some(shown.as_bytes()))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let mut after = client.get("/routes/r").await.json();
    after["updated_at"] = before["updated_at"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_unchanged_configuration_is_304_when_asked() {
    let mut client = Client::connect(start(fixed(Config::default())).await).await;
    for (target, body, status) in [
        ("/config?check_hash=1", document("a"), 201),
        ("/config?check_hash=1", document("a"), 304),
        ("/config", document("a"), 201),
        ("/config?check_hash=true", document("b"), 201),
        ("/config?check_hash=1", document("a"), 201),
    ] {
        let answer = client.json("POST", target, &body).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing_and_says_what_is_wrong() {
    let mut client = Client::connect(start(fixed(Config::default())).await).await;
    client.json("POST", "/config", &document("s")).await;
    let wrong = json!({
        "_format_version": "3.0",
        "services": [{"name": "w", "id": id(9), "port": "80", "host": "h.test"}],
    });
    let answer = client
        .json("POST", "/config?flatten_errors=1", &wrong)
        .await;
    let expected = json!({
        "code": 14,
        "name": "invalid declarative configuration",
        "message": "declarative config is invalid: {services={{port=\"expected an integer\"}}}",
        "fields": {"services": [{"port": "expected an integer"}]},
        "flattened_errors": [{
            "entity_type": "service", "entity_name": "w", "entity_id": id(9), "entity_tags": null,
            "errors": [{"type": "field", "field": "port", "message": "expected an integer"}],
        }],
    });
    assert_eq!(answer.status, 400);
    assert!(has(&answer.json(), &expected), "{}", answer.text);
    let plain = client.json("POST", "/config", &wrong).await.json();
    assert_eq!(plain.get("flattened_errors"), None);
    let nothing = client.send("POST", "/config", &[], None).await;
    let text = json!({"message": "expected a declarative configuration"});
    assert_eq!((nothing.status, nothing.json()), (400, text));
    assert_eq!(client.get("/services/s").await.status, 200);
}

/// Posted text must not read the gateway's files for whoever posts it.
#[tokio::test]
async fn a_posted_reference_to_a_file_is_refused_by_the_node() {
    let mut client = Client::connect(start(fixed(Config::default())).await).await;
    let body = json!({
        "_format_version": "3.0",
        "ca_certificates": [{"cert": {"file": "/etc/hostname"}}],
    });
    let answer = client.json("POST", "/config", &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("is not read here"), "{}", answer.text);
}

#[tokio::test]
async fn one_configuration_is_taken_at_a_time() {
    let (started, mut starts) = tokio::sync::mpsc::channel::<()>(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let mut node = fixed(Config::default());
    if let Some(declarative) = &mut node.declarative {
        declarative.replace = Box::new(move |_| {
            let (started, mut released) = (started.clone(), released.clone());
            Box::pin(async move {
                started.send(()).await.expect("a listener");
                released.wait_for(|go| *go).await.expect("a sender");
                Ok(2)
            })
        });
    }
    let address = start(node).await;
    let first = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        client.json("POST", "/config", &document("a")).await.status
    });
    starts.recv().await.expect("it began");
    let mut client = Client::connect(address).await;
    let busy = client.json("POST", "/config", &document("b")).await;
    let text = json!({"message": "Currently loading previous configuration"});
    assert_eq!((busy.status, busy.json()), (429, text));
    assert_eq!(busy.header("retry-after"), Some("1"));
    release.send(true).expect("a receiver");
    assert_eq!(first.await.expect("no panic"), 201);
}
