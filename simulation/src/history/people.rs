//! What people, controllers and kubelets change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use kube::core::params::Preconditions;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, PodReference};
use snapwatcher_api::keys::{CONTAINERS, DELAY, MUTATED, ONCE_PER, OPTED_IN, RESTORED, SNAP};
use snapwatcher_api::pod::{PodFacts, WatchedContainer, WatchedPod, WatchedSpec, WatchedStatus};

use super::coverage::Fault;
use super::facts;
use super::setup::{NAMESPACES, NODES};
use super::time::{seconds, true_time};
use super::world::World;

/// More pods are not kept at once.
const MOST_PODS: usize = 6;

impl World {
    /// One change.
    pub(super) fn change(&mut self) {
        let pods = self.all_pods();
        let running = pods.iter().filter(|&pod| !pod.terminating && !pod.ended).cloned();
        let (starting, ready): (Vec<_>, Vec<_>) = running.partition(|pod| pod.ready_since.is_none());
        match self.random.u8(..100) {
            0..22 => self.create_pod(pods.len()),
            22..55 => self.each(&starting, |world, pod| world.set_ready(pod, true)),
            55..60 => self.each(&ready, |world, pod| world.set_ready(pod, false)),
            60..64 => self.each(&pods, Self::change_label),
            64..66 => self.each(&ready, Self::end_pod),
            66..70 => self.each(&pods, Self::update_in_place),
            70..72 => self.restart_updated(),
            72..76 => self.each(&pods, Self::delete_pod),
            76..79 => self.each(&pods, Self::remove_pod),
            79..84 => self.delete_record(),
            84..92 => self.create_manual(&pods),
            92..97 if self.setup.has_forger => self.forge(&pods),
            97 => self.change_namespace(),
            98 => self.change_quota(),
            _ => self.each(&starting, |world, pod| world.set_ready(pod, true)),
        }
    }

    pub(super) fn all_pods(&self) -> Vec<PodFacts> {
        let of = |namespace: &&str| self.server.pods_in(namespace).map(|pod| pod.facts.clone()).collect::<Vec<_>>();
        NAMESPACES.iter().flat_map(of).collect()
    }

    fn each(&mut self, pods: &[PodFacts], change: impl FnOnce(&mut Self, &PodFacts)) {
        if let Some(pod) = self.pick(pods) {
            change(self, &pod);
        }
    }

    fn create_pod(&mut self, existing: usize) {
        if existing >= MOST_PODS {
            return;
        }
        let namespace = NAMESPACES[usize::from(self.random.u8(..4) == 0)];
        let deployment = ["web", "db"][self.random.usize(..2)];
        let hash = ["1", "2"][usize::from(self.random.u8(..5) == 0)];
        let name = format!("{deployment}-{}", self.random.u8(..4));
        let has_two = self.random.u8(..4) == 0;
        let mut annotations = vec![];
        if has_two && self.random.bool() {
            annotations.push((CONTAINERS, "*"));
        }
        match self.random.u8(..6) {
            0 => annotations.push((ONCE_PER, "revision")),
            1 => annotations.push((ONCE_PER, "pod")),
            2 => annotations.push((DELAY, "5s")),
            _ => {}
        }
        let labels = [(SNAP, OPTED_IN), ("pod-template-hash", hash), (MUTATED, RESTORED)];
        let is_restored = self.random.u8(..20) == 0;
        let labels = labels.into_iter().filter(|(key, _)| is_restored || *key != MUTATED);
        let owner = OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: format!("{deployment}-{hash}"),
            uid: format!("replicaset-{namespace}-{deployment}-{hash}"),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            owner_references: (self.random.u8(..6) > 0).then(|| vec![owner]),
            ..ObjectMeta::default()
        };
        let containers = ["app", "side"].into_iter().take(1 + usize::from(has_two));
        let containers = containers
            .map(|name| WatchedContainer {
                name: name.to_owned(),
                image: Some(format!("{name}:1")),
                ..WatchedContainer::default()
            })
            .collect();
        let node_name = Some(NODES[self.random.usize(..NODES.len())].to_owned());
        let spec = WatchedSpec { containers, node_name, ..WatchedSpec::default() };
        let pod = WatchedPod { metadata, spec, status: WatchedStatus::default() };
        if let Ok(created) = self.server.create_pod(pod, true_time(self.now)) {
            self.note("people", || format!("pod {namespace}/{name} is created: {}", created.facts.uid));
            if self.random.bool() {
                self.set_ready(&created.facts, true);
            }
        }
    }

    fn set_ready(&mut self, pod: &PodFacts, is_ready: bool) {
        let name = &pod.name;
        self.note("kubelet", || format!("pod {name} is {}", if is_ready { "Ready" } else { "not Ready" }));
        drop(self.server.set_pod_ready(&name.namespace, &name.name, is_ready, true_time(self.now)));
    }

    fn change_label(&mut self, pod: &PodFacts) {
        let is_labeled = pod.labelled;
        self.note("people", || format!("pod {} loses or gets its label: {}", pod.name, !is_labeled));
        drop(self.server.change_pod(&pod.name.namespace, &pod.name.name, |object| {
            let labels = object.metadata.labels.get_or_insert_default();
            if is_labeled {
                labels.remove(SNAP)
            } else {
                labels.insert(SNAP.to_owned(), OPTED_IN.to_owned())
            };
        }));
    }

    fn update_in_place(&mut self, pod: &PodFacts) {
        // Back to an earlier one, too.
        let version = self.random.u8(1..=3);
        // Mostly a revision brings other images, but it may bring only other settings, and an image may change without one.
        let (has_images, has_revision) = [(true, true), (true, false), (false, true)][self.random.usize(..3)];
        let (images, is_restarted) = (1 + self.random.usize(..2), self.random.bool());
        self.coverage.event("updates in place");
        self.note("people", || {
            let (images, revision) = (if has_images { images } else { 0 }, if has_revision { "" } else { "not " });
            format!("pod {} is updated in place to {version}: {images} images, and {revision}its revision", pod.name)
        });
        let changed = self.server.change_pod(&pod.name.namespace, &pod.name.name, |object| {
            for container in object.spec.containers.iter_mut().take(images).filter(|_| has_images) {
                container.image = Some(format!("{}:{version}", container.name));
            }
            if has_revision {
                let labels = object.metadata.labels.get_or_insert_default();
                labels.insert("pod-template-hash".to_owned(), version.to_string());
            }
        });
        if is_restarted && changed.is_ok() && pod.ready_since.is_some() {
            self.restart_containers(pod);
            self.set_ready(pod, false);
        }
    }

    /// The kubelets restart all containers whose image was changed.
    pub(super) fn restart_updated(&mut self) {
        for pod in self.all_pods() {
            self.restart_containers(&pod);
        }
    }

    fn restart_containers(&mut self, pod: &PodFacts) {
        let before = pod.containers.clone();
        let name = &pod.name;
        let restarted = self.server.restart_updated_containers(&name.namespace, &name.name);
        if restarted.is_ok_and(|restarted| restarted.facts.containers != before) {
            self.coverage.event("restarts after an update in place");
            self.note("kubelet", || format!("pod {name} has restarted the containers with another image"));
        }
    }

    fn end_pod(&mut self, pod: &PodFacts) {
        self.coverage.event("pods that ended");
        self.note("kubelet", || format!("pod {} has ended", pod.name));
        let _ = self.server.end_pod(&pod.name.namespace, &pod.name.name);
    }

    fn delete_pod(&mut self, pod: &PodFacts) {
        self.note("people", || format!("pod {} is deleted", pod.name));
        let _ = self.server.delete_pod(&pod.name.namespace, &pod.name.name, true_time(self.now));
    }

    fn remove_pod(&mut self, pod: &PodFacts) {
        if pod.terminating || self.random.u8(..4) == 0 {
            self.note("kubelet", || format!("pod {} is gone", pod.name));
            let _ = self.server.remove_pod(&pod.name.namespace, &pod.name.name, true_time(self.now));
        }
    }

    pub(super) fn records(&self) -> Vec<std::sync::Arc<Checkpoint>> {
        self.server.list_checkpoints(None, 0, None).map(|page| page.items).unwrap_or_default()
    }

    fn delete_record(&mut self) {
        let records = self.records();
        let Some(record) = self.pick(&records) else { return };
        let key = facts::key(&record);
        self.note("people", || format!("Checkpoint {key} is deleted"));
        self.coverage.event("deleted Checkpoints");
        self.deletion_meets_calls(&key);
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        let _ = self.server.delete_checkpoint(namespace, name, &Preconditions::default());
    }

    fn deletion_meets_calls(&mut self, key: &str) {
        for process in 0..self.processes.len() {
            let generation = self.processes[process].generation;
            let seen = &self.processes[process].seen;
            let about: Vec<_> = seen.operations_about(key).collect();
            let calls =
                self.calls.iter().filter(|call| call.generation == generation && about.contains(&call.operation));
            let kinds: Vec<_> = calls.filter_map(|call| call.request.kind()).collect();
            let is_response = |due: &super::world::Due| matches!(due, super::world::Due::Response(_));
            let requests = self.timers.iter().filter(|timer| {
                timer.generation == generation && is_response(&timer.due) && about.contains(&timer.operation)
            });
            let requests = requests.map(|_| super::calls::CallKind::Backend).collect::<Vec<_>>();
            for kind in kinds.into_iter().chain(requests) {
                self.coverage.fault(Fault::RecordDeleted, kind);
            }
        }
    }

    fn create_manual(&mut self, pods: &[PodFacts]) {
        let Some(pod) = self.pick(pods) else { return };
        let uid = self.random.bool().then(|| pod.uid.clone());
        let container = self.random.bool().then(|| "app".to_owned());
        let reference = PodReference { name: pod.name.name.to_string(), uid };
        let image = match self.random.u8(..6) {
            0 => Some("app:9".to_owned()),
            1 | 2 => facts::image_of(&pod, "app").map(str::to_owned),
            _ => None,
        };
        let spec = CheckpointSpec { pod: Some(reference), container, image, ..CheckpointSpec::default() };
        let number = self.next_number("manual");
        let mut object = Checkpoint::new(&format!("manual-{number}"), spec);
        object.metadata.namespace = Some(pod.name.namespace.to_string());
        self.coverage.event("manual Checkpoints");
        self.note("people", || format!("create manual-{number} of pod {}", pod.name));
        drop(self.server.create_checkpoint(object, true_time(self.now)));
    }

    pub(super) fn next_number(&mut self, of: &str) -> u32 {
        let number = self.created.entry(of.to_owned()).or_default();
        *number += 1;
        *number
    }

    fn change_quota(&mut self) {
        let (of, long) = (self.random.usize(..NAMESPACES.len()), self.random.u64(2..120));
        self.note("people", || format!("the quota of namespace {} has no room for {long} s", NAMESPACES[of]));
        self.quota_until[of] = self.now + seconds(long);
    }

    fn change_namespace(&mut self) {
        if self.random.u8(..4) > 0 {
            return;
        }
        let namespace = NAMESPACES[1];
        self.coverage.event("changes of namespaces");
        if self.random.bool() {
            self.note("people", || format!("namespace {namespace} is being deleted"));
            self.server.terminate_namespace(namespace);
        } else {
            self.note("people", || format!("namespace {namespace} is gone and created again"));
            let _ = self.server.remove_namespace(namespace, true_time(self.now));
            self.server.create_namespace(namespace);
        }
    }
}
