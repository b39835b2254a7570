//! KONG.md §7.4: verbs, texts and exit codes, run in this process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::settings::Database;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sallyport-cli-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in the temporary folder");
        path.display().to_string()
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("an UTF-8 path")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A declarative file is wrong when its name says so.
const HOOKS: Hooks = Hooks {
    start: |start| {
        let instance = Instance::of(&start.loaded.settings.prefix);
        let own = State::Running {
            pid: std::process::id() as i32,
        };
        let effective =
            fs::metadata(instance.effective_path()).map(|file| file.permissions().mode() & 0o777);
        ExitCode::from(
            if instance.state().ok() == Some(own) && effective.ok() == Some(0o600) {
                42
            } else {
                43
            },
        )
    },
    demo: |demo| ExitCode::from(if demo.once { 44 } else { 45 }),
    check_file: |settings| match &settings.declarative_config {
        Some(path) => checked(path),
        None => Checked::default(),
    },
    parse_file: |_, path, progress| {
        progress(1, 2);
        checked(path)
    },
    import: |_, path, progress, parsed| {
        progress(1, 2);
        let found = checked(path);
        if !found.errors.is_empty() {
            return Err(Refused::Parsing(found.errors));
        }
        parsed(&["a warning of the file".into()]);
        match path.ends_with("conflict.yml") {
            true => Err(Refused::Other(vec!["services: name is taken".into()])),
            false => Ok(vec!["a warning of the whole".into()]),
        }
    },
    export: |settings| match settings.database {
        Database::Off => Err(vec!["database: no store".into()]),
        Database::Embedded => Ok(Export {
            rows: 1,
            write: Box::new(|out| out.write_all(b"_format_version: \"3.0\"\n")),
        }),
    },
};

fn checked(path: &Path) -> Checked {
    match path.ends_with("bad.yml") {
        true => Checked {
            warnings: vec!["bad.yml:1: a warning".into()],
            errors: vec!["bad.yml:2: services.0.host: required field missing".into()],
            ..Checked::default()
        },
        false => Checked::default(),
    }
}

fn sallyport(args: &[&str]) -> (ExitCode, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run_args(
        std::iter::once(&"sallyport").chain(args),
        &HOOKS,
        &mut out,
        &mut err,
    );
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8 output");
    (code, text(out), text(err))
}

/// `ExitCode` compares by nothing but its debug text.
fn is(code: ExitCode, number: u8) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::from(number))
}

#[test]
fn check_says_which_file_is_valid_and_where_threads_run() {
    let folder = Folder::new();
    let conf = folder.file("s.conf", "log_level = warn\nproxy_listen = off\n");
    for args in [vec!["check", &conf], vec!["check", "-c", &conf]] {
        let (code, out, err) = sallyport(&args);
        assert!(is(code, 0), "{err}");
        assert_eq!(err, "");
        assert!(
            out.ends_with(&format!("configuration at {conf} is valid\n")),
            "{out}"
        );
        assert!(out.contains("the control thread"), "{out}");
    }
}

#[test]
fn check_prints_every_error_of_settings_and_declarative_file() {
    let folder = Folder::new();
    let conf = folder.file(
        "s.conf",
        "log_level = loud\nproxy_listen = off\ndatabase = off\ndeclarative_config = bad.yml\nssl_cert = /nowhere/c.pem\nssl_cert_key = /nowhere/k.pem\n",
    );
    let (code, out, err) = sallyport(&["check", &conf, "--set", "engine=kqueue"]);
    assert!(is(code, 1));
    assert_eq!(out, "");
    for line in [
        "warning: bad.yml:1: a warning".to_owned(),
        format!("error: {conf}:1: log_level: `loud` is not known"),
        "error: flag --set: engine: `kqueue` is not known".to_owned(),
        // §4.2, wire texts.
        format!(
            "error: {conf}:5: ssl_cert: failed loading certificate from /nowhere/c.pem: No such file"
        ),
        format!(
            "error: {conf}:6: ssl_cert_key: failed loading key from /nowhere/k.pem: No such file"
        ),
        "error: bad.yml:2: services.0.host: required field missing".to_owned(),
        format!("error: configuration at {conf} is not valid (5 errors)"),
    ] {
        assert_eq!(err.matches(&line).count(), 1, "{line} in {err}");
    }
}

#[test]
fn check_loads_the_pem_files_that_settings_name() {
    let folder = Folder::new();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let cert = folder.file("c.pem", &pair.cert.pem());
    let key = folder.file("k.pem", &pair.signing_key.serialize_pem());
    let lines = |cert: &str, key: &str| {
        format!(
            "proxy_listen = off\nssl_cert = {cert}\nssl_cert_key = {key}\nlua_ssl_trusted_certificate = {cert}\n"
        )
    };
    let good = folder.file("good.conf", &lines(&cert, &key));
    let (code, _, err) = sallyport(&["check", &good]);
    assert!(is(code, 0), "{err}");
    let swapped = folder.file("swapped.conf", &lines(&key, &cert));
    let (code, _, err) = sallyport(&["check", &swapped]);
    assert!(
        is(code, 1) && err.matches("failed loading").count() == 3,
        "{err}"
    );
    assert_eq!(
        err.matches(": it holds no PEM certificate").count(),
        2,
        "{err}"
    );
    assert_eq!(err.matches(": it holds no PEM key").count(), 1, "{err}");
    let sealed = folder.file("sealed.pem", ENCRYPTED_KEY);
    let locked = folder.file("locked.conf", &lines(&cert, &sealed));
    let (code, _, err) = sallyport(&["check", &locked]);
    assert!(
        is(code, 1) && err.contains(&format!("from {sealed}: it is encrypted")),
        "{err}"
    );
}

#[test]
fn a_hosts_file_that_is_named_must_be_there() {
    let folder = Folder::new();
    let hosts = folder.file("hosts", "127.0.0.1 a.test\n");
    for (path, why) in [
        (hosts, None),
        (format!("{}/none", folder.path()), Some("No such file")),
        (folder.path().to_owned(), Some("is a directory")),
    ] {
        let set = format!("dns_hostsfile={path}");
        let (code, _, err) = sallyport(&["check", "-c", "/dev/null", "--set", &set]);
        assert!(is(code, u8::from(why.is_some())), "{err}");
        if let Some(why) = why {
            let told = format!("error: flag --set: dns_hostsfile: {path}: {why}");
            assert!(err.contains(&told), "{told} in {err}");
        }
    }
}

const ENCRYPTED_KEY: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";

#[test]
fn an_unreadable_settings_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let missing = format!("{}/none.conf", folder.path());
    for verb in ["check", "start", "health", "stop"] {
        let (code, _, err) = sallyport(&[verb, "-c", &missing]);
        assert!(
            is(code, 1)
                && err.contains(&format!(
                    "error: {missing}: the settings file cannot be read"
                )),
            "{verb}: {err}"
        );
    }
    // What addresses a running gateway needs the prefix only.
    let (_, _, err) = sallyport(&["health", "-c", &missing, "-p", folder.path()]);
    assert_eq!(
        err,
        format!("error: Sallyport is not running at {}\n", folder.path())
    );
}

#[test]
fn config_parse_tells_good_from_bad() {
    let folder = Folder::new();
    let conf = folder.file("s.conf", "proxy_listen = off\n");
    let (code, out, err) = sallyport(&["config", "parse", "good.yml", "-c", &conf]);
    assert!(is(code, 0), "{err}");
    assert_eq!(out, "parse successful\n");
    let (code, out, err) = sallyport(&["config", "parse", "bad.yml", "-c", &conf]);
    assert!(is(code, 1) && out.is_empty());
    assert!(
        err.contains("Failed parsing:\nerror: bad.yml:2: services.0.host"),
        "{err}"
    );
}

/// KONG.md §7.4.
#[test]
fn db_import_tells_how_far_it_came() {
    let folder = Folder::new();
    let conf = folder.file("s.conf", "proxy_listen = off\n");
    let warned = "warning: a warning of the file\n";
    // (file, exit code, standard output, standard error)
    let rows = [
        (
            "good.yml",
            0,
            "parse successful, beginning import\nimport successful\n",
            format!("{warned}warning: a warning of the whole\n"),
        ),
        (
            "bad.yml",
            1,
            "",
            "error: Failed parsing:\nerror: bad.yml:2: services.0.host: required field missing\n"
                .into(),
        ),
        (
            "conflict.yml",
            1,
            "parse successful, beginning import\n",
            format!("{warned}error: services: name is taken\nerror: nothing has been imported\n"),
        ),
    ];
    for (file, code, on_out, on_err) in rows {
        let (ended, out, err) = sallyport(&["config", "db_import", file, "-c", &conf]);
        assert!(is(ended, code), "{file}");
        assert_eq!((out.as_str(), err), (on_out, on_err), "{file}");
    }
}

#[test]
fn db_export_writes_a_private_file_and_replaces_one_only_by_force() {
    let folder = Folder::new();
    let conf = folder.file("s.conf", "proxy_listen = off\n");
    let target = folder.0.join("out.yml").display().to_string();
    let export = |more: &[&str]| sallyport(&[&["config", "db_export", "-c", &conf], more].concat());
    let text = || fs::read_to_string(&target).expect("the file");
    let (code, out, err) = export(&[&target]);
    assert!(is(code, 0), "{err}");
    assert_eq!(out, format!("1 row exported to {target}\n"));
    assert_eq!(text(), "_format_version: \"3.0\"\n");
    let mode = || {
        fs::metadata(&target)
            .expect("the file")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(), 0o600);

    fs::write(&target, "mine").expect("a file");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).expect("its mode");
    let (code, out, err) = export(&[&target]);
    assert!(
        is(code, 1) && out.is_empty() && err.contains("--force"),
        "{err}"
    );
    assert_eq!(text(), "mine");
    let (code, _, err) = export(&[&target, "--force"]);
    assert!(is(code, 0), "{err}");
    assert_eq!(
        (text().as_str(), mode()),
        ("_format_version: \"3.0\"\n", 0o600)
    );

    let (code, out, _) = export(&["-"]);
    assert!(is(code, 0));
    assert_eq!(out, "_format_version: \"3.0\"\n");
    let (code, out, err) = export(&[&format!("{}/none/out.yml", folder.path())]);
    assert!(
        is(code, 1) && out.is_empty() && err.contains("none/out.yml"),
        "{err}"
    );
    let (code, _, err) = export(&["-", "--set", "database=off"]);
    assert!(is(code, 1));
    assert_eq!(err, "error: database: no store\n");
    // What it wrote under other names on the way is gone.
    let mut names: Vec<String> = fs::read_dir(&folder.0)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["out.yml", "s.conf"]);
}

#[test]
fn config_parse_does_not_look_at_the_database() {
    for value in ["postgres", "off", "embedded"] {
        let set = format!("database={value}");
        let args = [
            "config",
            "parse",
            "good.yml",
            "-c",
            "/dev/null",
            "--set",
            &set,
        ];
        let (code, out, err) = sallyport(&args);
        assert!(is(code, 0) && out == "parse successful\n", "{value}: {err}");
    }
    let args = ["config", "db_import", "good.yml", "-c", "/dev/null"];
    let (code, _, err) = sallyport(&[&args[..], &["--set", "database=postgres"]].concat());
    assert!(is(code, 1) && err.contains("database"), "{err}");
}

#[test]
fn start_holds_the_prefix_while_the_engine_runs() {
    let folder = Folder::new();
    let conf = folder.file("s.conf", &format!("prefix = {}/run\n", folder.path()));
    let (code, out, err) = sallyport(&["start", "-c", &conf]);
    assert!(is(code, 42), "{err}");
    let run = format!("{}/run", folder.path());
    let told = format!("Sallyport starts in {run}; more is in {run}/logs/error.log\n");
    assert!(out.is_empty() && err.ends_with(&told), "{err}");
    let (_, _, err) = sallyport(&["start", "-c", &conf, "--set", "proxy_error_log=/dev/stderr"]);
    assert!(!err.contains("starts in"), "its log says so: {err}");
    let instance = Instance::of(&folder.0.join("run"));
    assert_eq!(instance.state().ok(), Some(State::Stopped));
    assert!(!instance.pid_path().exists());
}

#[test]
fn a_prefix_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = Folder::new();
    // Below a file: no one may write there, not even root.
    let prefix = format!("{}/x", folder.file("file", ""));
    let (code, _, err) = sallyport(&["start", "-c", "/dev/null", "-p", &prefix]);
    assert!(is(code, 1));
    let expected = format!("error: prefix: {prefix}: Not a directory");
    assert!(err.contains(&expected), "{err}");
    assert!(
        err.contains("another folder can be chosen with -p"),
        "{err}"
    );
}

#[test]
fn the_folder_of_keys_is_closed_to_others() {
    let folder = Folder::new();
    let ssl = folder.0.join("ssl");
    let mode = || fs::metadata(&ssl).expect("a folder").permissions().mode() & 0o777;
    for open in [false, true] {
        if open {
            fs::set_permissions(&ssl, fs::Permissions::from_mode(0o755)).expect("set");
        }
        let (code, _, err) = sallyport(&["start", "-c", "/dev/null", "-p", folder.path()]);
        assert!(is(code, 42), "{err}");
        assert_eq!(mode(), 0o700);
    }
}

#[test]
fn start_is_refused_where_a_gateway_runs_already() {
    let folder = Folder::new();
    let mut child = held(&folder, "exec sleep 60");
    let (code, _, err) = sallyport(&["start", "-c", "/dev/null", "-p", folder.path()]);
    assert!(is(code, 1));
    assert!(
        err.contains(&format!(
            "Sallyport is already running in {} (pid {})",
            folder.path(),
            child.id()
        )),
        "{err}"
    );
    child
        .kill()
        .and_then(|()| child.wait())
        .expect("the child ends");
}

#[test]
fn a_pid_file_left_behind_is_no_running_gateway() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("pids")).expect("a folder");
    // The number of a process that lives: this one.
    fs::write(
        folder.0.join("pids/sallyport.pid"),
        std::process::id().to_string(),
    )
    .expect("a pid file");
    for verb in ["health", "stop", "quit", "reload"] {
        let (code, out, err) = sallyport(&[verb, "-c", "/dev/null", "-p", folder.path()]);
        assert!(is(code, 1) && out.is_empty());
        assert_eq!(
            err,
            format!("error: Sallyport is not running at {}\n", folder.path())
        );
    }
    let (code, _, err) = sallyport(&["start", "-c", "/dev/null", "-p", folder.path()]);
    assert!(is(code, 42), "{err}");
}

#[test]
fn health_names_the_prefix_of_a_running_gateway() {
    let folder = Folder::new();
    let mut child = held(&folder, "exec sleep 60");
    let (code, out, _) = sallyport(&["health", "-c", "/dev/null", "-p", folder.path()]);
    assert!(is(code, 0));
    assert_eq!(
        out,
        format!(
            "sallyport...running\n\nSallyport is healthy at {}\n",
            folder.path()
        )
    );
    child
        .kill()
        .and_then(|()| child.wait())
        .expect("the child ends");
}

#[test]
fn verbs_send_their_signals() {
    let rows: &[(&[&str], &str, i32, &str)] = &[
        (
            &["stop"],
            "exec sleep 60",
            libc::SIGTERM,
            "Sallyport stopped\n",
        ),
        (
            &["quit"],
            "exec sleep 60",
            libc::SIGQUIT,
            "Sallyport stopped gracefully\n",
        ),
        (
            &["quit", "-t", "0"],
            "trap '' QUIT; exec sleep 60",
            libc::SIGKILL,
            "Sallyport stopped by force: the time was up\n",
        ),
        (
            &["reload"],
            "exec sleep 60",
            libc::SIGHUP,
            "reads its configuration again",
        ),
    ];
    for (verb, script, signal, said) in rows {
        let folder = Folder::new();
        let mut child = held(&folder, script);
        let (code, out, err) =
            sallyport(&[*verb, &["-c", "/dev/null", "-p", folder.path()]].concat());
        assert!(is(code, 0), "{verb:?}: {err}");
        assert!(out.ends_with(said) || out.contains(said), "{verb:?}: {out}");
        assert_eq!(
            child.wait().expect("the child ends").signal(),
            Some(*signal),
            "{verb:?}"
        );
    }
}

#[test]
fn stop_says_when_the_gateway_does_not_end() {
    let folder = Folder::new();
    let mut child = held(&folder, "trap '' TERM; exec sleep 60");
    let (code, _, err) = sallyport(&["stop", "-t", "0", "-c", "/dev/null", "-p", folder.path()]);
    assert!(is(code, 1) && err.contains("still runs after 0 s"), "{err}");
    child
        .kill()
        .and_then(|()| child.wait())
        .expect("the child ends");
}

#[test]
fn version_prints_the_number_alone_or_with_libraries() {
    let (code, out, _) = sallyport(&["version"]);
    assert!(is(code, 0));
    assert_eq!(out, format!("{}\n", env!("CARGO_PKG_VERSION")));
    let (_, out, _) = sallyport(&["version", "-a"]);
    for name in ["sallyport 0", "rustls 0", "monoio 0", "ring 0"] {
        assert!(
            out.lines().any(|line| line.starts_with(name)),
            "{name} in {out}"
        );
    }
}

#[test]
fn demo_passes_its_options_on_and_misuse_is_refused() {
    assert!(is(sallyport(&["demo", "--once"]).0, 44));
    assert!(is(sallyport(&["demo"]).0, 45));
    for args in [
        &[][..],
        &["starts"],
        &["check", "--set", "x"],
        &["check", "--set", "=1"],
        &["stop", "-t", "soon"],
    ] {
        let (code, out, err) = sallyport(args);
        assert!(is(code, 2) && out.is_empty() && !err.is_empty(), "{args:?}");
    }
    let (code, out, _) = sallyport(&["--help"]);
    assert!(is(code, 0) && out.contains("reload"));
}

/// A process that holds the pid file as a gateway does, then runs `script`.
fn held(folder: &Folder, script: &str) -> Child {
    let pids = folder.0.join("pids");
    fs::create_dir_all(&pids).expect("a folder");
    let path = pids.join("sallyport.pid");
    let prelude = format!("exec 9<>\"$0\" && flock -n 9 && {}", "echo $$ >\"$0\"");
    // The traps stand before the number is written, so that no signal comes too early.
    let (traps, rest) = script
        .rsplit_once("exec ")
        .map_or(("", script), |(traps, _)| (traps, &script[traps.len()..]));
    let child = Command::new("sh")
        .arg("-c")
        .arg(format!("{traps} {prelude} && {rest}"))
        .arg(&path)
        .spawn()
        .expect("sh runs");
    wait_for(&path, child.id());
    child
}

fn wait_for(path: &Path, pid: u32) {
    for _ in 0..1_000 {
        if fs::read_to_string(path).is_ok_and(|text| text.trim() == pid.to_string()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the pid file {} was never written", path.display());
}
