//! Lists the objects that people label, with a limit on their number and on the time.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, timeout_at};

use super::super::finding::Finding;
use super::super::rights::{Access, access};
use super::{Found, LabelsOfPods, Marks, Mistake, Unread, evaluate, mistake};
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
    kind: &'static str,
    plural: &'static str,
    place: LabelsOfPods,
}

const fn workload(group: &'static str, kind: &'static str, plural: &'static str) -> LabeledKind {
    LabeledKind { group, kind, plural, place: LabelsOfPods::InTemplate }
}

const KINDS: [LabeledKind; 7] = [
    LabeledKind { group: "", kind: "Pod", plural: "pods", place: LabelsOfPods::Own },
    workload("apps", "Deployment", "deployments"),
    workload("apps", "StatefulSet", "statefulsets"),
    workload("apps", "DaemonSet", "daemonsets"),
    workload("batch", "CronJob", "cronjobs"),
    workload("batch", "Job", "jobs"),
    // Service meshes are enabled by a label on the namespace.
    LabeledKind { group: "", kind: "Namespace", plural: "namespaces", place: LabelsOfPods::Nowhere },
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
                found.unread.entry(Unread::NotAllowed).or_default().insert(kind.plural);
                continue;
            }
            for selector in selectors(kind.place) {
                let listed = timeout_at(until, list(client, kind, &scope, &selector, &mut found)).await;
                let unread = match listed {
                    Ok(Ok(true)) => continue,
                    Ok(Ok(false)) => Unread::TooMany(MOST),
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
fn selectors(place: LabelsOfPods) -> Vec<String> {
    let without = format!("!{SNAP}");
    match place {
        LabelsOfPods::Own => {
            vec![format!("{SNAP},{SNAP} notin (true,false)"), format!("{SNAP}={OPTED_IN},!{MUTATED}"), without]
        }
        LabelsOfPods::InTemplate | LabelsOfPods::Nowhere => vec![SNAP.to_owned(), without],
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
    let version = GroupVersionKind::gvk(kind.group, "v1", kind.kind);
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
    let own = Marks { label: object.labels().get(SNAP).cloned(), annotation: object.annotations().get(SNAP).cloned() };
    let template = template(object);
    match mistake(kind.place, &own, &template) {
        Some(mistake) => {
            let label = if kind.place == LabelsOfPods::Own { own.label } else { template.label };
            let value = label.filter(|_| mistake == Mistake::OtherValue).map(|value| format!(" (`{value}`)"));
            let name = format!("{}{}", described(kind, object), value.unwrap_or_default());
            found.mistakes.entry(mistake).or_default().insert(name);
        }
        // Static pods are neither mutated nor checkpointed.
        None if own.label.as_deref() == Some(OPTED_IN)
            && kind.place == LabelsOfPods::Own
            && !object.annotations().contains_key(MIRROR) =>
        {
            *found.not_mutated.entry(object.namespace().unwrap_or_default()).or_default() += 1;
        }
        None => {}
    }
}

fn template(object: &DynamicObject) -> Marks {
    // A CronJob has the template of its Jobs, and in it that of their pods.
    let of_pods = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let metadata = of_pods.iter().find_map(|path| object.data.pointer(path)?.get("metadata"));
    let snap = |values: &str| metadata?.get(values)?.get(SNAP)?.as_str().map(str::to_owned);
    Marks { label: snap("labels"), annotation: snap("annotations") }
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
