//! When admission is ready: a leaf to serve with, and an API server that would trust it.
//!
//! SecretView out by a dial to the own port, verified as the API server would: for the name that the configuration calls,
//! against the bundle that was read from it. Once that has worked a bundle that is changed by somebody is told and
//! repaired, and unreadies nobody: it would be all replicas at once, and none could answer while it is put right.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bundle_status::BundleStatus;
use super::handshake_check::dial;
use super::server_clock::ServerClock;
use super::serving_certificate::ServingCertificateResolver;
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::telemetry::error_chain;

/// Until the next look while something is wrong, and while all is well.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(60);

/// The checks that are decided here.
pub struct CertificateChecks {
    /// There is a leaf, and it has not been left to expire.
    pub leaf: CheckHandle,
    /// The API server has come through once.
    pub bundle: CheckHandle,
    /// It would come through now.
    pub trust: CheckHandle,
}

/// The service that turns what is known into readiness.
pub struct CertificateReadiness {
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) status: watch::Receiver<BundleStatus>,
    pub(super) clock: ServerClock,
    /// Why there may be no leaf.
    pub(super) fault: Arc<ArcSwapOption<String>>,
}

impl CertificateReadiness {
    /// Looks at each change until the stop. `listening` is the address of the HTTPS port.
    pub async fn run(
        mut self,
        listening: SocketAddr,
        checks: CertificateChecks,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut was_ready = false;
        loop {
            let status = self.status.borrow_and_update().clone();
            match (self.resolver.overdue_since(self.clock.now()), self.fault.load_full()) {
                (Some(end), _) => checks.leaf.fail(format!("the certificate expired at {end} and was not renewed")),
                (None, _) if self.resolver.has_certificate() => checks.leaf.pass(),
                (None, Some(words)) => checks.leaf.fail(words.as_str()),
                (None, None) => {}
            }
            let found = match self.look(listening, &status).await {
                Look::TooEarly => SOON,
                Look::Trusted => {
                    was_ready = true;
                    checks.bundle.pass();
                    checks.trust.pass();
                    LATER
                }
                Look::Refused(words) => {
                    if !was_ready {
                        checks.bundle.fail(&words);
                    }
                    checks.trust.fail(words);
                    SOON
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // The sender ends with the certificates' service, whose end stops the process.
                changed = timeout(found, self.status.changed()) => {
                    if matches!(changed, Ok(Err(_))) {
                        stop.cancelled().await;
                    }
                }
            }
        }
    }

    async fn look(&self, listening: SocketAddr, status: &BundleStatus) -> Look {
        if !self.resolver.has_certificate() || status.is_unknown() {
            return Look::TooEarly;
        }
        if !status.is_settled() {
            return Look::Refused(status.to_string());
        }
        for (kind, trust) in status.trusts() {
            if let Err(error) = dial(listening, trust, &self.clock).await {
                return Look::Refused(format!("{} configuration: {}", kind.as_str(), error_chain(&error)));
            }
        }
        Look::Trusted
    }
}

/// What a look found.
enum Look {
    TooEarly,
    Trusted,
    Refused(String),
}
