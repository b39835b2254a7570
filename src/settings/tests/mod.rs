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

/// Warnings beside the one that the default of proxy_listen earns.
fn warned(loaded: &Loaded) -> Vec<String> {
    let mut warnings = texts(&loaded.warnings);
    warnings.retain(|warning| !warning.starts_with("default: proxy_listen: `http2` is accepted"));
    warnings
}
