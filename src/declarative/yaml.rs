//! Values to YAML that every reader takes for the same values: YAML 1.1 (Kong's reader) and 1.2 (ours).
//!
//! Block style. A text stands plain only where no reader could take it for anything else, multi-line texts such as PEM as
//! literal blocks, all others in double quotes.
use crate::entity::checks;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// The longest key that may stand before its colon, in bytes of its quoted form: YAML allows 1024 characters.
const IMPLICIT_KEY_MAX: usize = 1000;

/// Words that a reader may take for something else than a text, in lower case.
const WORDS: &[&str] = &[
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity",
];

/// `key: value` and a line's end, `indent` spaces in. The first line may be begun already (`- `): then without them.
pub fn entry(
    out: &mut dyn Write,
    indent: usize,
    begun: bool,
    key: &str,
    value: &Value,
) -> io::Result<()> {
    if !begun {
        pad(out, indent)?;
    }
    let key = scalar(key);
    if key.len() > IMPLICIT_KEY_MAX {
        writeln!(out, "? {key}")?;
        pad(out, indent)?;
    } else {
        out.write_all(key.as_bytes())?;
    }
    out.write_all(b":")?;
    match value {
        Value::Array(items) if !items.is_empty() => {
            writeln!(out)?;
            sequence(out, indent, items)
        }
        Value::Object(entries) if !entries.is_empty() => {
            writeln!(out)?;
            mapping(out, indent + 2, false, entries)
        }
        Value::String(text) if is_block(text) => block(out, indent + 2, text),
        value => writeln!(out, " {}", flat(value)),
    }
}

fn mapping(
    out: &mut dyn Write,
    indent: usize,
    begun: bool,
    entries: &Map<String, Value>,
) -> io::Result<()> {
    for (place, (key, value)) in entries.iter().enumerate() {
        entry(out, indent, begun && place == 0, key, value)?;
    }
    Ok(())
}

fn sequence(out: &mut dyn Write, indent: usize, items: &[Value]) -> io::Result<()> {
    for item in items {
        pad(out, indent)?;
        match item {
            Value::Object(entries) if !entries.is_empty() => {
                out.write_all(b"- ")?;
                mapping(out, indent + 2, true, entries)?;
            }
            Value::Array(inner) if !inner.is_empty() => {
                writeln!(out, "-")?;
                sequence(out, indent + 2, inner)?;
            }
            item => writeln!(out, "- {}", flat(item))?,
        }
    }
    Ok(())
}

/// What stands on one line.
fn flat(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => self::number(&number.to_string()),
        Value::String(text) => scalar(text),
        // Others have lines of their own.
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// YAML 1.1 wants a point in a number with an exponent, and a sign in the exponent.
fn number(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) {
        ""
    } else {
        "+"
    };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// A text on one line: plain or quoted.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if must_be_escaped(c) => match u32::from(c) {
                number @ ..=0xff => quoted.push_str(&format!("\\x{number:02x}")),
                number => quoted.push_str(&format!("\\u{number:04x}")),
            },
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
    // A UUID has too many hyphens for a number or a date.
    (begins && text.bytes().all(inner) || checks::is_uuid(text))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Line ends of Unicode, controls, the byte order mark, and what is no character.
fn must_be_escaped(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether a literal block gives the text back to the byte: no line that a reader would trim, end or indent otherwise.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(['\n', ' '])
        && text.chars().all(|c| c == '\n' || !must_be_escaped(c))
        && text.split('\n').all(|line| !line.ends_with(' '))
}

fn block(out: &mut dyn Write, indent: usize, text: &str) -> io::Result<()> {
    // What becomes of line ends at the end: `-` none, nothing one, `+` all of them.
    let keep = match (text.strip_suffix('\n'), text.ends_with("\n\n")) {
        (None, _) => "-",
        (Some(_), false) => "",
        (Some(_), true) => "+",
    };
    writeln!(out, " |{keep}")?;
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(out, indent)?;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn pad(out: &mut dyn Write, indent: usize) -> io::Result<()> {
    write!(out, "{:indent$}", "")
}
