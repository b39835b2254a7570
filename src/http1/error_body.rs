//! The bodies of responses the gateway makes itself (KONG.md §3.5): JSON, plain text, HTML or XML, in the shape of
//! Kong's or of `error_template_*`.

use std::sync::Arc;

/// Who answers, which decides what a request without an `Accept` gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kong's logic or a plugin: JSON.
    Kong,
    /// The proxy itself (400, 413, 502, 504 …): the request's Content-Type, then `error_default_type`.
    ProxyLayer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Plain,
    Html,
    Xml,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json; charset=utf-8",
            Format::Plain => "text/plain; charset=utf-8",
            Format::Html => "text/html; charset=utf-8",
            Format::Xml => "application/xml; charset=utf-8",
        }
    }
}

/// How errors are written.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBodies<'a> {
    /// `error_default_type`: where a request asks for none.
    pub default_format: Format,
    /// In place of the built-in bodies.
    pub templates: Option<&'a Templates>,
}

impl<'a> From<(Format, &'a Templates)> for ErrorBodies<'a> {
    fn from((default_format, templates): (Format, &'a Templates)) -> Self {
        ErrorBodies {
            default_format,
            templates: Some(templates),
        }
    }
}

/// Built-in bodies only.
impl From<Format> for ErrorBodies<'_> {
    fn from(default_format: Format) -> Self {
        ErrorBodies {
            default_format,
            templates: None,
        }
    }
}

/// `error_template_{json,plain,html,xml}`, where they are set.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    pub json: Option<Arc<Template>>,
    pub plain: Option<Arc<Template>>,
    pub html: Option<Arc<Template>>,
    pub xml: Option<Arc<Template>>,
}

impl Templates {
    fn of(&self, format: Format) -> Option<&Template> {
        match format {
            Format::Json => self.json.as_deref(),
            Format::Plain => self.plain.as_deref(),
            Format::Html => self.html.as_deref(),
            Format::Xml => self.xml.as_deref(),
        }
    }
}

/// A text with a slot for the message and one for the request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: Box<str>,
    between: Box<str>,
    after: Box<str>,
}

impl Template {
    /// `text` has two `%s`, the message's and the request id's; `%%` stands for a `%`, and so does one before any other
    /// character, as in a style sheet.
    ///
    /// # Errors
    /// The number of slots found, when it is not two.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match (character, characters.peek()) {
                ('%', Some('s')) => {
                    characters.next();
                    parts.push(String::new());
                    continue;
                }
                ('%', Some('%')) => {
                    characters.next();
                }
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(character);
            }
        }
        match <[String; 3]>::try_from(parts) {
            Ok([before, between, after]) => Ok(Template {
                before: before.into(),
                between: between.into(),
                after: after.into(),
            }),
            Err(parts) => Err(TemplateError {
                slots: parts.len() - 1,
            }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {slots} slots `%s`; two are needed, for the message and the request id")]
pub struct TemplateError {
    slots: usize,
}

/// The content type and the body. `accept` and `content_type` are field values as the client sent them; of several Accept
/// lines Kong looks at the first.
pub fn render<'a>(
    message: &str,
    request_id: &str,
    accept: Option<&[u8]>,
    content_type: Option<&[u8]>,
    origin: Origin,
    bodies: impl Into<ErrorBodies<'a>>,
) -> (&'static str, String) {
    let bodies = bodies.into();
    let format = choose(accept, content_type, origin, bodies.default_format);
    let template = bodies.templates.and_then(|templates| templates.of(format));
    (
        format.content_type(),
        body(format, template, message, request_id),
    )
}

/// What a status says when no condition of its own says more.
pub fn message_for(status: u16) -> &'static str {
    match status {
        // nginx's 494, which leaves as 400.
        494 => "Request header or cookie too large",
        400 => "Bad request",
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        417 => "Expectation failed",
        421 => "Misdirected request",
        500 => "An unexpected error occurred",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        _ => "An unexpected error occurred",
    }
}

fn choose(
    accept: Option<&[u8]>,
    content_type: Option<&[u8]>,
    origin: Origin,
    default_type: Format,
) -> Format {
    match (accept, origin) {
        (Some(accept), _) => accepted(accept),
        (None, Origin::Kong) => Format::Json,
        (None, Origin::ProxyLayer) => content_type.map_or(default_type, accepted),
    }
}

/// The media range with the highest q, the first of equals. `*/*` and whatever is not known here is JSON.
fn accepted(field_value: &[u8]) -> Format {
    let mut best = (0, Format::Json);
    for member in field_value.split(|byte| *byte == b',') {
        let mut parameters = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let media_range = parameters.next().unwrap_or_default();
        if !media_range.contains(&b'/') {
            continue;
        }
        let weight = parameters.find_map(weight).unwrap_or(1_000);
        if weight > best.0 {
            best = (weight, format_of(media_range));
        }
    }
    best.1
}

fn format_of(media_range: &[u8]) -> Format {
    const KNOWN: [(&[u8], Format); 6] = [
        (b"application/json", Format::Json),
        (b"text/plain", Format::Plain),
        (b"text/*", Format::Plain),
        (b"text/html", Format::Html),
        (b"application/xml", Format::Xml),
        (b"text/xml", Format::Xml),
    ];
    let known = KNOWN
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(media_range));
    known.map_or(Format::Json, |(_, format)| *format)
}

/// `q=0.8` in thousandths (RFC 9110 §12.4.2); `None`: another parameter. What is no weight counts as 0.
fn weight(parameter: &[u8]) -> Option<u32> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let mut thousandths = u32::from(whole - b'0') * 1_000;
    for (digit, place) in fraction.iter().zip([100, 10, 1]) {
        thousandths += u32::from(digit - b'0') * place;
    }
    Some(if thousandths > 1_000 { 0 } else { thousandths })
}

fn body(format: Format, template: Option<&Template>, message: &str, request_id: &str) -> String {
    let mut out = String::with_capacity(128 + message.len() + request_id.len());
    let (mut before, mut between, mut after, escape): (_, _, _, fn(&mut String, &str)) =
        match format {
            Format::Json => (
                "{\n  \"message\":\"",
                "\",\n  \"request_id\":\"",
                "\"\n}",
                escape_json,
            ),
            Format::Plain => ("", "\nrequest_id: ", "\n", String::push_str),
            Format::Html => (
                "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  \
             </head>\n  <body>\n    <h1>Error</h1>\n    <p>",
                "</p>\n    <p>request_id: ",
                "</p>\n  </body>\n</html>\n",
                escape_markup,
            ),
            Format::Xml => (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>",
                "</message>\n  <requestid>",
                "</requestid>\n</error>\n",
                escape_markup,
            ),
        };
    if let Some(template) = template {
        (before, between, after) = (&*template.before, &*template.between, &*template.after);
    }
    out.push_str(before);
    escape(&mut out, message);
    out.push_str(between);
    escape(&mut out, request_id);
    out.push_str(after);
    out
}

/// RFC 8259 §7.
fn escape_json(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control @ '\0'..='\x1f' => {
                out.push_str("\\u00");
                for nibble in [u32::from(control) >> 4, u32::from(control) & 15] {
                    out.extend(char::from_digit(nibble, 16));
                }
            }
            other => out.push(other),
        }
    }
}

/// XML 1.0 §2.2 has no place for most control characters, escaped or not: they become U+FFFD.
fn escape_markup(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\r' | '\t' => out.push(' '),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn bodies_are_byte_for_byte() {
        // (KONG.md §3.5, Accept, content type, body)
        let rows = [
            (
                "JSON",
                "application/json",
                "application/json; charset=utf-8",
                format!("{{\n  \"message\":\"Not found\",\n  \"request_id\":\"{ID}\"\n}}"),
            ),
            (
                "plain",
                "text/plain",
                "text/plain; charset=utf-8",
                format!("Not found\nrequest_id: {ID}\n"),
            ),
        ];
        for (section, accept, content_type, body) in rows {
            let accept = Some(accept.as_bytes());
            let made = render("Not found", ID, accept, None, Origin::Kong, Format::Plain);
            assert_eq!(made, (content_type, body), "{section}");
        }
    }

    #[test]
    fn html_and_xml_hold_message_and_request_id() {
        for (accept, content_type) in [
            ("text/html", "text/html; charset=utf-8"),
            ("application/xml", "application/xml; charset=utf-8"),
        ] {
            let accept = Some(accept.as_bytes());
            let made = render("Not found", ID, accept, None, Origin::Kong, Format::Plain);
            assert_eq!(made.0, content_type);
            assert!(
                made.1.contains(">Not found<") && made.1.contains(ID),
                "{}",
                made.1
            );
        }
    }

    #[test]
    fn the_highest_q_of_accept_decides() {
        // (rule, Accept, format)
        let rows: [(&str, &str, Format); 18] = [
            ("any is JSON", "*/*", Format::Json),
            ("unknown is JSON", "image/png", Format::Json),
            ("empty is JSON", "", Format::Json),
            ("one", "text/html", Format::Html),
            ("any case", "Text/HTML", Format::Html),
            ("text/xml", "text/xml", Format::Xml),
            (
                "with parameters",
                "text/plain; charset=utf-8",
                Format::Plain,
            ),
            (
                "first of equals",
                "text/html, application/json",
                Format::Html,
            ),
            (
                "higher q",
                "text/html;q=0.8, text/plain;q=0.9",
                Format::Plain,
            ),
            (
                "no q is 1",
                "text/html;q=0.999, application/xml",
                Format::Xml,
            ),
            (
                "q after parameters",
                "text/html;level=1;q=0.1,text/plain;q=0.2",
                Format::Plain,
            ),
            (
                "browser",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Format::Html,
            ),
            (
                "q=0 is refused",
                "text/html;q=0, text/plain;q=0.001",
                Format::Plain,
            ),
            ("all refused", "text/html;q=0", Format::Json),
            (
                "RFC 9110 §12.4.2 q above 1",
                "text/html;q=1.5, text/plain;q=0.1",
                Format::Plain,
            ),
            (
                "RFC 9110 §12.4.2 four digits",
                "text/html;q=0.1234, text/plain;q=0.1",
                Format::Plain,
            ),
            (
                "RFC 9110 §12.4.2 no number",
                "text/html;q=x, text/plain;q=0.1",
                Format::Plain,
            ),
            ("no media range", "gzip, text/plain;q=0.1", Format::Plain),
        ];
        for (rule, accept, format) in rows {
            assert_eq!(accepted(accept.as_bytes()), format, "{rule}");
        }
    }

    #[test]
    fn without_accept_the_origin_decides() {
        // (KONG.md §3.5, origin, Content-Type, error_default_type, format)
        let html = Some(&b"text/html"[..]);
        let rows = [
            ("logic", Origin::Kong, None, Format::Plain, Format::Json),
            (
                "logic, Content-Type",
                Origin::Kong,
                html,
                Format::Plain,
                Format::Json,
            ),
            (
                "proxy",
                Origin::ProxyLayer,
                None,
                Format::Plain,
                Format::Plain,
            ),
            (
                "proxy, default",
                Origin::ProxyLayer,
                None,
                Format::Xml,
                Format::Xml,
            ),
            (
                "proxy, Content-Type",
                Origin::ProxyLayer,
                html,
                Format::Plain,
                Format::Html,
            ),
        ];
        for (rule, origin, content_type, default, format) in rows {
            assert_eq!(
                choose(None, content_type, origin, default),
                format,
                "{rule}"
            );
            let with_accept = choose(Some(b"text/xml"), content_type, origin, default);
            assert_eq!(with_accept, Format::Xml, "{rule}");
        }
    }

    #[test]
    fn messages_are_escaped_for_their_format() {
        let hostile = "a\"b\\c\n\u{1}<script>&'";
        // (format, what must be there)
        let rows = [
            (Format::Json, r#"a\"b\\c\n\u0001<script>&'"#),
            (Format::Html, "a&quot;b\\c \u{fffd}&lt;script&gt;&amp;&#39;"),
            (Format::Xml, "a&quot;b\\c \u{fffd}&lt;script&gt;&amp;&#39;"),
        ];
        for (format, expected) in rows {
            let body = body(format, None, hostile, ID);
            assert!(body.contains(expected), "{format:?}: {body}");
        }
        let json: Result<serde_json::Value, _> =
            serde_json::from_str(&body(Format::Json, None, hostile, ID));
        assert_eq!(json.expect("JSON")["message"], hostile);
    }

    #[test]
    fn a_template_stands_in_for_its_own_format_and_is_filled_escaped() {
        let template = |text: &str| Some(Arc::new(Template::parse(text).expect("two slots")));
        let templates = Templates {
            html: template("<p style='width:100%'>%s</p><i>%s</i> 5%% %"),
            json: template("{\"error\":\"%s\",\"id\":\"%s\"}"),
            ..Templates::default()
        };
        // (Accept, message, body)
        let rows = [
            (
                "text/html",
                "<b> %s",
                format!("<p style='width:100%'>&lt;b&gt; %s</p><i>{ID}</i> 5% %"),
            ),
            (
                "application/json",
                "a\"b",
                format!("{{\"error\":\"a\\\"b\",\"id\":\"{ID}\"}}"),
            ),
            ("text/plain", "a", format!("a\nrequest_id: {ID}\n")),
        ];
        for (accept, message, body) in rows {
            let accept = Some(accept.as_bytes());
            let made = render(
                message,
                ID,
                accept,
                None,
                Origin::Kong,
                (Format::Plain, &templates),
            );
            assert_eq!(made.1, body);
        }
    }

    #[test]
    fn a_template_has_two_slots() {
        // (text, slots found)
        let rows = [
            ("", 0),
            ("%", 0),
            ("%%s %%s", 0),
            ("%s", 1),
            ("%s %s %s", 3),
        ];
        for (text, slots) in rows {
            assert_eq!(
                Template::parse(text),
                Err(TemplateError { slots }),
                "{text}"
            );
        }
        assert!(Template::parse("%%%s%s").is_ok());
    }

    #[test]
    fn statuses_have_kongs_messages() {
        // (KONG.md §3.5, message)
        let rows = [
            (400, "Bad request"),
            (494, "Request header or cookie too large"),
            (404, "Not found"),
            (405, "Method not allowed"),
            (408, "Request timeout"),
            (411, "Length required"),
            (412, "Precondition failed"),
            (413, "Payload too large"),
            (414, "URI too long"),
            (417, "Expectation failed"),
            (500, "An unexpected error occurred"),
            (
                502,
                "An invalid response was received from the upstream server",
            ),
            (503, "The upstream server is currently unavailable"),
            (504, "The upstream server is timing out"),
        ];
        for (status, message) in rows {
            assert_eq!(message_for(status), message);
        }
    }
}
