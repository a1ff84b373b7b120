//! An admission webhook of another product that fails for the Checkpoints of one namespace delays only that namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lab::objects::pod;
use lab::{Namespace, in_namespace};
use serde_json::json;
use tokio::net::TcpListener;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// A webhook with the failure policy `Fail` that reviews the Checkpoints of a namespace.
async fn install_webhook(ns: &Namespace, address: SocketAddr) -> Api<ValidatingWebhookConfiguration> {
    let name = format!("checkpoints-of-{}", ns.name());
    let configuration = json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "checkpoints.example.com",
            "clientConfig": {"url": format!("https://{address}/")},
            "rules": [{
                "apiGroups": ["snap.weaversoft.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                "resources": ["checkpoints", "checkpoints/status"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name()}},
            "failurePolicy": "Fail",
            "timeoutSeconds": 30,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    let webhooks = Api::all(ns.client());
    webhooks.create(&PostParams::default(), &serde_json::from_value(configuration).unwrap()).await.unwrap();
    webhooks
}

async fn only_its_namespace_is_delayed(address: SocketAddr) {
    in_namespace("fails", |failing| async move {
        in_namespace("works", |working| async move {
            let named = format!("--namespaces={},{}", failing.name(), working.name());
            let watcher = failing.start_snapwatcher(SNAPWATCHER, &[&named]).await;
            let webhooks = install_webhook(&failing, address).await;
            failing.ready_pod(&pod("web").labelled().build()).await;
            failing
                .until("the log names the pod", async || {
                    let cause = format!("Could not create the Checkpoint of pod `{}/web`", failing.name());
                    watcher.log().contains(&cause)
                })
                .await;
            working.ready_pod(&pod("web").labelled().build()).await;
            working.record_of("web", "Succeeded").await;
            assert!(failing.records().await.is_empty());
            assert!(!watcher.log().contains("Checkpoints paused"), "{}", watcher.log());

            webhooks.delete(&format!("checkpoints-of-{}", failing.name()), &DeleteParams::default()).await.unwrap();
            failing.record_of("web", "Succeeded").await;
            assert_eq!(failing.snaphook().requests_for(failing.name(), "web").len(), 1);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_delays_only_its_namespace() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    only_its_namespace_is_delayed(closed).await;
}

#[tokio::test]
async fn a_webhook_that_never_answers_delays_only_its_namespace() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    only_its_namespace_is_delayed(silent.local_addr().unwrap()).await;
}
