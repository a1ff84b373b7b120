//! The I/O of operations on a real cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_backends::backend::{CheckpointBackend, CheckpointRequest};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{CallError, LivePod, call, list_pages, read_pod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError, WorkloadLookup};

use super::io::OperationIo;
use crate::checkpoint_metrics::CheckpointMetrics;

/// How many pods one request lists.
const PAGE: u32 = 100;

/// The I/O. Cloning is cheap.
#[derive(Clone)]
pub struct ClusterIo {
    pub client: Client,
    pub workloads: WorkloadLookup,
    /// `None`: no request is ever sent.
    pub backend: Option<Arc<dyn CheckpointBackend>>,
    pub metrics: CheckpointMetrics,
    pub stop: CancellationToken,
}

impl ClusterIo {
    fn api(&self, namespace: &str) -> Api<Checkpoint> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn full_name(checkpoint: &Checkpoint) -> String {
    format!("{}/{}", checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}

/// The labeled pods of a revision, by a live list.
pub(crate) async fn labeled_pods(client: &Client, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
    let pods: Api<WatchedPod> = Api::namespaced(client.clone(), namespace);
    let labeled = ListParams::default().labels(&format!("{SNAP}={OPTED_IN}")).limit(PAGE);
    let what = format!("list the labeled pods of namespace `{namespace}`");
    let of_revision = |pod: WatchedPod| Some(PodFacts::from(pod)).filter(|pod| pod.revision() == revision);
    list_pages(&what, &pods, labeled, of_revision).await
}

impl OperationIo for ClusterIo {
    async fn read_pod(&self, pod: &PodName) -> Result<Option<LivePod>, CallError> {
        read_pod(&self.client, pod).await
    }

    async fn labeled_pods(&self, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
        labeled_pods(&self.client, namespace, revision).await
    }

    async fn workload(&self, pod: &PodFacts) -> Result<Workload, WorkloadError> {
        self.workloads.workload(pod).await
    }

    async fn create(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        let api = self.api(&checkpoint.namespace().unwrap_or_default());
        let what = format!("create Checkpoint `{}`", full_name(checkpoint));
        call(what, api.create(&PostParams::default(), checkpoint)).await
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Checkpoint>, CallError> {
        let what = format!("read Checkpoint `{namespace}/{name}`");
        call(what, self.api(namespace).get_opt(name)).await
    }

    async fn replace_status(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        let (api, name) = (self.api(&checkpoint.namespace().unwrap_or_default()), checkpoint.name_any());
        let what = format!("write the status of Checkpoint `{}`", full_name(checkpoint));
        call(what, api.replace_status(&name, &PostParams::default(), checkpoint)).await
    }

    async fn checkpoint(&self, request: &CheckpointRequest) -> Outcome {
        let Some(backend) = &self.backend else {
            let message = Redacted::own("no back-end is configured: set --backend");
            return Outcome::Failed { reason: Reason::Unreachable, message, retry_after: None };
        };
        let (in_flight, since) = (self.metrics.sent(), Instant::now());
        let outcome = backend.checkpoint(request).await;
        drop(in_flight);
        self.metrics.finished(&outcome, since.elapsed());
        outcome
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn since_boot(&self) -> Duration {
        clock::since_boot()
    }

    fn jitter(&self) -> f64 {
        fastrand::f64()
    }

    fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
}
