//! Keeps the CAs in the Secret: the shell around [`plan`].
//!
//! Every replica does this, without a leader. Each turn looks at the Secret, follows it, takes the step that is due and
//! looks again. A Secret that is deleted, emptied or swapped gets back what this process holds, so that no admission is
//! lost to it; only where no replica holds anything a CA is made anew.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::Tell;
use super::authorities::{Authorities, Verdict};
use super::authority::Authority;
use super::bundle::{Bundle, blocks};
use super::error::CertificateError;
use super::metrics::CertificateMetrics;
use super::rotation::{Plan, Step, Times, plan};
use super::server_clock::ServerClock;
use super::status::BundleStatus;
use super::store::{Content, Found, Store};
use super::trouble::{Trouble, waits, words};
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::events::CA_SECRET_REPLACED;

/// What was done about a Secret that was not as it should be.
const PUT_BACK: &str = "what this process holds was put back";
const MADE_ANEW: &str = "a new CA was made";
const QUEUED: &str = "it is to follow the one in use, as a next one does";
/// What was not as it should be about a CA that could be used.
const NO_LATER_ONE: &str = "it held another CA than the one in use, and no later one that is valid";
const LATER_ONE: &str = "it held a later CA than the one in use";

/// The shortest time from one look to the next that something told of.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

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
    /// Whether the Secret can't be read.
    pub(super) unread: Arc<AtomicBool>,
    pub(super) metrics: CertificateMetrics,
    pub(super) tell: Tell,
}

/// The service with what it holds.
struct Running {
    parts: Own,
    held: Option<Authorities>,
    /// Since when each CA has stood in the bundle of every configuration.
    standing: HashMap<String, Instant>,
    /// The generations of the configurations at that: in between a bundle may have been away.
    generations: [Option<i64>; 2],
    calling: Trouble,
    watching: Trouble,
    validity: Trouble,
}

/// What follows a turn.
enum Turn {
    /// Something was written, by us or by another: look again.
    Again,
    /// What somebody else made of the Secret was put right.
    Corrected,
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
        let (held, standing, generations) = (None, HashMap::new(), [None; 2]);
        let mut running = Running { parts: self, held, standing, generations, calling, watching, validity };
        let mut pauses = waits();
        loop {
            let begun = Instant::now();
            match running.turn().await {
                Ok(Turn::Again) => sleep_until(begun + BETWEEN_LOOKS).await,
                // Whoever undoes what we write would be fought as fast as the API server can.
                Ok(Turn::Corrected) => running.pause(pauses.next_wait()).await,
                Ok(Turn::Rest { version, until }) => {
                    running.calling.is_over();
                    running.parts.fault.store(None);
                    pauses = waits();
                    running.rest(&version, until).await;
                    sleep_until(begun + BETWEEN_LOOKS).await;
                }
                Err(TurnError::Call(error)) => {
                    let words = words(&error);
                    running.calling.tell(&words);
                    running.parts.fault.store(Some(Arc::new(words)));
                    running.pause(pauses.next_wait()).await;
                }
                Err(TurnError::Make(error)) => return Err(error),
            }
        }
    }
}

impl Running {
    async fn turn(&mut self) -> Result<Turn, TurnError> {
        let looked = self.look().await;
        self.parts.unread.store(looked.is_err(), Ordering::Relaxed);
        let Found { content, version } = looked?;
        let now = self.parts.clock.now();
        let (secret, found) = match content {
            Content::Usable(secret, found) => (secret, found),
            Content::Absent => {
                let (authorities, how) = self.restored(now)?;
                if self.write(None, &authorities).await? && self.held.is_some() {
                    self.tell_corrected("it was deleted", how);
                    return Ok(Turn::Corrected);
                }
                return Ok(Turn::Again);
            }
            Content::Unusable(secret, why) => {
                let (authorities, how) = self.restored(now)?;
                if self.write(Some(&secret), &authorities).await? {
                    self.tell_corrected(&why.to_string(), how);
                }
                return Ok(Turn::Corrected);
            }
        };
        let right = self.held.as_ref().and_then(|held| match found.judged(held, now) {
            Verdict::Follow => None,
            Verdict::PutBack => Some((held.clone(), NO_LATER_ONE, PUT_BACK)),
            Verdict::Queue => Some((held.queued(&found, now), LATER_ONE, QUEUED)),
        });
        if let Some((authorities, why, how)) = right {
            if self.write(Some(&secret), &authorities).await? {
                self.tell_corrected(why, how);
            }
            return Ok(Turn::Corrected);
        }
        self.go_on(found, &secret, version, now).await
    }

    /// Looks at the Secret, and before that at the time.
    async fn look(&self) -> Result<Found, CallError> {
        self.parts.clock.measure(&self.parts.client).await?;
        self.parts.store.look().await
    }

    /// Follows what the Secret holds and takes the step that is due.
    async fn go_on(
        &mut self,
        found: Authorities,
        secret: &Secret,
        version: String,
        now: Timestamp,
    ) -> Result<Turn, TurnError> {
        let bundle: Arc<str> = found.bundle(self.parts.times.overlap).into();
        self.follow(&found, &bundle, now);
        let is_published = self.parts.status.borrow().is_published(&bundle);
        let planned = plan(&found, is_published, &self.parts.times, now);
        match self.not_before_it_stood(planned, &found, now) {
            Plan::Rest(until) => Ok(Turn::Rest { version, until }),
            Plan::Do(step) => {
                if self.write(Some(secret), &self.stepped(&found, step, now)?).await? {
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

    /// Takes what the Secret holds for what is: the bundle first, and the leaf when it is trusted by what stands there.
    fn follow(&mut self, found: &Authorities, text: &Arc<str>, now: Timestamp) {
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
        let is_trusted = self.is_trusted(found, text);
        let signed = self.parts.current.borrow().clone().filter(|_| !is_trusted);
        let signed = signed.filter(|signed| !signed.certificate().has_expired(now));
        let serving = signed.unwrap_or_else(|| found.current.clone());
        let bundle =
            Bundle { text: text.clone(), serving: Some(serving.certificate().pem().into()), shared_until: None };
        self.held = Some(found.clone());
        self.parts.bundle.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&bundle);
            *known = Some(bundle);
            is_new
        });
        self.parts.current.send_if_modified(|known| {
            let is_new = known.as_ref().is_none_or(|known| known.certificate() != serving.certificate());
            *known = Some(serving);
            is_new
        });
    }

    /// Whether a certificate of the current CA would be taken by an API server, which hears of a bundle late. After a switch
    /// it would, since that was waited for; whatever else led here is waited for now, unless the bundle is without what
    /// signed up to now.
    fn is_trusted(&mut self, found: &Authorities, text: &Arc<str>) -> bool {
        let trusted = blocks(text);
        let (holds, generations) = {
            let status = self.parts.status.borrow();
            (status.holds(text), status.generations())
        };
        if !holds || std::mem::replace(&mut self.generations, generations) != generations {
            self.standing.clear();
        }
        if !holds {
            return false;
        }
        self.standing.retain(|authority, _| trusted.contains(authority));
        for authority in trusted {
            self.standing.entry(authority).or_insert_with(Instant::now);
        }
        let Some(signed) = self.parts.current.borrow().clone() else { return true };
        let is_switched = found.previous.iter().any(|previous| previous.certificate == *signed.certificate());
        let is_left_out = !self.standing.contains_key(signed.certificate().pem());
        let stands = self.standing.get(found.current.certificate().pem()).map(Instant::elapsed);
        is_switched || is_left_out || stands.is_some_and(|stands| stands >= self.parts.times.publish_wait)
    }

    /// Waits with a switch where the next CA was missing from a bundle since it was noted that it stands there, or may have
    /// been while this process did not run: API servers hear late that it stands there again.
    fn not_before_it_stood(&self, planned: Plan, found: &Authorities, now: Timestamp) -> Plan {
        let (Plan::Do(Step::Switch), Some(next)) = (&planned, &found.next) else { return planned };
        let stands = self.standing.get(next.authority.certificate().pem()).map(Instant::elapsed);
        let left = stands.map(|stands| self.parts.times.publish_wait.saturating_sub(stands));
        match left {
            Some(left) if !left.is_zero() && !found.current.certificate().has_expired(now) => {
                Plan::Rest(now.saturating_add(left).unwrap_or(Timestamp::MAX))
            }
            _ => planned,
        }
    }

    /// Waits before the next try, unless a keeper asks: it is about to put back a bundle that the Secret may account for.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.parts.look.notified() => {}
        }
    }

    async fn rest(&mut self, version: &str, until: Timestamp) {
        let level_check = self.parts.times.level_check;
        let level = self.parts.clock.now().saturating_add(level_check).unwrap_or(Timestamp::MAX);
        let mut failure = None;
        let changed = async {
            if let Err(error) = self.parts.store.change(version).await {
                failure = Some(words(&error));
                // Without the watch the other reasons to look are left.
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            // The sender lives as long as this: its end can't be seen.
            _ = self.parts.status.changed() => {}
            () = self.parts.look.notified() => {}
            () = self.parts.clock.sleep_till(until.min(level)) => {}
            // By a clock that can't be set back, too.
            () = sleep(level_check) => {}
        }
        match failure {
            Some(words) => self.watching.tell(&words),
            None => self.watching.is_over(),
        }
    }

    /// What the Secret is to hold that holds nothing of use, and where it comes from.
    fn restored(&self, now: Timestamp) -> Result<(Authorities, &'static str), CertificateError> {
        let life = self.parts.times.ca_life;
        match &self.held {
            Some(held) if !held.current.certificate().has_expired(now) => Ok((held.clone(), PUT_BACK)),
            Some(held) => Ok((held.started_over(held.current.successor(life, now)?, now), MADE_ANEW)),
            None => Ok((Authorities::alone(Authority::generate(life, now)?), MADE_ANEW)),
        }
    }

    fn stepped(&self, held: &Authorities, step: Step, now: Timestamp) -> Result<Authorities, CertificateError> {
        let successor = || held.current.successor(self.parts.times.ca_life, now);
        Ok(match step {
            Step::Publish => held.published(successor()?),
            Step::Note => held.noted(now),
            Step::Switch => held.switched(now),
            Step::Retire => held.retired(self.parts.times.leaf_life, now),
            Step::StartOver => held.started_over(successor()?, now),
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

    fn tell_corrected(&self, why: &str, how: &str) {
        let what = self.parts.store.what();
        warn!("{what} was put right: {why}; {how}");
        (self.parts.tell)(CA_SECRET_REPLACED, format!("{what} was put right: {why}; {how}"));
    }
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
