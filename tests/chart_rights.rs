//! The chart grants the least rights. With all rules no request is denied. Without one of them the health check that depends
//! on it fails, or the log names it. Each scenario grants exactly the rights that its settings need.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use lab::objects::{deployment, job};
use lab::{ChartInstallation, Cluster, Namespace, Options, Snapwatcher, empty_ca_secret, in_namespace_of, try_until};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// How soon the loss of a right must show.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The first resource of each rule, and the check of `/readyz?verbose` that fails without the rule. If no check depends on the
/// rule, the log names it.
const SIGNS: [(&str, Option<&str>); 9] = [
    ("pods", Some("watch")),
    ("replicasets", None),
    ("jobs", None),
    ("checkpoints", Some("crd")),
    ("checkpoints/status", None),
    ("events", None),
    ("mutatingwebhookconfigurations", Some("ca-bundle")),
    ("secrets", Some("serving-certificate")),
    ("leases", Some("leader")),
];

/// The two objects that hold the rights of a release that watches all namespaces.
struct Rights {
    cluster: Api<ClusterRole>,
    own: Api<Role>,
    installation: ChartInstallation,
}

impl Rights {
    fn of(installation: ChartInstallation) -> Self {
        let client = installation.client();
        Self { cluster: Api::all(client.clone()), own: Api::namespaced(client, "snap"), installation }
    }

    async fn rules(&self) -> Vec<PolicyRule> {
        let mut rules = self.cluster.get("snapwatcher").await.unwrap().rules.unwrap();
        rules.extend(self.own.get("snapwatcher").await.unwrap().rules.unwrap());
        rules
    }

    /// Removes the rule from its role.
    async fn take(&self, rule: &PolicyRule) {
        let mut all = self.cluster.get("snapwatcher").await.unwrap();
        all.rules.as_mut().unwrap().retain(|other| other != rule);
        self.cluster.replace("snapwatcher", &PostParams::default(), &all).await.unwrap();
        let mut own = self.own.get("snapwatcher").await.unwrap();
        own.rules.as_mut().unwrap().retain(|other| other != rule);
        self.own.replace("snapwatcher", &PostParams::default(), &own).await.unwrap();
    }

    /// Restores all rules.
    async fn restore(&self, rules: &[PolicyRule]) {
        let (all, own) = (self.cluster.get("snapwatcher").await.unwrap(), self.own.get("snapwatcher").await.unwrap());
        let is_own = |rule: &&PolicyRule| {
            let resources = rule.resources.iter().flatten();
            resources.into_iter().any(|resource| resource == "secrets" || resource == "leases")
        };
        let (owned, others): (Vec<_>, Vec<_>) = rules.iter().partition(is_own);
        let mut all = all;
        all.rules = Some(others.into_iter().cloned().collect());
        self.cluster.replace("snapwatcher", &PostParams::default(), &all).await.unwrap();
        let mut own = own;
        own.rules = Some(owned.into_iter().cloned().collect());
        self.own.replace("snapwatcher", &PostParams::default(), &own).await.unwrap();
    }

    /// Empties the Secret, which only a first start fills, and deletes the Lease, which only a first start creates.
    async fn forget(&self) {
        let client = self.installation.client();
        empty_ca_secret(client.clone(), "snap").await.unwrap();
        let leases: Api<Lease> = Api::namespaced(client, "snap");
        drop(leases.delete("snapwatcher", &DeleteParams::default()).await);
    }

    async fn start(&self, ns: &Namespace) -> Snapwatcher {
        let url = ns.snaphook().url();
        let settings = [("SNAP_BACK_API_URL", url.as_str()), ("LOG_LEVEL", "DEBUG")];
        self.installation.start_snapwatcher(SNAPWATCHER.as_ref(), &settings).await
    }
}

/// Creates pods whose workloads SnapWatcher has to find.
async fn work(ns: &Namespace, name: &str) {
    ns.create_object(&deployment(&format!("{name}-web")).labelled().build()).await;
    ns.create_object(&job(&format!("{name}-job")).labelled().build()).await;
}

async fn is_done(ns: &Namespace, name: &str) {
    for workload in [format!("{name}-web"), format!("{name}-job")] {
        let pod = ns.pods_made(&workload, 1).await.pop_first().unwrap();
        ns.record_of(&pod, "Succeeded").await;
    }
}

/// Why the check fails. Empty while it passes.
async fn failing(watcher: &Snapwatcher, check: &str) -> String {
    let text = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
    let failed = format!("[-]{check} failed");
    text.lines().filter(|line| line.starts_with(&failed)).collect()
}

/// Whether a line has the API server's message for a request that lacks this rule.
fn names(rule: &PolicyRule, text: &str) -> bool {
    let verb = |line: &str| rule.verbs.iter().any(|verb| line.contains(&format!("cannot {verb} resource ")));
    let resource = |line: &str| {
        let mut resources = rule.resources.iter().flatten();
        let line = line.replace('\\', "");
        resources.any(|resource| line.contains(&format!("resource \"{resource}\"")))
    };
    text.lines().any(|line| verb(line) && resource(line))
}

#[tokio::test]
async fn a_missing_rule_fails_its_check_or_is_logged() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    in_namespace_of(cluster.access(), "a_missing_rule_fails_its_check", |ns| async move {
        let installation = ChartInstallation::on(ns.access()).await;
        installation.helm("upgrade snapwatcher ./charts/snapwatcher -n snap -f charts/snapwatcher/values-ha.yaml");
        let rights = Rights::of(installation);
        let rules = rights.rules().await;

        let watcher = rights.start(&ns).await;
        work(&ns, "before").await;
        is_done(&ns, "before").await;
        assert!(!watcher.log().contains("forbidden"), "{}", watcher.log());
        watcher.stop().await.unwrap();

        for (number, rule) in rules.iter().enumerate() {
            let resources: Vec<&String> = rule.resources.iter().flatten().collect();
            // Only `snapwatcher check` uses it.
            if resources.iter().any(|resource| *resource == "customresourcedefinitions") {
                continue;
            }
            rights.take(rule).await;
            rights.forget().await;
            let watcher = rights.start(&ns).await;
            work(&ns, &format!("rule-{number}")).await;
            let (_, check) = SIGNS.iter().find(|(resource, _)| *resource == resources[0].as_str()).unwrap();
            let awaited = format!("{rule:?} is missing");
            let reported = try_until(&awaited, TIMEOUT, async || {
                let text = match check {
                    Some(check) => failing(&watcher, check).await,
                    None => watcher.log(),
                };
                if names(rule, &text) { Ok(()) } else { Err(text) }
            });
            assert!(reported.await.is_ok(), "{awaited}, but no check and no log line names it:\n{}", watcher.log());
            watcher.stop().await.unwrap();
            rights.restore(&rules).await;
        }

        let watcher = rights.start(&ns).await;
        work(&ns, "after").await;
        is_done(&ns, "after").await;
        assert!(!watcher.log().contains("forbidden"), "{}", watcher.log());
        watcher.stop().await.unwrap();
    })
    .await;
    cluster.stop().await.unwrap();
}

/// Verb, group, resource, name and namespace, empty where there is none.
type Right = [String; 5];

/// Scenarios that need different rights.
const SCENARIOS: [&str; 11] = [
    "default",
    "ha",
    "backend-log",
    "backend-kubelet",
    "namespaced",
    "namespaced-elsewhere",
    "tls-secret",
    "tls-injected",
    "validation-off",
    "admission-off",
    "policy",
];

/// The rights in a finding of `snapwatcher check`, such as "right to get, list pods in namespace `shop`".
fn rights_in(what: &str) -> Vec<Right> {
    let words = what.strip_prefix("right to ").unwrap();
    let until = |after: &str, end: char| {
        let rest = words.split_once(after).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split(end).next()).unwrap_or_default().to_owned()
    };
    let (group, name, namespace) = (until(" of ", ' '), until(" named `", '`'), until(" in namespace `", '`'));
    let (last_verb, resource) = words.rsplit(", ").next().unwrap().split_once(' ').unwrap();
    let resource = resource.split(' ').next().unwrap();
    let verbs = words.split(", ").map(|verb| verb.split(' ').next().unwrap());
    assert_eq!(verbs.clone().last(), Some(last_verb), "{what}");
    verbs.map(|verb| [verb, &group, resource, &name, &namespace].map(str::to_owned)).collect()
}

fn granted(rules: Option<Vec<PolicyRule>>, namespace: &str) -> Vec<Right> {
    let mut rights = Vec::new();
    for rule in rules.into_iter().flatten() {
        let every = |group: &str| {
            for resource in rule.resources.iter().flatten() {
                for name in rule.resource_names.as_deref().unwrap_or(&[String::new()]) {
                    let right = |verb: &String| [verb, group, resource, name, namespace].map(str::to_owned);
                    rights.extend(rule.verbs.iter().map(right));
                }
            }
        };
        rule.api_groups.iter().flatten().map(String::as_str).for_each(every);
    }
    rights
}

fn is_ours(subjects: Option<Vec<Subject>>) -> bool {
    let ours = ("ServiceAccount", "snapwatcher", Some("snap"));
    subjects
        .into_iter()
        .flatten()
        .any(|subject| (subject.kind.as_str(), subject.name.as_str(), subject.namespace.as_deref()) == ours)
}

/// The rights that are bound to the account.
async fn all_granted(client: &Client) -> BTreeSet<Right> {
    let all = ListParams::default();
    let mut has = BTreeSet::new();
    for binding in Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await.unwrap() {
        if is_ours(binding.subjects) {
            let role = Api::<ClusterRole>::all(client.clone()).get(&binding.role_ref.name).await.unwrap();
            has.extend(granted(role.rules, ""));
        }
    }
    for binding in Api::<RoleBinding>::all(client.clone()).list(&all).await.unwrap() {
        if is_ours(binding.subjects) {
            let namespace = binding.metadata.namespace.unwrap();
            let role = Api::<Role>::namespaced(client.clone(), &namespace).get(&binding.role_ref.name).await.unwrap();
            has.extend(granted(role.rules, &namespace));
        }
    }
    has
}

#[tokio::test]
async fn each_scenario_grants_what_its_settings_need_and_no_more() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    in_namespace_of(cluster.access(), "each_scenario_grants_what_its_settings_need", |ns| async move {
        let installation = ChartInstallation::on(ns.access()).await;
        let client = installation.client();
        for name in ["shop", "billing"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            let namespaces: Api<core::Namespace> = Api::all(client.clone());
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        for scenario in SCENARIOS {
            let values = format!("charts/snapwatcher/ci/{scenario}-values.yaml");
            let upgrade = format!("upgrade snapwatcher ./charts/snapwatcher -n snap --reset-values -f {values}");
            if let Some(refusal) = installation.helm_error(&upgrade) {
                // An older Kubernetes has no policies.
                assert!(refusal.contains("does not serve MutatingAdmissionPolicy"), "{scenario}: {refusal}");
                continue;
            }
            let has = all_granted(&client).await;
            // The authorizer sees a change a moment later.
            ns.until(&format!("rights and needs of `{scenario}` agree"), async || {
                let findings = installation.check(SNAPWATCHER.as_ref()).await.findings().unwrap();
                let rights: Vec<_> = findings.into_iter().filter(|finding| finding.topic == "right").collect();
                let needs: BTreeSet<_> = rights.iter().flat_map(|finding| rights_in(&finding.what)).collect();
                assert!(!needs.is_empty(), "{scenario}");
                let missing: Vec<_> = rights.into_iter().filter(|finding| finding.state != "ok").collect();
                if missing.is_empty() && needs == has {
                    return Ok(());
                }
                let (less, more): (Vec<_>, Vec<_>) =
                    (needs.difference(&has).collect(), has.difference(&needs).collect());
                Err(format!(
                    "{scenario}: needed but not granted: {less:?}; granted but not needed: {more:?}; {missing:#?}"
                ))
            })
            .await;
        }
    })
    .await;
    cluster.stop().await.unwrap();
}
