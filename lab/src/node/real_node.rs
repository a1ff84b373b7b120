//! A handle to the real node for tests: its addresses, commands, images and kubelet.
//!
//! A script (`kubelet.sh`) restarts the kubelet whenever it ends, unless a file stops it. So a test can stop, freeze
//! and reconfigure the kubelet from another process than the lab.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::base_images::BUSYBOX;
use super::error::NodeError;
use super::image::Image;
use super::kind::REAL_NODE;
use super::machine::Machine;
use super::namespaces::NodeNamespaces;
use super::registry::Registry;
use super::requirements;
use super::settings::{KUBELET_PORT, KubeletSettings, REGISTRY, REGISTRY_PORT};
use crate::access::Access;
use crate::network::Network;
use crate::until::try_until;

/// The file in the control plane's folder that describes the node.
const FILE: &str = "node.json";

/// How long a kubelet may take to start and to end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A handle to the node. Clones refer to the same node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RealNode {
    pid: i32,
    number: u8,
    cgroup_root: String,
    // None: the node has no Services.
    name_server: Option<Ipv4Addr>,
}

impl RealNode {
    /// The first requirement of a real node that this machine does not meet, and what to do. None: it meets all of
    /// them.
    pub fn unmet_requirement() -> Option<String> {
        requirements::unmet()
    }

    /// The node that `lab test --node` started.
    pub fn attach() -> Result<Self, NodeError> {
        Self::of_access(&Access::attach()?)
    }

    /// The node of this control plane.
    pub fn of_access(access: &Access) -> Result<Self, NodeError> {
        let file = access.folder().join(FILE);
        let text = fs::read(&file).map_err(|source| NodeError::NotThere { file: file.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| NodeError::NotThere { file, source: source.into() })
    }

    pub(super) fn of(machine: &Machine, name_server: Option<Ipv4Addr>) -> Self {
        let number = match machine.network() {
            Network::Node(number) => number,
            Network::Loopback => 0,
        };
        Self { pid: machine.namespaces().pid(), number, cgroup_root: machine.cgroup_root(), name_server }
    }

    /// Writes the description of the node into `folder`.
    pub(crate) fn describe(&self, folder: &Path) -> Result<(), NodeError> {
        let written = serde_json::to_vec(self).map_err(std::io::Error::from);
        let written = written.and_then(|text| fs::write(folder.join(FILE), text));
        written.map_err(|source| NodeError::Prepare { what: "write the description", source })
    }

    /// The name of its Node object.
    pub fn name(&self) -> &'static str {
        REAL_NODE
    }

    /// Its InternalIP.
    pub fn address(&self) -> Ipv4Addr {
        self.network().node()
    }

    /// This machine's address as the node and its pods see it. A webhook or a SnapHook on this machine listens there.
    pub fn host_address(&self) -> Ipv4Addr {
        self.network().host()
    }

    /// The address of its kubelet.
    pub fn kubelet(&self) -> SocketAddr {
        (self.address(), KUBELET_PORT).into()
    }

    /// The registry's name in image names.
    pub fn registry(&self) -> &'static str {
        REGISTRY
    }

    /// The registry's address for this machine, by plain HTTP.
    pub fn registry_address(&self) -> SocketAddr {
        (self.address(), REGISTRY_PORT).into()
    }

    /// An image with a shell (busybox).
    pub fn busybox(&self) -> String {
        format!("{REGISTRY}/{BUSYBOX}")
    }

    /// Pushes an image and returns its name for pods. The node pulls every image from this registry, whatever registry
    /// the image's name has: `nginx` is `library/nginx:latest` here.
    pub async fn push(&self, name: &str, image: Image) -> Result<String, NodeError> {
        Registry::at(self.registry_address()).push(name, image).await?;
        Ok(format!("{REGISTRY}/{name}"))
    }

    /// Makes an image of a checkpoint archive on the node and pushes it. A container of this name is restored from it.
    pub async fn push_archive(&self, name: &str, archive: &str, container: &str) -> Result<String, NodeError> {
        let path = self.path(archive);
        let image = Image::of_archive(&path, container);
        let image = image.map_err(|source| NodeError::Prepare { what: "read the archive", source })?;
        self.push(name, image).await
    }

    /// Runs a command in the node and returns its output.
    pub async fn run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<Output, NodeError> {
        self.namespaces().run(command).await
    }

    /// Runs a command in the node, which has to succeed, and returns its standard output.
    pub async fn must_run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<String, NodeError> {
        self.namespaces().must_run(command).await
    }

    /// The path of the node's file on this machine. It is valid as long as the node runs.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.namespaces().path(inside)
    }

    /// The paths of all checkpoint archives on the node, sorted.
    pub fn archives(&self) -> Vec<String> {
        let folder = "/var/lib/kubelet/checkpoints";
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    }

    /// Hides criu, as on a node without it.
    pub async fn hide_criu(&self) -> Result<(), NodeError> {
        self.must_run(["mv", "/usr/sbin/criu", "/usr/sbin/criu.hidden"]).await.map(drop)
    }

    /// Restores criu.
    pub async fn show_criu(&self) -> Result<(), NodeError> {
        self.must_run(["mv", "/usr/sbin/criu.hidden", "/usr/sbin/criu"]).await.map(drop)
    }

    /// Kills the kubelet and keeps it stopped. Its containers keep running.
    pub async fn stop_kubelet(&self) -> Result<(), NodeError> {
        self.must_run(["touch", "/run/kubelet.down"]).await?;
        self.kill_kubelet().await
    }

    /// Starts a stopped kubelet and waits until it serves.
    pub async fn start_kubelet(&self) -> Result<(), NodeError> {
        self.must_run(["rm", "-f", "/run/kubelet.down"]).await?;
        self.kubelet_serves().await
    }

    /// Freezes the kubelet: connections stay open, and it answers nothing.
    pub async fn pause_kubelet(&self) -> Result<(), NodeError> {
        self.signal_kubelet("STOP").await
    }

    /// Resumes a frozen kubelet.
    pub async fn resume_kubelet(&self) -> Result<(), NodeError> {
        self.signal_kubelet("CONT").await
    }

    /// Restarts the kubelet with these settings and waits until it serves.
    pub async fn restart_kubelet(&self, settings: KubeletSettings) -> Result<(), NodeError> {
        self.write_settings(settings)?;
        self.kill_kubelet().await?;
        self.kubelet_serves().await
    }

    pub(super) fn write_settings(&self, settings: KubeletSettings) -> Result<(), NodeError> {
        let configuration = settings.configuration(&self.cgroup_root, self.name_server);
        self.write("etc/kubernetes/kubelet.json", &configuration.to_string())
    }

    /// Writes a file of the node.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<(), NodeError> {
        let path = self.path(path);
        let folder = path.parent().unwrap_or(&path);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.map_err(|source| NodeError::Prepare { what: "write a file", source })
    }

    async fn signal_kubelet(&self, signal: &str) -> Result<(), NodeError> {
        self.must_run(["sh", "-c", &format!("kill -{signal} $(cat /run/kubelet.pid)")]).await.map(drop)
    }

    /// Kills the kubelet, if it runs, and waits until it has ended.
    async fn kill_kubelet(&self) -> Result<(), NodeError> {
        let script = "pid=$(cat /run/kubelet.pid) || exit 0; kill -KILL $pid || exit 0\n\
                      while [ \"$(cat /run/kubelet.pid 2>/dev/null)\" = $pid ]; do sleep 0.02; done";
        self.must_run(["sh", "-c", script]).await.map(drop)
    }

    async fn kubelet_serves(&self) -> Result<(), NodeError> {
        let address = self.kubelet();
        let look = async || {
            // This health port needs no credentials. It listens only inside the node.
            self.must_run(["busybox", "wget", "-q", "-O-", "http://127.0.0.1:10248/healthz"]).await?;
            let connected = tokio::net::TcpStream::connect(address).await;
            connected.map(drop).map_err(|source| NodeError::Prepare { what: "call the kubelet", source })
        };
        let served = try_until("the kubelet serves", TIMEOUT, look).await;
        served.map_err(|timeout| NodeError::NotReady { timeout, program: "kubelet", tail: String::new() })
    }

    fn namespaces(&self) -> NodeNamespaces {
        NodeNamespaces::of(self.pid)
    }

    fn network(&self) -> Network {
        Network::Node(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real_node() -> RealNode {
        RealNode { pid: 7, number: 3, cgroup_root: "/group".to_owned(), name_server: None }
    }

    #[test]
    fn a_node_is_found_by_its_description() {
        let folder = tempfile::tempdir().unwrap();
        real_node().describe(folder.path()).unwrap();
        let read: RealNode = serde_json::from_slice(&fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        let expected = ["10.87.3.2:5000", "10.87.3.2:10250"].map(|address| address.parse().unwrap());
        assert_eq!([read.registry_address(), read.kubelet()], expected);
    }

    #[test]
    fn without_a_node_the_error_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::create(folder.path(), "{}", Path::new("/bin/true")).unwrap();
        let message = RealNode::of_access(&access).unwrap_err().to_string();
        assert!(message.contains("make e2e"), "{message}");
    }
}
