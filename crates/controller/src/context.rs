//! What all services of the leader share: access to the API server, pod timelines, metrics, Events and health checks.

use snapwatcher_daemon::admin::{CheckHandle, Gate, Health};
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_kubernetes::events::Events;
use snapwatcher_state::PodTimelines;

use crate::checkpoint_metrics::CheckpointMetrics;
use crate::watch_metrics::WatchMetrics;

/// The shared handles. Cloning is cheap, and clones share their values.
#[derive(Clone)]
pub struct ControllerContext {
    pub cluster: Cluster,
    pub timelines: PodTimelines,
    pub watch_metrics: WatchMetrics,
    pub checkpoint_metrics: CheckpointMetrics,
    pub events: Events,
    pub checks: ControllerChecks,
}

/// The informational health checks of the controller, in the order in which the admin port lists them.
#[derive(Clone)]
pub struct ControllerChecks {
    pub definition: CheckHandle,
    pub watch: CheckHandle,
    pub backend: CheckHandle,
    pub leader: CheckHandle,
}

impl ControllerChecks {
    pub fn new(health: &mut Health) -> Self {
        Self {
            definition: health.check("crd", Gate::Informational),
            watch: health.check("watch", Gate::Informational),
            backend: health.check("backend", Gate::Informational),
            leader: health.check("leader", Gate::Informational),
        }
    }
}

#[cfg(test)]
impl ControllerContext {
    /// With an API server that never responds. Its Events are lost.
    pub(crate) fn without_api_server() -> Self {
        use snapwatcher_kubernetes::cluster::WATCH_TIMEOUT;
        use snapwatcher_kubernetes::events::{EventMetrics, events};

        let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<kube::Result<http::Response<kube::client::Body>>>()
        });
        let client = kube::Client::new(service, "default");
        let mut registry = prometheus_client::registry::Registry::default();
        let (events, _) = events(client.clone(), "snapwatcher-0", EventMetrics::register(&mut registry));
        Self {
            cluster: Cluster {
                calls: client.clone(),
                watches: client,
                watch_timeout: WATCH_TIMEOUT,
                ca_certificates: None,
                proxy: None,
            },
            timelines: PodTimelines::new(),
            watch_metrics: WatchMetrics::register(&mut registry),
            checkpoint_metrics: CheckpointMetrics::register(&mut registry),
            events,
            checks: ControllerChecks::new(&mut Health::new()),
        }
    }
}
