//! Restores from backups: objects come back with new UIDs, mostly without their status, and labeled by the tool, as Velero does it
//! (<https://github.com/vmware-tanzu/velero/blob/main/pkg/restore/restore.go>, `resetMetadataAndStatus` and `addRestoreLabels`).
//! docs/backup.md says how many requests follow.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use lab::objects::{deployment, pod};
use lab::{Namespace, Record, Snapwatcher, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::{ATTEMPT, ONCE_PER, RESTORE_NAME};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const TIMEOUT: Duration = Duration::from_secs(30);

const REPLICAS: usize = 2;

/// The manual Checkpoints, with and without the UID of their pod.
const MANUAL: [&str; 2] = ["before-the-upgrade", "of-this-pod"];

/// The exported objects of a namespace, in the order in which Velero restores them.
struct Backup {
    pods: Vec<DynamicObject>,
    replicasets: Vec<DynamicObject>,
    deployments: Vec<DynamicObject>,
    checkpoints: Vec<DynamicObject>,
}

fn api<K>(ns: &Namespace) -> Api<DynamicObject>
where
    K: kube::Resource<DynamicType = ()>,
{
    Api::namespaced_with(ns.client(), ns.name(), &ApiResource::erase::<K>(&()))
}

async fn export(api: &Api<DynamicObject>) -> Vec<DynamicObject> {
    api.list(&ListParams::default()).await.unwrap().items
}

/// Creates an object as Velero does. Returns it as stored.
async fn restore(api: &Api<DynamicObject>, original: &DynamicObject) -> DynamicObject {
    let mut labeled = original.clone();
    labeled.labels_mut().insert("velero.io/backup-name".to_owned(), "daily".to_owned());
    labeled.labels_mut().insert(RESTORE_NAME.to_owned(), "after-the-loss".to_owned());
    copy(api, &labeled).await
}

/// Creates an object as a tool does that sets no label.
async fn copy(api: &Api<DynamicObject>, original: &DynamicObject) -> DynamicObject {
    let mut copy = original.clone();
    let metadata = &mut copy.metadata;
    (metadata.uid, metadata.resource_version, metadata.managed_fields) = (None, None, None);
    (metadata.creation_timestamp, metadata.generation, metadata.owner_references) = (None, None, None);
    metadata.generate_name = None;
    copy.data.as_object_mut().unwrap().remove("status");
    if let Some(spec) = copy.data.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
        spec.remove("nodeName");
    }
    api.create(&PostParams::default(), &copy).await.unwrap()
}

/// A namespace with a pod `web`, a Deployment `api` that is checkpointed once per revision, and two manual Checkpoints of `web`, all
/// Succeeded: exported, and then deleted.
async fn lost(ns: &Namespace) -> Backup {
    let web = ns.create_object(&pod("web").labelled().build()).await;
    let api_pods = i32::try_from(REPLICAS).unwrap();
    ns.create_object(&deployment("api").replicas(api_pods).labelled().annotate(ONCE_PER, "revision").build()).await;
    ns.record_of("web", "Succeeded").await;
    for (name, spec) in
        MANUAL.into_iter().zip([json!({"name": "web"}), json!({"name": "web", "uid": web.uid().unwrap()})])
    {
        ns.apply_checkpoint(name, &json!({"pod": spec})).await.unwrap();
        ns.record_named(name, "Succeeded").await;
    }
    ns.all_records(4, "Succeeded", TIMEOUT).await;
    for name in ns.pods_made("api", REPLICAS).await {
        ns.pod_ready(&name).await;
    }
    assert_eq!((ns.request_count("web"), requests(ns)), (3, 4));

    let backup = Backup {
        pods: export(&api::<Pod>(ns)).await,
        replicasets: export(&api::<ReplicaSet>(ns)).await,
        deployments: export(&api::<Deployment>(ns)).await,
        checkpoints: export(&ns.checkpoints()).await,
    };
    let derived = backup.checkpoints.iter().filter(|checkpoint| checkpoint.annotations().contains_key(ATTEMPT));
    assert_eq!((backup.checkpoints.len(), derived.count()), (4, 2));
    ns.api::<Deployment>().delete("api", &DeleteParams::background()).await.unwrap();
    ns.delete_pod("web").await;
    ns.until("all pods are gone", async || {
        let left = export(&api::<Pod>(ns)).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    ns.checkpoints().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    ns.until("all Checkpoints are gone", async || {
        let left = ns.records().await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    backup
}

/// A running SnapWatcher, what it has lost, and how many requests SnapHook has received by then.
async fn after_the_loss(ns: &Namespace) -> (Arc<Snapwatcher>, Backup, usize) {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
    let backup = lost(ns).await;
    (watcher, backup, requests(ns))
}

/// All requests that SnapHook has received.
fn requests(ns: &Namespace) -> usize {
    ns.snaphook().requests().len()
}

/// The states of the restored Checkpoints, which have the names of the originals.
async fn states(ns: &Namespace, backup: &Backup) -> Vec<String> {
    let records = ns.records().await;
    let is_restored = |record: &&Record| backup.checkpoints.iter().any(|original| original.name_any() == record.name);
    records.iter().filter(is_restored).map(Record::state).collect()
}

async fn all_are(ns: &Namespace, backup: &Backup, state: &str) {
    ns.until(&format!("all restored Checkpoints are {state}"), async || {
        let states = states(ns, backup).await;
        if states == vec![state; backup.checkpoints.len()] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

#[tokio::test]
async fn checkpoints_restored_without_their_status_request_nothing_and_new_pods_are_checkpointed_once() {
    in_namespace("checkpoints_restored_without_their_status", |ns| async move {
        let (watcher, backup, before) = after_the_loss(&ns).await;
        for (api, originals) in [
            (api::<Pod>(&ns), &backup.pods),
            (api::<ReplicaSet>(&ns), &backup.replicasets),
            (api::<Deployment>(&ns), &backup.deployments),
            (ns.checkpoints(), &backup.checkpoints),
        ] {
            for original in originals {
                let copy = restore(&api, original).await;
                assert!(
                    copy.uid() != original.uid()
                        && copy.data.get("status").is_none_or(|status| status != &original.data["status"])
                );
            }
        }
        all_are(&ns, &backup, "Failed(FromBackup)").await;
        let message = ns.record_named(MANUAL[0], "Failed(FromBackup)").await.message().to_owned();
        assert!(message.contains("restored from a backup"), "{message}");
        for name in ns.pods_made("api", REPLICAS).await {
            ns.pod_ready(&name).await;
        }
        ns.until_requested("web", 4).await;
        ns.later_pod_is_requested("later").await;
        let of_api = requests(&ns) - before - 2;
        // A pod that is Ready before its ReplicaSet has adopted it is one without a workload.
        assert!((1..=REPLICAS + 1).contains(&of_api), "{of_api} requests for the pods of `api`");
        let ineligible =
            watcher.metric("snapwatcher_checkpoint_ineligible_total{reason=\"FromBackup\"}").await.unwrap();
        assert_eq!(ineligible, Some(4.0));
    })
    .await;
}

#[tokio::test]
async fn without_pods_in_the_backup_a_restored_revision_is_requested_once() {
    in_namespace("without_pods_in_the_backup", |ns| async move {
        let (_watcher, backup, before) = after_the_loss(&ns).await;
        restore(&api::<Deployment>(&ns), &backup.deployments[0]).await;
        for original in &backup.checkpoints {
            restore(&ns.checkpoints(), original).await;
        }
        all_are(&ns, &backup, "Failed(FromBackup)").await;
        for name in ns.pods_made("api", REPLICAS).await {
            ns.pod_ready(&name).await;
        }
        ns.until("the new revision is checkpointed", async || {
            let records = ns.records().await;
            let of_revision: Vec<String> = records
                .iter()
                .filter(|record| record.state() == "Succeeded")
                .map(|record| record.workload().to_owned())
                .collect();
            if of_revision == ["Deployment/api"] { Ok(()) } else { Err(format!("{of_revision:?}")) }
        })
        .await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(requests(&ns) - before, 2, "one of the revision, and that of the later pod");
    })
    .await;
}

#[tokio::test]
async fn of_checkpoints_that_are_not_labeled_only_a_manual_one_without_uid_is_executed_again() {
    in_namespace("of_checkpoints_that_are_not_labeled", |ns| async move {
        let (watcher, backup, before) = after_the_loss(&ns).await;
        let web = backup.pods.iter().find(|pod| pod.name_any() == "web").unwrap();
        copy(&api::<Pod>(&ns), web).await;
        ns.until_requested("web", 4).await;
        for original in &backup.checkpoints {
            copy(&ns.checkpoints(), original).await;
        }
        ns.record_named(MANUAL[0], "Succeeded").await;
        ns.record_named(MANUAL[1], "Failed(PodGone)").await;
        // A new process of the same name sees attempts that it has not made.
        watcher.restart().await.unwrap();
        watcher.ready().await.unwrap();
        ns.later_pod_is_requested("later").await;
        assert_eq!(requests(&ns) - before, 3, "of the new pod, of the manual Checkpoint, and of the later pod");
    })
    .await;
}

/// Restores Checkpoints with their status, as Velero does it with `status-include-resources`: a creation and an update.
async fn restore_with_status(ns: &Namespace, backup: &Backup) {
    for original in &backup.checkpoints {
        let mut copy = restore(&ns.checkpoints(), original).await;
        copy.data["status"] = original.data["status"].clone();
        let name = copy.name_any();
        ns.checkpoints().replace_status(&name, &PostParams::default(), &copy).await.unwrap();
    }
}

#[tokio::test]
async fn checkpoints_restored_with_their_status_while_no_process_runs_stay_as_they_were() {
    in_namespace("checkpoints_restored_with_their_status", |ns| async move {
        let (watcher, backup, before) = after_the_loss(&ns).await;
        watcher.stop().await.unwrap();
        let web = backup.pods.iter().find(|pod| pod.name_any() == "web").unwrap();
        restore(&api::<Pod>(&ns), web).await;
        restore_with_status(&ns, &backup).await;
        ns.pod_ready("web").await;
        watcher.start_again().await.unwrap();
        watcher.ready().await.unwrap();
        ns.until_requested("web", 4).await;
        ns.later_pod_is_requested("later").await;
        all_are(&ns, &backup, "Succeeded").await;
        assert_eq!(requests(&ns) - before, 2, "one of the new pod, and that of the later pod");
    })
    .await;
}

/// The process may see a Checkpoint between its creation and the update of its status.
#[tokio::test]
async fn while_suspended_a_restore_has_time_to_write_the_status() {
    in_namespace("while_suspended_a_restore_has_time", |ns| async move {
        let (watcher, backup, before) = after_the_loss(&ns).await;
        watcher.stop().await.unwrap();
        let suspended = ns.launch_snapwatcher(lab::SnapwatcherOptions {
            binary: SNAPWATCHER.into(),
            args: vec!["--suspend".to_owned()],
            ..lab::SnapwatcherOptions::default()
        });
        let suspended = suspended.await;
        suspended.ready().await.unwrap();
        restore_with_status(&ns, &backup).await;
        all_are(&ns, &backup, "Succeeded").await;
        assert_eq!(requests(&ns), before);
    })
    .await;
}
