//! The rules that Checkpoints have to follow: those of the definition (`snapwatcher crd` prints them), of metadata,
//! and the precision of times.

use jiff::{Timestamp, TimestampRound, Unit};
use kube::core::ObjectMeta;
use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus};

use super::rejection::Rejection;

/// The rules of a spec: the lengths of its texts, and the CEL rules without the one that forbids changes.
pub(super) fn check_spec(spec: &CheckpointSpec) -> Result<(), Rejection> {
    let CheckpointSpec { pod, workload, revision, container, image } = spec;
    let mut texts = vec![(revision.as_deref(), 253), (container.as_deref(), 63), (image.as_deref(), 512)];
    if let Some(pod) = pod {
        texts.extend([(Some(pod.name.as_str()), 253), (pod.uid.as_deref(), 63)]);
    }
    if let Some(workload) = workload {
        texts.extend([
            (Some(workload.api_version.as_str()), 317),
            (Some(workload.kind.as_str()), 63),
            (Some(workload.name.as_str()), 253),
            (Some(workload.uid.as_str()), 63),
        ]);
    }
    let is_wrong = |(text, longest): &(Option<&str>, usize)| {
        text.is_some_and(|text| text.is_empty() || text.chars().count() > *longest)
    };
    let rules = [
        (!texts.iter().any(is_wrong), "a text of the spec is empty or too long"),
        (pod.is_some() != workload.is_some(), "give either pod or workload"),
        (workload.is_none() || (revision.is_some() && container.is_some()), "workload needs revision and container"),
        (revision.is_none() || workload.is_some(), "revision goes with workload"),
        (image.is_none() || workload.is_none(), "image goes with pod"),
    ];
    check(&rules)
}

/// The rules of a status. Its list of conditions is atomic, so a type may be repeated.
pub(super) fn check_status(status: &CheckpointStatus) -> Result<(), Rejection> {
    let is_short = status.message.as_ref().is_none_or(|message| message.chars().count() <= 1024);
    check(&[(is_short, "the message is too long")])
}

/// The rules of a name and of labels.
pub(super) fn check_metadata(metadata: &ObjectMeta) -> Result<(), Rejection> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let values = metadata.labels.iter().flat_map(|labels| labels.values());
    let rules = [
        (name.len() <= 253 && name.split('.').all(is_name_part), "the name is no DNS subdomain"),
        (values.into_iter().all(|value| is_label_value(value)), "the value of a label is not allowed"),
    ];
    check(&rules)
}

fn check(rules: &[(bool, &'static str)]) -> Result<(), Rejection> {
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(Rejection::Invalid(rule)))
}

fn is_name_part(part: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(is_edge) && part.ends_with(is_edge) && part.chars().all(|c| is_edge(c) || c == '-')
}

fn is_label_value(value: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    let is_inner = |c: char| is_edge(c) || "-_.".contains(c);
    value.is_empty()
        || (value.len() <= 63 && value.starts_with(is_edge) && value.ends_with(is_edge) && value.chars().all(is_inner))
}

/// A status with its times as they are sent: those of conditions in seconds, the others in microseconds.
pub(super) fn as_sent(mut status: CheckpointStatus) -> CheckpointStatus {
    let CheckpointStatus { start_time, deadline, next_attempt_time, completion_time, conditions, .. } = &mut status;
    for time in [start_time, deadline, next_attempt_time, completion_time].into_iter().flatten() {
        time.0 = cut(time.0, Unit::Microsecond);
    }
    for condition in conditions {
        condition.last_transition_time.0 = in_seconds(condition.last_transition_time.0);
    }
    status
}

/// A time with the precision of `metadata.creationTimestamp`.
pub(super) fn in_seconds(time: Timestamp) -> Timestamp {
    cut(time, Unit::Second)
}

fn cut(time: Timestamp, unit: Unit) -> Timestamp {
    time.round(TimestampRound::new().smallest(unit).mode(jiff::RoundMode::Trunc)).unwrap_or(time)
}
