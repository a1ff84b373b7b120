//! Whether a checkpoint may be taken now, by what its archive takes of the node's disk: the budget of its namespace there, and for
//! automatic checkpoints the time since the last one of its container.

use std::time::Duration;

use tokio::time::Instant;

use snapwatcher_api::outcome::{Location, Outcome, Reason, Redacted, RetryClass};
use snapwatcher_api::pod::ContainerLimits;
use snapwatcher_kubernetes::cluster::PodDetail;

use crate::backend::{CheckpointRequest, LONGEST_RETRY_AFTER, TakenCheckpoint};

use super::archive_budget::{Archive, ArchiveBudget, DAY};
use super::automatic_interval::{AutomaticInterval, Container, SHORTEST};

/// What a container without a limit on ephemeral storage counts for the files that it has changed, which are in its archive.
const UNLIMITED_FILES: u64 = 1 << 30;

/// Both limits.
#[derive(Debug)]
pub(super) struct ArchiveLimits {
    budget: ArchiveBudget,
    interval: AutomaticInterval,
    started: Instant,
}

impl ArchiveLimits {
    /// `None`: no limits, with a budget of 0 bytes a day.
    pub(super) fn new(bytes_per_day: u64) -> Option<Self> {
        let limits = || Self {
            budget: ArchiveBudget::new(bytes_per_day),
            interval: AutomaticInterval::default(),
            started: Instant::now(),
        };
        (bytes_per_day > 0).then(limits)
    }

    /// Counts the archive of this request on a node with so much memory. Returns its bytes.
    pub(super) fn take(&self, request: &CheckpointRequest, node_memory: u64) -> Result<u64, Outcome> {
        let CheckpointRequest { pod, node, checkpoint_uid, .. } = request;
        let now = self.now();
        if let Some(wait) =
            self.interval.wait(&container(request), checkpoint_uid, now).filter(|_| request.is_automatic)
        {
            return Err(within_the_interval(request, wait));
        }
        let limits = limits(request);
        let bytes = archive_bytes(limits, node_memory);
        let archive = Archive { namespace: &pod.namespace, node, checkpoint: checkpoint_uid, bytes, at: now };
        self.budget.take(&archive).map_err(|wait| beyond_the_budget(request, limits, wait))?;
        Ok(bytes)
    }

    /// The request of an archive that [`Self::take`] counted has ended. The outcome of a success then says how it was counted.
    pub(super) fn ended(&self, request: &CheckpointRequest, bytes: u64, outcome: &mut Outcome) {
        let CheckpointRequest { pod, node, checkpoint_uid, .. } = request;
        match outcome {
            Outcome::Succeeded(Location { counted_bytes, .. }) => *counted_bytes = Some(bytes),
            Outcome::Failed { reason, .. } => match reason.retry_class() {
                // Certainly nothing was written.
                RetryClass::NotTried | RetryClass::Final => {
                    return self.budget.put_back(&pod.namespace, node, checkpoint_uid);
                }
                RetryClass::TriedAndFailed => return,
                RetryClass::Unknown => {}
            },
        }
        if request.is_automatic {
            let now = self.now();
            self.interval.note(container(request), checkpoint_uid, now, now);
        }
    }

    /// Counts what a Checkpoint shows, unless it is counted already.
    pub(super) fn recall(&self, taken: &TakenCheckpoint) {
        let TakenCheckpoint { checkpoint_uid, namespace, pod_uid, container, node, is_automatic, counted_bytes, age } =
            taken;
        let now = self.now();
        let Some(at) = now.checked_sub(*age) else { return };
        // Earlier versions did not say how they counted.
        let bytes = counted_bytes.unwrap_or(UNLIMITED_FILES);
        self.budget.recall(&Archive { namespace, node, checkpoint: checkpoint_uid, bytes, at }, now);
        if *is_automatic {
            let (namespace, pod_uid, name) = (namespace.clone(), pod_uid.clone(), container.clone());
            self.interval.note(Container { namespace, pod_uid, name }, checkpoint_uid, at, now);
        }
    }

    /// Archives of the day before the start of this process have a time, too.
    fn now(&self) -> Duration {
        DAY + self.started.elapsed()
    }
}

fn container(request: &CheckpointRequest) -> Container {
    let CheckpointRequest { pod, pod_uid, container, .. } = request;
    Container { namespace: pod.namespace.to_string(), pod_uid: pod_uid.clone(), name: container.clone() }
}

fn limits(request: &CheckpointRequest) -> ContainerLimits {
    match &request.pod_detail {
        PodDetail::Limits(limits) => limits.of(&request.container),
        PodDetail::Nothing | PodDetail::Text(_) => ContainerLimits::default(),
    }
}

/// An archive holds the memory of its container and the files that the container has changed.
fn archive_bytes(limits: ContainerLimits, node_memory: u64) -> u64 {
    let ContainerLimits { memory, ephemeral_storage, hugepages } = limits;
    let files = ephemeral_storage.unwrap_or(UNLIMITED_FILES);
    memory.unwrap_or(node_memory).saturating_add(hugepages).saturating_add(files)
}

fn beyond_the_budget(request: &CheckpointRequest, limits: ContainerLimits, wait: Duration) -> Outcome {
    let CheckpointRequest { pod, node, .. } = request;
    let remedy = match (limits.memory, limits.ephemeral_storage) {
        (None, _) => {
            "give the container a memory limit (without one it counts as large as the memory of the node), or raise \
             `--kubelet-archive-budget`"
        }
        (Some(_), None) => {
            "give the container a limit on ephemeral storage (without one its files count 1 GiB), or raise `--kubelet-archive-budget`"
        }
        (Some(_), Some(_)) => "raise `--kubelet-archive-budget`",
    };
    let message = format!(
        "the archives of namespace `{}` on node `{node}` have reached the limit of a day; there is space for this one in {} min. \
         To have it sooner, {remedy}",
        pod.namespace,
        minutes(wait)
    );
    too_soon(&message, wait)
}

fn within_the_interval(request: &CheckpointRequest, wait: Duration) -> Outcome {
    let CheckpointRequest { pod, container, .. } = request;
    let message = format!(
        "container `{container}` of pod `{pod}` was checkpointed less than {} min ago; the next automatic checkpoint is taken in {} min. \
         To have one now, create a manual Checkpoint",
        minutes(SHORTEST),
        minutes(wait)
    );
    too_soon(&message, wait)
}

fn too_soon(message: &str, wait: Duration) -> Outcome {
    Outcome::Failed {
        reason: Reason::TooSoon,
        message: Redacted::own(message),
        retry_after: Some(wait.min(LONGEST_RETRY_AFTER)),
    }
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

#[cfg(test)]
mod tests;
