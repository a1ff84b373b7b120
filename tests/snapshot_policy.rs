//! What the token of an agent can do, with real tokens of two pods on two nodes, the rights and the policy of the chart: it writes the
//! entry of its own node into the status of Snapshots, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config, ResourceExt as _};
use lab::objects::pod;
use lab::{Chart, Namespace, Template, in_namespace};
use serde_json::{Value, json};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::snapshot::{Snapshot, SnapshotSpec};

/// Creates what the chart has for agents: account, roles, bindings and policy. Returns the name of the account.
async fn install(ns: &Namespace) -> String {
    let template = Template::scenario("save-namespaced")
        .release(ns.name(), ns.name())
        .with("snapwatcher.operator.namespaces", &json!([ns.name()]));
    let rendered = Chart::of_repository().await.render(&template);
    let is_of_agent = |object: &&Value| {
        let name = object["metadata"]["name"].as_str().unwrap();
        name.ends_with("-agent")
            && !["DaemonSet", "NetworkPolicy", "PodMonitor"].contains(&object["kind"].as_str().unwrap())
    };
    let objects: Vec<&Value> = rendered.objects().iter().filter(is_of_agent).collect();
    assert_eq!(objects.len(), 7, "{objects:?}");
    for object in &objects {
        let (group, version) = object["apiVersion"].as_str().unwrap().rsplit_once('/').unwrap_or(("", "v1"));
        let kind = object["kind"].as_str().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(ns.client(), namespace, &resource),
            None => Api::all_with(ns.client(), &resource),
        };
        let object: DynamicObject = serde_json::from_value((*object).clone()).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let account = objects.iter().find(|object| object["kind"] == "ServiceAccount").unwrap();
    account["metadata"]["name"].as_str().unwrap().to_owned()
}

/// A client with a token of the account. The token of a pod names its node.
async fn client_of(ns: &Namespace, account: &str, pod: Option<&Pod>) -> Client {
    let bound = pod.map(|pod| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name_any()),
        uid: pod.uid(),
    });
    let spec = TokenRequestSpec { bound_object_ref: bound, ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = ns.api();
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
    let token = Some(made.status.unwrap().token.into());
    kubeconfig.auth_infos[0].auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A pod of the account on the node of another pod.
async fn agent_on(ns: &Namespace, name: &str, account: &str, node: &str) -> Pod {
    let (account, node) = (account.to_owned(), node.to_owned());
    let agent = pod(name).spec(|spec| {
        spec.service_account_name = Some(account);
        spec.node_name = Some(node);
    });
    ns.ready_pod(&agent.build()).await
}

/// A Snapshot that both nodes have reported on, and that is judged.
async fn snapshot(ns: &Namespace) -> Snapshot {
    let spec: SnapshotSpec = serde_json::from_value(json!({
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w"},
        "controller": {"kind": "ReplicaSet", "name": "web-1", "uid": "r"},
        "revision": "1", "container": "app", "image": "nginx", "imageID": "sha256:1",
        "origin": {"checkpoint": {"name": "web", "uid": "c"}, "pod": {"name": "web-1", "uid": "p"}, "node": "n1",
            "archive": "/var/lib/kubelet/checkpoints/checkpoint-web.tar"},
    }))
    .unwrap();
    let api: Api<Snapshot> = ns.api();
    let made = api.create(&PostParams::default(), &Snapshot::new("web", spec)).await.unwrap();
    let condition = json!({"type": "Accepted", "status": "Unknown", "reason": "Waiting", "message": "",
        "lastTransitionTime": "2026-11-01T12:00:00Z"});
    let status = json!({"status": {"phase": "Pending", "conditions": [condition], "copies": 0}});
    api.patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.unwrap()
}

/// Writes these fields of the status as an agent of that node does.
async fn apply(client: &Client, ns: &Namespace, node: &str, status: Value) -> Result<Snapshot, String> {
    let api: Api<Snapshot> = Api::namespaced(client.clone(), ns.name());
    let patch = json!({"apiVersion": "snap.weaversoft.io/v1alpha1", "kind": "Snapshot", "status": status});
    let params = PatchParams::apply(&format!("snapwatcher-agent/{node}")).force();
    api.patch_status("web", &params, &Patch::Apply(patch)).await.map_err(|error| error.to_string())
}

fn entry(node: &str) -> Value {
    json!({"nodes": [{"name": node, "state": "Held"}]})
}

#[tokio::test]
async fn the_token_of_an_agent_writes_the_entry_of_its_node_and_nothing_else() {
    in_namespace("the_token_on_a_node", |ns| async move {
        let account = install(&ns).await;
        let one = ns.ready_pod(&pod("one").build()).await;
        let node = one.spec.as_ref().unwrap().node_name.clone().unwrap();
        let other = if node == "node-1" { "node-2" } else { "node-1" };
        let (here, there) =
            (agent_on(&ns, "here", &account, &node).await, agent_on(&ns, "there", &account, other).await);
        let (stolen, client) =
            (client_of(&ns, &account, Some(&here)).await, client_of(&ns, &account, Some(&there)).await);
        let unbound = client_of(&ns, &account, None).await;
        snapshot(&ns).await;
        // The API server reads a new policy after a moment.
        ns.until("the policy is enforced", async || match apply(&unbound, &ns, "n", json!({"copies": 1})).await {
            Err(error) if error.contains("names no node") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;

        apply(&client, &ns, other, entry(other)).await.unwrap();
        let written = apply(&stolen, &ns, &node, entry(&node)).await.unwrap();
        assert_eq!(written.status.unwrap().nodes.len(), 2);
        let refused = json!({"nodes": [{"name": other, "state": "Refused"}]});
        for (case, client, manager, status, words) in [
            ("the entry of another node", &stolen, &*node, refused.clone(), "only the entry of its own node"),
            ("the same as that node", &stolen, other, refused, "only the entry of its own node"),
            ("the removal of that entry", &stolen, other, json!({"nodes": []}), "only the entry of its own node"),
            ("the phase", &stolen, &*node, json!({"phase": "Saved"}), "no other field"),
            ("the image", &stolen, &*node, json!({"image": "r.example.com/x@sha256:1"}), "no other field"),
            ("the copies", &stolen, &*node, json!({"copies": 9}), "no other field"),
            ("the conditions", &stolen, &*node, json!({"conditions": []}), "no other field"),
            ("a token that names no node", &unbound, &*node, entry(&node), "names no node"),
        ] {
            let mut status = status;
            // Its own entry stays, so that the refusal is about the rest.
            if status.get("nodes").is_none() {
                status["nodes"] = entry(&node)["nodes"].clone();
            }
            let refused = apply(client, &ns, manager, status).await.unwrap_err();
            assert!(refused.contains(words), "{case}: {refused}");
        }
        writes_nothing_else(&stolen, &ns).await;
        let found = ns.api::<Snapshot>().get("web").await.unwrap();
        assert_eq!((found.phase().as_str(), found.status.unwrap().nodes.len()), ("Pending", 2));
    })
    .await;
}

/// Each of these is refused for want of a right.
async fn writes_nothing_else(client: &Client, ns: &Namespace) {
    let snapshots: Api<Snapshot> = Api::namespaced(client.clone(), ns.name());
    let checkpoints: Api<Checkpoint> = Api::namespaced(client.clone(), ns.name());
    let (secrets, pods) =
        (Api::<Secret>::namespaced(client.clone(), ns.name()), Api::<Pod>::namespaced(client.clone(), ns.name()));
    let merge = |value: Value| Patch::Merge(value);
    let (params, create, all) = (PatchParams::default(), PostParams::default(), ListParams::default());
    let annotated = merge(json!({"metadata": {"annotations": {"snap.weaversoft.io/keep": "true"}}}));
    let succeeded = merge(json!({"status": {"phase": "Succeeded"}}));
    let another = Snapshot::new("another", snapshots.get("web").await.unwrap().spec);
    let refused = [
        ("create a Snapshot", snapshots.create(&create, &another).await.err()),
        ("annotate a Snapshot", snapshots.patch("web", &params, &annotated).await.err()),
        ("delete a Snapshot", snapshots.delete("web", &DeleteParams::default()).await.err()),
        ("write a Checkpoint", checkpoints.patch("web", &params, &annotated).await.err()),
        ("write the status of a Checkpoint", checkpoints.patch_status("web", &params, &succeeded).await.err()),
        ("delete a Checkpoint", checkpoints.delete("web", &DeleteParams::default()).await.err()),
        ("read Secrets", secrets.list(&all).await.err()),
        ("read pods", pods.list(&all).await.err()),
    ];
    for (what, error) in refused {
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("forbidden") && error.contains("cannot"), "it can {what}: {error}");
    }
    checkpoints.list(&all).await.unwrap();
    snapshots.list(&all).await.unwrap();
}
