//! The README's first command: run as a newcomer runs it, on both engines.

use sallyport::ring::sys::kill;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn every_row_is_as_expected_on_either_engine() {
    for engine in [None, Some("epoll")] {
        let output = demo(engine)
            .arg("--once")
            .output()
            .expect("the program runs");
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine:?}: {told}\n{errors}");
        assert!(
            told.contains("Every answer is as expected."),
            "{engine:?}: {told}"
        );
        for heading in ["Use case 1", "Use case 2", "Use case 3", "Use case 4"] {
            assert!(told.contains(heading), "{engine:?}: {told}");
        }
        let folder = folder(&told).expect("the folder is named");
        assert!(
            !Path::new(folder).exists(),
            "{engine:?}: {folder} is left behind"
        );
    }
}

#[test]
fn one_answer_that_is_not_as_expected_is_a_failure() {
    // Without its error log the gateway does not say why it refused an upstream.
    let output = demo(None)
        .arg("--once")
        .env("SALLYPORT_LOG_LEVEL", "emerg")
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("2 answers are not as expected."), "{told}");
    let failed: Vec<&str> = told
        .lines()
        .filter(|line| line.ends_with("FAILED"))
        .collect();
    assert_eq!(failed.len(), 2, "{told}");
    assert!(
        failed
            .iter()
            .all(|line| line.contains("502, log: another reason")),
        "{failed:?}"
    );
}

#[test]
fn a_gateway_that_does_not_start_is_a_failure_with_its_reason() {
    let output = demo(Some("steam"))
        .arg("--once")
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        errors.contains("the gateway ended at its start"),
        "{errors}"
    );
    // The gateway's own words.
    assert!(
        errors.contains("engine") && errors.contains("io_uring"),
        "{errors}"
    );
}

#[test]
fn the_printed_commands_repeat_the_rows_until_ctrl_c() {
    let mut running = Running(
        demo(None)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs"),
    );
    let output = running.0.stdout.take().expect("its output is a pipe");
    let mut told = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("its output is text");
        told.push_str(&line);
        told.push('\n');
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let folder = folder(&told).expect("the folder is named").to_owned();
    let commands: Vec<&str> = told
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl"))
        .collect();
    let answer = |part: &str| {
        let command = commands.iter().find(|command| command.contains(part));
        let command = command.unwrap_or_else(|| panic!("no command has {part}: {told}"));
        let output = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(&folder)
            .output();
        String::from_utf8_lossy(&output.expect("sh runs").stdout).into_owned()
    };
    for (row, part, want) in [
        (
            "default certificate",
            "https://127.0.0.1",
            "CN=default.demo.test",
        ),
        ("by SNI", "-v https://api.demo.test", "CN=api.demo.test"),
        ("wildcard", "https://foo.demo.test", "CN=*.demo.test"),
        (
            "client known",
            "--cert pki/alice.crt",
            "\"x-consumer-username\": \"alice\"",
        ),
        (
            "client without consumer",
            "--cert pki/bob.crt",
            "TLS certificate failed verification",
        ),
        (
            "client not trusted",
            "--cert pki/stranger.crt",
            "TLS certificate failed verification",
        ),
        (
            "client not allowed",
            "--cert pki/carol.crt",
            "You cannot consume this service",
        ),
        (
            "subject passed on",
            "https://partners.demo.test",
            "\"x-client-cert-dn\": \"CN=bob,O=Demo\"",
        ),
        (
            "upstream refuses",
            "/no-certificate",
            "An invalid response was received",
        ),
        (
            "upstream's name",
            "/wrong-name",
            "An invalid response was received",
        ),
        (
            "upstream's authority",
            "/wrong-authority",
            "An invalid response was received",
        ),
    ] {
        let answer = answer(part);
        // curl's TLS libraries print subjects with and without spaces.
        assert!(
            answer.replace("CN = ", "CN=").contains(want),
            "{row}: {answer}"
        );
    }

    let gateway: i32 = told
        .split_once("(process ")
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(pid, _)| pid.parse().ok())
        .expect("the gateway's process is named");
    assert!(kill(gateway, 0).is_ok(), "the gateway runs");
    let own = i32::try_from(running.0.id()).expect("a process id");
    kill(own, SIGINT).expect("the demo can be signalled");
    let status = running.0.wait().expect("the demo ends");
    assert!(status.success(), "{status}");
    assert!(kill(gateway, 0).is_err(), "the gateway is left behind");
    assert!(!Path::new(&folder).exists(), "{folder} is left behind");
}

const SIGINT: i32 = 2;

fn demo(engine: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.arg("demo").env_remove("SALLYPORT_ENGINE");
    if let Some(engine) = engine {
        command.env("SALLYPORT_ENGINE", engine);
    }
    command
}

fn folder(told: &str) -> Option<&str> {
    told.split_whitespace()
        .find(|word| word.contains("sallyport-demo-"))
}

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It takes its gateway with it; by force it could not.
        if let Ok(pid) = i32::try_from(self.0.id())
            && matches!(self.0.try_wait(), Ok(None))
            && kill(pid, SIGINT).is_ok()
        {
            let _ = self.0.wait();
        }
    }
}
