//! Keeps the CAs in the Secret: the shell around [`plan`].
//!
//! Every replica does this, without a leader. Each turn looks at the Secret, follows it, takes the step that is due and
//! looks again. A Secret that is deleted, emptied or swapped gets back what this process holds, so that no admission is
//! lost to it; only where no replica holds anything a CA is made anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::Tell;
use super::authority::Authority;
use super::bundle::Bundle;
use super::error::CertificateError;
use super::metrics::CertificateMetrics;
use super::rotation::{Authorities, Plan, Step, Times, plan};
use super::server_clock::ServerClock;
use super::status::BundleStatus;
use super::store::{Content, Found, Store};
use super::trouble::{Trouble, words};
use crate::cluster::CallError;

/// Reason of the Event of a Secret that had to be put right.
pub const CA_SECRET_REPLACED: &str = "CASecretReplaced";

/// The shortest time from one look to the next that something told of.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// The longest wait after a failure is twice this, with jitter: so an API server that is back is noticed within 30 s.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(LONGEST_WAIT)
    .without_max_times()
    .with_jitter();

/// The parts of the service.
pub(super) struct Own {
    pub(super) times: Times,
    pub(super) store: Store,
    pub(super) client: Client,
    pub(super) clock: ServerClock,
    /// The CA that signs, for the leaf.
    pub(super) current: watch::Sender<Option<Arc<Authority>>>,
    pub(super) bundle: watch::Sender<Option<Bundle>>,
    pub(super) status: watch::Receiver<BundleStatus>,
    /// Somebody else changed a bundle: the Secret may tell why.
    pub(super) look: Arc<Notify>,
    /// Why the Secret can't be spoken of with the API server.
    pub(super) fault: Arc<ArcSwapOption<String>>,
    pub(super) metrics: CertificateMetrics,
    pub(super) tell: Tell,
}

/// The service with what it holds.
struct Running {
    parts: Own,
    held: Option<Authorities>,
    calling: Trouble,
    watching: Trouble,
    validity: Trouble,
}

/// What follows a turn.
enum Turn {
    /// Something was written, by us or by another: look again.
    Again,
    /// Nothing to do before that time, unless the Secret changes from that version.
    Rest { version: String, until: Timestamp },
}

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Make(#[from] CertificateError),
}

impl Own {
    /// Goes on for ever, unless a certificate can't be made for these names.
    pub(super) async fn run(self) -> Result<Infallible, CertificateError> {
        let trouble = Trouble::default;
        let (calling, watching, validity) = (trouble(), trouble(), trouble());
        let mut running = Running { parts: self, held: None, calling, watching, validity };
        let mut waits = BACKOFF.build();
        loop {
            let begun = Instant::now();
            match running.turn().await {
                Ok(Turn::Again) => {}
                Ok(Turn::Rest { version, until }) => {
                    running.calling.is_over();
                    running.parts.fault.store(None);
                    waits = BACKOFF.build();
                    running.rest(&version, until).await;
                    sleep_until(begun + BETWEEN_LOOKS).await;
                }
                Err(TurnError::Call(error)) => {
                    let words = words(&error);
                    running.calling.tell(&words);
                    running.parts.fault.store(Some(Arc::new(words)));
                    sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
                }
                Err(TurnError::Make(error)) => return Err(error),
            }
        }
    }
}

impl Running {
    async fn turn(&mut self) -> Result<Turn, TurnError> {
        self.parts.clock.measure(&self.parts.client).await?;
        let now = self.parts.clock.now();
        let Found { content, version } = self.parts.store.look().await?;
        let (secret, found) = match content {
            Content::Usable(secret, found) => (secret, found),
            Content::Absent => {
                if self.held.is_some() {
                    self.replaced("it was deleted");
                }
                let authorities = self.restored(now)?;
                self.write(None, &authorities).await?;
                return Ok(Turn::Again);
            }
            Content::Unusable(secret, why) => {
                self.replaced(&why.to_string());
                let authorities = self.restored(now)?;
                self.write(Some(&secret), &authorities).await?;
                return Ok(Turn::Again);
            }
        };
        if let Some(held) = self.held.as_ref().filter(|held| is_valid(held, now) && !found.may_follow(held)) {
            let held = held.clone();
            self.replaced("it held another CA than the one in use, and no later one");
            self.write(Some(&secret), &held).await?;
            return Ok(Turn::Again);
        }
        self.follow(found, now);
        let Some(held) = self.held.clone() else { return Ok(Turn::Again) };
        let is_read_back = self.parts.status.borrow().holds(&held.bundle());
        match plan(&held, is_read_back, &self.parts.times, now) {
            Plan::Rest(until) => Ok(Turn::Rest { version, until }),
            Plan::Do(step) => {
                if self.write(Some(&secret), &self.stepped(&held, step, now)?).await? {
                    self.parts.metrics.rotated(step);
                    info!(
                        step = step.as_str(),
                        "Rotation of the CA in {}: {}",
                        self.parts.store.what(),
                        words_of(step)
                    );
                }
                Ok(Turn::Again)
            }
        }
    }

    /// Takes what the Secret holds for what is: the bundle first, then the leaf.
    fn follow(&mut self, found: Authorities, now: Timestamp) {
        let current = found.current.certificate();
        if current.not_before() > now {
            self.validity.tell(&format!(
                "The CA in {} is not valid before {}: the API server refuses it until then; it is not replaced",
                self.parts.store.what(),
                current.not_before()
            ));
        } else {
            self.validity.is_over();
        }
        self.parts.metrics.ca_expires(current.not_after());
        let bundle = Bundle { text: found.bundle().into(), serving: Some(current.pem().into()) };
        let signs = found.current.clone();
        self.held = Some(found);
        self.parts.bundle.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&bundle);
            *known = Some(bundle);
            is_new
        });
        self.parts.current.send_if_modified(|known| {
            let is_new = known.as_ref().is_none_or(|known| known.certificate() != signs.certificate());
            *known = Some(signs);
            is_new
        });
    }

    async fn rest(&mut self, version: &str, until: Timestamp) {
        let now = self.parts.clock.now();
        let level = now.saturating_add(self.parts.times.level_check).unwrap_or(Timestamp::MAX);
        let due = until.min(level);
        tokio::select! {
            changed = self.parts.store.change(version) => match changed {
                Ok(()) => self.watching.is_over(),
                Err(error) => {
                    self.watching.tell(&words(&error));
                    self.parts.clock.sleep_till(due).await;
                }
            },
            // The sender lives as long as this: its end can't be seen.
            _ = self.parts.status.changed() => {}
            () = self.parts.look.notified() => {}
            () = self.parts.clock.sleep_till(due) => {}
        }
    }

    /// What the Secret is to hold that holds nothing of use.
    fn restored(&self, now: Timestamp) -> Result<Authorities, CertificateError> {
        match &self.held {
            Some(held) if is_valid(held, now) => Ok(held.clone()),
            Some(held) => Ok(Authorities::alone(held.current.successor(self.parts.times.ca_life, now)?)),
            None => Ok(Authorities::alone(Authority::generate(self.parts.times.ca_life, now)?)),
        }
    }

    fn stepped(&self, held: &Authorities, step: Step, now: Timestamp) -> Result<Authorities, CertificateError> {
        let successor = || held.current.successor(self.parts.times.ca_life, now);
        Ok(match step {
            Step::Publish => held.published(successor()?),
            Step::Note => held.noted(now),
            Step::Switch => held.switched(now),
            Step::Retire => held.retired(),
            Step::StartOver => Authorities::alone(successor()?),
        })
    }

    /// Whether it was written. Somebody who wrote at the same time is no failure: the next look shows what there is.
    async fn write(&self, found: Option<&Secret>, authorities: &Authorities) -> Result<bool, CallError> {
        match self.parts.store.write(found, authorities).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() || error.already_exists() => Ok(false),
            // It was deleted after it was read; but with no namespace to create it in, nothing will change by itself.
            Err(error) if error.is_not_found() && found.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn replaced(&self, why: &str) {
        let what = self.parts.store.what();
        let how = if self.held.is_some() { "what this process holds is put back" } else { "a new CA is made" };
        warn!("{what} can't be used: {why}; {how}");
        (self.parts.tell)(CA_SECRET_REPLACED, format!("{what} could not be used: {why}; {how}"));
    }
}

fn is_valid(held: &Authorities, now: Timestamp) -> bool {
    held.current.certificate().not_after() > now
}

fn words_of(step: Step) -> &'static str {
    match step {
        Step::Publish => "the next CA is trusted beside the current one",
        Step::Note => "the next CA stands in every bundle",
        Step::Switch => "the next CA signs from now on",
        Step::Retire => "the previous CA is trusted no longer",
        Step::StartOver => "the CA had expired, a new one takes its place without an overlap",
    }
}
