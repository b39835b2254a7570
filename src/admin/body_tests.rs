//! KONG.md §2.3 as tables: content in, arguments out.
use super::*;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const FORM: &str = "application/x-www-form-urlencoded";

/// All content is there, so nothing waits.
fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("content that is all there was waited for"),
    }
}

fn read_as(types: &[&str], content: &[u8], yaml: Yaml) -> Result<Input, Failure> {
    let mut headers = HeaderMap::new();
    for text in types {
        headers.append(CONTENT_TYPE, HeaderValue::from_str(text).unwrap());
    }
    run(read(&headers, Bytes::copy_from_slice(content), yaml))
}

fn form(kind: Kind, content: &str) -> Value {
    let input = read_as(&[FORM], content.as_bytes(), Yaml::Refused);
    Value::Object(input.unwrap().typed_for(kind, None))
}

/// Each part: its fields after `name`, and its content.
fn parts(parts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (fields, content) in parts {
        let head = format!("--x\r\nContent-Disposition: form-data; name={fields}\r\n\r\n");
        text.push_str(&head);
        text.push_str(content);
        text.push_str("\r\n");
    }
    text + "--x--\r\n"
}

#[test]
fn forms_are_typed_by_the_schema() {
    use Kind::*;
    for (section, kind, content, expected) in [
        (
            "2.3 k=v for a set",
            Routes,
            "methods=GET",
            json!({"methods": ["GET"]}),
        ),
        (
            "2.3 repeated",
            Routes,
            "paths=/a&paths=/b",
            json!({"paths": ["/a", "/b"]}),
        ),
        (
            "2.3 brackets",
            Routes,
            "paths[]=/a&paths[]=/b",
            json!({"paths": ["/a", "/b"]}),
        ),
        (
            "2.3 index",
            Routes,
            "paths[2]=/b&paths[1]=/a",
            json!({"paths": ["/a", "/b"]}),
        ),
        (
            "2.3 %5B",
            Routes,
            "paths%5B%5D=%2Fa&paths%5B1%5D=/b",
            json!({"paths": ["/b", "/a"]}),
        ),
        (
            "2.3 index after a dot",
            Routes,
            "paths.2=/b&paths.1=/a",
            json!({"paths": ["/a", "/b"]}),
        ),
        (
            "2.3 foreign key",
            Routes,
            "service.id=1",
            json!({"service": {"id": "1"}}),
        ),
        (
            "2.3 foreign key",
            Routes,
            "service.name=a%20b",
            json!({"service": {"name": "a b"}}),
        ),
        (
            "2.3 foreign null",
            Routes,
            "service=",
            json!({"service": null}),
        ),
        (
            "2.3 map",
            Routes,
            "headers.x-foo=v&headers.x-bar[1]=w&headers[x.y][]=z",
            json!({"headers": {"x-foo": ["v"], "x-bar": ["w"], "x.y": ["z"]}}),
        ),
        (
            "2.3 records in a list",
            Routes,
            "sources[1].ip=10.0.0.1&sources[1].port=80&sources[2][port]=81",
            json!({"sources": [{"ip": "10.0.0.1", "port": 80}, {"port": 81}]}),
        ),
        (
            "2.3 empty",
            Routes,
            "hosts=&name=",
            json!({"hosts": null, "name": null}),
        ),
        ("2.3 empty list", Routes, "hosts[]=", json!({"hosts": []})),
        ("2.3 no =", Routes, "hosts", json!({"hosts": null})),
        (
            "2.3 boolean",
            Routes,
            "strip_path=true",
            json!({"strip_path": true}),
        ),
        (
            "2.3 boolean",
            Routes,
            "strip_path=yes",
            json!({"strip_path": "yes"}),
        ),
        (
            "2.3 number",
            Services,
            "port=80&retries=x",
            json!({"port": 80, "retries": "x"}),
        ),
        (
            "2.3 number",
            Services,
            "port=8.5&retries=",
            json!({"port": 8.5, "retries": null}),
        ),
        ("2.3 number", Services, "port=inf", json!({"port": "inf"})),
        (
            "2.3 digits in text",
            Services,
            "name=80&host=true",
            json!({"name": "80", "host": "true"}),
        ),
        (
            "1.5 url",
            Services,
            "url=http%3A%2F%2Fa",
            json!({"url": "http://a"}),
        ),
        (
            "2.3 not split",
            Routes,
            "protocols=http,https",
            json!({"protocols": ["http,https"]}),
        ),
        (
            "2.3 twice, not a list",
            Services,
            "host=a&host=b",
            json!({"host": ["a", "b"]}),
        ),
        (
            "2.3 structure where text is wanted",
            Services,
            "host.a=b",
            json!({"host": {"a": "b"}}),
        ),
        (
            "1.1 unknown",
            Services,
            "foo=1&bar.x=y",
            json!({"foo": "1", "bar": {"x": "y"}}),
        ),
        (
            "2.3 structure wins",
            Routes,
            "service=a&service.id=1",
            json!({"service": {"id": "1"}}),
        ),
        (
            "2.3 plugin config",
            Plugins,
            "config.a[x]=1&config.ca_certificates=1&config[cache_ttl]=60&name=mtls-auth",
            json!({"config": {"a": {"x": "1"}, "ca_certificates": ["1"], "cache_ttl": 60}, "name": "mtls-auth"}),
        ),
        (
            "2.3 plugin config",
            Plugins,
            "name=acl&config.allow[]=a&config.hide_groups_header=true&enabled=false",
            json!({"name": "acl", "config": {"allow": ["a"], "hide_groups_header": true}, "enabled": false}),
        ),
        (
            "1.11 records in records",
            Upstreams,
            "healthchecks.active.unhealthy.http_statuses[1]=500&healthchecks[active][timeout]=1.5",
            json!({"healthchecks": {"active": {"unhealthy": {"http_statuses": [500]}, "timeout": 1.5}}}),
        ),
        (
            "2.3 PEM",
            Certificates,
            "cert=-----BEGIN%0Aa%2Bb%3D%0A-----%0A&snis[]=a+b",
            json!({"cert": "-----BEGIN\na+b=\n-----\n", "snis": ["a b"]}),
        ),
        (
            "2.3 broken brackets",
            Services,
            "a[b=1&[]=2&.x=3",
            json!({"a[b": "1", "[]": "2", ".x": "3"}),
        ),
        ("2.3 nothing", Services, "", json!({})),
        ("2.3 nothing", Services, "&&", json!({})),
    ] {
        assert_eq!(form(kind, content), expected, "{section}: {content}");
    }
}

#[test]
fn a_patch_of_a_plugin_is_typed_by_the_stored_name() {
    let input = read_as(&[FORM], b"config.cache_ttl=5", Yaml::Refused).unwrap();
    let map = input.typed_for(Kind::Plugins, Some("mtls-auth"));
    assert_eq!(
        Value::Object(map),
        json!({"config": {"cache_ttl": 5}}),
        "2.3"
    );
}

#[test]
fn a_list_of_another_shape_is_left_to_the_validator() {
    assert_eq!(
        form(Kind::Routes, "hosts.a=b"),
        json!({"hosts": {"a": "b"}}),
        "2.3"
    );
}

#[test]
fn multipart_takes_files_and_json() {
    let pem = "-----BEGIN CERTIFICATE-----\r\nMIIB+/==\r\n-----END CERTIFICATE-----\n";
    for (section, kind, text, expected) in [
        (
            "2.3 file",
            Kind::Certificates,
            parts(&[
                (
                    "\"cert\"; filename=\"a.crt\"\r\nContent-Type: application/octet-stream",
                    pem,
                ),
                ("\"snis[]\"", "a.test"),
                ("\"snis[]\"", "b.test"),
            ]),
            json!({"cert": pem, "snis": ["a.test", "b.test"]}),
        ),
        (
            "2.3 JSON part",
            Kind::Plugins,
            parts(&[
                ("\"name\"", "acl"),
                (
                    "\"config\"\r\nContent-Type: application/json",
                    r#"{"allow": ["a"]}"#,
                ),
                ("\"config.hide_groups_header\"", "true"),
            ]),
            json!({"name": "acl", "config": {"allow": ["a"], "hide_groups_header": true}}),
        ),
        (
            "2.3 JSON list",
            Kind::Routes,
            parts(&[("\"hosts\"\r\nContent-Type: application/json", r#"["a"]"#)]),
            json!({"hosts": ["a"]}),
        ),
        (
            "2.3 empty",
            Kind::Routes,
            parts(&[("\"hosts\"", "")]),
            json!({"hosts": null}),
        ),
        ("2.3 no content", Kind::Routes, String::new(), json!({})),
    ] {
        let types = ["multipart/form-data; boundary=x"];
        let input = read_as(&types, text.as_bytes(), Yaml::Refused).unwrap();
        assert_eq!(
            Value::Object(input.typed_for(kind, None)),
            expected,
            "{section}"
        );
    }
}

#[test]
fn json_is_never_coerced() {
    let content = br#"{"port": "80", "name": "", "a.b": 1}"#;
    let input = read_as(&["application/json; charset=utf-8"], content, Yaml::Refused).unwrap();
    assert_eq!(
        Value::Object(input.typed_for(Kind::Services, None)),
        json!({"port": "80", "name": "", "a.b": 1}),
        "2.3"
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    let json = "application/json";
    let multi = "multipart/form-data; boundary=x";
    let many = |count| {
        let pairs: Vec<String> = (0..count).map(|n| format!("a={n}")).collect();
        pairs.join("&").into_bytes()
    };
    let members = |count| {
        let members: Map<String, Value> = (0..count).map(|n| (format!("a{n}"), n.into())).collect();
        Value::Object(members).to_string().into_bytes()
    };
    let many_parts = |count| parts(&vec![("\"a\"", "1"); count]).into_bytes();
    let deep = |count: usize| format!("a{}=1", ".a".repeat(count - 1)).into_bytes();
    let whole = parts(&[("\"a\"", "1")]).into_bytes();
    let cut = whole[..whole.len() - 8].to_vec();
    let file = [
        parts(&[("\"cert\"; filename=\"a\"", "")])
            .replace("--x--\r\n", "")
            .trim_end()
            .as_bytes(),
        b"\r\n\r\n\xff\xfe\r\n--x--\r\n",
    ]
    .concat();
    let message = |text: &str| Some(json!({ "message": text }));
    let no_json = message("Cannot parse JSON body");
    let too_many = message("Too many arguments");
    for (section, types, content, status, body) in [
        (
            "2.3 twice",
            vec![json, json],
            b"{}".to_vec(),
            400,
            message("Multiple Content-Type headers not allowed"),
        ),
        ("2.3 none", vec![], b"a=b".to_vec(), 415, None),
        ("2.3 other", vec!["text/plain"], b"a=b".to_vec(), 415, None),
        (
            "2.3 YAML elsewhere",
            vec!["text/yaml"],
            b"a: b".to_vec(),
            415,
            None,
        ),
        (
            "2.3 bad JSON",
            vec![json],
            b"{".to_vec(),
            400,
            no_json.clone(),
        ),
        (
            "2.3 no JSON",
            vec![json],
            b"".to_vec(),
            400,
            no_json.clone(),
        ),
        (
            "2.3 no object",
            vec![json],
            b"[1]".to_vec(),
            400,
            no_json.clone(),
        ),
        (
            "2.3 no object",
            vec![json],
            b"\"a\"".to_vec(),
            400,
            no_json.clone(),
        ),
        (
            "2.3 deep JSON",
            vec![json],
            "[".repeat(100_000).into_bytes(),
            400,
            no_json,
        ),
        ("2.3 1001", vec![FORM], many(1001), 400, too_many.clone()),
        (
            "2.3 1001",
            vec![multi],
            many_parts(1001),
            400,
            too_many.clone(),
        ),
        ("2.3 1001", vec![json], members(1001), 400, too_many),
        (
            "2.3 bytes",
            vec![FORM],
            b"a=%FF".to_vec(),
            400,
            message("Cannot parse form body: not UTF-8"),
        ),
        (
            "2.3 bytes",
            vec![multi],
            file,
            400,
            message("Cannot parse multipart body: 'cert' is not UTF-8"),
        ),
        (
            "2.3 cut off",
            vec![multi],
            cut,
            400,
            message("Cannot parse multipart body"),
        ),
        (
            "2.3 no boundary",
            vec!["multipart/form-data"],
            whole,
            400,
            message("Cannot parse multipart body"),
        ),
        (
            "bound",
            vec![FORM],
            deep(17),
            400,
            message("the key of an argument has more than 16 levels"),
        ),
    ] {
        let failure = read_as(&types, &content, Yaml::Refused).unwrap_err();
        assert_eq!(failure.status.as_u16(), status, "{section}: {types:?}");
        assert_eq!(failure.body, body, "{section}: {types:?}");
    }
    for (section, types, content) in [
        ("2.3 1000", vec![FORM], many(1000)),
        ("2.3 1000", vec![multi], many_parts(1000)),
        ("2.3 1000", vec![json], members(1000)),
        ("bound", vec![FORM], deep(16)),
        ("2.3 nothing sent", vec![], vec![]),
        ("2.3 nothing sent", vec!["text/plain"], vec![]),
        ("2.3 case", vec!["Application/JSON"], b"{}".to_vec()),
    ] {
        let input = read_as(&types, &content, Yaml::Refused);
        assert!(input.is_ok(), "{section}: {input:?}");
    }
}

#[test]
fn config_takes_yaml_too() {
    for text in ["application/yaml", "text/yaml; charset=utf-8"] {
        let input = read_as(&[text], b"_format_version: '3.0'", Yaml::Accepted).unwrap();
        assert_eq!(
            input,
            Input::Yaml("_format_version: '3.0'".into()),
            "2.3: {text}"
        );
    }
    let input = read_as(&[FORM], b"config=a%3A+b", Yaml::Accepted).unwrap();
    assert_eq!(input.text("config"), Some("a: b"), "7.2");
    let input = read_as(&["application/json"], br#"{"config": "a"}"#, Yaml::Accepted).unwrap();
    assert_eq!(input.text("config"), Some("a"), "7.2");
    let input = read_as(&[], b"", Yaml::Accepted).unwrap();
    assert_eq!(input.text("config"), None, "7.2");
}

#[test]
fn content_is_bounded() {
    for (section, size, taken) in [("2.3", 8, true), ("2.3", 9, false)] {
        let body = Full::new(Bytes::from(vec![b'a'; size]));
        match run(collect(body, 8)) {
            Ok(bytes) => assert!(taken && bytes.len() == size, "{section}: {size}"),
            Err(failure) => {
                assert!(!taken, "{section}: {size}");
                assert_eq!(failure.status, StatusCode::PAYLOAD_TOO_LARGE, "{section}");
            }
        }
    }
}

/// Random bytes, and random pieces of what forms are made of, in each type: an answer, never a panic.
#[test]
fn no_content_makes_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let pieces: [&[u8]; 16] = [
        b"[",
        b"]",
        b".",
        b"&",
        b"=",
        b"%5B",
        b"%5d",
        b"%",
        b"config",
        b"1",
        b"--x\r\n",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=\"a[1].b\"",
        b"{\"a\":",
        b"\xff",
        b"--",
    ];
    let types = [
        FORM,
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=",
        "application/json",
        "application/yaml",
        ";",
    ];
    for round in 0..6_000 {
        let mut content = Vec::new();
        for _ in 0..random(40) {
            match round % 2 {
                0 => content.push(random(256) as u8),
                _ => content.extend_from_slice(pieces[random(pieces.len())]),
            }
        }
        for text in types {
            if let Ok(input) = read_as(&[text], &content, Yaml::Accepted) {
                let kind = Kind::ALL[random(Kind::ALL.len())];
                let _ = input.text("name");
                let _ = input.typed_for(kind, Some("acl"));
            }
        }
    }
}

/// Two bytes of content for a hundred of memory: ten megabytes would take half a gigabyte, from each client.
#[test]
fn more_values_than_an_entity_has() {
    // With `{`, `:`, `[` and the commas between.
    let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["1"; count - 2].join(","));
    let part = |text: &str| parts(&[("\"a\"\r\nContent-Type: application/json", text)]);
    let text = format!("{{\"a\":\"\\\"{}\"}}", ",".repeat(ADMIN_VALUES_MAX + 1));
    let json = "application/json";
    let multi = "multipart/form-data; boundary=x";
    for (kind, content, yaml, taken) in [
        (json, list(ADMIN_VALUES_MAX), Yaml::Refused, true),
        (json, list(ADMIN_VALUES_MAX + 1), Yaml::Refused, false),
        (json, list(ADMIN_VALUES_MAX + 1), Yaml::Accepted, true),
        (json, text, Yaml::Refused, true),
        (multi, part(&list(ADMIN_VALUES_MAX)), Yaml::Refused, true),
        (
            multi,
            part(&list(ADMIN_VALUES_MAX + 1)),
            Yaml::Refused,
            false,
        ),
    ] {
        let read = read_as(&[kind], content.as_bytes(), yaml);
        let refused = Err(Failure::bad_request("Too many arguments"));
        assert_eq!(read.is_ok(), taken, "{kind} {}", content.len());
        assert!(taken || read == refused, "{kind} {}", content.len());
    }
}
