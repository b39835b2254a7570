//! KONG.md §7.3, §7.4: where settings come from, where threads run, and what verbs print, with the real process.

use crate::support::client::get;
use crate::support::entities::service_with;
use crate::support::external::weak_pair;
use crate::support::{Client, Folder, Gateway, Setup, Upstream, Value, json, until};
use std::process::{Command, Output};

/// One route; ready means configured.
fn something() -> Setup {
    Setup::new(json!({"routes": [{"name": "r", "paths": ["/"]}]}))
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_flag_outranks_our_variable_that_outranks_kongs_that_outranks_the_file() {
    let directive = "nginx_http_keepalive_requests";
    let (kong, own) = (
        ("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS", "12"),
        ("SALLYPORT_NGINX_HTTP_KEEPALIVE_REQUESTS", "13"),
    );
    let flag = format!("{directive}=14");
    // (file, environment, flags, value in force)
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let rows: [Row<'_>; 6] = [
        ("", &[], &[], "10000"),
        ("11", &[], &[], "11"),
        ("11", &[kong], &[], "12"),
        ("11", &[own, kong], &[], "13"),
        ("11", &[own, kong], &["--set", &flag], "14"),
        ("11", &[(own.0, "")], &[], "10000"),
    ];
    for (file, env, flags, value) in rows {
        let mut setup = something().set(directive, file);
        for (name, value) in env {
            setup = setup.env(name, value);
        }
        let output = setup.prepare().run("check", &[&["--vv"], flags].concat());
        let line = format!("\n{directive} = {value}\n");
        assert!(
            output.status.success() && out(&output).contains(&line),
            "{file} {env:?} {flags:?}: {}{}",
            out(&output),
            err(&output)
        );
    }
    // `start` reads the same sources: one request per connection.
    let gateway = something().env(kong.0, "1").start();
    let mut client = Client::plain(gateway.http());
    let response = client.send(get("a", "/")).response();
    assert_eq!(response.field("Connection"), Some("close"));
}

#[test]
fn names_that_are_not_ours_are_warned_of_or_refused_by_where_they_stand() {
    // (directive of the file, variable, words on standard error, accepted)
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], bool);
    let rows: [Row<'_>; 6] = [
        ("mem_cache_size", "", &["warning: ", "mem_cache_size"], true),
        (
            "",
            "KONG_MEM_CACHE_SIZE",
            &["warning: ", "mem_cache_size"],
            true,
        ),
        (
            "declarative_confg",
            "",
            &["error: ", "did you mean declarative_config?"],
            false,
        ),
        (
            "",
            "KONG_DECLARATIVE_CONFG",
            &["warning: ", "the nearest is KONG_DECLARATIVE_CONFIG"],
            true,
        ),
        ("", "KONG_SERVICE_HOST", &[], true),
        ("", "KONG_PROXY_SERVICE_PORT_HTTP", &[], true),
    ];
    for (directive, variable, words, accepted) in rows {
        let mut setup = something();
        if !directive.is_empty() {
            setup = setup.set(directive, "1");
        }
        if !variable.is_empty() {
            setup = setup.env(variable, "1");
        }
        let output = setup.prepare().run("check", &[]);
        let told = err(&output);
        assert_eq!(
            output.status.success(),
            accepted,
            "{directive}{variable}: {told}"
        );
        assert_eq!(
            told.is_empty(),
            words.is_empty(),
            "{directive}{variable}: {told}"
        );
        for word in words {
            assert!(told.contains(word), "{word} in {told}");
        }
    }
}

/// The CPUs of a list such as `0-3,8`.
fn cpus(list: &str) -> Vec<usize> {
    let number = |text: &str| text.parse::<usize>().expect("a CPU");
    list.trim()
        .split(',')
        .flat_map(|span| match span.split_once('-') {
            Some((first, last)) => number(first)..=number(last),
            None => number(span)..=number(span),
        })
        .collect()
}

fn status_line(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .to_owned()
}

fn own_mask() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    cpus(&status_line(&status, "Cpus_allowed_list:"))
}

#[test]
fn threads_stay_within_the_mask_that_taskset_gives() {
    let cpu = *own_mask().last().expect("a CPU");
    let prepared = something().set("cores", "").prepare();
    let check = |more: &[&str]| {
        Command::new("taskset")
            .args([
                "-c",
                &cpu.to_string(),
                env!("CARGO_BIN_EXE_sallyport"),
                "check",
                "-c",
            ])
            .arg(prepared.conf_path())
            .args(more)
            .output()
            .expect("taskset runs; tests/setup installs it")
    };
    // Every core is taken, so the control thread shares one.
    let placed = format!(
        "1 engine thread on CPU {cpu}; the control thread shares CPU {cpu} with an engine thread"
    );
    let output = check(&["--set", "nginx_worker_processes=auto"]);
    assert!(
        output.status.success() && out(&output).contains(&placed),
        "{output:?}"
    );
    let output = check(&["--set", "nginx_worker_processes=1000"]);
    assert!(
        output.status.success()
            && out(&output).contains(&placed)
            && err(&output).contains("nginx_worker_processes: 1000 engine threads"),
        "{output:?}"
    );
    let outside = cpu + 1;
    let output = check(&["--set", &format!("cores={outside}")]);
    let refusal = format!("cores: CPU {outside} is outside the CPU mask of this process ({cpu})");
    assert!(
        !output.status.success() && err(&output).contains(&refusal),
        "{output:?}"
    );
}

/// Name and CPUs of each thread.
fn threads(gateway: &Gateway) -> Vec<(String, Vec<usize>)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("its threads");
    let mut threads: Vec<_> = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        .map(|status| {
            let cpus = cpus(&status_line(&status, "Cpus_allowed_list:"));
            (status_line(&status, "Name:"), cpus)
        })
        .collect();
    threads.sort();
    threads
}

#[test]
fn each_core_has_one_pinned_thread_as_the_directives_say() {
    let mask = own_mask();
    let last = *mask.last().expect("a CPU");
    let engines = |gateway: &Gateway| -> Vec<_> {
        let threads = threads(gateway).into_iter();
        threads
            .filter(|(name, _)| name.starts_with("core-"))
            .collect()
    };
    let gateway = something().set("cores", last.to_string()).start();
    assert_eq!(engines(&gateway), [("core-0".to_owned(), vec![last])]);
    let gateway = something().workers(mask.len()).start();
    let expected: Vec<_> = mask
        .iter()
        .enumerate()
        .map(|(index, cpu)| (format!("core-{index}"), vec![*cpu]))
        .collect();
    assert_eq!(engines(&gateway).len(), expected.len());
    for thread in expected {
        assert!(engines(&gateway).contains(&thread), "{thread:?}");
    }
}

#[test]
fn start_keeps_its_number_in_the_prefix_and_quit_ends_it() {
    let mut gateway = something().start();
    let pid_file = gateway.files().folder().join("prefix/pids/sallyport.pid");
    let text = std::fs::read_to_string(&pid_file).expect("the pid file");
    assert_eq!(text.trim(), gateway.pid().to_string());
    assert!(gateway.is_running(), "in the foreground");
    let conf = gateway.files().conf_path();
    // It is our child: reaped while `quit` waits.
    let quit = std::thread::spawn(move || {
        let mut command = crate::support::gateway::sallyport();
        command
            .arg("quit")
            .arg("-c")
            .arg(conf)
            .output()
            .expect("the binary runs")
    });
    assert!(gateway.exit().success());
    let quit = quit.join().expect("quit");
    assert!(
        quit.status.success() && out(&quit).contains("Sallyport stopped gracefully"),
        "{quit:?}"
    );
    assert!(!pid_file.exists());
}

#[test]
fn verbs_are_those_of_the_issue_and_misuse_names_them() {
    let help = crate::support::gateway::sallyport()
        .arg("--help")
        .output()
        .expect("runs");
    for verb in [
        "start", "check", "demo", "reload", "stop", "quit", "health", "version", "config",
    ] {
        let known = out(&help)
            .lines()
            .any(|line| line.trim_start().starts_with(verb));
        assert!(known, "{verb} in {}", out(&help));
    }
    let version = crate::support::gateway::sallyport()
        .arg("version")
        .output()
        .expect("runs");
    assert_eq!(out(&version).trim(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn what_deserves_a_warning_is_told_once() {
    let upstream = Upstream::tls(&crate::support::Leaf::new("u").self_signed(), None);
    let document = json!({
        "services": [
            service_with("open", &upstream, json!({"paths": ["/open"]}), json!({"tls_verify": false, "tls_verify_depth": 7})),
            {"name": "stream", "protocol": "tcp", "host": "a", "port": 1},
        ],
        "routes": [{"name": "rpc", "protocols": ["grpc", "grpcs"], "paths": ["/rpc"]}],
    });
    let prepared = Setup::new(document.clone()).https_flags("http2").prepare();
    let output = prepared.run("check", &[]);
    assert!(output.status.success(), "{output:?}");
    let rows = [
        ("services[1] (name open).tls_verify: ", "not verified"),
        ("services[1] (name open).tls_verify_depth: ", "intermediate"),
        ("services[2] (name stream).protocol: ", "not yet served"),
        ("routes[1] (name rpc).protocols: ", "not yet served"),
        ("proxy_listen: `http2`", "HTTP/2 is not served yet"),
    ];
    let told = err(&output);
    for (place, words) in rows {
        assert_eq!(told.matches(place).count(), 1, "{place} in {told}");
        assert_eq!(
            told.lines()
                .filter(|line| line.contains(place) && line.contains(words))
                .count(),
            1,
            "{words} in {told}"
        );
    }
    assert_eq!(told.lines().count(), rows.len(), "{told}");

    // A start whose error log is standard error tells each once too.
    let gateway = Setup::new(document)
        .https_flags("http2")
        .set("proxy_error_log", "/dev/stderr")
        .start();
    until("the start to be told", || {
        gateway
            .read("output.log")
            .contains("cores are ready")
            .then_some(())
    });
    let told = gateway.read("output.log");
    for (place, _) in rows {
        assert_eq!(told.matches(place).count(), 1, "{place} in {told}");
    }
}

#[test]
fn check_tells_what_certificates_deserve_a_look() {
    use crate::support::{Ca, Leaf, Pair};
    let root = Ca::root("root");
    let middle = root.intermediate("middle");
    let other = Ca::root("other");
    let leaf = middle.server(&["a.test"]);
    let entity =
        |pair: &Pair, sni: &str| json!({"cert": pair.cert_pem, "key": pair.key_pem, "snis": [sni]});
    let rows: [(&str, Value, &str); 3] = [
        (
            "in the wrong order",
            entity(&leaf.clone().leaf_alone().with(&[&other]), "a"),
            "the chain is out of order",
        ),
        (
            "incomplete",
            entity(&leaf.clone().leaf_alone(), "b"),
            "the chain may be incomplete",
        ),
        (
            "expired",
            entity(&Leaf::new("old").valid(2001, 2002).self_signed(), "c"),
            "has expired",
        ),
    ];
    for (row, certificate, words) in rows {
        let prepared = Setup::new(json!({"certificates": [certificate]})).prepare();
        let output = prepared.run("check", &[]);
        let told = err(&output);
        let lines = told.lines().filter(|line| {
            line.starts_with("warning: ")
                && line.contains("certificates[1]")
                && line.contains(words)
        });
        assert_eq!(lines.count(), 1, "{row}: {told}");
    }
    // An RSA key below 2048 bits can be trusted with a warning; shown to clients it cannot be.
    let folder = Folder::new();
    let (cert, key) = weak_pair(folder.path());
    let read = |path| std::fs::read_to_string(path).expect("written by openssl");
    let (cert, key) = (read(cert), read(key));
    let prepared = Setup::new(json!({"ca_certificates": [{"cert": cert}]})).prepare();
    let output = prepared.run("check", &[]);
    assert!(
        output.status.success()
            && err(&output).contains("the certificate has a weak key: RSA of 1024 bits"),
        "{output:?}"
    );
    let prepared = Setup::new(json!({"certificates": [{"cert": cert, "key": key}]})).prepare();
    let output = prepared.run("check", &[]);
    assert!(
        !output.status.success()
            && err(&output).contains("certificates[1].key: invalid key: not a usable RSA (2048 to"),
        "{output:?}"
    );
    let sni = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9";
    let prepared = Setup::new(json!({"routes": [{"name": "r", "snis": [sni]}]})).prepare();
    let output = prepared.run("check", &[]);
    assert!(
        output.status.success() && err(&output).contains(&format!("'{sni}' looks like an id")),
        "{output:?}"
    );
}
