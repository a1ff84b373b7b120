//! What CRIU can't checkpoint, as far as a pod's spec shows it.
//!
//! Only rules with a source; the list with all of them stands in docs/contracts.md. A spec shows what a container may
//! use, not what it does use: hence warnings, and only about the containers that are to be checkpointed.
//! Each rule speaks once a pod and names the first container it is about, so that a pod gets few warnings.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::review::Text;

/// Things under /dev that are no devices, or such as CRIU can dump.
const HARMLESS_DEVICES: [&str; 11] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/net/tun",
    "/dev/log",
    "/dev/shm",
    "/dev/pts",
    "/dev/hugepages",
    "/dev/mqueue",
];

/// What is read of a pod's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec<'a> {
    #[serde(borrow)]
    os: Option<Os<'a>>,
    #[serde(rename = "hostIPC")]
    host_ipc: Option<bool>,
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    volumes: Option<Vec<Volume<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Os<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    resources: Option<Resources<'a>>,
    #[serde(borrow)]
    ports: Option<Vec<Port<'a>>>,
    volume_devices: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    volume_mounts: Option<Vec<Mount<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Resources<'a> {
    #[serde(borrow)]
    limits: Option<BTreeMap<Text<'a>, Text<'a>>>,
    claims: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Port<'a> {
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Mount<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    host_path: Option<HostPath<'a>>,
}

#[derive(Debug, Deserialize)]
struct HostPath<'a> {
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
}

/// One rule about a container: what stands against its checkpoint.
type Rule<'r, 'a> = &'r dyn Fn(&Container<'a>) -> Option<String>;

/// What a volume brings into a container that CRIU can't dump once it is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outside {
    Device,
    Socket,
}

impl<'a> PodSpec<'a> {
    pub(super) fn container_names(&self) -> Vec<&str> {
        self.containers().map(|container| &*container.name).collect()
    }

    /// What stands against a checkpoint of those containers, in sentences.
    pub(super) fn obstacles(&self, chosen: &[String]) -> Vec<String> {
        let chosen: HashSet<&str> = chosen.iter().map(String::as_str).collect();
        let chosen: Vec<_> = self.containers().filter(|container| chosen.contains(&*container.name)).collect();
        let outside = self.outside();
        let mut obstacles: Vec<String> = self.of_the_pod().map(str::to_owned).collect();
        let rules: [Rule<'_, 'a>; 6] = [
            &Container::extended_resource,
            &Container::claimed_device,
            &Container::block_volume,
            &|container| container.mounts(&outside, Outside::Device),
            &|container| container.mounts(&outside, Outside::Socket),
            &Container::sctp_port,
        ];
        obstacles.extend(rules.iter().filter_map(|rule| chosen.iter().find_map(|container| rule(container))));
        obstacles
    }

    fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().flatten()
    }

    fn of_the_pod(&self) -> impl Iterator<Item = &'static str> {
        let os = self.os.as_ref().and_then(|os| os.name.as_deref());
        let windows = (os == Some("windows")).then_some("a Windows pod can't be checkpointed: CRIU is for Linux only");
        let ipc = (self.host_ipc == Some(true))
            .then_some("hostIPC: a container that maps System V shared memory of the host can't be checkpointed");
        windows.into_iter().chain(ipc)
    }

    /// The volumes by which containers reach devices and sockets of the host.
    fn outside(&self) -> HashMap<&str, Outside> {
        let volumes = self.volumes.iter().flatten();
        volumes.filter_map(|volume| Some((&*volume.name, volume.host_path.as_ref()?.outside()?))).collect()
    }
}

impl Container<'_> {
    fn extended_resource(&self) -> Option<String> {
        let limits = self.resources.as_ref()?.limits.as_ref()?;
        let (resource, _) = limits.iter().find(|(name, quantity)| is_extended(name) && &***quantity != "0")?;
        let (name, resource) = (&*self.name, &**resource);
        Some(format!("container `{name}` has `{resource}`: an open device needs a CRIU plugin to be checkpointed"))
    }

    fn claimed_device(&self) -> Option<String> {
        let claims = self.resources.as_ref()?.claims.as_ref()?;
        let told = || format!("container `{}` claims a device: one that is open can't be checkpointed", &*self.name);
        (!claims.is_empty()).then(told)
    }

    fn block_volume(&self) -> Option<String> {
        let devices = self.volume_devices.as_ref()?;
        let told =
            || format!("container `{}` has volumeDevices: an open block device can't be checkpointed", &*self.name);
        (!devices.is_empty()).then(told)
    }

    fn mounts(&self, outside: &HashMap<&str, Outside>, wanted: Outside) -> Option<String> {
        let mut mounts = self.volume_mounts.iter().flatten();
        let volume = mounts.find(|mount| outside.get(&*mount.name) == Some(&wanted))?;
        let problem = match wanted {
            Outside::Device => "an open device can't be checkpointed",
            Outside::Socket => "a connection to a socket of the host can't be checkpointed",
        };
        Some(format!("container `{}`, volume `{}`: {problem}", &*self.name, &*volume.name))
    }

    fn sctp_port(&self) -> Option<String> {
        let mut ports = self.ports.iter().flatten();
        let told = || format!("container `{}` has an SCTP port: SCTP sockets can't be checkpointed", &*self.name);
        ports.any(|port| port.protocol.as_deref() == Some("SCTP")).then(told)
    }
}

impl HostPath<'_> {
    fn outside(&self) -> Option<Outside> {
        match self.r#type.as_deref() {
            Some("Socket") => return Some(Outside::Socket),
            Some("CharDevice" | "BlockDevice") => {}
            _ if self.path.as_deref().is_some_and(|path| is_at_or_below(path, "/dev")) => {}
            _ => return None,
        }
        let path = self.path.as_deref().unwrap_or_default();
        let is_harmless = HARMLESS_DEVICES.iter().any(|harmless| is_at_or_below(path, harmless));
        (!is_harmless).then_some(Outside::Device)
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Extended resources are how device plugins offer devices; the rule is that of `IsExtendedResourceName` in
/// `pkg/apis/core/v1/helper` of Kubernetes.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn obstacles(spec: &Value) -> Vec<String> {
        let spec = spec.to_string();
        let spec: PodSpec<'_> = serde_json::from_str(&spec).unwrap();
        spec.obstacles(&["app".to_owned()])
    }

    fn with_container(more: &Value) -> Value {
        let mut container = json!({"name": "app"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"containers": [{"name": "proxy"}, container]})
    }

    fn with_host_path(host_path: &Value) -> Value {
        let mut spec = with_container(&json!({"volumeMounts": [{"name": "host", "mountPath": "/x"}]}));
        spec["volumes"] = json!([{"name": "host", "hostPath": host_path}]);
        spec
    }

    #[test]
    fn each_rule_names_what_stands_against_a_checkpoint() {
        for (spec, words) in [
            (json!({"os": {"name": "windows"}}), "Windows"),
            (json!({"hostIPC": true}), "hostIPC"),
            (with_container(&json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}})), "`nvidia.com/gpu`"),
            (with_container(&json!({"resources": {"claims": [{"name": "gpu"}]}})), "claims a device"),
            (with_container(&json!({"volumeDevices": [{"name": "d", "devicePath": "/dev/xvda"}]})), "volumeDevices"),
            (with_container(&json!({"ports": [{"containerPort": 1, "protocol": "SCTP"}]})), "SCTP"),
            (with_host_path(&json!({"path": "/dev/kvm"})), "an open device"),
            (with_host_path(&json!({"path": "/dev"})), "an open device"),
            (with_host_path(&json!({"path": "/opt/d", "type": "CharDevice"})), "an open device"),
            (with_host_path(&json!({"path": "/opt/d", "type": "BlockDevice"})), "an open device"),
            (with_host_path(&json!({"path": "/run/containerd.sock", "type": "Socket"})), "a socket of the host"),
        ] {
            let obstacles = obstacles(&spec);
            assert_eq!(obstacles.len(), 1, "{spec}: {obstacles:?}");
            assert!(obstacles[0].contains(words), "{spec}: {obstacles:?}");
        }
    }

    #[test]
    fn what_can_be_checkpointed_is_not_warned_of() {
        for spec in [
            json!({}),
            json!({"os": {"name": "linux"}, "hostIPC": false, "containers": null, "volumes": null}),
            with_container(&json!({"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "2Mi", "memory": "1Gi"}}})),
            with_container(&json!({"resources": {"limits": {"nvidia.com/gpu": "0"}}})),
            with_container(&json!({"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]})),
            with_host_path(&json!({"path": "/var/log"})),
            with_host_path(&json!({"path": "/devices"})),
            with_host_path(&json!({"path": "/dev/null", "type": "CharDevice"})),
            with_host_path(&json!({"path": "/dev/shm/mine", "type": "Directory"})),
            with_host_path(&json!({"path": "/run/some", "type": "DirectoryOrCreate"})),
        ] {
            assert_eq!(obstacles(&spec), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn a_container_that_is_not_checkpointed_may_use_devices() {
        let spec = json!({
            "containers": [
                {"name": "app"},
                {"name": "proxy", "resources": {"limits": {"nvidia.com/gpu": "1"}}, "volumeMounts": [{"name": "host"}]},
            ],
            "volumes": [{"name": "host", "hostPath": {"path": "/dev/kvm"}}],
        });
        assert_eq!(obstacles(&spec), Vec::<String>::new());
    }
}
