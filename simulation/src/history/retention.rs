//! Retention, by a simple rule: finished Checkpoints whose pods are gone are deleted, some at a time.

use std::collections::HashSet;

use kube::core::params::Preconditions;
use snapwatcher_api::checkpoint::CheckpointTarget;
use snapwatcher_controller::Input;

use super::facts;
use super::server_calls::workload_of;
use super::world::World;

impl World {
    pub(super) fn retain(&mut self, process: usize, known_pods: &HashSet<String>) {
        self.coverage.event("rounds of retention");
        if !self.processes[process].leads {
            return self.violate("retention without leading", || format!("{} known pods", known_pods.len()));
        }
        for record in self.records() {
            let (Some(target), true) = (facts::target(&record), record.phase().is_final()) else { continue };
            let namespace = record.metadata.namespace.clone().unwrap_or_default();
            let is_gone = match &target {
                CheckpointTarget::Pod { name, uid, .. } => {
                    !known_pods.contains(uid)
                        && self.server.pod(&namespace, name).map_or(true, |pod| pod.facts.uid != *uid)
                }
                CheckpointTarget::Manual { name, .. } => self.server.pod(&namespace, name).is_err(),
                CheckpointTarget::Revision { workload, revision, .. } => {
                    let mut pods = self.server.labeled_pods_of(&namespace, revision);
                    !pods.any(|pod| workload_of(&pod.facts).uid == workload.uid)
                }
            };
            let name = record.metadata.name.clone().unwrap_or_default();
            if is_gone && self.random.bool() {
                self.note_of(process, || format!("retention deletes {namespace}/{name}"));
                let _ = self.server.delete_checkpoint(&namespace, &name, &Preconditions::default());
            }
        }
        self.processes[process].inbox.push_back(Input::Retained);
    }
}
