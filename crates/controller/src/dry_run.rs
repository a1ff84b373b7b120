//! Claims of back-end `log`: they create no object. The pod watch remembers them in memory and logs the block of each.

use futures::future::BoxFuture;

use snapwatcher_api::pod::PodFacts;
use snapwatcher_kubernetes::workload::WorkloadLookup;

use crate::checkpoint::claim::{ClaimError, Claimed, Claimer};

/// Claims without Checkpoints.
pub(crate) struct DryRun {
    owners: WorkloadLookup,
}

impl DryRun {
    pub(crate) fn new(owners: WorkloadLookup) -> Self {
        Self { owners }
    }
}

impl Claimer for DryRun {
    fn ready<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn claim<'a>(&'a self, pod: &'a PodFacts, _container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(async {
            let workload = self.owners.workload(pod).await?;
            Ok(Claimed::Created { checkpoint: None, workload, node: pod.node.clone().unwrap_or_default() })
        })
    }
}
