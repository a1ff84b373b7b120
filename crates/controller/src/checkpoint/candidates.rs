//! Which pod stands for its revision: any one that is eligible now, the first by name where nothing speaks against its
//! node.
//!
//! The pod of an attempt that may have had its effect, or was tried, stays the first choice: a repeat is about the same
//! pod. One of which nobody was asked, since its node is not prepared or away, holds up no other: pods on nodes that stand
//! better come before it, and it has its turn again among those that stand alike.

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_kubernetes::cluster::{CallError, call};
use snapwatcher_kubernetes::owner::Owners;

use super::endpoint_breakers::{Breakers, Standing, Turn};
use super::preconditions::{self, Refusal};
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, PodStatus};
use snapwatcher_api::outcome::{Reason, RetryClass};
use snapwatcher_api::record_name;
use snapwatcher_backends::request::Backend;

/// What candidates are found and put in order by.
pub struct Candidates<'a> {
    pub client: &'a Client,
    pub owners: &'a Owners,
    pub backend: &'a dyn Backend,
    pub breakers: &'a Breakers,
    pub turn: &'a Turn,
}

impl Candidates<'_> {
    /// Lists the labelled pods of the namespace live and picks one of the wished revision that was not tried.
    pub async fn find(
        &self,
        record: &Checkpoint,
        wish: &CheckpointTarget,
        now: Timestamp,
    ) -> Result<Result<PodName, Refusal>, CallError> {
        let CheckpointTarget::Revision { workload, revision, .. } = wish else {
            let message = "the record is not about a revision".to_owned();
            return Ok(Err(Refusal { reason: Reason::InvalidSpec, message }));
        };
        let tried = record.status.as_ref().map(|status| status.tried_pods.as_slice()).unwrap_or_default();
        let mut candidates = labelled_pods(self.client, &record.namespace().unwrap_or_default(), revision).await?;
        candidates.retain(|pod| {
            !tried.contains(&pod.uid) && preconditions::container_now(wish, &pod.name, Some(pod)).is_ok()
        });
        let pin = Pin::of(record);
        candidates.sort_by_cached_key(|pod| {
            let standing =
                |node: &str| self.breakers.standing(self.address(&record_name::label_value(node)), self.turn, now);
            let shares = |pin: &str, node: &str| {
                let (pin, node) = (record_name::label_value(pin), record_name::label_value(node));
                self.address(&pin) == self.address(&node)
            };
            rank(pod, pin.as_ref(), standing, shares)
        });
        for pod in candidates {
            if owned(self.owners, &pod, &workload.uid).await {
                return Ok(Ok(pod.name));
            }
        }
        let message =
            format!("waiting for a pod of {} `{}`, revision {revision}, to be Ready", workload.kind, workload.name);
        Ok(Err(Refusal { reason: Reason::NotReady, message }))
    }

    fn address<'n>(&self, node: &'n str) -> Option<&'n str> {
        self.backend.address(Some(node))
    }
}

async fn owned(owners: &Owners, pod: &PodFacts, workload: &str) -> bool {
    owners.workload(pod).await.is_ok_and(|found| found.uid == workload)
}

/// The pod that a record was about before, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    pod: PodStatus,
    came: Came,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It was tried or may have had its effect: no other pod may come before it.
    Tried,
    /// Its node could not be asked.
    NobodyAsked,
    /// It waits for something else.
    Waited,
}

impl Pin {
    fn of(record: &Checkpoint) -> Option<Self> {
        let pod = record.status.as_ref()?.pod.clone()?;
        let reason = record.reason().and_then(Reason::named);
        let came = match reason.map(|reason| (reason, reason.retry_class())) {
            Some((_, RetryClass::TriedAndFailed | RetryClass::Unknown)) => Came::Tried,
            Some((Reason::NotReady, _) | (_, RetryClass::Final)) | None => Came::Waited,
            Some((_, RetryClass::NotTried)) => Came::NobodyAsked,
        };
        Some(Self { pod, came })
    }
}

/// The place of a candidate among the others: the least comes first.
fn rank(
    pod: &PodFacts,
    pin: Option<&Pin>,
    standing: impl Fn(&str) -> Standing,
    shares: impl Fn(&str, &str) -> bool,
) -> (bool, Standing, bool, PodName) {
    let node = pod.node.as_deref().unwrap_or_default();
    let is_pinned = pin.is_some_and(|pin| pin.pod.uid.as_ref() == Some(&pod.uid));
    let is_held = is_pinned && pin.is_some_and(|pin| pin.came == Came::Tried);
    let was_away = pin.is_some_and(|pin| {
        pin.came == Came::NobodyAsked && pin.pod.node.as_deref().is_some_and(|pinned| shares(pinned, node))
    });
    let told = if was_away { Standing::WasAway } else { Standing::Well };
    (!is_held, standing(node).max(told), !is_pinned, pod.name.clone())
}

/// The labelled pods of a revision as the API server lists them now; of whatever workload, since hashes may be alike.
pub async fn labelled_pods(client: &Client, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
    let pods: Api<WatchedPod> = Api::namespaced(client.clone(), namespace);
    let labelled = ListParams::default().labels(&format!("{SNAP}={OPTED_IN}"));
    let listed = call(format!("list the labelled pods of namespace `{namespace}`"), pods.list(&labelled)).await?;
    let pods = listed.items.into_iter().map(PodFacts::from);
    Ok(pods.filter(|pod| pod.revision() == revision).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus, Phase, set_conditions};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn pod(name: &str, node: &str) -> PodFacts {
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": name, "uid": name},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap();
        pod.into()
    }

    /// A record that was about pod `b` on node `n2`, with this reason.
    fn record(reason: Reason) -> Checkpoint {
        let mut record = Checkpoint::new("r", CheckpointSpec::default());
        let pod = PodStatus { name: "b".into(), uid: Some("b".into()), node: Some("n2".into()) };
        let mut status = CheckpointStatus { pod: Some(pod), ..Default::default() };
        set_conditions(&mut status.conditions, Phase::Pending, reason.as_str(), None, None, at(0));
        record.status = Some(status);
        record
    }

    /// The order of pods `a`, `b`, `c` and `d`, of which `b` and `d` share node `n2`, where nodes stand as told.
    fn order(record: Option<&Checkpoint>, standing: &[(&str, Standing)], is_one_address: bool) -> String {
        let pin = record.and_then(Pin::of);
        let mut pods = [("d", "n2"), ("c", "n3"), ("b", "n2"), ("a", "n1")].map(|(name, node)| pod(name, node));
        let of = |node: &str| standing.iter().find(|(name, _)| *name == node).map_or(Standing::Well, |(_, one)| *one);
        pods.sort_by_cached_key(|pod| rank(pod, pin.as_ref(), of, |pin, node| is_one_address || pin == node));
        pods.map(|pod| pod.name.name).concat()
    }

    #[test]
    fn a_pod_of_which_nobody_was_asked_holds_up_no_other() {
        use Reason::{
            Busy, CheckpointApiDisabled, CheckpointFailed, DiskPressure, EndpointNotFound, Interrupted, NoResponse,
            NodeNotPrepared, NotReady, PodNotOnNode, Unauthorized, Unreachable,
        };
        for reason in [
            Unreachable,
            Unauthorized,
            EndpointNotFound,
            CheckpointApiDisabled,
            PodNotOnNode,
            Busy,
            DiskPressure,
            NodeNotPrepared,
        ] {
            assert_eq!(order(Some(&record(reason)), &[], false), "acbd", "{reason}");
            assert_eq!(order(Some(&record(reason)), &[], true), "bacd", "{reason}: it is the same who is away for all");
        }
        for reason in [CheckpointFailed, NoResponse, Interrupted] {
            let away = [("n2", Standing::Away(at(9)))];
            assert_eq!(order(Some(&record(reason)), &away, false), "bacd", "{reason}: it may have had its effect");
        }
        assert_eq!(order(Some(&record(NotReady)), &[], false), "bacd");
        assert_eq!(order(None, &[], false), "abcd");
    }

    #[test]
    fn nodes_that_were_away_have_their_turn_one_after_the_other() {
        let not_prepared = record(Reason::NodeNotPrepared);
        for (standing, expected) in [
            // `c` was never asked.
            (vec![("n1", Standing::MayBeBack(at(2))), ("n2", Standing::Away(at(9)))], "cabd"),
            // Nor was it by the process that wrote the record, as far as this one knows.
            (vec![("n1", Standing::Away(at(5)))], "cbda"),
            // All were: the one that has waited longest.
            (
                vec![
                    ("n1", Standing::MayBeBack(at(4))),
                    ("n2", Standing::Away(at(9))),
                    ("n3", Standing::MayBeBack(at(2))),
                ],
                "cabd",
            ),
            (vec![("n1", Standing::Probed), ("n2", Standing::Away(at(9))), ("n3", Standing::Away(at(8)))], "cbda"),
        ] {
            assert_eq!(order(Some(&not_prepared), &standing, false), expected, "{standing:?}");
        }
    }
}
