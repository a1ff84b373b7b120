//! What the leader does while it leads: the watch of pods, the controller of records, retention. A replica that never
//! leads has none of it in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::attempt_observations::AttemptObservations;
use crate::checkpoint::attempt_runner::{Attempt, SEND_WINDOW};
use crate::checkpoint::attempt_scheduler::{AttemptScheduler, Wanted};
use crate::checkpoint::checkpoint_index::{CheckpointIndex, Forgotten};
use crate::checkpoint::claim::{Claim, Claims};
use crate::checkpoint::concurrency_limiter::{ConcurrencyLimiter, Limits};
use crate::checkpoint::controller::Records;
use crate::checkpoint::endpoint_breakers::Breakers;
use crate::checkpoint::known_pods::KnownPods;
use crate::checkpoint::metrics::CheckpointMetrics;
use crate::checkpoint::retention::{Retention, RetentionPolicy};
use crate::checkpoint::status_writer::StatusWriter;
use crate::checkpoint::transitions::{Holder, Policy};
use crate::dry_run::DryRun;
use crate::watch::metrics::WatchMetrics;
use crate::watch::{MissedMutations, Watch};
use snapwatcher_api::pod::{OncePer, PodName};
use snapwatcher_backends::request::Backend;
use snapwatcher_daemon::admin::{CheckHandle, Gate, Health};
use snapwatcher_daemon::services::{ServiceError, Services};
use snapwatcher_kubernetes::cluster::{Cluster, Scope};
use snapwatcher_kubernetes::events::Events;
use snapwatcher_kubernetes::owner::Owners;
use snapwatcher_state::PodTimelines;

/// The checks that are told and gate nothing, in the order in which they are shown.
#[derive(Clone)]
pub struct Checks {
    pub definition: CheckHandle,
    pub watch: CheckHandle,
    pub backend: CheckHandle,
    pub leader: CheckHandle,
}

impl Checks {
    pub fn new(health: &mut Health) -> Self {
        Self {
            definition: health.check("crd", Gate::Informational),
            watch: health.check("watch", Gate::Informational),
            backend: health.check("backend", Gate::Informational),
            leader: health.check("leader", Gate::Informational),
        }
    }
}

/// What the settings say of checkpoints.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: Limits,
    pub policy: Policy,
    pub once_per: OncePer,
    pub max_pods_per_revision: usize,
    /// Checkpoints are created but not executed.
    pub suspend: bool,
    /// How long a slot may be taken, from the write of its attempt.
    pub longest_slot: Duration,
}

/// The parts of which each term of leadership is made anew.
pub struct LeaderServices {
    pub cluster: Cluster,
    pub scopes: Vec<Scope>,
    pub owners: Owners,
    pub state: PodTimelines,
    pub watch_metrics: WatchMetrics,
    pub metrics: CheckpointMetrics,
    pub checks: Checks,
    pub events: Events,
    /// Name of our `MutatingWebhookConfiguration`, by which slips are judged.
    pub mutating: Option<String>,
    pub keep: RetentionPolicy,
    pub claiming: ClaimMode,
}

/// How pods are claimed.
pub enum ClaimMode {
    /// In the log only.
    Told,
    /// By creating records.
    Recorded(Box<Recorded>),
}

/// What the controller of records works with.
pub struct Recorded {
    budget: ConcurrencyLimiter,
    sightings: Arc<AttemptObservations>,
    holder: Holder,
    policy: Policy,
    once_per: OncePer,
    wanted: mpsc::UnboundedSender<Wanted>,
    /// For how long a slot that was taken before a term may count: an attempt, and an answer that did not come.
    unseen_for: Duration,
}

/// How the watch claims, and whom it tells that a pod has changed.
type Claimant = (Arc<dyn Claim>, Box<dyn Fn(PodName) + Send + Sync>);

impl LeaderServices {
    /// Nobody is asked: claims are only told.
    #[must_use]
    pub fn without_records(self) -> Self {
        tracing::info!("Back-end `log`: checkpoints are only logged, nobody is asked for them");
        self.checks.definition.pass();
        self.checks.backend.pass();
        self
    }

    /// Claims by records, and the service that makes attempts of them for all terms.
    pub fn with_records(
        self,
        settings: Settings,
        backend: Arc<dyn Backend>,
        holder: Holder,
        leads: watch::Receiver<bool>,
        work_is_done: CancellationToken,
    ) -> (AttemptScheduler, Self) {
        let (want, wanted) = mpsc::unbounded_channel();
        let budget = ConcurrencyLimiter::new(settings.limits);
        let attempt = Attempt {
            client: self.cluster.calls.clone(),
            writes: StatusWriter(self.cluster.calls.clone()),
            backend,
            owners: self.owners.clone(),
            budget: budget.clone(),
            breakers: Breakers::default(),
            holder: holder.clone(),
            policy: settings.policy.clone(),
            max_pods_per_revision: settings.max_pods_per_revision,
            state: self.state.clone(),
            metrics: self.metrics.clone(),
            events: self.events.clone(),
            backend_check: self.checks.backend.clone(),
        };
        let attempts = AttemptScheduler {
            attempt: Arc::new(attempt),
            wanted,
            leads,
            is_suspended: settings.suspend,
            metrics: self.metrics.clone(),
            at_work: work_is_done.drop_guard(),
        };
        if settings.suspend {
            // Told in the log by the check.
            self.checks.backend.fail("suspended: pods are claimed, and nothing is asked until --suspend is taken away");
            self.metrics.suspended();
        }
        let sightings = Arc::new(AttemptObservations::default());
        let Settings { policy, once_per, .. } = settings;
        let unseen_for = SEND_WINDOW + settings.longest_slot;
        let recorded = Recorded { budget, sightings, holder, policy, once_per, wanted: want, unseen_for };
        (attempts, Self { claiming: ClaimMode::Recorded(Box::new(recorded)), ..self })
    }

    /// One term after the other, whenever this replica leads, until the stop.
    pub async fn run(self, mut leads: watch::Receiver<bool>, stop: CancellationToken) -> Result<(), ServiceError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // With one replica there is no election, and the sender may be gone.
                _ = leads.wait_for(|leads| *leads) => {}
            }
            let end = stop.child_token();
            let mut services = Services::new(end.clone());
            self.start(&mut services);
            let ended = services.finish();
            tokio::pin!(ended);
            tokio::select! {
                result = &mut ended => result?,
                () = lost(&mut leads) => {
                    end.cancel();
                    ended.await?;
                }
            }
        }
    }

    fn start(&self, services: &mut Services) {
        let (forget, forgotten) = mpsc::unbounded_channel();
        let alive = KnownPods::default();
        let (claim, changed) = match &self.claiming {
            ClaimMode::Told => self.told(),
            ClaimMode::Recorded(recorded) => self.recorded(recorded, services, &forget, &alive),
        };
        let slips = MissedMutations::new(
            self.cluster.calls.clone(),
            self.mutating.clone(),
            self.watch_metrics.clone(),
            self.events.clone(),
        );
        let watch = Watch {
            client: self.cluster.watches.clone(),
            watch_timeout: self.cluster.watch_timeout,
            scopes: self.scopes.clone(),
            state: self.state.clone(),
            claim,
            slips,
            events: self.events.clone(),
            forgotten,
            changed,
            alive,
            metrics: self.watch_metrics.clone(),
            checkpoint_metrics: self.metrics.clone(),
            watch_check: self.checks.watch.clone(),
            definition_check: self.checks.definition.clone(),
        };
        services.start("watch", |stop| watch.run(stop));
    }

    fn told(&self) -> Claimant {
        (Arc::new(DryRun::new(self.owners.clone())), Box::new(|_| ()))
    }

    /// Starts the services around records.
    fn recorded(
        &self,
        recorded: &Recorded,
        services: &mut Services,
        forget: &mpsc::UnboundedSender<Forgotten>,
        alive: &KnownPods,
    ) -> Claimant {
        let Recorded { budget, sightings, holder, policy, once_per, wanted, unseen_for } = recorded;
        let ledger = Arc::new(CheckpointIndex::new(self.scopes.len()));
        let records = Records {
            client: self.cluster.watches.clone(),
            watch_timeout: self.cluster.watch_timeout,
            ledger: ledger.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
            definition_check: self.checks.definition.clone(),
            sightings: sightings.clone(),
            budget: budget.clone(),
            holder: holder.clone(),
            policy: policy.clone(),
            wanted: wanted.clone(),
            forgotten: forget.clone(),
            known_by: Instant::now() + *unseen_for,
        };
        let mut to_scopes = Vec::new();
        for (index, scope) in self.scopes.iter().cloned().enumerate() {
            let (tell, changed) = mpsc::unbounded_channel();
            to_scopes.push((scope.clone(), tell));
            let records = records.clone();
            services.start("checkpoints", |stop| records.run(index, scope, changed, stop));
        }
        let (client, owners) = (self.cluster.calls.clone(), self.owners.clone());
        let retention = Retention {
            client: client.clone(),
            owners: owners.clone(),
            scopes: self.scopes.clone(),
            keep: self.keep,
            alive: alive.clone(),
        };
        services.start("retention", |stop| retention.run(stop));
        let scopes = self.scopes.clone();
        let claims = Claims { client, scopes, ledger, owners, holder: holder.clone(), once_per: *once_per };
        let changed = move |pod: PodName| {
            let concerned = to_scopes.iter().find(|(scope, _)| scope.holds(&pod.namespace));
            if let Some((_, tell)) = concerned {
                let _ = tell.send(pod); // the controller has ended, and with it the term
            }
        };
        (Arc::new(claims), Box::new(changed))
    }
}

/// Returns when this replica no longer leads; never with one replica.
async fn lost(leads: &mut watch::Receiver<bool>) {
    if leads.wait_for(|leads| !*leads).await.is_err() {
        std::future::pending::<()>().await;
    }
}
