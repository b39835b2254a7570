//! Forms as documentation and scripts send them, by curl itself (KONG-CLIENTS.md §4.4, KONG.md §2.3).

use crate::support::external::curl;
use crate::support::{Ca, Folder, Gateway, Setup, Value, json};

/// Runs curl on a path of the Admin API; status and content.
#[track_caller]
fn ask(gateway: &Gateway, path: &str, arguments: &[&str]) -> (u16, Value) {
    let url = format!("http://{}{path}", gateway.admin_address());
    let mut all = vec!["-w", "\n%{http_code}", url.as_str()];
    all.extend_from_slice(arguments);
    let (success, text) = curl(&all);
    assert!(success, "curl {arguments:?} {path}: {text}");
    let (content, status) = text.rsplit_once('\n').expect("a status line");
    let status = status.parse().expect("a status");
    let content = match content {
        "" => Value::Null,
        content => serde_json::from_str(content).unwrap_or_else(|why| panic!("{why}: {content}")),
    };
    (status, content)
}

#[test]
fn the_commands_of_the_documentation_do_what_they_say() {
    let gateway = Setup::admin().start();
    let null = Value::Null;
    let rows: [(&str, &str, &[&str], u16, &[(&str, Value)]); 21] = [
        (
            "2.3 a field",
            "/services",
            &["-d", "name=s", "-d", "url=http://up.test:8080/base"],
            201,
            &[("/port", json!(8080)), ("/path", json!("/base"))],
        ),
        (
            "2.3 one string",
            "/services",
            &["--data", "name=t&host=h.test&retries=3&enabled=false"],
            201,
            &[("/retries", json!(3)), ("/enabled", json!(false))],
        ),
        (
            "2.3 one value of an array",
            "/services/s/routes",
            &["-d", "name=r1", "-d", "paths=/a"],
            201,
            &[("/paths", json!(["/a"]))],
        ),
        (
            "2.3 []",
            "/services/s/routes",
            &["-d", "name=r2", "-d", "paths[]=/a", "-d", "paths[]=/b"],
            201,
            &[("/paths", json!(["/a", "/b"]))],
        ),
        (
            "2.3 [n]",
            "/routes",
            &[
                "-d",
                "name=r3",
                "-d",
                "paths[1]=/a",
                "-d",
                "paths[2]=/b",
                "-d",
                "service.name=s",
            ],
            201,
            &[("/paths", json!(["/a", "/b"]))],
        ),
        (
            "2.3 a repeated key",
            "/routes",
            &["-d", "name=r4", "-d", "hosts=a.test", "-d", "hosts=b.test"],
            201,
            &[("/hosts", json!(["a.test", "b.test"]))],
        ),
        (
            "2.3 brackets percent-encoded",
            "/routes",
            &["-d", "name=r5", "-d", "paths%5B%5D=/a"],
            201,
            &[("/paths", json!(["/a"]))],
        ),
        (
            "2.3 a map",
            "/routes",
            &[
                "-d",
                "name=r6",
                "-d",
                "headers.x-foo=v",
                "-d",
                "headers[x-bar]=w",
            ],
            201,
            &[("/headers", json!({"x-foo": ["v"], "x-bar": ["w"]}))],
        ),
        (
            "2.3 --data-urlencode",
            "/consumers",
            &["--data-urlencode", "username=a b&c+d=é"],
            201,
            &[("/username", json!("a b&c+d=é"))],
        ),
        (
            "2.3 a number and a boolean of a plugin's config",
            "/services/s/plugins",
            &[
                "-d",
                "name=request-termination",
                "-d",
                "config.status_code=418",
                "-d",
                "config.echo=false",
            ],
            201,
            &[
                ("/config/status_code", json!(418)),
                ("/config/echo", json!(false)),
            ],
        ),
        (
            "2.3 one element of a plugin's array",
            "/routes/r1/plugins",
            &[
                "-d",
                "name=acl",
                "-d",
                "config.allow=gold",
                "-d",
                "config.hide_groups_header=true",
            ],
            201,
            &[
                ("/config/allow", json!(["gold"])),
                ("/config/hide_groups_header", json!(true)),
            ],
        ),
        (
            "2.3 multipart",
            "/services",
            &[
                "-F",
                "name=m",
                "-F",
                "host=h.test",
                "-F",
                "port=81",
                "-F",
                "tags[]=x",
                "-F",
                "tags[]=y",
            ],
            201,
            &[("/port", json!(81)), ("/tags", json!(["x", "y"]))],
        ),
        (
            "2.3 an empty value is null",
            "/services/m",
            &["-X", "PATCH", "-d", "path=/p", "-d", "tags="],
            200,
            &[("/tags", null.clone()), ("/path", json!("/p"))],
        ),
        (
            "2.3 PUT",
            "/services/m",
            &["-X", "PUT", "-d", "host=i.test"],
            200,
            &[
                ("/host", json!("i.test")),
                ("/port", json!(80)),
                ("/path", null.clone()),
            ],
        ),
        (
            "2.3 a nested record",
            "/upstreams",
            &[
                "-d",
                "name=u.test",
                "-d",
                "healthchecks.active.healthy.interval=5",
                "-d",
                "healthchecks.threshold=50",
            ],
            201,
            &[
                ("/healthchecks/active/healthy/interval", json!(5)),
                ("/healthchecks/threshold", json!(50)),
            ],
        ),
        (
            "2.3 not split",
            "/routes",
            &["-d", "paths=/x", "-d", "protocols=http,https"],
            400,
            &[("/code", json!(2))],
        ),
        (
            "2.3 text for a number",
            "/services",
            &["-d", "host=h.test", "-d", "port=eighty"],
            400,
            &[(
                "/message",
                json!("schema violation (port: expected an integer)"),
            )],
        ),
        (
            "2.3 JSON is not coerced",
            "/services",
            &[
                "-H",
                "Content-Type: application/json",
                "-d",
                "{\"host\": \"h.test\", \"port\": \"80\"}",
            ],
            400,
            &[(
                "/message",
                json!("schema violation (port: expected an integer)"),
            )],
        ),
        (
            "2.3 not JSON",
            "/services",
            &["-H", "Content-Type: application/json", "-d", "name=x"],
            400,
            &[("/message", json!("Cannot parse JSON body"))],
        ),
        (
            "2.3 another type",
            "/services",
            &["-H", "Content-Type: text/plain", "-d", "name=x"],
            415,
            &[("", null)],
        ),
        (
            "2.1 a trailing slash",
            "/services/",
            &["-d", "name=slash", "-d", "host=h.test"],
            201,
            &[("/name", json!("slash"))],
        ),
    ];
    for (section, path, arguments, status, expected) in rows {
        let (found, content) = ask(&gateway, path, arguments);
        assert_eq!(found, status, "{section}: {content}");
        for (pointer, value) in expected {
            assert_eq!(
                content.pointer(pointer),
                Some(value),
                "{section}: {content}"
            );
        }
    }
    let (_, route) = ask(&gateway, "/routes/r3/service", &[]);
    assert_eq!(route["name"], "s");
}

/// §6 point 2: byte for byte, whichever way a file is sent and however it ends.
#[test]
fn a_pem_file_comes_back_as_it_was_whichever_way_it_is_sent() {
    let gateway = Setup::admin().start();
    let ca = Ca::root("form root");
    let issuing = ca.intermediate("form intermediate");
    let pair = issuing.server(&["a.test"]);
    let folder = Folder::new();
    for (name, cert, key) in [
        ("as made", pair.cert_pem.clone(), pair.key_pem.clone()),
        (
            "no newline at the end",
            pair.cert_pem.trim_end().to_owned(),
            pair.key_pem.trim_end().to_owned(),
        ),
        (
            "two newlines at the end",
            pair.cert_pem.clone() + "\n",
            pair.key_pem.clone() + "\n",
        ),
        (
            "lines end with CRLF",
            pair.cert_pem.replace('\n', "\r\n"),
            pair.key_pem.replace('\n', "\r\n"),
        ),
        (
            "text in front",
            format!("subject=CN = é+& a.test\n{}", pair.cert_pem),
            pair.key_pem.clone(),
        ),
    ] {
        let cert_file = folder.file("a.crt", &cert).display().to_string();
        let key_file = folder.file("a.key", &key).display().to_string();
        let parts = [format!("cert=@{cert_file}"), format!("key=@{key_file}")];
        let encoded = [format!("cert@{cert_file}"), format!("key@{key_file}")];
        for (how, arguments) in [
            (
                "-F",
                ["-F", &parts[0], "-F", &parts[1], "-F", "snis=a.test"],
            ),
            (
                "--data-urlencode",
                [
                    "--data-urlencode",
                    &encoded[0],
                    "--data-urlencode",
                    &encoded[1],
                    "-d",
                    "snis=a.test",
                ],
            ),
        ] {
            let (status, created) = ask(&gateway, "/certificates", &arguments);
            assert_eq!(status, 201, "{name}, {how}: {created}");
            let (_, read) = ask(&gateway, "/certificates/a.test", &[]);
            assert_eq!(
                (read["cert"].as_str(), read["key"].as_str()),
                (Some(cert.as_str()), Some(key.as_str())),
                "{name}, {how}"
            );
            assert_eq!(read["snis"], json!(["a.test"]));
            let (status, _) = ask(&gateway, "/certificates/a.test", &["-X", "DELETE"]);
            assert_eq!(status, 204);
        }
    }
    let file = folder.file("ca.crt", &ca.pem).display().to_string();
    let (status, created) = ask(
        &gateway,
        "/ca_certificates",
        &["-F", &format!("cert=@{file}")],
    );
    assert_eq!(
        (status, created["cert"].as_str()),
        (201, Some(ca.pem.as_str()))
    );
}

#[test]
fn head_and_options_are_answered_everywhere() {
    let gateway = Setup::admin().start();
    for path in [
        "/",
        "/status",
        "/services",
        "/schemas/services",
        "/tags",
        "/config",
    ] {
        let mut admin = gateway.admin();
        let get = admin.get(path);
        let head = admin.send("HEAD", path, &[], None);
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(
            head.header("Content-Type"),
            get.header("Content-Type"),
            "{path}"
        );
        let options = admin.send("OPTIONS", path, &[], None);
        assert_eq!(options.status(), 204, "{path}");
        assert!(
            options
                .header("Allow")
                .is_some_and(|list| list.contains("OPTIONS"))
        );
    }
}
