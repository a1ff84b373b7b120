//! The RBAC rules that settings need: the one source for `snapwatcher check`, for docs/running.md and for the test of the chart.

#[cfg(test)]
mod tests;

use kube::CustomResourceExt as _;

use super::finding::State;
use super::rule::{ResourceScope, Rule};
use crate::config::{BackendSettings, RunArgs};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_certificates::TlsSource;

const CORE: &str = "";
const SNAP: &str = "snap.weaversoft.io";
const EVENTS: &str = "events.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

const CREATES_EVENTS: &str = "Creates the Events that `kubectl describe pod` shows.";

/// The settings from which the rules follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RightsSettings {
    /// The watched namespaces; an empty list means all.
    pub(super) namespaces: Vec<String>,
    /// Whether claims create Checkpoints, as with every back-end but `log`.
    pub(super) creates_checkpoints: bool,
    pub(super) service_namespace: String,
    /// The CA Secret, unless certificates come from files.
    pub(super) ca_secret: Option<String>,
    /// The Lease of several replicas.
    pub(super) lease: Option<String>,
    pub(super) mutating: Option<String>,
    pub(super) validating: Option<String>,
    /// Whether SnapWatcher updates the `caBundle` of the two configurations.
    pub(super) updates_ca_bundle: bool,
    /// The second service account, whose tokens are sent to kubelets.
    pub(super) kubelet_account: Option<String>,
    /// What the leader needs to create Snapshots, if it does.
    pub(super) saving: Option<SavingRights>,
    /// Whether this process serves the webhook in a pod. Events about certificates are on that pod.
    pub(super) is_webhook_pod: bool,
}

/// The settings of saving from which rules follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SavingRights {
    /// The Secret with the keys of Snapshots, if they are encrypted.
    pub(super) keys_secret: Option<String>,
}

impl RightsSettings {
    pub(super) fn of(args: &RunArgs) -> Self {
        let backend = args.checkpoint.backend.settings();
        let creates_checkpoints = !matches!(backend, BackendSettings::Log);
        let kubelet_account = match backend {
            BackendSettings::Kubelet(settings) => Some(settings.service_account),
            BackendSettings::Log | BackendSettings::SnapHook(_) => None,
        };
        let (ca_secret, updates_ca_bundle) = match args.certificate.source() {
            TlsSource::CaSecret { secret, .. } if args.admission.webhook => (Some(secret), true),
            TlsSource::CaSecret { .. } | TlsSource::Files { .. } => (None, false),
        };
        Self {
            namespaces: args.watch.namespaces(),
            creates_checkpoints,
            service_namespace: args.certificate.ca.service_namespace.clone(),
            ca_secret,
            lease: (!args.leader.standalone).then(|| args.leader.lease_name.clone()),
            mutating: args.certificate.mutating_webhook_configuration.clone(),
            validating: args.certificate.validating_webhook_configuration.clone(),
            updates_ca_bundle,
            kubelet_account,
            saving: args.save.save.then(|| SavingRights { keys_secret: args.save.keys_secret().map(str::to_owned) }),
            is_webhook_pod: args.admission.webhook && args.checkpoint.instance.pod_name.is_some(),
        }
    }
}

/// The rules that `snapwatcher run` and `snapwatcher check` need with these settings.
pub fn required_rules(args: &RunArgs) -> Vec<Rule> {
    rules(&RightsSettings::of(args))
}

pub(super) fn rules(settings: &RightsSettings) -> Vec<Rule> {
    let mut rules = Vec::new();
    let scopes = if settings.namespaces.is_empty() {
        vec![None]
    } else {
        settings.namespaces.iter().cloned().map(Some).collect::<Vec<_>>()
    };
    for scope in scopes {
        rules.extend(of_watched_namespace(settings, scope.as_ref()));
    }
    let is_elsewhere = !settings.namespaces.is_empty() && !settings.namespaces.contains(&settings.service_namespace);
    if settings.is_webhook_pod && is_elsewhere {
        // Without it, only Events about certificates are lost.
        let events = in_namespace(EVENTS, "events", &["create", "patch"], Some(&settings.service_namespace));
        rules.push(Rule { if_missing: State::Warning, purpose: CREATES_EVENTS, ..events });
    }
    rules.extend(of_service_namespace(settings));
    rules.extend(of_webhook_configurations(settings));
    if settings.creates_checkpoints {
        let definition = of_cluster("apiextensions.k8s.io", "customresourcedefinitions", &["get"]);
        rules.push(Rule {
            name: Some(Checkpoint::crd_name().to_owned()),
            if_missing: State::Warning,
            purpose: "`snapwatcher check` compares the resource's definition with its own. `snapwatcher run` does not need this.",
            ..definition
        });
    }
    rules.extend(of_kubelets(settings));
    rules
}

/// The rules for the objects in a watched namespace; `None` means all namespaces.
fn of_watched_namespace(settings: &RightsSettings, namespace: Option<&String>) -> Vec<Rule> {
    let rule = |group, resource, verbs, purpose| Rule { purpose, ..in_namespace(group, resource, verbs, namespace) };
    // A dry run does not read a pod again.
    let (pods, reads_pods): (&[&str], _) = if settings.creates_checkpoints {
        (
            &["get", "list", "watch"],
            "Watches labeled pods, and reads a pod again before it creates a Checkpoint or makes an attempt.",
        )
    } else {
        (&["list", "watch"], "Watches labeled pods.")
    };
    let finds_workloads = "Finds the workload of a pod; only metadata is read.";
    let mut rules = vec![
        rule(CORE, "pods", pods, reads_pods),
        rule("apps", "replicasets", &["get"], finds_workloads),
        rule("batch", "jobs", &["get"], finds_workloads),
    ];
    if settings.creates_checkpoints {
        let verbs = &["get", "list", "watch", "create", "delete"];
        let purpose = "Creates, watches and updates Checkpoints, and deletes those whose pods are gone.";
        rules.push(rule(SNAP, "checkpoints", verbs, purpose));
        rules.push(rule(SNAP, "checkpoints/status", &["update"], purpose));
    }
    if settings.saving.is_some() {
        let purpose =
            "Creates Snapshots, judges them by what their nodes report, and deletes those that are not needed.";
        rules.push(rule(SNAP, "snapshots", &["get", "list", "watch", "create", "delete"], purpose));
        rules.push(rule(SNAP, "snapshots/status", &["patch"], purpose));
    }
    rules.push(rule(EVENTS, "events", &["create", "patch"], CREATES_EVENTS));
    rules
}

/// The rules for the two Secrets and the Lease.
fn of_service_namespace(settings: &RightsSettings) -> Vec<Rule> {
    let of = |group, resource, verbs, purpose| Rule {
        purpose,
        ..in_namespace(group, resource, verbs, Some(&settings.service_namespace))
    };
    let mut rules = Vec::new();
    if let Some(secret) = &settings.ca_secret {
        let purpose = "Stores the CA that the replicas share, in a Secret that exists.";
        rules.push(Rule { name: Some(secret.clone()), ..of(CORE, "secrets", &["list", "watch", "update"], purpose) });
    }
    if let Some(secret) = settings.saving.as_ref().and_then(|saving| saving.keys_secret.as_ref()) {
        let purpose = "Stores a key for the Snapshots of each namespace, in a Secret that exists.";
        rules.push(Rule { name: Some(secret.clone()), ..of(CORE, "secrets", &["get", "patch"], purpose) });
    }
    if let Some(lease) = &settings.lease {
        let (group, purpose) = ("coordination.k8s.io", "Elects the leader of several replicas.");
        // RBAC cannot limit `create` to a name.
        rules.push(of(group, "leases", &["create"], purpose));
        rules.push(Rule { name: Some(lease.clone()), ..of(group, "leases", &["get", "update"], purpose) });
    }
    rules
}

fn of_webhook_configurations(settings: &RightsSettings) -> Vec<Rule> {
    let (verbs, purpose): (&[&str], _) = if settings.updates_ca_bundle {
        (&["get", "list", "watch", "patch"], "Writes the caBundle of the two configurations, by name.")
    } else {
        (&["get"], "Reads which namespaces the two configurations select.")
    };
    let of = |resource, name: &Option<String>| {
        name.clone().map(|name| Rule { name: Some(name), purpose, ..of_cluster(ADMISSION, resource, verbs) })
    };
    let mutating = of("mutatingwebhookconfigurations", &settings.mutating);
    mutating.into_iter().chain(of("validatingwebhookconfigurations", &settings.validating)).collect()
}

/// The rules that only the back-end `kubelet` needs.
fn of_kubelets(settings: &RightsSettings) -> Vec<Rule> {
    let Some(account) = &settings.kubelet_account else { return Vec::new() };
    let token = in_namespace(CORE, "serviceaccounts/token", &["create"], Some(&settings.service_namespace));
    vec![
        Rule {
            purpose: "Reads the address of a kubelet, and whether the node is Ready and has DiskPressure.",
            ..of_cluster(CORE, "nodes", &["get"])
        },
        Rule {
            if_missing: State::Warning,
            purpose: "`snapwatcher check` tests all nodes. `snapwatcher run` does not need this.",
            ..of_cluster(CORE, "nodes", &["list"])
        },
        Rule {
            name: Some(account.clone()),
            purpose: "Creates the tokens that SnapWatcher sends to kubelets.",
            ..token
        },
    ]
}

fn in_namespace(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    namespace: Option<&String>,
) -> Rule {
    let namespace = namespace.cloned();
    Rule { namespace, scope: ResourceScope::Namespaced, ..of_cluster(group, resource, verbs) }
}

fn of_cluster(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule {
        group,
        resource,
        verbs,
        name: None,
        namespace: None,
        scope: ResourceScope::Cluster,
        purpose: "",
        if_missing: State::Failed,
    }
}
