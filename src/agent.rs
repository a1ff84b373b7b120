//! `snapwatcher agent`: creates the parts, connects them, and runs until the stop.

use std::io;
use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::config::AgentArgs;
use snapwatcher_agent::{AgentChecks, AgentError, AgentMetrics, AgentService};
use snapwatcher_daemon::admin::{self, AdminState, Gate, Health};
use snapwatcher_daemon::listen::listen;
use snapwatcher_daemon::services::{ServiceError, Services};
use snapwatcher_daemon::signals;
use snapwatcher_daemon::telemetry::metrics::registry;
use snapwatcher_kubernetes::cluster::{Cluster, ConnectError};
use snapwatcher_registry::{Registry, SettingsError};

/// Why `agent` failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentRunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not listen on {address} for the admin port")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("could not use the registry of --registry-repository")]
    Registry(#[from] SettingsError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Runs until SIGTERM or SIGINT, or until a service ends.
pub async fn agent(args: AgentArgs) -> Result<(), AgentRunError> {
    let stop = CancellationToken::new();
    let address = args.admin.admin_listen;
    let port = listen(address).map_err(|source| AgentRunError::Listen { address, source })?;
    let (mut metrics, mut health) = (registry(), Health::new());
    let cluster = Cluster::connect(args.times.watch_timeout).await?;
    let saved_in = args.registry_settings().map(|settings| Registry::new(&settings)).transpose()?;
    let has_registry = saved_in.is_some();
    let settings = args.settings(saved_in);
    let (node, folder) = (settings.node.clone(), settings.checkpoints_folder.display().to_string());
    let checks = AgentChecks::new(&mut health);
    let shutdown = health.check("shutdown", Gate::Readiness);
    let service = AgentService::new(cluster, settings, AgentMetrics::register(&mut metrics), checks, stop.clone())?;
    tracing::info!(
        node,
        "The agent saves archives of node `{node}` from `{folder}`{}",
        if has_registry { "" } else { ". Without --registry-repository they stay on the node" }
    );

    let mut services = Services::new(stop.clone());
    services.start("agent", |stop| service.run(stop));
    services.start_to_end_last("signals", |end| signals::serve(shutdown, stop, end));
    let state = AdminState::new(health, metrics).exposing_detail(args.admin.admin_expose_detail);
    let router = admin::router(state, Vec::new());
    services.start_to_end_last("admin", |end| admin::serve(port, router, end));
    services.finish().await?;
    tracing::info!("Stopped");
    Ok(())
}
