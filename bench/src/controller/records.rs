//! Finished Checkpoints, as SnapWatcher leaves them.

use std::collections::BTreeMap;
use std::error::Error;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::ResourceExt as _;
use kube::api::PostParams;
use snapwatcher_api::checkpoint::{
    COMPLETE, Checkpoint, CheckpointSpec, CheckpointStatus, FAILED, Phase, PodReference, PodStatus,
};
use snapwatcher_api::keys::{MANAGED_BY, NODE, POD_UID};

use super::testbed::{Testbed, in_parallel};

/// Creates finished Checkpoints, each of another pod that does not exist.
pub(crate) async fn create_records(testbed: &Testbed, count: usize) -> Result<(), Box<dyn Error>> {
    let checkpoints = testbed.checkpoints();
    let create = async |number: usize| {
        let mut created = checkpoints.create(&PostParams::default(), &record(number)).await?;
        // SnapWatcher deletes records of old checkpoints, so this one is as old as the object.
        let time = created.creation_timestamp().map_or(Time(jiff::Timestamp::UNIX_EPOCH), |time| time);
        created.status = Some(status(number, &time));
        checkpoints.replace_status(&created.name_any(), &PostParams::default(), &created).await.map(drop)
    };
    in_parallel(0..count, create).await
}

fn record(number: usize) -> Checkpoint {
    let pod = PodReference { name: name(number), uid: Some(uid(number)) };
    let spec = CheckpointSpec { pod: Some(pod), container: Some("app".to_owned()), ..CheckpointSpec::default() };
    let mut record = Checkpoint::new(&format!("{}-app-0123456789", name(number)), spec);
    let labels = [(MANAGED_BY, "snapwatcher".to_owned()), (POD_UID, uid(number)), (NODE, "node-1".to_owned())];
    let labels: BTreeMap<String, String> = labels.map(|(key, value)| (key.to_owned(), value)).into();
    record.metadata.labels = Some(labels);
    record
}

fn status(number: usize, time: &Time) -> CheckpointStatus {
    let condition = |kind: &str, status: &str| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: "Succeeded".to_owned(),
        message: "Checkpoint created".to_owned(),
        last_transition_time: time.clone(),
        observed_generation: Some(1),
    };
    CheckpointStatus {
        phase: Some(Phase::Succeeded),
        observed_generation: Some(1),
        pod: Some(PodStatus { name: name(number), uid: Some(uid(number)), node: Some("node-1".to_owned()) }),
        container: Some("app".to_owned()),
        image: Some("registry.invalid/app:1".to_owned()),
        image_id: Some("registry.invalid/app:1@lab".to_owned()),
        attempt: 1,
        start_time: Some(MicroTime(time.0)),
        completion_time: Some(MicroTime(time.0)),
        conditions: vec![condition(COMPLETE, "True"), condition(FAILED, "False")],
        ..CheckpointStatus::default()
    }
}

fn name(number: usize) -> String {
    format!("gone-{number}")
}

fn uid(number: usize) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}
