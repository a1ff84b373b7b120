//! Claims a pod's container by creating its Checkpoint, which can be its first attempt at the same time.
//!
//! The name of the Checkpoint is derived from the pod or the revision. So only one can exist, and 409 AlreadyExists means
//! that the container was claimed before.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::eligibility::{self, Choice, Ineligible};
use snapwatcher_api::keys::{CLAIMED_BY, MANAGED_BY, NODE, POD_UID, WORKLOAD};
use snapwatcher_api::pod::PodFacts;
use snapwatcher_kubernetes::cluster::LivePod;

use super::claim_error::ClaimError;
use super::io::OperationIo;
use super::kinds::{AttemptResult, Claim, ClaimResult, OperationSettings, Progress};
use super::request::{self, WrittenAttempt};
use super::status_writer::{RETRY, StatusWriter};
use crate::record::first_attempt;
use crate::record::transitions::{self, AttemptTarget};

/// How the creation of the object ended.
enum Created {
    /// This claim created it.
    Mine(Box<Checkpoint>),
    Other(ClaimResult),
}

/// Makes the claim, and its first attempt.
pub(super) async fn run<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    claim: &Claim,
    report: &(impl Fn(Progress) + Send + Sync),
) -> Result<ClaimResult, ClaimError> {
    let pod = live_pod(io, claim).await?;
    if io.is_stopping() {
        return Ok(ClaimResult::Stopped);
    }
    let write_started = io.since_boot();
    let object = object(io, settings, claim, &pod.facts);
    Ok(match create(io, &object).await? {
        Created::Other(result) => result,
        Created::Mine(created) => claimed(io, settings, claim, *created, pod, write_started, report).await,
    })
}

async fn claimed<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    claim: &Claim,
    mut created: Checkpoint,
    pod: LivePod,
    write_started: Duration,
    report: &(impl Fn(Progress) + Send + Sync),
) -> ClaimResult {
    report(Progress::Claimed(created.clone().into()));
    let found = created.clone();
    // A status means that another process has marked the attempt Interrupted, or has made a later one.
    let is_taken_over = created.status.take().is_some_and(|status| status.phase.is_some());
    first_attempt::read(&mut created, settings.longest_attempt());
    if !claim.attempts || created.status.is_none() {
        return ClaimResult::Created;
    }
    if is_taken_over {
        let attempt = created.status.clone().unwrap_or_default();
        if !transitions::accepts_outcome(&attempt, &found) {
            return ClaimResult::Attempted(AttemptResult::NotSent { written: None });
        }
        let writer = StatusWriter { io, longest: settings.longest_attempt() };
        let written = request::cancel(io, &writer, &created, &request::too_slow()).await.map(Into::into);
        return ClaimResult::Attempted(AttemptResult::NotSent { written });
    }
    let attempt = WrittenAttempt { checkpoint: created, pod, write_started, is_in_annotation: true };
    ClaimResult::Attempted(request::send(io, settings, attempt, report).await)
}

/// The pod, if it is still eligible. A watch may be behind.
async fn live_pod(io: &impl OperationIo, claim: &Claim) -> Result<LivePod, ClaimError> {
    let Claim { pod, container, .. } = claim;
    // Also for a revision: this pod proves that the revision has one that can be checkpointed.
    let image = pod.container(container).map(|container| container.image.to_string()).unwrap_or_default();
    let (name, uid) = (pod.name.name.to_string(), pod.uid.clone());
    let of_pod = CheckpointTarget::Pod { name, uid, container: container.clone(), image };
    let live = io.read_pod(&pod.name).await?;
    let facts = live.as_ref().map(|pod| &pod.facts);
    let check = |target| eligibility::check(facts, Choice::Target(target), io.now());
    // The pod may have been updated in place to another revision.
    let checked = check(&of_pod).and_then(|_| check(&claim.target));
    match (checked, live) {
        (Ok(_), Some(live)) => Ok(live),
        (Err(cause), _) => Err(ClaimError::Ineligible { pod: pod.name.clone(), cause }),
        (Ok(_), None) => Err(ClaimError::Ineligible { pod: pod.name.clone(), cause: Ineligible::Gone }),
    }
}

/// Creates the object. After an error that leaves it open whether the API server did so, it is read until that is known. It is
/// not created again here: an admission webhook that never answers in one namespace would hold a slot for as long.
async fn create<I: OperationIo>(io: &I, object: &Checkpoint) -> Result<Created, ClaimError> {
    let namespace = object.namespace().unwrap_or_default();
    let error = match io.create(object).await {
        Ok(created) => return Ok(Created::Mine(Box::new(created))),
        Err(error) if error.already_exists() => error,
        Err(error) if error.is_namespace_terminating() => return Err(ClaimError::NamespaceTerminating(namespace)),
        // The namespace exists as long as the pod does, so the resource was not found.
        Err(error) if error.is_not_found() => return Err(ClaimError::NoDefinition),
        Err(error) if error.is_ambiguous() => error,
        Err(error) => return Err(error.into()),
    };
    let is_known_to_exist = error.already_exists();
    let mut retries = RETRY.retries();
    let found = loop {
        match io.read(&namespace, &object.name_any()).await {
            Ok(found) => break found,
            Err(error) if is_known_to_exist || error.is_about_object() => return Err(error.into()),
            Err(_) => io.sleep(retries.next_wait()).await,
        }
    };
    match found {
        None => Err(error.without_effect().into()),
        Some(found) if is_mine(&found, object) => Ok(Created::Mine(Box::new(found))),
        Some(found) if found.spec == object.spec => Ok(Created::Other(ClaimResult::AlreadyClaimed)),
        Some(_) => Ok(Created::Other(ClaimResult::NameTaken)),
    }
}

/// Whether this very try created what was found.
fn is_mine(found: &Checkpoint, object: &Checkpoint) -> bool {
    let claimed_by = |checkpoint: &Checkpoint| checkpoint.annotations().get(CLAIMED_BY).cloned();
    let is_same_claim = found.spec == object.spec && claimed_by(found) == claimed_by(object);
    let is_same_attempt =
        first_attempt::is_same(found, object) || !first_attempt::is_in(found) && !first_attempt::is_in(object);
    is_same_claim && is_same_attempt
}

fn object(io: &impl OperationIo, settings: &OperationSettings, claim: &Claim, pod: &PodFacts) -> Checkpoint {
    let mut object = Checkpoint::new(&claim.name, CheckpointSpec::from(&claim.target));
    object.metadata.namespace = Some(pod.name.namespace.to_string());
    object.metadata.labels = Some(labels(claim, pod));
    // With the pod: one holder claims for several pods of a revision, and only the first claim counts.
    let claimed_by = format!("{}/{}", settings.holder, pod.uid);
    object.metadata.annotations = Some([(CLAIMED_BY.to_owned(), claimed_by)].into());
    if claim.attempts {
        let target = AttemptTarget::new(pod, claim.container.clone(), claim.workload.to_string());
        first_attempt::write(&mut object, &target, &settings.holder, settings.longest_attempt(), io.now());
    }
    object
}

/// Labels for searches. The pod of a revision's Checkpoint can change, so such a Checkpoint has no labels of a pod.
fn labels(claim: &Claim, pod: &PodFacts) -> BTreeMap<String, String> {
    let is_of_pod = matches!(claim.target, CheckpointTarget::Pod { .. });
    let pairs = [
        (MANAGED_BY, Some("snapwatcher")),
        (WORKLOAD, Some(claim.workload.name.as_str())),
        (POD_UID, is_of_pod.then_some(pod.uid.as_str())),
        (NODE, pod.node.as_deref().filter(|_| is_of_pod)),
    ];
    let set = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), checkpoint_name::label_value(value?))));
    set.collect()
}
