//! What a Checkpoint is created for, and how often it is attempted.

use clap::Args;

use snapwatcher_api::pod::{OncePer, RevisionLabels};
use snapwatcher_controller::{RetryPolicy, UnknownResult};

use super::fixed_times::FixedTimes;
use super::values::label_key;

#[derive(Debug, Clone, Args)]
pub struct AttemptArgs {
    /// How often a pod without an annotation for it is checkpointed: once per `pod`, or once per `revision` of its workload
    /// [default with `--backend kubelet`: revision, because archives stay on the nodes; there, an annotation cannot ask for
    /// more].
    #[arg(
        long,
        env = "SNAPWATCHER_ONCE_PER",
        value_name = "SUBJECT",
        default_value = "pod",
        default_value_if("backend", "kubelet", "revision")
    )]
    pub once_per: OncePer,
    /// Labels or annotations of pods that name the revision of the pod, comma-separated, for workloads whose controller sets neither
    /// `pod-template-hash` nor `controller-revision-hash`. The first one with the value of a label counts. Without one, all pods of
    /// such a controller are one revision. A pod can name another one by the annotation `snap.weaversoft.io/revision-label` [with
    /// `--backend kubelet`, only a pod that has none of these labels].
    #[arg(long, env = "SNAPWATCHER_REVISION_LABELS", value_name = "KEYS", value_delimiter = ',', value_parser = label_key)]
    pub revision_labels: Vec<String>,
    /// What to do when the result of a request is unknown: `keep` leaves the Checkpoint `Unknown`; `retry` sends it again and
    /// may take a second checkpoint.
    #[arg(long, env = "SNAPWATCHER_UNKNOWN_RESULT", value_name = "WHAT", default_value = "keep")]
    pub unknown_result: UnknownResult,
    /// How many attempts of a Checkpoint may fail before it is `Failed`. An attempt that did not reach the back-end does not
    /// count.
    #[arg(long, env = "SNAPWATCHER_MAX_ATTEMPTS", value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_attempts: u16,
    /// How many pods of a revision are tried, one after the other, while their checkpoints fail.
    #[arg(long, env = "SNAPWATCHER_MAX_PODS_PER_REVISION", value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_pods_per_revision: u16,
}

impl AttemptArgs {
    /// `is_limit`: see [`RevisionLabels::new`].
    pub fn revision_labels(&self, is_limit: bool) -> RevisionLabels {
        RevisionLabels::new(self.revision_labels.iter().filter(|key| !key.is_empty()).cloned().collect(), is_limit)
    }

    pub fn policy(&self, times: &FixedTimes) -> RetryPolicy {
        RetryPolicy {
            unknown_result: self.unknown_result,
            max_attempts: self.max_attempts.into(),
            longest_wait: times.longest_wait,
            holder_grace: times.holder_grace,
        }
    }
}
