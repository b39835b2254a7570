//! DESIGN.md, "The house": arrows go down only, and each package has one door.

use std::fs;
use std::path::{Path, PathBuf};

/// Package → the files of `src/` that may name it; a folder ends in `/`. `demo` plays client, upstream and CA beside the
/// gateway and stands outside of its house.
const DOORS: &[(&str, &[&str])] = &[
    ("httparse", &["http1/head.rs", "demo/wire.rs"]),
    ("x509_parser", &["tls/identity/"]),
    ("rustls", &["tls/"]),
    ("webpki", &["tls/"]),
    ("rustls_native_certs", &["gateway/material.rs"]),
    ("core_affinity", &["settings/io.rs"]),
    ("serde_saphyr", &["declarative/"]),
    ("hyper", &["telemetry/", "admin/"]),
    ("hyper_util", &["telemetry/", "admin/"]),
    ("redb", &["store/"]),
    ("multer", &["admin/"]),
    ("imbl", &["entity/mod.rs", "store/", "snapshot/"]),
    ("prometheus_client", &["telemetry/"]),
    ("hickory_resolver", &["resolve/"]),
    ("io_uring", &["ring/"]),
    ("monoio", &["ring/", "worker.rs", "proxy/"]),
    (
        "tokio",
        &[
            "telemetry/",
            "resolve/",
            "control.rs",
            "control/",
            "demo/mod.rs",
            "admin/",
            "store/",
            "publish/",
        ],
    ),
    ("clap", &["cli/"]),
    ("rcgen", &["tls/keys.rs", "demo/pki.rs"]),
    (
        "crossbeam",
        &[
            "mailbox.rs",
            "telemetry/",
            "control.rs",
            "proxy/core.rs",
            "store/",
            "publish/",
        ],
    ),
    ("socket2", &["worker.rs", "gateway/", "ring/socket.rs"]),
    ("base64", &["settings/pem.rs", "admin/"]),
    ("regex", &["router/", "entity/routes.rs"]),
    ("regex_syntax", &["entity/routes.rs"]),
];

/// Floors from the ground up. A module uses its own floor and those below.
const FLOORS: &[&[&str]] = &[
    &["http1", "limits", "router", "shards", "tls"],
    &[
        "declarative",
        "entity",
        "options",
        "plugin",
        "settings",
        "snapshot",
    ],
    &["ring"],
    &["mailbox", "telemetry"],
    &[
        "proxy", "worker", "admin", "control", "publish", "resolve", "store",
    ],
    &["cli", "demo", "gateway"],
];

/// The two planes meet in `mailbox` and `snapshot` only.
const DATA_PLANE: &[&str] = &["proxy", "worker"];
const CONTROL_PLANE: &[&str] = &["admin", "control", "publish", "resolve", "store"];

/// Pure: bytes and seconds are passed in.
const WITHOUT_CLOCK: &[&str] = &["http1", "router", "shards", "tls", "limits"];

#[test]
fn each_package_has_its_door() {
    for file in sources() {
        for (package, doors) in DOORS {
            let within = doors.iter().any(|door| match door.ends_with('/') {
                true => file.name.starts_with(door),
                false => file.name == *door,
            });
            assert!(
                within || !file.names(package),
                "{} names the package {package}, which belongs to {doors:?}",
                file.name
            );
        }
    }
}

/// A door that nothing goes through any more is taken out of the table.
#[test]
fn each_door_is_used() {
    let sources = sources();
    for (package, doors) in DOORS {
        for door in *doors {
            let used = sources
                .iter()
                .any(|file| file.name.starts_with(door) && file.names(package));
            assert!(used, "{package} is not used in {door}");
        }
    }
}

#[test]
fn modules_use_their_own_floor_and_those_below() {
    for file in sources() {
        let Some(floor) = floor_of(file.module()) else {
            assert!(
                ["lib", "main"].contains(&file.module()),
                "{} is on no floor",
                file.name
            );
            continue;
        };
        for used in file.modules_used() {
            let below = floor_of(&used);
            assert!(
                below.is_some_and(|below| below <= floor),
                "{} uses crate::{used}, which stands above it",
                file.name
            );
        }
    }
}

#[test]
fn the_planes_do_not_know_each_other() {
    for file in sources() {
        let others = match file.module() {
            module if DATA_PLANE.contains(&module) => CONTROL_PLANE,
            module if CONTROL_PLANE.contains(&module) => DATA_PLANE,
            _ => continue,
        };
        for used in file.modules_used() {
            assert!(
                !others.contains(&used.as_str()),
                "{} uses crate::{used}",
                file.name
            );
        }
    }
}

#[test]
fn the_ground_floor_has_no_clock() {
    for file in sources() {
        if WITHOUT_CLOCK.contains(&file.module()) {
            for clock in ["Instant", "SystemTime"] {
                let mut words = file.code.split(|c: char| !c.is_alphanumeric() && c != '_');
                assert!(
                    !words.any(|word| word == clock),
                    "{} names {clock}",
                    file.name
                );
            }
        }
    }
}

struct Source {
    /// Below `src/`.
    name: String,
    /// Without comments and without its tests.
    code: String,
}

impl Source {
    /// Whether a path begins with `package`.
    fn names(&self, package: &str) -> bool {
        roots(&self.code, &format!("{package}::")).next().is_some()
    }

    /// `http1` of `http1/head.rs`.
    fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The modules behind `crate::`, those of a list in braces included.
    fn modules_used(&self) -> Vec<String> {
        let word = |text: &str| -> String {
            text.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        let mut modules = Vec::new();
        for rest in roots(&self.code, "crate::") {
            match rest.strip_prefix('{') {
                None => modules.push(word(rest)),
                Some(list) => {
                    let mut depth = 0;
                    let mut start = true;
                    for (at, c) in list.char_indices() {
                        match c {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => {
                                start = true;
                                continue;
                            }
                            _ => {}
                        }
                        if start && !c.is_whitespace() {
                            modules.push(word(&list[at..]));
                            start = false;
                        }
                    }
                }
            }
        }
        modules.retain(|module| !module.is_empty());
        modules
    }
}

/// What follows each `path` that is not the inside of a longer path or word.
fn roots<'a>(code: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(path).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let inside =
            before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"' || c == '$');
        // `::x` is a global path, `a::x` is not a root.
        let behind_path = code[..at].strip_suffix("::").is_some_and(|outer| {
            outer.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
        });
        (!inside && !behind_path).then(|| &code[at + path.len()..])
    })
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 100, "{} files were found", files.len());
    files
        .iter()
        .map(|path| Source {
            name: path
                .strip_prefix(&root)
                .expect("below src")
                .to_string_lossy()
                .into_owned(),
            code: code(&fs::read_to_string(path).expect("text")),
        })
        .filter(|source| !is_test(&source.name))
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_test(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    name.contains("/tests/")
        || file == "tests.rs"
        || file.ends_with("_tests.rs")
        // What several tests share.
        || ["testing.rs", "testpki.rs", "fixtures.rs"].contains(&file)
}

/// Tests stand last in a file (STYLE.md), so they end it here.
fn code(text: &str) -> String {
    let text = match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => text,
    };
    text.lines()
        .map(|line| match line.find("//") {
            Some(comment) => &line[..comment],
            None => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}
