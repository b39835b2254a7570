//! The README's first command, on both engines.

use std::process::{Command, Output};

fn demo(engine: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.args(["demo", "--once"]).env_remove("SALLYPORT_ENGINE");
    if let Some(engine) = engine {
        command.env("SALLYPORT_ENGINE", engine);
    }
    command.output().expect("the program runs")
}

#[test]
fn every_row_of_the_demo_is_as_expected_on_either_engine() {
    for engine in [None, Some("epoll")] {
        let output = demo(engine);
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine:?}: {told}\n{errors}");
        assert!(told.contains("Every answer is as expected."), "{engine:?}: {told}");
        for heading in ["Use case 1", "Use case 2", "Use case 3", "Use case 4"] {
            assert!(told.contains(heading), "{engine:?}: {told}");
        }
        let folder = told
            .split_whitespace()
            .find(|word| word.contains("sallyport-demo-"))
            .expect("the folder is named");
        assert!(!std::path::Path::new(folder).exists(), "{engine:?}: {folder} is left behind");
    }
}
