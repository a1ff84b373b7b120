//! The reasons of failed TLS handshakes.

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, Error as TlsError, InvalidMessage};

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// The client does not trust our certificate.
    Untrusted,
    /// The client does not speak TLS.
    NotTls,
    /// The server has no certificate yet.
    NoCertificate,
    /// Client and server have no version, cipher or protocol in common, or one of them violated the protocol.
    Protocol,
}

impl HandshakeFailure {
    pub(crate) const ALL: [Self; 6] =
        [Self::Timeout, Self::Closed, Self::Untrusted, Self::NotTls, Self::NoCertificate, Self::Protocol];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Untrusted => "untrusted",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::Protocol => "protocol",
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Closed,
        }
    }

    fn of_tls(error: &TlsError) -> Self {
        match error {
            TlsError::AlertReceived(alert) if is_distrust(*alert) => Self::Untrusted,
            TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            // rustls has no other error for a resolver without a certificate, and a client can't cause any other
            // `General`. `each_failed_handshake_is_counted_by_its_reason` fails when rustls changes this.
            TlsError::General(_) => Self::NoCertificate,
            _ => Self::Protocol,
        }
    }
}

/// Whether a client rejects a certificate with this alert. Go sends `bad_certificate` for an unknown CA too. OpenSSL and
/// rustls send `decrypt_error` for a CA with a known name and another key, such as a new CA of ours.
fn is_distrust(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use rustls::PeerIncompatible;

    use super::*;

    #[test]
    fn a_failed_handshake_has_one_reason() {
        let tls = |error: TlsError| io::Error::new(ErrorKind::InvalidData, error);
        let alert = |alert| tls(TlsError::AlertReceived(alert));
        for (error, expected) in [
            (io::Error::new(ErrorKind::TimedOut, "deadline has elapsed"), HandshakeFailure::Timeout),
            (ErrorKind::UnexpectedEof.into(), HandshakeFailure::Closed),
            (ErrorKind::ConnectionReset.into(), HandshakeFailure::Closed),
            (alert(AlertDescription::UnknownCA), HandshakeFailure::Untrusted),
            (alert(AlertDescription::BadCertificate), HandshakeFailure::Untrusted),
            (alert(AlertDescription::CertificateExpired), HandshakeFailure::Untrusted),
            (alert(AlertDescription::DecryptError), HandshakeFailure::Untrusted),
            (alert(AlertDescription::ProtocolVersion), HandshakeFailure::Protocol),
            (tls(TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered)), HandshakeFailure::Protocol),
            (tls(TlsError::NoApplicationProtocol), HandshakeFailure::Protocol),
            (tls(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)), HandshakeFailure::NotTls),
        ] {
            assert_eq!(HandshakeFailure::of(&error), expected, "{error:?}");
        }
    }
}
