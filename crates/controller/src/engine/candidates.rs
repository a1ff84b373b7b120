//! Which pod of a revision is checkpointed: one that is eligible now, on the node whose endpoint is in the best health.
//!
//! The pod of an attempt that was sent stays the first choice, since a repeated request must be about the same pod. A pod
//! whose attempt was not sent, because its node is not prepared or cannot be reached, comes after pods on healthier nodes.

use jiff::Timestamp;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, PodStatus};
use snapwatcher_api::checkpoint_name::label_value;
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_api::outcome::{Reason, RetryClass};
use snapwatcher_api::pod::{PodFacts, PodName};

use super::endpoint_breakers::EndpointHealth;
use super::pod_entry::PodEntry;

/// What one look at the pods of a Checkpoint shows.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The container that the Checkpoint names exists, and the name is one of the first, so that SnapWatcher can have created the
    /// Checkpoint.
    pub(super) has_container: bool,
    /// The first choice for the Checkpoint of a revision.
    pub(super) first: Option<PodName>,
}

/// The first choice among the pods of its revision for a Checkpoint. A pod whose workload is not known yet may belong to it.
/// Nodes are passed on as label values.
pub(super) fn of_revision<'p>(
    checkpoint: &Checkpoint,
    target: &CheckpointTarget,
    pods: impl Iterator<Item = &'p PodEntry>,
    health: impl Fn(&str) -> EndpointHealth,
    same_endpoint: impl Fn(&str, &str) -> bool,
    now: Timestamp,
) -> Candidates {
    let CheckpointTarget::Revision { workload, container, .. } = target else { return Candidates::default() };
    let tried = checkpoint.status.as_ref().map(|status| status.tried_pods.as_slice()).unwrap_or_default();
    let previous = PreviousPod::of(checkpoint);
    let mut has_container = false;
    let pods = pods.inspect(|entry| {
        let is_of_workload = entry.workload_uid.as_deref() == Some(&workload.uid);
        has_container |= is_of_workload && entry.pod.has_container(container);
    });
    let untried = pods.map(|entry| &entry.pod).filter(|pod| !tried.contains(&pod.uid));
    let eligible = untried.filter(|pod| eligibility::check(Some(pod), Choice::Target(target), now).is_ok());
    let health = |node: &str| health(&label_value(node));
    let same_endpoint = |a: &str, b: &str| same_endpoint(&label_value(a), &label_value(b));
    let first = eligible.min_by_key(|pod| rank(pod, previous.as_ref(), &health, &same_endpoint));
    let first = first.map(|pod| pod.name.clone());
    Candidates { has_container, first }
}

/// The pod that was chosen before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PreviousPod {
    pod: PodStatus,
    result: PreviousResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreviousResult {
    /// The request was sent, or may have been. No other pod may come before this one.
    Attempted,
    /// The endpoint of its node could not be reached, or its node is not prepared.
    NotSent,
    /// It waits for something else.
    Waited,
}

impl PreviousPod {
    fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let pod = checkpoint.status.as_ref()?.pod.clone()?;
        let reason = checkpoint.reason().and_then(Reason::named);
        let result = match reason.map(|reason| (reason, reason.retry_class())) {
            Some((_, RetryClass::TriedAndFailed | RetryClass::Unknown)) => PreviousResult::Attempted,
            Some((Reason::NotReady | Reason::NotSent, _) | (_, RetryClass::Final)) | None => PreviousResult::Waited,
            Some((_, RetryClass::NotTried)) => PreviousResult::NotSent,
        };
        Some(Self { pod, result })
    }
}

/// The sort key of a candidate: the least comes first.
fn rank(
    pod: &PodFacts,
    previous: Option<&PreviousPod>,
    health: &impl Fn(&str) -> EndpointHealth,
    same_endpoint: &impl Fn(&str, &str) -> bool,
) -> (bool, EndpointHealth, bool, PodName) {
    let node = pod.node.as_deref().unwrap_or_default();
    let is_previous = previous.is_some_and(|previous| previous.pod.uid.as_ref() == Some(&pod.uid));
    let is_required = is_previous && previous.is_some_and(|previous| previous.result == PreviousResult::Attempted);
    let was_unreachable = previous.is_some_and(|previous| {
        let earlier = previous.pod.node.as_deref();
        previous.result == PreviousResult::NotSent && earlier.is_some_and(|earlier| same_endpoint(earlier, node))
    });
    let reported = if was_unreachable { EndpointHealth::ReportedUnreachable } else { EndpointHealth::Healthy };
    (!is_required, health(node).max(reported), !is_previous, pod.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::checkpoint::Phase;
    use snapwatcher_api::fixtures::{checkpoint, pod};

    fn at(seconds: u64) -> std::time::Duration {
        std::time::Duration::from_secs(seconds)
    }

    /// A Checkpoint whose last attempt, on pod `b` and node `n2`, ended with this reason.
    fn tried_on_b(reason: Reason) -> Checkpoint {
        let pod = PodStatus { name: "b".into(), uid: Some("b".into()), node: Some("n2".into()) };
        checkpoint("b").reason(Phase::Pending, reason).status(|status| status.pod = Some(pod)).build()
    }

    /// The order of pods `a`, `b`, `c` and `d`, of which `b` and `d` are on node `n2`.
    fn order(checkpoint: Option<&Checkpoint>, health: &[(&str, EndpointHealth)], is_one_endpoint: bool) -> String {
        let previous = checkpoint.and_then(PreviousPod::of);
        let mut pods = [("d", "n2"), ("c", "n3"), ("b", "n2"), ("a", "n1")]
            .map(|(name, node)| pod(name).uid(name).node(node).facts());
        let of = |node: &str| {
            health.iter().find(|(name, _)| *name == node).map_or(EndpointHealth::Healthy, |(_, health)| *health)
        };
        pods.sort_by_cached_key(|pod| rank(pod, previous.as_ref(), &of, &|a, b| is_one_endpoint || a == b));
        pods.map(|pod| pod.name.name).concat()
    }

    #[test]
    fn a_pod_whose_attempt_was_not_sent_comes_after_pods_of_other_endpoints() {
        use Reason::{
            Busy, CheckpointApiDisabled, CheckpointFailed, DiskPressure, EndpointNotFound, Interrupted, NoResponse,
            NodeNotPrepared, NotReady, NotSent, PodNotOnNode, SnapHookUntrusted, Unauthorized, Unreachable,
        };
        for reason in [
            Unreachable,
            SnapHookUntrusted,
            Unauthorized,
            EndpointNotFound,
            CheckpointApiDisabled,
            PodNotOnNode,
            Busy,
            DiskPressure,
            NodeNotPrepared,
        ] {
            assert_eq!(order(Some(&tried_on_b(reason)), &[], false), "acbd", "{reason}");
            assert_eq!(order(Some(&tried_on_b(reason)), &[], true), "bacd", "{reason}: all have the same endpoint");
        }
        for reason in [CheckpointFailed, NoResponse, Interrupted] {
            let unreachable = [("n2", EndpointHealth::Unreachable(at(9)))];
            assert_eq!(order(Some(&tried_on_b(reason)), &unreachable, false), "bacd", "{reason}: it was sent");
        }
        for reason in [NotReady, NotSent] {
            assert_eq!(order(Some(&tried_on_b(reason)), &[], false), "bacd", "{reason}");
        }
        assert_eq!(order(None, &[], false), "abcd");
    }

    #[test]
    fn unreachable_nodes_are_probed_one_after_another() {
        use EndpointHealth::{ProbeDue, Probing, Unreachable};
        let not_prepared = tried_on_b(Reason::NodeNotPrepared);
        for (health, expected) in [
            // The node of `c` was never tried.
            (vec![("n1", ProbeDue(at(2))), ("n2", Unreachable(at(9)))], "cabd"),
            // This process knows nothing of n2 but what the status says.
            (vec![("n1", Unreachable(at(5)))], "cbda"),
            // All were tried: the one that has waited longest comes first.
            (vec![("n1", ProbeDue(at(4))), ("n2", Unreachable(at(9))), ("n3", ProbeDue(at(2)))], "cabd"),
            (vec![("n1", Probing), ("n2", Unreachable(at(9))), ("n3", Unreachable(at(8)))], "cbda"),
        ] {
            assert_eq!(order(Some(&not_prepared), &health, false), expected, "{health:?}");
        }
    }
}
