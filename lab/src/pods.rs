//! Operations of tests on the pods of their namespace.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::must::must;
use crate::namespace::Namespace;
use crate::objects::pod;
use crate::pod_status::PodStatus;

impl Namespace {
    /// Creates a pod and waits until it has a node. With `hold` it stays Pending until the test writes its status.
    pub async fn scheduled(&self, wanted: &Pod) -> Pod {
        let created = self.create_object(wanted).await;
        let (pods, name) = (self.api::<Pod>(), created.name_any());
        let awaited = format!("pod `{name}` has a node");
        self.until(&awaited, async || match pods.get(&name).await {
            Ok(pod) if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) => Ok(pod),
            Ok(_) => Err("it has none".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Creates a pod and waits until it is Ready.
    pub async fn ready_pod(&self, wanted: &Pod) -> Pod {
        let created = self.create_object(wanted).await;
        self.pod_ready(&created.name_any()).await
    }

    /// Writes the status of a pod on hold, as its kubelet would.
    pub async fn set_status(&self, pod: &Pod, status: &PodStatus) -> Pod {
        must("write the status of a pod", status.write(&self.api(), pod).await)
    }

    /// Deletes a pod and waits until it is gone.
    pub async fn delete_pod(&self, name: &str) {
        let pods = self.api::<Pod>();
        must("delete a pod", pods.delete(name, &DeleteParams::default()).await);
        let awaited = format!("pod `{name}` is gone");
        self.until(&awaited, async || match pods.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("still there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// Sets a label of an existing pod, or removes it.
    pub async fn label_pod(&self, name: &str, key: &str, value: Option<&str>) -> Pod {
        let change = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        must("label a pod", self.api::<Pod>().patch(name, &PatchParams::default(), &change).await)
    }

    /// The names of the pods that belong to the [object](crate::objects) of this name.
    pub async fn pods_of(&self, name: &str) -> BTreeSet<String> {
        let labelled = ListParams::default().labels(&format!("app={name}"));
        let listed = must("list pods", self.api::<Pod>().list(&labelled).await);
        listed.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until the object of this name has `count` pods, and returns their names.
    pub async fn pods_made(&self, name: &str, count: usize) -> BTreeSet<String> {
        self.until(&format!("`{name}` has {count} pods"), async || {
            let pods = self.pods_of(name).await;
            if pods.len() == count { Ok(pods) } else { Err(format!("{pods:?}")) }
        })
        .await
    }

    /// Creates a pod of this name and waits until SnapHook has received a request for it.
    ///
    /// By then SnapWatcher has handled everything that happened to earlier pods. So a test can check that a request was
    /// not sent, and need not wait for a fixed time.
    pub async fn later_pod_is_requested(&self, name: &str) {
        self.create_object(&pod(name).labelled().build()).await;
        self.until_requested(name, 1).await;
    }

    /// Number of requests that SnapHook has received for pods of this name.
    pub fn request_count(&self, pod: &str) -> usize {
        self.snaphook().requests_for(self.name(), pod).len()
    }

    /// The containers of pods of this name in the requests that SnapHook has received, in alphabetical order.
    pub fn requested_containers(&self, pod: &str) -> Vec<String> {
        let requests = self.snaphook().requests_for(self.name(), pod);
        let mut containers: Vec<String> =
            requests.into_iter().filter_map(|request| request.subject.container).collect();
        containers.sort();
        containers
    }
}
