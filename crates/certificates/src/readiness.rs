//! When admission is ready: there is a serving certificate, and the API server would trust it.
//!
//! A TLS handshake with the own port finds out, for the name that the configuration calls, verified by the `caBundle` that was
//! read from it. After the first success a changed bundle is reported and repaired, but makes no replica unready: it would be
//! all replicas at once, and the webhook would be without endpoints until the repair.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bundle_status::BundleStatus;
use super::handshake_check::check_handshake;
use super::secret_reads::SecretReads;
use super::serving_certificate::ServingCertificateResolver;
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::server_clock::ServerClock;

/// From one check to the next after a failure, and after a success.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The health checks that are set here.
pub struct CertificateChecks {
    /// There is a serving certificate, and it was renewed in time.
    pub serving_certificate: CheckHandle,
    /// The API server would have trusted it at least once.
    pub ca_bundle: CheckHandle,
    /// The API server would trust it now.
    pub ca_trust: CheckHandle,
}

/// The service that sets the health checks.
pub struct CertificateReadiness {
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) bundle_status: watch::Receiver<BundleStatus>,
    pub(super) clock: ServerClock,
    pub(super) secret_reads: SecretReads,
}

impl CertificateReadiness {
    /// Sets the checks after each change, until the stop. `listening` is the address of the HTTPS port.
    pub async fn run(
        mut self,
        listening: SocketAddr,
        checks: CertificateChecks,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut was_trusted = false;
        loop {
            let status = self.bundle_status.borrow_and_update().clone();
            // Read once, so that both checks agree. A certificate that is set meanwhile is seen at the next round, soon.
            let has_certificate = self.resolver.has_certificate();
            self.check_serving_certificate(&checks.serving_certificate, has_certificate);
            let interval = match self.check_trust(listening, &status, has_certificate).await {
                TrustCheck::TooEarly => RETRY_INTERVAL,
                TrustCheck::Trusted => {
                    was_trusted = true;
                    checks.ca_bundle.pass();
                    checks.ca_trust.pass();
                    CHECK_INTERVAL
                }
                TrustCheck::Failed(message) => {
                    if !was_trusted {
                        checks.ca_bundle.fail(&message);
                    }
                    checks.ca_trust.fail(message);
                    RETRY_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // The sender ends with the certificates' service, whose end stops the process.
                changed = timeout(interval, self.bundle_status.changed()) => {
                    if matches!(changed, Ok(Err(_))) {
                        stop.cancelled().await;
                    }
                }
            }
        }
    }

    fn check_serving_certificate(&self, check: &CheckHandle, has_certificate: bool) {
        match (self.resolver.overdue_since(self.clock.now()), self.secret_reads.secret_failure()) {
            (Some(end), _) => check.fail(format!("the serving certificate expired at {end} and was not renewed")),
            (None, _) if has_certificate => check.pass(),
            (None, Some(failure)) => check.fail(failure.as_str()),
            (None, None) => {}
        }
    }

    async fn check_trust(&self, listening: SocketAddr, status: &BundleStatus, has_certificate: bool) -> TrustCheck {
        if !has_certificate || status.has_unread() {
            return TrustCheck::TooEarly;
        }
        if !status.is_known() {
            return TrustCheck::Failed(status.to_string());
        }
        for (kind, trust) in status.trusts() {
            if let Err(error) = check_handshake(listening, trust, &self.clock).await {
                return TrustCheck::Failed(format!("{} configuration: {}", kind.as_str(), error_chain(&error)));
            }
        }
        TrustCheck::Trusted
    }
}

enum TrustCheck {
    TooEarly,
    Trusted,
    Failed(String),
}
