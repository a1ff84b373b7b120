//! The chart for each scenario of charts/snapwatcher/ci: what each has that the others have not, and what all have.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use lab::{Chart, Rendered, Template};
use serde_json::{Value, json};

/// Each scenario with what it is there to show: whether it holds, in words.
type Claim = (&'static str, fn(&Rendered) -> bool);

#[expect(clippy::too_many_lines, reason = "one table: what each scenario shows")]
fn claims(scenario: &str) -> Vec<Claim> {
    match scenario {
        "default" => vec![
            ("the image is that of the chart's version", |r| {
                r.container()["image"] == "docker.io/weaversoft/snapwatcher:0.1.0"
                    && r.container()["imagePullPolicy"] == "IfNotPresent"
            }),
            ("the settings are those of the first SnapWatcher", |r| {
                r.variable("LOG_LEVEL") == "INFO"
                    && r.variable("SNAP_BACK_API_URL") == "http://snap-back-api"
                    && r.variable("KUBE_API_ADDRESS") == "https://kubernetes.default.svc"
                    && r.variable("SNAPWATCHER_REQUEST_TIMEOUT") == "5s"
                    && r.variable("SNAPWATCHER_STANDALONE") == "true"
            }),
            ("so are the resources", |r| {
                r.container()["resources"]
                    == json!({"limits": {"cpu": "200m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}})
            }),
            ("what goes with several replicas is left out", |r| {
                r.all("PodDisruptionBudget").is_empty() && !r.text().contains("leases")
            }),
        ],
        "backend-log" => vec![
            ("nobody is asked", |r| {
                r.variable("SNAPWATCHER_BACKEND") == "log" && r.variable("SNAP_BACK_API_URL").is_null()
            }),
            ("there are no records to have rights on", |r| {
                rules_on(r.named("ClusterRole", "snapwatcher"), "checkpoints").is_empty()
                    && rules_on(r.named("ClusterRole", "snapwatcher"), "pods")[0]["verbs"] == json!(["list", "watch"])
            }),
            ("the log is for a collector", |r| r.variable("SNAPWATCHER_LOG_FORMAT") == "json"),
        ],
        "backend-kubelet" => vec![
            ("the second account can ask kubelets and nothing else", |r| {
                let rules = &r.named("ClusterRole", "snapwatcher-kubelet")["rules"];
                *rules == json!([{"apiGroups": [""], "resources": ["nodes/checkpoint"], "verbs": ["create"]}])
                    && r.named("ServiceAccount", "snapwatcher-kubelet")["automountServiceAccountToken"] == false
            }),
            ("its name is the one that the program asks a token for", |r| {
                r.variable("SNAPWATCHER_KUBELET_SERVICE_ACCOUNT") == "snapwatcher-kubelet"
            }),
            ("SnapHook is not spoken of", |r| r.variable("SNAP_BACK_API_URL").is_null()),
            ("the grace period follows the kubelet's time", |r| grace(r) == 5 + 300 + 10 + 10 + 15 + 5),
        ],
        "backend-kubelet-unverified" => vec![("certificates go unverified", |r| {
            r.variable("SNAPWATCHER_KUBELET_INSECURE_SKIP_VERIFY") == "true"
                && r.variable("SNAPWATCHER_ONCE_PER").is_null()
        })],
        "backend-kubelet-own-ca" => vec![("the CA is mounted where it is looked for", |r| {
            r.variable("SNAPWATCHER_KUBELET_CA_FILE") == "/etc/snapwatcher/kubelet-ca/ca.crt"
                && volume(r, "kubelet-ca")["configMap"]["items"] == json!([{"key": "bundle.pem", "path": "ca.crt"}])
        })],
        "snaphook-secured" => vec![
            ("token and CA are mounted where they are looked for", |r| {
                r.variable("SNAPWATCHER_SNAP_BACK_API_TOKEN_FILE") == "/etc/snapwatcher/token/token"
                    && r.variable("SNAPWATCHER_SNAP_BACK_API_CA_FILE") == "/etc/snapwatcher/back-api-ca/ca.crt"
                    && volume(r, "token")["secret"]["items"] == json!([{"key": "bearer", "path": "token"}])
                    && volume(r, "back-api-ca")["configMap"]["name"] == "company-ca"
            }),
            ("the grace period follows the time-outs", |r| grace(r) == 10 + 600 + 10 + 15 + 5),
        ],
        "suspended" => vec![("the brake is on", |r| r.variable("SNAPWATCHER_SUSPEND") == "true")],
        "namespaced" => vec![
            ("rights on pods are in the release's namespace alone", |r| {
                rules_on(r.named("ClusterRole", "snapwatcher"), "pods").is_empty()
                    && r.named("Role", "snapwatcher-watch")["metadata"]["namespace"] == "snap"
            }),
            ("admission is about that namespace", |r| selected_namespaces(r) == json!(["snap"])),
        ],
        "namespaced-elsewhere" => vec![
            ("each namespace has its Role", |r| {
                let roles = r.all("Role").into_iter().filter(|role| !rules_on(role, "pods").is_empty());
                roles.map(|role| role["metadata"]["namespace"].clone()).collect::<Vec<_>>() == ["billing", "shop"]
            }),
            ("Events about the pod itself can be told", |r| {
                !rules_on(r.named("Role", "snapwatcher"), "events").is_empty()
            }),
            ("program and admission know the namespaces", |r| {
                r.variable("SNAPWATCHER_NAMESPACES") == "billing,shop"
                    && selected_namespaces(r) == json!(["billing", "shop"])
            }),
        ],
        "ha" => vec![
            ("three replicas choose a leader", |r| {
                r.one("Deployment")["spec"]["replicas"] == 3
                    && r.variable("SNAPWATCHER_STANDALONE") == "false"
                    && !rules_on(r.named("Role", "snapwatcher"), "leases").is_empty()
            }),
            ("they spread by the labels of the Deployment", |r| {
                let spread = &r.one("Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
                spread["labelSelector"] == r.one("Deployment")["spec"]["selector"] && spread["maxSkew"] == 1
            }),
            ("a drain takes one at a time, and no pod that is not Ready holds it up", |r| {
                let budget = &r.one("PodDisruptionBudget")["spec"];
                budget["maxUnavailable"] == 1 && budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
            }),
        ],
        "policy" => vec![
            ("the API server labels, and nobody is asked", |r| {
                r.all("MutatingWebhookConfiguration").is_empty() && r.all("ValidatingWebhookConfiguration").is_empty()
            }),
            ("the policy is bound", |r| {
                let policy = r.one("MutatingAdmissionPolicy");
                r.one("MutatingAdmissionPolicyBinding")["spec"]["policyName"] == policy["metadata"]["name"]
            }),
            ("no right on configurations is left", |r| !r.text().contains("webhookconfigurations")),
            ("the program looks at no configuration", |r| {
                r.variable("SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION").is_null()
            }),
        ],
        "admission-off" => vec![("nobody labels", |r| {
            r.all("MutatingWebhookConfiguration").is_empty()
                && r.all("MutatingAdmissionPolicy").is_empty()
                && !r.text().contains("test-admission")
        })],
        "validation-off" => vec![("pods are labelled and nobody is warned", |r| {
            r.all("ValidatingWebhookConfiguration").is_empty()
                && r.variable("SNAPWATCHER_VALIDATING_WEBHOOK_CONFIGURATION").is_null()
                && r.variable("SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION") == "snapwatcher"
                && !r.text().contains("validatingwebhookconfigurations")
        })],
        "validation-deny" => vec![
            ("pods are refused", |r| {
                r.variable("SNAPWATCHER_VALIDATION") == "deny"
                    && webhook(r)["failurePolicy"] == "Fail"
                    && r.one("ValidatingWebhookConfiguration")["webhooks"][0]["failurePolicy"] == "Fail"
            }),
            ("selectors are added to ours", |r| {
                webhook(r)["namespaceSelector"] == json!({"matchLabels": {"team": "shop"}})
                    && webhook(r)["objectSelector"]["matchLabels"] == json!({"snap.weaversoft.io/snap": "true"})
                    && webhook(r)["objectSelector"]["matchExpressions"][0]["key"] == "tier"
            }),
        ],
        "tls-secret" => vec![
            ("the certificate is read from the Secret", |r| {
                r.variable("SNAPWATCHER_TLS_CERT") == "/etc/snapwatcher/tls/tls.crt"
                    && r.variable("SNAPWATCHER_TLS_KEY") == "/etc/snapwatcher/tls/tls.key"
                    && volume(r, "tls")["secret"]["secretName"] == "snapwatcher-tls"
            }),
            ("the account has no rights on Secrets and writes no caBundle", |r| {
                r.all("Role").is_empty() && only_reads_configurations(r)
            }),
            ("both configurations trust the given CA", |r| {
                let bundle = webhook(r)["clientConfig"]["caBundle"].as_str().unwrap();
                let validating = &r.one("ValidatingWebhookConfiguration")["webhooks"][0];
                // Base64 of "-----BEGIN CERTIFICATE".
                bundle.starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS") && validating["clientConfig"]["caBundle"] == bundle
            }),
        ],
        "tls-injected" => vec![("cert-manager writes the caBundle", |r| {
            only_reads_configurations(r)
                && ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"].iter().all(|kind| {
                    r.one(kind)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "snap/snapwatcher"
                })
        })],
        "monitoring" => vec![("both monitors find the pods", |r| {
            let labels = r.one("Deployment")["spec"]["selector"].clone();
            ["ServiceMonitor", "PodMonitor"].iter().all(|kind| {
                r.one(kind)["spec"]["selector"] == labels
                    && r.one(kind)["metadata"]["labels"]["release"] == "prometheus"
            })
        })],
        "network-policy" => vec![("who may come and where it may go is limited", |r| {
            let policy = &r.one("NetworkPolicy")["spec"];
            policy["policyTypes"] == json!(["Ingress", "Egress"])
                && policy["ingress"][0]["from"][0]["ipBlock"]["cidr"] == "192.0.2.10/32"
                && policy["ingress"][0]["from"][1]["podSelector"]["matchLabels"].as_object().unwrap().len() == 1
                && policy["egress"][2]["to"][0]["podSelector"] == policy["podSelector"]
                && policy["egress"].as_array().unwrap().len() == 4
        })],
        "host-network" => vec![
            ("ports are the given ones, and names are the cluster's", |r| {
                let pod = &r.one("Deployment")["spec"]["template"]["spec"];
                pod["dnsPolicy"] == "ClusterFirstWithHostNet"
                    && r.container()["ports"][0]["containerPort"] == 9443
                    && r.variable("SNAPWATCHER_WEBHOOK_LISTEN") == "[::]:9443"
                    && r.variable("SNAPWATCHER_ADMIN_LISTEN") == "[::]:9080"
            }),
            ("a new pod does not wait for the ports of an old one", |r| {
                r.one("Deployment")["spec"]["strategy"]["rollingUpdate"] == json!({"maxUnavailable": 1, "maxSurge": 0})
            }),
        ],
        "pinned-image" => vec![("the digest counts", |r| {
            r.container()["image"].as_str().unwrap().starts_with("registry.example.com/snap/snapwatcher@sha256:0123")
                && r.one("Deployment")["spec"]["template"]["spec"]["imagePullSecrets"][0]["name"] == "registry"
        })],
        "long-names" => vec![("suffixes survive", |r| {
            r.variable("SNAPWATCHER_CA_SECRET").as_str().unwrap().ends_with("-webhook-ca")
                && r.variable("SNAPWATCHER_KUBELET_SERVICE_ACCOUNT").as_str().unwrap().ends_with("-kubelet")
        })],
        "given-account" => vec![("nothing is made but what runs", |r| {
            let kinds: BTreeSet<_> = r.objects().iter().map(|object| object["kind"].as_str().unwrap()).collect();
            kinds
                .iter()
                .all(|kind| !kind.contains("Role") && *kind != "ServiceAccount" && *kind != "CustomResourceDefinition")
                && r.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "checkpointer"
        })],
        "extras" => vec![
            ("a variable given counts instead of ours, and once", |r| {
                r.variable("LOG_LEVEL") == "DEBUG"
                    && r.variable("SNAP_BACK_API_URL")["secretKeyRef"]["name"] == "snaphook"
                    && r.variable("RUST_BACKTRACE") == "1"
            }),
            ("labels are on objects and pods", |r| {
                let pod = &r.one("Deployment")["spec"]["template"]["metadata"];
                r.one("Service")["metadata"]["labels"]["team"] == "platform"
                    && pod["labels"]["team"] == "platform"
                    && pod["labels"]["tier"] == "control"
                    && pod["annotations"]["example.com/owner"] == "platform"
                    && r.objects().iter().all(|object| object["metadata"]["labels"]["team"] == "platform")
            }),
            ("volumes, mounts and arguments are there", |r| {
                volume(r, "scratch")["emptyDir"] == json!({})
                    && r.container()["volumeMounts"][0]["mountPath"] == "/scratch"
                    && r.container()["args"] == json!(["--history-limit=20"])
            }),
        ],
        unknown => panic!("what does the scenario `{unknown}` show? Add it here"),
    }
}

fn grace(rendered: &Rendered) -> u64 {
    rendered.one("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap()
}

fn volume<'a>(rendered: &'a Rendered, name: &str) -> &'a Value {
    let volumes = rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    volumes.iter().find(|volume| volume["name"] == name).unwrap()
}

fn webhook(rendered: &Rendered) -> &Value {
    &rendered.one("MutatingWebhookConfiguration")["webhooks"][0]
}

fn only_reads_configurations(rendered: &Rendered) -> bool {
    let role = rendered.named("ClusterRole", "snapwatcher");
    rules_on(role, "mutatingwebhookconfigurations")[0]["verbs"] == json!(["get"])
}

fn selected_namespaces(rendered: &Rendered) -> Value {
    let expression = &webhook(rendered)["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(expression["operator"], "In");
    expression["values"].clone()
}

fn rules_on<'a>(role: &'a Value, resource: &str) -> Vec<&'a Value> {
    let names = |rule: &&Value| rule["resources"].as_array().unwrap().contains(&json!(resource));
    role["rules"].as_array().unwrap().iter().filter(names).collect()
}

#[tokio::test]
async fn each_scenario_shows_what_it_is_there_for() {
    let chart = Chart::of_repository().await;
    let scenarios = chart.scenarios();
    assert!(scenarios.len() >= 12, "{scenarios:?}");
    for scenario in scenarios {
        let rendered = chart.render(&Template::scenario(&scenario));
        for (claim, holds) in claims(&scenario) {
            assert!(holds(&rendered), "{scenario}: {claim}\n{}", rendered.text());
        }
    }
}
