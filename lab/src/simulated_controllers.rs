//! Simulates what a KUBEBUILDER_ASSETS folder lacks: controllers, scheduler and kubelets.
//!
//! A loop in this process does what the demo needs of them. It creates default service accounts, the ReplicaSet of each
//! Deployment, and the pods of ReplicaSets and StatefulSets. It binds pods to nodes, and writes the status of nodes and
//! pods. It does not know rolling updates, Jobs or garbage collection.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec, StatefulSet};
use k8s_openapi::api::core::v1::{Binding, Namespace, Node, ObjectReference, Pod, PodTemplateSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Status};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::create::create_if_missing;
use crate::fake_nodes::is_node_ready;
use crate::pod_status::PodStatus;
use crate::terminal::{error_chain, print_progress};

const INTERVAL: Duration = Duration::from_millis(200);

/// By this label a ReplicaSet of a Deployment selects its pods.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Length of the template hash, which is taken from the Deployment's UID.
const HASH_LENGTH: usize = 8;

/// The running loop. Dropping it ends the loop.
#[derive(Debug)]
pub(crate) struct SimulatedControllers(AbortHandle);

impl SimulatedControllers {
    pub(crate) fn start(client: Client) -> Self {
        let task = tokio::spawn(async move {
            let mut last = String::new();
            loop {
                if let Err(error) = reconcile(&client).await {
                    let message = error_chain(&error);
                    if message != last {
                        print_progress(&format!("The simulated controllers try again after an error: {message}"));
                    }
                    last = message;
                }
                sleep(INTERVAL).await;
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for SimulatedControllers {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn reconcile(client: &Client) -> kube::Result<()> {
    create_service_accounts(client).await?;
    let nodes = ready_nodes(client).await?;
    let all = ListParams::default();
    let mut pods: Vec<Pod> = Api::<Pod>::all(client.clone()).list(&all).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    let replica_sets = Api::<ReplicaSet>::all(client.clone()).list(&all).await?.items;
    for deployment in Api::<Deployment>::all(client.clone()).list(&all).await? {
        apply_replica_set(client, &deployment, &replica_sets).await?;
    }
    for replica_set in &replica_sets {
        scale_replica_set(client, replica_set, &pods).await?;
    }
    for stateful_set in Api::<StatefulSet>::all(client.clone()).list(&all).await? {
        scale_stateful_set(client, &stateful_set, &pods).await?;
    }
    for (index, pod) in pods.iter().enumerate() {
        run_pod(client, pod, &nodes, index).await?;
    }
    Ok(())
}

/// Pods of a namespace are rejected until its default service account exists.
async fn create_service_accounts(client: &Client) -> kube::Result<()> {
    for namespace in Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await? {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace.name_any());
        if accounts.get_opt("default").await?.is_none() {
            let metadata = ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() };
            create_if_missing(&accounts, &ServiceAccount { metadata, ..ServiceAccount::default() }).await?;
        }
    }
    Ok(())
}

/// Makes all nodes ready and returns their names.
async fn ready_nodes(client: &Client) -> kube::Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default()).await?;
    for node in listed.iter().filter(|node| !is_node_ready(node)) {
        let name = node.name_any();
        let condition =
            json!({"type": "Ready", "status": "True", "reason": "Simulated", "message": "simulated by the lab"});
        let addresses = json!([{"type": "Hostname", "address": name}]);
        let status = Patch::Merge(json!({"status": {"conditions": [condition], "addresses": addresses}}));
        nodes.patch_status(&name, &PatchParams::default(), &status).await?;
        // The API server taints every new node as not ready.
        nodes.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"taints": null}}))).await?;
    }
    Ok(listed.iter().map(ResourceExt::name_any).collect())
}

async fn apply_replica_set(client: &Client, deployment: &Deployment, existing: &[ReplicaSet]) -> kube::Result<()> {
    let Some(wanted) = replica_set_of(deployment) else { return Ok(()) };
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), &deployment.namespace().unwrap_or_default());
    let replicas = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas);
    match existing.iter().find(|set| set.namespace() == deployment.namespace() && set.name_any() == wanted.name_any()) {
        None => create_if_missing(&api, &wanted).await,
        Some(found) if replicas(found) != replicas(&wanted) => {
            let scale = Patch::Merge(json!({"spec": {"replicas": replicas(&wanted)}}));
            api.patch(&wanted.name_any(), &PatchParams::default(), &scale).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

/// The ReplicaSet of a Deployment's template.
fn replica_set_of(deployment: &Deployment) -> Option<ReplicaSet> {
    let spec = deployment.spec.clone()?;
    let hash: String = deployment.uid()?.chars().filter(char::is_ascii_alphanumeric).take(HASH_LENGTH).collect();
    let hash_label = || [(TEMPLATE_HASH.to_owned(), hash.clone())];
    let (mut selector, mut template) = (spec.selector, spec.template);
    selector.match_labels.get_or_insert_default().extend(hash_label());
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.extend(hash_label());
    let metadata = ObjectMeta {
        name: Some(format!("{}-{hash}", deployment.name_any())),
        labels: Some(labels.clone()),
        owner_references: deployment.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    let replicas = spec.replicas;
    let spec = ReplicaSetSpec { replicas, selector, template: Some(template), ..ReplicaSetSpec::default() };
    Some(ReplicaSet { metadata, spec: Some(spec), status: None })
}

async fn scale_replica_set(client: &Client, set: &ReplicaSet, pods: &[Pod]) -> kube::Result<()> {
    let (Some(owner), Some(spec)) = (set.controller_owner_ref(&()), &set.spec) else { return Ok(()) };
    let api: Api<Pod> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    let existing: Vec<&Pod> = pods.iter().filter(|pod| is_owned(pod, &owner)).collect();
    let replicas = count(spec.replicas);
    for _ in existing.len()..replicas {
        let metadata = ObjectMeta { generate_name: Some(format!("{}-", set.name_any())), ..ObjectMeta::default() };
        create_if_missing(&api, &pod_of(spec.template.as_ref(), &owner, metadata)).await?;
    }
    for pod in existing.iter().skip(replicas) {
        api.delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn scale_stateful_set(client: &Client, set: &StatefulSet, pods: &[Pod]) -> kube::Result<()> {
    let (Some(owner), Some(spec)) = (set.controller_owner_ref(&()), &set.spec) else { return Ok(()) };
    let api: Api<Pod> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    let wanted: Vec<String> =
        (0..count(spec.replicas)).map(|ordinal| format!("{}-{ordinal}", set.name_any())).collect();
    let existing: Vec<String> = pods.iter().filter(|pod| is_owned(pod, &owner)).map(ResourceExt::name_any).collect();
    for name in wanted.iter().filter(|name| !existing.contains(name)) {
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        create_if_missing(&api, &pod_of(Some(&spec.template), &owner, metadata)).await?;
    }
    for name in existing.iter().filter(|name| !wanted.contains(name)) {
        api.delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

fn pod_of(template: Option<&PodTemplateSpec>, owner: &OwnerReference, metadata: ObjectMeta) -> Pod {
    let template = template.cloned().unwrap_or_default();
    let ObjectMeta { labels, annotations, .. } = template.metadata.unwrap_or_default();
    let metadata = ObjectMeta { labels, annotations, owner_references: Some(vec![owner.clone()]), ..metadata };
    Pod { metadata, spec: template.spec, status: None }
}

/// Binds a pod to a node. Once it is bound, writes that its containers run.
async fn run_pod(client: &Client, pod: &Pod, nodes: &[String], index: usize) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if is_bound && phase == Some("Pending") {
        return PodStatus::ready(pod).write(&api, pod).await.map(drop);
    }
    if is_bound || nodes.is_empty() {
        return Ok(());
    }
    let name = pod.name_any();
    let node = nodes[index % nodes.len()].clone();
    let target = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node),
        ..ObjectReference::default()
    };
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let bound: kube::Result<Status> =
        api.create_subresource("binding", &name, &PostParams::default(), &Binding { metadata, target }).await;
    bound.map(drop)
}

fn is_owned(pod: &Pod, owner: &OwnerReference) -> bool {
    pod.owner_references().iter().any(|reference| reference.uid == owner.uid)
}

fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::objects::deployment;

    #[test]
    fn a_replica_set_selects_its_own_pods_and_names_its_deployment() {
        let mut web = deployment("web").replicas(3).labelled().build();
        web.metadata.uid = Some("1a2b3c4d-0000-0000-0000-000000000000".to_owned());
        let set = replica_set_of(&web).unwrap();
        assert_eq!(set.name_any(), "web-1a2b3c4d");
        assert_eq!(
            (set.owner_references()[0].kind.as_str(), set.owner_references()[0].controller),
            ("Deployment", Some(true))
        );
        let spec = set.spec.unwrap();
        let labels: BTreeMap<String, String> = spec.template.unwrap().metadata.unwrap().labels.unwrap();
        assert_eq!(labels.get(TEMPLATE_HASH).map(String::as_str), Some("1a2b3c4d"));
        assert!(spec.selector.match_labels.unwrap().iter().all(|(key, value)| labels.get(key) == Some(value)));
        assert_eq!(spec.replicas, Some(3));
    }

    #[test]
    fn a_pod_of_a_template_has_its_labels_and_its_owner() {
        let mut web = deployment("web").labelled().build();
        web.metadata.uid = Some("uid-1".to_owned());
        let owner = web.controller_owner_ref(&()).unwrap();
        let metadata = ObjectMeta { name: Some("web-0".to_owned()), ..ObjectMeta::default() };
        let pod = pod_of(web.spec.as_ref().map(|spec| &spec.template), &owner, metadata);
        assert_eq!(pod.name_any(), "web-0");
        assert!(is_owned(&pod, &owner) && pod.labels().contains_key(crate::webhooks::SNAP));
        assert_eq!(pod.spec.unwrap().containers.len(), 1);
    }
}
