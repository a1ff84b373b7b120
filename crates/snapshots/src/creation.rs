//! Creates the Snapshot of a Checkpoint, and writes into the Checkpoint which one it is. Every step may be repeated: the creation is
//! the claim, and the status is written by compare-and-swap.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, SAVED, SnapshotReference, set_condition};
use snapwatcher_api::checkpoint_name::label_value;
use snapwatcher_api::keys::WORKLOAD;
use snapwatcher_api::snapshot::{ArchivedCheckpoint, Snapshot, SnapshotSpec};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::WorkloadError;

use crate::error::StepError;
use crate::leader_status::LeaderStatus;
use crate::plan::{self, Existing, MOST_OF_NAMESPACE, NotSaved};
use crate::shared::Shared;
use crate::subject::Subject;

/// What is written into a Checkpoint.
enum Decision {
    Saved(SnapshotReference),
    NotSaved(NotSaved),
}

/// Decides what is saved of a Checkpoint, if that is not decided yet.
pub(crate) async fn create_for(shared: &Shared, namespace: &str, name: &str) -> Result<(), StepError> {
    let Some(checkpoint) = shared.access.read_checkpoint(namespace, name).await? else { return Ok(()) };
    let Some(archived) = ArchivedCheckpoint::of(&checkpoint) else { return Ok(()) };
    let decision = decide(shared, &archived).await?;
    write(shared, checkpoint, decision).await
}

async fn decide(shared: &Shared, archived: &ArchivedCheckpoint) -> Result<Decision, StepError> {
    let pod = shared.access.read_pod(&archived.pod).await?;
    let pod = match plan::consenting(archived, pod.as_ref()) {
        Ok(pod) => pod,
        Err(reason) => return Ok(Decision::NotSaved(reason)),
    };
    let workload = match shared.workloads.workload(&pod.facts).await {
        Ok(workload) => workload,
        Err(WorkloadError::Gone { .. }) => return Ok(Decision::NotSaved(NotSaved::WorkloadGone)),
        Err(error) => return Err(error.into()),
    };
    let mut spec = match plan::spec(archived, pod, &workload) {
        Ok(spec) => spec,
        Err(reason) => return Ok(Decision::NotSaved(reason)),
    };
    let others = shared.index().of_subject(&archived.namespace, Subject::of(&spec));
    if archived.is_manual {
        let newest = others.into_iter().next();
        spec.replaces = newest.map(|(_, indexed)| indexed.uid);
    } else {
        for (name, indexed) in others {
            // The watch may be behind, and a deleted Snapshot saves nothing.
            let found = shared.access.read_snapshot(&archived.namespace, &name).await?;
            let found = found.filter(|found| found.uid().as_ref() == Some(&indexed.uid));
            if let Some(found) = found.filter(|found| found.spec.origin.checkpoint.uid != archived.uid) {
                return Ok(Decision::Saved(reference(&found, true)));
            }
        }
    }
    if shared.index().count(&archived.namespace) >= MOST_OF_NAMESPACE {
        return Ok(Decision::NotSaved(NotSaved::TooManySnapshots));
    }
    if let Some(keys) = &shared.keys {
        spec.recipient = Some(keys.recipient(&archived.namespace).await?);
    }
    claim(shared, archived, &spec).await
}

/// Creates the Snapshot under the first name that is not taken by something else.
async fn claim(shared: &Shared, archived: &ArchivedCheckpoint, spec: &SnapshotSpec) -> Result<Decision, StepError> {
    let names: Vec<String> = plan::names(spec, archived.is_manual).collect();
    for name in names {
        let created = shared.access.create_snapshot(&object(&archived.namespace, &name, spec)).await;
        let (snapshot, is_new) = match created {
            Ok(created) => (created, true),
            Err(error) if error.already_exists() => {
                match shared.access.read_snapshot(&archived.namespace, &name).await? {
                    Some(found) => (found, false),
                    // It was deleted in the meantime.
                    None => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        match plan::existing(&snapshot.spec, spec) {
            Existing::Own => {
                accept_origin(shared, &snapshot).await?;
                if is_new {
                    shared.metrics.created();
                    shared.index().put(&snapshot);
                }
                return Ok(Decision::Saved(reference(&snapshot, false)));
            }
            Existing::OfRevision if !archived.is_manual => return Ok(Decision::Saved(reference(&snapshot, true))),
            Existing::OfRevision | Existing::Other => {}
        }
    }
    Ok(Decision::NotSaved(NotSaved::NameTaken))
}

/// Marks a Snapshot as created by a leader. Only the leader writes this condition, so it is what distinguishes the Snapshot from
/// one that a person creates.
async fn accept_origin(shared: &Shared, snapshot: &Snapshot) -> Result<(), CallError> {
    let is_marked = snapshot.status.as_ref().is_some_and(|status| !status.conditions.is_empty());
    if is_marked {
        return Ok(());
    }
    shared.access.write_status(snapshot, &LeaderStatus::created(snapshot, clock::now())).await.map(drop)
}

fn object(namespace: &str, name: &str, spec: &SnapshotSpec) -> Snapshot {
    let labels = [(WORKLOAD.to_owned(), label_value(&spec.workload.name))];
    Snapshot {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: spec.clone(),
        status: None,
    }
}

fn reference(snapshot: &Snapshot, is_of_another_checkpoint: bool) -> SnapshotReference {
    SnapshotReference { name: snapshot.name_any(), uid: snapshot.uid().unwrap_or_default(), is_of_another_checkpoint }
}

/// Writes the decision into the Checkpoint that was read, and reports it.
async fn write(shared: &Shared, mut checkpoint: Checkpoint, decision: Decision) -> Result<(), StepError> {
    let (namespace, name) = (checkpoint.namespace().unwrap_or_default(), checkpoint.name_any());
    let generation = checkpoint.metadata.generation;
    let status = checkpoint.status.get_or_insert_default();
    let reason = match decision {
        Decision::Saved(reference) => {
            status.snapshot = Some(reference);
            None
        }
        Decision::NotSaved(reason) => {
            let message = reason.message();
            set_condition(&mut status.conditions, SAVED, "False", reason.as_str(), &message, generation, clock::now());
            Some(reason)
        }
    };
    shared.access.replace_checkpoint_status(&checkpoint).await?;
    let Some(reason) = reason else {
        let snapshot = checkpoint.status.and_then(|status| status.snapshot).unwrap_or_default();
        tracing::debug!(
            namespace,
            checkpoint = name,
            snapshot = snapshot.name,
            "Checkpoint `{namespace}/{name}` is saved"
        );
        return Ok(());
    };
    shared.metrics.not_saved(reason);
    if reason.is_warning() {
        let message = reason.message();
        shared.events.not_saved(&checkpoint, format!("No Snapshot is made of the archive: {message}"));
        if shared.may_warn(&namespace, reason.as_str()) {
            tracing::warn!(
                namespace,
                checkpoint = name,
                reason = reason.as_str(),
                "No Snapshot is made of Checkpoint `{namespace}/{name}`: {message}"
            );
        }
    }
    Ok(())
}
