//! Objects for tests, as builders: `pod("web").labeled().ready(3)`, `checkpoint("web").in_progress()`.
//!
//! Compiled for this crate's own tests and, with the feature `test-support`, for the tests of the others.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};

use crate::checkpoint::{Checkpoint, CheckpointSpec, CheckpointStatus, Phase, PodReference, PodStatus, set_conditions};
use crate::keys::{MIRROR, MUTATED, OPTED_IN, SNAP};
use crate::outcome::Reason;
use crate::pod::PodFacts;
use crate::pod::watched::{
    SIDECAR_RESTART_POLICY, WatchedCondition, WatchedContainer, WatchedContainerState, WatchedContainerStatus,
    WatchedPod, WatchedRunningState, WatchedSpec, WatchedStatus,
};

/// UID of the pod in [`pod`] and [`checkpoint`].
pub const POD_UID: &str = "u";
/// Name of the node in [`PodFixture::ready`].
pub const NODE: &str = "n1";
/// Name of the container in [`pod`] and [`checkpoint`].
pub const CONTAINER: &str = "app";
/// Image of each container in [`pod`], as its spec names it.
pub const IMAGE: &str = "busybox:1";

const START: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A time of the tests, in seconds after a fixed one.
pub fn at(second: i64) -> Timestamp {
    START + SignedDuration::from_secs(second)
}

/// A pod in namespace `default` with one container, not labeled, without a node and without a status.
pub fn pod(name: &str) -> PodFixture {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        uid: Some(POD_UID.to_owned()),
        ..ObjectMeta::default()
    };
    let pod = WatchedPod { metadata, spec: WatchedSpec::default(), status: WatchedStatus::default() };
    PodFixture(pod).containers([CONTAINER])
}

/// A pod under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct PodFixture(WatchedPod);

impl PodFixture {
    pub fn uid(mut self, uid: &str) -> Self {
        self.0.metadata.uid = Some(uid.to_owned());
        self
    }

    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0.metadata.namespace = Some(namespace.to_owned());
        self
    }

    pub fn created(mut self, created: Timestamp) -> Self {
        self.0.metadata.creation_timestamp = Some(Time(created));
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Opted in by the label.
    pub fn labeled(self) -> Self {
        self.label(SNAP, OPTED_IN)
    }

    /// With this value of the label `mutated`.
    pub fn mutated(self, value: &str) -> Self {
        self.label(MUTATED, value)
    }

    /// The copy of a static pod.
    pub fn mirror(self) -> Self {
        self.annotation(MIRROR, "x")
    }

    pub fn terminating(mut self) -> Self {
        self.0.metadata.deletion_timestamp = Some(Time(at(0)));
        self
    }

    /// Managed by this object, which has the UID `uid-of-<name>`.
    pub fn controlled_by(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        let owner = OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            controller: Some(true),
            ..OwnerReference::default()
        };
        self.0.metadata.owner_references.get_or_insert_default().push(owner);
        self
    }

    /// With these containers in place of the one; call it before [`Self::ready`].
    pub fn containers<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.spec.containers = names.map(|name| container(name, None)).into();
        self
    }

    /// With this native sidecar beside the other containers; call it before [`Self::ready`].
    pub fn sidecar(mut self, name: &str) -> Self {
        self.0.spec.init_containers.push(container(name, Some(SIDECAR_RESTART_POLICY)));
        self
    }

    /// With this image of each container.
    pub fn image(mut self, image: &str) -> Self {
        for container in &mut self.0.spec.containers {
            container.image = Some(image.to_owned());
        }
        self
    }

    /// On this node.
    pub fn node(mut self, node: &str) -> Self {
        self.0.spec.node_name = Some(node.to_owned());
        self
    }

    pub fn phase(mut self, phase: &str) -> Self {
        self.0.status.phase = Some(phase.to_owned());
        self
    }

    /// Running on node [`NODE`], Ready since `at(second)`, every container started.
    pub fn ready(self, second: i64) -> Self {
        self.running(true, second)
    }

    /// As [`Self::ready`], but no longer Ready since `at(second)`.
    pub fn not_ready(self, second: i64) -> Self {
        self.running(false, second)
    }

    /// This container was restarted after [`Self::ready`] for this number of times.
    pub fn restarts(mut self, container: &str, restarts: usize) -> Self {
        for status in self.0.status.container_statuses.iter_mut().filter(|status| status.name == container) {
            status.container_id = Some(format!("containerd://{container}-{}", restarts + 1));
        }
        self
    }

    /// This container has not started.
    pub fn not_started(mut self, container: &str) -> Self {
        let statuses = self.0.status.container_statuses.iter_mut().chain(&mut self.0.status.init_container_statuses);
        for status in statuses.filter(|status| status.name == container) {
            status.started = Some(false);
        }
        self
    }

    fn running(mut self, is_ready: bool, second: i64) -> Self {
        let status = |container: &WatchedContainer| WatchedContainerStatus {
            name: container.name.clone(),
            started: Some(true),
            image_id: Some("sha256:1".to_owned()),
            container_id: Some(format!("containerd://{}-1", container.name)),
            state: Some(WatchedContainerState { running: Some(WatchedRunningState { started_at: Some(at(0)) }) }),
        };
        self.0.status.container_statuses = self.0.spec.containers.iter().map(status).collect();
        self.0.status.init_container_statuses = self.0.spec.init_containers.iter().map(status).collect();
        self.0.status.conditions = vec![WatchedCondition {
            r#type: "Ready".to_owned(),
            status: if is_ready { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(at(second)),
        }];
        self.node(NODE).phase("Running")
    }

    /// As the watch decodes it.
    pub fn watched(self) -> WatchedPod {
        self.0
    }

    pub fn facts(self) -> PodFacts {
        self.0.into()
    }
}

fn container(name: &str, restart_policy: Option<&str>) -> WatchedContainer {
    let (name, image) = (name.to_owned(), Some(IMAGE.to_owned()));
    WatchedContainer { name, image, restart_policy: restart_policy.map(str::to_owned) }
}

/// The Checkpoint `<pod>-app` in namespace `default`, for that pod with UID [`POD_UID`] and container [`CONTAINER`];
/// without a status.
pub fn checkpoint(pod: &str) -> CheckpointFixture {
    let reference = PodReference { name: pod.to_owned(), uid: Some(POD_UID.to_owned()) };
    let spec = CheckpointSpec { pod: Some(reference), container: Some(CONTAINER.to_owned()), ..Default::default() };
    let name = format!("{pod}-{CONTAINER}");
    let mut object = Checkpoint::new(&name, spec);
    object.metadata.namespace = Some("default".to_owned());
    object.metadata.uid = Some(format!("uid-of-{name}"));
    CheckpointFixture(object)
}

/// A Checkpoint under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct CheckpointFixture(Checkpoint);

impl CheckpointFixture {
    pub fn named(mut self, name: &str) -> Self {
        self.0.metadata.name = Some(name.to_owned());
        self.uid(&format!("uid-of-{name}"))
    }

    pub fn uid(mut self, uid: &str) -> Self {
        self.0.metadata.uid = Some(uid.to_owned());
        self
    }

    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0.metadata.namespace = Some(namespace.to_owned());
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn spec(mut self, change: impl FnOnce(&mut CheckpointSpec)) -> Self {
        change(&mut self.0.spec);
        self
    }

    pub fn status(mut self, change: impl FnOnce(&mut CheckpointStatus)) -> Self {
        change(self.0.status.get_or_insert_default());
        self
    }

    pub fn phase(self, phase: Phase) -> Self {
        self.status(|status| status.phase = Some(phase))
    }

    /// With this phase, and this reason in its conditions.
    pub fn reason(self, phase: Phase, reason: Reason) -> Self {
        self.phase(phase)
            .status(|status| set_conditions(&mut status.conditions, phase, reason.as_str(), None, None, at(0)))
    }

    /// The first attempt runs on [`NODE`], from `at(0)` to `at(130)`, held by `snapwatcher-0/b1`.
    pub fn in_progress(self) -> Self {
        let pod = self.0.spec.pod.clone().unwrap_or_default();
        let container = self.0.spec.container.clone();
        self.phase(Phase::InProgress).status(|status| {
            status.pod = Some(PodStatus { name: pod.name, uid: pod.uid, node: Some(NODE.to_owned()) });
            status.container = container;
            status.attempt = 1;
            status.holder = Some("snapwatcher-0/b1".to_owned());
            status.start_time = Some(MicroTime(at(0)));
            status.deadline = Some(MicroTime(at(130)));
        })
    }

    pub fn build(self) -> Checkpoint {
        self.0
    }
}
