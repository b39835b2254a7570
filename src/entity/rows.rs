//! Typed views of normalised entities, for compiling a snapshot. Field meaning: KONG.md §1.
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A foreign key as stored: `{"id": "…"}`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct Ref {
    pub id: Uuid,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Certificate {
    pub id: Uuid,
    pub cert: String,
    pub key: String,
    pub cert_alt: Option<String>,
    pub key_alt: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Sni {
    pub id: Uuid,
    pub name: String,
    pub certificate: Ref,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CaCertificate {
    pub id: Uuid,
    pub cert: String,
    pub cert_digest: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    pub id: Uuid,
    pub name: Option<String>,
    pub protocol: String,
    pub host: String,
    pub port: u16,
    pub path: Option<String>,
    #[serde(deserialize_with = "retries")]
    pub retries: u32,
    /// Milliseconds.
    #[serde(deserialize_with = "timeout_ms")]
    pub connect_timeout: u64,
    /// Milliseconds.
    #[serde(deserialize_with = "timeout_ms")]
    pub write_timeout: u64,
    /// Milliseconds.
    #[serde(deserialize_with = "timeout_ms")]
    pub read_timeout: u64,
    pub client_certificate: Option<Ref>,
    pub tls_verify: Option<bool>,
    pub tls_verify_depth: Option<u32>,
    pub ca_certificates: Option<Vec<Uuid>>,
    pub enabled: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    pub id: Uuid,
    /// Unix seconds.
    pub created_at: Option<i64>,
    pub name: Option<String>,
    pub protocols: Vec<String>,
    pub methods: Option<Vec<String>>,
    pub hosts: Option<Vec<String>>,
    pub paths: Option<Vec<String>>,
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    pub snis: Option<Vec<String>>,
    pub strip_path: bool,
    pub preserve_host: bool,
    #[serde(deserialize_with = "regex_priority")]
    pub regex_priority: i64,
    pub https_redirect_status_code: u16,
    pub path_handling: Option<String>,
    pub request_buffering: bool,
    pub response_buffering: bool,
    pub service: Option<Ref>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Consumer {
    pub id: Uuid,
    pub username: Option<String>,
    pub custom_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct MtlsAuthCredential {
    pub id: Uuid,
    pub consumer: Ref,
    pub subject_name: String,
    pub ca_certificate: Option<Ref>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Acl {
    pub id: Uuid,
    pub consumer: Ref,
    pub group: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Plugin {
    pub id: Uuid,
    pub name: String,
    pub instance_name: Option<String>,
    pub route: Option<Ref>,
    pub service: Option<Ref>,
    pub consumer: Option<Ref>,
    pub config: Map<String, Value>,
    pub protocols: Vec<String>,
    pub enabled: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Upstream {
    pub id: Uuid,
    pub name: String,
}

// Optional fields with a default may be stored as null (KONG.md §1.1); they then act as their default.

fn retries<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(5))
}

fn timeout_ms<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(60_000))
}

fn regex_priority<'de, D: Deserializer<'de>>(input: D) -> Result<i64, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(0))
}
