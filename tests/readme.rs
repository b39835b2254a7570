//! The README does what it says: its `sh` blocks run in one bash, in order, as a reader pastes them, and each prints
//! what the `text` block behind it holds, or nothing. `…` stands for any text within a line. Ports are replaced by free ones.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");
const CI: &str = include_str!("../.ci/run");

/// Ports the README names.
const PORTS: [&str; 4] = ["8443", "8007", "9443", "8001"];
/// All of it; it takes about thirty seconds.
const SECONDS_MAX: &str = "300";

/// One block and what it prints.
struct Step {
    line: usize,
    script: String,
    expected: String,
}

#[test]
fn every_block_answers_as_the_readme_says() {
    let readme = with_free_ports(README);
    let steps = steps(&readme);
    assert!(
        steps.len() >= 8,
        "the README has {} blocks only: has their form changed?",
        steps.len()
    );
    let folder = std::env::temp_dir().join(format!("sallyport-readme-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a temporary folder");
    let answers = run(&folder, &steps);
    let mut wrong = String::new();
    for (step, answer) in steps.iter().zip(&answers) {
        if !matches(&step.expected, answer) {
            let _ = writeln!(
                wrong,
                "README.md:{}\n--- expected\n{}--- got\n{answer}",
                step.line, step.expected
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nthe folder is left at {}",
        folder.display()
    );
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// Blocks that are no steps are indented; what they hold is run by `.ci/run`, or is how this test finds the program.
#[test]
fn commands_outside_the_steps_are_run_by_ci() {
    let commands: Vec<&str> = README
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| !line.starts_with(char::is_whitespace) && !line.starts_with('-'))
        .take_while(|line| !line.starts_with("cargo build"))
        .collect();
    assert_eq!(commands, ["cargo run -- demo", "tests/run"]);
    for command in commands {
        assert!(
            CI.lines().any(|line| line.starts_with(command)),
            ".ci/run does not run `{command}`"
        );
    }
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = readme.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let mut body = String::new();
        for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "```") {
            body.push_str(line);
            body.push('\n');
        }
        match language {
            "sh" => steps.push(Step {
                line: at + 1,
                script: body,
                expected: String::new(),
            }),
            "text" => {
                let step = steps
                    .last_mut()
                    .expect("a text block stands behind an sh block");
                assert!(
                    step.expected.is_empty(),
                    "README.md:{}: a second answer",
                    at + 1
                );
                step.expected = body;
            }
            other => panic!(
                "README.md:{}: a block of kind `{other}` is not checked",
                at + 1
            ),
        }
    }
    steps
}

/// Runs the blocks in one shell and returns what each printed.
fn run(folder: &Path, steps: &[Step]) -> Vec<String> {
    // What the shell started is ended with it, however it ends: `timeout` ends the whole group.
    let mut main = String::from("trap 'kill $(jobs -p) 2>/dev/null' EXIT\nhere=$PWD\n");
    for (at, step) in steps.iter().enumerate() {
        std::fs::write(folder.join(format!("block.{at}")), &step.script)
            .expect("a block can be written");
        let _ = writeln!(
            main,
            "source $here/block.{at} > $here/answer.{at} 2>&1 < /dev/null"
        );
    }
    std::fs::write(folder.join("main"), main).expect("the script can be written");
    let program = Path::new(env!("CARGO_BIN_EXE_sallyport"));
    let mut path = program
        .parent()
        .expect("the program has a folder")
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // HTTPie sends its standard input when that is no terminal; a reader's is one.
    let httpie = folder.join("httpie");
    std::fs::create_dir(&httpie).expect("a folder");
    let options = r#"{"default_options": ["--ignore-stdin"]}"#;
    std::fs::write(httpie.join("config.json"), options).expect("HTTPie's options");
    let mut shell = Command::new("timeout");
    // The reader's environment says nothing of settings.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KONG_") || text.starts_with("SALLYPORT_") {
            shell.env_remove(&name);
        }
    }
    let status = shell
        .args([SECONDS_MAX, "bash", "main"])
        .current_dir(folder)
        .env("PATH", path)
        .env("HTTPIE_CONFIG_DIR", httpie)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("bash can be started");
    assert_ne!(
        status.code(),
        Some(124),
        "the README took more than {SECONDS_MAX} s"
    );
    (0..steps.len())
        .map(|at| std::fs::read(folder.join(format!("answer.{at}"))).unwrap_or_default())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// Line by line, `…` for any text.
fn matches(expected: &str, got: &str) -> bool {
    expected.lines().count() == got.lines().count()
        && expected
            .lines()
            .zip(got.lines())
            .all(|(expected, got)| line_matches(expected, got))
}

fn line_matches(expected: &str, got: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| got.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_any_text_and_nothing_else_does() {
    let table = [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "abc", true),
        ("…c", "abc", true),
        ("a…c…e", "abcde", true),
        ("a…c…e", "abde", false),
        ("a…b", "a", false),
    ];
    for (expected, got, verdict) in table {
        assert_eq!(
            line_matches(expected, got),
            verdict,
            "{expected:?} and {got:?}"
        );
    }
    assert!(!matches("a\n", "a\na\n"));
}

/// All are held until the last is chosen, so that none is given out twice.
fn with_free_ports(readme: &str) -> String {
    let listeners: Vec<TcpListener> = PORTS
        .iter()
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let mut readme = readme.to_owned();
    // In two steps: a free port may hold the digits of another.
    for (at, port) in PORTS.iter().enumerate() {
        readme = readme.replace(port, &format!("\u{1}{at}"));
    }
    for (at, listener) in listeners.iter().enumerate() {
        let free = listener.local_addr().expect("an address").port();
        readme = readme.replace(&format!("\u{1}{at}"), &free.to_string());
    }
    readme
}
