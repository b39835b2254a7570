//! Peers from the distribution: OpenSSL and curl as clients, nginx as upstream.

use super::{Folder, Port, until};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program to its end and returns its output, both streams.
#[track_caller]
fn run(mut command: Command, input: &[u8]) -> (bool, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{name} cannot be run ({why}); tests/setup installs it"));
    let mut stdin = child.stdin.take().expect("its input");
    // A program that ends early takes no input.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// `openssl s_client` with `arguments`; ends when `input` is sent and the server closes, or at once without input.
#[track_caller]
pub fn s_client(address: SocketAddr, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.args(["30", "openssl", "s_client", "-connect"]);
    command.arg(address.to_string()).args(arguments);
    if !input.is_empty() {
        command.arg("-ign_eof");
    }
    run(command, input.as_bytes())
}

#[track_caller]
pub fn curl(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("curl");
    command.args(["-q", "-s", "-S", "--max-time", "30"]);
    command.args(arguments).env_remove("http_proxy");
    command.args(["--noproxy", "*"]);
    run(command, b"")
}

/// A real nginx; ends with the test.
pub struct Nginx {
    child: Child,
    port: Port,
    folder: Folder,
}

impl Nginx {
    /// `server`: directives of the one server block; `@name` becomes the path of one of `files`.
    #[track_caller]
    pub fn start(server: &str, files: &[(&str, &str)]) -> Nginx {
        let folder = Folder::new();
        let port = Port::free();
        for (name, text) in files {
            folder.file(name, text);
        }
        let at = folder.path().display().to_string();
        let server = server.replace('@', &format!("{at}/"));
        let conf = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
               client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
               uwsgi_temp_path {at}; scgi_temp_path {at};\n\
               access_log {at}/access.log;\n\
               server {{ listen 127.0.0.1:{} ssl reuseport; {server} }}\n\
             }}\n",
            port.number()
        );
        let path = folder.file("nginx.conf", &conf);
        // Where the packages put it, which is not in every user's PATH.
        let path_of_programs = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = Command::new("nginx")
            .env("PATH", path_of_programs)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(path)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|why| panic!("nginx cannot be run ({why}); tests/setup installs it"));
        let mut nginx = Nginx {
            child,
            port,
            folder,
        };
        until("nginx to listen", || {
            if let Ok(Some(status)) = nginx.child.try_wait() {
                panic!("nginx ended with {status}: {}", nginx.read("error.log"));
            }
            TcpStream::connect(("127.0.0.1", nginx.port())).ok()
        });
        nginx
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of a self-signed certificate of RSA 1024 and of its key: no library of ours makes one.
pub fn weak_pair(folder: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join("weak.crt"), folder.join("weak.key"));
    let done = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:1024", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=weak", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl runs; tests/setup installs it");
    assert!(done.status.success(), "{done:?}");
    (cert, key)
}
