//! One attempt: read the pod, write the attempt down, ask the back-end, write the outcome.
//!
//! The order is the guarantee: an attempt is written before it is made, by compare-and-swap on resourceVersion, and its
//! outcome is written by whoever made it, for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{CallError, LivePod, read_pod};
use snapwatcher_kubernetes::owner::{Owners, Workload};
use snapwatcher_state::PodTimelines;

use super::candidates::Candidates;
use super::circuit_breaker::Shown;
use super::concurrency_limiter::ConcurrencyLimiter;
use super::endpoint_breakers::{Breakers, Turn};
use super::metrics::CheckpointMetrics;
use super::preconditions::{self, Refusal};
use super::status_writer::{LONGEST_WAIT, StatusWriter, waits};
use super::transitions::{self, Holder, Policy, Target};
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, Phase, PodStatus};
use snapwatcher_api::outcome::{Outcome, Reason, Redacted, RetryClass};
use snapwatcher_api::record_name;
use snapwatcher_backends::request::{Backend, CheckpointRequest};
use snapwatcher_kubernetes::events::Events;

/// How long the request may leave after the attempt was begun to be written. Past it the request is not made, since
/// another process may already take the attempt for dead.
pub const SEND_WINDOW: Duration = Duration::from_secs(15);

/// What attempts work with.
pub struct Attempt {
    pub client: Client,
    pub writes: StatusWriter,
    pub backend: Arc<dyn Backend>,
    pub owners: Owners,
    pub budget: ConcurrencyLimiter,
    pub breakers: Breakers,
    pub holder: Holder,
    pub policy: Policy,
    /// Pods of a revision that are asked for, one after the other came to nothing.
    pub max_pods_per_revision: usize,
    pub state: PodTimelines,
    pub metrics: CheckpointMetrics,
    pub events: Events,
    pub backend_check: CheckHandle,
}

/// What came of one turn of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    /// The back-end was asked.
    Asked(Shown),
    /// It was not: the record says why, or somebody else was first.
    NotSent,
    /// The pod's node, known only now, has no room or is away, or its container is being checkpointed for another record.
    NoRoom { node: String },
}

/// Whether a revision goes on with another pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextPod {
    None,
    IsReady,
}

/// A pod that may be checkpointed now, and the attempt as it is to be written.
struct Ready {
    pod: LivePod,
    status: CheckpointStatus,
}

/// A pod that may not be checkpointed now, as far as it was read.
struct Refused {
    refusal: Refusal,
    pod: Option<PodFacts>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, pod: None }
    }
}

impl Attempt {
    /// Makes one attempt of a record that holds a slot. An error means that nothing was sent and that the record does
    /// not say otherwise. At the stop nothing is begun any more.
    pub async fn make(
        &self,
        record: &Checkpoint,
        turn: &mut Turn,
        stop: &CancellationToken,
    ) -> Result<Made, CallError> {
        let Ready { pod, status } = match self.prepare(record, turn).await? {
            Ok(ready) => ready,
            Err(Refused { refusal, pod }) => {
                return self.refuse(record, &refusal, pod.as_ref()).await.map(|()| Made::NotSent);
            }
        };
        if let Some(node) = self.full(record, turn, &status) {
            return Ok(Made::NoRoom { node });
        }
        if stop.is_cancelled() {
            return Ok(Made::NotSent);
        }
        let begun = clock::since_boot();
        let Some(written) = self.writes.begun(record, &status).await? else { return Ok(Made::NotSent) };
        if clock::since_boot().saturating_sub(begun) > SEND_WINDOW {
            self.withdraw(&written).await;
            return Ok(Made::NotSent);
        }
        let outcome = self.ask(&written, pod).await;
        self.check(&outcome, turn);
        self.write_outcome(written, &outcome).await;
        Ok(Made::Asked(shown(&outcome)))
    }

    /// StatusWriter that an attempt was interrupted, whose maker is gone.
    pub async fn give_up(&self, record: &Checkpoint) -> Result<(), CallError> {
        let message =
            "whoever made the attempt ended before its outcome was written; the request may have had its effect";
        let outcome =
            Outcome::Failed { reason: Reason::Interrupted, message: Redacted::own(message), retry_after: None };
        let next_pod = self.next_pod(record, &outcome).await?;
        let status = self.status_after(record, &outcome, next_pod);
        match self.writes.put(record, status).await {
            Ok(_) => {
                tracing::warn!(
                    checkpoint = record.name_any(),
                    "Checkpoint `{}` is given up: {message}",
                    record.name_any()
                );
                self.metrics.interrupted();
                self.events.ended(record, Reason::Interrupted, message);
                Ok(())
            }
            // Its maker lives and was first, or the record is gone.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The node of the attempt where it has no room, or what is asked for its pods is away.
    fn full(&self, record: &Checkpoint, turn: &mut Turn, status: &CheckpointStatus) -> Option<String> {
        let pod = status.pod.clone().unwrap_or_default();
        let node = record_name::label_value(&pod.node.unwrap_or_default());
        let subject = (pod.uid.unwrap_or_default(), status.container.clone().unwrap_or_default());
        let now = clock::now();
        let has_room = self.budget.settle(&record.uid().unwrap_or_default(), &node, subject, now);
        let may_ask = has_room && self.breakers.move_to(turn, self.backend.address(Some(&node)), now);
        (!may_ask).then_some(node)
    }

    /// Reads the pod live and decides whether it may be checkpointed.
    async fn prepare(&self, record: &Checkpoint, turn: &Turn) -> Result<Result<Ready, Refused>, CallError> {
        let Some(wish) = wish(record) else {
            let message = "spec gives neither a pod nor a whole workload; create a Checkpoint that does".to_owned();
            return Ok(Err(Refusal { reason: Reason::InvalidSpec, message }.into()));
        };
        let namespace = record.namespace().unwrap_or_default();
        let name = match &wish {
            CheckpointTarget::Pod { name, .. } | CheckpointTarget::Manual { name, .. } => {
                PodName { namespace, name: name.clone() }
            }
            CheckpointTarget::Revision { .. } => match self.candidates(turn).find(record, &wish, clock::now()).await? {
                Ok(name) => name,
                Err(refusal) => return Ok(Err(refusal.into())),
            },
        };
        let pod = read_pod(&self.client, &name).await?;
        let container = match preconditions::container_now(&wish, &name, pod.as_ref().map(|pod| &pod.facts)) {
            Ok(container) => container,
            // It was eligible in the listing a moment ago: the turn is another pod's, and no candidate is used up.
            Err(Refusal { message, .. }) if matches!(wish, CheckpointTarget::Revision { .. }) => {
                return Ok(Err(Refusal { reason: Reason::NotReady, message }.into()));
            }
            Err(refusal) => return Ok(Err(Refused { refusal, pod: pod.map(|pod| pod.facts) })),
        };
        let Some(pod) = pod else {
            return Ok(Err(Refusal { reason: Reason::PodGone, message: format!("pod {name} is gone") }.into()));
        };
        let workload = self.workload(&pod.facts).await;
        let target = target(&pod.facts, container, &workload);
        let longest =
            SignedDuration::try_from(SEND_WINDOW + self.backend.longest_attempt()).unwrap_or(SignedDuration::MAX);
        let status = transitions::begun(record, &target, &self.holder, longest, clock::now());
        Ok(Ok(Ready { pod, status }))
    }

    /// Only told in status, so a workload that can't be looked up is named by what the pod itself says.
    async fn workload(&self, pod: &PodFacts) -> Workload {
        let found = self.owners.workload(pod).await;
        let direct = || {
            let (name, uid) = (pod.name.name.clone(), pod.uid.clone());
            let itself = Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid };
            pod.controller.as_ref().map_or(itself, Workload::from)
        };
        found.unwrap_or_else(|_| direct())
    }

    /// StatusWriter why the pod is not checkpointed; nothing where the record says so already.
    async fn refuse(&self, record: &Checkpoint, refusal: &Refusal, pod: Option<&PodFacts>) -> Result<(), CallError> {
        let message = Redacted::own(&refusal.message);
        let told = record.status.as_ref().and_then(|status| status.message.as_deref());
        if record.reason() == Some(refusal.reason.as_str()) && told == Some(message.as_str()) {
            return Ok(());
        }
        let outcome = Outcome::Failed { reason: refusal.reason, message, retry_after: None };
        let mut status = self.status_after(record, &outcome, NextPod::None);
        status.pod = transitions::refused_pod(record, pod);
        match self.writes.put(record, status).await {
            // Somebody else has written: the watch brings it, and the record is looked at again.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
            Ok(written) => {
                self.metrics.refused(refusal.reason);
                // A pod that was gone has another of its name in its place, which this is not about.
                if let Some(pod) = pod.filter(|_| written.phase().is_final() && refusal.reason != Reason::PodGone) {
                    self.events.outcome(record, pod, &outcome, written.phase());
                }
                tracing::info!(
                    checkpoint = record.name_any(),
                    reason = refusal.reason.as_str(),
                    "Checkpoint `{}` was not asked for: {}",
                    record.name_any(),
                    refusal.message
                );
                Ok(())
            }
        }
    }

    async fn withdraw(&self, written: &Checkpoint) {
        let message = Redacted::own("a pause, or the API server, held the attempt up too long; nothing was sent");
        tracing::warn!(checkpoint = written.name_any(), "Attempt is withdrawn: {message}");
        let status = transitions::withdrawn(written, &message, clock::now());
        self.writes.until_it_stands(written.clone(), |_| status.clone()).await;
    }

    async fn ask(&self, written: &Checkpoint, pod: LivePod) -> Outcome {
        let status = written.status.clone().unwrap_or_default();
        let container = status.container.clone().unwrap_or_default();
        let name = pod.facts.name.clone();
        let ask = CheckpointRequest {
            pod: name.clone(),
            node: pod.facts.node.clone().unwrap_or_default(),
            container: container.clone(),
            idempotency_key: idempotency_key(written, &status),
            pod_object: self.backend.needs_pod().then_some(pod.whole),
        };
        let timeline = |change: &dyn Fn(&mut snapwatcher_state::ContainerTimeline)| {
            self.state.container(&name, &pod.facts.uid, &container, change);
        };
        let asked = clock::now();
        timeline(&|timeline| timeline.requested = Some(asked));
        let (under_way, since) = (self.metrics.asked(), Instant::now());
        let outcome = self.backend.checkpoint(&ask).await;
        drop(under_way);
        self.metrics.ended(&outcome, since.elapsed());
        let done = clock::now();
        let after = transitions::settled(written, &outcome, &self.policy, 0.0, done).phase.unwrap_or(Phase::Pending);
        timeline(&|timeline| {
            timeline.finished = after.is_final().then_some(done);
            timeline.outcome = Some(outcome.as_str().to_owned());
        });
        tell(written, &ask, &outcome);
        self.events.outcome(written, &pod.facts, &outcome, after);
        outcome
    }

    /// The check `backend` fails while something that is asked is away.
    fn check(&self, outcome: &Outcome, turn: &Turn) {
        match outcome {
            Outcome::Failed { reason, message, .. } if reason.retry_class() == RetryClass::NotTried => {
                self.backend_check.fail(message.as_str());
            }
            _ if self.breakers.is_none_away_but(turn, self.policy.longest_wait, clock::now()) => {
                self.backend_check.pass();
            }
            _ => {}
        }
    }

    async fn write_outcome(&self, written: Checkpoint, outcome: &Outcome) {
        let mut waits = waits();
        let next_pod = loop {
            match self.next_pod(&written, outcome).await {
                Ok(next_pod) => break next_pod,
                Err(_) => sleep(waits.next().unwrap_or(LONGEST_WAIT)).await,
            }
        };
        self.writes.until_it_stands(written, |record| self.status_after(record, outcome, next_pod)).await;
    }

    fn status_after(&self, record: &Checkpoint, outcome: &Outcome, next_pod: NextPod) -> CheckpointStatus {
        let now = clock::now();
        let status = transitions::settled(record, outcome, &self.policy, fastrand::f64(), now);
        match next_pod {
            NextPod::None => status,
            NextPod::IsReady => transitions::next_pod(record, status, now),
        }
    }

    /// Whether another pod of the revision stands in for one that comes to nothing by this outcome.
    async fn next_pod(&self, record: &Checkpoint, outcome: &Outcome) -> Result<NextPod, CallError> {
        let ended = transitions::settled(record, outcome, &self.policy, 0.0, clock::now());
        let is_lost = matches!(ended.phase, Some(Phase::Failed | Phase::Unknown));
        let Some(wish @ CheckpointTarget::Revision { .. }) = wish(record) else { return Ok(NextPod::None) };
        if !is_lost || ended.tried_pods.len() + 1 >= self.max_pods_per_revision {
            return Ok(NextPod::None);
        }
        let mut tried = record.clone();
        let status = tried.status.get_or_insert_default();
        status.tried_pods.extend(status.pod.as_ref().and_then(|pod| pod.uid.clone()));
        let found = self.candidates(&Turn::default()).find(&tried, &wish, clock::now()).await?;
        Ok(if found.is_ok() { NextPod::IsReady } else { NextPod::None })
    }

    fn candidates<'a>(&'a self, turn: &'a Turn) -> Candidates<'a> {
        let Self { client, owners, backend, breakers, .. } = self;
        Candidates { client, owners, backend: backend.as_ref(), breakers, turn }
    }
}

fn tell(written: &Checkpoint, ask: &CheckpointRequest, outcome: &Outcome) {
    let (checkpoint, container, word) = (written.name_any(), &ask.container, outcome.as_str());
    let (namespace, pod) = (&ask.pod.namespace, &ask.pod.name);
    let sentence = format!("Asked for a checkpoint of pod {}, container `{container}`: {outcome}", ask.pod);
    if matches!(outcome, Outcome::Succeeded(_)) {
        tracing::info!(checkpoint, namespace, pod, container, outcome = word, "{sentence}");
    } else {
        tracing::warn!(checkpoint, namespace, pod, container, outcome = word, "{sentence}");
    }
}

fn wish(record: &Checkpoint) -> Option<CheckpointTarget> {
    CheckpointTarget::parse(&record.spec, |wish| record_name::is_derived(&record.name_any(), wish))
}

fn target(pod: &PodFacts, container: String, workload: &Workload) -> Target {
    let facts = pod.container(&container);
    Target {
        pod: PodStatus::from(pod),
        workload: workload.to_string(),
        revision: pod.revision().to_owned(),
        image: facts.and_then(|facts| facts.image.clone()),
        image_id: facts.and_then(|facts| facts.image_id.clone()),
        container,
    }
}

/// The same for requests that may have had each other's effect, another for each answer and for each pod of a revision.
fn idempotency_key(record: &Checkpoint, status: &CheckpointStatus) -> String {
    let (uid, failures) = (record.uid().unwrap_or_default(), status.failures);
    match status.tried_pods.len() {
        0 => format!("{uid}-{failures}"),
        tried => format!("{uid}-{tried}-{failures}"),
    }
}

fn shown(outcome: &Outcome) -> Shown {
    match outcome {
        Outcome::Failed { reason, retry_after, .. } if reason.retry_class() == RetryClass::NotTried => {
            Shown::Away { retry_after: *retry_after }
        }
        _ => Shown::Reached,
    }
}
