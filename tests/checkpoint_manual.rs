//! Manual Checkpoints: a person applies one to checkpoint a pod now.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::pod;
use lab::snaphook::{Behaviour, Gate};
use lab::webhooks::MUTATED;
use lab::{PodStatus, in_namespace};
use serde_json::{Value, json};
use snapwatcher_api::keys::{CONTAINERS, DELAY};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

fn of(pod: &str) -> Value {
    json!({"pod": {"name": pod}})
}

#[tokio::test]
async fn a_manual_checkpoint_is_executed_even_after_the_automatic_one() {
    in_namespace("a_manual_checkpoint_after_the_automatic_one", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let web = ns.create_object(&pod("web").labelled().build()).await;
        ns.record_of("web", "Succeeded").await;
        ns.apply_checkpoint("now", &of("web")).await.unwrap();
        let record = ns.record_named("now", "Succeeded").await;
        assert_eq!((record.text("/pod/uid"), record.container()), (web.uid().as_deref(), "app"), "as resolved");
        ns.apply_checkpoint("and-again", &json!({"pod": {"name": "web", "uid": web.uid()}, "container": "app"}))
            .await
            .unwrap();
        ns.record_named("and-again", "Succeeded").await;
        assert_eq!(ns.request_count("web"), 3);
        assert_eq!(watcher.blocks(ns.name(), "web").len(), 1, "only a claim prints the block");
    })
    .await;
}

#[tokio::test]
async fn a_manual_checkpoint_waits_until_its_pod_is_ready_and_ignores_the_delay() {
    in_namespace("a_manual_checkpoint_waits_until_its_pod_is_ready", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let slow = ns.scheduled(&pod("slow").labelled().annotate(DELAY, "1h").hold().build()).await;
        ns.apply_checkpoint("early", &of("slow")).await.unwrap();
        let record = ns.record_named("early", "Pending(NotReady)").await;
        assert_eq!(record.attempt(), 0);
        ns.set_status(&slow, &PodStatus::ready(&slow)).await;
        ns.record_named("early", "Succeeded").await;
        assert_eq!(ns.request_count("slow"), 1);
        assert_eq!(ns.records_of("slow").await.len(), 1, "the automatic one still waits for its delay");
    })
    .await;
}

#[tokio::test]
async fn a_manual_checkpoint_that_cannot_be_executed_fails_with_a_message() {
    in_namespace("a_manual_checkpoint_that_cannot_be_executed", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let several = pod("several").labelled().containers(["app", "proxy"]).annotate(CONTAINERS, "*").build();
        let ready: [Pod; 4] = [
            pod("plain").build(),
            pod("restored").labelled().label(MUTATED, "true").build(),
            pod("web").labelled().build(),
            several,
        ];
        for wanted in &ready {
            ns.ready_pod(wanted).await;
        }
        ns.until_requested("several", 2).await;
        let other = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11";
        let cases = [
            (
                "no-pod",
                of("absent"),
                "Failed(PodGone)",
                "absent` does not exist. Create a Checkpoint of an existing pod",
            ),
            ("other-pod", json!({"pod": {"name": "web", "uid": other}}), "Failed(PodGone)", other),
            (
                "unlabelled",
                of("plain"),
                "Failed(NotLabelled)",
                "is not labeled snap.weaversoft.io/snap=true. Add the label, then recreate the Checkpoint",
            ),
            ("restored", of("restored"), "Failed(AlreadyRestored)", "already runs from a checkpoint"),
            (
                "no-container",
                json!({"pod": {"name": "web"}, "container": "nope"}),
                "Failed(NoSuchContainer)",
                "has no container `nope`",
            ),
            (
                "which",
                of("several"),
                "Failed(InvalidSpec)",
                "several containers: app, proxy. Recreate the Checkpoint with one of them in spec.container",
            ),
        ];
        let mut uids = BTreeMap::new();
        for (name, spec, state, words) in cases {
            ns.apply_checkpoint(name, &spec).await.unwrap();
            let record = ns.record_named(name, state).await;
            let pod = spec["pod"]["name"].as_str().unwrap();
            let full_name = format!("pod `{}/{pod}`", ns.name());
            assert!(record.message().contains(words), "{name}: {}", record.message());
            assert!(record.message().contains(&full_name), "{name}: {}", record.message());
            assert_eq!(record.text("/pod/name"), Some(pod), "{name}: the column POD");
            uids.insert(name, record.text("/pod/uid").map(str::to_owned));
            assert_eq!(record.condition("Failed").unwrap()["status"], "True", "{name}: kubectl wait must end");
            assert_eq!(record.attempt(), 0, "{name}");
        }
        let ineligible = async |reason: &str| {
            watcher.metric(&format!("snapwatcher_checkpoint_ineligible_total{{reason=\"{reason}\"}}")).await.unwrap()
        };
        assert_eq!((ineligible("PodGone").await, ineligible("NotLabelled").await), (Some(2.0), Some(1.0)));
        let plain = ns.api::<Pod>().get("plain").await.unwrap().uid();
        assert_eq!(uids["no-pod"], None, "only the name is known");
        assert_eq!(uids["other-pod"].as_deref(), Some(other), "as in spec");
        assert_eq!(uids["unlabelled"], plain, "as read");
        assert_eq!((ns.request_count("plain"), ns.request_count("restored"), ns.request_count("web")), (0, 0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_manual_checkpoint_waits_while_another_one_of_its_container_is_in_progress() {
    in_namespace("a_manual_checkpoint_waits_for_another_one", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_pod_with("web", Behaviour::Wait(gate.clone()));
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        ns.apply_checkpoint("now", &of("web")).await.unwrap();
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 1);
        gate.open();
        ns.record_named("now", "Succeeded").await;
        assert_eq!(ns.request_count("web"), 2);
    })
    .await;
}

#[tokio::test]
async fn the_api_server_rejects_an_invalid_spec() {
    in_namespace("the_api_server_rejects_an_invalid_spec", |ns| async move {
        let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u"});
        let target = "give either pod, or workload with revision and container";
        for (name, spec, words) in [
            ("neither", json!({"container": "app"}), target),
            (
                "both",
                json!({"pod": {"name": "web"}, "workload": workload, "revision": "1", "container": "app"}),
                target,
            ),
            ("half", json!({"workload": workload, "container": "app"}), target),
            ("stray", json!({"pod": {"name": "web"}, "revision": "1"}), target),
            ("nameless", json!({"pod": {"name": ""}}), "spec.pod.name"),
        ] {
            let rejection = ns.apply_checkpoint(name, &spec).await.unwrap_err().to_string();
            assert!(rejection.contains(words), "{name}: {rejection}");
        }
        ns.apply_checkpoint("kept", &of("web")).await.unwrap();
        let rejection = ns.apply_checkpoint("kept", &of("other")).await.unwrap_err().to_string();
        assert!(rejection.contains("spec is immutable"), "{rejection}");
    })
    .await;
}
