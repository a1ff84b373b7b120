//! How many bytes an archive counts against the budget: by the limits of its container, because it is counted before it is
//! written.

use serde_json::Value;

use super::quantity;

/// The limits of a container on memory and on the files that it changes, in bytes: its archive has both.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArchiveSize {
    memory: Option<u64>,
    files: Option<u64>,
}

impl ArchiveSize {
    /// Without the pod, no limit is known.
    pub(super) fn of(pod: Option<&Value>, container: &str) -> Self {
        let [memory, files] = pod.map_or([None; 2], |pod| limits(pod, container));
        Self { memory, files }
    }

    /// What the archive counts. A container without a memory limit counts as large as the memory of its node.
    pub(super) fn bytes(self, memory_of_node: u64) -> u64 {
        self.memory.unwrap_or(memory_of_node).saturating_add(self.files.unwrap_or_default())
    }

    /// Whether the container has a memory limit.
    pub(super) fn is_limited(self) -> bool {
        self.memory.is_some()
    }
}

/// The limits on `memory` and `ephemeral-storage`. A limit of 0 is none for Kubernetes. A container that is resized
/// has the limit of its status until it has that of its spec.
fn limits(pod: &Value, container: &str) -> [Option<u64>; 2] {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let limits_in = |lists: [&str; 2]| {
        let mut all = lists.into_iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
        all.find(|one| one["name"] == container).and_then(|one| one.pointer("/resources/limits"))
    };
    let (wanted, actual) = (limits_in(lists), limits_in(statuses));
    ["memory", "ephemeral-storage"].map(|resource| {
        let of = |limits: Option<&Value>| quantity::bytes(limits?.get(resource)?.as_str()?);
        let limit = of(wanted).filter(|bytes| *bytes > 0)?;
        Some(limit.max(of(actual).unwrap_or_default()))
    })
}
