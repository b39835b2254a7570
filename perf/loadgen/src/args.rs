//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Loads one TLS server from one thread and prints one line of JSON.
#[derive(Parser, Debug)]
// A flag given twice counts as given last.
#[command(version, args_override_self = true)]
pub struct Args {
    /// Address of the server.
    #[arg(long, value_name = "IP:PORT")]
    pub connect: SocketAddr,
    /// Server name of the ClientHello, and the Host field unless --host is given.
    #[arg(long, default_value = "localhost")]
    pub sni: String,
    /// What one operation is.
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Length of the measured part; with `idle`, how long the connections are held.
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    pub seconds: f64,
    /// Stop after this many operations instead.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Length of the part before it that is not counted.
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    pub warmup: f64,
    /// Operations started per second; 0 starts the next when one ends.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,

    /// Client certificate chain (PEM).
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// Folder of client certificates NAME.crt, each with NAME.key or all with --key, used in turn.
    #[arg(long, conflicts_with_all = ["cert", "mint"])]
    pub cert_dir: Option<PathBuf>,
    /// Mint this many client certificates before the start, used in turn; needs --mint-ca, --mint-ca-key and --key.
    #[arg(long, conflicts_with = "cert", requires_all = ["mint_ca", "mint_ca_key", "key"], value_name = "N")]
    pub mint: Option<usize>,
    /// Certificate of the CA that mints (PEM).
    #[arg(long)]
    pub mint_ca: Option<PathBuf>,
    /// Key of the CA that mints (PEM).
    #[arg(long)]
    pub mint_ca_key: Option<PathBuf>,

    /// Verify the server's certificate and signature; without it neither is looked at, which is cheaper.
    #[arg(long, requires = "ca")]
    pub verify: bool,
    /// Trust anchors for --verify (PEM).
    #[arg(long)]
    pub ca: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "1.3")]
    pub tls: Version,
    #[arg(long, value_enum, default_value = "x25519")]
    pub group: Group,
    #[arg(long, value_enum, default_value = "aes128")]
    pub cipher: Cipher,
    /// Speak without TLS.
    #[arg(long)]
    pub plain: bool,

    /// Request target.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Host field.
    #[arg(long)]
    pub host: Option<String>,
    /// Send one request on each connection of `full`, `resumed` and `idle` and read its response.
    #[arg(long)]
    pub with_request: bool,
    /// Bytes of content to send with each request (POST); 0 sends GET.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub request_size: usize,
    /// Bytes of content a response must have; any other size is an error.
    #[arg(long, value_name = "BYTES")]
    pub expect_size: Option<u64>,

    /// Report the CPU time this process used in the measured part (repeatable).
    #[arg(long, value_name = "PID")]
    pub watch_pid: Vec<u32>,
    /// Report the busy time of this core in the measured part.
    #[arg(long, value_name = "CORE")]
    pub watch_core: Option<usize>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A new connection with a full handshake.
    Full,
    /// A new connection that resumes a session; what was resumed is counted.
    Resumed,
    /// A request and its response on a connection that stays.
    Keepalive,
    /// Open the connections, hold them, end.
    Idle,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub enum Group {
    X25519,
    P256,
    X25519Mlkem768,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub enum Cipher {
    Aes128,
    Aes256,
    Chacha,
}
