//! What the back-end `kubelet` needs of the API server, and the message while it is missing: the second service account, and
//! the rights that docs/running.md lists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::config::Kubeconfig;
use lab::kubelet::Kubelet;
use lab::objects::pod;
use lab::{Namespace, SnapwatcherOptions, in_namespace};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");
const ACCOUNT: &str = "snapwatcher-kubelet";
const GROUP: &str = "rbac.authorization.k8s.io";

fn object<K: DeserializeOwned>(kind: &str, name: &str, mut rest: Value) -> K {
    let is_rbac = kind != "ServiceAccount";
    rest["apiVersion"] = if is_rbac { format!("{GROUP}/v1").into() } else { "v1".into() };
    rest["kind"] = kind.into();
    rest["metadata"] = json!({"name": name});
    serde_json::from_value(rest).unwrap()
}

fn bound(role: &str, kind: &str, user: &str) -> Value {
    json!({
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
    })
}

/// The rights of SnapWatcher in its namespace that each back-end needs.
async fn grant_the_rest(ns: &Namespace, user: &str) {
    let rules = json!({"rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["snap.weaversoft.io"], "resources": ["checkpoints"],
         "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": ["snap.weaversoft.io"], "resources": ["checkpoints/status"], "verbs": ["update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch", "update"]},
    ]});
    ns.create_object(&object::<Role>("Role", "the-rest", rules)).await;
    ns.create_object(&object::<RoleBinding>("RoleBinding", "the-rest", bound("the-rest", "Role", user))).await;
}

async fn grant_nodes(ns: &Namespace, user: &str) {
    let rules = json!({"rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}]});
    let create = PostParams::default();
    Api::<ClusterRole>::all(ns.client()).create(&create, &object("ClusterRole", user, rules)).await.unwrap();
    let bindings = Api::<ClusterRoleBinding>::all(ns.client());
    let binding = object("ClusterRoleBinding", user, bound(user, "ClusterRole", user));
    bindings.create(&create, &binding).await.unwrap();
}

async fn grant_tokens(ns: &Namespace, user: &str) {
    let rules = json!({"rules": [
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [ACCOUNT], "verbs": ["create"]},
    ]});
    ns.create_object(&object::<Role>("Role", "tokens", rules)).await;
    ns.create_object(&object::<RoleBinding>("RoleBinding", "tokens", bound("tokens", "Role", user))).await;
}

/// Waits until the record of the pod is Pending because a right is missing, and the message contains these words.
async fn lacks(ns: &Namespace, words: &str) {
    ns.until(&format!("the Checkpoint says `{words}`"), async || {
        let records = ns.records_of("web").await;
        let reported = records.iter().find(|record| record.state() == "Pending(Unauthorized)");
        match reported.filter(|record| record.message().contains(words)) {
            Some(_) => Ok(()),
            None => Err(format!("{records:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn each_missing_right_is_named_and_waited_for() {
    in_namespace("each_missing_right_is_named", |ns| async move {
        let user = ns.name().to_owned();
        let mut kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
        kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().impersonate = Some(user.clone());
        let folder = tempfile::tempdir().unwrap();
        let (path, ca) = (folder.path().join("kubeconfig"), folder.path().join("ca.crt"));
        std::fs::write(&path, serde_yaml_ng::to_string(&kubeconfig).unwrap()).unwrap();
        grant_the_rest(&ns, &user).await;

        let node = ns.dedicated_nodes(1).await.remove(0);
        let kubelet = Kubelet::start().await.unwrap();
        ns.set_kubelet_port(&node, kubelet.port()).await;
        std::fs::write(&ca, kubelet.certificate()).unwrap();
        let args = ["--backend=kubelet", "--longest-wait=500ms", &format!("--kubelet-ca-file={}", ca.display())];
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        let (binary, kubeconfig) = (SNAPWATCHER.into(), path);
        ns.launch_snapwatcher(SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() }).await;
        ns.create_object(&pod("web").labelled().spec(|spec| spec.node_name = Some(node)).build()).await;

        lacks(&ns, "SnapWatcher needs the right `get` on `nodes`").await;
        grant_nodes(&ns, &user).await;
        lacks(&ns, &format!("`create` on `serviceaccounts/token` named `{ACCOUNT}` in namespace `{user}`")).await;
        grant_tokens(&ns, &user).await;
        lacks(&ns, &format!("service account `{user}/{ACCOUNT}` does not exist: create it")).await;
        ns.create_object(&object::<ServiceAccount>("ServiceAccount", ACCOUNT, json!({}))).await;
        ns.record_of("web", "Succeeded").await;
        assert_eq!(kubelet.requests().len(), 1);

        let now = DeleteParams::default();
        Api::<ClusterRole>::all(ns.client()).delete(&user, &now).await.unwrap();
        Api::<ClusterRoleBinding>::all(ns.client()).delete(&user, &now).await.unwrap();
    })
    .await;
}
