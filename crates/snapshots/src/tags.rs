//! A round of the clean-up of the registry: deletes the manifests of Snapshots that do not exist any more. Snapshots that people
//! delete leave them behind, and so does an agent that dies.
//!
//! The tags are listed before the Snapshots. The round ends without a deletion if not all Snapshots can be listed.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_registry::{Deletion, ErrorKind, Reference, RegistryError, Repository, Tag};

use crate::error::StepError;
use crate::shared::Shared;
use crate::tag_choice::{MOST_TAGS, may_delete, orphans, uid_of};

/// The longest round. The rest is for the next one.
const LONGEST_ROUND: Duration = Duration::from_secs(600);

/// Looks at all tags once. Without a view of all namespaces, Snapshots of others would look deleted: then nothing is done.
pub(crate) async fn round(shared: &Shared) {
    let Some(repository) = &shared.repository else { return };
    if shared.settings.scopes != [Scope::All] {
        return;
    }
    if let Err(error) = clean(shared, repository).await {
        shared.metrics.failed();
        tracing::warn!(
            "Could not delete what the registry holds of deleted Snapshots, retrying in the next round: {}",
            error_chain(&error)
        );
    }
}

async fn clean(shared: &Shared, repository: &Repository) -> Result<(), StepError> {
    let tags = tags(repository).await?;
    if tags.is_empty() {
        return Ok(());
    }
    let snapshots = shared.access.snapshot_uids().await?;
    let (since, mut deleted) = (Instant::now(), 0_usize);
    for orphan in orphans(tags, &snapshots) {
        if since.elapsed() >= LONGEST_ROUND {
            break;
        }
        match delete(shared, repository, orphan).await? {
            Some(Deletion::NotAllowed) => {
                shared.deletion_is_refused();
                break;
            }
            Some(Deletion::Deleted) => {
                deleted += 1;
                shared.metrics.manifest_deleted();
            }
            Some(Deletion::NotFound) | None => {}
        }
    }
    if deleted > 0 {
        tracing::info!(deleted, "Deleted {deleted} manifests in the registry that belong to no Snapshot");
    }
    Ok(())
}

/// The tags that are UIDs.
async fn tags(repository: &Repository) -> Result<Vec<Uuid>, RegistryError> {
    let (mut pages, mut found) = (repository.tags(), Vec::new());
    while let Some(page) = pages.next_page().await? {
        found.extend(page.iter().filter_map(uid_of));
        if found.len() >= MOST_TAGS {
            break;
        }
    }
    Ok(found)
}

/// Deletes the manifest behind a tag. `None`: it stays.
async fn delete(shared: &Shared, repository: &Repository, tag: Uuid) -> Result<Option<Deletion>, RegistryError> {
    let Ok(reference) = tag.hyphenated().to_string().parse::<Tag>() else { return Ok(None) };
    let manifest = match repository.manifest(&Reference::Tag(reference)).await {
        Ok(manifest) => manifest,
        // A manifest that is malformed, or gone, is not ours to delete. The others are looked at nevertheless.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::WrongContent) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if may_delete(tag, &manifest, shared.settings.tags.least_age, clock::now()) {
        repository.delete_manifest(&manifest.digest).await.map(Some)
    } else {
        Ok(None)
    }
}
