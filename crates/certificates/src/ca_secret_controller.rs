//! Keeps the CAs in the Secret: reads it, decides, writes it, and gives the other services the CA and the bundle to use.
//!
//! Every replica does this, without a leader. If the Secret is emptied or replaced, a replica writes back the CAs that it uses,
//! so that no webhook call fails. A new CA is made only if no replica has a valid one. A Secret that is deleted is reported, and
//! filled when it exists again.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::bundle_status::BundleStatus;
use super::ca_bundle::CaBundle;
use super::ca_publication::CaPublication;
use super::ca_secret::{CaSecret, SecretReadError, SecretView};
use super::ca_set::CaSet;
use super::certificate_authority::CertificateAuthority;
use super::decision::{Cause, Contents, Correction, Decision, Moment, decide, next_step, signing_ca};
use super::error::CertificateError;
use super::failure_log::{API_BACKOFF, FailureLog, call_error_message};
use super::metrics::CertificateMetrics;
use super::rotation::{CertificateTimings, RotationPlan, RotationStep};
use super::secret_reads::SecretReads;
use super::validity_log::ValidityLog;
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::events::{CA_SECRET_MISSING, CA_SECRET_REPLACED};
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;
use snapwatcher_kubernetes::server_clock::ServerClock;

/// The shortest time from one read to the next.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// What the controller works with.
pub(super) struct CaSecretController {
    pub(super) timings: CertificateTimings,
    pub(super) secret: CaSecret,
    pub(super) client: Client,
    pub(super) clock: ServerClock,
    /// The CA that signs the serving certificate.
    pub(super) signing: watch::Sender<Option<Arc<CertificateAuthority>>>,
    pub(super) bundle: watch::Sender<Option<CaBundle>>,
    pub(super) bundle_status: watch::Receiver<BundleStatus>,
    pub(super) secret_reads: SecretReads,
    pub(super) metrics: CertificateMetrics,
    pub(super) events: OwnPodEvents,
}

/// The running controller with what it remembers.
struct Running {
    parts: CaSecretController,
    /// The CAs that this process uses.
    in_use: Option<CaSet>,
    publication: CaPublication,
    validity: ValidityLog,
    call_failures: FailureLog,
    watch_failures: FailureLog,
}

/// What follows a reconciliation.
enum Reconciled {
    /// The Secret was written, by this process or by another one: read it again.
    ReadAgain,
    /// The Secret was corrected. If someone undoes it each time, the waits become longer.
    Corrected,
    /// Nothing to do before this time, unless the Secret changes from this version.
    WaitUntil { version: String, time: Timestamp },
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Read(#[from] SecretReadError),
    #[error(transparent)]
    Make(#[from] CertificateError),
}

impl CaSecretController {
    /// Runs forever, unless a CA can't be made.
    pub(super) async fn run(self) -> Result<Infallible, CertificateError> {
        let mut running = Running {
            parts: self,
            in_use: None,
            publication: CaPublication::default(),
            validity: ValidityLog::default(),
            call_failures: FailureLog::default(),
            watch_failures: FailureLog::default(),
        };
        let mut retries = API_BACKOFF.retries();
        loop {
            let started = Instant::now();
            match running.reconcile().await {
                Ok(Reconciled::ReadAgain) => sleep_until(started + MIN_INTERVAL).await,
                Ok(Reconciled::Corrected) => running.pause(retries.next_wait()).await,
                Ok(Reconciled::WaitUntil { version, time }) => {
                    running.call_failures.recovered();
                    running.parts.secret_reads.set_secret_failure(None);
                    retries.reset();
                    running.wait_for_change(&version, time).await;
                    sleep_until(started + MIN_INTERVAL).await;
                }
                Err(ReconcileError::Call(error) | ReconcileError::Read(SecretReadError::Call(error))) => {
                    running.report(call_error_message(&error));
                    running.pause(retries.next_wait()).await;
                }
                Err(ReconcileError::Read(SecretReadError::Missing(missing))) => {
                    let message = missing.to_string();
                    if running.call_failures.is_new(&message) {
                        running.parts.events.warn(CA_SECRET_MISSING, message.clone());
                    }
                    running.report(message);
                    running.pause(retries.next_wait()).await;
                }
                Err(ReconcileError::Make(error)) => return Err(error),
            }
        }
    }
}

impl Running {
    async fn reconcile(&mut self) -> Result<Reconciled, ReconcileError> {
        let started = Instant::now();
        let read = self.read().await;
        self.parts.secret_reads.set_secret_unreadable(matches!(read, Err(SecretReadError::Call(_))));
        let view = read?;
        let now = Moment { time: self.parts.clock.now(), instant: Instant::now() };
        match (decide(&view.contents, self.in_use.as_ref(), now.time), &view.contents) {
            (Decision::Correct { cause, correction }, _) => self.correct(&view, &cause, correction, now.time).await,
            (Decision::Follow, Contents::Usable(found)) => {
                let followed = self.follow(found, &view.secret, view.version, now).await;
                self.parts.secret_reads.set_secret_read(started);
                followed
            }
            (Decision::Follow | Decision::Fill, _) => {
                let life = self.parts.timings.ca_life;
                self.write(&view.secret, &CaSet::of(CertificateAuthority::generate(life, now.time)?)).await?;
                Ok(Reconciled::ReadAgain)
            }
        }
    }

    /// Reads the API server's time, then the Secret.
    async fn read(&self) -> Result<SecretView, SecretReadError> {
        self.parts.clock.measure(&self.parts.client).await?;
        self.parts.secret.read().await
    }

    /// Logs a failure and gives it to the health check.
    fn report(&mut self, failure: String) {
        self.call_failures.report(&failure);
        self.parts.secret_reads.set_secret_failure(Some(failure));
    }

    async fn correct(
        &mut self,
        view: &SecretView,
        cause: &Cause,
        correction: Correction,
        now: Timestamp,
    ) -> Result<Reconciled, ReconcileError> {
        let life = self.parts.timings.ca_life;
        let corrected = match (correction, &self.in_use, &view.contents) {
            (Correction::PutBack, Some(in_use), _) => in_use.clone(),
            (Correction::TakeAsNext, Some(in_use), Contents::Usable(found)) => in_use.with_next_from(found, now),
            (Correction::Revoke, _, Contents::Usable(found)) => found.revoke(life, now)?,
            (_, Some(in_use), _) => in_use.restarted(in_use.current.successor(life, now)?, now),
            (_, None, _) => CaSet::of(CertificateAuthority::generate(life, now)?),
        };
        if self.write(&view.secret, &corrected).await? {
            let secret = self.parts.secret.description();
            warn!(
                "Corrected the CA {secret}: {cause}; {correction}. If this repeats, find the other writer in the object's \
                 managedFields"
            );
            self.parts.events.warn(CA_SECRET_REPLACED, format!("Corrected the CA {secret}: {cause}; {correction}"));
        }
        Ok(Reconciled::Corrected)
    }

    /// Uses the CAs in the Secret and takes the next step of a rotation.
    async fn follow(
        &mut self,
        found: &CaSet,
        secret: &Secret,
        version: String,
        now: Moment,
    ) -> Result<Reconciled, ReconcileError> {
        let found = &found.with_revoked(self.in_use.as_ref().map_or(0, |in_use| in_use.revoked));
        let bundle: Arc<str> = found.bundle().into();
        let is_published = {
            let status = self.parts.bundle_status.borrow();
            self.publication.observe(&bundle, &status, now.instant);
            status.is_published(&bundle)
        };
        self.provide(found, bundle, now);
        match next_step(found, is_published, &self.publication, &self.parts.timings, now) {
            RotationPlan::WaitUntil(time) => Ok(Reconciled::WaitUntil { version, time }),
            RotationPlan::Take(step) => {
                if self.write(secret, &self.after_step(found, step, now.time)?).await? {
                    self.parts.metrics.rotation_step_taken(step);
                    let secret = self.parts.secret.description();
                    info!(step = step.as_str(), "CA rotation in {secret}: {}", step.description());
                }
                Ok(Reconciled::ReadAgain)
            }
        }
    }

    /// Gives the bundle to the controllers of the configurations, and the CA that signs to the issuer.
    fn provide(&mut self, found: &CaSet, bundle: Arc<str>, now: Moment) {
        let current = found.current.certificate();
        self.validity.observe(self.parts.secret.description(), current.not_before(), now.time);
        self.parts.metrics.ca_expires(current.not_after());
        let signing = {
            let before = self.parts.signing.borrow();
            signing_ca(found, before.as_ref(), &self.publication, self.parts.timings.publish_wait, now)
        };
        let bundle = CaBundle { pem: bundle, signing_ca: signing.certificate().pem().into() };
        if self.in_use.replace(found.clone()).is_some_and(|before| before.revoked < found.revoked) {
            let secret = self.parts.secret.description();
            warn!(
                "CAs up to {} are revoked in {secret}: CA {} replaces them without an overlap",
                found.revoked,
                current.generation()
            );
        }
        self.parts.bundle.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&bundle);
            *known = Some(bundle);
            is_new
        });
        self.parts.signing.send_if_modified(|known| {
            let is_new = known.as_ref().is_none_or(|known| known.certificate() != signing.certificate());
            *known = Some(signing);
            is_new
        });
    }

    fn after_step(&self, set: &CaSet, step: RotationStep, now: Timestamp) -> Result<CaSet, CertificateError> {
        let successor = || set.current.successor(self.parts.timings.ca_life, now);
        Ok(match step {
            RotationStep::Publish => set.with_next(successor()?),
            RotationStep::MarkPublished => set.with_next_published(now),
            RotationStep::Switch => set.switched(now),
            RotationStep::Retire => set.retired(self.parts.timings.serving_life, now),
            RotationStep::Restart => set.restarted(successor()?, now),
        })
    }

    /// Returns whether the Secret was written. A write of another process at the same time is no failure: the next read
    /// shows the result.
    async fn write(&self, found: &Secret, set: &CaSet) -> Result<bool, CallError> {
        match self.parts.secret.write(found, set).await {
            Ok(()) => Ok(true),
            // It was changed or deleted after it was read.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits before the next try, unless a changed caBundle makes it urgent.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.parts.secret_reads.secret_reread_requested() => {}
        }
    }

    async fn wait_for_change(&mut self, version: &str, until: Timestamp) {
        let level_check = self.parts.timings.level_check;
        let next_check = self.parts.clock.now().saturating_add(level_check).unwrap_or(Timestamp::MAX);
        let mut failure = None;
        let changed = async {
            if let Err(error) = self.parts.secret.wait_for_change(version).await {
                failure = Some(call_error_message(&error));
                // The other branches end the wait.
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            // The sender lives as long as this controller.
            _ = self.parts.bundle_status.changed() => {}
            () = self.parts.secret_reads.secret_reread_requested() => {}
            () = self.parts.clock.sleep_until(until.min(next_check)) => {}
            // By the monotonic clock, in case the API server's clock is set back.
            () = sleep(level_check) => {}
        }
        match failure {
            Some(failure) => self.watch_failures.report(&failure),
            None => self.watch_failures.recovered(),
        }
    }
}
