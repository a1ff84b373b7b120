//! Prepares an attempt: chooses the pod, reads it live, checks the preconditions, and computes the status to write.

use std::time::Duration;

use jiff::SignedDuration;
use kube::{Client, ResourceExt as _};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{CallError, LivePod, read_pod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadLookup};

use super::candidates::Candidates;
use super::endpoint_breakers::{EndpointBreakers, Permit};
use super::fields;
use super::preconditions::{self, UnmetPrecondition};
use super::transitions::{self, AttemptTarget, Holder};

/// How long after the start of its write an attempt may still be sent. Later, another process may already have marked
/// it Interrupted, so it is cancelled instead.
pub(crate) const SEND_WINDOW: Duration = Duration::from_secs(15);

/// What the preparation of one attempt uses.
pub(super) struct AttemptPreparation<'a> {
    pub(super) client: &'a Client,
    pub(super) owners: &'a WorkloadLookup,
    pub(super) backend: &'a dyn CheckpointBackend,
    pub(super) breakers: &'a EndpointBreakers,
    pub(super) holder: &'a Holder,
    pub(super) permit: &'a Permit,
}

/// A pod that can be checkpointed now, and the status that starts its attempt.
pub(super) struct PreparedAttempt {
    pub(super) pod: LivePod,
    pub(super) status: CheckpointStatus,
}

/// Why there is no attempt, and the pod if it exists.
pub(super) struct NotPrepared {
    pub(super) unmet: UnmetPrecondition,
    pub(super) pod: Option<PodFacts>,
}

impl From<UnmetPrecondition> for NotPrepared {
    fn from(unmet: UnmetPrecondition) -> Self {
        Self { unmet, pod: None }
    }
}

impl<'a> AttemptPreparation<'a> {
    pub(super) async fn prepare(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<Result<PreparedAttempt, NotPrepared>, CallError> {
        let Some(target) = fields::target(checkpoint) else {
            let message = "spec names neither a pod nor a complete workload: recreate the Checkpoint with one of them";
            return Ok(Err(UnmetPrecondition { reason: Reason::InvalidSpec, message: message.to_owned() }.into()));
        };
        let namespace = checkpoint.namespace().unwrap_or_default();
        let name = match &target {
            CheckpointTarget::Pod { name, .. } | CheckpointTarget::Manual { name, .. } => {
                PodName { namespace, name: name.clone() }
            }
            CheckpointTarget::Revision { .. } => {
                match self.candidates().find(checkpoint, &target, clock::now()).await? {
                    Ok(name) => name,
                    Err(unmet) => return Ok(Err(unmet.into())),
                }
            }
        };
        let live = read_pod(self.client, &name).await?;
        let container = match preconditions::check(&target, &name, live.as_ref().map(|pod| &pod.facts)) {
            Ok(container) => container,
            // The pod was eligible in the listing before. Another pod is chosen next time, and this one does not count.
            Err(UnmetPrecondition { message, .. }) if matches!(target, CheckpointTarget::Revision { .. }) => {
                return Ok(Err(UnmetPrecondition { reason: Reason::NotReady, message }.into()));
            }
            Err(unmet) => return Ok(Err(NotPrepared { unmet, pod: live.map(|pod| pod.facts) })),
        };
        let Some(pod) = live else {
            return Ok(Err(UnmetPrecondition::pod_gone(&name).into()));
        };
        let workload = self.workload(&pod.facts).await;
        let target = AttemptTarget::new(&pod.facts, container, workload.to_string());
        let longest =
            SignedDuration::try_from(SEND_WINDOW + self.backend.longest_attempt()).unwrap_or(SignedDuration::MAX);
        let status = transitions::start_attempt(checkpoint, &target, self.holder, longest, clock::now());
        Ok(Ok(PreparedAttempt { pod, status }))
    }

    /// The pods of a revision that can be attempted.
    pub(super) fn candidates(&self) -> Candidates<'a> {
        let Self { client, owners, backend, breakers, permit, .. } = *self;
        Candidates { client, owners, backend, breakers, permit }
    }

    /// The workload for the status. If it cannot be looked up, the pod's own owner reference serves: it is for display.
    async fn workload(&self, pod: &PodFacts) -> Workload {
        let found = self.owners.workload(pod).await;
        let direct = || {
            let (name, uid) = (pod.name.name.clone(), pod.uid.clone());
            let itself = Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid };
            pod.controller.as_ref().map_or(itself, Workload::from)
        };
        found.unwrap_or_else(|_| direct())
    }
}
