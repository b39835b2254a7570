//! How an upstream's certificate is verified: path, depth and name, or not at all.

use super::UpstreamError;
use super::sessions::Sessions;
use crate::limits;
use crate::tls::possession;
use crate::tls::trust::path::{self, Purpose, Rules, Work};
use crate::tls::trust::{Reason, Roots};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use webpki::EndEntityCert;

/// Whoever answers must hold the key of the certificate it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    pub algorithms: WebPkiSupportedAlgorithms,
    /// `tls_verify` on; with `None` the key is all that is asked for.
    pub path: Option<VerifyPath>,
}

#[derive(Debug)]
pub(super) struct VerifyPath {
    pub roots: Arc<Roots>,
    pub depth: usize,
    /// Told how long a path is good.
    pub sessions: Arc<Sessions>,
}

impl VerifyPath {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: u64,
    ) -> Result<(), UpstreamError> {
        if self.roots.is_empty() {
            let reason = Reason::NoTrust;
            return Err(UpstreamError::Verify { reason });
        }
        let rules = Rules {
            purpose: Purpose::Server,
            partial: false,
            depth: self.depth,
            sent: limits::UPSTREAM_INTERMEDIATES_MAX,
        };
        let found = path::find(
            &self.roots.cas,
            leaf,
            sent,
            rules,
            now,
            &mut Work::default(),
        )
        .map_err(|reason| UpstreamError::Verify { reason })?;
        let matches = EndEntityCert::try_from(leaf)
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(name));
        matches.map_err(|why| match Reason::of(&why) {
            Reason::NameMismatch => UpstreamError::NameMismatch {
                name: name.to_str().into_owned(),
            },
            reason => UpstreamError::Verify { reason },
        })?;
        self.sessions.verified(name, now, found.valid_until);
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(path) = &self.path {
            path.verify(end_entity, intermediates, server_name, now.as_secs())
                .map_err(carried)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        possession::verify_tls12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        possession::verify_tls13(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Through rustls' error: `Session` logs it by its `Display`.
fn carried(refusal: UpstreamError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}
