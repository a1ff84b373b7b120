//! What a Checkpoint shows of an archive on a node, for a back-end that limits how many are written.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, LocationStatus, Phase};
use snapwatcher_backends::backend::TakenCheckpoint;

use super::fields;

/// The checkpoint that was taken. `None`: none was, or it has no archive on a node.
pub(crate) fn taken(checkpoint: &Checkpoint, now: Timestamp) -> Option<TakenCheckpoint> {
    let status = checkpoint.status.as_ref().filter(|status| status.phase == Some(Phase::Succeeded))?;
    let LocationStatus { archive: Some(_), node: Some(node), counted_bytes, .. } = status.location.clone()? else {
        return None;
    };
    let completed = status.completion_time.as_ref()?.0;
    Some(TakenCheckpoint {
        checkpoint_uid: checkpoint.uid()?,
        namespace: checkpoint.namespace()?,
        pod_uid: fields::pod_uid(checkpoint)?.to_owned(),
        container: fields::container(checkpoint)?.to_owned(),
        node,
        is_automatic: fields::is_automatic(checkpoint),
        counted_bytes: counted_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        // One in the future was written by a clock that is ahead.
        age: Duration::try_from(now.duration_since(completed)).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use snapwatcher_api::fixtures::{self, CONTAINER, CheckpointFixture, POD_UID, at};

    use super::*;

    fn succeeded(location: LocationStatus) -> CheckpointFixture {
        fixtures::checkpoint("web").in_progress().phase(Phase::Succeeded).status(|status| {
            status.completion_time = Some(MicroTime(at(100)));
            status.location = Some(location);
        })
    }

    fn on_node() -> LocationStatus {
        let (archive, node) = (Some("/a.tar".to_owned()), Some("n1".to_owned()));
        LocationStatus { archive, node, counted_bytes: Some(7), ..LocationStatus::default() }
    }

    #[test]
    fn a_checkpoint_with_an_archive_on_a_node_says_what_was_taken_and_when() {
        let checkpoint = succeeded(on_node()).build();
        let found = taken(&checkpoint, at(160)).unwrap();
        assert_eq!((found.node.as_str(), found.counted_bytes, found.age), ("n1", Some(7), Duration::from_secs(60)));
        assert_eq!((found.pod_uid.as_str(), found.container.as_str()), (POD_UID, CONTAINER));
        assert_eq!((Some(found.checkpoint_uid), Some(found.namespace)), (checkpoint.uid(), checkpoint.namespace()));
        assert_eq!(taken(&checkpoint, at(40)).unwrap().age, Duration::ZERO, "a clock that is ahead");
    }

    #[test]
    fn a_checkpoint_without_an_archive_on_a_node_says_nothing() {
        let image = LocationStatus { image: Some("web:checkpoint".to_owned()), ..LocationStatus::default() };
        assert_eq!(taken(&succeeded(image).build(), at(160)), None);
        for phase in [Phase::Failed, Phase::Unknown, Phase::Pending, Phase::InProgress] {
            assert_eq!(taken(&succeeded(on_node()).phase(phase).build(), at(160)), None, "{phase:?}");
        }
    }
}
