//! decK itself, where there is one: the program named by `DECK`, or `deck` in the path.

use super::deck::Deck;
use super::file::{Pki, changed, everything};
use crate::support::{Folder, Gateway, Setup, Value};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

fn program() -> Option<OsString> {
    let named = std::env::var_os("DECK").filter(|name| !name.is_empty());
    let program = named.clone().unwrap_or_else(|| "deck".into());
    let found = Command::new(&program).arg("version").output();
    match found {
        Ok(_) => Some(program),
        Err(why) => {
            assert!(named.is_none(), "DECK={program:?} cannot be run: {why}");
            None
        }
    }
}

struct RealDeck<'a> {
    program: OsString,
    gateway: &'a Gateway,
    home: &'a Path,
}

impl RealDeck<'_> {
    fn output(&self, arguments: &[&str]) -> Output {
        let address = format!("http://{}", self.gateway.admin_address());
        Command::new(&self.program)
            .args(["gateway", arguments[0], "--analytics=false"])
            .args(["--kong-addr", &address])
            .args(&arguments[1..])
            // No settings of whoever runs the test.
            .env("HOME", self.home)
            .env_remove("DECK_KONG_ADDR")
            .output()
            .expect("deck runs")
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deck {arguments:?}: {text}");
        text
    }

    /// `--non-zero-exit-code`: 2 when there are differences.
    #[track_caller]
    fn assert_no_difference(&self, file: &str) {
        let output = self.output(&["diff", "--non-zero-exit-code", file]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{file}: {text}");
    }
}

#[test]
fn deck_itself_pings_syncs_finds_no_difference_dumps_and_resets() {
    let Some(program) = program() else {
        println!("skipped: no deck");
        return;
    };
    let pki = Pki::new();
    let renewed = pki.root.server(&["renewed.test"]);
    let folder = Folder::new();
    let write = |name: &str, document: &Value| {
        let path = folder.file(name, &document.to_string());
        path.display().to_string()
    };
    let first = write("first.json", &everything(&pki));
    let second = write("second.json", &changed(&pki, &renewed));
    let gateway = Setup::admin().start();
    let deck = RealDeck {
        program,
        gateway: &gateway,
        home: folder.path(),
    };
    deck.run(&["ping"]);
    for file in [&first, &second] {
        deck.run(&["validate", file]);
        deck.run(&["sync", file]);
        deck.assert_no_difference(file);
    }
    let dumped = folder.path().join("dumped.yaml").display().to_string();
    deck.run(&["dump", "--with-id", "-o", &dumped]);
    deck.assert_no_difference(&dumped);
    deck.run(&["reset", "--force"]);
    let left = Deck::new(gateway.admin_address()).dump();
    assert!(left.values().all(Vec::is_empty), "{left:?}");
    deck.run(&["sync", &dumped]);
    deck.assert_no_difference(&dumped);
}
