//! Publishes queued Events, some at a time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::waiting::Waiting;

/// How many Events are published at once, each of another namespace. Two keep up with the pods, take little time of the API server
/// from calls that matter more, and one that is not answered does not stop the others.
const CONCURRENT: usize = 2;

/// How long Events are published after the last attempt, so that a slow answer does not hold up the stop.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

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
    waiting: Waiting,
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
        Self {
            queue,
            client,
            instance: reporting_instance(instance),
            repeats: Repeats::default(),
            waiting: Waiting::default(),
            shares,
            lost,
        }
    }

    /// Publishes until the stop, and then until the running attempts have finished and the queue is empty, or for some seconds.
    pub async fn run(mut self, stop: CancellationToken, work_is_done: CancellationToken) -> Result<(), Infallible> {
        let end = async || {
            stop.cancelled().await;
            work_is_done.cancelled().await;
        };
        let (mut ended, mut late) = (
            pin!(end()),
            pin!(async {
                end().await;
                tokio::time::sleep(LONGEST_DRAIN).await;
            }),
        );
        let mut running = FuturesUnordered::new();
        loop {
            while let Some(event) = self.start_next(running.len()) {
                let publication = self.repeats.publication(&event, clock::now());
                running.push(publish(self.client.clone(), Arc::clone(&self.instance), event, publication));
            }
            tokio::select! {
                biased;
                () = &mut late => {
                    self.stopped(running.len());
                    return Ok(());
                }
                Some((namespace, took, finished)) = running.next() => self.finished(&namespace, took, finished),
                Some(event) = self.queue.recv() => self.received(event),
                // With an Event that waits, one is running.
                () = &mut ended, if running.is_empty() => return Ok(()),
            }
        }
    }

    fn received(&mut self, event: QueuedEvent) {
        if self.waiting.is_lost(&event.object.namespace, Instant::now()) {
            self.lose(&event);
        } else {
            self.waiting.put(event);
        }
    }

    /// The Event to publish now, if fewer than the most are running.
    fn start_next(&mut self, running: usize) -> Option<QueuedEvent> {
        let event = (running < CONCURRENT).then(|| self.waiting.start_next()).flatten()?;
        self.shares.release(&event.object.namespace);
        Some(event)
    }

    fn finished(&mut self, namespace: &Arc<str>, took: Duration, finished: Result<(), NotPublished>) {
        self.waiting.finished(namespace, took, Instant::now());
        let Err(NotPublished { event, key, error }) = finished else { return };
        self.repeats.forget(key);
        let cause = LossCause::of(&error);
        self.lost.count(cause);
        if error.is_namespace_terminating() || error.is_not_found() {
            // The object goes with its namespace, and nothing is to be done.
            tracing::debug!("Lost an {event}: its namespace is deleted");
        } else if self.lost.should_log(cause, Instant::now()) {
            tracing::warn!("Lost an {event}: {}. {ADVICE}", error_chain(&error));
        }
        if error.is_timeout() {
            for waiting in self.waiting.lose(namespace, Instant::now()) {
                self.lose(&waiting);
            }
        }
    }

    /// Counts an Event of a namespace of which one got no answer in time; the log shows that one.
    fn lose(&self, event: &QueuedEvent) {
        self.shares.release(&event.object.namespace);
        self.lost.count(LossCause::TimedOut);
        tracing::debug!("Lost an {event}: another Event of its namespace got no answer in time");
    }

    /// Counts the Events that are not published before the end, with those that are being published.
    fn stopped(&mut self, running: usize) {
        self.queue.close();
        let queued = std::iter::from_fn(|| self.queue.try_recv().ok()).count();
        for _ in 0..running + self.waiting.len() + queued {
            self.lost.count(LossCause::Stopped);
        }
        tracing::debug!("The process ends before all Events are published");
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

/// Publishes an Event, and returns its namespace, how long it took, and the result.
async fn publish(
    client: Client,
    instance: Arc<str>,
    event: QueuedEvent,
    publication: Publication,
) -> (Arc<str>, Duration, Result<(), NotPublished>) {
    let (namespace, started) = (Arc::clone(&event.object.namespace), Instant::now());
    let (shown, key) = (event.to_string(), publication.key);
    let published = create_or_count(client, &instance, event, publication).await;
    (namespace, started.elapsed(), published.map_err(|error| NotPublished { event: shown, key, error }))
}

async fn create_or_count(
    client: Client,
    instance: &str,
    event: QueuedEvent,
    publication: Publication,
) -> Result<(), CallError> {
    let Publication { key: _, name, count } = publication;
    let api: Api<Event> = Api::namespaced(client, &event.object.namespace);
    if count > 1 {
        let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(clock::now())}});
        let repeated =
            call("count the repeat", api.patch(&name, &PatchParams::default(), &Patch::Merge(&series))).await;
        match repeated {
            Err(error) if error.is_not_found() => {} // the API server deletes Events after a time
            repeated => return repeated.map(drop),
        }
    }
    let object = event.into_object(name, instance, clock::now());
    call("create it", api.create(&PostParams::default(), &object)).await.map(drop)
}
