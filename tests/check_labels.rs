//! `snapwatcher check` finds labels that have no effect, in the real objects of a namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Resource, ResourceExt};
use lab::check_command::{self, Finding};
use lab::objects::{cronjob, daemonset, deployment, job, job_of, pod, statefulset};
use lab::{Namespace, in_namespace, webhooks};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use snapwatcher_api::keys::{DELAY, SNAP};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The findings about labels, as this kubeconfig's account sees them.
async fn labels(ns: &Namespace, kubeconfig: &Path, arguments: &[&str]) -> Vec<Finding> {
    let arguments = ns.check_arguments(&[arguments, &["--output=json"]].concat());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let checked = check_command::run(SNAPWATCHER.as_ref(), kubeconfig, &arguments).await.unwrap();
    checked.findings().unwrap().into_iter().filter(|finding| finding.topic == "label").collect()
}

/// Creates an object that has the label itself.
async fn create_labeled<K>(ns: &Namespace, mut object: K)
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    object.labels_mut().insert(SNAP.to_owned(), "true".to_owned());
    ns.create_object(&object).await;
}

async fn change_namespace(ns: &Namespace, metadata: serde_json::Value) {
    let (namespaces, change) = (Api::<KubeNamespace>::all(ns.client()), Patch::Merge(json!({"metadata": metadata})));
    namespaces.patch(ns.name(), &PatchParams::default(), &change).await.unwrap();
}

#[tokio::test]
async fn a_label_on_a_workload_and_not_on_its_template_is_reported() {
    in_namespace("a_label_on_a_workload", |ns| async move {
        let nowhere = json!({"no-such": "node"});
        create_labeled(&ns, deployment("web").replicas(0).build()).await;
        create_labeled(&ns, statefulset("db").replicas(0).build()).await;
        let selector = serde_json::from_value(nowhere).unwrap();
        create_labeled(&ns, daemonset("agent").spec(|spec| spec.node_selector = Some(selector)).build()).await;
        create_labeled(&ns, cronjob("report").replicas(0).build()).await;
        let report = ns.api::<CronJob>().get("report").await.unwrap();
        for number in ["report-1", "report-2"] {
            create_labeled(&ns, job_of(&report, number)).await;
        }
        create_labeled(&ns, job("import").replicas(0).build()).await;
        create_labeled(&ns, deployment("right").replicas(0).labelled().build()).await;
        ns.create_object(&deployment("plain").replicas(0).build()).await;

        let admin = ns.access().kubeconfig();
        let [finding] = labels(&ns, &admin, &[]).await.try_into().unwrap();
        let at = |kind: &str, name: &str| format!("{kind} `{}/{name}`", ns.name());
        let names = [
            at("CronJob", "report"),
            at("DaemonSet", "agent"),
            at("Deployment", "web"),
            at("Job", "import"),
            at("StatefulSet", "db"),
            at("jobs of CronJob", "report"),
        ];
        assert_eq!((finding.state.as_str(), finding.seen), ("warning", names.join(", ")));
        assert!(finding.remedy.unwrap().contains("spec.template.metadata.labels"));

        change_namespace(&ns, json!({"labels": {SNAP: "true"}})).await;
        let [finding] = labels(&ns, &admin, &[]).await.try_into().unwrap();
        assert!(finding.seen.contains(&format!("Namespace `{}`", ns.name())), "{finding:?}");
    })
    .await;
}

#[tokio::test]
async fn another_value_and_an_annotation_in_place_of_the_label_are_reported() {
    in_namespace("another_value_and_an_annotation", |ns| async move {
        for wanted in [
            pod("loud").label(SNAP, "True").hold().build(),
            pod("noted").annotate(SNAP, "true").hold().build(),
            pod("out").label(SNAP, "false").hold().build(),
            pod("right").labelled().annotate(SNAP, "true").hold().build(),
        ] {
            ns.create_object::<Pod>(&wanted).await;
        }
        ns.create_object(&deployment("web").replicas(2).label(SNAP, "yes").hold().build()).await;
        let made = ns.pods_made("web", 2).await;
        let (replicaset, _) = made.iter().next().unwrap().rsplit_once('-').unwrap();
        let mut annotated = statefulset("db").replicas(0).build();
        annotated.annotations_mut().insert(SNAP.to_owned(), "true".to_owned());
        ns.create_object(&annotated).await;

        let found = labels(&ns, &ns.access().kubeconfig(), &[]).await;
        let [value, annotation] = found.try_into().unwrap();
        let at = |kind: &str, name: &str| format!("{kind} `{}/{name}`", ns.name());
        let expected = [
            format!("{} (`yes`)", at("Deployment", "web")),
            format!("{} (`True`)", at("Pod", "loud")),
            format!("{} (`yes`)", at("pods of ReplicaSet", replicaset)),
        ];
        assert_eq!((value.state.as_str(), value.seen), ("warning", expected.join(", ")));
        let expected = format!("{}, {}", at("Pod", "noted"), at("StatefulSet", "db"));
        assert_eq!((annotation.state.as_str(), annotation.seen), ("warning", expected));
    })
    .await;
}

#[tokio::test]
async fn what_the_pods_of_a_workload_do_not_get_and_misspelled_keys_are_reported() {
    in_namespace("what_the_pods_of_a_workload_do_not_get", |ns| async move {
        let mut annotated = deployment("web").replicas(0).labelled().build();
        annotated.annotations_mut().insert(DELAY.to_owned(), "5s".to_owned());
        ns.create_object(&annotated).await;
        let misspelled = statefulset("db").replicas(0).labelled().annotate("snap.weaversoft.io/container", "app");
        ns.create_object(&misspelled.build()).await;
        let mut nightly = cronjob("nightly").replicas(0).build();
        let jobs = nightly.spec.as_mut().unwrap().job_template.metadata.get_or_insert_default();
        jobs.labels.get_or_insert_default().insert(SNAP.to_owned(), "true".to_owned());
        ns.create_object(&nightly).await;
        let bare = json!({
            "metadata": {"name": "bare", "labels": {SNAP: "true"}},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"app": "bare"}},
                "template": {
                    "metadata": {"labels": {"app": "bare"}},
                    "spec": {"containers": [{"name": "app", "image": "registry.invalid/app:1"}]},
                },
            },
        });
        ns.create_object::<ReplicaSet>(&serde_json::from_value(bare).unwrap()).await;

        let found = labels(&ns, &ns.access().kubeconfig(), &[]).await;
        let at = |kind: &str, name: &str| format!("{kind} `{}/{name}`", ns.name());
        let seen: Vec<String> = found.into_iter().map(|finding| finding.seen).collect();
        let expected = [
            format!("{}, {}", at("CronJob", "nightly"), at("ReplicaSet", "bare")),
            format!("{} (`delay`)", at("Deployment", "web")),
            format!("{} (annotation `container`)", at("StatefulSet", "db")),
        ];
        assert_eq!(seen, expected);
    })
    .await;
}

#[tokio::test]
async fn labeled_pods_that_the_webhook_does_not_select_are_reported() {
    in_namespace("labeled_pods_that_the_webhook_does_not_select", |ns| async move {
        let admin = ns.access().kubeconfig();
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(ns.client());
        let scope = webhooks::Scope::Namespace("another-namespace".to_owned());
        let other = webhooks::mutating(&format!("{}-other", ns.name()), &scope, "127.0.0.1:1");
        configurations.create(&PostParams::default(), &other).await.unwrap();
        let flag = format!("--mutating-webhook-configuration={}", other.name_any());
        ns.create_object(&pod("web").labelled().hold().build()).await;

        let [label, excluded] = labels(&ns, &admin, &[&flag]).await.try_into().unwrap();
        assert_eq!((label.state.as_str(), excluded.state.as_str()), ("ok", "warning"));
        assert_eq!(excluded.seen, format!("in the namespaces `{}` (1)", ns.name()));
        configurations.delete(&other.name_any(), &DeleteParams::default()).await.unwrap();
        let [label] = labels(&ns, &admin, &[&flag]).await.try_into().unwrap();
        assert_eq!(label.state, "ok", "no configuration is known");
    })
    .await;
}

#[tokio::test]
async fn kinds_that_the_account_may_not_list_are_skipped_with_a_command_that_lists_them() {
    in_namespace("kinds_that_the_account_may_not_list", |ns| async move {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]});
        let role: Role = serde_json::from_value(json!({"metadata": {"name": "lists-pods"}, "rules": [pods]})).unwrap();
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "lists-pods"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lists-pods"},
            "subjects": [{"kind": "ServiceAccount", "namespace": ns.name(), "name": "default"}],
        }))
        .unwrap();
        ns.create_object(&role).await;
        ns.create_object(&binding).await;
        ns.create_object(&pod("loud").label(SNAP, "TRUE").hold().build()).await;
        let mut kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
        let user = format!("system:serviceaccount:{}:default", ns.name());
        kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().impersonate = Some(user);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), serde_yaml_ng::to_string(&kubeconfig).unwrap()).unwrap();

        ns.until("the account may list pods and nothing else", async || {
            let found = labels(&ns, file.path(), &[]).await;
            let states: Vec<&str> = found.iter().map(|finding| finding.state.as_str()).collect();
            if states == ["warning", "skipped"] { Ok(found) } else { Err(format!("{found:#?}")) }
        })
        .await
        .into_iter()
        .zip(["loud", "may not list them"])
        .for_each(|(finding, words)| assert!(finding.seen.contains(words), "{finding:?}"));
        let [_, skipped] = labels(&ns, file.path(), &[]).await.try_into().unwrap();
        let command = "kubectl get cronjobs,daemonsets,deployments,jobs,namespaces,replicasets,statefulsets -A -l \
                       snap.weaversoft.io/snap";
        assert!(skipped.remedy.unwrap().ends_with(command));
    })
    .await;
}
