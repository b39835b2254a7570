use super::*;

#[test]
fn termination_answers_as_configured() {
    let json_type = "application/json; charset=utf-8";
    let table = [
        ("default", json!({}), 503, "Service unavailable", None),
        (
            "message",
            json!({"status_code": 403, "message": "so long"}),
            403,
            "so long",
            None,
        ),
        (
            "body",
            json!({"status_code": 200, "body": "{}"}),
            200,
            "Request terminated",
            Some(("{}", json_type)),
        ),
        (
            "type",
            json!({"body": "x", "content_type": "text/plain"}),
            503,
            "Service unavailable",
            Some(("x", "text/plain")),
        ),
    ];
    for (rule, config, status, message, body) in table {
        let plugin = RequestTermination::from_config(&map(config)).unwrap();
        let Verdict::Answer(answer) = plugin.access(&|_| false) else {
            panic!("{rule}: went on")
        };
        assert_eq!(
            (answer.status, &*answer.message),
            (status, message),
            "{rule}"
        );
        assert_eq!(
            answer.body.as_ref().map(|(body, kind)| (&**body, &**kind)),
            body,
            "{rule}"
        );
    }
}

#[test]
fn a_trigger_spares_requests_without_it() {
    let plugin = RequestTermination::from_config(&map(json!({"trigger": "X-Stop"}))).unwrap();
    assert!(matches!(plugin.access(&|_| false), Verdict::Continue));
    assert!(matches!(
        plugin.access(&|name| name == "X-Stop"),
        Verdict::Answer(_)
    ));
}

#[test]
fn termination_refuses_what_it_cannot_answer() {
    let table = [
        (json!({"echo": true}), "config.echo"),
        (json!({"status_code": 100}), "config.status_code"),
        (json!({"status_code": 199}), "config.status_code"),
        (json!({"status_code": 600}), "config.status_code"),
        (json!({"message": "a", "body": "b"}), "config.message"),
        (json!({"content_type": "text/plain"}), "config.content_type"),
        (
            json!({"body": "b", "content_type": "text/plain\r\nSet-Cookie: a=b"}),
            "config.content_type",
        ),
    ];
    for (config, field) in table {
        let error = RequestTermination::from_config(&map(config.clone())).unwrap_err();
        assert!(error.starts_with(field), "{config}: {error}");
    }
}
