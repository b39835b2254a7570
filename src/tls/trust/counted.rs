//! The signature algorithms of certificates, counted and bounded for one search.

use crate::limits;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use std::sync::atomic::{AtomicU32, Ordering};

/// Signatures of one search.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub verified: AtomicU32,
    /// Asked for beyond `limits::PATH_SIGNATURES_MAX` and not verified.
    pub refused: AtomicU32,
}

/// An algorithm that counts and, past the bound, refuses without verifying.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    pub algorithm: &'static dyn SignatureVerificationAlgorithm,
    // Atomic only because the trait asks for Sync: a search stays on its thread.
    pub counter: &'a Counter,
}

impl SignatureVerificationAlgorithm for Counted<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if self.counter.verified.load(Ordering::Relaxed) >= limits::PATH_SIGNATURES_MAX {
            self.counter.refused.fetch_add(1, Ordering::Relaxed);
            return Err(InvalidSignature);
        }
        self.counter.verified.fetch_add(1, Ordering::Relaxed);
        self.algorithm
            .verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

/// What rustls' aws-lc-rs provider accepts in certificates, the frequent ones first. No SHA-1, no RSA below 2048 bits.
pub(super) static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 19] = [
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P256_SHA512,
    webpki::aws_lc_rs::ECDSA_P384_SHA512,
    webpki::aws_lc_rs::ECDSA_P521_SHA256,
    webpki::aws_lc_rs::ECDSA_P521_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
];
