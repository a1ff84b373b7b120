//! What tests do with the pods of their namespace.

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
    /// Creates a pod and waits until it is on a node. With `hold` it stays there until the test writes its status.
    pub async fn scheduled(&self, wanted: &Pod) -> Pod {
        let created = self.create_object(wanted).await;
        let (pods, name) = (self.api::<Pod>(), created.name_any());
        let awaited = format!("pod `{name}` is on a node");
        self.until(&awaited, async || match pods.get(&name).await {
            Ok(pod) if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) => Ok(pod),
            Ok(_) => Err("on none".to_owned()),
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

    /// Puts a label on a pod that exists, or takes it away.
    pub async fn label_pod(&self, name: &str, key: &str, value: Option<&str>) -> Pod {
        let change = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        must("label a pod", self.api::<Pod>().patch(name, &PatchParams::default(), &change).await)
    }

    /// The names of the pods that an [object](crate::objects) of this name has made.
    pub async fn pods_of(&self, name: &str) -> BTreeSet<String> {
        let labelled = ListParams::default().labels(&format!("app={name}"));
        let listed = must("list pods", self.api::<Pod>().list(&labelled).await);
        listed.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until an object of this name has made `count` pods, and returns their names.
    pub async fn pods_made(&self, name: &str, count: usize) -> BTreeSet<String> {
        self.until(&format!("`{name}` has {count} pods"), async || {
            let pods = self.pods_of(name).await;
            if pods.len() == count { Ok(pods) } else { Err(format!("{pods:?}")) }
        })
        .await
    }

    /// Creates a pod of this name and waits until SnapHook was asked about it.
    ///
    /// What was to happen to earlier pods has happened by then, so that a test of an absence need not wait for time.
    pub async fn later_pod_is_requested(&self, name: &str) {
        self.create_object(&pod(name).labelled().build()).await;
        self.until_requested(name, 1).await;
    }

    /// How often SnapHook was asked about pods of this name so far.
    pub fn request_count(&self, pod: &str) -> usize {
        self.snaphook().requests_for(self.name(), pod).len()
    }
}
