//! The first attempt of a Checkpoint, written together with its claim: an annotation of the object that is created.
//!
//! So the request can leave after one write. The annotation counts only while the status has no phase, and the first write of
//! a status copies it. People may create Checkpoints but not write their status, so what the annotation says is
//! limited: it counts on a Checkpoint with a derived name only, its texts have the form that SnapWatcher writes, it takes no
//! longer than the longest attempt, and it ends at most that long after the time at which the server created the object.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, PodStatus};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::keys::{ATTEMPT, CLAIMED_BY, RESTORE_NAME};
use snapwatcher_api::pod::{is_label_value, is_object_name};

use super::fields;
use super::transitions::{self, AttemptTarget, Holder};

/// A longer annotation is ignored. Names have at most 253 characters, images a few hundred.
const LONGEST_ANNOTATION: usize = 4096;

/// The longest `holder`: the name of a pod, and the number of its start.
const LONGEST_HOLDER: usize = 320;
/// The longest image and the longest image ID, as in the schema of a Checkpoint.
const LONGEST_IMAGE: usize = 512;

/// `creationTimestamp` has no fractions of a second.
const CREATION_PRECISION: SignedDuration = SignedDuration::from_secs(1);

/// The value of the annotation, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FirstAttempt {
    holder: String,
    /// With microseconds: it distinguishes two tries to create the object.
    start_time: MicroTime,
    deadline: MicroTime,
    pod: PodStatus,
    workload: String,
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(rename = "imageID", skip_serializing_if = "Option::is_none")]
    image_id: Option<String>,
}

impl FirstAttempt {
    /// Whether each text has the form that SnapWatcher writes. They become a part of the status, which terminals show.
    fn has_valid_texts(&self) -> bool {
        let Self { holder, start_time: _, deadline: _, pod, workload, revision, image, image_id } = self;
        let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let images = [image.as_ref(), image_id.as_ref()].into_iter().flatten();
        let is_workload = |(kind, name): (&str, &str)| is_label_value(kind) && is_label_value(name);
        is_object_name(&pod.name)
            && pod.uid.as_deref().is_none_or(is_label_value)
            && pod.node.as_deref().is_none_or(is_object_name)
            && workload.split_once('/').is_some_and(is_workload)
            && is_label_value(revision)
            && is_visible(holder)
            && holder.len() <= LONGEST_HOLDER
            && images.into_iter().all(|text| is_visible(text) && text.len() <= LONGEST_IMAGE)
    }
}

/// Writes an attempt that starts now into the annotation of an object that will be created.
pub(crate) fn write(
    checkpoint: &mut Checkpoint,
    target: &AttemptTarget,
    holder: &Holder,
    longest: SignedDuration,
    now: Timestamp,
) {
    let AttemptTarget { pod, container: _, workload, revision, image, image_id } = target.clone();
    let first = FirstAttempt {
        holder: holder.to_string(),
        start_time: MicroTime(now),
        deadline: MicroTime(now + longest),
        pod,
        workload,
        revision,
        image,
        image_id,
    };
    // Serializing strings and times into JSON cannot fail.
    if let Ok(json) = serde_json::to_string(&first) {
        checkpoint.annotations_mut().insert(ATTEMPT.to_owned(), json);
    }
}

/// Whether the object carries a first attempt, valid or not.
pub(crate) fn is_in(checkpoint: &Checkpoint) -> bool {
    checkpoint.annotations().contains_key(ATTEMPT)
}

/// Whether both objects carry the same annotation: the same try of the same process.
pub(crate) fn is_same(a: &Checkpoint, b: &Checkpoint) -> bool {
    let of = |checkpoint: &Checkpoint| checkpoint.annotations().get(ATTEMPT).cloned();
    of(a).is_some() && of(a) == of(b)
}

/// Drops from the metadata of a Checkpoint what the controller does not read, before the Checkpoint is kept. People can add a
/// megabyte to it. A PUT of the status takes only key, UID and `resourceVersion` from the metadata, so nothing is lost. The
/// annotation of the first attempt is kept for as long as it counts: until a phase is written to the status. So is the label of a
/// Checkpoint from a backup.
pub(crate) fn trim_metadata(checkpoint: &mut Checkpoint) {
    let ObjectMeta {
        name, namespace, uid, resource_version, generation, creation_timestamp, labels, annotations, ..
    } = std::mem::take(&mut checkpoint.metadata);
    let labels = labels.filter(|labels| !fields::has_phase(checkpoint) && labels.contains_key(RESTORE_NAME));
    let annotations = annotations.filter(|_| !fields::has_phase(checkpoint));
    let mut annotations = annotations.unwrap_or_default();
    let attempt = annotations.remove(ATTEMPT);
    // That there is one counts, although it is ignored.
    let attempt = attempt.map(|text| if text.len() > LONGEST_ANNOTATION { String::new() } else { text });
    // Of a copy from a backup, it says that there was an original.
    let claimed_by = annotations.remove(CLAIMED_BY).filter(|_| labels.is_some());
    let kept = [(ATTEMPT, attempt), (CLAIMED_BY, claimed_by.map(|_| String::new()))];
    let kept: BTreeMap<String, String> =
        kept.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
    checkpoint.metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        labels: labels.map(|_| [(RESTORE_NAME.to_owned(), String::new())].into()),
        annotations: (!kept.is_empty()).then_some(kept),
        ..ObjectMeta::default()
    };
}

/// Drops the text of the annotation, once the status has what it says. That there is one counts.
pub(crate) fn drop_text(checkpoint: &mut Checkpoint) {
    if let Some(text) = checkpoint.metadata.annotations.as_mut().and_then(|annotations| annotations.get_mut(ATTEMPT)) {
        *text = String::new();
    }
}

/// Fills the status of a Checkpoint that has none from its annotation, as every reader of the object does. `longest` is how
/// long an attempt takes at most. Returns false if there is an annotation that does not count. That of a Checkpoint from a backup
/// is about the original.
pub(crate) fn read(checkpoint: &mut Checkpoint, longest: SignedDuration) -> bool {
    if fields::has_phase(checkpoint) || fields::is_from_backup(checkpoint) {
        return true;
    }
    let Some(text) = checkpoint.annotations().get(ATTEMPT) else { return true };
    let Some(status) = status_of(checkpoint, text, longest) else { return false };
    checkpoint.status = Some(status);
    true
}

fn status_of(checkpoint: &Checkpoint, text: &str, longest: SignedDuration) -> Option<CheckpointStatus> {
    if text.len() > LONGEST_ANNOTATION {
        return None;
    }
    let first = serde_json::from_str(text).ok().filter(FirstAttempt::has_valid_texts)?;
    let target = fields::target(checkpoint)?;
    if !checkpoint_name::is_derived(&checkpoint.name_any(), &target) {
        return None;
    }
    let container = match target {
        CheckpointTarget::Pod { container, name, uid, image } => {
            let is_named = first.pod.name == name && first.pod.uid.as_deref() == Some(uid.as_str());
            (is_named && first.image.as_ref() == Some(&image)).then_some(container)?
        }
        CheckpointTarget::Revision { container, .. } if first.pod.uid.is_some() => container,
        CheckpointTarget::Revision { .. } | CheckpointTarget::Manual { .. } => return None,
    };
    let created = checkpoint.metadata.creation_timestamp.as_ref().map(|created| created.0)?;
    let FirstAttempt { holder, start_time, deadline, pod, workload, revision, image, image_id } = first;
    let target = AttemptTarget { pod, container, workload, revision, image, image_id };
    let latest = created.saturating_add(longest + CREATION_PRECISION).unwrap_or(Timestamp::MAX);
    // Other processes wait for as long as an attempt says that it takes, whatever the clock of its holder shows.
    let stated = deadline.0.duration_since(start_time.0).clamp(SignedDuration::ZERO, longest);
    // An earlier one says nothing, and could be a time that the API server does not accept in a status.
    let deadline = deadline.0.clamp(created, latest);
    let start = deadline.saturating_sub(stated).unwrap_or(Timestamp::MIN);
    let mut status = transitions::start_attempt(checkpoint, &target, holder, SignedDuration::ZERO, start);
    status.deadline = Some(MicroTime(deadline));
    Some(status)
}

#[cfg(test)]
mod tests;
