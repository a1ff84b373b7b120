//! A control plane from start to end, and tests in namespaces of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, ResourceExt};
use lab::objects::{deployment, job, pod};
use lab::{Cluster, Namespace, Options, PodStatus, in_namespace_of, is_ready, until};

async fn pods_of(ns: &Namespace, app: &str) -> Vec<Pod> {
    ns.api::<Pod>().list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap().items
}

async fn plays_pods(ns: Namespace) {
    ns.create_object::<Deployment>(&deployment("web").replicas(3).build()).await;
    ns.create_object::<Pod>(&pod("held").hold().build()).await;
    ns.create_object::<Job>(&job("done").completing().build()).await;
    ns.create_object::<Job>(&job("forever").build()).await;

    ns.until("three pods of the Deployment are Ready", async || {
        pods_of(&ns, "web").await.iter().filter(|pod| is_ready(pod)).count() == 3
    })
    .await;
    for pod in pods_of(&ns, "web").await {
        let containers = pod.status.unwrap().container_statuses.unwrap();
        assert!(containers.iter().all(|container| container.started == Some(true) && container.ready));
    }
    let jobs = ns.api::<Job>();
    ns.until("the Job with the annotation has completed", async || {
        jobs.get("done").await.unwrap().status.and_then(|status| status.succeeded) == Some(1)
    })
    .await;
    assert!(pods_of(&ns, "forever").await.iter().all(is_ready));

    let pods = ns.api::<Pod>();
    let held = ns
        .until("the pod on hold is scheduled", async || {
            let held = pods.get("held").await.unwrap();
            held.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()).then_some(held)
        })
        .await;
    assert_eq!(held.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    PodStatus::ready(&held).write(&pods, &held).await.unwrap();
    ns.pod_ready("held").await;
    PodStatus::not_ready(&held).write(&pods, &held).await.unwrap();
    assert!(!is_ready(&pods.get("held").await.unwrap()));
    pods.delete("held", &DeleteParams::default()).await.unwrap();
    ns.until("the pod on hold is deleted", async || pods.get_opt("held").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_control_plane_runs_pods_survives_a_restart_of_its_api_server_and_leaves_nothing() {
    let mut cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    let folder = cluster.folder().to_owned();

    in_namespace_of(cluster.access(), "plays_pods", plays_pods).await;

    let client = cluster.client().await.unwrap();
    let namespaces: Api<KubeNamespace> = Api::all(client);
    cluster.stop_api_server().await.unwrap();
    assert!(namespaces.get("default").await.is_err());
    cluster.start_api_server().await.unwrap();
    until("the same client reads the same data", async || namespaces.get("default").await).await;

    let failing = in_namespace_of(cluster.access(), "fails", async |_| panic!("the test's own panic"));
    let panic = std::panic::AssertUnwindSafe(failing).catch_unwind().await.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the test's own panic"));
    until("the namespace of the failed test is deleted", async || {
        let left = namespaces.list(&ListParams::default()).await.unwrap();
        left.iter().filter(|namespace| namespace.name_any().starts_with("fails-")).count() == 0
    })
    .await;

    cluster.stop().await.unwrap();
    assert!(!folder.exists());
}
