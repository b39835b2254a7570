//! The front door.

use sallyport::cli::{self, Hooks};
use sallyport::{demo, gateway};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With two crypto libraries linked, whatever relies on a default would panic without one (RUNTIME.md §0.3).
    gateway::install_crypto();
    cli::run(&Hooks {
        start: gateway::start,
        demo: demo::run,
        check_file: gateway::check_file,
        parse_file: gateway::parse_file,
        import: gateway::import,
        export: gateway::export,
    })
}
