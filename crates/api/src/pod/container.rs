//! The facts of one container of a pod.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::checkpoint_name::{shortened, visible};

use super::name::LONGEST_LABEL;
use super::watched::{WatchedContainer, WatchedContainerStatus, WatchedSpec, WatchedStatus};

/// The longest image or image ID that is kept; `spec.image` of a Checkpoint has the same limit in the CRD.
pub(super) const LONGEST_IMAGE: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    pub name: Arc<str>,
    /// An init container that runs beside the regular ones. It is checkpointed only if it is named.
    pub sidecar: bool,
    /// Running, and past its startup probe if it has one.
    pub started: bool,
    /// As the pod's spec names it. The API server accepts no pod without it, and any text: one that `spec.image` of a Checkpoint
    /// cannot have is replaced by one with a digest of it.
    pub image: Arc<str>,
    /// As the kubelet reports it.
    pub image_id: Option<Arc<str>>,
    /// A digest of what its status says of the container's start: its ID in the runtime, the ID of its image, and the time. A
    /// restarted container has another one. `None`: the status has no container ID.
    pub instance: Option<u64>,
}

impl ContainerFacts {
    pub fn image_digest(&self) -> u64 {
        digest_of(&self.image)
    }
}

/// What is kept of a container whose texts are not, to recognize it within one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerDigest {
    name: u64,
    pub(super) image: u64,
}

impl ContainerDigest {
    pub(super) fn of(container: &ContainerFacts) -> Self {
        Self { name: digest_of(&container.name), image: container.image_digest() }
    }

    pub(super) fn is_of(self, name: &str) -> bool {
        self.name == digest_of(name)
    }
}

pub(super) fn digest_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The regular containers, then the sidecars.
pub(super) fn containers(spec: &WatchedSpec, status: &WatchedStatus) -> Vec<ContainerFacts> {
    let statuses = status.container_statuses.iter().chain(&status.init_container_statuses);
    let statuses: HashMap<&str, &WatchedContainerStatus> =
        statuses.map(|status| (status.name.as_str(), status)).collect();
    let facts = |spec: &WatchedContainer, sidecar| {
        let status = statuses.get(spec.name.as_str()).copied();
        let image_id = status.and_then(|status| status.image_id.as_deref());
        ContainerFacts {
            name: shortened(&spec.name, LONGEST_LABEL).into(),
            sidecar,
            started: status.is_some_and(|status| status.started == Some(true) && status.is_running()),
            image: visible(spec.image.as_deref().unwrap_or_default(), LONGEST_IMAGE).into(),
            image_id: image_id.map(|id| shortened(id, LONGEST_IMAGE).into()),
            instance: status.and_then(instance),
        }
    };
    let regular = spec.containers.iter().map(|spec| facts(spec, false));
    regular.chain(spec.init_containers.iter().map(|spec| facts(spec, true))).collect()
}

/// The same start has the same digest within one process.
fn instance(status: &WatchedContainerStatus) -> Option<u64> {
    let id = status.container_id.as_deref()?;
    let started_at =
        status.state.as_ref().and_then(|state| state.running.as_ref()).and_then(|running| running.started_at);
    let mut hasher = DefaultHasher::new();
    (id, &status.image_id, started_at).hash(&mut hasher);
    Some(hasher.finish())
}
