//! The gateway under test: the real binary with files of its own, ended with the test.

use super::client::Client;
use super::entities::service;
use super::wire::Response;
use super::{Folder, Leaf, PATIENCE, Pair, Port, Value, json, until};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a gateway is started with.
pub struct Setup {
    conf: BTreeMap<String, String>,
    declarative: Value,
    files: Vec<(String, String)>,
    env: Vec<(String, String)>,
    listen: Option<Listen>,
    http_flags: String,
    https_flags: String,
    admin: bool,
}

/// Writes `proxy_listen` given the http and the https port.
type Listen = Box<dyn Fn(u16, u16) -> String>;

impl Setup {
    /// `declarative`: the declarative file's content without `_format_version`.
    pub fn new(declarative: Value) -> Setup {
        Setup {
            conf: BTreeMap::new(),
            declarative,
            files: Vec::new(),
            env: Vec::new(),
            listen: None,
            http_flags: String::new(),
            https_flags: String::new(),
            admin: false,
        }
    }

    pub fn set(mut self, directive: &str, value: impl Into<String>) -> Setup {
        self.conf.insert(directive.to_owned(), value.into());
        self
    }

    /// A variable of the environment of every process started with these files.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the gateway's folder; `@name` in a directive's value becomes its path.
    pub fn file(mut self, name: &str, text: &str) -> Setup {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// The default pair shown to clients, as files.
    pub fn default_pair(self, pair: &Pair) -> Setup {
        self.file("default.crt", &pair.cert_pem)
            .file("default.key", &pair.key_pem)
            .set("ssl_cert", "@default.crt")
            .set("ssl_cert_key", "@default.key")
    }

    pub fn workers(self, count: usize) -> Setup {
        self.set("nginx_worker_processes", count.to_string())
    }

    /// Flags of the plain listener, e.g. `proxy_protocol`.
    pub fn http_flags(mut self, flags: &str) -> Setup {
        self.http_flags = flags.to_owned();
        self
    }

    pub fn https_flags(mut self, flags: &str) -> Setup {
        self.https_flags = flags.to_owned();
        self
    }

    /// A plain Admin listener on a free loopback port.
    pub fn with_admin(mut self) -> Setup {
        self.admin = true;
        self
    }

    pub fn listen(mut self, text: impl Fn(u16, u16) -> String + 'static) -> Setup {
        self.listen = Some(Box::new(text));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let gateway = self.spawn();
        gateway.wait_ready();
        gateway
    }

    /// The files, and no process.
    pub fn prepare(self) -> Prepared {
        let folder = Folder::new();
        let (http, https, status) = (Port::free(), Port::free(), Port::free());
        let admin = Port::free();
        let admin_listen = match self.admin {
            true => format!("127.0.0.1:{}", admin.number()),
            false => "off".to_owned(),
        };
        let listen = match &self.listen {
            Some(listen) => listen(http.number(), https.number()),
            None => format!(
                "127.0.0.1:{} reuseport {}, 127.0.0.1:{} ssl reuseport {}",
                http.number(),
                self.http_flags,
                https.number(),
                self.https_flags
            ),
        };
        let mut conf: BTreeMap<String, String> = BTreeMap::new();
        let mut default = |name: &str, value: String| conf.insert(name.to_owned(), value);
        default("prefix", folder.path().join("prefix").display().to_string());
        default("database", "off".into());
        default(
            "declarative_config",
            folder.path().join("kong.yml").display().to_string(),
        );
        default("admin_listen", admin_listen);
        default("engine", engine());
        default("nginx_worker_processes", "1".into());
        default("cores", core_of_this_one());
        default("proxy_listen", listen);
        default("status_listen", format!("127.0.0.1:{}", status.number()));
        default("proxy_access_log", "logs/access.log".into());
        default("proxy_error_log", "logs/error.log".into());
        default("log_level", "info".into());
        // An own key, and none that takes a while to generate; a value of "" asks for the generated pair.
        folder.file("shared.crt", &default_pair().cert_pem);
        folder.file("shared.key", &default_pair().key_pem);
        default("ssl_cert", "@shared.crt".into());
        default("ssl_cert_key", "@shared.key".into());
        conf.extend(self.conf);
        conf.retain(|_, value| !value.is_empty());
        if conf["nginx_worker_processes"] != "1" {
            conf.remove("cores");
        }
        for (name, text) in &self.files {
            folder.file(name, text);
        }
        let prepared = Prepared {
            folder,
            env: self.env,
            conf,
            http,
            https,
            status,
            admin,
        };
        prepared.write_conf();
        prepared.write_declarative(&self.declarative);
        prepared
    }

    fn spawn(self) -> Gateway {
        self.prepare().spawn()
    }
}

/// The default pair of gateways whose certificate is not the subject.
pub fn default_pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        Leaf::new("default.test")
            .dns(&["default.test"])
            .self_signed()
    })
}

/// `io_uring` or `epoll`, by the environment.
pub fn engine() -> String {
    match std::env::var("SALLYPORT_TEST_ENGINE") {
        Ok(engine) if !engine.is_empty() => engine,
        _ => "io_uring".to_owned(),
    }
}

/// Single-core gateways take turns, or all of them would share the first CPU.
fn core_of_this_one() -> String {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let mask: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    match mask.len() {
        0 => "auto".to_owned(),
        count => mask[TURN.fetch_add(1, Ordering::Relaxed) % count].to_string(),
    }
}

/// The binary with an environment that says nothing about Kong or us.
pub fn sallyport() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KONG_") || text.starts_with("SALLYPORT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A gateway's files and ports.
pub struct Prepared {
    folder: Folder,
    env: Vec<(String, String)>,
    conf: BTreeMap<String, String>,
    http: Port,
    https: Port,
    status: Port,
    admin: Port,
}

impl Prepared {
    pub fn conf_path(&self) -> PathBuf {
        self.folder.path().join("sallyport.conf")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write_conf(&self) {
        let folder = self.folder.path().display().to_string();
        let mut text = String::new();
        for (name, value) in &self.conf {
            let value = value.replace('@', &format!("{folder}/"));
            text.push_str(&format!("{name} = {value}\n"));
        }
        self.folder.file("sallyport.conf", &text);
    }

    fn write_declarative(&self, content: &Value) {
        let mut document = json!({"_format_version": "3.0"});
        let entities = content.as_object().expect("a map of entities").clone();
        document
            .as_object_mut()
            .expect("the document")
            .extend(entities);
        self.write_declarative_text(&document.to_string());
    }

    /// In place at once: a reload never reads half of it.
    pub fn write_declarative_text(&self, text: &str) {
        let partial = self.folder.file("kong.yml.partial", text);
        std::fs::rename(partial, self.folder.path().join("kong.yml")).expect("kong.yml");
    }

    /// `sallyport config <arguments>` with these settings, in their folder.
    pub fn config(&self, arguments: &[&str]) -> Output {
        sallyport()
            .arg("config")
            .args(arguments)
            .arg("-c")
            .arg(self.conf_path())
            .current_dir(self.folder())
            .output()
            .expect("the binary runs")
    }

    /// Runs a verb to its end. A `start` that was to be refused and is not would have none.
    #[track_caller]
    pub fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut child = sallyport()
            .envs(self.env.iter().cloned())
            .arg(verb)
            .arg("-c")
            .arg(self.conf_path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let begun = Instant::now();
        while child.try_wait().expect("its status").is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                let output = child.wait_with_output().expect("its output");
                panic!("`{verb}` goes on and on: {output:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().expect("its output")
    }

    pub fn spawn(self) -> Gateway {
        self.spawn_by(sallyport())
    }

    /// `command` runs the binary with the arguments it is given.
    pub fn spawn_by(self, command: Command) -> Gateway {
        let child = self.launch(command);
        Gateway {
            prepared: self,
            child,
        }
    }

    fn launch(&self, mut command: Command) -> Child {
        let path = self.folder.path().join("output.log");
        let output = File::options().create(true).append(true).open(path);
        let output = output.expect("a file for the output");
        command
            .envs(self.env.iter().cloned())
            .arg("start")
            .arg("-c")
            .arg(self.conf_path())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("the binary starts")
    }
}

/// A running gateway.
pub struct Gateway {
    prepared: Prepared,
    child: Child,
}

impl Gateway {
    /// Plain HTTP in front of one upstream: route `/` on every host.
    pub fn before(upstream: &super::Upstream) -> Gateway {
        let route = json!({"paths": ["/"], "strip_path": false});
        Setup::new(json!({"services": [service("all", upstream, route)]})).start()
    }

    pub fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.prepared.http.number()))
    }

    pub fn https(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.prepared.https.number()))
    }

    pub fn status(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.prepared.status.number()))
    }

    /// Of the listener that [`Setup::with_admin`] asks for.
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.prepared.admin.number()))
    }

    pub fn files(&self) -> &Prepared {
        &self.prepared
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// One plain request on a connection of its own.
    #[track_caller]
    pub fn get(&self, host: &str, target: &str) -> Response {
        Client::plain(self.http()).get(host, target)
    }

    #[track_caller]
    pub fn wait_ready(&self) {
        until("the gateway to be ready", || {
            if let Some(ended) = self.ended() {
                panic!("the gateway ended with {ended}:\n{}", self.output());
            }
            TcpStream::connect(self.status()).ok()?;
            let mut client = Client::plain(self.status());
            client.try_send("GET /status/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let response = Response::read(&mut client.reader, "GET").ok()?;
            (response.status == 200).then_some(())
        });
    }

    fn ended(&self) -> Option<String> {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        let after_name = state.rsplit(')').next()?.trim();
        after_name.starts_with('Z').then(|| "an exit".to_owned())
    }

    /// Standard output and error.
    pub fn output(&self) -> String {
        self.read("output.log") + &self.error_log()
    }

    pub fn error_log(&self) -> String {
        self.read("prefix/logs/error.log")
    }

    pub fn access_log(&self) -> String {
        self.read("prefix/logs/access.log")
    }

    /// The access log's lines, parsed, once there are `count` of them.
    #[track_caller]
    pub fn access_lines(&self, count: usize) -> Vec<Value> {
        until("lines in the access log", || {
            let text = self.access_log();
            let whole = text.lines().count() >= count && text.ends_with('\n');
            whole.then(|| {
                text.lines()
                    .map(|line| serde_json::from_str(line).expect("a line of JSON"))
                    .collect()
            })
        })
    }

    /// Waits for a line of the error log that has all of `parts`.
    #[track_caller]
    pub fn error_line(&self, parts: &[&str]) -> String {
        until(&format!("an error line with {parts:?}"), || {
            let text = self.error_log();
            let line = text
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)))?;
            Some(line.to_owned())
        })
    }

    pub fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.prepared.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes another value of a directive into the settings file.
    pub fn set(&mut self, directive: &str, value: &str) {
        self.prepared
            .conf
            .insert(directive.to_owned(), value.to_owned());
        self.prepared.write_conf();
    }

    /// Replaces a file of [`Setup::file`].
    pub fn write(&self, name: &str, text: &str) {
        self.prepared.folder.file(name, text);
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let response = Client::plain(self.status()).get("status", "/metrics");
        response.assert_status(200);
        Metrics(response.text())
    }

    /// Loads another declarative file and waits until every core serves it.
    #[track_caller]
    pub fn reload(&self, declarative: Value) {
        self.prepared.write_declarative(&declarative);
        self.reload_as_is();
    }

    /// Loads what the files say now and waits until every core serves it.
    #[track_caller]
    pub fn reload_as_is(&self) {
        const DONE: &str = "sallyport_reloads_total{outcome=\"ok\"}";
        let before = self.metrics();
        self.signal(libc::SIGHUP);
        until("the reload", || {
            let now = self.metrics();
            let refused = "sallyport_reloads_total{outcome=\"refused\"}";
            assert_eq!(
                now.sum(refused),
                before.sum(refused),
                "the reload was refused:\n{}",
                self.error_log()
            );
            (now.sum(DONE) > before.sum(DONE)).then_some(())
        });
    }

    /// Loads a file that is refused, and waits for that.
    #[track_caller]
    pub fn reload_refused(&self, text: &str) {
        const REFUSED: &str = "sallyport_reloads_total{outcome=\"refused\"}";
        let before = self.metrics().sum(REFUSED);
        self.prepared.write_declarative_text(text);
        self.signal(libc::SIGHUP);
        until("the refusal", || {
            (self.metrics().sum(REFUSED) > before).then_some(())
        });
    }

    #[track_caller]
    pub fn signal(&self, signal: i32) {
        sallyport::ring::sys::kill(self.pid(), signal).expect("the gateway takes a signal");
    }

    /// Kills it where it stands, starts it again on the same files and waits until it is ready.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.child.kill().expect("it can be killed");
        self.exit();
        self.start_again();
    }

    /// Starts it again on the same files, once it has ended, and waits until it is ready.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = self.prepared.launch(sallyport());
        self.wait_ready();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        until("the gateway to end", || {
            self.child.try_wait().expect("its status")
        })
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// `VmHWM` and its kind from /proc, in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the gateway's memory");
        let line = text
            .lines()
            .find(|line| line.starts_with(field))
            .expect("the field");
        line.split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut err = std::io::stderr();
            let _ = writeln!(err, "output of the gateway:\n{}", self.output());
        }
    }
}

/// A scrape.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all samples whose name and labels begin with `start` and contain it up to a brace, e.g.
    /// `sallyport_panics_total` or `sallyport_reloads_total{outcome="ok"}`.
    pub fn sum(&self, sample: &str) -> u64 {
        self.sum_with(sample, &[])
    }

    /// The sum of samples that begin with `start` and contain all of `parts`.
    pub fn sum_with(&self, start: &str, parts: &[&str]) -> u64 {
        let lines = self.0.lines().filter(|line| {
            line.strip_prefix(start)
                .is_some_and(|rest| rest.starts_with([' ', '{', ',']))
                && parts.iter().all(|part| line.contains(part))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    }
}
