//! The settings file: `name = value` lines, `#` comments, `\#` for a literal `#` (KONG.md §7.3).

#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    pub content: Content<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Assignment {
        name: &'a str,
        value: String,
    },
    /// Neither empty, comment nor assignment.
    Unreadable,
}

pub fn lines(text: &str) -> Vec<Line<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let kept = &line[..comment_start(line)];
        if kept.trim().is_empty() {
            continue;
        }
        let content = match kept.split_once('=') {
            Some((name, value)) if is_name(name.trim()) => Content::Assignment {
                name: name.trim(),
                value: value.trim().replace("\\#", "#"),
            },
            _ => Content::Unreadable,
        };
        lines.push(Line {
            number: index + 1,
            content,
        });
    }
    lines
}

/// The inverse for one line; line breaks cannot be written.
pub fn line(name: &str, value: &str) -> String {
    format!("{name} = {}", value.replace('#', "\\#"))
}

fn comment_start(line: &str) -> usize {
    let bytes = line.as_bytes();
    (0..bytes.len())
        .find(|&at| bytes[at] == b'#' && (at == 0 || bytes[at - 1] != b'\\'))
        .unwrap_or(bytes.len())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
