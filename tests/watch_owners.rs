//! The workload of a pod: its top controller, with real controllers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{DeleteParams, ObjectMeta, PropagationPolicy};
use lab::objects::{cronjob, daemonset, deployment, job, job_of, pod, replicaset, statefulset};
use lab::{Namespace, Snapwatcher, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The UID of an object that never existed.
const NOBODY: &str = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11";

/// Waits until each pod of `name` was checkpointed, and checks the workload in its block and its Checkpoint.
async fn belongs_to(ns: &Namespace, watcher: &Snapwatcher, name: &str, line: &str, workload: &str) {
    let awaited = format!("`{name}` has pods");
    ns.until(&awaited, async || !ns.pods_of(name).await.is_empty()).await;
    for pod in ns.pods_of(name).await {
        let record = ns.record_of(&pod, "Succeeded").await;
        assert_eq!(record.workload(), workload, "{pod}");
        let [block] = watcher.blocks(ns.name(), &pod).try_into().unwrap();
        assert_eq!(block.lines().nth(3), Some(line), "{block}");
    }
}

#[tokio::test]
async fn block_and_checkpoint_name_the_workload_of_a_pod() {
    in_namespace("block_and_checkpoint_name_the_workload", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&deployment("web").replicas(2).labelled().build()).await;
        ns.create_object(&statefulset("db").labelled().build()).await;
        ns.create_object(&daemonset("agent").labelled().build()).await;
        ns.create_object(&job("import").labelled().build()).await;
        ns.create_object(&replicaset("alone").labelled().build()).await;
        ns.create_object(&pod("bare").labelled().build()).await;
        let nightly = ns.create_object(&cronjob("nightly").labelled().build()).await;
        ns.create_object(&job_of(&nightly, "nightly-1")).await;
        for (name, line, workload) in [
            ("web", "  Deployment: web", "Deployment/web"),
            ("db", "  Workload:   StatefulSet/db", "StatefulSet/db"),
            ("agent", "  Workload:   DaemonSet/agent", "DaemonSet/agent"),
            ("import", "  Workload:   Job/import", "Job/import"),
            ("alone", "  Workload:   ReplicaSet/alone", "ReplicaSet/alone"),
            ("bare", "  Workload:   Pod/bare", "Pod/bare"),
            ("nightly", "  Workload:   CronJob/nightly", "CronJob/nightly"),
        ] {
            belongs_to(&ns, &watcher, name, line, workload).await;
        }
    })
    .await;
}

fn owned_by(mut pod: Pod, api_version: &str, kind: &str, name: &str, uid: &str) -> Pod {
    pod.metadata.owner_references = Some(vec![OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    pod
}

#[tokio::test]
async fn a_controller_of_any_other_kind_is_the_workload_itself() {
    in_namespace("a_controller_of_any_other_kind_is_the_workload", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let metadata = ObjectMeta { name: Some("rollout".to_owned()), ..ObjectMeta::default() };
        let owner = ns.create_object(&ConfigMap { metadata, ..ConfigMap::default() }).await;
        let wanted = pod("custom").labelled().build();
        ns.create_object(&owned_by(wanted, "v1", "ConfigMap", "rollout", &owner.uid().unwrap())).await;
        belongs_to(&ns, &watcher, "custom", "  Workload:   ConfigMap/rollout", "ConfigMap/rollout").await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_replicaset_is_gone_is_not_claimed() {
    in_namespace("a_pod_whose_replicaset_is_gone_is_not_claimed", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        // The garbage collector deletes such pods, too: some become Ready before, and some do not.
        let orphans = ["orphan-1", "orphan-2", "orphan-3", "orphan-4"];
        for name in orphans {
            let orphan = pod(name).labelled().build();
            ns.create_object(&owned_by(orphan, "apps/v1", "ReplicaSet", "gone", NOBODY)).await;
        }
        let pods = ns.api::<Pod>();
        for name in orphans {
            let awaited = format!("pod `{name}` was collected");
            ns.until(&awaited, async || matches!(pods.get_opt(name).await, Ok(None))).await;
        }
        ns.later_pod_is_requested("later").await;
        for name in orphans {
            assert_eq!((ns.request_count(name), ns.records_of(name).await), (0, vec![]), "{name}");
        }
        let log = watcher.log();
        let worries: Vec<&str> = log.lines().filter(|line| line.contains("WARN") && line.contains("orphan")).collect();
        assert!(worries.is_empty(), "{worries:?}");
    })
    .await;
}

#[tokio::test]
async fn no_request_is_repeated_when_a_deployment_is_deleted() {
    in_namespace("no_request_is_repeated_when_a_deployment_is_deleted", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&deployment("web").replicas(3).labelled().build()).await;
        let pods = ns.pods_made("web", 3).await;
        for pod in &pods {
            ns.record_of(pod, "Succeeded").await;
        }
        let records = ns.records().await;

        let foreground =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
        ns.api::<Deployment>().delete("web", &foreground).await.unwrap();
        ns.until("the pods are deleted", async || ns.pods_of("web").await.is_empty()).await;
        ns.later_pod_is_requested("later").await;
        for pod in &pods {
            assert_eq!(ns.request_count(pod), 1);
            assert_eq!(watcher.blocks(ns.name(), pod).len(), 1);
        }
        let left: Vec<_> = ns.records().await.into_iter().filter(|record| !record.is_about("later")).collect();
        assert_eq!(left, records, "Checkpoints have no owner references, so they are not garbage-collected");
    })
    .await;
}
