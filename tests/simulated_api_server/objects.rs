//! The objects that a script sends.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use snapwatcher_api::checkpoint::{
    Checkpoint, CheckpointSpec, CheckpointStatus, Phase, PodReference, PodStatus, WorkloadReference, set_conditions,
};

use crate::script::Form;

/// With more digits than are sent.
const TIME: Timestamp = Timestamp::constant(1_700_000_000, 123_456_789);

pub(crate) fn object(name: &str, form: Form) -> Checkpoint {
    let name = if matches!(form, Form::BadObjectName) { "Not_A_Name" } else { name };
    let mut object = Checkpoint::new(name, spec(form));
    // Not stored: a status is written by another call.
    object.status = Some(CheckpointStatus { attempt: 7, ..CheckpointStatus::default() });
    let label = match form {
        Form::BadLabel => "not a value",
        Form::WithLabels => "value_1",
        _ => return object,
    };
    object.metadata.labels = Some([("label".to_owned(), label.to_owned())].into());
    object.metadata.annotations = Some([("note".to_owned(), "any text".to_owned())].into());
    object
}

pub(crate) fn spec(form: Form) -> CheckpointSpec {
    let pod = PodReference { name: "web".to_owned(), uid: Some("u1".to_owned()) };
    let workload = WorkloadReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        uid: "u2".to_owned(),
    };
    let (container, revision) = (Some("app".to_owned()), Some("r1".to_owned()));
    let of_pod = CheckpointSpec { pod: Some(pod.clone()), container: container.clone(), ..CheckpointSpec::default() };
    let of_revision =
        CheckpointSpec { workload: Some(workload.clone()), revision, container, ..CheckpointSpec::default() };
    let long = |characters: usize| "e".repeat(characters);
    match form {
        Form::Pod | Form::WithLabels | Form::BadObjectName | Form::BadLabel | Form::Elsewhere => of_pod,
        Form::PodByName => CheckpointSpec { pod: Some(PodReference { uid: None, ..pod }), ..CheckpointSpec::default() },
        Form::Revision => of_revision,
        Form::LongestImage => CheckpointSpec { image: Some(long(512)), ..of_pod },
        Form::LongImage => CheckpointSpec { image: Some(long(513)), ..of_pod },
        Form::EmptyImage => CheckpointSpec { image: Some(String::new()), ..of_pod },
        Form::WorkloadWithImage => CheckpointSpec { image: Some("web:1".to_owned()), ..of_revision },
        Form::LongestContainer => CheckpointSpec { container: Some(long(63)), ..of_pod },
        Form::Empty | Form::EmptyElsewhere => CheckpointSpec::default(),
        Form::PodAndWorkload => CheckpointSpec { pod: Some(pod), ..of_revision },
        Form::WorkloadWithoutRevision => CheckpointSpec { revision: None, ..of_revision },
        Form::WorkloadWithoutContainer => CheckpointSpec { container: None, ..of_revision },
        Form::PodWithRevision => CheckpointSpec { revision: of_revision.revision, ..of_pod },
        Form::EmptyName => CheckpointSpec { pod: Some(PodReference { name: String::new(), ..pod }), ..of_pod },
        Form::LongPodName => CheckpointSpec { pod: Some(PodReference { name: long(254), ..pod }), ..of_pod },
        Form::LongPodUid => CheckpointSpec { pod: Some(PodReference { uid: Some(long(64)), ..pod }), ..of_pod },
        Form::LongContainer => CheckpointSpec { container: Some(long(64)), ..of_pod },
        Form::LongKind => {
            CheckpointSpec { workload: Some(WorkloadReference { kind: long(64), ..workload }), ..of_revision }
        }
    }
}

/// The statuses that are written. The last two are not allowed.
pub(crate) fn status(number: usize) -> Option<CheckpointStatus> {
    let in_phase = |phase: Phase, seconds: i64| {
        let now = TIME + SignedDuration::from_secs(seconds);
        let mut conditions = Vec::new();
        set_conditions(&mut conditions, phase, phase.as_str(), None, Some(1), now);
        let pod = PodStatus { name: "web".to_owned(), uid: Some("u1".to_owned()), node: None };
        let (start_time, deadline) = (Some(MicroTime(now)), Some(MicroTime(now + SignedDuration::from_secs(130))));
        CheckpointStatus {
            phase: Some(phase),
            pod: Some(pod),
            attempt: 1,
            start_time,
            deadline,
            conditions,
            ..CheckpointStatus::default()
        }
    };
    let with_message =
        |characters: usize| CheckpointStatus { message: Some("é".repeat(characters)), ..in_phase(Phase::Failed, 0) };
    let twice = || {
        let condition = Condition {
            type_: "Complete".to_owned(),
            status: "True".to_owned(),
            reason: "Any".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(TIME),
        };
        CheckpointStatus { conditions: vec![condition.clone(), condition], ..CheckpointStatus::default() }
    };
    Some(match number {
        0 => return None,
        1 => CheckpointStatus::default(),
        2 => CheckpointStatus { tried_pods: vec!["u1".to_owned()], failures: 1, ..in_phase(Phase::Pending, 0) },
        3 => in_phase(Phase::InProgress, 0),
        4 => in_phase(Phase::InProgress, 1),
        5 => CheckpointStatus { completion_time: Some(MicroTime(TIME)), ..in_phase(Phase::Succeeded, 1) },
        6 => with_message(1024),
        7 => with_message(1025),
        _ => twice(),
    })
}
