//! What is true of the chart for all values: names, labels, security, rights, and that it renders nothing that the program writes.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use lab::webhooks::{self, Scope};
use lab::{Chart, Rendered, Template};
use serde_json::{Value, json};

/// The release namespace of the documentation, in which cluster-scoped objects have plain names.
const DOCUMENTED: &str = "snap";

async fn each(look: impl Fn(&str, &Rendered)) {
    let chart = Chart::of_repository().await;
    for scenario in chart.scenarios() {
        look(&scenario, &chart.render(&Template::scenario(&scenario)));
    }
}

fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}

#[tokio::test]
async fn rendering_twice_gives_the_same_bytes() {
    let chart = Chart::of_repository().await;
    for scenario in chart.scenarios() {
        let template = Template::scenario(&scenario);
        assert_eq!(chart.render(&template).text(), chart.render(&template).text(), "{scenario}");
    }
}

#[tokio::test]
async fn the_chart_renders_nothing_that_the_program_writes() {
    each(|scenario, rendered| {
        assert!(rendered.all("Lease").is_empty(), "{scenario}");
        for secret in rendered.all("Secret") {
            // Helm leaves a field alone that it never rendered, so an upgrade does not remove the CA.
            assert!(secret.get("data").is_none() && secret.get("stringData").is_none(), "{scenario}: {secret}");
            assert_eq!(secret["type"], "Opaque", "{scenario}");
            assert_eq!(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{scenario}");
            let settings = ["SNAPWATCHER_CA_SECRET", "SNAPWATCHER_SNAPSHOT_KEYS_SECRET"];
            let named = settings.map(|setting| rendered.variable(setting));
            assert!(named.contains(&secret["metadata"]["name"]), "{scenario}: {secret}");
        }
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            for configuration in rendered.all(kind) {
                let bundle = &configuration["webhooks"][0]["clientConfig"]["caBundle"];
                // The chart writes the caBundle only where the certificate and its CA come from the values.
                assert_eq!(bundle.is_null(), scenario != "tls-secret", "{scenario}: {kind}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_name_is_short_enough_and_every_object_has_its_namespace() {
    each(|scenario, rendered| {
        for object in rendered.objects() {
            let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            let name = metadata["name"].as_str().unwrap();
            assert!(name.len() <= 63 && !name.contains("--") && !name.ends_with('-'), "{scenario}: {kind} `{name}`");
            let is_cluster_wide = kind.starts_with("Cluster")
                || kind.ends_with("WebhookConfiguration")
                || kind.contains("AdmissionPolicy")
                || kind == "CustomResourceDefinition";
            assert_eq!(metadata["namespace"].is_null(), is_cluster_wide, "{scenario}: {kind} `{name}`");
            let labels = metadata["labels"].as_object().unwrap();
            assert!(labels.values().all(|value| value.as_str().unwrap().len() <= 63), "{scenario}: {labels:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn two_releases_of_one_name_share_no_object_but_the_resource() {
    let chart = Chart::of_repository().await;
    let identities = |rendered: &Rendered| -> Vec<String> {
        let objects = rendered.objects().iter().filter(|object| object["kind"] != "CustomResourceDefinition");
        objects
            .map(|object| {
                format!("{} {}/{}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"])
            })
            .collect()
    };
    for scenario in ["default", "backend-kubelet", "namespaced-elsewhere", "long-names"] {
        let of =
            |release, namespace| identities(&chart.render(&Template::scenario(scenario).release(release, namespace)));
        let documented = of("snapwatcher", DOCUMENTED);
        for other in [
            of("snapwatcher", "another"),
            of("snapwatcher", "a-namespace-with-a-name-that-is-as-long-as-namespaces-get"),
        ] {
            assert!(other.iter().all(|identity| !documented.contains(identity)), "{scenario}: {other:?}");
        }
    }
}

#[tokio::test]
async fn the_names_are_those_of_the_documentation() {
    let chart = Chart::of_repository().await;
    let rendered = chart.render(&Template::default());
    for kind in ["Deployment", "Service", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
        let found = rendered.named(kind, "snapwatcher");
        assert!(found["metadata"]["annotations"]["helm.sh/hook"].is_null(), "{kind}");
    }
}

#[tokio::test]
async fn every_pod_meets_the_pod_security_standard_restricted() {
    each(|scenario, rendered| {
        let pods = rendered.objects().iter().filter_map(|object| match object["kind"].as_str()? {
            "Deployment" => Some(&object["spec"]["template"]["spec"]),
            "Pod" => Some(&object["spec"]),
            _ => None,
        });
        for pod in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{scenario}");
            assert_eq!(security["runAsUser"], 1001, "{scenario}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{scenario}");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{scenario}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{scenario}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{scenario}");
            }
        }
        for account in rendered.all("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{scenario}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_account_writes_no_pod_creates_no_secret_and_reads_only_its_own() {
    each(|scenario, rendered| {
        let roles = rendered.all("ClusterRole").into_iter().chain(rendered.all("Role"));
        for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
            let mut words = Vec::new();
            strings(rule, &mut words);
            assert!(!words.contains(&"*") && !words.contains(&"nodes/proxy"), "{scenario}: {rule}");
            let resources = rule["resources"].as_array().unwrap();
            let verbs = &rule["verbs"];
            if resources.contains(&json!("pods")) {
                let written = ["create", "update", "patch", "delete"]
                    .iter()
                    .any(|verb| verbs.as_array().unwrap().contains(&json!(verb)));
                assert!(!written, "{scenario}: {rule}");
            }
            // A Secret that its creator chooses can get the token of another account.
            if resources.contains(&json!("secrets")) {
                let settings = [
                    ("SNAPWATCHER_CA_SECRET", json!(["list", "watch", "update"])),
                    ("SNAPWATCHER_SNAPSHOT_KEYS_SECRET", json!(["get", "patch"])),
                ];
                let own = settings.map(|(setting, verbs)| (json!([rendered.variable(setting)]), verbs));
                assert!(own.contains(&(rule["resourceNames"].clone(), verbs.clone())), "{scenario}: {rule}");
            }
        }
    })
    .await;
}

/// Settings of the webhook, and of what surrounds it, have no effect without it.
#[tokio::test]
async fn without_the_webhook_there_is_no_port_no_secret_no_right_and_no_setting_of_it() {
    let chart = Chart::of_repository().await;
    let elsewhere = json!({"operator": {"allNamespaces": false, "namespaces": ["shop"]}});
    for mode in ["policy", "off"] {
        for (case, template) in [
            ("the defaults", Template::default()),
            ("several replicas", Template::scenario("ha")),
            ("monitoring", Template::scenario("monitoring")),
            ("a network policy", Template::scenario("network-policy")),
            ("a certificate in a Secret", Template::default().with("tls", &json!({"secretName": "tls"}))),
            ("another namespace", Template::default().with("snapwatcher", &elsewhere)),
            ("the same port", Template::default().with("admin", &json!({"port": 8443}))),
        ] {
            let rendered = chart.render(&template.with("webhook.mode", &json!(mode)));
            let text = rendered.text();
            for word in ["[secrets]", "webhookconfigurations", "webhook-ca", "SNAPWATCHER_TLS", "CA_SECRET", "WEBHOOK_"]
            {
                assert!(!text.contains(word), "{mode}, {case}: `{word}` in {text}");
            }
            for word in ["containerPort: 8443", "targetPort: webhook", "port: webhook", "name: tls", "DRAIN_DELAY"] {
                let is_admin = word == "containerPort: 8443" && case == "the same port";
                assert!(is_admin || !text.contains(word), "{mode}, {case}: `{word}` in {text}");
            }
            assert_eq!(rendered.variable("SNAPWATCHER_WEBHOOK"), "false");
            let services = rendered.all("Service");
            let ports = services.iter().flat_map(|service| service["spec"]["ports"].as_array().unwrap());
            let names: Vec<&Value> = ports.map(|port| &port["name"]).collect();
            assert_eq!(names, if case == "monitoring" { vec!["admin"] } else { Vec::new() }, "{mode}, {case}");
            let events = rendered.all("Role").into_iter().filter(|role| role["metadata"]["namespace"] == "snap");
            assert_eq!(events.count(), usize::from(case == "several replicas"), "{mode}, {case}: {text}");
        }
    }
}

#[tokio::test]
async fn a_missing_warning_never_rejects_a_pod() {
    let chart = Chart::of_repository().await;
    let rendered = chart.render(&Template::default().with("webhook.failurePolicy", &json!("Fail")));
    let policy = |kind| rendered.one(kind)["webhooks"][0]["failurePolicy"].clone();
    assert_eq!(policy("MutatingWebhookConfiguration"), "Fail");
    assert_eq!(policy("ValidatingWebhookConfiguration"), "Ignore");
}

#[tokio::test]
async fn without_a_back_end_the_account_has_no_rights_on_checkpoints() {
    let chart = Chart::of_repository().await;
    let url = "snapwatcher.checkpoint.snapBackApiUrl";
    let variable = |variable: Value| Template::default().with(url, &json!("")).with("env", &json!([variable]));
    let secret =
        json!({"name": "SNAP_BACK_API_URL", "valueFrom": {"secretKeyRef": {"name": "snaphook", "key": "url"}}});
    for (template, has_rights) in [
        (Template::default(), true),
        (Template::default().with(url, &json!("")), false),
        (variable(json!({"name": "SNAP_BACK_API_URL", "value": ""})), false),
        (variable(json!({"name": "SNAP_BACK_API_URL", "value": "http://snap-back-api"})), true),
        (variable(secret), true),
    ] {
        let rendered = chart.render(&template);
        let rules = rendered.named("ClusterRole", "snapwatcher")["rules"].to_string();
        assert_eq!(rules.contains("checkpoints/status"), has_rights, "{rules}");
    }
}

#[tokio::test]
async fn every_rule_has_a_sentence_above_it() {
    let chart = Chart::of_repository().await;
    for template in ["_rights.tpl", "_agent.tpl", "agent-rights.yaml", "role.yaml", "kubelet.yaml", "aggregated.yaml"] {
        let text = std::fs::read_to_string(chart.folder().join("templates").join(template)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("{{")).collect();
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups:")) {
            assert!(index > 0 && lines[index - 1].starts_with("# "), "{template}: {}", lines[index]);
        }
    }
}

#[tokio::test]
async fn the_webhooks_equal_those_that_the_lab_tests_with() {
    let chart = Chart::of_repository().await;
    let rendered = chart.render(&Template::default());
    let mut mutating: MutatingWebhookConfiguration =
        serde_json::from_value(rendered.one("MutatingWebhookConfiguration").clone()).unwrap();
    let mut of_lab = webhooks::mutating("snapwatcher", &Scope::Cluster, "unused");
    let (ours, theirs) = (&mut mutating.webhooks.as_mut().unwrap()[0], &mut of_lab.webhooks.as_mut().unwrap()[0]);
    let service = ours.client_config.service.take().unwrap();
    assert_eq!((service.namespace.as_str(), service.name.as_str()), (DOCUMENTED, "snapwatcher"));
    assert_eq!((service.path.as_deref(), service.port), (Some("/mutate"), Some(443)));
    theirs.client_config.url = None;
    assert_eq!(ours, theirs);

    let mut validating: ValidatingWebhookConfiguration =
        serde_json::from_value(rendered.one("ValidatingWebhookConfiguration").clone()).unwrap();
    let mut of_lab = webhooks::validating("snapwatcher", &Scope::Cluster, "unused");
    let (ours, theirs) = (&mut validating.webhooks.as_mut().unwrap()[0], &mut of_lab.webhooks.as_mut().unwrap()[0]);
    let service = ours.client_config.service.take().unwrap();
    assert_eq!((service.path.as_deref(), service.port), (Some("/validate"), Some(443)));
    theirs.client_config.url = None;
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn an_old_kubernetes_gets_only_fields_that_it_knows() {
    let chart = Chart::of_repository().await;
    for (version, has_conditions, budget, has_eviction_policy) in [
        ("1.20.15", false, "policy/v1beta1", false),
        ("1.21.14", false, "policy/v1", false),
        ("1.27.16", false, "policy/v1", true),
        ("1.28.0", true, "policy/v1", true),
        ("1.28.5-gke.1217000", true, "policy/v1", true),
    ] {
        let rendered = chart.render(&Template::scenario("ha").for_old_kubernetes(version));
        let webhook = &rendered.one("MutatingWebhookConfiguration")["webhooks"][0];
        assert_eq!(webhook.get("matchConditions").is_some(), has_conditions, "{version}");
        let found = rendered.one("PodDisruptionBudget");
        assert_eq!(found["apiVersion"], budget, "{version}");
        assert_eq!(found["spec"].get("unhealthyPodEvictionPolicy").is_some(), has_eviction_policy, "{version}");
        let has_rules = rendered.text().contains("x-kubernetes-validations:");
        assert_eq!(has_rules, !["1.20.15", "1.21.14"].contains(&version), "{version}");
    }
}

#[tokio::test]
async fn the_grace_period_is_longer_than_a_stop_may_take() {
    let chart = Chart::of_repository().await;
    let rendered = chart.render(&Template::default());
    let grace = &rendered.one("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    // docs/running.md: 150 s by default.
    assert_eq!(*grace, 155);
}

#[tokio::test]
async fn helm_tests_use_the_settings_of_the_deployment() {
    each(|scenario, rendered| {
        let settings = |container: &Value| -> BTreeMap<String, Value> {
            let variables = container["env"].as_array().unwrap().iter();
            variables.map(|variable| (variable["name"].to_string(), variable.clone())).collect()
        };
        let of_deployment = rendered.container();
        let pods: Vec<_> = rendered.objects().iter().filter(|object| object["kind"] == "Pod").collect();
        assert!(!pods.is_empty(), "{scenario}");
        for pod in pods {
            assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test", "{scenario}");
            let container = &pod["spec"]["containers"][0];
            assert_eq!(settings(container), settings(of_deployment), "{scenario}");
            assert_eq!(container["image"], of_deployment["image"], "{scenario}");
            let words = |container: &Value| container["args"].as_array().cloned().unwrap_or_default();
            assert!(words(container).ends_with(&words(of_deployment)), "{scenario}");
            assert_eq!(container["volumeMounts"], of_deployment["volumeMounts"], "{scenario}");
        }
    })
    .await;
}
