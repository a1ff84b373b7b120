//! The services of the leader: the watch of pods, the controller of Checkpoints and retention.
//!
//! They start when this replica becomes leader and stop when it loses the Lease. A replica that never leads keeps none of
//! their state in memory. Attempts are the exception: [`AttemptScheduler`] runs for the whole life of the process, so that
//! an attempt is finished when leadership is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::attempt_observations::AttemptObservations;
use crate::checkpoint::attempt_preparation::SEND_WINDOW;
use crate::checkpoint::attempt_runner::AttemptRunner;
use crate::checkpoint::attempt_scheduler::{AttemptScheduler, SchedulerCommand};
use crate::checkpoint::checkpoint_index::{CheckpointIndex, Reclaim};
use crate::checkpoint::claim::{CheckpointClaimer, Claimer};
use crate::checkpoint::concurrency_limiter::{ConcurrencyLimiter, ConcurrencyLimits};
use crate::checkpoint::controller::CheckpointController;
use crate::checkpoint::endpoint_breakers::EndpointBreakers;
use crate::checkpoint::known_pods::KnownPods;
use crate::checkpoint::retention::{Retention, RetentionPolicy};
use crate::checkpoint::transitions::{Holder, RetryPolicy};
use crate::context::ControllerContext;
use crate::dry_run::DryRun;
use crate::watch::{MissedMutations, PodWatch};
use snapwatcher_api::pod::{OncePer, PodName};
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_daemon::services::{ServiceError, Services};
use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_kubernetes::workload::WorkloadLookup;

/// Which pods are watched.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    pub scopes: Vec<Scope>,
    /// Name of the `MutatingWebhookConfiguration` that should have labeled the pods. Without it, missed mutations are not
    /// detected.
    pub mutating_webhook_configuration: Option<String>,
}

/// How Checkpoints are created, attempted and removed.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    pub limits: ConcurrencyLimits,
    pub policy: RetryPolicy,
    pub retention: RetentionPolicy,
    pub once_per: OncePer,
    pub max_pods_per_revision: usize,
    /// Checkpoints are created but not executed.
    pub suspend: bool,
    /// The longest time for which one attempt can hold its slot, counted from the write of the attempt.
    pub longest_slot: Duration,
}

/// Starts the services each time this replica becomes leader.
pub struct LeaderServices {
    context: ControllerContext,
    watch: WatchSettings,
    owners: WorkloadLookup,
    mode: ClaimMode,
}

/// What a claim does.
enum ClaimMode {
    /// It is logged and creates nothing.
    DryRun,
    /// It creates a Checkpoint.
    Checkpoints(Box<CheckpointParts>),
}

/// What the services of Checkpoints share over all periods of leadership.
struct CheckpointParts {
    limiter: ConcurrencyLimiter,
    observations: Arc<AttemptObservations>,
    holder: Holder,
    policy: RetryPolicy,
    retention: RetentionPolicy,
    once_per: OncePer,
    commands: mpsc::UnboundedSender<SchedulerCommand>,
    /// How long a slot that was taken before this leadership may count although no listing has shown it.
    stale_slot_grace: Duration,
}

/// The claimer of the pod watch, and its callback for changed pods.
type ClaimerAndCallback = (Arc<dyn Claimer>, Box<dyn Fn(PodName) + Send + Sync>);

impl LeaderServices {
    /// For back-end `log`: eligible pods are logged, and no Checkpoints are created.
    pub fn dry_run(context: ControllerContext, watch: WatchSettings) -> Self {
        tracing::info!("Back-end `log`: eligible pods are only logged, no Checkpoints are created");
        context.checks.definition.pass();
        context.checks.backend.pass();
        let owners = WorkloadLookup::new(context.cluster.calls.clone());
        Self { context, watch, owners, mode: ClaimMode::DryRun }
    }

    /// For the other back-ends. Also returns the scheduler of attempts, a service of its own.
    pub fn with_backend(
        context: ControllerContext,
        watch: WatchSettings,
        settings: CheckpointSettings,
        backend: Arc<dyn CheckpointBackend>,
        holder: Holder,
        leads: watch::Receiver<bool>,
        work_is_done: CancellationToken,
    ) -> (AttemptScheduler, Self) {
        let CheckpointSettings { limits, policy, retention, once_per, max_pods_per_revision, suspend, longest_slot } =
            settings;
        if suspend {
            // The check writes its message to the log.
            context.checks.backend.fail("suspended by --suspend: Checkpoints are created but not executed");
            context.checkpoint_metrics.suspended();
        }
        let (sender, commands) = mpsc::unbounded_channel();
        let owners = WorkloadLookup::new(context.cluster.calls.clone());
        let limiter = ConcurrencyLimiter::new(limits);
        let runner = AttemptRunner {
            context: context.clone(),
            backend,
            owners: owners.clone(),
            limiter: limiter.clone(),
            breakers: EndpointBreakers::default(),
            holder: holder.clone(),
            policy: policy.clone(),
            max_pods_per_revision,
        };
        let scheduler = AttemptScheduler {
            runner: Arc::new(runner),
            commands,
            leads,
            is_suspended: suspend,
            metrics: context.checkpoint_metrics.clone(),
            work_done: work_is_done.drop_guard(),
        };
        let parts = CheckpointParts {
            limiter,
            observations: Arc::default(),
            holder,
            policy,
            retention,
            once_per,
            commands: sender,
            stale_slot_grace: SEND_WINDOW + longest_slot,
        };
        (scheduler, Self { context, watch, owners, mode: ClaimMode::Checkpoints(Box::new(parts)) })
    }

    /// Runs the services while this replica leads, until the stop.
    pub async fn run(self, mut leads: watch::Receiver<bool>, stop: CancellationToken) -> Result<(), ServiceError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // Without leader election the sender may have been dropped; the last value remains.
                _ = leads.wait_for(|leads| *leads) => {}
            }
            let end = stop.child_token();
            let mut services = Services::new(end.clone());
            self.start(&mut services);
            let ended = services.finish();
            tokio::pin!(ended);
            tokio::select! {
                result = &mut ended => result?,
                () = leadership_lost(&mut leads) => {
                    end.cancel();
                    ended.await?;
                }
            }
        }
    }

    fn start(&self, services: &mut Services) {
        let (reclaim, reclaims) = mpsc::unbounded_channel();
        let known_pods = KnownPods::default();
        let (claimer, on_pod_changed): ClaimerAndCallback = match &self.mode {
            ClaimMode::DryRun => (Arc::new(DryRun::new(self.owners.clone())), Box::new(|_| ())),
            ClaimMode::Checkpoints(parts) => self.start_checkpoints(parts, services, &reclaim, &known_pods),
        };
        let watch = PodWatch {
            missed_mutations: MissedMutations::new(&self.context, self.watch.mutating_webhook_configuration.clone()),
            context: self.context.clone(),
            scopes: self.watch.scopes.clone(),
            claimer,
            reclaims,
            on_pod_changed,
            known_pods,
        };
        services.start("watch", |stop| watch.run(stop));
    }

    /// Starts a controller of Checkpoints for each scope, and retention.
    fn start_checkpoints(
        &self,
        parts: &CheckpointParts,
        services: &mut Services,
        reclaim: &mpsc::UnboundedSender<Reclaim>,
        known_pods: &KnownPods,
    ) -> ClaimerAndCallback {
        let scopes = &self.watch.scopes;
        let index = Arc::new(CheckpointIndex::new(scopes.len()));
        let controller = CheckpointController {
            context: self.context.clone(),
            index: index.clone(),
            observations: parts.observations.clone(),
            limiter: parts.limiter.clone(),
            holder: parts.holder.clone(),
            policy: parts.policy.clone(),
            commands: parts.commands.clone(),
            reclaims: reclaim.clone(),
            stale_slots_expire_at: Instant::now() + parts.stale_slot_grace,
        };
        let mut changed_pods = Vec::new();
        for (number, scope) in scopes.iter().cloned().enumerate() {
            let (sender, changed) = mpsc::unbounded_channel();
            changed_pods.push((scope.clone(), sender));
            let controller = controller.clone();
            services.start("checkpoints", |stop| controller.run(number, scope, changed, stop));
        }
        let retention = Retention {
            client: self.context.cluster.calls.clone(),
            owners: self.owners.clone(),
            scopes: scopes.clone(),
            policy: parts.retention,
            known_pods: known_pods.clone(),
        };
        services.start("retention", |stop| retention.run(stop));
        let claimer = CheckpointClaimer {
            client: self.context.cluster.calls.clone(),
            scopes: scopes.clone(),
            index,
            owners: self.owners.clone(),
            holder: parts.holder.clone(),
            once_per: parts.once_per,
        };
        let on_pod_changed = move |pod: PodName| {
            if let Some((_, changed)) = changed_pods.iter().find(|(scope, _)| scope.holds(&pod.namespace)) {
                let _ = changed.send(pod); // fails only after the controller has ended, at the end of the leadership
            }
        };
        (Arc::new(claimer), Box::new(on_pod_changed))
    }
}

/// Returns when this replica no longer leads. Without leader election it never returns.
async fn leadership_lost(leads: &mut watch::Receiver<bool>) {
    if leads.wait_for(|leads| !*leads).await.is_err() {
        std::future::pending::<()>().await;
    }
}
