//! Publishes queued Events, some at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint_name::shortened;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;

use crate::cluster::{CallError, call};

use super::lost::{ADVICE, LossCause, LostEvents};
use super::queued::QueuedEvent;
use super::repeats::{Publication, Repeats};
use super::shares::Shares;

/// How many Events are published at once. Two keep up with the pods, take little time of the API server from calls that matter
/// more, and one that is not answered does not stop the others.
const CONCURRENT: usize = 2;

/// The longest `reportingInstance`, see
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>.
const LONGEST_REPORTING_INSTANCE: usize = 128;

/// Publishes the queued Events; a service of its own.
pub struct EventPublisher {
    queue: mpsc::Receiver<QueuedEvent>,
    client: Client,
    /// The name under which this process reports.
    instance: Arc<str>,
    repeats: Repeats,
    shares: Shares,
    lost: LostEvents,
}

impl EventPublisher {
    pub(super) fn new(
        queue: mpsc::Receiver<QueuedEvent>,
        client: Client,
        instance: &str,
        shares: Shares,
        lost: LostEvents,
    ) -> Self {
        Self { queue, client, instance: reporting_instance(instance), repeats: Repeats::default(), shares, lost }
    }

    /// Publishes until the stop, and then until the running attempts have finished and the queue is empty.
    pub async fn run(mut self, stop: CancellationToken, work_is_done: CancellationToken) -> Result<(), Infallible> {
        let end = async {
            stop.cancelled().await;
            work_is_done.cancelled().await;
        };
        tokio::pin!(end);
        let mut running = FuturesUnordered::new();
        loop {
            let is_free = running.len() < CONCURRENT;
            tokio::select! {
                biased;
                Some(finished) = running.next() => self.finished(finished),
                Some(event) = self.queue.recv(), if is_free => {
                    self.shares.release(&event.pod.namespace);
                    let publication = self.repeats.publication(&event, clock::now());
                    running.push(publish(self.client.clone(), Arc::clone(&self.instance), event, publication));
                }
                () = &mut end, if running.is_empty() => return Ok(()),
            }
        }
    }

    fn finished(&mut self, finished: Result<(), NotPublished>) {
        let Err(NotPublished { event, key, error }) = finished else { return };
        self.repeats.forget(key);
        let cause = LossCause::of(&error);
        self.lost.count(cause);
        if error.is_namespace_terminating() || error.is_not_found() {
            // The pod goes with its namespace, and nothing is to be done.
            tracing::debug!("Lost an {event}: its namespace is deleted");
        } else if self.lost.should_log(cause, Instant::now()) {
            tracing::warn!("Lost an {event}: {}. {ADVICE}", error_chain(&error));
        }
    }
}

/// The name under which this process reports, as long as the API server accepts it. Of a longer one, the beginning and a digest.
fn reporting_instance(instance: &str) -> Arc<str> {
    shortened(instance, LONGEST_REPORTING_INSTANCE).into()
}

/// An Event that could not be published.
struct NotPublished {
    /// What it was, for the log.
    event: String,
    key: u64,
    error: CallError,
}

async fn publish(
    client: Client,
    instance: Arc<str>,
    event: QueuedEvent,
    publication: Publication,
) -> Result<(), NotPublished> {
    let Publication { key, name, count } = publication;
    let shown = event.to_string();
    let api: Api<Event> = Api::namespaced(client, &event.pod.namespace);
    let failed = |error| NotPublished { event: shown, key, error };
    if count > 1 {
        let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(clock::now())}});
        let repeated =
            call("count the repeat", api.patch(&name, &PatchParams::default(), &Patch::Merge(&series))).await;
        match repeated {
            Err(error) if error.is_not_found() => {} // the API server deletes Events after a time
            repeated => return repeated.map(drop).map_err(failed),
        }
    }
    let object = event.into_object(name, &instance, clock::now());
    call("create it", api.create(&PostParams::default(), &object)).await.map(drop).map_err(failed)
}
