//! The rules between rows, a table per operation: long, and read by look-up.

use super::*;
use crate::entity::Kind::*;
use crate::store::Violation;

/// Certificates 1 and 2, CA 3, services 10 (client certificate 1, CA 3) and 11, route 20 of 10, consumer 30,
/// upstream 40 with target 41, SNI 50 of certificate 2.
fn some_rows() -> Arc<Image> {
    image(vec![
        certificate(1),
        certificate(2),
        ca(3),
        make(
            Services,
            10,
            json!({"name": "a", "host": "h", "protocol": "https", "client_certificate": reference(1),
                "ca_certificates": [id(3), id(3)]}),
        ),
        make(Services, 11, json!({"name": "b", "host": "h"})),
        make(
            Routes,
            20,
            json!({"name": "r", "paths": ["/"], "protocols": ["https"], "service": reference(10)}),
        ),
        make(Consumers, 30, json!({"username": "u", "custom_id": "c"})),
        make(Upstreams, 40, json!({"name": "up"})),
        make(
            Targets,
            41,
            json!({"target": "t:1", "upstream": reference(40)}),
        ),
        make(
            Snis,
            50,
            json!({"name": "Www.Example.com", "certificate": reference(2)}),
        ),
    ])
}

fn mtls_auth(number: u128, more: Value) -> (Kind, Entity) {
    let mut input = json!({"name": "mtls-auth", "config": {"ca_certificates": [id(3)]}});
    if let (Value::Object(input), Value::Object(more)) = (&mut input, more) {
        input.extend(more);
    }
    make(Plugins, number, input)
}

/// The violation, as text: what it is, and its fields.
fn shown(outcome: Result<(), Violation>) -> String {
    match outcome {
        Ok(()) => "ok".into(),
        Err(Violation::PrimaryKey { id }) => format!("primary key {}", id.as_u128()),
        Err(Violation::Unique { kind, fields }) => {
            let fields = fields.iter().map(|(name, value)| match value.get("id") {
                Some(id) => {
                    let id: Uuid = id.as_str().expect("text").parse().expect("an id");
                    format!("{name}=#{}", id.as_u128())
                }
                None => format!("{name}={value}"),
            });
            let fields: Vec<String> = fields.collect();
            format!("unique {} {}", kind.name(), fields.join(","))
        }
        Err(Violation::ForeignKey { field, to, id, .. }) => {
            format!("foreign key {field} to {} {}", to.name(), id.as_u128())
        }
        Err(Violation::Referenced { kind, id, by }) => {
            format!("{} {} by {}", kind.name(), id.as_u128(), by.name())
        }
        Err(Violation::InUse { id, by, by_id }) => {
            format!(
                "{} in use by {} {}",
                id.as_u128(),
                by.name(),
                by_id.as_u128()
            )
        }
        Err(Violation::Fields(errors)) => errors.message(),
    }
}

#[test]
fn rows_that_break_a_rule_are_refused() {
    let missing = "invalid reference 'ca_certificates: 00000000-0000-0000-0000-000000000009' (no such entry in 'ca_certificates')";
    let cases: Vec<(&str, (Kind, Entity), String)> = vec![
        (
            "KONG.md 2.5, code 3",
            make(Services, 10, json!({"name": "z", "host": "h"})),
            "primary key 10".into(),
        ),
        (
            "code 3 before code 5",
            make(Services, 10, json!({"name": "a", "host": "h"})),
            "primary key 10".into(),
        ),
        (
            "code 5",
            make(Services, 12, json!({"name": "a", "host": "h"})),
            "unique services name=\"a\"".into(),
        ),
        (
            "code 5: names are compared as written",
            make(Services, 12, json!({"name": "A", "host": "h"})),
            "ok".into(),
        ),
        (
            "null is not a value of a single field",
            make(Consumers, 31, json!({"custom_id": "other"})),
            "ok".into(),
        ),
        (
            "1.7: the second unique field",
            make(Consumers, 31, json!({"username": "v", "custom_id": "c"})),
            "unique consumers custom_id=\"c\"".into(),
        ),
        (
            "1.3, 11 point 1: names of SNIs without case",
            make(
                Snis,
                51,
                json!({"name": "www.example.COM", "certificate": reference(1)}),
            ),
            "unique snis name=\"www.example.COM\"".into(),
        ),
        (
            "1.4: the same certificate",
            ca(4),
            format!(
                "unique ca_certificates cert_digest={}",
                ca(4).1["cert_digest"]
            ),
        ),
        (
            "1.11: the tuple",
            make(
                Targets,
                42,
                json!({"target": "t:1", "upstream": reference(40)}),
            ),
            "unique targets upstream=#40,target=\"t:1\"".into(),
        ),
        (
            "code 4",
            make(
                Routes,
                21,
                json!({"paths": ["/"], "service": reference(99)}),
            ),
            "foreign key service to services 99".into(),
        ),
        (
            "code 5 before code 4",
            make(
                Routes,
                21,
                json!({"name": "r", "paths": ["/"], "service": reference(99)}),
            ),
            "unique routes name=\"r\"".into(),
        ),
        (
            "11 point 8: services",
            make(
                Services,
                12,
                json!({"host": "h", "protocol": "https", "ca_certificates": [id(3), id(9)]}),
            ),
            format!("schema violation (ca_certificates.2: {missing})"),
        ),
        (
            "11 point 8: plugins",
            make(
                Plugins,
                60,
                json!({"name": "mtls-auth", "config": {"ca_certificates": [id(9)]}}),
            ),
            format!("schema violation (config.ca_certificates.1: {missing})"),
        ),
        (
            "1.10: the route's protocols",
            mtls_auth(60, json!({"protocols": ["http"], "route": reference(20)})),
            "schema violation (protocols: must match the associated route's protocols)".into(),
        ),
        (
            "1.10: a service's routes",
            mtls_auth(60, json!({"protocols": ["http"], "service": reference(10)})),
            "schema violation (protocols: must match the protocols of at least one route pointing to this Plugin's service)".into(),
        ),
        (
            "1.10: a service without routes",
            mtls_auth(60, json!({"protocols": ["http"], "service": reference(11)})),
            "ok".into(),
        ),
        (
            "1.10: one that shares one",
            mtls_auth(60, json!({"service": reference(10)})),
            "ok".into(),
        ),
        (
            "1.10: a route that is not there",
            mtls_auth(60, json!({"route": reference(99)})),
            "foreign key route to routes 99".into(),
        ),
    ];
    let image = some_rows();
    for (rule, (kind, row), expected) in cases {
        let mut plan = Plan::new(Arc::clone(&image));
        let outcome = shown(plan.insert(kind, row));
        assert_eq!(outcome, expected, "{rule}");
        assert_eq!(plan.is_read_only(), expected != "ok", "{rule}");
    }
}

#[test]
fn tuples_count_null_as_a_value() {
    let image = some_rows();
    let image = then(&image, |plan| {
        for (kind, row) in [
            mtls_auth(60, json!({})),
            mtls_auth(61, json!({"service": reference(10)})),
            make(
                MtlsAuthCredentials,
                70,
                json!({"consumer": reference(30), "subject_name": "s"}),
            ),
        ] {
            plan.insert(kind, row).expect("they differ");
        }
    });
    let cases = [
        (
            "KONG.md 1.10",
            mtls_auth(62, json!({})),
            "unique plugins consumer=null,name=\"mtls-auth\",route=null,service=null",
        ),
        (
            "1.10",
            mtls_auth(62, json!({"service": reference(10)})),
            "unique plugins consumer=null,name=\"mtls-auth\",route=null,service=#10",
        ),
        (
            "1.10",
            mtls_auth(62, json!({"service": reference(11)})),
            "ok",
        ),
        (
            "1.8",
            make(
                MtlsAuthCredentials,
                71,
                json!({"consumer": reference(30), "subject_name": "s"}),
            ),
            "unique mtls_auth_credentials subject_name=\"s\",ca_certificate=null",
        ),
        (
            "1.8",
            make(
                MtlsAuthCredentials,
                71,
                json!({"consumer": reference(30), "subject_name": "s", "ca_certificate": reference(3)}),
            ),
            "ok",
        ),
    ];
    for (rule, (kind, row), expected) in cases {
        let mut plan = Plan::new(Arc::clone(&image));
        assert_eq!(shown(plan.insert(kind, row)), expected, "{rule}");
    }
}

#[test]
fn deletion_is_refused_or_takes_along() {
    let image = then(&some_rows(), |plan| {
        for (kind, row) in [
            make(Snis, 51, json!({"name": "x", "certificate": reference(1)})),
            mtls_auth(60, json!({"enabled": false})),
            make(
                Plugins,
                61,
                json!({"name": "request-termination", "route": reference(20)}),
            ),
            make(
                Plugins,
                62,
                json!({"name": "request-termination", "consumer": reference(30)}),
            ),
            make(
                Plugins,
                63,
                json!({"name": "request-termination", "service": reference(11)}),
            ),
            make(Acls, 70, json!({"group": "g", "consumer": reference(30)})),
            make(
                MtlsAuthCredentials,
                71,
                json!({"subject_name": "s", "consumer": reference(30), "ca_certificate": reference(3)}),
            ),
        ] {
            plan.insert(kind, row).expect("they fit");
        }
    });
    let cases: Vec<(&str, Kind, u128, Result<&[u128], &str>)> = vec![
        ("KONG.md 1.12", Services, 10, Err("services 10 by routes")),
        ("1.12", Services, 11, Ok(&[11, 63])),
        ("1.12", Routes, 20, Ok(&[20, 61])),
        ("1.12", Consumers, 30, Ok(&[30, 62, 70, 71])),
        (
            "1.2: refused before its SNIs go",
            Certificates,
            1,
            Err("certificates 1 by services"),
        ),
        ("1.2", Certificates, 2, Ok(&[2, 50])),
        ("1.12", Upstreams, 40, Ok(&[40, 41])),
        (
            "1.4, code 19",
            CaCertificates,
            3,
            Err("3 in use by services 10"),
        ),
        ("nothing refers to it", Snis, 50, Ok(&[50])),
    ];
    for (rule, kind, number, expected) in cases {
        let mut plan = Plan::new(Arc::clone(&image));
        match (plan.delete(kind, id(number)), expected) {
            (Ok(there), Ok(gone)) => {
                assert!(there, "{rule}");
                let mut deleted: Vec<u128> = plan
                    .into_batch()
                    .writes
                    .iter()
                    .map(|change| change.id.as_u128())
                    .collect();
                deleted.sort();
                assert_eq!(deleted, gone, "{rule}");
            }
            (outcome, expected) => {
                assert_eq!(
                    shown(outcome.map(|_| ())),
                    expected.expect_err("a refusal"),
                    "{rule}"
                );
                assert!(plan.is_read_only(), "{rule}");
            }
        }
    }
}

/// KONG.md §1.4 and §11 point 9.
#[test]
fn deleting_a_ca_certificate_takes_its_credentials_along_once_no_plugin_lists_it() {
    let image = image(vec![
        ca(3),
        make(Consumers, 30, json!({"username": "u"})),
        make(
            MtlsAuthCredentials,
            71,
            json!({"subject_name": "s", "consumer": reference(30), "ca_certificate": reference(3)}),
        ),
        mtls_auth(60, json!({"enabled": false})),
    ]);
    let mut plan = Plan::new(image);
    let refused = plan.delete(CaCertificates, id(3)).map(|_| ());
    assert_eq!(shown(refused), "3 in use by plugins 60");
    assert_eq!(plan.delete(Plugins, id(60)), Ok(true));
    assert_eq!(plan.delete(CaCertificates, id(3)), Ok(true));
    assert_eq!(plan.get(MtlsAuthCredentials, id(71)), None);
    assert_eq!(plan.delete(CaCertificates, id(3)), Ok(false));
}

#[test]
fn a_plan_sees_its_own_writes() {
    let image = some_rows();
    let mut plan = Plan::new(Arc::clone(&image));
    let (kind, row) = make(
        Snis,
        51,
        json!({"name": "x.y", "certificate": reference(2)}),
    );
    plan.insert(kind, row).expect("a free name");
    assert_eq!(plan.find(Snis, "name", "X.Y"), Some(id(51)));
    assert_eq!(
        plan.referrers(Snis, "certificate", Certificates, id(2)),
        [id(50), id(51)]
    );
    assert_eq!(plan.delete(Snis, id(50)), Ok(true));
    assert_eq!(plan.find(Snis, "name", "www.example.com"), None);
    assert_eq!(
        plan.image().find(Snis, "name", "WWW.example.com"),
        Some(id(50))
    );
    // What another row held before can be taken over in the same batch.
    let (kind, row) = make(
        Snis,
        51,
        json!({"name": "www.example.com", "certificate": reference(1)}),
    );
    plan.replace(kind, row).expect("the name is free now");
    let image = commit(&image, plan).expect("no conflict");
    assert_eq!(image.find(Snis, "name", "www.example.com"), Some(id(51)));
    assert_eq!(image.find(Snis, "name", "x.y"), None);
    assert_eq!(
        image
            .referrers(Snis, "certificate", Certificates, id(1))
            .collect::<Vec<_>>(),
        [id(51)]
    );
    assert_eq!(
        image
            .referrers(Snis, "certificate", Certificates, id(2))
            .count(),
        0
    );
}

#[test]
fn tuples_are_found() {
    let mut plan = Plan::new(some_rows());
    let (_, row) = make(
        Targets,
        99,
        json!({"target": "t:1", "upstream": reference(40)}),
    );
    assert_eq!(
        plan.find_tuple(Targets, &["upstream", "target"], &row),
        Some(id(41))
    );
    let (_, row) = make(
        Targets,
        99,
        json!({"target": "t:2", "upstream": reference(40)}),
    );
    assert_eq!(
        plan.find_tuple(Targets, &["upstream", "target"], &row),
        None
    );
}

#[test]
fn what_ends_as_it_began_is_not_written() {
    let mut plan = Plan::new(some_rows());
    let (kind, row) = make(Consumers, 31, json!({"username": "v"}));
    plan.insert(kind, row).expect("a free name");
    assert_eq!(plan.delete(Consumers, id(31)), Ok(true));
    assert!(!plan.is_read_only());
    assert!(plan.into_batch().writes.is_empty());
}

#[test]
fn transient_fields_are_not_stored() {
    let (kind, mut row) = certificate(1);
    row.insert("snis".into(), json!(["a.b"]));
    let image = image(vec![(kind, row)]);
    assert!(
        !image
            .get(Certificates, id(1))
            .expect("stored")
            .contains_key("snis")
    );
}

type Operation = fn(&mut Plan);

/// Whether the second of two plans made on the same image can still be written after the first.
#[test]
fn plans_conflict_exactly_when_one_decides_on_what_the_other_changes() {
    fn put(plan: &mut Plan, (kind, row): (Kind, Entity)) {
        plan.replace(kind, row).expect("it fits");
    }
    fn delete(plan: &mut Plan, kind: Kind, number: u128) {
        assert_eq!(plan.delete(kind, id(number)), Ok(true));
    }
    fn route_of(number: u128, service: u128) -> (Kind, Entity) {
        let input = json!({"paths": ["/"], "protocols": ["https"], "service": reference(service)});
        make(Routes, number, input)
    }
    let cases: Vec<(&str, Operation, Operation, bool)> = vec![
        (
            "two children of one parent",
            |plan| put(plan, route_of(21, 11)),
            |plan| put(plan, route_of(22, 11)),
            true,
        ),
        (
            "a child, then its parent's deletion",
            |plan| put(plan, route_of(21, 11)),
            |plan| delete(plan, Services, 11),
            false,
        ),
        (
            "a deletion, then a child",
            |plan| delete(plan, Services, 11),
            |plan| put(plan, route_of(21, 11)),
            false,
        ),
        (
            "a child moves to what is deleted",
            |plan| put(plan, route_of(20, 11)),
            |plan| delete(plan, Services, 11),
            false,
        ),
        (
            "a child moves away, which allows the deletion that was refused before",
            |plan| put(plan, route_of(20, 11)),
            |plan| {
                assert!(plan.delete(Services, id(10)).is_err());
                put(plan, make(Consumers, 31, json!({"username": "v"})));
            },
            false,
        ),
        (
            "one name twice",
            |plan| put(plan, make(Consumers, 31, json!({"username": "v"}))),
            |plan| put(plan, make(Consumers, 32, json!({"username": "v"}))),
            false,
        ),
        (
            "one SNI in two spellings",
            |plan| {
                put(
                    plan,
                    make(Snis, 51, json!({"name": "A", "certificate": reference(1)})),
                )
            },
            |plan| {
                put(
                    plan,
                    make(Snis, 52, json!({"name": "a", "certificate": reference(2)})),
                )
            },
            false,
        ),
        (
            "a name that becomes free",
            |plan| delete(plan, Consumers, 30),
            |plan| assert_eq!(plan.find(Consumers, "username", "u"), Some(id(30))),
            false,
        ),
        (
            "one id twice",
            |plan| put(plan, make(Consumers, 31, json!({"username": "v"}))),
            |plan| put(plan, make(Consumers, 31, json!({"username": "w"}))),
            false,
        ),
        (
            "one row twice",
            |plan| put(plan, make(Consumers, 30, json!({"username": "v"}))),
            |plan| put(plan, make(Consumers, 30, json!({"username": "w"}))),
            false,
        ),
        (
            "two deletions",
            |plan| delete(plan, Consumers, 30),
            |plan| delete(plan, Consumers, 30),
            false,
        ),
        (
            "a CA is listed, then deleted",
            |plan| {
                let input = json!({"host": "h", "protocol": "https", "ca_certificates": [id(3)]});
                put(plan, make(Services, 12, input));
            },
            |plan| {
                let input = json!({"name": "a", "host": "h", "protocol": "https"});
                put(plan, make(Services, 10, input));
                delete(plan, CaCertificates, 3);
            },
            false,
        ),
        (
            "a child of a parent that goes with its own row changes: the deletion follows",
            |plan| {
                let input =
                    json!({"name": "www.example.com", "tags": ["t"], "certificate": reference(2)});
                put(plan, make(Snis, 50, input));
            },
            |plan| delete(plan, Certificates, 2),
            true,
        ),
        (
            "two plugins of one service",
            |plan| put(plan, mtls_auth(60, json!({"service": reference(10)}))),
            |plan| {
                let input = json!({"name": "request-termination", "service": reference(10)});
                put(plan, make(Plugins, 61, input));
            },
            true,
        ),
        (
            "the first route of a service, which a plugin would have to share a protocol with",
            |plan| put(plan, route_of(21, 11)),
            |plan| {
                put(
                    plan,
                    mtls_auth(60, json!({"protocols": ["http"], "service": reference(11)})),
                )
            },
            false,
        ),
        (
            "another route of a service, where the plugin shares one with the first",
            |plan| put(plan, route_of(21, 10)),
            |plan| put(plan, mtls_auth(60, json!({"service": reference(10)}))),
            true,
        ),
        (
            "the route that shares a protocol goes",
            |plan| delete(plan, Routes, 20),
            |plan| put(plan, mtls_auth(60, json!({"service": reference(10)}))),
            false,
        ),
        (
            "unrelated rows",
            |plan| put(plan, make(Consumers, 31, json!({"username": "v"}))),
            |plan| delete(plan, Upstreams, 40),
            true,
        ),
    ];
    let image = some_rows();
    for (what, first, second, admitted) in cases {
        let (mut one, mut two) = (Plan::new(Arc::clone(&image)), Plan::new(Arc::clone(&image)));
        first(&mut one);
        second(&mut two);
        let after = commit(&image, one).expect("the first finds what it read");
        assert_eq!(commit(&after, two).is_some(), admitted, "{what}");
    }
}

/// §1.10: Kong compares protocols when a plugin is written, not when its route is; what that leaves can be imported.
#[test]
fn a_route_may_leave_its_plugin_and_such_rows_are_restored() {
    let route = |protocol: &str| {
        let input = json!({"paths": ["/"], "protocols": [protocol]});
        make(Routes, 25, input)
    };
    let plugin = mtls_auth(65, json!({"protocols": ["https"], "route": reference(25)}));
    let put = |plan: &mut Plan, (kind, row): (Kind, Entity)| {
        assert_eq!(plan.replace(kind, row), Ok(()));
    };
    let image = then(&some_rows(), |plan| {
        put(plan, route("https"));
        put(plan, plugin.clone());
    });
    let image = then(&image, |plan| put(plan, route("http")));
    let mut plan = Plan::new(image);
    let (kind, row) = plugin;
    assert!(matches!(
        plan.replace(kind, row.clone()),
        Err(Violation::Fields(_))
    ));
    assert_eq!(plan.restore(kind, row.clone()), Ok(()));
    // And nothing else is let through.
    let mut dangling = row;
    dangling.insert("route".into(), reference(99));
    assert!(matches!(
        plan.restore(kind, dangling),
        Err(Violation::ForeignKey { .. })
    ));
}
