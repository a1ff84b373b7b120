//! The limits of a pod's containers from which the size of a checkpoint follows.
//!
//! They are decoded alone. A pod can have a megabyte of other things, and a tree of all of it takes thirty times as much.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::decoded_text::DecodedText;
use crate::quantity;

use super::first_entries::first_entries;
use super::name::LONGEST_LABEL;
use super::watched::CONTAINERS_KEPT;

/// The limits of the containers of one pod, of those that have limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodLimits(Vec<(Box<str>, ContainerLimits)>);

/// The limits of one container in bytes. A limit of 0 is none for Kubernetes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    pub memory: Option<u64>,
    /// On the files that it changes, and on its log.
    pub ephemeral_storage: Option<u64>,
    /// Of all page sizes together. They do not count towards `memory`, and a container without this limit gets none.
    pub hugepages: u64,
}

impl PodLimits {
    /// The limits of the container of that name.
    pub fn of(&self, container: &str) -> ContainerLimits {
        let found = self.0.iter().find(|(name, _)| **name == *container);
        found.map(|(_, limits)| *limits).unwrap_or_default()
    }
}

impl ContainerLimits {
    /// A container that is resized has the limit of its status until it has that of its spec.
    fn or_actual(self, actual: Self) -> Self {
        let larger = |wanted: Option<u64>, actual: Option<u64>| Some(wanted?.max(actual.unwrap_or_default()));
        Self {
            memory: larger(self.memory, actual.memory),
            ephemeral_storage: larger(self.ephemeral_storage, actual.ephemeral_storage),
            hugepages: self.hugepages.max(actual.hugepages),
        }
    }
}

/// A pod object, as far as it is read here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadPod {
    spec: ReadSpec,
    status: ReadStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadSpec {
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    containers: Vec<ReadContainer>,
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    init_containers: Vec<ReadContainer>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadStatus {
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    container_statuses: Vec<ReadContainer>,
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    init_container_statuses: Vec<ReadContainer>,
}

/// A container, or the status of one.
#[derive(Deserialize)]
struct ReadContainer {
    name: String,
    #[serde(default)]
    resources: Option<ReadResources>,
}

#[derive(Deserialize)]
struct ReadResources {
    #[serde(default)]
    limits: Option<ContainerLimits>,
}

impl<'de> Deserialize<'de> for PodLimits {
    /// Takes a whole pod object.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ReadPod { spec, status } = ReadPod::deserialize(deserializer)?;
        let limits = |container: ReadContainer| Some((container.name, container.resources?.limits?));
        let actual: Vec<_> =
            status.container_statuses.into_iter().chain(status.init_container_statuses).filter_map(limits).collect();
        let actual = |name: &str| actual.iter().find(|(of, _)| of == name).map(|(_, limits)| *limits);
        let wanted = spec.containers.into_iter().chain(spec.init_containers).filter_map(limits);
        let named = wanted.filter(|(name, _)| name.len() <= LONGEST_LABEL);
        let limits = named.map(|(name, limits)| {
            let limits = limits.or_actual(actual(&name).unwrap_or_default());
            (name.into_boxed_str(), limits)
        });
        Ok(Self(limits.collect()))
    }
}

impl<'de> Deserialize<'de> for ContainerLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LimitsVisitor)
    }
}

struct LimitsVisitor;

impl<'de> Visitor<'de> for LimitsVisitor {
    type Value = ContainerLimits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of quantities")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ContainerLimits, M::Error> {
        let mut limits = ContainerLimits::default();
        while let Some(resource) =
            map.next_key_seed(DecodedText { expected: "the name of a resource", read: Resource::named })?
        {
            if resource == Resource::Other {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let bytes = map.next_value_seed(DecodedText { expected: "a quantity", read: positive_bytes })?;
            match resource {
                Resource::Memory => limits.memory = bytes,
                Resource::EphemeralStorage => limits.ephemeral_storage = bytes,
                Resource::Hugepages => limits.hugepages = limits.hugepages.saturating_add(bytes.unwrap_or_default()),
                Resource::Other => {}
            }
        }
        Ok(limits)
    }
}

/// What is limited. No name is copied.
#[derive(PartialEq, Eq)]
enum Resource {
    Memory,
    EphemeralStorage,
    /// `hugepages-2Mi`, `hugepages-1Gi` and so on.
    Hugepages,
    Other,
}

impl Resource {
    fn named(name: &str) -> Self {
        match name {
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            _ if name.starts_with("hugepages-") => Self::Hugepages,
            _ => Self::Other,
        }
    }
}

/// The bytes of a quantity. `None`: it is none, or 0.
fn positive_bytes(text: &str) -> Option<u64> {
    quantity::bytes(text).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn limits(pod: &Value) -> PodLimits {
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    fn container(name: &str, limits: &Value) -> Value {
        json!({"name": name, "image": "web:1", "resources": {"limits": limits, "requests": {"memory": "9Gi"}}})
    }

    #[test]
    fn the_limits_of_regular_and_init_containers_are_read() {
        let pod = limits(&json!({"spec": {
            "containers": [
                container("app", &json!({"cpu": "2", "memory": "1Gi", "ephemeral-storage": "3Gi"})),
                container("huge", &json!({"hugepages-1Gi": "2Gi", "hugepages-2Mi": "1Gi", "memory": "0"})),
                {"name": "none"},
            ],
            "initContainers": [container("sidecar", &json!({"memory": "2Gi", "example.com/gpu": "1"}))],
        }}));
        for (name, memory, ephemeral_storage, hugepages) in [
            ("app", Some(GIB), Some(3 * GIB), 0),
            ("huge", None, None, 3 * GIB),
            ("none", None, None, 0),
            ("sidecar", Some(2 * GIB), None, 0),
            ("other", None, None, 0),
        ] {
            assert_eq!(pod.of(name), ContainerLimits { memory, ephemeral_storage, hugepages }, "{name}");
        }
    }

    #[test]
    fn a_container_that_is_resized_has_the_larger_limit() {
        let pod = limits(&json!({
            "spec": {"containers": [container("app", &json!({"memory": "1Gi"})), container("b", &json!({"cpu": "1"}))]},
            "status": {"containerStatuses": [
                container("app", &json!({"memory": "4Gi"})), container("b", &json!({"memory": "4Gi"})),
            ]},
        }));
        assert_eq!((pod.of("app").memory, pod.of("b").memory), (Some(4 * GIB), None));
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_pod() {
        let long = "x".repeat(1 << 20);
        let many = |count: usize, prefix: &str| -> Vec<Value> {
            (0..count).map(|number| container(&format!("{prefix}{number}"), &json!({"memory": "1Gi"}))).collect()
        };
        let pod = limits(&json!({
            "metadata": {"annotations": {"note": long}},
            "spec": {
                "containers": many(10_000, "c"), "initContainers": many(10_000, "i"),
                "tolerations": vec![json!({"key": "a"}); 140_000],
            },
            "status": {"containerStatuses": many(10_000, "c")},
        }));
        assert_eq!(pod.0.len(), 130);
        assert!(limits(&json!({"spec": {"containers": [container(&long, &json!({"memory": "1Gi"}))]}})).0.is_empty());
    }
}
