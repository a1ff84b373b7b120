//! `snapwatcher check` with accounts of few rights: those of docs/running.md are enough, and each missing one is reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use lab::check_command::{self, Finding};
use lab::{Namespace, in_namespace};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const RBAC: &str = "rbac.authorization.k8s.io";

/// A rule of one resource, with the name of its object where it is limited to one.
type Rule = Value;

/// The rules of docs/running.md, one for each resource, for a SnapWatcher of this namespace.
fn documented(ns: &Namespace) -> Vec<Rule> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/running.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let documents =
        blocks.flat_map(serde_yaml_ng::Deserializer::from_str).map(|document| Value::deserialize(document).unwrap());
    let holders = documents.filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
    let mut rules = Vec::new();
    for holder in holders {
        for rule in holder["rules"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                let mut rule = rule.clone();
                rule["resources"] = json!([resource]);
                // A right of the second account, whose tokens the kubelets receive.
                if resource == "nodes/checkpoint" {
                    continue;
                }
                // The configurations of a test are named like its namespace.
                if rule["apiGroups"] == json!(["admissionregistration.k8s.io"]) {
                    rule["resourceNames"] = json!([ns.name()]);
                }
                rules.push(rule);
            }
        }
    }
    rules
}

/// An account with exactly the rights that a test grants.
struct Account {
    name: String,
    user: String,
    roles: Api<ClusterRole>,
    bindings: Api<ClusterRoleBinding>,
    folder: TempDir,
}

impl Account {
    async fn of(ns: &Namespace) -> Self {
        let (name, user) = (ns.name().to_owned(), format!("system:serviceaccount:{}:snapwatcher", ns.name()));
        let mut kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
        kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().impersonate = Some(user.clone());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kubeconfig"), serde_yaml_ng::to_string(&kubeconfig).unwrap()).unwrap();
        let account = Self { name, user, roles: Api::all(ns.client()), bindings: Api::all(ns.client()), folder };
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": account.name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": account.name},
            "subjects": [{"kind": "ServiceAccount", "namespace": ns.name(), "name": "snapwatcher"}],
        });
        account
            .bindings
            .patch(&account.name, &PatchParams::apply("test").force(), &Patch::Apply(binding))
            .await
            .unwrap();
        account
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    async fn grant(&self, rules: &[Rule]) {
        let role = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": self.name}, "rules": rules,
        });
        self.roles.patch(&self.name, &PatchParams::apply("test").force(), &Patch::Apply(role)).await.unwrap();
    }

    /// The exit code, and the rights that are missing.
    async fn missing(&self, arguments: &[String]) -> (Option<i32>, Vec<Finding>) {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push("--output=json");
        let checked = check_command::run(SNAPWATCHER.as_ref(), &self.kubeconfig(), &arguments).await.unwrap();
        let findings = checked.findings().unwrap();
        let is_missing = |finding: &Finding| finding.topic == "right" && finding.state != "ok";
        (checked.code, findings.into_iter().filter(is_missing).collect())
    }

    /// Removes each verb of the selected rules for a while, and asserts that only this one is reported as missing. Returns
    /// the number of verbs.
    async fn each_is_reported(
        &self,
        ns: &Namespace,
        rules: &[Rule],
        is_selected: impl Fn(&Rule) -> bool,
        arguments: &[String],
    ) -> usize {
        let mut count = 0;
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| is_selected(rule)) {
            let verbs = rule["verbs"].as_array().unwrap();
            for verb in verbs {
                let mut left = rules.to_vec();
                let others: Vec<&Value> = verbs.iter().filter(|other| *other != verb).collect();
                left[index]["verbs"] = json!(others);
                if others.is_empty() {
                    left.remove(index);
                }
                self.grant(&left).await;
                let mut removed = rule.clone();
                removed["verbs"] = json!([verb]);
                ns.until(&format!("only {removed} is reported"), async || {
                    let (code, missing) = self.missing(arguments).await;
                    let [finding] = missing.as_slice() else { return Err(format!("{missing:#?}")) };
                    let is_named = finding.seen == format!("not allowed: {}", verb.as_str().unwrap());
                    let is_of_account = finding.remedy.as_ref().is_some_and(|remedy| remedy.contains(&self.user));
                    let has_its_state = if is_for_this_command_alone(&removed) {
                        finding.state == "warning"
                    } else {
                        finding.state == "failed" && code == Some(1)
                    };
                    if is_named && is_of_account && has_its_state && to_add(finding) == removed {
                        Ok(())
                    } else {
                        Err(format!("{code:?} {finding:#?}"))
                    }
                })
                .await;
                count += 1;
            }
        }
        count
    }

    async fn revoke(&self) {
        let now = DeleteParams::default();
        self.roles.delete(&self.name, &now).await.unwrap();
        self.bindings.delete(&self.name, &now).await.unwrap();
    }
}

/// Rules that only the back-end `kubelet` needs. [`documented`] leaves out the rule of the second account.
fn is_for_kubelets(rule: &Rule) -> bool {
    ["nodes", "serviceaccounts/token"].iter().any(|resource| rule["resources"] == json!([resource]))
}

/// Only `snapwatcher check` reads the definition and lists nodes.
fn is_for_this_command_alone(rule: &Rule) -> bool {
    rule["resources"] == json!(["customresourcedefinitions"])
        || (rule["resources"] == json!(["nodes"]) && rule["verbs"] == json!(["list"]))
}

/// The rule that a remedy says to add.
fn to_add(finding: &Finding) -> Value {
    let remedy = finding.remedy.as_ref().unwrap();
    let (start, end) = (remedy.find('{').unwrap(), remedy.rfind('}').unwrap());
    serde_yaml_ng::from_str(&remedy[start..=end]).unwrap()
}

#[tokio::test]
async fn the_documented_rights_are_enough_and_each_missing_one_is_reported() {
    in_namespace("the_documented_rights_are_enough", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let account = Account::of(&ns).await;
        let rules = documented(&ns);
        // Several replicas need all of them.
        let arguments = ns.check_arguments(&["--standalone=false"]);
        account.grant(&rules).await;
        ns.until("no right is missing", async || {
            let (code, missing) = account.missing(&arguments).await;
            if code == Some(0) && missing.is_empty() { Ok(()) } else { Err(format!("{code:?} {missing:#?}")) }
        })
        .await;

        let removed = account.each_is_reported(&ns, &rules, |rule| !is_for_kubelets(rule), &arguments).await;
        assert!(removed > 25, "{removed} rights were removed");
        account.revoke().await;
    })
    .await;
}

#[tokio::test]
async fn the_back_end_kubelet_needs_further_rights() {
    in_namespace("the_back_end_kubelet_needs_further_rights", |ns| async move {
        let account = Account::of(&ns).await;
        let rules = documented(&ns);
        let arguments = ns.check_arguments(&["--backend=kubelet"]);
        let removed = account.each_is_reported(&ns, &rules, is_for_kubelets, &arguments).await;
        assert_eq!(removed, 3, "nodes twice, and the token");
        account.revoke().await;
    })
    .await;
}

#[tokio::test]
async fn rights_are_checked_in_the_watched_namespaces() {
    in_namespace("rights_are_checked_in_the_watched_namespaces", |ns| async move {
        let account = Account::of(&ns).await;
        let rules = documented(&ns);
        account.grant(&rules).await;
        let all = ns.check_arguments(&["--namespaces="]);
        ns.until("a ClusterRole is enough for all namespaces", async || {
            let (_, missing) = account.missing(&all).await;
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:#?}")) }
        })
        .await;
        account.revoke().await;
        let two = ns.check_arguments(&[&format!("--namespaces={},elsewhere", ns.name())]);
        ns.until("the rights are missing in each namespace", async || {
            let (_, missing) = account.missing(&two).await;
            let of = |namespace: &str| {
                let end = format!(" in namespace `{namespace}`");
                missing.iter().filter(|finding| finding.what.ends_with(&end)).count()
            };
            let found = (of("elsewhere"), of(ns.name()));
            // The rights on the Secret are needed in SnapWatcher's own namespace only.
            if found == (6, 7) { Ok(()) } else { Err(format!("{found:?} {missing:#?}")) }
        })
        .await;
    })
    .await;
}
