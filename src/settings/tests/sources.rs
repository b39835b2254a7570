//! KONG.md §7.3: file grammar, precedence, names that are not ours.

use super::super::file::{Content, lines};
use super::super::kong_names::is_kongs;
use super::*;

fn sources(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some(("s.conf".into(), file.into())),
        env: env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        flags: flags
            .iter()
            .map(|(name, value)| Flag {
                flag: "--set",
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
    }
}

#[test]
fn file_lines_are_name_equals_value() {
    let rows: &[(&str, Option<(&str, &str)>)] = &[
        ("prefix = /a", Some(("prefix", "/a"))),
        ("prefix=/a", Some(("prefix", "/a"))),
        ("\tprefix\t=  /a  ", Some(("prefix", "/a"))),
        ("prefix = /a # why", Some(("prefix", "/a"))),
        ("prefix = /a\\#b # why", Some(("prefix", "/a#b"))),
        ("prefix = a=b", Some(("prefix", "a=b"))),
        ("prefix =", Some(("prefix", ""))),
        ("prefix = /a\r", Some(("prefix", "/a"))),
        ("prefix", None),
        ("= /a", None),
        ("pre fix = /a", None),
    ];
    for (text, expected) in rows {
        let content = match expected {
            Some((name, value)) => Content::Assignment {
                name,
                value: (*value).to_owned(),
            },
            None => Content::Unreadable,
        };
        let read = lines(text);
        assert!(
            read.len() == 1 && read[0].content == content,
            "{text}: {read:?}"
        );
    }
    assert_eq!(lines("# c\n\n   \n  # c").len(), 0);
    assert_eq!(lines("\u{feff}# c\n\nprefix = /a")[0].number, 3);
}

#[test]
fn flags_outrank_own_environment_outranks_kongs_outranks_file() {
    let file = "prefix = /file";
    let kong = ("KONG_PREFIX", "/kong");
    let own = ("SALLYPORT_PREFIX", "/own");
    let flag = ("prefix", "/flag");
    let rows: &[(Sources, &str, &str)] = &[
        (Sources::default(), "/usr/local/sallyport", "default"),
        (sources(file, &[], &[]), "/file", "s.conf:1"),
        (
            sources(file, &[kong], &[]),
            "/kong",
            "environment variable KONG_PREFIX",
        ),
        (
            sources(file, &[own, kong], &[]),
            "/own",
            "environment variable SALLYPORT_PREFIX",
        ),
        (sources(file, &[own, kong], &[flag]), "/flag", "flag --set"),
        (
            sources(file, &[own], &[("prefix", "/x"), flag]),
            "/flag",
            "flag --set",
        ),
        // An empty value or NONE stands for the default and outranks what is below.
        (
            sources(file, &[("KONG_PREFIX", "")], &[]),
            "/usr/local/sallyport",
            "default",
        ),
        (
            sources(file, &[kong], &[("prefix", "NONE")]),
            "/usr/local/sallyport",
            "default",
        ),
        (
            sources("prefix = /a\nprefix = /b", &[], &[]),
            "/b",
            "s.conf:2",
        ),
    ];
    for (sources, prefix, place) in rows {
        let loaded = load(sources).expect("a path");
        let source = loaded
            .given
            .get("prefix")
            .map_or(Source::Default, |given| given.source.clone());
        assert_eq!(
            (loaded.settings.prefix.to_str(), source.to_string().as_str()),
            (Some(*prefix), *place)
        );
    }
}

#[test]
fn the_inner_nginx_block_outranks_within_one_source() {
    let both = "nginx_proxy_send_timeout = 1s\nnginx_http_send_timeout = 2s";
    let seconds = |sources: &Sources| {
        load(sources)
            .expect("times")
            .settings
            .send_timeout
            .as_secs()
    };
    assert_eq!(seconds(&sources(both, &[], &[])), 1);
    assert_eq!(
        seconds(&sources(
            both,
            &[("KONG_NGINX_HTTP_SEND_TIMEOUT", "3s")],
            &[]
        )),
        3
    );
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let file = "log_level = loud\n\nnonsense\nproxy_listen = 8000\nprefx = /a\nssl_cert = /a.pem";
    let problems = load(&sources(
        file,
        &[("KONG_CLIENT_SSL", "maybe")],
        &[("engine", "kqueue")],
    ))
    .expect_err("six problems");
    let starts = [
        "s.conf:3: the line is not `name = value`",
        "s.conf:5: prefx: is no directive; did you mean prefix?",
        "s.conf:1: log_level: `loud` is not known; accepted: debug, info,",
        "flag --set: engine: `kqueue` is not known; accepted: auto, io_uring, epoll",
        "s.conf:4: proxy_listen: listener `8000`:",
        "environment variable KONG_CLIENT_SSL: client_ssl: `maybe` is not a switch",
        "s.conf:6: ssl_cert_key must be specified",
    ];
    let told = texts(&problems);
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (text, start) in told.iter().zip(starts) {
        assert!(text.starts_with(start), "{text}");
    }
}

/// The issue: a misspelt name is an error in the file and in flags, a warning in the environment.
#[test]
fn names_that_are_nobodys_are_refused_with_the_nearest() {
    let rows: &[(&str, Option<&str>)] = &[
        ("prefx", Some("prefix")),
        ("proxy_listn", Some("proxy_listen")),
        ("ssl_certkey", Some("ssl_cert_key")),
        ("PROXY_LISTEN", Some("proxy_listen")),
        ("proxy-listen", Some("proxy_listen")),
        ("declarative_confg", Some("declarative_config")),
        ("nginx_htpp_send_timeout", Some("nginx_http_send_timeout")),
        ("something_else_entirely", None),
    ];
    for (name, near) in rows {
        let expected = match near {
            Some(near) => format!("{name}: is no directive; did you mean {near}?"),
            None => format!("{name}: is no directive"),
        };
        let problems = load(&sources(&format!("{name} = 1"), &[], &[])).expect_err(name);
        assert_eq!(texts(&problems), [format!("s.conf:1: {expected}")]);
        let problems = load(&sources("", &[], &[(name, "1")])).expect_err(name);
        assert_eq!(texts(&problems), [format!("flag --set: {expected}")]);
    }
    let loaded = load(&sources("", &[("KONG_PREFX", "/a")], &[])).expect("a warning");
    assert_eq!(
        warned(&loaded),
        [
            "environment variable KONG_PREFX: prefx: is no directive, so the variable is ignored; the nearest is KONG_PREFIX"
        ]
    );
}

#[test]
fn names_of_kong_that_we_lack_are_warned_about() {
    for name in [
        "mem_cache_size",
        "db_update_frequency",
        "cluster_listen",
        "admin_gui_listen",
        "vaults",
        "nginx_http_gzip",
        "nginx_events_multi_accept",
        "nginx_proxy_proxy_ssl_name",
        "lua_socket_pool_size",
        "worker_consistency",
        "portal",
        "portal_gui_host",
    ] {
        assert!(is_kongs(name), "{name}");
        let file = load(&sources(&format!("{name} = 1"), &[], &[])).expect(name);
        assert_eq!(warned(&file).len(), 1, "{name}");
        assert!(
            file.warnings[0]
                .to_string()
                .starts_with(&format!("s.conf:1: {name}: is a directive of Kong that")),
            "{}",
            file.warnings[0]
        );
        let env = load(&sources(
            "",
            &[(&format!("KONG_{}", name.to_ascii_uppercase()), "1")],
            &[],
        ))
        .expect(name);
        assert_eq!(warned(&env).len(), 1, "{name}");
    }
    for name in ["pg_host", "pg_password", "untrusted_lua"] {
        let loaded = load(&sources(&format!("{name} = 1"), &[], &[])).expect(name);
        assert_eq!(warned(&loaded), Vec::<String>::new(), "{name}");
    }
    let unset = load(&sources(
        "proxy_server =\nlicense_path =  # none\n",
        &[],
        &[],
    ));
    assert_eq!(warned(&unset.expect("empty values")), Vec::<String>::new());
    let upstreams = load(&sources(
        "nginx_proxy_proxy_ssl_protocols = TLSv1.2",
        &[],
        &[],
    ));
    let upstreams = upstreams.expect("an injection");
    assert!(
        upstreams.warnings[0].message.ends_with("it is ignored"),
        "no name of the clients' side is proposed: {}",
        upstreams.warnings[0]
    );
    let near =
        load(&sources("nginx_http_client_hedaer_timeout = 1s", &[], &[])).expect("an injection");
    assert!(
        near.warnings[0]
            .message
            .ends_with("(did you mean nginx_http_client_header_timeout?)"),
        "{}",
        near.warnings[0]
    );
}

#[test]
fn no_directive_of_ours_is_listed_as_kongs_alone() {
    for directive in TABLE {
        for name in std::iter::once(&directive.name).chain(directive.aliases) {
            assert!(!is_kongs(name), "{name}");
        }
    }
}

#[test]
fn variables_of_orchestrators_are_passed_over() {
    let env = [
        ("KONG_SERVICE_HOST", "10.0.0.1"),
        ("KONG_SERVICE_PORT", "8000"),
        ("KONG_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("KONG_PROXY_SERVICE_PORT_KONG_PROXY_TLS", "443"),
        ("KONG_PORT", "tcp://10.0.0.1:8000"),
        ("KONG_ADMIN_PORT", "tcp://10.0.0.1:8001"),
        ("KONG_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("KONG_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("KONG_NAME", "/web/kong"),
        ("KONG_ENV_PATH", "/bin"),
        ("SALLYPORT_SERVICE_HOST", "10.0.0.1"),
        ("SALLYPORT_PORT_8443_TCP_PROTO", "tcp"),
        ("OTHER_PREFIX", "/x"),
    ];
    let loaded = load(&sources("", &env, &[])).expect("nothing of ours");
    assert_eq!(warned(&loaded), Vec::<String>::new());
    assert!(loaded.given.is_empty());
}

#[test]
fn a_directive_set_twice_in_the_file_is_warned_about() {
    let loaded = load(&sources("prefix = /a\nprefix = /b", &[], &[])).expect("the later counts");
    assert_eq!(
        warned(&loaded),
        ["s.conf:2: prefix: is set again; line 1 does not count"]
    );
}

#[test]
fn other_databases_are_refused_with_what_to_use() {
    for database in ["postgres", "cassandra"] {
        let problems = with(&[("database", database)]).expect_err(database);
        let text = problems[0].to_string();
        assert!(
            text.contains(database)
                && text.contains("database = embedded")
                && text.contains("config db_import")
                && text.contains("database = off")
                && text.contains("declarative_config"),
            "{text}"
        );
    }
}

#[test]
fn two_declarative_sources_are_refused() {
    let problems = with(&[
        ("database", "off"),
        ("declarative_config", "/a"),
        ("declarative_config_string", "{}"),
    ])
    .expect_err("two sources");
    assert_eq!(problems.len(), 1);
}

#[test]
fn the_effective_text_reads_back_as_the_same_settings() {
    let set = [
        ("prefix", "/a#b"),
        ("trusted_ips", "10.0.0.0/8,::1"),
        ("log_level", "warn"),
        ("proxy_listen", "127.0.0.1:0 ssl"),
    ];
    let loaded = with(&set).expect("values");
    let text = effective_text(&loaded);
    let again = load(&sources(&text, &[], &[]))
        .map_err(|problems| texts(&problems))
        .expect("its own text");
    assert_eq!(again.settings, loaded.settings);
    let secret = with(&[
        ("database", "off"),
        ("declarative_config_string", "key: hidden"),
    ])
    .expect("a text");
    assert!(!effective_text(&secret).contains("hidden"));
}

#[test]
fn a_reload_names_what_only_a_restart_takes() {
    let old = with(&[("prefix", "/a"), ("log_level", "warn")]).expect("values");
    let new = with(&[
        ("prefix", "/a"),
        ("log_level", "info"),
        ("engine", "epoll"),
        ("cores", "0"),
    ])
    .expect("values");
    assert_eq!(restart_needed(&old, &new), ["cores", "engine"]);
    // Naming the default changes nothing.
    assert_eq!(
        restart_needed(
            &with(&[]).expect("defaults"),
            &with(&[("engine", "auto")]).expect("default")
        ),
        Vec::<&str>::new()
    );
}

#[test]
fn a_reload_keeps_what_only_a_restart_takes() {
    let started = with(&[("prefix", "/a"), ("proxy_access_log", "off")]).expect("values");
    let mut read = with(&[("prefix", "/b"), ("log_level", "info"), ("engine", "epoll")])
        .expect("values")
        .settings;
    keep_until_restart(&mut read, &started.settings);
    let expected = with(&[
        ("prefix", "/a"),
        ("proxy_access_log", "off"),
        ("log_level", "info"),
    ]);
    assert_eq!(read, expected.expect("values").settings);
}

#[test]
fn every_directive_and_alias_is_taken_from_the_environment() {
    for directive in TABLE {
        for name in std::iter::once(&directive.name).chain(directive.aliases) {
            let variable = format!("SALLYPORT_{}", name.to_ascii_uppercase());
            let evaluated = evaluate(&Sources {
                env: vec![(variable.clone(), "1".to_owned())],
                ..Sources::default()
            });
            let given = evaluated.given.get(directive.name);
            let expected = Given {
                value: "1".to_owned(),
                source: Source::Env(variable.clone()),
            };
            assert_eq!(given, Some(&expected), "{variable}");
            assert!(
                !texts(&evaluated.warnings)
                    .iter()
                    .any(|w| w.contains("is no directive")),
                "{variable}"
            );
        }
    }
}

#[test]
fn what_a_reload_rebuilds_needs_no_restart() {
    // Listeners, threads, log files and the folder are the process's own; all else is made anew (control.rs).
    let restart: Vec<&str> = TABLE
        .iter()
        .filter(|directive| directive.change == Change::Restart)
        .map(|directive| directive.name)
        .collect();
    assert_eq!(
        restart,
        [
            "prefix",
            "proxy_access_log",
            "proxy_error_log",
            "admin_access_log",
            "admin_error_log",
            "status_access_log",
            "status_error_log",
            "nginx_worker_processes",
            "cores",
            "control_core",
            "engine",
            "accept_steering",
            "database",
            "proxy_listen",
            "admin_listen",
            "admin_listen_unprotected",
            "nginx_admin_client_max_body_size",
            "status_listen",
            "stream_listen",
            "tls_provider",
        ]
    );
}

#[test]
fn a_declarative_file_beside_the_store_is_refused_not_ignored() {
    for name in ["declarative_config", "declarative_config_string"] {
        for database in [&[][..], &[("database", "embedded")]] {
            let given: Vec<_> = database.iter().copied().chain([(name, "/a")]).collect();
            let problems = with(&given).expect_err(name);
            let text = problems[0].to_string();
            assert!(
                text.contains(name)
                    && text.contains("database = off")
                    && text.contains("config db_import"),
                "{text}"
            );
        }
    }
}

#[test]
fn the_admin_api_is_not_opened_to_others_without_tls_and_client_certificates() {
    const CA: (&str, &str) = ("admin_ssl_client_ca", "/ca.pem");
    const OPEN: (&str, &str) = ("admin_listen_unprotected", "on");
    // (listeners, other directives, refused)
    let table: &[(&str, &[(&str, &str)], bool)] = &[
        ("127.0.0.1:8001", &[], false),
        ("[::1]:8001", &[], false),
        ("127.0.0.1:8444 ssl", &[CA], false),
        ("0.0.0.0:8001", &[], true),
        ("[::]:8001", &[], true),
        ("192.0.2.1:8001", &[], true),
        ("0.0.0.0:8444 ssl", &[], true),
        ("0.0.0.0:8001", &[CA], true),
        ("0.0.0.0:8444 ssl", &[CA], false),
        ("127.0.0.1:8001, 0.0.0.0:8444 ssl", &[CA], false),
        ("0.0.0.0:8001", &[OPEN], false),
        ("0.0.0.0:8444 ssl", &[OPEN], false),
    ];
    for (listeners, others, refused) in table {
        let mut given = vec![("admin_listen", *listeners)];
        given.extend(*others);
        match (with(&given), refused) {
            (Err(problems), true) => {
                let text = problems[0].to_string();
                assert!(text.contains("admin_listen"), "{listeners}: {text}");
            }
            (Ok(loaded), false) => {
                let warned = warned(&loaded)
                    .iter()
                    .any(|text| text.contains("private keys"));
                assert_eq!(warned, others.contains(&OPEN), "{listeners} {others:?}");
            }
            (outcome, _) => panic!("{listeners} {others:?}: {:?}", outcome.err()),
        }
    }
}
