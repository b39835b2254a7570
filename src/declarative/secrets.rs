//! Values kept outside the file: `{file: path}` (ours) and `{vault://env/NAME}` (Kong's env vault).
use crate::entity::pem;
use serde_json::Value;

/// What a reference points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secret<'a> {
    /// A path, relative to the folder of the declarative file.
    File(&'a str),
    /// The name of an environment variable.
    Env(&'a str),
}

/// Resolves a value that is a reference; `None` when it is none. The error names the reference.
pub fn resolve(
    value: &Value,
    read: &dyn Fn(Secret<'_>) -> Result<String, String>,
) -> Option<Result<String, String>> {
    let resolved = follow(value, read)?;
    Some(resolved.and_then(|text| match pem::is_reference(&text) {
        // It would pass for one that is checked elsewhere.
        true => Err("it points to another reference".to_owned()),
        false => Ok(text),
    }))
}

fn follow(
    value: &Value,
    read: &dyn Fn(Secret<'_>) -> Result<String, String>,
) -> Option<Result<String, String>> {
    match value {
        Value::Object(map) => {
            let mut entries = map.iter();
            let (Some((key, Value::String(path))), None) = (entries.next(), entries.next()) else {
                return None;
            };
            (key == "file").then(|| file(path, read))
        }
        Value::String(text) => {
            let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
            if let Some(path) = inner.strip_prefix("file:") {
                return Some(file(path.trim(), read));
            }
            let reference = inner.strip_prefix("vault://")?;
            Some(vault(reference, read).map_err(|reason| format!("{}: {reason}", text.trim())))
        }
        _ => None,
    }
}

fn file(path: &str, read: &dyn Fn(Secret<'_>) -> Result<String, String>) -> Result<String, String> {
    if path.is_empty() {
        return Err("{file: }: the path is empty".into());
    }
    read(Secret::File(path)).map_err(|reason| format!("{{file: {path}}}: {reason}"))
}

/// `env/my-name[/key]`: the variable MY_NAME, or the text at `key` of the JSON object it holds.
fn vault(
    reference: &str,
    read: &dyn Fn(Secret<'_>) -> Result<String, String>,
) -> Result<String, String> {
    let mut parts = reference.split('/');
    let (vault, name, key) = (parts.next(), parts.next(), parts.next());
    if vault != Some("env") {
        return Err("only the vault 'env' is supported".into());
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err("the name of the variable is missing".into());
    };
    if reference.contains('?') || parts.next().is_some() {
        return Err("expected {vault://env/NAME} or {vault://env/NAME/KEY}".into());
    }
    let variable = name.to_ascii_uppercase().replace('-', "_");
    let content = read(Secret::Env(&variable))?;
    let Some(key) = key else { return Ok(content) };
    // The error of the JSON reader is left out: it could quote the value.
    let object: Value = serde_json::from_str(&content)
        .map_err(|_| format!("the variable {variable} does not hold JSON"))?;
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("the variable {variable} holds no text at '{key}'")),
    }
}
