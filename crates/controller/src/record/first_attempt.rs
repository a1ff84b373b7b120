//! The first attempt of a Checkpoint, written together with its claim: an annotation of the object that is created.
//!
//! So the request can leave after one write. The annotation counts only while the status has no phase, and the first write of
//! a status copies it. People may create Checkpoints but not write their status, so what the annotation says is
//! limited: it counts on a Checkpoint with a derived name only, it takes no longer than the longest attempt, and it ends
//! at most that long after the time at which the server created the object.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, PodStatus};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::keys::ATTEMPT;

use super::fields;
use super::transitions::{self, AttemptTarget, Holder};

/// A longer annotation is ignored. Names have at most 253 characters, images a few hundred.
const LONGEST_ANNOTATION: usize = 4096;

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
/// annotation of the first attempt is kept for as long as it counts: until a phase is written to the status.
pub(crate) fn trim_metadata(checkpoint: &mut Checkpoint) {
    let ObjectMeta { name, namespace, uid, resource_version, generation, creation_timestamp, annotations, .. } =
        std::mem::take(&mut checkpoint.metadata);
    let annotations = annotations.filter(|_| !has_phase(checkpoint));
    let attempt = annotations.and_then(|mut annotations| annotations.remove(ATTEMPT));
    // That there is one counts, although it is ignored.
    let attempt = attempt.map(|text| if text.len() > LONGEST_ANNOTATION { String::new() } else { text });
    checkpoint.metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        annotations: attempt.map(|text| [(ATTEMPT.to_owned(), text)].into()),
        ..ObjectMeta::default()
    };
}

/// Fills the status of a Checkpoint that has none from its annotation, as every reader of the object does. `longest` is how
/// long an attempt takes at most. Returns false if there is an annotation that does not count.
pub(crate) fn read(checkpoint: &mut Checkpoint, longest: SignedDuration) -> bool {
    if has_phase(checkpoint) {
        return true;
    }
    let Some(text) = checkpoint.annotations().get(ATTEMPT) else { return true };
    let Some(status) = status_of(checkpoint, text, longest) else { return false };
    checkpoint.status = Some(status);
    true
}

fn has_phase(checkpoint: &Checkpoint) -> bool {
    checkpoint.status.as_ref().is_some_and(|status| status.phase.is_some())
}

fn status_of(checkpoint: &Checkpoint, text: &str, longest: SignedDuration) -> Option<CheckpointStatus> {
    if text.len() > LONGEST_ANNOTATION {
        return None;
    }
    let first: FirstAttempt = serde_json::from_str(text).ok()?;
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
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use snapwatcher_api::checkpoint::{Phase, WorkloadReference};
    use snapwatcher_api::fixtures::{IMAGE, at, checkpoint, pod};

    const LONGEST: SignedDuration = SignedDuration::from_secs(130);

    fn holder() -> Holder {
        Holder { instance: "snapwatcher-0".into(), boot: "b1".into() }
    }

    /// A claim of pod `web` with its first attempt, created by the server at `at(0)`.
    fn claimed() -> Checkpoint {
        let (name, uid, container) = ("web".into(), "u".into(), "app".into());
        let target = CheckpointTarget::Pod { name, uid, container, image: IMAGE.into() };
        let name = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
        let mut object = checkpoint("web").named(&name).spec(|spec| *spec = (&target).into()).build();
        object.metadata.creation_timestamp = Some(Time(at(0)));
        let attempt = AttemptTarget::new(&pod("web").labeled().ready(0).facts(), "app".into(), "Deployment/web".into());
        write(&mut object, &attempt, &holder(), LONGEST, at(0));
        object
    }

    #[test]
    fn the_annotation_becomes_the_status_of_the_attempt() {
        let mut object = claimed();
        assert!(read(&mut object, LONGEST));
        let status = object.status.unwrap();
        assert_eq!((status.phase, status.attempt), (Some(Phase::InProgress), 1));
        assert_eq!(status.holder.as_deref(), Some("snapwatcher-0/b1"));
        assert_eq!(status.pod.unwrap().node.as_deref(), Some("n1"));
        assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(130)));
        assert_eq!((status.container.as_deref(), status.image.as_deref()), (Some("app"), Some(IMAGE)));
    }

    #[test]
    fn times_in_the_far_past_or_future_are_cut() {
        for year in ["9023-", "1023-"] {
            let mut object = claimed();
            let text = object.annotations()[ATTEMPT].replacen("2023-", year, if year == "9023-" { 2 } else { 1 });
            object.annotations_mut().insert(ATTEMPT.into(), text);
            assert!(read(&mut object, LONGEST));
            let status = object.status.unwrap();
            let (start, deadline) = (status.start_time.unwrap().0, status.deadline.unwrap().0);
            assert!(deadline <= at(131) && deadline.duration_since(start) <= LONGEST, "{year}: {start} to {deadline}");
        }
    }

    #[test]
    fn a_time_before_the_year_0_is_replaced_by_the_creation() {
        let mut object = claimed();
        let mut attempt: serde_json::Value = serde_json::from_str(&object.annotations()[ATTEMPT]).unwrap();
        attempt["startTime"] = "-009998-01-01T00:00:00.000000Z".into();
        attempt["deadline"] = attempt["startTime"].clone();
        object.annotations_mut().insert(ATTEMPT.into(), attempt.to_string());
        assert!(read(&mut object, LONGEST));
        let status = object.status.unwrap();
        assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(0)));
    }

    #[test]
    fn an_attempt_keeps_its_length_if_the_clock_of_its_holder_is_ahead() {
        let mut object = claimed();
        object.metadata.creation_timestamp = Some(Time(at(-60)));
        assert!(read(&mut object, LONGEST));
        let status = object.status.unwrap();
        let (start, deadline) = (status.start_time.unwrap().0, status.deadline.unwrap().0);
        assert_eq!((start, deadline.duration_since(start)), (at(-59), LONGEST));
    }

    #[test]
    fn an_annotation_of_anything_else_does_not_count() {
        let change = |change: fn(&mut Checkpoint)| {
            let mut object = claimed();
            change(&mut object);
            object
        };
        for (case, mut object) in [
            ("a name that is not derived", change(|object| object.metadata.name = Some("mine".into()))),
            ("no JSON", change(|object| drop(object.annotations_mut().insert(ATTEMPT.into(), "x".into())))),
            ("too long", change(|object| drop(object.annotations_mut().insert(ATTEMPT.into(), "x".repeat(9999))))),
            (
                "another pod",
                change(|object| {
                    let text = object.annotations()[ATTEMPT].replace("\"uid\":\"u\"", "\"uid\":\"v\"");
                    object.annotations_mut().insert(ATTEMPT.into(), text);
                }),
            ),
            (
                "another image",
                change(|object| {
                    let text = object.annotations()[ATTEMPT].replace(IMAGE, "busybox:2");
                    object.annotations_mut().insert(ATTEMPT.into(), text);
                }),
            ),
        ] {
            assert!(!read(&mut object, LONGEST) && object.status.is_none(), "{case}");
        }
    }

    #[test]
    fn an_attempt_of_a_revision_counts_under_a_derived_name_only() {
        let (revision, container) = ("r".to_owned(), "app".to_owned());
        let (api_version, kind, name) = ("apps/v1".into(), "Deployment".into(), "web".into());
        let workload = WorkloadReference { api_version, kind, name, uid: "d".into() };
        let target = CheckpointTarget::Revision { workload, revision, container };
        let derived = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
        for (name, counts) in [(derived.as_str(), true), ("mine", false)] {
            let mut object = claimed();
            object.metadata.name = Some(name.into());
            object.spec = (&target).into();
            assert_eq!(read(&mut object, LONGEST), counts, "{name}");
        }
    }

    #[test]
    fn the_metadata_that_is_not_read_is_dropped() {
        let long = "x".repeat(1 << 20);
        let mut object = claimed();
        let before = object.metadata.clone();
        object.labels_mut().insert("note".into(), long.clone());
        object.annotations_mut().insert("note".into(), long.clone());
        object.metadata.finalizers = Some(vec![long.clone()]);
        object.metadata.owner_references = Some(vec![OwnerReference { name: long.clone(), ..Default::default() }]);
        trim_metadata(&mut object);
        assert_eq!(object.metadata, before);
        object.annotations_mut().insert(ATTEMPT.into(), long);
        trim_metadata(&mut object);
        assert!(is_in(&object) && object.annotations()[ATTEMPT].is_empty());
    }

    #[test]
    fn a_status_overrules_the_annotation() {
        let mut object = claimed();
        object.status = Some(CheckpointStatus { phase: Some(Phase::Pending), ..Default::default() });
        assert!(read(&mut object, LONGEST));
        assert_eq!(object.phase(), Phase::Pending);
    }

    #[test]
    fn two_tries_to_create_an_object_differ() {
        let (first, mut second) = (claimed(), claimed());
        assert!(is_same(&first, &second));
        let attempt = AttemptTarget::new(&pod("web").facts(), "app".into(), "Deployment/web".into());
        write(&mut second, &attempt, &holder(), LONGEST, at(1));
        assert!(!is_same(&first, &second));
        assert!(!is_same(&checkpoint("web").build(), &checkpoint("web").build()), "without an attempt");
    }
}
