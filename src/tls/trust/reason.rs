//! Why a certificate chain was refused: one word for the caller, one line for the log.

/// Refusals of client and upstream chains alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    NoCertificate,
    /// The leaf cannot be parsed, or an extension of the chain cannot.
    Malformed,
    Expired,
    NotYetValid,
    CaExpired,
    CaNotYetValid,
    UnknownIssuer,
    SelfSigned,
    /// The path ends at a listed certificate that is not self-issued, and `allow_partial_chain` is off.
    PartialChain,
    BadSignature,
    UnsupportedAlgorithm,
    /// More intermediates than `tls_verify_depth`, or than webpki follows.
    TooLong,
    /// A pathLenConstraint of a CA or the anchor is exceeded.
    PathLength,
    /// A certificate without cA in a CA's place.
    NotCa,
    CaAsLeaf,
    /// keyUsage of a CA or the anchor without keyCertSign.
    NoCertSign,
    /// extKeyUsage without clientAuth (of a client) or serverAuth (of an upstream).
    Purpose,
    NameConstraint,
    CriticalExtension,
    NameMismatch,
    /// Verification is on and there is nothing to verify against.
    NoTrust,
    /// `limits::PATH_SIGNATURES_MAX` is used up.
    TooMuchWork,
    Other,
}

impl Reason {
    /// OpenSSL's number for it (`X509_V_ERR_…`), as nginx logs it.
    pub fn openssl_code(self) -> u32 {
        self.row().0
    }

    /// OpenSSL's words where it has some that fit, ours otherwise.
    pub fn text(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u32, &'static str) {
        match self {
            Reason::NoCertificate => (65, "no certificate was presented"),
            Reason::Malformed => (1, "a certificate of the chain cannot be parsed"),
            Reason::Expired => (10, "certificate has expired"),
            Reason::NotYetValid => (9, "certificate is not yet valid"),
            Reason::CaExpired => (10, "a CA certificate of the chain has expired"),
            Reason::CaNotYetValid => (9, "a CA certificate of the chain is not yet valid"),
            Reason::UnknownIssuer => (20, "unable to get local issuer certificate"),
            Reason::SelfSigned => (18, "self-signed certificate"),
            Reason::PartialChain => (
                2,
                "unable to get issuer certificate: the chain ends at a listed certificate that is not a root",
            ),
            Reason::BadSignature => (7, "certificate signature failure"),
            Reason::UnsupportedAlgorithm => (7, "signature algorithm or key is not supported"),
            Reason::TooLong => (22, "certificate chain too long"),
            Reason::PathLength => (25, "path length constraint exceeded"),
            Reason::NotCa => (24, "invalid CA certificate"),
            Reason::CaAsLeaf => (24, "a CA certificate is used as end entity"),
            Reason::NoCertSign => (32, "key usage does not include certificate signing"),
            Reason::Purpose => (26, "unsuitable certificate purpose"),
            Reason::NameConstraint => (47, "a name is outside the CA's name constraints"),
            Reason::CriticalExtension => (34, "unhandled critical extension"),
            Reason::NameMismatch => (62, "hostname mismatch"),
            Reason::NoTrust => (20, "no trusted CA certificates are configured"),
            Reason::TooMuchWork => (1, "too many candidate paths"),
            Reason::Other => (1, "unspecified certificate verification error"),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl Reason {
    /// What webpki says, in these words. `Expired` and `NotYetValid` are of any certificate of the path.
    #[allow(deprecated, reason = "older variants that webpki still names")]
    pub(in crate::tls) fn of(error: &webpki::Error) -> Reason {
        use webpki::Error;
        match error {
            Error::BadDer
            | Error::BadDerTime
            | Error::ExtensionValueInvalid
            | Error::InvalidCertValidity
            | Error::InvalidSerialNumber
            | Error::MalformedDnsIdentifier
            | Error::MalformedExtensions
            | Error::MalformedNameConstraint
            | Error::TrailingData(_)
            | Error::UnsupportedCertVersion => Reason::Malformed,
            Error::CertExpired { .. } => Reason::Expired,
            Error::CertNotValidYet { .. } => Reason::NotYetValid,
            Error::UnknownIssuer => Reason::UnknownIssuer,
            Error::CaUsedAsEndEntity => Reason::CaAsLeaf,
            Error::EndEntityUsedAsCa => Reason::NotCa,
            Error::PathLenConstraintViolated => Reason::PathLength,
            Error::MaximumPathDepthExceeded => Reason::TooLong,
            Error::EmptyEkuExtension
            | Error::RequiredEkuNotFound
            | Error::RequiredEkuNotFoundContext(_) => Reason::Purpose,
            Error::InvalidSignatureForPublicKey => Reason::BadSignature,
            Error::UnsupportedSignatureAlgorithm
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Reason::UnsupportedAlgorithm
            }
            Error::NameConstraintViolation => Reason::NameConstraint,
            Error::UnsupportedCriticalExtension => Reason::CriticalExtension,
            Error::CertNotValidForName(_) => Reason::NameMismatch,
            Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => Reason::TooMuchWork,
            _ => Reason::Other,
        }
    }
}
