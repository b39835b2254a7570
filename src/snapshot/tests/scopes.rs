use super::*;

#[test]
fn the_most_specific_enabled_scope_runs() {
    // Route 1 of service 2, consumer 3; the status says which scope's instance ran.
    let scopes = [
        (
            407,
            json!({"route": to(1), "service": to(2), "consumer": to(3)}),
        ),
        (406, json!({"route": to(1), "consumer": to(3)})),
        (405, json!({"service": to(2), "consumer": to(3)})),
        (404, json!({"route": to(1), "service": to(2)})),
        (403, json!({"consumer": to(3)})),
        (402, json!({"route": to(1)})),
        (401, json!({"service": to(2)})),
        (400, json!({})),
    ];
    let base = Tables::default()
        .with(Kind::Services, 2, json!({}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Consumers, 3, json!({"username": "c"}));
    // Every subset: an instance is left out, or there but disabled.
    for present in 0u32..256 {
        let mut tables = base.clone();
        for (index, (status, scope)) in scopes.iter().enumerate() {
            let mut fields = map(scope.clone());
            fields.insert("enabled".into(), json!(present & (1 << index) != 0));
            tables = tables.with(
                Kind::Plugins,
                100 + index as u128,
                stop(*status, Value::Object(fields)),
            );
        }
        let (snapshot, _) = compile(&Recorder::default(), &tables);
        let route = first(&snapshot);
        let first = |counts: &dyn Fn(&Value) -> bool| {
            let mut indices = (0..scopes.len())
                .filter(|index| present & (1 << index) != 0 && counts(&scopes[*index].1));
            indices.next().map_or(0, |index| scopes[index].0)
        };
        let stranger = first(&|scope| scope.get("consumer").is_none());
        let known = first(&|_| true);
        assert_eq!(
            status(&route.plugins),
            stranger,
            "§1.10 {present:08b}, no consumer"
        );
        let chain = route.consumer_plugins.get(&id(3)).unwrap_or(&route.plugins);
        assert_eq!(status(chain), known, "§1.10 {present:08b}, consumer");
    }
}

fn status(chain: &plugin::Chain) -> u16 {
    match chain
        .request_termination
        .as_ref()
        .map(|plugin| plugin.access(&|_| true))
    {
        Some(plugin::Verdict::Answer(answer)) => answer.status,
        Some(plugin::Verdict::Continue) => panic!("not terminated"),
        None => 0,
    }
}

#[test]
fn other_routes_services_and_consumers_do_not_count() {
    let tables = Tables::default()
        .with(Kind::Services, 2, json!({}))
        .with(Kind::Routes, 1, json!({"service": to(2)}))
        .with(Kind::Routes, 4, json!({}))
        .with(Kind::Plugins, 10, stop(410, json!({"service": to(2)})))
        .with(
            Kind::Plugins,
            11,
            stop(411, json!({"route": to(4), "consumer": to(3)})),
        );
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    assert_eq!(status(&first(&snapshot).plugins), 410);
    assert!(first(&snapshot).consumer_plugins.is_empty());
    assert_eq!(status(&route(&snapshot, 1).plugins), 0);
    assert_eq!(status(&route(&snapshot, 1).consumer_plugins[&id(3)]), 411);
}

#[test]
fn a_consumers_chain_keeps_the_routes_other_plugins() {
    let acl = json!({"name": "acl", "route": to(1), "config": {"allow": ["gold"]}});
    let tables = Tables::default()
        .with(Kind::Routes, 1, json!({}))
        .with(Kind::Plugins, 10, acl)
        .with(Kind::Plugins, 11, stop(418, json!({"consumer": to(3)})));
    let (snapshot, _) = compile(&Recorder::default(), &tables);
    let chain = &first(&snapshot).consumer_plugins[&id(3)];
    assert!(
        chain.acl.is_some(),
        "the ACL still guards the route for this consumer"
    );
}

#[test]
fn a_plugin_that_cannot_run_stops_the_publication() {
    let table = [
        (
            "unknown",
            json!({"name": "jwt", "config": {}}),
            "plugins 00000000-0000-0000-0000-00000000000a: jwt: cannot be run",
        ),
        (
            "echo",
            json!({"name": "request-termination", "config": {"echo": true}}),
            "request-termination: config.echo",
        ),
        (
            "no CA",
            json!({"name": "mtls-auth", "config": {"ca_certificates": []}}),
            "mtls-auth: config.ca_certificates",
        ),
        (
            "mtls-auth by consumer",
            mtls(json!({"consumer": to(3)})),
            "mtls-auth: consumer: value must be null",
        ),
        (
            "acl by consumer",
            json!({"name": "acl", "consumer": to(3), "config": {"allow": ["a"]}}),
            "acl: consumer",
        ),
    ];
    for (rule, plugin, expected) in table {
        let found = problems(&Tables::default().with(Kind::Plugins, 10, plugin.clone())).join("\n");
        assert!(found.contains(expected), "{rule}: {found}");
        let mut disabled = map(plugin);
        disabled.insert("enabled".into(), json!(false));
        compile(
            &Recorder::default(),
            &Tables::default().with(Kind::Plugins, 10, Value::Object(disabled)),
        );
    }
    let twice = Tables::default()
        .with(Kind::Plugins, 10, stop(410, json!({})))
        .with(Kind::Plugins, 11, stop(411, json!({})));
    assert!(problems(&twice)[0].contains("a second enabled instance"));
}
