//! The real node as a test uses it: where it is, commands in it, images for it, its kubelet's moods.
//!
//! It needs no hold on the processes: the kubelet is run by a script (`kubelet.sh`) that starts it again when it ends and
//! keeps it down while a file says so. So a test in another process than the lab's can stop, freeze and change it.

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

/// The description of the node in the control plane's folder.
const FILE: &str = "node.json";

/// How long a kubelet may take to serve again, or to be gone.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A way to the node; clones lead to the same one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RealNode {
    pid: i32,
    number: u8,
    cgroup_root: String,
    // None: there are no Services here.
    name_server: Option<Ipv4Addr>,
}

impl RealNode {
    /// What this machine lacks to have a real node, in one line that says what to do; None: it can be tried.
    pub fn unmet_requirement() -> Option<String> {
        requirements::unmet()
    }

    /// The node that `lab test --node` started beside the control plane.
    pub fn attach() -> Result<Self, NodeError> {
        Self::of_access(&Access::attach()?)
    }

    /// The node beside this control plane.
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

    /// Describes the node in `folder`, for those who attach.
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

    /// This machine's address as the node and its pods see it: where a webhook or a SnapHook on the host can listen.
    pub fn host_address(&self) -> Ipv4Addr {
        self.network().host()
    }

    /// Where its kubelet serves.
    pub fn kubelet(&self) -> SocketAddr {
        (self.address(), KUBELET_PORT).into()
    }

    /// The lab's registry in the names of images, as pods name them.
    pub fn registry(&self) -> &'static str {
        REGISTRY
    }

    /// Where this machine reaches the same registry, by plain HTTP.
    pub fn registry_address(&self) -> SocketAddr {
        (self.address(), REGISTRY_PORT).into()
    }

    /// The image of a shell (busybox).
    pub fn busybox(&self) -> String {
        format!("{REGISTRY}/{BUSYBOX}")
    }

    /// Pushes an image and returns the name that a pod uses. The node also takes it for an image of any other registry's
    /// of that name: `library/nginx:latest` for `nginx`.
    pub async fn push(&self, name: &str, image: Image) -> Result<String, NodeError> {
        Registry::at(self.registry_address()).push(name, image).await?;
        Ok(format!("{REGISTRY}/{name}"))
    }

    /// Makes an image of a checkpoint archive that lies on the node, from which a container of this name goes on, and
    /// pushes it.
    pub async fn push_archive(&self, name: &str, archive: &str, container: &str) -> Result<String, NodeError> {
        let path = self.path(archive);
        let image = Image::of_archive(&path, container);
        let image = image.map_err(|source| NodeError::Prepare { what: "read the archive", source })?;
        self.push(name, image).await
    }

    /// Runs a command in the node's root; its exit status is the caller's to judge.
    pub async fn run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<Output, NodeError> {
        self.namespaces().run(command).await
    }

    /// Runs a command in the node's root and returns what it printed; failing is an error in its own words.
    pub async fn must_run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<String, NodeError> {
        self.namespaces().must_run(command).await
    }

    /// Where a file of the node is found from outside, as long as the node runs.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.namespaces().path(inside)
    }

    /// The archives of checkpoints that lie on the node, by name.
    pub fn archives(&self) -> Vec<String> {
        let folder = "/var/lib/kubelet/checkpoints";
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    }

    /// Takes criu away, as on a node that nobody has prepared.
    pub async fn hide_criu(&self) -> Result<(), NodeError> {
        self.must_run(["mv", "/usr/sbin/criu", "/usr/sbin/criu.hidden"]).await.map(drop)
    }

    /// Brings criu back.
    pub async fn show_criu(&self) -> Result<(), NodeError> {
        self.must_run(["mv", "/usr/sbin/criu.hidden", "/usr/sbin/criu"]).await.map(drop)
    }

    /// Kills the kubelet and keeps it down; containers go on.
    pub async fn stop_kubelet(&self) -> Result<(), NodeError> {
        self.must_run(["touch", "/run/kubelet.down"]).await?;
        self.kill_kubelet().await
    }

    /// Lets a kubelet that was stopped start again, and waits until it serves.
    pub async fn start_kubelet(&self) -> Result<(), NodeError> {
        self.must_run(["rm", "-f", "/run/kubelet.down"]).await?;
        self.kubelet_serves().await
    }

    /// Freezes the kubelet: connections stay open and nothing is answered.
    pub async fn pause_kubelet(&self) -> Result<(), NodeError> {
        self.signal_kubelet("STOP").await
    }

    /// Lets a frozen kubelet go on.
    pub async fn resume_kubelet(&self) -> Result<(), NodeError> {
        self.signal_kubelet("CONT").await
    }

    /// Starts the kubelet anew with these settings, and waits until it serves.
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

    /// Kills the kubelet and waits until that one is gone; none that runs is what is wanted too.
    async fn kill_kubelet(&self) -> Result<(), NodeError> {
        let script = "pid=$(cat /run/kubelet.pid) || exit 0; kill -KILL $pid || exit 0\n\
                      while [ \"$(cat /run/kubelet.pid 2>/dev/null)\" = $pid ]; do sleep 0.02; done";
        self.must_run(["sh", "-c", script]).await.map(drop)
    }

    async fn kubelet_serves(&self) -> Result<(), NodeError> {
        let address = self.kubelet();
        let look = async || {
            // The kubelet says so itself, on a port that needs no credentials and is seen from the node alone.
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
    fn who_has_no_node_is_told_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::create(folder.path(), "{}", Path::new("/bin/true")).unwrap();
        let message = RealNode::of_access(&access).unwrap_err().to_string();
        assert!(message.contains("make e2e"), "{message}");
    }
}
