//! The status of a pod on hold, which the test writes in place of a kubelet.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// A builder of pod statuses. By default the pod is Running and Ready and all containers have started.
#[derive(Clone, Debug)]
pub struct PodStatus {
    phase: String,
    ready: bool,
    ready_since: Timestamp,
    started: Option<bool>,
    containers: Vec<(String, Running)>,
    /// The init containers that run beside the others.
    sidecars: Vec<(String, Running)>,
    container_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Yes,
    Waiting,
    Terminated,
}

impl PodStatus {
    /// The status of a pod that has just become ready.
    pub fn ready(pod: &Pod) -> Self {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let init_containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let sidecars = init_containers.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        Self {
            phase: "Running".to_owned(),
            ready: true,
            ready_since: Timestamp::now(),
            started: Some(true),
            containers: containers.map(|container| (container.name.clone(), Running::Yes)).collect(),
            sidecars: sidecars.map(|container| (container.name.clone(), Running::Yes)).collect(),
            container_id: None,
        }
    }

    /// The status of a pod whose containers run but are not ready.
    pub fn not_ready(pod: &Pod) -> Self {
        Self { ready: false, ..Self::ready(pod) }
    }

    /// The time of the Ready condition's last change. The default is now.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.ready_since = time;
        self
    }

    pub fn phase(mut self, phase: &str) -> Self {
        phase.clone_into(&mut self.phase);
        self
    }

    /// The ID of each container in its runtime. A restarted container has another one.
    pub fn container_id(mut self, id: &str) -> Self {
        self.container_id = Some(format!("containerd://{id}"));
        self
    }

    /// Sets `started` of all containers to false, as before a startup probe has passed.
    pub fn not_started(mut self) -> Self {
        self.started = Some(false);
        self
    }

    /// Leaves `started` out, which the API allows.
    pub fn without_started(mut self) -> Self {
        self.started = None;
        self
    }

    /// Sets this container's state to waiting for its image.
    pub fn waiting(self, container: &str) -> Self {
        self.with(container, Running::Waiting)
    }

    /// Sets this container's state to terminated.
    pub fn terminated(self, container: &str) -> Self {
        self.with(container, Running::Terminated)
    }

    fn with(mut self, container: &str, running: Running) -> Self {
        for (name, state) in self.containers.iter_mut().chain(&mut self.sidecars) {
            if name == container {
                *state = running;
            }
        }
        self
    }

    /// Writes the status of `pod` to the API server and returns the pod as stored.
    pub async fn write(&self, pods: &Api<Pod>, pod: &Pod) -> kube::Result<Pod> {
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(self.patch())).await
    }

    fn patch(&self) -> Value {
        let since = self.ready_since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let condition = |kind: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            json!({"type": kind, "status": status, "lastTransitionTime": since})
        };
        let statuses = |containers: &[(String, Running)]| -> Vec<Value> {
            containers.iter().map(|(name, running)| self.container(name, *running, &since)).collect()
        };
        json!({"status": {
            "phase": self.phase,
            "startTime": since,
            "conditions": [
                condition("PodScheduled", true),
                condition("Initialized", true),
                condition("ContainersReady", self.ready),
                condition("Ready", self.ready),
            ],
            "containerStatuses": statuses(&self.containers),
            "initContainerStatuses": statuses(&self.sidecars),
        }})
    }

    fn container(&self, name: &str, running: Running, since: &str) -> Value {
        let state = match running {
            Running::Yes => json!({"running": {"startedAt": since}}),
            Running::Waiting => json!({"waiting": {"reason": "ImagePullBackOff"}}),
            Running::Terminated => json!({"terminated": {"exitCode": 1, "startedAt": since, "finishedAt": since}}),
        };
        let image = format!("registry.invalid/{name}:1");
        let mut status = json!({
            "name": name,
            "image": image,
            "imageID": format!("{image}@lab"),
            "ready": self.ready && running == Running::Yes,
            "restartCount": 0,
            "state": state,
        });
        if let Some(id) = &self.container_id {
            status["containerID"] = json!(id);
        }
        if let Some(started) = self.started {
            status["started"] = json!(started && running == Running::Yes);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::pod;

    #[test]
    fn a_ready_status_has_what_a_kubelet_writes() {
        let patch = PodStatus::ready(&pod("web").containers(["a", "b"]).build()).patch();
        assert_eq!(patch["status"]["conditions"][3]["status"], json!("True"));
        assert_eq!(patch["status"]["containerStatuses"][1]["name"], json!("b"));
        assert_eq!(patch["status"]["containerStatuses"][1]["started"], json!(true));
    }

    #[test]
    fn a_container_can_differ_from_the_others() {
        let built = pod("web").containers(["a", "b"]).build();
        let patch = PodStatus::ready(&built).waiting("b").patch();
        assert_eq!(patch["status"]["containerStatuses"][0]["ready"], json!(true));
        assert_eq!(patch["status"]["containerStatuses"][1]["started"], json!(false));
        let patch = PodStatus::not_ready(&built).without_started().patch();
        assert_eq!(patch["status"]["containerStatuses"][0].get("started"), None);
    }
}
