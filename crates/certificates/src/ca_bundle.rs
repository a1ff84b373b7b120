//! The `caBundle` of a webhook configuration: what it contains and what SnapWatcher writes into it.
//!
//! SnapWatcher owns this field and no other: server-side apply of `webhooks[name].clientConfig.caBundle` under its own field
//! manager leaves everything else to the chart or the user. The applied object carries the uid that was read, so that an
//! apply never creates a configuration: the API server rejects it as "uid mismatch". It carries the resourceVersion too, so
//! that a process that was paused before the apply does not write an old bundle over a later one. When it is written is decided in
//! `ca_bundle_controller`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bundle_status::{ConfigurationKind, ConfigurationTrust};
use super::certificate_authority::CaCertificate;
use super::pem::split_certificates;

/// The owner of the field. It must not change: under another name, the old one would stay an owner of the field.
pub const FIELD_MANAGER: &str = "snapwatcher-ca-bundle";

/// What a `caBundle` has to contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CaBundle {
    /// All CAs in PEM form.
    pub(super) pem: Arc<str>,
    /// The CA in it that signed the serving certificate of this replica.
    pub(super) signing_ca: Arc<str>,
}

/// One webhook of a configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Webhook<'a> {
    pub(super) name: &'a str,
    pub(super) client: &'a WebhookClientConfig,
}

impl<'a> Webhook<'a> {
    fn ca_bundle(&self) -> Option<&'a [u8]> {
        self.client.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice())
    }

    /// The name by which the API server verifies the server that it calls.
    fn server_name(&self) -> Option<String> {
        if let Some(service) = &self.client.service {
            return Some(format!("{}.{}.svc", service.name, service.namespace));
        }
        let url: url::Url = self.client.url.as_deref()?.parse().ok()?;
        url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
    }
}

/// One of the two kinds of webhook configuration.
pub(super) trait WebhookConfiguration:
    Resource<DynamicType = (), Scope = ClusterResourceScope> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    const KIND: ConfigurationKind;

    fn webhooks(&self) -> Vec<Webhook<'_>>;
}

/// Whether the `caBundle` of each webhook is exactly this one.
pub(super) fn is_in_sync<K: WebhookConfiguration>(configuration: &K, bundle: &str) -> bool {
    configuration.webhooks().iter().all(|webhook| webhook.ca_bundle() == Some(bundle.as_bytes()))
}

/// Whether the `caBundle` of each webhook contains these CAs, perhaps beside others.
pub(super) fn trusts<K: WebhookConfiguration>(configuration: &K, certificates: &str) -> bool {
    let certificates = split_certificates(certificates);
    let contains = |bundle: &[u8]| {
        let bundle = std::str::from_utf8(bundle).unwrap_or_default();
        !certificates.is_empty() && certificates.iter().all(|certificate| bundle.contains(certificate))
    };
    configuration.webhooks().iter().all(|webhook| webhook.ca_bundle().is_some_and(contains))
}

/// Whether a `caBundle` contains a CA that SnapWatcher made after all of these: another replica knows a later Secret.
pub(super) fn is_ahead<K: WebhookConfiguration>(configuration: &K, certificates: &str) -> bool {
    let known = latest_generation(certificates);
    let webhooks = configuration.webhooks();
    let mut bundles = webhooks.iter().filter_map(|webhook| std::str::from_utf8(webhook.ca_bundle()?).ok());
    bundles.any(|bundle| latest_generation(bundle) > known)
}

/// The highest generation of the CAs that SnapWatcher made; 0 if there is none.
fn latest_generation(certificates: &str) -> u64 {
    let certificates = split_certificates(certificates);
    let parsed = certificates.iter().filter_map(|certificate| CaCertificate::parse(certificate).ok());
    parsed.map(|ca| ca.generation()).max().unwrap_or(0)
}

pub(super) fn has_webhooks<K: WebhookConfiguration>(configuration: &K) -> bool {
    !configuration.webhooks().is_empty()
}

/// What the API server verifies by: `expected` if every webhook has it, otherwise the first other `caBundle`.
pub(super) fn read_trust<K: WebhookConfiguration>(configuration: &K, expected: &Arc<str>) -> ConfigurationTrust {
    let webhooks = configuration.webhooks();
    let mut bundles = webhooks.iter().map(|webhook| webhook.ca_bundle().unwrap_or_default());
    let other = bundles.find(|bundle| *bundle != expected.as_bytes());
    let ca_bundle = other.map_or_else(|| expected.clone(), |other| String::from_utf8_lossy(other).into());
    let names: BTreeSet<String> = webhooks.iter().filter_map(Webhook::server_name).collect();
    ConfigurationTrust {
        ca_bundle,
        server_names: names.into_iter().collect(),
        generation: configuration.meta().generation,
    }
}

/// The server-side apply that puts this bundle into each webhook.
pub(super) fn apply_patch<K: WebhookConfiguration>(configuration: &K, bundle: &str) -> Value {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let entry = |webhook: &Webhook<'_>| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}});
    let meta = configuration.meta();
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
        "webhooks": configuration.webhooks().iter().map(entry).collect::<Vec<_>>(),
    })
}

impl WebhookConfiguration for MutatingWebhookConfiguration {
    const KIND: ConfigurationKind = ConfigurationKind::Mutating;

    fn webhooks(&self) -> Vec<Webhook<'_>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| Webhook { name: &webhook.name, client: &webhook.client_config }).collect()
    }
}

impl WebhookConfiguration for ValidatingWebhookConfiguration {
    const KIND: ConfigurationKind = ConfigurationKind::Validating;

    fn webhooks(&self) -> Vec<Webhook<'_>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| Webhook { name: &webhook.name, client: &webhook.client_config }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundle: &Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": "snapwatcher", "uid": "u-1", "resourceVersion": "7"},
            "webhooks": [{
                "name": "pods.snap.weaversoft.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:8443/mutate", "caBundle": bundle},
            }],
        }))
        .unwrap()
    }

    #[test]
    fn the_patch_contains_the_bundle_alone() {
        assert_eq!(
            apply_patch(&configuration(&Value::Null), "PEM"),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "snapwatcher", "uid": "u-1", "resourceVersion": "7"},
                "webhooks": [{"name": "pods.snap.weaversoft.io", "clientConfig": {"caBundle": "UEVN"}}],
            })
        );
    }

    #[test]
    fn the_server_is_verified_by_the_name_in_the_configuration() {
        for (client, expected) in [
            (json!({"url": "https://127.0.0.1:8443/mutate"}), &["127.0.0.1"][..]),
            (json!({"url": "https://[::1]:8443/mutate"}), &["::1"]),
            (json!({"url": "https://hook.example.org/mutate"}), &["hook.example.org"]),
            (json!({"service": {"name": "web", "namespace": "snap"}}), &["web.snap.svc"]),
            (json!({}), &[]),
        ] {
            let mut configuration = configuration(&Value::Null);
            configuration.webhooks.as_mut().unwrap()[0].client_config = serde_json::from_value(client).unwrap();
            assert_eq!(read_trust(&configuration, &"PEM".into()).server_names, expected);
        }
    }

    #[test]
    fn a_configuration_is_in_sync_with_the_same_bundle_only() {
        for (bundle, expected) in [(json!("UEVN"), true), (json!("b3RoZXI="), false), (json!(""), false)] {
            assert_eq!(is_in_sync(&configuration(&bundle), "PEM"), expected, "{bundle}");
        }
        assert!(!is_in_sync(&configuration(&Value::Null), "PEM"));
    }
}
