//! Deletes one Snapshot: first it is marked Expired, then its manifest is deleted, then the object. Each step may be repeated.
//!
//! A manifest names its Snapshot by its UID, so no other Snapshot has the same one.

use snapwatcher_registry::{Deletion, Digest, Repository};

use crate::error::StepError;
use crate::leader_status::LeaderStatus;
use crate::retention_choice::{Cause, StoredSnapshot};
use crate::shared::Shared;

/// Deletes a Snapshot, if the cause still holds by a live look. False: it stays, or is gone.
pub(crate) async fn remove(shared: &Shared, stored: &StoredSnapshot, cause: Cause) -> Result<bool, StepError> {
    let StoredSnapshot { namespace, name, uid, .. } = stored;
    let Some(live) = shared.access.read_snapshot(namespace, name).await? else { return Ok(false) };
    let Some(now) = StoredSnapshot::of(&live).filter(|now| now.uid == *uid) else { return Ok(false) };
    if cause != Cause::Begun {
        // An annotation, or a use, since the listing.
        let is_needed = now.is_kept || now.last_used != stored.last_used;
        if is_needed || cause.needs_no_pod() && shared.access.has_pod(namespace, &now.spec).await? {
            return Ok(false);
        }
        // With the version that was read: an annotation that comes later is a conflict.
        shared.access.write_status(&live, &LeaderStatus::expired(&live, cause.message())).await?;
    }
    let image = live.status.as_ref().and_then(|status| status.image.as_deref());
    if let Some((repository, digest)) = shared
        .repository
        .as_ref()
        .zip(image)
        .and_then(|(repository, image)| Some((repository, digest_in(repository, image)?)))
        && repository.delete_manifest(&digest).await? == Deletion::NotAllowed
    {
        shared.deletion_is_refused();
    }
    let is_deleted = shared.access.delete_snapshot(namespace, name, uid).await?;
    shared.index().remove(namespace, name);
    if is_deleted {
        shared.metrics.deleted(cause);
        tracing::info!(namespace, snapshot = name, cause = cause.as_str(), "Deleted Snapshot `{namespace}/{name}`");
    }
    Ok(is_deleted)
}

/// The digest in the image of a status, if it is in that repository. The operator may have changed the repository since.
fn digest_in(repository: &Repository, image: &str) -> Option<Digest> {
    let (name, digest) = image.split_once('@')?;
    let own = format!("{}/{}", repository.name().registry(), repository.name().path());
    if name == own { digest.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::outcome::Redacted;
    use snapwatcher_registry::{Registry, RegistrySettings};

    use super::*;

    #[test]
    fn only_manifests_of_the_own_repository_are_deleted() {
        let settings = RegistrySettings::new("r.example.com:5000/team/s".parse().unwrap(), Redacted::own);
        let repository = Registry::new(&settings).unwrap().base();
        let digest = Digest::of(b"manifest");
        let found = |name: &str| digest_in(&repository, &format!("{name}@{digest}"));
        assert_eq!(found("r.example.com:5000/team/s"), Some(digest.clone()));
        for other in ["r.example.com/team/s", "r.example.com:5000/team", "r.example.com:5000/team/s/x", ""] {
            assert_eq!(found(other), None, "{other}");
        }
        assert_eq!(digest_in(&repository, "r.example.com:5000/team/s:latest"), None);
    }
}
