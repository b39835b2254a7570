mod directives;
mod listen;
mod sources;
mod tls;

use super::*;

/// Settings with these directives set by flag.
fn with(set: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let flags = set
        .iter()
        .map(|(name, value)| Flag {
            flag: "--set",
            name: (*name).into(),
            value: (*value).into(),
        })
        .collect();
    load(&Sources {
        flags,
        ..Sources::default()
    })
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}
