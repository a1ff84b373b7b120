//! Which pod stands for its revision: any one that is eligible now, the first by name.

use kube::api::ListParams;
use kube::{Api, Client};

use crate::cluster::{CallError, call};
use crate::owner::Owners;
use crate::pod::{OPTED_IN, PodFacts, PodName, SNAP, WatchedPod};

use super::consent::{self, Refusal};
use super::outcome::Reason;
use super::resource::{CheckpointStatus, Wish};

/// Lists the labelled pods of the namespace live and picks one of the wished revision that was not tried.
pub async fn find(
    client: &Client,
    owners: &Owners,
    namespace: &str,
    wish: &Wish,
    status: Option<&CheckpointStatus>,
) -> Result<Result<PodName, Refusal>, CallError> {
    let tried = status.map(|status| status.tried_pods.as_slice()).unwrap_or_default();
    let pinned = status.and_then(|status| status.pod.as_ref()).and_then(|pod| pod.uid.as_ref());
    let Wish::Revision { workload, revision, .. } = wish else {
        let message = "the record is not about a revision".to_owned();
        return Ok(Err(Refusal { reason: Reason::InvalidSpec, message }));
    };
    let mut candidates = labelled_pods(client, namespace, revision).await?;
    candidates.retain(|pod| !tried.contains(&pod.uid) && consent::container_now(wish, &pod.name, Some(pod)).is_ok());
    // The one that was asked for before stays the first choice: a repeat is about the same pod.
    candidates.sort_by_key(|pod| (pinned != Some(&pod.uid), pod.name.clone()));
    for pod in candidates {
        if owners.workload(&pod).await.is_ok_and(|found| found.uid == workload.uid) {
            return Ok(Ok(pod.name));
        }
    }
    let message =
        format!("waiting for a pod of {} `{}`, revision {revision}, to be Ready", workload.kind, workload.name);
    Ok(Err(Refusal { reason: Reason::NotReady, message }))
}

/// The labelled pods of a revision as the API server lists them now; of whatever workload, since hashes may be alike.
pub async fn labelled_pods(client: &Client, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
    let pods: Api<WatchedPod> = Api::namespaced(client.clone(), namespace);
    let labelled = ListParams::default().labels(&format!("{SNAP}={OPTED_IN}"));
    let listed = call(format!("list the labelled pods of namespace `{namespace}`"), pods.list(&labelled)).await?;
    let pods = listed.items.into_iter().map(PodFacts::from);
    Ok(pods.filter(|pod| pod.revision() == revision).collect())
}
