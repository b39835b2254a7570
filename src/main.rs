//! The front door.

use std::process::ExitCode;

use sallyport::cli::{self, Checked, Demo, Hooks, Start};
use sallyport::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(&Hooks {
        start,
        demo,
        check_file,
    })
}

fn start(_: Start) -> ExitCode {
    eprintln!("error: this build has no engine");
    ExitCode::FAILURE
}

fn demo(_: Demo) -> ExitCode {
    eprintln!("error: this build has no demo");
    ExitCode::FAILURE
}

fn check_file(settings: &Settings) -> Checked {
    let mut checked = Checked::default();
    if settings.declarative_config.is_some() || settings.declarative_config_string.is_some() {
        checked
            .errors
            .push("this build cannot read declarative files".into());
    }
    checked
}
