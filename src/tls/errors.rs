//! What ends a TLS connection, and what is sent and logged then.
//!
//! One error type for both sides. It carries the bytes the peer still gets (an alert, if any), the alert's name for
//! a metric's label and a text for the log. No rustls type leaves through it.

use rustls::{AlertDescription, CertificateError, Error as Tls, OtherError};
use std::fmt;

#[derive(Clone, Debug)]
pub enum Error {
    /// The client speaks HTTP in clear text on a TLS port: answer 400 in clear text.
    PlainHttp,
    /// The first bytes are neither TLS nor HTTP. Nothing is sent.
    NotTls,
    /// The certificate configured for the requested name cannot be used. Never replaced by the default pair.
    Identity { reason: Box<str> },
    /// The peer broke the protocol, refused us, or has nothing in common with the policy.
    Protocol(Box<Failure>),
}

/// One refused connection.
#[derive(Clone, Debug)]
pub struct Failure {
    reason: Box<str>,
    alert: Vec<u8>,
    alert_name: &'static str,
    received: bool,
}

impl Error {
    /// Bytes to send before closing: what was still queued, the alert last. May be empty.
    pub fn alert(&self) -> &[u8] {
        match self {
            Self::PlainHttp | Self::NotTls => &[],
            Self::Identity { .. } => &INTERNAL_ERROR_RECORD,
            Self::Protocol(failure) => &failure.alert,
        }
    }

    /// The alert's name as RFC 8446 §6 writes it, or `none`: a bounded label.
    pub fn alert_name(&self) -> &'static str {
        match self {
            Self::PlainHttp | Self::NotTls => "none",
            Self::Identity { .. } => "internal_error",
            Self::Protocol(failure) => failure.alert_name,
        }
    }

    /// The client spoke HTTP in clear text.
    pub fn is_plain_http(&self) -> bool {
        matches!(self, Self::PlainHttp)
    }

    /// True when the peer sent the alert: it refused us, not we it.
    pub fn received_alert(&self) -> bool {
        matches!(self, Self::Protocol(failure) if failure.received)
    }

    /// `alert` holds whatever was still to be sent when `error` arose.
    pub(crate) fn protocol(error: &Tls, alert: Vec<u8>) -> Self {
        let (description, received) = match error {
            Tls::AlertReceived(description) => (*description, true),
            other => (
                plain_alert(&alert).unwrap_or_else(|| alert_for(other)),
                false,
            ),
        };
        Self::Protocol(Box::new(Failure {
            reason: reason(error).into_boxed_str(),
            alert,
            alert_name: alert_name(description),
            received,
        }))
    }

    /// A refusal of ours made before the connection has keys: the alert goes out in clear text.
    pub(crate) fn refused(reason: impl Into<Box<str>>, description: AlertDescription) -> Self {
        Self::Protocol(Box::new(Failure {
            reason: reason.into(),
            alert: alert_record(description).to_vec(),
            alert_name: alert_name(description),
            received: false,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("a plain HTTP request was sent to a TLS port"),
            Self::NotTls => f.write_str("the first bytes are not a TLS record"),
            Self::Identity { reason } => f.write_str(reason),
            Self::Protocol(failure) if failure.received => {
                write!(
                    f,
                    "the peer ended the connection with alert {}",
                    failure.alert_name
                )
            }
            Self::Protocol(failure) => f.write_str(&failure.reason),
        }
    }
}

impl std::error::Error for Error {}

/// In words where rustls has the name of a variant: an operator meets these.
fn reason(error: &Tls) -> String {
    use rustls::{InvalidMessage, PeerIncompatible, PeerMisbehaved};
    let text = match error {
        // rustls shows an error of our own verifier by its `Debug`.
        Tls::InvalidCertificate(CertificateError::Other(OtherError(own))) => {
            return own.to_string();
        }
        Tls::InvalidCertificate(CertificateError::BadSignature) => {
            "the signature over the handshake is not by the key of the certificate it sent"
        }
        Tls::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "no cipher suite in common"
        }
        Tls::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            "no key exchange in common: it offers none of our groups, or no ECDHE suite"
        }
        Tls::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            "no signature scheme in common: it accepts none that our certificate's key can make"
        }
        Tls::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => {
            "it offers no signature algorithms"
        }
        Tls::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "no TLS version in common",
        Tls::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)
        | Tls::InvalidMessage(InvalidMessage::InvalidServerName) => "its SNI is no host name",
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => "what it sent is no TLS record",
        Tls::NoApplicationProtocol => "no ALPN protocol in common; http/1.1 is served",
        other => return other.to_string(),
    };
    text.to_owned()
}

/// A fatal alert in a record without protection (RFC 8446 §5.1, §6).
fn alert_record(description: AlertDescription) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, u8::from(description)]
}

const INTERNAL_ERROR_RECORD: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The description of the alert that ends `bytes`, if it is not encrypted.
fn plain_alert(bytes: &[u8]) -> Option<AlertDescription> {
    match bytes.last_chunk::<7>() {
        Some([21, 3, _, 0, 2, 1 | 2, description]) => Some(AlertDescription::from(*description)),
        _ => None,
    }
}

/// The alert rustls sends for `error`; an encrypted alert cannot be read back, so its name is derived.
fn alert_for(error: &Tls) -> AlertDescription {
    match error {
        Tls::InappropriateMessage { .. } | Tls::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Tls::InvalidMessage(error) => AlertDescription::from(*error),
        Tls::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Tls::DecryptError => AlertDescription::BadRecordMac,
        Tls::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Tls::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Tls::InvalidCertificate(CertificateError::BadSignature) => AlertDescription::DecryptError,
        Tls::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Tls::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Tls::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        _ => AlertDescription::InternalError,
    }
}

fn alert_name(description: AlertDescription) -> &'static str {
    match description {
        AlertDescription::CloseNotify => "close_notify",
        AlertDescription::UnexpectedMessage => "unexpected_message",
        AlertDescription::BadRecordMac => "bad_record_mac",
        AlertDescription::RecordOverflow => "record_overflow",
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::NoCertificate => "no_certificate",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::IllegalParameter => "illegal_parameter",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecodeError => "decode_error",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::InsufficientSecurity => "insufficient_security",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::InappropriateFallback => "inappropriate_fallback",
        AlertDescription::UserCanceled => "user_canceled",
        AlertDescription::NoRenegotiation => "no_renegotiation",
        AlertDescription::MissingExtension => "missing_extension",
        AlertDescription::UnsupportedExtension => "unsupported_extension",
        AlertDescription::UnrecognisedName => "unrecognized_name",
        AlertDescription::BadCertificateStatusResponse => "bad_certificate_status_response",
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity",
        AlertDescription::CertificateRequired => "certificate_required",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        AlertDescription::EncryptedClientHelloRequired => "ech_required",
        // Bytes from the network: an unknown number must not become a label.
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_hello_is_a_clear_text_alert_named_like_the_rfc() {
        let error = Error::refused("too long", AlertDescription::DecodeError);
        assert_eq!(error.alert(), [21, 3, 3, 0, 2, 2, 50]);
        assert_eq!(error.alert_name(), "decode_error");
        assert_eq!(error.to_string(), "too long");
    }

    #[test]
    fn an_alert_from_the_peer_names_the_peer() {
        let error = Error::protocol(&Tls::AlertReceived(AlertDescription::UnknownCA), Vec::new());
        assert!(error.received_alert());
        assert_eq!(
            error.to_string(),
            "the peer ended the connection with alert unknown_ca"
        );
        let unknown = Error::protocol(
            &Tls::AlertReceived(AlertDescription::Unknown(201)),
            Vec::new(),
        );
        assert_eq!(unknown.alert_name(), "other");
    }

    #[test]
    fn a_clear_text_alert_is_named_from_its_bytes() {
        let error = Error::protocol(&Tls::General("x".into()), vec![9, 21, 3, 3, 0, 2, 2, 70]);
        assert_eq!(error.alert_name(), "protocol_version");
    }
}
