//! Renders the chart with each scenario of charts/snapwatcher/ci and checks what that scenario is for.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use lab::{Chart, Rendered, Template};
use serde_json::{Value, json};

/// What a scenario must show, in words, and whether a rendered chart shows it.
type Claim = (&'static str, fn(&Rendered) -> bool);

#[expect(clippy::too_many_lines, reason = "one table of what each scenario shows")]
fn claims(scenario: &str) -> Vec<Claim> {
    match scenario {
        "default" => vec![
            ("the image is that of the chart's version", |r| {
                r.container()["image"] == "registry.example.com/snapwatcher:0.1.0"
                    && r.container()["imagePullPolicy"] == "IfNotPresent"
            }),
            ("the settings are those of the first SnapWatcher", |r| {
                r.variable("LOG_LEVEL") == "INFO"
                    && r.variable("SNAP_BACK_API_URL") == "http://snap-back-api"
                    && r.variable("KUBE_API_ADDRESS") == "https://kubernetes.default.svc"
                    && r.variable("SNAPWATCHER_REQUEST_TIMEOUT") == "5s"
                    && r.variable("SNAPWATCHER_STANDALONE") == "true"
            }),
            ("the memory is limited, and the CPU is not", |r| {
                r.container()["resources"]
                    == json!({"limits": {"memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}})
            }),
            ("the Secret for the CA has no data, and the account may not create another one", |r| {
                let rules = rules_on(r.named("Role", "snapwatcher"), "secrets");
                r.one("Secret")["metadata"]["name"] == "snapwatcher-webhook-ca"
                    && rules.len() == 1
                    && rules[0]["resourceNames"] == json!(["snapwatcher-webhook-ca"])
            }),
            ("the admin port is not on the Service, and shows no detail", |r| {
                let ports = r.one("Service")["spec"]["ports"].as_array().unwrap();
                ports.len() == 1
                    && ports[0]["name"] == "https"
                    && r.variable("SNAPWATCHER_ADMIN_EXPOSE_DETAIL") == "false"
            }),
            ("nothing for several replicas is rendered", |r| {
                r.all("PodDisruptionBudget").is_empty() && !r.text().contains("leases")
            }),
        ],
        "backend-log" => vec![
            ("no back-end is called", |r| {
                r.variable("SNAPWATCHER_BACKEND") == "log" && r.variable("SNAP_BACK_API_URL").is_null()
            }),
            ("the account has no rights on Checkpoints", |r| {
                rules_on(r.named("ClusterRole", "snapwatcher"), "checkpoints").is_empty()
                    && rules_on(r.named("ClusterRole", "snapwatcher"), "pods")[0]["verbs"] == json!(["list", "watch"])
            }),
            ("the log format is json", |r| r.variable("SNAPWATCHER_LOG_FORMAT") == "json"),
        ],
        "backend-kubelet" => vec![
            ("the second account may request checkpoints and nothing else", |r| {
                let rules = &r.named("ClusterRole", "snapwatcher-kubelet")["rules"];
                *rules == json!([{"apiGroups": [""], "resources": ["nodes/checkpoint"], "verbs": ["create"]}])
                    && r.named("ServiceAccount", "snapwatcher-kubelet")["automountServiceAccountToken"] == false
            }),
            ("the program requests tokens of that account", |r| {
                r.variable("SNAPWATCHER_KUBELET_SERVICE_ACCOUNT") == "snapwatcher-kubelet"
            }),
            ("no setting of SnapHook is rendered", |r| r.variable("SNAP_BACK_API_URL").is_null()),
            ("the grace period includes the timeout of the kubelet", |r| grace(r) == 5 + 300 + 10 + 10 + 15 + 5),
        ],
        "backend-kubelet-unverified" => vec![("kubelet certificates are not verified", |r| {
            r.variable("SNAPWATCHER_KUBELET_INSECURE_SKIP_VERIFY") == "true"
                && r.variable("SNAPWATCHER_ONCE_PER").is_null()
        })],
        "backend-kubelet-own-ca" => vec![("the CA is mounted at the path of its setting", |r| {
            r.variable("SNAPWATCHER_KUBELET_CA_FILE") == "/etc/snapwatcher/kubelet-ca/ca.crt"
                && volume(r, "kubelet-ca")["configMap"]["items"] == json!([{"key": "bundle.pem", "path": "ca.crt"}])
        })],
        "save" => vec![
            ("the agent uses two folders of its node, as root without any capability", |r| {
                let pod = &r.one("DaemonSet")["spec"]["template"]["spec"];
                let (container, volumes) = (&pod["containers"][0], pod["volumes"].as_array().unwrap());
                let folders = volumes.iter().filter_map(|volume| volume["hostPath"]["path"].as_str());
                let rights = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}});
                folders.collect::<Vec<_>>() == ["/var/lib/kubelet/checkpoints", "/var/lib/snapwatcher"]
                    && container["securityContext"] == rights
                    && pod["securityContext"]["runAsUser"] == 0
                    && ["hostNetwork", "hostPID", "hostIPC"].iter().all(|shared| pod[shared].is_null())
            }),
            ("the agent and its account are in their own namespace, and the policy names that account", |r| {
                let policy = r.named("ValidatingAdmissionPolicy", "snapwatcher-agent");
                r.one("DaemonSet")["metadata"]["namespace"] == "snap-agents"
                    && r.named("ServiceAccount", "snapwatcher-agent")["metadata"]["namespace"] == "snap-agents"
                    && policy["spec"]["matchConditions"][0]["expression"]
                        .as_str()
                        .is_some_and(|text| text.contains("system:serviceaccount:snap-agents:snapwatcher-agent"))
            }),
            ("the agent reads no Secret and no pod, and writes one thing", |r| {
                let role = r.named("ClusterRole", "snapwatcher-agent");
                let writes = |rule: &&Value| rule["verbs"].as_array().unwrap().contains(&json!("patch"));
                let written: Vec<_> = role["rules"].as_array().unwrap().iter().filter(writes).collect();
                rules_on(role, "secrets").is_empty()
                    && rules_on(role, "pods").is_empty()
                    && written.len() == 1
                    && written[0]["resources"] == json!(["snapshots/status"])
            }),
            ("leader and agent have the registry, and only the leader has the keys", |r| {
                let repository = json!("registry.example.com/snapshots/cluster");
                agent_variable(r, "SNAPWATCHER_REGISTRY_REPOSITORY") == repository
                    && r.variable("SNAPWATCHER_REGISTRY_REPOSITORY") == "registry.example.com/snapshots/cluster"
                    && r.variable("SNAPWATCHER_SNAPSHOT_KEYS_SECRET") == "snapwatcher-snapshot-keys"
                    && agent_variable(r, "SNAPWATCHER_SNAPSHOT_KEYS_SECRET").is_null()
                    && rules_on(r.named("Role", "snapwatcher"), "secrets").len() == 2
                    && r.named("Secret", "snapwatcher-snapshot-keys")["data"].is_null()
            }),
        ],
        "save-namespaced" => vec![
            ("the agent has rights in the watched namespaces, and on nodes", |r| {
                let roles = r.all("Role");
                let of_agent = |role: &&&Value| role["metadata"]["name"] == "snapwatcher-agent";
                let nodes = r.named("ClusterRole", "snapwatcher-agent")["rules"].as_array().unwrap().len();
                roles.iter().filter(of_agent).count() == 2
                    && nodes == 1
                    && agent_variable(r, "SNAPWATCHER_NAMESPACES") == "blog,shop"
            }),
            ("without encryption there are no keys", |r| {
                r.variable("SNAPWATCHER_SNAPSHOT_ENCRYPTION") == "none" && !r.text().contains("snapshot-keys\n")
            }),
        ],
        "snaphook-secured" => vec![
            ("token and CA are mounted at the paths of their settings", |r| {
                r.variable("SNAPWATCHER_SNAP_BACK_API_TOKEN_FILE") == "/etc/snapwatcher/token/token"
                    && r.variable("SNAPWATCHER_SNAP_BACK_API_CA_FILE") == "/etc/snapwatcher/back-api-ca/ca.crt"
                    && volume(r, "token")["secret"]["items"] == json!([{"key": "bearer", "path": "token"}])
                    && volume(r, "back-api-ca")["configMap"]["name"] == "company-ca"
            }),
            ("the grace period includes the timeouts", |r| grace(r) == 10 + 600 + 10 + 15 + 5),
        ],
        "suspended" => vec![("requests are suspended", |r| r.variable("SNAPWATCHER_SUSPEND") == "true")],
        "namespaced" => vec![
            ("the account has rights on pods only in the namespace of the release", |r| {
                rules_on(r.named("ClusterRole", "snapwatcher"), "pods").is_empty()
                    && r.named("Role", "snapwatcher-watch")["metadata"]["namespace"] == "snap"
            }),
            ("admission selects that namespace", |r| selected_namespaces(r) == json!(["snap"])),
        ],
        "namespaced-elsewhere" => vec![
            ("each namespace has its Role", |r| {
                let roles = r.all("Role").into_iter().filter(|role| !rules_on(role, "pods").is_empty());
                roles.map(|role| role["metadata"]["namespace"].clone()).collect::<Vec<_>>() == ["billing", "shop"]
            }),
            ("the account may create Events in the namespace of the release", |r| {
                !rules_on(r.named("Role", "snapwatcher"), "events").is_empty()
            }),
            ("program and admission select the two namespaces", |r| {
                r.variable("SNAPWATCHER_NAMESPACES") == "billing,shop"
                    && selected_namespaces(r) == json!(["billing", "shop"])
            }),
        ],
        "ha" => vec![
            ("three replicas elect a leader", |r| {
                r.one("Deployment")["spec"]["replicas"] == 3
                    && r.variable("SNAPWATCHER_STANDALONE") == "false"
                    && !rules_on(r.named("Role", "snapwatcher"), "leases").is_empty()
            }),
            ("they spread by the selector of the Deployment", |r| {
                let spread = &r.one("Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
                spread["labelSelector"] == r.one("Deployment")["spec"]["selector"] && spread["maxSkew"] == 1
            }),
            ("a drain evicts one at a time, and a pod that is not Ready does not block it", |r| {
                let budget = &r.one("PodDisruptionBudget")["spec"];
                budget["maxUnavailable"] == 1 && budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
            }),
        ],
        "policy" => vec![
            ("there is no webhook", |r| {
                r.all("MutatingWebhookConfiguration").is_empty() && r.all("ValidatingWebhookConfiguration").is_empty()
            }),
            ("the policy is bound", |r| {
                let policy = r.one("MutatingAdmissionPolicy");
                r.one("MutatingAdmissionPolicyBinding")["spec"]["policyName"] == policy["metadata"]["name"]
            }),
            ("the account has no rights on webhook configurations", |r| !r.text().contains("webhookconfigurations")),
            ("the program reads no webhook configuration", |r| {
                r.variable("SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION").is_null()
            }),
            ("the program serves no webhook and has no CA", has_no_webhook),
        ],
        "admission-off" => vec![
            ("no pod gets the label", |r| {
                r.all("MutatingWebhookConfiguration").is_empty()
                    && r.all("MutatingAdmissionPolicy").is_empty()
                    && !r.text().contains("test-admission")
            }),
            ("the program serves no webhook and has no CA", has_no_webhook),
        ],
        "validation-off" => vec![("pods get the label and authors get no warnings", |r| {
            r.all("ValidatingWebhookConfiguration").is_empty()
                && r.variable("SNAPWATCHER_VALIDATING_WEBHOOK_CONFIGURATION").is_null()
                && r.variable("SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION") == "snapwatcher"
                && !r.text().contains("validatingwebhookconfigurations")
        })],
        "validation-deny" => vec![
            ("pods are rejected", |r| {
                r.variable("SNAPWATCHER_VALIDATION") == "deny"
                    && webhook(r)["failurePolicy"] == "Fail"
                    && r.one("ValidatingWebhookConfiguration")["webhooks"][0]["failurePolicy"] == "Fail"
            }),
            ("the selectors of the values are added to those of the chart", |r| {
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
            ("there is no Secret for a CA, and the account has no rights on Secrets and writes no caBundle", |r| {
                r.all("Secret").is_empty() && r.all("Role").is_empty() && only_reads_configurations(r)
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
        "monitoring" => vec![
            ("both monitors select the pods", |r| {
                let labels = r.one("Deployment")["spec"]["selector"].clone();
                ["ServiceMonitor", "PodMonitor"].iter().all(|kind| {
                    r.one(kind)["spec"]["selector"] == labels
                        && r.one(kind)["metadata"]["labels"]["release"] == "prometheus"
                })
            }),
            ("the Service has the port that the ServiceMonitor scrapes", |r| {
                let scraped = &r.one("ServiceMonitor")["spec"]["endpoints"][0]["port"];
                r.one("Service")["spec"]["ports"].as_array().unwrap().iter().any(|port| port["name"] == *scraped)
            }),
        ],
        "network-policy" => vec![("ingress and egress are limited", |r| {
            let policy = &r.one("NetworkPolicy")["spec"];
            policy["policyTypes"] == json!(["Ingress", "Egress"])
                && policy["ingress"][0]["from"][0]["ipBlock"]["cidr"] == "192.0.2.10/32"
                && policy["ingress"][0]["from"][1]["podSelector"]["matchLabels"].as_object().unwrap().len() == 1
                && policy["egress"][2]["to"][0]["podSelector"] == policy["podSelector"]
                && policy["egress"].as_array().unwrap().len() == 4
                && policy["egress"][1]["to"] == json!([{"ipBlock": {"cidr": "192.0.2.10/32"}}])
        })],
        "network-policy-kubelet" => vec![("the ports of the kubelets are those of the values", |r| {
            let egress = &r.one("NetworkPolicy")["spec"]["egress"];
            egress[3] == json!({"ports": [{"port": 10250}, {"port": 10260}]}) && egress[1]["to"].is_null()
        })],
        "host-network" => vec![
            ("the ports are those of the values, and names resolve in the cluster", |r| {
                let pod = &r.one("Deployment")["spec"]["template"]["spec"];
                pod["dnsPolicy"] == "ClusterFirstWithHostNet"
                    && r.container()["ports"][0]["containerPort"] == 9443
                    && r.variable("SNAPWATCHER_WEBHOOK_LISTEN") == "[::]:9443"
                    && r.variable("SNAPWATCHER_ADMIN_LISTEN") == "[::]:9080"
            }),
            ("an old pod stops before a new pod needs its ports", |r| {
                r.one("Deployment")["spec"]["strategy"]["rollingUpdate"] == json!({"maxUnavailable": 1, "maxSurge": 0})
            }),
        ],
        "pinned-image" => vec![("the image is named by its digest", |r| {
            r.container()["image"].as_str().unwrap().starts_with("registry.example.com/snap/snapwatcher@sha256:0123")
                && r.one("Deployment")["spec"]["template"]["spec"]["imagePullSecrets"][0]["name"] == "registry"
        })],
        "long-names" => vec![("names keep their suffixes", |r| {
            r.variable("SNAPWATCHER_CA_SECRET").as_str().unwrap().ends_with("-webhook-ca")
                && r.variable("SNAPWATCHER_KUBELET_SERVICE_ACCOUNT").as_str().unwrap().ends_with("-kubelet")
        })],
        "given-account" => vec![("no account, role or resource is rendered", |r| {
            let kinds: BTreeSet<_> = r.objects().iter().map(|object| object["kind"].as_str().unwrap()).collect();
            kinds
                .iter()
                .all(|kind| !kind.contains("Role") && *kind != "ServiceAccount" && *kind != "CustomResourceDefinition")
                && r.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "checkpointer"
        })],
        "extras" => vec![
            ("a variable of the values replaces that of the chart", |r| {
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
            ("volumes, mounts and arguments are in the pod", |r| {
                volume(r, "scratch")["emptyDir"] == json!({})
                    && r.container()["volumeMounts"][0]["mountPath"] == "/scratch"
                    && r.container()["args"] == json!(["--history-limit=20"])
            }),
        ],
        unknown => panic!("the scenario `{unknown}` has no claims: add them here"),
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

fn has_no_webhook(rendered: &Rendered) -> bool {
    rendered.variable("SNAPWATCHER_WEBHOOK") == "false"
        && ["Service", "Secret", "Role"].iter().all(|kind| rendered.all(kind).is_empty())
        && rendered.container()["ports"] == json!([{"name": "admin", "containerPort": 8080}])
        && grace(rendered) == 5 + 120 + 15 + 5
}

fn selected_namespaces(rendered: &Rendered) -> Value {
    let expression = &webhook(rendered)["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(expression["operator"], "In");
    expression["values"].clone()
}

/// The value of a variable of the agent.
fn agent_variable(rendered: &Rendered, name: &str) -> Value {
    let container = &rendered.one("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name).map_or(Value::Null, |found| found["value"].clone())
}

fn rules_on<'a>(role: &'a Value, resource: &str) -> Vec<&'a Value> {
    let names = |rule: &&Value| rule["resources"].as_array().unwrap().contains(&json!(resource));
    role["rules"].as_array().unwrap().iter().filter(names).collect()
}

#[tokio::test]
async fn each_scenario_shows_what_it_is_for() {
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
