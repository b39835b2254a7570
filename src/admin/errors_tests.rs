use super::*;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

fn errors(fields: &[(&str, Node)], unresolved: bool) -> Errors {
    let mut errors = Errors {
        unresolved,
        ..Errors::default()
    };
    for (name, node) in fields {
        errors.field(name, node.clone());
    }
    errors
}

fn at(name: &str, text: &str) -> Node {
    Node::Map(BTreeMap::from([(name.to_owned(), text.into())]))
}

#[test]
fn each_code_has_its_status_and_its_text() {
    let (a, b) = (A.to_string(), B.to_string());
    let unresolved =
        "the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' entity";
    let fields = [
        ("host", Node::from("required field missing")),
        ("path", Node::from("should start with: /")),
    ];
    let table: &[(&str, Failure, u16, Value)] = &[
        (
            "2.5 code 1",
            Failure::invalid_primary_key("x"),
            400,
            json!({"code": 1, "name": "invalid primary key", "message": "invalid primary key: '{id=\"x\"}'", "fields": {"id": "x"}}),
        ),
        (
            "2.5 code 2, the example",
            errors(&fields, false).into(),
            400,
            json!({"message": "2 schema violations (host: required field missing; path: should start with: /)", "name": "schema violation", "fields": {"host": "required field missing", "path": "should start with: /"}, "code": 2}),
        ),
        (
            "2.5 code 2, one field",
            Failure::invalid_field("snis", "a is duplicated"),
            400,
            json!({"code": 2, "name": "schema violation", "message": "schema violation (snis: a is duplicated)", "fields": {"snis": "a is duplicated"}}),
        ),
        (
            "2.5 code 3",
            Failure::primary_key_violation(A),
            400,
            json!({"code": 3, "name": "primary key violation", "message": format!("primary key violation on key '{{id=\"{a}\"}}'"), "fields": {"id": a}}),
        ),
        (
            "2.5 code 4, target missing",
            Failure::foreign_key_violation("service", Kind::Services, A),
            400,
            json!({"code": 4, "name": "foreign key violation", "message": format!("the foreign key '{{id=\"{a}\"}}' does not reference an existing 'services' entity."), "fields": {"service": {"id": a}}}),
        ),
        (
            "2.5 code 4, restricted",
            Failure::still_referenced(Kind::Services, Kind::Routes),
            400,
            json!({"code": 4, "name": "foreign key violation", "message": "an existing 'routes' entity references this 'services' entity", "fields": {"@referenced_by": "routes"}}),
        ),
        (
            "2.5 code 5",
            Failure::unique_violation(&[("name", json!("x"))]),
            409,
            json!({"code": 5, "name": "unique constraint violation", "message": "UNIQUE violation detected on '{name=\"x\"}'", "fields": {"name": "x"}}),
        ),
        (
            "1.10 code 5, tuple in key order",
            Failure::unique_violation(&[
                ("name", json!("acl")),
                ("service", json!({"id": a})),
                ("route", Value::Null),
                ("consumer", Value::Null),
            ]),
            409,
            json!({"code": 5, "name": "unique constraint violation", "message": format!("UNIQUE violation detected on '{{consumer=null,name=\"acl\",route=null,service={{id=\"{a}\"}}}}'"), "fields": {"name": "acl", "service": {"id": a}, "route": null, "consumer": null}}),
        ),
        (
            "2.2 code 6, by id",
            Failure::no_such_row(Missing::Id(A)),
            404,
            json!({"code": 6, "name": "not found", "message": format!("could not find the entity with primary key '{{id=\"{a}\"}}'"), "fields": {"id": a}}),
        ),
        (
            "2.2 code 6, by key",
            Failure::no_such_row(Missing::Key {
                field: "name",
                value: "x",
            }),
            404,
            json!({"code": 6, "name": "not found", "message": "could not find the entity with '{name=\"x\"}'", "fields": {"name": "x"}}),
        ),
        (
            "2.4 code 7",
            Failure::invalid_offset("x", "bad base64 encoding"),
            400,
            json!({"code": 7, "name": "invalid offset", "message": "'x' is not a valid offset: bad base64 encoding"}),
        ),
        (
            "2.4 code 9",
            Failure::invalid_size("size must be a number"),
            400,
            json!({"code": 9, "name": "invalid size", "message": "size must be a number"}),
        ),
        (
            "2.5 code 10",
            Failure::invalid_unique("name", "expected a string"),
            400,
            json!({"code": 10, "name": "invalid unique name", "message": "invalid unique name (name: expected a string)", "fields": {"name": "expected a string"}}),
        ),
        (
            "2.4 code 11",
            Failure::invalid_option("tags", "invalid filter syntax"),
            400,
            json!({"code": 11, "name": "invalid options", "message": "invalid option (tags: invalid filter syntax)", "options": {"tags": "invalid filter syntax"}}),
        ),
        (
            "7.2 code 12, create",
            Failure::read_only(Verb::Create, Kind::Routes, None),
            405,
            json!({"code": 12, "name": "operation unsupported", "message": "cannot create 'routes' entities when not using a database"}),
        ),
        (
            "7.2 code 12, upsert by name",
            Failure::read_only(Verb::Upsert, Kind::Routes, Some("name")),
            405,
            json!({"code": 12, "name": "operation unsupported", "message": "cannot create or update 'routes' entities by 'name' when not using a database"}),
        ),
        (
            "2.5 code 13",
            errors(&[("service", at("name", unresolved))], true).into(),
            400,
            json!({"code": 13, "name": "foreign keys unresolved", "message": format!("foreign key unresolved (service.name: {unresolved})"), "fields": {"service": {"name": unresolved}}}),
        ),
        (
            "2.5 code 2 beside an unresolved name",
            errors(
                &[("service", at("name", unresolved)), fields[0].clone()],
                true,
            )
            .into(),
            400,
            json!({"code": 2, "name": "schema violation", "message": format!("2 schema violations (host: required field missing; service.name: {unresolved})"), "fields": {"host": "required field missing", "service": {"name": unresolved}}}),
        ),
        (
            "7.2 code 14",
            Failure::invalid_declarative(
                json!({"services": [{"host": "required field missing"}]}),
                Some(json!([])),
            ),
            400,
            json!({"code": 14, "name": "invalid declarative configuration", "message": "declarative config is invalid: {services={{host=\"required field missing\"}}}", "fields": {"services": [{"host": "required field missing"}]}, "flattened_errors": []}),
        ),
        (
            "1.4 code 19",
            Failure::in_use(A, Kind::Services, B),
            400,
            json!({"code": 19, "name": "referenced by others", "message": format!("ca certificate {a} is still referenced by services (id = {b})")}),
        ),
        (
            "2.5 404",
            Failure::not_found(),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "2.5 405",
            Failure::method_not_allowed(),
            405,
            json!({"message": "Method not allowed"}),
        ),
        (
            "2.5 500",
            Failure::unexpected(),
            500,
            json!({"message": "An unexpected error occurred"}),
        ),
        (
            "2.8 404",
            Failure::no_plugin("x"),
            404,
            json!({"message": "No plugin named 'x'"}),
        ),
    ];
    for (section, failure, status, body) in table {
        assert_eq!(failure.status.as_u16(), *status, "{section}");
        assert_eq!(failure.body.as_ref(), Some(body), "{section}");
    }
}

#[test]
fn tables_are_written_as_kong_writes_them() {
    for (section, value, text) in [
        ("2.5", json!({"name": "x"}), r#"{name="x"}"#),
        ("2.5", json!({"b": 1, "a": null}), "{a=null,b=1}"),
        ("2.5", json!({"name": "a\"b\\"}), r#"{name="a\"b\\"}"#),
        (
            "2.5",
            json!(["a", {"@entity": ["t"]}]),
            r#"{"a",{["@entity"]={"t"}}}"#,
        ),
    ] {
        assert_eq!(table(&value), text, "{section}");
    }
}

#[test]
fn an_unsupported_type_is_answered_without_content() {
    assert_eq!(Failure::unsupported_media_type().body, None);
}

#[test]
fn a_busy_server_says_when_to_come_back() {
    let failure = Failure::too_many_requests("Currently loading previous configuration", 1);
    assert_eq!(failure.retry_after_s, Some(1));
}
