//! What a Checkpoint says, read anew here, so that a mistake in the controller's own reading is noticed.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, Phase};
use snapwatcher_api::checkpoint_name::is_derived;
use snapwatcher_api::keys::{ATTEMPT, CLAIMED_BY, RESTORE_NAME};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::{OncePer, PodFacts};

use super::setup::{LONGEST_REQUEST, RESPONSE_TIMEOUT, SEND_WINDOW};

/// What distinguishes one written attempt from all others of its Checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptId {
    pub(super) number: i64,
    pub(super) holder: String,
    pub(super) start: Option<Timestamp>,
}

pub(super) fn uid(checkpoint: &Checkpoint) -> String {
    checkpoint.uid().unwrap_or_default()
}

/// `namespace/name`.
pub(super) fn key(checkpoint: &Checkpoint) -> String {
    format!("{}/{}", checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}

pub(super) fn target(checkpoint: &Checkpoint) -> Option<CheckpointTarget> {
    CheckpointTarget::parse(&checkpoint.spec, |target| is_derived(&checkpoint.name_any(), target))
}

/// Whether the name is one that SnapWatcher derives.
pub(super) fn has_derived_name(checkpoint: &Checkpoint) -> bool {
    target(checkpoint).is_some_and(|target| is_derived(&checkpoint.name_any(), &target))
}

/// Whether it carries what SnapWatcher writes into each Checkpoint that it creates.
pub(super) fn has_original(checkpoint: &Checkpoint) -> bool {
    [ATTEMPT, CLAIMED_BY].iter().any(|key| checkpoint.annotations().contains_key(*key))
}

pub(super) fn has_status(checkpoint: &Checkpoint) -> bool {
    checkpoint.status.as_ref().is_some_and(|status| status.phase.is_some())
}

/// The annotation, if it counts.
fn annotation(checkpoint: &Checkpoint) -> Option<Value> {
    // That of a copy from a backup is about the original.
    if checkpoint.labels().contains_key(RESTORE_NAME) {
        return None;
    }
    let text = checkpoint.annotations().get(ATTEMPT).filter(|text| text.len() <= 4096)?;
    let value = serde_json::from_str(text).ok().filter(has_visible_texts)?;
    let uid = value["pod"]["uid"].as_str();
    time(&value, "startTime")?;
    time(&value, "deadline")?;
    let is_about = match target(checkpoint)? {
        CheckpointTarget::Pod { name, uid: named, image, .. } => {
            let is_of_image = value["image"].as_str() == Some(&image);
            value["pod"]["name"].as_str() == Some(&name) && uid == Some(&named) && is_of_image
        }
        CheckpointTarget::Revision { .. } => uid.is_some() && has_derived_name(checkpoint),
        CheckpointTarget::Manual { .. } => false,
    };
    is_about.then_some(value)
}

/// SnapWatcher writes no other texts.
fn has_visible_texts(value: &Value) -> bool {
    let fields = ["/holder", "/workload", "/revision", "/image", "/imageID", "/pod/name", "/pod/uid", "/pod/node"];
    fields.into_iter().filter_map(|field| value.pointer(field)?.as_str()).all(is_visible)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text in the status that people see and that is no message, if a terminal would not show it as it is.
pub(super) fn invisible_text(checkpoint: &Checkpoint) -> Option<String> {
    let status = checkpoint.status.clone()?;
    let pod = status.pod.unwrap_or_default();
    let texts = [status.holder, status.workload, status.revision, status.image, status.image_id, pod.uid, pod.node];
    texts.into_iter().flatten().chain([pod.name]).find(|text| !is_visible(text))
}

fn time(value: &Value, name: &str) -> Option<Timestamp> {
    value[name].as_str()?.parse().ok()
}

/// The phase, with the first attempt of the annotation.
pub(super) fn phase(checkpoint: &Checkpoint) -> Phase {
    let is_first = !has_status(checkpoint) && annotation(checkpoint).is_some();
    if is_first { Phase::InProgress } else { checkpoint.phase() }
}

/// The last attempt.
pub(super) fn attempt(checkpoint: &Checkpoint) -> Option<AttemptId> {
    if has_status(checkpoint) {
        let status = checkpoint.status.as_ref()?;
        let start = status.start_time.as_ref().map(|start| start.0);
        return Some(AttemptId { number: status.attempt, holder: status.holder.clone()?, start });
    }
    let value = annotation(checkpoint)?;
    let holder = value["holder"].as_str()?.to_owned();
    Some(AttemptId { number: 1, holder, start: time(&value, "startTime") })
}

/// The number of the last attempt.
pub(super) fn number(checkpoint: &Checkpoint) -> i64 {
    attempt(checkpoint).map_or(0, |attempt| attempt.number)
}

/// Whether both are the same attempt. The start of a first attempt may be cut to what the server's time allows.
pub(super) fn is_same(one: Option<&AttemptId>, other: Option<&AttemptId>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    one.number == other.number && one.holder == other.holder && (one.number == 1 || one.start == other.start)
}

/// UID of the pod and container that a Checkpoint is about, as far as it says.
pub(super) fn subject(checkpoint: &Checkpoint) -> Option<(String, String)> {
    let status = checkpoint.status.as_ref();
    let named = checkpoint.spec.pod.as_ref().and_then(|pod| pod.uid.clone());
    let resolved = || status.and_then(|status| status.pod.as_ref()).and_then(|pod| pod.uid.clone());
    let container = checkpoint.spec.container.clone();
    let container = container.or_else(|| status.and_then(|status| status.container.clone()))?;
    Some((named.or_else(resolved)?, container))
}

/// The image that a Checkpoint is about, as far as it says.
pub(super) fn image(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.image.as_deref());
    checkpoint.spec.image.as_deref().or_else(resolved)
}

/// The revision that a Checkpoint is about, as far as it says.
pub(super) fn revision(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.revision.as_deref());
    checkpoint.spec.revision.as_deref().or_else(resolved)
}

/// The image of a container, by the pod's spec.
pub(super) fn image_of<'p>(pod: &'p PodFacts, container: &str) -> Option<&'p str> {
    pod.containers.iter().find(|of| *of.name == *container).map(|of| &*of.image)
}

/// Whether this is a success of the container as it is now: with its image, or with once-per revision of its revision.
pub(super) fn is_success_of(checkpoint: &Checkpoint, pod: &PodFacts, container: &str, once_per: OncePer) -> bool {
    let subject = Some((pod.uid.clone(), container.to_owned()));
    let is_same = match once_per {
        OncePer::Pod => image(checkpoint) == image_of(pod, container),
        OncePer::Revision => revision(checkpoint) == Some(pod.revision()),
    };
    checkpoint.phase() == Phase::Succeeded && self::subject(checkpoint) == subject && is_same
}

/// The pod's UID and the node in an attempt in progress, and until when it holds its slot.
pub(super) fn slot(checkpoint: &Checkpoint) -> Option<(String, Option<String>, Timestamp)> {
    if has_status(checkpoint) {
        let status = checkpoint.status.as_ref()?;
        let pod = status.pod.as_ref()?;
        let deadline = status.deadline.as_ref()?.0;
        let is_unanswered = checkpoint.reason() == Some(Reason::NoResponse.as_str());
        let until = match status.phase {
            Some(Phase::InProgress) => deadline,
            // The back-end may still be working.
            _ if is_unanswered => deadline.saturating_add(SignedDuration::try_from(RESPONSE_TIMEOUT).ok()?).ok()?,
            _ => return None,
        };
        return Some((pod.uid.clone()?, pod.node.clone(), until));
    }
    let value = annotation(checkpoint)?;
    let longest = SignedDuration::try_from(SEND_WINDOW + LONGEST_REQUEST).unwrap_or_default();
    let created = checkpoint.metadata.creation_timestamp.as_ref()?.0;
    let deadline = time(&value, "deadline")?.min(created.saturating_add(longest).unwrap_or(created));
    Some((value["pod"]["uid"].as_str()?.to_owned(), value["pod"]["node"].as_str().map(str::to_owned), deadline))
}

/// The image of an attempt that only the annotation shows.
pub(super) fn annotated_image(checkpoint: &Checkpoint) -> Option<String> {
    if has_status(checkpoint) {
        return None;
    }
    annotation(checkpoint)?["image"].as_str().map(str::to_owned)
}
