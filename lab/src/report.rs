//! Prints what a person needs to understand a failed test, before its namespace is deleted.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::terminal::print_result;

/// The API of Checkpoints, without SnapWatcher's types, because the lab must not depend on the product.
pub fn checkpoints(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("snap.weaversoft.io", "v1alpha1", "Checkpoint");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&kind, "checkpoints"))
}

/// Prints the pods, Checkpoints and Events of a namespace.
pub(crate) async fn print(client: &Client, namespace: &str) {
    print_result(&format!("--- pods of {namespace}"));
    let everything = ListParams::default();
    match Api::<Pod>::namespaced(client.clone(), namespace).list(&everything).await {
        Ok(pods) => pods.iter().for_each(print_pod),
        Err(error) => print_result(&format!("  could not list them: {error}")),
    }
    print_result("--- Checkpoints");
    match checkpoints(client.clone(), namespace).list(&everything).await {
        Ok(list) => list.iter().for_each(print_checkpoint),
        Err(error) => print_result(&format!("  could not list them: {error}")),
    }
    print_result("--- Events");
    match Api::<Event>::namespaced(client.clone(), namespace).list(&everything).await {
        Ok(events) => events.iter().for_each(print_event),
        Err(error) => print_result(&format!("  could not list them: {error}")),
    }
}

fn print_pod(pod: &Pod) {
    let status = pod.status.clone().unwrap_or_default();
    let conditions: Vec<String> = status
        .conditions
        .into_iter()
        .flatten()
        .map(|condition| format!("{}={}", condition.type_, condition.status))
        .collect();
    print_result(&format!(
        "  {} uid={} phase={} deleted={} labels={:?} annotations={:?} {}",
        pod.name_any(),
        pod.uid().unwrap_or_default(),
        status.phase.unwrap_or_default(),
        pod.metadata.deletion_timestamp.is_some(),
        pod.labels(),
        pod.annotations(),
        conditions.join(" "),
    ));
}

fn print_checkpoint(checkpoint: &DynamicObject) {
    let part = |name: &str| checkpoint.data.get(name).cloned().unwrap_or(Value::Null);
    print_result(&format!("  {} spec={} status={}", checkpoint.name_any(), part("spec"), part("status")));
}

fn print_event(event: &Event) {
    let object = &event.involved_object;
    print_result(&format!(
        "  {}/{}: {} {}",
        object.kind.as_deref().unwrap_or_default(),
        object.name.as_deref().unwrap_or_default(),
        event.reason.as_deref().unwrap_or_default(),
        event.message.as_deref().unwrap_or_default(),
    ));
}
