//! A control plane of a KUBEBUILDER_ASSETS folder, with simulated controllers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lab::objects::{deployment, statefulset};
use lab::{Binaries, BinarySource, Cluster, Namespace, NodeKind, Options, in_namespace_of, is_ready};
use serde_json::json;

async fn until_ready(ns: &Namespace, app: &str, count: usize) -> BTreeSet<String> {
    let pods = ns.api::<Pod>();
    let of_app = ListParams::default().labels(&format!("app={app}"));
    ns.until(&format!("`{app}` has {count} ready pods"), async || {
        let listed = pods.list(&of_app).await.map_err(|error| error.to_string())?;
        let ready: BTreeSet<String> = listed.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect();
        if ready.len() == count && listed.items.len() == count { Ok(ready) } else { Err(format!("{ready:?}")) }
    })
    .await
}

async fn workloads_run(ns: Namespace) {
    ns.create_object::<Deployment>(&deployment("web").replicas(3).build()).await;
    ns.create_object::<StatefulSet>(&statefulset("db").replicas(2).build()).await;
    until_ready(&ns, "web", 3).await;
    assert_eq!(until_ready(&ns, "db", 2).await, ["db-0", "db-1"].map(str::to_owned).into());
    let sets = ns.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!((sets.len(), sets[0].owner_references()[0].name.as_str()), (1, "web"));

    let scaled = Patch::Merge(json!({"spec": {"replicas": 1}}));
    ns.api::<Deployment>().patch("web", &PatchParams::default(), &scaled).await.unwrap();
    until_ready(&ns, "web", 1).await;
    let pods = ns.api::<Pod>();
    let former = pods.get("db-0").await.unwrap().uid();
    pods.delete("db-0", &DeleteParams::default()).await.unwrap();
    ns.until("`db-0` is created again", async || pods.get("db-0").await.is_ok_and(|pod| pod.uid() != former)).await;
    until_ready(&ns, "db", 2).await;
}

#[tokio::test]
async fn workloads_run_without_controllers_scheduler_and_kwok() {
    let options = Options::from_environment().unwrap();
    let built = Binaries::find(&BinarySource::GoModules, &options.version, NodeKind::Fake).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for program in [built.etcd(), built.api_server(), built.kubectl()] {
        symlink(program, folder.path().join(program.file_name().unwrap())).unwrap();
    }
    let binaries = BinarySource::Assets(folder.path().to_owned());
    let cluster = Cluster::start(Options { binaries, ..options }).await.unwrap();
    in_namespace_of(cluster.access(), "workloads_run", workloads_run).await;
    cluster.stop().await.unwrap();
}
