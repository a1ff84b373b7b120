//! A pod's spec, as far as validation reads it.
//!
//! The API server sends a spec before it has validated it, and other clients send any text. So lists are read entry by entry, and
//! only what a rule needs is kept, with a limit.

use std::fmt;
use std::ops::ControlFlow;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use snapwatcher_api::pod::{
    CONTAINERS_KEPT, MOST_CONTAINERS, SIDECAR_RESTART_POLICY, first_entries, push, read_entries,
};

use super::request_error::RequestError;
use super::text::Text;

/// How many volumes of the host, and how many mounts of a container, the rules look at.
const MOST_VOLUMES: usize = 256;

/// The fields of a pod's spec that the rules of unsupported features read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec<'a> {
    #[serde(borrow)]
    pub(super) os: Option<PodOs<'a>>,
    #[serde(rename = "hostIPC")]
    pub(super) host_ipc: Option<bool>,
    #[serde(borrow, default, deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    containers: Vec<Container<'a>>,
    /// The native sidecars.
    #[serde(borrow, default, rename = "initContainers", deserialize_with = "sidecars")]
    sidecars: Vec<Container<'a>>,
    /// Those of the host.
    #[serde(borrow, default, rename = "volumes", deserialize_with = "host_volumes")]
    pub(super) host_volumes: Vec<Volume<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PodOs<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    restart_policy: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resources: Option<ResourceRequirements<'a>>,
    #[serde(default, rename = "ports", deserialize_with = "has_sctp_port")]
    pub(super) has_sctp_port: bool,
    #[serde(default, rename = "volumeDevices", deserialize_with = "has_entries")]
    pub(super) has_volume_devices: bool,
    #[serde(borrow, default, deserialize_with = "first_entries::<_, _, MOST_VOLUMES>")]
    pub(super) volume_mounts: Vec<VolumeMount<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResourceRequirements<'a> {
    /// The first resource of a device plugin that the limits name.
    #[serde(borrow, default, rename = "limits", deserialize_with = "extended_resource")]
    pub(super) extended: Option<Text<'a>>,
    #[serde(default, rename = "claims", deserialize_with = "has_entries")]
    pub(super) has_claims: bool,
}

#[derive(Debug, Deserialize)]
struct ContainerPort<'a> {
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VolumeMount<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) host_path: Option<HostPathVolume<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HostPathVolume<'a> {
    #[serde(borrow)]
    pub(super) path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) r#type: Option<Text<'a>>,
}

impl<'a> PodSpec<'a> {
    /// Decodes the spec of a review.
    pub(super) fn decode(json: &'a RawValue) -> Result<Self, RequestError> {
        serde_json::from_str(json.get()).map_err(|error| RequestError::undecodable_spec(&error))
    }

    /// Whether the pod has more containers than one that is checkpointed. Then some are missing here.
    pub(super) fn has_too_many_containers(&self) -> bool {
        self.containers.len() + self.sidecars.len() > MOST_CONTAINERS
    }

    /// The names of the regular containers.
    pub(super) fn container_names(&self) -> Vec<&str> {
        self.containers.iter().map(|container| &*container.name).collect()
    }

    pub(super) fn sidecar_names(&self) -> Vec<&str> {
        self.sidecars.iter().map(|container| &*container.name).collect()
    }

    /// The regular containers and the sidecars.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().chain(&self.sidecars)
    }
}

fn sidecars<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Container<'a>>, D::Error> {
    let mut sidecars = Vec::new();
    read_entries(deserializer, |container: Container<'a>| {
        let is_sidecar = container.restart_policy.as_deref() == Some(SIDECAR_RESTART_POLICY);
        if is_sidecar { push(&mut sidecars, container, CONTAINERS_KEPT) } else { ControlFlow::Continue(()) }
    })?;
    Ok(sidecars)
}

fn host_volumes<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Volume<'a>>, D::Error> {
    let mut volumes = Vec::new();
    read_entries(deserializer, |volume: Volume<'a>| {
        if volume.host_path.is_some() { push(&mut volumes, volume, MOST_VOLUMES) } else { ControlFlow::Continue(()) }
    })?;
    Ok(volumes)
}

fn has_sctp_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let mut has_sctp = false;
    read_entries(deserializer, |port: ContainerPort<'de>| {
        has_sctp |= port.protocol.as_deref() == Some("SCTP");
        ControlFlow::Continue(())
    })?;
    Ok(has_sctp)
}

fn has_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!first_entries::<D, IgnoredAny, 1>(deserializer)?.is_empty())
}

fn extended_resource<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'a>>, D::Error> {
    deserializer.deserialize_option(Limits)
}

/// Of the limits of a container, the first extended resource with an amount.
struct Limits;

impl<'de> Visitor<'de> for Limits {
    type Value = Option<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of quantities")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut limits: M) -> Result<Self::Value, M::Error> {
        let mut extended = None;
        while let Some((name, quantity)) = limits.next_entry::<Text<'de>, Text<'de>>()? {
            if extended.is_none() && is_extended(&name) && &*quantity != "0" {
                extended = Some(name);
            }
        }
        Ok(extended)
    }
}

/// Device plugins offer devices as extended resources. The rule is that of `IsExtendedResourceName` in
/// `pkg/apis/core/v1/helper` of Kubernetes.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(json: &str) -> PodSpec<'_> {
        serde_json::from_str(json).unwrap()
    }

    /// A list with that entry so often that a review has 7 MiB of it.
    fn many(entry: &str) -> String {
        format!("[{}]", vec![entry; (7 << 20) / (entry.len() + 1)].join(","))
    }

    #[test]
    fn what_is_kept_of_the_longest_lists_is_small() {
        let containers = decoded_sizes(&format!(r#"{{"containers": {}}}"#, many(r#"{"name":""}"#)));
        assert_eq!(containers, (CONTAINERS_KEPT, 0, 0, 0));
        let sidecars = many(r#"{"name":"","restartPolicy":"Always"}"#);
        assert_eq!(decoded_sizes(&format!(r#"{{"initContainers": {sidecars}}}"#)), (0, CONTAINERS_KEPT, 0, 0));
        let volumes = many(r#"{"name":"","hostPath":{}}"#);
        assert_eq!(decoded_sizes(&format!(r#"{{"volumes": {volumes}}}"#)), (0, 0, MOST_VOLUMES, 0));
        for (field, entry, mounts) in
            [("volumeMounts", r#"{"name":""}"#, MOST_VOLUMES), ("ports", "{}", 0), ("volumeDevices", "{}", 0)]
        {
            let spec = format!(r#"{{"containers": [{{"name":"a","{field}":{}}}]}}"#, many(entry));
            assert_eq!(decoded_sizes(&spec), (1, 0, 0, mounts), "{field}");
        }
        let limits: Vec<String> = (0..500_000).map(|number| format!(r#""x/{number}":"1""#)).collect();
        let spec = format!(r#"{{"containers": [{{"name":"a","resources":{{"limits":{{{}}}}}}}]}}"#, limits.join(","));
        let spec = decoded(&spec);
        let resources = spec.containers[0].resources.as_ref().unwrap();
        assert_eq!(resources.extended.as_deref(), Some("x/0"));
    }

    /// How many containers, sidecars, volumes, and mounts of the first container are kept.
    fn decoded_sizes(json: &str) -> (usize, usize, usize, usize) {
        let spec = decoded(json);
        let sizes = [spec.containers.capacity(), spec.sidecars.capacity(), spec.host_volumes.capacity()];
        assert!(sizes.iter().all(|size| *size <= 2 * MOST_VOLUMES), "{sizes:?}");
        let mounts = spec.containers.first().map_or(0, |container| container.volume_mounts.len());
        (spec.containers.len(), spec.sidecars.len(), spec.host_volumes.len(), mounts)
    }

    #[test]
    fn init_containers_that_run_beside_the_others_are_sidecars() {
        let spec = json!({
            "initContainers": [{"name": "migrate"}, {"name": "cache", "restartPolicy": "Always"}, {"name": "once", "restartPolicy": "Never"}],
            "containers": [{"name": "app"}],
        })
        .to_string();
        let spec = decoded(&spec);
        assert_eq!((spec.container_names(), spec.sidecar_names()), (vec!["app"], vec!["cache"]));
    }

    #[test]
    fn sidecars_count_as_containers() {
        for (containers, sidecars, expected) in
            [(64, 0, false), (63, 1, false), (64, 1, true), (65, 0, true), (0, 65, true)]
        {
            let container = |number: usize| json!({"name": format!("c{number}"), "restartPolicy": "Always"});
            let list = |count: usize| (0..count).map(container).collect::<Vec<_>>();
            let spec = json!({"containers": list(containers), "initContainers": list(sidecars)}).to_string();
            assert_eq!(decoded(&spec).has_too_many_containers(), expected, "{containers} + {sidecars}");
        }
    }
}
