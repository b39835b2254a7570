use super::*;

#[test]
fn routes_that_are_not_served_stay_out_and_handles_stay_true() {
    let tables = Tables::default()
        .with(Kind::Services, 20, json!({"enabled": false}))
        .with(Kind::Routes, 1, json!({"protocols": ["grpc", "grpcs"]}))
        .with(Kind::Routes, 2, json!({"service": to(20)}))
        .with(
            Kind::Routes,
            3,
            json!({"name": "three", "protocols": ["https"], "path_handling": "v1"}),
        )
        .with(Kind::Routes, 4, json!({"protocols": ["tcp"]}))
        .with(
            Kind::Routes,
            5,
            json!({"headers": {"x-a": ["1"]}, "methods": ["GET"]}),
        );
    let recorder = Recorder::default();
    let (snapshot, warnings) = compile(&recorder, &tables);
    let specs = recorder.routes.borrow();
    let found: Vec<_> = specs
        .iter()
        .map(|spec| (spec.id, route(&snapshot, spec.handle).id))
        .collect();
    assert_eq!(found, [(id(3), id(3)), (id(5), id(5))]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with("routes ") && warnings[0].contains("grpc, grpcs"),
        "{warnings:?}"
    );
    let three = first(&snapshot);
    assert_eq!(
        (three.http, three.https, three.path_handling),
        (false, true, Handling::V0)
    );
    assert!(three.service.is_none(), "answers 503 (§3.5)");
    assert_eq!(
        specs[1].headers,
        [("x-a".to_string(), vec!["1".to_string()])]
    );
}

#[test]
fn what_does_not_fit_together_is_a_problem_that_names_the_entity() {
    let table = [
        (
            Tables::default().with(Kind::Routes, 1, json!({"service": to(9)})),
            "routes 00000000-0000-0000-0000-000000000001: service",
        ),
        (
            Tables::default().with(Kind::Routes, 1, json!({"paths": ["~/("]})),
            "routes 00000000-0000-0000-0000-000000000001: paths",
        ),
        (
            Tables::default().with(Kind::Routes, 1, json!({"strip_path": "yes"})),
            "routes 00000000-0000-0000-0000-000000000001: strip_path: expected a boolean",
        ),
        (
            Tables::default().with(
                Kind::MtlsAuthCredentials,
                1,
                json!({"consumer": to(9), "subject_name": "a"}),
            ),
            "mtls_auth_credentials 00000000-0000-0000-0000-000000000001: consumer",
        ),
    ];
    for (tables, expected) in table {
        let found = problems(&tables);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{found:?}"
        );
    }
}

#[test]
fn path_handling_counts_in_the_traditional_flavour_only() {
    // (§1.6, router_flavor = traditional, path_handling, what the route does)
    let rows = [
        (false, json!("v0"), Handling::V0),
        (false, json!("v1"), Handling::V0),
        (true, json!("v0"), Handling::V0),
        (true, json!("v1"), Handling::V1),
        (true, json!(null), Handling::V0),
    ];
    for (traditional, path_handling, expected) in rows {
        let tables = Tables::default().with(
            Kind::Routes,
            1,
            json!({"paths": ["/"], "path_handling": path_handling}),
        );
        let globals = Globals {
            traditional,
            ..globals()
        };
        let compiled =
            Compiler::new(globals.clone()).full(&Recorder::default(), &tables.0, &globals);
        let snapshot = compiled.expect("sound").0;
        assert_eq!(
            first(&snapshot).path_handling,
            expected,
            "{traditional} {path_handling}"
        );
    }
}
