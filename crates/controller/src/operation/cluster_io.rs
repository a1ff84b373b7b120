//! The I/O of operations on a real cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{GetParams, ListParams, PostParams, Request};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use snapwatcher_api::checkpoint::{Checkpoint, WatchedCheckpoint};
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_api::pod::{PodFacts, PodName, RevisionLabels, WatchedPod};
use snapwatcher_backends::backend::{CheckpointBackend, CheckpointRequest};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::LinesPerMinute;
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
    /// For listings.
    pub listings: Client,
    pub workloads: WorkloadLookup,
    pub revision_labels: RevisionLabels,
    /// `None`: no request is ever sent.
    pub backend: Option<Arc<dyn CheckpointBackend>>,
    pub metrics: CheckpointMetrics,
    /// The lines about the Checkpoints of each namespace; shared with the reporter.
    pub lines: Arc<LinesPerMinute>,
    pub stop: CancellationToken,
}

impl ClusterIo {
    /// Sends a request about a Checkpoint, and decodes the response. `build` completes a request that has the path of the
    /// Checkpoints of that namespace.
    async fn request(
        &self,
        what: String,
        namespace: &str,
        build: impl FnOnce(Request) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Checkpoint, CallError> {
        let request =
            build(Request::new(Checkpoint::url_path(&(), Some(namespace)))).map_err(kube::Error::BuildRequest);
        let checkpoint = call(what, async { self.client.request::<WatchedCheckpoint>(request?).await }).await?;
        Ok(checkpoint.into())
    }
}

fn full_name(checkpoint: &Checkpoint) -> String {
    format!("{}/{}", checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}

/// The labeled pods that `is_wanted` chooses, by a live list. Only they stay in memory beside one page.
pub(crate) async fn labeled_pods(
    client: &Client,
    namespace: &str,
    revision_labels: &RevisionLabels,
    is_wanted: impl Fn(&PodFacts) -> bool,
) -> Result<Vec<PodFacts>, CallError> {
    let pods: Api<WatchedPod> = Api::namespaced(client.clone(), namespace);
    let labeled = ListParams::default().labels(&format!("{SNAP}={OPTED_IN}")).limit(PAGE);
    let what = format!("list the labeled pods of namespace `{namespace}`");
    let wanted = |pod: WatchedPod| Some(PodFacts::read(pod, revision_labels)).filter(&is_wanted);
    list_pages(&what, &pods, labeled, wanted).await
}

impl OperationIo for ClusterIo {
    async fn read_pod(&self, pod: &PodName) -> Result<Option<LivePod>, CallError> {
        let need = self.backend.as_ref().map(|backend| backend.pod_need()).unwrap_or_default();
        read_pod(&self.client, pod, &self.revision_labels, need).await
    }

    async fn labeled_pods(&self, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
        labeled_pods(&self.listings, namespace, &self.revision_labels, |pod| pod.revision() == revision).await
    }

    async fn workload(&self, pod: &PodFacts) -> Result<Workload, WorkloadError> {
        self.workloads.workload(pod).await
    }

    async fn create(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        let what = format!("create Checkpoint `{}`", full_name(checkpoint));
        let namespace = checkpoint.namespace().unwrap_or_default();
        let create = |request: Request| {
            let body = serde_json::to_vec(checkpoint).map_err(kube::core::request::Error::SerializeBody)?;
            request.create(&PostParams::default(), body)
        };
        self.request(what, &namespace, create).await
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Checkpoint>, CallError> {
        let what = format!("read Checkpoint `{namespace}/{name}`");
        match self.request(what, namespace, |request| request.get(name, &GetParams::default())).await {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn replace_status(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        let what = format!("write the status of Checkpoint `{}`", full_name(checkpoint));
        let namespace = checkpoint.namespace().unwrap_or_default();
        let replace = |request: Request| {
            let body = serde_json::to_vec(checkpoint).map_err(kube::core::request::Error::SerializeBody)?;
            request.replace_subresource("status", &checkpoint.name_any(), &PostParams::default(), body)
        };
        self.request(what, &namespace, replace).await
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

    fn may_log(&self, namespace: &str, level: Level) -> bool {
        self.lines.should_log(namespace, level, std::time::Instant::now())
    }
}
