//! Lists the objects that people label, with a limit on their number and on the time.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::super::finding::Finding;
use super::super::rights::{Access, access};
use super::marks::{Marks, mistakes};
use super::{Found, LabelsOfPods, Unread, evaluate};
use snapwatcher_api::keys::{MIRROR, MUTATED, OPTED_IN, SNAP};
use snapwatcher_api::pod::ControllerReference;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Pages, Scope, call, limit_pages};

/// Objects on one page of a list response.
const PAGE: u32 = 500;

/// How many objects one listing looks at.
const MOST: usize = 1000;

/// Time limit for all listings together.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A kind of object that people label.
#[derive(Debug, Clone, Copy)]
struct LabeledKind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    place: LabelsOfPods,
    /// What else the selector says.
    only: &'static str,
    /// It is no part of Kubernetes: it may be missing, and an account without the right to list it is no finding.
    is_optional: bool,
}

const fn workload(group: &'static str, kind: &'static str, plural: &'static str) -> LabeledKind {
    let (version, place, only) = ("v1", LabelsOfPods::InTemplate, "");
    LabeledKind { group, version, kind, plural, place, only, is_optional: false }
}

/// Those of Deployments have the label. What the Deployment says is copied to them.
const NOT_OF_DEPLOYMENTS: &str = ",!pod-template-hash";

const KINDS: [LabeledKind; 9] = [
    LabeledKind { place: LabelsOfPods::Own, ..workload("", "Pod", "pods") },
    workload("apps", "Deployment", "deployments"),
    workload("apps", "StatefulSet", "statefulsets"),
    workload("apps", "DaemonSet", "daemonsets"),
    workload("batch", "CronJob", "cronjobs"),
    workload("batch", "Job", "jobs"),
    LabeledKind { only: NOT_OF_DEPLOYMENTS, ..workload("apps", "ReplicaSet", "replicasets") },
    // Of Argo Rollouts, in place of a Deployment.
    LabeledKind { version: "v1alpha1", is_optional: true, ..workload("argoproj.io", "Rollout", "rollouts") },
    // Service meshes are enabled by a label on the namespace.
    LabeledKind { place: LabelsOfPods::Nowhere, ..workload("", "Namespace", "namespaces") },
];

/// Tests the watched namespaces; an empty list means all.
pub(in crate::check) async fn check(
    client: &Client,
    namespaces: &[String],
    configuration: Option<&str>,
) -> Vec<Finding> {
    let client = &limit_pages(client);
    let until = Instant::now() + TIME_LIMIT;
    let mut found = Found::default();
    for kind in KINDS {
        for scope in Scope::of(namespaces) {
            if !may_list(client, kind, &scope).await {
                if kind.is_optional {
                    continue;
                }
                found.unread.entry(Unread::NotAllowed).or_default().insert(kind.plural);
                continue;
            }
            for selector in selectors(kind) {
                let listed = timeout_at(until, list(client, kind, &scope, &selector, &mut found)).await;
                let unread = match listed {
                    Ok(Ok(true)) => continue,
                    Ok(Ok(false)) => Unread::TooMany(MOST),
                    Ok(Err(error)) if kind.is_optional && error.is_not_found() => continue,
                    Ok(Err(error)) => Unread::Failed(error_chain(&error)),
                    Err(_) => Unread::Failed(format!("not finished within {} s", TIME_LIMIT.as_secs())),
                };
                found.unread.entry(unread).or_default().insert(kind.plural);
            }
        }
    }
    evaluate(&found, read(client, configuration).await.as_ref())
}

/// Whether the account has the right. A request without it would show in the audit log as one that was refused.
async fn may_list(client: &Client, kind: LabeledKind, scope: &Scope) -> bool {
    let namespace = match scope {
        Scope::Namespace(name) if kind.place != LabelsOfPods::Nowhere => Some(name.clone()),
        _ => None,
    };
    let attributes = ResourceAttributes {
        group: Some(kind.group.to_owned()),
        resource: Some(kind.plural.to_owned()),
        verb: Some("list".to_owned()),
        namespace,
        ..ResourceAttributes::default()
    };
    let what = format!("right to list {}", kind.plural);
    !matches!(access(client, attributes, &what).await, Access::Denied(_))
}

/// The configuration, if it can be read. Otherwise another finding says why not.
async fn read(client: &Client, name: Option<&str>) -> Option<MutatingWebhookConfiguration> {
    let name = name?;
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    call(format!("read mutating configuration `{name}`"), api.get_opt(name)).await.ok()?
}

/// What is listed of a kind. Without the label, an object may still have the annotation, or its template may have the label.
fn selectors(kind: LabeledKind) -> Vec<String> {
    let LabeledKind { place, only, .. } = kind;
    let without = format!("!{SNAP}{only}");
    match place {
        LabelsOfPods::Own => {
            vec![format!("{SNAP},{SNAP} notin (true,false)"), format!("{SNAP}={OPTED_IN},!{MUTATED}"), without]
        }
        LabelsOfPods::InTemplate | LabelsOfPods::Nowhere => vec![format!("{SNAP}{only}"), without],
    }
}

/// Adds the mistakes of the selected objects. False: there are more objects than were looked at.
async fn list(
    client: &Client,
    kind: LabeledKind,
    scope: &Scope,
    selector: &str,
    found: &mut Found,
) -> Result<bool, CallError> {
    let version = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&version, kind.plural);
    let params = ListParams::default().labels(selector).limit(PAGE);
    let client = client.clone();
    let (api, params) = match (scope, kind.place) {
        (Scope::All, _) => (Api::all_with(client, &resource), params),
        (Scope::Namespace(name), LabelsOfPods::Nowhere) => {
            (Api::all_with(client, &resource), params.fields(&format!("metadata.name={name}")))
        }
        (Scope::Namespace(name), _) => (Api::namespaced_with(client, name, &resource), params),
    };
    let what = format!("list {}", kind.plural);
    let (mut pages, mut seen) = (Pages::<DynamicObject>::new(api, params), 0);
    while let Some(page) = pages.next(&what).await? {
        if seen >= MOST && !page.is_empty() {
            return Ok(false);
        }
        seen += page.len();
        for object in &page {
            add(found, kind, object);
        }
    }
    Ok(true)
}

fn add(found: &mut Found, kind: LabeledKind, object: &DynamicObject) {
    // The Jobs of a CronJob get this, and their pods do not.
    let between = object.data.pointer("/spec/jobTemplate/metadata").map(marks).unwrap_or_default();
    let own = Marks::of(object.labels(), object.annotations()).and(between);
    let mistakes = mistakes(kind.place, &own, &template(object));
    for (mistake, detail) in mistakes {
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        found.mistakes.entry(mistake).or_default().insert(format!("{}{detail}", described(kind, object)));
    }
    // Static pods are neither mutated nor checkpointed.
    let is_labeled_pod = kind.place == LabelsOfPods::Own && own.label.as_deref() == Some(OPTED_IN);
    if is_labeled_pod && !object.annotations().contains_key(MIRROR) {
        *found.not_mutated.entry(object.namespace().unwrap_or_default()).or_default() += 1;
    }
}

fn template(object: &DynamicObject) -> Marks {
    // A CronJob has the template of its Jobs, and in it that of their pods.
    let of_pods = ["/spec/template/metadata", "/spec/jobTemplate/spec/template/metadata"];
    of_pods.iter().find_map(|path| object.data.pointer(path)).map(marks).unwrap_or_default()
}

fn marks(metadata: &Value) -> Marks {
    let values = |key: &str| -> BTreeMap<String, String> {
        let values = metadata.get(key).and_then(Value::as_object).into_iter().flatten();
        values.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    Marks::of(&values("labels"), &values("annotations"))
}

/// The object as people know it. Pods and Jobs of one controller have one template, so the controller is named.
fn described(kind: LabeledKind, object: &DynamicObject) -> String {
    let at = |name: &str| match object.namespace() {
        Some(namespace) => format!("`{namespace}/{name}`"),
        None => format!("`{name}`"),
    };
    match ControllerReference::among(object.owner_references()) {
        Some(controller) if matches!(kind.kind, "Pod" | "Job") => {
            format!("{} of {} {}", kind.plural, controller.kind, at(&controller.name))
        }
        _ => format!("{} {}", kind.kind, at(&object.name_any())),
    }
}
