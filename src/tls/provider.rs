//! Which crypto library does what (RUNTIME.md §5), and the names of versions, suites and groups.
//!
//! *mixed*: aws-lc-rs for key exchange, signatures and randomness, ring for AEAD, hash and HKDF. ring's AEAD was
//! measured 1.6 to 2 times faster on a CPU with VAES but without AVX-512; with AVX-512 only TLS 1.3's
//! hash and HKDF are ring's (*mixed-hash*); elsewhere aws-lc-rs does everything.

use rustls::crypto::{CryptoProvider, KeyProvider, SupportedKxGroup, aws_lc_rs, ring};
use rustls::{
    CipherSuiteCommon, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion, Tls13CipherSuite,
};
use std::sync::{Arc, LazyLock};

/// The directive `tls_provider`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By the CPU's features.
    #[default]
    Auto,
    Mixed,
    AwsLc,
    Ring,
}

/// A provider with the reason it was taken: one log line and one metric.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub(crate) provider: Arc<CryptoProvider>,
    /// `mixed`, `mixed-hash`, `aws-lc` or `ring`.
    pub name: &'static str,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    #[error("cipher suite `{name}` is not offered")]
    Suite { name: String },
    #[error("key exchange group `{name}` is not offered")]
    Group { name: String },
    #[error("no cipher suite is left for {version}")]
    NoSuite { version: &'static str },
    #[error("no TLS version is enabled")]
    NoVersion,
    #[error("no key exchange group is left")]
    NoGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As in logs and in `ssl_protocols`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }

    pub(crate) fn rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// Takes a provider for `mode`; `Auto` looks at this CPU.
pub fn choose(mode: Mode) -> Chosen {
    let cpu = Cpu::detect();
    let (name, why) = match mode {
        Mode::Auto if cpu.vaes && !cpu.avx512 => (
            "mixed",
            "the CPU has VAES and no AVX-512: ring for AEAD, aws-lc-rs for the rest".to_owned(),
        ),
        Mode::Auto if cpu.avx512 => (
            "mixed-hash",
            "the CPU has AVX-512: ring for TLS 1.3's hash and HKDF, aws-lc-rs for the rest"
                .to_owned(),
        ),
        Mode::Auto => (
            "aws-lc",
            "the CPU has no VAES: aws-lc-rs for everything".to_owned(),
        ),
        Mode::Mixed => ("mixed", "configured".to_owned()),
        Mode::AwsLc => ("aws-lc", "configured".to_owned()),
        Mode::Ring => ("ring", "configured".to_owned()),
    };
    let mut provider = match name {
        "mixed" => CryptoProvider {
            cipher_suites: ring::ALL_CIPHER_SUITES.to_vec(),
            ..aws_lc_rs::default_provider()
        },
        "mixed-hash" => CryptoProvider {
            cipher_suites: with_rings_hash().to_vec(),
            ..aws_lc_rs::default_provider()
        },
        "ring" => ring::default_provider(),
        _ => aws_lc_rs::default_provider(),
    };
    provider
        .cipher_suites
        .sort_by_key(|suite| rank(*suite, cpu.aes));
    Chosen {
        provider: Arc::new(provider),
        name,
        why,
    }
}

/// aws-lc's suites, the key schedule of TLS 1.3 by ring: it hashes fewer blocks (RUNTIME.md §0.3), which is 3% of a full
/// handshake, while aws-lc's AEAD is the faster one where AVX-512 is.
fn with_rings_hash() -> &'static [SupportedCipherSuite] {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
        let mixed = |suite: &SupportedCipherSuite| {
            let own = suite.tls13()?;
            let rings = ring::ALL_CIPHER_SUITES
                .iter()
                .filter_map(SupportedCipherSuite::tls13)
                .find(|rings| rings.common.suite == own.common.suite)?;
            // Made once for the life of the process: rustls wants a static reference.
            let made: &'static Tls13CipherSuite = Box::leak(Box::new(Tls13CipherSuite {
                common: CipherSuiteCommon {
                    suite: own.common.suite,
                    hash_provider: rings.common.hash_provider,
                    confidentiality_limit: own.common.confidentiality_limit,
                },
                hkdf_provider: rings.hkdf_provider,
                aead_alg: own.aead_alg,
                quic: None,
            }));
            Some(SupportedCipherSuite::Tls13(made))
        };
        let all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
        all.map(|suite| mixed(suite).unwrap_or(*suite)).collect()
    });
    &SUITES
}

/// The first line of `main`: with two providers compiled in, every library that relies on the default would panic.
/// A second call changes nothing.
pub fn install_default(mode: Mode) -> Chosen {
    let chosen = choose(mode);
    // Err: another one is installed already, which serves as well as ours where only a default is wanted.
    let _ = (*chosen.provider).clone().install_default();
    chosen
}

impl Chosen {
    /// The provider reduced to `versions`, `suites` and `groups` (IANA numbers, in order of preference; empty: all).
    /// `suites` rules the versions it names suites for: a list of TLS 1.2 suites leaves TLS 1.3's alone.
    pub(crate) fn restrict(
        &self,
        versions: &[Version],
        suites: &[u16],
        groups: &[u16],
    ) -> Result<Arc<CryptoProvider>, ProviderError> {
        if versions.is_empty() {
            return Err(ProviderError::NoVersion);
        }
        let mut provider = (*self.provider).clone();
        provider.cipher_suites = self.suites(versions, suites)?;
        if !groups.is_empty() {
            provider.kx_groups = groups
                .iter()
                .map(|group| self.group(*group))
                .collect::<Result<_, _>>()?;
        }
        if provider.kx_groups.is_empty() {
            return Err(ProviderError::NoGroup);
        }
        Ok(Arc::new(provider))
    }

    fn suites(
        &self,
        versions: &[Version],
        wanted: &[u16],
    ) -> Result<Vec<SupportedCipherSuite>, ProviderError> {
        let mut named = Vec::with_capacity(wanted.len());
        for id in wanted {
            let suite = self
                .provider
                .cipher_suites
                .iter()
                .find(|suite| u16::from(suite.suite()) == *id);
            named.push(*suite.ok_or_else(|| ProviderError::Suite {
                name: shown(&SUITES, *id),
            })?);
        }
        let mut left = Vec::new();
        for version in versions {
            let of_version =
                |suite: &&SupportedCipherSuite| suite.version().version == version.rustls().version;
            let before = left.len();
            left.extend(named.iter().filter(of_version));
            if left.len() == before && (named.is_empty() || *version == Version::Tls13) {
                left.extend(self.provider.cipher_suites.iter().filter(of_version));
            }
            if left.len() == before {
                return Err(ProviderError::NoSuite {
                    version: version.name(),
                });
            }
        }
        Ok(left)
    }

    fn group(&self, id: u16) -> Result<&'static dyn SupportedKxGroup, ProviderError> {
        let everything = match self.name {
            "ring" => ring::ALL_KX_GROUPS,
            _ => aws_lc_rs::ALL_KX_GROUPS,
        };
        everything
            .iter()
            .find(|group| u16::from(group.name()) == id)
            .copied()
            .ok_or_else(|| ProviderError::Group {
                name: shown(&GROUPS, id),
            })
    }
}

/// OpenSSL's name: what nginx and Kong log.
pub(crate) fn suite_name(suite: SupportedCipherSuite) -> &'static str {
    named(&SUITES, suite.suite().into()).unwrap_or("unknown")
}

pub(crate) fn group_name(group: NamedGroup) -> Option<&'static str> {
    named(&GROUPS, group.into())
}

fn named(table: &[(u16, &'static str)], id: u16) -> Option<&'static str> {
    let row = table.iter().find(|(known, _)| *known == id);
    row.map(|(_, name)| *name)
}

/// The name, where there is one, of what a directive asked for.
fn shown(table: &[(u16, &'static str)], id: u16) -> String {
    named(table, id).map_or_else(|| format!("{id:#06x}"), str::to_owned)
}

/// Builds signing keys: the process's default provider, aws-lc-rs where none is installed (tests, `check`).
pub(crate) fn key_provider() -> &'static dyn KeyProvider {
    match CryptoProvider::get_default() {
        Some(provider) => provider.key_provider,
        None => aws_lc_rs::default_provider().key_provider,
    }
}

struct Cpu {
    aes: bool,
    vaes: bool,
    avx512: bool,
}

impl Cpu {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        Self {
            aes: std::arch::is_x86_feature_detected!("aes"),
            vaes: std::arch::is_x86_feature_detected!("vaes"),
            avx512: std::arch::is_x86_feature_detected!("avx512f"),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detect() -> Self {
        Self {
            aes: std::arch::is_aarch64_feature_detected!("aes"),
            vaes: false,
            avx512: false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn detect() -> Self {
        Self {
            aes: false,
            vaes: false,
            avx512: false,
        }
    }
}

/// The server's order: AES-128-GCM, then AES-256-GCM, then ChaCha20 where AES is in hardware, ChaCha20 first elsewhere.
/// TLS 1.3 stands before TLS 1.2, ECDSA before RSA.
fn rank(suite: SupportedCipherSuite, aes_in_hardware: bool) -> (u8, u8, u8) {
    let name = suite_name(suite);
    let version = u8::from(suite.tls13().is_none());
    let aead = match (name.contains("CHACHA20"), name.contains("128")) {
        (true, _) if aes_in_hardware => 3,
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    (version, aead, u8::from(name.contains("RSA")))
}

/// By IANA's number: OpenSSL's name, which for suites of TLS 1.3 is IANA's too.
const SUITES: [(u16, &str); 9] = [
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
];

/// By IANA's number: the name in use.
const GROUPS: [(u16, &str); 4] = [
    (0x11ec, "X25519MLKEM768"),
    (0x001d, "X25519"),
    (0x0017, "P-256"),
    (0x0018, "P-384"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_suites_of_both_versions_and_aes_128_or_chacha_first() {
        for mode in [Mode::Auto, Mode::Mixed, Mode::AwsLc, Mode::Ring] {
            let chosen = choose(mode);
            let names: Vec<&str> = chosen
                .provider
                .cipher_suites
                .iter()
                .map(|suite| suite_name(*suite))
                .collect();
            assert_eq!(names.len(), SUITES.len(), "{mode:?}");
            let first = if Cpu::detect().aes {
                "TLS_AES_128_GCM_SHA256"
            } else {
                "TLS_CHACHA20_POLY1305_SHA256"
            };
            assert_eq!(names[0], first, "{mode:?}");
            assert!(!chosen.why.is_empty());
        }
    }

    #[test]
    fn suites_are_ordered_by_version_then_aead_then_signature() {
        let order = |aes| {
            let mut suites = aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
            suites.sort_by_key(|suite| rank(*suite, aes));
            suites.into_iter().map(suite_name).collect::<Vec<_>>()
        };
        assert_eq!(
            order(true)[..5],
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256"
            ]
        );
        assert_eq!(
            order(false)[..2],
            ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]
        );
    }

    #[test]
    fn a_restriction_keeps_the_order_given_and_refuses_an_empty_version() {
        let chosen = choose(Mode::AwsLc);
        let provider = chosen
            .restrict(
                &[Version::Tls12, Version::Tls13],
                &[0xc030, 0xc02f],
                &[0x0018, 0x001d],
            )
            .unwrap();
        let ids: Vec<u16> = provider
            .cipher_suites
            .iter()
            .map(|suite| u16::from(suite.suite()))
            .collect();
        assert_eq!(ids[..2], [0xc030, 0xc02f]);
        assert_eq!(ids.len(), 5, "TLS 1.3 keeps its three suites");
        let groups: Vec<u16> = provider
            .kx_groups
            .iter()
            .map(|group| u16::from(group.name()))
            .collect();
        assert_eq!(groups, [0x0018, 0x001d]);

        let error = chosen
            .restrict(&[Version::Tls12], &[0x1301], &[])
            .unwrap_err();
        assert_eq!(error, ProviderError::NoSuite { version: "TLSv1.2" });
        assert_eq!(
            chosen.restrict(&[], &[], &[]).unwrap_err(),
            ProviderError::NoVersion
        );
        let error = choose(Mode::Ring)
            .restrict(&[Version::Tls13], &[], &[0x11ec])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "key exchange group `X25519MLKEM768` is not offered"
        );
    }
}
