//! TLS policy as values: versions, suites, groups. Numbers are IANA's; no library's type leaves here.

use super::values::{Parsed, shown, word};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// `ssl_cipher_suite` after refusals: `old` and `fips` have no value here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuiteProfile {
    Modern,
    Intermediate,
    Custom,
}

/// The cipher suites rustls has, with IANA's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CipherSuite {
    Tls13Aes128GcmSha256 = 0x1301,
    Tls13Aes256GcmSha384 = 0x1302,
    Tls13Chacha20Poly1305Sha256 = 0x1303,
    EcdheEcdsaAes128GcmSha256 = 0xc02b,
    EcdheEcdsaAes256GcmSha384 = 0xc02c,
    EcdheRsaAes128GcmSha256 = 0xc02f,
    EcdheRsaAes256GcmSha384 = 0xc030,
    EcdheRsaChacha20Poly1305 = 0xcca8,
    EcdheEcdsaChacha20Poly1305 = 0xcca9,
}

impl CipherSuite {
    pub fn id(self) -> u16 {
        self as u16
    }

    pub fn is_tls13(self) -> bool {
        self.id() >> 8 == 0x13
    }
}

/// Key exchange groups, with IANA's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Group {
    P256 = 0x0017,
    P384 = 0x0018,
    X25519 = 0x001d,
    X25519MlKem768 = 0x11ec,
}

impl Group {
    pub fn id(self) -> u16 {
        self as u16
    }
}

/// In the order the server prefers them (DESIGN.md: AES-128-GCM first), by OpenSSL's names.
pub const SUITES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::Tls13Aes128GcmSha256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::Tls13Aes256GcmSha384),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::Tls13Chacha20Poly1305Sha256,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::EcdheEcdsaAes128GcmSha256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::EcdheRsaAes128GcmSha256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::EcdheEcdsaAes256GcmSha384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::EcdheRsaAes256GcmSha384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::EcdheEcdsaChacha20Poly1305,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::EcdheRsaChacha20Poly1305,
    ),
];

/// Classes an OpenSSL cipher string often excludes and of which rustls has no member, so that `!CLASS` changes nothing.
const ABSENT_CLASSES: [&str; 33] = [
    "aNULL", "eNULL", "NULL", "ADH", "AECDH", "EXP", "EXPORT", "LOW", "MEDIUM", "DES", "3DES",
    "RC4", "RC2", "MD5", "SHA1", "SHA", "PSK", "kPSK", "SRP", "CAMELLIA", "ARIA", "SEED", "IDEA",
    "DSS", "aDSS", "kRSA", "RSAPSK", "DH", "DHE", "kDHE", "EDH", "kEDH", "ECDSAPSK",
];

pub fn protocols(value: &str) -> Parsed<Vec<TlsVersion>> {
    let mut versions = Vec::new();
    for name in value
        .split([' ', '\t', ','])
        .filter(|name| !name.is_empty())
    {
        let version = match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => TlsVersion::Tls12,
            "tlsv1.3" => TlsVersion::Tls13,
            "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" => {
                return Err(format!(
                    "{name} is not offered by rustls; TLSv1.2 and TLSv1.3 are accepted"
                ));
            }
            _ => {
                return Err(format!(
                    "{} is not known; TLSv1.2 and TLSv1.3 are accepted",
                    shown(name)
                ));
            }
        };
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if versions.is_empty() {
        return Err("names no version; TLSv1.2 and TLSv1.3 are accepted".into());
    }
    versions.sort_unstable();
    Ok(versions)
}

pub fn suite_profile(value: &str) -> Parsed<SuiteProfile> {
    match value.to_ascii_lowercase().as_str() {
        "old" => Err("`old` needs TLS 1.0, TLS 1.1 and CBC ciphers, which rustls does not have; modern, intermediate or custom is accepted".into()),
        "fips" => Err("`fips` needs a build against the FIPS module of aws-lc, which this one is not; modern, intermediate or custom is accepted".into()),
        _ => word(
            value,
            &[("modern", SuiteProfile::Modern), ("intermediate", SuiteProfile::Intermediate), ("custom", SuiteProfile::Custom)],
        ),
    }
}

/// OpenSSL's cipher names between `:`, spaces or commas; `!name` takes one out, `!CLASS` is accepted
/// where rustls has no member of the class. As in OpenSSL the list rules TLS 1.2 only, unless it
/// names TLS 1.3 suites: then those alone are offered there.
pub fn ciphers(value: &str) -> Parsed<Vec<CipherSuite>> {
    let mut wanted = Vec::new();
    let mut excluded = Vec::new();
    for name in value
        .split([':', ' ', '\t', ','])
        .filter(|name| !name.is_empty())
    {
        if let Some(out) = name.strip_prefix('!') {
            match named(out) {
                Some(suite) => excluded.push(suite),
                None if ABSENT_CLASSES.contains(&out) => {}
                None => {
                    return Err(format!(
                        "cannot exclude {}; names of ciphers and classes rustls does not have are accepted",
                        shown(out)
                    ));
                }
            }
            continue;
        }
        let suite = named(name).ok_or_else(|| {
            let names: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
            format!(
                "cipher {} is not offered by rustls; accepted: {}",
                shown(name),
                names.join(":")
            )
        })?;
        if !wanted.contains(&suite) {
            wanted.push(suite);
        }
    }
    wanted.retain(|suite| !excluded.contains(suite));
    if wanted.is_empty() {
        return Err("leaves no cipher".into());
    }
    if !wanted.iter().any(|suite| suite.is_tls13()) {
        let tls13 = SUITES
            .iter()
            .map(|(_, suite)| *suite)
            .filter(|suite| suite.is_tls13() && !excluded.contains(suite));
        wanted = tls13.chain(wanted).collect();
    }
    Ok(wanted)
}

fn named(name: &str) -> Option<CipherSuite> {
    SUITES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, suite)| *suite)
}

/// Groups between `:` (as nginx's `ssl_ecdh_curve`), first preferred.
pub fn groups(value: &str) -> Parsed<Vec<Group>> {
    const GROUPS: [(&str, Group); 7] = [
        ("X25519MLKEM768", Group::X25519MlKem768),
        ("X25519", Group::X25519),
        ("P-256", Group::P256),
        ("P-384", Group::P384),
        ("prime256v1", Group::P256),
        ("secp256r1", Group::P256),
        ("secp384r1", Group::P384),
    ];
    // nginx's default word: the library's own choice.
    if value.eq_ignore_ascii_case("auto") {
        return Ok(vec![
            Group::X25519MlKem768,
            Group::X25519,
            Group::P256,
            Group::P384,
        ]);
    }
    let mut groups = Vec::new();
    for name in value.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        let group = word(name, &GROUPS)?;
        if groups.contains(&group) {
            return Err(format!("group {} is named twice", shown(name)));
        }
        groups.push(group);
    }
    if groups.is_empty() {
        return Err("names no group".into());
    }
    Ok(groups)
}
