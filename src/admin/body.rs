//! The content of a write (KONG.md §2.3): JSON, urlencoded and multipart forms, and YAML for `/config`.
//!
//! JSON is taken as it is. Forms are typed by the fields of a schema (`form`), which for a plugin depends on its name:
//! so content is read first and typed when the operation knows what it is for.
use super::errors::Failure;
use super::form::{Form, Leaf};
use crate::entity::schema::{self, Field};
use crate::entity::{Kind, plugins};
use crate::limits::{ADMIN_ARGUMENTS_MAX, ADMIN_VALUES_MAX};
use bytes::Bytes;
use http_body_util::{BodyDataStream, BodyExt, Full, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::CONTENT_TYPE;
use multer::Multipart;
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::error::Error;

/// What a request has sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Json(Map<String, Value>),
    /// Also when nothing was sent.
    Form(Form),
    /// `/config` only.
    Yaml(String),
}

/// Whether YAML is taken, as only `/config` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Yaml {
    Accepted,
    Refused,
}

/// Receives the content.
///
/// # Errors
/// 413 above `size_max` bytes, 400 when the connection ends before the content does.
pub async fn collect<B>(body: B, size_max: usize) -> Result<Bytes, Failure>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > size_max as u64 {
        return Err(Failure::payload_too_large());
    }
    match Limited::new(body, size_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::payload_too_large()),
        Err(_) => Err(Failure::bad_request("Cannot read the request body")),
    }
}

/// Reads the content by its `Content-Type`. Never waits: all of it is there.
///
/// # Errors
/// 400: `Content-Type` more than once, content that does not parse, too many arguments. 415: another type, or none.
pub async fn read(headers: &HeaderMap, content: Bytes, yaml: Yaml) -> Result<Input, Failure> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (given, None) = (types.next(), types.next()) else {
        return Err(Failure::bad_request(
            "Multiple Content-Type headers not allowed",
        ));
    };
    // What is not ASCII is no type we know.
    let given = given.map(|value| value.to_str().unwrap_or_default());
    let essence = given.map(|text| {
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    });
    match essence.as_deref() {
        Some("application/json") => json(&content, yaml).map(Input::Json),
        Some("application/yaml" | "text/yaml") if yaml == Yaml::Accepted => {
            match String::from_utf8(content.into()) {
                Ok(text) => Ok(Input::Yaml(text)),
                Err(_) => Err(Failure::bad_request("Cannot parse YAML body: not UTF-8")),
            }
        }
        // Clients name a type and a boundary for forms without fields.
        _ if content.is_empty() => Ok(Input::Form(Form::default())),
        Some("application/x-www-form-urlencoded") => urlencoded(&content).map(Input::Form),
        Some("multipart/form-data") => multipart(given.unwrap_or_default(), content, yaml)
            .await
            .map(Input::Form),
        _ => Err(Failure::unsupported_media_type()),
    }
}

impl Input {
    /// The text of a top-level argument.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self {
            Input::Json(map) => map.get(name)?.as_str(),
            Input::Form(form) => form.text(name),
            Input::Yaml(_) => None,
        }
    }

    /// The object of a top-level argument: in JSON, or a part of a form that is JSON.
    pub fn object(&self, name: &str) -> Option<&Value> {
        let value = match self {
            Input::Json(map) => map.get(name)?,
            Input::Form(form) => form.json(name)?,
            Input::Yaml(_) => return None,
        };
        value.is_object().then_some(value)
    }

    /// The arguments with the types of a kind's fields. `plugin`: the name of the stored plugin, where the input need
    /// not have one (PATCH).
    pub fn typed_for(self, kind: Kind, plugin: Option<&str>) -> Map<String, Value> {
        let name = self.text("name").or(plugin).unwrap_or_default();
        let fields = match kind {
            Kind::Plugins => plugins::fields_of(name).map(Cow::Owned),
            _ => None,
        };
        let fields = fields.unwrap_or(Cow::Borrowed(schema::of(kind).fields));
        self.typed(&fields)
    }

    /// The arguments with the types of `fields`; those it does not know stay text.
    pub fn typed(self, fields: &[Field]) -> Map<String, Value> {
        match self {
            Input::Json(map) => map,
            Input::Form(form) => form.typed(fields),
            Input::Yaml(_) => Map::new(),
        }
    }
}

/// A whole configuration has more values than one entity.
fn json(content: &[u8], yaml: Yaml) -> Result<Map<String, Value>, Failure> {
    if yaml == Yaml::Refused && !has_few_values(content) {
        return Err(too_many_arguments());
    }
    match serde_json::from_slice(content) {
        Ok(Value::Object(map)) if map.len() > ADMIN_ARGUMENTS_MAX => Err(too_many_arguments()),
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Failure::bad_request("Cannot parse JSON body")),
    }
}

/// Looked at before anything is parsed: a value takes a hundred bytes of memory and two of the content.
fn has_few_values(content: &[u8]) -> bool {
    let (mut in_text, mut escaped) = (false, false);
    let mut count = 0;
    for byte in content {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' | b',' | b':' if !in_text => count += 1,
            _ => {}
        }
    }
    count <= ADMIN_VALUES_MAX
}

fn urlencoded(content: &[u8]) -> Result<Form, Failure> {
    let mut form = Form::default();
    let pairs = content
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty());
    for (count, pair) in pairs.enumerate() {
        if count == ADMIN_ARGUMENTS_MAX {
            return Err(too_many_arguments());
        }
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        let name = decode(name)?;
        let value = decode(value.strip_prefix(b"=").unwrap_or_default())?;
        form.add(&name, Leaf::Text(value))?;
    }
    Ok(form)
}

fn decode(text: &[u8]) -> Result<String, Failure> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| Failure::bad_request("Cannot parse form body: not UTF-8"))
}

async fn multipart(content_type: &str, content: Bytes, yaml: Yaml) -> Result<Form, Failure> {
    let refuse = |_| Failure::bad_request("Cannot parse multipart body");
    let boundary = multer::parse_boundary(content_type).map_err(refuse)?;
    let mut parts = Multipart::new(BodyDataStream::new(Full::new(content)), boundary);
    let mut form = Form::default();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(refuse)? {
        if count == ADMIN_ARGUMENTS_MAX {
            return Err(too_many_arguments());
        }
        count += 1;
        let Some(name) = part.name().map(str::to_owned) else {
            continue;
        };
        let is_json = part
            .content_type()
            .is_some_and(|mime| mime.essence_str() == "application/json");
        let value = part.bytes().await.map_err(refuse)?;
        let leaf = match is_json {
            true if yaml == Yaml::Refused && !has_few_values(&value) => {
                return Err(too_many_arguments());
            }
            true => serde_json::from_slice(&value)
                .map(Leaf::Json)
                .map_err(|_| Failure::bad_request("Cannot parse JSON body"))?,
            false => String::from_utf8(value.into())
                .map(Leaf::Text)
                .map_err(|_| {
                    Failure::bad_request(format!(
                        "Cannot parse multipart body: '{name}' is not UTF-8"
                    ))
                })?,
        };
        form.add(&name, leaf)?;
    }
    Ok(form)
}

fn too_many_arguments() -> Failure {
    Failure::bad_request("Too many arguments")
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
