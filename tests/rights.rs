//! The RBAC rules in docs/running.md and in the chart are those that the program needs. The program has the one list, see
//! src/check/required_rights.rs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lab::{Chart, Rendered, Template};
use serde_json::Value;
use snapwatcher::check::{Rule, required_rules};
use snapwatcher::cli::{Command, parse};

/// With this variable set the rules in docs/running.md are written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

const PAGE: &str = "docs/running.md";

/// The variables of the program that are called like their flag without a prefix.
const WITHOUT_PREFIX: [&str; 5] = ["LOG_LEVEL", "SNAP_BACK_API_URL", "KUBE_API_ADDRESS", "POD_NAME", "POD_UID"];

/// The settings of docs/running.md, with everything that needs a rule but the back-end `kubelet`.
const DOCUMENTED: [&str; 3] = [
    "--standalone=false",
    "--mutating-webhook-configuration=snapwatcher",
    "--validating-webhook-configuration=snapwatcher",
];

fn rules<Flag: Into<OsString>>(flags: impl IntoIterator<Item = Flag>) -> Vec<Rule> {
    let command = ["snapwatcher", "run"].into_iter().map(Into::into);
    match parse(command.chain(flags.into_iter().map(Into::into))) {
        Ok(Command::Run(args)) => required_rules(&args),
        other => panic!("{other:?}"),
    }
}

/// The items of `rules:` in a role, each purpose as a comment above its rules.
fn yaml(rules: &[&Rule]) -> String {
    let mut yaml = String::new();
    let mut purpose = "";
    for rule in rules {
        if rule.purpose != purpose {
            purpose = rule.purpose;
            writeln!(yaml, "# {purpose}").unwrap();
        }
        writeln!(yaml, "- {}", rule.to_yaml(rule.verbs)).unwrap();
    }
    yaml
}

/// Replaces the rules of the role with this kind and name in a page.
fn with_rules(page: &str, kind: &str, name: &str, rules: &[&Rule]) -> String {
    let role = format!("kind: {kind}\nmetadata:\n  name: {name}\n");
    let role_start = page.find(&role).unwrap_or_else(|| panic!("{PAGE} has no {kind} `{name}`"));
    let start = role_start + page[role_start..].find("rules:\n").unwrap() + "rules:\n".len();
    let ends = ["---\n", "```"].into_iter().filter_map(|end| page[start..].find(end));
    let end = start + ends.min().unwrap();
    format!("{}{}{}", &page[..start], yaml(rules), &page[end..])
}

#[test]
fn the_rules_in_running_md_are_those_of_the_program() {
    let base = rules(DOCUMENTED);
    let with_kubelet = rules(DOCUMENTED.into_iter().chain(["--backend=kubelet"]));
    let kubelet: Vec<&Rule> = with_kubelet.iter().filter(|rule| !base.contains(rule)).collect();
    let (of_cluster, of_namespace): (Vec<_>, Vec<_>) = base.iter().partition(|rule| rule.namespace.is_none());
    let (of_nodes, of_token): (Vec<_>, Vec<_>) = kubelet.into_iter().partition(|rule| rule.namespace.is_none());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let mut expected = with_rules(&page, "ClusterRole", "snapwatcher", &of_cluster);
    expected = with_rules(&expected, "Role", "snapwatcher", &of_namespace);
    expected = with_rules(&expected, "ClusterRole", "snapwatcher-nodes", &of_nodes);
    expected = with_rules(&expected, "Role", "snapwatcher-kubelet", &of_token);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == expected, "the rules in {PAGE} are out of date: {UPDATE}=1 cargo test --test rights");
}

/// The scenario whose account gets its rights by other means.
const WITHOUT_ROLES: &str = "given-account";

/// Verb, group, resource, name and namespace, empty if there is none.
type Right = [String; 5];

/// The rights of the rules that the rendered settings need.
fn needed(rendered: &Rendered) -> BTreeSet<Right> {
    let container = rendered.container();
    // Of two variables with one name, Kubernetes uses the later.
    let mut flags = BTreeMap::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap();
        if !name.starts_with("SNAPWATCHER_") && !WITHOUT_PREFIX.contains(&name) {
            continue;
        }
        let flag = name.strip_prefix("SNAPWATCHER_").unwrap_or(name).to_lowercase().replace('_', "-");
        // A value from a Secret or from the downward API.
        let value = variable["value"].as_str().unwrap_or("http://reference");
        flags.insert(flag.clone(), format!("--{flag}={value}"));
    }
    // A flag takes precedence over its variable.
    for argument in container["args"].as_array().into_iter().flatten() {
        let argument = argument.as_str().unwrap();
        let flag = argument.trim_start_matches('-').split('=').next().unwrap();
        flags.insert(flag.to_owned(), argument.to_owned());
    }
    let rules = rules(flags.into_values());
    let rights = rules.iter().flat_map(|rule| {
        let [name, namespace] = [&rule.name, &rule.namespace].map(|text| text.clone().unwrap_or_default());
        rule.verbs
            .iter()
            .map(move |verb| [*verb, rule.group, rule.resource, name.as_str(), namespace.as_str()].map(str::to_owned))
    });
    rights.collect()
}

/// The rights that the rendered roles grant to SnapWatcher's account.
fn granted(rendered: &Rendered) -> BTreeSet<Right> {
    let account = rendered.all("Deployment")[0]["spec"]["template"]["spec"]["serviceAccountName"].clone();
    let mut rights = BTreeSet::new();
    for kind in ["Role", "ClusterRole"] {
        for binding in rendered.all(&format!("{kind}Binding")) {
            if !binding["subjects"].as_array().unwrap().iter().any(|subject| subject["name"] == account) {
                continue;
            }
            let namespace = &binding["metadata"]["namespace"];
            let is_bound = |role: &&Value| {
                role["metadata"]["name"] == binding["roleRef"]["name"] && role["metadata"]["namespace"] == *namespace
            };
            let roles = rendered.all(kind);
            let role = roles.into_iter().find(|role| is_bound(role)).unwrap();
            let namespace = namespace.as_str().unwrap_or_default();
            role["rules"].as_array().into_iter().flatten().for_each(|rule| add(&mut rights, rule, namespace));
        }
    }
    rights
}

fn add(rights: &mut BTreeSet<Right>, rule: &Value, namespace: &str) {
    let texts = |key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let names = if rule["resourceNames"].is_null() { vec![String::new()] } else { texts("resourceNames") };
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for name in &names {
                for verb in texts("verbs") {
                    rights.insert([verb, group.clone(), resource.clone(), name.clone(), namespace.to_owned()]);
                }
            }
        }
    }
}

#[tokio::test]
async fn each_scenario_of_the_chart_grants_exactly_what_its_settings_need() {
    let chart = Chart::of_repository().await;
    for scenario in chart.scenarios() {
        let rendered = chart.render(&Template::scenario(&scenario));
        let (needed, granted) = (needed(&rendered), granted(&rendered));
        if scenario == WITHOUT_ROLES {
            assert_eq!(granted, BTreeSet::new(), "{scenario}");
            continue;
        }
        let missing: Vec<_> = needed.difference(&granted).collect();
        let unneeded: Vec<_> = granted.difference(&needed).collect();
        assert!(missing.is_empty() && unneeded.is_empty(), "{scenario}: missing {missing:?}, unneeded {unneeded:?}");
    }
}
