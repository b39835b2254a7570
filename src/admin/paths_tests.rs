//! Every path of KONG.md §2.1, and what is none.
use super::*;

const ID: &str = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";

fn key(text: &str) -> Address {
    Address::Key(text.to_owned())
}

fn below_row(parent: Kind, address: &str, child: Kind, field: &'static str) -> Children {
    Children {
        parent,
        address: key(address),
        child,
        field,
    }
}

fn row_of_foreign(from: Kind, address: &str, field: &'static str, to: Kind) -> Endpoint {
    Endpoint::Foreign {
        from,
        address: key(address),
        field,
        to,
    }
}

fn health(address: Option<&str>, healthy: bool) -> Endpoint {
    Endpoint::TargetHealth {
        upstream: key("u"),
        target: key("t:80"),
        address: address.map(str::to_owned),
        healthy,
    }
}

#[test]
fn each_path_names_one_thing() {
    use Kind::*;
    let row = |kind, address| Endpoint::Row(kind, key(address));
    let nested = |parent, address, child, field| {
        Endpoint::Children(below_row(parent, address, child, field))
    };
    let child = |parent, address, child, field, of| {
        Endpoint::Child(below_row(parent, address, child, field), key(of))
    };
    for (path, endpoint) in [
        ("/services", Endpoint::Collection(Services)),
        ("/services/s", row(Services, "s")),
        (
            "/services/s/routes",
            nested(Services, "s", Routes, "service"),
        ),
        (
            "/services/s/routes/r",
            child(Services, "s", Routes, "service", "r"),
        ),
        (
            "/services/s/plugins",
            nested(Services, "s", Plugins, "service"),
        ),
        (
            "/services/s/plugins/p",
            child(Services, "s", Plugins, "service", "p"),
        ),
        (
            "/services/s/client_certificate",
            row_of_foreign(Services, "s", "client_certificate", Certificates),
        ),
        ("/routes", Endpoint::Collection(Routes)),
        ("/routes/r", row(Routes, "r")),
        (
            "/routes/r/service",
            row_of_foreign(Routes, "r", "service", Services),
        ),
        ("/routes/r/plugins", nested(Routes, "r", Plugins, "route")),
        (
            "/routes/r/plugins/p",
            child(Routes, "r", Plugins, "route", "p"),
        ),
        ("/certificates", Endpoint::Collection(Certificates)),
        (
            "/certificates/*.example.com",
            row(Certificates, "*.example.com"),
        ),
        (
            "/certificates/c/snis",
            nested(Certificates, "c", Snis, "certificate"),
        ),
        (
            "/certificates/c/snis/a.b",
            child(Certificates, "c", Snis, "certificate", "a.b"),
        ),
        (
            "/certificates/c/services",
            nested(Certificates, "c", Services, "client_certificate"),
        ),
        (
            "/certificates/c/services/s",
            child(Certificates, "c", Services, "client_certificate", "s"),
        ),
        (
            "/certificates/c/upstreams",
            nested(Certificates, "c", Upstreams, "client_certificate"),
        ),
        (
            "/certificates/c/upstreams/u",
            child(Certificates, "c", Upstreams, "client_certificate", "u"),
        ),
        ("/snis", Endpoint::Collection(Snis)),
        ("/snis/%2A.a.b", row(Snis, "*.a.b")),
        ("/ca_certificates", Endpoint::Collection(CaCertificates)),
        ("/ca_certificates/x", row(CaCertificates, "x")),
        ("/consumers", Endpoint::Collection(Consumers)),
        ("/consumers/c", row(Consumers, "c")),
        (
            "/consumers/c/plugins",
            nested(Consumers, "c", Plugins, "consumer"),
        ),
        (
            "/consumers/c/plugins/p",
            child(Consumers, "c", Plugins, "consumer", "p"),
        ),
        (
            "/consumers/c/acls",
            nested(Consumers, "c", Acls, "consumer"),
        ),
        (
            "/consumers/c/acls/gold",
            child(Consumers, "c", Acls, "consumer", "gold"),
        ),
        (
            "/consumers/c/mtls-auth",
            nested(Consumers, "c", MtlsAuthCredentials, "consumer"),
        ),
        (
            "/consumers/c/mtls-auth/x",
            child(Consumers, "c", MtlsAuthCredentials, "consumer", "x"),
        ),
        ("/acls", Endpoint::Collection(Acls)),
        ("/acls/x", row(Acls, "x")),
        (
            "/acls/x/consumer",
            row_of_foreign(Acls, "x", "consumer", Consumers),
        ),
        ("/mtls-auths", Endpoint::Collection(MtlsAuthCredentials)),
        ("/mtls-auths/x", row(MtlsAuthCredentials, "x")),
        (
            "/mtls-auths/x/consumer",
            row_of_foreign(MtlsAuthCredentials, "x", "consumer", Consumers),
        ),
        ("/plugins", Endpoint::Collection(Plugins)),
        ("/plugins/p", row(Plugins, "p")),
        (
            "/plugins/p/service",
            row_of_foreign(Plugins, "p", "service", Services),
        ),
        (
            "/plugins/p/route",
            row_of_foreign(Plugins, "p", "route", Routes),
        ),
        (
            "/plugins/p/consumer",
            row_of_foreign(Plugins, "p", "consumer", Consumers),
        ),
        ("/plugins/enabled", Endpoint::PluginsEnabled),
        (
            "/plugins/schema/acl",
            Endpoint::PluginConfigSchema("acl".into()),
        ),
        ("/upstreams", Endpoint::Collection(Upstreams)),
        ("/upstreams/u", row(Upstreams, "u")),
        (
            "/upstreams/u/targets",
            nested(Upstreams, "u", Targets, "upstream"),
        ),
        (
            "/upstreams/u/targets/t:80",
            child(Upstreams, "u", Targets, "upstream", "t:80"),
        ),
        ("/upstreams/u/targets/all", Endpoint::AllTargets(key("u"))),
        ("/upstreams/u/health", Endpoint::UpstreamHealth(key("u"))),
        ("/upstreams/u/targets/t:80/healthy", health(None, true)),
        ("/upstreams/u/targets/t:80/unhealthy", health(None, false)),
        (
            "/upstreams/u/targets/t:80/10.0.0.1:80/healthy",
            health(Some("10.0.0.1:80"), true),
        ),
        (
            "/upstreams/u/targets/t:80/10.0.0.1:80/unhealthy",
            health(Some("10.0.0.1:80"), false),
        ),
        (
            "/upstreams/u/client_certificate",
            row_of_foreign(Upstreams, "u", "client_certificate", Certificates),
        ),
        ("/tags", Endpoint::Tags),
        ("/tags/a%20b", Endpoint::Tag("a b".into())),
        ("/schemas/services", Endpoint::Schema("services".into())),
        ("/schemas/plugins", Endpoint::Schema("plugins".into())),
        ("/schemas/plugins/acl", Endpoint::PluginSchema("acl".into())),
        (
            "/schemas/services/validate",
            Endpoint::Validate("services".into()),
        ),
        (
            "/schemas/plugins/validate",
            Endpoint::Validate("plugins".into()),
        ),
        ("/", Endpoint::Root),
        ("/status", Endpoint::Status),
        ("/endpoints", Endpoint::Endpoints),
        ("/timers", Endpoint::Timers),
        ("/config", Endpoint::Config),
        ("/cache/a%2Fb", Endpoint::Cache("a/b".into())),
        ("/clustering/data-planes", Endpoint::DataPlanes),
        ("/clustering/status", Endpoint::ClusteringStatus),
        ("/debug/node/log-level", Endpoint::LogLevel),
        (
            "/debug/node/log-level/debug",
            Endpoint::SetLogLevel("debug".into()),
        ),
        ("/workspaces", Endpoint::Workspaces),
        ("/workspaces/default", Endpoint::Workspace),
    ] {
        assert_eq!(resolve(path), Some(endpoint.clone()), "2.1: {path}");
        if path != "/" {
            let slash = format!("{path}/");
            assert_eq!(resolve(&slash), Some(endpoint.clone()), "2.1: {slash}");
        }
        let alias = format!("/default{path}");
        assert_eq!(resolve(&alias), Some(endpoint), "1.13: {alias}");
    }
    for path in ["//", "/default", "/default/", "/default/kong"] {
        assert_eq!(
            resolve(path),
            Some(Endpoint::Root),
            "clients 5, row 23: {path}"
        );
    }
}

#[test]
fn what_is_no_path_is_not_found() {
    for (section, path) in [
        ("2.1", "/snis/a.b/certificate"),
        ("2.1", "/targets"),
        ("2.1", "/targets/x"),
        ("2.1", "/mtls-auth"),
        ("2.1", "/mtls_auth_credentials"),
        ("2.1", "/consumers/c/mtls-auths"),
        ("2.1", "/services//routes"),
        ("2.1", "/services/s//"),
        ("2.1", "///"),
        ("2.1", "/services/s/consumers"),
        ("2.1", "/services/s/routes/r/plugins"),
        ("2.1", "/upstreams/u/targets/t/sick"),
        ("2.1", "services"),
        ("2.1", ""),
        ("2.1 not UTF-8", "/services/%FF"),
        ("2.8", "/licenses"),
        ("2.8", "/vaults"),
        ("2.8", "/consumer_groups"),
        ("clients 1.3", "/workspaces/other"),
        ("clients 1.3", "/other/services"),
        ("1.13 once", "/default/default/services"),
        ("bound", "/upstreams/u/targets/t/a/healthy/b/c/d/e"),
    ] {
        assert_eq!(resolve(path), None, "{section}: {path}");
    }
}

#[test]
fn a_segment_that_is_a_uuid_is_an_id() {
    let id: Uuid = ID.parse().unwrap();
    for (section, segment, address) in [
        ("2.1", ID.to_owned(), Address::Id(id)),
        ("1.1 any case", ID.to_uppercase(), Address::Id(id)),
        (
            "1.1 no hyphens",
            ID.replace('-', ""),
            key(&ID.replace('-', "")),
        ),
        (
            "1.1 braces",
            format!("%7B{ID}%7D"),
            key(&format!("{{{ID}}}")),
        ),
        ("6.22 letters", "gr%C3%B6%C3%9Fe".to_owned(), key("größe")),
        ("6.22 slash", "a%2Fb".to_owned(), key("a/b")),
    ] {
        assert_eq!(
            resolve(&format!("/services/{segment}")),
            Some(Endpoint::Row(Kind::Services, address)),
            "{section}: {segment}"
        );
    }
}

#[test]
fn each_endpoint_has_its_methods() {
    for (section, path, list) in [
        ("2.7", "/", "GET, HEAD, OPTIONS"),
        ("2.7", "/status", "GET, HEAD, OPTIONS"),
        ("2.7", "/services", "GET, HEAD, OPTIONS, POST"),
        ("2.1", "/services/s/routes", "GET, HEAD, OPTIONS, POST"),
        (
            "2.7",
            "/services/s",
            "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
        ),
        (
            "2.1",
            "/services/s/routes/r",
            "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
        ),
        ("2.1", "/routes/r/service", "GET, HEAD, OPTIONS, PATCH, PUT"),
        ("2.1", "/schemas/services/validate", "OPTIONS, POST"),
        ("7.2", "/config", "GET, HEAD, OPTIONS, POST"),
        (
            "clients 3.2",
            "/upstreams/u/targets/t/healthy",
            "OPTIONS, PUT",
        ),
    ] {
        let allowed: Vec<&str> = list.split(", ").collect();
        assert_eq!(
            resolve(path).unwrap().methods(),
            allowed,
            "{section}: {path}"
        );
    }
}

#[test]
fn the_listing_names_paths_that_exist() {
    let paths = all();
    assert!(paths.is_sorted());
    for path in [
        "/",
        "/acls",
        "/acls/{acls}",
        "/services/{services}/routes/{routes}",
    ] {
        assert!(paths.iter().any(|listed| listed == path), "2.8: {path}");
    }
    for path in paths {
        let plain = path.replace(['{', '}'], "");
        assert!(resolve(&plain).is_some(), "2.8: {path}");
    }
}

#[test]
fn no_path_makes_it_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let alphabet: &[u8] = b"/%2fF.*-default services plugins {}\xff";
    for _ in 0..20_000 {
        let mut path = Vec::new();
        for _ in 0..24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push(alphabet[(state % alphabet.len() as u64) as usize]);
        }
        let path = String::from_utf8_lossy(&path);
        if let Some(endpoint) = resolve(&format!("/{path}")) {
            assert!(!endpoint.methods().is_empty());
        }
    }
}
