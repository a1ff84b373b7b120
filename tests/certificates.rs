//! SnapWatcher keeps the caBundle in the webhook configurations of a real API server, and changes no other field.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lab::webhooks::{self, Scope};
use lab::{CA_SECRET, Namespace, create_ca_secret, in_namespace};
use serde_json::{Value, json};
use snapwatcher_certificates::{
    BundleStatus, CertificateMetrics, CertificateSettings, CertificateTimings, Certificates, ConfigurationKind,
    FIELD_MANAGER, TlsSource,
};
use snapwatcher_kubernetes::cluster::{Cluster, WATCH_TIMEOUT};
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// No server listens there: these tests read configurations and make no webhook calls.
const ADDRESS: &str = "127.0.0.1:9";

/// The two configurations of a test, named like its namespace.
struct Configurations {
    name: String,
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
}

impl Configurations {
    fn of(namespace: &Namespace) -> Self {
        let client = namespace.client();
        Self { name: namespace.name().to_owned(), mutating: Api::all(client.clone()), validating: Api::all(client) }
    }

    fn wanted(&self) -> MutatingWebhookConfiguration {
        webhooks::mutating(&self.name, &Scope::Namespace(self.name.clone()), ADDRESS)
    }

    async fn create(&self) {
        self.create_mutating().await;
        let validating = webhooks::validating(&self.name, &Scope::Namespace(self.name.clone()), ADDRESS);
        self.validating.create(&PostParams::default(), &validating).await.unwrap();
    }

    async fn create_mutating(&self) {
        self.mutating.create(&PostParams::default(), &self.wanted()).await.unwrap();
    }

    async fn delete_mutating(&self) {
        self.mutating.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    /// Removes the bundle, as a user with an editor would.
    async fn remove_bundle(&self) {
        let removal = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
        let patch = Patch::Json::<()>(serde_json::from_value(removal).unwrap());
        self.mutating.patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn mutating_bundle(&self) -> Option<String> {
        let found = self.mutating.get_opt(&self.name).await.unwrap()?;
        let bundle = found.webhooks?.first()?.client_config.ca_bundle.clone()?;
        Some(String::from_utf8(bundle.0).unwrap())
    }

    async fn until_bundle(&self) -> String {
        lab::until("the configuration has a caBundle", async || self.mutating_bundle().await).await
    }
}

/// Runs the service with this client during `scenario`.
async fn run_with<S: Future<Output = ()>>(
    namespace: &Namespace,
    client: Client,
    scenario: impl FnOnce(watch::Receiver<BundleStatus>) -> S,
) {
    let settings = CertificateSettings {
        source: TlsSource::CaSecret {
            names: vec!["localhost".to_owned()],
            namespace: namespace.name().to_owned(),
            secret: CA_SECRET.to_owned(),
        },
        timings: CertificateTimings {
            ca_life: Duration::from_secs(365 * 24 * 60 * 60),
            serving_life: Duration::from_secs(7 * 24 * 60 * 60),
            publish_wait: Duration::from_secs(60),
            level_check: Duration::from_secs(60),
        },
        mutating: Some(namespace.name().to_owned()),
        validating: Some(namespace.name().to_owned()),
    };
    let cluster = Cluster {
        calls: client.clone(),
        watches: client,
        watch_timeout: WATCH_TIMEOUT,
        ca_certificates: None,
        proxy: None,
    };
    let certificates = Certificates::new(settings, cluster, CertificateMetrics::default(), OwnPodEvents::default());
    let (resolver, status) = (certificates.resolver(), certificates.bundle_status());
    tokio::select! {
        ended = certificates.run(CancellationToken::new()) => panic!("the service ended: {ended:?}"),
        () = scenario(status) => assert!(resolver.has_certificate()),
    }
}

/// Waits until the state of the mutating configuration has this text.
async fn until_status(status: &watch::Receiver<BundleStatus>, mutating: &str) {
    lab::until(&format!("the mutating configuration is: {mutating}"), async || {
        let found = status.borrow().clone();
        if found.get(ConfigurationKind::Mutating).is_some_and(|found| found.to_string() == mutating) {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
}

async fn until_known(status: &watch::Receiver<BundleStatus>) {
    lab::until("the state of the configurations is known", async || status.borrow().is_known()).await;
}

#[tokio::test]
async fn the_bundle_is_written_into_both_configurations() {
    in_namespace("the_bundle_is_written_into_both_configurations", |ns| async move {
        let configurations = Configurations::of(&ns);
        configurations.create().await;
        run_with(&ns, ns.client(), async |status| {
            until_known(&status).await;
            let bundle = configurations.mutating_bundle().await.unwrap();
            assert!(bundle.starts_with("-----BEGIN CERTIFICATE-----\n"), "{bundle}");
            let validating = configurations.validating.get(&configurations.name).await.unwrap();
            let other = validating.webhooks.unwrap()[0].client_config.ca_bundle.clone().unwrap();
            assert_eq!(bundle.as_bytes(), other.0, "both contain the same CA");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_removed_bundle_is_written_again() {
    in_namespace("a_removed_bundle_is_written_again", |ns| async move {
        let configurations = Configurations::of(&ns);
        configurations.create().await;
        run_with(&ns, ns.client(), async |status| {
            until_known(&status).await;
            let bundle = configurations.mutating_bundle().await;
            configurations.remove_bundle().await;
            assert_eq!(Some(configurations.until_bundle().await), bundle);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_is_created_later_or_again_gets_its_bundle() {
    in_namespace("a_configuration_that_is_created_later", |ns| async move {
        let configurations = Configurations::of(&ns);
        run_with(&ns, ns.client(), async |status| {
            until_known(&status).await;
            until_status(&status, "does not exist, or has no webhooks").await;
            assert!(configurations.mutating.get_opt(&configurations.name).await.unwrap().is_none(), "never created");
            for _ in 0..2 {
                configurations.create_mutating().await;
                configurations.until_bundle().await;
                until_status(&status, "in sync").await;
                configurations.delete_mutating().await;
                until_status(&status, "does not exist, or has no webhooks").await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_configuration_is_not_created_again() {
    in_namespace("a_deleted_configuration_is_not_created_again", |ns| async move {
        let configurations = Configurations::of(&ns);
        configurations.create_mutating().await;
        run_with(&ns, ns.client(), async |status| {
            until_known(&status).await;
            for _ in 0..5 {
                // Each round leaves the service with the uid of a deleted object.
                configurations.remove_bundle().await;
                configurations.delete_mutating().await;
                configurations.create_mutating().await;
                configurations.until_bundle().await;
            }
            configurations.delete_mutating().await;
            until_status(&status, "does not exist, or has no webhooks").await;
            assert!(configurations.mutating.get_opt(&configurations.name).await.unwrap().is_none());
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_applied_manifest_keeps_the_bundle_and_owns_all_other_fields() {
    in_namespace("an_applied_manifest_keeps_the_bundle", |ns| async move {
        let configurations = Configurations::of(&ns);
        let mut manifest: Value = serde_json::to_value(configurations.wanted()).unwrap();
        let owner = PatchParams::apply("chart");
        configurations.mutating.patch(&configurations.name, &owner, &Patch::Apply(&manifest)).await.unwrap();
        run_with(&ns, ns.client(), async |status| {
            until_status(&status, "in sync").await;
            let bundle = configurations.mutating_bundle().await;

            manifest["webhooks"][0]["timeoutSeconds"] = json!(5);
            // Without force: a field of the manifest that SnapWatcher had taken would be a conflict.
            let applied =
                configurations.mutating.patch(&configurations.name, &owner, &Patch::Apply(&manifest)).await.unwrap();
            assert_eq!(applied.webhooks.as_ref().unwrap()[0].timeout_seconds, Some(5));
            assert_eq!(configurations.mutating_bundle().await, bundle);

            let managed = applied.metadata.managed_fields.unwrap();
            let ours = managed.iter().find(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER)).unwrap();
            let webhook = json!({"k:{\"name\":\"mutate.snap.weaversoft.io\"}": {
                ".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}},
            }});
            assert_eq!(serde_json::to_value(&ours.fields_v1).unwrap(), json!({"f:webhooks": webhook}));
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn rights_on_the_two_names_are_enough_and_their_loss_is_no_end() {
    in_namespace("rights_on_the_two_names_are_enough", |ns| async move {
        let configurations = Configurations::of(&ns);
        configurations.create().await;
        let rights = Rights::of(&ns);
        rights.grant(&["get", "list", "watch", "patch"]).await;
        let client = rights.client(&ns).await;
        run_with(&ns, client, async |status| {
            until_known(&status).await;
            rights.grant(&["get", "list", "watch"]).await;
            configurations.remove_bundle().await;
            lab::until("the log has the refusal", async || {
                let reported = status.borrow().to_string();
                if reported.contains("cannot patch resource") { Ok(()) } else { Err(reported) }
            })
            .await;
            rights.grant(&["get", "list", "watch", "patch"]).await;
            until_known(&status).await;
            configurations.until_bundle().await;
        })
        .await;
        rights.revoke().await;
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_secret_is_read_when_it_is_allowed_and_a_deleted_one_is_filled_again() {
    in_namespace("a_secret_that_may_not_be_read", |ns| async move {
        let configurations = Configurations::of(&ns);
        configurations.create().await;
        let rights = Rights::of(&ns);
        let secrets: Api<Secret> = ns.api();
        let all = ["get", "list", "watch", "patch"];
        rights.grant_with(&all, &["watch"]).await;
        let client = rights.client(&ns).await;
        run_with(&ns, client, async |status| {
            assert!(!status.borrow().is_known());
            rights.grant(&all).await;
            until_known(&status).await;
            let held = secrets.get(CA_SECRET).await.unwrap().data;

            rights.grant_with(&all, &["watch"]).await;
            secrets.delete(CA_SECRET, &DeleteParams::default()).await.unwrap();
            create_ca_secret(ns.client(), ns.name()).await.unwrap();
            rights.grant(&all).await;
            lab::until("the Secret is put back", async || {
                let found = secrets.get_opt(CA_SECRET).await.unwrap().and_then(|secret| secret.data);
                found.is_some() && found == held
            })
            .await;
        })
        .await;
        rights.revoke().await;
    })
    .await;
}

/// A user with rights on the two configurations and the Secret of a test only.
struct Rights {
    name: String,
    roles: Api<ClusterRole>,
    bindings: Api<ClusterRoleBinding>,
}

impl Rights {
    fn of(namespace: &Namespace) -> Self {
        let client = namespace.client();
        Self { name: namespace.name().to_owned(), roles: Api::all(client.clone()), bindings: Api::all(client) }
    }

    async fn grant(&self, verbs: &[&str]) {
        self.grant_with(verbs, &["list", "watch", "update"]).await;
    }

    async fn grant_with(&self, verbs: &[&str], of_secret: &[&str]) {
        let group = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": self.name},
            "rules": [
                {
                    "apiGroups": ["admissionregistration.k8s.io"],
                    "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                    "resourceNames": [self.name], "verbs": verbs,
                },
                {
                    "apiGroups": [""], "resources": ["secrets"], "resourceNames": [CA_SECRET],
                    "verbs": of_secret,
                },
            ],
        });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": self.name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": self.name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": self.name}],
        });
        let apply = PatchParams::apply("test").force();
        self.roles.patch(&self.name, &apply, &Patch::Apply(role)).await.unwrap();
        self.bindings.patch(&self.name, &apply, &Patch::Apply(binding)).await.unwrap();
    }

    async fn client(&self, namespace: &Namespace) -> Client {
        let kubeconfig = Kubeconfig::read_from(namespace.access().kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(self.name.clone());
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    async fn revoke(&self) {
        let now = DeleteParams::default();
        self.roles.delete(&self.name, &now).await.unwrap();
        self.bindings.delete(&self.name, &now).await.unwrap();
    }
}
