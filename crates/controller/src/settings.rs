//! The settings of the controller, and how it is put together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::pod::{OncePerSetting, RevisionLabels};
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_kubernetes::cluster::{Scope, limit_pages, limit_responses};
use snapwatcher_kubernetes::workload::WorkloadLookup;

use crate::context::ControllerContext;
use crate::engine::{ConcurrencyLimits, Engine, EngineSettings};
use crate::missed_mutation_report::MissedMutations;
use crate::operation::{ClusterIo, OperationSettings};
use crate::record::transitions::{Holder, RetryPolicy};
use crate::retention::{Retention, RetentionPolicy};
use crate::service::ControllerService;

/// Few, so that a step is short beside the deadline of the lease.
const DECISIONS_PER_STEP: usize = 64;
/// Each takes some KiB of memory until it has finished.
const MAX_MANUAL_CHECKPOINTS: usize = 1000;

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
    pub once_per: OncePerSetting,
    pub revision_labels: RevisionLabels,
    pub max_pods_per_revision: usize,
    /// Checkpoints are created but not executed.
    pub suspend: bool,
    /// The longest time for which one attempt can hold its slot, counted from the write of the attempt.
    pub longest_slot: Duration,
}

impl ControllerService {
    /// Without a back-end, eligible pods are only logged, and no Checkpoints are created.
    ///
    /// The service works while `leads` is true. `work_is_done` is cancelled when the last operation has ended after `stop`.
    pub fn new(
        context: ControllerContext,
        watch: WatchSettings,
        settings: CheckpointSettings,
        backend: Option<Arc<dyn CheckpointBackend>>,
        holder: Holder,
        leads: watch::Receiver<bool>,
        (stop, work_is_done): (CancellationToken, CancellationToken),
    ) -> Self {
        let CheckpointSettings {
            limits,
            policy,
            retention,
            once_per,
            revision_labels,
            max_pods_per_revision,
            suspend,
            longest_slot,
        } = settings;
        if backend.is_none() {
            tracing::info!("Back-end `log`: eligible pods are only logged, no Checkpoints are created");
            context.checks.definition.pass();
            context.checks.backend.pass();
        } else if suspend {
            // The check writes its message to the log.
            context.checks.backend.fail("suspended by --suspend: Checkpoints are created but not executed");
            context.checkpoint_metrics.suspended();
        }
        let client = limit_responses(&context.cluster.calls);
        let workloads = WorkloadLookup::new(client.clone());
        let operations = OperationSettings {
            holder,
            policy,
            max_pods_per_revision,
            longest_request: backend.as_ref().map(|backend| backend.longest_attempt()).unwrap_or_default(),
        };
        let engine = Engine::new(EngineSettings {
            scopes: watch.scopes.clone(),
            operations: operations.clone(),
            limits,
            once_per,
            revision_labels: revision_labels.clone(),
            is_suspended: suspend,
            longest_slot,
            retention_interval: retention.every,
            decisions_per_step: DECISIONS_PER_STEP,
            max_manual_checkpoints: MAX_MANUAL_CHECKPOINTS,
            backend: backend.clone(),
            seed: fastrand::u64(..),
        });
        let listings = limit_pages(&context.cluster.calls);
        let io = ClusterIo {
            client: client.clone(),
            listings: listings.clone(),
            workloads: workloads.clone(),
            revision_labels: revision_labels.clone(),
            backend,
            metrics: context.checkpoint_metrics.clone(),
            lines: Arc::default(),
            stop,
        };
        Self {
            missed_mutations: Arc::new(MissedMutations::new(&context, watch.mutating_webhook_configuration)),
            retention: Arc::new(Retention {
                client,
                listings,
                workloads,
                revision_labels,
                scopes: watch.scopes.clone(),
                policy: retention,
            }),
            engine,
            scopes: watch.scopes,
            io: Arc::new(io),
            operations,
            context,
            leads,
            work_done: work_is_done.drop_guard(),
        }
    }
}
