//! The keys of all namespaces, in one Secret that the chart creates empty: the key of the data is the namespace.
//!
//! The leader reads a key when it creates a Snapshot, keeps only the public half, and clears the rest. Who deletes the entry of a
//! namespace makes its Snapshots in the registry unreadable; the next Snapshot of the namespace gets a new key.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use zeroize::Zeroize as _;

use snapwatcher_kubernetes::cluster::{CallError, call};

use crate::access::Access;
use crate::key::{NamespaceKey, NoKey};
use crate::metrics::SnapshotMetrics;

/// How often a key is created again after another replica has changed the Secret.
const MOST_TRIES: usize = 3;

/// Where the keys are.
#[derive(Clone)]
pub(crate) struct NamespaceKeys {
    secrets: Api<Secret>,
    namespace: String,
    name: String,
    metrics: SnapshotMetrics,
}

/// Why there is no key for a namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(
        "Secret `{namespace}/{name}` for the keys of Snapshots does not exist. Create it empty, as the chart does, or set \
         --snapshot-encryption none"
    )]
    Missing { namespace: String, name: String },
    #[error(
        "the entry `{entry}` of Secret `{secret}` is not a key of Snapshots: {source}. Delete the entry, and a new key is created"
    )]
    Unusable { entry: String, secret: String, source: NoKey },
}

impl NamespaceKeys {
    pub(crate) fn new(access: &Access, namespace: &str, name: &str, metrics: SnapshotMetrics) -> Self {
        let secrets = Api::namespaced(access.client().clone(), namespace);
        Self { secrets, namespace: namespace.to_owned(), name: name.to_owned(), metrics }
    }

    /// The public half of the key of a namespace, which is created if there is none.
    pub(crate) async fn recipient(&self, namespace: &str) -> Result<String, KeyError> {
        let mut tries = 1;
        loop {
            let (found, version) = self.read(namespace).await?;
            if let Some(recipient) = found {
                return Ok(recipient);
            }
            match self.create(namespace, &version).await {
                Ok(recipient) => return Ok(recipient),
                Err(error) if error.is_conflict() && tries < MOST_TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The public half, if there is a key, and the version of the Secret.
    async fn read(&self, namespace: &str) -> Result<(Option<String>, String), KeyError> {
        let what = format!("read Secret `{}/{}`", self.namespace, self.name);
        let Some(secret) = call(what, self.secrets.get_opt(&self.name)).await? else {
            return Err(KeyError::Missing { namespace: self.namespace.clone(), name: self.name.clone() });
        };
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        let found = recipient_in(secret, namespace).map_err(|source| KeyError::Unusable {
            entry: namespace.to_owned(),
            secret: format!("{}/{}", self.namespace, self.name),
            source,
        })?;
        Ok((found, version))
    }

    /// Adds a key, if the Secret still has that version.
    async fn create(&self, namespace: &str, version: &str) -> Result<String, CallError> {
        let key = NamespaceKey::generate();
        let mut patch = added(namespace, version, &key);
        let what = format!("add the key of namespace `{namespace}` to Secret `{}/{}`", self.namespace, self.name);
        let written = async {
            self.secrets.patch_metadata(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
        };
        let written = call(what, written).await;
        if let Some(serde_json::Value::String(secret)) = patch.pointer_mut(&format!("/data/{namespace}")) {
            secret.zeroize();
        }
        written?;
        self.metrics.key_created();
        tracing::info!(
            namespace,
            recipient = key.recipient(),
            "Created the key of the Snapshots of namespace `{namespace}`"
        );
        Ok(key.recipient())
    }
}

/// The merge patch that adds a key. With the version it is a compare-and-swap: two leaders never replace each other's key.
fn added(namespace: &str, version: &str, key: &NamespaceKey) -> serde_json::Value {
    let secret = ByteString(key.secret().to_vec());
    let patch = json!({"metadata": {"resourceVersion": version}, "data": {namespace: secret}});
    let ByteString(mut bytes) = secret;
    bytes.zeroize();
    patch
}

/// The public half of the key of a namespace in that Secret. All keys in it are cleared.
fn recipient_in(secret: Secret, namespace: &str) -> Result<Option<String>, NoKey> {
    let mut data = secret.data.unwrap_or_default();
    let recipient = data.get(namespace).map(|found| NamespaceKey::parse(&found.0).map(|key| key.recipient()));
    for ByteString(bytes) in data.values_mut() {
        bytes.zeroize();
    }
    recipient.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, Vec<u8>)]) -> Secret {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.clone()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn each_namespace_has_a_key_of_its_own() {
        let (shop, blog) = (NamespaceKey::generate(), NamespaceKey::generate());
        let keys = || secret(&[("shop", shop.secret().to_vec()), ("blog", blog.secret().to_vec())]);
        assert_eq!(recipient_in(keys(), "shop"), Ok(Some(shop.recipient())));
        assert_eq!(recipient_in(keys(), "blog"), Ok(Some(blog.recipient())));
        assert_eq!(recipient_in(keys(), "other"), Ok(None));
        assert_eq!(recipient_in(Secret::default(), "shop"), Ok(None));
        assert_eq!(recipient_in(secret(&[("shop", b"x".to_vec())]), "shop"), Err(NoKey));
    }

    #[test]
    fn a_key_is_added_to_the_version_that_was_read_and_no_other_key_is_written() {
        let key = NamespaceKey::generate();
        let patch = added("shop", "7", &key);
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
        let data = patch["data"].as_object().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["shop"]);
        let ByteString(stored) = serde_json::from_value(data["shop"].clone()).unwrap();
        assert_eq!(NamespaceKey::parse(&stored).unwrap().recipient(), key.recipient());
    }
}
