use super::*;

fn name(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn sample<'a>(service: &'a Arc<str>, route: &'a Arc<str>) -> RequestSample<'a> {
    RequestSample {
        service: Some(service),
        route: Some(route),
        status: 200,
        source: Source::Service,
        bytes_in: 100,
        bytes_out: 2_000,
        kong_us: 1_000,
        upstream_us: Some(26_000),
        request_us: 61_000_000,
        consumer: None,
    }
}

fn facts() -> ProcessFacts {
    ProcessFacts {
        node_id: "n1".into(),
        version: "0.1.0".into(),
        crypto_provider: "mixed".into(),
        engine: "io_uring".into(),
        datastore_reachable: true,
        snapshot_number: 9,
        now: 1_000,
        ..ProcessFacts::default()
    }
}

/// The line with exactly these labels must be there.
fn assert_line(text: &str, line: &str) {
    let family = line.split('{').next().unwrap_or(line);
    let near: Vec<&str> = text.lines().filter(|l| l.starts_with(family)).collect();
    assert!(text.lines().any(|l| l == line), "no {line:?} in {near:#?}");
}

#[test]
fn kong_names_labels_and_buckets_are_those_dashboards_ask_for() {
    let (service, route) = (name("billing"), name("pay"));
    let mut core = CoreMetrics::new(0);
    core.connection_opened(true);
    core.connection_opened(false);
    core.connection_closed(false);
    core.exchange_started();
    core.request(&sample(&service, &route));
    let text = render(&[core], &facts());
    // KONG-CLIENTS.md §4.5
    for line in [
        r#"kong_nginx_connections_total{node_id="n1",subsystem="http",state="accepted"} 2"#,
        r#"kong_nginx_connections_total{node_id="n1",subsystem="http",state="active"} 1"#,
        r#"kong_nginx_connections_total{node_id="n1",subsystem="http",state="writing"} 1"#,
        r#"kong_nginx_connections_total{node_id="n1",subsystem="http",state="waiting"} 0"#,
        r#"kong_nginx_requests_total{node_id="n1",subsystem="http"} 1"#,
        r#"kong_node_info{node_id="n1",version="3.9.1"} 1"#,
        "kong_datastore_reachable 1",
        r#"kong_http_requests_total{service="billing",route="pay",code="200",source="service",workspace="default",consumer=""} 1"#,
        "# TYPE kong_http_requests_total counter",
        "# TYPE kong_bandwidth_bytes counter",
        r#"kong_bandwidth_bytes{service="billing",route="pay",direction="ingress",workspace="default",consumer=""} 100"#,
        r#"kong_bandwidth_bytes{service="billing",route="pay",direction="egress",workspace="default",consumer=""} 2000"#,
        "# TYPE kong_kong_latency_ms histogram",
        r#"kong_kong_latency_ms_bucket{service="billing",route="pay",workspace="default",le="1"} 1"#,
        r#"kong_kong_latency_ms_bucket{service="billing",route="pay",workspace="default",le="6000"} 1"#,
        r#"kong_kong_latency_ms_sum{service="billing",route="pay",workspace="default"} 1.0"#,
        r#"kong_upstream_latency_ms_bucket{service="billing",route="pay",workspace="default",le="25"} 0"#,
        r#"kong_upstream_latency_ms_bucket{service="billing",route="pay",workspace="default",le="50"} 1"#,
        r#"kong_request_latency_ms_bucket{service="billing",route="pay",workspace="default",le="60000"} 0"#,
        r#"kong_request_latency_ms_bucket{service="billing",route="pay",workspace="default",le="+Inf"} 1"#,
        r#"kong_request_latency_ms_count{service="billing",route="pay",workspace="default"} 1"#,
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn our_names_stand_beside() {
    let mut a = CoreMetrics::new(0);
    let mut b = CoreMetrics::new(3);
    for core in [&mut a, &mut b] {
        core.handshake_started();
        core.handshake_done(
            "TLSv1.3",
            Some("X25519"),
            "AES",
            false,
            ClientCert::Presented,
        );
        core.handshake_ended();
    }
    b.handshake_done("TLSv1.2", None, "AES", true, ClientCert::None);
    b.handshake_failed("unknown_ca");
    b.client_verdict("trusted");
    b.verdict_lookup(true);
    b.verdict_lookup(false);
    b.chain_signatures(3);
    b.chain_signatures(2);
    b.pool(Pool::Stale);
    b.upstream_handshake(true);
    b.upstream_handshake_failed("name");
    b.shed("fd");
    b.panic();
    b.log_dropped(4);
    b.snapshot(7);
    let mut facts = facts();
    facts.log_dropped = 1;
    facts.certificates = vec![CertificateExpiry {
        kind: "server",
        id: "c1".into(),
        name: "a\"b\\c\nd".into(),
        not_after: 400,
    }];
    let text = render(&[a, b], &facts);
    for line in [
        r#"sallyport_tls_handshakes_total{version="TLSv1.3",group="X25519",cipher="AES",resumed="false"} 2"#,
        r#"sallyport_tls_handshakes_total{version="TLSv1.2",group="",cipher="AES",resumed="true"} 1"#,
        r#"sallyport_tls_handshake_failures_total{reason="unknown_ca"} 1"#,
        r#"sallyport_client_certificates_total{outcome="presented"} 2"#,
        r#"sallyport_client_certificates_total{outcome="none"} 1"#,
        r#"sallyport_client_certificates_total{outcome="not_requested"} 0"#,
        r#"sallyport_client_verdicts_total{outcome="trusted"} 1"#,
        r#"sallyport_client_verdict_cache_total{result="hit"} 1"#,
        r#"sallyport_client_verdict_cache_total{result="miss"} 1"#,
        r#"sallyport_client_chain_signatures_total{core="0"} 0"#,
        r#"sallyport_client_chain_signatures_total{core="3"} 5"#,
        r#"sallyport_upstream_pool_total{result="stale"} 1"#,
        r#"sallyport_upstream_handshakes_total{resumed="true"} 1"#,
        r#"sallyport_upstream_handshakes_total{resumed="false"} 0"#,
        r#"sallyport_upstream_handshake_failures_total{reason="name"} 1"#,
        r#"sallyport_core_requests_total{core="3"} 0"#,
        r#"sallyport_snapshot_number{core="3"} 7"#,
        r#"sallyport_snapshot_lag{core="0"} 9"#,
        r#"sallyport_snapshot_lag{core="3"} 2"#,
        r#"sallyport_shed_total{reason="fd"} 1"#,
        "sallyport_panics_total 1",
        "sallyport_log_lines_dropped_total 5",
        r#"sallyport_certificate_expiry_seconds{kind="server",id="c1",name="a\"b\\c\nd"} -600"#,
        r#"sallyport_crypto_provider{name="mixed"} 1"#,
        r#"sallyport_engine{driver="io_uring"} 1"#,
        r#"sallyport_build_info{version="0.1.0"} 1"#,
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn every_family_has_one_head_and_every_sample_follows_its_own() {
    let (service, route) = (name("s"), name("r"));
    let mut core = CoreMetrics::new(0);
    core.request(&sample(&service, &route));
    let text = render(&[core.clone(), core], &facts());
    let mut family = "";
    let mut seen = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap_or_default();
            assert!(seen.insert(family.to_owned()), "{family} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line} under {family}");
        }
    }
    assert!(seen.len() > 20);
}

#[test]
fn cores_add_up_and_names_of_another_snapshot_are_the_same_series() {
    let mut core = CoreMetrics::new(0);
    for _ in 0..3 {
        // A fresh Arc each time, as after a reload.
        core.request(&sample(&name("s"), &name("r")));
    }
    let mut other = CoreMetrics::new(1);
    other.request(&sample(&name("s"), &name("r")));
    let text = render(&[core, other], &facts());
    assert_line(
        &text,
        r#"kong_http_requests_total{service="s",route="r",code="200",source="service",workspace="default",consumer=""} 4"#,
    );
    assert_line(
        &text,
        r#"kong_kong_latency_ms_count{service="s",route="r",workspace="default"} 4"#,
    );
}

#[test]
fn no_route_has_empty_labels_and_the_source_kong() {
    let mut core = CoreMetrics::new(0);
    for source in [Source::Exit, Source::Error] {
        core.request(&RequestSample {
            service: None,
            route: None,
            status: 404,
            source,
            upstream_us: None,
            ..sample(&name("x"), &name("y"))
        });
    }
    let text = render(&[core], &facts());
    assert_line(
        &text,
        r#"kong_http_requests_total{service="",route="",code="404",source="kong",workspace="default",consumer=""} 2"#,
    );
    assert_line(
        &text,
        r#"kong_upstream_latency_ms_count{service="",route="",workspace="default"} 0"#,
    );
}

#[test]
fn routes_beyond_the_bound_are_counted_together() {
    let service = name("s");
    let mut core = CoreMetrics::new(0);
    for i in 0..METRIC_ROUTES_MAX + 50 {
        core.request(&sample(&service, &name(&i.to_string())));
    }
    assert_eq!(core.routes.len(), METRIC_ROUTES_MAX + 1);
    let text = render(&[core], &facts());
    assert_line(
        &text,
        r#"kong_http_requests_total{service="_overflow",route="_overflow",code="200",source="service",workspace="default",consumer=""} 50"#,
    );
}

#[test]
fn consumers_and_counters_beyond_their_bounds_are_counted_together() {
    let (service, route) = (name("s"), name("r"));
    let mut core = CoreMetrics::new(0);
    for i in 0..METRIC_CONSUMERS_MAX + 7 {
        let consumer = name(&format!("c{i}"));
        core.request(&RequestSample {
            consumer: Some(&consumer),
            ..sample(&service, &route)
        });
    }
    assert_eq!(core.consumers.len(), METRIC_CONSUMERS_MAX + 1);
    let text = render(&[core.clone()], &facts());
    assert_line(
        &text,
        r#"kong_http_requests_total{service="s",route="r",code="200",source="service",workspace="default",consumer="_overflow"} 7"#,
    );
    // An upstream that answers with every status for every consumer.
    for i in 0..METRIC_REQUEST_COUNTERS_MAX {
        let consumer = name(&format!("c{}", i % METRIC_CONSUMERS_MAX));
        core.request(&RequestSample {
            status: 100 + (i / METRIC_CONSUMERS_MAX) as u16,
            consumer: Some(&consumer),
            ..sample(&service, &route)
        });
    }
    assert!(core.counters.len() <= METRIC_REQUEST_COUNTERS_MAX + 3);
    let sum: u64 = core.request_counters().map(|counter| counter.count).sum();
    assert_eq!(sum, core.requests());
}

#[test]
fn closing_more_than_was_opened_does_not_wrap() {
    let mut core = CoreMetrics::new(0);
    core.connection_closed(true);
    core.exchange_ended();
    core.handshake_ended();
    assert_eq!(core.connections(), Connections::default());
}
