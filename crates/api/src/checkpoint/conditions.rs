//! The conditions of a Checkpoint: `Complete` and `Failed`, as those of a Job, and `Saved`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::outcome::Redacted;

use super::phase::Phase;

/// Condition type: True if the checkpoint exists.
pub const COMPLETE: &str = "Complete";
/// Condition type: True if it is final that there is no checkpoint, or that its existence is unknown.
pub const FAILED: &str = "Failed";

/// Condition type: False if no Snapshot is made of the archive, and why. While it may still be made, the condition is missing.
pub const SAVED: &str = "Saved";

/// Sets the conditions `Complete` and `Failed`. A condition whose status stays the same keeps its transition time.
pub fn set_conditions(
    conditions: &mut Vec<Condition>,
    phase: Phase,
    reason: &str,
    message: Option<&Redacted>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let failed = matches!(phase, Phase::Failed | Phase::Unknown);
    let message = message.map(ToString::to_string).unwrap_or_default();
    for (type_, holds) in [(COMPLETE, phase == Phase::Succeeded), (FAILED, failed)] {
        let status = if holds { "True" } else { "False" };
        set_condition(conditions, type_, status, reason, &message, generation, now);
    }
}

/// Sets one condition, of any resource. If its status stays the same, it keeps its transition time.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let before = conditions.iter().position(|condition| condition.type_ == type_);
    let unchanged = before.map(|at| &conditions[at]).filter(|condition| condition.status == status);
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: unchanged.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let (then, now) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let mut conditions = Vec::new();
        set_conditions(&mut conditions, Phase::InProgress, "InProgress", None, Some(1), then);
        set_conditions(&mut conditions, Phase::Succeeded, "Succeeded", None, Some(1), now);
        let set: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.last_transition_time.0)).collect();
        assert_eq!(set, [("Complete", "True", now), ("Failed", "False", then)]);
    }
}
