//! Text from certificates and entities as field values (RFC 9110 §5.5). Comparisons use the raw text; only what is sent
//! passes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` without anything that could end or bend a field line: control characters (C0, DEL, C1) and spaces at either end,
/// which a recipient would trim, are percent-encoded. Other text, `%` included, stands as it is.
pub fn field_value(text: &str) -> Cow<'_, str> {
    encode(text, false)
}

/// The same for one member of a comma-separated list: a comma inside it is encoded too, so that one value cannot pass for two.
pub fn list_member(text: &str) -> Cow<'_, str> {
    encode(text, true)
}

/// Members joined by `separator`.
pub fn list<'a>(members: impl IntoIterator<Item = &'a str>, separator: &str) -> String {
    let mut joined = String::new();
    for (index, member) in members.into_iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&list_member(member));
    }
    joined
}

fn encode(text: &str, comma: bool) -> Cow<'_, str> {
    let inner = text.trim_matches(' ');
    let clean =
        inner.len() == text.len() && !text.chars().any(|c| c.is_control() || (comma && c == ','));
    if clean {
        return Cow::Borrowed(text);
    }
    let first = text.len() - text.trim_start_matches(' ').len();
    let last = text.trim_end_matches(' ').len();
    let mut safe = String::with_capacity(text.len() + 8);
    for (at, c) in text.char_indices() {
        let outer = c == ' ' && (at < first || at >= last);
        if outer || c.is_control() || (comma && c == ',') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(safe, "%{byte:02X}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_text_cannot_inject_a_header() {
        let table = [
            (
                "CR LF",
                "a\r\nX-Consumer-ID: root",
                "a%0D%0AX-Consumer-ID: root",
            ),
            ("bare LF", "a\nb", "a%0Ab"),
            ("NUL", "a\0b", "a%00b"),
            ("tab and DEL", "a\tb\u{7f}", "a%09b%7F"),
            ("C1 NEL", "a\u{85}b", "a%C2%85b"),
            ("spaces a recipient would trim", " admin ", "%20admin%20"),
            ("nothing but spaces", "  ", "%20%20"),
            ("plain", "client.acme.test", "client.acme.test"),
            ("UTF-8", "Zoë, Inc. 100%", "Zoë, Inc. 100%"),
            ("empty", "", ""),
        ];
        for (case, text, expected) in table {
            assert_eq!(field_value(text), expected, "{case}");
        }
    }

    #[test]
    fn one_value_with_a_comma_does_not_pass_for_two() {
        assert_eq!(
            list(["spiffe://a,root", "b.test"], ","),
            "spiffe://a%2Croot,b.test"
        );
        assert_eq!(list(["a, gold"], ", "), "a%2C gold");
        assert_eq!(list([], ","), "");
    }
}
