//! Judges a Snapshot: reads what its verdict needs, writes the verdict, and deletes what it replaces.

use std::time::Duration;

use kube::ResourceExt as _;

use snapwatcher_api::snapshot::{Snapshot, SnapshotPhase};
use snapwatcher_daemon::clock;
use snapwatcher_registry::{Digest, Repository};

use crate::error::StepError;
use crate::judge::{self, Look, Origin, Verdict};
use crate::leader_status::LeaderStatus;
use crate::manifest_check::{self, Report};
use crate::removal;
use crate::retention_choice::{Cause, StoredSnapshot, replaces};
use crate::shared::Shared;
use crate::subject::Subject;

/// After that time a Snapshot is looked at again whose Checkpoint is not decided.
const OPEN_WAIT: Duration = Duration::from_secs(300);

/// Whether a Snapshot, as the watch shows it, may get another status. Most changes are the leader's own.
pub(crate) fn is_worth_a_look(snapshot: &Snapshot, has_registry: bool) -> bool {
    match judge::look(snapshot, has_registry) {
        Look::Nothing => false,
        Look::Origin | Look::Manifest(_) => true,
        // The time of a condition only matters if the condition changes.
        Look::Verdict(verdict) => verdict.status(snapshot, clock::now()) != LeaderStatus::of(snapshot),
    }
}

/// Judges the Snapshot of that name. Returns after which time it is to be looked at again without a change.
pub(crate) async fn judge(shared: &Shared, namespace: &str, name: &str) -> Result<Option<Duration>, StepError> {
    let Some(snapshot) = shared.access.read_snapshot(namespace, name).await? else { return Ok(None) };
    let verdict = match judge::look(&snapshot, shared.repository.is_some()) {
        Look::Nothing => return Ok(None),
        Look::Origin => return accept_or_reject(shared, &snapshot).await,
        Look::Manifest(report) => match &shared.repository {
            Some(repository) => read_manifest(repository, &snapshot, &report).await?,
            None => return Ok(None),
        },
        Look::Verdict(verdict) => verdict,
    };
    let judged = write(shared, snapshot, &verdict).await?;
    if matches!(verdict, Verdict::Saved { .. } | Verdict::Local { .. }) {
        remove_replaced(shared, &judged).await?;
    }
    Ok(None)
}

/// A Snapshot that no leader has marked is ours if its Checkpoint names it.
async fn accept_or_reject(shared: &Shared, snapshot: &Snapshot) -> Result<Option<Duration>, StepError> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let checkpoint = shared.access.read_checkpoint(&namespace, &snapshot.spec.origin.checkpoint.name).await?;
    match judge::origin(snapshot, checkpoint.as_ref()) {
        Origin::Open => Ok(Some(OPEN_WAIT)),
        Origin::Ours => {
            shared.access.write_status(snapshot, &LeaderStatus::created(snapshot, clock::now())).await?;
            Ok(None)
        }
        Origin::Foreign => {
            write(shared, snapshot.clone(), &judge::foreign()).await?;
            Ok(None)
        }
    }
}

/// Reads the manifest by the digest that the node reports, and compares it with the Snapshot.
async fn read_manifest(repository: &Repository, snapshot: &Snapshot, report: &Report) -> Result<Verdict, StepError> {
    let rejected = |why: String| {
        let message = Some(format!("manifest {} is not of this Snapshot: {why}", report.manifest));
        Verdict::Rejected { reason: "ManifestDiffers".to_owned(), message }
    };
    let Ok(digest) = report.manifest.parse::<Digest>() else { return Ok(rejected("its digest is none".to_owned())) };
    // A manifest that does not exist, and a registry that is down, are errors: they are tried again.
    let manifest = repository.manifest(&digest.clone().into()).await?;
    let checked = match manifest_check::check(snapshot, report, &manifest) {
        Ok(checked) => checked,
        Err(difference) => return Ok(rejected(difference.to_string())),
    };
    for layer in &manifest.layers {
        let found = repository.blob_bytes(&layer.digest).await?;
        if found != Some(layer.bytes) {
            let message = format!("the registry does not have blob {} of the manifest", layer.digest);
            return Ok(Verdict::Waiting { reason: "BlobMissing".to_owned(), message: Some(message) });
        }
    }
    let name = repository.name();
    let image = format!("{}/{}@{digest}", name.registry(), name.path());
    Ok(Verdict::Saved { image, checked })
}

/// Writes the verdict if it changes something, and reports it. Returns the Snapshot as it is now.
async fn write(shared: &Shared, snapshot: Snapshot, verdict: &Verdict) -> Result<Snapshot, StepError> {
    let status = verdict.status(&snapshot, clock::now());
    if status == LeaderStatus::of(&snapshot) {
        return Ok(snapshot);
    }
    let before = snapshot.phase();
    let written = shared.access.write_status(&snapshot, &status).await?;
    shared.index().put(&written);
    if written.phase() != before {
        report(shared, &written);
    }
    Ok(written)
}

fn report(shared: &Shared, snapshot: &Snapshot) {
    let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
    let status = snapshot.status.as_ref();
    shared.metrics.judged(snapshot.phase());
    match snapshot.phase() {
        SnapshotPhase::Saved => {
            let image = status.and_then(|status| status.image.as_deref()).unwrap_or_default();
            shared.events.saved(snapshot, format!("The registry holds the Snapshot: {image}"));
            tracing::info!(namespace, snapshot = name, image, "Snapshot `{namespace}/{name}` is saved");
        }
        SnapshotPhase::Rejected => {
            let message = status.and_then(|status| status.message.as_deref()).unwrap_or("no reason was reported");
            shared.events.snapshot_rejected(snapshot, format!("The Snapshot is not used: {message}"));
            if shared.may_warn(&namespace, &name) {
                tracing::warn!(
                    namespace,
                    snapshot = name,
                    "Snapshot `{namespace}/{name}` is not used. Delete it after a look at its status: {message}"
                );
            }
        }
        phase => {
            tracing::debug!(
                namespace,
                snapshot = name,
                phase = phase.as_str(),
                "Snapshot `{namespace}/{name}` was judged"
            );
        }
    }
}

/// Deletes the older Snapshots of the same revision.
async fn remove_replaced(shared: &Shared, snapshot: &Snapshot) -> Result<(), StepError> {
    let Some(newer) = StoredSnapshot::of(snapshot) else { return Ok(()) };
    let others = shared.index().of_subject(&newer.namespace, Subject::of(&newer.spec));
    for (name, indexed) in others.into_iter().filter(|(_, indexed)| indexed.uid != newer.uid) {
        let found = shared.access.read_snapshot(&newer.namespace, &name).await?;
        let found = found.as_ref().and_then(StoredSnapshot::of).filter(|found| found.uid == indexed.uid);
        if let Some(older) = found.filter(|older| !older.is_kept && replaces(&newer, older)) {
            removal::remove(shared, &older, Cause::Replaced).await?;
        }
    }
    Ok(())
}
