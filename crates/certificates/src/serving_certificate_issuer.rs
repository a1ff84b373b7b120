//! The leaf that is served: signed by the current CA, made anew in time. It needs the CA in memory and nothing else, so
//! that an API server that is away or slow does not let it expire.

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
use super::server_clock::ServerClock;
use super::serving_certificate::ServingCertificateResolver;

/// From one look to the next while the CA counts as expired. Its successor tells of itself, but a CA that was taken for
/// expired by mistake has none.
const SOON: Duration = Duration::from_secs(5);

/// The service that makes leaves.
pub(super) struct ServingCertificateIssuer {
    pub(super) names: Vec<String>,
    pub(super) life: Duration,
    pub(super) clock: ServerClock,
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) metrics: CertificateMetrics,
    /// The CA that signs.
    pub(super) current: watch::Receiver<Option<Arc<CertificateAuthority>>>,
}

/// The leaf that is served now.
struct Served {
    issuer: CaCertificate,
    renewal: Timestamp,
}

impl ServingCertificateIssuer {
    /// Goes on for ever, unless a certificate can't be made for these names.
    pub(super) async fn run(mut self) -> Result<Infallible, CertificateError> {
        let mut served: Option<Served> = None;
        loop {
            let current = self.current.borrow_and_update().clone();
            let now = self.clock.now();
            // Nobody would trust a leaf of a CA that has expired. Its successor is on its way.
            let current = current.filter(|current| !current.certificate().has_expired(now));
            if let Some(current) = &current {
                let is_served = |leaf: &Served| leaf.issuer == *current.certificate() && now < leaf.renewal;
                if !served.as_ref().is_some_and(is_served) {
                    served = Some(self.serve(current, now)?);
                }
            }
            let renewal = async {
                match (&served, &current) {
                    (Some(served), Some(_)) => self.clock.sleep_till(served.renewal).await,
                    _ => sleep(SOON).await,
                }
            };
            tokio::select! {
                changed = self.current.changed() => if changed.is_err() { pending().await },
                () = renewal => {}
            }
        }
    }

    fn serve(&self, current: &CertificateAuthority, now: Timestamp) -> Result<Served, CertificateError> {
        let leaf = current.issue(&self.names, self.life, now)?;
        let (issuer, until) = (current.certificate().clone(), leaf.not_after());
        self.metrics.leaf_expires(until);
        self.resolver.put(leaf);
        let generation = issuer.generation();
        info!(generation, "Serving with a new certificate of CA {generation} for {}", self.names.join(", "));
        Ok(Served { issuer, renewal: two_thirds(now, until) })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use snapwatcher_daemon::clock;

    const LIFE: Duration = Duration::from_secs(60 * 60);

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_ahead_for_a_while_does_not_end_the_renewal() {
        let authority = Arc::new(CertificateAuthority::generate(LIFE, clock::now()).unwrap());
        let (_sender, current) = watch::channel(Some(authority));
        let (clock, resolver) = (ServerClock::default(), Arc::<ServingCertificateResolver>::default());
        let leaves = ServingCertificateIssuer {
            names: vec!["localhost".to_owned()],
            life: LIFE,
            clock: clock.clone(),
            resolver: resolver.clone(),
            metrics: CertificateMetrics::default(),
            current,
        };
        let decades_ahead = clock::now().saturating_add(SignedDuration::from_hours(24 * 365 * 56)).unwrap();
        clock.note(decades_ahead);
        let observed = async {
            sleep(2 * SOON).await;
            assert!(!resolver.has_certificate(), "its CA counts as expired");
            clock.note(clock::now());
            sleep(2 * SOON).await;
            assert!(resolver.has_certificate());
        };
        tokio::select! {
            ended = leaves.run() => panic!("it ended: {ended:?}"),
            () = observed => {}
        }
    }
}
