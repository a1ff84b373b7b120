//! Compares the archives on the node with the Checkpoints: removes those that are not needed, and counts those that no Checkpoint names.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use kube::ResourceExt as _;

use snapwatcher_api::snapshot::{NodeCopyState, Snapshot, SnapshotPhase};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;

use crate::archive_rules::{Named, SnapshotState, Verdict, is_archive_name, verdict_of_named, verdict_of_unknown};
use crate::save_error::SaveError;
use crate::shared::Shared;

/// How many files are looked at. Another program would have to write more into the folder of the kubelet.
const MOST_FILES: usize = 100_000;

/// A file in the folder of the kubelet.
struct Found {
    name: String,
    bytes: u64,
    age: Duration,
}

/// One comparison.
pub(crate) async fn inventory(shared: &Shared) -> Result<(), SaveError> {
    // The files first: a Checkpoint names its archive after the kubelet has written it.
    let files = files(shared)?;
    if files.is_empty() {
        // The usual case: what is saved is removed. No agent then lists all Checkpoints.
        shared.metrics.unknown_archives(0, 0);
        return Ok(());
    }
    let named = shared.access.named_archives(&shared.settings.scopes).await?;
    let (mut unknown, mut unknown_bytes) = (0, 0);
    for file in files {
        let verdict = verdict(shared, &file, &named).await?;
        match verdict {
            Verdict::Kept => {}
            Verdict::Unknown => (unknown, unknown_bytes) = (unknown + 1, unknown_bytes + file.bytes),
            Verdict::Removed(why) => remove(shared, &file.name, why),
        }
    }
    shared.metrics.unknown_archives(unknown, unknown_bytes);
    if unknown > 0 && shared.may_warn("", &format!("unknown archives {unknown}")) {
        tracing::warn!(
            "{unknown} archives on this node ({unknown_bytes} bytes) are named by no Checkpoint. Delete them, or set \
             --remove-unknown-archives"
        );
    }
    Ok(())
}

async fn verdict(shared: &Shared, file: &Found, named: &HashMap<String, Named>) -> Result<Verdict, SaveError> {
    let path = shared.settings.checkpoints_folder.join(&file.name);
    let Some(named) = path.to_str().and_then(|path| named.get(path)) else {
        let (oldest, removes) = (shared.settings.times.unknown_age, shared.settings.removes_unknown_archives);
        return Ok(verdict_of_unknown(file.age, oldest, removes));
    };
    let state = match &named.snapshot {
        None => SnapshotState::Open,
        Some(reference) => {
            let found = shared.access.read_snapshot(&named.namespace, &reference.name).await?;
            state(found.filter(|found| found.uid().as_ref() == Some(&reference.uid)).as_ref())
        }
    };
    Ok(verdict_of_named(named, state))
}

/// By a live read: the watch may be behind.
fn state(snapshot: Option<&Snapshot>) -> SnapshotState {
    let Some(snapshot) = snapshot else { return SnapshotState::Gone };
    let is_held = snapshot.status.iter().flat_map(|status| &status.nodes).any(|node| node.state == NodeCopyState::Held);
    match snapshot.phase() {
        SnapshotPhase::Saved => SnapshotState::Held,
        SnapshotPhase::Local if is_held => SnapshotState::Held,
        _ => SnapshotState::Open,
    }
}

fn remove(shared: &Shared, name: &str, why: &str) {
    match shared.remove_archive(name, None) {
        Ok(()) => {
            shared.metrics.archive_removed();
            tracing::info!(archive = name, "Archive `{name}` was removed from this node: {why}");
        }
        Err(error) => {
            shared.metrics.failed();
            if shared.may_warn("", &format!("remove {}", error.consequence_word())) {
                tracing::warn!(archive = name, "Archive `{name}` could not be removed: {}", error_chain(&error));
            }
        }
    }
}

/// The archives in the folder of the kubelet. Until the first checkpoint of the node there is no such folder.
fn files(shared: &Shared) -> Result<Vec<Found>, SaveError> {
    let entries = match std::fs::read_dir(&shared.settings.checkpoints_folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let now = SystemTime::from(clock::now());
    let mut files = Vec::new();
    for entry in entries.take(MOST_FILES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !is_archive_name(&name) {
            continue;
        }
        // One that was removed since is none.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
        files.push(Found { name, bytes: metadata.len(), age });
    }
    Ok(files)
}
