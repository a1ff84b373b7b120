//! SnapWatcher installed by the two commands for the manifests, with the test workload of README.md. Then a thousand labeled
//! pods, in the memory that the chart requests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use lab::node::Files;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::terminal::print_result;
use lab::{Namespace, RealCluster, in_namespace_of};

const LABELLED_PODS: usize = 1_000;

/// Pushes an image as docker.io's `nginx:latest` that only keeps running, which is all that the test workload needs.
async fn stand_in_for_nginx(cluster: &RealCluster) {
    let busybox = std::fs::read(cluster.node().path("/usr/bin/busybox")).unwrap();
    let files = Files::new().folder("bin", 0o755).unwrap().file("bin/busybox", 0o755, &busybox).unwrap();
    let image = files.image(&["/bin/busybox", "sleep", "100000"]).unwrap();
    cluster.node().push("library/nginx:latest", image).await.unwrap();
}

/// Creates that many labeled pods on a fake node and waits for their Checkpoints to succeed.
async fn pods_are_checkpointed(cluster: &RealCluster, ns: &Namespace, count: usize) {
    cluster.snaphook().answer_with(Behaviour::Succeed);
    let node = ns.dedicated_nodes(1).await.remove(0);
    for number in 0..count {
        let node = node.clone();
        let wanted = pod(&format!("web-{number}")).labelled().spec(|spec| spec.node_name = Some(node)).build();
        ns.create_object::<Pod>(&wanted).await;
    }
    ns.all_records(count, "Succeeded", std::time::Duration::from_secs(180)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_install_it_and_a_thousand_pods_fit() {
    let cluster = &RealCluster::start().await;
    in_namespace_of(cluster.access(), "the_two_commands", |ns| async move {
        cluster.kubectl("apply -f manifests/rbac.yaml");
        cluster.kubectl("apply -f manifests/deployment.yaml");
        cluster.replicas(1).await;
        ns.admission_works().await;
        stand_in_for_nginx(cluster).await;
        cluster.kubectl("apply -f manifests/app-deployment-test.yaml");
        cluster.kubectl("rollout status deployment/checkpointed-app --timeout=60s");
        let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
        let [made] = pods.list(&ListParams::default()).await.unwrap().items.try_into().unwrap();
        let name = made.metadata.name.unwrap();
        ns.until("SnapHook gets one request for the workload", async || {
            cluster.snaphook().requests_for("default", &name).len() == 1
        })
        .await;

        cluster.kubectl("set resources -n snap deployment/snapwatcher --limits=memory=64Mi --requests=memory=64Mi");
        cluster.kubectl("set env -n snap deployment/snapwatcher SNAPWATCHER_MAX_CONCURRENT_PER_NODE=8");
        cluster.kubectl("rollout status -n snap deployment/snapwatcher --timeout=180s");
        pods_are_checkpointed(cluster, &ns, LABELLED_PODS).await;
        let [replica] = cluster.replicas(1).await.try_into().unwrap();
        let status = replica.status.unwrap().container_statuses.unwrap().remove(0);
        let script = "grep VmHWM /proc/$(pgrep -x snapwatcher)/status";
        let most = cluster.node().must_run(["sh", "-c", script]).await.unwrap();
        print_result(&format!("e2e_manifests: {LABELLED_PODS} labelled pods: {}", most.trim()));
        assert_eq!(status.restart_count, 0, "{status:?}");

        cluster.kubectl("delete -f manifests/deployment.yaml");
        cluster.kubectl(
            "delete clusterrole/snapwatcher clusterrole/snapwatcher-view clusterrole/snapwatcher-edit \
             clusterrolebinding/snapwatcher",
        );
        cluster.kubectl("delete role/snapwatcher rolebinding/snapwatcher serviceaccount/snapwatcher -n snap");
        let created = ns.create_object::<Pod>(&pod("without-us").labelled().build()).await;
        assert!(!created.metadata.labels.unwrap().contains_key("snap.weaversoft.io/mutated"));
    })
    .await;
}
