//! A TLS load generator: one thread, one epoll, rustls on aws-lc-rs. It counts full and resumed handshakes, presents
//! client certificates, paces operations, and reads the CPU time of the processes it loads over the very interval in
//! which it counts. Units and flags: `loadgen --help`; how the runs use it: `perf/README.md`.

mod args;
mod connection;
mod load;
mod response;
mod stats;
mod sys;
mod tls;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rustls::pki_types::ServerName;

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let args = args::Args::parse();
    for (name, value) in [
        ("--seconds", args.seconds),
        ("--warmup", args.warmup),
        ("--rate", args.rate),
    ] {
        if !(0.0..1e9).contains(&value) {
            return Err(format!("{name}: {value} is not a number of 0 or more"));
        }
    }
    sys::precise_timers();
    let tls = match args.plain {
        true => None,
        false => {
            let name = ServerName::try_from(args.sni.clone()).map_err(|e| format!("--sni: {e}"))?;
            Some((tls::build(&args).map_err(|e| e.to_string())?, name))
        }
    };
    let mode = args
        .mode
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let mut load = load::Load::new(args, tls)?;
    let elapsed = load.run()?;
    Ok(stats::json(
        &mode.unwrap_or_default(),
        &load.stats,
        &elapsed,
    ))
}
