//! A round of retention: lists all Snapshots, and deletes those that are not needed any more.
//!
//! The Snapshots of a namespace are listed one after the other, so only those of one namespace are in memory.

use std::time::Duration;

use tokio::time::Instant;

use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Scope};

use crate::plan::MOST_OF_NAMESPACE;
use crate::removal;
use crate::retention_choice::{StoredSnapshot, expired};
use crate::shared::Shared;

/// The most Snapshots of one namespace that a round looks at.
const NAMESPACE_SHARE: usize = 4 * MOST_OF_NAMESPACE;
/// The longest that a round works on one namespace: the others wait for it.
const NAMESPACE_TIME: Duration = Duration::from_secs(60);

/// Looks at all Snapshots once.
pub(crate) async fn round(shared: &Shared) {
    for scope in &shared.settings.scopes {
        if let Err(error) = round_of(shared, scope).await {
            tracing::warn!(
                "Could not list Snapshots to delete old ones, retrying in the next round: {}",
                error_chain(&error)
            );
        }
    }
}

async fn round_of(shared: &Shared, scope: &Scope) -> Result<(), CallError> {
    let mut pages = shared.access.snapshots(scope);
    let mut current: Vec<StoredSnapshot> = Vec::new();
    while let Some(page) = pages.next("list Snapshots").await? {
        for listed in page.into_iter().filter_map(|found| StoredSnapshot::of(&Snapshot::from(found))) {
            if current.first().is_some_and(|first| first.namespace != listed.namespace) {
                remove_expired(shared, &std::mem::take(&mut current)).await;
            }
            if current.len() < NAMESPACE_SHARE {
                current.push(listed);
            }
        }
    }
    remove_expired(shared, &current).await;
    Ok(())
}

/// Deletes the expired ones of a namespace. An error with one keeps none of the others.
async fn remove_expired(shared: &Shared, snapshots: &[StoredSnapshot]) {
    let since = Instant::now();
    for (snapshot, cause) in expired(snapshots, shared.settings.retention, clock::now()) {
        if since.elapsed() >= NAMESPACE_TIME {
            return;
        }
        if let Err(error) = removal::remove(shared, snapshot, cause).await {
            let StoredSnapshot { namespace, name, .. } = snapshot;
            shared.metrics.failed();
            if shared.may_warn(namespace, "retention") {
                tracing::warn!(
                    namespace,
                    snapshot = name,
                    "Could not delete Snapshot `{namespace}/{name}`, retrying in the next round: {}",
                    error_chain(&error)
                );
            }
        }
    }
}
