//! The configuration files of a node's programs: containerd, its network, the registry, the kubelet.
//!
//! A comment explains each setting that differs from the default.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::network::Network;

/// The kubelet's default port, which is free in the node's own network namespace.
pub(crate) const KUBELET_PORT: u16 = 10250;

/// Where the registry serves.
pub(crate) const REGISTRY_PORT: u16 = 5000;

/// The registry's name in image names. It has to be a loopback address, which is the node's own: to restore a
/// container, containerd pulls its base image by this name. Without TLS it pulls only from loopback addresses, whatever
/// its configuration says.
pub(crate) const REGISTRY: &str = "127.0.0.1:5000";

/// The image of each pod's first container.
pub(crate) const PAUSE: &str = "pause:lab";

/// The settings of a kubelet. By default it takes checkpoints and has a serving certificate of the cluster's CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubeletSettings {
    /// The feature gate ContainerCheckpoint.
    pub checkpoint: bool,
    pub serving: Serving,
}

/// Who signs the kubelet's serving certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The cluster's CA, as the kubelet requests with `serverTLSBootstrap`.
    Cluster,
    /// The kubelet itself, which is its default.
    SelfSigned,
}

impl Default for KubeletSettings {
    fn default() -> Self {
        Self { checkpoint: true, serving: Serving::Cluster }
    }
}

impl KubeletSettings {
    /// The kubelet's configuration, as JSON, which is valid YAML.
    pub(crate) fn configuration(self, cgroup_root: &str, dns: Option<Ipv4Addr>) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "port": KUBELET_PORT,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true, "cacheTTL": "1s"},
                "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
            },
            // Tests revoke rights and expect the effect soon. Zero would mean the default of minutes.
            "authorization": {
                "mode": "Webhook",
                "webhook": {"cacheAuthorizedTTL": "1s", "cacheUnauthorizedTTL": "1s"},
            },
            "serverTLSBootstrap": self.serving == Serving::Cluster,
            "featureGates": {"ContainerCheckpoint": self.checkpoint},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup_root,
            "failCgroupV1": false,
            "failSwapOn": false,
            // Disk and memory are those of the whole machine. If they are full, no pod should be evicted.
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "localStorageCapacityIsolation": false,
            "enforceNodeAllocatable": [],
            "clusterDomain": "cluster.local",
            "clusterDNS": dns.map(|address| vec![address.to_string()]).unwrap_or_default(),
            // The machine's own resolver is not reachable from the node.
            "resolvConf": "",
            // Tests expect that a stopped node is noticed within seconds.
            "nodeStatusUpdateFrequency": "5s",
            "nodeStatusReportFrequency": "5s",
            "maxPods": 110,
        })
    }
}

/// containerd's configuration. containerd pulls every image from the lab's registry.
pub(crate) fn containerd() -> String {
    format!(
        r#"version = 3

[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE the first container of a pod cannot lower its OOM score and does not start.
restrict_oom_score_adj = true
# containerd 2.2.7, 2.3.4 and later restore from an archive only with this setting. Earlier ones ignore it.
enable_experimental_restore_via_create = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{REGISTRY}/{PAUSE}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d"
"#
    )
}

/// Redirects pulls from every registry to the lab's registry.
pub(crate) fn registry_hosts() -> String {
    format!("[host.\"http://{REGISTRY}\"]\ncapabilities = [\"pull\", \"resolve\"]\n")
}

pub(crate) fn registry() -> String {
    format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: /var/lib/lab-registry}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \":{REGISTRY_PORT}\"}}\n"
    )
}

/// The network of pods: a bridge without address translation.
pub(crate) fn pod_network(network: Network) -> Value {
    let (subnet, gateway) = network.pods();
    json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": subnet, "gateway": gateway}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// A kubeconfig for a program of the node, with the program's own certificate.
pub(crate) fn kubeconfig(server: &str, program: &str) -> Value {
    let name = "lab";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority": "/etc/kubernetes/ca.crt",
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": format!("/etc/kubernetes/{program}.crt"),
            "client-key": format!("/etc/kubernetes/{program}.key"),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_rejects_anonymous_clients() {
        let configuration = KubeletSettings::default().configuration("/group", None);
        assert_eq!(configuration["authentication"]["anonymous"]["enabled"], false);
        assert_eq!(configuration["authorization"]["mode"], "Webhook");
        assert_eq!(configuration["serverTLSBootstrap"], true);
    }

    #[test]
    fn settings_show_in_the_configuration() {
        let settings = KubeletSettings { checkpoint: false, serving: Serving::SelfSigned };
        let configuration = settings.configuration("/group", Some(Ipv4Addr::new(10, 96, 0, 10)));
        assert_eq!(configuration["featureGates"]["ContainerCheckpoint"], false);
        assert_eq!(configuration["serverTLSBootstrap"], false);
        assert_eq!(configuration["clusterDNS"], json!(["10.96.0.10"]));
        assert_eq!(configuration["cgroupRoot"], "/group");
    }
}
