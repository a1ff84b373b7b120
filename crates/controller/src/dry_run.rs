//! Back-end `log`: nobody is asked. A claim is only remembered by the watch, in memory, and the block is the whole
//! effect: a dry run, and what the first SnapWatcher did without an API URL.

use futures::future::BoxFuture;

use crate::checkpoint::claim::{Claim, ClaimError, Claimed};
use snapwatcher_api::pod::PodFacts;
use snapwatcher_kubernetes::workload::WorkloadLookup;

/// Claims without a record.
pub struct DryRun {
    owners: WorkloadLookup,
}

impl DryRun {
    pub fn new(owners: WorkloadLookup) -> Self {
        Self { owners }
    }
}

impl Claim for DryRun {
    fn ready<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn claim<'a>(&'a self, pod: &'a PodFacts, _container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(async {
            let workload = self.owners.workload(pod).await?;
            Ok(Claimed::New { record: None, workload, node: pod.node.clone().unwrap_or_default() })
        })
    }
}
