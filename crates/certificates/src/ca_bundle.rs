//! What stands, and what should stand, in the `caBundle` of a webhook configuration.
//!
//! We own that one field and nothing else: server-side apply of `webhooks[name].clientConfig.caBundle` under our own
//! field manager leaves everything else to the chart or the user, and a later apply of the whole manifest keeps it. The
//! uid that was read goes along, so that a configuration deleted meanwhile is not created anew (the API server answers
//! "uid mismatch"): an uninstall stays an uninstall.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::Resource;
use kube::core::ClusterResourceScope;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bundle_status::{ConfigurationKind, ConfigurationTrust};

/// Who owns the field. Frozen: under another name the old owner would keep the field when we let go of it.
pub const FIELD_MANAGER: &str = "snapwatcher-ca-bundle";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What a configuration is to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CaBundle {
    pub(super) text: Arc<str>,
    /// The CA of the leaf that is served now, or all that it may be; nothing: not known.
    pub(super) serving: Option<Arc<str>>,
    /// Until when other CAs may stand beside it that are found there: other replicas may serve by them.
    pub(super) shared_until: Option<Instant>,
}

impl CaBundle {
    /// What is to stand in this configuration now.
    pub(super) fn wanted<K: WebhookConfiguration>(&self, configuration: &K, now: Instant) -> Arc<str> {
        if self.shared_until.is_none_or(|until| until <= now) {
            return self.text.clone();
        }
        let hooks = configuration.hooks();
        let found = hooks.iter().filter_map(|hook| std::str::from_utf8(hook.bundle()?).ok());
        let usable = found.flat_map(pem_blocks).filter(|block| is_usable(block));
        join_certificates(usable.collect::<Vec<_>>().iter().map(String::as_str).chain([&*self.text])).into()
    }
}

/// Whether it is a certificate that can be verified against.
fn is_usable(block: &str) -> bool {
    CertificateDer::from_pem_slice(block.as_bytes()).is_ok_and(|found| RootCertStore::empty().add(found).is_ok())
}

/// A webhook inside a configuration: what we read of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Webhook<'a> {
    pub(super) name: &'a str,
    pub(super) client: &'a WebhookClientConfig,
}

impl<'a> Webhook<'a> {
    fn bundle(&self) -> Option<&'a [u8]> {
        self.client.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice())
    }

    /// The name by which the API server verifies whom it calls.
    fn host(&self) -> Option<String> {
        if let Some(service) = &self.client.service {
            return Some(format!("{}.{}.svc", service.name, service.namespace));
        }
        let url: url::Url = self.client.url.as_deref()?.parse().ok()?;
        url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
    }
}

/// One of the two kinds of configuration.
pub(super) trait WebhookConfiguration:
    Resource<DynamicType = (), Scope = ClusterResourceScope> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    const KIND: ConfigurationKind;

    fn hooks(&self) -> Vec<Webhook<'_>>;
}

/// Joins certificates in PEM form: sorted, each once, so that equal sets are equal texts.
pub(super) fn join_certificates<'a>(certificates: impl IntoIterator<Item = &'a str>) -> String {
    let sorted: BTreeSet<String> = certificates.into_iter().flat_map(pem_blocks).collect();
    sorted.into_iter().collect()
}

/// The certificates of a PEM text, without what stands around them.
pub(super) fn pem_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line == BEGIN {
            open = Some(String::new());
        }
        if let Some(block) = &mut open {
            block.push_str(line);
            block.push('\n');
        }
        if line == END {
            blocks.extend(open.take());
        }
    }
    blocks
}

/// Whether each webhook of the configuration trusts exactly this bundle.
pub(super) fn is_in_sync<K: WebhookConfiguration>(configuration: &K, bundle: &str) -> bool {
    configuration.hooks().iter().all(|hook| hook.bundle() == Some(bundle.as_bytes()))
}

/// Whether each webhook of the configuration trusts these CAs, perhaps beside others.
pub(super) fn trusts<K: WebhookConfiguration>(configuration: &K, certificates: &str) -> bool {
    let certificates = pem_blocks(certificates);
    let holds = |bundle: &[u8]| {
        let bundle = std::str::from_utf8(bundle).unwrap_or_default();
        !certificates.is_empty() && certificates.iter().all(|certificate| bundle.contains(certificate))
    };
    configuration.hooks().iter().all(|hook| hook.bundle().is_some_and(holds))
}

/// Whether the configuration has webhooks: without any it is as good as none.
pub(super) fn has_webhooks<K: WebhookConfiguration>(configuration: &K) -> bool {
    !configuration.hooks().is_empty()
}

impl ConfigurationTrust {
    /// What the configuration trusts: ours, or the first of its bundles that is another.
    pub(super) fn read<K: WebhookConfiguration>(configuration: &K, ours: &Arc<str>) -> Self {
        let hooks = configuration.hooks();
        let bundles = hooks.iter().map(|hook| hook.bundle().unwrap_or_default());
        let other = bundles.into_iter().find(|bundle| *bundle != ours.as_bytes());
        let bundle = other.map_or_else(|| ours.clone(), |other| String::from_utf8_lossy(other).into());
        let hosts: BTreeSet<String> = hooks.iter().filter_map(Webhook::host).collect();
        Self { bundle, hosts: hosts.into_iter().collect(), generation: configuration.meta().generation }
    }
}

/// What to apply so that each webhook of the configuration trusts this bundle.
pub(super) fn patch<K: WebhookConfiguration>(configuration: &K, bundle: &str) -> Value {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let trusting = |hook: &Webhook<'_>| json!({"name": hook.name, "clientConfig": {"caBundle": bundle}});
    let meta = configuration.meta();
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": meta.name, "uid": meta.uid},
        "webhooks": configuration.hooks().iter().map(trusting).collect::<Vec<_>>(),
    })
}

impl WebhookConfiguration for MutatingWebhookConfiguration {
    const KIND: ConfigurationKind = ConfigurationKind::Mutating;

    fn hooks(&self) -> Vec<Webhook<'_>> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| Webhook { name: &hook.name, client: &hook.client_config }).collect()
    }
}

impl WebhookConfiguration for ValidatingWebhookConfiguration {
    const KIND: ConfigurationKind = ConfigurationKind::Validating;

    fn hooks(&self) -> Vec<Webhook<'_>> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| Webhook { name: &hook.name, client: &hook.client_config }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(content: &str) -> String {
        format!("{BEGIN}\n{content}\n{END}\n")
    }

    fn configuration(bundle: &Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": "snapwatcher", "uid": "u-1"},
            "webhooks": [{
                "name": "pods.snap.weaversoft.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:8443/mutate", "caBundle": bundle},
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_bundle_is_sorted_and_has_no_doubles() {
        let (a, b) = (certificate("AAAA"), certificate("BBBB"));
        let expected = format!("{a}{b}");
        for (case, given) in [
            ("in order", vec![a.clone(), b.clone()]),
            ("out of order", vec![b.clone(), a.clone()]),
            ("doubled", vec![b.clone(), a.clone(), b.clone()]),
            ("in one text", vec![format!("subject=CN b\n{b}\n{a}trailing\n")]),
            ("with Windows line ends", vec![b.replace('\n', "\r\n"), a.replace('\n', "\r\n")]),
        ] {
            assert_eq!(join_certificates(given.iter().map(String::as_str)), expected, "{case}");
        }
        assert_eq!(join_certificates([]), "");
    }

    #[test]
    fn what_is_applied_is_the_bundle_alone() {
        assert_eq!(
            patch(&configuration(&Value::Null), "PEM"),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "snapwatcher", "uid": "u-1"},
                "webhooks": [{"name": "pods.snap.weaversoft.io", "clientConfig": {"caBundle": "UEVN"}}],
            })
        );
    }

    #[test]
    fn whom_a_configuration_calls_is_verified_by_that_name() {
        for (client, expected) in [
            (json!({"url": "https://127.0.0.1:8443/mutate"}), &["127.0.0.1"][..]),
            (json!({"url": "https://[::1]:8443/mutate"}), &["::1"]),
            (json!({"url": "https://hook.example.org/mutate"}), &["hook.example.org"]),
            (json!({"service": {"name": "web", "namespace": "snap"}}), &["web.snap.svc"]),
            (json!({}), &[]),
        ] {
            let mut configuration = configuration(&Value::Null);
            configuration.webhooks.as_mut().unwrap()[0].client_config = serde_json::from_value(client).unwrap();
            assert_eq!(ConfigurationTrust::read(&configuration, &"PEM".into()).hosts, expected);
        }
    }

    #[test]
    fn only_the_same_bundle_is_in_sync() {
        for (bundle, expected) in [(json!("UEVN"), true), (json!("b3RoZXI="), false), (json!(""), false)] {
            assert_eq!(is_in_sync(&configuration(&bundle), "PEM"), expected, "{bundle}");
        }
        assert!(!is_in_sync(&configuration(&Value::Null), "PEM"));
    }
}
