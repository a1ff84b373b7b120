//! TLS handshakes: counts those that fail and warns about those that need an operator.
//!
//! Most failures are noise, such as port scanners and probes that connect and leave. One is not: the client that rejects
//! our certificate is usually the API server with an old caBundle. It rejects by an alert (RFC 8446, 6.2).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
/// Of how many addresses there is a warning within [`WARNING_INTERVAL`]. Each client can reject the certificate, and should not take the
/// warning that names the API server.
const MAX_ADDRESSES: usize = 16;

/// Makes the handshake of each connection.
pub(crate) struct Handshakes {
    acceptor: TlsAcceptor,
    limit: Duration,
    failures: FailureLog,
}

/// Counts and logs failed handshakes.
struct FailureLog {
    metrics: HttpsMetrics,
    /// By address.
    last_warnings: Mutex<HashMap<IpAddr, Instant>>,
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
        Self { metrics, last_warnings: Mutex::default() }
    }

    fn failed(&self, client: SocketAddr, error: &io::Error) {
        let failure = HandshakeFailure::of(error);
        self.metrics.handshake_failed(failure);
        if failure == HandshakeFailure::Untrusted && self.is_due(client.ip(), Instant::now()) {
            warn!(
                %client,
                "Client `{client}` does not trust the serving certificate ({error}). If it is the API server, no webhook \
                 call succeeds: compare the caBundle of the webhook configurations, and see `/readyz?verbose`"
            );
        } else {
            debug!(%client, reason = failure.as_str(), "A TLS handshake failed: {error}");
        }
    }

    /// Whether the last warning about that address is long enough ago. If so, `now` becomes its time.
    fn is_due(&self, client: IpAddr, now: Instant) -> bool {
        let mut last = self.last_warnings.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_duration_since(*at) < WARNING_INTERVAL);
        let is_due = last.len() < MAX_ADDRESSES && !last.contains_key(&client);
        if is_due {
            last.insert(client, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_about_a_client_comes_once_a_minute() {
        let log = FailureLog::new(HttpsMetrics::default());
        let start = Instant::now();
        for (after, expected) in [(0, true), (1, false), (59, false), (60, true), (61, false)] {
            assert_eq!(
                log.is_due(IpAddr::from([10, 0, 0, 1]), start + Duration::from_secs(after)),
                expected,
                "after {after} s"
            );
        }
    }

    #[test]
    fn a_client_does_not_take_the_warning_that_names_another() {
        let (log, start) = (FailureLog::new(HttpsMetrics::default()), Instant::now());
        let is_due = |last, after| log.is_due(IpAddr::from([10, 0, 0, last]), start + Duration::from_secs(after));
        assert!(is_due(1, 0) && !is_due(1, 1) && is_due(2, 1));
        let warned = (3..=255).filter(|last| is_due(*last, 2)).count();
        assert_eq!(warned, MAX_ADDRESSES - 2, "of all together");
        assert!(is_due(255, 62) && log.last_warnings.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
