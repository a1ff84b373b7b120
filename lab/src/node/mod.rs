//! A real node: kubelet, containerd, runc and criu on this machine, with a registry for their images.
//!
//! - `Node` owns the processes and ends them. `Cluster` holds it.
//! - [`RealNode`] is a handle for tests. It is read from a file in the control plane's folder, so that root can use a
//!   node that another process started, such as `lab test --node`.
//!
//! debootstrap makes a small Debian once (`root_file_system`). Each node mounts an overlay over it in namespaces of
//! its own (`machine`) and starts its programs there with the configuration of `settings`. `services` adds
//! Services and DNS names.

mod base_images;
mod cgroups;
mod error;
mod image;
mod kind;
mod kubelet_api;
mod machine;
mod namespaces;
mod real_node;
mod registry;
mod requirements;
mod root_file_system;
mod services;
mod settings;
mod with_modified_node;

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

pub(crate) use cgroups::MemoryGroup;
pub use cgroups::control_groups_of;
pub use error::NodeError;
pub use image::{Files, Image};
pub use kind::NodeKind;
pub(crate) use kind::REAL_NODE;
pub use kubelet_api::{KubeletAnswer, KubeletApi, KubeletApiError};
pub use real_node::RealNode;
pub use registry::PushError;
pub use root_file_system::RootFileSystemError;
pub use services::route_service_to_host;
pub use settings::{KubeletSettings, Serving};
pub use with_modified_node::with_modified_node;

use crate::access::Access;
use crate::network::Network;
use crate::process::Process;
use crate::until::{Observation, try_until};
use machine::Machine;
use namespaces::NodeNamespaces;

const KUBELET: &str = include_str!("kubelet.sh");

/// How long a program of the node may take to be ready. On an idle machine each takes a few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The signer of kubelets' serving certificates (kubernetes.io, "Certificate Signing Requests").
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

/// Removes the control groups of labs that were killed.
pub(crate) fn sweep() {
    cgroups::Cgroups::sweep();
}

/// A running node with its machine and programs. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Node {
    // Fields are dropped in this order: the programs end before their machine.
    programs: Vec<Process>,
    machine: Machine,
    handle: RealNode,
}

impl Node {
    /// Starts the machine. From then on the API server's address is known.
    pub(crate) async fn start(folder: &Path, programs: &Path, kind: NodeKind) -> Result<Self, NodeError> {
        if let Some(missing) = requirements::unmet() {
            return Err(NodeError::Missing(missing));
        }
        let base = root_file_system::made().await?;
        let machine = Machine::start(&base, folder, programs, REAL_NODE).await?;
        let name_server = (kind == NodeKind::RealWithServices).then(|| services::name_server(machine.network()));
        let handle = RealNode::of(&machine, name_server);
        let mut node = Self { programs: Vec::new(), machine, handle };
        node.check_criu().await?;
        node.start_runtime().await?;
        Ok(node)
    }

    pub(crate) fn network(&self) -> Network {
        self.machine.network()
    }

    pub(crate) fn real_node(&self) -> &RealNode {
        &self.handle
    }

    /// Runs `criu check`, which knows what criu needs of the kernel.
    async fn check_criu(&self) -> Result<(), NodeError> {
        match self.namespaces().must_run(["criu", "check"]).await {
            Err(NodeError::Command { output, .. }) => Err(NodeError::Criu { output }),
            other => other.map(drop),
        }
    }

    /// Starts containerd and the registry, and pushes the base images.
    async fn start_runtime(&mut self) -> Result<(), NodeError> {
        let network = self.network();
        self.write("etc/containerd/config.toml", &settings::containerd())?;
        self.write("etc/containerd/certs.d/_default/hosts.toml", &settings::registry_hosts())?;
        self.write("etc/cni/net.d/10-lab.conflist", &settings::pod_network(network).to_string())?;
        self.write("etc/lab-registry.yml", &settings::registry())?;
        let containerd = self.machine.launch("containerd", "containerd").args(["--config=/etc/containerd/config.toml"]);
        let registry = self.machine.launch("registry", "docker-registry").args(["serve", "/etc/lab-registry.yml"]);
        for launch in [containerd, registry] {
            self.programs.push(Process::start(launch).await?);
        }
        let address = self.handle.registry_address();
        self.wait_until("the registry listens", "registry", async || {
            tokio::net::TcpStream::connect(address).await.map(drop)
        })
        .await?;
        for (name, image) in base_images::images(self.namespaces())? {
            self.handle.push(name, image).await?;
        }
        let socket = self.namespaces().path("run/containerd/containerd.sock");
        self.wait_until("containerd listens", "containerd", async || socket.exists()).await
    }

    /// Starts the kubelet for the control plane in `folder` and waits until it has a certificate of the cluster.
    pub(crate) async fn join(&mut self, access: &Access, server: &str, certificates: &Path) -> Result<(), NodeError> {
        self.introduce("kubelet", server, certificates)?;
        self.handle.write_settings(KubeletSettings::default())?;
        let kubelet = self.machine.launch("kubelet", "sh").args(["-c", KUBELET, "kubelet", "kubelet"]).args([
            "--config=/etc/kubernetes/kubelet.json",
            "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
            &format!("--hostname-override={REAL_NODE}"),
            &format!("--node-ip={}", self.network().node()),
        ]);
        self.programs.push(Process::start(kubelet).await?);
        let (client, kubelets) = (access.client().await?, KubeletApi::of(access).await?);
        self.wait_until("the kubelet serves with a certificate of the cluster", "kubelet", async || {
            approve(&client).await.map_err(|error| error.to_string())?;
            match kubelets.healthz(REAL_NODE).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(crate::terminal::error_chain(&error)),
            }
        })
        .await
    }

    /// Starts kube-proxy and CoreDNS, and waits until both are ready.
    pub(crate) async fn start_services(
        &mut self,
        server: &str,
        certificates: &Path,
        core_dns: &Path,
    ) -> Result<(), NodeError> {
        let network = self.network();
        for program in ["kube-proxy", "coredns"] {
            self.introduce(program, server, certificates)?;
        }
        self.write("etc/kubernetes/kube-proxy.json", &services::kube_proxy(network, REAL_NODE).to_string())?;
        self.write("etc/kubernetes/Corefile", &services::core_dns(network))?;
        // CoreDNS is not in the folder of Kubernetes' programs, which the node mounts.
        let copied = fs::copy(core_dns, self.namespaces().path("usr/local/bin/coredns"));
        copied.map_err(|source| NodeError::Prepare { what: "copy CoreDNS", source })?;
        let proxy = self.machine.launch("kube-proxy", "kube-proxy").args(["--config=/etc/kubernetes/kube-proxy.json"]);
        let names = self.machine.launch("coredns", "coredns").args(["-conf", "/etc/kubernetes/Corefile"]);
        for launch in [proxy, names] {
            self.programs.push(Process::start(launch).await?);
        }
        let namespaces = self.namespaces();
        for (program, url) in [
            ("kube-proxy", "http://127.0.0.1:10256/healthz".to_owned()),
            ("coredns", format!("http://{}/ready", services::core_dns_ready(network))),
        ] {
            self.wait_until("it is ready", program, async || {
                namespaces.must_run(["busybox", "wget", "-q", "-O-", &url]).await
            })
            .await?;
        }
        Ok(())
    }

    /// Writes the certificate and kubeconfig of a program of the node.
    fn introduce(&self, program: &str, server: &str, certificates: &Path) -> Result<(), NodeError> {
        for name in ["ca.crt".to_owned(), format!("{program}.crt"), format!("{program}.key")] {
            let text = fs::read_to_string(certificates.join(&name));
            let text = text.map_err(|source| NodeError::Prepare { what: "read a certificate", source })?;
            self.write(&format!("etc/kubernetes/{name}"), &text)?;
        }
        let kubeconfig = settings::kubeconfig(server, program).to_string();
        self.write(&format!("etc/kubernetes/{program}.kubeconfig"), &kubeconfig)
    }

    /// Fails if one of the node's programs has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), NodeError> {
        for program in &mut self.programs {
            program.check_running()?;
        }
        self.machine.check_running()
    }

    fn namespaces(&self) -> NodeNamespaces {
        *self.machine.namespaces()
    }

    fn write(&self, path: &str, text: &str) -> Result<(), NodeError> {
        self.handle.write(path, text)
    }

    async fn wait_until<L: Observation>(
        &self,
        awaited: &str,
        program: &'static str,
        look: impl AsyncFnMut() -> L,
    ) -> Result<(), NodeError> {
        match try_until(awaited, TIMEOUT, look).await {
            Ok(_) => Ok(()),
            Err(timeout) => {
                let tail = crate::process::last_lines(&self.machine.log(program), 15);
                Err(NodeError::NotReady { timeout, program, tail })
            }
        }
    }
}

/// Approves the serving certificates that kubelets request. kube-controller-manager signs them.
async fn approve(client: &Client) -> kube::Result<()> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    for request in requests.list(&ListParams::default()).await? {
        let is_decided = request.status.as_ref().is_some_and(|status| status.conditions.is_some());
        if request.spec.signer_name != SERVING_SIGNER || is_decided {
            continue;
        }
        let approval = json!({"status": {"conditions": [{
            "type": "Approved", "status": "True", "reason": "Lab", "message": "the lab started this kubelet",
        }]}});
        let name = request.name_any();
        requests.patch_approval(&name, &PatchParams::default(), &Patch::Merge(&approval)).await?;
    }
    Ok(())
}
