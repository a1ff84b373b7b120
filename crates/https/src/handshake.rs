//! Why handshakes fail: counted by reason, and told where somebody has to act.
//!
//! Most failures are noise: port scanners, probes that connect and leave. One is not: a client that turns down our
//! certificate is, as a rule, the API server with a stale caBundle, and it says so by an alert (RFC 8446, 6.2).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{AlertDescription, Error as TlsError, InvalidMessage};
use tracing::{debug, warn};

use super::metrics::HttpsMetrics;

/// An API server with a stale caBundle comes back with each pod: one line a minute says it, the counter says how often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// It took too long.
    Timeout,
    /// The client left.
    Closed,
    /// The client does not trust our certificate.
    Untrusted,
    /// What the client sent is not TLS.
    NotTls,
    /// There is no certificate to serve yet.
    NoCertificate,
    /// Client and server can't agree, or one of them broke the rules.
    Protocol,
}

impl Fault {
    pub(super) const ALL: [Self; 6] =
        [Self::Timeout, Self::Closed, Self::Untrusted, Self::NotTls, Self::NoCertificate, Self::Protocol];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Untrusted => "untrusted",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::Protocol => "protocol",
        }
    }

    fn of(error: &io::Error) -> Self {
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
            // rustls has no other word for a resolver without a certificate; what else is General can't come from a
            // client. A test holds it to that.
            TlsError::General(_) => Self::NoCertificate,
            _ => Self::Protocol,
        }
    }
}

/// The alerts by which a client turns down a certificate. Go's sends `bad_certificate` for an unknown CA too; OpenSSL and
/// rustls send `decrypt_error` where a CA of the same name has another key, as a new one of ours has.
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

/// Tells of handshakes that failed.
pub(super) struct Handshakes {
    metrics: HttpsMetrics,
    warned: Mutex<Option<Instant>>,
}

impl Handshakes {
    pub(super) fn new(metrics: HttpsMetrics) -> Self {
        Self { metrics, warned: Mutex::new(None) }
    }

    pub(super) fn failed(&self, client: SocketAddr, error: &io::Error) {
        let fault = Fault::of(error);
        self.metrics.failed(fault);
        if fault == Fault::Untrusted && self.is_due(Instant::now()) {
            warn!(
                %client,
                "A client does not trust our certificate ({error}). If it is the API server, it calls us in vain: \
                 compare the caBundle of the webhook configurations, and see `/readyz?verbose`"
            );
        } else {
            debug!(%client, reason = fault.as_str(), "A TLS handshake failed: {error}");
        }
    }

    /// Whether the last warning is long enough ago; if so, this is the next one.
    fn is_due(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|before| now.duration_since(before) >= BETWEEN_WARNINGS);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }
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
            (io::Error::new(ErrorKind::TimedOut, "deadline has elapsed"), Fault::Timeout),
            (ErrorKind::UnexpectedEof.into(), Fault::Closed),
            (ErrorKind::ConnectionReset.into(), Fault::Closed),
            (alert(AlertDescription::UnknownCA), Fault::Untrusted),
            (alert(AlertDescription::BadCertificate), Fault::Untrusted),
            (alert(AlertDescription::CertificateExpired), Fault::Untrusted),
            (alert(AlertDescription::DecryptError), Fault::Untrusted),
            (alert(AlertDescription::ProtocolVersion), Fault::Protocol),
            (tls(TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered)), Fault::Protocol),
            (tls(TlsError::NoApplicationProtocol), Fault::Protocol),
            (tls(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)), Fault::NotTls),
        ] {
            assert_eq!(Fault::of(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn a_warning_comes_once_a_minute() {
        let handshakes = Handshakes::new(HttpsMetrics::default());
        let begun = Instant::now();
        for (after, expected) in [(0, true), (1, false), (59, false), (60, true), (61, false)] {
            assert_eq!(handshakes.is_due(begun + Duration::from_secs(after)), expected, "after {after} s");
        }
    }
}
