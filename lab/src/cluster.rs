//! A control plane in child processes: etcd, API server, controllers, scheduler and fake nodes.
//!
//! All of it listens on 127.0.0.1, or on the link to a real node, and keeps its files in one temporary folder. However
//! a `Cluster` ends, its processes are killed and its folder is removed. If this process is killed, the kernel kills
//! its children. If another process takes a port before its server starts, the lab chooses new ports and starts again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::Client;

use crate::access::{Access, AccessError};
use crate::binaries::{Binaries, BinariesError, BinarySource};
use crate::control_plane::Layout;
use crate::data_folder::DataFolder;
use crate::environment;
use crate::fake_nodes::{self, FakeNodesError};
use crate::go_module::{GoModuleError, KubernetesVersion};
use crate::network::Network;
use crate::node::{self, Node, NodeError, NodeKind, RealNode};
use crate::process::{Process, ProcessError};
use crate::simulated_controllers::SimulatedControllers;
use crate::terminal::print_progress;

/// How long the API server may take to be ready. On an idle machine it takes five seconds.
const TIMEOUT: Duration = Duration::from_secs(90);

/// How often the lab checks readiness.
const POLL: Duration = Duration::from_millis(50);

/// How often the lab chooses new ports. More than two attempts were never needed.
const PORT_ATTEMPTS: usize = 5;

/// Which control plane to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub version: KubernetesVersion,
    /// Number of fake nodes.
    pub nodes: usize,
    /// Whether data and logs stay on disk at the end.
    pub keep: bool,
    pub node: NodeKind,
    /// Where the programs come from. A real node needs those of the Go modules.
    pub binaries: BinarySource,
    /// Whether the API server writes an audit log (`Access::audit_log`).
    pub audit: bool,
}

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: the processes are killed before their folder is removed.
    controllers: Vec<Process>,
    simulated: Option<SimulatedControllers>,
    node: Option<Node>,
    api_server: Option<Process>,
    etcd: Process,
    access: Access,
    binaries: Binaries,
    layout: Layout,
    // Only held: dropping it removes the folder, unless it is kept.
    _folder: DataFolder,
}

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Version(#[from] GoModuleError),
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Nodes(#[from] FakeNodesError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("could not prepare the data folder of the control plane")]
    Folder { source: io::Error },
    #[error("the API server was not ready after {} s; the end of its log:\n{tail}", TIMEOUT.as_secs())]
    NotReady { tail: String },
}

impl Options {
    /// Reads the environment: K8S names the version, KEEP=data keeps data and logs.
    pub fn from_environment() -> Result<Self, LabError> {
        let version = environment::kubernetes_version();
        Ok(Self {
            version: version.as_deref().unwrap_or(KubernetesVersion::DEFAULT).parse()?,
            nodes: fake_nodes::DEFAULT_COUNT,
            keep: environment::keeps_data(),
            node: NodeKind::Fake,
            binaries: BinarySource::GoModules,
            audit: false,
        })
    }

    /// Replaces the fake nodes by a real one, so that every pod runs on it, and adds an audit log.
    pub fn with_real_node(self) -> Self {
        Self { nodes: 0, node: NodeKind::Real, binaries: BinarySource::GoModules, audit: true, ..self }
    }

    /// Adds a real node with Services and DNS names, so that a chart can be installed as in any cluster.
    pub fn with_services(self) -> Self {
        Self { node: NodeKind::RealWithServices, ..self.with_real_node() }
    }
}

impl Cluster {
    /// Starts a control plane and waits until pods can be created and scheduled. It takes about ten seconds once the
    /// programs are built.
    pub async fn start(options: Options) -> Result<Self, LabError> {
        if options.node.is_real()
            && let Some(missing) = RealNode::unmet_requirement()
        {
            return Err(NodeError::Missing(missing).into());
        }
        node::sweep();
        let binaries = Binaries::find(&options.binaries, &options.version, options.node).await?;
        let mut attempt = 1;
        let mut cluster = loop {
            match Self::serving(&binaries, &options).await {
                Err(error) if attempt < PORT_ATTEMPTS && is_port_taken(&error) => attempt += 1,
                outcome => break outcome?,
            }
        };
        cluster.start_controllers().await?;
        let client = cluster.client().await?;
        fake_nodes::create(&client, options.nodes).await?;
        cluster.start_kubelet().await?;
        fake_nodes::ready(&client, options.nodes + usize::from(options.node.is_real())).await?;
        Ok(cluster)
    }

    /// Removes the folders and control groups of labs that were killed.
    pub fn sweep() {
        DataFolder::sweep();
        node::sweep();
    }

    /// Attaches to the control plane that `make test` started for all tests.
    pub fn attach() -> Result<Access, LabError> {
        Ok(Access::attach()?)
    }

    async fn serving(binaries: &Binaries, options: &Options) -> Result<Self, LabError> {
        let failed = |source| LabError::Folder { source };
        let folder = DataFolder::create(options.keep).map_err(failed)?;
        if options.keep {
            print_progress(&format!("Data and logs of the control plane are kept in {}.", folder.path().display()));
        }
        // The API server listens on the link to the node, so the node has to start first.
        let node = match binaries.controllers() {
            Some(programs) if options.node.is_real() => {
                Some(Node::start(folder.path(), &programs.kubernetes, options.node).await?)
            }
            _ => None,
        };
        let network = node.as_ref().map_or(Network::Loopback, Node::network);
        let layout = Layout::create(folder.path(), network, fake_nodes::STAGES, options.audit).map_err(failed)?;
        let access = Access::create(folder.path(), &layout.kubeconfig(), binaries.kubectl())?;
        let mut etcd = Process::start(layout.etcd(binaries)).await?;
        let mut api_server = Process::start(layout.api_server(binaries)).await?;
        let mut running = || etcd.check_running();
        serves(&access, &mut api_server, &mut running).await?;
        Ok(Self {
            controllers: Vec::new(),
            simulated: None,
            node,
            api_server: Some(api_server),
            etcd,
            access,
            binaries: binaries.clone(),
            layout,
            _folder: folder,
        })
    }

    async fn start_controllers(&mut self) -> Result<(), LabError> {
        let kubeconfig = self.access.kubeconfig();
        let Some(programs) = self.binaries.controllers() else {
            self.simulated = Some(SimulatedControllers::start(self.client().await?));
            return Ok(());
        };
        for launch in [
            self.layout.controller_manager(programs, &kubeconfig),
            self.layout.scheduler(programs, &kubeconfig),
            self.layout.kwok(programs, &kubeconfig),
        ] {
            self.controllers.push(Process::start(launch).await?);
        }
        Ok(())
    }

    /// Lets the real node, if there is one, join the cluster.
    async fn start_kubelet(&mut self) -> Result<(), LabError> {
        if let Some(node) = &mut self.node {
            let (server, certificates) = (self.layout.api_server_url(), self.layout.path("certs"));
            node.join(&self.access, &server, &certificates).await?;
            if let Some(core_dns) = self.binaries.core_dns() {
                node.start_services(&server, &certificates, core_dns).await?;
            }
            node.real_node().describe(self.layout.folder())?;
        }
        Ok(())
    }

    /// Kills the API server. etcd and the controllers stay.
    pub async fn stop_api_server(&mut self) -> Result<(), LabError> {
        if let Some(mut api_server) = self.api_server.take() {
            api_server.kill().await?;
        }
        Ok(())
    }

    /// Starts the API server again on the same port and data, and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<(), LabError> {
        if self.api_server.is_none() {
            let mut api_server = Process::start(self.layout.api_server(&self.binaries)).await?;
            serves(&self.access, &mut api_server, &mut || Ok(())).await?;
            self.api_server = Some(api_server);
        }
        Ok(())
    }

    /// The process id of the API server, if it runs.
    pub fn api_server_pid(&self) -> Option<u32> {
        self.api_server.as_ref().map(Process::pid)
    }

    /// Freezes the API server (SIGSTOP): connections stay open, and it answers nothing.
    pub fn pause_api_server(&mut self) -> Result<(), LabError> {
        self.api_server.as_mut().map_or(Ok(()), Process::pause).map_err(LabError::from)
    }

    /// Resumes a frozen API server.
    pub fn resume_api_server(&mut self) -> Result<(), LabError> {
        self.api_server.as_mut().map_or(Ok(()), Process::resume).map_err(LabError::from)
    }

    /// Fails if one of the processes has exited.
    pub fn check_running(&mut self) -> Result<(), LabError> {
        for process in self.controllers.iter_mut().chain(self.api_server.as_mut()).chain([&mut self.etcd]) {
            process.check_running()?;
        }
        self.node.as_mut().map_or(Ok(()), Node::check_running).map_err(LabError::from)
    }

    /// Ends all processes and removes the folder, as dropping does, but reports errors.
    pub async fn stop(mut self) -> Result<(), LabError> {
        drop(self.simulated.take());
        for mut process in self.controllers.drain(..) {
            process.kill().await?;
        }
        drop(self.node.take());
        self.stop_api_server().await?;
        self.etcd.kill().await?;
        Ok(())
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The real node, if there is one.
    pub fn real_node(&self) -> Option<&RealNode> {
        self.node.as_ref().map(Node::real_node)
    }

    pub fn folder(&self) -> &Path {
        self.layout.folder()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.access.kubeconfig()
    }

    pub fn kubectl(&self) -> PathBuf {
        self.access.kubectl()
    }

    /// A client with all rights, for the current tokio runtime.
    pub async fn client(&self) -> Result<Client, LabError> {
        Ok(self.access.client().await?)
    }
}

/// Waits until the API server is ready.
async fn serves(
    access: &Access,
    api_server: &mut Process,
    others_run: &mut (dyn FnMut() -> Result<(), ProcessError> + Send),
) -> Result<(), LabError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut client: Option<Client> = None;
    while Instant::now() < deadline {
        api_server.check_running()?;
        others_run()?;
        match &client {
            None => client = access.client().await.ok(),
            Some(client) => {
                let checked = tokio::time::timeout(Duration::from_secs(2), is_ready(client)).await;
                if checked.unwrap_or(false) {
                    return Ok(());
                }
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Err(LabError::NotReady { tail: api_server.last_lines(15) })
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = axum::http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok()
}

fn is_port_taken(error: &LabError) -> bool {
    matches!(error, LabError::Process(ProcessError::Ended { tail, .. }) if tail.contains("address already in use"))
}
