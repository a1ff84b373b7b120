//! A person with the right to edit Checkpoints forges claims and attempts.

use jiff::SignedDuration;
use serde_json::json;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointTarget, PodReference, WorkloadReference};
use snapwatcher_api::checkpoint_name::names;
use snapwatcher_api::keys::{ATTEMPT, RESTORE_NAME};
use snapwatcher_api::pod::PodFacts;

use super::facts;
use super::server_calls::workload_of;
use super::time::true_time;
use super::world::World;

impl World {
    /// Creates a Checkpoint that claims something untrue.
    pub(super) fn forge(&mut self, pods: &[PodFacts]) {
        let Some(pod) = self.pick(pods) else { return };
        let is_revision = self.random.bool();
        let is_of_other_image = self.random.u8(..4) == 0;
        let image = if is_of_other_image { "app:9" } else { facts::image_of(&pod, "app").unwrap_or_default() };
        let target = if is_revision { revision_of(&pod) } else { target_of(&pod, image) };
        let number = self.next_number("forged");
        let spec = if self.random.u8(..4) == 0 { other_spec(&pod) } else { CheckpointSpec::from(&target) };
        // Mostly the first one that SnapWatcher tries.
        let place = if self.random.bool() { 0 } else { self.random.usize(..5) };
        let name = names(&target).nth(place).filter(|_| self.random.u8(..3) > 0);
        let name = name.unwrap_or_else(|| format!("forged-{number}"));
        let mut object = Checkpoint::new(&name, spec);
        object.metadata.namespace = Some(pod.name.namespace.to_string());
        if self.random.u8(..4) > 0 {
            let image = if self.random.u8(..4) == 0 { "app:8" } else { image };
            object.metadata.annotations = Some([(ATTEMPT.to_owned(), self.forged_attempt(&pod, image))].into());
        }
        if self.random.u8(..6) == 0 {
            object.metadata.labels = Some([(RESTORE_NAME.to_owned(), "made-up".to_owned())].into());
        }
        self.coverage.event("forged Checkpoints");
        self.note("forger", || format!("creates {}/{name}: {:?}", pod.name.namespace, object.metadata.annotations));
        drop(self.server.create_checkpoint(object, true_time(self.now)));
    }

    fn forged_attempt(&mut self, pod: &PodFacts, image: &str) -> String {
        let now = true_time(self.now);
        let far = SignedDuration::from_hours(24 * 365 * 100);
        let times = [now, now.saturating_add(far).unwrap_or(now), now.saturating_sub(far).unwrap_or(now)];
        let (start, deadline) = (times[self.random.usize(..3)], times[self.random.usize(..3)]);
        let holders = self.processes.iter().map(|process| &process.holder);
        // The status of a Checkpoint shows the holder, also of the process that runs.
        let mut holders: Vec<String> =
            holders.flat_map(|holder| [holder.to_string(), format!("{}/forged", holder.instance)]).collect();
        holders.push("mallory/forged".to_owned());
        let holder = self.pick(&holders).unwrap_or_default();
        let has_control_sequence = self.random.u8(..4) == 0;
        json!({
            "holder": holder,
            "startTime": start.to_string(),
            "deadline": deadline.to_string(),
            "pod": { "name": &*pod.name.name, "uid": pod.uid, "node": pod.node.as_deref() },
            "workload": if has_control_sequence { "Deployment/\u{1b}[2Jweb" } else { "Deployment/web" },
            "revision": "1",
            "image": image,
        })
        .to_string()
    }
}

fn target_of(pod: &PodFacts, image: &str) -> CheckpointTarget {
    let (name, uid, container) = (pod.name.name.to_string(), pod.uid.clone(), "app".to_owned());
    CheckpointTarget::Pod { name, uid, container, image: image.to_owned() }
}

fn revision_of(pod: &PodFacts) -> CheckpointTarget {
    let workload = workload_of(pod);
    let workload = WorkloadReference {
        api_version: workload.api_version,
        kind: workload.kind,
        name: workload.name,
        uid: workload.uid,
    };
    CheckpointTarget::Revision { workload, revision: pod.revision().to_owned(), container: "app".to_owned() }
}

/// So that the name is taken by a Checkpoint of another target.
fn other_spec(pod: &PodFacts) -> CheckpointSpec {
    let reference = PodReference { name: pod.name.name.to_string(), uid: Some("nobody".to_owned()) };
    let (container, image) = (Some("app".to_owned()), Some("app:1".to_owned()));
    CheckpointSpec { pod: Some(reference), container, image, ..CheckpointSpec::default() }
}
