//! Signs the serving certificate by the current CA and renews it in time.
//!
//! It needs only the CA in memory, so that an API server outage does not let the serving certificate expire.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::info;

use super::certificate_authority::{CaCertificate, CertificateAuthority, two_thirds};
use super::error::CertificateError;
use super::metrics::CertificateMetrics;
use super::serving_certificate::ServingCertificateResolver;
use snapwatcher_kubernetes::server_clock::ServerClock;

/// From one check to the next while the CA counts as expired. A new CA ends the wait, but a CA that a wrong clock made
/// expire has none.
const EXPIRED_CA_INTERVAL: Duration = Duration::from_secs(5);

/// The service that signs serving certificates.
pub(super) struct ServingCertificateIssuer {
    pub(super) names: Vec<String>,
    pub(super) life: Duration,
    pub(super) clock: ServerClock,
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) metrics: CertificateMetrics,
    /// The CA that signs.
    pub(super) signing: watch::Receiver<Option<Arc<CertificateAuthority>>>,
}

/// The serving certificate of the moment.
struct Served {
    issuer: CaCertificate,
    renewal: Timestamp,
}

impl ServingCertificateIssuer {
    /// Runs forever, unless a certificate can't be made for these names.
    pub(super) async fn run(mut self) -> Result<Infallible, CertificateError> {
        let mut served: Option<Served> = None;
        loop {
            let signing = self.signing.borrow_and_update().clone();
            let now = self.clock.now();
            let signing = signing.filter(|ca| !ca.certificate().has_expired(now));
            if let Some(ca) = &signing {
                let is_current = |served: &Served| served.issuer == *ca.certificate() && now < served.renewal;
                if !served.as_ref().is_some_and(is_current) {
                    served = Some(self.serve(ca, now)?);
                }
            }
            let renewal = async {
                match (&served, &signing) {
                    (Some(served), Some(_)) => self.clock.sleep_until(served.renewal).await,
                    _ => sleep(EXPIRED_CA_INTERVAL).await,
                }
            };
            tokio::select! {
                changed = self.signing.changed() => if changed.is_err() { pending().await },
                () = renewal => {}
            }
        }
    }

    fn serve(&self, ca: &CertificateAuthority, now: Timestamp) -> Result<Served, CertificateError> {
        let certificate = ca.issue(&self.names, self.life, now)?;
        let (issuer, not_after) = (ca.certificate().clone(), certificate.not_after());
        self.metrics.serving_certificate_expires(not_after);
        self.resolver.serve(certificate);
        let generation = issuer.generation();
        info!(generation, "Serving with a new certificate of CA {generation} for {}", self.names.join(", "));
        Ok(Served { issuer, renewal: two_thirds(now, not_after) })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use snapwatcher_daemon::clock;

    const LIFE: Duration = Duration::from_secs(60 * 60);

    #[tokio::test(start_paused = true)]
    async fn renewal_continues_after_a_clock_was_ahead_for_a_while() {
        let authority = Arc::new(CertificateAuthority::generate(LIFE, clock::now()).unwrap());
        let (_sender, signing) = watch::channel(Some(authority));
        let (clock, resolver) = (ServerClock::default(), Arc::<ServingCertificateResolver>::default());
        let issuer = ServingCertificateIssuer {
            names: vec!["localhost".to_owned()],
            life: LIFE,
            clock: clock.clone(),
            resolver: resolver.clone(),
            metrics: CertificateMetrics::default(),
            signing,
        };
        let decades_ahead = clock::now().saturating_add(SignedDuration::from_hours(24 * 365 * 56)).unwrap();
        clock.set(decades_ahead);
        let observed = async {
            sleep(2 * EXPIRED_CA_INTERVAL).await;
            assert!(!resolver.has_certificate(), "its CA counts as expired");
            clock.set(clock::now());
            sleep(2 * EXPIRED_CA_INTERVAL).await;
            assert!(resolver.has_certificate());
        };
        tokio::select! {
            ended = issuer.run() => panic!("the service ended: {ended:?}"),
            () = observed => {}
        }
    }
}
