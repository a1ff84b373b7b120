//! The machine that a node is: namespaces with a root file system, control groups and a link of their own.
//!
//! Everything in it is a process of one PID namespace. The kernel ends all of them when the first one ends, and the
//! first one dies with the lab, so that containers, their shims and their mounts never outlive it. What namespaces do
//! not hold (control groups, this machine's end of the link, the folder) is taken away by whoever is left: the lab when it
//! ends, or the next one where it was killed.

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

/// The node's network namespace, as its own `ip` finds it.
const NODE_LINKS: &str = "/proc/1/ns/net";

/// How long the namespaces may take to stand, and to go.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A running machine; gone when dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    init: Process,
    namespaces: NodeNamespaces,
    network: Network,
    logs: PathBuf,
    // Removed when the last process has ended.
    cgroups: Cgroups,
}

impl Machine {
    /// Starts the first process of a machine of this name whose root file system is made from `base`.
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

    /// Joins the machine to this one by the first pair of links whose name is free, and whose addresses this machine does
    /// not reach by other routes: podman's networks or a cluster's lie in the same ranges, and ours would win.
    async fn linked(&self) -> Result<Network, NodeError> {
        let read = fs::read_to_string("/proc/net/route");
        let routes = routes(&read.map_err(|source| NodeError::Prepare { what: "read this machine's routes", source })?);
        let mut seen = "of each number the link is taken (`ip link`), or this machine has a route into 10.87.N.0/30, \
                        10.88.N.0/24 or 10.96.N.0/24 already (`ip route`), of podman, a cluster or a VPN perhaps"
            .to_owned();
        let free = |network: &Network| !exists(&network.link()) && !network.is_routed(&routes);
        for network in (0..LABS).map(Network::Node).filter(free) {
            let link = network.link();
            let added = self.ip(&format!("link add {link} type veth peer name eth0 netns {NODE_LINKS}")).await?;
            if !added.status.success() {
                seen = String::from_utf8_lossy(&added.stderr).trim().to_owned();
                // Another lab took the name in the meantime: the next one, then.
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

    /// Runs the node's `ip` on this machine's own links.
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

    /// Prepares a program of the machine; its output goes to a log file of this name beside the others.
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
        // The first process is killed alone, so that `unshare` is there to reap it. Both can only fail where it is gone.
        let _ = kill(Pid::from_raw(self.namespaces.pid()), Signal::SIGKILL);
        let deadline = Instant::now() + TIMEOUT;
        while matches!(self.init.ended(), Ok(None)) && Instant::now() < deadline {
            self.cgroups.thaw();
            thread::sleep(POLL);
        }
        // The link goes a moment after the namespace.
        while self.network != Network::Loopback && exists(&self.network.link()) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}

/// Waits until the script has done its work and returns the process id of the machine's first process.
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
