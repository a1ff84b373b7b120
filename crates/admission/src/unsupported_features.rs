//! What CRIU cannot checkpoint, as far as a pod's spec shows it.
//!
//! Each rule has a source, see docs/contracts.md. A spec shows what a container may use, not what it has open. So the
//! rules give warnings, and only about the containers that are to be checkpointed. Each rule warns once a pod and names
//! the first container, so that a pod gets few warnings.

use std::collections::{HashMap, HashSet};

use snapwatcher_api::checkpoint_name::shortened;

use super::pod_spec::{Container, HostPathVolume, PodSpec};

/// The longest name that a warning quotes. The API server has not validated it yet.
const LONGEST_NAME: usize = 253;

/// Paths below /dev that are no devices, and devices that CRIU can dump.
const SUPPORTED_DEVICE_PATHS: [&str; 11] = [
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

/// A rule about one container: its warning, if the container has the feature.
type ContainerRule<'r, 'a> = &'r dyn Fn(&Container<'a>) -> Option<String>;

/// A resource of the host that a volume gives to a container; CRIU cannot dump it once it is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostResource {
    Device,
    Socket,
}

/// Warnings about features of the pod and of its `chosen` containers.
pub(super) fn unsupported_features(spec: &PodSpec<'_>, chosen: &[String]) -> Vec<String> {
    let chosen: HashSet<&str> = chosen.iter().map(String::as_str).collect();
    let chosen: Vec<_> = spec.containers().filter(|container| chosen.contains(&*container.name)).collect();
    let host_resources = host_resources(spec);
    let rules: [ContainerRule<'_, '_>; 6] = [
        &extended_resource,
        &claimed_device,
        &block_volume,
        &|container| host_volume(container, &host_resources, HostResource::Device),
        &|container| host_volume(container, &host_resources, HostResource::Socket),
        &sctp_port,
    ];
    let mut warnings: Vec<String> = pod_level(spec).map(str::to_owned).collect();
    warnings.extend(rules.iter().filter_map(|rule| chosen.iter().find_map(|container| rule(container))));
    warnings
}

fn pod_level(spec: &PodSpec<'_>) -> impl Iterator<Item = &'static str> {
    let os = spec.os.as_ref().and_then(|os| os.name.as_deref());
    let windows = (os == Some("windows")).then_some("a Windows pod cannot be checkpointed: CRIU runs on Linux only");
    let ipc = (spec.host_ipc == Some(true))
        .then_some("hostIPC: a container that maps System V shared memory of the host cannot be checkpointed");
    windows.into_iter().chain(ipc)
}

/// The volumes through which containers reach devices and sockets of the host, by name.
fn host_resources<'s>(spec: &'s PodSpec<'_>) -> HashMap<&'s str, HostResource> {
    let volumes = spec.host_volumes.iter();
    volumes.filter_map(|volume| Some((&*volume.name, host_resource(volume.host_path.as_ref()?)?))).collect()
}

fn host_resource(host_path: &HostPathVolume<'_>) -> Option<HostResource> {
    let path = host_path.path.as_deref().unwrap_or_default();
    match host_path.r#type.as_deref() {
        Some("Socket") => return Some(HostResource::Socket),
        Some("CharDevice" | "BlockDevice") => {}
        _ if is_at_or_below(path, "/dev") => {}
        _ => return None,
    }
    let is_supported = SUPPORTED_DEVICE_PATHS.iter().any(|supported| is_at_or_below(path, supported));
    (!is_supported).then_some(HostResource::Device)
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn extended_resource(container: &Container<'_>) -> Option<String> {
    let resource = shortened(container.resources.as_ref()?.extended.as_deref()?, LONGEST_NAME);
    let name = name(container);
    Some(format!("container `{name}` uses `{resource}`: an open device needs a CRIU plugin to be checkpointed"))
}

fn claimed_device(container: &Container<'_>) -> Option<String> {
    let name = name(container);
    let warning = || format!("container `{name}` claims a device: an open device cannot be checkpointed");
    container.resources.as_ref()?.has_claims.then(warning)
}

fn block_volume(container: &Container<'_>) -> Option<String> {
    let name = name(container);
    let warning = || format!("container `{name}` has volumeDevices: an open block device cannot be checkpointed");
    container.has_volume_devices.then(warning)
}

fn name(container: &Container<'_>) -> String {
    shortened(&container.name, LONGEST_NAME)
}

fn host_volume(
    container: &Container<'_>,
    host_resources: &HashMap<&str, HostResource>,
    kind: HostResource,
) -> Option<String> {
    let volume = container.volume_mounts.iter().find(|mount| host_resources.get(&*mount.name) == Some(&kind))?;
    let problem = match kind {
        HostResource::Device => "an open device cannot be checkpointed",
        HostResource::Socket => "a connection to a socket of the host cannot be checkpointed",
    };
    Some(format!("container `{}`, volume `{}`: {problem}", name(container), shortened(&volume.name, LONGEST_NAME)))
}

fn sctp_port(container: &Container<'_>) -> Option<String> {
    let name = name(container);
    let warning = || format!("container `{name}` has an SCTP port: SCTP sockets cannot be checkpointed");
    container.has_sctp_port.then(warning)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warnings(spec: &Value) -> Vec<String> {
        let spec = spec.to_string();
        let spec: PodSpec<'_> = serde_json::from_str(&spec).unwrap();
        unsupported_features(&spec, &["app".to_owned()])
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
    fn each_unsupported_feature_is_warned_about_once() {
        for (spec, expected) in [
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
            let warnings = warnings(&spec);
            assert_eq!(warnings.len(), 1, "{spec}: {warnings:?}");
            assert!(warnings[0].contains(expected), "{spec}: {warnings:?}");
        }
    }

    #[test]
    fn a_supported_feature_is_not_warned_about() {
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
            assert_eq!(warnings(&spec), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn a_container_that_is_not_chosen_is_not_warned_about() {
        let spec = json!({
            "containers": [
                {"name": "app"},
                {"name": "proxy", "resources": {"limits": {"nvidia.com/gpu": "1"}}, "volumeMounts": [{"name": "host"}]},
            ],
            "volumes": [{"name": "host", "hostPath": {"path": "/dev/kvm"}}],
        });
        assert_eq!(warnings(&spec), Vec::<String>::new());
    }
}
