//! TLS handshakes: counts those that fail and warns about those that need an operator.
//!
//! Most failures are noise, such as port scanners and probes that connect and leave. One is not: the client that rejects
//! our certificate is usually the API server with an old caBundle. It rejects by an alert (RFC 8446, 6.2).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use rustls::version::{TLS12, TLS13};
use rustls::{Error as TlsError, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::handshake_failure::HandshakeFailure;
use super::metrics::HttpsMetrics;

/// An API server with an old caBundle connects for each pod. The counter has the number of failures.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Makes the handshake of each connection.
pub(crate) struct Handshakes {
    acceptor: TlsAcceptor,
    limit: Duration,
    failures: FailureLog,
}

/// Counts and logs failed handshakes.
struct FailureLog {
    metrics: HttpsMetrics,
    last_warning: Mutex<Option<Instant>>,
}

impl Handshakes {
    /// Handshakes with the certificate that `resolver` has at their start, each within `limit`.
    pub(crate) fn new(
        resolver: Arc<dyn ResolvesServerCert>,
        limit: Duration,
        metrics: HttpsMetrics,
    ) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), limit, failures: FailureLog::new(metrics) })
    }

    /// The TLS stream, or none after a failure.
    pub(crate) async fn accept<I>(&self, stream: I, client: SocketAddr) -> Option<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = timeout(self.limit, self.acceptor.accept(stream)).await;
        let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        accepted.inspect_err(|error| self.failures.failed(client, error)).ok()
    }
}

impl FailureLog {
    fn new(metrics: HttpsMetrics) -> Self {
        Self { metrics, last_warning: Mutex::new(None) }
    }

    fn failed(&self, client: SocketAddr, error: &io::Error) {
        let failure = HandshakeFailure::of(error);
        self.metrics.handshake_failed(failure);
        if failure == HandshakeFailure::Untrusted && self.is_due(Instant::now()) {
            warn!(
                %client,
                "Client `{client}` does not trust the serving certificate ({error}). If it is the API server, no webhook \
                 call succeeds: compare the caBundle of the webhook configurations, and see `/readyz?verbose`"
            );
        } else {
            debug!(%client, reason = failure.as_str(), "A TLS handshake failed: {error}");
        }
    }

    /// Whether the last warning is long enough ago. If so, `now` becomes the time of the last warning.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_once_a_minute() {
        let log = FailureLog::new(HttpsMetrics::default());
        let start = Instant::now();
        for (after, expected) in [(0, true), (1, false), (59, false), (60, true), (61, false)] {
            assert_eq!(log.is_due(start + Duration::from_secs(after)), expected, "after {after} s");
        }
    }
}
