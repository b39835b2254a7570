//! A kernel, or a container, that forbids io_uring.

use crate::support::entities::service;
use crate::support::gateway::sallyport;
use crate::support::{Setup, Upstream, json};
use std::process::Command;

/// The binary under a seccomp filter like those of container runtimes: io_uring_setup is EPERM, all else is allowed.
fn without_io_uring() -> Command {
    // prctl(PR_SET_NO_NEW_PRIVS, 1), then prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program of four instructions):
    // load the call's number; unless it is io_uring_setup skip one; ERRNO | EPERM; ALLOW (seccomp(2)).
    let script = format!(
        r#"my $program = pack("SCCL" x 4, 0x20, 0, 0, 0, 0x15, 0, 1, {setup}, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7fff0000);
           my $filter = pack("S x![P] P", 4, $program);
           syscall({prctl}, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
           syscall({prctl}, 22, 2, $filter, 0, 0) == 0 or die "seccomp: $!";
           exec @ARGV or die "exec: $!";"#,
        setup = libc::SYS_io_uring_setup,
        prctl = libc::SYS_prctl,
    );
    let binary = sallyport();
    let mut command = Command::new("perl");
    for (name, value) in binary.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.arg("-e").arg(script).arg(binary.get_program());
    command
}

#[test]
fn a_start_without_io_uring_is_refused_with_its_remedy_and_epoll_serves_instead() {
    let upstream = Upstream::echo();
    let setup = |engine: &str| {
        let service = service("s", &upstream, json!({"paths": ["/"]}));
        Setup::new(json!({"services": [service]})).set("engine", engine)
    };
    // Nothing is fallen back to in silence.
    for engine in ["auto", "io_uring"] {
        let mut refused = setup(engine).prepare().spawn_by(without_io_uring());
        assert!(!refused.exit().success(), "{engine}");
        let told = refused.output();
        for word in [
            "io_uring cannot be used",
            "kernel.io_uring_disabled",
            "seccomp",
            "engine = epoll",
        ] {
            assert!(told.contains(word), "{engine}: {word} in {told}");
        }
    }
    let gateway = setup("epoll").prepare().spawn_by(without_io_uring());
    gateway.wait_ready();
    gateway.get("a", "/").assert_status(200);
}
