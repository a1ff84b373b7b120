//! The Secret of SnapWatcher's CA, which SnapWatcher fills and never creates: the lab creates it as the chart does.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::json;

use crate::create::create_if_missing;

/// The default name.
pub const CA_SECRET: &str = "snapwatcher-webhook-ca";

/// Creates the Secret without data, unless it exists.
pub async fn create_ca_secret(client: Client, namespace: &str) -> kube::Result<()> {
    let metadata = ObjectMeta { name: Some(CA_SECRET.to_owned()), ..ObjectMeta::default() };
    create_if_missing(&Api::namespaced(client, namespace), &Secret { metadata, ..Secret::default() }).await
}

/// Removes all data of the Secret, as the documentation does to replace a CA whose key was seen.
pub async fn empty_ca_secret(client: Client, namespace: &str) -> kube::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let patch = Patch::Merge(json!({"data": null}));
    secrets.patch(CA_SECRET, &PatchParams::default(), &patch).await.map(drop)
}
