//! Values that the chart rejects: the schema rejects unknown and malformed ones, a sentence those that contradict each other.

use lab::{Chart, Template};
use serde_json::{Value, json};

/// A CA certificate as far as the schema reads it.
const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// Values that the schema rejects, as JSON, each with the key that the error must name.
fn malformed() -> Vec<(Value, &'static str)> {
    let under_checkpoint = |value: Value| json!({"snapwatcher": {"checkpoint": value}});
    let under_operator = |value: Value| json!({"snapwatcher": {"operator": value}});
    vec![
        (json!({"replicaCount": 3}), "replicaCount"),
        (json!({"replicas": "three"}), "replicas"),
        (json!({"replicas": -1}), "replicas"),
        (json!({"image": {"registry": "example.com"}}), "registry"),
        (json!({"image": {"repository": "https://example.com/a b"}}), "repository"),
        (json!({"image": {"tag": 1}}), "tag"),
        (json!({"image": {"digest": "sha256:short"}}), "digest"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (json!({"imagePullSecrets": ["registry"]}), "imagePullSecrets"),
        (json!({"resources": {"limit": {}}}), "limit"),
        (json!({"resources": {"limits": {"memory": "much"}}}), "memory"),
        (json!({"commonLabels": {"app.kubernetes.io/name": "other"}}), "commonLabels"),
        (json!({"commonLabels": {"snap.weaversoft.io/snap": "true"}}), "commonLabels"),
        (json!({"commonLabels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}), "commonLabels"),
        (json!({"podLabels": {"snap.weaversoft.io/snap": "true"}}), "podLabels"),
        (json!({"snapwatcher": {"operater": {}}}), "operater"),
        (json!({"snapwatcher": null}), "snapwatcher"),
        (under_operator(json!({"logLevel": "LOUD"})), "logLevel"),
        (under_operator(json!({"logLevle": "INFO"})), "logLevle"),
        (under_operator(json!({"logFormat": "xml"})), "logFormat"),
        (under_operator(json!({"allNamespaces": "yes"})), "allNamespaces"),
        (under_operator(json!({"namespaces": ["Default"]})), "namespaces"),
        (under_operator(json!({"namespaces": ["a", "a"]})), "namespaces"),
        (under_operator(json!({"standalone": 1})), "standalone"),
        (under_checkpoint(json!({"backend": "tape"})), "backend"),
        (under_checkpoint(json!({"snapBackApiUrl": "snap-back-api:80"})), "snapBackApiUrl"),
        (under_checkpoint(json!({"snapBackApiUrl": "http://me:hunter2@snap"})), "snapBackApiUrl"),
        (under_checkpoint(json!({"contract": "other"})), "contract"),
        (under_checkpoint(json!({"tokenSecret": {"name": "Not A Name"}})), "tokenSecret"),
        (under_checkpoint(json!({"tokenSecret": "token"})), "tokenSecret"),
        (under_checkpoint(json!({"kubeApiAddress": "kubernetes"})), "kubeApiAddress"),
        (under_checkpoint(json!({"requestTimeout": "5s"})), "requestTimeout"),
        (under_checkpoint(json!({"requestTimeout": 0})), "requestTimeout"),
        (under_checkpoint(json!({"responseTimeout": 1.5})), "responseTimeout"),
        (under_checkpoint(json!({"kubelet": {"timeout": 0}})), "timeout"),
        (under_checkpoint(json!({"kubelet": {"caFile": "/ca"}})), "caFile"),
        (under_checkpoint(json!({"oncePer": "workload"})), "oncePer"),
        (under_checkpoint(json!({"unknownResult": "guess"})), "unknownResult"),
        (under_checkpoint(json!({"maxAttempts": 0})), "maxAttempts"),
        (under_checkpoint(json!({"maxConcurrent": 1001})), "maxConcurrent"),
        (under_checkpoint(json!({"suspend": "true"})), "suspend"),
        (under_checkpoint(json!({"historyTTL": "7d"})), "historyTTL"),
        (json!({"save": {"encryption": "gpg"}}), "encryption"),
        (json!({"save": {"storeBytes": "much"}}), "storeBytes"),
        (json!({"save": {"freeDiskPercent": 100}}), "freeDiskPercent"),
        (json!({"save": {"registry": {"repository": "snapshots"}}}), "repository"),
        (json!({"agent": {"kubeletRoot": "kubelet"}}), "kubeletRoot"),
        (json!({"webhook": {"mode": "both"}}), "mode"),
        (json!({"webhook": {"failurePolicy": "ignore"}}), "failurePolicy"),
        (json!({"webhook": {"timeoutSeconds": 31}}), "timeoutSeconds"),
        (json!({"webhook": {"validation": "strict"}}), "validation"),
        (json!({"webhook": {"caBundle": "abc"}}), "caBundle"),
        (json!({"webhook": {"namespaceSelector": {"matchLabel": {}}}}), "matchLabel"),
        (json!({"webhook": {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}}), "operator"),
        (json!({"webhook": {"port": 443}}), "port"),
        (json!({"tls": {"secret": "a"}}), "secret"),
        (json!({"tls": {"manageBundle": true}}), "manageBundle"),
        (json!({"tls": {"caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}}), "caBundle"),
        (json!({"admin": {"port": 80}}), "port"),
        (json!({"metrics": {"interval": "often"}}), "interval"),
        (json!({"metrics": {"enabled": true}}), "enabled"),
        (json!({"podDisruptionBudget": {"minAvailable": 1}}), "minAvailable"),
        (json!({"podDisruptionBudget": {"maxUnavailable": 0}}), "maxUnavailable"),
        (json!({"networkPolicy": {"egress": {"apiServerPorts": []}}}), "apiServerPorts"),
        (json!({"networkPolicy": {"egress": {"apiServerTo": ["192.0.2.10"]}}}), "apiServerTo"),
        (json!({"networkPolicy": {"egress": {"kubeletPorts": []}}}), "kubeletPorts"),
        (json!({"livenessProbe": {"httpGet": {}}}), "httpGet"),
        (json!({"env": [{"value": "DEBUG"}]}), "env"),
        (json!({"env": [{"name": "A", "valeu": "x"}]}), "valeu"),
        (json!({"extraEnv": []}), "extraEnv"),
    ]
}

/// Values that contradict each other, with parts of the sentence that rejects them.
fn contradictions() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (
            json!({"image": {"repository": ""}}),
            &["image.repository is empty", "make image", "kind load docker-image", "set image.repository"],
        ),
        (json!({"replicas": 3}), &["replicas is 3", "snapwatcher.operator.standalone", "set it to false"]),
        (
            json!({"snapwatcher": {"operator": {"namespaces": ["shop"]}}}),
            &["snapwatcher.operator.namespaces", "allNamespaces is true"],
        ),
        (
            json!({"webhook": {"validation": "deny", "mode": "off"}}),
            &["webhook.validation is deny", "webhook.mode off"],
        ),
        (
            json!({"webhook": {"validation": "deny", "mode": "policy"}}),
            &["webhook.validation is deny", "webhook.mode policy"],
        ),
        (
            json!({"tls": {"secretName": "tls"}}),
            &["tls.secretName is set", "set tls.caBundle", "cert-manager.io/inject-ca-from"],
        ),
        (
            json!({"tls": {"secretName": "tls"}, "webhook": {"annotations": {"example.com/owner": "platform"}}}),
            &["tls.secretName is set", "set tls.caBundle", "cert-manager.io/inject-ca-from"],
        ),
        (json!({"tls": {"caBundle": CA}}), &["tls.caBundle is set", "tls.secretName is empty"]),
        (
            json!({"webhook": {"annotations": {"cert-manager.io/inject-ca-from": "snap/tls"}}}),
            &["webhook.annotations has cert-manager.io/inject-ca-from", "tls.secretName is empty"],
        ),
        (
            json!({
                "tls": {"secretName": "tls", "caBundle": CA},
                "webhook": {"annotations": {"cert-manager.io/inject-ca-from": "snap/tls"}},
            }),
            &["tls.caBundle is set", "cert-manager.io/inject-ca-from", "set only one of the two"],
        ),
        (
            json!({"snapwatcher": {"checkpoint": {"contract": "snapapi-kubelet"}}}),
            &["snapapi-kubelet", "set snapwatcher.checkpoint.clusterName"],
        ),
        (
            json!({"snapwatcher": {"checkpoint": {"backend": "kubelet", "kubelet": {"insecureSkipVerify": true, "caConfigMap": {"name": "ca"}}}}}),
            &["insecureSkipVerify is true", "caConfigMap"],
        ),
        (
            json!({"save": {"enabled": true}, "snapwatcher": {"checkpoint": {"backend": "log"}}}),
            &["save.enabled is true", "set snapwatcher.checkpoint.backend to kubelet"],
        ),
        (
            json!({"save": {"enabled": true, "registry": {"credentialsSecret": "push"}}}),
            &["save.registry.repository is empty"],
        ),
        (json!({"serviceAccount": {"create": false}}), &["serviceAccount.create is false", "set serviceAccount.name"]),
        (json!({"hostNetwork": true, "networkPolicy": {"enabled": true}}), &["networkPolicy.enabled", "hostNetwork"]),
        (
            json!({"env": [{"name": "SNAPWATCHER_RESPONSE_TIMEOUT", "value": "600s"}]}),
            &["env sets SNAPWATCHER_RESPONSE_TIMEOUT", "set snapwatcher.checkpoint.responseTimeout instead"],
        ),
        (
            json!({"env": [{"name": "SNAPWATCHER_STANDALONE", "value": "false"}]}),
            &["set snapwatcher.operator.standalone instead"],
        ),
        (
            json!({"env": [{"name": "SNAPWATCHER_TLS_CERT", "value": "/tls.crt"}]}),
            &["env sets SNAPWATCHER_TLS_CERT", "set tls.secretName"],
        ),
        (
            json!({"args": ["--response-timeout=600s"]}),
            &["args sets --response-timeout", "set snapwatcher.checkpoint.responseTimeout instead"],
        ),
        (json!({"args": ["--standalone", "false"]}), &["args sets --standalone"]),
        (json!({"args": ["--snap-back-api-url=http://other"]}), &["set snapwatcher.checkpoint.snapBackApiUrl"]),
        (json!({"env": [{"name": "POD_NAME", "value": "one"}]}), &["env sets POD_NAME", "remove it"]),
        (json!({"args": ["--instance=one"]}), &["args sets --instance", "remove it"]),
        (
            json!({"env": [{"name": "SNAPWATCHER_WEBHOOK", "value": "false"}]}),
            &["env sets SNAPWATCHER_WEBHOOK", "set webhook.mode instead"],
        ),
        (json!({"args": ["--webhook=false"]}), &["args sets --webhook", "set webhook.mode instead"]),
        (json!({"webhook": {"port": 8080}}), &["webhook.port and admin.port are both 8080"]),
    ]
}

#[tokio::test]
async fn the_schema_rejects_a_value_and_names_its_key() {
    let chart = Chart::of_repository().await;
    for (values, key) in malformed() {
        let error = chart.refusal(&with(&values));
        assert!(error.contains("values don't meet the specifications") && error.contains(key), "{values}: {error}");
    }
}

#[tokio::test]
async fn the_log_level_may_have_any_case_and_a_python_name() {
    let chart = Chart::of_repository().await;
    for level in ["DEBUG", "debug", "Info", "WARN", "warning", "CRITICAL"] {
        let rendered = chart.render(&with(&json!({"snapwatcher": {"operator": {"logLevel": level}}})));
        assert_eq!(rendered.variable("LOG_LEVEL"), level);
    }
}

#[tokio::test]
async fn contradictory_values_are_rejected_with_a_remedy() {
    let chart = Chart::of_repository().await;
    for (values, words) in contradictions() {
        let error = chart.refusal(&with(&values));
        for word in words {
            assert!(error.contains(word), "{values}: `{word}` in: {error}");
        }
    }
}

#[tokio::test]
async fn a_name_that_yaml_reads_as_something_else_stays_a_name() {
    let chart = Chart::of_repository().await;
    for (release, namespace) in [("y", "2024"), ("on", "null"), ("1e3", "7")] {
        let rendered = chart.render(&Template::scenario("ha").release(release, namespace));
        for object in rendered.objects() {
            let metadata = &object["metadata"];
            assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], release, "{object}");
            assert!(metadata["namespace"].is_null() || metadata["namespace"] == namespace, "{object}");
        }
    }
    let error = chart.refusal(&Template::default().release("my.snap", "snap"));
    assert!(error.contains("my.snap has a dot") && error.contains("fullnameOverride"), "{error}");
}

#[tokio::test]
async fn a_policy_is_rejected_if_the_cluster_has_none() {
    let chart = Chart::of_repository().await;
    let error = chart.refusal(&Template::scenario("policy").for_old_kubernetes("1.35.4"));
    assert!(error.contains("MutatingAdmissionPolicy") && error.contains("Kubernetes 1.36"), "{error}");
}

#[tokio::test]
async fn a_kubernetes_that_is_too_old_is_rejected() {
    let chart = Chart::of_repository().await;
    let error = chart.refusal(&Template::default().for_old_kubernetes("1.19.16"));
    assert!(error.contains(">=1.20.0-0"), "{error}");
}

fn with(values: &Value) -> Template {
    let fields = values.as_object().into_iter().flatten();
    fields.fold(Template::default(), |template, (key, value)| template.with(key, value))
}

/// The policy that limits each agent to its node is of that version.
#[tokio::test]
async fn archives_are_not_saved_by_a_cluster_before_1_30() {
    let chart = Chart::of_repository().await;
    let refusal = chart.refusal(&Template::scenario("save").for_old_kubernetes("1.29.0"));
    assert!(refusal.contains("save.enabled is true, but this cluster has Kubernetes v1.29.0"), "{refusal}");
}
