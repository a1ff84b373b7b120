//! The machine of a node: namespaces with their own root file system, control groups and link.
//!
//! All its processes share one PID namespace. When the first process ends, the kernel ends the others, and the first
//! process ends with the lab. So containers, shims and mounts never outlive the lab. The kernel does not remove control
//! groups, this machine's end of the link and the folder. The lab removes them at its end. If it was killed, the next
//! lab does.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroups::Cgroups;
use super::error::NodeError;
use super::namespaces::{NODE_PATH, NodeNamespaces};
use crate::network::{LABS, Network, routes};
use crate::process::{Launch, Process};

const ENTER: &str = include_str!("enter.sh");
const NETWORK: &str = include_str!("network.sh");

/// The node's network namespace, as its own `ip` sees it.
const NODE_LINKS: &str = "/proc/1/ns/net";

/// How long the namespaces may take to start and to end.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Machine {
    init: Process,
    namespaces: NodeNamespaces,
    network: Network,
    logs: PathBuf,
    // Dropped last: they can be removed only when no process is left.
    cgroups: Cgroups,
}

impl Machine {
    /// Starts the first process of a machine with this name. `base` is the lower layer of its root file system.
    pub(crate) async fn start(base: &Path, folder: &Path, programs: &Path, name: &str) -> Result<Self, NodeError> {
        let (work, logs) = (folder.join("node"), folder.join("logs"));
        let failed = |what: &'static str| move |source| NodeError::Prepare { what, source };
        for path in [&work, &logs] {
            fs::create_dir_all(path).map_err(failed("make a folder"))?;
        }
        let cgroups = Cgroups::create().map_err(failed("make a control group"))?;
        let mut launch = Launch::new("node", Path::new("unshare"), &logs.join("node.log"))
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"])
            .args(["--", "sh", "-c", ENTER, "enter"])
            .args([base, work.as_path(), programs])
            .args([name]);
        launch.command().env("PATH", NODE_PATH).env("LC_ALL", "C");
        let mut init = Process::start(launch).await?;
        let pid = entered(&mut init, &work.join("init.pid")).await?;
        let mut machine = Self { init, namespaces: NodeNamespaces::of(pid), network: Network::Loopback, logs, cgroups };
        machine.network = machine.linked().await?;
        Ok(machine)
    }

    /// Connects the machine to this one by the first pair of links whose name is free and whose addresses are not
    /// routed on this machine. Networks of podman or of a cluster may use the same ranges, and the lab must not replace
    /// their routes.
    async fn linked(&self) -> Result<Network, NodeError> {
        let read = fs::read_to_string("/proc/net/route");
        let routes = routes(&read.map_err(|source| NodeError::Prepare { what: "read this machine's routes", source })?);
        let mut seen = "for each number N from 0 to 63, the link swlabN exists already (`ip link`), or this machine \
                        has a route into 10.87.N.0/30, 10.88.N.0/24 or 10.96.N.0/24 (`ip route`), such as that of \
                        podman, a cluster or a VPN"
            .to_owned();
        let free = |network: &Network| !exists(&network.link()) && !network.is_routed(&routes);
        for network in (0..LABS).map(Network::Node).filter(free) {
            let link = network.link();
            let added = self.ip(&format!("link add {link} type veth peer name eth0 netns {NODE_LINKS}")).await?;
            if !added.status.success() {
                seen = String::from_utf8_lossy(&added.stderr).trim().to_owned();
                // Another lab has just taken the name.
                if exists(&link) {
                    continue;
                }
                break;
            }
            let (host, node, (pods, bridge)) = (network.host(), network.node(), network.pods());
            let services = network.services();
            for command in [
                format!("addr add {host}/30 dev {link}"),
                format!("link set {link} up"),
                format!("route add {pods} via {node} dev {link}"),
                format!("route add {services} via {node} dev {link}"),
            ] {
                self.must_ip(&command).await?;
            }
            let arguments = [node, host, bridge].map(|address: Ipv4Addr| address.to_string());
            let arguments = arguments.iter().map(String::as_str);
            self.namespaces.must_run(["sh", "-c", NETWORK, "network"].into_iter().chain(arguments)).await?;
            return Ok(network);
        }
        Err(NodeError::Link { seen })
    }

    /// Runs the node's `ip` on the links of this machine.
    async fn ip(&self, arguments: &str) -> Result<Output, NodeError> {
        self.namespaces.run_on_host_network(["ip"].into_iter().chain(arguments.split(' '))).await
    }

    async fn must_ip(&self, arguments: &str) -> Result<(), NodeError> {
        let Output { status, stderr, .. } = self.ip(arguments).await?;
        if status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&stderr).trim().to_owned();
        Err(NodeError::Command { command: format!("ip {arguments}"), status, output })
    }

    pub(crate) fn network(&self) -> Network {
        self.network
    }

    pub(crate) fn namespaces(&self) -> &NodeNamespaces {
        &self.namespaces
    }

    pub(crate) fn cgroup_root(&self) -> String {
        self.cgroups.path()
    }

    /// Prepares a program of the machine. Its output goes to the log file of this name.
    pub(crate) fn launch(&self, name: &str, program: &str) -> Launch {
        let mut launch = Launch::new(name, Path::new("nsenter"), &self.log(name)).args(self.namespaces.entry());
        launch.command().env_clear().envs(NodeNamespaces::environment());
        launch.args([program])
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Fails if the machine's first process has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), NodeError> {
        Ok(self.init.check_running()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Only the first process is killed, so that `unshare` reaps it. Fails only if the process has ended already.
        let _ = kill(Pid::from_raw(self.namespaces.pid()), Signal::SIGKILL);
        let deadline = Instant::now() + TIMEOUT;
        while matches!(self.init.ended(), Ok(None)) && Instant::now() < deadline {
            self.cgroups.thaw();
            thread::sleep(POLL);
        }
        // The kernel removes the link a moment after the namespace.
        while self.network != Network::Loopback && exists(&self.network.link()) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}

/// Waits for the end of the script and returns the process id of the machine's first process.
async fn entered(init: &mut Process, file: &Path) -> Result<i32, NodeError> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        init.check_running()?;
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n').and_then(|text| text.parse().ok()) {
            return Ok(pid);
        }
        tokio::time::sleep(POLL).await;
    }
    let source = io::Error::from(io::ErrorKind::TimedOut);
    Err(NodeError::Prepare { what: "start the machine of the node", source })
}

fn exists(link: &str) -> bool {
    Path::new("/sys/class/net").join(link).exists()
}
